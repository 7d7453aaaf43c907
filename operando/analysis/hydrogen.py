"""Hydrogen from gas chromatograms of a closed headspace, or of a gas that sweeps the cell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operando.analysis.gas_calibration import LOD_SIGMAS, LinearCalibration, calibrate
from operando.analysis.thickness import FARADAY_C_MOL, GAS_CONSTANT_J_MOL_K
from operando.runs import Floats

# Solubility of hydrogen in water at 25 degrees C, mol/(L atm).
HENRY_MOL_L_ATM = 7.8e-4
# Oxygen in water under air at 25 degrees C, mol/L (8.26 mg/L: Benson and Krause 1984).
OXYGEN_UNDER_AIR_MOL_L = 2.58e-4
OXYGEN_IN_AIR = 0.2095  # mole fraction in dry air
ATMOSPHERE_PA = 101325.0
# At this share of a peak's height its asymmetry is told, as pharmacopoeias and makers do.
ASYMMETRY_AT = 0.1


@dataclass(frozen=True)
class PeakWindow:
    """Where a peak lies in a chromatogram, s.

    The baseline runs through the medians of two windows beside the peak. Oxygen follows closely,
    so that the right window is short.
    """

    left: tuple[float, float] = (40.0, 48.0)
    peak: tuple[float, float] = (47.5, 56.5)
    right: tuple[float, float] = (55.6, 57.0)


# Where air's gases elute from the same column.
OXYGEN_WINDOW = PeakWindow((55.6, 57.0), (57.0, 64.0), (64.0, 65.0))
NITROGEN_WINDOW = PeakWindow((64.0, 65.0), (65.0, 73.6), (73.6, 76.0))


@dataclass(frozen=True)
class Calibration:
    """What turns areas into amounts.

    Attributes:
        hydrogen_area_per_mole_fraction: Slope of the calibration.
        headspace_ml: Gas volume, mL; 0 for a swept cell.
        intercept: Area at no hydrogen.
        levels: The calibration by several gases that slope and intercept are from, if there is one.
        carrier_mol_s: Flow of the gas that sweeps the cell, mol/s: flow as declared times
            P0 / (R T0) of the declared reference.
        headspace: ``closed`` or ``swept``.
        sample_loop_ml: Volume each injection takes away, mL.
        pressure_pa: Pressure of the headspace and the loop, Pa.
        temperature_k: Their temperature, K.
        slope_uncertainty: Relative standard uncertainty of the slope.
        gas_uncertainty: Relative standard uncertainty of the amount of gas that a mole fraction is
            of: volume, pressure and temperature of a headspace together, or the flow.
        window: Where hydrogen elutes.
        assumed: What of these the document did not tell, as default, in words.
    """

    hydrogen_area_per_mole_fraction: float
    headspace_ml: float
    headspace: str = "closed"
    sample_loop_ml: float = 0.0
    pressure_pa: float = 101325.0
    temperature_k: float = 298.15
    slope_uncertainty: float = 0.005
    gas_uncertainty: float = 0.0
    window: PeakWindow = PeakWindow()
    intercept: float = 0.0
    levels: LinearCalibration | None = None
    carrier_mol_s: float | None = None
    assumed: tuple[str, ...] = ()

    @classmethod
    def from_document(
        cls,
        told: Mapping[str, Any],
        headspace_ml: float | None = None,
        headspace_pa: float | None = None,
    ) -> "Calibration":
        """Return the calibration under ``gas_chromatograph`` in a start document.

        Args:
            told: What stands there.
            headspace_ml: The cell's headspace, mL, where the calibration tells none.
            headspace_pa: Pressure of its gas, Pa, where the calibration tells none.

        Raises:
            ValueError: A value without which nothing can be computed is missing.
        """
        known = {key: value for key, value in told.items() if value is not None}
        told = {"headspace_ml": headspace_ml, "pressure_pa": headspace_pa, **known}
        swept = told.get("headspace") == "swept"
        levels = told.get("levels")
        if not levels and told.get("hydrogen_area_per_mole_fraction") is None:
            raise ValueError(
                "the gas chromatograph is not calibrated: its bench file tells neither "
                "hydrogen_area_per_mole_fraction nor levels (protocol gas-calibration measures it)"
            )
        # A flow in "sccm" is 7 % more or less, as 0 or 20 degrees C are meant: it must be said.
        needed = ["carrier_sccm", "carrier_reference_k"] if swept else ["headspace_ml"]
        missing = [key for key in needed if told.get(key) is None]
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
            "gas_uncertainty",
        )
        values = {name: told[name] for name in names if told.get(name) is not None}
        values.setdefault("headspace_ml", 0.0)
        if levels:
            line = calibrate(
                [level["mole_fraction"] for level in levels],
                [level["area"] for level in levels],
                through_zero=bool(told.get("through_zero", True)),
            )
            values |= {
                "hydrogen_area_per_mole_fraction": line.slope,
                "intercept": line.intercept,
                "slope_uncertainty": line.slope_error / line.slope,
                "levels": line,
            }
        if swept:
            reference_pa = float(told.get("carrier_reference_pa") or ATMOSPHERE_PA)
            volume_m3_s = float(told["carrier_sccm"]) * 1e-6 / 60
            values["carrier_mol_s"] = (
                volume_m3_s
                * reference_pa
                / (GAS_CONSTANT_J_MOL_K * float(told["carrier_reference_k"]))
            )
        values["assumed"] = _assumed(told, swept=swept, levels=bool(levels))
        values["window"] = hydrogen_window(told)
        return cls(**values)

    def mole_fraction(self, area: float) -> float:
        """Return the mole fraction of hydrogen that gives an area."""
        return (area - self.intercept) / self.hydrogen_area_per_mole_fraction

    def noise(self, peak: "Peak") -> float:
        """Return the standard uncertainty of a mole fraction from the noise of its area."""
        return peak.noise / self.hydrogen_area_per_mole_fraction

    def lod(self, peak: "Peak") -> float:
        """Return the limit of detection of a peak, mole fraction: three sd of its area's noise."""
        return LOD_SIGMAS * self.noise(peak)

    @property
    def factor_uncertainty(self) -> float:
        """Return the relative standard uncertainty that all amounts of a run share."""
        return math.hypot(self.slope_uncertainty, self.gas_uncertainty)

    @property
    def offset_uncertainty(self) -> float:
        """Return the standard uncertainty that all mole fractions share: of the intercept."""
        line = 0.0 if self.levels is None else self.levels.intercept_error
        return line / self.hydrogen_area_per_mole_fraction

    def moles_per_ml(self) -> float:
        """Return the amount of gas in 1 mL, mol."""
        return self.pressure_pa * 1e-6 / (GAS_CONSTANT_J_MOL_K * self.temperature_k)


