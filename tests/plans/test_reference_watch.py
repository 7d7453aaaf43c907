"""What is remarked of a reference electrode by the rows of a run."""

import logging

import pytest

from instruments.potentiostat.contract import (
    IMPEDANCE,
    LOOK,
    PLATE,
    REST,
    ImpedancePoint,
    Sample,
)
from plans.reference import HURRIED_LOOK_S, LOOK_MOST_S, ReferenceWatch
from techniques import Cell, KnownPotential, ReferenceCheck

CELL = {
    "cell_id": "A",
    "metal": "Zn",
    "working_electrode": {"material": "Cu", "area_cm2": 1.0},
    "counter_electrode": {"material": "Zn", "area_cm2": 1.0, "metal": "Zn"},
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}


def row(t_s: float, offset_v: float, role: int = REST) -> Sample:
    working_v = 0.4
    return Sample(t_s, t_s, working_v, 0.0, 0, 0, 1, role, 0, 0, working_v - offset_v)


def watched(*rows: Sample) -> ReferenceWatch:
    watch = ReferenceWatch("Zn wire", KnownPotential("CE", 0.0), ReferenceCheck())
    for one in rows:
        watch.take(one)
    return watch


def test_a_reference_that_stays_where_it_is_is_not_remarked() -> None:
    rests = [row(t, 0.004) for t in range(10)]
    watch = watched(*rests, row(20, 0.5, PLATE), *(row(30 + t, 0.013) for t in range(10)))
    assert watch.before_v == pytest.approx(0.004)
    assert watch.remarks == []


def test_an_offset_before_is_told_when_the_cell_is_driven_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = watched(*(row(t, -0.015) for t in range(10)))
    assert watch.remarks == []
    with caplog.at_level(logging.WARNING):
        watch.take(row(20, 0.5, PLATE))
    assert "was -15 mV from the 0 V" in caplog.text
    (told,) = watch.remarks
    assert "the reference electrode (Zn wire) is off" in told


def test_a_drift_is_that_of_the_last_rest() -> None:
    before = [row(0, 0.3), *(row(20 + t, 0.001) for t in range(10))]
    between = [row(40, 0.5, PLATE), row(50, 0.1), row(60, 0.5, IMPEDANCE)]
    watch = watched(*before, *between, *(row(70 + t, 0.016) for t in range(10)))
    (told,) = watch.remarks
    assert "the counter electrode moved by 15 mV against the reference electrode (Zn wire)" in told


def test_what_was_not_looked_at_is_not_remarked() -> None:
    assert watched(row(0, 0.5, PLATE), row(10, 0.05)).remarks == []
    assert watched(row(0, float("nan")), row(1, 0.5, PLATE)).before_v is None


def test_only_a_known_potential_can_be_watched() -> None:
    assert ReferenceWatch.of(Cell.model_validate(CELL)) is None
    named = {**CELL, "reference_electrode": "Zn wire"}
    watch = ReferenceWatch.of(Cell.model_validate(named))
    assert watch is not None
    assert watch.known == KnownPotential("CE", 0.0)
    assert ReferenceWatch.of(Cell.model_validate({**named, "reference_electrode": "C"})) is None


def test_after_what_was_driven_the_reference_is_looked_at_unless_it_was() -> None:
    driven = [*(row(t, 0.0) for t in range(10)), row(20, 0.5, PLATE)]
    assert watched(*driven[:10]).look_after_s(hurried=False) is None
    assert watched(*driven).look_after_s(hurried=False) == 10.0
    assert watched(*driven).look_after_s(hurried=True) == HURRIED_LOOK_S
    assert watched(*driven, row(30, 0.0), row(31, 0.0)).look_after_s(hurried=False) == 10.0
    rested = watched(*driven, *(row(30 + t, 0.0) for t in range(5)))
    assert rested.look_after_s(hurried=False) is None
    patient = ReferenceWatch("Zn wire", KnownPotential("CE", 0.0), ReferenceCheck(look_s=600.0))
    for one in driven:
        patient.take(one)
    assert patient.look_after_s(hurried=False) == LOOK_MOST_S


def looked_at(offset_v: float) -> list[Sample | ImpedancePoint]:
    """Return rows as of the look at a cell from which an experiment goes on."""
    rests = [row(t, offset_v)._replace(flags=LOOK) for t in range(5)]
    return [row(-9, 0.3), row(-8, 0.3, PLATE), *rests]


@pytest.mark.parametrize(
    ("before_v", "again_v", "after_v", "told"),
    [
        (0.001, 0.002, 0.005, []),
        (0.001, 0.015, 0.002, ["before the rest of the program the counter electrode was 15 mV"]),
        (
            -0.012,
            -0.013,
            -0.014,
            [
                "before the program the counter electrode was -12 mV from the 0 V that it should",
                "before the rest of the program the counter electrode was -13 mV from the 0 V",
            ],
        ),
        # The whole experiment's, however often it was interrupted.
        (0.001, 0.007, 0.014, ["by 13 mV against the reference electrode (Zn wire) from before"]),
        (None, 0.001, 0.014, ["by 13 mV against the reference electrode (Zn wire) from before"]),
        (None, None, 0.3, []),
    ],
)
def test_a_run_that_goes_on_tells_of_the_reference_of_its_experiment(
    caplog: pytest.LogCaptureFixture,
    before_v: float | None,
    again_v: float | None,
    after_v: float,
    told: list[str],
) -> None:
    watch = ReferenceWatch.of(Cell.model_validate({**CELL, "reference_electrode": "Zn wire"}))
    assert watch is not None
    watch.go_on(before_v, [] if again_v is None else looked_at(again_v))
    # What its program itself begins with is a rest in the middle of the experiment.
    for one in (row(0, 0.3), row(5, 0.3), row(20, 0.5, PLATE)):
        watch.take(one)
    offs = [one for one in told if one.startswith("before")]
    assert len(caplog.messages) == len(offs)
    assert all(off in text for off, text in zip(offs, caplog.messages, strict=True))
    watch.take(row(30, after_v))
    watch.take(row(40, after_v))
    assert len(watch.remarks) == len(told)
    assert all(one in text for one, text in zip(told, watch.remarks, strict=True))
    assert watch.look_after_s(hurried=False) is None
