"""Half-cycles: which rows belong to one plating or stripping, and the charge they passed."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operando.analysis._refused_streams import refused_streams
from operando.analysis.accuracy import CurrentZero, current_zeros, zero_of
from operando.analysis.endings import EndedBy, Ending, PlannedHalfCycles
from operando.runs import Floats, Run

PLATE: Literal[-1] = -1
STRIP: Literal[1] = 1
REST: Literal[0] = 0
COULOMB_PER_MAH = 3.6
# A current below this share of the half-cycle's typical one is a row on an edge, not a half-cycle.
EDGE_SHARE = 0.01
# The zero is taken off where the current is steady: where it moves, so may its range, and rows do
# not tell which it was. This share of the rows lies this near the median then.
_STEADY_SHARE, _STEADY_WITHIN = 0.95, 0.02
# Status bit of the first row after one or more that were lost on the line.
ROWS_LOST = 16
# Status bit of rows that the instrument kept by itself and gave later.
COLLECTED = 32
# Status bit of rows of a look at the cell, which are of no step of the experiment.
LOOK = 64
# A step's edge that lies this far behind a row is another step's [s].
EDGE_APART_S = 1e-3


@dataclass(frozen=True)
class Interruption:
    """Where a half-cycle stopped and was resumed.

    Attributes:
        at_s: Time of the last row before, s.
        for_s: Until the current flowed again (its edge where the instrument told it, else the
            next row), s.
    """

    at_s: float
    for_s: float


@dataclass(frozen=True)
class HalfCycle:
    """One plating or stripping of the metal electrode.

    Attributes:
        number: Counts all plate and strip steps of the run, from 1.
        cycle: The cycle it belongs to, from 1.
        role: -1 plating, +1 stripping.
        t_s: Time of the rows since the program's start, s.
        potential_v: Potential of the metal electrode against the other, V.
        current_a: Measured current, A, positive when it strips the metal electrode.
        charge_mah_cm2: Charge passed until each row, mAh/cm2, magnitude; without what the measured
            zero of the current would add, where ``zero`` is told.
        ended: Whether the instrument went on to something else, or the run ended as planned.
        end_lost: Whether rows were lost on the line just after its last one, so that its end, and
            with it its charge, is not known.
        since_edge_s: Time from the step's edge to the first row, s; None: not recorded.
        followed_s: Time of the first row after it, s; infinite if there is none.
        interruptions: Where it stopped and was resumed. What may have passed after the last row
            before is not known, and not counted.
        lasted_s: From its first row to its last, without the interruptions, s.
        unrecorded_mah_cm2: How much charge may have passed at its interruptions, or just before
            it, that no row shows, at most, mAh/cm2; ``None``: that is not known.
        missing_s: From when to when rows of it may be missing because a journal is damaged, s. Its
            charge there is that of the rows on both sides; before its first row that since the
            edge, as ever.
        zero: What the current read before the run when none flowed, in its range; ``None``: not
            measured, or not taken off since the current is not steady. Where it was resumed in
            another run each part is without its own zero, and this is their mean by charge.
        metal_v: Potential of the metal at equilibrium on the scale of ``potential_v``, V: 0 against
            the other electrode or a reference of the metal; NaN where it is not known.
        doubts: Why another charge may have passed than its rows tell, besides interruptions: rows
            of it could not be read, its current flowed the other way, its time ran backwards.
        ended_by: By which limit of its own technique it ended: ``potential``; ``charge`` or time,
            after which the program goes on; or ``guard``, a charge or time that ends the program.
            None: it has not ended, by none of these, or that is not known.
        cut_off_v: Above which potential its technique ends it, V, on the scale of ``potential_v``;
            None: at none, or that is not known.
        cut_off_u_mah_cm2: Standard uncertainty of the charge at which its potential passed the
            limit that ended it, mAh/cm2: it was compared with that now and then, see
            `with_ending`. 0 where a charge or a time ended it, or nothing has.
    """

    number: int
    cycle: int
    role: Literal[-1, 1]
    t_s: Floats
    potential_v: Floats
    current_a: Floats
    charge_mah_cm2: Floats
    ended: bool
    end_lost: bool = False
    since_edge_s: float | None = None
    followed_s: float = math.inf
    interruptions: tuple[Interruption, ...] = ()
    lasted_s: float = 0.0
    unrecorded_mah_cm2: float | None = 0.0
    missing_s: tuple[tuple[float, float], ...] = ()
    zero: CurrentZero | None = None
    metal_v: float = 0.0
    doubts: tuple[str, ...] = ()
    ended_by: EndedBy | None = None
    cut_off_v: float | None = None
    cut_off_u_mah_cm2: float = 0.0

    @property
    def capacity_mah_cm2(self) -> float:
        """Return the whole charge, mAh/cm2, magnitude."""
        return float(self.charge_mah_cm2[-1])

    @property
    def overpotential_v(self) -> Floats:
        """Return the potential less that of the metal at equilibrium, V; its magnitude is |E|."""
        return self.potential_v - self.metal_v if self.metal_v else self.potential_v

    @cached_property
    def mean_current_a(self) -> float:
        """Return the median measured current, A, positive when stripping."""
        return float(np.median(self.current_a))


def half_cycles(
    t_s: Floats,
    potential_v: Floats,
    current_a: Floats,
    cycle: Floats,
    half_cycle: Floats,
    role: Floats,
    *,
    area_cm2: float,
    metal_electrode: Literal["WE", "CE"] = "WE",
    metal_v: float = 0.0,
    finished: bool = True,
    step_t_s: Floats | None = None,
    flags: Floats | None = None,
    joints: Sequence[int] = (),
    holes: Sequence[int] = (),
    zeros: Sequence[CurrentZero] = (),
    later_zeros: Sequence[tuple[int, Sequence[CurrentZero]]] = (),
) -> tuple[HalfCycle, ...]:
    """Return the half-cycles in rows of a potentiostat.

    The charge is the trapezoid of the measured current on the instrument's own time, over
    neighbouring rows of one half-cycle that both have its sign. Before the first row the current
    has flowed since the step's edge: that charge counts where the instrument told the time since
    the edge, and is not guessed where it did not. A half-cycle that was interrupted and resumed in
    another run of the experiment is one with several parts, each summed by itself from its own
    edge; nothing is summed from one part to the next. Rows that the instrument kept while nobody
    listened continue the step they belong to: between them and the row before lies no joint.

    Args:
        t_s: Time since the program's start, s.
        potential_v: E_WE - E_CE, V.
        current_a: Current, A, positive oxidises the working electrode.
        cycle: Cycle number; where the program counts none (0), plating and stripping are paired.
        half_cycle: Number of the half-cycle; a rest keeps the number of the one before it.
        role: -1 plate, +1 strip, anything else is no half-cycle.
        area_cm2: Geometric area of the metal electrode, cm2.
        metal_electrode: The electrode that is plated; CE mirrors potential and current.
        metal_v: As the half-cycles tell it.
        finished: Whether the run ended as planned, so that its last half-cycle is whole.
        step_t_s: Time since the edge of the row's step, s; None: not recorded.
        flags: Status bits of the rows; bit 16 says that rows were lost just before one, bit 32 that
            the instrument kept one by itself.
        joints: Rows with which a later run of the same experiment begins.
        holes: Rows before which others are missing in a damaged journal; like after rows that were
            lost on the line, the end of the half-cycle before is then not known.
        zeros: Of the current, as measured before the run; the one of its range is taken off the
            charge of a half-cycle of steady current. Currents stay as they were recorded.
        later_zeros: The same for later runs of the same experiment: the row with which each
            begins, and what was measured before it; its rows are without that.
    """
    if len(t_s) == 0:
        return ()
    mirror = 1.0 if metal_electrode == "WE" else -1.0
    working = ((role == PLATE) | (role == STRIP)) & (half_cycle > 0)
    # Counts the rows between, so that a gap is seen.
    foreign = np.cumsum(~working, dtype=np.int32)
    working &= np.isfinite(t_s) & np.isfinite(current_a) & np.isfinite(potential_v)
    rows = np.flatnonzero(working)
    if not len(rows):
        return ()
    resumed, resumed_s = _resumed(rows, foreign, t_s, step_t_s, flags, joints)
    numbers = half_cycle[rows]
    starts = np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
    del numbers  # tens of megabytes of a long run
    stops = np.append(starts[1:], len(rows))
    begins = [row for row, _ in later_zeros]
    measured = [zeros, *(later for _, later in later_zeros)]
    found: list[HalfCycle] = []
    for first, stop in zip(starts, stops, strict=True):
        index = rows[first:stop]
        # Views where no row lies between: a long run's columns are not held twice.
        closed = int(index[-1]) - int(index[0]) == len(index) - 1
        chosen = slice(int(index[0]), int(index[-1]) + 1) if closed else index
        t, current, potential = t_s[chosen], current_a[chosen], potential_v[chosen]
        if mirror != 1.0:
            current, potential = mirror * current, mirror * potential
        sign: Literal[-1, 1] = PLATE if role[index[0]] == PLATE else STRIP
        typical_a = float(np.median(np.abs(current)))
        active = sign * current > EDGE_SHARE * typical_a
        mean = 0.5 * (np.abs(current[1:]) + np.abs(current[:-1]))
        both = active[1:] & active[:-1] & (np.diff(foreign[chosen]) == 0)
        charge_c = np.where(both, np.maximum(mean * np.diff(t), 0.0), 0.0)
        ran_back = (np.diff(t) < 0) & ~resumed[first + 1 : stop]
        interruptions, lasted_s = [], float(t[-1] - t[0])
        for row in np.flatnonzero(resumed[first + 1 : stop]) + 1:
            since_s = float(resumed_s[first + row])
            charge_c[row - 1] = abs(current[row]) * since_s if active[row] else 0.0
            gap_s = float(t[row] - t[row - 1]) - since_s
            interruptions.append(Interruption(float(t[row - 1]), gap_s))
            lasted_s -= gap_s
        steps = charge_c / COULOMB_PER_MAH / area_cm2
        since_edge_s, since_edge = None, 0.0
        if step_t_s is not None and np.isfinite(step_t_s[index[0]]):
            since_edge_s = max(float(step_t_s[index[0]]), 0.0)
            if active[0]:
                since_edge = abs(float(current[0])) * since_edge_s / COULOMB_PER_MAH / area_cm2
        charge = since_edge + np.concatenate(([0.0], np.cumsum(steps)))
        zero: CurrentZero | None = None
        if any(measured) and _is_steady(current, typical_a, int(np.count_nonzero(active))):
            own = [zero_of(typical_a, of_run) for of_run in measured]
            zero, charge = _without_zeros(charge, index, begins, own, sign * mirror / typical_a)
        following = int(index[-1]) + 1
        while following < len(t_s) and _same_step(following, int(index[-1]), half_cycle, role):
            following += 1  # a row that could not be read
        last, before = int(index[-1]), int(index[0]) - 1
        while before >= 0 and _same_step(before, int(index[0]), half_cycle, role):
            before -= 1
        unread = _Unread()
        if following - before - 1 > len(index):
            unread = _unread(t_s, current_a, index, (before + 1, following), charge_c)
        unread.charge_c += (
            unread.first / (unread.first + 1) * since_edge * COULOMB_PER_MAH * area_cm2
        )
        doubts = unread.told(following - before - 1)
        unknown: float | None = unread.charge_c / COULOMB_PER_MAH / area_cm2
        if ran_back.any():
            at_s, unknown = float(t[np.argmax(ran_back)]), None
            doubts.append(f"its time runs backwards, at {at_s:.6g} s for the first time")
        other_way = sign * current < -EDGE_SHARE * typical_a
        if np.count_nonzero(other_way) > 0.5 * len(current):
            unknown = None
            doubts.append(
                "its current flows against its role: is the cable to the cell reversed, or is the "
                f"metal on the other electrode than on the {metal_electrode}?"
            )
        missing_s = [
            (float(t_s[hole - 1]), float(t_s[hole])) if hole else (0.0, float(t_s[0]))
            for hole in holes
            if int(index[0]) - 1 < hole <= last and hole < len(t_s)
        ]
        hole_behind = any(last < hole <= following for hole in holes)
        found.append(
            HalfCycle(
                number=int(half_cycle[index[0]]),
                cycle=int(cycle[index[0]]),
                role=sign,
                t_s=t,
                potential_v=potential,
                current_a=current,
                charge_mah_cm2=charge,
                ended=finished or following < len(t_s),
                end_lost=hole_behind
                or (
                    flags is not None and following < len(flags) and _lost_before(flags[following])
                ),
                since_edge_s=since_edge_s,
                followed_s=float(t_s[following]) if following < len(t_s) else math.inf,
                interruptions=tuple(interruptions),
                lasted_s=lasted_s,
                missing_s=tuple(missing_s),
                zero=zero,
                metal_v=metal_v,
                unrecorded_mah_cm2=unknown,
                doubts=tuple(doubts),
            )
        )
    return tuple(_numbered(found))


def _is_steady(current_a: Floats, typical_a: float, active: int) -> bool:
    """Return whether a current stays so near its median that its range cannot have changed."""
    if typical_a <= 0:
        return False
    near = np.abs(np.abs(current_a) - typical_a) <= _STEADY_WITHIN * typical_a
    return int(np.count_nonzero(near)) >= _STEADY_SHARE * active


def _without_zeros(
    charge: Floats,
    rows: NDArray[np.int64],
    begins: Sequence[int],
    zeros: Sequence[CurrentZero | None],
    per_a: float,
) -> tuple[CurrentZero | None, Floats]:
    """Return the zero of a half-cycle, and its charge without it.

    Args:
        charge: Until each of its ``rows``.
        rows: Where they lie in the stream.
        begins: Rows with which the second and later runs of the experiment begin.
        zeros: By run; where that of one with rows here is not known, nothing is taken off.
        per_a: What a zero of 1 A adds, as a share of the charge.
    """
    first, last = (bisect_right(begins, int(row)) for row in (rows[0], rows[-1]))
    if first == last:
        zero = zeros[first]
        if zero is None:
            return None, charge
        return zero, charge * ((1.0 - per_a * zero.current_a) / zero.gain)
    run = np.searchsorted(begins, rows, "right")
    held = np.unique(run).tolist()
    known = {number: zero for number in held if (zero := zeros[number]) is not None}
    if len(known) < len(held):
        return None, charge
    steps, total = np.diff(charge, prepend=0.0), float(charge[-1])
    share = {n: float(steps[run == n].sum()) / total if total > 0 else 0.0 for n in held}
    sources = {one.source for one in known.values()}
    mean = CurrentZero(
        gain=math.fsum(share[n] * one.gain for n, one in known.items()) if total > 0 else 1.0,
        source=sources.pop() if len(sources) == 1 else "measured",
        range_a=max(one.range_a for one in known.values()),
        current_a=math.fsum(share[n] * one.current_a for n, one in known.items()),
        uncertainty_a=math.hypot(*(share[n] * one.uncertainty_a for n, one in known.items())),
    )
    own_a = np.array([0.0 if one is None else one.current_a for one in zeros])
    gain = np.array([1.0 if one is None else one.gain for one in zeros])
    return mean, np.cumsum(steps * (1.0 - per_a * own_a[run]) / gain[run])


def _resumed(
    rows: NDArray[np.int64],
    foreign: NDArray[np.int32],
    t_s: Floats,
    step_t_s: Floats | None,
    flags: Floats | None,
    joints: Sequence[int],
) -> tuple[NDArray[np.bool_], Floats]:
    """Return for each of ``rows`` whether a part begins with it, and the time since its edge, s.

    That holds if the row before is of the same half-cycle. Arguments as in `half_cycles`.
    """
    resumed, since_edge_s = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows))
    if not len(joints):
        return resumed, since_edge_s
    before, row = rows[:-1], rows[1:]
    apart = np.searchsorted(joints, row, "right") > np.searchsorted(joints, before, "right")
    told_s = np.full(len(row), math.nan) if step_t_s is None else step_t_s[row]
    known = np.isfinite(told_s)
    with np.errstate(invalid="ignore"):
        new_edge = t_s[row] - told_s > t_s[before] + EDGE_APART_S
    if flags is not None:
        flag = np.where(np.isfinite(flags[row]), flags[row], 0).astype(np.int64)
        apart &= ~(known & ((flag & COLLECTED) != 0))
    resumed[1:] = new_edge | apart | (~known & (foreign[row] > foreign[before]))
    resumed[1:] &= row >= joints[0]
    since_edge_s[1:] = np.where(resumed[1:] & new_edge, np.maximum(told_s, 0.0), 0.0)
    return resumed, since_edge_s


@dataclass
class _Unread:
    """Rows of a half-cycle without a time or a current: how many, and what they stood for.

    Attributes:
        rows: How many.
        first: How many of them lie before its first row.
        charge_c: The charge between rows that was interpolated for them, and what may have passed
            after its last row, C.
    """

    rows: int = 0
    first: int = 0
    charge_c: float = 0.0

    def told(self, of: int) -> list[str]:
        if not self.rows:
            return []
        return [f"{self.rows} of its {of} rows could not be read, the charge there is interpolated"]


def _unread(
    t_s: Floats,
    current_a: Floats,
    index: NDArray[np.int64],
    between: tuple[int, int],
    charge_c: Floats,
) -> _Unread:
    """Return what is unreadable of a half-cycle's rows ``index`` in ``between``, two bounds."""
    begin, stop = between
    unreadable = ~(np.isfinite(t_s[begin:stop]) & np.isfinite(current_a[begin:stop]))
    lost = np.concatenate(([0], np.cumsum(unreadable)))
    inner = lost[index[1:] - begin] - lost[index[:-1] + 1 - begin]
    found = _Unread(int(lost[-1]), int(lost[index[0] - begin]))
    # Of a gap that some rows are lost in, each stands for its part.
    found.charge_c = float(np.sum(charge_c * inner / (inner + 1)))
    last_s = t_s[index[-1] + 1 : stop]
    known = last_s[np.isfinite(last_s)]
    if len(known):
        found.charge_c += abs(float(current_a[index[-1]])) * float(known[-1] - t_s[index[-1]])
    return found


