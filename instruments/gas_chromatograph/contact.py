"""A gas chromatograph on its remote connector: a dry contact starts it, a line says it is ready.

On an Agilent remote connector: relay contact between pin 3 (Start, low true) and pin 1 (ground),
Ready (pin 7, high true) to a digital input. A start is given only while Ready is high.
"""

import time

from instruments.abilities import Abilities, Span
from instruments.gas_chromatograph.contract import Injection
from instruments.relay_board import RelayBoard, leave_open

# The instrument asks for 0.5 ms at least; its own relay closes for 120 ms.
_SHORTEST_PULSE_S, _LONGEST_PULSE_S = 0.1, 0.2
_POLL_S = 0.01


class ContactGasChromatograph:
    """A gas chromatograph that hangs on a relay board, which is connected by its owner.

    Args:
        board: closes Start and reads Ready.
        start_relay: relay whose contact starts a run.
        ready_gpio: digital input that is high while the instrument is ready.
        pulse_s: length of the start, 0.1 s to 0.2 s.
        confirm_timeout_s: how long Ready may take to go low after a start, s.
    """

    verified_on: str | None = None

    def __init__(
        self,
        board: RelayBoard,
        *,
        start_relay: int,
        ready_gpio: int,
        pulse_s: float = 0.15,
        confirm_timeout_s: float = 2.0,
    ) -> None:
        if not _SHORTEST_PULSE_S <= pulse_s <= _LONGEST_PULSE_S:
            raise ValueError(
                f"a start of {pulse_s} s: {_SHORTEST_PULSE_S} s to {_LONGEST_PULSE_S} s are right"
            )
        self._board = board
        self._start_relay = start_relay
        self._ready_gpio = ready_gpio
        self._pulse_s = pulse_s
        self._confirm_timeout_s = confirm_timeout_s

    def connect(self) -> None:
        """Ask the Ready line once; raises what the board raises."""
        self.ready()

    def close(self) -> None:
        """Do nothing: the board opens its contacts when its owner closes it."""

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="any with a remote connector",
                does=("inject by a start contact", "tell whether it is ready"),
                limits={"start pulse": Span(_SHORTEST_PULSE_S, _LONGEST_PULSE_S, "s")},
                limits_kept_by="nobody",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return how the instrument is wired; it cannot say more."""
        return {
            "model": "gas chromatograph on a start contact",
            "start_relay": str(self._start_relay),
            "ready_gpio": str(self._ready_gpio),
            **{f"board_{key}": value for key, value in self._board.identify().items()},
        }

    def ready(self) -> bool:
        """Return whether the Ready line is high."""
        return self._board.gpio(self._ready_gpio)

    def inject(self, label: str = "") -> Injection:
        """Give a start if Ready is high and wait for Ready to go low; a contact tells no label.

        Blocks for the pulse (0.15 s) and up to ``confirm_timeout_s`` more.
        """
        before = time.time()
        if not self.ready():
            return Injection(False, False, before, time.time())
        before = time.time()
        confirmed = self._start()
        deadline = time.monotonic() + self._confirm_timeout_s
        while not confirmed and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            confirmed = not self.ready()
        return Injection(True, confirmed, before, time.time())

    def _start(self) -> bool:
        """Close the contact for the pulse and open it whatever happens; return if Ready fell."""
        fell = False
        try:
            self._board.set_relay(self._start_relay, True)
            end = time.monotonic() + self._pulse_s
            while (left := end - time.monotonic()) > 0:
                fell = fell or not self.ready()
                time.sleep(min(left, _POLL_S))
        finally:
            self._board.set_relay(self._start_relay, False)
        return fell

    def safe_state(self) -> None:
        """Open the start contact; a no-op if it is open, or its board is not connected."""
        leave_open(self._board, self._start_relay)
