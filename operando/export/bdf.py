"""Battery Data Format: one table per cell, positive current charges it, and a JSON-LD sidecar."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operando.analysis import METRICS, Metric, metrics
from operando.analysis.metrics import half_cycles_of
from operando.analysis.segments import PLATE, STRIP, HalfCycle
from operando.export import emmo
from operando.export._output import ExportError, staging
from operando.export._told import (
    blocks,
    cell_of,
    chain,
    ended,
    file_name,
    is_whole,
    iso,
    jsonable,
    now,
    sample_name,
    started_s,
    status,
    summary,
    title,
)
from operando.runs import Floats, Run, Stream
from techniques import Cell

Table = Literal["csv", "parquet"]
Index = NDArray[np.int64]

DEVICE = "potentiostat"
IRI = "https://w3id.org/battery-data-alliance/ontology/battery-data-format#"
UNKNOWN_INSTITUTION = "UNKNOWN"
REST, IMPEDANCE = 0, 2
# A set current, a set potential, a sweep, a voltammetry: steps without a role.
OTHERS = (3, 4, 5, 6)
_SAME_POTENTIAL_V = 1e-6
# Beyond this the host's clock and the instrument's disagree on what a second is: a simulated cell
# runs faster than the clock on the wall.
CLOCKS_AGREE_WITHIN = 0.05


@dataclass(frozen=True)
class Orientation:
    """Which electrode is the positive terminal, and so what charging the test object means.

    Attributes:
        positive: The electrode taken as the positive terminal.
        sign: Multiplies the recorded current and potential into those of BDF.
        charging: What happens on the metal electrode while positive current flows.
        reason: Why, in a sentence.
    """

    positive: Literal["WE", "CE"]
    sign: Literal[-1, 1]
    charging: Literal["stripping", "plating"]
    reason: str


def orientation(cell: Cell | None) -> Orientation:
    """Return how a cell lies between its terminals.

    The electrode of the active metal is the negative terminal, as its potential is the lower one:
    in a half cell the metal electrode is positive, plating discharges it and stripping charges it;
    in a cell with another counter electrode plating charges it. In a symmetric cell the metal
    electrode is positive by convention. With a reference electrode the working electrode against
    that reference is the test object, and nothing is turned round.
    """
    if cell is None:
        return Orientation(
            "WE", 1, "stripping", "no cell is described: the working electrode is taken as positive"
        )
    other = cell.counter_electrode if cell.metal_electrode == "WE" else cell.working_electrode
    metal_is_we = cell.metal_electrode == "WE"
    if cell.reference_electrode is not None:
        return Orientation(
            "WE",
            1,
            "stripping" if metal_is_we else "plating",
            f"a reference electrode ({cell.reference_electrode}): the test object is the working "
            "electrode against it",
        )
    metal_is_positive = other.metal == cell.metal
    positive: Literal["WE", "CE"] = "WE" if metal_is_positive == metal_is_we else "CE"
    if not metal_is_positive:
        why = (
            f"the other electrode ({other.material}) is not {cell.metal}: the metal electrode is "
            "the negative terminal, so plating charges the cell"
        )
    elif cell.symmetric:
        why = (
            "a symmetric cell has no positive terminal of its own: by convention it is the metal "
            "electrode, so plating discharges it"
        )
    else:
        why = (
            f"a half cell against {cell.metal}: the metal electrode is the positive terminal, so "
            "plating discharges it and stripping charges it"
        )
    return Orientation(
        positive,
        1 if positive == "WE" else -1,
        "stripping" if metal_is_positive else "plating",
        why,
    )


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        label: The header, ``Quantity / unit``.
        notation: The machine-readable name; of BDF where ``own`` is not set.
        unit: The unit as BDF writes it.
        meaning: What it is.
        own: Whether it is ours, beyond the terms of BDF.
    """

    label: str
    notation: str
    unit: str
    meaning: str
    own: bool = False


