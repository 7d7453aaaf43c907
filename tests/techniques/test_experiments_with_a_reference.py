"""Potentials of experiments are told against the metal, whatever the reference electrode is."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from techniques import (
    Cell,
    HalfCellCycling,
    Limit,
    NucleationSeries,
    Pulses,
    RateCapability,
    ReservoirEfficiency,
    SymmetricCycling,
    UnsuitableCellError,
)

COPPER = {"material": "Cu", "area_cm2": 1.131}
ZINC = {"material": "Zn", "metal": "Zn", "area_cm2": 1.131, "thickness_um": 100}
SILVER = {"reference_electrode": "Ag/AgCl", "metal_vs_reference_v": -0.98}
STRIPPED: dict[str, Any] = {"current_density_ma_cm2": 1.0, "capacity_mah_cm2": 0.5}
EXPERIMENTS = [
    HalfCellCycling(**STRIPPED),
    RateCapability(current_densities_ma_cm2=(1.0, 2.0), capacity_mah_cm2=0.5),
    NucleationSeries(current_densities_ma_cm2=(1.0,), capacity_mah_cm2=0.5),
    ReservoirEfficiency(current_density_ma_cm2=1.0, reservoir_mah_cm2=2.0, cycled_mah_cm2=0.5),
    Pulses(role="strip", current_density_ma_cm2=1.0, pulse_s=60, relax_s=60, pulses=3, end_v=0.5),
    SymmetricCycling(**STRIPPED, cycles=3, stop_above_v=0.3),
]
MAKES = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.type)


def cell(working: dict[str, Any], **more: Any) -> Cell:
    return Cell.model_validate(
        {
            "cell_id": "TEST",
            "metal": "Zn",
            "working_electrode": working,
            "counter_electrode": ZINC,
            "electrolyte": {"composition": "2 mol/L ZnSO4"},
            **more,
        }
    )


def limits(part: object) -> Iterator[Limit]:
    """Yield the limits of potential of all that a program consists of."""
    if isinstance(part, Limit):
        if "potential" in part.quantity:
            yield part
    elif isinstance(part, BaseModel):
        for value in dict(part).values():
            yield from limits(value)
    elif isinstance(part, tuple):
        for value in part:
            yield from limits(value)


def working_of(experiment: Any) -> dict[str, Any]:
    return ZINC if isinstance(experiment, SymmetricCycling | Pulses) else COPPER


@MAKES
def test_every_potential_told_against_the_metal_is_moved_to_the_reference(experiment: Any) -> None:
    working = working_of(experiment)
    plain = list(limits(experiment.program(cell(working))))
    moved = list(limits(experiment.program(cell(working, **SILVER))))
    assert plain
    if isinstance(experiment, SymmetricCycling):
        assert {(one.quantity, one.value) for one in plain} == {("abs_potential_above_v", 0.3)}
        assert {(one.quantity, one.value, one.action) for one in moved} == {
            ("potential_below_v", -1.28, "stop"),
            ("potential_above_v", -0.68, "stop"),
        }
        return
    assert [one.value for one in plain] == [0.5] * len(plain)
    assert [one.value for one in moved] == [-0.48] * len(plain)
    assert [(x.quantity, x.action) for x in moved] == [(x.quantity, x.action) for x in plain]


@MAKES
def test_a_reference_of_the_metal_itself_moves_nothing(experiment: Any) -> None:
    working = working_of(experiment)
    same = experiment.program(cell(working, reference_electrode="Zn wire"))
    assert same == experiment.program(cell(working))


@MAKES
def test_a_reference_of_which_nothing_is_known_is_refused(experiment: Any) -> None:
    working = working_of(experiment)
    with pytest.raises(UnsuitableCellError, match="give metal_vs_reference_v in the cell file"):
        experiment.program(cell(working, reference_electrode="Ag/AgCl"))
    sides = {"working_electrode": ZINC, "counter_electrode": working, "metal_electrode": "CE"}
    with pytest.raises(UnsuitableCellError, match="hang the metal electrode on WE"):
        experiment.program(cell(working, **(SILVER | sides)))


def test_without_a_potential_of_its_own_an_experiment_needs_no_known_reference() -> None:
    program = SymmetricCycling(**STRIPPED, cycles=3).program(
        cell(ZINC, reference_electrode="Ag/AgCl")
    )
    assert not list(limits(program))


@pytest.mark.parametrize("experiment", EXPERIMENTS[:-1], ids=lambda one: one.type)
def test_a_strip_that_would_end_below_the_metal_is_refused(experiment: Any) -> None:
    name = "end_v" if isinstance(experiment, Pulses) else "cut_off_v"
    below = experiment.model_copy(update={name: -0.48})
    # As if it was told against the reference.
    with pytest.raises(UnsuitableCellError, match=rf"{name} -0.48 V .*against Ag/AgCl it is 0.5 V"):
        below.program(cell(working_of(experiment), **SILVER))
    with pytest.raises(UnsuitableCellError, match=rf"{name} -0.48 V [^.]*end as they begin$"):
        below.program(cell(working_of(experiment)))


def test_a_series_of_plating_pulses_may_end_below_the_metal() -> None:
    pulses = Pulses(current_density_ma_cm2=1.0, pulse_s=60, relax_s=60, pulses=3, end_v=-0.2)
    assert [x.value for x in limits(pulses.program(cell(COPPER, **SILVER)))] == [-1.18]
