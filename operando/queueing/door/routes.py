"""The routes of ours: how the stations are, notes, and what is asked of a running station.

A door acts on its own station; what it tells is of all stations that share its Redis.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import Field

from operando.queueing.errors import QueueError
from techniques._base import Data

from .checks import resolved
from .keeper import Visitor

_LAST_RECORDS = 20
_Text = Annotated[str, Field(min_length=1, max_length=4000)]
_Short = Annotated[str, Field(min_length=1, max_length=200)]


class Note(Data):
    """What is noted in the log book."""

    text: _Text
    cell_id: _Short | None = None


class OneItem(Data):
    """An item, by its id or the beginning of it."""

    item: _Short


class Stop(Data):
    """End the experiment on this cell."""

    cell_id: _Short
    why: _Text


class Why(Data):
    """Why something is asked, for the record."""

    why: Annotated[str, Field(max_length=4000)] = ""


class Amend(Data):
    """A changed protocol for what runs: data, or a name in the configuration folder."""

    protocol: dict[str, Any] | str


def routes(data_dir: Path, station: str) -> APIRouter:
    """Return the routes of a station's door; the keeper has let in who asks."""
    router = APIRouter(prefix="/operando")

    def queue(request: Request) -> Any:
        from operando.queueing.queue import Queue

        return Queue(data_dir, by=_visitor(request).name)

    def done(what: Callable[[], object]) -> dict[str, Any]:
        try:
            what()
        except QueueError as error:
            raise HTTPException(409, str(error)) from error
        return {"success": True, "msg": ""}

    @router.get("/state")
    def state() -> dict[str, Any]:
        try:
            return state_of(data_dir, station)
        except QueueError as error:
            raise HTTPException(503, str(error)) from error

    @router.get("/notes")
    def notes(cell_id: str | None = None) -> dict[str, Any]:
        from operando import logbook

        return {"notes": [_plain(one) for one in logbook.notes(data_dir, cell_id=cell_id)[-1000:]]}

    @router.post("/note")
    def note(request: Request, given: Note) -> dict[str, Any]:
        from operando import logbook

        by = _visitor(request).name
        logbook.write_note(data_dir, given.text, by=by, station=station, cell_id=given.cell_id)
        return {"success": True, "msg": ""}

    @router.post("/hold")
    def hold(request: Request, given: OneItem) -> dict[str, Any]:
        return done(lambda: queue(request).hold(given.item))

    @router.post("/release")
    def release(request: Request, given: OneItem) -> dict[str, Any]:
        return done(lambda: queue(request).release(given.item))

    @router.post("/pause")
    def pause(request: Request) -> dict[str, Any]:
        return done(lambda: queue(request).pause(station))

    @router.post("/resume")
    def resume(request: Request) -> dict[str, Any]:
        return done(lambda: queue(request).resume(station))

    @router.post("/abort")
    def abort(request: Request) -> dict[str, Any]:
        return done(lambda: queue(request).abort(station))

    @router.post("/skip-step")
    def skip_step(request: Request) -> dict[str, Any]:
        return done(lambda: queue(request).skip_step(station))

    @router.post("/stop")
    def stop(request: Request, given: Stop) -> dict[str, Any]:
        _expect_here(data_dir, station, given.cell_id)
        return done(lambda: queue(request).stop(given.cell_id, given.why))

    @router.post("/amend")
    def amend(request: Request, given: Amend) -> dict[str, Any]:
        try:
            protocol = resolved("protocol", given.protocol)
        except QueueError as error:
            raise HTTPException(422, str(error)) from error
        return done(lambda: queue(request).amend(station, protocol))

    return router


def state_of(data_dir: Path, station: str) -> dict[str, Any]:
    """Return how all stations are, and what became of their items.

    For each: its state, the cell that is mounted, what waits there (of the door's own station), the
    last records, and how many items ended how.

    Raises:
        QueueError: Redis is gone.
    """
    from operando import configuration
    from operando.queueing import _redis
    from operando.queueing.managers import Manager
    from operando.queueing.store import Store

    client = _redis.client(_redis.address(data_dir, configuration.load_stations()))
    try:
        store = Store(client)
        mounts = {mount.station: mount for mount in store.mounts()}
        states = {state.name: state for state in store.stations()}
        told = []
        for name in sorted({*states, *mounts, station}):
            records = store.records(name)
            mount, state = mounts.get(name), states.get(name)
            told.append(
                {
                    "station": name,
                    "state": None if state is None else _plain(state),
                    "mount": None if mount is None else _plain(mount, "sample", "expected"),
                    "ledger": dict(Counter(record.state for record in records)),
                    "records": [_plain(one, "kwargs") for one in records[-_LAST_RECORDS:]],
                }
            )
    finally:
        client.close()
    try:
        waiting: list[dict[str, Any]] | None = [
            _waiting(item) for item in Manager(data_dir, station).items()
        ]
        why = ""
    except QueueError as error:
        waiting, why = None, str(error)
    return {"door_of": station, "stations": told, "waiting": waiting, "why": why}


def _waiting(item: dict[str, Any]) -> dict[str, Any]:
    kwargs = item.get("kwargs") or {}
    shown = {
        key: kwargs.get(key) for key in ("at", "after", "priority", "hold", "label", "campaign")
    }
    return {
        "item": item.get("item_uid"),
        "by": item.get("user"),
        "protocol": (kwargs.get("protocol") or {}).get("name"),
        "cell_id": (kwargs.get("sample") or {}).get("cell_id"),
        **shown,
    }


def _expect_here(data_dir: Path, station: str, cell_id: str) -> None:
    from operando import configuration
    from operando.queueing import _redis
    from operando.queueing.store import Store

    try:
        client = _redis.client(_redis.address(data_dir, configuration.load_stations()))
        try:
            where = Store(client).mounted_at(cell_id)
        finally:
            client.close()
    except QueueError as error:
        raise HTTPException(503, str(error)) from error
    if where != station:
        there = f"in {where}: ask its door" if where else "mounted nowhere"
        raise HTTPException(404, f"this is the door of {station}; {cell_id} is {there}")


def _visitor(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


def _plain(one: Data, *without: str) -> dict[str, Any]:
    return one.model_dump(mode="json", exclude=set(without))
