"""A socket on this computer whose other side says frames."""

import functools
import socket
import threading
from collections.abc import Callable
from typing import Self

# A client that was told something incomplete waits no longer for the rest.
_NOTHING_MORE_S = 0.02


class Served:
    """A server of one connection after the other, in a thread of its own.

    Args:
        serve: has one connection; what it returns is ignored. The connection ends with it.
    """

    def __init__(self, serve: Callable[[socket.socket], object]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self._serve(connection)
                except OSError:
                    continue  # the client has gone

    @classmethod
    def once(cls, serve: Callable[[socket.socket], object]) -> Callable[[], Self]:
        """Return what starts it when it is first needed, and then returns it."""
        return functools.cache(lambda: cls(serve))


def nothing_comes(connection: socket.socket) -> bool:
    """Return whether the client says nothing more, now that it was told a frame."""
    connection.settimeout(_NOTHING_MORE_S)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except TimeoutError:
        return True
    finally:
        connection.settimeout(None)
