"""Where the interrupted program stood, or why that is not certain."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from instruments.potentiostat.contract import (
    HOLD,
    IMPEDANCE,
    OTHER,
    PLATE,
    REST,
    SAFETY_LIMIT_PASSED,
    STRIP,
    SWEEP,
    VOLTAMMOGRAM,
)
from operando.resume._charge import ChargeIn, charge_of_earlier_parts, mirror_of
from operando.resume._program import (
    Program,
    last_heard,
    limits_at_the_end,
    newest_counters,
    seconds_per_second,
)
from operando.resume._record import Decisions, Experiment, ResumeError
from plans.ending import WHILE_ENDING
from techniques import (
    Cell,
    Counters,
    CyclicVoltammetry,
    ExecutedStep,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Interrupted,
    LinearSweep,
    OpenCircuit,
    PositionError,
    PotentialControlled,
    PotentiostaticStep,
    Remaining,
    Technique,
    elementary_steps,
    remaining,
)
from techniques.remaining import ElementaryStep, how_it_ended, last_step

# How much of a half-cycle's charge may be unknown without anybody deciding on it.
UNKNOWN_SHARE = 0.005
# Pages are collected ten times a second; a row that is due may be this late, or be on the line this
# long, s.
_LATE_S = 1.0
_CLOCK = "%Y-%m-%d %H:%M:%S"

# What plates or strips may do it at a set current or at a set potential.
_KIND = {
    REST: "open_circuit",
    IMPEDANCE: "impedance_spectrum",
    OTHER: "galvanostatic_step",
    HOLD: "potentiostatic_step",
    SWEEP: "linear_sweep",
    VOLTAMMOGRAM: "cyclic_voltammetry",
}
_ROLE = {PLATE: "plate", STRIP: "strip"}
_LOGGED_KIND = {
    "open_circuit": "open_circuit",
    "galvanostatic": "galvanostatic_step",
    "potentiostatic": "potentiostatic_step",
    "linear_sweep": "linear_sweep",
    "cyclic_voltammetry": "cyclic_voltammetry",
    "impedance": "impedance_spectrum",
}


@dataclass(frozen=True)
class Position:
    """Where the interrupted program stood.

    Attributes:
        left: What is left of it.
        step: The number of the step that was begun last; 0 if none was.
        cycle: Its cycle.
        half_cycle: Its half-cycle.
        elapsed_s: How far that step had come, s: least and most.
        charge_mah_cm2: The charge that had passed in it, mAh/cm2: least and most, magnitudes.
        t_s: Time of the last that is known of it, s.
        ending: How the program ended: as in `ProgramLog`, ``unknown`` also without a log.
        reason: The limit that ended it, if one did.
        lost_power: Whether the instrument had lost its power; ``None``: not known.
        unrecorded_mah_cm2: How much charge may have passed that no row shows, at most, mAh/cm2,
            whatever was decided; ``None``: that is not known.
        refusal: Why the experiment must not go on from there.
    """

    left: Remaining
    step: int
    cycle: int
    half_cycle: int
    elapsed_s: tuple[float, float]
    charge_mah_cm2: tuple[float, float]
    t_s: float
    ending: str
    reason: str = ""
    lost_power: bool | None = False
    unrecorded_mah_cm2: float | None = 0.0
    refusal: str = ""

    @property
    def told(self) -> str:
        """Return it in a few words."""
        where = f"cycle {self.cycle}, half-cycle {self.half_cycle}"
        if self.left.technique is None:
            return f"at its end ({where})"
        if self.left.step is None:
            return f"after step {self.step} ({where})"
        role = getattr(self.left.step, "role", None) or self.left.step.type.replace("_", " ")
        passed = f", {sum(self.charge_mah_cm2) / 2:.4g} mAh/cm2" if self.charge_mah_cm2[1] else ""
        return f"{sum(self.elapsed_s) / 2:.1f} s{passed} into {role} ({where})"


@dataclass(frozen=True)
class _Last:
    """The last row of each step."""

    steps: list[ExecutedStep]
    points: int
    row_t_s: float
    row_time_s: float


def executed(program: Program, cell: Cell) -> _Last:
    """Return the steps that were begun, as their rows show them; raises PositionError."""
    mirror, density = mirror_of(cell), 1e3 / cell.area_cm2
    seen: dict[int, ExecutedStep] = {}
    samples, points = program.rows.samples, program.rows.points
    for row in _last_rows(samples["step"]):
        role = int(samples["role"][row])
        seen[int(samples["step"][row])] = ExecutedStep(
            cast(Any, _KIND.get(role)),
            cast(Any, _ROLE.get(role)),
            int(samples["cycle"][row]),
            int(samples["half_cycle"][row]),
            "next" if role == REST else None,
            float(samples["step_t"][row]),
            mirror * float(samples["potential"][row]),
            density * abs(float(samples["current"][row])),
        )
    for row in _last_rows(points["step"]):
        seen[int(points["step"][row])] = ExecutedStep(
            "impedance_spectrum", None, int(points["cycle"][row]), int(points["half_cycle"][row])
        )
    log = program.log
    if log is not None and log.kind is not None and log.counters.step not in seen:
        # A step of which there is no row yet: only its header was written.
        seen[log.counters.step] = ExecutedStep(
            cast(Any, _LOGGED_KIND[log.kind]),
            cast(Any, _ROLE.get(log.role)),
            log.counters.cycle,
            log.counters.half_cycle,
            None,
            0.0,
        )
    numbers = sorted(seen)
    first = program.begin.step + 1
    missing = sorted(set(range(first, numbers[-1] + 1)) - seen.keys()) if numbers else []
    if missing:
        raise PositionError(f"no row of step {missing[0]} is in the record")
    newest = numbers[-1] if numbers else 0
    times = [*zip(samples["t"], samples["time"], strict=True)][-1:]
    times += [*zip(points["t"], points["time"], strict=True)][-1:]
    t_s, time_s = max(times, default=(program.begin.t_s, float(program.run.start["time"])))
    return _Last(
        [seen[number] for number in numbers],
        int(np.sum(points["step"] == newest)),
        float(t_s),
        float(time_s),
    )


def _last_rows(step: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the index of the last row of each step."""
    if not len(step):
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(np.append(step[1:] != step[:-1], True))


