"""What is kept of stations, mounted cells and items, in Redis; what is unreadable is moved away.

Keys begin with ``operando:``; the queues themselves are the managers' (``operando_qs_STATION``).
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import ValidationError

from operando.queueing.errors import QueueError
from operando.queueing.model import AMENDED, Command, Mount, Record, StationState
from techniques._base import Data

if TYPE_CHECKING:
    import redis

Model = TypeVar("Model", bound=Data)
Got = TypeVar("Got")

POISONED, _TOLD = "operando:poisoned", "operando:poisoned_told"
_PREFIX = "operando"
_AT_ONCE = 200
# Of what nobody was told of yet, and nobody knows since when: what is not older is told.
_TOLD_WITHIN_S = 86400.0
# Of unreadable entries so many are kept, and so much of each.
_POISONED_KEPT, _POISONED_LENGTH = 1000, 100_000
_ANSWER_KEPT_S = 600


def manager_prefix(station: str) -> str:
    """Return what the keys of a station's queue server begin with."""
    return f"operando_qs_{station}"


class Store:
    """Typed access to what stations and their supervisors share.

    Every method raises QueueError if Redis is gone.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client

    # -- stations

    def station(self, name: str) -> StationState | None:
        """Return how a station is; ``None``: nothing is known of it."""
        return self._get(StationState, f"{_PREFIX}:station:{name}")

    def stations(self) -> list[StationState]:
        """Return how each known station is, by name."""
        with told():
            keys = sorted(self.client.scan_iter(f"{_PREFIX}:station:*", count=1000))
        found = (self._get(StationState, key) for key in keys)
        return [one for one in found if one is not None]

    def change_station(self, name: str, **changes: Any) -> StationState:
        """Change these fields of a station's state and no others; return what came of it.

        Several may do so at once: the supervisor tells what it does while somebody pauses it.
        """
        key = f"{_PREFIX}:station:{name}"

        def changed(before: StationState | None) -> StationState:
            known = before or StationState(name=name)
            return StationState.model_validate(known.model_dump() | changes)

        return self._change(StationState, key, changed)

    def pause_station(self, name: str, why: str) -> StationState:
        """Have a station start no further item; return what came of it.

        Why it was paused before is kept: somebody has not seen to that yet.
        """

        def changed(before: StationState | None) -> StationState:
            known = before or StationState(name=name)
            # Who died midway says it again.
            said = known.paused_why if known.paused else ""
            told = said if why in said else "; ".join(filter(None, (said, why)))
            return known.model_copy(update={"paused": True, "paused_why": told})

        return self._change(StationState, f"{_PREFIX}:station:{name}", changed)

    def resume_station(self, name: str) -> StationState:
        """Let a station that was paused start items again; return what came of it."""
        return self.change_station(name, paused=False, paused_why="")

    def forget_station(self, name: str) -> None:
        """Forget a station; its records stay."""
        with told():
            self.client.delete(f"{_PREFIX}:station:{name}")

    # -- mounted cells

    def mount(self, station: str) -> Mount | None:
        """Return which cell is in a station; ``None``: none."""
        return self._get(Mount, f"{_PREFIX}:mount:{station}")

    def mounts(self) -> list[Mount]:
        """Return all mounted cells, by station."""
        with told():
            keys = sorted(self.client.scan_iter(f"{_PREFIX}:mount:*", count=1000))
        found = (self._get(Mount, key) for key in keys)
        return [one for one in found if one is not None]

    def mounted_at(self, cell_id: str) -> str | None:
        """Return the station in which a cell is mounted; ``None``: in none."""
        return self.text(f"{_PREFIX}:mounted:{cell_id}")

    def put_mount(self, mount: Mount) -> None:
        """Keep a mount, new or changed.

        Raises:
            QueueError: the cell is mounted in another station, or another cell in this one.
        """
        present = self.mount(mount.station)
        if present is not None and present.cell_id != mount.cell_id:
            raise QueueError(
                f"cell {present.cell_id} is mounted in station {mount.station}: operando unmount "
                f"--station {mount.station} before {mount.cell_id} is mounted there"
            )
        key = f"{_PREFIX}:mounted:{mount.cell_id}"
        import redis

        self.text(key)  # moves away what is no text
        with told(), self.client.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(key)
                    where = cast(str | None, pipe.get(key))
                    if where not in (None, mount.station):
                        raise QueueError(
                            f"cell {mount.cell_id} is mounted in station {where}: it cannot be in "
                            f"{mount.station} as well; operando unmount --station {where} first"
                        )
                    pipe.multi()
                    pipe.set(key, mount.station)
                    pipe.set(f"{_PREFIX}:mount:{mount.station}", mount.model_dump_json())
                    pipe.execute()
                except redis.WatchError:
                    continue
                return

    def remove_mount(self, station: str) -> Mount | None:
        """Forget which cell is in a station; return the mount that was kept, if it can be read."""
        mount = self.mount(station)
        with told():
            keys = [f"{_PREFIX}:mounted:{mount.cell_id}"] if mount is not None else []
            if mount is None:
                there = cast(Iterator[str], self.client.scan_iter(f"{_PREFIX}:mounted:*"))
                keys = [key for key in there if self.text(key) == station]
            self.client.delete(f"{_PREFIX}:mount:{station}", *keys)
        return mount

    # -- records of items

    def record(self, item: str) -> Record | None:
        """Return what became of an item; ``None``: it was never begun."""
        return self._get(Record, f"{_PREFIX}:record:{item}")

    def put_record(self, record: Record) -> None:
        """Keep a record, new or changed; a new one becomes the last of its station's list."""
        key, list_key = f"{_PREFIX}:record:{record.item}", f"{_PREFIX}:records:{record.station}"
        # One that could not be read was moved away, and is in the list still.
        known = self.is_listed(record.station, record.item)
        with told():
            pipe = self.client.pipeline()
            pipe.set(key, record.model_dump_json())
            if not known:
                pipe.rpush(list_key, record.item)
            pipe.execute()

    def is_listed(self, station: str, item: str) -> bool:
        """Return whether an item is one that a station has begun, also if its record is lost."""
        key = f"{_PREFIX}:records:{station}"
        return self._kept({key: "list"}, lambda: self.client.lpos(key, item)) is not None

    def add_record(self, record: Record) -> bool:
        """Keep a new record; return whether it is: of two that would, one does.

        Not that of an item that had one, which nobody could read.
        """
        import redis

        key = f"{_PREFIX}:record:{record.item}"
        if self.is_listed(record.station, record.item):
            return False
        with told(), self.client.pipeline() as pipe:
            try:
                pipe.watch(key)
                if pipe.exists(key):
                    return False
                pipe.multi()
                pipe.set(key, record.model_dump_json())
                pipe.rpush(f"{_PREFIX}:records:{record.station}", record.item)
                pipe.execute()
            except redis.WatchError:
                return False
        return True

    def forget_record(self, record: Record) -> None:
        """Forget a record, if it is still as it was put."""
        import redis

        key = f"{_PREFIX}:record:{record.item}"
        if self._get(Record, key) is None:
            return
        self.is_listed(record.station, record.item)  # moves away what is no list
        with told(), self.client.pipeline() as pipe:
            try:
                pipe.watch(key)
                if pipe.get(key) != record.model_dump_json():
                    return
                pipe.multi()
                pipe.delete(key)
                pipe.lrem(f"{_PREFIX}:records:{record.station}", -1, record.item)
                pipe.execute()
            except redis.WatchError:
                return

    def change_record(self, item: str, **changes: Any) -> Record:
        """Change these fields of a record and no others; return what came of it.

        Raises:
            QueueError: there is no such record.
        """

        def changed(before: Record | None) -> Record:
            if before is None:
                raise QueueError(f"there is no record of item {item}")
            return before.model_copy(update=changes)

        return self._change(Record, f"{_PREFIX}:record:{item}", changed)

    def record_ids(self, station: str) -> list[str]:
        """Return the items of a station in the order in which they were started."""
        key = f"{_PREFIX}:records:{station}"
        ids = self._kept({key: "list"}, lambda: self.client.lrange(key, 0, -1))
        return list(dict.fromkeys(cast(list[str], ids)))

    def records(self, station: str, last: int | None = None) -> list[Record]:
        """Return the records of a station in that order; with ``last`` so many at the end."""
        ids = self.record_ids(station)
        return self.records_of(ids if last is None else ids[max(0, len(ids) - last) :])

    def records_of(self, items: Sequence[str]) -> list[Record]:
        """Return the records of items, of those that have one."""
        keys = [f"{_PREFIX}:record:{item}" for item in items]
        texts: list[str | None] = []
        with told():
            for begin in range(0, len(keys), _AT_ONCE):
                found = self.client.mget(keys[begin : begin + _AT_ONCE])
                texts += cast(list[str | None], found)
            # What is no text is not told apart from what is not there.
            missing = [key for key, text in zip(keys, texts, strict=True) if text is None]
            pipe = self.client.pipeline(transaction=False)
            for key in missing:
                pipe.type(key)
            kinds = pipe.execute()
        for key, kind in zip(missing, kinds, strict=True):
            if kind != "none":
                self._put_aside(key, "string")
        read = (self._read(Record, *both) for both in zip(keys, texts, strict=True))
        return [one for one in read if one is not None]

    def unfinished(self, station: str) -> list[Record]:
        """Return the records of a station of which something may still become, in that order."""
        return [one for one in self.records(station) if not one.over]

    def record_stations(self) -> list[str]:
        """Return the stations of which there are records, by name."""
        with told():
            keys = self.client.scan_iter(f"{_PREFIX}:records:*", count=1000)
            return sorted(key.removeprefix(f"{_PREFIX}:records:") for key in keys)

    # -- what is asked of a running station

    def push_command(self, station: str, command: Command) -> None:
        """Ask something of a station; its worker takes it within a second."""
        key, text = f"{_PREFIX}:commands:{station}", command.model_dump_json()
        self._kept({key: "list"}, lambda: self.client.rpush(key, text))

    def pop_command(self, station: str) -> Command | None:
        """Take the oldest of what is asked; ``None``: nothing is."""
        key = f"{_PREFIX}:commands:{station}"
        while True:
            text = cast(str | None, self._kept({key: "list"}, lambda: self.client.lpop(key)))
            if text is None:
                return None
            command = self._read(Command, key, text, remove=False)
            if command is not None:
                return command

    def clear_commands(self, station: str) -> None:
        """Forget what is asked of a station and was not taken."""
        with told():
            self.client.delete(f"{_PREFIX}:commands:{station}")

    # -- items that somebody wants to end

    def keep_wish(self, station: str, command: Command) -> None:
        """Remember that an item is to end, whoever drives it then; to stop its cell is more."""
        item = command.item or ""
        known = self.wish(station, item)
        if known is not None and known.do == "stop" and command.do != "stop":
            return
        key, text = f"{_PREFIX}:wishes:{station}", command.model_dump_json()
        self._kept({key: "hash"}, lambda: self.client.hset(key, item, text))

    def wish(self, station: str, item: str) -> Command | None:
        """Return who wants an item to end, and why; ``None``: nobody does."""
        key = f"{_PREFIX}:wishes:{station}"
        text = cast(str | None, self._kept({key: "hash"}, lambda: self.client.hget(key, item)))
        wish = self._read(Command, key, text, remove=False)
        if wish is None and text is not None:
            self.forget_wish(station, item)
        return wish

    def forget_wish(self, station: str, item: str) -> None:
        """Forget that an item is to end: it has."""
        key = f"{_PREFIX}:wishes:{station}"
        self._kept({key: "hash"}, lambda: self.client.hdel(key, item))

    def answer(self, station: str, command: Command, said: str, *, taken: bool = True) -> None:
        """Tell who asked for something what became of it; that is kept for ten minutes."""
        with told():
            self.client.set(
                _answer_key(station, command),
                json.dumps({"taken": taken, "told": said}),
                ex=_ANSWER_KEPT_S,
            )

    def answered(self, station: str, command: Command) -> tuple[bool, str] | None:
        """Return whether what was asked was taken, and what was said to it; ``None``: not yet."""
        try:
            said = json.loads(self.text(_answer_key(station, command)) or "null")
            return None if said is None else (bool(said["taken"]), str(said["told"]))
        except (ValueError, TypeError, KeyError):
            return None

    def text(self, key: str) -> str | None:
        """Return what is kept under a key of others of ours; ``None``: nothing."""
        return cast(str | None, self._kept({key: "string"}, lambda: self.client.get(key)))

    def amended(self, item: str) -> Mapping[str, Any] | None:
        """Return the protocol that an item has come under while it ran; ``None``: its own."""
        try:
            told = json.loads(self.text(f"{AMENDED}{item}") or "null")
        except ValueError:
            return None
        return told if isinstance(told, Mapping) else None

    def take(self, key: str) -> str | None:
        """Return what is kept under a key of others of ours, and forget it; ``None``: nothing."""
        return cast(str | None, self._kept({key: "string"}, lambda: self.client.getdel(key)))

    # -- what nobody can read

    def poisoned(self) -> list[dict[str, Any]]:
        """Return what was moved away, as {"at", "key", "why", "text"}, the oldest first."""
        kept = self._kept({POISONED: "list"}, lambda: self.client.lrange(POISONED, 0, -1))
        return list(filter(None, map(_entry, cast(list[str], kept))))

    def newly_poisoned(self, who: str) -> list[dict[str, Any]]:
        """Return what was moved away since ``who`` asked last: each entry once."""
        last = f"{_TOLD}:{who}"

        def taken() -> list[str]:
            import redis

            with self.client.pipeline() as pipe:
                try:
                    pipe.watch(POISONED, last)
                    newest, known = pipe.lindex(POISONED, -1), pipe.get(last)
                    if newest is None or newest == known:
                        return []
                    texts = cast(list[str], pipe.lrange(POISONED, 0, -1))
                    pipe.multi()
                    pipe.set(last, texts[-1])
                    pipe.execute()
                except redis.WatchError:
                    return []  # it is asked again
            if known in texts:
                return texts[len(texts) - texts[::-1].index(known) :]
            since = time.time() - _TOLD_WITHIN_S
            return [one for one in texts if (_entry(one) or {"at": 0.0})["at"] > since]

        texts = self._kept({POISONED: "list", last: "string"}, taken)
        return list(filter(None, map(_entry, texts)))

    def poison(self, key: str, text: str, why: str) -> None:
        """Move away what was found at ``key``, and remember when and why."""
        entry = {"at": time.time(), "key": key, "why": why, "text": text[:_POISONED_LENGTH]}

        def kept() -> None:
            pipe = self.client.pipeline()
            pipe.rpush(POISONED, json.dumps(entry))
            pipe.ltrim(POISONED, -_POISONED_KEPT, -1)
            pipe.execute()

        self._kept({POISONED: "list"}, kept)

    # -- reading and changing

    def _kept(self, kinds: Mapping[str, str], do: Callable[[], Got]) -> Got:
        """Return what ``do`` returns; which kind each key is to have that it reads is told.

        What is of another kind is moved away first: nobody could do anything with it ever after.
        """
        import redis

        with told():
            try:
                return do()
            except redis.ResponseError as error:
                if "WRONGTYPE" not in str(error):
                    raise
            for key, kind in kinds.items():
                self._put_aside(key, kind)
            return do()

    def _put_aside(self, key: str, wanted: str) -> None:
        """Move away what is of another kind than it should be, and make anew what can be."""
        import redis

        with told():
            kind = cast(str, self.client.type(key))
            if kind in (wanted, "none"):
                return
            try:
                self.client.rename(key, f"{POISONED}:{key}")
            except redis.ResponseError:
                return  # somebody else has
        self.poison(key, "", f"it is a {kind}, where a {wanted} is expected; it was renamed")
        if key.startswith(f"{_PREFIX}:records:"):
            self._list_anew(key.removeprefix(f"{_PREFIX}:records:"))
        elif key.startswith(f"{_PREFIX}:mounted:"):
            cell_id = key.removeprefix(f"{_PREFIX}:mounted:")
            where = next((x.station for x in self.mounts() if x.cell_id == cell_id), None)
            if where is not None:
                with told():
                    self.client.set(key, where, nx=True)

    def _list_anew(self, station: str) -> None:
        """Make the list of a station's records anew."""
        with told():
            keys = self.client.scan_iter(f"{_PREFIX}:record:*", count=1000)
            items = [key.removeprefix(f"{_PREFIX}:record:") for key in keys]
        own = [one for one in self.records_of(items) if one.station == station]
        own.sort(key=lambda one: one.began or one.ended or one.added or 0.0)
        if own:
            with told():
                key = f"{_PREFIX}:records:{station}"
                self.client.rpush(key, *(one.item for one in own))

    def _get(self, model: type[Model], key: str) -> Model | None:
        return self._read(model, key, self.text(key))

    def _read(
        self, model: type[Model], key: str, text: str | None, *, remove: bool = True
    ) -> Model | None:
        if text is None:
            return None
        try:
            return model.model_validate_json(text)
        except (ValidationError, ValueError) as error:
            self.poison(key, text, f"it is no {model.__name__}: {_short(error)}")
            if remove:
                with told():
                    self.client.delete(key)
            return None

    def _change(
        self, model: type[Model], key: str, changed: Callable[[Model | None], Model]
    ) -> Model:
        import redis

        self._get(model, key)  # moves away what cannot be read
        with told(), self.client.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(key)
                    text = cast(str | None, pipe.get(key))
                    after = changed(None if text is None else model.model_validate_json(text))
                    pipe.multi()
                    pipe.set(key, after.model_dump_json())
                    pipe.execute()
                except redis.WatchError:
                    continue
                return after


def _answer_key(station: str, command: Command) -> str:
    return f"{_PREFIX}:answered:{station}:{command.at!r}"


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raise what Redis did not do as a QueueError that says what to do."""
    import redis

    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise QueueError(
            f"Redis does not let us in ({error}): set the password, $OPERANDO_REDIS_PASSWORD"
        ) from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise QueueError(
            f"Redis, which keeps the queues, does not answer ({error}): operando station start "
            "starts it"
        ) from error
    except redis.RedisError as error:
        raise QueueError(f"Redis, which keeps the queues, refused: {error}") from error


def _entry(text: str) -> dict[str, Any] | None:
    """Return an entry of what was moved away; ``None``: it is none itself."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("at"), int | float):
        return None
    return found if all(isinstance(found.get(name), str) for name in ("key", "why")) else None


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return ".".join(map(str, first["loc"])) + f": {first['msg']}"
    return str(error)
