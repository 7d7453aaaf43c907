"""What people ask of the item that runs in a station, taken from Redis and handed to the run."""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from operando.queueing.errors import QueueError
from operando.queueing.model import Command
from operando.queueing.store import Store, told
from techniques.requests import Amend, Request, SkipStep, StopCell

if TYPE_CHECKING:
    import redis

    from operando.session import Session

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
_ANSWERS_WITHIN_S = 20.0
_KEPT_S = 600
_LOOK_KEPT_S = 3600


def answered_key(station: str, command: Command) -> str:
    """Return the key of the answer to a command: ``{"taken": bool, "told": str}``, as JSON."""
    return f"operando:answered:{station}:{command.at!r}"


def look_key(token: str) -> str:
    """Return the key of what a look at a cell has shown, as JSON of `operando.queueing.look`."""
    return f"operando:mounted_look:{token}"


class CommandTaker:
    """Looks twice a second for commands to a station, in a thread; survives that Redis is gone.

    Args:
        station: The station.
        session: Its session.
        connect: Makes a client of Redis.
    """

    def __init__(
        self, station: str, session: "Session", connect: "Callable[[], redis.Redis]"
    ) -> None:
        self._station = station
        self._session = session
        self._connect = connect
        self._store: Store | None = None
        self._using = threading.Lock()
        self._gone = False
        self._item: tuple[str, float] | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._look, name="commands", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10.0)

    def begin(self, item: str) -> None:
        """Hand on from now on what is asked of this item, which runs."""
        self._item = (item, time.time())

    def end(self) -> None:
        """Refuse what is asked from now on: nothing runs."""
        self._item = None

    def tell_look(self, token: str, text: str) -> None:
        """Tell who waits for it what a look at a cell has shown."""
        self._with_redis(lambda store: self._set(store, look_key(token), text, _LOOK_KEPT_S))

    def _look(self) -> None:
        while not self._closed.wait(LOOK_EVERY_S):
            while command := self._with_redis(lambda store: store.pop_command(self._station)):
                try:
                    self._take(command)
                except Exception:
                    # Whatever it is, the next command may be the one that ends the run.
                    logger.exception("the command %s of %s failed", command.do, command.by)

    def _take(self, command: Command) -> None:
        logger.info("%s asks for %s (item %s)", command.by, command.do, command.item or "any")
        running = self._item
        if running is None or (command.item is None and command.at < running[1]):
            self._answer(command, False, "nothing runs that it could be done with")
            return
        if command.item is not None and command.item != running[0]:
            self._answer(command, False, f"item {running[0][:8]} runs, not {command.item[:8]}")
            return
        if command.do == "abort":
            why = f"aborted by {command.by}" + (f": {command.text}" if command.text else "")
            self._session.abort(why)
            self._answer(command, True, "it is being ended, the cell is opened")
            return
        try:
            request = _request(command)
        except ValueError as error:
            self._answer(command, False, str(error))
            return
        pending = self._session.requests.put(request)
        # It may answer at the next row only, and another command may come meanwhile.
        threading.Thread(target=self._relay, args=(command, pending), daemon=True).start()

    def _relay(self, command: Command, pending: Any) -> None:
        from operando.session import RequestRefusedError

        try:
            self._answer(command, True, pending.answer(_ANSWERS_WITHIN_S))
        except RequestRefusedError as error:
            self._answer(command, False, str(error))
        except TimeoutError as error:
            self._answer(command, True, str(error))

    def _answer(self, command: Command, taken: bool, text: str) -> None:
        logger.info("%s of %s: %s", command.do, command.by, text)
        key = answered_key(self._station, command)
        answer = json.dumps({"taken": taken, "told": text})
        self._with_redis(lambda store: self._set(store, key, answer, _KEPT_S))

    @staticmethod
    def _set(store: Store, key: str, text: str, kept_s: int) -> None:
        with told():
            store.client.set(key, text, ex=kept_s)

    def _with_redis(self, do: "Callable[[Store], Any]") -> Any:
        """Return what ``do`` returns; ``None`` while Redis is gone, which is told once."""
        with self._using:
            try:
                if self._store is None:
                    self._store = Store(self._connect())
                found = do(self._store)
            except QueueError as error:
                if not self._gone:
                    logger.warning("station %s hears no commands: %s", self._station, error)
                self._gone, self._store = True, None
                return None
            self._gone = False
            return found


def _request(command: Command) -> Request:
    if command.do == "stop":
        return StopCell(by=command.by, why=command.text)
    if command.do == "skip_step":
        return SkipStep(by=command.by, why=command.text)
    from operando.configuration import mistakes
    from techniques import Protocol

    data = dict(command.protocol or {})
    try:
        protocol = Protocol.model_validate(data)
    except ValidationError as error:
        told_all = "; ".join(mistakes(Protocol, data, error))
        raise ValueError(f"not done, the protocol is wrong: {told_all}") from None
    return Amend(by=command.by, protocol=protocol, why=command.text)
