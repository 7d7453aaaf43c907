"""Making a bench safe with its drivers alone: what the guard does when its owner is gone.

Nothing of ophyd or bluesky is imported, so that who waits for the moment costs little.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from instruments.bench_file import BenchFile
from instruments.entry import InstrumentEntry
from instruments.errors import InstrumentError, UnsupportedTechniqueError
from instruments.interlock.entry import InterlockEntry
from instruments.potentiostat.contract import STILL_RUNNING
from instruments.potentiostat.entry import PotentiostatEntry
from instruments.raman.entry import RamanEntry
from instruments.relay_board.entry import RelayBoardEntry
from instruments.thermostat.contract import leave_alone

# These drive nothing by themselves: what switches them is a relay board of the bench.
_DRIVES_NOTHING = ("camera", "gas_chromatograph", "sensor", "external", "lamp")
_CONFIRMED = {"potentiostat": "cell open", "raman": "laser off"}
NOTHING = "nothing to make safe"


@dataclass
class Resort:
    """What makes one instrument safe, and lets it go again.

    Attributes:
        name: of the instrument in the bench file.
        kind: of it.
        make_safe: connects it if need be, makes it safe, returns what was confirmed; raises what
            the driver raises. May be called again after a failure.
        release: closes it, whatever its state; raises nothing.
        means: what it may be doing while it is not reached, and what a hand does about it.
        meanwhile: what it is declared to go on doing until then, empty if nothing.
    """

    name: str
    kind: str
    make_safe: Callable[[], str]
    release: Callable[[], None]
    means: str = ""
    meanwhile: str = ""


@dataclass
class _Boards:
    """The relay boards of a bench and the contacts on them."""

    drivers: dict[str, Any] = field(default_factory=dict)
    contacts: dict[str, list[int]] = field(default_factory=dict)


def resorts(file: BenchFile, finishing: threading.Event | None = None) -> list[list[Resort]]:
    """Return what makes the instruments of a bench safe; nothing is opened.

    Each list is one after the other (what hangs on a board comes after it), the lists can be done
    side by side. The potentiostat's comes first.

    Args:
        file: the bench.
        finishing: if given, a potentiostat that is declared as ``let_instrument_finish`` is left
            to the end of its program; set, it is not waited for any longer.

    Raises:
        UnsupportedTechniqueError: If a driver has nothing that makes its instrument safe.
    """
    boards = _Boards()
    for name, entry in file.instruments.items():
        if isinstance(entry, RelayBoardEntry):
            boards.drivers[name] = entry.driver()
            boards.contacts[name] = []
    for entry in file.instruments.values():
        for board, relay in entry.relays:
            boards.contacts[board].append(relay)
    groups: dict[str, list[Resort]] = {}
    for name, entry in sorted(file.instruments.items(), key=lambda item: _rank(item[1])):
        if isinstance(entry, InterlockEntry):
            continue  # who holds it closed opens it
        group = next(iter(entry.boards), name)
        groups.setdefault(group, []).append(_resort(name, entry, boards, finishing))
    return list(groups.values())


def _rank(entry: InstrumentEntry) -> int:
    if isinstance(entry, PotentiostatEntry):
        return 0
    return 1 if isinstance(entry, RelayBoardEntry) else 2


def _resort(name: str, entry: Any, boards: _Boards, finishing: threading.Event | None) -> Resort:
    kind = entry.kind
    if isinstance(entry, RelayBoardEntry):
        driver: Any = boards.drivers[name]
        relays = boards.contacts[name]
        return Resort(
            name, kind, lambda: _open_all(driver, relays), _closing(driver), entry.unreached_means
        )
    if kind in _DRIVES_NOTHING:
        return Resort(name, kind, lambda: NOTHING, lambda: None)
    hangs_on_boards = isinstance(entry, RamanEntry)
    driver = entry.driver(boards.drivers) if hangs_on_boards else entry.driver()
    if kind != "thermostat" and not hasattr(driver, "safe_state") and not hasattr(driver, "stop"):
        of = type(driver)
        raise UnsupportedTechniqueError(
            f"the {kind} {name} cannot be made safe: its driver {of.__module__}.{of.__qualname__} "
            "has neither safe_state nor stop; give it a safe_state, or take it out of the bench "
            "file"
        )
    if isinstance(entry, PotentiostatEntry) and finishing is not None and entry.finishes_alone:
        return Resort(
            name,
            kind,
            lambda: str(driver.outlast(finishing)),
            lambda: None,  # it says nothing to it, and lets the line go by itself
            entry.unreached_means,
            STILL_RUNNING,
        )

    def make_safe() -> str:
        driver.connect()
        if kind == "thermostat":
            return leave_alone(driver)
        if hasattr(driver, "safe_state"):
            driver.safe_state()
        else:
            driver.stop()
        return entry.made_safe or _CONFIRMED.get(kind, "left safe")

    return Resort(name, kind, make_safe, _closing(driver), entry.unreached_means)


def _open_all(board: Any, relays: Iterable[int]) -> str:
    """Open every contact that is something's own; the others are not ours to move."""
    board.connect()
    first: InstrumentError | None = None
    opened = sorted(set(relays))
    for relay in opened:
        try:
            board.set_relay(relay, False)
        except InstrumentError as error:
            first = first or error
    if first is not None:
        raise first
    return f"relays {', '.join(map(str, opened))} open" if opened else NOTHING


def _closing(driver: Any) -> Callable[[], None]:
    def release() -> None:
        try:
            driver.close()
        except Exception:
            # Any: who releases goes on, or tries again from the beginning.
            return

    return release
