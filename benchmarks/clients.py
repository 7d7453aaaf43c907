"""Let other programs' drivers speak to our simulated instruments: ``python -m benchmarks.clients``.

Each runs in the peers' own environment, against a simulator in a process of its own; what it read
is printed as it came. Ends with 1 if one failed.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import PYTHON

CLIENT = Path(__file__).parent / "peers" / "keithley_clients.py"
# Which command set each speaks.
LANGUAGES = {"qcodes": "SCPI", "pymeasure": "SCPI2400"}
_WITHIN_S = 120.0
_SERVE = """
import sys
from pathlib import Path
from sim_devices import keithley
from sim_devices.cell import make_cell
from sim_devices.clock import SimulatedClock
from sim_devices.truth import Truth

meter = keithley.serve(
    make_cell("dummy-100ohm", 1), SimulatedClock(100.0), Truth(Path(sys.argv[2])), 1,
    language=sys.argv[1],
)
print(meter.address, flush=True)
sys.stdin.read()
meter.close()
"""


def read_by(client: str, folder: Path) -> dict[str, Any]:
    """Return what a client read of a simulated Keithley 2450 at a resistor of 100 ohm."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is missing: `make bench` installs the peers")
    served = [sys.executable, "-c", _SERVE, LANGUAGES[client], str(folder)]
    with subprocess.Popen(
        served, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as meter:
        assert meter.stdin is not None
        assert meter.stdout is not None
        port = meter.stdout.readline().strip().rpartition(":")[2]
        try:
            done = subprocess.run(
                [str(PYTHON), str(CLIENT), client, port],
                capture_output=True,
                text=True,
                check=False,
                timeout=_WITHIN_S,
                env=os.environ | {"PYTHONPATH": str(_pure_visa(folder))},
            )
        finally:
            meter.stdin.close()
    if done.returncode:
        raise RuntimeError(f"{client} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _pure_visa(folder: Path) -> Path:
    """Return a folder with nothing but pyvisa-py, which the peers do not bring."""
    import pyvisa_py

    path = folder / "visa"
    path.mkdir(exist_ok=True)
    (path / "pyvisa_py").symlink_to(Path(pyvisa_py.__file__).parent)
    return path


def main() -> int:
    """Ask all clients; print what each read."""
    failed = 0
    for client, language in LANGUAGES.items():
        with tempfile.TemporaryDirectory(prefix="operando-client-") as folder:
            try:
                found = read_by(client, Path(folder))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                failed = 1
                print(f"{client} ({language}): {error}")
                continue
        print(f"{client} ({language}):")
        for asked, came in found.items():
            print(f"  {asked}: {came}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
