"""What stands before bluesky-httpserver: who asks, whether it may, and what it sends along."""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from operando.harmless import one_line, printable
from operando.queueing.errors import QueueError

from .refusals import RefusedError
from .rules import LOGIN, OPEN, Check, Rule, why_closed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# A day at ten rows a second is no protocol: those are some kilobytes.
LONGEST_BODY = 2_000_000
_BODY_WITHIN_S = 30.0
_LOGINS, _LOGINS_OF_ONE, _WITHIN_S = 30, 5, 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Visitor:
    """Who asks: the name, and what role and key allow."""

    name: str
    scopes: frozenset[str]


Identify = Callable[[Scope], Awaitable[Visitor]]
CheckBody = Callable[[Check, Visitor, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Keeper:
    """An ASGI application around another, which sees only what is allowed.

    Args:
        app: What is behind the door.
        identify: Who asks; raises `RefusedError` if nobody known does.
        check_body: Looks at what is sent along; returns what is handed on; or raises that.
        note: Is told in a line of each request that changes something, or would have: from where,
            who, what, and the status of the answer.
    """

    def __init__(
        self,
        app: App,
        *,
        identify: Identify,
        check_body: CheckBody,
        note: Callable[[str], object] = _log.info,
    ) -> None:
        self._app = app
        self._identify = identify
        self._check_body = check_body
        self._note = note
        self._logins = Logins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            # That of bluesky-httpserver takes the scopes that it demands from the caller.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        visitors: list[Visitor] = []
        try:
            await self._answered(scope, receive, answer, visitors)
        except RefusedError as refused:
            await _refuse(answer, refused)
        except TimeoutError:
            late = "the request did not come as a whole in time"
            await _refuse(answer, RefusedError(408, late))
        except QueueError as error:
            await _refuse(answer, RefusedError(503, str(error)))
        except Exception as error:
            # Of bluesky-httpserver, at what it did not expect; the visitor was told, or is now.
            _log.error("%s %s failed: %s", scope["method"], printable(scope["path"]), _named(error))
            await _refuse(answer, RefusedError(500, "the door failed at this request"))
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            who = visitors[0].name if visitors else "-"
            path = one_line(printable(scope["path"][:200]))
            self._note(f"{_address(scope) or '-'} {who} {scope['method']} {path} {answer.status}")

    async def _answered(
        self, scope: Scope, receive: Receive, answer: "_Answer", visitors: list[Visitor]
    ) -> None:
        rule = await self._admitted(scope, visitors)
        visitor = visitors[0] if visitors else None
        body = await asyncio.wait_for(_whole_body(receive), _BODY_WITHIN_S)
        if rule.check is not None and visitor is not None:
            checked = await self._check_body(rule.check, visitor, _json_object(body))
            body = json.dumps(checked).encode()
        headers = [(name, value) for name, value in scope["headers"] if name not in _REPLACED]
        headers.append((b"content-length", str(len(body)).encode()))
        state = {**scope.get("state", {}), "visitor": visitor}
        inner = {**scope, "headers": headers, "state": state}
        await self._app(inner, _replayed(body, receive), answer)

    async def _admitted(self, scope: Scope, visitors: list[Visitor]) -> Rule:
        method, path = scope["method"], scope["path"]
        if "api_key" in parse_qs(scope.get("query_string", b"").decode("latin-1"), True):
            raise RefusedError(
                400,
                "a key in an address stands in logs and histories from then on: make a new one "
                "(`operando door key`), and send it in the header Authorization: ApiKey KEY",
            )
        rule = OPEN.get((method, path))
        if rule is not None and rule.keyless:
            if path == LOGIN:
                self._logins.count(_address(scope))
            return rule
        visitor = await self._identify(scope)
        visitors.append(visitor)
        if rule is None:
            advice = why_closed(method, path)
            if advice is None:
                raise RefusedError(404, f"the door knows no {method} {printable(path)}")
            raise RefusedError(403, f"{method} {printable(path)} is closed: {advice}")
        if rule.scope is not None and rule.scope not in visitor.scopes:
            raise RefusedError(
                403,
                f"{visitor.name} may not {method} {path}: neither role nor key gives {rule.scope} "
                "(roles: `operando door users list`, on the station's computer)",
            )
        return rule


class Logins:
    """Counts attempts to log in: trying passwords costs this computer time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: deque[tuple[float, str]] = deque()

    def count(self, address: str) -> None:
        """Count an attempt.

        Raises:
            RefusedError: there were too many within a minute, from there or in all.
        """
        now = self._clock()
        while self._tries and self._tries[0][0] <= now - _WITHIN_S:
            self._tries.popleft()
        of_one = sum(1 for _, other in self._tries if other == address)
        if len(self._tries) >= _LOGINS or of_one >= _LOGINS_OF_ONE:
            wait = max(1, round(self._tries[0][0] + _WITHIN_S - now))
            raise RefusedError(
                429, f"too many attempts to log in: again in {wait} s", {"retry-after": str(wait)}
            )
        self._tries.append((now, address))


# Keys in cookies would let other pages of a browser use them.
_REPLACED = frozenset((b"content-length", b"transfer-encoding", b"cookie"))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise RefusedError(400, "the request was broken off")
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > LONGEST_BODY:
            raise RefusedError(413, f"the request is above {LONGEST_BODY} bytes: no protocol is")
        if not message.get("more_body"):
            return b"".join(parts)


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(body or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RefusedError(422, f"the body is no JSON: {str(error)[:200]}") from error
    if not isinstance(given, dict):
        raise RefusedError(422, "the body is no JSON object")
    return given


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class _Answer:
    """Sends an answer on, with what keeps it out of caches and other pages."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kept = [pair for pair in message["headers"] if pair[0].lower() not in _NOT_SENT]
            message = {**message, "headers": kept + _SAFE}
        await self._send(message)


def _named(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


_NOT_SENT = frozenset((b"set-cookie", b"server-timing", b"access-control-allow-credentials"))
_SAFE = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


async def _refuse(answer: _Answer, refused: RefusedError) -> None:
    if answer.status is not None:
        return
    body = json.dumps({"detail": printable(str(refused))}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    await answer({"type": "http.response.start", "status": refused.status, "headers": headers})
    await answer({"type": "http.response.body", "body": body})
