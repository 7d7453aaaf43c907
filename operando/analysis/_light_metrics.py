"""What the laser did to the sample of a run: dose, potential step, change against fresh spots."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.analysis import light
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    Placed,
    listed,
    metric,
    placed_rows,
    summary,
    undefined,
)
from operando.analysis._raman_metrics import band_areas
from operando.analysis.calibrations import Found
from operando.analysis.calibrations import found as calibrated
from operando.analysis.endings import PlannedHalfCycles
from operando.analysis.segments import PLATE, STRIP
from operando.analysis.steps import SET_POTENTIAL
from operando.registry._light import LIGHT
from operando.runs import Floats, Stream
from techniques import Cell

_NAMES = tuple(one.name for one in LIGHT)
_POWER, _ENERGY, _FLUENCE = _NAMES[:3]
_DOSE, _DOSE_PER_AREA = _NAMES[3:5]
_STEP, _MEAN_STEP = _NAMES[5:7]
_CHANGES = _NAMES[7:]
# Where it is not told how wide the spot is: two positions closer than this are one spot, um.
_APART_UM = 10.0
# Rows of the potentiostat on each side of an exposure among which those beside it are looked for.
_NEAR = 200
# So near a potential at which its half-cycle is to be held, a row is taken to be of that hold, V.
_HELD_WITHIN_V = 5e-3
_SET = "the potential was set during an exposure: light would show in the current, not in it"


def light_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the dose of light by spectrum and by spot, and what it was seen to do."""
    stream = found.run.streams.get("raman")
    if stream is None or not len(stream) or "raman_laser" not in stream.columns:
        return undefined(_NAMES, "the run has no Raman spectrum")
    shone = stream.columns["raman_laser"] != 0
    if not shone.any():
        return undefined(_NAMES, "no spectrum was taken with the laser on")
    placed = placed_rows(stream, "raman")
    told = _doses(found, stream, shone) | _steps(found, stream, placed, shone)
    return told | _fresh(found, stream, placed)


# -- dose


def _doses(found: Evaluation, stream: Stream, shone: NDArray[np.bool_]) -> dict[str, Metric]:
    names = (_POWER, _ENERGY, _FLUENCE, _DOSE, _DOSE_PER_AREA)
    power = _power_at_sample(found.calibration)
    if power is None:
        return undefined(
            names,
            "the power at the sample was not measured (laser_power_share or laser_power in "
            "calibrations of the spectrometer)",
        )
    of, by_what = power
    set_w = stream.columns.get("raman_laser_power")
    if set_w is None:
        return undefined(names, "the power of the laser was not recorded")
    on_s, how = _laser_time_s(stream)
    good = shone & np.isfinite(set_w) & np.isfinite(on_s)
    share = [of(float(one)) if ok else (math.nan, 0.0) for one, ok in zip(set_w, good, strict=True)]
    power_mw = np.array([1e3 * w for w, _ in share])
    relative = np.array([u for _, u in share])
    energy_mj = power_mw * on_s
    notes = [by_what, how]
    told = {
        _POWER: _by_spectrum(_POWER, power_mw, power_mw * relative, [by_what]),
        _ENERGY: _by_spectrum(_ENERGY, energy_mj, energy_mj * relative, notes),
    }
    spot = next(iter(calibrated(found.calibration, "raman", "spot_diameter")), None)
    doses, relative_of, where = _by_spot(stream, energy_mj, relative, spot, shone)
    dose_u = [None if d is None else d * r for d, r in zip(doses, relative_of, strict=True)]
    told[_DOSE] = listed(_DOSE, doses, dose_u, [*where, *notes])
    if spot is None:
        why = "the spot's diameter was not measured (spot_diameter in calibrations)"
        return told | undefined((_FLUENCE, _DOSE_PER_AREA), why)
    area_cm2 = math.pi / 4 * (spot.value * 1e-4) ** 2
    # The area goes with the square of the diameter.
    wide = 2 * spot.u / spot.value
    notes = [*notes, f"a spot of {spot.value:g} um ({spot.told})"]
    fluence = energy_mj * 1e-3 / area_cm2
    told[_FLUENCE] = _by_spectrum(_FLUENCE, fluence, fluence * np.hypot(relative, wide), notes)
    per_area = [None if d is None else d * 1e-3 / area_cm2 for d in doses]
    errors = [
        None if d is None else d * math.hypot(r, wide)
        for d, r in zip(per_area, relative_of, strict=True)
    ]
    told[_DOSE_PER_AREA] = listed(_DOSE_PER_AREA, per_area, errors, [*where, *notes])
    return told


