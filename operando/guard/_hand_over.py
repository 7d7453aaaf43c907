"""Ask the guards of a bench's instruments to let them go, before they are opened here."""

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError, StrangerError
from instruments.strangers import refuse_stranger
from instruments.transport import resolve

from ._places import GuardError, announced

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
        unsafe: those that were not safe yet, by their names in the bench file of the one who asks.
            The guard waits for `settle`, and goes on trying if the one who asks ends before it.
        who: of these, marks of those whose safety is to be told (`instruments.strangers.mark_of`).
    """

    pid: int
    bench: str
    run: str = ""
    noticed: str = ""
    became: dict[str, str] = field(default_factory=dict)
    unsafe: tuple[str, ...] = ()
    who: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mark: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        told = "; ".join(f"{name}: {became}" for name, became in self.became.items())
        run = f" of run {self.run[:8]}" if self.run else ""
        return f"the guard{run} (process {self.pid}) acted because {self.noticed}: {told}"

    def strangers(self, answered: Mapping[str, str]) -> dict[str, str]:
        """Return by name what was not safe yet and is not what answers now, in a sentence.

        Args:
            answered: marks of those that answer now, by name.
        """
        found = {}
        for name in set(self.unsafe) & set(answered):
            left = f"the guard (process {self.pid}) goes on when nobody holds its address"
            try:
                refuse_stranger(self.who.get(name, ()), answered[name], left)
            except StrangerError as error:
                found[name] = f"{name}: {error}"
        return found


def ports(addresses: Iterable[str]) -> set[str]:
    """Return what these addresses lead to now, as far as that can be said."""
    found = set()
    for address in addresses:
        # As it is written as well: what comes back may have another name then.
        found.add(os.path.expandvars(address))
        try:
            told = resolve(address)
        except InstrumentError:
            continue  # not there now
        scheme, _, rest = told.partition("://")
        if scheme == "serial":
            told = f"serial://{os.path.realpath(rest.partition('?')[0])}"
        found.add(told)
    return found


def guards_of(file: BenchFile, data_dir: Path | None = None) -> Iterator[dict[str, Any]]:
    """Yield what guards tell that watch, or hold, an instrument of this bench.

    Raises GuardError if what is told of guards is not to be believed.
    """
    wanted = ports(file.addresses())
    for told in announced(data_dir):
        if wanted & set(told.get("ports", ())):
            yield told


def take_back(file: BenchFile, data_dir: Path | None = None) -> list[Taken]:
    """Have every guard of a dead owner let the instruments of this bench go; tell what they did.

    What is ``unsafe`` is lent: `settle` when it is safe, or `let_go_on` when it could not be made
    safe; a guard whose borrower ends without a word goes on by itself. A guard that tries to make
    another instrument safe beside these goes on, and the guard of an owner that lives is left
    alone. Raises nothing: who does not let go holds ports, and opening them tells that.
    """
    taken: list[Taken] = []
    try:
        found = list(guards_of(file, data_dir))
    except GuardError as error:
        _log.warning("guards cannot be asked: %s", error)
        return taken
    wanted = sorted(ports(file.addresses()))
    for told in found:
        try:
            answer = _ask(told, "hand back", wanted)
        except (OSError, ValueError) as error:
            _log.warning("guard %s does not let go: %s", told.get("pid"), error)
            continue
        if answer.get("owner_lives"):
            continue
        if answer.get("kept"):
            _log.warning(
                "the guard (process %s) goes on trying to make safe: %s",
                told["pid"],
                ", ".join(map(str, answer["kept"])),
            )
            continue
        here = _here(file, answer.get("unsafe", {}))
        one = Taken(
            pid=int(told["pid"]),
            bench=str(told.get("bench", "")),
            run=str(answer.get("run", "")),
            noticed=str(answer.get("noticed", "")),
            became={str(k): str(v) for k, v in dict(answer.get("became", {})).items()},
            unsafe=tuple(sorted(here)),
            who={
                ours: frozenset(map(str, dict(answer.get("who", {})).get(theirs, ())))
                for ours, theirs in here.items()
            },
            mark=told,
        )
        if one.noticed:
            _log.warning("%s", one)
        taken.append(one)
    return taken


def settle(taken: Iterable[Taken], answered: Mapping[str, str]) -> list[Taken]:
    """Tell guards that what they were trying is safe now, or watched by another guard.

    Return those that are not told: where another instrument answers now, nothing is known of the
    one that they were trying. They go on when the one who asked ends, or with `let_go_on`.

    Args:
        taken: what they said.
        answered: marks of those that answer now, by name in the bench file of the one who asks.
    """
    left = []
    for one in taken:
        if one.strangers(answered):
            left.append(one)
        else:
            _tell(one, "settled")
    return left


def let_go_on(taken: Iterable[Taken]) -> list[int]:
    """Have guards go on with what is not safe yet; return the process ids of those that do."""
    return [one.pid for one in taken if one.unsafe and _tell(one, "go on")]


def _tell(one: Taken, what: str) -> bool:
    try:
        _ask(dict(one.mark), what, [])
    except (OSError, ValueError, KeyError):
        return False  # it had nothing left to do, and is gone
    return True


def _here(file: BenchFile, unsafe: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the names that instruments have in ``file`` which are not safe yet, told by ports.

    Each with the name that it has for the guard.
    """
    found = {}
    for name, theirs in unsafe.items():
        same = [x for x, entry in file.instruments.items() if ports(entry.addresses) & set(theirs)]
        found.update(dict.fromkeys(same or ([name] if name in file.instruments else []), name))
    return found


def _ask(told: dict[str, Any], what: str, wanted: list[str]) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", int(told["port"])), timeout=_ANSWER_S) as line:
        order = {"token": told["token"], "do": what, "ports": wanted, "asker": os.getpid()}
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
