"""Characterisation of a cell that is not cycled."""

from collections.abc import Mapping, Sequence
from typing import Any

from bluesky.utils import MsgGenerator

from instruments.potentiostat.device import PotentiostatDevice
from instruments.thermostat.device import ThermostatDevice
from plans.synchronised import operando_plating_stripping
from techniques import Cell, ImpedanceSpectrum, Protocol, Schedule, Temperatures

_SPECTRUM = ImpedanceSpectrum(
    amplitude_rms_v=0.005, frequency_max_hz=1e5, frequency_min_hz=0.1, points_per_decade=10
)


def impedance_over_temperatures(
    potentiostat: PotentiostatDevice,
    thermostat: ThermostatDevice,
    *,
    temperatures_k: Sequence[float],
    cell: Cell | Mapping[str, Any],
    spectrum: ImpedanceSpectrum | Mapping[str, Any] = _SPECTRUM,
    soak_s: float = 1800.0,
    give_up_s: float = 14400.0,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Measure one spectrum at each temperature, when it stands, as one run.

    A temperature stands when it has been within 0.3 K of its setpoint and has moved by less than
    0.1 K/min for the whole soak. Meanwhile the open circuit potential is recorded.

    Args:
        potentiostat: Leads.
        thermostat: Is set; it stays at the last temperature.
        temperatures_k: In their order, K.
        cell: Which; the temperatures it allows are kept.
        spectrum: What is measured; by default 5 mV rms, 100 kHz to 0.1 Hz.
        soak_s: For how long a temperature must stand, s.
        give_up_s: A temperature that does not stand by then ends the run, s.
        md: More metadata for the start document.

    Raises:
        SettlingError: A temperature was not reached in time.
        SafetyLimitError: Instrument, bench or cell forbid a temperature; nothing has moved.
    """
    cell = Cell.model_validate(cell)
    protocol = Protocol(
        name="impedance over temperatures",
        cell=cell.cell_id,
        technique=ImpedanceSpectrum.model_validate(spectrum),
        every=Schedule(image_s=None, spectrum_s=None, injection_s=None),
        temperatures=Temperatures(kelvin=tuple(temperatures_k), soak_s=soak_s, give_up_s=give_up_s),
    )
    told = {"plan_name": "impedance_over_temperatures", **(md or {})}
    plan = operando_plating_stripping(
        potentiostat, thermostat=thermostat, protocol=protocol, cell=cell, md=told
    )
    return (yield from plan)
