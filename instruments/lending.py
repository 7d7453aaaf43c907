"""Instruments that several benches share: had for one use, and given back.

Who lends is told to a bench from outside (`Lender`): a bench knows no queue and no network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from pydantic import Field

from instruments.errors import InstrumentError
from techniques._base import Data

# Of an instrument that benches share: the same word in the bench file of each.
SharedName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]


# One use of a shared instrument may last so many times as long as is expected, and so long, s.
USES_AT_MOST, LONGEST_S = 10.0, 300.0


class LeaseTimeoutError(InstrumentError):
    """A shared instrument was not had in time.

    Attributes:
        waited_s: how long it was waited for, s.
    """

    def __init__(self, message: str, waited_s: float) -> None:
        super().__init__(message)
        self.waited_s = waited_s


class LeaseLostError(InstrumentError):
    """A shared instrument went to somebody else while it was used: what it told is not taken."""


class Lease(Protocol):
    """One use of a shared instrument."""

    @property
    def number(self) -> int:
        """Return which loan of this instrument it is: each has a higher one than all before."""
        ...

    @property
    def waited_s(self) -> float:
        """Return how long it was waited for, s."""
        ...

    def held(self) -> bool:
        """Return whether the instrument is still ours, asked of who lends it.

        Where nobody can be asked: whether it cannot have gone to anybody else yet.
        """
        ...

    def give_back(self) -> bool:
        """Let others have it; return whether it was ours until now. Idempotent, raises nothing."""
        ...


class Lender(Protocol):
    """Who lends shared instruments."""

    def borrow(
        self,
        name: str,
        *,
        timeout_s: float,
        longest_s: float = LONGEST_S,
        called_off: Callable[[], bool] = lambda: False,
    ) -> Lease:
        """Wait for an instrument and return when it is ours.

        Args:
            name: of the shared instrument.
            timeout_s: how long to wait for it, s.
            longest_s: how long it may be kept, s: who has it for longer, and lives, hangs.
            called_off: asked now and then whether it is not wanted any more.

        Raises LeaseTimeoutError if it was not had in time, or is not wanted any more.
        """
        ...


class Loan(NamedTuple):
    """What became of one use of a shared instrument.

    Attributes:
        t_s: the leader's time when it was asked for, s; NaN before its first row.
        waited_s: how long it was waited for, s.
        number: which loan of the instrument it was; NaN: it was not had.
        outcome: ``used``, ``missed`` (not had, or not there), ``fenced`` (lost while it was used:
            what it told is not in the record) or ``failed``.
        reason: why it was not used; else empty.
    """

    t_s: float
    waited_s: float
    number: float
    outcome: str
    reason: str


@dataclass(frozen=True)
class Sharing:
    """How a bench comes by an instrument that it shares.

    Attributes:
        name: of the shared instrument.
        timeout_s: how long it is waited for, s.
        lender: who lends it.
        connect: connects it when it was had; raises InstrumentError.
        release: lets it go before it is given back; raises nothing.
        keeps_open: whether it stays connected also while it is another's.
    """

    name: str
    timeout_s: float
    lender: Lender
    connect: Callable[[], None]
    release: Callable[[], None]
    keeps_open: bool


class SharedPart(Data):
    """What a bench file tells of what other benches use as well, and shared instruments hang on."""

    shared: SharedName | None = Field(
        default=None,
        description="What an instrument is called that several stations share, the same in the "
        "bench file of each and of what hangs on it: it is had for one use at a time, and waited "
        "for. None: it is this bench's own.",
    )


class Shareable(SharedPart):
    """What a bench file tells of an instrument that other benches use as well."""

    lease_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="How long a shared instrument is waited for, s; then that use is missed, and "
        "the run goes on.",
    )
    keep_open: bool = Field(
        default=False,
        description="Whether a shared instrument stays connected while others use it: only where "
        "several programs can have it at a time. Else it is connected for each use.",
    )
