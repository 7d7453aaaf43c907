"""What a cell is made of: electrodes, electrolyte and separator, at 298.15 K."""

from __future__ import annotations

from dataclasses import dataclass

FARADAY = 96485.33212  # C/mol, CODATA 2018
GAS_CONSTANT = 8.314462618  # J/(mol K), CODATA 2018
COULOMB_PER_MAH = 3.6
REFERENCE_TEMPERATURE_K = 298.15


@dataclass(frozen=True)
class Metal:
    """The metal that is plated and stripped."""

    symbol: str
    electrons: int
    molar_mass_g_mol: float
    density_g_cm3: float

    @property
    def micrometre_per_mah_cm2(self) -> float:
        """Thickness of a compact deposit, um per mAh/cm2 (Faraday; zinc 1.708, sodium 8.861)."""
        mol_per_mah = COULOMB_PER_MAH / (self.electrons * FARADAY)
        return mol_per_mah * self.molar_mass_g_mol / self.density_g_cm3 * 1e4


ZINC = Metal("Zn", 2, 65.38, 7.14)
SODIUM = Metal("Na", 1, 22.98977, 0.968)

# Zinc hydroxide sulfate, Zn4SO4(OH)6 . 5 H2O, the film that hydrogen evolution leaves behind.
ZHS_MOLAR_MASS_G_MOL = 549.7
ZHS_DENSITY_G_CM3 = 2.7


@dataclass(frozen=True)
class ElectrodeParameters:
    """One electrode; every number per geometric area and at 298.15 K.

    Attributes:
        exchange_current_ma_cm2: j0 of the metal, Butler-Volmer with both transfer coefficients one
            half.
        film_resistance_ohm_cm2: resistance of the film the electrode starts with.
        metal_mah_cm2: metal present at the start (a 100 um zinc foil is 58.5); 0 is a bare foreign
            substrate.
        predeposited_mah_cm2: metal plated onto it before the test, in addition; a substrate that
            has some is already covered and its interphase formed.
        fresh_exchange_current_ma_cm2: j0 before the first cycle; 0: the same as later.
        fresh_film_resistance_ohm_cm2: film resistance before the first cycle, used when the fresh
            j0 is given.
        formation_cycles: number of cycles in which fresh values relax towards the later ones by
            1/e.
        hydrogen_current_ma_cm2: hydrogen evolution current at zero overpotential.
        dead_fraction: metal that becomes electrically dead, per metal dissolved.
        dead_fraction_sd: its standard deviation from plating to plating; the first cycle has none.
        resistance_scatter: standard deviation of the logarithm of the interfacial resistance, drawn
            anew at each plating once the interphase has formed, after five cycles; 0: it does not
            scatter.
        exposure: by which share metal newly plated raises the exchange current at most: it exposes
            more active sites; what is stripped takes them along.
        exposure_charge_mah_cm2: charge of it at which 63 % of that is reached.
        zhs_yield: part of the hydroxide from hydrogen evolution that ends as film, 0..1.
        zhs_resistivity_ohm_cm: resistivity of that film.
        nucleation_overpotential_v: extra overpotential at the first nucleation on a substrate.
        nucleation_charge_mah_cm2: charge at which that extra overpotential is largest.
        formation_charge_mah_cm2: charge of the interphase or alloy formed before metal is plated.
        formation_potential_v: potential at which that formation starts, against the metal.
        coverage_charge_mah_cm2: metal below which a stripped electrode is no longer fully covered.
        compactness: volume of metal per volume of deposit, 0..1.
        texture: relative texture coefficients of the deposit, of (002), (100) and (101), which add
            up to 1; a third each is a powder.
        film_cpe: constant phase element of the film, F s^(a-1) per cm2, with `film_cpe_exponent`.
        film_cpe_exponent: its exponent a.
        double_layer_cpe: constant phase element of the double layer, F s^(a-1) per cm2.
        double_layer_cpe_exponent: its exponent a.
    """

    exchange_current_ma_cm2: float
    film_resistance_ohm_cm2: float
    metal_mah_cm2: float = 58.5
    predeposited_mah_cm2: float = 0.0
    fresh_exchange_current_ma_cm2: float = 0.0
    fresh_film_resistance_ohm_cm2: float = 0.0
    formation_cycles: float = 1.0
    hydrogen_current_ma_cm2: float = 0.0
    dead_fraction: float = 0.0
    dead_fraction_sd: float = 0.0
    resistance_scatter: float = 0.0
    exposure: float = 0.0
    exposure_charge_mah_cm2: float = 0.5
    zhs_yield: float = 0.0
    zhs_resistivity_ohm_cm: float = 1.2e5
    nucleation_overpotential_v: float = 0.0
    nucleation_charge_mah_cm2: float = 4e-3
    formation_charge_mah_cm2: float = 0.0
    formation_potential_v: float = 1.0
    coverage_charge_mah_cm2: float = 0.01
    compactness: float = 0.9
    texture: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    film_cpe: float = 5e-6
    film_cpe_exponent: float = 0.95
    double_layer_cpe: float = 6e-5
    double_layer_cpe_exponent: float = 0.90


@dataclass(frozen=True)
class RedoxCouple:
    """One peak of dQ/dE.

    Attributes:
        name: whose couple it is.
        oxidised_at_v: centre while it is oxidised, V against the cell's metal.
        reduced_at_v: centre while it is reduced, V; not above the former.
        width_v: standard deviation, V.
        share: of the capacity.
    """

    name: str
    oxidised_at_v: float
    reduced_at_v: float
    width_v: float
    share: float


