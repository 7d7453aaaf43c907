"""A program whose host is gone is left to its end, and the cell is opened after it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from instruments.bench_file import BenchFile
from instruments.errors import TransportError
from instruments.potentiostat.contract import STILL_RUNNING
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from techniques import Assignment


def plating_for(seconds: float) -> Assignment:
    step = {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "time_s", "value": seconds}],
        "record": {"dt_s": 1},
    }
    return Assignment.model_validate(
        {
            "technique": {"type": "sequence", "steps": [step]},
            "area_cm2": 1.0,
            "limits": {"potential_min_v": -3.0, "potential_max_v": 3.0},
        }
    )


def lose_the_host(driver: MethodScriptPotentiostat) -> MethodScriptPotentiostat:
    """Release the line as the system does when a process dies: without a word."""
    assert driver._transport is not None
    driver._transport.close()
    driver._transport = None
    return MethodScriptPotentiostat(driver.address)


def test_it_returns_at_the_programs_end_with_the_cell_open(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare-half", 50)
    driver.start(plating_for(100))
    became = lose_the_host(driver).outlast(threading.Event())
    assert "ended by itself" in became
    assert "cell open" in became
    switched = [x for x in bench.truth("potentiostat") if x["event"] in ("cell_on", "cell_off")]
    assert switched[-1]["event"] == "cell_off"
    assert switched[-1]["cell_t_s"] - switched[-2]["cell_t_s"] == pytest.approx(100, abs=1)


def test_it_lets_the_line_go_when_somebody_wants_it(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare-half", 1)
    driver.start(plating_for(1000))
    given_up = threading.Event()
    threading.Timer(0.5, given_up.set).start()
    other = lose_the_host(driver)
    assert other.outlast(given_up) == STILL_RUNNING
    scripts = [x for x in bench.truth("potentiostat") if x["event"].startswith("script")]
    assert scripts[-1]["event"] == "script"
    other.connect()
    other.close()


def test_a_lost_line_is_told(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare-half", 1)
    driver.start(plating_for(1000))
    unplug = {"instrument": "potentiostat", "fault": "unplug"}
    threading.Timer(0.5, lambda: bench.break_something(**unplug)).start()
    with pytest.raises(TransportError):
        lose_the_host(driver).outlast(threading.Event())


@pytest.mark.parametrize("language", ["keithley", "rodeostat"])
def test_who_keeps_no_log_or_no_limits_cannot_be_left_to_finish(language: str) -> None:
    entry = {
        "kind": "potentiostat",
        "language": language,
        "address": "tcp://127.0.0.1:1",
        "on_silence": "let_instrument_finish",
    }
    with pytest.raises(ValueError, match="use open_cell"):
        BenchFile.model_validate({"name": "x", "instruments": {"potentiostat": entry}})
