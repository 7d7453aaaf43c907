"""A lamp of its own on the simulated relay board."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.sensor.contract import Sensor


@pytest.fixture
def bench(simulate: Callable[..., Any]) -> Iterator[Bench]:
    simulated = simulate("zn-bare-half", "relay_board")
    instruments = {
        "lamp": {"kind": "lamp", "language": "relay", "board": "board", "relay": 2},
        "board": {
            "kind": "relay_board",
            "language": "numato",
            "address": simulated.address("relay_board"),
        },
    }
    bench = Bench(BenchFile.model_validate({"name": "one", "instruments": instruments}))
    bench.connect()
    yield bench
    bench.close()


def row(lamp: Any) -> float:
    lamp.trigger().wait(10)
    assert lamp.pending() == 1
    return float(lamp.read()["lamp_on"]["value"])


def test_a_lamp_is_switched_and_told_without_a_camera(bench: Bench) -> None:
    lamp = bench.devices["lamp"]
    driver: Sensor = lamp.driver
    assert driver.identify()["relay"] == "2"
    assert row(lamp) == 0.0
    lamp.set(True).wait(10)
    assert row(lamp) == 1.0
    lamp.set(0).wait(10)
    assert row(lamp) == 0.0
    lamp.close_worker()


def test_a_bench_that_is_left_leaves_it_dark(bench: Bench) -> None:
    lamp = bench.devices["lamp"]
    lamp.set(True).wait(10)
    bench.safe_state()
    assert not lamp.driver.is_on


def test_what_is_neither_on_nor_off_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="neither on"):
        bench.devices["lamp"].set("bright")


def test_a_lamp_on_a_board_that_is_not_there_is_refused() -> None:
    entry = {"kind": "lamp", "language": "relay", "board": "board", "relay": 2}
    with pytest.raises(ValueError, match="hangs on board 'board', which is not a relay_board"):
        BenchFile.model_validate({"name": "one", "instruments": {"lamp": entry}})
