"""The cell at open circuit: may what is told of it show this potential; and dummy cells."""

import math
import re
from collections.abc import Iterator, Sequence

from instruments.errors import InstrumentError
from instruments.potentiostat.contract import Capabilities, Potentiostat, Sample
from operando.checking._report import Item, failed
from techniques import (
    Assignment,
    Cell,
    GalvanostaticStep,
    Limit,
    OpenCircuit,
    PotentiostaticStep,
    Recording,
    SafetyLimits,
    Technique,
)
from techniques.reference import known_potential

OPEN_CIRCUIT_S = 2.0
_RECORD = Recording(dt_s=0.5, edge_dt_s=0.5, edge_for_s=0)
_OVERLOAD = 2

# Metal against the same metal: a difference of surfaces and concentrations.
SAME_METAL_V = 0.1
# Below this a potential has no polarity that could be told.
POLARITY_V = 0.05
# What a bare substrate shows against the metal at most, V: zinc up to platinum in oxygen, sodium up
# to a passive metal in ether. Below the lower end it is covered with the metal, or shorted to it.
SUBSTRATE_V = {"Zn": (POLARITY_V, 2.2), "Na": (POLARITY_V, 4.0)}
# What a cathode shows against the metal, V: discharged at the least, charged at the most.
CATHODE_V = {"Zn": (0.3, 2.3), "Na": (1.0, 4.5)}
# A reading that wanders more than this in two seconds is of a lead that hangs in the air.
STEADY_V = 0.05

# A dummy cell: so much of a potential is put on it, for so long, and so near it has to be.
DUMMY_V, DUMMY_S, DUMMY_SHARE = 0.1, 5.0, 0.05
# At most, where the instrument cannot measure so small a current.
DUMMY_MOST_V = 1.0
# What resistors show with no current.
DUMMY_REST_V = 0.02
_OHM = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([kM]?)ohm")
_FARAD = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*[mun]?F\b")
_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6}


def look_at_cell(
    name: str, driver: Potentiostat, cell: Cell | None, limits: SafetyLimits
) -> Iterator[Item]:
    """Yield what the open circuit shows; a current flows through dummy cells only.

    Blocks for ``OPEN_CIRCUIT_S`` of cell time, with a dummy cell ``DUMMY_S`` longer. The cell is
    open afterwards.

    Args:
        name: Of the potentiostat.
        driver: Connected, and running nothing.
        cell: What hangs on it; ``None``: nobody told, the potential is told and not judged.
        limits: What bench and cell allow.
    """
    what = f"{name}: open circuit"
    if "open_circuit" not in driver.capabilities().techniques:
        yield Item(what, "not checked", "this instrument cannot measure it")
        return
    try:
        rows = _run(driver, cell, OpenCircuit(duration_s=OPEN_CIRCUIT_S, record=_RECORD))
    except InstrumentError as error:
        yield failed(what, error, "see that the leads are on the cell, and what the message asks")
        return
    usable, doubts = measured(what, rows)
    yield from doubts
    if not usable:
        return
    found_v = _median([row.potential_v for row in usable])
    cell_v = _median([row.cell_potential_v for row in usable])
    spread_v = max(row.potential_v for row in usable) - min(row.potential_v for row in usable)
    if spread_v > STEADY_V:
        yield Item(
            f"{name}: open circuit steady",
            "warning",
            f"it moved by {spread_v * 1e3:.3g} mV in {OPEN_CIRCUIT_S:g} s",
            "see that every lead is on the cell, and that it rested",
        )
    if cell is None:
        yield Item(what, "not checked", f"{found_v:.4g} V; which cell hangs on it was not told")
    elif cell.dummy is not None:
        yield from _dummy(name, driver, cell, found_v, limits)
    else:
        yield judged(what, cell, found_v, cell_v)


def measured(what: str, rows: Sequence[Sample]) -> tuple[list[Sample], list[Item]]:
    """Return the rows that tell a potential, and what is to be said of the others.

    Rows in overload tell none; the first may be of a range that was searched.
    """
    usable = [row for row in rows if math.isfinite(row.potential_v) and not row.flags & _OVERLOAD]
    hangs = "see that every lead is on the cell: a lead that hangs in the air reads anything"
    if not usable:
        told = "the instrument cannot measure it (overload, or no value, in every row)"
        return [], [Item(what, "failed", told, hangs)]
    overloaded = sum(bool(row.flags & _OVERLOAD) for row in rows[1:])
    if not overloaded:
        return usable, []
    told = f"overload in {overloaded} of {len(rows)} rows, which are left out"
    return usable, [Item(f"{what} measured", "warning", told, hangs)]


