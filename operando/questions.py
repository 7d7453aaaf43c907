"""Questions that a run asks whoever is there, and answers from another program.

A question is a file in ``state/questions`` of the data folder, its answer a file beside it. Both
are there as a whole or not at all, and a question has one answer: the first.
"""

import getpass
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from operando.harmless import is_uid

Do = Literal["retry", "skip", "stop"]
ANSWERS: tuple[Do, ...] = get_args(Do)
_FOLDER = Path("state") / "questions"
_ANSWER = ".answer"


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
    """Return the answer to a question, ``None`` as long as there is none."""
    try:
        told = json.loads(_place(data_dir, question.root).with_suffix(_ANSWER).read_text())
    except FileNotFoundError:
        return None
    if told.pop("asked") != question.asked:
        return None  # to another question
    return Answer(**told)


def questions(data_dir: Path) -> list[Question]:
    """Return the questions for whose answer somebody waits, the oldest first."""
    found = []
    for path in (data_dir / _FOLDER).glob("*.json"):
        try:
            question = Question(**json.loads(path.read_text()))
        except FileNotFoundError:
            continue  # it was answered just now
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
    place = _place(data_dir, root)
    part = _written(place, {**asdict(answer), "asked": found[0].asked})
    try:
        os.link(part, place.with_suffix(_ANSWER))
    except FileExistsError:
        raise AnswerError(f"the question about run {root[:8]} was answered already") from None
    finally:
        part.unlink()
    return found[0]


def _place(data_dir: Path, root: str) -> Path:
    if not is_uid(root):  # a record can tell any
        raise OSError(f"no experiment can be called {root!r}")
    return data_dir / _FOLDER / f"{root}.json"


def _written(place: Path, content: Mapping[str, Any]) -> Path:
    part = place.with_name(f".{place.stem}.{os.getpid()}.part")
    part.write_text(json.dumps(content))
    return part
