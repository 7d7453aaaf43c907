"""An instrument that plays turns of its manual: what is not said as the manual says is noticed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType

_PATIENCE_S = 20.0


class Manual:
    """Plays turns, one after the other, to one client; `Manual.address` is where it is.

    ``>`` is a line that the host is to say, ``<`` the next line answered, ``<~`` one that is
    answered without its end, ``x`` closes the connection: ``["> SI", "< S S 12.34567 g"]``.

    Attributes:
        wrong: what the host should not have said, when it has closed.
    """

    def __init__(
        self, turns: Sequence[str], *, line_end: bytes = b"\r\n", answer_end: bytes | None = None
    ) -> None:
        """Listen.

        Args:
            turns: to be played.
            line_end: of what is asked and, without ``answer_end``, of what is answered.
            answer_end: of what is answered.
        """
        self._turns = list(turns)
        self._line_end = line_end
        self._answer_end = line_end if answer_end is None else answer_end
        self.wrong: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_PATIENCE_S)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def __enter__(self) -> Manual:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until the host has closed; raises AssertionError if it said something else."""
        self.close()
        if self.wrong and error is None:
            raise AssertionError("; ".join(self.wrong))

    def close(self) -> None:
        """Wait until the host has closed the connection, or for half a minute."""
        self._thread.join(_PATIENCE_S + 10)
        self._listener.close()

    def _play(self) -> None:
        try:
            client, _ = self._listener.accept()
        except TimeoutError:
            self.wrong.append("nobody connected")
            return
        with client:
            client.settimeout(_PATIENCE_S)
            heard = self._lines(client)
            for turn in self._turns:
                way, text = turn[:2].strip(), turn[2:].removeprefix(" ")
                if way == "x":
                    return
                if way == ">":
                    line = next(heard, None)
                    if line != text.encode():
                        self.wrong.append(f"heard {line!r}, the manual says {text!r}")
                        return
                else:
                    client.sendall(text.encode() + (b"" if way == "<~" else self._answer_end))
            for line in heard:
                self.wrong.append(f"heard {line!r} after the page's end")

    def _lines(self, client: socket.socket) -> Iterator[bytes]:
        kept = b""
        while data := client.recv(4096):
            *whole, kept = (kept + data).split(self._line_end)
            yield from whole
        if kept:
            self.wrong.append(f"heard {kept!r}, which does not end")
