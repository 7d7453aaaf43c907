import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest
import serial

from sim_devices.pty_server import ByteServer


def open_client(server, timeout_s=50.0):
    """A client that is not ours: plain pyserial."""
    url = server.address.removeprefix("serial://").replace("tcp://", "socket://")
    return serial.serial_for_url(url, timeout=timeout_s)


@pytest.fixture(params=[True, False], ids=["pty", "tcp"])
def prefer_pty(request):
    return request.param


def answer_lines(data):
    return b"".join(line.upper() + b"\n" for line in data.split(b"\n") if line)


def test_a_handler_answers_what_a_client_writes(prefer_pty):
    with contextlib.closing(ByteServer(answer_lines, prefer_pty=prefer_pty)) as server:
        assert server.address.startswith("serial:///dev/" if prefer_pty else "tcp://127.0.0.1:")
        with open_client(server) as client:
            client.write(b"hello\n")
            assert client.read_until(b"\n") == b"HELLO\n"


def test_every_byte_passes_unchanged(prefer_pty):
    everything = bytes(range(256))
    with (
        contextlib.closing(ByteServer(lambda data: data, prefer_pty=prefer_pty)) as server,
        open_client(server) as client,
    ):
        client.write(everything)
        assert client.read(256) == everything


def test_a_client_may_leave_and_come_back(prefer_pty):
    with contextlib.closing(ByteServer(answer_lines, prefer_pty=prefer_pty)) as server:
        for word in (b"one", b"two", b"three"):
            with open_client(server) as client:
                client.write(word + b"\n")
                assert client.read_until(b"\n") == word.upper() + b"\n"


def test_the_instrument_may_speak_unasked(prefer_pty):
    begin = threading.Event()
    with (
        contextlib.closing(ByteServer(lambda data: begin.set(), prefer_pty=prefer_pty)) as server,
        open_client(server) as client,
    ):
        client.write(b"go")
        assert begin.wait(50)
        for number in range(500):
            assert server.send(b"%d\n" % number)
        assert [int(client.readline()) for _ in range(500)] == list(range(500))


def fill(server, line=b"x" * 99 + b"\n", most=5000):
    sent = 0
    while sent < most and server.send(line):
        sent += 1
    return sent


def test_a_device_that_stalls_waits_until_somebody_reads(prefer_pty):
    heard = threading.Event()
    server = ByteServer(lambda data: heard.set(), prefer_pty=prefer_pty, buffer_bytes=10_000)
    with contextlib.closing(server), open_client(server) as client:
        client.write(b"?")
        assert heard.wait(50)  # what is said before the client is there is not for it
        sent = []
        sender = threading.Thread(target=lambda: sent.append(fill(server, most=2000)))
        sender.start()
        lines = [client.readline() for _ in range(2000)]
        sender.join()
        assert sent == [2000]
        assert set(lines) == {b"x" * 99 + b"\n"}


def test_a_device_that_stalls_is_freed_when_the_line_closes(prefer_pty):
    server = ByteServer(lambda data: None, prefer_pty=prefer_pty, buffer_bytes=1000)
    sent = []
    sender = threading.Thread(target=lambda: sent.append(fill(server)))
    sender.start()
    while server.pending_bytes < 900:
        threading.Event().wait(0.002)
    server.close()
    sender.join()
    assert sent[0] < 5000
    assert not server.send(b"too late\n")


def test_a_device_that_drops_never_waits(prefer_pty):
    server = ByteServer(
        lambda data: None, prefer_pty=prefer_pty, buffer_bytes=1000, when_full="drop"
    )
    with contextlib.closing(server):
        assert fill(server) < 5000


def test_garbled_lines_are_recognisable_and_as_many_as_asked_for(prefer_pty):
    with (
        contextlib.closing(ByteServer(answer_lines, prefer_pty=prefer_pty)) as server,
        open_client(server) as client,
    ):
        server.inject("garble", count=2)
        client.write(b"abcd\nefgh\nijkl\n")
        lines = [client.readline() for _ in range(3)]
        assert [line.isascii() for line in lines] == [False, False, True]
        assert all(len(line) == 5 for line in lines)
        server.inject("garble", bit=0)
        client.write(b"abcd\n")
        damaged = client.readline()
        assert damaged.isascii()
        assert damaged != b"ABCD\n"


def test_dropped_lines_never_come(prefer_pty):
    with (
        contextlib.closing(ByteServer(answer_lines, prefer_pty=prefer_pty)) as server,
        open_client(server) as client,
    ):
        server.inject("drop", count=2)
        client.write(b"one\ntwo\nthree\n")
        assert client.readline() == b"THREE\n"


def test_a_stalled_device_says_later_what_it_had_to_say(prefer_pty):
    with (
        contextlib.closing(ByteServer(answer_lines, prefer_pty=prefer_pty)) as server,
        open_client(server, 0.1) as client,
    ):
        server.inject("stall")
        client.write(b"hello\n")
        assert client.readline() == b""
        server.inject("resume")
        client.timeout = 5
        assert client.readline() == b"HELLO\n"
        server.inject("stall", seconds=0.1)
        client.write(b"again\n")
        assert client.readline() == b"AGAIN\n"


def test_a_power_cycle_loses_everything_and_tells_the_instrument(prefer_pty):
    told = []
    server = ByteServer(
        answer_lines,
        prefer_pty=prefer_pty,
        on_fault=lambda fault, options: told.append((fault, options)),
    )
    with contextlib.closing(server), open_client(server, 0.1) as client:
        server.inject("stall")
        client.write(b"lost\n")
        while not server.pending_bytes:
            threading.Event().wait(0.002)
        server.inject("power-cycle", seconds=0.3)
        assert server.pending_bytes == 0
        client.write(b"unheard\n")
        assert client.readline() == b""
        client.timeout = 5
        while not client.in_waiting:
            client.write(b"back\n")
            threading.Event().wait(0.05)
        assert client.readline() == b"BACK\n"
        assert [fault for fault, _ in told] == ["stall", "power-cycle"]


def use(client):
    for _ in range(100):
        client.write(b"anybody\n")
        client.read_until(b"\n")  # all of it: what is left over would be read instead of the line


def test_an_unplugged_terminal_is_gone_for_its_client():
    with (
        contextlib.closing(ByteServer(answer_lines)) as server,
        open_client(server) as client,
    ):
        use(client)
        server.inject("unplug")
        with pytest.raises((serial.SerialException, OSError)):
            use(client)


def test_an_unplugged_socket_is_gone_for_its_client():
    with contextlib.closing(ByteServer(answer_lines, prefer_pty=False)) as server:
        host, port = server.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=50) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
            server.inject("unplug")
            assert client.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=50)


def test_a_fault_with_nonsense_for_a_number_is_refused(prefer_pty):
    with contextlib.closing(ByteServer(answer_lines, prefer_pty=prefer_pty)) as server:
        with pytest.raises(ValueError, match="number"):
            server.inject("garble", count="many")
        server.close()
        server.close()  # twice is allowed


def test_the_address_of_a_line_that_was_unplugged_leads_to_no_other():
    gone = ByteServer(lambda data: b"")
    gone.inject("unplug")
    path = Path(gone.address.removeprefix("serial://"))
    end = time.monotonic() + 50
    while path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    others = [ByteServer(lambda data: b"") for _ in range(4)]
    assert gone.address not in [other.address for other in others]
    for line in (gone, *others):
        line.close()
