"""What must end a run whatever it is for: pressure, temperature, a lost reference, an overload.

Each looks at the rows as they come, in their order, and tells the moment once.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from operando.analysis._passed_charge import LOOK, PassedCharge
from operando.analysis._verdict import Verdict
from operando.runs import Floats
from techniques import Cell
from techniques.headspace import Headspace

GUARDS = ("headspace_pressure", "temperature_outside", "reference_noise", "overload")
_LEADER = "potentiostat"
_COLUMNS = ("t", "step_t", "step", "half_cycle", "role", "potential", "current", "flags")
_NEEDED = ("t", "potential", "current")
_OVERLOAD = 2
# A sensor that told no pressure for so many of its intervals, and so long, tells none any more.
_MISSED, _LEAST_S = 3.0, 30.0
# Overloaded rows that make an overload, at least: one may be of an edge.
_FEWEST_OVERLOADED = 3
# Of white noise: from the median of the second differences' magnitude to the standard deviation.
_OF_SECOND_DIFFERENCES = 1.4826 / math.sqrt(6.0)
# Readings beyond the window of temperature, one after the other, that end a run: one may be odd.
_BEYOND_IN_A_ROW = 2


def patience_s(start: Mapping[str, Any]) -> float:
    """Return for how long a sensor may tell nothing before it is taken to tell nothing more, s."""
    every_s = (start.get("every") or {}).get("reading_s")
    return max(_LEAST_S, _MISSED * float(every_s or 0.0))


class Guards:
    """All of them, for one run.

    Args:
        start: The run's start document: ``sample``, ``resume``, ``every``.
        cell: The sample.
    """

    def __init__(self, start: Mapping[str, Any], cell: Cell) -> None:
        self._last_s, self._half_cycle = 0.0, 0
        self.why: dict[str, str] = {}
        self._pressure: _PressureGuard | None = None
        headspace = Headspace.of(cell)
        if headspace is None:
            self.why["headspace_pressure"] = "the cell file declares no closed headspace of water"
        else:
            self._pressure = _PressureGuard(headspace, cell, start)
        self._temperature = _TemperatureGuard(cell)
        if not self._temperature.declared:
            self.why["temperature_outside"] = "the cell file declares no temperatures"
        self._noise: _NoiseGuard | None = None
        if cell.reference_electrode is None:
            self.why["reference_noise"] = "a two-electrode cell: it has no reference electrode"
        else:
            check = cell.reference_check
            self._noise = _NoiseGuard(
                cell.reference_electrode, check.noise_max_v, check.noise_window_rows
            )
        self._overload = _OverloadGuard(cell.reference_check.overload_s)

    @property
    def passed_mah(self) -> tuple[float, float] | None:
        """Return by how much the metal electrode was reduced and oxidised; ``None``: not asked."""
        return None if self._pressure is None else self._pressure.passed_mah

    def go_on_from(self, passed_mah: tuple[float, float] | None) -> None:
        """Count also what passed, mAh, in the rows of the runs before, of whatever step."""
        if self._pressure is not None and passed_mah is not None:
            self._pressure.before.append(passed_mah)

    def add(self, rows: Mapping[str, Any], stream: str) -> Iterator[Verdict]:
        """Take the rows of a page and yield what must end the run; see `Verdicts.add`."""
        if stream == _LEADER:
            yield from self._leader(rows)
        elif f"{stream}_setpoint" not in rows:  # a thermostat keeps to the window itself
            yield from self._sensor(rows, stream)

    def _leader(self, rows: Mapping[str, Any]) -> Iterator[Verdict]:
        told = {name: rows.get(f"{_LEADER}_{name}") for name in _COLUMNS}
        if any(told[name] is None for name in _NEEDED):
            return
        columns = {
            name: np.asarray(values, dtype=np.float64)
            for name, values in told.items()
            if values is not None
        }
        flags = np.nan_to_num(columns.get("flags", np.zeros(len(columns["t"])))).astype(np.int64)
        kept = np.isfinite(columns["t"]) & ((flags & LOOK) == 0)
        columns = {name: values[kept] for name, values in columns.items()}
        if not len(columns["t"]):
            return
        self._last_s = float(columns["t"][-1])
        halves = columns.get("half_cycle")
        if halves is not None and np.isfinite(halves[-1]):
            self._half_cycle = int(halves[-1])
        found: list[tuple[str, float, float, str]] = []
        found += self._overload.add(columns["t"], flags[kept])
        if self._noise is not None:
            found += self._noise.add(columns)
        if self._pressure is not None:
            found += self._pressure.passed(columns)
        for kind, t_s, value, reason in found:
            yield Verdict(kind, t_s, value, reason, self._half_cycle)

    def _sensor(self, rows: Mapping[str, Any], stream: str) -> Iterator[Verdict]:
        found: list[tuple[str, float, float, str]] = []
        for quantity, take in (
            ("overpressure", None if self._pressure is None else self._pressure.sensed),
            ("temperature", self._temperature.add),
        ):
            values = rows.get(f"{stream}_{quantity}")
            if values is None or take is None:
                continue
            after_s = rows.get(f"{stream}_t_after", [math.nan] * len(values))
            for value, at_s in zip(values, after_s, strict=True):
                t_s = float(at_s) if math.isfinite(at_s) else self._last_s
                found += take(stream, t_s, float(value))
        for kind, t_s, told, reason in found:
            yield Verdict(kind, t_s, told, reason, self._half_cycle)


class _PressureGuard:
    """The overpressure by a sensor; while none tells it, the most that charge can have made.

    A sensor is silent when it told nothing for the run's patience of the leader's time. Of an
    interval between two rows a third of that counts at most: what was read during a spectrum, or
    between rows that are far apart, is told only after the row that follows.
    """

    def __init__(self, headspace: Headspace, cell: Cell, start: Mapping[str, Any]) -> None:
        self._headspace = headspace
        before = start.get("resume") or {}
        mirror = 1.0 if cell.metal_electrode == "WE" else -1.0
        self._charge = PassedCharge(mirror, goes_on=bool(before))
        self.before = _passed_before(before, cell.area_cm2)
        self._patience_s = patience_s(start)
        # One that is to be read has its patience from the first row on.
        watched = bool((start.get("headspace") or {}).get("watched_by"))
        self._silent_s = 0.0 if watched else math.inf
        self._row_s: float | None = None
        self._told = False

    @property
    def passed_mah(self) -> tuple[float, float]:
        return self._charge.plated_mah, self._charge.stripped_mah

    def sensed(
        self, who: str, t_s: float, pascals: float
    ) -> Iterator[tuple[str, float, float, str]]:
        """Take one reading of a sensor."""
        if not math.isfinite(pascals):
            return
        self._silent_s = 0.0
        limit_kpa = self._headspace.limit_kpa
        if self._told or pascals * 1e-3 <= limit_kpa:
            return
        self._told = True
        told = (
            f"{who} tells {pascals * 1e-5:.3g} bar above the atmosphere in the closed headspace, "
            f"the cell allows {limit_kpa * 1e-2:.3g} bar"
        )
        yield "headspace_pressure", t_s, pascals * 1e-3, told

    def passed(self, columns: Mapping[str, Floats]) -> Iterator[tuple[str, float, float, str]]:
        """Take rows of the leader."""
        self._charge.add(columns)
        times_s = columns["t"]
        t_s = float(times_s[-1])
        since_s = times_s[0] if self._row_s is None else self._row_s
        gaps_s = np.diff(times_s, prepend=since_s)
        self._silent_s += float(np.sum(np.clip(gaps_s, 0.0, self._patience_s / _MISSED)))
        self._row_s = t_s
        if self._told or self._silent_s <= self._patience_s:
            return
        hydrogen_mah = max(
            self._headspace.hydrogen_mah(
                plated + self._charge.plated_mah, stripped + self._charge.stripped_mah
            )
            for plated, stripped in self.before
        )
        kpa = self._headspace.overpressure_kpa(hydrogen_mah)
        if kpa <= self._headspace.limit_kpa:
            return
        self._told = True
        told = (
            f"no sensor tells the pressure of the closed headspace, and the {hydrogen_mah:.3g} mAh "
            f"that may have made hydrogen would be {kpa * 1e-2:.3g} bar above the atmosphere, the "
            f"cell allows {self._headspace.limit_kpa * 1e-2:.3g} bar"
        )
        yield "headspace_pressure", t_s, kpa, told


def _passed_before(resume: Mapping[str, Any], area_cm2: float) -> list[tuple[float, float]]:
    """Return by how much the metal electrode may have been reduced and oxidised before, mAh.

    Of the step that was interrupted it is not certain how much passed, nor is what no row shows:
    either may have gone into either direction. More of both would be less hydrogen on a bare
    electrode, so these are two cases and not one.
    """

    def told(key: str) -> float:
        return float(resume.get(key) or 0.0)

    least, most = resume.get("passed_charge_bounds_mah_cm2") or (0.0, 0.0)
    open_mah = max(float(most) - float(least), told("unrecorded_charge_mah_cm2")) * area_cm2
    plated, stripped = (told(f"{way}_mah_cm2") * area_cm2 for way in ("plated", "stripped"))
    return [(plated + open_mah, stripped), (plated, stripped + open_mah)]


class _TemperatureGuard:
    """The cell's window of temperature, by sensors that stand in the cell."""

    def __init__(self, cell: Cell) -> None:
        self._low_k = cell.temperature_min_k
        self._high_k = cell.temperature_max_k
        self._beyond: dict[str, int] = {}
        self._told = False

    @property
    def declared(self) -> bool:
        return self._low_k is not None or self._high_k is not None

    def add(self, who: str, t_s: float, kelvin: float) -> Iterator[tuple[str, float, float, str]]:
        low = -math.inf if self._low_k is None else self._low_k
        high = math.inf if self._high_k is None else self._high_k
        if self._told or not math.isfinite(kelvin):
            return
        self._beyond[who] = 0 if low <= kelvin <= high else self._beyond.get(who, 0) + 1
        if self._beyond[who] < _BEYOND_IN_A_ROW:
            return
        self._told = True
        window = " to ".join("-" if x is None else f"{x:g}" for x in (self._low_k, self._high_k))
        told = f"{who} tells {kelvin:.2f} K, the cell allows {window} K"
        yield "temperature_outside", t_s, kelvin, told


