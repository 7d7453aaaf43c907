"""A laser that stations share: the guard of a dead one has it by its loan, or when it is free."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from instruments.making_safe import Resort
from operando.guard import Lent
from operando.guard._act import Acting
from operando.guard._loans import Loans
from operando.queueing._redis import RedisServer, client
from operando.queueing.leases import Leases, lease_state


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


class Laser:
    """What the guard does to it, and who may have it then."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.switched_off: list[str] = []
        self.answers = True
        self.told: dict[str, tuple[str, bool]] = {}
        self.news = threading.Event()

    def resort(self) -> Resort:
        return Resort("raman", "raman", self._off, lambda: None, "turn its key", shared="stand")

    def _off(self) -> str:
        if not self.answers:
            raise OSError("not there")
        holder = lease_state(self._client, "stand").holder
        self.switched_off.append("" if holder is None else holder.station)
        return "laser off"

    def note(self, name: str, became: str, safe: bool) -> None:
        self.told[name] = (became, safe)
        self.news.set()


Act = Callable[..., Acting]


@pytest.fixture
def laser(client: redis.Redis) -> Laser:
    return Laser(client)


@pytest.fixture
def act(laser: Laser) -> Iterator[Act]:
    given_up, acting = threading.Event(), []

    def begin(lender: Leases, held: dict[str, int], only: Any = None) -> Acting:
        loans = Loans(lender.told(), frozenset({"raman"}), lambda: held)
        acting.append(Acting([[laser.resort()]], only, laser.note, given_up, loans))
        return acting[-1]

    yield begin
    given_up.set()
    for one in acting:
        one.stop(5.0)


def test_what_the_dead_had_is_had_by_its_loan_and_given_back(
    client: redis.Redis, laser: Laser, act: Act
) -> None:
    dead = Leases(client, "A1", ttl_s=60.0)
    loan = dead.borrow("stand", timeout_s=5)
    acting = act(dead, {"stand": loan.number})
    assert acting.wait(10)
    assert laser.switched_off == ["A1"]
    assert acting.unsafe == []
    # Nobody has to wait until the loan of the dead is over.
    Leases(client, "A2").borrow("stand", timeout_s=5).give_back()
    assert not loan.give_back()


def test_what_another_one_has_by_now_is_left_to_it_until_it_gives_it_back(
    client: redis.Redis, laser: Laser, act: Act
) -> None:
    dead = Leases(client, "A1", ttl_s=0.2)
    lost = dead.borrow("stand", timeout_s=5)
    client.delete("operando:lease:stand:holder")  # it hung for too long
    other = Leases(client, "A2").borrow("stand", timeout_s=5)
    acting = act(dead, {"stand": lost.number})
    assert laser.news.wait(10)
    became, safe = laser.told["raman"]
    assert "A2 (process" in became
    assert not safe
    assert "another bench has it" in acting.means("raman")
    assert laser.switched_off == []
    assert other.give_back()
    assert acting.wait(20)
    assert laser.switched_off == ["the guard of A1"]
    assert acting.unsafe == []
    assert lease_state(client, "stand").holder is None


def test_what_the_dead_did_not_use_is_not_touched(
    client: redis.Redis, laser: Laser, act: Act
) -> None:
    other = Leases(client, "A2").borrow("stand", timeout_s=5)
    acting = act(Leases(client, "A1"), {})
    assert acting.wait(10)
    assert laser.switched_off == []
    assert laser.told["raman"][0].startswith("shared, and not in use here")
    assert other.give_back()
    # But what its owner has named when it left is.
    assert act(Leases(client, "A1"), {}, ("raman",)).wait(10)
    assert laser.switched_off == ["the guard of A1"]


def test_one_that_is_not_reached_is_kept_from_nobody_meanwhile(
    client: redis.Redis, laser: Laser, act: Act
) -> None:
    dead = Leases(client, "A1", ttl_s=60.0)
    loan = dead.borrow("stand", timeout_s=5)
    laser.answers = False
    acting = act(dead, {"stand": loan.number})
    Leases(client, "A2").borrow("stand", timeout_s=10).give_back()
    assert acting.unsafe == ["raman"]
    laser.answers = True
    assert acting.wait(20)


def test_a_laser_goes_off_although_nobody_can_be_asked_who_has_it(laser: Laser, act: Act) -> None:
    gone = Leases(redis.Redis(port=1, decode_responses=True), "A1")
    acting = act(gone, {"stand": 7})
    assert acting.wait(20)
    assert laser.switched_off == [""]


def test_each_loan_is_told_before_it_is_used_and_until_it_was_left_safe(
    client: redis.Redis,
) -> None:
    unsafe: set[str] = set()
    lent = Lent(Leases(client, "A1"), unsafe.__contains__)
    told: list[dict[str, int]] = []
    lent.changed = lambda: told.append(lent.loans)
    lease = lent.borrow("stand", timeout_s=5)
    assert told == [{"stand": lease.number}]
    assert lease.held()
    assert lease.give_back()
    assert told[-1] == {}
    lease = lent.borrow("stand", timeout_s=5)
    unsafe.add("stand")
    assert lease.give_back()
    assert lent.loans == {"stand": lease.number}
    assert "password" in lent.told["lender"]["arguments"]["redis"]
