import copy
import pickle
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim_devices.cell import (
    CONDITIONS,
    PRESETS,
    Cell,
    Condition,
    make_cell,
    preset,
    preset_from_condition,
)
from sim_devices.cell.platinum import PLATINUM
from sim_devices.cell.prussian_blue import FULL_CELLS
from sim_devices.spectrum import RamanScene

ZINC = ["zn-bare", "zn-caco3", "zn-zro2", "zn-lzs", "zn-znf2"]
HALF = [f"{name}-half" for name in ZINC]
SODIUM = ["na-znag", "na-bare"]
SUBSTRATES = ["znag", "bare", "cu", "al"]
PREDEPOSITED = [
    f"na-{name}-{against}" for name in ("znag", "bare") for against in ("symmetric", "predeposited")
]
# One of each kind: the cells of table rows differ from zn-znf2 in numbers only.
KINDS = [*ZINC, *HALF, *SODIUM, "na-cu-half", "na-al-half", *PREDEPOSITED, "zn-noc", "zn-cnf-half"]
CUT_OFF_V = 0.5


def run(cell, current, dt_s, duration_s, e_max=1e9):
    """Advance in rows; return the charge in mAh/cm2 and the potentials."""
    used_s, potentials = 0.0, []
    while used_s < duration_s - 1e-6:
        step = min(dt_s, duration_s - used_s)
        used, potential, _ = cell.advance(step, "i", current, e_max)
        used_s += used
        potentials.append(potential)
        if used < step - 1e-9 or potential > e_max:
            break
    return abs(current) * used_s / 3600, potentials


def efficiencies(cell, current, charge, cycles, dt_s=10.0):
    found = []
    for _ in range(cycles):
        plated, _ = run(cell, -current, dt_s, charge / current * 3600)
        stripped, _ = run(cell, current, dt_s, 2 * charge / current * 3600, CUT_OFF_V)
        found.append(100 * stripped / plated)
    return found


def test_the_presets_are_the_ones_agreed_on():
    rows = {*CONDITIONS, *(f"{name}-half" for name in CONDITIONS)}
    sodium = {*SODIUM, *PREDEPOSITED, *(f"na-{name}-half" for name in SUBSTRATES)}
    more = {*FULL_CELLS, *PLATINUM, "zn-bare-half-reference", "zn-bare-half-bad-reference"}
    assert set(PRESETS) == {*ZINC, *HALF, *rows, *sodium, *more}
    assert PRESETS["na-znag"] == PRESETS["na-znag-half"]


def test_an_unknown_preset_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="zn-zro2-half"):
        preset("zinc")


@pytest.mark.parametrize("name", KINDS)
def test_plating_the_working_electrode_is_negative_current_and_negative_potential(name):
    cell = Cell(name)
    run(cell, -0.5, 10.0, 900.0)
    assert cell.potential("i", -0.5)[0] < 0
    assert cell.working.deposit_mah_cm2 > cell.working.parameters.predeposited_mah_cm2


@pytest.mark.parametrize("name", KINDS)
def test_the_charge_ledger_closes(name):
    cell = Cell(name, seed=5)
    for _ in range(5):
        run(cell, -1.0, 10.0, 1800.0)
        run(cell, 0.0, 10.0, 300.0)
        run(cell, 1.0, 10.0, 3600.0, CUT_OFF_V)
    for which in ("WE", "CE"):
        ledger = cell.ledger(which)
        through = ledger["charge_cathodic"] + ledger["charge_anodic"]
        assert abs(ledger["residual"]) < 1e-6 * through


