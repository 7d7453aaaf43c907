"""The demonstration: paper values returned by simulated instruments over real wire protocols."""

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from operando.analysis import Metric, metrics
from operando.catalog import ensure_service, wait_until_ingested
from operando.configuration import load_bench, load_cell, load_protocol
from operando.plots import run_figure
from operando.published import SODIUM_ROWS, ZINC_ROWS, PublishedValue
from operando.report import ComparisonRow, comparison_table
from operando.runs import Run
from operando.session import Session
from operando.settings import data_dir
from operando.simulation import SimulatedBench

LEADER_ONLY = {"potentiostat"}
WITH_FOLLOWERS = {"potentiostat", "camera", "raman", "gas_chromatograph"}


@dataclass(frozen=True)
class Experiment:
    """One simulated experiment: which cell, which protocol, watched by what, how fast.

    ``cell`` is a cell file, ``preset`` the simulated cell that stands behind it.
    """

    cell: str
    preset: str
    protocol: str
    instruments: frozenset[str]
    factor: float
    rows: Sequence[PublishedValue]

    def simulated(self) -> list[str]:
        """Return the instruments the simulator must serve."""
        wanted = {
            name if name != "gas_chromatograph" else "relay_board" for name in self.instruments
        }
        return sorted(wanted | ({"relay_board"} if "camera" in wanted else set()))


SODIUM = [
    Experiment(
        cell, cell.removesuffix("-half"), "na-half-cell", frozenset(LEADER_ONLY), 20_000, rows
    )
    for cell, rows in SODIUM_ROWS.items()
]
ZINC = Experiment(
    "zn-bare-half", "zn-bare-half", "zinc-operando", frozenset(WITH_FOLLOWERS), 1000, ()
)
ZINC_RAMAN = Experiment(
    "zn-bare-half", "zn-bare-half", "zinc-raman", frozenset(WITH_FOLLOWERS), 1000, ZINC_ROWS
)


def run_experiment(
    experiment: Experiment, folder: Path, *, seed: int = 0, out: TextIO | None = None
) -> str:
    """Run ``experiment`` against simulated instruments into the data ``folder``; return its uid."""
    bench = load_bench("sim").only(set(experiment.instruments))
    protocol = load_protocol(experiment.protocol)
    with (
        tempfile.TemporaryDirectory(prefix="operando-sim-") as published,
        SimulatedBench(
            experiment.preset,
            factor=experiment.factor,
            seed=seed,
            instruments=experiment.simulated(),
            directory=Path(published),
            tolerance_s=protocol.every.tolerance_s,
        ),
        Session(bench, data_dir=folder, out=out) as session,
    ):
        return session.run_protocol(protocol, cell=load_cell(experiment.cell))


def read_back(uid: str, folder: Path) -> tuple[Run, dict[str, Metric]]:
    """Return a run as ``databroker.catalog`` has it, and its metrics."""
    wait_until_ingested(folder, uid, timeout_s=60)
    run = Run.from_catalog(uid, folder)
    return run, metrics(run)


def compare(rows: Sequence[PublishedValue], measured: dict[str, Metric]) -> list[ComparisonRow]:
    """Return one line of the comparison per published value."""
    lines = []
    for row in rows:
        value = row.measured(measured)
        lines.append(
            ComparisonRow(
                row=row.row,
                sample=row.sample,
                quantity=row.quantity,
                unit=row.unit,
                published=row.value,
                measured=value,
                tolerance=row.allowed,
                kind=row.kind,
                agrees=row.agrees(value),
            )
        )
    return lines


def main(out: TextIO | None = None) -> int:
    """Run the demonstration; return 0 if every published value came back."""
    out = out or sys.stdout
    started = time.monotonic()
    folder = data_dir()
    ensure_service(folder)

    def say(text: str = "") -> None:
        out.write(text + "\n")
        out.flush()

    say("operando: simulated instruments on real wire protocols; no hardware is touched.")
    say(f"Data folder: {folder}")
    uids = []
    for experiment in [*SODIUM, ZINC]:
        cell, protocol = load_cell(experiment.cell), load_protocol(experiment.protocol)
        say()
        say(f"== {cell.cell_id}: {protocol.description}")
        begun = time.monotonic()
        uids.append(run_experiment(experiment, folder, out=out))
        say(f"   run {uids[-1][:8]} took {time.monotonic() - begun:.0f} s")

    say()
    say("Reading the runs back from databroker.catalog ...")
    lines: list[ComparisonRow] = []
    for experiment, uid in zip(SODIUM, uids, strict=False):
        lines += compare(experiment.rows, read_back(uid, folder)[1])
    zinc, zinc_metrics = read_back(uids[-1], folder)
    figure = folder / "figures" / f"{zinc.uid[:8]}.png"
    figure.parent.mkdir(parents=True, exist_ok=True)
    run_figure(zinc, zinc_metrics).savefig(figure, dpi=150)

    say()
    say("Paper values through driver, plan, record and analysis (a test of the software path,")
    say("not of electrochemistry: the simulated cell was given or calibrated on these values):")
    say(comparison_table(lines))
    say()
    say(f"Zinc run {zinc.uid[:8]}, seen by all four instruments: {_shown(figure)}")
    say("Hardware evidence: none yet (no driver here has been confirmed on a real instrument).")
    say()
    say("What to type next:")
    here = "" if "VIRTUAL_ENV" in os.environ else ".venv/bin/"
    say(f"  {here}operando report last                 the numbers of the zinc run")
    say(f"  {here}operando replay last --speed 500     see it happen again")
    say(f"  {here}operando runs                        everything recorded so far")
    say(f"  {here}operando shell --simulate zn-bare-half   IPython with a simulated bench")
    say(f"Finished in {time.monotonic() - started:.0f} s.")
    return 0 if all(line.agrees for line in lines) else 1


def _shown(path: Path) -> str:
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))
