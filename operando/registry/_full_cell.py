"""Full cells."""

from operando.registry._definition import Definition

FULL_CELL = (
    Definition(
        "charge_capacity_mah_g",
        "mAh/g",
        "by cycle",
        "Charge of the half-cycle that plates the anode, per mass of the cathode's active "
        "material.",
        "usual definition",
    ),
    Definition(
        "discharge_capacity_mah_g",
        "mAh/g",
        "by cycle",
        "Charge of the half-cycle that strips the anode, per mass of the cathode's active "
        "material. ce_pct is discharge over charge.",
        "usual definition",
    ),
    Definition(
        "capacity_retention_pct",
        "%",
        "scalar",
        "Discharge capacity of the last complete cycle over that of the first one which the "
        "protocol does not leave out of means and which had the same current; the note names both.",
        "usual definition",
    ),
    Definition(
        "rate_capacity_mah_g",
        "mAh/g",
        "by rate",
        "Median discharge capacity of the last three cycles of each rate, in their order; "
        "consecutive cycles of one current are a rate.",
        "usual definition",
    ),
    Definition(
        "rate_current_ma_g",
        "mA/g",
        "by rate",
        "Current of that discharge per mass of the cathode's active material.",
        "usual definition",
    ),
    Definition(
        "mean_charge_v",
        "V",
        "by cycle",
        "Mean voltage of the cathode against the anode over the charge, charging.",
        "usual definition",
    ),
    Definition(
        "mean_discharge_v",
        "V",
        "by cycle",
        "The same, discharging.",
        "usual definition",
    ),
)
