"""`operando safe` on a bench that shares a laser: what another station uses is left to it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from operando.cli._safe import _had, _parts
from operando.configuration import load_bench
from operando.queueing._redis import RedisServer, client
from operando.queueing.leases import Leases, lease_state


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    server = RedisServer(tmp_path)
    server.ensure()
    yield tmp_path
    server.stop()


def test_a_shared_instrument_is_had_unless_another_station_that_lives_has_it(data: Path) -> None:
    with client(RedisServer(data).address()) as redis:
        with _had("stand", data) as who:
            assert who == ""
            holder = lease_state(redis, "stand").holder
            assert holder is not None
            assert holder.station == "operando safe"
        with Leases(redis, "A2").borrow("stand", timeout_s=5) as loan:
            with _had("stand", data) as who:
                assert who == f"A2 (process {os.getpid()} on {socket.gethostname()})"
            assert loan.held()
        # One whose process is gone keeps nobody waiting.
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        dead = Leases(redis, "A3", ttl_s=60.0).borrow("stand", timeout_s=5)
        who = {"station": "A3", "pid": gone.pid, "host": socket.gethostname(), "at": 0}
        key = "operando:lease:stand:holder"
        redis.hset(key, "who", json.dumps({**who, "priority": 0}))
        with _had("stand", data) as has:
            assert has == ""
            assert lease_state(redis, "stand").holder is not None
        assert not dead.give_back()


def test_without_stations_nobody_is_asked(tmp_path: Path) -> None:
    with _had("stand", tmp_path) as who:
        assert who == ""


def test_the_cell_comes_before_what_others_may_have() -> None:
    file = load_bench("sim").only({"potentiostat", "camera", "raman"})
    assert list(_parts(file)) == [""]
    shared = {
        name: entry.model_copy(update={"shared": "stand"}) if name != "potentiostat" else entry
        for name, entry in file.instruments.items()
    }
    parts = _parts(file.model_copy(update={"instruments": shared}))
    assert list(parts) == ["", "stand"]
    assert list(parts[""].instruments) == ["potentiostat"]
    assert set(parts["stand"].instruments) == set(shared) - {"potentiostat"}
