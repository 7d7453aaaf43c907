"""By what runs were judged: where that differs, their numbers are not those of cells alone."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from operando.analysis.accuracy import potential_offset_v
from operando.analysis.endings import has_strips, strip_cut_offs_v
from operando.analysis.failure import criteria_of
from operando.analysis.hydrogen import PeakWindow
from operando.analysis.inventory import given_up_beyond, told_of
from operando.analysis.metrics import declared_tafel_window_v
from operando.comparison._cells import ComparedRun
from operando.registry import METRICS
from operando.runs import Asked, told_of_each
from techniques import Cell

# Limits of detection scatter with the noise: told where one is more than so many times another.
LOD_APART = 2.0
_LODS = tuple(name for name in METRICS if name.endswith(("_decision_limit", "_lod_ppm")))


def judged_differently(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """Return in which thresholds, windows and limits of detection runs differ, and which runs.

    Thresholds are those of the failure rules (``failure_criteria``) with the potential's offset;
    windows the potentials at which a cell is given up, the upper potentials of strips, and where
    Tafel lines and hydrogen peaks were looked for.
    """
    criteria = [_criteria(run) for run in runs]
    names = dict.fromkeys(name for told in criteria for name in told)
    found = [(f"failure_criteria.{name}", [told.get(name) for told in criteria]) for name in names]
    found += [(what, [tell(run) for run in runs]) for what, tell in _WINDOWS.items()]
    notes = [
        f"runs were judged by different {what}: {_who(runs, values)}"
        for what, values in found
        if len({value for value in values if value is not None}) > 1
    ]
    return (*notes, *_detection(runs))


def _criteria(run: ComparedRun) -> dict[str, str]:
    """Return the thresholds of the rules for a run that was cycled; none for another."""
    if not run.current_densities_ma_cm2:
        return {}
    try:
        told = criteria_of(run.start).model_dump()
    except ValueError:
        return {}  # it is judged by nothing, and each of its metrics says so
    offset_v = potential_offset_v(run.start.get("calibration") or {})
    told |= {f"drops.{name}": value for name, value in told.pop("drops").items()}
    # By default that is the offset, which is told by itself.
    told["drops.least_v"] = told["drops.least_v"] or offset_v
    told["potential_offset_uncertainty_v"] = offset_v
    return {name: f"{value:g}" for name, value in told.items()}


def _given_up(run: ComparedRun) -> str | None:
    if not run.current_densities_ma_cm2:
        return None
    return told_of_each(run.asked, lambda one: _told_window(one, run.cell))


def _told_window(asked: Asked, cell: Cell) -> str:
    window = given_up_beyond(told_of(asked), cell)
    low, high = (f"{v:g} V" if math.isfinite(v) else "none" for v in (window.low_v, window.high_v))
    return f"{low} to {high}"


def cut_offs_text(run: ComparedRun) -> str:
    """Return the potentials at which strips of a run's program end, V; empty if at none."""

    def told(one: Asked) -> str:
        found = strip_cut_offs_v(one.technique, one.first_half_cycle, one.last_half_cycle)
        return ", ".join(f"{value:g} V" for value in sorted(found))

    asked = run.asked
    several = [
        one
        for one in asked
        if one.has_half_cycles
        and has_strips(one.technique, one.first_half_cycle, one.last_half_cycle)
    ]
    return told_of_each(several or asked, told)


def _tafel_window(run: ComparedRun) -> str | None:
    if run.numbers["j0_apparent_ma_cm2"].value is None:
        return None

    def told(one: Asked) -> str:
        low, high = declared_tafel_window_v(one.written)
        return f"{1e3 * low:g} to {1e3 * high:g} mV"

    return told_of_each(run.asked, told)


def _hydrogen_window(run: ComparedRun) -> str | None:
    if run.numbers["hydrogen_lod_ppm"].value is None:
        return None
    told: Any = (run.start.get("calibration") or {}).get("gas_chromatograph") or {}
    begin, end = (told.get("hydrogen_window_s") or {}).get("peak") or PeakWindow().peak
    return f"{begin:g} to {end:g} s"


_WINDOWS: Mapping[str, Callable[[ComparedRun], str | None]] = {
    "potentials at which a cell is given up": _given_up,
    "potentials at which strips end": lambda run: cut_offs_text(run) or None,
    "windows of Tafel lines": _tafel_window,
    "windows of the hydrogen peak": _hydrogen_window,
}


def _detection(runs: Sequence[ComparedRun]) -> Iterator[str]:
    for name in _LODS:
        limits = [_median(run.numbers[name].value) for run in runs]
        known = [limit for limit in limits if limit is not None and limit > 0]
        if len(known) > 1 and max(known) > LOD_APART * min(known):
            unit = METRICS[name].unit
            told = [None if one is None else f"{one:.2g} {unit}" for one in limits]
            yield (
                f"runs have limits of detection that are more than {LOD_APART:g} times apart, "
                f"{name}: {_who(runs, told)}"
            )


def _median(value: Any) -> float | None:
    known = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
    return statistics.median(known) if known else None


def _who(runs: Sequence[ComparedRun], values: Sequence[str | None]) -> str:
    by_value: dict[str, list[str]] = {}
    for run, value in zip(runs, values, strict=True):
        if value is not None:
            by_value.setdefault(value, []).append(run.uid[:8])
    return ", ".join(f"{value} ({', '.join(uids)})" for value, uids in by_value.items())
