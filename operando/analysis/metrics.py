"""A run turned into every metric of the registry."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from operando.analysis import hydrogen as gas
from operando.analysis import images, impedance, overpotential, raman, thickness
from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.coulombic import (
    CoulombicEfficiency,
    coulombic_efficiency,
    told_unrecorded,
    unrecorded_share,
)
from operando.analysis.endings import CUT_OFF_WITHIN_V
from operando.analysis.segments import (
    PLATE,
    STRIP,
    ChargeLedger,
    HalfCycle,
    recorded_half_cycles,
)
from operando.registry import METRICS
from operando.runs import Floats, Run, Stream
from techniques import Cell

Number = float | None
Value = float | list[Number] | None
# A frame stands for the end of a plating when no more than this share of its charge lies between.
END_OF_PLATING_SHARE = 0.05


@dataclass(frozen=True)
class Metric:
    """One metric of one run.

    Attributes:
        value: A number, a list of numbers (None where an element is undefined), or None.
        unit: The unit, as the registry says.
        uncertainty: Standard uncertainty (k = 1), shaped like the value; None if not evaluated.
        reason: Why there is no value or why elements are missing; else what it rests on.
    """

    value: Value
    unit: str
    uncertainty: Value = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for number in _flat(self.value) + _flat(self.uncertainty):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"a metric is a finite number or None, not {number!r}")
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value tells a reason")


def _flat(value: Value) -> list[Number]:
    return value if isinstance(value, list) else [value]


def metrics(run: Run) -> dict[str, Metric]:
    """Compute every metric of the registry from a run, finished or not.

    Args:
        run: From documents, a journal or the catalog; all give the same bits.

    Returns:
        Name -> metric, in the order of the registry, each name once.
    """
    evaluation = _Evaluation(run)
    found: dict[str, Metric] = {}
    for family in (_coulombic, _overpotentials, _charges, _impedance, _images, _raman, _hydrogen):
        found.update(family(evaluation))
    if run.damage:
        found = {name: _of_damaged(metric) for name, metric in found.items()}
    return {name: found[name] for name in METRICS}


def _of_damaged(metric: Metric) -> Metric:
    """Say of a metric that rows may be missing in it, whatever else it says."""
    told = "the record is damaged, rows may be missing"
    return replace(metric, reason=f"{told}; {metric.reason}" if metric.reason else told)


def half_cycles_of(run: Run) -> tuple[HalfCycle, ...]:
    """Return the half-cycles of a run; empty if it has none, or describes no cell."""
    return _Evaluation(run).halves


def _metric(
    name: str, value: Value, uncertainty: Value = None, reason: str | None = None
) -> Metric:
    return Metric(value, METRICS[name].unit, uncertainty, reason)


def _none(names: Iterable[str], reason: str) -> dict[str, Metric]:
    return {name: _metric(name, None, reason=reason) for name in names}


def _listed(
    name: str,
    values: Sequence[Number],
    uncertainties: Sequence[Number] | None = None,
    reasons: Sequence[str | None] = (),
    otherwise: str = "nothing was measured",
) -> Metric:
    """Return a metric by element; all elements undefined make it undefined."""
    reason = _summary(reasons)
    if all(value is None for value in values):
        return _metric(name, None, reason=reason or otherwise)
    return _metric(
        name, list(values), None if uncertainties is None else list(uncertainties), reason
    )


def _summary(reasons: Sequence[str | None]) -> str | None:
    counted: dict[str, int] = {}
    for reason in reasons:
        if reason:
            counted[reason] = counted.get(reason, 0) + 1
    told = [text if count == 1 else f"{text} ({count} times)" for text, count in counted.items()]
    if len(told) > 3:
        told = [*told[:3], f"and {len(told) - 3} more"]
    return "; ".join(told) or None


def _finite(value: float) -> Number:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Placed:
    """Rows of a follower on the leader's time; rows before the program lie at -inf.

    Attributes:
        before_s: Leader's time just before each row, s.
        after_s: Leader's time just after, s.
        middle_s: The best single time, s.
    """

    before_s: Floats
    after_s: Floats
    middle_s: Floats


def place(before_s: Floats, after_s: Floats) -> Placed:
    """Place a follower's rows between the leader's rows.

    NaN before: the leader had not begun; NaN after: it had finished; both: before its first row
    if no earlier row has a time, else after its last.
    """
    known_before, known_after = np.isfinite(before_s), np.isfinite(after_s)
    begun = np.cumsum(known_before | known_after) > 0
    neither = ~(known_before | known_after)
    edge = np.where(begun, np.inf, -np.inf)
    low = np.where(known_before, before_s, np.where(neither, edge, -np.inf))
    high = np.where(known_after, after_s, np.where(known_before, before_s, edge))
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(low) & np.isfinite(high), 0.5 * (low + high), high)
    return Placed(low, high, middle)


@dataclass
class _Evaluation:
    """What several families of metrics need of one run, each computed once."""

    run: Run
    problem: str | None = field(default=None, init=False)

    @cached_property
    def cell(self) -> Cell | None:
        sample = self.run.start.get("sample")
        try:
            return Cell.model_validate(sample)
        except ValidationError as error:
            self.problem = (
                "the start document describes no cell"
                if not isinstance(sample, Mapping)
                else f"the start document's cell is not valid: {error.errors()[0]['msg']}"
            )
            return None

    @cached_property
    def calibration(self) -> Mapping[str, Any]:
        return self.run.start.get("calibration") or {}

    @cached_property
    def accuracy(self) -> CurrentAccuracy:
        return CurrentAccuracy.from_calibration(self.calibration)

    @cached_property
    def halves(self) -> tuple[HalfCycle, ...]:
        stream = self.run.streams.get("potentiostat")
        if stream is None or self.cell is None or not len(stream):
            return ()
        return recorded_half_cycles(
            self.run, area_cm2=self.cell.area_cm2, metal_electrode=self.cell.metal_electrode
        )

    @cached_property
    def ledger(self) -> ChargeLedger:
        return ChargeLedger(self.halves)

    @cached_property
    def no_halves(self) -> str:
        if self.cell is None:
            return self.problem or "the start document describes no cell"
        if "potentiostat" not in self.run.streams:
            return "the run has no stream potentiostat"
        return "the run has no plating or stripping half-cycle"

    @cached_property
    def cycles(self) -> dict[int, tuple[HalfCycle | None, HalfCycle | None]]:
        found = overpotential.by_cycle(self.halves)
        last = max(found, default=0)
        return {number: found.get(number, (None, None)) for number in range(1, last + 1)}

    @cached_property
    def begin_s(self) -> float:
        """Return when the first half-cycle began, s."""
        return float(self.halves[0].t_s[0]) if self.halves else math.inf


# -- coulombic efficiency and charges

_CE = (
    "ce_pct",
    "ce_mean_pct",
    "ce_mean_without_first_pct",
    "ce_ratio_of_sums_pct",
    "ce_sd_pct",
    "initial_ce_pct",
    "initial_loss_mah_cm2",
    "cumulative_irreversible_mah_cm2",
)


def _coulombic(found: _Evaluation) -> dict[str, Metric]:
    cell = found.cell
    if cell is None or not found.halves:
        return _none(_CE, found.no_halves)
    if cell.symmetric:
        return _none(
            _CE,
            "undefined for a symmetric cell: the other electrode supplies what is lost",
        )
    ce = coulombic_efficiency(found.halves, found.accuracy)
    if not ce.cycles:
        return _none(_CE, _summary(ce.left_out) or "no complete cycle")
    short = [*_short_of_cut_off(found, ce, ce.cycles), *_interruptions(found)]
    notes = _summary([*ce.left_out, *short])
    skip = max(1, cell.formation_cycles)
    by_number = {
        number: (value, error)
        for number, value, error in zip(ce.cycles, ce.percent, ce.uncertainty_percent, strict=True)
    }
    numbers = range(1, max(*ce.cycles, *ce.end_lost, 1) + 1)
    told: dict[str, Metric] = {
        "ce_pct": _metric(
            "ce_pct",
            [by_number[n][0] if n in by_number else None for n in numbers],
            [by_number[n][1] if n in by_number else None for n in numbers],
            notes,
        )
    }
    mean = ce.mean()
    assert mean is not None  # there is a cycle
    told["ce_mean_pct"] = _metric(
        "ce_mean_pct", *mean, _summary([f"{len(ce.cycles)} cycles", *ce.left_out, *short])
    )
    later = ce.mean(skip)
    if later is None:
        few = f"{len(ce.cycles)} complete cycles, {skip} left out"
        told |= _none(("ce_mean_without_first_pct",), few)
    else:
        rest = [number for number in ce.cycles if number > skip]
        basis = f"{len(rest)} cycles, the first {skip} left out"
        told["ce_mean_without_first_pct"] = _metric(
            "ce_mean_without_first_pct",
            *later,
            _summary(
                [
                    basis,
                    *ce.left_out,
                    *_short_of_cut_off(found, ce, rest),
                    *_interruptions(found, rest),
                ]
            ),
        )
    deviation = ce.standard_deviation(skip)
    if deviation is None:
        told |= _none(("ce_sd_pct",), f"needs two cycles after the first {skip}")
    else:
        told["ce_sd_pct"] = _metric("ce_sd_pct", deviation, reason=notes)
    ratio = ce.ratio_of_sums()
    assert ratio is not None
    told["ce_ratio_of_sums_pct"] = _metric("ce_ratio_of_sums_pct", *ratio, notes)
    if ce.cycles[0] == next(half.cycle for half in found.halves if half.role == PLATE):
        plated, error = ce.plated_mah_cm2[0], ce.uncertainty_percent[0]
        first = _summary(
            [
                *_short_of_cut_off(found, ce, ce.cycles[:1]),
                *_interruptions(found, ce.cycles[:1]),
            ]
        )
        told["initial_ce_pct"] = _metric("initial_ce_pct", ce.percent[0], error, first)
        told["initial_loss_mah_cm2"] = _metric(
            "initial_loss_mah_cm2", ce.initial_loss_mah_cm2(), error / 100 * plated, first
        )
    else:
        missing = next(iter(ce.left_out), "cycle 1 is not in the run")
        told |= _none(("initial_ce_pct", "initial_loss_mah_cm2"), missing)
    shared = math.fsum(
        q * u / 100 for q, u in zip(ce.plated_mah_cm2, ce.uncertainty_percent, strict=True)
    )
    told["cumulative_irreversible_mah_cm2"] = _metric(
        "cumulative_irreversible_mah_cm2", ce.cumulative_irreversible_mah_cm2(), shared, notes
    )
    return told


def _short_of_cut_off(
    found: _Evaluation, ce: CoulombicEfficiency, among: Sequence[int]
) -> list[str]:
    """Say which strips ended before their cut-off potential: not all metal was asked back.

    That is no lower bound: through a soft short more can come back than was plated.
    """
    cut_off = _strip_cut_off_v(found.run.start.get("technique"))
    if cut_off is None:
        return []
    counted = set(among)
    short = [
        (number, percent)
        for number, percent, end_v in zip(ce.cycles, ce.percent, ce.strip_end_v, strict=True)
        if number in counted and end_v < cut_off - CUT_OFF_WITHIN_V
    ]
    told = []
    if short:
        listed = _enumerated([number for number, _ in short])
        told.append(f"the strip ended before its cut-off of {cut_off:g} V in cycle {listed}")
    above = [number for number, percent in short if percent > 100.0]
    if above:
        told.append(f"more than 100 % without it in cycle {_enumerated(above)}: maybe a soft short")
    return told


def _interruptions(found: _Evaluation, among: Sequence[int] | None = None) -> list[str]:
    """Say which half-cycles were interrupted and resumed, and which lack rows.

    What passed during an interruption is not counted; where rows are missing it is interpolated.
    """
    told = []
    for half in found.halves:
        if among is None or half.cycle in among:
            which = f"the {'plating' if half.role == PLATE else 'stripping'} of cycle {half.cycle}"
            told += [
                f"{which} was interrupted at {gap.at_s:.0f} s for {gap.for_s:.0f} s"
                for gap in half.interruptions
            ]
            told += [
                f"{which} lacks rows between {begin:.0f} s and {end:.0f} s, its charge there is "
                "interpolated"
                for begin, end in half.missing_s
            ]
    return told


def _enumerated(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


def _strip_cut_off_v(technique: object) -> float | None:
    """Return the lowest potential at which any strip step of a stored technique ends, V."""
    if isinstance(technique, Mapping):
        found = [_strip_cut_off_v(value) for value in technique.values()]
        if technique.get("role") == "strip":
            found += [
                limit["value"]
                for limit in technique.get("until", ())
                if limit.get("quantity") in ("potential_above_v", "abs_potential_above_v")
            ]
    elif isinstance(technique, list | tuple):
        found = [_strip_cut_off_v(value) for value in technique]
    else:
        return None
    return min((value for value in found if value is not None), default=None)


_CHARGES = (
    "plated_capacity_mah_cm2",
    "cumulative_plated_mah_cm2",
    "depth_of_discharge_pct",
    "theoretical_thickness_um",
)


def _charges(found: _Evaluation) -> dict[str, Metric]:
    cell = found.cell
    if cell is None or not found.halves:
        return _none(_CHARGES, found.no_halves)
    accuracy, told = found.accuracy, dict[str, Metric]()
    plated: dict[int, float] = {}
    relative = 0.0
    for half in found.halves:
        if half.role == PLATE:
            plated[half.cycle] = plated.get(half.cycle, 0.0) + half.capacity_mah_cm2
            relative = max(relative, accuracy.relative(half.mean_current_a))
    values: list[Number] = []
    errors: list[Number] = []
    unknown: list[str] = []
    for number in found.cycles:
        value = plated.get(number)
        halves = [h for h in found.halves if h.cycle == number and h.role == PLATE]
        missing = unrecorded_share(halves, value or 0.0)
        if value is not None and missing > relative:
            unknown.append(f"cycle {number}: {told_unrecorded(halves)}")
            value = None
        values.append(value)
        errors.append(None if value is None else (relative + missing) * value)
    running = None
    if not found.halves[-1].ended:
        running = f"cycle {found.halves[-1].cycle} has not ended"
    cut = [half.cycle for half in found.halves if half.role == PLATE and half.end_lost]
    lost = None
    if cut:
        lost = f"rows were lost at the end of the plating of cycle {_enumerated(cut)}"
    gaps = [gap for gap in _interruptions(found) if gap.startswith("the plating")]
    told["plated_capacity_mah_cm2"] = _listed(
        "plated_capacity_mah_cm2",
        values,
        errors,
        [running, lost, *unknown, *gaps],
        "no plating half-cycle",
    )
    total = math.fsum(plated.values())
    missing = unrecorded_share([h for h in found.halves if h.role == PLATE], total)
    if missing > relative:
        told |= _none(("cumulative_plated_mah_cm2",), _summary(unknown) or "")
    else:
        told["cumulative_plated_mah_cm2"] = _metric(
            "cumulative_plated_mah_cm2",
            total,
            (relative + missing) * total,
            _summary([running, lost, *unknown, *gaps]),
        )
    told["depth_of_discharge_pct"] = _depth_of_discharge(found, cell)
    metal = thickness.METALS[cell.metal]
    theory = [_theory_um(found, plating, metal, relative) for plating, _ in found.cycles.values()]
    told["theoretical_thickness_um"] = _listed(
        "theoretical_thickness_um",
        theory,
        [None if value is None else relative * value for value in theory],
        [lost, *unknown],
        otherwise="no plating left more metal than there was at the start",
    )
    return told


def _theory_um(
    found: _Evaluation, plating: HalfCycle | None, metal: thickness.Metal, relative: float
) -> Number:
    if plating is None:
        return None
    net = found.ledger.net_plated_mah_cm2(float(plating.t_s[-1]))
    until = [half for half in found.halves if half.number <= plating.number]
    if unrecorded_share(until, net) > relative:
        return None
    # Metal that only came back onto a pre-deposited layer has no thickness of its own.
    return thickness.theoretical_thickness_um(net, metal) if net > 1e-6 else None


def _depth_of_discharge(found: _Evaluation, cell: Cell) -> Metric:
    name, electrode = "depth_of_discharge_pct", cell.electrode
    metal = thickness.METALS[cell.metal]
    if electrode.predeposited_mah_cm2:
        available, basis = electrode.predeposited_mah_cm2, "of the pre-deposited metal"
    elif electrode.metal == cell.metal and electrode.thickness_um is not None:
        available = thickness.foil_capacity_mah_cm2(electrode.thickness_um, metal)
        basis = f"of a foil of {electrode.thickness_um:g} um"
    else:
        return _metric(name, None, reason="the metal available on the electrode is not declared")
    strips = [half for half in found.halves if half.role == STRIP and half.ended]
    lost = [half.cycle for half in strips if half.end_lost]
    strips = [half for half in strips if not half.end_lost]
    known = []
    for half in strips:
        relative = found.accuracy.relative(half.mean_current_a)
        if unrecorded_share([half], half.capacity_mah_cm2) > relative:
            basis += f"; without cycle {half.cycle}: {told_unrecorded([half])}"
        else:
            known.append(half)
    strips = known
    if lost:
        basis += f"; rows were lost at the end of the stripping of cycle {_enumerated(lost)}"
    if not strips:
        return _metric(name, None, reason="no complete stripping half-cycle")
    value = 100.0 * math.fsum(half.capacity_mah_cm2 for half in strips) / len(strips) / available
    relative = found.accuracy.relative(strips[0].mean_current_a)
    return _metric(name, value, relative * value, basis)


# -- overpotentials

_OVERPOTENTIALS = (
    "cell_eta_n_mv",
    "eta_n_mv",
    "plateau_overpotential_mv",
    "polarisation_mv",
    "late_strip_rise",
)


def _overpotentials(found: _Evaluation) -> dict[str, Metric]:
    cell = found.cell
    if cell is None or not found.halves:
        return _none(_OVERPOTENTIALS, found.no_halves)
    told: dict[str, Metric] = {}
    tip = overpotential.nucleation(found.halves)
    measured = {
        "value": None if tip.overpotential_v is None else tip.overpotential_v * 1e3,
        "uncertainty": None if tip.uncertainty_v is None else tip.uncertainty_v * 1e3,
        "reason": tip.reason,
    }
    if cell.reference_electrode is None:
        told["cell_eta_n_mv"] = _metric("cell_eta_n_mv", **measured)  # type: ignore[arg-type]  # one dict of three kinds
        told |= _none(("eta_n_mv",), "needs a reference electrode; see cell_eta_n_mv")
    else:
        told["eta_n_mv"] = _metric("eta_n_mv", **measured)  # type: ignore[arg-type]  # as above
        told |= _none(("cell_eta_n_mv",), "measured against a reference; see eta_n_mv")
    plateaus: list[Number] = []
    gaps: list[Number] = []
    rises: list[Number] = []
    for plating, stripping in found.cycles.values():
        plateaus.append(
            _finite(1e3 * overpotential.plateau_v(plating))
            if plating is not None and plating.ended
            else None
        )
        gaps.append(
            _finite(
                1e3 * overpotential.polarisation_v(plating, stripping, symmetric=cell.symmetric)
            )
            if plating is not None and stripping is not None and stripping.ended
            else None
        )
        rises.append(
            overpotential.late_rise(stripping)
            if stripping is not None and stripping.ended and not stripping.end_lost
            else None
        )
    running = None
    if not found.halves[-1].ended:
        running = f"cycle {found.halves[-1].cycle} has not ended"
    for name, values in (
        ("plateau_overpotential_mv", plateaus),
        ("polarisation_mv", gaps),
        ("late_strip_rise", rises),
    ):
        told[name] = _listed(name, values, None, [running], "no complete half-cycle")
    return told


# -- impedance


def _impedance(found: _Evaluation) -> dict[str, Metric]:
    names = ("series_resistance_ohm", "interfacial_resistance_ohm")
    stream = found.run.streams.get("impedance")
    if stream is None or not len(stream):
        return _none(names, "the run has no impedance spectrum")
    told_fits = impedance_fits(found.run)
    fits = [fit if isinstance(fit, impedance.ArcFit) else None for fit in told_fits]
    notes = [
        f"model {fit.model}" if isinstance(fit, impedance.ArcFit) else f"spectrum {number}: {fit}"
        for number, fit in enumerate(told_fits, start=1)
    ]
    # The scale of |Z| is that of the current; it adds to what the fit tells.
    gain = found.accuracy.gain
    told = {}
    for name, value, error in (
        (names[0], "series_ohm", "series_uncertainty_ohm"),
        (names[1], "interfacial_ohm", "interfacial_uncertainty_ohm"),
    ):
        told[name] = _listed(
            name,
            [None if fit is None else getattr(fit, value) for fit in fits],
            [
                None if fit is None else math.hypot(getattr(fit, error), gain * getattr(fit, value))
                for fit in fits
            ],
            notes,
        )
    return told


def impedance_fits(run: Run) -> list[impedance.ArcFit | str]:
    """Return the fit of each impedance spectrum of a run, or why there is none."""
    stream = run.streams.get("impedance")
    if stream is None or not len(stream):
        return []
    last = int(stream.columns["potentiostat_impedance_spectrum"].max())
    return [_fitted(run, stream, spectrum) for spectrum in range(1, last + 1)]


def _fitted(run: Run, stream: Stream, spectrum: int) -> impedance.ArcFit | str:
    rows = stream.columns["potentiostat_impedance_spectrum"] == spectrum

    def compute() -> impedance.ArcFit | str:
        names = ("frequency", "z_real", "z_imag")
        columns = [stream.columns[f"potentiostat_impedance_{name}"][rows] for name in names]
        try:
            return impedance.fit_arcs(*columns)
        except impedance.ImpedanceFitError as error:
            return str(error)

    return run.remembered(("impedance", spectrum, int(rows.sum())), compute)


# -- images

_FRAMES = ("image_thickness_um", "image_roughness_um", "image_tip_um")
_END_FRAMES = ("image_thickness_end_of_plating_um", "compactness")


def _images(found: _Evaluation) -> dict[str, Metric]:
    names = (*_FRAMES, *_END_FRAMES)
    stream = found.run.streams.get("camera")
    if stream is None or not len(stream):
        return _none(names, "the run has no image")
    told_camera = found.calibration.get("camera") or {}
    scale = told_camera.get("micrometre_per_pixel")
    if not scale:
        return _none(names, "the camera is not calibrated: no micrometre_per_pixel")
    region = region_of(told_camera)
    fronts = _fronts(found.run, stream, float(scale), region)
    if not fronts:
        return _none(names, "no frame could be read")
    seen = [front if isinstance(front, images.Front) else None for front in fronts]
    notes = [front if isinstance(front, str) else None for front in fronts]
    notes.append(str(region))
    told = {
        "image_thickness_um": _listed(
            "image_thickness_um",
            [None if front is None else front.thickness_um for front in seen],
            [None if front is None else front.uncertainty_um for front in seen],
            notes,
        ),
        "image_roughness_um": _listed(
            "image_roughness_um",
            [None if front is None else front.roughness_um for front in seen],
            None,
            notes,
        ),
        "image_tip_um": _listed(
            "image_tip_um",
            [None if front is None else front.tip_um for front in seen],
            None,
            notes,
        ),
    }
    return told | _end_of_plating(found, stream, seen)


def region_of(told: Mapping[str, Any]) -> images.Region:
    """Return where a camera's calibration says the margin and the deposit are."""
    margin, deposit = told.get("margin_columns"), told.get("deposit_columns")
    default = images.Region()
    return images.Region(
        *(margin or (default.margin_start, default.margin_stop)),
        *(deposit or (default.deposit_start, default.deposit_stop)),
    )


