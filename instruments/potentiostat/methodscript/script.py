"""A MethodSCRIPT program while it is written: its lines, and the pieces all its steps share."""

import math
from dataclasses import dataclass, field
from typing import Literal, Self

from instruments.errors import UnsupportedTechniqueError
from instruments.potentiostat.contract import Capabilities, StepKind
from instruments.potentiostat.methodscript.values import format_literal
from techniques import Assignment, Limit, Recording
from techniques.assignment import OPEN_CIRCUIT_BEFORE_S
from techniques.recording import COARSEST_CHECK_S, FINEST_CHECK_S

END, STOP, SAFETY, LOG = "END", "STOP", "SAFETY", "LOG"
# Longest line of a program, and what a step sends besides its rows, in bytes, line ends included.
_LINE_BYTES, _REFERENCE_BYTES, _STEP_BYTES = 64, 20, 320
# PalmSens' own scripts filter at about this many times 1/interval.
BANDWIDTH_TIMES_INTERVAL = 5.85
_POTENTIAL_SPAN_V = 2.0
# A potential that is compared must be read beyond the threshold, not at the end of the range.
_HEADROOM = 1.1
SHORTEST_INTERVAL_S = 1e-3
# Codes of the variable `why`: 0 the time is over, 1.. the step's own limits, then these.
SAFETY_HIGH, SAFETY_LOW, SAFETY_CURRENT, WRONG_WAY, SAFETY_CELL = 101, 102, 103, 104, 105
NO_REFERENCE = 106
# A potential beyond this share of what the instrument can measure is none.
_MEASURABLE = 0.98
# What a program says of a reference that it refuses.
REFERENCE_OFFSET, REFERENCE_POTENTIAL = "reference_offset_v", "reference_potential_v"


@dataclass(frozen=True)
class Block:
    """One elementary step as written; a loop runs it several times.

    Attributes:
        kind: what it does.
        role: as in rows.
        current_a: current that is set, A, IUPAC; 0 where none is.
        silence_s: longest time between two lines if all is well, s.
        longest_s: longest time the step can last, s.
    """

    kind: StepKind
    role: int
    current_a: float
    silence_s: float
    longest_s: float


@dataclass(frozen=True)
class Due:
    """What makes a row due besides the time.

    Attributes:
        variable: ``p`` or ``c``: what moves.
        band: by how much, as a literal; ``None``: it makes no row due.
        charge_c: a charge, C, which the step then has to count in ``q``.
    """

    variable: Literal["p", "c"] = "p"
    band: str | None = None
    charge_c: float | None = None

    @classmethod
    def of_potential(cls, record: Recording) -> Self:
        """Return what a moving potential makes due."""
        return cls("p", None if record.de_v is None else volts(record.de_v))


