"""Every kind of experiment over the wire: what was told is what ran, and what the record says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from operando.analysis import metrics
from operando.analysis.segments import recorded_half_cycles
from operando.runs import Run
from techniques import (
    Cell,
    CorrosionRest,
    CurrentInterrupt,
    Formation,
    FullCellCycling,
    HalfCellCycling,
    ImpedanceSeries,
    ImpedanceSpectrum,
    NucleationSeries,
    Protocol,
    Pulses,
    RateCapability,
    ReservoirEfficiency,
    Schedule,
    Sequence,
    SymmetricCycling,
    Tafel,
    Technique,
    Transference,
    Voltammetry,
    WettingRest,
    for_cell,
)

pytestmark = pytest.mark.timeout(120)
FACTOR = 20_000
QUIET = Schedule(image_s=None, spectrum_s=None, injection_s=None)
QUICK = ImpedanceSpectrum(
    amplitude_rms_v=0.005, frequency_max_hz=1e5, frequency_min_hz=10, points_per_decade=5
)

Runs = dict[str, Run]


def run_all(chain: Any, cell: str, experiments: dict[str, Any]) -> Runs:
    """Run experiments one after the other on one simulated cell; return their runs."""
    uids = {}
    with chain.simulated(leader_only=True), chain.session() as session:
        for name, technique in experiments.items():
            protocol = Protocol(name=name, cell=cell, technique=technique, every=QUIET)
            uids[name] = session.run_protocol(protocol)
    return {name: Run.from_journal(uid, chain.data) for name, uid in uids.items()}


@pytest.fixture(scope="module")
def half_cell(make_chain: Callable[..., Any]) -> Runs:
    half = {"current_density_ma_cm2": 1.0, "capacity_mah_cm2": 0.2}
    return run_all(
        make_chain("zn-bare-half", factor=FACTOR),
        "zn-bare-half",
        {
            "nucleation": NucleationSeries(
                current_densities_ma_cm2=(1, 2), capacity_mah_cm2=0.2, rest_s=5
            ),
            "half cell": Sequence(
                steps=(
                    Formation(step=HalfCellCycling(cycles=2, **half)),
                    HalfCellCycling(cycles=3, **half),
                )
            ),
            "reservoir": ReservoirEfficiency(
                current_density_ma_cm2=1.0,
                reservoir_mah_cm2=0.5,
                cycled_mah_cm2=0.1,
                cycles=4,
                conditioning_mah_cm2=0.2,
            ),
            "plated spectra": ImpedanceSeries(
                cycling=HalfCellCycling(cycles=3, **half),
                every_cycles=2,
                at="after_plating",
                spectrum=QUICK,
                pause_s=5,
            ),
        },
    )


@pytest.fixture(scope="module")
def symmetric(make_chain: Callable[..., Any]) -> Runs:
    cycling = {"current_density_ma_cm2": 1.0, "capacity_mah_cm2": 0.1}
    return run_all(
        make_chain("zn-bare", factor=FACTOR),
        "zn-bare",
        {
            "wetting": WettingRest(duration_s=600, drift_below_v_s=1e-3, drift_window_s=60),
            "transference": Transference(hold_s=600, rest_s=60, spectrum=QUICK),
            "tafel": Tafel(rest_s=60, spectrum=QUICK, scan_rate_v_s=5e-3),
            "current interrupt": CurrentInterrupt(current_density_ma_cm2=2.0, interrupts=3),
            "depth": SymmetricCycling(
                current_density_ma_cm2=5.0, depth_of_discharge_pct=1.0, cycles=2
            ),
            "rates": RateCapability(
                current_densities_ma_cm2=(1, 2), half_cycle_s=120, cycles_each=2
            ),
            "spectra": ImpedanceSeries(
                cycling=SymmetricCycling(cycles=4, **cycling),
                every_cycles=2,
                spectrum=QUICK,
                pause_s=5,
            ),
            "pulses": Pulses(current_density_ma_cm2=1.0, pulse_s=30, relax_s=60, pulses=3),
            "corrosion": CorrosionRest(duration_s=1200, spectrum=QUICK, spectrum_every_s=600),
        },
    )


@pytest.fixture(scope="module")
def full_cell(make_chain: Callable[..., Any]) -> Runs:
    window = {"charge_to_v": 3.7, "discharge_to_v": 2.4}
    return run_all(
        make_chain("pb-znag-anodeless", factor=FACTOR),
        "pb-znag-anodeless",
        {
            "full cell": FullCellCycling(
                current_ma_g=100, cycles=2, hold_below_fraction=0.2, hold_max_s=600, **window
            ),
            "voltammetry": Voltammetry(
                scan_rates_v_s=(1e-3,), begin_v=2.4, vertex1_v=3.7, vertex2_v=2.4, scans=1
            ),
        },
    )


@pytest.fixture(params=["half_cell", "symmetric", "full_cell"])
def some(request: pytest.FixtureRequest) -> Runs:
    runs: Runs = request.getfixturevalue(request.param)
    return runs


def column(run: Run, name: str) -> Any:
    return run.streams["potentiostat"].columns[f"potentiostat_{name}"]


def spectra_at(run: Run, counter: str) -> list[int]:
    """Return a counter of each spectrum, in order."""
    points = run.streams["impedance"].columns
    _, first = np.unique(points["potentiostat_impedance_spectrum"], return_index=True)
    return [int(x) for x in points[f"potentiostat_impedance_{counter}"][first]]


def halves_of(run: Run) -> list[Any]:
    metal: Any = run.start["sample"]["metal_electrode"]
    return list(recorded_half_cycles(run, area_cm2=1.131, metal_electrode=metal))


def test_every_experiment_runs_to_its_end_and_the_record_has_it_as_written_and_as_run(
    some: Runs,
) -> None:
    adapter: TypeAdapter[Technique] = TypeAdapter(Technique)
    for name, run in some.items():
        assert run.stop is not None
        assert (name, run.stop["exit_status"]) == (name, "success"), run.stop
        # No limit of the technique has stopped it; that an emptied electrode ran beyond the window
        # within one check is told, and no end.
        assert "reached" not in run.stop.get("reason", ""), (name, run.stop)
        written = adapter.validate_python(run.start["technique_as_written"])
        program = for_cell(written, Cell.model_validate(run.start["sample"]))
        assert program == adapter.validate_python(run.start["technique"])


def test_nucleation_is_recorded_densely_at_each_current_density(half_cell: Runs) -> None:
    run = half_cell["nucleation"]
    plated = [half for half in halves_of(run) if half.role == -1]
    currents = [-1e3 * half.mean_current_a / 1.131 for half in plated]
    assert currents == pytest.approx([1, 2], rel=5e-3)
    for half, row_s in zip(plated, (0.5, 0.25), strict=True):
        dense = half.charge_mah_cm2 < 0.09
        assert 0.5 * row_s < np.median(np.diff(half.t_s[dense])) <= row_s * 1.05


def test_a_formation_is_left_out_of_the_means_and_what_follows_is_not(half_cell: Runs) -> None:
    found = metrics(half_cell["half cell"])
    each = found["ce_pct"].value
    assert len(each) == 5
    assert found["ce_mean_pct"].value == pytest.approx(np.mean(each[2:]))
    assert "cycle 1, 2 (formation) not counted" in str(found["ce_mean_pct"].reason)


def test_a_reservoir_returns_its_efficiency_by_the_sums_of_its_half_cycles(
    half_cell: Runs,
) -> None:
    run = half_cell["reservoir"]
    halves = halves_of(run)
    assert [half.role for half in halves] == [-1, 1] * 6
    plated = [half.capacity_mah_cm2 for half in halves[2::2]]
    stripped = [half.capacity_mah_cm2 for half in halves[3::2]]
    assert plated == pytest.approx([0.5, 0.1, 0.1, 0.1, 0.1], rel=5e-3)
    assert stripped[:-1] == pytest.approx([0.1] * 4, rel=5e-3)
    assert 0.3 < stripped[-1] < 0.5
    assert halves[-1].potential_v[-1] >= 0.5
    expected = 100 * sum(stripped) / sum(plated)
    assert 90 < expected < 100
    assert metrics(run)["reservoir_ce_pct"].value == pytest.approx(expected, rel=1e-6)


def test_spectra_come_where_the_series_says(half_cell: Runs, symmetric: Runs) -> None:
    assert spectra_at(half_cell["plated spectra"], "cycle") == [1, 3]
    assert spectra_at(half_cell["plated spectra"], "half_cycle") == [1, 5]
    assert spectra_at(symmetric["spectra"], "cycle") == [0, 2, 4]


def test_a_depth_of_discharge_is_what_was_asked_of_the_foil(symmetric: Runs) -> None:
    found = metrics(symmetric["depth"])["depth_of_discharge_pct"]
    assert found.value == pytest.approx(1.0, rel=5e-3)


def test_rates_pass_their_current_for_the_same_time(symmetric: Runs) -> None:
    halves = halves_of(symmetric["rates"])
    assert len(halves) == 12
    currents = [abs(half.mean_current_a) * 1e3 / 1.131 for half in halves[::4]]
    assert currents == pytest.approx([1, 2, 1], rel=5e-3)
    assert [half.lasted_s for half in halves] == pytest.approx([120.0] * 12, abs=1.0)


def test_a_tafel_sweep_goes_from_one_side_of_open_circuit_to_the_other(symmetric: Runs) -> None:
    run = symmetric["tafel"]
    sweep = column(run, "role") == 5
    potential = column(run, "potential")[sweep]
    assert potential[0] == pytest.approx(-0.15, abs=0.01)
    assert potential[-1] == pytest.approx(0.15, abs=0.01)
    assert np.corrcoef(potential, column(run, "current")[sweep])[0, 1] > 0.9
    assert len(spectra_at(run, "cycle")) == 1


def test_a_transference_run_has_a_spectrum_on_both_sides_of_its_hold(symmetric: Runs) -> None:
    run = symmetric["transference"]
    assert len(spectra_at(run, "cycle")) == 2
    held = column(run, "role") == 4
    assert np.median(column(run, "potential")[held]) == pytest.approx(0.010, abs=1e-3)
    assert column(run, "step_t")[held][-1] == pytest.approx(600, abs=2)


def test_interrupts_show_the_series_resistance_at_once(symmetric: Runs) -> None:
    run = symmetric["current interrupt"]
    role, step = column(run, "role"), column(run, "step")
    potential, current = column(run, "potential"), column(run, "current")
    jumps = []
    for edge in np.flatnonzero((role[:-1] == 3) & (role[1:] == 0) & (step[1:] > step[:-1])):
        jumps.append((potential[edge] - potential[edge + 1]) / current[edge])
    assert len(jumps) == 6
    # 3 ohm cm2 of the electrolyte and the films; what reacts slower than a row is in it as well.
    assert 3.0 / 1.131 < np.median(jumps) < 200.0


def test_pulses_rest_between_them(symmetric: Runs) -> None:
    run = symmetric["pulses"]
    assert [half.role for half in halves_of(run)] == [-1, -1, -1]
    assert column(run, "half_cycle")[-1] == 3


def test_a_corrosion_rest_drives_nothing(symmetric: Runs) -> None:
    run = symmetric["corrosion"]
    assert np.all(column(run, "current") == 0)
    assert len(spectra_at(run, "cycle")) == 3


def test_a_full_cell_is_charged_to_its_voltage_and_held_there(full_cell: Runs) -> None:
    run = full_cell["full cell"]
    potential, role = column(run, "potential"), column(run, "role")
    last = np.flatnonzero((role[:-1] == -1) & (role[1:] == 1))
    assert potential[last] == pytest.approx(3.7, abs=0.01)
    assert potential[role == 1].min() <= 2.4
    halves = halves_of(run)
    assert [half.role for half in halves] == [-1, 1, -1, 1]
    # Charging is a positive current at the cathode, the working electrode.
    assert np.median(column(run, "current")[role == -1]) > 0
    assert np.median(column(run, "current")[role == 1]) < 0
    # 100 mA/g of 2.8275 mg are 0.28275 mA; the hold lets it fall to a fifth.
    charging = column(run, "current")[(role == -1) & (column(run, "half_cycle") == 1)]
    assert charging.max() == pytest.approx(0.28275e-3, rel=0.01)
    assert charging[-1] < 0.25 * charging.max()
    assert column(run, "cycle")[-1] == 2


def test_a_voltammogram_of_a_full_cell_lies_between_its_voltages(full_cell: Runs) -> None:
    run = full_cell["voltammetry"]
    swept = column(run, "role") == 6
    potential = column(run, "potential")[swept]
    assert potential.min() == pytest.approx(2.4, abs=0.01)
    assert potential.max() == pytest.approx(3.7, abs=0.01)
    assert column(run, "current")[swept].max() > 0 > column(run, "current")[swept].min()
