"""Where alerts go: addresses that are secrets, from the environment and a file of their owner's."""

import logging
import os
import re
import stat
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from operando.doctor import Mask, known_secrets
from operando.queueing.errors import QueueError
from operando.queueing.secret_variables import ALERTS, HEARTBEAT_URL
from operando.settings import config_dir
from techniques.queueing import AlertSettings

_HEARTBEAT = re.compile(r"heartbeat\s*[:=]\s*(\S+)", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):/{0,2}")
_LONGEST = 100_000
_WORD = re.compile(r"[A-Za-z]+|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[^@]+@[^@]+\.[A-Za-z]+|[\d.]+")
_LOGGERS = ("apprise", "httpx", "httpcore", "urllib3", "urllib3.connectionpool", "requests")


@dataclass(frozen=True)
class Address:
    """One that is told.

    Attributes:
        name: By which people and files know it; holds nothing of the secret: ``2 slack``.
        url: The Apprise URL.
        service: Who it is, ``Slack``.
    """

    name: str
    url: str = field(repr=False)
    service: str
    _target: Any = field(repr=False, compare=False)

    def send(self, title: str, body: str, severity: str, attach: Iterable[Path] = ()) -> str:
        """Send to it; return why that failed, without secrets; empty: it was taken.

        It may take as long as the network does. Files that are not there any more are left out.
        """
        apprise = _apprise()
        files = [str(path) for path in attach if path.is_file()]
        server = apprise.Apprise(asset=_asset())
        server.add(self._target)
        told = []
        try:
            with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as captured:
                taken = server.notify(
                    body=body,
                    title=title,
                    notify_type=severity,
                    body_format="text",
                    attach=files or None,
                )
                told = captured.getvalue().splitlines()
        except Exception as error:
            # Any: a hundred services, each with a library's worth of errors.
            taken, told = False, [f"{type(error).__name__}: {error}"]
        if taken:
            return ""
        why = "; ".join(dict.fromkeys(one.strip() for one in told if one.strip()))
        return _mask([self]).text(why[:500]) or f"{self.service} did not take it"


@dataclass(frozen=True)
class Addresses:
    """Everybody who is told, and what is wrong with the others.

    Attributes:
        told: Those that can be used.
        heartbeat_url: What is asked for every five minutes; ``None``: nothing is.
        problems: Sentences on what cannot be used, without secrets.
    """

    told: tuple[Address, ...]
    heartbeat_url: str | None = field(default=None, repr=False)
    problems: tuple[str, ...] = ()

    @cached_property
    def mask(self) -> Mask:
        """Return what takes these secrets out of a text."""
        return _mask(self.told, self.heartbeat_url)


def read_addresses(
    settings: AlertSettings, environment: Mapping[str, str] | None = None
) -> Addresses:
    """Return the addresses of ``$OPERANDO_ALERTS``, then those of the file; raises nothing.

    An address that is wrong keeps no other from being used.
    """
    given = os.environ if environment is None else environment
    lines = [(line, f"${ALERTS}") for line in given.get(ALERTS, "").splitlines()]
    problems: list[str] = []
    if settings.urls_file is not None:
        try:
            path = urls_path(settings.urls_file)
            lines += [(line, str(path)) for line in read_private(path).splitlines()]
        except (QueueError, OSError) as error:
            problems.append(str(error))
    heartbeat = given.get(HEARTBEAT_URL, "").strip() or None
    told: list[Address] = []
    for line, source in lines:
        url = line.strip()
        if not url or url.startswith("#"):
            continue
        if (found := _HEARTBEAT.fullmatch(url)) is not None:
            heartbeat = heartbeat or found[1]
            continue
        number = len(told) + len(problems) + 1
        address = _address(url, number)
        if address is None:
            scheme = _SCHEME.match(url)
            kind = f"one of {scheme[1].lower()}" if scheme else "without a scheme"
            problems.append(
                f"address {number} ({kind}, from {source}) is none that Apprise knows: see "
                "https://appriseit.com/services, one address a line"
            )
        elif address.url not in [one.url for one in told]:
            told.append(address)
    if heartbeat is not None and urlsplit(heartbeat).scheme not in ("http", "https"):
        problems.append(f"the address of the heartbeat (${HEARTBEAT_URL}) begins with no http(s)")
        heartbeat = None
    return Addresses(tuple(told), heartbeat, tuple(problems))


