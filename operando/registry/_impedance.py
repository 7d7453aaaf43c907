"""Impedance spectra."""

from operando.registry._definition import Definition

IMPEDANCE = (
    Definition(
        "series_resistance_ohm",
        "ohm",
        "by spectrum",
        "R_s of the fitted circuit: one or two depressed arcs, with or without an inductance and a "
        "finite-length Warburg element, chosen by the Bayesian information criterion (a Warburg "
        "element only where it is lower by more than 10); None unless the Kramers-Kronig test "
        "holds.",
        "least squares over |Z|; Boukamp 1995 for the test",
    ),
    Definition(
        "interfacial_resistance_ohm",
        "ohm",
        "by spectrum",
        "Sum of the fitted arcs: both interfaces of a two-electrode cell, not halved; with a "
        "reference electrode that of the working electrode alone. Diffusion is not in it. "
        "The uncertainty is that of the fit, of the current's gain, of what the arcs have beyond "
        "the band, and how far it moves when the circuit gets one more arc.",
        "least squares over |Z|",
    ),
    Definition(
        "brug_capacitance_uf",
        "uF",
        "by spectrum",
        "Effective capacitance of the largest arc, Q^(1/a) (1/R_s + 1/R)^((a-1)/a).",
        "Brug et al. 1984",
    ),
    Definition(
        "diffusion_resistance_ohm",
        "ohm",
        "by spectrum",
        "R of the finite-length Warburg element; None where the circuit has none.",
        "least squares over |Z|",
    ),
    Definition(
        "impedance_chi2_reduced",
        "1",
        "by spectrum",
        "Sum of the squared residuals over |Z| by degrees of freedom: the mean square of what the "
        "circuit leaves.",
        "usual definition",
    ),
    Definition(
        "spectrum_drift_mv",
        "mV",
        "by spectrum",
        "How far the open circuit potential drifted while the spectrum was measured: from the last "
        "row before it to the first after it where both are at rest, else its slope in the last "
        "minute before times the spectrum's length (too much, as a relaxation slows down).",
        "own definition, stated",
    ),
    Definition(
        "parallel_resistance_ohm",
        "ohm",
        "by spectrum",
        "R_sh in parallel to the cell as the run's first valid spectrum tells it, its arcs scaled "
        "by one factor: what a soft short does. None where no conductance stands out by three "
        "standard errors.",
        "Z = Z_cell R_sh/(Z_cell + R_sh)",
    ),
    Definition(
        "drt_tau_s",
        "s",
        "by peak",
        "Time constants of the peaks of the distribution of relaxation times of the last spectrum "
        "that passed the Kramers-Kronig test, fastest first: the means of log tau, weighted with "
        "gamma. Tikhonov regularisation chosen by generalised cross-validation, gamma >= 0.",
        "Wan et al. 2015; Golub, Heath and Wahba 1979",
    ),
    Definition(
        "drt_area_ohm",
        "ohm",
        "by peak",
        "Resistances of these peaks: their areas.",
        "Wan et al. 2015",
    ),
)
