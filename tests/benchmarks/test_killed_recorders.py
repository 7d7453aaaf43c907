"""A recorder is killed and counted, and one that takes too long holds nothing up."""

import sys
import time
from pathlib import Path

import pytest

from benchmarks.killed import run_and_kill

_RECORDER = """
import os, sys, time
notes = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for row in range(1, 10**6):
    os.pwrite(notes, f"{row:12d}".encode(), 0)
    time.sleep(0.005)
"""


def test_a_recorder_is_killed_and_had_what_it_noted(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    had = run_and_kill([sys.executable, "-c", _RECORDER, str(notes)], notes, after_s=0.2)
    assert had > 0
    time.sleep(0.05)
    assert int(notes.read_text()) == had


def test_a_recorder_without_a_first_row_is_given_up_and_killed(tmp_path: Path) -> None:
    waits = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    told = tmp_path / "pid"
    with pytest.raises(TimeoutError, match="not begun within 1 s"):
        run_and_kill([sys.executable, "-c", waits, str(told)], tmp_path / "notes", 0.1, 1.0)
    assert not Path(f"/proc/{told.read_text()}").exists()


def test_a_recorder_that_ends_by_itself_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="recorded nothing"):
        run_and_kill([sys.executable, "-c", "pass"], tmp_path / "notes", 0.1)
