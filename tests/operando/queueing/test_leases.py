"""Shared instruments are had for one use at a time, whoever dies or hangs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from instruments.lending import LeaseTimeoutError
from operando.cli import main
from operando.queueing._redis import RedisServer, client
from operando.queueing.leases import POISONED, Leases, lease_state, lease_states

pytestmark = pytest.mark.timeout(180)

# Of one who is gone; and of one who keeps it, however busy the computer is.
TTL_S, LASTING_S = 0.5, 120.0
BORROW = """
import sys, time, redis
from operando.queueing import leases
from operando.queueing.leases import Leases
leases._RENEWALS = float(sys.argv[5])
client = redis.Redis.from_url(sys.argv[1], decode_responses=True)
leases = Leases(client, sys.argv[2], int(sys.argv[3]), ttl_s=float(sys.argv[4]))
print("asks", flush=True)
with leases.borrow("microscope", timeout_s=60) as lease:
    print("has", lease.number, flush=True)
    sys.stdin.readline()
    print("still" if lease.held() else "lost", flush=True)
    print("gave" if lease.give_back() else "was not its own", flush=True)
"""


class Station:
    """Another process that borrows the microscope, and gives it back at a word."""

    def __init__(self, url: str, name: str, priority: int, ttl_s: float, renewals: int) -> None:
        told = map(str, (url, name, priority, ttl_s, renewals))
        words = [sys.executable, "-c", BORROW, *told]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.says() == "asks"

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def loan(self) -> int:
        word, number = self.says().split()
        assert word == "has"
        return int(number)

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path_factory.mktemp("data"))
    one.ensure()
    yield one
    one.stop()


@pytest.fixture(name="client")
def _client(server: RedisServer) -> Iterator[redis.Redis]:
    with client(server.ensure()) as one:
        one.flushdb()
        yield one


@pytest.fixture
def station(server: RedisServer, client: redis.Redis) -> Iterator[Callable[..., Station]]:
    made: list[Station] = []
    url = server.address().url

    def make(name: str, priority: int = 0, ttl_s: float = LASTING_S, renewals: int = 4) -> Station:
        made.append(Station(url, name, priority, ttl_s, renewals))
        return made[-1]

    yield make
    for one in made:
        one.end()


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_station_has_it_and_the_next_when_it_is_given_back(
    client: redis.Redis, station: Callable[..., Station]
) -> None:
    first = station("A1", renewals=1000)
    had = first.loan()
    second = station("A2")
    wait_until(lambda: len(lease_state(client, "microscope").waiting) == 1)
    told = lease_state(client, "microscope")
    assert told.holder is not None
    assert (told.holder.station, told.holder.pid) == ("A1", first.process.pid)
    assert told.waiting[0].pid == second.process.pid
    # It lasts longer, again and again.
    assert client.pexpire("operando:lease:microscope:holder", 60_000)
    wait_until(lambda: (lease_state(client, "microscope").ends_s or 0.0) > 60.0)
    assert lease_state(client, "microscope").holder == told.holder
    first.tell()
    assert [first.says(), first.says()] == ["still", "gave"]
    assert second.loan() == had + 1
    second.tell()
    assert [second.says(), second.says()] == ["still", "gave"]
    (told,) = lease_states(client)
    assert (told.name, told.holder, told.waiting, told.loans) == ("microscope", None, (), 2)


def test_what_a_killed_station_had_comes_free_by_itself(
    client: redis.Redis, station: Callable[..., Station]
) -> None:
    first = station("A1", ttl_s=TTL_S)
    had = first.loan()
    first.process.send_signal(signal.SIGKILL)
    with Leases(client, "A2").borrow("microscope", timeout_s=60) as lease:
        assert lease.number == had + 1
        assert lease.held()


def test_one_that_hung_past_its_time_knows_that_it_is_anothers(
    client: redis.Redis, station: Callable[..., Station]
) -> None:
    first = station("A1", ttl_s=TTL_S)
    first.loan()
    os.kill(first.process.pid, signal.SIGSTOP)
    lease = Leases(client, "A2", ttl_s=LASTING_S).borrow("microscope", timeout_s=60)
    os.kill(first.process.pid, signal.SIGCONT)
    first.tell()
    assert [first.says(), first.says()] == ["lost", "was not its own"]
    # And it did not give back what is not its own.
    assert lease.held()
    assert lease.give_back()


def test_a_station_that_was_killed_while_it_waited_keeps_nobody_waiting(
    client: redis.Redis, station: Callable[..., Station]
) -> None:
    lease = Leases(client, "A1", ttl_s=LASTING_S).borrow("microscope", timeout_s=60)
    second = station("A2", priority=9)
    wait_until(lambda: bool(lease_state(client, "microscope").waiting))
    second.process.send_signal(signal.SIGKILL)
    assert lease.give_back()
    Leases(client, "A1", ttl_s=TTL_S).borrow("microscope", timeout_s=60).give_back()


def test_the_higher_priority_comes_first_and_then_who_came_first(client: redis.Redis) -> None:
    order: list[str] = []
    lease = Leases(client, "A0", ttl_s=LASTING_S).borrow("microscope", timeout_s=60)

    def use(name: str, priority: int) -> None:
        leases = Leases(client, name, priority, ttl_s=LASTING_S)
        with leases.borrow("microscope", timeout_s=60):
            order.append(name)

    threads = []
    for count, (name, priority) in enumerate(
        [("low", -1), ("first", 0), ("second", 0), ("high", 5)], start=1
    ):
        threads.append(threading.Thread(target=use, args=(name, priority)))
        threads[-1].start()
        wait_until(lambda: len(lease_state(client, "microscope").waiting) == count)  # noqa: B023
    assert [one.station for one in lease_state(client, "microscope").waiting] == [
        *("high", "first", "second", "low"),
    ]
    lease.give_back()
    for thread in threads:
        thread.join()
    assert order == ["high", "first", "second", "low"]


def test_who_waited_in_vain_is_told_who_has_it_and_leaves_the_queue(client: redis.Redis) -> None:
    with Leases(client, "A1").borrow("microscope", timeout_s=60):
        with pytest.raises(LeaseTimeoutError, match=r"asked for by A2, it was not .* A1 \(process"):
            Leases(client, "A2").borrow("microscope", timeout_s=0.1)
        gone = threading.Event()
        threading.Timer(0.1, gone.set).start()
        with pytest.raises(LeaseTimeoutError, match="called off") as caught:
            Leases(client, "A2").borrow("microscope", timeout_s=60, called_off=gone.is_set)
        assert 0 < caught.value.waited_s < 60
        assert lease_state(client, "microscope").waiting == ()


def test_two_instruments_are_lent_apart(client: redis.Redis) -> None:
    leases = Leases(client, "A1")
    with leases.borrow("microscope", timeout_s=60), leases.borrow("raman", timeout_s=60) as other:
        assert other.held()


def test_who_hangs_in_an_instrument_keeps_it_from_nobody_for_ever(client: redis.Redis) -> None:
    began = time.monotonic()
    hangs = Leases(client, "A1", ttl_s=TTL_S)
    lease = hangs.borrow("microscope", timeout_s=60, longest_s=TTL_S)
    with Leases(client, "A2", ttl_s=LASTING_S).borrow("microscope", timeout_s=60) as other:
        assert time.monotonic() - began > TTL_S
        assert not lease.held()
        assert not lease.give_back()
        assert other.held()


def test_a_loan_has_another_number_than_all_before_also_where_redis_was_emptied(
    client: redis.Redis,
) -> None:
    leases = Leases(client, "A1")
    with leases.borrow("microscope", timeout_s=60) as lease:
        client.flushdb()
        with leases.borrow("microscope", timeout_s=60) as other:
            assert other.number > lease.number
            assert lease_state(client, "microscope").loans == 1


def test_what_others_wrote_there_is_put_aside(client: redis.Redis) -> None:
    client.set("operando:lease:microscope:holder", "nonsense")
    client.set("operando:lease:microscope:number", "many")
    client.zadd("operando:lease:microscope:waiting", {"somebody": 0})
    client.zadd("operando:lease:microscope:seen", {"somebody": 0})
    with Leases(client, "A1").borrow("microscope", timeout_s=60) as lease:
        assert lease.held()
        client.hset("operando:lease:microscope:holder", "who", "{")
        holder = lease_state(client, "microscope").holder
        assert holder is not None
        assert holder.station == "somebody unknown"
    assert client.llen(POISONED) == 2


def test_without_redis_it_is_waited_for_and_a_loan_lasts_for_its_time(
    server: RedisServer, client: redis.Redis
) -> None:
    leases = Leases(client, "A1", ttl_s=LASTING_S)
    lease = leases.borrow("microscope", timeout_s=60)
    server.stop()
    assert lease.held()
    lease._sure_until -= LASTING_S
    assert not lease.held()
    assert not lease.give_back()
    with pytest.raises(LeaseTimeoutError, match="Redis does not answer"):
        leases.borrow("microscope", timeout_s=0.1)
    # What it knew it knows again: the next loan has a number of its own.
    server.ensure()
    assert client.delete("operando:lease:microscope:holder")  # its time is over there, too
    had = lease.number
    with leases.borrow("microscope", timeout_s=60) as lease:
        assert lease.number == had + 1


def test_the_command_tells_who_has_it_and_who_waits(
    server: RedisServer,
    client: redis.Redis,
    station: Callable[..., Station],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(server._folder.parents[2]))
    assert main(["leases"]) == 0
    assert "No instrument was ever lent" in capsys.readouterr().out
    with Leases(client, "A1").borrow("microscope", timeout_s=60):
        station("A2", priority=3)
        wait_until(lambda: bool(lease_state(client, "microscope").waiting))
        assert main(["leases"]) == 0
        told = capsys.readouterr().out
        assert main(["leases", "--json"]) == 0
        (state,) = json.loads(capsys.readouterr().out)
    first, second = told.splitlines()
    assert first.startswith(f"microscope: had by A1 (process {os.getpid()} on ")
    assert first.endswith(f", loan {state['holder']['number']}; lent 1 times")
    assert second.startswith("  1. waits: A2 (process ")
    assert second.endswith(", priority 3")
    assert state["holder"]["station"] == "A1"
    assert [one["station"] for one in state["waiting"]] == ["A2"]


def test_a_priority_beyond_what_can_be_told_apart_is_refused(client: redis.Redis) -> None:
    with pytest.raises(ValueError, match="-1000 to 1000: 1001"):
        Leases(client, "A1", 1001)
