"""Compile a technique into one MethodSCRIPT program that runs on the instrument by itself.

Cycles are loops of the script, limits are comparisons inside its measurement loops, so that an
experiment goes on within its limits when the computer dies. How a program talks:

* each step begins with a *header* package (``eb`` time the step before has taken, ``ja`` number of
  the block, ``jb`` step, ``jc`` cycle, ``jd`` half-cycle), sent twice so that one damaged line does
  not lose the structure; then the timer starts anew, which keeps its resolution;
* rows are packages of ``eb`` time, ``ja`` number of the row in the program, and ``ab`` potential
  and the current (galvanostatic), ``ab`` (open circuit), or ``dc``, ``cc``, ``cd`` (impedance); by
  the number a row that got lost on the way is noticed. The last row of a step is sent twice, under
  the same number: the charge of the step hangs on it;
* at its end a program sends ``eb`` and ``ja``, the number of the last row, and then ``END`` if it
  is complete, ``STOP ...`` or ``SAFETY ...`` if a limit ended it;
* when the cell has been opened for good, also by an abort, it sends ``eb`` and ``jb``: how far the
  step had come. If current flowed until then, a last row of that moment, with the potential of the
  last check, comes before: the charge of an interrupted step hangs on it.

Where the instrument has a file store, all of this also goes to a file of it (``LOG`` is the first
line), so that what nobody listened to can be collected later: `instrument_log`.

Limits are checked in every iteration of a measurement loop, whatever is recorded. The charge of a
step is the set current times the time: a time limit of the loop. Safety limits on the potential act
while current is driven; at open circuit nothing drives the cell.

An impedance loop reports impedances only, so nothing can be compared inside it. What can be, is
compared around it, and a value beyond a limit ends the program with the cell open:

* at open circuit, the potential measured just before, amplitude included, before the cell is
  closed; the bias is that potential, so it stays within the window during the spectrum;
* at another bias, the potential beforehand (``Assignment.violations``) and the current, in a short
  hold at the bias before and after the spectrum; the current range is the one that just covers the
  limit. During the spectrum the current is not watched;
* galvanostatic, the peak current beforehand, and the potential just before, with the cell open, and
  just after at no current. The swing of the potential during the spectrum is not watched.
"""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Literal

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat.contract import (
    IMPEDANCE,
    OTHER,
    PLATE,
    REST,
    STRIP,
    Capabilities,
)
from instruments.potentiostat.methodscript.values import format_literal
from techniques import (
    Assignment,
    Counters,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Recording,
    Repeat,
    Sequence,
    Technique,
)
from techniques import Block as NamedPart
from techniques.recording import COARSEST_CHECK_S, FINEST_CHECK_S

END, STOP, SAFETY, LOG = "END", "STOP", "SAFETY", "LOG"
# Longest line of a program, and what a step sends besides its rows, in bytes, line ends included.
_LINE_BYTES, _STEP_BYTES = 64, 320
# The maker's line length, line end included.
LONGEST_LINE = 255
# PalmSens' own scripts filter at about this many times 1/interval.
_BANDWIDTH_TIMES_INTERVAL = 5.85
_POTENTIAL_SPAN_V = 2.0
# A potential that is compared must be read beyond the threshold, not at the end of the range.
_HEADROOM = 1.1
_SHORTEST_INTERVAL_S = 1e-3
_SMALLEST_PART_OF_A_RANGE = 1e-3
_OCP_BEFORE_SPECTRUM_S = 1.0
# A hold at a bias: long enough to charge the double layer, checked often enough to end a short.
_HOLD_S, _HOLD_INTERVAL_S = 1.0, 0.02
# Codes of the variable `why`: 0 the time is over, 1.. the step's own limits, then these.
_SAFETY_HIGH, _SAFETY_LOW, _SAFETY_CURRENT = 101, 102, 103

_VARIABLES = """\
var t
var p
var c
var f
var zr
var zi
var bias
var due
var gap
var sent
var high
var low
var mark
var win
var diff
var why
var blk
var row
var step
var cyc
var half
var live"""


