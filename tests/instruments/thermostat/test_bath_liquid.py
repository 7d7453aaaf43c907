"""What a bath is filled with, and which cells must not stand in it."""

from typing import Any

import pytest

from instruments._build import build
from instruments.bench_file import BenchFile
from instruments.errors import SafetyLimitError


def bench(**more: Any) -> Any:
    entry = {"kind": "thermostat", "language": "julabo", "address": "tcp://127.0.0.1:9", **more}
    file = BenchFile.model_validate({"name": "one", "instruments": {"bath": entry}})
    return build(file).devices["bath"]


@pytest.mark.parametrize("liquid", ["water", "water-glycol"])
def test_sodium_is_refused_in_water_and_zinc_is_not(liquid: str) -> None:
    bath = bench(bath_liquid=liquid)
    with pytest.raises(SafetyLimitError, match=f"bath: the bath is {liquid}.*holds sodium"):
        bath.receive("Na")
    bath.receive("Zn")


def test_sodium_in_a_bath_of_which_nobody_tells_the_liquid_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench(bath_liquid="silicone oil").receive("Na")
    assert caplog.text == ""
    bench().receive("Na")
    assert "does not tell the bath_liquid" in caplog.text


def test_water_neither_freezes_nor_boils() -> None:
    with pytest.raises(SafetyLimitError, match=r"275\.15 K to 368\.15 K"):
        bench(bath_liquid="water").check_value(270.0)
    assert bench(bath_liquid="water", temperature_min_k=280.0).limits == (280.0, 368.15)
    assert bench(bath_liquid="ethanol", temperature_min_k=233.15).limits[0] == 233.15


def test_a_range_that_water_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond its own limits"):
        bench(bath_liquid="water", safe_temperature_k=270.0)
