"""Making a bench safe with its drivers alone: what the guard does when its owner is gone.

Nothing of ophyd or bluesky is imported, so that who waits for the moment costs little.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from instruments.bench_file import BenchFile, shared_as
from instruments.entry import AddressedEntry, InstrumentEntry
from instruments.errors import InstrumentError, UnsupportedTechniqueError
from instruments.interlock.entry import InterlockEntry
from instruments.potentiostat.contract import STILL_RUNNING
from instruments.potentiostat.entry import PotentiostatEntry
from instruments.raman.entry import RamanEntry
from instruments.relay_board.entry import RelayBoardEntry
from instruments.strangers import Known, mark_of, refuse_stranger
from instruments.thermostat.contract import leave_alone

# These drive nothing by themselves: what switches them is a relay board of the bench.
_DRIVES_NOTHING = ("camera", "gas_chromatograph", "sensor", "external", "lamp")
_CONFIRMED = {"potentiostat": "cell open", "raman": "laser off"}
NOTHING = "nothing to make safe"
# To connect these is to make them safe already; of others a stranger is left as it is.
_SAFE_WHEN_CONNECTED = ("potentiostat", "raman")
_NO_NUMBER = "it tells no serial number by which another one could be told from it"


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
        shared: what it is called where several benches share it, empty if it is this one's own.
    """

    name: str
    kind: str
    make_safe: Callable[[], str]
    release: Callable[[], None]
    means: str = ""
    meanwhile: str = ""
    shared: str = ""


@dataclass
class _Boards:
    """The relay boards of a bench and the contacts on them."""

    refuse: Callable[[str], object]

    drivers: dict[str, Any] = field(default_factory=dict)
    contacts: dict[str, list[int]] = field(default_factory=dict)


def resorts(
    file: BenchFile,
    finishing: threading.Event | None = None,
    known: Known | None = None,
) -> list[list[Resort]]:
    """Return what makes the instruments of a bench safe; nothing is opened.

    Each list is one after the other (what hangs on a board comes after it), the lists can be done
    side by side. The potentiostat's comes first.

    Args:
        file: the bench.
        finishing: if given, a potentiostat that is declared as ``let_instrument_finish`` is left
            to the end of its program; set, it is not waited for any longer.
        known: who was at each instrument's address; asked when it is made safe. Where another one
            answers that is a StrangerError: a cell or laser of it is safe by then, since who drives
            it would hold its port; what else it does is left as it is.

    Raises:
        UnsupportedTechniqueError: If a driver has nothing that makes its instrument safe.
    """
    known = known or Known()
    boards = _Boards(
        lambda name: _refuse(name, file.instruments[name], boards.drivers[name], known)
    )
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
        groups.setdefault(group, []).append(_resort(name, entry, boards, finishing, known))
    return list(groups.values())


def _refuse(name: str, entry: Any, driver: Any, known: Known) -> str:
    """Raise StrangerError if another one answers than is known; return what is left open.

    A cell or laser is safe by then, whosever it is.
    """
    identify = getattr(driver, "identify", None)
    identity = {} if identify is None else identify()
    if isinstance(entry, AddressedEntry):
        entry.refuse_another(name, identity)
    found, there = mark_of(identity), known.unsettled(name)
    if entry.kind in _SAFE_WHEN_CONNECTED:
        known.settle(name, found)
    if not there:
        return ""
    refuse_stranger(there, found, entry.unreached_means)
    numbered = str(identity.get("serial_number", "")).strip() or entry.kind != "potentiostat"
    return "" if numbered else f" ({_NO_NUMBER})"


def _rank(entry: InstrumentEntry) -> int:
    if isinstance(entry, PotentiostatEntry):
        return 0
    return 1 if isinstance(entry, RelayBoardEntry) else 2


def _resort(
    name: str, entry: Any, boards: _Boards, finishing: threading.Event | None, known: Known
) -> Resort:
    kind, shared = entry.kind, shared_as(entry) or ""
    if isinstance(entry, RelayBoardEntry):
        driver: Any = boards.drivers[name]
        relays = boards.contacts[name]

        def open_all() -> str:
            driver.connect()
            boards.refuse(name)
            return _open_all(driver, relays)

        return Resort(name, kind, open_all, _closing(driver), entry.unreached_means, shared=shared)
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

        def outlasted() -> str:
            became = str(driver.outlast(finishing))  # it lets the line go by itself
            if became == STILL_RUNNING:
                return became
            driver.connect()  # nothing runs any more; it is asked who it is
            return became + _refuse(name, entry, driver, known)

        return Resort(name, kind, outlasted, _closing(driver), entry.unreached_means, STILL_RUNNING)

    def make_safe() -> str:
        for board in entry.boards:
            boards.drivers[board].connect()
            boards.refuse(board)
        driver.connect()
        doubt = "" if kind in _SAFE_WHEN_CONNECTED else _refuse(name, entry, driver, known)
        if kind == "thermostat":
            return leave_alone(driver) + doubt
        if hasattr(driver, "safe_state"):
            driver.safe_state()
        else:
            driver.stop()
        if kind in _SAFE_WHEN_CONNECTED:
            doubt = _refuse(name, entry, driver, known)
        return (entry.made_safe or _CONFIRMED.get(kind, "left safe")) + doubt

    return Resort(name, kind, make_safe, _closing(driver), entry.unreached_means, shared=shared)


def _open_all(board: Any, relays: Iterable[int]) -> str:
    """Open every contact that is something's own; the others are not ours to move."""
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
