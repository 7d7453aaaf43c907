"""A sample of the trials of ``make faults``: processes killed, power cut.

All processes are forked from one that has imported everything, so that twenty kills take seconds.
Full and read-only disks are tried there on file systems made for it, which takes rights that not
everybody who runs the tests has; the tests of the journal's writer have limits to a file's size
instead. Every damaged bit is in the tests of its format.
"""

from pathlib import Path

import pytest

from benchmarks.faults.columns import killed_columns
from benchmarks.faults.kills import kills
from benchmarks.faults.outcome import Effort, Trial, table
from benchmarks.faults.power_cuts import power_cuts

# Rows whose callback had returned are counted without grace; it is for those that the driver had,
# and for what was not synced. Without any, the oldest of those was 0.16 s old, of 0.25 s that are
# promised, on two processors with eight busy processes.
SAMPLE = Effort(kills=12, power_cuts=20, seed=0, grace_s=0.3)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("trial", [kills, killed_columns, power_cuts])
def test_no_row_is_lost_in_a_sample_of_the_trials(trial: Trial, tmp_path: Path) -> None:
    outcomes = trial(tmp_path, SAMPLE)
    assert all(outcome.held for outcome in outcomes), "\n" + table(outcomes)