@dataclass(frozen=True)
class Block:
    """One elementary step as written; a loop runs it several times.

    Attributes:
        kind: what it does, hence what its rows look like.
        role: -1 plate, 0 rest, +1 strip, 2 impedance, 3 other.
        current_a: current that is set, A, IUPAC.
        silence_s: longest time between two lines if all is well, s.
        longest_s: longest time the step can last, s.
    """

    kind: Literal["open_circuit", "galvanostatic", "impedance"]
    role: int
    current_a: float
    silence_s: float
    longest_s: float


@dataclass(frozen=True)
class Program:
    """A compiled technique: the script, without its final blank line, and what its blocks mean.

    Attributes:
        text: the script.
        blocks: what the numbers in its headers mean.
        begin: the counters from which it goes on.
        log: path of the file to which it also writes; ``None``: it does not.
        longest_log_bytes: how much it can send at most.
    """

    text: str
    blocks: tuple[Block, ...]
    begin: Counters = field(default_factory=Counters)
    log: str | None = None
    longest_log_bytes: int = 0

    @property
    def meaning(self) -> str:
        """Return a digest of what its headers mean; logs are only read with the same."""
        return hashlib.sha256(repr(self.blocks).encode()).hexdigest()[:16]


def log_path(name: str) -> str:
    """Return the path of a log in the instrument's file store."""
    return f"/operando-{name}.txt"


def compile_program(
    assignment: Assignment, capabilities: Capabilities, *, mains_frequency_hz: int = 50
) -> Program:
    """Return the program for ``assignment`` on an instrument with ``capabilities``.

    Raises:
        UnsupportedTechniqueError: The instrument cannot do it; says what and why.
        SafetyLimitError: The technique asks for more than its limits allow.
    """
    violations = assignment.violations()
    if violations:
        raise SafetyLimitError(
            f"{capabilities.model}: the technique is outside its safety limits: "
            + "; ".join(violations)
        )
    return _Compiler(assignment, capabilities, mains_frequency_hz).program()


