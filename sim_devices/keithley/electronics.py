"""The analogue side of a simulated SourceMeter: ranges, and errors of its own.

Each range of each quantity has a gain and an offset, once as a source and once as a meter; readings
have noise, less of it the longer they take. The numbers are drawn from the seed once per instrument
and written to the truth, where only tests look.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

OVERFLOW = 9.91e37
# A range reads and sources up to this much more than its name says.
OVERRANGE = 1.05


class Range(NamedTuple):
    """A range: its nominal value in A or V, and its maker's bounds (relative, and absolute)."""

    nominal: float
    gain: float
    offset: float


# Of a 2450, one year, rounded.
CURRENT_RANGES = (
    Range(1e-8, 1e-3, 5e-11),
    Range(1e-7, 6e-4, 1e-10),
    Range(1e-6, 2.5e-4, 3e-10),
    Range(1e-5, 2.5e-4, 7e-10),
    Range(1e-4, 2e-4, 6e-9),
    Range(1e-3, 2e-4, 6e-8),
    Range(1e-2, 2e-4, 6e-7),
    Range(1e-1, 2.5e-4, 6e-6),
    Range(1.0, 3e-4, 5e-4),
)
VOLTAGE_RANGES = (
    Range(0.02, 1e-3, 1.5e-4),
    Range(0.2, 1.5e-4, 2e-4),
    Range(2.0, 1.2e-4, 3e-4),
    Range(20.0, 1.5e-4, 1e-3),
    Range(200.0, 1.5e-4, 1e-2),
)
# Of a 2460, likewise; it has no range below 1 uA.
_HIGH_CURRENT_RANGES = (
    *(one for one in CURRENT_RANGES if one.nominal >= 1e-6),
    Range(4.0, 1e-3, 2.5e-3),
    Range(5.0, 1e-3, 2.5e-3),
    Range(7.0, 1.5e-3, 5e-3),
)
_LOW_VOLTAGE_RANGES = (
    Range(0.2, 1.5e-4, 2e-4),
    Range(2.0, 1.2e-4, 3e-4),
    Range(7.0, 1.5e-4, 1e-3),
    Range(10.0, 1.5e-4, 1e-3),
    Range(20.0, 1.5e-4, 1e-3),
    Range(100.0, 1.5e-4, 5e-3),
)


class Make(NamedTuple):
    """What one model can do.

    Attributes:
        model: its number.
        ranges: of ``current`` and ``voltage``, ascending.
        largest: what it sources and measures at most, A and V.
    """

    model: str
    ranges: dict[str, tuple[Range, ...]]
    largest: dict[str, float]


MAKES = {
    "2450": Make(
        "2450",
        {"current": CURRENT_RANGES, "voltage": VOLTAGE_RANGES},
        {"current": 1.05, "voltage": 210.0},
    ),
    "2460": Make(
        "2460",
        {"current": _HIGH_CURRENT_RANGES, "voltage": _LOW_VOLTAGE_RANGES},
        {"current": 7.35, "voltage": 105.0},
    ),
}


@dataclass(frozen=True)
class Imperfection:
    """How good the instrument is.

    Attributes:
        share_of_bound: one standard deviation of each error, as a share of the maker's bound.
        noise_of_range: of each reading over one mains period, one standard deviation.
        timer_ppm_bound: the crystal lies anywhere within +- this many ppm.
    """

    share_of_bound: float = 0.1
    noise_of_range: float = 2e-6
    timer_ppm_bound: float = 50.0


PERFECT = Imperfection(0.0, 0.0, 0.0)


def range_for(ranges: tuple[Range, ...], value: float) -> Range:
    """Return the smallest range that holds a value, the largest if none does."""
    # A literal and a nominal value may differ in the last bit.
    size = abs(value) * (1 - 1e-9)
    return next((one for one in ranges if size <= one.nominal), ranges[-1])


class _Errors:
    """Gain and offset of each range."""

    def __init__(self, source: random.Random, ranges: tuple[Range, ...], share: float) -> None:
        self.gain: dict[float, float] = {}
        self.offset: dict[float, float] = {}
        for one in ranges:
            bounded = [min(max(source.gauss(0, share), -1.0), 1.0) for _ in range(2)]
            self.gain[one.nominal] = 1 + one.gain * bounded[0]
            self.offset[one.nominal] = one.offset * bounded[1]

    def told(self) -> dict[str, dict[str, float]]:
        return {
            "gain": {f"{nominal:g}": gain for nominal, gain in self.gain.items()},
            "offset": {f"{nominal:g}": offset for nominal, offset in self.offset.items()},
        }


class Electronics:
    """Applies and reads potentials and currents, both with the instrument's errors."""

    def __init__(self, imperfection: Imperfection, seed: int, make: Make = MAKES["2450"]) -> None:
        """Draw this instrument's errors.

        Args:
            imperfection: how good the make is.
            seed: which instrument of the make it is; also starts its noise.
            make: what it can do.
        """
        self.make = make
        source = random.Random(f"keithley {seed}")
        share = imperfection.share_of_bound
        self._read = {
            "current": _Errors(source, make.ranges["current"], share),
            "voltage": _Errors(source, make.ranges["voltage"], share),
        }
        self._set = {
            "current": _Errors(source, make.ranges["current"], share),
            "voltage": _Errors(source, make.ranges["voltage"], share),
        }
        bound = imperfection.timer_ppm_bound
        self.timer_ppm = source.uniform(-bound, bound) if bound else 0.0
        self._noise = imperfection.noise_of_range
        self._gauss = random.Random(f"keithley noise {seed}").gauss

    def told(self) -> dict[str, Any]:
        """Return the errors as plain data for the truth."""
        return {
            "timer_ppm": self.timer_ppm,
            **{f"read_{what}": errors.told() for what, errors in self._read.items()},
            **{f"set_{what}": errors.told() for what, errors in self._set.items()},
        }

    def applied(self, what: str, level: float, nominal: float) -> float:
        """Return what really flows or lies at the terminals when ``level`` is set in a range."""
        errors = self._set[what]
        return (level - errors.offset[nominal]) / errors.gain[nominal]

    def reading(self, what: str, true: float, nominal: float, nplc: float) -> float:
        """Return what is read of ``true`` in a range, beyond it an overflow."""
        errors = self._read[what]
        value = true * errors.gain[nominal] + errors.offset[nominal]
        if self._noise:
            value += self._gauss(0.0, self._noise * nominal / max(nplc, 1e-3) ** 0.5)
        if abs(value) > OVERRANGE * nominal:
            return OVERFLOW if value > 0 else -OVERFLOW
        return value
