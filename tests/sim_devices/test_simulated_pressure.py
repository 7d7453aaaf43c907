"""The simulated pressure transmitter, asked with frames as its maker prints them."""

import contextlib
import struct
from itertools import pairwise
from pathlib import Path

import pytest
import serial

from sim_devices.cell import Cell
from sim_devices.keller import KellerTransmitter

PAGES = Path(__file__).parents[1] / "transcripts" / "keller_bus" / "manual.txt"


@pytest.fixture
def cell():
    return Cell("zn-bare", seed=1)


@pytest.fixture
def port(cell):
    with contextlib.closing(KellerTransmitter(cell, perfect=True)) as transmitter:
        address = transmitter.address.removeprefix("serial://")
        with serial.Serial(address, 9600, timeout=0.5) as port:
            yield port


def frame(text):
    return bytes(map(int, text.split()))


def pages():
    blocks = PAGES.read_text().split("\n\n")
    return {name: turns for name, *turns in (block.strip().split("\n") for block in blocks)}


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_the_manual_says(port, page):
    turns = [*pages()[page], "> "]
    for turn, following in pairwise(turns):
        if turn[0] == "<":
            assert port.read(len(frame(turn[2:]))) == frame(turn[2:])
            continue
        port.write(frame(turn[2:]))
        if following[0] == ">":
            port.timeout = 0.1
            assert port.read(1) == b""
            port.timeout = 0.5


def test_a_frame_may_come_in_pieces_and_what_is_left_of_one_is_forgotten(port):
    port.write(frame("1 48 52"))
    port.write(frame("0"))
    assert len(port.read(10)) == 10
    port.write(frame("1 69 18"))
    port.timeout = 0.1
    assert port.read(1) == b""
    port.timeout = 0.5
    port.write(frame("1 48 52 0"))
    assert len(port.read(10)) == 10


def test_its_zero_can_be_set_and_taken_back(port):
    port.write(frame("1 48 52 0"))
    port.read(10)

    def asked(*request, answered):
        whole = bytes(request)
        crc = 0xFFFF
        for byte in whole:
            crc ^= byte
            for _ in range(8):
                crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
        port.write(whole + crc.to_bytes(2, "big"))
        return port.read(answered)[2:-2]

    before = struct.unpack(">f", asked(1, 73, 1, answered=9)[:4])[0]
    asked(1, 95, 0, answered=5)
    assert struct.unpack(">f", asked(1, 73, 1, answered=9)[:4])[0] == pytest.approx(0.0, abs=1e-6)
    asked(1, 95, 1, answered=5)
    assert struct.unpack(">f", asked(1, 73, 1, answered=9)[:4])[0] == before


def test_its_language_breaks_what_only_it_can(cell):
    with contextlib.closing(KellerTransmitter(cell, perfect=True)) as transmitter:
        address = transmitter.address.removeprefix("serial://")
        with serial.Serial(address, 9600, timeout=0.5) as port:
            transmitter.line.inject("refuse")
            port.write(frame("1 48 52 0"))
            assert port.read(3) == frame("1 176 1")
            port.read(2)
            transmitter.line.inject("wrong-checksum")
            for right in (False, True):
                port.write(frame("1 48 52 0"))
                told = port.read(10)
                crc = told[-2:]
                assert (crc == frame("164 69" if told[7] == 0 else "100 132")) is right
            transmitter.line.inject("out-of-range", value=-5.0)
            port.write(frame("1 73 1 80 214"))
            assert struct.unpack(">f", port.read(9)[2:6])[0] == -5.0
            with pytest.raises(ValueError, match="clock-jump cannot happen: it has no clock"):
                transmitter.line.inject("clock-jump")
