"""The Rodeostat of IO Rodeo: JSON lines over a serial port; holds, sweeps and voltammograms."""

from instruments.potentiostat.rodeostat.driver import RodeostatPotentiostat

__all__ = ["RodeostatPotentiostat"]
