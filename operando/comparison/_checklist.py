"""What a paper on metal anodes should report, filled from the records or told as missing.

Items follow the practice papers of the field, in our words:

- J: X. Ji and L. F. Nazar, Best practices for zinc metal batteries, Nat. Sustain. 2023,
  10.1038/s41893-023-01257-8 (efficiency with a reservoir that is stripped at the end, cycling at
  low rate, full cells, lean electrolyte, hydrogen, microscopy, charge carrier, pouch cells, and
  the warning that soft shorts look like stability).
- M: the protocol for the coulombic efficiency of zinc, Energy Environ. Mater. 2021,
  10.1002/eem2.12077 (collector, current density, temperature and upper potential of the strip
  change what is measured).
- U: usual practice: what somebody needs to repeat the experiment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from operando.comparison._cells import ComparedRun, Group
from operando.comparison._judged import cut_offs_text
from operando.comparison._summary import LIVES, Comparison, Summary
from operando.registry import ANALYSIS_VERSION
from operando.report import number_text
from techniques import Electrode

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "J": "Ji and Nazar, Nat. Sustain. 2023, 10.1038/s41893-023-01257-8",
        "M": "protocol for the coulombic efficiency of zinc, 10.1002/eem2.12077",
        "U": "usual practice",
    }
)

# From a run what it tells of an item, None: nothing.
FromRun = Callable[[ComparedRun], str | None]
# From a group and the whole comparison.
FromGroup = Callable[[Group, Comparison], str | None]


@dataclass(frozen=True)
class Item:
    """One thing to report.

    Attributes:
        section: Where in the supporting information.
        text: What is to be reported.
        sources: Who asks for it: letters of `SOURCES`.
        of_run: What one run tells of it.
        of_group: What a group tells of it, where that is no list of what its runs tell.
    """

    section: str
    text: str
    sources: str
    of_run: FromRun | None = None
    of_group: FromGroup | None = None


@dataclass(frozen=True)
class CheckedItem:
    """An item and what the records say of it.

    Attributes:
        item: The item.
        told: Group -> what its records say; None: it is missing.
    """

    item: Item
    told: Mapping[str, str | None]


def checklist(comparison: Comparison) -> tuple[CheckedItem, ...]:
    """Return every item with what the records of each group say of it, or that it is missing.

    Where the runs of a group say different things, all are listed with how many runs say so; where
    some say nothing, that is told.
    """
    return tuple(
        CheckedItem(
            item, {group.name: _told(item, group, comparison) for group in comparison.groups}
        )
        for item in CHECKLIST
    )


def _told(item: Item, group: Group, comparison: Comparison) -> str | None:
    if item.of_group is not None:
        return item.of_group(group, comparison)
    if item.of_run is None:
        return None
    counted: dict[str | None, int] = {}
    for run in group.runs:
        text = item.of_run(run)
        counted[text] = counted.get(text, 0) + 1
    silent = counted.pop(None, 0)
    if not counted:
        return None
    parts = [
        text if len(counted) == 1 else f"{text} ({count} of {len(group.runs)} runs)"
        for text, count in counted.items()
        if text is not None
    ]
    if silent:
        parts.append(f"not recorded in {silent} of {len(group.runs)} runs")
    return "; ".join(parts)


def _electrode(electrode: Electrode) -> str:
    parts = [electrode.material]
    if electrode.coating:
        parts.append(f"coating {electrode.coating}")
    parts.append(
        "thickness not recorded"
        if electrode.thickness_um is None
        else f"{electrode.thickness_um:g} um"
    )
    if electrode.mass_mg is not None:
        parts.append(f"{electrode.mass_mg:g} mg")
    if electrode.predeposited_mah_cm2:
        parts.append(f"{electrode.predeposited_mah_cm2:g} mAh/cm2 deposited before")
    return ", ".join(parts)


def _inventory(run: ComparedRun) -> str | None:
    told = []
    for name, electrode in (
        ("metal electrode", run.cell.electrode),
        ("other electrode", run.cell.other_electrode),
    ):
        held = run.cell.inventory_mah_cm2(electrode)
        if held:
            told.append(f"{name} {held:.3g} mAh/cm2")
    return ", ".join(told) or None


def _electrolyte_amount(run: ComparedRun) -> str | None:
    volume = run.cell.electrolyte.volume_ul
    if volume is None:
        return None
    told = f"{volume:g} uL, {volume / run.cell.area_cm2:.3g} uL/cm2"
    capacity = run.cell.nominal_capacity_mah_cm2
    if capacity is None:
        largest = _largest(run.numbers["plated_capacity_mah_cm2"].value)
        if largest is None:
            return told
        return f"{told}, {volume / (run.cell.area_cm2 * largest):.3g} uL per mAh cycled"
    return f"{told}, {volume / (run.cell.area_cm2 * capacity):.3g} uL/mAh of the cathode"


def _largest(value: Any) -> float | None:
    known = [one for one in value if one is not None] if isinstance(value, list) else []
    return max(known, default=None) or None


def _gas(run: ComparedRun) -> str | None:
    if run.cell.atmosphere is None:
        return None
    return run.cell.atmosphere + (", electrolyte deaerated" if run.cell.deaerated else "")


def _temperature(run: ComparedRun) -> str | None:
    return None if run.temperature_k is None else f"{run.temperature_k:.1f} K, recorded"


def _cycling(run: ComparedRun) -> str | None:
    if not run.current_densities_ma_cm2:
        return None
    densities = ", ".join(f"{one:g}" for one in run.current_densities_ma_cm2)
    largest = _largest(run.numbers["plated_capacity_mah_cm2"].value)
    capacity = "" if largest is None else f", up to {largest:.3g} mAh/cm2 per cycle"
    return f"{densities} mA/cm2{capacity}"


def _cut_offs(run: ComparedRun) -> str | None:
    return cut_offs_text(run) or None


def _cycles(run: ComparedRun) -> str | None:
    value = run.numbers["plated_capacity_mah_cm2"].value
    if not isinstance(value, list):
        return None
    left_out = sorted(run.left_out & set(range(1, len(value) + 1)))
    told = f"{len(value)} cycles"
    if left_out:
        return f"{told}, {len(left_out)} of them left out of means"
    return f"{told}, none of them declared formation"


def _metric(name: str, unit: str = "") -> FromRun:
    def told(run: ComparedRun) -> str | None:
        metric = run.numbers.get(name)
        if metric is None or not isinstance(metric.value, float):
            return None
        error = metric.uncertainty if isinstance(metric.uncertainty, float) else None
        return f"{number_text(metric.value, error)} {unit or metric.unit}"

    return told


def _spectra(run: ComparedRun) -> str | None:
    value = run.numbers["interfacial_resistance_ohm"].value
    if not isinstance(value, list):
        return None
    return f"{sum(one is not None for one in value)} of {len(value)} spectra fitted"


def _frames(run: ComparedRun) -> str | None:
    count = run.rows.get("camera", 0)
    scale = ((run.start.get("calibration") or {}).get("camera") or {}).get("micrometre_per_pixel")
    if not count:
        return None
    return f"{count} frames, one region, " + (
        f"{scale:g} um per pixel" if scale else "scale not recorded"
    )


def _instruments(run: ComparedRun) -> str | None:
    told = []
    for name, one in ((run.start.get("bench") or {}).get("instruments") or {}).items():
        identity = (one or {}).get("identity") or {}
        serial = identity.get("serial_number") or identity.get("board_serial_number") or "?"
        told.append(f"{name}: {identity.get('model', '?')} no. {serial}")
    return "; ".join(told) or None


def _statistics(name: str) -> FromGroup:
    def told(group: Group, comparison: Comparison) -> str | None:
        summary = comparison.summaries.get(name, {}).get(group.name)
        return None if summary is None or not summary.count else summary_text(summary)

    return told


def summary_text(summary: Summary) -> str:
    """Return mean and standard deviation over cells, and how many cells, as text."""
    if summary.mean is None:
        return "-"
    cells = f"n = {summary.count}"
    if summary.sd is None:
        return f"{summary.mean:.4g} ({cells})"
    if summary.sd == 0:
        return f"{summary.mean:.4g}±0 ({cells})"
    return f"{number_text(summary.mean, summary.sd)} ({cells})"


def _replicates(group: Group, comparison: Comparison) -> str | None:
    return f"{len(group.cells)} cells" if len(group.cells) > 1 else None


def _shorts(group: Group, comparison: Comparison) -> str | None:
    told = []
    for kind, name in LIVES.items():
        lives = comparison.lives[kind][group.name]
        if lives.survival is not None:
            failed = sum(fell for _, fell in lives.cells.values())
            out = f", {len(lives.left_out)} left out" if lives.left_out else ""
            told.append(f"{name}: in {failed} of {len(lives.cells)} cells{out}")
    return "; ".join(told) or None


CHECKLIST: tuple[Item, ...] = (
    Item("Cell", "Metal electrode or collector: material, coating, thickness", "MU",
         lambda run: _electrode(run.cell.electrode)),
    Item("Cell", "Other electrode: material, thickness", "U",
         lambda run: _electrode(run.cell.other_electrode)),
    Item("Cell", "Geometric area", "U", lambda run: f"{run.cell.area_cm2:g} cm2"),
    Item("Cell", "Metal that is there to be cycled", "U", _inventory),
    Item("Cell", "Electrolyte: salt, concentration, solvent, additives", "MU",
         lambda run: run.cell.electrolyte.composition),
    Item("Cell", "Amount of electrolyte, per area and per capacity (lean?)", "J",
         _electrolyte_amount),
    Item("Cell", "Separator", "U", lambda run: run.cell.separator),
    Item("Cell", "Gas above the electrolyte, oxygen", "U", _gas),
    Item("Cell", "Stack pressure", "U",
         lambda run: None if run.cell.pressure_kpa is None else f"{run.cell.pressure_kpa:g} kPa"),
    Item("Cell", "When it was assembled", "U",
         lambda run: None if run.cell.assembled_at is None else str(run.cell.assembled_at)),
    Item("Cell", "What potentials are measured against", "U",
         lambda run: run.cell.reference_electrode or "the other electrode (two-electrode cell)"),
    Item("Protocol", "Temperature", "M", _temperature),
    Item("Protocol", "Current densities and areal capacity", "JM", _cycling),
    Item("Protocol", "Upper potential of the strip", "M", _cut_offs),
    Item("Protocol", "Depth of discharge", "U", _metric("depth_of_discharge_pct")),
    Item("Protocol", "Number of cycles, formation", "U", _cycles),
    Item("Protocol", "Replicate cells", "U", None, _replicates),
    Item("Results", "Coulombic efficiency: mean and scatter over cells, %", "JM", None,
         _statistics("ce_mean_without_first_pct")),
    Item("Results", "Coulombic efficiency with a reservoir, %", "JM", None,
         _statistics("reservoir_ce_pct")),
    Item("Results", "Initial coulombic efficiency, %", "U", None, _statistics("initial_ce_pct")),
    Item("Results", "Nucleation overpotential of the cell, mV", "U", None,
         _statistics("cell_eta_n_mv")),
    Item("Results", "Impedance, before and after", "U", _spectra),
    Item("Results", "Soft and hard shorts looked for, lives with censoring", "J", None, _shorts),
    Item("Results", "Hydrogen quantified", "J", _metric("hydrogen_total_umol")),
    Item("Results", "Deposit seen in situ", "J", _frames),
    Item("Results", "Cumulative plated charge, one electrode", "U",
         _metric("cumulative_plated_mah_cm2")),
    Item("Results", "Full cell: retention", "J", _metric("capacity_retention_pct")),
    Item("Results", "Charge carrier of the cathode shown", "J"),
    Item("Results", "Pouch cell", "J"),
    Item("Data", "Instruments and serial numbers", "U", _instruments),
    Item("Data", "Sign convention", "U", lambda run: run.start.get("sign_convention")),
    Item("Data", "Uncertainty of the current's offset and gain", "U",
         lambda run: "declared" if (run.start.get("calibration") or {}).get("potentiostat")
         else None),
    Item("Data", "Software", "U", lambda run: _software(run)),
    Item("Data", "Runs, for the archive", "U", None,
         lambda group, comparison: ", ".join(uid for run in group.runs for uid in run.chain)),
)  # fmt: skip


def _software(run: ComparedRun) -> str | None:
    version = run.start.get("operando_version")
    return version and f"recorded with operando {version}, analysis version {ANALYSIS_VERSION}"


def missing_count(items: Sequence[CheckedItem]) -> int:
    """Return how many items no group's records tell anything of."""
    return sum(all(text is None for text in one.told.values()) for one in items)
