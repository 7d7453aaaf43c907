"""One table per stream, as Parquet or CSV, with a ``run.json`` that says what everything is."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operando.export._output import staging
from operando.export._told import (
    amended,
    axis_of,
    blocks,
    file_names,
    jsonable,
    sample_name,
    summary,
)
from operando.harmless import spreadsheet_cell
from operando.runs import Asset, Run, Stream

TIME = "time"
TIME_MEANING = "when the row was taken, by the computer's clock, since 1970-01-01 UTC"
README = """\
One table per stream of the run; run.json says which file is which, with units, configuration,
cell, technique and protocol. Signs are IUPAC: positive current oxidises the working electrode.
The column "time" is {time}. An empty field was not measured.
Before a text that a spreadsheet would take for a formula (=, +, -, @ at its beginning) stands a '.
"""


def export_parquet(run: Run, output: Path | str, *, force: bool = False) -> list[Path]:
    """Write a folder with one Parquet file per stream, units and metadata in the schema.

    Args:
        run: The run, or chain of runs, finished or not.
        output: The folder to make.
        force: Replace it if it exists.

    Returns:
        The files; ``run.json`` is among them.

    Raises:
        ExportError: the folder exists, or it cannot be written.
    """
    return _export(run, Path(output), "parquet", force=force)


def export_csv(run: Run, output: Path | str, *, force: bool = False) -> list[Path]:
    """Write a folder with one CSV file per stream, headed ``name [unit]``.

    Numbers are written so that reading them gives the same bits; before a text that a spreadsheet
    would take for a formula stands a quote. Spectra and traces get a file of
    their own, one column per row of their stream. Arguments, result and errors as for
    `export_parquet`.
    """
    return _export(run, Path(output), "csv", force=force)


def _export(run: Run, output: Path, kind: Literal["csv", "parquet"], *, force: bool) -> list[Path]:
    output = output.expanduser().absolute()
    with staging(output.parent, force=force) as stage:
        folder = stage.path(output.name)
        folder.mkdir()
        described = _write_streams(run, folder, kind)
        text = json.dumps(described, indent=1, allow_nan=False, ensure_ascii=False)
        (folder / "run.json").write_text(text + "\n", "utf-8")
        if kind == "csv":
            (folder / "README.txt").write_text(README.format(time=TIME_MEANING), "utf-8")
        names = sorted(path.name for path in folder.iterdir())
    return [output / name for name in names]


def _write_streams(run: Run, folder: Path, kind: Literal["csv", "parquet"]) -> dict[str, Any]:
    write_rows = _parquet_rows if kind == "parquet" else _csv_rows
    write_arrays = _parquet_arrays if kind == "parquet" else _csv_arrays
    wanted = list(run.streams) + [
        f"{name}.{key}"
        for name, stream in run.streams.items()
        for key, asset in stream.assets.items()
        if _is_curve(asset)
    ]
    files = file_names(wanted)
    told: dict[str, Any] = {}
    for name, stream in run.streams.items():
        file = f"{files[name]}.{kind}"
        write_rows(folder / file, run, stream)
        told[name] = {
            "file": file,
            "rows": len(stream),
            "columns": {TIME: {"unit": "s", "description": TIME_MEANING}}
            | {
                key: {"unit": stream.units.get(key, ""), "row_shape": list(values.shape[1:])}
                for key, values in stream.columns.items()
            },
            "configuration": jsonable(stream.configuration),
            "arrays": {},
        }
        for key, asset in stream.assets.items():
            told[name]["arrays"][key] = _told_array(asset)
            if _is_curve(asset):
                file = f"{files[f'{name}.{key}']}.{kind}"
                write_arrays(folder / file, run, stream, key)
                told[name]["arrays"][key] |= {"file": file}
    return {
        "run": summary(run),
        "start": jsonable(run.start),
        "stop": jsonable(run.stop),
        **jsonable(amended(run)),
        "streams": told,
    }


def _is_curve(asset: Asset) -> bool:
    """Return whether rows are spectra or traces: of one dimension, and readable."""
    return len(asset) > 0 and all(part[0].ndim == 1 for _, part in asset.alike())


def _told_array(asset: Asset) -> dict[str, Any]:
    shapes = [{"first_row": row, "shape": list(part[0].shape)} for row, part in asset.alike()]
    return {
        "rows": len(asset),
        "rows_announced": asset.announced,
        # Where they differ, each is told with the row it begins at.
        "row_shape": shapes[0]["shape"] if len(shapes) == 1 else None,
        **({"row_shapes": shapes} if len(shapes) > 1 else {}),
        "in": [
            {
                "path": str(part.path),
                "dataset": part.dataset,
                "start": part.start,
                "stop": part.stop,
            }
            for part in asset.parts
        ],
    }


# -- Parquet


def _metadata(run: Run, stream: Stream, **more: Any) -> dict[str, str]:
    told = {
        **summary(run),
        "stream": stream.name,
        "sample": sample_name(run),
        "configuration": stream.configuration,
        # That with which it began; which others held in which half-cycles is told beside it.
        "technique": run.start.get("technique"),
        **amended(run),
        "cell": run.start.get("sample"),
        **more,
    }
    return {"operando": json.dumps(jsonable(told), allow_nan=False, ensure_ascii=False)}


def _parquet_rows(path: Path, run: Run, stream: Stream) -> None:
    import pyarrow
    import pyarrow.parquet

    def field(key: str, values: NDArray[Any]) -> Any:
        kind = pyarrow.string() if values.dtype == object else pyarrow.float64()
        if values.ndim > 1:
            kind = pyarrow.list_(kind, int(np.prod(values.shape[1:])))
        unit = stream.units.get(key, "")
        return pyarrow.field(
            key, kind, metadata={"unit": unit, "row_shape": json.dumps(values.shape[1:])}
        )

    columns = _columns(stream)
    fields = [pyarrow.field(TIME, pyarrow.float64(), metadata={"unit": "s", "row_shape": "[]"})]
    fields += [field(key, values) for key, values in columns.items() if key != TIME]
    schema = pyarrow.schema(fields, metadata=_metadata(run, stream))
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in blocks(len(stream)):
            arrays = [
                _arrow(values[part], one.type)
                for one, values in zip(schema, columns.values(), strict=True)
            ]
            writer.write_table(pyarrow.table(arrays, schema=schema))


def _arrow(values: NDArray[Any], kind: Any) -> Any:
    import pyarrow

    if values.ndim > 1:
        flat = _arrow(values.reshape(-1), kind.value_type)
        return pyarrow.FixedSizeListArray.from_arrays(flat, type=kind)
    if values.dtype == object:
        return pyarrow.array([_text(value) for value in values], type=kind)
    return pyarrow.array(values, type=kind)


def _parquet_arrays(path: Path, run: Run, stream: Stream, key: str) -> None:
    import pyarrow
    import pyarrow.parquet

    asset = stream.assets[key]
    firsts = [part[0] for _, part in asset.alike()]
    dtype = np.result_type(*firsts)
    length = len(firsts[0]) if len(firsts) == 1 else -1  # -1: each row has its own
    kind = pyarrow.list_(pyarrow.from_numpy_dtype(dtype), length)
    axis = axis_of(stream, length) if length > 0 else None
    schema = pyarrow.schema(
        [
            pyarrow.field(
                "row", pyarrow.int64(), metadata={"description": "row of the stream, from 0"}
            ),
            pyarrow.field(key, kind, metadata={"unit": stream.units.get(key, "")}),
        ],
        metadata=_metadata(run, stream, axis=axis and axis.name),
    )
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for number, rows in enumerate(_some_rows(asset)):
            start = number * ARRAYS_AT_A_TIME
            values = pyarrow.array(np.concatenate(rows).astype(dtype, copy=False))
            if length > 0:
                lists = pyarrow.FixedSizeListArray.from_arrays(values, type=kind)
            else:
                ends = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int32)
                lists = pyarrow.ListArray.from_arrays(pyarrow.array(ends), values, type=kind)
            arrays = [pyarrow.array(np.arange(start, start + len(rows))), lists]
            writer.write_table(pyarrow.table(arrays, schema=schema))


ARRAYS_AT_A_TIME = 64


def _some_rows(asset: Asset) -> Iterator[list[NDArray[Any]]]:
    found: list[NDArray[Any]] = []
    for row in asset.rows():
        found.append(row)
        if len(found) == ARRAYS_AT_A_TIME:
            yield found
            found = []
    if found:
        yield found


# -- CSV


def _csv_rows(path: Path, run: Run, stream: Stream) -> None:
    columns = _columns(stream)
    header = [f"{TIME} [s]"]
    for key, values in columns.items():
        if key != TIME:
            header += _headings(key, stream.units.get(key, ""), values.shape[1:])
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(map(spreadsheet_cell, header))
    with open(path, "ab") as file:
        for part in blocks(len(stream)):
            flat: list[NDArray[Any]] = []
            for values in columns.values():
                block = values[part]
                flat += list(block.reshape(len(block), -1).T)
            _append_csv(file, flat)


def _columns(stream: Stream) -> dict[str, NDArray[Any]]:
    """Return the time and the columns; one that is called time itself is the stream's."""
    return {TIME: stream.time} | {
        key: values for key, values in stream.columns.items() if key != TIME
    }


