"""The Rodeostat's driver on the simulated instrument: rows, limits, and what goes wrong."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    UnsupportedTechniqueError,
)
from instruments.potentiostat.contract import (
    LOST_BEFORE,
    PLATE,
    REST,
    STRIP,
    SWEEP,
    VOLTAMMOGRAM,
    Potentiostat,
    Sample,
)
from instruments.potentiostat.rodeostat import RodeostatPotentiostat
from sim_devices.cell import make_cell
from sim_devices.clock import SimulatedClock
from sim_devices.rodeostat import Rodeostat
from sim_devices.truth import Truth, read_truth
from techniques import (
    Assignment,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Recording,
    Repeat,
    SafetyLimits,
    Sequence,
)

LIMITS = SafetyLimits(potential_min_v=-2, potential_max_v=2, current_max_a=0.02)
OHM = 100.0


class Chain:
    """A driver and its simulated instrument."""

    def __init__(self, folder: Any, cell: str, factor: float, **options: Any) -> None:
        self.folder = folder
        self.clock = SimulatedClock(factor)
        self.log = Truth(folder)
        self.cell = make_cell(cell, 1)
        options = {"perfect": True} | options
        self.simulated = Rodeostat(self.cell, self.clock, self.log, 1, **options)
        self.driver = RodeostatPotentiostat(self.simulated.address, patience_s=2.0)

    def truth(self, event: str) -> list[dict[str, Any]]:
        return [x for x in read_truth(self.folder, "potentiostat") if x["event"] == event]

    def run(self, technique: Any, limits: SafetyLimits = LIMITS, **more: Any) -> list[Sample]:
        self.driver.start(Assignment(technique=technique, area_cm2=1.0, limits=limits, **more))
        return [row for row in self.driver.samples() if isinstance(row, Sample)]

    def close(self) -> None:
        try:
            self.driver.close()
        finally:
            self.clock.close()
            self.simulated.close()
            self.log.close()


Make = Callable[..., Chain]


@pytest.fixture
def make(tmp_path: Any) -> Iterator[Make]:
    chains: list[Chain] = []

    def start(cell: str = "dummy-100ohm", factor: float = 200.0, **options: Any) -> Chain:
        chains.append(Chain(tmp_path / str(len(chains)), cell, factor, **options))
        chains[-1].driver.connect()
        return chains[-1]

    yield start
    for chain in chains:
        chain.close()


def hold(potential_v: float, seconds: float, *more: Limit, **options: Any) -> PotentiostaticStep:
    until = (Limit(quantity="time_s", value=seconds), *more)
    return PotentiostaticStep(potential_v=potential_v, until=until, **options)


def limit(quantity: Any, value: float, action: Any = "next") -> Limit:
    return Limit(quantity=quantity, value=value, action=action)


def test_the_driver_says_what_it_is_and_that_its_limits_are_of_software(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    driver: Potentiostat = make().driver
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    assert "SOFTWARE ONLY" in caplog.text
    able = driver.capabilities()
    assert not able.galvanostatic
    assert "WITHOUT LIMITS" in able.limits_note
    assert able.current_max_a == pytest.approx(0.024048)
    assert able.potential_max_v == 10
    assert driver.identify()["model"] == "Rodeostat 10V_24MilliAmpV0.2"
    assert driver.prepare_log(Assignment(technique=hold(0, 1), area_cm2=1)) is not None


def test_a_hold_measures_the_current_and_ends_with_the_electrodes_disconnected(make: Make) -> None:
    chain = make()
    record = Recording(dt_s=2.0, edge_dt_s=0.5, edge_for_s=2.0)
    rows = chain.run(hold(0.5, 20.0, record=record))
    assert [row.current_a for row in rows] == pytest.approx([0.5 / OHM] * len(rows))
    assert [row.potential_v for row in rows] == pytest.approx([0.5] * len(rows))
    times = np.array([row.step_t_s for row in rows])
    assert times[-1] == pytest.approx(20.0)
    assert np.all(np.diff(times)[times[1:] <= 2.0] <= 0.51)
    assert np.max(np.diff(times)) == pytest.approx(2.0, abs=0.02)
    driver = chain.driver
    assert driver.stop_reason is None
    assert driver.program_end.ending == "complete"
    assert driver.program_end.kind == "potentiostatic"
    assert driver.lost_rows == 0
    assert any("SOFTWARE ONLY" in note for note in driver.notes)
    assert len(chain.truth("cell_on")) == len(chain.truth("cell_off")) == 1


@pytest.mark.parametrize(("begin", "end"), [(-0.2, 0.3), (0.3, -0.2)])
def test_a_sweep_goes_from_its_beginning_to_its_end(make: Make, begin: float, end: float) -> None:
    rows = make().run(LinearSweep(begin_v=begin, end_v=end, scan_rate_v_s=0.05, step_v=5e-3))
    potential = np.array([row.potential_v for row in rows])
    assert potential[0] == pytest.approx(begin, abs=6e-3)
    assert potential[-1] == pytest.approx(end, abs=1e-4)
    assert np.diff(potential) == pytest.approx(np.sign(end - begin) * 5e-3, abs=1e-4)
    assert np.array([row.current_a for row in rows]) == pytest.approx(potential / OHM, abs=1e-7)
    assert {row.role for row in rows} == {SWEEP}


@pytest.mark.parametrize(
    ("begin", "first", "second"),
    [(0.0, 0.2, -0.1), (0.0, -0.1, 0.2), (-0.1, 0.2, -0.1), (0.2, -0.1, 0.2), (0.0, 0.2, 0.0)],
)
def test_a_voltammogram_turns_at_its_vertices(
    make: Make, begin: float, first: float, second: float
) -> None:
    step = CyclicVoltammetry(
        begin_v=begin, vertex1_v=first, vertex2_v=second, scan_rate_v_s=0.05, scans=2, step_v=5e-3
    )
    rows = make().run(step)
    potential = np.array([row.potential_v for row in rows])
    t = np.array([row.step_t_s for row in rows])
    turns = step.turns_v + step.turns_v[1:]
    edges = np.concatenate([[0], np.cumsum(np.abs(np.diff(turns)))]) / 0.05
    assert potential == pytest.approx(np.interp(t, edges, turns), abs=1e-3)
    assert t[-1] == pytest.approx(step.expected_s, abs=0.2)
    assert {row.role for row in rows} == {VOLTAMMOGRAM}


def test_at_open_circuit_the_counter_electrode_is_never_connected(make: Make) -> None:
    chain = make("zn-bare-half", perfect=False)
    record = Recording(dt_s=5.0, edge_for_s=0.0)
    rows = chain.run(OpenCircuit(duration_s=30.0, record=record))
    assert not chain.truth("cell_on")
    _, true_v, _ = chain.cell.advance(1e-3)
    assert rows[-1].potential_v == pytest.approx(true_v, abs=2e-3)
    assert {row.current_a for row in rows} == {0.0}
    assert {row.role for row in rows} == {REST}
    assert rows[-1].step_t_s == pytest.approx(30.0)
    assert len(rows) == pytest.approx(7, abs=1)


def test_an_open_circuit_ends_when_its_potential_has_come_to_rest(make: Make) -> None:
    chain = make()
    rows = chain.run(OpenCircuit(duration_s=1000.0, drift_below_v_s=1e-3, drift_window_s=5.0))
    assert rows[-1].step_t_s < 20.0
    assert chain.driver.program_end.ending == "complete"


def test_plating_at_a_potential_ends_by_its_charge_and_stripping_by_its_current(
    make: Make,
) -> None:
    chain = make("zn-bare-half", factor=200.0)
    program = Sequence(
        steps=(
            hold(
                -0.1,
                3600,
                limit("charge_mah_cm2", 0.02),
                role="plate",
                record=Recording(check_dt_s=0.1, edge_dt_s=0.1),
            ),
            hold(0.3, 3600, limit("abs_current_below_ma_cm2", 0.02), role="strip"),
        )
    )
    rows = chain.run(program, LIMITS.model_copy(update={"current_max_a": 0.024}))
    plated = [row for row in rows if row.role == PLATE]
    stripped = [row for row in rows if row.role == STRIP]
    assert {row.half_cycle for row in plated} == {1}
    assert {row.half_cycle for row in stripped} == {2}
    assert plated[-1].step_t_s < 3600
    assert abs(stripped[-1].current_a) < 2e-5
    ledger = chain.truth("test_end")[0]["working"]
    plated_mah = ledger["charge_cathodic"] * chain.cell.area_cm2
    # Noticed by a computer that is late by some of these fast seconds.
    assert 0.0196 < plated_mah < 0.025
    assert stripped[0].t_s > plated[-1].t_s
    assert any("between its 2 steps" in note for note in chain.driver.notes)


def test_a_step_begins_against_the_open_circuit_potential(make: Make) -> None:
    chain = make("zn-bare-half", perfect=False)
    record = Recording(dt_s=5.0)
    rest = OpenCircuit(duration_s=60.0, record=record)
    rows = chain.run(Sequence(steps=(rest, hold(0.005, 5.0, versus="open_circuit"))))
    rested, held = ([row for row in rows if row.step == step] for step in (1, 2))
    assert held[0].potential_v == pytest.approx(rested[-1].potential_v + 0.005, abs=3e-3)
    window = LIMITS.model_copy(update={"potential_max_v": 1.0})
    with pytest.raises(SafetyLimitError, match=r"beyond potential_max_v = 1 V.*are disconnected"):
        chain.run(hold(0.5, 5.0, versus="open_circuit"), window)
    assert len(chain.truth("cell_on")) == 1


def test_loops_are_left_and_programs_stopped_by_what_limits_say(make: Make) -> None:
    chain = make()
    leaves = hold(0.5, 0.2, limit("charge_mah_cm2", 1e-4, "end_loop"))
    record = Recording(dt_s=0.05, edge_dt_s=0.05)
    rows = chain.run(
        Sequence(
            steps=(
                Repeat(times=5, step=hold(0.5, 0.1, record=record)),
                Repeat(times=5, step=leaves),
                hold(0.5, 100, limit("charge_mah_cm2", 1e-3, "stop")),
                hold(0.1, 1.0),
            )
        )
    )
    assert {row.step for row in rows} == {1, 2, 3, 4, 5, 6, 7}
    assert chain.driver.stop_reason == "limit charge_mah_cm2 0.001 reached in step 7"
    assert chain.driver.program_end.ending == "stopped"
    assert chain.driver.counters.step == 7


def test_a_current_beyond_the_safety_limit_is_stopped(make: Make) -> None:
    chain = make()
    limits = LIMITS.model_copy(update={"current_max_a": 4e-3})
    with pytest.raises(SafetyLimitError, match=r"current_max_a = 0.004 was passed in step 1.*5 mA"):
        chain.run(hold(0.5, 1000.0), limits)
    assert chain.driver.program_end.ending == "safety"
    (off,) = chain.truth("cell_off")
    assert off["cell_t_s"] - chain.truth("cell_on")[0]["cell_t_s"] < 100.0


def test_a_hold_that_goes_the_other_way_is_stopped(make: Make) -> None:
    with pytest.raises(SafetyLimitError, match="charge_the_other_way_mah_cm2"):
        make(factor=1000.0).run(hold(0.5, 1000.0, role="plate"))


def test_what_it_cannot_do_is_refused_before_anything_moves(make: Make) -> None:
    chain = make()
    step = GalvanostaticStep(current_density_ma_cm2=1, until=(limit("time_s", 10),), role="plate")
    cycle = PlateStripCycle.model_validate(
        {
            side: {"current_density_ma_cm2": 1, "until": [{"quantity": "time_s", "value": 10}]}
            for side in ("plate", "strip")
        }
    )
    spectrum = ImpedanceSpectrum(amplitude_rms_v=0.005)
    beyond = CyclicVoltammetry(begin_v=0.5, vertex1_v=0.1, vertex2_v=-0.1, scan_rate_v_s=0.05)
    for technique, complaint in (
        (step, "no galvanostat"),
        (cycle, "no galvanostat"),
        (spectrum, "no frequency response analyser"),
        (beyond, "between its vertices"),
        (LinearSweep(begin_v=0, end_v=1, scan_rate_v_s=5.0), "1 V/s"),
        (hold(0.1, 1.0, role="plate", continues_half_cycle=True), "continues_half_cycle"),
    ):
        with pytest.raises(UnsupportedTechniqueError, match=complaint):
            chain.run(technique)
    wide = LIMITS.model_copy(update={"potential_max_v": 20.0})
    with pytest.raises(UnsupportedTechniqueError, match="asked for 12 V"):
        chain.run(hold(12.0, 1.0), wide)
    with pytest.raises(UnsupportedTechniqueError, match="reference_electrode"):
        chain.run(hold(0.1, 1.0), reference=True)
    with pytest.raises(SafetyLimitError, match="3 V lies outside"):
        chain.run(hold(3.0, 1.0))
    assert not chain.truth("test")


def test_an_abort_from_another_thread_disconnects_the_electrodes(make: Make) -> None:
    chain = make(factor=1.0)
    rows: list[Any] = []
    seen = threading.Event()
    chain.driver.start(
        Assignment(
            technique=Sequence(steps=(hold(0.5, 1000.0), hold(0.1, 10.0))),
            area_cm2=1.0,
            limits=LIMITS,
        )
    )

    def read() -> None:
        for row in chain.driver.samples():
            rows.append(row)
            seen.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert seen.wait(50)
    chain.driver.abort()
    reader.join(50)
    assert not reader.is_alive()
    assert chain.driver.stop_reason == "aborted"
    assert chain.driver.program_end.ending == "opened"
    assert len(chain.truth("cell_off")) == 1
    assert {row.step for row in rows} == {1}
    assert chain.run(hold(0.1, 0.1))[-1].current_a == pytest.approx(1e-3)


def test_an_abort_that_nobody_reads_and_one_by_the_reader_end_a_program_too(make: Make) -> None:
    chain = make(factor=1.0)
    chain.driver.start(Assignment(technique=hold(0.5, 1000.0), area_cm2=1.0, limits=LIMITS))
    chain.driver.abort()
    assert list(chain.driver.samples()) == []
    assert chain.driver.stop_reason == "aborted"
    chain.driver.start(Assignment(technique=hold(0.5, 1000.0), area_cm2=1.0, limits=LIMITS))
    for _ in chain.driver.samples():
        chain.driver.abort()
    assert chain.driver.stop_reason == "aborted"
    assert len(chain.truth("cell_off")) == 2


def test_a_test_that_somebody_left_running_is_stopped_by_connecting(make: Make) -> None:
    chain = make(factor=1.0)
    chain.driver.start(Assignment(technique=hold(0.5, 1000.0), area_cm2=1.0, limits=LIMITS))
    other = RodeostatPotentiostat(chain.simulated.address)
    with pytest.raises(TransportError):  # the port has an owner
        other.connect()
    chain.driver._open_dialogue().wire.close()  # its owner is gone
    chain.driver._transport = None
    other.connect()
    assert len(chain.truth("cell_off")) == 1
    other.close()


def test_samples_that_are_lost_are_counted_and_many_end_the_program(make: Make) -> None:
    chain = make(factor=1.0)
    record = Recording(dt_s=0.05, edge_dt_s=0.05, check_dt_s=0.05)
    chain.driver.start(
        Assignment(technique=hold(0.5, 1.5, record=record), area_cm2=1.0, limits=LIMITS)
    )
    rows = chain.driver.samples()
    next(rows)
    chain.simulated.line.inject("drop", count=1)
    chain.simulated.line.inject("garble", count=1)
    found = list(rows)
    assert chain.driver.lost_rows == 2
    assert any(row.flags & LOST_BEFORE for row in found)
    chain.driver.start(
        Assignment(technique=hold(0.5, 100.0, record=record), area_cm2=1.0, limits=LIMITS)
    )
    rows = chain.driver.samples()
    next(rows)
    chain.simulated.line.inject("drop", count=6)
    with pytest.raises(ProtocolError, match=r"damaged or lost.*electrodes are disconnected"):
        list(rows)
    assert len(chain.truth("cell_off")) == 2


def test_an_instrument_that_restarts_is_noticed(make: Make) -> None:
    chain = make(factor=1.0)
    chain.driver.start(Assignment(technique=hold(0.5, 100.0), area_cm2=1.0, limits=LIMITS))
    rows = chain.driver.samples()
    next(rows)
    chain.simulated.line.inject("power-cycle", seconds=0.1)
    with pytest.raises(TransportError, match=r"no sample.*restarted.*electrodes are disconnected"):
        list(rows)
    assert chain.driver.program_end.ending == "unknown"


def test_settings_that_are_not_taken_are_a_fault(make: Make) -> None:
    chain = make()
    chain.simulated.line.inject("deaf")
    with pytest.raises(InstrumentFaultError, match=r"asked for quietTime = 0.*in force is 1000"):
        chain.run(hold(0.7, 1.0))
    chain.simulated.line.inject("repaired")
    assert chain.run(hold(0.1, 0.1))


def test_switches_that_stay_closed_are_a_fault(make: Make) -> None:
    chain = make(factor=1.0)
    chain.driver.start(Assignment(technique=hold(0.5, 0.5), area_cm2=1.0, limits=LIMITS))
    chain.simulated.line.inject("stuck")
    with pytest.raises(InstrumentFaultError, match="take the cell off"):
        list(chain.driver.samples())
    chain.simulated.line.inject("repaired")
    time.sleep(0.01)
    assert chain.run(hold(0.1, 0.1))