@dataclass
class Script:
    """The lines written so far, and where in the technique they have come to."""

    assignment: Assignment
    capabilities: Capabilities
    lines: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)
    depth: int = 0
    deepest: int = 0
    passes: int = 1
    longest_log_bytes: int = 1024

    @property
    def reference(self) -> bool:
        """Return whether a reference electrode is connected."""
        return self.assignment.reference

    def names(self, *names: str) -> tuple[str, ...]:
        """Return the variables of a row: with a reference, the potential of the cell besides."""
        return (*names, "w") if self.reference else names

    def measure(self, loop: str) -> None:
        """Begin a measurement loop that also measures E_WE - E_CE if there is a reference."""
        self.add(f"{loop} add_meas(0 ag w)" if self.reference else loop)

    def watch_cell(self) -> set[int]:
        """Leave the loop where E_WE - E_CE is beyond its limits; return the codes it can be."""
        found = set()
        for sign, value, code in self._limits_of_cell():
            self.watch(f"w {sign} {volts(value)}", code)
            found.add(code)
        return found

    def _limits_of_cell(self) -> list[tuple[Literal["<", ">"], float, int]]:
        """Return what E_WE - E_CE is compared with if there is a reference: the nearest limits.

        That of |E_WE - E_CE| where it is nearer than the window, which holds for it as well.
        """
        if not self.reference:
            return []
        limits, most = self.assignment.limits, self.assignment.limits.cell_potential_max_v
        high, low = limits.potential_max_v, limits.potential_min_v
        found: list[tuple[Literal["<", ">"], float, int]] = []
        if most is not None and (high is None or most < high):
            found.append((">", most, SAFETY_CELL))
        elif high is not None:
            found.append((">", high, SAFETY_HIGH))
        if most is not None and (low is None or -most > low):
            found.append(("<", -most, SAFETY_CELL))
        elif low is not None:
            found.append(("<", low, SAFETY_LOW))
        self.must_be_measurable([value for _, value, code in found if code == SAFETY_CELL])
        return found

    def stop_beyond_window(self, codes: set[int]) -> None:
        """End the program if one of these limits of the potentials has ended the step."""
        for code, (name, value) in self._potential_limits().items():
            if code in codes and value is not None:
                self.stop_for_safety(code, name, value)

    def _potential_limits(self) -> dict[int, tuple[str, float | None]]:
        limits = self.assignment.limits
        return {
            SAFETY_HIGH: ("potential_max_v", limits.potential_max_v),
            SAFETY_LOW: ("potential_min_v", limits.potential_min_v),
            SAFETY_CELL: ("cell_potential_max_v", limits.cell_potential_max_v),
        }

    def begin_loop(self, times: int) -> None:
        self.depth += 1
        self.passes *= times
        self.deepest = max(self.deepest, self.depth)
        counter = f"n{self.depth}"
        self.add(
            f"store_var {counter} 0i ja", f"loop {counter} < {times}i", f"add_var {counter} 1i"
        )

    def end_loop(self, times: int) -> None:
        self.add("endloop")
        self.depth -= 1
        self.passes //= times

    def count_rows(self, most: float) -> None:
        line_bytes = _LINE_BYTES + (_REFERENCE_BYTES if self.reference else 0)
        self.longest_log_bytes += self.passes * (_STEP_BYTES + math.ceil(most) * line_bytes)

    def most_rows(
        self, record: Recording, dt_s: float, duration_s: float, interval: float, due: Due
    ) -> int:
        """Return how many rows a step can have at most; what moves may ask for each check's."""
        checks = math.ceil(duration_s / interval) + 2
        if due.band is not None or due.charge_c is not None:
            return checks
        dense = min(record.edge_for_s, duration_s) / max(min(record.edge_dt_s, dt_s), interval)
        return min(checks, math.ceil(2 * duration_s / max(dt_s, interval) + dense) + 4)

    def current_range(self, current_a: float) -> float:
        """Return the smallest range that carries a current, the largest if none does, A."""
        return self.capabilities.current_range_a(current_a)

    def must_be_measurable(self, potentials: list[float]) -> None:
        low, high = self.capabilities.potential_min_v, self.capabilities.potential_max_v
        for value in potentials:
            if not low <= value <= high:
                raise UnsupportedTechniqueError(
                    f"{self.capabilities.model} measures {low:g} V to {high:g} V: a limit at "
                    f"{value:g} V would never be noticed"
                )

    def stop_for_safety(self, code: int, name: str, value: float) -> None:
        """End the program if a safety limit has ended the step."""
        self.when(code, *farewell(f"{SAFETY} {name} {value:g}"), "abort")

    def act_on(self, code: int, limit: Limit) -> None:
        """Do what a limit asks for if it has ended the step."""
        if limit.action == "stop":
            text = f"{STOP} {limit.quantity} {limit.value:g}"
            self.when(code, *farewell(text), "abort")
        elif limit.action == "end_loop":
            if self.depth == 0:
                raise UnsupportedTechniqueError(
                    f"{limit.quantity} {limit.value:g} has the action end_loop, but the step "
                    "is in no cycle and no repeat"
                )
            self.when(code, "breakloop")

    def when(self, code: int, *lines: str) -> None:
        self.add(f"if why == {code}i", *lines, "endif")

    def timing(self, duration_s: float, interval_s: float) -> tuple[float, float]:
        """Return interval and duration of a measurement loop, s; a whole number of intervals fits.

        The interval is cut to whole ns, so the last point comes early by 1e-6 of the step at most.
        Where the shortest interval was asked for, the next longer one that fits is taken.
        """
        count = max(1, math.ceil(duration_s / interval_s - 1e-9))
        if interval_s >= SHORTEST_INTERVAL_S:
            count = min(count, max(1, math.floor(duration_s / SHORTEST_INTERVAL_S + 1e-9)))
        interval = math.floor(duration_s / count * 1e9 + 1e-3) / 1e9
        if interval < SHORTEST_INTERVAL_S:
            raise UnsupportedTechniqueError(
                f"{self.capabilities.model} measures every {SHORTEST_INTERVAL_S:g} s at most in a "
                f"script; a step of {duration_s:g} s asks for every {interval:g} s"
            )
        return interval, duration_s

    def add(self, *lines: str) -> None:
        self.lines += lines

    def bandwidth(self, interval: float) -> None:
        hertz = float(f"{BANDWIDTH_TIMES_INTERVAL / interval:.3g}")
        self.add(f"set_max_bandwidth {literal(hertz)}")

    def potential_range(self, *thresholds_v: float) -> None:
        """Set a range that holds the safety limits and, with headroom, what the step compares."""
        limits = self.assignment.limits
        wanted = [abs(x) for x in (limits.potential_min_v, limits.potential_max_v) if x is not None]
        wanted += [round(abs(x) * _HEADROOM, 9) for x in thresholds_v]
        largest = max(abs(self.capabilities.potential_min_v), self.capabilities.potential_max_v)
        span = literal(min(max([_POTENTIAL_SPAN_V, *wanted]), largest))
        self.add(f"set_range ab {span}", f"set_autoranging ab 100m {span}")

    def header(
        self,
        kind: StepKind,
        role: int,
        current_a: float,
        silence_s: float,
        longest_s: float,
    ) -> None:
        number = len(self.blocks)
        self.blocks.append(Block(kind, role, current_a, silence_s, longest_s))
        self.add("add_var step 1i", f"store_var blk {number}i ja", "timer_get t", "timer_start")
        for _ in range(2):
            self.package(("t", "blk", "step", "cyc", "half"))

    def package(self, names: tuple[str, ...]) -> None:
        self.add(*package_of(names))

    def row(self, names: tuple[str, ...]) -> None:
        self.add("add_var row 1i")
        self.package(("t", "row", *names))

    def start_recording(self, record: Recording, interval: float, dt_s: float, due: Due) -> None:
        dense = record.edge_for_s > 0
        gap = min(record.edge_dt_s, dt_s) if dense else dt_s
        self.add(f"store_var gap {gap_of(gap, interval)} eb")
        self.add("store_var due 0 eb", "store_var sent 0 eb")
        if due.band is not None:
            kind = {"p": "ab", "c": "ba"}[due.variable]
            self.add(f"store_var high 0 {kind}", f"store_var low 0 {kind}")
        if due.charge_c is not None:
            self.variables.add("next")
            self.add("store_var next 0 ja")

    def record_when_due(
        self, record: Recording, interval: float, dt_s: float, names: tuple[str, ...], due: Due
    ) -> None:
        """Send a row when it is due; what leaves its band makes it due, and a charge."""
        if due.band is not None:
            self.add(f"if {due.variable} > high", "store_var due 0 eb", "endif")
            self.add(f"if {due.variable} < low", "store_var due 0 eb", "endif")
        if due.charge_c is not None:
            self.add("if q >= next", "store_var due 0 eb", "endif")
        self.add("if t >= due")
        self.row(names)
        if record.edge_for_s > 0 and dt_s > record.edge_dt_s:
            after = f"store_var gap {gap_of(dt_s, interval)} eb"
            self.add(f"if t >= {seconds(record.edge_for_s)}", after, "endif")
        self.add("copy_var t sent", "copy_var t due", "add_var due gap")
        if due.band is not None:
            self.add(f"copy_var {due.variable} high", f"add_var high {due.band}")
            self.add(f"copy_var {due.variable} low", f"sub_var low {due.band}")
        if due.charge_c is not None:
            self.add("copy_var q next", f"add_var next {literal(due.charge_c)}")
        self.add("endif")

    def last_row(self, names: tuple[str, ...]) -> None:
        """Send the last point of a measurement loop, and that row once more.

        Where the loop has sent it already, only the second copy follows.
        """
        self.add("if t > sent")
        self.row(names)
        self.add("endif")
        self.package(("t", "row", *names))

    def potential_must_be_safe(self, peak_v: float) -> None:
        """End the program if a swing of ``peak_v`` about the potential in ``p`` is not safe."""
        limits = self.assignment.limits
        for name, value, sign in (
            ("potential_max_v", limits.potential_max_v, 1),
            ("potential_min_v", limits.potential_min_v, -1),
        ):
            if value is not None:
                self.add(f"if p {'>' if sign > 0 else '<'} {volts(value - sign * peak_v)}")
                self.add("cell_off", *farewell(f"{SAFETY} {name} {value:g}"), "abort", "endif")

    def cell_must_be_safe(self) -> None:
        """End the program if E_WE - E_CE in ``w``, where it was measured, is beyond its limits."""
        for sign, value, code in self._limits_of_cell():
            name, limit = self._potential_limits()[code]
            said = farewell(f"{SAFETY} {name} {limit:g}")
            self.add(f"if w {sign} {volts(value)}", "cell_off", *said, "abort", "endif")

    def reference_must_be_there(self) -> None:
        """End the program if the last reading at open circuit says that the reference is not.

        What is not a number compares with nothing: it is refused as what is out of bounds is.
        """
        bound = self.assignment.reference_bound
        if not self.reference or bound is None:
            return
        if bound.electrode is None:
            low, high = self.capabilities.potential_min_v, self.capabilities.potential_max_v
            low, high = _MEASURABLE * low, _MEASURABLE * high
            told = f"{REFERENCE_POTENTIAL} {high:g}"
        else:
            low, high = bound.expected_v - bound.within_v, bound.expected_v + bound.within_v
            told = f"{REFERENCE_OFFSET} {bound.within_v:g}"
        self.add("# the reference", "copy_var p diff")
        if bound.electrode == "CE":
            self.add("sub_var diff w")
        self.add(f"store_var why {NO_REFERENCE}i ja", f"if diff < {volts(high)}")
        self.add(f"if diff > {volts(low)}", "store_var why 0i ja", "endif", "endif")
        self.when(NO_REFERENCE, *farewell(f"{SAFETY} {told}"), "abort")

    def watch(self, condition: str, code: int) -> None:
        """Leave the measurement loop on a condition, noting which it was."""
        self.add(f"if {condition}", f"store_var why {code}i ja", "breakloop", "endif")

    def open_circuit_potential(self) -> None:
        """Measure the open circuit potential for a moment; it is in ``p`` then.

        With a reference E_WE - E_CE is in ``w``.
        """
        self.measure(f"meas_loop_ocp p 100m {literal(OPEN_CIRCUIT_BEFORE_S)}")
        self.add("timer_get t", "endloop")

    def galvanostat(self, range_a: float, interval: float, *thresholds_v: float) -> None:
        chosen = literal(range_a)
        self.add("set_pgstat_mode 6")
        self.bandwidth(interval)
        self.potential_range(*thresholds_v)
        self.add(f"set_range db {chosen}", f"set_autoranging db {chosen} {chosen}")


def package_of(names: tuple[str, ...]) -> list[str]:
    """Return the lines that send variables in one package."""
    return ["pck_start", *(f"pck_add {name}" for name in names), "pck_end"]


def farewell(text: str) -> list[str]:
    """Return the lines with which a program says how it ended."""
    return ["timer_get t", *package_of(("t", "row")), f'send_string "{text}"']


def unhurried(record: Recording) -> float:
    """Return the interval of a step without a cut-off: fine enough for its rows, s."""
    finest = min(record.dt_s, record.edge_dt_s if record.edge_for_s > 0 else record.dt_s)
    return min(max(finest / 4, FINEST_CHECK_S), COARSEST_CHECK_S, finest)


def gap_of(dt_s: float, interval: float) -> str:
    """Return how long no row is due after one, as a literal."""
    # Half an interval less, so that the timer's jitter does not skip an iteration.
    return seconds(dt_s - interval / 2)


def seconds(value: float) -> str:
    """Return a time as a literal, to the microsecond."""
    return literal(round(value, 6))


def volts(value: float) -> str:
    """Return a potential as a literal, to the nanovolt."""
    return literal(round(value, 9))


def literal(value: float) -> str:
    """Return a number as a literal."""
    return format_literal(value)
