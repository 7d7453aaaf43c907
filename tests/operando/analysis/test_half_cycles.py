import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.analysis.accuracy import CurrentAccuracy, CurrentZero, current_zeros, zero_of
from operando.analysis.coulombic import coulombic_efficiency
from operando.analysis.endings import PlannedHalfCycles
from operando.analysis.overpotential import nucleation, plateau_v, polarisation_v
from operando.analysis.segments import ChargeLedger, HalfCycle, half_cycles, with_ending

NAMES = ("t", "potential", "current", "cycle", "half_cycle", "role")
AREA = 1.131


def _halves(
    columns: dict[str, Any], *, area_cm2: float = AREA, **options: Any
) -> tuple[HalfCycle, ...]:
    return half_cycles(*(columns[name] for name in NAMES), area_cm2=area_cm2, **options)


def test_the_charge_is_the_trapezoid_of_the_measured_current(synthetic: Any) -> None:
    halves = _halves(synthetic.galvanostatic((0.9,)))
    assert [half.role for half in halves] == [-1, 1]
    assert halves[0].capacity_mah_cm2 == pytest.approx(0.5, rel=1e-12)
    assert halves[1].capacity_mah_cm2 == pytest.approx(0.45, rel=1e-12)


def test_efficiencies_return_as_they_were_put_in(synthetic: Any) -> None:
    told = (0.909, 0.985, 1.02, 0.999)
    ce = coulombic_efficiency(_halves(synthetic.galvanostatic(told)))
    assert ce.cycles == (1, 2, 3, 4)
    np.testing.assert_allclose(ce.percent, np.array(told) * 100, rtol=1e-12)


def test_an_efficiency_above_100_is_not_clipped(synthetic: Any) -> None:
    ce = coulombic_efficiency(_halves(synthetic.galvanostatic((1.05,))))
    assert ce.percent[0] == pytest.approx(105.0)


def test_the_mean_with_and_without_the_first_cycle_and_the_ratio_of_sums_differ(
    synthetic: Any,
) -> None:
    ce = coulombic_efficiency(_halves(synthetic.galvanostatic((0.975, *[0.99905] * 9))))
    mean, without, ratio = ce.mean(), ce.mean(1), ce.ratio_of_sums()
    assert mean is not None
    assert without is not None
    assert ratio is not None
    assert mean[0] == pytest.approx((97.5 + 9 * 99.905) / 10)
    assert without[0] == pytest.approx(99.905)
    assert ratio[0] == pytest.approx(mean[0])  # all cycles plated the same charge here
    assert ce.standard_deviation(1) == pytest.approx(0.0, abs=1e-9)


def test_a_strip_that_goes_on_is_left_out_with_a_reason(synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9, 0.98))
    cut = {key: values[:-40] for key, values in columns.items()}
    ce = coulombic_efficiency(_halves(cut, finished=False))
    assert ce.cycles == (1,)
    assert ce.left_out == ("cycle 2 is left out: its stripping has not ended as planned",)


def test_what_a_strip_leaves_that_did_not_come_to_its_end_is_in_the_next_one(
    synthetic: Any,
) -> None:
    halves = [
        replace(half, cut_off_v=float(half.potential_v[-1]) if half.role == 1 else None)
        for half in _halves(synthetic.galvanostatic((0.9, 0.4, 1.5, 0.98)))
    ]
    halves[3] = replace(halves[3], ended=False)
    ce = coulombic_efficiency(tuple(halves))
    assert ce.cycles == (1, 4)
    assert ce.left_out[0].startswith("cycle 2 is left out: its stripping has not ended")
    assert ce.left_out[1].startswith("cycle 3 is left out: the electrode held metal before")


