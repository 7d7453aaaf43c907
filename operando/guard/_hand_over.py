"""Ask the guards of a bench's instruments to let them go, before they are opened here."""

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError
from instruments.transport import resolve

from ._places import announced

_log = logging.getLogger(__name__)

_ANSWER_S = 40.0
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Taken:
    """What a guard said when it let the instruments go.

    Attributes:
        pid: its process.
        bench: name of the bench file it watched.
        run: uid of the run that was open when it acted, empty if none was.
        noticed: why it acted, in words.
        became: what became of each instrument, by name.
        unsafe: those that were not safe yet.
    """

    pid: int
    bench: str
    run: str = ""
    noticed: str = ""
    became: dict[str, str] = field(default_factory=dict)
    unsafe: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = "; ".join(f"{name}: {became}" for name, became in self.became.items())
        run = f" of run {self.run[:8]}" if self.run else ""
        return f"the guard{run} (process {self.pid}) acted because {self.noticed}: {told}"


def ports(addresses: Iterable[str]) -> set[str]:
    """Return what these addresses lead to now, as far as that can be said."""
    found = set()
    for address in addresses:
        try:
            told = resolve(address)
        except InstrumentError:
            continue  # not there: nobody can hold it
        scheme, _, rest = told.partition("://")
        if scheme == "serial":
            told = f"serial://{os.path.realpath(rest.partition('?')[0])}"
        found.add(told)
    return found


def guards_of(file: BenchFile) -> Iterator[dict[str, Any]]:
    """Yield what guards tell that watch, or hold, an instrument of this bench."""
    wanted = ports(file.addresses())
    for _, told in announced():
        if wanted & set(told.get("ports", ())):
            yield told


def take_back(file: BenchFile) -> list[Taken]:
    """Have every guard of a dead owner let the instruments of this bench go; tell what they did.

    The guard of an owner that lives is left alone: its ports are the owner's, and are told to be
    busy when they are opened. Raises nothing: who does not let go holds ports, and opening them
    tells that.
    """
    taken = []
    for told in list(guards_of(file)):
        try:
            answer = _ask(told, "hand back")
        except (OSError, ValueError) as error:
            _log.warning("guard %s does not let go: %s", told.get("pid"), error)
            continue
        if answer.get("owner_lives"):
            continue
        one = Taken(
            pid=int(told["pid"]),
            bench=str(told.get("bench", "")),
            run=str(answer.get("run", "")),
            noticed=str(answer.get("noticed", "")),
            became={str(k): str(v) for k, v in dict(answer.get("became", {})).items()},
            unsafe=tuple(map(str, answer.get("unsafe", ()))),
        )
        if one.noticed:
            _log.warning("%s", one)
        taken.append(one)
    return taken


def _ask(told: dict[str, Any], what: str) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", int(told["port"])), timeout=_ANSWER_S) as line:
        order = {"token": told["token"], "do": what}
        line.sendall(json.dumps(order).encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n"):
            part = line.recv(65536)
            if not part or len(heard) > _LONGEST:
                raise ValueError(f"it said {heard[:80]!r}")
            heard += part
    answer = json.loads(heard)
    if not isinstance(answer, dict):
        raise ValueError(f"it said {heard[:80]!r}")
    return answer
