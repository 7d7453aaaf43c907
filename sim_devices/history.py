"""Cell histories: files from which a cell that was once measured can be served again.

A history is one HDF5 file that says what was measured and nothing about who measured it. Root
attributes:

* ``format``: ``"anode-cell-history"``; ``version``: 1.
* ``area_cm2``: geometric area of the cell's electrodes.
* ``metal_electrode`` (optional): ``"WE"`` or ``"CE"``, the electrode that is plated and stripped.
* ``source``, ``uid`` (optional): text; whose history it is.
* ``rest_below_a`` (optional): a smaller magnitude of the current is open circuit; by default a
  thousandth of the largest.
* ``series_resistance_ohm`` (optional): the cell's answer where no impedance was recorded (10 ohm).

Datasets, float64 unless noted. Time ``t_s`` is the experiment's own, in seconds, the same in all
groups; a row that was measured before the experiment's time began has a negative one.

* ``rows/t_s``, ``rows/potential_v`` (E_WE - E_CE), ``rows/current_a`` (positive oxidises the
  working electrode): one value per row, in order. ``rows/since_edge_s`` (optional): time since the
  current was last changed; without it a half-cycle begins one interval of rows before its first
  one (not before the last row before it), and the history with its first row. Where it falls back
  after an interval in which rows are missing, the current was interrupted: no charge is counted
  from the last row to the new edge. ``rows/resumed`` (optional, with the former): not 0 where that
  is so, however short the interval.
* ``impedance/t_s``, ``spectrum`` (any number that is the same for all points of a spectrum),
  ``frequency_hz``, ``z_real_ohm``, ``z_imag_ohm`` (negative: capacitive): one value per point.
* ``camera/t_s`` of shape (frames), ``camera/frames`` of shape (frames, rows, columns), uint8;
  attribute ``micrometre_per_pixel`` of the group.
* ``raman/t_s``, ``integration_s``, ``power_mw`` of shape (spectra), ``wavenumber_cm1`` of shape
  (pixels), ``counts`` of shape (spectra, read-outs, pixels), ``dark`` of shape (spectra, pixels):
  read-outs with and without the laser, as they came from the detector.
* ``temperature/t_s``, ``temperature_k``: one value per reading of the thermostat.
* ``chromatograms/t_s`` of shape (injections), ``traces`` of shape (injections, values); attribute
  ``sample_interval_s`` of the group.

Only ``rows`` must be there. What is not there cannot be served.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

FORMAT, VERSION = "anode-cell-history", 1
_REST_SHARE = 1e-3
_INTERVALS_MISSING = 3.0
_SERIES_RESISTANCE_OHM = 10.0
# What an instrument needs of a history: instrument -> group.
GROUPS = {
    "camera": "camera",
    "gige_camera": "camera",
    "raman": "raman",
    "chromatograph": "chromatograms",
    "thermostat": "temperature",
    "julabo": "temperature",
}

# What h5py raises of a file that is damaged inside is any of these.
_DAMAGED = (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError)
Floats = npt.NDArray[np.float64]


class HistoryError(ValueError):
    """A file is not a history, or a history does not hold what is asked for."""


@dataclass(frozen=True)
class Segment:
    """Consecutive rows with a current of one sign, or without one.

    Attributes:
        sign: -1, 0 (open circuit) or +1.
        began_s: when the current took that sign, s.
        ended_s: when the next segment began, or the last row, s.
        t_s: of the rows, s.
        passed: what the rows are looked up by: charge since it began, C (magnitude); at open
            circuit the time since it began, s.
        potential_v: of the rows, V.
    """

    sign: Literal[-1, 0, 1]
    began_s: float
    ended_s: float
    t_s: Floats
    passed: Floats
    potential_v: Floats

    @property
    def charge_c(self) -> float:
        """Charge that the rows saw pass, C."""
        return float(self.passed[-1]) if self.sign else 0.0

    @cached_property
    def path(self) -> tuple[Floats, Floats]:
        """Return what had passed and the time, s, from the segment's begin to its last row."""
        passed = np.concatenate(([0.0], self.passed))
        return passed, np.concatenate(([self.began_s], self.t_s))

    @property
    def mean_current_a(self) -> float:
        """Mean magnitude of the current, A."""
        duration_s = float(self.t_s[-1]) - self.began_s
        return self.charge_c / duration_s if duration_s > 0 else 0.0


