"""Who keeps which limit, as `operando limits` tells it."""

import json

import pytest

from operando.checking import limits_of, limits_table
from operando.cli import main
from operando.configuration import load_bench


def kept(bench: str) -> dict[tuple[str, str], tuple[str, str, bool]]:
    return {
        (one.instrument, one.limit): (one.value, " ".join(one.layers), one.software_only)
        for one in limits_of(load_bench(bench))
    }


def test_an_instrument_that_compares_its_limits_itself_keeps_them() -> None:
    told = kept("bench")
    assert told["potentiostat", "potential E_WE - E_CE"] == (
        "-4.5 to 4.5 V",
        "instrument plan",
        False,
    )
    assert told["potentiostat", "hard short"][1:] == ("plan", True)
    assert not told["raman", "laser power"][2]
    assert told["thermostat", "setpoint of this bench"] == ("243.15 to 343.15 K", "plan", True)


def test_what_only_this_computer_keeps_is_software_only() -> None:
    rodeostat = kept("bench-rodeostat")
    assert rodeostat["potentiostat", "current"] == ("up to 0.02 A", "plan", True)
    second = kept("bench-second")
    assert second["raman", "laser power"][1:] == ("plan", True)
    assert second["stage", "travel of x"] == ("0 to 25000 um", "plan", True)


def test_the_table_says_software_only_where_it_is_and_how_it_is_cured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["limits", "--bench", "bench-rodeostat"]) == 0
    told = capsys.readouterr().out
    lines = {line.split("  ")[1].strip(): line for line in told.splitlines() if "  " in line}
    assert "SOFTWARE ONLY" in lines["current"]
    assert "its firmware knows no limits" in told
    assert "interlock relay on another port" in told.replace("\n", " ")
    assert "SOFTWARE ONLY" not in limits_table(())


def test_programs_get_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits", "--bench", "sim", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == [one.as_dict() for one in limits_of(load_bench("sim"))]
    assert {"instrument", "limit", "value", "layers", "note", "software_only"} == set(told[0])
