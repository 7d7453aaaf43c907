"""Charge transfer, transport, voltammograms, pulses."""

from operando.registry._definition import Definition

_APPARENT = (
    "Apparent unless the technique asks for more: the whole potential against open circuit, "
    "nothing taken off for i R_s, of both interfaces of a symmetric cell, as the reason says. With "
    "tafel: correct_series_resistance, eta = E - i R_s, (E - i R_s)/2 in a symmetric cell of two "
    "electrodes"
)

KINETICS = (
    Definition(
        "tafel_slope_mv_dec",
        "mV/decade",
        "scalar",
        "d eta / d log10 |j| of the last linear sweep from +60 to +110 mV (or the "
        "technique's fit_window_v) against open circuit. "
        f"{_APPARENT}.",
        "Tafel's line; window declared",
    ),
    Definition(
        "j0_apparent_ma_cm2",
        "mA/cm2",
        "scalar",
        "That line at eta = 0. Behind a series resistance it tells more of the electrolyte than of "
        "the interface; not to be compared with j0_linear_ma_cm2.",
        "Tafel's line; window declared",
    ),
    Definition(
        "tafel_slope_cathodic_mv_dec",
        "mV/decade",
        "scalar",
        "The same of the cathodic branch, from -60 to -110 mV.",
        "Tafel's line; window declared",
    ),
    Definition(
        "j0_apparent_cathodic_ma_cm2",
        "mA/cm2",
        "scalar",
        "The cathodic line at eta = 0.",
        "Tafel's line; window declared",
    ),
    *(
        Definition(
            f"transfer_coefficient_{branch}",
            "1",
            "scalar",
            f"{symbol} of the whole reaction (n/2 for a symmetric step of n electrons), fitted "
            "with j0 to both branches of the last linear sweep; only where i R_s is taken off. Two "
            "electrodes of the metal without a reference: the harmonic mean of both coefficients.",
            "Butler-Volmer",
        )
        for branch, symbol in (("anodic", "alpha_a"), ("cathodic", "alpha_c"))
    ),
    Definition(
        "j0_linear_ma_cm2",
        "mA/cm2",
        "scalar",
        "RT/(nF) dj/deta of the last linear sweep at |eta| < 5 mV (n = 1) or 3 mV (n = 2) of one "
        "interface, i R_s taken off with R_s of the spectrum before: None where the technique does "
        "not ask for that (tafel: correct_series_resistance: true). Films on the electrodes are "
        "part of the interface.",
        "Butler-Volmer at small overpotentials",
    ),
    Definition(
        "j0_linear_apparent_ma_cm2",
        "mA/cm2",
        "scalar",
        "The same with i R_s in it: behind a series resistance many times too low for the "
        "interface, and not to be compared with j0_linear_ma_cm2.",
        "Butler-Volmer at small overpotentials",
    ),
    Definition(
        "temperature_k",
        "K",
        "by temperature",
        "Mean temperature during each spectrum at which it stood (|dT/dt| < 0.1 K/min over five "
        "minutes, |T - T_set| < 0.3 K), or as the start document tells it.",
        "own definition, stated",
    ),
    Definition(
        "resistance_at_temperature_ohm",
        "ohm",
        "by temperature",
        "interfacial_resistance_ohm of that spectrum.",
        "least squares over |Z|",
    ),
    Definition(
        "activation_energy_kj_mol",
        "kJ/mol",
        "scalar",
        "E_a from ln(T/R) against 1/T, at least 4 temperatures.",
        "Eyring-like form of the published comparisons",
    ),
    Definition(
        "activation_energy_ln_inverse_r_kj_mol",
        "kJ/mol",
        "scalar",
        "E_a from ln(1/R) against 1/T, at least 4 temperatures: lower than the other by R times "
        "the mean temperature, and not to be compared with it.",
        "Arrhenius",
    ),
    Definition(
        "transference_number_apparent",
        "1",
        "scalar",
        "t+ = I_ss (dV - I_0 R_0) / (I_0 (dV - I_ss R_ss)) of a potential step of 20 mV at "
        "most between two spectra, in a symmetric cell of the metal; None elsewhere, if the "
        "current did not stand, rose, or the uncertainty exceeds 0.1. u(dV) is that of the "
        "potential's offset, its gain and the rest before.",
        "Bruce and Vincent 1987; Evans, Vincent and Bruce 1987",
    ),
    Definition(
        "cv_anodic_peak_v",
        "V",
        "by peak",
        "Potentials of the anodic peaks of the last scan at the lowest scan rate, lowest first; "
        "those of couples if there are any. In a full cell: cell voltages, on charge.",
        "maxima after Savitzky and Golay, 5 rows; the vertex there",
    ),
    Definition(
        "cv_cathodic_peak_v",
        "V",
        "by peak",
        "Potentials of the cathodic peaks that belong to them.",
        "maxima after Savitzky and Golay, 5 rows; the vertex there",
    ),
    Definition(
        "cv_peak_separation_mv",
        "mV",
        "by peak",
        "E_pa - E_pc of each couple.",
        "usual definition",
    ),
    Definition(
        "cv_anodic_peak_ma_cm2",
        "mA/cm2",
        "by peak",
        "Currents of the anodic peaks of the couples above their baseline, the lower convex "
        "hull of the sweep.",
        "own definition, stated",
    ),
    Definition(
        "cv_rate_exponent",
        "1",
        "by peak",
        "b of |i_p| = a v^b of the anodic peaks over at least three scan rates: 0.5 where "
        "diffusion limits, 1 at the surface.",
        "Randles and Sevcik for 0.5",
    ),
    Definition(
        "interrupt_resistance_ohm",
        "ohm",
        "scalar",
        "dE/di where a current is interrupted, extrapolated to the instant from rows at most 50 ms "
        "apart on both sides; the mean of all interrupts. What relaxes between two rows is in it. "
        "Stored, never applied.",
        "current interrupt",
    ),
    Definition(
        "pulse_resistance_ohm",
        "ohm",
        "by step",
        "(E at the end of a pulse - E at rest before) / i of each pulse of a series with rests.",
        "galvanostatic intermittent titration",
    ),
    Definition(
        "relaxed_potential_v",
        "V",
        "by step",
        "Potential of the metal electrode at the end of the rest after each of these pulses.",
        "galvanostatic intermittent titration",
    ),
)