def judged(what: str, cell: Cell, potential_v: float, cell_potential_v: float = math.nan) -> Item:
    """Return whether ``cell`` may show this potential at open circuit.

    A symmetric cell shows nearly none, and so does one that is shorted. Of a half cell the
    substrate is the positive electrode, of a full cell the cathode: the other sign says that the
    leads are exchanged, or that the cell file names the wrong electrode. With a reference electrode
    the metal's potential against it is judged.

    Args:
        what: Name of the item.
        cell: What the cell file tells.
        potential_v: E_WE - E_CE, or against the reference where there is one, V.
        cell_potential_v: E_WE - E_CE, V, where there is a reference.
    """
    if cell.reference_electrode is not None:
        return _against_reference(what, cell, potential_v, cell_potential_v)
    told = f"{potential_v:.4f} V (E_WE - E_CE)"
    if cell.symmetric:
        if abs(potential_v) <= SAME_METAL_V:
            return Item(
                what,
                "ok",
                f"{told}: {cell.metal} on both electrodes, or a short: open circuit cannot tell "
                "which",
            )
        return Item(
            what,
            "failed",
            f"{told}; with {cell.metal} on both electrodes it should be within {SAME_METAL_V} V "
            "of 0",
            "is it the cell that the file tells of, and is every lead on it?",
        )
    metals = [cell.holds_metal(x) for x in (cell.working_electrode, cell.counter_electrode)]
    cathodes = [x.is_cathode for x in (cell.working_electrode, cell.counter_electrode)]
    if not any(metals):
        if any(cathodes):
            return Item(
                what, "not checked", f"{told}; a cathode against a bare substrate may show any"
            )
        return Item(what, "not checked", f"{told}; no electrode of it holds {cell.metal}")
    # The electrode that holds the metal is the negative one.
    mirror = -1.0 if metals[0] else 1.0
    other = cell.counter_electrode if metals[0] else cell.working_electrode
    full = other.is_cathode
    low, high = (CATHODE_V if full else SUBSTRATE_V)[cell.metal]
    against_v = mirror * potential_v
    expected = (
        f"{other.material} against {cell.metal}: {mirror * low:g} to {mirror * high:g} V expected"
    )
    if low <= against_v <= high:
        return Item(what, "ok", f"{told}: {expected}")
    if against_v < -POLARITY_V:
        return Item(
            what,
            "failed",
            f"{told}; {expected}: it has the wrong sign",
            "exchange the leads of the two electrodes, or correct working_electrode, "
            "counter_electrode and metal_electrode in the cell file",
        )
    if against_v > high:
        return Item(
            what,
            "failed",
            f"{told}; {expected}",
            "is it the cell that the file tells of, and is every lead on it?",
        )
    if full:
        return Item(
            what,
            "warning",
            f"{told}; {expected}: it is shorted, or discharged far",
            "measure its resistance before it is charged",
        )
    return Item(
        what,
        "warning",
        f"{told}; {expected}: the substrate is covered with {cell.metal}, or the cell is shorted",
        "is it a fresh cell? An impedance spectrum tells a short",
    )


def _against_reference(what: str, cell: Cell, potential_v: float, cell_v: float) -> Item:
    told = f"{potential_v:.4f} V against {cell.reference_electrode}, E_WE - E_CE {cell_v:.4f} V"
    known = known_potential(cell)
    if isinstance(known, str):
        return Item(what, "not checked", f"{told}; {known}")
    offset_v = known.offset_v(potential_v, cell_v)
    within_v = cell.reference_check.refuse_above_v
    if abs(offset_v) <= within_v:
        return Item(
            what, "ok", f"{told}: {known.electrode} is {offset_v * 1e3:.3g} mV from what it should"
        )
    return Item(
        what,
        "failed",
        f"{told}: {known.electrode} is {offset_v:.3g} V from what it should be "
        f"({known.expected_v:g} V within {within_v:g} V)",
        "see that the reference is connected, wetted and what the cell file names, and that the "
        "other two leads are not exchanged",
    )


def dummy_ohm(parts: str) -> float | None:
    """Return the resistance of a dummy cell at direct current, ohm; ``None``: it does not tell.

    Resistors and RC members one behind the other, as in ``10 ohm + (50 ohm beside 20 uF)``.
    """
    total = 0.0
    for term in parts.split("+"):
        resistors = _OHM.findall(term)
        rest = _FARAD.sub("", _OHM.sub("", term))
        if len(resistors) != 1 or re.search(r"\d", rest):
            return None
        value, prefix = resistors[0]
        total += float(value) * _PREFIX[prefix]
    return total if total > 0 else None


