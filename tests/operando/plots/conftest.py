"""Runs to draw, with every stream."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.runs import Run

CALIBRATION = {
    "camera": {"micrometre_per_pixel": 0.5},
    "gas_chromatograph": {"hydrogen_area_per_mole_fraction": 6.7e6, "headspace_ml": 5.0},
}


def add_impedance(told: Any, synthetic: Any, *resistances: float) -> None:
    frequency = np.logspace(5, -1, 31)
    columns: dict[str, list[float]] = {}
    for number, resistance in enumerate(resistances, start=1):
        z = synthetic.arcs_ohm(frequency, 2.65, (resistance, 1e-3, 0.9))
        told_of = {"frequency": frequency, "z_real": z.real, "z_imag": z.imag}
        for key in ("t", "spectrum", "cycle", "half_cycle", "step"):
            told_of[key] = np.full(31, float(number))
        for key, values in told_of.items():
            columns.setdefault(key, []).extend(values.tolist())
    told.stream("impedance", "potentiostat_impedance", columns)


def add_followers(told: Any, synthetic: Any) -> None:
    at = np.array([0.0, 1800.0, 3600.0])
    placed = {"t_before": at, "t_after": at + 1}
    frames = np.stack(
        [synthetic.side_view(h, tip_px=tip) for h, tip in ((0.0, 0.0), (40.0, 30.0), (5.0, 20.0))]
    )
    light = {"lamp": np.ones(3), "laser": np.zeros(3)}
    told.stream("camera", "camera", placed | light, {"image": frames})
    axis = np.linspace(150, 3900, 1024)
    spectra = np.stack([synthetic.spectrum_counts(axis, seed=seed) for seed in range(8)])
    when = np.array([np.nan] * 6 + [600.0, 1200.0])
    told.stream(
        "raman",
        "raman",
        {"t_before": when, "t_after": when + 30, "laser": np.ones(8)},
        {"counts": spectra, "dark": np.full((8, 1024), 100.0)},
        {"raman_wavenumber": axis.tolist()},
    )
    asked = {"injection": [1.0, 2.0, 3.0], "missed": [0.0, 0.0, 0.0]}
    told.stream("gas_chromatograph", "gas_chromatograph", placed | asked)
    result = {"injection": [1.0, 2.0, 3.0], "sample_interval": [0.02] * 3}
    traces = np.stack([synthetic.chromatogram(area) for area in (2000.0, 4000.0, 6000.0)])
    told.stream("chromatogram", "gas_chromatograph_result", result, {"trace": traces})


@pytest.fixture
def full_run(make_run: Callable[..., Any], synthetic: Any) -> Run:
    """Return a finished run of a half cell with every stream."""
    told = make_run(calibration=CALIBRATION)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=200))
    add_impedance(told, synthetic, 150.0, 160.0)
    add_followers(told, synthetic)
    told.stop()
    return Run.from_documents(told.documents)


@pytest.fixture
def bare_run(make_run: Callable[..., Any], synthetic: Any) -> Run:
    """Return a finished run of which the potentiostat alone has rows."""
    told = make_run()
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=200))
    told.stop()
    return Run.from_documents(told.documents)
