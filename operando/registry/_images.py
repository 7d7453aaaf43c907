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
        "frame.",
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
)
