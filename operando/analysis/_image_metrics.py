"""What the frames of a run show: the deposit's front."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.analysis import images, thickness
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    Placed,
    listed,
    placed_rows,
    undefined,
)
from operando.analysis.segments import HalfCycle
from operando.runs import Run, Stream

# A frame stands for the end of a plating when no more than this share of its charge lies between.
END_OF_PLATING_SHARE = 0.05


_FRAMES = ("image_thickness_um", "image_roughness_um", "image_tip_um")
_END_FRAMES = ("image_thickness_end_of_plating_um", "compactness")


def image_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the deposit's height, roughness, tip and compactness."""
    names = (*_FRAMES, *_END_FRAMES)
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
    notes.append(str(region))
    told = {
        "image_thickness_um": listed(
            "image_thickness_um",
            [None if front is None else front.thickness_um for front in seen],
            [None if front is None else front.uncertainty_um for front in seen],
            notes,
        ),
        "image_roughness_um": listed(
            "image_roughness_um",
            [None if front is None else front.roughness_um for front in seen],
            None,
            notes,
        ),
        "image_tip_um": listed(
            "image_tip_um",
            [None if front is None else front.tip_um for front in seen],
            None,
            notes,
        ),
    }
    return told | _end_of_plating(found, stream, seen)


def region_of(told: Mapping[str, Any]) -> images.Region:
    """Return where a camera's calibration says the margin and the deposit are."""
    margin, deposit = told.get("margin_columns"), told.get("deposit_columns")
    default = images.Region()
    return images.Region(
        *(margin or (default.margin_start, default.margin_stop)),
        *(deposit or (default.deposit_start, default.deposit_stop)),
    )


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
        return images.front(image, scale, region)
    except images.NoFrontError as error:
        return str(error)


def _end_of_plating(
    found: Evaluation, stream: Stream, fronts: list[images.Front | None]
) -> dict[str, Metric]:
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_END_FRAMES, found.no_halves)
    placed = placed_rows(stream, "camera")
    seen = np.flatnonzero([front is not None for front in fronts])
    before = [
        fronts[row].thickness_um  # type: ignore[union-attr]  # rows of fronts that were seen
        for row in seen
        if placed.after_s[row] <= found.begin_s
    ]
    zero = math.fsum(before) / len(before) if before else 0.0
    basis = (
        f"less the height before the first half-cycle, {zero:.2f} um"
        if before
        else "no frame before the first half-cycle: height above the bare margin"
    )
    metal = thickness.METALS[cell.metal]
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
        front = fronts[row]
        assert front is not None
        height = front.thickness_um - zero
        error = front.uncertainty_um * (math.sqrt(2.0) if before else 1.0)
        heights.append(height)
        height_errors.append(error)
        net = found.ledger.net_plated_mah_cm2(float(placed.middle_s[row]))
        if net <= 1e-6 or height <= 3 * error:
            ratios.append(None)
            ratio_errors.append(None)
            missing.append("a deposit too thin to tell its compactness")
            continue
        ratio = thickness.theoretical_thickness_um(net, metal) / height
        width = float(placed.after_s[row] - placed.before_s[row])
        rate = abs(plating.mean_current_a) * 1e3 / cell.area_cm2 / 3600
        timing = rate * width / math.sqrt(12.0) / net if math.isfinite(width) else 0.0
        current = found.accuracy.relative(plating.mean_current_a)
        ratios.append(ratio)
        ratio_errors.append(ratio * math.hypot(error / height, timing, current))
    notes = [*missing, basis]
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
