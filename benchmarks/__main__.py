"""Measure, print a table, and keep it in benchmarks/latest.md (not under version control).

``python -m benchmarks`` takes below half an hour on two cores; name sections to run only those, or
give ``--quick`` for a tenth of the rows, runs and seconds.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import killed, large, machine, many, recording, reporting, spectra, visible
from benchmarks.figure import draw
from benchmarks.saved import curves_in
from benchmarks.table import Curve, Section, markdown

# By name: what measures in a folder of its own, with sizes and seconds scaled by a factor.
SECTIONS: dict[str, Callable[[Path, float], Section]] = {
    "recording": recording.recording,
    "killed": killed.killed,
    "journal": recording.journal_alone,
    "visible": visible.visible,
    "large": large.large,
    "runs": many.runs,
    "growth": many.growth,
    "report": lambda folder, scale: reporting.report(),
    "spectra": lambda folder, scale: spectra.spectra(),
    "frames": lambda folder, scale: reporting.frames(),
    "starting": reporting.starting,
    "size": lambda folder, scale: reporting.size(),
}


def _measured(name: str, scale: float) -> Section:
    with tempfile.TemporaryDirectory(prefix="operando-benchmark-") as folder:
        return SECTIONS[name](Path(folder), scale)


def main() -> int:
    """Run the sections named on the command line, by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION", help=", ".join(SECTIONS)
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of everything; no record")
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="draw what rows and runs cost ever later, and write the tables beside it, as .md",
    )
    parser.add_argument(
        "--redraw",
        type=Path,
        metavar="TABLE",
        help="measure nothing: draw the figure of a table that --figure wrote before",
    )
    options = parser.parse_args()
    if options.redraw is not None:
        if options.figure is None:
            parser.error("--redraw wants to know where: name a FILE with --figure")
        draw(curves_in(options.redraw.read_text(encoding="utf-8")), options.figure)
        return 0
    chosen = options.sections or list(SECTIONS)
    # A service started here writes the profile by which databroker finds it; not over the user's.
    profiles = tempfile.TemporaryDirectory(prefix="operando-benchmark-profiles-")
    os.environ["TILED_PROFILES"] = profiles.name
    began = time.monotonic()
    parts: list[str] = []

    def say(text: str) -> None:
        parts.append(text)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    say("# operando: speed and cost\n")
    if options.figure is not None and not {"runs", "growth"} & set(chosen):
        parser.error("--figure shows what the sections runs and growth measure: name one of them")
    quick = " --quick" if options.quick else ""
    say(f"`python -m benchmarks{quick} {shlex.join(chosen)}` on\n")
    say("\n".join(f"- {line}" for line in machine.description()) + "\n")
    curves: list[Curve] = []
    for name in chosen:
        since = time.monotonic()
        section = _measured(name, 0.1 if options.quick else 1.0)
        curves += section.curves
        say(markdown(section))
        say(f"Measured in {time.monotonic() - since:.0f} s.\n")
    load = machine.description()[3]
    say(f"All in {time.monotonic() - began:.0f} s; at the end, {load}.")
    profiles.cleanup()
    if options.figure is not None:
        draw(curves, options.figure)
        options.figure.with_suffix(".md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    if set(chosen) == set(SECTIONS) and not options.quick:
        (Path(__file__).parent / "latest.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
