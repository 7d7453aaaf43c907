"""What a cell needs watched whatever its protocol says: rules that open the cell, by the cell file.

They stand in the start document as ``guards``, beside the protocol's own ``rules``.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from instruments.errors import SafetyLimitError
from instruments.sensor.device import SensorDevice
from plans.rules import MakeVerdicts
from techniques import Assignment, Cell, Condition, OpenCell, Rule, Schedule
from techniques.headspace import Headspace
from techniques.rules import Event

logger = logging.getLogger(__name__)

# What a sensor of a closed headspace tells, and one that stands in the cell.
OVERPRESSURE, TEMPERATURE = "overpressure", "temperature"
_NAMES: Mapping[Event, str] = {
    "headspace_pressure": "end at the pressure of the closed headspace",
    "temperature_outside": "end outside the cell's temperatures",
    "reference_noise": "end when the reference floats",
    "overload": "end when nothing is controlled",
}


def guard_rules(
    cell: Cell, sensors: Sequence[SensorDevice], schedule: Schedule, own: Sequence[Rule]
) -> tuple[Rule, ...]:
    """Return what guards a run on ``cell`` besides its own rules.

    The pressure of a closed headspace; temperatures, where a sensor in the cell tells them; in a
    three-electrode cell the noise of the reference, and overload. What a rule of the protocol
    watches already is left to that one.
    """
    events: list[Event] = []
    if Headspace.of(cell) is not None:
        events.append("headspace_pressure")
    window = cell.temperature_min_k is not None or cell.temperature_max_k is not None
    if window and _telling(TEMPERATURE, sensors, schedule):
        events.append("temperature_outside")
    if cell.reference_electrode is not None and cell.dummy is None:
        events += ["reference_noise", "overload"]
    watched = {rule.when.event for rule in own if any(isinstance(x, OpenCell) for x in rule.then)}
    return tuple(
        Rule(name=_NAMES[event], when=Condition(event=event), then=(OpenCell(),))
        for event in events
        if event not in watched
    )


def judged_guards(
    guards: tuple[Rule, ...], verdicts: MakeVerdicts | None, metadata: dict[str, Any]
) -> tuple[Rule, ...]:
    """Return the guards that are judged; ``metadata`` is told of them, and of those that are not.

    Nothing judges a plan that was begun without a session: its guards do nothing, which is warned
    of. The worst case of a closed headspace is refused then as it is without a sensor.
    """
    metadata.pop("guards", None)
    if not guards:
        return ()
    if verdicts is None:
        names = ", ".join(repr(rule.name) for rule in guards)
        logger.warning("nothing judges the stream: the guards %s do nothing in this run", names)
        return ()
    metadata["guards"] = [rule.model_dump(mode="json") for rule in guards]
    return guards


def keep_headspace(
    cell: Cell,
    assignment: Assignment,
    sensors: Sequence[SensorDevice],
    schedule: Schedule,
    *,
    judged: bool,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Refuse a program whose hydrogen could exceed the limit of a closed headspace unwatched.

    Returns what the start document tells of the headspace; ``None``: none is closed.

    Args:
        cell: The cell.
        assignment: The whole program.
        sensors: Those of the run; one that tells the overpressure watches the headspace.
        schedule: When they are read.
        judged: Whether something judges the stream, and ends the run at the limit.
        before: ``resume`` of a run that goes on with another one: what passed in that.

    Raises:
        SafetyLimitError: The worst case, with numbers (see `techniques.headspace`).
    """
    headspace = Headspace.of(cell)
    if headspace is None:
        return None
    earlier = [
        float((before or {}).get(key) or 0.0) * cell.area_cm2
        for key in ("plated_mah_cm2", "stripped_mah_cm2")
    ]
    charge_mah = headspace.hydrogen_mah(*earlier) + headspace.worst_case_mah(assignment)
    if headspace.metal_mah is not None:
        charge_mah = min(charge_mah, headspace.metal_mah)
    worst_kpa, limit_kpa = headspace.overpressure_kpa(charge_mah), headspace.limit_kpa
    watching = _telling(OVERPRESSURE, sensors, schedule) if judged else []
    if worst_kpa > limit_kpa and not watching:
        raise SafetyLimitError(
            f"cell {cell.cell_id!r}: {charge_mah:.3g} mAh of this program may make hydrogen, in "
            f"the worst case {worst_kpa * 1e-2:.3g} bar above the atmosphere in the closed "
            f"headspace of {headspace.volume_ml:g} mL; it allows {limit_kpa * 1e-2:.3g} bar: open "
            "or sweep "
            "the headspace, shorten the program, or give the bench a sensor of its pressure, read "
            "by the schedule (reading_s)"
        )
    return {
        "worst_case_mah": charge_mah if math.isfinite(charge_mah) else None,
        "worst_case_kpa": worst_kpa if math.isfinite(worst_kpa) else None,
        "limit_kpa": limit_kpa,
        "watched_by": watching,
    }


def _telling(quantity: str, sensors: Sequence[SensorDevice], schedule: Schedule) -> list[str]:
    """Return the names of the sensors that tell a quantity in this run."""
    if schedule.reading_s is None:
        return []
    return [sensor.name for sensor in sensors if quantity in sensor.driver.quantities]
