"""When a cell is of no more use by a bound that its protocol sets: its efficiency, its |E|."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.blocks import half_cycles_left_out, left_out_of_means
from operando.analysis.coulombic import coulombic_efficiency
from operando.analysis.endings import changes_told
from operando.analysis.failure import emptied, middle_v
from operando.analysis.segments import PLATE, HalfCycle
from techniques import Cell, Condition

EFFICIENCY: Literal["coulombic_efficiency_below"] = "coulombic_efficiency_below"
POLARISATION: Literal["polarisation_limit"] = "polarisation_limit"
KINDS = (EFFICIENCY, POLARISATION)


@dataclass(frozen=True)
class Row:
    """So many cycles, or half-cycles, in a row.

    Attributes:
        kind: Of which rule.
        value: The highest efficiency among them, %; the lowest |E|, V.
        in_a_row: How many there are.
        begin_s: When the first of them began, s since the program's start.
        half_cycle: The number of the last half-cycle.
        cycle: The cycle in which the first of them began.
    """

    kind: str
    value: float
    in_a_row: int
    begin_s: float
    half_cycle: int
    cycle: int

    @property
    def reason(self) -> str:
        """Return it in words."""
        if self.kind == EFFICIENCY:
            cycles = "cycle" if self.in_a_row == 1 else f"{self.in_a_row} cycles in a row"
            return f"no more than {self.value:.4g} % of the metal came back in {cycles}"
        halves = "a half-cycle" if self.in_a_row == 1 else f"{self.in_a_row} half-cycles in a row"
        return f"|E| was {self.value:.3g} V or more in {halves}"


@dataclass(frozen=True)
class Change:
    """From the half-cycle ``first`` on another protocol held.

    Attributes:
        first: Its number.
        rows: As those of a `LifeWatch`; ``None``: as before.
        left_out: Half-cycles whose cycles do not count, by their numbers.
    """

    first: int
    rows: Mapping[str, Collection[int]] | None
    left_out: Collection[range]


@dataclass
class LifeWatch:
    """Judges half-cycles that are over, one after the other.

    Attributes:
        rows: Kind -> of how many in a row it is to tell.
        accuracy: What the current's accuracy adds.
        holds_metal: Whether metal is on the electrode that no plating of the test has put there.
        left_out: Cycles whose efficiency does not count.
        formation: Those of them that are left out whatever the program is.
        changes: Where the protocol was changed.
        why: Kind -> why it cannot be told of this cell.
    """

    rows: Mapping[str, Collection[int]]
    accuracy: CurrentAccuracy
    holds_metal: bool = False
    left_out: Collection[int] = ()
    formation: Collection[int] = ()
    changes: list[Change] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)
    _plated: tuple[HalfCycle, ...] = ()
    _last: dict[str, deque[tuple[float, float, int]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        start: Mapping[str, Any],
        cell: Cell,
        accuracy: CurrentAccuracy,
        conditions: Iterable[Condition],
        *,
        no_zero: str | None = None,
    ) -> "LifeWatch":
        """Return what judges a run for these conditions; those of other events do not matter."""
        why: dict[str, str] = {}
        if cell.symmetric:
            why[EFFICIENCY] = "a symmetric cell: the other electrode supplies what is lost"
        elif cell.electrode.metal == cell.metal and not cell.full_cell:
            why[EFFICIENCY] = (
                f"the electrode is made of {cell.metal}: a strip takes of it what it is asked for"
            )
        if no_zero is not None:
            why[POLARISATION] = no_zero
        held = not cell.full_cell and bool(cell.electrode.predeposited_mah_cm2)
        formation = range(max(1, cell.formation_cycles) + 1)
        left_out = {*formation, *left_out_of_means(start.get("technique"))}
        watch = cls(lengths(conditions), accuracy, held, left_out, formation, why=why)
        for first, technique in changes_told(start):
            watch.change(first, technique, None)
        return watch

    def change(self, first: int, technique: object, conditions: Iterable[Condition] | None) -> None:
        """Judge half-cycles from the number ``first`` on as those of another protocol.

        Args:
            first: Which is the first.
            technique: What it runs on the cell.
            conditions: Those of its rules; ``None``: those that held before.
        """
        wanted = None if conditions is None else lengths(conditions)
        self.changes.append(Change(first, wanted, half_cycles_left_out(technique)))

    def _wanted(self, number: int) -> Mapping[str, Collection[int]]:
        told = (one.rows for one in reversed(self.changes) if one.first <= number)
        return next((rows for rows in told if rows is not None), self.rows)

    def _counts(self, cycle: int, number: int) -> bool:
        """Return whether a cycle counts whose first plating is that half-cycle."""
        change = next((one for one in reversed(self.changes) if one.first <= number), None)
        if change is None:
            return cycle not in self.left_out
        return cycle not in self.formation and not any(number in one for one in change.left_out)

    def half_cycle(self, half: HalfCycle) -> Iterator[Row]:
        """Judge a half-cycle that is over; yield what holds of the last so many in a row.

        One under a protocol without such a bound ends the row.
        """
        for kind in self._last.keys() - self._wanted(half.number).keys():
            del self._last[kind]
        if half.ended and POLARISATION not in self.why:
            volt = middle_v(half)
            if math.isfinite(volt):
                yield from self._add(POLARISATION, volt, half, half.number, least=True)
        if half.role == PLATE:
            before = self._plated
            goes_on = bool(before) and before[-1].number == half.number - 1
            self._plated = (*before, half) if goes_on else (half,)
            return
        if EFFICIENCY not in self.why and self._plated:
            yield from self._efficiency(half)
        # As `coulombic_efficiency` reckons with metal that no plating before has put there.
        if half.ended_by == "charge" or not half.ended:
            self.holds_metal = True
        elif emptied(half):
            self.holds_metal = False
        self._plated = ()

    def _efficiency(self, half: HalfCycle) -> Iterator[Row]:
        told = coulombic_efficiency(
            (*self._plated, half), self.accuracy, holds_metal=self.holds_metal
        )
        if told.cycles and self._counts(told.cycles[0], self._plated[0].number):
            percent = told.percent[0]
            yield from self._add(EFFICIENCY, percent, self._plated[0], half.number, least=False)

    def _add(
        self, kind: str, value: float, begun: HalfCycle, number: int, *, least: bool
    ) -> Iterator[Row]:
        wanted = self._wanted(number).get(kind, ())
        if not wanted:
            return
        last = self._last.setdefault(kind, deque())
        last.append((value, float(begun.t_s[0]), begun.cycle))
        while len(last) > max(wanted):
            last.popleft()
        for count in sorted(wanted):
            if len(last) < count:
                continue
            these = list(last)[-count:]
            values = [one for one, _, _ in these]
            _, begin_s, cycle = these[0]
            found = min(values) if least else max(values)
            yield Row(kind, found, count, begin_s, number, cycle)

    def go_on(self, other: "LifeWatch") -> None:
        """Be for the rules of ``other``, of which it knows what happened before."""
        self.rows, self.left_out, self.why = other.rows, other.left_out, other.why
        self.formation, self.changes = other.formation, other.changes


def conditions_told(rules: object) -> list[Condition]:
    """Return the conditions of stored rules that this judges; none where they are not valid."""
    found = []
    for rule in rules if isinstance(rules, list | tuple) else ():
        told = rule.get("when") if isinstance(rule, Mapping) else None
        if not isinstance(told, Mapping) or told.get("event") not in KINDS:
            continue
        try:
            found.append(Condition.model_validate(told))
        except ValidationError:
            continue
    return found


def lengths(conditions: Iterable[Condition]) -> dict[str, set[int]]:
    """Return kind -> how many in a row conditions ask for."""
    found: dict[str, set[int]] = {}
    for one in conditions:
        if one.event in KINDS:
            found.setdefault(one.event, set()).add(one.row_length)
    return found


def first_met(
    halves: Sequence[HalfCycle],
    watch: LifeWatch,
    condition: Callable[[int], Condition | None],
) -> Row | None:
    """Return when a condition was met first in half-cycles; ``None``: in none.

    Args:
        halves: Those of a test; one that goes on counts for nothing.
        watch: A fresh one, for that condition.
        condition: Returns the condition that holds in a half-cycle, by its number; ``None``: none.
    """
    for half in halves:
        holding = condition(half.number)
        for row in watch.half_cycle(half):
            if holding is not None and holding.met_by(row.kind, row.value, row.in_a_row):
                return row
    return None
