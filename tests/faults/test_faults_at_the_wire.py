"""A sample of ``make faults``: an instrument, a fault of its wire, and the phase of a run it hits.

Each case ends in the state that it is expected to end in, nothing that was delivered is missing,
nothing that was never delivered is in the record, and the cell is open, or it is said that it may
not be.
"""

from pathlib import Path

import pytest

from benchmarks.faults.wires_bench import SUBJECTS
from benchmarks.faults.wires_case import Case, Phase, State, run_case

pytestmark = pytest.mark.timeout(240)
CONNECT, PREPARE, RUNNING, FINISHING = Phase
FINISHED, TOLD, WITHOUT, REFUSED, FAILED = list(State)[:5]


@pytest.mark.parametrize(
    ("instrument", "fault", "options", "phase", "state"),
    [
        ("potentiostat", "unplug", {}, CONNECT, REFUSED),
        ("potentiostat", "garble", {}, RUNNING, TOLD),
        ("potentiostat", "garble", {"count": 8}, RUNNING, FAILED),
        ("potentiostat", "clock-jump", {"seconds": -3600}, RUNNING, TOLD),
        ("potentiostat", "split", {"seconds": 1, "pause_s": 0.02}, FINISHING, FINISHED),
        ("potentiostat", "disconnect", {"seconds": 0.5}, RUNNING, FAILED),
        ("keithley", "unplug", {}, PREPARE, FAILED),
        ("keithley", "drop", {}, RUNNING, TOLD),
        ("rodeostat", "garble", {}, PREPARE, TOLD),
        ("rodeostat", "out-of-range", {}, RUNNING, TOLD),
        ("thermostat", "disconnect", {"seconds": 0.5}, FINISHING, FAILED),
        ("thermostat", "drop-bytes", {}, CONNECT, FINISHED),
        ("julabo", "drop-bytes", {}, PREPARE, FINISHED),
        ("julabo", "merge", {"seconds": 1}, RUNNING, FINISHED),
        ("microbalance", "out-of-range", {}, RUNNING, FINISHED),
        ("stage", "out-of-range", {}, PREPARE, WITHOUT),
        ("stage", "unplug", {}, RUNNING, WITHOUT),
        ("relay_board", "garble-in", {}, CONNECT, FINISHED),
        ("fusion", "disconnect", {"seconds": 0.5}, FINISHING, FINISHED),
        ("raman_ocean", "wrong-checksum", {}, RUNNING, FAILED),
    ],
)
def test_a_fault_at_the_wire_has_an_end_with_a_name(
    instrument: str,
    fault: str,
    options: dict[str, float],
    phase: Phase,
    state: State,
    tmp_path: Path,
) -> None:
    subject = SUBJECTS[instrument]
    ending = run_case(Case(instrument, fault, phase, options), subject, tmp_path / "case")
    assert not ending.broken_promises(subject, timed=False), ending
    assert ending.state == state, ending
