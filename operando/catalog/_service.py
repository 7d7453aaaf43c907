"""Starting the catalog service once, finding it, asking it, ending it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from operando.journal import is_locked, journal_path, list_runs, take_lock

from ._errors import CatalogError
from ._files import follow_a_move as rewrite_paths
from ._files import put_aside
from ._places import Places, ingested_uids, profile_name, read_address, service_key

LONGEST_LOG_BYTES = 2_000_000
START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class ServiceInfo:
    """Where the catalog service of a data folder is.

    Attributes:
        data_dir: the data folder.
        ready: whether it answers; while False it is starting (7-20 s) and the rest is empty.
        uri: ``http://127.0.0.1:PORT``; the catalog is below ``/api/v1``.
        key: the key a request must carry, as ``Authorization: Apikey KEY``.
        profile: name under which ``databroker.catalog`` finds it.
        pid: its process, 0 while unknown.
        started: whether this call started it.
        aside: where `rebuild_catalog` left the old catalog.
        kept: runs of a shared catalog that `rebuild_catalog` left as they are, and why.
    """

    data_dir: Path
    ready: bool
    uri: str
    key: str
    profile: str
    pid: int
    started: bool
    aside: Path | None = None
    kept: Mapping[str, str] = field(default_factory=dict)


def is_running(places: Places) -> bool:
    """Return whether some process has the data folder's service lock."""
    return is_locked(places.lock)


def ensure_service(
    data_dir: Path | str, *, wait_s: float = 0.0, idle_s: float | None = None
) -> ServiceInfo:
    """Have exactly one catalog service for a data folder, starting it if there is none.

    By default returns within about 0.2 s, whether the service answers yet or not: a run never
    waits for its catalog. The service is a process of its own: it outlives this one.

    Args:
        data_dir: the data folder; created if missing.
        wait_s: wait this long for the service to answer [s].
        idle_s: how long after its last client and open journal a service started here ends [s];
            by default ``$OPERANDO_CATALOG_IDLE_S`` or 10 minutes.

    Raises:
        CatalogError: if it was waited for and did not come up; the message ends with its log.
    """
    places = Places(data_dir)
    places.state.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + wait_s
    starts = 0
    while True:
        if not is_running(places):
            if starts == 2:
                raise CatalogError(_did_not_start(places, "ended while starting"))
            starts += _start(places, idle_s)
        # While waiting take your time to ask; otherwise a plan may be about to begin.
        address = _ask(places, "/healthz", timeout_s=2.0 if wait_s else 0.3)
        if address is not None or time.monotonic() >= give_up:
            break
        time.sleep(0.05)
    if address is None and wait_s:
        raise CatalogError(_did_not_start(places, f"does not answer within {wait_s:g} s"))
    found = read_address(places) if address is not None else {}
    return ServiceInfo(
        data_dir=places.data_dir,
        ready=address is not None,
        uri=str(found.get("uri", "")),
        key=str(found.get("key", "")),
        profile=profile_name(places.data_dir),
        pid=_holder(places),
        started=starts > 0,
    )


def _start(places: Places, idle_s: float | None) -> bool:
    """Start the service unless somebody else just did; return whether this call did."""
    fd = os.open(places.lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        # The lock is taken here and handed over, so that no second starter can come between.
        # Those who only ask hold it for an instant; who still has it then is a service.
        if not take_lock(fd, timeout_s=0.1):
            return False
        os.ftruncate(fd, 0)
        if places.log.exists() and places.log.stat().st_size > LONGEST_LOG_BYTES:
            os.replace(places.log, places.log.with_suffix(".log.old"))
        command = [
            *(sys.executable, "-m", "operando.catalog.service", str(places.data_dir)),
            *("--detach", "--lock-fd", str(fd), "--profile", profile_name(places.data_dir)),
        ]
        if idle_s is not None:
            command += ["--idle-s", str(idle_s)]
        environment = dict(os.environ)
        # What this process makes of warnings is no rule for the service.
        environment.pop("PYTHONWARNINGS", None)
        # The same operando as here, also when it is run from a checkout.
        root = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [root, environment.get("PYTHONPATH")])
        )
        with open(places.log, "ab") as log:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=places.state,
                env=environment,
                pass_fds=(fd,),
                start_new_session=True,
                check=True,
            )
    finally:
        os.close(fd)
    return True


def _did_not_start(places: Places, what: str) -> str:
    log = places.log.read_text(errors="replace").splitlines() if places.log.exists() else []
    return (
        f"the catalog service of {places.data_dir} {what}. The journals are written without it; "
        f"its log, {places.log}, ends:\n" + "\n".join(log[-12:])
    )