def _fronts(
    run: Run, stream: Stream, scale: float, region: images.Region
) -> list[images.Front | str]:
    def more(known: tuple[images.Front | str, ...]) -> Iterator[images.Front | str]:
        if "camera_image" not in stream.assets:
            return
        frames = stream.asset("camera_image").rows(len(known))
        # A frame may be in the file before its event has arrived: the events' rows count.
        for row, image in zip(range(len(known), len(stream)), frames, strict=False):
            yield _front_of(image, scale, region, lamp[row] != 0, laser[row] == 1)

    lamp, laser = stream.columns["camera_lamp"], stream.columns["camera_laser"]
    return list(run.continued(("fronts", scale, region), more))


def _front_of(
    image: NDArray[Any], scale: float, region: images.Region, lamp_on: bool, laser_on: bool
) -> images.Front | str:
    if not lamp_on:
        return "a frame was taken without the lamp"
    if laser_on:
        return "a frame was taken with the laser on"
    try:
        return images.front(image, scale, region)
    except images.NoFrontError as error:
        return str(error)


def _end_of_plating(
    found: _Evaluation, stream: Stream, fronts: list[images.Front | None]
) -> dict[str, Metric]:
    cell = found.cell
    if cell is None or not found.halves:
        return _none(_END_FRAMES, found.no_halves)
    placed = _placed(stream, "camera")
    seen = np.flatnonzero([front is not None for front in fronts])
    before = [
        fronts[row].thickness_um  # type: ignore[union-attr]  # rows of fronts that were seen
        for row in seen
        if placed.after_s[row] <= found.begin_s
    ]
    zero = math.fsum(before) / len(before) if before else 0.0
    basis = (
        f"less the height before the first half-cycle, {zero:.2f} um"
        if before
        else "no frame before the first half-cycle: height above the bare margin"
    )
    metal = thickness.METALS[cell.metal]
    heights: list[Number] = []
    height_errors: list[Number] = []
    ratios: list[Number] = []
    ratio_errors: list[Number] = []
    missing: list[str | None] = []
    for number, (plating, _) in found.cycles.items():
        row = None if plating is None else _nearest_row(found, plating, seen, placed)
        if plating is None or not plating.ended or row is None:
            for values in (heights, height_errors, ratios, ratio_errors):
                values.append(None)
            missing.append(f"no frame at the end of plating of cycle {number}")
            continue
        front = fronts[row]
        assert front is not None
        height = front.thickness_um - zero
        error = front.uncertainty_um * (math.sqrt(2.0) if before else 1.0)
        heights.append(height)
        height_errors.append(error)
        net = found.ledger.net_plated_mah_cm2(float(placed.middle_s[row]))
        if net <= 1e-6 or height <= 3 * error:
            ratios.append(None)
            ratio_errors.append(None)
            missing.append("a deposit too thin to tell its compactness")
            continue
        ratio = thickness.theoretical_thickness_um(net, metal) / height
        width = float(placed.after_s[row] - placed.before_s[row])
        rate = abs(plating.mean_current_a) * 1e3 / cell.area_cm2 / 3600
        timing = rate * width / math.sqrt(12.0) / net if math.isfinite(width) else 0.0
        current = found.accuracy.relative(plating.mean_current_a)
        ratios.append(ratio)
        ratio_errors.append(ratio * math.hypot(error / height, timing, current))
    notes = [*missing, basis]
    return {
        "image_thickness_end_of_plating_um": _listed(
            "image_thickness_end_of_plating_um", heights, height_errors, notes
        ),
        "compactness": _listed("compactness", ratios, ratio_errors, missing),
    }