class _SafetyLimitPassedError(Exception):
    """A safety limit ended the program; the message says which."""


def position_of(
    experiment: Experiment,
    program: Program,
    decisions: Decisions,
    unwatched_s: float | None = None,
) -> Position:
    """Work out where a program stood; raises ResumeError where that is not certain.

    ``unwatched_s`` is how long after its last row it may have gone on at most, s of the computer
    that saw both, whatever the clock of day says; ``None``: that is not known.

    After a safety limit, and where other temperatures were to come, the position carries a refusal:
    what the instrument did alone is to be recorded all the same.
    """
    name = f"run {program.run.uid[:8]}"
    try:
        _refuse_what_the_record_says(program)
        if _has_temperatures_to_come(program):
            return _refused(
                program,
                program.log.ending if program.log else "unknown",
                "",
                (
                    f"{name} goes through several temperatures: going on would neither set one nor "
                    "know whether it stands. What was measured is kept; the temperatures that are "
                    "left are an experiment of their own, which begins with operando run"
                ),
            )
        return _position_of(experiment, program, decisions, unwatched_s)
    except _SafetyLimitPassedError as told:
        return _refused(
            program,
            "safety",
            str(told),
            (
                f"{name} was ended by a safety limit ({told}): going on would "
                "meet it again. Look at the cell; a new experiment begins with operando run"
            ),
        )


def _has_temperatures_to_come(program: Program) -> bool:
    """Return whether an experiment over temperatures had not reached the end of the last one."""
    told = program.run.start.get("temperatures")
    if not told:
        return False
    stream = program.run.streams.get("programs")
    reasons = () if stream is None else stream.columns["programs_reason"]
    begun = sum(str(reason).startswith("at ") for reason in reasons)
    log = program.log
    return begun < len(told["kelvin"]) or log is None or log.ending not in ("complete", "stopped")


