"""Frames of the deposit."""

from operando.registry._definition import Definition

IMAGES = (
    Definition(
        "theoretical_thickness_um",
        "um",
        "by cycle",
        "Thickness of the net charge (plated minus stripped since the start) at the end of "
        "plating, dense and without loss.",
        "Faraday's law",
    ),
    Definition(
        "image_thickness_um",
        "um",
        "by frame",
        "Mean height of the deposit's front, dendrites included, above the bare margin of the same "
        "frame; None where the camera declares no margin_columns.",
        "own definition, stated",
    ),
    Definition(
        "image_thickness_end_of_plating_um",
        "um",
        "by cycle",
        "image_thickness_um of the frame nearest to the end of plating (no more than 5 % of its "
        "charge away), less the mean of the frames before the first half-cycle, if there are any.",
        "own definition, stated",
    ),
    Definition(
        "compactness",
        "1",
        "by cycle",
        "Theoretical thickness of the net charge at that frame's time over "
        "image_thickness_end_of_plating_um.",
        "usual definition",
    ),
    Definition(
        "image_roughness_um",
        "um",
        "by frame",
        "Rq: standard deviation of the front about its straight line.",
        "usual definition",
    ),
    Definition(
        "image_tip_um",
        "um",
        "by frame",
        "Highest point of the front above its median.",
        "own definition, stated",
    ),
    Definition(
        "image_peak_to_valley_um",
        "um",
        "by frame",
        "Highest minus lowest point of the front about its straight line.",
        "usual definition",
    ),
    Definition(
        "image_tip_column_px",
        "px",
        "by frame",
        "Column in which the highest point of the front lies, from the left edge.",
        "own definition, stated",
    ),
    Definition(
        "image_tip_count",
        "1",
        "by frame",
        "Tip candidates: local maxima of the front whose prominence exceeds 3 Rq (and one pixel).",
        "own definition, stated",
    ),
    Definition(
        "bubble_count",
        "1",
        "by frame",
        "Bubbles above the front: dark rings of which more than 70 % of the circumference is "
        "verified, each erased before the next is looked for; columns they hide are no part of the "
        "front.",
        "own definition, stated",
    ),
    Definition(
        "bubble_volume_nl",
        "nL",
        "by frame",
        "Volume of spheres as large as those rings, 4/3 pi r^3: a lower bound of the gas there.",
        "own definition, stated",
    ),
    Definition(
        "image_region_count",
        "1",
        "scalar",
        "How many regions of the electrode the frames' heights are from; the reason says which.",
        "own definition, stated",
    ),
    Definition(
        "image_charge_mah_cm2",
        "mAh/cm2",
        "by frame",
        "Net charge plated when the frame was taken, against which thickness and roughness are "
        "drawn.",
        "own definition, stated",
    ),
    Definition(
        "image_compactness",
        "1",
        "by frame",
        "Theoretical thickness of that charge over image_thickness_um, less the mean of the frames "
        "before the first half-cycle, if there are any.",
        "usual definition",
    ),
    Definition(
        "front_speed_um_h",
        "um/h",
        "by cycle",
        "Slope of a straight line through image_thickness_um during plating, three frames at "
        "least.",
        "usual definition",
    ),
    Definition(
        "tip_growth_um_h",
        "um/h",
        "by cycle",
        "Slope of a straight line through image_tip_um during plating, three frames at least.",
        "own definition, stated",
    ),
)