def _nearest_row(
    found: _Evaluation, plating: HalfCycle, rows: NDArray[np.int64], placed: Placed
) -> int | None:
    """Return the row nearest to the end of a plating that still shows (nearly) all of it."""
    end = float(plating.t_s[-1])
    allowed = END_OF_PLATING_SHARE * plating.capacity_mah_cm2
    at_end = found.ledger.net_plated_mah_cm2(end)
    if not len(rows):
        return None
    row = int(rows[np.argmin(np.abs(placed.middle_s[rows] - end))])
    net = found.ledger.net_plated_mah_cm2(float(placed.middle_s[row]))
    return row if abs(net - at_end) <= allowed else None


def _placed(stream: Stream, device: str) -> Placed:
    return place(stream.columns[f"{device}_t_before"], stream.columns[f"{device}_t_after"])


# -- spectra


def _raman(found: _Evaluation) -> dict[str, Metric]:
    names = tuple(raman.BANDS)
    all_names = [f"{name}_{what}" for what in ("area", "change") for name in names]
    stream = found.run.streams.get("raman")
    if stream is None or not len(stream):
        return _none(all_names, "the run has no Raman spectrum")
    axis = np.asarray(stream.configuration.get("raman_wavenumber", ()), dtype=np.float64)
    if not len(axis):
        return _none(all_names, "the spectrometer told no wavenumber axis")
    areas = _areas(found.run, stream, axis)
    if not areas:
        return _none(all_names, "no spectrum could be read")
    placed = _placed(stream, "raman")
    told: dict[str, Metric] = {}
    for name in names:
        values = [one[name] for one in areas]
        numbers = [value if isinstance(value, float) else None for value in values]
        reasons = [value if isinstance(value, str) else None for value in values]
        told[f"{name}_area"] = _listed(f"{name}_area", numbers, None, reasons)
        told[f"{name}_change"] = _change(found, name, numbers, placed, reasons)
    return told