@dataclass(frozen=True)
class Spectrum:
    """One impedance spectrum, ascending in frequency; `segment` counts in the history's."""

    t_s: float
    segment: int
    frequency_hz: Floats
    ohm: npt.NDArray[np.complex128]


class History:
    """A history file, open for reading until `close`.

    Attributes:
        path: the file.
        area_cm2: geometric area of each electrode.
        strip_sign: sign of the current that strips the metal, 0 where that is not told.
        uid: of the run it was made from, empty if it has none.
        source: whose history it is; the uid where there is one.
        series_resistance_ohm: the answer where no impedance was recorded.
        segments: in order.
        spectra: in order.
    """

    def __init__(self, path: Path) -> None:
        """Open a history.

        Raises:
            HistoryError: the file is missing, not a history, of another version, or lacks rows.
        """
        self.path = path
        try:
            self.file = h5py.File(path, "r")
        except OSError as error:
            raise HistoryError(f"{path} is not a cell history: {error}") from error
        try:
            self._read()
        except HistoryError:
            self.file.close()
            raise
        except (
            ArithmeticError,
            LookupError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            self.file.close()
            raise HistoryError(f"{path} is a damaged cell history: {error!r}") from error

    def _read(self) -> None:
        told = self.file.attrs
        if told.get("format") != FORMAT:
            raise HistoryError(
                f"{self.path} is not a cell history: its attribute 'format' is "
                f"{told.get('format')!r}, not {FORMAT!r}"
            )
        if told.get("version") != VERSION:
            raise HistoryError(
                f"{self.path} is a cell history of version {told.get('version')}; "
                f"this simulator reads version {VERSION}"
            )
        self.area_cm2 = self._positive("area_cm2", None)
        metal = told.get("metal_electrode")
        if metal not in (None, "WE", "CE"):
            raise HistoryError(f"{self.path}: metal_electrode is {metal!r}, not 'WE' or 'CE'")
        self.strip_sign: Literal[-1, 0, 1] = 0 if metal is None else 1 if metal == "WE" else -1
        self.uid = str(told.get("uid", ""))
        self.source = str(self.uid or told.get("source") or self.path.name)
        self.series_resistance_ohm = self._positive("series_resistance_ohm", _SERIES_RESISTANCE_OHM)
        self.segments = self._segments()
        self.spectra = self._spectra()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def holds(self, instrument: str) -> bool:
        """Return whether an instrument (a key of `GROUPS`) can be served."""
        name = GROUPS.get(instrument)
        return name is None or (name in self.file and len(self.file[name]["t_s"]) > 0)

    def need(self, instrument: str) -> Any:
        """Return the group an instrument is served from.

        Raises:
            HistoryError: it holds nothing for that instrument.
        """
        if not self.holds(instrument):
            raise HistoryError(f"{instrument}: not recorded in this run ({self.source})")
        return self.file[GROUPS[instrument]]

    def column(self, group: str, name: str, *, optional: bool = False) -> Floats | None:
        """Return one dataset as floats; None: it is optional and not there.

        Raises:
            HistoryError: it is not there.
        """
        try:
            return np.asarray(self.file[group][name], dtype=np.float64)
        except KeyError:
            if optional:
                return None
            raise HistoryError(f"{self.path} lacks the dataset {group}/{name}") from None

    # ---- inside

    def _positive(self, name: str, default: float | None) -> float:
        value = self.file.attrs.get(name, default)
        if value is None or not float(value) > 0:
            raise HistoryError(f"{self.path}: the attribute {name} must be above 0, it is {value}")
        return float(value)

    def _same_length(self, group: str, *names: str) -> list[Floats]:
        columns = [self.column(group, name) for name in names]
        lengths = {name: len(c) for name, c in zip(names, columns, strict=True) if c is not None}
        if len(set(lengths.values())) != 1:
            raise HistoryError(f"{self.path}: {group} has columns of different length: {lengths}")
        return [column for column in columns if column is not None]

    def _segments(self) -> tuple[Segment, ...]:
        t, potential, current = self._same_length("rows", "t_s", "potential_v", "current_a")
        since = self.column("rows", "since_edge_s", optional=True)
        resumed = self.column("rows", "resumed", optional=True)
        whole = np.isfinite(t) & np.isfinite(potential) & np.isfinite(current)
        t, potential, current = t[whole], potential[whole], current[whole]
        if not len(t):
            raise HistoryError(f"{self.path}: rows holds no row")
        if np.any(np.diff(t) < 0):
            row = int(np.flatnonzero(np.diff(t) < 0)[0]) + 1
            raise HistoryError(f"{self.path}: rows/t_s goes back at row {row}")
        since = np.full(len(t), np.nan) if since is None else since[whole]
        resumed = np.zeros(len(t)) if resumed is None else resumed[whole]
        resumed = (resumed != 0) & np.isfinite(since)
        least = self.file.attrs.get("rest_below_a", _REST_SHARE * float(np.abs(current).max()))
        signs = np.where(np.abs(current) <= least, 0, np.sign(current)).astype(int)
        firsts = [0, *(np.flatnonzero(np.diff(signs)) + 1), len(t)]
        began = [_begin(t, since, first, last) for first, last in pairwise(firsts)]
        ends = [*began[1:], float(t[-1])]
        return tuple(
            _segment(
                int(signs[first]),
                begin,
                end,
                t[part],
                potential[part],
                current[part],
                since[part],
                resumed[part],
            )
            for first, last, begin, end in zip(firsts, firsts[1:], began, ends, strict=False)
            for part in (slice(first, last),)
        )

    def _spectra(self) -> tuple[Spectrum, ...]:
        if "impedance" not in self.file:
            return ()
        names = ("t_s", "spectrum", "frequency_hz", "z_real_ohm", "z_imag_ohm")
        t, number, frequency, real, imaginary = self._same_length("impedance", *names)
        whole = np.isfinite(t) & np.isfinite(real) & np.isfinite(imaginary) & (frequency > 0)
        begins = np.array([segment.began_s for segment in self.segments])
        found = []
        for one in dict.fromkeys(number[whole].tolist()):
            points = np.flatnonzero(whole & (number == one))
            points = points[np.argsort(frequency[points], kind="stable")]
            at = float(t[points].min())
            segment = max(int(np.searchsorted(begins, at, side="right")) - 1, 0)
            ohm = real[points] + 1j * imaginary[points]
            found.append(Spectrum(at, segment, frequency[points], ohm))
        return tuple(sorted(found, key=lambda spectrum: spectrum.t_s))


def _begin(t: Floats, since: Floats, first: int, last: int) -> float:
    """Return when the segment of rows ``first`` to before ``last`` began, s."""
    before = float(t[first - 1]) if first else -np.inf
    if np.isfinite(since[first]):
        return max(float(t[first] - since[first]), before)
    if not first:
        return float(t[0])
    interval = t[first + 1] - t[first] if last - first > 1 else 0.0
    return max(float(t[first] - interval), before)


def _segment(
    sign: int,
    began_s: float,
    ended_s: float,
    t_s: Floats,
    potential_v: Floats,
    current_a: Floats,
    since_edge_s: Floats,
    told: Any,
) -> Segment:
    if sign:
        magnitude, interval = np.abs(current_a), np.diff(t_s)
        steps = 0.5 * (magnitude[1:] + magnitude[:-1]) * interval
        # A new edge that comes later than the next row would have: it was interrupted in between.
        unwatched = interval - since_edge_s[1:]
        late = unwatched[1:] > _INTERVALS_MISSING * interval[:-1]
        late = np.concatenate(([False], late & (np.diff(since_edge_s[1:]) < 0)))[: len(interval)]
        resumed = np.flatnonzero(late | told[1:])
        steps[resumed] = magnitude[resumed + 1] * since_edge_s[resumed + 1]
        passed = magnitude[0] * (t_s[0] - began_s) + np.concatenate(([0.0], np.cumsum(steps)))
    else:
        passed = t_s - began_s
    kind: Literal[-1, 0, 1] = 0 if sign == 0 else 1 if sign > 0 else -1
    return Segment(kind, began_s, ended_s, t_s, passed, potential_v)