def hydrogen_window(told: Mapping[str, Any]) -> PeakWindow:
    """Return where hydrogen elutes, which areas need before there is any calibration.

    Args:
        told: What stands under ``gas_chromatograph`` in a start document.

    Raises:
        ValueError: It names a column of which the window is not known.
    """
    window = told.get("hydrogen_window_s")
    if window:
        return PeakWindow(*(tuple(window[key]) for key in ("left", "peak", "right")))
    if told.get("column"):
        raise ValueError(
            f"the calibration of column {told['column']!r} lacks hydrogen_window_s: where "
            "hydrogen elutes from it is not known"
        )
    return PeakWindow()


def window_by_default() -> str:
    """Return in words where hydrogen is looked for if nothing is told."""
    begin, end = PeakWindow().peak
    return f"by default: window {begin:g} to {end:g} s"


def _assumed(told: Mapping[str, Any], *, swept: bool, levels: bool) -> tuple[str, ...]:
    """Return what a calibration document leaves to defaults, in words."""
    begin, end = PeakWindow().peak
    defaults = {
        "hydrogen_window_s": f"window {begin:g} to {end:g} s",
        "pressure_pa": "1 atm",
        "temperature_k": "298.15 K",
        "sample_loop_ml": "no sample loop",
        "slope_uncertainty": "u(slope) 0.5 %",
        "gas_uncertainty": f"no u of the {'flow' if swept else 'headspace'}",
    }
    needless = {"slope_uncertainty"} if levels else set()
    needless |= {"pressure_pa", "temperature_k", "sample_loop_ml"} if swept else set()
    return tuple(
        words for name, words in defaults.items() if told.get(name) is None and name not in needless
    )


