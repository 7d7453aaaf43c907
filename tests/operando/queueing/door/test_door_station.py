"""A station that runs, with its door: a cell is cycled and ended through HTTP."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from operando.configuration import bench_path

PASSWORD = "a long enough sentence"  # noqa: S105 - of nobody
# Twelve processes are started and ended.
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


class Station:
    """A simulated station with its door open."""

    def __init__(self, data: Path) -> None:
        self.data = data
        home = data / "home"
        home.mkdir()
        self._environment = {**os.environ, "OPERANDO_DATA": str(data), "HOME": str(home)}
        # A potentiostat alone: others may be late on a computer that has much else to do.
        bench = yaml.safe_load(bench_path("sim").read_text())
        bench["instruments"] = {"potentiostat": bench["instruments"]["potentiostat"]}
        (data / "bench.yaml").write_text(yaml.safe_dump(bench))
        simulated = {"cell": "zn-bare", "factor": 100}
        entry = {"name": "A1", "bench": str(data / "bench.yaml"), "simulate": simulated}
        stations = data / "stations.yaml"
        stations.write_text(yaml.safe_dump({"stations": [entry]}))
        self._environment |= {"TILED_PROFILES": str(home), "OPERANDO_GUARD": "on"}
        self._environment["OPERANDO_STATIONS"] = str(stations)
        self._door: subprocess.Popen[str] | None = None
        self._client = httpx.Client(timeout=60, trust_env=False)

    def open(self) -> None:
        self.command("station", "start", "A1")
        self.command("mount", "zn-bare", "--station", "A1", "--yes", "--by", "ada")
        self.command("door", "users", "add", "ada", "--role", "admin", typed=f"{PASSWORD}\n")
        key = self.command("door", "key", "ada").strip()
        self._door = subprocess.Popen(
            [sys.executable, "-m", "operando", "door", "start", "--station=A1", "--port=0"],
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        assert self._door.stdout is not None
        self._client.base_url = self._door.stdout.readline().split(" open at ")[1].split()[0]
        self._client.headers["authorization"] = f"ApiKey {key}"

    def close(self) -> None:
        self._client.close()
        if self._door is not None:
            self._door.terminate()
            self._door.communicate(timeout=60)
        self.command("station", "stop", "--all", "--abort")
        self.command("catalog", "stop")

    def command(self, *words: str, typed: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "operando", *words],
            input=typed,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def post(self, path: str, given: Any) -> httpx.Response:
        return self._client.post(path, json=given)

    def get(self, path: str) -> Any:
        return self._client.get(path).json()

    def add(self) -> httpx.Response:
        kwargs = {"protocol": "zinc-symmetric-1-1", "sample": "zn-bare"}
        item = {"item_type": "plan", "name": "run_protocol", "kwargs": kwargs}
        return self.post("/api/queue/item/add", {"item": item})

    def wait_until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for _ in range(300):
            told = self.get("/operando/state")["stations"]
            state: dict[str, Any] = next(one for one in told if one["station"] == "A1")
            if what(state):
                return state
            time.sleep(0.2)
        raise AssertionError(state)


@pytest.fixture
def station() -> Iterator[Station]:
    data = Path(tempfile.mkdtemp(prefix="door-", dir="/tmp"))
    station = Station(data)
    try:
        station.open()
        yield station
    finally:
        station.close()
        shutil.rmtree(data)


def test_a_cell_is_cycled_and_ended_through_the_door(
    station: Station,
    processes_of: Callable[[Path], set[int]],
    listening: Callable[[set[int]], set[tuple[str, int]]],
) -> None:
    added = station.add().json()
    assert added["success"], added["msg"]
    item = added["item"]["item_uid"]
    state = station.wait_until(lambda told: told["state"]["state"] == "running")
    assert state["state"]["item"] == item
    assert state["records"][-1]["by"] == "ada"
    assert station.post("/operando/note", {"text": "bubbles"}).json()["success"]
    station.wait_until(lambda told: bool(told["records"][-1]["attempts"]))
    found = listening(processes_of(station.data))
    # Redis, the door, the guard, and the catalog.
    assert len(found) >= 4
    assert {host for host, _ in found} == {"127.0.0.1"}
    running = station.get("/api/queue/get")["running_item"]["kwargs"]["protocol"]
    amended = {"protocol": {**running, "description": "longer"}, "why": "longer", "wait_s": 20}
    # Until the run has begun there is nothing to amend.
    for _ in range(100):
        answer = station.post("/operando/amend", amended)
        if answer.status_code == 200:
            break
        time.sleep(0.2)
    assert "it goes on as protocol 'zinc-symmetric-1-1'" in answer.text, answer.text
    stop = {"cell_id": "ZN-ZN-001", "why": "burnt", "wait_s": 20}
    answer = station.post("/operando/stop", stop)
    assert "the cell opened" in answer.text, answer.text
    state = station.wait_until(lambda told: told["records"][-1]["state"] not in _UNDER_WAY)
    assert state["records"][-1]["state"] == "stopped", state["records"][-1]["reason"]
    assert "stopped by ada: burnt" in state["records"][-1]["reason"]
    # Nothing more is run on a cell that somebody has ended.
    station.wait_until(lambda told: told["mount"]["state"] == "finished")
    refused = station.add()
    assert refused.status_code == 422
    assert "is finished (stopped by ada: burnt)" in refused.json()["detail"]


_UNDER_WAY = ("starting", "running")
