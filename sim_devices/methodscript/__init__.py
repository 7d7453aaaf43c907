"""A simulated PalmSens EmStat4 HR: a potentiostat that runs MethodSCRIPT.

`serve` puts one on a serial line. Written from protocol facts, never from a driver: `values`,
`reading`, `language` and `runtime` are the language, `pgstat` and `machine` execute it,
`electronics` errs, `device` speaks on the line.
"""

from sim_devices.methodscript.device import Behaviour, EmStat4, serve
from sim_devices.methodscript.electronics import DRIFTING, PERFECT, Imperfection

__all__ = ["DRIFTING", "PERFECT", "Behaviour", "EmStat4", "Imperfection", "serve"]
