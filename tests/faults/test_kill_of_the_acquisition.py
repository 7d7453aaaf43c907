"""kill -9 of the acquiring process in the middle of a run with all four instruments."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from operando.catalog import ensure_service, stop_service, verify, wait_until_ingested
from operando.configuration import load_bench
from operando.journal import list_runs
from operando.runs import Run
from operando.session import Session
from operando.simulation import INSTRUMENTS
from techniques import Protocol

# Most of it is the catalog service starting, and the first import of its client.
pytestmark = pytest.mark.timeout(300)
SCRIPT = Path(__file__).with_name("doomed_run_process.py")
FOLLOWERS = ("camera", "raman", "gas_chromatograph")


@dataclass(frozen=True)
class Aftermath:
    """What a killed process leaves behind.

    Attributes:
        killed: When it was killed, epoch s.
        laser_mw: The laser's power at that moment, mW.
        children: The processes of vendors' libraries it had started; they are gone.
        cell_on: Whether the cell was on afterwards, and when somebody had connected again.
        run: The run, as the catalog has it after the service's next start.
    """

    broken: Any
    killed: float
    laser_mw: float
    children: list[int]
    cell_on: tuple[bool, bool]
    run: Run

    @property
    def noted(self) -> "list[tuple[float, float]]":
        """Return (arrival, leader's time) of each row that the driver had."""
        return noted_by(self.broken)


@pytest.fixture(scope="module")
def aftermath(
    tmp_path_factory: pytest.TempPathFactory,
    make_broken: Callable[[Path], Any],
    plating: Callable[..., Protocol],
    wait_for: Callable[..., None],
    children_of: Callable[[int], list[int]],
) -> Iterator[Aftermath]:
    broken = make_broken(tmp_path_factory.mktemp("killed"))
    protocol = plating(
        image_s=20, spectrum_s=40, injection_s=60, integration_time_s=0.5, accumulations=2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILED_PROFILES", str(broken.folder / "profiles"))
        # Started by the doomed process, and killed with it.
        patch.setenv("OPERANDO_CATALOG_IDLE_S", "60")
        with broken.serve(*INSTRUMENTS, factor=50.0):
            arguments = [str(broken.write_protocol(protocol)), str(broken.data)]
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *arguments, str(broken.folder / "notes")]
            )
            try:
                wait_for(lambda: rows_of(broken).get("raman", 0) >= 1, "no spectrum came")
                # Enough rows that are older than the second which a test allows.
                wait_for(lambda: noted_before(broken, time.time() - 1.5) > 20, "too few rows came")
                children = [pid for pid in children_of(process.pid) if vendor_process(pid)]
                stopped = [process.pid, *children]
                looked: list[float] = []

                def shines() -> bool:
                    """Stop them all, unless the laser is off or the record is late just then."""
                    for pid in stopped:
                        os.kill(pid, signal.SIGSTOP)
                    looked.append(time.time())
                    if broken.laser_mw() > 0 and keeps_up(broken, looked[-1]):
                        return True
                    for pid in stopped:
                        os.kill(pid, signal.SIGCONT)
                    return False

                wait_for(shines, "the laser did not shine again, or the record is always late")
                laser_mw = broken.laser_mw()
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            killed = looked[-1]
            for pid in children:
                os.kill(pid, signal.SIGCONT)
            wait_for(lambda: broken.laser_mw() == 0, "the laser stayed on")
            wait_for(lambda: not any(map(lives, children)), "a vendor's process stayed")
            was_on = broken.cell_is_on()
            with Session(load_bench("sim").only({"potentiostat"}), broken.data, catalog=False):
                is_on = broken.cell_is_on()
            stop_service(broken.data)
            ensure_service(broken.data, wait_s=60, idle_s=60)
            try:
                wait_for(lambda: list_runs(broken.data)[0].exit_status == "fail", "not closed")
                (summary,) = list_runs(broken.data)
                wait_until_ingested(broken.data, summary.uid, timeout_s=60)
                run = Run.from_catalog(summary.uid, broken.data)
                yield Aftermath(broken, killed, laser_mw, children, (was_on, is_on), run)
            finally:
                stop_service(broken.data)


def noted_by(broken: Any) -> "list[tuple[float, float]]":
    whole = (broken.folder / "notes").read_text().rpartition("\n")[0].splitlines()
    return [tuple(map(float, line.split())) for line in whole]  # type: ignore[misc]


def noted_before(broken: Any, time_s: float) -> int:
    return sum(arrival < time_s for arrival, _ in noted_by(broken))


def keeps_up(broken: Any, time_s: float) -> bool:
    """Return whether rows of a second before, and frames of two, are on record.

    A computer that is busy with something else may be later at times.
    """
    rows = rows_of(broken)
    frames = frames_before(broken, time_s - 2.0)
    return rows["potentiostat"] >= noted_before(broken, time_s - 1.0) and rows["camera"] >= frames


def frames_before(broken: Any, time_s: float) -> int:
    (path,) = (broken.data / "assets").rglob("camera-*.h5")
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        return int(np.sum(file["entry/instrument/detector/host_after"][()] < time_s))


def rows_of(broken: Any) -> dict[str, int]:
    runs = list_runs(broken.data)
    return runs[0].rows if runs else {}


def vendor_process(pid: int) -> bool:
    return b"instruments._child" in Path(f"/proc/{pid}/cmdline").read_bytes()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_row_the_driver_had_a_second_earlier_is_in_the_catalog(
    aftermath: Aftermath,
) -> None:
    due = [t_s for arrival, t_s in aftermath.noted if arrival < aftermath.killed - 1.0]
    stored = aftermath.run.streams["potentiostat"].columns["potentiostat_t"]
    assert len(due) > 20
    np.testing.assert_array_equal(stored[: len(due)], due)


@pytest.mark.parametrize("follower", FOLLOWERS)
def test_every_row_of_a_follower_is_there_and_its_files_can_be_read(
    follower: str, aftermath: Aftermath
) -> None:
    stream = aftermath.run.streams[follower]
    assert len(stream) >= 1
    for asset in stream.assets.values():
        assert len(asset) == asset.announced == len(stream)
        assert np.isfinite(asset[-1]).all()


def test_every_frame_taken_two_seconds_earlier_is_in_the_catalog(aftermath: Aftermath) -> None:
    # A frame is a row once the leader has shown a later one, of its own.
    due = frames_before(aftermath.broken, aftermath.killed - 2.0)
    assert 0 < due <= len(aftermath.run.streams["camera"])


def test_the_run_is_closed_as_failed_with_the_reason(aftermath: Aftermath) -> None:
    assert aftermath.run.stop is not None
    assert aftermath.run.stop["exit_status"] == "fail"
    assert aftermath.run.stop["reason"]
    (summary,) = list_runs(aftermath.broken.data)
    assert (summary.exit_status, summary.reason) == ("fail", aftermath.run.stop["reason"])


def test_journal_and_catalog_agree_about_a_killed_run(aftermath: Aftermath) -> None:
    outcome = verify(aftermath.run.uid, aftermath.broken.data)
    assert outcome.same, outcome


def test_the_laser_that_was_on_is_off_and_no_process_is_left(aftermath: Aftermath) -> None:
    assert aftermath.laser_mw > 0
    assert aftermath.broken.laser_mw() == 0
    assert len(aftermath.children) == 2  # camera and spectrometer
    assert not any(map(lives, aftermath.children))


def test_the_next_session_opens_the_cell_that_was_left_to_the_instrument(
    aftermath: Aftermath,
) -> None:
    """The instrument went on within the program's limits; connecting again ends that."""
    assert aftermath.cell_on == (True, False)
