"""Cells with a cathode: cycling between two voltages."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from techniques.cell import Cell
from techniques.experiments._parts import Cycling, charge, exactly_one, plate, strip
from techniques.limits import Limit
from techniques.steps import PotentiostaticStep

if TYPE_CHECKING:
    from techniques.technique import Technique


class FullCellCycling(Cycling):
    """Charge and discharge a full cell between two voltages, at a constant voltage at last (CC-CV).

    Voltages are those of the cell: positive, cathode against anode, whichever cable is on which.
    Charging plates the metal on the anode, discharging strips it. With bare anodes (anode-free) and
    with little metal on them (anode-less) it is the same.
    """

    type: Literal["full_cell_cycling"] = "full_cell_cycling"
    charge_to_v: float = Field(description="Upper cut-off of the cell voltage, V.")
    discharge_to_v: float = Field(description="Lower cut-off of the cell voltage, V.")
    c_rate: float | None = Field(
        default=None, gt=0, description="Current: 1 passes the nominal capacity in one hour."
    )
    current_ma_g: float | None = Field(
        default=None, gt=0, description="Or per mass of the cathode's active material, mA/g."
    )
    current_density_ma_cm2: float | None = Field(
        default=None, gt=0, description="Or per area of the anode, mA/cm2."
    )
    discharge_factor: float = Field(
        default=1.0, gt=0, description="Current of the discharge per that of the charge."
    )
    cycles: int = Field(default=1, ge=1, description="Number of cycles.")
    first: Literal["charge", "discharge"] = Field(default="charge", description="What comes first.")
    hold_below_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Hold charge_to_v until the current is below this share of the charging "
        "current; none: no hold.",
    )
    hold_max_s: float = Field(default=3600.0, gt=0, description="Longest such hold, s.")
    overcharge_pct: float = Field(
        default=25.0,
        ge=0,
        description="A half-cycle whose charge exceeds the nominal capacity by this much stops the "
        "program, %. A hold counts from its own beginning: with it up to twice as much may pass, "
        "within hold_max_s and the charge that the safety limits allow.",
    )

    @model_validator(mode="after")
    def _one_current_and_an_open_window(self) -> Self:
        exactly_one(self, "c_rate", "current_ma_g", "current_density_ma_cm2")
        if self.discharge_to_v >= self.charge_to_v:
            raise ValueError(
                f"discharge_to_v {self.discharge_to_v} V is not below charge_to_v "
                f"{self.charge_to_v} V"
            )
        return self

    def current_of(self, cell: Cell) -> float:
        """Return the charging current, mA per cm2 of the anode; raises UnsuitableCellError."""
        if self.current_density_ma_cm2 is not None:
            return self.current_density_ma_cm2
        if self.current_ma_g is not None:
            mass_mg = cell.other_electrode.active_mass_mg
            if mass_mg is None:
                raise self._unsuitable(
                    cell, "current_ma_g needs active_mass_mg of the cathode in the cell file"
                )
            return self.current_ma_g * mass_mg * 1e-3 / cell.area_cm2
        assert self.c_rate is not None  # one of the three is given
        return self.c_rate * self._nominal(cell)

    def _nominal(self, cell: Cell) -> float:
        nominal = cell.nominal_capacity_mah_cm2
        if nominal is None:
            raise self._unsuitable(
                cell,
                "it needs the nominal capacity: give active_mass_mg and specific_capacity_mah_g of "
                f"the {cell.other_electrode.material} cathode in the cell file",
            )
        return nominal

    def program(self, cell: Cell) -> "Technique":
        """Return the cycles; potentials in them are those of the anode against the cathode."""
        self._need_full_cell(cell)
        most = self._nominal(cell) * (1 + self.overcharge_pct / 100)
        density = self.current_of(cell)
        charging = plate(
            density,
            (Limit(quantity="potential_below_v", value=-self.charge_to_v), charge(most, "stop")),
            self.record,
        )
        discharging = strip(
            density * self.discharge_factor,
            (
                Limit(quantity="potential_above_v", value=-self.discharge_to_v),
                charge(most, "stop"),
            ),
            self.record,
        )
        first: Literal["plate", "strip"] = "plate" if self.first == "charge" else "strip"
        cycles = self._cycles(charging, discharging, self.cycles, first)
        if self.hold_below_fraction is None:
            return cycles
        hold = PotentiostaticStep(
            role="plate",
            potential_v=-self.charge_to_v,
            continues_half_cycle=True,
            until=(
                Limit(
                    quantity="abs_current_below_ma_cm2",
                    value=self.hold_below_fraction * density,
                ),
                Limit(quantity="time_s", value=self.hold_max_s),
                charge(most, "stop"),
            ),
            record=charging.record,
        )
        return type(cycles).model_validate({**dict(cycles), "plate_hold": hold})
