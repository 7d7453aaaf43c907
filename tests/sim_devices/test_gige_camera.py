"""The simulated GigE Vision camera, asked by a client that knows only sockets and the standard."""

import socket
import struct
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.gige_camera import GigECamera, exposed
from sim_devices.gige_vision import Block
from sim_devices.lights import Lights
from sim_devices.served import STARTERS, Wiring
from sim_devices.truth import Truth, read_truth
from sim_devices.whereabouts import Displacement, Whereabouts

ROWS, COLUMNS = 48, 64
GENAPI = "{http://www.genicam.org/GenApi/Version_1_1}"
MONO8, MONO12, MONO16 = 0x01080001, 0x01100005, 0x01100007


class Shown(NamedTuple):
    cell_t: float

    def told(self) -> dict[str, float]:
        return {"thickness_um": 1.5}


class Pattern:
    """Something to look at: a gradient that differs from frame to frame."""

    micrometre_per_pixel = 0.5

    def __init__(self) -> None:
        self.number = 0
        self.seen: list[np.ndarray] = []

    def frame(self, *, lamp: bool = True, laser: bool = False) -> tuple[np.ndarray, Shown]:
        self.number += 1
        rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
        picture = ((rows + 2 * columns + self.number) % 100 + 10).astype(np.uint8)
        self.seen.append(picture if lamp else np.full_like(picture, 4))
        return self.seen[-1], Shown(float(self.number))

    def cell_time(self) -> float:
        return float(self.number)


class Client:
    """One application: a socket for the control protocol and one for the stream."""

    def __init__(self, camera: GigECamera) -> None:
        self.at = (camera.ip_address, 3956)
        self.control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.control.bind(("127.0.0.1", 0))
        self.control.settimeout(5)
        self.stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.stream.bind(("127.0.0.1", 0))
        self.stream.settimeout(5)
        self.number = 0
        self.address: dict[str, int] = {}

    def send(self, command: int, payload: bytes = b"", flags: int = 1) -> None:
        self.number += 1
        head = struct.pack(">BBHHH", 0x42, flags, command, len(payload), self.number)
        self.control.sendto(head + payload, self.at)

    def ask(self, command: int, payload: bytes = b"") -> tuple[int, bytes]:
        self.send(command, payload)
        return self.answer(command)

    def answer(self, command: int) -> tuple[int, bytes]:
        data = self.control.recv(2048)
        status, acknowledged, length, number = struct.unpack_from(">HHHH", data)
        assert (acknowledged, number) == (command + 1, self.number)
        assert len(data) == 8 + length
        return status, data[8:]

    def read(self, *addresses: int) -> list[int]:
        status, data = self.ask(0x0080, struct.pack(f">{len(addresses)}I", *addresses))
        assert status == 0
        return list(struct.unpack(f">{len(addresses)}I", data))

    def write(self, address: int, value: int) -> int:
        return self.ask(0x0082, struct.pack(">II", address, value))[0]

    def memory(self, address: int, length: int) -> bytes:
        whole = b""
        while len(whole) < length:
            count = min(512, length - len(whole) + -(length - len(whole)) % 4)
            status, data = self.ask(0x0084, struct.pack(">IHH", address + len(whole), 0, count))
            assert status == 0
            assert data[:4] == struct.pack(">I", address + len(whole))
            whole += data[4:]
        return whole[:length]

    def description(self) -> ET.Element:
        url = self.memory(0x0200, 512).rstrip(b"\0").decode("ascii")
        file, start, length = url.removeprefix("Local:").split(";")
        assert file.endswith(".xml")
        return ET.fromstring(self.memory(int(start, 16), int(length, 16)))

    def learn(self) -> None:
        """Take from the camera's description where its features are."""
        for node in self.description():
            name = node.get("Name", "")
            at = node.find(f"{GENAPI}Address")
            if name.endswith("Reg") and at is not None:
                self.address[name.removesuffix("Reg")] = int(str(at.text), 16)

    def take_control(self, packet: int = 576) -> None:
        assert self.write(0x0A00, 2) == 0
        assert self.write(0x0D18, struct.unpack(">I", socket.inet_aton("127.0.0.1"))[0]) == 0
        assert self.write(0x0D00, self.stream.getsockname()[1]) == 0
        assert self.write(0x0D04, packet) == 0

    def set(self, name: str, value: int) -> int:
        return self.write(self.address[name], value)

    def set_float(self, name: str, value: float) -> int:
        data = struct.pack(">I", self.address[name]) + struct.pack(">f", value)
        return self.ask(0x0086, data)[0]

    def get_float(self, name: str) -> float:
        (value,) = struct.unpack(">f", struct.pack(">I", *self.read(self.address[name])))
        return float(value)

    def start(self) -> None:
        for name, value in {"TriggerMode": 1, "TriggerSource": 0, "AcquisitionStart": 1}.items():
            assert self.set(name, value) == 0

    def packet(self) -> tuple[int, int, int, int, bytes]:
        """Return status, block, kind and number of the next packet, and what is in it."""
        data = self.stream.recv(65536)
        status, block, word = struct.unpack_from(">HHI", data)
        return status, block, word >> 24, word & 0xFFFFFF, data[8:]

    def hears_a_packet(self) -> bool:
        try:
            self.packet()
        except TimeoutError:
            return False
        return True

    def frame(self) -> tuple[dict[str, int], dict[int, bytes]]:
        """Return what the leader says, and the packets with pixels up to the trailer."""
        status, block, kind, number, data = self.packet()
        assert (status, kind, number) == (0, 1, 0)
        names = "payload high low format width height left top pad_x pad_y"
        values = struct.unpack(">xxHIIIIIIIHH", data)
        leader = dict(zip(names.split(), values, strict=True)) | {"block": block}
        pixels: dict[int, bytes] = {}
        while True:
            status, of, kind, number, data = self.packet()
            assert (status, of) == (0, block)
            if kind == 2:
                assert data == struct.pack(">HHI", 0, 1, leader["height"])
                return leader | {"last": number}, pixels
            assert kind == 3
            pixels[number] = data

    def close(self) -> None:
        self.control.close()
        self.stream.close()