def signature(settings: AlertSettings) -> tuple[object, ...]:
    """Return what changes when the file of addresses does."""
    if settings.urls_file is None:
        return ()
    try:
        told = urls_path(settings.urls_file).stat()
    except OSError as error:
        return (error.errno,)
    return (told.st_ino, told.st_mtime_ns, told.st_size, told.st_mode, told.st_uid)


def urls_path(name: str) -> Path:
    """Return where a file of addresses is: as it is named, else in the configuration folder."""
    path = Path(name).expanduser()
    return path if path.is_absolute() else config_dir() / path


def read_private(path: Path) -> str:
    """Return a text that only its owner may read.

    Raises:
        QueueError: it is not there, no file, somebody else's, or others may read it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise QueueError(
            f"the addresses for alerts cannot be read from {path}: {error.strerror}"
        ) from None
    with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise QueueError(f"{path} holds no addresses for alerts: it is no file")
        if status.st_uid != os.getuid():
            raise QueueError(
                f"{path} belongs to uid {status.st_uid}, this is uid {os.getuid()}: have a file "
                "of your own; nothing of it is used"
            )
        if status.st_mode & 0o077:
            raise QueueError(
                f"others may read {path} (mode {stat.S_IMODE(status.st_mode):04o}), and it holds "
                f"secrets: chmod 600 {path}; nothing of it is used"
            )
        return file.read(_LONGEST)


def secrets_of(url: str) -> list[str]:
    """Return what of an address must not be told: all of it, and each part that is no word."""
    found = [url]
    _, _, rest = url.partition(":")
    authority = rest.lstrip("/").partition("/")[0]
    info, at, _ = authority.rpartition("@")
    if at:
        found += [info, info.partition(":")[2]]
    for part in re.split(r"[/?&=:@,#]+", rest):
        if len(part) >= 8 and _WORD.fullmatch(unquote(part)) is None:
            found.append(part)
    return [one for text in found if text for one in {text, unquote(text)}]


def mask_logs(mask: Mask) -> "LogMask":
    """Take secrets out of what the libraries log that send; remove the filter when done."""
    filtered = LogMask(mask)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(filtered)
    return filtered


class LogMask(logging.Filter):
    """Rewrites records so that they hold no secret."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self.mask = mask

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.mask.text(record.getMessage()), None
        if record.exc_info:
            record.exc_info, record.exc_text = None, None
        return True

    def remove(self) -> None:
        """Have the libraries log as they did before."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)


def _address(url: str, number: int) -> Address | None:
    apprise = _apprise()
    scheme = _SCHEME.match(url)
    if scheme is None:
        return None
    quiet = logging.getLogger("apprise")
    hold = _Nothing()
    quiet.addFilter(hold)  # it tells the address that it does not understand
    try:
        target = apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
    finally:
        quiet.removeFilter(hold)
    if target is None:
        return None
    target.overflow_mode = apprise.OverflowMode.SPLIT  # rather two messages than none
    return Address(f"{number} {scheme[1].lower()}", url, str(target.service_name), target)


@cache
def _apprise() -> Any:
    with warnings.catch_warnings():
        # One of its services asks for a module that Python 3.13 has no more, and does without.
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        import apprise

        apprise.Apprise.instantiate("json://localhost")  # services are loaded when asked for
    return apprise


class _Nothing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False


def _asset() -> Any:
    # Nothing is kept on the disk by it, no file of this user's is loaded as code, one at a time.
    asset = _apprise().AppriseAsset(storage_mode="memory", plugin_paths=[], secure_logging=True)
    asset.app_id = "operando"
    asset.app_desc = "operando"
    asset.async_mode = False
    return asset


def _mask(told: Iterable[Address], heartbeat_url: str | None = None) -> Mask:
    secrets = [one for address in told for one in secrets_of(address.url)]
    if heartbeat_url is not None:
        secrets += secrets_of(heartbeat_url)
    return Mask([*secrets, *known_secrets(Path(os.devnull))])
