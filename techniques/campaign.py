"""A campaign: which samples get which protocols, how often and where, as data."""

from collections.abc import Mapping
from datetime import date, datetime
from itertools import product
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from techniques._base import Data
from techniques.queueing import OnDeath, StationName

# Keys of a file, joined by dots; a number is a place in a list: technique.steps.1.plate
DataPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]
# More is a slip of the pen.
MOST_ITEMS = 10_000


class CampaignSample(Data):
    """One kind of cell, and how many of it; each cell is mounted, cycled and reported by itself."""

    cell: str = Field(description="Name of a file in config/cells, or a path to one.")
    replicates: int = Field(
        default=1, ge=1, le=1000, description="Cells of this kind for each combination of values."
    )
    labels: tuple[str, ...] | None = Field(
        default=None,
        description="What is written on the cells; by default the label of the cell file, with "
        "-1, -2, ... behind it where there are several.",
    )
    station: StationName | tuple[StationName, ...] | None = Field(
        default=None,
        description="Where these cells run, in turn; by default where there is room first.",
    )
    then: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Names of the protocols that run on them, in this order; by default all, as "
        "they are listed.",
    )
    set: Mapping[DataPath, Any] = Field(
        default_factory=dict, description="What differs from the cell file, by its path there."
    )


class CampaignProtocol(Data):
    """One protocol of a campaign, and what of it is varied."""

    protocol: str = Field(description="Name of a file in config/protocols, or a path to one.")
    name: str | None = Field(
        default=None, min_length=1, description="What `then` calls it; by default its file's name."
    )
    set: Mapping[DataPath, Any] = Field(
        default_factory=dict,
        description="What differs from the protocol file, by its path there: "
        "technique.capacity_mah_cm2.",
    )
    vary: Mapping[DataPath, tuple[Any, ...]] | tuple[Mapping[DataPath, Any], ...] = Field(
        default=(),
        description="What is varied: a list of values by path, of which every combination is "
        "taken, or a list of combinations. Each is run on cells of its own.",
    )
    repeat: int = Field(
        default=1, ge=1, le=1000, description="How often it runs on a cell, one after the other."
    )

    @field_validator("vary")
    @classmethod
    def _something_is_varied(cls, vary: Any) -> Any:
        if isinstance(vary, Mapping):
            for path, values in vary.items():
                if not values:
                    raise ValueError(f"{path} has no values")
        return vary

    @property
    def combinations(self) -> tuple[dict[str, Any], ...]:
        """Return what is set in each combination, by path; one empty one if nothing is varied."""
        if isinstance(self.vary, Mapping):
            return tuple(
                dict(zip(self.vary, values, strict=True)) for values in product(*self.vary.values())
            )
        return tuple(dict(one) for one in self.vary) or ({},)


class Campaign(Data):
    """Samples times combinations times replicates, each with all protocols, as items of queues."""

    campaign: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Its name, in every record of it."
    )
    description: str | None = None
    samples: tuple[CampaignSample, ...] = Field(min_length=1)
    protocols: tuple[CampaignProtocol, ...] = Field(min_length=1)
    stations: tuple[StationName, ...] | None = Field(
        default=None, min_length=1, description="Where it may run; by default on every station."
    )
    at: str | None = Field(
        default=None,
        description="When its first items begin at the earliest: 2026-12-01 22:00, local time.",
    )
    priority: int = Field(default=0, description="Of all its items; more is first.")
    on_death: OnDeath | None = Field(
        default=None,
        description="What is done when a worker died in one of its runs; by default what its "
        "station says.",
    )
    hold: bool = Field(
        default=False, description="Its items wait until somebody releases them, one by one."
    )

    @field_validator("at", mode="before")
    @classmethod
    def _a_time_as_yaml_reads_it(cls, at: object) -> object:
        return at.isoformat() if isinstance(at, datetime | date) else at

    @model_validator(mode="after")
    def _it_has_a_sensible_size(self) -> Self:
        combinations = 1
        for protocol in self.protocols:
            combinations *= len(protocol.combinations)
        cells = sum(sample.replicates for sample in self.samples) * combinations
        items = cells * sum(protocol.repeat for protocol in self.protocols)
        if items > MOST_ITEMS:
            raise ValueError(
                f"{combinations} combinations on {cells} cells are {items} items: at most "
                f"{MOST_ITEMS} are allowed in one campaign"
            )
        return self
