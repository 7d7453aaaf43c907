"""How full the disk is, how long the room lasts, and what that allows."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from techniques.queueing import Retention

GB = 1e9
_DAY_S = 86400.0
_HISTORY = Path("state") / "queueing" / "disk.json"
# The rate is that of a day; looks more frequent than this are not kept, older ones not counted.
_KEEP_EVERY_S, _KEEP_FOR_S = 600.0, _DAY_S
_NEEDED_S = 3600.0


@dataclass(frozen=True)
class DiskState:
    """How full the disk of a data folder is.

    Attributes:
        state: ``low``: somebody is told; ``hold``: no item is started.
        free_gb: Free space for this user, GB.
        rate_gb_day: How fast it became less within the last day, GB/day; negative where it became
            more; ``None``: it was not watched for an hour yet.
        days_left: Until ``hold_below_gb`` at that rate; ``None``: no rate, or it becomes more.
        why: What is wrong and what to do; empty where nothing is.
    """

    state: Literal["ok", "low", "hold"]
    free_gb: float
    rate_gb_day: float | None
    days_left: float | None
    why: str = ""

    def __str__(self) -> str:
        told = f"{self.free_gb:.1f} GB free"
        if self.rate_gb_day is not None:
            told += f", {self.rate_gb_day:.2g} GB a day"
        if self.days_left is not None:
            told += f", enough for {self.days_left:.0f} days"
        return told


def space(
    data_dir: Path,
    retention: Retention,
    *,
    now: Callable[[], float] = time.time,
    free_bytes: Callable[[Path], int] | None = None,
) -> DiskState:
    """Look at the disk of a data folder, and remember what was seen: the rate comes from that.

    Args:
        data_dir: The data folder; need not be there.
        retention: The limits.
        now: The time, s of the epoch.
        free_bytes: Tells the free space of a folder; by default the system.
    """
    there = next(part for part in (data_dir, *data_dir.parents) if part.exists())
    free = shutil.disk_usage(there).free if free_bytes is None else free_bytes(there)
    free_gb = free / GB
    at = now()
    seen = _seen(data_dir, at)
    rate = _rate_gb_day([*seen, (at, free_gb)])
    if data_dir.is_dir() and (not seen or at - seen[-1][0] >= _KEEP_EVERY_S):
        _keep(data_dir, [*seen, (at, free_gb)])
    days = None
    if rate is not None and rate > 0:
        days = max(0.0, free_gb - retention.hold_below_gb) / rate
    told = f"{free_gb:.1f} GB are free at {there}"
    advice = "free some space, or have exported raw data deleted (operando retention)"
    if free_gb < retention.hold_below_gb:
        why = f"{told}, less than hold_below_gb {retention.hold_below_gb:g}: no item is started; "
        return DiskState("hold", free_gb, rate, days, why + advice)
    if free_gb < retention.warn_below_gb:
        why = f"{told}, less than warn_below_gb {retention.warn_below_gb:g}: {advice}"
        return DiskState("low", free_gb, rate, days, why)
    if days is not None and days < retention.warn_below_days:
        why = f"{told}, which lasts {days:.1f} days at {rate:.3g} GB a day: {advice}"
        return DiskState("low", free_gb, rate, days, why)
    return DiskState("ok", free_gb, rate, days)


def _rate_gb_day(seen: list[tuple[float, float]]) -> float | None:
    """Return the slope of a straight line through what was seen, GB a day that are gone."""
    if len(seen) < 2 or seen[-1][0] - seen[0][0] < _NEEDED_S:
        return None
    at = [(one - seen[-1][0]) / _DAY_S for one, _ in seen]
    free = [one for _, one in seen]
    at_mean, free_mean = sum(at) / len(at), sum(free) / len(free)
    square = sum((one - at_mean) ** 2 for one in at)
    product = sum(
        (one - at_mean) * (other - free_mean) for one, other in zip(at, free, strict=True)
    )
    return -product / square if square > 0 else None


def _seen(data_dir: Path, at: float) -> list[tuple[float, float]]:
    try:
        told: Any = json.loads((data_dir / _HISTORY).read_text(encoding="utf-8"))
        found = [(float(one), float(free)) for one, free in told]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    # What is yet to come was seen by a clock that has been set back since.
    return sorted(one for one in found if at - _KEEP_FOR_S <= one[0] < at)


def _keep(data_dir: Path, seen: list[tuple[float, float]]) -> None:
    place = data_dir / _HISTORY
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):  # a full disk: then there is no rate, and none is needed
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            part.write_text(json.dumps([[round(at), round(free, 6)] for at, free in seen]))
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
