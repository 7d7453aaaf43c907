"""Write steps at a set potential as MethodSCRIPT: holds, linear sweeps, cyclic voltammetry.

The potential is set there, so the current is what is watched, in every iteration; what is set is
compared with the window beforehand, on the instrument where it depends on the open circuit
potential. The potential in the rows is the one that is set: these loops measure the current alone.

The current may span decades: its range follows it, from the one that covers the limits down to the
one that the step's own lower limit needs.
"""

import math
from collections.abc import Sequence

from instruments.errors import UnsupportedTechniqueError
from instruments.potentiostat.contract import HOLD, PLATE, STRIP, SWEEP, VOLTAMMOGRAM, StepKind
from instruments.potentiostat.methodscript.script import (
    SAFETY,
    SAFETY_CURRENT,
    SHORTEST_INTERVAL_S,
    WRONG_WAY,
    Due,
    Script,
    farewell,
    literal,
    volts,
)
from techniques import (
    CyclicVoltammetry,
    Limit,
    LinearSweep,
    PotentialControlled,
    PotentiostaticStep,
)
from techniques.assignment import WRONG_WAY_MAH_CM2
from techniques.recording import COARSEST_CHECK_S

# Without a lower limit of its own a step's current is followed down by this much.
_DECADES_BELOW = 1e-4
# At the end of its power an instrument cannot tell that a current is beyond it.
_OF_LARGEST_CURRENT = 0.95
# A slow sweep is divided further than its rows, for the sake of the checks, but no finer than this.
_SMALLEST_STEP_V = 1e-4
_COULOMB_PER_MAH = 3.6


def potentiostatic(script: Script, step: PotentiostaticStep) -> None:
    """Write a hold: its rows, its limits, and what follows from them."""
    record, dt_s = step.record, step.record.dt_s
    interval, run = script.timing(step.expected_s, record.check_interval_s(step.expected_s))
    script.add(f"# {step.role or 'hold'}, {step.potential_v:g} V", "cell_off")
    role = HOLD if step.role is None else {"plate": PLATE, "strip": STRIP}[step.role]
    if step.continues_half_cycle:
        _must_follow(script, step, role)
    elif step.role is not None:
        script.add("add_var half 1i")
    limits = _Limits(script, step, counting=record.dq_mah_cm2 is not None)
    (potential,) = _prepare(script, step, (step.potential_v,), interval)
    due = Due(
        "c",
        None if record.di_ma_cm2 is None else literal(limits.current_a(record.di_ma_cm2)),
        None if record.dq_mah_cm2 is None else limits.charge_c(record.dq_mah_cm2),
    )
    script.start_recording(record, interval, dt_s, due)
    script.count_rows(script.most_rows(record, dt_s, step.expected_s, interval, due))
    limits.begin()
    script.header("potentiostatic", role, 0.0, dt_s + interval, step.expected_s)
    _close(script, step, (step.potential_v,))
    script.measure(f"meas_loop_ca p c {potential} {literal(interval)} {literal(run)}")
    script.add("timer_get t", "store_var live 1i ja")
    limits.watch()
    script.record_when_due(record, interval, dt_s, script.names("p", "c"), due)
    _end(script, limits)


def linear_sweep(script: Script, step: LinearSweep) -> None:
    """Write a linear sweep, whose last potential is ``end_v``."""
    span = abs(step.end_v - step.begin_v)
    row_step_v = span / max(1, round(span / step.row_step_v))
    _sweep(script, step, "linear_sweep", SWEEP, row_step_v)


def cyclic_voltammetry(script: Script, step: CyclicVoltammetry) -> None:
    """Write a cyclic voltammetry; where a step does not divide the way, a vertex is not reached."""
    _sweep(script, step, "cyclic_voltammetry", VOLTAMMOGRAM, step.row_step_v)


