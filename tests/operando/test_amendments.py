"""What a record tells of requests: which changes were made, and of which nothing came."""

import json
from typing import Any

import pytest

from instruments.potentiostat.contract import PLATE, STRIP
from operando.queueing.ledger import account
from operando.queueing.model import Record
from operando.queueing.seen import _seen
from operando.resume._record import ResumeError, _refuse_what_cannot_go_on
from operando.runs import Run, pending_requests
from plans.going_on import Following
from plans.rules import AMENDED_ROWS, SKIPPED_ROWS, Watch
from techniques import Limit, PlateStripCycle, PotentiostaticStep
from techniques.requests import AMENDED, NOT_AMENDED, SKIPPED
from tests.plans.test_changes import AREA_CM2, going_on, rows
from tests.techniques.test_amended import cycling, half

BEGIN = {"t_s": 0.0, "cycle": 4, "half_cycle": 7, "step": 20, "spectrum": 0}
CELL = {
    "cell_id": "A",
    "metal": "Zn",
    "working_electrode": {"material": "Cu", "area_cm2": 1.0},
    "counter_electrode": {"material": "Zn", "area_cm2": 1.0, "metal": "Zn"},
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}


def asked(t_s: float, request: str, **more: Any) -> tuple[str, dict[str, Any]]:
    words = {"by": "Ada", "why": "", "protocol": "{}", "technique": "{}", "before": "{}"}
    told = {"t": t_s, "half_cycle": 7.0, "request": request, "limits": "{}"} | words | more
    return "requests", told


def began(t_s: float, reason: str) -> tuple[str, dict[str, Any]]:
    return "programs", {"t": t_s, "reason": reason, "begin": json.dumps(BEGIN)}


def recorded(*events: tuple[str, dict[str, Any]], exit_status: str = "fail", **start: Any) -> Run:
    """Return a run with events of its streams ``requests`` and ``programs``."""
    plan = {"plan_name": "operando_plating_stripping", "technique": {}, "sample": CELL}
    documents: list[tuple[str, dict[str, Any]]] = [
        ("start", {"uid": "run-1", "time": 0.0} | plan | start)
    ]
    for name in dict.fromkeys(stream for stream, _ in events):
        columns = next(told for stream, told in events if stream == name)
        keys: dict[str, dict[str, Any]] = {
            f"{name}_{key}": {
                "source": "plan",
                "shape": [],
                "dtype": "string" if isinstance(value, str) else "number",
            }
            for key, value in columns.items()
        }
        descriptor = {"uid": name, "run_start": "run-1", "time": 0.0, "name": name}
        more = {"data_keys": keys, "configuration": {}, "object_keys": {}, "hints": {}}
        documents.append(("descriptor", descriptor | more))
    for number, (stream, told) in enumerate(events, 1):
        data = {f"{stream}_{key}": value for key, value in told.items()}
        event = {"uid": str(number), "descriptor": stream, "time": 0.0, "seq_num": number}
        documents.append(
            ("event", event | {"data": data, "timestamps": dict.fromkeys(data, 0.0), "filled": {}})
        )
    stop = {"uid": "s", "run_start": "run-1", "time": 1.0, "exit_status": exit_status}
    return Run.from_documents([*documents, ("stop", stop | {"reason": ""})])


def test_a_change_is_what_was_asked_for_last_before_a_program_went_on_under_it() -> None:
    run = recorded(
        asked(10.0, "amend", protocol='{"name": "first"}'),
        asked(20.0, "amend", protocol='{"name": "second"}'),
        began(30.0, f"{AMENDED} Ada to protocol 'second'"),
        asked(40.0, "amend", protocol='{"name": "third"}'),
        amendments=[
            {
                "half_cycle": 3,
                "cycle": 1,
                "t_s": 5.0,
                "by": "Bob",
                "why": "",
                "protocol": {"name": "before"},
                "technique": {"type": "open_circuit"},
                "before": {},
                "limits": {},
            }
        ],
    )
    told = [(one.half_cycle, one.cycle, one.protocol["name"]) for one in run.amendments]
    assert told == [(3, 1, "before"), (8, 4, "second")]
    assert run.changes[0] == (3, {"type": "open_circuit"})
    assert [one["protocol"] for one in pending_requests(run)] == ['{"name": "third"}']


def test_a_change_that_is_asked_for_before_the_first_row_of_another_one_is_not_that_one() -> None:
    run = recorded(
        asked(20.0, "amend", protocol='{"name": "first"}'),
        began(30.0, f"{AMENDED} Ada to protocol 'first'"),
        asked(30.0, "amend", protocol='{"name": "second"}'),
        began(50.0, f"{AMENDED} Ada to protocol 'second'"),
    )
    assert [one.protocol["name"] for one in run.amendments] == ["first", "second"]
    waiting = recorded(
        asked(20.0, "amend", protocol='{"name": "first"}'),
        began(30.0, f"{AMENDED} Ada to protocol 'first'"),
        asked(30.0, "amend", protocol='{"name": "second"}'),
    )
    assert [one.protocol["name"] for one in waiting.amendments] == ["first"]
    assert [one["protocol"] for one in pending_requests(waiting)] == ['{"name": "second"}']