def _by_spectrum(name: str, values: Floats, errors: Floats, notes: list[str | None]) -> Metric:
    numbers = [float(x) if math.isfinite(x) else None for x in values]
    known = [
        None if n is None or not math.isfinite(u) else float(u)
        for n, u in zip(numbers, errors, strict=True)
    ]
    return listed(name, numbers, known, notes, "no spectrum was taken with the laser on")


def _power_at_sample(
    calibration: Mapping[str, Any],
) -> tuple[Callable[[float], tuple[float, float]], str] | None:
    """Return what tells power (W) and relative uncertainty for a set power, and its source."""
    points = calibrated(calibration, "raman", "laser_power")
    share = next(iter(calibrated(calibration, "raman", "laser_power_share")), None)
    if points:

        def nearest(set_w: float) -> tuple[float, float]:
            one = min(points, key=lambda x: abs(_at(x) - set_w))
            return one.value * set_w / _at(one), one.u / one.value

        return nearest, f"power at the sample by {points[-1].told}"
    if share is None:
        return None
    return (
        lambda set_w: (share.value * set_w, share.u / share.value),
        f"{share.value:g} of the power that is set ({share.told})",
    )


def _at(one: Found) -> float:
    return 1.0 if one.at is None else one.at


def _laser_time_s(stream: Stream) -> tuple[Floats, str | None]:
    """Return how long the laser was on for each spectrum, s, and what is to be said of it."""
    told = stream.columns.get("raman_laser_time")
    read_outs_s = _read_outs_s(stream)
    if told is None or not np.isfinite(told).any():
        return read_outs_s, "how long the laser was on is the time of the read-outs alone"
    return np.where(np.isfinite(told), told, read_outs_s), None


def _read_outs_s(stream: Stream) -> Floats:
    """Return how long the read-outs of each spectrum took, with the laser on, s; NaN: not told."""
    nothing = np.full(len(stream), math.nan)
    after = stream.columns.get("raman_host_after", nothing)
    return after - stream.columns.get("raman_host_before", nothing)


def _by_spot(
    stream: Stream,
    energy_mj: Floats,
    relative: Floats,
    spot: Found | None,
    shone: NDArray[np.bool_],
) -> tuple[list[Number], list[float], list[str | None]]:
    """Return energy and relative uncertainty by spot, and what is to be said of the spots."""
    lit = np.isfinite(energy_mj)
    apart_um = _APART_UM if spot is None else spot.value
    found = _spots(stream, apart_um)
    if found is None:
        numbers = np.zeros(len(energy_mj), dtype=np.int64)
        said: list[str | None] = ["no stage in the run: one spot"]
    else:
        numbers = found
        count = int(numbers.max(initial=-1)) + 1
        several = f"{count} spots, {apart_um:g} um apart or more"
        said = [several if count > 1 else "one spot"] if count else []
        lost = int(np.count_nonzero(lit & (numbers < 0)))
        if lost:
            said.append(f"{lost} spectra are of spots that are not known")
    missing = shone & ~lit
    if missing.any():
        said.append(
            f"at least: lit spectra of unknown power or time left out: {np.count_nonzero(missing)}"
        )
    values: list[Number] = []
    errors: list[float] = []
    for number in range(int(numbers.max(initial=-1)) + 1):
        on = lit & (numbers == number)
        total = float(energy_mj[on].sum())
        untold = not on.any() and bool((missing & (numbers == number)).any())
        values.append(None if untold else total)
        # What is not known of the power is the same in all of them.
        errors.append(float((energy_mj * relative)[on].sum()) / total if total > 0 else 0.0)
    return values, errors, said


