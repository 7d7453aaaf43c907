"""What a scientist sees when a bench, cell or protocol file is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.interlock.entry import InterlockEntry
from operando.analysis.accuracy import CurrentAccuracy, potential_offset_v
from operando.configuration import (
    ConfigurationError,
    check_limits,
    check_technique,
    load_bench,
    load_bench_leniently,
    load_cell,
    load_protocol,
    load_stations,
    names,
)
from operando.settings import config_dir
from techniques import SafetyLimits

CONFIG = config_dir()
SIM = (CONFIG / "sim.yaml").read_text()
CELL = (CONFIG / "cells" / "zn-bare.yaml").read_text()
PROTOCOL = (CONFIG / "protocols" / "zinc-operando.yaml").read_text()
Load = Callable[[Path], Any]


def refusal(folder: Path, load: Load, text: str, old: str = "", new: str = "") -> str:
    """Return what is said when ``text`` with its first ``old`` replaced by ``new`` is loaded."""
    assert old in text
    path = folder / "wrong.yaml"
    path.write_text(text.replace(old, new, 1) if old else text)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("name", names("bench"), ids="{}.yaml".format)
def test_every_shipped_bench_is_valid(name: str) -> None:
    assert load_bench(name).name == name


@pytest.mark.parametrize("name", names("cell"))
def test_every_shipped_cell_is_valid(name: str) -> None:
    assert load_cell(name).area_cm2 > 0


@pytest.mark.parametrize("name", names("protocol"))
def test_every_shipped_protocol_is_valid_and_its_cell_exists(name: str) -> None:
    protocol = load_protocol(name)
    check_limits(load_bench("sim"), load_cell(protocol.cell), protocol)


def test_a_misspelled_key_is_told_with_its_line_and_the_right_one(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, load_protocol, PROTOCOL, "current_density_ma_cm2", "curent_density_ma_cm2"
    )
    line = line_of(PROTOCOL, "current_density_ma_cm2")
    assert f"line {line}, technique.steps[1].plate.curent_density_ma_cm2" in said
    assert "did you mean 'current_density_ma_cm2'?" in said
    assert "until" in said  # what else is allowed there
    assert "missing" not in said  # one slip, one mistake


def test_an_unknown_instrument_kind_is_told_with_the_kinds_there_are(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_bench, SIM, "kind: camera", "kind: camra")
    assert f"line {line_of(SIM, 'kind: camera')}, instruments.camera.kind: got 'camra'" in said
    assert "did you mean 'camera'?" in said
    assert "relay_board, potentiostat, camera, raman, gas_chromatograph" in said


def test_an_instrument_without_kind_is_told_which_kinds_there_are(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_bench, SIM, "    kind: camera\n", "")
    assert "instruments.camera.kind: is missing" in said
    assert "potentiostat" in said


def test_the_margin_of_a_bench_file_is_told_to_the_runs() -> None:
    told = load_bench("sim").calibration()["camera"]
    assert told == {"micrometre_per_pixel": 0.5, "margin_columns": [0, 112]}


def test_a_bench_without_scale_and_slope_is_valid_and_tells_no_calibration() -> None:
    told = load_bench("bench").calibration()
    assert "camera" not in told
    assert told["gas_chromatograph"] == {"headspace": "closed"}


def test_the_uncertainty_of_a_scale_is_smaller_than_it(tmp_path: Path) -> None:
    scale = "    micrometre_per_pixel: 0.5\n"
    error = "    micrometre_per_pixel_uncertainty: 0.6\n"
    assert "uncertainty is 0.6, micrometre_per_pixel 0.5" in refusal(
        tmp_path, load_bench, SIM, scale, scale + error
    )
    assert "micrometre_per_pixel not told" in refusal(tmp_path, load_bench, SIM, scale, error)
    right = tmp_path / "right.yaml"
    right.write_text(SIM.replace(scale, scale + error.replace("0.6", "0.005")))
    told = load_bench(right).calibration()["camera"]
    assert told["micrometre_per_pixel_uncertainty"] == 0.005


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("[0, 112]\n    deposit_columns: [100, 400]", "overlap: what is bare carries no deposit"),
        ("[112, 0]", "margin_columns is [112, 0]: the first column comes first"),
        ("[400, 480]", "do not begin at the left edge: tell in which deposit_columns"),
    ],
)
def test_columns_of_margin_and_deposit_must_make_sense(
    tmp_path: Path, columns: str, told: str
) -> None:
    assert told in refusal(
        tmp_path, load_bench, SIM, "margin_columns: [0, 112]", f"margin_columns: {columns}"
    )


def test_a_column_that_is_named_needs_its_window(tmp_path: Path) -> None:
    told = "run_time_s: 160\n    column: Porapak Q"
    said = refusal(tmp_path, load_bench, SIM, "run_time_s: 160", told)
    assert "column 'Porapak Q' needs hydrogen_window_s" in said


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("cycles: 3", "cycles: yes", "technique.steps[1].cycles"),
        ("value: 0.5}]", "value: on}]", "technique.steps[1].plate.until[0].value"),
        ("image_s: 120", "image_s: true", "every.image_s"),
    ],
)
def test_a_truth_value_is_no_number(tmp_path: Path, old: str, new: str, where: str) -> None:
    said = refusal(tmp_path, load_protocol, PROTOCOL, old, new)
    assert f"line {line_of(PROTOCOL, old)}, {where}: should be a number and no truth" in said
    assert "got True" in said
    assert "mistakes" not in said


def test_a_truth_value_in_a_list_of_numbers_is_told_with_its_place(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_bench, SIM, "margin_columns: [0, 112]", "margin_columns: [no, 9]")
    assert "instruments.camera.margin_columns[0]: should be a number and no truth value" in said


def test_a_sample_without_area_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_cell, CELL, "material: Zn, area_cm2: 1.131", "material: Zn")
    assert "line 3, working_electrode.area_cm2: is missing" in said
    assert "cm2" in said


def test_a_sample_of_area_zero_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_cell, CELL, "area_cm2: 1.131", "area_cm2: 0")
    assert "line 3, working_electrode.area_cm2: should be greater than 0, got 0" in said


def test_limits_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_bench, SIM, "potential_min_v: -4.5", "potential_min_v: 5.0")
    assert "limits: the limits contradict each other: potential_min_v 5.0 V" in said


def test_limits_of_several_files_that_contradict_each_other_are_told_together() -> None:
    bench, cell = load_bench("sim"), load_cell("zn-bare")
    protocol = load_protocol("zinc-operando").model_copy(
        update={"limits": cell.limits.model_copy(update={"potential_min_v": 1.5})}
    )
    protocol = protocol.model_copy(
        update={"limits": protocol.limits.model_copy(update={"potential_max_v": 2.0})}
    )
    with pytest.raises(ConfigurationError, match=r"cell 'ZN-ZN-001': -1.0 V to 1.0 V"):
        check_limits(bench, cell, protocol)


def test_a_missing_file_lists_what_there_is() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_cell("zn-bar")
    said = str(caught.value)
    assert "no cell 'zn-bar'" in said
    assert "did you mean 'zn-bare'?" in said
    assert "zn-bare-half" in said
    assert f", and {len(names('cell')) - 5} others" in said
    with pytest.raises(ConfigurationError) as caught:
        load_cell("xyz")
    assert all(name in str(caught.value) for name in names("cell"))


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zn-bare").write_text(CELL.replace("ZN-ZN-001", "MINE"))
    assert load_cell("zn-bare").cell_id == "MINE"


def test_a_folder_of_the_same_name_does_not_hide_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sim").mkdir()
    assert load_bench("sim").name == "sim"


def test_a_cell_is_also_looked_for_beside_its_protocol(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(CELL)
    assert load_cell("mine.yaml", beside=tmp_path).cell_id == "ZN-ZN-001"


def test_broken_yaml_is_told_with_line_and_column(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_protocol, PROTOCOL, "type: open_circuit,", "type: a: b,")
    assert f", line {line_of(PROTOCOL, 'type: open_circuit')}, column " in said
    assert "not YAML" in said


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_cell, f"{CELL}metal: Na\n")
    line = CELL.count("\n") + 1
    assert f"line {line}: the key 'metal' is given twice (first in line 2)" in said


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    said = refusal(tmp_path, load_cell, "!!python/object/apply:os.getcwd []\n")
    assert "line 1" in said
    assert "not YAML" in said


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "is empty"), ("- 1\n", "should be a mapping"), ("a: &x [*x]\n", "contains itself")],
)
def test_what_is_no_mapping_of_keys_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, load_cell, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stations: 5\n", "stations: should be a list, got 5"),
        ("stations: [5]\n", "stations[0]: should be a mapping (KEY: value), got 5"),
        ("stations: []\n", "stations: list should have at least 1 item, not 0"),
        ("stations: [{name: A1, bench: 5}]\n", "bench: should be a text, got 5"),
        (
            "stations: [{name: A 1, bench: sim}]\n",
            "name: 'A 1' does not have the right form; it is: A letter, then letters, digits",
        ),
        ("ups: rack\nstations: [{name: A1, bench: sim}]\n", "NAME@HOST or NAME@HOST:PORT"),
    ],
)
def test_a_value_of_a_wrong_kind_is_told_in_words_of_the_file(
    tmp_path: Path, text: str, told: str
) -> None:
    assert told in refusal(tmp_path, load_stations, text)


def test_all_mistakes_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = CELL.replace("metal: Zn\n", "metal: Zm\n", 1).replace("volume_ul: 100", "volume_ul: x")
    said = refusal(tmp_path, load_cell, text)
    assert "2 mistakes" in said
    assert said.index("line 2, metal: got 'Zm'; did you mean 'Zn'?") < said.index("volume_ul")


def test_a_mistake_used_several_times_is_told_once(tmp_path: Path) -> None:
    text = (CONFIG / "protocols" / "na-half-cell.yaml").read_text()
    said = refusal(tmp_path, load_protocol, text, "de_v: 0.002", "de_v: -1")
    assert said.count("de_v") == 1
    assert "mistakes" not in said


def test_a_merge_key_keeps_the_line_of_what_it_merges(tmp_path: Path) -> None:
    text = CELL.replace("counter_electrode: {", "counter_electrode: {<<: *we, ").replace(
        "working_electrode: {material: Zn", "working_electrode: &we {material: Zn", 1
    )
    text = text.replace("thickness_um: 100", "thickness_um: -1", 1)
    said = refusal(tmp_path, load_cell, text)
    assert "line 3, working_electrode.thickness_um: should be greater than 0" in said


def test_what_a_protocol_asks_beyond_a_limit_is_told_with_whose_limit_it_is() -> None:
    bench, cell = load_bench("sim"), load_cell("zn-bare-half")
    protocol = load_protocol("zinc-operando")
    tight = cell.model_copy(update={"limits": SafetyLimits(current_max_a=1e-3)})
    with pytest.raises(ConfigurationError) as caught:
        check_technique(bench, tight, protocol)
    told = str(caught.value)
    assert "1.696 mA, the limit is 1 mA" in told
    assert "limits of cell 'ZN-CU-001': current_max_a 0.001" in told
    check_technique(bench, cell, protocol)


def test_a_swept_headspace_must_say_at_which_temperature_its_flow_is_meant(tmp_path: Path) -> None:
    area = "    hydrogen_area_per_mole_fraction: 6.7e6\n"
    swept = area + "    headspace: swept\n    carrier_sccm: 5\n"
    assert "carrier_reference_k" in refusal(tmp_path, load_bench, SIM, area, swept)
    right = tmp_path / "right.yaml"
    right.write_text(SIM.replace(area, swept + "    carrier_reference_k: 273.15\n"))
    assert load_bench(right).name == "sim"


LANGUAGE = "    language: methodscript\n"
CALIBRATION = """    calibration:
      date: 2026-11-20
      by: Calibration service
      current_gain_uncertainty: 5.0e-4
      current_offset_uncertainty_of_range: 2.0e-4
      current_offset_uncertainty_a: 1.0e-9
      potential_offset_uncertainty_v: 2.0e-4