def _same_step(row: int, other: int, half_cycle: Floats, role: Floats) -> bool:
    return bool(half_cycle[row] == half_cycle[other] and role[row] == role[other])


def _lost_before(flags: float) -> bool:
    return math.isfinite(flags) and bool(int(flags) & ROWS_LOST)


def recorded_half_cycles(
    run: Run,
    *,
    area_cm2: float,
    metal_electrode: Literal["WE", "CE"] = "WE",
    metal_v: float = 0.0,
    stream: str = "potentiostat",
    device: str = "potentiostat",
) -> tuple[HalfCycle, ...]:
    """Return the half-cycles of a run, finished or not.

    The last one has ended if a later step began, or, once the run is over, if it reached one of
    the limits that the stored technique gives it. Only where no technique is stored is the run's
    exit status believed. In an experiment of several runs, one that was interrupted and not gone
    on with has ended if it had reached such a limit.

    Args:
        run: The run; its stream ``stream`` must exist.
        area_cm2: Geometric area of the metal electrode, cm2.
        metal_electrode: The electrode that is plated.
        metal_v: As the half-cycles tell it.
        stream: Name of the potentiostat's stream.
        device: Name of the potentiostat; spectra are those of ``<device>_impedance``.
    """
    columns = run.streams[stream].columns
    if stream == "potentiostat" and device == stream and stream in (told := refused_streams(run)):
        raise ValueError(told[stream])
    names = ("t", "potential", "current", "cycle", "half_cycle", "role")
    zeros = [current_zeros(start) for start in run.members or (run.start,)]
    found = half_cycles(
        *(columns[f"{device}_{name}"] for name in names),
        area_cm2=area_cm2,
        metal_electrode=metal_electrode,
        metal_v=metal_v,
        finished=False,
        step_t_s=columns.get(f"{device}_step_t"),
        flags=columns.get(f"{device}_flags"),
        joints=_joints(run, stream, columns[f"{device}_t"]),
        holes=run.streams[stream].holes,
        zeros=zeros[0],
        later_zeros=tuple(zip(run.streams[stream].begins[1:], zeros[1:], strict=False)),
    )
    spectra = run.streams.get("impedance")
    damaged = bool(run.streams[stream].holes or (spectra is not None and spectra.holes))
    halves = list(
        found
        if spectra is None
        else _before_spectra(found, spectra.columns, device, damaged=damaged)
    )
    unrecorded = _unrecorded_mah_cm2(run)
    halves = [
        replace(half, unrecorded_mah_cm2=_sum(half.unrecorded_mah_cm2, unrecorded[half.number]))
        if half.number in unrecorded
        else half
        for half in halves
    ]
    t_s = columns[f"{device}_t"]
    # Where a run ended within a half-cycle that no other went on with, nothing else ended it.
    cut_s = [float(t_s[joint]) for joint in run.streams[stream].joints]
    # A look at the cell that comes next ended nothing either.
    looks_s = _looks_s(t_s, columns.get(f"{device}_flags"))
    planned = PlannedHalfCycles(run.start.get("technique"), run.changes)
    skipped = set(run.skipped)
    for number, half in enumerate(halves):
        ending, ended = _ending(half, planned), half.ended
        last = number == len(halves) - 1
        looked_at = ended and half.followed_s in looks_s
        cut = ended and any(half.t_s[-1] < at <= half.followed_s for at in cut_s)
        if cut or (looked_at and not last):
            ended = ending.reached is not False
        elif last and run.stop is not None and (looked_at or not half.ended):
            succeeded = run.stop.get("exit_status") == "success"
            ended = succeeded if ending.reached is None else ending.reached
        elif looked_at:
            ended = False
        if half.number in skipped:
            ended = ending.reached is True
        halves[number] = _with_ending(replace(half, ended=ended), ending)
    return tuple(halves)


