"""What comes along with a request to the queue, looked at before the queue sees it."""

import asyncio
import difflib
from collections.abc import Mapping
from typing import Any, Literal

from operando.queueing.errors import QueueError

from .behind import Behind
from .keeper import Visitor
from .refusals import RefusedError
from .rules import Check

PLAN = "run_protocol"
MOST_AT_ONCE = 200

_KWARGS = frozenset("protocol sample at after priority hold on_death label campaign ticket".split())
# What a client that read an item sends back with it; the manager writes these itself.
_OF_THE_MANAGER = frozenset(("user", "user_group", "item_uid", "result", "properties"))
_ITEM = frozenset(("item_type", "name", "args", "kwargs", "meta")) | _OF_THE_MANAGER


class Checks:
    """The checks of one station's door."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    async def __call__(
        self, check: Check, visitor: Visitor, given: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the body that is handed on: nothing in it but what was looked at.

        Raises:
            RefusedError: something is wrong with it, or an item is somebody else's.
        """
        match check:
            case "add":
                _only(given, {"item", *_PLACE, *_WRITTEN})
                item = await self._item(given.get("item"), "item")
                return {"item": item, **_place(given)}
            case "add_batch":
                _only(given, {"items", *_PLACE, *_WRITTEN})
                return {"items": await self._items(given.get("items")), **_place(given)}
            case "update":
                _only(given, {"item", "replace", *_WRITTEN})
                return await self._update(given, visitor)
            case "move":
                _only(given, {"uid", *_PLACES})
                uid = await self._own(given.get("uid"), visitor)
                return {"uid": uid, **_place(given, _PLACES)}
            case "move_batch":
                _only(given, {"uids", "reorder", *_PLACES})
                uids = await self._own_ones(given.get("uids"), visitor)
                reorder = given.get("reorder") is True
                return {"uids": uids, "reorder": reorder, **_place(given, _PLACES)}

    async def _update(self, given: Mapping[str, Any], visitor: Visitor) -> Mapping[str, Any]:
        if given.get("replace"):
            raise RefusedError(
                422,
                "an item keeps its id when it is changed, for others may wait for it: leave out "
                "`replace`, or remove the item and add another",
            )
        item = given.get("item")
        uid = item.get("item_uid") if isinstance(item, dict) else None
        if uid is None:
            raise RefusedError(422, "which item? item.item_uid is missing")
        uid = await self._own(uid, visitor)
        return {"item": {**await self._item(item, "item"), "item_uid": uid}}

    async def _items(self, items: object) -> list[dict[str, Any]]:
        if not isinstance(items, list) or not items:
            raise RefusedError(422, "items is no list of items")
        if len(items) > MOST_AT_ONCE:
            raise RefusedError(422, f"{len(items)} items at once: up to {MOST_AT_ONCE}")
        return [await self._item(item, f"items[{n}]") for n, item in enumerate(items)]

    async def _item(self, item: object, where: str) -> dict[str, Any]:
        kwargs = _kwargs_of(item, where)
        # It reads files and looks at every step: meanwhile others are served.
        checked = await asyncio.to_thread(self._validated, kwargs, where)
        return {"item_type": "plan", "name": PLAN, "kwargs": checked}

    def _validated(self, kwargs: Mapping[str, Any], where: str) -> dict[str, Any]:
        from operando.configuration import ConfigurationError
        from operando.queueing.items import as_data, told_time, validated

        try:
            full = {
                **kwargs,
                "protocol": resolved("protocol", kwargs.get("protocol")),
                "sample": resolved("cell", kwargs.get("sample")),
            }
            protocol, cell = validated(full, self._behind.bench, adding=True)
            self._behind.check_cell(cell.cell_id)
            if full.get("after"):
                self._behind.check_after(str(full["after"]))
            # Without an offset it is the station's time.
            at = {"at": told_time(str(full["at"]))} if full.get("at") else {}
        except (QueueError, ConfigurationError) as error:
            raise RefusedError(422, f"{where}: {error}") from error
        full = {**full, **at, "protocol": as_data(protocol), "sample": as_data(cell)}
        # What is as it is by default is not kept, as of items that are added otherwise.
        return {key: value for key, value in full.items() if value not in ("", 0, False)}

    async def _own(self, uid: object, visitor: Visitor) -> str:
        if not isinstance(uid, str) or not 0 < len(uid) <= 100:
            raise RefusedError(422, "uid is no id of an item (positions change while one asks)")
        try:
            item = await asyncio.to_thread(self._behind.pending_item, uid)
        except QueueError as error:
            raise RefusedError(503, str(error)) from error
        expect_owner(item, visitor)
        return uid

    async def _own_ones(self, uids: object, visitor: Visitor) -> list[str]:
        if not isinstance(uids, list) or len(uids) > MOST_AT_ONCE:
            raise RefusedError(422, f"uids is no list of up to {MOST_AT_ONCE} ids of items")
        return [await self._own(uid, visitor) for uid in uids]


