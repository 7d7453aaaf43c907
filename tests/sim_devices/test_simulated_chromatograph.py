import contextlib
import json
import time
from datetime import datetime

import numpy as np
import pytest

from sim_devices.cell import Cell
from sim_devices.chromatograph import AREA_PER_MOLE_FRACTION, Chromatograph
from sim_devices.clock import SimulatedClock
from sim_devices.truth import Truth, read_truth


@pytest.fixture
def cell():
    """A cell that has evolved hydrogen: an hour of plating bare zinc."""
    cell = Cell("zn-bare", seed=1)
    for _ in range(360):
        cell.advance(10.0, "i", -1.0)
    return cell


@pytest.fixture
def truth(tmp_path):
    with Truth(tmp_path / "truth") as truth:
        yield truth


@pytest.fixture
def clock():
    return SimulatedClock(4000.0)


@pytest.fixture
def instrument(cell, clock, truth, tmp_path):
    folder = tmp_path / "results"
    with contextlib.closing(Chromatograph(cell, clock, truth, folder, seed=1)) as instrument:
        yield instrument


def press(instrument, seconds=0.01):
    instrument.start_contact(True)
    time.sleep(seconds)
    instrument.start_contact(False)


def wait_for(condition):
    while not condition():
        time.sleep(0.002)


def hydrogen_area(trace, rate):
    t = np.arange(len(trace)) / rate
    inside = (t > 48.5) & (t < 55.6)
    around = ((t > 46.5) & (t < 48.5)) | ((t > 55.6) & (t < 56.4))
    line = np.polyfit(t[around], trace[around], 1)
    return float(np.sum(trace[inside] - np.polyval(line, t[inside])) / rate)


def test_a_start_gives_a_run_and_then_a_result(instrument, clock):
    assert instrument.ready
    press(instrument)
    wait_for(lambda: not instrument.ready)
    wait_for(lambda: instrument.ready)
    (path,) = instrument.folder.iterdir()
    result = json.loads(path.read_text())
    detector = result["detectors"]["moduleA:tcd"]
    assert detector["nValuesExpected"] == len(detector["values"]) == 8000
    assert detector["nValuesPerSecond"] == 50
    assert [peak["label"] for peak in detector["analysis"]["peaks"]] == ["H2", "O2", "N2"]
    for peak in detector["analysis"]["peaks"]:
        keys = {"label", "height", "area", "concentration", "normalizedConcentration", "top"}
        assert set(peak) == keys
    assert result["methodName"]
    assert result["softwareVersion"]["version"]
    assert datetime.fromisoformat(result["runTimeStamp"]).tzinfo is not None
    assert clock.now() >= 160.0


def test_the_hydrogen_peak_counts_the_moles_in_the_headspace(cell, instrument, truth):
    press(instrument)
    wait_for(lambda: any(instrument.folder.glob("*.json")))
    (injection,) = [
        line for line in read_truth(truth.folder, "chromatograph") if line["event"] == "injection"
    ]
    assert injection["hydrogen_mol"] == cell.hydrogen_gas_mol
    (path,) = instrument.folder.glob("*.json")
    detector = json.loads(path.read_text())["detectors"]["moduleA:tcd"]
    fraction = hydrogen_area(np.array(detector["values"]), 50) / AREA_PER_MOLE_FRACTION
    filling_mol = 101325 * 5e-6 / (8.314462618 * 298.15)
    moles = fraction / (1 - fraction) * filling_mol
    assert moles == pytest.approx(injection["hydrogen_mol"], rel=0.02)
    reported = detector["analysis"]["peaks"][0]
    assert reported["area"] == pytest.approx(fraction * AREA_PER_MOLE_FRACTION, rel=0.02)
    assert reported["top"] == pytest.approx(52.06, abs=0.3)


def test_the_area_noise_is_half_a_percent(instrument):
    areas = [hydrogen_area(instrument.trace(5e-3), 50) for _ in range(60)]
    assert np.mean(areas) == pytest.approx(5e-3 * AREA_PER_MOLE_FRACTION, rel=0.003)
    assert np.std(areas) / np.mean(areas) == pytest.approx(0.005, rel=0.5)