def _change(
    found: _Evaluation,
    name: str,
    areas: Sequence[Number],
    placed: Placed,
    reasons: Sequence[str | None],
) -> Metric:
    blanks: list[float] = []
    later: list[float] = []
    platings = [half for half in found.halves if half.role == PLATE]
    begins_s = np.array([half.t_s[0] for half in platings])
    ends_s = np.array([half.t_s[-1] for half in platings])
    for row, area in enumerate(areas):
        if area is None:
            continue
        middle = float(placed.middle_s[row])
        if placed.after_s[row] <= found.begin_s:
            blanks.append(area)
        elif name != "band_465" or np.any((begins_s <= middle) & (middle <= ends_s)):
            # What band_465 shows comes and goes with the current: it is no dose.
            later.append(area)
    if not blanks and not later:
        return _metric(f"{name}_change", None, reason=_summary(reasons) or "no spectrum")
    moved = raman.trend(np.array(blanks), np.array(later))
    return _metric(f"{name}_change", moved.change, moved.uncertainty, moved.reason)


def _areas(run: Run, stream: Stream, axis: Floats) -> tuple[dict[str, float | str], ...]:
    def more(known: tuple[dict[str, float | str], ...]) -> Iterator[dict[str, float | str]]:
        if "raman_counts" not in stream.assets or "raman_dark" not in stream.assets:
            return
        rows = zip(
            range(len(known), len(stream)),
            stream.asset("raman_counts").rows(len(known)),
            stream.asset("raman_dark").rows(len(known)),
            strict=False,
        )
        for row, counts, dark in rows:
            yield _areas_of(axis, counts, dark, laser_on=laser[row] != 0)

    laser = stream.columns["raman_laser"]
    return run.continued(("areas",), more)


