import contextlib
import os
import signal
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
    UnsupportedTechniqueError,
)
from instruments.raman._wasatch_process import WasatchProcess
from instruments.raman.wasatch import WasatchSpectrometer

from .conftest import SimulatedSpectrometer, start, wait_for


def child_pid(spectrometer: WasatchSpectrometer) -> int:
    assert spectrometer._child is not None
    return spectrometer._child.pid


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_making_a_driver_opens_nothing() -> None:
    spectrometer = WasatchSpectrometer("usb+tcp://127.0.0.1:1")
    assert not spectrometer.connected
    spectrometer.safe_state()
    spectrometer.close()
    with pytest.raises(TransportError, match="before connect"):
        spectrometer.acquire(0.1, 1)


def test_it_tells_who_it_is_and_what_its_axis_is(spectrometer: WasatchSpectrometer) -> None:
    identity = spectrometer.identify()
    assert identity["model"] == "WP-532-C"
    assert identity["serial_number"] == "SIM-00532"
    assert identity["firmware"] == "10.0.0.12, FPGA 027-012"
    assert spectrometer.specification.excitation_nm == 532.0
    axis = spectrometer.wavenumber_axis()
    assert axis.shape == (2048,)
    assert axis[0] <= 150
    assert axis[-1] >= 3890
    assert np.all(np.diff(axis) > 0)


def test_bands_outside_the_axis_are_refused_by_name(spectrometer: WasatchSpectrometer) -> None:
    spectrometer.require_bands([3633, 980, 465])
    with pytest.raises(UnsupportedTechniqueError, match=r"bands asked at 4000, 60 cm-1 .* 149 to"):
        spectrometer.require_bands([980, 4000, 60])


def test_bands_are_refused_by_the_axis_of_the_spectrometer_that_is_there(tmp_path: Path) -> None:
    with start("wasatch_simulator_process.py", str(tmp_path / "truth"), "785") as process:
        simulated = SimulatedSpectrometer(process, tmp_path / "truth")
        with contextlib.closing(WasatchSpectrometer(simulated.address)) as driver:
            driver.connect()
            assert driver.specification.excitation_nm == 785.0
            driver.require_bands([980, 465])
            with pytest.raises(
                UnsupportedTechniqueError,
                match=r"asked at 3633 cm-1 are not on its axis, 149 to 1799",
            ):
                driver.require_bands([3633, 980, 465])


