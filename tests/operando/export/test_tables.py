"""Parquet and CSV: the same bits come back, whatever the columns are called and hold."""

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operando.export import ExportError, export_csv, export_parquet
from operando.export._told import ROWS_AT_A_TIME, file_names
from operando.harmless import spreadsheet_cell
from operando.runs import Run, Stream


def bits(values: Any) -> list[bytes]:
    """Return numbers as bits; every NaN is the same."""
    return [
        struct.pack("<d", float("nan") if value != value else value)
        for value in np.asarray(values, dtype=float).reshape(-1).tolist()
    ]


def rows_of(path: Path) -> tuple[list[str], list[list[str]]]:
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def number(text: str) -> float:
    return float(text) if text else float("nan")


@pytest.fixture
def run(make_run: Callable[..., Any], synthetic: Any) -> Run:
    documents = make_run()
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic())
    axis = np.linspace(100.0, 4000.0, 64)
    counts = np.stack([synthetic.spectrum_counts(axis, seed=seed) for seed in range(3)])
    documents.stream(
        "raman",
        "raman",
        {"t_before": [np.nan, 10.0, 20.0]},
        {"spectrum": counts.mean(axis=1), "counts": counts},
        {"raman_wavenumber": axis.tolist(), "raman_excitation": 532.0},
    )
    documents.stop()
    return Run.from_documents(documents.documents)


def test_every_column_of_every_stream_comes_back_from_parquet_bit_by_bit(
    run: Run, tmp_path: Path
) -> None:
    export_parquet(run, tmp_path / "out")
    for name, stream in run.streams.items():
        table = pyarrow.parquet.read_table(tmp_path / "out" / f"{name}.parquet")
        assert table.column_names == ["time", *stream.columns]
        for key, values in [("time", stream.time), *stream.columns.items()]:
            assert bits(table[key].to_numpy()) == bits(values), key
            unit = "s" if key == "time" else stream.units.get(key, "")
            assert table.schema.field(key).metadata[b"unit"].decode() == unit
        told = json.loads(table.schema.metadata[b"operando"])
        assert told["uid"] == run.uid
        assert told["stream"] == name
        assert told["status"] == "success"
        assert told["sign_convention"].startswith("IUPAC")


def test_every_column_of_every_stream_comes_back_from_csv_bit_by_bit(
    run: Run, tmp_path: Path
) -> None:
    export_csv(run, tmp_path / "out")
    for name, stream in run.streams.items():
        header, rows = rows_of(tmp_path / "out" / f"{name}.csv")
        assert header[0] == "time [s]"
        columns = list(zip(*rows, strict=True))
        for place, (key, values) in enumerate(stream.columns.items(), 1):
            unit = stream.units.get(key)
            assert header[place] == (f"{key} [{unit}]" if unit else key)
            assert bits([number(text) for text in columns[place]]) == bits(values)
        assert bits([number(text) for text in columns[0]]) == bits(stream.time)


def test_spectra_have_a_file_of_their_own(run: Run, tmp_path: Path) -> None:
    spectra = run.streams["raman"].assets["raman_spectrum"]
    axis = run.streams["raman"].configuration["raman_wavenumber"]
    export_csv(run, tmp_path / "csv")
    header, rows = rows_of(tmp_path / "csv" / "raman.raman_spectrum.csv")
    columns = list(zip(*rows, strict=True))
    assert header[0] == "raman_wavenumber [cm-1]"
    assert bits([number(text) for text in columns[0]]) == bits(axis)
    for place in range(3):
        assert bits([number(text) for text in columns[place + 1]]) == bits(spectra[place])
    export_parquet(run, tmp_path / "parquet")
    table = pyarrow.parquet.read_table(tmp_path / "parquet" / "raman.raman_spectrum.parquet")
    assert table["row"].to_pylist() == [0, 1, 2]
    assert bits(table["raman_spectrum"].to_pylist()) == bits(spectra[:])
    # Arrays of more dimensions stay where they are, and it is told where.
    told = json.loads((tmp_path / "csv" / "run.json").read_text())["streams"]["raman"]["arrays"]
    assert "file" not in told["raman_counts"]
    assert told["raman_counts"]["row_shape"] == [3, 64]
    (place,) = told["raman_counts"]["in"]
    assert Path(place["path"]).exists()


def test_what_lies_beside_the_tables_says_what_everything_is(run: Run, tmp_path: Path) -> None:
    paths = export_csv(run, tmp_path / "out")
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "out").iterdir()}
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["run"]["uid"] == run.uid
    assert told["start"]["sample"] == run.start["sample"]
    assert told["streams"]["potentiostat"]["columns"]["potentiostat_current"]["unit"] == "A"
    assert told["streams"]["raman"]["configuration"]["raman_excitation"] == 532.0
    assert told["streams"]["potentiostat"]["rows"] == len(run.streams["potentiostat"])


