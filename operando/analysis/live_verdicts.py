"""What the failure rules and the nucleation tip say of a run while it goes on.

The rules are those of the analysis afterwards: sudden falls of the potential are found by
`StepDropDetector` row by row, half-cycles that are over are judged by `FailureWatch`. What comes
out does not depend on how the rows were grouped.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
from pydantic import ValidationError

from operando.analysis import hydrogen as gas
from operando.analysis._growing_half_cycle import NEEDED, OTHER, GrowingHalfCycle
from operando.analysis._metal_there import MetalThere, largest
from operando.analysis._verdict import Verdict as Verdict
from operando.analysis.accuracy import CurrentAccuracy, potential_offset_v
from operando.analysis.blocks import compared_temperatures_k
from operando.analysis.endings import PlannedHalfCycles, changes_told, first_plating_s
from operando.analysis.ends_of_life import KINDS as ENDS_OF_LIFE
from operando.analysis.ends_of_life import LifeWatch, conditions_told
from operando.analysis.failure import FailureWatch, PotentialWindows, criteria_of, soft_short
from operando.analysis.inventory import (
    given_up_beyond,
    metal_at_start_mah_cm2,
    metal_potential_v,
)
from operando.analysis.live_guards import GUARDS, Guards
from operando.analysis.overpotential import TIP_WITHIN, noise_v
from operando.analysis.potential_noise import potential_noise_v_s
from operando.analysis.segments import PLATE, STRIP, with_ending
from operando.analysis.shunt import high_frequency_intercept_ohm
from operando.analysis.step_drops import StepDropDetector
from operando.runs import Floats
from techniques import Cell

KINDS = (
    "nucleation_tip",
    "soft_short",
    "soft_short_noise",
    "soft_short_coulombic",
    "square_wave",
    "hard_short",
    "strip_overrun",
    "polarisation_failure",
    "hydrogen",
    *ENDS_OF_LIFE,
    *GUARDS,
)
# Judged by |E|, which counts from the metal's own potential.
_FROM_ZERO = ("nucleation_tip", "soft_short", "soft_short_coulombic", "square_wave", "hard_short")
_NOT_KNOWN = "the run goes on with another one, and how much passed in that is not known"


@dataclass(frozen=True)
class Seen:
    """What a judge has come to know of the rows so far.

    Attributes:
        watch: What half-cycles are compared with.
        life: How often in a row they were beyond bounds.
        drops: Looks for sudden falls of the potential.
        half: The half-cycle that goes on.
        spectrum: The last spectrum: number, frequency, real and imaginary part.
        last_half: Number of the last half-cycle.
        passed_mah: By how much the metal electrode was reduced and oxidised; ``None``: no guard
            asked.
    """

    watch: FailureWatch
    life: LifeWatch
    drops: StepDropDetector
    half: GrowingHalfCycle | None
    spectrum: list[Floats]
    last_half: int
    passed_mah: tuple[float, float] | None


class Verdicts:
    """Judges the rows of a run as they come.

    Args:
        start: The run's start document: ``sample``, ``technique``, ``calibration``, ``limits``,
            ``failure_criteria``.

    Raises:
        ValueError: The start document's criteria are not valid.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        calibration = start.get("calibration") or {}
        self._cell: Cell | None = None
        self._why: dict[str, str] = {}
        self._rows = self._unplaced = 0
        self._doubtful: dict[int, tuple[int, int]] = {}
        try:
            self._cell = Cell.model_validate(start.get("sample"))
        except ValidationError:
            self._why = dict.fromkeys(KINDS, "the start document describes no valid cell")
            return
        cell = self._cell
        self._mirror = 1.0 if cell.metal_electrode == "WE" else -1.0
        self._start: dict[str, Any] = dict(start)
        self._windows = PotentialWindows(((1, given_up_beyond(start, cell)),))
        for first, technique in changes_told(start):
            window = given_up_beyond({**start, "technique": technique}, cell)
            self._windows = self._windows.changed(first, window)
        accuracy = CurrentAccuracy.from_start(start)
        at_start, why = metal_at_start_mah_cm2(cell)
        # Of a run that goes on with another one: what passed before it.
        before = start.get("resume") or {}
        bare = at_start == 0.0 and not before
        if before and None in (before.get("plated_mah_cm2"), before.get("stripped_mah_cm2")):
            at_start, why = None, why or _NOT_KNOWN
        self._metal: MetalThere | None = None
        if at_start is not None:
            self._metal = MetalThere(
                at_start,
                accuracy,
                cell.area_cm2,
                before_plated=float(before.get("plated_mah_cm2") or 0.0),
                before_stripped=float(before.get("stripped_mah_cm2") or 0.0),
            )
        if why is not None:
            self._why["strip_overrun"] = why
        if not bare:
            self._why["soft_short_coulombic"] = (
                "needs a half cell from its beginning: else there is more metal than was plated"
            )
        self._metal_v, no_zero = metal_potential_v(cell)
        if no_zero is not None:
            self._why |= dict.fromkeys(_FROM_ZERO, no_zero)
        if not cell.symmetric:
            self._why["square_wave"] = "needs a symmetric cell and impedance spectra"
        if cell.full_cell:
            self._why["soft_short_noise"] = "a full cell: the steps of its voltage are no noise"
        self._watch = FailureWatch(
            criteria_of(start),
            potential_offset_v=potential_offset_v(calibration),
            accuracy=accuracy,
            substrate=bare,
            symmetric=cell.symmetric,
            full_cell=cell.full_cell,
            no_zero=no_zero,
            temperatures_k=compared_temperatures_k(start),
        )
        rules = conditions_told(start.get("rules"))
        self._life = LifeWatch.of(start, cell, accuracy, rules, no_zero=no_zero)
        self._why |= self._life.why
        self._drops = StepDropDetector(self._watch.criteria.drops)
        self._planned = PlannedHalfCycles(start.get("technique"), changes_told(start))
        self._tip = _TipWatch(first_plating_s(start.get("technique")))
        # The plating that a resumed run goes on with, or those after it, meet metal.
        self._tip.over = bool((start.get("resume") or {}).get("half_cycle"))
        self._half: GrowingHalfCycle | None = None
        self._skipped: set[int] = set()
        self._beyond = False
        self._spectrum: list[Floats] = [np.empty(0)] * 4
        self._cell_area_cm2 = cell.area_cm2
        self._gas = _GasWatch(calibration.get("gas_chromatograph"), cell)
        self._last_s, self._last_half = 0.0, 0
        self._guards = Guards(start, cell)
        self._why |= self._guards.why

    @property
    def not_judged(self) -> Mapping[str, str]:
        """Return kind -> why it cannot be told of this run, or not yet."""
        why = dict(self._why)
        if self._cell is not None:
            if self._watch.why_not_judged is not None:
                why["hard_short"] = self._watch.why_not_judged
            if self._gas.why is not None:
                why["hydrogen"] = self._gas.why
        return why

    @property
    def never_judged(self) -> Mapping[str, str]:
        """Return kind -> why it cannot be told of this run, as far as is known by now.

        What only waits for more rows is not among them.
        """
        why = dict(self._why)
        if self._cell is not None:
            if self._watch.why_never_judged is not None:
                why["hard_short"] = self._watch.why_never_judged
            if self._metal is not None and self._metal.why_useless is not None:
                why["strip_overrun"] = self._metal.why_useless
            if self._gas.why is not None:
                why["hydrogen"] = self._gas.why
        return why

    @property
    def doubtful(self) -> Mapping[int, tuple[int, int]]:
        """Return half-cycle -> how many of its rows are doubtful, of how many so far.

        Those lack a time, a potential or a current: nothing is judged by them, and their charge is
        interpolated, as afterwards. Or they are overloaded: they are judged, but more may have
        been there than they tell. Under 0 are those of all rows that lack a role or the number of
        their half-cycle. Half-cycles without such rows are left out.
        """
        found = dict(self._doubtful)
        if self._unplaced:
            found[0] = (self._unplaced, self._rows)
        return found

    @property
    def seen(self) -> "Seen | None":
        """Return what another judge can go on from; ``None``: nothing can be judged."""
        if self._cell is None:
            return None
        return Seen(
            self._watch,
            self._life,
            self._drops,
            self._half,
            self._spectrum,
            self._last_half,
            self._guards.passed_mah,
        )

    def go_on_from(self, before: "Verdicts") -> None:
        """Go on from what another judge saw of the runs that this one's run resumes.

        What half-cycles are compared with, and the half-cycle that goes on, are taken over. What
        had failed is told once more if it still has: nobody may have been there to hear of it. Of
        the charge before, ``resume`` in the start document tells all; what was recorded of the
        half-cycle that goes on is in its rows already.
        """
        seen = before.seen
        if self._cell is None or seen is None:
            return
        self._guards.go_on_from(seen.passed_mah)
        seen.watch.go_on(self._watch)
        seen.life.go_on(self._life)
        self._life = seen.life
        self._watch, self._drops, self._half = seen.watch, seen.drops, seen.half
        self._spectrum, self._last_half = seen.spectrum, seen.last_half
        if self._half is None:
            return
        passed = self._half.charge_mah_cm2(self._cell_area_cm2)
        self._half.overrun = False
        if self._metal is None:
            return
        if self._half.role == PLATE:
            self._metal.before_plated -= passed
        else:
            self._metal.before_stripped -= passed

    def add(self, rows: Mapping[str, Any], stream: str = "potentiostat") -> list[Verdict]:
        """Take the rows of a page and return what they made sure, by time.

        Args:
            rows: Data key -> values by row, as in an event page. Rows that cannot be read are
                passed over, and counted by `doubtful`.
            stream: ``potentiostat``, ``impedance`` or ``chromatogram``; ``amended``: the technique
                is another from a half-cycle on; ``skipped``: a half-cycle did not come to its end.
                There is nothing to tell of others.
        """
        if self._cell is None or not rows:
            return []
        match stream:
            case "potentiostat":
                found = list(self._leader(rows))
            case "impedance":
                self._impedance(rows)
                found = []
            case "amended":
                self._amended(rows)
                found = []
            case "skipped":
                self._skipped |= {int(number) for number in rows["half_cycle"]}
                found = []
            case "chromatogram":
                found = list(self._chromatogram(rows))
            case _:
                found = []
        found += self._guards.add(rows, stream)
        return sorted(found, key=lambda one: (one.t_s, one.kind))

    def _amended(self, rows: Mapping[str, Any]) -> None:
        limits, rules = rows.get("limits", ()), rows.get("rules", ())
        for first, technique, within, told in zip_longest(
            rows["half_cycle"], rows["technique"], limits, rules
        ):
            self._planned.change(int(first), technique)
            self._start = {**self._start, "technique": technique}
            if within is not None:
                self._start["limits"] = {"effective": within}
            if self._cell is not None:
                window = given_up_beyond(self._start, self._cell)
                self._windows = self._windows.changed(int(first), window)
            plates_already = self._half is not None and self._half.role == PLATE
            if not self._tip.over and not (plates_already and self._last_half < int(first)):
                self._tip.lasts(first_plating_s(technique))
            conditions = None if told is None else conditions_told(told)
            self._life.change(int(first), technique, conditions)

    # -- rows of the leader

    def _leader(self, rows: Mapping[str, Any]) -> Iterator[Verdict]:
        names = [name for name in (*NEEDED, *OTHER) if f"potentiostat_{name}" in rows]
        if not set(NEEDED) <= set(names):
            return
        columns = {
            name: np.asarray(rows[f"potentiostat_{name}"], dtype=np.float64) for name in names
        }
        placed = np.isfinite(columns["half_cycle"] + columns["role"])
        self._rows += len(placed)
        if not placed.all():
            self._unplaced += int(np.count_nonzero(~placed))
            columns = {name: values[placed] for name, values in columns.items()}
        half, role = columns["half_cycle"], columns["role"]
        if not len(half):
            return
        changes = np.flatnonzero((np.diff(half) != 0) | (np.diff(role) != 0)) + 1
        bounds = [0, *changes.tolist(), len(half)]
        for first, stop in pairwise(bounds):
            part = {name: values[first:stop] for name, values in columns.items()}
            number, kind = float(half[first]), float(role[first])
            if self._half is not None and (self._half.number, self._half.role) != (number, kind):
                yield from self._over(part)
            if kind in (PLATE, STRIP) and number > 0:
                yield from self._working(part, int(number), int(kind))
        known = columns["t"][np.isfinite(columns["t"])]
        if len(known):
            self._last_s = float(known[-1])

    def _working(self, part: dict[str, Floats], number: int, role: int) -> Iterator[Verdict]:
        if self._half is None:
            self._half = GrowingHalfCycle(number, role)
            self._last_half = number
            self._drops.edge()
        readable = self._half.keep(part)
        if not readable.all():
            part = {name: values[readable] for name, values in part.items()}
        if self._half.doubtful:
            self._doubtful[number] = (self._half.doubtful, self._half.rows)
        bounds = [0, *self._half.edges(part), len(part["t"])]
        for first, stop in pairwise(sorted(set(bounds))):
            piece = {name: values[first:stop] for name, values in part.items()}
            yield from self._piece(self._half, piece, edge=first in bounds[1:-1])

    def _piece(
        self, half: GrowingHalfCycle, part: dict[str, Floats], *, edge: bool
    ) -> Iterator[Verdict]:
        """Judge rows of one step; with an ``edge`` it goes on after an interruption."""
        if edge:
            self._drops.edge()
            self._tip.over = True
        number, role = half.number, half.role
        charge, largest_a = half.take(part, self._cell_area_cm2, edge=edge)
        t_s = part["t"]
        potential_v = self._mirror * part["potential"]
        drive_v = role * (potential_v - self._metal_v)
        for drop in self._drops.add(t_s, drive_v, part["current"]):
            failure = soft_short(number, half.cycle, drop)
            yield Verdict(failure.kind, drop.sure_s, failure.value, failure.reason, number)
        yield from self._at_limit(t_s, potential_v, number)
        if role == STRIP:
            yield from self._overrun(half, t_s, charge, largest_a)
        elif not self._tip.over:
            yield from self._tip.add(number, t_s, drive_v)

    def _at_limit(self, t_s: Floats, potential_v: Floats, number: int) -> Iterator[Verdict]:
        row = (
            None if self._beyond else self._windows.in_half_cycle(number).first_beyond(potential_v)
        )
        if row is not None:
            self._beyond = True
            at_v = float(potential_v[row])
            told = f"the potential is {at_v:.3g} V, at the limit at which the cell is given up"
            yield Verdict("polarisation_failure", float(t_s[row]), abs(at_v), told, number)

    def _overrun(
        self, half: GrowingHalfCycle, t_s: Floats, charge: Floats, largest_a: Floats
    ) -> Iterator[Verdict]:
        if self._metal is None or half.overrun:
            return
        found = self._metal.first_beyond(charge, largest(largest_a))
        if found is None:
            return
        row, beyond = found
        half.overrun = True
        told = (
            f"{charge[row]:.4g} mAh/cm2 were stripped in this half-cycle and "
            f"{self._metal.there:.4g} were there"
        )
        yield Verdict("strip_overrun", float(t_s[row]), beyond, told, half.number)

    def _over(self, following: Mapping[str, Floats]) -> Iterator[Verdict]:
        """Judge the half-cycle that the first row of ``following`` ended."""
        rows, self._half = self._half, None
        if rows is None or not rows.parts:
            return
        half = rows.half_cycle(
            following,
            self._cell_area_cm2,
            self._mirror,
            self._metal_v,
            self._watch.accuracy.zeros,
        )
        if half is None:
            return
        half = with_ending(half, self._planned)
        if half.number in self._skipped and half.ended_by is None:
            half = replace(half, ended=False)
        self._tip.over |= half.role == PLATE
        if self._metal is not None:
            self._metal.passed(half)
        sure_s = float(following["t"][0])
        if not math.isfinite(sure_s):
            sure_s = float(half.t_s[-1])
        for failure in self._watch.half_cycle(
            half,
            noise_v_s=potential_noise_v_s(half),
            intercept_ohm=self._intercept_ohm() if self._watch.symmetric else None,
        ):
            if failure.kind == "polarisation_failure" and self._beyond:
                continue  # told already, when it came to the limit
            yield Verdict(failure.kind, sure_s, failure.value, failure.reason, failure.half_cycle)
        for row in self._life.half_cycle(half):
            yield Verdict(
                row.kind, sure_s, row.value, row.reason, row.half_cycle, in_a_row=row.in_a_row
            )

    # -- rows of followers

    def _impedance(self, rows: Mapping[str, Any]) -> None:
        names = ("spectrum", "frequency", "z_real", "z_imag")
        keys = [f"potentiostat_impedance_{name}" for name in names]
        if not set(keys) <= set(rows):
            return
        new = [np.asarray(rows[key], dtype=np.float64) for key in keys]
        if not len(new[0]):
            return
        both = [np.concatenate(pair) for pair in zip(self._spectrum, new, strict=True)]
        last = both[0] == both[0][-1]
        self._spectrum = [values[last] for values in both]

    def _intercept_ohm(self) -> float | None:
        ohm = high_frequency_intercept_ohm(*self._spectrum[1:])
        return ohm if math.isfinite(ohm) else None

    def _chromatogram(self, rows: Mapping[str, Any]) -> Iterator[Verdict]:
        for injection in self._gas.add(rows):
            if injection.since_start_umol is not None:
                told = f"injection {injection.number}"
                umol = injection.since_start_umol
                yield Verdict("hydrogen", self._last_s, umol, told, self._last_half)


