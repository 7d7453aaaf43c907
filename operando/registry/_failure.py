"""Failure: lives, shorts, noise."""

from operando.registry._definition import Definition

_RULES = "reviews of zinc and lithium metal cells; these thresholds unless the protocol sets others"

FAILURE = (
    *(
        definition
        for name, what in (
            (
                "life_first_soft_short",
                "first soft short: a sudden fall of the potential, more than 102 % of the metal "
                "coming back, or a spectrum with a parallel_resistance_ohm that takes 20 % of "
                "the resistance away",
            ),
            (
                "life_hard_short",
                "hard short: |E| of two half-cycles in a row below 10 % of the baseline, |E|/|i| "
                "the same in them, dated back to when |E| fell. The baseline is the median of "
                "half-cycles 3 to 12 of that current (and temperature, where the program has "
                "several). Where 10 % of it is below the potential's offset, half the difference "
                "of two half-cycles in a row is judged, in which the offset cancels; None where "
                "the baseline itself is below it",
            ),
            (
                "life_polarisation",
                "polarisation failure: |E| of a half-cycle above three baselines, or a potential "
                "at the limit at which the cell is given up",
            ),
            (
                "life_coulombic_efficiency",
                "low efficiency: the first of so many cycles in a row in each of which less of the "
                "metal came back than a rule of the protocol sets; None where none does",
            ),
            (
                "life_polarisation_limit",
                "polarisation limit: the first of so many half-cycles in a row in each of which "
                "|E|, the median from 40 to 90 % of the charge, was above what a rule of the "
                "protocol sets; None where none does",
            ),
        )
        for definition in (
            Definition(
                f"{name}_h",
                "h",
                "scalar",
                f"Time from the begin of the first half-cycle to the {what}; without one the "
                f"length of the test, which is a lower bound: see {name}_observed.",
                _RULES,
            ),
            Definition(
                f"{name}_observed",
                "1",
                "scalar",
                f"1: {name}_h ends with the failure; 0: censored, the test ended first.",
                "survival analysis",
            ),
        )
    ),
    Definition(
        "hard_short_cycle",
        "1",
        "scalar",
        "Cycle in which the hard short of life_hard_short_h began. It and the cycles after it tell "
        "of the short: they count in no mean over cycles.",
        _RULES,
    ),
    Definition(
        "soft_short_count",
        "1",
        "scalar",
        "Number of sudden falls: within a half-cycle |E| falls by more than 20 % of the median of "
        "the 30 rows before, for two rows or more, at one current, 20 rows or more after an edge. "
        "None is counted before |E| has recovered to 90 %.",
        _RULES,
    ),
    Definition(
        "soft_short_time_h",
        "h",
        "by event",
        "When each of them began, since the first half-cycle did.",
        _RULES,
    ),
    Definition(
        "soft_short_resistance_ohm",
        "ohm",
        "by event",
        "Resistance of the short, E' / (i (1 - E'/E)) from |E| before and E' after, the cell "
        "beside it taken as linear.",
        "Ohm's law",
    ),
    Definition(
        "soft_short_noise_cycle",
        "1",
        "by event",
        "Cycle of half-cycles in which the power of dE/dt between 0.01 and 0.5 Hz first exceeds "
        "its median of the first 10 cycles by 10 standard deviations (of the median absolute "
        "deviation) and is three times it.",
        _RULES,
    ),
    Definition(
        "soft_short_coulombic_cycle",
        "1",
        "by event",
        "Cycle of strips in a half cell in which more than 102 % of the metal that was there came "
        "back, and more than the current's uncertainty explains.",
        _RULES,
    ),
    Definition(
        "square_wave_cycle",
        "1",
        "by event",
        "Cycle of half-cycles of a symmetric cell whose arcs vanish (below 20 % of those at first) "
        "while |E|/|i| is the high-frequency intercept within 20 %: a warning.",
        "Menkin et al. 2023",
    ),
    Definition(
        "potential_noise_mv_s",
        "mV/s",
        "by cycle",
        "Root mean square of dE/dt between 0.01 and 0.5 Hz (Welch: Hann windows of 128 points, 32 "
        "overlapping) within 20-90 % of a half-cycle; the larger of the cycle's two.",
        "Welch 1967",
    ),
    Definition(
        "rest_after_strip_mv",
        "mV",
        "by cycle",
        "Last potential of the rest after each strip of a half cell, against the metal: with a "
        "reference electrode less metal_vs_reference_v. Near 0 metal that was left still connects "
        "the substrate, or a short does: by itself it tells neither.",
        "usual definition",
    ),
    Definition(
        "sand_time_s",
        "s",
        "scalar",
        "Sand's time at the largest plating current, pi (D/tau) (n F p c0 / (2 j (1 - t+)))^2, "
        "porosity p and tortuosity tau of the separator declared; None below the limiting current "
        "2 n F D (p/tau) c0 / (L (1 - t+)).",
        "Sand 1901",
    ),
)
