"""The door of a station from end to end: Redis, manager and door are processes, asked by HTTP."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from operando import configuration
from operando.queueing import _redis
from operando.queueing.door.users import Users
from operando.queueing.errors import QueueError
from operando.queueing.items import as_data
from operando.queueing.managers import Manager, start_manager, wait_for_manager
from operando.queueing.model import Mount, Record
from operando.queueing.store import Store

PASSWORD = "a long enough sentence"  # noqa: S105 - of nobody
pytestmark = pytest.mark.timeout(180)  # a queue server and a door are started


@dataclass
class Door:
    """A door that is open."""

    data: Path
    at: str
    store: Store
    manager: Manager
    process: subprocess.Popen[str]
    keys: dict[str, str] = field(repr=False)

    def ask(
        self, method: str, path: str, who: str | None = None, given: Any = None
    ) -> httpx.Response:
        headers = {"content-type": "application/json"}
        if who:
            headers["authorization"] = self.keys[who]
        content = None if given is None else json.dumps(given)
        at = f"{self.at}{path}"
        return httpx.request(
            method, at, headers=headers, content=content, timeout=60, trust_env=False
        )

    def post(self, path: str, who: str | None, given: Any) -> httpx.Response:
        return self.ask("POST", path, who, given)


def _command(data: Path, *words: str, typed: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "operando", "door", *words],
        input=typed,
        capture_output=True,
        text=True,
        env=_environment(data),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment(data: Path) -> dict[str, str]:
    # The last would open the door to everybody.
    return {
        **os.environ,
        "OPERANDO_DATA": str(data),
        "QSERVER_HTTP_SERVER_ALLOW_ANONYMOUS_ACCESS": "1",
    }


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    data = Path(tempfile.mkdtemp(prefix="door-", dir="/tmp"))
    redis = _redis.RedisServer(data)
    processes: list[subprocess.Popen[Any]] = []
    try:
        client = _redis.client(redis.ensure())
        entry = configuration.load_stations().station("A1")
        assert entry is not None
        processes.append(start_manager(data, entry))
        users = Users(data)
        users.add("vera", "viewer", PASSWORD)
        users.add("otto", "operator", PASSWORD)
        users.add("ada", "admin", PASSWORD)
        _command(data, "users", "add", "olga", "--role", "operator", typed=f"{PASSWORD}\n")
        key = _command(data, "key", "olga", "--expires", "30d").strip()
        with (data / "door.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "operando", "door", "start", "--station=A1", "--port=0"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(data),
            )
        processes.append(process)
        assert process.stdout is not None
        at = process.stdout.readline().split(" open at ")[1].split()[0]
        manager = wait_for_manager(data, "A1", processes[0])
        manager.lock()
        keys = {"olga": f"ApiKey {key}"}
        opened = Door(data, at, Store(client), manager, process, keys)
        for name in ("vera", "otto", "ada"):
            keys[name] = f"Bearer {_login(opened, name, PASSWORD).json()['access_token']}"
        yield opened
        client.close()
    finally:
        if processes:
            os.killpg(processes[0].pid, signal.SIGKILL)  # the manager, which has no worker
        for process in processes[1:]:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.communicate(timeout=60)
        redis.stop()
        shutil.rmtree(data)


def _login(door: Door, name: str, password: str) -> httpx.Response:
    return httpx.post(
        f"{door.at}/api/auth/provider/operando/token",
        data={"username": name, "password": password},
        timeout=60,
        trust_env=False,
    )


def _item(**changes: Any) -> dict[str, Any]:
    kwargs = {
        "protocol": as_data(configuration.load_protocol("zinc-operando")),
        "sample": as_data(configuration.load_cell("zn-bare-half")),
        **changes,
    }
    return {"item": {"item_type": "plan", "name": "run_protocol", "kwargs": kwargs}}


def test_nobody_without_a_key_is_told_anything(door: Door) -> None:
    for path in ("/api/status", "/operando/state", "/docs", "/api/queue/get"):
        assert door.ask("GET", path).status_code == 401
    assert door.post("/api/queue/item/add", None, _item()).status_code == 401
    wrong = {"authorization": "ApiKey " + "ab" * 36}
    assert httpx.get(f"{door.at}/api/status", headers=wrong, timeout=60).status_code == 401
    assert httpx.get(f"{door.at}/api/status?api_key={'ab' * 36}", timeout=60).status_code == 400
    # bluesky-httpserver itself takes the scopes that it demands here from the address.
    upgrade = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13"}
    upgrade["sec-websocket-key"] = "MDEyMzQ1Njc4OWFiY2RlZg=="
    at = f"{door.at}/api/console_output/ws?scopes="
    console = httpx.get(at, headers=upgrade, timeout=60)
    assert console.status_code == 401
    assert _login(door, "otto", "another sentence").status_code == 401


def test_a_viewer_reads_and_adds_nothing(door: Door) -> None:
    assert door.ask("GET", "/api/status", "vera").json()["manager_state"] == "idle"
    assert door.ask("GET", "/api/queue/get", "vera").json()["success"]
    assert door.ask("GET", "/operando/state", "vera").json()["door_of"] == "A1"
    refused = door.post("/api/queue/item/add", "vera", _item())
    assert refused.status_code == 403
    assert "vera may not POST /api/queue/item/add" in refused.json()["detail"]


def test_what_an_operator_adds_is_in_the_managers_queue(door: Door) -> None:
    asked = _item(protocol="zinc-operando", sample="zn-bare-half", priority=3, label="1/2")
    added = door.post("/api/queue/item/add", "olga", asked).json()
    assert added["success"], added["msg"]
    uid = added["item"]["item_uid"]
    try:
        (kept,) = door.manager.items()
        assert (kept["item_uid"], kept["user"]) == (uid, "olga")
        assert kept["kwargs"]["protocol"] == _item()["item"]["kwargs"]["protocol"]
        assert (kept["kwargs"]["priority"], kept["kwargs"]["label"]) == (3, "1/2")
        (station,) = door.ask("GET", "/operando/state", "vera").json()["stations"]
        (waiting,) = station["waiting"]
        assert (waiting["item"], waiting["by"], waiting["label"]) == (uid, "olga", "1/2")
        # Another operator may not touch it, an admin may.
        assert door.post("/api/queue/item/remove", "otto", {"uid": uid}).status_code == 403
        moved = {"uid": uid, "pos_dest": "front"}
        assert door.post("/api/queue/item/move", "otto", moved).status_code == 403
        changed = _item(label="2/2")
        changed["item"]["item_uid"] = uid
        assert door.post("/api/queue/item/update", "otto", changed).status_code == 403
        assert door.post("/api/queue/item/update", "olga", changed).json()["success"]
        assert door.manager.items()[0]["kwargs"]["label"] == "2/2"
    finally:
        assert door.post("/api/queue/item/remove", "ada", {"uid": uid}).json()["success"]
    assert door.manager.items() == []
    record = door.store.record(uid)
    assert record is not None
    assert (record.state, record.reason) == ("removed", "removed by ada")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"protocol": {"name": "x", "cell": "y", "technique": {"type": "bomb"}}},
            "technique.type: got 'bomb'",
        ),
        ({"protocol": "../../../etc/passwd"}, "no protocol is called"),
        ({"protocol": "../protocols/zinc-operando"}, "no protocol is called"),
        ({"protocol": "zinc-symetric-1-1"}, "did you mean zinc-symmetric-1-1?"),
        ({"sample": {"cell_id": "Z"}}, "the sample 'Z'"),
        ({"at": "2020-01-01 12:00"}, "is past"),
        ({"ticket": "0123"}, "ticket is the supervisor's"),
        ({"shell": "rm"}, "kwargs: unknown: shell"),
        ({"priority": "high"}, "priority"),
        ({"after": "0" * 36}, "no item has the id"),
        ({"label": "\ud800"}, "label"),
    ],
)
def test_arguments_that_will_not_do_do_not_reach_the_queue(
    door: Door, change: dict[str, Any], says: str
) -> None:
    refused = door.post("/api/queue/item/add", "olga", _item(**change))
    assert refused.status_code == 422
    assert says in refused.json()["detail"]
    batch = {"items": [_item()["item"], _item(**change)["item"]]}
    refused = door.post("/api/queue/item/add/batch", "olga", batch)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("items[1]")
    assert door.manager.items() == []


@pytest.mark.parametrize(
    "item",
    [
        {"item_type": "plan", "name": "resume_protocol", "kwargs": {"run": "x", "ticket": "y"}},
        {"item_type": "plan", "name": "count", "kwargs": {}},
        {"item_type": "instruction", "name": "queue_stop"},
        {"item_type": "function", "name": "run_protocol", "kwargs": {}},
        "queue_stop",
    ],
)
def test_other_plans_are_not_queued(door: Door, item: Any) -> None:
    assert door.post("/api/queue/item/add", "ada", {"item": item}).status_code == 422
    assert door.manager.items() == []


def test_no_code_comes_in_through_the_door_nor_past_it(door: Door) -> None:
    for path, asked in (
        ("/api/script/upload", {"script": "import os"}),
        ("/api/function/execute", {"item": {"item_type": "function", "name": "f"}}),
        ("/api/queue/item/execute", _item()),
        ("/api/queue/start", {}),
        ("/api/environment/open", {}),
        ("/api/permissions/set", {"user_group_permissions": {}}),
        ("/api/unlock", {"lock_key": "x"}),
        ("/api/manager/stop", {}),
    ):
        assert door.post(path, "ada", asked).status_code == 403
    # Who is past the door, on the manager's own socket, meets its lock.
    for method, params in (
        ("queue_start", {}),
        ("environment_open", {}),
        ("script_upload", {"script": "import os"}),
        ("queue_item_execute", {**_item(), "user": "x", "user_group": "primary"}),
    ):
        with pytest.raises(QueueError, match="lock key"):
            door.manager._done(method, params)
    assert door.manager.status()["worker_environment_exists"] is False


def test_what_is_asked_of_a_running_station_reaches_it(door: Door) -> None:
    sample = as_data(configuration.load_cell("zn-bare-half"))
    cell = sample["cell_id"]
    door.store.put_mount(Mount(station="A1", cell_id=cell, sample=sample, by="otto", at=0.0))
    kwargs = {**_item()["item"]["kwargs"]}
    record = Record(
        item="i", station="A1", cell_id=cell, state="running", kwargs=kwargs, by="olga", added=0.0
    )
    door.store.put_record(record)
    door.store.change_station("A1", state="running", item="i")
    stop = {"cell_id": cell, "why": "it smells"}
    assert door.post("/operando/stop", "vera", stop).status_code == 403
    elsewhere = {"cell_id": "ANOTHER", "why": "it smells"}
    assert door.post("/operando/stop", "olga", elsewhere).status_code == 404
    answered = door.post("/operando/stop", "olga", stop)
    assert answered.json()["success"]
    command = door.store.pop_command("A1")
    assert command is not None
    assert (command.do, command.by, command.text) == ("stop", "olga", "it smells")
    other = kwargs["protocol"] | {"description": "longer"}
    amended = {"protocol": other, "why": "longer"}
    assert door.post("/operando/amend", "olga", amended).json()["success"]
    assert door.post("/operando/amend", "olga", {"protocol": "/etc/passwd"}).status_code == 422
    assert door.post("/operando/amend", "olga", {"protocol": {"name": "x"}}).status_code == 409
    command = door.store.pop_command("A1")
    assert command is not None
    assert (command.do, command.by, command.protocol) == ("amend", "olga", other)
    assert door.post("/operando/skip-step", "otto", {}).json()["success"]
    assert door.post("/operando/abort", "otto", {}).status_code == 403
    assert door.post("/operando/abort", "ada", {"why": "smoke"}).json()["success"]
    assert [one.do for one in iter(lambda: door.store.pop_command("A1"), None) if one] == [
        "skip_step",
        "abort",
    ]
    assert door.post("/operando/pause", "otto", {}).json()["success"]
    state = door.store.station("A1")
    assert state is not None
    assert state.paused
    assert door.post("/operando/resume", "otto", {}).json()["success"]
    told = door.ask("GET", "/operando/state", "vera").json()["stations"]
    assert [(one["station"], one["mount"]["cell_id"]) for one in told] == [("A1", cell)]


def test_what_is_noted_is_in_the_log_book(door: Door) -> None:
    assert door.post("/operando/note", "vera", {"text": "bubbles"}).status_code == 403
    assert door.post("/operando/note", "olga", {"text": ""}).status_code == 422
    noted = door.post("/operando/note", "olga", {"text": "bubbles", "cell_id": "ZN-1"})
    assert noted.json()["success"]
    (note,) = door.ask("GET", "/operando/notes?cell_id=ZN-1", "vera").json()["notes"]
    assert (note["text"], note["by"], note["station"]) == ("bubbles", "olga", "A1")


def test_who_is_removed_stays_outside_with_the_key_too(door: Door) -> None:
    users = Users(door.data)
    before = users.path.read_text()
    try:
        users.remove("olga")
        users.remove("otto")
        for name in ("olga", "otto"):
            assert door.ask("GET", "/api/status", name).status_code == 401
    finally:
        users.path.write_text(before)
    assert door.ask("GET", "/api/status", "olga").status_code == 200


def test_everything_listens_on_loopback_and_is_its_owners(
    door: Door,
    processes_of: Callable[[Path], set[int]],
    listening: Callable[[set[int]], set[tuple[str, int]]],
) -> None:
    door.ask("GET", "/api/status", "vera")
    pids = processes_of(door.data)
    found = listening(pids)
    redis_port = int((door.data / "state/queueing/redis/port").read_text())
    assert {("127.0.0.1", redis_port), ("127.0.0.1", httpx.URL(door.at).port)} <= found
    assert {host for host, _ in found} == {"127.0.0.1"}
    folder = door.data / "state" / "queueing"
    private = {path.stat().st_mode & 0o077 for path in (folder, folder / "door")}
    secret = ("password", "valkey.conf", "keys.json", "manager.yaml", "users.yaml", "tokens.key")
    kept = [path for path in folder.rglob("*") if path.name in (*secret, "door.sqlite")]
    assert {path.name for path in kept} == {*secret, "door.sqlite"}
    assert private | {path.stat().st_mode & 0o077 for path in kept} == {0}
    secrets = [PASSWORD, *(key.split()[1] for key in door.keys.values())]
    redis_password = (door.data / "state/queueing/redis/password").read_text().strip()
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        assert not [one for one in (*secrets, redis_password) if one in words]
    visits = (folder / "door" / "A1.log").read_text()
    assert "127.0.0.1 olga POST /api/queue/item/add 200" in visits
    assert "127.0.0.1 ada POST /api/script/upload 403" in visits
    written = [p for p in door.data.rglob("*") if p.is_file() and p.suffix in (".log", ".yaml")]
    for path in written:
        text = path.read_text(errors="replace")
        assert not [one for one in secrets if one in text], path
