"""Other programs' recorders, each run by the interpreter of an environment of its own.

Their versions are pinned in ``benchmarks/requirements-peers.txt``; ``make bench`` and ``make
clients`` install them into ``.venv/peers``. `benchmarks.peers.clients` are drivers that ask our
simulated instruments.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PYTHON = Path(__file__).parents[2] / ".venv" / "peers" / "bin" / "python"
PEERS = {
    "QCoDeS": Path(__file__).with_name("qcodes_record.py"),
    "PyMeasure": Path(__file__).with_name("pymeasure_record.py"),
}


def command(peer: str, verb: str, folder: Path, *arguments: object) -> list[str]:
    """Return the command line that lets a peer do something in ``folder``."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is missing: `make bench` installs the peers")
    return [str(PYTHON), str(PEERS[peer]), verb, str(folder), *map(str, arguments)]


def asked(
    peer: str, verb: str, folder: Path, *arguments: object, within_s: float = 300.0
) -> dict[str, Any]:
    """Let a peer do something and return what it tells, the JSON of its last line.

    Raises:
        TimeoutError: if it has not done it by then; it is killed.
    """
    asking = command(peer, verb, folder, *arguments)
    try:
        done = subprocess.run(asking, capture_output=True, text=True, check=False, timeout=within_s)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{peer} has not done {verb!r} within {within_s:g} s") from error
    if done.returncode:
        raise RuntimeError(f"{peer} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows_per_s(peer: str, rows: int, *arguments: object) -> float:
    """Return how fast a peer records one run of ``rows`` rows, each of which came back."""
    with tempfile.TemporaryDirectory(prefix="operando-peer-") as folder:
        told = asked(peer, "write", Path(folder), rows, *arguments)
    if told["rows"] != rows:
        raise AssertionError(f"{peer}: {told['rows']} rows came back of {rows}")
    return rows / float(told["seconds"])


def versions() -> str:
    """Return the peers' versions."""
    code = (
        "from importlib.metadata import version as v;"
        f"print(', '.join(f'{{p}} {{v(p)}}' for p in {[p.lower() for p in PEERS]}))"
    )
    done = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
