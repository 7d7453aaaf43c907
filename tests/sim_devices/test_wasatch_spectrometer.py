"""The simulated spectrometer, asked as the manual says, without any driver."""

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.spectrum import RamanScene
from sim_devices.truth import Truth, read_truth
from sim_devices.wasatch_fid import Calibration, WasatchSpectrometer, serve
from sim_devices.wasatch_fid.usb_server import (
    BUSY,
    NO_DEVICE,
    STALL,
    TIMED_OUT,
    UsbServer,
    UsbStatus,
)

OUT, IN = 0x40, 0xC0


@pytest.fixture
def clock() -> Iterator[SimulatedClock]:
    clock = SimulatedClock()
    yield clock
    clock.close()


@pytest.fixture
def lights(clock: SimulatedClock) -> Lights:
    return Lights(clock)


@pytest.fixture
def device(clock: SimulatedClock, lights: Lights, tmp_path: Path) -> Iterator[WasatchSpectrometer]:
    with Truth(tmp_path) as truth:
        device = serve(RamanScene(Cell("zn-bare"), 1), clock, truth, lights)
        yield device
        device.close()


def put(device: WasatchSpectrometer, request: int, value: int = 0, index: int = 0) -> None:
    assert device.control(OUT, request, value, index, 0, b"") == b""


def get(device: WasatchSpectrometer, request: int, value: int = 0, index: int = 0) -> bytes:
    return device.control(IN, request, value, index, 64, b"")


def spectrum(device: WasatchSpectrometer) -> np.ndarray:
    put(device, 0xAD)
    data = b"".join(device.bulk_in(endpoint, 2048, 5.0) for endpoint in (0x82, 0x86))
    return np.frombuffer(data, "<u2").astype(float)


def status_of(device: WasatchSpectrometer, *transfer: object) -> int:
    with pytest.raises(UsbStatus) as caught:
        device.control(*transfer)  # type: ignore[arg-type]  # as they come
    return caught.value.status


def test_the_memory_is_laid_out_as_the_maker_says(device: WasatchSpectrometer) -> None:
    pages = [get(device, 0xFF, 0x01, page) for page in range(9)]
    assert {len(page) for page in pages} == {64}
    assert pages[0][:16].rstrip(b"\0") == b"WP-532-C"
    assert pages[0][16:32].rstrip(b"\0") == b"SIM-00532"
    assert pages[0][63] == 15
    assert struct.unpack_from("<f", pages[3], 36) == (532.0,)
    assert struct.unpack_from("<H", pages[2], 16) == (2048,)
    assert status_of(device, IN, 0xFF, 0x01, 9, 64, b"") == STALL


def test_the_axis_covers_the_bands_from_150_to_3890() -> None:
    axis = Calibration().wavenumber_cm1()
    assert axis.shape == (2048,)
    assert axis[0] <= 150
    assert axis[-1] >= 3890
    assert np.all(np.diff(axis) > 0)


def test_what_is_set_is_read_back(device: WasatchSpectrometer) -> None:
    put(device, 0xB2, 0x1234, 0x02)
    assert get(device, 0xBF) == b"\x34\x12\x02"
    put(device, 0xC7, 1000)
    put(device, 0xDB, 417)
    put(device, 0xBD, 1)
    assert get(device, 0xCB) == (1000).to_bytes(5, "little")
    assert get(device, 0xDC) == (417).to_bytes(5, "little")
    assert get(device, 0xE3) == b"\x01"
    assert get(device, 0xC0) == bytes([12, 0, 0, 10])
    assert get(device, 0xB4) == b"027-012"


def test_two_converters_read_the_laser(device: WasatchSpectrometer) -> None:
    thermistor = int.from_bytes(get(device, 0xD5), "little")
    volts = 2.5 * thermistor / 4096
    assert 21450 * volts / (2.5 - volts) == pytest.approx(10_000, rel=1e-3)  # ohm at 25 C
    put(device, 0xED, 1)
    assert (get(device, 0xEE), get(device, 0xD5)) == (b"\x01", b"\0\0")
    put(device, 0xBE, 1)
    assert get(device, 0xD5) == b"\xff\x0f"
    put(device, 0xED, 0)
    assert int.from_bytes(get(device, 0xD5), "little") == thermistor


