"""The mains are lost, and back: a mark in the folder of each station, and who is told.

Whoever listens to an uninterruptible power supply (UPS) sets the mark and takes it away. It is a
file, so that it needs neither Redis nor a supervisor and outlives both, and the computer's being
off. As long as it is there nothing begins at the station.
"""

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from operando.queueing.errors import QueueError
from operando.queueing.places import private, station_dir, write_private
from techniques import StationEntry
from techniques._base import Data

MARK = "mains.json"


def back(station: str) -> str:
    """Return the command by which somebody says that a station has its mains again."""
    return f"operando station mains back {station}"


class MainsLost(Data):
    """That a station is without mains; times are s of the epoch.

    Attributes:
        at: Since when.
        by: Who said so first.
        why: In words, as the UPS or somebody tells; may be empty.
        others: Who said so since, and why.
        low: Whether the battery is about to be empty.
        ends_at: When what runs is to be ended, by what the UPS said of its battery; ``None``: it
            said nothing.
    """

    at: float
    by: str = ""
    why: str = ""
    others: Mapping[str, str] = Field(default_factory=dict)
    low: bool = False
    ends_at: float | None = None

    @property
    def said_by(self) -> dict[str, str]:
        """Return everybody who said so and has not taken it back, and why."""
        return {self.by: self.why, **self.others}

    @property
    def since(self) -> str:
        """Return since when they are lost, in words."""
        at = time.strftime("%d %b %H:%M:%S", time.localtime(self.at))
        return f"the mains are lost since {at}"

    @property
    def told(self) -> str:
        """Return what is known, in words that begin with `since`."""
        low = ", the battery is low" if self.low else ""
        why = ", ".join(dict.fromkeys(filter(None, self.said_by.values())))
        return f"{self.since}{low}{f' ({why})' if why else ''}"

    def over_at(self, entry: StationEntry) -> float | None:
        """Return when what runs at a station is to be ended; ``None``: when the battery is low."""
        if self.low or entry.supply == "mains":
            return self.at
        declared = None if entry.hold_after_s is None else self.at + entry.hold_after_s
        return min((x for x in (declared, self.ends_at) if x is not None), default=None)

    def meant(self, entry: StationEntry) -> str:
        """Return in words what that means for what runs at a station, and for what is next."""
        return f"what runs {self.becomes(entry)}; {self.next(entry)}"

    def becomes(self, entry: StationEntry) -> str:
        """Return in words what becomes of what runs at a station, which is named before.

        That it has been ended, and its cell opened, tells who has done it.
        """
        over_at = self.over_at(entry)
        if over_at is None:
            return "goes on until the battery is low"
        if over_at <= time.time():
            return "is to be ended, its cell to be opened"
        at = time.strftime("%H:%M:%S", time.localtime(over_at))
        return f"is to be ended at {at}, its cell to be opened"

    @staticmethod
    def next(entry: StationEntry) -> str:
        """Return in words what that means for what is next at a station."""
        return f"nothing begins before: {back(entry.name)}"


def mark_of(data_dir: Path, station: str) -> MainsLost | None:
    """Return what a station's mark tells; ``None``: it has its mains. Raises OSError.

    One that cannot be read is there all the same, and its battery is taken to be low.
    """
    path = station_dir(data_dir, station) / MARK
    try:
        at = path.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        return MainsLost.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None  # they are back just now
    except (OSError, ValidationError, ValueError):
        return MainsLost(at=at, low=True, why=f"{path} cannot be read")


def set_lost(
    data_dir: Path,
    station: str,
    *,
    by: str,
    why: str = "",
    low: bool = False,
    battery_min: float | None = None,
) -> tuple[MainsLost, bool]:
    """Mark a station as without mains; return the mark, and whether that tells anything new.

    Said again, it is since the first time; a battery that was low is low until the mains are back,
    and what is to be ended at some time is not ended later.

    Args:
        data_dir: The data folder.
        station: The station.
        by: Who says so.
        why: In words.
        low: Whether the battery is about to be empty.
        battery_min: How long the battery lasts from now on, min, as the UPS tells: when half of it
            is over, what runs is ended.
    """
    with _changing(data_dir, station) as path:
        known, now = mark_of(data_dir, station), time.time()
        ends_at = None if battery_min is None else now + 30.0 * battery_min
        if known is None:
            mark = MainsLost(at=now, by=by, why=why, low=low, ends_at=ends_at)
        else:
            said_by = known.said_by
            said_by[by] = why or said_by.get(by, "")
            mark = known.model_copy(
                update={
                    "why": said_by.pop(known.by),
                    "others": said_by,
                    "low": low or known.low,
                    # Half of what is left, said again and again, would never be over.
                    "ends_at": min(
                        (x for x in (known.ends_at, ends_at) if x is not None), default=None
                    ),
                }
            )
        write_private(path, mark.model_dump_json())
    return mark, known is None or mark.low != known.low


def set_back(data_dir: Path, station: str, *, only_by: str | None = None) -> MainsLost | None:
    """Take a station's mark away, and return it; ``None``: it had its mains, or has none still.

    Args:
        data_dir: The data folder.
        station: The station.
        only_by: Take back what this one said: the mark stays if somebody else said so, too.
    """
    with _changing(data_dir, station) as path:
        mark = mark_of(data_dir, station)
        said_by = {} if mark is None or only_by is None else mark.said_by
        said_by.pop(only_by or "", None)
        if mark is None or not said_by:
            path.unlink(missing_ok=True)
            return mark
        by = next(iter(said_by))
        changes = {"by": by, "why": said_by.pop(by), "others": said_by}
        write_private(path, mark.model_copy(update=changes).model_dump_json())
    return None