def test_the_sulfate_band_is_where_it_belongs_and_the_laser_is_off_after(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    dark = spectrometer.dark(0.5, 2)
    taken = spectrometer.acquire(0.5, 2)
    assert taken.counts.shape == (2, 2048)
    assert taken.laser_on
    assert taken.laser_power_w == pytest.approx(0.05, rel=2e-3)
    assert taken.saturated_pixels == 0
    # The exposures themselves are inside, the laser's switching is outside.
    assert taken.host_after_ns - taken.host_before_ns >= 2 * 0.5e9
    axis = spectrometer.wavenumber_axis()
    near = (axis > 900) & (axis < 1060)
    spectrum = np.median(taken.counts, axis=0) - dark
    centroid = np.average(axis[near], weights=np.clip(spectrum[near] - 300, 0, None))
    assert centroid == pytest.approx(980.5 + 0.5, abs=0.5)  # the spectrograph's own error is 0.5
    assert spectrum[near].max() > 2500
    assert abs(np.median(dark) - 101) < 3
    assert simulated.laser_mw() == 0.0
    assert not spectrometer.is_on
    dark_mj, *lit_mj = [line["laser_mj"] for line in simulated.truth("spectrum")][1:]
    assert dark_mj == 0.0
    # It shines for as long as a read-out lasts, which on a busy computer is a little longer.
    assert len(lit_mj) == 2
    assert all(24.0 <= energy < 50.0 for energy in lit_mj)


def test_a_dark_is_taken_once_and_again_when_the_exposure_changes(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    spectrometer._dark_max_drift_c = 100.0
    for integration_time_s in (0.01, 0.01, 0.02):
        spectrometer.dark(integration_time_s, 1)
        spectrometer.acquire(integration_time_s, 1)
    darks = [line["laser_mj"] == 0 for line in simulated.truth("spectrum")]
    assert darks == [True, False, False, True, False]
    spectrometer._dark_max_age_s = 0.0
    spectrometer.dark(0.02, 1)
    spectrometer._dark_max_age_s, spectrometer._dark_max_drift_c = 600.0, -1.0
    spectrometer.dark(0.02, 1)
    assert len(simulated.truth("spectrum")) == len(darks) + 2


def test_a_forgotten_lamp_shows_in_the_dark(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    simulated.tell("lamp on")
    assert np.median(spectrometer.dark(0.5, 1)) > 200


def test_the_laser_power_is_set_and_read_back(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    assert spectrometer.set_laser_power(0.02) == pytest.approx(0.02, rel=5e-3)
    spectrometer.laser_on()
    assert spectrometer.is_on
    assert simulated.laser_mw() == pytest.approx(20.0, rel=5e-3)
    spectrometer.laser_off()
    assert not spectrometer.is_on
    assert simulated.laser_mw() == 0.0


def test_what_the_maker_does_not_allow_is_refused(spectrometer: WasatchSpectrometer) -> None:
    for power_w in (0.0, 0.001, 0.2):
        with pytest.raises(SafetyLimitError, match="the maker allows 2 to 100 mW"):
            spectrometer.set_laser_power(power_w)
    with pytest.raises(UnsupportedTechniqueError, match=r"integration time 700 s asked"):
        spectrometer.acquire(700.0, 1)


@pytest.mark.long
def test_saturation_is_told(spectrometer: WasatchSpectrometer) -> None:
    spectrometer.set_laser_power(0.1)
    taken = spectrometer.acquire(6.0, 1)
    assert 1 <= taken.saturated_pixels < 20
    assert taken.counts.max() == 65535


def test_an_open_interlock_is_told_and_nothing_shines(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    simulated.tell("open-interlock")
    with pytest.raises(InstrumentFaultError, match=r"interlock is open.*the laser is off"):
        spectrometer.acquire(0.01, 1)
    simulated.tell("close-interlock")
    assert simulated.truth("laser") == []
    assert spectrometer.acquire(0.01, 1).laser_on


def test_an_interlock_opened_during_the_exposure_spoils_the_spectrum(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    simulated.tell("when-on open-interlock")
    with pytest.raises(InstrumentFaultError, match="went off during the acquisition"):
        spectrometer.acquire(1.0, 1)
    simulated.tell("close-interlock")
    assert simulated.laser_mw() == 0.0  # the enable register was cleared too


def test_a_laser_that_refuses_is_told(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    simulated.tell("laser-refuses")
    with pytest.raises(InstrumentFaultError, match="read back as off: it refuses"):
        spectrometer.acquire(0.01, 1)


def test_safe_state_ends_an_exposure_in_another_thread(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
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
    exposing.join()
    assert "interrupted by safe_state" in str(caught[0])
    spectrometer.safe_state()
    # Also one that was on its way when all was made safe.
    with pytest.raises(InstrumentFaultError, match="interrupted by safe_state"):
        spectrometer.acquire(0.01, 1)
    spectrometer.arm()
    assert spectrometer.acquire(0.01, 1).laser_on


class MadeSafeMeanwhile(WasatchProcess):
    """One that another thread makes safe just before the laser's register is written."""

    safe: threading.Thread | None = None

    def _write_laser(self, on: bool) -> None:
        if on and self.safe is None:
            self.safe = threading.Thread(target=self.safe_state)
            self.safe.start()
            # A laser that it reads back as off here shines afterwards.
            self.safe.join(0.3)
        super()._write_laser(on)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:wasatch")
def test_safe_state_is_not_outrun_by_a_laser_that_is_being_switched_on(
    simulated: SimulatedSpectrometer,
) -> None:
    process = MadeSafeMeanwhile(simulated.address)
    process.connect()
    try:
        process.set_laser_power(50.0)
        with contextlib.suppress(InstrumentFaultError):
            process.laser_on()
        assert process.safe is not None
        process.safe.join()
        assert not process.is_firing()
    finally:
        process.close()


def test_a_garbled_memory_is_a_protocol_error(simulated: SimulatedSpectrometer) -> None:
    simulated.tell("garble-eeprom")
    with pytest.raises(ProtocolError, match=r"raman usb\+tcp://.* calibration memory is not cred"):
        WasatchSpectrometer(simulated.address).connect()


def test_nobody_there_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match=r"usb\+tcp://127.0.0.1:9: cannot connect"):
        WasatchSpectrometer("usb+tcp://127.0.0.1:9").connect()
    with pytest.raises(TransportError, match="write it as usb://24aa:1000"):
        WasatchSpectrometer("usb://a-serial-number").connect()


def test_a_spectrometer_has_one_owner(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    with pytest.raises(TransportError, match="another program has it"):
        WasatchSpectrometer(simulated.address).connect()
    assert spectrometer.acquire(0.01, 1).laser_on


def test_a_spectrum_that_never_comes_is_a_timeout_and_the_laser_is_off(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    simulated.tell("no-spectra")
    with pytest.raises(TransportTimeout, match=r"raman usb\+tcp://.*the laser is off"):
        spectrometer.acquire(0.01, 3)
    assert simulated.laser_mw() == 0.0
    assert not spectrometer.connected


def test_a_spectrometer_unplugged_during_an_exposure_is_a_transport_error(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer, tmp_path: Path
) -> None:
    pid = child_pid(spectrometer)
    unplugging = threading.Thread(
        target=lambda: (wait_for(lambda: simulated.laser_mw() > 0), simulated.unplug())
    )
    unplugging.start()
    with pytest.raises(TransportError, match=r"raman usb\+tcp://.*the device is gone") as caught:
        spectrometer.acquire(30.0, 1)
    unplugging.join()
    assert "turn its key" in str(caught.value)
    assert gone(pid)
    with pytest.raises(TransportError, match="before connect"):
        spectrometer.acquire(0.01, 1)
    with pytest.raises(TransportError, match=r"laser could not be switched off.*turn its key"):
        spectrometer.safe_state()
    # That the laser of another one is off says nothing of it.
    with start("wasatch_simulator_process.py", str(tmp_path / "another"), "785") as process:
        spectrometer.address = SimulatedSpectrometer(process, tmp_path / "another").address
        with pytest.raises(TransportError, match=r"WP-785-C SIM-00532 instead of .*turn its key"):
            spectrometer.safe_state()
        assert not spectrometer.connected


def test_after_a_power_cycle_it_connects_again_with_its_settings(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
) -> None:
    simulated.tell("power-cycle")
    with pytest.raises(TransportError, match="the device is gone"):
        spectrometer.acquire(0.02, 1)
    spectrometer.connect()
    assert spectrometer.acquire(0.02, 1).laser_power_w == pytest.approx(0.05, rel=2e-3)
    assert simulated.truth("laser")[-2]["power_mw"] == pytest.approx(50.0, rel=2e-3)


def test_a_killed_child_leaves_no_laser_on(
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
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
    spectrometer: WasatchSpectrometer, simulated: SimulatedSpectrometer
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
def test_a_killed_owner_leaves_no_laser_on_and_no_process(
    simulated: SimulatedSpectrometer, how: int
) -> None:
    with start("spectrometer_owner_process.py", simulated.address, "30") as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        wait_for(lambda: simulated.laser_mw() > 0)
        owner.send_signal(how)
        owner.wait()
    wait_for(lambda: simulated.laser_mw() == 0.0)
    wait_for(lambda: gone(pid))


def test_the_next_owner_switches_off_what_the_dead_left_on_and_drops_its_spectrum(
    simulated: SimulatedSpectrometer,
) -> None:
    with start("spectrometer_owner_process.py", simulated.address, "1", "100") as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        wait_for(lambda: simulated.laser_mw() > 0)
        for process in (pid, owner.pid):
            os.kill(process, signal.SIGSTOP)
        for process in (pid, owner.pid):
            os.kill(process, signal.SIGKILL)
        owner.wait()
    assert simulated.laser_mw() > 0  # nobody was left to switch it off
    spectrometer = WasatchSpectrometer(simulated.address)
    spectrometer.connect()
    assert simulated.laser_mw() == 0.0
    counts = spectrometer.acquire_dark(0.1, 1).counts
    assert np.median(counts) < 110  # not the bright spectrum that was under way
    spectrometer.close()


def test_the_driver_does_not_read_files_of_the_working_directory(
    simulated: SimulatedSpectrometer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wasatch.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    spectrometer = WasatchSpectrometer(simulated.address)
    spectrometer.connect()
    spectrometer.close()
