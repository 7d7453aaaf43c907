"""A lamp of its own on the simulated relay board."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError
from instruments.relay_board import AllLamps, Lamp, NumatoRelayBoard
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
    lamp.trigger().wait(50)
    assert lamp.pending() == 1
    return float(lamp.read()["lamp_on"]["value"])


def test_a_lamp_is_switched_and_told_without_a_camera(bench: Bench) -> None:
    lamp = bench.devices["lamp"]
    driver: Sensor = lamp.driver
    assert driver.identify()["relay"] == "2"
    assert row(lamp) == 0.0
    lamp.set(True).wait(50)
    assert row(lamp) == 1.0
    lamp.set(0).wait(50)
    assert row(lamp) == 0.0
    lamp.close_worker()


def test_a_bench_that_is_left_leaves_it_dark(bench: Bench) -> None:
    lamp = bench.devices["lamp"]
    lamp.set(True).wait(50)
    bench.safe_state()
    assert not lamp.driver.is_on


def test_what_is_neither_on_nor_off_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="neither on"):
        bench.devices["lamp"].set("bright")


def test_a_lamp_on_a_board_that_is_not_there_is_refused() -> None:
    entry = {"kind": "lamp", "language": "relay", "board": "board", "relay": 2}
    with pytest.raises(ValueError, match="hangs on board 'board', which is not a relay_board"):
        BenchFile.model_validate({"name": "one", "instruments": {"lamp": entry}})


BOARD = {"kind": "relay_board", "language": "numato", "address": "serial:///dev/ttyACM0"}
LAMP = {"kind": "lamp", "language": "relay", "board": "board", "relay": 2}
OCEAN = {
    "kind": "raman",
    "language": "ocean",
    "address": "tcp://hdx:57357",
    "excitation_nm": 532,
    "laser_power_w": 0.1,
    "integration_time_s": 1,
    "laser": {"board": "board", "relay": 2},
}
BOX = {"kind": "external", "language": "folder", "address": "folder:///d", "board": "board"}


@pytest.mark.parametrize("other", [LAMP, OCEAN, BOX | {"start_relay": 2}])
def test_a_contact_has_one_owner(other: dict[str, Any]) -> None:
    instruments = {"board": BOARD, "one": LAMP, "two": other}
    with pytest.raises(ValueError, match=r"two and instruments.one both hang on relay 2 of board"):
        BenchFile.model_validate({"name": "clash", "instruments": instruments})


def test_a_box_that_a_board_starts_says_by_which_relay() -> None:
    with pytest.raises(ValueError, match="board and start_relay belong together"):
        BenchFile.model_validate({"name": "box", "instruments": {"board": BOARD, "box": BOX}})


def test_every_lamp_is_dark_for_a_spectrum(simulate: Callable[..., Any]) -> None:
    simulated = simulate("zn-bare-half", "relay_board")
    board = NumatoRelayBoard(simulated.address("relay_board"))
    board.connect()
    lamps = [Lamp(board, relay) for relay in (1, 2)]
    for lamp in lamps:
        lamp.on()
    AllLamps(lamps).off()
    assert [lamp.is_on for lamp in lamps] == [False, False]
    board.close()
    # The second is tried although the first fails.
    with pytest.raises(InstrumentError):
        AllLamps(lamps).off()


def test_a_spectrometer_darkens_each_lamp_of_the_bench() -> None:
    ours = BOARD, LAMP, OCEAN | {"laser": {"board": "board", "relay": 0}}
    camera = {
        "kind": "camera",
        "language": "pylon",
        "address": "pylon:///x",
        "lamp": {"board": "board", "relay": 1},
    }
    instruments = dict(zip(("board", "lamp", "raman"), ours, strict=True)) | {"camera": camera}
    bench = Bench(BenchFile.model_validate({"name": "lit", "instruments": instruments}))
    assert len(bench.devices["raman"]._lamp._lamps) == 2