def with_ending(half: HalfCycle, planned: PlannedHalfCycles) -> HalfCycle:
    """Return a half-cycle that tells by which limit of its technique it ended, if it has ended.

    Where a potential ended it, that passed its limit somewhere between the last two readings. They
    lie dt apart: as its last two rows do, or as the technique compares with its limits where rows
    are rarer. Of the charge dq = i dt between them any part may have passed before: its rows tell
    the charge with a standard uncertainty of dq sqrt(1/12 + x^2 / 4), where x is the share of the
    set current i that flows at the last row. That is dq / sqrt(3) if all of it does (x = 1), and
    dq / sqrt(12) if none: the source was held at its own limit of the potential, and half of dq is
    counted.
    """
    return _with_ending(half, _ending(half, planned))


def _with_ending(half: HalfCycle, ending: Ending) -> HalfCycle:
    ended_by = ending.by if half.ended else None
    half = replace(half, ended_by=ended_by, cut_off_v=ending.cut_off_v)
    rows = len(half.t_s)
    if ended_by != "potential" or rows < 2:
        return half
    apart_s = float(half.t_s[-1] - half.t_s[-2])
    before_s = float(half.t_s[-2] - half.t_s[-3]) if rows > 2 else math.inf
    # Of two rows the first alone has the set current for certain.
    typical_a = half.mean_current_a if rows > 2 else float(half.current_a[0])
    if apart_s <= 0 or before_s <= 0 or typical_a == 0:
        return half
    within_s = apart_s if ending.check_s is None else min(apart_s, ending.check_s)
    share = min(max(float(half.current_a[-1]) / typical_a, 0.0), 1.0)
    charge = half.charge_mah_cm2
    rate = float(charge[-1] - charge[-2]) / apart_s
    if share < 1.0 - _STEADY_WITHIN:
        if rows > 2:
            rate = float(charge[-2] - charge[-3]) / before_s
        elif half.since_edge_s:
            rate = float(charge[0]) / half.since_edge_s
        else:
            return half  # neither of its rows tells how much flowed between them
        passed = rate * (apart_s - 0.5 * (1.0 - share) * within_s)
        charge = np.concatenate((charge[:-1], [charge[-2] + passed]))
    u = rate * within_s * math.sqrt(1 / 12 + share**2 / 4)
    return replace(half, charge_mah_cm2=charge, cut_off_u_mah_cm2=u)


