"""The cell under test, as its log book describes it."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, field_serializer, model_validator

from techniques._base import Data
from techniques.failure import FailureCriteria
from techniques.limits import SafetyLimits
from techniques.metals import METALS, foil_capacity_mah_cm2
from techniques.reference import ReferenceCheck

WHICH = Literal["WE", "CE"]


class Electrode(Data):
    """One electrode of a cell."""

    material: str = Field(description="What the surface is: Zn, Cu, Zn@Ag, ...")
    area_cm2: float = Field(gt=0, description="Geometric area facing the other electrode, cm2.")
    metal: Literal["Zn", "Na"] | None = Field(
        default=None, description="The active metal it is made of; none for a bare substrate."
    )
    thickness_um: float | None = Field(default=None, gt=0, description="Foil thickness, um.")
    mass_mg: float | None = Field(default=None, gt=0, description="Mass, mg.")
    coating: str | None = Field(default=None, description="Coating or surface treatment.")
    predeposited_mah_cm2: float | None = Field(
        default=None, ge=0, description="Metal deposited before this test, mAh/cm2."
    )
    active_mass_mg: float | None = Field(
        default=None, gt=0, description="Mass of the active material of a cathode, mg."
    )
    specific_capacity_mah_g: float | None = Field(
        default=None,
        gt=0,
        description="Nominal capacity per mass of its active material, mAh/g: what 1 C means.",
    )

    @property
    def is_cathode(self) -> bool:
        """Return whether it stores the metal's ions in an active material, by what is told."""
        return self.active_mass_mg is not None or self.specific_capacity_mah_g is not None


class Electrolyte(Data):
    """The electrolyte of a cell."""

    composition: str = Field(description="Salt, concentration, solvent, additives.")
    volume_ul: float | None = Field(default=None, gt=0, description="Volume in the cell, uL.")
    salt_mol_l: float | None = Field(
        default=None, gt=0, description="Concentration of the metal's salt, mol/L."
    )
    diffusion_cm2_s: float | None = Field(
        default=None, gt=0, description="Diffusion coefficient of that salt, cm2/s."
    )
    cation_transference: float | None = Field(
        default=None, gt=0, lt=1, description="Transference number of the metal's ion."
    )