def _holder(places: Places) -> int:
    """Return the process that holds the service's lock, 0 if it has not said so yet."""
    try:
        return int(places.lock.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def _ask(places: Places, path: str, *, timeout_s: float, method: str = "GET") -> bytes | None:
    """Return the service's answer; None if there is no service or it does not answer."""
    address = read_address(places)
    # An address left behind by a dead service may be somebody else's now.
    if not address or address.get("pid") != _holder(places):
        return None
    connection = http.client.HTTPConnection("127.0.0.1", int(str(address["port"])), timeout_s)
    try:
        headers = {"Authorization": f"Apikey {service_key(places)}"}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status in (200, 202) else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ask_status(places: Places, *, run: str = "", timeout_s: float = 2.0) -> dict[str, Any] | None:
    """Return what the service tells about its ingester; None if it does not answer.

    With a run, ``whole`` tells whether that is whole in the catalog.
    """
    if not is_running(places):
        return None
    body = _ask(places, f"/operando/status?run={quote(run)}", timeout_s=timeout_s)
    return None if body is None else json.loads(body)


def take_again(places: Places, uid: str) -> None:
    """Have the service remove a run from the catalog and take it in anew from its journal.

    Raises:
        CatalogError: if the service does not answer.
    """
    asked = f"/operando/take-again?run={quote(uid)}"
    if _ask(places, asked, timeout_s=5.0, method="POST") is None:
        raise CatalogError(f"the catalog service of {places.data_dir} does not answer")


def follow_a_move(places: Places) -> None:
    """Rewrite the paths in the catalog of a folder that was moved, unless its service will."""
    places.state.mkdir(parents=True, exist_ok=True)
    fd = os.open(places.lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if take_lock(fd, timeout_s=0.1):
            rewrite_paths(places)
    finally:
        os.close(fd)


def stop_service(data_dir: Path | str, *, timeout_s: float = 20.0) -> bool:
    """End the catalog service of a data folder and wait for it; return whether there was one.

    Raises:
        CatalogError: if it is still there after the timeout.
    """
    places = Places(data_dir)
    give_up = time.monotonic() + timeout_s
    told = 0
    while is_running(places):
        holder = _holder(places)
        if holder and holder != told:
            os.kill(holder, signal.SIGTERM)
            told = holder
        if time.monotonic() > give_up:
            raise CatalogError(f"the catalog service, process {holder}, does not end")
        time.sleep(0.02)
    return bool(told)


def rebuild_catalog(data_dir: Path | str, *, wait_s: float = START_TIMEOUT_S) -> ServiceInfo:
    """Put the catalog aside and have a new one made from the journals.

    The service is ended and started again; about 0.1 s per run and 200 000 rows a second follow
    in the background. The old catalog is kept as ``catalog-replaced-TIME``: delete it when
    `verify_runs` finds the new one to be the same as the journals, and those to be sound. Of a
    shared catalog only this folder's runs are made anew, one by one, but for those of which it
    holds more than their journals.

    Raises:
        CatalogError: if there is no such folder, or the service does not end or does not start.
    """
    places = Places(data_dir)
    places.require()
    if places.shared is not None:
        from ._read import close_catalog, open_catalog
        from ._surplus import why_kept

        service = ensure_service(data_dir, wait_s=wait_s)
        catalog = open_catalog(data_dir)
        kept = {}
        try:
            for run in list_runs(places.data_dir):
                if run.exit_status == "running":
                    continue
                if why := why_kept(run.uid, places, catalog):
                    kept[run.uid] = why
                else:
                    take_again(places, run.uid)
        finally:
            close_catalog(catalog)
        return replace(service, kept=kept)
    stop_service(data_dir)
    aside = put_aside(places, "replaced") if places.catalog.exists() else None
    return replace(ensure_service(data_dir, wait_s=wait_s), aside=aside)


def wait_until_ingested(data_dir: Path | str, uid: str, timeout_s: float = 60.0) -> None:
    """Wait until everything a run's journal holds now is in the catalog.

    Starts the service if there is none. For a run that lasts, what is written later is not
    waited for.

    Args:
        data_dir: the data folder.
        uid: the run's whole uid.
        timeout_s: wait no longer than this [s].

    Raises:
        CatalogError: if the time is up, or at once if the journal cannot be read; the message says
            how far the run is and what is wrong.
        LookupError: if there is no such run.
    """
    places = Places(data_dir)
    size = journal_path(places.data_dir, uid).stat().st_size
    give_up = time.monotonic() + timeout_s
    ensure_service(data_dir, wait_s=timeout_s)
    while True:
        told = ask_status(places, run=uid) or {}
        reached = told.get("open", {}).get(uid, 0)
        if told.get("whole") or reached >= size:
            return
        wrong = told.get("errors", {}).get(uid, "")
        if wrong.startswith("JournalError") or time.monotonic() > give_up:
            wrong = wrong or told.get("away") or "no error is known"
            raise CatalogError(
                f"run {uid}: {reached} of {size} bytes are in the catalog after waiting for up to "
                f"{timeout_s:g} s; {wrong} (log: {places.log})"
            )
        time.sleep(0.05)


def taken_in_damaged(uid: str, data_dir: Path | str) -> bool:
    """Return whether a run's journal was damaged when the catalog took it in, by its whole uid.

    Of runs that other computers brought to a shared catalog, that is not known here: False.
    """
    return uid in ingested_uids(Places(data_dir).ingested, "!")


def read_ingested(places: Places) -> set[str]:
    """Return the uids of the runs that are whole in the catalog."""
    return ingested_uids(places.ingested)
