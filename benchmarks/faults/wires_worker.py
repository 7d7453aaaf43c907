"""Runs cases one after the other: one JSON line in, one out; ends when its input does."""

import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.faults.wires_bench import SUBJECTS
from benchmarks.faults.wires_case import Case, Phase, quiet, run_case


def main() -> int:
    """Serve until nobody asks any more."""
    quiet()
    # Nobody dies here; what a guard does where somebody does is tried on its own.
    os.environ["OPERANDO_GUARD"] = "off"
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing else may come between the answers
    with tempfile.TemporaryDirectory(prefix="operando-wires-") as folder:
        for line in sys.stdin:
            told = json.loads(line)
            case = Case(**{**told, "phase": Phase(told["phase"])})
            ending = run_case(case, SUBJECTS[case.instrument], Path(folder))
            answers.write(ending.as_json() + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