class Scene(NamedTuple):
    camera: GigECamera
    client: Client
    view: Pattern
    lights: Lights
    clock: SimulatedClock
    truth: Path


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    view, clock = Pattern(), SimulatedClock()
    lights = Lights(clock)
    lights.lamp = True
    with Truth(tmp_path) as truth:
        camera = GigECamera(view, clock, lights, truth, seed=3)
        client = Client(camera)
        client.learn()
        yield Scene(camera, client, view, lights, clock, tmp_path)
        client.close()
        camera.close()
        camera.close()


def picture(leader: dict[str, int], pixels: dict[int, bytes]) -> np.ndarray:
    assert sorted(pixels) == list(range(1, leader["last"]))
    kind = np.uint8 if leader["format"] == MONO8 else np.dtype("<u2")
    data = b"".join(pixels[number] for number in sorted(pixels))
    return np.frombuffer(data, kind).reshape(leader["height"], leader["width"])


# ---- who it is


def test_discovery_tells_who_and_where_it_is(scene: Scene) -> None:
    status, page = scene.client.ask(0x0002)
    assert status == 0
    assert len(page) == 0xF8
    assert struct.unpack_from(">HH", page) == (1, 2)
    assert socket.inet_ntoa(page[0x24:0x28]) == scene.camera.ip_address
    texts = [page[a : a + n].rstrip(b"\0") for a, n in ((0x48, 32), (0x68, 32), (0xD8, 16))]
    assert texts == [b"Operando", b"Simulated-GigE", b"SG00042"]
    assert scene.camera.address == f"aravis://{scene.camera.ip_address}"


def test_two_cameras_have_each_an_address(scene: Scene, tmp_path: Path) -> None:
    with Truth(tmp_path / "other") as truth:
        other = GigECamera(Pattern(), scene.clock, scene.lights, truth, serial_number="SG00043")
        client = Client(other)
        assert client.ask(0x0002)[1][0xD8:0xDF] == b"SG00043"
        assert other.ip_address != scene.camera.ip_address
        client.close()
        other.close()


