"""The instrument that a script drives: potentiostat, timer, GPIO, output, and its hand on the cell.

Time is the instrument's own: its crystal is a few ppm off, so an interval of one second in a script
is not quite one second of the cell, and `timer_get` counts in the same wrong seconds. Within a
measurement loop the machine computes the cell to the next point of the time grid, waits for the
clock to get there, and then lets the script see the reading.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn

from sim_devices.methodscript.electronics import (
    CURRENT_LIMIT_A,
    CURRENT_RANGES,
    OVERLOAD,
    POTENTIAL_LIMIT_V,
    STATUS_TIMING,
    Electronics,
)
from sim_devices.methodscript.errors import ScriptAborted, ScriptError
from sim_devices.surroundings import ImpedantCell, MeasuringClock, TruthWriter

# What the flash of a new instrument holds.
STORAGE_KILOBYTES = 512_000

# What a running script may be asked from outside; bits of `Machine.ask`.
ABORT, SKIP, HALT, REVERSE, POWER_OFF = 1, 2, 4, 8, 16

# The cell is computed at most this far ahead of the clock, so that the other instruments see it
# move and an abort is quick.
LONGEST_STRIDE_S = 1.0
# At a set current, a script that asks more rarely gets the cell in one stride up to this.
LONGEST_SET_CURRENT_STRIDE_S = 10.0

SHORTEST_INTERVAL_S = 2e-4
LARGEST_AMPLITUDE_V = 0.9
LOWEST_FREQUENCY_HZ, HIGHEST_FREQUENCY_HZ = 1e-5, 2e5

# A turn of a loop that neither measures nor waits takes the processor this long; it is booked every
# ten turns.
_TURN_S = 1e-4
_TURNS_BOOKED = 10

# Output is handed on when the clock is about to make the script wait, or after so many lines, or so
# much host time.
_SLACK_S = 0.002
_LINES_HELD = 64
_LONGEST_HOLD_S = 0.005

# Beyond this the instrument protects itself.
_CRITICAL_CURRENT_A = OVERLOAD * CURRENT_RANGES[-1].nominal

# A stride may be longer by what a crystal is off: a second of the script is one.
_CRYSTAL = 1 + 1e-3
_HALTED_STRIDE_S = 0.1

_GPIO_PINS = 0xFF
_OFF, _GALVANOSTAT = 0, 6
_POTENTIOSTAT_MODES = (2, 3, 4)
_IMPEDANCE_MODE = 3
# The last periods of a frequency are measured, the first one lets the cell settle.
_PERIODS = 3
_SHORTEST_FREQUENCY_S = 0.05

_TECHNIQUE_IDS = {
    "lsv": "0000",
    "cv": "0005",
    "ca": "0007",
    "cp": "000A",
    "ocp": "000B",
    "eis": "000D",
    "geis": "000E",
    "lsp": "000F",
}


class PowerLostError(Exception):
    """The instrument was switched off while a script ran."""


class FileStore:
    """The instrument's own files, in flash: they outlive a power cycle.

    Attributes:
        files: path to content.
        present: whether there is a file store at all.
        capacity_bytes: how much it holds.
        held_bytes: the newest part of an open file, up to this much, is still in memory and lost
            when the power goes; 0: every line is written at once.
        error_when_full: whether a script that writes to a full store ends with an error; otherwise
            what does not fit is dropped without a word.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.files: dict[str, bytearray] = {}
        self.present = True
        self.capacity_bytes = STORAGE_KILOBYTES * 1024
        self.held_bytes = 0
        self.error_when_full = False
        self._open: bytearray | None = None
        self._in_flash = 0

    @property
    def used_bytes(self) -> int:
        """How much of it is taken."""
        return sum(len(content) for content in self.files.values())

    def open(self, content: bytearray) -> None:
        """Write to this file from now on."""
        self._open, self._in_flash = content, len(content)

    def write(self, data: bytes) -> None:
        """Append to the open file, if one is."""
        if self._open is None:
            return
        room = self.capacity_bytes - self.used_bytes
        self._open += data[: max(0, room)]
        if len(self._open) - self._in_flash > self.held_bytes:
            self._in_flash = len(self._open)
        if len(data) > room and self.error_when_full:
            raise ScriptError("0001")

    def close(self) -> None:
        """Write what is still in memory."""
        self._open = None

    def lose_power(self) -> None:
        """Lose what was not written yet."""
        if self._open is not None:
            del self._open[self._in_flash :]
        self._open = None

    @staticmethod
    def normal(path: str) -> str:
        """Return a path with one leading slash and none at its end."""
        return "/" + "/".join(part for part in path.split("/") if part)