@settings(max_examples=30, deadline=None)
@example(name="na-znag", steps=[(0.0, 41.0, True)])  # the formation charge ends in this step
@example(name="na-znag", steps=[(0.0, 116.0, True)])  # and here where plating could begin
# All metal goes in this step: the current is what is left of it, almost whatever the potential.
@example(name="na-bare", steps=[(-6.0, 35.0, False), (11.0, 20.0, True)])
@given(
    name=st.sampled_from(KINDS),
    steps=st.lists(
        st.tuples(st.floats(-20, 20), st.floats(0.01, 120.0), st.booleans()), max_size=12
    ),
)
def test_the_ledger_closes_and_nothing_breaks_whatever_is_driven(name, steps):
    cell = Cell(name, seed=1)
    for value, dt_s, controls_potential in steps:
        mode, drive = ("E", value / 20) if controls_potential else ("i", value)
        used, potential, current = cell.advance(dt_s, mode, drive)
        assert used == pytest.approx(dt_s)
        assert np.isfinite(potential)
        if controls_potential and abs(potential) < 2.4:
            assert potential == pytest.approx(drive, abs=1e-6)
        elif not controls_potential:
            assert current == drive
    for electrode in (cell.working, cell.counter):
        through = electrode.charge_cathodic + electrode.charge_anodic
        assert abs(electrode.ledger_residual()) <= 1e-9 * through + 1e-12
        assert electrode.metal >= 0
        assert np.isfinite(electrode.overpotential_v)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([*KINDS, "pb-half", "pb-znag-anodeless", "pb-bare-anodefree"]),
    lived=st.lists(st.tuples(st.floats(-2, 2), st.floats(1.0, 900.0)), max_size=4),
    currents=st.lists(st.floats(-20, 20), min_size=2, max_size=6, unique=True),
)
def test_a_larger_current_never_has_a_lower_potential(name, lived, currents):
    cell = Cell(name, seed=1)
    for current, dt_s in lived:
        cell.advance(dt_s, "i", current)
    potentials = [cell.potential("i", current)[0] for current in sorted(currents)]
    assert np.all(np.diff(potentials) > -1e-7)


def test_looking_does_not_change_the_cell():
    cell = Cell("zn-bare-half", seed=2)
    run(cell, -1.0, 10.0, 600.0)
    before = pickle.dumps(cell)
    cell.potential("E", 0.1)
    cell.impedance([1e4, 1.0])
    cell.ledger("WE")
    RamanScene(cell, 1).counts(np.linspace(150, 3900, 512), 10.0, 1.0)
    assert pickle.dumps(cell) == before


def test_the_potential_is_bit_identical_with_or_without_observers():
    alone, watched = Cell("zn-bare", seed=7), Cell("zn-bare", seed=7)
    scene = RamanScene(watched, 3)
    axis = np.linspace(150, 3900, 256)
    for step in range(600):
        current = -1.0 if step // 60 % 2 == 0 else 1.0
        first = alone.advance(10.0, "i", current)
        second = watched.advance(10.0, "i", current)
        assert first == second
        if step % 10 == 0:
            scene.counts(axis, 10.0, 1.0)
            watched.impedance([10.0])
            watched.potential("E", 0.05)


def test_the_same_seed_gives_the_same_cell_and_another_seed_another():
    lives = []
    for seed in (3, 3, 4):
        cell = Cell("zn-bare-half", seed)
        lives.append(efficiencies(cell, 1.0, 0.5, 5))
    assert lives[0] == lives[1]
    assert lives[0] != lives[2]


def test_a_cell_can_be_put_away_and_taken_up_again():
    cell = Cell("zn-bare-half", seed=11)
    efficiencies(cell, 1.0, 0.5, 2)
    again = pickle.loads(pickle.dumps(cell))
    assert efficiencies(again, 1.0, 0.5, 2) == efficiencies(cell, 1.0, 0.5, 2)
    with again.lock:
        assert again.t == cell.t


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("current", [0.0, -1.0, 1.0])
def test_the_impedance_at_low_frequency_is_the_slope_of_the_polarisation_curve(name, current):
    cell = Cell(name, seed=1)
    run(cell, -2.0, 10.0, 1800.0)
    cell.advance(600.0, "i", current)
    change = 0.005
    potentials = []
    for sign in (-1, 1):
        copied = copy.deepcopy(cell)
        if current:  # at rest a current would begin another half-cycle
            copied.advance(600.0, "i", current + sign * change)
        potentials.append(copied.potential("i", current + sign * change)[0])
    slope_ohm = (potentials[1] - potentials[0]) / (2 * change * 1e-3 * cell.area_cm2)
    assert cell.impedance([1e-7])[0].real == pytest.approx(slope_ohm, rel=0.01)


