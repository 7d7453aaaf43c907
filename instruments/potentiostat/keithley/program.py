"""Compile a technique into one TSP program that runs on the instrument by itself.

A program is a script of Lua: ``program.tsp``, in which steps are functions, and below it the loops
of the technique, which call them. Cycles, limits and counting are in it, so that an experiment goes
on within its limits when the computer dies; the output goes off at its end, at every limit that
ends it and after every error of it. What it prints is told in ``program.tsp`` and read by `stream`.

Potentials are clamped by the source itself a little beyond the widest safety limit, currents
likewise: also between two checks, and while a host that does not read holds the program up.

At open circuit the source gives 0 A with its output on: with the output off these instruments do
not sense remotely. Rests are the same.
"""

import math
from collections.abc import Sequence as Several
from functools import cache
from importlib.resources import files

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat.contract import (
    HOLD,
    OTHER,
    PLATE,
    REST,
    STRIP,
    SWEEP,
    VOLTAMMOGRAM,
    Capabilities,
    SetCurrent,
    StepKind,
)
from instruments.potentiostat.keithley.current_limits import CurrentLimits
from instruments.potentiostat.keithley.script import (
    END,
    SAFETY,
    SAFETY_CURRENT,
    SAFETY_HIGH,
    SAFETY_LOW,
    STOP,
    WRONG_WAY,
    Block,
    Program,
    Value,
    Wiring,
    number,
    table,
    voltage_range,
)
from techniques import (
    Assignment,
    CyclicVoltammetry,
    GalvanostaticStep,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentialControlled,
    PotentiostaticStep,
    Recording,
    Repeat,
    Sequence,
    Technique,
)
from techniques import Block as NamedPart
from techniques.assignment import OPEN_CIRCUIT_BEFORE_S, WRONG_WAY_MAH_CM2
from techniques.recording import COARSEST_CHECK_S, FINEST_CHECK_S

# The maker saw 3 ms per point in the fastest loops that keep their pace.
SHORTEST_INTERVAL_S = 5e-3
# From this on each reading has its own zero and reference, which takes three times as long.
_AUTOZERO_FROM_S = 0.25
_LEAST_NPLC, _MOST_NPLC, _DIGITS_OF_NPLC = 0.01, 1.0, 2
_READING_OVERHEAD_S = 1e-3
_REST_RANGE_A = 1e-6
_CLAMP_V, _CLAMP_TIMES, _CLAMP_BEYOND_V = 10.0, 1.05, 0.1
# Overvoltage protection: its levels, and how far force leads may go beyond what a cell may see.
_PROTECTIONS_V = (2, 5, 10, 20, 40)
_PROTECTION_TIMES, _LEADS_V = 1.1, 0.3
# Where a potential moves by so much in an interval, it is compared with its limits more often. Else
# a step that ends where the metal does would be known to half an interval only.
_HASTY_V, _TIMES_AS_OFTEN, _READINGS_APART = 0.005, 8, 1.2
_SMALLEST_PART_OF_A_RANGE = 1e-2
_SMALLEST_STEP_V = 1e-4


def compile_program(
    assignment: Assignment, capabilities: Capabilities, wiring: Wiring | None = None
) -> Program:
    """Return the program for ``assignment`` on an instrument with ``capabilities``.

    Raises:
        UnsupportedTechniqueError: The instrument cannot do it; says what and why.
        SafetyLimitError: The technique asks for more than its limits allow.
    """
    if assignment.reference:
        raise UnsupportedTechniqueError(
            f"{capabilities.model} measures one potential: it has no input for a reference "
            "electrode beside the two of the cell. Leave reference_electrode out of the cell file "
            "and tell its potentials against the counter electrode, or take another potentiostat"
        )
    violations = assignment.violations()
    if violations:
        raise SafetyLimitError(
            f"{capabilities.model}: the technique is outside its safety limits: "
            + "; ".join(violations)
        )
    assignment = assignment.model_copy(update={"limits": assignment.bounds})
    return _Compiler(assignment, capabilities, wiring or Wiring()).program()


