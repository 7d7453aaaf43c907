"""Questions that a run asks whoever is there, and answers from another program.

A question is a file in ``state/questions`` of the data folder, its answer a file beside it. Both
are there as a whole or not at all, and a question has one answer: the first. What lies there and
is neither is told in a warning and otherwise passed over: no file ends a run that waits.
"""

import getpass
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError

from operando.harmless import is_uid
from techniques._base import Data

logger = logging.getLogger(__name__)

Do = Literal["retry", "skip", "stop"]
ANSWERS: tuple[Do, ...] = get_args(Do)
_FOLDER = Path("state") / "questions"
_ANSWER, _SET_ASIDE = ".answer", ".unreadable"
_LONGEST = 1 << 20
_IN_THE_WAY: set[Path] = set()


class AnswerError(Exception):
    """An answer is not taken; the message says why."""


@dataclass(frozen=True)
class Question:
    """What is asked of a run.

    Attributes:
        run: The run that failed.
        root: The first run of its experiment; a question is known by it.
        text: What happened, and what is known of the cell.
        until: When it is answered by a safe stop, epoch, s.
        asked: When it was asked, epoch, s.
        pid: The process that waits for the answer.
        host: The computer on which it runs.
    """

    run: str
    root: str
    text: str
    until: float
    asked: float = field(default_factory=time.time)
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)

    @property
    def waits(self) -> bool:
        """Return whether somebody still waits for the answer, as far as can be told from here."""
        if time.time() > self.until:
            return False
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # somebody else's, but there
        return True


@dataclass(frozen=True)
class Answer:
    """What somebody decided.

    Attributes:
        do: ``retry`` goes on where the step stood, ``skip`` behind it, ``stop`` ends it.
        decisions: What else was decided, as for a resume; recorded.
        by: Who said so.
        time: When, epoch, s.
    """

    do: Do
    decisions: Mapping[str, Any] = field(default_factory=dict)
    by: str = field(default_factory=lambda: f"{getpass.getuser()} with operando answer")
    time: float = field(default_factory=time.time)


class AnswerDecisions(Data):
    """The decisions that an answer can carry, those of `operando.resume.Decisions`."""

    accept_check: bool = False
    assume_charge_mah_cm2: Annotated[float, Field(ge=0)] | None = None
    trust_log: bool = False
    same_cell: bool = False


class _AnswerFile(Data):
    asked: float
    do: Do
    decisions: AnswerDecisions
    by: str
    time: float


class _QuestionFile(Data):
    run: str
    root: str
    text: str
    until: float
    asked: float
    pid: Annotated[int, Field(gt=0, lt=1 << 31)]
    host: str


@contextmanager
def asked(data_dir: Path, question: Question) -> Iterator[None]:
    """Ask; withdraw the question at the end. Raises OSError where no file can be made."""
    place = _place(data_dir, question.root)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(_ANSWER).unlink(missing_ok=True)
    part = _written(place, asdict(question))
    part.replace(place)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        place.with_suffix(_ANSWER).unlink(missing_ok=True)


def answer_to(data_dir: Path, question: Question) -> Answer | None:
    """Return the answer to a question, ``None`` as long as there is none.

    A file in its place that is no answer to it is set aside with a warning, so that there is room
    for one.
    """
    place = _place(data_dir, question.root).with_suffix(_ANSWER)
    try:
        told = _AnswerFile.model_validate(_content(place))
        if told.asked != question.asked:
            raise ValueError(f"it answers what was asked at {told.asked}, not {question.asked}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        _set_aside(place, error)
        return None
    return _answer(told)


def _answer(told: _AnswerFile) -> Answer:
    # As it was given: what was not decided is not told.
    decisions = told.decisions.model_dump(exclude_unset=True)
    return Answer(told.do, decisions, by=told.by, time=told.time)


def questions(data_dir: Path) -> list[Question]:
    """Return the questions for whose answer somebody waits, the oldest first.

    Files that are no question are told in a warning.
    """
    found = []
    for path in (data_dir / _FOLDER).glob("*.json"):
        try:
            told = _QuestionFile.model_validate(_content(path))
        except FileNotFoundError:
            continue  # it was answered just now
        except (OSError, ValueError, RecursionError) as error:
            logger.warning("%s is no question: %s", path, _told(error))
            continue
        question = Question(**told.model_dump())
        if question.waits:
            found.append(question)
    return sorted(found, key=lambda one: one.asked)


def give_answer(data_dir: Path, root: str, answer: Answer) -> Question:
    """Answer the question about an experiment; return it.

    Raises AnswerError if nothing is asked, nobody waits for it any more, or it was answered.
    """
    found = [one for one in questions(data_dir) if one.root == root]
    if not found:
        others = ", ".join(one.run[:8] for one in questions(data_dir)) or "none"
        raise AnswerError(
            f"nothing is asked about run {root[:8]} (runs that ask: {others}). What has ended goes "
            "on with operando resume"
        )
    told = {**asdict(answer), "asked": found[0].asked}
    try:
        _AnswerFile.model_validate(told)
    except ValidationError as error:
        raise AnswerError(f"this is no answer: {_told(error)}") from None
    place = _place(data_dir, root)
    part = _written(place, told)
    try:
        os.link(part, place.with_suffix(_ANSWER))
    except FileExistsError:
        raise AnswerError(
            f"the question about run {root[:8]} was answered already{_by_whom(place)}; the first "
            "answer counts"
        ) from None
    finally:
        part.unlink()
    return found[0]


def _by_whom(place: Path) -> str:
    try:
        told = _AnswerFile.model_validate(_content(place.with_suffix(_ANSWER)))
    except (OSError, ValueError, RecursionError):
        return ""  # it has been taken, or who asked is about to set it aside
    return f": {told.do}, by {told.by}"


def _place(data_dir: Path, root: str) -> Path:
    if not is_uid(root):  # a record can tell any
        raise OSError(f"no experiment can be called {root!r}")
    return data_dir / _FOLDER / f"{root}.json"


def _written(place: Path, content: Mapping[str, Any]) -> Path:
    part = place.with_name(f".{place.stem}.{os.getpid()}.part")
    part.write_text(json.dumps(content))
    return part


def _content(path: Path) -> Any:
    """Return what a file holds; raises OSError, ValueError or RecursionError if it cannot be."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no file")
    if status.st_size > _LONGEST:
        raise ValueError(f"it has {status.st_size} bytes")
    return json.loads(path.read_text(encoding="utf-8"))


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_name(f"{path.stem}.{time.time_ns()}{_SET_ASIDE}")
    try:
        path.rename(aside)
    except OSError as why:
        if path in _IN_THE_WAY:
            return
        _IN_THE_WAY.add(path)  # it is found again at every look
        logger.warning("%s is no answer (%s) and cannot be removed: %s", path, _told(error), why)
    else:
        logger.warning("%s was no answer and is now %s: %s", path, aside.name, _told(error))


def _told(error: Exception) -> str:
    """Return in one line what is wrong with a file."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()
        )
    return str(error) or type(error).__name__
