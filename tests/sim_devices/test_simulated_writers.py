"""Boxes that only write files: processes of their own that look at the one cell."""

import contextlib
import math
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from sim_devices.bench import Bench
from sim_devices.cell import Cell
from sim_devices.truth import Truth, read_truth
from sim_devices.writers import KINDS, WritingBox, afm, ftir, ultrasound, xrd
from sim_devices.writers.look import Look, look_at

BEGAN = datetime(2026, 11, 26, 12, 0, 0, 250_000, tzinfo=UTC)


def look(**changed):
    fresh = {
        "cell_t_s": 0.0,
        "metal": "zinc",
        "on_foil": True,
        "deposit_um": 0.0,
        "film_um": 0.0,
        "compactness": 0.55,
        "texture": (0.2, 0.3, 0.5),
        "bubbles_umol_cm2": 0.0,
        "temperature_k": 298.15,
    }
    return Look.of(fresh | changed)


def wait_for(what, seconds=30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_what_a_box_sees_is_the_state_of_the_cell():
    cell = Cell("zn-bare", seed=1)
    for _ in range(60):
        cell.advance(10.0, "i", -2.0)
    seen = Look.of(look_at(cell))
    electrode = cell.working
    assert seen.deposit_um == pytest.approx(1.708 * electrode.deposit_mah_cm2 / 0.55, rel=1e-3)
    assert seen.film_um == electrode.zhs_um > 0
    assert seen.bubbles_umol_cm2 > 0
    assert (seen.cell_t_s, seen.metal, seen.on_foil) == (600.0, "zinc", True)
    assert sum(seen.texture) == pytest.approx(1.0)
    assert not Look.of(look_at(Cell("zn-bare-half", seed=1))).on_foil


def test_a_film_takes_the_place_of_the_electrolyte_before_the_crystal():
    axis = np.array([1640.0, ftir.SHEET_HYDROXYL.centre_cm1])
    bare, some, thick = (ftir.absorbance(look(film_um=d), axis) for d in (0.0, 0.05, 50.0))
    assert bare[0] == pytest.approx(0.20, rel=0.01)
    assert bare[0] > some[0] > thick[0]
    assert thick[1] == pytest.approx(0.60, rel=0.01)
    # Thin films: in proportion to 2 d / d_p, with a depth of 0.46 um at 3500 cm-1.
    assert ftir.depth_um(axis)[1] == pytest.approx(0.464, rel=0.01)
    _, truth = ftir.measure(look(film_um=0.01), BEGAN, np.random.default_rng(0))
    assert truth["film_share"] == pytest.approx(2 * 0.01 / 0.464, rel=0.03)


def test_a_pattern_goes_from_the_foil_to_the_deposit():
    assert list(xrd.zinc_shares(look()).values()) == pytest.approx([1 / 3] * 3)
    thick = xrd.zinc_shares(look(deposit_um=100.0))
    assert list(thick.values()) == pytest.approx([0.2, 0.3, 0.5], rel=0.01)
    thin = xrd.zinc_shares(look(deposit_um=2.0))
    through = math.exp(-2 * 430 * 2e-4 * 0.55 / math.sin(math.radians(36.297 / 2)))
    assert thin["002"] == pytest.approx(0.2 * (1 - through) + through / 3)
    # Copper shows where it is not covered, and the film at small angles.
    angles = np.array([xrd.COPPER["200"][0], xrd.BASAL_DEG])
    on_copper = look(on_foil=False, film_um=1.0)
    assert (xrd.counts(on_copper, angles) > 2 * xrd.counts(look(), angles)).all()
    covered = look(on_foil=False, deposit_um=100.0)
    assert xrd.counts(covered, angles) == pytest.approx(xrd.counts(look(), angles), rel=0.01)


def test_roughness_grows_with_what_the_side_view_shows_of_it():
    assert afm.root_mean_square_nm(look()) == 25.0
    share = 0.3 * 0.45 * (20 / 400) ** 0.7
    rough = afm.root_mean_square_nm(look(deposit_um=4.0))
    assert rough == pytest.approx(math.hypot(25.0, 4000 * share))
    text, truth = afm.measure(look(deposit_um=4.0), BEGAN, np.random.default_rng(0))
    values = np.array([line.split() for line in text.splitlines() if line[0] != "#"], dtype=float)
    assert truth["sq_nm"] == pytest.approx(rough)
    assert 0.7 < truth["sa_nm"] / truth["sq_nm"] < 0.9  # 0.80 for a normal distribution
    assert values.shape == (afm.PIXELS, afm.PIXELS)
    assert values.std() > 1.1 * rough  # the sample is tilted


def test_an_echo_comes_sooner_from_a_deposit_and_smaller_through_gas():
    bare, plated = look(), look(deposit_um=3.0, compactness=1.0)
    earlier_s = ultrasound.delay_s(bare) - ultrasound.delay_s(plated)
    assert earlier_s == pytest.approx(2 * 3e-6 / 1557, rel=1e-3)
    assert ultrasound.amplitude_mv(plated) == pytest.approx(ultrasound.amplitude_mv(bare))
    # 1e-3 umol/cm2 of gas are 0.245 um of volume per area, in spheres of 20 um radius.
    shadow = ultrasound.shadow(look(bubbles_umol_cm2=1e-3))
    assert shadow == pytest.approx(3 * 0.2447 / (4 * 20), rel=0.01)
    gassy = ultrasound.amplitude_mv(look(bubbles_umol_cm2=1e-3))
    assert gassy == pytest.approx(ultrasound.amplitude_mv(bare) * (1 - shadow) ** 2)
    rough = look(deposit_um=10.0)
    assert ultrasound.amplitude_mv(rough) < 0.9 * ultrasound.amplitude_mv(plated)


@pytest.fixture
def box(tmp_path):
    cell = Cell("zn-bare", seed=1)
    with Truth(tmp_path / "truth") as truth:
        with contextlib.closing(WritingBox("xrd", cell, truth, tmp_path / "files")) as box:
            yield box


def test_a_file_is_opened_grows_and_is_whole(box, tmp_path):
    box.contact(False)
    box.contact(True)
    path = box.folder / "xrd-0001.xy"
    wait_for(lambda: path.exists() and path.stat().st_size)
    box.inject("stall")
    part = path.stat().st_size
    assert not box.start()  # it is busy
    time.sleep(0.15)
    assert path.stat().st_size == part
    assert read_truth(tmp_path / "truth", "xrd")[0]["event"] == "missed"
    box.inject("resume")
    wait_for(lambda: len(read_truth(tmp_path / "truth", "xrd")) == 2)
    assert path.stat().st_size > part
    assert path.read_text().splitlines()[-1].startswith("59.9")
    with pytest.raises(ValueError, match="no fault"):
        box.inject("fire")
    box.contact(True)
    wait_for(lambda: (box.folder / "xrd-0002.xy").exists())
    box.inject("die")
    wait_for(lambda: box._process.poll() is not None)
    assert not (box.folder / "xrd-0003.xy").exists()


def test_a_bench_starts_them_by_a_relay_and_without_one_they_begin_by_themselves(tmp_path):
    alone = Bench(tmp_path / "alone", "zn-bare", instruments=["afm"])
    with contextlib.closing(alone):
        wait_for(lambda: len(list((tmp_path / "alone" / "afm_files").glob("*.xyz"))) >= 2)
    with contextlib.closing(
        Bench(tmp_path / "wired", "zn-bare", instruments=["relay_board", *KINDS])
    ) as bench:
        board = bench._instruments["relay_board"]
        board._receive(b"relay on 7\r")
        files = tmp_path / "wired" / "ultrasound_files"
        wait_for(lambda: list(files.glob("*.csv")))
        assert not list((tmp_path / "wired" / "afm_files").iterdir())
        assert (tmp_path / "wired" / "xrd").read_text() == (
            f"folder://{(tmp_path / 'wired' / 'xrd_files').resolve()}\n"
        )


def lines_of(box, number):
    path = box.folder / f"xrd-{number:04d}.xy"
    wait_for(lambda: path.exists() and not box._busy)
    return path.read_bytes().splitlines()


def test_a_box_breaks_its_files_and_begins_again_after_a_power_cut(box, tmp_path):
    box.inject("clock-jump", seconds=-1e9)
    box.inject("out-of-range", value=-12345)
    box.start()
    lines = lines_of(box, 1)
    assert sum(b"-12345" in line for line in lines) == 1
    year = (datetime.now(UTC) - timedelta(seconds=1e9)).year
    assert lines[1].startswith(f"# started: {year}".encode())
    box.inject("garble")
    box.inject("drop-bytes", bytes=7)
    box.start()
    broken = lines_of(box, 2)
    assert sum(not row.isascii() for row in broken) == 1
    box.inject("refuse")
    assert not box.start()
    box.start()
    path = box.folder / "xrd-0003.xy"
    wait_for(lambda: path.exists() and path.stat().st_size)
    box.inject("power-cycle", seconds=0.01)
    wait_for(lambda: not box._busy)
    assert len(path.read_bytes()) < len(b"".join(broken))
    box.inject("drop")
    box.start()
    told = wait_for(lambda: [x for x in read_truth(tmp_path / "truth", "xrd") if "lost" in x])
    assert told[0]["lost"] == "drop"
    assert not (box.folder / "xrd-0004.xy").exists()
