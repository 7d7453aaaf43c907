"""The source-measure unit itself, and its hand on the cell; TSP and SCPI both speak to it.

Time is the instrument's own: its crystal is a few ppm off. What takes time is first booked and then
lived through in one stride, up to the next moment at which anybody could notice: a reading, another
level, a question for the time, something said.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from sim_devices.keithley.buffers import (
    LIMITED,
    OUTPUT,
    READBACK,
    SENSE,
    Buffer,
    Reading,
)
from sim_devices.keithley.electronics import (
    OVERFLOW,
    OVERRANGE,
    Electronics,
    Range,
    range_for,
)
from sim_devices.keithley.events import ILLEGAL_VALUE, OUT_OF_RANGE, RefusedError
from sim_devices.surroundings import MeasuredCell, MeasuringClock, TruthWriter

Quantity = Literal["current", "voltage"]
UNITS = {"current": "Amp DC", "voltage": "Volt DC", "resistance": "Ohm"}
OTHER: dict[str, Quantity] = {"current": "voltage", "voltage": "current"}
OFF_MODES = ("NORMAL", "HIGHZ", "ZERO", "GUARD")
DIGITAL_LINES = range(1, 7)

MAINS_HZ = 50.0
# Cables and contacts of both force leads, which sensing at the cell leaves out.
LEADS_OHM = 0.2
# The cell is computed at most this far ahead of the clock.
LONGEST_STRIDE_S = 1.0
_READING_S, _AUTODELAY_S = 3e-4, 1e-3
_COMMAND_S = 2e-5
_LEAST_NPLC, _MOST_NPLC = 0.01, 10.0
# Off in its normal state it is a source of 0 V with this share of the range as its limit.
_OFF_SHARE = 5e-3
_LEAST_LIMIT_OF_RANGE = 0.106
_SLACK_S = 1e-9
# What a sense input shows that hangs on nothing.
_FLOATING_V = 0.02
_SMALL_STEP_V = 0.02
# Held at its limit the source is looked at often, the longer it lasts the less.
_FIRST_LIMITED_STRIDE_S = 1e-4


class AbortedError(Exception):
    """What runs is to end, because the host or the supply says so."""


class Source:
    """Settings of one function as a source."""

    def __init__(self, quantity: Quantity, ranges: Sequence[Range]) -> None:
        """Take the settings of a reset."""
        self.quantity: Quantity = quantity
        self.range = ranges[0]
        self.autorange = True
        self.level = 0.0
        # Of the other quantity.
        self.limit = 21.0 if quantity == "current" else 1.05e-4
        self.delay_s = 0.0
        self.autodelay = True
        self.readback = True
        self.off_mode = "NORMAL"
        self.high_capacitance = False


class Sense:
    """Settings of one function as a meter."""

    def __init__(self, quantity: Quantity, ranges: Sequence[Range]) -> None:
        """Take the settings of a reset."""
        self.quantity: Quantity = quantity
        self.range = ranges[-2]
        self.autorange = True
        self.lowest = ranges[0]
        self.nplc = 1.0
        self.autozero = True
        self.four_wire = False


class Smu:
    """One source-measure unit; one thread at a time may run it.

    Attributes:
        source: settings by function.
        sense: likewise.
        source_function: ``current`` or ``voltage``.
        sense_function: ``current``, ``voltage`` or ``resistance``.
        count: readings per measurement.
        terminals: ``FRONT`` or ``REAR``; the cell is at both.
        buffers: by name.
        protection_v: beyond what the force leads never go, V; None: it is off.
        sense_lead_off: a sense lead has fallen off: with remote sensing nothing sees the cell.
        on_digital: called with (cell time s, line) when a digital line pulses.
        before_wait: called when the unit is about to wait for the clock.
    """

    def __init__(
        self,
        cell: MeasuredCell,
        clock: MeasuringClock,
        truth: TruthWriter,
        electronics: Electronics,
        started_utc_s: float,
    ) -> None:
        """Wire it to its cell, with the output off.

        Args:
            cell: advanced by this unit only.
            clock: led by this unit.
            truth: gets ``potentiostat`` events.
            electronics: the analogue side.
            started_utc_s: what its clock shows at cell time 0.
        """
        self.cell, self.clock, self.electronics = cell, clock, electronics
        self.make = electronics.make
        self._truth = truth
        self._utc_at_zero_s = started_utc_s
        self.rate = 1.0 + electronics.timer_ppm * 1e-6
        self.on_digital: Callable[[float, int], None] | None = None
        self.before_wait: Callable[[], None] = lambda: None
        self.measured: Callable[[float], float] = lambda value: value  # what is told of it
        self._attention = threading.Event()
        self._owed_s = 0.0
        self._segment: dict[str, Any] | None = None
        self.sense_lead_off = False
        self._output = False
        self._moved = True
        self._potential_v = self._current_a = 0.0
        self._timer_zero_s = 0.0
        self.reset()
        # As the maker's programs for electrochemistry leave it.
        for source in self.source.values():
            source.off_mode = "HIGHZ"

    def reset(self) -> None:
        """Take all settings of a reset: the output is off."""
        self.settle()
        self.set_output(False)
        ranges = self.make.ranges
        both: tuple[Quantity, ...] = ("current", "voltage")
        self.source: dict[str, Source] = {x: Source(x, ranges[x]) for x in both}
        self.sense: dict[str, Sense] = {x: Sense(x, ranges[x]) for x in both}
        self.source_function: Quantity = "voltage"
        self.sense_function = "current"
        self.count = 1
        self.terminals = "FRONT"
        self.buffers = {name: Buffer(name) for name in ("defbuffer1", "defbuffer2")}
        self.tripped = False
        self.protection_v: float | None = None
        self._moved = True

    # ---- for other threads

    def abort(self) -> None:
        """End what runs; the caller then wakes the clock."""
        self._attention.set()

    def ready(self) -> None:
        """Take wishes back: what runs next runs."""
        self._attention.clear()

    # ---- time

    def now_s(self) -> float:
        """Return the instrument's seconds since it was started."""
        return self.cell.t * self.rate + self._owed_s

    def utc_s(self) -> float:
        """Return what its clock shows, s since 1970."""
        return self._utc_at_zero_s + self.now_s()

    def set_clock_forward(self, seconds: float) -> None:
        """Let its clock jump, and with it what its timer shows; the cell notices nothing."""
        self._utc_at_zero_s += seconds
        self._timer_zero_s -= seconds

    def timer_s(self) -> float:
        """Return the seconds since `clear_timer`, to the microsecond; asking takes a moment."""
        self.spend(_COMMAND_S)
        return round(self.now_s() - self._timer_zero_s, 6)

    def clear_timer(self) -> None:
        """Let the timer begin at 0."""
        self._timer_zero_s = self.now_s()

    def spend(self, seconds: float) -> None:
        """Let time pass with the cell driven as it is.

        Raises:
            AbortedError: what runs is to end.
        """
        if self._attention.is_set():
            raise AbortedError
        self._owed_s += seconds
        if self._owed_s > LONGEST_STRIDE_S:
            self.settle()

    def settle(self) -> None:
        """Live through the time that is booked."""
        owed_s, self._owed_s = self._owed_s / self.rate, 0.0
        until = self.cell.t + owed_s
        while until - self.cell.t > _SLACK_S:
            self._go(min(until, self.cell.t + LONGEST_STRIDE_S))
            if self._attention.is_set():
                raise AbortedError

    def idle(self, cell_seconds: float, unless: Callable[[], bool]) -> bool:
        """Let time pass while nothing is asked; what was left switched on stays on.

        Returns:
            Whether the time has come; False also when the clock was closed.
        """
        cell = self.cell
        until = cell.t + cell_seconds
        advance = cell.advance
        if not self._output:
            # A cell that plays a record knows nothing of the time between programs.
            advance = getattr(cell, "stand_by", cell.advance)
        self._drive(until - cell.t, advance)
        return self.clock.wait_until(until, unless)

    def _go(self, cell_time_s: float) -> None:
        self._drive(cell_time_s - self.cell.t, self.cell.advance)
        self.before_wait()
        if not self.clock.wait_until(cell_time_s, self._attention.is_set):
            # Woken, or the clock was closed and shows no time any more.
            self._attention.set()

    # ---- the cell

    def _drive(self, seconds: float, advance: Callable[..., tuple[float, float, float]]) -> None:
        """Advance the cell as the source drives it, within its limit."""
        cell, left_s = self.cell, seconds
        with cell.lock:
            if self._moved:
                self._choose()
            while True:
                mode, value = self._applied
                step_s = min(left_s, self._limited_stride_s) if self._limited else left_s
                _, potential_v, density = advance(step_s, mode, value)
                current_a = density * 1e-3 * cell.area_cm2
                if self._limited or self._beyond(potential_v, current_a):
                    self._choose()
                    # What is beyond the limit is not there to be read, however long the stride was.
                    mode, value = self._applied
                    potential_v, density = cell.potential(mode, value)
                    current_a = density * 1e-3 * cell.area_cm2
                left_s -= step_s
                if left_s <= _SLACK_S:
                    break
        # A cell with a reference electrode still has one potential between its two leads.
        if mode == "i":
            potential_v = getattr(cell, "cell_potential_v", potential_v)
        self._potential_v, self._current_a = potential_v, current_a

    def _beyond(self, potential_v: float, current_a: float) -> bool:
        quantity, limit = self._bound
        return abs(potential_v if quantity == "voltage" else current_a) > limit

    def _choose(self, *, looks: bool = True) -> None:
        """Decide how the cell is driven from now on: at the level, or at the limit.

        Whether the limit is passed at once is not looked at where the level moved a little only.
        """
        cell, per = self.cell, 1e3 / self.cell.area_cm2
        self._moved = self._limited = False
        self._bound = ("voltage", float("inf"))
        self._applied = ("i", 0.0)
        what: Quantity = self.source_function
        source = self.source[what]
        level, limit = source.level, source.limit
        nominal = source.range.nominal
        if not self._output:
            if source.off_mode in ("HIGHZ", "GUARD"):
                return
            what, level, limit = "voltage", 0.0, _OFF_SHARE * self.source["current"].range.nominal
            nominal = self.source["voltage"].range.nominal
        true = self.electronics.applied(what, level, nominal)
        if self._blind():
            # What is sensed never reaches what is set, nor any limit: the force leads go as far as
            # the other limit and the protection let them.
            if what == "voltage" and level:
                true = math.copysign(limit, level)
                self._applied = ("i", true * per)
            elif what == "voltage":
                self._applied = ("E", true)
            else:
                self._applied = ("i", true * per)
            limit = self.make.largest["voltage"] if self.protection_v is None else self.protection_v
            what = "current"
            self._bound = ("voltage", limit)
        elif what == "current":
            self._applied, self._bound = ("i", true * per), ("voltage", limit)
        else:
            self._applied, self._bound = ("E", true), ("current", limit)
        if not looks:
            return
        potential_v, density = cell.potential(*self._applied)
        before, self._side = self._side, 0
        if not self._beyond(potential_v, density / per):
            return
        self._limited = True
        self._side = 1 if (potential_v if what == "current" else density) > 0 else -1
        if what == "current":
            self._applied = ("E", self._side * limit)
        else:
            self._applied = ("i", self._side * limit * per)
        longer_s = min(2 * self._limited_stride_s, LONGEST_STRIDE_S)
        self._limited_stride_s = longer_s if self._side == before else _FIRST_LIMITED_STRIDE_S

    _limited = False
    _side = 0  # at which limit: of which sign
    _limited_stride_s = _FIRST_LIMITED_STRIDE_S
    _bound: tuple[Quantity, float] = ("voltage", float("inf"))
    _applied: tuple[Literal["i", "E"], float] = ("i", 0.0)

    def _changed(self, *, looks: bool = True) -> None:
        """Take note that the source drives the cell differently from now on."""
        self._moved = True
        segment, self._segment = self._segment, None
        if segment is not None and segment["began_t_s"] < self.cell.t:
            self.write_truth("segment", **segment, ledger=self._ledgers())
        if not self._output:
            return
        with self.cell.lock:
            self._choose(looks=looks)
        mode, value = self._applied
        began = {"began_t_s": self.cell.t, "limited": self._limited}
        if mode == "E":
            self._segment = {"technique": "ca", "potential_v": value, **began}
        elif self.source[self.source_function].level:
            current_a = value * 1e-3 * self.cell.area_cm2
            self._segment = {"technique": "cp", "current_a": current_a, **began}
        else:
            self._segment = {"technique": "ocp", **began}

    def write_truth(self, event: str, **values: Any) -> None:
        """Write down what happened now."""
        self._truth.write("potentiostat", event, cell_t_s=self.cell.t, **values)

    def _ledgers(self) -> dict[str, dict[str, float]]:
        return {"WE": self.cell.ledger("WE"), "CE": self.cell.ledger("CE")}

    # ---- the source

    @property
    def output(self) -> bool:
        """Whether the output is on."""
        return self._output

    def set_output(self, on: bool) -> None:
        """Switch the output."""
        if on == self._output:
            return
        self._live_on()
        self._output = on
        self._changed()
        if on:
            self.write_truth("cell_on", mode=self.source_function)
        else:
            self.tripped = False
            self.write_truth("cell_off", ledger=self._ledgers())

    def _live_on(self) -> None:
        """Live through what is booked before something changes; an abort does not hold that up."""
        try:
            self.settle()
        except AbortedError:
            # The output that an abort switches off must go off.
            return

    def set_source_function(self, what: Quantity) -> None:
        """Choose what is sourced; the output goes off where that is another quantity."""
        if what != self.source_function:
            self.set_output(False)
            self.source_function = what
            self.protection_v = None
            self._changed()

    def set_level(self, what: Quantity, level: float) -> None:
        """Set what is sourced; with an automatic range the range follows."""
        source = self.source[what]
        if abs(level) > self.make.largest[what]:
            raise RefusedError(*OUT_OF_RANGE)
        if not source.autorange and abs(level) > OVERRANGE * source.range.nominal * (1 + 1e-9):
            raise RefusedError(*OUT_OF_RANGE)
        self.settle()
        if source.autorange:
            source.range = range_for(self.make.ranges[what], level)
        small = what == "voltage" and abs(level - source.level) < _SMALL_STEP_V
        source.level = level
        if what == self.source_function:
            self._changed(looks=self._limited or not small)

    def set_source_range(self, what: Quantity, value: float) -> None:
        """Set a fixed range: the smallest that holds a value."""
        source = self.source[what]
        if abs(value) > self.make.largest[what]:
            raise RefusedError(*OUT_OF_RANGE)
        chosen = range_for(self.make.ranges[what], value)
        if abs(source.level) > OVERRANGE * chosen.nominal:
            raise RefusedError(*OUT_OF_RANGE)
        self.settle()
        source.range, source.autorange = chosen, False
        if what == self.source_function:
            self._changed()

    def set_limit(self, what: Quantity, limit: float) -> None:
        """Set the limit of the other quantity while ``what`` is sourced; it is a magnitude."""
        sense, size = self.sense[OTHER[what]], abs(limit)
        if not 0 < size <= self.make.largest[OTHER[what]]:
            raise RefusedError(*OUT_OF_RANGE)
        fixed = self.sense_function == OTHER[what] and not sense.autorange
        if fixed and size < _LEAST_LIMIT_OF_RANGE * sense.range.nominal:
            raise RefusedError(*OUT_OF_RANGE)
        self.settle()
        self.source[what].limit = size
        self._moved = True

    def set_protection(self, volts: float | None) -> None:
        """Set beyond what the force leads never go."""
        self.settle()
        self.protection_v = volts
        self._moved = True

    def is_protecting(self) -> bool:
        """Return whether the source is held at its overvoltage protection now."""
        return self.is_tripped() and self._blind()

    def lose_sense_lead(self, *, lost: bool) -> None:
        """Let a sense lead fall off, or put it back; an instrument does not notice."""
        self.sense_lead_off = lost
        self._moved = True

    def _blind(self) -> bool:
        return self.sense_lead_off and any(sense.four_wire for sense in self.sense.values())

    def is_tripped(self) -> bool:
        """Return whether the source is held at its limit now."""
        self.settle()
        return self._output and self._limited

    # ---- the meter

    def set_sense_range(self, what: Quantity, value: float) -> None:
        """Set a fixed range: the smallest that holds a value."""
        if abs(value) > self.make.largest[what]:
            raise RefusedError(*OUT_OF_RANGE)
        chosen, source = range_for(self.make.ranges[what], value), self.source[self.source_function]
        limits_it = what == OTHER[self.source_function]
        if limits_it and source.limit < _LEAST_LIMIT_OF_RANGE * chosen.nominal:
            raise RefusedError(*OUT_OF_RANGE)
        sense = self.sense[what]
        sense.range, sense.autorange = chosen, False

    def set_nplc(self, what: Quantity, nplc: float) -> None:
        """Set how many periods of the mains a reading lasts."""
        if not _LEAST_NPLC <= nplc <= _MOST_NPLC:
            raise RefusedError(*OUT_OF_RANGE)
        self.sense[what].nplc = nplc

    def set_four_wire(self, what: Quantity, four_wire: bool) -> None:
        """Set where potentials are sensed; switches an output off that is on."""
        if four_wire != self.sense[what].four_wire:
            self.set_output(False)
            for sense in self.sense.values():
                sense.four_wire = four_wire

    def set_off_mode(self, what: Quantity, mode: str) -> None:
        """Set what the terminals are while the output is off."""
        if mode not in OFF_MODES:
            raise RefusedError(*ILLEGAL_VALUE)
        self.source[what].off_mode = mode
        self._moved = True

    def measure(self, buffer: Buffer) -> Reading:
        """Take as many readings as are set; return the last one.

        Raises:
            AbortedError: it was ended meanwhile.
        """
        reading = None
        for _ in range(self.count):
            reading = self._measure_once(buffer)
        assert reading is not None  # the count is never below 1
        return reading

    def _measure_once(self, buffer: Buffer) -> Reading:
        source = self.source[self.source_function]
        what: Quantity = "current" if self.sense_function == "current" else "voltage"
        sense = self.sense[what]
        parts = (3 if sense.autozero else 1) * (2 if source.readback else 1)
        self.spend(_AUTODELAY_S if source.autodelay else source.delay_s)
        self.spend(parts * sense.nplc / MAINS_HZ + _READING_S)
        self.settle()
        value = self._read(what, sense)
        unit = UNITS[what]
        status = (OUTPUT if self._output else 0) | (READBACK if source.readback else 0)
        if self._limited and self._output:
            status |= LIMITED
            self.tripped = True
        if sense.four_wire:
            status |= SENSE
        sourced = source.level
        if source.readback and self._output:
            sourced = self._read_back(source, sense)
        if self.sense_function == "resistance":
            unit, current_a = UNITS["resistance"], self._read("current", self.sense["current"])
            value = value / current_a if current_a else OVERFLOW
        reading = Reading(
            self.measured(value),
            unit,
            sourced,
            UNITS[self.source_function],
            self.utc_s(),
            0,
            status,
        )
        buffer.add(reading)
        return reading

    def _at_the_terminals(self, what: Quantity, four_wire: bool) -> float:
        if what == "current":
            return self._current_a
        if four_wire and self.sense_lead_off:
            return _FLOATING_V
        leads_v = 0.0 if four_wire or not self._output else self._current_a * LEADS_OHM
        return self._potential_v + leads_v

    def _read(self, what: Quantity, sense: Sense) -> float:
        true = self._at_the_terminals(what, sense.four_wire)
        chosen = sense.range
        if what == self.source_function:
            # What is sourced is measured in the range of the source.
            chosen = self.source[what].range
        elif sense.autorange:
            chosen = max(range_for(self.make.ranges[what], true / OVERRANGE), sense.lowest)
            sense.range = chosen
        return self.electronics.reading(what, true, chosen.nominal, sense.nplc)

    def _read_back(self, source: Source, sense: Sense) -> float:
        true = self._at_the_terminals(source.quantity, sense.four_wire)
        nominal = source.range.nominal
        return self.electronics.reading(source.quantity, true, nominal, sense.nplc)

    # ---- digital lines

    def pulse(self, line: int) -> None:
        """Let a digital line pulse."""
        self.settle()
        self.write_truth("digital_pulse", line=line)
        if self.on_digital is not None:
            self.on_digital(self.cell.t, line)

    def close(self) -> None:
        """Take the unit off its cell, for the truth."""
        self._output, before = False, self._output
        self._owed_s = 0.0
        self._changed()
        if before:
            self.write_truth("cell_off", ledger=self._ledgers())


def host_utc_s() -> float:
    """Return the host's UTC, s since 1970, which the instrument's clock was once set by."""
    return time.time()
