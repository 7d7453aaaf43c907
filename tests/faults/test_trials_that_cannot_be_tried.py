"""``make faults`` on a computer that does not let it mount anything."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_cannot_be_mounted_is_not_tried_and_fails_nothing(tmp_path: Path) -> None:
    # Neither mount nor unshare is to be found.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "read-only-disks", "full-columns"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing can be mounted here") == 2
    assert done.stdout.count("not tried |") == 2
    assert "2 not tried" in done.stdout