def test_swept_the_peak_follows_the_rate_of_evolution(cell, clock, truth, tmp_path):
    with contextlib.closing(
        Chromatograph(cell, clock, truth, tmp_path / "swept", mode="swept")
    ) as instrument:
        sample = instrument.sample()
    current = cell.working.parameters.hydrogen_current_ma_cm2
    assert sample.hydrogen_mol_s == pytest.approx(cell.hydrogen_dissolved_mol / 120.0)
    assert 0 < sample.mole_fraction < 1e-3
    assert current > 0


def test_a_start_while_a_run_is_in_progress_is_ignored(cell, truth, tmp_path):
    clock = SimulatedClock(100.0)
    with contextlib.closing(Chromatograph(cell, clock, truth, tmp_path / "results")) as instrument:
        press(instrument)
        wait_for(lambda: not instrument.ready)
        press(instrument)
        press(instrument)
        wait_for(lambda: instrument.ready)
        assert instrument.injections == 1


def test_a_contact_that_stays_closed_starts_once(instrument, clock):
    instrument.start_contact(True)
    wait_for(lambda: not instrument.ready)
    assert clock.open_exchanges == ("start contact",)
    instrument.start_contact(False)
    wait_for(lambda: instrument.ready)
    assert instrument.injections == 1
    assert clock.open_exchanges == ()


def test_an_instrument_that_is_not_ready_ignores_a_start(instrument):
    instrument.inject("not-ready")
    assert not instrument.ready
    press(instrument)
    instrument.inject("resume")
    press(instrument)
    wait_for(lambda: any(instrument.folder.glob("*.json")))
    assert instrument.injections == 1


def test_a_result_can_get_lost(instrument, truth):
    instrument.inject("drop")
    for _ in range(2):
        press(instrument)
        wait_for(lambda: not instrument.ready)
        wait_for(lambda: instrument.ready)
    assert [path.name[-9:] for path in instrument.folder.iterdir()] == ["0002.json"]
    with pytest.raises(ValueError, match="fire"):
        instrument.inject("fire")


def test_switching_off_in_the_middle_of_a_run_leaves_no_result(cell, truth, tmp_path):
    instrument = Chromatograph(cell, SimulatedClock(1.0), truth, tmp_path / "results")
    press(instrument)
    wait_for(lambda: not instrument.ready)
    instrument.close()
    assert list(instrument.folder.iterdir()) == []


def test_gas_from_a_bottle_is_injected_instead_of_the_headspace_s(instrument):
    headspace = instrument.sample().mole_fraction
    for fraction in (0.0, 1e-3):
        instrument.inject("bottle", hydrogen=fraction)
        assert instrument.sample().mole_fraction == fraction != headspace
    area = hydrogen_area(instrument.trace(1e-3), 50)
    assert area == pytest.approx(1e-3 * AREA_PER_MOLE_FRACTION, rel=0.03)
    instrument.inject("headspace")
    assert instrument.sample().mole_fraction == headspace


def test_a_result_can_be_stamped_wrong_and_tell_an_area_that_cannot_be(instrument):
    instrument.inject("clock-jump", seconds=1e6)
    instrument.inject("out-of-range")
    instrument.inject("split", pause_s=0.001, seconds=30)
    before = time.time()
    press(instrument)
    wait_for(lambda: instrument.results)
    result = json.loads(instrument.results["000001"].read_bytes())
    stamp = datetime.fromisoformat(result["runTimeStamp"]).timestamp()
    assert before + 9e5 < stamp < time.time() + 1.1e6
    peaks = result["detectors"]["moduleA:tcd"]["analysis"]["peaks"]
    assert [peak["area"] < 0 for peak in peaks] == [True, False, False]


def test_a_start_can_be_refused_and_a_run_end_with_the_power(cell, truth, tmp_path):
    slow = Chromatograph(cell, SimulatedClock(1.0), truth, tmp_path / "results")
    with contextlib.closing(slow):
        slow.inject("refuse")
        press(slow)
        press(slow, 0.1)
        wait_for(lambda: slow.injections == 1)
        assert not slow.ready
        slow.inject("power-cycle", seconds=3600)
        wait_for(lambda: not slow.running)
        assert not slow.ready
        assert not slow.start({})
        slow.inject("power-cycle", seconds=0.01)
        wait_for(lambda: slow.ready)
    assert not list(slow.folder.iterdir())
