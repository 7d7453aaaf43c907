"""Platinum against zinc: every electron makes hydrogen, a known amount to recover."""

from __future__ import annotations

from sim_devices.cell.parameters import ZINC, CellParameters, ElectrodeParameters

# Zinc is not plated on it before hydrogen evolves at any current a cell is run at.
_NO_METAL_MA_CM2 = 1e-9
_HYDROGEN_MA_CM2 = 10.0

PLATINUM = {
    "pt-hydrogen": CellParameters(
        ZINC,
        ElectrodeParameters(
            _NO_METAL_MA_CM2, 0.0, metal_mah_cm2=0.0, hydrogen_current_ma_cm2=_HYDROGEN_MA_CM2
        ),
        ElectrodeParameters(1.0, 0.0),
    )
}