class Cell(Data):
    """One cell: who it is, what it is made of, what it must not be exposed to.

    ``metal_electrode`` names the electrode on which the metal of the experiment is plated and
    from which it is stripped. WE: positive (oxidising) current strips it; CE: positive current
    plates it.
    """

    cell_id: str = Field(min_length=1, description="The name on the label.")
    batch: str | None = None
    metal: Literal["Zn", "Na"] = Field(description="The metal that is plated and stripped.")
    working_electrode: Electrode
    counter_electrode: Electrode
    metal_electrode: WHICH = "WE"
    reference_electrode: str | None = Field(
        default=None, description="The reference, e.g. Zn wire; none: a two-electrode cell."
    )
    metal_vs_reference_v: float | None = Field(
        default=None,
        description="Potential of the metal in this electrolyte against the reference, V, by which "
        "it is checked; 0 where the reference is told to be of the metal itself (Zn wire).",
    )
    reference_check: ReferenceCheck = ReferenceCheck()
    electrolyte: Electrolyte
    separator: str | None = None
    separator_um: float | None = Field(
        default=None, gt=0, description="Its thickness in the cell: the electrodes' distance, um."
    )
    separator_porosity: float | None = Field(
        default=None, gt=0, le=1, description="Share of its volume that is electrolyte."
    )
    separator_tortuosity: float | None = Field(
        default=None,
        ge=1,
        description="By which factor, beside the porosity, it slows diffusion down.",
    )
    pressure_kpa: float | None = Field(default=None, ge=0, description="Stack pressure, kPa.")
    atmosphere: str | None = Field(default=None, description="Gas above the cell: argon, air, ...")
    deaerated: bool = Field(default=False, description="Oxygen was removed from the electrolyte.")
    headspace: Literal["closed", "open", "swept"] | None = Field(
        default=None,
        description="closed: nothing leaves it, so that the pressure of hydrogen is limited; open "
        "to the atmosphere; swept by a gas; none: nothing is said, and no pressure is limited.",
    )
    headspace_ml: float | None = Field(
        default=None, gt=0, description="Gas volume of the closed headspace, mL."
    )
    headspace_overpressure_max_kpa: float = Field(
        default=30.0,
        gt=0,
        description="What the gas of a closed headspace may be above the atmosphere, kPa (30 kPa "
        "are 0.3 bar): a program that could make more hydrogen is refused without a pressure "
        "sensor, with one the run is ended there.",
    )
    headspace_kpa: float | None = Field(
        default=None, gt=0, description="Absolute pressure of the gas in it, kPa."
    )
    headspace_separated: bool | None = Field(
        default=None,
        description="Whether the gas of the metal electrode is kept apart from the other's "
        "(membrane, frit); none: not known, and hydrogen is taken for that of both electrodes.",
    )
    make_up_gas: str | None = Field(
        default=None, description="What takes the place of the gas that injections take away."
    )
    assembled_at: datetime | None = Field(default=None, description="Assembly time, with zone.")
    temperature_min_k: float | None = Field(default=None, gt=0)
    temperature_max_k: float | None = Field(default=None, gt=0)
    formation_cycles: int = Field(
        default=0, ge=0, description="First cycles that are formation, left out of declared means."
    )
    limits: SafetyLimits = SafetyLimits()
    failure_criteria: FailureCriteria | None = Field(
        default=None,
        description="From when on this cell counts as failed: what is told here holds instead of "
        "the protocol's, threshold by threshold.",
    )
    dummy: str | None = Field(
        default=None,
        description="A dummy cell of known parts instead of a cell: which, e.g. R 1000 ohm.",
    )
    notes: str | None = None

    @field_serializer("failure_criteria")
    def _what_is_told_of_it(self, told: FailureCriteria | None) -> dict[str, Any] | None:
        # Without defaults: they would hold instead of the protocol's.
        return None if told is None else told.model_dump(mode="json", exclude_unset=True)

    @model_validator(mode="after")
    def _temperatures_are_ordered(self) -> Self:
        low, high = self.temperature_min_k, self.temperature_max_k
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"the limits contradict each other: temperature_min_k {low} K is not below "
                f"temperature_max_k {high} K"
            )
        return self

    @model_validator(mode="after")
    def _a_closed_headspace_has_a_volume(self) -> Self:
        if self.headspace == "closed" and self.headspace_ml is None:
            raise ValueError("headspace is closed: give headspace_ml, its gas volume in mL")
        return self

    @model_validator(mode="after")
    def _a_potential_has_its_reference(self) -> Self:
        if self.metal_vs_reference_v is not None and self.reference_electrode is None:
            raise ValueError(
                f"metal_vs_reference_v is {self.metal_vs_reference_v:g} V, and no "
                "reference_electrode is named"
            )
        return self

    @property
    def area_cm2(self) -> float:
        """Return the geometric area of the metal electrode, cm2."""
        return self.electrode.area_cm2

    @property
    def electrode(self) -> Electrode:
        """Return the metal electrode."""
        return self.working_electrode if self.metal_electrode == "WE" else self.counter_electrode

    @property
    def other_electrode(self) -> Electrode:
        """Return the electrode opposite the metal electrode."""
        return self.counter_electrode if self.metal_electrode == "WE" else self.working_electrode

    @property
    def symmetric(self) -> bool:
        """Return whether both electrodes hold the metal: made of it, or deposited before."""
        return self.holds_metal(self.working_electrode) and self.holds_metal(self.counter_electrode)

    @property
    def full_cell(self) -> bool:
        """Return whether a cathode stands opposite the metal electrode."""
        return self.other_electrode.is_cathode

    @property
    def anode_free(self) -> bool:
        """Return whether it is a full cell whose metal electrode begins as a bare substrate."""
        return self.full_cell and not self.holds_metal(self.electrode)

    @property
    def nominal_capacity_mah_cm2(self) -> float | None:
        """Return the cathode's nominal capacity per area of the metal electrode, mAh/cm2.

        ``None`` where its active mass or its specific capacity is not told.
        """
        cathode = self.other_electrode
        if cathode.active_mass_mg is None or cathode.specific_capacity_mah_g is None:
            return None
        return cathode.active_mass_mg * 1e-3 * cathode.specific_capacity_mah_g / self.area_cm2

    def holds_metal(self, electrode: Electrode) -> bool:
        """Return whether ``electrode`` holds the metal of the experiment before it begins."""
        return electrode.metal == self.metal or bool(electrode.predeposited_mah_cm2)

    def inventory_mah_cm2(self, electrode: Electrode) -> float | None:
        """Return the metal that ``electrode`` holds at the start, mAh per cm2 of its own area.

        Foil (by its thickness) and what was deposited before; ``None`` for a foil whose thickness
        is not told.
        """
        deposited = electrode.predeposited_mah_cm2 or 0.0
        if electrode.metal != self.metal:
            return deposited
        if electrode.thickness_um is None:
            return None
        return deposited + foil_capacity_mah_cm2(electrode.thickness_um, METALS[self.metal])
