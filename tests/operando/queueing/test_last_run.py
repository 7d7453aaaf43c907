"""Which run of an item was its last: the record decides whether a used cell is begun anew."""

from pathlib import Path
from typing import Any

from operando.journal import JournalWriter
from operando.queueing.supervisor._journal import last_run

_OTHERS = 201


def _run(journal: JournalWriter, uid: str, item: str, at: float, **more: Any) -> None:
    start = {"uid": uid, "time": at, "plan_name": "operando_plating_stripping", "scan_id": int(at)}
    start |= more
    journal("start", start | {"queue": {"item": item, "station": "A1"}})
    stop = {"uid": f"{uid}-end", "run_start": uid, "time": at, "exit_status": "fail"}
    journal("stop", stop | {"reason": "the acquisition process died", "num_events": {}})


def test_the_run_of_weeks_is_found_behind_those_of_other_stations(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal:
        _run(journal, "of-weeks", "mine", 1.0)
        for number in range(_OTHERS):
            _run(journal, f"other-{number}", f"item-{number}", 2.0 + number)
    found = last_run(tmp_path, "mine")
    assert found is not None
    assert (found.uid, found.interrupted) == ("of-weeks", True)
    assert last_run(tmp_path, "nobody's") is None


def test_a_look_that_refused_a_resume_is_told(tmp_path: Path) -> None:
    resume = {"of": "r", "checks": {"passed": False}, "refused": "is it the same cell?"}
    start = {"uid": "r-2", "time": 1.0, "plan_name": "continue_plating_stripping", "scan_id": 1}
    with JournalWriter(tmp_path) as journal:
        journal("start", start | {"queue": {"item": "mine"}, "resume": resume})
        stop = {"uid": "end", "run_start": "r-2", "time": 2.0, "exit_status": "fail"}
        journal("stop", stop | {"reason": "is it the same cell?", "num_events": {}})
    found = last_run(tmp_path, "mine")
    assert found is not None
    assert (found.refused, found.interrupted) == ("is it the same cell?", False)


def test_of_a_cell_its_own_runs_are_looked_at(tmp_path: Path) -> None:
    with JournalWriter(tmp_path) as journal:
        _run(journal, "one", "mine", 1.0, sample={"cell_id": "zn-1"})
        _run(journal, "two", "mine", 2.0, sample={"cell_id": "zn-2"})
    found = last_run(tmp_path, "mine", "zn-1")
    assert found is not None
    assert found.uid == "one"
    assert last_run(tmp_path, "mine", "zn-3") is None
