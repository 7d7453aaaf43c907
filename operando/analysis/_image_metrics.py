"""What the frames of a run show: the deposit's front, its tips, and bubbles above it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.analysis import images, thickness
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    Placed,
    flat,
    listed,
    metric,
    placed_rows,
    undefined,
)
from operando.analysis.segments import HalfCycle
from operando.analysis.straight_lines import slope_per_hour
from operando.runs import Floats, Run, Stream

# A frame stands for the end of a plating when no more than this share of its charge lies between.
END_OF_PLATING_SHARE = 0.05


# A rate needs so many frames within one plating.
FEWEST_FRAMES = 3

NO_MARGIN = (
    "no bare margin is declared (margin_columns of the camera): heights have nothing to count from"
)
_BY_FRAME = (
    "image_thickness_um",
    "image_roughness_um",
    "image_peak_to_valley_um",
    "image_tip_um",
    "image_tip_column_px",
    "image_tip_count",
    "bubble_count",
    "bubble_volume_nl",
)
_AGAINST_CHARGE = ("image_charge_mah_cm2", "image_compactness")
_RATES = ("front_speed_um_h", "tip_growth_um_h")
_END_FRAMES = ("image_thickness_end_of_plating_um", "compactness")
# What counts from the bare margin: front_speed_um_h, too, as the stage's drift would be in it.
_OF_HEIGHT = ("image_thickness_um", "image_compactness", "front_speed_um_h", *_END_FRAMES)
# What is proportional to the scale, or to its inverse, and has an uncertainty.
_OF_SCALE = (
    "image_thickness_um",
    "image_thickness_end_of_plating_um",
    "image_compactness",
    "compactness",
    *_RATES,
)


def image_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the deposit's height, roughness, tips and compactness, and the bubbles above it."""
    names = (*_BY_FRAME, "image_region_count", *_AGAINST_CHARGE, *_RATES, *_END_FRAMES)
    stream = found.run.streams.get("camera")
    if stream is None or not len(stream):
        return undefined(names, "the run has no image")
    told_camera = found.calibration.get("camera") or {}
    scale = told_camera.get("micrometre_per_pixel")
    if not scale:
        return undefined(names, "the camera is not calibrated: no micrometre_per_pixel")
    region = region_of(told_camera)
    fronts = _fronts(found.run, stream, float(scale), region)
    if not fronts:
        return undefined(names, "no frame could be read")
    seen = [front if isinstance(front, images.Front) else None for front in fronts]
    notes = [front if isinstance(front, str) else None for front in fronts]
    told = {
        **_by_frame(seen, notes, region),
        **_against_charge(found, stream, seen, notes),
        **_end_of_plating(found, stream, seen),
    }
    error = told_camera.get("micrometre_per_pixel_uncertainty")
    relative = None if error is None else float(error) / float(scale)
    told |= {name: _with_scale(told[name], relative) for name in _OF_SCALE}
    return told if region.margin is not None else told | undefined(_OF_HEIGHT, NO_MARGIN)


def _with_scale(one: Metric, relative: float | None) -> Metric:
    """Return a metric with the scale's relative standard uncertainty in its own.

    ``None``: the bench file tells none, and that is said.
    """
    if one.value is None:
        return one
    if relative is None:
        lacking = "u without that of the scale (micrometre_per_pixel_uncertainty)"
        return replace(one, reason="; ".join(filter(None, (one.reason, lacking))))
    errors = flat(one.uncertainty)
    if one.uncertainty is None:
        errors = [None] * len(flat(one.value))
    both = [
        None if value is None or error is None else math.hypot(error, relative * value)
        for value, error in zip(flat(one.value), errors, strict=True)
    ]
    return replace(one, uncertainty=both if isinstance(one.value, list) else both[0])


def _by_frame(
    seen: Sequence[images.Front | None], notes: Sequence[str | None], region: images.Region
) -> dict[str, Metric]:
    def each(number: Callable[[images.Front], float | None]) -> list[Number]:
        told = [None if front is None else number(front) for front in seen]
        return [None if one is None else float(one) for one in told]

    told = {
        "image_thickness_um": each(lambda front: front.thickness_um),
        "image_roughness_um": each(lambda front: front.roughness_um),
        "image_peak_to_valley_um": each(lambda front: front.peak_to_valley_um),
        "image_tip_um": each(lambda front: front.tip_um),
        "image_tip_column_px": each(lambda front: front.tip_column),
        "image_tip_count": each(lambda front: len(front.tip_columns)),
    }
    gas = {
        "bubble_count": each(lambda front: len(front.bubbles)),
        "bubble_volume_nl": each(lambda front: front.bubble_volume_nl),
    }
    errors = {"image_thickness_um": each(lambda front: front.uncertainty_um)}
    where = [*notes, str(region)]
    whole = [*notes, "of the whole frame; a lower bound, as overlapping rims may count as one"]
    found = {name: listed(name, told[name], errors.get(name), where) for name in told}
    found |= {name: listed(name, gas[name], None, whole) for name in gas}
    # One region of one electrode is no reliable measure: that it was one is told with it.
    found["image_region_count"] = metric("image_region_count", 1.0, reason=str(region))
    return found


