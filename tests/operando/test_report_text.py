import json
from collections.abc import Callable
from typing import Any

import pytest

from operando.analysis import METRICS
from operando.report import (
    json_report,
    number_text,
    report_json,
    text_report,
)
from operando.runs import Run


@pytest.fixture(name="run")
def _run(make_run: Callable[..., Any], synthetic: Any) -> Run:
    told = make_run()
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9, *[0.98] * 9)))
    told.stop()
    return Run.from_documents(told.documents)


def test_the_text_names_every_metric_with_its_unit(run: Run) -> None:
    lines = text_report(run).splitlines()
    undefined = lines.index("Not defined for this run:")
    for name, definition in METRICS.items():
        (at,) = [k for k, line in enumerate(lines) if line.split()[:1] == [name]]
        assert at > undefined or definition.unit in (*lines[at].split(), "1")


def test_the_text_says_what_was_run_on_which_cell(run: Run) -> None:
    text = text_report(run)
    assert "ZN-CU-1: Cu || Zn, Zn plated on the working electrode" in text
    assert "success" in text
    assert "the run has no image" in text


def test_the_text_says_where_a_run_comes_from(make_run: Callable[..., Any]) -> None:
    told = make_run()
    told.stop()

    def heading(**provenance: str) -> str:
        start = {**told.documents[0][1], "provenance": provenance}
        run = Run.from_documents([("start", start), *told.documents[1:]])
        return text_report(run, {})

    again = heading(kind="rerun", of="c4111301-c640")
    assert "A re-run of c4111301\n" in again
    assert "recorded cell" not in again
    replayed = "On the recorded cell of by hand, simulated; not on a sample"
    assert replayed in heading(kind="replayed_cell", of="by hand")
    assert replayed in heading(kind="rerun", of="c4111301-c640", replayed_cell="by hand")


def test_long_lists_are_shortened_and_counted(run: Run) -> None:
    line = next(line for line in text_report(run).splitlines() if line.startswith("ce_pct"))
    assert "..." in line
    assert "(10)" in line


def test_every_column_of_the_table_has_a_heading(run: Run) -> None:
    lines = text_report(run).splitlines()
    heading = next(line for line in lines if line.startswith("metric"))
    assert heading.split() == ["metric", "value", "unit", "by", "note"]
    by = heading.index("by")
    (row,) = [line for line in lines if line.startswith("ce_pct")]
    assert row[by:].split()[0] == "cycle"


def test_the_json_is_strict_and_complete(run: Run) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    told = json.loads(json_report(run), parse_constant=refuse)
    assert told == report_json(run)
    assert set(told) == {
        "uid",
        "chain",
        "attachments",
        "sample",
        "damage",
        "calibration_flags",
        "end_state",
        "amendments",
        "notes",
        "metrics",
    }
    assert told["sample"] == "ZN-CU-1"
    assert list(told["metrics"]) == list(METRICS)
    for metric in told["metrics"].values():
        assert set(metric) == {"value", "unit", "uncertainty", "reason"}


def test_an_open_run_is_told_to_be_open(make_run: Callable[..., Any]) -> None:
    assert "still open" in text_report(Run.from_documents(make_run().documents))


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [
        (98.5432, 0.871, "98.54±0.87"),
        (0.33541, 0.00171, "0.3354±0.0017"),
        (153.0, 12.0, "153±12"),
        (15300.0, 1234.0, "1.53e+04±1.2e+03"),
        (1.23456, None, "1.235"),
        (None, None, "-"),
    ],
)
def test_numbers_are_rounded_to_two_digits_of_their_uncertainty(
    value: float | None, uncertainty: float | None, text: str
) -> None:
    assert number_text(value, uncertainty) == text
