from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.plots import SHEETS, DrawnSheet, EvaluatedRun, draw
from operando.runs import Run

Make = Callable[..., Any]
AREA_CM2 = 1.131
PRUSSIAN_BLUE = {
    "cell_id": "PB-1",
    "metal": "Na",
    "working_electrode": {
        "material": "Prussian blue",
        "area_cm2": AREA_CM2,
        "active_mass_mg": 2.0,
        "specific_capacity_mah_g": 120.0,
    },
    "counter_electrode": {"material": "Na", "area_cm2": AREA_CM2, "metal": "Na"},
    "metal_electrode": "CE",
    "electrolyte": {"composition": "1 mol/L NaPF6"},
}


def _drawn(run: Run, name: str) -> DrawnSheet:
    return draw(SHEETS[name], EvaluatedRun(run))


def _steps(*steps: tuple[int, Any, Any, Any]) -> dict[str, Any]:
    """Return the leader's columns of steps: role, time since its edge, potential, current."""
    columns: dict[str, list[float]] = {}
    begin = 0.0
    for number, (role, since, potential, current) in enumerate(steps, start=1):
        rows = len(since)
        told = {
            "t": begin + since,
            "step_t": since,
            "potential": potential,
            "current": current,
            "cycle": np.zeros(rows),
            "half_cycle": np.zeros(rows),
            "step": np.full(rows, float(number)),
            "role": np.full(rows, float(role)),
            "flags": np.zeros(rows),
        }
        for key, values in told.items():
            columns.setdefault(key, []).extend(np.asarray(values).tolist())
        begin += float(since[-1]) + 1.0
    return columns


def _sweep() -> dict[str, Any]:
    """Return a rest and a sweep of an interface with j0 = 0.5 mA/cm2 and 118 mV per decade."""
    rest = np.arange(10.0)
    eta = np.linspace(-0.15, 0.15, 301)
    f = 96485.33212 / (8.314462618 * 298.15)
    j = 0.5 * (np.exp(0.5 * f * eta) - np.exp(-0.5 * f * eta))
    return _steps(
        (0, rest, np.full(10, 0.01), np.zeros(10)),
        (5, np.arange(301.0), 0.01 + eta, 1e-3 * AREA_CM2 * j),
    )