def test_its_description_is_whole_and_names_what_a_client_needs(scene: Scene) -> None:
    root = scene.client.description()
    named = {node.get("Name"): node for node in root}
    for node in root.iter():
        if node.tag.removeprefix(GENAPI) in ("pFeature", "pValue", "pPort"):
            assert node.text in named
    for name in ("Width", "PixelFormat", "ExposureTime", "Gain", "TriggerSoftware", "PayloadSize"):
        assert named[name].get("NameSpace") == "Standard"
    entries = {
        entry.get("Name"): int(str(entry.findtext(f"{GENAPI}Value")))
        for entry in named["PixelFormat"].iter(f"{GENAPI}EnumEntry")
    }
    assert entries == {"Mono8": MONO8, "Mono12": MONO12, "Mono16": MONO16}
    at = scene.client.address
    sizes = scene.client.read(*(at[name] for name in ("SensorWidth", "SensorHeight", "Width")))
    assert sizes == [COLUMNS, ROWS, COLUMNS]


# ---- what it refuses


@pytest.mark.parametrize(
    ("command", "payload", "status"),
    [
        (0x00FE, b"", 0x8001),
        (0x0080, struct.pack(">I", 0x2222_0000), 0x8003),
        (0x0080, struct.pack(">I", 0x0A01), 0x8005),
        (0x0080, b"\0\0", 0x800E),
        (0x0082, struct.pack(">I", 0x0A00), 0x800E),
        (0x0084, struct.pack(">IHH", 0x0200, 0, 540), 0x8002),
        (0x0084, struct.pack(">IHH", 0x0200, 0, 6), 0x8005),
        (0x0084, struct.pack(">IHH", 0xF000_0000, 0, 8), 0x8003),
        (0x0084, b"\0\0\0\0", 0x800E),
        (0x0086, b"\0\0\0\0", 0x800E),
    ],
)
def test_what_it_does_not_have_is_answered_with_a_status(
    scene: Scene, command: int, payload: bytes, status: int
) -> None:
    assert scene.client.ask(command, payload) == (status, b"")


def test_nobody_writes_without_control(scene: Scene) -> None:
    assert scene.client.set("Width", 32) == 0x8006
    scene.client.take_control()
    assert scene.client.set("Width", 32) == 0
    other = Client(scene.camera)
    assert other.write(scene.client.address["Width"], 48) == 0x8006
    assert other.write(0x0A00, 2) == 0x8006
    assert other.read(0x0A00, scene.client.address["Width"]) == [2, 32]
    assert scene.client.write(0x0A00, 1) == 0  # from now on exclusively
    assert other.ask(0x0080, struct.pack(">I", 0x0A00))[0] == 0x8006
    assert scene.client.write(0x0A00, 0) == 0
    assert other.write(0x0A00, 2) == 0
    other.close()


def test_control_is_lost_by_silence(scene: Scene) -> None:
    scene.client.take_control()
    assert scene.client.write(0x0938, 1) == 0
    other = Client(scene.camera)
    assert other.read(0x0938) == [500]
    while other.read(0x0A00) != [0]:
        time.sleep(0.05)
    assert scene.client.set("Width", 32) == 0x8006
    told = [line["by"] for line in read_truth(scene.truth, "camera") if line["event"] == "control"]
    assert told[0].startswith("127.0.0.1:")
    assert told[1] is None
    other.close()


