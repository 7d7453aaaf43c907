"""What is compared: runs with their metrics, the cells they were made on, and groups of cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import ValidationError

from operando.analysis import Metric
from operando.analysis.blocks import left_out_of_means, left_out_of_run
from operando.analysis.calibrations import thermometer
from operando.analysis.segments import PLATE, STRIP
from operando.runs import Asked, Run, asked_at_the_start, told_protocols
from techniques import Cell, Electrode

_SHARE_OF_ROWS = 0.02  # that a current density must have to be told


class ComparisonError(Exception):
    """Runs cannot be compared; the message says which, and why."""


@dataclass(frozen=True)
class ComparedRun:
    """One run, or an experiment of several, without its rows.

    Attributes:
        start: Its start document.
        chain: The uids of the runs it is made of.
        numbers: Its metrics.
        cell: The cell it was made on.
        rows: Stream -> number of rows.
        current_densities_ma_cm2: Densities at which it was cycled, ascending, mA/cm2.
        temperature_k: Mean temperature that was recorded, K; None if none was.
        complete: Whether it has ended.
        damage: What is damaged in its record.
        changed: What it was asked for, one after the other, where its protocol was changed while it
            ran; empty where it was not.
        apart: Cycles that its program leaves out of means; ``None``: its start document tells all.
    """

    start: Mapping[str, Any]
    chain: tuple[str, ...]
    numbers: Mapping[str, Metric]
    cell: Cell
    rows: Mapping[str, int]
    current_densities_ma_cm2: tuple[float, ...]
    temperature_k: float | None
    complete: bool
    damage: tuple[str, ...]
    changed: tuple[Asked, ...] = ()
    apart: frozenset[int] | None = None

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Return what it was asked for, and in which half-cycles."""
        return self.changed or (asked_at_the_start(self.start),)

    @property
    def uid(self) -> str:
        """Return the uid of the first of its runs."""
        return self.chain[0]

    @property
    def left_out(self) -> frozenset[int]:
        """Return the cycles that the cell or the program leaves out of means."""
        declared = range(1, self.cell.formation_cycles + 1)
        apart = self.apart
        if apart is None:
            apart = frozenset(left_out_of_means(self.start.get("technique")))
        return apart.union(declared)

    @property
    def hard_short_cycle(self) -> int | None:
        """Return the cycle from which on it was shorted, and counts in no mean; None: none."""
        told = self.numbers.get("hard_short_cycle")
        return int(told.value) if told is not None and isinstance(told.value, float) else None


@dataclass(frozen=True)
class Group:
    """Cells that have something in common.

    Attributes:
        name: What that is.
        cells: Label of a cell -> its runs.
    """

    name: str
    cells: Mapping[str, tuple[ComparedRun, ...]]

    @property
    def runs(self) -> tuple[ComparedRun, ...]:
        """Return all runs of the group."""
        return tuple(run for runs in self.cells.values() for run in runs)


def _electrode_name(electrode: Electrode) -> str:
    coating = electrode.coating
    # Zn@Ag says its coating already.
    named = coating is None or coating.lower() in electrode.material.lower()
    return electrode.material if named else f"{electrode.material} ({coating})"


GROUPS: Mapping[str, Callable[[ComparedRun], str]] = MappingProxyType(
    {
        "electrode": lambda run: _electrode_name(run.cell.electrode),
        "pair": lambda run: (
            f"{_electrode_name(run.cell.electrode)} || {_electrode_name(run.cell.other_electrode)}"
        ),
        "electrolyte": lambda run: run.cell.electrolyte.composition,
        "separator": lambda run: run.cell.separator or "not recorded",
        "batch": lambda run: run.cell.batch or "not recorded",
        "protocol": lambda run: told_protocols(run.asked) or "not recorded",
        "cell": lambda run: run.cell.cell_id,
        "all": lambda run: "all",
    }
)


def compared_run(run: Run, numbers: Mapping[str, Metric]) -> ComparedRun:
    """Return what a comparison needs of a run, so that its rows can be let go.

    Raises:
        ComparisonError: The run's start document describes no cell.
    """
    try:
        cell = Cell.model_validate(run.start.get("sample"))
    except ValidationError as error:
        raise ComparisonError(
            f"run {run.uid[:8]} cannot be compared: its start document describes no cell "
            f"({error.errors()[0]['msg']}). Leave it out"
        ) from None
    asked = run.asked
    return ComparedRun(
        start=run.start,
        chain=run.chain,
        numbers=numbers,
        cell=cell,
        rows={name: len(stream) for name, stream in run.streams.items()},
        current_densities_ma_cm2=_current_densities(run, cell),
        temperature_k=_temperature_k(run),
        complete=run.complete,
        damage=run.damage,
        changed=asked if len(asked) > 1 else (),
        apart=frozenset(left_out_of_run(run)),
    )


