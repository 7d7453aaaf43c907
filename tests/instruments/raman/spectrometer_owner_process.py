"""Owns a spectrometer, tells the process id of its child, exposes, and waits to be killed."""

import sys

from instruments.raman.wasatch import WasatchSpectrometer


def main(address: str, integration_time_s: float, accumulations: int = 1) -> None:
    spectrometer = WasatchSpectrometer(address)
    spectrometer.connect()
    child = spectrometer._child
    assert child is not None
    print(child.pid, flush=True)
    spectrometer.acquire(integration_time_s, accumulations)
    print("acquired", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *map(int, sys.argv[3:]))
