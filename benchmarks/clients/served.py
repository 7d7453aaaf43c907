"""Serve one simulated instrument in a process of its own: ``served.py NAME FOLDER``.

Prints its address, and closes it when standard input ends. Each hangs on a cell of its own; what
really happened is written to FOLDER.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim_devices.cell import make_cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.served import STARTERS, Wiring
from sim_devices.truth import Truth

_SEED = 1
_Started = tuple[Any, str]


def _wired(name: str) -> Callable[[Wiring], _Started]:
    return STARTERS[name]


def _keithley(language: str) -> Callable[[Wiring], _Started]:
    def start(wiring: Wiring) -> _Started:
        from sim_devices import keithley

        meter = keithley.serve(wiring.cell, wiring.clock, wiring.truth, _SEED, language=language)
        return meter, meter.address

    return start


def _emstat(wiring: Wiring) -> _Started:
    from sim_devices import methodscript

    potentiostat = methodscript.serve(wiring.cell, wiring.clock, wiring.truth, _SEED)
    return potentiostat, potentiostat.address


def _huber(wiring: Wiring) -> _Started:
    from sim_devices.thermostat import HuberPilot

    thermostat = HuberPilot(wiring.cell, wiring.truth)
    return thermostat, thermostat.address


def _julabo(wiring: Wiring) -> _Started:
    # A pseudo-terminal refuses seven bits with parity, which a client sets.
    return STARTERS["julabo"](dataclasses.replace(wiring, prefer_pty=False))


def _relay_board(wiring: Wiring) -> _Started:
    from sim_devices.relay_board import RelayBoard

    board = RelayBoard(gpio_level={3: lambda: True})
    return board, board.address


def _wasatch(wiring: Wiring) -> _Started:
    from sim_devices import wasatch_fid
    from sim_devices.spectrum import RamanScene

    scene = RamanScene(wiring.simulated_cell("a Raman spectrometer"), _SEED)
    spectrometer = wasatch_fid.serve(scene, wiring.clock, wiring.truth, wiring.lights)
    return spectrometer, spectrometer.address


# By name: the cell it hangs on, and what starts it.
SERVED: dict[str, tuple[str, Callable[[Wiring], _Started]]] = {
    "keithley, SCPI": ("dummy-100ohm", _keithley("SCPI")),
    "keithley, SCPI2400": ("dummy-100ohm", _keithley("SCPI2400")),
    "keithley, TSP": ("dummy-100ohm", _keithley("TSP")),
    "emstat": ("dummy-100ohm", _emstat),
    "rodeostat": ("dummy-10kohm", _wired("rodeostat")),
    "huber": ("zn-bare", _huber),
    "julabo": ("zn-bare", _julabo),
    "ph_meter": ("zn-bare", _wired("ph_meter")),
    "microbalance": ("zn-bare", _wired("microbalance")),
    "pressure": ("zn-bare", _wired("pressure")),
    "relay_board": ("zn-bare", _relay_board),
    "sampling_valve": ("zn-bare", _wired("sampling_valve")),
    "stage": ("zn-bare", _wired("stage")),
    "fusion": ("zn-bare", _wired("fusion")),
    "wasatch": ("zn-bare", _wasatch),
    "ocean": ("zn-bare", _wired("raman_ocean")),
}


def main(name: str, folder: Path) -> None:
    """Serve it until standard input ends."""
    cell_name, start = SERVED[name]
    cell, clock = make_cell(cell_name, _SEED), SimulatedClock(100.0)
    with Truth(folder) as truth:
        wiring = Wiring(
            cell=cell,
            clock=clock,
            truth=truth,
            lights=Lights(clock),
            seed=_SEED,
            prefer_pty=True,
            perfect=False,
            folder=folder,
        )
        instrument, address = start(wiring)
        print(address, flush=True)
        sys.stdin.read()
        clock.close()
        instrument.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
