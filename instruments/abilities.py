"""What an instrument can do and within which limits, as its driver declares it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

# What a sensor has that declares nothing else: it tells numbers, and drives nothing.
TELLS = "tells what it measures"


class Span(NamedTuple):
    """What a quantity may be; ``None``: the instrument tells that end when it is connected."""

    low: float | None
    high: float | None
    unit: str


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What one model, or everything that speaks a wire language, can do.

    Attributes:
        model: its name; empty: whatever speaks the language.
        does: what can be asked of it: techniques by their ``type``, channels, actions.
        limits: by quantity.
        limits_kept_by: who keeps them. ``instrument``: it does, also when this computer is gone.
            ``software``: SOFTWARE ONLY, nobody does when this computer is gone. ``nobody``: it
            drives nothing, there is nothing to keep.
        limits_note: what else must be known of them.
    """

    model: str = ""
    does: tuple[str, ...]
    limits: Mapping[str, Span] = field(default_factory=dict)
    limits_kept_by: Literal["instrument", "software", "nobody"]
    limits_note: str = ""


def abilities_of(driver: Any) -> tuple[Abilities, ...]:
    """Return what a driver, or its class, declares: one for each model."""
    declared = getattr(driver, "abilities", None)
    if declared is not None:
        told: tuple[Abilities, ...] = declared()
        return told
    return (Abilities(does=(TELLS,), limits_kept_by="nobody"),)


def software_only(driver: Any) -> str:
    """Return what must be known of limits that this computer alone keeps; empty if it does not."""
    notes = (one.limits_note for one in abilities_of(driver) if one.limits_kept_by == "software")
    return next(notes, "")
