"""The Rodeostat's driver against pages of its language."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    UnsupportedTechniqueError,
)
from instruments.potentiostat.rodeostat import RodeostatPotentiostat
from instruments.potentiostat.rodeostat.dialogue import Damaged, Dialogue, End, Point

Connect = Callable[..., RodeostatPotentiostat]


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[RodeostatPotentiostat] = []

    def connect(first: str = "connecting") -> RodeostatPotentiostat:
        instrument = play_pages("rodeostat/driver.txt", first, "closing", line_end=b"\n")
        drivers.append(RodeostatPotentiostat(instrument.address))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver.close()


def test_it_says_who_it_is(connected: Connect) -> None:
    told = connected().identify()
    assert told["model"] == "Rodeostat 10V_24MilliAmpV0.2"
    assert (told["firmware"], told["serial_number"]) == ("FW0.1.0", "7")


def test_what_a_test_before_has_said_is_no_answer(connected: Connect) -> None:
    able = connected("connecting while somebody's test runs").capabilities()
    assert able.potential_max_v == 8
    assert able.current_ranges_a == pytest.approx((1e-6, 1e-5, 1e-4, 1e-3))


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("it has no switches", UnsupportedTechniqueError, "cannot leave it open.*V0.2"),
        ("it is of a kind that nobody knows", ProtocolError, "'20V_AmpereV0.3'"),
        ("its firmware is old", ProtocolError, "'FW0.0.9', this driver needs FW0.1.0"),
        ("it does not know who it is", InstrumentFaultError, "getVariant, not found"),
        ("its answer has nothing in it", ProtocolError, "asked to stopTest, got"),
        ("its counter electrode stays connected", InstrumentFaultError, "take the cell off"),
        ("it is somebody else", TransportError, "closed the connection"),
        ("it hangs up", TransportError, "closed the connection"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play_pages: Callable[..., Any], page: str, error: type[InstrumentError], complaint: str
) -> None:
    instrument = play_pages("rodeostat/driver.txt", page, line_end=b"\n")
    driver = RodeostatPotentiostat(instrument.address)
    with pytest.raises(error, match=complaint) as caught:
        driver.connect()
    assert instrument.address in str(caught.value)
    with pytest.raises(TransportError, match="not connected"):
        driver.identify()
    driver.close()


class Said:
    """A wire on which lines were said."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = list(lines)
        self.address = "tcp://said"
        self.arrival_ns = 5

    def read_line(self, timeout_s: float) -> bytes:
        return self.lines.pop(0)

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


def heard(line: bytes) -> Any:
    return Dialogue(Said(line), lambda: "it").hear(1.0)


@given(
    st.integers(0, 2**32 - 1),
    st.floats(-10, 10, width=32),
    st.floats(-24048, 24048, width=32),
    st.booleans(),
)
def test_a_sample_is_what_was_sent(t: int, v: float, i: float, limit: bool) -> None:
    told: dict[str, Any] = {"t": t, "v": v, "i": i} | ({"le": True} if limit else {})
    point = heard(json.dumps(told).encode() + b"\r")
    assert isinstance(point, Point)
    assert point == (pytest.approx(t * 1e-3), v, pytest.approx(i * 1e-6, abs=0), limit, 5)


@given(st.binary(min_size=1).filter(lambda line: line.strip() and line.strip() != b"{}"))
def test_a_line_of_something_else_is_no_sample(line: bytes) -> None:
    if b'"success"' not in line:
        assert isinstance(heard(line), Damaged)


@pytest.mark.parametrize(
    "line",
    [
        b'{"t":10,"v":0.5}',
        b'{"t":10,"v":0.5,"i":"1"}',
        b'{"t":10,"v":true,"i":1}',
        b'{"t":10,"v":0.5,"i":NaN}',
        b'{"t":1e999,"v":0.5,"i":1}',
        b'{"t":10,"v":1000000.0,"i":1}',
        b'{"t":10,"v":0.5,"i":1000000.0}',
        b'{"t":10,"v":0.5,"i":1,"x":2}',
        b'{"t":10,"v":0.5,"i":1',
        b"[10,0.5,1]",
        b'"t"',
    ],
)
def test_a_sample_that_is_not_whole_is_damage(line: bytes) -> None:
    assert heard(line) == Damaged(line)


def test_an_empty_object_is_an_end() -> None:
    assert heard(b"{}\r") == End(5)
