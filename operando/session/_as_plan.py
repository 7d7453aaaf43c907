"""What a session carries out, with its failure policies, as one plan for one call of a RunEngine.

A queue server calls a RunEngine once for each item, while an experiment is several runs with waits
between them as soon as a failure policy has a say in it. Here a thread does what is done between
the runs, and hands each plan to the generator that the RunEngine executes.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from bluesky.run_engine import RunEngine
from bluesky.utils import (
    FailedPause,
    FailedStatus,
    Msg,
    MsgGenerator,
    RunEngineControlException,
    RunEngineInterrupted,
)

logger = logging.getLogger(__name__)

_CONTROL = (RunEngineControlException, FailedPause, asyncio.CancelledError)


class Conductor:
    """Carries out ``begin`` in a thread, and the plans that it wants run in one call of ``engine``.

    Args:
        engine: The RunEngine that executes `plan`.
        begin: What is to be done; it calls `run` for each plan, from its own thread.
        wrapped: Puts around each plan what a RunEngine puts around a call.
    """

    def __init__(
        self,
        engine: RunEngine,
        begin: Callable[[], Any],
        wrapped: Callable[[MsgGenerator], MsgGenerator],
    ) -> None:
        self._engine = engine
        self._begin = begin
        self._wrapped = wrapped
        self._asked = asyncio.Event()
        self._answered = threading.Event()
        self._interrupted = threading.Event()
        self._untold = False
        self._dropped = False
        self._wanted: MsgGenerator | None = None
        self._error: BaseException | None = None
        self._outcome: BaseException | None = None
        self._result: Any = None
        self._over = False

    # -- in the thread of `begin`

    @property
    def interrupted(self) -> bool:
        """Return whether somebody has ended what is carried out."""
        return self._interrupted.is_set()

    def run(self, plan: MsgGenerator) -> None:
        """Have a plan executed; raises what calling the RunEngine with it would raise."""
        self._tell_of_interruption()
        self._wanted, self._error = plan, None
        self._answered.clear()
        if self._dropped:  # just before: nobody would answer
            raise RunEngineInterrupted("the RunEngine has dropped the plan")
        self._wake()
        self._answered.wait()
        if isinstance(self._error, _CONTROL) or self._dropped:
            self._untold = False
            raise RunEngineInterrupted("the plan was ended") from self._error
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> None:
        """Wait; raises KeyboardInterrupt, once, when somebody ends what is carried out."""
        self._tell_of_interruption()
        if self._interrupted.is_set():
            threading.Event().wait(seconds)  # told already: this is of what follows it
        else:
            self._interrupted.wait(seconds)
        self._tell_of_interruption()

    def _tell_of_interruption(self) -> None:
        if self._dropped:
            raise RunEngineInterrupted("the RunEngine has dropped the plan")
        if self._untold:
            self._untold = False
            raise KeyboardInterrupt

    def carry_out(self) -> None:
        """Do all of it; the target of the thread."""
        try:
            self._result = self._begin()
        except BaseException as error:
            self._outcome = error
        finally:
            self._over = True
            self._wake()

    def _wake(self) -> None:
        try:
            self._engine.loop.call_soon_threadsafe(self._asked.set)
        except RuntimeError:  # the loop is closed: nothing is executed any more
            self._dropped = True
            self._answered.set()

    # -- in the RunEngine

    def plan(self, start: Callable[[Callable[[], None]], None]) -> MsgGenerator:
        """Execute what the thread asks for until it is done; return what ``begin`` returned.

        Raises what ``begin`` raised; where somebody has ended it, the RunEngine's own error.
        ``start`` starts a thread.
        """
        ended: BaseException | None = None
        # Nothing of it can be begun again from a checkpoint, the thread least of all.
        yield Msg("clear_checkpoint")
        start(self.carry_out)
        try:
            while not self._over:
                try:
                    yield Msg("wait_for", None, [self._asked.wait])
                    self._asked.clear()
                    if self._wanted is not None:
                        ended = (yield from self._execute(self._wanted)) or ended
                except FailedStatus as error:
                    logger.warning("after a plan was over: %r", error)
                except _CONTROL as error:
                    ended = ended or error
                    self._untold = True
                    self._interrupted.set()
        finally:
            self._dropped = not self._over
            self._answered.set()
        if ended is not None:
            raise ended
        if self._outcome is not None:
            raise self._outcome
        return self._result

    def _execute(self, plan: MsgGenerator) -> MsgGenerator:
        """Execute one plan as a call of its own; return the control exception that ended it."""
        self._wanted = None
        self._begin_a_call(plan)
        ended = None
        try:
            try:
                yield from self._wrapped(plan)
            except _CONTROL as error:
                self._error = ended = error
                self._interrupted.set()
                yield from self._close_runs("abort", "")
            except Exception as error:
                self._error = error
                yield from self._close_runs("fail", str(error))
            else:
                yield from self._close_runs("success", "")
            self._begin_a_call(None)
            yield Msg("clear_checkpoint")
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._answered.set()
        return ended

    def _close_runs(self, exit_status: str, reason: str) -> MsgGenerator:
        """Close what the plan left open, as a RunEngine does at the end of a call."""
        for key in list(_internals(self._engine)["_run_bundlers"]):
            yield Msg("close_run", None, run=key, exit_status=exit_status, reason=reason)

    def _begin_a_call(self, plan: MsgGenerator | None) -> None:
        """Do what a RunEngine does between two calls: forget statuses, and what fails of them."""
        own = _internals(self._engine)
        own["_pardon_failures"].set()
        own["_pardon_failures"] = asyncio.Event()
        own["_groups"].clear()
        own["_status_objs"].clear()
        with own["_state_lock"]:
            if isinstance(own["_exception"], FailedStatus):
                own["_exception"] = None
        if plan is not None:
            own["_plan"] = plan  # whose name start documents tell


def _internals(engine: RunEngine) -> dict[str, Any]:
    """Return the RunEngine's own attributes: bluesky has no other way to end a call within one."""
    return vars(engine)
