"""The simulated Ocean HDX, asked in its protocol by a socket and nothing of ours."""

import contextlib
import hashlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.ocean_hdx import EXCITATION_NM, OceanHdx
from sim_devices.spectrum import RamanScene
from sim_devices.truth import Truth, read_truth

PAGES = Path(__file__).parents[1] / "transcripts" / "ocean_hdx" / "manual.txt"
HEADER, TRAILER = struct.Struct("<HHHHII6sBB16sI"), struct.Struct("<16sI")
SPECTRUM, INTEGRATION_TIME = 0x00101000, 0x00110010


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SimulatedClock()
        self.lights = Lights(self.clock)
        self.log = Truth(folder)
        scene = RamanScene(Cell("zn-bare", seed=1), 1)
        self.hdx = OceanHdx(scene, self.clock, self.lights, truth=self.log)

    def call(self) -> socket.socket:
        host, _, port = self.hdx.address.removeprefix("tcp://").partition(":")
        return socket.create_connection((host, int(port)), timeout=50)

    def close(self) -> None:
        self.clock.close()
        self.hdx.close()
        self.log.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with contextlib.closing(Bench(tmp_path)) as bench:
        yield bench


@pytest.fixture
def line(bench: Bench) -> Iterator[socket.socket]:
    with bench.call() as line:
        yield line


def request(kind: int, payload: bytes = b"", *unusual: str) -> bytes:
    told = dict(word.partition("=")[::2] for word in unusual)
    immediate, long = (payload, b"") if len(payload) <= 16 else (b"", payload)
    kind_of_sum = 1 if {"md5", "wrong-md5"} & set(told) else int(told.get("checksum", "0"))
    head = HEADER.pack(
        0xC0C1,
        int(told.get("version", "4352")),
        4 if "ack" in told else 0,
        0,
        kind,
        0,
        b"",
        kind_of_sum,
        int(told.get("length", str(len(immediate)))),
        immediate,
        len(long) + TRAILER.size,
    )
    checksum = hashlib.md5(head + long).digest() if "md5" in told else b""
    return head + long + TRAILER.pack(checksum, 0xC2C3C4C5)


def exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            raise ConnectionResetError("it hung up")
        data += part
    return data


def answer(line: socket.socket) -> tuple[int, int, int, bytes]:
    """Return message type, flags, error number and payload of an answer that is well formed."""
    head = HEADER.unpack(exactly(line, HEADER.size))
    rest = exactly(line, head[10])
    assert head[:2] == (0xC0C1, 0x1100)
    assert TRAILER.unpack(rest[-TRAILER.size :])[1] == 0xC2C3C4C5
    payload = rest[: -TRAILER.size]
    assert not (payload and head[8])
    return head[4], head[2], head[3], payload or head[9][: head[8]]


def ask(line: socket.socket, kind: int, payload: bytes = b"", *unusual: str) -> bytes:
    line.sendall(request(kind, payload, *unusual))
    told, _, error, data = answer(line)
    assert (told, error) == (kind, 0)
    return data


def spectrum(line: socket.socket) -> np.ndarray:
    return np.frombuffer(ask(line, SPECTRUM), "<u2").astype(float)


def pages() -> dict[str, list[str]]:
    blocks = PAGES.read_text().split("\n\n")
    found = (block.strip().split("\n") for block in blocks)
    return {name.removeprefix("# "): turns for name, *turns in found}


def data_of(text: str) -> bytes:
    return b"" if text == "-" else bytes.fromhex(text)


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_its_protocol_says(line: socket.socket, page: str) -> None:
    for turn in pages()[page]:
        way, kind, *rest = turn.split()
        if way == ">":
            payload, *unusual = rest
            line.sendall(request(int(kind, 16), data_of(payload), *unusual))
        else:
            flags, error, payload = rest
            expected = int(kind, 16), int(flags, 16), int(error), data_of(payload)
            assert answer(line) == expected


def test_a_spectrum_shows_the_light_of_the_laser_while_it_was_on(
    bench: Bench, line: socket.socket
) -> None:
    ask(line, INTEGRATION_TIME, struct.pack("<I", 100_000), "ack")
    dark = spectrum(line)
    bench.lights.laser_mw = 100.0
    lit = spectrum(line) - dark
    bench.lights.laser_mw = 0.0
    assert lit.shape == (2068,)
    coefficients = [struct.unpack("<f", ask(line, 0x00180101, bytes([i])))[0] for i in range(4)]
    wavelength = np.polynomial.polynomial.polyval(np.arange(2068.0), coefficients)
    shift = 1e7 / EXCITATION_NM - 1e7 / wavelength
    near = (shift > 900) & (shift < 1060)
    assert shift[near][lit[near].argmax()] == pytest.approx(981, abs=3)
    assert np.median(dark) == pytest.approx(100, abs=3)
    energies = [line["laser_mj"] for line in read_truth(bench.folder, "raman")]
    assert energies == pytest.approx([0.0, 10.0], rel=0.1)


@pytest.mark.parametrize("fault", ["garble", "cut"])
def test_an_answer_can_be_broken(bench: Bench, line: socket.socket, fault: str) -> None:
    bench.hdx.inject(fault)
    line.sendall(request(0x00000101))
    if fault == "garble":
        with pytest.raises(AssertionError):
            answer(line)
        assert ask(line, 0x00000101) == b"\x08"
        return
    line.settimeout(0.2)
    with pytest.raises(TimeoutError):
        answer(line)


def test_it_can_refuse_fall_silent_be_late_and_hang_up(bench: Bench) -> None:
    with bench.call() as line:
        bench.hdx.inject("nack", code=13.0)
        line.sendall(request(0x00000101))
        assert answer(line) == (0x00000101, 0x09, 13, b"")
        bench.hdx.inject("late", seconds=0.3)
        line.settimeout(0.1)
        line.sendall(request(0x00000101))
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.settimeout(5)
        assert answer(line)[3] == b"\x08"
        bench.hdx.inject("stall")
        line.sendall(request(0x00000101))
        line.settimeout(0.1)
        with pytest.raises(TimeoutError):
            line.recv(1)
        bench.hdx.inject("resume")
        bench.hdx.inject("hang-up")
        line.settimeout(5)
        assert line.recv(1) == b""
    with bench.call() as line:
        assert ask(line, 0x00000101) == b"\x08"
    with pytest.raises(ValueError, match="no fault"):
        bench.hdx.inject("hunger")


@pytest.mark.parametrize("data", [b"*IDN?\n" * 20, b"\x00" * 64])
def test_who_talks_something_else_is_not_answered(bench: Bench, data: bytes) -> None:
    with bench.call() as line:
        line.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(1) == b""
    with bench.call() as line:
        assert ask(line, 0x00000101) == b"\x08"
