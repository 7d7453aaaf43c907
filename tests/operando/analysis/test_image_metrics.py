"""What the frames of a whole run tell, against the charge that was passed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import Metric, metrics
from operando.runs import Run

SCALE = 0.5
CAMERA = {"micrometre_per_pixel": SCALE, "margin_columns": [0, 112]}
RATE_PX_H = 60.0


def _found(make_run: Callable[..., Any], synthetic: Any, camera: Any, every_s: float) -> Any:
    """Evaluate a run whose deposit grows 60 pixels per hour of plating, two plate-strip cycles."""
    told = make_run(calibration={"camera": camera})
    columns = synthetic.galvanostatic((1.0, 1.0))
    told.stream("potentiostat", "potentiostat", columns)
    ends = columns["t"][np.flatnonzero(np.diff(columns["half_cycle"]))]
    at = np.concatenate(([-20.0], np.arange(every_s, ends[0], every_s)))
    heights = RATE_PX_H * np.maximum(at, 0) / 3600
    frames = np.stack([synthetic.side_view(height, seed=n) for n, height in enumerate(heights)])
    placed = {"t_before": at - 0.5, "t_after": at + 0.5}
    light = {"lamp": np.ones(len(at)), "laser": np.zeros(len(at))}
    told.stream("camera", "camera", placed | light, {"image": frames})
    told.stop()
    return metrics(Run.from_documents(told.documents)), at


def _listed(metric: Metric) -> list[Any]:
    assert isinstance(metric.value, list)
    return metric.value


def test_speed_charge_and_compactness_of_a_growing_deposit(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    found, at = _found(make_run, synthetic, CAMERA, 200.0)
    assert _listed(found["front_speed_um_h"]) == [pytest.approx(RATE_PX_H * SCALE, rel=0.02), None]
    assert _listed(found["tip_growth_um_h"])[0] == pytest.approx(0.0, abs=0.5)
    assert "cycle 2" in str(found["front_speed_um_h"].reason)
    # 1 mA/cm2, of which an hour makes 1.7086 um of dense zinc.
    assert _listed(found["image_charge_mah_cm2"]) == pytest.approx(np.maximum(at, 0) / 3600)
    ratios = _listed(found["image_compactness"])
    assert ratios[0] is None
    assert ratios[-1] == pytest.approx(1.7086 / (RATE_PX_H * SCALE), rel=0.02)
    uncertainty = found["image_compactness"].uncertainty
    assert 0 < uncertainty[-1] < 0.02 * ratios[-1]
    assert "before the first half-cycle" in str(found["image_compactness"].reason)
    assert _listed(found["bubble_count"]) == [0.0] * len(at)
    assert found["image_region_count"].value == 1.0
    assert "columns 128 to the right edge" in str(found["image_region_count"].reason)


def test_two_frames_have_no_speed_and_an_image_without_scale_has_nothing(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    found, _ = _found(make_run, synthetic, CAMERA, 700.0)
    assert found["front_speed_um_h"].value is None
    assert "fewer than 3 frames in the plating of cycle 1" in str(found["front_speed_um_h"].reason)
    found, _ = _found(make_run, synthetic, {}, 700.0)
    for name in ("image_thickness_um", "bubble_count", "image_compactness", "image_region_count"):
        assert found[name].value is None
        assert "micrometre_per_pixel" in str(found[name].reason)


@pytest.mark.parametrize("every_s", [200.0, 700.0])  # with frames enough for a speed, without
def test_a_camera_that_declares_no_margin_tells_no_heights_and_what_needs_none(
    make_run: Callable[..., Any], synthetic: Any, every_s: float
) -> None:
    found, at = _found(make_run, synthetic, {"micrometre_per_pixel": SCALE}, every_s)
    for name in (
        "image_thickness_um",
        "image_thickness_end_of_plating_um",
        "image_compactness",
        "compactness",
        "front_speed_um_h",
    ):
        assert found[name].value is None
        assert "margin_columns" in str(found[name].reason)
    for name in ("image_roughness_um", "image_tip_um", "image_tip_count", "bubble_count"):
        assert len(_listed(found[name])) == len(at)
    assert found["image_region_count"].reason == "columns 0 to the right edge, no bare margin"


def test_the_uncertainty_of_the_scale_is_in_every_length_that_has_one(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    bare, _ = _found(make_run, synthetic, CAMERA, 200.0)
    told, _ = _found(
        make_run, synthetic, {**CAMERA, "micrometre_per_pixel_uncertainty": 0.02 * SCALE}, 200.0
    )
    for name in ("image_thickness_um", "image_compactness", "front_speed_um_h", "compactness"):
        value, without, within = bare[name].value, bare[name].uncertainty, told[name].uncertainty
        assert told[name].value == value
        for one, small, large in zip(value, without, within, strict=True):
            if one is not None and small is not None:
                assert large == pytest.approx(np.hypot(small, 0.02 * one)), name
        assert "without that of the scale" in str(bare[name].reason)
        assert "without that of the scale" not in str(told[name].reason)
