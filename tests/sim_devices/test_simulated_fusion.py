"""The simulated Micro GC Fusion, asked by a client that is not ours: the standard library's."""

import contextlib
import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from sim_devices.cell import Cell
from sim_devices.chromatograph import Chromatograph
from sim_devices.clock import SimulatedClock
from sim_devices.fusion import FusionServer
from sim_devices.truth import Truth

MANAGER = "/v1/scm/sessions/system-manager"


@pytest.fixture
def server(tmp_path):
    cell = Cell("zn-bare", seed=1)
    for _ in range(360):
        cell.advance(10.0, "i", -1.0)
    clock = SimulatedClock(4000.0)
    with Truth(tmp_path / "truth") as truth:
        instrument = Chromatograph(cell, clock, truth, tmp_path / "files", seed=1)
        with contextlib.closing(FusionServer(instrument, clock)) as server:
            yield server


def ask(server, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(server.address + path, data, timeout=50) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def status_of(server, path, body=None):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, path, body)
    caught.value.close()
    return caught.value.code


def wait_for(condition):
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_its_paths_lead_through_what_it_tells_of_itself(server):
    with urllib.request.urlopen(server.address, timeout=50) as page:
        assert page.status == 200
    assert ask(server, "/system/systemInfo")["hostname"].startswith("fusion-")
    assert ask(server, "/v1/methods/userMethods/Standby") == {}
    modules = ask(server, "/system/modules")
    assert list(modules) == ["moduleA"]  # the last one has the number 0
    assert ask(server, "/system/modules/moduleA/moduleInfo/modulePartNumber") == "R"
    assert status_of(server, "/system/modules/moduleB/moduleInfo") == 404
    assert status_of(server, "/system/systemInfo/hostname/more") == 404


def test_a_run_with_a_name_gives_a_result_with_that_name(server):
    assert ask(server, "/system/systemInfo/systemSpec/numberOfModules") == 0
    assert ask(server, f"{MANAGER}/publicConfiguration") == [
        "public:sequence-not-loaded",
        "public:ready",
    ]
    assert status_of(server, f"{MANAGER}!cmd.run", {}) == 500  # no method
    assert status_of(server, "/v1/lastRun") == 404
    ask(server, f"{MANAGER}!cmd.loadMethod?methodLocation=/v1/methods/userMethods/Standby")
    ask(server, f"{MANAGER}!cmd.run", {"annotations": {"name": "ours", "tags": ["a"]}})
    assert ask(server, f"{MANAGER}/publicConfiguration")[1] == "public:method-running"
    assert status_of(server, f"{MANAGER}!cmd.run", {"annotations": {}}) == 500  # it is running
    wait_for(lambda: ask(server, f"{MANAGER}/publicConfiguration")[1] == "public:ready")
    location = ask(server, "/v1/lastRun")["dataLocation"]
    result = ask(server, f"/runData/{location}")
    assert result["annotations"] == {"name": "ours", "tags": ["a"], "valcoPosition": 1}
    assert result["$id"] == location
    detector = result["detectors"]["moduleA:tcd"]
    assert len(detector["values"]) == detector["nValuesExpected"]
    hydrogen = next(one for one in detector["analysis"]["peaks"] if one["label"] == "H2")
    assert hydrogen["area"] > 0
    assert np.argmax(detector["values"]) / detector["nValuesPerSecond"] > 0


def test_one_that_waits_runs_when_it_is_ready_and_the_newest_comes_first(server):
    ask(server, f"{MANAGER}!cmd.loadMethod?methodLocation=/v1/methods/userMethods/Standby")
    ask(server, f"{MANAGER}!cmd.bakeout?duration=100s")
    assert ask(server, f"{MANAGER}/publicConfiguration")[1] == "public:bakeout"
    ask(server, f"{MANAGER}!cmd.run?runWhenReady=true")
    wait_for(lambda: ask(server, "/runData?limit=1")["totalCount"] == 1)
    wait_for(lambda: ask(server, f"{MANAGER}/publicConfiguration")[1] == "public:ready")
    ask(server, f"{MANAGER}!cmd.run")
    wait_for(lambda: ask(server, "/runData?limit=1")["totalCount"] == 2)
    runs = ask(server, "/runData?limit=5&sortByDate=DESC&allData=True")["runs"]
    assert [one["$id"] for one in runs] == ["000002", "000001"]
    assert "detectors" in runs[0]
    assert "detectors" not in ask(server, "/runData?limit=5")["runs"][0]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{MANAGER}!cmd.loadMethod?methodLocation=/v1/methods/userMethods/None", 500),
        (f"{MANAGER}!cmd.bakeout?duration=long", 500),
        (f"{MANAGER}!cmd.dance", 404),
        ("/runData/000009", 404),
        ("/elsewhere", 404),
    ],
)
def test_what_it_does_not_know_is_refused(server, path, status):
    assert status_of(server, path) == status


def test_it_can_be_broken(server):
    server.inject("garble")
    with pytest.raises(json.JSONDecodeError):
        ask(server, "/system/systemInfo/systemSpec/numberOfModules")
    server.inject("not-ready")
    assert ask(server, f"{MANAGER}/publicConfiguration")[1] == "public:not-ready"
    server.inject("silence")
    with pytest.raises(OSError, match="closed connection"):
        ask(server, "/system/systemInfo/systemSpec/numberOfModules")
    server.inject("speech")
    with pytest.raises(ValueError, match="no fault"):
        server.inject("fire")


def test_a_run_can_be_refused_and_end_with_the_power(server):
    ask(server, f"{MANAGER}!cmd.loadMethod?methodLocation=/methods/userMethods/Standby", {})
    server.inject("refuse")
    assert status_of(server, f"{MANAGER}!cmd.run", {}) == 500
    server.inject("power-cycle", seconds=0.01)
    wait_for(lambda: is_there(server))
    assert ask(server, f"{MANAGER}/publicConfiguration")[0] == "public:sequence-not-loaded"


def is_there(server):
    try:
        return ask(server, "/system/systemInfo/hostname")
    except OSError:
        return None
