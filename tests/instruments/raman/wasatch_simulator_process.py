"""A simulated spectrometer in a process of its own; faults come on standard input."""

import sys
from pathlib import Path

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.spectrum import RamanScene
from sim_devices.truth import Truth
from sim_devices.wasatch_fid import serve


def main(folder: Path) -> None:
    clock = SimulatedClock()
    lights = Lights(clock)
    with Truth(folder) as truth:
        spectrometer = serve(RamanScene(Cell("zn-bare"), 1), clock, truth, lights)
        print(spectrometer.address, flush=True)
        for line in sys.stdin:
            if line.startswith("lamp"):
                lights.lamp = line.split()[1] == "on"
            else:
                spectrometer.inject(line.strip())
            print("done", flush=True)
        spectrometer.close()
        clock.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
