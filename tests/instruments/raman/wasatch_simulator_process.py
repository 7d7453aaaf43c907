"""A simulated spectrometer in a process of its own; faults come on standard input.

Behind ``when-on`` a fault comes as soon as the laser shines.
"""

import sys
import threading
import time
from pathlib import Path

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.spectrum import RamanScene
from sim_devices.truth import Truth
from sim_devices.wasatch_fid import Calibration, WasatchSpectrometer

# The same spectrograph with another laser and grating: 150 to 1800 cm-1.
AT_785_NM = Calibration(
    model="WP-785-C",
    excitation_nm=785.0,
    wavelength_coefficients=(794.3, 0.0585, 0.0, 0.0, 0.0),
)


def inject_when_on(spectrometer: WasatchSpectrometer, lights: Lights, fault: str) -> None:
    while lights.laser_mw == 0.0:
        time.sleep(0.002)
    spectrometer.inject(fault)


def main(folder: Path, calibration: Calibration) -> None:
    clock = SimulatedClock()
    lights = Lights(clock)
    with Truth(folder) as truth:
        scene = RamanScene(Cell("zn-bare"), 1)
        spectrometer = WasatchSpectrometer(
            scene, clock, lights, truth=truth, calibration=calibration
        )
        print(spectrometer.address, flush=True)
        for line in sys.stdin:
            if line.startswith("lamp"):
                lights.lamp = line.split()[1] == "on"
            elif line.startswith("when-on"):
                later = (spectrometer, lights, line.split()[1])
                threading.Thread(target=inject_when_on, args=later, daemon=True).start()
            else:
                spectrometer.inject(line.strip())
            print("done", flush=True)
        spectrometer.close()
        clock.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), AT_785_NM if "785" in sys.argv[2:] else Calibration())
