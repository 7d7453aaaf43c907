"""Measure, print a table, and keep it in benchmarks/latest.md (not under version control).

``python -m benchmarks`` takes two to three minutes on two cores; name sections to run only those.
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import machine, recording, reporting
from benchmarks.table import Section, markdown

SECTIONS: dict[str, Callable[[], Section]] = {
    "recording": lambda: _in_folder(recording.recording),
    "journal": lambda: _in_folder(recording.journal_alone),
    "report": reporting.report,
    "frames": reporting.frames,
    "starting": reporting.starting,
    "size": reporting.size,
}


def _in_folder(measure: Callable[[Path], Section]) -> Section:
    with tempfile.TemporaryDirectory(prefix="operando-benchmark-") as folder:
        return measure(Path(folder))


def main() -> int:
    """Run the sections named on the command line, by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION")
    chosen = parser.parse_args().sections or list(SECTIONS)
    began = time.monotonic()
    parts: list[str] = []

    def say(text: str) -> None:
        parts.append(text)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    say("# operando: speed and cost\n")
    say(f"`python -m benchmarks {shlex.join(chosen)}` on\n")
    say("\n".join(f"- {line}" for line in machine.description()) + "\n")
    for name in chosen:
        say(markdown(SECTIONS[name]()))
    load = machine.description()[3]
    say(f"Measured in {time.monotonic() - began:.0f} s; at the end, {load}.")
    if set(chosen) == set(SECTIONS):
        (Path(__file__).parent / "latest.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
