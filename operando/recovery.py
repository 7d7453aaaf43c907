"""What is done when the potentiostat fails in a run: what the failure policy of the step says.

Each attempt connects anew, has the same serial number or is the last, collects what the instrument
kept, looks at the cell, and goes on where the step stood, as ``operando resume`` does: as a run of
its own that continues the one that failed. What was tried and decided is in that run's start
document under ``recovery``; where nothing went on, in that of a run without rows, whose stop
document says why. No value is made for what was not measured meanwhile.
"""

import copy
import logging
import select
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from instruments.errors import InstrumentError, SafetyLimitError, UnsupportedTechniqueError
from operando.guard import GuardError
from operando.journal import chain_of
from operando.questions import ANSWERS, Answer, Question, answer_to, asked
from operando.resume import (
    Decisions,
    Door,
    FailedStep,
    OtherInstrumentError,
    ResumeError,
    continue_experiment,
    end_failed,
    failed_step,
    interrupted_experiment,
    refuse_other_instrument,
)
from operando.resume._record import LEADER
from operando.run_failed import RunFailedError
from operando.runs import Run
from plans.changes import told_of_stop
from plans.resume import CellNotAsLeftError
from techniques import FailurePolicy, StopCell

logger = logging.getLogger(__name__)

# How often an answer is looked for, and an instrument that holds the cell open is looked for, s.
_POLL_S, _LOOK_FOR_IT_S = 0.2, 15.0
# What would only be met again.
_NEVER_AGAIN = (SafetyLimitError, UnsupportedTechniqueError, CellNotAsLeftError)
_NOTHING = Decisions()
_NOTHING_GOES_ON = "no run goes on that could do it"


@dataclass(frozen=True)
class _NotDone:
    """An attempt that drove nothing.

    Attributes:
        why: In words.
        useless: Whether the same attempt would fail again.
        over: Whether no further attempt is allowed, of whatever kind.
        cell_differs: Whether the cell is not as it was left.
    """

    why: str
    useless: bool = False
    over: bool = False
    cell_differs: bool = False


class _GivenUpError(Exception):
    """Nothing more is tried; the message says why."""

    def __init__(self, why: str, *, by_hand: bool = False) -> None:
        super().__init__(why)
        self.by_hand = by_hand


