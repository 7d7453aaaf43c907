import contextlib
import json
import time

import imageio.v3
import numpy as np
import pytest
import skimage.io
from skimage.registration import phase_cross_correlation

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.micrograph import BARE_COLUMNS, HEIGHT, WIDTH, Micrograph, SideView, bmp
from sim_devices.truth import Truth, read_truth
from sim_devices.whereabouts import Displacement, Whereabouts


@pytest.fixture
def plated():
    cell = Cell("na-znag", seed=1)
    for _ in range(1440):
        cell.advance(10.0, "i", -0.5)
    return cell


@pytest.fixture
def truth(tmp_path):
    with Truth(tmp_path / "truth") as truth:
        yield truth


def edge_rows(picture):
    """The row in each column where the picture has fallen half way from bright to dark."""
    averaged = picture.astype(float)
    half = 0.5 * (averaged[100:200].mean(axis=0) + averaged[-100:].mean(axis=0))
    below = averaged[:, None, :].min(axis=1) < half
    smooth = np.cumsum(~below, axis=0)[-1]
    return smooth


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (7, 5), (3, 8)])
def test_other_programs_open_the_bmp_and_see_the_same_pixels(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path / "frame.bmp"
    path.write_bytes(bmp(picture))
    for seen in (skimage.io.imread(path), imageio.v3.imread(path)):
        grey = seen if seen.ndim == 2 else seen[..., 0]
        assert np.array_equal(grey, picture)


def test_the_deposit_is_as_thick_as_its_charge_and_compactness_say(plated):
    view = SideView(plated, seed=1)
    picture, scene = view.frame()
    expected_um = plated.working.deposit_mah_cm2 * 8.861 / 0.973
    assert scene.thickness_um == pytest.approx(expected_um, rel=1e-3)
    edges = edge_rows(picture)
    height_px = edges[: BARE_COLUMNS - 10].mean() - edges[BARE_COLUMNS + 10 :].mean()
    assert height_px * view.micrometre_per_pixel == pytest.approx(expected_um, abs=0.5)


def test_a_picture_is_displaced_as_the_cell_is():
    cell = Cell("zn-bare", seed=1)  # of a rough deposit
    for _ in range(900):
        cell.advance(10.0, "i", -2.0)
    where = Displacement(0.0, 0.0, 0.0)
    view = SideView(cell, seed=1, whereabouts=Whereabouts(lambda: where))
    assert np.array_equal(view.scene().heights_px, SideView(cell, seed=1).scene().heights_px)

    def front(picture):
        # The light is uneven and stays where it is: only what changes from row to row is compared.
        return np.diff(picture[760:1060, 300:1500].astype(float)[::4], axis=0)

    before = front(view.frame()[0])
    where = Displacement(30.0, -10.0, 0.0)
    moved, scene = view.frame()
    shift, _, _ = phase_cross_correlation(before, front(moved), normalization=None)
    # Down by 10 um and to the right by 30 um, of every fourth row; told is the way back.
    assert shift == pytest.approx([-5, -60], abs=1)
    assert scene.told()["x_um"] == 30.0
    assert (scene.heights_px[: BARE_COLUMNS + 60] == 0).all()
    where = Displacement(0.0, 0.0, 40.0)
    assert np.abs(front(view.frame()[0])).max() < 0.7 * np.abs(before).max()
    for away in (-700.0, 700.0):  # nothing but electrode, nothing but electrolyte
        where = Displacement(0.0, away, 0.0)
        rest = view.frame()[0].astype(float)
        assert (rest[:100].mean() > 100) == (rest[-100:].mean() > 100) == (away < 0)


def test_a_frame_is_dark_without_the_lamp_and_washed_out_by_the_laser(plated):
    view = SideView(plated, seed=1)
    lit, dark = view.frame()[0], view.frame(lamp=False)[0]
    drowned = view.frame(laser=True)[0]
    assert lit.mean() > 80
    assert dark.mean() < 10
    assert drowned.min() > 190
    assert drowned.std() < 0.3 * lit.std()


def test_frames_differ_in_noise_only_and_repeat_with_the_seed(plated):
    view, again = SideView(plated, seed=1), SideView(plated, seed=1)
    first, second = view.frame()[0], view.frame()[0]
    assert not np.array_equal(first, second)
    assert abs(first.astype(int) - second).mean() < 8
    assert np.array_equal(first, again.frame()[0])


def test_bubbles_come_with_the_gas():
    cell = Cell("zn-bare", seed=1)
    assert SideView(cell).scene().bubbles == ()
    for _ in range(3):
        for current in (-2.0, 2.0):
            for _ in range(360):
                cell.advance(10.0, "i", current)
    view = SideView(cell)
    bubbles = view.scene().bubbles
    assert bubbles
    assert all(0 < bubble.radius_px * view.micrometre_per_pixel <= 60 for bubble in bubbles)
    assert view.frame()[0].shape == (HEIGHT, WIDTH)


def test_a_picture_of_a_dead_cell_can_be_drawn():
    cell = Cell("zn-bare", seed=1)
    for _ in range(4000):
        cell.advance(60.0, "i", -1.0)
    assert SideView(cell).frame()[0].shape == (HEIGHT, WIDTH)


def newer_than(micrograph, host_time):
    while True:
        note = json.loads((micrograph.folder / "frame.json").read_text())
        if note["host_time"] > host_time:
            return note
        time.sleep(0.005)


def settled(note):
    """Return what is in a file that is not changed any more; some pictures are on their way."""
    before, end = "", time.monotonic() + 50
    while (now := note.read_text()) != before:
        assert time.monotonic() < end
        before = now
        time.sleep(0.3)
    return before


def test_the_folder_holds_one_fresh_picture_with_its_age(plated, truth):
    lights = Lights(SimulatedClock())
    micrograph = Micrograph(SideView(plated, seed=1), lights, truth)
    try:
        assert micrograph.address == f"pylon-emulation://{micrograph.folder}"
        assert {path.name for path in micrograph.folder.iterdir()} == {"frame.bmp", "frame.json"}
        first = newer_than(micrograph, 0.0)
        later = newer_than(micrograph, first["host_time"])
        assert later["number"] > first["number"]
        assert later["cell_t"] == plated.t
        assert skimage.io.imread(micrograph.folder / "frame.bmp").mean() < 10
        lights.lamp = True
        newer_than(micrograph, time.time())
        assert skimage.io.imread(micrograph.folder / "frame.bmp").mean() > 80
        lights.laser_mw = 5.0
        newer_than(micrograph, time.time())
        assert skimage.io.imread(micrograph.folder / "frame.bmp").min() > 190
    finally:
        micrograph.close()
    assert not micrograph.folder.exists()


def test_only_frames_in_the_light_are_in_the_truth(plated, truth):
    lights = Lights(SimulatedClock())
    micrograph = Micrograph(SideView(plated), lights, truth)
    try:
        newer_than(micrograph, time.time())
        newer_than(micrograph, time.time())
        assert [line["event"] for line in read_truth(truth.folder, "camera")] == ["mounted"]
        lights.lamp = True
        note = newer_than(micrograph, time.time())
    finally:
        micrograph.close()
    frames = {line["number"]: line for line in read_truth(truth.folder, "camera")[1:]}
    assert frames[note["number"]]["cell_t"] == note["cell_t"]
    assert frames[note["number"]]["thickness_um"] == pytest.approx(18.2, rel=0.03)


def test_a_stalled_microscope_shows_no_new_pictures(plated, truth):
    micrograph = Micrograph(SideView(plated), Lights(SimulatedClock()), truth)
    try:
        micrograph.inject("stall")
        before = settled(micrograph.folder / "frame.json")
        micrograph.inject("resume")
        newer_than(micrograph, json.loads(before)["host_time"])
        with pytest.raises(ValueError, match="garble"):
            micrograph.inject("garble")
    finally:
        micrograph.close()


def test_pictures_can_be_left_out_and_come_late(plated, truth):
    micrograph = Micrograph(SideView(plated), Lights(SimulatedClock()), truth)
    note = micrograph.folder / "frame.json"
    with contextlib.closing(micrograph):
        micrograph.inject("slow", delay_s=0.2)
        seen = newer_than(micrograph, time.time())
        assert note.stat().st_mtime - seen["host_time"] > 0.19
        micrograph.inject("resume")
        micrograph.inject("drop", count=10**6)
        before = settled(note)
        micrograph.inject("resume")
        newer_than(micrograph, json.loads(before)["host_time"])


def test_a_light_holds_the_clock_once_however_often_it_is_switched_on():
    clock = SimulatedClock(100.0)
    lights = Lights(clock)
    lights.lamp = True
    lights.lamp = True
    lights.laser_mw = 5.0
    lights.laser_mw = 10.0
    assert clock.open_exchanges == ("lamp", "laser")
    lights.lamp = False
    lights.laser_mw = 0.0
    lights.laser_mw = 0.0
    assert clock.open_exchanges == ()
    with pytest.raises(ValueError, match="negative"):
        lights.laser_mw = -1.0
