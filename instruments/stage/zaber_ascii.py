"""Zaber's motion controllers: ASCII messages over a serial line (115200 baud).

A command is ``/``, the number of a controller in the chain, that of its axis, words, and LF. It is
answered by ``@01 1 OK IDLE -- 0`` CR LF: who answers, whether it took the command (OK, or RJ and
why), whether the axis moves (BUSY), its gravest fault (F), warning (W) or note (N) or ``--``, and
data. Lines that begin with ``!`` (alerts) or ``#`` (info) may come at any time. Positions are in
microsteps. After Zaber's ASCII Protocol Manual (zaber.com/protocol-manual).
"""

import logging
import math
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from instruments._driver import PADDING, LineDriver, is_plain, number_in, of_other_settings
from instruments.abilities import Abilities, Span
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportTimeout,
)
from instruments.stage.contract import TravelLimitError
from instruments.transport import SerialSettings

_log = logging.getLogger(__name__)

_ANSWER_S = 0.5
_POLL_S = 0.05
_LONGEST_MOVE_S = 120.0
_MANY_LINES = 50
# Older controllers call their settings otherwise.
_OLDEST_FIRMWARE = 7
_REPLY = re.compile(
    r"@(\d{2}) (\d) (OK|RJ) (BUSY|IDLE) (\S\S)(?: ([^:]*?))?(?::([0-9A-Fa-f]{2}))?\Z"
)
# Warnings that say that a position means nothing.
_NO_REFERENCE = frozenset({"WR", "WH"})
_FAULTS = {
    "FD": "its driver is disabled",
    "FQ": "its encoder fails",
    "FS": "it stalled: is something in the way?",
    "FT": "it is twisted too far",
    "FE": "it ran into a limit switch unexpectedly",
    "FF": "a critical fault; switch it off and on",
}


@dataclass(frozen=True)
class Axis:
    """One axis: where it hangs, what a microstep is, how far it may go.

    Attributes:
        device: number of the controller in the chain.
        axis: number of the axis on it.
        micrometre_per_step: of one microstep, um.
        min_um: soft limit, um.
        max_um: soft limit, um.
    """

    device: int
    axis: int
    micrometre_per_step: float
    min_um: float
    max_um: float

    @property
    def address(self) -> str:
        """Return what its commands begin with."""
        return f"/{self.device} {self.axis}"


class _Reply(NamedTuple):
    accepted: bool
    busy: bool
    flag: str
    data: str
    line: str