@contextlib.contextmanager
def _changing(data_dir: Path, station: str) -> Iterator[Path]:
    """Change a mark, one after the other: a UPS may tell several things at once."""
    folder = private(station_dir(data_dir, station))

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, 0o600)

    with open(folder / f"{MARK}.lock", "a", opener=opener) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / MARK


def say_lost(
    data_dir: Path,
    entries: Sequence[StationEntry],
    cell_in: Callable[[str], str],
    *,
    by: str,
    why: str = "",
    low: bool = False,
    battery_min: float | None = None,
) -> list[str]:
    """Mark stations as without mains, as `set_lost` does; what is new is noted and told to people.

    Args:
        data_dir: The data folder.
        entries: The stations.
        cell_in: Returns the cell in a station, empty if there is none, for the log book; may raise
            QueueError.
        by: Who says so.
        why: In words.
        low: Whether the battery is about to be empty.
        battery_min: How long it lasts from now on, min.

    Returns:
        What could not be noted or told.

    Raises:
        QueueError: A station could not be marked; all others are.
    """
    if battery_min is not None and not 0 <= battery_min < math.inf:
        raise QueueError(f"a battery does not last for {battery_min:g} min")
    said, failed = {}, []
    for entry in entries:
        try:
            mark, is_new = set_lost(
                data_dir, entry.name, by=by, why=why, low=low, battery_min=battery_min
            )
        except (QueueError, OSError) as error:
            failed.append(f"station {entry.name}: {error}")
            continue
        if is_new:
            said[entry.name] = f"{mark.told}; {mark.meant(entry)}"
    title = "The battery is low" if low else "The mains are lost"
    untold = _tell(data_dir, "mains_lost", title, said, cell_in, by)
    if failed:
        raise QueueError("; ".join([*failed, *untold]))
    return untold


def say_back(
    data_dir: Path,
    entries: Sequence[StationEntry],
    cell_in: Callable[[str], str],
    *,
    by: str,
    why: str = "",
    only_mine: bool = False,
) -> list[str]:
    """Take the marks of stations away, as `set_back` does; arguments and result as of `say_lost`.

    With ``only_mine`` a mark stays where somebody else said so, too.

    Raises QueueError: a mark could not be taken away; all others are.
    """
    said, failed = {}, []
    for entry in entries:
        try:
            mark = set_back(data_dir, entry.name, only_by=by if only_mine else None)
        except (QueueError, OSError) as error:
            failed.append(f"station {entry.name}: {error}")
            continue
        if mark is not None:
            lasted_min = max(0.0, time.time() - mark.at) / 60
            said[entry.name] = (
                f"the mains are back after {lasted_min:.1f} min{f' ({why})' if why else ''}; what "
                "was held for them goes on behind a look at its cell"
            )
    untold = _tell(data_dir, "mains_back", "The mains are back", said, cell_in, by)
    if failed:
        raise QueueError("; ".join([*failed, *untold]))
    return untold


def _tell(
    data_dir: Path,
    event: str,
    title: str,
    said: Mapping[str, str],
    cell_in: Callable[[str], str],
    by: str,
) -> list[str]:
    """Note and tell what was said of stations; return what could not be.

    Neither a full disk nor a Redis that is gone keeps a cell from being opened.
    """
    from operando.logbook import NoteError, write_note
    from operando.queueing.alerts import leave_alert

    if not said:
        return []
    failed = []
    body = "\n".join(f"{station}: {text}" for station, text in said.items())
    try:
        leave_alert(data_dir, event, f"{title}: {time.strftime('%d %b %H:%M:%S')}", body)
    except OSError as error:
        failed.append(f"nobody is told: {error}")
    for station, text in said.items():
        cell = ""
        with contextlib.suppress(QueueError):
            cell = cell_in(station)
        try:
            write_note(data_dir, text, by, station, cell or None)
        except NoteError as error:
            failed.append(str(error))
    return failed


class Mains:
    """The mains of one station, as its supervisor sees them; `look` comes first in each step.

    Args:
        data_dir: The data folder.
        entry: The station.

    Attributes:
        entry: The station, as its file tells now.
        lost: That they are lost; ``None``: they are there.
        out: Whether what runs is to be ended.
    """

    def __init__(self, data_dir: Path, entry: StationEntry) -> None:
        self._data_dir = data_dir
        self.entry = entry
        self._seen_at = 0.0
        self.lost: MainsLost | None = None
        self.out = False

    def look(self, now: float, steady: float) -> None:
        """Look whether they are lost, and whether what runs is to be ended.

        Args:
            now: The time, s of the epoch.
            steady: Seconds that nobody sets: a clock that is set back charges no battery.
        """
        with contextlib.suppress(OSError):  # a sick disk is no power cut
            lost = mark_of(self._data_dir, self.entry.name)
            if lost is None or self.lost is None or lost.at != self.lost.at:
                self._seen_at = steady
            self.lost = lost
        over_at = None if self.lost is None else self.lost.over_at(self.entry)
        self.out = (
            self.lost is not None
            and over_at is not None
            and (now >= over_at or steady - self._seen_at >= over_at - self.lost.at)
        )

    @property
    def why(self) -> str:
        """Return why nothing begins; empty: it may."""
        return (
            ""
            if self.lost is None
            else f"{self.lost.told}; when they are back: {back(self.entry.name)}"
        )
