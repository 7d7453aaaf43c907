"""USB transfers over TCP: the side that has the device.

All numbers are little-endian; one request, one answer, in turn.

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
110 timed out.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Protocol

from sim_devices.doors import Door, deliver
from sim_devices.wire_faults import WireFaults

BUSY, NO_DEVICE, STALL, TIMED_OUT = 16, 19, 32, 110
_CONTROL, _BULK_IN, _BULK_OUT, _RESET = 1, 2, 3, 4
_NUMBER = struct.Struct("<I")
_CONTROL_HEADER = struct.Struct("<BBHHHI")
_BULK_IN_HEADER = struct.Struct("<BII")
_LONGEST_REQUEST = 1 << 20
# An owner that was killed is noticed within one slice of a waiting read.
_TAKE_OVER_S = 1.0
_STALL_POLL_S = 0.02


class UsbStatus(Exception):  # noqa: N818 - a stall is an answer, not an error of ours
    """Ends a transfer with a status other than 0."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class UsbDevice(Protocol):
    """What a device does with transfers; called from the server's threads, one at a time."""

    def control(
        self, request_type: int, request: int, value: int, index: int, length: int, data: bytes
    ) -> bytes:
        """Perform a control transfer; return the data of the direction in."""

    def bulk_in(self, endpoint: int, length: int, timeout_s: float) -> bytes:
        """Return what is at an endpoint, once there is something; raises UsbStatus."""

    def reset(self) -> None:
        """Perform a bus reset."""


class UsbServer:
    """Listens on TCP for whoever wants the device; one owner at a time."""

    def __init__(
        self,
        device: UsbDevice,
        broken: WireFaults | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Listen.

        Args:
            device: performs the transfers.
            broken: faults of the wire; None: it has none.
            host: address of the interface.
            port: 0 takes a free one.
        """
        self._device = device
        self._broken = broken or WireFaults()
        self._owner = threading.Lock()
        self._door = Door(self._serve, self._broken, name="usb", host=host, port=port)
        self.address = f"usb+tcp://{self._door.host}:{self._door.port}"

    def close(self) -> None:
        """Pull the plug: all connections break."""
        self._door.close()

    def disconnect(self) -> None:
        """Leave the bus and come back when the wire is there: connections break."""
        self._door.shut()

    def _serve(self, connection: socket.socket) -> None:
        owned = self._owner.acquire(timeout=_TAKE_OVER_S)
        try:
            while (request := self._request(connection)) is not None:
                try:
                    if not owned:
                        raise UsbStatus(BUSY)
                    self._wait_out_a_stall(request)
                    answer = _NUMBER.pack(0) + self._perform(request)
                except UsbStatus as status:
                    answer = _NUMBER.pack(status.status)
                framed = _NUMBER.pack(len(answer)) + answer
                deliver(connection, framed, self._broken, stalls=False)
        except struct.error:
            pass  # the peer does not speak this language and is hung up on
        finally:
            if owned:
                self._owner.release()

    def _wait_out_a_stall(self, request: bytes) -> None:
        """Let a transfer time out that a device does not answer."""
        header = {_CONTROL: _CONTROL_HEADER, _BULK_IN: _BULK_IN_HEADER}.get(request[0])
        if header is None or not self._broken.lasts("stall"):
            return
        ends = time.monotonic() + header.unpack_from(request, 1)[-1] / 1e3
        while self._broken.lasts("stall") and not self._broken.stopped:
            if time.monotonic() >= ends:
                raise UsbStatus(TIMED_OUT)
            time.sleep(_STALL_POLL_S)

    def _request(self, connection: socket.socket) -> bytes | None:
        header = _read(connection, _NUMBER.size)
        if header is None:
            return None
        (length,) = _NUMBER.unpack(header)
        if not 1 <= length <= _LONGEST_REQUEST:
            return None
        return _read(connection, length)

    def _perform(self, request: bytes) -> bytes:
        kind, rest = request[0], request[1:]
        if kind == _CONTROL:
            request_type, code, value, index, length, _ = _CONTROL_HEADER.unpack_from(rest)
            data = rest[_CONTROL_HEADER.size :]
            answer = self._device.control(request_type, code, value, index, length, data)
            return answer[:length] if request_type & 0x80 else _NUMBER.pack(len(data))
        if kind == _BULK_IN:
            endpoint, length, timeout_ms = _BULK_IN_HEADER.unpack(rest)
            return self._device.bulk_in(endpoint, length, timeout_ms / 1e3)
        if kind == _RESET:
            self._device.reset()
            return b""
        raise UsbStatus(STALL)  # this device has no endpoint for data going out


def _read(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            return None
        data += part
    return data
