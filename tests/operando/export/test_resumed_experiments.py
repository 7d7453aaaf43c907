"""An experiment in two runs is one in every format, whichever of its runs was named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet
import pytest

from operando.analysis import metrics
from operando.export import export_run
from operando.runs import Run

UIDS = [f"{letter * 8}-0000-4000-8000-000000000000" for letter in "ab"]
GAP_S = 500.0


@pytest.fixture
def data_dir(
    make_run: Callable[..., Any], synthetic: Any, stored: Callable[..., str], tmp_path: Path
) -> Path:
    """Return a data folder with a run that was cut within its second plating, and resumed."""
    columns = synthetic.galvanostatic(rows=50)
    cut = int(np.flatnonzero(columns["half_cycle"] == 3)[20])
    for number, rows in enumerate((slice(cut), slice(cut, None))):
        part = {key: values[rows] for key, values in columns.items()}
        part["t"] = part["t"] + GAP_S * number
        run = make_run()
        start = run.documents[0][1]
        start |= {"uid": UIDS[number], "time": start["time"] + number}
        if number:
            start["resume"] = {"of": UIDS[0], "root": UIDS[0], "gap_s": GAP_S}
        run.stream("potentiostat", "potentiostat", part)
        run.stop("success" if number else "fail")
        stored(run.documents, tmp_path / "data")
    return tmp_path / "data"


def test_the_table_goes_on_and_charges_nothing_across_the_joint(
    data_dir: Path, tmp_path: Path
) -> None:
    path, sidecar = export_run(
        UIDS[1], data_dir, to="bdf", output=tmp_path / "out", table="parquet"
    )
    run = Run.from_journal(UIDS[0], data_dir)
    assert run.chain == tuple(UIDS)
    read = pyarrow.parquet.read_table(path)
    stream = run.streams["potentiostat"]
    assert read.num_rows == len(stream)
    np.testing.assert_array_equal(
        read["Test Time / s"].to_numpy(), stream.columns["potentiostat_t"]
    )
    discharged = read["Discharging Capacity / Ah"].to_numpy()
    plated = sum(metrics(run)["plated_capacity_mah_cm2"].value) * 1.131e-3
    assert discharged[-1] == pytest.approx(plated, rel=1e-12)
    (joint,) = stream.joints
    assert discharged[joint] == discharged[joint - 1]
    told = json.loads(sidecar.read_text())
    assert told["@id"] == f"urn:uuid:{UIDS[0]}"
    assert "One experiment in 2 runs" in told["schema:description"]


def test_tables_and_nexus_hold_the_rows_of_both(data_dir: Path, tmp_path: Path) -> None:
    stream = Run.from_journal(UIDS[0], data_dir).streams["potentiostat"]
    export_run(UIDS[1], data_dir, to="parquet", output=tmp_path / "parquet")
    read = pyarrow.parquet.read_table(tmp_path / "parquet" / "potentiostat.parquet")
    assert read.num_rows == len(stream)
    assert json.loads(read.schema.metadata[b"operando"])["chain"] == UIDS
    export_run(UIDS[1], data_dir, to="nexus", output=tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        assert file["entry/potentiostat/potentiostat_t"].shape == (len(stream),)
        assert [uid.decode() for uid in file["entry/documents/chain"][()]] == UIDS


def test_the_crate_holds_both_journals_and_opens_as_one_experiment(
    data_dir: Path, tmp_path: Path
) -> None:
    export_run(UIDS[1], data_dir, to="rocrate", output=tmp_path / "crate")
    again = Run.from_journal(UIDS[1], tmp_path / "crate" / "data")
    assert again.chain == tuple(UIDS)
    assert metrics(again) == metrics(Run.from_journal(UIDS[1], data_dir))
