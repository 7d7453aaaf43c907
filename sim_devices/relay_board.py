"""A Numato USB relay module: ASCII over USB-CDC.

Commands end with CR, every character is echoed, the prompt is ``>``.

The dialogue is that of the maker's module manuals: ``relay read 0`` CR is answered by the echo, LF
CR, the value, LF CR and the prompt. What the module does not understand it answers with the prompt
alone. Sixteen relays and ten GPIO; channels above 9 are letters. Outputs are not latched: after a
reset or a power cycle every relay is open and every GPIO is an input.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from sim_devices.pty_server import ByteServer
from sim_devices.wire_faults import on_a_line

RELAYS = 16
GPIOS = 10
ADCS = 5
_VERSION = "00000009"
_CHANNELS = list("0123456789ABCDEF")
_ADC_FULL_SCALE = 1023
_LONGEST_COMMAND = 64
_IMPOSSIBLE = "9"

FAULTS = on_a_line(
    "a relay board",
    {
        "refuse": "answers the next `count` (1) commands, as what it does not know, by the prompt "
        "alone",
        "out-of-range": "answers the next `count` (1) readings by `value` (9)",
        "power-cycle": "has no power for `seconds` (1): all relays open, all GPIO are inputs",
    },
    {"wrong-checksum": "its lines have no checksum", "clock-jump": "it has no clock"},
)


class RelayBoard:
    """The module's language and its terminals; `RelayBoard.address` is where it listens."""

    def __init__(
        self,
        *,
        on_relay: Mapping[int, Callable[[bool], None]] | None = None,
        gpio_level: Mapping[int, Callable[[], bool]] | None = None,
        prefer_pty: bool = True,
        seed: int = 0,
    ) -> None:
        """Power the module, all relays open.

        Args:
            on_relay: what is wired to each relay's contact, called with True when it closes and
                False when it opens.
            gpio_level: what drives each GPIO that is an input; the others read low.
            prefer_pty: listen on a pseudo-terminal where there are any.
            seed: of injected faults.
        """
        self._on_relay = dict(on_relay or {})
        self._gpio_level = dict(gpio_level or {})
        self._lock = threading.RLock()
        self._closed = [False] * RELAYS
        self._gpio_output: dict[int, bool] = {}
        self._identity = "00000000"
        self._typed = bytearray()
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
        return self._closed[number]

    def close(self) -> None:
        """Take the power away: the contacts open."""
        self.line.close()
        self._reset()

    # ---- the language

    def _receive(self, data: bytes) -> bytes:
        """Echo each character and answer each command."""
        answer = bytearray()
        for byte in data:
            if byte == 0x0D:
                command = self._typed.decode("latin-1")
                self._typed.clear()
                answer += b"\n\r"
                refused = self.line.broken.due("refuse")
                value = None if refused else self._execute(command.split())
                if value is not None and "read" in command:
                    value = self.line.broken.told_text(value, _IMPOSSIBLE)
                if value is not None:
                    answer += value.encode("ascii") + b"\n\r"
                answer += b">"
            elif byte != 0x0A and len(self._typed) < _LONGEST_COMMAND:
                self._typed.append(byte)
                answer.append(byte)
        return bytes(answer)

    def _execute(self, words: list[str]) -> str | None:
        with self._lock:
            match words:
                case ["ver"]:
                    return _VERSION
                case ["id", "get"]:
                    return self._identity
                case ["id", "set", identity] if len(identity) == 8 and identity.isalnum():
                    self._identity = identity
                case ["reset"]:
                    self._reset()
                case ["relay", "readall"]:
                    mask = sum(1 << n for n, closed in enumerate(self._closed) if closed)
                    return f"{mask:04x}"
                case ["relay", "writeall", mask] if _is_mask(mask):
                    wanted = int(mask, 16)
                    for relay in range(RELAYS):
                        self._set(relay, bool(wanted >> relay & 1))
                case ["relay", verb, channel] if channel in _CHANNELS[:RELAYS]:
                    return self._relay(verb, _CHANNELS.index(channel))
                case ["gpio", verb, channel] if channel in _CHANNELS[:GPIOS]:
                    return self._gpio(verb, _CHANNELS.index(channel))
                case ["adc", "read", channel] if channel in _CHANNELS[:ADCS]:
                    high = self._level(_CHANNELS.index(channel))
                    return str(_ADC_FULL_SCALE if high else 0)
                case _:
                    pass  # the module ignores what it does not know
            return None

    def _relay(self, verb: str, n: int) -> str | None:
        if verb == "read":
            return "on" if self._closed[n] else "off"
        if verb in ("on", "off"):
            self._set(n, verb == "on")
        return None

    def _gpio(self, verb: str, n: int) -> str | None:
        if verb == "read":  # makes the pin an input
            self._gpio_output.pop(n, None)
            return str(int(self._level(n)))
        if verb in ("set", "clear"):
            self._gpio_output[n] = verb == "set"
        return None

    # ---- the terminals

    def _level(self, n: int) -> bool:
        if n in self._gpio_output:
            return self._gpio_output[n]
        driver = self._gpio_level.get(n)
        return driver() if driver is not None else False

    def _set(self, n: int, closed: bool) -> None:
        if self._closed[n] == closed:
            return
        self._closed[n] = closed
        wired = self._on_relay.get(n)
        if wired is not None:
            wired(closed)

    def _reset(self) -> None:
        with self._lock:
            for n in range(RELAYS):
                self._set(n, False)
            self._gpio_output.clear()

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        del options
        if fault == "power-cycle":
            self._typed.clear()
            self._reset()


def _is_mask(text: str) -> bool:
    return 1 <= len(text) <= RELAYS // 4 and all(c in "0123456789abcdefABCDEF" for c in text)
