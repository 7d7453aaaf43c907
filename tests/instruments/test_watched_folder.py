"""An instrument that cannot be driven: what is seen of it is a folder."""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import TransportError
from instruments.external import WatchedFolder
from instruments.relay_board import NumatoRelayBoard
from instruments.sensor.contract import Sensor
from instruments.sensor.device import SensorDevice


def test_only_files_that_are_new_and_complete_count(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("1")
    box: Sensor = WatchedFolder(f"folder://{tmp_path}", pattern="*.csv")
    assert box.verified_on is None
    box.connect()
    assert box.read() == {"started": 0.0, "files": 0.0}
    new = tmp_path / "new.csv"
    new.write_text("1")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "other.txt").write_text("1")
    # Links to nowhere, and one that means itself, hide no file.
    (tmp_path / "dead.csv").symlink_to("/nowhere")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert box.read()["files"] == 0.0  # seen once: it may still be being written
    assert box.read()["files"] == 1.0
    new.write_text("12")
    assert box.read()["files"] == 0.0
    assert box.read()["files"] == 1.0
    assert box.identify()["start_line"] == "none"
    box.safe_state()
    box.close()


def test_a_file_that_is_written_over_is_new(tmp_path: Path) -> None:
    scan = tmp_path / "scan.xy"
    scan.write_text("30.0 1")
    box = WatchedFolder(f"folder://{tmp_path}")
    box.connect()
    assert [box.read()["files"], box.read()["files"]] == [0.0, 0.0]
    before = scan.stat().st_mtime_ns
    for n in (1, 2):  # of the same length as before
        scan.write_text(f"30.0 {n}")
        os.utime(scan, ns=(before + n, before + n))
        assert [box.read()["files"], box.read()["files"]] == [0.0, 1.0]


def test_a_folder_that_is_not_there_is_refused_and_one_that_vanishes_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "results"
    box = WatchedFolder(f"folder://{folder}")
    with pytest.raises(TransportError, match=r"cannot look into .*mounted"):
        box.connect()
    folder.mkdir()
    box.connect()
    folder.rmdir()
    assert math.isnan(box.read()["files"])
    assert math.isnan(box.read()["files"])
    assert caplog.text.count("waiting for it") == 1
    folder.mkdir()
    assert box.read()["files"] == 0.0
    with pytest.raises(TransportError, match="write it as folder:///path"):
        WatchedFolder("tcp://10.0.0.1:1").connect()


def test_a_folder_that_was_gone_is_remarked_and_refused_before_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    device = SensorDevice(WatchedFolder(f"folder://{folder}"), name="xrd")
    device.connect()
    device.check_ready()
    folder.rename(tmp_path / "away")
    device.driver.read()
    (gone,) = device.notes
    assert re.fullmatch(rf"xrd: {folder} was gone at [\d:]+; what appears there is .*", gone)
    with pytest.raises(TransportError, match=r"xrd: .*cannot look into .*is the instrument's"):
        device.check_ready()
    (tmp_path / "away").rename(folder)
    device.driver.read()
    (back,) = device.notes
    assert re.fullmatch(rf"xrd: {folder} was gone at [\d:]+ and back at [\d:]+", back)
    device.check_ready()
    assert device.notes == []  # it is a run of its own


def test_a_share_that_is_not_mounted_any_more_is_no_empty_folder(tmp_path: Path) -> None:
    share, place = tmp_path / "share", tmp_path / "place"
    share.mkdir()
    (share / "scan.xy").write_text("1")
    place.symlink_to(share)
    box = WatchedFolder(f"folder://{place}", pattern="*.xy")
    box.connect()
    place.unlink()
    place.symlink_to("/proc/self")  # there, another file system, and no file of ours in it
    assert math.isnan(box.read()["files"])
    with pytest.raises(TransportError, match=r"no \*\.xy: is the share unmounted"):
        box.check_ready()
    place.unlink()
    place.symlink_to(share)
    (share / "new.xy").write_text("1")
    box.read()
    assert box.read()["files"] == 1.0


def test_asked_it_closes_the_start_line(simulate: Callable[..., Any], tmp_path: Path) -> None:
    bench = simulate("zn-bare-half", "relay_board")
    board = NumatoRelayBoard(bench.address("relay_board"))
    board.connect()
    try:
        box = WatchedFolder(f"folder://{tmp_path}", board=board, start_relay=0)
        box.connect()
        assert box.read()["started"] == 1.0
        assert not board.relay(0)
        # Relay 0 is the start contact of the simulated chromatograph: it took the pulse for one.
        assert bench.truth("chromatograph")[0]["event"] == "injection"
        box.safe_state()
    finally:
        board.close()
