"""The columns of a table in Battery Data Format."""

from collections.abc import Mapping
from dataclasses import dataclass

DEVICE = "potentiostat"
IRI = "https://w3id.org/battery-data-alliance/ontology/battery-data-format#"


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        label: The header, ``Quantity / unit``.
        notation: The machine-readable name; of BDF where ``own`` is not set.
        unit: The unit as BDF writes it.
        meaning: What it is.
        own: Whether it is ours, beyond the terms of BDF.
    """

    label: str
    notation: str
    unit: str
    meaning: str
    own: bool = False


COLUMNS: Mapping[str, Column] = {
    column.label: column
    for column in (
        Column(
            "Test Time / s",
            "test_time_second",
            "s",
            "since the program's start, by the instrument's own timer",
        ),
        Column(
            "Voltage / V",
            "voltage_volt",
            "V",
            "of the positive terminal against the other; none in rows of a spectrum",
        ),
        Column(
            "Current / A",
            "current_ampere",
            "A",
            "positive charges the test object; none in rows of a spectrum",
        ),
        Column("Unix Time / s", "unix_time_second", "s", "when the computer received the row"),
        Column(
            "Cycle Count / 1",
            "cycle_count",
            "1",
            "as the program counted: 0 before the first cycle",
        ),
        Column(
            "Step Count / 1", "step_count", "1", "elementary steps executed, from 1, never reset"
        ),
        Column("Step Time / s", "step_time_second", "s", "since the step began"),
        Column(
            "Step Type",
            "step_type",
            "",
            "CC_CHG, CC_DCH, CV_CHG, CV_DCH, REST, EIS; empty for other steps",
        ),
        Column("Charging Capacity / Ah", "charging_capacity_ah", "Ah", "cumulative, never reset"),
        Column(
            "Discharging Capacity / Ah", "discharging_capacity_ah", "Ah", "cumulative, never reset"
        ),
        Column("Net Capacity / Ah", "net_capacity_ah", "Ah", "charging less discharging capacity"),
        Column("Frequency / Hz", "frequency_hertz", "Hz", "of a spectrum's row"),
        Column("Real Impedance / ohm", "real_impedance_ohm", "ohm", "of a spectrum's row"),
        Column(
            "Imaginary Impedance / ohm",
            "imaginary_impedance_ohm",
            "ohm",
            "of a spectrum's row, negative when capacitive",
        ),
        Column(
            "Metal Electrode Potential / V",
            "metal_electrode_potential_volt",
            "V",
            "of the metal electrode against the other, or the reference",
            True,
        ),
        Column(
            "Metal Electrode Current Density / mA.cm-2",
            "metal_electrode_current_density",
            "mA/cm2",
            "per geometric area, positive strips, negative plates",
            True,
        ),
        Column(
            "Half-Cycle Areal Charge / mAh.cm-2",
            "half_cycle_areal_charge",
            "mAh/cm2",
            "magnitude of the charge passed since the half-cycle began",
            True,
        ),
        Column(
            "Half-Cycle Count / 1",
            "half_cycle_count",
            "1",
            "plate and strip steps from 1; a rest keeps the one before it",
            True,
        ),
        Column(
            "Role / 1", "role", "1", "-1 plating, 0 rest, +1 stripping, 2 spectrum, 3 other", True
        ),
        Column(
            "Flags / 1",
            "flags",
            "1",
            "1 timing not met, 2 overload, 4 underload, 8 overload "
            "warning, 16 rows before this one were lost, 32 collected from the instrument's own "
            "log (its Unix time is estimated), 64 of a look at the cell, before an experiment went "
            "on or after something ended it",
            True,
        ),
        Column(
            "Spectrum Count / 1",
            "spectrum_count",
            "1",
            "number of the spectrum a row belongs to, from 1",
            True,
        ),
    )
}
