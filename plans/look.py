"""A look at a cell that has just been connected: open circuit and series resistance, in one run."""

from collections.abc import Mapping
from typing import Any

from bluesky.utils import MsgGenerator

from instruments.potentiostat.device import PotentiostatDevice
from plans.synchronised import operando_plating_stripping
from techniques import (
    Cell,
    ImpedanceSpectrum,
    OpenCircuit,
    Protocol,
    Recording,
    Schedule,
    Sequence,
    Technique,
)

OPEN_CIRCUIT_S = 10.0
AMPLITUDE_RMS_V = 5e-3
FROM_HZ, TO_HZ = 1e5, 10.0


def look_at_cell(
    potentiostat: PotentiostatDevice,
    *,
    cell: Cell | Mapping[str, Any],
    spectrum: bool = True,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Measure the open circuit for 10 s, then an impedance spectrum from 100 kHz to 10 Hz.

    One run, named ``look_at_cell``, with the streams of ``operando_plating_stripping``. Nothing is
    driven but the 5 mV (rms) of the spectrum.

    Args:
        potentiostat: Measures.
        cell: What hangs on it.
        spectrum: Whether a spectrum is measured.
        md: More metadata for the start document.

    Raises:
        UnsupportedTechniqueError: The potentiostat measures no such spectrum; nothing has moved.
        SafetyLimitError: The cell is beyond a limit of potential at rest.
    """
    cell = Cell.model_validate(cell)
    rows = Recording(dt_s=0.5, edge_dt_s=0.5, edge_for_s=0)
    technique: Technique = OpenCircuit(duration_s=OPEN_CIRCUIT_S, record=rows)
    if spectrum:
        impedance = ImpedanceSpectrum(
            amplitude_rms_v=AMPLITUDE_RMS_V,
            frequency_max_hz=FROM_HZ,
            frequency_min_hz=TO_HZ,
            points_per_decade=5,
        )
        technique = Sequence(steps=(technique, impedance))
    protocol = Protocol(
        name="look at the cell",
        cell=cell.cell_id,
        technique=technique,
        every=Schedule(image_s=None, spectrum_s=None, injection_s=None),
        rules=(),
    )
    told = {"plan_name": "look_at_cell", **(md or {})}
    return (
        yield from operando_plating_stripping(potentiostat, protocol=protocol, cell=cell, md=told)
    )