class Recovery:
    """Goes on with an experiment that failed, as its failure policies say.

    Args:
        session: A connected session.
        say: Is told what is done, sentence by sentence.
    """

    def __init__(self, session: Door, say: Callable[[str], object]) -> None:
        self._session = session
        self._say = say
        self._spent: Counter[str] = Counter()

    def after(self, failed: RunFailedError) -> str:
        """Do what is to be done after a run failed; return the uid of the run that ended well.

        Blocks until the experiment has ended. Ctrl-C ends it, also while it waits.

        Raises:
            RunFailedError: It did not end well. ``failed`` itself, if no policy has a say in it:
                the potentiostat did not fail, a limit ended the run, or somebody did.
        """
        outcome: str | RunFailedError = failed
        while isinstance(outcome, RunFailedError):
            outcome = self._after(outcome)
        return outcome

    def _after(self, failed: RunFailedError) -> str | RunFailedError:
        """Return how the run that went on ended; raises RunFailedError where none did."""
        if failed.exit_status != "fail" or not self._leader_failed(failed):
            raise failed
        try:
            with interrupted_experiment(self._session.data_dir, failed.uid) as experiment:
                step = failed_step(experiment)
        except (ResumeError, LookupError) as error:
            logger.warning("no failure policy can be followed: %s", error)
            raise failed from error
        if step.policy.ends_at_once:
            raise failed
        told: dict[str, Any] = {
            "failed_run": failed.uid,
            "failure": failed.reason,
            "step": step.name,
            "policy": step.policy.model_dump(mode="json"),
            "attempts": [],
        }
        try:
            try:
                return self._follow(step, failed, told)
            finally:
                self._session.requests.end(_NOTHING_GOES_ON)
        except _GivenUpError as end:
            self._end(failed, told, str(end), by_hand=end.by_hand)
        except BaseException as stop:
            # Ctrl-C, a signal, or what no run can begin with: what was tried is recorded all the
            # same.
            by_hand = not isinstance(stop, Exception)
            with suppress(RunFailedError):
                self._end(failed, told, f"ended by {stop!r}", by_hand=by_hand)
            raise
        raise failed

    def _leader_failed(self, failed: RunFailedError) -> bool:
        """Return whether the potentiostat failed, by an error that may pass."""
        device = self._session.devices.get(LEADER)
        failure = None if device is None else device.failure
        errors = (failed.__cause__, failure)
        if any(isinstance(error, _NEVER_AGAIN) for error in errors):
            return False
        return isinstance(failure, InstrumentError)

    # -- what the policy says

    def _follow(
        self, step: FailedStep, failed: RunFailedError, told: dict[str, Any]
    ) -> str | RunFailedError:
        policy = step.policy
        last = _NotDone(failed.reason)
        while policy.retry is not None and self._spent[step.name] < policy.retry.times:
            self._spent[step.name] += 1
            number = self._spent[step.name]
            wait_s = policy.retry.wait_before_s(number)
            self._say(
                f"{step.name} failed: {last.why}\nAttempt {number} of {policy.retry.times} to go "
                f"on in {wait_s:g} s. Ctrl-C ends the experiment."
            )
            self._wait(wait_s)
            entry = {"do": "retry", "number": number, "waited_s": wait_s}
            outcome = self._attempt(failed, told, entry)
            if not isinstance(outcome, _NotDone):
                return outcome
            last = outcome
            self._give_up_if_over(last)
            if last.useless:
                break
        if policy.then == "hold":
            return self._hold(step, failed, policy, told, last)
        if policy.then == "skip":
            if last.cell_differs:
                raise _GivenUpError(f"the step is not left out: {last.why}")
            outcome = self._attempt(failed, told, {"do": "skip"})
            if not isinstance(outcome, _NotDone):
                return outcome
            raise _GivenUpError(f"the step could not be left out: {outcome.why}")
        tried = self._spent[step.name]
        raise _GivenUpError(f"tried {tried} times to go on, the last time: {last.why}")

    def _give_up_if_over(self, last: _NotDone) -> None:
        if last.over:
            raise _GivenUpError(last.why)

    def _attempt(
        self,
        failed: RunFailedError,
        told: dict[str, Any],
        entry: dict[str, Any],
        decisions: Decisions = _NOTHING,
    ) -> str | RunFailedError | _NotDone:
        """Connect anew and go on; return how that run ended, or why there was none."""
        entry |= {"begun": time.time(), "identified": None, "failure": None}
        told["attempts"].append(entry)
        done = self._go_on(failed, told, entry, decisions)
        if isinstance(done, _NotDone):
            entry["failure"] = done.why
            self._say(f"Nothing was driven: {done.why}")
        return done

    def _go_on(
        self,
        failed: RunFailedError,
        told: dict[str, Any],
        entry: dict[str, Any],
        decisions: Decisions,
    ) -> str | RunFailedError | _NotDone:
        session = self._session
        try:
            entry["identified"] = self._connected()
            leader = session.devices[LEADER]
            try:
                leader.safe_state()  # which says when the cell was known to be open
            except InstrumentError:
                # If another instrument answers, that is what has to be told.
                with interrupted_experiment(session.data_dir, failed.uid, decisions) as experiment:
                    refuse_other_instrument(experiment, session.bench.metadata())
                raise
            session.regain_guard()
            with interrupted_experiment(session.data_dir, failed.uid, decisions) as experiment:
                return continue_experiment(
                    session,
                    experiment,
                    decisions,
                    self._say,
                    skip=entry["do"] == "skip",
                    recovery=copy.deepcopy(told),
                    unwatched_s=leader.unwatched_s,
                )
        except RunFailedError as again:
            if not isinstance(again.__cause__, CellNotAsLeftError):
                return again
            found = Run.from_journal(again.uid, session.data_dir, chain=False).start["resume"]
            by_limit = found["ending"] == "safety"
            return _NotDone(again.reason, useless=True, over=by_limit, cell_differs=True)
        except (OtherInstrumentError, *_NEVER_AGAIN) as error:
            return _NotDone(str(error), over=True)
        except ResumeError as error:
            return _NotDone(str(error), useless=True)
        except (InstrumentError, GuardError) as error:
            return _NotDone(str(error))

    def _connected(self) -> dict[str, str]:
        """Connect the potentiostat anew, and others that are gone; return who answered."""
        bench = self._session.bench
        identity: dict[str, str] = bench.reconnect(LEADER)
        there = bench.metadata()["bench"]["instruments"]
        for name in [name for name, one in there.items() if "identity_missing" in one]:
            try:
                bench.reconnect(name)
            except InstrumentError as error:
                # Whether the run can do without it is for its own entry in the bench file to say.
                logger.warning("%s did not connect again: %s", name, error)
        self._session.RE.md.update(bench.metadata())
        return identity

    # -- asking

    def _hold(
        self,
        step: FailedStep,
        failed: RunFailedError,
        policy: FailurePolicy,
        told: dict[str, Any],
        last: _NotDone,
    ) -> str | RunFailedError:
        told["asked"] = []
        while True:
            answer = self._ask(f"{step.name} failed: {last.why}", failed, policy, told["asked"])
            if answer is None:
                raise _GivenUpError(f"nobody answered within {policy.hold_s:g} s")
            if answer.do == "stop":
                raise _GivenUpError(f"stopped by {answer.by}", by_hand=True)
            entry = {"do": answer.do, "by": answer.by}
            outcome = self._attempt(failed, told, entry, Decisions(**answer.decisions))
            if not isinstance(outcome, _NotDone):
                return outcome
            last = outcome
            self._give_up_if_over(last)

    def _ask(
        self, why: str, failed: RunFailedError, policy: FailurePolicy, told: list[dict[str, Any]]
    ) -> Answer | None:
        """Ask at the terminal and elsewhere; return the first answer, ``None`` if none came."""
        question = Question(
            run=failed.uid,
            root=self._root(failed),
            text=why,
            until=time.time() + policy.hold_s,
        )
        answers = ", ".join(ANSWERS)
        self._say(
            f"{why}\nWhat now? {answers}: type one here, or say it with operando answer "
            f"{failed.uid[:8]}. Without an answer the experiment ends in {policy.hold_s:g} s."
        )
        answer = self._answer_to(question, policy.hold_s)
        told.append(
            {
                "asked": question.asked,
                "why": why,
                "answered": None if answer is None else answer.time,
                "answer": None if answer is None else answer.do,
                "by": None if answer is None else answer.by,
                "decisions": {} if answer is None else dict(answer.decisions),
            }
        )
        return answer

    def _answer_to(self, question: Question, hold_s: float) -> Answer | None:
        give_up, look, opened = time.monotonic() + hold_s, 0.0, False
        here = sys.stdin is not None and sys.stdin.isatty() and _in_main_thread()
        with ExitStack() as stack:
            try:
                stack.enter_context(asked(self._session.data_dir, question))
            except OSError as error:
                if not here:
                    raise _GivenUpError(f"nobody can be asked: {error}") from error
            while time.monotonic() < give_up:
                if not opened and time.monotonic() >= look:
                    opened, look = self._opened(), time.monotonic() + _LOOK_FOR_IT_S
                answer = answer_to(self._session.data_dir, question)
                try:
                    answer = answer or (_typed() if here else None)
                except EOFError:
                    here = False
                if answer is not None:
                    return answer
                # At the terminal it has been waited for a key already.
                self._wait(0.0 if here else _POLL_S)
        return None

    def _opened(self) -> bool:
        """Open the cell, if need be over a new connection; return whether that is confirmed."""
        try:
            self._session.devices[LEADER].safe_state()
        except InstrumentError:
            try:
                self._session.bench.reconnect(LEADER)
                self._session.devices[LEADER].safe_state()
            except InstrumentError as error:
                logger.warning("the cell is not known to be open: %s", error)
                return False
        return True

    def _root(self, failed: RunFailedError) -> str:
        return chain_of(self._session.data_dir, failed.uid)[0]

    # -- the end

    def _end(
        self, failed: RunFailedError, told: dict[str, Any], why: str, *, by_hand: bool
    ) -> None:
        """Record what was tried; raises RunFailedError, of the run that tells it."""
        # What was run beside it does not matter where nothing goes on.
        anyhow = Decisions(same_cell=True)
        try:
            with interrupted_experiment(self._session.data_dir, failed.uid, anyhow) as experiment:
                end_failed(self._session, experiment, why, told, by_hand=by_hand)
        except RunFailedError:
            raise
        except Exception as error:
            # Whatever it is, the run that failed is what has to be told.
            logger.warning("what the failure policy did cannot be recorded (%s): %s", error, why)
            failed.add_note(f"By its failure policy: {why}")
            raise failed from error

    def _wait(self, seconds: float) -> None:
        """Wait so long; raises _GivenUpError if somebody asks to stop meanwhile."""
        self._session.requests.begin()
        give_up = time.monotonic() + seconds
        while True:
            self._hear()
            left = give_up - time.monotonic()
            if left <= 0:
                return
            self._session.wait(min(_POLL_S, left))

    def _cell(self) -> str:
        """Return how the cell is, in words; the potentiostat has failed, and is asked."""
        try:
            self._session.devices[LEADER].safe_state()
        except InstrumentError as error:
            return f"that the cell is open is NOT KNOWN ({error})"
        return "the cell stays open"

    def _hear(self) -> None:
        while (asked := self._session.requests.take()) is not None:
            if isinstance(asked.request, StopCell):
                asked.accept(f"nothing goes on, and {self._cell()}; what was measured is kept")
                raise _GivenUpError(told_of_stop(asked.request), by_hand=True)
            asked.refuse(
                "not done: the potentiostat failed, and nothing runs until it answers again. Ask "
                "once the run goes on, or stop it"
            )


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _typed() -> Answer | None:
    """Return what was typed at the terminal, ``None`` if nothing was; waits a moment for it.

    Raises EOFError where nothing can be typed any more.
    """
    if not select.select([sys.stdin], [], [], _POLL_S)[0]:
        return None
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    text = line.strip().lower()
    for do in ANSWERS:
        if text == do:
            return Answer(do, by="somebody at the terminal")
    sys.stderr.write(f"{text!r} is none of {', '.join(ANSWERS)}\n")
    return None
