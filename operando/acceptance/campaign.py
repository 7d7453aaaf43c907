"""All experiments that some rows need, in processes of their own, two at a time.

Short ones share a process. Those that wait for their clock most of the time, because instruments
follow them, run beside the others, one at a time.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from operando.acceptance.experiments import EXPERIMENTS
from operando.acceptance.measures import Outcome
from operando.acceptance.running import read_outcomes

JOBS = 2
# Beyond this an experiment hangs: the longest takes some minutes, on a busy machine ten.
LONGEST_S = 7200.0
_TAIL_CHARACTERS = 600
# Starting a process costs as much as a short experiment: so much of these share one.
SHORT_S, SHARED_S = 5.0, 60.0
_BESIDES = 1
_LOOK_S = 1.0

Tell = Callable[[str], None]
Batch = Sequence[tuple[str, int]]
Found = Mapping[tuple[str, int], Outcome]


def run_all(
    wanted: Sequence[tuple[str, int]],
    folder: Path,
    tell: Tell,
    jobs: int = JOBS,
    seen: Callable[[Found], None] = lambda outcomes: None,
    leader: Sequence[str] = (),
) -> dict[tuple[str, int], Outcome]:
    """Run experiments, the longest first, and return what came of each.

    Args:
        wanted: Names and seeds.
        folder: The data folder; its catalog service runs.
        tell: Is told a line for each that has ended.
        jobs: How many compute at the same time.
        seen: Is told all outcomes so far whenever there are more.
        leader: Options of `operando.acceptance.running` that say which potentiostat leads.

    One that fails tells why in its outcome; the others go on.
    """
    truths = folder / "sim_truth"
    truths.mkdir(parents=True, exist_ok=True)
    results = _Results(_Progress(wanted, jobs), tell, seen)
    with ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(_BESIDES) as besides:
        begun = [
            (besides if _waits(batch) else pool).submit(
                _run_batch, batch, folder, truths, results, leader
            )
            for batch in _batches(wanted)
        ]
        for one in begun:
            one.result()
    return results.outcomes


def expected_s(wanted: Sequence[tuple[str, int]], jobs: int = JOBS) -> float:
    """Return how long experiments will take, s: by what they took on a machine of two cores."""
    computing = waiting = longest = 0.0
    for batch in _batches(wanted):
        cost_s = _cost_s(batch)
        longest = max(longest, cost_s)
        if _waits(batch):
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


class _Results:
    """Takes outcomes as they come, from several threads, and tells them."""

    def __init__(self, progress: _Progress, tell: Tell, seen: Callable[[Found], None]) -> None:
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self._progress, self._tell, self._seen = progress, tell, seen
        self._lock = threading.Lock()

    def add(self, outcome: Outcome) -> None:
        """Take one more."""
        with self._lock:
            self.outcomes[outcome.experiment, outcome.seed] = outcome
            self._tell(f"  {self._progress.ended(outcome)} {_line(outcome)}")
            self._seen(self.outcomes)


def _batches(wanted: Sequence[tuple[str, int]]) -> list[Batch]:
    """Return what one process does after the other, the longest first."""
    batches: list[Batch] = []
    short: list[tuple[str, int]] = []
    for one in dict.fromkeys(wanted):
        if EXPERIMENTS[one[0]].cost_s > SHORT_S or EXPERIMENTS[one[0]].waits:
            batches.append([one])
        else:
            short.append(one)
    together: list[tuple[str, int]] = []
    for one in sorted(short):
        together.append(one)
        if _cost_s(together) >= SHARED_S:
            batches.append(together)
            together = []
    if together:
        batches.append(together)
    return sorted(batches, key=lambda batch: -_cost_s(batch))


def _cost_s(batch: Batch) -> float:
    return sum(EXPERIMENTS[name].cost_s for name, _ in batch)


def _waits(batch: Batch) -> bool:
    return EXPERIMENTS[batch[0][0]].waits


def _run_batch(
    batch: Batch, folder: Path, truths: Path, results: _Results, leader: Sequence[str]
) -> None:
    """Run experiments in one process, and tell of each as soon as it has ended."""
    truth = Path(tempfile.mkdtemp(prefix=f"{batch[0][0]}-", dir=truths))
    out, said = truth / "outcomes.json", truth / "said.txt"
    line = [sys.executable, "-m", "operando.acceptance.running"]
    line += [f"{name}:{seed}" for name, seed in batch]
    line += ["--data", str(folder), "--truth", str(truth), "--out", str(out)]
    line += leader
    told = 0

    def look() -> int:
        text = out.read_text(encoding="utf-8") if out.exists() else ""
        found = read_outcomes(text[: text.rfind("\n") + 1])
        for outcome in found[told:]:
            results.add(outcome)
        return len(found)

    give_up_s = time.monotonic() + LONGEST_S
    why = f"did not end within {LONGEST_S:g} s"
    with said.open("wb") as file, subprocess.Popen(line, stdout=file, stderr=file) as process:
        while time.monotonic() < give_up_s:
            try:
                code = process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                told = look()
                continue
            tail = said.read_text(errors="replace").strip()[-_TAIL_CHARACTERS:]
            why = f"ended with exit code {code}: {tail or 'it said nothing'}"
            break
        else:
            process.kill()
    told = look()
    for name, seed in batch[told:]:
        results.add(Outcome(name, seed, failed=why))


def _line(outcome: Outcome) -> str:
    name = f"{outcome.experiment}, seed {outcome.seed}"
    if outcome.not_yet is not None:
        return f"{name}: not yet ({outcome.not_yet})"
    if outcome.refused is not None:
        return f"{name}: refused ({outcome.refused})"
    told = f"{name}: {outcome.wall_s:.0f} s, {outcome.rows} rows, run {outcome.uid[:8]}"
    return told + (f"; {outcome.failed}" if outcome.failed else "")
