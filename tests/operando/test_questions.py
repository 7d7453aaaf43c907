"""Questions of a run that holds, and their answers."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from operando.questions import (
    Answer,
    AnswerError,
    Question,
    answer_to,
    asked,
    give_answer,
    questions,
)


def question(**more: Any) -> Question:
    told = {"run": "run-2", "root": "run-1", "text": "what now?", "until": time.time() + 60}
    return Question(**(told | more))


def test_the_first_answer_counts(tmp_path: Path) -> None:
    one = question()
    with asked(tmp_path, one):
        assert questions(tmp_path) == [one]
        assert answer_to(tmp_path, one) is None
        first = Answer("retry", {"accept_check": True}, by="somebody")
        assert give_answer(tmp_path, "run-1", first) == one
        with pytest.raises(AnswerError, match="answered already"):
            give_answer(tmp_path, "run-1", Answer("stop"))
        assert answer_to(tmp_path, one) == first
    assert questions(tmp_path) == []
    assert not list((tmp_path / "state" / "questions").iterdir())


def test_what_nobody_asks_any_more_is_not_answered(tmp_path: Path) -> None:
    with asked(tmp_path, question()), pytest.raises(AnswerError, match=r"runs that ask: run-2\b"):
        give_answer(tmp_path, "another", Answer("stop"))
    ended = subprocess.Popen(["true"])
    ended.wait()
    for gone in (question(pid=ended.pid), question(until=time.time() - 1)):
        with asked(tmp_path, gone), pytest.raises(AnswerError, match="operando resume"):
            give_answer(tmp_path, "run-1", Answer("stop"))


def test_an_answer_to_the_question_before_is_none(tmp_path: Path) -> None:
    before, now = question(asked=1.0), question(asked=2.0)
    with asked(tmp_path, before):
        give_answer(tmp_path, "run-1", Answer("skip"))
        assert answer_to(tmp_path, now) is None
        with asked(tmp_path, now):
            assert answer_to(tmp_path, now) is None


def test_of_another_computer_it_is_not_known_whether_its_process_lives(tmp_path: Path) -> None:
    with asked(tmp_path, question(pid=1, host="another computer")):
        assert len(questions(tmp_path)) == 1
