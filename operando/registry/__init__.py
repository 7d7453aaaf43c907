"""The registry: every metric's one name, its unit, its shape and what it means.

It is apart from the analysis so that a search over stored metrics need not load what computes them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from operando.registry._charges import CHARGES
from operando.registry._coulombic import COULOMBIC
from operando.registry._definition import Definition, Shape
from operando.registry._external import EXTERNAL
from operando.registry._failure import FAILURE
from operando.registry._full_cell import FULL_CELL
from operando.registry._hydrogen import HYDROGEN
from operando.registry._images import IMAGES
from operando.registry._impedance import IMPEDANCE
from operando.registry._kinetics import KINETICS
from operando.registry._light import LIGHT
from operando.registry._microbalance import MICROBALANCE
from operando.registry._overpotentials import OVERPOTENTIALS
from operando.registry._raman import RAMAN
from operando.registry._reference import REFERENCE

__all__ = ["ANALYSIS_VERSION", "FAMILIES", "METRICS", "Definition", "Shape", "reference_markdown"]

# Raise it whenever a metric of a run that has not changed would come out different by more than
# rounding, or a metric comes or goes: stored metrics of other versions are computed anew.
ANALYSIS_VERSION = 30

# By what reports call them, in the order of a report.
FAMILIES: Mapping[str, tuple[Definition, ...]] = MappingProxyType(
    {
        "Coulombic efficiency": COULOMBIC,
        "Overpotentials": OVERPOTENTIALS,
        "Reference electrode": REFERENCE,
        "Charge": CHARGES,
        "Mass": MICROBALANCE,
        "Failure": FAILURE,
        "Full cell": FULL_CELL,
        "Impedance": IMPEDANCE,
        "Kinetics and transport": KINETICS,
        "Images": IMAGES,
        "Raman": RAMAN,
        "Light": LIGHT,
        "Hydrogen": HYDROGEN,
        "Instruments that only write files": EXTERNAL,
    }
)

METRICS: Mapping[str, Definition] = MappingProxyType(
    {one.name: one for family in FAMILIES.values() for one in family}
)


def reference_markdown() -> str:
    """Return ``docs/reference/metrics.md``: every metric, from this registry."""
    lines = [
        "# Metrics",
        "",
        "Every metric of a run has one name and one unit. It is a number, or a list by cycle,",
        "injection, frame or spectrum; what cannot be defined is `null` with a reason, never 0.",
        "Uncertainties are standard (k = 1). Potentials and currents are those of the metal",
        "electrode, whichever cable it hangs on. Made from `operando.registry.METRICS`.",
        "",
        "| name | unit | shape | meaning | source |",
        "|---|---|---|---|---|",
    ]
    for one in METRICS.values():
        cells = (f"`{one.name}`", one.unit, one.shape, one.meaning, one.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