def test_tafel_lines_are_drawn_where_they_were_fitted_and_labelled_apparent(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.stream("potentiostat", "potentiostat", _sweep())
    told.stop()
    one = EvaluatedRun(Run.from_documents(told.documents))
    drawn = draw(SHEETS["tafel"], one)
    assert drawn.figure is not None
    (axes,) = drawn.figure.axes
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Overpotential (mV)", "|j| (mA cm$^{-2}$)")
    fitted = [line for line in axes.lines if len(line.get_xdata()) == 2]
    solid = [line.get_xdata().tolist() for line in fitted if line.get_linestyle() == "-"]
    assert solid == [[60.0, 110.0], [-110.0, -60.0]]
    anodic = next(line for line in fitted if line.get_xdata().tolist() == [0.0, 110.0])
    assert anodic.get_ydata()[0] == pytest.approx(one.numbers["j0_apparent_ma_cm2"].value)
    assert "apparent" in axes.texts[0].get_text()


def test_a_run_without_a_sweep_says_so_in_the_place_of_its_tafel_plot(bare_run: Run) -> None:
    drawn = _drawn(bare_run, "tafel")
    assert drawn.figure is None
    assert drawn.reason == "the run has no linear sweep"
    assert _drawn(bare_run, "voltammetry").reason
    assert _drawn(bare_run, "arrhenius").reason
    assert _drawn(bare_run, "capacity").reason
    assert _drawn(bare_run, "rate").reason == "the run was cycled at one current density only"


def test_the_area_under_the_relaxation_times_is_the_resistance_that_is_written(
    full_run: Run,
) -> None:
    one = EvaluatedRun(full_run)
    drawn = draw(SHEETS["relaxation"], one)
    assert drawn.figure is not None
    (axes,) = drawn.figure.axes
    tau, gamma = axes.lines[0].get_xdata(), axes.lines[0].get_ydata()
    assert np.trapezoid(gamma, np.log(tau)) == pytest.approx(160.0, rel=0.03)  # of the last
    areas = one.numbers["drt_area_ohm"].value
    assert isinstance(areas, list)
    largest = max(area for area in areas if area is not None)
    written = [text.get_text() for text in axes.texts]
    numbers = [float(text.split("±")[0]) for text in written if "±" in text]
    assert max(numbers) == pytest.approx(largest, rel=0.01)
    assert axes.get_xlabel() == r"$\tau$ (s)"


def _voltammogram() -> dict[str, Any]:
    """Return two scans of a full cell at 1 mV/s with one couple at 3.2 V, 40 mV apart."""
    up, down = np.arange(2.8, 3.6, 0.002), np.arange(3.6, 2.8, -0.002)
    voltage = np.concatenate((up, down, up, down))
    rising = np.concatenate((np.ones(len(up)), -np.ones(len(down))) * 2)
    current = rising * 1e-4 * np.exp(-(((voltage - 3.2 - 0.02 * rising) / 0.03) ** 2))
    return _steps((6, np.arange(len(voltage)) * 2.0, voltage, current))


def test_a_voltammogram_shows_cell_voltages_with_its_rate_and_its_peaks(make_run: Make) -> None:
    told = make_run(PRUSSIAN_BLUE)
    told.stream("potentiostat", "potentiostat", _voltammogram())
    told.stop()
    one = EvaluatedRun(Run.from_documents(told.documents))
    drawn = draw(SHEETS["voltammetry"], one)
    assert drawn.figure is not None
    (axes,) = drawn.figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Cell voltage (V)", "j (mA cm$^{-2}$)")
    upward, downward = axes.lines[:2]
    assert upward.get_label() == "1 mV s$^{-1}$"
    assert upward.get_ydata().max() == pytest.approx(0.1 / AREA_CM2, rel=1e-3)
    assert downward.get_ydata().min() == pytest.approx(-0.1 / AREA_CM2, rel=1e-3)
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == pytest.approx([3.22, 3.18], abs=0.004)


def test_both_forms_of_an_arrhenius_plot_have_their_own_energy(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((1.0,), rows=60))
    kelvin = np.array([273.15, 285.0, 298.15, 310.0, 323.0])
    energy = 12e3  # J/mol, of ln(T/R)
    ohm = kelvin * np.exp(energy / 8.314462618 * (1 / kelvin - 1 / 298.15)) * 0.5
    synthetic.add_impedance(told, *ohm, apart_s=3600.0)
    at = np.concatenate([3600.0 * number + np.arange(-600.0, 60.0, 30.0) for number in range(1, 6)])
    stood = np.repeat(kelvin, len(at) // 5)
    columns = {"t_before": at, "t_after": at + 0.1, "temperature": stood, "setpoint": stood}
    told.stream("thermostat", "thermostat", columns)
    told.stop()
    run = Run.from_documents(told.documents)
    one = EvaluatedRun(run)
    drawn = draw(SHEETS["arrhenius"], one)
    assert drawn.figure is not None
    labels = []
    for axes, logarithm in zip(
        drawn.figure.axes, (np.log(kelvin / ohm), -np.log(ohm)), strict=True
    ):
        (told,) = axes.get_legend().get_texts()
        labels.append((told.get_text()[:10], axes.get_ylabel().partition(" ")[0]))
        (points,) = (line for line in axes.lines if line.get_marker() in "os")
        assert points.get_ydata() == pytest.approx(logarithm, abs=0.02)
        low, high = axes.get_ylim()
        assert np.ptp(logarithm) > 0.6 * (high - low)  # its rise fills the panel
        assert axes.get_xlabel() == "1000/T (K$^{-1}$)"
    assert labels == [("$E_a$ = 12", "ln(T/R)"), ("$E_a$ = 9.", "ln(1/R)")]


def test_the_line_of_an_arrhenius_plot_is_the_fit_that_is_reported(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((1.0,), rows=60))
    kelvin = np.array([273.15, 285.0, 298.15, 310.0, 323.0])
    ohm = kelvin * np.exp(12e3 / 8.314462618 * (1 / kelvin - 1 / 298.15)) * 0.5
    ohm[-1] *= 1.05  # the least certain one is off: without weights it turns the line
    noise = [2e-4, 2e-4, 2e-4, 2e-4, 4e-3]
    synthetic.add_impedance(told, *ohm, apart_s=3600.0, noise=noise)
    at = np.concatenate([3600.0 * number + np.arange(-600.0, 60.0, 30.0) for number in range(1, 6)])
    stood = np.repeat(kelvin, len(at) // 5)
    columns = {"t_before": at, "t_after": at + 0.1, "temperature": stood, "setpoint": stood}
    told.stream("thermostat", "thermostat", columns)
    told.stop()
    one = EvaluatedRun(Run.from_documents(told.documents))
    drawn = draw(SHEETS["arrhenius"], one)
    assert drawn.figure is not None
    names = ("activation_energy_kj_mol", "activation_energy_ln_inverse_r_kj_mol")
    for axes, name in zip(drawn.figure.axes, names, strict=True):
        (line,) = (each for each in axes.lines if len(each.get_xdata()) == 2)
        slope = np.diff(line.get_ydata())[0] / np.diff(line.get_xdata())[0]
        reported = one.numbers[name].value
        assert -slope * 8.314462618 == pytest.approx(reported, rel=1e-9)
        (points,) = (each for each in axes.lines if each.get_marker() in "os")
        plain = np.polyfit(points.get_xdata(), points.get_ydata(), 1)[0]
        assert abs(-plain * 8.314462618 - reported) > 0.1


def test_rate_capability_labels_each_stretch_with_its_current_density(
    make_run: Make, synthetic: Any
) -> None:
    slow = synthetic.galvanostatic((1.0, 1.0), rows=60, current_ma_cm2=1.0)
    fast = synthetic.galvanostatic((1.0, 1.0), rows=60, current_ma_cm2=2.0, plateau_v=0.06)
    for key, by in (("t", slow["t"].max() + 60), ("cycle", 2), ("half_cycle", 4), ("step", 8)):
        fast[key] = fast[key] + by
    told = make_run(synthetic.SYMMETRIC_CELL)
    joined = {key: np.concatenate((slow[key], fast[key])) for key in slow}
    told.stream("potentiostat", "potentiostat", joined)
    told.stop()
    one = EvaluatedRun(Run.from_documents(told.documents))
    drawn = draw(SHEETS["rate"], one)
    assert drawn.figure is not None
    (axes,) = drawn.figure.axes
    assert [text.get_text() for text in axes.texts][:2] == ["1", "2"]
    drawn_values = np.concatenate([line.get_ydata() for line in axes.lines])
    assert drawn_values.tolist() == one.numbers["polarisation_mv"].value
    assert axes.get_ylabel() == "Polarisation (mV)"


def test_a_full_cell_is_told_as_cell_voltage_charge_and_discharge(
    make_run: Make, synthetic: Any
) -> None:
    columns = synthetic.galvanostatic((0.95, 0.97), rows=60, mirror=-1, plateau_v=3.2, tip_v=3.3)
    told = make_run(PRUSSIAN_BLUE)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    one = EvaluatedRun(Run.from_documents(told.documents))
    figure = draw(SHEETS["potential"], one).figure
    assert figure is not None
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert np.nanmedian(lines["charge"]) == pytest.approx(3.2, abs=0.1)
    assert figure.axes[0].get_ylabel() == "Cell voltage (V)"
    capacity = draw(SHEETS["capacity"], one).figure
    assert capacity is not None
    points = [line for line in capacity.axes[0].lines if line.get_marker() == "o"]
    assert points[1].get_ydata().tolist() == one.numbers["discharge_capacity_mah_g"].value
