"""The protocols that come with the product: each is understood, resolves for its cell and fits."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from operando.configuration import check_technique, load_bench, load_cell, load_protocol, names
from techniques import (
    GalvanostaticStep,
    OpenCell,
    PlateStripCycle,
    Protocol,
    experiments,
    longest_duration_s,
)
from techniques.default_rules import default_rules

PROTOCOLS = names("protocol")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_resolves_for_its_cell_within_the_limits_of_both_benches(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    cell = load_cell(protocol.cell)
    program = protocol.program(cell)
    assert longest_duration_s(program) > 0
    for bench in ("sim", "bench"):
        check_technique(load_bench(bench), cell, protocol)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_says_in_a_sentence_what_it_is_for(name: str) -> None:
    description = load_protocol(name).description
    assert description is not None
    assert len(description) > 40
    assert description.endswith((".", "?"))


def test_the_recovery_of_hydrogen_plates_nothing() -> None:
    # With a role its charge would be a half-cycle of zinc, and hydrogen_recovery_pct undefined.
    protocol = load_protocol("hydrogen-recovery")
    steps = getattr(protocol.program(load_cell(protocol.cell)), "steps", ())
    (driven,) = (step for step in steps if isinstance(step, GalvanostaticStep))
    assert driven.role is None
    assert driven.signed_current_density_ma_cm2 < 0


def test_every_kind_of_experiment_has_a_protocol() -> None:
    used = set()
    for name in PROTOCOLS:
        found = [load_protocol(name).technique.model_dump(mode="json")]
        while found:
            part = found.pop()
            if isinstance(part, dict):
                used.add(part.get("type"))
                found += part.values()
            elif isinstance(part, list):
                found += part
    kinds = {
        getattr(experiments, each).model_fields["type"].default
        for each in experiments.__all__
        if "type" in getattr(getattr(experiments, each), "model_fields", {})
    }
    assert kinds - used == set()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_must_not_be_gone_on_with_opens_the_cell(name: str) -> None:
    protocol = load_protocol(name)
    ending = {rule.when.event for rule in protocol.rules if isinstance(rule.then[-1], OpenCell)}
    needed = {rule.when.event for rule in default_rules(protocol.technique)}
    assert needed <= ending


def test_a_short_may_be_cycled_where_a_protocol_says_so() -> None:
    cycling = {"type": "half_cell_cycling", "current_density_ma_cm2": 1.0, "cycles": 100}
    told = {
        "name": "CE",
        "cell": "zn-bare-half",
        "technique": {**cycling, "capacity_mah_cm2": 1.0, "cut_off_v": 0.5},
    }
    silent = Protocol.model_validate(told)
    assert [rule.when.event for rule in silent.rules] == ["hard_short", "strip_overrun"]
    assert silent.rules_by_default
    for rules in (
        [],
        [{"name": "mine", "when": {"event": "soft_short"}, "then": [{"do": "images"}]}],
    ):
        spoken = Protocol.model_validate({**told, "rules": rules})
        assert [rule.name for rule in spoken.rules] == [one["name"] for one in rules]
        assert not spoken.rules_by_default
    again = Protocol.model_validate(silent.model_dump(mode="json"))
    assert again.rules == silent.rules
    resting = {"type": "open_circuit", "duration_s": 60}
    assert Protocol.model_validate({**told, "technique": resting}).rules == ()


def _cycles(part: object) -> Iterator[PlateStripCycle]:
    """Yield the cycles that are written out in a protocol, wherever they stand."""
    if isinstance(part, PlateStripCycle):
        yield part
    if isinstance(part, BaseModel):
        for value in dict(part).values():
            yield from _cycles(value)
    elif isinstance(part, tuple):
        for value in part:
            yield from _cycles(value)


def test_a_strip_to_a_cut_off_stops_at_five_percent_more_than_was_plated() -> None:
    seen = 0
    for name in PROTOCOLS:
        for cycle in _cycles(load_protocol(name).technique):
            ends = {limit.quantity: limit for limit in cycle.strip.until}
            if "potential_above_v" not in ends:
                continue
            (plated,) = [x.value for x in cycle.plate.until if x.quantity == "charge_mah_cm2"]
            guard = ends["charge_mah_cm2"]
            assert guard.action == "stop", name
            assert guard.value <= 1.05 * plated * (1 + 1e-9), name
            seen += 1
    assert seen >= 4


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_hard_short_that_opens_the_cell_ends_its_life(name: str) -> None:
    # Else the next item of a queue charges a shorted cell.
    for rule in load_protocol(name).rules:
        opens = [action for action in rule.then if isinstance(action, OpenCell)]
        if rule.when.event == "hard_short":
            assert all(action.end_of_life for action in opens), rule.name
