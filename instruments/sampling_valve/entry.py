"""What a bench file tells of a sampling valve."""

from typing import Any, Literal

from pydantic import Field

from instruments.entry import AddressedEntry
from instruments.lending import SharedPart
from instruments.sampling_valve.contract import SamplingValve


class SamplingValveEntry(AddressedEntry, SharedPart):
    """A sampling valve; each wire language has its own entry. A gas chromatograph names it."""

    kind: Literal["sampling_valve"]

    def driver(self) -> SamplingValve:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class ViciEntry(SamplingValveEntry):
    """A valve of two positions on a VICI Valco actuator."""

    language: Literal["vici"]
    unit: str | None = Field(
        default=None,
        pattern=r"^[0-9A-Z]$",
        description="Its ID, where one is set, as of /1CP; none: it has none. Each valve has a "
        "line of its own.",
    )

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.sampling_valve.vici import ViciValve

        return ViciValve

    def driver(self) -> SamplingValve:
        from instruments.sampling_valve.vici import ViciValve

        return ViciValve(self.address, unit=self.unit)
