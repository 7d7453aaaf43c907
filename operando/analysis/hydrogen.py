"""Hydrogen from gas chromatograms of a closed headspace."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operando.analysis.thickness import FARADAY_C_MOL, GAS_CONSTANT_J_MOL_K
from operando.runs import Floats

LOD_SIGMAS = 3.0


@dataclass(frozen=True)
class PeakWindow:
    """Where a peak lies in a chromatogram, s.

    The baseline runs through the medians of two windows beside the peak. Oxygen follows closely,
    so that the right window is short.
    """

    left: tuple[float, float] = (40.0, 48.0)
    peak: tuple[float, float] = (47.5, 56.5)
    right: tuple[float, float] = (55.6, 57.0)


@dataclass(frozen=True)
class Calibration:
    """What turns areas into amounts.

    Attributes:
        hydrogen_area_per_mole_fraction: Slope of the calibration through zero.
        headspace_ml: Gas volume, mL.
        headspace: ``closed`` or ``swept``.
        sample_loop_ml: Volume each injection takes away, mL.
        pressure_pa: Pressure of the headspace and the loop, Pa.
        temperature_k: Their temperature, K.
        slope_uncertainty: Relative standard uncertainty of the slope.
        window: Where hydrogen elutes.
    """

    hydrogen_area_per_mole_fraction: float
    headspace_ml: float
    headspace: str = "closed"
    sample_loop_ml: float = 0.0
    pressure_pa: float = 101325.0
    temperature_k: float = 298.15
    slope_uncertainty: float = 0.005
    window: PeakWindow = PeakWindow()

    @classmethod
    def from_document(
        cls, told: Mapping[str, Any], headspace_ml: float | None = None
    ) -> "Calibration":
        """Return the calibration under ``gas_chromatograph`` in a start document.

        Args:
            told: What stands there.
            headspace_ml: The cell's headspace, mL, where the calibration tells none.

        Raises:
            ValueError: A value without which nothing can be computed is missing.
        """
        told = {"headspace_ml": headspace_ml, **told}
        missing = [
            key
            for key in ("hydrogen_area_per_mole_fraction", "headspace_ml")
            if told.get(key) is None
        ]
        if missing:
            raise ValueError(f"the calibration of the gas chromatograph lacks {missing}")
        names = (
            "hydrogen_area_per_mole_fraction",
            "headspace_ml",
            "headspace",
            "sample_loop_ml",
            "pressure_pa",
            "temperature_k",
            "slope_uncertainty",
        )
        values = {name: told[name] for name in names if told.get(name) is not None}
        window = told.get("hydrogen_window_s")
        if window:
            values["window"] = PeakWindow(
                *(tuple(window[key]) for key in ("left", "peak", "right"))
            )
        return cls(**values)

    def moles_per_ml(self) -> float:
        """Return the amount of gas in 1 mL, mol."""
        return self.pressure_pa * 1e-6 / (GAS_CONSTANT_J_MOL_K * self.temperature_k)


@dataclass(frozen=True)
class Peak:
    """One peak of a chromatogram.

    Attributes:
        area: Signal times s, above the baseline.
        noise: Standard uncertainty of the area from the noise of the trace.
    """

    area: float
    noise: float


@dataclass(frozen=True)
class Injection:
    """Hydrogen found by one injection.

    Attributes:
        number: The injection, from 1.
        mole_fraction: Hydrogen in the headspace; None below the limit of detection.
        since_start_umol: Formed since the headspace was closed: found now plus taken away by
            injections before, umol.
        since_last_umol: Formed since the last injection that found any, umol.
        uncertainty_umol: Standard uncertainty of ``since_start_umol``, umol.
        reason: Why there is none.
    """

    number: int
    mole_fraction: float | None = None
    since_start_umol: float | None = None
    since_last_umol: float | None = None
    uncertainty_umol: float | None = None
    reason: str | None = None


def peak_area(trace: Floats, sample_interval_s: float, window: PeakWindow) -> Peak:
    """Return the area of a peak by trapezoid over a line through two medians.

    Args:
        trace: Detector signal from the injection on.
        sample_interval_s: Time between its points, s.
        window: Where the peak and its baseline lie, s.

    Raises:
        ValueError: The trace ends before the windows do.
    """
    t = np.arange(len(trace)) * sample_interval_s
    if len(trace) < 2 or t[-1] < window.right[1]:
        raise ValueError(
            f"the chromatogram lasts {len(trace) * sample_interval_s:.1f} s, "
            f"the hydrogen window ends at {window.right[1]:.1f} s"
        )

    def part(limits: tuple[float, float]) -> slice:
        return slice(int(np.searchsorted(t, limits[0])), int(np.searchsorted(t, limits[1])))

    left, right, inside = part(window.left), part(window.right), part(window.peak)
    x0, y0 = float(t[left].mean()), float(np.median(trace[left]))
    x1, y1 = float(t[right].mean()), float(np.median(trace[right]))
    x = t[inside]
    area = float(np.trapezoid(trace[inside] - (y0 + (y1 - y0) / (x1 - x0) * (x - x0)), x))
    edges = np.concatenate((np.diff(trace[left]), np.diff(trace[right])))
    sigma = 1.4826 * float(np.median(np.abs(edges))) / math.sqrt(2.0)
    width = window.peak[1] - window.peak[0]
    weight = (0.5 * (window.peak[0] + window.peak[1]) - x0) / (x1 - x0)
    count_left, count_right = left.stop - left.start, right.stop - right.start
    # The median of n points scatters 1.25 sigma / sqrt(n) (white noise).
    base = 1.25 * math.hypot((1 - weight) / math.sqrt(count_left), weight / math.sqrt(count_right))
    noise = sigma * math.hypot(sample_interval_s * math.sqrt(len(x)), width * base)
    return Peak(area, noise)


def headspace_hydrogen(
    peaks: Sequence[Peak | str], calibration: Calibration
) -> tuple[Injection, ...]:
    """Return the hydrogen each injection found in a closed headspace.

    n = y P V / (R T); what the injections before took away with their loop is added. Below the
    limit of detection (three standard deviations of the area's noise) an injection says nothing,
    which is not zero.

    Args:
        peaks: By injection: its hydrogen peak, or why there is none.
        calibration: Slope, volumes, temperature, pressure.
    """
    per_ml = calibration.moles_per_ml() * 1e6
    slope = calibration.hydrogen_area_per_mole_fraction
    removed = last = 0.0
    found: list[Injection] = []
    for number, peak in enumerate(peaks, start=1):
        if isinstance(peak, str):
            found.append(Injection(number, reason=f"injection {number}: {peak}"))
            continue
        fraction, limit = peak.area / slope, LOD_SIGMAS * peak.noise / slope
        if fraction < limit:
            reason = (
                f"injection {number}: {fraction * 1e6:.2g} ppm is below the limit of detection, "
                f"{limit * 1e6:.2g} ppm"
            )
            found.append(Injection(number, reason=reason))
            continue
        now = fraction * per_ml * calibration.headspace_ml
        total = now + removed
        relative = math.hypot(peak.noise / peak.area, calibration.slope_uncertainty)
        found.append(Injection(number, fraction, total, total - last, relative * total, None))
        last = total
        removed += fraction * per_ml * calibration.sample_loop_ml
    return tuple(found)


def faradaic_efficiency_pct(hydrogen_umol: float, passed_charge_c: float) -> float:
    """Return the share of the passed charge that made hydrogen, %: n 2 F / Q."""
    return 100.0 * hydrogen_umol * 1e-6 * 2 * FARADAY_C_MOL / passed_charge_c
