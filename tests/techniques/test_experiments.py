"""Experiments: what is told as in a paper becomes what it says, on the cell it is for."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from techniques import (
    Assignment,
    Block,
    Cell,
    CorrosionRest,
    CurrentInterrupt,
    CyclicVoltammetry,
    DummyCellRanges,
    Electrode,
    Electrolyte,
    ElementaryStep,
    Formation,
    FullCellCycling,
    GalvanostaticStep,
    HalfCellCycling,
    ImpedanceSeries,
    ImpedanceSpectrum,
    LinearSweep,
    NucleationSeries,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Pulses,
    RateCapability,
    Repeat,
    ReservoirEfficiency,
    SafetyLimits,
    Sequence,
    SymmetricCycling,
    Tafel,
    Technique,
    Transference,
    UnsuitableCellError,
    Voltammetry,
    WettingRest,
    for_cell,
    named_blocks,
)
from techniques.metals import METALS, foil_capacity_mah_cm2

ADAPTER: TypeAdapter[Technique] = TypeAdapter(Technique)
SPECTRUM = ImpedanceSpectrum(amplitude_rms_v=0.005)
ZINC = Electrode(material="Zn", metal="Zn", area_cm2=1.131, thickness_um=100)
SODIUM = Electrode(material="Na", metal="Na", area_cm2=1.131, thickness_um=450)
PLATED = Electrode(material="Zn@Ag", area_cm2=1.131, predeposited_mah_cm2=2.0)
CATHODE = Electrode(
    material="Prussian blue", area_cm2=1.131, active_mass_mg=10.0, specific_capacity_mah_g=150.0
)


def cell(metal: str, working: Electrode, counter: Electrode, **more: Any) -> Cell:
    return Cell(
        cell_id="TEST",
        metal=metal,  # type: ignore[arg-type]
        working_electrode=working,
        counter_electrode=counter,
        electrolyte=Electrolyte(composition="salt in solvent"),
        **more,
    )


SYMMETRIC = cell("Zn", ZINC, ZINC)
HALF = cell("Zn", Electrode(material="Cu", area_cm2=1.131), ZINC)
PREDEPOSITED = cell("Na", PLATED, PLATED)
ANODE_FREE = cell("Na", CATHODE, Electrode(material="Zn@Ag", area_cm2=1.131), metal_electrode="CE")
ANODE_LESS = cell("Na", CATHODE, PLATED, metal_electrode="CE")
DUMMY = cell(
    "Zn",
    Electrode(material="resistor", area_cm2=1.0),
    Electrode(material="resistor", area_cm2=1.0),
    dummy="R 1000 ohm",
)

FITTING: list[tuple[Any, Cell]] = [
    (WettingRest(duration_s=3600, drift_below_v_s=1e-6, spectrum=SPECTRUM), HALF),
    (Formation(step=HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=1)), HALF),
    (SymmetricCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=3), SYMMETRIC),
    (SymmetricCycling(current_density_ma_cm2=1, half_cycle_s=60, total_h=1), SYMMETRIC),
    (
        SymmetricCycling(current_density_ma_cm2=0.5, depth_of_discharge_pct=75, cycles=3),
        PREDEPOSITED,
    ),
    (HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=3), HALF),
    (
        ReservoirEfficiency(
            current_density_ma_cm2=1, reservoir_mah_cm2=5, cycled_mah_cm2=1, cycles=9
        ),
        HALF,
    ),
    (NucleationSeries(current_densities_ma_cm2=(0.5, 1, 5), capacity_mah_cm2=1), HALF),
    (RateCapability(current_densities_ma_cm2=(0.5, 1), half_cycle_s=600), SYMMETRIC),
    (RateCapability(current_densities_ma_cm2=(0.5, 1), capacity_mah_cm2=1), HALF),
    (
        ImpedanceSeries(
            cycling=SymmetricCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=7),
            every_cycles=3,
        ),
        SYMMETRIC,
    ),
    (Tafel(), SYMMETRIC),
    (
        Voltammetry(
            scan_rates_v_s=(1e-4, 1e-3), begin_v=2.4, vertex1_v=3.7, vertex2_v=2.4, scans=2
        ),
        ANODE_LESS,
    ),
    (Transference(), SYMMETRIC),
    (Pulses(current_density_ma_cm2=1, pulse_s=60, relax_s=600, pulses=5, end_v=-0.5), HALF),
    (FullCellCycling(charge_to_v=3.7, discharge_to_v=2.4, current_ma_g=50, cycles=5), ANODE_FREE),
    (CorrosionRest(duration_s=9000, spectrum=SPECTRUM), SYMMETRIC),
    (CurrentInterrupt(current_density_ma_cm2=1), SYMMETRIC),
    (DummyCellRanges(currents_a=(1e-5, 1e-3)), DUMMY),
]
NAMES = [f"{experiment.type} on {a_cell.electrode.material}" for experiment, a_cell in FITTING]


def run(technique: Technique) -> Iterator[ElementaryStep]:
    """Yield the elementary steps in the order in which they run, loops unfolded."""
    match technique:
        case Sequence():
            for step in technique.steps:
                yield from run(step)
        case Repeat():
            for _ in range(technique.times):
                yield from run(technique.step)
        case Block():
            yield from run(technique.step)
        case PlateStripCycle():
            for number in range(1, technique.cycles + 1):
                first, second = technique.halves
                yield first
                if technique.rest_s:
                    yield OpenCircuit(duration_s=technique.rest_s)
                wait = number - technique.between_first
                if technique.between is not None and wait >= 0:
                    if wait % technique.between_every == 0:
                        yield technique.between
                yield second
                if technique.rest_s:
                    yield OpenCircuit(duration_s=technique.rest_s)
        case _:
            assert isinstance(technique, ElementaryStep)
            yield technique


def charge(step: ElementaryStep) -> float:
    assert isinstance(step, GalvanostaticStep)
    return abs(step.current_density_ma_cm2) * step.expected_s / 3600


def halves(technique: Technique, role: str) -> list[GalvanostaticStep]:
    return [x for x in run(technique) if isinstance(x, GalvanostaticStep) and x.role == role]


def balance(technique: Technique) -> float:
    """Return the charge that all galvanostatic steps leave behind, mAh/cm2: plated is positive."""
    return sum(
        -x.signed_current_density_ma_cm2 * x.expected_s / 3600
        for x in run(technique)
        if isinstance(x, GalvanostaticStep)
    )


# -- every experiment


@pytest.mark.parametrize(("experiment", "a_cell"), FITTING, ids=NAMES)
def test_an_experiment_is_the_same_after_a_journey_through_json(
    experiment: Any, a_cell: Cell
) -> None:
    stored = json.loads(json.dumps(experiment.model_dump(mode="json")))
    assert ADAPTER.validate_python(stored) == experiment


@pytest.mark.parametrize(("experiment", "a_cell"), FITTING, ids=NAMES)
def test_a_program_is_made_of_what_an_instrument_runs_and_resolves_to_itself(
    experiment: Any, a_cell: Cell
) -> None:
    program = for_cell(experiment, a_cell)
    assert all(isinstance(step, ElementaryStep) for step in run(program))
    assert for_cell(program, a_cell) == program
    assert ADAPTER.validate_python(program.model_dump(mode="json")) == program
    assignment = Assignment(
        technique=program,
        area_cm2=a_cell.area_cm2,
        metal_electrode=a_cell.metal_electrode,
        limits=SafetyLimits(
            potential_min_v=-4.0, potential_max_v=4.0, current_max_a=0.02, charge_max_mah_cm2=60
        ),
    )
    assert assignment.violations() == []


def test_an_assignment_of_an_experiment_says_that_a_cell_must_make_it_a_program() -> None:
    experiment = Sequence(
        steps=(
            Repeat(
                times=2,
                step=SymmetricCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=1),
            ),
        )
    )
    with pytest.raises(ValidationError, match=r"symmetric_cycling is no program yet.*for_cell"):
        Assignment(technique=experiment, area_cm2=1.0)


def test_experiments_are_found_wherever_they_stand() -> None:
    inner = HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=2)
    outer = Sequence(steps=(Formation(step=Repeat(times=2, step=inner)), inner))
    (formation, cycling) = for_cell(outer, HALF).steps  # type: ignore[union-attr]
    assert formation == Block(
        name="formation", in_means=False, step=Repeat(times=2, step=inner.program(HALF))
    )
    assert cycling == inner.program(HALF)
    (first,) = named_blocks(for_cell(outer, HALF))
    assert (first.name, first.in_means) == ("formation", False)
    assert (first.first_cycle, first.last_cycle) == (1, 4)
    assert (first.first_half_cycle, first.last_half_cycle) == (1, 8)


# -- charges and times are what was told

density = st.floats(0.05, 20)
capacity = st.floats(0.02, 5)
counts = st.integers(1, 50)


@given(density, capacity, counts, st.sampled_from(["plate", "strip"]))
def test_symmetric_cycling_moves_its_charge_in_every_half_cycle(
    j: float, q: float, n: int, first: Any
) -> None:
    told = SymmetricCycling(current_density_ma_cm2=j, capacity_mah_cm2=q, cycles=n, first=first)
    program = for_cell(told, SYMMETRIC)
    steps = list(run(program))
    assert len(steps) == 2 * n
    assert [charge(step) for step in steps] == pytest.approx([q] * 2 * n)
    assert balance(program) == pytest.approx(0, abs=1e-9 * n)
    assert isinstance(steps[0], GalvanostaticStep)
    assert steps[0].role == first


@given(density, st.floats(1, 7200), st.floats(0.1, 500))
def test_symmetric_cycling_by_time_lasts_as_long_as_it_is_told(
    j: float, half_s: float, total_h: float
) -> None:
    told = SymmetricCycling(current_density_ma_cm2=j, half_cycle_s=half_s, total_h=total_h)
    if j * half_s / 3600 > 58:
        return
    program = told.program(SYMMETRIC)
    assert isinstance(program, PlateStripCycle)
    assert program.plate.expected_s == pytest.approx(half_s)
    lasts_h = program.cycles * 2 * half_s / 3600
    assert total_h * (1 - 1e-6) <= lasts_h < total_h + 2 * half_s / 3600 * 1.0001


@given(st.floats(1, 100), st.floats(5, 500))
def test_a_depth_of_discharge_is_a_share_of_the_foil(percent: float, thickness_um: float) -> None:
    foil = ZINC.model_copy(update={"thickness_um": thickness_um})
    told = SymmetricCycling(current_density_ma_cm2=1, depth_of_discharge_pct=percent, cycles=1)
    expected = percent / 100 * foil_capacity_mah_cm2(thickness_um, METALS["Zn"])
    plated, stripped = run(for_cell(told, cell("Zn", foil, foil)))
    assert charge(plated) == charge(stripped) == pytest.approx(expected)


def test_three_quarters_of_two_predeposited_milliampere_hours_are_one_and_a_half() -> None:
    told = SymmetricCycling(current_density_ma_cm2=0.5, depth_of_discharge_pct=75, cycles=1)
    assert told.capacity_of(PREDEPOSITED) == pytest.approx(1.5)


@given(density, capacity, counts, st.floats(0, 50))
def test_a_half_cells_strips_can_take_little_more_than_was_plated(
    j: float, q: float, n: int, overrun: float
) -> None:
    told = HalfCellCycling(
        current_density_ma_cm2=j, capacity_mah_cm2=q, cycles=n, overrun_pct=overrun
    )
    program = told.program(HALF)
    assert [charge(x) for x in halves(program, "plate")] == pytest.approx([q] * n)
    for step in halves(program, "strip"):
        assert charge(step) == pytest.approx(q * (1 + overrun / 100))
        ends = {limit.quantity: limit.action for limit in step.until}
        assert ends == {"potential_above_v": "next", "charge_mah_cm2": "stop"}


@given(density, st.floats(0.5, 10), st.floats(0.01, 0.99), counts)
def test_a_reservoir_is_cycled_in_part_and_stripped_in_full(
    j: float, reservoir: float, share: float, n: int
) -> None:
    cycled = share * reservoir
    told = ReservoirEfficiency(
        current_density_ma_cm2=j, reservoir_mah_cm2=reservoir, cycled_mah_cm2=cycled, cycles=n
    )
    program = told.program(HALF)
    plated = [charge(x) for x in halves(program, "plate")]
    stripped = [charge(x) for x in halves(program, "strip")]
    assert plated == pytest.approx([reservoir, reservoir] + n * [cycled])
    assert stripped[1:-1] == pytest.approx(n * [cycled])
    assert stripped[-1] == pytest.approx(1.05 * reservoir)
    # The cut-off ends the last strip, and the whole program before it.
    actions = [
        {x.quantity: x.action for x in step.until}["potential_above_v"]
        for step in halves(program, "strip")
    ]
    assert actions == ["next", *n * ["stop"], "next"]
    conditioning, kept = named_blocks(program)
    assert (conditioning.name, conditioning.last_cycle) == ("conditioning", 1)
    assert (kept.name, kept.first_cycle, kept.last_cycle) == ("reservoir", 2, n + 2)
    assert not conditioning.in_means
    assert not kept.in_means


def test_a_reservoir_returns_the_number_of_its_published_example() -> None:
    # Q_T = 5, Q_C = 1, n = 9, Q_S = 4.80: 0.98571.
    told = ReservoirEfficiency(
        current_density_ma_cm2=1,
        reservoir_mah_cm2=5,
        cycled_mah_cm2=1,
        cycles=9,
        conditioning_mah_cm2=0,
    )
    program = told.program(HALF)
    stripped = [charge(x) for x in halves(program, "strip")][:-1]
    plated = sum(charge(x) for x in halves(program, "plate"))
    assert (sum(stripped) + 4.80) / plated == pytest.approx(0.98571, abs=1e-5)


@given(st.lists(density, min_size=1, max_size=6), st.floats(10, 3600), st.integers(1, 5))
def test_every_rate_is_a_part_of_its_own_with_its_name(
    densities: list[float], half_s: float, each: int
) -> None:
    told = RateCapability(
        current_densities_ma_cm2=tuple(densities), half_cycle_s=half_s, cycles_each=each
    )
    program = told.program(SYMMETRIC)
    rates = [*densities, *densities[:1]] if len(densities) > 1 else densities
    parts = named_blocks(program)
    assert [part.name.split(",")[0] for part in parts] == [f"rate {j:g} mA/cm2" for j in rates]
    assert [part.last_cycle - part.first_cycle + 1 for part in parts] == [each] * len(rates)
    found = [charge(x) for x in halves(program, "plate")]
    assert found == pytest.approx([j * half_s / 3600 for j in rates for _ in range(each)])


@given(st.lists(density, min_size=1, max_size=4), capacity)
def test_a_nucleation_has_ten_rows_within_the_charge_of_a_narrow_tip(
    densities: list[float], q: float
) -> None:
    told = NucleationSeries(current_densities_ma_cm2=tuple(densities), capacity_mah_cm2=q)
    plated = halves(told.program(HALF), "plate")
    assert [step.current_density_ma_cm2 for step in plated] == densities
    for step in plated:
        per_row = step.current_density_ma_cm2 * step.record.edge_dt_s / 3600
        assert per_row <= 0.5 / 3600 * 1.0000001
        dense = step.current_density_ma_cm2 * step.record.edge_for_s / 3600
        assert dense == pytest.approx(min(q, 0.1))


@given(counts, st.integers(1, 60))
def test_spectra_come_fresh_and_after_every_nth_cycle(cycles: int, every: int) -> None:
    told = ImpedanceSeries(
        cycling=SymmetricCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=cycles),
        every_cycles=every,
    )
    strips, at = 0, []
    for step in run(told.program(SYMMETRIC)):
        strips += isinstance(step, GalvanostaticStep) and step.role == "strip"
        if isinstance(step, ImpedanceSpectrum):
            at.append(strips)
    assert at == list(range(0, cycles + 1, every))
    assert strips == cycles


@given(counts, st.integers(1, 60))
def test_spectra_of_plated_substrates_come_in_the_first_and_every_nth_cycle(
    cycles: int, every: int
) -> None:
    told = ImpedanceSeries(
        cycling=HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=cycles),
        every_cycles=every,
        at="after_plating",
    )
    plates, at = 0, []
    for step in run(told.program(HALF)):
        plates += isinstance(step, GalvanostaticStep) and step.role == "plate"
        if isinstance(step, ImpedanceSpectrum):
            at.append(plates)
    assert at == list(range(1, cycles + 1, every))


@given(st.floats(60, 1e6), st.floats(60, 1e5))
@settings(max_examples=50)
def test_a_corrosion_rest_lasts_as_long_as_told_between_its_spectra(
    duration_s: float, every_s: float
) -> None:
    if duration_s / every_s > 200:
        return
    told = CorrosionRest(duration_s=duration_s, spectrum=SPECTRUM, spectrum_every_s=every_s)
    rested = sum(x.duration_s for x in run(told.program(SYMMETRIC)) if isinstance(x, OpenCircuit))
    assert rested == pytest.approx(duration_s, abs=1.0)


@given(density, st.floats(1, 600), counts)
def test_pulses_pass_their_charge_one_by_one(j: float, pulse_s: float, n: int) -> None:
    told = Pulses(current_density_ma_cm2=j, pulse_s=pulse_s, relax_s=60, pulses=n)
    if j * pulse_s * n / 3600 > 58:
        with pytest.raises(UnsuitableCellError, match="would be moved"):
            told.program(HALF)
        return
    program = told.program(HALF)
    assert len(halves(program, "plate")) == n
    assert balance(program) == pytest.approx(j * pulse_s * n / 3600)


def test_the_pulses_that_interrupt_a_current_leave_a_symmetric_cell_as_it_was() -> None:
    told = CurrentInterrupt(current_density_ma_cm2=2, pulse_s=1, interrupts=7)
    assert balance(told.program(SYMMETRIC)) == pytest.approx(0)
    # A bare substrate has nothing to strip: only plating pulses there.
    assert balance(told.program(HALF)) == pytest.approx(2 * 7 / 3600)


# -- full cells: voltages of the cell, potentials of the anode


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"c_rate": 0.5}, 0.5 * 1.5 / 1.131),
        ({"current_ma_g": 50.0}, 50.0 * 0.010 / 1.131),
        ({"current_density_ma_cm2": 0.7}, 0.7),
    ],
)
def test_the_current_of_a_full_cell_is_told_in_three_ways(
    told: dict[str, float], expected: float
) -> None:
    cycling = FullCellCycling(charge_to_v=3.7, discharge_to_v=2.4, cycles=4, **told)
    program = cycling.program(ANODE_FREE)
    assert isinstance(program, PlateStripCycle)
    assert program.plate.current_density_ma_cm2 == pytest.approx(expected)
    assert program.cycles == 4
    # 150 mAh/g of 10 mg are 1.5 mAh; what exceeds it by a quarter stops the program.
    assert charge(program.plate) == charge(program.strip) == pytest.approx(1.25 * 1.5 / 1.131)
    assignment = Assignment(
        technique=program,
        area_cm2=1.131,
        metal_electrode="CE",
        limits=SafetyLimits(potential_min_v=2.0, potential_max_v=3.8, charge_max_mah_cm2=3),
    )
    # The cathode on the working electrode: the cell is charged at 3.7 V, by a positive current.
    assert assignment.violations() == []
    assert assignment.current_a(program.plate) == pytest.approx(expected * 1.131e-3)
    assert assignment.mirror * program.plate.until[0].value == pytest.approx(3.7)


def test_voltammetry_of_a_full_cell_is_told_in_cell_voltages() -> None:
    told = Voltammetry(scan_rates_v_s=(1e-4,), begin_v=2.4, vertex1_v=3.7, vertex2_v=2.4)
    (scans,) = [x for x in run(told.program(ANODE_LESS)) if isinstance(x, CyclicVoltammetry)]
    assert (scans.begin_v, scans.vertex1_v, scans.vertex2_v) == (-2.4, -3.7, -2.4)
    (metal,) = [x for x in run(told.program(SYMMETRIC)) if isinstance(x, CyclicVoltammetry)]
    assert (metal.begin_v, metal.vertex1_v, metal.vertex2_v) == (2.4, 3.7, 2.4)


def test_a_tafel_sweep_follows_a_rest_and_the_spectrum_that_gives_the_series_resistance() -> None:
    resting, spectrum, sweep = run(Tafel().program(SYMMETRIC))
    assert isinstance(resting, OpenCircuit)
    assert isinstance(spectrum, ImpedanceSpectrum)
    assert isinstance(sweep, LinearSweep)
    assert (sweep.begin_v, sweep.end_v, sweep.versus) == (-0.15, 0.15, "open_circuit")


def test_a_transference_number_needs_spectra_on_both_sides_of_its_step() -> None:
    _, before, hold, after = run(Transference(hold_s=1800).program(SYMMETRIC))
    assert before == after
    assert isinstance(hold, PotentiostaticStep)
    assert (hold.potential_v, hold.versus, hold.expected_s) == (0.010, "open_circuit", 1800)


def test_a_dummy_cell_passes_both_directions_of_each_current() -> None:
    program = DummyCellRanges(currents_a=(1e-5, 1e-3)).program(DUMMY)
    currents = [
        x.current_density_ma_cm2 * DUMMY.area_cm2 * 1e-3
        for x in run(program)
        if isinstance(x, GalvanostaticStep)
    ]
    assert currents == pytest.approx([-1e-5, 1e-5, -1e-3, 1e-3])


# -- cells they make no sense on

REFUSED: list[tuple[Any, Cell, str]] = [
    (
        SymmetricCycling(current_density_ma_cm2=1, capacity_mah_cm2=1, cycles=1),
        HALF,
        r"symmetric_cycling cannot be run on cell 'TEST': it needs Zn on both electrodes, and the "
        r"working electrode \(Cu\) has none.*half_cell_cycling",
    ),
    (
        HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=1),
        SYMMETRIC,
        "the Zn electrode holds Zn from the start: use symmetric_cycling",
    ),
    (
        HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=1),
        cell("Zn", Electrode(material="Cu", area_cm2=1), Electrode(material="Ti", area_cm2=1)),
        "no electrode holds Zn",
    ),
    (
        SymmetricCycling(current_density_ma_cm2=1, depth_of_discharge_pct=50, cycles=1),
        cell("Zn", ZINC.model_copy(update={"thickness_um": None}), ZINC),
        "needs to know how much metal there is: give thickness_um or predeposited_mah_cm2",
    ),
    (
        SymmetricCycling(current_density_ma_cm2=1, capacity_mah_cm2=2.1, cycles=1),
        PREDEPOSITED,
        "2.1 mAh/cm2 would be moved, and the Zn@Ag electrode it comes from holds 2 mAh/cm2",
    ),
    (
        HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=60),
        HALF,
        "60 mAh/cm2 would be moved, and the Zn electrode it comes from holds 58.5",
    ),
    (
        HalfCellCycling(current_density_ma_cm2=1, capacity_mah_cm2=1),
        ANODE_FREE,
        r"stands a cathode \(Prussian blue\): use full_cell_cycling",
    ),
    (
        FullCellCycling(charge_to_v=3.7, discharge_to_v=2.4, c_rate=1),
        HALF,
        "stands no cathode: give active_mass_mg and specific_capacity_mah_g",
    ),
    (
        FullCellCycling(charge_to_v=3.7, discharge_to_v=2.4, c_rate=1),
        ANODE_FREE.model_copy(update={"reference_electrode": "Na wire"}),
        r"measured against the reference \(Na wire\)",
    ),
    (
        FullCellCycling(charge_to_v=3.7, discharge_to_v=2.4, c_rate=1),
        cell(
            "Na", CATHODE.model_copy(update={"active_mass_mg": None}), PLATED, metal_electrode="CE"
        ),
        "needs the nominal capacity",
    ),
    (Tafel(), HALF, "the Cu electrode holds no Zn"),
    (Transference(), HALF, "it needs Zn on both electrodes"),
    (DummyCellRanges(currents_a=(1e-3,)), SYMMETRIC, "it is for a dummy cell"),
    (
        CorrosionRest(duration_s=100),
        cell("Zn", Electrode(material="Cu", area_cm2=1), Electrode(material="Ti", area_cm2=1)),
        "no electrode holds Zn that could corrode",
    ),
    (
        CurrentInterrupt(current_density_ma_cm2=1, pulse_s=0.05),
        SYMMETRIC,
        "row_s must be a tenth of pulse_s",
    ),
    (
        Pulses(role="strip", current_density_ma_cm2=1, pulse_s=60, relax_s=60, pulses=5),
        HALF,
        "the Cu electrode it comes from holds 0 mAh/cm2",
    ),
]


@pytest.mark.parametrize(
    ("experiment", "a_cell", "words"), REFUSED, ids=[x[0].type for x in REFUSED]
)
def test_an_experiment_that_makes_no_sense_on_a_cell_is_refused_with_what_to_do(
    experiment: Any, a_cell: Cell, words: str
) -> None:
    with pytest.raises(UnsuitableCellError, match=words):
        for_cell(experiment, a_cell)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"type": "symmetric_cycling", "current_density_ma_cm2": 1, "cycles": 1},
            "exactly one of capacity_mah_cm2, half_cycle_s, depth_of_discharge_pct; got none",
        ),
        (
            {
                "type": "symmetric_cycling",
                "current_density_ma_cm2": 1,
                "capacity_mah_cm2": 1,
                "cycles": 1,
                "total_h": 2,
            },
            "exactly one of cycles, total_h; got cycles, total_h",
        ),
        (
            {
                "type": "reservoir_efficiency",
                "current_density_ma_cm2": 1,
                "reservoir_mah_cm2": 1,
                "cycled_mah_cm2": 1,
            },
            r"cycled_mah_cm2 \(Q_C\) 1.0 is not below reservoir_mah_cm2 \(Q_T\) 1.0",
        ),
        (
            {
                "type": "full_cell_cycling",
                "charge_to_v": 2.4,
                "discharge_to_v": 3.7,
                "c_rate": 1,
            },
            "discharge_to_v 3.7 V is not below charge_to_v 2.4 V",
        ),
        (
            {"type": "full_cell_cycling", "charge_to_v": 3.7, "discharge_to_v": 2.4},
            "exactly one of c_rate, current_ma_g, current_density_ma_cm2; got none",
        ),
        (
            {
                "type": "impedance_series",
                "cycling": {
                    "type": "half_cell_cycling",
                    "current_density_ma_cm2": 1,
                    "capacity_mah_cm2": 1,
                    "between": {"type": "open_circuit", "duration_s": 1},
                },
            },
            "has a between step of its own",
        ),
        (
            {"type": "rate_capability", "current_densities_ma_cm2": [0], "half_cycle_s": 1},
            "greater than 0",
        ),
    ],
)
def test_an_experiment_that_contradicts_itself_is_refused_when_it_is_read(
    told: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        ADAPTER.validate_python(told)
