"""Columns of numbers in one file: announced when readable, safe on a full disk and when killed."""

import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from instruments import _columns, _swmr
from instruments._columns import Columns, described
from instruments.errors import TransportError

WRITER = Path(__file__).with_name("columns_writer_process.py")
ROOT = Path(__file__).parents[2]
UNITS = {"t": "s", "potential": "V", "flags": ""}
DATASETS = ("time", "t", "potential", "flags")


@pytest.fixture
def columns(tmp_path: Path) -> Iterator[Columns]:
    columns = Columns(tmp_path / "a folder", "potentiostat", UNITS)
    yield columns
    columns.close()


def block(first: int, count: int) -> np.ndarray:
    rows = np.arange(first, first + count, dtype=float)
    return np.stack([1e9 + rows, rows, rows / 7, 0 * rows], axis=1)


def stored(path: Path) -> np.ndarray:
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        return np.stack([file[f"/entry/data/{name}"][()] for name in DATASETS], axis=1)


def ranges(documents: list[tuple[str, Any]]) -> list[tuple[int, int]]:
    found = [doc["indices"] for name, doc in documents if name == "stream_datum"]
    return [(indices["start"], indices["stop"]) for indices in found]


def test_rows_are_readable_when_they_are_announced_and_announced_once(columns: Columns) -> None:
    assert list(columns.documents()) == []
    columns.write(block(0, 5))
    first = list(columns.documents())
    assert ranges(first) == [(0, 5)] * 4
    assert list(columns.documents()) == []
    columns.write(block(5, 3000).tolist())
    columns.write([])
    assert ranges(list(columns.documents())) == [(5, 3005)] * 4
    np.testing.assert_array_equal(stored(columns.path), block(0, 3005))
    for name, document in first:
        schema_validators[DocumentNames[name]].validate(document)


def test_the_rows_announced_can_be_held_back_to_an_index(columns: Columns) -> None:
    columns.write(block(0, 10))
    assert ranges(list(columns.documents(4))) == [(0, 4)] * 4
    assert list(columns.documents(2)) == []
    assert ranges(list(columns.documents(99))) == [(4, 10)] * 4


def test_the_data_keys_are_those_of_the_resources_and_of_pages(columns: Columns) -> None:
    keys = described("potentiostat", UNITS)
    columns.write(block(0, 1))
    resources = {
        doc["data_key"]: doc for name, doc in columns.documents() if name == "stream_resource"
    }
    assert set(resources) == set(keys) == {*(f"potentiostat_{key}" for key in UNITS), "time"}
    assert all(key["external"] == "STREAM:" and key["shape"] == [] for key in keys.values())
    assert resources["potentiostat_t"]["parameters"] == {
        "dataset": "/entry/data/t",
        "chunk_shape": [1024],
        "swmr": True,
    }
    with h5py.File(columns.path, "r", libver="latest", swmr=True) as file:
        assert file["/entry/data/potential"].attrs["units"] == "V"
        assert file["/entry/data"].attrs["axes"] == "time"