class _NoiseGuard:
    """The noise of E_WE about its course within a step, against what is expected of a reference.

    From the median of the magnitudes of second differences, which neither a slope nor a few jumps
    (an edge, a short) move: times 1.4826 / sqrt(6) it is the standard deviation of white noise.
    """

    def __init__(self, reference: str, limit_v: float, rows: int) -> None:
        self._name, self._limit_v, self._rows = reference, limit_v, rows
        self._kept = np.empty(0)
        self._where: tuple[float, ...] | None = None
        self._told = False

    def add(self, columns: Mapping[str, Floats]) -> Iterator[tuple[str, float, float, str]]:
        if self._told:
            return
        t_s, potential = columns["t"], columns["potential"]
        places = [columns[x] for x in ("step", "half_cycle", "role") if x in columns]
        changes = np.zeros(len(t_s), dtype=bool)
        for place in places:
            changes[1:] |= np.diff(place) != 0
        bounds = [0, *np.flatnonzero(changes).tolist(), len(t_s)]
        for first, stop in pairwise(bounds):
            where = tuple(float(place[first]) for place in places)
            if where != self._where:
                self._kept, self._where = np.empty(0), where
            found = self._noisy(potential[first:stop])
            if found is not None:
                row, noise_v = found
                self._told = True
                told = (
                    f"E_WE against the reference ({self._name}) is noise of {noise_v * 1e3:.3g} mV "
                    f"(root mean square of {self._rows} rows), {self._limit_v * 1e3:.3g} mV are "
                    "allowed: the reference floats, is dry or behind a bubble, or its lead is off"
                )
                yield "reference_noise", float(t_s[first + row]), noise_v, told
                return

    def _noisy(self, potential_v: Floats) -> tuple[int, float] | None:
        """Return the row with which the noise exceeds its limit, and the noise, V."""
        values = np.concatenate((self._kept, potential_v))
        values, kept = values[np.isfinite(values)], len(self._kept)
        self._kept = values[-(self._rows - 1) :]
        if len(values) < self._rows:
            return None
        second = np.abs(np.diff(values, n=2))
        width = self._rows - 2
        if np.count_nonzero(second * _OF_SECOND_DIFFERENCES > self._limit_v) < width / 2:
            return None  # no window's median can be above
        noise = np.median(sliding_window_view(second, width), axis=1) * _OF_SECOND_DIFFERENCES
        above = np.flatnonzero(noise > self._limit_v)
        if not len(above):
            return None
        row = int(above[0]) + self._rows - 1 - kept
        return min(max(row, 0), len(potential_v) - 1), float(noise[above[0]])


class _OverloadGuard:
    """Rows that the instrument marks as overloaded, one after the other."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._since_s: float | None = None
        self._rows = 0
        self._told = False

    def add(self, t_s: Floats, flags: Any) -> Iterator[tuple[str, float, float, str]]:
        overloaded = (flags & _OVERLOAD) != 0
        if self._told or not (overloaded.any() or self._rows):
            return
        for at_s, marked in zip(t_s.tolist(), overloaded.tolist(), strict=True):
            if not marked:
                self._since_s, self._rows = None, 0
                continue
            self._since_s = at_s if self._since_s is None else self._since_s
            self._rows += 1
            lasts_s = at_s - self._since_s
            if lasts_s >= self._for_s and self._rows >= _FEWEST_OVERLOADED:
                self._told = True
                told = (
                    f"the instrument marks {self._rows} rows in a row, over {lasts_s:.3g} s, as "
                    "overloaded: current or potential is beyond what it can measure or drive, and "
                    "nothing is controlled; look at the cables, the reference and the range"
                )
                yield "overload", at_s, lasts_s, told
                return