@dataclass(frozen=True)
class Peak:
    """One peak of a chromatogram.

    Attributes:
        area: Signal times s, above the baseline.
        noise: Standard uncertainty of the area from the noise of the trace.
        height: Highest point above the baseline, signal.
        signal_to_noise: Height over the standard deviation of the trace beside the peak.
        retention_s: Where the highest point lies, s; None where no peak stands out.
        asymmetry: Width behind the top over width before it, at a tenth of the height; None where
            no peak stands out.
    """

    area: float
    noise: float
    height: float = 0.0
    signal_to_noise: float = 0.0
    retention_s: float | None = None
    asymmetry: float | None = None


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
        rate_nmol_s: How fast hydrogen was leaving a swept cell, nmol/s.
        since_last_uncertainty_umol: Standard uncertainty of ``since_last_umol``, umol.
        rate_uncertainty_nmol_s: Standard uncertainty of ``rate_nmol_s``, nmol/s.
        since_last_uncertainty_umol: Standard uncertainty of ``since_last_umol``, umol.
        rate_uncertainty_nmol_s: Standard uncertainty of ``rate_nmol_s``, nmol/s.
    """

    number: int
    mole_fraction: float | None = None
    since_start_umol: float | None = None
    since_last_umol: float | None = None
    uncertainty_umol: float | None = None
    reason: str | None = None
    rate_nmol_s: float | None = None
    since_last_uncertainty_umol: float | None = None
    rate_uncertainty_nmol_s: float | None = None


def peak_area(trace: Floats, sample_interval_s: float, window: PeakWindow) -> Peak:
    """Return the area of a peak by trapezoid over a line through two medians.

    Args:
        trace: Detector signal from the injection on.
        sample_interval_s: Time between its points, s.
        window: Where the peak and its baseline lie, s.

    Raises:
        ValueError: The trace ends before the windows do.
    """
    t: Floats = np.arange(len(trace), dtype=np.float64) * sample_interval_s
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
    over = trace[inside] - (y0 + (y1 - y0) / (x1 - x0) * (x - x0))
    area = float(np.trapezoid(over, x))
    edges = np.concatenate((np.diff(trace[left]), np.diff(trace[right])))
    sigma = 1.4826 * float(np.median(np.abs(edges))) / math.sqrt(2.0)
    width = window.peak[1] - window.peak[0]
    weight = (0.5 * (window.peak[0] + window.peak[1]) - x0) / (x1 - x0)
    count_left, count_right = left.stop - left.start, right.stop - right.start
    # The median of n points scatters 1.25 sigma / sqrt(n) (white noise).
    base = 1.25 * math.hypot((1 - weight) / math.sqrt(count_left), weight / math.sqrt(count_right))
    noise = sigma * math.hypot(sample_interval_s * math.sqrt(len(x)), width * base)
    top = int(np.argmax(over))
    ratio = float(over[top]) / sigma if sigma > 0 else math.inf
    if ratio < 2 * LOD_SIGMAS or area < LOD_SIGMAS * noise:
        # The highest of so many points is no peak: noise alone reaches four sigma among them.
        return Peak(area, noise, float(over[top]), ratio)
    return Peak(area, noise, float(over[top]), ratio, float(x[top]), _asymmetry(x, over, top))


def _asymmetry(x: Floats, over: Floats, top: int) -> float | None:
    low = ASYMMETRY_AT * over[top]
    before, behind = over[: top + 1][::-1], over[top:]
    below_before, below_behind = np.flatnonzero(before < low), np.flatnonzero(behind < low)
    if not len(below_before) or not len(below_behind):
        return None

    def width(side: Floats, index: int) -> float:
        share = (side[index - 1] - low) / (side[index - 1] - side[index])
        return float(index - 1 + share)

    front = width(before, int(below_before[0]))
    return width(behind, int(below_behind[0])) / front if front > 0 else None


def headspace_hydrogen(
    peaks: Sequence[Peak | str], calibration: Calibration
) -> tuple[Injection, ...]:
    """Return the hydrogen each injection found in a closed headspace.

    n = y P V / (R T); what the injections before took away with their loop is added. Below the
    limit of detection (three standard deviations of the area's noise) an injection says nothing,
    which is not zero.

    Of two injections the noise of each peak counts by itself; slope and headspace are the same in
    both, and so is the intercept of the calibration, of which a difference keeps next to nothing.

    Args:
        peaks: By injection: its hydrogen peak, or why there is none.
        calibration: Slope, volumes, temperature, pressure.
    """
    per_ml = calibration.moles_per_ml() * 1e6
    volume_ml, loop_ml = calibration.headspace_ml, calibration.sample_loop_ml
    factor, offset = calibration.factor_uncertainty, calibration.offset_uncertainty
    removed = last = taken_ml = taken_noise_ml = 0.0
    before_noise_ml, before_ml = 0.0, 0.0  # of what the injection before left behind
    found: list[Injection] = []
    for number, peak in enumerate(peaks, start=1):
        if isinstance(peak, str):
            found.append(Injection(number, reason=f"injection {number}: {peak}"))
            continue
        fraction = calibration.mole_fraction(peak.area)
        if fraction < calibration.lod(peak):
            found.append(_below(number, fraction, calibration.lod(peak)))
            continue
        noise = calibration.noise(peak)
        now = fraction * per_ml * volume_ml
        total = now + removed
        error = math.hypot(
            factor * total,
            per_ml * math.hypot(volume_ml * noise, taken_noise_ml),
            per_ml * (volume_ml + taken_ml) * offset,
        )
        since_error = math.hypot(
            factor * (total - last),
            per_ml * math.hypot(volume_ml * noise, before_noise_ml),
            per_ml * (volume_ml - before_ml) * offset,
        )
        found.append(
            Injection(
                number,
                fraction,
                total,
                total - last,
                error,
                since_last_uncertainty_umol=since_error,
            )
        )
        last = total
        removed += fraction * per_ml * loop_ml
        taken_ml += loop_ml
        taken_noise_ml = math.hypot(taken_noise_ml, loop_ml * noise)
        before_ml = volume_ml - loop_ml
        before_noise_ml = before_ml * noise
    return tuple(found)


def swept_hydrogen(
    peaks: Sequence[Peak | str], t_s: Sequence[float], calibration: Calibration
) -> tuple[Injection, ...]:
    """Return the hydrogen that a gas carried out of a swept cell.

    dn/dt = y F P0 / (R T0) at each injection; between two that found hydrogen it is taken to change
    evenly. An interval with an end below the limit of detection is not counted, so that sums are
    lower bounds. Uncertainties know of the noise of each peak, once, and of what all share: slope,
    intercept, flow; not of how the rate changed between.

    Args:
        peaks: By injection: its hydrogen peak, or why there is none.
        t_s: When each was injected, s; not finite: not known.
        calibration: With its flow.
    """
    flow = calibration.carrier_mol_s
    if flow is None:
        raise ValueError("the calibration tells no flow: it is not one of a swept cell")
    factor, offset = calibration.factor_uncertainty, calibration.offset_uncertainty * flow * 1e9
    found: list[Injection] = []
    before: tuple[float, float] | None = None
    total = counted = 0.0  # umol; umol per nmol/s of all rates alike
    variance = open_umol = 0.0  # by noise: of peaks that count fully, of the last one so far
    last_noise = 0.0
    for number, (peak, at_s) in enumerate(zip(peaks, t_s, strict=True), start=1):
        if isinstance(peak, str):
            found.append(Injection(number, reason=f"injection {number}: {peak}"))
            before = None
            continue
        fraction = calibration.mole_fraction(peak.area)
        if fraction < calibration.lod(peak):
            found.append(_below(number, fraction, calibration.lod(peak)))
            before = None
            continue
        rate, noise = fraction * flow * 1e9, calibration.noise(peak) * flow * 1e9
        rate_error = math.hypot(factor * rate, noise, offset)
        if not math.isfinite(at_s):
            reason = f"injection {number}: when it was is not known"
            found.append(
                Injection(
                    number,
                    fraction,
                    reason=reason,
                    rate_nmol_s=rate,
                    rate_uncertainty_nmol_s=rate_error,
                )
            )
            before = None
            continue
        since = since_error = None
        if before is not None:
            half = 0.5e-3 * (at_s - before[0])
            since = half * (rate + before[1])
            since_error = math.hypot(
                factor * since, half * math.hypot(noise, last_noise), 2 * half * offset
            )
            total += since
            counted += 2 * half
            variance += (open_umol + half * last_noise) ** 2
            open_umol = half * noise
        else:
            variance += open_umol**2
            open_umol = 0.0
        error = math.hypot(factor * total, math.sqrt(variance), open_umol, counted * offset)
        found.append(
            Injection(number, fraction, total, since, error, None, rate, since_error, rate_error)
        )
        before, last_noise = (at_s, rate), noise
    return tuple(found)


def _below(number: int, fraction: float, limit: float) -> Injection:
    reason = (
        f"injection {number}: {fraction * 1e6:.2g} ppm is below the limit of detection, "
        f"{limit * 1e6:.2g} ppm"
    )
    return Injection(number, reason=reason)


def dissolved_umol(mole_fraction: float, pressure_pa: float, electrolyte_ul: float) -> float:
    """Return the hydrogen dissolved in an electrolyte in equilibrium with its headspace, umol.

    Henry's law with the solubility in pure water at 25 degrees C; salt lowers it.

    Args:
        mole_fraction: Hydrogen in the headspace.
        pressure_pa: Pressure there, Pa.
        electrolyte_ul: Volume of the electrolyte, uL.
    """
    partial_atm = mole_fraction * pressure_pa / ATMOSPHERE_PA
    return HENRY_MOL_L_ATM * partial_atm * electrolyte_ul  # mol/L times uL is umol


def faradaic_efficiency_pct(hydrogen_umol: float, passed_charge_c: float) -> float:
    """Return the share of the passed charge that made hydrogen, %: n 2 F / Q."""
    return 100.0 * hydrogen_umol * 1e-6 * 2 * FARADAY_C_MOL / passed_charge_c


def oxygen_reduction_mah_cm2(electrolyte_ul: float, area_cm2: float) -> float:
    """Return the charge that takes all oxygen of an air-saturated electrolyte, mAh/cm2.

    4 F c V / A, with the solubility in pure water under air at 25 degrees C; salt lowers it. Oxygen
    in the gas above is not in it.
    """
    return oxygen_charge_mah_cm2(OXYGEN_UNDER_AIR_MOL_L * electrolyte_ul * 1e-6, area_cm2)


def oxygen_charge_mah_cm2(oxygen_mol: float, area_cm2: float) -> float:
    """Return the charge that reduces an amount of oxygen to OH-, 4 F n / A, mAh/cm2."""
    return 4 * FARADAY_C_MOL * oxygen_mol / 3.6 / area_cm2


def partial_current_ma(rate_nmol_s: float) -> float:
    """Return the current that makes hydrogen at a rate, mA: 2 F dn/dt."""
    return 2 * FARADAY_C_MOL * rate_nmol_s * 1e-9 * 1e3
