"""The supervisor as a process: in the foreground for a service manager, or detached."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from operando.queueing.errors import QueueError
from operando.queueing.places import private, queueing_dir

from ._files import process_in
from ._processes import Process
from ._supervisor import LOCK, TOLD, Supervisor

_BEGINS_WITHIN_S = 30.0
_LOG_MAX_BYTES = 5_000_000
LOG = "supervisor.log"


def serve(data_dir: Path) -> int:
    """Supervise in the foreground until SIGTERM or SIGINT; return the exit status."""
    from operando.configuration import load_stations, stations_path

    path = stations_path()
    supervisor = Supervisor(data_dir, load_stations(path), path)

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        supervisor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    supervisor.run()
    return 0


def main() -> int:
    """Supervise; return the exit status."""
    from operando.configuration import ConfigurationError
    from operando.settings import data_dir

    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(threadName)s: %(message)s"
    )
    try:
        return serve(data_dir())
    except (QueueError, ConfigurationError) as error:
        sys.stderr.write(f"operando: {error}\n")
        return 2


def supervisor_process(data_dir: Path) -> Process | None:
    """Return the supervisor of a data folder; ``None``: there is none."""
    from operando.journal import is_locked

    if not is_locked(queueing_dir(data_dir) / LOCK):
        return None
    found = process_in(queueing_dir(data_dir) / TOLD)
    return found if found is not None and found.alive else None


def ensure_supervisor(data_dir: Path) -> bool:
    """Start a supervisor, detached, if none serves this data folder; return whether it was done.

    Raises:
        QueueError: it ended at once, or did not begin in time.
    """
    if supervisor_process(data_dir) is not None:
        return False
    folder = private(queueing_dir(data_dir))
    log = folder / LOG
    if log.exists() and log.stat().st_size > _LOG_MAX_BYTES:
        log.replace(log.with_name(f"{LOG}.1"))
    with open(log, "ab") as said:
        log.chmod(0o600)
        child = subprocess.Popen(
            [sys.executable, "-m", "operando.queueing.supervisor"],
            env=os.environ | {"OPERANDO_DATA": str(data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    give_up = time.monotonic() + _BEGINS_WITHIN_S
    while supervisor_process(data_dir) is None:
        if child.poll() is not None or time.monotonic() > give_up:
            child.kill()
            child.wait()
            lines = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise QueueError(f"the supervisor did not begin; see {log}:\n  " + "\n  ".join(lines))
        time.sleep(0.05)
    _children.append(child)
    return True


# They go on without us; that they are not waited for is meant.
_children: list[subprocess.Popen[bytes]] = []
