"""Calibrations as records: what was found about an instrument, when, by whom, how well, until when.

One form for all of them. An instrument's entry in a bench file has a list of them, and each kind of
instrument says which quantities can be calibrated on it, in which unit (`Quantity`).
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from instruments.errors import InstrumentError
from techniques._base import Data


class CalibrationRefusedError(InstrumentError):
    """A calibration is too old or missing, and the bench file says that no run begins then."""


@dataclass(frozen=True)
class Quantity:
    """Something that can be calibrated on a kind of instrument.

    Attributes:
        unit: Of its values; ``1`` for a ratio.
        meaning: What the value is, sign included.
        at_unit: Unit of what the value belongs to (``at``); ``None``: it belongs to nothing.
        at_means: What ``at`` is.
        expected: Whether an instrument without it is one whose calibration is missing.
        positive: Whether only values above zero make sense.
    """

    unit: str
    meaning: str
    at_unit: str | None = None
    at_means: str = ""
    expected: bool = False
    positive: bool = False


class Dated(Data):
    """When something was found, by whom, and until when it is believed.

    Without ``valid_days`` and ``due`` it is believed for ever.
    """

    date: datetime.date = Field(description="When it was found.")
    by: str = Field(min_length=1, description="Who found it: a person or a laboratory.")
    valid_days: float | None = Field(
        default=None, gt=0, le=36500, description="For how many days it is believed."
    )
    due: datetime.date | None = Field(
        default=None, description="The last day on which it is believed, in place of valid_days."
    )
    certificate: str | None = Field(
        default=None, min_length=1, description="Number of its certificate, or what it rests on."
    )

    @model_validator(mode="after")
    def _it_ends_once(self) -> Self:
        if self.due is not None and self.valid_days is not None:
            raise ValueError("tell valid_days or due, not both")
        if self.due is not None and self.due < self.date:
            raise ValueError(f"due {self.due} lies before its date, {self.date}")
        return self

    @property
    def last_day(self) -> datetime.date | None:
        """Return the last day on which it is believed; ``None``: for ever."""
        if self.valid_days is None:
            return self.due
        try:
            return self.date + datetime.timedelta(days=self.valid_days)
        except OverflowError:
            return None

    def doubt(self, today: datetime.date) -> str | None:
        """Return why it is not believed on a day; ``None`` if it is.

        A day ahead is let pass: dates are those of where it was written down.
        """
        if self.date > today + datetime.timedelta(days=1):
            return f"is dated {self.date}, and today is {today}"
        last = self.last_day
        if last is not None and last < today:
            return f"of {self.date} (by {self.by}) was to be renewed by {last}"
        return None


class CalibratedValue(Data):
    """One value that a calibration found."""

    of: str = Field(description="Which quantity; each kind of instrument has its own, see there.")
    value: float
    uncertainty: float | None = Field(
        default=None, ge=0, description="Standard uncertainty (k = 1), in the same unit."
    )
    unit: str = Field(description="That of the quantity, to be read by people.")
    at: float | None = Field(
        default=None,
        description="What it belongs to, where it belongs to something: the range, A, of a "
        "current's gain; the temperature, K, of a thermometer's offset.",
    )


class Calibration(Dated):
    """What one calibration of an instrument found; of several that tell one value the newest holds.

    The older ones stay in the record.
    """

    values: tuple[CalibratedValue, ...] = Field(min_length=1)
    note: str | None = Field(default=None, min_length=1, description="What else is to be said.")

    @model_validator(mode="after")
    def _each_value_stands_once(self) -> Self:
        seen = [(one.of, one.at) for one in self.values]
        for of, at in seen:
            if seen.count((of, at)) > 1:
                where = "" if at is None else f" at {at:g}"
                raise ValueError(f"{of}{where} stands twice in the calibration of {self.date}")
        return self


class CalibrationPolicy(Data):
    """What is done where a calibration is too old, or there is none.

    note: it is told, as a warning when the bench is connected and in each run. refuse: no run
    begins, except of a dummy cell or of one that checks the gas chromatograph: by these it is
    renewed. An experiment that had begun goes on.
    """

    expired: Literal["note", "refuse"] = "note"
    missing: Literal["note", "refuse"] = "note"


@dataclass(frozen=True)
class CalibrationFlag:
    """A calibration that is not as it should be.

    Attributes:
        instrument: Its name in the bench file.
        quantity: What should have been calibrated.
        flag: ``expired``, or ``missing`` (there is none, or it has no date).
        told: The same as a sentence.
    """

    instrument: str
    quantity: str
    flag: Literal["expired", "missing"]
    told: str

    def as_data(self) -> dict[str, str]:
        """Return it as a start document has it."""
        return asdict(self)


def check_values(records: Iterable[Calibration], known: Mapping[str, Quantity]) -> None:
    """Raise ValueError if a record tells what cannot be calibrated there, or in another unit.

    Also if two records of one day tell the same value: which one holds?
    """
    seen: set[tuple[datetime.date, str, float | None]] = set()
    for record in records:
        for one in record.values:
            quantity = known.get(one.of)
            if quantity is None:
                there = ", ".join(known) or "nothing"
                raise ValueError(f"{one.of!r} cannot be calibrated here; what can is: {there}")
            if one.unit != quantity.unit:
                raise ValueError(f"{one.of} is told in {quantity.unit!r}, not in {one.unit!r}")
            if (one.at is None) != (quantity.at_unit is None):
                what = quantity.at_means or "it belongs to nothing: leave `at` out"
                raise ValueError(f"{one.of}: at is {one.at}: {what}")
            if quantity.positive and not one.value > 0:
                raise ValueError(f"{one.of} is {one.value:g}: it is above zero")
            key = record.date, one.of, one.at
            if key in seen:
                raise ValueError(
                    f"two calibrations of {record.date} tell {one.of}: keep the one that holds"
                )
            seen.add(key)


def newest(
    records: Iterable[Calibration], of: str
) -> Iterator[tuple[Calibration, CalibratedValue]]:
    """Yield the values of a quantity that hold, by what they belong to, ascending."""
    found: dict[float | None, tuple[Calibration, CalibratedValue]] = {}
    for record in records:
        for one in record.values:
            if one.of != of:
                continue
            known = found.get(one.at)
            if known is None or record.date > known[0].date:
                found[one.at] = record, one
    yield from (found[at] for at in sorted(found, key=lambda at: -1.0 if at is None else at))


def told_records(records: Iterable[Calibration]) -> list[dict[str, Any]]:
    """Return records as a start document has them; the last day of each as ``due``."""
    return [
        record.model_dump(mode="json", exclude_none=True)
        | ({} if record.last_day is None else {"due": record.last_day.isoformat()})
        for record in records
    ]


def flags_of(
    name: str,
    records: Iterable[Calibration],
    known: Mapping[str, Quantity],
    *,
    today: datetime.date,
    undated: frozenset[str] = frozenset(),
    elsewhere: Mapping[str, Dated] | None = None,
) -> Iterator[CalibrationFlag]:
    """Yield what is to be said of the calibrations of an instrument, one by one.

    Args:
        name: Of the instrument.
        records: Its calibrations.
        known: What can be calibrated on it.
        today: The day.
        undated: Quantities that the entry tells by themselves, without a date.
        elsewhere: Quantities that another form of a calibration tells, with its date.
    """
    records = tuple(records)
    for of, quantity in known.items():
        holding = [(one, value.at) for one, value in newest(records, of)]
        if elsewhere is not None and of in elsewhere and not holding:
            yield from _expired(name, of, elsewhere[of], None, today)
            continue
        for record, at in holding:
            yield from _expired(name, of, record, at, today)
        if holding or not quantity.expected:
            continue
        why = "is told without a date" if of in undated else "was not calibrated"
        yield CalibrationFlag(name, of, "missing", f"{name}: {_words(of)} {why}")


def _expired(
    name: str, of: str, dated: Dated, at: float | None, today: datetime.date
) -> Iterator[CalibrationFlag]:
    doubt = dated.doubt(today)
    if doubt is not None:
        where = "" if at is None else f" at {at:g}"
        told = f"{name}: the calibration of {_words(of)}{where} {doubt}"
        yield CalibrationFlag(name, of, "expired", told)


def _words(of: str) -> str:
    return of.replace("_", " ")
