"""How much metal can be there to strip, and how far what is known of the current reaches."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from operando.analysis._metal_there import LEAST_MARGIN_MAH_CM2, MetalThere, largest
from operando.analysis.accuracy import CurrentAccuracy, CurrentRange, CurrentZero
from operando.analysis.segments import PLATE, STRIP, HalfCycle

AREA_CM2 = 1.131
SLOW_A, FAST_A = 1.131e-3, 2.262e-3  # 1 and 2 mA/cm2: on the ranges of 1 and of 10 mA
ACCURACY = CurrentAccuracy(
    zeros=(
        CurrentZero(1e-3, 0.0, 2.6e-8, set_a=(SLOW_A,)),
        CurrentZero(1e-2, 0.0, 2.6e-7, set_a=(FAST_A,)),
    ),
    ranges=(CurrentRange(SLOW_A, 1e-3), CurrentRange(FAST_A, 1e-2)),
)


def half(
    role: Literal[-1, 1], charge: float, current_a: float, *, zeroed: bool = True
) -> HalfCycle:
    lasts_s = charge * 3.6 * AREA_CM2 / current_a
    zeros = {round(zero.range_a, 6): zero for zero in ACCURACY.zeros}
    zero = zeros[1e-3 if current_a < 2e-3 else 1e-2] if zeroed else None
    return HalfCycle(
        number=1,
        cycle=1,
        role=role,
        t_s=np.array([0.0, lasts_s]),
        potential_v=np.zeros(2),
        current_a=np.full(2, role * current_a),
        charge_mah_cm2=np.array([0.0, charge]),
        ended=True,
        lasted_s=lasts_s,
        zero=zero,
    )


def overrun_in(
    metal: MetalThere,
    efficiencies: Sequence[float],
    *,
    strip_a: float = SLOW_A,
    zeroed: bool = True,
) -> int | None:
    """Return the cycle, from 1, in which more was stripped than can have been there."""
    for cycle, efficiency in enumerate(efficiencies, 1):
        metal.passed(half(PLATE, 1.0, SLOW_A, zeroed=zeroed))
        charge = np.linspace(0.0, efficiency, 101)
        if metal.first_beyond(charge, largest(np.full(101, strip_a))) is not None:
            return cycle
        metal.passed(half(STRIP, efficiency, strip_a, zeroed=zeroed))
    return None


def test_two_ranges_have_two_gains_which_are_no_metal_from_nowhere() -> None:
    seen = 0.9995 * 1.002
    assert overrun_in(MetalThere(0.0, ACCURACY, AREA_CM2), [seen] * 300, strip_a=FAST_A) is None
    assert overrun_in(MetalThere(0.0, ACCURACY, AREA_CM2), [1.04] * 9, strip_a=FAST_A) in (2, 3)


def test_a_zero_that_moves_is_no_metal_from_nowhere() -> None:
    # By 0.05 % of the range, which takes from the plating what it adds to the strip.
    seen = 0.9999 * (1 + 2 * 0.0005 * 1e-3 / SLOW_A)
    assert overrun_in(MetalThere(0.0, ACCURACY, AREA_CM2), [seen] * 300) is None


def test_what_comes_back_beyond_all_doubt_is_told_soon_also_after_many_cycles() -> None:
    assert overrun_in(MetalThere(0.0, ACCURACY, AREA_CM2), [1.04] * 9) == 2
    found = overrun_in(MetalThere(0.0, ACCURACY, AREA_CM2), [1.0] * 200 + [1.04] * 50)
    assert found is not None
    assert 201 < found <= 215


def test_dead_metal_that_comes_back_was_there() -> None:
    efficiencies = [0.92, 1.06, 0.95, 1.05] * 20
    assert overrun_in(MetalThere(0.0, ACCURACY, AREA_CM2), efficiencies) is None


def test_a_bare_electrode_may_give_a_little_and_no_more() -> None:
    metal = MetalThere(0.0, ACCURACY, AREA_CM2)
    strip = np.linspace(0.0, 2 * LEAST_MARGIN_MAH_CM2, 201)
    found = metal.first_beyond(strip[:90], largest(np.full(201, SLOW_A)))
    assert found is None
    found = metal.first_beyond(strip, largest(np.full(201, SLOW_A)))
    assert found is not None
    assert found[1] == pytest.approx(LEAST_MARGIN_MAH_CM2, rel=0.05)


def test_half_cycles_whose_zero_is_not_known_count_with_what_the_maker_allows() -> None:
    known, unknown = (MetalThere(0.0, ACCURACY, AREA_CM2) for _ in range(2))
    for metal, zeroed in ((known, True), (unknown, False)):
        assert overrun_in(metal, [1.0] * 20, zeroed=zeroed) is None
    assert unknown.uncertainty(1.0, SLOW_A) > 1.5 * known.uncertainty(1.0, SLOW_A)


def test_where_nothing_could_be_told_any_more_it_is_said() -> None:
    metal = MetalThere(0.0, CurrentAccuracy(), AREA_CM2)
    assert metal.why_useless is None
    assert overrun_in(metal, [1.0] * 5, strip_a=FAST_A, zeroed=False) is None
    assert metal.why_useless is None
    assert overrun_in(metal, [1.0] * 100, strip_a=FAST_A, zeroed=False) is None
    assert "metal from nowhere could not be told" in str(metal.why_useless)
