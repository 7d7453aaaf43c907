"""Telling people what happened while nobody was there.

An alert is written to a file first (``state/queueing/alerts.jsonl`` of the data folder) and sent by
a thread, through Apprise, to addresses that are secrets: no text that is written or sent holds one.
What cannot be sent is tried again; what comes too often is left out, and counted.
"""

import logging
import math
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from operando.doctor import Mask, known_secrets
from operando.harmless import one_line, printable
from operando.queueing._alert_addresses import (
    Address,
    Addresses,
    LogMask,
    mask_logs,
    read_addresses,
    signature,
)
from operando.queueing._alert_events import EVENTS, Event, campaign_over, stations_told
from operando.queueing._alert_spool import Alert, Outcome, Spool, Told, new_id
from operando.queueing.secret_variables import HEARTBEAT_URL, without_secrets
from techniques.queueing import AlertSettings

__all__ = [
    "EVENTS",
    "Alerts",
    "Event",
    "Shown",
    "addresses",
    "campaign_over",
    "leave_alert",
    "recent",
    "stations_told",
    "without_secrets",
]

logger = logging.getLogger(__name__)

_HOUR_S = 3600.0
_DEAD_MAN_S, _DEAD_MAN_AGAIN_S = 300.0, 60.0
# A loop that says so seldom that it is alive hangs.
_ALIVE_S = 60.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 5.0, 600.0
_GIVE_UP_S = 3 * 86400.0
_LOOK_S = 1.0
_MEMORY = 200


@dataclass
class _Line:
    """How an address is doing: since when it fails, and when it is tried again (monotonic, s)."""

    failures: int = 0
    due_s: float = 0.0


@dataclass(frozen=True)
class Shown:
    """An alert and what became of it, for people."""

    alert: Alert
    state: Outcome | Literal["waiting"]
    to: tuple[str, ...]
    why: str


