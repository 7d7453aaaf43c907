"""What people ask of the item that runs in a station, taken from Redis and handed to the run."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from operando.queueing._amended import keep_amended
from operando.queueing.errors import QueueError
from operando.queueing.model import Command, why_aborted
from operando.queueing.store import Store, told
from techniques.requests import Amend, Request, SkipStep, StopCell

if TYPE_CHECKING:
    import redis

    from operando.session import Session

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
_ANSWERS_WITHIN_S = 20.0
_UNDER_WAY = ("starting", "running")
# Who wants an item to end is heard again if it goes on for so long all the same.
_HEARD_AGAIN_S, _REFUSED_AGAIN_S = 30.0, 2.0
_LOOK_KEPT_S = 3600


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
        self._waiting: list[Command] = []
        self._ending: tuple[str, float, float] | None = None
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
        """Hand on nothing more: nothing runs. That an item is to end its supervisor sees to."""
        self._item = None
        self._ending = None

    def tell_look(self, token: str, text: str) -> None:
        """Tell who waits for it what a look at a cell has shown."""
        self._with_redis(lambda store: self._set(store, look_key(token), text, _LOOK_KEPT_S))

    def _look(self) -> None:
        while not self._closed.wait(LOOK_EVERY_S):
            left, self._waiting = self._waiting, []
            for command in left:
                self._try(command)
            while command := self._with_redis(lambda store: store.pop_command(self._station)):
                logger.info("%s asks for %s (%s)", command.by, command.do, command.item or "any")
                self._try(command)
            if (running := self._item) is not None:
                wish = self._wish(running[0])
                if wish is not None:
                    self._try(wish)

    def _try(self, command: Command) -> None:
        try:
            self._take(command)
        except Exception:
            # Whatever it is, the next command may be the one that ends the run.
            logger.exception("the command %s of %s failed", command.do, command.by)

    def _take(self, command: Command) -> None:
        running = self._item
        if running is None or (command.item is None and command.at < running[1]):
            if not self._left_for_later(command):
                self._answer(command, False, "nothing runs that it could be done with")
            return
        if command.item is not None and command.item != running[0]:
            if not self._left_for_later(command):
                self._answer(command, False, f"item {running[0][:8]} runs, not {command.item[:8]}")
            return
        if command.do in ("stop", "abort"):
            now, before = time.monotonic(), self._ending
            same = before is not None and before[:2] == (command.do, command.at)
            if before is not None and same and now - before[2] < _HEARD_AGAIN_S:
                return
            self._ending = command.do, command.at, now
        if command.do == "abort":
            self._session.abort(why_aborted(command.by, command.text))
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

    def _left_for_later(self, command: Command) -> bool:
        """Return whether a command is done later: its item is between two workers, or held."""
        item = command.item
        if item is None:
            return False
        if command.do in ("stop", "abort"):
            # It is kept, and whoever drives the item next, or its supervisor, ends it.
            return self._wish(item) is not None
        record = self._with_redis(lambda store: store.record(item))
        later = self._item is None and record is not None and record.state in _UNDER_WAY
        if later:
            self._waiting.append(command)
        return later

    def _wish(self, item: str) -> Command | None:
        found = self._with_redis(lambda store: store.wish(self._station, item))
        return found if isinstance(found, Command) else None

    def _relay(self, command: Command, pending: Any) -> None:
        from operando.session import RequestRefusedError

        try:
            said = pending.answer(_ANSWERS_WITHIN_S)
            if command.do == "amend" and command.item is not None:
                amended = command.item, command.protocol or {}
                self._with_redis(lambda store: keep_amended(store, *amended))
            self._answer(command, True, said)
        except RequestRefusedError as error:
            item = command.item
            if command.do == "stop" and item is not None and self._wish(item):
                # No run has begun yet, or none any more: it is asked for again.
                again = time.monotonic() - _HEARD_AGAIN_S + _REFUSED_AGAIN_S
                self._ending = command.do, command.at, again
                return
            self._answer(command, False, str(error))
        except TimeoutError as error:
            self._answer(command, True, str(error))

    def _answer(self, command: Command, taken: bool, text: str) -> None:
        logger.info("%s of %s: %s", command.do, command.by, text)
        self._with_redis(lambda store: store.answer(self._station, command, text, taken=taken))

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
