"""The resident process of a data folder: ``python -m operando.catalog.service DIR``.

It follows the journals, is the only writer of the catalog, and serves it on 127.0.0.1 to holders
of its key. Its lock makes it the only one; it ends some minutes after its last client and the last
open journal. Nobody starts it by hand: `operando.catalog.ensure_service` does.
"""

import argparse
import hmac
import json
import logging
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, quote

from operando.journal import take_lock

from ._places import Places, profile_name, read_address, service_key, write_private

if TYPE_CHECKING:
    from ._ingester import Ingester

logger = logging.getLogger("operando.catalog")

IDLE_S = 600.0
SWEEP_S = 3600.0
OWN_HEADER = b"x-operando-ingester"
STATUS_PATH = "/operando/status"
TAKE_AGAIN_PATH = "/operando/take-again"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class FrontDoor:
    """Stands before tiled's application: notes when a client came, and answers for the ingester.

    ``GET /operando/status`` with the key tells how far the ingester is, ``?run=UID`` also whether
    that run is whole; ``POST /operando/take-again?run=UID`` has a run taken in anew. Everything
    else is tiled's, with one help: a client asks for a whole array by the length it had a moment
    ago, and would be refused where it has grown since; it gets the rows it asked for.
    """

    def __init__(self, application: Application, key: str, ingester: "Ingester") -> None:
        self.last_client = time.monotonic()
        self._application = application
        self._key = key
        self._ingester = ingester
        self._began = time.time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if OWN_HEADER not in headers:
                self.last_client = time.monotonic()
            if scope["path"] in (STATUS_PATH, TAKE_AGAIN_PATH):
                given, key = headers.get(b"authorization", b""), f"Apikey {self._key}".encode()
                allowed = hmac.compare_digest(given, key)
                status, told = self._answer(scope) if allowed else (401, {"detail": "key needed"})
                await _send_json(send, status, told)
                return
            scope = as_it_was(scope)
        await self._application(scope, receive, send)

    def _answer(self, scope: Scope) -> tuple[int, Mapping[str, Any]]:
        run = dict(parse_qsl(scope["query_string"].decode())).get("run", "")
        if scope["path"] == STATUS_PATH:
            progress = self._ingester.progress
            return 200, {
                "pid": os.getpid(),
                "began": self._began,
                "open": progress.open,
                "errors": progress.errors,
                "finished": progress.finished,
                "away": progress.away,
                "whole": self._ingester.is_finished(run),
            }
        if scope["method"] != "POST":
            return 405, {"detail": "POST"}
        try:
            self._ingester.take_again(run)
        except LookupError as error:
            return 404, {"detail": str(error)}
        return 202, {"run": run}


async def _send_json(send: Send, status: int, told: Mapping[str, Any]) -> None:
    head = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def as_it_was(scope: Scope) -> Scope:
    """Return a request for a whole array, or block, as one for the rows its client knows of."""
    if not scope["path"].startswith(("/api/v1/array/full/", "/api/v1/array/block/")):
        return scope
    asked = parse_qs(scope["query_string"].decode())
    (shape,) = asked.get("expected_shape", [""])[-1:]
    if not shape or shape == "scalar" or "slice" in asked:
        return scope
    rows = ",".join(f":{length}" for length in shape.split(","))
    return {**scope, "query_string": scope["query_string"] + f"&slice={quote(rows)}".encode()}


