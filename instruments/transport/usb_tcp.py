"""USB transfers over TCP: a pyusb backend for a device behind ``usb+tcp://host:port``.

The driver's library speaks to pyusb as always; pyusb is given this backend instead of libusb's.
Whoever listens at the address performs the transfers: a computer with the device plugged in, or a
simulator. All numbers are little-endian; one request, one answer, in turn.

Request::

    u32 length of what follows | u8 kind | ...
    kind 1, control:  u8 bmRequestType | u8 bRequest | u16 wValue | u16 wIndex | u16 wLength
                      | u32 timeout in ms | data, if the direction is out
    kind 2, bulk in:  u8 endpoint | u32 length | u32 timeout in ms
    kind 3, bulk out: u8 endpoint | u32 timeout in ms | data
    kind 4, reset

Answer::

    u32 length of what follows | u32 status | data that came in, or u32 number of bytes taken

The status is 0 or an errno of Linux: 16 somebody else has the device, 19 it is gone, 32 stall,
110 timed out. Descriptors travel as the standard's own control transfers (GET_DESCRIPTOR), so the
peer needs nothing beyond what a device does.
"""

import array
import errno
import functools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Self
from urllib.parse import urlsplit

import usb.backend
import usb.core
import usb.util

from instruments.errors import TransportError
from instruments.forked import keep_from_children, lead_nowhere

CONTROL, BULK_IN, BULK_OUT, RESET = 1, 2, 3, 4
_CONTROL_HEADER = struct.Struct("<BBBHHHI")
_BULK_IN = struct.Struct("<BBII")
_BULK_OUT_HEADER = struct.Struct("<BBI")
_NUMBER = struct.Struct("<I")

# A read that waits for a spectrum asks this often, so that the laser can be switched off meanwhile.
SLICE_MS = 50
# What the peer may take beyond a transfer's own timeout.
MARGIN_S = 5.0
_FOR_EVER_MS = 0xFFFFFFFF
_LARGEST = 1 << 24

_GET_DESCRIPTOR, _SET_CONFIGURATION = 0x06, 0x09
_DEVICE, _CONFIGURATION, _INTERFACE, _ENDPOINT = 1, 2, 4, 5

# What pyusb wants of a descriptor, in the order of the USB specification (2.0, section 9.6).
_DESCRIPTORS = {
    _DEVICE: (
        struct.Struct("<BBHBBBBHHHBBBB"),
        "bLength bDescriptorType bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol "
        "bMaxPacketSize0 idVendor idProduct bcdDevice iManufacturer iProduct iSerialNumber "
        "bNumConfigurations",
    ),
    _CONFIGURATION: (
        struct.Struct("<BBHBBBBB"),
        "bLength bDescriptorType wTotalLength bNumInterfaces bConfigurationValue iConfiguration "
        "bmAttributes bMaxPower",
    ),
    _INTERFACE: (
        struct.Struct("<BBBBBBBBB"),
        "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass "
        "bInterfaceSubClass bInterfaceProtocol iInterface",
    ),
    _ENDPOINT: (
        struct.Struct("<BBBBHB"),
        "bLength bDescriptorType bEndpointAddress bmAttributes wMaxPacketSize bInterval",
    ),
}


def _descriptor(data: bytes, kind: int, **more: Any) -> SimpleNamespace:
    layout, names = _DESCRIPTORS[kind]
    if len(data) < layout.size or data[1] != kind:
        raise _malformed(f"{data[:40]!r} for a descriptor of {layout.size} bytes, kind {kind}")
    values = zip(names.split(), layout.unpack_from(data), strict=True)
    return SimpleNamespace(**dict(values), **more)


def _malformed(came: str) -> Exception:
    error: Exception = usb.core.USBError(
        f"the device's answer is damaged: {came}", None, errno.EPROTO
    )
    return error