@pytest.mark.parametrize(
    ("name", "interfacial_ohm_cm2"),
    list(zip(ZINC, [171.0, 331.0, 94.1, 43.8, 44.0], strict=True)),
)
def test_zinc_has_the_published_interfacial_resistance(name, interfacial_ohm_cm2):
    cell = Cell(name)
    low, high = cell.impedance([1e-3, 1e8]).real
    assert (low - high) * cell.area_cm2 == pytest.approx(interfacial_ohm_cm2, rel=0.05)
    assert high * cell.area_cm2 == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    ("name", "fresh_ohm", "cycled_ohm"), [("na-znag", 1.9, 1.8), ("na-bare", 10.8, 4.9)]
)
def test_sodium_has_the_published_resistance_fresh_and_after_five_cycles(
    name, fresh_ohm, cycled_ohm
):
    cell = Cell(name, seed=1)
    run(cell, -0.5, 10.0, 1800.0)
    run(cell, 0.0, 10.0, 600.0)
    low, high = cell.impedance([1e-2, 1e8]).real
    assert low - high == pytest.approx(fresh_ohm, rel=0.05)
    efficiencies(cell, 0.5, 0.5, 5)
    run(cell, -0.5, 10.0, 1800.0)
    run(cell, 0.0, 10.0, 600.0)
    low, high = cell.impedance([1e-2, 1e8]).real
    assert low - high == pytest.approx(cycled_ohm, rel=0.05)


def test_the_half_cell_with_zirconia_has_the_published_efficiency():
    found = efficiencies(Cell("zn-zro2-half", seed=1), 5.0, 1.0, 230)
    assert statistics.mean(found) == pytest.approx(99.36, abs=0.05)


