"""What people ask of a run that goes on, as data."""

from typing import Annotated, Literal

from pydantic import Field

from techniques._base import Data
from techniques.protocol import Protocol

# With what the reason of a further program of a run begins that goes on as another protocol says.
AMENDED = "amended by"
# Likewise of one that goes on behind a step that was skipped, behind the name of that.
SKIPPED = " skipped by "
# With what that ends where a half-cycle had begun of which the other protocol leaves nothing: that
# one, the last so far, did not come to the end that its own protocol gives it.
NOTHING_LEFT = "had passed all that it asks for, and ended)"
# What the record has in place of a request where a change that was accepted was not made after all.
NOT_AMENDED = "not amended"


class StopCell(Data):
    """End the experiment, the cell open; everything measured is kept."""

    request: Literal["stop"] = "stop"
    by: str = Field(min_length=1)
    why: str = ""


class SkipStep(Data):
    """End the present step, and go on with what comes behind it."""

    request: Literal["skip_step"] = "skip_step"
    by: str = Field(min_length=1)
    why: str = ""


class Amend(Data):
    """From the next half-cycle on, go on as another protocol says, where that then stands."""

    request: Literal["amend"] = "amend"
    by: str = Field(min_length=1)
    protocol: Protocol
    why: str = ""


Request = Annotated[StopCell | SkipStep | Amend, Field(discriminator="request")]
