"""Deaths in the middle of an experiment, again and again, and going on after each."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.faults.outcome import Effort, Outcome
from operando.journal import list_runs
from operando.runs import Run
from operando.simulation import SimulatedBench
from techniques import Protocol

CELL = "zn-bare-half"
AREA_CM2 = 1.131
# So often that what a power cut leaves unknown stays within what is allowed, also after four.
ROW_S = 0.25
PLATED_MAH_CM2, CYCLES = 0.08, 3
PLATE, STRIP = -1, 1
FACTOR = 300.0
_PATIENCE_S = 120.0
_NOT_HELD = 2e-3  # of a charge
_MOST_DEATHS = 4


def _protocol() -> Protocol:
    record = {"dt_s": ROW_S, "edge_dt_s": ROW_S}
    half = {"current_density_ma_cm2": 1.0, "record": record}
    charge = {"quantity": "charge_mah_cm2", "value": PLATED_MAH_CM2}
    guard = {"quantity": "charge_mah_cm2", "value": 1.5 * PLATED_MAH_CM2, "action": "stop"}
    cycle = {
        "type": "plate_strip_cycle",
        "cycles": CYCLES,
        "rest_s": 15,
        "between": {
            "type": "impedance_spectrum",
            "amplitude_rms_v": 0.005,
            "frequency_min_hz": 1.0,
            "points_per_decade": 5,
        },
        "plate": half | {"until": [charge]},
        "strip": half | {"until": [{"quantity": "potential_above_v", "value": 0.5}, guard]},
    }
    rest = {"type": "open_circuit", "duration_s": 15, "record": record}
    technique = {"type": "sequence", "steps": [rest, cycle]}
    return Protocol.model_validate({"name": "deaths", "cell": CELL, "technique": technique})


class _Bench:
    """A simulated potentiostat, the processes that drive it and the record they leave."""

    def __init__(self, folder: Path) -> None:
        self.sim, self.data = folder / "sim", folder / "data"
        self.data.mkdir(parents=True)
        # In the way of the catalog service, which would take longer to start than all of this.
        (self.data / "state").touch()
        self.protocol = folder / "deaths.yaml"
        self.protocol.write_text(yaml.safe_dump(_protocol().model_dump(mode="json")))

    def serve(self) -> SimulatedBench:
        return SimulatedBench(
            CELL, factor=FACTOR, instruments=("potentiostat",), directory=self.sim
        )

    def operando(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "operando.cli", *words, "--only", "potentiostat"],
            env=os.environ | {"OPERANDO_DATA": str(self.data), "OPERANDO_SIM": str(self.sim)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cut_power(self) -> None:
        """Cut the power of the instrument; return when it is back."""
        before = len(self.truth("bench", "fault"))
        fault = {"instrument": "potentiostat", "fault": "power-cycle", "seconds": 0.1}
        with (self.sim / "faults").open("a") as file:
            file.write(json.dumps(fault) + "\n")
        deadline = time.monotonic() + _PATIENCE_S
        while len(self.truth("bench", "fault")) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)

    def truth(self, name: str, event: str) -> list[dict[str, Any]]:
        path = self.sim / "sim_truth" / f"{name}.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().rpartition("\n")[0].splitlines()
        return [x for x in map(json.loads, lines) if x["event"] == event]

    def wait_for_rows(self, process: "subprocess.Popen[str]", members: int) -> None:
        """Wait until the run that ``process`` makes has begun, or the process has ended."""
        deadline = time.monotonic() + _PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            runs = list_runs(self.data)
            if len(runs) >= members and runs[0].rows:
                return
            time.sleep(0.02)


def resumes(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Kill acquisitions, cut the instrument's power after some, and resume until the end."""
    rng = random.Random(effort.seed)
    outcomes = []
    for power_too in (False, True):
        count: Counter[str] = Counter()
        wrong: list[str] = []
        tried = effort.resumes if not power_too else max(1, effort.resumes // 3)
        for number in range(tried):
            bench = _Bench(folder / f"{'power' if power_too else 'host'}-{number}")
            with bench.serve():
                failed = _until_the_end(bench, rng, count, power_too=power_too)
            wrong += failed or _compared(bench, count, power_too=power_too)
        what = " and power cut of the instrument" if power_too else ""
        outcomes.append(
            Outcome(
                fault=f"kill -9{what} in {tried} experiments, {count['deaths']} times; then resume",
                expected="one experiment: no row missing or twice, counters go on, every "
                "half-cycle once, charges as in the simulator's ledger",
                observed=f"{count['runs']} runs, {count['rows']} rows, {count['collected']} of "
                f"them collected from the instrument; {count['decided']} times the operator was "
                f"asked whether a program had begun; {count['had_ended']} times the run had just "
                f"ended; {'; '.join(wrong) or 'all as expected'}",
                rows_lost=count["lost"],
                as_expected=not wrong,
            )
        )
    return outcomes


def _until_the_end(
    bench: _Bench, rng: random.Random, count: Counter[str], *, power_too: bool
) -> list[str]:
    """Run, die and resume; the last attempt is left in peace. Return what went wrong."""
    deaths = rng.randint(1, _MOST_DEATHS)
    process, members = bench.operando("run", str(bench.protocol)), 0
    for death in range(deaths):
        if death and rng.random() < 0.3:
            # Perhaps while it connects, collects or looks at the cell.
            time.sleep(rng.uniform(1.0, 4.0))
        else:
            bench.wait_for_rows(process, members + 1)
            time.sleep(rng.uniform(0.0, 1.2))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        count["deaths"] += 1
        members = len(list_runs(bench.data))
        if power_too:
            bench.cut_power()
        elif rng.random() < 0.5:
            time.sleep(rng.uniform(0.0, 0.5))
        decisions = ("--trust-log",) if power_too else ()
        process = bench.operando("resume", "last", *decisions)
    _, told = process.communicate(timeout=_PATIENCE_S)
    if process.returncode != 0 and told.rstrip().endswith("say --assume-charge 0"):
        # Killed before its first row: the operator is asked. The log is opened by a program's
        # first statement, and no power was cut: without a log it had not begun.
        count["decided"] += 1
        process = bench.operando("resume", "last", "--assume-charge", "0")
        _, told = process.communicate(timeout=_PATIENCE_S)
    if process.returncode == 2 and told.rstrip().endswith(": nothing is left to resume"):
        # The kill came when the run's last document had just been written.
        count["had_ended"] += 1
        return []
    if process.returncode != 0:
        return [f"resume ended with {process.returncode}: {told.strip().splitlines()[-1:]}"]
    return []


def _compared(bench: _Bench, count: Counter[str], *, power_too: bool) -> list[str]:
    """Compare the record of one experiment with what it must be and with the ledger."""
    runs = list_runs(bench.data)
    count["runs"] += len(runs)
    run = Run.from_journal(runs[0].uid, bench.data)
    columns = run.streams["potentiostat"].columns
    t, step, step_t, half, role, flags, current = (
        columns[f"potentiostat_{name}"]
        for name in ("t", "step", "step_t", "half_cycle", "role", "flags", "current")
    )
    wrong = []
    count["rows"] += len(t)
    count["lost"] += int(np.sum((flags.astype(int) & 16) != 0))
    count["collected"] += int(np.sum((flags.astype(int) & 32) != 0))
    if len(run.chain) != len(runs):
        wrong.append(f"{len(runs)} runs, but a chain of {len(run.chain)}")
    for name, values, least in (("t", t, 1e-9), ("step", step, 0.0), ("half-cycle", half, 0.0)):
        if np.any(np.diff(values) < least):
            wrong.append(f"{name} goes back")
    charges: dict[int, float] = {}
    given = [x["current_a"] for x in bench.truth("potentiostat", "segment") if "current_a" in x]
    for number in np.unique(step):
        rows = np.flatnonzero(step == number)
        gaps = np.diff(step_t[rows])
        if role[rows[0]] in (PLATE, STRIP):
            count["lost"] += int(np.sum(np.round(gaps / ROW_S) - 1 > 0.5))
        if np.any(gaps <= 0):
            wrong.append(f"a row of step {int(number)} is there twice")
        if role[rows[0]] in (PLATE, STRIP):
            # What the converter really gave: its own error is the same in any run.
            true_a = min(given, key=lambda x: abs(x - float(np.median(current[rows]))))
            charge = abs(true_a) * 1e3 / AREA_CM2 * float(step_t[rows[-1]]) / 3600
            number_of = int(half[rows[0]])
            charges[number_of] = charges.get(number_of, 0.0) + charge
    if list(charges) != list(range(1, 2 * CYCLES + 1)):
        wrong.append(f"half-cycles {list(charges)}")
    tolerance = 6e-3 * _MOST_DEATHS if power_too else _NOT_HELD
    plated = sum(charge for number, charge in charges.items() if number % 2)
    stripped = sum(charges.values()) - plated
    (end,) = bench.truth("cell", "end")
    for name, found, true in (
        ("plated", plated, end["working"]["charge_cathodic"]),
        ("stripped", stripped, end["working"]["charge_anodic"]),
        ("asked for", plated, CYCLES * PLATED_MAH_CM2),
    ):
        if abs(found / true - 1) > tolerance:
            wrong.append(f"{name} {found:.5f} mAh/cm2 for {true:.5f}")
    return wrong
