"""What light did, from rows whose truth is known."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.analysis.light import against_fresh, mean_of, potential_step, spots_of
from operando.plots import SHEETS, EvaluatedRun, draw
from operando.runs import Run

STEP_V, NOISE_V, DRIFT_V_S = 2e-3, 2e-5, 1e-5


def leader(dt_s: float = 0.1, *, seed: int = 0, step_v: float = STEP_V) -> tuple[Any, Any, Any]:
    """Return times, potentials and where the laser was on: from 10.05 s to 12.05 s."""
    t = np.arange(0.0, 30.0, dt_s)
    on = (t > 10.05) & (t < 12.05)
    noise = np.random.default_rng(seed).normal(0, NOISE_V, len(t))
    return t, 0.03 + DRIFT_V_S * t + step_v * on + noise, on


def test_the_step_is_found_over_a_drift_and_its_uncertainty_is_its_scatter() -> None:
    found, errors = [], []
    for seed in range(60):
        t, e, _ = leader(seed=seed)
        step = potential_step(t, e, 10.0, 12.1, 2.0, np.ones(len(t), dtype=bool))
        assert not isinstance(step, str)
        found.append(step.step_v)
        errors.append(step.uncertainty_v)
    assert np.mean(found) == pytest.approx(STEP_V, abs=4 * np.std(found) / math.sqrt(60))
    assert np.mean(errors) == pytest.approx(np.std(found, ddof=1), rel=0.3)


def test_rows_that_may_be_of_light_and_dark_do_not_count() -> None:
    # The exposure may lie anywhere in [10, 13.3]: certainly lit are rows from 11.3 s to 12 s.
    t, e, _ = leader()
    usable = np.ones(len(t), dtype=bool)
    wild = e.copy()
    wild[(t > 10.0) & (t < 11.25)] += 1.0
    wild[(t > 12.05) & (t <= 13.3)] += 1.0
    step = potential_step(t, wild, 10.0, 13.3, 2.0, usable)
    assert not isinstance(step, str)
    assert step.step_v == pytest.approx(STEP_V, abs=1e-4)


@pytest.mark.parametrize(
    ("dt_s", "lit_s", "only", "why"),
    [
        (2.0, 2.0, slice(None), "certainly within an exposure"),
        (0.1, math.nan, slice(None), "certainly within an exposure"),
        (0.1, 2.0, slice(99, None), "in the dark before an exposure"),
    ],
)
def test_without_rows_enough_there_is_no_step(
    dt_s: float, lit_s: float, only: slice, why: str
) -> None:
    t, e, _ = leader(dt_s)
    usable = np.zeros(len(t), dtype=bool)
    usable[only] = True
    told = potential_step(t, e, 10.0, 12.1, lit_s, usable)
    assert isinstance(told, str)
    assert why in told


def test_positions_nearer_than_a_diameter_are_one_spot() -> None:
    x = np.array([0.0, 5.0, 100.0, 3.0, math.nan, 100.0])
    y = np.array([0.0, 5.0, 0.0, -3.0, 0.0, 60.0])
    assert spots_of(x, y, 40.0).tolist() == [0, 0, 1, 0, -1, 2]


def test_a_fresh_spot_is_compared_with_the_usual_one_at_its_time() -> None:
    at = np.arange(7.0)
    value = np.array([1.0, 0.9, 5.0, 0.7, 0.6, 4.0, math.nan])
    fresh = np.array([False, False, True, False, False, True, False])
    # The last one has no usual spectrum behind it.
    assert against_fresh(at, value, fresh) == pytest.approx([0.8 - 5.0])


def test_a_mean_differs_from_nothing_beyond_its_bound_only() -> None:
    alike = mean_of([0.1, -0.1, 0.05, -0.05])
    assert not alike.differs
    shifted = mean_of([1.1, 0.9, 1.05, 0.95])
    assert shifted.differs
    assert shifted.value == pytest.approx(1.0)
    assert shifted.uncertainty == pytest.approx(np.std([1.1, 0.9, 1.05, 0.95], ddof=1) / 2)


def _documents(make_run: Callable[..., Any], calibration: dict[str, Any], **more: Any) -> Any:
    made = make_run(calibration=calibration)
    t, e, _ = leader()
    names = ("current", "cycle", "half_cycle", "role", "flags")
    rows = {"t": t, "potential": e, **dict.fromkeys(names, 0.0 * t), "step": 0.0 * t + 1}
    made.stream("potentiostat", "potentiostat", rows)
    raman = {
        "t_before": [10.0, math.nan],
        "t_after": [12.1, math.nan],
        "host_before": [100.0, 300.0],
        "host_after": [102.0, 302.0],
        "laser": [1.0, 1.0],
        "laser_power": [0.1, 0.2],
        "accumulations": [3.0, 3.0],
        **more,
    }
    made.stream("raman", "raman", raman)
    made.stop()
    return made


def a_run(make_run: Callable[..., Any], calibration: dict[str, Any], **more: Any) -> Any:
    made = _documents(make_run, calibration, **more)
    return metrics(Run.from_documents(made.documents))


def calibrated(*values: dict[str, Any]) -> dict[str, Any]:
    return {"raman": {"records": [{"date": "2026-01-01", "by": "us", "values": list(values)}]}}


SHARE = {"of": "laser_power_share", "value": 0.25, "uncertainty": 0.01}
SPOT = {"of": "spot_diameter", "value": 50.0, "uncertainty": 1.0}


def test_without_a_power_at_the_sample_there_is_no_dose_and_it_is_said(
    make_run: Callable[..., Any],
) -> None:
    found = a_run(make_run, {})
    for name in ("laser_power_at_sample_mw", "laser_exposure_mj", "laser_dose_j_cm2"):
        assert found[name].value is None
        assert "laser_power_share" in str(found[name].reason)


def test_power_time_and_spot_make_the_dose(make_run: Callable[..., Any]) -> None:
    found = a_run(make_run, calibrated(SHARE, SPOT), laser_time=[2.5, math.nan])
    assert found["laser_power_at_sample_mw"].value == pytest.approx([25.0, 50.0])
    assert found["laser_power_at_sample_mw"].uncertainty == pytest.approx([1.0, 2.0])
    # Of the second it was not measured how long: its read-outs took 2 s.
    assert found["laser_exposure_mj"].value == pytest.approx([62.5, 100.0])
    assert found["laser_dose_mj"].value == pytest.approx([162.5])
    assert found["laser_dose_mj"].uncertainty == pytest.approx([0.04 * 162.5])
    per_area = 0.1625 / (math.pi / 4 * 50e-4**2)
    assert found["laser_dose_j_cm2"].value == pytest.approx([per_area])
    assert found["laser_dose_j_cm2"].uncertainty == pytest.approx(
        [per_area * math.hypot(0.04, 2 * 1 / 50)]
    )
    assert "no stage in the run: one spot" in str(found["laser_dose_mj"].reason)


def test_positions_part_the_dose_by_spot(make_run: Callable[..., Any]) -> None:
    where = {"spot": [0.0, 1.0], "x": [0.0, 60.0], "y": [math.nan] * 2, "z": [0.0, 0.0]}
    found = a_run(make_run, calibrated(SHARE, SPOT), **where)
    assert found["laser_dose_mj"].value == pytest.approx([50.0, 100.0])
    assert "read-outs alone" in str(found["laser_dose_mj"].reason)
    lost = {**where, "x": [math.nan] * 2}
    told = a_run(make_run, calibrated(SHARE), **lost)
    assert told["laser_dose_mj"].value is None
    assert "2 spectra are of spots that are not known" in str(told["laser_dose_mj"].reason)
    assert "spot_diameter" in str(told["laser_dose_j_cm2"].reason)


def test_several_powers_that_were_measured_hold_for_the_nearest_setting(
    make_run: Callable[..., Any],
) -> None:
    points = [
        {"of": "laser_power", "at": 0.1, "value": 0.02, "uncertainty": 0.001},
        {"of": "laser_power", "at": 0.19, "value": 0.057, "uncertainty": 0.001},
    ]
    found = a_run(make_run, calibrated(*points))
    assert found["laser_power_at_sample_mw"].value == pytest.approx([20.0, 60.0])


def test_the_step_of_a_run_is_that_of_the_metal_electrode(make_run: Callable[..., Any]) -> None:
    found = a_run(make_run, {})
    step = found["laser_step_mv"]
    assert step.value == [pytest.approx(1e3 * STEP_V, abs=0.1), None]
    assert "before the program" in str(step.reason)
    assert found["laser_step_mean_mv"].value is None
    assert "one exposure only" in str(found["laser_step_mean_mv"].reason)


HOLD = {
    "type": "sequence",
    "steps": [
        {
            "type": "galvanostatic_step",
            "role": "plate",
            "current_density_ma_cm2": 1.0,
            "until": [{"quantity": "time_s", "value": 30}],
        },
        {
            "type": "potentiostatic_step",
            "role": "plate",
            "potential_v": -0.2,
            "continues_half_cycle": True,
            "until": [{"quantity": "time_s", "value": 30}],
        },
    ],
}


@pytest.mark.parametrize(("roles", "technique"), [((0.0, 4.0), None), ((-1.0, -1.0), HOLD)])
def test_at_a_set_potential_there_is_no_step_and_it_is_no_zero(
    make_run: Callable[..., Any], roles: tuple[float, float], technique: Any
) -> None:
    made = make_run(technique=technique)
    names = ("current", "cycle", "half_cycle", "flags")
    t, e, _ = leader()
    set_v = np.full(len(t), -0.2) + np.random.default_rng(5).normal(0, NOISE_V, len(t))
    # Two exposures at a set current, two at a set potential.
    parts = [(roles[0], e), (roles[0], leader(seed=1)[1]), (roles[1], set_v), (roles[1], set_v)]
    columns = {
        "t": np.concatenate([t + 30 * number for number in range(4)]),
        "potential": np.concatenate([potential for _, potential in parts]),
        "role": np.repeat([role for role, _ in parts], len(t)),
        "step": np.repeat([1.0, 1.0, 2.0, 2.0], len(t)),
    }
    columns |= dict.fromkeys(names, 0.0 * columns["t"])
    made.stream("potentiostat", "potentiostat", columns)
    begin = 30.0 * np.arange(4)
    raman = {"t_before": 10 + begin, "t_after": 12.1 + begin, "laser": np.ones(4)}
    raman |= {"host_before": 100 + begin, "host_after": 102 + begin}
    made.stream("raman", "raman", raman)
    made.stop()
    found = metrics(Run.from_documents(made.documents))
    near = pytest.approx(1e3 * STEP_V, abs=0.1)
    assert found["laser_step_mv"].value == [near, near, None, None]
    assert "the potential was set during an exposure" in str(found["laser_step_mv"].reason)
    assert found["laser_step_mean_mv"].value == near
    assert "2 exposures; " in str(found["laser_step_mean_mv"].reason)
    assert "without 2 at a set potential" in str(found["laser_step_mean_mv"].reason)


def test_against_a_reference_the_step_of_a_counter_electrode_is_its_own(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    def step_mv(*, whole: bool, reference: bool = True) -> Any:
        more = {"reference_electrode": "Hg/Hg2SO4"} if reference else {}
        made = make_run({**synthetic.MIRRORED_CELL, **more})
        t, e, _ = leader()
        names = ("current", "cycle", "half_cycle", "role", "flags")
        rows = {"t": t, "potential": e, **dict.fromkeys(names, 0.0 * t), "step": 0.0 * t + 1}
        if whole:  # E_CE rises by three times what E_WE does
            rows["potential_cell"] = -2 * e
        made.stream("potentiostat", "potentiostat", rows)
        raman = {"t_before": [10.0], "t_after": [12.1], "laser": [1.0]}
        made.stream("raman", "raman", {**raman, "host_before": [100.0], "host_after": [102.0]})
        made.stop()
        return metrics(Run.from_documents(made.documents))["laser_step_mv"]

    assert step_mv(whole=True).value == [pytest.approx(3e3 * STEP_V, abs=0.3)]
    assert step_mv(whole=False).value is None
    assert "the metal is on the counter electrode" in str(step_mv(whole=False).reason)
    assert step_mv(whole=False, reference=False).value == [pytest.approx(-1e3 * STEP_V, abs=0.1)]


def test_light_of_unknown_power_is_no_dark_and_it_is_said(make_run: Callable[..., Any]) -> None:
    where = {"spot": [0.0, 1.0], "x": [0.0, 60.0], "y": [math.nan] * 2, "z": [0.0, 0.0]}
    found = a_run(make_run, calibrated(SHARE, SPOT), laser_power=[0.1, math.nan], **where)
    assert found["laser_dose_mj"].value == [pytest.approx(50.0), None]
    assert "at least: lit spectra of unknown power or time left out: 1" in str(
        found["laser_dose_mj"].reason
    )
    same = a_run(make_run, calibrated(SHARE, SPOT), laser_power=[0.1, math.nan])
    assert same["laser_dose_mj"].value == pytest.approx([50.0])
    assert "left out: 1" in str(same["laser_dose_j_cm2"].reason)
    dark = a_run(
        make_run, calibrated(SHARE), laser=[1.0, 0.0], laser_power=[0.1, math.nan], **where
    )
    assert dark["laser_dose_mj"].value == pytest.approx([50.0, 0.0])


def test_dose_and_step_are_drawn_as_they_were_found(make_run: Callable[..., Any]) -> None:
    spots = {"spot": [0.0, 0.0], "x": [0.0, 0.0], "y": [0.0, 0.0]}
    made = _documents(make_run, calibrated(SHARE, SPOT), **spots)
    one = EvaluatedRun(Run.from_documents(made.documents))
    drawn = draw(SHEETS["light"], one)
    assert drawn.figure is not None
    dose, step = drawn.figure.axes
    per_area = one.numbers["laser_exposure_j_cm2"].value
    assert isinstance(per_area, list)
    assert dose.lines[0].get_ydata()[-1] == pytest.approx(sum(float(x or 0) for x in per_area))
    assert step.lines[0].get_ydata() == pytest.approx([1e3 * STEP_V], abs=0.1)


def test_a_spot_on_which_light_has_been_is_not_fresh(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    axis = np.linspace(150, 3900, 2048)
    spot = [0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0]
    # The last one lies on the first again.
    x = [0.0, 60.0, 0.0, 120.0, 0.0, 180.0, 0.0, 61.0, 0.0]
    left = [0.8, 1.0, 0.8, 1.0, 0.8, 1.0, 0.8, 0.9, 0.8]
    counts = [synthetic.spectrum_counts(axis, sulfate=one, seed=n) for n, one in enumerate(left)]

    def evaluated(*, where: list[float]) -> Any:
        made = make_run(calibration={})
        t = np.arange(9.0)
        columns = {"t_before": t, "t_after": t + 0.5, "laser": np.ones(9), "spot": spot}
        columns |= {"x": where, "y": np.full(9, math.nan)}
        assets = {"counts": np.stack(counts), "dark": np.full((9, len(axis)), 100.0)}
        settings = {"raman_wavenumber": axis.tolist(), "raman_excitation": 532.0}
        made.stream("raman", "raman", columns, assets, settings)
        made.stop()
        return metrics(Run.from_documents(made.documents))

    found = evaluated(where=x)["band_980_light_change"]
    whole = np.mean(evaluated(where=x)["band_980_area"].value[1:6:2])
    assert found.value == pytest.approx(-0.2 * whole, rel=0.1)
    assert "light had been on 1 of the fresh spots before; 3 fresh spots; differs" in found.reason
    narrow = evaluated(where=[0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0])
    assert narrow["band_980_light_change"].value is None
    assert "0 fresh spots between usual ones" in str(narrow["band_980_light_change"].reason)
