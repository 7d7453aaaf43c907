"""TCP doors of simulated instruments: they can be shut and opened again, at the same port.

`Door` serves each connection in a thread of its own; `deliver` sends a frame as the faults of its
wire have it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable

from sim_devices.wire_faults import WireFaults

_JOIN_S = 5.0
_AGAIN_S = 0.005


class Door:
    """Listens, and serves whoever comes, until `close`."""

    def __init__(
        self,
        serve: Callable[[socket.socket], None],
        broken: WireFaults,
        *,
        name: str,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Listen.

        Args:
            serve: called in a thread for each connection, which is closed when it returns.
            broken: faults of the wire.
            name: of the threads.
            host: address of the interface.
            port: 0 takes a free one.
        """
        self._serve, self._broken, self._name = serve, broken, name
        self._changed = threading.Condition()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._closed = self._shut = False
        self._listener = socket.create_server((host, port))
        self.host, self.port = self._listener.getsockname()[:2]
        self._acceptor = threading.Thread(target=self._accept, name=f"{name}-door", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Listen no more, and break all connections; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            _wake(self._listener)
        self._broken.stop()
        self._acceptor.join(_JOIN_S)
        self._listener.close()
        self.hang_up()

    def shut(self) -> None:
        """Break all connections, by a reset, and refuse others until the wire is there again."""
        with self._changed:
            if self._broken.off_s() and not self._shut:
                self._shut = True
                # Once: who listens on a socket that was shut down hangs up on everybody.
                _wake(self._listener)
            self._changed.notify_all()
            for connection in self._connections:
                # Nothing is said at parting; that it is read no more wakes who serves it.
                _linger_not(connection)
                _wake(connection, socket.SHUT_RD)

    def hang_up(self) -> None:
        """Break all connections."""
        with self._changed:
            connections = dict(self._connections)
        for connection in connections:
            _wake(connection)
        for thread in connections.values():
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)

    # ---- the acceptor

    def _accept(self) -> None:
        while not self._closed:
            if self._shut:
                self._stay_shut()
                continue
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut or closed, as the flags say, or no descriptor is free
                time.sleep(_AGAIN_S)
                continue
            with self._changed:
                if self._closed or self._shut:
                    reset(connection)
                    continue
                thread = threading.Thread(
                    target=self._serve_one, args=(connection,), name=self._name, daemon=True
                )
                self._connections[connection] = thread
                thread.start()

    def _stay_shut(self) -> None:
        self._listener = same_port(self._listener, (self.host, self.port))
        with self._changed:
            while not self._closed and (left := self._broken.off_s()) > 0:
                self._changed.wait(left)
            self._shut = False
        if not self._closed:
            self._listener.listen()

    def _serve_one(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(connection)
        except OSError:
            pass  # the client has gone
        finally:
            with self._changed:
                self._connections.pop(connection, None)
            connection.close()


def damaged(frame: bytes, broken: WireFaults, *, flips: slice = slice(None)) -> bytes:
    """Return what arrives of a frame: ``drop``, ``drop-bytes``, ``garble``; empty: nothing.

    Args:
        frame: what an instrument says.
        broken: the wire.
        flips: which of its bytes ``garble`` may hit.
    """
    if broken.due("drop"):
        return b""
    begin, end, _ = flips.indices(len(frame))
    if broken.due("garble"):
        frame = frame[:begin] + broken.flipped(frame[begin:end], "garble") + frame[end:]
    return broken.shortened(frame) if broken.due("drop-bytes") else frame


def deliver(
    connection: socket.socket, frame: bytes, broken: WireFaults, *, stalls: bool = True
) -> None:
    """Send a frame when, and in the pieces in which, the faults of the wire let it go.

    Args:
        connection: to whom; it may go away meanwhile.
        frame: what is sent.
        broken: the wire.
        stalls: whether a ``stall`` holds it.

    Raises:
        OSError: the client has gone, or the instrument is switched off.
    """
    until = broken.ready_at()
    while frame:
        if not broken.pause(until, lambda: has_gone(connection), stalls=stalls):
            raise ConnectionAbortedError("nobody waits for this answer any more")
        size, pause_s = broken.piece(len(frame))
        connection.sendall(frame[:size])
        frame = frame[size:]
        until = time.monotonic() + pause_s


def has_gone(connection: socket.socket) -> bool:
    """Return whether the other side has hung up and all that it said is read."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True


def reset(connection: socket.socket) -> None:
    """Close a connection so that its client learns of it by an error."""
    _linger_not(connection)
    connection.close()


def same_port(listener: socket.socket, address: tuple[str, int]) -> socket.socket:
    """Close a listening socket; return another one that holds its port and does not listen."""
    listener.close()
    held = socket.socket(listener.family, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
    except OSError:
        held.close()
        raise
    return held


def _linger_not(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _wake(part: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    # A peer that was faster is no trouble.
    with contextlib.suppress(OSError):
        part.shutdown(how)
