import math
from typing import Any

import numpy as np
import pytest

from operando.analysis.images import NoFrontError, Region, front, grey_levels
from operando.analysis.straight_lines import slope_per_hour

SCALE = 0.5
REGION = Region.beside((0, 112))


@pytest.mark.parametrize("height_px", [0.0, 3.7, 36.4, 149.6])
def test_the_height_of_a_deposit_returns_to_a_tenth_of_a_pixel(
    synthetic: Any, height_px: float
) -> None:
    found = front(synthetic.side_view(height_px), SCALE, REGION)
    assert found.thickness_um == pytest.approx(height_px * SCALE, abs=0.1 * SCALE)
    assert found.roughness_um < 0.1


@pytest.mark.parametrize("kind", ["u2", "u4", "f8"])
def test_the_same_frame_has_the_same_front_in_whatever_type_it_is_stored(
    synthetic: Any, kind: str
) -> None:
    for seed, tip_px in enumerate((0.0, 30.0, 90.0)):
        image = synthetic.side_view(20.0, tip_px=tip_px, seed=seed)
        rows, columns = np.mgrid[0:300, 0:480]
        image[np.abs(np.hypot(rows - 80, columns - 250) - 25) < 3] = 60
        found = front(image, SCALE)
        assert len(found.bubbles) == 1
        # Numbers that are not whole take the way that spares nothing.
        assert front(image.astype(kind), SCALE) == found
        assert front(np.asfortranarray(image), SCALE) == found
        assert front(image[:, :-1], SCALE) == front(image[:, :-1].astype(kind), SCALE)


def test_drift_of_the_stage_cancels(synthetic: Any) -> None:
    image = synthetic.side_view(36.4)
    moved = np.roll(image, -9, axis=0)
    moved[-9:] = image[-1]
    expected = front(image, SCALE, REGION).thickness_um
    assert front(moved, SCALE, REGION).thickness_um == pytest.approx(expected, abs=0.01)


def test_a_tip_is_found_where_it_is(synthetic: Any) -> None:
    found = front(synthetic.side_view(20.0, tip_px=60.0), SCALE, REGION)
    assert found.tip_column == pytest.approx(360, abs=4)
    assert found.tip_um == pytest.approx(30.0, abs=1.5)


def test_a_bubble_above_the_deposit_does_not_count(synthetic: Any) -> None:
    image = synthetic.side_view(30.0)
    clean = front(image, SCALE, REGION).thickness_um
    rows, columns = np.mgrid[0:300, 0:480]
    ring = np.abs(np.hypot(rows - 150, columns - 300) - 25) < 3
    image[ring] = 60
    assert front(image, SCALE, REGION).thickness_um == pytest.approx(clean, abs=0.02)


def test_a_dark_or_washed_out_frame_has_no_front(synthetic: Any) -> None:
    dark = (synthetic.side_view(30.0) * 0.05).astype(np.uint8)
    for image in (dark, np.full((300, 480), 255, np.uint8), np.zeros((300, 480), np.uint8)):
        with pytest.raises(NoFrontError, match="contrast"):
            front(image, SCALE, REGION)


def test_a_margin_outside_the_frame_is_told(synthetic: Any) -> None:
    with pytest.raises(NoFrontError, match="bare margin"):
        front(synthetic.side_view(30.0), SCALE, Region((900, 950)))


def test_without_a_declared_margin_there_is_no_height_but_the_rest(synthetic: Any) -> None:
    # A deposit over the full width: columns that were taken for bare once made its height zero.
    covered = np.roll(synthetic.side_view(0.0), -40, axis=0)
    covered[-40:] = 40
    found = front(covered, SCALE)
    assert (found.thickness_um, found.uncertainty_um, found.reference_row) == (None, None, None)
    assert str(found.region) == "columns 0 to the right edge, no bare margin"
    image = synthetic.side_view(20.0, tip_px=60.0)
    beside, alone = front(image, SCALE, REGION), front(image, SCALE, Region(None, 128))
    for name in ("roughness_um", "peak_to_valley_um", "tip_um", "tip_columns", "bubbles"):
        assert getattr(alone, name) == pytest.approx(getattr(beside, name), rel=1e-9)


def test_the_result_says_where_it_was_measured(synthetic: Any) -> None:
    region = Region((0, 100), 140, 400)
    assert front(synthetic.side_view(30.0), SCALE, region).region == region


def test_tips_are_counted_by_how_far_they_stand_out(synthetic: Any) -> None:
    image = synthetic.side_view(20.0, tip_px=60.0)
    second = synthetic.side_view(20.0, tip_px=50.0, seed=1)
    image[:, 180:300] = second[:, 300:420]  # another one at column 240
    found = front(image, SCALE, REGION)
    assert found.tip_columns == (pytest.approx(240, abs=4), pytest.approx(360, abs=4))
    assert found.peak_to_valley_um == pytest.approx(30.0, abs=2.0)
    assert front(synthetic.side_view(20.0), SCALE, REGION).tip_columns == ()


def test_a_deposit_that_grows_steadily_has_that_speed() -> None:
    slope, error = slope_per_hour(np.array([0.0, 600.0, 1200.0]), np.array([1.0, 2.0, 3.0]))
    assert slope == pytest.approx(6.0)
    assert error == pytest.approx(0.0, abs=1e-9)
    assert slope_per_hour(np.array([0.0, 600.0]), np.array([1.0, 2.0])) == (
        pytest.approx(6.0),
        None,
    )


def test_an_uneven_growth_has_the_standard_error_of_its_line() -> None:
    t = np.arange(200.0) * 60
    height = 3e-3 * t + np.random.default_rng(0).normal(0, 0.5, len(t))
    slope, error = slope_per_hour(t, height)
    assert error is not None
    assert error == pytest.approx(0.5 / math.sqrt(((t - t.mean()) ** 2).sum()) * 3600, rel=0.2)
    assert abs(slope - 10.8) < 3 * error


def test_a_frame_of_sixteen_bits_is_measured_in_grey_levels_of_eight(synthetic: Any) -> None:
    image = synthetic.side_view(30.0)
    found = front(image, SCALE, REGION)
    deeper = image.astype(np.uint16) << 8
    assert front(grey_levels(deeper), SCALE, REGION) == found
    assert grey_levels(image) is image
    # The noise of a dark frame is no contrast, however many bits it has.
    dark = np.random.default_rng(2).integers(0, 5 << 8, image.shape).astype(np.uint16)
    with pytest.raises(NoFrontError, match="no contrast"):
        front(grey_levels(dark), SCALE)