class Alerts:
    """Sends alerts. One process of a data folder does at a time; others leave theirs with it.

    Args:
        settings: How often, and where addresses are.
        data_dir: The data folder.
        state: Tells how all stations are, in a paragraph, for the sign of life; ``None``: there
            is none.
        environment: By default this process's.
        monotonic: A clock that nobody sets, s.
        wall: The time of the epoch, s.
    """

    def __init__(
        self,
        settings: AlertSettings,
        data_dir: Path,
        *,
        state: Callable[[], str] | None = None,
        environment: Mapping[str, str] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._environment = dict(os.environ if environment is None else environment)
        self._state = state
        self._monotonic, self._wall = monotonic, wall
        self._spool = Spool(spool_path(data_dir))
        self._signature = signature(settings)
        self._addresses = read_addresses(settings, self._environment)
        self._log_mask: LogMask = mask_logs(self._addresses.mask)
        self._told_problems: tuple[str, ...] = ()
        self._lines: dict[str, _Line] = {}
        self._tries: Counter[tuple[str, str]] = Counter()
        self._admitted: set[str] = set()
        self._seen_s: dict[str, float] = {}
        self._sent_s: list[float] = []
        self._sent_same_s: dict[tuple[str, ...], float] = {}
        self._unwritten: list[Alert | Told] = []
        self._alive_s: float | None = None
        self._dead_man_due_s = monotonic()
        self._wake, self._ending = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._sender: int | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with addresses, without secrets."""
        return self._addresses.problems

    def send(
        self,
        event: str,
        title: str,
        body: str = "",
        station: str | None = None,
        attach: Iterable[Path | str] = (),
    ) -> None:
        """Have people told; returns at once, and raises nothing but ValueError.

        Args:
            event: One of `EVENTS`; raises ValueError otherwise.
            title: One line.
            body: More; what is secret in it is masked.
            station: Of which station; it is named in front of the title.
            attach: Files, as they are when it is sent.
        """
        if event not in EVENTS:
            raise ValueError(f"no such event: {event!r}; there are {', '.join(EVENTS)}")
        mask = self._addresses.mask
        alert = Alert(
            id=new_id(),
            at=self._wall(),
            event=event,
            title=mask.text(printable(one_line(title)))[:200],
            body=mask.text(printable(body)),
            station=station,
            attach=tuple(str(path) for path in attach),
        )
        self._write(alert)
        self.start()
        self._wake.set()

    def alive(self) -> None:
        """Tell that the caller's loop goes round: without it no sign of life is sent."""
        self._alive_s = self._monotonic()

    def start(self) -> None:
        """Have the thread run that sends; what an earlier process left is sent, too."""
        with self._lock:
            if self._thread is None and not self._ending:
                self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
                self._thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the thread; what is not sent by then stays in the file for the next one."""
        with self._lock:
            self._ending = True
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join(timeout_s)
        self._log_mask.remove()

    def test(self, event: str = "test") -> dict[str, str]:
        """Send an alert to every address now; return by name why it failed, or an empty text."""
        told = EVENTS[event]
        title = f"Test: {told.about}"
        body = (
            f"This was sent by operando alerts test on {socket.gethostname()}. Nothing happened; "
            f"alerts of the event {event} look like this."
        )
        return {
            one.name: one.send(self._titled(title, None), body, told.severity)
            for one in self._addresses.told
        }

    def step(self) -> float:
        """Do what is due now; return in how many seconds there may be more to do.

        The thread does this; it sends, and takes as long as the network does.
        """
        self._reread()
        self._write_again()
        self._spool.read()
        now_s = self._monotonic()
        self._sent_s = [at_s for at_s in self._sent_s if now_s - at_s < _HOUR_S]
        self._beat()
        self._sum_up()
        self._admit()
        self._send_due()
        self._dead_man()
        return _LOOK_S

    def _run(self) -> None:
        while True:
            if self._sender is None:
                self._sender = self._spool_sender()
                if self._sender is not None:
                    self._remember()
            last_one = self._ending
            try:
                if self._sender is not None:
                    self.step()
                    self._spool.shorten()
            except Exception as error:
                # Any: who is told of failures must not be silenced by one.
                logger.error("alerts: %s: %s", type(error).__name__, error)
            if last_one:
                break
            self._wake.wait(_LOOK_S)
            self._wake.clear()
        if self._sender is not None:
            os.close(self._sender)
            self._sender = None

    def _spool_sender(self) -> int | None:
        try:
            return self._spool.sender()
        except OSError as error:
            logger.warning("alerts cannot be kept on the disk: %s", error.strerror)
            return None

    def _remember(self) -> None:
        """Know what was sent within the hour before this process."""
        self._spool.read()
        now_s, wall_s = self._monotonic(), self._wall()
        for alert in self._spool.alerts.values():
            outcome = self._spool.outcomes.get(alert.id)
            if outcome is None:
                continue
            if outcome.state is None:
                self._admitted.add(alert.id)
            if EVENTS.get(alert.event, EVENTS["test"]).counted and outcome.state in (None, "sent"):
                self._count(alert, now_s - max(0.0, wall_s - outcome.at))
        self._sent_s.sort()

    def _reread(self) -> None:
        """Read the addresses again: a file that was put right needs no restart."""
        now = signature(self._settings)
        if now != self._signature:
            self._signature = now
            self._addresses = read_addresses(self._settings, self._environment)
            self._log_mask.mask = self._addresses.mask
        if self._addresses.problems != self._told_problems:
            self._told_problems = self._addresses.problems
            for sentence in self._told_problems:
                logger.warning("alerts: %s", sentence)

    def _beat(self) -> None:
        every_h, state = self._settings.heartbeat_h, self._state
        if every_h is None or state is None or not self._loop_lives():
            return
        now = self._wall()
        beats = [one.at for one in self._spool.alerts.values() if one.event == "heartbeat"]
        # A time that is yet to come was told by a clock that has been set back since.
        last = max((at for at in beats if at <= now + _ALIVE_S), default=None)
        if last is not None and now - last < every_h * _HOUR_S:
            return
        body = f"{state()}\n\nThe next sign of life comes in {every_h:g} h; its absence is a sign."
        alert = Alert(
            id=new_id(),
            at=now,
            event="heartbeat",
            title="Sign of life",
            body=self._addresses.mask.text(printable(body)),
        )
        self._write(alert)
        self._spool.take(alert)

    def _loop_lives(self) -> bool:
        return self._alive_s is not None and self._monotonic() - self._alive_s < _ALIVE_S

    def _admit(self) -> None:
        """Decide of alerts that are new whether they are sent, or left out."""
        now_s = self._monotonic()
        for alert in self._spool.waiting():
            self._seen_s.setdefault(alert.id, now_s)
            if alert.id in self._admitted:
                continue
            if EVENTS.get(alert.event, EVENTS["test"]).counted:
                same_s = self._sent_same_s.get(_same(alert))
                again = same_s is not None and now_s - same_s < self._settings.not_again_within_s
                if again or len(self._sent_s) >= self._settings.at_most_per_hour:
                    self._write(Told(told=alert.id, at=self._wall(), state="left_out"))
                    continue
                self._count(alert, now_s)
            self._admitted.add(alert.id)

    def _count(self, alert: Alert, at_s: float) -> None:
        self._sent_s.append(at_s)
        same = _same(alert)
        self._sent_same_s[same] = max(at_s, self._sent_same_s.get(same, at_s))

    def _sum_up(self) -> None:
        """Say how many alerts were left out, once that can be said: one alert for all of them."""
        spool, now = self._spool, self._wall()
        left = [one for one in spool.alerts.values() if spool.state_of(one) == "left_out"]
        if not left or len(self._sent_s) >= self._settings.at_most_per_hour:
            return
        within_s = min(self._settings.not_again_within_s, _HOUR_S)
        if 0 <= now - min(one.at for one in left) < within_s:
            return
        titles = Counter(self._titled(one.title, one.station) for one in left)
        since = time.strftime("%d %b %H:%M", time.localtime(min(one.at for one in left)))
        lines = [f"{count} x {title}" for title, count in titles.most_common(20)]
        lines += [f"and {len(titles) - 20} others"] if len(titles) > 20 else []
        alert = Alert(
            id=new_id(),
            at=now,
            event="left_out",
            title=f"{len(left)} more alert{'s' * (len(left) != 1)} since {since}",
            body="\n".join(lines),
        )
        self._write(alert)
        spool.take(alert)
        self._count(alert, self._monotonic())
        for one in left:
            self._write(Told(told=one.id, at=now, state="summed"))

    def _send_due(self) -> None:
        waiting = [one for one in self._spool.waiting() if one.id in self._admitted]
        for alert in waiting:
            if not self._addresses.told and not self._addresses.problems:
                self._over(alert, "given_up", "nobody is named who could be told")
            elif self._wall() - alert.at > _GIVE_UP_S and self._long_seen(alert):
                self._over(alert, "given_up", "it could not be sent for three days")
        for address in self._addresses.told:
            self._send_all(address)

    def _long_seen(self, alert: Alert) -> bool:
        """Return whether it was tried for an hour: its age alone may be a clock that was set."""
        return self._monotonic() - self._seen_s.get(alert.id, math.inf) > _HOUR_S

    def _send_all(self, address: Address) -> None:
        """Send what waits for an address, until it fails."""
        line = self._lines.setdefault(address.name, _Line())
        waiting = [
            one
            for one in self._spool.waiting()
            if one.id in self._admitted and address.name not in self._spool.has(one)
        ]
        # What an address does not take comes behind what it may take.
        waiting.sort(key=lambda one: (self._tries[one.id, address.name], one.at))
        for alert in waiting:
            if self._monotonic() < line.due_s:
                return
            tries = self._tries[alert.id, address.name]
            event = EVENTS.get(alert.event, EVENTS["test"])
            attach = [Path(path) for path in alert.attach] if tries < 3 else []
            title, body = self._titled(alert.title, alert.station), self._body(alert)
            why = address.send(title, body, event.severity, attach)
            if why:
                self._tries[alert.id, address.name] += 1
                wait_s = min(_FIRST_RETRY_S * 2 ** min(line.failures, 20), _LONGEST_RETRY_S)
                line.failures += 1
                line.due_s = self._monotonic() + wait_s
                if line.failures == 1:
                    logger.warning("no alert can be sent to %s: %s", address.name, why)
                if tries == 0:
                    self._write(Told(told=alert.id, at=self._wall(), why=f"{address.name}: {why}"))
                return
            line.failures = 0
            self._tries.pop((alert.id, address.name), None)
            self._seen_s.pop(alert.id, None)
            has = (*self._spool.has(alert), address.name)
            everybody = all(one.name in has for one in self._addresses.told)
            state: Outcome | None = "sent" if everybody else None
            self._write(Told(told=alert.id, at=self._wall(), to=(address.name,), state=state))
            if everybody:
                self._admitted.discard(alert.id)

    def _over(self, alert: Alert, state: Outcome, why: str) -> None:
        self._write(Told(told=alert.id, at=self._wall(), state=state, why=why))
        self._admitted.discard(alert.id)

    def _dead_man(self) -> None:
        url = self._addresses.heartbeat_url
        now_s = self._monotonic()
        if url is None or now_s < self._dead_man_due_s or not self._loop_lives():
            return
        why = _asked_for(url)
        self._dead_man_due_s = now_s + (_DEAD_MAN_AGAIN_S if why else _DEAD_MAN_S)
        if why:
            text = self._addresses.mask.text(why)
            logger.warning("the address of the heartbeat ($%s): %s", HEARTBEAT_URL, text)

    def _write(self, entry: Alert | Told) -> None:
        """Append to the file; where the disk takes nothing, keep it in memory until it does."""
        if isinstance(entry, Told):
            self._spool.take(entry)
        try:
            self._spool.add(entry)
        except OSError:
            self._unwritten = [*self._unwritten[-_MEMORY:], entry]

    def _write_again(self) -> None:
        entries, self._unwritten = self._unwritten, []
        for entry in entries:
            self._spool.take(entry)
            self._write(entry)

    def _titled(self, title: str, station: str | None) -> str:
        return f"[operando {station or socket.gethostname()}] {title}"

    def _body(self, alert: Alert) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(alert.at))
        return f"{alert.body}\n\n{when}, {socket.gethostname()}".strip()


def leave_alert(
    data_dir: Path, event: str, title: str, body: str = "", station: str | None = None
) -> None:
    """Leave an alert with whoever sends those of a data folder; for a process that sends none.

    It knows no address. Raises OSError where the disk takes none, ValueError for another event.
    """
    if event not in EVENTS:
        raise ValueError(f"no such event: {event!r}; there are {', '.join(EVENTS)}")
    mask = Mask(known_secrets(data_dir))
    Spool(spool_path(data_dir)).add(
        Alert(
            id=new_id(),
            at=time.time(),
            event=event,
            title=mask.text(printable(one_line(title)))[:200],
            body=mask.text(printable(body)),
            station=station,
        )
    )


def spool_path(data_dir: Path) -> Path:
    """Return the file in which a data folder's alerts wait."""
    return data_dir / "state" / "queueing" / "alerts.jsonl"


def recent(data_dir: Path, count: int = 20) -> list[Shown]:
    """Return the newest alerts of a data folder, the oldest of them first."""
    spool = Spool(spool_path(data_dir))
    spool.read()
    found = []
    for alert in list(spool.alerts.values())[-count:]:
        outcome = spool.outcomes.get(alert.id)
        state = spool.state_of(alert) or "waiting"
        found.append(Shown(alert, state, spool.has(alert), outcome.why if outcome else ""))
    return found


def addresses(settings: AlertSettings, environment: Mapping[str, str] | None = None) -> Addresses:
    """Return who is told; names hold nothing secret."""
    return read_addresses(settings, environment)


def _same(alert: Alert) -> tuple[str, ...]:
    event = EVENTS.get(alert.event, EVENTS["test"])
    whose = alert.station or ""
    return (alert.event, whose) if event.one_for == "station" else (alert.event, whose, alert.title)


def _asked_for(url: str) -> str:
    """Ask for an address; return why that failed."""
    import httpx

    try:
        answer = httpx.get(url, timeout=10.0, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if answer.is_success else f"it answered {answer.status_code}"