def expect_owner(item: Mapping[str, Any], visitor: Visitor) -> None:
    """Refuse to change what somebody else added, but to an admin.

    Raises:
        RefusedError: it is somebody else's.
    """
    owner = item.get("user")
    if owner != visitor.name and "write:others" not in visitor.scopes:
        raise RefusedError(
            403, f"item {item['item_uid'][:8]} is {owner or 'nobody'}'s: ask them, or an admin"
        )


def resolved(kind: Literal["protocol", "cell"], value: object) -> object:
    """Return the data of a protocol or cell of the configuration folder, if it is named.

    A path is refused: the door reads no file that somebody names.

    Raises:
        QueueError: there is none of that name, or its file will not do.
    """
    from operando import configuration
    from operando.queueing.items import as_data
    from operando.settings import config_dir

    if not isinstance(value, str):
        return value
    known = configuration.names(kind)
    if value not in known:
        close = difflib.get_close_matches(value[:64], known, n=1, cutoff=0.5)
        raise QueueError(
            f"no {kind} is called {value[:64]!r} in the configuration of the station's computer "
            + (f"(did you mean {close[0]}?)" if close else f"(there are: {', '.join(known)})")
            + "; or send it as data"
        )
    # A file of that name in the working folder is none of the configuration.
    if kind == "cell":
        return as_data(configuration.load_cell(config_dir() / "cells" / f"{value}.yaml"))
    return as_data(configuration.load_protocol(config_dir() / "protocols" / f"{value}.yaml"))


_WRITTEN = ("user", "user_group")
_PLACE = ("pos", "before_uid", "after_uid")
_PLACES = ("pos_dest", "before_uid", "after_uid")


def _place(given: Mapping[str, Any], keys: tuple[str, ...] = _PLACE) -> dict[str, Any]:
    place = {key: given[key] for key in keys if given.get(key) is not None}
    for key, value in place.items():
        if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > 100:
            raise RefusedError(422, f"{key} is no place in the queue")
    return place


def _only(given: Mapping[str, Any], known: set[str], where: str = "") -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise RefusedError(
            422,
            f"{where}{': ' * bool(where)}unknown: {', '.join(key[:64] for key in unknown[:5])} "
            f"(known: {', '.join(sorted(known - set(_WRITTEN)))})",
        )


def _kwargs_of(item: object, where: str) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise RefusedError(422, f"{where} is no item: an object with item_type, name and kwargs")
    _only(item, set(_ITEM), where)
    if item.get("item_type") != "plan":
        raise RefusedError(422, f"{where}.item_type is not plan: instructions are not queued here")
    name = item.get("name")
    if name != PLAN:
        raise RefusedError(
            422, f"{where}.name: there is no plan {str(name)[:64]!r} for the queue; it is {PLAN}"
        )
    if item.get("args"):
        raise RefusedError(422, f"{where}.args: give the arguments by name, in kwargs")
    kwargs = item.get("kwargs")
    if not isinstance(kwargs, dict):
        raise RefusedError(422, f"{where}.kwargs is no object: protocol and sample are needed")
    _only(kwargs, set(_KWARGS), f"{where}.kwargs")
    if kwargs.get("ticket"):
        raise RefusedError(
            422, f"{where}.kwargs.ticket is the supervisor's, which starts items: leave it out"
        )
    return {key: value for key, value in kwargs.items() if key != "ticket"}
