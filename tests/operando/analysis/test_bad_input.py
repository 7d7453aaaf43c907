"""What no number can be made of is told, with its run and stream, and not reckoned with."""

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from operando.analysis import Metric, metrics
from operando.analysis.segments import recorded_half_cycles
from operando.registry import METRICS
from operando.runs import Run

Array = NDArray[np.float64]
AREA_CM2, CURRENT_A, ROWS = 1.131, 1.131e-3, 200
ZINC = {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn", "thickness_um": 100}
HALF_CELL = {
    "cell_id": "ZN-CU-1",
    "metal": "Zn",
    "working_electrode": {"material": "Cu", "area_cm2": AREA_CM2},
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}
CALIBRATION = {"potentiostat": {"current_offset_uncertainty_a": 1e-6}}
CHARGES = ("plated_capacity_mah_cm2", "cumulative_plated_mah_cm2", "ce_pct", "ce_mean_pct")


def columns_of(cycles: int = 2, rows: int = ROWS) -> dict[str, Array]:
    """Return half-cycles of an hour at 1 mA/cm2."""
    row = np.arange(2 * cycles * rows)
    number, since = np.divmod(row, rows)
    role = np.where(number % 2 == 0, -1.0, 1.0)
    step_t = (since + 1) * 3600 / rows
    return {
        "t": number * 3600 + step_t,
        "step_t": step_t,
        "potential": role * np.where((role > 0) & (since == rows - 1), 0.5, 0.03),
        "current": role * CURRENT_A,
        "cycle": number // 2 + 1.0,
        "half_cycle": number + 1.0,
        "step": number + 1.0,
        "role": role,
        "flags": np.zeros(len(row)),
    }


@pytest.fixture
def run_of(make_run: Callable[..., Any]) -> Callable[[dict[str, Array]], Run]:
    def made(columns: dict[str, Array]) -> Run:
        told = make_run(HALF_CELL, calibration=CALIBRATION, page=1000)
        told.stream("potentiostat", "potentiostat", columns)
        told.stop()
        return Run.from_documents(told.documents)

    return made


def test_good_input_is_reckoned_with(run_of: Callable[..., Run]) -> None:
    found = metrics(run_of(columns_of()))
    assert found["plated_capacity_mah_cm2"].value == pytest.approx([1.0, 1.0])
    assert found["ce_pct"].value == pytest.approx([100.0, 100.0])


def undefined_by(found: dict[str, Metric], *told: str) -> None:
    for name in CHARGES:
        assert found[name].value is None
        for words in told:
            assert words in str(found[name].reason), name


@pytest.mark.parametrize("column", ["current", "half_cycle", "t", "step"])
def test_a_column_that_is_missing_is_named_with_run_and_stream(
    run_of: Callable[..., Run], column: str
) -> None:
    columns = columns_of()
    del columns[column]
    run = run_of(columns)
    found = metrics(run)
    assert found.keys() == METRICS.keys()
    words = f"run {run.uid[:8]}, stream potentiostat: the column potentiostat_{column} is missing"
    undefined_by(found, words)
    assert words in str(found["tafel_slope_mv_dec"].reason)
    with pytest.raises(ValueError, match=words):
        recorded_half_cycles(run, area_cm2=AREA_CM2)


@pytest.mark.parametrize(
    ("column", "unit", "wanted"),
    [("current", "mA", "A"), ("t", "ms", "s"), ("potential", "mV", "V"), ("step_t", "ms", "s")],
)
def test_a_column_in_another_unit_is_refused(
    run_of: Callable[..., Run], column: str, unit: str, wanted: str
) -> None:
    run = run_of(columns_of())
    stream = run.streams["potentiostat"]
    units = MappingProxyType({**stream.units, f"potentiostat_{column}": unit})
    run = replace(run, streams={"potentiostat": replace(stream, units=units)})
    undefined_by(metrics(run), f"potentiostat_{column} is in {unit}, not in {wanted}")


def test_a_spectrum_in_another_unit_leaves_the_charges_alone(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(HALF_CELL, calibration=CALIBRATION, page=1000)
    told.stream("potentiostat", "potentiostat", columns_of())
    hertz = np.logspace(5, -1, 61)
    z = synthetic.arcs_ohm(hertz, 9.0, (40.0, 1e-3, 0.9))
    spectrum = {name: np.ones(61) for name in ("spectrum", "t", "cycle", "half_cycle", "step")}
    spectrum |= {"frequency": hertz, "z_real": z.real, "z_imag": z.imag}
    told.stream("impedance", "potentiostat_impedance", spectrum)
    told.stop()
    run = Run.from_documents(told.documents)
    stream = run.streams["impedance"]
    units = MappingProxyType({**stream.units, "potentiostat_impedance_frequency": "kHz"})
    run = replace(run, streams={**run.streams, "impedance": replace(stream, units=units)})
    found = metrics(run)
    assert found["plated_capacity_mah_cm2"].value == pytest.approx([1.0, 1.0])
    assert "frequency is in kHz, not in Hz" in str(found["series_resistance_ohm"].reason)


@pytest.mark.parametrize("first", [0, 60, 150])
def test_rows_that_could_not_be_read_leave_their_cycle_out(
    run_of: Callable[..., Run], first: int
) -> None:
    columns = columns_of()
    columns["current"][first : first + 50] = np.nan
    found = metrics(run_of(columns))
    plated, efficiency = found["plated_capacity_mah_cm2"], found["ce_pct"]
    assert plated.value == [None, pytest.approx(1.0)]
    assert "50 of its 200 rows could not be read" in str(plated.reason)
    assert efficiency.value == [None, pytest.approx(100.0)]
    assert "cycle 1 is left out: of its plating: 50 of its 200" in str(efficiency.reason)
    assert found["cumulative_plated_mah_cm2"].value is None


def test_one_row_that_could_not_be_read_is_in_the_uncertainty(run_of: Callable[..., Run]) -> None:
    columns = columns_of(rows=4000)
    before = metrics(run_of(columns))["plated_capacity_mah_cm2"]
    columns["current"][70] = np.nan
    found = metrics(run_of(columns))["plated_capacity_mah_cm2"]
    assert found.value == pytest.approx([1.0, 1.0])
    assert isinstance(found.uncertainty, list)
    assert isinstance(before.uncertainty, list)
    grown = [
        after - one
        for after, one in zip(found.uncertainty, before.uncertainty, strict=True)
        if after is not None and one is not None
    ]
    assert grown == pytest.approx([1 / 4000, 0.0], rel=1e-3, abs=1e-9)
    assert "1 of its 4000 rows could not be read" in str(found.reason)


def test_a_reversed_cable_is_named_and_no_charge_of_nothing_told(
    run_of: Callable[..., Run],
) -> None:
    columns = columns_of()
    columns["current"] *= -1
    undefined_by(metrics(run_of(columns)), "is the cable to the cell reversed")


def test_time_that_runs_backwards_gives_no_negative_charge(run_of: Callable[..., Run]) -> None:
    columns = columns_of()
    columns["t"] = columns["t"][::-1].copy()
    undefined_by(metrics(run_of(columns)), "its time runs backwards")


def test_time_that_runs_backwards_once_costs_its_own_cycle(run_of: Callable[..., Run]) -> None:
    columns = columns_of()
    columns["t"][90] -= 100.0
    found = metrics(run_of(columns))["plated_capacity_mah_cm2"]
    assert found.value == [None, pytest.approx(1.0)]
    assert "backwards" in str(found.reason)
