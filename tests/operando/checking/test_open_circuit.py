"""What a cell may show at open circuit, by what its file tells; what a dummy cell is made of."""

import math
from pathlib import Path

import pytest

from instruments.potentiostat.contract import Sample
from operando.checking._cell import dummy_ohm, judged, measured
from operando.configuration import load_cell
from techniques import Cell

CELLS = Path(__file__).parents[3] / "config" / "cells"


def exchanged(cell: Cell) -> Cell:
    """Return a cell file whose electrodes stand at each other's place."""
    return cell.model_copy(
        update={
            "working_electrode": cell.counter_electrode,
            "counter_electrode": cell.working_electrode,
            "metal_electrode": "CE" if cell.metal_electrode == "WE" else "WE",
        }
    )


@pytest.mark.parametrize(
    ("cell", "potential_v", "status", "told"),
    [
        ("zn-bare", 0.004, "ok", "or a short: open circuit cannot tell"),
        ("zn-bare", -0.4, "failed", r"should be within 0\.1 V of 0"),
        ("zn-bare-half", 1.04, "ok", "Cu against Zn"),
        ("zn-bare-half", 0.001, "warning", "covered with Zn, or the cell is shorted"),
        ("zn-bare-half", -1.04, "failed", "it has the wrong sign"),
        ("zn-bare-half", 3.3, "failed", "0.05 to 2.2 V expected"),
        ("na-bare-half", 1.3, "ok", "against Na"),
        ("na-bare-half", -1.3, "failed", "it has the wrong sign"),
        ("pb-half", 3.05, "ok", "Prussian blue against Na"),
        ("pb-half", 0.2, "warning", "shorted, or discharged far"),
        ("pb-half", -3.05, "failed", "it has the wrong sign"),
        ("pb-bare-anodefree", 1.7, "not checked", "a cathode against a bare substrate"),
    ],
)
def test_a_cell_shows_what_its_electrodes_let_it_show(
    cell: str, potential_v: float, status: str, told: str
) -> None:
    item = judged("open circuit", load_cell(cell), potential_v)
    assert (item.name, item.status) == ("open circuit", status)
    assert told.replace("\\", "") in item.told
    assert bool(item.do) == (status in ("failed", "warning"))


@pytest.mark.parametrize("name", ["zn-bare-half", "na-bare-half", "pb-half"])
def test_the_polarity_is_that_of_the_electrodes_and_not_of_the_cable(name: str) -> None:
    cell = load_cell(name)
    there_v = 1.2 if "half" in name and not cell.full_cell else 3.0
    assert judged("", cell, there_v).status == "ok"
    assert judged("", exchanged(cell), there_v).status == "failed"
    assert judged("", exchanged(cell), -there_v).status == "ok"


def test_against_a_reference_the_metal_is_judged() -> None:
    cell = load_cell("zn-bare-half-reference")  # Cu on WE, zinc on CE, a zinc wire
    assert judged("", cell, 1.04, 1.038).status == "ok"
    off = judged("", cell, 0.54, 1.038)
    assert off.status == "failed"
    assert "CE is -0.498 V from what it should be" in off.told
    unknown = cell.model_copy(update={"reference_electrode": "Hg/HgO"})
    assert judged("", unknown, 1.04, 1.038).status == "not checked"


@pytest.mark.parametrize(
    ("parts", "ohm"),
    [
        ("10 ohm", 10.0),
        ("R 1000 ohm", 1000.0),
        ("10 kohm", 1e4),
        ("1 Mohm", 1e6),
        ("2.2e3 ohm", 2200.0),
        ("10 ohm + (100 ohm beside 10 uF)", 110.0),
        ("10 ohm + (50 ohm beside 20 uF) + (200 ohm beside 5 mF)", 260.0),
        ("10 ohm beside 10 ohm", None),
        ("10 ohm + 5 uF", None),
        ("10 ohm (1 %)", None),
        ("a box", None),
        ("0 ohm", None),
    ],
)
def test_a_dummy_cell_has_the_resistance_of_its_parts(parts: str, ohm: float | None) -> None:
    found = dummy_ohm(parts)
    assert found == (None if ohm is None else pytest.approx(ohm, rel=1e-12))


@pytest.mark.parametrize("path", sorted(CELLS.glob("dummy-*.yaml")), ids=lambda path: path.stem)
def test_every_dummy_cell_of_the_configuration_can_be_checked(path: Path) -> None:
    cell = load_cell(path)
    assert cell.dummy is not None
    found = dummy_ohm(cell.dummy)
    assert found is not None
    assert math.isfinite(found)


@pytest.mark.parametrize(
    ("flags", "nan", "usable", "status", "told"),
    [
        ((0, 0, 0, 0), (), 4, None, ""),
        ((2, 0, 0, 0), (), 3, None, ""),  # a range was searched
        ((2, 2, 0, 0), (), 2, "warning", "overload in 1 of 4 rows, which are left out"),
        ((0, 0, 0, 2), (), 3, "warning", "overload in 1 of 4 rows"),
        ((2, 2, 2, 0), (3,), 0, "failed", "cannot measure it"),
        ((2, 2, 2, 2), (), 0, "failed", "cannot measure it"),
    ],
)
def test_rows_in_overload_tell_no_potential(
    flags: tuple[int, ...], nan: tuple[int, ...], usable: int, status: str | None, told: str
) -> None:
    rows = [
        Sample(t, t, math.nan if t in nan else 1.0, 0.0, 0, 0, 1, 0, flag, 0)
        for t, flag in enumerate(flags)
    ]
    found, items = measured("open circuit", rows)
    assert len(found) == usable
    assert all(row.potential_v == 1.0 and row.flags == 0 for row in found)
    assert [item.status for item in items] == ([] if status is None else [status])
    assert all(told in item.told and "every lead is on the cell" in item.do for item in items)
