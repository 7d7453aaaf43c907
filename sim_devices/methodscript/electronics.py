"""The analogue side of a simulated EmStat4 HR: ranges, converters, and errors of its own.

What the cell feels is not what the script asked for, and what the script reads is not what the cell
did: every current range has a gain and an offset, the potential has one gain and one offset,
    converters have steps and amplifiers have noise.
The numbers are drawn from the seed once per instrument and written to the truth, where only tests
look.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Limits of the EmStat4 HR.
POTENTIAL_LIMIT_V = 6.0
CURRENT_LIMIT_A = 0.2

# Thresholds of the status bits, in units of the range's nominal value.
OVERLOAD, OVERLOAD_WARNING, UNDERLOAD = 2.92, 2.46, 0.123

STATUS_OK, STATUS_TIMING, STATUS_OVERLOAD, STATUS_UNDERLOAD, STATUS_OVERLOAD_WARNING = 0, 1, 2, 4, 8

# Converters have 16 bits: over +-2.92 x nominal that is 0.009 % of the range, and over +-6 V 183 uV
# applied.
_CONVERTER_STEPS = 1 << 16
_APPLIED_POTENTIAL_STEP_V = 2 * POTENTIAL_LIMIT_V / _CONVERTER_STEPS


class Range(NamedTuple):
    """A measuring range: its code in package metadata and its nominal value in A or V."""

    code: int
    nominal: float


# 1 nA (index 03) and 10 nA (06) exist on the LR only.
CURRENT_RANGES = (
    Range(0x09, 1e-7),
    Range(0x0C, 1e-6),
    Range(0x0F, 1e-5),
    Range(0x12, 1e-4),
    Range(0x15, 1e-3),
    Range(0x18, 1e-2),
    Range(0x1B, 1e-1),
)
# The largest potential range reaches the instrument's +-6 V.
POTENTIAL_RANGES = (
    Range(2, 0.05),
    Range(3, 0.1),
    Range(4, 0.2),
    Range(5, 0.5),
    Range(6, 1.0),
)


@dataclass(frozen=True)
class Imperfection:
    """How good the instrument is; every number is one standard deviation unless it says otherwise.

    Attributes:
        current_gain: of each current range, relative.
        current_offset_of_range: of each current range. The maker's bound of 0.1 % of the range is
            never exceeded: draws are clipped there. The default is a tenth of the bound, because an
            offset enters the coulombic efficiency as ``2 offset / current`` and 0.1 % would hide
            what a good anode loses.
        potential_gain: relative, the same for what is applied and what is read.
        potential_offset_v: V.
        potential_noise_v: of each reading, V.
        current_noise: of each reading, relative.
        current_noise_of_range: of each reading.
        impedance_noise: of each impedance, relative to its magnitude, in each of its two parts.
        timer_ppm_bound: the crystal lies anywhere within +- this many ppm.
        converter_steps: whether readings and settings come in steps.
        potential_drift_v_h: of each reading and of what is applied, V per hour of the cell.
        current_gain_drift_per_h: of every range, relative per hour of the cell.
    """

    current_gain: float = 1e-3
    current_offset_of_range: float = 1e-4
    potential_gain: float = 2e-4
    potential_offset_v: float = 5e-5
    potential_noise_v: float = 2e-5
    current_noise: float = 2e-5
    current_noise_of_range: float = 1e-5
    impedance_noise: float = 3e-4
    timer_ppm_bound: float = 50.0
    converter_steps: bool = True
    potential_drift_v_h: float = 0.0
    current_gain_drift_per_h: float = 0.0

    CURRENT_OFFSET_BOUND_OF_RANGE = 1e-3


# An instrument that warms up: it drifts besides what it was born with.
DRIFTING = Imperfection(potential_drift_v_h=1e-5, current_gain_drift_per_h=2e-5)

# An instrument without errors, for lines that are derived by hand.
PERFECT = Imperfection(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, converter_steps=False)


@dataclass
class Calibration:
    """The errors one instrument was born with.

    Attributes:
        current_gain: reading over truth, by range code.
        current_offset_a: reading minus truth at zero, A, by range code.
        potential_gain: reading over truth.
        potential_offset_v: reading minus truth at zero, V.
        timer_ppm: how fast the instrument's timer runs, parts per million.
        potential_drift_v_h: by how much `potential_offset_v` grows in an hour, V.
        current_gain_drift_per_h: by how much every gain grows in an hour, relative.
    """

    current_gain: dict[int, float] = field(default_factory=dict)
    current_offset_a: dict[int, float] = field(default_factory=dict)
    potential_gain: float = 1.0
    potential_offset_v: float = 0.0
    timer_ppm: float = 0.0
    potential_drift_v_h: float = 0.0
    current_gain_drift_per_h: float = 0.0

    @classmethod
    def draw(cls, imperfection: Imperfection, seed: int) -> Calibration:
        """Draw the errors of the instrument with this seed."""
        source = random.Random(f"calibration {seed}")
        bound = imperfection.CURRENT_OFFSET_BOUND_OF_RANGE
        born = cls(
            potential_gain=1.0 + source.gauss(0.0, imperfection.potential_gain),
            potential_offset_v=source.gauss(0.0, imperfection.potential_offset_v),
            timer_ppm=source.uniform(-1.0, 1.0) * imperfection.timer_ppm_bound,
        )
        for code, nominal in CURRENT_RANGES:
            born.current_gain[code] = 1.0 + source.gauss(0.0, imperfection.current_gain)
            offset = source.gauss(0.0, imperfection.current_offset_of_range)
            born.current_offset_a[code] = min(max(offset, -bound), bound) * nominal
        # Drawn last, so that an instrument that does not drift is the one it always was.
        born.potential_drift_v_h = source.gauss(0.0, imperfection.potential_drift_v_h)
        born.current_gain_drift_per_h = source.gauss(0.0, imperfection.current_gain_drift_per_h)
        return born

    def after(self, hours: float) -> tuple[float, float]:
        """Return (potential offset in V, what every current gain is multiplied by) after a time."""
        offset_v = self.potential_offset_v + self.potential_drift_v_h * hours
        return offset_v, 1.0 + self.current_gain_drift_per_h * hours

    def as_truth(self) -> dict[str, Any]:
        """Return the errors as plain data for the truth file; range codes in hexadecimal."""
        return {
            "current_gain": {f"{code:02X}": gain for code, gain in self.current_gain.items()},
            "current_offset_a": {
                f"{code:02X}": offset for code, offset in self.current_offset_a.items()
            },
            "potential_gain": self.potential_gain,
            "potential_offset_v": self.potential_offset_v,
            "timer_ppm": self.timer_ppm,
            "potential_drift_v_h": self.potential_drift_v_h,
            "current_gain_drift_per_h": self.current_gain_drift_per_h,
        }


class Ranging:
    """One quantity's choice of range: fixed, or automatic between two ranges."""

    def __init__(self, ranges: tuple[Range, ...]) -> None:
        """Start on the largest range, fixed."""
        self._ranges = ranges
        self._lowest = self._highest = self._place = len(ranges) - 1

    @property
    def present(self) -> Range:
        """The range that is switched in."""
        return self._ranges[self._place]

    def fix(self, value: float) -> None:
        """Switch to the smallest range whose nominal value is at least this, and stay there."""
        self._lowest = self._highest = self._place = self._place_for(value)

    def limit(self, low: float, high: float) -> None:
        """Let the range follow the signal between the ranges for two values."""
        self._lowest, self._highest = sorted((self._place_for(low), self._place_for(high)))
        self._place = min(max(self._place, self._lowest), self._highest)

    def follow(self, magnitude: float) -> int:
        """Switch to the range for a magnitude, where allowed, and return the status bits."""
        nominal = self._ranges[self._place].nominal
        if UNDERLOAD * nominal <= magnitude <= OVERLOAD_WARNING * nominal:
            return STATUS_OK
        place = self._lowest
        while place < self._highest and magnitude > OVERLOAD_WARNING * self._ranges[place].nominal:
            place += 1
        self._place = place
        nominal = self._ranges[place].nominal
        if magnitude > OVERLOAD * nominal:
            return STATUS_OVERLOAD
        if magnitude > OVERLOAD_WARNING * nominal:
            return STATUS_OVERLOAD_WARNING
        if magnitude < UNDERLOAD * nominal and place > 0:
            return STATUS_UNDERLOAD
        return STATUS_OK

    def _place_for(self, value: float) -> int:
        # A literal and a nominal value may differ in the last bit.
        magnitude = abs(value) * (1.0 - 1e-9)
        for place, one in enumerate(self._ranges):
            if one.nominal >= magnitude:
                return place
        return len(self._ranges) - 1