def _headings(key: str, unit: str, row_shape: tuple[int, ...]) -> list[str]:
    names = [key]
    if row_shape:
        names = [f"{key}[{','.join(map(str, at))}]" for at in np.ndindex(*row_shape)]
    return [f"{name} [{unit}]" if unit else name for name in names]


def _append_csv(file: Any, columns: list[NDArray[Any]]) -> None:
    import pyarrow
    import pyarrow.csv

    def array(values: NDArray[Any]) -> Any:
        if values.dtype == object:
            texts = [None if (t := _text(one)) is None else spreadsheet_cell(t) for one in values]
            return pyarrow.array(texts, type=pyarrow.string())
        # NaN is "not measured": an empty field.
        return pyarrow.array(values, from_pandas=values.dtype.kind == "f")

    table = pyarrow.table(
        [array(one) for one in columns], names=list(map(str, range(len(columns))))
    )
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    pyarrow.csv.write_csv(table, file, options)


def _csv_arrays(path: Path, run: Run, stream: Stream, key: str) -> None:
    asset = stream.assets[key]
    rows = list(asset.rows())
    length = max(map(len, rows))
    alike = all(len(row) == length for row in rows)
    axis = axis_of(stream, length) if alike else None
    name, points = ("point", np.arange(length)) if axis is None else (axis.heading, axis.values)
    if not alike:  # shorter ones end in empty fields
        rows = [np.pad(row.astype(float), (0, length - len(row)), constant_values=np.nan)
                for row in rows]  # fmt: skip
    unit = stream.units.get(key, "")
    with open(path, "w", encoding="utf-8", newline="") as file:
        heads = [f"{key} row {row}" + f" [{unit}]" * bool(unit) for row in range(len(rows))]
        csv.writer(file).writerow(map(spreadsheet_cell, [name, *heads]))
    with open(path, "ab") as file:
        _append_csv(file, [points, *rows])


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)
