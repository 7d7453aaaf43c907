"""What is said of a run while it goes on: the same however its rows come."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from operando.analysis import Metric, metrics
from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.blocks import compared_temperatures_k
from operando.analysis.failure import FailureWatch
from operando.analysis.live_verdicts import KINDS, Verdict, Verdicts
from operando.analysis.lives import failures_of
from operando.analysis.segments import half_cycles
from operando.runs import Run
from techniques import Cell, FailureCriteria, Protocol

Array = NDArray[np.float64]
AREA_CM2, CURRENT_A, OHM = 1.131, 1.131e-3, 60.0
ZINC = {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn", "thickness_um": 100}
COPPER = {"material": "Cu", "area_cm2": AREA_CM2}
SYMMETRIC = {
    "cell_id": "ZN-ZN-1",
    "metal": "Zn",
    "working_electrode": ZINC,
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}
HALF_CELL = {**SYMMETRIC, "working_electrode": COPPER}
CALIBRATED = {"potentiostat": {"current_offset_uncertainty_a": 1e-7}}


def rows_of(
    halves: Sequence[tuple[int, float]],
    *,
    shorts: Sequence[tuple[float, float, float]] = (),
    tip_v: float = 0.0,
    ends_v: float | None = None,
    mirror: int = 1,
    noise_v: float = 1e-4,
    seed: int = 0,
) -> dict[str, Array]:
    """Return the columns of half-cycles (role, seconds), a row per second, 20 s of rest after each.

    A tip of ``tip_v`` lies in the first; strips end at ``ends_v``; shorts begin, last, ohm.
    """
    names = ("t", "potential", "current", "cycle", "half_cycle", "role", "step_t", "flags")
    columns: dict[str, list[Array]] = {name: [] for name in names}
    begin_s = 0.0
    for number, (role, seconds) in enumerate(halves, 1):
        for kind, lasts_s in ((role, seconds), (0, 20.0)):
            since_s = np.arange(1.0, lasts_s + 1)
            t_s = begin_s + since_s
            conductance = np.zeros(len(t_s))
            for at_s, for_s, ohm in shorts:
                conductance[(t_s >= at_s) & (t_s < at_s + for_s)] += 1 / ohm
            potential_v = kind * CURRENT_A * OHM / (1 + conductance * OHM)
            if number == 1 and kind:
                share = since_s / 25
                potential_v = potential_v + kind * tip_v * share * np.exp(1 - share)
            if kind > 0 and ends_v is not None:
                potential_v = potential_v + (ends_v - potential_v) * (since_s / lasts_s) ** 200
            values = {
                "t": t_s,
                "potential": mirror * potential_v,
                "current": np.full(len(t_s), mirror * kind * CURRENT_A),
                "cycle": np.full(len(t_s), (number + 1) // 2),
                "half_cycle": np.full(len(t_s), number),
                "role": np.full(len(t_s), kind),
                "step_t": since_s,
                "flags": np.zeros(len(t_s)),
            }
            for name, value in values.items():
                columns[name].append(np.asarray(value, dtype=np.float64))
            begin_s += lasts_s
    found = {f"potentiostat_{name}": np.concatenate(parts) for name, parts in columns.items()}
    noise = np.random.default_rng(seed).normal(0, noise_v, len(found["potentiostat_t"]))
    return found | {"potentiostat_potential": found["potentiostat_potential"] + noise}


def told(
    sample: Mapping[str, Any],
    rows: Mapping[str, Array],
    sizes: Sequence[int] = (10**9,),
    **start: Any,
) -> list[Verdict]:
    verdicts = Verdicts({"sample": sample, "calibration": CALIBRATED, **start})
    found: list[Verdict] = []
    first = page = 0
    while first < len(rows["potentiostat_t"]):
        part = slice(first, first + sizes[page % len(sizes)])
        found += verdicts.add({key: values[part].tolist() for key, values in rows.items()})
        first, page = part.stop, page + 1
    return found


EVERYTHING = {
    # A tip, soft shorts, noise, a hard short and, between them, rests: 36 half-cycles of 300 s.
    "symmetric": (
        SYMMETRIC,
        rows_of(
            [(-1 if n % 2 == 0 else 1, 300.0) for n in range(36)],
            shorts=[(5000.0, 30.0, 20.0), (6550.0, 100.0, 40.0), (10_400.0, math.inf, 1.0)],
            tip_v=0.02,
        ),
    ),
    # A strip that goes on beyond what was plated, and a cycle of more than 102 %.
    "half": (
        HALF_CELL,
        rows_of([(-1, 300.0), (1, 297.0), (-1, 300.0), (1, 330.0), (-1, 300.0)], ends_v=0.5),
    ),
    "polarised": (
        SYMMETRIC,
        rows_of([(-1 if n % 2 == 0 else 1, 200.0) for n in range(12)]),
    ),
}
EVERYTHING["polarised"][1]["potentiostat_potential"][1800:1810] *= 30
LIMITS = {"limits": {"effective": {"potential_min_v": -1.5, "potential_max_v": 1.5}}}


WHOLE = {which: told(*EVERYTHING[which], **LIMITS) for which in EVERYTHING}


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(sorted(EVERYTHING)),
    st.lists(st.integers(1, 2000), min_size=4, max_size=10).filter(lambda sizes: sum(sizes) > 400),
)
def test_the_verdicts_do_not_depend_on_how_rows_are_grouped(which: str, sizes: list[int]) -> None:
    sample, rows = EVERYTHING[which]
    assert told(sample, rows, sizes, **LIMITS) == WHOLE[which]


def test_pages_of_one_row_tell_the_same() -> None:
    sample, rows = EVERYTHING["half"]
    assert told(sample, rows, [1]) == told(sample, rows)


def test_a_symmetric_cell_tells_tip_soft_shorts_and_hard_short() -> None:
    sample, rows = EVERYTHING["symmetric"]
    found = told(sample, rows)
    assert [one.kind for one in found] == [
        "nucleation_tip",
        "soft_short",
        "soft_short",
        "soft_short_noise",  # the steps are noise too, once their half-cycles are over
        "soft_short",
        "soft_short_noise",
        "hard_short",
    ]
    tip, first, second, _, third, _, hard = found
    assert tip.value == pytest.approx(CURRENT_A * OHM * 1e3 + 20, rel=0.02)
    assert 25 < tip.t_s < 40
    assert [one.t_s for one in (first, second, third)] == [5001.0, 6551.0, 10_401.0]
    assert first.value == pytest.approx(20 / 80, rel=0.02)
    # Sure with the first row of the rest after the second half-cycle of a low potential.
    assert (hard.half_cycle, hard.t_s) == (33, 34 * 320 - 20 + 1)
    assert all(one.kind in KINDS for one in found)


def test_live_and_afterwards_are_one_code() -> None:
    _, rows = EVERYTHING["symmetric"]
    names = ("t", "potential", "current", "cycle", "half_cycle", "role")
    halves = half_cycles(
        *(rows[f"potentiostat_{name}"] for name in names),
        area_cm2=AREA_CM2,
        step_t_s=rows["potentiostat_step_t"],
    )
    afterwards = failures_of(halves, FailureWatch(symmetric=True))
    live = [one for one in told(SYMMETRIC, rows) if one.kind != "nucleation_tip"]
    assert [(one.kind, one.value, one.reason) for one in afterwards] == [
        (one.kind, one.value, one.reason) for one in live
    ]


def reported(run: Any, rows: Mapping[str, Array], **start: Any) -> dict[str, Metric]:
    """Return the metrics of a recorded run of these rows."""
    run.documents[0][1].update(start)
    columns = {key.removeprefix("potentiostat_"): values for key, values in rows.items()}
    run.stream("potentiostat", "potentiostat", {**columns, "step": columns["half_cycle"]})
    run.stop()
    return metrics(Run.from_documents(run.documents))


def test_a_run_over_temperatures_is_judged_within_each_live_and_afterwards(
    make_run: Callable[..., Any],
) -> None:
    cycling = {"type": "symmetric_cycling", "current_density_ma_cm2": 1.0, "cycles": 9}
    asked = {
        "name": "warmer",
        "cell": "zn-zn",
        "technique": {**cycling, "half_cycle_s": 300.0},
        "temperatures": {"kelvin": [253.15, 323.15]},
    }
    protocol = Protocol.model_validate(asked)
    assert "hard_short" in {rule.when.event for rule in protocol.rules}
    start = {
        "technique": protocol.program(Cell.model_validate(SYMMETRIC)).model_dump(mode="json"),
        "temperatures": asked["temperatures"],
    }
    assert compared_temperatures_k(start) == {
        cycle: 253.15 if cycle <= 9 else 323.15 for cycle in range(1, 19)
    }
    rows = rows_of([(-1 if n % 2 == 0 else 1, 300.0) for n in range(36)])
    share = np.where(rows["potentiostat_half_cycle"] > 18, 0.06, 1.0)
    rows["potentiostat_potential"] = share * rows["potentiostat_potential"]
    assert "hard_short" in {one.kind for one in told(SYMMETRIC, rows)}
    assert "hard_short" not in {one.kind for one in told(SYMMETRIC, rows, **start)}
    found = reported(make_run(SYMMETRIC, calibration=CALIBRATED), rows, **start)
    assert found["hard_short_cycle"].value is None
    assert found["life_hard_short_observed"].value == 0.0
    assert found["life_polarisation_observed"].value == 0.0


def test_cycles_tell_no_temperature_where_they_do_not_count_what_is_driven() -> None:
    pulses = {"type": "pulses", "current_density_ma_cm2": 1.0, "pulse_s": 60.0, "relax_s": 60.0}
    told = {"name": "p", "cell": "c", "technique": {**pulses, "pulses": 9}}
    for kelvin, expected in (([253.15, 323.15], {}), ([253.15], None)):
        protocol = Protocol.model_validate({**told, "temperatures": {"kelvin": kelvin}})
        program = protocol.program(Cell.model_validate(SYMMETRIC)).model_dump(mode="json")
        start = {"technique": program, "temperatures": {"kelvin": kelvin}}
        assert compared_temperatures_k(start) == expected
        never = Verdicts({"sample": SYMMETRIC, **start}).never_judged
        assert ("hard_short" in never) == (expected == {})


def test_thresholds_of_a_protocol_judge_live_and_afterwards_alike(
    make_run: Callable[..., Any],
) -> None:
    sample, rows = EVERYTHING["symmetric"]
    # 40 ohm beside 60 take 60 %, too little now; 1 ohm leaves 1.6 %, too much for a hard short.
    criteria = {"drops": {"drop": 0.7}, "hard_share": 0.01}
    calibration = {"potentiostat": {"potential_offset_uncertainty_v": 1e-4}}
    live = told(sample, rows, failure_criteria=criteria, calibration=calibration)
    assert [one.t_s for one in live if one.kind == "soft_short"] == [5001.0, 10_401.0]
    assert "hard_short" not in [one.kind for one in live]
    told_afterwards = {"failure_criteria": criteria, "calibration": calibration}
    found = reported(make_run(sample), rows, **told_afterwards)
    assert found["soft_short_count"].value == 2
    assert found["soft_short_time_h"].value == pytest.approx([5000 / 3600, 10_400 / 3600])
    assert found["life_hard_short_observed"].value == 0
    for name in ("soft_short_count", "soft_short_time_h", "life_first_soft_short_h"):
        assert "judged by the protocol's drop 0.7 instead of 0.2" in str(found[name].reason)
    assert "hard_share 0.01 instead of 0.1" in str(found["life_hard_short_h"].reason)
    for name in ("life_polarisation_h", "soft_short_noise_cycle"):
        assert "instead of" not in str(found[name].reason)


def test_every_threshold_is_told_with_the_metrics_that_it_decides(
    make_run: Callable[..., Any],
) -> None:
    # Each a little beside its default.
    usual = FailureCriteria().model_dump()
    other = {
        name: value + 1 if isinstance(value, int) else value * 1.01
        for name, value in usual.items()
        if name != "drops"
    }
    found = reported(make_run(SYMMETRIC), EVERYTHING["symmetric"][1], failure_criteria=other)
    told = " ".join(str(metric.reason) for metric in found.values())
    assert [name for name in other if f"{name} {other[name]:g} instead of" not in told] == []


def test_thresholds_that_are_not_valid_judge_nothing(make_run: Callable[..., Any]) -> None:
    sample, rows = EVERYTHING["polarised"]
    wrong = {"failure_criteria": {"hard_share": 2.0}}
    with pytest.raises(
        ValueError, match=r"failure_criteria\.hard_share is not valid: .* less than 1"
    ):
        Verdicts({"sample": sample, **wrong})
    found = reported(make_run(sample), rows, **wrong)
    for name in ("life_hard_short_h", "soft_short_count", "square_wave_cycle"):
        assert found[name].value is None
        assert "failure_criteria.hard_share is not valid" in str(found[name].reason)


def test_a_mirrored_cable_tells_the_same() -> None:
    sample = {**SYMMETRIC, "metal_electrode": "CE"}
    arguments: dict[str, Any] = {"shorts": [(500.0, 50.0, 20.0)], "noise_v": 0.0}
    halves = [(-1, 300.0), (1, 300.0)]
    straight = told(SYMMETRIC, rows_of(halves, **arguments))
    assert [one.kind for one in straight] == ["soft_short"]
    assert told(sample, rows_of(halves, mirror=-1, **arguments)) == straight


def test_a_strip_of_more_than_the_inventory_is_told_while_it_goes_on() -> None:
    sample, rows = EVERYTHING["half"]
    found = told(sample, rows)
    assert [one.kind for one in found if one.kind != "nucleation_tip"] == [
        "strip_overrun",
        "soft_short_coulombic",
    ]
    overrun = next(one for one in found if one.kind == "strip_overrun")
    began_s = 3 * 20 + 300 + 297 + 300
    # 3 s of the first plating's metal are still there, and 5 % of all of it may be an error.
    assert overrun.t_s - began_s == math.floor(303 * 1.05) + 1
    assert overrun.value == pytest.approx((319 - 303) / 3600, rel=1e-6)


def test_the_inventory_of_a_foil_is_there_to_be_stripped() -> None:
    halves = [(1, 2000.0), (-1, 2000.0)]
    assert told(SYMMETRIC, rows_of(halves)) == []
    thin = {**SYMMETRIC, "working_electrode": {**ZINC, "thickness_um": 0.5}}
    assert [one.kind for one in told(thin, rows_of(halves))] == ["strip_overrun"]


def test_a_hard_short_that_the_offset_hides_is_never_judged_but_one_that_waits_for_rows_is() -> (
    None
):
    sample, rows = EVERYTHING["polarised"]
    coarse = {"potentiostat": {"potential_offset_uncertainty_v": 0.1}}
    for calibration, told in ((CALIBRATED, False), (coarse, True)):
        verdicts = Verdicts({"sample": sample, "calibration": calibration})
        assert "hard_short" in verdicts.not_judged
        assert "hard_short" not in verdicts.never_judged
        verdicts.add({key: values.tolist() for key, values in rows.items()})
        assert ("hard_short" in verdicts.never_judged) is told
    assert "below the potential's offset of 100 mV" in verdicts.never_judged["hard_short"]
    assert "half cell" in verdicts.never_judged["soft_short_coulombic"]
    assert "square_wave" in Verdicts({"sample": HALF_CELL}).never_judged


def test_a_foil_of_unknown_thickness_and_a_resumed_run_judge_no_overrun() -> None:
    foil = {**ZINC, "thickness_um": None}
    unknown = {**SYMMETRIC, "working_electrode": foil}
    assert "thickness" in Verdicts({"sample": unknown}).not_judged["strip_overrun"]
    resumed = Verdicts({"sample": HALF_CELL, "resume": {"begin": {"half_cycle": 4}}})
    assert "another" in resumed.not_judged["strip_overrun"]


def after(plated: float | None, stripped: float | None) -> dict[str, Any]:
    begin = {"half_cycle": 3}
    passed = {"plated_mah_cm2": plated, "stripped_mah_cm2": stripped}
    return {"resume": {"half_cycle": 4, "begin": begin, **passed}}


def test_a_resumed_run_counts_what_was_plated_and_stripped_before() -> None:
    # 300 s of a strip that an earlier run began, at 1 mA/cm2.
    rows = rows_of([(1, 300.0)])
    strip = 300 / 3600
    for plated, stripped, found in (
        (1.0, 1.0 - strip, []),  # just what is left of it
        (1.0, 1.0 - 0.97 * strip, []),  # 3 % of it more
        (1.0, 1.0 - 0.9 * strip, ["strip_overrun"]),
        (1.0, 1.0, ["strip_overrun"]),
        (None, 0.5, []),
    ):
        start = after(plated, stripped)
        assert [one.kind for one in told(HALF_CELL, rows, **start)] == found
        never = Verdicts({"sample": HALF_CELL, **start}).never_judged
        assert ("strip_overrun" in never) is (plated is None)
        assert "half cell from its beginning" in never["soft_short_coulombic"]


def test_what_the_current_is_uncertain_by_is_no_metal_from_nowhere() -> None:
    # 0.4 % too much in 96 cycles, which an offset of 0.1 % explains: it counts twice.
    rows = rows_of([(-1, 300.0), (1, 300.0)])
    before = after(8.0, 8.0 * 1.004)
    assert [one.kind for one in told(HALF_CELL, rows, **before)] == ["strip_overrun"]
    offset_a = 1e-3 * CURRENT_A
    uncertain = {"potentiostat": {"current_offset_uncertainty_a": offset_a}}
    found = told(HALF_CELL, rows, calibration=uncertain, **before)
    assert [one.kind for one in found] == []


def interrupted(rows: Mapping[str, Array], row: int, gap_s: float) -> dict[str, Array]:
    """Return rows of which a spectrum stopped a half-cycle before ``row``; it relaxed since."""
    later = {key: values.copy() for key, values in rows.items()}
    later["potentiostat_t"][row:] += gap_s
    same = rows["potentiostat_half_cycle"] == rows["potentiostat_half_cycle"][row]
    same &= rows["potentiostat_role"] == rows["potentiostat_role"][row]
    same &= np.arange(len(same)) >= row
    since_s = np.cumsum(same)[same]
    later["potentiostat_step_t"][same] = since_s
    later["potentiostat_potential"][same] *= 1 - 0.6 * np.exp(-since_s / 5.0)
    return later


def test_a_half_cycle_that_a_spectrum_interrupted_is_gone_on_with() -> None:
    halves = [(-1, 300.0), (1, 306.0)]
    rows = rows_of(halves, ends_v=0.5)
    # 150 s into the strip, which takes 102 % of what was plated: with the gap's charge too much.
    stopped = interrupted(rows, 320 + 150, 100.0)
    assert told(HALF_CELL, stopped) == []
    assert told(HALF_CELL, stopped, [7]) == []
    without_edge = {**stopped, "potentiostat_step_t": np.full(len(stopped["potentiostat_t"]), 1.0)}
    without_edge["potentiostat_step_t"][:] = math.nan
    assert "strip_overrun" in [one.kind for one in told(HALF_CELL, without_edge)]


def test_the_limit_is_told_at_its_row_and_once() -> None:
    sample, rows = EVERYTHING["polarised"]
    found = told(sample, rows, **LIMITS)
    assert [one.kind for one in found] == ["polarisation_failure"]
    assert found[0].t_s == rows["potentiostat_t"][1800]


def test_what_cannot_be_read_is_passed_over() -> None:
    sample, rows = EVERYTHING["symmetric"]
    broken = {key: values.copy() for key, values in rows.items()}
    for key in ("potentiostat_potential", "potentiostat_role", "potentiostat_t"):
        broken[key][100:4000:97] = math.nan
    found = [one.kind for one in told(sample, broken)]
    assert found == [one.kind for one in told(sample, rows)]
    verdicts = Verdicts({"sample": sample})
    assert verdicts.add({}) == []
    assert verdicts.add({"potentiostat_t": [1.0]}) == []
    assert verdicts.add({"thermostat_t": [1.0]}, "thermostat") == []


def test_rows_that_cannot_be_read_are_counted_and_doubted_as_afterwards() -> None:
    sample, rows = EVERYTHING["half"]
    broken = {key: values.copy() for key, values in rows.items()}
    began = 3 * 20 + 300 + 297 + 300
    broken["potentiostat_current"][began + 100 : began + 103] = math.nan
    broken["potentiostat_potential"][began + 200 : began + 202] = math.nan
    broken["potentiostat_role"][began + 400] = math.nan
    # The charge that came back is not sure any more; that there was too much of it is.
    kinds = [one.kind for one in told(sample, broken)]
    assert [kind for kind in kinds if kind != "nucleation_tip"] == ["strip_overrun"]
    assert told(sample, broken, [7]) == told(sample, broken)
    verdicts = Verdicts({"sample": sample, "calibration": CALIBRATED})
    assert verdicts.doubtful == {}
    verdicts.add({key: values.tolist() for key, values in broken.items()})
    assert verdicts.doubtful == {4: (5, 330), 0: (1, len(rows["potentiostat_t"]))}
    names = ("t", "potential", "current", "cycle", "half_cycle", "role")
    halves = half_cycles(
        *(broken[f"potentiostat_{name}"] for name in names),
        area_cm2=AREA_CM2,
        step_t_s=broken["potentiostat_step_t"],
    )
    assert "3 of its 330 rows could not be read" in halves[3].doubts[0]
    accuracy = CurrentAccuracy.from_calibration(CALIBRATED)
    watch = FailureWatch(substrate=True, accuracy=accuracy)
    assert failures_of(halves, watch) == ()


def test_a_run_without_a_cell_judges_nothing_and_says_so() -> None:
    verdicts = Verdicts({"sample": {"cell_id": "?"}})
    assert verdicts.add(EVERYTHING["symmetric"][1]) == []
    assert verdicts.not_judged.keys() == set(KINDS)


def test_hydrogen_is_told_with_each_chromatogram(synthetic: Any) -> None:
    calibration = {
        "gas_chromatograph": {
            "hydrogen_area_per_mole_fraction": 6.7e6,
            "sample_loop_ml": 0.25,
            "headspace": "closed",
        }
    }
    verdicts = Verdicts({"sample": {**HALF_CELL, "headspace_ml": 5.0}, "calibration": calibration})
    umol = []
    for number, area in enumerate((600.0, 1200.0), 1):
        page = {
            "gas_chromatograph_result_injection": [number],
            "gas_chromatograph_result_sample_interval": [0.02],
            "gas_chromatograph_result_trace": [synthetic.chromatogram(area, seed=number)],
        }
        (found,) = verdicts.add(page, "chromatogram")
        assert found.kind == "hydrogen"
        umol.append(found.value)
    assert umol[0] == pytest.approx(600 / 6.7e6 * 101_325 * 5e-6 / (8.314 * 298.15) * 1e6, rel=0.1)
    assert umol[1] > 1.8 * umol[0]


def test_a_short_from_the_fourth_half_cycle_on_is_told_live_and_afterwards(
    make_run: Callable[..., Any],
) -> None:
    halves = [(-1 if n % 2 == 0 else 1, 300.0) for n in range(14)]
    rows = rows_of(halves, shorts=[(3 * 320.0, math.inf, 1.0)])
    (hard,) = [one for one in told(SYMMETRIC, rows) if one.kind == "hard_short"]
    assert (hard.half_cycle, hard.t_s) == (4, 5 * 320 - 20 + 1)
    found = reported(make_run(SYMMETRIC), rows)
    assert found["life_hard_short_observed"].value == 1.0
    assert found["life_hard_short_h"].value == pytest.approx(3 * 320 / 3600, abs=30 / 3600)