def _looks_s(t_s: Floats, flags: Floats | None) -> set[float]:
    """Return when looks at the cell began, s: in a run, before another one goes on, or after it."""
    if flags is None:
        return set()
    rows = np.flatnonzero(flags >= LOOK)
    rows = rows[(flags[rows].astype(np.int64) & LOOK) != 0]
    return {float(t_s[row]) for row in rows[np.diff(rows, prepend=-2) > 1]}


def _joints(run: Run, stream: str, t_s: Floats) -> list[int]:
    """Return the rows with which another program begins: of a later run, or one a rule started."""
    joints = set(run.streams[stream].joints)
    programs = run.streams.get("programs")
    begins_s = None if programs is None else programs.columns.get("programs_t")
    if begins_s is not None:
        joints |= {int(row) for row in np.searchsorted(t_s, begins_s, "right")}
    return sorted(joints)


def _unrecorded_mah_cm2(run: Run) -> dict[int, float | None]:
    """Return by half-cycle how much charge may have passed at deaths that no row shows, mAh/cm2."""
    parts: dict[int, dict[int, float | None]] = {}
    for member in run.members or (run.start,):
        resumed = member.get("resume")
        if not isinstance(resumed, Mapping) or "begin" not in resumed:
            continue
        number = int(resumed["begin"]["half_cycle"]) + 1
        if "skipped" in resumed:
            # It goes on behind the half-cycle that was interrupted.
            number = int(resumed["half_cycle"])
        assumed = "assume_charge_mah_cm2" in resumed.get("decisions", {})
        told = resumed.get("unrecorded_charge_mah_cm2", None if assumed else 0.0)
        # A resume that was refused tells the same step once more.
        parts.setdefault(number, {})[int(resumed.get("step", 0))] = told
    found: dict[int, float | None] = {}
    for number, by_step in parts.items():
        known = [part for part in by_step.values() if part is not None]
        found[number] = math.fsum(known) if len(known) == len(by_step) else None
    return found


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _ending(half: HalfCycle, planned: PlannedHalfCycles) -> Ending:
    return planned.ending(
        half.number,
        "plate" if half.role == PLATE else "strip",
        potential_v=float(half.potential_v[-1]),
        from_first_row_s=half.lasted_s,
        since_edge_s=half.since_edge_s,
        parts=1 + len(half.interruptions),
    )