class _TipWatch:
    """Looks for the nucleation tip in the first plating (see `overpotential.nucleation`).

    It is told when the driving potential, smoothed by a median of three, has fallen below its
    maximum by more than five standard deviations of the noise and 1 % of it.
    """

    _SIGMAS, _SHARE, _NOISE_ROWS = 5.0, 0.01, 30

    def __init__(self, first_plating_s: float | None) -> None:
        self.over = False
        self.lasts(first_plating_s)
        self._begin_s: float | None = None
        self._from_above = False
        self._drive_v = np.empty(0)
        self._judged = 0
        self._highest_v, self._lowest_v = -math.inf, math.inf

    def lasts(self, first_plating_s: float | None) -> None:
        """Take how long the first plating lasts at most, s; ``None``: that is not known."""
        self._within_s = math.inf if first_plating_s is None else TIP_WITHIN * first_plating_s

    def add(self, number: int, t_s: Floats, drive_v: Floats) -> Iterator[Verdict]:
        """Take rows of the first plating."""
        if self._begin_s is None:
            self._begin_s = float(t_s[0])
        if not len(self._drive_v):
            driving = np.flatnonzero(drive_v > 0)
            self._from_above |= not len(driving) or driving[0] > 0
            if not len(driving):
                return
            t_s, drive_v = t_s[driving[0] :], drive_v[driving[0] :]
        kept = len(self._drive_v)
        self._drive_v = np.concatenate((self._drive_v, drive_v))
        values = self._drive_v
        # A row is judged with the one after it, which has just come: so that is when it is sure.
        for row in range(self._judged, len(values) - 1):
            around = values[max(row - 1, 0) : row + 2]
            smooth_v = float(np.sort(around)[1]) if len(around) == 3 else float(values[row])
            sure_s = float(t_s[row + 1 - kept])
            if sure_s - self._begin_s > self._within_s:
                self.over = True
                return
            self._judged = row + 1
            if smooth_v > self._highest_v:
                self._lowest_v = min(self._lowest_v, smooth_v if row == 0 else self._lowest_v)
                self._highest_v = smooth_v
                continue
            fell_v = self._highest_v - smooth_v
            if fell_v <= self._SHARE * self._highest_v:
                continue
            recent = values[max(row + 2 - self._NOISE_ROWS, 0) : row + 2]
            least_v = self._SIGMAS * noise_v(recent)
            rose_v = self._highest_v - (0.0 if self._from_above else self._lowest_v)
            if fell_v > least_v and rose_v > least_v:
                self.over = True
                told = f"|E| fell from {self._highest_v * 1e3:.3g} to {smooth_v * 1e3:.3g} mV"
                yield Verdict("nucleation_tip", sure_s, self._highest_v * 1e3, told, number)
                return