COLUMNS: Mapping[str, Column] = {
    column.label: column
    for column in (
        Column(
            "Test Time / s",
            "test_time_second",
            "s",
            "since the program's start, by the instrument's own timer",
        ),
        Column(
            "Voltage / V",
            "voltage_volt",
            "V",
            "of the positive terminal against the other; none in rows of a spectrum",
        ),
        Column(
            "Current / A",
            "current_ampere",
            "A",
            "positive charges the test object; none in rows of a spectrum",
        ),
        Column("Unix Time / s", "unix_time_second", "s", "when the computer received the row"),
        Column(
            "Cycle Count / 1",
            "cycle_count",
            "1",
            "as the program counted: 0 before the first cycle",
        ),
        Column(
            "Step Count / 1", "step_count", "1", "elementary steps executed, from 1, never reset"
        ),
        Column("Step Time / s", "step_time_second", "s", "since the step began"),
        Column(
            "Step Type",
            "step_type",
            "",
            "CC_CHG, CC_DCH, CV_CHG, CV_DCH, REST, EIS; empty for other steps",
        ),
        Column("Charging Capacity / Ah", "charging_capacity_ah", "Ah", "cumulative, never reset"),
        Column(
            "Discharging Capacity / Ah", "discharging_capacity_ah", "Ah", "cumulative, never reset"
        ),
        Column("Net Capacity / Ah", "net_capacity_ah", "Ah", "charging less discharging capacity"),
        Column("Frequency / Hz", "frequency_hertz", "Hz", "of a spectrum's row"),
        Column("Real Impedance / ohm", "real_impedance_ohm", "ohm", "of a spectrum's row"),
        Column(
            "Imaginary Impedance / ohm",
            "imaginary_impedance_ohm",
            "ohm",
            "of a spectrum's row, negative when capacitive",
        ),
        Column(
            "Metal Electrode Potential / V",
            "metal_electrode_potential_volt",
            "V",
            "of the metal electrode against the other, or the reference",
            True,
        ),
        Column(
            "Metal Electrode Current Density / mA.cm-2",
            "metal_electrode_current_density",
            "mA/cm2",
            "per geometric area, positive strips, negative plates",
            True,
        ),
        Column(
            "Half-Cycle Areal Charge / mAh.cm-2",
            "half_cycle_areal_charge",
            "mAh/cm2",
            "magnitude of the charge passed since the half-cycle began",
            True,
        ),
        Column(
            "Half-Cycle Count / 1",
            "half_cycle_count",
            "1",
            "plate and strip steps from 1; a rest keeps the one before it",
            True,
        ),
        Column(
            "Role / 1", "role", "1", "-1 plating, 0 rest, +1 stripping, 2 spectrum, 3 other", True
        ),
        Column(
            "Flags / 1",
            "flags",
            "1",
            "1 timing not met, 2 overload, 4 underload, 8 overload "
            "warning, 16 rows before this one were lost, 32 collected from the instrument's own "
            "log (its Unix time is estimated), 64 of a look at the cell, before an experiment went "
            "on or after something ended it",
            True,
        ),
        Column(
            "Spectrum Count / 1",
            "spectrum_count",
            "1",
            "number of the spectrum a row belongs to, from 1",
            True,
        ),
    )
}


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
    rows = _Rows(run)
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


# -- the table


