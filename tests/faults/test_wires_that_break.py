"""A wire or an instrument that dies in a run: what was measured is kept and the reason is told."""

import logging
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.errors import TransportError
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from operando.session import RunFailedError, Session
from techniques import Protocol

pytestmark = pytest.mark.timeout(180)
CELL = "zn-bare-half"
SERVED = {
    "camera": ("camera", "relay_board"),
    "raman": ("raman",),
    "gas_chromatograph": ("relay_board",),
}


class After:
    """A callback that does something once, when a stream has so many rows."""

    def __init__(self, stream: str, rows: int, action: Callable[[], object]) -> None:
        self.stream, self.rows, self.action = stream, rows, action
        self.seen = 0
        self.done = False
        self._descriptors: set[str] = set()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "descriptor" and doc["name"] == self.stream:
            self._descriptors.add(doc["uid"])
        elif name in ("event", "event_page") and doc["descriptor"] in self._descriptors:
            self.seen += len(doc["seq_num"]) if name == "event_page" else 1
        if self.seen >= self.rows and not self.done:
            self.done = True
            self.action()


def break_in_a_run(
    broken: Any,
    protocol: Protocol,
    followers: tuple[str, ...],
    when: tuple[str, int],
    action: Callable[[Session], object],
    factor: float = 100.0,
) -> tuple[RunFailedError, Run]:
    """Run ``protocol``, break something in it, return how the run ended and what is kept."""
    served = {name for follower in followers for name in SERVED[follower]}
    bench = load_bench("sim").only({"potentiostat", *followers})
    with (
        broken.serve("potentiostat", *sorted(served), factor=factor),
        Session(bench, broken.data, catalog=False) as session,
    ):
        after = After(*when, lambda: action(session))
        session.RE.subscribe(after)
        with pytest.raises(RunFailedError) as caught:
            session.run_protocol(protocol, cell=load_cell(CELL))
        assert after.done
    assert broken.stop_of(caught.value.uid)["exit_status"] == "fail"
    assert broken.stop_of(caught.value.uid)["reason"] == caught.value.reason
    run = Run.from_journal(caught.value.uid, broken.data)
    assert len(run.streams["potentiostat"]) >= (when[1] if when[0] == "potentiostat" else 1)
    return caught.value, run


def test_a_cable_pulled_from_the_potentiostat_ends_the_run_as_failed(
    broken: Any, plating: Callable[..., Protocol]
) -> None:
    error, _ = break_in_a_run(
        broken,
        plating(),
        (),
        ("potentiostat", 20),
        lambda session: broken.inject("potentiostat", "unplug"),
    )
    assert "EmStat4 HR at " in error.reason
    assert "potentiostat" in error.reason
    assert "cable" in error.reason
    # Nobody knows any more: the instrument goes on within its limits. That must be said, and
    # nothing else.
    assert "the state of the cell is unknown" in error.reason
    assert "The cell is open" not in str(error)
    assert "NOT known to be safe: potentiostat" in str(error)


def test_one_garbled_line_costs_one_row_and_is_told(
    broken: Any, plating: Callable[..., Protocol], caplog: pytest.LogCaptureFixture
) -> None:
    bench = load_bench("sim").only({"potentiostat"})
    with (
        caplog.at_level(logging.WARNING),
        broken.serve("potentiostat", factor=200),
        Session(bench, broken.data, catalog=False) as session,
    ):
        # It waits for the damage, however long that takes.
        broken.hold(after_s=20.0)
        session.RE.subscribe(
            After("potentiostat", 20, lambda: broken.inject("potentiostat", "garble", held=True))
        )
        uid = session.run_protocol(plating(100.0), cell=load_cell(CELL))
        logs = session.devices["potentiostat"]._driver._files().logs()
    # The row is in the instrument's own log, which therefore stays.
    log = Run.from_journal(uid, broken.data).start["instrument_log"]["name"]
    assert logs == [log]
    assert f"the instrument keeps them in its log {log}" in caplog.text
    stop = broken.stop_of(uid)
    assert stop["exit_status"] == "success"
    assert stop["reason"].startswith("1 row of the potentiostat was lost on the line (serial://")
    times = Run.from_journal(uid, broken.data).streams["potentiostat"].columns["potentiostat_t"]
    steps = np.diff(times)[:-1]  # the last row comes when the step ends
    (gap,) = np.flatnonzero(steps > 1.5 * np.median(steps))
    assert steps[gap] == pytest.approx(
        2 * np.median(steps), rel=0.3
    )  # rows are not all equally far apart
    assert "1 damaged lines" in caplog.text or "1 lines were lost" in caplog.text


def test_a_bad_wire_ends_the_run_and_opens_the_cell(
    broken: Any, plating: Callable[..., Protocol]
) -> None:
    error, _ = break_in_a_run(
        broken,
        plating(),
        (),
        ("potentiostat", 20),
        lambda session: broken.inject("potentiostat", "garble", count=8),
    )
    assert "damaged" in error.reason
    assert "check the cable" in error.reason
    assert not broken.cell_is_on()


