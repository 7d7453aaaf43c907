"""Every simulated instrument has each fault that its wire can have, and says why not others."""

import contextlib
import functools
import http.client
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from sim_devices import ocean_hdx
from sim_devices.bench import INSTRUMENTS, Bench, Fault
from sim_devices.pty_server import ByteServer
from sim_devices.result_files import ResultFolder
from sim_devices.served import LEADERS, STARTERS
from sim_devices.truth import read_truth
from sim_devices.wire_faults import (
    CANNOT,
    WIRE_FAULTS,
    FaultsOf,
    WireFaults,
    list_faults,
    on_a_line,
)

LISTED = list_faults()
SHORT = {"seconds": 0.01, "delay_s": 0.01, "device": 1}
# What ends an instrument comes last, and is not tried where others have been found to work.
FINAL = ("unplug", "die")


def wait_for(condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def dial(address, timeout_s=50.0):
    host, port = address.split("://")[1].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=timeout_s)


# ---- the list


def test_the_list_is_printed_as_json_without_a_bench():
    command = [sys.executable, "-m", "sim_devices", "--list-faults"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == LISTED


def test_every_instrument_has_each_fault_or_says_why_not():
    assert LISTED.keys() >= {*INSTRUMENTS, "chromatograph", *STARTERS}
    for instrument, told in LISTED.items():
        assert told.keys() >= WIRE_FAULTS.keys(), instrument
        assert all(sentence.removeprefix(CANNOT) for sentence in told.values())


def test_a_fault_that_is_not_told_or_told_twice_is_a_mistake():
    with pytest.raises(ValueError, match=r"a kettle.*'slow'.*not told"):
        FaultsOf("a kettle", {x: "boils" for x in WIRE_FAULTS if x != "slow"})
    with pytest.raises(ValueError, match=r"\['slow'\] both have"):
        FaultsOf("a kettle", WIRE_FAULTS, {"slow": "it cannot wait"})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """All there are but for two of the three that move the cell, and one box of a kind."""
    names = {*INSTRUMENTS, *STARTERS} - LEADERS - {"xrd", "afm", "ultrasound"}
    with contextlib.closing(
        Bench(tmp_path_factory.mktemp("sim"), "zn-bare", instruments=sorted(names), factor=1.0)
    ) as opened:
        yield opened


def outcomes(bench: Bench) -> list[str]:
    lines = read_truth(bench.publish_folder / "sim_truth", "bench")
    return [line["outcome"] for line in lines if line["event"] == "fault"]


def break_all(bench: Bench, instrument: str) -> None:
    """Inject each fault of the list, and compare what the truth says of it."""
    for fault, told in LISTED[instrument].items():
        if fault in FINAL:
            continue
        if fault == "hold":  # no program runs that it could hold
            continue
        bench.inject(Fault(instrument, fault, options=dict(SHORT)))
        outcome = outcomes(bench)[-1]
        if told.startswith(CANNOT):
            assert outcome.startswith("ValueError"), (instrument, fault)
            assert outcome.endswith(told), (instrument, fault)
        else:
            assert outcome == "injected", (instrument, fault)
    bench.inject(Fault(instrument, "explode"))
    assert "has no fault 'explode'; it has" in outcomes(bench)[-1]
    bench.inject(Fault(instrument, "resume"))


@pytest.mark.parametrize("instrument", ["keithley", "rodeostat"])
def test_each_fault_of_another_leader_comes_about(tmp_path: Path, instrument: str) -> None:
    with contextlib.closing(
        Bench(tmp_path, "zn-bare", instruments=[instrument], factor=1.0)
    ) as opened:
        break_all(opened, instrument)


# ---- the faults of a byte stream, pseudo-terminal and socket


def answer_lines(data):
    return b"".join(line.upper() + b"\n" for line in data.split(b"\n") if line)


class Client:
    """A client that is not ours, nor anybody's: a descriptor, of a terminal or a socket."""

    def __init__(self, address: str) -> None:
        self._socket = None
        if address.startswith("serial://"):
            self._fd = os.open(address.removeprefix("serial://"), os.O_RDWR | os.O_NOCTTY)
        else:
            self._socket = dial(address)
            self._fd = self._socket.fileno()
        self.write = functools.partial(os.write, self._fd)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        if self._socket is None:
            os.close(self._fd)
        else:
            self._socket.close()

    def piece(self, timeout_s: float = 5.0) -> bytes:
        """Return what is there as soon as something is; nothing if nothing comes."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return b""
        data = os.read(self._fd, 4096)
        if not data:
            raise ConnectionResetError("the other side has hung up")
        return data

    def read_line(self) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            data += self.piece() or pytest.fail(f"no line: {data!r}")
        return data

    def use(self) -> None:
        for _ in range(100):
            self.write(b"?")
            self.piece(0.01)


@pytest.fixture(params=[True, False], ids=["pty", "tcp"])
def line(request: pytest.FixtureRequest) -> Iterator[ByteServer]:
    server = ByteServer(answer_lines, prefer_pty=request.param)
    with contextlib.closing(server):
        yield server


def test_bytes_are_lost_from_the_middle_of_lines(line: ByteServer) -> None:
    with Client(line.address) as client:
        line.inject("drop-bytes", count=1, bytes=3)
        client.write(b"abcdefgh\n")
        assert len(client.read_line()) == 6
        client.write(b"abcdefgh\n")
        assert client.read_line() == b"ABCDEFGH\n"


def test_what_is_heard_can_be_damaged(line: ByteServer) -> None:
    with Client(line.address) as client:
        line.inject("garble-in", bit=0)
        client.write(b"abcd\n")
        heard = client.read_line()
        assert len(heard) == 5
        assert heard != b"ABCD\n"
        client.write(b"abcd\n")
        assert client.read_line() == b"ABCD\n"


def test_an_answer_comes_in_pieces(line: ByteServer) -> None:
    with Client(line.address) as client:
        line.inject("split", pause_s=0.05)
        client.write(b"abcdefghijklmnop\n")
        pieces = [client.piece()]
        while not pieces[-1].endswith(b"\n"):
            pieces.append(client.piece())
        assert b"".join(pieces) == b"ABCDEFGHIJKLMNOP\n"
        assert len(pieces) > 2
        line.inject("resume")
        client.write(b"whole\n")
        assert client.piece() == b"WHOLE\n"


def test_answers_come_together(line: ByteServer) -> None:
    with Client(line.address) as client:
        line.inject("merge", hold_s=0.3)
        client.write(b"one\n")
        assert client.piece(0.05) == b""
        client.write(b"two\n")
        assert client.piece() == b"ONE\nTWO\n"


def test_answers_come_late(line: ByteServer) -> None:
    with Client(line.address) as client:
        line.inject("slow", delay_s=0.2, seconds=60)
        client.write(b"late\n")
        assert client.piece(0.05) == b""
        assert client.piece() == b"LATE\n"


def test_a_line_that_is_disconnected_comes_back_at_its_published_address(line: ByteServer) -> None:
    moved: list[str] = []
    line.moved = moved.append
    was = line.address
    with Client(line.address) as client:
        client.write(b"here\n")
        assert client.read_line() == b"HERE\n"
        line.inject("disconnect", seconds=3600)
        assert not line.send(b"nobody hears it\n")
        with pytest.raises(OSError, match=r"Errno (5|32|104)|hung up"):
            client.use()
    with pytest.raises(OSError, match=r"Errno (2|5|111)"):
        Client(was)
    line.inject("disconnect", seconds=0.01)
    wait_for(lambda: moved)
    assert (line.address == was) == was.startswith("tcp:")
    assert moved == [line.address]
    with Client(line.address) as client:
        client.write(b"again\n")
        assert client.read_line() == b"AGAIN\n"


def test_a_socket_refuses_connections() -> None:
    line = ByteServer(answer_lines, prefer_pty=False, refuses_connections=True)
    with contextlib.closing(line):
        line.inject("refuse", count=1)
        with pytest.raises(ConnectionResetError), Client(line.address) as client:
            client.piece()
        with Client(line.address) as client:
            client.write(b"in\n")
            assert client.read_line() == b"IN\n"


def test_options_that_are_no_numbers_and_faults_that_cannot_happen_are_refused() -> None:
    faults = on_a_line(
        "a kettle",
        {"refuse": "boils not", "out-of-range": "boils at 300 C"},
        {"wrong-checksum": "it has none", "clock-jump": "it has no clock"},
    )
    wire = WireFaults(faults)
    for fault, options, match in (
        ("slow", {"delay_s": "long"}, "delay_s must be a number, got 'long'"),
        ("clock-jump", {}, "a kettle: clock-jump cannot happen: it has no clock"),
        ("explode", {}, "a kettle has no fault 'explode'; it has stall, resume"),
    ):
        with pytest.raises(ValueError, match=match):
            wire.take(fault, options)
    wire.take("out-of-range", {"count": 2})
    assert [wire.told(20.0, 300.0) for _ in range(3)] == [300.0, 300.0, 20.0]
    wire.take("out-of-range", {"value": -1})
    assert wire.told_text("warm", "hot") == "-1"
    assert wire.told_text("warm", "hot") == "warm"


def test_a_bench_publishes_where_an_instrument_is_that_has_come_back(bench: Bench) -> None:
    published = bench.publish_folder / "stage"
    was = published.read_text()
    with Client(was.strip()):  # who keeps the old one open keeps its name, too
        bench.inject(Fault("stage", "disconnect", options={"seconds": 0.01}))
        wait_for(lambda: published.read_text() != was)
    with Client(published.read_text().strip()) as client:
        client.write(b"/1 1 get limit.min\n")
        assert client.read_line() == b"@01 1 OK IDLE WR 0\r\n"


# ---- what only a language can break: (instrument, what is asked, fault, what is answered)

ASKED = [
    ("relay_board", b"relay read 0\r", "out-of-range", b"relay read 0\n\r9\n\r>"),
    ("relay_board", b"relay on 3\r", "refuse", b"relay on 3\n\r>"),
    ("thermostat", b"{M01****\r\n", "out-of-range", b"{S018AD0\r\n"),
    ("julabo", b"in_pv_00\r", "out-of-range", b"-999.99\r\n"),
    ("sampling_valve", b"CP\r", "out-of-range", b"CPC\r"),
    ("sampling_valve", b"CP\r", "refuse", b"CP = Bad command\r"),
    ("microbalance", b"F\r", "out-of-range", b"99999999.00\r"),
    ("stage", b"/1 1 get pos\n", "out-of-range", b"@01 1 OK IDLE WR 99999999\r\n"),
    ("stage", b"/1 1 get pos\n", "refuse", b"@01 1 RJ IDLE WR STATUSBUSY\r\n"),
    ("stage", b"/1 1 get limit.min\n", "wrong-checksum", b"@01 1 OK IDLE WR 0:3E\r\n"),
    ("ph_meter", b"I\r", "refuse", b"*ER\r"),
    ("ph_meter", b"R\r", "out-of-range", b"19.000\r*OK\r"),
    ("potentiostat", b"t\n", "refuse", b"t!0006\n"),
    ("interlock", b"$01M\r", "refuse", b"?01\r"),
    ("interlock", b"@01\r", "out-of-range", b">FF00\r"),
]


@pytest.mark.parametrize(("instrument", "asked", "fault", "answered"), ASKED)
def test_a_language_breaks_what_only_it_can(
    bench: Bench, instrument: str, asked: bytes, fault: str, answered: bytes
) -> None:
    address = (bench.publish_folder / instrument).read_text().strip()
    url = address.removeprefix("serial://").replace("tcp://", "socket://")
    with serial.serial_for_url(url, timeout=50) as client:
        if instrument == "ph_meter":
            client.write(b"C,0\r")  # else it says something every second
            client.read_until(b"*OK\r")
        bench.inject(Fault(instrument, fault))
        client.write(asked)
        assert client.read(len(answered)) == answered


def test_a_refused_setting_of_a_thermostat_and_a_microbalance_is_told_in_their_status(
    bench: Bench,
) -> None:
    for instrument, setting, question, status in (
        ("julabo", b"out_mode_05 1\r", b"status\r", b"-09 COMMAND NOT ALLOWED IN CURRENT"),
        ("microbalance", b"P2\r", b"B\r", b"16"),
    ):
        address = (bench.publish_folder / instrument).read_text().strip()
        with serial.Serial(address.removeprefix("serial://"), timeout=50) as client:
            client.write(b"B\r" if instrument == "microbalance" else b"status\r")
            client.read_until(b"\r")
            bench.inject(Fault(instrument, "refuse"))
            client.write(setting)
            time.sleep(0.25)
            client.reset_input_buffer()
            client.write(question)
            told = client.read_until(b"\r").strip()
            assert told.startswith(status) or int(told) & int(status)


SCRIPT = (
    b"e\nvar t\nvar c\ntimer_start\nwait 100m\ntimer_get t\npck_start\npck_add t\npck_end\n"
    b"wait 200m\ntimer_get t\npck_start\npck_add t\npck_end\n\n"
)


def test_a_potentiostat_tells_a_value_that_cannot_be_and_its_timer_jumps(bench: Bench) -> None:
    address = (bench.publish_folder / "potentiostat").read_text().strip()
    with serial.Serial(address.removeprefix("serial://"), timeout=50) as client:
        bench.inject(Fault("potentiostat", "out-of-range", options={"value": 2e6}))
        client.write(SCRIPT)
        while not (first := client.readline()).startswith(b"P"):
            assert first
        bench.inject(Fault("potentiostat", "clock-jump", options={"seconds": 1000}))
        second = client.readline()
    value, prefix = int(first[3:10], 16) - 2**27, first[10:11]
    assert (value, prefix) == (2_000_000, b" ") or (value * 1e3, prefix) == (2e9, b"m")
    assert second.startswith(b"Peb")
    assert int(second[3:10], 16) - 2**27 == pytest.approx(1000.3e3, rel=1e-4)
    assert second[10:11] == b"m"


# ---- frames: a spectrometer, USB, a web server, GigE Vision


def ocean(bench: Bench) -> socket.socket:
    return dial((bench.publish_folder / "raman_ocean").read_text().strip())


def ask_ocean(client: socket.socket) -> tuple[int, bytes]:
    """Ask for the length of the serial number; return error code, and the whole answer."""
    client.sendall(ocean_hdx._message(0x101, b"", 0, 0, 0))
    data = b""
    while len(data) < 64:
        data += client.recv(64 - len(data)) or pytest.fail("hung up")
    return struct.unpack_from("<H", data, 6)[0], data


def test_a_spectrometer_breaks_its_frames(bench: Bench) -> None:
    with ocean(bench) as client:
        sound = ask_ocean(client)[1]
        bench.inject(Fault("raman_ocean", "refuse"))
        assert ask_ocean(client)[0] == ocean_hdx.NOT_READY
        bench.inject(Fault("raman_ocean", "garble-in"))
        assert ask_ocean(client)[0] == ocean_hdx.BAD_PROTOCOL
        bench.inject(Fault("raman_ocean", "wrong-checksum"))
        broken = ask_ocean(client)[1]
        assert (broken[22], broken[44:60]) == (1, bytes(16))
        bench.inject(Fault("raman_ocean", "garble"))
        broken = ask_ocean(client)[1]
        assert broken[:60] == sound[:60]
        assert sum((a ^ b).bit_count() for a, b in zip(broken, sound, strict=True)) == 1
        bench.inject(Fault("raman_ocean", "split", options={"pause_s": 0.01}))
        assert ask_ocean(client)[1] == sound
        bench.inject(Fault("raman_ocean", "resume"))
        bench.inject(Fault("raman_ocean", "stall", options={"seconds": 0.1}))
        assert ask_ocean(client)[1] == sound
        bench.inject(Fault("raman_ocean", "drop-bytes", options={"bytes": 4}))
        client.sendall(ocean_hdx._message(0x101, b"", 0, 0, 0))
        time.sleep(0.05)
        assert len(client.recv(100)) == 60
        bench.inject(Fault("raman_ocean", "drop"))
        client.sendall(ocean_hdx._message(0x101, b"", 0, 0, 0))
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        bench.inject(Fault("raman_ocean", "out-of-range"))
        client.settimeout(5)
        client.sendall(ocean_hdx._message(0x101000, b"", 0, 0, 0))
        assert struct.unpack_from("<I", client.recv(44, socket.MSG_WAITALL), 40)[0] == 2048 + 20


@pytest.mark.parametrize("fault", ["disconnect", "power-cycle"])
@pytest.mark.parametrize("instrument", ["raman_ocean", "raman", "fusion"])
def test_a_door_is_shut_and_opens_again_at_the_same_port(
    bench: Bench, instrument: str, fault: str
) -> None:
    address = (bench.publish_folder / instrument).read_text().strip()
    with dial(address) as client:
        bench.inject(Fault(instrument, fault, options={"seconds": 3600}))
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    wait_for(lambda: _is_refused(address))
    bench.inject(Fault(instrument, fault, options={"seconds": 0.01}))
    wait_for(lambda: not _is_refused(address))
    assert (bench.publish_folder / instrument).read_text().strip() == address


def _is_refused(address: str) -> bool:
    try:
        dial(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False


def transfer(client: socket.socket, *control: int, timeout_ms: int = 1000) -> tuple[int, bytes]:
    """Make a control transfer; return its status and what came in."""
    request = struct.pack("<BBBHHHI", 1, *control, timeout_ms)
    client.sendall(struct.pack("<I", len(request)) + request)
    (size,) = struct.unpack("<I", client.recv(4, socket.MSG_WAITALL))
    answer = client.recv(size, socket.MSG_WAITALL)
    return struct.unpack_from("<I", answer)[0], answer[4:]


def test_a_usb_device_breaks_its_transfers(bench: Bench) -> None:
    temperature = (0xC0, 0xD7, 0, 0, 2)
    with dial((bench.publish_folder / "raman").read_text().strip()) as client:
        status, raw = transfer(client, *temperature)
        assert (status, int.from_bytes(raw, "big") < 4096) == (0, True)
        bench.inject(Fault("raman", "out-of-range"))
        assert transfer(client, *temperature) == (0, b"\xff\xff")
        bench.inject(Fault("raman", "refuse"))
        assert transfer(client, *temperature) == (32, b"")
        bench.inject(Fault("raman", "stall", options={"seconds": 60}))
        assert transfer(client, *temperature, timeout_ms=50) == (110, b"")
        bench.inject(Fault("raman", "resume"))
        bench.inject(Fault("raman", "split", options={"pause_s": 0.005, "seconds": 1}))
        assert transfer(client, *temperature)[0] == 0
        bench.inject(Fault("raman", "resume"))


def test_a_web_server_breaks_its_answers(bench: Bench) -> None:
    address = (bench.publish_folder / "fusion").read_text().strip()
    place = "/scm/sessions/system-manager/publicConfiguration"

    def get() -> bytes:
        line = http.client.HTTPConnection(address.removeprefix("http://"), timeout=50)
        with contextlib.closing(line):
            line.request("GET", place)
            return line.getresponse().read()

    sound = get()
    bench.inject(Fault("fusion", "split", options={"pause_s": 0.002}))
    assert get() == sound
    bench.inject(Fault("fusion", "resume"))
    bench.inject(Fault("fusion", "drop"))
    with pytest.raises(http.client.RemoteDisconnected):
        get()
    bench.inject(Fault("fusion", "drop-bytes", options={"bytes": 5}))
    with pytest.raises(http.client.IncompleteRead):
        get()
    bench.inject(Fault("fusion", "slow", options={"delay_s": 0.01, "seconds": 0.5}))
    assert get() == sound
    bench.inject(Fault("fusion", "resume"))


def ask_camera(client: socket.socket, number: int, address: int) -> tuple[int, bytes] | None:
    """Read a register; return status and content, None if nothing comes."""
    client.send(struct.pack(">BBHHHI", 0x42, 1, 0x80, 4, number, address))
    try:
        answer = client.recv(100)
    except TimeoutError:
        return None
    return struct.unpack_from(">H", answer)[0], answer[8:]


def test_a_gige_camera_breaks_its_answers_and_its_clock(bench: Bench) -> None:
    address = (bench.publish_folder / "gige_camera").read_text().strip()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((address.removeprefix("aravis://"), 3956))
        client.settimeout(5)
        version = ask_camera(client, 1, 0)
        assert version == (0, b"\x00\x01\x00\x02")
        bench.inject(Fault("gige_camera", "refuse", options={"status": 0x8006}))
        assert ask_camera(client, 2, 0) == (0x8006, b"")
        bench.inject(Fault("gige_camera", "slow", options={"delay_s": 0.2, "seconds": 0.5}))
        client.settimeout(0.05)
        assert ask_camera(client, 3, 0) is None
        client.settimeout(5)
        assert client.recv(100)[8:] == version[1]
        bench.inject(Fault("gige_camera", "disconnect", options={"seconds": 0.3}))
        client.settimeout(0.1)
        assert ask_camera(client, 4, 0) is None
        number = iter(range(5, 100))
        wait_for(lambda: ask_camera(client, next(number), 0) == version)
    camera = bench._instruments["gige_camera"]
    before = camera._registers.ticks()
    bench.inject(Fault("gige_camera", "clock-jump", options={"seconds": -100}))
    assert camera._registers.ticks() < before


# ---- files


def test_a_folder_of_results_breaks_them(tmp_path: Path) -> None:
    wire = WireFaults()
    folder = ResultFolder(tmp_path / "results", wire)
    assert folder.write("1", b"whole")
    wire.take("drop", {})
    assert not folder.write("2", b"never")
    wire.take("garble", {})
    assert folder.write("3", b"damaged")
    wire.take("drop-bytes", {"bytes": 2})
    assert folder.write("4", b"shorter")
    wire.take("split", {"pause_s": 0.0})
    assert folder.write("5", b"in pieces")
    assert not (tmp_path / "results" / "3").read_bytes().isascii()
    found = {path.name: len(path.read_bytes()) for path in (tmp_path / "results").iterdir()}
    assert found == {"1": 5, "3": 7, "4": 5, "5": 9}
    wire.take("resume", {})
    for late in ({"stall": {"seconds": 0.1}}, {"merge": {"seconds": 0.1}}, {"slow": {}}):
        for fault, options in late.items():
            wire.take(fault, options)
        began = time.monotonic()
        assert folder.is_slow
        assert folder.write("6", b"late")
        assert time.monotonic() - began > 0.09
    folder.close()


def test_a_folder_is_gone_and_comes_back_with_all_that_is_in_it(tmp_path: Path) -> None:
    wire = WireFaults()
    path = tmp_path / "results"
    folder = ResultFolder(path, wire)
    assert folder.write("1", b"there")
    wire.take("disconnect", {"seconds": 0.1})
    folder.leave()
    folder.leave()
    assert not path.exists()
    assert folder.write("2", b"waited until it was back")
    assert sorted(os.listdir(path)) == ["1", "2"]
    wire.take("disconnect", {"seconds": 600})
    folder.leave()
    folder.close()
    assert sorted(os.listdir(path)) == ["1", "2"]


def test_what_was_gone_when_a_simulator_was_killed_is_back_for_the_next(tmp_path: Path) -> None:
    wire = WireFaults()
    wire.take("disconnect", {"seconds": 600})
    path = tmp_path / "results"
    killed = ResultFolder(path, wire)
    os.replace(path, tmp_path / ".results.away")
    del killed
    ResultFolder(path, WireFaults())
    assert path.is_dir()
    assert not (tmp_path / ".results.away").exists()


# Last, as it leaves nothing as it was.
@pytest.mark.parametrize(
    "instrument",
    sorted({*INSTRUMENTS, "chromatograph", *STARTERS} - LEADERS - {"xrd", "afm", "ultrasound"}),
)
def test_each_fault_of_the_list_comes_about(bench: Bench, instrument: str) -> None:
    break_all(bench, instrument)
