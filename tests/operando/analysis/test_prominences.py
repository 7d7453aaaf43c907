import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import find_peaks

from operando.analysis.prominences import prominent_peaks


@given(
    st.lists(st.one_of(st.integers(-4, 4).map(float), st.floats(-5, 5, width=32)), max_size=40),
    st.floats(0.01, 6),
)
def test_peaks_are_those_of_scipy_flat_tops_and_equal_heights_included(
    values: list[float], least: float
) -> None:
    curve = np.array(values)
    expected, _ = find_peaks(curve, prominence=least)
    assert prominent_peaks(curve, least).tolist() == expected.tolist()


def test_of_a_rough_curve_only_what_stands_out_is_a_peak() -> None:
    x = np.arange(400.0)
    rough = np.random.default_rng(0).normal(0, 0.1, len(x))
    curve = rough + 5 * np.exp(-(((x - 100) / 8) ** 2)) + 3 * np.exp(-(((x - 300) / 8) ** 2))
    found = prominent_peaks(curve, 1.5).tolist()
    assert found == find_peaks(curve, prominence=1.5)[0].tolist()
    assert len(found) == 2
