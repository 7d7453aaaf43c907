"""``operando export`` as it is typed, and ``export`` at the prompt."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operando import cli
from operando.export import FORMATS, export_run
from operando.runs import Run

UID = "7d1f0a52-0000-4000-8000-000000000001"


@pytest.fixture
def data_dir(
    make_run: Callable[..., Any],
    synthetic: Any,
    stored: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a data folder with a run, and make an empty folder the working one."""
    documents = make_run()
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic())
    documents.stop()
    folder = tmp_path / "data"
    stored(documents.documents, folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("OPERANDO_DATA", str(folder))
    monkeypatch.delenv("OPERANDO_DEBUG", raising=False)
    monkeypatch.delenv("OPERANDO_INSTITUTION", raising=False)
    return folder


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("bdf", "UNKNOWN__ZN-CU-1__20231114_001.bdf.csv"),
        ("nexus", "ZN-CU-1-7d1f0a52.nxs"),
        ("parquet", "ZN-CU-1-7d1f0a52-parquet"),
        ("csv", "ZN-CU-1-7d1f0a52-csv"),
        ("rocrate", "ZN-CU-1-7d1f0a52-crate"),
    ],
)
def test_each_format_has_a_name_of_its_own_and_is_not_overwritten(
    to: str, expected: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "last", "--to", to]) == cli.OK
    assert expected in capsys.readouterr().out
    assert (Path.cwd() / expected).exists()
    assert cli.main(["export", UID[:8], "--to", to]) == cli.REFUSED
    told = capsys.readouterr()
    assert told.out == ""
    assert "exists" in told.err
    assert len(told.err.splitlines()) == 1
    assert cli.main(["export", "--to", to, "--force"]) == cli.OK


def test_institution_table_and_place_are_options(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--to", "bdf", "--institution", "UCam", "--table", "parquet"]
    assert cli.main([*words, "--output", "deep/er"]) == cli.OK
    assert (Path.cwd() / "deep/er/UCam__ZN-CU-1__20231114_001.bdf.parquet").exists()
    assert cli.main(["export", "--to", "bdf", "--output", "x.bdf.csv"]) == cli.OK
    assert sorted(path.name for path in Path.cwd().glob("x.*")) == [
        "x.bdf.csv",
        "x.bdf.metadata.jsonld",
    ]


def test_a_run_that_is_not_there_is_said(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "beef", "--to", "csv"]) == cli.REFUSED
    assert "no run 'beef'" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []


def test_an_author_with_a_wrong_identifier_is_refused_at_once(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["export", "--to", "rocrate", "--author", "Ada, 0000-0002-1825-0098"])
    assert "check digit" in capsys.readouterr().err


def test_the_command_offers_every_format() -> None:
    (commands,) = (
        action
        for action in cli.command_line()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    (to,) = (action for action in commands.choices["export"]._actions if action.dest == "to")
    assert tuple(to.choices) == FORMATS


def test_the_number_in_the_name_counts_the_days_runs_of_that_cell(
    data_dir: Path,
    make_run: Callable[..., Any],
    synthetic: Any,
    stored: Callable[..., str],
    tmp_path: Path,
) -> None:
    for number, (seconds, expected) in enumerate([(3600.0, "002"), (86400.0, "001")], 2):
        documents = make_run()
        start = documents.documents[0][1]
        start |= {"uid": UID[:-1] + str(number), "time": start["time"] + seconds}
        documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic())
        uid = stored(documents.documents, data_dir)
        (table, _) = export_run(uid, data_dir, to="bdf", output=tmp_path / "tables")
        assert table.name.endswith(f"_{expected}.bdf.csv")


def test_a_run_that_grows_is_exported_as_far_as_it_has_come(
    data_dir: Path,
    make_run: Callable[..., Any],
    synthetic: Any,
    stored: Callable[..., str],
    tmp_path: Path,
) -> None:
    documents = make_run()
    documents.documents[0][1]["uid"] = UID[:-1] + "9"
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic())
    uid = stored(documents.documents[:6], data_dir)
    rows = len(Run.from_journal(uid, data_dir).streams["potentiostat"])
    assert rows == 200
    for to in FORMATS:
        output = tmp_path / to / ("run.nxs" if to == "nexus" else "out")
        (first, *_) = export_run(uid, data_dir, to=to, output=output)
        assert first.exists()
