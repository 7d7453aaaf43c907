"""Shorts, polarisation and lives, on cells made of a few resistances."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import welch
from scipy.stats import beta

from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.failure import Failure, FailureWatch, PotentialWindow, PotentialWindows
from operando.analysis.lives import failures_of, life
from operando.analysis.potential_noise import potential_noise_v_s
from operando.analysis.segments import HalfCycle, half_cycles
from operando.analysis.step_drops import StepDropDetector, step_drops

Array = NDArray[np.float64]
CURRENT_A, CELL_OHM, AREA_CM2, ROWS = 1.131e-3, 60.0, 1.131, 360
Short = tuple[float, float, float]  # begins at [s], lasts [s], resistance [ohm]


def cell(
    halves: int,
    shorts: Sequence[Short] = (),
    *,
    noise_v: float = 1e-4,
    seed: int = 0,
    rows: int = ROWS,
    interval_s: float = 1.0,
    grow: Array | None = None,
    current: Array | None = None,
) -> tuple[HalfCycle, ...]:
    """Return the half-cycles of a symmetric cell of 60 ohm with shorts in parallel.

    Each begins with a transient of a quarter that fades within 15 s. ``grow`` multiplies the
    cell's resistance and ``current`` the current, by half-cycle.
    """
    row = np.arange(halves * rows)
    number, since = np.divmod(row, rows)
    t_s, role = row * interval_s, np.where(number % 2 == 0, -1.0, 1.0)
    conductance = np.zeros(len(row))
    for begin_s, lasts_s, ohm in shorts:
        conductance[(t_s >= begin_s) & (t_s < begin_s + lasts_s)] += 1 / ohm
    ohm = CELL_OHM * (1 + 0.25 * np.exp(-since * interval_s / 15))
    if grow is not None:
        ohm = ohm * grow[number]
    current_a = role * CURRENT_A * (1.0 if current is None else current[number])
    noise = np.random.default_rng(seed).normal(0, noise_v, len(row)) if noise_v else 0.0
    potential_v = current_a * ohm / (1 + conductance * ohm) + noise
    return half_cycles(
        t_s, potential_v, current_a, number // 2 + 1.0, number + 1.0, role, area_cm2=AREA_CM2
    )


def found(halves: tuple[HalfCycle, ...], **options: object) -> tuple[Failure, ...]:
    return failures_of(halves, FailureWatch(symmetric=True, **options))  # type: ignore[arg-type]  # of the watch


def kinds(failures: Sequence[Failure]) -> list[str]:
    return [one.kind for one in failures]


# -- soft shorts within a half-cycle


def random_shorts(seed: int) -> list[Short]:
    """Return 22 shorts as the literature's model of a cell has them: one in each half-cycle."""
    random = np.random.default_rng(1000 + seed)
    return [
        (ROWS * n + random.uniform(25, 330), random.exponential(60), 30 * random.lognormal(0, 0.5))
        for n in range(22)
    ]


def test_soft_shorts_are_found_within_two_rows_and_nothing_else_is() -> None:
    hits, alarms, asked = 0, 0, 0
    for seed in range(10):
        shorts = random_shorts(seed)
        told = [d.t_s for half in cell(22, shorts, seed=seed) for d in step_drops(half)]
        true = [at for at in told if any(0 <= at - begin < 2 for begin, *_ in shorts)]
        asked, hits, alarms = asked + 22, hits + len(true), alarms + len(told) - len(true)
    # A short of less than two rows is none that rows can show: 3 % of these.
    lowest = float(beta.ppf(0.025, hits, asked - hits + 1))
    assert hits / asked >= 20 / 22, f"{hits} of {asked}"
    assert lowest >= 0.90, f"{hits} of {asked}: the interval of 95 % begins at {lowest:.3f}"
    assert alarms == 0


def test_twenty_healthy_cells_raise_no_alarm() -> None:
    for seed in range(20):
        assert found(cell(44, seed=seed)) == ()