def _sweep(
    script: Script,
    step: LinearSweep | CyclicVoltammetry,
    kind: StepKind,
    role: int,
    row_step_v: float,
) -> None:
    caps, rate = script.capabilities, step.scan_rate_v_s
    if not caps.scan_rate_min_v_s <= rate <= caps.scan_rate_max_v_s:
        raise UnsupportedTechniqueError(
            f"{caps.model} sweeps at {caps.scan_rate_min_v_s:g} V/s to {caps.scan_rate_max_v_s:g} "
            f"V/s while every point is compared with the limits, asked for {rate:g} V/s"
        )
    checks = math.ceil(row_step_v / rate / COARSEST_CHECK_S - 1e-9)
    checks = max(1, min(checks, math.floor(row_step_v / _SMALLEST_STEP_V + 1e-9)))
    # Cut to whole nV: the last step must not fall short of the end.
    step_v = math.floor(row_step_v / checks * 1e9 + 1e-3) / 1e9
    interval = step_v / rate
    if interval < SHORTEST_INTERVAL_S:
        raise UnsupportedTechniqueError(
            f"{caps.model} measures every {SHORTEST_INTERVAL_S:g} s at most in a script; steps of "
            f"{row_step_v:g} V at {rate:g} V/s ask for every {interval:g} s: set step_v"
        )
    turns = step.turns_v if isinstance(step, LinearSweep) else step.turns_v[:3]
    way = ", ".join(f"{value:g}" for value in step.turns_v)
    script.add(f"# {kind.replace('_', ' ')}, {way} V", "cell_off")
    limits = _Limits(script, step)
    potentials = _prepare(script, step, turns, interval)
    script.add("store_var sent 0 eb")
    if checks > 1:
        script.variables.add("skip")
        script.add("store_var skip 0i ja")
    script.count_rows(step.expected_s / interval / checks + 4)
    limits.begin()
    script.header(kind, role, 0.0, interval * (checks + 1), step.expected_s + interval)
    _close(script, step, turns)
    loop = "meas_loop_lsv" if isinstance(step, LinearSweep) else "meas_loop_cv"
    again = ""
    if isinstance(step, CyclicVoltammetry) and step.scans > 1:
        again = f" nscans({step.scans})"
    way = " ".join(potentials)
    script.measure(f"{loop} p c {way} {literal(step_v)} {literal(rate)}{again}")
    script.add("timer_get t", "store_var live 1i ja")
    limits.watch()
    if checks > 1:
        script.add("if skip == 0i")
    script.row(script.names("p", "c"))
    script.add("copy_var t sent")
    if checks > 1:
        script.add(f"store_var skip {checks}i ja", "endif", "sub_var skip 1i")
    _end(script, limits)


class _Limits:
    """The limits of one step on its current and its charge, and the safety limit."""

    def __init__(
        self, script: Script, step: PotentialControlled, *, counting: bool = False
    ) -> None:
        self.script, self.step = script, step
        assignment, caps = script.assignment, script.capabilities
        self.safety_a = caps.current_max_a * _OF_LARGEST_CURRENT
        if assignment.limits.current_max_a is not None:
            self.safety_a = min(self.safety_a, assignment.limits.current_max_a)
        numbered = list(enumerate(step.until, 1))

        def of(quantity: str) -> list[tuple[float, int]]:
            return [(x.value, code) for code, x in numbered if x.quantity == quantity]

        above = [(self.current_a(x), code) for x, code in of("abs_current_above_ma_cm2")]
        # The nearest is passed first; at equal currents the step's own, of the smaller code.
        self.above = min([*above, (self.safety_a, SAFETY_CURRENT)])
        below = [(self.current_a(x), -code) for x, code in of("abs_current_below_ma_cm2")]
        self.below = max(below, default=None)
        charges = [(self.charge_c(x), code) for x, code in of("charge_mah_cm2")]
        self.charge = min(charges, default=None)
        # The sign of a current, A, that goes the way its role names; 0 without a role.
        role = step.role if isinstance(step, PotentiostaticStep) else None
        self.way = 0 if role is None else assignment.mirror * (1 if role == "strip" else -1)
        self.of_cell: set[int] = set()  # what of E_WE - E_CE can end the step
        self.counting = counting or self.charge is not None or self.way != 0

    def current_a(self, density_ma_cm2: float) -> float:
        return density_ma_cm2 * 1e-3 * self.script.assignment.area_cm2

    def charge_c(self, charge_mah_cm2: float) -> float:
        return charge_mah_cm2 * self.script.assignment.area_cm2 * _COULOMB_PER_MAH

    @property
    def ranges_a(self) -> tuple[float, float]:
        """Return the smallest and the largest current range that the step needs, A."""
        largest = self.script.current_range(self.above[0])
        lowest = self.below[0] if self.below is not None else largest * _DECADES_BELOW
        return min(self.script.current_range(lowest), largest), largest

    def begin(self) -> None:
        """Set what is counted to zero."""
        self.script.add("store_var why 0i ja")
        if self.counting:
            self.script.variables |= {"q", "passed", "since", "was", "told"}
            self.script.add("store_var q 0 ja", "store_var was 0 ba", "store_var told 0 eb")
        if self.way:
            self.script.variables.add("astray")
            self.script.add("store_var astray 0 ja")

    def watch(self) -> None:
        """Leave the measurement loop where a limit is passed; it stands in the loop."""
        script, (above_a, code) = self.script, self.above
        self.of_cell = script.watch_cell()
        script.watch(f"c > {literal(above_a)}", code)
        script.watch(f"c < {literal(-above_a)}", code)
        if self.below is not None:
            below = literal(self.below[0])
            script.add(f"if c < {below}")
            script.watch(f"c > -{below}", -self.below[1])
            script.add("endif")
        if self.counting:
            # Trapezoids of the magnitude; before the first point the current is taken as constant.
            script.add("if told == 0", "copy_var c was", "endif")
            script.add("copy_var c passed", "add_var passed was", "mul_var passed 500m")
            script.add("copy_var t since", "sub_var since told", "mul_var passed since")
            script.add("copy_var t told", "copy_var c was")
            if self.way:
                script.add(f"if passed {'<' if self.way > 0 else '>'} 0")
                script.add(f"{'sub' if self.way > 0 else 'add'}_var astray passed", "endif")
                script.watch(f"astray > {literal(self.charge_c(WRONG_WAY_MAH_CM2))}", WRONG_WAY)
            script.add("if passed < 0", "mul_var passed -1", "endif", "add_var q passed")
        if self.charge is not None:
            script.watch(f"q > {literal(self.charge[0])}", self.charge[1])

    def consequences(self) -> None:
        """Do what the limit that ended the step asks for; it stands after the loop."""
        codes = {self.above[1]}
        codes |= {-self.below[1]} if self.below is not None else set()
        codes |= {self.charge[1]} if self.charge is not None else set()
        self.script.stop_beyond_window(self.of_cell)
        if SAFETY_CURRENT in codes:
            self.script.stop_for_safety(SAFETY_CURRENT, "current_max_a", self.safety_a)
        if self.way:
            told = "charge_the_other_way_mah_cm2"
            self.script.stop_for_safety(WRONG_WAY, told, WRONG_WAY_MAH_CM2)
        for code, limit in enumerate(self.step.until, 1):
            if limit.quantity == "time_s":
                if _ends_first(limit, self.step):
                    self.script.act_on(0, limit)
            elif code in codes:
                self.script.act_on(code, limit)


