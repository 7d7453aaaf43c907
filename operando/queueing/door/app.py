"""bluesky-httpserver, made for one station: our users, our checks, our routes."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from bluesky_httpserver.app import build_app
from bluesky_httpserver.resources import SERVER_RESOURCES

from operando import configuration
from operando.queueing.errors import QueueError
from operando.queueing.places import station_dir

from .access import ApiAccess, Authenticator, Identification, ResourceAccess
from .checks import Checks
from .keeper import Keeper
from .keys import PROVIDER, database_uri, token_secret
from .refusals import RefusedError
from .routes import routes
from .users import Users


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
    stations = configuration.load_stations()
    entry = stations.station(station)
    if entry is None:
        known = ", ".join(one.name for one in stations.stations)
        raise QueueError(f"no station is called {station}: config/stations.yaml has {known}")
    bench = configuration.load_bench(entry.bench)
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
    app.include_router(routes(data_dir, station))
    return Keeper(
        app,
        identify=Identification(app, users, api_access),
        check_body=Checks(bench, _owner_of),
    )


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


async def _owner_of(uid: str) -> str:
    api = SERVER_RESOURCES.RM
    try:
        told: dict[str, Any] = await api.item_get(uid=uid)
    except api.RequestTimeoutError as error:
        raise RefusedError(503, "the station's manager does not answer: is it started?") from error
    except Exception as error:  # of the client, which has no common class for them
        raise RefusedError(503, f"the station's manager does not answer: {error}") from error
    if not told.get("success"):
        raise RefusedError(
            404,
            f"no item {uid[:8]} waits in the queue: GET /operando/state tells what became of it",
        )
    return str(told["item"].get("user", ""))
