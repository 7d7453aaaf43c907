"""From a run's rows to Tafel lines, activation energies, transference, peaks and pulses."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from operando.analysis import Metric, metrics
from operando.analysis._activation_metrics import temperature_points
from operando.analysis.activation import activation_energy
from operando.analysis.charge_transfer import butler_volmer_ma_cm2
from operando.runs import Run

AREA = 1.131
FREQUENCY = np.logspace(5, -1, 61)
GAS = 8.314462618
NAMES = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")


class Bench:
    """Writes steps and spectra one after the other, as a program runs them."""

    def __init__(self, told: Any, arcs_ohm: Callable[..., Any]) -> None:
        self.told, self.arcs_ohm = told, arcs_ohm
        self.t, self.number = 0.0, 0
        self.rows: dict[str, list[float]] = {name: [] for name in NAMES}
        self.points: dict[str, list[float]] = {}
        self.temperatures: dict[str, list[float]] = {}
        self.spectra = 0
        self.random = np.random.default_rng(0)

    def step(self, role: int, since: Any, potential: Any, current: Any) -> None:
        self.number += 1
        n = len(since)
        rows = (
            self.t + since,
            since,
            np.broadcast_to(potential, n),
            np.broadcast_to(current, n),
            *(np.full(n, float(value)) for value in (0, 0, self.number, role, 0)),
        )
        for name, values in zip(NAMES, rows, strict=True):
            self.rows[name] += [float(value) for value in values]
        self.t += float(since[-1]) + 0.01

    def rest(self, seconds: float = 60.0, potential: float = 0.0) -> None:
        self.step(0, np.arange(1.0, seconds), potential, 0.0)

    def spectrum(self, series: float, interfacial: float) -> None:
        self.number += 1
        self.spectra += 1
        z = self.arcs_ohm(FREQUENCY, series, (interfacial, 3e-3, 0.9))
        z = z * (1 + 3e-4 * (self.random.normal(size=61) + 1j * self.random.normal(size=61)))
        columns = {
            "spectrum": np.full(61, self.spectra),
            "t": self.t + np.linspace(0.1, 200, 61),
            "cycle": np.zeros(61),
            "half_cycle": np.zeros(61),
            "step": np.full(61, self.number),
            "frequency": FREQUENCY,
            "z_real": z.real,
            "z_imag": z.imag,
        }
        for name, values in columns.items():
            self.points.setdefault(name, []).extend(np.asarray(values, dtype=float).tolist())
        self.t += 201.0

    def bath(self, begin_s: float, kelvin: Any, setpoint: float) -> None:
        times = np.arange(begin_s, self.t, 30.0)
        columns = {
            "temperature": np.broadcast_to(kelvin, len(times)),
            "setpoint": np.full(len(times), setpoint),
            "t_before": times,
            "t_after": times + 0.1,
        }
        for name, values in columns.items():
            self.temperatures.setdefault(name, []).extend(float(value) for value in values)

    @property
    def run(self) -> Run:
        self.told.stream("potentiostat", "potentiostat", self.rows)
        if self.points:
            self.told.stream("impedance", "potentiostat_impedance", self.points)
        if self.temperatures:
            self.told.stream("thermostat", "thermostat", self.temperatures)
        self.told.stop()
        return Run.from_documents(self.told.documents)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return metrics(self.run)


@pytest.fixture
def bench(make_run: Callable[..., Any], synthetic: Any) -> Callable[..., Bench]:
    def make(sample: Any = None, *, correcting: bool = False, **declared: Any) -> Bench:
        told = make_run(sample or synthetic.SYMMETRIC_CELL)
        written = {"type": "tafel", "correct_series_resistance": correcting, **declared}
        told.documents[0][1]["technique_as_written"] = {"type": "sequence", "steps": [written]}
        return Bench(told, synthetic.arcs_ohm)

    return make


def _value(metric: Metric) -> Any:
    assert metric.value is not None, metric.reason
    return metric.value


# -- sweeps


def _sweep(on: Bench, j0: float, series: float, *, electrons: int = 2, offset: float = 0.0) -> None:
    """A sweep of both interfaces of a symmetric cell through +-150 mV of its interfaces."""
    eta = np.linspace(-0.15, 0.15, 601)
    j = butler_volmer_ma_cm2(eta, j0, alpha_anodic=electrons / 2, alpha_cathodic=electrons / 2)
    current = 1e-3 * j * AREA
    on.step(5, np.linspace(0.1, 300, 601), offset + 2 * eta + current * series, current)


def test_a_sweep_without_anything_taken_off_is_apparent_and_says_so(bench: Any) -> None:
    on = bench()
    on.rest(potential=0.002)
    _sweep(on, 0.3, 2.65, offset=0.002)
    told = on.metrics
    assert 0 < _value(told["j0_apparent_ma_cm2"]) < 0.6
    assert _value(told["j0_apparent_cathodic_ma_cm2"]) == pytest.approx(
        _value(told["j0_apparent_ma_cm2"]), rel=0.01
    )
    assert "apparent, 60 to 110 mV" in str(told["j0_apparent_ma_cm2"].reason)
    assert told["j0_linear_ma_cm2"].value is None
    assert "see j0_linear_apparent_ma_cm2" in str(told["j0_linear_ma_cm2"].reason)
    linear = told["j0_linear_apparent_ma_cm2"]
    # R_s beside R_ct = RT/nF / j0, of one of two interfaces.
    expected = 12.846 / (12.846 / 0.3 + 0.5 * 2.65 * AREA)
    assert _value(linear) == pytest.approx(expected, rel=0.01)
    assert "apparent, i R_s is not taken off" in str(linear.reason)
    assert "one of two interfaces" in str(linear.reason)
    assert "298.15 K assumed" in str(linear.reason)


def test_the_series_resistance_is_taken_off_where_it_is_asked_for(bench: Any) -> None:
    on = bench(correcting=True)
    on.rest()
    on.spectrum(2.65, 20.0)
    on.rest(10)
    _sweep(on, 0.3, 2.65)
    told = on.metrics["j0_linear_ma_cm2"]
    assert _value(told) == pytest.approx(0.3, rel=0.01)
    assert abs(_value(told) - 0.3) < 3 * told.uncertainty  # type: ignore[operator]  # a number
    assert "i R_s taken off, R_s 2.65" in str(told.reason)


def test_the_slope_of_a_symmetric_cell_is_that_of_one_interface_where_i_r_is_taken_off(
    bench: Any,
) -> None:
    told = {}
    for correcting in (False, True):
        on = bench(correcting=correcting)
        on.rest()
        on.spectrum(2.65, 20.0)
        on.rest(10)
        _sweep(on, 0.3, 2.65)
        told[correcting] = on.metrics
    # n = 2, alpha = 1: 59 mV per decade, which the whole potential shows twice, and i R_s with it.
    for name in ("tafel_slope_mv_dec", "tafel_slope_cathodic_mv_dec"):
        right, apparent = told[True][name], told[False][name]
        assert _value(right) == pytest.approx(59.16, rel=0.01)
        assert _value(apparent) > 110
        assert "eta = (E - i R_s)/2, one of two interfaces, R_s 2.65" in str(right.reason)
        assert "of both interfaces, i R_s not taken off" in str(apparent.reason)
    assert _value(told[True]["j0_apparent_ma_cm2"]) == pytest.approx(0.3, rel=0.03)
    for name in ("transfer_coefficient_anodic", "transfer_coefficient_cathodic"):
        alpha = told[True][name]
        assert _value(alpha) == pytest.approx(1.0, abs=0.02)
        assert abs(_value(alpha) - 1.0) < 3 * alpha.uncertainty
        assert "harmonic mean" in str(alpha.reason)
        assert told[False][name].value is None
        assert "correct_series_resistance" in str(told[False][name].reason)


def test_a_reference_electrode_tells_both_transfer_coefficients(bench: Any, synthetic: Any) -> None:
    sample = {**synthetic.SYMMETRIC_CELL, "reference_electrode": "Zn wire"}
    on = bench(sample, correcting=True)
    on.rest()
    on.spectrum(2.65, 20.0)
    on.rest(10)
    eta = np.linspace(-0.15, 0.15, 601)
    current = 1e-3 * AREA * butler_volmer_ma_cm2(eta, 0.3, alpha_anodic=1.5, alpha_cathodic=0.5)
    on.step(5, np.linspace(0.1, 300, 601), eta + current * 2.65, current)
    told = on.metrics
    for name, alpha in (("anodic", 1.5), ("cathodic", 0.5)):
        assert _value(told[f"transfer_coefficient_{name}"]) == pytest.approx(alpha, rel=0.03)
    assert _value(told["tafel_slope_mv_dec"]) == pytest.approx(59.16 / 1.5, rel=0.03)
    assert _value(told["tafel_slope_cathodic_mv_dec"]) == pytest.approx(59.16 / 0.5, rel=0.1)


def test_the_window_of_the_tafel_lines_is_declared(bench: Any) -> None:
    on = bench(correcting=True, fit_window_v=[0.08, 0.14])
    on.rest()
    on.spectrum(2.65, 20.0)
    on.rest(10)
    _sweep(on, 0.3, 2.65)
    told = on.metrics
    assert "80 to 140 mV" in str(told["tafel_slope_mv_dec"].reason)
    assert "-140 to -80 mV" in str(told["tafel_slope_cathodic_mv_dec"].reason)


def test_the_uncertainty_of_a_sweep_holds_that_of_its_zero_and_of_its_largest_current(
    bench: Any,
) -> None:
    def told(**potentiostat: float) -> Mapping[str, Metric]:
        on = bench()
        on.told.documents[0][1]["calibration"] = {"potentiostat": potentiostat}
        on.rest()
        _sweep(on, 0.3, 2.65)
        found: Mapping[str, Metric] = on.metrics
        return found

    sure = {"potential_offset_uncertainty_v": 0.0, "current_offset_uncertainty_a": 0.0}
    sharp, vague = told(**sure), told(**{**sure, "potential_offset_uncertainty_v": 2e-3})
    name = "j0_apparent_ma_cm2"
    slope = _value(sharp["tafel_slope_mv_dec"])
    of_zero = _value(sharp[name]) * np.log(10) * 2.0 / slope
    wanted = np.hypot(sharp[name].uncertainty, of_zero)  # type: ignore[arg-type]  # a number
    assert vague[name].uncertainty == pytest.approx(wanted)
    # The current within 3 mV of one interface, not one of some microampere in a range of its own.
    name, offset_a = "j0_linear_apparent_ma_cm2", 1e-5
    largest_a = 1e-3 * AREA * _value(sharp[name]) * 0.003 / 0.012846
    wide = told(**{**sure, "current_offset_uncertainty_a": offset_a})[name]
    share = wide.uncertainty / _value(wide)  # type: ignore[operator]  # a number
    assert share == pytest.approx(offset_a / largest_a, rel=0.2)


def test_without_a_spectrum_nothing_is_taken_off_and_nothing_told(bench: Any) -> None:
    on = bench(correcting=True)
    on.rest()
    _sweep(on, 0.3, 2.65)
    told = on.metrics["j0_linear_ma_cm2"]
    assert told.value is None
    assert "no spectrum before the sweep" in str(told.reason)


def test_the_temperature_of_the_bath_enters_the_exchange_current(bench: Any) -> None:
    values = []
    for kelvin in (283.15, 313.15):
        on = bench(correcting=True)
        on.rest()
        on.spectrum(2.65, 20.0)
        on.rest(10)
        _sweep(on, 0.3, 2.65)
        on.bath(0.0, kelvin, kelvin)
        values.append(_value(on.metrics["j0_linear_ma_cm2"]))
    assert values[1] / values[0] == pytest.approx(313.15 / 283.15, rel=1e-6)


def test_a_run_without_sweeps_says_what_is_missing(bench: Any) -> None:
    on = bench()
    on.rest()
    told = on.metrics
    assert told["j0_apparent_ma_cm2"].reason == "the run has no linear sweep"
    assert told["transference_number_apparent"].reason == "the run has no potential step"
    assert told["activation_energy_kj_mol"].reason == "the run has no impedance spectrum"
    assert "no cyclic voltammogram" in str(told["cv_anodic_peak_v"].reason)
    assert told["interrupt_resistance_ohm"].reason == "no current was interrupted"
    assert "no series of pulses" in str(told["pulse_resistance_ohm"].reason)


# -- temperatures


def _at(kelvin: float, kj_mol: float = 7.92) -> float:
    return kelvin / 298.15 * 1.9 * float(np.exp(1e3 * kj_mol / GAS * (1 / kelvin - 1 / 298.15)))


def test_spectra_at_several_temperatures_make_both_activation_energies(bench: Any) -> None:
    on = bench()
    for kelvin in np.arange(273.15, 324, 10):
        begin = on.t
        on.rest(600)
        on.spectrum(9.45, _at(kelvin))
        on.bath(begin, kelvin, kelvin)
    told = on.metrics
    one, other = (told[f"activation_energy_{form}kj_mol"] for form in ("", "ln_inverse_r_"))
    assert _value(one) == pytest.approx(7.92, abs=0.4)
    assert abs(_value(one) - 7.92) < 3 * one.uncertainty  # type: ignore[operator]  # a number
    assert _value(one) - _value(other) == pytest.approx(2.48, abs=0.05)
    assert "ln(T/R), 6 temperatures" in str(one.reason)
    assert _value(told["temperature_k"]) == pytest.approx(np.arange(273.15, 324, 10))


def test_a_spectrum_while_the_bath_still_moved_is_left_out_and_named(bench: Any) -> None:
    on = bench()
    for kelvin in np.arange(273.15, 324, 10):
        begin = on.t
        on.rest(600)
        on.spectrum(9.45, _at(kelvin))
        moving = np.linspace(-5, 0, len(np.arange(begin, on.t, 30.0))) if kelvin == 273.15 else 0.0
        on.bath(begin, kelvin + moving, kelvin)
    told = on.metrics
    assert len(_value(told["temperature_k"])) == 5
    assert "spectrum 1: the temperature drifted by" in str(told["temperature_k"].reason)


def test_several_runs_make_one_series(bench: Any) -> None:
    points = []
    for kelvin in (273.15, 283.15, 298.15, 313.15):
        on = bench()
        on.rest()
        on.spectrum(9.45, _at(kelvin))
        on.told.documents[0][1]["temperature_k"] = kelvin
        told, left_out = temperature_points(on.run)
        assert not left_out
        points += told
    found = activation_energy(
        [point.temperature_k for point in points],
        [point.resistance_ohm for point in points],
        [point.uncertainty_ohm for point in points],
    )
    assert found.kj_mol == pytest.approx(7.92, abs=0.4)


def test_three_temperatures_tell_no_energy(bench: Any) -> None:
    on = bench()
    for kelvin in (273.15, 298.15, 323.15):
        begin = on.t
        on.rest(600)
        on.spectrum(9.45, _at(kelvin))
        on.bath(begin, kelvin, kelvin)
    told = on.metrics["activation_energy_kj_mol"]
    assert told.value is None
    assert "3 temperatures, at least 4" in str(told.reason)


# -- transference number


def _hold(on: Bench, initial: float, steady: float, potential: float = 0.012) -> None:
    since = np.concatenate((np.arange(0.1, 30, 0.1), np.arange(30, 3600, 30)))
    current = steady + (initial - steady) * np.exp(-np.sqrt(since / 50))
    on.step(4, since, potential, current)


def test_a_potential_step_between_spectra_tells_the_transference_number(bench: Any) -> None:
    on = bench()
    number, before, after, bulk = 0.549, 10.0, 10.5, 20.0
    on.rest(potential=0.002)
    on.spectrum(bulk, before)
    on.rest(10, potential=0.002)
    _hold(on, 0.010 / (bulk + before), 0.010 / (bulk / number + after))
    on.spectrum(bulk, after)
    told = on.metrics["transference_number_apparent"]
    assert _value(told) == pytest.approx(number, abs=0.03)
    assert "dV 10.00 mV +- 1 mV" in str(told.reason)
    # A step that is 1 mV off: t+ (1 / (dV - I0 R0) - 1 / (dV - Iss Rss)) of it.
    first, last = 0.010 / 30 * before, 0.010 / (bulk / number + after) * after
    of_step = number * 1e-3 * (1 / (0.010 - first) - 1 / (0.010 - last))
    assert told.uncertainty == pytest.approx(of_step, rel=0.2)
    assert "R 10 to 10.5 ohm" in str(told.reason).replace("9.99", "10").replace("10.49", "10.5")


@pytest.mark.parametrize(
    ("symmetric", "step_v", "why"),
    [
        (False, 0.010, "needs the metal on both electrodes"),
        (True, 0.150, "a step of 150 mV: the number is that of a small one, up to 20 mV"),
    ],
)
def test_only_a_small_step_between_two_electrodes_of_the_metal_tells_the_transference_number(
    bench: Any, synthetic: Any, symmetric: bool, step_v: float, why: str
) -> None:
    on = bench(synthetic.SYMMETRIC_CELL if symmetric else synthetic.HALF_CELL)
    on.rest(potential=0.002)
    on.spectrum(20.0, 10.0)
    on.rest(10, potential=0.002)
    _hold(on, step_v / 30.0, step_v / (20.0 / 0.549 + 10.5), 0.002 + step_v)
    on.spectrum(20.0, 10.5)
    told = on.metrics["transference_number_apparent"]
    assert told.value is None
    assert why in str(told.reason)
    assert "Bruce and Vincent 1987" in str(told.reason)


def test_a_step_without_a_spectrum_after_it_tells_none(bench: Any) -> None:
    on = bench()
    on.rest(potential=0.002)
    on.spectrum(20.0, 10.0)
    on.rest(10, potential=0.002)
    _hold(on, 3e-4, 2e-4)
    told = on.metrics["transference_number_apparent"]
    assert told.value is None
    assert told.reason == "no valid spectrum after the potential step"


# -- voltammograms


def _scan(on: Bench, rate: float, sign: int = 1) -> None:
    up = np.arange(2.4, 3.7, 1e-3)
    e = np.tile(np.concatenate((up, up[::-1])), 2)
    rising = np.tile(np.concatenate((np.ones(len(up)), -np.ones(len(up)))), 2)
    i = np.zeros(len(e))
    for anodic, cathodic, height in ((3.17, 3.12, 6e-5), (3.43, 3.31, 8e-5)):
        scaled = height * (rate / 1e-4) ** 0.5
        i += np.where(
            rising > 0,
            scaled * np.exp(-(((e - anodic) / 0.02) ** 2)),
            -scaled * np.exp(-(((e - cathodic) / 0.02) ** 2)),
        )
    on.step(6, np.arange(1, len(e) + 1) * 1e-3 / rate, sign * e, sign * i)


FULL_CELL = {
    "cell_id": "PB-1",
    "metal": "Na",
    "metal_electrode": "CE",
    "working_electrode": {
        "material": "PB",
        "area_cm2": AREA,
        "active_mass_mg": 1.0,
        "specific_capacity_mah_g": 120.0,
    },
    "counter_electrode": {"material": "Na", "area_cm2": AREA, "metal": "Na", "thickness_um": 100},
    "electrolyte": {"composition": "1 mol/L NaPF6 in diglyme"},
}


def test_a_full_cells_couples_are_cell_voltages_of_the_slowest_scan(bench: Any) -> None:
    on = bench(FULL_CELL)
    for rate in (1e-3, 1e-4, 5e-4):
        on.rest(potential=3.0)
        _scan(on, rate)
    told = on.metrics
    assert _value(told["cv_anodic_peak_v"]) == pytest.approx([3.17, 3.43], abs=2e-3)
    assert _value(told["cv_cathodic_peak_v"]) == pytest.approx([3.12, 3.31], abs=2e-3)
    assert _value(told["cv_peak_separation_mv"]) == pytest.approx([50, 120], abs=3)
    assert _value(told["cv_rate_exponent"]) == pytest.approx([0.5, 0.5], abs=0.01)
    assert "0.1 mV/s" in str(told["cv_anodic_peak_v"].reason)


def test_one_rate_tells_peaks_and_no_exponent(bench: Any) -> None:
    on = bench(FULL_CELL)
    _scan(on, 1e-4)
    told = on.metrics
    assert len(_value(told["cv_anodic_peak_v"])) == 2
    assert told["cv_rate_exponent"].value is None
    assert "1 scan rates" in str(told["cv_rate_exponent"].reason)


# -- edges and pulses


def test_interrupted_currents_tell_the_series_resistance(bench: Any) -> None:
    on = bench()
    on.rest()
    since = np.arange(0.01, 2.0, 0.01)
    for sign in (-1, 1, -1):
        shape = 1 - np.exp(-since / 0.3)
        on.step(3, since, sign * 1e-3 * (2.65 + 20 * shape), sign * 1e-3)
        on.step(0, since, sign * 1e-3 * 20 * (1 - shape), 0.0)
    told = on.metrics["interrupt_resistance_ohm"]
    assert _value(told) == pytest.approx(2.65, abs=0.05)
    assert "3 interrupts; what relaxes within 10 ms is in it" in str(told.reason)


def test_rows_of_an_ordinary_cycle_do_not_resolve_an_interrupt(bench: Any) -> None:
    on = bench()
    on.step(3, np.arange(1.0, 60.0), -0.05, -1e-3)
    on.rest()
    told = on.metrics["interrupt_resistance_ohm"]
    assert told.value is None
    assert "do not resolve the edge" in str(told.reason)


# -- spectra against spectra


def test_a_short_between_two_spectra_is_a_parallel_resistance(bench: Any, synthetic: Any) -> None:
    on = bench()
    on.rest()
    on.spectrum(10.0, 50.0)
    on.rest(10)
    healthy = synthetic.arcs_ohm
    on.arcs_ohm = lambda *told: 1 / (1 / healthy(*told) + 1 / 30.0)
    on.spectrum(10.0, 50.0)
    told = on.metrics["parallel_resistance_ohm"]
    assert _value(told) == [None, pytest.approx(30.0, rel=0.05)]


def test_the_drift_of_open_circuit_during_a_spectrum_is_told(bench: Any) -> None:
    on = bench()
    on.rest(potential=0.010)
    on.spectrum(10.0, 50.0)
    on.rest(10, potential=0.013)
    on.step(3, np.arange(1.0, 60.0), -0.05, -1e-3)
    on.spectrum(10.0, 50.0)
    on.step(0, np.arange(1.0, 61.0), 0.01 + 1e-5 * np.arange(60), 0.0)
    on.spectrum(10.0, 50.0)
    told = on.metrics["spectrum_drift_mv"]
    assert _value(told) == [pytest.approx(3.0), None, pytest.approx(2.0, rel=0.02)]
    assert "extrapolated from the rest before" in str(told.reason)


@pytest.mark.parametrize(
    ("told", "remark"),
    [
        ({"amplitude_rms_v": 0.005}, False),
        ({"amplitude_rms_v": 0.020}, True),
        ({"amplitude_rms_ma_cm2": 0.1}, False),
        ({"amplitude_rms_ma_cm2": 1.0}, True),
    ],
)
def test_an_amplitude_that_may_be_beyond_the_linear_response_is_told(
    bench: Any, told: dict[str, float], remark: bool
) -> None:
    on = bench()
    spectrum = {"type": "impedance_spectrum", **told}
    on.told.documents[0][1]["technique"] = {"type": "sequence", "steps": [spectrum]}
    on.rest()
    on.spectrum(10.0, 50.0)
    reason = str(on.metrics["interfacial_resistance_ohm"].reason)
    assert ("beyond the linear response" in reason) == remark