class _Rows:
    """The potentiostat's rows and those of its spectra in order of time, computed in blocks."""

    def __init__(self, run: Run) -> None:
        main = run.streams.get(DEVICE)
        if main is None or not len(main):
            raise ExportError(
                f"run {run.uid[:8]} has no rows of a {DEVICE}: there is nothing to write as "
                "Battery Data Format. Use --to parquet, csv or nexus"
            )
        self._run = run
        self._main = main
        self._cell = cell_of(run)
        self.orientation = orientation(self._cell)
        spectra = run.streams.get("impedance")
        self._spectra = spectra if spectra is not None and len(spectra) else None
        t_main = self._column("t")
        t_spectra = self._spectrum("t") if self._spectra is not None else np.empty(0)
        t = np.concatenate((t_main, t_spectra))
        order = np.argsort(t, kind="stable")
        self._order = order[np.isfinite(t[order])]
        self._first_of_spectra = len(t_main)
        # How many rows have no time, or came with a smaller one than the row before them.
        self.without_time = len(t) - len(self._order)
        self.moved = int(np.count_nonzero(np.diff(t_main[np.isfinite(t_main)]) < 0))
        self.seconds_per_host_second = _clock_ratio(t_main, main.time)
        self._charges = self._charged()
        self.columns = tuple(label for label in COLUMNS if self._known(label))

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield blocks of rows: label -> values."""
        for part in blocks(len(self)):
            rows = self._order[part]
            spectral = rows >= self._first_of_spectra
            main, spectra = rows[~spectral], rows[spectral] - self._first_of_spectra
            yield {label: self._values(label, spectral, main, spectra) for label in self.columns}

    def _known(self, label: str) -> bool:
        match label:
            case "Unix Time / s":
                return abs(self.seconds_per_host_second - 1) <= CLOCKS_AGREE_WITHIN
            case "Step Time / s":
                return f"{DEVICE}_step_t" in self._main.columns
            case "Flags / 1":
                return f"{DEVICE}_flags" in self._main.columns
            case (
                "Charging Capacity / Ah"
                | "Discharging Capacity / Ah"
                | "Net Capacity / Ah"
                | "Half-Cycle Areal Charge / mAh.cm-2"
                | "Metal Electrode Potential / V"
                | "Metal Electrode Current Density / mA.cm-2"
            ):
                return self._cell is not None
            case (
                "Frequency / Hz"
                | "Real Impedance / ohm"
                | "Imaginary Impedance / ohm"
                | "Spectrum Count / 1"
            ):
                return self._spectra is not None
        return True

    def _column(self, name: str) -> Floats:
        return self._main.columns[f"{DEVICE}_{name}"]

    def _spectrum(self, name: str) -> Floats:
        assert self._spectra is not None
        return self._spectra.columns[f"{DEVICE}_impedance_{name}"]

    def _values(
        self,
        label: str,
        spectral: NDArray[np.bool_],
        main: NDArray[np.int64],
        spectra: NDArray[np.int64],
    ) -> NDArray[Any]:
        if label == "Step Type":
            return self._step_types(spectral, main)
        values = np.full(len(spectral), np.nan)
        of_main = _OF_MAIN.get(label)
        if of_main is not None:
            values[~spectral] = of_main(self, main)
        name = _OF_SPECTRA.get(label)
        if len(spectra):
            if label == "Role / 1":
                values[spectral] = IMPEDANCE
            elif label == "Unix Time / s":
                assert self._spectra is not None
                values[spectral] = self._spectra.time[spectra]
            elif name is not None:
                values[spectral] = self._spectrum(name)[spectra]
        return values

    def _step_types(self, spectral: NDArray[np.bool_], main: NDArray[np.int64]) -> NDArray[Any]:
        charging = STRIP if self.orientation.charging == "stripping" else PLATE
        names = {charging: "CC_CHG", -charging: "CC_DCH", REST: "REST", IMPEDANCE: "EIS"}
        role = self._column("role")[main]
        types = np.full(len(spectral), "EIS", dtype=object)
        types[~spectral] = np.select(
            [role == one for one in names], [np.array(name, object) for name in names.values()], ""
        )
        set_potential = np.zeros(len(spectral), dtype=bool)
        set_potential[~spectral] = _at_set_potential(
            role, *(self._column(name)[main] for name in ("step", "potential", "current"))
        )
        types[set_potential] = [name.replace("CC", "CV") for name in types[set_potential]]
        return types

    def _charged(self) -> dict[str, Floats]:
        """Return the cumulative charges by row of the potentiostat, as the metrics count them."""
        if self._cell is None:
            return {}
        rows = len(self._main)
        areal = np.full(rows, np.nan)
        added = {sign: np.zeros(rows) for sign in (PLATE, STRIP)}
        for half, index in _rows_of(self._run, half_cycles_of(self._run)):
            charge = half.charge_mah_cm2
            if len(charge) != len(index):
                charge = np.interp(self._column("t")[index], half.t_s, charge)
            areal[index] = charge
            added[half.role][index] = np.diff(charge, prepend=0.0)
        ah_per_mah_cm2 = self._cell.area_cm2 * 1e-3
        for sign, charge_ah in _other_charge(self._main, _mirror(self._cell)).items():
            added[sign] += charge_ah / ah_per_mah_cm2
        plated, stripped = (
            np.cumsum(added[sign], out=added[sign]) * ah_per_mah_cm2 for sign in (PLATE, STRIP)
        )
        if self.orientation.charging == "stripping":
            return {"charging": stripped, "discharging": plated, "areal": areal}
        return {"charging": plated, "discharging": stripped, "areal": areal}

    @property
    def area_cm2(self) -> float:
        """Return the area of the metal electrode, cm2; NaN without a cell."""
        return np.nan if self._cell is None else self._cell.area_cm2

    def signed(self, name: str, rows: Index) -> Floats:
        """Return rows of a column with the sign of BDF."""
        return _turned(self._column(name)[rows], self.orientation.sign)

    def at_metal(self, name: str, rows: Index) -> Floats:
        """Return rows of a column with the sign of the metal electrode: positive strips it."""
        return _turned(self._column(name)[rows], _mirror(self._cell))

    def charge(self, name: str, rows: Index) -> Floats:
        """Return rows of a cumulative charge."""
        return self._charges[name][rows]

    def recorded(self, name: str, rows: Index) -> Floats:
        """Return rows of a column as it was recorded."""
        return self._column(name)[rows]

    def host_time(self, rows: Index) -> Floats:
        """Return when the computer received rows, s since the epoch."""
        return self._main.time[rows]


def _mirror(cell: Cell | None) -> int:
    """Return +1 if the metal electrode hangs on the working electrode's cable, else -1."""
    return 1 if cell is None or cell.metal_electrode == "WE" else -1


