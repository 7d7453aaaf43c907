"""The instrument answers as its manual's pages in tests/transcripts/methodscript say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "transcripts" / "methodscript"


def dialogues() -> list:
    found = []
    for path in sorted(FOLDER.glob("*.txt")):
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            name, *lines = [line for line in block.split("\n") if line]
            turns = [(line[0], line[2:]) for line in lines]
            found.append(pytest.param(turns, id=f"{path.stem}: {name.removeprefix('# ')}"))
    return found


@pytest.mark.parametrize("turns", dialogues())
def test_the_instrument_answers_as_its_manual_says(make_bench, turns):
    client = make_bench().client
    said = ""
    for who, text in turns:
        if who == ">":
            said += f"{text}\n"
            continue
        if said:
            client.send(said)
            said = ""
        line = client.line()
        assert line == text
        if line[1:2] == "!":
            time.sleep(0.06)  # the instrument is deaf for 50 ms after it has refused something
    assert not said
    assert not client.received
