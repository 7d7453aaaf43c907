"""Published values, and how a run's metrics are compared with them.

The rows test the way from the wire to the number, not electrochemistry: a simulated cell was given
the value as an input, or was calibrated on it, and an error anywhere in driver, plan, record or
analysis would break it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from operando.analysis import Metric

# Silver-coated zinc for sodium metal, Chem. Sci. 2024: half cells in 1.0 mol/L NaPF6-diglyme.
SODIUM = "Chem. Sci. 2024, Ag-coated Zn for Na"
# Zinc interface, mechanisms and in-situ characterisation, Chem. Sci. 2024: signs of Raman bands.
ZINC = "Chem. Sci. 2024, zinc interface in situ"


@dataclass(frozen=True)
class PublishedValue:
    """One published value and what returns it.

    ``index`` picks one entry of a metric that is a list (by cycle, by spectrum); ``relative``
    says whether ``tolerance`` is a fraction of the published value. A ``sign`` row publishes only
    the direction: ``value`` is +1 or -1.
    """

    row: str
    sample: str
    quantity: str
    metric: str
    value: float
    unit: str
    tolerance: float
    source: str
    kind: Literal["input", "calibrated", "emergent"]
    index: int | None = None
    relative: bool = False
    sign: bool = False

    def measured(self, metrics: Mapping[str, Metric]) -> float | None:
        """Return the run's value, ``None`` if it could not be defined."""
        value = metrics[self.metric].value
        if isinstance(value, (list, tuple)):
            if self.index is None or len(value) <= self.index:
                return None
            value = value[self.index]
        return None if value is None else float(value)

    def agrees(self, measured: float | None) -> bool:
        """Return whether ``measured`` lies within the stated tolerance."""
        if measured is None:
            return False
        if self.sign:
            return measured * self.value > 0
        allowed = self.tolerance * (abs(self.value) if self.relative else 1.0)
        return abs(measured - self.value) <= allowed

    @property
    def allowed(self) -> str:
        """Return the tolerance as it is printed."""
        if self.sign:
            return "sign"
        return f"{self.tolerance:.0%}" if self.relative else f"{self.tolerance:g} {self.unit}"


def _sodium(sample: str, eta: float, ce: float, fresh: float, after: float) -> list[PublishedValue]:
    resistance = "interfacial_resistance_ohm"
    return [
        PublishedValue(
            "A1", sample, "nucleation overpotential", "cell_eta_n_mv", eta, "mV", 0.3, SODIUM,
            "input",
        ),
        PublishedValue(
            "A3", sample, "initial coulombic efficiency", "initial_ce_pct", ce, "%", 0.2, SODIUM,
            "calibrated",
        ),
        PublishedValue(
            "A6", sample, "interfacial resistance, fresh", resistance, fresh, "ohm", 0.05, SODIUM,
            "input", index=0, relative=True,
        ),
        PublishedValue(
            "A6", sample, "interfacial resistance, after 5 cycles", resistance, after, "ohm", 0.05,
            SODIUM, "input", index=1, relative=True,
        ),
    ]  # fmt: skip


SODIUM_ROWS = {
    "na-znag-half": _sodium("Na on Zn@Ag", 3.0, 97.5, 1.9, 1.8),
    "na-bare-half": _sodium("Na on bare Zn", 13.4, 90.9, 10.8, 4.9),
}

ZINC_ROWS = [
    PublishedValue(
        "B12", "Zn on Cu", f"Raman band at {band} cm-1 during cycling", f"band_{band}_change",
        direction, "", 0.0, ZINC, "emergent", sign=True,
    )
    for band, direction in (("3633", +1.0), ("980", -1.0), ("465", +1.0))
]  # fmt: skip
