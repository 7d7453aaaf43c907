"""Programs executed by the simulated instrument, in another process, on a real line."""

import itertools
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
)
from instruments.potentiostat import ImpedancePoint, Sample
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from techniques import Assignment, SafetyLimits

FAST = 1e5
REST_FOR_EVER = {"type": "open_circuit", "duration_s": 1e6, "record": {"dt_s": 10}}


def step(role: str, *until: tuple[Any, ...], j: float = 2.0, **record: Any) -> dict[str, Any]:
    limits = [dict(zip(("quantity", "value", "action"), x, strict=False)) for x in until]
    return {
        "type": "galvanostatic_step",
        "role": role,
        "current_density_ma_cm2": j,
        "until": limits,
        "record": record,
    }


def assigned(*steps: dict[str, Any], area: float = 1.131, **more: Any) -> Assignment:
    technique = {"type": "sequence", "steps": list(steps)}
    limits = more.pop("limits", {})
    if isinstance(limits, SafetyLimits):
        limits = limits.model_dump(exclude_none=True)
    limits = {"potential_min_v": -3.0, "potential_max_v": 3.0, **limits}
    return Assignment.model_validate(
        {"technique": technique, "area_cm2": area, "limits": limits, **more}
    )


def run(driver: MethodScriptPotentiostat, assignment: Assignment) -> list[Any]:
    driver.start(assignment)
    return list(driver.samples())


def test_a_whole_experiment_runs_on_the_instrument(connect: Callable[..., Any]) -> None:
    driver, _ = connect()
    cycle = {
        "type": "plate_strip_cycle",
        "cycles": 3,
        "rest_s": 20,
        "between": {
            "type": "impedance_spectrum",
            "amplitude_rms_v": 0.005,
            "frequency_min_hz": 1.0,
            "points_per_decade": 5,
        },
        "plate": step("plate", ("charge_mah_cm2", 0.2), dt_s=5, de_v=0.002),
        "strip": step(
            "strip", ("potential_above_v", 0.5), ("charge_mah_cm2", 0.25, "stop"), dt_s=5
        ),
    }
    assignment = assigned(
        {"type": "open_circuit", "duration_s": 60},
        cycle,
        limits={"potential_min_v": -1.0, "potential_max_v": 1.0},
    )
    rows = run(driver, assignment)
    samples = [row for row in rows if isinstance(row, Sample)]
    points = [row for row in rows if isinstance(row, ImpedancePoint)]
    assert driver.stop_reason is None

    # One monotone time, steps without a gap.
    times = [row.t_s for row in rows]
    assert times == sorted(times)
    assert [row.step for row in rows] == sorted(row.step for row in rows)
    assert {row.step for row in rows} == set(range(1, 17))

    # Cycles and half-cycles; a rest keeps the half-cycle before it.
    where = {(row.step, row.cycle, row.half_cycle, row.role) for row in samples}
    assert where == {
        (1, 0, 0, 0),
        *[
            (2 + 5 * n + k, n + 1, 2 * n + half, role)
            for n in range(3)
            for k, half, role in ((0, 1, -1), (1, 1, 0), (3, 2, 1), (4, 2, 0))
        ],
    }
    current = 2.0e-3 * 1.131
    for row in samples:
        assert row.current_a == pytest.approx(current * row.role, rel=0.01)

    # Plating by charge: the time is exact; stripping by potential: the last row is beyond it.
    for n in range(3):
        plated = [row for row in samples if row.step == 2 + 5 * n]
        last_rest = [row for row in rows if row.step == 1 + 5 * n][-1]
        assert plated[-1].t_s - last_rest.t_s == pytest.approx(360.0, abs=1e-3)
        stripped = [row for row in samples if row.step == 5 + 5 * n]
        assert stripped[-1].potential_v > 0.5
        assert all(row.potential_v <= 0.5 for row in stripped[:-1])

    assert [point.spectrum for point in points] == [1] * 26 + [2] * 26 + [3] * 26
    frequencies = [point.frequency_hz for point in points[:26]]
    assert frequencies == sorted(frequencies, reverse=True)
    assert (frequencies[0], frequencies[-1]) == pytest.approx((1e5, 1.0))
    assert all(point.z_real_ohm > 0 for point in points)
    # Between 100 kHz, where the cables' inductance shows, and 1 Hz a cell is capacitive.
    assert all(point.z_imag_ohm < 0 for point in points if 10 < point.frequency_hz < 1e4)