def metadata(status: int, range_code: int) -> str:
    """Return the metadata of a measured value as it is appended in a package."""
    return f",1{status:X},2{range_code:02X}"


class Electronics:
    """Applies and reads potentials and currents, both with the instrument's errors."""

    def __init__(self, imperfection: Imperfection, seed: int) -> None:
        """Draw this instrument's errors.

        Args:
            imperfection: how good the make is.
            seed: which instrument of the make it is; also starts its noise.
        """
        self.imperfection = imperfection
        self.calibration = Calibration.draw(imperfection, seed)
        self._noise = random.Random(f"noise {seed}").gauss
        self.now_s: Callable[[], float] = lambda: 0.0  # cell time; the errors drift with it
        self._drifts = bool(
            self.calibration.potential_drift_v_h or self.calibration.current_gain_drift_per_h
        )
        self.potential = Ranging(POTENTIAL_RANGES)
        self.current = Ranging(CURRENT_RANGES)
        self.galvanostat = Ranging(CURRENT_RANGES)
        self._steps = imperfection.converter_steps
        self._metadata = {
            (status, code): metadata(status, code)
            for status in range(16)
            for code, _ in (*CURRENT_RANGES, *POTENTIAL_RANGES)
        }

    def _errors(self) -> tuple[float, float]:
        """Return the potential's offset (V) and the drift of the current gains now."""
        born = self.calibration
        if not self._drifts:
            return born.potential_offset_v, 1.0
        return born.after(self.now_s() / 3600)

    # ---- applying

    def applied_potential(self, set_v: float) -> tuple[float, float]:
        """Return (the potential the converter was set to, the true potential), V."""
        if self._steps:
            set_v = round(set_v / _APPLIED_POTENTIAL_STEP_V) * _APPLIED_POTENTIAL_STEP_V
        offset_v, _ = self._errors()
        return set_v, (set_v - offset_v) / self.calibration.potential_gain

    def applied_current(self, set_a: float) -> tuple[float, float]:
        """Return (the current the converter was set to, the true current), A."""
        code, nominal = self.galvanostat.present
        if self._steps:
            step = 2 * OVERLOAD * nominal / _CONVERTER_STEPS
            set_a = round(set_a / step) * step
        born = self.calibration
        _, drifted = self._errors()
        return set_a, (set_a - born.current_offset_a[code]) / (born.current_gain[code] * drifted)

    # ---- reading

    def read_potential(self, true_v: float) -> tuple[float, str]:
        """Return (reading in V, metadata)."""
        offset_v, _ = self._errors()
        reading = true_v * self.calibration.potential_gain + offset_v
        if self.imperfection.potential_noise_v:
            reading += self._noise(0.0, self.imperfection.potential_noise_v)
        ranging = self.potential
        status = ranging.follow(reading if reading >= 0.0 else -reading)
        code, nominal = ranging.present
        if status == STATUS_OVERLOAD or status == STATUS_OVERLOAD_WARNING:
            limit = OVERLOAD * nominal
            if nominal == POTENTIAL_RANGES[-1].nominal:
                limit = POTENTIAL_LIMIT_V
                status = STATUS_OVERLOAD if abs(reading) > limit else STATUS_OK
            reading = min(max(reading, -limit), limit)
        if self._steps:
            step = 2 * OVERLOAD * nominal / _CONVERTER_STEPS
            reading = round(reading / step) * step
        return reading, self._metadata[status, code]

    def read_potential_besides(self, true_v: float) -> float:
        """Return the reading (V) of a potential that has no ranges: the largest is always used."""
        born = self.calibration
        reading = true_v * born.potential_gain + born.potential_offset_v
        if self.imperfection.potential_noise_v:
            reading += self._noise(0.0, self.imperfection.potential_noise_v)
        if self._steps:
            reading = round(reading / _APPLIED_POTENTIAL_STEP_V) * _APPLIED_POTENTIAL_STEP_V
        return min(max(reading, -POTENTIAL_LIMIT_V), POTENTIAL_LIMIT_V)

    def read_current(self, true_a: float) -> tuple[float, str]:
        """Return (reading in A, metadata)."""
        ranging = self.current
        status = ranging.follow(true_a if true_a >= 0.0 else -true_a)
        code, nominal = ranging.present
        born = self.calibration
        _, drifted = self._errors()
        reading = true_a * born.current_gain[code] * drifted + born.current_offset_a[code]
        lacking = self.imperfection
        if lacking.current_noise_of_range:
            reading += self._noise(0.0, lacking.current_noise_of_range * nominal)
        if lacking.current_noise:
            reading *= 1.0 + self._noise(0.0, lacking.current_noise)
        if status == STATUS_OVERLOAD:
            limit = OVERLOAD * nominal
            reading = min(max(reading, -limit), limit)
        if self._steps:
            step = 2 * OVERLOAD * nominal / _CONVERTER_STEPS
            reading = round(reading / step) * step
        return reading, self._metadata[status, code]

    def galvanostat_metadata(self) -> str:
        """Return the metadata of a set current."""
        return self._metadata[STATUS_OK, self.galvanostat.present.code]

    def read_impedance(
        self, true_ohm: complex, amplitude_v: float, amplitude_a: float, *, galvanostatic: bool
    ) -> tuple[complex, str, str]:
        """Return (reading in ohm, metadata of the real part, metadata of the imaginary part).

        The real part carries the current range, the imaginary part the potential range.
        """
        ranging = self.galvanostat if galvanostatic else self.current
        current_status = STATUS_OK if galvanostatic else ranging.follow(amplitude_a)
        potential_status = self.potential.follow(amplitude_v)
        code = ranging.present.code
        born = self.calibration
        _, drifted = self._errors()
        reading = true_ohm * born.potential_gain / (born.current_gain[code] * drifted)
        noise = self.imperfection.impedance_noise
        if noise:
            scatter = noise * abs(reading)
            reading += complex(self._noise(0.0, scatter), self._noise(0.0, scatter))
        return (
            reading,
            self._metadata[current_status, code],
            self._metadata[potential_status, self.potential.present.code],
        )
