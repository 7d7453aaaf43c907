"""The reference electrode of a run, as open circuit shows it before and after what is driven."""

import logging
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from instruments.potentiostat.contract import REST, ImpedancePoint, Sample
from techniques import Cell, KnownPotential, ReferenceCheck, known_potential
from techniques.reference import middle

logger = logging.getLogger(__name__)

# How long is looked at the reference after a program that did not come to its own end, at most, s:
# whoever ended it waits meanwhile, and where that was by hand or by a signal they are in a hurry.
LOOK_MOST_S, HURRIED_LOOK_S = 30.0, 3.0


@dataclass
class ReferenceWatch:
    """Takes the offset of a reference before anything is driven, and after everything was.

    The metrics ``reference_offset_before_mv``, ``reference_offset_after_mv`` and
    ``reference_drift_mv`` are the same, from the record.

    Attributes:
        name: What the reference is.
        known: The electrode whose potential against it is known.
        check: What is remarked.
        before_v: The offset before, V; ``None`` until something is driven, or without a look.
        goes_on: Whether the run goes on with another one: what is before it is in that.
    """

    name: str
    known: KnownPotential
    check: ReferenceCheck
    before_v: float | None = None
    goes_on: bool = False
    _driven: bool = False
    _rest: deque[tuple[float, float]] = field(default_factory=deque)

    @classmethod
    def of(cls, cell: Cell, *, goes_on: bool = False) -> Self | None:
        """Return what watches the reference of a cell; ``None``: nothing is known of it."""
        known = known_potential(cell)
        if isinstance(known, str) or cell.reference_electrode is None:
            return None
        return cls(cell.reference_electrode, known, cell.reference_check, goes_on=goes_on)

    def take(self, row: Sample | ImpedancePoint) -> None:
        """Take one row, in their order; callable from the thread that reads them."""
        if isinstance(row, Sample) and row.role == REST:
            offset_v = self.known.offset_v(row.potential_v, row.cell_potential_v)
            if math.isfinite(offset_v):
                self._rest.append((row.t_s, offset_v))
            while self._rest and self._rest[0][0] < row.t_s - self.check.look_s:
                self._rest.popleft()
            return
        if not self._driven:
            self._driven = True
            self.before_v = None if self.goes_on else self._newest_v
            for remark in self._of_offset():
                logger.warning("%s", remark)
        self._rest.clear()

    def look_after_s(self, *, hurried: bool) -> float | None:
        """Return how long to look at the reference now that nothing is driven any more, s.

        ``None``: nothing was driven, or the open circuit that came last tells it.

        Args:
            hurried: Whether somebody waits for the end.
        """
        rested_s = self._rest[-1][0] - self._rest[0][0] if self._rest else 0.0
        if not self._driven or rested_s >= HURRIED_LOOK_S:
            return None
        return min(self.check.look_s, HURRIED_LOOK_S if hurried else LOOK_MOST_S)

    @property
    def remarks(self) -> list[str]:
        """Return what must be said of the reference by what was seen so far; empty if nothing."""
        if not self._driven:
            return []
        said, after_v = self._of_offset(), self._newest_v
        if self.before_v is None or after_v is None:
            return said
        drift_v = after_v - self.before_v
        if abs(drift_v) > self.check.remark_above_v:
            said.append(
                f"the {self._electrode} electrode moved by {drift_v * 1e3:.3g} mV against the "
                f"reference electrode ({self.name}) from before the program until after it: the "
                "reference drifts, or that electrode has not come to rest"
            )
        return said

    def _of_offset(self) -> list[str]:
        if self.before_v is None or abs(self.before_v) <= self.check.remark_above_v:
            return []
        return [
            f"the reference electrode ({self.name}) is off: at open circuit before the program "
            f"the {self._electrode} electrode was {self.before_v * 1e3:.3g} mV from the "
            f"{self.known.expected_v:g} V that it should have against it"
        ]

    @property
    def _electrode(self) -> str:
        return "counter" if self.known.electrode == "CE" else "working"

    @property
    def _newest_v(self) -> float | None:
        """Return the offset at the end of the open circuit that goes on; ``None`` without one."""
        return middle([offset_v for _, offset_v in self._rest])[0] if self._rest else None
