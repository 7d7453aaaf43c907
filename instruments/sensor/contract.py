"""What every sensor offers, whatever it measures and whatever its wire language."""

from collections.abc import Mapping
from typing import Protocol


class Sensor(Protocol):
    """A driver of an instrument that tells a few numbers: a pH meter, a quartz microbalance.

    Callable from any thread, one exchange at a time. Every failure is an InstrumentError.
    """

    @property
    def verified_on(self) -> str | None:
        """Return when and with which firmware this driver was confirmed on hardware, or None."""
        ...

    @property
    def quantities(self) -> Mapping[str, str]:
        """Return what it tells: name of each quantity -> its unit, empty where it has none."""
        ...

    def connect(self) -> None:
        """Open the port and check who is there; idempotent."""
        ...

    def close(self) -> None:
        """Release the port; safe to call twice."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``address`` and what else the instrument tells of itself."""
        ...

    def read(self) -> Mapping[str, float]:
        """Return one value of each of ``quantities``; NaN where the instrument has none now."""
        ...

    def safe_state(self) -> None:
        """Leave it as it can be left alone; most sensors have nothing to do."""
        ...
