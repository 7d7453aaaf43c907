"""The demonstration: paper values returned by simulated instruments over real wire protocols."""

import os
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from operando.acceptance import Numbers, Outcome, Verdict, judge
from operando.acceptance.sodium import SODIUM_ROWS
from operando.acceptance.table import text_table
from operando.analysis import Metric, metrics
from operando.catalog import ensure_service, wait_until_ingested
from operando.configuration import load_bench, load_cell, load_protocol
from operando.plots import run_figure
from operando.runs import Run
from operando.session import Session
from operando.settings import data_dir
from operando.simulation import SimulatedBench

LEADER_ONLY = {"potentiostat"}
WITH_FOLLOWERS = {"potentiostat", "camera", "raman", "gas_chromatograph"}


@dataclass(frozen=True)
class Experiment:
    """One simulated experiment: which cell, which protocol, watched by what, how fast.

    ``cell`` is a cell file and the simulated cell that stands behind it; ``name`` is what rows of
    the acceptance table call the experiment.
    """

    name: str
    cell: str
    protocol: str
    instruments: frozenset[str]
    factor: float

    def simulated(self) -> list[str]:
        """Return the instruments the simulator must serve."""
        wanted = {
            name if name != "gas_chromatograph" else "relay_board" for name in self.instruments
        }
        return sorted(wanted | ({"relay_board"} if "camera" in wanted else set()))


SODIUM = [
    Experiment(f"na-{on}", f"na-{on}-half", "na-half-cell", frozenset(LEADER_ONLY), 20_000)
    for on in ("znag", "bare")
]
ZINC = Experiment("", "zn-bare-half", "zinc-operando", frozenset(WITH_FOLLOWERS), 1000)


def run_experiment(
    experiment: Experiment, folder: Path, *, seed: int = 0, out: TextIO | None = None
) -> str:
    """Run ``experiment`` against simulated instruments into the data ``folder``; return its uid."""
    bench = load_bench("sim").only(set(experiment.instruments))
    protocol = load_protocol(experiment.protocol)
    with (
        tempfile.TemporaryDirectory(prefix="operando-sim-") as published,
        SimulatedBench(
            experiment.cell,
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


def compare(experiment: Experiment, measured: dict[str, Metric]) -> list[Verdict]:
    """Return what the rows of an experiment say of its metrics."""
    numbers = {
        name: Numbers(one.value, one.uncertainty, one.reason) for name, one in measured.items()
    }
    outcomes = {(experiment.name, 0): Outcome(experiment.name, numbers=numbers)}
    rows = [row for row in SODIUM_ROWS if row.experiments == (experiment.name,)]
    return [judge(row, outcomes) for row in rows]


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
    lines: list[Verdict] = []
    for experiment, uid in zip(SODIUM, uids, strict=False):
        lines += compare(experiment, read_back(uid, folder)[1])
    zinc, zinc_metrics = read_back(uids[-1], folder)
    figure = folder / "figures" / f"{zinc.uid[:8]}.png"
    figure.parent.mkdir(parents=True, exist_ok=True)
    run_figure(zinc, zinc_metrics).savefig(figure, dpi=150)

    say()
    say("Paper values through driver, plan, record and analysis (a test of the software path,")
    say("not of electrochemistry: the simulated cell was given or calibrated on these values):")
    say(text_table(lines))
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
    return 0 if all(line.word == "ok" for line in lines) else 1


def _shown(path: Path) -> str:
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))
