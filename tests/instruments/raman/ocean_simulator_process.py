"""An Ocean HDX and a relay board with its laser, simulated in a process of their own.

Faults come on standard input: ``board FAULT`` for the board, anything else for the spectrometer.
"""

import sys
from pathlib import Path

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.ocean_hdx import OceanHdx
from sim_devices.relay_board import RelayBoard
from sim_devices.spectrum import RamanScene
from sim_devices.truth import Truth

RELAY, LASER_MW = 1, 100.0


def main(folder: Path) -> None:
    clock = SimulatedClock()
    lights = Lights(clock)
    with Truth(folder) as truth:

        def laser(on: bool) -> None:
            lights.laser_mw = LASER_MW if on else 0.0
            truth.write("raman", "laser", power_mw=lights.laser_mw)

        board = RelayBoard(on_relay={RELAY: laser})
        hdx = OceanHdx(RamanScene(Cell("zn-bare"), 1), clock, lights, truth=truth)
        print(f"{hdx.address} {board.address}", flush=True)
        for line in sys.stdin:
            where, _, rest = line.strip().rpartition(" ")
            name, *pairs = rest.split(":")
            options = {key: float(value) for key, value in (pair.split("=") for pair in pairs)}
            if where == "board":
                board.line.inject(name, **options)
            else:
                hdx.inject(name, **options)
            print("done", flush=True)
        hdx.close()
        board.close()
        clock.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
