"""Files of rows that are damaged: they hold nothing, and stop nobody."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from operando.journal import open_asset
from operando.runs._assets import Asset, AssetPart, read_columns

WRITER = """
import os, sys
import numpy as np
from pathlib import Path
from instruments._swmr import SwmrFile
file = SwmrFile(Path(sys.argv[1]), {"frames": ((4, 6), "<u2"), "t": ((), "<f8")})
for row in range(5):
    file.append({"frames": np.full((4, 6), row), "t": float(row)})
if sys.argv[2] == "close":
    file.close()
os._exit(0)
"""


@pytest.mark.parametrize("end", ["close", "die"])
def test_a_damaged_file_holds_nothing_and_is_given_up(tmp_path: Path, end: str) -> None:
    path = tmp_path / "frames.h5"
    subprocess.run([sys.executable, "-c", WRITER, str(path), end], check=True)
    frames, t = (AssetPart(path, name, 0, 5) for name in ("frames", "t"))
    assert len(Asset("frames", [frames])) == 5
    assert Asset("frames", [frames])[4].tolist() == np.full((4, 6), 4).tolist()
    whole = path.read_bytes()
    damaged = whole.replace(b"OHDR\x02", b"OHDR\x42")
    assert damaged != whole
    path.write_bytes(damaged)
    assert len(Asset("frames", [frames])) == 0
    assert read_columns({"t": [t]})["t"].tolist() == []
    path.write_bytes(b"not this format")
    with pytest.raises(OSError, match="signature"):
        open_asset(path)
