"""Overpotentials and polarisation."""

from operando.registry._definition import Definition

OVERPOTENTIALS = (
    Definition(
        "cell_eta_n_mv",
        "mV",
        "scalar",
        "Nucleation overpotential of a two-electrode cell: |tip| - |plateau| of the first "
        "plating. The dip may belong to the counter electrode. Nothing is taken off for what else "
        "polarises the cell more on the plateau than at the tip (concentrations, films); that is "
        "in the uncertainty: half of what the plateau's slope taken back to the tip and a rest "
        "that follows tell of it, added to the rest of it (noise, steps, distance of rows, gain of "
        "the potential: 0.1 %, or potential_gain_uncertainty in the calibration). Twice the "
        "uncertainty so reaches to where a correction would put the number, and beyond.",
        "Yan et al. 2016; J. Electrochem. Soc. 2022, 169, 070509",
    ),
    Definition(
        "eta_n_mv",
        "mV",
        "scalar",
        "The same, measured against a reference electrode.",
        "Yan et al. 2016",
    ),
    Definition(
        "plateau_overpotential_mv",
        "mV",
        "by cycle",
        "Median of |E| over 40-90 % of the charge of the plating half-cycle; in a symmetric cell "
        "of two electrodes both contribute. With a reference electrode |E|, here and wherever a "
        "metric takes it, is |E_WE - E_metal|: it counts from the metal's potential against the "
        "reference (metal_vs_reference_v of the cell file, 0 against the same metal), and is None "
        "where that is not known. Nothing is corrected for iR. Its uncertainty is that of the "
        "potential's offset (1 mV, or potential_offset_uncertainty_v in the calibration) and gain, "
        "and of the median.",
        "own definition, stated",
    ),
    Definition(
        "polarisation_mv",
        "mV",
        "by cycle",
        "Voltage hysteresis at half the charge: |E_plate| + |E_strip| of a symmetric cell, "
        "E_strip - E_plate of a half cell, whatever E is measured against. The offset of the "
        "potential is in both and cancels.",
        "usual definition",
    ),
    Definition(
        "late_strip_rise",
        "1",
        "by cycle",
        "|E| at 95 % over |E| at 50 % of the charge of the stripping half-cycle.",
        "own definition, stated",
    ),
    Definition(
        "overpotential_mv",
        "mV",
        "by cycle",
        "Half of polarisation_mv: what the literature calls overpotential where it does not mean "
        "the whole hysteresis.",
        "usual definition",
    ),
    Definition(
        "voltage_hysteresis_mv",
        "mV",
        "by cycle",
        "The same as polarisation_mv; of a full cell mean_charge_v - mean_discharge_v.",
        "usual definition",
    ),
    Definition(
        "electrode_overpotential_mv",
        "mV",
        "by cycle",
        "Overpotential of one electrode: of a symmetric two-electrode cell (|E| - |i| R_s) / 2; "
        "with a reference electrode that of the working electrode, |E - E_metal| - |i| R_s, not "
        "halved, E_metal the metal's potential against the reference. |E| is that of "
        "plateau_overpotential_mv, R_s the series_resistance_ohm of the last spectrum before (the "
        "first one, where there is none before); None where R_s is not known.",
        "usual definition",
    ),
)