def test_a_short_tells_its_time_and_its_resistance() -> None:
    for ohm in (30.0, 15.0, 5.0):
        (half,) = cell(1, [(150, 60, ohm)])
        (drop,) = step_drops(half)
        assert (drop.t_s, drop.sure_s) == (150.0, 151.0)
        assert drop.share_left == pytest.approx(ohm / (ohm + CELL_OHM), rel=0.02)
        assert drop.resistance_ohm == pytest.approx(ohm, rel=0.05)


def test_a_short_is_told_once_until_the_potential_has_recovered_to_nine_tenths() -> None:
    # It heals in two steps, the first to 83 %, and then there is another one.
    shorts = [(100, 20, 30.0), (120, 60, 300.0), (140, 20, 40.0), (240, 20, 30.0)]
    (half,) = cell(1, shorts)
    assert [drop.t_s for drop in step_drops(half)] == [100.0, 240.0]


def test_two_shorts_are_two_when_the_potential_has_recovered_between_them() -> None:
    (half,) = cell(1, [(100, 5, 30.0), (110, 5, 30.0)])
    assert [drop.t_s for drop in step_drops(half)] == [100.0, 110.0]


def test_the_decay_of_a_nucleation_tip_is_no_soft_short() -> None:
    for fading_s in (5.0, 20.0, 60.0, 300.0):
        t_s = np.concatenate((np.arange(0, 60, 1.0), np.arange(60, 1800, 10.0)))
        potential_v = -(0.01 + 0.04 * np.exp(-t_s / fading_s))
        potential_v[0] = 0.3  # the slope of interphase formation
        ones = np.ones(len(t_s))
        (half,) = half_cycles(t_s, potential_v, -1e-3 * ones, ones, ones, -ones, area_cm2=AREA_CM2)
        assert step_drops(half) == [], fading_s


def test_a_change_of_the_current_is_no_soft_short() -> None:
    (half,) = cell(1)
    current_a = np.where(half.t_s < 200, half.current_a, 0.5 * half.current_a)
    potential_v = np.where(half.t_s < 200, half.potential_v, 0.5 * half.potential_v)
    assert StepDropDetector().add(half.t_s, -potential_v, current_a) == []
    assert len(StepDropDetector().add(half.t_s, -potential_v, half.current_a)) == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=12), st.integers(0, 50))
