"""Full cells of Prussian blue against sodium on Zn@Ag and zinc: phenomenological, and said to be.

After Chem. Sci. 2024, 15, 4833 (silver-coated zinc for sodium metal). Everything published is an
input or calibrated: peaks of the voltammogram at 0.1 mV/s, capacities, retentions, rates, cold,
efficiencies. A reader of simulated data learns how well they are measured. The sodium electrode is
the one of `sodium`, with its efficiency and its nucleation.

What the paper does not tell is chosen: a loading of 2.5 mg/cm2 of active material, the same
capacity at 10 mA/g on both substrates in the rate test, the efficiency at 50 mA/g (that at 100
mA/g), and the first capacity of the anode-free cell on zinc. Where it contradicts itself:

* 104.9 mAh/g at 50 mA/g and 109.1 mAh/g at 200 mA/g cannot be one cell: the rate test is another.
  Whether 104.9 is the first or the last capacity is not said; it is taken for the first.
* The positions of the high-spin couple, 3.17 and 3.12 V, are 50 mV apart, and its separation is
  told to be 38 mV: the positions are taken.
* 79.9 of 140.5 mAh/g after 100 cycles is 56.9 %, and 55.4 % is told: the capacities are taken.

Names: ``pb-half`` (against sodium foil), ``pb-znag-anodeless`` and ``pb-bare-anodeless`` (1 mAh/cm2
of sodium plated before), ``pb-znag-anodeless-100`` (the cell cycled at 100 mA/g), ``pb-znag-rate``
and ``pb-bare-rate``, ``pb-znag-anodefree`` and ``pb-bare-anodefree``.
"""

from __future__ import annotations

from dataclasses import replace

from sim_devices.cell.insertion import SURFACE_MAH_CM2_V
from sim_devices.cell.parameters import (
    CellParameters,
    ElectrodeParameters,
    InsertionParameters,
    RedoxCouple,
)
from sim_devices.cell.sodium import ON, predeposited

LOADING_MG_CM2 = 2.5
_ANODELESS_MAH_CM2 = 1.0
_WIDTH_V = 0.035
_EFFICIENCY = 0.995
_WINDOW_V = 3.7 - 2.4  # in which the capacities are published

# Oxidation and reduction of low-spin and of high-spin iron, V: calibrated so that the peaks of a
# voltammogram at 0.1 mV/s, which the cell's resistance moves, are at 3.4275 and 3.3125, 3.170 and
# 3.119 V with Zn@Ag and at 3.459 and 3.291, 3.1815 and 3.1185 V with zinc.
_CENTRES = {
    "znag": ((3.4106, 3.3294), (3.1534, 3.1359)),
    "bare": ((3.4416, 3.3084), (3.1641, 3.1359)),
}


def _couples(substrate: str) -> tuple[RedoxCouple, ...]:
    return tuple(
        RedoxCouple(name, oxidised_v, reduced_v, _WIDTH_V, 0.5)
        for name, (oxidised_v, reduced_v) in zip(
            ("low-spin Fe", "high-spin Fe"), _CENTRES[substrate], strict=True
        )
    )


def _full_cell(
    substrate: str,
    anode: ElectrodeParameters,
    capacity_mah_g: float,
    *,
    efficiency: float = _EFFICIENCY,
    retention: float = 1.0,
    cycles: int = 1,
    rate_reference_ma_g: float = 50.0,
    rate_loss_per_ma_g: float = 0.0,
    cold_loss_per_k: float = 0.0,
    parasitic_share: float | None = None,
) -> CellParameters:
    """Return a full cell that keeps `retention` of its capacity over so many cycles."""
    per_cycle = retention ** (1 / max(1, cycles - 1))
    cathode = InsertionParameters(
        _couples(substrate),
        capacity_mah_g * LOADING_MG_CM2 * 1e-3 - SURFACE_MAH_CM2_V * _WINDOW_V,
        LOADING_MG_CM2,
        rate_reference_ma_g=rate_reference_ma_g,
        rate_loss_per_ma_g=rate_loss_per_ma_g,
        cold_loss_per_k=cold_loss_per_k,
        retention_per_cycle=per_cycle,
        parasitic_share=(
            1 - efficiency / per_cycle if parasitic_share is None else parasitic_share
        ),
    )
    return replace(ON[substrate], working=cathode, counter=anode)


def _anodeless(substrate: str) -> ElectrodeParameters:
    """Return a substrate with sodium on it, its interphase formed and cycled."""
    return replace(
        predeposited(substrate, _ANODELESS_MAH_CM2),
        fresh_exchange_current_ma_cm2=0.0,
        fresh_film_resistance_ohm_cm2=0.0,
        resistance_scatter=0.0,
    )


def _anodefree(substrate: str, dead_fraction: float, scatter: float) -> ElectrodeParameters:
    return replace(
        ON[substrate].metal_electrode, dead_fraction=dead_fraction, dead_fraction_sd=scatter
    )


_FOIL = ON["znag"].counter

FULL_CELLS: dict[str, CellParameters] = {
    "pb-half": _full_cell("znag", _FOIL, 123.4, retention=0.734, cycles=150),
    "pb-znag-anodeless": _full_cell(
        "znag",
        _anodeless("znag"),
        104.9,
        retention=0.891,
        cycles=150,
        cold_loss_per_k=(1 - 0.727) / 45,
    ),
    "pb-bare-anodeless": _full_cell(
        "bare",
        _anodeless("bare"),
        90.2,
        retention=0.742,
        cycles=150,
        cold_loss_per_k=(1 - 0.611) / 45,
    ),
    "pb-znag-anodeless-100": _full_cell(
        "znag",
        _anodeless("znag"),
        104.9,
        retention=0.970,
        cycles=100,
        rate_reference_ma_g=100.0,
    ),
    "pb-znag-rate": _full_cell(
        "znag",
        _anodeless("znag"),
        120.0,
        rate_reference_ma_g=10.0,
        rate_loss_per_ma_g=(1 - 109.1 / 120) / 190,
    ),
    "pb-bare-rate": _full_cell(
        "bare",
        _anodeless("bare"),
        120.0,
        rate_reference_ma_g=10.0,
        rate_loss_per_ma_g=(1 - 101.3 / 120) / 190,
    ),
    # Their capacity is that of the sodium: it fades with what dies in each cycle. How much that
    # differs from cycle to cycle is chosen, so little that one cell tells what many keep to 0.6 %.
    "pb-znag-anodefree": _full_cell(
        "znag", _anodefree("znag", 0.00867, 2e-4), 146.9, parasitic_share=0.00291
    ),
    "pb-bare-anodefree": _full_cell(
        "bare", _anodefree("bare", 0.01098, 6e-4), 154.0, parasitic_share=0.001427
    ),
}
