"""RO-Crate: valid by the validator's word, whole, and a data folder that opens."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.analysis import metrics
from operando.configuration import load_cell, load_protocol
from operando.export import Author, ExportError, export_run
from operando.export.rocrate import _asked, _Crate, check_license
from operando.runs import Run
from plans.synchronised import protocol_told
from techniques import Cell, Protocol
from tests.operando.analysis.test_changed_protocols import FOIL, cycling
from tests.operando.analysis.test_changed_protocols import run as changed_run

ADA = Author("Ada Lovelace", "0000-0002-1825-0097", "University of X")
TECHNIQUE = {
    "type": "plate_strip_cycle",
    "cycles": 3,
    "plate": {
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "charge_mah_cm2", "value": 0.5}],
    },
    "strip": {
        "current_density_ma_cm2": 1.0,
        "until": [
            {"quantity": "potential_above_v", "value": 0.5},
            {"quantity": "charge_mah_cm2", "value": 0.6},
        ],
    },
}


@pytest.fixture
def recorded(
    make_run: Callable[..., Any], synthetic: Any, stored: Callable[..., str], tmp_path: Path
) -> tuple[str, Path]:
    """Return a run in a data folder, with spectra in a file of its assets."""
    data = tmp_path / "data"
    (data / "assets" / "u").mkdir(parents=True)
    documents = make_run(technique=TECHNIQUE)
    documents.folder = data / "assets" / "u"
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic())
    axis = np.linspace(150.0, 3900.0, 700)
    counts = np.stack([synthetic.spectrum_counts(axis, seed=seed) for seed in range(2)])
    documents.stream(
        "raman",
        "raman",
        {"t_before": [1.0, 10.0], "t_after": [2.0, 11.0], "laser": [1.0, 1.0]},
        {"counts": counts, "dark": counts[:, 0] * 0},
        {"raman_wavenumber": axis.tolist()},
    )
    documents.stop()
    return stored(documents.documents, data), data


def entities(path: Path) -> dict[str, dict[str, Any]]:
    graph = json.loads((path / "ro-crate-metadata.json").read_text())["@graph"]
    return {one["@id"]: one for one in graph}


@pytest.mark.long
def test_the_validator_would_have_told(
    recorded: tuple[str, Path],
    validated: Callable[[str, Path], dict[str, Any]],
    tmp_path: Path,
) -> None:
    uid, data = recorded
    crate = tmp_path / "crate"
    export_run(uid, data, to="rocrate", output=crate)
    (crate / "report.json").unlink()
    text = (crate / "ro-crate-metadata.json").read_text()
    told = json.loads(text)
    del told["@graph"][1]["license"]
    (crate / "ro-crate-metadata.json").write_text(json.dumps(told))
    said = validated("rocrate", crate)
    assert any("license" in one for one in said["REQUIRED"]), said
    assert any("report.json" in one for one in [*said["REQUIRED"], *said["RECOMMENDED"]]), said


def test_every_file_of_the_crate_is_described_and_every_described_file_there(
    recorded: tuple[str, Path], tmp_path: Path
) -> None:
    uid, data = recorded
    crate = tmp_path / "crate"
    export_run(uid, data, to="rocrate", output=crate, authors=[ADA], institution="UCam")
    told = entities(crate)
    files = {name for name, one in told.items() if one["@type"] == "File"}
    present = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()}
    assert present == files | {"ro-crate-metadata.json"}
    assert {one["@id"] for one in told["./"]["hasPart"]} == files
    assert any(name.endswith(".opj") for name in files)
    assert any(name.endswith("raman-counts.h5") for name in files)
    assert "bdf/UCam__ZN-CU-1__20231114_001.bdf.csv" in files
    for name in files:
        assert int(told[name]["contentSize"]) == (crate / name).stat().st_size
    action = told[f"urn:uuid:{uid}"]
    assert action["agent"] == {"@id": f"https://orcid.org/{ADA.orcid}"}
    assert {one["@id"] for one in action["result"]} | {"cell.yaml", "protocol.yaml"} == files
    assert told["./"]["license"] == {"@id": "#all-rights-reserved"}


def test_the_crate_is_a_data_folder_with_the_same_run_in_it(
    recorded: tuple[str, Path], tmp_path: Path
) -> None:
    uid, data = recorded
    run = Run.from_journal(uid, data)
    export_run(uid, data, to="rocrate", output=tmp_path / "crate")
    export_run(uid, data, to="rocrate", output=tmp_path / "crate.zip")
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    for place in ("crate", "unpacked"):
        again = Run.from_journal(uid, tmp_path / place / "data")
        assert metrics(again) == metrics(run)
        parts = again.streams["raman"].assets["raman_counts"].parts
        assert all(part.path.is_relative_to(tmp_path / place) for part in parts)
        np.testing.assert_array_equal(
            again.streams["raman"].assets["raman_counts"][:],
            run.streams["raman"].assets["raman_counts"][:],
        )


def test_protocol_and_cell_can_be_run_again(recorded: tuple[str, Path], tmp_path: Path) -> None:
    uid, data = recorded
    export_run(uid, data, to="rocrate", output=tmp_path / "crate")
    protocol = load_protocol(tmp_path / "crate" / "protocol.yaml")
    assert protocol.technique.model_dump()["cycles"] == 3
    cell = load_cell(protocol.cell, beside=tmp_path / "crate")
    assert cell == Cell.model_validate(Run.from_journal(uid, data).start["sample"])


def test_protocols_of_a_changed_run_are_whole(tmp_path: Path) -> None:
    rules = [{"name": "short", "when": {"event": "hard_short"}, "then": [{"do": "open_cell"}]}]
    more = {
        "on_failure": {"then": "hold"},
        "failure_criteria": {"hard_half_cycles": 5},
        "end_of_life": {"ce_below_pct": 80.0},
    }
    first = Protocol.model_validate(
        {"name": "first", "cell": "cell.yaml", "technique": cycling(0.5), "rules": []} | more
    )
    told = protocol_told(first, Cell.model_validate(FOIL))
    run = changed_run(cycling(0.5), (5, cycling(1.0)), **told)
    for one in run.start["amendments"]:
        one["protocol"] |= {"name": "other", "rules": rules} | more
    list(_asked(_Crate(tmp_path), run))
    written = load_protocol(tmp_path / "protocol.yaml")
    assert written.rules == first.rules
    assert written.failure_criteria == first.failure_criteria
    assert written.on_failure == first.on_failure
    other = Protocol.model_validate(
        {"name": "other", "cell": "cell.yaml", "technique": cycling(1.0), "rules": rules} | more
    )
    assert load_protocol(tmp_path / "protocol-2.yaml") == other


def test_a_crate_that_exists_is_replaced_only_when_asked(
    recorded: tuple[str, Path], tmp_path: Path
) -> None:
    uid, data = recorded
    for name in ("crate", "crate.zip"):
        export_run(uid, data, to="rocrate", output=tmp_path / name)
        with pytest.raises(ExportError, match="--force"):
            export_run(uid, data, to="rocrate", output=tmp_path / name)
        export_run(uid, data, to="rocrate", output=tmp_path / name, force=True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_raw_data_that_are_gone_are_said_to_be(recorded: tuple[str, Path], tmp_path: Path) -> None:
    uid, data = recorded
    next((data / "assets").rglob("raman-dark.h5")).unlink()
    export_run(uid, data, to="rocrate", output=tmp_path / "crate")
    assert "not there: raman_dark" in entities(tmp_path / "crate")["./"]["description"]


def test_authors_are_read_from_text() -> None:
    assert Author.parse("Ada Lovelace") == Author("Ada Lovelace")
    assert Author.parse("Ada, https://orcid.org/0000-0002-1825-0097") == Author("Ada", ADA.orcid)
    assert Author.parse("Ada Lovelace, 0000-0002-1825-0097, University of X") == ADA
    assert Author.parse("A, Uni, Town") == Author("A", None, "Uni, Town")
    with pytest.raises(ValueError, match="check digit"):
        Author.parse("Ada, 0000-0002-1825-0098")
    with pytest.raises(ValueError, match="no name"):
        Author.parse(", 0000-0002-1825-0097")


@given(st.integers(0, 10**15 - 1))
def test_of_eleven_check_digits_one_is_right(number: int) -> None:
    def accepted(digit: str) -> bool:
        text = f"{number:015d}{digit}"
        try:
            Author.parse("A, " + "-".join(text[at : at + 4] for at in range(0, 16, 4)))
        except ValueError:
            return False
        return True

    assert sum(accepted(digit) for digit in "0123456789X") == 1


@pytest.mark.parametrize("text", ["CC-BY-4.0", "https://example.org/licence"])
def test_a_licence_is_an_identifier_or_an_address(text: str) -> None:
    assert check_license(text) == text
    with pytest.raises(ExportError, match=r"CC-BY-4\.0"):
        check_license("do what you want")