def _turned(values: Floats, sign: int) -> Floats:
    # Not a product: a current of 0 must not become -0.
    return values if sign == 1 else 0.0 - values


_OF_MAIN: Mapping[str, Callable[[_Rows, Index], Floats]] = {
    "Test Time / s": lambda of, rows: of.recorded("t", rows),
    "Voltage / V": lambda of, rows: of.signed("potential", rows),
    "Current / A": lambda of, rows: of.signed("current", rows),
    "Unix Time / s": lambda of, rows: of.host_time(rows),
    "Cycle Count / 1": lambda of, rows: of.recorded("cycle", rows),
    "Step Count / 1": lambda of, rows: of.recorded("step", rows),
    "Step Time / s": lambda of, rows: of.recorded("step_t", rows),
    "Charging Capacity / Ah": lambda of, rows: of.charge("charging", rows),
    "Discharging Capacity / Ah": lambda of, rows: of.charge("discharging", rows),
    "Net Capacity / Ah": lambda of, rows: (
        of.charge("charging", rows) - of.charge("discharging", rows)
    ),
    "Metal Electrode Potential / V": lambda of, rows: of.at_metal("potential", rows),
    "Metal Electrode Current Density / mA.cm-2": lambda of, rows: (
        of.at_metal("current", rows) * (1e3 / of.area_cm2)
    ),
    "Half-Cycle Areal Charge / mAh.cm-2": lambda of, rows: of.charge("areal", rows),
    "Half-Cycle Count / 1": lambda of, rows: of.recorded("half_cycle", rows),
    "Role / 1": lambda of, rows: of.recorded("role", rows),
    "Flags / 1": lambda of, rows: of.recorded("flags", rows),
}
_OF_SPECTRA: Mapping[str, str] = {
    "Test Time / s": "t",
    "Cycle Count / 1": "cycle",
    "Step Count / 1": "step",
    "Frequency / Hz": "frequency",
    "Real Impedance / ohm": "z_real",
    "Imaginary Impedance / ohm": "z_imag",
    "Half-Cycle Count / 1": "half_cycle",
    "Flags / 1": "flags",
    "Spectrum Count / 1": "spectrum",
}
_COUNTS = frozenset(
    {"Cycle Count / 1", "Step Count / 1", "Half-Cycle Count / 1", "Role / 1", "Flags / 1"}
    | {"Spectrum Count / 1"}
)


def _rows_of(
    run: Run, halves: tuple[HalfCycle, ...]
) -> Iterator[tuple[HalfCycle, NDArray[np.int64]]]:
    """Yield half-cycles and the potentiostat's rows that belong to each."""
    columns = run.streams[DEVICE].columns
    t, potential, current, number, role = (
        columns[f"{DEVICE}_{name}"] for name in ("t", "potential", "current", "half_cycle", "role")
    )
    working = ((role == PLATE) | (role == STRIP)) & (number > 0)
    working &= np.isfinite(t) & np.isfinite(current) & np.isfinite(potential)
    rows = np.flatnonzero(working)
    if not len(rows):
        return
    starts = np.flatnonzero(np.diff(number[rows], prepend=-1.0))
    stops = np.append(starts[1:], len(rows))
    found = {int(number[rows[a]]): rows[a:b] for a, b in zip(starts, stops, strict=True)}
    for half in halves:
        if half.number in found:
            yield half, found[half.number]