"""


def test_a_potentiostats_calibration_travels_from_the_bench_file_into_the_analysis(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(SIM.replace(LANGUAGE, LANGUAGE + CALIBRATION))
    told = json.loads(json.dumps(load_bench(path).calibration()))
    assert told["potentiostat"]["date"] == "2026-11-20"
    assert told["potentiostat"]["by"] == "Calibration service"
    assert CurrentAccuracy.from_calibration(told) == CurrentAccuracy(5e-4, 2e-4, 1e-9)
    assert potential_offset_v(told) == 2e-4
    # Without one the start document tells none, and the usual accuracy is believed.
    assert "potentiostat" not in load_bench("sim").calibration()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("current_gain_uncertainty", "current_gain", "there is no such key"),
        ("      by: Calibration service\n", "", "by: is missing; it is: Who found it"),
        ("      date: 2026-11-20\n", "", "date: is missing"),
        ("2026-11-20", "soon", "should be a valid date"),
        ("5.0e-4", "-1", "should be greater than or equal to 0"),
        ("5.0e-4", "5", "should be less than 1"),
        (CALIBRATION[CALIBRATION.index("      current_gain") :], "", "tells at least one of curr"),
    ],
)
def test_a_wrong_calibration_of_a_potentiostat_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in CALIBRATION
    wrong = LANGUAGE + CALIBRATION.replace(old, new, 1)
    message = refusal(tmp_path, load_bench, SIM, LANGUAGE, wrong)
    assert said in message
    assert "potentiostat.calibration" in message


@pytest.mark.parametrize(("reach", "said"), [("0.9", "greater than or equal to 1"), ("2.5", "2.4")])
def test_how_far_a_current_range_reaches_is_told_within_bounds(
    tmp_path: Path, reach: str, said: str
) -> None:
    wrong = f"{LANGUAGE}    current_range_reach: {reach}\n"
    message = refusal(tmp_path, load_bench, SIM, LANGUAGE, wrong)
    assert said in message
    assert "potentiostat.current_range_reach" in message


def test_the_simulated_bench_tells_what_its_detector_makes_of_air() -> None:
    told = load_bench("sim").calibration()["gas_chromatograph"]
    assert told == {
        "hydrogen_area_per_mole_fraction": 6.7e6,
        "oxygen_area_per_mole_fraction": 6.7e6,
        "nitrogen_area_per_mole_fraction": 6.7e6,
        "headspace": "closed",
    }


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("    language: keithly\n", "got 'keithly'; did you mean 'keithley'?"),
        ("", "is missing; it says what this is: methodscript, keithley"),
        ("    language: keithley\n    edge_lines: 2\n", "did you mean 'edge_line'?"),
        ("    language: keithley\n    edge_line: 7\n", "less than or equal to 6"),
        ("    language: keithley\n    current_range_reach: 1.5\n", "there is no such key"),
    ],
)
def test_a_potentiostat_has_the_keys_of_its_own_language(
    tmp_path: Path, language: str, said: str
) -> None:
    message = refusal(tmp_path, load_bench, SIM, LANGUAGE, language)
    assert said in message
    assert "instruments.potentiostat" in message
    assert "potentiostat.keithley" not in message


def _bench(**instruments: dict[str, Any]) -> BenchFile:
    return BenchFile.model_validate({"name": "b", "instruments": instruments})


PH = {"kind": "sensor", "language": "atlas_ezo_ph"}
VALVE = {"kind": "sampling_valve", "language": "vici"}


def test_a_serial_port_is_of_one_instrument_however_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "ttyACM0").touch()
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyACM0")
    port = f"serial://{tmp_path}/ttyACM0"
    for other in (port, f"{port}?baud_rate=9600", f"serial://{tmp_path}/by-id"):
        with pytest.raises(
            ValueError, match=r"instruments\.valve and instruments\.ph have the same"
        ):
            _bench(valve=VALVE | {"address": port}, ph=PH | {"address": other})
    _bench(valve=VALVE | {"address": port}, ph=PH | {"address": f"serial://{tmp_path}/ttyACM1"})


def test_a_valve_of_two_chromatographs_injects_in_one_position() -> None:
    port = {"address": "serial:///dev/ttyUSB7"}
    fusion = {"kind": "gas_chromatograph", "language": "fusion", "valve": "valve"}
    first, second = fusion | {"address": "http://a"}, fusion | {"address": "http://b"}
    with pytest.raises(ValueError, match=r"first injects with valve at B, .*second at A"):
        _bench(valve=VALVE | port, first=first, second=second | {"inject_position": "A"})
    _bench(valve=VALVE | port, first=first, second=second)


INTERLOCK = {"kind": "interlock", "language": "dcon", "address": "serial:///dev/ttyUSB8"}
CELL_OF = {"kind": "potentiostat", "language": "methodscript", "address": "serial:///dev/ttyACM8"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"relays": {"raman": 1}}, r"relay 1 for 'raman', .* \(there is: cell\)"),
        ({"relays": {"cell": 0, "lock": 1}}, "relay 1 for 'lock'"),
        ({"relays": {"cell": 0, "raman": 0}}, "cell and raman both hang on relay 0"),
        ({"relays": {}}, "at least 1"),
        ({"relays": {"cell": True}}, "integer"),
        ({"relays": {"cell": -1}}, "greater than or equal to 0"),
        ({"relays": {"cell": 0}, "watchdog_s": 0.1}, "greater than or equal to 0.2"),
        ({"relays": {"cell": 0}, "watchdog_s": 25.6}, "less than or equal to 25.5"),
        ({}, "Field required"),
    ],
)
def test_an_interlock_holds_relays_of_instruments_of_its_bench(
    more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        _bench(cell=CELL_OF, lock=INTERLOCK | more)


def test_a_bench_has_one_interlock() -> None:
    lock = INTERLOCK | {"relays": {"cell": 0}}
    other = lock | {"address": "serial:///dev/ttyUSB9"}
    with pytest.raises(ValueError, match="lock and other are interlocks, and a bench has one"):
        _bench(cell=CELL_OF, lock=lock, other=other)


def test_a_bench_that_is_reduced_keeps_the_interlock_of_what_is_left() -> None:
    bench = load_bench("sim-interlock")
    entry = bench.only({"potentiostat"}).instruments["interlock"]
    assert isinstance(entry, InterlockEntry)
    assert entry.relays_of == {"potentiostat": 0}
    assert set(load_bench("sim").only({"potentiostat"}).instruments) == {"potentiostat"}
    assert BenchFile.model_validate(bench.model_dump()) == bench
    # Only the guard opens it.
    assert set(Bench(bench).devices) == {"potentiostat", "raman"}
    told = Bench(bench.only({"interlock"})).metadata()["bench"]["instruments"]
    assert told["interlock"]["identity"] is None


def test_a_cell_is_opened_whatever_is_wrong_with_its_interlock(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    lock = INTERLOCK | {"relays": {"cell": 0, "raman": 1}}
    path.write_text(json.dumps({"name": "b", "instruments": {"lock": lock, "cell": CELL_OF}}))
    bench, left_out = load_bench_leniently(path)
    assert (set(bench.instruments), set(left_out)) == ({"cell"}, {"lock"})
    lock["relays"] = {"cell": 0}
    path.write_text(json.dumps({"name": "b", "instruments": {"lock": lock, "cell": CELL_OF}}))
    bench, left_out = load_bench_leniently(path)
    assert (set(bench.instruments), left_out) == ({"cell", "lock"}, {})


def test_two_boxes_of_one_folder_have_patterns_of_their_own() -> None:
    box = {"kind": "external", "language": "folder", "address": "folder:///srv", "pattern": "*.xy"}
    with pytest.raises(ValueError, match=r"xrd and instruments\.other take the same files, \*\.xy"):
        _bench(xrd=box, other=box | {"address": "folder:///srv/"})
    _bench(xrd=box, other=box | {"pattern": "*.csv"})


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            "{kind: potentiostat, language: keithley, address: 'tcp://other:5025'}",
            "potentiostat and channel_2 are potentiostats, and a bench has one cell: write a bench "
            "file for each cell, also where two are channels of one instrument",
        ),
        (
            "{kind: thermostat, language: julabo, "
            "address: 'published:${OPERANDO_SIM}/potentiostat'}",
            "instruments.potentiostat and instruments.channel_2 have the same address",
        ),
    ],
)
def test_a_bench_has_one_cell_and_a_port_one_instrument(
    tmp_path: Path, second: str, said: str
) -> None:
    told = refusal(tmp_path, load_bench, SIM, "limits:", f"  channel_2: {second}\nlimits:")
    assert said in told