class _Connection:
    """One socket and its transfers; callable from any thread."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        url = urlsplit(address)
        try:
            host, port = url.hostname, url.port
        except ValueError as error:
            raise TransportError(f"{address}: {error}") from error
        if url.scheme != "usb+tcp" or host is None or port is None:
            raise TransportError(f"{address}: write it as usb+tcp://host:port")
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise TransportError(
                f"{address}: cannot connect ({error}): is the device's server or the simulator "
                "running? (`operando sim`)"
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._one_transfer = threading.Lock()
        self._broken: str | None = None
        keep_from_children(self)

    def let_go_in_child(self) -> None:
        """Leave the connection to the parent: in a forked child it is closed."""
        self._broken = "it belongs to the process that forked this one"
        lead_nowhere(self._socket.fileno())

    def transfer(self, request: bytes, timeout_ms: int) -> bytes:
        """Send one request, return the data of its answer; raises USBError."""
        with self._one_transfer:
            if self._broken is not None:
                raise self._gone(self._broken)
            try:
                self._socket.settimeout(timeout_ms / 1e3 + MARGIN_S)
                self._socket.sendall(_NUMBER.pack(len(request)) + request)
                (length,) = _NUMBER.unpack(self._read(_NUMBER.size))
                if not _NUMBER.size <= length <= _LARGEST:
                    raise ConnectionError(f"an answer of {length} bytes was announced")
                answer = self._read(length)
            except OSError as error:
                # After half an answer the next one could not be found: the connection is over.
                self._broken = str(error) or type(error).__name__
                self._socket.close()
                raise self._gone(self._broken) from error
        (status,) = _NUMBER.unpack_from(answer)
        if status:
            kind = usb.core.USBTimeoutError if status == errno.ETIMEDOUT else usb.core.USBError
            reason = (
                "stall, the request is refused"
                if status == errno.EPIPE
                else os.strerror(status)
                if status in errno.errorcode
                else f"status {status}, which is none"
            )
            raise kind(f"{self.address}: {reason}", None, status)
        return answer[_NUMBER.size :]

    def close(self) -> None:
        self._broken = self._broken or "it was closed"
        self._socket.close()

    def _gone(self, reason: str) -> Exception:
        error: Exception = usb.core.USBError(
            f"{self.address}: the device is gone ({reason})", None, errno.ENODEV
        )
        return error

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._socket.recv(size)
            if not part:
                raise ConnectionError("the other side closed the connection")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class _RemoteDevice:
    """What this backend calls a device and its handle."""


def _or_real(method: Callable[..., Any]) -> Callable[..., Any]:
    """Send calls for devices that are not ours to the real backend."""

    @functools.wraps(method)
    def chosen(self: "UsbTcpBackend", device: Any, *arguments: Any) -> Any:
        if isinstance(device, _RemoteDevice):
            return method(self, *arguments)
        return getattr(self.real, method.__name__)(device, *arguments)

    return chosen


class UsbTcpBackend(usb.backend.IBackend):
    """A pyusb backend with one device behind TCP, first, and those of ``real`` after it.

    Interrupt and isochronous transfers are not forwarded. Every failed transfer is a
    ``usb.core.USBError``; a peer that is gone has ``errno.ENODEV`` at once and ever after.

    Args:
        address: ``usb+tcp://host:port``.
        real: backend for everything else, such as ``usb.backend.libusb1.get_backend()``.
        timeout_s: for connecting.

    Raises:
        TransportError: nobody listens there, or the address is not one.
    """

    # Where pyusb finds the device; real buses count from 1.
    BUS, ADDRESS = 0, 1

    def __init__(
        self, address: str, *, real: "usb.backend.IBackend | None" = None, timeout_s: float = 5.0
    ) -> None:
        self.real = real
        self._connection = _Connection(address, timeout_s)
        self._device = _RemoteDevice()
        self._descriptors: dict[tuple[int, int], bytes] = {}

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- descriptors

    def enumerate_devices(self) -> Iterator[Any]:
        yield self._device
        if self.real is not None:
            yield from self.real.enumerate_devices()

    @_or_real
    def get_parent(self) -> None:
        return None

    @_or_real
    def get_device_descriptor(self) -> Any:
        return _descriptor(
            self._get_descriptor(_DEVICE, 0, 18),
            _DEVICE,
            bus=self.BUS,
            address=self.ADDRESS,
            port_number=None,
            port_numbers=None,
            speed=None,
        )

    @_or_real
    def get_configuration_descriptor(self, configuration: int) -> Any:
        return _descriptor(
            self._configuration(configuration)[0], _CONFIGURATION, extra_descriptors=[]
        )

    @_or_real
    def get_interface_descriptor(self, interface: int, alternate: int, configuration: int) -> Any:
        return _descriptor(
            self._interface(interface, alternate, configuration)[0],
            _INTERFACE,
            extra_descriptors=[],
        )

    @_or_real
    def get_endpoint_descriptor(
        self, endpoint: int, interface: int, alternate: int, configuration: int
    ) -> Any:
        try:
            one = self._interface(interface, alternate, configuration)[1:][endpoint]
        except IndexError as error:
            raise _malformed(f"there is no endpoint {endpoint} in it ({error})") from error
        return _descriptor(one, _ENDPOINT, bRefresh=0, bSynchAddress=0, extra_descriptors=[])

    def _get_descriptor(self, kind: int, index: int, length: int) -> bytes:
        if (kind, index) not in self._descriptors:
            request = _CONTROL_HEADER.pack(
                CONTROL, 0x80, _GET_DESCRIPTOR, kind << 8 | index, 0, length, 1000
            )
            self._descriptors[kind, index] = self._connection.transfer(request, 1000)
        return self._descriptors[kind, index]

    def _configuration(self, index: int) -> list[bytes]:
        """Return the configuration's descriptor and all that follow it, one by one."""
        if index > 0:
            raise IndexError(f"no configuration {index}")
        data, parts = self._get_descriptor(_CONFIGURATION, index, 4096), []
        while data:
            parts.append(data[: data[0]])
            if len(parts[-1]) < max(2, data[0]):
                raise _malformed(f"{data[:40]!r} where a descriptor begins")
            data = data[data[0] :]
        if not parts:
            raise _malformed("a configuration of no bytes")
        return parts

    def _interface(self, interface: int, alternate: int, configuration: int) -> list[bytes]:
        """Return the interface's descriptor and its endpoints'."""
        found: list[bytes] = []
        for part in self._configuration(configuration)[1:]:
            if part[1] == _INTERFACE:
                if found:
                    break
                if (part[2], part[3]) == (interface, alternate):
                    found = [part]
            elif part[1] == _ENDPOINT and found:
                found.append(part)
        if not found:
            raise IndexError(f"no interface {interface}, alternate setting {alternate}")
        return found

    # -- states

    @_or_real
    def open_device(self) -> Any:
        return self._device

    @_or_real
    def close_device(self) -> None:
        """Do nothing: the connection is the backend's, which outlives pyusb's handles."""

    @_or_real
    def set_configuration(self, value: int) -> None:
        self._control(0x00, _SET_CONFIGURATION, value, 0, b"", 0, 1000)

    @_or_real
    def get_configuration(self) -> int:
        return int(_descriptor(self._configuration(0)[0], _CONFIGURATION).bConfigurationValue)

    @_or_real
    def set_interface_altsetting(self, interface: int, alternate: int) -> None:
        """Do nothing: there is one."""

    @_or_real
    def claim_interface(self, interface: int) -> None:
        """Do nothing: who is connected has the device alone."""

    @_or_real
    def release_interface(self, interface: int) -> None:
        """Do nothing, as for claiming."""

    @_or_real
    def is_kernel_driver_active(self, interface: int) -> bool:
        return False

    @_or_real
    def reset_device(self) -> None:
        self._connection.transfer(bytes([RESET]), 1000)

    # -- transfers

    @_or_real
    def ctrl_transfer(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: "array.array[int]",
        timeout: int,
    ) -> int:
        if not request_type & usb.util.ENDPOINT_IN:
            out = data.tobytes()
            self._control(request_type, request, value, index, out, 0, timeout)
            return len(out)
        answer = self._control(request_type, request, value, index, b"", len(data), timeout)
        return _fill(data, answer)

    @_or_real
    def bulk_read(
        self, endpoint: int, interface: int, buffer: "array.array[int]", timeout: int
    ) -> int:
        deadline = time.monotonic() + (timeout or _FOR_EVER_MS) / 1e3
        while True:
            left_ms = max(int((deadline - time.monotonic()) * 1e3), 1)
            slice_ms = min(left_ms, SLICE_MS)
            try:
                data = self._connection.transfer(
                    _BULK_IN.pack(BULK_IN, endpoint, len(buffer), slice_ms), slice_ms
                )
            except usb.core.USBTimeoutError:
                if time.monotonic() >= deadline:
                    raise
                # Who waits for the connection gets it now: a lock alone is not fair.
                time.sleep(1e-3)
            else:
                return _fill(buffer, data)

    @_or_real
    def bulk_write(
        self, endpoint: int, interface: int, data: "array.array[int]", timeout: int
    ) -> int:
        header = _BULK_OUT_HEADER.pack(BULK_OUT, endpoint, timeout)
        answer = self._connection.transfer(header + data.tobytes(), timeout)
        taken = int.from_bytes(answer, "little")
        if len(answer) != _NUMBER.size or taken > len(data):
            raise _malformed(f"{answer[:40]!r} for how many of {len(data)} bytes it took")
        return taken

    def _control(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        out: bytes,
        length: int,
        timeout: int,
    ) -> bytes:
        header = _CONTROL_HEADER.pack(
            CONTROL, request_type, request, value, index, length or len(out), timeout
        )
        return self._connection.transfer(header + out, timeout)


def _fill(buffer: "array.array[int]", data: bytes) -> int:
    data = data[: len(buffer)]
    buffer[: len(data)] = array.array("B", data)
    return len(data)
