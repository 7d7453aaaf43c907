"""What the currents of a record met: the resistance of each half-cycle, and a sudden fall of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.potentiostat.contract import DRIVEN, PLATE, STRIP
from operando.resume._program import Program, all_rows
from operando.resume._record import Experiment
from techniques import Cell
from techniques.reference import metal_vs_reference_v

# Without a spectrum to compare with: of the resistance that the last current met.
DRIVEN_SHARE = 0.2
# A current that from one part of the record to the next meets less than DRIVEN_SHARE is judged by
# what it met before. Overpotentials grow and fall, but not so suddenly. A part has so many rows at
# least; the last half-cycle has several, since it may have changed in it.
_ROWS_OF_PART, _PARTS = 5, 8
# The current of a step in which it is set is the same within this.
_SAME_CURRENT = 0.02
# So far beyond the potential of the metal a substrate has none on it yet.
_BARE_V = 0.05


def driven_resistances_ohm(
    experiment: Experiment, program: Program | None, ocv_v: float
) -> list[tuple[float, float]]:
    """Return the resistance and the current of the half-cycles of the record, newest first.

    The resistance, ohm, is the overpotential over the current, the median over the rows. The first
    is the last half-cycle as a whole; its parts follow, then the half-cycles before it. Those only
    if both electrodes are of one metal: others have another potential at another state of charge.
    A half-cycle at a set potential is passed over: its current may have fallen to nothing while
    its potential was held. Currents are without sign, A.
    """
    rest_v = [ocv_v]
    one_metal = of_one_metal(experiment.cell)
    metal_v = metal_v_of(experiment.cell)
    if one_metal and metal_v is not None:
        # Where a substrate is bare at rest, it was not while metal was plated and stripped.
        rest_v.append(metal_v)
    found: list[tuple[float, float]] = []
    for rows in _newest_first(experiment, program):
        driven = np.isin(rows["role"], (PLATE, STRIP)) & (np.abs(rows["current"]) > 0)
        driven &= ~_charges_the_substrate(rows, experiment.cell)
        number = np.flatnonzero(driven)
        begins = np.flatnonzero(np.diff(rows["step"][number])) + 1
        for half_cycle in np.split(number, begins)[::-1] if len(number) else ():
            current_a = np.abs(rows["current"][half_cycle])
            potential_v = rows["potential"][half_cycle]
            if current_a.max() > (1 + _SAME_CURRENT) * current_a.min():
                continue
            last = not found
            ohm = np.min([np.abs(potential_v - rest) for rest in rest_v], axis=0) / current_a
            if last:
                found.append((float(np.median(ohm)), float(np.median(current_a))))
                if not one_metal:
                    return found
                parts = np.array_split(ohm, max(1, min(_PARTS, len(ohm) // _ROWS_OF_PART)))[::-1]
                met = [float(np.median(part)) for part in parts]
            elif len(ohm) >= _ROWS_OF_PART:
                # The end of a stripping goes up to its limit; its first half does not.
                met = [float(min(np.median(ohm), np.median(ohm[: (len(ohm) + 1) // 2])))]
            else:
                met = []
            found += [(one, float(np.median(current_a))) for one in met]
    return found


def only_charged_the_substrate(experiment: Experiment, program: Program | None) -> bool:
    """Return whether all current so far went into the double layer of a bare substrate."""
    charged = False
    for rows in _newest_first(experiment, program):
        driven = np.isin(rows["role"], DRIVEN)
        charging = _charges_the_substrate(rows, experiment.cell)
        if np.any(driven & ~charging):
            return False
        charged = charged or bool(charging.any())
    return charged


def _charges_the_substrate(rows: Mapping[str, Any], cell: Cell) -> NDArray[np.bool_]:
    """Return of each row whether it is of a plating that has not come to the metal's potential.

    Before anything is plated a current charges the double layer of the substrate, and E/i tells
    no resistance: the potential is still beyond that of the metal, against the current's sign.
    """
    metal_v = metal_v_of(cell)
    if metal_v is None or cell.symmetric or not of_one_metal(cell):
        return np.zeros(len(rows["role"]), dtype=np.bool_)
    beyond_v = (rows["potential"] - metal_v) * -np.sign(rows["current"])
    return np.asarray((rows["role"] == PLATE) & (beyond_v > _BARE_V), dtype=np.bool_)


def before_a_drop_ohm(met: Sequence[tuple[float, float]]) -> float | None:
    """Return the resistance that the last current met, ohm; ``None`` if there was none.

    If it had fallen suddenly, to less than ``DRIVEN_SHARE`` from one part of the record to the
    next, and had not risen again: what it was before. Another current is reckoned with for the
    least that the last one had to meet there: an overpotential grows with the current, its share
    of the current falls.

    Args:
        met: Of `driven_resistances_ohm`.
    """
    if not met:
        return None
    last_ohm, last_a = met[0]
    parts = met[1:] or met
    most = parts[0][0]
    for ohm, current_a in parts[1:]:
        least = ohm * current_a / max(current_a, last_a)
        if most < DRIVEN_SHARE * least:
            return max(least, last_ohm)
        most = max(most, least)
    return last_ohm


def _newest_first(experiment: Experiment, program: Program | None) -> Iterator[Mapping[str, Any]]:
    if program is not None:
        yield program.rows.samples
    for run in reversed(experiment.runs):
        yield all_rows(run).samples


def metal_v_of(cell: Cell) -> float | None:
    """Return the potential at which an electrode covered with metal rests, V; None: not known."""
    if cell.reference_electrode is None:
        return 0.0
    told = metal_vs_reference_v(cell)
    return None if isinstance(told, str) else told


def of_one_metal(cell: Cell) -> bool:
    """Return whether both electrodes are declared to carry the same metal."""
    other = cell.counter_electrode if cell.metal_electrode == "WE" else cell.working_electrode
    return cell.symmetric or other.metal == cell.metal
