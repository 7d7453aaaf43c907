"""All experiments that some rows need, each in a process of its own, two at a time."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from operando.acceptance.experiments import EXPERIMENTS, Experiment
from operando.acceptance.measures import Outcome
from operando.acceptance.running import read_outcome

AT_ONCE = 2
# Beyond this an experiment hangs: the longest takes some ten minutes on a busy machine.
LONGEST_S = 7200.0
_TAIL_CHARACTERS = 600

Tell = Callable[[str], None]


def run_all(
    wanted: Sequence[tuple[str, int]], folder: Path, tell: Tell, at_once: int = AT_ONCE
) -> dict[tuple[str, int], Outcome]:
    """Run experiments, the longest first, and return what came of each.

    Args:
        wanted: Names and seeds.
        folder: The data folder; its catalog service runs.
        tell: Is told a line for each that has ended.
        at_once: How many run at the same time.

    One that fails tells why in its outcome; the others go on.
    """
    order = sorted(dict.fromkeys(wanted), key=lambda one: -EXPERIMENTS[one[0]].cost_s)
    truths = folder / "sim_truth"
    truths.mkdir(parents=True, exist_ok=True)
    telling = threading.Lock()

    def run(one: tuple[str, int]) -> Outcome:
        name, seed = one
        outcome = _run_one(EXPERIMENTS[name], seed, folder, truths)
        with telling:
            tell(_line(outcome))
        return outcome

    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(order, pool.map(run, order), strict=True))


def _run_one(experiment: Experiment, seed: int, folder: Path, truths: Path) -> Outcome:
    truth = Path(tempfile.mkdtemp(prefix=f"{experiment.name}-{seed}-", dir=truths))
    out = truth / "outcome.json"
    line = [sys.executable, "-m", "operando.acceptance.running", experiment.name]
    line += ["--seed", str(seed), "--data", str(folder), "--truth", str(truth), "--out", str(out)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        return Outcome(experiment.name, seed, failed=f"did not end within {LONGEST_S:g} s")
    if done.returncode or not out.exists():
        said = done.stderr.strip()[-_TAIL_CHARACTERS:] or "it said nothing"
        return Outcome(
            experiment.name, seed, failed=f"ended with exit code {done.returncode}: {said}"
        )
    return read_outcome(out.read_text(encoding="utf-8"))


def _line(outcome: Outcome) -> str:
    name = f"{outcome.experiment}, seed {outcome.seed}"
    if outcome.not_yet is not None:
        return f"  {name}: not yet ({outcome.not_yet})"
    told = f"  {name}: {outcome.wall_s:.0f} s, {outcome.rows} rows, run {outcome.uid[:8]}"
    return told + (f"; {outcome.failed}" if outcome.failed else "")