def _current_densities(run: Run, cell: Cell) -> tuple[float, ...]:
    """Return the densities of half-cycles, to two digits, mA/cm2.

    Two digits join what one set-point gives; an edge's row is not a density of its own.
    """
    stream = run.streams.get("potentiostat")
    needed = ("potentiostat_current", "potentiostat_role")
    if stream is None or not stream.columns.keys() >= set(needed):
        return ()
    current, role = (stream.columns[name] for name in needed)
    density = 1e3 * np.abs(current[(role == PLATE) | (role == STRIP)]) / cell.area_cm2
    density = density[np.isfinite(density) & (density > 0)]
    if not len(density):
        return ()
    decades = 10.0 ** (np.floor(np.log10(density)) - 1)
    values, counts = np.unique(np.round(density / decades) * decades, return_counts=True)
    told = values[counts >= _SHARE_OF_ROWS * len(density)]
    return tuple(float(f"{value:.2g}") for value in told)


def _temperature_k(run: Run) -> float | None:
    stream = run.streams.get("thermostat")
    if stream is None or not len(stream):
        return None
    values = stream.columns.get("thermostat_temperature")
    if values is None or not np.isfinite(values).any():
        return None
    calibration = run.start.get("calibration") or {}
    return thermometer(calibration, float(np.nanmean(values)))[0]


def grouped(
    runs: Sequence[ComparedRun], by: str, *, cell_per_run: bool
) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Return groups of cells in the order of their first run, and what must be said of them.

    Raises:
        ComparisonError: No run, no such way to group, or cells of different metals.
    """
    if by not in GROUPS:
        raise ComparisonError(f"cells are not grouped by {by!r}: by {', '.join(GROUPS)}")
    if not runs:
        raise ComparisonError("no run to compare")
    notes = []
    once: dict[str, ComparedRun] = {}
    for run in runs:
        if run.uid in once:
            notes.append(f"run {run.uid[:8]} was named more than once and counts once")
        once.setdefault(run.uid, run)
    metals = {run.cell.metal: run for run in once.values()}
    if len(metals) > 1:
        told = " and ".join(f"{run.uid[:8]} of {metal}" for metal, run in metals.items())
        raise ComparisonError(
            f"runs of different metals are not comparable: {told}. Compare those of one metal"
        )
    dummies = [run.uid[:8] for run in once.values() if run.cell.dummy is not None]
    if dummies:
        raise ComparisonError(f"run {dummies[0]} is of a dummy cell, not of an electrode")
    found: dict[str, dict[str, list[ComparedRun]]] = {}
    for run in once.values():
        label = f"{run.cell.cell_id}, run {run.uid[:8]}" if cell_per_run else run.cell.cell_id
        found.setdefault(GROUPS[by](run), {}).setdefault(label, []).append(run)
    names: dict[str, set[str]] = {}
    for name, cells in found.items():
        for label in cells:
            names.setdefault(label, set()).add(name)
    notes += [
        f"the label {label} stands in several groups: {', '.join(sorted(groups))}"
        for label, groups in names.items()
        if len(groups) > 1 and by not in ("protocol",)
    ]
    notes += [
        f"cell {label} has {len(these)} runs: where several have a value, their mean is the cell's"
        for cells in found.values()
        for label, these in cells.items()
        if len(these) > 1
    ]
    protocols = dict.fromkeys(GROUPS["protocol"](run) for run in once.values())
    if len(protocols) > 1 and by != "protocol":
        notes.append(f"runs of different protocols are compared: {', '.join(protocols)}")
    notes += [
        f"the protocol of run {run.uid[:8]} was changed while it ran: {told_protocols(run.changed)}"
        for run in once.values()
        if run.changed
    ]
    notes += [f"run {run.uid[:8]}: {text}" for run in once.values() for text in run.damage]
    notes += [f"run {run.uid[:8]} has not ended" for run in once.values() if not run.complete]
    groups = tuple(
        Group(name, {label: tuple(these) for label, these in cells.items()})
        for name, cells in found.items()
    )
    return groups, tuple(notes)
