"""The table of other people's drivers: what fails is told, and every client has what it asks."""

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks.clients.__main__ import version
from benchmarks.clients.cases import CASES, Case, about
from benchmarks.clients.scripts import damaged
from benchmarks.clients.served import SERVED
from benchmarks.peers.clients.__main__ import CLIENTS
from instruments.potentiostat.methodscript.models import capabilities_of
from instruments.potentiostat.methodscript.program import compile_program
from sim_devices.methodscript.language import Loader, LoadError
from techniques import Assignment, GalvanostaticStep, Limit, SafetyLimits


def test_every_client_has_an_instrument_and_a_function() -> None:
    assert {case.client for case in CASES} == set(CLIENTS)
    assert {case.served for case in CASES} - {""} == set(SERVED)
    for client, module in CLIENTS.items():
        assert callable(
            getattr(importlib.import_module(f"benchmarks.peers.clients.{module}"), client)
        )


def test_the_table_of_the_documentation_has_a_row_for_each_client_and_none_failed() -> None:
    table = Path(__file__).parents[2] / "docs" / "measured" / "clients.md"
    rows = [line.split(" | ") for line in table.read_text("utf-8").splitlines() if " | " in line]
    told = {(row[0].removeprefix("| "), row[1].split()[0]): row[4] for row in rows[2:]}
    assert told == {(case.instrument, case.package): "ok" for case in CASES}


def test_what_did_not_come_and_what_came_otherwise_is_wrong() -> None:
    expected = {"ohm": about(100.0, within=0.5), "ends": about(-1.0, 1.0, within=0.1), "well": True}
    case = Case("a meter", "client", "meter", "package", "somebody", "asked", expected)
    assert case.wrong({"ohm": 100.4, "ends": [-1.05, 0.95], "well": True, "more": 1}) == []
    assert case.wrong({"ohm": 99.4, "ends": [-1.0], "well": True}) == [
        "ohm: 99.4 came, not 100 (within 0.5)",
        "ends: [-1.0] came, not -1, 1 (within 0.1)",
    ]
    assert case.wrong({"ohm": "100", "ends": [-1.0, 1.0]}) == [
        "ohm: '100' came, not 100 (within 0.5)",
        "well: None came, not True",
    ]


def test_a_client_that_an_older_environment_lacks_is_told_and_the_others_are_asked() -> None:
    python = Path(sys.executable)
    assert version("pytest", python) == pytest.__version__
    assert version("no-such-client", python).startswith("is not installed: `make clients`")


def _load(text: str) -> None:
    loader = Loader()
    for line in text.splitlines():
        loader.line(line)
    loader.finish()


def test_each_damage_of_a_script_is_one_that_our_simulated_instrument_refuses() -> None:
    step = GalvanostaticStep(
        current_density_ma_cm2=1.0, until=(Limit(quantity="time_s", value=60.0),)
    )
    limits = SafetyLimits(potential_min_v=-1.0, potential_max_v=1.0)
    assignment = Assignment(technique=step, area_cm2=1.0, limits=limits)
    text = compile_program(assignment, capabilities_of("es4_hr")).text
    _load(text)
    for what, broken in damaged(text).items():
        assert broken != text, what
        with pytest.raises(LoadError):
            _load(broken)
