"""The reference electrode of a run: its offset before and after, and its drift."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operando.analysis._evaluation import Evaluation, Metric, metric, undefined
from operando.analysis.accuracy import PotentialAccuracy
from operando.analysis.segments import REST
from operando.registry._reference import REFERENCE
from operando.runs import Floats
from techniques import known_potential
from techniques.reference import middle

_NAMES = tuple(one.name for one in REFERENCE)
_OFFSETS = ("reference_offset_before_mv", "reference_offset_after_mv", "reference_drift_mv")
_CELL_POTENTIAL = "potentiostat_potential_cell"


@dataclass(frozen=True)
class _Look:
    """What was measured in one look at open circuit: E_WE against the reference, E_WE - E_CE, V."""

    working_v: Floats
    across_v: Floats
    until_s: float

    def of(self, electrode: str) -> tuple[float, float]:
        """Return the median of one electrode's potential and its scatter, V."""
        values = self.working_v - (self.across_v if electrode == "CE" else 0.0)
        return middle([float(value) for value in values])

    def read_v(self, electrode: str) -> tuple[float, ...]:
        """Return the readings, V, of which the potential of an electrode is made."""
        readings = (self.working_v, self.across_v)[: 2 if electrode == "CE" else 1]
        return tuple(float(np.median(values)) for values in readings)


def reference_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return potentials of both electrodes against the reference, and by them its offset."""
    cell = found.cell
    if cell is None:
        return undefined(_NAMES, found.no_halves)
    if cell.reference_electrode is None:
        return undefined(_NAMES, "a two-electrode cell: it has no reference electrode")
    before, after = _looks(found, cell.reference_check.look_s)
    accuracy, told = PotentialAccuracy.from_calibration(found.calibration), dict[str, Metric]()
    offset_v, gain = accuracy.offset_v, accuracy.gain

    def u_mv(look: _Look, electrode: str, scatter_v: float) -> float:
        # The counter electrode's potential is the difference of two readings.
        each = [math.hypot(offset_v, gain * value) for value in look.read_v(electrode)]
        return 1e3 * math.hypot(scatter_v, *each)

    for when, look in (("before", before), ("after", after)):
        for electrode, word in (("CE", "counter"), ("WE", "working")):
            name = f"{word}_potential_{when}_mv"
            if isinstance(look, str):
                told[name] = metric(name, None, reason=look)
                continue
            value, scatter = look.of(electrode)
            u = u_mv(look, electrode, scatter)
            told[name] = metric(name, 1e3 * value, u, _basis(look))
    known = known_potential(cell)
    if isinstance(known, str):
        return told | undefined(_OFFSETS, known)
    word = "counter" if known.electrode == "CE" else "working"
    by = f"by the {word} electrode, {known.expected_v:g} V against {cell.reference_electrode}"
    for name, look in zip(_OFFSETS, (before, after), strict=False):
        if isinstance(look, str):
            told[name] = metric(name, None, reason=look)
            continue
        value, scatter = look.of(known.electrode)
        u = u_mv(look, known.electrode, scatter)
        told[name] = metric(name, 1e3 * (value - known.expected_v), u, f"{by}; {_basis(look)}")
    name = _OFFSETS[2]
    if isinstance(before, str) or isinstance(after, str):
        reason = next(look for look in (before, after) if isinstance(look, str))
        return told | undefined((name,), reason)
    (first, scatter), (last, more) = before.of(known.electrode), after.of(known.electrode)
    # What the instrument adds to every reading is in both and cancels.
    readings = zip(before.read_v(known.electrode), after.read_v(known.electrode), strict=True)
    u = 1e3 * math.hypot(scatter, more, *(gain * (b - a) for a, b in readings))
    told[name] = metric(name, 1e3 * (last - first), u, by)
    return told


def _basis(look: _Look) -> str:
    rows = "1 row" if len(look.working_v) == 1 else f"{len(look.working_v)} rows"
    return f"{rows} until {look.until_s:.0f} s"


def _looks(found: Evaluation, look_s: float) -> tuple[_Look | str, _Look | str]:
    """Return the looks before and after what is no open circuit; where there is none, why.

    Where all is open circuit they are at its beginning and its end.
    """
    stream = found.run.streams.get("potentiostat")
    if stream is None or not len(stream):
        return ("the run has no row of the potentiostat",) * 2
    columns = stream.columns
    if _CELL_POTENTIAL not in columns:
        return ("E_WE - E_CE was not recorded",) * 2
    t_s, role = columns["potentiostat_t"], columns["potentiostat_role"]
    working, across = columns["potentiostat_potential"], columns[_CELL_POTENTIAL]
    good = np.isfinite(t_s) & np.isfinite(working) & np.isfinite(across)
    rest, other = (role == REST) & good, np.flatnonzero(role != REST)

    def look(rows: NDArray[np.intp], *, first: bool = False) -> _Look:
        near = t_s[rows] <= t_s[rows[0]] + look_s if first else t_s[rows] >= t_s[rows[-1]] - look_s
        chosen = rows[near]
        return _Look(working[chosen], across[chosen], float(t_s[chosen[-1]]))

    stop = found.run.stop
    if not len(other):
        rows = np.flatnonzero(rest)
        if not len(rows):
            return ("no row has both potentials",) * 2
        before = look(rows, first=True)
        if stop is None:
            return before, "the run has not ended"
        if t_s[rows[-1]] - t_s[rows[0]] < 2 * look_s:
            return before, "the run is open circuit, too short for two looks at it"
        return before, look(rows)
    rows = np.flatnonzero(rest[: other[0]])
    told: _Look | str = "the run does not begin with open circuit"
    if len(rows):
        told = look(rows)
    rows = other[-1] + 1 + np.flatnonzero(rest[other[-1] + 1 :])
    if stop is None:
        return told, "the run has not ended"
    if not len(rows):
        return told, "the run does not end with open circuit: it was ended before"
    return told, look(rows)
