"""The driver against pages of the manual: every answer, every error answer."""

import logging
import threading
from collections.abc import Callable, Iterator
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
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from instruments.transport import read_dialogue
from techniques import Assignment, GalvanostaticStep, Limit, SafetyLimits

HR = "an EmStat4 HR at rest"
OPEN = "the cell is opened at rest"
# One row at most per 0.2 s, so that a silence is over soon.
PLATE = Assignment(
    technique=GalvanostaticStep.model_validate(
        {
            "role": "plate",
            "current_density_ma_cm2": 1.0,
            "until": [{"quantity": "time_s", "value": 10}],
            "record": {"dt_s": 0.2, "edge_dt_s": 0.2},
        }
    ),
    area_cm2=1.0,
    limits=SafetyLimits(potential_min_v=-0.8, potential_max_v=0.8),
)


@pytest.fixture
def connected(manual: Callable[..., Any]) -> Iterator[Callable[..., MethodScriptPotentiostat]]:
    drivers: list[MethodScriptPotentiostat] = []

    def connect(*pages: str, **more: Any) -> MethodScriptPotentiostat:
        instrument = manual(HR, *pages)
        drivers.append(
            MethodScriptPotentiostat(
                instrument.address, patience_s=0.3, abort_timeout_s=1.0, **more
            )
        )
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        if driver._transport is not None:
            driver._transport.close()
            driver._transport = None


def drain(driver: MethodScriptPotentiostat) -> tuple[list[Any], InstrumentError | None]:
    rows: list[Any] = []
    try:
        for row in driver.samples():
            rows.append(row)
    except InstrumentError as error:
        return rows, error
    return rows, None


def test_nothing_works_before_connecting_and_says_so() -> None:
    driver = MethodScriptPotentiostat("serial:///dev/ttyNONE")
    for action in (driver.identify, driver.capabilities, driver.abort):
        with pytest.raises(TransportError, match="not connected"):
            action()
    with pytest.raises(TransportError, match="plugged in"):
        driver.connect()
    driver.close()


@pytest.mark.parametrize(
    ("page", "model", "firmware", "galvanostat"),
    [
        (HR, "EmStat4 HR", "1.3.00 R Nov 17 2024 10:12:31", True),
        (
            "an EmStat4 LR with old firmware and one more line before its answer",
            "EmStat4 LR",
            "1.2 B Jan 28 2022 11:04:43",
            True,
        ),
        ("an EmStat Pico", "EmStat Pico", "1.3.07 R May 12 2021 09:01:55", False),
        (
            "a Nexus whose script runs: it is ended",
            "Nexus",
            "1.2.00 R Mar  3 2025 12:00:00",
            True,
        ),
    ],
)
def test_an_instrument_is_known_by_what_it_says(
    manual: Callable[..., Any], page: str, model: str, firmware: str, galvanostat: bool
) -> None:
    instrument = manual(page, OPEN)
    driver = MethodScriptPotentiostat(instrument.address)
    driver.connect()
    driver.connect()
    identity = driver.identify()
    assert (identity["model"], identity["firmware"]) == (model, firmware)
    assert identity["address"] == instrument.address
    assert driver.capabilities().galvanostatic == galvanostat
    if not galvanostat:
        with pytest.raises(UnsupportedTechniqueError, match="cannot control the current"):
            driver.check(PLATE)
    driver.close()
    driver.close()


@pytest.mark.parametrize(
    ("page", "error", "words"),
    [
        ("something else on the port", ProtocolError, "tKEITHLEY"),
        ("a MethodSCRIPT instrument that is not known", ProtocolError, "es9_xx"),
        (
            "one that refuses to tell its serial number",
            InstrumentFaultError,
            "unknown command",
        ),
        ("one that answers with something else", ProtocolError, "Pab8000001u"),
    ],
)
def test_what_is_not_this_instrument_is_left_alone(
    manual: Callable[..., Any], page: str, error: type[InstrumentError], words: str
) -> None:
    driver = MethodScriptPotentiostat(manual(page).address)
    with pytest.raises(error, match=words):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.identify()


def test_a_port_where_nobody_answers_is_told(manual: Callable[..., Any]) -> None:
    driver = MethodScriptPotentiostat(manual("nobody answers").address)
    with pytest.raises(TransportTimeout, match=r"who it is \(t\), nothing came .* right port"):
        driver.connect()


