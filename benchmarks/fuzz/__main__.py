"""Damage ten thousand frames of each language and file, and print what came of them.

``python -m benchmarks.fuzz [--frames 10000] [NAME ...]``: each target runs in a process of its
own, so that what kills or stops one of them is told, and the rest goes on.
"""

import argparse
import json
import logging
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict

from benchmarks import machine
from benchmarks.fuzz.target import LONGEST_S, Found, Target, fuzz
from benchmarks.fuzz.targets import names, target

# Beyond the alarm in the process itself: there a library hangs where no alarm is heard.
_PATIENCE_S = 4 * LONGEST_S
_MOST_RESTARTS = 20


def main() -> int:
    """Fuzz the targets named on the command line, by default all; 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*names(), []], metavar="NAME")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", action="store_true", help="print what was wrong")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        return _work(target(arguments.targets[0]), arguments)
    began = time.monotonic()
    sys.stdout.write("# operando: fuzz\n\n")
    sys.stdout.write("\n".join(f"- {line}" for line in machine.description()) + "\n\n")
    sys.stdout.write(_HEAD)
    bad, frames = 0, 0
    for name in arguments.targets or names():
        what, found = _supervised(name, arguments)
        bad, frames = bad + (not found.held), frames + found.frames
        sys.stdout.write(_row(name, what, found))
        sys.stdout.flush()
        if arguments.examples or not found.held:
            sys.stderr.write("".join(f"  {name} {one}\n" for one in found.examples))
    sys.stdout.write(
        f"\n{frames} frames in {time.monotonic() - began:.0f} s (seed {arguments.seed}): "
        f"{bad} targets did not hold.\n"
    )
    return 1 if bad else 0


_HEAD = (
    "| target | what is read | frames | refused | accepted as valid | wrong accepted "
    "| other exceptions | hangs | leaks | s |\n|---|---|---:|---:|---:|---:|---:|---:|---|---:|\n"
)


def _row(name: str, what: str, found: Found) -> str:
    cells = [
        *(name, what, found.frames, found.refused, found.accepted, found.wrong, found.others),
        *(found.hangs, ", ".join(found.leaks) or "none", f"{found.took_s:.0f}"),
    ]
    return "| " + " | ".join(map(str, cells)) + " |\n"


def _work(one: Target, arguments: argparse.Namespace) -> int:
    """Fuzz one target from a number on; tell the numbers, and then what was found."""
    logging.disable(logging.CRITICAL)
    # What libraries print is not wanted.
    told = os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    last = [0.0]

    def tell(number: int, found: Found) -> None:
        # A line per tenth of a second is enough to find the frame again, if it dies.
        if time.monotonic() - last[0] > 0.1:
            last[0] = time.monotonic()
            told.write(f"{number} {json.dumps(asdict(found))}\n")

    found = fuzz(one, arguments.seed, range(arguments.worker, arguments.frames), tell)
    told.write(f"all {json.dumps(asdict(found))}\n")
    return 0


def _supervised(name: str, arguments: argparse.Namespace) -> tuple[str, Found]:
    """Run a target in processes of its own until all frames were read."""
    all_found, start = Found(), 0
    for _ in range(_MOST_RESTARTS):
        number, part, died = _run(name, arguments, start)
        all_found.add(part)
        if not died:
            return target(name).what, all_found
        all_found.hangs += 1
        all_found.examples.append(f"near {number}: {died}")
        start = number + 1
    return target(name).what, all_found


def _run(name: str, arguments: argparse.Namespace, start: int) -> tuple[int, Found, str]:
    """Return the last number told, what was found until then, and how it died; empty: it ended."""
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "benchmarks.fuzz", name]
    command += ["--frames", str(arguments.frames), "--seed", str(arguments.seed)]
    command += ["--worker", str(start)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    number, found, rest = start, Found(), b""
    try:
        while select.select([child.stdout], [], [], _PATIENCE_S + 60 * (rest == b""))[0]:
            data = os.read(child.stdout.fileno(), 1 << 20)
            if not data:
                if child.wait() > 0:  # an error of the trial itself, which has told it
                    raise RuntimeError(f"{name}: {' '.join(command)} failed")
                return number, found, f"its process was killed by signal {-child.returncode}"
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                words, _, told = line.partition(b" ")
                found = Found(**json.loads(told))
                if words == b"all":
                    return number, found, ""
                number = int(words)
        return number, found, "a hang in which no alarm is heard"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


if __name__ == "__main__":
    sys.exit(main())
