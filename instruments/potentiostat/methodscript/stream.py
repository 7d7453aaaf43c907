"""What a running program sends, line by line, turned into rows.

Pure: no wire, no clock. A line that does not have exactly the form the program can have produced is
never decoded: it is kept raw in ``damaged`` and counted, and rows whose step is not known are left
out rather than guessed.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from instruments.errors import ProtocolError
from instruments.potentiostat.contract import LOST_BEFORE, OTHER, ImpedancePoint, ProgramEnd, Sample
from instruments.potentiostat.methodscript.error_codes import ErrorReply, parse_error
from instruments.potentiostat.methodscript.packages import Variable, by_type, parse_package
from instruments.potentiostat.methodscript.program import Program
from instruments.potentiostat.methodscript.script import END, LOG, SAFETY, STOP, Block
from techniques import Counters

_HEADER = {"eb", "ja", "jb", "jc", "jd"}
_FAREWELL = {"eb", "ja"}
_OPENED = {"eb", "jb"}
_IMPEDANCE = {"eb", "ja", "dc", "cc", "cd"}
_OPEN_CIRCUIT = {"eb", "ja", "ab"}
# Where the potential is set, loops give the set one; some firmware may give the measured one.
_SET_POTENTIAL = ({"eb", "ja", "da", "ba"}, {"eb", "ja", "ab", "ba"})
_AT_SET_POTENTIAL = ("potentiostatic", "linear_sweep", "cyclic_voltammetry")
_CELL_POTENTIAL = "ag"
# The current of a galvanostatic loop is documented as "set current", of unknown type.
_CURRENT_TYPES = ("ba", "db")
# Beyond what any of these instruments can measure: a damaged digit, not a value.
_ABSURD_POTENTIAL_V = 20.0
_ABSURD_CURRENT_A = 2.0

# Loops begin and end, scans begin and end, acknowledgements of what was sent while running.
_MARK = re.compile(r"M[0-9A-F]{4}|\*|L|\+|C[0-9A-Fa-f]{4}|-|[YhHR]")
_ERROR = re.compile(r"!.*")


@dataclass
class ProgramStream:
    """The state of one running program; feed it lines.

    Attributes:
        program: what runs.
        damaged: lines that could not be decoded, raw.
        dropped: rows that did not arrive at all, by the gaps in their numbers.
        lost: rows that did not arrive whole, by the gaps in their numbers: dropped or damaged. The
            last row of a step is lost only if both its copies are.
        odd_times: rows that were left out because their time cannot be.
        incomplete: why rows may be missing or misplaced, ``None`` if the structure is whole.
        over: whether the program has ended.
        complete: whether it said so itself, with ``END``, ``STOP`` or ``SAFETY``.
        stopped: what a limit of the technique said when it stopped the program.
        safety: what a safety limit said.
        aborted: whether the instrument acknowledged an abort.
        fault: the run-time error that ended the program.
        log: path of the file to which the instrument says it also writes.
        block: the step that runs; with its numbers ``step``, ``cycle`` and ``half_cycle``.
        opened_s: how far the step had come when the cell was opened for good, s; ``None`` before.
    """

    program: Program
    damaged: list[bytes] = field(default_factory=list)
    dropped: int = 0
    lost: int = 0
    odd_times: int = 0
    incomplete: str | None = None
    over: bool = False
    complete: bool = False
    stopped: str | None = None
    safety: str | None = None
    aborted: bool = False
    fault: ErrorReply | None = None
    log: str | None = None
    block: Block | None = None
    step: int = 0
    cycle: int = 0
    half_cycle: int = 0
    opened_s: float | None = None
    _spectrum: int = 0
    _row: int = 0
    _damaged_by_row: int = 0
    _last: tuple[int, dict[str, str]] | None = None
    _base_s: float = 0.0
    _timer_s: float = 0.0

    def __post_init__(self) -> None:
        begin = self.program.begin
        self.step, self.cycle, self.half_cycle = begin.step, begin.cycle, begin.half_cycle
        self._spectrum, self._base_s = begin.spectrum, begin.t_s

    @property
    def counters(self) -> Counters:
        """Return where the program stands: a program that goes on from here begins with these."""
        return Counters(
            t_s=self._base_s + self._timer_s,
            cycle=self.cycle,
            half_cycle=self.half_cycle,
            step=self.step,
            spectrum=self._spectrum,
        )

    @property
    def step_s(self) -> float:
        """Return the time of the newest row, or of the end, since the edge of the step, s."""
        return self._timer_s

    @property
    def end(self) -> ProgramEnd:
        """Return where the program stands, and how it ended as far as the instrument told."""
        ending: Literal["complete", "stopped", "safety", "opened", "unknown"] = "unknown"
        if self.safety is not None:
            ending = "safety"
        elif self.stopped is not None:
            ending = "stopped"
        elif self.complete:
            ending = "complete"
        elif self.opened_s is not None:
            ending = "opened"
        kind, role = (None, OTHER) if self.block is None else (self.block.kind, self.block.role)
        return ProgramEnd(ending, kind, role, self.counters, self.step_s)

    @property
    def silence_s(self) -> float:
        """Return how long no line may come before the next one is overdue, s."""
        return self.block.silence_s if self.block is not None else 0.0

    def go_on(self) -> None:
        """Take the empty line that ended the program for the rest of a damaged one."""
        self.over = False
        self.damaged.append(b"")

    def feed(self, line: bytes, arrival_ns: int) -> Sample | ImpedancePoint | None:
        """Take one line without its end; return the row it holds, if any."""
        try:
            return self._line(line.decode("ascii"), arrival_ns)
        except (ProtocolError, UnicodeDecodeError):
            self.damaged.append(line)
            return None

    def _line(self, text: str, arrival_ns: int) -> Sample | ImpedancePoint | None:
        if text == "":
            self.over = True
        elif text.startswith("P"):
            return self._package(text, arrival_ns)
        elif text.startswith("T"):
            self._text(text[1:])
        elif text == "Z":
            self.aborted = True
        elif _ERROR.fullmatch(text):
            self.fault = parse_error(text)
        elif not _MARK.fullmatch(text):
            raise ProtocolError(f"{text!r} is not a line a running script can send")
        return None

    def _text(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word == SAFETY:
            self.safety = rest
        elif word == STOP:
            self.stopped = rest
        elif word == LOG:
            self.log = rest
            return
        elif text != END:
            raise ProtocolError(f"{text!r} is not a text of our programs")
        self.complete = True

    def _package(self, text: str, arrival_ns: int) -> Sample | ImpedancePoint | None:
        values = by_type(parse_package(text))
        kinds = set(values)
        if kinds == _HEADER:
            self._header(values)
            return None
        if kinds == _FAREWELL:
            self._count(values, text)
            return None
        if kinds == _OPENED:
            self._opened(values, text)
            return None
        if self.block is None:
            raise ProtocolError(f"a row before the first header: {text!r}")
        timer_s = values["eb"].value if "eb" in values else -1.0
        if not _not_before(self._timer_s) <= timer_s <= self.block.longest_s * 1.5 + 60:
            # Back in time: the timer was started anew, by a step whose headers did not get through.
            if timer_s >= 0 and self.damaged:
                self._lose("a step began whose header was damaged, or its clock jumped")
            elif "eb" in values:
                self.odd_times += 1
            raise ProtocolError(f"the time does not fit the step: {text!r}")
        told = (self.step, {kind: repr(variable.value) for kind, variable in values.items()})
        if told == self._last:
            return None  # the second copy of the last row of a step
        timer_s = max(timer_s, self._timer_s)
        t_s = self._base_s + timer_s
        where = (self.cycle, self.half_cycle, self.step)
        around = self.program.reference and _CELL_POTENTIAL in kinds
        if self.block.kind == "impedance" and not around:
            if kinds != _IMPEDANCE:
                raise ProtocolError(f"not a point of an impedance spectrum: {text!r}")
            row: Sample | ImpedancePoint = ImpedancePoint(
                t_s,
                self._spectrum,
                *where,
                frequency_hz=values["dc"].value,
                z_real_ohm=values["cc"].value,
                z_imag_ohm=values["cd"].value,
                flags=values["cc"].status | values["cd"].status,
                arrival_ns=arrival_ns,
            )
        else:
            row = self._sample(values, text, t_s, where, arrival_ns)
        missing = self._count(values, text)
        self._timer_s, self._last = timer_s, told
        if self.incomplete is not None:
            return None
        return row._replace(flags=row.flags | LOST_BEFORE) if missing else row

    def _sample(
        self,
        values: dict[str, Variable],
        text: str,
        t_s: float,
        where: tuple[int, int, int],
        arrival_ns: int,
    ) -> Sample:
        block, kinds = self.block, set(values)
        assert block is not None  # told to the type checker; _package has asked
        cell = math.nan
        if self.program.reference:
            if _CELL_POTENTIAL not in kinds:
                raise ProtocolError(f"a row without the potential of the cell: {text!r}")
            cell = values[_CELL_POTENTIAL].value
            kinds.remove(_CELL_POTENTIAL)
        current, flags = 0.0, values["ab"].status if "ab" in values else 0
        if block.kind == "galvanostatic":
            kind = next((kind for kind in _CURRENT_TYPES if kind in kinds), "")
            if kinds != _OPEN_CIRCUIT | {kind}:
                raise ProtocolError(f"not a row of a galvanostatic step: {text!r}")
            current = values[kind].value
            flags |= values[kind].status
        elif block.kind in _AT_SET_POTENTIAL:
            if kinds not in _SET_POTENTIAL:
                raise ProtocolError(f"not a row of a {block.kind} step: {text!r}")
            current = values["ba"].value
            flags |= values["ba"].status
        elif block.kind == "impedance" and kinds in _SET_POTENTIAL:
            current = values["ba"].value  # a hold at its bias
            flags |= values["ba"].status
        elif kinds != _OPEN_CIRCUIT:
            raise ProtocolError(f"not a row of an open circuit: {text!r}")
        potential = values["ab" if "ab" in values else "da"].value
        if abs(cell) > _ABSURD_POTENTIAL_V:
            raise ProtocolError(f"no instrument measures this: {text!r}")
        if abs(potential) > _ABSURD_POTENTIAL_V or abs(current) > _ABSURD_CURRENT_A:
            raise ProtocolError(f"no instrument measures this: {text!r}")
        step_t_s = values["eb"].value
        measured = (t_s, step_t_s, potential, current)
        return Sample(*measured, *where, block.role, flags, arrival_ns, cell)

    def _count(self, values: dict[str, Variable], text: str) -> int:
        """Return how many rows did not arrive, by the number of this one (or of the last one)."""
        number, farewell = values["ja"].value, set(values) == _FAREWELL
        if not isinstance(number, int) or number <= self._row - farewell:
            raise ProtocolError(f"the row's number does not follow {self._row}: {text!r}")
        missing = number - self._row - (not farewell)
        # Of the rows in between, as many were damaged as there were damaged lines.
        damaged = len(self.damaged) - self._damaged_by_row
        self.dropped += max(0, missing - damaged)
        self._row, self._damaged_by_row = number, len(self.damaged)
        self.lost += missing
        return missing

    def _header(self, values: dict[str, Variable]) -> None:
        numbers = [values[kind].value for kind in ("ja", "jb", "jc", "jd")]
        if not all(isinstance(number, int) for number in numbers):
            raise ProtocolError(f"a header must count in integers: {values!r}")
        number, step, cycle, half_cycle = (int(x) for x in numbers)
        if step == self.step:
            return  # the second copy
        took_s = values["eb"].value
        if not (
            0 <= number < len(self.program.blocks)
            and step > self.step
            and cycle >= self.cycle
            and half_cycle >= self.half_cycle
            and took_s >= _not_before(self._timer_s)
        ):
            raise ProtocolError(f"a header that does not follow the one before: {values!r}")
        if step != self.step + 1:
            self._lose(f"step {self.step + 1} began unnoticed, its header was damaged")
        self.block = self.program.blocks[number]
        self.step, self.cycle, self.half_cycle = step, cycle, half_cycle
        self._base_s += max(took_s, self._timer_s)
        self._timer_s = 0.0
        if self.block.kind == "impedance":
            self._spectrum += 1

    def _opened(self, values: dict[str, Variable], text: str) -> None:
        took_s = values["eb"].value
        if values["jb"].value != self.step or took_s < _not_before(self._timer_s):
            raise ProtocolError(f"this is not where the program stood: {text!r}")
        self.opened_s = self._timer_s = max(took_s, self._timer_s)

    def _lose(self, why: str) -> None:
        self.incomplete = self.incomplete or why


def _not_before(timer_s: float) -> float:
    """Return the least time that may follow ``timer_s``: its unit grows from us to ms to s."""
    return timer_s * (1 - 1e-5) - 1e-6
