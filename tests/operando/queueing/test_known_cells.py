"""What the runs and the log book still know of a cell when Redis is lost: that it is finished."""

from pathlib import Path
from typing import Any

import pytest

from operando.journal import JournalWriter
from operando.logbook import LogNote, write_note
from operando.queueing import _known
from operando.queueing._known import OVER, known_of

SHORTED = {"end_state": {"shorted": True}}
WELL = {"end_state": {"shorted": False}}
STOPPED = {"stopped": {"by": "Ada", "why": "leaks"}}
AGED = {"end_of_life": {"rule": "low", "reason": "CE is 40 %"}}


def ran(data: Path, *stops: dict[str, Any]) -> None:
    """Record runs of a cell that ended as their stop documents tell, one each 10 s from 10 s on."""
    with JournalWriter(data) as journal:
        for number, told in enumerate(stops, 1):
            uid, at = f"run-{number}", 10.0 * number
            start = {"uid": uid, "time": at, "plan_name": "any", "scan_id": number}
            journal("start", start | {"sample": {"cell_id": "zn-1"}})
            stop = {"uid": f"{uid}-end", "run_start": uid, "time": at + 5, "num_events": {}}
            journal("stop", stop | {"exit_status": "success", "reason": "", **told})


@pytest.mark.parametrize(
    ("stops", "told"),
    [
        ([WELL], ""),
        ([STOPPED], "run run-1: stopped by Ada: leaks"),
        ([AGED], "run run-1: CE is 40 %"),
        ([SHORTED], "run run-1: it left the cell shorted"),
        # A newer run says nothing.
        ([STOPPED, {}], "run run-1: stopped by Ada: leaks"),
        ([AGED, WELL, WELL], "run run-1: CE is 40 %"),
        ([SHORTED, {}], "run run-1: it left the cell shorted"),
        # The short has healed.
        ([SHORTED, WELL], ""),
    ],
)
def test_a_cell_that_was_ended_is_finished_whatever_came_after(
    tmp_path: Path, stops: list[dict[str, Any]], told: str
) -> None:
    ran(tmp_path, *stops)
    known = known_of(tmp_path, "zn-1")
    assert known.finished == told
    assert known.run == f"run-{len(stops)}"
    assert known_of(tmp_path, "zn-2").finished == ""


def test_a_cell_that_was_mounted_again_is_finished_by_what_came_after_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(tmp_path, STOPPED, {}, STOPPED)
    told: list[LogNote] = []
    monkeypatch.setattr(_known, "notes", lambda *_, **__: told)

    def note(at: float, text: str) -> None:
        told.append(LogNote(at=at, text=text, by="me", cell_id="zn-1"))

    again = "mounted: 0.9 V at open circuit; mounted again: the leak was closed"
    note(17.0, again)
    assert known_of(tmp_path, "zn-1").finished.startswith("run run-3")
    note(37.0, again)
    assert known_of(tmp_path, "zn-1").finished == ""
    note(38.0, "mounted: 0.9 V at open circuit")
    assert known_of(tmp_path, "zn-1").finished == ""
    note(39.0, f"{OVER}stopped by Bob")
    assert known_of(tmp_path, "zn-1").finished == "stopped by Bob"


def test_a_cell_that_was_never_run_may_be_finished_by_a_note(tmp_path: Path) -> None:
    write_note(tmp_path, f"{OVER}stopped by Bob", "Bob", "A1", "zn-1")
    assert known_of(tmp_path, "zn-1").finished == "stopped by Bob"
