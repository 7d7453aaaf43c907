"""How much metal is on the electrode that was plated since it was last stripped, by the rows."""

from dataclasses import dataclass

from instruments.potentiostat.contract import PLATE, STRIP, ImpedancePoint, Sample

_COULOMB_PER_MAH = 3.6


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

    def take(self, row: Sample | ImpedancePoint) -> None:
        """Take one row; they come in their order, in one thread."""
        if not isinstance(row, Sample) or row.role not in (PLATE, STRIP):
            return
        last, self._last = self._last, row
        if last is None or row.step != last.step:
            if last is not None and row.half_cycle > last.half_cycle and last.role == STRIP:
                self.mah_cm2 = self.mah_cm2 if self._kept == last.half_cycle else 0.0
            passed_c = abs(row.current_a) * row.step_t_s
        else:
            passed_c = 0.5 * (abs(row.current_a) + abs(last.current_a)) * (row.t_s - last.t_s)
        passed_mah_cm2 = max(passed_c, 0.0) / _COULOMB_PER_MAH / self.area_cm2
        self.mah_cm2 = max(0.0, self.mah_cm2 - row.role * passed_mah_cm2)

    def keep(self, half_cycle: int) -> None:
        """Note that this half-cycle does not come to its end: a strip leaves its metal there."""
        self._kept = half_cycle
