"""Which guards a run has by its cell and its sensors, and which programs are refused."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from instruments.errors import SafetyLimitError
from instruments.sensor.atlas_ezo_ph import AtlasEzoPh
from instruments.sensor.device import SensorDevice
from instruments.sensor.keller_bus import KellerBusPressure
from plans.guards import guard_rules, judged_guards, keep_headspace
from techniques import Assignment, Cell, Rule, Schedule

NOWHERE = "tcp://127.0.0.1:9"
ZINC = {"material": "Zn", "area_cm2": 1.0, "metal": "Zn", "thickness_um": 100}
CELL: dict[str, Any] = {
    "cell_id": "one",
    "metal": "Zn",
    "working_electrode": {"material": "Cu", "area_cm2": 1.0},
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}
CLOSED = {"headspace": "closed", "headspace_ml": 5.0}  # 30 kPa are 3.244 mAh
READ = Schedule(reading_s=30.0)
UNREAD = Schedule(reading_s=None)


class Thermometer(AtlasEzoPh):
    """A sensor of another package that stands in the cell."""

    quantities: ClassVar[Mapping[str, str]] = {"temperature": "K"}


def cell(**changes: Any) -> Cell:
    return Cell.model_validate({**CELL, **changes})


def plating(mah_cm2: float) -> Assignment:
    ends = [{"quantity": "charge_mah_cm2", "value": mah_cm2}]
    step = {"type": "galvanostatic_step", "current_density_ma_cm2": 1.0, "role": "plate"}
    return Assignment.model_validate({"technique": {**step, "until": ends}, "area_cm2": 1.0})


@pytest.fixture
def pressure() -> SensorDevice:
    return SensorDevice(KellerBusPressure(NOWHERE), name="headspace")


def events(cell: Cell, *sensors: SensorDevice, own: tuple[Rule, ...] = ()) -> list[str]:
    return [rule.when.event for rule in guard_rules(cell, sensors, READ, own)]


def test_a_run_is_guarded_by_what_its_cell_needs(pressure: SensorDevice) -> None:
    window = {"temperature_min_k": 280.0}
    assert events(cell()) == events(cell(**window), pressure) == []
    thermometer = SensorDevice(Thermometer(NOWHERE), name="thermometer")
    assert events(cell(**window), thermometer) == ["temperature_outside"]
    assert guard_rules(cell(**window), [thermometer], UNREAD, ()) == ()
    assert events(cell(**CLOSED)) == ["headspace_pressure"]
    three = {"reference_electrode": "Zn wire"}
    assert events(cell(**three)) == ["reference_noise", "overload"]
    assert events(cell(**three, dummy="R 1000 ohm")) == []


def test_a_rule_that_opens_the_cell_itself_takes_the_guards_place() -> None:
    when = {"event": "headspace_pressure"}
    mine = Rule.model_validate({"name": "mine", "when": when, "then": [{"do": "open_cell"}]})
    looks = Rule.model_validate({"name": "mine", "when": when, "then": [{"do": "images"}]})
    assert events(cell(**CLOSED), own=(mine,)) == []
    assert events(cell(**CLOSED), own=(looks,)) == ["headspace_pressure"]


def test_guards_that_nothing_judges_are_warned_of_and_not_recorded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metadata: dict[str, Any] = {"guards": ["of the run before"]}
    assert judged_guards(guard_rules(cell(**CLOSED), [], READ, ()), None, metadata) == ()
    assert metadata == {}
    assert "the guards 'end at the pressure of the closed headspace' do nothing" in caplog.text


def test_a_closed_headspace_refuses_what_could_exceed_its_limit_unwatched(
    pressure: SensorDevice,
) -> None:
    closed = cell(**CLOSED)
    assert keep_headspace(cell(), plating(4.0), [], READ, judged=True) is None
    told = keep_headspace(closed, plating(3.0), [], READ, judged=True)
    assert told is not None
    assert told["worst_case_kpa"] == pytest.approx(27.75, rel=1e-3)
    assert told["watched_by"] == []
    watched = keep_headspace(closed, plating(4.0), [pressure], READ, judged=True)
    assert watched is not None
    assert watched["watched_by"] == ["headspace"]
    for sensors, schedule, judged in (
        ([], READ, True),
        ([pressure], UNREAD, True),  # it is never read
        ([pressure], READ, False),  # nobody looks at what it tells
    ):
        with pytest.raises(SafetyLimitError, match=r"4 mAh .* 0\.37 bar .* it allows 0\.3 bar"):
            keep_headspace(closed, plating(4.0), sensors, schedule, judged=judged)
    # What is left of an interrupted experiment is added to what had passed before.
    before = {"plated_mah_cm2": 2.0, "stripped_mah_cm2": 0.5}
    with pytest.raises(SafetyLimitError, match="5 mAh of this program"):
        keep_headspace(closed, plating(3.0), [], READ, judged=True, before=before)
