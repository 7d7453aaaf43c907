"""NeXus: what viewers draw, what validators say, and that nothing changed on the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from operando.analysis import metrics
from operando.export import ExportError, export_nexus
from operando.runs import Asset, AssetPart, Run, Stream

SCALE_UM = 0.5


@pytest.fixture
def run(make_run: Callable[..., Any], synthetic: Any) -> Run:
    documents = make_run()
    columns = synthetic.galvanostatic()
    documents.stream("potentiostat", "potentiostat", columns)
    axis = np.linspace(150.0, 3900.0, 700)
    counts = np.stack([synthetic.spectrum_counts(axis, seed=seed) for seed in range(2)])
    documents.stream(
        "raman",
        "raman",
        {"t_before": [np.nan, 10.0], "t_after": [0.0, 11.0], "laser": [1.0, 1.0]},
        {"counts": counts, "dark": counts[:, 0] * 0, "spectrum": counts.mean(axis=1)},
        {"raman_wavenumber": axis.tolist()},
    )
    frames = np.stack([synthetic.side_view(10.0 * frame, seed=frame) for frame in range(3)])
    documents.stream(
        "camera",
        "camera",
        {"t_before": [1.0, 2.0, 3.0], "t_after": [1.5, 2.5, 3.5]},
        {"image": frames},
        {"camera_micrometre_per_pixel": SCALE_UM},
    )
    documents.stop()
    return Run.from_documents(documents.documents)


def test_every_value_comes_back_bit_by_bit(run: Run, tmp_path: Path) -> None:
    export_nexus(run, tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        for name, stream in run.streams.items():
            group = file["entry"][name]
            for key, values in [("time", stream.time), *stream.columns.items()]:
                np.testing.assert_array_equal(group[key][()], values)
                unit = "s" if key == "time" else stream.units.get(key)
                assert group[key].attrs.get("units") == (unit or None)
            for key, asset in stream.assets.items():
                assert group[key].dtype == asset[0].dtype
                np.testing.assert_array_equal(group[key][()], asset[:])


def test_opening_the_file_leads_to_the_potential_over_time(run: Run, tmp_path: Path) -> None:
    export_nexus(run, tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data.attrs["signal"] == "potentiostat_potential"
        assert list(data.attrs["axes"]) == ["potentiostat_t"]
        assert list(data.attrs["auxiliary_signals"]) == ["potentiostat_current"]
        assert data["potentiostat_potential"].attrs["units"] == "V"
        assert entry["start_time"][()].decode() == "2023-11-14T22:13:20+00:00"
        assert entry["program_name"][()].decode() == "operando"
        assert entry["entry_identifier_uuid"][()].decode() == run.uid
        # No application definition is claimed: there is none for such a cell.
        assert "definition" not in entry


def test_frames_and_spectra_lie_in_their_detector_with_their_axes(run: Run, tmp_path: Path) -> None:
    export_nexus(run, tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        entry = file["entry"]
        detector = entry["instrument/camera"]
        assert detector["data"] == entry["camera/camera_image"]
        assert detector["data"].attrs["target"] == "/entry/instrument/camera/data"
        assert detector["x_pixel_size"][()] == SCALE_UM
        assert list(entry["camera"].attrs["axes"]) == ["camera_t_before", "y", "x"]
        np.testing.assert_array_equal(entry["camera/x"][:3], [0, SCALE_UM, 2 * SCALE_UM])
        assert entry["raman"].attrs["signal"] == "raman_spectrum"
        # Blanks have no time on the leader's clock; an axis without positions cannot be drawn.
        assert list(entry["raman"].attrs["axes"]) == ["time", "raman_wavenumber"]


def test_metrics_have_unit_uncertainty_and_source(run: Run, tmp_path: Path) -> None:
    numbers = metrics(run)
    export_nexus(run, tmp_path / "run.nxs", numbers=numbers)
    with h5py.File(tmp_path / "run.nxs") as file:
        values = file["entry/metrics/values"]
        np.testing.assert_array_equal(values["ce_pct"][()], numbers["ce_pct"].value)
        assert values["ce_pct"].attrs["units"] == "%"
        assert values["ce_pct"].attrs["source"].startswith("usual definition")
        defined = {name for name, one in numbers.items() if one.value is not None}
        assert {name for name in values if not name.endswith("_uncertainty")} == defined


def test_validator_and_viewer_have_nothing_to_say(
    run: Run, validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    export_nexus(run, tmp_path / "run.nxs", users=[("Ada Lovelace", "0000-0002-1825-0097")])
    said = validated("nexus", tmp_path / "run.nxs")
    assert (said["errors"], said["warnings"]) == (0, 0), said["said"]
    assert said["default"]["signal"] == "potentiostat_potential"
    assert said["default"]["axes"] == ["potentiostat_t"]
    assert said["default"]["also"] == ["potentiostat_current"]
    potential = run.streams["potentiostat"].columns["potentiostat_potential"]
    assert said["default"]["values"] == potential[:3].tolist()
    assert all(one["valid"] for one in said["data"].values()), said["data"]
    kinds = {name.rpartition("/")[2]: one["kind"] for name, one in said["data"].items()}
    assert kinds == {"potentiostat": ["is_curve"], "raman": ["is_image"], "camera": ["is_stack"]}


def test_the_validator_would_have_told(
    run: Run, validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    export_nexus(run, tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs", "r+") as file:
        file["entry/potentiostat"].attrs["axes"] = ["nowhere"]
        del file["entry/title"]
        file["entry/title"] = [1.0, 2.0]
    said = validated("nexus", tmp_path / "run.nxs")
    assert said["errors"] >= 1


def test_linked_frames_are_those_of_the_files(
    run: Run, validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    export_nexus(run, tmp_path / "copied.nxs")
    export_nexus(run, tmp_path / "linked.nxs", link=True)
    with h5py.File(tmp_path / "linked.nxs") as file:
        for name in ("camera/camera_image", "raman/raman_spectrum", "raman/raman_dark"):
            stream, _, key = name.partition("/")
            np.testing.assert_array_equal(
                file[f"entry/{name}"][()], run.streams[stream].assets[key][:]
            )
        assert isinstance(
            file["entry/instrument/camera"].get("data", getlink=True), h5py.ExternalLink
        )
    sizes = [(tmp_path / f"{name}.nxs").stat().st_size for name in ("linked", "copied")]
    assert sizes[0] < sizes[1] / 2
    said = validated("nexus", tmp_path / "linked.nxs")
    assert said["errors"] == 0, said["said"]
    assert said["data"]["/entry/camera"]["shape"] == [3, 300, 480]


def test_frames_in_several_files_become_one_dataset(tmp_path: Path) -> None:
    parts = []
    for number in range(2):
        with h5py.File(tmp_path / f"{number}.h5", "w", libver="latest") as file:
            file["d"] = np.arange(number * 100, number * 100 + 24.0).reshape(4, 2, 3)
        parts.append(AssetPart(tmp_path / f"{number}.h5", "/d", number, 3))
    asset = Asset("cam_image", parts)
    stream = Stream("cam", {}, {}, np.arange(5.0), {}, {"cam_image": asset})
    run = Run({"uid": "u", "time": 0.0}, None, {"cam": stream})
    for link in (False, True):
        export_nexus(run, tmp_path / "run.nxs", link=link, force=True)
        with h5py.File(tmp_path / "run.nxs") as file:
            np.testing.assert_array_equal(file["entry/cam/cam_image"][()], asset[:])


def test_columns_of_any_name_and_text_have_a_place(
    run_of: Callable[..., Run], validated: Callable[[str, Path], dict[str, Any]], tmp_path: Path
) -> None:
    texts = np.array(["a", "ä\n", ""], dtype=object)
    run = run_of({"2 x/y": [1.0, 2.0, 3.0], "2_x_y": [4.0, 5.0, 6.0], "who": texts})
    export_nexus(run, tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        data = file["entry/potentiostat"]
        assert data["_2_x_y"][()].tolist() == [1.0, 2.0, 3.0]
        assert data["_2_x_y_2"][()].tolist() == [4.0, 5.0, 6.0]
        assert data["_2_x_y"].attrs["long_name"] == "2 x/y"
        assert [one.decode() for one in data["who"][()]] == texts.tolist()
    assert validated("nexus", tmp_path / "run.nxs")["errors"] == 0


def test_a_run_that_goes_on_is_marked_and_one_without_rows_written(tmp_path: Path) -> None:
    stream = Stream("potentiostat", {"potentiostat_t": np.empty(0)}, {}, np.empty(0), {}, {})
    run = Run({"uid": "u", "time": 0.0}, None, {"potentiostat": stream})
    export_nexus(run, tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        assert b"INCOMPLETE" in file["entry/experiment_description"][()]
        assert "end_time" not in file["entry"]
        assert file["entry/documents/status"][()] == b"incomplete"


def test_a_name_that_no_viewer_opens_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"ends in \.nxs"):
        export_nexus(run, tmp_path / "run.txt")
    (tmp_path / "run.nxs").write_text("mine")
    with pytest.raises(ExportError, match=r"exists.*--force"):
        export_nexus(run, tmp_path / "run.nxs")
    assert (tmp_path / "run.nxs").read_text() == "mine"


def test_a_disk_that_becomes_full_ends_the_export_and_not_the_process(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the disk were that small.
    monkeypatch.setattr("operando.export.nexus.KEPT_FREE_BYTES", 10**18)
    with pytest.raises(ExportError, match=r"disk is full.*Nothing of it was kept"):
        export_nexus(run, tmp_path / "run.nxs")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".h5"] == []


@pytest.mark.parametrize("link", [False, True])
def test_rows_of_different_shape_are_datasets_of_their_own(
    make_run: Callable[..., Any], synthetic: Any, tmp_path: Path, link: bool
) -> None:
    run = synthetic.with_patterns_of_two_lengths(make_run(), tmp_path)
    export_nexus(run, tmp_path / "run.nxs", link=link)
    rows = list(run.streams["xrd"].asset("xrd_intensity").rows())
    with h5py.File(tmp_path / "run.nxs") as file:
        group = file["entry/xrd"]
        np.testing.assert_array_equal(group["xrd_intensity_rows_0_to_1"][()], rows[:2])
        np.testing.assert_array_equal(group["xrd_intensity_row_2"][()], rows[2:])
        assert group.attrs["signal"] in group
