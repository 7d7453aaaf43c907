"""What the panels of all figures share."""

import pytest
from matplotlib.figure import Figure

from operando.plots._style import whole_numbers


@pytest.mark.parametrize("cycles", [1, 2, 7, 40])
def test_an_axis_of_cycles_counts_also_where_there_is_one(cycles: int) -> None:
    axes = Figure().subplots()
    axes.plot(range(1, cycles + 1), range(cycles), "o")
    whole_numbers(axes)
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown
    assert all(tick == int(tick) for tick in shown)
