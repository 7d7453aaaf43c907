import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from operando.plots import run_figure
from operando.runs import Run

Make = Callable[..., Any]


def _drawn(run: Run) -> list[str]:
    """Draw a run and return the titles of its panels."""
    figure = run_figure(run)
    target = io.BytesIO()
    figure.savefig(target, dpi=40)
    assert target.getvalue().startswith(b"\x89PNG")
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_only_what_was_measured_gets_a_panel(make_run: Make, synthetic: Any) -> None:
    told = make_run()
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=200))
    told.stop()
    titles = _drawn(Run.from_documents(told.documents))
    assert titles == [
        "Potential (strip ends off scale)",
        "First plating",
        "Coulombic efficiency",
    ]


def test_a_symmetric_cell_shows_its_polarisation_instead(make_run: Make, synthetic: Any) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((1.0,), rows=200))
    told.stop()
    assert "Polarisation" in _drawn(Run.from_documents(told.documents))


def test_every_instrument_adds_its_panel(make_run: Make, synthetic: Any) -> None:
    gas = {"hydrogen_area_per_mole_fraction": 6.7e6, "headspace_ml": 5.0}
    camera = {"micrometre_per_pixel": 0.5, "margin_columns": [0, 112]}
    told = make_run(calibration={"camera": camera, "gas_chromatograph": gas})
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=200))
    frequency = np.logspace(5, -1, 31)
    z = synthetic.arcs_ohm(frequency, 2.65, (150.0, 1e-3, 0.9))
    counted = {key: np.ones(31) for key in ("t", "spectrum", "cycle", "half_cycle", "step")}
    parts = {"frequency": frequency, "z_real": z.real, "z_imag": z.imag}
    told.stream("impedance", "potentiostat_impedance", counted | parts)
    at = np.array([0.0, 1800.0])
    placed = {"t_before": at, "t_after": at + 1}
    frames = np.stack([synthetic.side_view(0.0), synthetic.side_view(40.0, tip_px=30)])
    light = {"lamp": np.ones(2), "laser": np.zeros(2)}
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
    asked = {"injection": [1.0, 2.0], "missed": [0.0, 0.0]}
    told.stream("gas_chromatograph", "gas_chromatograph", placed | asked)
    result = {"injection": [1.0, 2.0], "sample_interval": [0.02, 0.02]}
    traces = np.stack([synthetic.chromatogram(area) for area in (3000.0, 6000.0)])
    told.stream("chromatogram", "gas_chromatograph_result", result, {"trace": traces})
    run = Run.from_documents(told.documents)  # still open: a run is drawn while it goes on
    titles = _drawn(run)
    for title in ("Nyquist plot", "Raman bands against blanks", "Hydrogen by injection"):
        assert title in titles
    assert {"0 s", "0.50 h"} < set(titles)  # the two frames, by when they were taken
    figure = run_figure(run)
    nyquist = next(axes for axes in figure.axes if axes.get_title(loc="left") == "Nyquist plot")
    assert nyquist.get_aspect() == 1.0
    assert "running" in figure.get_suptitle()


def test_potentials_are_labelled_with_what_they_are_measured_against(
    make_run: Make, synthetic: Any
) -> None:
    for sample, label in (
        (synthetic.HALF_CELL, "Cell potential E (mV)"),
        ({**synthetic.HALF_CELL, "reference_electrode": "Zn wire"}, "E (mV vs Zn wire)"),
    ):
        told = make_run(sample)
        told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=100))
        figure = run_figure(Run.from_documents(told.documents))
        assert figure.axes[0].get_ylabel() == label


def test_a_run_that_has_measured_nothing_is_drawn_as_such(make_run: Make) -> None:
    assert _drawn(Run.from_documents(make_run().documents)) == []


def test_drawing_touches_no_window_and_no_pyplot(make_run: Make, synthetic: Any) -> None:
    code = (
        "import sys; from operando.plots import run_figure; from operando.runs import Run; "
        "run_figure(Run.from_documents([])); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
