"""What the entries of a bench file have in common; the entries of a kind lie beside its drivers."""

import datetime
from collections.abc import Iterable, Mapping, Set
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from instruments.abilities import Span
from instruments.calibration import (
    Calibration,
    CalibrationFlag,
    Dated,
    Quantity,
    check_values,
    flags_of,
    told_records,
)
from instruments.errors import InstrumentFaultError
from techniques._base import Data


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no zone of the tz database; such are Europe/Berlin, America/New_York, UTC"
        ) from None


# Name of a zone in the tz database.
ZoneName = Annotated[str, AfterValidator(_zone)]


class InstrumentEntry(Data):
    """One instrument of a bench file.

    Subclasses give ``kind`` and ``language`` as literals; together they name one driver.
    """

    # What a start document tells of how the instrument was calibrated: these keys, where they are.
    _calibrating: ClassVar[frozenset[str]] = frozenset()

    # What an instrument that does not answer may be doing meanwhile, and what a hand does about it.
    unreached_means: ClassVar[str] = ""

    @property
    def made_safe(self) -> str:
        """Return what it has confirmed when it was made safe; empty if its kind tells that."""
        return ""

    @property
    def boards(self) -> tuple[str, ...]:
        """Return the names of the relay boards that the instrument hangs on."""
        return ()

    @property
    def relays(self) -> tuple[tuple[str, int], ...]:
        """Return the contacts that are its own: (relay board, relay)."""
        return ()

    @property
    def valves(self) -> tuple[str, ...]:
        """Return the names of the sampling valves that the instrument takes its samples by."""
        return ()

    @property
    def thermostats(self) -> tuple[str, ...]:
        """Return the names of the thermostats that the instrument asks for its temperature."""
        return ()

    def without(self, thermostats: Set[str]) -> Self:
        """Return the entry for a bench that has none of these thermostats."""
        del thermostats
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses at which it is reached, as they are written."""
        return ()

    @classmethod
    def driver_class(cls) -> Any:
        """Return the class of the driver; what it can do is asked of it."""
        raise NotImplementedError

    def bounds(self) -> Mapping[str, Span]:
        """Return what the bench file limits, by quantity: narrower than the instrument."""
        return {}

    def calibration_told(self) -> dict[str, Any]:
        """Return what a start document tells of its calibration; empty if there is nothing."""
        return self._told(self._calibrating)

    def calibration_flags(self, name: str, today: datetime.date) -> tuple[CalibrationFlag, ...]:
        """Return what is to be said of its calibrations on a day: too old, or none."""
        del name, today
        return ()

    def _told(self, keys: Iterable[str]) -> dict[str, Any]:
        include = set(keys)
        if not include:
            return {}
        return self.model_dump(mode="json", include=include, exclude_none=True)


class CalibratedEntry(InstrumentEntry):
    """One of which something can be calibrated."""

    # What can be, by name.
    _quantities: ClassVar[Mapping[str, Quantity]] = {}

    calibrations: tuple[Calibration, ...] = Field(
        default=(), description="What was found about it, by date; see there what can be told."
    )

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Return what can be calibrated on it, by name."""
        return cls._quantities

    @model_validator(mode="after")
    def _calibrations_are_of_its_kind(self) -> Self:
        check_values(self.calibrations, self._quantities)
        return self

    def calibration_told(self) -> dict[str, Any]:
        records = told_records(self.calibrations)
        return super().calibration_told() | ({"records": records} if records else {})

    def calibration_flags(self, name: str, today: datetime.date) -> tuple[CalibrationFlag, ...]:
        return tuple(
            flags_of(
                name,
                self.calibrations,
                self._quantities,
                today=today,
                undated=self._undated(),
                elsewhere=self._calibrated_elsewhere(),
            )
        )

    def _undated(self) -> frozenset[str]:
        """Return which quantities the entry tells by themselves, without a date."""
        return frozenset()

    def _calibrated_elsewhere(self) -> Mapping[str, Dated]:
        """Return which quantities another form of a calibration tells, with its date."""
        return {}


OnFailure = Annotated[
    Literal["note", "end"],
    Field(
        description="What a run does where a reading fails. note: it goes on, the row is NaN, and "
        "the failure stands in the stop document; end: it ends, with the cell open."
    ),
]


class AddressedEntry(InstrumentEntry):
    """One that is reached at an address of its own."""

    address: str = Field(
        description="A URL; ${NAME} is taken from the environment, where NAME begins with "
        "OPERANDO_ or BENCH_ and is no key or token, or is HOME, USER or XDG_RUNTIME_DIR."
    )
    serial_number: str | None = Field(
        default=None,
        min_length=1,
        description="As the instrument tells it, in quotes: another one at the address is refused "
        "when it is connected. None: whoever answers is taken.",
    )

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.address,)

    def refuse_another(self, name: str, identity: Mapping[str, str]) -> None:
        """Raise InstrumentFaultError if who answered is not whom the bench file names.

        Args:
            name: of the instrument in the bench file.
            identity: what it told of itself.
        """
        if self.serial_number is None:
            return
        found = identity.get("serial_number", "").strip()
        if found == self.serial_number.strip():
            return
        who = f"{name} ({identity.get('model') or 'no model told'} at {self.address})"
        if not found:
            raise InstrumentFaultError(
                f"{who}: the bench file names serial_number {self.serial_number!r}, and this "
                "instrument tells none: take the key out, nothing can be compared with it"
            )
        raise InstrumentFaultError(
            f"{who}: asked for its serial number it told {found!r}, the bench file names "
            f"{self.serial_number!r}: another instrument is at this address. It was released "
            "again; correct the address, or serial_number"
        )
