"""What is measured at an electrode that is not cycled: rests, spectra, sweeps, resistances."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from techniques.cell import Cell
from techniques.experiments._parts import SPECTRUM, SPECTRUM_TOLD, Experiment, charge, rest
from techniques.experiments.cycling import HalfCellCycling, SymmetricCycling
from techniques.limits import Limit
from techniques.programs import Block, Repeat, Sequence
from techniques.recording import Recording
from techniques.steps import (
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
)

if TYPE_CHECKING:
    from techniques.technique import Technique


class WettingRest(Experiment):
    """Let the electrolyte soak in at open circuit until the potential stands, or the time is up."""

    type: Literal["wetting_rest"] = "wetting_rest"
    duration_s: float = Field(default=6 * 3600.0, gt=0, description="Longest duration, s.")
    drift_below_v_s: float | None = Field(
        default=None, gt=0, description="End early when |dE/dt| falls below this, V/s."
    )
    drift_window_s: float = Field(
        default=600.0, gt=0, description="Window over which the drift is taken, s."
    )
    spectrum: ImpedanceSpectrum | None = Field(
        default=None, description="Measured at its end; none: no spectrum."
    )

    def program(self, cell: Cell) -> "Technique":
        """Return the rest, and the spectrum if there is one."""
        resting = OpenCircuit(
            duration_s=self.duration_s,
            drift_below_v_s=self.drift_below_v_s,
            drift_window_s=self.drift_window_s,
            record=Recording(dt_s=min(60.0, self.duration_s / 10), de_v=0.001),
        )
        if self.spectrum is None:
            return resting
        return Sequence(steps=(resting, self.spectrum))


class CorrosionRest(Experiment):
    """Leave the metal at open circuit for long while the gas is sampled: corrosion.

    How often the gas chromatograph injects is told by ``injection_s`` of the protocol's ``every``.
    """

    type: Literal["corrosion_rest"] = "corrosion_rest"
    duration_s: float = Field(gt=0, description="How long, s.")
    spectrum: ImpedanceSpectrum | None = Field(
        default=None, description="Measured again and again meanwhile; none: no spectra."
    )
    spectrum_every_s: float = Field(default=3600.0, gt=0, description="How often, s.")

    def program(self, cell: Cell) -> "Technique":
        """Return the rest, in parts where spectra come between."""
        if not any(cell.holds_metal(x) for x in (cell.electrode, cell.other_electrode)):
            raise self._unsuitable(cell, f"no electrode holds {cell.metal} that could corrode")
        rows = Recording(dt_s=60.0, de_v=0.001)
        if self.spectrum is None:
            return OpenCircuit(duration_s=self.duration_s, record=rows)
        times, left = divmod(self.duration_s, self.spectrum_every_s)
        parts: list[Technique] = [self.spectrum]
        if times:
            part = OpenCircuit(duration_s=self.spectrum_every_s, record=rows)
            parts.append(Repeat(times=int(times), step=Sequence(steps=(part, self.spectrum))))
        if left > 1.0:
            parts.append(OpenCircuit(duration_s=left, record=rows))
        return Sequence(steps=tuple(parts))


class ImpedanceSeries(Experiment):
    """Measure impedance fresh and after every n cycles.

    ``after_cycles``: at the end of whole cycles, and before the first: for electrodes with metal.
    ``after_plating``: in every n-th cycle after its first half-cycle, the first cycle included: for
    bare substrates, which are blocking when everything is stripped.
    """

    type: Literal["impedance_series"] = "impedance_series"
    cycling: Annotated[
        SymmetricCycling | HalfCellCycling | PlateStripCycle, Field(discriminator="type")
    ] = Field(description="What the cell is cycled with; its cycles are the total.")
    every_cycles: int = Field(default=1, ge=1, description="n.")
    at: Literal["after_cycles", "after_plating"] = "after_cycles"
    spectrum: ImpedanceSpectrum = Field(
        default=SPECTRUM, description=f"What is measured; {SPECTRUM_TOLD}"
    )
    pause_s: float = Field(
        default=60.0,
        ge=0,
        description="Open circuit before each spectrum, each as long, so that they compare, s.",
    )

    @model_validator(mode="after")
    def _spectra_come_from_here_only(self) -> Self:
        if self.cycling.between is not None:
            raise ValueError(
                "the cycling has a between step of its own: the spectra are told here, leave it out"
            )
        return self

    def program(self, cell: Cell) -> "Technique":
        """Return the cycles with the spectra among them."""
        told = self.cycling
        cycles = told if isinstance(told, PlateStripCycle) else told.program(cell)
        assert isinstance(cycles, PlateStripCycle)  # that is what both are
        if self.at == "after_plating":
            return cycles.model_copy(
                update={
                    "between": self.spectrum,
                    "between_every": self.every_cycles,
                    "rest_s": max(cycles.rest_s, self.pause_s),
                }
            )
        measured: tuple[Technique, ...] = (*rest(self.pause_s), self.spectrum)
        rounds, left = divmod(cycles.cycles, self.every_cycles)
        parts: list[Technique] = [*measured]
        if rounds:
            some = cycles.model_copy(update={"cycles": self.every_cycles})
            parts.append(Repeat(times=rounds, step=Sequence(steps=(some, *measured))))
        if left:
            parts.append(cycles.model_copy(update={"cycles": left}))
        return Sequence(steps=tuple(parts))


class Tafel(Experiment):
    """Sweep through the open circuit potential after a rest and a spectrum (series resistance).

    The sweep runs uncorrected. Where ``correct_series_resistance`` asks for it, the analysis takes
    i R_s, with R_s of the spectrum, off the potential: for the exchange current density at small
    overpotentials, Tafel's lines and transfer coefficients, and says so.
    """

    type: Literal["tafel"] = "tafel"
    rest_s: float = Field(default=1800.0, gt=0, description="Longest rest before, s.")
    drift_below_v_s: float | None = Field(
        default=1e-6, gt=0, description="End the rest early below this drift, V/s."
    )
    spectrum: ImpedanceSpectrum = Field(
        default=SPECTRUM, description=f"What is measured; {SPECTRUM_TOLD}"
    )
    begin_v: float = Field(default=-0.15, description="Against open circuit, V.")
    end_v: float = Field(default=0.15, description="Against open circuit, V.")
    scan_rate_v_s: float = Field(default=1e-3, gt=0, description="Scan rate, V/s.")
    step_v: float | None = Field(default=None, gt=0, description="Potential between two rows, V.")
    correct_series_resistance: bool = Field(
        default=False,
        description="Whether j0, Tafel slopes and transfer coefficients are told without i R_s.",
    )
    fit_window_v: tuple[float, float] = Field(
        default=(0.060, 0.110), description="|eta| between which Tafel's lines are fitted, V."
    )

    @model_validator(mode="after")
    def _a_window_has_a_width(self) -> Self:
        low, high = self.fit_window_v
        if not 0 < low < high:
            raise ValueError(
                f"fit_window_v is [{low:g}, {high:g}] V: two overpotentials above 0, the lower "
                "first; the cathodic line takes the same with the other sign"
            )
        return self

    def program(self, cell: Cell) -> "Technique":
        """Return rest, spectrum and sweep."""
        if not cell.holds_metal(cell.electrode):
            raise self._unsuitable(
                cell,
                f"the {cell.electrode.material} electrode holds no {cell.metal}, so half of the "
                "sweep would dissolve what is not there: deposit some before "
                "(predeposited_mah_cm2), or sweep cathodically with linear_sweep",
            )
        resting = OpenCircuit(
            duration_s=self.rest_s,
            drift_below_v_s=self.drift_below_v_s,
            drift_window_s=min(300.0, self.rest_s / 2),
        )
        sweep = LinearSweep(
            begin_v=self.begin_v,
            end_v=self.end_v,
            versus="open_circuit",
            scan_rate_v_s=self.scan_rate_v_s,
            step_v=self.step_v,
        )
        return Sequence(steps=(resting, self.spectrum, sweep))


class Voltammetry(Experiment):
    """Cyclic voltammetry at several scan rates, each after a rest.

    In a full cell the potentials are cell voltages: cathode against anode.
    """

    type: Literal["voltammetry"] = "voltammetry"
    scan_rates_v_s: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="In their order, V/s."
    )
    begin_v: float = Field(description="Where each scan begins and ends, V.")
    vertex1_v: float = Field(description="Where the potential turns first, V.")
    vertex2_v: float = Field(description="Where it turns again, V; it may be begin_v.")
    scans: int = Field(default=3, ge=1, description="Scans at each rate.")
    rest_s: float = Field(default=60.0, ge=0, description="Open circuit before each rate, s.")
    step_v: float | None = Field(default=None, gt=0, description="Potential between two rows, V.")
    until: tuple[Limit, ...] = Field(
        default=(),
        description="What ends the scans of a rate early: a current, a charge; by default in a "
        "full cell a quarter more than its nominal capacity there and back in every scan.",
    )

    def program(self, cell: Cell) -> "Technique":
        """Return a rest and the scans per rate, each a named part."""
        if cell.full_cell:
            self._need_full_cell(cell)
        sign = -1 if cell.full_cell else 1
        until = self.until
        nominal = cell.nominal_capacity_mah_cm2
        if not until and nominal is not None:
            until = (charge(2 * 1.25 * nominal * self.scans, "stop"),)
        parts: list[Technique] = []
        for rate in self.scan_rates_v_s:
            scans = CyclicVoltammetry(
                begin_v=sign * self.begin_v,
                vertex1_v=sign * self.vertex1_v,
                vertex2_v=sign * self.vertex2_v,
                scan_rate_v_s=rate,
                scans=self.scans,
                step_v=self.step_v,
                until=until,
            )
            parts.append(
                Block(name=f"{rate * 1e3:g} mV/s", step=Sequence(steps=(*rest(self.rest_s), scans)))
            )
        return Sequence(steps=tuple(parts))


class Transference(Experiment):
    """The transference number after Bruce and Vincent: spectrum, small step, spectrum.

    The current is recorded densely at first, for its initial value, and until it stands.
    """

    type: Literal["transference"] = "transference"
    polarisation_v: float = Field(
        default=0.010, gt=0, le=0.05, description="Step against open circuit, V."
    )
    hold_s: float = Field(default=3600.0, gt=0, description="How long, s.")
    current_max_ma_cm2: float = Field(
        default=5.0, gt=0, description="A larger current stops the program: the cell is shorted."
    )
    rest_s: float = Field(default=600.0, gt=0, description="Open circuit before, s.")
    spectrum: ImpedanceSpectrum = Field(
        default=SPECTRUM, description=f"What is measured; {SPECTRUM_TOLD}"
    )

    def program(self, cell: Cell) -> "Technique":
        """Return rest, spectrum, step and spectrum."""
        self._need_metal_on_both(cell)
        hold = PotentiostaticStep(
            potential_v=self.polarisation_v,
            versus="open_circuit",
            until=(
                Limit(quantity="time_s", value=self.hold_s),
                Limit(
                    quantity="abs_current_above_ma_cm2",
                    value=self.current_max_ma_cm2,
                    action="stop",
                ),
            ),
            record=Recording(
                dt_s=min(30.0, self.hold_s / 20),
                edge_dt_s=min(0.1, self.hold_s / 100),
                edge_for_s=min(30.0, self.hold_s / 10),
            ),
        )
        return Sequence(
            steps=(OpenCircuit(duration_s=self.rest_s), self.spectrum, hold, self.spectrum)
        )


class CurrentInterrupt(Experiment):
    """The series resistance by interrupting a current: what the potential jumps by at once.

    Each interrupt is a short plating pulse and the rest after it; where both electrodes hold metal
    a strip of the same charge follows. Rows come as densely as asked around the edges. The
    resistance is stored and never applied to anything.
    """

    type: Literal["current_interrupt"] = "current_interrupt"
    current_density_ma_cm2: float = Field(gt=0, description="Of the pulses, mA/cm2.")
    pulse_s: float = Field(default=1.0, gt=0, description="Length of a pulse, s.")
    relax_s: float = Field(default=10.0, gt=0, description="Open circuit after each, s.")
    interrupts: int = Field(default=5, ge=1, description="How many of each direction.")
    row_s: float = Field(
        default=0.01, ge=0.001, description="Row interval in the pulses and just after them, s."
    )

    def program(self, cell: Cell) -> "Technique":
        """Return the pulses and their rests."""
        if self.row_s > self.pulse_s / 10:
            raise self._unsuitable(
                cell,
                f"rows each {self.row_s:g} s do not resolve pulses of {self.pulse_s:g} s: "
                "row_s must be a tenth of pulse_s at most",
            )
        dense = Recording(
            dt_s=self.row_s, edge_dt_s=self.row_s, edge_for_s=min(self.relax_s, 100 * self.row_s)
        )
        relaxing = OpenCircuit(
            duration_s=self.relax_s,
            record=dense.model_copy(update={"dt_s": max(self.row_s, min(1.0, self.relax_s / 20))}),
        )
        directions = (-1, 1) if cell.symmetric else (-1,)
        steps: list[Technique] = []
        for direction in directions:
            pulse = GalvanostaticStep(
                current_density_ma_cm2=direction * self.current_density_ma_cm2,
                until=(Limit(quantity="time_s", value=self.pulse_s),),
                record=dense,
            )
            steps += [pulse, relaxing]
        return Repeat(times=self.interrupts, step=Sequence(steps=tuple(steps)))


class DummyCellRanges(Experiment):
    """Both directions of one current per range of the instrument, and a spectrum, on a dummy cell.

    A dummy cell has known resistances: current, potential, charge and impedance are checked against
    them. Give the currents at 50 to 90 % of each range.
    """

    type: Literal["dummy_cell_ranges"] = "dummy_cell_ranges"
    currents_a: tuple[PositiveFloat, ...] = Field(min_length=1, description="One per range, A.")
    step_s: float = Field(default=20.0, gt=0, description="Of each direction, s.")
    relax_s: float = Field(default=5.0, gt=0, description="Open circuit after each, s.")
    spectrum: ImpedanceSpectrum | None = Field(
        default=SPECTRUM, description=f"At the end; null: none; {SPECTRUM_TOLD}"
    )

    def program(self, cell: Cell) -> "Technique":
        """Return one named part per current, and the spectrum."""
        if cell.dummy is None:
            raise self._unsuitable(
                cell,
                "it would plate and strip metal: it is for a dummy cell, whose cell file says what "
                "it is made of (dummy)",
            )
        parts: list[Technique] = []
        for current_a in self.currents_a:
            steps: list[Technique] = []
            for direction in (-1, 1):
                steps += [
                    GalvanostaticStep(
                        current_density_ma_cm2=direction * current_a * 1e3 / cell.area_cm2,
                        until=(Limit(quantity="time_s", value=self.step_s),),
                        record=Recording(
                            dt_s=min(0.5, self.step_s / 20), edge_dt_s=min(0.1, self.step_s / 20)
                        ),
                    ),
                    *rest(self.relax_s),
                ]
            parts.append(Block(name=f"{current_a:g} A", step=Sequence(steps=tuple(steps))))
        if self.spectrum is not None:
            parts.append(Block(name="impedance", step=self.spectrum))
        return Sequence(steps=tuple(parts))
