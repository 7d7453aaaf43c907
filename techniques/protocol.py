"""A protocol: a technique, the cell it is for, and when the followers act."""

from pydantic import Field, field_validator

from techniques._base import Data
from techniques.limits import SafetyLimits
from techniques.rules import Rule
from techniques.technique import Technique


class Schedule(Data):
    """When the followers act, in seconds of the leader's clock.

    ``None`` switches a regular action off. Due actions are late by ``tolerance_s`` at most.
    """

    image_s: float | None = Field(default=60.0, gt=0, description="An image every so often, s.")
    burst_for_s: float = Field(
        default=30.0, ge=0, description="Length of the dense series at the start of plating, s."
    )
    burst_every_s: float = Field(default=2.0, gt=0, description="Image interval in it, s.")
    spectrum_s: float | None = Field(default=600.0, gt=0, description="A spectrum so often, s.")
    injection_s: float | None = Field(default=900.0, gt=0, description="An injection so often, s.")
    at_half_cycle_ends: bool = Field(
        default=True, description="Also an image, a spectrum and an injection at each end."
    )
    blank_spectra: int = Field(
        default=0, ge=0, description="Spectra taken before the program starts."
    )
    integration_time_s: float | None = Field(
        default=None, gt=0, description="Of one read-out of a spectrum; by default the bench's, s."
    )
    accumulations: int | None = Field(
        default=None, ge=1, description="Read-outs per spectrum; by default the bench's."
    )
    tolerance_s: float = Field(default=10.0, gt=0, description="Allowed lateness, s.")


class Protocol(Data):
    """What ``operando run FILE`` runs."""

    name: str = Field(min_length=1)
    description: str | None = None
    cell: str = Field(description="Name of a file in config/cells, or a path to one.")
    technique: Technique
    every: Schedule = Schedule()
    rules: tuple[Rule, ...] = Field(
        default=(), description="What is done when the live stream shows an event."
    )
    limits: SafetyLimits = SafetyLimits()

    @field_validator("rules")
    @classmethod
    def _rules_have_names_of_their_own(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several rules are called {', '.join(map(repr, twice))}: rename one")
        return rules