def test_a_plating_that_was_not_followed_by_a_strip_is_left_out(synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9, 0.98))
    cut = {key: values[: len(values) * 3 // 4 - 10] for key, values in columns.items()}
    ce = coulombic_efficiency(_halves(cut))
    assert ce.cycles == (1,)
    assert "cycle 2" in ce.left_out[0]


def test_cycles_are_counted_where_the_program_counts_none(synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9, 0.98))
    columns["cycle"] = np.zeros_like(columns["cycle"])
    assert [half.cycle for half in _halves(columns)] == [1, 1, 2, 2]


def test_the_wrong_sign_at_an_edge_passes_no_charge(synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9,))
    whole = _halves(columns)[0].capacity_mah_cm2
    columns["current"][0] *= -0.5
    less = _halves(columns)[0]
    assert whole * (1 - 1.01 / 399) < less.capacity_mah_cm2 < whole


def test_an_unreadable_row_costs_only_itself(synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9,))
    columns["potential"][100] = np.nan
    assert _halves(columns)[0].capacity_mah_cm2 == pytest.approx(0.5, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(0.01, 100), area=st.floats(0.1, 10))
def test_current_and_area_scale_charges_but_not_efficiencies(factor: float, area: float) -> None:
    t = np.linspace(0, 3600, 50)
    both = np.concatenate((t, 4000 + 0.97 * t))
    columns = {
        "t": both,
        "potential": np.where(both < 3900, -0.03, 0.03),
        "current": np.where(both < 3900, -1e-3, 1e-3),
        "cycle": np.ones(100),
        "half_cycle": np.repeat([1.0, 2.0], 50),
        "role": np.repeat([-1.0, 1.0], 50),
    }
    plain = _halves(columns, area_cm2=1.0)
    columns["current"] = columns["current"] * factor
    scaled = _halves(columns, area_cm2=area)
    assert scaled[0].capacity_mah_cm2 == pytest.approx(
        plain[0].capacity_mah_cm2 * factor / area, rel=1e-9
    )
    assert coulombic_efficiency(scaled).percent[0] == pytest.approx(97.0, rel=1e-9)


def test_a_mirrored_cell_gives_the_same_half_cycles(synthetic: Any) -> None:
    plain = _halves(synthetic.galvanostatic())
    mirrored = _halves(synthetic.galvanostatic(mirror=-1), metal_electrode="CE")
    for one, other in zip(plain, mirrored, strict=True):
        assert one.role == other.role
        np.testing.assert_array_equal(one.charge_mah_cm2, other.charge_mah_cm2)
        np.testing.assert_array_equal(one.potential_v, other.potential_v)


def test_the_offset_counts_twice_in_the_uncertainty_of_an_efficiency() -> None:
    accuracy = CurrentAccuracy()
    assert accuracy.relative_of_ratio(-0.565e-3, 0.565e-3) == pytest.approx(0.0035, rel=0.02)
    assert accuracy.range_a(1e-3) == pytest.approx(1e-3)
    on_two_ranges = accuracy.relative_of_ratio(-0.9e-3, 1.1e-3)
    assert on_two_ranges > accuracy.relative_offset(1.1e-3)


def test_a_measured_zero_replaces_the_offset_of_the_range() -> None:
    told = {"potentiostat": {"current_offset_uncertainty_a": 1e-8}}
    accuracy = CurrentAccuracy.from_calibration(told)
    assert accuracy.relative_of_ratio(-1e-3, 1e-3) == pytest.approx(2e-5)


def test_the_nucleation_overpotential_is_tip_minus_plateau(synthetic: Any) -> None:
    tip = nucleation(_halves(synthetic.galvanostatic(rows=2000)))
    assert tip.overpotential_v == pytest.approx(0.015, abs=2e-5)
    assert tip.reason is None


def test_the_positive_slope_before_nucleation_is_no_tip(synthetic: Any) -> None:
    columns = synthetic.galvanostatic(rows=2000)
    columns["potential"][:5] = 0.7
    assert nucleation(_halves(columns)).overpotential_v == pytest.approx(0.015, abs=5e-5)


def test_no_tip_is_told_where_noise_could_have_made_it(synthetic: Any) -> None:
    columns = synthetic.galvanostatic(rows=2000, tip_v=0.0301, noise_v=3e-4)
    found = nucleation(_halves(columns))
    assert found.overpotential_v is None
    assert found.reason is not None
    assert "noise" in found.reason


