"""An uninterruptible power supply, asked through the server of Network UPS Tools (NUT).

Its protocol is RFC 9271: lines of text, ``ups.status`` in words such as ``OL``, ``OB LB``.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from operando.queueing import _redis, mains
from operando.queueing.store import Store
from techniques import StationsFile

_log = logging.getLogger(__name__)

PORT = 3493
_EVERY_S = 5.0
_ANSWERS_WITHIN_S = 2.0
_LONGEST = 1000
# On battery and not heard of for so long: it is taken to be low, as upsmon does (DEADTIME).
DEAD_S = 15.0
_TOLD_AFTER_S = 60.0
# Mains that come back may go again at once, and instruments take their time to start.
BACK_AFTER_S = 30.0


def status(ups: str) -> frozenset[str]:
    """Return the words that tell how a UPS is: ``OL`` on line, ``OB`` on battery, ``LB`` low, ...

    Args:
        ups: NAME@HOST or NAME@HOST:PORT.

    Raises:
        OSError: Its server does not answer.
        ValueError: It answers that it does not know, or something else.
    """
    name, _, where = ups.partition("@")
    host, _, port = where.partition(":")
    with socket.create_connection((host, int(port or PORT)), _ANSWERS_WITHIN_S) as server:
        server.sendall(f"GET VAR {name} ups.status\n".encode())
        said = b""
        while not said.endswith(b"\n") and len(said) < _LONGEST:
            more = server.recv(_LONGEST)
            if not more:
                break
            said += more
    line = said.decode("ascii", "replace").strip()
    begins = f'VAR {name} ups.status "'
    if not line.startswith(begins) or not line.endswith('"'):
        raise ValueError(f"it says {line!r}")
    return frozenset(line.removeprefix(begins)[:-1].split())


class UpsWatch:
    """Says for all stations of a file that the mains are lost, or back, as their UPS tells.

    It says so when that changes: who says by hand that they are back is believed until the battery
    is low. What somebody else said is taken back by nobody else either.

    Args:
        data_dir: The data folder.
        ups: The UPS, as of `status`.
        file: Returns the stations, as their file tells now.
    """

    def __init__(self, data_dir: Path, ups: str, file: Callable[[], StationsFile]) -> None:
        self._data_dir = data_dir
        self._file = file
        self._ups = ups
        self._by = f"UPS {ups}"
        self._known = ""
        self._heard_at: float | None = None
        self._told = False
        self._on_line_at: float | None = None

    def serve(self, stopping: threading.Event) -> None:
        """Ask again and again until ``stopping`` is set; whatever fails is tried again."""
        while not stopping.wait(_EVERY_S if self._heard_at is not None else 0.0):
            try:
                self.look(time.monotonic())
            except Exception as error:
                # Any: nobody else listens to it.
                _log.warning("%s: %r", self._by, error)

    def look(self, now: float) -> None:
        """Ask once, and say what is new; ``now`` is in seconds that nobody sets.

        Raises QueueError: a station could not be told; it is when this is called again.
        """
        self._heard_at = now if self._heard_at is None else self._heard_at
        try:
            words = status(self._ups)
        except (OSError, ValueError) as error:
            self._on_line_at = None
            self._silent(now - self._heard_at, str(error))
            return
        self._heard_at, self._told = now, False
        if words & {"OB", "FSD"} or "OL" not in words:
            self._on_line_at = None
        elif self._on_line_at is None:
            self._on_line_at = now
        if words & {"OB", "FSD"}:
            self._say("low" if words & {"LB", "FSD"} else "lost", " ".join(sorted(words)))
        elif (
            self._on_line_at is not None
            and (now - self._on_line_at >= BACK_AFTER_S or not self._mine())
            # What was ended because the battery was low waits until it is charged.
            and not ("LB" in words and self._known != "lost")
        ):
            self._say("back", " ".join(sorted(words)))

    def _silent(self, silent_s: float, why: str) -> None:
        from operando.queueing.alerts import leave_alert

        if silent_s >= DEAD_S and (
            self._known == "lost" or any(not x.low for x in self._mine().values())
        ):
            self._say("low", f"on battery, and not heard of for {silent_s:.0f} s: {why}")
        elif silent_s >= _TOLD_AFTER_S and not self._told:
            self._told = True
            _log.warning("%s does not answer: %s", self._by, why)
            title = f"{self._by} does not answer"
            leave_alert(self._data_dir, "mains_lost", title, f"A power cut goes unnoticed: {why}")

    def _say(self, what: str, why: str) -> None:
        if what == self._known or (what == "lost" and self._known == "low"):
            return
        entries = self._file().stations
        if what == "back":
            mine = self._mine()
            entries = tuple(one for one in entries if one.name in mine)
            failed = mains.say_back(self._data_dir, entries, self._cell_in, by=self._by, why=why)
        else:
            failed = mains.say_lost(
                self._data_dir, entries, self._cell_in, by=self._by, why=why, low=what == "low"
            )
        self._known = what
        for text in failed:
            _log.warning("%s: %s", self._by, text)

    def _mine(self) -> dict[str, mains.MainsLost]:
        """Return the marks that we, or a supervisor before, have set and nobody has taken away."""
        names = [one.name for one in self._file().stations]
        marks = {name: mains.mark_of(self._data_dir, name) for name in names}
        return {name: one for name, one in marks.items() if one and one.by == self._by}

    def _cell_in(self, name: str) -> str:
        store = Store(_redis.client(_redis.address(self._data_dir, self._file())))
        mount = store.mount(name)
        return "" if mount is None else mount.cell_id
