"""A relay module that speaks DCON (ICP DAS I-7060), with the host watchdog that holds its relays.

A command is a delimiter, the module's address as two hexadecimal digits in capitals, what is asked,
a checksum where it is set so, and CR. What is wrong with a command that is understood is answered
by ``?``; what is for another module, has a wrong checksum or is no command is not answered at all.

While the host watchdog is on the host has to say ``~**`` again and again, which nobody answers, and
nothing else counts. If it is not heard for as long as was told, the module sets its relays to their
safe value and notes it in its EEPROM; from then on it ignores every output (``!``), also after a
power cycle, until ``~AA1`` takes the note away.

Read (the pages cited are those of the manuals' command chapters):

- I-7000 DIO Manual, Rev B1.2, of the I-7060: all commands here but ``~AA2``; in it ``~AA2`` is
  answered by ``!AAVV``, and ``~AA0`` by 00 or 04.
- CB-7000 DIO, EX-9060D, M-7084, M-7026 and I-7088/M-7088: ``~AA2`` is answered by ``!AAEVV``, and
  bit 7 of ``~AA0`` says that the watchdog is on. So it is here.
- EX-9060D, ND-6060 and ADAM-4060 answer ``$AA6`` by outputs, inputs, 00, and so does a client that
  was used on an I-7044D. The example of the I-7060's manual, 0F00 with its inputs open and its
  relays off, reads as if inputs came first; it is taken for a slip, and the driver bears both.
- Checksums: I-7000 manuals; ``$012B7`` and ``!01400600AC`` are the examples of two makers.

Believed: the watchdog runs from the moment at which it is switched on; it stays on when it has
tripped; after a power cycle it is off; what it takes to be reset by ``#**`` is not simulated, nor
are latches, counters and ``~AAO``. The inputs read 0. The line runs at 9600 baud; a pseudo-terminal
has no speed.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping

from sim_devices.pty_server import ByteServer
from sim_devices.surroundings import TruthWriter
from sim_devices.wire_faults import number_of, on_a_line

RELAYS = 4
_ALL = (1 << RELAYS) - 1
_FIRMWARE = "A2.0"
_TYPE, _BAUD = "40", "06"  # digital input and output; 9600
_CHECKSUM_BIT = 0x40
_TRIPPED, _ENABLED = 0x04, 0x80
_LONGEST_COMMAND = 64
_HEX = re.compile(r"[0-9A-F]+\Z")
_IMPOSSIBLE = 0xFF

FAULTS = on_a_line(
    "an interlock",
    {
        "refuse": "answers the next `count` (1) commands, but for the host's beats, by ?",
        "wrong-checksum": "says the next `count` (1) answers with a checksum that is not theirs, "
        "where it is set to have any",
        "out-of-range": "tells `value` (255) as the state of its relays, of which it has four, in "
        "the next `count` (1) answers that tell it",
        "power-cycle": "has no power for `seconds` (1): all relays open, the watchdog off",
        "trip": "its watchdog trips now",
        "weld": "the contact of `relay` (0) stays closed when it is or becomes closed, whatever it "
        "believes",
        "stuck": "`relay` (0) does not move any more, and it reads back so",
        "repair": "ends the last two",
    },
    {"clock-jump": "it tells no time; its watchdog counts seconds"},
)


class DconRelays:
    """One module; `DconRelays.address` is where its line is.

    Its watchdog counts seconds of the host, as a real one does.
    """

    def __init__(
        self,
        *,
        on_relay: Mapping[int, Callable[[bool], None]] | None = None,
        truth: TruthWriter | None = None,
        cell_time: Callable[[], float] = lambda: 0.0,
        module: int = 1,
        model: str = "7060",
        checksum: bool = False,
        prefer_pty: bool = True,
        seed: int = 0,
    ) -> None:
        """Power it, all relays open.

        Args:
            on_relay: what is wired to each relay's normally open contact, called with True when it
                closes and False when it opens, and once now.
            truth: gets ``interlock`` events: ``relay`` and ``watchdog``.
            cell_time: cell seconds, for the truth.
            module: its address on the line.
            model: what it calls itself.
            checksum: whether it insists on checksums, and sends them.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            seed: of injected faults.
        """
        self._on_relay = dict(on_relay or {})
        self._truth = truth
        self._cell_time = cell_time
        self._module = f"{module:02X}"
        self._model = model
        self._checksum = checksum
        self._changed = threading.Condition(threading.RLock())
        self._typed = bytearray()
        self._outputs = 0
        self._contacts = 0
        self._welded: set[int] = set()
        self._stuck: set[int] = set()
        self._power_on = self._safe = 0  # EEPROM
        self._was_reset = True
        self._enabled, self._tripped = False, False
        self._timeout = 0xFF  # tenths of a second
        self._deadline: float | None = None
        self._power_at: float | None = None
        self._closed = False
        for wired in self._on_relay.values():
            wired(False)
        self._watchdog = threading.Thread(target=self._watch, name="dcon-watchdog", daemon=True)
        self._watchdog.start()
        self.line = ByteServer(
            self._receive,
            prefer_pty=prefer_pty,
            on_fault=self._fault,
            faults=FAULTS,
            seed=seed,
        )
        self.address = self.line.address

    def relay(self, number: int) -> bool:
        """Return whether a relay's contact is closed."""
        return bool(self._contacts >> number & 1)

    def close(self) -> None:
        """Take the power away: the contacts open."""
        self.line.close()
        with self._changed:
            self._closed = True
            self._welded.clear()
            self._stuck.clear()
            self._set(0, "power off")
            self._changed.notify_all()
        self._watchdog.join(5.0)

    # ---- the language

    def _receive(self, data: bytes) -> bytes:
        answers = bytearray()
        for byte in data:
            if byte != 0x0D:
                if len(self._typed) <= _LONGEST_COMMAND:
                    self._typed.append(byte)
                continue
            line = self._typed.decode("latin-1")
            self._typed.clear()
            with self._changed:
                answer = self._heard(line)
                if answer is not None:
                    answers += self._closed_by_sum(answer).encode("ascii") + b"\r"
        return bytes(answers)

    def _heard(self, line: str) -> str | None:
        """Return what is answered, ``None`` where nothing is."""
        if self._power_at is not None:
            return None
        if self._checksum:
            line, told = line[:-2], line[-2:]
            if told != _sum(line):
                return None
        if line == "~**":
            self._count_anew()
            return None
        delimiter, address, asked = line[:1], line[1:3], line[3:]
        if address != self._module:
            return None
        if self.line.broken.due("refuse"):
            return f"?{self._module}"
        match delimiter:
            case "@":
                return self._at(asked)
            case "#" if len(asked) == 4:
                return self._output(asked[:2], asked[2:])
            case "$" if asked:
                answer = self._dollar(asked)
            case "~" if asked:
                answer = self._tilde(asked)
            case _:
                return None
        return f"?{self._module}" if answer is None else answer

    def _dollar(self, asked: str) -> str | None:
        match asked:
            case "M":
                return f"!{self._module}{self._model}"
            case "F":
                return f"!{self._module}{_FIRMWARE}"
            case "2":
                form = _CHECKSUM_BIT if self._checksum else 0
                return f"!{self._module}{_TYPE}{_BAUD}{form:02X}"
            case "5":
                was, self._was_reset = self._was_reset, False
                return f"!{self._module}{int(was)}"
            case "6":
                return f"!{self._told():02X}0000"
        return None

    def _tilde(self, asked: str) -> str | None:
        done = f"!{self._module}"
        match asked[0], asked[1:]:
            case "0", "":
                status = _TRIPPED * self._tripped | _ENABLED * self._enabled
                return f"{done}{status:02X}"
            case "1", "":
                if self._tripped:
                    self._tripped = False
                    self._count_anew()
                return done
            case "2", "":
                return f"{done}{int(self._enabled)}{self._timeout:02X}"
            case "3", told if len(told) == 3 and _HEX.match(told) and told[0] in "01":
                tenths = int(told[1:], 16)
                if not tenths:
                    return None
                self._enabled, self._timeout = told[0] == "1", tenths
                self._count_anew()
                return done
            case "4", "P":
                return f"{done}{self._power_on:02X}00"
            case "4", "S":
                return f"{done}{self._safe:02X}00"
            case "5", "P":
                self._power_on = self._outputs
                return done
            case "5", "S":
                self._safe = self._outputs
                return done
        return None

    def _at(self, asked: str) -> str:
        if not asked:
            return f">{self._told():02X}00"
        if len(asked) != 1 or not _HEX.match(asked):
            return "?"
        return self._obey(int(asked, 16))

    def _output(self, what: str, told: str) -> str:
        """``#AABBDD``: all relays (00, 0A), or one (1c, Ac)."""
        if not _HEX.match(what) or not _HEX.match(told):
            return "?"
        value, relay = int(told, 16), int(what[1], 16)
        if what in ("00", "0A"):
            return self._obey(value) if value <= _ALL else "?"
        if what[0] not in "1A" or relay >= RELAYS or value > 1:
            return "?"
        return self._obey(self._outputs & ~(1 << relay) | value << relay)

    def _obey(self, outputs: int) -> str:
        if self._tripped:
            return "!"
        self._set(outputs, "command")
        return ">"

    def _closed_by_sum(self, answer: str) -> str:
        if not self._checksum:
            return answer
        told = _sum(answer)
        if self.line.broken.due("wrong-checksum"):
            told = f"{int(told, 16) ^ 0x01:02X}"
        return answer + told

    # ---- the relays

    def _told(self) -> int:
        return int(self.line.broken.told(self._outputs, _IMPOSSIBLE)) & 0xFF

    def _set(self, outputs: int, by: str) -> None:
        for relay in self._stuck:
            outputs = outputs & ~(1 << relay) | self._outputs & 1 << relay
        self._outputs = outputs
        contacts = outputs
        for relay in self._welded:
            contacts |= self._contacts & 1 << relay
        changed, self._contacts = contacts ^ self._contacts, contacts
        for relay in range(RELAYS):
            if changed >> relay & 1:
                closed = self.relay(relay)
                self._tell("relay", relay=relay, closed=closed, by=by)
                wired = self._on_relay.get(relay)
                if wired is not None:
                    wired(closed)

    # ---- the watchdog

    def _count_anew(self) -> None:
        runs = self._enabled and not self._tripped
        self._deadline = time.monotonic() + self._timeout / 10 if runs else None
        self._changed.notify_all()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if self._power_at is not None and now >= self._power_at:
                    self._power_at = None
                    self._set(self._safe if self._tripped else self._power_on, "power on")
                if self._deadline is not None and now >= self._deadline:
                    self._trip()
                due = [t for t in (self._deadline, self._power_at) if t is not None]
                self._changed.wait(min(due) - now if due else None)

    def _trip(self) -> None:
        self._deadline, self._tripped = None, True
        self._tell("watchdog", timeout_s=self._timeout / 10)
        self._set(self._safe, "watchdog")

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break it, where that is not the line's business."""
        relay = int(number_of(options, "relay", 0))
        with self._changed:
            match fault:
                case "trip":
                    self._trip()
                case "weld":
                    self._welded.add(relay)
                case "stuck":
                    self._stuck.add(relay)
                case "repair":
                    self._welded.clear()
                    self._stuck.clear()
                    self._set(self._outputs, "repair")
                case "power-cycle":
                    self._typed.clear()
                    self._was_reset, self._enabled, self._deadline = True, False, None
                    self._set(0, "power off")
                    self._power_at = time.monotonic() + number_of(options, "seconds", 1.0)
            self._changed.notify_all()

    def _tell(self, event: str, **values: object) -> None:
        if self._truth is not None:
            self._truth.write(
                "interlock",
                event,
                cell_t_s=self._cell_time(),
                host_monotonic_s=time.monotonic(),
                **values,
            )


def _sum(text: str) -> str:
    return f"{sum(text.encode('latin-1')) & 0xFF:02X}"