def test_a_tip_survives_noise(synthetic: Any) -> None:
    columns = synthetic.galvanostatic(rows=4000, noise_v=1e-4)
    assert nucleation(_halves(columns)).overpotential_v == pytest.approx(0.015, abs=3e-4)


def test_halving_the_sample_rate_hardly_moves_the_tip(synthetic: Any) -> None:
    fine = nucleation(_halves(synthetic.galvanostatic(rows=2001))).overpotential_v
    coarse = nucleation(_halves(synthetic.galvanostatic(rows=1001))).overpotential_v
    assert fine is not None
    assert coarse == pytest.approx(fine, abs=3e-4)


def test_rows_too_far_apart_resolve_no_tip(synthetic: Any) -> None:
    found = nucleation(_halves(synthetic.galvanostatic(rows=60)))
    assert found.overpotential_v is None


def test_the_plateau_ignores_how_densely_edges_are_recorded(synthetic: Any) -> None:
    half = _halves(synthetic.galvanostatic((0.9,), rows=400))[0]
    assert plateau_v(half) == pytest.approx(0.030, abs=1e-6)


def test_polarisation_is_peak_to_peak_in_both_kinds_of_cell(synthetic: Any) -> None:
    plating, stripping = _halves(synthetic.galvanostatic((0.9,)))
    for symmetric in (True, False):
        assert polarisation_v(plating, stripping, symmetric=symmetric) == pytest.approx(0.06)


def test_net_and_passed_charge_follow_the_time(synthetic: Any) -> None:
    ledger = ChargeLedger(_halves(synthetic.galvanostatic((0.9,))))
    assert ledger.net_plated_mah_cm2(900.0) == pytest.approx(0.25)
    assert ledger.net_plated_mah_cm2(1e9) == pytest.approx(0.05)
    assert ledger.passed_c(AREA, 1e9) == pytest.approx(0.95 * 3.6 * AREA)


def test_the_ledger_gives_at_any_time_the_same_bits_as_summing_every_half_cycle(
    synthetic: Any,
) -> None:
    halves = _halves(synthetic.galvanostatic((0.9, 0.97, 1.01), rows=20))
    ledger = ChargeLedger(halves)
    edges = [float(t) for half in halves for t in (half.t_s[0], half.t_s[7], half.t_s[-1])]
    for at in [-np.inf, np.nan, np.inf, *edges, *(edge + 0.1 for edge in edges)]:
        begun = [half for half in halves if half.t_s[0] < at]
        charges = [float(np.interp(at, half.t_s, half.charge_mah_cm2)) for half in begun]
        net = passed = 0.0
        for half, charge in zip(begun, charges, strict=True):
            passed, net = passed + charge, net - half.role * charge
        assert ledger.net_plated_mah_cm2(at) == net
        assert ledger.passed_c(1.0, at) == passed * 1.0 * 3.6


def _with_edges(columns: dict[str, Any]) -> dict[str, Any]:
    """Add what newer runs have: the time since each step's edge, and status bits.

    The first row comes one row interval after the edge, as an instrument delivers it.
    """
    step_t, begun = np.zeros(len(columns["t"])), 0.0
    for row in range(len(step_t)):
        if row == 0 or columns["half_cycle"][row] != columns["half_cycle"][row - 1]:
            begun = columns["t"][row] - 1.0
        step_t[row] = columns["t"][row] - begun
    return {**columns, "step_t": step_t, "flags": np.zeros(len(step_t))}


def test_the_charge_since_the_edge_counts_where_the_instrument_told_it(synthetic: Any) -> None:
    columns = _with_edges(synthetic.galvanostatic((0.9,)))
    bare = _halves(columns)
    whole = _halves(columns, step_t_s=columns["step_t"], flags=columns["flags"])
    for without, with_edge in zip(bare, whole, strict=True):
        more = abs(without.current_a[0]) * 1.0 / 3.6 / AREA
        assert with_edge.capacity_mah_cm2 == pytest.approx(without.capacity_mah_cm2 + more)


