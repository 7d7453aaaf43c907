"""The Ocean HDX through seabreeze, and its laser on a relay, on the simulated instruments."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from instruments.bench_file import BenchFile
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
    UnsupportedTechniqueError,
)
from instruments.raman.contract import RamanSpectrometer
from instruments.raman.ocean import OceanSpectrometer
from instruments.relay_board import NumatoRelayBoard

from .conftest import SimulatedSpectrometer, start, wait_for


class Simulated(SimulatedSpectrometer):
    """The process, and the addresses of both instruments."""

    def __post_init__(self) -> None:
        self.address, self.board = self.line().split()

    board: str = ""


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    folder = tmp_path / "truth"
    with start("ocean_simulator_process.py", str(folder)) as process:
        yield Simulated(process, folder)
        assert process.stdin is not None
        if process.poll() is None:
            process.stdin.close()
            process.wait(50)


@pytest.fixture
def board(simulated: Simulated) -> Iterator[NumatoRelayBoard]:
    board = NumatoRelayBoard(simulated.board)
    yield board
    board.close()


@pytest.fixture
def spectrometer(simulated: Simulated, board: NumatoRelayBoard) -> Iterator[OceanSpectrometer]:
    driver = OceanSpectrometer(simulated.address, board, 1, excitation_nm=532.0, laser_power_w=0.1)
    driver.connect()
    yield driver
    driver.close()


def child_pid(spectrometer: OceanSpectrometer) -> int:
    assert spectrometer._child is not None
    return spectrometer._child.pid


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_making_a_driver_opens_nothing() -> None:
    board = NumatoRelayBoard("tcp://127.0.0.1:9")
    spectrometer: RamanSpectrometer = OceanSpectrometer(
        "tcp://127.0.0.1:9", board, 1, excitation_nm=532.0
    )
    assert not spectrometer.connected
    assert not spectrometer.is_on
    spectrometer.safe_state()
    spectrometer.close()
    with pytest.raises(TransportError, match=r"not connected|before connect"):
        spectrometer.acquire(0.1, 1)


def test_it_tells_who_it_is_and_that_its_laser_is_switched_by_software_only(
    spectrometer: OceanSpectrometer, caplog: pytest.LogCaptureFixture
) -> None:
    warned = " ".join(record.getMessage() for record in caplog.get_records("setup"))
    assert "has not been confirmed on real hardware" in warned
    assert "relay 1: SOFTWARE ONLY: its laser hangs on a relay" in warned
    told = spectrometer.identify()
    assert told["model"] == "Ocean HDX"
    assert told["serial_number"] == "HDX00042"
    assert told["sdk_version"] == "seabreeze 2.11.0"
    specification = spectrometer.specification
    assert specification.excitation_nm == 532.0
    assert specification.saturation_counts == 65535
    assert specification.laser_power_min_w == specification.laser_power_max_w == 0.1
    axis = spectrometer.wavenumber_axis()
    assert axis.shape == (2068,)
    assert axis[0] < 150
    assert axis[-1] > 3900
    spectrometer.require_bands([465, 980, 3633])
    with pytest.raises(UnsupportedTechniqueError, match="asked at 4200 cm-1"):
        spectrometer.require_bands([980, 4200])


def test_the_sulfate_band_is_where_it_belongs_and_the_laser_is_off_after(
    spectrometer: OceanSpectrometer, simulated: Simulated
) -> None:
    dark = spectrometer.dark(0.2, 2)
    taken = spectrometer.acquire(0.2, 2)
    assert taken.laser_on
    assert taken.laser_power_w == 0.1
    assert np.isnan(taken.detector_temperature_c)
    assert taken.host_after_ns - taken.host_before_ns >= 2 * 0.2e9
    axis = spectrometer.wavenumber_axis()
    near = (axis > 900) & (axis < 1060)
    spectrum = taken.counts.mean(axis=0) - dark
    centroid = np.average(axis[near], weights=np.clip(spectrum[near] - 200, 0, None))
    assert centroid == pytest.approx(980.5 + 0.5, abs=0.7)  # the spectrograph's own error is 0.5
    assert not spectrometer.is_on
    assert [line["power_mw"] for line in simulated.truth("laser")] == [100.0, 0.0]
    spectrometer.dark(0.2, 2)  # it has not aged
    energies = [line["laser_mj"] for line in simulated.truth("spectrum")]
    # It shines for as long as a read-out lasts, which on a busy computer is a little longer.
    assert energies[:2] == [0, 0]
    assert all(19.9 <= energy < 40 for energy in energies[2:])
    assert len(energies) == 4


def test_what_it_cannot_do_is_refused(spectrometer: OceanSpectrometer) -> None:
    for integration_time_s in (0.001, 10.0, 600.0):
        with pytest.raises(UnsupportedTechniqueError, match="integration time"):
            spectrometer.acquire(integration_time_s, 1)
    assert spectrometer.set_laser_power(0.1) == 0.1
    with pytest.raises(UnsupportedTechniqueError, match="a relay cannot set it"):
        spectrometer.set_laser_power(0.05)
    assert spectrometer.acquire(0.01, 1).laser_on


@pytest.mark.parametrize(
    ("fault", "error", "complaint"),
    [
        # The first two are settings, whose refusals the library swallows.
        ("nack:count=3:code=7", InstrumentFaultError, "not acknowledged|not ready"),
        ("garble:count=9", ProtocolError, "wrong footer"),
        ("cut:count=9", TransportTimeout, "no answer in time"),
        ("stall", TransportTimeout, "no answer in time"),
        ("hang-up", TransportError, "closed the connection|Broken pipe|reset"),
    ],
)
def test_whatever_it_does_ends_in_time_with_the_laser_off_and_is_connected_anew(
    spectrometer: OceanSpectrometer,
    simulated: Simulated,
    fault: str,
    error: type[InstrumentError],
    complaint: str,
) -> None:
    simulated.tell(fault)
    with pytest.raises(error, match=complaint):
        spectrometer.acquire(0.02, 1)
    assert simulated.laser_mw() == 0.0
    simulated.tell("resume")
    spectrometer.connect()
    assert spectrometer.acquire(0.02, 1).laser_on
    assert simulated.laser_mw() == 0.0


def test_a_refused_spectrum_is_told_with_its_reason(
    spectrometer: OceanSpectrometer, simulated: Simulated
) -> None:
    child = spectrometer._child
    assert child is not None
    simulated.tell("nack:count=1:code=13")
    with pytest.raises(InstrumentFaultError, match="it refused: Int Device Error"):
        child.call("connect", 20.0)
    assert spectrometer.acquire(0.02, 1).laser_on


def test_a_spectrum_that_comes_late_is_never_taken_for_the_next(
    spectrometer: OceanSpectrometer, simulated: Simulated
) -> None:
    spectrometer.dark(0.02, 1)
    simulated.tell("late:seconds=3")
    with pytest.raises(TransportTimeout):
        spectrometer.acquire_dark(0.02, 1)
    simulated.tell("resume")
    spectrometer.connect()
    assert spectrometer.acquire(0.3, 1).counts.max() > 1000  # not the dark one that was late


def test_safe_state_ends_an_exposure_in_another_thread(
    spectrometer: OceanSpectrometer, simulated: Simulated
) -> None:
    caught: list[BaseException] = []

    def expose() -> None:
        try:
            spectrometer.acquire(0.5, 100)
        except InstrumentFaultError as error:
            caught.append(error)

    exposing = threading.Thread(target=expose)
    exposing.start()
    wait_for(lambda: simulated.laser_mw() > 0)
    assert spectrometer.is_on
    spectrometer.safe_state()
    assert simulated.laser_mw() == 0.0
    exposing.join(60)
    assert "interrupted by safe_state" in str(caught[0])
    spectrometer.safe_state()
    # Also one that was on its way when all was made safe.
    with pytest.raises(InstrumentFaultError, match="interrupted by safe_state"):
        spectrometer.acquire(0.01, 1)
    spectrometer.arm()
    assert spectrometer.acquire(0.01, 1).laser_on


def test_alignment_by_hand(spectrometer: OceanSpectrometer, simulated: Simulated) -> None:
    spectrometer.laser_on()
    assert spectrometer.is_on
    assert simulated.laser_mw() == 100.0
    spectrometer.laser_off()
    assert not spectrometer.is_on


def test_the_laser_is_off_before_its_child_is_let_go(
    spectrometer: OceanSpectrometer, simulated: Simulated
) -> None:
    spectrometer.laser_on()
    spectrometer._end_child()
    assert simulated.laser_mw() == 0.0
    spectrometer.connect()
    assert spectrometer.acquire(0.01, 1).laser_on


def test_a_killed_child_leaves_no_laser_on(
    spectrometer: OceanSpectrometer, simulated: Simulated
) -> None:
    pid = child_pid(spectrometer)
    killing = threading.Thread(
        target=lambda: (
            wait_for(lambda: simulated.laser_mw() > 0),
            os.kill(pid, signal.SIGKILL),
        )
    )
    killing.start()
    with pytest.raises(TransportError, match="SIGKILL"):
        spectrometer.acquire(0.5, 100)
    killing.join()
    assert simulated.laser_mw() == 0.0
    spectrometer.connect()
    assert spectrometer.acquire(0.01, 1).laser_on


@pytest.mark.long  # waits for half a minute
def test_a_library_that_hangs_is_ended_told_with_the_laser_off_and_connected_anew(
    spectrometer: OceanSpectrometer, simulated: Simulated
) -> None:
    child = psutil.Process(child_pid(spectrometer))
    hanging = threading.Thread(
        target=lambda: (wait_for(lambda: simulated.laser_mw() > 0), child.suspend())
    )
    hanging.start()
    with pytest.raises(TransportTimeout, match="no answer to acquire within"):
        spectrometer.acquire(1.0, 1)
    hanging.join()
    assert not child.is_running()
    assert simulated.laser_mw() == 0.0
    spectrometer.connect()
    assert spectrometer.acquire(0.01, 1).laser_on


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_its_owner_is_killed_the_child_switches_the_laser_off(
    simulated: Simulated, how: int
) -> None:
    with start("ocean_owner_process.py", simulated.address, simulated.board, "8") as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        wait_for(lambda: simulated.laser_mw() > 0)
        owner.send_signal(how)
        owner.wait()
    wait_for(lambda: simulated.laser_mw() == 0.0)
    wait_for(lambda: gone(pid))


def test_nobody_there_is_a_transport_error(board: NumatoRelayBoard) -> None:
    nobody = OceanSpectrometer("tcp://127.0.0.1:9", board, 1, excitation_nm=532.0)
    with pytest.raises(TransportError, match=r"raman tcp://127.0.0.1:9"):
        nobody.connect()
    wrong = OceanSpectrometer("usb://2457:2003", board, 1, excitation_nm=532.0)
    with pytest.raises(TransportError, match="write it as tcp://host:port"):
        wrong.connect()


def test_a_laser_hangs_on_a_board_of_the_bench() -> None:
    raman = {
        "kind": "raman",
        "language": "ocean",
        "address": "tcp://192.168.254.254:57357",
        "laser_power_w": 0.05,
        "integration_time_s": 1.0,
        "excitation_nm": 532.0,
        "laser": {"board": "relays", "relay": 1},
    }
    with pytest.raises(ValueError, match="hangs on board 'relays', which is not a relay_board"):
        BenchFile.model_validate({"name": "b", "instruments": {"raman": raman}})
