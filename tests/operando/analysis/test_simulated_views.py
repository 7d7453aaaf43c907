"""What simulated instruments see, evaluated, against what was really there."""

import numpy as np
import pytest

from operando.analysis.band_shapes import NoBandError, fit_band
from operando.analysis.images import Region, front
from operando.analysis.raman import despike
from sim_devices.cell.catalogue import make_cell
from sim_devices.micrograph import SideView
from sim_devices.spectrum import RamanScene

STEP_S, CURRENT_MA_CM2 = 10.0, -5.0
AXIS = np.linspace(150, 3900, 2048)


@pytest.fixture(scope="module", name="cell")
def _cell():
    """Return bare zinc on copper with 2 mAh/cm2 plated, gas and film formed."""
    cell = make_cell("zn-bare-half", 0)
    for _ in range(round(2.0 / abs(CURRENT_MA_CM2) * 3600 / STEP_S)):
        cell.advance(STEP_S, "i", CURRENT_MA_CM2)
    return cell


def test_thickness_bubbles_and_tips_of_a_simulated_deposit(cell) -> None:
    view = SideView(cell, seed=1)
    image, scene = view.frame()
    found = front(image, view.micrometre_per_pixel, Region.beside((0, 112)))
    deposit = scene.heights_px[128:]
    assert found.thickness_um == pytest.approx(deposit.mean() * 0.5, abs=0.5)  # one pixel
    assert found.tip_um == pytest.approx((deposit.max() - np.median(deposit)) * 0.5, abs=1.0)
    slope, offset = np.polyfit(np.arange(len(deposit)), deposit, 1)
    rough = (deposit - slope * np.arange(len(deposit)) - offset).std() * 0.5
    assert found.roughness_um == pytest.approx(rough, rel=0.03)
    seen = [bubble for bubble in scene.bubbles if bubble.radius_px > 12]
    assert len(seen) <= len(found.bubbles) <= len(scene.bubbles)
    for bubble in seen:
        near = min(found.bubbles, key=lambda one: abs(one.column - bubble.column_px))
        assert near.column == pytest.approx(bubble.column_px, abs=2)
        assert near.radius == pytest.approx(bubble.radius_px, abs=3)  # the rim lies inside


def test_a_simulated_film_shows_its_band_and_a_fresh_cell_none() -> None:
    cell = make_cell("zn-bare-half", 0)
    for current in (-5.0, 4.0) * 12:
        for _ in range(144):
            cell.advance(STEP_S, "i", current)

    def spectrum(which, seed: int):
        scene = RamanScene(which, seed)
        counts = np.stack([scene.counts(AXIS, 100.0, 1.0) for _ in range(3)])
        return despike(counts).counts - 102

    fresh = make_cell("zn-bare-half", 0)
    sulfate = fit_band(AXIS, spectrum(fresh, 1), 955, 1006)
    assert sulfate.position_cm1 == pytest.approx(981.0, abs=0.1)  # its axis is off by 0.5 cm-1
    with pytest.raises(NoBandError):
        fit_band(AXIS, spectrum(fresh, 1), 3590, 3680, curved=True)
    band = fit_band(AXIS, spectrum(cell, 2), 3590, 3680, curved=True)
    assert band.position_cm1 == pytest.approx(3633.5, abs=2.0)
    factor = np.sqrt(np.pi / (4 * np.log(2)))
    umol_cm2 = cell.metal_electrode.zhs_mol_cm2 * 1e6
    assert band.area == pytest.approx(2500 * umol_cm2 * 20 * factor, rel=0.15)
