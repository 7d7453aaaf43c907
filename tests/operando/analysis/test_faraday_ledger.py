import pytest

from operando.analysis.thickness import (
    METALS,
    foil_capacity_mah_cm2,
    hydrogen_mol,
    theoretical_thickness_um,
)


@pytest.mark.parametrize(
    ("symbol", "um", "mah_g", "mah_cm3", "umol"),
    [("Zn", 1.708, 819.9, 5854, 18.656), ("Na", 8.861, 1165.8, 1128, 37.311)],
)
def test_the_ledger_agrees_with_the_published_figures(
    symbol: str, um: float, mah_g: float, mah_cm3: float, umol: float
) -> None:
    metal = METALS[symbol]
    assert metal.micrometre_per_mah_cm2 == pytest.approx(um, abs=6e-4)
    assert metal.capacity_mah_g == pytest.approx(mah_g, abs=0.1)
    assert metal.capacity_mah_cm3 == pytest.approx(mah_cm3, abs=1)
    assert metal.micromole_per_mah == pytest.approx(umol, abs=1e-3)


def test_two_mah_cm2_of_sodium_are_17_7_um() -> None:
    assert theoretical_thickness_um(2.0, METALS["Na"]) == pytest.approx(17.72, abs=0.005)


def test_twenty_um_of_zinc_hold_11_7_mah_cm2() -> None:
    assert foil_capacity_mah_cm2(20.0, METALS["Zn"]) == pytest.approx(11.7, abs=0.02)


def test_one_mah_makes_18_656_umol_of_hydrogen() -> None:
    assert hydrogen_mol(3.6) * 1e6 == pytest.approx(18.656, abs=1e-3)
