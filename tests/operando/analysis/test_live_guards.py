"""What ends a run whatever it is for, found in rows however they come."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from operando.analysis._passed_charge import PassedCharge
from operando.analysis.live_verdicts import Verdict, Verdicts

ZINC = {"material": "Zn", "area_cm2": 1.0, "metal": "Zn", "thickness_um": 100}
SAMPLE = {
    "cell_id": "one",
    "metal": "Zn",
    "working_electrode": {"material": "Cu", "area_cm2": 1.0},
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}
THREE = {"reference_electrode": "Zn wire"}
CLOSED = {"headspace": "closed", "headspace_ml": 5.0}  # 30 kPa are 3.244 mAh
PRESSURE, PH = "pressure", "ph_meter"


def judge(every: dict[str, Any] | None = None, **changes: Any) -> Verdicts:
    return Verdicts({"sample": {**SAMPLE, **changes}, "every": every or {"reading_s": 10.0}})


def rows(
    potential: Any, current: Any = -1e-3, first_s: float = 1.0, dt_s: float = 1.0, **more: Any
) -> dict[str, list[float]]:
    count = len(potential)
    t_s = first_s + dt_s * np.arange(count)
    told = {
        "t": t_s,
        "step_t": t_s,
        "potential": np.asarray(potential),
        "current": np.broadcast_to(current, count),
        "cycle": np.ones(count),
        "half_cycle": np.ones(count),
        "step": np.ones(count),
        "role": -np.ones(count),
        "flags": np.zeros(count),
        **more,
    }
    return {f"potentiostat_{key}": np.asarray(x, float).tolist() for key, x in told.items()}


def told(judge: Verdicts, page: dict[str, list[float]], size: int = 7) -> Iterator[Verdict]:
    count = len(next(iter(page.values())))
    for first in range(0, count, size):
        part = {key: values[first : first + size] for key, values in page.items()}
        yield from judge.add(part)


def only(kind: str, verdicts: Iterator[Verdict]) -> list[Verdict]:
    return [one for one in verdicts if one.kind == kind]


@pytest.mark.parametrize("size", [1, 7, 500])
def test_a_reference_that_floats_is_found_within_a_window(size: int) -> None:
    random = np.random.default_rng(1)
    quiet = -0.05 + 0.002 * random.standard_normal(100)
    noisy = -0.05 + 0.2 * random.standard_normal(100)
    (one,) = only("reference_noise", told(judge(**THREE), rows([*quiet, *noisy]), size))
    # Half of the window's differences are of noise, give or take.
    assert 105 <= one.t_s <= 125
    assert one.value > 0.05
    assert "the reference floats" in one.reason


@pytest.mark.parametrize(
    "potential",
    [
        np.where(np.arange(200) < 100, -0.05, -1.0),  # a jump: a short, a lead put on again
        np.linspace(-1.0, 1.0, 200),  # a sweep
        np.tile([0.0] * 15 + [-0.5] * 15, 7),  # pulses, of which the window sees the edges
        -0.05 + 0.02 * np.random.default_rng(2).standard_normal(200),  # bubbles
    ],
)
def test_what_a_cell_does_is_no_noise_of_its_reference(potential: Any) -> None:
    assert only("reference_noise", told(judge(**THREE), rows(potential))) == []


def test_short_steps_make_no_window_together() -> None:
    potential = np.where(np.arange(200) % 2, 0.0, -0.5)
    page = rows(potential, step=np.arange(200))
    assert only("reference_noise", told(judge(**THREE), page)) == []
    check = {"reference_check": {"noise_max_v": 1.0}}
    assert only("reference_noise", told(judge(**THREE, **check), rows(potential))) == []
    assert "reference_noise" in judge().never_judged


@pytest.mark.parametrize("size", [1, 7, 500])
def test_rows_that_stay_overloaded_are_an_overload_and_single_ones_are_none(size: int) -> None:
    marks = np.zeros(100)
    marks[[3, 4, 20]] = 2
    marks[60:] = 2 + 1
    (one,) = only("overload", told(judge(), rows(np.full(100, -0.05), flags=marks), size))
    assert one.t_s == 63.0  # three rows over two seconds
    assert "nothing is controlled" in one.reason
    underload = np.full(100, 4 + 8)
    assert only("overload", told(judge(), rows(np.full(100, -0.05), flags=underload))) == []


def test_without_a_sensor_the_charge_tells_when_the_limit_may_be_reached() -> None:
    page = rows(np.full(300, -0.05), -1e-2, dt_s=10.0)
    (one,) = only("headspace_pressure", told(judge(**CLOSED), page))
    assert one.t_s == pytest.approx(3.244 / 10 * 3600, abs=70)  # at 10 mA, a page is 70 s
    assert one.value == pytest.approx(30.0, rel=0.07)
    assert "no sensor tells the pressure" in one.reason
    assert only("headspace_pressure", told(judge(headspace_ml=5.0), page)) == []


def pressed(judge: Verdicts, kpa: Callable[[int], float]) -> list[Verdict]:
    page = rows(np.full(300, -0.05), -1e-2, dt_s=10.0)
    found: list[Verdict] = []
    for row in range(300):
        found += judge.add({key: values[row : row + 1] for key, values in page.items()})
        found += judge.add({f"{PRESSURE}_overpressure": [1e3 * kpa(row)]}, PRESSURE)
    return [one for one in found if one.kind == "headspace_pressure"]


def test_a_sensor_that_tells_the_pressure_is_believed_and_its_limit_ends_the_run() -> None:
    assert pressed(judge(**CLOSED), lambda row: 2.0) == []
    (one,) = pressed(judge(**CLOSED), lambda row: 0.2 * row)
    assert one.t_s == 1.0 + 10 * 151
    assert one.value == pytest.approx(30.2)
    assert "pressure tells 0.302 bar above the atmosphere" in one.reason


def test_once_a_sensor_tells_nothing_any_more_the_charge_does() -> None:
    (one,) = pressed(judge(**CLOSED), lambda row: 2.0 if row < 200 else float("nan"))
    assert one.t_s == 1.0 + 10 * 203  # after three of its intervals
    assert "no sensor tells the pressure" in one.reason


def watched(**resume: float) -> Verdicts:
    """Return the judge of a closed cell whose pressure a sensor tells every 10 s."""
    start = {"sample": {**SAMPLE, **CLOSED}, "every": {"reading_s": 10.0}, "resume": resume}
    return Verdicts({**start, "headspace": {"watched_by": [PRESSURE]}})


def read(judge: Verdicts, t_s: Any, reads: Callable[[float], bool]) -> list[Verdict]:
    """Judge rows at these times, each followed by what was read since the row before it."""
    found: list[Verdict] = []
    since_s = 0.0
    for at_s in t_s:
        found += judge.add(rows([-0.05], -1e-2, at_s))
        for read_s in np.arange(10 * (since_s // 10) + 10, at_s + 1e-9, 10.0):
            page = {f"{PRESSURE}_overpressure": [2e3 if reads(read_s) else float("nan")]}
            found += judge.add({**page, f"{PRESSURE}_t_after": [at_s]}, PRESSURE)
        since_s = at_s
    return [one for one in found if one.kind == "headspace_pressure"]


# 1200 s at 10 mA are beyond the limit of the charge; then a spectrum without rows of its own.
PLATED_S = 1200.0
WITH_SPECTRUM = np.r_[np.arange(1.0, PLATED_S), PLATED_S + 731 + np.arange(1.0, 200.0)]


def test_a_sensor_that_was_read_during_a_spectrum_is_not_silent_after_it() -> None:
    assert read(watched(), WITH_SPECTRUM, lambda _: True) == []
    (one,) = read(watched(), WITH_SPECTRUM, lambda at_s: at_s < PLATED_S)
    assert PLATED_S + 731 < one.t_s <= PLATED_S + 731 + 31
    assert "no sensor tells the pressure" in one.reason


def test_rows_farther_apart_than_the_patience_make_no_sensor_silent() -> None:
    seldom = np.arange(60.0, 3600.0, 60.0)
    assert read(watched(), seldom, lambda _: True) == []
    (one,) = read(watched(), seldom, lambda at_s: at_s <= 1800)
    assert one.t_s == 1800 + 4 * 60


def test_a_run_that_goes_on_beyond_the_limit_of_the_charge_waits_for_its_sensor() -> None:
    before = {"plated_mah_cm2": 4.0, "stripped_mah_cm2": 0.0}
    seconds = np.arange(1.0, 100.0)
    assert read(watched(**before), seconds, lambda _: True) == []
    (one,) = read(watched(**before), seconds, lambda _: False)
    assert one.t_s == 32.0
    (sensed,) = watched(**before).add({f"{PRESSURE}_overpressure": [31e3]}, PRESSURE)
    assert sensed.value == 31.0


def test_what_may_have_passed_unrecorded_counts_as_hydrogen_in_a_run_that_goes_on() -> None:
    # 3.244 mAh are the limit, and 0.16 mAh pass.
    known = {"plated_mah_cm2": 3.0, "stripped_mah_cm2": 0.0}
    seconds = np.arange(1.0, 60.0)

    def silent(**more: Any) -> int:
        return len(read(watched(**known, **more), seconds, lambda _: False))

    assert silent() == 0
    assert silent(unrecorded_charge_mah_cm2=0.3) == 1
    assert silent(passed_charge_bounds_mah_cm2=[0.5, 0.8]) == 1


def test_a_run_that_goes_on_counts_steps_without_a_role_of_the_runs_before() -> None:
    earlier, later = watched(), watched(plated_mah_cm2=0.0, stripped_mah_cm2=0.0)
    read(earlier, np.arange(1.0, PLATED_S), lambda _: True)
    later.go_on_from(earlier)
    assert len(read(later, np.arange(PLATED_S, PLATED_S + 60), lambda _: False)) == 1


def test_what_passed_in_the_runs_before_counts() -> None:
    start = {
        "sample": {**SAMPLE, **CLOSED},
        "resume": {"plated_mah_cm2": 4.0, "stripped_mah_cm2": 0},
    }
    found = only("headspace_pressure", told(Verdicts(start), rows(np.full(5, -0.05), 0.0)))
    assert len(found) == 1


def test_a_sensor_in_the_cell_keeps_to_the_cells_temperatures_and_a_thermostat_does_so_itself() -> (
    None
):
    one = judge(temperature_min_k=283.15, temperature_max_k=313.15)
    one.add(rows([-0.05]))
    assert one.add({f"{PH}_temperature": [298.15, float("nan")]}, PH) == []
    assert one.add({"bath_temperature": [350.0], "bath_setpoint": [298.0]}, "bath") == []
    for kelvin in (314.0, 298.15, 400.0, float("nan"), 298.15):  # one reading may be odd
        assert one.add({f"{PH}_temperature": [kelvin]}, PH) == []
    assert one.add({f"{PH}_temperature": [314.0]}, PH) == []
    assert one.add({f"{PRESSURE}_temperature": [314.0]}, PRESSURE) == []
    (found,) = one.add({f"{PH}_temperature": [float("nan"), 314.0]}, PH)
    assert (found.kind, found.value) == ("temperature_outside", 314.0)
    assert "ph_meter tells 314.00 K, the cell allows 283.15 to 313.15 K" in found.reason
    assert one.add({f"{PH}_temperature": [314.0]}, PH) == []


def test_charge_adds_up_in_each_direction_whatever_the_pages_and_not_between_steps() -> None:
    t_s = np.r_[np.arange(1, 101), 500 + np.arange(1, 51)].astype(float)
    columns = {
        "t": t_s,
        "step_t": np.r_[np.arange(1, 101), np.arange(1, 51)].astype(float),
        "current": np.r_[np.full(100, -3.6e-3), np.full(50, 3.6e-3)],
        "step": np.r_[np.ones(100), np.full(50, 2.0)],
        "flags": np.zeros(150),
    }
    columns["t"][7] = np.nan
    for size in (1, 13, 150):
        for mirror, ways in ((1.0, (0.1, 0.05)), (-1.0, (0.05, 0.1))):
            charge = PassedCharge(mirror)
            for first in range(0, 150, size):
                charge.add({key: x[first : first + size] for key, x in columns.items()})
            passed = charge.plated_mah, charge.stripped_mah
            assert passed == pytest.approx(ways, rel=1e-9)
