"""The interlock's driver against pages of the manuals, and against the simulated module."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    InterlockTrippedError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.interlock import DconInterlock, Interlock
from sim_devices.dcon import DconRelays

Connect = Callable[..., DconInterlock]
RELAYS = {"potentiostat": 0, "raman": 1}
PAGES = "dcon/driver.txt"
INPUTS_FIRST = "as its manual shows it, inputs first"


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    """Connect to a module that plays pages, and leave it without a word."""
    drivers: list[DconInterlock] = []

    def connect(*pages: str, first: str = "connecting", **more: Any) -> DconInterlock:
        module = play_pages(PAGES, first, *pages, line_end=b"\r")
        drivers.append(DconInterlock(module.address, **({"relays": RELAYS} | more)))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver._release()


@pytest.fixture
def module() -> Iterator[DconRelays]:
    module = DconRelays()
    yield module
    module.close()


@pytest.fixture
def interlock(module: DconRelays) -> Iterator[DconInterlock]:
    interlock = DconInterlock(module.address, relays=RELAYS, watchdog_s=1.0)
    interlock.connect()
    yield interlock
    interlock._release()


def test_the_driver_is_an_interlock_that_nobody_has_confirmed_on_hardware(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver: Interlock = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    told = driver.identify()
    assert (told["model"], told["firmware"], told["module"]) == ("ICP DAS 7060", "A2.0", "1")
    assert (told["watchdog_s"], told["had_tripped"]) == ("1", "no")


def test_it_holds_beats_and_opens_as_the_manuals_say(connected: Connect) -> None:
    driver = connected("holding", "a beat", "a beat", "its relays", "opening")
    driver.hold()
    driver.beat()
    driver.hold()  # nothing moves: it is a beat
    assert driver.state() == {"potentiostat": False, "raman": False}  # they are C on this page
    driver.open()


def test_a_module_as_its_own_manual_shows_it_is_understood_as_well(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver = connected(
        f"holding one {INPUTS_FIRST}",
        f"a beat of one {INPUTS_FIRST}",
        f"opening one {INPUTS_FIRST}",
        first=f"connecting to an I-7060D {INPUTS_FIRST}",
    )
    assert driver.identify()["had_tripped"] == "yes"
    assert "whoever held them fell silent" in caplog.text
    driver.hold()
    driver.beat()
    driver.open()


def test_the_order_of_its_bytes_shows_when_its_relays_close(connected: Connect) -> None:
    driver = connected(
        "holding one with inputs first that are all low",
        f"a beat of one {INPUTS_FIRST}",
        f"opening one {INPUTS_FIRST}",
    )
    driver.hold()
    driver.beat()
    driver.open()


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("after its watchdog has tripped", "opened its relays: it heard nothing for 1 s"),
        ("where the relays are open", "hold relays 0, 1, it has closed none: was its power off"),
        ("where its watchdog is off", "hold relays 0, 1, its watchdog is off: was its power off"),
    ],
)
def test_a_beat_tells_that_the_relays_are_not_held_any_more(
    connected: Connect, page: str, complaint: str
) -> None:
    tripped = page == "after its watchdog has tripped"
    then = ("opening after its watchdog has tripped",) if tripped else ("opening", "opening")
    driver = connected("holding", f"a beat {page}", *then)
    driver.hold()
    with pytest.raises(InterlockTrippedError, match=complaint):
        driver.beat()
    driver.open()


def test_a_module_that_closes_relays_by_itself_is_told_not_to(connected: Connect) -> None:
    connected(first="connecting to one that closes relays when its power comes back")


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("connecting to an ADAM-4060", ProtocolError, "'4060'.*ADAM modules is told otherwise"),
        ("connecting to an input module", ProtocolError, "'7053', which is no relay module"),
        ("connecting to one with semiconductors", ProtocolError, "'7065A', which is no relay"),
        (
            "connecting to one that is set otherwise than it says",
            ProtocolError,
            "with checksums: correct `checksum`",
        ),
        ("connecting to one of another type", ProtocolError, "its type is 05"),
        ("connecting to something else", ProtocolError, r"got b'\?', which is none"),
        ("connecting to what echoes", ProtocolError, r"got b'\$01M', which is none"),
        ("silence", TransportTimeout, r"asked '\$01M'.*checksum setting, and at 9600 baud"),
        (
            "connecting to one that goes on closing relays when its watchdog trips",
            InstrumentFaultError,
            "closing relays 0 when its watchdog trips",
        ),
        (
            "connecting to one with a relay that stays closed",
            InstrumentFaultError,
            "0 reads back closed: DISCONNECT",
        ),
    ],
)
def test_what_holds_nothing_is_not_connected(
    play_pages: Callable[..., Any], page: str, error: type[Exception], complaint: str
) -> None:
    driver = DconInterlock(play_pages(PAGES, page, line_end=b"\r").address, relays=RELAYS)
    with pytest.raises(error, match=complaint) as caught:
        driver.connect()
    assert driver.address in str(caught.value)
    with pytest.raises(TransportError, match="not connected"):
        driver.hold()
    driver.close()


def test_a_question_that_was_lost_is_asked_again(connected: Connect) -> None:
    connected(first="connecting to one that is silent at first")


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("where the watchdog is not taken", InstrumentFaultError, "told 1 s, and tells '00A'"),
        ("where the time is another", InstrumentFaultError, "told 1 s, and tells '64'"),
        ("where the watchdog trips meanwhile", InterlockTrippedError, "ignores '#010003'"),
        ("where a relay does not close", InstrumentFaultError, "close relays 0, 1.*closed 0:"),
    ],
)
def test_what_cannot_be_held_is_opened_again(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    driver = connected(f"holding {page}")
    with pytest.raises(error, match=complaint):
        driver.hold()


def test_a_relay_that_stays_closed_is_told_loudly(connected: Connect) -> None:
    driver = connected("holding", "opening where a relay stays closed")
    driver.hold()
    with pytest.raises(InstrumentFaultError, match="0 reads back closed: DISCONNECT"):
        driver.open()


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("which read twice are not the same", "'0100' and '0300', one after the other"),
        ("which are told in another form", "got b'!0300', which is none of its answers"),
    ],
)
def test_a_state_that_is_none_is_never_accepted(
    connected: Connect, page: str, complaint: str
) -> None:
    driver = connected(f"its relays, {page}")
    with pytest.raises(ProtocolError, match=complaint):
        driver.state()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"watchdog_s": 0.1}, "0.2 to 25.5"),
        ({"watchdog_s": 26.0}, "0.2 to 25.5"),
        ({"relays": {"potentiostat": 1, "raman": 1}}, "two owners"),
    ],
)
def test_what_cannot_be_told_to_it_is_refused(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DconInterlock("serial:///dev/ttyNONE", **({"relays": RELAYS} | more))


def test_a_relay_that_it_has_not_is_refused(module: DconRelays) -> None:
    driver = DconInterlock(module.address, relays={"raman": 4})
    with pytest.raises(InstrumentFaultError, match=r"relays 0 to 3; the bench file has raman: 4"):
        driver.connect()


@given(st.floats(0.2, 25.5))
def test_a_watchdog_is_never_told_longer_than_the_bench_file_says(seconds: float) -> None:
    told = DconInterlock("serial:///dev/ttyNONE", relays=RELAYS, watchdog_s=seconds).watchdog_s
    assert seconds - 0.1 < told <= seconds + 1e-6


@given(
    answer=st.text("0123456789ABCDEF", max_size=6).map(lambda text: f"!01{text}"),
    where=st.integers(0, 10),
    other=st.integers(0, 255),
)
def test_an_answer_of_which_a_byte_is_another_has_a_wrong_checksum(
    answer: str, where: int, other: int
) -> None:
    driver = DconInterlock("serial:///dev/ttyNONE", relays=RELAYS, checksum=True)
    line = driver._framed(answer).removesuffix(b"\r")
    assert driver._unframed(line) == answer
    damaged = bytearray(line)
    damaged[where % len(line)] = other
    assert driver._unframed(bytes(damaged)) == (answer if damaged == line else None)


def until_open(module: DconRelays) -> None:
    """Wait until all relays of the module are open."""
    end = time.monotonic() + 50
    while any(module.relay(n) for n in range(4)):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_is_held_while_beats_come_and_opens_without_them(
    module: DconRelays, interlock: DconInterlock
) -> None:
    longest_s = 1.0
    while longest_s > 0.7:  # a computer that stood still for so long lets it open, rightly
        interlock.hold()
        longest_s, before = 0.0, time.monotonic()
        end = before + 1.2
        while before < end and longest_s <= 0.7:
            with contextlib.suppress(InterlockTrippedError):
                interlock.beat()
            held = interlock.state()
            now = time.monotonic()
            longest_s, before = max(longest_s, now - before), now
            assert held == {"potentiostat": True, "raman": True} or longest_s > 0.7
            time.sleep(0.05)
    for _ in range(6):  # to be asked is no beat
        interlock.state()
        time.sleep(0.2)
    until_open(module)
    with pytest.raises(InterlockTrippedError, match="heard nothing for"):
        interlock.beat()
    interlock.hold()
    assert interlock.state() == {"potentiostat": True, "raman": True}
    interlock.close()
    interlock.close()
    assert [module.relay(n) for n in range(4)] == [False] * 4


def test_who_holds_it_dies_and_the_next_one_learns_of_it(
    module: DconRelays, caplog: pytest.LogCaptureFixture
) -> None:
    for tripped in ("no", "yes"):
        interlock = DconInterlock(module.address, relays=RELAYS, watchdog_s=0.5)
        interlock.connect()
        assert interlock.identify()["had_tripped"] == tripped
        interlock.hold()
        interlock._release()  # as a killed process leaves it
        until_open(module)
    assert caplog.text.count("whoever held them fell silent") == 1


def test_after_a_power_cycle_it_is_told_and_can_be_held_again(
    module: DconRelays, interlock: DconInterlock, caplog: pytest.LogCaptureFixture
) -> None:
    interlock.hold()
    module.line.inject("power-cycle", seconds=0.0)
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(InterlockTrippedError, match="was its power off"),
    ):
        interlock.beat()
    assert not caplog.records
    interlock.hold()
    interlock.beat()
    assert module.relay(0)


@pytest.mark.parametrize("bit", range(8))
def test_a_damaged_answer_is_no_state(
    module: DconRelays, interlock: DconInterlock, bit: int
) -> None:
    # What was damaged is asked again, and asked in two ways; so no relay reads as it is not.
    interlock.hold()
    for _ in range(6):
        module.line.inject("garble", count=1, bit=bit)
        try:
            assert interlock.state() == {"potentiostat": True, "raman": True}
        except ProtocolError as error:
            assert "one after the other" in str(error)  # noqa: PT017
        interlock.beat()


def test_with_checksums_no_damaged_answer_is_taken() -> None:
    module = DconRelays(checksum=True, module=0x2A)
    try:
        wrong = DconInterlock(module.address, relays=RELAYS, module=0x2A)
        with pytest.raises(TransportTimeout, match="checksum"):
            wrong.connect()
        interlock = DconInterlock(module.address, relays=RELAYS, module=0x2A, checksum=True)
        interlock.connect()
        interlock.hold()
        for _ in range(4):
            module.line.inject("wrong-checksum", count=1)
            interlock.beat()
        module.line.inject("wrong-checksum", count=2)
        with pytest.raises(ProtocolError, match="its checksum is wrong"):
            interlock.state()
        interlock.close()
    finally:
        module.close()


def test_a_module_that_is_gone_is_told_with_what_follows(
    module: DconRelays, interlock: DconInterlock
) -> None:
    interlock.hold()
    module.line.inject("unplug")
    time.sleep(0.1)
    with pytest.raises(TransportError, match="Without beats its watchdog opens its relays"):
        interlock.beat()
    with pytest.raises(InstrumentError):
        interlock.close()
    interlock.close()
    until_open(module)
