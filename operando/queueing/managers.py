"""The queue servers of the stations: how one is started, and how one is spoken to.

A manager of bluesky-queueserver keeps the queue of one station and executes single items; it never
starts its queue by itself (see ``docs/decisions``). Its sockets lie in a folder that only its owner
may enter, and are encrypted; what changes the environment needs a key that its supervisor has.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from operando.queueing.errors import NotKnownError, QueueError
from operando.queueing.places import private, queueing_dir, socket_dir, station_dir, write_private
from operando.queueing.secret_variables import without_secrets

if TYPE_CHECKING:
    from operando.queueing._redis import RedisAddress
    from techniques import StationEntry

PLAN = "run_protocol"
# What only the supervisor may execute, with a ticket; nobody can add these to a queue.
SUPERVISED_PLANS = ("resume_protocol", "look_at_cell")
USER_GROUPS = ("primary", "operator", "viewer")
SUPERVISOR = "supervisor"
_TIMEOUT_S = 2.0
_AT_ONCE = 20
_KEYS, _CONFIGURATION, _LOG = "keys.json", "manager.yaml", "manager.log"
# In a folder of its own: the queue server takes it, and what is beside it, for its own.
_STARTUP = Path(__file__).parent / "_startup" / "station.py"
_PROGRAM = "from bluesky_queueserver.manager.start_manager import start_manager as s; s()"
_REDIS_IS_GONE = re.compile("connect|Connection|Timeout|timed out|LOADING|Broken pipe")
_LOG_MAX_BYTES = 5_000_000
# In its configuration file this would be the beginning of a variable.
_NOT_IN_A_KEY = "$"


class Manager:
    """The queue server of one station of this computer.

    Every method raises QueueError: it refuses what it was asked; NotKnownError: nothing answers
    within 2 s, and it may have done it.
    """

    def __init__(self, data_dir: Path, station: str) -> None:
        self.station = station
        self._folder = station_dir(data_dir, station)
        self._keys: dict[str, str] | None = None
        self._timeout_s = _TIMEOUT_S

    def answering_pid(self) -> int | None:
        """Return the process that answers for this station; ``None``: none, or it is not known."""
        keys = self._keys or _read_keys(self._folder)
        if keys is None or not hasattr(socket, "SO_PEERCRED"):
            return None
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(1.0)
            try:
                one.connect(keys["control"].removeprefix("ipc://"))
                told = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            except OSError:
                return None
        return int.from_bytes(told[:4], sys.byteorder) or None

    # -- the queue

    def status(self) -> dict[str, Any]:
        """Return what the manager tells of itself, ``manager_state`` among others."""
        return self._ask("status")

    def alive(self) -> bool:
        """Return whether it answers."""
        try:
            self.status()
        except QueueError:
            return False
        return True

    def items(self) -> list[dict[str, Any]]:
        """Return the pending items, the first first, as the manager keeps them.

        Each has ``item_uid``, ``kwargs``, ``user`` and ``user_group``.
        """
        return list(self._done("queue_get", {})["items"])

    def knows(self, uid: str) -> bool:
        """Return whether it could change or execute a pending item: it keeps what it was told."""
        self._wait_for_redis()
        return bool(self._ask("queue_item_get", {"uid": uid}).get("success"))

    def running(self) -> dict[str, Any] | None:
        """Return the item that the manager takes for running; ``None``: none."""
        return self._done("queue_get", {})["running_item"] or None

    def add(
        self,
        kwargs: Mapping[str, Any],
        user: str,
        group: str = "primary",
        pos: int | Literal["front", "back"] | None = None,
    ) -> str:
        """Add one item, by default behind the others; return its uid."""
        asked: dict[str, Any] = {"item": _plan(PLAN, kwargs), "user": user, "user_group": group}
        if pos is not None:
            asked["pos"] = pos
        return str(self._done("queue_item_add", asked)["item"]["item_uid"])

    def add_all(
        self, several: Iterable[Mapping[str, Any]], user: str, group: str = "primary"
    ) -> list[str]:
        """Add items behind the others, all or none of them; return their uids."""
        items, added = [_plan(PLAN, kwargs) for kwargs in several], list[str]()
        # It takes 10 ms for each, and must not be thought dead meanwhile.
        for begin in range(0, len(items), _AT_ONCE):
            asked = {"items": items[begin : begin + _AT_ONCE], "user": user, "user_group": group}
            try:
                self._wait_for_redis()
                said = self._ask("queue_item_add_batch", asked)
                if not said.get("success"):
                    whys = [one["msg"] for one in said.get("results", []) if one.get("msg")]
                    why = whys[0] if whys else said.get("msg", "")
                    raise self._refused("queue_item_add_batch", why)
            except QueueError:
                for uid in added:
                    self.remove(uid)
                raise
            added += [str(item["item_uid"]) for item in said["items"]]
        return added

    def update(self, item: Mapping[str, Any]) -> None:
        """Put ``item``, as `items` returned it, in the place of the one with its uid."""
        kept = {key: item[key] for key in ("item_uid", "item_type", "name", "kwargs", "meta")
                if key in item}  # fmt: skip
        user, group = item.get("user", SUPERVISOR), item.get("user_group", "primary")
        self._done("queue_item_update", {"item": kept, "user": user, "user_group": group})

    def move(
        self,
        uid: str,
        to: int | Literal["front", "back"] | None = None,
        *,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Move an item to a position, or beside another one; exactly one of the three is told."""
        told = {"pos_dest": to, "before_uid": before, "after_uid": after}
        where = {key: value for key, value in told.items() if value is not None}
        self._done("queue_item_move", {"uid": uid} | where)

    def remove(self, uid: str) -> dict[str, Any]:
        """Remove an item and return it."""
        return dict(self._done("queue_item_remove", {"uid": uid})["item"])

    def history(self) -> list[dict[str, Any]]:
        """Return what the manager executed, the oldest first, with the ``result`` of each."""
        return list(self._done("history_get", {})["items"])

    def trim_history(self, kept: int) -> None:
        """Forget all but the last ``kept`` of it; our own records are elsewhere."""
        self._done("history_clear", {"size": kept})

    # -- the environment, for the supervisor alone

    def lock(self) -> None:
        """Let nobody without the station's key start items or touch the environment."""
        key = self._known_keys()["lock"]
        note = "Only the supervisor starts items: add them to the queue, and it will."
        asked = {"lock_key": key, "environment": True, "user": SUPERVISOR, "note": note}
        said = self._ask("lock", asked)
        if not said.get("success"):
            # A lock of a key that is lost; ours is the emergency key of the configuration.
            self._done("unlock", {"lock_key": key})
            self._done("lock", asked)

    def open(self) -> None:
        """Begin to open the environment; `status` tells when it is."""
        self._done("environment_open", self._key())

    def close(self) -> None:
        """Begin to close it, the worker ending by itself."""
        self._done("environment_close", self._key())

    def destroy(self) -> None:
        """Kill the worker, whatever it does."""
        self._done("environment_destroy", self._key())

    def execute(self, plan: str, kwargs: Mapping[str, Any]) -> str:
        """Execute a plan now, once, beside the queue; return the uid it is given."""
        asked = {"item": _plan(plan, kwargs), "user": SUPERVISOR, "user_group": SUPERVISOR}
        return str(self._done("queue_item_execute", asked | self._key())["item"]["item_uid"])

    def stop(self) -> None:
        """End the manager, and its worker if there is one."""
        self._done("manager_stop", {"option": "safe_off"})

    # -- speaking

    def _key(self) -> dict[str, str]:
        return {"lock_key": self._known_keys()["lock"]}

    def _known_keys(self) -> dict[str, str]:
        if self._keys is None:
            self._keys = _read_keys(self._folder)
        if self._keys is None:
            raise QueueError(
                f"station {self.station} was never started on this computer: operando station "
                f"start {self.station}"
            )
        return self._keys

    def _done(self, method: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._wait_for_redis()
        said = self._ask(method, asked)
        if not said.get("success"):
            raise self._refused(method, said.get("msg", ""))
        return said

    def _wait_for_redis(self) -> None:
        """Have the manager read something, until it has found a Redis that was started again.

        It notices only with the first command that the one it knew is gone, and that command fails;
        a command that changes something is not to be the one, for nobody could say whether it did.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            said = self._ask("queue_item_get", {"pos": "front"}).get("msg", "")
            if not _REDIS_IS_GONE.search(said):
                return
            if time.monotonic() > deadline:
                raise QueueError(
                    f"the queue of station {self.station} has lost its Redis ({said}): operando "
                    f"station start {self.station}"
                )
            time.sleep(0.02)

    def _refused(self, method: str, why: str) -> QueueError:
        if _REDIS_IS_GONE.search(why):
            return NotKnownError(
                f"Redis went away while station {self.station} was asked for {method} ({why}): "
                "operando queue list tells whether it was done"
            )
        why = why.partition("\nPlan:")[0].removeprefix("Failed to add an item: ").strip()
        lines = [one for one in why.splitlines() if "For further information" not in one]
        # Of a lock it tells six lines, of which the first says it.
        why = lines[0] + " (its supervisor has it)" if "lock key" in why else "\n".join(lines)
        return QueueError(f"the queue of station {self.station} refused {method}: {why}")

    def _ask(self, method: str, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
        import zmq

        keys = self._known_keys()
        if not _listens(keys["control"]):
            self._keys = None  # it may be started again with other ones
            raise QueueError(
                f"the queue of station {self.station} is not running: operando station start "
                f"{self.station}"
            )
        line: Any = zmq.Context.instance().socket(zmq.REQ)
        try:
            line.setsockopt(zmq.LINGER, 0)
            line.setsockopt(zmq.RCVTIMEO, int(self._timeout_s * 1000))
            line.setsockopt(zmq.SNDTIMEO, int(self._timeout_s * 1000))
            line.curve_serverkey = keys["public"].encode()
            # It lets in whoever has its public key; only the owner of its folder can read that.
            line.curve_publickey, line.curve_secretkey = zmq.curve_keypair()
            line.connect(keys["control"])
            line.send_json({"method": method, "params": dict(asked or {})})
            said = line.recv_json()
        except zmq.Again:
            self._keys = None
            raise NotKnownError(
                f"the queue of station {self.station} does not answer {method} within "
                f"{self._timeout_s:g} s: operando station status {self.station}"
            ) from None
        except (zmq.ZMQError, ValueError) as error:
            raise QueueError(
                f"the queue of station {self.station} was not understood: {error}"
            ) from error
        finally:
            line.close()
        if not isinstance(said, dict):
            raise QueueError(f"the queue of station {self.station} said {said!r}, which is nothing")
        return said


def start_manager(
    data_dir: Path,
    entry: "StationEntry",
    redis_address: "RedisAddress | None" = None,
    environ: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start the manager of a station, detached; return its process, before it answers.

    Its files are written anew: configuration, which plans there are, who may do what, keys (kept if
    there are some). What nobody can read in its queue is moved away before. ``environ`` is added to
    the environment of manager and worker.

    Raises:
        QueueError: one runs already, or Redis is gone, or the files cannot be written.
    """
    from operando.queueing import _redis
    from operando.queueing.sanitise import sanitise
    from operando.queueing.store import Store

    if Manager(data_dir, entry.name).alive():
        raise QueueError(f"the queue of station {entry.name} runs already")
    where = redis_address or _redis.address(data_dir)
    client = _redis.client(where)
    try:
        sanitise(Store(client), entry.name)
    finally:
        client.close()
    private(queueing_dir(data_dir))
    folder = private(station_dir(data_dir, entry.name))
    keys = _keys(data_dir, entry.name)
    write_private(folder / _KEYS, json.dumps(keys))
    write_private(folder / _CONFIGURATION, json.dumps(_configuration(entry, where, keys), indent=1))
    write_private(folder / "plans.yaml", json.dumps(_plans_and_devices(), indent=1))
    write_private(folder / "permissions.yaml", json.dumps(_permissions(), indent=1))
    log = folder / _LOG
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LOG_MAX_BYTES:
            log.replace(log.with_name(f"{_LOG}.1"))
    # What the user's own queue server was told is not for ours.
    own = without_secrets(os.environ)
    known = {key: value for key, value in own.items() if not key.startswith("QSERVER_")}
    known |= {"OPERANDO_STATION": entry.name, "OPERANDO_DATA": str(data_dir)}
    with log.open("ab") as output:
        log.chmod(0o600)
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                _PROGRAM,
                "--config",
                str(folder / _CONFIGURATION),
                "--startup-script",
                str(_STARTUP),
                "--existing-plans-devices",
                str(folder / "plans.yaml"),
                "--user-group-permissions",
                str(folder / "permissions.yaml"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=known | dict(environ or {}),
        )


def wait_for_manager(
    data_dir: Path, station: str, process: "subprocess.Popen[bytes]", timeout_s: float = 60.0
) -> Manager:
    """Return the manager as soon as it answers.

    Raises:
        QueueError: it ended or did not answer in time; the message has the end of its log.
    """
    manager = Manager(data_dir, station)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        if manager.alive():
            return manager
        time.sleep(0.02)
    log, lines = station_dir(data_dir, station) / _LOG, list[str]()
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    raise QueueError(
        f"the queue of station {station} "
        + ("ended as it was started" if process.poll() is not None else "does not answer")
        + f"; see {log}:\n  "
        + "\n  ".join(lines)
    )


# -- files of a manager


def _read_keys(folder: Path) -> dict[str, str] | None:
    try:
        told = json.loads((folder / _KEYS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = ("control", "info", "public", "private", "lock")
    if not isinstance(told, dict) or not all(isinstance(told.get(key), str) for key in wanted):
        return None
    return told


def _keys(data_dir: Path, station: str) -> dict[str, str]:
    import zmq

    sockets = socket_dir(data_dir, station)
    keys = _read_keys(station_dir(data_dir, station)) or {}
    while "private" not in keys or _NOT_IN_A_KEY in keys["private"]:
        public, private_key = zmq.curve_keypair()
        keys |= {"public": public.decode(), "private": private_key.decode()}
    keys.setdefault("lock", secrets.token_hex(24))
    keys |= {"control": f"ipc://{sockets}/control.sock", "info": f"ipc://{sockets}/info.sock"}
    return keys


def _configuration(
    entry: "StationEntry", where: "RedisAddress", keys: Mapping[str, str]
) -> dict[str, Any]:
    """Return its configuration; JSON is YAML as well."""
    from operando.queueing.store import manager_prefix

    return {
        "network": {
            "zmq_control_addr": keys["control"],
            "zmq_info_addr": keys["info"],
            "zmq_private_key": keys["private"],
            "zmq_publish_console": True,
            "redis_addr": where.for_manager,
            "redis_name_prefix": manager_prefix(entry.name),
        },
        "operation": {
            "print_console_output": True,
            "console_logging_level": "QUIET",
            "update_existing_plans_and_devices": "NEVER",
            "user_group_permissions_reload": "ON_STARTUP",
            "emergency_lock_key": keys["lock"],
        },
    }


# As `plans` in operando.queueing.worker have them: name, type, and a default if there is one.
_PARAMETERS: dict[str, Sequence[tuple[str, ...]]] = {
    PLAN: (
        ("protocol", "dict"),
        ("sample", "dict"),
        ("at", "str", "''"),
        ("after", "str", "''"),
        ("priority", "int", "0"),
        ("hold", "bool", "False"),
        ("on_death", "str", "''"),
        ("label", "str", "''"),
        ("campaign", "str", "''"),
        ("ticket", "str", "''"),
    ),
    "resume_protocol": (("run", "str"), ("ticket", "str"), ("decisions", "dict", "{}")),
    "look_at_cell": (("sample", "dict"), ("ticket", "str")),
}
_DESCRIPTIONS = {
    PLAN: "Run a protocol on a mounted cell.",
    "resume_protocol": "Go on with a run that was interrupted.",
    "look_at_cell": "Measure open circuit and series resistance of a cell.",
}


def _plans_and_devices() -> dict[str, Any]:
    """Return which plans there are, so that items are validated before a worker is open."""
    plans = {}
    for name, parameters in _PARAMETERS.items():
        plans[name] = {
            "name": name,
            "description": _DESCRIPTIONS[name],
            "module": "operando.queueing.worker",
            "properties": {"is_generator": True},
            "parameters": [
                {
                    "name": told[0],
                    "annotation": {"type": told[1]},
                    "kind": {"name": "POSITIONAL_OR_KEYWORD", "value": 1},
                    **({"default": told[2]} if len(told) > 2 else {}),
                }
                for told in parameters
            ],
        }
    return {"existing_plans": plans, "existing_devices": {}}


def _permissions() -> dict[str, Any]:
    """Return who may ask for which plans; no group, root included, may call functions."""
    nothing = {
        "allowed_devices": [],
        "forbidden_devices": [":.*"],
        "allowed_functions": [],
        "forbidden_functions": [":.*"],
    }
    every = [f":^{name}$" for name in _PARAMETERS]
    groups = {"root": nothing | {"allowed_plans": every, "forbidden_plans": []}}
    groups[SUPERVISOR] = nothing | {"allowed_plans": every, "forbidden_plans": []}
    for name in USER_GROUPS:
        groups[name] = nothing | {
            "allowed_plans": [f":^{PLAN}$"],
            "forbidden_plans": [f":^{name}$" for name in SUPERVISED_PLANS],
        }
    return {"user_groups": groups}


def _plan(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {"item_type": "plan", "name": name, "kwargs": dict(kwargs)}


def _listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(1.0)
        try:
            one.connect(address.removeprefix("ipc://"))
        except OSError:
            return False
    return True
