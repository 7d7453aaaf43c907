"""From when on a cell counts as shorted or polarised, as data.

What the thresholds mean is told by the analysis, which judges: the same while a run goes on and
afterwards.
"""

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, model_validator

from techniques._base import Data

# A share of something, none and all of it excluded.
Share = Annotated[float, Field(gt=0, lt=1)]


class DropCriteria(Data):
    """What counts as a soft short within one half-cycle: |E| falls in one step at one current."""

    drop: Share = Field(
        default=0.20,
        description="By which share of the rolling median the driving potential falls, at least.",
    )
    window: int = Field(default=30, ge=5, le=10_000, description="Rows of the rolling median.")
    after_edge: int = Field(
        default=20,
        ge=3,
        le=10_000,
        description="Rows after the step's edge, or after a recovery, that only make up the "
        "median.",
    )
    recovered: float = Field(
        default=0.90,
        gt=0,
        le=1,
        description="Share of the median before that ends an event; until then none is told.",
    )
    least_v: float | None = Field(
        default=None,
        gt=0,
        description="Medians below this are not judged, V; by default the potential's offset, "
        "which may be as large.",
    )
    noise_sigmas: float = Field(
        default=5.0,
        ge=0,
        description="The fall is that many standard deviations of the noise, at least.",
    )
    suddenness: float = Field(
        default=3.0,
        ge=0,
        description="It falls that many times as fast as in the rows before, at least: a slow "
        "decay, such as that of a nucleation tip, is no short.",
    )
    current_within: Share = Field(
        default=0.05,
        description="By which share the current may differ from its median.",
    )

    @model_validator(mode="after")
    def _an_event_can_end_only_above_where_it_began(self) -> Self:
        if self.recovered <= 1 - self.drop:
            raise ValueError(
                f"recovered {self.recovered:g} is not above 1 - drop = {1 - self.drop:g}: an event "
                "would be over before it began"
            )
        return self


class FailureCriteria(Data):
    """The thresholds of the rules that tell shorts, polarisation and rectangular traces."""

    drops: DropCriteria = Field(
        default=DropCriteria(), description="Soft shorts within a half-cycle."
    )
    baseline_from: int = Field(
        default=3,
        ge=1,
        description="Half-cycle of one current from which on the baseline is taken, from 1.",
    )
    baseline_to: int = Field(default=12, ge=1, description="The last one.")
    baseline_least: int = Field(
        default=3,
        ge=1,
        description="How many there must be at least; a hard short is told by fewer, too.",
    )
    hard_share: Share = Field(
        default=0.10,
        description="A half-cycle below this share of the baseline is shorted.",
    )
    hard_half_cycles: int = Field(
        default=2,
        ge=2,
        description="That many in a row are a hard short, if they are ohmic.",
    )
    zero_share: Share = Field(
        default=0.10,
        description="By which share of its bound the potential's offset may change between two "
        "half-cycles in a row; the rest cancels in half their difference.",
    )
    ohmic_within: Share = Field(
        default=0.25, description="By which share their |E|/|i| may differ."
    )
    polarisation_factor: float = Field(
        default=3.0,
        gt=1,
        description="A half-cycle above this many baselines is a polarisation failure.",
    )
    noise_factor: float = Field(
        default=10.0,
        ge=0,
        description="By how many standard deviations (from the median absolute deviation) the "
        "power of the noise exceeds the median of the first cycles, at least,",
    )
    noise_ratio: float = Field(
        default=3.0, ge=1, description="how many times that median it is, at least,"
    )
    noise_least_v_s: float = Field(
        default=1e-5, ge=0, description="and its root mean square, V/s, at least."
    )
    noise_cycles: int = Field(default=10, ge=1, description="The first cycles.")
    ce_above_pct: float = Field(
        default=102.0,
        ge=100,
        description="Where more than this share of the metal on the electrode comes back, a short "
        "carries the rest, %.",
    )
    flat_share: Share = Field(
        default=0.2,
        description="Where the arcs of the potential are below this share of those of the first "
        "cycles, the trace is rectangular.",
    )
    intercept_within: Share = Field(
        default=0.2,
        description="By which share |E|/|i| may then differ from the high-frequency intercept.",
    )

    @model_validator(mode="after")
    def _a_baseline_can_be_had(self) -> Self:
        there = self.baseline_to - self.baseline_from + 1
        if there < self.baseline_least:
            raise ValueError(
                f"there can be no baseline: baseline_least asks for {self.baseline_least} "
                f"half-cycles, and baseline_from {self.baseline_from} to baseline_to "
                f"{self.baseline_to} are {max(there, 0)}"
            )
        return self

    def overridden_by(self, other: "FailureCriteria") -> "FailureCriteria":
        """Return these with what ``other`` sets instead, field by field.

        Raises ValueError if they contradict each other then.
        """
        told, instead = (one.model_dump(exclude_unset=True) for one in (self, other))
        drops = {**told.get("drops", {}), **instead.get("drops", {})}
        return FailureCriteria.model_validate(
            {**told, **instead, **({"drops": drops} if drops else {})}
        )

    def not_default(self, names: Iterable[str]) -> list[str]:
        """Return those of ``names`` that are not the default, each with both values.

        Args:
            names: Fields; ``drops`` stands for all of its own.
        """
        usual = FailureCriteria()
        told: list[str] = []
        for name in names:
            if name == "drops":
                told += _differing(self.drops, usual.drops, DropCriteria.model_fields)
            else:
                told += _differing(self, usual, (name,))
        return told


def _differing(one: Data, usual: Data, names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        value, default = getattr(one, name), getattr(usual, name)
        if value != default:
            instead = "the potential's offset" if default is None else f"{default:g}"
            found.append(f"{name} {value:g} instead of {instead}")
    return found
