"""Plating and stripping a metal: symmetric cells, half cells, rates, nucleation, reservoirs."""

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from techniques.cell import Cell
from techniques.experiments._parts import (
    OVERRUN_PCT,
    Cycling,
    Experiment,
    charge,
    exactly_one,
    plate,
    rest,
    strip,
    strip_to_cut_off,
)
from techniques.limits import Limit
from techniques.programs import Block, Repeat, Sequence
from techniques.recording import Recording
from techniques.steps import GalvanostaticStep, PlateStripCycle, Role

if TYPE_CHECKING:
    from techniques.technique import Technique

_OVERRUN = (
    "A strip whose charge exceeds what was plated by this much stops the program: the metal comes "
    "from elsewhere, or the cell is shorted, %."
)
# How a potential is told, and what becomes of it on a cell with a reference electrode.
_VS_METAL = ", against the metal: metal_vs_reference_v of the cell is added where there is one, V."


class SymmetricCycling(Cycling):
    """Cycle a cell with the metal on both electrodes, by charge, by time or by depth of discharge.

    The depth of discharge is a share of what the metal electrode holds at the start: its foil (by
    thickness) or what was deposited on it before. One electrode counts.
    """

    type: Literal["symmetric_cycling"] = "symmetric_cycling"
    current_density_ma_cm2: float = Field(gt=0, description="Of both half-cycles, mA/cm2.")
    capacity_mah_cm2: float | None = Field(
        default=None, gt=0, description="Charge of each half-cycle, mAh/cm2."
    )
    half_cycle_s: float | None = Field(
        default=None, gt=0, description="Or the length of each half-cycle, s."
    )
    depth_of_discharge_pct: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Or the share of the metal electrode's inventory that is cycled, %.",
    )
    cycles: int | None = Field(default=None, ge=1, description="Number of cycles.")
    total_h: float | None = Field(
        default=None,
        gt=0,
        description="Or the length of the test without rests and spectra, h: as many whole cycles "
        "as reach it.",
    )
    first: Role = Field(default="plate", description="The half-cycle that comes first.")
    stop_above_v: float | None = Field(
        default=None,
        gt=0,
        description="Stop the program where |E| of the metal electrode against the metal exceeds "
        "this, V: the polarisation has run away.",
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        exactly_one(self, "capacity_mah_cm2", "half_cycle_s", "depth_of_discharge_pct")
        exactly_one(self, "cycles", "total_h")
        return self

    def capacity_of(self, cell: Cell) -> float:
        """Return the charge of a half-cycle, mAh/cm2; raises UnsuitableCellError."""
        if self.capacity_mah_cm2 is not None:
            return self.capacity_mah_cm2
        if self.half_cycle_s is not None:
            return self.current_density_ma_cm2 * self.half_cycle_s / 3600
        assert self.depth_of_discharge_pct is not None  # one of the three is given
        inventory = cell.inventory_mah_cm2(cell.electrode)
        if not inventory:
            raise self._unsuitable(
                cell,
                "a depth of discharge needs to know how much metal there is: give thickness_um or "
                f"predeposited_mah_cm2 of the {cell.electrode.material} electrode in the cell file",
            )
        return self.depth_of_discharge_pct / 100 * inventory

    def program(self, cell: Cell) -> "Technique":
        """Return the cycles; each half-cycle ends by its charge, or its time."""
        self._need_metal_on_both(cell)
        capacity = self.capacity_of(cell)
        self._need_inventory(cell, capacity, plated_first=self.first == "plate")
        if self.half_cycle_s is None:
            ends = [charge(capacity)]
        else:
            ends = [Limit(quantity="time_s", value=self.half_cycle_s)]
        ends += self._stops(cell)
        density, until = self.current_density_ma_cm2, tuple(ends)
        cycles = self.cycles
        if cycles is None:
            assert self.total_h is not None  # one of the two is given
            cycle_h = 2 * capacity / density
            cycles = max(1, math.ceil(self.total_h / cycle_h * (1 - 1e-9)))
        return self._cycles(
            plate(density, until, self.record),
            strip(density, until, self.record),
            cycles,
            self.first,
        )

    def _stops(self, cell: Cell) -> list[Limit]:
        """Return what stops the program where the polarisation runs away."""
        bound = self.stop_above_v
        if bound is None:
            return []
        low, high = (self._from_metal(cell, x, "stop_above_v") for x in (-bound, bound))
        if -low == high:
            return [Limit(quantity="abs_potential_above_v", value=high, action="stop")]
        return [
            Limit(quantity="potential_below_v", value=low, action="stop"),
            Limit(quantity="potential_above_v", value=high, action="stop"),
        ]


class HalfCellCycling(Cycling):
    """Plate a fixed charge on a bare substrate and strip it to a cut-off: coulombic efficiency."""

    type: Literal["half_cell_cycling"] = "half_cell_cycling"
    current_density_ma_cm2: float = Field(gt=0, description="Plating, mA/cm2.")
    strip_current_density_ma_cm2: float | None = Field(
        default=None, gt=0, description="Stripping, mA/cm2; by default as plating."
    )
    capacity_mah_cm2: float = Field(gt=0, description="Charge of each plating, mAh/cm2.")
    cut_off_v: float = Field(
        default=0.5,
        description=f"Potential of the metal electrode at which a strip ends{_VS_METAL}",
    )
    cycles: int = Field(default=1, ge=1, description="Number of cycles.")
    overrun_pct: float = Field(default=OVERRUN_PCT, ge=0, description=_OVERRUN)

    def program(self, cell: Cell) -> "Technique":
        """Return the cycles."""
        self._need_half_cell(cell)
        self._need_inventory(cell, self.capacity_mah_cm2, plated_first=True)
        density = self.current_density_ma_cm2
        return self._cycles(
            plate(density, (charge(self.capacity_mah_cm2),), self.record),
            strip_to_cut_off(
                self.strip_current_density_ma_cm2 or density,
                self._above_metal(cell, self.cut_off_v, "cut_off_v"),
                self.capacity_mah_cm2,
                self.overrun_pct,
                self.record,
            ),
            self.cycles,
        )


class Formation(Experiment):
    """A formation: any technique, under that name, and left out of the means over cycles."""

    type: Literal["formation"] = "formation"
    step: "Technique" = Field(description="What the formation consists of.")

    def program(self, cell: Cell) -> "Technique":
        """Return the technique as a named part."""
        return Block(name="formation", in_means=False, step=self.step)


class RateCapability(Experiment):
    """Cycle at rising current densities, some cycles each, and once more at the first.

    On a symmetric cell both half-cycles end by charge or time; on a half cell the strips end at
    the cut-off. Each rate is a named part.
    """

    type: Literal["rate_capability"] = "rate_capability"
    current_densities_ma_cm2: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="In their order, mA/cm2."
    )
    cycles_each: int = Field(default=5, ge=1, description="Cycles at each.")
    capacity_mah_cm2: float | None = Field(
        default=None, gt=0, description="Charge of each half-cycle, mAh/cm2."
    )
    half_cycle_s: float | None = Field(
        default=None, gt=0, description="Or the length of each half-cycle, s; the charge rises."
    )
    return_to_first: bool = Field(
        default=True, description="Whether the first current density comes once more at the end."
    )
    cut_off_v: float = Field(default=0.5, description=f"End of strips on a half cell{_VS_METAL}")
    overrun_pct: float = Field(default=OVERRUN_PCT, ge=0, description=_OVERRUN)
    rest_s: float = Field(default=0.0, ge=0, description="Open circuit after each half-cycle, s.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        exactly_one(self, "capacity_mah_cm2", "half_cycle_s")
        return self

    def program(self, cell: Cell) -> "Technique":
        """Return one named part per rate."""
        densities = list(self.current_densities_ma_cm2)
        parts: list[Technique] = [
            Block(name=f"rate {density:g} mA/cm2", step=self._at(density, cell))
            for density in densities
        ]
        if self.return_to_first and len(densities) > 1:
            again = densities[0]
            parts.append(Block(name=f"rate {again:g} mA/cm2, again", step=self._at(again, cell)))
        return Sequence(steps=tuple(parts))

    def _at(self, density: float, cell: Cell) -> "Technique":
        by_time = self.half_cycle_s
        if cell.symmetric and not cell.full_cell:
            return SymmetricCycling(
                current_density_ma_cm2=density,
                capacity_mah_cm2=self.capacity_mah_cm2,
                half_cycle_s=by_time,
                cycles=self.cycles_each,
                rest_s=self.rest_s,
            ).program(cell)
        capacity = self.capacity_mah_cm2
        if by_time is not None:
            capacity = density * by_time / 3600
        assert capacity is not None  # one of the two is given
        self._need_half_cell(cell)
        return HalfCellCycling(
            current_density_ma_cm2=density,
            capacity_mah_cm2=capacity,
            cut_off_v=self.cut_off_v,
            cycles=self.cycles_each,
            overrun_pct=self.overrun_pct,
            rest_s=self.rest_s,
        ).program(cell)


class NucleationSeries(Experiment):
    """Plate on a bare substrate at several current densities: tip against plateau.

    Between two platings the metal is stripped to the cut-off. Rows come densely at first: ten at
    least within the charge of the tip. Only the very first plating meets an untouched substrate;
    for tips that are to be compared with a paper take a fresh cell for each current density.
    """

    type: Literal["nucleation_series"] = "nucleation_series"
    current_densities_ma_cm2: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="In their order, mA/cm2."
    )
    capacity_mah_cm2: float = Field(gt=0, description="Charge of each plating, mAh/cm2.")
    strip_current_density_ma_cm2: float | None = Field(
        default=None, gt=0, description="Stripping, mA/cm2; by default as plating."
    )
    cut_off_v: float = Field(default=0.5, description=f"Where strips end{_VS_METAL}")
    overrun_pct: float = Field(default=OVERRUN_PCT, ge=0, description=_OVERRUN)
    rest_s: float = Field(default=60.0, ge=0, description="Open circuit after each half-cycle, s.")
    dense_mah_cm2: float = Field(
        default=0.1,
        gt=0,
        description="Charge within which rows come densely, formation of the interphase "
        "included, mAh/cm2.",
    )

    def program(self, cell: Cell) -> "Technique":
        """Return one cycle per current density, each a named part."""
        self._need_half_cell(cell)
        self._need_inventory(cell, self.capacity_mah_cm2, plated_first=True)
        parts: list[Technique] = []
        for density in self.current_densities_ma_cm2:
            stripping = strip_to_cut_off(
                self.strip_current_density_ma_cm2 or density,
                self._above_metal(cell, self.cut_off_v, "cut_off_v"),
                self.capacity_mah_cm2,
                self.overrun_pct,
            )
            # 1 Hz at 0.5 mA/cm2 is a tenth of the charge of the narrowest tips that were published.
            dense = Recording(
                dt_s=30.0,
                de_v=0.002,
                edge_dt_s=min(1.0, 0.5 / density),
                edge_for_s=min(self.dense_mah_cm2, self.capacity_mah_cm2) / density * 3600,
            )
            cycle = PlateStripCycle(
                plate=plate(density, (charge(self.capacity_mah_cm2),), dense),
                strip=stripping,
                rest_s=self.rest_s,
            )
            parts.append(Block(name=f"nucleation {density:g} mA/cm2", step=cycle))
        return Sequence(steps=tuple(parts))


