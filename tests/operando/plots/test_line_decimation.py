import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operando.plots.decimation import broken, envelope


def test_a_single_row_that_stands_out_of_a_million_is_drawn() -> None:
    x = np.arange(1_000_000.0)
    y = np.zeros(len(x))
    y[123_457], y[777_777] = 1.0, -2.0
    few_x, few_y = envelope(x, y, 1000)
    assert len(few_x) <= 6000
    assert few_x[np.argmax(few_y)] == 123_457
    assert few_x[np.argmin(few_y)] == 777_777


def test_a_line_of_few_rows_is_drawn_as_it_is() -> None:
    x, y = np.arange(100.0), np.sin(np.arange(100.0))
    few_x, few_y = envelope(x, y, 1000)
    assert few_x is x
    assert few_y is y


@given(
    st.lists(st.one_of(st.floats(-5, 5), st.just(float("nan"))), min_size=60, max_size=400),
    st.integers(2, 12),
)
def test_every_column_keeps_its_ends_its_extremes_and_its_interruptions(
    values: list[float], columns: int
) -> None:
    x, y = np.arange(float(len(values))), np.array(values)
    few_x, few_y = envelope(x, y, columns)
    assert np.all(np.diff(few_x) > 0)
    rows = few_x.astype(int)
    assert np.array_equal(few_y, y[rows], equal_nan=True)
    edges = np.linspace(x[0], x[-1], columns + 1)[:-1]
    column = np.searchsorted(edges, x, side="right")
    for number in np.unique(column):
        there, kept = y[column == number], few_y[column[rows] == number]
        assert np.isnan(there).any() == np.isnan(kept).any()
        if np.isfinite(there).any():
            assert np.nanmin(there) == np.nanmin(kept)
            assert np.nanmax(there) == np.nanmax(kept)


def test_no_line_is_drawn_from_one_step_to_the_next() -> None:
    x, y = broken(np.arange(4.0), np.arange(4.0), np.array([2]))
    assert x.tolist() == [0, 1, 2, 2, 3]
    assert np.isnan(y[2])


def test_rows_without_a_time_are_left_out() -> None:
    x, y = np.array([0.0, np.nan, 2.0]), np.array([1.0, 5.0, 3.0])
    assert envelope(x, y)[1].tolist() == [1.0, 3.0]