def _dummy(
    name: str, driver: Potentiostat, cell: Cell, rest_v: float, limits: SafetyLimits
) -> Iterator[Item]:
    assert cell.dummy is not None  # told to the type checker
    if abs(rest_v) > DUMMY_REST_V:
        yield Item(
            f"{name}: open circuit",
            "warning",
            f"{rest_v:.4g} V; resistors show none",
            "is it a dummy cell that hangs there?",
        )
    else:
        yield Item(f"{name}: open circuit", "ok", f"{rest_v * 1e3:.3g} mV: a dummy cell")
    what = f"{name}: dummy cell"
    expected = dummy_ohm(cell.dummy)
    if expected is None:
        yield Item(
            what, "not checked", f"its parts tell no resistance at direct current: {cell.dummy}"
        )
        return
    current_a = _dummy_current_a(driver.capabilities(), expected, limits)
    if current_a <= 0:
        yield Item(what, "not checked", "the limits of bench and cell leave nothing around 0 V")
        return
    try:
        found = _resistance_ohm(driver, cell, current_a, expected, rest_v, limits)
    except (InstrumentError, ValueError) as error:
        yield failed(what, error)
        return
    told = f"{found:.5g} ohm at {current_a * 1e3:.3g} mA, {expected:g} ohm by its parts"
    if abs(found / expected - 1) <= DUMMY_SHARE:
        yield Item(what, "ok", told)
    else:
        yield Item(
            what,
            "failed",
            f"{told}: more than {DUMMY_SHARE * 100:g} % apart",
            "is it this dummy cell, and are all its leads on?",
        )


def _dummy_current_a(able: Capabilities, expected_ohm: float, limits: SafetyLimits) -> float:
    """Return a low current that the instrument still measures well, A."""
    # A hundredth of the smallest range is still many steps of its converter.
    current_a = max(DUMMY_V / expected_ohm, 0.01 * able.current_ranges_a[0])
    ends = [able.potential_max_v, -able.potential_min_v, 2 * DUMMY_MOST_V]
    ends += [limits.potential_max_v] if limits.potential_max_v is not None else []
    ends += [-limits.potential_min_v] if limits.potential_min_v is not None else []
    most_a = able.current_max_a
    if limits.current_max_a is not None:
        most_a = min(most_a, limits.current_max_a)
    return min(current_a, 0.5 * most_a, 0.5 * min(ends) / expected_ohm)


def _resistance_ohm(
    driver: Potentiostat,
    cell: Cell,
    current_a: float,
    expected_ohm: float,
    rest_v: float,
    limits: SafetyLimits,
) -> float:
    until = (Limit(quantity="time_s", value=DUMMY_S),)
    step: Technique
    if driver.capabilities().galvanostatic:
        density = current_a * 1e3 / cell.area_cm2
        step = GalvanostaticStep(current_density_ma_cm2=density, until=until, record=_RECORD)
    else:
        potential_v = current_a * expected_ohm
        step = PotentiostaticStep(potential_v=potential_v, until=until, record=_RECORD)
    rows = _run(driver, cell, step, limits)
    last = rows[-1] if rows else None
    if last is None or last.current_a == 0:
        raise ValueError("no row with a current came")
    offset_v = rest_v if driver.capabilities().galvanostatic else 0.0
    return (last.potential_v - offset_v) / last.current_a


def _run(
    driver: Potentiostat,
    cell: Cell | None,
    technique: Technique,
    limits: SafetyLimits | None = None,
) -> Sequence[Sample]:
    """Run a program and return its rows; the cell is open afterwards, whatever happens."""
    assignment = Assignment(
        technique=technique,
        area_cm2=1.0 if cell is None else cell.area_cm2,
        metal_electrode="WE" if cell is None else cell.metal_electrode,
        reference=cell is not None and cell.reference_electrode is not None,
        limits=limits or SafetyLimits(),
    )
    driver.check(assignment)
    driver.start(assignment)
    try:
        return [row for row in driver.samples() if isinstance(row, Sample)]
    except BaseException:
        driver.abort()
        raise


def _median(values: Sequence[float]) -> float:
    """Return the median of the second half: the first rows are of a range that was searched."""
    late = sorted(values[len(values) // 2 :])
    return late[len(late) // 2]
