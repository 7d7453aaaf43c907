"""The look at the cell before anything is driven: is it as the interrupted run left it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.potentiostat import ImpedancePoint, Sample
from instruments.potentiostat.contract import DRIVEN, LOOK, PLATE, REST, STRIP
from operando.analysis._evaluation import Evaluation
from operando.analysis._reference_metrics import reference_metrics
from operando.resume._met import (
    DRIVEN_SHARE,
    before_a_drop_ohm,
    driven_resistances_ohm,
    metal_v_of,
    of_one_metal,
    only_charged_the_substrate,
)
from operando.resume._position import Position
from operando.resume._program import Program, RowWithTime, all_rows
from operando.resume._record import Experiment
from operando.runs import Run
from techniques import (
    Cell,
    GalvanostaticStep,
    ImpedanceSpectrum,
    OpenCircuit,
    Recording,
    SafetyLimits,
    Technique,
    elementary_steps,
)

# Long enough for a potential, short and small enough to change nothing.
OPEN_CIRCUIT_S = 5.0
CHECK_AMPLITUDE_RMS_V = 5e-3
CHECK_FROM_HZ, CHECK_TO_HZ = 1e5, 10.0
# The series resistance of a cell that nobody touched moves by less than a quarter; contacts that
# were made anew may add a little, and take nothing away.
RESISTANCE_SHARE, RESISTANCE_OHM = 0.25, 0.5
# A short leaves less than this of the resistance that the interfaces show at the lowest frequency.
ARC_SHARE = 0.25
# Of a cell with metal on both electrodes there is at least a resistance of electrolyte (a separator
# of 50 um has 0.2 ohm cm2) and an arc: an impedance of less, without any arc, at rest at zero, is
# that of a piece of metal.
FLOOR_OHM_CM2, FLOOR_ARC_SHARE, FLOOR_REST_V = 1.0, 0.1, 1e-3
# Without a spectrum to compare with: the current times the resistance must leave this much of the
# potential window for the cell itself.
OHMIC_SHARE_OF_WINDOW = 0.5
# Metal against the same metal: what is left is a difference of surfaces and concentrations.
SAME_METAL_V = 0.1
# While it is stripped, metal shows its overpotential besides; a substrate is far beyond that.
STILL_COVERED_V = 0.3
# How much a cell at rest may have gone on to drift, where that is all there is to compare with.
REST_DRIFT_V = 0.3
# Below this charge a substrate need not be covered, and shows a potential of its own.
COVERED_MAH_CM2 = 0.02
# A potential this far from zero has a polarity that a swapped cable would turn round.
POLARITY_V = 0.2


def series_resistance_ohm(
    frequency_hz: NDArray[np.float64], z_real_ohm: NDArray[np.float64], z_imag: NDArray[np.float64]
) -> float | None:
    """Return the high-frequency intercept of a spectrum, ohm; ``None`` if it shows none.

    Between the two frequencies where the imaginary part changes its sign, linearly; else the real
    part where the imaginary part is smallest, in the highest decade of frequencies.
    """
    order = np.argsort(-frequency_hz)
    f, real, imag = frequency_hz[order], z_real_ohm[order], z_imag[order]
    usable = np.isfinite(real) & np.isfinite(imag)
    f, real, imag = f[usable], real[usable], imag[usable]
    high = f >= f[0] / 10 if len(f) else np.empty(0, dtype=bool)
    f, real, imag = f[high], real[high], imag[high]
    if len(f) < 2:
        return None
    crossings = np.flatnonzero((imag[:-1] > 0) & (imag[1:] <= 0))
    if len(crossings):
        n = int(crossings[0])
        share = imag[n] / (imag[n] - imag[n + 1])
        return float(real[n] + share * (real[n + 1] - real[n]))
    return float(real[np.argmin(np.abs(imag))])


@dataclass(frozen=True)
class Spectrum:
    """An impedance spectrum, or the part of one that is compared.

    Attributes:
        frequency_hz: Shape (points,), descending.
        impedance_ohm: Complex, of the same shape.
    """

    frequency_hz: NDArray[np.float64]
    impedance_ohm: NDArray[np.complex128]

    @classmethod
    def of(cls, frequency_hz: Any, z_real_ohm: Any, z_imag_ohm: Any) -> "Spectrum":
        """Return the points up to the highest frequency of the check that are numbers."""
        f, real, imag = (np.asarray(x, dtype=float) for x in (frequency_hz, z_real_ohm, z_imag_ohm))
        usable = np.isfinite(real) & np.isfinite(imag) & (f <= CHECK_FROM_HZ * 1.01)
        order = np.argsort(-f[usable])
        z = (real + 1j * imag)[usable]
        return cls(f[usable][order], z[order])

    @property
    def series_ohm(self) -> float | None:
        """Return the high-frequency intercept, ohm; ``None`` if it does not reach so far."""
        f = self.frequency_hz
        if not len(f) or f[0] < CHECK_FROM_HZ / 3:
            return None
        return series_resistance_ohm(f, self.impedance_ohm.real, self.impedance_ohm.imag)

    def magnitude_ohm(self, at_hz: float) -> float:
        """Return the magnitude at a frequency within the spectrum, ohm."""
        f, z = np.log(self.frequency_hz[::-1]), np.abs(self.impedance_ohm[::-1])
        return float(np.interp(np.log(at_hz), f, z))

    def arc_ohm(self, at_hz: float) -> float | None:
        """Return what the interfaces add to the series resistance at a frequency, ohm."""
        series = self.series_ohm
        return None if series is None else self.magnitude_ohm(at_hz) - series


def _reference(experiment: Experiment) -> Spectrum | None:
    """Return the spectrum that the cell is compared with; ``None``: the record has none.

    The newest that the experiment itself measured; without any, the first look at the cell: were
    each look compared with the one before, the resistance could creep away.
    """
    looks = []
    for run in reversed(experiment.runs):
        if (run.start.get("resume") or {}).get("refused"):
            continue  # what was seen then was not the cell as it was left
        points = all_rows(run).points
        looked = (points["flags"].astype(int) & LOOK) != 0
        for number in sorted(set(points["spectrum"]), reverse=True):
            mask = points["spectrum"] == number
            found = Spectrum.of(*(points[key][mask] for key in ("frequency", "z_real", "z_imag")))
            if found.series_ohm is None:
                continue
            if not looked[mask].any():
                return found
            looks.append(found)
    return looks[-1] if looks else None


def spectrum_of(run: Run) -> Spectrum | None:
    """Return the newest spectrum of a run, looks at the cell included; ``None``: it has none."""
    points = all_rows(run).points
    if not len(points["spectrum"]):
        return None
    mask = points["spectrum"] == max(points["spectrum"])
    return Spectrum.of(*(points[key][mask] for key in ("frequency", "z_real", "z_imag")))


OPEN_CIRCUIT = OpenCircuit(
    duration_s=OPEN_CIRCUIT_S, record=Recording(dt_s=0.5, edge_dt_s=0.5, edge_for_s=0)
)
SPECTRUM = ImpedanceSpectrum(
    amplitude_rms_v=CHECK_AMPLITUDE_RMS_V,
    frequency_max_hz=CHECK_FROM_HZ,
    frequency_min_hz=CHECK_TO_HZ,
    points_per_decade=5,
)


def open_circuit_v(rows: Sequence[RowWithTime]) -> float | None:
    """Return the potential that was measured at open circuit, V; ``None`` if none was."""
    potentials = [row.potential_v for _, row in rows if isinstance(row, Sample)]
    return float(np.median(potentials[len(potentials) // 2 :])) if potentials else None


def may_be_modulated(ocv_v: float | None, limits: SafetyLimits) -> bool:
    """Return whether a spectrum at this potential stays within the limits."""
    if ocv_v is None:
        return False
    peak = 2 * CHECK_AMPLITUDE_RMS_V
    low, high = limits.potential_min_v, limits.potential_max_v
    return (low is None or ocv_v - peak > low) and (high is None or ocv_v + peak < high)


def judge(
    experiment: Experiment,
    program: Program | None,
    position: Position,
    rows: Sequence[RowWithTime],
    limits: SafetyLimits,
    no_spectrum: str = "",
) -> dict[str, Any]:
    """Compare what was seen of the cell with how it was left; ``failures`` is empty if it is it.

    ``no_spectrum`` is why the instrument can measure none.
    """
    told: dict[str, Any] = {"failures": [], "notes": []}
    ocv_v = open_circuit_v(rows)
    told["open_circuit_v"] = ocv_v
    if ocv_v is None:
        told["failures"].append("no open circuit potential was measured")
        return told
    _judge_potential(experiment, program, position, ocv_v, limits, told)
    if not no_spectrum and may_be_modulated(ocv_v, limits):
        _judge_resistance(experiment, program, position, rows, limits, told)
        return told
    why = no_spectrum or "a spectrum at this potential would pass a safety limit"
    unseen = f"the series resistance was not measured: {why}"
    # Before anything was driven it is a new experiment, which begins without any look at the cell.
    told["failures" if _driven(experiment, program) else "notes"].append(unseen)
    return told


def _judge_resistance(
    experiment: Experiment,
    program: Program | None,
    position: Position,
    rows: Sequence[RowWithTime],
    limits: SafetyLimits,
    told: dict[str, Any],
) -> None:
    failures = told["failures"]
    points = [row for _, row in rows if isinstance(row, ImpedancePoint)]
    seen = Spectrum.of(
        [x.frequency_hz for x in points],
        [x.z_real_ohm for x in points],
        [x.z_imag_ohm for x in points],
    )
    measured = seen.series_ohm
    reference = _reference(experiment)
    told["series_resistance_ohm"] = measured
    told["reference_resistance_ohm"] = None if reference is None else reference.series_ohm
    if measured is None or not measured > 0:
        failures.append("the impedance shows no series resistance: is the cell connected?")
        return
    window = [x for x in (limits.potential_max_v, limits.potential_min_v) if x is not None]
    largest_a = _largest_current_a(position.left.technique, experiment.cell)
    if len(window) == 2 and largest_a * measured > OHMIC_SHARE_OF_WINDOW * (window[0] - window[1]):
        failures.append(
            f"a series resistance of {measured:.4g} ohm takes {largest_a * measured:.3g} V at "
            f"{largest_a * 1e3:.4g} mA, more than half of the potential window: is a lead off?"
        )
    met = driven_resistances_ohm(experiment, program, told["open_circuit_v"])
    driven = before_a_drop_ohm(met)
    told["driven_resistance_ohm"] = driven
    if driven is not None and driven != met[0][0]:
        told["notes"].append(
            f"the last current of the record met {met[0][0]:.4g} ohm, shortly before it was "
            f"{driven:.4g} ohm"
        )
    _judge_floor(experiment, program, position, seen, reference, told)
    if reference is not None:
        compare_spectra(seen, reference, driven, told)
    elif driven is not None:
        told["lowest_ohm"] = lowest = seen.magnitude_ohm(seen.frequency_hz[-1])
        told["notes"].append("the record has no spectrum to compare the series resistance with")
        if lowest < DRIVEN_SHARE * driven:
            failures.append(
                f"the impedance is {lowest:.4g} ohm at {seen.frequency_hz[-1]:.4g} Hz, the current "
                f"of the record met {driven:.4g} ohm: is the cell shorted, is it the same cell?"
            )
    elif only_charged_the_substrate(experiment, program):
        told["notes"].append("nothing was plated yet: there is nothing to compare the cell with")
        lowest = seen.magnitude_ohm(seen.frequency_hz[-1])
        if lowest * experiment.cell.area_cm2 < FLOOR_OHM_CM2 and _has_no_arc(seen):
            failures.append(f"the impedance is {lowest:.4g} ohm and has no arc: is it shorted?")
    elif _driven(experiment, program):
        failures.append("the record has nothing to compare the impedance of the cell with")
    else:
        told["notes"].append("nothing was driven yet: there is nothing to compare the cell with")


def compare_spectra(
    seen: Spectrum, reference: Spectrum, driven_ohm: float | None, told: dict[str, Any]
) -> None:
    """Compare the look at the cell with a spectrum of the record; ``failures`` gets the reasons.

    Args:
        seen: What was measured now; it has a series resistance, like the reference.
        reference: Of the record.
        driven_ohm: The resistance that the last current met, ohm, if there was one.
        told: Gets the tolerance, the arcs and the failures.
    """
    failures, measured, before = told["failures"], seen.series_ohm, reference.series_ohm
    assert measured is not None  # told to the type checker
    assert before is not None
    more = max(RESISTANCE_SHARE * before, RESISTANCE_OHM)
    less = RESISTANCE_SHARE * before
    told["resistance_tolerance_ohm"] = [-less, more]
    if not before - less <= measured <= before + more:
        failures.append(
            f"the series resistance is {measured:.4g} ohm, it was {before:.4g} ohm and may be "
            f"{less:.3g} ohm less or {more:.3g} ohm more: is it the same cell, are its contacts as "
            "they were?"
        )
    at_hz = max(float(seen.frequency_hz[-1]), float(reference.frequency_hz[-1]))
    arc, arc_before = seen.arc_ohm(at_hz), reference.arc_ohm(at_hz)
    assert arc is not None  # as the series resistances
    assert arc_before is not None
    told["arc_ohm"], told["reference_arc_ohm"] = arc, arc_before
    # Metal has a smaller arc than the bare substrate of the reference; a current tells it too.
    least = arc_before if driven_ohm is None else min(arc_before, max(driven_ohm - before, 0.0))
    if arc < ARC_SHARE * least:
        failures.append(
            f"of the arc of {least:.4g} ohm that the cell showed at {at_hz:.4g} Hz {arc:.3g} ohm "
            "are left: is the cell shorted?"
        )


def _judge_floor(
    experiment: Experiment,
    program: Program | None,
    position: Position,
    seen: Spectrum,
    reference: Spectrum | None,
    told: dict[str, Any],
) -> None:
    cell = experiment.cell
    if cell.reference_electrode is not None or abs(told["open_circuit_v"]) > FLOOR_REST_V:
        return
    if not cell.symmetric and not _metal_on_both(experiment, program, position):
        return
    if reference is not None and _has_no_arc(reference):
        return  # it is like that
    lowest = seen.magnitude_ohm(seen.frequency_hz[-1])
    if lowest * cell.area_cm2 < FLOOR_OHM_CM2 and _has_no_arc(seen):
        told["failures"].append(
            f"the impedance is {lowest:.4g} ohm and has no arc, at rest the cell is at "
            f"{told['open_circuit_v'] * 1e3:.3g} mV: is the cell shorted?"
        )


def _has_no_arc(spectrum: Spectrum) -> bool:
    """Return whether a spectrum, which has a series resistance, shows nothing besides."""
    lowest_hz = spectrum.frequency_hz[-1]
    arc = spectrum.arc_ohm(lowest_hz)
    return arc is not None and arc < FLOOR_ARC_SHARE * spectrum.magnitude_ohm(lowest_hz)


def _largest_current_a(technique: Technique | None, cell: Cell) -> float:
    if technique is None:
        return 0.0
    densities = [
        abs(step.current_density_ma_cm2)
        for step in elementary_steps(technique)
        if isinstance(step, GalvanostaticStep)
    ]
    return max(densities, default=0.0) * 1e-3 * cell.area_cm2


def _judge_potential(
    experiment: Experiment,
    program: Program | None,
    position: Position,
    ocv_v: float,
    limits: SafetyLimits,
    told: dict[str, Any],
) -> None:
    failures, cell = told["failures"], experiment.cell
    metal_v = metal_v_of(cell)
    if metal_v is not None and (cell.symmetric or _metal_on_both(experiment, program, position)):
        # A reference that was off from the beginning still is.
        metal_v += reference_before_v(experiment) or 0.0
        told["expected_open_circuit_v"] = metal_v
        against = f" against {cell.reference_electrode}" if cell.reference_electrode else ""
        if abs(ocv_v - metal_v) > SAME_METAL_V:
            failures.append(
                f"the open circuit potential is {ocv_v:.4g} V{against}, with {cell.metal} on both "
                f"electrodes it should be within {SAME_METAL_V} V of {metal_v:.4g}: is it the same "
                "cell?"
            )
        return
    before_v = _rested_at_v(program)
    told["expected_open_circuit_v"] = before_v
    # Against a reference either sign is that of a cell whose cables hang as they did.
    swapped = cell.reference_electrode is None and before_v is not None and ocv_v * before_v <= 0
    if swapped and before_v is not None and abs(before_v) > POLARITY_V:
        failures.append(
            f"the open circuit potential is {ocv_v:.4g} V, it was {before_v:.4g} V: are the "
            "cables of the two electrodes exchanged?"
        )
    low, high = limits.potential_min_v, limits.potential_max_v
    if (low is None or ocv_v >= low) and (high is None or ocv_v <= high):
        return
    # Open circuit drives nothing: a bare substrate may rest beyond the window, if it always did.
    fresh = position.charge_mah_cm2[1] == 0 and not _driven(experiment, program)
    drifted = before_v is not None and abs(ocv_v - before_v) > REST_DRIFT_V
    if drifted or (before_v is None and not fresh):
        told["outside_limits"] = True
        failures.append(
            f"the open circuit potential {ocv_v:.4g} V is outside the safety limits {low} V to "
            f"{high} V"
        )


def _driven(experiment: Experiment, program: Program | None) -> bool:
    """Return whether any row of the experiment is of a step that drives the cell."""
    own = np.empty(0) if program is None else program.rows.samples["role"]
    if np.any(np.isin(own, DRIVEN)):
        return True
    return any(np.isin(all_rows(run).samples["role"], DRIVEN).any() for run in experiment.runs)


def _rested_at_v(program: Program | None) -> float | None:
    """Return the last potential of the record, V, if it is that of a cell at rest."""
    if program is None:
        return None
    samples = program.rows.samples
    if not len(samples["role"]) or int(samples["role"][-1]) != REST:
        return None
    return float(samples["potential"][-1])


def _metal_on_both(experiment: Experiment, program: Program | None, position: Position) -> bool:
    """Return whether both electrodes carry the same metal, as far as the last half-cycle tells."""
    if program is None or not of_one_metal(experiment.cell):
        return False
    samples = program.rows.samples
    driven = np.flatnonzero(np.isin(samples["role"], (PLATE, STRIP)))
    if not len(driven):
        # What was driven before this program was over when it began.
        return _last_driven(experiment) == PLATE
    row = int(driven[-1])
    if int(samples["role"][row]) == PLATE:
        # A plating that is over has passed its whole charge.
        over = int(samples["step"][row]) != position.step or position.left.step is None
        return over or position.charge_mah_cm2[0] > COVERED_MAH_CM2
    interrupted = position.left.step
    if not isinstance(interrupted, GalvanostaticStep) or int(samples["step"][row]) != position.step:
        return False
    # Metal that is still being stripped holds the potential of the metal.
    metal_v = metal_v_of(experiment.cell)
    return metal_v is not None and abs(float(samples["potential"][row]) - metal_v) < STILL_COVERED_V


def _last_driven(experiment: Experiment) -> int:
    """Return the role of the last half-cycle of the record; 0 if there is none."""
    for run in reversed(experiment.runs):
        role = all_rows(run).samples["role"]
        driven = role[np.isin(role, (PLATE, STRIP))]
        if len(driven):
            return int(driven[-1])
    return 0


def reference_before_v(experiment: Experiment) -> float | None:
    """Return the offset of the reference before the experiment drove anything, V, if it is known.

    As its report tells it.
    """
    name = "reference_offset_before_mv"
    offset_mv = reference_metrics(Evaluation(experiment.root))[name].value
    return 1e-3 * offset_mv if isinstance(offset_mv, float) else None
