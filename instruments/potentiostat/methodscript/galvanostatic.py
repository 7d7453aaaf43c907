"""Write a step at a set current as MethodSCRIPT."""

from instruments.errors import UnsupportedTechniqueError
from instruments.potentiostat.contract import OTHER, PLATE, STRIP
from instruments.potentiostat.methodscript.script import (
    SAFETY_HIGH,
    SAFETY_LOW,
    Due,
    Script,
    literal,
    volts,
)
from techniques import GalvanostaticStep, Limit

_SMALLEST_PART_OF_A_RANGE = 1e-3


def galvanostatic(script: Script, step: GalvanostaticStep) -> None:
    """Write a step at a set current: its rows, its limits, and what follows from them."""
    current_a = script.assignment.current_a(step)
    model = script.capabilities.model
    if not script.capabilities.galvanostatic:
        raise UnsupportedTechniqueError(
            f"{model} cannot control the current: galvanostatic steps need a galvanostat, "
            "an EmStat4 or a Nexus for example"
        )
    if abs(current_a) > script.capabilities.current_max_a:
        raise UnsupportedTechniqueError(
            f"{model} gives {script.capabilities.current_max_a * 1e3:g} mA at most, the step "
            f"asks for {current_a * 1e3:g} mA: lower its current density, or take a smaller "
            "electrode; nothing was sent"
        )
    smallest = script.capabilities.current_ranges_a[0] * _SMALLEST_PART_OF_A_RANGE
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
    interval, run = script.timing(step.expected_s, wanted)
    current = literal(current_a)
    script.add(f"# {step.role or 'galvanostatic'}, {current_a * 1e3:.6g} mA", "cell_off")
    if step.role is not None:
        script.add("add_var half 1i")
    thresholds = _thresholds(script, step)
    compared = [x.value for x in step.until if "potential" in x.quantity]
    script.galvanostat(script.current_range(current_a), interval, *compared)
    script.add(f"set_i {current}", "store_var why 0i ja")
    due = Due.of_potential(step.record)
    script.start_recording(step.record, interval, dt_s, due)
    script.count_rows(script.most_rows(step.record, dt_s, step.expected_s, interval, due))
    script.header("galvanostatic", role, current_a, dt_s + interval, step.expected_s)
    # No statement is between the header's timer and the current but the header itself.
    script.add("cell_on")
    script.measure(f"meas_loop_cp p c {current} {literal(interval)} {literal(run)}")
    script.add("timer_get t", "store_var live 1i ja")
    for threshold, sign in zip(thresholds, "><", strict=True):
        if threshold is not None:
            script.watch(f"p {sign} {volts(threshold[0])}", threshold[1])
    codes = {x[1] for x in thresholds if x is not None} | script.watch_cell()
    script.record_when_due(step.record, interval, dt_s, script.names("p", "c"), due)
    script.add("endloop", "cell_off", "store_var live 0i ja")
    script.last_row(script.names("p", "c"))
    _consequences(script, step, codes)


def _thresholds(
    script: Script, step: GalvanostaticStep
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
            value = limit.value * script.assignment.mirror
            is_above = (limit.quantity == "potential_above_v") == (script.assignment.mirror > 0)
            (above if is_above else below).append((value, code))
    limits = script.assignment.limits
    if limits.potential_max_v is not None:
        above.append((limits.potential_max_v, SAFETY_HIGH))
    if limits.potential_min_v is not None:
        below.append((limits.potential_min_v, SAFETY_LOW))
    # At equal potentials the step's own limit, which has the smaller code, decides.
    nearest_above = min(above, default=None)
    nearest_below = max(below, key=lambda x: (x[0], -x[1]), default=None)
    script.must_be_measurable([x[0] for x in (nearest_above, nearest_below) if x is not None])
    return nearest_above, nearest_below


def _consequences(script: Script, step: GalvanostaticStep, codes: set[int]) -> None:
    """Do what the limit that ended the step asks for; ``codes`` are those it can be."""
    script.stop_beyond_window(codes)
    for code, limit in enumerate(step.until, 1):
        if limit.quantity in ("time_s", "charge_mah_cm2"):
            if not _ends_first(limit, step):
                continue
            code = 0
        elif code not in codes:
            continue
        script.act_on(code, limit)


def _ends_first(limit: Limit, step: GalvanostaticStep) -> bool:
    """Return whether this limit of time or charge is the one that ends the loop's time."""
    ends = limit.value
    if limit.quantity == "charge_mah_cm2":
        ends = limit.value * 3600 / abs(step.current_density_ma_cm2)
    return ends <= step.expected_s * (1 + 1e-12)
