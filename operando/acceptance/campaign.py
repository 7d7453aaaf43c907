"""All experiments that some rows need, each in a process of its own, two at a time.

Those that wait for their clock most of the time, because instruments follow them, run beside these,
one at a time.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from operando.acceptance.experiments import EXPERIMENTS, Experiment
from operando.acceptance.measures import Outcome
from operando.acceptance.running import read_outcomes

JOBS = 2
# Beyond this an experiment hangs: the longest takes some minutes, on a busy machine ten.
LONGEST_S = 7200.0
_TAIL_CHARACTERS = 600
# Starting a process costs as much as a short experiment.
SHORT_S, SEEDS_IN_A_PROCESS = 5.0, 25
_BESIDES = 1

Tell = Callable[[str], None]
Batch = tuple[str, Sequence[int]]
Found = Mapping[tuple[str, int], Outcome]


def run_all(
    wanted: Sequence[tuple[str, int]],
    folder: Path,
    tell: Tell,
    jobs: int = JOBS,
    seen: Callable[[Found], None] = lambda outcomes: None,
) -> dict[tuple[str, int], Outcome]:
    """Run experiments, the longest first, and return what came of each.

    Args:
        wanted: Names and seeds.
        folder: The data folder; its catalog service runs.
        tell: Is told a line for each that has ended.
        jobs: How many compute at the same time.
        seen: Is told all outcomes so far whenever there are more.

    One that fails tells why in its outcome; the others go on.
    """
    truths = folder / "sim_truth"
    truths.mkdir(parents=True, exist_ok=True)
    progress = _Progress(wanted, jobs)
    outcomes: dict[tuple[str, int], Outcome] = {}
    with ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(_BESIDES) as besides:
        futures: list[Future[list[Outcome]]] = []
        for name, seeds in _batches(wanted):
            one = EXPERIMENTS[name]
            chosen = besides if one.waits else pool
            futures.append(
                chosen.submit(_run_batch, one, seeds, folder, truths, tell, progress.ended)
            )
        for future in as_completed(futures):
            outcomes |= {(one.experiment, one.seed): one for one in future.result()}
            seen(outcomes)
    return outcomes


def expected_s(wanted: Sequence[tuple[str, int]], jobs: int = JOBS) -> float:
    """Return how long experiments will take, s: by what they took on a machine of two cores."""
    computing = waiting = longest = 0.0
    for name, seeds in _batches(wanted):
        one = EXPERIMENTS[name]
        cost_s = one.cost_s * len(seeds)
        longest = max(longest, cost_s)
        if one.waits:
            waiting += cost_s
        else:
            computing += cost_s
    return max(computing / jobs, waiting / _BESIDES, longest)


def clock_text(seconds: float) -> str:
    """Return a length of time as hours and minutes, or minutes and seconds."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s"


class _Progress:
    """How many experiments have ended, and how long the rest will take."""

    def __init__(self, wanted: Sequence[tuple[str, int]], jobs: int) -> None:
        each = dict.fromkeys(wanted)
        self._count = len(each)
        self._total_s = sum(EXPERIMENTS[name].cost_s for name, _ in each) or 1.0
        self._expected_s = expected_s(wanted, jobs)
        self._begun = time.monotonic()
        self._ended, self._done_s = 0, 0.0
        self._lock = threading.Lock()

    def ended(self, outcome: Outcome) -> str:
        """Count one more, and return what is to be told of how far it is."""
        with self._lock:
            self._ended += 1
            self._done_s += EXPERIMENTS[outcome.experiment].cost_s
            share, passed_s = self._done_s / self._total_s, time.monotonic() - self._begun
            # At first by what they took elsewhere, at last by what they took here.
            left_s = (1 - share) * ((1 - share) * self._expected_s + passed_s)
            told = f"[{self._ended}/{self._count}, {clock_text(passed_s)}"
            if self._ended < self._count:
                told += f", some {clock_text(left_s)} left"
            return told + "]"


def _batches(wanted: Sequence[tuple[str, int]]) -> list[Batch]:
    """Return what one process does after the other: many seeds, where each is short."""
    seeds: dict[str, list[int]] = {}
    for name, seed in dict.fromkeys(wanted):
        seeds.setdefault(name, []).append(seed)
    batches: list[Batch] = []
    for name, numbers in seeds.items():
        size = SEEDS_IN_A_PROCESS if EXPERIMENTS[name].cost_s <= SHORT_S else 1
        batches += [(name, numbers[i : i + size]) for i in range(0, len(numbers), size)]
    return sorted(batches, key=lambda batch: -EXPERIMENTS[batch[0]].cost_s * len(batch[1]))


def _run_batch(
    experiment: Experiment,
    seeds: Sequence[int],
    folder: Path,
    truths: Path,
    tell: Tell,
    ended: Callable[[Outcome], str],
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
    found += [Outcome(experiment.name, seed, failed=why) for seed in sorted(missing)]
    for outcome in found:
        tell(f"  {ended(outcome)} {_line(outcome)}")
    return found


def _line(outcome: Outcome) -> str:
    name = f"{outcome.experiment}, seed {outcome.seed}"
    if outcome.not_yet is not None:
        return f"{name}: not yet ({outcome.not_yet})"
    told = f"{name}: {outcome.wall_s:.0f} s, {outcome.rows} rows, run {outcome.uid[:8]}"
    return told + (f"; {outcome.failed}" if outcome.failed else "")