def _position_of(
    experiment: Experiment, program: Program, decisions: Decisions, unwatched_s: float | None
) -> Position:
    cell = experiment.cell
    try:
        last = executed(program, cell)
    except PositionError as error:
        raise _uncertain(str(error)) from error
    log = program.log
    ending = log.ending if log is not None else "unknown"
    if log is not None and ending == "safety":
        raise _SafetyLimitPassedError(log.reason)
    begin = program.begin
    ended = Remaining(None, begin.cycle, begin.half_cycle)
    t_s = max(last.row_t_s, log.counters.t_s if log is not None else 0.0)
    if not last.steps:
        return _before_the_first_row(program, decisions, t_s, ending)
    number, newest = begin.step + len(last.steps), last.steps[-1]
    at = (number, newest.cycle, newest.half_cycle)
    if ending in ("complete", "stopped"):
        assert log is not None  # these are what a log tells
        left = replace(ended, cycle=newest.cycle, half_cycle=newest.half_cycle)
        return Position(left, *at, (0.0, 0.0), (0.0, 0.0), t_s, ending, log.reason)
    cycle, half = begin.cycle, begin.half_cycle
    try:
        step = last_step(program.technique, last.steps, cycle=cycle, half_cycle=half)
        if has_ended(step, newest, last.points):
            left = remaining(program.technique, last.steps, cycle=cycle, half_cycle=half)
            end = _end_of(program, last, _longest_silence_s(step, left.technique), decisions)
            if left.technique is not None:
                _refuse_unseen_steps(end, decisions, step)
            charge = ChargeIn(program, cell, step, number)(newest.elapsed_s or 0.0)
            elapsed = (newest.elapsed_s or 0.0,) * 2
            return Position(
                left,
                *at,
                elapsed,
                (charge, charge),
                t_s,
                ending,
                lost_power=end.lost_power,
                unrecorded_mah_cm2=0.0 if end.certain or left.technique is None else None,
            )
        _refuse_beyond_safety(program, step)
        charge_in = ChargeIn(program, cell, step, number)
        before = experiment.passed_before(program.run, newest.half_cycle)
        end = _end_of(program, last, _row_gap_s(step), decisions)
        if not end.certain and not program.damage:
            end = _bounded(end, program, step, newest, unwatched_s)
        earlier = charge_of_earlier_parts(experiment.runs, program, cell, newest.half_cycle, number)
        elapsed = _elapsed(program, charge_in, newest, end, before, earlier, decisions)
        passed = (charge_in(elapsed[0]), charge_in(elapsed[1]))
        middle = Interrupted(sum(elapsed) / 2, sum(passed) / 2, charge_in.potential_v)
        left = remaining(program.technique, last.steps, middle, cycle=cycle, half_cycle=half)
    except PositionError as error:
        raise _uncertain(str(error)) from error
    at_least = charge_in(newest.elapsed_s or 0.0)
    unrecorded: float | None = None
    if end.certain or isinstance(step, GalvanostaticStep):
        unrecorded = charge_in(_longest_s(step, newest, end)) - at_least
        if log is not None and ending == "opened":
            # It wrote a last row down as well, where there was one.
            unrecorded = charge_in(log.step_s) - at_least
    return Position(
        left,
        *at,
        elapsed,
        passed,
        t_s,
        ending,
        lost_power=end.lost_power,
        unrecorded_mah_cm2=unrecorded,
    )


@dataclass(frozen=True)
class _End:
    """What is known of the end of a program.

    Attributes:
        certain: It ended before the next row was due, or soon enough after the last one.
        lost_power: Whether because the instrument lost its power; ``None``: not known.
        why: Why it is not certain.
        within_s: How long after the last row it ended at most, s; ``None``: before the next one.
    """

    certain: bool
    lost_power: bool | None = None
    why: str = ""
    within_s: float | None = None


def _bounded(
    end: _End,
    program: Program,
    step: ElementaryStep,
    newest: ExecutedStep,
    unwatched_s: float | None,
) -> _End:
    """Return an end that is certain where the step cannot have ended by itself before it.

    That it may have met a limit on a potential or a current is no more certain than between two
    rows: then what is left of it meets that limit at once.
    """
    if unwatched_s is None or isinstance(step, ImpedanceSpectrum):
        return end
    within_s = unwatched_s / seconds_per_second(program)
    longest_s = step.duration_s if isinstance(step, OpenCircuit) else step.expected_s
    if (newest.elapsed_s or 0.0) + within_s >= longest_s:
        return end
    return _End(True, None, end.why, within_s)


