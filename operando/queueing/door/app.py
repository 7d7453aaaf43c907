"""bluesky-httpserver, made for one station: our users, our checks, our routes."""

import json
import logging
from datetime import timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path

from bluesky_httpserver.app import build_app

from operando.queueing.errors import QueueError
from operando.queueing.places import station_dir

from .access import ApiAccess, Authenticator, Identification, ResourceAccess
from .behind import Behind
from .checks import Checks
from .keeper import Keeper
from .keys import PROVIDER, database_uri, token_secret
from .routes import routes
from .users import Users, door_dir


def build(data_dir: Path, station: str, users: Users, *, session_s: float) -> Keeper:
    """Return the application of a station's door.

    Args:
        data_dir: The data folder.
        station: A station of ``config/stations.yaml``.
        users: Who may come in.
        session_s: How long a login lasts, s.

    Raises:
        QueueError: there is no such station, or it was never started.
    """
    behind = Behind(data_dir, station)
    api_access = ApiAccess(users)
    app = build_app(
        authentication={
            "providers": [{"provider": PROVIDER, "authenticator": Authenticator(users)}],
            "allow_anonymous_access": False,
            "secret_keys": [token_secret(data_dir)],
            "access_token_max_age": timedelta(minutes=15),
            "refresh_token_max_age": timedelta(days=7),
            "session_max_age": timedelta(seconds=session_s),
        },
        api_access={"manager_object": api_access},
        resource_access={"manager_object": ResourceAccess(users)},
        server_settings={
            "allow_origins": [],
            "database": {"uri": database_uri(data_dir)},
            "qserver_zmq_configuration": _manager(data_dir, station),
            "server_configuration": {"custom_routers": [], "custom_modules": []},
        },
    )
    theirs = len(app.router.routes)
    app.include_router(routes(behind))
    # Ours first: some take the place of theirs.
    app.router.routes[:] = app.router.routes[theirs:] + app.router.routes[:theirs]
    return Keeper(
        app,
        identify=Identification(app, users, api_access),
        check_body=Checks(behind),
        note=_visits(door_dir(data_dir) / f"{station}.log").info,
    )


def _visits(path: Path) -> logging.Logger:
    """Return the log of who asked for what; its file is its owner's alone, and stays small."""
    path.touch(0o600)
    path.chmod(0o600)
    handler = RotatingFileHandler(path, maxBytes=1_000_000, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.Logger(f"visits of {path.stem}")
    log.addHandler(handler)
    return log


def _manager(data_dir: Path, station: str) -> dict[str, str]:
    """Return where the station's manager listens, and the key that it lets in."""
    try:
        keys = json.loads((station_dir(data_dir, station) / "keys.json").read_text())
        return {
            "control_address": keys["control"],
            "info_address": keys["info"],
            "public_key": keys["public"],
        }
    except (OSError, ValueError, KeyError) as error:
        raise QueueError(
            f"station {station} was never started on this computer: `operando station start "
            f"{station}` before its door"
        ) from error