def _areas_of(
    axis: Floats, counts: NDArray[Any], dark: NDArray[Any], *, laser_on: bool
) -> dict[str, float | str]:
    problem = None
    if not laser_on:
        problem = "a spectrum was taken without the laser"
    elif np.max(counts) >= raman.SATURATION_COUNTS:
        problem = "a spectrum is saturated"
    elif counts.shape[-1] != len(axis):
        problem = f"a spectrum has {counts.shape[-1]} pixels, its axis {len(axis)}"
    if problem:
        return dict.fromkeys(raman.BANDS, problem)
    spectrum = raman.despike(np.atleast_2d(counts)).counts - dark
    areas: dict[str, float | str] = {}
    for name in raman.BANDS:
        try:
            areas[name] = raman.band_area(axis, spectrum, name)
        except raman.BandError as error:
            areas[name] = str(error)
    return areas


# -- hydrogen

_HYDROGEN = (
    "hydrogen_umol",
    "hydrogen_cumulative_umol",
    "hydrogen_total_umol",
    "hydrogen_faradaic_efficiency_pct",
)


def _hydrogen(found: _Evaluation) -> dict[str, Metric]:
    asked = found.run.streams.get("gas_chromatograph")
    if asked is None or not len(asked):
        return _none(_HYDROGEN, "the run has no injection")
    told_gas = found.calibration.get("gas_chromatograph")
    if not told_gas:
        return _none(_HYDROGEN, "the gas chromatograph is not calibrated")
    try:
        headspace_ml = None if found.cell is None else found.cell.headspace_ml
        calibration = gas.Calibration.from_document(told_gas, headspace_ml)
    except ValueError as error:
        return _none(_HYDROGEN, str(error))
    if calibration.headspace != "closed":
        return _none(
            _HYDROGEN, f"only a closed headspace is evaluated, not {calibration.headspace!r}"
        )
    peaks = _peaks(found.run, asked, calibration.window)
    injections = gas.headspace_hydrogen(peaks, calibration)
    notes = [injection.reason for injection in injections]
    told = {
        "hydrogen_umol": _listed(
            "hydrogen_umol", [one.since_last_umol for one in injections], None, notes
        ),
        "hydrogen_cumulative_umol": _listed(
            "hydrogen_cumulative_umol",
            [one.since_start_umol for one in injections],
            [one.uncertainty_umol for one in injections],
            notes,
        ),
    }
    last = next((one for one in reversed(injections) if one.since_start_umol is not None), None)
    if last is None or last.since_start_umol is None or last.uncertainty_umol is None:
        reason = _summary(notes) or "no injection found hydrogen"
        return told | _none(_HYDROGEN[2:], reason)
    told["hydrogen_total_umol"] = _metric(
        "hydrogen_total_umol",
        last.since_start_umol,
        last.uncertainty_umol,
        f"injection {last.number} of {len(injections)}",
    )
    told["hydrogen_faradaic_efficiency_pct"] = _faradaic(found, asked, last)
    return told


