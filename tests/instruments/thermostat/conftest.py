"""A circulator that answers as the pages of its manual say, on a real socket."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "transcripts" / "thermostat"


def read_pages() -> dict[str, list[str]]:
    pages: dict[str, list[str]] = {}
    for block in (FOLDER / "driver.txt").read_text(encoding="ascii").split("\n\n"):
        name, *turns = [line for line in block.split("\n") if line]
        pages[name.removeprefix("# ")] = turns
    return pages


class Manual:
    """Plays pages one after the other; ``wrong`` holds what the host should not have said."""

    def __init__(self, pages: dict[str, list[str]], names: tuple[str, ...]) -> None:
        self._turns = [turn for name in names for turn in pages[name]]
        self.wrong: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        client, _ = self._listener.accept()
        with client:
            client.settimeout(20)
            heard = client.makefile("rb")
            for turn in self._turns:
                way, text = turn[:2].strip(), turn[2:].removeprefix(" ")
                if way == "x":
                    return
                if way == ">":
                    line = heard.readline()
                    if line != text.encode() + b"\r\n":
                        self.wrong.append(f"heard {line!r}, the manual says {text!r}")
                        return
                else:
                    client.sendall(text.encode() + (b"" if way == "<~" else b"\r\n"))
            while line := heard.readline():
                self.wrong.append(f"heard {line!r} after the page's end")

    def close(self) -> None:
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def manual() -> Iterator[Callable[..., Manual]]:
    """Start a circulator that plays the pages of the given names; check that all was as told."""
    pages = read_pages()
    started: list[Manual] = []

    def play(*names: str) -> Manual:
        started.append(Manual(pages, names))
        return started[-1]

    yield play
    for instrument in started:
        instrument.close()
        assert instrument.wrong == []
