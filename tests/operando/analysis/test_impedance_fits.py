from typing import Any

import numpy as np
import pytest

from operando.analysis.impedance import fit_arcs
from operando.analysis.impedance_validity import ImpedanceFitError, kramers_kronig

FREQUENCY = np.logspace(5, -1, 61)


def _noisy(impedance: Any, relative: float, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    noise = random.normal(size=len(impedance)) + 1j * random.normal(size=len(impedance))
    return impedance * (1 + relative * noise)


def test_one_arc_returns_its_parameters(synthetic: Any) -> None:
    z = synthetic.arcs_ohm(FREQUENCY, 2.65, (150.0, 1e-3, 0.9))
    fit = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit.model == "R0-p(R1,CPE1)"
    assert fit.series_ohm == pytest.approx(2.65, rel=1e-4)
    assert fit.interfacial_ohm == pytest.approx(150.0, rel=1e-4)
    assert fit.arcs[0].exponent == pytest.approx(0.9, rel=1e-3)


def test_two_arcs_are_chosen_where_there_are_two(synthetic: Any) -> None:
    z = _noisy(synthetic.arcs_ohm(FREQUENCY, 2.65, (60, 3e-5, 0.95), (90, 5e-3, 0.9)), 1e-3)
    fit = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit.model == "R0-p(R1,CPE1)-p(R2,CPE2)"
    assert tuple(arc.resistance_ohm for arc in fit.arcs) == pytest.approx((60, 90), rel=0.02)
    assert fit.arcs[0].time_constant_s < fit.arcs[1].time_constant_s


def test_an_inductance_does_not_enter_the_resistances(synthetic: Any) -> None:
    z = synthetic.arcs_ohm(FREQUENCY, 9.45, (1.9, 5e-3, 0.9)) + 2j * np.pi * FREQUENCY * 1e-7
    fit = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit.model == "L0-R0-p(R1,CPE1)"
    assert fit.interfacial_ohm == pytest.approx(1.9, rel=1e-3)
    assert fit.inductance_h == pytest.approx(1e-7, rel=1e-3)


def test_standard_errors_cover_the_truth(synthetic: Any) -> None:
    clean = synthetic.arcs_ohm(FREQUENCY, 2.65, (60, 3e-5, 0.95), (90, 5e-3, 0.9))
    inside = 0
    for seed in range(12):
        z = _noisy(clean, 2e-3, seed)
        fit = fit_arcs(FREQUENCY, z.real, z.imag)
        inside += abs(fit.interfacial_ohm - 150) < 2 * fit.interfacial_uncertainty_ohm
    assert inside >= 10


def test_the_order_of_the_points_does_not_matter(synthetic: Any) -> None:
    z = _noisy(synthetic.arcs_ohm(FREQUENCY, 2.65, (150.0, 1e-3, 0.9)), 1e-3)
    forward = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit_arcs(FREQUENCY[::-1], z.real[::-1], z.imag[::-1]) == forward


def test_a_spectrum_that_drifted_is_refused(synthetic: Any) -> None:
    z = synthetic.arcs_ohm(FREQUENCY, 2.65, (150.0, 1e-3, 0.9))
    drifting = z * np.linspace(1, 1.5, len(z))
    with pytest.raises(ImpedanceFitError, match="Kramers-Kronig"):
        fit_arcs(FREQUENCY, drifting.real, drifting.imag)


def test_one_spike_of_the_mains_is_dropped_and_counted(synthetic: Any) -> None:
    z = synthetic.arcs_ohm(FREQUENCY, 2.65, (150.0, 1e-3, 0.9))
    z[33] *= 1.08
    fit = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit.dropped == 1
    assert fit.interfacial_ohm == pytest.approx(150.0, rel=1e-3)


def test_an_arc_that_the_band_does_not_reach_is_refused(synthetic: Any) -> None:
    z = _noisy(synthetic.arcs_ohm(FREQUENCY, 2.65, (1e5, 1e3, 0.9)), 2e-3)
    with pytest.raises(ImpedanceFitError, match="does not determine"):
        fit_arcs(FREQUENCY, z.real, z.imag)


def test_a_handful_of_points_is_refused(synthetic: Any) -> None:
    z = synthetic.arcs_ohm(FREQUENCY[:5], 2.65, (150.0, 1e-3, 0.9))
    with pytest.raises(ImpedanceFitError, match="5 usable points"):
        fit_arcs(FREQUENCY[:5], z.real, z.imag)


def test_the_test_chain_follows_a_depressed_arc_closely(synthetic: Any) -> None:
    z = synthetic.arcs_ohm(FREQUENCY, 10.0, (50.0, 0.01, 0.7))
    assert kramers_kronig(FREQUENCY, z).worst < 1e-3


def _diffusion_ohm(resistance: float, tau: float, *, wall: bool) -> Any:
    s = np.sqrt(2j * np.pi * FREQUENCY * tau)
    return resistance / s / np.tanh(s) if wall else resistance * np.tanh(s) / s


@pytest.mark.parametrize("wall", [False, True])
def test_diffusion_behind_an_arc_is_told_with_its_kind(synthetic: Any, wall: bool) -> None:
    z = synthetic.arcs_ohm(FREQUENCY, 3.0, (60, 3e-4, 0.9)) + _diffusion_ohm(40, 2.0, wall=wall)
    z = _noisy(z, 1e-3)
    fit = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit.model == f"R0-p(R1,CPE1)-{'Wo1' if wall else 'Ws1'}"
    assert fit.diffusion is not None
    assert fit.diffusion.kind == ("open" if wall else "short")
    assert fit.diffusion.resistance_ohm == pytest.approx(40, rel=0.05)
    assert fit.diffusion.time_constant_s == pytest.approx(2.0, rel=0.1)
    assert fit.interfacial_ohm == pytest.approx(60, rel=0.02)


def test_the_choice_of_the_model_is_told(synthetic: Any) -> None:
    z = _noisy(synthetic.arcs_ohm(FREQUENCY, 2.65, (60, 3e-5, 0.95), (90, 5e-3, 0.9)), 1e-3)
    fit = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit.choice.startswith("of 4 models, by ")
    assert "Bayesian information criterion before " in fit.choice


def test_every_parameter_has_a_standard_error_and_a_unit(synthetic: Any) -> None:
    z = _noisy(synthetic.arcs_ohm(FREQUENCY, 2.65, (150.0, 1e-3, 0.9)), 1e-3)
    told = {one.name: one for one in fit_arcs(FREQUENCY, z.real, z.imag).fit.parameters}
    assert told.keys() == {"R0", "R1", "CPE1_Q", "CPE1_a"}
    assert told["R1"].unit == "ohm"
    for name, true in (("R0", 2.65), ("R1", 150.0), ("CPE1_Q", 1e-3**0.9 / 150), ("CPE1_a", 0.9)):
        assert 0 < told[name].uncertainty < 0.01 * true
        assert abs(told[name].value - true) < 4 * told[name].uncertainty


def test_the_capacitance_of_an_ideal_arc_is_its_capacitor(synthetic: Any) -> None:
    z = _noisy(synthetic.arcs_ohm(FREQUENCY, 2.65, (150.0, 150.0 * 2e-4, 1.0)), 1e-4)
    arc = fit_arcs(FREQUENCY, z.real, z.imag).arcs[0]
    assert arc.capacitance_f == pytest.approx(2e-4, rel=0.01)
    assert 0 < arc.capacitance_uncertainty_f < 1e-5


def test_four_arcs_taken_for_two_are_covered_by_the_uncertainty(synthetic: Any) -> None:
    # Both interfaces of a sodium cell, each a film and a charge transfer of its own.
    area = 1.131
    arcs = [
        (size / 2, (size / 2 * q * area) ** (1 / a), a)
        for size in (10.2, 0.6)
        for q, a in ((6e-5, 0.95), (5e-3, 0.9))
    ]
    clean = synthetic.arcs_ohm(FREQUENCY, 9.45, *arcs)
    inside = 0
    for seed in range(20):
        z = _noisy(clean, 3e-4, seed)
        fit = fit_arcs(FREQUENCY, z.real, z.imag)
        assert fit.interfacial_ohm == pytest.approx(10.8, rel=0.02)
        inside += abs(fit.interfacial_ohm - 10.8) < 2 * fit.interfacial_uncertainty_ohm
    assert inside >= 19


def test_the_chain_grows_until_mu_falls_below_what_is_asked(synthetic: Any) -> None:
    z = _noisy(synthetic.arcs_ohm(FREQUENCY, 10.0, (50.0, 0.01, 0.7)), 1e-3)
    found = kramers_kronig(FREQUENCY, z, mu_below=0.85)
    assert found.mu < 0.85
    assert found.elements > 3
    assert kramers_kronig(FREQUENCY, z, mu_below=-1e9).elements > found.elements


@pytest.mark.parametrize("inductance", [0.0, 3e-7])
def test_a_resistor_has_no_arc(inductance: float) -> None:
    z = _noisy(100.0 + 2j * np.pi * FREQUENCY * inductance, 1e-3)
    fit = fit_arcs(FREQUENCY, z.real, z.imag)
    assert fit.model == ("L0-R0" if inductance else "R0")
    assert (fit.arcs, fit.interfacial_ohm) == ((), 0.0)
    assert fit.series_ohm == pytest.approx(100.0, rel=1e-3)
    assert abs(fit.series_ohm - 100.0) < 4 * fit.series_uncertainty_ohm


def test_resistors_and_capacitors_are_arcs_with_an_exponent_of_one(synthetic: Any) -> None:
    z = synthetic.arcs_ohm(FREQUENCY, 10.0, (100.0, 100 * 1e-6, 1.0), (300.0, 300 * 1e-4, 1.0))
    fit = fit_arcs(FREQUENCY, _noisy(z, 1e-3).real, _noisy(z, 1e-3).imag)
    assert fit.series_ohm == pytest.approx(10.0, rel=0.01)
    assert [arc.resistance_ohm for arc in fit.arcs] == pytest.approx([100.0, 300.0], rel=0.01)
    assert [arc.capacitance_f for arc in fit.arcs] == pytest.approx([1e-6, 1e-4], rel=0.02)
