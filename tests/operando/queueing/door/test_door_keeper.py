"""What stands before bluesky-httpserver: driven by HTTP, in this process."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.queueing.door.keeper import (
    LONGEST_BODY,
    Keeper,
    Logins,
    Message,
    Receive,
    Scope,
    Send,
    Visitor,
)
from operando.queueing.door.refusals import RefusedError
from operando.queueing.door.rules import LOGIN, OPEN, Check
from operando.queueing.door.users import SCOPES
from operando.queueing.errors import QueueError

_ROLES: Mapping[str, Visitor] = {
    role: Visitor(f"the-{role}", scopes) for role, scopes in SCOPES.items()
}


class Behind:
    """An application that remembers what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes, list[bytes]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        names = [name for name, _ in scope["headers"]]
        self.asked.append((scope["method"], scope["path"], body, names))
        cookie = [(b"set-cookie", b"key=1")]
        await send({"type": "http.response.start", "status": 200, "headers": cookie})
        await send({"type": "http.response.body", "body": b"{}"})


async def _identify(scope: Scope) -> Visitor:
    key = dict(scope["headers"]).get(b"authorization", b"").decode()
    if key not in _ROLES:
        raise RefusedError(401, "who are you?")
    return _ROLES[key]


async def _check_body(
    check: Check, visitor: Visitor, given: Mapping[str, Any]
) -> Mapping[str, Any]:
    return {"checked": check, "by": visitor.name, **given}


def _ask(
    method: str, path: str, role: str | None = None, **more: Any
) -> tuple[httpx.Response, Behind]:
    behind = Behind()
    keeper = Keeper(behind, identify=_identify, check_body=_check_body)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(keeper)
        headers = {**more.pop("headers", {}), **({"authorization": role} if role else {})}
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(ask()), behind


def test_nothing_is_told_without_a_key() -> None:
    for path in (
        "/",
        "/docs",
        "/openapi.json",
        "/redoc",
        "/api/status",
        "/api/nothing",
        "/metrics",
    ):
        answer, behind = _ask("GET", path)
        assert answer.status_code == 401
        assert not behind.asked


CODE = [
    ("POST", "/api/queue/item/execute"),
    ("POST", "/api/script/upload"),
    ("POST", "/api/function/execute"),
    ("POST", "/api/environment/open"),
    ("POST", "/api/environment/close"),
    ("POST", "/api/environment/destroy"),
    ("POST", "/api/environment/update"),
    ("POST", "/api/queue/start"),
    ("POST", "/api/queue/stop"),
    ("POST", "/api/queue/clear"),
    ("POST", "/api/queue/autostart"),
    ("POST", "/api/queue/mode/set"),
    ("POST", "/api/queue/upload/spreadsheet"),
    ("POST", "/api/history/clear"),
    ("POST", "/api/re/pause"),
    ("POST", "/api/re/resume"),
    ("POST", "/api/re/stop"),
    ("POST", "/api/re/abort"),
    ("POST", "/api/re/halt"),
    ("POST", "/api/lock"),
    ("POST", "/api/unlock"),
    ("POST", "/api/permissions/set"),
    ("POST", "/api/permissions/reload"),
    ("POST", "/api/manager/stop"),
    ("POST", "/api/kernel/interrupt"),
    ("POST", "/api/test/manager/kill"),
    ("GET", "/api/test/server/sleep"),
    ("POST", "/api/auth/apikey"),
    ("GET", "/api/auth/principal"),
    ("GET", "/api/stream_console_output"),
    ("GET", "/api/task/result"),
]


@pytest.mark.parametrize(("method", "path"), CODE)
def test_code_environment_and_lock_are_closed_to_an_admin_too(method: str, path: str) -> None:
    answer, behind = _ask(method, path, "admin")
    assert answer.status_code == 403
    assert f"{method} {path} is closed: " in answer.json()["detail"]
    assert not behind.asked


@given(
    st.sampled_from(sorted({path for _, path in OPEN})),
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    st.sampled_from(["", "/", "//", "%2f", "/..", ";x", "%00", ".", " "]),
)
def test_only_what_is_named_comes_through(path: str, method: str, more: str) -> None:
    answer, behind = _ask(method, path + more, "admin")
    for asked, where, _, _ in behind.asked:
        assert (asked, where) in OPEN
    if not behind.asked:
        assert answer.status_code in (401, 403, 404)


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("viewer", "/api/queue/item/add", 403),
        ("viewer", "/operando/note", 403),
        ("viewer", "/operando/pause", 403),
        ("operator", "/api/queue/item/add", 200),
        ("operator", "/operando/stop", 200),
        ("operator", "/operando/abort", 403),
        ("admin", "/operando/abort", 200),
    ],
)
def test_roles_decide(role: str, path: str, status: int) -> None:
    assert _ask("POST", path, role, json={})[0].status_code == status


