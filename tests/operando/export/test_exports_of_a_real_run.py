"""A run by the simulated bench, all instruments, in every format: as on the bench, so in the file.

What the instruments really sent goes through every exporter and before every validator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest

from operando.analysis import metrics
from operando.configuration import load_bench, load_cell
from operando.export import Author, export_run
from operando.runs import Run
from operando.session import Session
from operando.simulation import SimulatedBench
from techniques import ImpedanceSpectrum, OpenCircuit, PlateStripCycle, Protocol, Schedule, Sequence

CELL = "zn-bare-half"
INSTRUMENTS = {"potentiostat", "camera", "raman", "gas_chromatograph"}
STREAMS = {*INSTRUMENTS, "impedance", "chromatogram"}


@dataclass(frozen=True)
class Recorded:
    uid: str
    data_dir: Path
    run: Run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("bench")
    record = {"dt_s": 5.0, "edge_dt_s": 1.0, "edge_for_s": 5.0}
    step = {"current_density_ma_cm2": 3.0, "record": record}
    charge = {"quantity": "charge_mah_cm2", "value": 0.15}
    cycle = PlateStripCycle.model_validate(
        {
            "plate": {**step, "until": [charge]},
            "strip": {
                **step,
                "until": [{"quantity": "potential_above_v", "value": 0.5}, charge],
            },
            "between": ImpedanceSpectrum(
                amplitude_rms_v=0.005, frequency_min_hz=10, points_per_decade=4
            ),
            "rest_s": 5.0,
        }
    )
    protocol = Protocol(
        name="short",
        cell=CELL,
        technique=Sequence(steps=(OpenCircuit(duration_s=5.0), cycle)),
        every=Schedule(
            image_s=200,
            burst_for_s=0,
            spectrum_s=None,
            injection_s=None,
            blank_spectra=1,
            integration_time_s=0.1,
            accumulations=2,
        ),
    )
    with (
        SimulatedBench(CELL, directory=folder / "sim", factor=1000.0, tolerance_s=10.0),
        Session(load_bench("sim").only(INSTRUMENTS), folder / "data", catalog=False) as session,
    ):
        uid = session.run_protocol(protocol, cell=load_cell(CELL))
        session.namespace()["export"](uid, to="csv", output=folder / "from-the-prompt")
    assert (folder / "from-the-prompt" / "potentiostat.csv").exists()
    return Recorded(uid, folder / "data", Run.from_journal(uid, folder / "data"))


def test_the_run_has_what_the_formats_are_to_hold(recorded: Recorded) -> None:
    # Rules are judged, those by default, and none had to act.
    assert set(recorded.run.streams) == {*STREAMS, "rules", "programs"}
    assert all(len(recorded.run.streams[name]) for name in STREAMS)


def test_battery_data_format(
    recorded: Recorded, validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    path, sidecar = export_run(
        recorded.uid, recorded.data_dir, to="bdf", output=tmp_path, institution="UCam"
    )
    said = validated("bdf", path)
    assert said["ok"]
    assert said["monotone"]
    streams = recorded.run.streams
    assert said["rows"] == len(streams["potentiostat"]) + len(streams["impedance"])
    read = pyarrow.csv.read_csv(path)
    # A half cell on the working electrode: plating discharges it, and nothing is turned round.
    measured = read.filter(pyarrow.compute.not_equal(read["Step Type"], "EIS"))
    columns = streams["potentiostat"].columns
    np.testing.assert_array_equal(
        measured["Current / A"].to_numpy(), columns["potentiostat_current"]
    )
    charged, discharged = (
        measured[f"{what} Capacity / Ah"][-1].as_py() for what in ("Charging", "Discharging")
    )
    ce_pct = metrics(recorded.run)["ce_pct"].value[0]
    assert 100 * charged / discharged == pytest.approx(ce_pct, rel=1e-12)
    assert len(validated("jsonld", sidecar)["triples"]) > 300


def test_nexus(
    recorded: Recorded, validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    (path,) = export_run(recorded.uid, recorded.data_dir, to="nexus", output=tmp_path / "run.nxs")
    said = validated("nexus", path)
    assert (said["errors"], said["warnings"]) == (0, 0), said["said"]
    assert said["default"]["signal"] == "potentiostat_potential"
    assert {name.rpartition("/")[2]: one["valid"] for name, one in said["data"].items()} == (
        dict.fromkeys(STREAMS, True)
    )
    with h5py.File(path) as file:
        for name, stream in recorded.run.streams.items():
            for key, asset in stream.assets.items():
                np.testing.assert_array_equal(file[f"entry/{name}/{key}"][()], asset[:])
    (linked,) = export_run(
        recorded.uid, recorded.data_dir, to="nexus", output=tmp_path / "linked.nxs", link=True
    )
    assert validated("nexus", linked)["errors"] == 0


def test_tables(recorded: Recorded, tmp_path: Path) -> None:
    export_run(recorded.uid, recorded.data_dir, to="parquet", output=tmp_path / "parquet")
    export_run(recorded.uid, recorded.data_dir, to="csv", output=tmp_path / "csv")
    for name, stream in recorded.run.streams.items():
        table = pyarrow.parquet.read_table(tmp_path / "parquet" / f"{name}.parquet")
        text = pyarrow.csv.read_csv(
            tmp_path / "csv" / f"{name}.csv",
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(
                    [
                        f"{key} [{stream.units[key]}]" if key in stream.units else key
                        for key in stream.columns
                    ],
                    pyarrow.float64(),
                )
            ),
        )
        for place, (key, values) in enumerate(stream.columns.items(), 1):
            np.testing.assert_array_equal(table[key].to_numpy(), values)
            np.testing.assert_array_equal(text.column(place).to_numpy(), values)


@pytest.mark.long
def test_research_object_crate(
    recorded: Recorded, validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    (crate,) = export_run(
        recorded.uid,
        recorded.data_dir,
        to="rocrate",
        output=tmp_path / "crate.zip",
        license="CC-BY-4.0",
        authors=[Author("Ada Lovelace", "0000-0002-1825-0097", "University of X")],
    )
    said = validated("rocrate", crate)
    assert said["profile"] == "ro-crate-1.3"
    assert said["REQUIRED"] == []
    # We do not ask for them: the institution's page, its ROR, somebody to write to.
    allowed = ("organization", "contactPoint", "ROR")
    assert [one for one in said["RECOMMENDED"] if not any(word in one for word in allowed)] == []
