"""Which samples become rows, and what was lost between them."""

from techniques import Recording


class Due:
    """Says whether a row is due: dt, dE, dQ or dI has passed, denser after an edge.

    Args:
        record: as asked; ``None``: every ``every``-th sample is a row.
        every: see ``record``.
        area_cm2: of the electrode.
    """

    def __init__(self, record: Recording | None, every: int, area_cm2: float) -> None:
        self._record = record
        self._every = every
        self._per_a = 1e-3 * area_cm2
        self._per_c = 3.6 * area_cm2
        self._seen = 0
        self._last: tuple[float, float, float, float] | None = None

    def due(self, t_s: float, potential_v: float, current_a: float, charge_c: float) -> bool:
        """Return whether the sample is to be a row; takes it for one then."""
        self._seen += 1
        if not self._is_due(t_s, potential_v, current_a, charge_c):
            return False
        self._last = (t_s, potential_v, current_a, charge_c)
        return True

    def _is_due(self, t_s: float, potential_v: float, current_a: float, charge_c: float) -> bool:
        record = self._record
        if self._last is None:
            return True
        if record is None:
            return (self._seen - 1) % self._every == 0
        before_s, before_v, before_a, before_c = self._last
        dt_s = record.edge_dt_s if t_s <= record.edge_for_s else record.dt_s
        # Samples come in whole ms, and times are computed.
        if t_s - before_s >= min(dt_s, record.dt_s) - 1e-6:
            return True
        moved = (
            (record.de_v, abs(potential_v - before_v)),
            (record.di_ma_cm2 and record.di_ma_cm2 * self._per_a, abs(current_a - before_a)),
            (record.dq_mah_cm2 and record.dq_mah_cm2 * self._per_c, charge_c - before_c),
        )
        return any(least is not None and moved >= least for least, moved in moved)


class Gaps:
    """Counts samples that did not arrive, by the instrument's own times."""

    def __init__(self, period_ms: int) -> None:
        self._period_s = period_ms * 1e-3
        self._before_s = 0.0

    def before(self, t_s: float) -> int:
        """Return how many samples are missing before the one of this time."""
        missing = round((t_s - self._before_s) / self._period_s) - 1
        self._before_s = t_s
        return max(0, missing)


class Drift:
    """Says when an open circuit potential has come to rest.

    Args:
        below_v_s: the drift below which it has, V/s; ``None``: it never has.
        window_s: time over which the drift is taken, s.
    """

    def __init__(self, below_v_s: float | None, window_s: float) -> None:
        self._below_v_s = below_v_s
        self._window_s = window_s
        self._mark: tuple[float, float] | None = None

    def is_over(self, t_s: float, potential_v: float) -> bool:
        """Take a potential into account; return whether it has come to rest."""
        if self._below_v_s is None:
            return False
        if self._mark is None:
            self._mark = t_s, potential_v
            return False
        since_s, since_v = self._mark
        if t_s - since_s < self._window_s - 1e-6:
            return False
        self._mark = t_s, potential_v
        return abs(potential_v - since_v) < self._below_v_s * self._window_s
