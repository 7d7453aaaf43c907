"""Blind cells are drawn, are cells like the others, and are none of the published ones."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_devices.cell import PRESETS
from sim_devices.cell.blind_sodium import blind_sodium_cell, blind_sodium_parameters

PUBLISHED = [cell for name, cell in PRESETS.items() if name.startswith("na-")]
DRAWN = (
    "exchange_current_ma_cm2",
    "film_resistance_ohm_cm2",
    "nucleation_overpotential_v",
    "formation_charge_mah_cm2",
    "dead_fraction",
    "compactness",
)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_that_an_analysis_looks_for_is_a_published_value(seed):
    drawn = blind_sodium_parameters(seed)
    for cell in PUBLISHED:
        for name in DRAWN:
            assert getattr(drawn.metal_electrode, name) != getattr(cell.metal_electrode, name)
        assert drawn.interface_activation_j_mol != cell.interface_activation_j_mol
        assert drawn.electrolyte_resistance_ohm_cm2 != cell.electrolyte_resistance_ohm_cm2


def test_the_seed_decides_everything_and_another_seed_something_else():
    assert blind_sodium_parameters(3) == blind_sodium_parameters(3)
    assert blind_sodium_parameters(3) != blind_sodium_parameters(4)
    assert blind_sodium_cell(3).contact_ohm == blind_sodium_cell(3).contact_ohm
    assert 0.0 < blind_sodium_cell(3).contact_ohm < 1.0
    assert dataclasses.asdict(blind_sodium_parameters(3)) == blind_sodium_cell(3).told()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_blind_cell_plates_and_strips_and_its_ledger_closes(seed):
    cell = blind_sodium_cell(seed)
    cell.advance(3600.0, "i", -0.5)
    assert cell.working.deposit_mah_cm2 > 0.3
    used, potential, _ = cell.advance(7200.0, "i", 0.5, 0.5)
    assert potential >= 0.5
    assert 0.6 * 3600 < used < 3600
    for electrode in (cell.working, cell.counter):
        assert electrode.ledger_residual() == pytest.approx(0.0, abs=1e-9)