async def nothing_served(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand where tiled's application stands otherwise: the catalog is served somewhere else."""
    if scope["type"] == "http":
        alive = scope["path"] == "/healthz"
        await _send_json(send, 200 if alive else 404, {"status": "ready" if alive else "not here"})


def configuration(places: Places, key: str) -> dict[str, Any]:
    """Return tiled's configuration of the service's own, writing, server."""
    from ._profile import MEDIA_TYPES, catalog_tree

    return {
        "authentication": {"allow_anonymous_access": False, "single_user_api_key": key},
        "trees": [catalog_tree(places, writable=True)],
        "media_types": MEDIA_TYPES,
        "routers": ["bluesky_tiled_plugins.routers.validator:router"],
        # A run's table is read in one piece; ten million rows have 1.6 GB.
        "response_bytesize_limit": 4_000_000_000,
    }


def _listen(port: int) -> socket.socket:
    """Return a listening socket on 127.0.0.1, on the given port if it is free."""
    for wanted in (port, 0):
        listener = socket.socket()
        # The port of a service that just ended is otherwise refused for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen(128)
        except OSError:
            listener.close()
            if wanted == 0:
                raise
        else:
            return listener
    raise AssertionError("a socket is returned or the error is raised")


def serve(places: Places, *, profile: str, idle_s: float) -> None:
    """Run the service until it is told to end or nobody has needed it for a while.

    The lock must be held. Blocks.
    """
    # The heavy imports come after the lock: a second process ends before it pays for them.
    from ._files import (
        import_server_without_graph,
        import_without_sparse,
        prepare_files,
        settle_files,
        sweep,
    )

    import_without_sparse()
    import uvicorn
    from tiled.client import from_uri

    from ._ingester import Ingester
    from ._profile import (
        can_read_files,
        file_profile,
        hand_over_profile,
        save_profile,
        served_profile,
        tell_who_had,
    )
    from ._tables import Tables

    shared = places.shared
    key = service_key(places)
    port = read_address(places).get("port", 0)
    listener = _listen(port if isinstance(port, int) else 0)
    port = listener.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    application: Application = nothing_served
    if shared is None:
        prepare_files(places)
        server_app = import_server_without_graph()
        application = server_app.build_app_from_config(configuration(places, key))

    def connect() -> Any:
        headers = {OWN_HEADER.decode(): "1"}
        if shared is None:
            return from_uri(f"{uri}/api/v1", api_key=key, headers=headers, trust_env=False)
        return from_uri(shared.uri, api_key=shared.key(), headers=headers)

    ingester = Ingester(
        places.data_dir,
        connect,
        places.ingested,
        tables=None if shared else Tables(places.tables_db),
        assets_at=shared.assets_at if shared else None,
    )
    door = FrontDoor(application, key, ingester)
    server = uvicorn.Server(
        uvicorn.Config(
            door,
            log_config=None,
            access_log=False,
            ws="none",
            loop="asyncio",
            http="h11",
            timeout_graceful_shutdown=3,
        )
    )
    ended = threading.Event()
    # The server's own handler replaces this while it runs; it hands the signal on when it has
    # ended, and what comes after it must still be done.
    asked_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked_to_end.set())
    served: dict[str, Any] = {}  # the profile, once it is written

    def follow() -> None:
        try:
            while not server.started and not server.should_exit:
                time.sleep(0.01)
            write_private(
                places.address,
                json.dumps({"uri": uri, "port": port, "key": key, "pid": os.getpid()}),
            )
            served.update(served_profile(places))
            tell_who_had(profile, places)
            save_profile(served, profile)
            at = uri if shared is None else shared.uri
            logger.info("runs of %s go to %s, named %r", places.data_dir, at, profile)
            ingester.run(ended)
        except Exception:
            # Without its ingester the service is of no use: end, so that the next one can begin.
            logger.exception("the ingester failed")
            server.should_exit = True

    def watch() -> None:
        swept = time.monotonic()
        while not ended.wait(min(1.0, idle_s / 10)):
            if asked_to_end.is_set():
                server.should_exit = True
                continue
            if not places.lock.exists():
                logger.warning("the data folder is gone")
                server.should_exit = True
                continue
            if shared is None and time.monotonic() - swept > SWEEP_S:
                swept = time.monotonic()
                try:
                    sweep(places)
                except sqlite3.Error as error:
                    logger.warning("old shapes are left in the catalog: %s", error)
            if ingester.open_runs:
                door.last_client = time.monotonic()
            elif time.monotonic() - door.last_client > idle_s:
                logger.info("nobody needed the catalog for %.0f s", idle_s)
                server.should_exit = True

    threads = [
        threading.Thread(target=follow, name="ingester", daemon=True),
        threading.Thread(target=watch, name="idle", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        server.run(sockets=[listener])
    finally:
        ended.set()
        for thread in threads:
            thread.join(timeout=10)
        listener.close()
        if places.lock.exists() and shared is not None:
            pass  # the name goes on naming the shared catalog
        elif places.lock.exists():  # else the folder was deleted, and is not made again
            settle_files(places)
            # Until the next service begins, the profile opens the files themselves.
            if served and can_read_files():
                hand_over_profile(profile, served, file_profile(places))
        elif served:
            hand_over_profile(profile, served, None)
            logger.warning("the profile %r is removed with its data folder", profile)
        logger.info("ended")


def main(arguments: list[str] | None = None) -> int:
    """Take the data folder's lock and serve; return 3 at once if another process has it."""
    parser = argparse.ArgumentParser(prog="operando.catalog.service", description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--profile", help="name of the tiled profile to write")
    parser.add_argument(
        "--idle-s",
        type=float,
        default=float(os.environ.get("OPERANDO_CATALOG_IDLE_S", IDLE_S)),
        help="end this long after the last client and open journal [s]",
    )
    parser.add_argument("--lock-fd", type=int, help="the data folder's lock, already taken")
    parser.add_argument("--detach", action="store_true", help="leave the process that started us")
    options = parser.parse_args(arguments)

    places = Places(options.data_dir)
    places.state.mkdir(parents=True, exist_ok=True)
    lock = options.lock_fd
    if lock is None:
        lock = os.open(places.lock, os.O_CREAT | os.O_RDWR, 0o600)
        if not take_lock(lock, timeout_s=0.1):
            sys.stderr.write(f"another catalog service has {places.data_dir}\n")
            os.close(lock)
            return 3
    # Forked while this process has one thread and has imported nothing: whoever started us reaps
    # the parent at once and never has a child to wait for. The lock goes with the open file.
    if options.detach and os.fork():
        os._exit(0)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)

    # The ingester asks a server in this process: what fails twice will not be cured by asking for
    # 45 s, and every other run would wait meanwhile. tiled reads this when it is imported.
    os.environ.setdefault("TILED_RETRY_ATTEMPTS", "2")
    # Nothing raises from a handler: inside a weak reference's callback that would be swallowed.
    # Until the server runs there is nothing to put in order that a kill would not leave as well.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for chatty in ("httpx", "httpcore", "uvicorn", "tiled", "alembic", "stamina"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        serve(
            places,
            profile=options.profile or profile_name(places.data_dir),
            idle_s=options.idle_s,
        )
    except Exception:
        logger.exception("the catalog service ends")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