@pytest.mark.parametrize(("half", "what"), [(1, "plating"), (2, "stripping")])
def test_a_cycle_whose_end_was_lost_on_the_line_has_no_efficiency(
    synthetic: Any, half: int, what: str
) -> None:
    columns = _with_edges(synthetic.galvanostatic((0.9, 0.95)))
    lost = np.flatnonzero((columns["half_cycle"] == half) & (columns["role"] != 0))[-1]
    columns = {name: np.delete(column, lost) for name, column in columns.items()}
    columns["flags"][lost] = 16  # the row that now follows
    ce = coulombic_efficiency(_halves(columns, flags=columns["flags"]))
    assert ce.cycles == (2,)
    assert ce.left_out == (f"cycle 1 is left out: rows were lost at the end of its {what}",)


ZERO = CurrentZero(1e-2, 2e-6, 1e-8)


@pytest.mark.parametrize(("electrode", "mirror"), [("WE", 1), ("CE", -1)])
def test_the_zero_of_the_current_is_taken_off_charges_and_not_off_currents(
    synthetic: Any, electrode: Any, mirror: int
) -> None:
    columns = synthetic.galvanostatic((0.9,), mirror=mirror)
    halves = _halves(columns, metal_electrode=electrode, zeros=(ZERO,))
    # 1.131 mA were read. At the working electrode 2 uA of a reading that oxidises were none: the
    # plating was stronger by that, the strip weaker; on the other cable the other way round.
    share = mirror * 2e-6 / 1.131e-3
    assert halves[0].capacity_mah_cm2 == pytest.approx(0.5 * (1 + share), rel=1e-9)
    assert halves[1].capacity_mah_cm2 == pytest.approx(0.45 * (1 - share), rel=1e-9)
    assert halves[0].mean_current_a == pytest.approx(-1.131e-3)
    accuracy = CurrentAccuracy(zeros=(ZERO,))
    ce = coulombic_efficiency(halves, accuracy)
    assert ce.percent[0] == pytest.approx(90 * (1 - share) / (1 + share), rel=1e-9)
    assert ce.uncertainty_percent[0] == pytest.approx(ce.percent[0] * 2e-8 / 1.131e-3)
    without = coulombic_efficiency(_halves(columns, metal_electrode=electrode), accuracy)
    assert without.percent[0] == pytest.approx(90)
    assert without.uncertainty_percent[0] == pytest.approx(90 * 2e-5 / 1.131e-3)


def test_each_part_of_a_resumed_half_cycle_is_without_its_own_zero(synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9,))
    later = CurrentZero(1e-2, -4e-6, 2e-8)
    plating, strip = _halves(columns, zeros=(ZERO,), later_zeros=((200, (later,)),))
    # Of 399 intervals the last 200 end in a row of the second run.
    first, second = 199 / 399, 200 / 399
    assert plating.zero is not None
    assert plating.zero.current_a == pytest.approx(first * 2e-6 - second * 4e-6)
    assert plating.zero.uncertainty_a == pytest.approx(math.hypot(first * 1e-8, second * 2e-8))
    share = plating.zero.current_a / 1.131e-3
    assert plating.capacity_mah_cm2 == pytest.approx(0.5 * (1 + share), rel=1e-9)
    until = 0.5 * first * (1 + 2e-6 / 1.131e-3)
    assert plating.charge_mah_cm2[199] == pytest.approx(until, rel=1e-9)
    assert strip.zero == later
    assert strip.capacity_mah_cm2 == pytest.approx(0.45 * (1 + 4e-6 / 1.131e-3), rel=1e-9)
    plating, strip = _halves(columns, zeros=(ZERO,), later_zeros=((200, ()),))
    assert plating.zero is strip.zero is None
    assert plating.capacity_mah_cm2 == pytest.approx(0.5, rel=1e-12)