class Machine:
    """Executes what compiled scripts ask for; one thread at a time may run it.

    Attributes:
        timer_rate: instrument seconds per cell second.
        set_current_type: type of a galvanostat's current in packages, "db" or "ba".
        sample_at_start: whether measurement loops also measure at their time zero.
        gpio_inputs: returns the levels at the pins that are inputs.
        on_gpio: called with (cell time s, levels) at each change of an output.
        files: the file store.
    """

    def __init__(
        self,
        cell: ImpedantCell,
        clock: MeasuringClock,
        truth: TruthWriter,
        electronics: Electronics,
        send: Callable[[bytes], None],
    ) -> None:
        """Wire the instrument to its cell, with the cell switched off.

        Args:
            cell: advanced by this machine only.
            clock: led by this machine.
            truth: gets `potentiostat` events.
            electronics: the analogue side.
            send: takes output; may block while the line is full.
        """
        self.cell = cell
        self.clock = clock
        self.electronics = electronics
        electronics.now_s = lambda: cell.t
        self._attention = 0
        self._attention_lock = threading.Lock()
        self._was_called = False
        self.timer_rate = 1.0 + electronics.calibration.timer_ppm * 1e-6
        self.set_current_type = "db"
        self.sample_at_start = False
        self.gpio_inputs: Callable[[], int] = lambda: 0
        self.on_gpio: Callable[[float, int], None] | None = None
        self.files = FileStore()
        self._truth = truth
        self._send = send
        self._lines: deque[str] = deque()
        self._last_flush = 0.0
        self._gpio_outputs = self._gpio_levels = 0
        self.power_up()

    # ---- the state a power cycle resets

    def power_up(self) -> None:
        """Take the state of an instrument that was just switched on: cell off, GPIO inputs."""
        self._mode = _OFF
        self._cell_on = False
        self._drive: tuple[Literal["i", "E"], float] = ("i", 0.0)
        self._set_v = 0.0
        self._measured_v = 0.0
        self._set_a = 0.0
        self._finishing = False
        self._write_gpio(0)
        self._gpio_outputs = 0
        self.begin_script()

    def begin_script(self) -> None:
        """Forget what belongs to one run of a script; the cell stays as it is."""
        self._finishing = False
        self._timer_start = self.cell.t
        self._interval_s: float | None = None
        self._interval_end = 0.0
        self._closers: list[str] = []
        self._segment: dict[str, Any] | None = None
        self._turn_t = self.cell.t
        self._turns = 0
        self._output = 1
        self._file_is_open = False
        self.files.close()
        self._halted_s = 0.0
        self._reverse = False

    @property
    def cell_is_on(self) -> bool:
        """Whether the cell is connected."""
        return self._cell_on

    def write_truth(self, event: str, **values: Any) -> None:
        """Write down what happened now."""
        self._truth.write("potentiostat", event, cell_t_s=self.cell.t, **values)

    def _ledgers(self) -> dict[str, dict[str, float]]:
        return {"WE": self.cell.ledger("WE"), "CE": self.cell.ledger("CE")}

    # ---- output

    def say(self, text: str) -> None:
        """Put out one line, to where `set_script_output` says."""
        if self._output & 1:
            self._lines.append(text)
        if self._output & 2 and self._file_is_open:
            self.files.write(f"{text}\n".encode("ascii", "replace"))

    def flush(self) -> None:
        """Hand on the lines said so far."""
        taken = []
        try:
            while True:
                taken.append(self._lines.popleft())
        except IndexError:
            pass
        if taken:
            taken.append("")
            self._send("\n".join(taken).encode("ascii", "replace"))
        self._last_flush = time.monotonic()

    # ---- what comes from outside while a script runs; the only part for other threads

    def ask(self, bits: int) -> None:
        """Ask the running script for something (bits); the caller then wakes the clock."""
        with self._attention_lock:
            self._attention |= bits

    def take_back(self, bits: int) -> None:
        """Take such a wish back: not HALT is resume, and a new script starts without any."""
        with self._attention_lock:
            self._attention &= ~bits

    def _is_called(self) -> bool:
        if self._attention:
            self._was_called = True
            return True
        return False

    def _wait_until(self, cell_time_s: float, unless: Callable[[], bool]) -> None:
        """Wait for the clock, which is never again to come when it was closed."""
        self._was_called = False
        if not self.clock.wait_until(cell_time_s, unless) and not self._was_called:
            raise PowerLostError

    def _attend(self) -> bool:
        """Do what was asked for; return whether the measurement loop is to end.

        Raises:
            ScriptAborted: the script is to end.
            PowerLostError: the instrument was switched off.
        """
        if self._attention & POWER_OFF:
            raise PowerLostError
        if self._finishing:  # nothing else stops `on_finished:`
            self.take_back(ABORT | SKIP | HALT | REVERSE)
            return False
        if self._attention & HALT:
            self._halt()
        if self._attention & ABORT:
            self.take_back(ABORT)
            self.aborted()
            raise ScriptAborted
        if self._attention & REVERSE:
            self.take_back(REVERSE)
            self._reverse = True
        if self._attention & SKIP:
            self.take_back(SKIP)
            return True
        return False

    def _is_halt_over(self) -> bool:
        self._was_called = self._attention & (HALT | ABORT | POWER_OFF) != HALT
        return self._was_called

    def _halt(self) -> None:
        """Let time pass, with the cell driven as it is, until the host resumes or aborts."""
        self.flush()
        began = self.cell.t
        mode, value = self._drive
        while self._attention & HALT and not self._attention & (ABORT | POWER_OFF):
            until = self.cell.t + _HALTED_STRIDE_S
            with self.cell.lock:
                self.cell.advance(until - self.cell.t, mode, value)
            self._wait_until(until, self._is_halt_over)
        self._halted_s += self.cell.t - began

    # ---- time

    def _go(self, cell_time_s: float) -> tuple[float, float]:
        """Drive the cell to a time and wait for the clock; return (V, mA/cm2) at the end."""
        cell = self.cell
        mode, value = self._drive
        with cell.lock:
            _, potential, density = cell.advance(cell_time_s - cell.t, mode, value)
        self._measured_v = potential
        if self._lines and (
            self.clock.now() + _SLACK_S < cell_time_s
            or len(self._lines) >= _LINES_HELD
            or time.monotonic() - self._last_flush > _LONGEST_HOLD_S
        ):
            self.flush()
        self._wait_until(cell_time_s, self._is_called)
        return potential, density

    def _pass(self, cell_seconds: float) -> None:
        """Let time pass with the cell driven as it is."""
        left = cell_seconds
        while left > 1e-9:
            before = self.cell.t
            self._go(before + min(left, LONGEST_STRIDE_S))
            left -= self.cell.t - before
            if self._attention:
                self._attend()

    def idle(self, cell_seconds: float, unless: Callable[[], bool]) -> bool:
        """Let time pass while no script runs; what was left switched on stays on.

        Args:
            cell_seconds: how long.
            unless: the wait for the clock ends early when this returns True.

        Returns:
            Whether the time has come; False also when the clock was closed.
        """
        cell = self.cell
        until = cell.t + cell_seconds
        mode, value = self._drive
        # A cell that plays a record knows nothing of the time between programs.
        advance = getattr(cell, "stand_by", cell.advance)
        with cell.lock:
            advance(until - cell.t, mode, value)
        return self.clock.wait_until(until, unless)

    def wait(self, seconds: float) -> None:
        """``wait``."""
        if seconds < 0:
            raise ScriptError("4200")
        self._pass(seconds / self.timer_rate)

    def timer_start(self) -> None:
        """``timer_start``."""
        self._timer_start = self.cell.t

    def timer_get(self) -> float:
        """Return the instrument's seconds since `timer_start`, to the microsecond."""
        return round((self.cell.t - self._timer_start) * self.timer_rate, 6)

    def set_int(self, seconds: float) -> None:
        """``set_int``: the interval of `await_int` starts now."""
        if seconds <= 0:
            raise ScriptError("4204")
        self._interval_s = seconds / self.timer_rate
        self._interval_end = self.cell.t + self._interval_s

    def await_int(self) -> None:
        """``await_int``: wait for the end of the interval; one that was missed is skipped."""
        if self._interval_s is None:
            raise ScriptError("005A")
        missed = math.floor((self.cell.t - self._interval_end) / self._interval_s + 1e-9)
        self._interval_end += max(0, missed) * self._interval_s
        self._pass(self._interval_end - self.cell.t)
        self._interval_end += self._interval_s

    def turn(self) -> None:
        """Begin a turn of a loop; a loop that does nothing else takes its time, too."""
        if self._attention:
            self._attend()
        t = self.cell.t
        if t != self._turn_t:
            self._turn_t = t
            self._turns = 0
            return
        self._turns += 1
        if self._turns >= _TURNS_BOOKED:
            self._turns = 0
            self._pass(_TURNS_BOOKED * _TURN_S)
            self._turn_t = self.cell.t

    # ---- loops, as they are told

    def begin_loop(self) -> None:
        """Say that a loop starts."""
        self.say("L")
        self._closers.append("+")

    def end_loop(self) -> None:
        """Say that a loop has ended."""
        self._close_to("+")

    def end_measurement(self) -> None:
        """Say that a measurement loop has ended."""
        self._close_to("*")

    def aborted(self) -> None:
        """Say that everything that was open has ended."""
        while self._closers:
            self._close_to(self._closers[-1])

    def finishing(self) -> None:
        """Begin what follows ``on_finished:``."""
        self._finishing = True
        self.take_back(ABORT | SKIP | HALT | REVERSE)

    def _close_to(self, mark: str) -> None:
        while self._closers:
            closer = self._closers.pop()
            self.say(closer)
            if closer == "*":
                self._end_segment()
            if closer == mark:
                return

    def _begin_measurement(self, technique: str, **applied: float) -> None:
        self.say("M" + _TECHNIQUE_IDS[technique])
        self._closers.append("*")
        self._segment = {"technique": technique, "began_t_s": self.cell.t, **applied}

    def _resistances(self) -> dict[str, float]:
        # A cell that was recorded does not know its own.
        ask = getattr(self.cell, "resistances", None)
        return {} if ask is None else ask()

    def _end_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            self.write_truth("segment", **segment, ledger=self._ledgers())

    # ---- potentiostat

    def set_pgstat_chan(self, channel: int) -> None:
        """``set_pgstat_chan``: there is channel 0."""
        if channel != 0:
            raise ScriptError("002F")

    def set_pgstat_mode(self, mode: int) -> None:
        """``set_pgstat_mode``: the cell is disconnected on the way."""
        if mode not in (_OFF, *_POTENTIOSTAT_MODES, _GALVANOSTAT):
            raise ScriptError("0021")
        self.cell_off()
        self._mode = mode

    def set_max_bandwidth(self, hertz: float) -> None:
        """``set_max_bandwidth``: checked; the simulated amplifiers have no bandwidth."""
        if hertz <= 0:
            raise ScriptError("4204")

    def set_acquisition_frac_autoadjust(self, hertz: int) -> None:
        """``set_acquisition_frac_autoadjust``: there is no mains hum to avoid."""

    def set_range(self, kind: str, value: float) -> None:
        """``set_range``: the smallest range that holds the value, or the largest, and no other."""
        if kind == "da":
            self._check_potential(value)
        elif kind == "ab":
            self.electronics.potential.fix(value)
        elif kind == "ba":
            self.electronics.current.fix(value)
        else:
            self.electronics.galvanostat.fix(value)

    def set_autoranging(self, kind: str, low: float, high: float) -> None:
        """``set_autoranging``: the ranges between those that hold the two values."""
        if kind == "ab":
            self.electronics.potential.limit(low, high)
        elif kind == "ba":
            self.electronics.current.limit(low, high)
        elif kind == "db":
            self.electronics.galvanostat.limit(low, high)

    def set_range_minmax(self, kind: str, low: float, high: float) -> None:
        """``set_range_minmax``: for "da" checked only, else the range that holds both values."""
        if low > high:
            raise ScriptError("4205")
        if kind == "da":
            self._check_potential(low)
            self._check_potential(high)
        else:
            self.set_range(kind, max(abs(low), abs(high)))

    def set_e(self, potential_v: float) -> None:
        """``set_e``: applied now when the cell is on, else at `cell_on`."""
        self._check_potential(potential_v)
        self._set_v = potential_v
        if self._cell_on and self._mode != _GALVANOSTAT:
            self._apply_potential(potential_v)

    def set_i(self, current_a: float) -> None:
        """``set_i``: applied now when the cell is on, else at `cell_on`."""
        self._check_current(current_a)
        self._set_a = current_a
        if self._cell_on and self._mode == _GALVANOSTAT:
            self._apply_current(current_a)

    def cell_on(self, ocp_v: float | None = None) -> None:
        """``cell_on``: with ``ocp(x)`` a potentiostat starts at x, a galvanostat at no current."""
        if self._mode == _OFF:
            raise ScriptError("0023")
        if self._mode == _GALVANOSTAT:
            self._cell_on = True
            self._apply_current(self._set_a if ocp_v is None else 0.0)
        else:
            self._check_potential(self._set_v if ocp_v is None else ocp_v)
            self._cell_on = True
            self._apply_potential(self._set_v if ocp_v is None else ocp_v)
        self.write_truth("cell_on", mode=self._mode)

    def cell_off(self) -> None:
        """``cell_off``."""
        was_on, self._cell_on = self._cell_on, False
        self._drive = ("i", 0.0)
        if was_on:
            self.write_truth("cell_off", ledger=self._ledgers())

    def _check_potential(self, potential_v: float) -> None:
        if not -POTENTIAL_LIMIT_V <= potential_v <= POTENTIAL_LIMIT_V:
            raise ScriptError("000F")

    def _check_current(self, current_a: float) -> None:
        if not -CURRENT_LIMIT_A <= current_a <= CURRENT_LIMIT_A:
            raise ScriptError("4205")

    def _apply_potential(self, potential_v: float) -> float:
        """Set the converter and return what it was set to, V."""
        set_v, true_v = self.electronics.applied_potential(potential_v)
        self._drive = ("E", true_v)
        return set_v

    def _apply_current(self, current_a: float) -> tuple[float, float]:
        """Set the converter and return (what it was set to, the true current), A."""
        ranging = self.electronics.galvanostat
        ranging.follow(abs(current_a))
        if abs(current_a) > OVERLOAD * ranging.present.nominal:
            raise ScriptError("4205")
        set_a, true_a = self.electronics.applied_current(current_a)
        self._drive = ("i", true_a * 1e3 / self.cell.area_cm2)
        return set_a, true_a

    def _need(self, *modes: int) -> None:
        if self._mode not in modes:
            raise ScriptError("0023")
        if not self._cell_on:
            raise ScriptError("4027")

    def _current_a(self, density_ma_cm2: float) -> float:
        return density_ma_cm2 * 1e-3 * self.cell.area_cm2

    def _read_current(self, density_ma_cm2: float) -> tuple[float, str]:
        true_a = self._current_a(density_ma_cm2)
        if not -_CRITICAL_CURRENT_A <= true_a <= _CRITICAL_CURRENT_A:
            self._protect()
        return self.electronics.read_current(true_a)

    def _protect(self) -> NoReturn:
        self.cell_off()
        raise ScriptError("0032")

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
        self._need(*_POTENTIOSTAT_MODES)
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
        self._need(_GALVANOSTAT)
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
        self._need(*_POTENTIOSTAT_MODES)
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
        self._need(_GALVANOSTAT)
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
        self._need(*_POTENTIOSTAT_MODES)
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
        self._need(_GALVANOSTAT)
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
            if abs(self._current_a(density)) > _CRITICAL_CURRENT_A:
                self._protect()
            with self.cell.lock:
                return complex(self.cell.impedance([frequency_hz])[0])
        return None

    # ---- GPIO

    def set_gpio_cfg(self, mask: int, mode: int) -> None:
        """``set_gpio_cfg``: 0 input, 1 output, 2 peripheral (the script cannot write)."""
        self._check_pins(mask)
        if mode > 2:
            raise ScriptError("0056")
        if mode == 1:
            self._gpio_outputs |= mask
        else:
            self._gpio_outputs &= ~mask

    def set_gpio_pullup(self, mask: int, on: int) -> None:
        """``set_gpio_pullup``: checked; what drives the inputs is wired hard here."""
        self._check_pins(mask)

    def set_gpio(self, bits: int) -> None:
        """``set_gpio``: the levels of all outputs."""
        self._check_pins(bits)
        if bits & ~self._gpio_outputs:
            raise ScriptError("00BA")
        self._write_gpio(bits)

    def set_gpio_msk(self, mask: int, level: int) -> None:
        """``set_gpio_msk``: one level for some outputs."""
        self._check_pins(mask)
        if mask & ~self._gpio_outputs:
            raise ScriptError("00BA")
        self._write_gpio(self._gpio_levels | mask if level else self._gpio_levels & ~mask)

    def get_gpio(self) -> int:
        """``get_gpio``: the levels of all pins."""
        inputs = self.gpio_inputs() & _GPIO_PINS & ~self._gpio_outputs
        return inputs | (self._gpio_levels & self._gpio_outputs)

    def _check_pins(self, mask: int) -> None:
        if mask & ~_GPIO_PINS:
            raise ScriptError("0055")

    def _write_gpio(self, levels: int) -> None:
        before, self._gpio_levels = self._gpio_levels, levels
        if levels != before:
            self.write_truth("gpio", levels=levels, changed=before ^ levels)
            if self.on_gpio is not None:
                self.on_gpio(self.cell.t, levels)

    # ---- files

    def set_script_output(self, where: int) -> None:
        """``set_script_output``: 0 nowhere, 1 line, 2 file, 3 both."""
        if where & 2 and not self._file_is_open:
            raise ScriptError("403B")
        self._output = where

    def file_open(self, path: str, mode: int) -> None:
        """``file_open``: 0 append, 1 overwrite, 2 new; ``&i`` in a new path counts up from 0."""
        if mode > 2:
            raise ScriptError("00B2")
        if self._file_is_open:
            raise ScriptError("4030")
        files = self.files.files
        name = self.files.normal(path)
        if "&i" in name:
            if mode != 2:
                raise ScriptError("402E")
            counter = 0
            while name.replace("&i", f"{counter:04d}") in files:
                counter += 1
            name = name.replace("&i", f"{counter:04d}")
        if mode == 2 and name in files:
            raise ScriptError("0027")
        if mode != 0 or name not in files:
            files[name] = bytearray()
        self.files.open(files[name])
        self._file_is_open = True

    def file_close(self) -> None:
        """``file_close``: output to the file ends."""
        self._file_is_open = False
        self.files.close()
        self._output &= 1


def _late(metadata: str) -> str:
    """Return metadata with the bit "timing not met" set in its status."""
    return f",1{int(metadata[2], 16) | STATUS_TIMING:X}{metadata[3:]}"
