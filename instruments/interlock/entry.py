"""What a bench file tells of an interlock."""

from collections.abc import Set
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from instruments.abilities import Span
from instruments.entry import AddressedEntry
from instruments.interlock.contract import Interlock

WATCHDOG_S = Span(0.2, 25.5, "s")


class InterlockEntry(AddressedEntry):
    """An interlock; each wire language has its own entry. Only the guard process opens it."""

    unreached_means: ClassVar[str] = "without the guard its watchdog opens its relays by itself"

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["interlock"]
    watchdog_s: float = Field(
        default=1.0,
        ge=WATCHDOG_S.low,
        le=WATCHDOG_S.high,
        description="It opens all its relays when it has heard nothing for so long, s; in steps of "
        "0.1 s, what is between them is rounded down.",
    )
    # ``relays`` of other entries are contacts of a relay board.
    relays_of: dict[str, Annotated[int, Field(ge=0, strict=True)]] = Field(
        alias="relays",
        min_length=1,
        description="By the name of the instrument, through which relay the lead of its cell, or "
        "its laser's interlock circuit, runs; the first relay is 0.",
    )

    @model_validator(mode="after")
    def _a_relay_is_of_one(self) -> Self:
        of: dict[int, str] = {}
        for name, relay in self.relays_of.items():
            other = of.setdefault(relay, name)
            if other != name:
                raise ValueError(
                    f"{other} and {name} both hang on relay {relay} of the interlock: give each "
                    "its own"
                )
        return self

    def without(self, thermostats: Set[str]) -> Self:
        """Return the entry for a bench that has none of these instruments."""
        kept = {name: n for name, n in self.relays_of.items() if name not in thermostats}
        return self.model_copy(update={"relays_of": kept})

    def driver(self) -> Interlock:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class DconEntry(InterlockEntry):
    """A relay module with a host watchdog that speaks DCON, ICP DAS I-7060 and its like."""

    language: Literal["dcon"]
    module: int = Field(
        default=1, ge=0, le=255, description="Its address on the line, in decimal digits."
    )
    checksum: bool = Field(
        default=False, description="Whether the module is set to checksums; recommended."
    )

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.interlock.dcon import DconInterlock

        return DconInterlock

    def driver(self) -> Interlock:
        from instruments.interlock.dcon import DconInterlock

        return DconInterlock(
            self.address,
            relays=self.relays_of,
            watchdog_s=self.watchdog_s,
            module=self.module,
            checksum=self.checksum,
        )
