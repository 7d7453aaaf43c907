"""What every instrument can do: as drivers declare it, and as `operando instruments` tells it."""

import json
from typing import Any, get_args

import pytest

from instruments.abilities import abilities_of, software_only
from instruments.bench_file import BuiltIn, entries
from instruments.listing import models_alike, span_text
from instruments.potentiostat.keithley.models import identified
from instruments.potentiostat.methodscript.models import capabilities_of
from instruments.potentiostat.rodeostat.models import model_of
from operando.cli import main
from techniques import Technique

DRIVERS = [entry.driver_class() for entry in entries(BuiltIn)]
TECHNIQUES = {one.model_fields["type"].default for one in get_args(get_args(Technique)[0])}


def told(*arguments: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["instruments", "--json", *arguments]) == 0
    answer: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.__name__)
def test_every_driver_says_what_it_can_do_and_that_no_hardware_has_confirmed_it(
    driver: Any,
) -> None:
    assert driver.verified_on is None
    for able in abilities_of(driver):
        assert able.does
        assert all(x.low is None or x.high is None or x.low < x.high for x in able.limits.values())


@pytest.mark.parametrize(
    "able",
    [
        capabilities_of("es4_hr"),
        capabilities_of("espico"),
        identified("KEITHLEY INSTRUMENTS,MODEL 2450,1,1.7.0")[0],
        model_of("AD8251_24MilliAmpV0.2").capabilities(),
    ],
    ids=lambda able: able.model,
)
def test_a_potentiostat_declares_what_its_connected_model_is_held_to(able: Any) -> None:
    (declared,) = {
        one.model: one
        for driver in DRIVERS
        for one in abilities_of(driver)
        if one.model == able.model
    }.values()
    assert set(declared.does) == able.techniques <= TECHNIQUES
    assert declared.limits["potential"] == (able.potential_min_v, able.potential_max_v, "V")
    assert declared.limits["current"][1] == able.current_max_a
    assert ("frequency" in declared.limits) == ("impedance_spectrum" in able.techniques)
    assert declared.limits_note == able.limits_note


def test_who_keeps_limits_in_software_alone_says_so() -> None:
    notes = {driver.__name__: software_only(driver) for driver in DRIVERS}
    assert {name for name, note in notes.items() if note} == {
        "RodeostatPotentiostat",
        "OceanSpectrometer",
    }
    assert "WITHOUT LIMITS" in notes["RodeostatPotentiostat"]


def test_all_languages_are_listed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    listed = told(capsys=capsys)
    assert {(one["kind"], one["language"]) for one in listed} == {
        (get_args(x.model_fields["kind"].annotation)[0], get_args(language)[0])
        for x in entries(BuiltIn)
        if (language := x.model_fields["language"].annotation)
    }
    by_language = {one["language"]: one for one in listed}
    assert by_language["srs_qcm200"]["columns"] == {
        "frequency": "Hz",
        "resistance": "ohm",
        "mass": "ug/cm2",
    }
    assert by_language["pylon"]["extra"] == "camera"
    assert by_language["huber_pb"]["models"][0]["limits"]["setpoint"]["unit"] == "K"
    assert {one["verified_on"] for one in listed} == {None}


def test_a_bench_file_tells_its_own_limits(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {one["name"]: one for one in told("--bench", "sim-second", capsys=capsys)}
    assert listed["thermostat"]["bench_limits"] == {
        "setpoint": {"low": 253.15, "high": 343.15, "unit": "K"}
    }
    assert listed["stage"]["bench_limits"]["z"]["high"] == 20000
    assert listed["potentiostat"]["bench_limits"]["charge"]["unit"] == "mAh/cm2"
    assert listed["ph_meter"]["addresses"] == ["published:${OPERANDO_SIM}/ph_meter"]


def test_it_reads_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instruments", "--bench", "sim-rodeostat"]) == 0
    said = capsys.readouterr().out
    assert "potentiostat rodeostat: A Rodeostat" in said
    assert "verified on hardware: none" in said
    assert said.count("SOFTWARE ONLY: its firmware knows no limits") == 1
    assert "potential: -8 to 8 V" in said
    assert main(["instruments", "--bench", "no-such-bench"]) == 2


def test_models_that_differ_in_nothing_but_their_name_are_told_together() -> None:
    models = [{"model": name, "does": [does]} for name, does in ("ax", "bx", "cy")]
    assert [names for names, _ in models_alike(models)] == ["a, b", "c"]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-6.0, 6.0, "-6 to 6 V"),
        (None, 6.0, "up to 6 V"),
        (-6.0, None, "-6 V or more"),
        (None, None, "told when it is connected (V)"),
    ],
)
def test_a_limit_in_words(low: float | None, high: float | None, text: str) -> None:
    assert span_text({"low": low, "high": high, "unit": "V"}) == text
