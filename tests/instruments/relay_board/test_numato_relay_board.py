"""The relay board's driver, against the simulated module and against one that misbehaves."""

import os
import pty
import signal
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.relay_board import Lamp, NumatoRelayBoard


@pytest.fixture
def bench(simulate: Callable[..., Any]) -> Any:
    return simulate("zn-bare-half", "relay_board")


@pytest.fixture
def board(bench: Any) -> Iterator[NumatoRelayBoard]:
    board = NumatoRelayBoard(bench.address("relay_board"))
    board.connect()
    yield board
    board.close()


class StrangeModule:
    """A thing on a pseudo-terminal that answers each command with what it is told to."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = {b"": b"\n\r>", b"ver": b"ver\n\r1\n\r>", b"id get": b"id get\n\r7\n\r>"}
        self._answers |= answers
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.address = f"serial://{os.ttyname(self._slave)}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        typed = b""
        while (data := os.read(self._master, 100)) != b"\x04":
            typed += data
            while b"\r" in typed:
                command, _, typed = typed.partition(b"\r")
                os.write(self._master, self._answers.get(command, command + b"\n\r>"))

    def close(self) -> None:
        with closing(NumatoRelayBoardEnd(self.address)):
            self._thread.join(50)
        os.close(self._master)
        os.close(self._slave)


class NumatoRelayBoardEnd:
    """Sends the end mark to a StrangeModule."""

    def __init__(self, address: str) -> None:
        self._fd = os.open(address.removeprefix("serial://"), os.O_RDWR | os.O_NOCTTY)
        os.write(self._fd, b"\x04")

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def strange() -> Iterator[Callable[[dict[bytes, bytes]], NumatoRelayBoard]]:
    opened: list[tuple[StrangeModule, NumatoRelayBoard]] = []

    def start(answers: dict[bytes, bytes]) -> NumatoRelayBoard:
        module = StrangeModule(answers)
        board = NumatoRelayBoard(module.address)
        opened.append((module, board))
        return board

    yield start
    for module, board in opened:
        board._closed_here.clear()
        board.close()
        module.close()


def test_a_board_that_is_not_connected_says_so() -> None:
    board = NumatoRelayBoard("serial:///dev/ttyNONE")
    with pytest.raises(TransportError, match="connect"):
        board.relay(0)
    with pytest.raises(TransportError, match="plugged in"):
        board.connect()
    board.close()


def test_the_board_tells_who_it_is_and_warns_once(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    board = NumatoRelayBoard(bench.address("relay_board"))
    for _ in range(2):
        board.connect()
        board.connect()
        assert board.identify()["firmware"] == "00000009"
        board.close()
        board.close()
    assert [record.message.count("real hardware") for record in caplog.records] == [1]


def test_a_relay_is_a_state_and_is_read_back(board: NumatoRelayBoard) -> None:
    for n in (1, 11):
        assert board.relay(n) is False
        board.set_relay(n, True)
        board.set_relay(n, True)
        assert board.relay(n) is True
        board.set_relay(n, False)
        assert board.relay(n) is False


def test_the_ready_line_of_the_simulated_chromatograph_is_high(board: NumatoRelayBoard) -> None:
    assert board.gpio(3) is True
    assert board.gpio(0) is False


def test_closing_opens_what_was_closed_here(bench: Any) -> None:
    for _ in range(2):
        with closing(NumatoRelayBoard(bench.address("relay_board"))) as board:
            board.connect()
            assert board.relay(5) is False
            board.set_relay(5, True)


def test_a_pulse_closes_and_opens(board: NumatoRelayBoard) -> None:
    seen: list[bool] = []
    for _ in range(20):  # who is too slow to see it closed looks at another one
        pulse = threading.Thread(target=board.pulse, args=(1, 0.2))
        pulse.start()
        while pulse.is_alive():
            seen.append(board.relay(1))
            time.sleep(0.005)
        if True in seen:
            break
    assert True in seen
    assert board.relay(1) is False
    with pytest.raises(ValueError, match="pulse"):
        board.pulse(1, 0.0)


def test_a_pulse_opens_whatever_happens(board: NumatoRelayBoard) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)

    def interrupt_it() -> None:
        while not board.relay(1):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    interrupting = threading.Thread(target=interrupt_it)
    interrupting.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            board.pulse(1, 50.0)
    finally:
        interrupting.join()
        signal.signal(signal.SIGUSR1, before)
    assert board.relay(1) is False


def test_a_lamp_is_a_state(board: NumatoRelayBoard) -> None:
    lamp = Lamp(board, 2)
    lamp.on()
    assert lamp.is_on
    lamp.off()
    lamp.off()
    assert not lamp.is_on


def test_threads_do_not_mix_their_answers(board: NumatoRelayBoard) -> None:
    wrong: list[int] = []

    def ask(n: int, value: bool) -> None:
        board.set_relay(n, value)
        wrong.extend(n for _ in range(60) if board.relay(n) is not value)

    threads = [threading.Thread(target=ask, args=(n, n % 2 == 0)) for n in range(4, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("n", [-1, 99])
def test_a_channel_that_cannot_be_spoken_is_refused(board: NumatoRelayBoard, n: int) -> None:
    with pytest.raises(ValueError, match="no channel"):
        board.set_relay(n, True)


def test_a_channel_the_module_lacks_is_an_error(board: NumatoRelayBoard) -> None:
    with pytest.raises(ProtocolError, match="have this channel"):
        board.relay(30)


def test_a_relay_that_does_not_move_is_an_error(
    strange: Callable[[dict[bytes, bytes]], NumatoRelayBoard],
) -> None:
    board = strange({b"relay read 1": b"relay read 1\n\roff\n\r>"})
    board.connect()
    with pytest.raises(InstrumentFaultError, match="relay 1 to close, it reads back open"):
        board.set_relay(1, True)


@pytest.mark.parametrize("value", [b"o", b"of\xff", b"", b"on\n\ron"])
def test_a_value_that_is_none_is_never_accepted(
    strange: Callable[[dict[bytes, bytes]], NumatoRelayBoard], value: bytes
) -> None:
    board = strange(
        {
            b"relay read 1": b"relay read 1\n\r" + value + b"\n\r>",
            b"gpio read 1": b"gpio read 1\n\r" + value + b"\n\r>",
        }
    )
    board.connect()
    with pytest.raises(ProtocolError):
        board.relay(1)
    with pytest.raises(ProtocolError):
        board.gpio(1)


def test_a_wrong_echo_is_an_error_and_the_line_recovers(
    strange: Callable[[dict[bytes, bytes]], NumatoRelayBoard],
) -> None:
    board = strange({b"relay read 1": b"elay read 1\n\ron\n\r>"})
    board.connect()
    with pytest.raises(ProtocolError, match="echo"):
        board.relay(1)
    assert board._value("ver") == "1"


def test_a_module_that_is_unplugged_is_told_with_what_was_asked_and_what_to_do(
    bench: Any,
) -> None:
    board = NumatoRelayBoard(bench.address("relay_board"))
    board.connect()
    port = board.identify()["address"]
    bench.break_something(instrument="relay_board", fault="unplug")

    def ask_until_it_fails() -> None:
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline:
            board.relay(0)
            time.sleep(0.02)

    with pytest.raises(TransportError, match="asked 'relay read 0'") as first:
        ask_until_it_fails()
    # Now the port is known to be dead, and it is the write that fails.
    with pytest.raises(TransportError, match=r"asked 'relay read 2'.*writing") as second:
        board.set_relay(2, True)
    for caught in (first, second):
        message = str(caught.value)
        assert f"relay board at {bench.address('relay_board')}: " in message
        assert port in message
        assert "cable plugged in?" in message
        assert "How its relays stand is unknown" in message
    board._closed_here.clear()
    board.close()


def test_a_silent_module_is_a_timeout(
    strange: Callable[[dict[bytes, bytes]], NumatoRelayBoard],
) -> None:
    board = strange({b"": b"no prompt"})
    with pytest.raises(TransportTimeout, match="powered"):
        board.connect()
    board = strange({b"relay read 1": b"relay read 1\n\r"})
    board.connect()
    with pytest.raises(TransportTimeout, match="relay read 1"):
        board.relay(1)
