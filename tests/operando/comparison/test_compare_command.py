import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operando import cli
from operando.journal import JournalWriter

Make = Callable[..., Any]


@pytest.fixture
def data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: Make, synthetic: Any
) -> Path:
    """Return a data folder with three runs on copper, one of sodium and one of no cell."""
    folder = tmp_path / "data"
    sodium = json.loads(json.dumps(synthetic.HALF_CELL).replace('"Zn"', '"Na"'))
    samples = [{**synthetic.HALF_CELL, "cell_id": f"ZN-{k}"} for k in range(3)]
    for number, sample in enumerate([*samples, sodium, "a note"]):
        told = make_run(sample, uid=f"{number}d1f0a52-0000-4000-8000-00000000000{number}")
        efficiencies = (0.9 + 0.01 * number, 0.99)
        told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(efficiencies, rows=60))
        told.stop()
        with JournalWriter(folder) as write:
            for name, document in told.documents:
                write(name, document)
    monkeypatch.setenv("OPERANDO_DATA", str(folder))
    return tmp_path


def test_the_command_compares_and_writes_table_page_and_figures(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, page, figures = (data_dir / name for name in ("out.csv", "out.html", "figures"))
    arguments = ["--csv", str(table), "--html", str(page), "--figures", str(figures)]
    assert cli.main(["compare", "0d1f", "1d1f", "2d1f", *arguments, "--format", "svg"]) == 0
    told = capsys.readouterr().out
    assert "By electrode: Cu (3 cells)" in told
    assert "91.0±1.0 (n = 3)" in told
    with table.open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["quantity"], first["n"]) == ("initial_ce_pct", "3")
    assert float(first["value"]) == pytest.approx(91.0, abs=0.01)
    assert "Compared by electrode: Cu" in page.read_text("utf-8")
    names = {"cells.svg", "cycles.svg", "lives.svg", "radar.svg"}
    assert {path.name for path in figures.iterdir()} == names


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (["0d1f", "3d1f"], "0d1f0a52 of Zn and 3d1f0a52 of Na"),
        (["0d1f", "4d1f"], "run 4d1f0a52 cannot be compared: its start document describes no cell"),
        (["0d1f", "9d1f"], "9d1f"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_one_sentence(
    data_dir: Path, capsys: pytest.CaptureFixture[str], runs: list[str], told: str
) -> None:
    page = data_dir / "out.html"
    assert cli.main(["compare", *runs, "--html", str(page)]) == cli.REFUSED
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""
    assert not page.exists()