def test_what_is_behind_gets_the_checked_body_only() -> None:
    _, behind = _ask("POST", "/api/queue/item/add", "operator", json={"item": 1})
    asked = json.loads(behind.asked[0][2])
    assert asked == {"checked": "add", "by": "the-operator", "item": 1}


def test_keys_in_addresses_and_cookies_do_not_come_in() -> None:
    answer, behind = _ask("GET", "/api/status?api_key=1234", "admin")
    assert answer.status_code == 400
    assert "1234" not in answer.text
    assert not behind.asked
    answer, behind = _ask("GET", "/api/status", "viewer", headers={"cookie": "api_key=1"})
    assert b"cookie" not in behind.asked[0][3]
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * (LONGEST_BODY + 1), 413),
        (b"{", 422),
        (b"[]", 422),
        (b"[" * 100_000, 422),
        (b'{"item": NaN}', 422),
        (b"\xff\xfe", 422),
    ],
)
def test_bodies_that_will_not_do_are_refused(body: bytes, status: int) -> None:
    answer, behind = _ask("POST", "/api/queue/item/add", "operator", content=body)
    assert answer.status_code == status
    assert not behind.asked


@pytest.mark.parametrize("begun", [False, True])
def test_what_fails_behind_the_door_is_told_and_no_more(
    begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})
        raise KeyError("a secret of the visitor")

    keeper = Keeper(fails, identify=_identify, check_body=_check_body)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(keeper)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.get("/api/status", headers={"authorization": "viewer"})

    assert asyncio.run(ask()).status_code == 500
    assert "GET /api/status failed: KeyError" in caplog.text
    assert "secret" not in caplog.text


def test_a_door_that_cannot_tell_who_asks_lets_nobody_in() -> None:
    async def cannot(scope: Scope) -> Visitor:
        raise QueueError("users.yaml is no file of users any more")

    behind = Behind()
    keeper = Keeper(behind, identify=cannot, check_body=_check_body)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(keeper)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return await client.get("/api/status", headers={"authorization": "viewer"})

    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert "no file of users" in answer.json()["detail"]
    assert not behind.asked


def test_who_changes_something_or_tries_to_is_noted() -> None:
    noted: list[str] = []
    keeper = Keeper(Behind(), identify=_identify, check_body=_check_body, note=noted.append)

    async def visit() -> None:
        transport = httpx.ASGITransport(keeper)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            await client.get("/api/status", headers={"authorization": "viewer"})
            await client.post("/operando/stop", headers={"authorization": "operator"}, json={})
            await client.post("/api/lock%0a1 ada POST /%1b[2J", headers={"authorization": "admin"})
            await client.post("/operando/stop")

    asyncio.run(visit())
    assert noted == [
        "127.0.0.1 the-operator POST /operando/stop 200",
        "127.0.0.1 the-admin POST /api/lock 1 ada POST /\\u001b[2J 403",
        "127.0.0.1 - POST /operando/stop 401",
    ]


def test_websockets_are_closed() -> None:
    keeper = Keeper(Behind(), identify=_identify, check_body=_check_body)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/api/console_output/ws", "headers": []}
    asyncio.run(keeper(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_passwords_can_be_tried_five_times_a_minute_from_one_place() -> None:
    now = 0.0
    logins = Logins(lambda: now)
    for _ in range(5):
        logins.count("10.0.0.1")
    with pytest.raises(RefusedError, match="again in 60 s"):
        logins.count("10.0.0.1")
    logins.count("10.0.0.2")
    now = 60.0
    logins.count("10.0.0.1")


def test_passwords_can_be_tried_thirty_times_a_minute_in_all() -> None:
    logins = Logins(lambda: 0.0)
    for n in range(30):
        logins.count(f"10.0.0.{n}")
    with pytest.raises(RefusedError, match="too many"):
        logins.count("10.0.0.200")


def test_attempts_to_log_in_are_counted() -> None:
    keeper = Keeper(Behind(), identify=_identify, check_body=_check_body)

    async def tries() -> list[int]:
        transport = httpx.ASGITransport(keeper)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            return [(await client.post(LOGIN)).status_code for _ in range(6)]

    assert asyncio.run(tries()) == [200] * 5 + [429]
