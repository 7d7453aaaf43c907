"""Instruments that stations share: had for one use at a time, lent by way of Redis.

A loan is a key that ends by itself unless its holder renews it, so that an instrument comes free
when its holder has died or hangs; one that lives and does not come back from its instrument renews
it no more after a time. Who waits stands in a queue, by priority and then by time; who
has not asked for some seconds is no longer in it. Each loan has a number, higher than all before:
a holder that hung past its time sees by it that the instrument is another's. Numbers begin with the
time, so that they are higher than all before also where Redis has lost what it knew.
"""

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import redis

from instruments.lending import LONGEST_S, LeaseTimeoutError
from operando.queueing._redis import RedisAddress, client

logger = logging.getLogger(__name__)

PREFIX = "operando:lease:"
POISONED = "operando:poisoned"
# A holder that is gone keeps an instrument for so long.
TTL_S = 10.0
_RENEWALS = 4
_POLL_S = 0.05
# Who waits says so every so many times to live; who has not for so many is gone.
_SAID_EVERY, _GONE = 0.1, 0.5
# Arrivals count below it, so that no arrival outweighs a priority.
_PER_PRIORITY = 2**40
# A guard asks for no longer: what it does cannot wait.
_GUARDS_PATIENCE_S = 0.5
MOST_PRIORITY = 1000

# Take the instrument if it is free and nobody is before us; else stand in its queue.
# KEYS: holder, number, arrivals, waiting, seen, told, count.
# ARGV: who waits, priority, TTL in ms, said every ms, gone after ms, ms per priority, who it is.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local said = redis.call('ZSCORE', KEYS[5], ARGV[1])
if not said or math.abs(now - said) > tonumber(ARGV[4]) then
  redis.call('ZADD', KEYS[5], now, ARGV[1])
end
if not redis.call('ZSCORE', KEYS[4], ARGV[1]) then
  local place = redis.call('INCR', KEYS[3]) - tonumber(ARGV[2]) * tonumber(ARGV[6])
  redis.call('ZADD', KEYS[4], place, ARGV[1])
  redis.call('HSET', KEYS[6], ARGV[1], ARGV[7])
end
for _, one in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  local seen = redis.call('ZSCORE', KEYS[5], one)
  if not seen or math.abs(now - seen) > tonumber(ARGV[5]) then
    redis.call('ZREM', KEYS[4], one)
    redis.call('ZREM', KEYS[5], one)
    redis.call('HDEL', KEYS[6], one)
  end
end
if redis.call('HEXISTS', KEYS[1], 'number') == 1 and redis.call('PTTL', KEYS[1]) >= 0 then
  return 0
