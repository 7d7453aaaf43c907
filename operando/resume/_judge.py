"""Who judges the rules of an experiment that goes on: it has seen the rows before."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from instruments.potentiostat import ImpedancePoint, Sample
from operando.analysis.live_verdicts import Verdicts
from operando.resume._program import RowWithTime, all_rows, looked, program_of
from operando.runs import Floats, Run, join
from techniques import Cell
from techniques.default_rules import OVERRUN_ENDS, default_rules

logger = logging.getLogger(__name__)

_LEADER, _IMPEDANCE = "potentiostat", "impedance"
# Columns in the order of the fields of a row.
_SAMPLE = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
_POINT = ("t", "spectrum", "cycle", "half_cycle", "step", "frequency", "z_real", "z_imag", "flags")


def judges_going_on(
    make: Callable[[Mapping[str, Any]], Any],
    runs: Sequence[Run],
    fresh: Sequence[RowWithTime],
) -> Callable[[Mapping[str, Any]], Any]:
    """Return what makes the judge of the run that goes on with an experiment.

    It has judged all rows of the experiment by then: what a half-cycle is compared with, and what
    there is to strip, are those of the whole, as afterwards in the report. What it says of these
    rows is dropped. A judge that replaces one that failed begins from nothing.

    Args:
        make: Makes a judge from a start document.
        runs: All runs of the experiment; the first one's start document is the experiment's.
        fresh: Rows that only the instrument had.
    """
    seen: Any = None
    whole = join(runs)
    if runs[0].start.get("rules") or runs[0].start.get("guards") or whole.amendments:
        try:
            before = make(runs[0].start)
            if isinstance(before, Verdicts):
                before.add({"half_cycle": whole.skipped}, "skipped")
                for one in whole.asked[1:]:
                    told = {
                        "half_cycle": [one.first_half_cycle],
                        "technique": [one.technique],
                        "limits": [one.limits],
                        "rules": [one.rules],
                    }
                    before.add(told, "amended")
                for rows, stream in _pages(runs, fresh):
                    before.add(rows, stream)
                seen = before
        except Exception:
            # It must not keep an experiment from going on.
            logger.exception("the rows before could not be judged: the judge begins anew")

    def judge_of(start: Mapping[str, Any]) -> Any:
        resumed = start.get("resume") or {}
        judge = make(start)
        # A judge that replaces one that failed is told that nothing is known.
        known = resumed.get("plated_mah_cm2") is not None
        if known and isinstance(seen, Verdicts) and isinstance(judge, Verdicts):
            judge.go_on_from(seen)
        return judge

    return judge_of


def _pages(
    runs: Sequence[Run], fresh: Sequence[RowWithTime]
) -> Iterator[tuple[Mapping[str, Floats], str]]:
    """Yield all rows in the order of their times, each spectrum after the rows before its end."""
    rows = [row for _, row in fresh]
    recorded = [all_rows(run) for run in runs]
    samples = _in_order(
        [one.samples for one in recorded], [x for x in rows if isinstance(x, Sample)], _SAMPLE
    )
    points = _in_order(
        [one.points for one in recorded], [x for x in rows if isinstance(x, ImpedancePoint)], _POINT
    )
    begin = 0
    for spectrum in np.split(
        np.arange(len(points["t"])), np.flatnonzero(np.diff(points["spectrum"])) + 1
    ):
        if len(spectrum):
            until = int(np.searchsorted(samples["t"], points["t"][spectrum[-1]], "right"))
            yield _page(_LEADER, samples, slice(begin, until)), _LEADER
            yield _page(f"{_LEADER}_{_IMPEDANCE}", points, spectrum), _IMPEDANCE
            begin = until
    yield _page(_LEADER, samples, slice(begin, None)), _LEADER


def _in_order(
    recorded: Sequence[Mapping[str, Floats]], fresh: Sequence[Any], names: Sequence[str]
) -> dict[str, Floats]:
    """Return rows as columns by time, without those of looks at the cell."""
    late = np.array([row[: len(names)] for row in fresh], dtype=np.float64)
    tables = [*recorded, dict(zip(names, late.reshape(-1, len(names)).T, strict=True))]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in names}
    order = np.argsort(columns["t"], kind="stable")
    order = order[np.isfinite(columns["t"][order])]
    columns = {name: values[order] for name, values in columns.items()}
    own = ~looked(columns)
    return {name: values[own] for name, values in columns.items()}


def _page(prefix: str, columns: Mapping[str, Floats], rows: Any) -> dict[str, Floats]:
    return {f"{prefix}_{name}": values[rows] for name, values in columns.items()}


def without_rules(root: Run) -> str:
    """Return what must be said of an experiment whose record tells no rules; empty: nothing.

    It was run without a judge, or before there were rules by default.
    """
    if "rules" in root.start:
        return ""
    technique, _ = program_of(root)
    full_cell = Cell.model_validate(root.start["sample"]).full_cell
    names = [
        repr(rule.name)
        for rule in default_rules(technique)
        if not (full_cell and rule == OVERRUN_ENDS)
    ]
    if not names:
        return ""
    return (
        f"Its record tells no rules, and it goes on without any: {' and '.join(names)}, which a "
        "new run has by default, do nothing here."
    )