def test_a_potentiostat_that_lost_its_power_ends_the_run(
    broken: Any, plating: Callable[..., Protocol]
) -> None:
    def restart(session: Session) -> None:
        # It would be waited for longer, for the sake of a busy computer.
        session.devices["potentiostat"]._driver._added_patience_s = 1.0
        broken.inject("potentiostat", "power-cycle", seconds=0.3)

    error, _ = break_in_a_run(
        broken,
        plating(),
        (),
        ("potentiostat", 20),
        restart,
    )
    assert "EmStat4 HR at " in error.reason
    assert "step 1" in error.reason
    # It answers again when it is asked how it was left.
    assert "The cell is open" in str(error)
    assert not broken.cell_is_on()


def test_a_camera_whose_process_dies_ends_the_run_and_opens_the_cell(
    broken: Any, plating: Callable[..., Protocol], children_of: Callable[[int], list[int]]
) -> None:
    before = set(children_of(os.getpid()))  # of this process, from other tests

    def kill(session: Session) -> None:
        mine = set(children_of(os.getpid())) - before - {broken.simulated.pid}
        (camera,) = mine
        os.kill(camera, signal.SIGKILL)

    error, run = break_in_a_run(broken, plating(image_s=20), ("camera",), ("camera", 2), kill)
    assert "camera" in error.reason
    assert "pylon" in error.reason or "published:" in error.reason
    assert not broken.cell_is_on()
    assert len(run.streams["camera"].asset("camera_image")) >= 2


def test_a_spectrometer_that_is_unplugged_ends_the_run_and_opens_the_cell(
    broken: Any, plating: Callable[..., Protocol]
) -> None:
    error, run = break_in_a_run(
        broken,
        plating(spectrum_s=20),
        ("raman",),
        ("raman", 1),
        lambda session: broken.inject("raman", "unplug"),
    )
    assert "raman" in error.reason
    assert not broken.cell_is_on()
    assert broken.laser_mw() == 0
    assert len(run.streams["raman"].asset("raman_spectrum")) >= 1


def test_a_relay_board_that_is_unplugged_ends_the_run_and_opens_the_cell(
    broken: Any, plating: Callable[..., Protocol]
) -> None:
    error, run = break_in_a_run(
        broken,
        plating(injection_s=30),
        ("gas_chromatograph",),
        ("gas_chromatograph", 1),
        lambda session: broken.inject("relay_board", "unplug"),
    )
    assert "gas_chromatograph: relay board at published:" in error.reason
    assert "serial:///dev/" in error.reason
    assert "cable plugged in?" in error.reason
    assert "NOT known to be safe: gas_chromatograph" in str(error)
    assert not broken.cell_is_on()
    assert len(run.streams["gas_chromatograph"]) >= 1


def test_an_interlock_that_opens_in_a_run_ends_it_and_opens_the_cell(
    broken: Any, plating: Callable[..., Protocol]
) -> None:
    error, _ = break_in_a_run(
        broken,
        plating(spectrum_s=20),
        ("raman",),
        ("raman", 1),
        lambda session: broken.inject("raman", "open-interlock"),
    )
    assert "interlock" in error.reason
    assert not broken.cell_is_on()
    assert broken.laser_mw() == 0


def test_a_bench_that_vanishes_altogether_ends_the_run_as_failed(
    broken: Any, plating: Callable[..., Protocol]
) -> None:
    error, run = break_in_a_run(
        broken,
        plating(image_s=20, spectrum_s=100, injection_s=200),
        ("camera", "raman", "gas_chromatograph"),
        ("camera", 2),
        lambda session: broken.kill_simulator(),
    )
    assert any(
        words in error.reason
        for words in ("camera: relay board", "gas_chromatograph: relay board", "EmStat4 HR at ")
    )
    for name in ("potentiostat", "camera", "raman"):
        assert name in str(error).partition("NOT known to be safe")[2]
    assert len(run.streams["camera"]) >= 2


def test_a_disk_without_room_for_another_spectrum_ends_the_run_before_it_is_full(
    broken: Any, plating: Callable[..., Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 would take the whole process with it on a disk that is really full."""
    total, used, _ = shutil.disk_usage(broken.folder)
    nearly_full = type(shutil.disk_usage(broken.folder))(total, used, 1_000_000)
    error, run = break_in_a_run(
        broken,
        plating(spectrum_s=20),
        ("raman",),
        ("raman", 1),
        lambda session: monkeypatch.setattr(shutil, "disk_usage", lambda path: nearly_full),
    )
    assert "OPERANDO_DATA" in error.reason
    assert "raman-" in error.reason
    assert not broken.cell_is_on()
    assert broken.laser_mw() == 0
    assert len(run.streams["raman"].asset("raman_spectrum")) >= 1
    bench = load_bench("sim").only({"raman"})
    with broken.serve("raman"), Session(bench, broken.data, catalog=False) as session:
        raman = session.devices["raman"]
        raman.assets_dir = broken.data / "assets"
        with pytest.raises(TransportError, match="cannot record spectra"):
            raman.stage()
