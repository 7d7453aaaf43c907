"""The spectrometer's device under a RunEngine: rows by create, read, save, spectra in a file."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import bluesky.plan_stubs as bps
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.preprocessors import run_decorator, stage_decorator
from bluesky.utils import Msg
from event_model import DocumentNames, schema_validators

from instruments._follower import LeaderRow
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    SafetyLimitError,
    TransportError,
    UnsupportedTechniqueError,
)
from instruments.raman.device import RamanDevice
from instruments.raman.wasatch import WasatchSpectrometer

from .conftest import SimulatedSpectrometer, wait_for

INTEGRATION_S = 0.05


class Leading:
    """A leader that shows a row every 20 ms."""

    def __init__(self) -> None:
        self.finished = False
        self._callbacks: list[Callable[[LeaderRow], None]] = []
        self._newest: LeaderRow | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def latest(self) -> LeaderRow | None:
        return self._newest

    def on_row(self, callback: Callable[[LeaderRow], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self.finished = True

    def _run(self) -> None:
        start = time.monotonic()
        while not self._end.wait(0.02):
            self._newest = LeaderRow(time.monotonic() - start, 1, -1, 1)
            for callback in tuple(self._callbacks):
                callback(self._newest)


class SimulatedLamp:
    """The lamp of the same simulated cell."""

    def __init__(self, simulated: SimulatedSpectrometer) -> None:
        self._simulated = simulated

    def on(self) -> None:
        self._simulated.tell("lamp on")

    def off(self) -> None:
        self._simulated.tell("lamp off")


@pytest.fixture
def leader() -> Iterator[Leading]:
    leading = Leading()
    yield leading
    leading.stop()


@pytest.fixture
def raman(
    simulated: SimulatedSpectrometer, leader: Leading, tmp_path: Path
) -> Iterator[RamanDevice]:
    device = RamanDevice(
        WasatchSpectrometer(simulated.address, laser_power_w=0.02),
        integration_time_s=INTEGRATION_S,
        accumulations=3,
        laser_power_w=0.05,
        bands_cm1=[3633, 980, 465],
        lamp=SimulatedLamp(simulated),
    )
    device.assets_dir = tmp_path / "assets"
    device.connect()
    device.follow(leader)
    yield device
    device.unfollow()
    device.close()


@pytest.fixture
def run_engine() -> Iterator[RunEngine]:
    engine = RunEngine({}, context_managers=[])
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(50)
    engine.loop.close()


def save_all(raman: RamanDevice, *statuses: Any) -> Iterator[Msg]:
    while not all(status.done for status in statuses) or raman.waiting():
        while raman.pending():
            yield from bps.create(name="raman")
            yield from bps.read(raman)
            yield from bps.save()
        yield from bps.sleep(0.01)


def documents_of(engine: RunEngine, plan: Any) -> list[tuple[str, dict[str, Any]]]:
    documents: list[tuple[str, dict[str, Any]]] = []
    engine(plan, lambda name, doc: documents.append((name, doc)))
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    return documents


def spectra(raman: RamanDevice, number: int) -> Any:
    @stage_decorator([raman])
    @run_decorator()
    def plan() -> Iterator[Msg]:
        for _ in range(number):
            status = yield from bps.trigger(raman)
            yield from save_all(raman, status)

    return plan()


def test_a_run_records_spectra_that_its_documents_lead_to(
    run_engine: RunEngine, raman: RamanDevice, simulated: SimulatedSpectrometer
) -> None:
    documents = documents_of(run_engine, spectra(raman, 3))
    (descriptor,) = [doc for name, doc in documents if name == "descriptor"]
    keys = descriptor["data_keys"]
    assert keys["raman_counts"]["shape"] == [3, 2048]
    assert keys["raman_dark"]["shape"] == keys["raman_spectrum"]["shape"] == [2048]
    assert {keys[f"raman_{k}"]["external"] for k in ("counts", "dark", "spectrum")} == {"STREAM:"}
    assert keys["raman_laser_power"]["units"] == "W"
    configuration = descriptor["configuration"]["raman"]["data"]
    assert configuration["raman_excitation"] == 532.0
    axis = np.array(configuration["raman_wavenumber"])

    events = [doc["data"] for name, doc in documents if name == "event"]
    assert len(events) == 3
    for event in events:
        assert all(type(value) is float for value in event.values())
        assert event["raman_t_before"] < event["raman_t_after"]
        exposed = event["raman_host_after"] - event["raman_host_before"]
        assert exposed >= 3 * INTEGRATION_S
        assert event["raman_laser"] == 1
        assert event["raman_lamp"] == 0
        assert event["raman_laser_power"] == pytest.approx(0.05, rel=2e-3)
        assert event["raman_integration_time"] == INTEGRATION_S
        assert event["raman_accumulations"] == 3
        assert -10 < event["raman_detector_temperature"] < 26
        assert event["raman_saturated"] == 0

    resources = {doc["uid"]: doc for name, doc in documents if name == "stream_resource"}
    assert {doc["data_key"] for doc in resources.values()} == {
        "raman_counts",
        "raman_dark",
        "raman_spectrum",
    }
    stored: dict[str, np.ndarray] = {}
    for doc in resources.values():
        path = Path(unquote(urlsplit(doc["uri"]).path))
        assert path.parent == raman.assets_dir
        assert doc["parameters"]["swmr"]
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            stored[doc["data_key"]] = file[doc["parameters"]["dataset"]][:]
            assert np.array_equal(file["/entry/data/wavenumber"][:], axis)
    rows = [doc["indices"] for name, doc in documents if name == "stream_datum"]
    assert rows == [{"start": i, "stop": i + 1} for i in range(3) for _ in range(3)]
    counts, dark, spectrum = (stored[f"raman_{key}"] for key in ("counts", "dark", "spectrum"))
    assert counts.shape == (3, 3, 2048)
    assert np.allclose(spectrum, counts.mean(axis=1) - dark)
    near = (axis > 960) & (axis < 1000)
    assert abs(axis[near][spectrum.mean(axis=0)[near].argmax()] - 981) < 4
    assert simulated.laser_mw() == 0.0


def test_the_lamp_is_off_during_dark_and_spectrum(
    raman: RamanDevice, simulated: SimulatedSpectrometer
) -> None:
    raman.stage()
    simulated.tell("lamp on")
    raman.trigger().wait(50)
    raman.unstage()
    exposures = simulated.truth("spectrum")
    assert len(exposures) == 6
    assert not any(exposure["lamp"] for exposure in exposures)
    assert [exposure["laser_mj"] > 0 for exposure in exposures] == [False] * 3 + [True] * 3


def test_light_is_made_by_one_at_a_time(
    raman: RamanDevice, simulated: SimulatedSpectrometer
) -> None:
    raman.stage()
    with raman._light_lock:  # a frame is being taken
        status = raman.trigger()
        time.sleep(0.3)
        assert not status.done
        assert simulated.truth("spectrum") == []
    status.wait(50)
    raman.unstage()


def test_bands_off_the_axis_and_forbidden_powers_are_refused_when_staging(
    raman: RamanDevice,
) -> None:
    raman.bands_cm1 = (980.0, 5000.0)
    with pytest.raises(UnsupportedTechniqueError, match="5000 cm-1"):
        raman.stage()
    raman.bands_cm1, raman.laser_power_w = (), 3.0
    with pytest.raises(SafetyLimitError, match="3000 mW asked"):
        raman.stage()
    raman.laser_power_w = 0.05
    raman.stage()
    raman.unstage()


def test_nothing_is_measured_outside_a_run(raman: RamanDevice) -> None:
    with pytest.raises(InstrumentError, match="outside stage"):
        raman.trigger().wait(50)


def test_safe_state_in_the_middle_of_an_exposure_switches_the_laser_off_and_fails_the_row(
    raman: RamanDevice, simulated: SimulatedSpectrometer
) -> None:
    raman.integration_time_s, raman.accumulations = 0.25, 8
    raman.stage()
    status = raman.trigger()
    wait_for(lambda: simulated.laser_mw() > 0)
    raman.safe_state()
    assert simulated.laser_mw() == 0.0
    with pytest.raises(InstrumentFaultError, match="interrupted by safe_state"):
        status.wait(50)
    assert raman.waiting() == 0
    raman.safe_state()
    raman.unstage()
    raman.accumulations = 1
    raman.stage()
    raman.trigger().wait(50)
    raman.unstage()


def test_a_spectrometer_that_was_lost_is_taken_again_when_it_is_back(
    raman: RamanDevice, simulated: SimulatedSpectrometer
) -> None:
    raman.stage()
    raman.trigger().wait(50)
    simulated.tell("power-cycle")
    with pytest.raises(TransportError, match="raman usb"):
        raman.trigger().wait(50)
    raman.trigger().wait(50)
    raman.unstage()
    assert raman.waiting() == 2


def test_rows_wait_for_the_leader_and_are_kept_until_the_next_run(
    raman: RamanDevice, leader: Leading
) -> None:
    raman.stage()
    leader.stop()
    leader.finished = False
    raman.trigger().wait(50)
    assert (raman.pending(), raman.waiting()) == (0, 1)
    leader.finished = True
    assert raman.pending() == 1
    raman.unstage()
    assert math.isnan(raman.read()["raman_t_after"]["value"])
