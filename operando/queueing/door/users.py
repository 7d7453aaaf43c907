"""Who may come through the door: names, roles and hashes of passwords, in a file of their own."""

import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError

from operando.queueing.errors import QueueError
from operando.queueing.places import private, queueing_dir, write_private
from techniques._base import Data

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

_READING = frozenset(
    f"read:{what}"
    for what in ("status", "queue", "history", "resources", "config", "monitor", "console", "lock")
)
# Names of bluesky-httpserver; write:others is ours.
SCOPES: Mapping[Role, frozenset[str]] = {
    "viewer": _READING | {"user:apikeys"},
    "operator": _READING
    | {"user:apikeys", "write:queue:edit", "write:queue:control", "write:plan:control"},
    "admin": _READING
    | {
        "user:apikeys",
        "write:queue:edit",
        "write:queue:control",
        "write:plan:control",
        "write:others",
    },
}

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_SHORTEST, _LONGEST = 12, 1024
# Of scrypt: 32 MB and a fifth of a second for each try.
_N, _R, _P = 2**15, 8, 1
_MEMORY = 2**26


class User(Data):
    """One person: role, and scrypt (RFC 7914) of the password."""

    role: Role
    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    scrypt: str = Field(pattern=r"^[0-9a-f]{64}$")


class _File(Data):
    users: dict[str, User] = Field(default_factory=dict)


def door_dir(data_dir: Path) -> Path:
    """Return the folder of users, keys and secrets; it is made, and only its owner enters it."""
    private(queueing_dir(data_dir))
    return private(queueing_dir(data_dir) / "door")


class Users:
    """The users of a data folder's doors, as their file says at each moment.

    A role that is changed and a user who is removed count from the next request on.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = queueing_dir(data_dir) / "door" / "users.yaml"
        self.data_dir = data_dir
        self._read: tuple[tuple[int, int, int], dict[str, User]] | None = None
        self._lock = threading.Lock()

    def all(self) -> dict[str, User]:
        """Return everybody by name.

        Raises:
            QueueError: the file is damaged, or somebody else can read or write it.
        """
        with self._lock:
            try:
                info = self.path.stat()
            except FileNotFoundError:
                return {}
            state = (info.st_mtime_ns, info.st_size, info.st_ino)
            if self._read is None or self._read[0] != state:
                self._read = (state, self._loaded(info))
            return dict(self._read[1])

    def get(self, name: str) -> User | None:
        return self.all().get(name)

    def add(self, name: str, role: str, password: str) -> None:
        """Add somebody.

        Raises:
            QueueError: there is one of that name, or name, role or password will not do.
        """
        users = self.all()
        if name in users:
            raise QueueError(
                f"the door knows {name} already, as {users[name].role}: `operando door users "
                f"remove {name}` first, or `operando door users password {name}`"
            )
        if not _NAME.fullmatch(name):
            raise QueueError(
                f"{name!r} will not do as the name of a user: a small letter, then up to 31 small "
                "letters, digits, '.', '_' or '-'"
            )
        self._write({**users, name: _user(name, role, password)})

    def set_password(self, name: str, password: str) -> None:
        user = self.known(name)
        self._write({**self.all(), name: _user(name, user.role, password)})

    def set_role(self, name: str, role: str) -> None:
        user = self.known(name)
        self._write({**self.all(), name: user.model_copy(update={"role": _role(role)})})

    def remove(self, name: str) -> None:
        self.known(name)
        self._write({other: user for other, user in self.all().items() if other != name})

    def known(self, name: str) -> User:
        """Return somebody who must be there."""
        users = self.all()
        if name not in users:
            there = ", ".join(sorted(users)) or "nobody yet"
            raise QueueError(
                f"the door knows no user {name} (it knows: {there}): `operando door users add "
                f"{name} --role operator`"
            )
        return users[name]

    def check(self, name: str, password: str) -> bool:
        """Return whether that is the password; who is unknown takes as long as who is known."""
        user = self.get(name)
        if len(password) > _LONGEST:
            return False
        salt = bytes.fromhex(user.salt) if user else bytes(16)
        same = hmac.compare_digest(_scrypt(password, salt), user.scrypt if user else "0" * 64)
        return same and user is not None

    def _loaded(self, info: os.stat_result) -> dict[str, User]:
        if stat.S_IMODE(info.st_mode) & 0o077 or info.st_uid != os.geteuid():
            raise QueueError(
                f"{self.path} may be read or written by others: look who is in it, then "
                f"`chmod 600 {self.path}`"
            )
        try:
            return _File.model_validate(yaml.safe_load(self.path.read_text()) or {}).users
        except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            raise QueueError(
                f"{self.path} is no file of users any more ({type(error).__name__}): move it away "
                "and add them anew by `operando door users add`"
            ) from error

    def _write(self, users: Mapping[str, User]) -> None:
        door_dir(self.data_dir)
        content: dict[str, Any] = _File(users=dict(users)).model_dump(mode="json")
        write_private(self.path, yaml.safe_dump(content))


def _user(name: str, role: str, password: str) -> User:
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise QueueError(
            f"the password of {name} has {len(password)} characters: {_SHORTEST} or more (up to "
            f"{_LONGEST}); a sentence does"
        )
    salt = secrets.token_bytes(16)
    return User(role=_role(role), salt=salt.hex(), scrypt=_scrypt(password, salt))


def _role(role: str) -> Role:
    for one in ROLES:
        if one == role:
            return one
    raise QueueError(f"there is no role {role!r}: {', '.join(ROLES)}")


def _scrypt(password: str, salt: bytes) -> str:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=32).hex()
