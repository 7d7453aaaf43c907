"""Instruments that other packages bring: what can be used is, what cannot is told and left out."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from instruments.bench_file import BuiltIn, entries
from instruments.plugins import GROUP, brought, union_of
from instruments.sensor.entry import SensorEntry
from sim_devices import served

KNOWN = list(entries(BuiltIn))


class HygrometerEntry(SensorEntry):
    """One that nobody brings."""

    language: Literal["hygrometer"]


def point(value: str, name: str = "mine") -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("no_such_module:Entry", "No module named 'no_such_module'"),
        ("instruments.sensor.entry:NoSuchEntry", "has no attribute 'NoSuchEntry'"),
        ("json:dumps", "no subclass of an entry"),
        ("instruments.entry:AddressedEntry", "does not tell its kind and language"),
        ("instruments.sensor.entry:SensorEntry", "does not tell its language"),
        ("instruments.sensor.entry:AtlasEzoPhEntry", "'atlas_ezo_ph' is that of AtlasEzoPhEntry"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_told(
    value: str, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert brought(KNOWN, [point(value)]) == []
    (record,) = caplog.records
    assert f"the instrument 'mine' ({value}) is left out" in record.getMessage()
    assert complaint in record.getMessage()


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("instruments.sensor.entry:SensorEntry", "does not tell its driver_class"),
        ("instruments.entry:AddressedEntry", "is of kind 'sensor' and no SensorEntry"),
    ],
)
def test_an_entry_that_no_bench_could_be_built_from_is_refused(
    base: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module, _, name = base.partition(":")
    told = "" if "driver_class" in complaint else "    driver_class = classmethod(dict)\n"
    (tmp_path / f"of_{name.lower()}.py").write_text(
        f"from typing import Literal\nfrom {module} import {name}\n"
        f"class Entry({name}):\n"
        f"    kind: Literal['sensor']\n    language: Literal['mine']\n{told}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert brought(KNOWN, [point(f"of_{name.lower()}:Entry")]) == []
    assert complaint in caplog.text


def test_an_instrument_of_another_kind_than_there_is_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    potentiostats = [entry for entry in KNOWN if entry.__name__ == "MethodScriptEntry"]
    assert brought(potentiostats, [point("instruments.stage.entry:ZaberAsciiEntry")]) == []
    assert "is of a kind 'stage'; there are: potentiostat" in caplog.text


def test_what_is_brought_stands_in_a_bench_file_beside_its_kind() -> None:
    adapter = TypeAdapter(union_of([*KNOWN, HygrometerEntry]))
    entry = {"kind": "sensor", "language": "hygrometer", "address": "tcp://127.0.0.1:1"}
    assert isinstance(adapter.validate_python(entry), HygrometerEntry)
    with pytest.raises(
        ValidationError, match="'atlas_ezo_ph', 'keller_bus', 'srs_qcm200', 'hygrometer'"
    ):
        adapter.validate_python({**entry, "language": "vici"})


def test_a_valve_of_another_maker_makes_its_kind_one_of_several_languages() -> None:
    valve = next(entry for entry in KNOWN if entry.__name__ == "ViciEntry")
    sampling = valve.__mro__[1]
    other = type(
        "OtherValveEntry",
        (sampling,),
        {"__annotations__": {"language": Literal["other"]}, "__module__": __name__},
    )
    adapter = TypeAdapter(union_of([*KNOWN, other]))
    entry = {"kind": "sampling_valve", "address": "tcp://127.0.0.1:1"}
    assert isinstance(adapter.validate_python({**entry, "language": "other"}), other)
    assert isinstance(adapter.validate_python({**entry, "language": "vici"}), valve)


def test_a_simulated_instrument_that_cannot_be_loaded_says_which() -> None:
    wiring = served.Wiring.__new__(served.Wiring)
    broken = EntryPoint(name="mine", value="no_such_module:start", group=served.GROUP)
    with pytest.raises(ValueError, match=r"'mine' \(no_such_module:start\) cannot be loaded"):
        served._start_brought(broken, wiring)
