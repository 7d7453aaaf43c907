"""The zero of the current: what is asked, what is answered, what the simulator was born with."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.errors import InstrumentFaultError, ProtocolError
from instruments.potentiostat.device import PotentiostatDevice
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from instruments.potentiostat.methodscript.zero_current import zero_script
from techniques import Assignment

HR = "an EmStat4 HR at rest"
OPEN = "the cell is opened at rest"


def assigned(*densities: float, hold: bool = False) -> Assignment:
    steps: list[dict[str, Any]] = [
        {
            "type": "galvanostatic_step",
            "role": "plate",
            "current_density_ma_cm2": density,
            "until": [{"quantity": "time_s", "value": 10}],
        }
        for density in densities
    ]
    if hold or not steps:
        steps.append({"type": "open_circuit", "duration_s": 10})
    return Assignment.model_validate(
        {
            "technique": {"type": "sequence", "steps": steps},
            "area_cm2": 1.0,
            "limits": {"potential_min_v": -3.0, "potential_max_v": 3.0},
        }
    )


@pytest.fixture
def connected(manual: Callable[..., Any]) -> Iterator[Callable[..., MethodScriptPotentiostat]]:
    drivers: list[MethodScriptPotentiostat] = []

    def connect(*pages: str) -> MethodScriptPotentiostat:
        instrument = manual(HR, *pages, OPEN)
        drivers.append(MethodScriptPotentiostat(instrument.address, patience_s=0.3))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver.close()


def test_the_mean_of_the_readings_and_its_uncertainty(connected: Callable[..., Any]) -> None:
    (zero,) = connected("the zeros of the current").measure_zero(assigned(1.0))
    assert zero.range_a == 1e-3
    assert zero.current_a == pytest.approx(-500e-9)
    # Ten readings 100 nA off: s = 100 sqrt(10/9), u = s/sqrt(10).
    assert zero.uncertainty_a == pytest.approx(100e-9 / 3)


@pytest.mark.parametrize(
    ("page", "kind", "told"),
    [
        ("the zeros of the current, too few of them", ProtocolError, "3 of 10 readings"),
        ("the zero of the current is overloaded", ProtocolError, "overloaded although"),
        ("the current is not measured with the cell open", InstrumentFaultError, "'meas 100m c ba"),
        ("the zeros of the current are refused while loading", InstrumentFaultError, "refused"),
    ],
)
def test_what_is_no_zero_is_told_and_the_cell_is_open(
    connected: Callable[..., Any], page: str, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=r"EmStat4 HR at .*zero current") as failure:
        connected(page).measure_zero(assigned(1.0))
    assert told in str(failure.value)


def test_a_run_goes_on_without_a_zero_and_says_why(
    connected: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    device = PotentiostatDevice(
        connected("the current is not measured with the cell open"), name="potentiostat"
    )
    told = device.measure_zero(assigned(1.0))
    assert told["measured"] == []
    assert "4027" in told["reason"]
    assert "the zero of its current was not measured" in caplog.text


def test_nothing_is_asked_where_no_current_is_set(connected: Callable[..., Any]) -> None:
    assert connected().measure_zero(assigned()) == ()


def test_the_script_keeps_the_cell_open() -> None:
    lines = zero_script((1e-3, 1e-2), 50).splitlines()
    assert "cell_on" not in lines
    assert lines.index("cell_off") < lines.index("set_pgstat_mode 3")
    assert lines[-2:] == ["on_finished:", "cell_off"]
    assert [line for line in lines if line.startswith("set_range")] == [
        "set_range ba 1m",
        "set_range ba 10m",
    ]


def test_the_simulated_instrument_has_the_zeros_it_was_born_with(
    simulate: Callable[..., Any],
) -> None:
    bench = simulate("zn-bare-half", "potentiostat", 1e3)
    driver = MethodScriptPotentiostat(bench.address("potentiostat"))
    driver.connect()
    try:
        zeros = driver.measure_zero(assigned(0.5, 1.0, 8.0, 60.0, hold=True))
    finally:
        driver.close()
    assert [zero.range_a for zero in zeros] == [1e-3, 1e-2, 1e-1]
    born = bench.truth("potentiostat")[0]["current_offset_a"]
    for zero, code in zip(zeros, ("15", "18", "1B"), strict=True):
        assert abs(zero.current_a - born[code]) < 4 * zero.uncertainty_a
        assert zero.uncertainty_a < 5e-5 * zero.range_a
    assert not [x for x in bench.truth("potentiostat") if x.get("event") == "cell_on"]