def _spots(stream: Stream, apart_um: float) -> NDArray[np.int64] | None:
    """Return the number of each spectrum's spot, -1 where it is not known; None: no stage."""
    x, y = stream.columns.get("raman_x"), stream.columns.get("raman_y")
    if x is None or y is None:
        return None
    if not np.isfinite(x).any() and not np.isfinite(y).any():
        return np.full(len(stream), -1, dtype=np.int64)
    # An axis that there is not does not move.
    across, up = (one if np.isfinite(one).any() else np.zeros_like(one) for one in (x, y))
    return light.spots_of(across, up, apart_um)


# -- potential


def _steps(
    found: Evaluation, stream: Stream, placed: Placed, shone: NDArray[np.bool_]
) -> dict[str, Metric]:
    names = (_STEP, _MEAN_STEP)
    leader, cell = found.run.streams.get("potentiostat"), found.cell
    if leader is None or not len(leader):
        return undefined(names, "the run has no row of the potentiostat")
    if cell is None:
        return undefined(names, found.no_halves)
    t_s, steps = leader.columns["potentiostat_t"], leader.columns["potentiostat_step"]
    e_v = _of_the_metal_v(leader, cell)
    if e_v is None:
        return undefined(
            names,
            "the potential against the reference is that of the working electrode, the metal is "
            "on the counter electrode, and the potential of the cell was not recorded",
        )
    is_set = _is_set(found, leader)
    readable = np.isfinite(t_s) & np.isfinite(e_v)
    t_s, e_v, steps, is_set = (x[readable] for x in (t_s, e_v, steps, is_set))
    before, after = placed.before_s, placed.after_s
    lit_s = _read_outs_s(stream)
    rows = np.flatnonzero(shone & np.isfinite(before) & np.isfinite(after))
    spans = {
        int(row): slice(*np.searchsorted(t_s, [before[row], after[row]], "right").tolist())
        for row in rows
    }
    exposed = np.zeros(len(t_s), dtype=np.int64)
    for span in spans.values():
        exposed[span] += 1
    values: list[Number] = [None] * len(shone)
    errors: list[Number] = [None] * len(shone)
    reasons: list[str | None] = []
    if len(spans) < int(shone.sum()):
        reasons.append("spectra before the program and after it have no potential")
    for row, span in spans.items():
        told: light.Step | str = "no row of the potentiostat lies within an exposure"
        if is_set[span].any():
            told = _SET
        elif span.stop > span.start:
            near = slice(max(0, span.start - _NEAR), span.stop + _NEAR)
            own = exposed[near].copy()
            own[span.start - near.start : span.stop - near.start] -= 1
            usable = (own == 0) & (steps[near] == steps[(span.start + span.stop - 1) // 2])
            told = light.potential_step(
                t_s[near], e_v[near], before[row], after[row], float(lit_s[row]), usable
            )
        if isinstance(told, str):
            reasons.append(told)
        else:
            values[row], errors[row] = 1e3 * told.step_v, 1e3 * told.uncertainty_v
    of_all = listed(_STEP, values, errors, reasons, "no exposure can be told from the dark")
    known = [value for value in values if value is not None]
    if len(known) < 2:
        reason = of_all.reason if not known else "one exposure only: see laser_step_mv"
        return {_STEP: of_all, _MEAN_STEP: metric(_MEAN_STEP, None, reason=reason or "none")}
    mean = light.mean_of(known)
    basis = _judged(mean, "exposures", " mV")
    without = reasons.count(_SET)
    if without:
        basis = f"{basis}; without {without} at a set potential"
    return {_STEP: of_all, _MEAN_STEP: metric(_MEAN_STEP, mean.value, mean.uncertainty, basis)}


def _of_the_metal_v(leader: Stream, cell: Cell) -> Floats | None:
    """Return the potential of the metal electrode, V, but for a constant; ``None``: not known."""
    told: Floats = leader.columns["potentiostat_potential"]
    if cell.metal_electrode == "WE":
        return told
    if cell.reference_electrode is None:
        return -told
    # E_CE = E_WE - (E_WE - E_CE)
    whole = leader.columns.get("potentiostat_potential_cell")
    return None if whole is None else told - whole


def _is_set(found: Evaluation, leader: Stream) -> NDArray[np.bool_]:
    """Return which rows are of steps that set the potential."""
    role = leader.columns["potentiostat_role"]
    is_set = np.isin(role, SET_POTENTIAL)
    planned = PlannedHalfCycles(found.run.start.get("technique"), found.run.changes)
    mirrored = found.cell is not None and found.cell.metal_electrode == "CE"
    e_v = (-1.0 if mirrored else 1.0) * leader.columns["potentiostat_potential"]
    number = leader.columns["potentiostat_half_cycle"]
    for asked in found.run.asked:
        first, last = asked.first_half_cycle, asked.last_half_cycle
        # Rows without a number are of the first one.
        under = number >= first if asked.by else np.ones(len(number), dtype=bool)
        under &= ~(number > (math.inf if last is None else last))
        for code, held_v in (
            (PLATE, planned.held_at_v("plate", first)),
            (STRIP, planned.held_at_v("strip", first)),
        ):
            for at_v in held_v:
                # One that counts from open circuit cannot be told from a current before it.
                near = math.isnan(at_v) or np.abs(e_v - at_v) <= _HELD_WITHIN_V
                is_set |= (role == code) & near & under
    return is_set


def _judged(mean: light.Mean, what: str, unit: str) -> str:
    verdict = "differs from nothing" if mean.differs else "no effect of the light shown"
    return f"{mean.count} {what}; {verdict} (95 %: beyond {mean.bound:.2g}{unit})"


# -- fresh spots


def _fresh(found: Evaluation, stream: Stream, placed: Placed) -> dict[str, Metric]:
    number = stream.columns.get("raman_spot")
    if number is None or not (number > 0).any():
        return undefined(_CHANGES, "no spectrum was taken at a fresh spot (fresh_spots)")
    areas, told = band_areas(found.run), dict[str, Metric]()
    fresh, used = _unused(found, stream, number)
    for name in _CHANGES:
        band = name.removesuffix("_light_change")
        values = areas.get(band, [])
        area = np.array([math.nan if one is None else one for one in values], dtype=np.float64)
        count = len(area)
        known = (number[:count] == 0) | fresh[:count]
        at_s = np.where(known, placed.middle_s[:count], math.nan)
        differences = light.against_fresh(at_s, area, fresh[:count])
        if len(differences) < light.FEWEST_FRESH:
            reason = (
                f"{len(differences)} fresh spots between usual ones show {band}, at least "
                f"{light.FEWEST_FRESH} are needed"
            )
            told[name] = metric(name, None, reason=summary([used, reason]))
            continue
        mean = light.mean_of(differences)
        basis = summary([used, _judged(mean, "fresh spots", "")])
        told[name] = metric(name, mean.value, mean.uncertainty, basis)
    return told


def _unused(
    found: Evaluation, stream: Stream, number: Floats
) -> tuple[NDArray[np.bool_], str | None]:
    """Return which spectra are of fresh spots indeed, and how many only should have been.

    A run that goes on begins with the same ones again, and a step may be less than the spot's
    width.
    """
    meant = number > 0
    spot = next(iter(calibrated(found.calibration, "raman", "spot_diameter")), None)
    spots = _spots(stream, _APART_UM if spot is None else spot.value)
    if spots is None:
        return meant, None
    first = {int(one): row for row, one in reversed(list(enumerate(spots.tolist())))}
    of_its_own = np.array([first[int(one)] == row for row, one in enumerate(spots.tolist())])
    fresh = meant & (of_its_own | (spots < 0))
    count = int(np.count_nonzero(meant & ~fresh))
    return fresh, f"light had been on {count} of the fresh spots before" if count else None
