"""Bluesky plans a bench scientist calls."""

from plans.characterisation import impedance_over_temperatures
from plans.checks import calibration_gas, dummy_cell_run, gas_blank, leak_test
from plans.resume import continue_plating_stripping
from plans.synchronised import followers_among, operando_plating_stripping

__all__ = [
    "calibration_gas",
    "continue_plating_stripping",
    "dummy_cell_run",
    "followers_among",
    "gas_blank",
    "impedance_over_temperatures",
    "leak_test",
    "operando_plating_stripping",
]
