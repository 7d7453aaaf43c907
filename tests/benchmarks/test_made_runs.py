"""The runs that benchmarks are timed on are what a plan would have recorded."""

from pathlib import Path

import pytest
from event_model import DocumentNames, schema_validators

from benchmarks.runs import EFFICIENCY, documents_of_a_run, record
from operando.analysis import metrics
from operando.runs import Run


@pytest.mark.parametrize("page_rows", [1, 7, 100])
def test_a_made_run_has_every_row_once_and_valid_documents(page_rows: int) -> None:
    told = list(documents_of_a_run(500, rows_per_cycle=50, page_rows=page_rows))
    for name, doc in told:
        schema_validators[DocumentNames[name]].validate(doc)
    numbers = [n for name, doc in told if name == "event_page" for n in doc["seq_num"]]
    assert numbers == list(range(1, 501))
    assert [name for name, _ in told][:2] == ["start", "descriptor"]
    assert told[-1][0] == "stop"


def test_a_made_run_reports_the_efficiency_it_was_made_with(tmp_path: Path) -> None:
    uid = record(tmp_path, 2000, rows_per_cycle=200)
    found = metrics(Run.from_journal(uid, tmp_path))
    efficiencies = found["ce_pct"].value
    assert isinstance(efficiencies, list)
    assert efficiencies == pytest.approx([100 * EFFICIENCY] * 10)