def _faradaic(found: _Evaluation, asked: Stream, last: gas.Injection) -> Metric:
    name = "hydrogen_faradaic_efficiency_pct"
    if found.cell is None or not found.halves:
        return _metric(name, None, reason=found.no_halves)
    row = int(np.flatnonzero(asked.columns["gas_chromatograph_injection"] == last.number)[-1])
    at = float(_placed(asked, "gas_chromatograph").middle_s[row])
    charge = found.ledger.passed_c(found.cell.area_cm2, at)
    if charge <= 0:
        return _metric(name, None, reason="no charge had passed at the last injection")
    assert last.since_start_umol is not None
    assert last.uncertainty_umol is not None
    value = gas.faradaic_efficiency_pct(last.since_start_umol, charge)
    relative = math.hypot(
        last.uncertainty_umol / last.since_start_umol,
        found.accuracy.relative(found.halves[-1].mean_current_a),
    )
    return _metric(
        name, value, relative * value, "gas of both electrodes, charge of both directions"
    )


def _peaks(run: Run, asked: Stream, window: gas.PeakWindow) -> list[gas.Peak | str]:
    results = run.streams.get("chromatogram")
    row_of: dict[int, int] = {}
    key = "gas_chromatograph_result_trace"
    if results is not None and key in results.assets:
        present = min(len(results), len(results.asset(key)))
        numbers = results.columns["gas_chromatograph_result_injection"][:present]
        row_of = {int(number): row for row, number in enumerate(numbers)}
    missed = asked.columns["gas_chromatograph_missed"]
    peaks: list[gas.Peak | str] = []
    numbers_asked = asked.columns["gas_chromatograph_injection"]
    state = {int(n): m for n, m in zip(numbers_asked.tolist(), missed.tolist(), strict=True)}
    for number in range(1, max(state) + 1):
        if number not in state:
            peaks.append("was not asked for")
        elif state[number] == 1:
            peaks.append("missed, the instrument was not ready")
        elif number not in row_of or results is None:
            peaks.append("its chromatogram has not arrived")
        else:
            peaks.append(_remembered_peak(run, results, row_of[number], window))
    return peaks


def _remembered_peak(run: Run, results: Stream, row: int, window: gas.PeakWindow) -> gas.Peak | str:
    def compute() -> gas.Peak | str:
        trace = np.asarray(results.asset("gas_chromatograph_result_trace")[row], dtype=np.float64)
        interval = float(results.columns["gas_chromatograph_result_sample_interval"][row])
        try:
            return gas.peak_area(trace, interval, window)
        except ValueError as error:
            return str(error)

    return run.remembered(("peak", row, window), compute)