def _prepare(
    script: Script, step: PotentialControlled, potentials_v: Sequence[float], interval: float
) -> list[str]:
    """Set mode and ranges, the cell still open; return the potentials as the loop is told them."""
    caps, mirror = script.capabilities, script.assignment.mirror
    if step.type not in caps.techniques:
        raise UnsupportedTechniqueError(f"{caps.model} does no {step.type.replace('_', ' ')}")
    applied = [mirror * value for value in potentials_v]
    script.add("set_pgstat_mode 3")
    lowest, largest = _Limits(script, step).ranges_a
    ranges = (
        f"set_range ba {literal(largest)}",
        f"set_autoranging ba {literal(lowest)} {literal(largest)}",
    )
    if step.versus == "other_electrode":
        _must_be_possible(script, applied)
        script.bandwidth(interval)
        told = [volts(value) for value in applied]
    else:
        script.bandwidth(0.1)
        script.potential_range()
        script.open_circuit_potential()
        script.bandwidth(interval)
        told = [f"e{number}" for number in range(1, len(applied) + 1)]
        script.variables |= set(told)
        for name, value in zip(told, applied, strict=True):
            script.add(f"store_var {name} {volts(value)} da", f"add_var {name} p")
    lowest_e, highest_e = (told[applied.index(value)] for value in (min(applied), max(applied)))
    script.add(f"set_range_minmax da {lowest_e} {highest_e}", *ranges, f"set_e {told[0]}")
    return told


def _close(script: Script, step: PotentialControlled, potentials_v: Sequence[float]) -> None:
    """Close the cell; end the program instead if an open circuit potential leads out of bounds."""
    if step.versus == "open_circuit":
        applied = [script.assignment.mirror * value for value in potentials_v]
        limits, caps = script.assignment.limits, script.capabilities
        high, low = limits.potential_max_v, limits.potential_min_v
        high = caps.potential_max_v if high is None else min(high, caps.potential_max_v)
        low = caps.potential_min_v if low is None else max(low, caps.potential_min_v)
        for condition, name, value in (
            (f"p > {volts(high - max(applied))}", "potential_max_v", high),
            (f"p < {volts(low - min(applied))}", "potential_min_v", low),
        ):
            said = farewell(f"{SAFETY} {name} {value:g}")
            script.add(f"if {condition}", *said, "abort", "endif")
    # No statement of length is between the header's timer and the current but the header itself.
    script.add("cell_on")


def _end(script: Script, limits: _Limits) -> None:
    """End the measurement loop with the cell open."""
    script.add("endloop", "cell_off", "store_var live 0i ja")
    script.last_row(script.names("p", "c"))
    limits.consequences()


def _must_follow(script: Script, step: PotentiostaticStep, role: int) -> None:
    # A program that goes on may begin with it.
    before = script.blocks[-1].role if script.blocks else None
    if before == role or (before is None and script.assignment.begin.half_cycle > 0):
        return
    raise UnsupportedTechniqueError(
        f"a hold at {step.potential_v:g} V has continues_half_cycle, but just before it is no "
        f"{step.role} step that it could go on with"
    )


def _must_be_possible(script: Script, applied_v: Sequence[float]) -> None:
    caps = script.capabilities
    for value in applied_v:
        if not caps.potential_min_v <= value <= caps.potential_max_v:
            raise UnsupportedTechniqueError(
                f"{caps.model} applies {caps.potential_min_v:g} V to {caps.potential_max_v:g} V, "
                f"asked for {value:g} V: change the step; nothing was sent"
            )


def _ends_first(limit: Limit, step: PotentialControlled) -> bool:
    """Return whether this limit of time is the one that ends the loop's time."""
    return limit.value <= step.expected_s * (1 + 1e-12)
