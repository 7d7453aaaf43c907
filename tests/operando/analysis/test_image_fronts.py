from typing import Any

import numpy as np
import pytest

from operando.analysis.images import NoFrontError, Region, front

SCALE = 0.5


@pytest.mark.parametrize("height_px", [0.0, 3.7, 36.4, 149.6])
def test_the_height_of_a_deposit_returns_to_a_tenth_of_a_pixel(
    synthetic: Any, height_px: float
) -> None:
    found = front(synthetic.side_view(height_px), SCALE)
    assert found.thickness_um == pytest.approx(height_px * SCALE, abs=0.1 * SCALE)
    assert found.roughness_um < 0.1


def test_drift_of_the_stage_cancels(synthetic: Any) -> None:
    image = synthetic.side_view(36.4)
    moved = np.roll(image, -9, axis=0)
    moved[-9:] = image[-1]
    expected = front(image, SCALE).thickness_um
    assert front(moved, SCALE).thickness_um == pytest.approx(expected, abs=0.01)


def test_a_tip_is_found_where_it_is(synthetic: Any) -> None:
    found = front(synthetic.side_view(20.0, tip_px=60.0), SCALE)
    assert found.tip_column == pytest.approx(360, abs=4)
    assert found.tip_um == pytest.approx(30.0, abs=1.5)


def test_a_bubble_above_the_deposit_does_not_count(synthetic: Any) -> None:
    image = synthetic.side_view(30.0)
    clean = front(image, SCALE).thickness_um
    rows, columns = np.mgrid[0:300, 0:480]
    ring = np.abs(np.hypot(rows - 150, columns - 300) - 25) < 3
    image[ring] = 60
    assert front(image, SCALE).thickness_um == pytest.approx(clean, abs=0.02)


def test_a_dark_or_washed_out_frame_has_no_front(synthetic: Any) -> None:
    dark = (synthetic.side_view(30.0) * 0.05).astype(np.uint8)
    for image in (dark, np.full((300, 480), 255, np.uint8), np.zeros((300, 480), np.uint8)):
        with pytest.raises(NoFrontError, match="contrast"):
            front(image, SCALE)


def test_a_margin_outside_the_frame_is_told(synthetic: Any) -> None:
    with pytest.raises(NoFrontError, match="bare margin"):
        front(synthetic.side_view(30.0), SCALE, Region(margin_start=900, margin_stop=950))


def test_the_result_says_where_it_was_measured(synthetic: Any) -> None:
    region = Region(0, 100, 140, 400)
    assert front(synthetic.side_view(30.0), SCALE, region).region == region
