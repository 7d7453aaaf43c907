"""Questions of a run that holds, and their answers."""

import dataclasses
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from operando.questions import (
    Answer,
    AnswerDecisions,
    AnswerError,
    Question,
    answer_to,
    asked,
    give_answer,
    questions,
)
from operando.resume import Decisions


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
        with pytest.raises(AnswerError, match="answered already: retry, by somebody; the first"):
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


GIVEN = {"asked": 2.0, "do": "retry", "decisions": {}, "by": "somebody", "time": 3.0}


def test_an_answer_can_carry_the_decisions_of_a_resume_and_no_others() -> None:
    told = AnswerDecisions().model_dump()
    assert told == dataclasses.asdict(Decisions())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Expecting value"),
        ("{}", "do: Field required"),
        ("[]", "it: Input should be"),
        ("null", "it: Input should be"),
        ("[" * 100_000, "recursion"),
        ("\xff", "utf-8"),
        (json.dumps(GIVEN | {"do": "explode"}), "do: Input should be 'retry'"),
        (json.dumps(GIVEN | {"decisions": {"any": True}}), "any: Extra inputs"),
        (json.dumps(GIVEN | {"decisions": {"assume_charge_mah_cm2": float("nan")}}), "finite"),
        (json.dumps(GIVEN | {"asked": 1.0}), "it answers what was asked at 1.0"),
    ],
)
def test_a_file_that_is_no_answer_is_set_aside_and_the_next_one_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, why: str
) -> None:
    one = question(asked=2.0)
    with asked(tmp_path, one):
        place = tmp_path / "state" / "questions" / "run-1.answer"
        place.write_bytes(content.encode("latin-1"))
        assert answer_to(tmp_path, one) is None
        (warning,) = caplog.messages
        assert "run-1.answer was no answer and is now run-1." in warning
        assert why in warning
        give_answer(tmp_path, "run-1", Answer("skip"))
        told = answer_to(tmp_path, one)
    assert told is not None
    assert (told.do, told.decisions) == ("skip", {})
    (aside,) = (tmp_path / "state" / "questions").iterdir()
    assert aside.read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"run": 1}', "[" * 100_000])
def test_a_file_that_is_no_question_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    with asked(tmp_path, question()):
        folder = tmp_path / "state" / "questions"
        (folder / "bad.json").write_text(content)
        (folder / "folder.json").mkdir()
        os.mkfifo(folder / "pipe.json")  # to read it would wait for ever
        assert [one.root for one in questions(tmp_path)] == ["run-1"]
        assert sum("is no question" in message for message in caplog.messages) == 3
        give_answer(tmp_path, "run-1", Answer("retry"))


def test_an_answer_that_would_not_be_taken_is_not_given(tmp_path: Path) -> None:
    one = question()
    with asked(tmp_path, one):
        with pytest.raises(AnswerError, match="surely: Extra inputs are not permitted"):
            give_answer(tmp_path, "run-1", Answer("retry", {"surely": True}))
        assert answer_to(tmp_path, one) is None
