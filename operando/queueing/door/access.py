"""Our users as bluesky-httpserver asks for them: who they are, what they may, their group."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from bluesky_httpserver.authentication import Mode, get_current_principal
from bluesky_httpserver.settings import get_settings
from fastapi import FastAPI, HTTPException
from fastapi.security import SecurityScopes
from starlette.requests import Request

from .keeper import Scope, Visitor
from .refusals import RefusedError
from .users import SCOPES, Role, Users


class Authenticator:
    """Compares passwords with the file of users, one at a time."""

    mode = Mode.password

    def __init__(self, users: Users) -> None:
        self._users = users
        self._one_at_a_time = threading.Lock()

    async def authenticate(self, username: str, password: str) -> str | None:
        """Return the name of who logs in; ``None``: nobody."""
        same = await asyncio.to_thread(self._check, username, password)
        return username if same else None

    def _check(self, name: str, password: str) -> bool:
        with self._one_at_a_time:
            return self._users.check(name, password)


class ApiAccess:
    """What users may ask for, by their role at that moment."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def is_user_known(self, username: str) -> bool:
        return self._users.get(username) is not None

    def get_user_roles(self, username: str) -> set[str]:
        user = self._users.get(username)
        return {user.role} if user else set()

    def get_user_scopes(self, username: str) -> set[str]:
        user = self._users.get(username)
        return set(SCOPES[user.role]) if user else set()

    def get_displayed_user_name(self, username: str) -> str:
        return username


class ResourceAccess:
    """The manager's group of a user: it says which plans there are for them."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def get_resource_group(self, username: str) -> str:
        user = self._users.get(username)
        return _GROUPS[user.role] if user else "viewer"


# As `operando.queueing.managers` has them: each may ask for one plan.
_GROUPS: Mapping[Role, str] = {"viewer": "viewer", "operator": "operator", "admin": "primary"}


class Identification:
    """Finds out who asks, from the header ``Authorization``.

    Args:
        app: bluesky-httpserver's application.
        users: Those of the door.
        api_access: What they may.
    """

    def __init__(self, app: FastAPI, users: Users, api_access: ApiAccess) -> None:
        self._settings = app.dependency_overrides[get_settings]()
        self._users = users
        self._api_access = api_access

    async def __call__(self, scope: Scope) -> Visitor:
        """Return who asks.

        Raises:
            RefusedError: nobody that the door knows.
        """
        return await asyncio.to_thread(self._identified, Request(scope))

    def _identified(self, request: Request) -> Visitor:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        kind, secret = kind.lower(), secret.strip()
        if kind not in ("apikey", "bearer") or not secret:
            raise _unknown(
                "who are you? Send Authorization: ApiKey KEY (`operando door key NAME`), or log in"
            )
        try:
            principal: Any = get_current_principal(
                request=request,
                security_scopes=SecurityScopes([]),
                access_token=secret if kind == "bearer" else None,
                api_key=secret if kind == "apikey" else None,
                settings=self._settings,
                authenticators=True,
                api_access_manager=self._api_access,
            )
        except HTTPException as error:
            raise _unknown(str(error.detail)) from error
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            # Of a token that is none, and of a user who was removed.
            raise _unknown("this key or token is nobody's (any more)") from error
        name = str(principal.identities[0].id)
        if self._users.get(name) is None:
            raise _unknown("this key or token is nobody's (any more)")
        return Visitor(name, frozenset(principal.scopes))


def _unknown(message: str) -> RefusedError:
    return RefusedError(401, message, {"www-authenticate": "Bearer"})
