"""Answers that are typed where a run holds."""

import os
import sys
from collections.abc import Iterator

import pytest

from operando.recovery import _typed


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal at standard input; what is written to it is typed."""
    host, terminal = os.openpty()
    with os.fdopen(terminal) as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield host
    os.close(host)


def test_what_is_typed_at_the_terminal_is_an_answer(typing: int) -> None:
    assert _typed() is None  # nothing yet
    os.write(typing, b" Skip\n")
    answer = _typed()
    assert answer is not None
    assert (answer.do, answer.by) == ("skip", "somebody at the terminal")


def test_what_is_none_of_the_answers_is_told_and_asked_again(
    typing: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.write(typing, b"yes\n")
    assert _typed() is None
    assert "'yes' is none of retry, skip, stop" in capsys.readouterr().err
    os.write(typing, b"\x04")  # Ctrl-D: nothing will be typed any more
    with pytest.raises(EOFError):
        _typed()
