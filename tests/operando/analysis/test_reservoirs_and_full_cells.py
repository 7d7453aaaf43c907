"""Protocols whose numbers are not one per cycle: reservoirs, depth of discharge, full cells."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from operando.analysis import metrics
from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.full_cell import mean_voltage_v, rates, retention, whole_discharges
from operando.analysis.reservoir import reservoir_efficiency, reservoir_part
from operando.analysis.sand import Transport
from operando.analysis.segments import HalfCycle, half_cycles
from operando.runs import Run
from techniques import (
    Block,
    Cell,
    FullCellCycling,
    HalfCellCycling,
    ReservoirEfficiency,
    SymmetricCycling,
    for_cell,
)
from techniques import (
    Sequence as Program,
)

Array = NDArray[np.float64]
AREA_CM2, ROWS = 1.131, 150
ZINC = {"material": "Zn", "area_cm2": AREA_CM2, "metal": "Zn", "thickness_um": 100}
COPPER = {"material": "Cu", "area_cm2": AREA_CM2}
HALF_CELL: dict[str, Any] = {
    "cell_id": "ZN-CU-1",
    "metal": "Zn",
    "working_electrode": COPPER,
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}
SYMMETRIC = {**HALF_CELL, "working_electrode": ZINC}
CATHODE = {
    "material": "Prussian blue",
    "area_cm2": AREA_CM2,
    "active_mass_mg": 2.5,
    "specific_capacity_mah_g": 120,
}
FULL_CELL = {
    **HALF_CELL,
    "metal": "Na",
    "working_electrode": CATHODE,
    "counter_electrode": {"material": "Zn@Ag", "area_cm2": AREA_CM2},
    "metal_electrode": "CE",
}
CALIBRATION = {"potentiostat": {"current_offset_uncertainty_a": 1e-6}}
Half = tuple[int, float, float, float]  # role, charge [mAh/cm2], its plateau and its end [V]


def columns_of(halves: Sequence[Half], *, current_ma_cm2: float = 1.0, mirror: int = 1) -> Any:
    """Return the leader's columns of half-cycles of these charges, one after the other."""
    names = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags", "step_t")
    parts: dict[str, list[Array]] = {name: [] for name in names}
    begin_s = 0.0
    for number, (role, charge, plateau_v, end_v) in enumerate(halves, 1):
        share = np.linspace(1 / ROWS, 1, ROWS)
        length_s = abs(charge) / current_ma_cm2 * 3600
        values = {
            "t": begin_s + share * length_s,
            "step_t": share * length_s,
            "potential": mirror * (plateau_v + (end_v - plateau_v) * share**80),
            "current": np.full(ROWS, mirror * role * current_ma_cm2 * AREA_CM2 * 1e-3),
            "cycle": np.full(ROWS, (number + 1) // 2),
            "half_cycle": np.full(ROWS, number),
            "step": np.full(ROWS, number),
            "role": np.full(ROWS, role),
            "flags": np.zeros(ROWS),
        }
        begin_s += length_s
        for name, value in values.items():
            parts[name].append(np.asarray(value, dtype=np.float64))
    return {name: np.concatenate(values) for name, values in parts.items()}


def halves_of(halves: Sequence[Half], **options: Any) -> tuple[HalfCycle, ...]:
    columns = columns_of(halves, **options)
    names = ("t", "potential", "current", "cycle", "half_cycle", "role")
    return half_cycles(
        *(columns[name] for name in names), area_cm2=AREA_CM2, step_t_s=columns["step_t"]
    )


def run_of(make_run: Callable[..., Any], sample: Any, columns: Any, technique: Any = None) -> Run:
    stored = None if technique is None else technique.model_dump(mode="json")
    told = make_run(sample, calibration=CALIBRATION, technique=stored, page=1000)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    return Run.from_documents(told.documents)


def plate(charge: float) -> Half:
    return (-1, charge, -0.03, -0.03)


def strip(charge: float, end_v: float = 0.03) -> Half:
    return (1, charge, 0.03, end_v)


# -- reservoirs


CYCLES = [half for _ in range(8) for half in (plate(1), strip(1))]
RESERVOIR = [plate(5), strip(1), *CYCLES, plate(1), strip(4.8, 0.5)]
CONDITIONED = [plate(5), strip(4.7, 0.5), *RESERVOIR]


@pytest.mark.parametrize("whole", [RESERVOIR, CONDITIONED])
def test_the_efficiency_of_a_reservoir_is_that_of_all_its_charges(whole: list[Half]) -> None:
    halves = halves_of(whole)
    found = reservoir_part(halves, ())
    assert found is not None
    told = reservoir_efficiency(*found, (), CurrentAccuracy(offset_a=1e-6))
    assert told.percent == pytest.approx(100 * (9 * 1 + 4.8) / (9 * 1 + 5), abs=1e-6)
    assert told.percent == pytest.approx(98.571, abs=1e-3)
    assert told.cycles == 9
    assert told.uncertainty_percent == pytest.approx(98.571 * 2e-6 / 1.131e-3, rel=1e-3)


@pytest.mark.parametrize(
    "halves",
    [
        [plate(1), strip(0.98, 0.5)] * 4,  # ordinary cycles
        [plate(1), strip(1)] * 4,  # shallow ones that never end
        [plate(1), strip(0.9), plate(1), strip(0.9), plate(1), strip(0.98, 0.5)],  # no reservoir
        [plate(5), strip(1), plate(2), strip(3), plate(1), strip(4, 0.5)],  # of several charges
        [plate(5)],
    ],
)
def test_other_half_cycles_are_no_reservoir(halves: list[Half]) -> None:
    assert reservoir_part(halves_of(halves), ()) is None


def test_a_reservoir_protocol_tells_one_number_and_no_efficiency_of_its_cycles(
    make_run: Callable[..., Any],
) -> None:
    asked = ReservoirEfficiency(
        current_density_ma_cm2=1.0, reservoir_mah_cm2=5.0, cycled_mah_cm2=1.0, cycles=9
    )
    technique = for_cell(asked, Cell.model_validate(HALF_CELL))
    found = metrics(run_of(make_run, HALF_CELL, columns_of(CONDITIONED), technique))
    assert found["reservoir_ce_pct"].value == pytest.approx(98.571, abs=1e-3)
    assert found["ce_pct"].value == [pytest.approx(94.0, abs=1e-6)]  # of the conditioning
    assert "see reservoir_ce_pct" in str(found["ce_pct"].reason)
    assert found["soft_short_coulombic_cycle"].value is None


@pytest.mark.parametrize(
    ("halves", "reason"),
    [
        ([*CONDITIONED[:7], strip(0.6, 0.5)], "the cut-off was hit within the cycles, in cycle 4"),
        (CONDITIONED[:9], "7 of 20 half-cycles"),
        ([*CONDITIONED[:-1], strip(4.8)], "has not ended as planned"),
        ([*CONDITIONED[:-1], strip(5.4, 0.5)], "shorted in cycle 11"),
        (CONDITIONED[:2], "was not plated"),
    ],
)
def test_a_reservoir_that_went_wrong_has_no_efficiency(
    make_run: Callable[..., Any], halves: list[Half], reason: str
) -> None:
    asked = ReservoirEfficiency(
        current_density_ma_cm2=1.0, reservoir_mah_cm2=5.0, cycled_mah_cm2=1.0, cycles=9
    )
    technique = for_cell(asked, Cell.model_validate(HALF_CELL))
    told = metrics(run_of(make_run, HALF_CELL, columns_of(halves), technique))["reservoir_ce_pct"]
    assert told.value is None
    assert reason in str(told.reason)


def at_170_mv(halves: list[Half]) -> list[Half]:
    """Return half-cycles of 170 mV, as zinc has; strips end at their cut-off of 0.5 V just so."""
    return [
        (role, q, role * 0.17, 0.5 if end == 0.5 else role * 0.17) for role, q, _, end in halves
    ]


def test_whether_all_metal_was_asked_back_is_told_by_the_cut_off_of_the_technique(
    make_run: Callable[..., Any],
) -> None:
    asked = ReservoirEfficiency(
        current_density_ma_cm2=1.0, reservoir_mah_cm2=5.0, cycled_mah_cm2=1.0, cycles=9
    )
    technique = for_cell(asked, Cell.model_validate(HALF_CELL))
    columns = columns_of(at_170_mv(CONDITIONED))
    found = metrics(run_of(make_run, HALF_CELL, columns, technique))
    assert found["reservoir_ce_pct"].value == pytest.approx(98.571, abs=1e-3)
    assert found["soft_short_coulombic_cycle"].value is None
    # The reservoir is empty after its last strip: what then comes back is too much.
    more = [*at_170_mv(CONDITIONED[:2]), *at_170_mv([plate(5), strip(5.3, 0.5)])]
    cycling = HalfCellCycling(
        current_density_ma_cm2=1.0, capacity_mah_cm2=5.0, cycles=2, overrun_pct=20
    )
    technique = for_cell(cycling, Cell.model_validate(HALF_CELL))
    found = metrics(run_of(make_run, HALF_CELL, columns_of(more), technique))
    assert found["ce_pct"].value == pytest.approx([94.0, 106.0])
    assert found["soft_short_coulombic_cycle"].value == [2.0]


# -- depth of discharge, Sand's time, the last good cycle


def test_a_depth_of_discharge_is_planned_exactly_and_measured_as_it_was(
    make_run: Callable[..., Any],
) -> None:
    electrode = {"material": "Zn@Ag", "area_cm2": AREA_CM2, "predeposited_mah_cm2": 2.0}
    sodium = {"material": "Na", "area_cm2": AREA_CM2, "metal": "Na", "thickness_um": 450}
    sample = {**HALF_CELL, "metal": "Na", "working_electrode": electrode}
    sample["counter_electrode"] = sodium
    asked = SymmetricCycling(
        current_density_ma_cm2=1.0, depth_of_discharge_pct=75, cycles=2, first="strip"
    )
    technique = for_cell(asked, Cell.model_validate(sample))
    columns = columns_of([strip(1.501), plate(1.5), strip(1.501), plate(1.5)])
    found = metrics(run_of(make_run, sample, columns, technique))
    assert found["depth_of_discharge_planned_pct"].value == 75.0
    assert found["depth_of_discharge_pct"].value == pytest.approx(75.05, abs=1e-3)


def test_a_depth_of_discharge_is_that_of_foil_and_deposit_as_the_technique_has_it(
    make_run: Callable[..., Any],
) -> None:
    plated = {**ZINC, "predeposited_mah_cm2": 2.0}
    sample = {**SYMMETRIC, "working_electrode": plated}
    cell = Cell.model_validate(sample)
    held = cell.inventory_mah_cm2(cell.electrode)
    assert held == pytest.approx(60.54, abs=0.01)
    asked = SymmetricCycling(
        current_density_ma_cm2=1.0, depth_of_discharge_pct=100 * 0.5 / held, cycles=1
    )
    technique = for_cell(asked, cell)
    found = metrics(run_of(make_run, sample, columns_of([plate(0.5), strip(0.5)]), technique))
    assert found["depth_of_discharge_planned_pct"].value == pytest.approx(100 * 0.5 / held)
    assert found["depth_of_discharge_pct"].value == pytest.approx(100 * 0.5 / held, rel=1e-3)
    assert "foil of 100 um and the pre-deposited" in str(found["depth_of_discharge_pct"].reason)


def test_strips_to_a_cut_off_plan_no_depth_of_discharge(make_run: Callable[..., Any]) -> None:
    found = metrics(run_of(make_run, SYMMETRIC, columns_of([plate(1), strip(1)])))
    assert "no technique" in str(found["depth_of_discharge_planned_pct"].reason)


def test_sand_time_and_limiting_current_are_those_of_a_worked_example() -> None:
    zinc = Transport(2.0, 3.7e-6, 0.4, 2, 260.0, 1.0, 1.0)
    assert zinc.limiting_ma_cm2 == pytest.approx(183, abs=1)
    wide = Transport(2.0, 3.7e-6, 0.4, 2, 1e5, 1.0, 1.0)
    assert wide.sand_time_s(20.0) == pytest.approx(3006, abs=1)
    assert wide.sand_time_s(100.0) == pytest.approx(120, abs=1)
    assert zinc.sand_time_s(100.0) is None
    porous = Transport(2.0, 3.7e-6, 0.4, 2, 260.0, 0.5, 2.0)
    assert porous.limiting_ma_cm2 == pytest.approx(zinc.limiting_ma_cm2 / 4)
    assert porous.sand_time_s(100.0) == pytest.approx(120.2 / 8, rel=1e-2)


def test_sand_time_is_undefined_below_the_limiting_current_and_without_a_declaration(
    make_run: Callable[..., Any],
) -> None:
    columns = columns_of([plate(1), strip(1)])
    bare = metrics(run_of(make_run, SYMMETRIC, columns))["sand_time_s"]
    assert "does not declare electrolyte.salt_mol_l" in str(bare.reason)
    electrolyte = {
        "composition": "2 mol/L ZnSO4",
        "salt_mol_l": 2.0,
        "diffusion_cm2_s": 3.7e-6,
        "cation_transference": 0.4,
    }
    sample = {
        **SYMMETRIC,
        "electrolyte": electrolyte,
        "separator_um": 260,
        "separator_porosity": 0.9,
        "separator_tortuosity": 1.2,
    }
    told = metrics(run_of(make_run, sample, columns))["sand_time_s"]
    assert told.value is None
    assert "1 mA/cm2 is below the limiting current of 137 mA/cm2" in str(told.reason)
    thick = {**sample, "separator_um": 1e5}
    told = metrics(run_of(make_run, thick, columns))["sand_time_s"]
    assert told.value == pytest.approx(3006 * 400 * 0.81 / 1.2, rel=1e-3)


def test_the_last_cycle_above_95_percent_is_told(make_run: Callable[..., Any]) -> None:
    halves = [half for ce in (0.9, 0.97, 0.96, 0.8) for half in (plate(1), strip(ce, 0.5))]
    found = metrics(run_of(make_run, HALF_CELL, columns_of(halves)))
    assert found["ce_last_cycle_above_95"].value == 3.0
    poor = metrics(run_of(make_run, HALF_CELL, columns_of([plate(1), strip(0.9, 0.5)])))
    assert poor["ce_last_cycle_above_95"].value is None


# -- one electrode of a symmetric cell, and how it ended


def test_the_overpotential_of_one_electrode_lacks_the_series_resistance(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(SYMMETRIC, calibration=CALIBRATION, page=1000)
    shorted = [(-1, 1.0, -0.005, -0.005), (1, 1.0, 0.005, 0.005)]
    told.stream("potentiostat", "potentiostat", columns_of([plate(1), strip(1), *shorted]))
    hertz = np.logspace(5, -1, 61)
    z = synthetic.arcs_ohm(hertz, 9.0, (40.0, 1e-3, 0.9))
    spectrum = {name: np.ones(61) for name in ("spectrum", "t", "cycle", "half_cycle", "step")}
    spectrum |= {"frequency": hertz, "z_real": z.real, "z_imag": z.imag, "half_cycle": hertz * 0}
    told.stream("impedance", "potentiostat_impedance", spectrum)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    expected = 0.5 * (30 - 1.131 * 9.0)
    told_mv = found["electrode_overpotential_mv"]
    assert told_mv.value == [pytest.approx(expected, abs=0.01), None]
    assert "|E| below i R_s in 1 cycles" in str(told_mv.reason)
    assert found["overpotential_mv"].value == [pytest.approx(30.0), pytest.approx(5.0)]
    assert found["voltage_hysteresis_mv"].value == [pytest.approx(60.0), pytest.approx(10.0)]
    other = metrics(run_of(make_run, SYMMETRIC, columns_of([plate(1), strip(1)])))
    assert "R_s is not known" in str(other["electrode_overpotential_mv"].reason)


@pytest.mark.parametrize(
    ("reference", "against_v"),
    [
        ({"reference_electrode": "Zn wire"}, 0.0),
        ({"reference_electrode": "Ag/AgCl", "metal_vs_reference_v": -0.98}, -0.98),
    ],
)
def test_against_a_reference_the_potential_is_that_of_one_electrode_and_not_halved(
    make_run: Callable[..., Any], synthetic: Any, reference: dict[str, Any], against_v: float
) -> None:
    told = make_run({**SYMMETRIC, **reference}, calibration=CALIBRATION, page=1000)
    columns = columns_of([plate(1), strip(1)])
    columns["potential"] += against_v
    told.stream("potentiostat", "potentiostat", columns)
    hertz = np.logspace(5, -1, 61)
    z = synthetic.arcs_ohm(hertz, 9.0, (40.0, 1e-3, 0.9))
    spectrum = {name: np.ones(61) for name in ("spectrum", "t", "cycle", "half_cycle", "step")}
    spectrum |= {"frequency": hertz, "z_real": z.real, "z_imag": z.imag, "half_cycle": hertz * 0}
    told.stream("impedance", "potentiostat_impedance", spectrum)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    told_mv = found["electrode_overpotential_mv"]
    assert told_mv.value == [pytest.approx(30 - 1.131 * 9.0, abs=0.02)]
    assert "of the working electrode alone" in str(told_mv.reason)
    resistance = found["interfacial_resistance_ohm"]
    assert resistance.value == [pytest.approx(40.0, rel=1e-3)]
    assert "of the working electrode alone" in str(resistance.reason)
    assert "both interfaces" not in str(resistance.reason)


def test_against_a_reference_of_unknown_potential_no_overpotential_is_told(
    make_run: Callable[..., Any],
) -> None:
    sample = {**SYMMETRIC, "reference_electrode": "Ag/AgCl"}
    found = metrics(run_of(make_run, sample, columns_of([plate(1), strip(1)])))
    assert "metal_vs_reference_v" in str(found["electrode_overpotential_mv"].reason)


def test_the_lives_of_a_shorted_cell_are_told_with_their_censoring(
    make_run: Callable[..., Any],
) -> None:
    columns = columns_of([plate(1), strip(1)] * 12)
    row = 18 * ROWS + 90
    columns["potential"][row:] *= 0.05
    columns["potential"][10 * ROWS + 60 : 10 * ROWS + 70] *= 0.5
    found = metrics(run_of(make_run, SYMMETRIC, columns))
    begin_h = columns["t"][0] / 3600 - columns["step_t"][0] / 3600
    first_h = columns["t"][10 * ROWS + 60] / 3600 - begin_h
    hard_h = columns["t"][row] / 3600 - begin_h
    values = {name: found[name].value for name in found}
    assert values["life_first_soft_short_h"] == pytest.approx(first_h)
    assert values["life_first_soft_short_observed"] == 1.0
    assert values["life_hard_short_h"] == pytest.approx(hard_h)
    assert values["life_hard_short_observed"] == 1.0
    assert values["life_polarisation_h"] == pytest.approx(24.0, abs=0.01)
    assert values["life_polarisation_observed"] == 0.0
    assert values["soft_short_count"] == 2.0
    assert values["soft_short_time_h"] == [pytest.approx(first_h), pytest.approx(hard_h)]
    ohm = 0.030 / 1.131e-3  # of the cell; half the potential is a short as large
    assert values["soft_short_resistance_ohm"] == [
        pytest.approx(ohm),
        pytest.approx(0.05 * ohm / 0.95),
    ]


def test_the_rest_after_a_strip_is_told_of_half_cells(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    columns = synthetic.galvanostatic((0.9, 0.97))
    resting = columns["role"] == 0
    columns["potential"][resting] = np.where(columns["half_cycle"][resting] == 2, 0.12, 0.001)
    found = metrics(run_of(make_run, HALF_CELL, columns))["rest_after_strip_mv"]
    assert found.value == [pytest.approx(120.0), pytest.approx(1.0)]
    mirrored = {**columns, "potential": -columns["potential"], "current": -columns["current"]}
    sample = {
        **HALF_CELL,
        "working_electrode": ZINC,
        "counter_electrode": COPPER,
        "metal_electrode": "CE",
    }
    assert metrics(run_of(make_run, sample, mirrored))["rest_after_strip_mv"].value == found.value
    other = metrics(run_of(make_run, SYMMETRIC, columns_of([plate(1), strip(1)])))
    assert other["rest_after_strip_mv"].value is None


def test_a_record_of_few_rows_says_that_it_cannot_show_a_soft_short(
    make_run: Callable[..., Any],
) -> None:
    columns = columns_of([plate(1), strip(1)] * 6)
    sparse = {name: values[::15] for name, values in columns.items()}
    found = metrics(run_of(make_run, SYMMETRIC, sparse))
    for name in ("soft_short_count", "life_first_soft_short_h"):
        assert found[name].value is None
        assert "too coarsely" in str(found[name].reason)
    assert found["life_hard_short_observed"].value == 0.0


def test_a_spectrum_that_falls_as_a_whole_shows_a_short(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(SYMMETRIC, calibration=CALIBRATION, page=1000)
    columns = columns_of([plate(1), strip(1)] * 2)
    columns["cycle"] = columns["half_cycle"].copy()  # of a program that counts each by itself
    told.stream("potentiostat", "potentiostat", columns)
    hertz = np.logspace(5, -1, 61)
    sound = synthetic.arcs_ohm(hertz, 10.0, (50.0, 1e-2, 0.9))
    shorted = sound * 30 / (sound + 30)
    z = np.concatenate((sound, shorted, sound))
    number = np.repeat([1.0, 2.0, 3.0], 61)
    spectra = dict.fromkeys(("spectrum", "half_cycle", "step", "cycle"), number)
    spectra |= {"t": number * 3600, "frequency": np.tile(hertz, 3)}
    spectra |= {"z_real": z.real, "z_imag": z.imag}
    told.stream("impedance", "potentiostat_impedance", spectra)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    assert found["parallel_resistance_ohm"].value == [None, pytest.approx(30.0, rel=0.05), None]
    assert found["life_first_soft_short_h"].value == pytest.approx(2.0)
    assert str(found["life_first_soft_short_h"].reason).startswith("cycle 2: intercept")


# -- full cells


def charge(mah_cm2: float) -> Half:
    return (-1, mah_cm2, -3.4, -3.6)


def discharge(mah_cm2: float) -> Half:
    return (1, mah_cm2, -3.2, -2.4)


def test_a_full_cell_tells_its_capacities_per_mass(make_run: Callable[..., Any]) -> None:
    capacities = [0.22, 0.20, 0.19]
    halves = [half for q in capacities for half in (charge(q / 0.98), discharge(q))]
    columns = columns_of(halves, current_ma_cm2=0.1, mirror=-1)
    asked = FullCellCycling(
        current_density_ma_cm2=0.1, charge_to_v=3.6, discharge_to_v=2.4, cycles=3
    )
    technique = for_cell(asked, Cell.model_validate(FULL_CELL))
    found = metrics(run_of(make_run, FULL_CELL, columns, technique))
    per_mass = AREA_CM2 / 2.5e-3
    expected = [pytest.approx(q * per_mass) for q in capacities]
    assert found["discharge_capacity_mah_g"].value == expected
    assert found["charge_capacity_mah_g"].value == [
        pytest.approx(q * per_mass / 0.98) for q in capacities
    ]
    assert found["ce_pct"].value == [pytest.approx(98.0)] * 3
    assert found["capacity_retention_pct"].value == pytest.approx(100 * 0.19 / 0.22)
    assert found["capacity_retention_pct"].reason == "cycle 3 over cycle 1"
    assert found["rate_capacity_mah_g"].value == [pytest.approx(0.20 * per_mass)]
    assert found["rate_current_ma_g"].value == [pytest.approx(0.1 * AREA_CM2 / 2.5e-3)]
    gap = np.array(found["mean_charge_v"].value) - np.array(found["mean_discharge_v"].value)
    assert found["voltage_hysteresis_mv"].value == pytest.approx((1e3 * gap).tolist())
    for name in ("plateau_overpotential_mv", "late_strip_rise", "cell_eta_n_mv"):
        assert "full cell" in str(found[name].reason)
    for name in ("reservoir_ce_pct", "soft_short_coulombic_cycle"):
        assert found[name].value is None
    assert found["life_hard_short_observed"].value == 0.0


def test_the_mean_voltage_is_that_over_the_charge() -> None:
    (half,) = halves_of([(1, 0.5, -3.2, -3.2)], current_ma_cm2=0.1)
    assert mean_voltage_v(half) == pytest.approx(3.2)
    linear = half.potential_v + np.linspace(0.4, -0.4, ROWS)
    object.__setattr__(half, "potential_v", linear)
    assert mean_voltage_v(half) == pytest.approx(3.2)


def test_rates_are_the_medians_of_their_last_three_cycles() -> None:
    halves: list[HalfCycle] = []
    for current, capacities in ((0.1, (1.0, 0.9, 0.8, 0.7)), (0.2, (0.5, 0.6)), (0.1, (0.65,))):
        for capacity in capacities:
            (half,) = halves_of([discharge(capacity)], current_ma_cm2=current)
            object.__setattr__(half, "cycle", len(halves) + 1)
            halves.append(half)
    found = rates(halves)
    assert [rate.cycles for rate in found] == [(2, 3, 4), (5, 6), (7,)]
    assert [rate.capacity_mah_cm2 for rate in found] == pytest.approx([0.8, 0.55, 0.65])
    assert rates(halves, left_out=[1, 2, 3])[0].cycles == (4,)
    kept = retention(whole_discharges(halves), left_out=[1])
    # Cycles of the current of the reference are compared with it.
    assert (kept.reference, kept.last) == (2, 7)
    assert kept.percent == pytest.approx(100 * 0.65 / 0.9)


def discharges_of(*parts: tuple[float, int]) -> list[HalfCycle]:
    """Return discharges: at each current, mA/cm2, so many, each of 1 % less than the one before."""
    found: list[HalfCycle] = []
    for current, count in parts:
        for _ in range(count):
            capacity = 0.2 * 0.99 ** len(found)
            (half,) = halves_of([discharge(capacity)], current_ma_cm2=current)
            object.__setattr__(half, "cycle", len(found) + 1)
            found.append(half)
    return found


def test_retention_is_that_of_the_current_of_most_cycles() -> None:
    formed = discharges_of((0.02, 3), (0.2, 10), (0.02, 2))
    kept = retention(formed)
    assert (kept.reference, kept.last) == (4, 13)
    assert kept.percent == pytest.approx(100 * 0.99**9)
    kept = retention(formed, left_out=range(1, 6))
    assert (kept.reference, kept.last) == (6, 13)
    rate_test = retention(discharges_of((0.02, 5), (0.1, 5), (0.2, 5), (0.02, 5)))
    assert rate_test.percent is None
    assert "at 3 currents" in str(rate_test.reason)


def test_declared_formation_cycles_are_no_reference(make_run: Callable[..., Any]) -> None:
    halves = [half for q in (0.25, 0.22, 0.20) for half in (charge(q / 0.98), discharge(q))]
    columns = columns_of(halves, current_ma_cm2=0.1, mirror=-1)
    found = metrics(run_of(make_run, {**FULL_CELL, "formation_cycles": 1}, columns))
    assert found["capacity_retention_pct"].value == pytest.approx(100 * 0.20 / 0.22)
    assert "cycle 1 left out" in str(found["capacity_retention_pct"].reason)
    assert found["rate_capacity_mah_g"].reason == "median of cycle 2, 3"


def test_capacities_at_several_temperatures_are_those_of_25_c_and_no_retention(
    make_run: Callable[..., Any],
) -> None:
    capacities = [0.24, 0.23, 0.22, 0.20, 0.12, 0.11]
    halves = [half for q in capacities for half in (charge(q / 0.98), discharge(q))]
    columns = columns_of(halves, current_ma_cm2=0.1, mirror=-1)
    asked = FullCellCycling(
        current_density_ma_cm2=0.1, charge_to_v=3.6, discharge_to_v=2.4, cycles=2
    )
    each = for_cell(asked, Cell.model_validate(FULL_CELL))
    kelvin = (328.15, 298.15, 253.15)
    technique = Program(steps=tuple(Block(name=f"{k:g} K", step=each) for k in kelvin))
    told = make_run(FULL_CELL, calibration=CALIBRATION, page=1000)
    told.documents[0][1]["technique"] = technique.model_dump(mode="json")
    told.documents[0][1]["temperatures"] = {"kelvin": list(kelvin)}
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    assert found["capacity_temperature_k"].value == list(kelvin)
    assert found["capacity_at_temperature_pct"].value == pytest.approx(
        [100 * 0.235 / 0.21, 100.0, 100 * 0.115 / 0.21]
    )
    assert "of that at 298.15 K" in str(found["capacity_at_temperature_pct"].reason)
    assert found["capacity_retention_pct"].value is None
    assert "several temperatures" in str(found["capacity_retention_pct"].reason)
    per_mass = AREA_CM2 / 2.5e-3
    assert found["rate_capacity_mah_g"].value == pytest.approx(
        [q * per_mass for q in (0.235, 0.21, 0.115)]
    )
    del told.documents[0][1]["temperatures"]
    assert metrics(Run.from_documents(told.documents))["capacity_temperature_k"].value is None


def test_one_discharge_retains_nothing() -> None:
    halves = halves_of([charge(1), discharge(0.9)], current_ma_cm2=0.1)
    assert retention(whole_discharges(halves)).percent is None
    assert retention([]).percent is None
