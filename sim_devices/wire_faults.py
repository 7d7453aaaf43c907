"""What can break between a simulated instrument and its client: one vocabulary for every wire.

Each instrument's module says in a `FaultsOf` which of these faults its wire has, in its own words
where they mean something of its own there, and why the others cannot happen; `list_faults` gathers
them. `WireFaults` keeps what is broken at one wire. Servers of byte streams
(`sim_devices.pty_server`) and of frames (`sim_devices.doors`) ask it before they deliver anything;
an instrument's language asks it for what only a language can break: refusals, checksums, values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

import numpy as np

CANNOT = "cannot happen: "

_WHILE = "for `seconds` (without: until `resume`)"
WIRE_FAULTS: Mapping[str, str] = {
    "stall": f"says nothing {_WHILE}; what it has to say waits, and it still hears",
    "resume": "ends what lasts (`stall`, `split`, `merge`, `slow`) and what has not come about yet",
    "garble": "flips bit `bit` (7, which no ASCII has) of one byte, that at `byte` or any, in each "
    "of the next `count` (1) lines",
    "drop-bytes": "loses `bytes` (1) bytes in the middle of each of the next `count` (1) lines",
    "drop": "loses the next `count` (1) lines",
    "split": f"{_WHILE} what it says comes in pieces, `pause_s` (0.02) after one another",
    "merge": f"{_WHILE} what it says within `hold_s` (0.2) is held and comes together",
    "refuse": "refuses the next `count` (1) connections or requests",
    "disconnect": "is gone for `seconds` (1), not reset, and back at the address that is published "
    "then",
    "power-cycle": "has no power for `seconds` (1): what it had to say is lost, it is deaf and "
    "silent, and then as when it is switched on",
    "wrong-checksum": "says the next `count` (1) answers with a checksum that is not theirs",
    "clock-jump": "sets its own clock forward by `seconds` (60), back if negative",
    "slow": f"says everything `delay_s` (0.5) late {_WHILE}",
    "out-of-range": "tells in the next `count` (1) answers that have one a value that cannot be: "
    "`value`, or one of its own",
    "garble-in": "hears one byte of each of the next `count` (1) lines with bit `bit` (7) flipped",
}
SERIAL_FAULTS: Mapping[str, str] = {
    "unplug": "is gone for good; a client's next read or write fails",
    "wrong-speed": "the two sides run at different speeds: what one says the other takes for other "
    "bytes. Frames that do not fit are most often read as bytes with their high bits set, and "
    "rarely as the end of a line",
    "wrong-parity": "sends seven bits and even parity to a host that reads eight bits and has the "
    "parity in the highest; it hears the host, whose parity it does not check",
    "right-settings": "ends the last two",
}
# What an instrument on a serial line has to say for itself; the line has all the others.
OF_THE_LANGUAGE = ("refuse", "wrong-checksum", "clock-jump", "out-of-range")

_GONE_POLL_S = 0.1


class FaultsOf(Mapping[str, str]):
    """Which faults an instrument has, and what they do; behind `CANNOT`, why it has not.

    A mapping of names to sentences, every one of `WIRE_FAULTS` among them.
    """

    def __init__(
        self, whose: str, has: Mapping[str, str], cannot: Mapping[str, str] | None = None
    ) -> None:
        """Describe them.

        Args:
            whose: name of the kind of instrument, with its article.
            has: what each does.
            cannot: why a fault of `WIRE_FAULTS` cannot happen.

        Raises:
            ValueError: one of `WIRE_FAULTS` is in neither, or in both.
        """
        cannot = cannot or {}
        both = has.keys() & cannot.keys()
        missing = WIRE_FAULTS.keys() - has.keys() - cannot.keys()
        if both or missing:
            raise ValueError(
                f"faults of {whose}: {sorted(both)} both have and cannot happen, "
                f"{sorted(missing)} are not told"
            )
        self.whose = whose
        self._told = {**has, **{name: CANNOT + why for name, why in cannot.items()}}

    def __getitem__(self, fault: str) -> str:
        """Return what a fault does, or `CANNOT` and why it cannot happen."""
        return self._told[fault]

    def __iter__(self) -> Iterator[str]:
        """Iterate over all names: those of every wire first."""
        own = [name for name in self._told if name not in WIRE_FAULTS]
        return iter([*WIRE_FAULTS, *own])

    def __len__(self) -> int:
        """Return how many are told, those that cannot happen among them."""
        return len(self._told)

    def check(self, fault: str) -> None:
        """Raise ValueError if there is no such fault, or it cannot happen here."""
        told = self._told.get(fault)
        if told is None:
            able = ", ".join(name for name in self if not self[name].startswith(CANNOT))
            raise ValueError(f"{self.whose} has no fault {fault!r}; it has {able}")
        if told.startswith(CANNOT):
            raise ValueError(f"{self.whose}: {fault} {told}")


def on_a_line(
    whose: str, has: Mapping[str, str], cannot: Mapping[str, str] | None = None
) -> FaultsOf:
    """Return the faults of an instrument on a serial line: all that the line has, and its own.

    Args:
        whose: as for `FaultsOf`.
        has: its own, also in place of the line's words; `OF_THE_LANGUAGE` here or in ``cannot``.
        cannot: as for `FaultsOf`.
    """
    line = {name: what for name, what in WIRE_FAULTS.items() if name not in OF_THE_LANGUAGE}
    cannot = cannot or {}
    told = {**line, **SERIAL_FAULTS, **has}
    return FaultsOf(whose, {k: v for k, v in told.items() if k not in cannot}, cannot)


# Where the faults of each instrument are told, by the name under which a bench serves it.
_TOLD_IN: Mapping[str, str] = {
    "afm": "sim_devices.writers:FAULTS",
    "camera": "sim_devices.micrograph:FAULTS",
    "chromatograph": "sim_devices.chromatograph:FAULTS",
    "dems": "sim_devices.dems:FAULTS",
    "ftir": "sim_devices.writers:FAULTS",
    "fusion": "sim_devices.fusion:FAULTS",
    "gige_camera": "sim_devices.gige_camera:FAULTS",
    "interlock": "sim_devices.dcon:FAULTS",
    "julabo": "sim_devices.julabo:FAULTS",
    "keithley": "sim_devices.keithley.device:FAULTS",
    "microbalance": "sim_devices.qcm200:FAULTS",
    "ph_meter": "sim_devices.ezo_ph:FAULTS",
    "potentiostat": "sim_devices.methodscript.faults:FAULTS",
    "pressure": "sim_devices.keller:FAULTS",
    "raman": "sim_devices.wasatch_fid.spectrometer:FAULTS",
    "raman_ocean": "sim_devices.ocean_hdx:FAULTS",
    "relay_board": "sim_devices.relay_board:FAULTS",
    "rodeostat": "sim_devices.rodeostat:FAULTS",
    "sampling_valve": "sim_devices.vici:FAULTS",
    "stage": "sim_devices.zaber:FAULTS",
    "thermostat": "sim_devices.thermostat:FAULTS",
    "ultrasound": "sim_devices.writers:FAULTS",
    "xrd": "sim_devices.writers:FAULTS",
}


def list_faults() -> dict[str, dict[str, str]]:
    """Return for each instrument what each of its faults does, or `CANNOT` and why not."""
    listed = {}
    for instrument, place in _TOLD_IN.items():
        module, _, name = place.partition(":")
        faults: FaultsOf = getattr(import_module(module), name)
        listed[instrument] = dict(faults)
    return listed


class WireFaults:
    """What is broken at one wire just now; safe to use from any thread.

    Faults that break the next so many things are counted here, those that last have their end
    here, host seconds.
    """

    def __init__(self, faults: FaultsOf | None = None, seed: int = 0) -> None:
        """Begin with nothing broken.

        Args:
            faults: which there are; None: `take` takes any.
            seed: of the choice which byte is hit, and where what is said is cut.
        """
        self._faults = faults
        self._random = np.random.default_rng(seed)
        self._changed = threading.Condition(threading.RLock())
        self._left: dict[str, int] = {}  # of those that count
        self._until: dict[str, float] = {}  # of those that last; inf: until resume
        self._options: dict[str, dict[str, object]] = {}
        self._off_until = 0.0
        self._window_ends = 0.0
        self._closed = False

    def take(self, fault: str, options: Mapping[str, object]) -> None:
        """Break something: what counts and what lasts; the server does the rest.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        if self._faults is not None:
            self._faults.check(fault)
        with self._changed:
            self._options[fault] = dict(options)
            if fault == "resume":
                self._until.clear()
                self._left.clear()
            elif fault in ("power-cycle", "disconnect"):
                self._off_until = time.monotonic() + number_of(options, "seconds", 1.0)
                self._until.clear()
            elif fault in ("stall", "split", "merge", "slow"):
                seconds = number_of(options, "seconds", float("inf"))
                for name in ("delay_s", "pause_s", "hold_s"):
                    number_of(options, name, 0.0)
                self._until[fault] = time.monotonic() + seconds
            elif fault in _COUNTED:
                for name in ("bit", "bytes", "value"):
                    number_of(options, name, 0.0)
                count = int(number_of(options, "count", 1))
                self._left[fault] = self._left.get(fault, 0) + count
            self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether the instrument is switched off for good."""
        return self._closed

    # ---- for languages

    def due(self, fault: str) -> bool:
        """Return whether the next thing is hit by a fault that counts, and count it."""
        with self._changed:
            left = self._left.get(fault, 0)
            if left > 0:
                self._left[fault] = left - 1
            return left > 0

    def told(self, value: float, impossible: float) -> float:
        """Return a value as it is told: unless ``out-of-range`` is due, as it is."""
        if not self.due("out-of-range"):
            return value
        return self.option("out-of-range", "value", impossible)

    def told_text(self, text: str, impossible: str) -> str:
        """Return a text as it is told: unless ``out-of-range`` is due, as it is."""
        if not self.due("out-of-range"):
            return text
        with self._changed:
            given = self._options["out-of-range"].get("value")
        return impossible if given is None else f"{given:g}"

    def is_due(self, fault: str) -> bool:
        """Return whether the next thing will be hit by a fault that counts."""
        with self._changed:
            return self._left.get(fault, 0) > 0

    def option(self, fault: str, name: str, default: float) -> float:
        """Return an option of the last fault of this name."""
        with self._changed:
            return number_of(self._options.get(fault, {}), name, default)

    # ---- for servers

    def lasts(self, fault: str) -> bool:
        """Return whether a fault that lasts is on."""
        return self._seconds_left(fault) > 0

    def silent_s(self) -> float:
        """Return for how long nothing will be said, 0 if it may be, inf until ``resume``."""
        return max(self._seconds_left("stall"), self.off_s())

    def off_s(self) -> float:
        """Return for how long it will be without power, or gone."""
        return max(0.0, self._off_until - time.monotonic())

    def ready_at(self) -> float:
        """Return when what is said now may go out, monotonic seconds: ``slow``, ``merge``."""
        now = time.monotonic()
        with self._changed:
            if self.lasts("merge"):
                if now >= self._window_ends:
                    self._window_ends = now + self.option("merge", "hold_s", 0.2)
                now = self._window_ends
            return now + (self.option("slow", "delay_s", 0.5) if self.lasts("slow") else 0.0)

    def piece(self, size: int) -> tuple[int, float]:
        """Return how much of what waits goes out at once, and how long the rest waits, s."""
        if size < 2 or not self.lasts("split"):
            return size, 0.0
        with self._changed:
            return int(self._random.integers(1, size)), self.option("split", "pause_s", 0.02)

    def on_its_way(self, data: bytes) -> bytes:
        """Return what arrives of what is said: ``drop``, ``drop-bytes``, ``garble``, by lines."""
        with self._changed:
            if not any(self._left.get(fault) for fault in ("drop", "drop-bytes", "garble")):
                return data
            lines = []
            for line in data.splitlines(keepends=True):
                if self.due("drop"):
                    continue
                shorter, text = line, line.rstrip(_LINE_ENDS)
                if text and self.due("drop-bytes"):
                    shorter = self.shortened(text) + line[len(text) :]
                text = shorter.rstrip(_LINE_ENDS)
                if text and self.due("garble"):
                    shorter = self.flipped(text, "garble") + shorter[len(text) :]
                lines.append(shorter)
            return b"".join(lines)

    def heard(self, data: bytes) -> bytes:
        """Return what is heard of what a client says: ``garble-in``, by lines."""
        with self._changed:
            if not self._left.get("garble-in"):
                return data
            lines = []
            for line in data.splitlines(keepends=True):
                text = line.rstrip(_LINE_ENDS)
                if text and self.due("garble-in"):
                    line = self.flipped(text, "garble-in") + line[len(text) :]
                lines.append(line)
            return b"".join(lines)

    def flipped(self, data: bytes, fault: str) -> bytes:
        """Return bytes with one bit of one of them flipped, as a fault's options say."""
        with self._changed:
            bit = int(self.option(fault, "bit", 7))
            where = int(self._random.integers(0, len(data)))
            where = int(self.option(fault, "byte", where)) % len(data)
        damaged = bytearray(data)
        damaged[where] ^= 1 << bit
        return bytes(damaged)

    def shortened(self, data: bytes) -> bytes:
        """Return bytes without ``drop-bytes`` of them, one after the other."""
        with self._changed:
            lost = min(int(self.option("drop-bytes", "bytes", 1)), len(data))
            where = int(self._random.integers(0, len(data) - lost + 1))
        return data[:where] + data[where + lost :]

    def pause(
        self, until: float, gone: Callable[[], bool] = lambda: False, *, stalls: bool = True
    ) -> bool:
        """Wait until a time, and for the end of a stall; return False if that is to no purpose.

        Args:
            until: monotonic seconds.
            gone: whether who is waited for has gone; asked ten times a second.
            stalls: whether a stall is waited for.
        """
        with self._changed:
            while True:
                left = max(until - time.monotonic(), self.silent_s() if stalls else self.off_s())
                if self._closed or (left > 0 and gone()):
                    return False
                if left <= 0:
                    return True
                self._changed.wait(min(left, _GONE_POLL_S))

    def _seconds_left(self, fault: str) -> float:
        with self._changed:
            return max(0.0, self._until.get(fault, 0.0) - time.monotonic())


_LINE_ENDS = b"\r\n"
_COUNTED = (
    "garble",
    "drop-bytes",
    "drop",
    "refuse",
    "wrong-checksum",
    "out-of-range",
    "garble-in",
)


def number_of(options: Mapping[str, object], name: str, default: float) -> float:
    """Return an option that is a number; raises ValueError if it is something else."""
    value = options.get(name, default)
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{name} must be a number, got {value!r}")
