import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from operando.analysis.images import Region, front

SCALE = 0.5
REGION = Region.beside((0, 112))
SHAPE = (400, 640)


def _with_bubbles(
    image: NDArray[np.uint8], *bubbles: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Darken the rims of bubbles given as column, row and radius, pixels."""
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    drawn = image.astype(np.float64)
    for column, row, radius in bubbles:
        away = np.hypot(rows - row, columns - column) - radius
        drawn *= 1 - 0.55 * np.exp(-0.5 * (away / 2.0) ** 2)
    return np.rint(drawn).astype(np.uint8)


@pytest.fixture(name="plain")
def _plain(synthetic: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = synthetic.side_view(40.0, shape=SHAPE)
    return image


def test_each_bubble_is_counted_once_where_it_is(plain: NDArray[np.uint8]) -> None:
    drawn = [(180.0, 120.0, 18.0), (300.0, 200.0, 40.0), (470.0, 90.0, 60.0), (580.0, 220.0, 14.0)]
    found = front(_with_bubbles(plain, *drawn), SCALE)
    assert len(found.bubbles) == len(drawn)
    for bubble, (column, row, radius) in zip(found.bubbles, drawn, strict=True):
        assert bubble.column == pytest.approx(column, abs=1.0)
        assert bubble.row == pytest.approx(row, abs=1.0)
        assert bubble.radius == pytest.approx(radius, abs=1.0)
    volume = sum(4 / 3 * math.pi * (radius * SCALE * 1e-3) ** 3 * 1e3 for *_, radius in drawn)
    assert found.bubble_volume_nl == pytest.approx(volume, rel=0.05)


def test_two_bubbles_whose_rims_cross_are_two(plain: NDArray[np.uint8]) -> None:
    found = front(_with_bubbles(plain, (300, 150, 40), (360, 160, 35)), SCALE)
    assert sorted(round(one.radius / 5) for one in found.bubbles) == [7, 8]


def test_an_electrolyte_without_bubbles_has_none(plain: NDArray[np.uint8]) -> None:
    found = front(plain, SCALE)
    assert found.bubbles == ()
    assert found.bubble_volume_nl == 0.0


@pytest.mark.parametrize("radius", [12, 30])
def test_a_dark_piece_that_floats_is_no_bubble(plain: NDArray[np.uint8], radius: int) -> None:
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    plain[np.hypot(rows - 150, columns - 320) < radius] = 50
    assert front(plain, SCALE).bubbles == ()


def test_an_arc_is_no_bubble(plain: NDArray[np.uint8]) -> None:
    drawn = _with_bubbles(plain, (320, 150, 40))
    drawn[150:200] = plain[150:200]
    assert front(drawn, SCALE).bubbles == ()


def test_a_tip_is_no_bubble_and_shading_of_the_lamp_makes_none(synthetic: Any) -> None:
    image = synthetic.side_view(40.0, tip_px=120.0, shape=SHAPE).astype(np.float64)
    shaded = image * np.linspace(1.0, 0.6, SHAPE[1])[None, :]
    assert front(shaded.astype(np.uint8), SCALE).bubbles == ()


def test_a_bubble_that_sits_on_the_deposit_is_masked_out_of_the_front(
    plain: NDArray[np.uint8],
) -> None:
    clean = front(plain, SCALE, REGION)
    assert clean.reference_row is not None
    assert clean.thickness_um is not None
    base = clean.reference_row - clean.thickness_um / SCALE
    drawn = front(_with_bubbles(plain, (420, base - 24, 24)), SCALE, REGION)
    assert len(drawn.bubbles) == 1
    assert drawn.thickness_um == pytest.approx(clean.thickness_um, abs=0.05)
    assert drawn.tip_um == pytest.approx(clean.tip_um, abs=0.1)
