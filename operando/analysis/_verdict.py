"""What a judge of the live stream has found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One thing that was found in the rows so far.

    Attributes:
        kind: One of `operando.analysis.live_verdicts.KINDS`.
        t_s: The leader's program time of the row with which it became sure, s.
        value: What a rule may compare: the tip in mV, the share of |E| left (``soft_short``,
            ``hard_short``), the ratio to the threshold or the baseline (``soft_short_noise``,
            ``square_wave``, ``polarisation_failure``; |E| in V at the limit), the charge in %
            (``soft_short_coulombic``), the charge beyond the inventory in mAh/cm2
            (``strip_overrun``), the cumulative hydrogen in umol, the overpressure in kPa
            (``headspace_pressure``), the temperature in K (``temperature_outside``), the noise in V
            (``reference_noise``), how long in s (``overload``), the highest efficiency in %
            (``coulombic_efficiency_below``) and the lowest |E| in V (``polarisation_limit``) of so
            many in a row.
        reason: It in words.
        half_cycle: Number of the half-cycle; 0 before the first.
        in_a_row: Over how many cycles or half-cycles the value holds; None: it is of one thing.
    """

    kind: str
    t_s: float
    value: float | None
    reason: str
    half_cycle: int
    in_a_row: int | None = None
