"""Break things, print a table, and fail if a row is lost: ``python -m benchmarks.faults``.

Takes the better part of an hour on two cores; name trials to run only those. Some mount file
systems: who is not root gets a name space of its own for that, where the system allows it. Of
``wires``, which print one line for each of their cases, ``--instrument`` and ``--fault`` choose.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.faults import (
    catalogs,
    columns,
    damage,
    disks,
    guards,
    kills,
    power_cuts,
    resumes,
    wires,
)
from benchmarks.faults.outcome import Effort, NotTriedError, Outcome, Trial, table

TRIALS: dict[str, Trial] = {
    "kills": kills.kills,
    "columns": columns.killed_columns,
    "full-columns": columns.full_columns,
    "power-cuts": power_cuts.power_cuts,
    "full-disks": disks.full_disks,
    "read-only-disks": disks.read_only_disks,
    "damage": damage.damage,
    "catalogs": catalogs.catalogs,
    "resumes": resumes.resumes,
    "guards": guards.guards,
    "wires": wires.wires,
}
_OWN_NAMES = "OPERANDO_FAULTS_IN_OWN_NAME_SPACE"


def main() -> int:
    """Run the trials named on the command line, by default all; 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("trials", nargs="*", choices=[*TRIALS, []], metavar="TRIAL")
    parser.add_argument("--kills", type=int, default=Effort.kills)
    parser.add_argument("--power-cuts", type=int, default=Effort.power_cuts)
    parser.add_argument("--flips", type=int, default=Effort.flips)
    parser.add_argument("--resumes", type=int, default=Effort.resumes)
    parser.add_argument("--deaths", type=int, default=Effort.deaths)
    for name in ("--instrument", "--fault"):
        parser.add_argument(name, action="append", default=[], help="of wires; may be repeated")
    parser.add_argument("--seed", type=int, default=Effort.seed)
    arguments = parser.parse_args()
    if os.geteuid() != 0 and _OWN_NAMES not in os.environ:
        os.environ[_OWN_NAMES] = "1"
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
        if _works([*unshare, "true"]):  # else what must be mounted is not tried
            again = [sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]]
            os.execvp("unshare", [*unshare, *again])
    # What readers tell of damage is checked; thousands of lines of it help nobody.
    logging.getLogger("operando.journal").setLevel(logging.ERROR)
    effort = Effort(
        arguments.kills,
        arguments.power_cuts,
        arguments.flips,
        arguments.resumes,
        arguments.deaths,
        arguments.seed,
        instruments=tuple(arguments.instrument),
        faults=tuple(arguments.fault),
    )
    began = time.monotonic()
    outcomes: list[Outcome] = []
    sys.stdout.write("# operando: faults\n\n")
    sys.stdout.write("\n".join(f"- {line}" for line in machine.description()) + "\n\n")
    for name in arguments.trials or TRIALS:
        with tempfile.TemporaryDirectory(prefix="operando-faults-") as folder:
            began_trial = time.monotonic()
            try:
                outcomes += TRIALS[name](Path(folder), effort)
            except NotTriedError as error:
                outcomes.append(Outcome(name, "", str(error), 0, tried=False))
            took_s = time.monotonic() - began_trial
        sys.stderr.write(f"{name}: {took_s:.0f} s\n")
    sys.stdout.write(table(outcomes) + "\n\n")
    failed = sum(not outcome.held for outcome in outcomes)
    lost = sum(outcome.rows_lost or 0 for outcome in outcomes)
    sys.stdout.write(
        f"{len(outcomes)} faults in {time.monotonic() - began:.0f} s (seed {effort.seed}): "
        f"{lost} rows lost, {failed} not held, "
        f"{sum(not outcome.tried for outcome in outcomes)} not tried.\n"
    )
    return 1 if failed else 0


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
