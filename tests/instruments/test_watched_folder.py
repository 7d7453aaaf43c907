"""An instrument that cannot be driven: what is seen of it is a folder."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import TransportError
from instruments.external import WatchedFolder
from instruments.relay_board import NumatoRelayBoard
from instruments.sensor.contract import Sensor


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
    assert box.read()["files"] == 0.0  # seen once: it may still be being written
    assert box.read()["files"] == 1.0
    new.write_text("12")
    assert box.read()["files"] == 0.0
    assert box.read()["files"] == 1.0
    assert box.identify()["start_line"] == "none"
    box.safe_state()
    box.close()


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
