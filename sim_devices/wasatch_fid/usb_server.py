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

import contextlib
import socket
import struct
import threading
from typing import Protocol

BUSY, NO_DEVICE, STALL, TIMED_OUT = 16, 19, 32, 110
_CONTROL, _BULK_IN, _BULK_OUT, _RESET = 1, 2, 3, 4
_NUMBER = struct.Struct("<I")
_CONTROL_HEADER = struct.Struct("<BBHHHI")
_BULK_IN_HEADER = struct.Struct("<BII")
_LONGEST_REQUEST = 1 << 20
# An owner that was killed is noticed within one slice of a waiting read.
_TAKE_OVER_S = 1.0


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

    def __init__(self, device: UsbDevice, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen.

        Args:
            device: performs the transfers.
            host: address of the interface.
            port: 0 takes a free one.
        """
        self._device = device
        self._owner = threading.Lock()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listener = socket.create_server((host, port))
        self.address = "usb+tcp://{}:{}".format(*self._listener.getsockname()[:2])
        self._acceptor = threading.Thread(target=self._accept, name="usb-accept", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Pull the plug: all connections break."""
        with self._lock:
            self._closed = True
        _hang_up(self._listener)
        self._acceptor.join(5.0)
        self._listener.close()
        self.disconnect()

    def disconnect(self) -> None:
        """Leave the bus and come back: all connections break, new ones are taken."""
        with self._lock:
            connections, threads = list(self._connections), list(self._threads)
        for connection in connections:
            _hang_up(connection)
        for thread in threads:
            thread.join(5.0)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._connections.add(connection)
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                thread = threading.Thread(
                    target=self._serve, args=(connection,), name="usb-transfers", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        owned = self._owner.acquire(timeout=_TAKE_OVER_S)
        try:
            while (request := self._request(connection)) is not None:
                try:
                    if not owned:
                        raise UsbStatus(BUSY)
                    answer = _NUMBER.pack(0) + self._perform(request)
                except UsbStatus as status:
                    answer = _NUMBER.pack(status.status)
                connection.sendall(_NUMBER.pack(len(answer)) + answer)
        except (OSError, struct.error):
            pass  # the peer is gone, or does not speak this language and is hung up on
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()
            if owned:
                self._owner.release()

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


def _hang_up(part: socket.socket) -> None:
    # A peer that was faster is no trouble.
    with contextlib.suppress(OSError):
        part.shutdown(socket.SHUT_RDWR)


def _read(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            return None
        data += part
    return data
