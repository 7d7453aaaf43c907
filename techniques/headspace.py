"""The pressure that hydrogen can make in the closed headspace of a cell, from charge alone.

In a cell with an aqueous electrolyte each electron that reduces something reduces either metal or
hydrogen. What is known to have become metal is what was stripped again, where nothing else could
be stripped; all other charge may have made hydrogen, two electrons a molecule. So, as the worst
case,

    Q_H = sum over the electrodes of  Q_red - Q_ox   of one that was bare at the start,
                                      Q_red          of one that held metal at the start,

Q_red and Q_ox the charges by which it was reduced and oxidised since. Hydrogen needs metal that is
oxidised in its place, by current or by corrosion, so where the metal of both electrodes is
declared,

    Q_H <= the metal of both electrodes at the start,

if what is oxidised is metal, as it is within a window of potential below that of oxygen. A cathode
of a full cell takes up ions, not hydrogen: there only the metal electrode counts, and the bound
does not hold. A headspace that is kept apart holds the hydrogen of the metal electrode alone. With
the volume V and the temperature T of the gas, ideal and none of it dissolved,

    p = p_start + Q_H / (2 F) * R T / V.
"""

import math
from dataclasses import dataclass

from techniques.assignment import Assignment
from techniques.cell import Cell
from techniques.metals import COULOMB_PER_MAH, FARADAY_C_MOL
from techniques.programs import Block, Repeat, Sequence
from techniques.steps import (
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    PlateStripCycle,
    PotentiostaticStep,
)
from techniques.technique import Technique

GAS_CONSTANT_J_MOL_K = 8.314462618
ATMOSPHERE_KPA = 101.325
ELECTRONS_PER_HYDROGEN = 2
_USUAL_TEMPERATURE_K = 298.15
_PA_PER_KPA, _ML_PER_M3 = 1e3, 1e6


@dataclass(frozen=True)
class Headspace:
    """The closed headspace of a cell, and how much hydrogen it can hold.

    Attributes:
        volume_ml: Gas volume, mL.
        temperature_k: The highest that its gas may have, K.
        at_start_kpa: Overpressure before the experiment, kPa; negative: less than the atmosphere.
        limit_kpa: Overpressure that must not be exceeded, kPa.
        separated: Whether only the metal electrode's gas goes into it.
        bare: Whether the metal electrode, and the other one, held no metal at the start.
        full_cell: Whether a cathode stands opposite the metal electrode.
        metal_mah: The metal of both electrodes at the start, mAh; ``None``: not known, or no bound.
    """

    volume_ml: float
    temperature_k: float
    at_start_kpa: float
    limit_kpa: float
    separated: bool
    bare: tuple[bool, bool]
    full_cell: bool
    metal_mah: float | None

    @classmethod
    def of(cls, cell: Cell) -> "Headspace | None":
        """Return the headspace that must be watched; ``None``: none is declared closed.

        Sodium stands in no water, and a dummy makes no gas.
        """
        closed = cell.headspace == "closed" and cell.headspace_ml is not None
        return cls.told(cell) if closed else None

    @classmethod
    def told(cls, cell: Cell) -> "Headspace | None":
        """Return the headspace as far as the cell tells one, whether or not it is said closed."""
        if cell.headspace_ml is None or cell.headspace not in (None, "closed"):
            return None
        if cell.metal != "Zn" or cell.dummy is not None:
            return None
        electrodes = (cell.electrode, cell.other_electrode)
        amounts = [cell.inventory_mah_cm2(electrode) for electrode in electrodes]
        metal = None
        if not cell.full_cell and None not in amounts:
            areas = [electrode.area_cm2 for electrode in electrodes]
            metal = sum((x or 0.0) * area for x, area in zip(amounts, areas, strict=True))
        start_kpa = ATMOSPHERE_KPA if cell.headspace_kpa is None else cell.headspace_kpa
        return cls(
            volume_ml=cell.headspace_ml,
            temperature_k=cell.temperature_max_k or _USUAL_TEMPERATURE_K,
            at_start_kpa=start_kpa - ATMOSPHERE_KPA,
            limit_kpa=cell.headspace_overpressure_max_kpa,
            separated=bool(cell.headspace_separated),
            bare=(not cell.holds_metal(electrodes[0]), not cell.holds_metal(electrodes[1])),
            full_cell=cell.full_cell,
            metal_mah=metal,
        )

    def hydrogen_mah(self, plated_mah: float, stripped_mah: float) -> float:
        """Return the charge that may have made hydrogen, mAh.

        Args:
            plated_mah: By which the metal electrode was reduced since the start, mAh.
            stripped_mah: By which it was oxidised, which reduced the other one, mAh.
        """
        bare, other_bare = self.bare
        charge = max(0.0, plated_mah - stripped_mah) if bare else plated_mah
        if not (self.separated or self.full_cell):
            charge += max(0.0, stripped_mah - plated_mah) if other_bare else stripped_mah
        return charge if self.metal_mah is None else min(charge, self.metal_mah)

    def overpressure_kpa(self, hydrogen_mah: float) -> float:
        """Return the overpressure that this charge of hydrogen makes, kPa."""
        moles = hydrogen_mah * COULOMB_PER_MAH / (ELECTRONS_PER_HYDROGEN * FARADAY_C_MOL)
        pascals = moles * GAS_CONSTANT_J_MOL_K * self.temperature_k / (self.volume_ml / _ML_PER_M3)
        return self.at_start_kpa + pascals / _PA_PER_KPA

    def worst_case_mah(self, assignment: Assignment) -> float:
        """Return the most charge of hydrogen that a program can make, mAh.

        Every step counts with the most that it can pass by its time, charge and current limits. Of
        what a bare electrode plates nothing need come back, and then nothing is stripped: only its
        platings count. ``inf`` where nothing bounds a step's charge.
        """
        plated, stripped = _charges(assignment, assignment.technique)
        area = assignment.area_cm2
        if self.bare[0] or self.separated or self.full_cell:
            charge = plated * area
        elif self.bare[1]:
            charge = max(plated, stripped) * area
        else:
            charge = (plated + stripped) * area
        return charge if self.metal_mah is None else min(charge, self.metal_mah)


