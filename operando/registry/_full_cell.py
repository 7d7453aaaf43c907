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
        "Discharge capacity of the last complete cycle over that of the first, of those at one "
        "current: that of more than half of the cycles which neither the protocol nor the cell "
        "file (formation_cycles) leaves out of means; the note names both. None where no current "
        "has so many (a test of rates), and of cycles at several temperatures.",
        "usual definition",
    ),
    Definition(
        "capacity_temperature_k",
        "K",
        "by temperature",
        "Temperatures of a program that has several, at which the cell was discharged, in its "
        "order, as it asks for them.",
        "the program",
    ),
    Definition(
        "capacity_at_temperature_pct",
        "%",
        "by temperature",
        "Median discharge capacity of the last three cycles at each of these temperatures over "
        "that at 25 C (within 1 K); None where the program has no such temperature.",
        "usual definition",
    ),
    Definition(
        "rate_capacity_mah_g",
        "mAh/g",
        "by rate",
        "Median discharge capacity of the last three cycles of each rate, in their order; "
        "consecutive cycles of one current, and at one temperature, are a rate.",
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
