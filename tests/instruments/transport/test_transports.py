"""Bytes over real pseudo-terminals and sockets."""

import os
import pty
import socket
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from instruments.errors import TransportError, TransportTimeout
from instruments.transport import (
    SerialSettings,
    Transport,
    open_transport,
    read_dialogue,
    resolve,
)


class FarEnd(Protocol):
    """The other side of a wire."""

    def say(self, data: bytes) -> None: ...

    def hear(self, n: int) -> bytes: ...

    def vanish(self) -> None: ...


class PtyEnd:
    def __init__(self) -> None:
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    def hear(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            data += os.read(self.master, n - len(data))
        return data

    def vanish(self) -> None:
        for name in ("_slave", "master"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)


class SocketEnd:
    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._peer: socket.socket | None = None

    @property
    def peer(self) -> socket.socket:
        if self._peer is None:
            self._peer, _ = self.listener.accept()
        return self._peer

    def say(self, data: bytes) -> None:
        self.peer.sendall(data)

    def hear(self, n: int) -> bytes:
        return self.peer.recv(n, socket.MSG_WAITALL)

    def vanish(self) -> None:
        self.peer.close()
        self.listener.close()


@pytest.fixture(params=["serial", "tcp", "visa-serial", "visa-tcp"])
def wire(request: pytest.FixtureRequest) -> Iterator[tuple[Transport, FarEnd]]:
    end: PtyEnd | SocketEnd
    if "tcp" in request.param:
        end = SocketEnd()
        name = f"visa:TCPIP::127.0.0.1::{end.port}::SOCKET"
        plain = f"tcp://127.0.0.1:{end.port}"
    else:
        end = PtyEnd()
        name = f"visa:ASRL{end.device}::INSTR"
        plain = f"serial://{end.device}"
    transport = open_transport(name if "visa" in request.param else plain)
    if isinstance(end, SocketEnd):
        assert end.peer
    yield transport, end
    transport.close()
    end.vanish()


def test_lines_arrive_one_by_one_however_they_are_cut(wire: tuple[Transport, FarEnd]) -> None:
    transport, end = wire
    end.say(b"one\ntw")
    assert transport.read_line(50.0) == b"one"
    end.say(b"o\n\nfour \n")
    assert [transport.read_line(50.0) for _ in range(3)] == [b"two", b"", b"four "]


def test_what_is_written_arrives_whole(wire: tuple[Transport, FarEnd]) -> None:
    transport, end = wire
    transport.write(b"t\n")
    transport.write(b"i\n")
    assert end.hear(4) == b"t\ni\n"


def test_a_part_of_a_line_survives_a_timeout(wire: tuple[Transport, FarEnd]) -> None:
    transport, end = wire
    end.say(b"Pda80000")
    with pytest.raises(TransportTimeout, match="Pda80000"):
        transport.read_line(0.1)
    end.say(b"00 \n")
    assert transport.read_line(50.0) == b"Pda8000000 "


def test_bytes_come_in_exact_numbers(wire: tuple[Transport, FarEnd]) -> None:
    transport, end = wire
    end.say(b"\x00\x01")
    with pytest.raises(TransportTimeout, match="3 bytes"):
        transport.read_exactly(3, 0.1)
    end.say(b"\x02line\n")
    assert transport.read_exactly(3, 2.0) == b"\x00\x01\x02"
    assert transport.read_line(50.0) == b"line"


def test_a_vanished_instrument_is_an_error_and_no_silence(wire: tuple[Transport, FarEnd]) -> None:
    transport, end = wire
    end.say(b"last\n")
    assert transport.read_line(50.0) == b"last"
    end.vanish()
    with pytest.raises(TransportError) as caught:
        transport.read_line(50.0)
    assert not isinstance(caught.value, TransportTimeout)


def test_writing_to_a_vanished_instrument_says_what_to_do(wire: tuple[Transport, FarEnd]) -> None:
    transport, end = wire
    end.vanish()

    def insist() -> None:
        for _ in range(3):  # a socket learns of it by the answer to its first packet
            transport.write(b"relay on 0\r")
            time.sleep(0.05)

    with pytest.raises(TransportError, match=r"relay on 0.*switched on and its") as caught:
        insist()
    assert transport.address in str(caught.value)
    assert not isinstance(caught.value, TransportTimeout)


def test_an_instrument_that_takes_nothing_more_is_not_called_gone() -> None:
    end = PtyEnd()
    with (
        closing(open_transport(f"serial://{end.device}")) as transport,
        pytest.raises(TransportTimeout, match=r"not taken within 5 s.*off and on"),
    ):
        transport.write(b"x" * 1_000_000)
    end.vanish()


def test_closing_ends_the_wait_of_another_thread(wire: tuple[Transport, FarEnd]) -> None:
    transport, _ = wire
    errors: list[Exception] = []

    def read() -> None:
        try:
            transport.read_line(50.0)
        except TransportError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    transport.close()
    reader.join(50.0)
    assert len(errors) == 1
    assert "closed" in str(errors[0])
    with pytest.raises(TransportError, match="closed"):
        transport.write(b"t\n")
    transport.close()


def test_the_arrival_is_stamped_once_per_read(wire: tuple[Transport, FarEnd]) -> None:
    transport, end = wire
    if "visa" in transport.address:
        end.say(b"a\n")
        transport.read_line(50.0)
        assert transport.arrival_ns > 0
        return
    end.say(b"a\nb\n")
    time.sleep(0.05)
    transport.read_line(50.0)
    first = transport.arrival_ns
    transport.read_line(50.0)
    assert transport.arrival_ns == first
    end.say(b"c\n")
    transport.read_line(50.0)
    assert transport.arrival_ns > first


def test_a_flood_loses_no_line() -> None:
    end = PtyEnd()
    lines = [b"Pda%07X ;ba%07Xu" % (k, k) for k in range(5000)]

    def flood() -> None:
        for k in range(0, len(lines), 50):
            end.say(b"\n".join(lines[k : k + 50]) + b"\n")

    with closing(open_transport(f"serial://{end.device}")) as transport:
        writer = threading.Thread(target=flood)
        writer.start()
        assert [transport.read_line(50.0) for _ in lines] == lines
        writer.join()
    end.vanish()


def test_a_serial_port_belongs_to_one() -> None:
    end = PtyEnd()
    with (
        closing(open_transport(f"serial://{end.device}")),
        pytest.raises(TransportError, match=rf"busy.*process {os.getpid()}"),
    ):
        open_transport(f"serial://{end.device}")
    end.vanish()


def test_flow_control_bytes_are_dropped_where_the_driver_says_so() -> None:
    end = PtyEnd()
    settings = SerialSettings(drop_flow_control=True)
    with closing(open_transport(f"serial://{end.device}", settings=settings)) as transport:
        end.say(b"\x11he\x13llo\n\x11")
        assert transport.read_line(50.0) == b"hello"
    end.vanish()


def test_flow_control_bytes_pass_otherwise() -> None:
    end = PtyEnd()
    with closing(open_transport(f"serial://{end.device}")) as transport:
        end.say(b"\x11\x13\n")
        assert transport.read_line(50.0) == b"\x11\x13"
    end.vanish()


def test_an_address_may_override_serial_settings() -> None:
    end = PtyEnd()
    with closing(open_transport(f"serial://{end.device}?baud_rate=115200&stop_bits=2")):
        pass
    with pytest.raises(TransportError, match="no serial setting 'speed'"):
        open_transport(f"serial://{end.device}?speed=1")
    end.vanish()


def test_a_missing_device_is_named_with_what_to_do() -> None:
    with pytest.raises(TransportError, match=r"no /dev/ttyNONE.*plugged in"):
        open_transport("serial:///dev/ttyNONE")


@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1:{}", "visa:TCPIP::127.0.0.1::{}::SOCKET"])
def test_a_refused_connection_is_an_error_at_once(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransportError, match=r"is the instrument on"):
        open_transport(scheme.format(port))


@pytest.mark.parametrize("address", ["gpib://1", "tcp://nowhere", "tcp://host:port", "COM3"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(TransportError):
        open_transport(address)


def test_published_addresses_and_variables_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_FOLDER", str(tmp_path))
    (tmp_path / "potentiostat").write_text("serial:///dev/pts/7\n")
    assert resolve("published:${BENCH_FOLDER}/potentiostat") == "serial:///dev/pts/7"
    assert resolve("folder://${BENCH_FOLDER}/x") == f"folder://{tmp_path}/x"


def test_a_missing_variable_or_file_points_to_the_simulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_FOLDER", raising=False)
    with pytest.raises(TransportError, match=r"BENCH_FOLDER.*operando sim"):
        resolve("published:${BENCH_FOLDER}/potentiostat")
    with pytest.raises(TransportError, match=r"no address is published.*operando sim"):
        resolve(f"published:{tmp_path}/potentiostat")
    (tmp_path / "loop").write_text(f"published:{tmp_path}/loop")
    with pytest.raises(TransportError, match="point to one another"):
        resolve(f"published:{tmp_path}/loop")


def test_a_recorded_dialogue_reads_back_as_turns(tmp_path: Path) -> None:
    end = PtyEnd()
    file = tmp_path / "dialogues" / "potentiostat.txt"
    with closing(open_transport(f"serial://{end.device}", record_to=file)) as transport:
        transport.write(b"t\n")
        end.say(b"tes4_hr1100#Jan 28 2022\nR*\n\x00\xff")
        transport.read_line(50.0)
        transport.read_line(50.0)
        assert transport.arrival_ns > 0
        assert transport.read_exactly(2, 2.0) == b"\x00\xff"
        with pytest.raises(TransportTimeout):
            transport.read_line(0.01)
        with pytest.raises(TransportTimeout):
            transport.read_exactly(1, 0.01)
    turns = list(read_dialogue(file))
    assert [(turn.way, turn.data) for turn in turns] == [
        (">", b"t\n"),
        ("<", b"tes4_hr1100#Jan 28 2022"),
        ("<", b"R*"),
        ("<", b"\x00\xff"),
    ]
    assert all(turn.time_s is not None for turn in turns)
    end.vanish()


@pytest.mark.parametrize("text", ["hello\n", "> 'text'\n"])
def test_a_line_that_is_no_turn_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "dialogue.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match="line 1"):
        list(read_dialogue(file))
