"""What a run was asked for in each half-cycle, where its protocol was changed."""

import math
from typing import Any

import pytest

from operando.analysis._charge_metrics import _planned_depth_of_discharge
from operando.analysis._evaluation import Evaluation, Metric
from operando.analysis._light_metrics import _is_set
from operando.analysis._sweep_metrics import tafel_window_v
from operando.analysis.blocks import blocks_of
from operando.analysis.endings import PlannedHalfCycles
from operando.analysis.live_verdicts import Verdicts
from operando.runs import Run, at_time, in_half_cycle, told_of_each, told_protocols
from techniques import Cell
from tests.operando.analysis.test_live_verdicts import HALF_CELL

FOIL = {
    "cell_id": "A",
    "metal": "Zn",
    "working_electrode": {"material": "Zn", "area_cm2": 1.0, "metal": "Zn", "thickness_um": 100},
    "counter_electrode": {"material": "Zn", "area_cm2": 1.0, "metal": "Zn"},
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}


def half(charge: float, **more: Any) -> dict[str, Any]:
    until = {"quantity": "charge_mah_cm2", "value": charge}
    return {"current_density_ma_cm2": 1.0, "until": [until]} | more


def cycling(charge: float, cycles: int = 9, **more: Any) -> dict[str, Any]:
    told = {"type": "plate_strip_cycle", "plate": half(charge), "strip": half(charge)}
    return told | {"cycles": cycles} | more


def to_potential(until_v: float) -> dict[str, Any]:
    cut_off = {"quantity": "potential_above_v", "value": until_v}
    guard = {"quantity": "charge_mah_cm2", "value": 1.0, "action": "stop"}
    return cycling(0.5, strip={"current_density_ma_cm2": 1.0, "until": [cut_off, guard]})


def run(technique: dict[str, Any], *changes: tuple[int, dict[str, Any]], **more: Any) -> Run:
    """Return a run that goes on with one whose protocol was changed at these half-cycles."""
    amendments = [
        {
            "half_cycle": first,
            "cycle": (first - 1) // 2,
            "t_s": 1000.0 * number,
            "by": f"person {number}",
            "why": "",
            "protocol": {"name": "changed", "cell": "c", "technique": other},
            "technique": other,
            "before": {},
            "limits": {},
        }
        for number, (first, other) in enumerate(changes, 1)
    ]
    start = {"uid": "r", "time": 0.0, "protocol": "first", "sample": FOIL, "technique": technique}
    return Run.from_documents([("start", start | {"amendments": amendments} | more)])


def planned_dod(*changes: tuple[int, dict[str, Any]]) -> Metric:
    cell = Cell.model_validate(FOIL)
    return _planned_depth_of_discharge(Evaluation(run(cycling(0.5), *changes)), cell)


def test_each_half_cycle_has_one_protocol() -> None:
    told = run(cycling(0.5), (5, cycling(1.0)), (5, cycling(2.0)), (8, cycling(1.0, 6)))
    asked = told.asked
    assert [one.last_half_cycle for one in asked] == [4, 4, 7, None]
    assert [one.has_half_cycles for one in asked] == [True, False, True, True]
    charges = [
        in_half_cycle(asked, number).technique["plate"]["until"][0]["value"]
        for number in range(1, 10)
    ]
    assert charges == [0.5] * 4 + [2.0] * 3 + [1.0] * 2
    assert [asked.index(at_time(asked, t_s)) for t_s in (0.0, 999.0, 1000.0, 2500.0, 9e9)] == [
        0,
        0,
        1,
        2,
        3,
    ]
    planned = PlannedHalfCycles(told.start["technique"], told.changes)
    assert [planned.most_charge_mah_cm2(number) for number in range(1, 10)] == pytest.approx(
        charges
    )
    assert planned.count == 12
    assert planned.most_charge_mah_cm2(13) is None
    assert told_protocols(asked) == (
        "first until half-cycle 4, then changed until half-cycle 7, then changed as changed by "
        "person 3"
    )
    assert told_of_each(asked, lambda one: "the same") == "the same"
    assert len(run(cycling(0.5)).asked) == 1


def test_a_planned_depth_of_discharge_is_of_the_strips_that_were_asked_for() -> None:
    whole = planned_dod().value
    assert isinstance(whole, float)
    # The first strip is under the other protocol already.
    assert planned_dod((2, cycling(1.0))).value == pytest.approx(2 * whole)
    assert planned_dod((5, cycling(0.5, 30))).value == pytest.approx(whole)
    several = planned_dod((5, cycling(1.0)), (7, to_potential(0.4)))
    assert several.value is None
    assert several.reason == (
        "strips of several charges: 0.5 mAh/cm2 until half-cycle 4, then 1 mAh/cm2 until "
        "half-cycle 6, then what there is"
    )


