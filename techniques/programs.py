"""Techniques that are made of techniques: one after the other, several times, under a name."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from techniques._base import Data
from techniques.failure_policy import OnFailure

if TYPE_CHECKING:
    from techniques.technique import Technique


class Sequence(Data):
    """Run techniques one after the other."""

    type: Literal["sequence"] = "sequence"
    steps: "tuple[Technique, ...]" = Field(min_length=1)
    on_failure: OnFailure = None


class Repeat(Data):
    """Run one technique several times."""

    type: Literal["repeat"] = "repeat"
    times: int = Field(ge=1)
    step: "Technique"
    on_failure: OnFailure = None


class Block(Data):
    """A part of an experiment with a name: a formation, a rate, a conditioning.

    It runs as its technique does; the name is for whoever reads the record.
    """

    type: Literal["block"] = "block"
    name: str = Field(min_length=1, description="What the part is called.")
    step: "Technique"
    in_means: bool = Field(
        default=True,
        description="Whether its cycles count in the means over cycles that are reported.",
    )
    on_failure: OnFailure = None