def _before_spectra(
    halves: tuple[HalfCycle, ...], columns: Mapping[str, Any], device: str, *, damaged: bool
) -> Iterator[HalfCycle]:
    """Yield half-cycles; a spectrum, whose points are another stream's, follows one too."""
    t_s = columns.get(f"{device}_impedance_t")
    numbers = columns.get(f"{device}_impedance_half_cycle")
    flags = columns.get(f"{device}_impedance_flags")
    for half in halves:
        if t_s is None or numbers is None:
            yield half
            continue
        after = np.flatnonzero((numbers == half.number) & (t_s >= half.t_s[-1]))
        if not len(after) or t_s[after[0]] > half.followed_s:
            yield half
            continue
        lost = flags is not None and _lost_before(flags[after[0]])
        # Whether rows were missing before the spectrum or after it, nobody knows.
        lost |= damaged and half.end_lost
        yield replace(half, ended=True, end_lost=lost, followed_s=float(t_s[after[0]]))


def _numbered(found: list[HalfCycle]) -> list[HalfCycle]:
    """Count cycles ourselves where the program did not: a cycle begins with the first role."""
    if all(half.cycle > 0 for half in found):
        return found
    cycle, numbered = 0, list[HalfCycle]()
    for before, half in zip([None, *found], found, strict=False):
        begins = half.role == found[0].role and (before is None or before.role != half.role)
        cycle += begins
        numbered.append(replace(half, cycle=cycle))
    return numbered


