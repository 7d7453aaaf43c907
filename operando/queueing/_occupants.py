"""Which potentiostat was in a station when: a cell is run by the one at which it was mounted.

The ports of instruments are handed out anew when a computer starts or a hub is plugged in again.
Two stations whose potentiostats have changed places would each drive the other's cell.
"""

import json
import time
from pathlib import Path

from operando.queueing.errors import QueueError
from operando.queueing.places import write_private

FILE = "potentiostats.json"
_KEPT = 50


def noted(folder: Path, mark: str) -> list[tuple[float, str]]:
    """Note who is in the station of this folder now; return since when who was, the oldest first.

    Who was there before the first of them nobody knows, so it is where the file was lost. Raises
    QueueError if it cannot be written.
    """
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        were = [(float(since), str(who)) for since, who in told]
    except (OSError, ValueError, TypeError):
        were = []
    if not were or were[-1][1] != mark:
        were.append((time.time(), mark))
        write_private(folder / FILE, json.dumps(were[-_KEPT:]))
    return were


def refuse_another(
    were: list[tuple[float, str]], mounted_at: float | None, station: str, known: str = ""
) -> None:
    """Raise QueueError unless the one is there now at which the cell was mounted.

    Args:
        were: since when who was there, as `noted` returns it.
        mounted_at: when the cell was mounted, epoch, s; ``None``: it is not yet.
        station: its name.
        known: who was there then, as its mount tells; empty: it does not.
    """
    if mounted_at is None:
        return
    then = known or next((who for since, who in reversed(were) if since <= mounted_at), "")
    now = were[-1][1]
    if not then:
        raise QueueError(
            f"station {station}: at which potentiostat its cell was mounted is not known any more "
            f"({now} answers now): nothing is driven. See that the cell hangs on that one, and "
            f"mount it again: operando mount CELL --station {station}"
        )
    if then != now:
        raise QueueError(
            f"station {station}: its cell was mounted at the potentiostat {then}, and {now} "
            "answers at its address now: nothing is driven, it may be another's cell. See which "
            "instrument the cell hangs on, put the address right (or the cable), and mount it again"
        )
