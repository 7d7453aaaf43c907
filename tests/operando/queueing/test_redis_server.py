"""The server that keeps the queues: what was answered is there, whatever happens to it."""

import contextlib
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from operando.queueing._redis import RedisAddress, RedisServer, address, client
from operando.queueing.errors import QueueError
from operando.queueing.store import Store
from techniques import StationEntry, StationsFile

pytestmark = pytest.mark.timeout(180)

Connect = Callable[[RedisAddress], redis.Redis]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Clients that are closed in the end."""
    with contextlib.ExitStack() as stack:
        yield lambda where: stack.enter_context(contextlib.closing(client(where)))


def _pid(server: RedisServer) -> int:
    with contextlib.closing(client(server.address())) as one:
        return int(one.info("server")["process_id"])


def _kill(server: RedisServer) -> None:
    os.kill(_pid(server), signal.SIGKILL)
    _gone(server)


def _gone(server: RedisServer) -> None:
    deadline = time.monotonic() + 60
    while server.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _answers(server: RedisServer) -> None:
    deadline = time.monotonic() + 60
    while not server.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _journal(folder: Path) -> Path:
    (path,) = (folder / "state/queueing/redis/appendonlydir").glob("*.incr.aof")
    return path


def test_is_private_and_listens_on_loopback_only(
    connect: Connect, server: RedisServer, folder: Path
) -> None:
    below = folder / "state/queueing/redis"
    assert stat.S_IMODE(below.stat().st_mode) == 0o700
    for name in ("password", "valkey.conf", "port"):
        assert stat.S_IMODE((below / name).stat().st_mode) == 0o600
    where = server.address()
    hexadecimal = f"{where.port:04X}"
    lines = (
        Path("/proc/net/tcp").read_text().splitlines()
        + Path("/proc/net/tcp6").read_text().splitlines()
    )
    listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [one for one in listening if one.endswith(f":{hexadecimal}")] == [
        f"0100007F:{hexadecimal}"
    ]
    with pytest.raises(redis.AuthenticationError):
        connect(RedisAddress(where.host, where.port)).ping()
    assert where.password not in repr(where)
    assert where.password not in str(where)
    pid = _pid(server)
    assert where.password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_is_started_once_by_several_at_once(folder: Path) -> None:
    found: list[RedisAddress] = []
    threads = [
        threading.Thread(target=lambda: found.append(RedisServer(folder).ensure()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server = RedisServer(folder)
    try:
        assert len(found) == 4
        assert len(set(found)) == 1
        assert server.ensure() == found[0]
    finally:
        server.stop()
    assert not server.alive()
    server.stop()  # again does nothing


def test_outlives_the_process_that_started_it(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from operando.queueing._redis import RedisServer;"
        "RedisServer(Path(sys.argv[1])).ensure()"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    server = RedisServer(folder)
    _answers(server)
    server.stop()


def test_everything_answered_is_there_after_it_was_killed(
    connect: Connect, server: RedisServer, folder: Path
) -> None:
    before = server.address()
    connect(before).rpush("queue", *map(str, range(100)))
    _kill(server)
    assert server.ensure() == before
    assert connect(before).lrange("queue", 0, -1) == [str(n) for n in range(100)]


def test_one_that_is_just_dying_is_no_stranger(connect: Connect, server: RedisServer) -> None:
    before = server.address()
    for n in range(10):
        connect(before).rpush("queue", n)
        os.kill(_pid(server), signal.SIGKILL)
        assert server.ensure() == before  # its managers would not find it elsewhere
    assert connect(before).llen("queue") == 10


def test_its_port_is_none_that_the_system_gives_to_others(server: RedisServer) -> None:
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest, highest = map(int, path.read_text().split())
    assert not lowest <= server.address().port <= highest


@pytest.mark.parametrize("damage", ["torn", "zeros", "noise"])
def test_a_damaged_end_of_its_journal_takes_no_more_with_it(
    connect: Connect, server: RedisServer, folder: Path, damage: str
) -> None:
    where = server.address()
    connect(where).set("first", "1")
    connect(where).set("second", "x" * 100)
    _kill(server)
    journal = _journal(folder)
    content = journal.read_bytes()
    match damage:
        case "torn":
            journal.write_bytes(content[:-50])
        case "zeros":
            journal.write_bytes(content + bytes(200))
        case "noise":
            journal.write_bytes(content + b"*3\r\n$3\r\nSET\r\n\xff\xfe nonsense")
    assert server.ensure() == where
    assert connect(where).get("first") == "1"
    assert connect(where).get("second") == (None if damage == "torn" else "x" * 100)
    assert (server.repaired is not None) == (damage != "torn")
    if server.repaired is not None:
        assert (server.repaired / journal.name).read_bytes().startswith(content)


def test_a_full_disk_ends_it_and_what_was_answered_is_there_later(
    connect: Connect, server: RedisServer, folder: Path
) -> None:
    answered = []
    size = _journal(folder).stat().st_size
    resource.prlimit(_pid(server), resource.RLIMIT_FSIZE, (size + 5000, size + 5000))
    one = connect(server.address())
    with contextlib.suppress(redis.RedisError):
        for n in range(1000):
            one.set(f"key {n}", "x" * 100)
            answered.append(n)
    _gone(server)
    assert 0 < len(answered) < 1000
    server.ensure()
    again = connect(server.address())
    assert all(again.get(f"key {n}") == "x" * 100 for n in answered)


@pytest.mark.parametrize("how", [pytest.param("hung", marks=pytest.mark.long), "password lost"])
def test_two_servers_never_write_one_journal(
    connect: Connect, server: RedisServer, folder: Path, how: str
) -> None:
    pid = _pid(server)
    connect(server.address()).set("kept", "yes")
    if how == "hung":
        os.kill(pid, signal.SIGSTOP)
    else:
        (folder / "state/queueing/redis/password").unlink()
    where = server.ensure()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert connect(where).get("kept") == "yes"


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """Something else that listens, and answers what it likes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line:
                line.recv(1000)
                line.sendall(b"-ERR who are you?\r\n-ERR go away\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield listener
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_goes_to_another_port_if_its_own_is_taken(
    connect: Connect, server: RedisServer, folder: Path, stranger: socket.socket
) -> None:
    before = server.address()
    connect(before).set("kept", "yes")
    server.stop()
    taken = stranger.getsockname()[1]
    (folder / "state/queueing/redis/port").write_text(f"{taken}\n")
    assert not server.alive()
    after = server.ensure()
    assert after.port != taken
    assert after.password != before.password  # the stranger was told it
    assert connect(after).get("kept") == "yes"


def test_says_why_it_cannot_be_started(folder: Path) -> None:
    server = RedisServer(folder)
    with pytest.raises(QueueError, match=r"operando station\s+start"):
        server.address()
    server.ensure()
    server.stop()
    journal = folder / "state/queueing/redis/appendonlydir"
    for manifest in journal.glob("*.manifest"):
        manifest.write_text("no manifest\n")
    with pytest.raises(QueueError, match=r"see .*log") as told:
        server.ensure()
    assert "manifest" in str(told.value)


def _file(redis: str) -> StationsFile:
    return StationsFile(redis=redis, stations=(StationEntry(name="A1", bench="sim"),))


def test_another_computers_server_is_told_by_its_address(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_REDIS_PASSWORD", "p@ss/word:1")
    where = address(folder, _file("lab.example.org:6380/3"))
    assert where == RedisAddress("lab.example.org", 6380, "p@ss/word:1", 3)
    assert where.for_manager == ":p%40ss%2Fword%3A1@lab.example.org:6380/3"
    told = redis.ConnectionPool.from_url(where.url).connection_kwargs
    assert {name: told[name] for name in ("host", "port", "password", "db")} == {
        "host": "lab.example.org",
        "port": 6380,
        "password": "p@ss/word:1",
        "db": 3,
    }
    assert str(where) == "lab.example.org:6380/3"
    assert address(folder, _file("[::1]:6379")).host == "::1"


@pytest.mark.parametrize("told", ["", "lab", "lab:x", "user:secret@lab:1", "lab:1/x"])
def test_a_wrong_address_is_refused_without_telling_a_password(folder: Path, told: str) -> None:
    with pytest.raises(QueueError, match="HOST:PORT") as refused:
        address(folder, _file(told))
    assert "secret" not in str(refused.value)


def test_whoever_asks_a_server_that_is_gone_is_told_so(
    connect: Connect, server: RedisServer
) -> None:
    store = Store(connect(server.address()))
    assert store.stations() == []
    server.stop()
    with pytest.raises(QueueError, match=r"does not answer.*operando station start"):
        store.stations()
    server.ensure()
    assert store.stations() == []


def test_a_wrong_password_is_told(connect: Connect, server: RedisServer) -> None:
    where = server.address()
    wrong = RedisAddress(where.host, where.port, "wrong")
    with pytest.raises(QueueError, match="OPERANDO_REDIS_PASSWORD"):
        Store(connect(wrong)).stations()
