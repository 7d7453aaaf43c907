"""The bounds at which the life of a cell is over: live and afterwards one judge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from operando.analysis import metrics
from operando.analysis.live_verdicts import Verdict, Verdicts
from operando.runs import Run
from techniques import Condition, EndOfLife, Protocol
from techniques.default_rules import HARD_SHORT_ENDS
from tests.operando.analysis.test_live_verdicts import CALIBRATED, HALF_CELL, SYMMETRIC, rows_of

LOW = {"event": "coulombic_efficiency_below", "below_pct": 90.0, "in_a_row": 2}
HIGH = {"event": "polarisation_limit", "above_v": 0.1, "in_a_row": 3}
STARTS = {
    "calibration": CALIBRATED,
    "rules": [
        {"name": name, "when": when, "then": [{"do": "open_cell", "end_of_life": True}]}
        for name, when in (("low", LOW), ("high", HIGH))
    ],
}


def cycles(*percent: float) -> list[tuple[int, float]]:
    return [half for pct in percent for half in ((-1, 300.0), (1, 3.0 * pct))]


def met(found: Sequence[Verdict], told: dict[str, Any]) -> list[Verdict]:
    condition = Condition.model_validate(told)
    return [one for one in found if condition.met_by(one.kind, one.value, one.in_a_row)]


def judged(sample: Any, rows: Any, *skipped: int) -> list[Verdict]:
    verdicts = Verdicts({"sample": sample, **STARTS})
    if skipped:
        verdicts.add({"half_cycle": list(skipped)}, "skipped")
    return verdicts.add({key: values.tolist() for key, values in rows.items()})


def life(sample: Any, rows: Any, name: str, **more: Any) -> Any:
    edges = np.flatnonzero(np.diff(rows["potentiostat_role"])) + 1
    steps = np.searchsorted(edges, np.arange(len(rows["potentiostat_role"])), "right") + 1.0
    rows = {**rows, "potentiostat_step": steps}
    keys = {key: {"dtype": "number", "shape": [], "source": "test"} for key in rows}
    columns = {key: values.tolist() for key, values in rows.items()}
    times = columns["potentiostat_t"]
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
    page = {
        "descriptor": "d",
        "uid": [str(n) for n in range(len(times))],
        "time": times,
        "seq_num": list(range(1, len(times) + 1)),
        "data": columns,
        "timestamps": dict.fromkeys(columns, times),
        "filled": {},
    }
    stop = {"uid": "s", "run_start": "r", "time": 1e6, "exit_status": "success", "reason": ""}
    documents: list[tuple[str, Any]] = [
        ("start", {"uid": "r", "time": 0.0, "sample": sample, **STARTS, **more}),
        ("descriptor", descriptor),
        ("event_page", page),
        ("stop", stop),
    ]
    found = metrics(Run.from_documents(documents))
    return found[f"{name}_h"], found[f"{name}_observed"]


def test_the_efficiency_is_low_once_it_was_so_in_as_many_cycles_as_the_rule_says() -> None:
    rows = rows_of([*cycles(60, 99, 80, 98, 85, 89, 97), (-1, 300.0)], ends_v=0.5)
    (found,) = met(judged(HALF_CELL, rows), LOW)
    # The first cycle does not count, and a single one is no row.
    assert (found.half_cycle, found.in_a_row) == (12, 2)
    assert found.value == pytest.approx(89.0, abs=1.5)
    assert "in 2 cycles in a row" in found.reason
    hours, observed = life(HALF_CELL, rows, "life_coulombic_efficiency")
    assert observed.value == 1.0
    assert "cycle 5" in hours.reason
    begun_s = sum(seconds + 20 for _, seconds in cycles(60, 99, 80, 98))
    assert hours.value == pytest.approx(begun_s / 3600, rel=1e-3)


def test_a_strip_that_somebody_skipped_tells_no_efficiency() -> None:
    rows = rows_of([*cycles(60, 99, 40, 40, 99), (-1, 300.0)], ends_v=0.5)
    assert [one.half_cycle for one in met(judged(HALF_CELL, rows), LOW)] == [8]
    assert not met(judged(HALF_CELL, rows, 8), LOW)
    # What it leaves is stripped with the next plating, which tells none either.
    rows = rows_of([*cycles(99, 40, 85, 85), (-1, 300.0)], ends_v=0.5)
    assert not met(judged(HALF_CELL, rows, 4), LOW)
    rows = rows_of([*cycles(99, 40, 85, 85, 85), (-1, 300.0)], ends_v=0.5)
    assert [one.half_cycle for one in met(judged(HALF_CELL, rows, 4), LOW)] == [10]


def test_a_potential_above_the_limit_counts_in_a_row() -> None:
    rows = rows_of([(-1 if n % 2 == 0 else 1, 200.0) for n in range(12)])
    half = rows["potentiostat_half_cycle"]
    for number in (3, 4, 6, 7, 8, 9):
        rows["potentiostat_potential"][half == number] *= 2
    found = met(judged(SYMMETRIC, rows), HIGH)
    assert [one.half_cycle for one in found] == [8, 9]
    assert found[0].value == pytest.approx(0.136, rel=1e-2)
    hours, observed = life(SYMMETRIC, rows, "life_polarisation_limit")
    assert observed.value == 1.0
    assert hours.value == pytest.approx(5 * 220 / 3600, rel=1e-2)


def test_where_nothing_was_beyond_its_bound_a_life_is_censored() -> None:
    rows = rows_of([*cycles(60, 99, 99), (-1, 300.0)], ends_v=0.5)
    _, observed = life(HALF_CELL, rows, "life_coulombic_efficiency")
    assert observed.value == 0.0
    hours, _ = life(SYMMETRIC, rows, "life_coulombic_efficiency")
    assert hours.value is None
    assert "symmetric" in hours.reason


def test_a_judge_that_goes_on_has_seen_the_cycles_before() -> None:
    rows = rows_of([*cycles(60, 99, 80, 85), (-1, 300.0)], ends_v=0.5)
    half = rows["potentiostat_half_cycle"]
    first, second = (
        {key: values[part].tolist() for key, values in rows.items()}
        for part in (half <= 6, half > 6)
    )
    before = Verdicts({"sample": HALF_CELL, **STARTS})
    assert not met(before.add(first), LOW)
    resumed = {"half_cycle": 6, "plated_mah_cm2": 0.25, "stripped_mah_cm2": 0.2}
    after = Verdicts({"sample": HALF_CELL, **STARTS, "resume": resumed})
    after.go_on_from(before)
    assert [one.half_cycle for one in met(after.add(second), LOW)] == [8]


def changed(first: int, rules: list[dict[str, Any]], technique: Any = None) -> dict[str, Any]:
    """Return what a start document tells of a change from a half-cycle on."""
    told = {"name": "other", "cell": "c", "rules": rules}
    other = {"type": "open_circuit", "duration_s": 1} if technique is None else technique
    amendment = {"half_cycle": first, "cycle": (first - 1) // 2, "t_s": 1.0, "by": "Ada", "why": ""}
    return amendment | {
        "protocol": told | {"technique": other},
        "technique": other,
        "before": {},
        "limits": {},
    }


@pytest.mark.parametrize(("first", "begun_in"), [(5, 3), (7, 4)])
def test_a_rule_of_a_changed_protocol_counts_from_its_first_half_cycle_on(
    first: int, begun_in: int
) -> None:
    rows = rows_of([*cycles(60, 80, 80, 80, 80), (-1, 300.0)], ends_v=0.5)
    verdicts = Verdicts({"sample": HALF_CELL, **STARTS, "rules": []})
    told = {"half_cycle": [first], "technique": [{}], "rules": [STARTS["rules"]]}
    verdicts.add(told, "amended")
    found = met(verdicts.add({key: values.tolist() for key, values in rows.items()}), LOW)
    assert found[0].half_cycle == 2 * (begun_in + 1)
    amendments = [changed(first, STARTS["rules"])]
    hours, _ = life(HALF_CELL, rows, "life_coulombic_efficiency", rules=[], amendments=amendments)
    assert f"cycle {begun_in}: " in hours.reason
    # One that only the first protocol had ends with it.
    hours, observed = life(
        HALF_CELL, rows, "life_coulombic_efficiency", amendments=[changed(5, [])]
    )
    assert observed.value == 0.0


def test_a_row_does_not_go_on_behind_a_protocol_without_a_bound() -> None:
    rows = rows_of([*cycles(60, 99, 80, 99, 80, 99), (-1, 300.0)], ends_v=0.5)
    verdicts = Verdicts({"sample": HALF_CELL, **STARTS})
    told = {"half_cycle": [7, 9], "technique": [{}, {}], "rules": [[], STARTS["rules"]]}
    verdicts.add(told, "amended")
    assert met(verdicts.add({key: values.tolist() for key, values in rows.items()}), LOW) == []
    amendments = [changed(7, []), changed(9, STARTS["rules"])]
    _, observed = life(HALF_CELL, rows, "life_coulombic_efficiency", amendments=amendments)
    assert observed.value == 0.0


def test_cycles_that_a_changed_protocol_leaves_out_are_those_of_its_half_cycles() -> None:
    strip = {"current_density_ma_cm2": 1, "until": [{"quantity": "time_s", "value": 60}]}
    cycle = {"type": "plate_strip_cycle", "plate": strip, "strip": strip}
    technique = {
        "type": "sequence",
        "steps": [
            cycle | {"cycles": 2},
            {"type": "block", "name": "rate", "in_means": False, "step": cycle | {"cycles": 2}},
            cycle | {"cycles": 9},
        ],
    }
    rows = rows_of([*cycles(60, 80, 80, 80, 99), (-1, 300.0)], ends_v=0.5)
    for first, observed in ((5, 0.0), (9, 1.0)):  # cycles 3 and 4 are its rate
        told = changed(first, STARTS["rules"], technique)
        _, life_observed = life(HALF_CELL, rows, "life_coulombic_efficiency", amendments=[told])
        assert life_observed.value == observed


def protocol(**more: Any) -> Protocol:
    half = {
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "charge_mah_cm2", "value": 1.0}],
    }
    technique = {"type": "plate_strip_cycle", "plate": half, "strip": half, "cycles": 50}
    return Protocol.model_validate({"name": "p", "cell": "c", "technique": technique, **more})


def test_the_short_way_stands_for_rules_that_end_a_life() -> None:
    end = {"ce_below_pct": 80, "ce_cycles": 5, "polarisation_v": 0.3}
    found = protocol(end_of_life=end)
    told = {rule.name: rule for rule in found.rules}
    assert set(told) == {
        "end at a hard short",
        "end when metal comes from nowhere",
        "end at low efficiency",
        "end at the polarisation limit",
    }
    assert told["end at low efficiency"].when == Condition(
        event="coulombic_efficiency_below", below_pct=80, in_a_row=5
    )
    assert told["end at the polarisation limit"].when.row_length == 2
    assert all(told[name].then[0].end_of_life for name in told if "metal" not in name)  # type: ignore[union-attr]
    # Written down and read again it is the same, also where rules of its own are told.
    again = Protocol.model_validate(found.model_dump(mode="json", exclude_unset=True))
    assert again == found
    own = protocol(rules=[], end_of_life=end)
    assert [rule.name for rule in own.rules] == [
        "end at a hard short",
        "end at low efficiency",
        "end at the polarisation limit",
    ]
    assert Protocol.model_validate(own.model_dump(mode="json")) == own


def test_a_hard_short_need_not_end_a_life() -> None:
    found = protocol(end_of_life={"hard_short": False})
    rule = found.rules[0]
    assert rule.name == HARD_SHORT_ENDS.name
    assert not rule.then[0].end_of_life  # type: ignore[union-attr]
    assert protocol(rules=[], end_of_life=EndOfLife(hard_short=False)).rules == ()


@pytest.mark.parametrize(
    "when",
    [
        {"event": "coulombic_efficiency_below"},
        {"event": "polarisation_limit", "below_pct": 3},
        {"event": "hard_short", "in_a_row": 2},
        {"event": "hard_short", "above_v": 2},
        {"event": "polarisation_limit", "above_v": 1, "in_a_row": 0},
    ],
)
def test_a_threshold_belongs_to_its_event(when: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate(when)