def test_the_grouping_of_rows_changes_no_soft_short(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    shorts = [(random.uniform(0, 900), random.exponential(30), 30.0) for _ in range(8)]
    (half,) = cell(1, shorts, rows=900, seed=seed)
    detector, first, told = StepDropDetector(), 0, []
    while first < len(half.t_s):
        part = slice(first, first + sizes[first % len(sizes)])
        told += detector.add(half.t_s[part], -half.potential_v[part], half.current_a[part])
        first = part.stop
    assert told == step_drops(half)


def test_half_the_row_rate_finds_the_same_soft_shorts() -> None:
    shorts: list[Short] = [(ROWS * n + 150.0, 60.0, 30.0) for n in range(10)]
    coarse = cell(10, shorts, rows=ROWS // 2, interval_s=2.0)
    fine = cell(10, shorts)
    times = [[d.t_s for half in halves for d in step_drops(half)] for halves in (fine, coarse)]
    assert times[0] == pytest.approx([begin for begin, *_ in shorts], abs=1.0)
    assert times[1] == pytest.approx(times[0], abs=2.0)


# -- half-cycles against their baseline


def test_a_hard_short_is_told_with_the_second_half_cycle_and_dated_back_to_its_beginning() -> None:
    begin_s = ROWS * 20 + 250.0
    told = found(cell(30, [(begin_s, math.inf, 1.0)]))
    (hard,) = [one for one in told if one.kind == "hard_short"]
    assert hard.t_s == begin_s
    assert hard.half_cycle == 22  # most of the one before was sound
    assert hard.sure_s == ROWS * 23 - 1
    assert hard.resistance_ohm == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("first", [4, 5, 6, 7])
def test_a_cell_that_is_shorted_before_its_baseline_is_whole_has_not_survived(first: int) -> None:
    begin_s = ROWS * (first - 1.0)
    halves = cell(40, [(begin_s, math.inf, 1.0)])
    watch = FailureWatch(symmetric=True)
    told = failures_of(halves, watch)
    (hard,) = [one for one in told if one.kind == "hard_short"]
    assert (hard.half_cycle, hard.t_s) == (first, pytest.approx(begin_s, abs=1.0))
    assert hard.sure_s == ROWS * (first + 1) - 1
    assert life(halves, told, ["hard_short"], watch.why_not_judged).observed
    assert not watch.has_baseline or first > 5
    if not watch.has_baseline:
        assert "shorted before there was a baseline" in str(watch.why_not_judged)


@pytest.mark.parametrize("ohms", [[60, 60, 2], [60, 60, 60, 25, 9, 3], [60, 2, 2]])
def test_a_baseline_that_may_be_that_of_a_short_tells_no_survival(ohms: list[float]) -> None:
    grow = np.array([*ohms, *[ohms[-1]] * (40 - len(ohms))]) / CELL_OHM
    halves = cell(40, grow=grow)
    watch = FailureWatch(symmetric=True, potential_offset_v=1e-5)
    told = life(halves, failures_of(halves, watch), ["hard_short"], watch.why_not_judged)
    assert (told.hours, told.observed) == (None, False)
    assert "|E| fell from" in told.reason


def test_a_fall_from_which_the_cell_recovers_leaves_its_survival() -> None:
    halves = cell(40, grow=np.where(np.arange(40) == 6, 0.05, 1.0))
    watch = FailureWatch(symmetric=True, potential_offset_v=1e-5)
    told = life(halves, failures_of(halves, watch), ["hard_short"], watch.why_not_judged)
    assert "censored" in told.reason


def test_a_low_potential_that_is_not_ohmic_is_no_hard_short() -> None:
    number = np.arange(24)
    low = np.where(number % 2 == 0, 0.02, 0.08)
    halves = cell(24, grow=np.where(number >= 20, low, 1.0))
    assert "hard_short" not in kinds(found(halves, potential_offset_v=1e-5))


def test_one_low_half_cycle_is_no_hard_short() -> None:
    halves = cell(24, grow=np.where(np.arange(24) == 20, 0.02, 1.0))
    assert "hard_short" not in kinds(found(halves))


def test_a_baseline_that_the_offset_hides_judges_no_hard_short() -> None:
    halves = cell(30, [(ROWS * 20, math.inf, 0.1)], noise_v=1e-5, grow=np.full(30, 0.01))
    watch = FailureWatch(symmetric=True)
    assert "hard_short" not in kinds(failures_of(halves, watch))
    assert "below the potential's offset of 1 mV" in str(watch.why_not_judged)


@pytest.mark.parametrize("offset_v", [-9e-4, 0.0, 9e-4])
def test_where_the_offset_hides_a_tenth_of_the_baseline_it_is_taken_off(offset_v: float) -> None:
    """A baseline of 6.8 mV: half the difference of two half-cycles knows no offset."""
    small, begin_s = np.full(30, 0.1), ROWS * 20 + 250.0
    for shorts in ([], [(begin_s, math.inf, 0.3)]):
        halves = cell(30, shorts, noise_v=2e-5, grow=small)
        for half in halves:
            half.potential_v[:] += offset_v
        watch = FailureWatch(symmetric=True)
        hard = [one for one in failures_of(halves, watch) if one.kind == "hard_short"]
        assert watch.why_not_judged is None
        assert [(one.t_s, one.sure_s) for one in hard] == [
            (begin, ROWS * 24 - 1) for begin, *_ in shorts
        ]
        for one in hard:
            assert one.resistance_ohm == pytest.approx(0.3 * 6 / 6.3, rel=0.1)


def test_half_cycles_are_compared_with_those_of_the_same_current() -> None:
    rate = np.where(np.arange(40) // 10 % 2 == 0, 1.0, 0.05)
    assert found(cell(40, current=rate)) == ()


# Ten cycles at each of two temperatures.
TWO_K = {cycle: 253.15 if cycle <= 10 else 323.15 for cycle in range(1, 21)}


@pytest.mark.parametrize("factor", [0.08, 8.0])
def test_half_cycles_are_compared_with_those_of_the_same_temperature(factor: float) -> None:
    # Warmer it is far below a tenth, and both half-cycles are ohmic; colder far above three times.
    halves = cell(40, grow=np.where(np.arange(40) < 20, 1.0, factor))
    assert {"hard_short", "polarisation_failure"} & {*kinds(found(halves))}
    watch = FailureWatch(symmetric=True, temperatures_k=TWO_K)
    assert failures_of(halves, watch) == ()
    assert (watch.why_not_judged, watch.why_not_everywhere) == (None, None)


def test_a_hard_short_at_the_second_temperature_is_told() -> None:
    warmer, begin_s = np.where(np.arange(40) < 20, 1.0, 0.5), ROWS * 30 + 250.0
    told = found(cell(40, [(begin_s, math.inf, 0.5)], grow=warmer), temperatures_k=TWO_K)
    assert [one.t_s for one in told if one.kind == "hard_short"] == [begin_s]


def test_a_temperature_without_a_baseline_tells_no_survival() -> None:
    halves = cell(24, grow=np.where(np.arange(24) < 20, 1.0, 0.05))
    watch = FailureWatch(symmetric=True, temperatures_k=TWO_K)
    told = life(halves, failures_of(halves, watch), ["hard_short"], watch.why_not_judged)
    assert (told.hours, told.observed) == (None, False)
    assert told.reason.startswith("no half-cycle at 323.15 K could be compared with a baseline")
    assert watch.why_not_everywhere == told.reason


def test_half_cycles_whose_temperature_is_not_known_are_compared_with_none() -> None:
    halves = cell(40, grow=np.where(np.arange(40) < 20, 1.0, 0.05))
    watch = FailureWatch(symmetric=True, temperatures_k={})
    assert "do not tell at which they were" in str(watch.why_never_judged)  # before any has come
    assert failures_of(halves, watch) == ()
    assert watch.why_not_judged == watch.why_never_judged
    assert watch.why_not_everywhere == watch.why_never_judged
    assert not watch.has_baseline


def test_a_polarisation_failure_is_three_times_the_baseline() -> None:
    growing = 1 + np.maximum(np.arange(40) - 20, 0) * 0.24
    (failure,) = found(cell(40, grow=growing))
    assert (failure.kind, failure.half_cycle) == ("polarisation_failure", 30)
    assert failure.value == pytest.approx(3.16, rel=0.02)


def test_a_potential_at_the_limit_is_a_polarisation_failure() -> None:
    halves = cell(4, grow=np.array([1.0, 1, 1, 20]))
    (failure,) = found(halves, window=PotentialWindow(-1.0, 1.0))
    assert (failure.kind, failure.half_cycle) == ("polarisation_failure", 4)
    assert failure.value > 1.0


def test_a_limit_belongs_to_the_half_cycles_of_its_protocol() -> None:
    halves = cell(4, grow=np.array([1.0, 15, 1, 20]))
    wide, narrow = PotentialWindow(), PotentialWindow(-0.7, 0.7)
    for first, failed in ((1, [2]), (3, [4]), (5, [])):
        window = PotentialWindows(((1, wide), (first, narrow)))
        told = [one for one in found(halves, window=window) if "at the limit" in one.reason]
        assert [one.half_cycle for one in told] == failed


def test_restlessness_is_told_against_the_first_ten_cycles() -> None:
    halves = cell(60)
    random = np.random.default_rng(5)
    for half in halves[40:]:
        half.potential_v[:] += random.normal(0, 1e-3, len(half.potential_v))
    (failure,) = found(halves)
    assert (failure.kind, failure.half_cycle) == ("soft_short_noise", 41)


def test_the_noise_is_that_of_welch() -> None:
    (half,) = cell(1, rows=2000)
    first, stop = np.searchsorted(half.t_s, [0.2 * half.t_s[-1], 0.9 * half.t_s[-1]])
    hertz, density = welch(np.diff(half.potential_v[first:stop]), 1.0, nperseg=128, noverlap=32)
    inside = (hertz >= 0.01) & (hertz <= 0.5)
    expected = math.sqrt(float(density[inside].sum()) * hertz[1])
    assert potential_noise_v_s(half) == pytest.approx(expected, rel=1e-9)


def test_the_noise_of_rows_that_are_too_few_or_too_far_apart_is_not_told() -> None:
    assert potential_noise_v_s(cell(1, rows=150)[0]) is None
    assert potential_noise_v_s(cell(1, rows=900, interval_s=20.0)[0]) is None


# -- charge that comes back


def half_cell(
    plated: Sequence[float], stripped: Sequence[float], *, ends_v: float = 0.5
) -> tuple[HalfCycle, ...]:
    """Return a half cell's half-cycles of these charges [mAh/cm2] at 1 mA/cm2, 20 s a row."""
    columns: list[list[float]] = [[], [], [], [], [], []]
    t_s, number = 0.0, 0
    for cycle, charges in enumerate(zip(plated, stripped, strict=True), 1):
        for role, charge in zip((-1.0, 1.0), charges, strict=True):
            number += 1
            t = t_s + np.linspace(0, charge * 3600, 100)
            t_s = float(t[-1]) + 1
            potential_v = np.full(100, role * 0.03)
            potential_v[-1] = ends_v if role > 0 else -0.03
            current_a = np.full(100, role * 1e-3 * AREA_CM2)
            for column, values in zip(
                columns,
                (
                    t,
                    potential_v,
                    current_a,
                    np.full(100, cycle),
                    np.full(100, number),
                    np.full(100, role),
                ),
                strict=True,
            ):
                column.extend(values.tolist())
    return half_cycles(*(np.array(column) for column in columns), area_cm2=AREA_CM2)


def test_more_charge_than_was_plated_is_a_short_beyond_102_percent() -> None:
    halves = half_cell([1] * 4, [0.98, 1.01, 1.03, 0.99])
    watch = FailureWatch(substrate=True, accuracy=CurrentAccuracy(offset_a=1e-6))
    told = failures_of(halves, watch)
    assert [(one.kind, one.cycle) for one in told] == [("soft_short_coulombic", 3)]
    assert told[0].value == pytest.approx(103, abs=0.1)
    coarse = FailureWatch(substrate=True, accuracy=CurrentAccuracy(offset_a=20e-6))
    assert failures_of(halves, coarse) == ()  # the offset alone makes as much


def test_what_a_reservoir_gives_back_at_its_end_is_no_short() -> None:
    # Plated 5, then four shallow cycles that end on the plateau, then all of it.
    shallow = half_cell([5, 1, 1, 1], [1, 1, 1, 1], ends_v=0.03)
    last = half_cell([5, 1, 1, 1], [1, 1, 1, 4.9])
    halves = (*shallow[:7], last[7])
    assert failures_of(halves, FailureWatch(substrate=True)) == ()


# -- lives


def test_a_life_that_did_not_end_is_censored() -> None:
    halves = cell(20)
    told = life(halves, found(halves), ["hard_short"])
    assert (told.observed, told.hours) == (False, pytest.approx((20 * ROWS - 1) / 3600))
    assert "censored" in told.reason


def test_a_life_ends_with_its_first_failure() -> None:
    begin_s = ROWS * 15 + 100.0
    halves = cell(30, [(begin_s, 30, 20.0), (begin_s + 5 * ROWS, 30, 20.0)])
    told = life(halves, found(halves), ["soft_short"])
    assert (told.observed, told.hours) == (True, pytest.approx(begin_s / 3600))


def test_a_life_that_could_not_be_judged_is_none() -> None:
    halves = cell(3)
    watch = FailureWatch(symmetric=True)
    told = life(halves, failures_of(halves, watch), ["hard_short"], watch.why_not_judged)
    assert (told.hours, told.observed) == (None, False)
    assert "no baseline" in told.reason


# -- square waves


def test_a_flat_trace_at_the_intercept_is_a_square_wave() -> None:
    halves = list(cell(30))
    for half in halves[20:]:
        half.potential_v[:] = half.role * 0.5e-3 * 9.0 + np.zeros(len(half.t_s))
    with_short = [None if half.number <= 20 else 4.0 for half in halves]
    told = failures_of(halves, FailureWatch(symmetric=True), intercepts_ohm=with_short)
    assert [one.half_cycle for one in told if one.kind == "square_wave"] == [21]
    without = failures_of(halves, FailureWatch(symmetric=True))
    assert "square_wave" not in kinds(without)
