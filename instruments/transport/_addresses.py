"""Addresses: where an instrument is, as a URL."""

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

from instruments.errors import TransportError
from instruments.transport._contract import Transport
from instruments.transport._recording import RecordingTransport
from instruments.transport._serial import SerialSettings, SerialTransport
from instruments.transport._tcp import TcpTransport
from instruments.transport._visa import VisaTransport

# What an address may take from the environment: a bench file of somebody else's must not send the
# rest of it, keys and tokens, to a host that it names.
_OPEN = re.compile(
    r"(?:OPERANDO|BENCH)_\w*(?<!KEY)(?<!TOKEN)(?<!PASSWORD)(?<!ALERTS)(?<!HEARTBEAT_URL)"
    r"|HOME|USER|XDG_RUNTIME_DIR"
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PUBLISHED = "published:"
# The folder into which every conversation is written down, if the environment names one.
DIALOGUES = "OPERANDO_DIALOGUES"
_LONGEST = 4096
_HINT = "is the simulator running? start it with `operando sim`"


def resolve(address: str) -> str:
    """Return the address with ``${VARIABLES}`` filled in and ``published:`` files followed.

    ``published:/path/to/file`` is a text file whose content is the address; it is written by the
    party that owns the port. Raises TransportError if a variable or the file is missing, if the
    variable is not one for addresses (``OPERANDO_...``, ``BENCH_...``), or the file another user's.
    """
    given = address
    for _ in range(5):
        address = _VARIABLE.sub(lambda found: _variable(found[1], given), address)
        if not address.startswith(_PUBLISHED):
            return address
        path = Path(address.removeprefix(_PUBLISHED))
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                _refuse_a_strangers(path, os.fstat(file.fileno()).st_uid, given)
                address = file.read(_LONGEST).strip()
        except OSError as error:
            raise TransportError(
                f"{given}: no address is published in {path} ({error.strerror}): {_HINT}"
            ) from error
        if not address:
            raise TransportError(f"{given}: {path} is empty: {_HINT}")
    raise TransportError(f"{given}: published addresses point to one another")


def _refuse_a_strangers(path: Path, owner: int, address: str) -> None:
    """Raise TransportError if somebody else wrote where the instrument is: it could be any port."""
    if hasattr(os, "getuid") and owner not in (os.getuid(), 0):
        raise TransportError(
            f"{address}: {path} was published by another user (uid {owner}), who may name any "
            "port: start the simulator yourself, or name another folder with OPERANDO_SIM"
        )


def _variable(name: str, address: str) -> str:
    if _OPEN.fullmatch(name) is None:
        raise TransportError(
            f"{address}: an address takes no {name} from the environment, only what begins with "
            "OPERANDO_ or BENCH_ and is no key (and HOME, USER, XDG_RUNTIME_DIR): rename it"
        )
    try:
        return os.environ[name]
    except KeyError:
        raise TransportError(
            f"{address}: the environment has no variable {name}: {_HINT}, or set {name}"
        ) from None


def open_transport(
    address: str,
    *,
    terminator: bytes = b"\n",
    record_to: Path | None = None,
    settings: SerialSettings | None = None,
) -> Transport:
    """Open the conversation at ``address`` and own it alone.

    ``serial:///dev/ttyACM0`` (``?baud_rate=230400&parity=E`` override ``settings``),
    ``tcp://host:port``, ``visa:TCPIP::host::5025::SOCKET``, or ``published:`` any of these.
    With ``record_to`` the dialogue is appended to that file; without, to one in the folder that
    ``$OPERANDO_DIALOGUES`` names, if it names one. Raises TransportError, which says
    what is missing and what to do.
    """
    real = resolve(address)
    transport = _open(real, terminator, settings or SerialSettings())
    if record_to is None and (folder := os.environ.get(DIALOGUES)):
        record_to = Path(folder, re.sub(r"[^A-Za-z0-9]+", "-", real).strip("-") + ".txt")
    return transport if record_to is None else RecordingTransport(transport, record_to)


def _open(address: str, terminator: bytes, settings: SerialSettings) -> Transport:
    if address.startswith("visa:"):
        name = address.removeprefix("visa:")
        return VisaTransport(
            name, baud_rate=settings.baud_rate, terminator=terminator, address=address
        )
    url = urlsplit(address)
    if url.scheme == "serial":
        return SerialTransport(
            unquote(url.path),
            settings=_overridden(settings, url.query, address),
            terminator=terminator,
            address=address,
        )
    if url.scheme == "tcp":
        try:
            host, port = url.hostname, url.port
        except ValueError as error:
            raise TransportError(f"{address}: {error}") from error
        if host is None or port is None:
            raise TransportError(f"{address}: write it as tcp://host:port")
        return TcpTransport(host, port, terminator=terminator, address=address)
    raise TransportError(
        f"{address}: not an address for text: serial:///dev/NAME, tcp://host:port, visa:NAME or "
        "published:/path are"
    )


def _overridden(settings: SerialSettings, query: str, address: str) -> SerialSettings:
    kinds = get_type_hints(SerialSettings)
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in kinds:
            raise TransportError(f"{address}: no serial setting {key!r}; there are {list(kinds)}")
        try:
            values[key] = bool(int(text)) if kinds[key] is bool else kinds[key](text)
        except ValueError as error:
            raise TransportError(f"{address}: {key}={text!r} is not valid: {error}") from error
    return SerialSettings(**values)
