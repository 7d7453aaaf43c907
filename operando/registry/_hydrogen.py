"""Hydrogen in the headspace."""

from operando.registry._definition import Definition

HYDROGEN = (
    Definition(
        "hydrogen_umol",
        "umol",
        "by injection",
        "Hydrogen formed since the last injection that found any (the first: since the start).",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_cumulative_umol",
        "umol",
        "by injection",
        "Hydrogen formed since the start: y P V / (R T), plus what earlier injections took away.",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_total_umol",
        "umol",
        "scalar",
        "hydrogen_cumulative_umol of the last injection that found any.",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_faradaic_efficiency_pct",
        "%",
        "scalar",
        "Share of the charge passed until that injection, in both directions, that made hydrogen "
        "(2 F per mole). A shared headspace collects the gas of both electrodes.",
        "Faraday's law",
    ),
)