@pytest.mark.parametrize("transfer", [(OUT, 0x99), (IN, 0x99), (IN, 0xBE), (0x80, 0x0A)])
def test_what_the_manual_does_not_know_stalls(
    device: WasatchSpectrometer, transfer: tuple[int, int]
) -> None:
    assert status_of(device, *transfer, 0, 0, 64, b"") == STALL


def test_the_laser_shines_at_its_duty_cycle_and_holds_the_clock(
    device: WasatchSpectrometer, lights: Lights, clock: SimulatedClock, tmp_path: Path
) -> None:
    put(device, 0xC7, 1000)
    put(device, 0xDB, 250)
    put(device, 0xBD, 1)
    assert lights.laser_mw == 0
    put(device, 0xBE, 1)
    assert lights.laser_mw == 30.0
    assert clock.open_exchanges == ("laser",)
    assert get(device, 0xFF, 0x0D) == b"\x01"
    put(device, 0xBD, 0)
    assert lights.laser_mw == 120.0
    put(device, 0xBE, 0)
    assert lights.laser_mw == 0.0
    assert clock.open_exchanges == ()
    told = [line["power_mw"] for line in read_truth(tmp_path, "raman")]
    assert told == [30.0, 120.0, 0.0]


def test_an_open_interlock_takes_the_laser_away_and_gives_it_back(
    device: WasatchSpectrometer, lights: Lights
) -> None:
    put(device, 0xBE, 1)
    device.inject("open-interlock")
    assert lights.laser_mw == 0
    assert (get(device, 0xEF), get(device, 0xE2), get(device, 0xFF, 0x0D)) == (b"\0", b"\1", b"\0")
    device.inject("close-interlock")
    assert lights.laser_mw == 120.0


def test_a_laser_that_refuses_stays_off(device: WasatchSpectrometer, lights: Lights) -> None:
    device.inject("laser-refuses")
    put(device, 0xBE, 1)
    assert lights.laser_mw == 0
    assert get(device, 0xE2) == b"\0"


def test_a_spectrum_takes_its_integration_time_and_shows_the_cell(
    device: WasatchSpectrometer, clock: SimulatedClock
) -> None:
    put(device, 0xB2, 200)
    started = clock.now()
    dark = spectrum(device)
    assert clock.now() - started >= 0.2
    assert abs(np.median(dark) - 100) < 3
    put(device, 0xBE, 1)
    light = spectrum(device) - dark
    axis = device.calibration.wavenumber_cm1()
    near = (axis > 900) & (axis < 1060)
    assert axis[near][light[near].argmax()] == pytest.approx(981, abs=2.5)
    assert light[near].max() > 2000


def test_a_lamp_that_is_on_shows_in_the_dark(device: WasatchSpectrometer, lights: Lights) -> None:
    put(device, 0xB2, 500)
    lights.lamp = True
    assert np.median(spectrum(device)) > 250
    lights.lamp = False


def test_a_laser_on_for_half_the_time_gives_half_the_light(
    device: WasatchSpectrometer, tmp_path: Path
) -> None:
    put(device, 0xB2, 400)
    put(device, 0xBE, 1)
    ended: list[float] = []

    def switch_off() -> None:
        put(device, 0xBE, 0)
        ended.append(time.monotonic())

    off = threading.Timer(0.2, switch_off)
    began = time.monotonic()
    off.start()
    spectrum(device)
    off.join()
    # Laser and spectrum are written down by threads of their own, in either order.
    exposures: list[dict[str, object]] = []
    until = time.monotonic() + 50
    while not exposures and time.monotonic() < until:
        events = read_truth(tmp_path, "raman")
        exposures = [event for event in events if event["event"] == "spectrum"]
    exposure = exposures[-1]
    # 24 mJ in 0.2 s; a computer that is slow lets it shine for longer.
    expected_mj = 120.0 * min(0.4, ended[0] - began)
    assert exposure["laser_mj"] == pytest.approx(expected_mj, rel=0.3)


def test_nothing_comes_without_a_request_or_with_an_external_trigger(
    device: WasatchSpectrometer,
) -> None:
    put(device, 0xB2, 1)
    put(device, 0xD2, 1)
    put(device, 0xAD)
    with pytest.raises(UsbStatus) as caught:
        device.bulk_in(0x82, 2048, 0.2)
    assert caught.value.status == TIMED_OUT
    with pytest.raises(UsbStatus) as caught:
        device.bulk_in(0x84, 2048, 0.2)
    assert caught.value.status == STALL


