"""The log book: what is noted is there, whatever else happens to the file."""

import json
import logging
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.cli import main
from operando.logbook import LONGEST, LogNote, NoteError, notes, notes_of_run, write_note
from operando.queueing._labels import check_label


def test_notes_are_found_by_cell_station_and_time(tmp_path: Path) -> None:
    write_note(tmp_path, "argon changed", by="Ada")
    middle = write_note(tmp_path, "pressed again", by="Ada", station="A1", cell_id="ZN-1")
    write_note(tmp_path, "looks dark", by="Bo", cell_id="ZN-2", run="r1")
    assert [one.text for one in notes(tmp_path)] == ["argon changed", "pressed again", "looks dark"]
    assert notes(tmp_path, cell_id="ZN-1") == notes(tmp_path, station="A1") == [middle]
    assert [one.text for one in notes(tmp_path, since=middle.at)] == ["pressed again", "looks dark"]


@settings(max_examples=25)
@given(st.text(min_size=1, max_size=200).filter(lambda text: text.strip()))
def test_any_text_comes_back_as_it_was_noted(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("book")
    write_note(folder, text, by="Ada")
    assert [one.text for one in notes(folder)] == [text.strip()]


def test_no_text_and_too_much_of_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoteError, match="without a text"):
        write_note(tmp_path, "  \n")
    with pytest.raises(NoteError, match="attach a file"):
        write_note(tmp_path, "x" * (LONGEST + 1))
    assert notes(tmp_path) == []


def test_a_torn_line_is_told_and_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_note(tmp_path, "before", by="Ada")
    book = tmp_path / "state" / "logbook.jsonl"
    with book.open("ab") as file:
        file.write(b'{"at": 17, "text": "torn')
    write_note(tmp_path, "after", by="Ada")
    with book.open("ab") as file:
        file.write(b"\xff\xfe\n[]\n\n")
    with caplog.at_level(logging.WARNING):
        assert [one.text for one in notes(tmp_path)] == ["before", "after"]
    assert "line 2" in caplog.text


def _write(folder: Path, who: int) -> None:
    for number in range(25):
        write_note(folder, f"{who}-{number} " + "x" * 3000, by="Ada")


def test_several_processes_write_at_once_and_no_note_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, who)) for who in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    found = {one.text.split()[0] for one in notes(tmp_path)}
    assert found == {f"{who}-{number}" for who in range(4) for number in range(25)}


def test_a_run_has_its_own_notes_and_those_of_its_cell_in_its_time(tmp_path: Path) -> None:
    def noted(at: float, **of: Any) -> LogNote:
        return LogNote(at=at, text="x", by="Ada", **of)

    kept = [
        noted(5.0, cell_id="ZN-1"),
        noted(15.0, cell_id="ZN-1"),
        noted(15.0, cell_id="ZN-2"),
        noted(25.0, cell_id="ZN-1"),
        noted(99.0, run="r1"),
    ]
    book = tmp_path / "state" / "logbook.jsonl"
    book.parent.mkdir()
    book.write_text("".join(json.dumps(one.model_dump()) + "\n" for one in kept))
    assert notes_of_run(tmp_path, ("r1",), "ZN-1", 10.0, 20.0) == [kept[1], kept[4]]
    assert notes_of_run(tmp_path, ("r2",), "ZN-1", 10.0, None) == [kept[1], kept[3]]


def test_notes_are_written_and_shown_by_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    assert main(["note", "argon", "changed", "--cell", "ZN-CU-001-3", "--by", "Ada"]) == 0
    assert main(["note", "nothing of it", "--by", "Bo"]) == 0
    capsys.readouterr()
    assert main(["notes", "--cell", "ZN-CU-001-3"]) == 0
    out = capsys.readouterr().out
    assert "ZN-CU-001-3  argon changed (Ada)" in out
    assert "nothing of it" not in out
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() - 60))
    assert main(["notes", "--json", "--since", since]) == 0
    assert [one["by"] for one in json.loads(capsys.readouterr().out)] == ["Ada", "Bo"]
    assert main(["notes", "--since", "yesterday"]) == 2
    assert "is no time" in capsys.readouterr().err
    assert main(["note", " "]) == 2


def test_a_note_of_a_cell_that_nobody_knows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    for label, told in (
        ("nobody", "no cell has the label 'nobody'"),
        ("ZN-CU-01-3", "did you mean ZN-CU-001"),
        ("zn-bare-half", "did you mean ZN-CU-001?"),
        ("ZN-CU-001-x", "did you mean ZN-CU-001"),
    ):
        assert main(["note", "x", "--cell", label]) == 2
        assert told in capsys.readouterr().err
    assert notes(tmp_path) == []
    # Of which the log book tells is known.
    write_note(tmp_path, "mounted", cell_id="nobody")
    check_label(tmp_path, "nobody")
