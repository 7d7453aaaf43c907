"""On which range a current runs, and how everybody comes to the same one."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from instruments.errors import InstrumentFaultError, UnsupportedTechniqueError
from instruments.potentiostat.contract import Capabilities, Sample
from instruments.potentiostat.methodscript import MethodScriptPotentiostat, compile_program
from instruments.potentiostat.methodscript.models import capabilities_of
from instruments.potentiostat.methodscript.range_reach import beyond_nominal, reach_script
from instruments.potentiostat.methodscript.values import format_literal
from instruments.potentiostat.methodscript.zero_current import currents_and_ranges
from operando.analysis.accuracy import CurrentAccuracy, current_zeros, zero_of
from techniques import Assignment

HR, LR = capabilities_of("es4_hr"), capabilities_of("es4_lr")
# 12 mm, 1 mA/cm2: the current of most coin cells.
COIN_CELL_A = 1.131e-3


def assigned(*currents_a: float) -> Assignment:
    steps = [
        {
            "type": "galvanostatic_step",
            "role": role,
            "current_density_ma_cm2": current * 1e3,
            "until": [{"quantity": "time_s", "value": 10}],
        }
        for current in currents_a
        for role in ("plate", "strip")
    ]
    limits = {"potential_min_v": -2.5, "potential_max_v": 2.5}
    technique = {"type": "sequence", "steps": steps}
    return Assignment.model_validate({"technique": technique, "area_cm2": 1.0, "limits": limits})


def ranges(able: Capabilities, *currents_a: float) -> list[tuple[float, float]]:
    program = compile_program(assigned(*currents_a), able)
    return [(one.current_a, one.range_a) for one in currents_and_ranges(program, able)]


def test_a_range_carries_half_as_much_again_as_it_is_called() -> None:
    assert ranges(HR, COIN_CELL_A, 1.5e-3, 1.51e-3) == [
        (COIN_CELL_A, 1e-3),
        (1.5e-3, 1e-3),
        (1.51e-3, 1e-2),
    ]


@pytest.mark.parametrize(("able", "most_a"), [(HR, 0.2), (LR, 0.03)])
def test_the_power_of_the_instrument_limits_its_largest_range(
    able: Capabilities, most_a: float
) -> None:
    assert ranges(able, most_a) == [(most_a, able.current_ranges_a[-1])]
    with pytest.raises(UnsupportedTechniqueError, match=f"gives {most_a * 1e3:g} mA at most"):
        ranges(able, most_a * 1.01)


@given(
    st.lists(
        st.floats(1e-8, 0.2).map(lambda current: float(f"{current:.6g}")), min_size=1, max_size=4
    ),
    st.one_of(st.none(), st.floats(1.0, 2.4)),
    st.floats(-2e-3, 2e-3),
)
def test_a_range_carries_its_current_and_the_zero_taken_off_is_that_of_this_range(
    currents_a: list[float], reach: float | None, gain_error: float
) -> None:
    able = HR if reach is None else dataclasses.replace(HR, current_range_reach=reach)
    reach = able.current_range_reach
    ordered = sorted(currents_a)
    assume(all(two > 1.01 * one for one, two in pairwise(ordered)))
    program = compile_program(assigned(*currents_a), able)
    runs_on = currents_and_ranges(program, able)
    assert [one.current_a for one in runs_on] == pytest.approx(ordered)
    for current_a, range_a in runs_on:
        assert current_a <= range_a * reach * (1 + 1e-6) or range_a == able.current_ranges_a[-1]
        smaller = [one for one in able.current_ranges_a if one < range_a]
        assert all(current_a > one * reach for one in smaller)
    lines = program.text.splitlines()
    chosen = [line for line in lines if line.startswith("set_range db")]
    by_current = {current: able.current_range_a(current) for current in currents_a}
    assert chosen == [
        f"set_range db {format_literal(by_current[current])}"
        for current in currents_a
        for _ in range(2)
    ]

    measured = [
        {"range_a": range_a, "current_a": 1e-3 * range_a, "uncertainty_a": 1e-5 * range_a}
        for range_a in sorted({one.range_a for one in runs_on})
    ]
    start = json.loads(
        json.dumps(
            {
                "current_ranges": [one._asdict() for one in runs_on],
                "current_zero": {"measured": measured},
            }
        )
    )
    accuracy = CurrentAccuracy.from_start(start)
    for current_a, range_a in runs_on:
        read_a = -current_a * (1 + gain_error)
        zero = zero_of(read_a, current_zeros(start))
        assert zero is not None
        assert zero.range_a == range_a
        assert accuracy.range_a(read_a) == range_a


def test_each_range_is_asked_for_the_largest_current_beyond_its_nominal_value() -> None:
    program = compile_program(assigned(1.2e-3, COIN_CELL_A, 5e-4, 8e-3, 1.4e-2), HR)
    beyond = beyond_nominal(currents_and_ranges(program, HR))
    assert [tuple(one) for one in beyond] == [(1.2e-3, 1e-3), (1.4e-2, 1e-2)]
    lines = reach_script(beyond).splitlines()
    assert "cell_on" not in lines
    assert lines.index("cell_off") < lines.index("set_pgstat_mode 6")
    assert lines[-2:] == ["on_finished:", "cell_off"]
    assert [line for line in lines if line.startswith(("set_range", "set_i"))] == [
        "set_range db 1m",
        "set_i 1200u",
        "set_i 0",
        "set_range db 10m",
        "set_i 14m",
        "set_i 0",
    ]


PAGES = ("an EmStat4 HR at rest", "the cell is opened at rest")


@pytest.fixture
def connect(manual: Callable[..., Any]) -> Iterator[Callable[..., MethodScriptPotentiostat]]:
    drivers: list[MethodScriptPotentiostat] = []

    def play(*pages: str, **options: Any) -> MethodScriptPotentiostat:
        instrument = manual(PAGES[0], *pages, PAGES[1])
        drivers.append(MethodScriptPotentiostat(instrument.address, patience_s=0.3, **options))
        drivers[-1].connect()
        return drivers[-1]

    yield play
    for driver in drivers:
        driver.close()


def test_an_instrument_that_refuses_a_current_on_its_range_refuses_before_a_program_begins(
    connect: Callable[..., MethodScriptPotentiostat],
) -> None:
    driver = connect("a current beyond the nominal value of its range is refused")
    with pytest.raises(InstrumentFaultError, match=r"EmStat4 HR at .*asked to set") as failure:
        driver.start(assigned(COIN_CELL_A))
    for told in (
        "1.131 mA on the range of 1 mA (1.13 times its nominal value)",
        "'set_i 1131u'",
        "the cell was open all the time",
        "current_range_reach: 1.0",
    ):
        assert told in str(failure.value)


def test_the_reach_of_a_bench_file_decides(
    connect: Callable[..., MethodScriptPotentiostat],
) -> None:
    able = connect(current_range_reach=1.0).capabilities()
    assert ranges(able, COIN_CELL_A) == [(COIN_CELL_A, 1e-2)]
    with pytest.raises(ValueError, match=r"must be 1 to 2\.4, got 2\.5"):
        MethodScriptPotentiostat("serial:///dev/null", current_range_reach=2.5)


def test_the_simulated_instrument_carries_a_coin_cells_current_on_the_range_of_1_ma(
    simulate: Callable[..., Any],
) -> None:
    bench = simulate("zn-bare-half", "potentiostat", 1e3)
    driver = MethodScriptPotentiostat(bench.address("potentiostat"))
    driver.connect()
    try:
        driver.start(assigned(COIN_CELL_A))
        rows = [row for row in driver.samples() if isinstance(row, Sample)]
    finally:
        driver.close()
    step_a = 2 * 2.92 * 1e-3 / 2**16
    read = [abs(row.current_a) for row in rows]
    # The converter's steps are those of the range of 1 mA: those of 10 mA are ten times as large.
    assert all(abs(one - COIN_CELL_A) <= step_a / 2 for one in read)
    assert all(row.flags == 0 for row in rows)