@dataclass
class _Compiler:
    assignment: Assignment
    capabilities: Capabilities
    mains_frequency_hz: int
    lines: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    depth: int = 0
    deepest: int = 0
    passes: int = 1
    skipping: set[str] = field(default_factory=set)
    longest_log_bytes: int = 1024

    def program(self) -> Program:
        self._technique(self.assignment.technique)
        loops = [f"var n{level}" for level in range(1, self.deepest + 1)]
        loops += [f"var {name}" for name in sorted(self.skipping)]
        start, name = self.assignment.begin, self.assignment.instrument_log
        path = None if name is None else log_path(name)
        begin = [
            *self._begin_log(path),
            "store_var row 0i ja",
            f"store_var step {start.step}i jb",
            f"store_var cyc {start.cycle}i jc",
            f"store_var half {start.half_cycle}i jd",
            "store_var live 0i ja",
            "set_pgstat_chan 0",
            f"set_acquisition_frac_autoadjust {self.mains_frequency_hz}",
            "timer_start",
        ]
        # First of all the cell: whatever else the end does may fail.
        end = [*_farewell(END), "on_finished:", "cell_off", "timer_get t"]
        end += ["if live == 1i", "add_var row 1i", *_package(("t", "row", "p", "c")), "endif"]
        end += _package(("t", "step"))
        end += ["set_script_output 1", "file_close"] if path is not None else []
        lines = [*_VARIABLES.splitlines(), *loops, *begin, *self.lines, *end]
        too_long = [line for line in lines if len(line) > LONGEST_LINE]
        if too_long:
            raise UnsupportedTechniqueError(
                f"{self.capabilities.model}: a script line would be too long: {too_long[0]!r}"
            )
        return Program("\n".join(lines), tuple(self.blocks), start, path, self.longest_log_bytes)

    def _begin_log(self, path: str | None) -> list[str]:
        """Open the log before anything else: what fails here has not touched the cell."""
        if path is None:
            return []
        # 2: a new file. 3: to the line and to the file.
        return [f'file_open "{path}" 2', "set_script_output 3", f'send_string "{LOG} {path}"']

    # -- techniques

    def _technique(self, technique: Technique) -> None:
        match technique:
            case OpenCircuit():
                self._open_circuit(technique)
            case GalvanostaticStep():
                self._galvanostatic(technique)
            case ImpedanceSpectrum():
                self._impedance(technique)
            case Sequence():
                for step in technique.steps:
                    self._technique(step)
            case Repeat():
                self._begin_loop(technique.times)
                self._technique(technique.step)
                self._end_loop(technique.times)
            case NamedPart():
                self._technique(technique.step)
            case PlateStripCycle():
                self._plate_strip_cycle(technique)
            case PotentiostaticStep() | LinearSweep() | CyclicVoltammetry():
                raise UnsupportedTechniqueError(
                    f"{self.capabilities.model}: a {technique.type} is not supported yet"
                )

    def _plate_strip_cycle(self, technique: PlateStripCycle) -> None:
        first, second = technique.halves
        every = technique.between_every
        often = technique.between is None or every == technique.between_first == 1
        # How many cycles have no step between before the next that has one.
        skipped = f"k{self.depth + 1}"
        if not often:
            self.skipping.add(skipped)
            self._add(f"store_var {skipped} {technique.between_first - 1}i ja")
        self._begin_loop(technique.cycles)
        self._add("add_var cyc 1i")
        self._galvanostatic(first)
        self._rest(technique.rest_s, first.record)
        if technique.between is not None and often:
            self._technique(technique.between)
        elif technique.between is not None:
            self._add(f"if {skipped} == 0i")
            self._technique(technique.between)
            self._add(f"store_var {skipped} {every}i ja", "endif", f"sub_var {skipped} 1i")
        self._galvanostatic(second)
        self._rest(technique.rest_s, second.record)
        self._end_loop(technique.cycles)

    def _rest(self, duration_s: float, record: Recording) -> None:
        if duration_s > 0:
            self._open_circuit(OpenCircuit(duration_s=duration_s, record=record))

    def _begin_loop(self, times: int) -> None:
        self.depth += 1
        self.passes *= times
        self.deepest = max(self.deepest, self.depth)
        counter = f"n{self.depth}"
        self._add(
            f"store_var {counter} 0i ja", f"loop {counter} < {times}i", f"add_var {counter} 1i"
        )

    def _end_loop(self, times: int) -> None:
        self._add("endloop")
        self.depth -= 1
        self.passes //= times

    def _count_rows(self, most: float) -> None:
        self.longest_log_bytes += self.passes * (_STEP_BYTES + math.ceil(most) * _LINE_BYTES)

    def _most_rows(self, record: Recording, dt_s: float, duration_s: float, interval: float) -> int:
        """Return how many rows a step can have at most; a moving potential may ask for each."""
        checks = math.ceil(duration_s / interval) + 2
        if record.de_v is not None:
            return checks
        dense = min(record.edge_for_s, duration_s) / max(min(record.edge_dt_s, dt_s), interval)
        return min(checks, math.ceil(2 * duration_s / max(dt_s, interval) + dense) + 4)

    def _open_circuit(self, step: OpenCircuit) -> None:
        interval, run = self._timing(step.duration_s, _unhurried(step.record))
        self._add(f"# open circuit, {step.duration_s:g} s", "cell_off", "set_pgstat_mode 3")
        self._bandwidth(interval)
        self._potential_range()
        self._header("open_circuit", REST, 0.0, step.record.dt_s + interval, step.duration_s)
        self._start_recording(step.record, interval, step.record.dt_s)
        self._count_rows(self._most_rows(step.record, step.record.dt_s, step.duration_s, interval))
        if step.drift_below_v_s is not None:
            # No cell is at 1 kV: the first comparison only sets the mark.
            self._add("store_var mark 1k ab", "store_var win 0 eb")
        self._add(f"meas_loop_ocp p {_lit(interval)} {_lit(run)}", "timer_get t")
        if step.drift_below_v_s is not None:
            self._drift(step.drift_below_v_s, step.drift_window_s)
        self._record(step.record, interval, step.record.dt_s, ("p",))
        self._add("endloop")
        self._last_row(("p",))

    def _drift(self, below_v_s: float, window_s: float) -> None:
        change = _volts(below_v_s * window_s)
        self._add(
            "if t >= win",
            "copy_var p diff",
            "sub_var diff mark",
            f"if diff < {change}",
            f"if diff > -{change}",
            "breakloop",
            "endif",
            "endif",
            "copy_var p mark",
            f"add_var win {_seconds(window_s)}",
            "endif",
        )

    def _galvanostatic(self, step: GalvanostaticStep) -> None:
        current_a = self.assignment.current_a(step)
        model = self.capabilities.model
        if not self.capabilities.galvanostatic:
            raise UnsupportedTechniqueError(
                f"{model} cannot control the current: galvanostatic steps need a galvanostat, "
                "an EmStat4 or a Nexus for example"
            )
        if abs(current_a) > self.capabilities.current_max_a:
            raise UnsupportedTechniqueError(
                f"{model} gives {self.capabilities.current_max_a * 1e3:g} mA at most, the step "
                f"asks for {current_a * 1e3:g} mA"
            )
        smallest = self.capabilities.current_ranges_a[0] * _SMALLEST_PART_OF_A_RANGE
        if abs(current_a) < smallest:
            raise UnsupportedTechniqueError(
                f"{model} controls {smallest:g} A at least, the step asks for {current_a:g} A"
            )
        role = OTHER if step.role is None else {"plate": PLATE, "strip": STRIP}[step.role]
        dt_s = step.record.dt_s
        if step.record.dq_mah_cm2 is not None:
            # At a set current a charge is a time.
            dt_s = min(dt_s, step.record.dq_mah_cm2 * 3600 / abs(step.current_density_ma_cm2))
        wanted = step.record.check_interval_s(step.expected_s)
        interval, run = self._timing(step.expected_s, wanted)
        current = _lit(current_a)
        self._add(f"# {step.role or 'galvanostatic'}, {current_a * 1e3:.6g} mA", "cell_off")
        if step.role is not None:
            self._add("add_var half 1i")
        thresholds = self._thresholds(step)
        compared = [x.value for x in step.until if "potential" in x.quantity]
        self._galvanostat(abs(current_a), interval, *compared)
        self._add(f"set_i {current}", "store_var why 0i ja")
        self._start_recording(step.record, interval, dt_s)
        self._count_rows(self._most_rows(step.record, dt_s, step.expected_s, interval))
        self._header("galvanostatic", role, current_a, dt_s + interval, step.expected_s)
        # No statement is between the header's timer and the current but the header itself.
        self._add("cell_on", f"meas_loop_cp p c {current} {_lit(interval)} {_lit(run)}")
        self._add("timer_get t", "store_var live 1i ja")
        self._watch(thresholds[0], ">")
        self._watch(thresholds[1], "<")
        self._record(step.record, interval, dt_s, ("p", "c"))
        self._add("endloop", "cell_off", "store_var live 0i ja")
        self._last_row(("p", "c"))
        self._consequences(step, {x[1] for x in thresholds if x is not None})

    def _galvanostat(self, current_a: float, interval: float, *thresholds_v: float) -> None:
        chosen = self._current_range(current_a)
        self._add("set_pgstat_mode 6")
        self._bandwidth(interval)
        self._potential_range(*thresholds_v)
        self._add(
            f"set_range db {_lit(chosen)}", f"set_autoranging db {_lit(chosen)} {_lit(chosen)}"
        )

    def _current_range(self, current_a: float) -> float:
        """Return the smallest range that covers a current, the largest if none does, A."""
        ranges = self.capabilities.current_ranges_a
        return next((x for x in ranges if current_a <= x * (1 + 1e-9)), ranges[-1])

    def _thresholds(
        self, step: GalvanostaticStep
    ) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        """Return (potential, code) that end the step from above and from below.

        The nearest one is passed first and so decides, also when the potential jumps past several
        between two iterations, as at the steep end of a strip: a safety limit that lies beyond the
        step's own limit never gets its turn.
        """
        above: list[tuple[float, int]] = []
        below: list[tuple[float, int]] = []
        for code, limit in enumerate(step.until, 1):
            if limit.quantity == "abs_potential_above_v":
                above.append((limit.value, code))
                below.append((-limit.value, code))
            elif limit.quantity in ("potential_above_v", "potential_below_v"):
                value = limit.value * self.assignment.mirror
                is_above = (limit.quantity == "potential_above_v") == (self.assignment.mirror > 0)
                (above if is_above else below).append((value, code))
        limits = self.assignment.limits
        if limits.potential_max_v is not None:
            above.append((limits.potential_max_v, _SAFETY_HIGH))
        if limits.potential_min_v is not None:
            below.append((limits.potential_min_v, _SAFETY_LOW))
        # At equal potentials the step's own limit, which has the smaller code, decides.
        nearest_above = min(above, default=None)
        nearest_below = max(below, key=lambda x: (x[0], -x[1]), default=None)
        self._must_be_measurable([x[0] for x in (nearest_above, nearest_below) if x is not None])
        return nearest_above, nearest_below

    def _must_be_measurable(self, potentials: list[float]) -> None:
        low, high = self.capabilities.potential_min_v, self.capabilities.potential_max_v
        for value in potentials:
            if not low <= value <= high:
                raise UnsupportedTechniqueError(
                    f"{self.capabilities.model} measures {low:g} V to {high:g} V: a limit at "
                    f"{value:g} V would never be noticed"
                )

    def _watch(self, threshold: tuple[float, int] | None, sign: str) -> None:
        """Leave the measurement loop beyond the threshold, noting which it was."""
        if threshold is not None:
            value, code = threshold
            self._add(f"if p {sign} {_volts(value)}", f"store_var why {code}i ja")
            self._add("breakloop", "endif")

    def _consequences(self, step: GalvanostaticStep, codes: set[int]) -> None:
        """Do what the limit that ended the step asks for; ``codes`` are those it can be."""
        limits = self.assignment.limits
        for code, limit_name, value in (
            (_SAFETY_HIGH, "potential_max_v", limits.potential_max_v),
            (_SAFETY_LOW, "potential_min_v", limits.potential_min_v),
        ):
            if code in codes:
                self._when(code, *_farewell(f"{SAFETY} {limit_name} {value:g}"), "abort")
        for code, limit in enumerate(step.until, 1):
            if limit.quantity in ("time_s", "charge_mah_cm2"):
                if not _ends_first(limit, step):
                    continue
                code = 0
            elif code not in codes:
                continue
            if limit.action == "stop":
                text = f"{STOP} {limit.quantity} {limit.value:g}"
                self._when(code, *_farewell(text), "abort")
            elif limit.action == "end_loop":
                if self.depth == 0:
                    raise UnsupportedTechniqueError(
                        f"{limit.quantity} {limit.value:g} has the action end_loop, but the step "
                        "is in no cycle and no repeat"
                    )
                self._when(code, "breakloop")

    def _when(self, code: int, *lines: str) -> None:
        self._add(f"if why == {code}i", *lines, "endif")

    def _impedance(self, step: ImpedanceSpectrum) -> None:
        caps = self.capabilities
        if step.frequency_max_hz > caps.frequency_max_hz:
            raise UnsupportedTechniqueError(
                f"{caps.model} measures impedance up to {caps.frequency_max_hz:g} Hz, asked for "
                f"{step.frequency_max_hz:g} Hz"
            )
        decades = math.log10(step.frequency_max_hz / step.frequency_min_hz)
        points = round(decades * step.points_per_decade) + 1
        sweep = f"{_lit(step.frequency_max_hz)} {_lit(step.frequency_min_hz)} {points}i"
        silence = 10 / step.frequency_min_hz + _OCP_BEFORE_SPECTRUM_S + _HOLD_S
        longest = points * silence
        self._count_rows(points + 1)
        self._add(f"# impedance, {step.mode}, {points} frequencies", "cell_off")
        if step.mode == "potentiostatic":
            self._potentiostatic_spectrum(step, sweep, silence, longest)
        else:
            self._galvanostatic_spectrum(step, sweep, silence, longest)

    def _points_of_spectrum(self, loop: str) -> None:
        self._add(loop, "timer_get t")
        self._row(("f", "zr", "zi"))
        self._add("endloop")
        self._package(("t", "row", "f", "zr", "zi"))

    def _potentiostatic_spectrum(
        self, step: ImpedanceSpectrum, sweep: str, silence: float, longest: float
    ) -> None:
        caps, amplitude = self.capabilities, step.amplitude_rms_v or 0.0
        if amplitude > caps.amplitude_max_v:
            raise UnsupportedTechniqueError(
                f"{caps.model} modulates {caps.amplitude_max_v:g} V rms at most, asked for "
                f"{amplitude:g} V rms"
            )
        bias = None if step.potential_v is None else step.potential_v * self.assignment.mirror
        peak = amplitude * math.sqrt(2)
        if bias is not None:
            self._bias_must_be_possible(bias, peak)
        # Impedance needs the fast mode, whose bandwidth must reach the highest frequency.
        self._add("set_pgstat_mode 3", f"set_max_bandwidth {_lit(step.frequency_max_hz)}")
        self._potential_range(*([] if bias is None else [abs(bias) + peak]))
        ranges, most = caps.current_ranges_a, self.assignment.limits.current_max_a
        largest = ranges[-1] if most is None else self._current_range(most)
        self._add(f"set_range ba {_lit(largest)}")
        self._add(f"set_autoranging ba {_lit(ranges[0])} {_lit(largest)}")
        self._header("impedance", IMPEDANCE, 0.0, silence, longest)
        loop = f"meas_loop_eis f zr zi {_lit(amplitude)} {sweep} bias"
        if bias is None:
            self._check_open_circuit(peak)
            self._add("copy_var p bias", "set_e bias", "cell_on")
            self._points_of_spectrum(loop)
            self._add("cell_off")
        else:
            self._add(f"store_var bias {_volts(bias)} da", "set_e bias", "cell_on")
            self._hold_at_bias()
            self._points_of_spectrum(loop)
            self._hold_at_bias()
            self._add("cell_off")

    def _galvanostatic_spectrum(
        self, step: ImpedanceSpectrum, sweep: str, silence: float, longest: float
    ) -> None:
        caps = self.capabilities
        if not caps.galvanostatic:
            raise UnsupportedTechniqueError(
                f"{caps.model} cannot control the current: use a potentiostatic spectrum"
            )
        amplitude = (step.amplitude_rms_ma_cm2 or 0.0) * 1e-3 * self.assignment.area_cm2
        peak = amplitude * math.sqrt(2)
        if peak > caps.current_max_a:
            raise UnsupportedTechniqueError(
                f"{caps.model} gives {caps.current_max_a * 1e3:g} mA at most, the spectrum's peak "
                f"is {peak * 1e3:g} mA"
            )
        self._add("set_pgstat_mode 3")
        self._bandwidth(0.1)
        self._potential_range()
        self._header("impedance", IMPEDANCE, 0.0, silence, longest)
        self._check_open_circuit(0.0)
        self._galvanostat(peak, _BANDWIDTH_TIMES_INTERVAL / step.frequency_max_hz)
        self._add("set_i 0", "cell_on")
        self._points_of_spectrum(f"meas_loop_geis f zr zi {_lit(amplitude)} {sweep} 0")
        self._add(f"meas_loop_cp p c 0 100m {_lit(_OCP_BEFORE_SPECTRUM_S)}", "endloop", "cell_off")
        self._potential_must_be_safe(0.0)

    def _check_open_circuit(self, peak_v: float) -> None:
        """Measure the open circuit potential; end the program if a swing from it is not safe."""
        self._add(f"meas_loop_ocp p 100m {_lit(_OCP_BEFORE_SPECTRUM_S)}", "timer_get t", "endloop")
        self._potential_must_be_safe(peak_v)

    def _potential_must_be_safe(self, peak_v: float) -> None:
        limits = self.assignment.limits
        for name, value, sign in (
            ("potential_max_v", limits.potential_max_v, 1),
            ("potential_min_v", limits.potential_min_v, -1),
        ):
            if value is not None:
                self._add(f"if p {'>' if sign > 0 else '<'} {_volts(value - sign * peak_v)}")
                self._add("cell_off", *_farewell(f"{SAFETY} {name} {value:g}"), "abort", "endif")

    def _hold_at_bias(self) -> None:
        """Hold the bias for a moment; end the program if the current is beyond its limit."""
        most = self.assignment.limits.current_max_a
        if most is None:
            return
        leave = (f"store_var why {_SAFETY_CURRENT}i ja", "breakloop", "endif")
        self._add("store_var why 0i ja")
        self._add(f"meas_loop_ca p c bias {_lit(_HOLD_INTERVAL_S)} {_lit(_HOLD_S)}")
        self._add(f"if c > {_lit(most)}", *leave, f"if c < {_lit(-most)}", *leave, "endloop")
        text = f"{SAFETY} current_max_a {most:g}"
        self._when(_SAFETY_CURRENT, "cell_off", *_farewell(text), "abort")

    def _bias_must_be_possible(self, bias: float, peak_v: float) -> None:
        caps = self.capabilities
        if not caps.potential_min_v <= bias - peak_v <= bias + peak_v <= caps.potential_max_v:
            raise UnsupportedTechniqueError(
                f"{caps.model} applies {caps.potential_min_v:g} V to {caps.potential_max_v:g} V, "
                f"asked for {bias:g} V and a swing of {peak_v:.3g} V"
            )

    # -- pieces

    def _timing(self, duration_s: float, interval_s: float) -> tuple[float, float]:
        """Return interval and duration of a measurement loop, s; a whole number of intervals fits.

        The interval is cut to whole ns, so the last point comes early by 1e-6 of the step at most.
        Where the shortest interval was asked for, the next longer one that fits is taken.
        """
        count = max(1, math.ceil(duration_s / interval_s - 1e-9))
        if interval_s >= _SHORTEST_INTERVAL_S:
            count = min(count, max(1, math.floor(duration_s / _SHORTEST_INTERVAL_S + 1e-9)))
        interval = math.floor(duration_s / count * 1e9 + 1e-3) / 1e9
        if interval < _SHORTEST_INTERVAL_S:
            raise UnsupportedTechniqueError(
                f"{self.capabilities.model} measures every {_SHORTEST_INTERVAL_S:g} s at most in a "
                f"script; a step of {duration_s:g} s asks for every {interval:g} s"
            )
        return interval, duration_s

    def _add(self, *lines: str) -> None:
        self.lines += lines

    def _bandwidth(self, interval: float) -> None:
        self._add(f"set_max_bandwidth {_lit(float(f'{_BANDWIDTH_TIMES_INTERVAL / interval:.3g}'))}")

    def _potential_range(self, *thresholds_v: float) -> None:
        """Set a range that holds the safety limits and, with headroom, what the step compares."""
        limits = self.assignment.limits
        wanted = [abs(x) for x in (limits.potential_min_v, limits.potential_max_v) if x is not None]
        wanted += [round(abs(x) * _HEADROOM, 9) for x in thresholds_v]
        largest = max(abs(self.capabilities.potential_min_v), self.capabilities.potential_max_v)
        span = _lit(min(max([_POTENTIAL_SPAN_V, *wanted]), largest))
        self._add(f"set_range ab {span}", f"set_autoranging ab 100m {span}")

    def _header(
        self,
        kind: Literal["open_circuit", "galvanostatic", "impedance"],
        role: int,
        current_a: float,
        silence_s: float,
        longest_s: float,
    ) -> None:
        number = len(self.blocks)
        self.blocks.append(Block(kind, role, current_a, silence_s, longest_s))
        self._add("add_var step 1i", f"store_var blk {number}i ja", "timer_get t", "timer_start")
        for _ in range(2):
            self._package(("t", "blk", "step", "cyc", "half"))

    def _package(self, names: tuple[str, ...]) -> None:
        self._add(*_package(names))

    def _row(self, names: tuple[str, ...]) -> None:
        self._add("add_var row 1i")
        self._package(("t", "row", *names))

    def _start_recording(self, record: Recording, interval: float, dt_s: float) -> None:
        dense = record.edge_for_s > 0
        gap = min(record.edge_dt_s, dt_s) if dense else dt_s
        self._add(f"store_var gap {_gap(gap, interval)} eb")
        self._add("store_var due 0 eb", "store_var sent 0 eb")
        if record.de_v is not None:
            self._add("store_var high 0 ab", "store_var low 0 ab")

    def _record(
        self, record: Recording, interval: float, dt_s: float, names: tuple[str, ...]
    ) -> None:
        """Send a row when it is due; the potential leaving its band makes it due."""
        if record.de_v is not None:
            self._add("if p > high", "store_var due 0 eb", "endif")
            self._add("if p < low", "store_var due 0 eb", "endif")
        self._add("if t >= due")
        self._row(names)
        if record.edge_for_s > 0 and dt_s > record.edge_dt_s:
            after = f"store_var gap {_gap(dt_s, interval)} eb"
            self._add(f"if t >= {_seconds(record.edge_for_s)}", after, "endif")
        self._add("copy_var t sent", "copy_var t due", "add_var due gap")
        if record.de_v is not None:
            band = _volts(record.de_v)
            self._add("copy_var p high", f"add_var high {band}")
            self._add("copy_var p low", f"sub_var low {band}")
        self._add("endif")

    def _last_row(self, names: tuple[str, ...]) -> None:
        """Send the last point of a measurement loop, and that row once more.

        Where the loop has sent it already, only the second copy follows.
        """
        self._add("if t > sent")
        self._row(names)
        self._add("endif")
        self._package(("t", "row", *names))