class ZaberStage(LineDriver):
    """A stage of one to three axes.

    Connecting checks that each is there and asks for its own limits; it moves nothing, and raises
    InstrumentFaultError if one is in a fault. An axis without a reference position is a warning:
    home it.

    Args:
        address: ``serial:///dev/...`` (115200 baud) or ``published:`` one.
        axes: of the stage, by name (x, y, z).
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "stage"
    _right = "powered, at 115200 baud, set to ASCII, and of this number in its chain"
    _left = "Whether it moves is unknown"
    _settings = SerialSettings(baud_rate=115200)

    def __init__(
        self, address: str, axes: Mapping[str, Axis], *, record_to: Path | None = None
    ) -> None:
        super().__init__(address, record_to=record_to)
        self._axes = dict(axes)
        self._moving = threading.Lock()
        self._halt = threading.Event()
        self._limits = {name: (one.min_um, one.max_um) for name, one in self._axes.items()}
        self._ends: dict[str, tuple[float, float]] = {}  # of its controllers, as they tell them
        self._told: dict[str, str] = {}

    @property
    def quantities(self) -> Mapping[str, str]:
        """Return the axes, each in um."""
        return dict.fromkeys(self._axes, "um")

    def close(self) -> None:
        """Stop and release the line; safe to call twice, and while another thread moves it."""
        if self._transport is None:
            return
        try:
            self.safe_state()
        finally:
            with self._lock:
                self._release()

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Zaber controllers that speak ASCII",
                does=("move axes x, y, z", "home", "stop"),
                limits={"position": Span(None, None, "um")},
                limits_kept_by="instrument",
                limits_note="the controllers' own ends of travel, asked for when they are "
                "connected; min_um and max_um of the bench file are kept by this software",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return model and firmware of each axis, as their controllers tell them."""
        return {"model": "Zaber ASCII stage", "address": self._wire().address, **self._told}

    def limits_um(self) -> Mapping[str, tuple[float, float]]:
        """Return the lowest and highest position of each axis, um; the bench file's at first."""
        return dict(self._limits)

    def read(self) -> Mapping[str, float]:
        """Return where each axis is, um; NaN where it has no reference position."""
        found = {}
        for name, axis in self._axes.items():
            reply = self._asked(name, "get pos")
            found[name] = self._um(name, axis, reply)
        return found

    def move_to(self, target_um: Mapping[str, float]) -> None:
        """Move some or all axes together and return when they are there.

        Raises TravelLimitError before anything moves, InstrumentFaultError if an axis has no
        reference position, faults, is stopped or ends elsewhere, or does not get there within
        120 s; all axes are stopped then.
        """
        for name, um in target_um.items():
            low, high = self._limits[name]
            if not low <= um <= high:
                raise TravelLimitError(
                    f"{self._who()}: asked for {name} = {um:g} um, {low:g} um to {high:g} um are "
                    "allowed; nothing has moved"
                )
        with self._moving:
            self._halt.clear()
            unknown = [x for x in target_um if self._asked(x, "").flag in _NO_REFERENCE]
            if unknown:
                raise InstrumentFaultError(
                    f"{self._who()}: axis {', '.join(unknown)} has no reference position: clear "
                    "the way and home it (stage.home()). Nothing has moved"
                )
            steps = {
                name: round(um / self._axes[name].micrometre_per_step)
                for name, um in target_um.items()
            }
            try:
                for name, step in steps.items():
                    self._asked(name, f"move abs {step}")
                self._wait_until_idle(steps)
                self._check_arrival(steps)
            except InstrumentError:
                self._stop_what_can_be()
                raise

    def home(self) -> None:
        """Find the reference position of every axis, one after the other; up to 120 s each."""
        with self._moving:
            self._halt.clear()
            for name in self._axes:
                try:
                    self._asked(name, "home")
                    self._wait_until_idle([name])
                except InstrumentError:
                    self._stop_what_can_be()
                    raise
                if self._asked(name, "").flag in _NO_REFERENCE:
                    raise InstrumentFaultError(
                        f"{self._who()}: axis {name} was homed and has no reference position yet"
                    )

    def stop(self) -> None:
        """Stop every axis; raises the first failure after all were told."""
        self._halt.set()
        first: InstrumentError | None = None
        for name in self._axes:
            try:
                self._asked(name, "stop")
            except InstrumentError as error:
                first = first or error
        if first is not None:
            raise first

    def safe_state(self) -> None:
        """Stop what moves; where nothing does, say nothing."""
        if self._moving.locked():
            self.stop()

    # -- moving

    def _wait_until_idle(self, names: Iterable[str]) -> None:
        end = time.monotonic() + _LONGEST_MOVE_S
        left = list(names)
        while left:
            if self._halt.is_set():
                raise InstrumentFaultError(f"{self._who()}: it was stopped on its way")
            left = [name for name in left if self._asked(name, "").busy]
            if left and time.monotonic() > end:
                raise InstrumentFaultError(
                    f"{self._who()}: axis {', '.join(left)} still moves after "
                    f"{_LONGEST_MOVE_S:g} s; it was stopped"
                )
            time.sleep(_POLL_S if left else 0.0)

    def _check_arrival(self, steps: Mapping[str, int]) -> None:
        for name, step in steps.items():
            axis = self._axes[name]
            found = self._um(name, axis, self._asked(name, "get pos"))
            wanted = step * axis.micrometre_per_step
            if not abs(found - wanted) <= max(2 * axis.micrometre_per_step, 0.1):
                raise InstrumentFaultError(
                    f"{self._who()}: axis {name} was to go to {wanted:g} um and stands at "
                    f"{found:g} um: was it stopped by hand?"
                )

    def _stop_what_can_be(self) -> None:
        try:
            self.stop()
        except InstrumentError as error:
            _log.warning("%s: not every axis could be stopped: %s", self._who(), error)

    # -- dialogue

    def _prepare(self) -> None:
        self._forget_input(_POLL_S)
        for name, axis in self._axes.items():
            reply = self._asked(name, "get pos")
            if reply.flag in _NO_REFERENCE:
                _log.warning(
                    "%s: axis %s has no reference position: its rows are NaN and it does not move "
                    "until it is homed (stage.home())",
                    self._who(),
                    name,
                )
            low = self._number(name, "get limit.min") * axis.micrometre_per_step
            high = self._number(name, "get limit.max") * axis.micrometre_per_step
            self._ends[name] = low, high
            self._limits[name] = max(axis.min_um, low), min(axis.max_um, high)
            if self._limits[name][0] >= self._limits[name][1]:
                raise ProtocolError(
                    f"{self._who()}: axis {name} goes from {low:g} um to {high:g} um by its "
                    f"controller, and from {axis.min_um:g} um to {axis.max_um:g} um by the bench "
                    "file: is micrometre_per_step that of this model?"
                )
            firmware = self._dialogue(f"/{axis.device}", "get version", (axis.device, 0)).data
            if (number_in(firmware) or 0.0) < _OLDEST_FIRMWARE:
                raise ProtocolError(
                    f"{self._who()}: axis {name} was asked 'get version', got {firmware!r}: this "
                    f"driver speaks the language of firmware {_OLDEST_FIRMWARE}: update the "
                    "controller (Zaber Launcher), or replace it"
                )
            model = self._dialogue(f"/{axis.device}", "get device.id", (axis.device, 0))
            if not model.data:
                raise ProtocolError(
                    f"{self._who()}: axis {name} was asked 'get device.id', got {model.line!r}"
                )
            self._told[f"{name}_device_id"] = model.data
            self._told[f"{name}_firmware"] = firmware

    def _um(self, name: str, axis: Axis, reply: _Reply) -> float:
        if reply.flag in _NO_REFERENCE:
            return math.nan
        um = self._as_number(name, "get pos", reply) * axis.micrometre_per_step
        low, high = self._ends.get(name, (-math.inf, math.inf))
        # It may stand beyond its limits, pushed by hand or set since, but not by another travel.
        if not low - (high - low) <= um <= high + (high - low):
            raise ProtocolError(
                f"{self._who()}: axis {name} was asked 'get pos', got {reply.line!r}: it cannot be "
                f"at {um:g} um; its ends are {low:g} um and {high:g} um"
            )
        return um

    def _number(self, name: str, words: str) -> float:
        return self._as_number(name, words, self._asked(name, words))

    def _as_number(self, name: str, words: str, reply: _Reply) -> float:
        value = number_in(reply.data)
        if value is None:
            raise ProtocolError(
                f"{self._who()}: axis {name} was asked {words!r}, got {reply.line!r}: no number"
            )
        return value

    def _asked(self, name: str, words: str) -> _Reply:
        axis = self._axes[name]
        return self._dialogue(axis.address, words, (axis.device, axis.axis))

    def _dialogue(self, address: str, words: str, who: tuple[int, int]) -> _Reply:
        """Say something to a controller, and return its reply."""
        command = f"{address} {words}".rstrip()
        with self._lock:
            try:
                self._say(command.encode("ascii") + b"\n", repr(command))
                reply = self._reply(command, who)
            except TransportTimeout:
                self._forget_input(_POLL_S)
                raise
        if not reply.accepted:
            raise InstrumentFaultError(
                f"{self._who()}: asked {command!r}, it refuses with {reply.data!r} ({reply.line})"
            )
        if reply.flag.startswith("F"):
            told = _FAULTS.get(reply.flag, "look it up in its manual")
            raise InstrumentFaultError(
                f"{self._who()}: asked {command!r}, it reports fault {reply.flag}: {told}"
            )
        return reply

    def _reply(self, command: str, who: tuple[int, int]) -> _Reply:
        for _ in range(_MANY_LINES):
            line = self._heard(_ANSWER_S, repr(command)).decode("latin-1").strip(PADDING)
            if line.startswith(("!", "#")) or not line:
                _log.debug("%s: passed over %r", self._who(), line)
                continue
            found = _REPLY.match(line) if is_plain(line) else None
            if found is None or not _adds_up(line, found[7]):
                raise ProtocolError(
                    f"{self._who()}: asked {command!r}, got {line!r}, which is no reply of the "
                    "ASCII protocol: is it set to Binary, or another instrument?"
                    f"{of_other_settings(line)}"
                )
            if (int(found[1]), int(found[2])) != who:
                raise ProtocolError(
                    f"{self._who()}: asked {command!r}, and {line!r} came from another axis: is "
                    "another program talking to it?"
                )
            return _Reply(found[3] == "OK", found[4] == "BUSY", found[5], found[6] or "", line)
        raise ProtocolError(
            f"{self._who()}: asked {command!r}, {_MANY_LINES} lines came and none answers it"
        )


def _adds_up(line: str, checksum: str | None) -> bool:
    """Return whether a reply's checksum is right; one that has none is taken as it is.

    The bytes between ``@`` and ``:`` and the checksum add up to a multiple of 256.
    """
    if checksum is None:
        return True
    body = line[1:].rpartition(":")[0]
    return (sum(body.encode("latin-1")) + int(checksum, 16)) % 256 == 0
