"""Let a program whose host died end by itself, and see to it that the cell is open after it.

``on_finished:`` is not run after a run-time error of a script: the cell then stays as it was, and
its limits are watched by nobody. So somebody listens, without a word that ends the program. Its
rows are in the instrument's own log; what passes on the line meanwhile is dropped.
"""

import threading
import time
from collections.abc import Callable

from instruments.errors import ProtocolError, TransportError, TransportTimeout
from instruments.potentiostat.contract import STILL_RUNNING
from instruments.potentiostat.methodscript.dialogue import Dialogue
from instruments.transport import Transport

# An idle instrument tells its serial number; one that runs a script refuses to.
_ASK, _IDLE_ECHO, _BUSY = b"i\n", b"i", b"i!0006"
_ASK_EVERY_S = 5.0
_SLICE_S = 0.2
# What is asked three times and never answered is no instrument that runs a program.
_UNANSWERED = 3


def outlast(
    wire: Transport,
    who: Callable[[], str],
    given_up: threading.Event,
    abort_timeout_s: float,
) -> str:
    """Return when the program has ended and the cell was opened, or ``given_up`` is set.

    Args:
        wire: the open line; left open.
        who: names the instrument.
        given_up: set by who wants the line.
        abort_timeout_s: as of the driver.

    Returns:
        What became of it, in words.

    Raises:
        TransportError: the line was lost, or nobody is there any more.
        InstrumentError: the cell could not be opened.
    """
    asked_at, unanswered = -_ASK_EVERY_S, 0
    while not given_up.is_set():
        if time.monotonic() - asked_at > _ASK_EVERY_S:
            if unanswered >= _UNANSWERED:
                raise TransportError(
                    f"{who()}: asked who it is (i) while its program was to end by itself, it said "
                    "nothing, three times: the state of the cell is unknown"
                )
            wire.write(_ASK)
            asked_at, unanswered = time.monotonic(), unanswered + 1
        try:
            line = wire.read_line(_SLICE_S)
        except TransportTimeout:
            continue
        if line.startswith(_BUSY):
            unanswered = 0
        elif line.startswith(_IDLE_ECHO) and not line.startswith(_IDLE_ECHO + b"!"):
            return _open(wire, who, abort_timeout_s, "its program has ended by itself")
        elif line.startswith(b"!"):
            return _open(wire, who, abort_timeout_s, f"its program ended with an error ({line!r})")
        elif len(line) > 4096:
            raise ProtocolError(f"{who()}: is it another instrument? It says {line[:80]!r}")
    return STILL_RUNNING


def _open(wire: Transport, who: Callable[[], str], abort_timeout_s: float, ended: str) -> str:
    # Ended is not open: what ended with an error left the cell as it was.
    dialogue = Dialogue(wire, who, abort_timeout_s)
    dialogue.rest()
    dialogue.open_cell()
    return f"{ended}; cell open"
