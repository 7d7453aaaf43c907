"""Runs that were changed while they went on, killed, and gone on with."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operando.analysis.metrics import half_cycles_of
from operando.configuration import load_bench
from operando.journal import list_runs
from operando.resume import resume
from operando.runs import Run
from operando.session import Session
from techniques import Protocol, Schedule

pytestmark = [pytest.mark.timeout(180), pytest.mark.long]
SCRIPT = Path(__file__).with_name("asked_run_process.py")
FACTOR, CHARGE = 200.0, 0.1


def cycling(cycles: int, density: float, charge: float = CHARGE) -> Protocol:
    record = {"dt_s": 1.0, "edge_dt_s": 1.0}
    half = {"current_density_ma_cm2": density, "record": record}
    cycle = {
        "type": "plate_strip_cycle",
        "cycles": cycles,
        "rest_s": 10,
        "plate": half | {"until": [{"quantity": "charge_mah_cm2", "value": charge}]},
        "strip": half
        | {
            "until": [
                {"quantity": "potential_above_v", "value": 0.5},
                {"quantity": "charge_mah_cm2", "value": 1.5 * CHARGE, "action": "stop"},
            ]
        },
    }
    rest = {"type": "open_circuit", "duration_s": 10, "record": record}
    return Protocol.model_validate(
        {
            "name": f"cycling at {density:g}",
            "cell": "zn-bare-half",
            "technique": {"type": "sequence", "steps": [rest, cycle]},
            "every": Schedule(image_s=None, spectrum_s=None, injection_s=None),
        }
    )


class Asked:
    """A run in a process of its own that is asked things, and is killed."""

    def __init__(
        self, broken: Any, wait_for: Callable[..., None], processes: list[Any], *asked: Any
    ) -> None:
        self.broken, self.wait_for, self.processes = broken, wait_for, processes
        self.asked = asked

    def run_and_kill(self, protocol: Protocol, half_cycle: int, rows: int, answers: int) -> None:
        """Kill -9 once so many rows of that half-cycle are recorded, and all was answered."""
        path = self.broken.folder / "asked.json"
        path.write_text(json.dumps(self.asked))
        process = self.broken.operando(
            str(self.broken.write_protocol(protocol)),
            str(self.broken.data),
            str(path),
            code=f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')",
        )
        self.processes.append(process)
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(answers)]
        assert all(told), process.communicate()

        def enough() -> bool:
            assert process.poll() is None, process.communicate()
            runs = list_runs(self.broken.data)
            if not runs or not runs[0].rows.get("potentiostat"):
                return False
            columns = Run.from_journal("last", self.broken.data).streams["potentiostat"].columns
            driven = columns["potentiostat_role"] != 0
            of_it = columns["potentiostat_half_cycle"] >= half_cycle
            return int(np.sum(driven & of_it)) >= rows

        self.wait_for(enough, f"{rows} rows of half-cycle {half_cycle} did not come")
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def resume(self) -> Run:
        with Session(load_bench("sim").only({"potentiostat"}), self.broken.data) as session:
            resume(session, "last")
        return Run.from_journal("last", self.broken.data)


@pytest.fixture
def asked(broken: Any, wait_for: Callable[..., None], tidy: list[Any]) -> Callable[..., Asked]:
    return lambda *requests: Asked(broken, wait_for, tidy, *requests)


def densities(run: Run) -> list[float]:
    return [round(1e3 * abs(half.mean_current_a) / 1.131, 1) for half in half_cycles_of(run)]


def test_what_was_amended_and_skipped_goes_on_so_after_a_kill(asked: Callable[..., Asked]) -> None:
    other = cycling(3, 2.0, CHARGE / 2)
    amend = {"request": "amend", "by": "Ada", "protocol": other.model_dump(mode="json")}
    skip = {"request": "skip_step", "by": "Bob"}
    bench = asked([1, skip], [2, amend])
    with bench.broken.serve("potentiostat", factor=FACTOR):
        bench.run_and_kill(cycling(30, 1.0), 5, 20, 2)
        run = bench.resume()
    assert len(run.chain) == 2
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    halves = half_cycles_of(run)
    assert [half.number for half in halves] == [1, 2, 3, 4, 5, 6]
    (first,) = [one.half_cycle for one in run.amendments]
    assert first in (3, 4)  # the strip may be over by the time that it is asked
    assert densities(run) == [1.0] * (first - 1) + [2.0] * (7 - first)
    assert halves[0].capacity_mah_cm2 < 0.95 * CHARGE
    assert halves[4].capacity_mah_cm2 == pytest.approx(CHARGE / 2, rel=1e-2)
    alone = Run.from_journal(run.chain[1], bench.broken.data, chain=False)
    assert [one.half_cycle for one in alone.amendments] == [first]
    assert alone.start["rules"] == [rule.model_dump(mode="json") for rule in other.rules]


def test_an_amendment_that_was_accepted_and_not_made_is_made_after_a_kill(
    asked: Callable[..., Asked],
) -> None:
    other = cycling(2, 2.0)
    amend = {"request": "amend", "by": "Ada", "protocol": other.model_dump(mode="json")}
    bench = asked([2, amend])
    with bench.broken.serve("potentiostat", factor=FACTOR / 4):
        bench.run_and_kill(cycling(30, 1.0), 2, 20, 1)
        run = bench.resume()
    assert len(run.chain) == 2
    assert densities(run) == [1.0, 1.0, 2.0, 2.0]
    assert [one.half_cycle for one in run.amendments] == [3]
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
