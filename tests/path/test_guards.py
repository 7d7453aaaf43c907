"""What ends a run whatever its protocol says, from the wire to the stop document."""

from collections.abc import Callable
from typing import Any

import pytest

from instruments.bench_file import BenchFile
from instruments.errors import SafetyLimitError
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import Protocol, Schedule

pytestmark = pytest.mark.timeout(180)
PLATINUM, REFERENCE = "pt-hydrogen", "zn-bare-half-reference"
CLOSED = {"headspace": "closed", "headspace_overpressure_max_kpa": 2.0}


@pytest.fixture(scope="module")
def with_pressure() -> BenchFile:
    return load_bench("sim-second").only({"potentiostat", "pressure"})


def hydrogen(plate_strip: Callable[..., Protocol]) -> Protocol:
    """Return a plating in which platinum makes hydrogen: 2 kPa of it after 0.22 mAh."""
    every = Schedule(reading_s=60.0)
    return plate_strip(PLATINUM, 2.0, 2.0, every=every, record={"dt_s": 5.0})


def test_a_pressure_sensor_ends_the_run_at_the_limit_of_a_closed_headspace(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    with_pressure: BenchFile,
    in_time: Callable[..., Any],
) -> None:
    cell = load_cell(PLATINUM).model_copy(update=CLOSED)

    def run_it() -> tuple[Any, str, Run]:
        chain = make_chain(PLATINUM, factor=200.0, instruments=("potentiostat", "pressure"))
        with chain.simulated(), chain.session(with_pressure) as session:
            uid = session.run_protocol(hydrogen(plate_strip), cell=cell)
            handling = session.handling
        return chain, handling, Run.from_journal(uid, chain.data)

    def soon(found: tuple[Any, str, Run]) -> None:
        # Only what was asked for while the judge and the instrument still had to hear of it.
        chain, _, run = found
        over = run.streams["pressure"].columns["pressure_overpressure"]
        assert (over[:-4] <= 2e3).all()
        assert 1e3 < _pressure_pa(chain) < 3e3

    _, handling, run = in_time(run_it, soon)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert (
        "rule 'end at the pressure of the closed headspace': pressure tells" in (run.stop["reason"])
    )
    state = run.stop["end_state"]
    assert state["cell"] == "open"
    assert state["overpressure_by"] == "pressure"
    assert state["overpressure_kpa"] > 2.0
    assert state["metal_mah_cm2"]["WE"] > 0.1
    assert state["handling"] == handling + "."
    told = run.start["headspace"]
    assert told["watched_by"] == ["pressure"]
    assert told["worst_case_kpa"] > 2.0
    assert [rule["when"]["event"] for rule in run.start["guards"]] == ["headspace_pressure"]
    over = run.streams["pressure"].columns["pressure_overpressure"]
    assert over[-1] > 2e3


def _pressure_pa(chain: Any) -> float:
    """Return what the gas that the cell has made comes to in 5 mL."""
    return float(chain.truth("cell", "end")[-1]["hydrogen_gas_mol"] * 8.314 * 298.15 / 5e-6)


def test_without_a_sensor_a_program_that_could_exceed_it_is_refused_with_its_numbers(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(PLATINUM, factor=1000.0)
    cell = load_cell(PLATINUM).model_copy(update=CLOSED)
    with chain.simulated(leader_only=True), chain.session() as session:
        with pytest.raises(
            SafetyLimitError, match=r"2.26 mAh .* 0.234 bar .* 5 mL; it allows 0.02"
        ):
            session.run_protocol(hydrogen(plate_strip), cell=cell)
        within = cell.model_copy(update={"headspace_overpressure_max_kpa": 30.0})
        short = plate_strip(PLATINUM, 2.0, 0.01)
        run = Run.from_journal(session.run_protocol(short, cell=within), chain.data)
    assert run.start["headspace"]["worst_case_mah"] == pytest.approx(0.01131)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert run.start["scan_id"] == 1  # what was refused was no run


def test_a_reference_that_begins_to_float_ends_the_run_with_the_cell_open(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(REFERENCE, factor=200.0, instruments=("potentiostat",))
    protocol = plate_strip(REFERENCE, 1.0, 0.5, record={"dt_s": 2.0})
    with chain.simulated(), chain.session() as session:
        (chain.sim / "faults").write_text(
            '{"instrument": "cell", "fault": "reference", "at": 400, "volts": 0.0, "hum_v": 0.15}\n'
        )
        uid = session.run_protocol(protocol, cell=load_cell(REFERENCE))
    run = Run.from_journal(uid, chain.data)
    assert run.stop is not None
    assert "rule 'end when the reference floats': E_WE against" in run.stop["reason"]
    assert run.stop["end_state"]["cell"] == "open"
    assert run.streams["potentiostat"].columns["potentiostat_t"][-1] < 1700  # within the plating
    events = [line["event"] for line in chain.truth("potentiostat")]
    assert events.count("cell_on") == events.count("cell_off") > 0
