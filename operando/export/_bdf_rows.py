"""The rows of a table in Battery Data Format: those of the potentiostat and of its spectra."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operando.analysis.metrics import half_cycles_of
from operando.analysis.segments import PLATE, STRIP, HalfCycle
from operando.export._bdf_columns import COLUMNS, DEVICE
from operando.export._output import ExportError
from operando.export._told import blocks, cell_of
from operando.runs import Floats, Run, Stream
from operando.terminals import orientation
from techniques import Cell

Index = NDArray[np.int64]

REST, IMPEDANCE = 0, 2
# A set current, a set potential, a sweep, a voltammetry: steps without a role.
OTHERS = (3, 4, 5, 6)
_SAME_POTENTIAL_V = 1e-6
# Beyond this the host's clock and the instrument's disagree on what a second is: a simulated cell
# runs faster than the clock on the wall.
CLOCKS_AGREE_WITHIN = 0.05


class BdfRows:
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


_OF_MAIN: Mapping[str, Callable[[BdfRows, Index], Floats]] = {
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
COUNTS = frozenset(
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
