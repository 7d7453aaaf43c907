"""Where the lines of a spectrometer lie: its axis against substances and lamps that are known."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from operando.analysis.band_shapes import NoBandError, fit_band
from operando.runs import Floats

# Beyond it a silicon detector is blind, nm.
SILICON_END_NM = 1050.0
# cm-1, of silicon, of polystyrene as ASTM E1840 has them, and of calcite.
REFERENCE_LINES: Mapping[str, float] = MappingProxyType(
    {"silicon": 520.5, "polystyrene 621": 620.9, "polystyrene 1001": 1001.4, "calcite": 1085.5}
)
# Lines of neon with no strong neighbour within 1.5 nm, wavelengths in air, nm.
NEON_NM = (
    585.2488, 640.2248, 650.6528, 667.8276, 671.7043, 692.9467, 703.2413, 717.3938, 724.5167,
    743.8898, 808.2458, 830.0326, 837.7608, 849.5360, 859.1259, 863.4647, 891.9501,
)  # fmt: skip
REFRACTIVE_INDEX_OF_AIR = 1.000275
FEWEST_LINES = 4


@dataclass(frozen=True)
class AxisShift:
    """How far a reference line lies from where it should.

    Attributes:
        line_cm1: Where it should lie, cm-1.
        shift_cm1: Found minus expected, cm-1.
        error_cm1: Standard error of the line's position, cm-1.
    """

    line_cm1: float
    shift_cm1: float
    error_cm1: float


def axis_shift(
    axis: Floats, spectrum: Floats, line_cm1: float, reach_cm1: float = 25.0
) -> AxisShift:
    """Return the shift of a reference line: silicon, polystyrene, calcite or another.

    Args:
        axis: Wavenumbers as the spectrometer has them, cm-1.
        spectrum: Counts.
        line_cm1: Where the line lies, cm-1; `REFERENCE_LINES` has some.
        reach_cm1: How far beside it is looked, cm-1.

    Raises:
        NoBandError: There is no such line.
    """
    found = fit_band(axis, spectrum, line_cm1 - reach_cm1, line_cm1 + reach_cm1)
    return AxisShift(line_cm1, found.position_cm1 - line_cm1, found.position_error_cm1)


def scattered_nm(excitation_nm: float, shift_cm1: float) -> float:
    """Return the wavelength at which a band arrives, nm: 1 / (1 / excitation - shift)."""
    return 1e7 / (1e7 / excitation_nm - shift_cm1)


def out_of_sight(excitation_nm: float | None, shift_cm1: float) -> str | None:
    """Say why a band cannot be seen with an excitation: it lies beyond silicon; None if it can.

    A laser that itself lies beyond silicon (1064 nm) is not looked at with silicon: there the axis
    alone tells what can be seen.
    """
    if excitation_nm is None or not math.isfinite(excitation_nm):
        return None
    if excitation_nm >= SILICON_END_NM:
        return None
    arrives = scattered_nm(excitation_nm, shift_cm1)
    if 0 < arrives <= SILICON_END_NM:
        return None
    return (
        f"excited at {excitation_nm:.0f} nm the band at {shift_cm1:.0f} cm-1 lies at "
        f"{arrives:.0f} nm, beyond silicon ({SILICON_END_NM:.0f} nm): it needs 532 nm"
    )


@dataclass(frozen=True)
class LampCalibration:
    """An axis put right by the lines of a lamp.

    Attributes:
        axis_cm1: The axis as it should have been, cm-1.
        correction_cm1: What was taken off at each pixel, cm-1.
        lines: How many lines it rests on.
        scatter_cm1: Standard deviation of their shifts about the line through them, cm-1.
    """

    axis_cm1: Floats
    correction_cm1: Floats
    lines: int
    scatter_cm1: float


def calibrate_by_lamp(
    axis: Floats,
    lamp: Floats,
    excitation_nm: float,
    *,
    lines_nm: Sequence[float] = NEON_NM,
    reach_cm1: float = 16.0,
) -> LampCalibration:
    """Put a Raman axis right by the spectrum of a lamp taken on it.

    Each line should lie at 1 / excitation - 1 / its wavelength in vacuum; a straight line through
    their shifts, without those that stand out from it, is taken off the axis. The excitation's own
    error moves the whole axis and is not seen by a lamp.

    Args:
        axis: Wavenumbers as the spectrometer has them, cm-1.
        lamp: Counts of the lamp.
        excitation_nm: Wavelength that the axis was made with, nm.
        lines_nm: Lines of the lamp, wavelengths in air, nm; neon's by default.
        reach_cm1: How far from where it should be a line is looked for, cm-1.

    Raises:
        NoBandError: Fewer than four lines were found.
    """
    expected, shifts = [], []
    for line_nm in lines_nm:
        at = 1e7 / excitation_nm - 1e7 / (line_nm * REFRACTIVE_INDEX_OF_AIR)
        if not axis.min() + 2 * reach_cm1 < at < axis.max() - 2 * reach_cm1:
            continue
        near = np.flatnonzero(np.abs(axis - at) <= reach_cm1)
        if not len(near):
            continue
        top = float(axis[near[np.argmax(lamp[near])]])
        try:
            found = fit_band(axis, lamp, top - reach_cm1, top + reach_cm1)
        except NoBandError:
            continue
        expected.append(at)
        shifts.append(found.position_cm1 - at)
    at_cm1, moved = np.array(expected), np.array(shifts)
    kept = np.ones(len(at_cm1), dtype=bool)
    if len(at_cm1):
        kept = np.abs(moved - np.median(moved)) <= 3.0
    if kept.sum() < FEWEST_LINES:
        raise NoBandError(
            f"{int(kept.sum())} lines of the lamp agree on this axis, {FEWEST_LINES} needed: "
            f"another lamp, or an excitation other than {excitation_nm:g} nm?"
        )
    slope, offset = np.polyfit(at_cm1[kept], moved[kept], 1)
    left = moved[kept] - (slope * at_cm1[kept] + offset)
    correction = slope * axis + offset
    scatter = math.sqrt(float(left @ left) / max(int(kept.sum()) - 2, 1))
    return LampCalibration(axis - correction, correction, int(kept.sum()), scatter)