def test_the_zero_and_its_uncertainty_are_those_of_the_range_that_was_recorded(
    synthetic: Any,
) -> None:
    start: dict[str, Any] = {
        "current_ranges": [
            {"current_a": 1.131e-3, "range_a": 1e-3},
            {"current_a": 5e-3, "range_a": 1e-2},
        ],
        "current_zero": {
            "measured": [
                {"range_a": 1e-3, "current_a": 2e-6, "uncertainty_a": 1e-8},
                {"range_a": 1e-2, "current_a": 7e-6, "uncertainty_a": 1e-7},
            ]
        },
    }
    zeros = current_zeros(start)
    halves = _halves(synthetic.galvanostatic((0.9,)), zeros=zeros)
    assert [half.zero for half in halves] == [zeros[0], zeros[0]]
    accuracy = CurrentAccuracy.from_start(start)
    assert accuracy.relative_offset(-1.131e-3, zeroed=True) == pytest.approx(1e-8 / 1.131e-3)
    assert accuracy.relative_offset(-1.131e-3) == pytest.approx(1e-6 / 1.131e-3)
    # No such current was set: which zero it had is not known.
    assert zero_of(3e-3, zeros) is None
    # Of a run that does not tell it, ranges carried no more than their nominal values.
    del start["current_ranges"]
    halves = _halves(synthetic.galvanostatic((0.9,)), zeros=current_zeros(start))
    assert [half.zero.range_a for half in halves if half.zero is not None] == [1e-2, 1e-2]


def test_no_zero_is_taken_off_a_current_that_moves_or_lies_in_another_range(synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9,))
    larger = _halves(columns, zeros=(CurrentZero(1e-3, 2e-6, 1e-8),))
    assert [half.zero for half in larger] == [None, None]
    assert larger[0].capacity_mah_cm2 == pytest.approx(0.5, rel=1e-12)
    columns["current"] *= np.linspace(1.0, 0.5, len(columns["current"]))
    assert [half.zero for half in _halves(columns, zeros=(ZERO,))] == [None, None]


def test_a_start_document_tells_the_zeros_that_were_measured() -> None:
    told = {"measured": [{"range_a": 0.01, "current_a": -1e-6, "uncertainty_a": 1e-9}]}
    assert current_zeros({"current_zero": told}) == (CurrentZero(0.01, -1e-6, 1e-9),)
    assert current_zeros({"current_zero": {"measured": [], "reason": "refused"}}) == ()
    assert current_zeros({}) == ()


def _ended_by_potential(
    rows_s: list[float], last_share: float, *, check_dt_s: float | None = None
) -> tuple[HalfCycle, HalfCycle]:
    """Return a strip of 1 mA/cm2 on 1 cm2 up to 0.5 V, as its rows tell it and as it ended."""
    steep = [0.02] * (len(rows_s) - 1) + [1.5]
    current = [1e-3] * (len(rows_s) - 1) + [last_share * 1e-3]
    columns = {
        "t": np.array(rows_s),
        "potential": np.array(steep),
        "current": np.array(current),
        **{name: np.ones(len(rows_s)) for name in ("cycle", "half_cycle", "role")},
    }
    step_t = np.array(rows_s)
    half = _halves(columns, area_cm2=1.0, step_t_s=step_t)[0]
    strip = {
        "type": "galvanostatic_step",
        "role": "strip",
        "current_density_ma_cm2": 1.0,
        "until": [
            {"quantity": "potential_above_v", "value": 0.5},
            {"quantity": "charge_mah_cm2", "value": 1.05, "action": "stop"},
        ],
        "record": {"dt_s": 30.0, "check_dt_s": check_dt_s, "edge_for_s": 0.0},
    }
    return half, with_ending(half, PlannedHalfCycles(strip))