def test_what_does_not_fit_is_refused(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    for name, value in (("Width", 30), ("Width", 68), ("OffsetX", 4), ("PixelFormat", 1)):
        assert client.set(name, value) == 0x8002
    assert client.set_float("ExposureTime", 19.0) == 0x8002
    assert client.set_float("Gain", 24.5) == 0x8002
    assert client.set_float("Gain", float("nan")) == 0x8002
    assert client.set("PayloadSize", 1) == 0x8004
    assert client.write(0x0200, 1) == 0x8004
    assert client.write(0x2222_0000, 1) == 0x8003
    assert client.ask(0x0080, struct.pack(">I", client.address["TriggerSoftware"]))[0] == 0x8006
    assert client.set_float("ExposureTime", 1234.6) == 0
    assert client.get_float("ExposureTime") == 1235.0
    client.start()
    assert client.set("Width", 32) == 0x8004
    assert client.set("AcquisitionStop", 1) == 0
    assert client.set("Width", 32) == 0


@given(st.lists(st.binary(max_size=64), max_size=4))
def test_no_datagram_ends_it(shared: Client, garbage: list[bytes]) -> None:
    # One camera for all examples: what one of them breaks, the next one sees.
    for data in garbage:
        shared.control.sendto(data, shared.at)
        shared.control.sendto(b"\x42\x00" + data, shared.at)
    shared.send(0x0002, flags=0x11)
    # What happens to be a command is answered, too.
    while struct.unpack_from(">HHHH", data := shared.control.recv(2048))[3] != shared.number:
        continue
    assert struct.unpack_from(">HH", data) == (0, 0x0003)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    clock = SimulatedClock()
    with Truth(tmp_path_factory.mktemp("shared")) as truth:
        camera = GigECamera(Pattern(), clock, Lights(clock), truth)
        client = Client(camera)
        yield client
        client.close()
        camera.close()


# ---- frames


def test_a_software_trigger_exposes_one_frame(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    assert client.set("TriggerSoftware", 1) == 0  # nothing is acquired yet: no frame
    client.start()
    before = time.time()
    stamps = []
    for number in (1, 2, 3):
        assert client.set("TriggerSoftware", 1) == 0
        leader, pixels = client.frame()
        assert (leader["block"], leader["payload"], leader["format"]) == (number, 1, MONO8)
        assert (leader["width"], leader["height"], leader["left"]) == (COLUMNS, ROWS, 0)
        assert max(len(part) for part in pixels.values()) == 576 - 36
        assert np.array_equal(picture(leader, pixels), scene.view.seen[-1])
        stamps.append(leader["high"] << 32 | leader["low"])
    assert stamps == sorted(set(stamps))
    assert client.read(0x093C, 0x0940) == [0, 1_000_000_000]
    assert client.write(0x0944, 2) == 0  # latch the time
    high, low = client.read(0x0948, 0x094C)
    assert high << 32 | low > stamps[-1]
    frames = [line for line in read_truth(scene.truth, "camera") if line["event"] == "frame"]
    assert [frame["ticks"] for frame in frames] == stamps
    assert frames[0]["host_time"] >= before
    assert frames[0]["thickness_um"] == 1.5
    assert frames[0]["lamp"] is True


def test_a_request_that_is_repeated_is_done_once(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    client.start()
    for _ in range(2):
        assert client.set("TriggerSoftware", 1) == 0
        client.number -= 1
    client.frame()
    client.number += 1
    assert client.set("TriggerSoftware", 1) == 0
    assert client.frame()[0]["block"] == 2
    frames = [line for line in read_truth(scene.truth, "camera") if line["event"] == "frame"]
    assert len(frames) == 2


def test_a_trigger_line_that_nobody_moves_gives_no_frame(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    assert client.set("TriggerSource", 1) == 0
    assert client.set("TriggerMode", 1) == 0
    assert client.set("AcquisitionStart", 1) == 0
    assert client.set("TriggerSoftware", 1) == 0
    assert client.set("AcquisitionStop", 1) == 0
    client.start()
    assert client.set("TriggerSoftware", 1) == 0
    client.frame()
    assert scene.camera._frames == 1


def test_without_a_trigger_frames_come_until_acquisition_stops(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    assert client.set_float("AcquisitionFrameRate", 20.0) == 0
    assert client.set("AcquisitionStart", 1) == 0
    blocks = [client.frame()[0]["block"] for _ in range(3)]
    assert blocks == [1, 2, 3]
    assert client.set("AcquisitionStop", 1) == 0
    assert client.set("AcquisitionMode", 1) == 0  # a single frame
    client.stream.settimeout(0.2)
    while client.hears_a_packet():
        pass
    assert client.set("AcquisitionStart", 1) == 0
    assert client.frame()[0]["block"] == 1
    assert not client.hears_a_packet()


def test_a_region_in_more_bits(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    for name, value in {"Width": 32, "Height": 16, "OffsetX": 8, "OffsetY": 20}.items():
        assert client.set(name, value) == 0
    for code, high_bits in ((MONO12, 4), (MONO16, 8)):
        assert client.set("PixelFormat", code) == 0
        assert client.read(client.address["PayloadSize"]) == [32 * 16 * 2]
        client.start()
        assert client.set("TriggerSoftware", 1) == 0
        leader, pixels = client.frame()
        assert (leader["left"], leader["top"], leader["format"]) == (8, 20, code)
        seen = scene.view.seen[-1][20:36, 8:40]
        assert np.array_equal(picture(leader, pixels) >> high_bits, seen)
        assert client.set("AcquisitionStop", 1) == 0


def test_what_a_longer_exposure_or_more_gain_makes_of_a_picture() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    noise = np.random.default_rng(1)
    assert exposed(grey, 5000.0, 0.0, "Mono8", noise) is grey
    half = exposed(grey, 2500.0, 0.0, "Mono8", noise)
    assert np.array_equal(half[1:], (4 + (grey[1:].astype(int) - 4) / 2).astype(np.uint8))
    twice = exposed(grey, 5000.0, 20 * np.log10(2), "Mono8", noise)
    assert twice[15, 15] == 255  # saturated
    assert twice[3, 2] == pytest.approx(2 * 50 - 4, abs=1)
    twelve = exposed(grey, 5000.0, 0.0, "Mono12", noise)
    assert np.array_equal(twelve >> 4, grey)
    assert len(np.unique(twelve & 15)) > 8
    assert np.all(exposed(grey, 5000.0, 0.0, "Mono16", noise) & 15 == 0)


def test_the_frame_is_as_light_as_the_bench_and_holds_its_clock(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    client.start()
    scene.lights.lamp = False
    assert client.set_float("ExposureTime", 150_000.0) == 0
    began = time.monotonic()
    assert client.set("TriggerSoftware", 1) == 0
    while scene.clock.open_exchanges != ("camera frame",):
        time.sleep(0.001)
    leader, pixels = client.frame()
    assert time.monotonic() - began >= 0.15
    assert picture(leader, pixels).max() <= 4
    while scene.clock.open_exchanges:
        time.sleep(0.001)


# ---- packets


def test_packets_that_were_lost_are_sent_again(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    client.start()
    scene.camera.inject("drop", packets=2)
    assert client.set("TriggerSoftware", 1) == 0
    leader, pixels = client.frame()
    missing = sorted(set(range(1, leader["last"])) - set(pixels))
    assert len(missing) == 2
    # Asked for from the socket of the control channel, and from that of the stream.
    for number, asking in zip(missing, (client.control, client.stream), strict=True):
        payload = struct.pack(">HHII", 0, leader["block"], number, number)
        asking.sendto(struct.pack(">BBHHH", 0x42, 0, 0x0040, 12, 7) + payload, client.at)
        status, block, kind, came, data = client.packet()
        assert (status, block, kind, came) == (0, leader["block"], 3, number)
        pixels[number] = data
    assert np.array_equal(picture(leader, pixels), scene.view.seen[-1])


def test_packets_that_it_has_no_more_are_told(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    client.start()
    scene.camera.inject("lose", packets=1)
    assert client.set("TriggerSoftware", 1) == 0
    leader, pixels = client.frame()
    (missing,) = set(range(1, leader["last"])) - set(pixels)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))  # of another computer: it is not heard
        request = struct.pack(">BBHHHHHII", 0x42, 0, 0x0040, 12, 9, 0, leader["block"], 0, 2)
        stranger.sendto(request, client.at)
    for block, number in ((leader["block"], missing), (99, 1), (leader["block"], 5000)):
        client.send(0x0040, struct.pack(">HHII", 0, block, number, number), flags=0)
        assert client.packet()[:4] == (0x800C, block, 3, number)


def test_a_test_packet_has_the_size_that_was_asked_for(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    for size, sent in ((576, 576), (1500, 1500), (9000, 9000), (60000, 9000), (100, 576)):
        assert client.write(0x0D04, 1 << 31 | size) == 0
        assert len(client.stream.recv(65536)) == sent - 28
        assert client.read(0x0D04) == [sent]


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 1464), st.integers(1, 0xFFFF))
def test_the_packets_of_a_block_make_it_up(pixels: bytes, each: int, number: int) -> None:
    block = Block(number, 2**40 + 7, MONO8, len(pixels), 1, 0, 0, pixels, each)
    packets = [block.packet(n) for n in range(block.packets)]
    assert b"".join(packet[8:] for packet in packets[1:-1]) == pixels
    heads = [struct.unpack_from(">HHI", packet) for packet in packets]
    assert [word & 0xFFFFFF for _, _, word in heads] == list(range(len(packets)))
    assert [word >> 24 for _, _, word in heads] == [1, *[3] * (len(packets) - 2), 2]
    assert {(status, of) for status, of, _ in heads} == {(0, number)}


# ---- what can be broken


def test_faults(scene: Scene) -> None:
    client = scene.client
    client.take_control()
    client.start()
    scene.camera.inject("refuse", count=1)
    assert client.set("TriggerSoftware", 1) == 0x8007
    scene.camera.inject("skip")
    assert client.set("TriggerSoftware", 1) == 0
    assert client.set("TriggerSoftware", 1) == 0
    assert client.frame()[0]["block"] == 1
    scene.camera.inject("steal")
    assert client.set("TriggerSoftware", 1) == 0x8006
    scene.camera.inject("power-cycle")
    assert client.read(0x0A00, 0x0D00) == [0, 0]
    client.take_control()
    scene.camera.inject("stall")
    client.control.settimeout(0.2)
    client.send(0x0002)
    with pytest.raises(TimeoutError):
        client.answer(0x0002)
    scene.camera.inject("resume")
    assert client.ask(0x0002)[0] == 0
    with pytest.raises(ValueError, match="no fault 'melt'"):
        scene.camera.inject("melt")


def test_it_is_served_with_the_cell_of_its_bench(simulated_bench: Any) -> None:
    bench, client = simulated_bench
    client.learn()
    client.take_control(packet=9000)
    # A corner of it: a socket of this client's takes no whole frame.
    assert client.read(client.address["Width"], client.address["Height"]) == [1600, 1200]
    for name, value in {"Width": 400, "Height": 100, "OffsetX": 600}.items():
        assert client.set(name, value) == 0
    client.start()
    means = []
    for lamp in (False, True):
        bench.lights.lamp = lamp
        assert client.set("TriggerSoftware", 1) == 0
        leader, pixels = client.frame()
        means.append(picture(leader, pixels).mean())
    bench.lights.lamp = False
    assert means[0] < 10
    assert means[1] > 100


@pytest.fixture
def simulated_bench(tmp_path: Path) -> Iterator[Any]:
    from sim_devices.bench import Bench

    bench = Bench(tmp_path, "zn-bare", instruments=("gige_camera",))
    client = Client(bench._instruments["gige_camera"])
    assert (tmp_path / "gige_camera").read_text().startswith("aravis://127.")
    yield bench, client
    client.close()
    bench.close()


def test_a_dummy_has_nothing_to_look_at(tmp_path: Path) -> None:
    from sim_devices.bench import Bench

    with pytest.raises(ValueError, match="nothing for a camera"):
        Bench(tmp_path, "dummy-100ohm", instruments=("gige_camera",))


def test_no_low_bit_makes_another_grey_level() -> None:
    grey = np.full((1200, 1600), 83, dtype=np.uint8)
    for seed in range(3):
        deep = exposed(grey, 5000.0, 0.0, "Mono12", np.random.default_rng(seed))
        assert np.array_equal(deep >> 4, grey)


def test_on_a_bench_it_looks_at_the_cell_where_the_stage_has_carried_it(tmp_path: Path) -> None:
    asked = []

    def carrier() -> Displacement:
        asked.append(1)
        return Displacement(0.0, 0.0, 0.0)

    clock = SimulatedClock()
    truth = Truth(tmp_path)
    wiring = Wiring(
        cell=Cell("zn-bare", seed=1),
        clock=clock,
        truth=truth,
        lights=Lights(clock),
        seed=1,
        prefer_pty=False,
        perfect=True,
        folder=tmp_path,
        whereabouts=Whereabouts(carrier),
    )
    camera, _ = STARTERS["gige_camera"](wiring)  # it takes its size from a first picture
    camera.close()
    truth.close()
    assert asked


def test_a_frame_can_be_told_higher_than_the_sensor(scene: Scene) -> None:
    scene.client.take_control()
    scene.client.start()
    scene.camera.inject("out-of-range")
    heights = []
    for _ in range(2):
        assert scene.client.set("TriggerSoftware", 1) == 0
        heights.append(scene.client.frame()[0]["height"])
    assert heights == [65536, ROWS]
