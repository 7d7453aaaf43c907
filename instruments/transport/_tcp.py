"""Instruments on a TCP socket."""

import select
import socket
from collections.abc import Iterable

from instruments.errors import TransportError
from instruments.transport._buffered import BufferedTransport

_WHAT_TO_DO = "is the instrument switched on and its network cable plugged in? Is this its address?"


class TcpTransport(BufferedTransport):
    """Own one TCP connection; the peer's end of file is an error at once.

    TCP_NODELAY is set: without it a write after a write waits 40 ms for an acknowledgement.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        terminator: bytes = b"\n",
        address: str | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        super().__init__(address or f"tcp://{host}:{port}", terminator)
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout_s)
        except OSError as error:
            raise TransportError(
                f"{self.address}: cannot connect ({error}): is the instrument on, and is nobody "
                "else connected to it?"
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _receive(self, timeout_s: float) -> bytes:
        try:
            # select, not settimeout: a timeout of the socket would also be the writer's.
            readable, _, _ = select.select([self._socket], [], [], timeout_s)
            if not readable:
                return b""
            data = self._socket.recv(65536)
        except (OSError, ValueError) as error:
            self._must_be_open()
            raise TransportError(
                f"{self.address}: the connection broke ({error}): {_WHAT_TO_DO}"
            ) from error
        if not data:
            self._must_be_open()
            raise TransportError(
                f"{self.address}: the other side closed the connection: {_WHAT_TO_DO}"
            )
        return data

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise TransportError(
                f"{self.address}: the connection broke while writing {data[:80]!r} ({error}): "
                f"{_WHAT_TO_DO}"
            ) from error

    def _wake(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # Already broken: a reader has been woken by that.
            return

    def _descriptors(self) -> Iterable[int]:
        opened = getattr(self, "_socket", None)  # none while it is being connected
        return () if opened is None else (opened.fileno(),)

    def _release(self) -> None:
        self._socket.close()