def region_of(told: Mapping[str, Any]) -> images.Region:
    """Return where a camera's calibration says the margin and the deposit are.

    Nothing is assumed: no ``margin_columns``, no margin.
    """
    margin, deposit = told.get("margin_columns"), told.get("deposit_columns")
    bare = None if margin is None else (int(margin[0]), int(margin[1]))
    if deposit is not None:
        return images.Region(bare, int(deposit[0]), int(deposit[1]))
    return images.Region() if bare is None else images.Region.beside(bare)


def _fronts(
    run: Run, stream: Stream, scale: float, region: images.Region
) -> list[images.Front | str]:
    def more(known: tuple[images.Front | str, ...]) -> Iterator[images.Front | str]:
        if "camera_image" not in stream.assets:
            return
        frames = stream.asset("camera_image").rows(len(known))
        # A frame may be in the file before its event has arrived: the events' rows count.
        for row, image in zip(range(len(known), len(stream)), frames, strict=False):
            yield _front_of(image, scale, region, lamp[row] != 0, laser[row] == 1)

    lamp, laser = stream.columns["camera_lamp"], stream.columns["camera_laser"]
    return list(run.continued(("fronts", scale, region), more))


def _front_of(
    image: NDArray[Any], scale: float, region: images.Region, lamp_on: bool, laser_on: bool
) -> images.Front | str:
    if not lamp_on:
        return "a frame was taken without the lamp"
    if laser_on:
        return "a frame was taken with the laser on"
    try:
        return images.front(images.grey_levels(image), scale, region)
    except images.NoFrontError as error:
        return str(error)


@dataclass(frozen=True)
class _Bare:
    """The height that frames show before anything was plated; what is taken off the others."""

    height_um: float
    frames: int

    @property
    def error_factor(self) -> float:
        """Return how much larger the uncertainty of a difference to it is."""
        return math.sqrt(2.0) if self.frames else 1.0

    def __str__(self) -> str:
        if not self.frames:
            return "no frame before the first half-cycle: height above the bare margin"
        return f"less the height before the first half-cycle, {self.height_um:.2f} um"


def _bare(found: Evaluation, placed: Placed, fronts: Sequence[images.Front | None]) -> _Bare:
    before = [
        front.thickness_um
        for row, front in enumerate(fronts)
        if front is not None
        and front.thickness_um is not None
        and placed.after_s[row] <= found.begin_s
    ]
    return _Bare(math.fsum(before) / len(before) if before else 0.0, len(before))


def _above(front: images.Front | None, bare: _Bare) -> tuple[float, float] | None:
    """Return a frame's height above that before plating, and its uncertainty, um."""
    if front is None or front.thickness_um is None or front.uncertainty_um is None:
        return None
    return front.thickness_um - bare.height_um, front.uncertainty_um * bare.error_factor


def _compactness(
    found: Evaluation,
    placed: Placed,
    row: int,
    height_um: float,
    error_um: float,
    rate_mah_cm2_s: float,
) -> tuple[float, float] | None:
    """Return compactness and its uncertainty in a frame; None if the deposit is too thin."""
    assert found.cell is not None
    net = found.ledger.net_plated_mah_cm2(float(placed.middle_s[row]))
    if net <= 1e-6 or height_um <= 3 * error_um:
        return None
    metal = thickness.METALS[found.cell.metal]
    ratio = thickness.theoretical_thickness_um(net, metal) / height_um
    width = float(placed.after_s[row] - placed.before_s[row])
    timing = rate_mah_cm2_s * width / math.sqrt(12.0) / net if math.isfinite(width) else 0.0
    current = found.accuracy.relative(rate_mah_cm2_s * 3.6 * found.cell.area_cm2)
    return ratio, ratio * math.hypot(error_um / height_um, timing, current)


