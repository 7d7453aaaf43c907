"""What is remarked of a reference electrode by the rows of a run."""

import logging

import pytest

from instruments.potentiostat.contract import IMPEDANCE, PLATE, REST, Sample
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


def test_a_run_that_goes_on_with_another_one_has_no_look_before() -> None:
    told = Cell.model_validate({**CELL, "reference_electrode": "Zn wire"})
    watch = ReferenceWatch.of(told, goes_on=True)
    assert watch is not None
    for one in (row(0, 0.3), row(5, 0.3), row(20, 0.5, PLATE), row(30, 0.0), row(40, 0.0)):
        watch.take(one)
    assert (watch.before_v, watch.remarks) == (None, [])
    assert watch.look_after_s(hurried=False) is None
