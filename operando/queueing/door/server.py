"""The door of one station as a process: bluesky-httpserver behind the keeper, served by uvicorn."""

import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from operando.queueing.errors import QueueError

from .users import Users, door_dir

PORT = 60610
# A login lasts so long; then the password is asked for again.
_SESSION_S = 30 * 86400


@dataclass(frozen=True)
class DoorAddress:
    """Where the door listens.

    Attributes:
        host: A name or number of this computer; not loopback: only with TLS or behind a proxy.
        port: 0: a free one.
        tls_cert: PEM file of the certificate chain.
        tls_key: PEM file of its key.
        behind_proxy: Whether a proxy on this computer or a private network keeps TLS.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False

    def check(self) -> None:
        """Refuse what would send keys in the clear.

        Raises:
            QueueError: it would, or certificate and key are not there.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise QueueError("--tls-cert and --tls-key go together: one of them is missing")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise QueueError(f"{path} is no file: certificate and key are PEM files")
        if self.tls_key is not None and self.tls_key.stat().st_mode & 0o077:
            raise QueueError(f"{self.tls_key} may be read by others: `chmod 600 {self.tls_key}`")
        if not is_loopback(self.host) and self.tls_cert is None and not self.behind_proxy:
            raise QueueError(
                f"{self.host} is reached by other computers, and keys would travel in the clear: "
                "give --tls-cert and --tls-key; or listen on 127.0.0.1 and come by "
                "`ssh -L 60610:127.0.0.1:60610 COMPUTER`; or say --behind-proxy if a proxy keeps "
                "TLS in front of it"
            )

    @property
    def scheme(self) -> str:
        return "http" if self.tls_cert is None else "https"


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    data_dir: Path, station: str, address: DoorAddress, opened: Callable[[str], None]
) -> None:
    """Serve until a signal ends it.

    Args:
        data_dir: The data folder.
        station: Whose door it is.
        address: Where it listens.
        opened: Called with the address when requests are taken.

    Raises:
        QueueError: it cannot be opened there, or nobody could come in.
    """
    address.check()
    users = Users(data_dir)
    if not users.all():
        raise QueueError(
            "the door knows nobody yet, so nobody could come in: `operando door users add NAME "
            "--role operator`"
        )
    os.umask(0o077)
    door_dir(data_dir)
    # What other servers are told by variables (anonymous access, modules, keys) is not for this.
    for name in [name for name in os.environ if name.startswith("QSERVER_")]:
        del os.environ[name]
    listening = _listening(address)
    try:
        _run(data_dir, station, address, users, listening, opened)
    finally:
        listening.close()


def _listening(address: DoorAddress) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, number, _, where = found[0]
        listening = socket.socket(family, kind, number)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise QueueError(
            f"cannot listen on {address.host} port {address.port}: {error.strerror or error}; each "
            "door has a port of its own (--port)"
        ) from error
    return listening


def _run(
    data_dir: Path,
    station: str,
    address: DoorAddress,
    users: Users,
    listening: socket.socket,
    opened: Callable[[str], None],
) -> None:
    import uvicorn

    from .app import build

    for name in logging.root.manager.loggerDict:
        if name.startswith("bluesky_httpserver"):  # where it listens and what it loads
            logging.getLogger(name).setLevel(logging.WARNING)
    keeper = build(data_dir, station, users, session_s=_SESSION_S)
    # No log of requests: names of users and cells are in their addresses.
    server = uvicorn.Server(
        uvicorn.Config(
            keeper,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=address.behind_proxy,
            forwarded_allow_ips="127.0.0.1,::1" if address.behind_proxy else None,
            ssl_certfile=address.tls_cert,
            ssl_keyfile=address.tls_key,
            limit_concurrency=64,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=5,
            lifespan="on",
            ws="none",
        )
    )
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    opened(f"{address.scheme}://{shown}:{port}")
    server.run(sockets=[listening])
    if not server.started:
        raise QueueError(f"the door of {station} did not open: what was logged above says why")
