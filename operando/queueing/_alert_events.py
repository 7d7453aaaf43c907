"""What people are told of, and in which words."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from operando.queueing.model import DONE, Record, StationState

Severity = Literal["info", "success", "warning", "failure"]


@dataclass(frozen=True)
class Event:
    """A kind of alert.

    Attributes:
        about: What happened, in words; the title of a test.
        severity: How urgent it is.
        one_for: Which alerts are the same: those of a ``station``, or those of a ``title``.
        counted: Whether it counts, and is left out, where alerts come too often.
    """

    about: str
    severity: Severity
    one_for: Literal["station", "title"] = "title"
    counted: bool = True


EVENTS: Mapping[str, Event] = {
    "item_failed": Event("An item of the queue failed", "failure"),
    "item_held": Event("An item is held until somebody decides", "warning"),
    "cell_finished": Event("A cell is at its end of life: mount the next one", "warning"),
    "cell_wanted": Event("An item waits for its cell to be mounted", "warning"),
    "worker_died": Event("A worker died or hung", "failure", "station"),
    "station_lost": Event("A station is lost", "failure", "station"),
    "mains_lost": Event("The mains are lost", "failure"),
    "mains_back": Event("The mains are back", "info"),
    "run_alarm": Event("A run raised an alarm", "failure"),
    "disk_low": Event("The disk is filling up", "warning", "station"),
    "clock_step": Event("The computer's clock was set", "warning", "station"),
    "poisoned": Event("An entry of the queue could not be read", "warning"),
    "campaign_done": Event("A campaign is done", "success"),
    "heartbeat": Event("Sign of life", "info", counted=False),
    "daily": Event("The day's figure and table", "info", counted=False),
    "left_out": Event("More alerts than were sent", "warning", counted=False),
    "test": Event("This is a test", "info", counted=False),
}


def campaign_over(
    campaign: str, records: Iterable[Record], pending: Iterable[Mapping[str, object]]
) -> tuple[str, str] | None:
    """Return title and body of the alert that a campaign is done; ``None``: it goes on.

    Args:
        campaign: Its name.
        records: Of the items that were started or removed, of all stations.
        pending: What the other items of all queues tell (the plan's keyword arguments).
    """
    own = [one for one in records if campaign and one.campaign == campaign]
    waits = any(one.get("campaign") == campaign for one in pending)
    if not own or waits or not all(one.over for one in own):
        return None
    counts = Counter(one.state for one in own)
    told = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    lines = [
        f"{one.label or one.cell_id}: {one.state}{one.reason and f': {one.reason}'}"
        for one in own
        if one.state not in DONE
    ]
    return f"Campaign {campaign} is done: {told}", "\n".join(lines)


def stations_told(states: Iterable[StationState], more: Iterable[str] = ()) -> str:
    """Return how all stations are, in a paragraph: counts, then each that is not well.

    Args:
        states: Of the stations.
        more: Further sentences, as of the disk.
    """
    all_ = sorted(states, key=lambda one: one.name)
    if not all_:
        return " ".join(["No station is known.", *more])
    counts = Counter("paused" if one.paused else one.state for one in all_)
    told = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    sentences = [f"{len(all_)} station{'s' * (len(all_) != 1)}: {told}."]
    running = [one.name for one in all_ if one.state == "running"]
    if running:
        sentences.append(f"Running: {', '.join(running)}.")
    for one in all_:
        if one.state in ("held", "lost") or (one.told_why and one.state != "running"):
            since = time.strftime("%d %b %H:%M", time.localtime(one.since)) if one.since else ""
            why = f": {one.told_why}" if one.told_why else ""
            sentences.append(f"{one.name} is {one.state}{since and f' since {since}'}{why}.")
    return " ".join([*sentences, *more])
