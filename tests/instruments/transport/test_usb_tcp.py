"""The USB backend against a server of the same framing that breaks in every way."""

import contextlib
import errno
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
import usb.backend
import usb.core
import usb.util

from instruments.errors import TransportError
from instruments.transport.usb_tcp import UsbTcpBackend
from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.spectrum import RamanScene
from sim_devices.wasatch_fid import WasatchSpectrometer


@pytest.fixture
def spectrometer() -> Iterator[WasatchSpectrometer]:
    clock = SimulatedClock()
    device = WasatchSpectrometer(RamanScene(Cell("zn-bare"), seed=1), clock, Lights(clock))
    yield device
    device.close()
    clock.close()


@pytest.fixture
def backend(spectrometer: WasatchSpectrometer) -> Iterator[UsbTcpBackend]:
    with UsbTcpBackend(spectrometer.address) as backend:
        yield backend


def find(backend: UsbTcpBackend) -> usb.core.Device:
    device = usb.core.find(backend=backend, idVendor=0x24AA)
    device.set_configuration()
    return device


class Elsewhere(usb.backend.IBackend):
    """Another bus with one device on it."""

    def enumerate_devices(self) -> Iterator[str]:
        yield "a device"

    def get_parent(self, device: str) -> str:
        return f"the parent of {device}"


def test_pyusb_finds_the_device_and_its_endpoints(backend: UsbTcpBackend) -> None:
    device = find(backend)
    assert (device.idVendor, device.idProduct) == (0x24AA, 0x1000)
    assert (device.bus, device.address) == (UsbTcpBackend.BUS, UsbTcpBackend.ADDRESS)
    interface = device.get_active_configuration()[(0, 0)]
    assert [endpoint.bEndpointAddress for endpoint in interface] == [0x82, 0x86]
    with pytest.raises(IndexError):
        backend.get_configuration_descriptor(backend._device, 1)
    with pytest.raises(IndexError):
        backend.get_interface_descriptor(backend._device, 1, 0, 0)


def test_control_and_bulk_transfers_pass(backend: UsbTcpBackend) -> None:
    device = find(backend)
    device.ctrl_transfer(0x40, 0xB2, 30, 0, 0)  # integration time
    assert bytes(device.ctrl_transfer(0xC0, 0xBF, 0, 0, 3)) == b"\x1e\x00\x00"
    device.ctrl_transfer(0x40, 0xAD, 0, 0, 0)  # acquire
    assert len(device.read(0x82, 2048, timeout=2000)) == 2048
    assert len(device.read(0x86, 1000, timeout=2000)) == 1000
    assert len(device.read(0x86, 2000, timeout=2000)) == 1048


def test_an_unknown_request_is_a_stall_and_the_next_one_works(backend: UsbTcpBackend) -> None:
    device = find(backend)
    with pytest.raises(usb.core.USBError, match="stall") as caught:
        device.ctrl_transfer(0xC0, 0x77, 0, 0, 1)
    assert caught.value.errno == errno.EPIPE
    assert bytes(device.ctrl_transfer(0xC0, 0xE2, 0, 0, 1)) == b"\x00"


def test_a_read_of_nothing_times_out(backend: UsbTcpBackend) -> None:
    started = time.monotonic()
    with pytest.raises(usb.core.USBTimeoutError) as caught:
        find(backend).read(0x82, 2048, timeout=120)
    assert caught.value.errno == errno.ETIMEDOUT
    assert time.monotonic() - started >= 0.12


def test_a_control_transfer_passes_while_a_read_waits(
    backend: UsbTcpBackend, spectrometer: WasatchSpectrometer
) -> None:
    device = find(backend)

    def read() -> None:
        with contextlib.suppress(usb.core.USBError):
            device.read(0x82, 2048, timeout=600_000)

    reading = threading.Thread(target=read)
    reading.start()
    for _ in range(5):
        device.ctrl_transfer(0x40, 0xBE, 0, 0, 0)
    assert reading.is_alive()
    spectrometer.inject("unplug")
    reading.join()


def test_unplugging_is_an_error_at_once_and_ever_after(
    backend: UsbTcpBackend, spectrometer: WasatchSpectrometer
) -> None:
    device = find(backend)
    threading.Timer(0.2, spectrometer.inject, ["unplug"]).start()
    for _ in range(2):
        with pytest.raises(usb.core.USBError, match="device is gone") as caught:
            device.read(0x82, 2048, timeout=60_000)
        assert caught.value.errno == errno.ENODEV


def test_who_comes_second_is_told_that_it_is_busy(
    backend: UsbTcpBackend, spectrometer: WasatchSpectrometer
) -> None:
    with UsbTcpBackend(spectrometer.address) as second:
        with pytest.raises(usb.core.USBError) as caught:
            find(second)
        assert caught.value.errno == errno.EBUSY
    assert find(backend)


def test_other_devices_go_to_the_real_backend(spectrometer: WasatchSpectrometer) -> None:
    with UsbTcpBackend(spectrometer.address, real=Elsewhere()) as backend:
        ours, other = backend.enumerate_devices()
        assert backend.get_parent(ours) is None
        assert backend.get_parent(other) == "the parent of a device"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "usb+tcp://nowhere", "usb+tcp://x:y"])
def test_a_wrong_address_is_told(address: str) -> None:
    with pytest.raises(TransportError, match=r"usb\+tcp|port"):
        UsbTcpBackend(address)


def test_nobody_listening_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match="cannot connect"):
        UsbTcpBackend("usb+tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    "answer", [b"", b"\x04\x00", struct.pack("<I", 2) + b"xx", struct.pack("<I", 0x7FFFFFFF)]
)
def test_garbage_from_the_peer_ends_the_connection(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def misbehave() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        peer = threading.Thread(target=misbehave)
        peer.start()
        with UsbTcpBackend(f"usb+tcp://127.0.0.1:{server.getsockname()[1]}") as backend:
            for _ in range(2):
                with pytest.raises(usb.core.USBError, match="device is gone"):
                    find(backend)
        peer.join()