def test_a_killed_writer_leaves_every_announced_row(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(WRITER), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        told = [int(process.stdout.readline()) for _ in range(60)]
        process.kill()
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    with pytest.raises(OSError, match="consistency flags"):
        h5py.File(path, "r")
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        for name, sign in (("time", 1), ("t", 1), ("potential", -1)):
            values = file[f"/entry/data/{name}"][: told[-1]]
            offset = 1e9 if name == "time" else 0.0
            np.testing.assert_array_equal(values, offset + sign * np.arange(told[-1]))


def test_what_was_written_is_on_the_disk_a_moment_later(
    columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    done = threading.Event()
    sync = os.fdatasync

    def noted(fd: int) -> None:
        size = os.fstat(fd).st_size
        sync(fd)
        synced.append(size)
        done.set()

    monkeypatch.setattr(_swmr, "_sync", noted)
    columns.write(block(0, 5000))
    size = columns.path.stat().st_size
    assert done.wait(50)
    assert synced[-1] >= size
    columns.close()
    before = len(synced)
    columns.close()
    assert before == len(synced)
    assert "potentiostat-sync" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let the operating system tell how much is free; HDF5 would crash on a really full disk."""
    told = {"free": 10**12}
    usage = type(shutil.disk_usage(Path(__file__)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, told["free"]))
    return told


def test_rows_wait_while_the_disk_is_full_and_are_all_written_afterwards(
    columns: Columns, disk: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    columns.write(block(0, 5))
    disk["free"] = 1000
    for first in (5, 10, 15):
        columns.write(block(first, 5))
    assert (columns.rows, columns.waiting) == (5, 15)
    assert ranges(list(columns.documents())) == [(0, 5)] * 4
    alarms = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(alarms) == 1  # at once, and then every ten seconds
    assert "OPERANDO_DATA" in alarms[0].message
    disk["free"] = 10**12
    columns.write([])
    assert (columns.rows, columns.waiting) == (20, 0)
    assert ranges(list(columns.documents())) == [(5, 20)] * 4
    np.testing.assert_array_equal(stored(columns.path), block(0, 20))


def test_rows_that_wait_are_tried_once_more_when_the_file_is_closed(
    columns: Columns, disk: dict[str, int]
) -> None:
    disk["free"] = 1000
    columns.write(block(0, 7))
    disk["free"] = 10**12
    columns.close()
    np.testing.assert_array_equal(stored(columns.path), block(0, 7))


@pytest.fixture
def small_files() -> Iterator[Callable[[int | None], None]]:
    """Let the operating system refuse to let files grow, as a quota does; None: as before."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        soft = before[0] if size is None else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))

    yield limit
    limit(None)


def test_rows_wait_for_a_disk_that_refuses_them_and_are_right_afterwards(
    tmp_path: Path, small_files: Callable[[int | None], None]
) -> None:
    alarms: list[str] = []
    columns = Columns(tmp_path, "potentiostat", UNITS, on_alarm=alarms.append)
    columns.write(block(0, 5000))
    small_files(columns.path.stat().st_size + 20_000)
    for first in range(5000, 15_000, 1000):
        columns.write(block(first, 1000))
    assert 0 < columns.waiting == 15_000 - columns.rows
    np.testing.assert_array_equal(stored(columns.path), block(0, columns.rows))
    assert len(alarms) == 1
    assert re.match(r"potentiostat: cannot record \d+ rows: .*File too large", alarms[0])
    small_files(None)
    columns.write([])
    columns.close()
    assert "all of them were written" in alarms[1]
    np.testing.assert_array_equal(stored(columns.path), block(0, 15_000))


def test_a_disk_that_refuses_to_the_end_costs_what_waits_and_nothing_else(
    tmp_path: Path, small_files: Callable[[int | None], None]
) -> None:
    alarms: list[str] = []
    columns = Columns(tmp_path, "potentiostat", UNITS, on_alarm=alarms.append)
    columns.write(block(0, 5000))
    small_files(columns.path.stat().st_size)
    columns.write(block(5000, 5000))
    columns.close()
    assert "5000 rows could not be recorded" in alarms[-1]
    small_files(None)
    np.testing.assert_array_equal(stored(columns.path), block(0, 5000))


def test_an_alarm_that_cannot_be_shown_is_logged_and_nothing_is_lost(
    tmp_path: Path, disk: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(text: str) -> None:
        raise RuntimeError("no screen")

    columns = Columns(tmp_path, "potentiostat", UNITS, on_alarm=broken)
    disk["free"] = 1000
    columns.write(block(0, 5))
    assert "an alarm could not be shown" in caplog.messages
    disk["free"] = 10**12
    columns.close()
    np.testing.assert_array_equal(stored(columns.path), block(0, 5))


def test_a_disk_that_stays_full_is_an_error_that_keeps_the_rows(
    tmp_path: Path, disk: dict[str, int]
) -> None:
    columns = Columns(tmp_path, "potentiostat", UNITS, patience_s=0.2)
    disk["free"] = 1000
    columns.write(block(0, 5))
    time.sleep(0.2)
    with pytest.raises(TransportError, match=r"potentiostat: cannot record 10 rows.*OPERANDO_DATA"):
        columns.write(block(5, 5))
    disk["free"] = 10**12
    columns.write([])
    np.testing.assert_array_equal(stored(columns.path), block(0, 10))
    columns.close()


def test_more_rows_than_memory_is_set_aside_for_are_an_error(
    columns: Columns, disk: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk["free"] = 1000
    monkeypatch.setattr(_columns, "MOST_KEPT_BYTES", 100 * 4 * 8)
    columns.write(block(0, 100))
    with pytest.raises(TransportError, match="cannot record 101 rows"):
        columns.write(block(100, 1))


def test_rows_that_never_found_room_are_told(
    columns: Columns, disk: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    disk["free"] = 1000
    columns.write(block(0, 7))
    caplog.clear()
    columns.close()
    columns.close()
    (record,) = caplog.records
    assert record.message.startswith("potentiostat: 7 rows could not be recorded: ")


def test_a_file_that_cannot_be_made_says_whose_it_would_be(tmp_path: Path) -> None:
    (tmp_path / "assets").write_text("in the way")
    with pytest.raises(TransportError, match="potentiostat: cannot record rows"):
        Columns(tmp_path / "assets", "potentiostat", UNITS)
