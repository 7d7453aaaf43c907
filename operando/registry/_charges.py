"""Charges and what they would make of the metal."""

from operando.registry._definition import Definition

CHARGES = (
    Definition(
        "current_zero_ua",
        "uA",
        "scalar",
        "What the current read before the run with the cell open, in the range of the first "
        "half-cycle; positive oxidises the working electrode. Taken off charges, never off rows.",
        "usual definition",
    ),
    Definition(
        "plated_capacity_mah_cm2",
        "mAh/cm2",
        "by cycle",
        "Charge plated: trapezoid of the measured current on the instrument's own time, and before "
        "the first row its current times the time since the step's edge, where that was recorded; "
        "less the zero of the current where it was measured.",
        "usual definition",
    ),
    Definition(
        "cumulative_plated_mah_cm2",
        "mAh/cm2",
        "scalar",
        "Charge plated on the metal electrode in the whole run; stripping is not added.",
        "usual definition",
    ),
    Definition(
        "depth_of_discharge_pct",
        "%",
        "scalar",
        "Mean stripped charge of the complete half-cycles over the charge available on the metal "
        "electrode at the start: that of its foil and what was deposited before. One electrode "
        "counts.",
        "usual definition",
    ),
    Definition(
        "depth_of_discharge_planned_pct",
        "%",
        "scalar",
        "Charge that the technique asks each strip for over that available on the metal "
        "electrode; None where strips end at a potential.",
        "usual definition",
    ),
)
