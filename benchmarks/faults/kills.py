"""kill -9 at random instants."""

import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.doomed import closed, kept_in, nursery
from benchmarks.faults.outcome import Effort, Outcome
from operando.journal import inspect

# Of ten processes, how many record how.
_MIX = ["pages"] * 6 + ["events"] * 2 + ["no engine"] * 2
_WHAT = {
    "pages": "RunEngine, pages at 10 Hz, 200 rows/s",
    "events": "RunEngine, single rows at full speed",
    "no engine": "the journal alone, pages at full speed",
}
ROWS_DRIVER_HAD_S = 0.25


def kills(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Kill recording processes; count rows whose callback had returned and that are absent."""
    rng = random.Random(effort.seed)
    told: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {how: Counter() for how in _WHAT}
    oldest = dict.fromkeys(_WHAT, 0.0)
    with nursery() as processes:
        for number in range(effort.kills):
            how = _MIX[number % len(_MIX)]
            told[how] += 1
            count = counts[how]
            place = folder / f"kill-{number}"
            doomed = processes.start(place, how)
            doomed.wait_for("doc", 3)
            time.sleep(rng.uniform(0.0, 0.8))
            killed = doomed.kill()
            lines = doomed.lines()
            returned = max((int(x[3]) for x in lines if x[0] == "doc"), default=0)
            count["torn"] += not inspect(doomed.journal).clean
            kept = kept_in(doomed.journal)
            count["rows"] += kept.rows
            count["lost"] += max(0, returned - kept.rows) + kept.wrong
            for line in lines:
                if line[0] == "row" and int(line[1]) > kept.rows:
                    age = killed - float(line[2])
                    oldest[how] = max(oldest[how], age)
                    count["old"] += age > ROWS_DRIVER_HAD_S + effort.grace_s
            count["closed"] += closed(doomed.journal)[1]
            shutil.rmtree(place)
    return [
        Outcome(
            fault=f"kill -9, {times} times: {_WHAT[how]}",
            expected="every row whose callback had returned"
            + (", every row the driver had 250 ms before" if how != "no engine" else "")
            + "; closed as fail",
            observed=f"{counts[how]['rows']} rows read back, {counts[how]['torn']} torn ends, "
            f"{counts[how]['closed']} closed"
            + (
                f"; youngest rows missing: up to {oldest[how] * 1e3:.0f} ms old"
                if how != "no engine"
                else ""
            ),
            rows_lost=counts[how]["lost"] + counts[how]["old"],
            as_expected=counts[how]["closed"] == times,
        )
        for how, times in told.items()
    ]