@pytest.mark.parametrize(
    "page",
    [
        "the end of the program before was lost: only the next abort is answered as at rest",
        "a script was half loaded: its error makes it deaf to the abort",
        "its answers to the aborts are lost",
        "an answer that comes late",
    ],
)
def test_a_new_owner_gets_the_cell_open_whatever_the_one_before_has_left(
    manual: Callable[..., Any], page: str
) -> None:
    # That nothing is missing of the page, also not the opening of the cell, checks its player.
    driver = MethodScriptPotentiostat(manual(page, OPEN).address, abort_timeout_s=0.5)
    driver.connect()
    assert driver.identify()["serial_number"] == "ES4HR24C0000"
    driver.close()


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("a program that cannot be ended", r"'e!0006'.*disconnect it"),
        ("a cell that stays closed", r"open the cell .*overload.*disconnect it"),
    ],
)
def test_a_new_owner_is_told_of_a_cell_that_cannot_be_opened(
    manual: Callable[..., Any], page: str, words: str
) -> None:
    driver = MethodScriptPotentiostat(manual(page).address, abort_timeout_s=0.5)
    with pytest.raises(InstrumentFaultError, match=words):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.identify()


def test_a_driver_unconfirmed_on_hardware_warns_once(
    connected: Callable[..., MethodScriptPotentiostat], caplog: pytest.LogCaptureFixture
) -> None:
    driver = connected()
    driver.connect()
    assert driver.verified_on is None
    told = [x.message for x in caplog.records if x.levelno == logging.WARNING]
    assert [x.count("real hardware") for x in told] == [1]


@pytest.mark.parametrize(
    ("page", "times"),
    [
        ("a whole program", [1.0, 2.0]),
        ("the acknowledgement and the first line in one", [1.0]),
    ],
)
def test_a_program_runs_to_its_end(
    connected: Callable[..., MethodScriptPotentiostat], page: str, times: list[float]
) -> None:
    driver = connected(page)
    driver.start(PLATE)
    rows, error = drain(driver)
    assert error is None
    assert driver.stop_reason is None
    assert [row.t_s for row in rows] == times
    assert rows[0]._replace(arrival_ns=0) == Sample(1.0, 1.0, -0.0125, -0.001, 0, 1, 1, -1, 0, 0)
    assert all(row.arrival_ns > 0 for row in rows)


def test_status_bits_become_flags(connected: Callable[..., MethodScriptPotentiostat]) -> None:
    driver = connected("a whole program")
    driver.start(PLATE)
    rows, _ = drain(driver)
    assert [row.flags for row in rows] == [0, 4]


@pytest.mark.parametrize(
    ("page", "error", "words"),
    [
        (
            "refused while loading",
            InstrumentFaultError,
            r"unknown script command.*line 1, column 4 .*'var t'.*has not been touched",
        ),
        ("refused when started", InstrumentFaultError, "no script has been loaded"),
        ("answered with something else when loading", ProtocolError, "lP"),
        ("answered with something else when started", ProtocolError, r"got '\?'"),
        (
            "answered with something else when started and then with nothing",
            ProtocolError,
            r"got '\?'",
        ),
    ],
)
def test_a_program_that_is_not_accepted_leaves_the_cell_open(
    connected: Callable[..., MethodScriptPotentiostat],
    page: str,
    error: type[InstrumentError],
    words: str,
) -> None:
    driver = connected(page)
    with pytest.raises(error, match=words):
        driver.start(PLATE)
    with pytest.raises(RuntimeError, match="start a technique first"):
        next(driver.samples())


