"""What is done when the potentiostat fails in a step, as data.

Of the potentiostat only: whether a camera or a sensor may fail is told in the bench file. Never
tried again, whatever is told here, is what a safety limit or a hard short has ended, and never at
all with another instrument at the address.
"""

from typing import Annotated, Literal

from pydantic import Field

from techniques._base import Data

# However often it is tried, nobody waits longer than this from one attempt to the next, s.
LONGEST_WAIT_S = 86400.0

Then = Literal["safe_stop", "skip", "hold"]


class Retry(Data):
    """How often a step that failed is gone on with, and what is waited before, the cell open."""

    times: int = Field(ge=1, le=100, description="How often at most, in one step.")
    wait_s: float = Field(
        default=10.0, ge=0, description="What is waited before the first attempt, s."
    )
    growth: float = Field(
        default=2.0, ge=1, le=100, description="How many times as long before each further one."
    )

    def wait_before_s(self, attempt: int) -> float:
        """Return what is waited before an attempt, counted from 1, s: a day at most."""
        waited_s = self.wait_s
        for _ in range(attempt - 1):
            if waited_s >= LONGEST_WAIT_S:
                break
            waited_s *= self.growth
        return min(waited_s, LONGEST_WAIT_S)


class FailurePolicy(Data):
    """What is done when the potentiostat fails: tried again, then stopped, skipped or asked.

    An attempt connects anew, compares the serial number, collects the instrument's own log, looks
    at the cell, and goes on where the step stood; where that is not certain nothing is driven.
    ``safe_stop``: the experiment ends, the cell open. ``skip``: the step is left out, with a hold
    that goes on with its half-cycle, and the experiment goes on behind it. ``hold``: the cell stays
    open and somebody is asked: at the terminal, or with ``operando answer``.
    """

    retry: Retry | None = Field(default=None, description="None: it is not tried again.")
    then: Then = Field(
        default="safe_stop", description="What is done when that did not help, or at once."
    )
    hold_s: float = Field(
        default=43200.0,
        gt=0,
        description="Of hold: how long an answer is waited for; then it is a safe stop, s.",
    )

    @property
    def ends_at_once(self) -> bool:
        """Return whether a failure just ends the experiment."""
        return self.retry is None and self.then == "safe_stop"


# Of a step or of what is made of steps; those inside may tell their own.
OnFailure = Annotated[
    FailurePolicy | None,
    Field(
        description="What is done when the potentiostat fails in it; by default what holds for "
        "that of which it is a part, or for the protocol."
    ),
]
