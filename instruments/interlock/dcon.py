"""Relay modules with a host watchdog that speak DCON: ICP DAS I-7060, I-7065, I-7067 and M-70xx.

A command is a delimiter, the module's address as two hexadecimal digits, what is asked, a checksum
where the module is set to it, and CR. ``~**`` says that the host is well; nobody answers it. Once
its watchdog has tripped the module keeps its relays at the safe value and ignores every output,
until ``~AA1``; that outlives a power cycle.

Read: the maker's manuals of I-7060 (Rev B1.2), M-7084, M-7026, I-7088 and M-7088, and those of the
same modules under other names (CB-7000 DIO, EX-9060D). They differ, and either answer is borne:

- ``~AA2`` tells the watchdog's time as ``!AAVV`` or, with whether it is on, as ``!AAEVV``;
- ``~AA0`` has bit 2 where the watchdog has tripped, and some have bit 7 where it is on;
- ``$AA6`` and ``@AA`` tell outputs, then inputs; the I-7060's example reads as the other way round.
  Where the byte of the outputs does not say what was told, the module is asked for its outputs by
  another question (``~AA5S``, ``~AA4S``), which tells the order.

Believed: a power cycle switches the watchdog off and opens the relays; the watchdog runs from the
moment at which it is switched on. ADAM-4060 and its like have another watchdog (``$AAX...``), and
are refused.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from instruments._driver import LineDriver, of_other_settings
from instruments.abilities import Abilities, Span
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    InterlockTrippedError,
    ProtocolError,
    TransportTimeout,
)
from instruments.transport import SerialSettings

_log = logging.getLogger(__name__)

# Electromechanical relays; of those with semiconductors (I-7065A, ...) an open one leaks.
_RELAYS_OF = {"7060": 4, "7065": 5, "7067": 7}
_NAME = re.compile(r"(?:[IM]-?)?(70\d\d)D?\Z")
_ADAM = re.compile(r"4\d\d\d")
_DIGITAL = "40"
_CHECKSUM_BIT = 0x40
_TRIPPED, _ENABLED = 0x04, 0x80
_SHORTEST_S, _LONGEST_S = 0.2, 25.5
# At 9600 baud an answer takes 10 ms. Twice this, and a watchdog of a second is not yet over.
_ANSWER_S = 0.25
_QUIET_S = 0.05
_TRIES = 2


class DconInterlock(LineDriver):
    """One relay module as an interlock: it holds its relays only while it hears ``beat``.

    Connecting opens all its relays, also those that are not declared, switches its watchdog off,
    and sees to it that it opens them as well when its watchdog trips or its power comes back.

    Args:
        address: ``serial:///dev/...`` (9600 baud; an adapter to RS-485), ``tcp://host:port``, or
            ``published:`` one of these.
        relays: whose lead or interlock circuit runs through which relay; the first is 0.
        watchdog_s: how long it hears nothing before it opens them, 0.2 to 25.5 s, rounded down to
            0.1 s.
        module: its address on the line.
        checksum: whether it is set to checksums.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "interlock"
    _right = (
        "powered, set to DCON, with this module number and checksum setting, and at 9600 baud with "
        "8 data bits and no parity"
    )
    _left = "Without beats its watchdog opens its relays by itself"
    _if_taken = "Only the guard opens an interlock: is there another?"
    _terminator = b"\r"
    _settings = SerialSettings(baud_rate=9600)

    def __init__(
        self,
        address: str,
        *,
        relays: Mapping[str, int],
        watchdog_s: float = 1.0,
        module: int = 1,
        checksum: bool = False,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(address, record_to=record_to)
        if not _SHORTEST_S <= watchdog_s <= _LONGEST_S:
            raise ValueError(f"a watchdog of {watchdog_s:g} s: it takes 0.2 to 25.5 s")
        if len(set(relays.values())) != len(relays):
            raise ValueError(f"relays {dict(relays)}: one of them has two owners")
        self.relays = dict(relays)
        self._tenths = int(watchdog_s * 10 + 1e-6)
        self._module = f"{module:02X}"
        self._checksum = checksum
        self._mask = sum(1 << relay for relay in relays.values())
        self._held = False
        self._outputs_at: int | None = None
        self._tells_enabled = False
        self._identity: dict[str, str] = {}

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, by model."""
        return tuple(
            Abilities(
                model=f"ICP DAS I-{model}, M-{model}",
                does=("hold relays while it hears from the guard", "open them"),
                limits={
                    "watchdog": Span(_SHORTEST_S, _LONGEST_S, "s"),
                    "relay": Span(0, count - 1, ""),
                },
                limits_kept_by="instrument",
                limits_note="the module opens its relays when it has heard nothing for the "
                "watchdog's time, whatever became of this computer, its programs and other cables",
            )
            for model, count in _RELAYS_OF.items()
        )

    def identify(self) -> dict[str, str]:
        """Return who answered, and whether its watchdog had tripped before (``yes``, ``no``)."""
        self._wire()
        return dict(self._identity)

    @property
    def watchdog_s(self) -> float:
        """Return the watchdog's time as the module is told it, s."""
        return self._tenths / 10

    def hold(self) -> None:
        """Arm the watchdog, close the declared relays; see the contract.

        Takes eleven exchanges (0.3 s at 9600 baud). Raises InstrumentFaultError if a relay does not
        read back as told, or the watchdog does not; then all were told to open.
        """
        with self._lock:
            self._wire()
            if self._held:
                try:
                    self._look()
                except InterlockTrippedError:
                    pass
                else:
                    return
            self._held = False
            try:
                self._release_outputs()
                self._set_outputs(0)
                before = self._bytes()
                self._arm()
                self._set_outputs(self._mask)
                closed = self._closed(before)
                if closed != self._mask:
                    raise InstrumentFaultError(
                        f"{self._who()}: told to close relays {_numbers(self._mask)}, it has "
                        f"closed {_numbers(closed)}: replace the module"
                    )
            except InstrumentError:
                self._try_to_open()
                raise
            self._held = True

    def beat(self) -> None:
        """Say that this computer is well; see the contract.

        Takes three exchanges (0.05 s at 9600 baud), and not more than 2 s where nobody answers.
        """
        with self._lock:
            self._look()

    def open(self) -> None:
        """Open all relays and switch the watchdog off; returns when they read back open.

        Raises InstrumentFaultError if one does not.
        """
        with self._lock:
            self._wire()
            self._held = False
            self._release_outputs()
            self._set_outputs(0)
            closed = self._opened()
            if closed:
                raise InstrumentFaultError(
                    f"{self._who()}: told to open all relays, {_numbers(closed)} reads back "
                    "closed: DISCONNECT WHAT RUNS THROUGH IT, and replace the module"
                )
            self._done(f"~{self._module}30{self._tenths:02X}")

    def safe_state(self) -> None:
        """Do what ``open`` does; where it is not connected nothing: it opens when it is left."""
        if self.connected:
            self.open()

    def state(self) -> dict[str, bool]:
        """Return whose relay is closed, asked of the module."""
        with self._lock:
            closed = self._contacts()
        return {name: bool(closed >> relay & 1) for name, relay in self.relays.items()}

    # -- what is done

    def _prepare(self) -> None:
        self._forget_input()
        self._held, self._outputs_at = False, None
        name = self._told("$", "M")
        count = self._relays_there(name)
        self._check_configuration()
        self._identity = {
            "model": f"ICP DAS {name}",
            "firmware": self._told("$", "F"),
            "address": self._wire().address,
            "module": str(int(self._module, 16)),
            "relays": str(count),
            "watchdog_s": f"{self.watchdog_s:g}",
        }
        self._told("$", "5", r"[01]")  # it is known now that it was reset
        tripped = bool(self._status() & _TRIPPED)
        self._identity["had_tripped"] = "yes" if tripped else "no"
        if tripped:
            _log.warning(
                "%s: its watchdog had opened its relays: whoever held them fell silent", self._who()
            )
        self.open()
        # A module that was used for something else may close relays when it is to open them.
        for kind, when in (("S", "its watchdog trips"), ("P", "its power comes back")):
            if self._stored(kind):
                self._done(f"~{self._module}5{kind}")
                if stored := self._stored(kind):
                    raise InstrumentFaultError(
                        f"{self._who()}: it goes on closing relays {_numbers(stored)} when {when}, "
                        "although it was told to open them: replace the module"
                    )

    def _relays_there(self, name: str) -> int:
        """Return how many relays the model has; raises ProtocolError if it is none to be held."""
        known = _NAME.match(name)
        count = _RELAYS_OF.get(known[1]) if known else None
        if count is None:
            why = ""
            if _ADAM.match(name):
                why = " (the watchdog of ADAM modules is told otherwise)"
            raise ProtocolError(
                f"{self._who()}: it calls itself {name!r}, which is no relay module with a "
                f"watchdog that can be held{why}: take an I-7060, I-7065, I-7067, or M-7060"
            )
        beyond = {who: n for who, n in self.relays.items() if n >= count}
        if beyond:
            told = ", ".join(f"{who}: {n}" for who, n in beyond.items())
            raise InstrumentFaultError(
                f"{self._who()}: it is a {name}, which has relays 0 to {count - 1}; the bench file "
                f"has {told}"
            )
        return count

    def _check_configuration(self) -> None:
        told = self._told("$", "2", r"[0-9A-F]{6}")
        if told[:2] != _DIGITAL:
            raise ProtocolError(f"{self._who()}: its type is {told[:2]}, a relay module's is 40")
        if bool(int(told[4:], 16) & _CHECKSUM_BIT) != self._checksum:
            raise ProtocolError(
                f"{self._who()}: it is configured {'with' if not self._checksum else 'without'} "
                "checksums: correct `checksum` in the bench file"
            )

    def _arm(self) -> None:
        """Switch the watchdog on, and see that it is."""
        self._done(f"~{self._module}31{self._tenths:02X}")
        told = self._told("~", "2", r"[01]?[0-9A-F]{2}")
        self._tells_enabled = bool(self._status() & _ENABLED)
        if int(told[-2:], 16) != self._tenths or told[:-2] == "0":
            raise InstrumentFaultError(
                f"{self._who()}: its watchdog was told {self.watchdog_s:g} s, and tells {told!r}: "
                "it would not open its relays by itself"
            )
        self._say_well()

    def _say_well(self) -> None:
        self._say(self._framed("~**"), "'~**'")

    def _look(self) -> None:
        """Say that this computer is well, and raise if the relays do not stand as told."""
        self._say_well()
        status = self._status()
        if status & _TRIPPED:
            self._held = False
            raise InterlockTrippedError(
                f"{self._who()}: its watchdog has opened its relays: it heard nothing for "
                f"{self.watchdog_s:g} s"
            )
        if not self._held:
            return
        closed = self._contacts()
        watches = not self._tells_enabled or status & _ENABLED
        if closed == self._mask and watches:
            return
        self._held = False
        what = "its watchdog is off" if not watches else f"it has closed {_numbers(closed)}"
        self._try_to_open()
        raise InterlockTrippedError(
            f"{self._who()}: told to hold relays {_numbers(self._mask)}, {what}: was its power off?"
        )

    def _try_to_open(self) -> None:
        try:
            self.open()
        except InstrumentError as error:
            _log.error("%s", error)

    def _release_outputs(self) -> None:
        """Take back that the watchdog has tripped: it ignores outputs until then."""
        if self._status() & _TRIPPED:
            self._done(f"~{self._module}1")

    def _status(self) -> int:
        return int(self._told("~", "0", r"[0-9A-F]{2}"), 16)

    def _stored(self, kind: str) -> int:
        """Return its safe (``S``) or power-on (``P``) value."""
        return int(self._told("~", f"4{kind}", r"[0-9A-F]{4}")[:2], 16)

    def _set_outputs(self, mask: int) -> None:
        command = f"#{self._module}00{mask:02X}"
        answer = self._ask(command, r"[>!?].*")
        if answer == "!":
            raise InterlockTrippedError(
                f"{self._who()}: it ignores {command!r}: its watchdog has opened its relays"
            )
        if answer != ">":
            raise ProtocolError(f"{self._who()}: asked {command!r}, got {answer!r}, not '>'")

    def _contacts(self) -> int:
        """Return which relays the module says are closed, by bit."""
        return self._bytes()[self._outputs_at or 0]

    def _bytes(self) -> tuple[int, int]:
        """Return both bytes of its state, of outputs and inputs; asked by two commands."""
        told = self._ask(f"${self._module}6", r"![0-9A-F]{4}00")[1:5]
        again = self._ask(f"@{self._module}", r">[0-9A-F]{4}")[1:]
        at = slice(2, 4) if self._outputs_at else slice(0, 2)
        if told[at] != again[at]:
            raise ProtocolError(
                f"{self._who()}: its relays read {told!r} and {again!r}, one after the other: "
                "is its line disturbed, or does somebody else switch them?"
            )
        return int(told[:2], 16), int(told[2:], 16)

    def _opened(self) -> int:
        """Return which relays are closed although all were told to open."""
        first, second = self._bytes()
        if self._outputs_at is None and first and not second:
            # Two orders are told of. What it stores is its outputs in any case.
            self._done(f"~{self._module}5S")
            if not self._stored("S"):
                self._outputs_at = 1
        return second if self._outputs_at else first

    def _closed(self, before: tuple[int, int]) -> int:
        """Return which relays are closed after all that are held were told to close."""
        after = self._bytes()
        if self._outputs_at is None:
            came = [not was and now == self._mask for was, now in zip(before, after, strict=True)]
            if came[0] or came[1]:
                self._outputs_at = 0 if came[0] else 1
        return after[self._outputs_at or 0]

    # -- dialogue

    def _done(self, command: str) -> None:
        answer = self._ask(command, rf"[!?]{self._module}")
        if answer != f"!{self._module}":
            raise InstrumentFaultError(f"{self._who()}: it refuses {command!r} ({answer!r})")

    def _told(self, delimiter: str, what: str, form: str = r"[ -~]+") -> str:
        command = f"{delimiter}{self._module}{what}"
        answer = self._ask(command, rf"!{self._module}{form}|\?{self._module}")
        if answer.startswith("?"):
            raise ProtocolError(
                f"{self._who()}: it does not know {command!r} ({answer!r}): is it a relay module?"
            )
        return answer[3:]

    def _ask(self, command: str, form: str) -> str:
        """Return the answer to a command, without its checksum.

        Every command is a question or a state: it is said once more if nothing came, or something
        that is no answer.
        """
        with self._lock:
            for attempt in range(_TRIES):
                last = attempt == _TRIES - 1
                self._forget_input(_QUIET_S if attempt else 0.0)
                self._say(self._framed(command), repr(command))
                try:
                    raw = self._heard(_ANSWER_S, repr(command))
                except TransportTimeout:
                    if last:
                        raise
                    continue
                answer = self._unframed(raw)
                if answer is not None and re.fullmatch(form, answer):
                    return answer
            sums = ", its checksum is wrong" if answer is None else ""
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {raw!r}, which is none of its answers{sums}"
                f"{of_other_settings(raw)}"
            )

    def _framed(self, command: str) -> bytes:
        end = f"{_sum(command)}\r" if self._checksum else "\r"
        return (command + end).encode("ascii")

    def _unframed(self, raw: bytes) -> str | None:
        """Return an answer without its checksum; None: that is wrong."""
        text = raw.decode("latin-1")
        if not self._checksum:
            return text
        return text[:-2] if text[-2:] == _sum(text[:-2]) else None


def _sum(text: str) -> str:
    return f"{sum(text.encode('latin-1')) & 0xFF:02X}"


def _numbers(mask: int) -> str:
    return ", ".join(str(n) for n in range(8) if mask >> n & 1) or "none"
