"""What a dead instrument costs: processor time of a process whose bench has one.

A run goes on at the pace of the cell, a row each half second, with an instrument that says nothing
any more or is gone; or nothing runs, and the potentiostat itself is the dead one. One JSON line per
case: what was dead, and the share of a core that the process took for ten seconds.
"""

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults.wires_bench import CELL, SUBJECTS, Subject
from benchmarks.faults.wires_case import quiet
from operando.configuration import load_cell
from operando.session import Session
from operando.simulation import SimulatedBench

LONG_S = 10.0
_SETTLING_S = 3.0
_CASES = (
    ("potentiostat", "stall", False),
    ("potentiostat", "unplug", False),
    ("ph_meter", "stall", True),
    ("ph_meter", "unplug", True),
    ("raman", "stall", False),
    ("gige_camera", "stall", False),
)


class Cost(NamedTuple):
    """What one case took.

    Attributes:
        what: was dead, and what went on.
        share: of a core: of the process and those that drive instruments for it.
    """

    what: str
    share: float


def measure(folder: Path) -> Iterator[Cost]:
    """Measure all cases, one after the other."""
    for instrument, fault, runs in _CASES:
        subject = SUBJECTS[instrument]
        goes_on = "while a run goes on" if runs else "and nothing runs"
        share = _share(subject, fault, folder / f"{instrument}-{fault}", runs=runs)
        yield Cost(f"{instrument}: {fault}, {goes_on}", share)


def _share(subject: Subject, fault: str, folder: Path, *, runs: bool) -> float:
    simulated = folder / "sim"
    found: list[float] = []
    served = SimulatedBench(
        CELL, factor=1.0, instruments=subject.serves(), directory=simulated, tolerance_s=5.0
    )
    with (
        served,
        Session(subject.bench_file(), folder / "data", catalog=False) as session,
    ):

        def die_and_measure() -> None:
            line = {"instrument": subject.name, "fault": fault}
            (simulated / "faults").write_text(json.dumps(line) + "\n")
            time.sleep(_SETTLING_S)
            before_s, began = _processor_s(served.pid), time.monotonic()
            time.sleep(LONG_S)
            took_s = _processor_s(served.pid) - before_s
            found.append(took_s / (time.monotonic() - began))

        if not runs:
            die_and_measure()
        else:
            thread = threading.Thread(target=die_and_measure)

            def begun(name: str, doc: dict[str, Any]) -> None:
                if name == "event_page" and not thread.is_alive() and not found:
                    thread.start()

            session.RE.subscribe(begun)
            session.run_protocol(subject.protocol(), cell=load_cell(CELL))
            thread.join()
    return found[0]


def _processor_s(simulator: int | None) -> float:
    """Return the processor time of this process and of those it started, s; the simulator's not."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        number = int(status.parent.name)
        parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {one for one, of in parents.items() if of in ours and one != simulator} - ours:
        ours |= more
    return sum(ticks[one] for one in ours) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Print one line per case."""
    quiet()
    os.environ["OPERANDO_GUARD"] = "off"
    with tempfile.TemporaryDirectory(prefix="operando-cpu-") as folder:
        for cost in measure(Path(folder)):
            sys.stdout.write(json.dumps(cost._asdict()) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
