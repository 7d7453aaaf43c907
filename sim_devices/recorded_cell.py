"""A cell that was measured before: it answers what was recorded, in the place of a model.

What it is asked decides where in its history it is. The k-th time that a current of one sign flows
is the k-th time in the record that it did: the potential follows from the charge that has passed
since. At open circuit it is the recorded relaxation after that half-cycle, by the time since the
current stopped. While nobody measures, the history stands still.

What it does where the record has no answer, each written to the truth:

* A stripping that follows a plating of f times the recorded charge is compressed by f: its
  coulombic efficiency is the recorded one. (Only where the history tells the metal electrode.)
* A rest that was not recorded has the potential of an earlier one after a half-cycle of the same
  sign, else of the first such; in the experiment the cell stays at the end of its half-cycle.
* Beyond the recorded charge the potential goes on with the slope of its last 1 %; beyond the
  recorded relaxation it stays. After the last recorded half-cycle of a sign that one is used again.
* The potential is not corrected when another current is asked for than was recorded: what part of
  it is ohmic is not known.
* The impedance is that of the recorded spectrum that is nearest in the experiment, interpolated in
  the logarithm of the frequency, and constant beyond its ends. Where none was recorded it is the
  history's series resistance.
* Under potential control the current is linear, (E - E0) / R, with the present potential E0 without
  current and the real impedance R at the lowest recorded frequency (or the series resistance). No
  half-cycle begins or goes on by it: what such a current would have done is not in the record.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim_devices.cell.parameters import COULOMB_PER_MAH, REFERENCE_TEMPERATURE_K
from sim_devices.history import History, Segment, Spectrum

Mode = Literal["i", "E"]

_REST_MA_CM2 = 1e-6
_SLOPE_SHARE = 0.01  # of the charge: what the last slope is taken over
_SAME_CURRENT = 0.01  # relative
_SWEEP_GOES_ON = 1.0 + 1e-6
_TURNS_KEPT = 100_000


class RecordedCell:
    """A cell of history; only the potentiostat advances it, as any cell.

    Signs are IUPAC, current densities in mA/cm2, as in `sim_devices.cell.Cell`.

    Attributes:
        lock: hold it while several attributes have to belong to the same moment.
        t: cell time, s.
        history: what is played.
        turns: (time s, ledger) at each begin of a half-cycle.
        shorts: none; the record's own are in its potentials.
        temperature_setpoint_k: may be set, and changes nothing: the temperature is the recorded
            one.
        remarks: (time s, what, values) where the record had no answer, until somebody takes them.
    """

    def __init__(self, history: History) -> None:
        """Begin at the beginning of a history."""
        self.history = history
        self.lock = threading.RLock()
        self.t = 0.0
        self.turns: deque[tuple[float, dict[str, float]]] = deque(maxlen=_TURNS_KEPT)
        self.shorts: list[tuple[float, str]] = []
        self.remarks: deque[tuple[float, str, dict[str, Any]]] = deque(maxlen=_TURNS_KEPT)
        self.temperature_setpoint_k = REFERENCE_TEMPERATURE_K
        self._said: set[str] = set()
        self._passed_c = {-1: 0.0, 1: 0.0}
        self._count = {-1: 0, 1: 0}
        self._half_cycle_c = {-1: 0.0, 1: 0.0}  # of the last half-cycle of a sign
        self._sign: Literal[-1, 0, 1] = 0
        self._passed = 0.0  # C of the half-cycle, or s of the rest
        self._stretch = 1.0
        first = history.segments[0]
        self._place: int | None = 0 if first.sign == 0 else None
        self._after: int | None = None  # the half-cycle that a rest follows
        self._sweep: tuple[float, Spectrum] | None = None

    # ---- looking at the cell

    @property
    def area_cm2(self) -> float:
        """Geometric area of each electrode."""
        return self.history.area_cm2

    @property
    def temperature_k(self) -> float:
        """Temperature of the bath where the cell is in its record now, K.

        Raises HistoryError where none was recorded: the thermostat is not served then.
        """
        group = self.history.need("thermostat")
        t, temperature = np.asarray(group["t_s"]), np.asarray(group["temperature_k"])
        return float(np.interp(self.recorded_time(), t, temperature))

    def ledger(self, which: Literal["WE", "CE"]) -> dict[str, float]:
        """Return the charge that has passed, mAh/cm2; where it went is not in the record."""
        per = COULOMB_PER_MAH * self.area_cm2
        anodic, cathodic = (1, -1) if which == "WE" else (-1, 1)
        with self.lock:
            return {
                "charge_anodic": self._passed_c[anodic] / per,
                "charge_cathodic": self._passed_c[cathodic] / per,
            }

    def summary(self) -> dict[str, Any]:
        """Return how the cell was left, for the truth."""
        return {
            "working": self.ledger("WE"),
            "counter": self.ledger("CE"),
            "recorded_t_s": self.recorded_time(),
        }

    def recorded_time(self) -> float:
        """Return the time at which the record was where the cell is now, s."""
        with self.lock:
            if self._rests_unrecorded():
                return self.history.segments[self._after or 0].ended_s
            segment = self._segment()
            if segment is None:
                return self.history.segments[0].began_s
            passed = self._passed / self._stretch
            x, t = segment.path
            if passed <= x[-1]:
                return float(np.interp(passed, x, t))
            if segment.sign == 0:
                return min(segment.began_s + passed, segment.ended_s)
            return segment.ended_s

    def potential(self, mode: Mode = "i", value: float = 0.0) -> tuple[float, float]:
        """Return potential (V) and current density (mA/cm2) now, without changing anything."""
        with self.lock:
            if mode == "E":
                return value, self._linear_density(value)
            return self._potential(), value

    def impedance(self, frequency_hz: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return the impedance of the whole cell, ohm, from the nearest recorded spectrum."""
        wanted = np.asarray(frequency_hz, dtype=float)
        with self.lock:
            if not self.history.spectra:
                self._remark(
                    "impedance_not_recorded",
                    series_resistance_ohm=self.history.series_resistance_ohm,
                )
                return np.full(len(wanted), complex(self.history.series_resistance_ohm))
            answers = [self._impedance(float(one)) for one in wanted]
        return np.array(answers, dtype=np.complex128)

    # ---- time

    def advance(
        self, dt_s: float, mode: Mode = "i", value: float = 0.0
    ) -> tuple[float, float, float]:
        """Let time pass at a current density or potential; return (s, V, mA/cm2) at the end."""
        with self.lock:
            if mode == "E":
                self._turn(0)
                self._remark("potential_control_is_linear")
                self.t += dt_s
                self._passed += dt_s
                return dt_s, value, self._linear_density(value)
            sign: Literal[-1, 0, 1] = 0 if abs(value) < _REST_MA_CM2 else 1 if value > 0 else -1
            self._turn(sign)
            self.t += dt_s
            if sign:
                charge_c = abs(value) * 1e-3 * self.area_cm2 * dt_s
                self._passed += charge_c
                self._passed_c[sign] += charge_c
                self._half_cycle_c[sign] = self._passed
                self._compare_current(value)
            else:
                self._passed += dt_s
            return dt_s, self._potential(tell=True), value

    def stand_by(
        self, dt_s: float, mode: Mode = "i", value: float = 0.0
    ) -> tuple[float, float, float]:
        """Let time pass in which nobody measures: at open circuit the history stands still."""
        if mode == "i" and abs(value) < _REST_MA_CM2:
            with self.lock:
                self.t += dt_s
                return dt_s, self._potential(), value
        return self.advance(dt_s, mode, value)

    # ---- inside; the lock is held

    def _turn(self, sign: Literal[-1, 0, 1]) -> None:
        """Go to the segment of the record that a change of the current's sign leads to."""
        if sign == self._sign:
            return
        before, self._sign = self._sign, sign
        self._sweep = None
        self._said = {what for what in self._said if what.startswith("impedance")}
        segments = self.history.segments
        self._passed, self._stretch = 0.0, 1.0
        if sign == 0:
            if before:
                self._after = self._place
            self._place = self._rest_after(self._after)
            return
        self.turns.append((self.t, self.ledger("WE")))
        self._count[sign] += 1
        places = [i for i, segment in enumerate(segments) if segment.sign == sign]
        if not places:
            self._place = None
            self._remark("never_recorded", sign=sign)
            return
        if self._count[sign] > len(places):
            self._remark("history_ended", sign=sign, half_cycles_recorded=len(places))
        self._place = places[min(self._count[sign], len(places)) - 1]
        if sign == self.history.strip_sign and self._half_cycle_c[-sign]:
            self._stretch = self._stretch_of(self._place, sign)

    def _stretch_of(self, place: int, sign: int) -> float:
        """Return the charge plated before, over that of the record before the same stripping."""
        plated = [s.charge_c for s in self.history.segments[:place] if s.sign == -sign]
        if not plated or not plated[-1]:
            return 1.0
        stretch = self._half_cycle_c[-sign] / plated[-1]
        if abs(stretch - 1.0) > _SAME_CURRENT:
            self._remark("strip_compressed", factor=stretch)
        return stretch

    def _rest_after(self, place: int | None) -> int | None:
        """Return the rest that followed a half-cycle, or an earlier one like it."""
        segments = self.history.segments
        if place is None:
            return 0 if segments[0].sign == 0 else None
        following = [
            i + 1
            for i, segment in enumerate(segments[:-1])
            if segment.sign == segments[place].sign and segments[i + 1].sign == 0
        ]
        if place + 1 in following:
            return place + 1
        self._remark("rest_not_recorded")
        earlier = [i for i in following if i <= place]
        return earlier[-1] if earlier else following[0] if following else None

    def _rests_unrecorded(self) -> bool:
        """Return whether the potential of this rest, if any, is that of another one."""
        return self._sign == 0 and self._after is not None and self._place != self._after + 1

    def _segment(self) -> Segment | None:
        return None if self._place is None else self.history.segments[self._place]

    def _potential(self, *, tell: bool = False) -> float:
        segment = self._segment()
        if segment is None:
            return self._without_record()
        passed = self._passed / self._stretch
        x, potential = segment.passed, segment.potential_v
        end = float(x[-1])
        if passed <= end or segment.sign == 0:
            return float(np.interp(passed, x, potential))
        if tell:
            self._remark("beyond_recorded_charge", recorded_c=end)
        first = min(int(np.searchsorted(x, end * (1 - _SLOPE_SHARE))), len(x) - 2)
        if first < 0 or end <= x[first]:
            return float(potential[-1])
        slope = (potential[-1] - potential[first]) / (end - x[first])
        return float(potential[-1] + slope * (passed - end))

    def _without_record(self) -> float:
        """Return the potential where the record has nothing alike: the last one known, at rest."""
        rests = [segment for segment in self.history.segments if segment.sign == 0]
        return float(rests[0].potential_v[-1]) if rests else 0.0

    def _compare_current(self, density: float) -> None:
        segment = self._segment()
        if segment is None or not segment.mean_current_a:
            return
        ratio = abs(density) * 1e-3 * self.area_cm2 / segment.mean_current_a
        if abs(ratio - 1.0) > _SAME_CURRENT:
            self._remark("other_current_than_recorded", ratio=ratio)

    # -- impedance and potential control

    def _nearest_spectrum(self) -> Spectrum:
        now = self.recorded_time()
        place = (self._after if self._rests_unrecorded() else self._place) or 0
        return min(
            self.history.spectra,
            key=lambda spectrum: (abs(spectrum.segment - place), abs(spectrum.t_s - now)),
        )

    def _impedance(self, frequency_hz: float) -> complex:
        before = self._sweep
        # A sweep goes down; a higher frequency than the last one begins another.
        if before is not None and frequency_hz <= before[0] * _SWEEP_GOES_ON:
            spectrum = before[1]
        else:
            spectrum = self._nearest_spectrum()
        self._sweep = frequency_hz, spectrum
        low, high = float(spectrum.frequency_hz[0]), float(spectrum.frequency_hz[-1])
        if not low / _SWEEP_GOES_ON <= frequency_hz <= high * _SWEEP_GOES_ON:
            self._remark("impedance_beyond_recorded_frequencies", lowest_hz=low, highest_hz=high)
        x, at = np.log(spectrum.frequency_hz), np.log(frequency_hz)
        real, imaginary = (
            float(np.interp(at, x, part)) for part in (spectrum.ohm.real, spectrum.ohm.imag)
        )
        return complex(real, imaginary)

    def _linear_density(self, potential_v: float) -> float:
        resistance = self.history.series_resistance_ohm
        if self.history.spectra:
            resistance = max(float(self._nearest_spectrum().ohm.real[0]), 1e-3)
        at_rest = self._potential() if self._sign == 0 else self._without_record()
        return (potential_v - at_rest) / resistance / self.area_cm2 * 1e3

    def _remark(self, what: str, **values: Any) -> None:
        """Note something once per segment."""
        if what not in self._said:
            self._said.add(what)
            self.remarks.append((self.t, what, values))