def _charges(assignment: Assignment, technique: Technique) -> tuple[float, float]:
    """Return the most by which the metal electrode is reduced, and oxidised, mAh/cm2."""
    match technique:
        case GalvanostaticStep():
            density = technique.signed_current_density_ma_cm2
            charge = abs(density) * technique.expected_s / 3600
            return (charge, 0.0) if density < 0 else (0.0, charge)
        case PotentiostaticStep() if technique.role is not None:
            charge = assignment.charge_bound_mah_cm2(technique)
            return (charge, 0.0) if technique.role == "plate" else (0.0, charge)
        case PotentiostaticStep() | LinearSweep() | CyclicVoltammetry():
            charge = assignment.charge_bound_mah_cm2(technique)
            return charge, charge
        case ImpedanceSpectrum():
            charge = assignment.bias_charge_mah_cm2(technique)
            return charge, charge
        case Sequence():
            return _added(assignment, technique.steps)
        case Repeat():
            return _times(technique.times, _charges(assignment, technique.step))
        case Block():
            return _charges(assignment, technique.step)
        case PlateStripCycle():
            halves = [_half(assignment, technique, number) for number in (0, 1)]
            once = (halves[0][0] + halves[1][0], halves[0][1] + halves[1][1])
            between = (0.0, 0.0)
            if technique.between is not None:
                spectrum = _charges(assignment, technique.between)
                between = _times(technique.times_between, spectrum)
            cycled = _times(technique.cycles, once)
            return cycled[0] + between[0], cycled[1] + between[1]
    return 0.0, 0.0


def _half(assignment: Assignment, cycle: PlateStripCycle, number: int) -> tuple[float, float]:
    return _added(assignment, tuple(cycle.goes_on_with(cycle.halves[number])))


def _added(assignment: Assignment, steps: tuple[Technique, ...]) -> tuple[float, float]:
    each = [_charges(assignment, step) for step in steps]
    return math.fsum(one[0] for one in each), math.fsum(one[1] for one in each)


def _times(times: int, charges: tuple[float, float]) -> tuple[float, float]:
    return times * charges[0], times * charges[1]