def test_what_is_forbidden_is_not_even_sent(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected()
    forbidden = PLATE.model_copy(update={"limits": SafetyLimits(current_max_a=1e-4)})
    for action in (driver.check, driver.start):
        with pytest.raises(SafetyLimitError, match=r"1 mA, the limit is 0\.1 mA"):
            action(forbidden)


def test_a_safety_limit_is_an_error_after_the_last_row(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("a safety limit")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert len(rows) == 1
    assert isinstance(error, SafetyLimitError)
    assert "potential_min_v = -0.8 was passed in step 1" in str(error)


def test_a_limit_of_the_technique_is_a_normal_end_with_a_reason(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("a limit of the technique that stops the program")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert (len(rows), error) == (1, None)
    assert driver.stop_reason == "limit time_s 10 reached in step 1"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("a run-time error with an empty line", r"critical overload.*'var c'.*cell was opened"),
        ("a run-time error without an empty line", r"oscillates.*'var c'.*cell was opened"),
        (
            "a run-time error after which the cell cannot be opened",
            "could NOT be opened, disconnect it",
        ),
    ],
)
def test_after_a_run_time_error_the_cell_is_opened_and_the_error_told(
    connected: Callable[..., MethodScriptPotentiostat], page: str, words: str
) -> None:
    driver = connected(page)
    driver.start(PLATE)
    rows, error = drain(driver)
    assert len(rows) == 1
    assert isinstance(error, InstrumentFaultError)
    with pytest.raises(InstrumentFaultError, match=words):
        raise error


def test_a_current_that_is_not_the_set_one_ends_the_program(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("a current that is not what was asked for")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert len(rows) == 2
    assert isinstance(error, InstrumentFaultError)
    assert "asked for -1 mA, the instrument measures -0.2 mA" in str(error)


def test_one_damaged_line_costs_one_row(
    connected: Callable[..., MethodScriptPotentiostat], caplog: pytest.LogCaptureFixture
) -> None:
    driver = connected("one damaged line")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert [row.t_s for row in rows] == [1.0, 3.0]
    assert [row.flags for row in rows] == [0, LOST_BEFORE]
    assert driver.lost_rows == 1
    assert error is None
    assert "1 damaged lines, 0 rows lost" in caplog.text


def test_an_empty_line_that_is_what_is_left_of_another_ends_no_program(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    """A loop ends with ``*`` alone: without its one byte it would be the program's end."""
    driver = connected("an empty line that was the mark of a loop's end")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert [row.t_s for row in rows] == [1.0, 2.0]
    assert error is None
    assert driver.lost_rows == 0


@pytest.mark.parametrize(
    ("page", "rows"), [("too many damaged lines", 1), ("rows that did not arrive", 2)]
)
def test_a_bad_wire_ends_the_program(
    connected: Callable[..., MethodScriptPotentiostat], page: str, rows: int
) -> None:
    driver = connected(page)
    driver.start(PLATE)
    found, error = drain(driver)
    assert len(found) == rows
    assert isinstance(error, ProtocolError)
    assert "check the cable" in str(error)


def test_an_end_without_its_mark_is_not_believed(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("an end without its mark")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert len(rows) == 1
    assert isinstance(error, ProtocolError)
    assert "end mark" in str(error)


def test_a_silent_instrument_is_aborted_and_its_last_rows_kept(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("silence that an abort ends")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert [row.t_s for row in rows] == [1.0, 2.0]
    assert isinstance(error, TransportError)
    assert "the program was aborted and the cell opened" in str(error)


def test_a_silent_instrument_that_cannot_be_aborted_is_told(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("silence for ever")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert len(rows) == 1
    assert isinstance(error, TransportError)
    assert "the cell is unknown" in str(error)


@pytest.mark.parametrize(
    ("page", "error", "words"),
    [
        (
            "it restarts in the middle: an abort is answered as at rest",
            InstrumentFaultError,
            r"restarted \(power cycle\?\).* The cell is open: a restarted instrument has it open",
        ),
        (
            "it restarts in the middle and takes its time",
            TransportError,
            r"restarted \(power cycle\?\).* answers again, and the cell was opened",
        ),
        (
            "it restarts and cannot open the cell",
            InstrumentFaultError,
            r"open the cell.*'e!0032'.*disconnect it",
        ),
    ],
)
def test_an_instrument_that_restarts_is_told_with_how_its_cell_is(
    connected: Callable[..., MethodScriptPotentiostat],
    page: str,
    error: type[InstrumentError],
    words: str,
) -> None:
    driver = connected(page)
    driver.start(PLATE)
    rows, failure = drain(driver)
    assert len(rows) == 1
    assert isinstance(failure, error)
    with pytest.raises(error, match=words):
        raise failure
    assert "unknown" not in str(failure)


@pytest.mark.parametrize(
    "page",
    [
        "it restarts in the middle: an abort is answered as at rest",
        "it restarts in the middle and takes its time",
    ],
)
def test_an_abort_of_an_instrument_that_restarted_opens_the_cell(
    connected: Callable[..., MethodScriptPotentiostat], page: str, caplog: pytest.LogCaptureFixture
) -> None:
    driver = connected(page, OPEN)
    driver.start(PLATE)
    driver.abort()
    assert "perhaps the instrument restarted" in caplog.text
    driver.abort()


def test_an_abort_whose_last_line_is_lost_is_no_restart(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("aborted, and the empty line at the end is lost")
    driver.start(PLATE)
    samples = driver.samples()
    next(samples)
    driver.abort()
    assert list(samples) == []
    assert driver.stop_reason == "aborted"


def test_a_pulled_cable_is_told_at_once(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("the cable is pulled")
    driver.start(PLATE)
    rows, error = drain(driver)
    assert len(rows) == 1
    assert isinstance(error, TransportError)
    assert "goes on by itself within the program's limits" in str(error)
    with pytest.raises(TransportError) as caught:
        driver.abort()
    for words in ("EmStat4 HR at", "open the cell (cell_off)", "cable", "state of the cell is unk"):
        assert words in str(caught.value)
    with pytest.raises(TransportError, match=r"EmStat4 HR at .*: asked to load a program: .*cable"):
        driver.start(PLATE)


def test_an_abort_from_the_reading_thread_ends_the_rows(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("aborted", OPEN)
    driver.start(PLATE)
    samples = driver.samples()
    next(samples)
    driver.abort()
    assert list(samples) == []
    assert driver.stop_reason == "aborted"
    driver.abort()


def test_an_abort_from_another_thread_waits_for_the_end(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("aborted", OPEN)
    driver.start(PLATE)
    first = threading.Event()
    rows: list[Any] = []

    def read() -> None:
        for row in driver.samples():
            rows.append(row)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(50)
    driver.abort()
    reader.join(50)
    assert len(rows) == 1
    assert driver.stop_reason == "aborted"
    driver.close()


def test_an_abort_before_anybody_reads_drains_the_program(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("aborted", OPEN)
    driver.start(PLATE)
    driver.abort()
    assert list(driver.samples()) == []
    assert driver.stop_reason == "aborted"
    driver.close()


def test_an_abort_after_the_reader_gave_up_drains_the_program(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("aborted")
    driver.start(PLATE)
    samples = driver.samples()
    next(samples)
    samples.close()
    with pytest.raises(RuntimeError, match="abort it first"):
        driver.start(PLATE)
    driver.close()
    assert driver.stop_reason == "aborted"


def test_an_abort_that_crosses_the_end_leaves_no_answer_behind(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("aborted just when the program ends", OPEN)
    driver.start(PLATE)
    samples = driver.samples()
    next(samples)
    driver.abort()
    assert list(samples) == []
    driver.close()


def test_a_cell_that_cannot_be_opened_is_told(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("the cell cannot be opened at rest")
    with pytest.raises(InstrumentFaultError, match="e!0006"):
        driver.abort()


def test_two_threads_cannot_read_the_same_program(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("a whole program")
    driver.start(PLATE)
    samples = driver.samples()
    next(samples)
    with pytest.raises(RuntimeError, match="nothing to read"):
        next(driver.samples())
    assert len(list(samples)) == 1


def test_a_dialogue_can_be_recorded(
    connected: Callable[..., MethodScriptPotentiostat], tmp_path: Path
) -> None:
    file = tmp_path / "dialogue.txt"
    driver = connected("a whole program", record_to=file)
    driver.start(PLATE)
    drain(driver)
    turns = list(read_dialogue(file))
    assert turns[0].data == b"\n"
    assert turns[-2].data == b"TEND"
    program = next(turn.data for turn in turns if turn.data.startswith(b"l\n"))
    assert b"meas_loop_cp p c -1m" in program


def test_a_limit_needs_no_bench(connected: Callable[..., MethodScriptPotentiostat]) -> None:
    driver = connected()
    driver.check(PLATE)
    limit = Limit(quantity="potential_above_v", value=9.0)
    beyond = PLATE.technique.model_copy(update={"until": (*PLATE.technique.until, limit)})
    wide = SafetyLimits(potential_min_v=-0.8, potential_max_v=9.0)
    with pytest.raises(UnsupportedTechniqueError, match="never be noticed"):
        driver.check(PLATE.model_copy(update={"technique": beyond, "limits": wide}))


def test_firmware_that_refuses_to_measure_the_cell_besides_is_told_what_to_do(
    connected: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connected("refused while loading")
    with pytest.raises(InstrumentFaultError, match="leave reference_electrode out of the cell"):
        driver.start(PLATE.model_copy(update={"reference": True}))