def _against_charge(
    found: Evaluation,
    stream: Stream,
    fronts: Sequence[images.Front | None],
    notes: Sequence[str | None],
) -> dict[str, Metric]:
    """Return each frame's charge and compactness, and how fast front and tip grow."""
    if found.cell is None or not found.halves:
        return undefined((*_AGAINST_CHARGE, *_RATES), found.no_halves)
    placed = placed_rows(stream, "camera")
    middle = placed.middle_s[: len(fronts)]
    bare = _bare(found, placed, fronts)
    begins_s = np.array([half.t_s[0] for half in found.halves])
    charges: list[Number] = []
    ratios: list[Number] = []
    errors: list[Number] = []
    reasons = list(notes)
    for row, front in enumerate(fronts):
        when = float(middle[row])
        charges.append(found.ledger.net_plated_mah_cm2(when) if not math.isnan(when) else None)
        told = None
        height = _above(front, bare)
        if height is not None and not math.isnan(when):
            half = found.halves[max(int(np.searchsorted(begins_s, when, "right")) - 1, 0)]
            rate = abs(half.mean_current_a) * 1e3 / found.cell.area_cm2 / 3600
            told = _compactness(found, placed, row, *height, rate)
            if told is None:
                reasons.append("a deposit too thin to tell its compactness")
        ratios.append(told and told[0])
        errors.append(told and told[1])
    found_now = {
        "image_charge_mah_cm2": listed("image_charge_mah_cm2", charges),
        "image_compactness": listed(
            "image_compactness", ratios, errors, [*reasons, str(bare)], "no frame shows a deposit"
        ),
    }
    seen = [(row, front) for row, front in enumerate(fronts) if front is not None]
    at_s = middle[[row for row, _ in seen]]
    thick = np.array([front.thickness_um for _, front in seen], dtype=np.float64)
    tips = np.array([front.tip_um for _, front in seen])
    for name, heights in (("front_speed_um_h", thick), ("tip_growth_um_h", tips)):
        found_now[name] = _rate(found, name, at_s, heights)
    return found_now


def _rate(found: Evaluation, name: str, at_s: Floats, heights_um: Floats) -> Metric:
    values: list[Number] = []
    errors: list[Number] = []
    missing: list[str | None] = []
    for number, (plating, _) in found.cycles.items():
        value = error = None
        if plating is not None:
            inside = (at_s >= plating.t_s[0]) & (at_s <= plating.t_s[-1])
            inside &= np.isfinite(heights_um)
            if inside.sum() >= FEWEST_FRAMES:
                value, error = slope_per_hour(at_s[inside], heights_um[inside])
        if value is None:
            missing.append(f"fewer than {FEWEST_FRAMES} frames in the plating of cycle {number}")
        values.append(value)
        errors.append(error)
    return listed(name, values, errors, missing, "the run has no plating")


def _end_of_plating(
    found: Evaluation, stream: Stream, fronts: Sequence[images.Front | None]
) -> dict[str, Metric]:
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_END_FRAMES, found.no_halves)
    placed = placed_rows(stream, "camera")
    seen = np.flatnonzero([front is not None for front in fronts])
    bare = _bare(found, placed, fronts)
    heights: list[Number] = []
    height_errors: list[Number] = []
    ratios: list[Number] = []
    ratio_errors: list[Number] = []
    missing: list[str | None] = []
    for number, (plating, _) in found.cycles.items():
        row = None if plating is None else _nearest_row(found, plating, seen, placed)
        if plating is None or not plating.ended or row is None:
            for values in (heights, height_errors, ratios, ratio_errors):
                values.append(None)
            missing.append(f"no frame at the end of plating of cycle {number}")
            continue
        height = _above(fronts[row], bare)
        heights.append(height and height[0])
        height_errors.append(height and height[1])
        rate = abs(plating.mean_current_a) * 1e3 / cell.area_cm2 / 3600
        told = height and _compactness(found, placed, row, *height, rate)
        if told is None:
            missing.append("a deposit too thin to tell its compactness")
        ratios.append(told and told[0])
        ratio_errors.append(told and told[1])
    notes = [*missing, str(bare)]
    return {
        "image_thickness_end_of_plating_um": listed(
            "image_thickness_end_of_plating_um", heights, height_errors, notes
        ),
        "compactness": listed("compactness", ratios, ratio_errors, missing),
    }


def _nearest_row(
    found: Evaluation, plating: HalfCycle, rows: NDArray[np.int64], placed: Placed
) -> int | None:
    """Return the row nearest to the end of a plating that still shows (nearly) all of it."""
    end = float(plating.t_s[-1])
    allowed = END_OF_PLATING_SHARE * plating.capacity_mah_cm2
    at_end = found.ledger.net_plated_mah_cm2(end)
    if not len(rows):
        return None
    row = int(rows[np.argmin(np.abs(placed.middle_s[rows] - end))])
    net = found.ledger.net_plated_mah_cm2(float(placed.middle_s[row]))
    return row if abs(net - at_end) <= allowed else None
