"""Adding to queues at once: a process that runs anyway takes what is asked and answers it.

To check an item takes the models of all techniques, which a new process needs half a second to
load; the supervisor has them loaded. Whoever finds no desk does the same by itself, and waits.
"""

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from operando.queueing.errors import QueueError
from operando.queueing.places import desk_socket
from operando.settings import config_dir

if TYPE_CHECKING:
    from operando.queueing.queue import Queue

_LONGEST = 2_000_000
# Whoever connects asks at once; to check and add a thousand items takes longer.
_ASKS_WITHIN_S, _TIMEOUT_S = 2.0, 30.0
_PEER = struct.Struct("3i")  # pid, uid, gid


class Desk:
    """Takes items for the queues of a data folder; a context, with a thread of its own.

    Raises QueueError if there cannot be one.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = desk_socket(data_dir, make=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._serve, name="desk", daemon=True)

    def __enter__(self) -> Self:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(16)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_ASKS_WITHIN_S)
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        from operando.queueing.queue import Queue

        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line:
                # Whoever goes away while he is answered, or sends nothing, holds up nobody.
                with contextlib.suppress(OSError):
                    line.settimeout(_ASKS_WITHIN_S)
                    _, uid, _ = _PEER.unpack(
                        line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
                    )
                    if uid == os.getuid():
                        with Queue(self._data_dir) as queue:
                            said = self._answer(_received(line), queue)
                        line.sendall(json.dumps(said).encode() + b"\n")

    def _answer(self, text: bytes, queue: "Queue") -> dict[str, Any]:
        from operando.configuration import ConfigurationError

        try:
            asked = json.loads(text)
            if asked["config"] != _configuration():
                return {"not_here": "another configuration"}
            return {"items": queue.add(**asked["add"])}
        except (QueueError, ConfigurationError) as error:
            return {"error": str(error)}
        except Exception as error:
            # Another version of this program asked, or a mistake of ours: it tries by itself.
            return {"not_here": f"{type(error).__name__}: {error}"}


def add_at_desk(data_dir: Path, asked: Mapping[str, Any]) -> list[str] | None:
    """Have a desk do ``Queue.add(**asked)``; return the ids, or ``None`` if there is no desk.

    Raises:
        QueueError: it was refused.
    """
    path = desk_socket(data_dir)
    try:
        if path.parent.stat().st_uid != os.getuid():
            return None  # whose ever it is
    except OSError:
        return None
    files = {
        name: str(Path(told).expanduser().resolve())
        for name in ("protocol", "sample")
        if (told := asked.get(name)) and Path(told).expanduser().is_file()
    }
    request = {"config": _configuration(), "add": dict(asked) | files}
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_TIMEOUT_S)
        try:
            line.connect(str(path))
        except OSError:
            return None
        try:
            line.sendall(json.dumps(request).encode() + b"\n")
            said = json.loads(_received(line))
        except (OSError, ValueError) as error:
            # To do it here as well could add it twice.
            raise QueueError(
                f"the supervisor was asked and did not answer ({error}): operando queue list tells "
                "whether it was added"
            ) from error
    if "error" in said:
        raise QueueError(said["error"])
    return said.get("items")


def _configuration() -> list[str]:
    """Return where names are looked up: whoever looks elsewhere means others."""
    return [str(config_dir()), os.environ.get("OPERANDO_STATIONS") or ""]


def _received(line: socket.socket) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        part = line.recv(65536)
        if not part or len(text) > _LONGEST:
            raise OSError("what came is no request")
        text += part
    return text