def test_cycles_of_a_part_are_numbered_as_those_of_the_run() -> None:
    # The other protocol plates and strips once outside its cycles.
    outside = [half(0.5, type="galvanostatic_step", role=role) for role in ("plate", "strip")]
    rate = {"type": "block", "name": "rate", "in_means": False, "step": cycling(0.1, 2)}
    other = {"type": "sequence", "steps": [*outside, cycling(0.1, 2), rate, cycling(0.1, 4)]}
    (part,) = blocks_of(run(cycling(0.5), (5, other)))
    # Half-cycles 7 to 10 are its cycles 3 and 4, which are the fourth and fifth of the run.
    assert (part.first_half_cycle, part.last_half_cycle) == (7, 10)
    assert (part.first_cycle, part.last_cycle) == (4, 5)


def test_where_no_row_is_there_a_cycle_in_which_a_change_was_made_is_not_counted_twice() -> None:
    formation = {"type": "block", "name": "formation", "in_means": False, "step": cycling(0.1, 3)}
    other = {"type": "sequence", "steps": [formation, cycling(0.1)]}
    # The changes came with the plating of cycle 3, and with the strip of cycle 5.
    told = run(cycling(0.5), (5, other), (10, cycling(0.2)))
    for one, counter in zip(told.start["amendments"], (3, 5), strict=True):
        one["cycle"] = counter
    assert [one.first_cycle for one in told.asked] == [1, 3, 6]
    (part,) = blocks_of(told)
    assert (part.first_cycle, part.last_cycle) == (3, 3)


def test_a_part_that_both_protocols_have_at_that_place_is_one() -> None:
    def with_part(charge: float, cycles: int) -> dict[str, Any]:
        part = {"type": "block", "name": "reservoir", "step": cycling(charge, cycles)}
        return {"type": "sequence", "steps": [part, cycling(charge, 9)]}

    (part,) = blocks_of(run(with_part(0.5, 4), (5, with_part(0.2, 6))))
    assert (part.first_half_cycle, part.last_half_cycle) == (1, 12)
    assert (part.first_cycle, part.last_cycle) == (1, 6)
    (part,) = blocks_of(run(with_part(0.5, 4), (5, cycling(0.2))))
    assert (part.first_half_cycle, part.last_half_cycle, part.last_cycle) == (1, 4, 2)


def test_a_window_of_tafel_lines_is_that_of_the_last_sweep() -> None:
    def sweep(low: float, high: float) -> dict[str, Any]:
        return {"type": "tafel", "fit_window_v": [low, high]}

    told = run(sweep(0.05, 0.1), (3, sweep(0.07, 0.12)))
    assert tafel_window_v(told) == (0.05, 0.1)  # no row tells, and the first one it would be
    for at_s, expected in ((500.0, (0.05, 0.1)), (1500.0, (0.07, 0.12))):
        assert tafel_window_v(with_row(told, t=at_s, role=5.0)) == expected


@pytest.mark.parametrize(("number", "expected"), [(4.0, False), (5.0, True), (math.nan, False)])
def test_a_row_without_a_number_is_of_the_first_protocol(number: float, expected: bool) -> None:
    hold = {"type": "potentiostatic_step", "potential_v": -0.05}
    hold |= {"until": [{"quantity": "time_s", "value": 60}]}
    steps = [hold | {"role": "plate"}, half(0.5, type="galvanostatic_step", role="strip")] * 9
    told = run(cycling(0.5), (5, {"type": "sequence", "steps": steps}))
    told = with_row(told, t=1.0, role=-1.0, potential=-0.05, half_cycle=number)
    is_set = _is_set(Evaluation(told), told.streams["potentiostat"])
    assert is_set.tolist() == [expected]


def with_row(told: Run, **row: float) -> Run:
    """Return the run with a row of the potentiostat."""
    data = {f"potentiostat_{key}": value for key, value in row.items()}
    keys = {key: {"dtype": "number", "shape": [], "source": "test"} for key in data}
    descriptor = {
        "uid": "d",
        "run_start": "r",
        "time": 0.0,
        "name": "potentiostat",
        "data_keys": keys,
        "configuration": {},
        "object_keys": {},
        "hints": {},
    }
    event = {"uid": "e", "descriptor": "d", "time": 0.0, "seq_num": 1, "filled": {}}
    event |= {"data": data, "timestamps": dict.fromkeys(data, 0.0)}
    documents = [("start", told.start), ("descriptor", descriptor), ("event", event)]
    return Run.from_documents(documents)


def test_a_tip_is_looked_for_in_the_plating_that_runs() -> None:
    start = {"sample": HALF_CELL, "technique": cycling(0.5)}
    first, other = Verdicts(start), Verdicts(start)
    other.add({"half_cycle": [1], "technique": [cycling(1.0)]}, "amended")
    assert other._tip._within_s == pytest.approx(2 * first._tip._within_s)
