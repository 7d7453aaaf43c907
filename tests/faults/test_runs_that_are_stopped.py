"""The command line when a run is stopped, killed, refused or cannot be written any more."""

import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.transport import open_transport, resolve
from operando.journal import documents, inspect, list_runs
from operando.runs import Run
from techniques import Protocol

pytestmark = pytest.mark.timeout(240)
Processes = list["subprocess.Popen[str]"]


def rows_of(broken: Any) -> int:
    """Return how many rows of the leader the newest run has by now."""
    runs = list_runs(broken.data)
    return runs[0].rows.get("potentiostat", 0) if runs else 0


@pytest.fixture
def running(
    broken: Any, plating: Callable[..., Protocol], tidy: Processes, wait_for: Callable[..., None]
) -> Any:
    """Have the command line plate in a process of its own, some rows already taken."""
    with broken.serve("potentiostat", factor=50):
        path = broken.write_protocol(plating())
        process = broken.operando("run", str(path), "--only", "potentiostat")
        tidy.append(process)
        wait_for(lambda: rows_of(broken) > 20, "no rows came")
        yield process


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit status and what was complained of."""
    _, complaint = process.communicate()
    assert "Traceback" not in complaint
    return process.returncode, complaint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_the_cell_open_and_all_rows_kept(
    number: signal.Signals, running: Any, broken: Any
) -> None:
    before = rows_of(broken)
    running.send_signal(number)
    status, complaint = ended(running)
    assert status == 128 + number
    assert f"stopped by {number.name}" in complaint
    assert "The cell is open" in complaint
    assert not broken.cell_is_on()
    assert broken.truth("potentiostat", "cell_off")
    (summary,) = list_runs(broken.data)
    assert (summary.exit_status, summary.reason) == ("abort", f"stopped by {number.name}")
    assert summary.rows["potentiostat"] >= before


def test_a_cable_pulled_in_a_run_exits_with_1_and_one_message(running: Any, broken: Any) -> None:
    broken.inject("potentiostat", "unplug")
    status, complaint = ended(running)
    assert status == 1
    assert "EmStat4 HR at " in complaint
    assert "cable plugged in?" in complaint
    assert "operando report" in complaint
    (summary,) = list_runs(broken.data)
    assert summary.exit_status == "fail"
    assert summary.rows["potentiostat"] > 20


def test_a_simulator_killed_in_a_run_exits_with_1_and_one_message(
    running: Any, broken: Any
) -> None:
    broken.kill_simulator()
    status, complaint = ended(running)
    assert status == 1
    assert "lost while a program was running" in complaint
    assert list_runs(broken.data)[0].exit_status == "fail"


def test_a_second_program_on_the_same_port_is_told_who_has_it(
    running: Any, broken: Any, tidy: Processes
) -> None:
    path = broken.folder / "protocol.yaml"
    second = broken.operando("run", str(path), "--only", "potentiostat")
    tidy.append(second)
    status, complaint = ended(second)
    assert status == 2
    assert "busy" in complaint
    assert f"process {running.pid}" in complaint
    assert "end that program first" in complaint
    # The first one never notices.
    before = rows_of(broken)
    assert running.poll() is None
    assert broken.cell_is_on()
    assert len(list_runs(broken.data)) == 1
    running.send_signal(signal.SIGINT)
    ended(running)
    assert rows_of(broken) >= before


def test_instruments_that_are_not_there_are_all_told_in_one_report(
    broken: Any, plating: Callable[..., Protocol], tidy: Processes
) -> None:
    with broken.serve("potentiostat"):
        process = broken.operando("run", str(broken.write_protocol(plating())))
        tidy.append(process)
        status, complaint = ended(process)
        assert status == 2
        for name in ("relay_board", "camera", "raman", "gas_chromatograph"):
            assert re.search(rf"^  {name}: .+", complaint, re.MULTILINE), name
        assert "  potentiostat:" not in complaint
        assert "operando sim" in complaint
        assert list_runs(broken.data) == []
        assert not broken.truth("potentiostat", "cell_on")
        # What did connect is free again.
        open_transport(resolve("published:" + str(broken.sim / "potentiostat"))).close()


def test_a_full_disk_ends_the_run_with_the_cell_open_and_what_was_written_readable(
    broken: Any,
    plating: Callable[..., Protocol],
    tidy: Processes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPERANDO_JOURNAL_PATIENCE_S", "1")
    limit = 120_000
    monkeypatch.setenv("FILE_LIMIT", str(limit))
    with broken.serve("potentiostat", factor=200):
        path = broken.write_protocol(plating(duration_s=7200, dt_s=0.2))
        process = broken.operando("run", str(path), "--only", "potentiostat")
        tidy.append(process)
        status, complaint = ended(process)
        assert status == 1
        assert "DISK: the journal" in complaint
        assert "have waited 1 s for room" in complaint
        assert "To go on:" in complaint
        assert not broken.cell_is_on()
        assert broken.truth("potentiostat", "cell_off")
    (summary,) = list_runs(broken.data)
    assert 0 < summary.path.stat().st_size <= limit
    assert inspect(summary.path).clean
    rows = Run.from_journal(summary.uid, broken.data).streams["potentiostat"]
    assert len(rows) > 100
    # Nothing is missing before the last row, and what is there is what is listed.
    numbers = [
        number
        for name, document in documents(summary.path)
        if name == "event_page"
        for number in document["seq_num"]
    ]
    assert numbers == list(range(1, len(rows) + 1))


@pytest.mark.long
def test_a_disk_that_is_full_for_a_while_costs_no_row(
    broken: Any,
    plating: Callable[..., Protocol],
    tidy: Processes,
    wait_for: Callable[..., None],
) -> None:
    with broken.serve("potentiostat", factor=200):
        path = broken.write_protocol(plating(duration_s=1500))
        process = broken.operando("run", str(path), "--only", "potentiostat")
        tidy.append(process)
        wait_for(lambda: rows_of(broken) > 20, "no rows came")
        (summary,) = list_runs(broken.data)
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, -1))
        size = -1
        while summary.path.stat().st_size != size:
            size = summary.path.stat().st_size
            time.sleep(1.0)
        assert process.poll() is None
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        shown, complaint = process.communicate()
    assert process.returncode == 0, complaint
    for text in (shown, complaint):
        assert "takes no more: File too large" in text
        assert "is written again: nothing that waited is lost" in text
    rows = Run.from_journal(summary.uid, broken.data).streams["potentiostat"]
    assert len(rows) >= 1500 / 0.5
    assert np.diff(rows.columns["potentiostat_t"]).max() < 1.0


def test_a_disk_with_no_room_for_the_end_either_is_told_as_the_reason(
    broken: Any,
    plating: Callable[..., Protocol],
    tidy: Processes,
    wait_for: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPERANDO_JOURNAL_PATIENCE_S", "0")
    with broken.serve("potentiostat", factor=50):
        path = broken.write_protocol(plating())
        running = broken.operando("run", str(path), "--only", "potentiostat")
        tidy.append(running)
        wait_for(lambda: rows_of(broken) > 20, "no rows came")
        before = rows_of(broken)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1, 1))
        status, complaint = ended(running)
    assert status == 1
    assert "did not take a" in complaint
    assert "To go on:" in complaint
    assert "The cell is open" in complaint
    assert not broken.cell_is_on()
    # Without a stop document; the catalog service closes it once there is room again.
    (summary,) = list_runs(broken.data)
    assert summary.exit_status == "unfinished"
    assert summary.rows["potentiostat"] >= before