def _package(names: tuple[str, ...]) -> list[str]:
    return ["pck_start", *(f"pck_add {name}" for name in names), "pck_end"]


def _farewell(text: str) -> list[str]:
    return ["timer_get t", *_package(("t", "row")), f'send_string "{text}"']


def _unhurried(record: Recording) -> float:
    """Return the interval of a step without a cut-off: fine enough for its rows, s."""
    finest = min(record.dt_s, record.edge_dt_s if record.edge_for_s > 0 else record.dt_s)
    return min(max(finest / 4, FINEST_CHECK_S), COARSEST_CHECK_S, finest)


def _ends_first(limit: Limit, step: GalvanostaticStep) -> bool:
    """Return whether this limit of time or charge is the one that ends the loop's time."""
    ends = limit.value
    if limit.quantity == "charge_mah_cm2":
        ends = limit.value * 3600 / abs(step.current_density_ma_cm2)
    return ends <= step.expected_s * (1 + 1e-12)


def _gap(dt_s: float, interval: float) -> str:
    # Half an interval less, so that the timer's jitter does not skip an iteration.
    return _seconds(dt_s - interval / 2)


def _seconds(value: float) -> str:
    return _lit(round(value, 6))


def _volts(value: float) -> str:
    return _lit(round(value, 9))


def _lit(value: float) -> str:
    return format_literal(value)
