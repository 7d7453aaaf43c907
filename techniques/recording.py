"""When a row is recorded."""

from pydantic import Field

from techniques._base import Data

FINEST_CHECK_S = 0.01
COARSEST_CHECK_S = 1.0  # where nobody asks for rarer ones
RAREST_CHECK_S = 10.0
CHECKS_PER_STEP = 3600


class Recording(Data):
    """Record a row when time, potential, current OR charge has moved on; denser after an edge.

    The first and the last point of a step are always recorded. What is recorded never changes
    when a limit is noticed: limits are checked every ``check_interval_s``.
    """

    dt_s: float = Field(default=10.0, gt=0, description="Longest time between two rows, s.")
    de_v: float | None = Field(
        default=None, gt=0, description="Also record when the potential moved by this much, V."
    )
    dq_mah_cm2: float | None = Field(
        default=None, gt=0, description="Also record when this much charge passed, mAh/cm2."
    )
    di_ma_cm2: float | None = Field(
        default=None,
        gt=0,
        description="Also record when the current moved by this much, mA/cm2, where the potential "
        "is set.",
    )
    edge_dt_s: float = Field(default=1.0, gt=0, description="Row interval after an edge, s.")
    edge_for_s: float = Field(
        default=60.0, ge=0, description="How long after an edge rows come densely, s."
    )

    check_dt_s: float | None = Field(
        default=None,
        gt=0,
        le=RAREST_CHECK_S,
        description="How often limits are checked, s; by default 3600 times in the step's expected "
        "length, and each second at least. Rarer checks let long tests be recorded faster, but a "
        "limit of the potential is noticed by as much too late: for lives, not for efficiencies.",
    )

    def check_interval_s(self, expected_s: float) -> float:
        """Return how often the instrument checks its limits in a step of ``expected_s``, in s.

        1/3600 of the expected duration: a coarser cut-off shows in the fourth digit of the
        coulombic efficiency (5 s checks in a 1 h strip turned 99.9 % into 100.0 %). ``check_dt_s``
        overrules that.
        """
        if self.check_dt_s is None:
            interval = min(max(expected_s / CHECKS_PER_STEP, FINEST_CHECK_S), COARSEST_CHECK_S)
            return min(interval, self.edge_dt_s, self.dt_s)
        dense_s = self.edge_dt_s if self.edge_for_s > 0 else self.dt_s
        return min(self.check_dt_s, dense_s, self.dt_s)