def test_rows_come_densely_after_an_edge_and_first_and_last_always(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect()
    plate = step("plate", ("time_s", 100), dt_s=30, edge_dt_s=2, edge_for_s=10)
    times = [row.t_s for row in run(driver, assigned(plate))]
    interval = 100 / 3600
    assert times[0] == pytest.approx(interval, abs=1e-3)
    assert times[1:6] == pytest.approx([2, 4, 6, 8, 10], abs=2 * interval)
    assert times[-1] == pytest.approx(100, abs=1e-3)
    assert len(times) < 12


def test_rows_come_when_the_potential_moves(connect: Callable[..., Any]) -> None:
    driver, _ = connect()
    record = {"dt_s": 1000, "edge_for_s": 0, "de_v": 0.005}
    strip = step("strip", ("potential_above_v", 0.5), ("time_s", 2000), **record)
    plate = step("plate", ("time_s", 1000), dt_s=1000, edge_for_s=0)
    rows = [row for row in run(driver, assigned(plate, strip)) if row.role == 1]
    moves = [abs(b.potential_v - a.potential_v) for a, b in itertools.pairwise(rows)]
    assert len(rows) > 10
    assert min(moves[:-1]) > 0.004


def test_what_is_recorded_does_not_change_when_a_cut_off_is_noticed(
    connect: Callable[..., Any],
) -> None:
    ends = []
    for record in ({"dt_s": 0.5}, {"dt_s": 100, "edge_for_s": 0, "edge_dt_s": 50}):
        driver, bench = connect("na-znag")
        plate = step("plate", ("charge_mah_cm2", 0.25), j=0.5, **record)
        strip = step("strip", ("potential_above_v", 0.5), ("charge_mah_cm2", 0.3), j=0.5, **record)
        rows = run(driver, assigned(plate, strip))
        stripped = [row for row in rows if row.role == 1]
        plated = [row for row in rows if row.role == -1]
        ends.append((stripped[-1].t_s - plated[-1].t_s) / plated[-1].t_s)
        driver.close()
        bench.stop()
    # One check is 1/3600 of the half-cycle.
    assert ends[0] == pytest.approx(ends[1], abs=2 / 3600)
    assert 0.9 < ends[0] < 1.0


def test_rare_checks_end_a_step_of_a_set_charge_at_its_time_and_move_no_plateau(
    connect: Callable[..., Any],
) -> None:
    plateaus, ends = [], []
    for check_s in (1, 10):
        driver, bench = connect("zn-zro2")
        record = {"dt_s": 60, "edge_for_s": 0, "check_dt_s": check_s, "j": 0.25}
        both = (step(role, ("charge_mah_cm2", 0.125), **record) for role in ("plate", "strip"))
        rows = run(driver, assigned(*both))
        for role in (-1, 1):
            of_role = [row for row in rows if row.role == role]
            middle = [row.potential_v for row in of_role if 600 < row.step_t_s < 1500]
            plateaus.append(statistics.median(middle))
            ends.append(of_role[-1].step_t_s)
        driver.close()
        bench.stop()
    assert plateaus[2:] == pytest.approx(plateaus[:2], abs=5e-5)
    assert ends == pytest.approx([1800.0] * 4, abs=0.01)


def test_the_metal_on_the_counter_electrode_is_seen_mirrored(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare")
    cycle = [
        step("plate", ("time_s", 30), ("potential_below_v", -0.9)),
        step("strip", ("time_s", 30)),
    ]
    rows = run(driver, assigned(*cycle, metal_electrode="CE"))
    for row in rows:
        assert row.role in (-1, 1)
        assert math.copysign(1, row.current_a) == -row.role
        assert math.copysign(1, row.potential_v) == -row.role


def test_open_circuit_ends_when_the_drift_is_small(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-zro2")
    rest = {"type": "open_circuit", "duration_s": 3600, "drift_window_s": 60}
    patient = run(driver, assigned(rest))
    early = run(driver, assigned({**rest, "drift_below_v_s": 1e-3}))
    assert patient[-1].t_s == pytest.approx(3600, abs=1)
    assert 60 <= early[-1].t_s < 200


def test_a_safety_limit_ends_the_program_and_keeps_its_rows(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare")
    driver.start(
        assigned(
            step("plate", ("time_s", 5), j=0.5),
            step("plate", ("time_s", 500), j=20.0),
            {"type": "open_circuit", "duration_s": 50},
            limits={"potential_min_v": -0.4, "potential_max_v": 0.4},
        )
    )
    rows: list[Any] = []
    with pytest.raises(SafetyLimitError, match=r"potential_min_v = -0\.4 was passed in step 2"):
        rows.extend(driver.samples())
    assert rows[-1].potential_v < -0.4
    assert {row.step for row in rows} == {1, 2}


@pytest.mark.parametrize(
    ("action", "steps"), [("next", [1, 2, 3, 4, 5, 6, 7]), ("end_loop", [1, 2]), ("stop", [1])]
)
def test_a_limit_does_what_its_action_says(
    connect: Callable[..., Any], action: str, steps: list[int]
) -> None:
    driver, _ = connect("zn-bare")
    once = {"type": "sequence", "steps": [step("plate", ("time_s", 5, action)), _rest(3)]}
    rows = run(driver, assigned({"type": "repeat", "times": 3, "step": once}, _rest(4)))
    assert sorted({row.step for row in rows}) == steps
    assert driver.stop_reason == ("limit time_s 5 reached in step 1" if action == "stop" else None)


def _rest(duration_s: float) -> dict[str, Any]:
    return {"type": "open_circuit", "duration_s": duration_s}


def test_galvanostatic_impedance_agrees_with_potentiostatic(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-zro2")
    common = {"type": "impedance_spectrum", "frequency_min_hz": 10.0, "points_per_decade": 3}
    rows = run(
        driver,
        assigned(
            {**common, "amplitude_rms_v": 0.005},
            {**common, "mode": "galvanostatic", "amplitude_rms_ma_cm2": 0.1},
        ),
    )
    half = len(rows) // 2
    assert [row.spectrum for row in rows] == [1] * half + [2] * half
    for a, b in zip(rows[:half], rows[half:], strict=True):
        difference = abs(complex(a.z_real_ohm - b.z_real_ohm, a.z_imag_ohm - b.z_imag_ohm))
        assert difference < 0.02 * abs(complex(a.z_real_ohm, a.z_imag_ohm))


@pytest.mark.parametrize(
    "spectrum", [{"amplitude_rms_v": 0.005}, {"mode": "galvanostatic", "amplitude_rms_ma_cm2": 0.1}]
)
def test_a_spectrum_beyond_the_window_never_closes_the_cell(
    connect: Callable[..., Any], spectrum: dict[str, Any]
) -> None:
    # Copper rests at about 1 V against zinc.
    driver, bench = connect("zn-bare-half")
    driver.start(
        assigned(
            {"type": "impedance_spectrum", "frequency_min_hz": 10.0, **spectrum},
            limits={"potential_min_v": -0.2, "potential_max_v": 0.2},
        )
    )
    with pytest.raises(SafetyLimitError, match=r"potential_max_v = 0\.2"):
        list(driver.samples())
    assert not [x for x in bench.truth("potentiostat") if x.get("event") == "cell_on"]


def test_a_bias_that_drives_too_much_current_ends_before_its_spectrum(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect("zn-bare")
    spectrum = {
        "type": "impedance_spectrum",
        "amplitude_rms_v": 0.005,
        "frequency_min_hz": 10.0,
        "potential_v": -0.2,
    }
    mild = {**spectrum, "potential_v": -0.01}
    limits = {"current_max_a": 1e-3, "potential_min_v": -0.5, "potential_max_v": 0.5}
    rows = run(driver, assigned(mild, limits=limits))
    assert len(rows) == 41
    driver.start(assigned(spectrum, limits=limits))
    rows = []
    with pytest.raises(SafetyLimitError, match=r"current_max_a = 0\.001"):
        rows.extend(driver.samples())
    assert rows == []
    assert bench.truth("potentiostat")[-1].get("cell_is_on") is not True


def test_a_limit_that_a_cut_off_outran_is_noted(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare-half")
    cycle = {
        "type": "plate_strip_cycle",
        "cycles": 3,
        "plate": step("plate", ("charge_mah_cm2", 0.1)),
        "strip": step("strip", ("potential_above_v", 0.5), ("charge_mah_cm2", 0.2)),
    }
    # At the end of a strip the potential jumps past both, unless the instrument looks just then:
    # it depends on how long the cell lay there before.
    limits = {"potential_min_v": -1.0, "potential_max_v": 1.1}
    rows = run(driver, assigned(cycle, limits=limits))
    ends = [row.potential_v for row in rows if row.potential_v > 1.1]
    assert ends
    steps = "1 step" if len(ends) == 1 else f"{len(ends)} steps"
    assert driver.notes == [
        f"potential_max_v 1.1 V was passed at the end of {steps} "
        f"(highest {max(ends):.4g} V) before the step's own limit ended it"
    ]
    assert driver.lost_rows == 0
    run(driver, assigned(_rest(5)))
    assert driver.notes == []


def test_an_abort_opens_the_cell_in_the_middle(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare", 100.0)
    driver.start(assigned(step("plate", ("time_s", 1e5), j=0.1, dt_s=1)))
    rows: list[Any] = []
    going = threading.Event()

    def read() -> None:
        for row in driver.samples():
            rows.append(row)
            going.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert going.wait(50)
    driver.abort()
    reader.join(50)
    assert driver.stop_reason == "aborted"
    # At once the next program runs, and begins with an open cell.
    assert run(driver, assigned(_rest(2)))[-1].current_a == 0.0


def test_a_connection_ends_what_runs_and_takes_over(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare", 100.0)
    driver.start(assigned(REST_FOR_EVER))
    # As if the computer had died: the port is free, the program goes on.
    driver._transport.close()
    driver._transport = None
    other = MethodScriptPotentiostat(bench.address("potentiostat"))
    other.connect()
    assert len(run(other, assigned(_rest(5)))) > 1
    other.close()


def test_a_new_owner_gets_the_cell_open_after_an_absence_that_cost_output(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect("zn-bare", 1e4)
    driver.start(assigned(step("plate", ("time_s", 1e6), j=0.01, dt_s=0.5, edge_dt_s=0.5)))
    # As if the computer had died: nobody reads, and the instrument waits only so long.
    driver._transport.close()
    driver._transport = None
    deadline = time.monotonic() + 50
    while not (lost := [x for x in bench.truth("potentiostat") if x["event"] == "output_lost"]):
        assert time.monotonic() < deadline, "the instrument still waits for its reader"
        time.sleep(0.05)
    assert not [x for x in bench.truth("potentiostat") if x["event"] == "cell_off"]
    other = MethodScriptPotentiostat(bench.address("potentiostat"))
    other.connect()
    (off,) = [x for x in bench.truth("potentiostat") if x["event"] == "cell_off"]
    assert off["cell_t_s"] >= lost[0]["cell_t_s"]
    assert len(run(other, assigned(_rest(5)))) > 1
    other.close()


def test_a_new_owner_opens_a_cell_that_a_failed_program_has_left_closed(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect("zn-bare", 100.0)
    # A run-time error leaves the cell as it was, and then the computer dies.
    driver._transport.write(b"e\nset_pgstat_mode 6\nset_range db 1m\nset_i 10u\ncell_on\n\n")
    assert [driver._transport.read_line(5) for _ in range(2)] == [b"e", b""]
    driver._transport.close()
    driver._transport = None
    assert bench.truth("potentiostat")[-1]["cell_is_on"] is True
    other = MethodScriptPotentiostat(bench.address("potentiostat"))
    other.connect()
    assert bench.truth("potentiostat")[-1]["cell_is_on"] is False
    other.close()


def test_it_all_works_over_tcp(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare", FAST, "--no-pty")
    assert driver.identify()["address"].startswith("tcp://")
    assert run(driver, assigned(_rest(30)))[-1].t_s == pytest.approx(30, abs=1e-3)


def read_on(driver: MethodScriptPotentiostat, rows: list[Any], until: int) -> Iterator[Any]:
    samples = driver.samples()
    while len(rows) < until:
        rows.append(next(samples))
    return samples


def test_one_garbled_line_is_survived(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare", 1000.0)
    driver.start(assigned({**REST_FOR_EVER, "duration_s": 1500}))
    rows: list[Any] = []
    samples = read_on(driver, rows, 10)
    bench.break_something(instrument="potentiostat", fault="garble", count=1)
    rows += samples
    assert rows[-1].t_s == pytest.approx(1500, abs=1e-2)
    times = [row.t_s for row in rows]
    assert times == sorted(times)


@pytest.mark.parametrize("fault", ["garble", "drop"])
def test_a_bad_wire_ends_the_program_with_the_cell_open(
    connect: Callable[..., Any], fault: str
) -> None:
    driver, bench = connect("zn-bare", 1000.0)
    driver.start(assigned(REST_FOR_EVER))
    rows: list[Any] = []
    samples = read_on(driver, rows, 10)
    bench.break_something(instrument="potentiostat", fault=fault, count=5)
    with pytest.raises(ProtocolError, match="check the cable"):
        rows += samples
    assert len(run(driver, assigned(_rest(5)))) > 1


def test_an_unplugged_instrument_is_told_at_once(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare", 1000.0)
    driver.start(assigned(REST_FOR_EVER))
    samples = read_on(driver, [], 10)
    bench.break_something(instrument="potentiostat", fault="unplug")
    with pytest.raises(TransportError, match="state of the cell is unknown"):
        list(samples)


def test_a_killed_instrument_is_told_at_once(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare", 1000.0)
    driver.start(assigned(REST_FOR_EVER))
    samples = read_on(driver, [], 10)
    bench.process.kill()
    with pytest.raises(TransportError, match="state of the cell is unknown"):
        list(samples)


def test_an_instrument_that_stalls_is_aborted(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare", 100.0, patience_s=1.0)
    driver.start(assigned({**REST_FOR_EVER, "record": {"dt_s": 0.5}}))
    samples = read_on(driver, [], 10)
    bench.break_something(instrument="potentiostat", fault="stall", seconds=3)
    with pytest.raises(TransportError, match=r"no line within .* aborted and the cell opened"):
        list(samples)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, r"restarted \(power cycle\?\).* The cell is open: a restarted instrument has"),
        (4.0, r"restarted \(power cycle\?\).* answers again, and the cell was opened"),
    ],
)
def test_a_power_cycle_is_told_and_leaves_the_cell_open(
    connect: Callable[..., Any], seconds: float, words: str
) -> None:
    driver, bench = connect("zn-bare", 100.0, patience_s=1.0, abort_timeout_s=1.0)
    driver.start(assigned(step("plate", ("time_s", 1e5), j=0.01, dt_s=0.5, edge_dt_s=0.5)))
    samples = read_on(driver, [], 10)
    bench.break_something(instrument="potentiostat", fault="power-cycle", seconds=seconds)
    with pytest.raises((InstrumentFaultError, TransportError), match=words) as caught:
        list(samples)
    assert "unknown" not in str(caught.value)
    events = [x["event"] for x in bench.truth("potentiostat")]
    assert "cell_off" in events[events.index("cell_on") :]
    # It is usable again at once.
    assert len(run(driver, assigned(_rest(5)))) > 1
    driver.close()


def test_limits_narrower_than_the_cell_are_refused_before_anything_moves(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect("zn-bare")
    assignment = assigned(
        step("plate", ("time_s", 5), j=100.0), limits=SafetyLimits(current_max_a=0.01)
    )
    before = bench.truth("potentiostat")
    with pytest.raises(SafetyLimitError, match=r"113\.1 mA"):
        driver.start(assignment)
    assert bench.truth("potentiostat") == before
