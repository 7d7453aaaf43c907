"""The stage's driver against pages of its manual, and the simulated stage as a device."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bluesky.protocols import Movable, Readable

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.stage import Stage, TravelLimitError
from instruments.stage.zaber_ascii import Axis, ZaberStage

Connect = Callable[..., ZaberStage]
PAGES = "zaber/driver.txt"
STEP = 0.047625


def one_axis(address: str) -> ZaberStage:
    return ZaberStage(address, {"x": Axis(1, 1, STEP, 0.0, 20_000.0)})


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[ZaberStage] = []

    def connect(*pages: str, first: str = "connecting") -> ZaberStage:
        stage = play_pages(PAGES, first, *pages, line_end=b"\n", answer_end=b"\r\n")
        drivers.append(one_axis(stage.address))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver.close()


def test_the_driver_is_a_stage_that_nobody_has_confirmed_on_hardware(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver: Stage = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    told = driver.identify()
    assert (told["x_device_id"], told["x_firmware"]) == ("50105", "7.35")
    assert driver.quantities == {"x": "um"}
    assert driver.limits_um() == {"x": (0.0, 20_000.0)}


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("connecting to one of another size", ProtocolError, "micrometre_per_step"),
        ("connecting to something else", ProtocolError, "no reply of the ASCII protocol"),
        ("connecting to an axis that stalled", InstrumentFaultError, "fault FS: it stalled"),
        ("silence", TransportTimeout, "at 115200 baud"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play_pages: Callable[..., Any], page: str, error: type[Exception], complaint: str
) -> None:
    played = play_pages(PAGES, page, line_end=b"\n", answer_end=b"\r\n")
    driver = one_axis(played.address)
    with pytest.raises(error, match=complaint):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.read()


@pytest.mark.parametrize("page", ["where it is", "where it is, between alerts and with a checksum"])
def test_a_position_is_told_in_micrometres(connected: Connect, page: str) -> None:
    assert connected(page).read() == {"x": pytest.approx(4200 * STEP)}


def test_without_a_reference_position_there_is_none(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    first = "connecting to one without a reference position"
    driver = connected("an axis without a reference position", first=first)
    assert "axis x has no reference position" in caplog.text
    assert math.isnan(driver.read()["x"])


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("where it is not", ProtocolError, "no number"),
        ("where it cannot be", ProtocolError, "it cannot be at 200025 um; its ends are 0 um"),
        ("another axis answers", ProtocolError, "came from another axis"),
        ("the connection is closed", TransportError, "Whether it moves is unknown"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).read()


def test_a_move_is_over_when_it_stands_where_it_was_sent(connected: Connect) -> None:
    connected("to 100 um").move_to({"x": 100.0})


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("without a reference position", "home it"),
        ("refused", "refuses with 'BADDATA'"),
        ("and it stalls", "fault FS: it stalled"),
        ("and it ends elsewhere", r"was to go to 100\.\d+ um and stands at 71\.\d+ um"),
    ],
)
def test_a_move_that_does_not_end_there_is_an_error(
    connected: Connect, page: str, complaint: str
) -> None:
    with pytest.raises(InstrumentFaultError, match=complaint):
        connected(f"to 100 um, {page}").move_to({"x": 100.0})


@pytest.mark.parametrize("um", [-1.0, 20_001.0])
def test_beyond_the_soft_limits_nothing_is_sent(connected: Connect, um: float) -> None:
    with pytest.raises(TravelLimitError, match="nothing has moved"):
        connected().move_to({"x": um})


def test_it_is_homed_when_it_has_a_reference_position(connected: Connect) -> None:
    connected("homed").home()


def entry(address: str) -> dict[str, Any]:
    axes = {
        name: {"device": n, "micrometre_per_step": STEP, "min_um": 0, "max_um": 25_000}
        for n, name in enumerate("xyz", start=1)
    }
    return {"kind": "stage", "language": "zaber_ascii", "address": address, "axes": axes}


def test_soft_limits_that_contradict_each_other_are_refused() -> None:
    told = entry("tcp://x:1")
    told["axes"]["y"]["max_um"] = -1
    with pytest.raises(ValueError, match="min_um 0 is not below max_um -1"):
        BenchFile.model_validate({"name": "one", "instruments": {"stage": told}})


def test_on_the_simulated_bench_it_moves_and_tells_where_it_is(
    simulate: Callable[..., Any],
) -> None:
    simulated = simulate("zn-bare", "stage")
    told = {"stage": entry(simulated.address("stage"))}
    bench = Bench(BenchFile.model_validate({"name": "one", "instruments": told}))
    bench.connect()
    stage = bench.devices["stage"]
    try:
        assert isinstance(stage, Movable)
        assert isinstance(stage, Readable)
        stage.home().wait(50)
        stage.set({"x": 1200.0, "z": 300.0}).wait(50)
        stage.trigger().wait(50)
        assert stage.pending() == 1
        row = {key: one["value"] for key, one in stage.read().items()}
        assert row["stage_x"] == pytest.approx(1200.0, abs=0.05)
        assert row["stage_y"] == 0.0
        assert row["stage_z"] == pytest.approx(300.0, abs=0.05)
        assert stage.describe()["stage_x"]["units"] == "um"
        with pytest.raises(TravelLimitError, match=r"y = 26000 um.*nothing has moved"):
            stage.set({"x": 0.0, "y": 26_000.0})
        with pytest.raises(ValueError, match="is no position"):
            stage.set({"a": 1.0})
        with pytest.raises(ValueError, match="not a position of axis x"):
            stage.set({"x": math.nan})
        moving = stage.set({"x": 25_000.0})
        time.sleep(0.2)
        stage.stop()
        with pytest.raises(InstrumentFaultError, match=r"stopped on its way|stands at"):
            moving.wait(50)
        stage.trigger().wait(50)
        assert stage.pending() == 1
        assert stage.read()["stage_x"]["value"] < 24_000.0
    finally:
        bench.close()
