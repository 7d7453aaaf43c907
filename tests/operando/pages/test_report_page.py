import base64
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from operando import cli
from operando.analysis import metrics
from operando.journal import JournalWriter
from operando.pages import report_page
from operando.registry import FAMILIES, METRICS
from operando.runs import Run

Make = Callable[..., Any]
WHEN = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}$\\frac{'


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self._inside: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th", "h2", "h3"):
            self._inside = self.cells if tag.startswith("t") else self.headings
            self._inside.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h2", "h3"):
            self._inside = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside is not None:
            self._inside[-1] += data


def _page(run: Run) -> Seen:
    return Seen(report_page(run, made_at=WHEN))


@pytest.fixture(scope="module")
def full_page(full_run: Run) -> str:
    return report_page(full_run, made_at=WHEN)


def test_a_page_loads_nothing_and_runs_nothing(full_page: str) -> None:
    seen = Seen(full_page)
    tags = {tag for tag, _ in seen.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "a", "base"}
    for tag, attributes in seen.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "action"):
                assert value is not None
                assert value.startswith("data:image/"), (tag, value[:60])
    policy = next(a["content"] for t, a in seen.tags if a.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "http://" not in full_page
    assert "https://" not in full_page
    assert "url(" not in full_page


def test_its_figures_are_drawings_inside_it_with_a_caption_each(full_page: str) -> None:
    seen = Seen(full_page)
    pictures = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert len(pictures) == 8
    for picture in pictures:
        kind, _, data = str(picture["src"]).partition(";base64,")
        assert kind == "data:image/svg+xml"
        root = ElementTree.fromstring(base64.b64decode(data))
        assert root.tag.endswith("svg")
        assert str(picture["alt"])
        assert str(picture["alt"]) in seen.text
    assert seen.text.count("Figure 8.") == 1


def test_every_metric_is_in_it_with_its_value_or_the_reason_why_not(
    full_run: Run, full_page: str
) -> None:
    numbers = metrics(full_run)
    cells = [cell.strip() for cell in Seen(full_page).cells]
    for name, metric in numbers.items():
        place = next(
            k
            for k, cell in enumerate(cells)
            if cell.startswith(name + METRICS[name].meaning) or cell == name
        )
        if metric.value is None:
            assert cells[place + 1] == metric.reason
        else:
            first = metric.value[0] if isinstance(metric.value, list) else metric.value
            if first is not None and metric.uncertainty is None:
                assert cells[place + 1].startswith(f"{first:.4g}"), name
            assert cells[place + 4].startswith(metric.reason or "")


def test_metrics_stand_in_the_order_of_the_registry(full_page: str) -> None:
    headings = Seen(full_page).headings
    families = [title for title in FAMILIES if title in headings]
    assert {"Coulombic efficiency", "Impedance", "Hydrogen"} <= set(families)
    assert [heading for heading in headings if heading in FAMILIES] == families


def test_a_malicious_sample_is_harmless(make_run: Make, synthetic: Any) -> None:
    texts = ("cell_id", "notes", "separator", "batch", "reference_electrode", "atmosphere")
    told = make_run({**synthetic.HALF_CELL, **dict.fromkeys(texts, HOSTILE)})
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=60))
    told.stop()
    seen = _page(Run.from_documents(told.documents))
    assert seen.text.count(HOSTILE) > len(texts)  # shown as it is, letter by letter
    assert not {tag for tag, _ in seen.tags} & {"script"}
    assert all(str(a["src"]).startswith("data:") for tag, a in seen.tags if tag == "img")