end
if redis.call('ZRANGE', KEYS[4], 0, 0)[1] ~= ARGV[1] then return 0 end
redis.call('SETNX', KEYS[2], string.format('%.0f', now))
local number = redis.call('INCR', KEYS[2])
redis.call('INCR', KEYS[7])
redis.call('HSET', KEYS[1], 'number', number, 'who', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
return number
"""
# KEYS: holder. ARGV: number, TTL in ms. 1 if it is ours, and then longer.
_RENEW = """
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
# KEYS: holder. ARGV: number. 1 if it was ours until now.
_GIVE_BACK = """
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
# KEYS: waiting, seen, told. ARGV: who waits.
_LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[3], ARGV[1])
"""
# What each key is, by the end of its name.
_TYPES = {
    "holder": "hash",
    "number": "string",
    "arrivals": "string",
    "waiting": "zset",
    "seen": "zset",
    "told": "hash",
    "count": "string",
}


class BorrowedInstrument:
    """One loan, renewed by a thread of its own until it is given back, or has lasted too long."""

    def __init__(
        self,
        leases: "Leases",
        name: str,
        number: int,
        waited_s: float,
        asked: float,
        longest_s: float,
    ) -> None:
        self.name = name
        self.number = number
        self.waited_s = waited_s
        self._leases = leases
        # It is ours until then, whoever can be asked.
        self._sure_until = asked + leases.ttl_s
        self._lost = False
        self._renewed_until = asked + longest_s
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lease-{name}", daemon=True)
        self._renewing.start()

    def held(self) -> bool:
        """Return whether it is still ours; where Redis is gone: whether its time is not over."""
        if self._over.is_set() or self._lost:
            return False
        try:
            holder = self._leases.client.hget(_key(self.name, "holder"), "number")
        except redis.RedisError:
            return time.monotonic() < self._sure_until
        self._lost = self._lost or holder != str(self.number)
        return not self._lost

    def give_back(self) -> bool:
        """Let others have it; return whether it was ours until now. Raises nothing."""
        if self._over.is_set():
            return False
        self._over.set()
        self._renewing.join(timeout=self._leases.ttl_s)
        try:
            ours = self._leases.run(_GIVE_BACK, self.name, ("holder",), (self.number,)) == 1
        except redis.RedisError:
            ours = time.monotonic() < self._sure_until  # its time ends by itself
        return ours and not self._lost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.give_back()

    def _renew(self) -> None:
        while not self._over.wait(self._leases.ttl_s / _RENEWALS):
            asked = time.monotonic()
            if asked >= self._renewed_until:
                logger.warning(
                    "%s has not given %r back in time: others may have it",
                    self._leases.station,
                    self.name,
                )
                return
            try:
                ours = self._leases.run(
                    _RENEW, self.name, ("holder",), (self.number, self._leases.ttl_ms)
                )
            except redis.RedisError:
                continue  # it may be back before the time is over
            if not ours:
                self._lost = True
                return
            self._sure_until = asked + self._leases.ttl_s


class Leases:
    """Lends shared instruments to one station, as `instruments.lending.Lender`.

    Args:
        client: Of Redis, with ``decode_responses``.
        station: For whom; told to those who wait.
        priority: Of the station where several wait, -1000 to 1000; higher is first, and within one
            priority who came first.
        ttl_s: How long an instrument stays with a holder that is gone, s; half of it, who waits
            and is gone keeps their place.
    """

    def __init__(
        self, client: redis.Redis, station: str, priority: int = 0, *, ttl_s: float = TTL_S
    ) -> None:
        if abs(priority) > MOST_PRIORITY:
            raise ValueError(f"a lease priority is -{MOST_PRIORITY} to {MOST_PRIORITY}: {priority}")
        self.client = client
        self.station = station
        self.priority = priority
        self.ttl_s = ttl_s
        self.ttl_ms = round(ttl_s * 1e3)

    def borrow(
        self,
        name: str,
        *,
        timeout_s: float,
        longest_s: float = LONGEST_S,
        priority: int | None = None,
        called_off: Callable[[], bool] = lambda: False,
    ) -> BorrowedInstrument:
        """Wait for an instrument and return when it is ours, as `instruments.lending.Lender`.

        Also a context manager, which gives it back. Raises LeaseTimeoutError.
        """
        one = secrets.token_hex(8)
        rank = self.priority if priority is None else priority
        who = json.dumps(
            {
                "station": self.station,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "at": time.time(),
                "priority": rank,
            }
        )
        arguments = (
            one,
            rank,
            self.ttl_ms,
            round(_SAID_EVERY * self.ttl_ms),
            round(_GONE * self.ttl_ms),
            _PER_PRIORITY,
            who,
        )
        began = time.monotonic()
        trouble = ""
        while True:
            asked = time.monotonic()
            try:
                number = int(self.run(_TAKE, name, tuple(_TYPES), arguments))
                trouble = ""
            except redis.RedisError as error:
                number, trouble = 0, f"Redis does not answer: {error}"
            waited_s = time.monotonic() - began
            if number:
                return BorrowedInstrument(self, name, number, waited_s, asked, longest_s)
            if called_off() or waited_s >= timeout_s:
                why = trouble or self._who_has_it(name)
                with contextlib.suppress(redis.RedisError):
                    self.run(_LEAVE, name, ("waiting", "seen", "told"), (one,))
                ended = "the wait was called off" if called_off() else "it was not had in time"
                raise LeaseTimeoutError(
                    f"shared instrument {name!r}: asked for by {self.station}, {ended}, after "
                    f"{waited_s:.1f} s: {why}",
                    waited_s,
                )
            time.sleep(min(_POLL_S, max(timeout_s - waited_s, 0.0)))

    def inherit(
        self,
        name: str,
        number: int | None,
        *,
        timeout_s: float,
        longest_s: float = LONGEST_S,
        called_off: Callable[[], bool] = lambda: False,
    ) -> BorrowedInstrument | None:
        """Have the instrument of a holder that died, to leave it safe; before others who wait.

        Args:
            name: of the shared instrument.
            number: of the loan that the dead had; ``None``: it had none.
            timeout_s: how long it is waited for where that loan is over, s.
            longest_s: as of `borrow`.
            called_off: likewise.

        Returns ``None`` where Redis does not answer. Raises LeaseTimeoutError, which tells who has
        it.
        """
        asked = time.monotonic()
        try:
            self.client.ping()
            if number is not None and self.run(_RENEW, name, ("holder",), (number, self.ttl_ms)):
                return BorrowedInstrument(self, name, number, 0.0, asked, longest_s)
        except redis.RedisError:
            return None
        return self.borrow(
            name,
            timeout_s=timeout_s,
            longest_s=longest_s,
            priority=MOST_PRIORITY,
            called_off=called_off,
        )

    def told(self) -> dict[str, Any]:
        """Return by what the guard of this process comes by the same lender; with the password."""
        known = self.client.connection_pool.connection_kwargs
        usual = {"host": "127.0.0.1", "port": 6379, "password": "", "db": 0}
        address = {key: known.get(key) or value for key, value in usual.items()}
        arguments = {"redis": address, "station": self.station, "ttl_s": self.ttl_s}
        return {"by": f"{__name__}:of_a_guard", "arguments": arguments}

    def run(
        self, script: str, name: str, parts: tuple[str, ...], arguments: tuple[Any, ...]
    ) -> Any:
        """Run one of the scripts here on keys of an instrument; raises redis.RedisError."""
        keys = [_key(name, part) for part in parts]
        try:
            return self.client.eval(script, len(keys), *keys, *map(str, arguments))
        except redis.ResponseError:
            # What stands there is not ours: it is put aside, and asked again.
            if not _put_aside(self.client, name):
                raise
            return self.client.eval(script, len(keys), *keys, *map(str, arguments))

    def _who_has_it(self, name: str) -> str:
        try:
            found = lease_state(self.client, name)
        except redis.RedisError as error:
            return f"Redis does not answer: {error}"
        has = f"{found.holder.told} has it" if found.holder is not None else "nobody has it"
        return f"{has}, {len(found.waiting)} wait"


def of_a_guard(told: Mapping[str, Any]) -> Leases:
    """Return the lender of the process that a guard watches, as that told of it."""
    return Leases(
        client(RedisAddress(**told["redis"]), patience_s=_GUARDS_PATIENCE_S),
        f"the guard of {told['station']}",
        ttl_s=float(told["ttl_s"]),
    )


@dataclass(frozen=True)
class Borrower:
    """Who has a shared instrument, or waits for it; ``at``: since when, seconds of the epoch."""

    station: str
    pid: int | None = None
    host: str = ""
    at: float | None = None
    priority: int = 0
    number: int | None = None

    @property
    def told(self) -> str:
        """Return who it is, in words."""
        return f"{self.station} (process {self.pid} on {self.host})" if self.host else self.station

    @classmethod
    def from_json(cls, text: str | None, number: str | None = None) -> "Borrower":
        """Return who is told; one that cannot be read is somebody unknown."""
        try:
            told = json.loads(text or "")
            return cls(
                str(told["station"]),
                int(told["pid"]),
                str(told["host"]),
                float(told["at"]),
                int(told["priority"]),
                None if number is None else int(number),
            )
        except (ValueError, KeyError, TypeError):
            return cls("somebody unknown")


@dataclass(frozen=True)
class LeaseState:
    """Who has a shared instrument and who waits for it, the next one first.

    Attributes:
        ends_s: When the loan ends if its holder is gone, s from now; ``None``: nobody has it.
        loans: How often it was lent, in all.
    """

    name: str
    holder: Borrower | None
    ends_s: float | None
    loans: int
    waiting: tuple[Borrower, ...] = field(default=())


def lease_state(client: redis.Redis, name: str) -> LeaseState:
    """Return who has a shared instrument and who waits for it; raises redis.RedisError."""
    _put_aside(client, name)
    holder: Any = client.hgetall(_key(name, "holder"))
    left_ms = int(client.pttl(_key(name, "holder")))
    told: Any = client.hgetall(_key(name, "told"))
    waiting: Any = client.zrange(_key(name, "waiting"), 0, -1)
    count = str(client.get(_key(name, "count")) or "0")
    return LeaseState(
        name,
        Borrower.from_json(holder.get("who"), holder.get("number")) if holder else None,
        left_ms / 1e3 if holder and left_ms >= 0 else None,
        int(count) if count.isdecimal() else 0,
        tuple(Borrower.from_json(told.get(one)) for one in waiting),
    )


def lease_states(client: redis.Redis) -> list[LeaseState]:
    """Return the state of every instrument that was ever lent; raises redis.RedisError."""
    return [lease_state(client, name) for name in sorted(set(_names(client)))]


def _names(client: redis.Redis) -> Iterator[str]:
    for key in client.scan_iter(match=f"{PREFIX}*", count=1000):
        name, _, part = str(key).removeprefix(PREFIX).rpartition(":")
        if name and part in _TYPES:
            yield name


def _key(name: str, part: str) -> str:
    return f"{PREFIX}{name}:{part}"


def _put_aside(client: redis.Redis, name: str) -> bool:
    """Move what is not what it should be to the list of poisoned entries; whether there was any."""
    found = False
    for part, wanted in _TYPES.items():
        key = _key(name, part)
        kind = str(client.type(key))
        value: Any = None
        if kind == "none":
            continue
        if kind == "string":
            value = client.get(key)
        if kind == wanted and (kind != "string" or str(value).isdecimal()):
            continue
        entry = {"at": time.time(), "key": key, "why": f"a {kind}, not a {wanted}", "value": value}
        client.rpush(POISONED, json.dumps(entry))
        client.delete(key)
        found = True
    return found