def _other_charge(stream: Stream, mirror: int) -> dict[Literal[-1, 1], Floats]:
    """Return the charge that steps without a role pass, Ah, by sign and row."""
    t, current, role, step = (
        stream.columns[f"{DEVICE}_{name}"] for name in ("t", "current", "role", "step")
    )
    added = np.zeros(len(t))
    same = np.isin(role[1:], OTHERS) & np.isin(role[:-1], OTHERS) & (step[1:] == step[:-1])
    # Nothing is known of what passed between two runs of one experiment.
    same[[joint - 1 for joint in stream.joints]] = False
    charge = 0.5 * (current[1:] + current[:-1]) * np.diff(t) * mirror / 3600
    added[1:] = np.where(same & np.isfinite(charge), charge, 0.0)
    return {STRIP: np.clip(added, 0, None), PLATE: np.clip(-added, 0, None)}


def _at_set_potential(
    role: Floats, step: Floats, potential_v: Floats, current_a: Floats
) -> NDArray[np.bool_]:
    """Return which rows are of a half-cycle's part in which the potential was set.

    All its rows then have the very same potential, and currents of their own.
    """
    starts = np.flatnonzero(np.diff(step, prepend=np.nan))
    if not len(starts):
        return np.zeros(0, dtype=bool)
    spread_v, spread_a = (
        np.maximum.reduceat(x, starts) - np.minimum.reduceat(x, starts)
        for x in (potential_v, current_a)
    )
    of_step = (spread_v < _SAME_POTENTIAL_V) & (spread_a > 0)
    rows = np.diff(starts, append=len(step))
    found: NDArray[np.bool_] = np.repeat(of_step, rows) & np.isin(role, (PLATE, STRIP))
    return found


def _clock_ratio(t_s: Floats, host_s: Floats) -> float:
    """Return how many of the instrument's seconds pass in one of the host's; 1 if unknown."""
    known = np.isfinite(t_s) & np.isfinite(host_s)
    t, host = t_s[known], host_s[known]
    if len(t) < 2:
        return 1.0
    # Rows arrive in bunches; few long intervals tell more than many short ones.
    every = np.unique(np.linspace(0, len(t) - 1, min(len(t), 12)).astype(int))
    passed, on_host = np.diff(t[every]), np.diff(host[every])
    usable = (on_host > 0) & (passed > 0)
    return float(np.median(passed[usable] / on_host[usable])) if usable.any() else 1.0


def _write_csv(path: Path, rows: _Rows) -> None:
    import pyarrow.csv

    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with open(path, "wb") as file:
        file.write((",".join(rows.columns) + "\n").encode())
        for block in rows:
            pyarrow.csv.write_csv(_arrow(block, _schema(rows)), file, options)


def _write_parquet(path: Path, rows: _Rows) -> None:
    import pyarrow.parquet

    schema = _schema(rows)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in rows:
            writer.write_table(_arrow(block, schema))


