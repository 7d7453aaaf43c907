"""Rows go the whole way: simulator, driver, journal, catalog, analysis, verdict, exit code."""

import io
from pathlib import Path

import pytest

from operando.acceptance.__main__ import main
from operando.catalog import stop_service

# Most of it is the catalog service starting, and processes importing.
pytestmark = pytest.mark.timeout(150)


@pytest.mark.long
def test_two_quick_rows_come_out_of_their_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILED_PROFILES", str(tmp_path / "profiles"))
    out, table = io.StringIO(), tmp_path / "table.csv"
    try:
        code = main(["C9", "B9", "--data", str(tmp_path / "data"), "--csv", str(table)], out)
    finally:
        stop_service(tmp_path / "data")
    told = out.getvalue()
    assert code == 0, told
    assert "2 of 2 rows within their tolerance" in told
    assert told.rstrip().endswith("hardware evidence: none")
    assert table.read_text().count("ok") == 2
