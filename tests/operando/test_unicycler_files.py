"""What files of other programs say of our protocols, parsed back: signs, values and limits."""

import json
import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from operando.cli import main
from operando.cli._exchange import FORMATS as COMMAND_FORMATS
from operando.configuration import load_cell, load_protocol
from operando.unicycler import FORMATS, ExchangeError, exported, written
from techniques import Protocol


def mps(text: str) -> list[dict[str, str]]:
    """Return the steps of an EC-Lab settings file: names are 20 characters wide, as values are."""
    lines = text.splitlines()
    rows = lines[lines.index("Modulo Bat") + 1 :]
    table = {row[:20].strip(): [row[n : n + 20].strip() for n in range(20, len(row), 20)]
             for row in rows if row.strip()}  # fmt: skip
    count = len(table["Ns"])
    # Trailing blanks are stripped from a row's end by nothing, but an empty value has no column.
    return [{name: values[n] if n < len(values) else "" for name, values in table.items()}
            for n in range(count)]  # fmt: skip


def test_settings_of_ec_lab_plate_with_negative_current_and_strip_to_the_voltage() -> None:
    protocol = load_protocol("zinc-operando")
    made = written(exported(protocol, load_cell(protocol.cell)), "biologic")
    rest, plate, _, look, strip, _, loop = mps(made.protocol)
    assert (rest["ctrl_type"], float(rest["lim1_value"])) == ("Rest", 120)
    current_ma = 1.5 * 1.131
    assert (plate["ctrl_type"], plate["ctrl1_val_unit"]) == ("CC", "mA")
    assert float(plate["ctrl1_val"]) == pytest.approx(-current_ma, abs=1e-3)
    assert (plate["lim1_type"], float(plate["lim1_value"])) == ("Time", 1200)
    assert float(strip["ctrl1_val"]) == pytest.approx(current_ma, abs=1e-3)
    assert (strip["lim2_type"], strip["lim2_comp"], strip["lim2_value"]) == ("Ewe", ">", "0.500")
    assert (look["ctrl_type"], look["ctrl1_val_unit"]) == ("PEIS", "mV")
    assert float(look["ctrl1_val"]) == pytest.approx(5 * math.sqrt(2), abs=1e-3)
    assert (loop["ctrl_seq"], loop["ctrl_repeat"]) == ("1", "2")  # goes back to Ns 1, twice more
    assert "\tEwe min = -1.00000 V" in made.protocol.splitlines()
    # 1.6965 mA has four decimals, and three are written.
    assert any("1.6965 mA is rounded to" in one for one in made.told)
    made.protocol.encode("cp1252")


def neware(text: str) -> list[tuple[str, dict[str, float]]]:
    """Return type and values of each step: mA, ms, 0.1 mV."""
    root = ET.fromstring(text)
    info = root.find("config/Step_Info")
    assert info is not None
    return [
        (step.attrib["Step_Type"], {x.tag: float(x.attrib["Value"]) for x in step.iter()
                                    if "Value" in x.attrib})
        for step in info
    ]  # fmt: skip


def test_steps_of_neware_charge_a_full_cell_by_plating_and_hold_in_that_direction() -> None:
    protocol = load_protocol("prussian-blue-cycling")
    technique = protocol.technique.model_copy(update={"hold_below_fraction": 0.1})
    cell = load_cell(protocol.cell)
    made = exported(protocol.model_copy(update={"technique": technique}), cell)
    charge, hold, discharge, loop, end = neware(written(made, "neware").protocol)
    current = 50 * cell.other_electrode.active_mass_mg * 1e-3  # type: ignore[operator]
    assert (charge[0], hold[0], discharge[0], loop[0], end[0]) == ("1", "3", "2", "5", "6")
    assert charge[1]["Curr"] == pytest.approx(current, rel=1e-5)
    assert (charge[1]["Stop_Volt"], discharge[1]["Stop_Volt"]) == (37_000, 24_000)
    assert hold[1]["Volt"] == 37_000
    assert hold[1]["Stop_Curr"] == pytest.approx(0.1 * current, abs=1e-6)
    assert hold[1]["Time"] == 3600e3
    nominal = cell.nominal_capacity_mah_cm2
    assert nominal is not None
    longest = 1.25 * nominal * cell.area_cm2 / current * 3600e3
    assert charge[1]["Time"] == pytest.approx(longest, rel=1e-6)
    assert loop[1] == {"Start_Step": 1, "Cycle_Count": 150}


def test_experiments_of_pybamm_and_steps_of_tomato_have_the_same_signs() -> None:
    protocol = load_protocol("prussian-blue-cycling")
    technique = protocol.technique.model_copy(update={"hold_below_fraction": 0.1, "cycles": 2})
    cell = load_cell(protocol.cell)
    made = exported(protocol.model_copy(update={"technique": technique}), cell)
    lines = written(made, "pybamm").protocol.splitlines()
    assert [line.split()[0] for line in lines] == ["Charge", "Hold", "Discharge"] * 2
    assert "until 3.7 V" in lines[0]
    assert float(lines[1].split("until ")[1].split()[0]) > 0  # there it is a magnitude
    steps = json.loads(written(made, "tomato").protocol)["method"]
    assert steps[0]["current"] > 0 > steps[2]["current"]
    assert (steps[0]["limit_voltage_max"], steps[2]["limit_voltage_min"]) == (3.7, 2.4)
    # aurora-unicycler writes an end by current only as a rate.
    assert steps[1]["limit_current_min"].endswith("C")


def test_battinfo_is_json_ld_of_the_same_steps() -> None:
    protocol = load_protocol("zinc-operando")
    made = written(exported(protocol, load_cell(protocol.cell)), "battinfo")
    tree = json.loads(made.protocol)
    assert tree["@type"] == "OpenCircuitHold"
    assert tree["hasNext"]["hasTask"]["@type"] == "ConstantCurrentDischarging"  # it plates


@pytest.mark.parametrize("to", ["neware", "pybamm", "tomato"])
def test_a_spectrum_that_a_file_cannot_hold_is_refused_with_its_place(to: Any) -> None:
    protocol = load_protocol("zinc-operando")
    made = exported(protocol, load_cell(protocol.cell))
    with pytest.raises(ExchangeError, match="cannot hold step 5: it has no impedance"):
        written(made, to)


def test_currents_that_three_decimals_do_not_hold_are_refused() -> None:
    hold = {"type": "potentiostatic_step", "potential_v": 0.1,
            "until": [{"quantity": "time_s", "value": 10},
                      {"quantity": "abs_current_below_ma_cm2", "value": 1e-4}]}  # fmt: skip
    tree = {"name": "p", "cell": "c", "technique": hold, "rules": []}
    made = exported(Protocol.model_validate(tree), load_cell("zn-bare"))
    with pytest.raises(ExchangeError, match="step 1 ends below 113 nA"):
        written(made, "biologic")


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_writes_a_symmetric_test(to: Any) -> None:
    protocol = load_protocol("zinc-symmetric-1-1")
    made = written(exported(protocol, load_cell(protocol.cell)), to)
    assert made.protocol.endswith("\n")
    assert made.told


def test_the_commands_formats_are_those_there_are() -> None:
    assert COMMAND_FORMATS == FORMATS


def test_what_is_written_to_the_screen_is_the_file(capfdbinary: Any) -> None:
    assert main(["protocol", "export", "zinc-symmetric-1-1", "--to", "neware"]) == 0
    ET.fromstring(capfdbinary.readouterr().out)
