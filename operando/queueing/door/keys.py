"""Keys of users, for programs: made here, kept as hashes in bluesky-httpserver's database."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operando.queueing.places import write_private

from .users import SCOPES, Users, door_dir

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PROVIDER = "operando"


@dataclass(frozen=True)
class Key:
    """What is known of a key; itself it is known to its holder only.

    Attributes:
        first_eight: Its first characters, by which it is named.
        until: When it ends, UTC; ``None``: never.
        used: When it was used last, UTC.
    """

    first_eight: str
    until: datetime | None
    used: datetime | None
    note: str
    read_only: bool


def database_uri(data_dir: Path) -> str:
    """Return the address of the database of keys; its file is made for its owner alone."""
    path = _database_path(data_dir)
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.fchmod(number, 0o600)
    finally:
        os.close(number)
    return f"sqlite:///{path}"


def token_secret(data_dir: Path) -> str:
    """Return the secret by which tokens are signed; made when there is none."""
    path = door_dir(data_dir) / "tokens.key"
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    path.chmod(0o600)
    return path.read_text().strip()


def make_key(
    data_dir: Path,
    name: str,
    *,
    days: float | None = None,
    note: str = "",
    read_only: bool = False,
) -> str:
    """Return a new key of a user; it is not shown again.

    Args:
        data_dir: The data folder.
        name: The user; what the key may follows the role, also if that is changed.
        days: How long it lasts; ``None``: until it is revoked.
        note: What it is for.
        read_only: Whether it is for looking only, whatever the role.

    Raises:
        QueueError: the door knows no such user.
    """
    from bluesky_httpserver.database import orm
    from bluesky_httpserver.database.core import create_user

    Users(data_dir).known(name)
    secret = secrets.token_bytes(36)
    scopes = sorted(SCOPES["viewer"] - {"user:apikeys"}) if read_only else ["inherit"]
    with _database(data_dir) as database:
        principal = _principal(database, name) or create_user(database, PROVIDER, name)
        database.add(
            orm.APIKey(
                principal_id=principal.id,
                expiration_time=None if days is None else _now() + timedelta(days=days),
                note=note[:255],
                scopes=scopes,
                first_eight=secret.hex()[:8],
                hashed_secret=hashlib.sha256(secret).digest(),
            )
        )
        database.commit()
    return secret.hex()


def keys(data_dir: Path, name: str) -> list[Key]:
    """Return the keys of a user."""
    with _database(data_dir) as database:
        principal = _principal(database, name)
        return [
            Key(
                first_eight=key.first_eight,
                until=key.expiration_time,
                used=key.latest_activity,
                note=key.note or "",
                read_only="inherit" not in key.scopes,
            )
            for key in (principal.api_keys if principal else ())
        ]


def revoke_keys(data_dir: Path, name: str, first_eight: str = "") -> int:
    """End keys of a user, and what was logged in; return how many keys that were.

    Args:
        data_dir: The data folder.
        name: The user.
        first_eight: The beginning of the one that is meant; by default all.
    """
    if not _database_path(data_dir).exists():
        return 0  # nobody ever had one
    with _database(data_dir) as database:
        principal = _principal(database, name)
        if principal is None:
            return 0
        ended = [key for key in principal.api_keys if key.first_eight.startswith(first_eight[:8])]
        for key in ended:
            database.delete(key)
        if not first_eight:
            for session in principal.sessions:
                session.revoked = True
        database.commit()
        return len(ended)


def _database_path(data_dir: Path) -> Path:
    return door_dir(data_dir) / "door.sqlite"


def _principal(database: "Session", name: str) -> Any:
    from bluesky_httpserver.database import orm

    query = database.query(orm.Identity).filter(orm.Identity.id == name)
    identity = query.filter(orm.Identity.provider == PROVIDER).first()
    return identity.principal if identity else None


@contextmanager
def _database(data_dir: Path) -> Iterator["Session"]:
    from bluesky_httpserver.database.core import (
        UninitializedDatabase,
        check_database,
        initialize_database,
    )
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

    engine = create_engine(database_uri(data_dir))
    try:
        try:
            check_database(engine)
        except UninitializedDatabase:
            initialize_database(engine)
        with sessionmaker(bind=engine)() as database:
            yield database
    finally:
        engine.dispose()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
