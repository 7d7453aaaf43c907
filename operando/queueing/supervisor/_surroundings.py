"""What concerns all stations: clock, disk, figure of the day, what was moved away, who is told."""

import datetime
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from operando.queueing.store import POISONED, Store
from techniques.queueing import AlertSettings

from ._house import House, Tells
from ._lost import lost

_log = logging.getLogger(__name__)

_DISK_EVERY_S = 30.0
_DAILY_WITHIN_S = 600.0


class Surroundings:
    """Looks at what concerns all stations, and tells of it."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._disk_at: float | None = None
        self._disk = "ok"
        self._daily: subprocess.Popen[bytes] | None = None
        self._daily_given_up_at = 0.0

    def look(self) -> None:
        """Look at everything that is due."""
        alive = getattr(self._house.alerts, "alive", None)
        if alive is not None:
            alive()
        self._look_at_clock()
        self._look_at_disk()
        self._look_at_day()
        self._look_at_poisoned()

    def close(self) -> None:
        """Let go of what was begun."""
        if self._daily is not None:
            self._daily.kill()
            self._daily.wait()
        close = getattr(self._house.alerts, "close", None)
        if close is not None:
            close()

    def _look_at_clock(self) -> None:
        step_s = self._house.clock.step_s()
        if step_s is None:
            return
        way = "forward" if step_s > 0 else "back"
        now = datetime.datetime.fromtimestamp(self._house.clock.wall()).isoformat(" ", "seconds")
        text = (
            f"It was set {way} by {abs(step_s):.0f} s, to {now}. Items that wait for a time begin "
            "by the new one; nothing runs twice, and what runs does not depend on it"
        )
        _log.warning("the clock was set: %s", text)
        with open(self._house.data_dir / "state" / "clock-steps.jsonl", "a") as file:
            file.write(f'{{"at": {self._house.clock.wall():.3f}, "step_s": {step_s:.3f}}}\n')
        self._house.alerts.send("clock_step", "The clock was set", text)

    def _look_at_disk(self) -> None:
        now = time.monotonic()
        if self._disk_at is not None and now - self._disk_at < _DISK_EVERY_S:
            return
        self._disk_at = now
        from operando.queueing.disk import space

        found = space(self._house.data_dir, self._house.stations.retention)
        self._house.no_start = found.why if found.state == "hold" else ""
        if found.state != self._disk and found.state != "ok":
            self._house.alerts.send("disk_low", "The disk is filling up", f"{found.why} ({found})")
        self._disk = found.state

    def _look_at_poisoned(self) -> None:
        """Tell, once, of each entry that somebody, whoever it was, could not read."""
        for entry in self._house.store.newly_poisoned(":".join(self._house.here.values())):
            what, station, todo = lost(str(entry["key"]))
            if station is not None and self._house.stations.station(station) is None:
                continue  # of another computer, which tells it
            self._house.alerts.send(
                "poisoned",
                f"{what} could not be read",
                f"{entry['why']}. {todo} ({entry['key']} was moved to {POISONED}.)",
                station=station,
            )

    def _look_at_day(self) -> None:
        """Have the figure and table of the day made, when it is time, once a day."""
        if self._daily is not None:
            code = self._daily.poll()
            if code is None:
                if time.monotonic() > self._daily_given_up_at:
                    self._daily.kill()
                return
            if code != 0:
                _log.warning("the figure of the day was not made (exit code %s)", code)
            self._daily = None
            return
        at = self._house.stations.daily_at
        now = datetime.datetime.fromtimestamp(self._house.clock.wall())
        if at is None or now.strftime("%H:%M") < at:
            return
        folder = self._house.data_dir / "state" / "daily"
        mark, first = folder / f".{now:%Y-%m-%d}", not folder.exists()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        if first:
            return  # there is no day yet that could be told of
        self._daily_given_up_at = time.monotonic() + _DAILY_WITHIN_S
        self._daily = subprocess.Popen(
            [sys.executable, "-m", "operando", "daily", "--send"],
            env=os.environ | {"OPERANDO_DATA": str(self._house.data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def alerts_of(settings: AlertSettings, data_dir: Path, store: Store) -> Tells:
    """Return who tells people, running."""
    from operando.queueing.alerts import Alerts, stations_told

    alerts = Alerts(settings, data_dir, state=lambda: stations_told(store.stations()))
    alerts.start()
    return alerts
