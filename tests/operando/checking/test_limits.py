"""Who keeps which limit, as `operando limits` tells it."""

import json
from pathlib import Path

import pytest
import yaml

from operando.checking import limits_of, limits_table
from operando.cli import REFUSED, main
from operando.configuration import load_bench, load_cell, load_protocol
from techniques import SafetyLimits


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


def test_an_interlock_keeps_what_the_guard_keeps_without_this_computer() -> None:
    told, held = kept("bench-rodeostat"), kept("bench-interlock")
    dies, laser = ("potentiostat", "current when this program dies"), ("raman", "laser on")
    assert told[dies] == ("the guard opens the cell", "guard", True)
    assert held[dies][1:] == ("guard interlock", False)
    assert held[laser][1:] == ("plan guard interlock", False)
    assert "its interlock opens within 1 s" in held[laser][0]
    bench = load_bench("bench")
    alone = bench.instruments["potentiostat"].model_copy(
        update={"on_silence": "let_instrument_finish"}
    )
    bench = bench.model_copy(update={"instruments": {"potentiostat": alone}})
    (found,) = (one for one in limits_of(bench) if one.limit == dies[1])
    assert found.layers == ("guard", "instrument")


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


def test_a_protocol_and_its_cell_narrow_the_limits_and_bring_their_rules(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench, cell = load_bench("sim"), load_cell("zn-bare-half")
    protocol = load_protocol("zinc-operando").model_copy(update={"rules": ()})
    told = {
        one.limit: one.value
        for one in limits_of(bench, protocol=protocol, cell=cell)
        if one.instrument in ("potentiostat", "thermostat")
    }
    assert told["potential E_WE - E_CE"] == "-1 to 1 V"
    assert told["current"] == "up to 0.025 A"
    assert told["temperature of the cell"] == "274.15 to 333.15 K"
    assert "hard short" not in told
    assert main(["limits", "--bench", "sim", "--protocol", "zinc-operando"]) == 0
    assert "up to 0.025 A" in capsys.readouterr().out


def test_what_a_cell_needs_watched_is_a_limit_of_its_own() -> None:
    cell = load_cell("zn-bare-half-reference").model_copy(update={"headspace": "closed"})
    told = {one.limit: one for one in limits_of(load_bench("sim"), cell=cell)}
    assert told["headspace pressure 0.3 bar"].software_only
    assert {"reference noise", "overload"} <= set(told)
    other = {one.limit for one in limits_of(load_bench("sim"), cell=load_cell("zn-bare-half"))}
    assert not {"headspace pressure 0.3 bar", "reference noise", "overload"} & other


def test_a_cell_that_no_potential_of_the_bench_suits_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cell = load_cell("zn-bare-half").model_dump(mode="json", exclude_none=True)
    cell["limits"] |= {"potential_min_v": 5.0, "potential_max_v": 6.0}
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(cell))
    assert main(["limits", "--bench", "sim", "--cell", str(path)]) == REFUSED
    assert "leave no potential that both allow" in capsys.readouterr().err


def test_what_no_file_limits_is_kept_by_nobody_and_says_so() -> None:
    bench = load_bench("bench").model_copy(update={"limits": SafetyLimits(potential_max_v=1.5)})
    found = limits_of(bench)
    told = {one.limit: one for one in found if one.instrument == "potentiostat"}
    for limit in ("current", "charge of a half-cycle, and deposit", "duration of a program"):
        assert told[limit].layers == ()
        assert told[limit].value.startswith("not limited (")
        assert not told[limit].software_only
        assert told[limit].mark == "NOT LIMITED"
    assert told["potential E_WE - E_CE"].layers == ("instrument", "plan")
    assert told["potential E_WE - E_CE"].value == "up to 1.5 V, not limited below"
    line = next(
        x for x in limits_table(found).splitlines() if x.startswith("potentiostat  current   ")
    )
    assert line.split()[2:] == ["not", "limited", "(A)", "nobody", "NOT", "LIMITED"]
    assert "Write it into limits of the bench file" in limits_table(found)
