"""The cell under test, as its log book describes it."""

from datetime import datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from techniques._base import Data
from techniques.limits import SafetyLimits

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


class Electrolyte(Data):
    """The electrolyte of a cell."""

    composition: str = Field(description="Salt, concentration, solvent, additives.")
    volume_ul: float | None = Field(default=None, gt=0, description="Volume in the cell, uL.")


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
    electrolyte: Electrolyte
    separator: str | None = None
    pressure_kpa: float | None = Field(default=None, ge=0, description="Stack pressure, kPa.")
    atmosphere: str | None = Field(default=None, description="Gas above the cell: argon, air, ...")
    deaerated: bool = Field(default=False, description="Oxygen was removed from the electrolyte.")
    headspace_ml: float | None = Field(
        default=None, gt=0, description="Gas volume of the closed headspace, mL."
    )
    assembled_at: datetime | None = Field(default=None, description="Assembly time, with zone.")
    temperature_min_k: float | None = Field(default=None, gt=0)
    temperature_max_k: float | None = Field(default=None, gt=0)
    formation_cycles: int = Field(
        default=0, ge=0, description="First cycles that are formation, left out of declared means."
    )
    limits: SafetyLimits = SafetyLimits()
    notes: str | None = None

    @model_validator(mode="after")
    def _temperatures_are_ordered(self) -> Self:
        low, high = self.temperature_min_k, self.temperature_max_k
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"the limits contradict each other: temperature_min_k {low} K is not below "
                f"temperature_max_k {high} K"
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
    def symmetric(self) -> bool:
        """Return whether both electrodes are made of the active metal."""
        return self.working_electrode.metal == self.counter_electrode.metal == self.metal
