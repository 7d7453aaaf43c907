"""Cells with a reference electrode on the simulated instrument: is it there, what does it limit."""

from collections.abc import Callable
from typing import Any

import pytest

from instruments.errors import ReferenceElectrodeError, SafetyLimitError
from instruments.potentiostat.contract import IMPEDANCE, ImpedancePoint, Sample
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from techniques import Assignment, ReferenceBound

CELL = "zn-bare-half-reference"
LIMITS = {"potential_min_v": -1.0, "potential_max_v": 1.5, "current_max_a": 0.05}
BOUND = ReferenceBound(name="Zn wire", electrode="CE")
LOOK = {"type": "open_circuit", "duration_s": 10}
SPECTRUM = {
    "type": "impedance_spectrum",
    "amplitude_rms_v": 0.005,
    "frequency_max_hz": 1e4,
    "frequency_min_hz": 10,
    "points_per_decade": 2,
}


def plate(j: float = 1.0, charge: float = 0.1) -> dict[str, Any]:
    until = [{"quantity": "charge_mah_cm2", "value": charge}]
    drive = {"role": "plate", "current_density_ma_cm2": j, "until": until}
    return {"type": "galvanostatic_step", **drive}


def hold(potential_v: float) -> dict[str, Any]:
    until = [{"quantity": "time_s", "value": 60}]
    return {"type": "potentiostatic_step", "potential_v": potential_v, "until": until}


def sweep(begin_v: float, end_v: float) -> dict[str, Any]:
    ends = {"begin_v": begin_v, "end_v": end_v}
    return {"type": "linear_sweep", **ends, "scan_rate_v_s": 0.01}


def assigned(
    *steps: dict[str, Any], bound: ReferenceBound | None = BOUND, **limits: float
) -> Assignment:
    return Assignment.model_validate(
        {
            "technique": {"type": "sequence", "steps": list(steps)},
            "area_cm2": 1.131,
            "reference": True,
            "reference_bound": bound,
            "limits": {**LIMITS, **limits},
        }
    )


def reference_at(volts: float) -> dict[str, Any]:
    """Return the fault of a reference electrode that is off by this much; far off it floats."""
    return {"instrument": "cell", "fault": "reference", "volts": volts}


def cover(driver: MethodScriptPotentiostat) -> None:
    """Plate metal on the bare substrate, which rests anywhere."""
    driver.start(assigned(plate()))
    list(driver.samples())


def cell_was_closed(bench: Any) -> bool:
    return any(line["event"] == "cell_on" for line in bench.truth("potentiostat"))


@pytest.mark.parametrize(
    ("volts", "bound", "told"),
    [
        (0.3, BOUND, r"counter electrode is at -0\.\d+ V against it.*0 V within 0\.2 V"),
        (-0.3, BOUND, r"counter electrode is at 0\.\d+ V against it"),
        (100.0, BOUND, r"Zn wire\) is absent, floating, or another one.*Nothing was driven"),
        (100.0, ReferenceBound(name="C rod"), r"C rod\) is absent.*cannot measure"),
    ],
)
def test_nothing_is_driven_against_a_reference_that_is_not_there(
    connect: Callable[..., Any], volts: float, bound: ReferenceBound, told: str
) -> None:
    driver, bench = connect(CELL, broken=reference_at(volts))
    driver.start(assigned(LOOK, plate(), bound=bound))
    rows: list[Any] = []
    with pytest.raises(ReferenceElectrodeError, match=told):
        rows.extend(driver.samples())
    assert {row.step for row in rows} == {1}
    assert not cell_was_closed(bench)


def test_rows_that_cannot_be_read_end_the_look_before_it_is_over(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect(CELL, 10.0, broken=reference_at(100.0))
    driver.start(assigned({**LOOK, "duration_s": 100_000}, plate()))
    with pytest.raises(ReferenceElectrodeError, match="which the instrument cannot measure"):
        list(driver.samples())
    assert driver.program_end.step_s < 1000
    assert not cell_was_closed(bench)


def test_a_reference_that_is_a_little_off_does_not_stop_anything(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect(CELL, broken=reference_at(0.05))
    driver.start(assigned(LOOK, plate(), LOOK))
    rows = list(driver.samples())
    assert {row.step for row in rows} == {1, 2, 3}
    assert driver.stop_reason is None
    counter = [row.potential_v - row.cell_potential_v for row in rows if row.step == 1]
    assert counter == pytest.approx([-0.05] * len(counter), abs=3e-3)


def test_the_cell_has_a_limit_of_its_own_besides_the_window(connect: Callable[..., Any]) -> None:
    driver, bench = connect(CELL)
    cover(driver)
    for step in (plate(2.0), hold(-0.2), sweep(0.0, -0.24)):
        rows: list[Any] = []
        driver.start(assigned(LOOK, step, cell_potential_max_v=0.25))
        with pytest.raises(SafetyLimitError, match=r"cell_potential_max_v = 0\.25 was passed"):
            rows.extend(driver.samples())
        assert rows[-1].cell_potential_v < -0.25 < rows[-1].potential_v
    events = [line["event"] for line in bench.truth("potentiostat")]
    assert events.count("cell_on") == events.count("cell_off") == 4


def test_around_each_spectrum_both_potentials_are_told(connect: Callable[..., Any]) -> None:
    driver, _ = connect(CELL)
    # Metal first: a bare substrate rests anywhere.
    drive = {"amplitude_rms_v": None, "mode": "galvanostatic", "amplitude_rms_ma_cm2": 0.1}
    steps = (plate(), LOOK, SPECTRUM, {**SPECTRUM, "potential_v": 0.02}, {**SPECTRUM, **drive})
    driver.start(assigned(*steps))
    rows = list(driver.samples())
    assert driver.lost_rows == 0
    for step, current in ((3, 0.0), (4, 1.0), (5, 0.0)):
        of_step = [row for row in rows if row.step == step]
        before, *points, after = of_step
        assert all(isinstance(point, ImpedancePoint) for point in points)
        assert len(points) == 7
        for row in (before, after):
            assert isinstance(row, Sample)
            assert row.role == IMPEDANCE
            across = row.cell_potential_v - row.potential_v
            if current:
                assert row.potential_v == pytest.approx(0.02, abs=1e-3)
                assert row.current_a > 0
                assert across > 1e-3
            else:
                assert row.current_a == 0
                assert across == pytest.approx(0.0, abs=5e-3)
        times = [row.t_s for row in of_step]
        assert times == sorted(times)


def test_a_spectrum_at_a_bias_keeps_to_the_limit_of_the_cell(connect: Callable[..., Any]) -> None:
    driver, bench = connect(CELL)
    cover(driver)
    biased = {**SPECTRUM, "potential_v": -0.1}
    driver.start(assigned(LOOK, biased, cell_potential_max_v=0.12))
    rows: list[Any] = []
    with pytest.raises(SafetyLimitError, match=r"cell_potential_max_v = 0\.12 was passed in step"):
        rows.extend(driver.samples())
    assert not any(isinstance(row, ImpedancePoint) for row in rows)
    events = [line["event"] for line in bench.truth("potentiostat")]
    assert events.count("cell_on") == events.count("cell_off") == 2