def _schema(rows: _Rows) -> Any:
    import pyarrow

    def field(label: str) -> Any:
        column = COLUMNS[label]
        kind = (
            pyarrow.string()
            if label == "Step Type"
            else pyarrow.int64()
            if label in _COUNTS
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


# -- the sidecar


def sidecar_of(
    run: Run, rows: _Rows, table_name: str, numbers: Mapping[str, Metric]
) -> dict[str, Any]:
    """Return the JSON-LD document beside a table: test object, sign, columns, metrics, origin."""
    cell = cell_of(run)
    lies = rows.orientation
    told = summary(run)
    techniques = emmo.technique_terms(run.start.get("technique"))
    test: dict[str, Any] = {
        "@type": ["CyclingTest", *techniques],
        "hasOutput": [_metric(name, one) for name, one in numbers.items() if one.value is not None],
    }
    if cell is not None:
        test["hasTestObject"] = _test_object(cell, lies)
    document: dict[str, Any] = {
        "@context": {
            "schema": "https://schema.org/",
            "csvw": "http://www.w3.org/ns/csvw#",
            "prov": "http://www.w3.org/ns/prov#",
            "bdf": IRI,
            "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
            **emmo.jsonld_context(),
        },
        "@id": f"urn:uuid:{run.uid}",
        "@type": "schema:Dataset",
        "schema:name": title(run),
        "schema:description": _description(run, rows),
        "schema:identifier": run.uid,
        "schema:dateCreated": iso(started_s(run)),
        "schema:dateModified": now(),
        "schema:creativeWorkStatus": "complete" if is_whole(run) else "incomplete",
        "schema:measurementTechnique": techniques,
        "schema:temporalCoverage": f"{iso(started_s(run))}/{ended(run) or '..'}",
        "schema:variableMeasured": [_variable(COLUMNS[label]) for label in rows.columns],
        "schema:distribution": {
            "@type": "schema:DataDownload",
            "schema:contentUrl": table_name,
            "schema:encodingFormat": (
                "text/csv" if table_name.endswith("csv") else "application/vnd.apache.parquet"
            ),
        },
        "schema:about": test,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "schema:name": title(run),
            "prov:startedAtTime": told["start_time"],
            "prov:endedAtTime": told["end_time"],
            "schema:actionStatus": status(run),
            "schema:error": told["reason"],
            "schema:hasPart": [{"@id": f"urn:uuid:{uid}"} for uid in chain(run)],
            "schema:instrument": _instruments(run),
            "prov:wasAssociatedWith": [
                {
                    "@type": ["prov:SoftwareAgent", "schema:SoftwareApplication"],
                    "schema:name": name,
                    "schema:softwareVersion": version,
                }
                for name, version in _versions(run).items()
            ],
        },
        # For programs that do not speak JSON-LD: the same decisions as plain values.
        "schema:additionalProperty": [
            _plain("run", {"@type": "@json", "@value": jsonable(told)}),
            _plain("positive_terminal", lies.positive),
            _plain("current_sign", lies.sign, "BDF current = sign x recorded (IUPAC) current"),
            _plain("voltage_sign", lies.sign, "BDF voltage = sign x recorded E_WE - E_other"),
            _plain("charging_is", lies.charging, lies.reason),
            _plain("rows_without_time", rows.without_time, "left out of the table"),
            _plain("rows_moved", rows.moved, "came with a smaller time than the row before them"),
            _plain("instrument_s_per_host_s", rows.seconds_per_host_second),
            _plain("technique", {"@type": "@json", "@value": jsonable(run.start.get("technique"))}),
        ],
    }
    return _without_none(document)


def _description(run: Run, rows: _Rows) -> str:
    said = [
        f"{title(run)}, run {run.uid}.",
        f"Positive current charges the test object; here that is {rows.orientation.charging} of "
        f"the metal electrode ({rows.orientation.reason}).",
    ]
    if len(chain(run)) > 1:
        said.append(f"One experiment in {len(chain(run))} runs: {', '.join(chain(run))}.")
    said += run.notes
    if not run.complete:
        said.append("INCOMPLETE: the run had no end when it was exported.")
    if run.damage:
        said.append("INCOMPLETE: its journal is damaged.")
    if "Unix Time / s" not in rows.columns:
        said.append(
            f"Unix Time is left out: {rows.seconds_per_host_second:.4g} s of the instrument passed "
            "in one second of the computer, as with a simulated cell."
        )
    if cell_of(run) is None:
        said.append("No capacities: the start document describes no cell.")
    said.append("Ambient temperature was not recorded.")
    return " ".join(said)


def _plain(name: str, value: object, description: str | None = None) -> dict[str, Any]:
    return {
        "@type": "schema:PropertyValue",
        "schema:name": name,
        "schema:value": value,
        "schema:description": description,
    }


def _variable(column: Column) -> dict[str, Any]:
    return {
        "@type": "schema:PropertyValue",
        "schema:name": column.label,
        "schema:alternateName": column.notation,
        "schema:propertyID": None if column.own else {"@id": f"bdf:{column.notation}"},
        "schema:unitText": column.unit or None,
        "schema:description": column.meaning,
    }


def _metric(name: str, metric: Metric) -> dict[str, Any]:
    definition = METRICS[name]
    term = emmo.METRICS.get(name)
    node: dict[str, Any] = {
        "@type": ["schema:PropertyValue", *([term] if term else [])],
        "schema:name": name,
        "schema:description": definition.meaning,
        "schema:citation": definition.source,
        "schema:unitText": metric.unit,
        "hasMeasurementUnit": _unit(metric.unit),
        "schema:disambiguatingDescription": metric.reason,
        # A JSON literal: JSON-LD would drop the nulls that keep a list's places.
        "schema:value": _literal(metric.value),
    }
    if not isinstance(metric.value, list):
        node["hasNumericalPart"] = {"@type": "RealData", "hasNumericalValue": metric.value}
    if metric.uncertainty is not None:
        node["hasMetrologicalUncertainty"] = {
            "@type": ["MetrologicalUncertainty", "schema:PropertyValue"],
            "schema:name": "standard uncertainty, k = 1",
            "schema:value": _literal(metric.uncertainty),
            "schema:unitText": metric.unit,
        }
    if definition.shape != "scalar":
        node["schema:alternateName"] = f"{name}, {definition.shape}"
    return node


