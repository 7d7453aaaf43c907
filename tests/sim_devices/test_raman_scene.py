import numpy as np
import pytest

from sim_devices.cell import Cell
from sim_devices.spectrum import FILM_HYDROXYL, SULFATE_STRETCH, WATER, RamanScene
from sim_devices.whereabouts import Displacement, Whereabouts

AXIS = np.linspace(150, 3900, 1024)


def band_area(scene, centre_cm1, half_width_cm1=40.0):
    light = scene.light(AXIS)
    inside = np.abs(AXIS - centre_cm1) < half_width_cm1
    edges = light[inside][[0, -1]].mean()
    return float((light[inside] - edges).sum())


def cycled(name, cycles=5):
    cell = Cell(name, seed=1)
    for _ in range(cycles):
        for current in (-1.0, 1.0):
            for _ in range(360):
                cell.advance(10.0, "i", current)
    return cell


def test_cycling_bare_zinc_raises_the_film_and_the_hydroxide_and_lowers_the_sulfate():
    fresh, old = RamanScene(Cell("zn-bare"), 1), RamanScene(cycled("zn-bare"), 1)
    assert band_area(old, 3633) > band_area(fresh, 3633) + 100
    assert band_area(old, 465) > band_area(fresh, 465) + 100
    change = band_area(old, 980.5) / band_area(fresh, 980.5)
    assert 0.93 < change < 0.98


def test_the_spot_under_the_laser_moves_with_the_cell():
    where = Displacement(0.0, 0.0, 0.0)
    scene = RamanScene(cycled("zn-bare"), 1, Whereabouts(lambda: where))
    there = dict(scene.bands())
    assert there == dict(RamanScene(cycled("zn-bare"), 1).bands())

    def share(band, **moved):
        nonlocal where
        where = Displacement(**{"x_um": 0.0, "y_um": 0.0, "z_um": 0.0, **moved})
        return dict(scene.bands())[band] / there[band]

    # Along the front the film is as uneven as the deposit, and the electrolyte is not.
    along = [share(FILM_HYDROXYL, x_um=x) for x in np.arange(-200, 200, 20.0)]
    assert 0.5 < min(along) < 0.98 * max(along) < 2.0
    assert np.std(along) / np.mean(along) == pytest.approx(0.3 * 0.45, rel=0.5)
    assert share(WATER[0], x_um=100.0) == 1.0
    assert share(FILM_HYDROXYL, x_um=345.0) == 0.0  # the bare margin
    # Beside the front there is electrolyte on the one side and metal on the other.
    assert share(FILM_HYDROXYL, y_um=-60.0) == pytest.approx(0, abs=1e-3)
    assert share(WATER[0], y_um=-60.0) == 1.0
    assert share(WATER[0], y_um=60.0) == pytest.approx(0, abs=1e-3)
    assert share(WATER[0], z_um=50.0) == pytest.approx(0.5)


def test_a_coated_electrode_grows_no_film_to_speak_of():
    weights = dict(RamanScene(cycled("zn-lzs"), 1).bands())
    assert weights[FILM_HYDROXYL] < 0.033  # umol/cm2, the limit of detection
    assert weights[SULFATE_STRETCH] == pytest.approx(1.0, abs=0.01)


def test_a_sodium_cell_shows_luminescence_only():
    assert RamanScene(Cell("na-znag"), 1).bands() == []


def test_counts_follow_power_and_time():
    scene = RamanScene(Cell("zn-bare"), 1)
    weak = scene.counts(AXIS, 5.0, 1.0) - scene.counts(AXIS, 0.0, 1.0)
    strong = scene.counts(AXIS, 10.0, 10.0) - scene.counts(AXIS, 0.0, 10.0)
    assert strong.mean() / weak.mean() == pytest.approx(20.0, rel=0.1)


def test_without_laser_there_is_offset_dark_current_and_the_stray_light_of_the_lamp():
    scene = RamanScene(Cell("zn-bare"), 1)
    assert np.median(scene.counts(AXIS, 0.0, 1.0)) == pytest.approx(102, abs=2)
    assert np.median(scene.counts(AXIS, 0.0, 1.0, lamp=True)) == pytest.approx(502, abs=5)


def test_the_detector_saturates():
    counts = RamanScene(Cell("zn-bare"), 1).counts(AXIS, 100.0, 60.0)
    assert counts.max() == 65535


def test_any_axis_may_be_asked_for():
    scene = RamanScene(Cell("zn-bare"), 1)
    falling = np.linspace(1200, 800, 401)
    counts = scene.counts(falling, 10.0, 10.0)
    assert counts.shape == (401,)
    assert abs(falling[np.argmax(counts)] - 981.0) <= 3.0


def test_the_noise_belongs_to_the_instrument_and_its_seed():
    first, again, other = (RamanScene(Cell("zn-bare", 9), seed) for seed in (1, 1, 2))
    spectrum = first.counts(AXIS, 10.0, 1.0)
    assert np.array_equal(spectrum, again.counts(AXIS, 10.0, 1.0))
    assert not np.array_equal(spectrum, other.counts(AXIS, 10.0, 1.0))


def test_cosmic_rays_are_rare_and_high():
    scene = RamanScene(Cell("zn-bare"), 4)
    hit = sum(scene.counts(AXIS, 0.0, 10.0).max() > 500 for _ in range(200))
    assert 15 < hit < 70  # 0.02 per second: 36 of 200 have at least one
