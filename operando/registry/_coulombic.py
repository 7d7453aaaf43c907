"""Coulombic efficiency."""

from operando.registry._definition import Definition

COULOMBIC = (
    Definition(
        "ce_pct",
        "%",
        "by cycle",
        "Coulombic efficiency: stripped over plated charge of each cycle that is complete, not "
        "clipped at 100. None where rows were lost at the end of a half-cycle, and where a strip "
        "ended by its charge or time instead of a potential, a guard's among them: then the ratio "
        "is what was asked for. Undefined for symmetric cells, and where the electrode is made of "
        "the metal; with metal deposited before it counts from a strip on that took all of it. The "
        "uncertainty is that of the current, whose offset counts twice and whose gain cancels on "
        "one range, and that of the cut-off: the potential passed it somewhere between the last "
        "two readings, and the charge dq between them adds dq sqrt(1/12 + x^2/4), where x is the "
        "share of the set current at the last: dq/sqrt(3) if all of it flows, and dq/sqrt(12) if "
        "none, where half of dq is counted.",
        "usual definition; offset by error propagation, cut-off as a uniform distribution",
    ),
    Definition(
        "ce_mean_pct",
        "%",
        "scalar",
        "Arithmetic mean of ce_pct over all cycles that have one, the first included, until a hard "
        "short (hard_short_cycle); so are the other numbers of several cycles.",
        "usual definition",
    ),
    Definition(
        "ce_mean_without_first_pct",
        "%",
        "scalar",
        "Arithmetic mean of ce_pct without cycle 1, or without the declared formation cycles if "
        "there are more.",
        "usual definition",
    ),
    Definition(
        "ce_ratio_of_sums_pct",
        "%",
        "scalar",
        "All stripped over all plated charge of the cycles with a ce_pct; not the same number as "
        "the mean.",
        "usual definition",
    ),
    Definition(
        "ce_sd_pct",
        "%",
        "scalar",
        "Standard deviation (n - 1) of ce_pct over the cycles of ce_mean_without_first_pct.",
        "usual definition",
    ),
    Definition(
        "initial_ce_pct",
        "%",
        "scalar",
        "Coulombic efficiency of the first cycle.",
        "usual definition",
    ),
    Definition(
        "initial_loss_mah_cm2",
        "mAh/cm2",
        "scalar",
        "Charge that the first cycle lost: plated minus stripped.",
        "usual definition",
    ),
    Definition(
        "cumulative_irreversible_mah_cm2",
        "mAh/cm2",
        "scalar",
        "Charge lost by all cycles with a ce_pct: the sum of plated minus stripped.",
        "usual definition",
    ),
    Definition(
        "ce_last_cycle_above_95",
        "1",
        "scalar",
        "Number of the last cycle with a ce_pct above 95.",
        "usual definition",
    ),
    Definition(
        "reservoir_ce_pct",
        "%",
        "scalar",
        "Average efficiency against a reservoir: (n Q_C + Q_S) / (n Q_C + Q_T), from the plating "
        "of the reservoir Q_T, n strips and platings of Q_C and the final strip Q_S to the "
        "cut-off, all charges measured. None if the cut-off was hit within the n cycles or the "
        "cell was shorted. The cycles in it have no ce_pct.",
        "Adams et al. 2018, Aurbach's method",
    ),
)