def test_a_reset_forgets_spectra_and_keeps_the_laser_as_it_is(
    device: WasatchSpectrometer, lights: Lights
) -> None:
    put(device, 0xB2, 1)
    put(device, 0xBE, 1)
    put(device, 0xAD)
    time.sleep(0.1)
    device.reset()
    with pytest.raises(UsbStatus):
        device.bulk_in(0x82, 2048, 0.05)
    assert lights.laser_mw > 0


def test_the_cooler_cools(device: WasatchSpectrometer) -> None:
    before = int.from_bytes(get(device, 0xD7), "big")
    put(device, 0xD8, 3500)
    put(device, 0xD6, 1)
    time.sleep(0.5)
    assert int.from_bytes(get(device, 0xD7), "big") > before


def test_an_unknown_fault_is_an_error(device: WasatchSpectrometer) -> None:
    with pytest.raises(ValueError, match="no fault 'explode'"):
        device.inject("explode")


def test_closing_switches_the_laser_off(device: WasatchSpectrometer, lights: Lights) -> None:
    put(device, 0xBE, 1)
    device.close()
    assert lights.laser_mw == 0


class Echo:
    def control(self, kind: int, code: int, v: int, i: int, length: int, data: bytes) -> bytes:
        return bytes([code, v, i]) + data

    def bulk_in(self, endpoint: int, length: int, timeout_s: float) -> bytes:
        raise UsbStatus(TIMED_OUT)

    def reset(self) -> None: ...


def ask(address: str, *requests: bytes) -> list[bytes]:
    import socket

    host, port = address.removeprefix("usb+tcp://").split(":")
    answers = []
    with (
        socket.create_connection((host, int(port)), 5) as connection,
        connection.makefile("rb") as file,
    ):
        for request in requests:
            connection.sendall(struct.pack("<I", len(request)) + request)
            header = file.read(4)
            answers.append(file.read(*struct.unpack("<I", header)) if header else b"")
    return answers


def test_the_server_frames_transfers_and_hangs_up_on_garbage() -> None:
    server = UsbServer(Echo())
    control_in = struct.pack("<BBBHHHI", 1, IN, 7, 8, 9, 2, 100)
    control_out = struct.pack("<BBBHHHI", 1, OUT, 7, 8, 9, 3, 100) + b"abc"
    bulk = struct.pack("<BBII", 2, 0x82, 64, 10)
    assert ask(server.address, control_in, control_out, bulk, b"\x03\x01\0\0\0\0", b"\x04") == [
        b"\0\0\0\0\x07\x08",
        b"\0\0\0\0\x03\0\0\0",
        struct.pack("<I", TIMED_OUT),
        struct.pack("<I", STALL),
        b"\0\0\0\0",
    ]
    assert ask(server.address, b"\x01\x02") == [b""]
    server.close()


def test_the_server_has_one_owner_at_a_time() -> None:
    server = UsbServer(Echo())
    request = struct.pack("<BBBHHHI", 1, IN, 7, 8, 9, 2, 100)
    import socket

    host, port = server.address.removeprefix("usb+tcp://").split(":")
    with socket.create_connection((host, int(port)), 5) as owner:
        owner.sendall(struct.pack("<I", len(request)) + request)
        owner.recv(100)
        assert ask(server.address, request) == [struct.pack("<I", BUSY)]
    assert ask(server.address, request) == [b"\0\0\0\0\x07\x08"]
    server.close()


def test_spectra_can_be_cut_short_or_never_come_and_a_device_can_leave(
    device: WasatchSpectrometer,
) -> None:
    device.inject("drop-bytes", bytes=100)
    put(device, 0xAD)
    sizes = [len(device.bulk_in(endpoint, 2048, 5.0)) for endpoint in (0x82, 0x86)]
    assert sizes == [1948, 2048]
    device.inject("drop")
    put(device, 0xAD)
    with pytest.raises(UsbStatus) as caught:
        device.bulk_in(0x82, 2048, 0.3)
    assert caught.value.status == TIMED_OUT
    assert spectrum(device).shape == (2048,)
    leaving = threading.Timer(0.1, device.inject, ["disconnect"], {"seconds": 0.01})
    leaving.start()
    with pytest.raises(UsbStatus) as caught:
        device.bulk_in(0x82, 2048, 60.0)
    assert caught.value.status == NO_DEVICE
    leaving.join()
    assert spectrum(device).shape == (2048,)  # it was not reset
