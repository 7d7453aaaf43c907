"""The pressure transmitter's driver against its maker's frames, and against the simulated one."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.bench_file import BenchFile
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.sensor.contract import Sensor
from instruments.sensor.keller_bus import KellerBusPressure, crc16
from sim_devices.cell import Cell
from sim_devices.keller import KellerTransmitter
from sim_devices.pty_server import ByteServer
from tests.instruments.conftest import read_pages

Connect = Callable[..., KellerBusPressure]
PAGES = read_pages("keller_bus/driver.txt")
TOLD_BAR, TOLD_K = 0.9286296, 25.21484 + 273.15


def frame(text: str) -> bytes:
    return bytes(map(int, text.split()))


class Pages:
    """Answers requests as pages say, in their order; what else is asked is noticed."""

    def __init__(self, *names: str) -> None:
        turns = [turn for name in names for turn in PAGES[name]]
        self.exchanges: list[tuple[bytes, bytes]] = []
        for turn in turns:
            if turn[0] == ">":
                self.exchanges.append((frame(turn[2:]), b""))
            else:
                self.exchanges[-1] = (self.exchanges[-1][0], frame(turn[2:]))
        self.wrong: list[bytes] = []
        self.line = ByteServer(self._receive, prefer_pty=False)

    def _receive(self, data: bytes) -> bytes:
        asked, answer = self.exchanges.pop(0) if self.exchanges else (b"", b"")
        if data != asked:
            self.wrong.append(data)
        return answer


@pytest.fixture
def play() -> Iterator[Callable[..., Pages]]:
    started: list[Pages] = []

    def start(*names: str) -> Pages:
        started.append(Pages(*names))
        return started[-1]

    yield start
    for pages in started:
        pages.line.close()
        assert pages.wrong == []
        assert pages.exchanges == []


@pytest.fixture
def connected(play: Callable[..., Pages]) -> Iterator[Connect]:
    drivers: list[KellerBusPressure] = []

    def connect(*pages: str, **more: Any) -> KellerBusPressure:
        first = () if pages[:1] and pages[0].startswith("connecting") else ("connecting",)
        drivers.append(KellerBusPressure(play(*first, *pages).line.address, **more))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver.close()


def test_it_says_who_it_is_and_that_nobody_has_confirmed_the_driver(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver: Sensor = connected()
    told = driver.identify()
    assert (told["serial_number"], told["firmware"]) == ("133445", "5.20-12.28")
    assert told["range_bar"] == "0 to 3"
    assert "has not been confirmed on real hardware" in caplog.text
    driver.safe_state()


def test_a_reading_is_the_one_of_the_makers_example_in_pascals_and_kelvins(
    connected: Connect,
) -> None:
    reading = connected("a reading", ambient_kpa=90.0).read()
    assert reading["pressure"] == pytest.approx(TOLD_BAR * 1e5, rel=1e-7)
    assert reading["overpressure"] == pytest.approx(TOLD_BAR * 1e5 - 90e3, abs=0.01)
    assert reading["transmitter_temperature"] == pytest.approx(TOLD_K, abs=1e-4)


def test_one_that_counts_from_the_atmosphere_tells_the_overpressure_itself(
    connected: Connect,
) -> None:
    reading = connected("a reading", measures="gauge").read()
    assert reading["overpressure"] == pytest.approx(TOLD_BAR * 1e5, rel=1e-6)
    assert reading["pressure"] == pytest.approx(TOLD_BAR * 1e5 + 101325.0, rel=1e-6)


def test_what_the_host_hears_of_itself_is_no_answer(connected: Connect) -> None:
    page = "connecting through a converter that has the host hear itself"
    assert connected(page).read()["pressure"] == pytest.approx(TOLD_BAR * 1e5)


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("connecting to something else", ProtocolError, "got class 9 group 20: no transmitter"),
        ("connecting to one whose range is none", InstrumentFaultError, "of 3 to 3 bar"),
        ("silence", TransportTimeout, "two wires not exchanged"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play: Callable[..., Pages], page: str, error: type[Exception], complaint: str
) -> None:
    driver = KellerBusPressure(play(page).line.address)
    with pytest.raises(error, match=complaint):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.read()


@pytest.mark.parametrize(
    "page", ["a damaged answer", "an answer cut off", "an answer to something else"]
)
def test_what_came_damaged_is_asked_once_more(connected: Connect, page: str) -> None:
    assert connected(page).read()["pressure"] == pytest.approx(TOLD_BAR * 1e5)


def test_what_comes_damaged_twice_is_an_error_and_no_value(connected: Connect) -> None:
    with pytest.raises(ProtocolError, match="whose checksum is wrong"):
        connected("two damaged answers").read()


def test_after_a_power_cut_it_is_initialised_and_asked_again_and_that_is_told(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    assert connected("after a power cut").read()["pressure"] == pytest.approx(TOLD_BAR * 1e5)
    assert "it was without power" in caplog.text


def test_another_one_that_answers_after_a_power_cut_is_refused(connected: Connect) -> None:
    with pytest.raises(InstrumentFaultError, match="number 133446 answers where 133445 was"):
        connected("after a power cut another one").read()


def test_a_refusal_is_told_in_words(connected: Connect) -> None:
    with pytest.raises(InstrumentFaultError, match="refused with 2: a wrong parameter"):
        connected("no such channel").read()


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("its sensor fails", "could not measure"),
        ("its status tells an error", "status 2, 0.9"),
        ("it starts up", "it starts up"),
        ("beyond its range", "it tells 99 bar, and its sensor is one of 0 to 3 bar"),
        ("infinite", "could not measure or compute it"),
    ],
)
def test_a_pressure_that_it_cannot_tell_is_none(
    connected: Connect, caplog: pytest.LogCaptureFixture, page: str, complaint: str
) -> None:
    reading = connected(page).read()
    assert math.isnan(reading["pressure"])
    assert math.isnan(reading["overpressure"])
    assert reading["transmitter_temperature"] == pytest.approx(TOLD_K, abs=1e-4)
    assert complaint in caplog.text


def test_a_temperature_that_it_cannot_tell_is_none(connected: Connect) -> None:
    reading = connected("its temperature fails").read()
    assert math.isnan(reading["transmitter_temperature"])
    assert reading["pressure"] == pytest.approx(TOLD_BAR * 1e5)


@given(st.binary(min_size=1, max_size=8), st.integers(0, 63), st.integers(0, 7))
def test_no_flipped_bit_keeps_its_checksum(told: bytes, at: int, bit: int) -> None:
    whole = told + crc16(told)
    damaged = bytearray(whole)
    damaged[at % len(whole)] ^= 1 << bit
    assert crc16(bytes(damaged[:-2])) != bytes(damaged[-2:])


@pytest.mark.parametrize(
    ("key", "value"), [("device", 251), ("measures", "both"), ("ambient_kpa", 1)]
)
def test_an_entry_that_cannot_be_meant_is_refused(key: str, value: object) -> None:
    entry = {"kind": "sensor", "language": "keller_bus", "address": "tcp://x:1", key: value}
    with pytest.raises(ValueError, match=key):
        BenchFile.model_validate({"name": "one", "instruments": {"pressure": entry}})


@pytest.mark.parametrize("echo", [False, True])
def test_the_simulated_one_feels_the_hydrogen_and_forgets_with_its_power(echo: bool) -> None:
    cell = Cell("zn-bare", seed=1)
    simulated = KellerTransmitter(cell, perfect=True, echo=echo)
    driver = KellerBusPressure(simulated.address)
    try:
        driver.connect()
        assert driver.read()["overpressure"] == pytest.approx(0.0, abs=1.0)
        with cell.lock:
            cell.hydrogen_gas_mol = 6e-5  # in 5 mL at 298.15 K
        assert driver.read()["overpressure"] == pytest.approx(29747.0, rel=1e-3)
        simulated.line.inject("power-cycle", seconds=0.0)
        assert driver.read()["overpressure"] == pytest.approx(29747.0, rel=1e-3)
        simulated.line.inject("wrong-checksum")
        assert driver.read()["overpressure"] == pytest.approx(29747.0, rel=1e-3)
        for fault, options in (("out-of-range", {"value": -5.0}), ("broken", {})):
            simulated.line.inject(fault, **options)
            assert math.isnan(driver.read()["overpressure"])
        simulated.line.inject("mended")
        simulated.line.inject("wrong-checksum", count=4)
        with pytest.raises(InstrumentError, match="checksum"):
            driver.read()
    finally:
        driver.close()
        simulated.close()
