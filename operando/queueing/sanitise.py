"""What nobody can read in a station's queue is moved away: the queue server breaks at it."""

import json
from typing import TYPE_CHECKING, Any, cast

from operando.queueing.store import Store, manager_prefix, told

if TYPE_CHECKING:
    from operando.queueing.managers import Manager

# The keys of a queue server: lists, and single entries; each single one is JSON of an object.
_LISTS = ("plan_queue", "plan_history")
_SINGLE = (
    "running_plan",
    "plan_queue_mode",
    "user_group_permissions",
    "lock_info",
    "autostart_mode_info",
    "stop_pending_info",
)
KEYS = (*_LISTS, *_SINGLE)


def sanitise(store: Store, station: str) -> list[str]:
    """Move what is no item out of a station's lists; return what was moved, in words.

    What was moved lies in ``store.poisoned()``, with the time and why. Raises QueueError if Redis
    is gone.
    """
    moved: list[str] = []
    client, prefix = store.client, manager_prefix(station)
    with told():
        for name in KEYS:
            key = f"{prefix}_{name}"
            kind = cast(str, client.type(key))
            wanted = "list" if name in _LISTS else "string"
            if kind not in (wanted, "none"):
                client.rename(key, f"operando:poisoned:{key}")
                why = f"it is a {kind}, where a {wanted} is expected; it was renamed"
                store.poison(key, "", why)
                moved.append(f"{name}: {why}")
    for name in _LISTS:
        key = f"{prefix}_{name}"
        seen: set[str] = set()
        with told():
            texts = cast(list[str], client.lrange(key, 0, -1))
        for text in texts:
            why = _what_is_wrong(text, seen if name == "plan_queue" else set())
            if why:
                # First kept, then taken away: a death in between loses nothing.
                store.poison(key, text, why)
                with told():
                    # Of two that are alike the first one stays.
                    raw = cast(str, text.encode("utf-8", "surrogateescape"))
                    client.lrem(key, -1 if "twice" in why else 1, raw)
                moved.append(f"{name}: {why}")
    for name in _SINGLE:
        key = f"{prefix}_{name}"
        with told():
            single = cast(str | None, client.get(key))
        if single is not None and not isinstance(_parsed(single), dict):
            store.poison(key, single, "it is no JSON object")
            with told():
                client.delete(key)
            moved.append(f"{name}: it is no JSON object")
    return moved


def drop(store: Store, station: str, item: str) -> None:
    """Take an item out of the queue in Redis, of which its queue server does not know.

    Raises QueueError if Redis is gone.
    """
    key = f"{manager_prefix(station)}_plan_queue"
    with told():
        for text in cast(list[str], store.client.lrange(key, 0, -1)):
            found = _parsed(text)
            if isinstance(found, dict) and found.get("item_uid") == item:
                store.client.lrem(key, 1, text)


def adopt(store: Store, manager: "Manager") -> dict[str, str]:
    """Have a queue server add again what is in its queue without it knowing; return new ids by old.

    Its Redis died after it had kept an item, and before it had said so. To be called when that was
    started again. Raises QueueError if Redis or the queue server is gone.
    """
    new: dict[str, str] = {}
    key = f"{manager_prefix(manager.station)}_plan_queue"
    for place, item in enumerate(pending(store, manager.station)):
        if not manager.knows(item["item_uid"]):
            text = json.dumps(item)
            store.poison(key, text, "the queue server did not know it; it was added again")
            with told():
                store.client.lrem(key, 1, text)
            if store.record(item["item_uid"]) is not None:
                continue  # it has begun, and is not begun again under another id
            who, group = str(item.get("user", "")), str(item.get("user_group", "primary"))
            new[item["item_uid"]] = manager.add(item.get("kwargs", {}), who, group, place)
    return new


def pending(store: Store, station: str) -> list[dict[str, Any]]:
    """Return the items in a station's queue, whether its manager runs or not, the first first.

    What nobody can read is left out. Raises QueueError if Redis is gone.
    """
    key = f"{manager_prefix(station)}_plan_queue"
    with told():
        if store.client.type(key) != "list":
            return []
        texts = cast(list[str], store.client.lrange(key, 0, -1))
    seen: set[str] = set()
    return [json.loads(text) for text in texts if not _what_is_wrong(text, seen)]


def _what_is_wrong(text: str, seen: set[str]) -> str:
    """Return why an entry is no item of a queue; an empty text: it is one. Notes it as seen."""
    item = _parsed(text)
    if not isinstance(item, dict):
        return "it is no JSON object"
    uid = item.get("item_uid")
    if not isinstance(uid, str) or not uid:
        return "it has no item_uid"
    if uid in seen:
        return "its item_uid is there twice"
    seen.add(uid)
    if json.dumps(item) != text:
        # The manager finds an item by its text, and would never get rid of this one.
        return "it was not written by the queue server"
    return ""


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
