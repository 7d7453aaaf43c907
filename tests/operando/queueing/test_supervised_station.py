"""A station of real processes: what is killed is noticed, and every half-cycle is done once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operando.analysis.segments import HalfCycle, recorded_half_cycles
from operando.configuration import load_cell, load_stations
from operando.journal import select_runs
from operando.queueing import _redis
from operando.queueing.control import Control
from operando.queueing.errors import QueueError
from operando.queueing.managers import Manager
from operando.queueing.model import Command, Mount, Record
from operando.queueing.places import desk_socket, queueing_dir, station_dir
from operando.queueing.store import Store
from operando.queueing.supervisor._journal import last_run
from operando.queueing.supervisor._processes import Process, members
from operando.queueing.supervisor._supervisor import claim_key
from operando.runs import Run
from operando.settings import config_dir

# It starts processes of a whole station, and waits for them on a busy computer.
pytestmark = pytest.mark.timeout(300)

CYCLES = 2
WITHIN_S = 120.0


class OneStation:
    """A data folder with a simulated station A1, and what a test does with it.

    Args:
        folder: Where its files are.
        others: Stations beside it, of the same files.
        entry: What its entry tells besides.
    """

    def __init__(self, folder: Path, *others: "OneStation", **entry: Any) -> None:
        self.folder = folder
        self.entry = {
            "name": "A1",
            "bench": str(folder / "potentiostat.yaml"),
            "simulate": {"cell": "zn-bare", "factor": 2000},
            **entry,
        }
        sim = (config_dir() / "sim.yaml").read_text()
        # Of the simulated bench the potentiostat: what is followed by others is tried elsewhere.
        (folder / "potentiostat.yaml").write_text(
            "name: potentiostat\ninstruments:\n  potentiostat:\n    kind: potentiostat\n"
            "    language: methodscript\n"
            '    address: "published:${OPERANDO_SIM}/potentiostat"\n' + sim[sim.index("limits:") :]
        )
        told = {"stations": [*(one.entry for one in others), self.entry], "daily_at": None}
        (folder / "stations.yaml").write_text(json.dumps(told))
        (folder / "guards").mkdir(mode=0o700, exist_ok=True)
        self.clock = folder / "clock.json"
        self.environment = {
            "OPERANDO_DATA": str(folder / "data"),
            "OPERANDO_STATIONS": str(folder / "stations.yaml"),
            "OPERANDO_GUARDS": str(folder / "guards"),
            "OPERANDO_GUARD": "on",
            "OPERANDO_CLOCK": str(self.clock),
            "OPERANDO_STATION_CATALOG": "off",
        }
        self.data = folder / "data"
        self.name = self.entry["name"]
        self.station = station_dir(self.data, self.name)
        self.manager = Manager(self.data, self.name)
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store(_redis.client(_redis.address(self.data)))
        return self._store

    def operando(self, *words: str, refused: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "operando", *words],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == (2 if refused else 0), done.stdout + done.stderr + self.logs()
        return done.stdout + done.stderr

    def logs(self) -> str:
        paths = [queueing_dir(self.data) / "supervisor.log", self.station / "worker.log"]
        return "\n".join(path.read_text()[-3000:] for path in paths if path.exists())

    def mount(self, cell_id: str) -> dict[str, Any]:
        """Mount a cell without looking at it, which is tried elsewhere; return it."""
        sample = load_cell("zn-bare").model_dump(mode="json", exclude_unset=True)
        sample["cell_id"] = cell_id
        self.store.remove_mount(self.name)
        self.store.put_mount(
            Mount(station=self.name, cell_id=cell_id, sample=sample, by="me", at=time.time())
        )
        return sample

    def add(self, sample: dict[str, Any], hours: float = 1.0, **kwargs: Any) -> str:
        half = {
            "current_density_ma_cm2": 1.0,
            "until": [{"quantity": "time_s", "value": 3600 * hours}],
            "record": {"dt_s": 30},
        }
        technique = {"type": "plate_strip_cycle", "cycles": CYCLES, "plate": half, "strip": half}
        protocol = {"name": "t", "cell": "zn-bare", "technique": technique}
        return self.asked({"protocol": protocol, "sample": sample, **kwargs})

    def asked(self, kwargs: dict[str, Any]) -> str:
        """Add an item as soon as the queue server answers, which a busy computer may delay."""

        def added() -> str:
            try:
                return self.manager.add(kwargs, "me")
            except QueueError as error:
                if "does not answer" not in str(error):
                    raise
                return ""

        return str(self.until(added))

    def until(self, reached: Callable[[], Any]) -> Any:
        give_up = time.monotonic() + WITHIN_S
        while time.monotonic() < give_up:
            found = reached()
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"not within {WITHIN_S:g} s; {self.logs()}")

    def record(self, item: str) -> Record | None:
        try:
            return self.store.record(item)
        except QueueError:
            return None  # Redis is being started again

    def begun(self, item: str) -> Record:
        """Return the record of an item as soon as it has plated for a while."""
        record = self.until(lambda: (r := self.record(item)) and r.state != "starting" and r)
        assert record.state in ("running", "done"), record
        self.until(lambda: self.half_cycles(item))
        return record  # type: ignore[no-any-return]

    def ended(self, item: str) -> Record:
        found = self.until(lambda: (r := self.record(item)) and (r.over or r.state == "held") and r)
        return found  # type: ignore[no-any-return]

    def pid(self, name: str) -> int:
        folder = queueing_dir(self.data) if name == "supervisor.json" else self.station
        return int(json.loads((folder / name).read_text())["pid"])

    def redis_pid(self) -> int:
        return int(self.store.client.info("server")["process_id"])

    def kill_all(self) -> None:
        """Kill every process of the station but the simulator, as a reboot does."""
        worker, server = self.pid("worker.json"), self.pid("manager.json")
        redis = self.redis_pid()
        os.kill(self.pid("supervisor.json"), signal.SIGKILL)
        guards = [json.loads(x.read_text())["pid"] for x in (self.folder / "guards").glob("*.json")]
        for pid in [*guards, *(pid for pid, _ in members(server)), worker, redis]:
            Process.of(pid).kill()

    def half_cycles(self, item: str) -> tuple[HalfCycle, ...]:
        """Return the half-cycles of an item, over all runs of it."""
        run = last_run(self.data, item)
        if run is None:
            return ()
        try:
            found = Run.from_journal(run.uid, self.data)
            return recorded_half_cycles(found, area_cm2=1.131, metal_electrode="WE")
        except (LookupError, ValueError):
            return ()  # it has no rows yet

    def each_half_cycle_once(self, item: str) -> None:
        halves = self.half_cycles(item)
        assert [half.number for half in halves] == list(range(1, 2 * CYCLES + 1))
        assert all(half.ended for half in halves)
        for half in halves:
            assert half.capacity_mah_cm2 == pytest.approx(halves[0].capacity_mah_cm2, rel=0.02)


def opened(**entry: Any) -> Iterator[OneStation]:
    folder = Path(tempfile.mkdtemp(prefix="operando-", dir="/tmp"))
    one = OneStation(folder, **entry)
    try:
        yield one
    finally:
        try:
            one.operando("station", "stop", "--all", "--abort")
        finally:
            give_up = time.monotonic() + 60.0
            while (left := _left(folder)) and time.monotonic() < give_up:
                time.sleep(0.1)  # what was told to end may need a while for it
            for process in left:
                os.kill(int(process.name), signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
            assert not left


def _left(folder: Path) -> list[Path]:
    found = map(Path, Path("/proc").glob("[0-9]*"))
    return [process for process in found if _mentions(process, str(folder))]


def _mentions(process: Path, text: str) -> bool:
    try:
        told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return text.encode() in told and state != "Z" and int(process.name) != os.getpid()


@pytest.fixture
def one() -> Iterator[OneStation]:
    yield from opened()


def test_a_killed_worker_is_noticed_and_its_item_goes_on_at_the_right_half_cycle(
    one: OneStation,
) -> None:
    # One test that starts everything, so that what it stands on is tried in each run.
    assert "A1" in one.operando("station", "start")
    # Commands need not load the models of all techniques to add an item.
    assert desk_socket(one.data).is_socket()
    sample = one.mount("zn-1")
    second = one.add(sample | {"cell_id": "zn-2"})
    # A busy computer may let the item end before we come to kill its worker: then another one.
    for _ in range(5):
        item = one.add(sample)
        if one.begun(item).over:
            continue
        os.kill(one.pid("worker.json"), signal.SIGKILL)
        record = one.ended(item)
        one.each_half_cycle_once(item)
        if len(record.attempts) > 1:
            break
    assert record.state == "resumed", record
    # One that is kept from beating for seconds is lost as well.
    assert {x.exit_status for x in record.attempts[:-1]} == {"lost"}
    assert record.attempts[-1].exit_status == "success"
    # Of the cell that is not mounted nothing is started, and nobody but the supervisor starts.
    assert one.store.record(second) is None
    with pytest.raises(QueueError, match=r"[Ii]nvalid lock key"):
        one.manager._done("environment_close", {})
    # The record of an item is closed a step before the next one is looked for.
    one.until(lambda: "its cell zn-2 to be mounted" in one.operando("station", "status"))


def hang(one: OneStation) -> None:
    os.kill(one.pid("worker.json"), signal.SIGSTOP)


def kill_manager(one: OneStation) -> None:
    watchdog, worker = one.pid("manager.json"), one.pid("worker.json")
    children = [pid for pid, parent in members(watchdog) if parent == watchdog]
    for pid in children:
        if pid != worker:
            os.kill(pid, signal.SIGKILL)


def kill_pair(one: OneStation) -> None:
    kill_manager(one)
    os.kill(one.pid("manager.json"), signal.SIGKILL)


def kill_redis(one: OneStation) -> None:
    os.kill(one.redis_pid(), signal.SIGKILL)


def kill_supervisor(one: OneStation) -> None:
    os.kill(one.pid("supervisor.json"), signal.SIGKILL)
    one.operando("station", "start")


def reboot(one: OneStation) -> None:
    one.clock.write_text('{"boot": "the next"}')
    one.kill_all()
    one.operando("station", "start", "--no-wait")


def set_clock(one: OneStation) -> None:
    one.clock.write_text('{"shift_s": -86400}')


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (hang, "resumed"),
        (kill_manager, "done"),
        (kill_pair, "done"),
        (kill_redis, "done"),
        (kill_supervisor, "done"),
        (reboot, "resumed"),
        (set_clock, "done"),
    ],
)
def test_whatever_is_killed_each_half_cycle_is_done_once_and_the_next_item_follows(
    one: OneStation, fault: Callable[[OneStation], None], state: str
) -> None:
    one.operando("station", "start")
    sample = one.mount("zn-1")
    item, following = one.add(sample, hours=2.0), one.add(sample)
    one.begun(item)
    fault(one)
    record = one.ended(item)
    assert record.state == state, record
    one.each_half_cycle_once(item)
    assert one.ended(following).state == "done"
    one.each_half_cycle_once(following)
    if fault is reboot:
        # It is fed by the mains: the cell was looked at before it went on.
        (look,) = select_runs(one.data, "plan_name = ?", ("look_at_cell",))
        assert look.exit_status == "success"
    one.asked({"protocol": {}, "sample": sample, "hold": True})


@pytest.mark.long
@pytest.mark.parametrize(("policy", "state"), [("skip", "skipped"), ("hold", "held")])
def test_what_was_declared_for_a_death_is_done(one: OneStation, policy: str, state: str) -> None:
    one.operando("station", "start")
    sample = one.mount("zn-1")
    item = one.add(sample, on_death=policy)
    following = one.add(sample, after=item if policy == "hold" else "")
    one.begun(item)
    os.kill(one.pid("worker.json"), signal.SIGKILL)
    assert one.ended(item).state == state
    # Whoever says that its cell was opened has seen that.
    assert "; its guard acted (potentiostat: " in one.ended(item).reason
    if policy == "hold":
        one.until(lambda: state_of(one) == "held")
        assert one.store.record(following) is None
        one.operando("station", "decide", "A1", "resume")
        one.until(lambda: (r := one.record(item)) and r.state == "resumed")
        one.each_half_cycle_once(item)
    assert one.ended(following).state == "done"


def state_of(one: OneStation) -> str:
    state = one.store.station("A1")
    return "" if state is None else state.state


@pytest.mark.long
def test_an_item_that_is_ended_by_hand_is_followed_by_nothing_until_somebody_says_so(
    one: OneStation,
) -> None:
    one.operando("station", "start")
    sample = one.mount("zn-1")
    item, following = one.add(sample, hours=8.0), one.add(sample)
    one.begun(item)
    told = one.operando("station", "stop", "A1", refused=True)
    assert "--abort" in told
    one.store.push_command("A1", Command(do="abort", by="Ada", at=time.time(), item=item))
    record = one.ended(item)
    assert record.state == "stopped"
    assert "Ada" in record.reason
    state = one.until(lambda: (s := one.store.station("A1")) and s.paused and s)
    assert one.store.record(following) is None
    assert item[:8] in state.paused_why
    one.store.resume_station("A1")
    assert one.ended(following).state == "done"


@pytest.mark.long
@pytest.mark.parametrize("ask", [("queue", "stop", "zn-1"), ("station", "stop", "A1", "--abort")])
def test_an_item_that_is_to_end_when_its_worker_has_died_does_not_go_on(
    one: OneStation, ask: tuple[str, ...]
) -> None:
    one.operando("station", "start")
    item = one.add(one.mount("zn-1"), hours=8.0)
    one.begun(item)
    os.kill(one.pid("worker.json"), signal.SIGKILL)
    told = one.operando(*ask)
    record = one.ended(item)
    assert record.state == "stopped", record
    assert record.attempts[0].exit_status == "lost"
    mount = one.store.mount("A1")
    assert mount is not None
    assert mount.state == ("finished" if ask[0] == "queue" else "mounted")
    if ask[0] == "queue":
        assert "nothing more is run on cell zn-1" in told
    one.operando("station", "start")
    one.until(lambda: state_of(one) == "idle")
    assert one.store.record(item) == record


@pytest.mark.long
def test_items_that_fail_one_after_the_other_do_not_use_up_the_queue(one: OneStation) -> None:
    one.operando("station", "start")
    sample = one.mount("zn-1")
    # More than the cell allows: refused before anything is driven.
    items = [one.asked({"protocol": {"name": "t"}, "sample": sample}) for _ in range(4)]
    one.until(lambda: state_of(one) == "held")
    assert [r.state if (r := one.record(x)) else "" for x in items] == ["failed"] * 3 + [""]
    one.operando("station", "decide", "A1", "resume")
    assert one.ended(items[3]).state == "failed"


@pytest.mark.long
def test_a_station_of_another_computer_is_refused_as_long_as_that_lives(one: OneStation) -> None:
    one.operando("station", "start")
    other = {"host": "elsewhere", "data_dir": "/data", "pid": 1}
    one.operando("station", "stop", "A1")
    os.kill(one.pid("supervisor.json"), signal.SIGTERM)
    one.until(lambda: not (queueing_dir(one.data) / "supervisor.json").exists())
    one.store.client.set(claim_key("A1"), json.dumps(other), ex=60)
    told = one.operando("station", "start", refused=True)
    assert "served by the computer elsewhere" in told
    one.store.client.delete(claim_key("A1"))
    one.operando("station", "start")


@pytest.mark.long
def test_a_poisoned_entry_is_moved_away_and_the_running_item_is_not_touched(
    one: OneStation,
) -> None:
    one.operando("station", "start")
    sample = one.mount("zn-1")
    item = one.add(sample)
    one.begun(item)
    one.store.client.rpush("operando_qs_A1_plan_queue", "{no JSON")
    following = one.until(lambda: _added(one, sample))
    assert one.ended(item).state == "done"
    assert one.ended(following).state == "done"
    assert one.store.poisoned()


def _added(one: OneStation, sample: dict[str, Any]) -> str:
    try:
        return one.add(sample)
    except QueueError:
        return ""  # until it is moved away


A2 = {"name": "A2", "supply": "mains"}


@pytest.fixture
def fed() -> Iterator[OneStation]:
    # Slow enough that its items run on a busy computer still when the mains are lost.
    yield from opened(supply="ups", simulate={"cell": "zn-bare", "factor": 500})


@pytest.mark.long
def test_without_mains_cells_are_opened_and_afterwards_each_half_cycle_is_done_once(
    fed: OneStation,
) -> None:
    one, both = fed, (fed, OneStation(fed.folder, fed, **fed.entry | A2))
    one.operando("station", "start")
    items = [each.add(each.mount(f"zn-{each.name}"), hours=2.0) for each in both]
    for each, item in zip(both, items, strict=True):
        each.begun(item)
    on_ups, on_mains = items
    one.operando("station", "mains", "lost", "--why", "on battery")
    assert one.ended(on_mains).attempts[-1].exit_status == "mains"
    running = one.record(on_ups)
    assert running is not None
    assert running.state == "running"  # it has a battery
    one.operando("station", "mains", "lost", "--low")
    assert one.ended(on_ups).attempts[-1].exit_status == "mains"
    # Whoever comes next begins nothing either, before somebody says that they are back.
    kill_supervisor(one)
    told = one.operando("station", "status")
    assert told.count("the mains are lost since") == 2
    for each, item in zip(both, items, strict=True):
        assert one.ended(item).state == "held"
        assert not (each.station / "worker.json").exists()
        assert [x.kind for x in one.ended(item).attempts] == ["run"]
    one.operando("station", "mains", "back")
    for each, item in zip(both, items, strict=True):
        one.until(partial(attempted_again, one, item))
        after = one.ended(item)
        assert after.state == "resumed", after.reason
        each.each_half_cycle_once(item)
        run = last_run(one.data, item)
        assert run is not None
        told = one.operando("report", run.uid)
        assert "s without rows" in told  # and for how long it was
        assert "the mains are lost since" in told


def attempted_again(one: OneStation, item: str) -> bool:
    record = one.record(item)
    return record is not None and len(record.attempts) > 1


def test_stations_that_do_not_exist_are_refused_with_what_there_is(folder: Path) -> None:
    (folder / "stations.yaml").write_text("stations: [{name: A1, bench: sim}]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPERANDO_STATIONS", str(folder / "stations.yaml"))
        assert load_stations().stations[0].name == "A1"
        control = Control(folder)
        with pytest.raises(QueueError, match=r"no station 'A2'.*did you mean A1"):
            control.known(["A2"])
        with pytest.raises(QueueError, match="operando station start"):
            control.shown("A1")