def _end_of(program: Program, last: _Last, gap_s: float, decisions: Decisions) -> _End:
    log, stop = program.log, program.run.stop
    if log is not None and log.ending != "unknown":
        return _End(True, False)
    if program.damage:
        # Rows that are not there may have come after those that are.
        return _End(False, None, f"its journal is damaged near its end: {program.damage}")
    if stop is not None and stop["exit_status"] == "abort":
        # By the writer itself, which confirmed that the cell is open, or said that it is not.
        if WHILE_ENDING not in stop.get("reason", ""):
            return _End(True, False)
    if log is not None and log.cut:
        return _End(False, None, f"{log.damage}. What it would tell of the end is not known")
    if log is not None and (decisions.trust_log or _heard_the_end(program, last, gap_s)):
        return _End(True, True)
    if log is not None and log.damage:
        return _End(
            False,
            None,
            f"{log.damage}. If you know that the instrument lost its power, --trust-log takes the "
            "last row that can be read for the end",
        )
    if log is not None:
        return _End(
            False,
            None,
            "the instrument's own log just stops, without the mark of an end, and nobody listened: "
            "either its power went, or an error ended the program and perhaps left the current on; "
            "and how much of a log is lost when the power goes is not documented. If you know that "
            "the instrument lost its power, --trust-log takes the end of the log for the end",
        )
    return _End(
        False,
        None,
        f"the last row is of {time.strftime(_CLOCK, time.localtime(last.row_time_s))}, and the "
        "instrument has no log of what it did after it",
    )


def _longest_silence_s(step: ElementaryStep, left: Technique | None) -> float:
    """Return how long no row may come after a step has ended, s."""
    after = 0.0 if left is None else max(map(_row_gap_s, elementary_steps(left)), default=0.0)
    return max(_row_gap_s(step), after)


def _refuse_unseen_steps(end: _End, decisions: Decisions, step: ElementaryStep) -> None:
    assumed = decisions.assume_charge_mah_cm2
    if end.certain and assumed is not None:
        raise ResumeError("no half-cycle was interrupted: resume without --assume-charge")
    if not end.certain and assumed is None:
        raise _uncertain(f"{end.why}. So the next step may have begun", step)
    if assumed:
        raise ResumeError("no half-cycle was interrupted: the only charge to be assumed is 0")


def _refused(program: Program, ending: str, reason: str, refusal: str) -> Position:
    log, samples = program.log, program.rows.samples
    at, t_s = program.begin, program.begin.t_s
    if len(samples["t"]):
        at = Counters(
            cycle=int(samples["cycle"][-1]),
            half_cycle=int(samples["half_cycle"][-1]),
            step=int(samples["step"][-1]),
        )
        t_s = float(samples["t"][-1])
    if log is not None and log.counters.step >= at.step:
        at, t_s = log.counters, max(t_s, log.counters.t_s)
    return Position(
        Remaining(None, at.cycle, at.half_cycle),
        at.step,
        at.cycle,
        at.half_cycle,
        (0.0, 0.0),
        (0.0, 0.0),
        t_s,
        ending,
        reason,
        refusal=refusal,
    )


def _refuse_what_the_record_says(program: Program) -> None:
    """Refuse if the record's own end tells of a safety limit: not every one shows in a row."""
    spectrum = program.earlier if program.pending else None
    if spectrum is not None and spectrum.log is not None and spectrum.log.ending == "safety":
        raise _SafetyLimitPassedError(spectrum.log.reason)
    stop = program.run.stop
    reason = str((stop or {}).get("reason", ""))
    if stop is not None and stop["exit_status"] == "fail" and SAFETY_LIMIT_PASSED in reason:
        raise _SafetyLimitPassedError(reason)


