"""Figures of what instruments tell that only write files."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis.texture import ZINC
from operando.plots import SHEETS, EvaluatedRun, draw
from operando.runs import Run

COUNT = 4
AT_S = np.array([60.0, 180.0, 300.0, 420.0])


@pytest.fixture(name="written")
def _written(make_run: Callable[..., Any], synthetic: Any) -> Run:
    """A run with a pattern, a map, a waveform and a spectrum every two minutes, and ions."""
    told = make_run(synthetic.HALF_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=40))
    angle = np.arange(35.0, 52.0, 0.02)
    patterns = [
        100
        + sum(
            1000 * share * one.intensity * np.exp(-(((angle - one.two_theta_deg) / 0.1) ** 2))
            for share, one in zip((1 + n, 1, 1), ZINC.values(), strict=True)
        )
        for n in range(COUNT)
    ]
    y, x = np.mgrid[0:20, 0:20] * 1e-7
    maps = [n * 1e-8 * np.cos(2 * np.pi * x / 5e-7) for n in range(1, COUNT + 1)]
    delay = 2e-6 + 2e-9 * np.arange(300)
    waves = [
        np.exp(-(((delay - 2.3e-6 + n * 1e-9) / 40e-9) ** 2)) * np.cos(1.3e8 * (delay + n * 1e-9))
        for n in range(COUNT)
    ]
    axis = np.arange(700.0, 4000.0, 8.0)
    noise = 1e-4 * np.random.default_rng(1).normal(size=(COUNT, len(axis)))
    spectra = noise + 0.1 * np.arange(COUNT)[:, None] * np.exp(-(((axis - 3500) / 40) ** 2))
    placed = {"t_before": AT_S - 30, "t_after": AT_S + 30}
    every = [np.ones((COUNT, 1)) * one for one in (angle, delay, axis)]
    told.stream("a", "xrd", placed, {"two_theta_deg": every[0], "intensity": np.array(patterns)})
    plane = {"x_m": np.array([x] * COUNT), "y_m": np.array([y] * COUNT)}
    told.stream("b", "afm", placed, {**plane, "height_m": np.array(maps)})
    told.stream("c", "ultrasound", placed, {"delay_s": every[1], "amplitude_v": np.array(waves)})
    told.stream("d", "ftir", placed, {"wavenumber_cm1": every[2], "absorbance": spectra})
    told.stream("e", "dems", {**placed, "ion_current_mz2_a": np.full(COUNT, 3e-12)})
    told.stop()
    return Run.from_documents(told.documents)


def test_what_was_written_is_drawn_where_it_lies_on_the_time_of_the_run(written: Run) -> None:
    one = EvaluatedRun(written)
    drawn = draw(SHEETS["files"], one)
    assert drawn.reason is None
    assert drawn.figure is not None
    texture, roughness, echo, infrared, ions, amplitude = drawn.figure.axes
    scale = one.time_unit[0]
    basal = texture.lines[1]
    assert basal.get_label() == "(002)"
    assert basal.get_xdata() == pytest.approx(AT_S / scale)
    assert basal.get_ydata() == pytest.approx([100 / 3, 50, 60, 200 / 3], rel=1e-2)
    assert roughness.lines[0].get_ydata() == pytest.approx(
        np.arange(1, COUNT + 1) * 10 / 2**0.5, rel=0.05
    )
    assert echo.lines[0].get_ydata() == pytest.approx(-np.arange(COUNT), abs=0.1)
    assert amplitude.lines[0].get_ydata() == pytest.approx([100] * COUNT, rel=0.05)
    # The first spectrum has nothing to have grown since.
    assert infrared.lines[0].get_xdata() == pytest.approx(AT_S[1:] / scale)
    assert infrared.lines[0].get_ydata() == pytest.approx([0.1, 0.2, 0.3], rel=0.05)
    assert [text.get_text() for text in infrared.texts] == ["last at 3500 cm$^{-1}$"]
    assert ions.lines[0].get_ydata() == pytest.approx(3.0)


def test_a_run_without_files_says_of_each_panel_what_it_has_not(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(synthetic.HALF_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=40))
    told.stop()
    drawn = draw(SHEETS["files"], EvaluatedRun(Run.from_documents(told.documents)))
    assert drawn.figure is None
    for word in ("diffraction pattern", "height map", "waveform", "infrared spectrum", "m/z 2"):
        assert word in str(drawn.reason)
