"""A process that owns a camera and records; it says each row's index, then waits to be killed."""

import sys

from instruments.camera.pylon import PylonCamera


def main(address: str, path: str) -> None:
    """Record without end."""
    camera = PylonCamera(address)
    camera.connect()
    camera.record_to(path)
    while True:
        frame = camera.record()
        sys.stdout.write(f"{frame.index} {camera.child_pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
