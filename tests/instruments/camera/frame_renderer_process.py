"""A process that plays the microscope: it replaces one numbered picture at a steady rate.

Each picture is a gradient, dark where no file named ``lamp`` lies beside it; its number is in the
first four pixels (little endian). It writes the number of the picture on stdout.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def bitmap(image: NDArray[np.uint8]) -> bytes:
    """Return a grey 8-bit BMP; rows are stored from the bottom and padded to four bytes."""
    height, width = image.shape
    padded = np.zeros((height, (width + 3) // 4 * 4), "u1")
    padded[:, :width] = image[::-1]
    palette = b"".join(bytes((k, k, k, 0)) for k in range(256))
    start = 14 + 40 + len(palette)
    return (
        struct.pack("<2sIHHI", b"BM", start + padded.size, 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, padded.size, 0, 0, 256, 0)
        + palette
        + padded.tobytes()
    )


def picture(number: int, height: int, width: int, lit: bool = True) -> NDArray[np.uint8]:
    """Return the picture with this number."""
    rows, columns = np.mgrid[:height, :width]
    image = ((rows + 2 * columns + number) % 200 + 50).astype("u1")
    if not lit:
        image[:] = 3
    image[0, :4] = np.frombuffer(struct.pack("<I", number), "u1")
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """Return the number a picture carries."""
    (number,) = struct.unpack("<I", image[0, :4].tobytes())
    return int(number)


def replace(path: Path, content: bytes) -> None:
    """Write the file so that a reader sees the old one or the new one."""
    hidden = path.with_name(f".{path.name}.new")
    hidden.write_bytes(content)
    os.replace(hidden, path)


def render(folder: Path, number: int, height: int = 120, width: int = 160) -> None:
    """Put one picture into the folder, and then the note that says when it was made."""
    host_time = time.time()
    lit = (folder / "lamp").exists()
    replace(folder / "frame.bmp", bitmap(picture(number, height, width, lit)))
    note = {"cell_t": 0.0, "number": number, "host_time": host_time}
    replace(folder / "frame.json", json.dumps(note).encode())


def main(folder: str, height: str, width: str) -> None:
    """Render 25 pictures per second until stdin ends."""
    os.set_blocking(0, False)
    number = 0
    while True:
        render(Path(folder), number, int(height), int(width))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1
        time.sleep(0.04)
        try:
            if os.read(0, 1) == b"":
                return
        except BlockingIOError:
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
