"""Owns an Ocean spectrometer and its laser, tells its child, exposes, and waits to be killed."""

import sys

from instruments.raman.ocean import OceanSpectrometer
from instruments.relay_board import NumatoRelayBoard


def main(address: str, board: str, integration_time_s: float) -> None:
    spectrometer = OceanSpectrometer(address, NumatoRelayBoard(board), 1, excitation_nm=532.0)
    spectrometer.connect()
    child = spectrometer._child
    assert child is not None
    print(child.pid, flush=True)
    spectrometer.acquire(integration_time_s, 1)
    print("acquired", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
