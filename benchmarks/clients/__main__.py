"""Let drivers of other people speak to our simulated instruments: ``python -m benchmarks.clients``.

Each runs in the peers' own environment, against a simulator in a process of its own. Prints one
table, keeps it in benchmarks/clients.md (not under version control), and ends with 1 if a client
failed. Name clients to let only those speak; takes a few minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.clients import scripts
from benchmarks.clients.cases import CASES, Case
from benchmarks.peers import PYTHON

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "benchmarks" / "clients.md"
_WITHIN_S = 900.0
_CLOSED_WITHIN_S = 30.0
_LONGEST = 60
_HEAD = ("simulator", "client", "what it did", "what it read", "", "remarks")


def asked(case: Case, folder: Path) -> dict[str, Any]:
    """Return what a client read.

    Raises RuntimeError if it failed, and subprocess.TimeoutExpired if it does not end.
    """
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is missing: `make clients` installs the peers")
    if not case.served:
        return _files_read(case, folder)
    served = [sys.executable, "-m", "benchmarks.clients.served", case.served, str(folder)]
    with subprocess.Popen(
        served, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as simulator:
        assert simulator.stdin is not None
        assert simulator.stdout is not None
        try:
            address = simulator.stdout.readline().strip()
            return _spoken(case, address, folder)
        finally:
            simulator.stdin.close()
            try:
                simulator.wait(_CLOSED_WITHIN_S)
            except subprocess.TimeoutExpired:
                simulator.kill()


def _files_read(case: Case, folder: Path) -> dict[str, Any]:
    """Let the grammar and our simulated instrument read all scripts."""
    written = folder / "scripts"
    written.mkdir()
    told = {"scripts": scripts.write(written)}
    told |= _spoken(case, str(written), folder)
    return told | {"our simulator refuses": scripts.refused(written)}


def _spoken(case: Case, address: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(PYTHON), "-m", "benchmarks.peers.clients", case.client, address, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_WITHIN_S,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"it ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(case: Case) -> tuple[bool, list[str]]:
    """Return whether a client read what it has to, and its row of the table."""
    with tempfile.TemporaryDirectory(prefix="operando-client-") as folder:
        try:
            found = asked(case, Path(folder))
            wrong = case.wrong(found)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            found, wrong = {}, [str(error).splitlines()[-1]]
    told = [f"{name}: {_shortened(value)}" for name, value in found.items()]
    return not wrong, [
        case.instrument,
        f"{case.package} {version(case.package)} ({case.by})",
        case.did,
        "; ".join(told),
        "ok" if not wrong else f"**failed**: {'; '.join(wrong)}",
        case.remarks,
    ]


def _shortened(value: object) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_shortened(one)}" for key, one in value.items())
        return f"({text})" if text else "none"
    if isinstance(value, list):
        return ", ".join(map(_shortened, value)) if value else "none"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def version(package: str, python: Path = PYTHON) -> str:
    """Return the version of a package in the peers' environment, or that it is not there."""
    asking = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([str(python), "-c", asking], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "is not installed: `make clients` brings the peers up to date"


def main() -> int:
    """Let the clients named on the command line speak, by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    known = [case.client for case in CASES]
    parser.add_argument(
        "clients", nargs="*", choices=[*known, []], metavar="CLIENT", help=", ".join(known)
    )
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="keep the table there; without CLIENT only"
    )
    options = parser.parse_args()
    began = time.monotonic()
    parts: list[str] = []

    def say(text: str) -> None:
        parts.append(text)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    say("# operando: drivers of other people against our simulated instruments\n")
    say("`python -m benchmarks.clients` on\n")
    say("\n".join(f"- {line}" for line in machine.description()[:3]) + "\n")
    say(_line(_HEAD))
    say(_line(["---"] * len(_HEAD)))
    failed = 0
    for case in CASES:
        if case.client in (options.clients or known):
            well, cells = row(case)
            failed += not well
            say(_line(cells))
    say(f"\n{failed or 'None'} failed; {time.monotonic() - began:.0f} s.")
    if not options.clients:
        (options.to or TABLE).write_text("\n".join(parts) + "\n", encoding="utf-8")
    return int(failed > 0)


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