def test_a_change_that_was_given_up_is_not_made_after_all() -> None:
    run = recorded(
        asked(10.0, "amend", protocol='{"name": "first"}'),
        asked(20.0, "amend", protocol='{"name": "second"}'),
        asked(30.0, NOT_AMENDED, protocol='{"name": "second"}', why="too much for it"),
        began(31.0, "what was left of the program"),
    )
    assert run.amendments == ()
    assert pending_requests(run) == ()
    later = asked(40.0, "amend", protocol='{"name": "third"}')
    run = recorded(
        asked(20.0, "amend", protocol='{"name": "second"}'),
        asked(30.0, NOT_AMENDED, protocol='{"name": "second"}', why="too much for it"),
        later,
    )
    assert [one["protocol"] for one in pending_requests(run)] == ['{"name": "third"}']


def test_a_half_cycle_that_was_skipped_is_known_by_the_program_behind_it() -> None:
    run = recorded(
        asked(10.0, "skip_step"),
        began(11.0, f"plate step (cycle 4, half-cycle 7){SKIPPED}Ada"),
        asked(20.0, "skip_step"),
        began(21.0, f"open circuit (cycle 4, half-cycle 7){SKIPPED}Ada"),
    )
    assert run.skipped == (7,)
    assert pending_requests(run) == ()


def further(found: Following) -> tuple[str, dict[str, Any]]:
    """Return what a run records of a further program."""
    told = {"technique": found.technique.model_dump_json(), "begin": found.begin.model_dump_json()}
    return "programs", {"t": found.begin.t_s, "reason": found.why, **told}


def plating(charge: float, hold: bool = False) -> PlateStripCycle:
    """Return cycles that plate so much, and go on at a potential after it if asked."""
    held = PotentiostaticStep(
        role="plate",
        potential_v=-0.05,
        continues_half_cycle=True,
        until=(Limit(quantity="time_s", value=600),),
    )
    plate = half("plate", 1.0, charge)
    return cycling(1.0, 5).model_copy(update={"plate": plate, "plate_hold": held if hold else None})


@pytest.mark.parametrize(
    ("other", "first", "cut"),
    [
        pytest.param(plating(0.5), 3, (), id="some of it is left"),
        pytest.param(plating(0.1), 4, (3,), id="nothing of it is left"),
        pytest.param(plating(0.1, hold=True), 3, (), id="the hold behind it is left"),
    ],
)
def test_all_tell_the_same_half_cycle_as_the_first_of_a_changed_protocol(
    other: PlateStripCycle, first: int, cut: tuple[int, ...]
) -> None:
    *seen, _ = rows((PLATE, 1.0), (STRIP, 1.0), (PLATE, 0.2))
    watch = Watch((), None)  # type: ignore[arg-type]
    found, course = going_on(cycling(1.0, 5), other, seen, "opened", watch=watch)
    assert found is not None
    run = recorded(asked(20.0, "amend", protocol='{"name": "other"}'), further(found))
    (told,) = course.told_besides["amendments"]
    judged = dict(watch._rows.get_nowait() or () for _ in range(watch._rows.qsize()))
    assert [one.half_cycle for one in run.amendments] == [first]
    assert [one.first_half_cycle for one in run.asked] == [1, first]
    assert told["half_cycle"] == first
    assert judged[AMENDED_ROWS]["half_cycle"] == [first]
    assert f"from half-cycle {first} on" in found.why
    # What had passed more than the new protocol asks for did not come to the end of the old one.
    assert run.skipped == cut
    assert tuple(judged.get(SKIPPED_ROWS, {}).get("half_cycle", ())) == cut


def test_a_half_cycle_of_which_a_change_left_nothing_adds_up() -> None:
    old, new = cycling(1.0, 5), plating(0.1).model_copy(update={"cycles": 2})
    *seen, _ = rows((PLATE, 1.0), (STRIP, 1.0), (PLATE, 0.2))
    found, _ = going_on(old, new, seen, "opened")
    assert found is not None
    names = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
    all_rows = rows((PLATE, 1.0), (STRIP, 1.0), (PLATE, 0.2), (STRIP, 1.0))
    run = recorded(
        asked(5000.0, "amend", technique=new.model_dump_json()),
        further(found),
        *(("potentiostat", dict(zip(names, map(float, row), strict=False))) for row in all_rows),
        exit_status="success",
        technique=old.model_dump(mode="json"),
        sample=CELL | {"working_electrode": {"material": "Cu", "area_cm2": AREA_CM2}},
    )
    told = {"item": "i1", "station": "A1", "cell_id": "A", "runs": ("run-1",)}
    experiment = _seen(run, run.start["sample"], told)
    assert [one.whole for one in experiment.halves] == [True, True, False, True]
    assert [one.most_mah_cm2 for one in experiment.halves] == pytest.approx([1.0] * 4)
    done = Record.model_validate(
        {"item": "i1", "station": "A1", "cell_id": "A", "began": 1.0, "state": "done"}
    )
    assert account([done], [experiment]).findings == ()


def test_a_run_that_somebody_had_asked_to_stop_does_not_go_on() -> None:
    with pytest.raises(ResumeError, match=r"Ada had asked to stop run run-1 \(enough\)"):
        _refuse_what_cannot_go_on([recorded(asked(10.0, "stop", why="enough"))])
    _refuse_what_cannot_go_on([recorded(asked(10.0, "amend"))])
