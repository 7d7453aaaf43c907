"""What a running program prints, line by line, turned into rows; see ``program.tsp``.

Pure: no wire, no clock. A line that does not have exactly the form the program can have printed is
never decoded: it is kept raw in ``damaged``. Each row names its step and carries its own number, so
that lines that got lost on the way cost no more than themselves, and are noticed.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from instruments.errors import ProtocolError
from instruments.potentiostat.contract import LOST_BEFORE, OTHER, ProgramEnd, Sample
from instruments.potentiostat.keithley.script import END, FAULT, SAFETY, STOP, Block, Program
from techniques import Counters

# Bits of the source's status, and that of a reading that the program took late.
_PROTECTION, _OVER_TEMPERATURE, _LIMITED, _LATE = 4, 16, 32, 256
# Bits of `Sample.flags`.
TIMING, OVERLOAD = 1, 2
# What these instruments say of a reading beyond its range.
_OVERFLOW = 9e36
# Beyond what any of them can measure: a damaged digit, not a value.
_ABSURD_V, _ABSURD_A = 250.0, 12.0
_ROUNDING_S = 2e-6

# Counts and times of more digits than a run can have are damage.
_COUNT, _TIME = r"(\d{1,9})", r"(\d{1,9}\.\d{6})"
_CLOCK, _VALUE = r"(\d{1,11}\.\d{3})", r"(-?\d\.\d{7}e[+-]\d{2,3})"
_BEGUN = re.compile(rf"B,{_CLOCK}")
_STEP = re.compile(rf"S,{_COUNT},{_COUNT},{_COUNT},{_COUNT},{_TIME},{_CLOCK}")
_ROW = re.compile(rf"R,{','.join(5 * [_COUNT])},{_TIME},{_TIME},{_VALUE},{_VALUE},{_COUNT}")
_END = re.compile(rf"E,{_COUNT},{_COUNT},{_COUNT},{_TIME},{_TIME},([\w.]+),(\w+)(?: (.*))?")


@dataclass
class ProgramStream:
    """The state of one running program; feed it lines.

    Attributes:
        program: what runs.
        damaged: lines that could not be decoded, raw.
        lost: rows that did not arrive whole, by the gaps in their numbers: damaged or dropped.
        dropped: those of them that did not arrive at all.
        odd_times: lines whose time cannot be, which was left out.
        begun_utc_s: the instrument's clock when the program began, s since 1970.
        over: whether the program has ended.
        ending: the word with which it said so itself.
        told: what it said besides: the limit and its value, or the fault.
        output: the output as it was read back at the end.
        step: number of the step that runs; with ``cycle`` and ``half_cycle``.
        block: what it does.
    """

    program: Program
    damaged: list[bytes] = field(default_factory=list)
    lost: int = 0
    dropped: int = 0
    odd_times: int = 0
    begun_utc_s: float | None = None
    over: bool = False
    ending: str | None = None
    told: str = ""
    output: str = ""
    aborted: bool = False
    block: Block | None = None
    step: int = 0
    cycle: int = 0
    half_cycle: int = 0
    _row: int = 0
    _damaged_by_row: int = 0
    _t_s: float = 0.0
    _edge_s: float = 0.0

    def __post_init__(self) -> None:
        begin = self.program.begin
        self.step, self.cycle, self.half_cycle = begin.step, begin.cycle, begin.half_cycle

    @property
    def counters(self) -> Counters:
        """Return where the program stands: a program that goes on from here begins with these."""
        begin = self.program.begin
        return Counters(
            t_s=begin.t_s + self._t_s,
            cycle=self.cycle,
            half_cycle=self.half_cycle,
            step=self.step,
            spectrum=begin.spectrum,
        )

    @property
    def end(self) -> ProgramEnd:
        """Return where the program stands, and how it ended as far as the instrument told."""
        words: dict[str | None, Literal["complete", "stopped", "safety"]] = {
            END: "complete",
            STOP: "stopped",
            SAFETY: "safety",
        }
        ending: Literal["complete", "stopped", "safety", "opened", "unknown"]
        ending = words.get(self.ending, "opened" if self.aborted else "unknown")
        kind, role = (None, OTHER) if self.block is None else (self.block.kind, self.block.role)
        return ProgramEnd(ending, kind, role, self.counters, max(0.0, self._t_s - self._edge_s))

    @property
    def silence_s(self) -> float:
        """Return how long no line may come before the next one is overdue, s."""
        return self.block.silence_s if self.block is not None else 0.0

    def feed(self, line: bytes, arrival_ns: int) -> Sample | None:
        """Take one line without its end; return the row it holds, if any."""
        try:
            return self._line(line.decode("ascii").strip("\r"), arrival_ns)
        except (ProtocolError, UnicodeDecodeError):
            self.damaged.append(line)
            return None

    def opened(self, t_s: float) -> None:
        """Take that the output was off when the timer showed ``t_s``: the program was aborted."""
        self.over = self.aborted = True
        self._t_s = max(t_s, self._t_s)

    def _line(self, text: str, arrival_ns: int) -> Sample | None:
        if found := _ROW.fullmatch(text):
            return self._sample(found, text, arrival_ns)
        if found := _STEP.fullmatch(text):
            block, step, cycle, half_cycle = (int(found[n]) for n in range(1, 5))
            if step <= self.step:
                raise ProtocolError(f"a step that does not follow step {self.step}: {text!r}")
            self._begin(block, step, cycle, half_cycle, text)
            self._move(float(found[5]), text)
            self._edge_s = self._t_s
        elif found := _BEGUN.fullmatch(text):
            self.begun_utc_s = float(found[1])
        elif found := _END.fullmatch(text):
            self._end(found, text)
        elif text:
            raise ProtocolError(f"{text!r} is not a line a program of ours can print")
        return None

    def _begin(self, block: int, step: int, cycle: int, half_cycle: int, text: str) -> None:
        counted = cycle >= self.cycle and half_cycle >= self.half_cycle
        if not (block < len(self.program.blocks) and step >= self.step and counted):
            raise ProtocolError(f"not where the program stands: {text!r}")
        self.block = self.program.blocks[block]
        self.step, self.cycle, self.half_cycle = step, cycle, half_cycle

    def _move(self, t_s: float, text: str) -> None:
        if t_s < self._t_s - _ROUNDING_S:
            self.odd_times += 1
            raise ProtocolError(f"the time goes back: {text!r}")
        self._t_s = max(t_s, self._t_s)

    def _sample(self, found: re.Match[str], text: str, arrival_ns: int) -> Sample:
        number, block, step, cycle, half_cycle = (int(found[n]) for n in range(1, 6))
        t_s, step_t_s = float(found[6]), float(found[7])
        potential_v, current_a = (_reading(found[n]) for n in (8, 9))
        status = int(found[10])
        if number <= self._row:
            raise ProtocolError(f"the row's number does not follow {self._row}: {text!r}")
        if abs(potential_v) > _ABSURD_V or abs(current_a) > _ABSURD_A:
            raise ProtocolError(f"no instrument measures this: {text!r}")
        if block >= len(self.program.blocks):
            raise ProtocolError(f"there is no block {block}: {text!r}")
        if step_t_s > _longest_s(self.program.blocks[block]):
            self.odd_times += 1
            raise ProtocolError(f"the time does not fit the step: {text!r}")
        before = self._t_s
        self._move(t_s, text)
        try:
            self._begin(block, step, cycle, half_cycle, text)
        except ProtocolError:
            self._t_s = before
            raise
        missing = number - self._row - 1
        self._row, self._edge_s = number, max(0.0, t_s - step_t_s)
        self._lose(missing)
        flags = TIMING if status & _LATE else 0
        if status & (_PROTECTION | _OVER_TEMPERATURE | _LIMITED):
            flags |= OVERLOAD
        if math.isnan(potential_v) or math.isnan(current_a):
            flags |= OVERLOAD
        if missing:
            flags |= LOST_BEFORE
        assert self.block is not None  # told to the type checker; _begin has set it
        return Sample(
            self.program.begin.t_s + self._t_s,
            step_t_s,
            potential_v,
            current_a,
            cycle,
            half_cycle,
            step,
            self.block.role,
            flags,
            arrival_ns,
        )

    def _lose(self, missing: int) -> None:
        """Count rows that are missing; of them as many were damaged as there were such lines."""
        damaged = len(self.damaged) - self._damaged_by_row
        self.lost += missing
        self.dropped += max(0, missing - damaged)
        self._damaged_by_row = len(self.damaged)

    def _end(self, found: re.Match[str], text: str) -> None:
        rows = int(found[1])
        if rows < self._row or found[7] not in (END, STOP, SAFETY, FAULT):
            raise ProtocolError(f"this is not how the program can end: {text!r}")
        t_s = float(found[4])
        since_edge_s = t_s - self._edge_s
        if self.block is not None and not -_ROUNDING_S <= since_edge_s <= _longest_s(self.block):
            self.odd_times += 1  # it has ended all the same, when is not known
        else:
            self._move(t_s, text)
        self._lose(rows - self._row)
        self._row = rows
        self.output, self.ending, self.told = found[6], found[7], found[8] or ""
        self.over = True


def _longest_s(block: Block) -> float:
    """Return how long a step can have lasted, s, whatever its instrument's timer is like."""
    return block.longest_s * 1.5 + 60


def _reading(text: str) -> float:
    value = float(text)
    return math.nan if abs(value) > _OVERFLOW else value