NAMES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4, unique=True)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=NAMES,
    unit=st.text(max_size=5),
    rows=st.integers(0, 5),
    data=st.data(),
)
def test_whatever_columns_are_called_and_hold_csv_gives_it_back_but_for_formulas(
    keys: list[str], unit: str, rows: int, data: st.DataObject, tmp_path: Path
) -> None:
    texts = st.lists(st.text(max_size=8), min_size=rows, max_size=rows)
    floats = st.lists(st.floats(), min_size=rows, max_size=rows)
    columns = {
        key: np.array(data.draw(texts), dtype=object)
        if data.draw(st.booleans())
        else np.array(data.draw(floats), dtype=float)
        for key in keys
        if key != "time"
    }
    stream = Stream("s/../x", columns, dict.fromkeys(keys, unit), np.arange(rows) + 0.5, {}, {})
    run = Run({"uid": "u", "time": 0.0}, None, MappingProxyType({"s/../x": stream}))
    export_csv(run, tmp_path / "out", force=True)
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    header, lines = rows_of(tmp_path / "out" / told["streams"]["s/../x"]["file"])
    names = [f"{key} [{unit}]" if unit else key for key in columns]
    # A reader of CSV takes any line ending within quotes for what it is.
    assert header == ["time [s]", *map(spreadsheet_cell, names)]
    assert len(lines) == rows
    for place, values in enumerate(columns.values(), 1):
        read = [line[place] for line in lines]
        if values.dtype == object:
            assert read == list(map(spreadsheet_cell, values.tolist()))
        else:
            assert bits([number(text) for text in read]) == bits(values)


def test_rows_beyond_one_block_come_in_order(run_of: Callable[..., Run], tmp_path: Path) -> None:
    rows = 2 * ROWS_AT_A_TIME + 1
    run = run_of({"x": np.arange(rows) / 7, "pair": np.arange(2.0 * rows).reshape(rows, 2)})
    export_parquet(run, tmp_path / "parquet")
    table = pyarrow.parquet.read_table(tmp_path / "parquet" / "potentiostat.parquet")
    np.testing.assert_array_equal(table["x"].to_numpy(), np.arange(rows) / 7)
    export_csv(run, tmp_path / "csv")
    with open(tmp_path / "csv" / "potentiostat.csv") as file:
        assert file.readline() == "time [s],x,pair[0],pair[1]\n"
        assert sum(1 for _ in file) == rows


@given(st.lists(st.text(max_size=10), unique=True, max_size=20))
def test_no_two_streams_share_a_file(names: list[str]) -> None:
    files = file_names(names)
    assert list(files) == names
    lowered = [file.lower() for file in files.values()]
    assert len(set(lowered)) == len(names)
    assert all(file and "/" not in file and not file.startswith(".") for file in lowered)


@pytest.mark.parametrize("export", [export_csv, export_parquet])
def test_a_folder_that_exists_is_replaced_only_when_asked(
    export: Callable[..., list[Path]], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ExportError, match=r"out exists.*--force"):
        export(run, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    export(run, tmp_path / "out", force=True)
    assert not (tmp_path / "out" / "mine.txt").exists()
    assert (tmp_path / "out" / "run.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".h5") == ["out"]


@pytest.mark.parametrize("export", [export_csv, export_parquet])
def test_a_full_disk_leaves_nothing_and_says_so(
    export: Callable[..., list[Path]], run: Run, tmp_path: Path, small_files: None
) -> None:
    with pytest.raises(ExportError, match=r"failed: .*Nothing of it was kept"):
        export(run, tmp_path / "new" / "folder" / "out")
    assert not (tmp_path / "new").exists()


def test_an_interrupted_export_leaves_what_was_there(run: Run, tmp_path: Path) -> None:
    export_csv(run, tmp_path / "out")
    before = (tmp_path / "out" / "potentiostat.csv").read_bytes()
    columns = dict(run.streams["potentiostat"].columns)

    class CtrlC(dict[str, Any]):
        def items(self) -> Any:
            yield from columns.items()
            raise KeyboardInterrupt

    stream = Stream("potentiostat", CtrlC(columns), {}, run.streams["potentiostat"].time, {}, {})
    with pytest.raises(KeyboardInterrupt):
        export_csv(Run(run.start, run.stop, {"potentiostat": stream}), tmp_path / "out", force=True)
    assert (tmp_path / "out" / "potentiostat.csv").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_place_that_cannot_be_written_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ExportError, match=r"cannot write in .*file"):
        export_csv(run, tmp_path / "file" / "out")


@pytest.fixture(name="two_shapes")
def _two_shapes(make_run: Callable[..., Any], synthetic: Any, tmp_path: Path) -> Run:
    """Return a run to which two patterns of one length and one of another are attached."""
    return synthetic.with_patterns_of_two_lengths(make_run(), tmp_path)


def test_patterns_of_different_length_come_back_each_with_its_own(
    two_shapes: Run, tmp_path: Path
) -> None:
    asset = two_shapes.streams["xrd"].asset("xrd_intensity")
    export_parquet(two_shapes, tmp_path / "parquet")
    table = pyarrow.parquet.read_table(tmp_path / "parquet" / "xrd.xrd_intensity.parquet")
    export_csv(two_shapes, tmp_path / "csv")
    header, rows = rows_of(tmp_path / "csv" / "xrd.xrd_intensity.csv")
    assert header == ["point", *(f"xrd_intensity row {row}" for row in range(3))]
    for row, values in enumerate(asset.rows()):
        assert bits(table["xrd_intensity"][row].as_py()) == bits(values)
        written = [line[row + 1] for line in rows]
        assert bits([number(one) for one in written[: len(values)]]) == bits(values)
        assert set(written[len(values) :]) <= {""}
    told = json.loads((tmp_path / "csv" / "run.json").read_text())["streams"]["xrd"]["arrays"]
    assert told["xrd_intensity"]["row_shape"] is None
    assert told["xrd_intensity"]["row_shapes"] == [
        {"first_row": 0, "shape": [8]},
        {"first_row": 2, "shape": [5]},
    ]
    with pytest.raises(ValueError, match="differ in shape"):
        asset[:]
    assert asset[:2].shape == (2, 8)
