"""Calibrations as a start document tells them: the values that held when the run was made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """One value that a calibration found.

    Attributes:
        value: In the unit of its quantity.
        uncertainty: Standard uncertainty in the same unit; None if it was not told.
        at: What it belongs to (a range, a temperature, a line); None if it belongs to nothing.
        date: When it was found, as written.
        by: By whom.
    """

    value: float
    uncertainty: float | None
    at: float | None
    date: str
    by: str

    @property
    def u(self) -> float:
        """Return the standard uncertainty; 0 if it was not told, which `told` says."""
        return self.uncertainty or 0.0

    @property
    def told(self) -> str:
        """Return where it is from, for people."""
        without = "" if self.uncertainty is not None else ", without an uncertainty"
        return f"calibration of {self.date} by {self.by}{without}"


def found(calibration: Mapping[str, Any], instrument: str, of: str) -> tuple[Found, ...]:
    """Return what the calibrations of an instrument tell of a quantity, by ``at`` ascending.

    Args:
        calibration: That of a start document.
        instrument: Its name there.
        of: The quantity.
    """
    newest: dict[float | None, Found] = {}
    records = (calibration.get(instrument) or {}).get("records")
    for record in records if isinstance(records, list | tuple) else ():
        date, by = str(record.get("date")), str(record.get("by"))
        for one in record.get("values") or ():
            if one.get("of") != of:
                continue
            at = None if one.get("at") is None else float(one["at"])
            u = None if one.get("uncertainty") is None else float(one["uncertainty"])
            # Dates are ISO: their order is that of their texts.
            if at not in newest or date > newest[at].date:
                newest[at] = Found(float(one["value"]), u, at, date, by)
    return tuple(
        newest[at] for at in sorted(newest, key=lambda at: -math.inf if at is None else at)
    )


def of_range(values: Sequence[Found], at: float) -> Found | None:
    """Return the value of a range (or what else is told by its nominal value); None: not told."""
    return next(
        (x for x in values if x.at is not None and math.isclose(x.at, at, rel_tol=1e-6)), None
    )


def between(values: Sequence[Found], at: float) -> Found | None:
    """Return the value in proportion between those beside ``at``; beyond them that of the nearest.

    Its uncertainty is the larger one of the two: they share what made them. None without values.
    """
    known = [x for x in values if x.at is not None]
    if not known:
        return None
    above = next((x for x in known if x.at is not None and x.at >= at), known[-1])
    below = next((x for x in reversed(known) if x.at is not None and x.at <= at), known[0])
    assert above.at is not None
    assert below.at is not None
    if above.at == below.at:
        return above
    share = (at - below.at) / (above.at - below.at)
    value = (1 - share) * below.value + share * above.value
    older = min(below, above, key=lambda x: x.date)
    errors = [x.uncertainty for x in (below, above) if x.uncertainty is not None]
    return Found(value, max(errors) if len(errors) == 2 else None, at, older.date, older.by)


def thermometer(calibration: Mapping[str, Any], read_k: float) -> tuple[float, float, str | None]:
    """Return a temperature of the thermostat put right, K, its uncertainty, and what was done.

    Without a calibration it is what was read, with an uncertainty of 0 and nothing to be said.
    """
    offset = between(found(calibration, "thermostat", "temperature_offset"), read_k)
    if offset is None:
        return read_k, 0.0, None
    told = f"{offset.value:+.3g} K taken off the temperature ({offset.told})"
    return read_k - offset.value, offset.u, told