class ChargeLedger:
    """The charge passed and the metal plated until any time, of one run's half-cycles.

    The half-cycles that are over are summed once, so that asking for each frame and each cycle
    of a long run does not go through all of them again.
    """

    def __init__(self, halves: Sequence[HalfCycle]) -> None:
        self._halves = halves
        self._begins_s = [float(half.t_s[0]) for half in halves]
        ends_s = [float(half.t_s[-1]) for half in halves]
        charges = [half.capacity_mah_cm2 for half in halves]
        self._passed = [0.0, *accumulate(charges)]
        self._net = [0.0, *accumulate(-h.role * q for h, q in zip(halves, charges, strict=True))]
        later = [*self._begins_s[1:], math.inf]
        self._ordered = all(end <= begin for end, begin in zip(ends_s, later, strict=True))

    def passed_c(self, area_cm2: float, until_s: float) -> float:
        """Return the charge passed in both directions until ``until_s``, C."""
        going_on, total = self._at(until_s, self._passed)
        for half in going_on:
            total += _charge_until(half, until_s)
        return total * area_cm2 * COULOMB_PER_MAH

    def net_plated_mah_cm2(self, at_s: float) -> float:
        """Return the charge plated less the charge stripped until ``at_s``, mAh/cm2."""
        going_on, total = self._at(at_s, self._net)
        for half in going_on:
            total -= half.role * _charge_until(half, at_s)
        return total

    def _at(self, at_s: float, sums: Sequence[float]) -> tuple[Sequence[HalfCycle], float]:
        """Return the half-cycles that may be going on at a time, and the sum of those over."""
        if not self._ordered:
            return [half for half in self._halves if half.t_s[0] < at_s], 0.0
        begun = bisect_left(self._begins_s, at_s)
        over = max(begun - 1, 0)
        return self._halves[over:begun], sums[over]


def _charge_until(half: HalfCycle, at_s: float) -> float:
    return float(np.interp(at_s, half.t_s, half.charge_mah_cm2))


def at_charge(half: HalfCycle, low: float, high: float) -> float:
    """Return the median potential between two shares of the charge, V; NaN without charge.

    Rows are weighted with the charge they stand for, so that recording denser after an edge does
    not move it.
    """
    charge, total = half.charge_mah_cm2, half.capacity_mah_cm2
    if total <= 0:
        return math.nan
    share = charge / total
    edges = np.concatenate(([share[0]], 0.5 * (share[1:] + share[:-1]), [share[-1]]))
    weight = np.clip(edges[1:], low, high) - np.clip(edges[:-1], low, high)
    inside = weight > 0
    if not inside.any():
        return math.nan
    order = np.argsort(half.potential_v[inside], kind="stable")
    values, weights = half.potential_v[inside][order], weight[inside][order]
    cumulated = np.cumsum(weights) - 0.5 * weights
    return float(np.interp(0.5 * weights.sum(), cumulated, values))
