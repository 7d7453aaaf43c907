"""Impedance spectra."""

from operando.registry._definition import Definition

IMPEDANCE = (
    Definition(
        "series_resistance_ohm",
        "ohm",
        "by spectrum",
        "R_s of the fitted circuit (one or two depressed arcs, chosen by the Bayesian information "
        "criterion); None unless the Kramers-Kronig test holds.",
        "least squares over |Z|; Boukamp 1995 for the test",
    ),
    Definition(
        "interfacial_resistance_ohm",
        "ohm",
        "by spectrum",
        "Sum of the fitted arcs: both interfaces of the cell, not halved. The uncertainty is that "
        "of the fit and of the current's gain, not of the choice of circuit.",
        "least squares over |Z|",
    ),
)
