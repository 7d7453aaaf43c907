"""What a report, or the stop document of a run, tells of how the cell came to the end of it."""

from collections.abc import Mapping
from typing import Any


def ended_early(told: Mapping[str, Any]) -> str:
    """Return which rule or limit ended a run before its time; empty: none, or that of a life."""
    return "" if told.get("end_of_life") else str(told.get("ended_early") or "")


def left_shorted(told: Mapping[str, Any]) -> bool:
    """Return whether a run left its cell with a hard short."""
    return bool(told.get("shorted") or (told.get("end_state") or {}).get("shorted"))
