"""The potentiostat that a script drives: its hand on the cell, its timer, GPIO, files, and output.

Time is the instrument's own: its crystal is a few ppm off, so an interval of one second in a script
is not quite one second of the cell, and `timer_get` counts in the same wrong seconds.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NoReturn

from sim_devices.methodscript.electronics import (
    CURRENT_LIMIT_A,
    CURRENT_RANGES,
    OVERLOAD,
    POTENTIAL_LIMIT_V,
    Electronics,
)
from sim_devices.methodscript.errors import ScriptAborted, ScriptError
from sim_devices.methodscript.files import FileStore
from sim_devices.surroundings import ImpedantCell, MeasuringClock, TruthWriter

# What a running script may be asked from outside; bits of `Machine.ask`.
ABORT, SKIP, HALT, REVERSE, POWER_OFF = 1, 2, 4, 8, 16

# The cell is computed at most this far ahead of the clock, so that the other instruments see it
# move and an abort is quick.
LONGEST_STRIDE_S = 1.0

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
CRITICAL_CURRENT_A = OVERLOAD * CURRENT_RANGES[-1].nominal

_HALTED_STRIDE_S = 0.1

_GPIO_PINS = 0xFF
_OFF, GALVANOSTAT = 0, 6
POTENTIOSTAT_MODES = (2, 3, 4)

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


class Potentiostat:
    """What scripts ask for besides measuring; one thread at a time may run it.

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

    def set_timer_forward(self, seconds: float) -> None:
        """Let the timer jump; nothing that waits for a time notices."""
        self._timer_start -= seconds

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
        if mode not in (_OFF, *POTENTIOSTAT_MODES, GALVANOSTAT):
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
        if self._cell_on and self._mode != GALVANOSTAT:
            self._apply_potential(potential_v)

    def set_i(self, current_a: float) -> None:
        """``set_i``: applied now when the cell is on, else at `cell_on`."""
        self._check_current(current_a)
        self._set_a = current_a
        if self._cell_on and self._mode == GALVANOSTAT:
            self._apply_current(current_a)

    def cell_on(self, ocp_v: float | None = None) -> None:
        """``cell_on``: with ``ocp(x)`` a potentiostat starts at x, a galvanostat at no current."""
        if self._mode == _OFF:
            raise ScriptError("0023")
        if self._mode == GALVANOSTAT:
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
        if not -CRITICAL_CURRENT_A <= true_a <= CRITICAL_CURRENT_A:
            self._protect()
        return self.electronics.read_current(true_a)

    def _protect(self) -> NoReturn:
        self.cell_off()
        raise ScriptError("0032")

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
