"""What a bench file says of its guard: the process that acts when this one is gone."""

from pydantic import Field

from techniques._base import Data


class GuardSettings(Data):
    """When the guard takes the owner of a bench for dead, and acts in its place.

    That the owner's process ended is noticed at once, whatever stands here.
    """

    silence_s: float = Field(
        default=0.8,
        ge=0.3,
        le=60,
        description="For how long a process that the system has stopped (SIGSTOP, a debugger) may "
        "be silent while a run is open, s.",
    )
    busy_s: float = Field(
        default=30.0,
        ge=1,
        le=600,
        description="For how long a process may be silent that is there and not stopped: it may be "
        "busy, or hang, s.",
    )
    engine_s: float = Field(
        default=120.0,
        ge=10,
        le=3600,
        description="For how long the RunEngine may handle nothing at all while a run is open, s.",
    )
