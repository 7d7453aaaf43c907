"""What the tests from the wire to the number share: a simulated bench, and what really happened."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from instruments.bench_file import BenchFile
from instruments.transport._buffered import BufferedTransport
from operando.configuration import load_bench, load_cell
from operando.session import Session
from operando.simulation import SimulatedBench
from techniques import Cell, OpenCircuit, PlateStripCycle, Protocol, SafetyLimits, Schedule
from techniques import Sequence as Steps

LEADER_ONLY = ("potentiostat",)
T = TypeVar("T")


class Chain:
    """A simulated bench, a session on it, and the truth of the simulation."""

    def __init__(self, folder: Path, preset: str, **options: Any) -> None:
        self.sim = folder / "sim"
        self.data = folder / "data"
        self.preset = preset
        self.options = options

    def simulated(self, *, leader_only: bool = False) -> SimulatedBench:
        """Return the simulator, to be entered."""
        served = {"instruments": LEADER_ONLY} if leader_only else {}
        return SimulatedBench(self.preset, directory=self.sim, **served | self.options)

    def session(self, bench: BenchFile | Sequence[str] = LEADER_ONLY) -> Session:
        """Return a session on ``bench``, or on these instruments of the simulated one."""
        file = bench if isinstance(bench, BenchFile) else load_bench("sim").only(set(bench))
        return Session(file, self.data, catalog=False)

    def run(self, protocol: Protocol, cell: Cell | str, only: Sequence[str] = LEADER_ONLY) -> str:
        """Run ``protocol`` on a fresh simulated cell; return the run's uid."""
        told = load_cell(cell) if isinstance(cell, str) else cell
        leader_only = tuple(only) == LEADER_ONLY
        with self.simulated(leader_only=leader_only), self.session(only) as session:
            return session.run_protocol(protocol, cell=told)

    def truth(self, instrument: str, event: str | None = None) -> list[dict[str, Any]]:
        """Return what the simulator wrote down, one kind of event or all."""
        path = self.sim / "sim_truth" / f"{instrument}.jsonl"
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if event is None or line["event"] == event]


def plate_strip(
    cell: str,
    current_ma_cm2: float,
    charge_mah_cm2: float,
    *,
    cycles: int = 1,
    rest_s: float = 20.0,
    until_v: float = 0.5,
    record: dict[str, float] | None = None,
    every: Schedule | None = None,
    open_circuit_s: float = 10.0,
    limits: SafetyLimits | None = None,
) -> Protocol:
    """Return open circuit, then cycles that plate a charge and strip to a potential."""
    record = record or {"dt_s": 30.0}
    plate = {
        "current_density_ma_cm2": current_ma_cm2,
        "until": [{"quantity": "charge_mah_cm2", "value": charge_mah_cm2}],
        "record": record,
    }
    strip = {
        "current_density_ma_cm2": current_ma_cm2,
        "until": [
            {"quantity": "potential_above_v", "value": until_v},
            {"quantity": "charge_mah_cm2", "value": 1.1 * charge_mah_cm2, "action": "stop"},
        ],
        "record": record,
    }
    cycle = PlateStripCycle.model_validate(
        {"plate": plate, "strip": strip, "cycles": cycles, "rest_s": rest_s}
    )
    steps = Steps(steps=(OpenCircuit(duration_s=open_circuit_s), cycle))
    return Protocol(
        name="short",
        cell=cell,
        technique=steps,
        every=every or Schedule(),
        limits=limits or SafetyLimits(),
    )


@pytest.fixture(scope="module", autouse=True)
def _patient_lines() -> Iterator[None]:
    """Wait longer for what instruments answer: simulators are kept from it by a busy computer."""
    lines, exactly = BufferedTransport.read_line, BufferedTransport.read_exactly

    def patience(timeout_s: float) -> float:
        return timeout_s if timeout_s < 0.5 else max(timeout_s, 20.0)

    def read_line(self: BufferedTransport, timeout_s: float) -> bytes:
        return lines(self, patience(timeout_s))

    def read_exactly(self: BufferedTransport, n: int, timeout_s: float) -> bytes:
        return exactly(self, n, patience(timeout_s))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BufferedTransport, "read_line", read_line)
        patch.setattr(BufferedTransport, "read_exactly", read_exactly)
        yield


@pytest.fixture(scope="session", name="plate_strip")
def _plate_strip() -> Callable[..., Protocol]:
    return plate_strip


def in_time(attempt: Callable[[], T], check: Callable[[T], object]) -> T:
    """Return what an attempt gave, one of five, that passes a check of what was done in time.

    A simulated cell goes on, hundreds of times as fast, while a busy computer has no time for us.
    """
    for _ in range(4):
        found = attempt()
        try:
            check(found)
        except AssertionError:
            continue
        return found
    found = attempt()
    check(found)
    return found


@pytest.fixture(scope="session", name="in_time")
def _in_time() -> Callable[..., Any]:
    return in_time


@pytest.fixture(scope="module")
def make_chain(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Chain]:
    """Return what makes a chain in a folder of its own, from a preset and simulator options."""

    def make(preset: str, **options: Any) -> Chain:
        return Chain(tmp_path_factory.mktemp("chain"), preset, **options)

    return make