def _refuse_beyond_safety(program: Program, step: ElementaryStep) -> None:
    """Refuse if the last row of a step that no limit of its own has ended is beyond the limits."""
    limits = limits_at_the_end(program.run)
    samples = program.rows.samples
    if not len(samples["potential"]):
        return
    if isinstance(step, GalvanostaticStep):
        potential = float(samples["potential"][-1])
        low, high = limits.potential_min_v, limits.potential_max_v
        if (high is not None and potential > high) or (low is not None and potential < low):
            raise _SafetyLimitPassedError(f"{potential:.4g} V in its last row")
    elif isinstance(step, PotentialControlled) and limits.current_max_a is not None:
        current = abs(float(samples["current"][-1]))
        if current > limits.current_max_a:
            raise _SafetyLimitPassedError(f"{current:.4g} A in its last row")


def _before_the_first_row(
    program: Program, decisions: Decisions, t_s: float, ending: str
) -> Position:
    begin, log = program.begin, program.log
    assumed = decisions.assume_charge_mah_cm2
    pending = program.pending and not program.damage
    if pending and assumed:
        raise ResumeError("no half-cycle was interrupted: the only charge to be assumed is 0")
    certain = pending or (log is not None and not log.cut and decisions.trust_log)
    if not certain and assumed != 0:
        if program.own_log is None:
            why = "the instrument kept no log"
        elif log is None:
            why = f"the instrument has no log {program.own_log}"
        else:
            why = log.damage or "its log just stops before the first step"
        raise ResumeError(
            f"run {program.run.uid[:8]} died before its first row and {why}: whether its program "
            "had begun is not known. If it had not, say --assume-charge 0"
        )
    left = Remaining(program.technique, begin.cycle, begin.half_cycle)
    # A resume begins from the number before the half-cycle that goes on; it stood in that one.
    stood = program.run.start.get("resume") or begin.model_dump()
    at = (begin.step, stood["cycle"], stood["half_cycle"])
    if program.pending:
        at = (begin.step, *newest_counters(program.run))
    return Position(
        left,
        *at,
        (0.0, 0.0),
        (0.0, 0.0),
        t_s,
        ending,
        lost_power=None,
        unrecorded_mah_cm2=0.0 if certain else None,
    )


def has_ended(step: ElementaryStep, seen: ExecutedStep, points: int) -> bool:
    """Return whether the last row of a step is its end."""
    match step:
        case GalvanostaticStep() | PotentiostaticStep() | LinearSweep() | CyclicVoltammetry():
            if seen.elapsed_s is None:
                return False
            action = how_it_ended(step, seen.elapsed_s, seen.potential_v, seen.current_ma_cm2)
            return action is not None
        case ImpedanceSpectrum():
            decades = math.log10(step.frequency_max_hz / step.frequency_min_hz)
            return points >= round(decades * step.points_per_decade) + 1
        case OpenCircuit():
            return (seen.elapsed_s or 0.0) >= step.duration_s * (1 - 1e-6)
    return False


def _elapsed(
    program: Program,
    charge_in: ChargeIn,
    seen: ExecutedStep,
    end: _End,
    before: tuple[float, float],
    earlier_mah_cm2: float,
    decisions: Decisions,
) -> tuple[float, float]:
    """Return how far the interrupted step had come at least and at most, s."""
    where = _where(earlier_mah_cm2)
    log, low, step = program.log, seen.elapsed_s or 0.0, charge_in.step
    if log is not None and log.ending == "opened":
        if decisions.assume_charge_mah_cm2 is not None:
            raise ResumeError(
                "the instrument wrote down when it opened the cell: the charge is known, "
                f"{charge_in(log.step_s):.6g} mAh/cm2; resume without --assume-charge"
            )
        return log.step_s, log.step_s
    high = _longest_s(step, seen, end)
    if decisions.assume_charge_mah_cm2 is not None:
        return _assumed(charge_in, decisions.assume_charge_mah_cm2, low, high, where)
    if not end.certain:
        part = (
            f"between {charge_in(low):.4g} and {charge_in(high):.4g} mAh/cm2 have passed {where}"
            if isinstance(step, GalvanostaticStep | PotentiostaticStep)
            else "the next step may have begun"
        )
        raise _uncertain(f"{end.why}. So {part}", step)
    share = 0.0
    if isinstance(step, GalvanostaticStep | PotentiostaticStep):
        # Of the whole half-cycle, and with what was not known of its earlier parts.
        whole = charge_in(step.expected_s) + before[0]
        share = (charge_in(high) - charge_in(low) + before[1]) / whole if whole else 0.0
    if share > UNKNOWN_SHARE:
        when = "between two rows it lost its power"
        if end.within_s is not None:
            when = f"it ended within {end.within_s:.3g} s after its last row"
        raise _uncertain(
            f"{when}, and when is not known: {100 * share:.2g} % of the half-cycle's charge are "
            "not known, with those of earlier deaths",
            step,
        )
    return low, high


