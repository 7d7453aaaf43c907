"""Parameters drawn at random, read through an instrument with errors of its own, come back.

Two standard uncertainties shall cover the truth in at least 95 of 100 draws; here 40 are tried, of
which no more than 4 may miss (with a true share of 95 %, that happens in one suite of twenty; the
draws are fixed, so a failure is a change).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from operando.analysis.impedance import fit_arcs
from operando.analysis.relaxation_times import relaxation_times

FREQUENCY = np.logspace(5, -1, 60)
DRAWS, MAY_MISS = 40, 4
GAIN = 1e-3


@dataclass(frozen=True)
class _Drawn:
    """A spectrum and what it was made of."""

    z: Any
    series_ohm: float
    interfacial_ohm: float


def _drawn(seed: int, synthetic: Any) -> _Drawn:
    """Two interfaces, each a film and a charge transfer, behind an instrument's gain and noise."""
    random = np.random.default_rng(1000 + seed)
    series = float(random.uniform(2, 12))
    total = float(10 ** random.uniform(0.5, 2.4))
    share, film = random.uniform(0.3, 0.7), random.uniform(0.3, 0.7)
    fast, slow = 10 ** random.uniform(-4.3, -3.5), 10 ** random.uniform(-2.3, -1.3)
    arcs = []
    for side in (share, 1 - share):
        unequal = float(random.uniform(0.8, 1.25))
        arcs.append((side * film * total, fast * unequal, float(random.uniform(0.90, 0.98))))
        arcs.append((side * (1 - film) * total, slow * unequal, float(random.uniform(0.85, 0.95))))
    clean = synthetic.arcs_ohm(FREQUENCY, series, *arcs)
    clean = clean + 2j * np.pi * FREQUENCY * float(10 ** random.uniform(-8, -6.5))
    noise = random.normal(size=60) + 1j * random.normal(size=60)
    z = clean * (1 + GAIN * random.normal()) * (1 + 10 ** random.uniform(-3.7, -2.7) * noise)
    return _Drawn(z, series, total)


def test_resistances_of_fits_are_covered_by_their_uncertainties(synthetic: Any) -> None:
    missed: dict[str, list[float]] = {"R_s": [], "R_int": []}
    for seed in range(DRAWS):
        drawn = _drawn(seed, synthetic)
        fit = fit_arcs(FREQUENCY, drawn.z.real, drawn.z.imag)
        for name, found, error, true in (
            ("R_s", fit.series_ohm, fit.series_uncertainty_ohm, drawn.series_ohm),
            ("R_int", fit.interfacial_ohm, fit.interfacial_uncertainty_ohm, drawn.interfacial_ohm),
        ):
            sigmas = abs(found - true) / math.hypot(error, GAIN * true)
            if sigmas > 2:
                missed[name].append(sigmas)
            # An uncertainty that covers everything would say nothing.
            assert error < 0.12 * true, (seed, name)
    assert len(missed["R_s"]) <= MAY_MISS, missed
    assert len(missed["R_int"]) <= MAY_MISS, missed


def test_areas_of_distributions_are_covered_by_their_uncertainties(synthetic: Any) -> None:
    missed = []
    for seed in range(DRAWS):
        drawn = _drawn(seed, synthetic)
        found = relaxation_times(FREQUENCY, drawn.z)
        true = drawn.interfacial_ohm
        error = math.hypot(found.polarisation_uncertainty_ohm, GAIN * true)
        if abs(found.polarisation_ohm - true) > 2 * error:
            missed.append((seed, (found.polarisation_ohm - true) / error))
        assert error < 0.12 * (true + drawn.series_ohm)
    assert len(missed) <= MAY_MISS, missed
