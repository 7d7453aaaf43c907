"""An uninterruptible power supply, asked through the server of Network UPS Tools (NUT).

Its protocol is RFC 9271: lines of text, ``ups.status`` in words such as ``OL``, ``OB LB``.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from operando.queueing import _redis, mains
from operando.queueing.errors import QueueError
from operando.queueing.places import private, queueing_dir, write_private
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
# What was told so long ago may have been told of another power cut.
_KNOWN_S = 300.0
_TOLD = "ups.json"


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

    As long as it is on battery each station is told, also one that is added. Who says by hand that
    they are back is believed until the battery is low, also by the watch of a supervisor that is
    started meanwhile: what was told is kept in a file. It takes back what it said, and not what
    somebody else said.

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
        self._path = private(queueing_dir(data_dir)) / _TOLD
        # What was said last, and which stations were told.
        self._known, self._stations = self._kept()
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
        except (OSError, ValueError, OverflowError) as error:
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
        if what == "back":
            mine = [one for one in self._file().stations if one.name in self._mine()]
            if mine:
                args = self._data_dir, mine, self._cell_in
                self._warn(mains.say_back(*args, by=self._by, why=why, only_mine=True))
            self._keep("back", set())
            return
        is_new = self._known != what and self._known != "low"
        if self._known == "low":
            what = "low"
        told = set(self._stations) | set(self._mine())
        wanted = [
            one
            for one in self._file().stations
            # Who was told and has no mark: somebody said since that they are back.
            if one.name not in told or (is_new and what == "low")
        ]
        try:
            if wanted:
                args = self._data_dir, wanted, self._cell_in
                self._warn(mains.say_lost(*args, by=self._by, why=why, low=what == "low"))
        except QueueError:
            # All others are told; the battery is low for all before that is known.
            self._keep(self._known if what == "low" else what, told | set(self._mine()))
            raise
        self._keep(what, told | set(self._mine()))

    def _warn(self, untold: list[str]) -> None:
        for text in untold:
            _log.warning("%s: %s", self._by, text)

    # -- what was said, for who comes after us

    def _kept(self) -> tuple[str, frozenset[str]]:
        """Return what was said last, and to whom, if it was just before."""
        try:
            age_s = time.time() - self._path.stat().st_mtime
            told = json.loads(self._path.read_text(encoding="utf-8"))
            if told["ups"] == self._ups and 0 <= age_s <= _KNOWN_S:
                return str(told["said"]), frozenset(map(str, told["stations"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there was none, or what it knew is lost
        return "", frozenset()

    def _keep(self, said: str, stations: set[str]) -> None:
        is_new = (said, stations) != (self._known, self._stations)
        self._known, self._stations = said, frozenset(stations)
        try:
            if is_new or not self._path.exists():
                told = {"ups": self._ups, "said": said, "stations": sorted(stations)}
                write_private(self._path, json.dumps(told))
            else:
                os.utime(self._path)
        except (OSError, QueueError) as error:
            _log.warning("%s: what was told is not kept: %s", self._by, error)

    # -- whom it has told

    def _mine(self) -> dict[str, mains.MainsLost]:
        """Return the marks that we, or a supervisor before, have set and nobody has taken away."""
        names = [one.name for one in self._file().stations]
        marks: dict[str, mains.MainsLost | None] = {}
        for name in names:
            with contextlib.suppress(OSError):  # that is told when it is to be marked
                marks[name] = mains.mark_of(self._data_dir, name)
        return {name: one for name, one in marks.items() if one and self._by in one.said_by}

    def _cell_in(self, name: str) -> str:
        store = Store(_redis.client(_redis.address(self._data_dir, self._file())))
        mount = store.mount(name)
        return "" if mount is None else mount.cell_id
