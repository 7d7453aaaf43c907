"""A simulated Keithley 2450 SourceMeter: TSP and SCPI on a socket.

Written from protocol facts, never from a driver: `smu` is the unit and its hand on the cell,
`electronics` errs, `tables` and `tsp` are the one command set, `scpi` the other, `device` speaks on
the socket.
"""

from sim_devices.keithley.device import SourceMeter, serve
from sim_devices.keithley.electronics import PERFECT, Imperfection

__all__ = ["PERFECT", "Imperfection", "SourceMeter", "serve"]