@dataclass(frozen=True)
class InsertionParameters:
    """An insertion electrode; every number per geometric area and at 298.15 K.

    Attributes:
        couples: their shares add up to 1.
        capacity_mah_cm2: in reach at the reference rate, fresh.
        active_mass_mg_cm2: what rates in mA/g are told for.
        charge_transfer_ohm_cm2: of all couples together.
        film_resistance_ohm_cm2: of its film.
        activation_j_mol: Arrhenius energy of these two.
        rate_reference_ma_g: up to this rate the whole capacity is in reach.
        rate_loss_per_ma_g: share that is out of reach, per mA/g beyond.
        cold_loss_per_k: share that is out of reach, per K below 298.15 K.
        retention_per_cycle: what is in reach relative to the cycle before.
        parasitic_share: part of the charging current that oxidises something else.
        film_cpe: constant phase element of the film, F s^(a-1) per cm2, with `film_cpe_exponent`.
        film_cpe_exponent: its exponent a.
        double_layer_cpe: constant phase element of the double layer, F s^(a-1) per cm2.
        double_layer_cpe_exponent: its exponent a.
    """

    couples: tuple[RedoxCouple, ...]
    capacity_mah_cm2: float
    active_mass_mg_cm2: float
    charge_transfer_ohm_cm2: float = 2.0
    film_resistance_ohm_cm2: float = 1.0
    activation_j_mol: float = 20e3
    rate_reference_ma_g: float = 50.0
    rate_loss_per_ma_g: float = 0.0
    cold_loss_per_k: float = 0.0
    retention_per_cycle: float = 1.0
    parasitic_share: float = 0.0
    film_cpe: float = 6e-5
    film_cpe_exponent: float = 0.95
    double_layer_cpe: float = 5e-3
    double_layer_cpe_exponent: float = 0.90


@dataclass(frozen=True)
class CellParameters:
    """Two electrodes and what is between and around them.

    Attributes:
        metal: what is plated and stripped.
        working: the working electrode; in a full cell a cathode of insertion.
        counter: the counter electrode.
        area_cm2: geometric area; 1.131 is a disc of 12 mm.
        electrolyte_resistance_ohm_cm2: ohmic resistance between the electrodes times area.
        inductance_h: of the cables, seen in impedance only.
        interface_activation_j_mol: Arrhenius energy of j0 and of the film resistance.
        hydrogen_activation_j_mol: Arrhenius energy of hydrogen evolution.
        electrolyte_activation_j_mol: Arrhenius energy of the electrolyte resistance.
        hydrogen_tafel_v: Tafel slope of hydrogen evolution, V per decade.
        limiting_current_ma_cm2: limiting current through the separator.
        transport_time_s: time in which the surface concentration follows the current.
        oxidation_potential_v: where substrate or electrolyte is oxidised at 1 mA/cm2.
        oxidation_tafel_v: its Tafel slope, V per decade.
        dendrite_amplification: growth of the highest tip per thickness of metal plated at
            `dendrite_current_ma_cm2`; 0: no dendrites and no shorts.
        dendrite_exponent: how the amplification goes with current density.
        dendrite_current_ma_cm2: where the amplification is given.
        nucleation_current_ma_cm2: current density that scales the nucleation overpotential.
        separator_um: thickness; a tip this long shorts the cell.
        headspace_l: gas volume above the electrolyte.
        gas_release_s: time in which dissolved hydrogen goes to the headspace.
        salt_mol_l: concentration of the salt, for the Raman spectrum.
        porosity: of the separator, for the Raman spectrum.
        reference_share: where a reference electrode of the metal sits: the share of the
            electrolyte's resistance between it and the working electrode; None: there is none, and
            the counter electrode is the reference.
        reference_offset_v: how far its potential is from that of the metal, V: all that is measured
            against it is lower by this.
        reference_drift_v_h: by how much that changes, V/h.
    """

    metal: Metal
    working: ElectrodeParameters | InsertionParameters
    counter: ElectrodeParameters
    area_cm2: float = 1.131
    electrolyte_resistance_ohm_cm2: float = 3.0
    inductance_h: float = 1e-7
    interface_activation_j_mol: float = 30e3
    hydrogen_activation_j_mol: float = 40e3
    electrolyte_activation_j_mol: float = 12e3
    hydrogen_tafel_v: float = 0.120
    limiting_current_ma_cm2: float = 183.0
    transport_time_s: float = 45.0
    oxidation_potential_v: float = 1.10
    oxidation_tafel_v: float = 0.060
    dendrite_amplification: float = 0.0
    dendrite_exponent: float = 0.0
    dendrite_current_ma_cm2: float = 1.0
    nucleation_current_ma_cm2: float = 0.5
    separator_um: float = 260.0
    headspace_l: float = 5e-3
    gas_release_s: float = 120.0
    salt_mol_l: float = 2.0
    porosity: float = 0.9
    reference_share: float | None = None
    reference_offset_v: float = 0.0
    reference_drift_v_h: float = 0.0

    @property
    def metal_electrode(self) -> ElectrodeParameters:
        """The electrode of metal or substrate: the working one, in a full cell the counter."""
        return self.working if isinstance(self.working, ElectrodeParameters) else self.counter