class _GasWatch:
    """The hydrogen of a closed headspace, injection by injection."""

    def __init__(self, told: Mapping[str, Any] | None, cell: Cell) -> None:
        self.why: str | None = None
        self._calibration: gas.Calibration | None = None
        self._peaks: list[gas.Peak | str] = []
        if not told:
            self.why = "the gas chromatograph is not calibrated"
            return
        try:
            calibration = gas.Calibration.from_document(
                told,
                cell.headspace_ml,
                None if cell.headspace_kpa is None else 1e3 * cell.headspace_kpa,
            )
        except ValueError as error:
            self.why = str(error)
            return
        if calibration.headspace != "closed":
            self.why = f"only a closed headspace is judged, not {calibration.headspace!r}"
            return
        self._calibration = calibration

    def add(self, rows: Mapping[str, Any]) -> list[gas.Injection]:
        """Take chromatograms and return what each of them tells."""
        names = ("injection", "sample_interval", "trace")
        keys = [f"gas_chromatograph_result_{name}" for name in names]
        if self._calibration is None or not set(keys) <= set(rows):
            return []
        numbers: list[int] = []
        for number, interval_s, trace in zip(*(rows[key] for key in keys), strict=True):
            index = int(number) - 1
            missing = index + 1 - len(self._peaks)
            self._peaks += ["its chromatogram has not arrived"] * missing
            try:
                values = np.asarray(trace, dtype=np.float64)
                self._peaks[index] = gas.peak_area(
                    values, float(interval_s), self._calibration.window
                )
            except ValueError as error:
                self._peaks[index] = str(error)
            numbers.append(index)
        found = gas.headspace_hydrogen(self._peaks, self._calibration)
        return [found[index] for index in numbers]
