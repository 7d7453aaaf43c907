"""The instrument's measurements: what a script's measurement loops do, point by point.

Within a measurement loop the machine computes the cell to the next point of the time grid, waits
for the clock to get there, and then lets the script see the reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from sim_devices.methodscript.electronics import STATUS_TIMING
from sim_devices.methodscript.errors import ScriptError
from sim_devices.methodscript.pgstat import (
    CRITICAL_CURRENT_A,
    GALVANOSTAT,
    LONGEST_STRIDE_S,
    POTENTIOSTAT_MODES,
    Potentiostat,
)

# At a set current, a script that asks more rarely gets the cell in one stride up to this.
LONGEST_SET_CURRENT_STRIDE_S = 10.0

SHORTEST_INTERVAL_S = 2e-4
LARGEST_AMPLITUDE_V = 0.9
LOWEST_FREQUENCY_HZ, HIGHEST_FREQUENCY_HZ = 1e-5, 2e5

# A stride may be longer by what a crystal is off: a second of the script is one.
_CRYSTAL = 1 + 1e-3
_IMPEDANCE_MODE = 3
# The last periods of a frequency are measured, the first one lets the cell settle.
_PERIODS = 3
_SHORTEST_FREQUENCY_S = 0.05


class Machine(Potentiostat):
    """Executes what compiled scripts ask for; one thread at a time may run it."""

    # ---- one measurement

    def meas(self, seconds: float, kind: str) -> tuple[float, str]:
        """``meas``: (reading, metadata) after integrating for a time."""
        if seconds <= 0:
            raise ScriptError("4204")
        self._pass(seconds / self.timer_rate)
        potential, density = self.cell.potential(*self._drive)
        if kind == "ab":
            return self.electronics.read_potential(potential)
        return self._read_current(density)

    # ---- measurement loops: generators, one item per point

    def _grid(self, interval_s: float, run_s: float) -> tuple[int, float]:
        """Return (number of points, interval in cell seconds)."""
        if interval_s <= 0:
            raise ScriptError("4204")
        if interval_s < SHORTEST_INTERVAL_S:
            raise ScriptError("005A")
        # Intervals are counted up to a millionth, for 10 s in steps of 0.1 s are a hundred points.
        count = math.floor(run_s / interval_s + 1e-6)
        if count < 1:
            raise ScriptError("4029")
        return count, interval_s / self.timer_rate

    def _points(
        self, count: int, interval_s: float, stride_s: float = LONGEST_STRIDE_S
    ) -> Iterator[tuple[float, float, bool]]:
        """Yield (V, mA/cm2, late) at the end of each interval, and before the first if so set."""
        cell = self.cell
        start = cell.t
        if self.sample_at_start:
            yield (*cell.potential(*self._drive), False)
        halted_before = self._halted_s
        longest_s = stride_s * _CRYSTAL
        for n in range(1, count + 1):
            target = start + n * interval_s
            late = target <= cell.t  # the script took longer than its own interval
            if late:
                start += cell.t + interval_s - target
                target = cell.t + interval_s
            while True:
                left = target - cell.t
                point = self._go(target if left <= longest_s else cell.t + stride_s)
                if self._attention:
                    if self._attend():
                        return
                    halted_s = self._halted_s - halted_before
                    if halted_s:
                        halted_before += halted_s
                        start += halted_s
                        target += halted_s
                        point = cell.potential(*self._drive)
                if target - cell.t < 1e-9:
                    break
            yield (*point, late)

    def measure_besides(self, kind: str) -> float:
        """``add_meas``: E_WE - E_CE ("ag"), or the counter electrode against ground ("ac"), now."""
        # A cell without a reference electrode has this one potential only.
        potential = getattr(self.cell, "cell_potential_v", self._measured_v)
        reading = self.electronics.read_potential_besides(potential)
        return reading if kind == "ag" else -reading

    def meas_loop_ocp(self, interval_s: float, run_s: float) -> Iterator[tuple[float, str]]:
        """``meas_loop_ocp``."""
        if self._cell_on:
            raise ScriptError("0014")
        count, step = self._grid(interval_s, run_s)
        self._begin_measurement("ocp")
        read = self.electronics.read_potential
        for potential, _, late in self._points(count, step):
            reading, metadata = read(potential)
            yield reading, _late(metadata) if late else metadata

    def meas_loop_ca(
        self, potential_v: float, interval_s: float, run_s: float
    ) -> Iterator[tuple[float, str, float, str]]:
        """``meas_loop_ca``."""
        self._need(*POTENTIOSTAT_MODES)
        self._check_potential(potential_v)
        count, step = self._grid(interval_s, run_s)
        set_v = self._apply_potential(potential_v)
        self._begin_measurement("ca", potential_v=self._drive[1])
        for _, density, late in self._points(count, step):
            reading, metadata = self._read_current(density)
            yield set_v, "", reading, _late(metadata) if late else metadata

    def meas_loop_cp(
        self, current_a: float, interval_s: float, run_s: float
    ) -> Iterator[tuple[float, str, float, str]]:
        """``meas_loop_cp``."""
        self._need(GALVANOSTAT)
        self._check_current(current_a)
        count, step = self._grid(interval_s, run_s)
        set_a, true_a = self._apply_current(current_a)
        self._begin_measurement("cp", current_a=true_a)
        of_current = self.electronics.galvanostat_metadata()
        rarely = LONGEST_STRIDE_S < step <= LONGEST_SET_CURRENT_STRIDE_S * _CRYSTAL
        stride_s = step if rarely else LONGEST_STRIDE_S
        read = self.electronics.read_potential
        for potential, _, late in self._points(count, step, stride_s):
            reading, metadata = read(potential)
            yield reading, _late(metadata) if late else metadata, set_a, of_current

    def _ramp(self, begin: float, end: float, step: float, rate: float) -> tuple[int, float, float]:
        """Return (steps, signed step, seconds per step in cell time)."""
        if step <= 0 or rate <= 0:
            raise ScriptError("4204")
        count = math.floor(abs(end - begin) / step + 1e-6)
        if count < 1:
            raise ScriptError("4029")
        interval_s = step / rate
        if interval_s < SHORTEST_INTERVAL_S:
            raise ScriptError("005A")
        return count, math.copysign(step, end - begin), interval_s / self.timer_rate

    def meas_loop_lsv(
        self, begin_v: float, end_v: float, step_v: float, rate_v_s: float
    ) -> Iterator[tuple[float, str, float, str]]:
        """``meas_loop_lsv``: both ends are points; each is measured at the end of its step."""
        self._need(*POTENTIOSTAT_MODES)
        self._check_potential(begin_v)
        self._check_potential(end_v)
        count, step, interval_s = self._ramp(begin_v, end_v, step_v, rate_v_s)
        set_v = self._apply_potential(begin_v)
        self._begin_measurement("lsv", begin_v=begin_v, end_v=end_v)
        for n, (_, density, late) in enumerate(self._steps(count + 1, interval_s), start=1):
            reading, metadata = self._read_current(density)
            yield set_v, "", reading, _late(metadata) if late else metadata
            if n <= count:
                set_v = self._apply_potential(begin_v + n * step)

    def meas_loop_lsp(
        self, begin_a: float, end_a: float, step_a: float, rate_a_s: float
    ) -> Iterator[tuple[float, str, float, str]]:
        """``meas_loop_lsp``: a ramp of the current."""
        self._need(GALVANOSTAT)
        self._check_current(begin_a)
        self._check_current(end_a)
        count, step, interval_s = self._ramp(begin_a, end_a, step_a, rate_a_s)
        set_a, _ = self._apply_current(begin_a)
        self._begin_measurement("lsp", begin_a=begin_a, end_a=end_a)
        for n, (potential, _, late) in enumerate(self._steps(count + 1, interval_s), start=1):
            reading, metadata = self.electronics.read_potential(potential)
            of_current = self.electronics.galvanostat_metadata()
            yield reading, _late(metadata) if late else metadata, set_a, of_current
            if n <= count:
                set_a, _ = self._apply_current(begin_a + n * step)

    def _steps(self, count: int, interval_s: float) -> Iterator[tuple[float, float, bool]]:
        """Yield the points of a ramp, which has no point at time zero."""
        at_start, self.sample_at_start = self.sample_at_start, False
        points = self._points(count, interval_s)
        try:
            yield from points
        finally:
            self.sample_at_start = at_start

    def meas_loop_cv(
        self,
        begin_v: float,
        vertex1_v: float,
        vertex2_v: float,
        step_v: float,
        rate_v_s: float,
        scans: int = 1,
    ) -> Iterator[tuple[float, str, float, str]]:
        """``meas_loop_cv``: begin, first vertex, second vertex, begin; the start is a point once.

        With more than one scan each begins with ``Cnnnn`` (hexadecimal, from 0) and ends with
        ``-``. The command ``R`` of the line cuts the present sweep short.
        """
        self._need(*POTENTIOSTAT_MODES)
        for potential_v in (begin_v, vertex1_v, vertex2_v):
            self._check_potential(potential_v)
        _, _, interval_s = self._ramp(vertex2_v, vertex1_v, step_v, rate_v_s)
        applied = begin_v
        set_v = self._apply_potential(applied)
        self._begin_measurement("cv", begin_v=begin_v, vertex1_v=vertex1_v, vertex2_v=vertex2_v)
        self._reverse = False
        first = True
        for scan in range(scans):
            if scans > 1:
                self.say(f"C{scan:04X}")
                self._closers.append("-")
            for target in (vertex1_v, vertex2_v, begin_v):
                origin = applied
                count = math.floor(abs(target - origin) / step_v + 1e-6)
                step = math.copysign(step_v, target - origin)
                for n in range(0 if first else 1, count + 1):
                    first = False
                    applied = origin + n * step
                    set_v = self._apply_potential(applied)
                    points = list(self._steps(1, interval_s))
                    if not points:  # the host has ended the loop
                        return
                    _, density, _ = points[0]
                    reading, metadata = self._read_current(density)
                    yield set_v, "", reading, metadata
                    if self._reverse:
                        self._reverse = False
                        break
            if scans > 1:
                self._close_to("-")

    def _frequencies(self, first_hz: float, last_hz: float, count: int) -> list[float]:
        if count < 1:
            raise ScriptError("4204")
        for frequency in (first_hz, last_hz):
            if not LOWEST_FREQUENCY_HZ <= frequency <= HIGHEST_FREQUENCY_HZ:
                raise ScriptError("0011")
        if count == 1:
            return [first_hz]
        ratio = math.log(last_hz / first_hz) / (count - 1)
        inner = [first_hz * math.exp(n * ratio) for n in range(1, count - 1)]
        return [first_hz, *inner, last_hz]

    def meas_loop_eis(
        self,
        amplitude_rms_v: float,
        first_hz: float,
        last_hz: float,
        count: int,
        potential_v: float,
    ) -> Iterator[tuple[float, str, float, str, float, str]]:
        """``meas_loop_eis``: the cell lives through three periods of each frequency."""
        self._need(_IMPEDANCE_MODE)
        frequencies = self._frequencies(first_hz, last_hz, count)
        if not 0 < amplitude_rms_v <= LARGEST_AMPLITUDE_V:
            raise ScriptError("0012")
        self._check_potential(abs(potential_v) + math.sqrt(2) * amplitude_rms_v)
        self._apply_potential(potential_v)
        self._begin_measurement("eis", potential_v=self._drive[1], **self._resistances())
        for frequency in frequencies:
            true_ohm = self._impedance_after(frequency)
            if true_ohm is None:
                return
            amplitude_a = amplitude_rms_v / max(abs(true_ohm), 1e-6)
            reading, of_real, of_imaginary = self.electronics.read_impedance(
                true_ohm, amplitude_rms_v, amplitude_a, galvanostatic=False
            )
            yield frequency, "", reading.real, of_real, reading.imag, of_imaginary

    def meas_loop_geis(
        self, amplitude_rms_a: float, first_hz: float, last_hz: float, count: int, current_a: float
    ) -> Iterator[tuple[float, str, float, str, float, str]]:
        """``meas_loop_geis``."""
        self._need(GALVANOSTAT)
        frequencies = self._frequencies(first_hz, last_hz, count)
        if amplitude_rms_a <= 0:
            raise ScriptError("0012")
        self._check_current(abs(current_a) + math.sqrt(2) * amplitude_rms_a)
        _, true_a = self._apply_current(current_a)
        self._begin_measurement("geis", current_a=true_a, **self._resistances())
        for frequency in frequencies:
            true_ohm = self._impedance_after(frequency)
            if true_ohm is None:
                return
            reading, of_real, of_imaginary = self.electronics.read_impedance(
                true_ohm, amplitude_rms_a * abs(true_ohm), amplitude_rms_a, galvanostatic=True
            )
            yield frequency, "", reading.real, of_real, reading.imag, of_imaginary

    def _impedance_after(self, frequency_hz: float) -> complex | None:
        """Return the impedance (ohm) after living through a frequency; None: the loop ends."""
        duration_s = max(_PERIODS / frequency_hz, _SHORTEST_FREQUENCY_S)
        for _, density, _ in self._steps(1, duration_s / self.timer_rate):
            if abs(self._current_a(density)) > CRITICAL_CURRENT_A:
                self._protect()
            with self.cell.lock:
                return complex(self.cell.impedance([frequency_hz])[0])
        return None


def _late(metadata: str) -> str:
    """Return metadata with the bit "timing not met" set in its status."""
    return f",1{int(metadata[2], 16) | STATUS_TIMING:X}{metadata[3:]}"
