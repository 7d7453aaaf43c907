"""What every interlock offers, whatever its wire language."""

from typing import Protocol


class Interlock(Protocol):
    """Relays that are closed only while this computer says that it is well.

    Their contacts are normally open, in the lead of a cell or in the interlock circuit of a laser,
    and a watchdog of the module's own opens them. Callable from any thread; every failure is an
    InstrumentError, and then the relays are to be taken for open as well as for closed.
    """

    @property
    def verified_on(self) -> str | None:
        """Return when and with which firmware this driver was confirmed on hardware, or None."""
        ...

    def connect(self) -> None:
        """Open the port, check who is there, and open all relays."""
        ...

    def close(self) -> None:
        """Open the relays and release the port; safe to call twice."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``firmware``, ``module``, ``address`` of what answered."""
        ...

    def hold(self) -> None:
        """Arm the watchdog, then close the declared relays; returns when they read back closed.

        From now on ``beat`` is due several times within the watchdog's time. Where they are held
        already nothing moves. Also takes back what a watchdog did that has opened them.
        """
        ...

    def beat(self) -> None:
        """Say that this computer is well, and look whether the relays still stand as told.

        Raises InterlockTrippedError if they do not: the watchdog opened them, or the power failed.
        """
        ...

    def open(self) -> None:
        """Open all relays and switch the watchdog off; returns when they read back open."""
        ...

    def safe_state(self) -> None:
        """Do what ``open`` does."""
        ...

    def state(self) -> dict[str, bool]:
        """Return whose relay is closed, asked of the module."""
        ...
