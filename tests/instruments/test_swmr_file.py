"""SWMR files: readable while they grow, after a kill, and announced row by row."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import h5py
import hdf5plugin
import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from instruments._assets import AssetStream
from instruments._swmr import SwmrFile, chunk_shape

WRITER = Path(__file__).with_name("swmr_writer_process.py")
IMAGE = "/entry/data/data"
NUMBER = "/entry/data/number"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SwmrFile]:
    file = SwmrFile(
        tmp_path / "deep" / "camera.h5",
        {IMAGE: ((6, 8), "u1"), NUMBER: ((), "<f8")},
        attributes={"/entry": {"NX_class": "NXentry"}, NUMBER: {"units": "s"}},
        constants={"/entry/axis": np.arange(3.0)},
    )
    yield file
    file.close()


def row(number: int) -> dict[str, object]:
    return {IMAGE: np.full((6, 8), number, "u1"), NUMBER: float(number)}


def reader(path: Path) -> h5py.File:
    return h5py.File(path, "r", libver="latest", swmr=True)


def read_in_another_process(path: Path) -> list[float]:
    """Return the first pixel of every image as a second process sees it."""
    code = (
        "import sys, h5py, hdf5plugin\n"
        "with h5py.File(sys.argv[1], 'r', libver='latest', swmr=True) as file:\n"
        f"    print(*[float(image[0, 0]) for image in file[{IMAGE!r}]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


def test_an_appended_row_is_readable_by_another_process_at_once(file: SwmrFile) -> None:
    for number in range(3):
        assert file.append(row(number)) == number
        assert read_in_another_process(file.path) == [float(k) for k in range(number + 1)]


def test_an_open_reader_sees_the_rows_that_come(file: SwmrFile) -> None:
    with reader(file.path) as seen:
        dataset = seen[IMAGE]
        for number in range(20):
            file.append(row(number))
            dataset.refresh()
            assert dataset.shape == (number + 1, 6, 8)
            assert np.all(dataset[number] == number)


def test_all_datasets_have_the_same_length_and_attributes_are_there(file: SwmrFile) -> None:
    for number in range(5):
        file.append(row(number))
    file.close()
    assert file.rows == 5
    with reader(file.path) as seen:
        assert seen[IMAGE].shape == (5, 6, 8)
        assert seen[NUMBER][:].tolist() == [0, 1, 2, 3, 4]
        assert seen[NUMBER].attrs["units"] == "s"
        assert seen["/entry"].attrs["NX_class"] == "NXentry"
        assert seen["/entry/axis"][:].tolist() == [0, 1, 2]


def test_images_are_one_compressed_chunk_each(file: SwmrFile) -> None:
    with reader(file.path) as seen:
        assert seen[IMAGE].chunks == (1, 6, 8)
        plist = seen[IMAGE].id.get_create_plist()
        assert [plist.get_filter(k)[0] for k in range(plist.get_nfilters())] == [
            hdf5plugin.Zstd.filter_id
        ]


def test_a_killed_writer_loses_no_acknowledged_row(tmp_path: Path) -> None:
    for attempt, wanted in enumerate((1, 37, 150)):
        path = tmp_path / f"killed-{attempt}.h5"
        with subprocess.Popen(
            [sys.executable, str(WRITER), str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline()) for _ in range(wanted)]
            process.kill()
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        rows = acknowledged[-1] + 1
        assert acknowledged == list(range(rows))
        with reader(path) as seen:
            lengths = [len(seen[name]) for name in (IMAGE, "/entry/data/spectrum", NUMBER)]
            assert min(lengths) >= rows
            assert max(lengths) - rows <= 1
            assert [int(image[0, 0]) for image in seen[IMAGE][:rows]] == [
                k % 256 for k in range(rows)
            ]
            assert seen[NUMBER][:rows].tolist() == list(range(rows))
            assert seen["/entry/data/spectrum"][:rows, 63].tolist() == list(range(rows))
        assert read_in_another_process(path)[:rows] == [float(k % 256) for k in range(rows)]


def test_a_refused_row_leaves_nothing_behind(file: SwmrFile) -> None:
    file.append(row(0))
    with pytest.raises(ValueError, match=r"shape \(6, 8\), got \(8, 6\)"):
        file.append({IMAGE: np.zeros((8, 6), "u1"), NUMBER: 1.0})
    with pytest.raises(ValueError, match="a row must give"):
        file.append({IMAGE: np.zeros((6, 8), "u1")})
    assert file.append(row(1)) == 1


def test_many_rows_at_once_are_the_same_as_one_after_the_other(file: SwmrFile) -> None:
    file.append(row(0))
    images = np.arange(3, dtype="u1")[:, None, None] * np.ones((6, 8), "u1")
    assert file.extend({IMAGE: images, NUMBER: [1.0, 2.0, 3.0]}) == 1
    assert file.append(row(9)) == 4
    with reader(file.path) as seen:
        assert seen[NUMBER][:].tolist() == [0, 1, 2, 3, 9]
        assert seen[IMAGE][:, 0, 0].tolist() == [0, 0, 1, 2, 9]


def test_columns_of_different_length_are_refused(file: SwmrFile) -> None:
    with pytest.raises(ValueError, match="as many rows"):
        file.extend({IMAGE: np.zeros((2, 6, 8), "u1"), NUMBER: [1.0]})
    with pytest.raises(ValueError, match="takes rows of shape"):
        file.extend({IMAGE: np.zeros((6, 8), "u1"), NUMBER: np.float64(1.0)})
    assert file.rows == 0


def test_closing_twice_is_fine_and_appending_afterwards_is_an_error(file: SwmrFile) -> None:
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.append(row(0))


def test_an_existing_file_is_never_overwritten(file: SwmrFile) -> None:
    with pytest.raises(FileExistsError):
        SwmrFile(file.path, {IMAGE: ((6, 8), "u1")})


def test_a_file_that_cannot_be_set_up_is_not_left_open(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        SwmrFile(
            tmp_path / "wrong.h5",
            {IMAGE: ((6, 8), "u1")},
            attributes={"/nowhere": {"units": "s"}},
        )
    with pytest.raises(ValueError, match="at least one"):
        SwmrFile(tmp_path / "none.h5", {})


def test_the_resource_is_announced_once_and_the_rows_by_range(tmp_path: Path) -> None:
    stream = AssetStream(
        tmp_path / "a folder" / "camera.h5",
        {"camera_image": (IMAGE, (6, 8)), "camera_number": (NUMBER, ())},
    )
    documents = [*stream.documents(0, 1), *stream.documents(1, 1), *stream.documents(1, 4)]
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    assert [name for name, _ in documents] == ["stream_resource"] * 2 + ["stream_datum"] * 4
    resource = documents[0][1]
    assert resource["parameters"] == {
        "dataset": IMAGE,
        "chunk_shape": [1, 6, 8],
        "swmr": True,
    }
    assert resource["uri"].startswith("file://localhost/")
    assert unquote(urlsplit(resource["uri"]).path) == str(tmp_path / "a folder" / "camera.h5")
    ranges = [
        (doc["stream_resource"] == resource["uid"], doc["indices"])
        for name, doc in documents
        if name == "stream_datum"
    ]
    assert ranges == [
        (True, {"start": 0, "stop": 1}),
        (False, {"start": 0, "stop": 1}),
        (True, {"start": 1, "stop": 4}),
        (False, {"start": 1, "stop": 4}),
    ]
    assert chunk_shape(()) == (1024,)
