from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis.metrics import half_cycles_of
from operando.analysis.segments import PLATE
from operando.plots import SHEETS, EvaluatedRun, draw, potential
from operando.runs import Run

Make = Callable[..., Any]


@pytest.fixture
def run(make_run: Make, synthetic: Any) -> Run:
    told = make_run(page=5000)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,) * 8, rows=800))
    told.stop()
    return Run.from_documents(told.documents)


def test_spans_are_the_begins_and_ends_of_the_half_cycles(run: Run) -> None:
    halves = half_cycles_of(run)
    spans = EvaluatedRun(run).spans
    assert [(span.cycle, span.role) for span in spans] == [(h.cycle, h.role) for h in halves]
    assert [span.begin_s for span in spans] == [float(half.t_s[0]) for half in halves]
    assert [span.end_s for span in spans] == [float(half.t_s[-1]) for half in halves]
    assert [span.current_a for span in spans] == pytest.approx(
        [abs(half.mean_current_a) for half in halves]
    )


def test_the_first_plating_alone_is_that_of_all_half_cycles(run: Run) -> None:
    whole = next(half for half in half_cycles_of(run) if half.role == PLATE)
    (alone,) = EvaluatedRun(run).first_plating
    assert np.array_equal(alone.charge_mah_cm2, whole.charge_mah_cm2)
    assert np.array_equal(alone.potential_v, whole.potential_v)
    assert alone.ended


def test_some_rows_at_a_time_give_the_line_that_all_give(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = draw(SHEETS["potential"], EvaluatedRun(run)).figure
    monkeypatch.setattr(potential, "_AT_ONCE", 777)
    monkeypatch.setattr(potential, "COLUMNS", 1_000_000)  # more than rows: none is left out
    parts = draw(SHEETS["potential"], EvaluatedRun(run)).figure
    assert whole is not None
    assert parts is not None
    for one, other in zip(whole.axes[0].lines, parts.axes[0].lines, strict=True):
        assert np.array_equal(one.get_xdata(), other.get_xdata(), equal_nan=True)
        assert np.array_equal(one.get_ydata(), other.get_ydata(), equal_nan=True)


def test_a_row_that_leaves_the_scale_is_told(make_run: Make, synthetic: Any) -> None:
    columns = synthetic.galvanostatic((1.0,) * 2, rows=300, cut_off_v=0.03)
    columns["potential"][columns["role"] == -1] = -0.03
    columns["potential"][150] = -0.9
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    drawn = draw(SHEETS["potential"], EvaluatedRun(Run.from_documents(told.documents)))
    assert "(extremes off scale)" in drawn.caption
