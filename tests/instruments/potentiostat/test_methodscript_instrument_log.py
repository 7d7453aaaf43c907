"""The instrument's own log, written by the simulated instrument on a real line."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import serial

from instruments.errors import InstrumentError, TransportTimeout
from instruments.potentiostat import ImpedancePoint, Sample
from instruments.potentiostat.contract import COLLECTED
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from instruments.potentiostat.methodscript.instrument_log import read_program
from instruments.potentiostat.methodscript.program import compile_program
from techniques import Assignment, Counters

FACTOR = 1e4
LIMITS = {"potential_min_v": -3.0, "potential_max_v": 3.0}


def assigned(*steps: dict[str, Any], log: str | None = "a1", **more: Any) -> Assignment:
    return Assignment.model_validate(
        {
            "technique": {"type": "sequence", "steps": list(steps)},
            "area_cm2": 1.131,
            "limits": LIMITS,
            "instrument_log": log,
            **more,
        }
    )


def plating(seconds: float, dt_s: float = 1.0) -> dict[str, Any]:
    return {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "time_s", "value": seconds}],
        "record": {"dt_s": dt_s, "edge_dt_s": dt_s},
    }


SHORT = (
    {"type": "open_circuit", "duration_s": 5, "record": {"dt_s": 1}},
    plating(30.0),
    {
        "type": "impedance_spectrum",
        "amplitude_rms_v": 0.005,
        "frequency_min_hz": 10.0,
        "points_per_decade": 3,
    },
)


def change_file_store(bench: Any, **options: float) -> None:
    before = len(faults(bench))
    bench.break_something(instrument="potentiostat", fault="file-store", **options)
    deadline = time.monotonic() + 50
    while len(faults(bench)) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def faults(bench: Any) -> list[dict[str, Any]]:
    try:
        return [line for line in bench.truth("bench") if line["event"] == "fault"]
    except FileNotFoundError:
        return []


def without_arrival(rows: list[Sample | ImpedancePoint]) -> list[tuple[Any, ...]]:
    return [tuple(row._replace(arrival_ns=0, flags=row.flags & ~COLLECTED)) for row in rows]


def test_the_log_holds_the_very_rows_that_the_line_brought(connect: Callable[..., Any]) -> None:
    driver, _ = connect(factor=FACTOR)
    begin = Counters(t_s=1000.0, cycle=3, half_cycle=6, step=17, spectrum=2)
    assignment = assigned(*SHORT, begin=begin)
    assert driver.prepare_log(assignment) is None
    driver.start(assignment)
    heard = list(driver.samples())
    assert driver.log_kept
    log = driver.read_log(assignment)
    assert log is not None
    assert without_arrival(list(log.rows)) == without_arrival(heard)
    assert all(row.flags & COLLECTED for row in log.rows)
    assert (log.ending, log.lost_rows, log.kind, log.role) == ("complete", 0, "impedance", 2)
    assert log.counters == driver.counters
    # Counters go on from where they were told to begin.
    assert (heard[0].step, heard[0].half_cycle, heard[0].cycle) == (18, 6, 3)
    assert 1000.0 < heard[0].t_s < 1002.0
    plated = [row for row in heard if row.step == 19]
    assert {row.half_cycle for row in plated} == {7}
    assert {row.spectrum for row in heard if isinstance(row, ImpedancePoint)} == {3}

    driver.delete_log("a1")
    assert driver.read_log(assignment) is None
    driver.delete_log("a1")


def test_a_program_that_nobody_listens_to_goes_on_and_writes_its_log(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect(factor=FACTOR)
    assignment = assigned(plating(3600.0))
    driver.start(assignment)
    driver._wire().close()  # the host's end of the line, as a dead process leaves it

    successor = MethodScriptPotentiostat(bench.address("potentiostat"))
    time.sleep(0.5)
    successor.connect()
    try:
        log = successor.read_log(assignment)
    finally:
        successor.close()
    assert log is not None
    # Connecting aborted it; the log tells when the cell was opened, to the millisecond.
    assert log.ending == "opened"
    samples = [row for row in log.rows if isinstance(row, Sample)]
    times = [row.step_t_s for row in samples]
    assert times == sorted(times)
    assert 0 <= log.step_s - times[-1] < 1.1
    events = {line["event"]: line["cell_t_s"] for line in bench.truth("potentiostat")[1:]}
    on_s = events["cell_off"] - events["cell_on"]
    # Two clocks: the instrument counts in its own seconds.
    assert log.step_s == pytest.approx(on_s, rel=1e-4)


@pytest.mark.long
def test_a_log_that_the_power_cut_off_ends_where_it_went(connect: Callable[..., Any]) -> None:
    driver, bench = connect(factor=200)
    change_file_store(bench, held_bytes=0)
    assignment = assigned(plating(1e5))
    driver.start(assignment)
    rows = driver.samples()
    for _ in range(30):
        next(rows)
    bench.break_something(instrument="potentiostat", fault="power-cycle", seconds=0.2)
    with pytest.raises(InstrumentError):
        list(rows)
    log = driver.read_log(assignment)
    assert log is not None
    assert log.ending == "unknown"
    assert len(log.rows) >= 30
    assert log.step_s == log.rows[-1].step_t_s


def test_half_a_line_at_the_end_of_a_log_is_never_taken_for_a_row(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect(factor=FACTOR)
    assignment = assigned(*SHORT)
    program = compile_program(assignment, driver.capabilities())
    driver.start(assignment)
    list(driver.samples())
    lines = list(driver._files().lines("a1") or ())
    whole = read_program(program, lines, "it")
    for kept in range(1, len(lines)):
        log = read_program(program, lines[:kept], "it")
        assert log.rows == whole.rows[: len(log.rows)]
        assert (log.ending == "complete") == (b"TEND" in lines[:kept])


def test_another_programs_log_is_refused(connect: Callable[..., Any]) -> None:
    driver, _ = connect(factor=FACTOR)
    assignment = assigned(*SHORT)
    driver.start(assignment)
    list(driver.samples())
    lines = list(driver._files().lines("a1") or ())
    other = compile_program(assigned(*SHORT, log="b2"), driver.capabilities())
    log = read_program(other, lines, "it")
    assert (log.rows, log.ending, log.cut) == ((), "unknown", True)
    assert "not that of the program" in log.damage


def test_a_damaged_or_empty_log_says_so_and_keeps_the_rows_that_can_be_read(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect(factor=FACTOR)
    assignment = assigned(*SHORT)
    program = compile_program(assignment, driver.capabilities())
    driver.start(assignment)
    list(driver.samples())
    lines = list(driver._files().lines("a1") or ())
    whole = read_program(program, lines, "it")
    assert whole.damage == ""
    log = read_program(program, (), "it")
    assert (log.rows, log.ending, log.cut) == ((), "unknown", True)
    assert "it is empty" in log.damage
    row = next(n for n, line in enumerate(lines) if b";ab" in line and n > 20)
    log = read_program(program, [*lines[:row], b"Pda7F8\xff", *lines[row + 1 :]], "it")
    assert (len(log.rows), log.ending, log.cut) == (len(whole.rows) - 1, "unknown", False)
    assert "1 lines cannot be read" in log.damage

    def breaks_off() -> Iterator[bytes]:
        yield from lines[:row]
        raise TransportTimeout("nothing came within 5 s")

    log = read_program(program, breaks_off(), "it")
    assert log.rows == whole.rows[: len(log.rows)]
    assert len(log.rows) > 10
    assert (log.ending, log.cut) == ("unknown", True)
    assert "could not be read to its end" in log.damage


def test_a_damaged_log_does_not_hide_that_a_safety_limit_was_met(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect(factor=FACTOR)
    program = compile_program(assigned(*SHORT), driver.capabilities())
    lines = [b"TLOG /operando-a1.txt", b"Pda7F8\xff", b"TSAFETY potential_min_v -3", b""]
    log = read_program(program, lines, "it")
    assert (log.ending, log.reason) == ("safety", "potential_min_v -3")
    assert log.damage


def test_firmware_without_a_file_store_runs_the_program_without_a_log(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect(factor=FACTOR)
    change_file_store(bench, present=0)
    assignment = assigned(*SHORT)
    assert "file store cannot be used" in (driver.prepare_log(assignment) or "")
    driver.start(assignment)  # asked for all the same
    assert len(list(driver.samples())) > 30
    assert not driver.log_kept


def test_a_name_that_is_taken_costs_the_log_but_not_the_experiment(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect(factor=FACTOR)
    for _ in range(2):
        driver.start(assigned(*SHORT))
        assert len(list(driver.samples())) > 30
    assert not driver.log_kept
    # The first one's log is no stub of the second.
    log = driver.read_log(assigned(*SHORT))
    assert log is not None
    assert log.ending == "complete"


def test_a_log_that_was_refused_leaves_no_stub_behind(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect(factor=FACTOR)
    change_file_store(bench, kilobytes=0)
    driver.start(assigned(plating(5.0)))
    list(driver.samples())
    change_file_store(bench, kilobytes=1000)
    assert driver._files().logs() == ["a1"]  # made, and nothing written to it
    driver.start(assigned(*SHORT))
    assert len(list(driver.samples())) > 30
    assert not driver.log_kept
    assert driver._files().logs() == []


def test_connecting_says_that_it_ended_a_program(
    connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    driver, bench = connect(factor=FACTOR)
    assert "was ended by connecting" not in caplog.text
    driver.start(assigned(plating(3600.0)))
    driver._wire().close()  # the host's end of the line, as a dead process leaves it
    successor = MethodScriptPotentiostat(bench.address("potentiostat"))
    successor.connect()
    successor.close()
    assert "a program was running on it, and was ended by connecting" in caplog.text


def test_logs_that_may_go_make_room_and_what_does_not_fit_gets_no_log(
    connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    driver, bench = connect(factor=FACTOR)
    for name in ("a1", "a2", "a3"):
        driver.start(assigned(*SHORT, log=name))
        list(driver.samples())
    used = sum(len(line) + 1 for line in driver._files().lines("a1") or ())
    wanted = (
        compile_program(assigned(plating(20.0)), driver.capabilities()).longest_log_bytes * 1.1
        + 65536
    )
    change_file_store(bench, kilobytes=int((wanted + 2.5 * used) / 1024) + 1)
    why = driver.prepare_log(assigned(plating(20.0), log="a4"))
    assert why is not None
    assert "a1, a2, a3, whose rows may be in no record" in why
    assert driver._files().logs() == ["a1", "a2", "a3"]
    assert driver.prepare_log(assigned(plating(20.0), log="a4"), lambda name: name != "a1") is None
    assert driver._files().logs() == ["a1", "a3"]
    assert "its log a2 is removed to make room" in caplog.text
    why = driver.prepare_log(assigned(plating(1e6), log="a5"))
    assert why is not None
    assert "MB" in why


@pytest.mark.parametrize("error_when_full", [0, 1])
def test_a_program_writes_no_more_than_was_asked_room_for(
    error_when_full: int, connect: Callable[..., Any]
) -> None:
    driver, bench = connect(factor=FACTOR)
    recorded = plating(200.0) | {"record": {"dt_s": 5, "de_v": 1e-6}}
    assignment = assigned(*SHORT[:1], recorded, SHORT[2])
    wanted = compile_program(assignment, driver.capabilities()).longest_log_bytes
    change_file_store(bench, kilobytes=wanted // 1024 + 1, error_when_full=error_when_full)
    driver.start(assignment)
    heard = list(driver.samples())
    log = driver.read_log(assignment)
    assert log is not None
    assert without_arrival(list(log.rows)) == without_arrival(heard)


def test_a_client_that_is_not_ours_finds_the_same_lines(connect: Callable[..., Any]) -> None:
    driver, bench = connect(factor=FACTOR)
    assignment = assigned(*SHORT)
    driver.start(assignment)
    heard = list(driver.samples())
    driver.close()
    address = (bench.folder / "potentiostat").read_text().strip().removeprefix("serial://")
    with serial.Serial(address, timeout=50) as port:
        port.write(b"fs_dir /\n")
        listing = [port.readline(), port.readline(), port.readline()]
        assert listing[0] == b"f\n"
        assert listing[1].startswith(b"/operando-a1.txt;")
        assert listing[2] == b"\n"
        port.write(b"fs_get /operando-a1.txt\n")
        content = port.read_until(b"\x1c\n")
        port.write(b"fs_del /operando-a1.txt\n")
        assert port.readline() == b"f\n"
        port.write(b"fs_get /operando-a1.txt\n")
        assert port.readline() == b"f!009F\n"
    lines = content.removesuffix(b"\x1c\n").split(b"\n")
    assert lines[:2] == [b"f", b"TLOG /operando-a1.txt"]
    assert b"TEND" in lines
    # Rows carry a number (ja) and what was measured (ab, or dc); headers do not measure.
    rows = [x for x in lines if x.startswith(b"Peb") and (b";ab" in x or b";dc" in x)]
    assert len({row.split(b";ja")[1][:8] for row in rows}) == len(heard)
