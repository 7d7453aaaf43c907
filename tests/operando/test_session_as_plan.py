"""What a session carries out as one plan: run after run, waits between them, and its end."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.utils import MsgGenerator, RunEngineInterrupted
from ophyd.sim import det
from ophyd.status import Status

from instruments.bench_file import BenchFile
from instruments.errors import InstrumentFaultError, UnsupportedTechniqueError
from operando.journal import documents, journal_path, list_runs
from operando.session import RunFailedError, Session

pytestmark = pytest.mark.timeout(180)

EMPTY = BenchFile(name="nothing", instruments={})


@bpp.run_decorator(md={"sample": "none"})
def nothing_for(duration_s: float) -> MsgGenerator:
    yield from bps.sleep(duration_s)


@bpp.run_decorator()
def failing(error: Exception) -> MsgGenerator:
    yield from bps.null()
    raise error


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(EMPTY, tmp_path, catalog=False) as opened:
        yield opened


def all_documents(session: Session, uid: str) -> list[tuple[str, dict[str, Any]]]:
    return list(documents(journal_path(session.data_dir, uid)))


def stop_of(session: Session, uid: str) -> dict[str, Any]:
    return all_documents(session, uid)[-1][1]


def aborted_when(session: Session, reached: Any, why: str) -> threading.Thread:
    def watch() -> None:
        while not reached():
            time.sleep(0.01)
        session.abort(why)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_what_it_returns_comes_out_of_the_plan_and_runs_are_in_one_call(session: Session) -> None:
    uids: list[str] = []

    def begin() -> str:
        uids.append(session.run(nothing_for(0.0)))
        session.wait(0.01)
        uids.append(session.run(nothing_for(0.0)))
        return uids[-1]

    got: list[str] = []

    def plan() -> MsgGenerator:
        got.append((yield from session.as_plan(begin)))

    assert session.RE(plan()) == tuple(uids)
    assert got == uids[-1:]
    assert [stop_of(session, uid)["exit_status"] for uid in uids] == ["success", "success"]


def test_documents_are_those_of_a_run_by_itself(session: Session) -> None:
    alone = session.run(nothing_for(0.0))
    (within,) = session.RE(session.as_plan(lambda: session.run(nothing_for(0.0))))

    def told(uid: str) -> list[tuple[str, dict[str, Any]]]:
        of_each = {"uid", "time", "scan_id", "run_start"}
        return [
            (name, {key: value for key, value in doc.items() if key not in of_each})
            for name, doc in all_documents(session, uid)
        ]

    assert told(within) == told(alone)


def test_a_run_that_failed_can_be_followed_by_another(session: Session) -> None:
    def begin() -> str:
        with pytest.raises(RunFailedError, match="overload") as caught:
            session.run(failing(InstrumentFaultError("overload on range 3")))
        assert isinstance(caught.value.__cause__, InstrumentFaultError)
        return session.run(nothing_for(0.0))

    first, second = session.RE(session.as_plan(begin))
    assert stop_of(session, first)["exit_status"] == "fail"
    assert stop_of(session, second)["exit_status"] == "success"


def test_a_failure_comes_out_of_the_plan_as_it_is_and_another_plan_can_run(
    session: Session,
) -> None:
    def refused() -> MsgGenerator:
        yield from bps.null()
        raise UnsupportedTechniqueError("no impedance here")

    with pytest.raises(UnsupportedTechniqueError, match="no impedance here"):
        session.RE(session.as_plan(lambda: session.run(refused())))
    with pytest.raises(RunFailedError, match="overload"):
        session.RE(session.as_plan(lambda: session.run(failing(InstrumentFaultError("overload")))))
    with pytest.raises(ZeroDivisionError):
        session.RE(session.as_plan(lambda: 1 / 0))
    assert session.RE.state == "idle"
    assert len(session.RE(session.as_plan(lambda: session.run(nothing_for(0.0))))) == 1


def test_an_abort_ends_the_run_and_says_why(session: Session) -> None:
    caught: list[RunFailedError] = []

    def begin() -> str:
        try:
            return session.run(nothing_for(60.0))
        except RunFailedError as error:
            caught.append(error)
            raise

    thread = aborted_when(session, lambda: list_runs(session.data_dir), "aborted by Ada")
    with pytest.raises(RunEngineInterrupted):
        session.RE(session.as_plan(begin))
    thread.join()
    assert (caught[0].exit_status, caught[0].reason) == ("abort", "aborted by Ada")
    assert stop_of(session, caught[0].uid)["reason"] == "aborted by Ada"
    assert session.RE.state == "idle"


def test_an_abort_ends_a_wait_and_what_is_recorded_of_it_still_is(session: Session) -> None:
    waits = threading.Event()
    uids: list[str] = []

    def begin() -> str:
        waits.set()
        try:
            session.wait(60.0)
        except KeyboardInterrupt:
            uids.append(session.run(nothing_for(0.0)))  # tells what became of it
            raise
        raise AssertionError("nobody ended the wait")

    thread = aborted_when(session, waits.is_set, "stopped by SIGTERM")
    began = time.monotonic()
    with pytest.raises(RunEngineInterrupted):
        session.RE(session.as_plan(begin))
    thread.join()
    assert time.monotonic() - began < 30.0
    assert stop_of(session, uids[0])["exit_status"] == "success"


def test_it_begins_nothing_after_an_abort_that_came_between_two_runs(session: Session) -> None:
    began, told = threading.Event(), threading.Event()

    def begin() -> str:
        began.set()
        told.wait(30.0)  # busy with something that nobody can interrupt
        return session.run(nothing_for(0.0))

    def end() -> None:
        session.abort("enough")
        told.set()

    thread = threading.Thread(target=lambda: (began.wait(30.0), end()))
    thread.start()
    with pytest.raises(RunEngineInterrupted):
        session.RE(session.as_plan(begin))
    thread.join()
    assert list_runs(session.data_dir) == []


def test_a_pause_ends_it_since_nobody_could_go_on(session: Session) -> None:
    def begin() -> str:
        asked.set()
        return session.run(nothing_for(60.0))

    asked = threading.Event()

    def pause() -> None:
        while not list_runs(session.data_dir):
            time.sleep(0.01)
        session.RE.request_pause()

    thread = threading.Thread(target=pause)
    thread.start()
    with pytest.raises(RunEngineInterrupted):
        session.RE(session.as_plan(begin))
    thread.join()
    assert session.RE.state == "idle"


def test_a_plan_that_is_dropped_lets_its_thread_end(session: Session) -> None:
    ended = threading.Event()

    def begin() -> str:
        try:
            return session.run(nothing_for(60.0))
        finally:
            ended.set()

    def halt() -> None:
        while not list_runs(session.data_dir):
            time.sleep(0.01)
        session.RE.halt()

    thread = threading.Thread(target=halt)
    thread.start()
    with pytest.raises(RunEngineInterrupted):
        session.RE(session.as_plan(begin))
    thread.join()
    assert ended.wait(30.0)


def test_a_run_that_a_plan_left_open_is_closed_before_the_next(session: Session) -> None:
    def careless() -> MsgGenerator:
        yield from bps.open_run()
        raise InstrumentFaultError("no light")

    def begin() -> str:
        with pytest.raises(RunFailedError, match="no light"):
            session.run(careless())
        return session.run(nothing_for(0.0))

    first, _ = session.RE(session.as_plan(begin))
    assert stop_of(session, first)["exit_status"] == "fail"


def test_what_fails_late_in_a_plan_that_is_over_is_no_failure_of_the_next(
    session: Session,
) -> None:
    late = Status()

    class Slow:
        name, parent = "slow", None

        def set(self, value: float) -> Status:
            return late

        def stop(self, *, success: bool = False) -> None: ...

    @bpp.run_decorator()
    def moving() -> MsgGenerator:
        yield from bps.abs_set(Slow(), 1.0, group="move")
        raise InstrumentFaultError("no light")

    @bpp.run_decorator()
    def quiet() -> MsgGenerator:
        late.set_exception(InstrumentFaultError("it never arrived"))
        yield from bps.sleep(0.2)
        yield from bps.wait("move")  # of this plan nothing moves
        yield from bps.trigger_and_read([det])

    def begin() -> str:
        with pytest.raises(RunFailedError, match="no light"):
            session.run(moving())
        return session.run(quiet())

    _, second = session.RE(session.as_plan(begin))
    assert stop_of(session, second)["exit_status"] == "success"


def test_a_check_and_a_guard_may_be_asked_for_between_its_runs(session: Session) -> None:
    def begin() -> str:
        session.regain_guard()
        assert session.check().bench == "nothing"
        return session.run(nothing_for(0.0))

    session.RE(session.as_plan(begin))
