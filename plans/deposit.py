"""How much metal is on the electrode that was plated since it was last stripped, by the rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from instruments.potentiostat.contract import PLATE, STRIP, ImpedancePoint, Sample

_COULOMB_PER_MAH = 3.6
_ROLES = {"plate": PLATE, "strip": STRIP}


@dataclass
class Deposit:
    """The metal of the platings since the last strip that came to its end.

    What such a strip leaves behind counts as nothing, as where a program is checked beforehand.

    Attributes:
        area_cm2: Area of the metal electrode, cm2.
        mah_cm2: What is there, mAh/cm2.
    """

    area_cm2: float
    mah_cm2: float = 0.0
    _last: Sample | None = None
    _kept: int = 0
    _role: int = 0
    _half_cycle: int = 0
    _before: float = 0.0

    @classmethod
    def as_left(
        cls, area_cm2: float, resume: Mapping[str, Any], over: int, role: str | None
    ) -> Self:
        """Return what an interrupted run left there.

        Args:
            area_cm2: Area of the metal electrode, cm2.
            resume: ``resume`` of the run that goes on: its ``deposit_mah_cm2``, and the last
                ``half_cycle``.
            over: The half-cycle behind which it goes on; less than the last: within that.
            role: What the step does with which it goes on.
        """
        there, last = float(resume.get("deposit_mah_cm2") or 0.0), int(resume["half_cycle"])
        within = _ROLES.get(role or "", 0) if over < last else 0
        return cls(area_cm2, there, _role=within, _half_cycle=last, _before=there)

    def take(self, row: Sample | ImpedancePoint) -> None:
        """Take one row; they come in their order, in one thread."""
        if not isinstance(row, Sample) or row.role not in (PLATE, STRIP):
            return
        last, self._last = self._last, row
        if row.half_cycle > self._half_cycle:
            self.mah_cm2 = self._before = self.behind(self._half_cycle)
            self._half_cycle = row.half_cycle
        self._role = row.role
        if last is None or row.step != last.step:
            passed_c = abs(row.current_a) * row.step_t_s
        else:
            passed_c = 0.5 * (abs(row.current_a) + abs(last.current_a)) * (row.t_s - last.t_s)
        passed_mah_cm2 = max(passed_c, 0.0) / _COULOMB_PER_MAH / self.area_cm2
        self.mah_cm2 = max(0.0, self.mah_cm2 - row.role * passed_mah_cm2)

    def behind(self, half_cycle: int) -> float:
        """Return what is there when this half-cycle is over, mAh/cm2, as far as it is known.

        Of a plating that goes on: what it has plated so far.
        """
        if self._half_cycle > half_cycle:
            return self._before
        whole_strip = self._role == STRIP and self._kept != self._half_cycle
        return 0.0 if whole_strip else self.mah_cm2

    def keep(self, half_cycle: int) -> None:
        """Note that this half-cycle does not come to its end: a strip leaves its metal there."""
        self._kept = half_cycle
