"""The end of a run: the cell is opened, what was measured is kept, and it is told why it ended."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import bluesky.plan_stubs as bps
from bluesky.utils import FailedStatus, Msg, MsgGenerator, RequestStop, RunEngineControlException

from instruments._follower import Follower
from instruments.errors import SafetyLimitError
from instruments.potentiostat.device import PotentiostatDevice
from instruments.thermostat.contract import TemperatureLimitError
from plans.course import Course
from plans.saving import POLL_S, collect_all, save
from plans.schedule import PLATING
from techniques import Cell

# How long the end of a run waits for exchanges that were told to end, s.
SETTLE_S = 10.0
# What a stop document says of instruments that could not be made safe.
WHILE_ENDING = "While the run was being ended"


def end_run(course: Course, followers: Mapping[str, Follower], unsafe: list[str]) -> MsgGenerator:
    """Open the cell, switch the light off, and keep everything that was measured.

    Each step is tried whatever became of those before it; what failed is added to ``unsafe``.
    """
    potentiostat = course.potentiostat
    yield from _persist(lambda: bps.stop(potentiostat), potentiostat.name, unsafe)
    course.program_over()
    course.end()
    for follower in followers.values():
        yield from _persist(partial(_make_safe, follower), follower.name, unsafe)
    # What was under way fails now; heard later, it would be taken for the cause of the end.
    yield from _persist(lambda: _settle(followers), "followers", unsafe, attempts=20)
    yield from _persist(lambda: collect_all(potentiostat), potentiostat.name, unsafe)
    if not unsafe:
        # The cell is open; the reference has nothing to do with how that came.
        yield from _persist(course.look_at_reference, potentiostat.name, unsafe)
    yield from _persist(lambda: collect_all(potentiostat), potentiostat.name, unsafe)
    for follower in followers.values():
        follower.unfollow()
        course.remarks += [note for note in follower.notes if note not in course.remarks]
    yield from _persist(lambda: save(followers), "rows of the followers", unsafe)
    yield from _persist(lambda: course.note_loans(followers), "uses of what is shared", unsafe)


def close_run(course: Course, status: str, reason: str) -> MsgGenerator:
    """Close the run; a session puts what is told besides into its stop document."""
    told = course.told_besides
    return (yield Msg("close_run", None, exit_status=status, reason=reason, **told))


def close_failed(
    course: Course, error: BaseException, cell: Cell, unsafe: list[str]
) -> MsgGenerator:
    """Close the run that ``error`` ended, with what is to be looked at first in its reason."""
    cause = cause_of(error)
    hints = (_hint(cause, course.potentiostat, cell), _of_skip(course), _of_reference(course))
    reason = (str(cause) or type(cause).__name__) + "".join(hints)
    told = told_of_unsafe(unsafe)
    status = "fail"
    if isinstance(error, RunEngineControlException):
        # Also after RE.stop(), which bluesky calls a success: the program did not reach its end.
        status = "abort"
        reason = "stopped before its end" if isinstance(error, RequestStop) else ""
    if unsafe and told not in reason:
        reason = f"{reason}. {told}" if reason else told
    yield from close_run(course, status, reason)


def told_of_unsafe(unsafe: list[str]) -> str:
    """Return what could not be done, or not be made safe, at the end of a run; empty if all was."""
    return f"{WHILE_ENDING}: {'; '.join(unsafe)}" if unsafe else ""


def cause_of(error: BaseException) -> BaseException:
    """Return the instrument's own words if a failed status carries them."""
    return (error.__cause__ or error) if isinstance(error, FailedStatus) else error


def _hint(cause: BaseException, potentiostat: PotentiostatDevice, cell: Cell) -> str:
    """Return what to look at first when the first half-cycle runs away: the cable.

    On the wrong electrode, plating strips a substrate that has no metal: the potential runs to
    its limit at once. With metal on both sides there is no telling.
    """
    newest = potentiostat.latest()
    if cell.symmetric or newest is None or newest.half_cycle != 1 or newest.role != PLATING:
        return ""
    if not isinstance(cause, SafetyLimitError) or isinstance(cause, TemperatureLimitError):
        return ""
    other = "CE" if cell.metal_electrode == "WE" else "WE"
    return (
        f". It was the first plating: does the {cell.electrode.material} electrode of cell "
        f"{cell.cell_id!r} really hang on {cell.metal_electrode}, as metal_electrode in the cell "
        f"file says, and not on {other}?"
    )


def _of_skip(course: Course) -> str:
    """Return that the half-cycle before the one that failed was skipped, in a sentence.

    A strip behind a plating that was skipped may have nothing to strip.
    """
    newest = course.potentiostat.latest()
    if course.skipped is None or newest is None or newest.half_cycle > course.skipped[0] + 1:
        return ""
    return f". It came behind a step that was not done: {course.skipped[1]}"


def _of_reference(course: Course) -> str:
    """Return what must be said of the reference electrode after a failure, in sentences."""
    said = [] if course.reference is None else course.reference.remarks
    return "".join(f". {one[0].upper()}{one[1:]}" for one in said)


def _settle(followers: Mapping[str, Follower]) -> MsgGenerator:
    """Wait, but not for ever, until no exchange is open."""
    deadline = time.monotonic() + SETTLE_S
    while any(x.busy for x in followers.values()) and time.monotonic() < deadline:
        yield from bps.sleep(POLL_S)


def _make_safe(follower: Follower) -> MsgGenerator:
    if not follower.outlasts_runs:
        follower.safe_state()
    yield from bps.null()


def _persist(
    plan: Callable[[], MsgGenerator], what: str, failures: list[str], attempts: int = 5
) -> MsgGenerator:
    """Run ``plan`` although statuses fail and stops are asked for meanwhile.

    These belong to what went on before and must not stop the end. Any other error is added to
    ``failures``: it must neither keep the next step from being tried nor replace what ended the
    run.
    """
    for attempt in range(attempts):
        try:
            yield from plan()
            return
        except (FailedStatus, RunEngineControlException) as error:
            if attempt + 1 == attempts:
                failures.append(f"{what}: {cause_of(error)!r}")
        except Exception as error:
            failures.append(f"{what}: {error}")
            return