@pytest.mark.parametrize(
    ("substrate", "efficiency_pct", "nucleation_mv"),
    [("znag", 97.5, 3.0), ("bare", 90.9, 13.4), ("cu", 96.5, 16.0), ("al", 82.3, 24.7)],
)
def test_sodium_has_the_published_first_efficiency_and_nucleation_on_each_substrate(
    substrate, efficiency_pct, nucleation_mv
):
    name = f"na-{substrate}-half"
    assert efficiencies(Cell(name), 0.5, 0.5, 1)[0] == pytest.approx(efficiency_pct, abs=0.2)
    _, potentials = run(Cell(name), -0.5, 1.0, 3600.0)
    plated = np.array(potentials)[np.array(potentials) < 0]
    tip, plateau = plated[: len(plated) // 4].min(), np.median(plated[len(plated) // 2 :])
    assert 1e3 * (plateau - tip) == pytest.approx(nucleation_mv, abs=0.3)


def test_sodium_cycles_best_on_silvered_zinc_and_its_efficiency_scatters_elsewhere():
    means, scatters = {}, {}
    for substrate in SUBSTRATES:
        found = efficiencies(Cell(f"na-{substrate}-half", seed=1), 0.5, 0.5, 60)[1:]
        means[substrate], scatters[substrate] = statistics.mean(found), statistics.stdev(found)
    assert means["znag"] == pytest.approx(99.9, abs=0.05)
    assert max(means, key=means.get) == "znag"
    assert all(scatters[name] > 5 * scatters["znag"] for name in ("bare", "cu", "al"))


@pytest.mark.parametrize(("substrate", "ea_kj_mol"), [("znag", 7.92), ("bare", 11.75)])
def test_symmetric_sodium_has_the_published_activation_energy(substrate, ea_kj_mol):
    temperatures = np.array([273.0, 283.0, 293.0, 303.0, 313.0, 323.0])
    resistances = []
    for temperature_k in temperatures:
        cell = Cell(f"na-{substrate}-symmetric", seed=1, temperature_k=temperature_k)
        low, high = cell.impedance([1e-2, 1e8]).real
        resistances.append(low - high)
    slope = np.polyfit(1 / temperatures, np.log(temperatures / np.array(resistances)), 1)[0]
    assert -8.314462618e-3 * slope == pytest.approx(ea_kj_mol, abs=0.4)


def test_predeposited_sodium_can_be_stripped_and_no_more_than_that():
    cell = Cell("na-znag-symmetric", seed=1)
    assert cell.working.deposit_mah_cm2 == cell.counter.deposit_mah_cm2 == 2.0
    charge, _ = run(cell, 0.5, 10.0, 6 * 3600.0, CUT_OFF_V)
    assert charge == pytest.approx(2.0, rel=0.01)
    assert cell.counter.deposit_mah_cm2 == pytest.approx(2.0 + charge)


def test_sodium_plated_on_bare_zinc_polarises_irregularly_and_on_silvered_zinc_does_not():
    scatters = {}
    for substrate in ("znag", "bare"):
        cell = Cell(f"na-{substrate}-predeposited", seed=1)
        plateaus = []
        for _ in range(20):
            plateaus.append(statistics.median(run(cell, -1.0, 60.0, 1800.0)[1]))
            run(cell, 1.0, 60.0, 1800.0)
        scatters[substrate] = statistics.stdev(plateaus[5:])
    assert scatters["bare"] > 10 * scatters["znag"]


def test_the_interphase_forms_as_published_before_it_scatters():
    for seed in (0, 5):
        cell = Cell("na-bare-predeposited", seed=seed)
        resistances = [cell.resistances()["interfacial_ohm"]]
        for _ in range(5):
            run(cell, 0.5, 60.0, 3600.0)
            run(cell, -0.5, 60.0, 3600.0)
        cell.advance(1e-3)
        resistances.append(cell.resistances()["interfacial_ohm"])
        assert resistances == pytest.approx([10.8, 4.9], rel=0.03)


def test_a_blind_cell_is_drawn_from_its_seed_and_is_no_published_one():
    first, again, other = (make_cell("blind-zn-half", seed) for seed in (1, 1, 2))
    assert first.parameters == again.parameters != other.parameters
    assert first.contact_ohm == again.contact_ohm != other.contact_ohm
    published = {PRESETS[name].working.exchange_current_ma_cm2 for name in HALF}
    assert first.parameters.working.exchange_current_ma_cm2 not in published


def test_newly_plated_zinc_lowers_the_resistance_until_it_is_stripped_again():
    bare = preset("zn-bare")
    electrode = replace(bare.working, exposure=0.0)
    found = []
    for parameters in (bare, replace(bare, working=electrode, counter=electrode)):
        cell = Cell(parameters, 0)
        ohms = [cell.resistances()["interfacial_ohm"]]
        for current in (-1.0, 1.0):
            run(cell, current, 10.0, 3600.0)
            cell.advance(600.0)
            ohms.append(cell.resistances()["interfacial_ohm"])
        found.append([100 * (ohm / ohms[0] - 1) for ohm in ohms[1:]])
    (plated, stripped), (film_then, film) = found
    assert -3.0 < plated < -0.5 < 0.5 < film_then
    assert stripped == pytest.approx(film, rel=0.01)


def test_platinum_turns_every_electron_into_hydrogen():
    cell = Cell("pt-hydrogen")
    charge, _ = run(cell, -0.1, 10.0, 3600.0)
    umol = charge * cell.area_cm2 * 18.656
    assert cell.hydrogen_evolved_mol * 1e6 == pytest.approx(umol, rel=1e-3)


def test_other_random_streams_do_not_move_when_the_resistance_scatters():
    steady = preset("na-bare-predeposited")
    calm = replace(steady, working=replace(steady.working, resistance_scatter=0.0))
    found = []
    for parameters in (steady, calm):
        cell = Cell(parameters, 3)
        for _ in range(7):  # the interphase has formed
            run(cell, -1.0, 60.0, 600.0)
            run(cell, 1.0, 60.0, 300.0)
        _, potentials = run(cell, -1.0, 10.0, 600.0)
        found.append((cell.working.dead_fraction, potentials[-1]))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize("name", ["zn-cnf", "zn-noc", "zn-znb", "zn-f-tio2", "zn-silk-fibroin"])
def test_a_row_of_a_table_becomes_a_cell_with_its_life(name):
    row = CONDITIONS[name]
    half_cycle_s = row.charge_mah_cm2 / row.current_ma_cm2 * 3600
    lives_h = []
    for seed in range(7):
        cell = Cell(name, seed)
        while "hard" not in [kind for _, kind in cell.shorts]:
            for sign in (-1, 1):
                run(cell, sign * row.current_ma_cm2, half_cycle_s / 12, half_cycle_s)
        lives_h.append(cell.shorts[-1][0] / 3600)
    life_h = statistics.median(lives_h)
    if row.life_censored:
        assert life_h >= row.life_h
    else:
        assert life_h == pytest.approx(row.life_h, rel=0.15)


@pytest.mark.parametrize(
    "name", [name for name, row in CONDITIONS.items() if row.efficiency_pct is not None]
)
def test_a_row_of_a_table_becomes_a_half_cell_with_its_efficiency(name):
    row = CONDITIONS[name]
    found = efficiencies(
        Cell(f"{name}-half", 1),
        row.efficiency_current_ma_cm2,
        row.efficiency_charge_mah_cm2,
        20,
        30.0,
    )
    assert statistics.mean(found[1:]) == pytest.approx(row.efficiency_pct, abs=0.1)


def test_a_row_that_contradicts_itself_is_refused():
    told = {"source": "s", "table": 4, "reference": 141, "charge_mah_cm2": 0.25}
    row = Condition("PA", current_ma_cm2=0.5, life_h=8000, efficiency_pct=95.12, **told)
    with pytest.raises(ValueError, match="contradicts itself"):
        preset_from_condition(row)
    with pytest.raises(ValueError, match="neither a life nor an efficiency"):
        preset_from_condition(Condition("PA", current_ma_cm2=0.5, life_h=None, **told))


def test_the_overpotential_told_against_bare_zinc_comes_out():
    potentials = [abs(run(Cell(name), -1.0, 10.0, 1800.0)[1][-1]) for name in ("zn-bare", "zn-znb")]
    assert 1 - potentials[1] / potentials[0] == pytest.approx(0.559, abs=0.02)


@pytest.mark.parametrize("dt_s", [0.1, 1.0, 10.0, 60.0])
def test_a_cut_off_is_found_at_any_row_interval(dt_s):
    reference = efficiencies(Cell("zn-zro2-half", seed=1), 5.0, 1.0, 2, 1.0)[1]
    cell = Cell("zn-zro2-half", seed=1)
    assert efficiencies(cell, 5.0, 1.0, 2, dt_s)[1] == pytest.approx(reference, abs=0.05)
    assert cell.potential("i", 5.0)[0] > CUT_OFF_V - 0.05


def test_a_cut_off_ends_the_step_and_leaves_the_rest_of_the_time():
    cell = Cell("zn-zro2-half", seed=1)
    run(cell, -5.0, 10.0, 720.0)
    used, potential, current = cell.advance(3600.0, "i", 5.0, CUT_OFF_V)
    assert used == pytest.approx(720.0, rel=0.02)
    assert potential >= CUT_OFF_V
    assert current == 5.0


def test_the_film_takes_its_share_of_the_hydroxide():
    cell = Cell("zn-bare", seed=1)
    for _ in range(3):
        run(cell, -1.0, 10.0, 3600.0)
        run(cell, 1.0, 10.0, 3600.0)
    film = (cell.working.zhs_mol_cm2 + cell.counter.zhs_mol_cm2) * cell.area_cm2
    assert film == pytest.approx(0.9 * cell.hydrogen_evolved_mol / 3, rel=1e-9)


def test_hydrogen_is_conserved_on_its_way_to_the_headspace():
    cell = Cell("zn-bare", seed=1)
    run(cell, -1.0, 7.0, 3600.0)
    held = cell.hydrogen_gas_mol + cell.hydrogen_dissolved_mol
    assert held == pytest.approx(cell.hydrogen_evolved_mol, rel=1e-9)
    charge = cell.working.hydrogen + cell.counter.hydrogen
    assert cell.hydrogen_evolved_mol == pytest.approx(
        charge * 3.6 / (2 * 96485.33212) * cell.area_cm2, rel=1e-9
    )


def test_bare_zinc_lives_as_long_as_published():
    lives_h = []
    for seed in range(12):
        cell = Cell("zn-bare", seed)
        while "hard" not in [kind for _, kind in cell.shorts]:
            run(cell, -0.25, 20.0, 720.0)
            run(cell, 0.25, 20.0, 720.0)
        lives_h.append(cell.shorts[-1][0] / 3600)
    assert statistics.median(lives_h) == pytest.approx(55.0, rel=0.15)


def test_a_short_shows_in_potential_current_and_impedance():
    cell = Cell("zn-bare", seed=1)
    healthy = cell.potential("i", -0.25)[0]
    while not cell.short_s_cm2:
        cell.advance(10.0, "i", -0.25)
    assert abs(cell.potential("i", -0.25)[0]) < abs(healthy)
    parallel_ohm = 1 / (cell.short_s_cm2 * cell.area_cm2)
    assert cell.impedance([1e-3])[0].real < parallel_ohm
    assert cell.shorts[0][1] == "soft"


def test_the_thermostat_settles_and_the_interface_follows_the_temperature():
    cell = Cell("zn-zro2")
    cold = cell.impedance([1e-3])[0].real
    cell.temperature_setpoint_k = 308.15
    highest = 0.0
    rows = Cell("zn-zro2")
    rows.temperature_setpoint_k = 308.15
    for _ in range(20):
        rows.advance(30.0)
        for _ in range(30):
            cell.advance(1.0)
            highest = max(highest, cell.temperature_k)
        assert rows.temperature_k == pytest.approx(cell.temperature_k, abs=1e-6)
    assert 308.15 + 0.2 < highest < 308.15 + 0.4
    assert cell.temperature_k == pytest.approx(308.15, abs=0.01)
    assert cell.impedance([1e-3])[0].real < cold


def test_turns_keep_the_ledger_of_each_half_cycle():
    cell = Cell("zn-zro2-half", seed=1)
    found = efficiencies(cell, 5.0, 1.0, 3)
    run(cell, -5.0, 10.0, 10.0)
    ledgers = [ledger for _, ledger in cell.turns]
    assert len(ledgers) == 7  # before the first plating, then at each change
    for cycle, efficiency in enumerate(found):
        begun, turned, ended = ledgers[2 * cycle : 2 * cycle + 3]
        plated = turned["charge_cathodic"] - begun["charge_cathodic"]
        stripped = ended["charge_anodic"] - turned["charge_anodic"]
        assert 100 * stripped / plated == pytest.approx(efficiency, abs=1e-4)


@pytest.mark.parametrize("dt_s", [0.7, 10.0, 600.0])
def test_an_injected_soft_short_begins_and_ends_at_its_time_whatever_the_steps(dt_s):
    cell = Cell("zn-zro2", seed=1)
    done = cell.inject("soft-short", ohm=30.0, seconds=45.0, at_s=100.0)
    assert done == {"ohm": 30.0, "begins_s": 100.0, "ends_s": 145.0}
    healthy = Cell("zn-zro2", seed=1)
    seen = []
    for _ in range(round(600.0 / dt_s)):
        potential = cell.advance(dt_s, "i", -0.25)[1]
        expected = healthy.advance(dt_s, "i", -0.25)[1]
        if abs(potential) < 0.9 * abs(expected):
            seen.append(cell.t)
    assert all(100.0 <= t <= 145.0 + dt_s for t in seen)
    assert len(seen) == len([t for t in np.arange(1, 600 / dt_s + 1) * dt_s if 100 < t <= 145])
    assert cell.shorts == [(pytest.approx(100.0), "soft")]
    assert cell.short_details == [{"ohm": 30.0, "ends_s": 145.0, "injected": True}]
    assert cell.short_s_cm2 == 0.0


def test_what_an_injected_short_leaves_behind_does_not_depend_on_the_steps():
    left = []
    for dt_s in (1.0, 30.0, 200.0):
        cell = Cell("zn-zro2-half", seed=1)
        cell.inject("soft-short", ohm=20.0, seconds=70.0, at_s=333.0)
        run(cell, -1.0, dt_s, 600.0)
        left.append(cell.ledger("WE")["metal"])
    assert left == pytest.approx([left[0]] * 3, rel=1e-3)
    assert left[0] < 1 / 6


def test_an_injected_hard_short_stays_and_has_the_resistance_asked_for():
    cell = Cell("na-znag-symmetric", seed=1)
    cell.inject("hard-short", ohm=0.8)
    run(cell, 0.5, 10.0, 600.0)
    assert cell.shorts == [(0.0, "hard")]
    assert cell.short_s_cm2 * cell.area_cm2 == pytest.approx(1 / 0.8)
    assert cell.impedance([1e-3])[0].real < 0.8
    assert abs(cell.potential("i", 0.5)[0]) < 0.8 * 0.5e-3 * cell.area_cm2


@pytest.mark.parametrize(
    ("fault", "options", "complaint"),
    [
        ("meteor", {}, "soft-short, hard-short"),
        ("soft-short", {"ohm": 0.0}, "is none"),
        ("soft-short", {"seconds": -1.0}, "is none"),
        ("contact", {"ohm": -1.0}, "is none"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Cell("zn-bare").inject(fault, **options)


def test_a_cell_that_shorts_by_itself_can_also_be_shorted():
    cell = Cell("zn-bare", seed=1)
    cell.inject("soft-short", ohm=10.0, seconds=100.0, at_s=50.0)
    cell.advance(60.0, "i", -0.25)
    assert cell.short_s_cm2 * cell.area_cm2 == pytest.approx(0.1)
    cell.advance(100.0, "i", -0.25)
    assert cell.short_s_cm2 == 0.0


def with_reference(share):
    return Cell(replace(preset("zn-bare"), reference_share=share))


@pytest.mark.parametrize("j", [-2.0, 2.0])
def test_against_a_reference_the_working_electrode_has_its_side_of_the_potential(j):
    share = 0.25
    cell, whole = with_reference(share), Cell("zn-bare")
    _, potential, _ = cell.advance(100.0, "i", j)
    _, across, _ = whole.advance(100.0, "i", j)
    # The reference changes what is measured, not what happens.
    assert cell.cell_potential_v == pytest.approx(across)
    assert cell.working.ledger() == whole.working.ledger()
    # The other side is the other electrode, of the same metal, and the rest of the electrolyte.
    resistance = cell.parameters.electrolyte_resistance_ohm_cm2
    of_counter = across - potential - 1e-3 * j * (1 - share) * resistance
    assert potential - 1e-3 * j * share * resistance == pytest.approx(of_counter, rel=0.05)
    assert 0 < potential / across < 1


def test_a_potential_against_a_reference_is_that_of_the_working_electrode():
    cell = with_reference(0.25)
    _, potential, density = cell.advance(60.0, "E", -0.05)
    assert potential == pytest.approx(-0.05, abs=1e-6)
    assert cell.cell_potential_v < -0.08
    again, _ = cell.potential("i", density)
    assert again == pytest.approx(-0.05, rel=0.1)
    whole = with_reference(1.0).impedance([1e5, 1.0])
    assert np.all(np.abs(whole) < np.abs(Cell("zn-bare").impedance([1e5, 1.0])))


def test_a_short_carries_the_potential_of_the_cell_whatever_is_measured():
    cell = with_reference(0.25)
    cell.short_s_cm2 = 0.1
    potential, density = cell.potential("E", -0.05)
    (*_, across) = cell._solve("E", -0.05, 0.0)
    assert potential == pytest.approx(-0.05, abs=1e-6)
    assert density == pytest.approx(cell._solve("E", -0.05, 0.0)[2] + 100.0 * across)


def test_a_reference_that_is_off_shifts_what_is_measured_and_not_what_happens():
    clean = with_reference(0.25)
    off = Cell(replace(clean.parameters, reference_offset_v=0.015, reference_drift_v_h=0.06))
    _, rest, _ = clean.advance(100.0)
    _, shifted, _ = off.advance(100.0)
    assert rest - shifted == pytest.approx(0.015 + 0.06 * 100 / 3600, abs=1e-5)
    assert off.cell_potential_v == clean.cell_potential_v
    _, driven, _ = clean.advance(3500.0, "i", 1.0)
    _, shifted, _ = off.advance(3500.0, "i", 1.0)
    assert driven - shifted == pytest.approx(0.075, abs=1e-4)
    # Where the potential is set, it is set against the reference as it is.
    _, _, density = off.advance(1.0, "E", -0.05)
    assert density == pytest.approx(clean.advance(1.0, "E", -0.05 + 0.075)[2], rel=0.05)


def test_the_lead_of_a_reference_can_come_off_where_there_is_one():
    cell = with_reference(0.25)
    assert cell.inject("reference", volts=0.02) == {
        "volts": 0.02,
        "volts_per_hour": 0.0,
        "hum_v": 0.0,
    }
    assert cell.potential()[0] == pytest.approx(with_reference(0.25).potential()[0] - 0.02)
    cell.inject("reference")
    assert cell.potential()[0] < -90
    with pytest.raises(ValueError, match="no reference electrode"):
        Cell("zn-bare").inject("reference")
