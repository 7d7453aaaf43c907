"""The reference electrode of a run, as open circuit shows it before and after what is driven."""

import logging
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from instruments.potentiostat.contract import LOOK, REST, ImpedancePoint, Sample
from techniques import Cell, KnownPotential, ReferenceCheck, known_potential
from techniques.reference import middle

logger = logging.getLogger(__name__)

# How long is looked at the reference after a program that did not come to its own end, at most, s:
# whoever ended it waits meanwhile, and where that was by hand or by a signal they are in a hurry.
LOOK_MOST_S, HURRIED_LOOK_S = 30.0, 3.0
# Before what an offset was seen, and what else may have made it: current had flowed not long ago.
_UNREST = {"the program": "", "the rest of the program": ", or it had not come to rest"}


@dataclass
class ReferenceWatch:
    """Takes the offset of a reference before anything is driven, and after everything was.

    The metrics ``reference_offset_before_mv``, ``reference_offset_after_mv`` and
    ``reference_drift_mv`` are the same, from the record.

    Attributes:
        name: What the reference is.
        known: The electrode whose potential against it is known.
        check: What is remarked.
        before_v: The offset before, V; ``None`` until something is driven, or without a look. Of a
            run that goes on with another one it is the offset before that.
        goes_on: Whether the run goes on with another one.
        again_v: The offset before such a run went on, V; ``None`` without a look.
    """

    name: str
    known: KnownPotential
    check: ReferenceCheck
    before_v: float | None = None
    goes_on: bool = False
    again_v: float | None = None
    _driven: bool = False
    _rest: deque[tuple[float, float]] = field(default_factory=deque)

    @classmethod
    def of(cls, cell: Cell) -> Self | None:
        """Return what watches the reference of a cell; ``None``: nothing is known of it."""
        known = known_potential(cell)
        if isinstance(known, str) or cell.reference_electrode is None:
            return None
        return cls(cell.reference_electrode, known, cell.reference_check)

    def go_on(self, before_v: float | None, rows: Iterable[Sample | ImpedancePoint]) -> None:
        """Go on with what another run began.

        Args:
            before_v: The offset before that drove anything, V; ``None``: it is not known.
            rows: What was measured since; the open circuit of looks at the cell is taken of them.
        """
        self.goes_on, self.before_v = True, before_v
        looked = [row for row in rows if isinstance(row, Sample) and row.flags & LOOK]
        offsets = [self._offset_v(row) for row in looked if row.role == REST]
        known = [offset_v for offset_v in offsets if math.isfinite(offset_v)]
        self.again_v = middle(known)[0] if known else None

    def take(self, row: Sample | ImpedancePoint) -> None:
        """Take one row, in their order; callable from the thread that reads them."""
        if isinstance(row, Sample) and row.role == REST:
            offset_v = self._offset_v(row)
            if math.isfinite(offset_v):
                self._rest.append((row.t_s, offset_v))
            while self._rest and self._rest[0][0] < row.t_s - self.check.look_s:
                self._rest.popleft()
            return
        if not self._driven:
            self._driven = True
            if not self.goes_on:
                self.before_v = self._newest_v
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
        said, before, after_v = self._of_offset(), self._before, self._newest_v
        if not before or after_v is None:
            return said
        first_v, what = before[0]
        drift_v = after_v - first_v
        if abs(drift_v) > self.check.remark_above_v:
            said.append(
                f"the {self._electrode} electrode moved by {drift_v * 1e3:.3g} mV against the "
                f"reference electrode ({self.name}) from before {what} until after it: the "
                "reference drifts, or that electrode has not come to rest"
            )
        return said

    def _of_offset(self) -> list[str]:
        return [
            f"the reference electrode ({self.name}) is off: at open circuit before {what} "
            f"the {self._electrode} electrode was {offset_v * 1e3:.3g} mV from the "
            f"{self.known.expected_v:g} V that it should have against it{_UNREST[what]}"
            for offset_v, what in self._before
            if abs(offset_v) > self.check.remark_above_v
        ]

    @property
    def _before(self) -> list[tuple[float, str]]:
        """Return each offset before what was driven, V, and before what; the earliest first."""
        seen = zip((self.before_v, self.again_v), _UNREST, strict=True)
        return [(offset_v, what) for offset_v, what in seen if offset_v is not None]

    def _offset_v(self, row: Sample) -> float:
        return self.known.offset_v(row.potential_v, row.cell_potential_v)

    @property
    def _electrode(self) -> str:
        return "counter" if self.known.electrode == "CE" else "working"

    @property
    def _newest_v(self) -> float | None:
        """Return the offset at the end of the open circuit that goes on; ``None`` without one."""
        return middle([offset_v for _, offset_v in self._rest])[0] if self._rest else None
