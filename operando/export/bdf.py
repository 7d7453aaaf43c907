"""Battery Data Format: one table per cell, positive current charges it, and a JSON-LD sidecar."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from operando.analysis import Metric, metrics
from operando.export._bdf_columns import COLUMNS, DEVICE, IRI, Column
from operando.export._bdf_rows import COUNTS, BdfRows
from operando.export._bdf_sidecar import sidecar_of
from operando.export._output import ExportError, staging
from operando.export._told import file_name, sample_name, started_s
from operando.runs import Run
from operando.terminals import Orientation, orientation

__all__ = [
    "COLUMNS",
    "DEVICE",
    "IRI",
    "UNKNOWN_INSTITUTION",
    "Column",
    "Orientation",
    "Table",
    "bdf_name",
    "export_bdf",
    "orientation",
    "sidecar_of",
]

Table = Literal["csv", "parquet"]

UNKNOWN_INSTITUTION = "UNKNOWN"


def export_bdf(
    run: Run,
    output: Path | str = ".",
    *,
    table: Table | None = None,
    institution: str | None = None,
    number: int = 1,
    force: bool = False,
    numbers: Mapping[str, Metric] | None = None,
) -> list[Path]:
    """Write the potentiostat's rows and spectra as Battery Data Format.

    Args:
        run: The run, or chain of runs, finished or not.
        output: A folder; or a file that ends in ``.bdf.csv`` or ``.bdf.parquet``.
        table: ``csv`` or ``parquet``; by default what ``output`` ends in, else csv.
        institution: The institution's code in the file's name.
        number: The number at the end of the file's name: which run of that cell on that day.
        force: Replace files that exist.
        numbers: The run's metrics if they are known already.

    Returns:
        The table and its ``.metadata.jsonld``.

    Raises:
        ExportError: the run has no rows of a potentiostat, a file exists, or it cannot be written.
    """
    folder, name, table = _place(run, Path(output), table, institution, number)
    rows = BdfRows(run)
    numbers = metrics(run) if numbers is None else numbers
    with staging(folder, force=force) as stage:
        path = stage.path(name)
        sidecar = stage.path(_sidecar_name(name))
        (_write_csv if table == "csv" else _write_parquet)(path, rows)
        described = sidecar_of(run, rows, name, numbers)
        text = json.dumps(described, indent=1, allow_nan=False, ensure_ascii=False)
        sidecar.write_text(text + "\n", "utf-8")
    return [folder / name, folder / _sidecar_name(name)]


def bdf_name(run: Run, institution: str | None = None, number: int = 1) -> str:
    """Return the name BDF recommends, ``Institution__Cell__YYYYMMDD_XXX``, without an ending."""
    day = datetime.fromtimestamp(started_s(run), UTC).strftime("%Y%m%d")
    code = file_name(institution or UNKNOWN_INSTITUTION)
    return f"{code}__{file_name(sample_name(run))}__{day}_{number:03d}"


def _place(
    run: Run, output: Path, table: Table | None, institution: str | None, number: int
) -> tuple[Path, str, Table]:
    for kind in ("csv", "parquet"):
        if output.name.endswith(f".bdf.{kind}"):
            if table not in (None, kind):
                raise ExportError(f"{output} ends in {kind}, and the table is to be {table}")
            return output.parent, output.name, kind
    if output.suffix in (".csv", ".parquet"):
        raise ExportError(
            f"{output}: a file of the Battery Data Format ends in .bdf.csv or .bdf.parquet; or "
            "give a folder"
        )
    kind = table or "csv"
    return output, f"{bdf_name(run, institution, number)}.bdf.{kind}", kind


def _sidecar_name(name: str) -> str:
    return name.removesuffix(".csv").removesuffix(".parquet") + ".metadata.jsonld"


def _write_csv(path: Path, rows: BdfRows) -> None:
    import pyarrow.csv

    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with open(path, "wb") as file:
        file.write((",".join(rows.columns) + "\n").encode())
        for block in rows:
            pyarrow.csv.write_csv(_arrow(block, _schema(rows)), file, options)


def _write_parquet(path: Path, rows: BdfRows) -> None:
    import pyarrow.parquet

    schema = _schema(rows)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in rows:
            writer.write_table(_arrow(block, schema))


def _schema(rows: BdfRows) -> Any:
    import pyarrow

    def field(label: str) -> Any:
        column = COLUMNS[label]
        kind = (
            pyarrow.string()
            if label == "Step Type"
            else pyarrow.int64()
            if label in COUNTS
            else pyarrow.float64()
        )
        told = {"unit": column.unit, "description": column.meaning}
        return pyarrow.field(
            label, kind, metadata=told if column.own else told | {"iri": IRI + column.notation}
        )

    return pyarrow.schema([field(label) for label in rows.columns])


def _arrow(block: dict[str, NDArray[Any]], schema: Any) -> Any:
    import pyarrow

    # Not a number is "not measured": an empty field, not the text nan.
    arrays = [
        pyarrow.array(block[field.name], type=field.type, from_pandas=True)
        if field.type != pyarrow.int64()
        else pyarrow.array(block[field.name], from_pandas=True).cast(pyarrow.int64())
        for field in schema
    ]
    return pyarrow.table(arrays, schema=schema)