def test_malice_anywhere_in_a_start_document_is_shown_as_text(bare_run: Run) -> None:
    start = {
        **bare_run.start,
        "protocol": HOSTILE,
        "plan_name": HOSTILE,
        "operator": HOSTILE,
        "operando_version": HOSTILE,
        "technique": {"type": "sequence", HOSTILE: [HOSTILE]},
        "bench": {"instruments": {HOSTILE: {"identity": {"model": HOSTILE, "address": HOSTILE}}}},
        "provenance": {"kind": "rerun", "of": HOSTILE},
    }
    stop = {**(bare_run.stop or {}), "exit_status": "fail", "reason": HOSTILE}
    run = replace(bare_run, start=start, stop=stop, damage=(HOSTILE,))
    seen = _page(run)
    assert seen.text.count(HOSTILE) >= 7
    assert "script" not in {tag for tag, _ in seen.tags}


def test_a_page_says_where_its_numbers_are_from(bare_run: Run) -> None:
    from operando import __version__
    from operando.registry import ANALYSIS_VERSION

    identity = {"model": "EmStat4 HR", "serial_number": "ES4HR24C4996", "firmware": "1.3"}
    start = {
        **bare_run.start,
        "operando_version": "0.0.9",
        "bench": {"instruments": {"potentiostat": {"identity": identity, "verified_on": None}}},
        "technique": {"type": "open_circuit", "duration_s": 60.0},
    }
    text = " ".join(_page(replace(bare_run, start=start)).text.split())
    for told in (
        bare_run.uid,
        "operando 0.0.9",
        f"operando {__version__}, analysis version {ANALYSIS_VERSION}",
        "ES4HR24C4996",
        "not on hardware",
        "2023-11-14 22:13:20 UTC",  # of the start document
        "2026-11-26 12:00:00 UTC",
        "type: open_circuit",
        "2 mol/L ZnSO4, volume not recorded",
    ):
        assert told in text, told


def test_an_experiment_of_several_runs_and_its_damage_are_told(bare_run: Run) -> None:
    second = {"uid": "8e2f0a52-0000-4000-8000-000000000002", "resume": {"cycle": 2, "gap_s": 30.0}}
    run = replace(
        bare_run,
        members=(bare_run.start, second),
        damage=("the journal lacks 12 rows of potentiostat",),
    )
    text = _page(run).text
    assert "8e2f0a52 goes on at cycle 2" in text
    assert "after 30 s without rows" in text
    assert second["uid"] in text
    assert "The record of this run is damaged" in text
    assert "the journal lacks 12 rows of potentiostat" in text


def test_a_run_that_goes_on_or_has_no_rows_has_a_page(make_run: Make) -> None:
    seen = _page(Run.from_documents(make_run().documents))
    assert "still open" in seen.text
    assert "Nothing has been measured yet." in seen.text
    assert "Figures that this run does not have" in seen.text
    nothing = _page(Run.from_documents([]))
    assert "the start document describes no cell" in nothing.text


def test_a_run_of_another_program_has_a_page(
    record_run: Callable[..., str], tmp_path: Path
) -> None:
    uid = record_run(tmp_path)
    seen = _page(Run.from_journal(uid, tmp_path))
    assert uid in seen.text


@pytest.fixture
def data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: Make, synthetic: Any
) -> Path:
    told = make_run()
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=60))
    told.stop()
    with JournalWriter(tmp_path / "data") as write:
        for name, document in told.documents:
            write(name, document)
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "data"))
    return tmp_path


def test_the_command_writes_page_and_figures_and_says_what_is_missing(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures = data_dir / "new" / "page.html", data_dir / "figures"
    arguments = ["report", "--html", str(page), "--figures", str(figures), "--format", "svg"]
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in figures.iterdir()) == ["cycles.svg", "potential.svg"]
    assert "No figure raman: the run has no Raman spectrum" in told
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    assert cli.main(["report", "--html", str(page), "--json"]) == 0
    assert capsys.readouterr().out.startswith("{")  # what is told besides goes elsewhere


def test_a_page_that_cannot_be_written_is_told_in_one_line_and_leaves_nothing(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data_dir / "page.html"
    folder.mkdir()
    assert cli.main(["report", "--html", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "page.html" in line
    assert not list(data_dir.glob(".*.part"))