def _longest_s(step: ElementaryStep, seen: ExecutedStep, end: _End) -> float:
    """Return how long the interrupted step can have lasted at most, s.

    The clock of day bounds nothing: it may have been set while nobody listened.
    """
    longest = math.inf
    if isinstance(step, GalvanostaticStep | PotentiostaticStep):
        longest = step.expected_s
    elif isinstance(step, OpenCircuit):
        longest = step.duration_s
    gap_s = _row_gap_s(step) if end.within_s is None else end.within_s
    return min((seen.elapsed_s or 0.0) + gap_s, longest) if end.certain else longest


def _heard_the_end(program: Program, last: _Last, gap_s: float) -> bool:
    """Return whether the record's writer outlived the program, so that no row can be missing."""
    stop = program.run.stop
    if stop is None:
        return False
    listened_s = float(stop["time"]) - last.row_time_s
    if listened_s <= gap_s * seconds_per_second(program) + _LATE_S:
        return False
    # Rows that only the log has were on the line when the power went, or came after the cable was
    # pulled: then listening told nothing.
    heard_t_s, _ = last_heard(program)
    return (last.row_t_s - heard_t_s) * seconds_per_second(program) <= _LATE_S


def _row_gap_s(step: ElementaryStep) -> float:
    """Return the longest time between two rows of a step, s."""
    match step:
        case GalvanostaticStep():
            gap_s = step.record.dt_s
            if step.record.dq_mah_cm2 is not None:
                rate = abs(step.current_density_ma_cm2) / 3600
                gap_s = min(gap_s, step.record.dq_mah_cm2 / rate)
            return gap_s + step.record.check_interval_s(step.expected_s)
        case PotentiostaticStep():
            return step.record.dt_s + step.record.check_interval_s(step.expected_s)
        case LinearSweep() | CyclicVoltammetry():
            return 2 * step.row_step_v / step.scan_rate_v_s
        case OpenCircuit():
            return 1.25 * step.record.dt_s
        case ImpedanceSpectrum():
            return 10 / step.frequency_min_hz + 2.0
    return math.inf


def _assumed(
    charge_in: ChargeIn, charge_mah_cm2: float, low: float, high: float, where: str
) -> tuple[float, float]:
    step = charge_in.step
    if not isinstance(step, GalvanostaticStep | PotentiostaticStep) or not charge_in.last_ma_cm2:
        if charge_mah_cm2 != 0:
            raise ResumeError(
                "no half-cycle was interrupted: the only charge that can be assumed is 0"
            )
        return low, low
    elapsed = charge_in.elapsed_s(charge_mah_cm2)
    least, most = charge_in(low), charge_in(min(high, step.expected_s))
    if not low * (1 - 1e-9) <= elapsed <= min(high, step.expected_s):
        raise ResumeError(
            f"--assume-charge {charge_mah_cm2:g}: the record says that between {least:.6g} and "
            f"{most:.6g} mAh/cm2 have passed {where}"
        )
    return elapsed, elapsed


def _where(earlier_mah_cm2: float) -> str:
    """Return in which part of a half-cycle a charge passed, and what its rows say passed before."""
    if not earlier_mah_cm2:
        return "in this half-cycle"
    return f"in this part of the half-cycle ({earlier_mah_cm2:.4g} mAh/cm2 before it)"


def _uncertain(why: str, step: ElementaryStep | None = None) -> ResumeError:
    decide = "Nothing was driven, the cell is open."
    if step is not None:
        decide += (
            " --assume-charge MAH_CM2 goes on as if that charge had passed in the interrupted part "
            "of the half-cycle, without the parts before it (0 if it was a rest or a spectrum, and "
            "nothing came after it); this is recorded"
        )
    return ResumeError(f"where the experiment stood is not certain: {why}. {decide}")
