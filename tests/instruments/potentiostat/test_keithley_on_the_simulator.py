"""TSP programs of ours, run by the simulated SourceMeter's Lua on a real socket."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
    UnsupportedTechniqueError,
)
from instruments.potentiostat import Sample
from instruments.potentiostat.contract import LOST_BEFORE
from instruments.potentiostat.keithley import KeithleyPotentiostat, compile_program
from instruments.potentiostat.keithley.dialogue import Dialogue
from instruments.transport import open_transport
from sim_devices import keithley
from sim_devices.cell import make_cell
from sim_devices.clock import SimulatedClock
from sim_devices.truth import Truth, read_truth
from techniques import Assignment

FAST = 1e5
REST_FOR_EVER = {"type": "open_circuit", "duration_s": 1e6, "record": {"dt_s": 10}}
Serve = Callable[..., "Served"]


class Served:
    """A simulated SourceMeter at a cell."""

    def __init__(self, folder: Path, cell: str, factor: float, **options: Any) -> None:
        self.folder = folder
        self.clock, self.truth = SimulatedClock(factor), Truth(folder)
        self.cell = make_cell(cell, 1)
        self.meter = keithley.serve(self.cell, self.clock, self.truth, 1, **options)
        self.drivers: list[KeithleyPotentiostat] = []

    def driver(self, **options: Any) -> KeithleyPotentiostat:
        driver = KeithleyPotentiostat(self.meter.address, **options)
        self.drivers.append(driver)
        driver.connect()
        return driver

    def told(self, event: str) -> list[dict[str, Any]]:
        return [x for x in read_truth(self.folder, "potentiostat") if x["event"] == event]

    def is_open(self) -> bool:
        """Return whether the cell was left open: what was on was switched off."""
        return len(self.told("cell_on")) == len(self.told("cell_off")) > 0

    def close(self) -> None:
        for driver in self.drivers:
            # A test that has pulled the cable has no cell left to open.
            with contextlib.suppress(InstrumentError):
                driver.close()
        self.clock.close()
        self.meter.close()
        self.truth.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[Served] = []

    def start(cell: str = "dummy-100ohm", factor: float = FAST, **options: Any) -> Served:
        folder = tmp_path / f"truth-{len(started)}"
        started.append(Served(folder, cell, factor, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def limit(quantity: str, value: float, action: str = "next") -> dict[str, Any]:
    return {"quantity": quantity, "value": value, "action": action}


def constant(j: float, *until: dict[str, Any], **more: Any) -> dict[str, Any]:
    step = {"type": "galvanostatic_step", "current_density_ma_cm2": j, "until": list(until)}
    return step | {"record": {"dt_s": 2.0}} | more


def hold(potential_v: float, *until: dict[str, Any], **more: Any) -> dict[str, Any]:
    step = {"type": "potentiostatic_step", "potential_v": potential_v, "until": list(until)}
    return step | {"record": {"dt_s": 2.0}} | more


def assigned(*steps: dict[str, Any], area: float = 1.0, **more: Any) -> Assignment:
    limits = {"potential_min_v": -3.0, "potential_max_v": 3.0, "current_max_a": 0.1}
    limits |= more.pop("limits", {})
    technique = {"type": "sequence", "steps": list(steps)}
    return Assignment.model_validate(
        {"technique": technique, "area_cm2": area, "limits": limits, **more}
    )


def run(driver: KeithleyPotentiostat, assignment: Assignment) -> list[Sample]:
    driver.start(assignment)
    return [row for row in driver.samples() if isinstance(row, Sample)]


def test_a_whole_experiment_runs_on_the_instrument(serve: Serve) -> None:
    served = serve("zn-bare-half")
    driver = served.driver()
    record = {"dt_s": 30.0, "edge_dt_s": 5.0, "edge_for_s": 20.0}
    cycle = {
        "type": "plate_strip_cycle",
        "cycles": 3,
        "rest_s": 20.0,
        "plate": {
            "current_density_ma_cm2": 2.0,
            "until": [limit("charge_mah_cm2", 0.1)],
            "record": record,
        },
        "plate_hold": {
            "potential_v": -0.1,
            "until": [limit("time_s", 30), limit("abs_current_below_ma_cm2", 0.5)],
            "record": {"dt_s": 5.0},
        },
        "strip": {
            "current_density_ma_cm2": 2.0,
            "until": [limit("potential_above_v", 0.5), limit("charge_mah_cm2", 0.3, "stop")],
            "record": record,
        },
        "between": {"type": "open_circuit", "duration_s": 5.0},
        "between_every": 2,
    }
    rows = run(driver, assigned({"type": "open_circuit", "duration_s": 10}, cycle, area=1.131))
    assert driver.stop_reason is None
    assert driver.program_end.ending == "complete"
    assert driver.lost_rows == 0
    steps = list(dict.fromkeys((row.step, row.cycle, row.half_cycle, row.role) for row in rows))
    one = [-1, -1, 0, 0, 1, 0]  # plate, its hold, the rest, between, strip, the rest
    other = [-1, -1, 0, 1, 0]
    assert [role for *_, role in steps] == [0, *one, *other, *one]
    assert [half for _, _, half, _ in steps[1:7]] == [1, 1, 1, 1, 2, 2]
    assert [step for step, *_ in steps] == list(range(1, len(steps) + 1))
    assert all(a.t_s < b.t_s for a, b in pairwise(rows))
    first = [row for row in rows if row.step == 2]
    assert first[-1].step_t_s == pytest.approx(180.0, abs=0.02)
    assert all(row.current_a == pytest.approx(-2.262e-3, rel=1e-3) for row in first)
    dense = [row.step_t_s for row in first if row.step_t_s < 20]
    assert len(dense) == 4
    assert driver.counters.half_cycle == 6
    assert driver.counters.cycle == 3
    assert served.is_open()
    assert any("0 A with the output on" in note for note in driver.notes)


def test_it_goes_on_from_where_an_experiment_stood(serve: Serve) -> None:
    driver = serve().driver()
    begin = {"t_s": 500.0, "cycle": 3, "half_cycle": 6, "step": 12}
    plate = constant(1.0, limit("time_s", 4), role="plate")
    rows = run(driver, assigned(plate, begin=begin))
    assert (rows[-1].cycle, rows[-1].half_cycle, rows[-1].step) == (3, 7, 13)
    assert rows[-1].t_s == pytest.approx(504.0, abs=0.2)
    assert driver.begun_utc_s == pytest.approx(time.time(), abs=1e5)


@pytest.mark.parametrize(
    ("until", "ends_s", "ending"),
    [
        (limit("potential_above_v", 0.05, "stop"), 0.0, "stopped"),
        (limit("abs_potential_above_v", 0.05, "next"), 0.0, "complete"),
        (limit("charge_mah_cm2", 5 / 3600, "stop"), 5.0, "stopped"),
        (limit("time_s", 7.0, "next"), 7.0, "complete"),
    ],
)
def test_limits_at_a_set_current_act_on_the_instrument(
    serve: Serve, until: dict[str, Any], ends_s: float, ending: str
) -> None:
    served = serve()
    driver = served.driver()
    rows = run(driver, assigned(constant(1.0, until, limit("time_s", 20))))
    assert rows[-1].step_t_s == pytest.approx(ends_s, abs=0.1)
    assert driver.program_end.ending == ending
    assert (driver.stop_reason is not None) == (ending == "stopped")
    assert served.is_open()
    (segment,) = [x for x in served.told("segment") if x["technique"] == "cp"]
    assert segment["cell_t_s"] - segment["began_t_s"] == pytest.approx(ends_s, abs=0.1)


def test_a_loop_is_left_by_its_limit(serve: Serve) -> None:
    driver = serve().driver()
    inner = constant(1.0, limit("potential_above_v", 0.05, "end_loop"), limit("time_s", 5))
    loop = {"type": "repeat", "times": 5, "step": inner}
    rows = run(driver, assigned(loop, {"type": "open_circuit", "duration_s": 2}))
    assert [row.step for row in rows if row.role != 0] == [1]
    assert rows[-1].step == 2


def test_a_safety_limit_ends_the_program_and_is_told(serve: Serve) -> None:
    served = serve()
    driver = served.driver()
    with pytest.raises(SafetyLimitError, match=r"potential_max_v = 0\.5 was passed in step 1"):
        run(driver, assigned(constant(10.0, limit("time_s", 9)), limits={"potential_max_v": 0.5}))
    assert driver.program_end.ending == "safety"
    assert served.is_open()


def test_a_lead_that_falls_off_cannot_drive_the_potential_beyond_the_clamp(serve: Serve) -> None:
    served = serve("zn-bare-half", factor=1e3)
    driver = served.driver()
    driver.start(assigned(constant(-1.0, limit("time_s", 900)), limits={"potential_min_v": -1.0}))
    rows = driver.samples()
    next(rows)
    served.cell.inject("contact", ohm=1e9)
    with pytest.raises(SafetyLimitError, match="potential_min_v"):
        list(rows)
    assert served.is_open()


def test_what_is_set_to_a_resistor_flows_by_its_law(serve: Serve) -> None:
    driver = serve(perfect=True).driver()
    sweep = {"type": "linear_sweep", "begin_v": -0.1, "end_v": 0.1, "scan_rate_v_s": 0.01}
    scan = {"vertex1_v": 0.05, "vertex2_v": -0.05, "scan_rate_v_s": 0.02, "step_v": 0.005}
    scans = {"type": "cyclic_voltammetry", "begin_v": 0.0, "scans": 2, **scan}
    rows = run(driver, assigned(hold(0.2, limit("time_s", 5)), sweep, scans))
    for row in rows:
        assert row.current_a == pytest.approx(row.potential_v / 100, abs=1e-9)
    assert {row.role for row in rows} == {4, 5, 6}
    swept = [row for row in rows if row.role == 5]
    assert len(swept) == 201
    assert (swept[0].potential_v, swept[-1].potential_v) == pytest.approx((-0.1, 0.1))
    assert swept[-1].step_t_s == pytest.approx(20.1, abs=0.02)
    scanned = [row.potential_v for row in rows if row.role == 6]
    assert len(scanned) == 1 + 2 * 40
    assert (max(scanned), min(scanned)) == pytest.approx((0.05, -0.05))


@pytest.mark.parametrize(
    ("step", "ends_s", "told"),
    [
        (
            hold(0.2, limit("time_s", 5), limit("abs_current_above_ma_cm2", 1.0, "stop")),
            0.0,
            "abs_current",
        ),
        (
            hold(0.2, limit("time_s", 5), limit("abs_current_below_ma_cm2", 5.0, "stop")),
            0.0,
            "abs_current",
        ),
        (
            hold(0.2, limit("time_s", 9), limit("charge_mah_cm2", 2e-3 * 4 / 3.6, "stop")),
            4.0,
            "charge",
        ),
    ],
)
def test_limits_at_a_set_potential_act_on_the_instrument(
    serve: Serve, step: dict[str, Any], ends_s: float, told: str
) -> None:
    driver = serve().driver()
    rows = run(driver, assigned(step))
    assert rows[-1].step_t_s == pytest.approx(ends_s, abs=0.05)
    assert driver.stop_reason is not None
    assert told in driver.stop_reason


def test_a_hold_that_passes_its_charge_the_wrong_way_is_ended(serve: Serve) -> None:
    served = serve()
    driver = served.driver()
    with pytest.raises(SafetyLimitError, match="charge_the_other_way_mah_cm2"):
        run(driver, assigned(hold(2.0, limit("time_s", 100), role="plate"), area=0.1))
    assert served.is_open()


def test_potentials_are_told_against_the_open_circuit_potential(serve: Serve) -> None:
    driver = serve("zn-bare-half").driver()
    (open_circuit,) = {
        round(row.potential_v, 2)
        for row in run(driver, assigned({"type": "open_circuit", "duration_s": 2}))[-1:]
    }
    rows = run(driver, assigned(hold(0.01, limit("time_s", 3), versus="open_circuit")))
    assert rows[0].potential_v == pytest.approx(open_circuit + 0.01, abs=0.06)
    with pytest.raises(SafetyLimitError, match="potential_max_v"):
        run(
            driver,
            assigned(
                hold(0.9, limit("time_s", 3), versus="open_circuit"),
                limits={"potential_max_v": open_circuit + 0.2},
            ),
        )


def test_an_abort_from_another_thread_opens_the_cell_and_keeps_the_last_reading(
    serve: Serve,
) -> None:
    served = serve(factor=20.0)
    driver = served.driver()
    driver.start(assigned(constant(1.0, limit("time_s", 10000), record={"dt_s": 5000.0})))
    rows: list[Any] = []
    first = threading.Event()

    def read() -> None:
        for row in driver.samples():
            rows.append(row)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(50)
    time.sleep(0.2)  # behind that row
    driver.abort()
    assert served.is_open()
    reader.join(50)
    assert not reader.is_alive()
    assert driver.stop_reason == "aborted"
    end = driver.program_end
    assert end.ending == "opened"
    # The rows come every 5000 s, but the reading just before the end is there.
    assert rows[-1].t_s == pytest.approx(end.counters.t_s, abs=1.5)
    assert rows[-1].t_s > rows[-2].t_s
    driver.abort()  # idempotent


def test_an_abort_before_anybody_reads_drains_the_program(serve: Serve) -> None:
    served = serve(factor=20.0)
    driver = served.driver()
    driver.start(assigned(constant(1.0, limit("time_s", 1000))))
    while not served.told("cell_on"):
        time.sleep(0.01)
    driver.abort()
    assert served.is_open()
    assert list(driver.samples()) == []
    assert run(driver, assigned(constant(1.0, limit("time_s", 2))))


def test_a_program_ends_within_its_limits_when_its_host_is_gone(serve: Serve) -> None:
    served = serve(factor=200.0)
    driver = served.driver()
    driver.start(assigned(constant(1.0, limit("time_s", 100), record={"dt_s": 0.2})))
    dialogue = driver._dialogue
    assert dialogue is not None
    dialogue.wire.close()  # as the system closes what a dead process had open
    end = time.monotonic() + 50
    while not (driven := [x for x in served.told("segment") if x["technique"] == "cp"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    (segment,) = driven
    assert segment["cell_t_s"] - segment["began_t_s"] == pytest.approx(100, abs=0.5)
    again = served.driver()
    assert run(again, assigned(constant(1.0, limit("time_s", 2))))


def test_a_program_that_fails_switches_the_output_off(serve: Serve) -> None:
    served = serve()
    driver = served.driver()
    assignment = assigned(constant(1.0, limit("time_s", 9)))
    text = compile_program(assignment, driver.capabilities()).text
    driver.close()
    wire = open_transport(served.meter.address)
    with contextlib.closing(wire):
        dialogue = Dialogue(wire, lambda: "it")
        dialogue.take_control()
        dialogue.prepare()
        for wrong, told in (
            (text.replace('print(string.format("R,', 'print(string.fromat("R,'), "FAULT operando:"),
            (text.replace("range = 0.001", "range = 99"), "FAULT smu.source.range is"),
            (text.replace("o.clamp_v = 3.25", "o.clamp_v = 999"), "FAULT smu.source.vlimit.level"),
        ):
            assert wrong != text
            dialogue.load(wrong)
            dialogue.run()
            while not (line := wire.read_line(5.0)).startswith(b"E,"):
                continue
            assert b",smu.OFF," + told.encode() in line
            assert len(served.told("cell_on")) == len(served.told("cell_off"))
        with pytest.raises(
            InstrumentFaultError, match=r"refused a program.*-285.*not been touched"
        ):
            dialogue.load("this is = = no Lua")


def test_a_line_that_is_damaged_costs_one_row_and_many_the_program(serve: Serve) -> None:
    served = serve(factor=50.0)
    driver = served.driver(abort_timeout_s=0.5)
    driver.start(assigned(constant(1.0, limit("time_s", 60), record={"dt_s": 0.5})))
    rows = []
    for row in driver.samples():
        rows.append(row)
        if len(rows) == 5:
            served.meter.inject("garble")
    assert driver.lost_rows == 1
    assert sum(bool(row.flags & LOST_BEFORE) for row in rows) == 1
    driver.start(assigned(constant(1.0, limit("time_s", 600), record={"dt_s": 0.5})))
    served.meter.inject("garble", count=6)
    with pytest.raises(ProtocolError, match="lines damaged or lost"):
        list(driver.samples())
    assert served.is_open()


def test_an_instrument_that_falls_silent_is_aborted(serve: Serve) -> None:
    served = serve(factor=50.0)
    driver = served.driver(patience_s=0.5, abort_timeout_s=1.0)
    driver.start(assigned(constant(1.0, limit("time_s", 600), record={"dt_s": 0.5})))
    served.meter.inject("stall", seconds=2.0)
    with pytest.raises(TransportError, match=r"no line within .* the output switched off"):
        list(driver.samples())
    assert served.is_open()


def test_what_is_pulled_out_leaves_the_cell_unknown(serve: Serve) -> None:
    served = serve(factor=50.0)
    driver = served.driver()
    driver.start(assigned(REST_FOR_EVER))
    rows = driver.samples()
    next(rows)
    served.meter.inject("unplug")
    with pytest.raises(TransportError, match="the state of the cell is unknown"):
        list(rows)


def test_an_instrument_that_lost_its_power_has_its_output_off(serve: Serve) -> None:
    served = serve(factor=50.0)
    driver = served.driver(patience_s=0.5, abort_timeout_s=1.0)
    driver.start(assigned(constant(1.0, limit("time_s", 600), record={"dt_s": 0.5})))
    rows = driver.samples()
    next(rows)
    served.meter.inject("power-cycle", seconds=0.2)
    with pytest.raises(TransportError, match="no line within"):
        list(rows)
    assert served.is_open()


def test_the_zero_of_the_current_is_that_of_its_range(serve: Serve) -> None:
    served = serve()
    driver = served.driver()
    steps = (constant(1.0, limit("time_s", 1)), constant(20.0, limit("time_s", 1)))
    zeros = driver.measure_zero(assigned(*steps))
    assert [zero.range_a for zero in zeros] == [1e-3, 1e-1]
    told = served.told("instrument")[0]["read_current"]["offset"]
    for zero in zeros:
        true_a = told[f"{zero.range_a:g}"]
        assert abs(zero.current_a - true_a) < 5 * zero.uncertainty_a
    assert not served.told("cell_on")
    assert driver.measure_zero(assigned(hold(0.1, limit("time_s", 1)))) == ()


def test_two_programs_on_one_port_are_one_too_many(serve: Serve) -> None:
    served = serve()
    served.driver()
    with pytest.raises(TransportTimeout, match="is nobody else connected to it"):
        served.driver()


def test_a_command_set_that_was_chosen_on_its_panel_is_refused(serve: Serve) -> None:
    served = serve(language="SCPI")
    with pytest.raises(ProtocolError, match=r"command set is SCPI"):
        served.driver()


def test_what_it_cannot_do_is_refused_with_the_cell_untouched(serve: Serve) -> None:
    served = serve()
    driver = served.driver()
    spectrum = {"type": "impedance_spectrum", "amplitude_rms_v": 0.01}
    for call in (driver.check, driver.start):
        with pytest.raises(UnsupportedTechniqueError):
            call(assigned(spectrum))
    driver.start(assigned(REST_FOR_EVER))
    with pytest.raises(RuntimeError, match="a program is running"):
        driver.start(assigned(REST_FOR_EVER))
    driver.abort()
    assert not [x for x in served.told("segment") if x["technique"] == "cp"]


def test_it_is_reached_by_its_visa_name_as_well(serve: Serve) -> None:
    served = serve()
    host, port = served.meter.address.removeprefix("tcp://").split(":")
    assert socket.gethostbyname(host) == host
    driver = KeithleyPotentiostat(f"visa:TCPIP::{host}::{port}::SOCKET")
    served.drivers.append(driver)
    driver.connect()
    rows = run(driver, assigned(constant(1.0, limit("time_s", 4))))
    assert rows[-1].potential_v == pytest.approx(0.1, rel=1e-3)
    assert not math.isnan(rows[-1].current_a)


def test_a_sense_lead_that_is_off_is_noticed_before_the_cell_is_driven(serve: Serve) -> None:
    served = serve("zn-bare-half", perfect=True)
    driver = served.driver()
    served.meter.inject("sense-lead-off")
    driver.start(assigned(constant(1.0, limit("time_s", 60))))
    with pytest.raises(
        InstrumentFaultError, match=r"sense leads see 0\.0200 V.*is a sense lead off"
    ):
        list(driver.samples())
    assert served.is_open()
    assert not [x for x in served.told("segment") if x["technique"] != "ocp"]
    served.meter.inject("sense-lead-on")
    assert run(driver, assigned(constant(1.0, limit("time_s", 60))))


@pytest.mark.parametrize(
    "step", [constant(1.0, limit("time_s", 20)), hold(0.5, limit("time_s", 20))]
)
def test_the_force_leads_are_protected_while_a_step_runs(
    serve: Serve, step: dict[str, Any]
) -> None:
    served = serve()
    run(served.driver(), assigned(step))
    assert served.meter.smu.protection_v == 5.0  # the cell may see 3 V


def test_the_larger_model_has_other_ranges(serve: Serve) -> None:
    served = serve("zn-bare-half", model="2460")
    driver = served.driver()
    assert driver.identify()["model"] == "Keithley 2460"
    large = assigned(constant(2.0, limit("time_s", 20)), area=1e3, limits={"current_max_a": 9})
    (zero,) = driver.measure_zero(large)
    assert zero.range_a == 4.0
    plating = constant(2.0, limit("time_s", 20), role="plate")
    rows = run(driver, assigned(REST_FOR_EVER | {"duration_s": 20.0}, plating))
    assert {round(row.current_a, 5) for row in rows} == {0.0, -0.002}
    larger = assigned(constant(8.0, limit("time_s", 20)), area=1e3, limits={"current_max_a": 9})
    with pytest.raises(UnsupportedTechniqueError, match="gives 7350 mA at most"):
        driver.start(larger)


def test_a_sense_lead_that_falls_off_near_0_v_is_noticed_at_the_next_current(serve: Serve) -> None:
    served = serve("zn-bare", factor=200.0, perfect=True)
    driver = served.driver()
    steps = [constant(1.0, limit("time_s", 300), role=role) for role in ("plate", "strip")]
    driver.start(assigned(*steps, *steps, REST_FOR_EVER))
    rows = driver.samples()
    next(rows)
    served.meter.inject("sense-lead-off")
    with pytest.raises(InstrumentFaultError, match=r"potential stayed at 0\.02\d* V: a sense lead"):
        list(rows)
    assert served.is_open()
    assert driver.counters.step == 2


def test_potentials_that_are_set_answer_no_current(serve: Serve) -> None:
    driver = serve("zn-bare-half").driver()
    plating = constant(20.0, limit("time_s", 20), role="plate", record={"dt_s": 2.0})
    at = [hold(value, limit("time_s", 10)) for value in (-0.3, -0.3, 0.0)]
    rows = run(driver, assigned(plating, *at, at[-1], plating))
    assert len({row.step for row in rows}) == 6