class ReservoirEfficiency(Experiment):
    """The average coulombic efficiency against a reservoir of metal (Aurbach; Adams 2018).

    Condition the substrate (plate, strip to the cut-off); plate the reservoir Q_T; strip and plate
    Q_C < Q_T n times; strip to the cut-off, which gives Q_S. CE = (n Q_C + Q_S) / (n Q_C + Q_T).
    A cut-off that is met within the n cycles stops the program: the number would mean nothing.
    """

    type: Literal["reservoir_efficiency"] = "reservoir_efficiency"
    current_density_ma_cm2: float = Field(gt=0, description="Of all half-cycles, mA/cm2.")
    reservoir_mah_cm2: float = Field(gt=0, description="Q_T, mAh/cm2.")
    cycled_mah_cm2: float = Field(gt=0, description="Q_C, mAh/cm2.")
    cycles: int = Field(default=10, ge=1, description="n.")
    conditioning_mah_cm2: float | None = Field(
        default=None,
        ge=0,
        description="Charge of the conditioning cycle, mAh/cm2; by default Q_T, 0: none.",
    )
    cut_off_v: float = Field(default=0.5, description=f"Where the metal is gone{_VS_METAL}")
    overrun_pct: float = Field(default=OVERRUN_PCT, ge=0, description=_OVERRUN)
    rest_s: float = Field(default=0.0, ge=0, description="Open circuit after each half-cycle, s.")
    record: Recording | None = Field(
        default=None, description="When rows are recorded; by default some 200 per half-cycle."
    )

    @model_validator(mode="after")
    def _a_reservoir_is_left(self) -> Self:
        if self.cycled_mah_cm2 >= self.reservoir_mah_cm2:
            raise ValueError(
                f"cycled_mah_cm2 (Q_C) {self.cycled_mah_cm2} is not below reservoir_mah_cm2 (Q_T) "
                f"{self.reservoir_mah_cm2}: the first strip would exhaust the reservoir"
            )
        return self

    def program(self, cell: Cell) -> "Technique":
        """Return the conditioning and the reservoir, each a named part of plate/strip cycles."""
        self._need_half_cell(cell)
        conditioning = self.conditioning_mah_cm2
        conditioning = self.reservoir_mah_cm2 if conditioning is None else conditioning
        self._need_inventory(cell, max(self.reservoir_mah_cm2, conditioning), plated_first=True)
        reservoir = Block(
            name="reservoir", in_means=False, step=Sequence(steps=tuple(self._cycles(cell)))
        )
        if not conditioning:
            return reservoir
        first = self._cycle(conditioning, self._to_cut_off(conditioning, cell))
        return Sequence(steps=(Block(name="conditioning", in_means=False, step=first), reservoir))

    def _cycles(self, cell: Cell) -> "list[Technique]":
        gone_v = self._above_metal(cell, self.cut_off_v, "cut_off_v")
        part = strip(
            self.current_density_ma_cm2,
            (
                charge(self.cycled_mah_cm2),
                Limit(quantity="potential_above_v", value=gone_v, action="stop"),
            ),
            self.record,
        )
        cycles: list[Technique] = [self._cycle(self.reservoir_mah_cm2, part)]
        if self.cycles > 1:
            cycles.append(self._cycle(self.cycled_mah_cm2, part, self.cycles - 1))
        last = self._to_cut_off(self.reservoir_mah_cm2, cell)
        return [*cycles, self._cycle(self.cycled_mah_cm2, last)]

    def _to_cut_off(self, available_mah_cm2: float, cell: Cell) -> GalvanostaticStep:
        return strip_to_cut_off(
            self.current_density_ma_cm2,
            self._above_metal(cell, self.cut_off_v, "cut_off_v"),
            available_mah_cm2,
            self.overrun_pct,
            self.record,
        )

    def _cycle(
        self, plated: float, stripping: GalvanostaticStep, cycles: int = 1
    ) -> PlateStripCycle:
        return PlateStripCycle(
            plate=plate(self.current_density_ma_cm2, (charge(plated),), self.record),
            strip=stripping,
            cycles=cycles,
            rest_s=self.rest_s,
        )