@pytest.mark.parametrize(
    ("rows_s", "check_dt_s", "apart_s"),
    [
        ([1.0, 30.0, 60.0, 60.5], None, 0.5),  # two checks, both told
        ([1.0, 30.0, 60.0, 90.0], None, 1.0),  # rows rarer than checks
        ([1.0, 30.0, 60.0, 70.0], 10.0, 10.0),
        ([1.0, 30.0], None, 1.0),  # no more than two rows
        ([1.0, 3.0], 10.0, 2.0),
    ],
)
def test_a_cut_off_was_passed_somewhere_between_the_last_two_readings(
    rows_s: list[float], check_dt_s: float | None, apart_s: float
) -> None:
    told, ended = _ended_by_potential(rows_s, 1.0, check_dt_s=check_dt_s)
    assert ended.ended_by == "potential"
    np.testing.assert_array_equal(ended.charge_mah_cm2, told.charge_mah_cm2)
    assert ended.cut_off_u_mah_cm2 == pytest.approx(apart_s / 3600 / math.sqrt(3))


@settings(max_examples=50, deadline=None)
@given(passed=st.floats(0.0, 1.0), apart_s=st.floats(0.01, 30.0), check_dt_s=st.floats(0.01, 10.0))
def test_charge_of_a_source_at_its_limit_is_known_to_within_twice_its_uncertainty(
    passed: float, apart_s: float, check_dt_s: float
) -> None:
    # The current flowed for a share of the time between the last two readings, then no more.
    rows_s = [1.0, 100.0, 200.0, 200.0 + apart_s]
    _, ended = _ended_by_potential(rows_s, 0.0, check_dt_s=check_dt_s)
    between_s = min(apart_s, check_dt_s)
    true_mah_cm2 = (rows_s[-1] - (1 - passed) * between_s) / 3600
    off = abs(ended.capacity_mah_cm2 - true_mah_cm2)
    assert off <= 2 * ended.cut_off_u_mah_cm2
    assert ended.cut_off_u_mah_cm2 == pytest.approx(between_s / 3600 / math.sqrt(12))


@pytest.mark.parametrize("share", [-0.01, 0.0, 0.5])
def test_of_two_rows_the_first_tells_the_current_that_was_set(share: float) -> None:
    _, ended = _ended_by_potential([1.0, 30.0], share, check_dt_s=4.0)
    flowed = max(share, 0.0)
    # One second before the first row counts for as long as its step has lasted.
    counted_s = 1.0 + 29.0 - 0.5 * (1.0 - flowed) * 4.0
    assert ended.capacity_mah_cm2 == pytest.approx(counted_s / 3600)
    u = 4.0 / 3600 * math.sqrt(1 / 12 + flowed**2 / 4)
    assert ended.cut_off_u_mah_cm2 == pytest.approx(u)


def test_a_charge_that_ends_a_half_cycle_has_no_cut_off_to_be_unsure_of() -> None:
    step = {
        "type": "galvanostatic_step",
        "role": "strip",
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "charge_mah_cm2", "value": 0.025}],
    }
    half, _ = _ended_by_potential([1.0, 30.0, 60.0, 90.0], 1.0)
    ended = with_ending(half, PlannedHalfCycles(step))
    assert ended.ended_by == "charge"
    assert ended.cut_off_u_mah_cm2 == 0.0


def test_the_uncertainty_of_an_efficiency_holds_that_of_its_cut_off() -> None:
    accuracy = CurrentAccuracy(offset_a=0.0)
    plate = {
        "t": np.array([0.0, 1800.0, 3600.0]),
        "potential": np.full(3, -0.02),
        "current": np.full(3, -1e-3),
        "cycle": np.ones(3),
        "half_cycle": np.ones(3),
        "role": np.full(3, -1.0),
    }
    plated = _halves(plate, area_cm2=1.0)[0]
    stripped, ended = _ended_by_potential([1.0, 1800.0, 3500.0, 3510.0], 1.0, check_dt_s=10.0)
    plain = coulombic_efficiency((plated, stripped), accuracy)
    told = coulombic_efficiency((plated, ended), accuracy)
    assert plain.uncertainty_percent == (0.0,)
    assert told.percent == plain.percent
    assert told.uncertainty_percent[0] == pytest.approx(100 * 10 / 3600 / math.sqrt(3))
