"""The protocols that come with the product: each is understood, resolves for its cell and fits."""

import pytest

from operando.configuration import check_technique, load_bench, load_cell, load_protocol, names
from techniques import GalvanostaticStep, experiments, longest_duration_s

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