def _literal(value: object) -> object:
    return {"@type": "@json", "@value": value} if isinstance(value, list) else value


def _test_object(cell: Cell, lies: Orientation) -> dict[str, Any]:
    def electrode(which: Literal["WE", "CE"]) -> dict[str, Any]:
        one = cell.working_electrode if which == "WE" else cell.counter_electrode
        terminal = "PositiveElectrode" if which == lies.positive else "NegativeElectrode"
        kind = "WorkingElectrode" if which == "WE" else "CounterElectrode"
        return {
            "@type": [kind] if cell.reference_electrode else [kind, terminal],
            "schema:name": one.material,
            "hasActiveMaterial": {
                "@type": emmo.METALS[one.metal],
                "schema:name": one.metal,
            }
            if one.metal
            else None,
            "hasCoating": {"@type": "Coating", "schema:name": one.coating} if one.coating else None,
            "hasProperty": [
                _property("ElectrodeGeometricSurfaceArea", one.area_cm2, "cm2"),
                _property("Thickness", one.thickness_um, "um"),
                _property("Mass", one.mass_mg, "mg"),
                _property("AreicCapacity", one.predeposited_mah_cm2, "mAh/cm2", "predeposited"),
            ],
        }

    kind = "ElectrochemicalHalfCell" if cell.reference_electrode else "ElectrochemicalCell"
    return {
        "@type": [kind, "schema:Product"],
        "schema:name": cell.cell_id,
        "schema:identifier": cell.cell_id,
        "schema:description": cell.notes,
        "schema:productionDate": None if cell.assembled_at is None else str(cell.assembled_at),
        "hasWorkingElectrode": electrode("WE"),
        "hasCounterElectrode": electrode("CE"),
        "hasReferenceElectrode": {
            "@type": "ReferenceElectrode",
            "schema:name": cell.reference_electrode,
        }
        if cell.reference_electrode
        else None,
        "hasElectrolyte": {
            "@type": "Electrolyte",
            "schema:name": cell.electrolyte.composition,
            "hasProperty": [_property("Volume", cell.electrolyte.volume_ul, "uL")],
        },
        "hasSeparator": {"@type": "Separator", "schema:name": cell.separator}
        if cell.separator
        else None,
        "hasProperty": [_property("Pressure", cell.pressure_kpa, "kPa", "stack pressure")],
        "schema:additionalProperty": [
            _plain("metal", cell.metal),
            _plain("metal_electrode", cell.metal_electrode),
            _plain("atmosphere", cell.atmosphere),
            _plain("deaerated", cell.deaerated),
        ],
    }


def _property(
    term: str, value: float | None, unit: str, name: str | None = None
) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "@type": term,
        "schema:name": name,
        "hasNumericalPart": {"@type": "RealData", "hasNumericalValue": value},
        "hasMeasurementUnit": _unit(unit),
        "schema:unitText": unit,
    }


def _unit(unit: str) -> dict[str, str] | None:
    known = emmo.UNITS.get(unit)
    return {"@id": emmo.iri(known)} if known else None


def _instruments(run: Run) -> list[dict[str, Any]]:
    bench = run.start.get("bench") or {}
    return [
        {
            "@type": "schema:Product",
            "schema:name": name,
            "schema:model": (entry.get("identity") or {}).get("model"),
            "schema:serialNumber": (entry.get("identity") or {}).get("serial_number"),
            "schema:version": (entry.get("identity") or {}).get("firmware"),
        }
        for name, entry in (bench.get("instruments") or {}).items()
    ]


def _versions(run: Run) -> dict[str, str]:
    versions = {str(name): str(one) for name, one in (run.start.get("versions") or {}).items()}
    own = run.start.get("operando_version")
    return {"operando": str(own), **versions} if own else versions


def _without_none(value: Any) -> Any:
    """Return ``value`` without absent entries; literals of JSON keep their nulls."""
    if isinstance(value, dict):
        if value.get("@type") == "@json":
            return value
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_none(one) for one in value if one is not None]
    return value
