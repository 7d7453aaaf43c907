"""What a step becomes on a Rodeostat: one of its tests, and what is compared with each sample.

A hold is its test ``constant``, a linear sweep ``linearSweep``, a cyclic voltammetry ``cyclic``:
one test each, at whose begin the electrodes are connected and at whose end they are disconnected.
At open circuit the counter electrode stays disconnected; a test runs all the same, for its clock,
and the potential is asked for at each of its samples.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat.contract import (
    HOLD,
    PLATE,
    REST,
    STRIP,
    SWEEP,
    VOLTAMMOGRAM,
    StepKind,
)
from instruments.potentiostat.rodeostat.models import SAMPLE_PERIOD_MS, Model
from techniques import (
    Assignment,
    CyclicVoltammetry,
    ElementaryStep,
    LinearSweep,
    OpenCircuit,
    PotentialControlled,
    PotentiostaticStep,
    Recording,
    elementary_steps,
)
from techniques.assignment import OPEN_CIRCUIT_BEFORE_S, WRONG_WAY_MAH_CM2
from techniques.limits import Action

# At the end of its power an instrument cannot tell that a current is beyond it.
_OF_LARGEST_CURRENT = 0.95
_LONGEST_MS = 2**32 - 1
_LONGEST_PERIOD_S = SAMPLE_PERIOD_MS[1] * 1e-3
_COULOMB_PER_MAH = 3.6
_CLOCK = "constant"


@dataclass(frozen=True)
class DeviceTest:
    """One test of the instrument, and when a row of it is recorded.

    Attributes:
        name: of the test.
        param: what it is told.
        period_ms: between two samples.
        duration_s: how long it lasts if nobody stops it.
        record: when a row is due; ``None``: every ``every``-th sample is one.
        every: see ``record``.
    """

    name: str
    param: dict[str, Any]
    period_ms: int
    duration_s: float
    record: Recording | None = None
    every: int = 1


@dataclass(frozen=True)
class Bound:
    """What a value may not pass, and what follows; ``name`` is for messages."""

    value: float
    action: Action | None  # None: a safety limit
    name: str
    asked: float


@dataclass
class Limits:
    """The limits of one driven step; they are compared with each sample.

    Args:
        assignment: its area and safety limits.
        step: its own limits.
        largest_a: largest current of the instrument, A.
    """

    assignment: Assignment
    step: PotentialControlled
    largest_a: float
    charge_c: float = 0.0
    astray_c: float = 0.0
    most_a: float = 0.0
    _before: tuple[float, float] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        per_a = 1e-3 * self.assignment.area_cm2
        per_c = self.assignment.area_cm2 * _COULOMB_PER_MAH
        safety_a = self.largest_a * _OF_LARGEST_CURRENT
        if self.assignment.bounds.current_max_a is not None:
            safety_a = min(safety_a, self.assignment.bounds.current_max_a)
        bounds: dict[str, list[Bound]] = {"above": [], "below": [], "charge": []}
        kinds = {
            "abs_current_above_ma_cm2": ("above", per_a),
            "abs_current_below_ma_cm2": ("below", per_a),
            "charge_mah_cm2": ("charge", per_c),
        }
        for limit in self.step.until:
            if limit.quantity in kinds:
                kind, unit = kinds[limit.quantity]
                bound = Bound(limit.value * unit, limit.action, limit.quantity, limit.value)
                bounds[kind].append(bound)
        # At equal currents the step's own comes first.
        bounds["above"].append(Bound(safety_a, None, "current_max_a", safety_a))
        self.above = min(bounds["above"], key=lambda bound: bound.value)
        self.below = max(bounds["below"], key=lambda bound: bound.value, default=None)
        self.charge = min(bounds["charge"], key=lambda bound: bound.value, default=None)
        role = self.step.role if isinstance(self.step, PotentiostaticStep) else None
        self._way = 0 if role is None else self.assignment.mirror * (1 if role == "strip" else -1)
        self._wrong_way = Bound(
            WRONG_WAY_MAH_CM2 * per_c, None, "charge_the_other_way_mah_cm2", WRONG_WAY_MAH_CM2
        )

    def passed(self, t_s: float, current_a: float) -> Bound | None:
        """Take a sample into account; return what it or the charge so far passes."""
        before_s, before_a = self._before or (0.0, current_a)
        self._before = t_s, current_a
        # Trapezoids; before the first sample the current is taken as constant.
        charge_c = 0.5 * (before_a + current_a) * (t_s - before_s)
        self.charge_c += abs(charge_c)
        self.most_a = max(self.most_a, abs(current_a))
        if self._way * charge_c < 0:
            self.astray_c += abs(charge_c)
        if abs(current_a) > self.above.value:
            return self.above
        if self.below is not None and abs(current_a) < self.below.value:
            return self.below
        if self._way and self.astray_c > self._wrong_way.value:
            return self._wrong_way
        if self.charge is not None and self.charge_c > self.charge.value:
            return self.charge
        return None

    def at_time(self) -> Bound:
        """Return what ends the step when its time is over."""
        times = [x for x in self.step.until if x.quantity == "time_s"]
        first = min(times, key=lambda limit: limit.value, default=None)
        if first is None:  # a sweep comes to its end
            return Bound(self.step.expected_s, "next", "", 0.0)
        return Bound(first.value, first.action, first.quantity, first.value)


def check(assignment: Assignment, model: Model) -> None:
    """Raise what is wrong with an assignment for this instrument.

    Raises UnsupportedTechniqueError or SafetyLimitError.
    """
    able = model.capabilities()
    who = able.model
    violations = assignment.violations()
    if violations:
        raise SafetyLimitError(
            f"{who}: the technique is outside its safety limits: {'; '.join(violations)}"
        )
    if assignment.reference:
        raise UnsupportedTechniqueError(
            f"{who}: it cannot measure E_WE - E_CE, so the limits of a cell with a reference "
            "electrode cannot be kept: leave reference_electrode out of the cell file"
        )
    before: tuple[ElementaryStep | None, int] = None, 0
    for step in elementary_steps(assignment.technique):
        if step.type not in able.techniques:
            why = (
                "it has no galvanostat"
                if step.type == "galvanostatic_step"
                else "it has no frequency response analyser"
            )
            raise UnsupportedTechniqueError(
                f"{who} does no {step.type.replace('_', ' ')}: {why}; it does "
                f"{', '.join(sorted(able.techniques))}"
            )
        if isinstance(step, PotentiostaticStep) and step.continues_half_cycle:
            _must_follow(step, role_of(step), before, assignment, who)
        before = step, role_of(step)
        if isinstance(step, PotentialControlled):
            limits = Limits(assignment, step, able.current_max_a)
            _must_carry(limits, assignment, step, who)
            turns = _turns(step)
            for value in turns if step.versus == "other_electrode" else ():
                _must_reach(assignment.mirror * value, model)
        device_test(step, assignment, model)


def _must_follow(
    step: PotentiostaticStep,
    role: int,
    before: tuple[ElementaryStep | None, int],
    assignment: Assignment,
    who: str,
) -> None:
    goes_on = before[0] is None and assignment.begin.half_cycle > 0
    if before[1] != role and not goes_on:
        raise UnsupportedTechniqueError(
            f"{who}: a hold at {step.potential_v:g} V has continues_half_cycle, but just before it "
            f"is no {step.role} step that it could go on with"
        )


def _must_carry(
    limits: Limits, assignment: Assignment, step: PotentialControlled, who: str
) -> None:
    own = [x for x in step.until if x.quantity == "abs_current_above_ma_cm2"]
    if own and min(x.value for x in own) * 1e-3 * assignment.area_cm2 > limits.largest_a:
        raise UnsupportedTechniqueError(
            f"{who} measures {limits.largest_a * 1e3:.4g} mA at most, a limit of "
            f"{min(x.value for x in own):g} mA/cm2 on {assignment.area_cm2:g} cm2 lies beyond"
        )


def _must_reach(potential_v: float, model: Model) -> None:
    if abs(potential_v) > model.potential_max_v:
        raise UnsupportedTechniqueError(
            f"Rodeostat {model.variant} applies {-model.potential_max_v:g} V to "
            f"{model.potential_max_v:g} V, asked for {potential_v:g} V: change the "
            "step; nothing was sent"
        )


def role_of(step: ElementaryStep) -> int:
    """Return the role code of a step."""
    match step:
        case PotentiostaticStep():
            return HOLD if step.role is None else {"plate": PLATE, "strip": STRIP}[step.role]
        case LinearSweep():
            return SWEEP
        case CyclicVoltammetry():
            return VOLTAMMOGRAM
    return REST


def kind_of(step: ElementaryStep) -> StepKind:
    """Return what a step does."""
    match step:
        case PotentiostaticStep():
            return "potentiostatic"
        case LinearSweep():
            return "linear_sweep"
        case CyclicVoltammetry():
            return "cyclic_voltammetry"
    return "open_circuit"


def _turns(step: PotentialControlled) -> tuple[float, ...]:
    return (step.potential_v,) if isinstance(step, PotentiostaticStep) else step.turns_v


def clock(duration_s: float, record: Recording | None, model: Model) -> DeviceTest:
    """Return the test whose samples tell the time at open circuit."""
    finest_s = _LONGEST_PERIOD_S
    if record is not None:
        wanted = [record.dt_s, *([record.edge_dt_s] if record.edge_for_s > 0 else [])]
        wanted += [1.0] if record.de_v is not None else []
        finest_s = min(*wanted, finest_s)
    # Each sample costs a question and an answer.
    period_ms, duration_ms = _timing(max(finest_s, 0.02), duration_s, model)
    param = {"quietTime": 0, "quietValue": 0.0, "value": 0.0, "duration": duration_ms}
    return DeviceTest(_CLOCK, param, period_ms, duration_ms * 1e-3, record)


def open_circuit_before(model: Model) -> DeviceTest:
    """Return the test during which the open circuit potential is measured before a step."""
    return clock(OPEN_CIRCUIT_BEFORE_S, Recording(dt_s=0.1, edge_for_s=0.0), model)


def device_test(
    step: ElementaryStep, assignment: Assignment, model: Model, against_v: float = 0.0
) -> DeviceTest:
    """Return the test that does a step.

    Args:
        step: the step.
        assignment: which way round the cell is connected.
        model: which instrument.
        against_v: potential against which those of the step are told, V, sign of the instrument.

    Raises UnsupportedTechniqueError, also where ``against_v`` leads beyond the instrument, and
    SafetyLimitError where it leads out of the window.
    """
    if isinstance(step, OpenCircuit):
        return clock(step.duration_s, step.record, model)
    assert isinstance(step, PotentialControlled)  # others are refused before
    applied = [against_v + assignment.mirror * value for value in _turns(step)]
    if step.versus == "open_circuit":
        for value in applied:
            _must_reach(value, model)
            _must_be_inside(value, assignment, model)
    if isinstance(step, PotentiostaticStep):
        record = step.record
        interval = record.check_interval_s(step.expected_s)
        period_ms, duration_ms = _timing(interval, step.expected_s, model)
        param = {"quietTime": 0, "quietValue": applied[0], "value": applied[0]}
        param["duration"] = duration_ms
        return DeviceTest("constant", param, period_ms, duration_ms * 1e-3, record)
    row_s = step.row_step_v / step.scan_rate_v_s
    able = model.capabilities()
    low, high = able.scan_rate_min_v_s, able.scan_rate_max_v_s
    if not low <= step.scan_rate_v_s <= high:
        raise UnsupportedTechniqueError(
            f"{able.model} sweeps at {low:g} V/s to {high:g} V/s while every sample is compared "
            f"with the limits, asked for {step.scan_rate_v_s:g} V/s"
        )
    every = max(1, math.ceil(row_s / _LONGEST_PERIOD_S - 1e-9))
    period_ms, duration_ms = _timing(row_s / every, step.expected_s, model)
    if isinstance(step, LinearSweep):
        name = "linearSweep"
        param = {
            "quietTime": 0,
            "quietValue": applied[0],
            "startValue": applied[0],
            "finalValue": applied[1],
            "duration": duration_ms,
        }
    else:
        name = "cyclic"
        param = _triangle(step, applied, duration_ms, able.model)
    return DeviceTest(name, param, period_ms, duration_ms * 1e-3, None, every)


def _triangle(
    step: CyclicVoltammetry, applied: list[float], duration_ms: int, who: str
) -> dict[str, Any]:
    """Return a triangle that begins in the middle of a flank: ``shift`` is the share of it past."""
    begin, first, second, _ = applied
    low, high = min(first, second), max(first, second)
    if not low - 1e-9 <= begin <= high + 1e-9:
        raise UnsupportedTechniqueError(
            f"{who}: a cyclic voltammetry begins between its vertices, {step.begin_v:g} V is not "
            f"between {step.vertex1_v:g} V and {step.vertex2_v:g} V"
        )
    amplitude = 0.5 * (high - low)
    # Half a period goes up from the lower vertex, half down from the upper.
    share = (begin - low) / (4 * amplitude)
    shift = share if first > second else (1.0 - share) % 1.0
    return {
        "quietTime": 0,
        "quietValue": begin,
        "amplitude": amplitude,
        "offset": 0.5 * (high + low),
        "period": round(duration_ms / step.scans),
        "numCycles": step.scans,
        "shift": shift,
    }


def _must_be_inside(value: float, assignment: Assignment, model: Model) -> None:
    limits = assignment.bounds
    for name, limit, sign in (
        ("potential_max_v", limits.potential_max_v, 1),
        ("potential_min_v", limits.potential_min_v, -1),
    ):
        if limit is not None and sign * value > sign * limit:
            raise SafetyLimitError(
                f"Rodeostat {model.variant}: against its open circuit potential the step goes to "
                f"{value:.6g} V, beyond {name} = {limit:g} V; the electrodes are disconnected"
            )


def _timing(interval_s: float, duration_s: float, model: Model) -> tuple[int, int]:
    """Return time between two samples, and duration, in whole ms."""
    shortest, longest = SAMPLE_PERIOD_MS
    wanted = interval_s * 1e3
    if wanted < shortest * (1 - 1e-9):
        raise UnsupportedTechniqueError(
            f"Rodeostat {model.variant} samples every {shortest} ms at most, asked for every "
            f"{wanted:g} ms"
        )
    duration_ms = max(1, round(duration_s * 1e3))
    if duration_ms > _LONGEST_MS:
        raise UnsupportedTechniqueError(
            f"Rodeostat {model.variant}: its tests last {_LONGEST_MS / 8.64e7:.0f} d at most, a "
            f"step of {duration_s:g} s is longer"
        )
    period = min(longest, math.floor(wanted + 1e-6), duration_ms)
    # A last sample at the very end, where a period not much shorter divides the duration.
    dividing = (x for x in range(period, max(1, period // 2) - 1, -1) if duration_ms % x == 0)
    return next(dividing, period), duration_ms