class Pulses(Experiment):
    """Current pulses with rests between them (GITT)."""

    type: Literal["pulses"] = "pulses"
    role: Role = Field(default="plate", description="What each pulse does: plate or strip.")
    current_density_ma_cm2: float = Field(gt=0, description="Of a pulse, mA/cm2.")
    pulse_s: float = Field(gt=0, description="Length of a pulse, s.")
    relax_s: float = Field(gt=0, description="Open circuit after each pulse, s.")
    pulses: int = Field(ge=1, description="How many.")
    end_v: float | None = Field(
        default=None,
        description="End the series early at this potential of the metal electrode against the "
        "metal, to which metal_vs_reference_v is added (in a full cell: at this voltage), V.",
    )

    def program(self, cell: Cell) -> "Technique":
        """Return the pulses; a potential of ``end_v`` leaves their loop."""
        total = self.current_density_ma_cm2 * self.pulse_s / 3600 * self.pulses
        plating = self.role == "plate"
        if not cell.full_cell:
            self._need_inventory(cell, total, plated_first=plating)
        ends = [Limit(quantity="time_s", value=self.pulse_s)]
        if self.end_v is not None:
            if cell.full_cell:
                self._need_full_cell(cell)
                value = -self.end_v
            else:
                told = self._from_metal if plating else self._above_metal
                value = told(cell, self.end_v, "end_v")
            quantity: Literal["potential_below_v", "potential_above_v"] = (
                "potential_below_v" if plating else "potential_above_v"
            )
            ends.append(Limit(quantity=quantity, value=value, action="end_loop"))
        make = plate if plating else strip
        pulse = make(self.current_density_ma_cm2, tuple(ends))
        return Repeat(times=self.pulses, step=Sequence(steps=(pulse, *rest(self.relax_s))))
