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
from operando.acceptance.running import read_outcomes

AT_ONCE = 2
# Beyond this an experiment hangs: the longest takes some ten minutes on a busy machine.
LONGEST_S = 7200.0
_TAIL_CHARACTERS = 600
# Starting a process costs as much as a short experiment.
SHORT_S, SEEDS_IN_A_PROCESS = 5.0, 25

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
    batches = _batches(wanted)
    truths = folder / "sim_truth"
    truths.mkdir(parents=True, exist_ok=True)
    telling = threading.Lock()

    def run(batch: tuple[str, Sequence[int]]) -> list[Outcome]:
        name, seeds = batch
        outcomes = _run_batch(EXPERIMENTS[name], seeds, folder, truths)
        with telling:
            for outcome in outcomes:
                tell(_line(outcome))
        return outcomes

    with ThreadPoolExecutor(at_once) as pool:
        return {
            (outcome.experiment, outcome.seed): outcome
            for outcomes in pool.map(run, batches)
            for outcome in outcomes
        }


def _batches(wanted: Sequence[tuple[str, int]]) -> list[tuple[str, Sequence[int]]]:
    """Return what one process does after the other: many seeds, where each is short."""
    seeds: dict[str, list[int]] = {}
    for name, seed in dict.fromkeys(wanted):
        seeds.setdefault(name, []).append(seed)
    batches = []
    for name, numbers in seeds.items():
        size = SEEDS_IN_A_PROCESS if EXPERIMENTS[name].cost_s <= SHORT_S else 1
        batches += [(name, numbers[i : i + size]) for i in range(0, len(numbers), size)]
    return sorted(batches, key=lambda batch: -EXPERIMENTS[batch[0]].cost_s * len(batch[1]))


def _run_batch(
    experiment: Experiment, seeds: Sequence[int], folder: Path, truths: Path
) -> list[Outcome]:
    truth = Path(tempfile.mkdtemp(prefix=f"{experiment.name}-", dir=truths))
    out = truth / "outcomes.json"
    line = [sys.executable, "-m", "operando.acceptance.running", experiment.name]
    line += ["--seeds", ",".join(map(str, seeds)), "--data", str(folder)]
    line += ["--truth", str(truth), "--out", str(out)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        why = f"did not end within {LONGEST_S:g} s"
    else:
        said = done.stderr.strip()[-_TAIL_CHARACTERS:] or "it said nothing"
        why = f"ended with exit code {done.returncode}: {said}"
    found = read_outcomes(out.read_text(encoding="utf-8")) if out.exists() else []
    missing = set(seeds) - {outcome.seed for outcome in found}
    return [*found, *(Outcome(experiment.name, seed, failed=why) for seed in sorted(missing))]


def _line(outcome: Outcome) -> str:
    name = f"{outcome.experiment}, seed {outcome.seed}"
    if outcome.not_yet is not None:
        return f"  {name}: not yet ({outcome.not_yet})"
    told = f"  {name}: {outcome.wall_s:.0f} s, {outcome.rows} rows, run {outcome.uid[:8]}"
    return told + (f"; {outcome.failed}" if outcome.failed else "")
