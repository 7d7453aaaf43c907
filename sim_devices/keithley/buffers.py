"""Reading buffers: what was measured, with the instrument's own time."""

from __future__ import annotations

from typing import NamedTuple

DEFAULT_CAPACITY = 100_000
LEAST_CAPACITY, MOST_CAPACITY = 10, 6_875_000
# Bits of `Reading.source_status`.
PROTECTION, READBACK, OVER_TEMPERATURE, LIMITED, SENSE, OUTPUT = 4, 8, 16, 32, 64, 128


class Reading(NamedTuple):
    """One reading.

    Attributes:
        value: what was measured.
        unit: of it: ``Volt DC``, ``Amp DC`` or ``Ohm``.
        source: what was sourced, read back or as it was set.
        source_unit: of it.
        utc_s: the instrument's clock, s since 1970.
        status: bits about the measurement.
        source_status: bits about the source.
    """

    value: float
    unit: str
    source: float
    source_unit: str
    utc_s: float
    status: int
    source_status: int


class Buffer:
    """A ring of readings; indices count from 1.

    Attributes:
        name: as it is asked for.
        continuous: whether a full one overwrites its oldest reading; else what comes is discarded.
        last: the newest reading.
    """

    def __init__(self, name: str, capacity: int = DEFAULT_CAPACITY) -> None:
        """Make an empty one."""
        self.name = name
        self.continuous = False
        self._capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Forget the readings."""
        self._readings: list[Reading] = []
        self._next = 0
        self.first_utc_s: float | None = None
        self.last: Reading | None = None

    @property
    def capacity(self) -> int:
        """How many readings it holds; a new capacity clears it."""
        return self._capacity

    @capacity.setter
    def capacity(self, readings: int) -> None:
        self._capacity = readings
        self.clear()

    def __len__(self) -> int:
        """Return how many readings there are."""
        return len(self._readings)

    @property
    def start_index(self) -> int:
        """Index of the oldest reading; 0 if there is none."""
        if not self._readings:
            return 0
        return self._next + 1 if len(self._readings) == self._capacity and self._next else 1

    @property
    def end_index(self) -> int:
        """Index of the newest reading; 0 if there is none."""
        if not self._readings:
            return 0
        return self._next if self._next else len(self._readings)

    def add(self, reading: Reading) -> None:
        """Store a reading."""
        self.last = reading
        if self.first_utc_s is None:
            self.first_utc_s = reading.utc_s
        if len(self._readings) < self._capacity:
            self._readings.append(reading)
            self._next = len(self._readings) % self._capacity
        elif self.continuous:
            self._readings[self._next] = reading
            self._next = (self._next + 1) % self._capacity

    def at(self, index: int) -> Reading:
        """Return the reading of an index.

        Raises:
            IndexError: there is none.
        """
        if not 1 <= index <= len(self._readings):
            raise IndexError(index)
        return self._readings[index - 1]

    def relative_s(self, reading: Reading) -> float:
        """Return the time since the first reading that went into it, s."""
        return reading.utc_s - (self.first_utc_s or reading.utc_s)
