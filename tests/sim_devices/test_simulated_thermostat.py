"""The simulated circulator, asked by a client that is a socket and nothing more."""

import contextlib
import socket
import time
from pathlib import Path

import pytest

from sim_devices.bench import Bench
from sim_devices.cell import Cell
from sim_devices.thermostat import HuberPilot
from sim_devices.truth import Truth, read_truth

FOLDER = Path(__file__).parents[1] / "transcripts" / "thermostat"
SETTLES_S = 190.0


class Client:
    def __init__(self, address):
        host, port = address.removeprefix("tcp://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=50)
        self.reader = self.socket.makefile("rb")

    def send(self, text):
        self.socket.sendall(text.encode() + b"\r\n")

    def line(self):
        return self.reader.readline()

    def ask(self, text):
        self.send(text)
        return self.line().decode().strip()

    def close(self):
        self.reader.close()
        self.socket.close()


class Room:
    """A circulator around a cell, and a client of it."""

    def __init__(self, folder):
        self.cell = Cell("na-znag-symmetric", seed=1)
        self.truth = Truth(folder)
        self.pilot = HuberPilot(self.cell, self.truth, cell_time=lambda: self.cell.t)
        self.client = Client(self.pilot.address)

    def close(self):
        self.client.close()
        self.pilot.close()
        self.truth.close()


@pytest.fixture
def room(tmp_path):
    with contextlib.closing(Room(tmp_path)) as room:
        yield room


def pages():
    for block in (FOLDER / "manual.txt").read_text().split("\n\n"):
        name, *lines = [line for line in block.split("\n") if line]
        turns = [(line[0], line[2:]) for line in lines]
        yield pytest.param(turns, id=name.removeprefix("# "))


@pytest.mark.parametrize("turns", list(pages()))
def test_the_circulator_answers_as_its_manual_says(room, turns):
    for who, text in turns:
        if who == ">":
            room.client.send(text)
        else:
            assert room.client.line() == text.encode() + b"\r\n"
    room.client.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        room.client.line()


def test_a_command_may_come_in_pieces_and_two_at_once(room):
    room.client.socket.sendall(b"{M00")
    room.client.socket.sendall(b"****\r")
    room.client.socket.sendall(b"\n{M01****\r\n")
    assert room.client.line() == b"{S0007D0\r\n"
    assert room.client.line() == b"{S0109C4\r\n"


def test_the_cell_goes_where_the_bath_is_told_to_and_overshoots_a_little(room):
    assert room.client.ask("{M000DAC") == "{S000DAC"  # 35 degC, and nothing moves yet
    room.cell.advance(600.0)
    assert room.client.ask("{M01****") == "{S0109C4"
    room.client.ask("{M140001")
    temperatures = []
    for _ in range(60):
        room.cell.advance(10.0)
        temperatures.append(int(room.client.ask("{M01****")[4:], 16) / 100)
    assert max(temperatures) == pytest.approx(35.3, abs=0.05)  # 3 % of the step
    late = temperatures[int(SETTLES_S / 10) :]
    assert late == pytest.approx([35.0] * len(late), abs=0.31)
    assert temperatures[-1] == pytest.approx(35.0, abs=0.02)


def test_the_interface_of_the_cell_follows_the_bath(room):
    before = room.cell.impedance([0.1])[0].real
    room.client.ask("{M001388")  # 50 degC
    room.client.ask("{M140001")
    room.cell.advance(900.0)
    after = room.cell.impedance([0.1])[0].real
    assert after < before
    room.client.ask("{M140000")
    room.cell.advance(900.0)
    assert room.cell.temperature_k == pytest.approx(298.15, abs=0.01)  # the room's


def test_errors_warnings_and_deafness_can_be_injected(room):
    client, line = room.client, room.pilot.line
    client.ask("{M140001")
    line.inject("warning", code=-45)
    assert client.ask("{M0A****") == "{S0A0213"
    assert client.ask("{M06****") == "{S06FFD3"
    line.inject("error", code=-1)
    assert client.ask("{M0A****") == "{S0A0300"  # it controls no more
    assert client.ask("{M05****") == "{S05FFFF"
    assert client.ask("{M140001") == "{S140000"
    assert [client.ask(f"{{M{address}0001") for address in ("05", "06")] == [
        "{S050000",
        "{S060000",
    ]
    assert client.ask("{M140001") == "{S140001"
    line.inject("deafness")
    assert client.ask("{M000BB8") == "{S0007D0"
    line.inject("obedience")
    assert client.ask("{M000BB8") == "{S000BB8"
    line.inject("process-sensor")
    assert client.ask("{M07****") == client.ask("{M01****").replace("S01", "S07")
    line.inject("power-cycle", seconds=0.01)
    time.sleep(0.1)
    assert client.ask("{M14****") == "{S140000"


def test_every_change_of_the_bath_is_in_the_truth(room, tmp_path):
    room.client.ask("{M000DAC")
    room.client.ask("{M140001")
    room.cell.advance(60.0)
    room.client.ask("{M140000")
    lines = read_truth(tmp_path, "thermostat")
    assert [(line["cell_t_s"], line["setpoint_k"]) for line in lines] == [
        (0.0, pytest.approx(308.15)),
        (60.0, 298.15),
    ]
    assert lines[1]["temperature_k"] == room.cell.temperature_k


def test_the_bench_serves_it_beside_the_other_instruments_and_a_dummy(tmp_path):
    with contextlib.closing(
        Bench(tmp_path, "dummy-10ohm", instruments=["potentiostat", "thermostat"])
    ):
        address = (tmp_path / "thermostat").read_text().strip()
        with contextlib.closing(Client(address)) as client:
            assert client.ask("{M01****") == "{S0109C4"
    assert not (tmp_path / "thermostat").exists()