@cache
def _runtime() -> str:
    return files(__package__).joinpath("program.tsp").read_text(encoding="ascii")


class _Compiler:
    def __init__(self, assignment: Assignment, capabilities: Capabilities, wiring: Wiring) -> None:
        self.assignment, self.capabilities, self.wiring = assignment, capabilities, wiring
        self.limits = assignment.limits
        self.lines: list[str] = []
        self.blocks: list[Block] = []
        self.currents: set[SetCurrent] = set()
        self.depth = 0
        self.loops = 0
        self.open_circuit = False

    def program(self) -> Program:
        self._technique(self.assignment.technique)
        begin, wiring = self.assignment.begin, self.wiring
        sense = "smu.SENSE_4WIRE" if wiring.four_wire else "smu.SENSE_2WIRE"
        settings = [
            f"o.clamp_v = {number(self._clamp_v)}",
            f"o.rest_range = {number(self.capabilities.current_range_a(_REST_RANGE_A))}",
            f"o.protect = smu.PROTECT_{self._protection_v}V",
            f"o.sense = {sense}",
            f"o.highc = smu.{'ON' if wiring.high_capacitance else 'OFF'}",
            f"o.step, o.cyc, o.half = {begin.step}, {begin.cycle}, {begin.half_cycle}",
        ]
        if wiring.edge_line is not None:
            settings.append(f"o.line = {wiring.edge_line}")
        body = ["local function program()", "local why", *self.lines, f'return "{END}"', "end"]
        text = "\n".join([_runtime(), *settings, *body, "conclude(program)"])
        return Program(
            text, tuple(self.blocks), begin, tuple(sorted(self.currents)), self.open_circuit
        )

    @property
    def _clamp_v(self) -> float:
        window = [
            abs(x)
            for x in (self.limits.potential_min_v, self.limits.potential_max_v)
            if x is not None
        ]
        if len(window) < 2:
            return _CLAMP_V
        clamp = max(window) * _CLAMP_TIMES + _CLAMP_BEYOND_V
        return round(min(clamp, self.capabilities.potential_max_v), 4)

    @property
    def _protection_v(self) -> int:
        """Return beyond what the force leads never go, V: clamp and leads lie within."""
        beyond = self._clamp_v * _PROTECTION_TIMES + _LEADS_V
        return next((x for x in _PROTECTIONS_V if x >= beyond), _PROTECTIONS_V[-1])

    # -- what is made of steps

    def _technique(self, technique: Technique) -> None:
        match technique:
            case OpenCircuit():
                self._rest(technique)
            case GalvanostaticStep():
                self._galvanostatic(technique)
            case PotentiostaticStep():
                self._hold(technique)
            case LinearSweep():
                span = abs(technique.end_v - technique.begin_v)
                step_v = span / max(1, round(span / technique.row_step_v))
                self._sweep(technique, "linear_sweep", SWEEP, step_v)
            case CyclicVoltammetry():
                self._sweep(technique, "cyclic_voltammetry", VOLTAMMOGRAM, technique.row_step_v)
            case Sequence():
                for step in technique.steps:
                    self._technique(step)
            case Repeat():
                self._begin_loop(technique.times)
                self._technique(technique.step)
                self._end_loop()
            case NamedPart():
                self._technique(technique.step)
            case PlateStripCycle():
                self._plate_strip_cycle(technique)
            case _:
                what = technique.type.replace("_", " ")
                raise UnsupportedTechniqueError(
                    f"{self.capabilities.model} does no {what}: it has no frequency response "
                    "analyser. Leave it out of the technique, or take another potentiostat"
                    if technique.type == "impedance_spectrum"
                    else f"{self.capabilities.model} does no {what}"
                )

    def _begin_loop(self, times: int) -> str:
        self.depth += 1
        self.loops += 1
        counter = f"n{self.loops}"
        self.lines.append(f"for {counter} = 1, {times} do")
        return counter

    def _end_loop(self) -> None:
        self.lines.append("end")
        self.depth -= 1

    def _plate_strip_cycle(self, technique: PlateStripCycle) -> None:
        first, second = technique.halves
        skipped = f"k{self.loops + 1}"
        if technique.between is not None:
            # How many cycles have no step between before the next that has one.
            self.lines.append(f"local {skipped} = {technique.between_first - 1}")
        self._begin_loop(technique.cycles)
        self.lines.append("o.cyc = o.cyc + 1")
        for step in technique.goes_on_with(first):
            self._technique(step)
        self._rest_of(technique.rest_s, first.record)
        if technique.between is not None:
            self.lines.append(f"if {skipped} == 0 then")
            self._technique(technique.between)
            self.lines += [f"{skipped} = {technique.between_every}", "end"]
            self.lines.append(f"{skipped} = {skipped} - 1")
        for step in technique.goes_on_with(second):
            self._technique(step)
        self._rest_of(technique.rest_s, second.record)
        self._end_loop()

    def _rest_of(self, duration_s: float, record: Recording) -> None:
        if duration_s > 0:
            self._rest(OpenCircuit(duration_s=duration_s, record=record))

    # -- steps

    def _rest(self, step: OpenCircuit) -> None:
        record = step.record
        self.open_circuit = True
        finest = min(record.dt_s, record.edge_dt_s if record.edge_for_s > 0 else record.dt_s)
        wanted = min(max(finest / 4, FINEST_CHECK_S), COARSEST_CHECK_S, finest)
        loop, interval = self._loop(step.duration_s, wanted, sources=True)
        values: dict[str, Value] = {
            "rest": True,
            "range": self.capabilities.current_range_a(_REST_RANGE_A),
            **loop,
            **self._recording(record, record.dt_s, interval),
            "band": record.de_v,
        }
        if step.drift_below_v_s is not None:
            values["drift"] = step.drift_below_v_s * step.drift_window_s
            values["drift_s"] = step.drift_window_s
        block = Block("open_circuit", REST, 0.0, record.dt_s + interval, step.duration_s)
        self._call("rest", block, values)

    def _galvanostatic(self, step: GalvanostaticStep) -> None:
        current_a = self.assignment.current_a(step)
        caps = self.capabilities
        if abs(current_a) > caps.current_max_a:
            raise UnsupportedTechniqueError(
                f"{caps.model} gives {caps.current_max_a * 1e3:g} mA at most, the step asks for "
                f"{current_a * 1e3:g} mA: lower its current density, or take a smaller electrode; "
                "nothing was sent"
            )
        smallest = caps.current_ranges_a[0] * _SMALLEST_PART_OF_A_RANGE
        if abs(current_a) < smallest:
            raise UnsupportedTechniqueError(
                f"{caps.model} controls {smallest:g} A at least, the step asks for {current_a:g} A"
            )
        role = OTHER if step.role is None else {"plate": PLATE, "strip": STRIP}[step.role]
        record, dt_s = step.record, step.record.dt_s
        if record.dq_mah_cm2 is not None:
            # At a set current a charge is a time.
            dt_s = min(dt_s, record.dq_mah_cm2 * 3600 / abs(step.current_density_ma_cm2))
        wanted = record.check_interval_s(step.expected_s)
        if any("potential" in limit.quantity for limit in step.until):
            # The source holds the potential where the metal has ended, so when it did is known to
            # half an interval only.
            wanted = max(wanted / 2, min(wanted, _AUTOZERO_FROM_S))
        loop, interval = self._loop(step.expected_s, wanted, sources=True)
        range_a = self.capabilities.current_range_a(abs(current_a))
        self.currents.add(SetCurrent(abs(current_a), range_a))
        above, below = self._thresholds(step)
        values: dict[str, Value] = {
            "level": current_a,
            "range": range_a,
            "pulse": True if step.role is not None else None,
            **loop,
            **_in_a_hurry(loop),
            **self._recording(record, dt_s, interval),
            "band": record.de_v,
            "above": None if above is None else above[0],
            "above_code": None if above is None else above[1],
            "below": None if below is None else below[0],
            "below_code": None if below is None else below[1],
        }
        if step.role is not None:
            self.lines.append("o.half = o.half + 1")
        block = Block("galvanostatic", role, current_a, dt_s + interval, step.expected_s)
        self._call("current", block, values)
        codes = {x[1] for x in (above, below) if x is not None}
        self._stop_for_safety(codes, SAFETY_HIGH, "potential_max_v", self.limits.potential_max_v)
        self._stop_for_safety(codes, SAFETY_LOW, "potential_min_v", self.limits.potential_min_v)
        for code, limit in enumerate(step.until, 1):
            if limit.quantity in ("time_s", "charge_mah_cm2"):
                ends = limit.value
                if limit.quantity == "charge_mah_cm2":
                    ends = limit.value * 3600 / abs(step.current_density_ma_cm2)
                if ends <= step.expected_s * (1 + 1e-12):
                    self._act_on(0, limit)
            elif code in codes:
                self._act_on(code, limit)

    def _thresholds(
        self, step: GalvanostaticStep
    ) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        """Return (potential, code) that end the step from above and from below: the nearest."""
        above: list[tuple[float, int]] = []
        below: list[tuple[float, int]] = []
        mirror = self.assignment.mirror
        for code, limit in enumerate(step.until, 1):
            if limit.quantity == "abs_potential_above_v":
                above.append((limit.value, code))
                below.append((-limit.value, code))
            elif limit.quantity in ("potential_above_v", "potential_below_v"):
                is_above = (limit.quantity == "potential_above_v") == (mirror > 0)
                (above if is_above else below).append((limit.value * mirror, code))
        if self.limits.potential_max_v is not None:
            above.append((self.limits.potential_max_v, SAFETY_HIGH))
        if self.limits.potential_min_v is not None:
            below.append((self.limits.potential_min_v, SAFETY_LOW))
        # At equal potentials the step's own limit, which has the smaller code, decides.
        nearest_above = min(above, default=None)
        nearest_below = max(below, key=lambda x: (x[0], -x[1]), default=None)
        for found in (nearest_above, nearest_below):
            if found is not None:
                self._must_be_possible(found[0], "measures", "a limit there is never noticed")
        return nearest_above, nearest_below

    def _hold(self, step: PotentiostaticStep) -> None:
        record = step.record
        loop, interval = self._loop(
            step.expected_s, record.check_interval_s(step.expected_s), sources=False
        )
        role = HOLD if step.role is None else {"plate": PLATE, "strip": STRIP}[step.role]
        if step.continues_half_cycle:
            self._must_follow(step, role)
        elif step.role is not None:
            self.lines.append("o.half = o.half + 1")
        limits = CurrentLimits(self.assignment, self.capabilities, step)
        values: dict[str, Value] = {
            "level": self.assignment.mirror * step.potential_v,
            "pulse": True if step.role is not None and not step.continues_half_cycle else None,
            **loop,
            **self._recording(record, record.dt_s, interval),
            "band": None if record.di_ma_cm2 is None else limits.current_a(record.di_ma_cm2),
            **limits.values(counting=record.dq_mah_cm2 is not None),
            **self._potentials(step, (step.potential_v,)),
        }
        if record.dq_mah_cm2 is not None:
            values["charge_rows"] = limits.charge_c(record.dq_mah_cm2)
        block = Block("potentiostatic", role, 0.0, record.dt_s + interval, step.expected_s)
        self._call("hold", block, values)
        self._consequences(step, limits)

    def _sweep(
        self,
        step: LinearSweep | CyclicVoltammetry,
        kind: StepKind,
        role: int,
        row_step_v: float,
    ) -> None:
        caps, rate = self.capabilities, step.scan_rate_v_s
        if not caps.scan_rate_min_v_s <= rate <= caps.scan_rate_max_v_s:
            raise UnsupportedTechniqueError(
                f"{caps.model} sweeps at {caps.scan_rate_min_v_s:g} V/s to "
                f"{caps.scan_rate_max_v_s:g} V/s while every point is compared with the limits, "
                f"asked for {rate:g} V/s"
            )
        # A slow sweep is divided further than its rows, for the sake of the checks.
        checks = math.ceil(row_step_v / rate / COARSEST_CHECK_S - 1e-9)
        checks = max(1, min(checks, math.floor(row_step_v / _SMALLEST_STEP_V + 1e-9)))
        # Cut to whole nV: the last step must not fall short of the end.
        step_v = math.floor(row_step_v / checks * 1e9 + 1e-3) / 1e9
        interval = step_v / rate
        if interval < SHORTEST_INTERVAL_S * (1 - 1e-9):
            raise UnsupportedTechniqueError(
                f"{caps.model} measures every {SHORTEST_INTERVAL_S:g} s at most in a program; "
                f"steps of {row_step_v:g} V at {rate:g} V/s ask for every {interval:g} s: set "
                "step_v"
            )
        limits = CurrentLimits(self.assignment, self.capabilities, step)
        mirror = self.assignment.mirror
        scans = step.scans if isinstance(step, CyclicVoltammetry) else 1
        values: dict[str, Value] = {
            "turns": [mirror * value for value in step.turns_v],
            "scans": scans,
            "step_v": step_v,
            "interval": interval,
            "every": checks,
            **self._reading(interval, sources=False),
            **limits.values(),
            **self._potentials(step, step.turns_v),
        }
        block = Block(kind, role, 0.0, interval * (checks + 1), step.expected_s + interval)
        self._call("sweep", block, values)
        self._consequences(step, limits)

    # -- pieces

    def _call(self, function: str, block: Block, values: dict[str, Value]) -> None:
        told: dict[str, Value] = {"block": len(self.blocks), **values}
        self.blocks.append(block)
        self.lines.append(f"why = {function}({table(told)})")

    def _loop(
        self, duration_s: float, interval_s: float, *, sources: bool
    ) -> tuple[dict[str, Value], float]:
        """Return how often is measured; a whole number of intervals fits into the duration."""
        count = max(1, math.ceil(duration_s / interval_s - 1e-9))
        count = min(count, max(1, math.floor(duration_s / SHORTEST_INTERVAL_S + 1e-9)))
        interval = duration_s / count
        if interval < SHORTEST_INTERVAL_S * (1 - 1e-9):
            raise UnsupportedTechniqueError(
                f"{self.capabilities.model} measures every {SHORTEST_INTERVAL_S:g} s at most in a "
                f"program; a step of {duration_s:g} s is shorter than that"
            )
        timing: dict[str, Value] = {"interval": interval, "count": count}
        return {**timing, **self._reading(interval, sources=sources)}, interval

    def _reading(self, interval: float, *, sources: bool) -> dict[str, Value]:
        """Return how a reading is taken that is through within half an interval."""
        autozero = interval >= _AUTOZERO_FROM_S
        # The source is read back before, as long again; zero and reference take as long each.
        parts = (2 if sources else 1) * (3 if autozero else 1)
        mains = self.wiring.mains_frequency_hz
        most = (interval / 2 - _READING_OVERHEAD_S) * mains / parts
        nplc = min(max(round(most, _DIGITS_OF_NPLC), _LEAST_NPLC), _MOST_NPLC)
        return {
            "nplc": nplc,
            "autozero": autozero,
            "reading": min(parts * nplc / mains + _READING_OVERHEAD_S, interval),
        }

    def _recording(self, record: Recording, dt_s: float, interval: float) -> dict[str, Value]:
        """Return when rows are due; half an interval earlier than asked, for the timer's jitter."""
        dense = min(record.edge_dt_s, dt_s) if record.edge_for_s > 0 else dt_s
        return {
            "gap": round(dt_s - interval / 2, 6),
            "edge_gap": round(dense - interval / 2, 6),
            "edge_for": record.edge_for_s,
        }

    def _potentials(self, step: PotentialControlled, wanted: Several[float]) -> dict[str, Value]:
        """Return the range of what is set, and within what it must stay against open circuit."""
        applied = [self.assignment.mirror * value for value in wanted]
        if step.versus == "other_electrode":
            for value in applied:
                self._must_be_possible(value, "applies", "")
            return {"range": voltage_range(max(abs(value) for value in applied))}
        low, high = self._possible_v()
        return {
            "range": voltage_range(max(abs(high), abs(low))),
            "versus": True,
            "versus_s": OPEN_CIRCUIT_BEFORE_S,
            "highest": max(applied),
            "lowest": min(applied),
            "versus_high": high,
            "versus_low": low,
            "high_code": SAFETY_HIGH,
            "low_code": SAFETY_LOW,
        }

    def _must_be_possible(self, value_v: float, does: str, consequence: str) -> None:
        low, high = self.capabilities.potential_min_v, self.capabilities.potential_max_v
        if not low <= value_v <= high:
            told = f"{self.capabilities.model} {does} {low:g} V to {high:g} V, not {value_v:g} V"
            raise UnsupportedTechniqueError(f"{told}: {consequence}" if consequence else told)

    def _must_follow(self, step: PotentiostaticStep, role: int) -> None:
        # A program that goes on may begin with it.
        before = self.blocks[-1].role if self.blocks else None
        if before == role or (before is None and self.assignment.begin.half_cycle > 0):
            return
        raise UnsupportedTechniqueError(
            f"a hold at {step.potential_v:g} V has continues_half_cycle, but just before it is no "
            f"{step.role} step that it could go on with"
        )

    def _stop_for_safety(self, codes: set[int], code: int, name: str, value: float | None) -> None:
        if code in codes and value is not None:
            self._when(code, f'return "{SAFETY} {name} {value:g}"')

    def _act_on(self, code: int, limit: Limit) -> None:
        if limit.action == "stop":
            self._when(code, f'return "{STOP} {limit.quantity} {limit.value:g}"')
        elif limit.action == "end_loop":
            if self.depth == 0:
                raise UnsupportedTechniqueError(
                    f"{limit.quantity} {limit.value:g} has the action end_loop, but the step "
                    "is in no cycle and no repeat"
                )
            self._when(code, "break")

    def _when(self, code: int, statement: str) -> None:
        self.lines.append(f"if why == {code} then {statement} end")

    def _consequences(self, step: PotentialControlled, limits: CurrentLimits) -> None:
        """Do what the limit that ended a step at a set potential asks for."""
        if step.versus == "open_circuit":
            low, high = self._possible_v()
            self._stop_for_safety({SAFETY_HIGH}, SAFETY_HIGH, "potential_max_v", high)
            self._stop_for_safety({SAFETY_LOW}, SAFETY_LOW, "potential_min_v", low)
        codes = limits.codes
        self._stop_for_safety(codes, SAFETY_CURRENT, "current_max_a", limits.safety_a)
        if limits.way:
            told = "charge_the_other_way_mah_cm2"
            self._stop_for_safety({WRONG_WAY}, WRONG_WAY, told, WRONG_WAY_MAH_CM2)
        for code, limit in enumerate(step.until, 1):
            if limit.quantity == "time_s":
                if limit.value <= step.expected_s * (1 + 1e-12):
                    self._act_on(0, limit)
            elif code in codes:
                self._act_on(code, limit)

    def _possible_v(self) -> tuple[float, float]:
        """Return the lowest and the highest potential that may be set."""
        low, high = self.capabilities.potential_min_v, self.capabilities.potential_max_v
        if self.limits.potential_min_v is not None:
            low = max(low, self.limits.potential_min_v)
        if self.limits.potential_max_v is not None:
            high = min(high, self.limits.potential_max_v)
        return low, high


def _in_a_hurry(loop: dict[str, Value]) -> dict[str, Value]:
    """Return how soon the next reading comes where the potential runs; nothing if no sooner."""
    interval, reading = loop["interval"], loop["reading"]
    assert isinstance(interval, float)  # told to the type checker
    assert isinstance(reading, float)
    quick = max(interval / _TIMES_AS_OFTEN, reading * _READINGS_APART)
    return {"quick": quick, "hasty": _HASTY_V} if quick < interval / 2 else {}
