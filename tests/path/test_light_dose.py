"""Light that changes a simulated cell, from the wire to dose, potential step and fresh spots."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from instruments.bench_file import BenchFile
from operando.analysis import Metric, metrics
from operando.analysis.light import against_fresh
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import FreshSpots, OpenCircuit, Protocol, Recording, Schedule

pytestmark = [pytest.mark.timeout(120), pytest.mark.long]
CELL = "zn-bare"
STEP_V, SHARE, DESTROYED_MJ = 3e-3, 0.6, 150.0
AT_SAMPLE, SPOT_UM = 0.5, 40.0
EVERY_NTH = 3
# Where the simulated stage stands when it is switched on: there the cell is in focus.
START_UM, FURTHER_UM = 571.5, 60.0


def bench() -> BenchFile:
    first = load_bench("sim").model_dump(mode="json")["instruments"]
    stage = load_bench("sim-second").model_dump(mode="json")["instruments"]["stage"]
    instruments = {name: first[name] for name in ("potentiostat", "raman")} | {"stage": stage}
    power = {"of": "laser_power_share", "value": AT_SAMPLE, "uncertainty": 0.01, "unit": "1"}
    spot = {"of": "spot_diameter", "value": SPOT_UM, "uncertainty": 2.0, "unit": "um"}
    found = {"date": "2026-01-10", "by": "the tests", "due": "2026-01-11", "values": [power, spot]}
    instruments["raman"] |= {"calibrations": [found], "bands_cm1": []}
    return BenchFile.model_validate({"name": "light", "instruments": instruments})


@pytest.fixture(scope="module")
def measured(make_chain: Callable[..., Any]) -> Run:
    served = ["potentiostat", "raman", "stage"]
    chain = make_chain(CELL, factor=2.0, instruments=served)
    fresh = FreshSpots(every_nth=EVERY_NTH, axis="x", step_um=FURTHER_UM)
    schedule = Schedule(spectrum_s=0.5, integration_time_s=0.15, accumulations=3, reading_s=None)
    protocol = Protocol(
        name="light",
        cell=CELL,
        technique=OpenCircuit(duration_s=16.0, record=Recording(dt_s=0.05, edge_for_s=0)),
        every=schedule.model_copy(update={"fresh_spots": fresh}),
    )
    with chain.simulated(), chain.session(bench()) as session:
        light = {"volts": STEP_V, "share": SHARE, "mj": DESTROYED_MJ}
        fault = {"instrument": "cell", "fault": "light"} | light
        (chain.sim / "faults").write_text(json.dumps(fault) + "\n")
        session.devices["stage"].home().wait(60)
        session.devices["stage"].set(dict.fromkeys("xyz", START_UM)).wait(60)
        uid = session.run_protocol(protocol, cell=load_cell(CELL))
    return Run.from_journal(uid, chain.data)


@pytest.fixture(scope="module")
def found(measured: Run) -> Mapping[str, Metric]:
    return metrics(measured)


def test_every_third_spectrum_is_at_a_fresh_spot_and_the_stage_comes_back(measured: Run) -> None:
    columns = measured.streams["raman"].columns
    spot, x = columns["raman_spot"], columns["raman_x"]
    # On a busy computer they are fewer: two fresh ones, and the stage was back after each.
    assert len(spot) > 2 * EVERY_NTH
    assert spot.tolist() == [
        n / EVERY_NTH if n % EVERY_NTH == 0 else 0.0 for n in range(1, len(spot) + 1)
    ]
    assert x == pytest.approx(START_UM + FURTHER_UM * spot, abs=0.2)


def test_the_dose_is_told_by_spot(measured: Run, found: Mapping[str, Metric]) -> None:
    columns = measured.streams["raman"].columns
    on_s = columns["raman_laser_time"]
    assert np.all((on_s > 0.3) & (on_s < 3.0))
    power_mw = found["laser_power_at_sample_mw"].value
    assert power_mw == pytest.approx(1e3 * AT_SAMPLE * columns["raman_laser_power"])
    usual = columns["raman_spot"] == 0
    each_mj = 1e3 * AT_SAMPLE * columns["raman_laser_power"] * on_s
    doses, u = found["laser_dose_mj"].value, found["laser_dose_mj"].uncertainty
    expected = [each_mj[usual].sum(), *each_mj[~usual]]
    assert doses == pytest.approx(expected)
    assert u == pytest.approx([0.02 * one for one in expected])
    area_cm2 = math.pi / 4 * (SPOT_UM * 1e-4) ** 2
    per_area, u = found["laser_dose_j_cm2"].value, found["laser_dose_j_cm2"].uncertainty
    assert per_area == pytest.approx([1e-3 * one / area_cm2 for one in expected])
    assert isinstance(per_area, list)
    # Twice the diameter's 5 %, and the power's 2 %.
    assert u == pytest.approx([math.hypot(0.1, 0.02) * float(one or 0) for one in per_area])


def test_the_potential_step_at_laser_on_is_that_of_the_cell(found: Mapping[str, Metric]) -> None:
    mean = found["laser_step_mean_mv"]
    assert isinstance(mean.uncertainty, float)
    assert mean.value == pytest.approx(STEP_V * 1e3, abs=4 * mean.uncertainty + 0.01)
    assert "differs from nothing" in str(mean.reason)


def test_fresh_spots_tell_what_the_light_destroyed(
    measured: Run, found: Mapping[str, Metric]
) -> None:
    columns, changed = measured.streams["raman"].columns, found["band_980_light_change"]
    # Of what there was at first, by the energy that had fallen on a spot half-way through each.
    each_mj = 1e3 * columns["raman_laser_power"] * columns["raman_accumulations"] * 0.15
    fresh = columns["raman_spot"] > 0
    before_mj = np.where(fresh, 0.0, np.cumsum(np.where(fresh, 0.0, each_mj)) - each_mj)
    left = 1 - SHARE * (1 - np.exp(-(before_mj + each_mj / 3) / DESTROYED_MJ))
    at_s = columns["raman_t_before"]
    expected = against_fresh(at_s, left, fresh)
    areas = found["band_980_area"].value
    assert isinstance(areas, list)
    at_first = float(areas[0] or 0) / left[0]
    assert np.mean(expected) < -0.2
    assert changed.value == pytest.approx(at_first * np.mean(expected), rel=0.25)
    assert f"{len(expected)} fresh spots" in str(changed.reason)


def test_the_start_document_tells_that_the_calibration_was_too_old(measured: Run) -> None:
    flags = {(one["instrument"], one["flag"]) for one in measured.start["calibration_flags"]}
    assert ("raman", "expired") in flags
    assert measured.start["calibration"]["raman"]["records"][0]["by"] == "the tests"
