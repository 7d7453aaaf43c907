"""The routes of ours: how the stations are, notes, and what is asked of a running station.

A door acts on its own station; what it tells is of all stations that share its Redis. The keeper
has let in who asks.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import Field

from operando.configuration import ConfigurationError
from operando.logbook import NoteError, notes
from operando.queueing.errors import QueueError
from operando.queueing.model import Command
from operando.queueing.noting import note
from operando.queueing.queue import Queue
from techniques._base import Data

from .behind import Behind
from .checks import expect_owner, resolved
from .keeper import Visitor
from .refusals import RefusedError

_Text = Annotated[str, Field(min_length=1, max_length=4000)]
_Why = Annotated[str, Field(max_length=4000)]
_LAST_NOTES = 1000
_Short = Annotated[str, Field(min_length=1, max_length=200)]
# How long an answer of the worker is waited for, s.
_Wait = Annotated[float, Field(ge=0, le=30)]


class Note(Data):
    """What is noted in the log book."""

    text: _Text
    cell_id: _Short | None = None


class OneItem(Data):
    """A pending item."""

    item: _Short


class Several(Data):
    """Pending items, as bluesky-httpserver asks for them."""

    uids: Annotated[tuple[_Short, ...], Field(max_length=200)]


class One(Data):
    """A pending item, as bluesky-httpserver asks for it."""

    uid: _Short


class Why(Data):
    """Why something is asked, for the record."""

    why: _Why = ""
    wait_s: _Wait = 0.0


class Stop(Data):
    """End the experiment on this cell."""

    cell_id: _Short
    why: _Text
    wait_s: _Wait = 0.0


class Amend(Data):
    """A changed protocol for what runs: data, or a name in the configuration folder."""

    protocol: dict[str, Any] | str
    why: _Why = ""
    wait_s: _Wait = 0.0


def routes(behind: Behind) -> APIRouter:
    """Return the routes of a station's door."""
    router = APIRouter()
    station = behind.station
    queue = Queue(behind.data_dir)

    def done(what: Callable[[], object], wait_s: float = 0.0) -> dict[str, Any]:
        with _told():
            asked = what()
            said = ""
            if isinstance(asked, Command):
                said = "asked; the station does it within a second if it can"
                if wait_s:
                    said = queue.answer(station, asked, wait_s)
        return {"success": True, "msg": said}

    def own(request: Request, uid: str) -> dict[str, Any]:
        """Return a pending item that who asks may change."""
        with _told():
            item = behind.pending_item(uid)
            expect_owner(item, _visitor(request))
        return item

    @router.get("/operando/state")
    def state() -> dict[str, Any]:
        with _told(503):
            return behind.state()

    @router.get("/operando/notes")
    def last_notes(cell_id: str | None = None) -> dict[str, Any]:
        with _told():
            found = notes(behind.data_dir, cell_id=cell_id)[-_LAST_NOTES:]
        return {"notes": [one.model_dump(mode="json") for one in found]}

    @router.post("/operando/note")
    def write_note(request: Request, given: Note) -> dict[str, Any]:
        by = _visitor(request).name
        with _told():
            note(behind.data_dir, given.text, by=by, station=station, cell_id=given.cell_id)
        return {"success": True, "msg": "noted"}

    # Removed by ours, which keep in the record what was removed.
    @router.post("/api/queue/item/remove")
    def remove(request: Request, given: One) -> dict[str, Any]:
        item = own(request, given.uid)
        return done(lambda: queue.remove(given.uid, by=_visitor(request).name)) | {"item": item}

    @router.post("/api/queue/item/remove/batch")
    def remove_batch(request: Request, given: Several) -> dict[str, Any]:
        by = _visitor(request).name
        items = [own(request, uid) for uid in given.uids]

        def remove_all() -> None:
            for uid in given.uids:
                queue.remove(uid, by=by)

        return done(remove_all) | {"items": items}

    @router.post("/operando/hold")
    def hold(request: Request, given: OneItem) -> dict[str, Any]:
        own(request, given.item)
        return done(lambda: queue.hold(given.item))

    @router.post("/operando/release")
    def release(request: Request, given: OneItem) -> dict[str, Any]:
        own(request, given.item)
        return done(lambda: queue.release(given.item))

    @router.post("/operando/pause")
    def pause(request: Request, given: Why) -> dict[str, Any]:
        return done(lambda: queue.pause(station, given.why, by=_visitor(request).name))

    @router.post("/operando/resume")
    def resume(request: Request) -> dict[str, Any]:
        return done(lambda: queue.resume(station))

    @router.post("/operando/abort")
    def abort(request: Request, given: Why) -> dict[str, Any]:
        by = _visitor(request).name
        return done(lambda: queue.abort(station, given.why, by=by), given.wait_s)

    @router.post("/operando/skip-step")
    def skip_step(request: Request, given: Why) -> dict[str, Any]:
        return done(lambda: queue.skip_step(station, by=_visitor(request).name), given.wait_s)

    @router.post("/operando/stop")
    def stop(request: Request, given: Stop) -> dict[str, Any]:
        by = _visitor(request).name
        with _told():
            behind.expect_here(given.cell_id)
        return done(lambda: queue.stop(given.cell_id, given.why, by=by), given.wait_s)

    @router.post("/operando/amend")
    def amend(request: Request, given: Amend) -> dict[str, Any]:
        by = _visitor(request).name
        with _told(422):
            protocol: Any = resolved("protocol", given.protocol)
        return done(lambda: queue.amend(station, protocol, given.why, by=by), given.wait_s)

    return router


class _told:  # noqa: N801 - reads as a word of the language
    """Tell what cannot be done as an answer of HTTP: 409, if nothing else fits."""

    def __init__(self, status: int = 409) -> None:
        self._status = status

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RefusedError):
            raise HTTPException(error.status, str(error)) from error
        if isinstance(error, QueueError | ConfigurationError | NoteError):
            raise HTTPException(self._status, str(error)) from error


def _visitor(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor
