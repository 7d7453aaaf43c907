import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.analysis.survival import survival

# Remission times in weeks of the 21 patients treated with 6-mercaptopurine (Freireich et al.,
# Blood 1963, 21, 699), as every textbook of survival analysis has them; + was censored.
WEEKS = (6, 6, 6, 7, 10, 13, 16, 22, 23)
CENSORED = (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)


def _leukaemia() -> tuple[list[float], list[bool]]:
    lives = [float(week) for week in (*WEEKS, *CENSORED)]
    return lives, [True] * len(WEEKS) + [False] * len(CENSORED)


def test_the_textbook_example_comes_out_as_in_the_textbooks() -> None:
    found = survival(*_leukaemia())
    assert found.times_h == (6, 7, 10, 13, 16, 22, 23)
    assert found.at_risk == (21, 17, 15, 12, 11, 7, 6)
    assert found.failed == (3, 1, 1, 1, 1, 1, 1)
    assert [round(share, 4) for share in found.surviving] == [
        0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482,
    ]  # fmt: skip
    assert found.median_h == 23
    assert found.cells == 21
    assert len(found.censored_h) == 12


def test_the_interval_is_greenwoods_on_the_scale_of_the_double_logarithm() -> None:
    found = survival(*_leukaemia())
    # Standard error of S(6): 0.0764, as published; its interval from that by the delta method.
    share, error = 18 / 21, 0.0764
    width = 1.96 * error / (share * abs(math.log(share)))
    assert found.low[0] == pytest.approx(share ** math.exp(width), abs=2e-4)
    assert found.high[0] == pytest.approx(share ** math.exp(-width), abs=2e-4)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=30))
def test_without_censoring_it_is_the_share_of_cells_that_live_longer(lives: list[float]) -> None:
    found = survival(lives, [True] * len(lives))
    for time in (*lives, 5.0):
        longer = sum(life > time for life in lives) / len(lives)
        assert found.share_at(time) == pytest.approx(longer, abs=1e-12)
    assert found.surviving[-1] == pytest.approx(0.0, abs=1e-12)
    assert found.low[-1] is None
    mean = math.fsum(lives) / len(lives)
    assert found.restricted_mean_h(2e4) == pytest.approx(mean, abs=1e-9 * max(mean, 1.0))


def test_cells_that_were_all_stopped_have_no_median_life() -> None:
    found = survival([1000.0, 800.0], [False, False])
    assert found.median_h is None
    assert found.share_at(1e9) == 1.0
    assert found.censored_h == (800.0, 1000.0)
    assert found.restricted_mean_h(1000.0) == 1000.0


def test_a_cell_that_was_stopped_when_another_failed_was_still_under_test() -> None:
    found = survival([100.0, 100.0], [True, False])
    assert found.at_risk == (2,)
    assert found.surviving == (0.5,)


@pytest.mark.parametrize(
    ("lives", "failed", "told"),
    [
        ([], [], "no cell"),
        ([1.0], [], "1 lives, but 0"),
        ([-1.0], [True], "a life is a time"),
        ([math.nan], [True], "a life is a time"),
    ],
)
def test_lives_that_are_none_are_refused(lives: list[float], failed: list[bool], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        survival(lives, failed)
