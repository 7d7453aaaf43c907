"""The clocks: the computer's, against the time of the network, and those of instruments."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError
from operando.checking._report import Item

# What a clock may be off before results are joined to the wrong rows, s.
_OFF_S = 2.0
# An instrument that tells whole seconds, and the way there and back.
_COARSE_S = 2.0
_ASK_S = 3.0


def computer_clock() -> Item:
    """Return whether this computer's clock follows the network's, as its own services tell it.

    Asked are chrony and timedatectl, whichever is there.
    """
    name = "clock of this computer"
    tracked = _asked("chronyc", "-c", "tracking")
    if tracked is not None:
        found = of_chrony(tracked)
        if found is not None:
            return found
    told = _asked("timedatectl", "show")
    if told is not None:
        values = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        follows = values.get("NTPSynchronized")
        if follows == "yes":
            return Item(name, "ok", "follows the network's time (timedatectl)")
        if follows == "no":
            return Item(
                name,
                "warning",
                "does not follow the network's time (timedatectl)",
                "`timedatectl set-ntp true`, or a time server of this network: dates of runs and "
                "of other boxes' files drift apart",
            )
    return Item(name, "not checked", "neither chrony nor timedatectl tells whether it is right")


def of_chrony(tracking: str) -> Item | None:
    """Return what a line of ``chronyc -c tracking`` says; ``None`` if it is none.

    Its fields: 4 is how far the clock is from the network's time, s, the last how it follows.
    """
    fields = tracking.strip().split(",")
    if len(fields) < 14:
        return None
    try:
        off_s = abs(float(fields[4]))
    except ValueError:
        return None
    name, leap = "clock of this computer", fields[-1]
    if leap == "Not synchronised":
        return Item(
            name, "warning", "does not follow the network's time (chrony)", "look at chrony.conf"
        )
    told = f"{off_s:.3g} s from the network's time (chrony)"
    if off_s > _OFF_S:
        return Item(name, "warning", told, "wait until chrony has brought it there")
    return Item(name, "ok", told)


def instrument_clocks(file: BenchFile, drivers: Mapping[str, Any]) -> Iterator[Item]:
    """Yield how the clocks of instruments agree that have a date of their own.

    A potentiostat's timer begins with each program and has none.
    """
    for name, entry in file.instruments.items():
        declared = getattr(entry, "clock_offset_s", None)
        ask = getattr(drivers.get(name), "clock_ahead_s", None)
        if ask is None:
            if declared is not None and name in drivers:
                yield Item(
                    f"{name}: clock",
                    "not checked",
                    f"taken to be {declared:g} s ahead (clock_offset_s); it cannot be asked",
                )
            continue
        try:
            ahead_s = ask()
        except InstrumentError as error:
            yield Item(f"{name}: clock", "not checked", str(error))
            continue
        if ahead_s is None:
            yield Item(f"{name}: clock", "not checked", "it tells no time")
            continue
        off_s = ahead_s - (declared or 0.0)
        told = f"{round(ahead_s)} s ahead of this computer's"
        if declared is not None:
            told += f", the bench file tells {declared:g} s"
        if abs(off_s) > _OFF_S + _COARSE_S:
            yield Item(
                f"{name}: clock",
                "warning",
                told,
                "set its clock, or clock_offset_s in the bench file: results are joined by it",
            )
        else:
            yield Item(f"{name}: clock", "ok", told)


def _asked(program: str, *arguments: str) -> str | None:
    """Return what a program of the system says, ``None`` if it is not there or fails."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=_ASK_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
