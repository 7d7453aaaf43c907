"""Take secrets out of texts: known ones wherever they stand, others by what stands before them.

Rather too much is masked than too little: whoever reads the text is a stranger.
"""

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

MASKED = "(masked)"
# Shorter ones are words of every text; what they are the value of is masked by its name.
_SHORTEST = 5
# Words that say it wherever they stand in a name, and those that must stand by themselves in it.
_ANYWHERE = (
    r"passw|passphrase|passcode|secret|token|credential|webhook|"
    r"api_?-?key|access_?-?key|private_?-?key"
)
_ALONE = (
    r"pass|pwd|pw|(?<!data_)key|auth|authorization|authentication|cookie|bearer|session_?-?id|"
    r"psk|pin|t?otp|community"
)
_NAME = (
    rf"(?:[A-Za-z0-9_.-]{{0,40}}(?:{_ANYWHERE})[A-Za-z0-9_.-]{{0,40}}"
    rf"|(?:[A-Za-z0-9_.-]{{0,40}}[_.-])?(?:{_ALONE})(?:[_.-][A-Za-z0-9_.-]{{0,40}})?)"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_SECRET_VARIABLE = re.compile(
    "PASS|PWD|SECRET|TOKEN|CRED|KEY|AUTH|COOKIE|HOOK|_ALERTS|HEARTBEAT_URL|"
    "(?:^|_)(?:PSK|PIN|T?OTP|COMMUNITY)(?:_|$)"
)
_NO_SECRETS = {"false", "disabled", "enabled", "default", "absent", "never", "always"}
_TWO_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_PEM = re.compile(r"-----BEGIN [^\n]*?-----.*?(?:-----END [^\n]*?-----|\Z)", re.DOTALL)
# The last @ of what can be a host: a password may hold one.
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s/?#'\"<>]*@")
_HEADER = re.compile(r"\b(Bearer|Basic|Apikey|Token)(\s+)[^\s'\",]+", re.IGNORECASE)
# Codes and signatures are secrets in an address; elsewhere they are words of every text.
_SIGNED = r"(?:[A-Za-z0-9_.-]{0,40}[_.-])?(?:sig|signature|code)"
_QUERY = re.compile(rf"([?&;](?:{_NAME}|{_SIGNED})=)[^&\s'\"]*", re.IGNORECASE)
# Who knows such an address may post there: the secret is the path.
_WEBHOOK = re.compile(
    r"(https?://(?=[^\s'\"<>]*(?:hook|maker\.ifttt\.|/bot\d+:))[^\s/?#'\"<>]*)[/?#][^\s'\"<>]*",
    re.IGNORECASE,
)
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*'"
_BLOCK = re.compile(
    rf"^(?P<indent>[ \t]*)(?P<key>(?:- )?[\"']?{_NAME}[\"']?[ \t]*:)"
    r"[ \t]*(?:[|>][^\n]*|[{\[]|#[^\n]*)?\r?\n(?:[ \t]*\n)*"
    r"(?:(?P=indent)(?:[ \t]+|- )[^\n]*(?:\n|\Z)(?:[ \t]*\n)*)+",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_LINE = re.compile(
    rf"(?P<key>(?<![A-Za-z0-9])(?P<quote>[\"']?){_NAME}(?P=quote)[ \t]*[:=][ \t]*\r?\n\s*)"
    rf"(?P<value>{_QUOTED}|(?<=[ \t])[^\n]+)",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    rf"(?P<key>(?<![A-Za-z0-9])(?P<quote>\\?[\"']?){_NAME}(?P=quote)[ \t]*[:=][ \t]*)"
    rf"(?P<value>{_QUOTED}|[^\n]*)",
    re.IGNORECASE,
)
# An option of a command and what stands behind it, in a line or as parts of a list.
_OPTION_NAME = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_OPTION = re.compile(
    rf"(?P<key>(?<![\w-])(?P<quote>\\?[\"']?)--?{_NAME}(?P=quote)(?:\s*,\s*|\s+(?:-[ \t]+)?))"
    rf"(?P<value>{_QUOTED}|\\\"[^\n]*?\\\"|\S+)",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Return whether what is called like this is not for others: a password, a key, a token."""
    return _SECRET_NAME.fullmatch(_TWO_WORDS.sub("_", name)) is not None


def is_secret_variable(name: str) -> bool:
    """Return whether a variable of the environment may hold a secret, by its name."""
    return name not in ("PWD", "OLDPWD") and _SECRET_VARIABLE.search(name.upper()) is not None


class Mask:
    """Makes texts fit to be shown to a stranger.

    Args:
        secrets: What must not be in any text, wherever it comes from.
        home: The folder that is written as ``~``; by default that of this user.
    """

    def __init__(self, secrets: Iterable[str] = (), home: str | None = None) -> None:
        spelt: set[str] = set()
        for secret in secrets:
            for one in {secret, *secret.splitlines()}:
                if len(one) >= _SHORTEST:
                    spelt |= _spellings(one)
        # The longest first: one may be a part of another.
        ordered = sorted(spelt, key=lambda one: (-len(one), one))
        self._secrets = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        home = os.path.expanduser("~") if home is None else home
        home = home.rstrip("/")
        self._home = re.compile(rf"{re.escape(home)}(?![A-Za-z0-9_.-])") if home else None

    def text(self, text: str) -> str:
        """Return a text without secrets, and without the name of the home folder."""
        if self._secrets is not None:
            text = self._secrets.sub(MASKED, text)
        text = _PEM.sub(MASKED, text)
        text = _USER_INFO.sub(rf"\1{MASKED}@", text)
        text = _HEADER.sub(rf"\1\2{MASKED}", text)
        text = _QUERY.sub(rf"\1{MASKED}", text)
        text = _WEBHOOK.sub(rf"\1/{MASKED}", text)
        text = _BLOCK.sub(rf"\g<indent>\g<key> {MASKED}\n", text)
        for place in (_OPTION, _NEXT_LINE, _ASSIGNED):
            text = place.sub(_masked_value, text)
        return text if self._home is None else self._home.sub("~", text)

    def tree(self, value: Any) -> Any:
        """Return a value of mappings, lists and texts with its secrets masked."""
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): MASKED if is_secret_name(str(key)) else self.tree(part)
                for key, part in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            parts = list(value)
            return [
                MASKED if _is_option(before) else self.tree(part)
                for before, part in zip([None, *parts], parts, strict=False)
            ]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))


def _is_option(part: Any) -> bool:
    """Return whether what follows is the value of ``--password`` or the like."""
    return isinstance(part, str) and _OPTION_NAME.fullmatch(part) is not None


def _masked_value(found: re.Match[str]) -> str:
    value = found["value"]
    if not value.strip() or value.strip() in (MASKED, "{", "["):
        return found[0]
    mark = value[0] if value[0] in "\"'" and value[-1] == value[0] and len(value) > 1 else ""
    return f"{found['key']}{mark}{MASKED}{mark}"


def _spellings(secret: str) -> set[str]:
    """Return how a secret may be written: as it is, in a URL, in JSON, in Python, in base64."""
    raw = secret.encode("utf-8", "surrogateescape")
    return {
        secret,
        quote(secret, safe="", errors="surrogateescape"),
        quote(secret, errors="surrogateescape"),
        quote_plus(secret, errors="surrogateescape"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        secret.replace("'", "''"),
        base64.b64encode(raw).decode().rstrip("="),
    }


def _of_stations(data_dir: Path) -> list[str]:
    """Return the password of the queues' Redis, keys and tickets of stations, and their doors'."""
    folder = data_dir / "state" / "queueing"
    found: list[str] = []
    secret = re.compile(r'"(?:private|lock|token)": ?"([^"\s]{16,})"')
    whole = (folder / "redis" / "password", folder / "door" / "tokens.key")
    for path in (*whole, *folder.glob("stations/*/*.json*")):
        try:
            text = path.read_text("utf-8", "surrogateescape")[:10_000].strip()
        except OSError:
            continue  # there is none
        found += [text] if path in whole else secret.findall(text)
    return [one for one in found if one]


def known_secrets(data_dir: Path, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the secrets that this program can know of.

    Those are what variables with such names hold, the key of the data folder's catalog, that of a
    catalog it shares, and the addresses to which alerts are sent.
    """
    given = os.environ if environment is None else environment
    found = [value for name, value in given.items() if is_secret_variable(name)]
    # Credentials in an address: proxies are told like this.
    userinfo = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://([^\s/?#]*)@")
    for value in given.values():
        for told in userinfo.findall(value):
            found += [told, *told.split(":", 1)[1:]]
    found += _of_stations(data_dir)
    places = [data_dir / "state" / "catalog.key"]
    told_in = (data_dir / "catalog.yaml", Path(given.get("OPERANDO_CATALOG") or os.devnull))
    for path in told_in:
        try:
            for line in path.read_text("utf-8", "replace").splitlines():
                name, _, rest = line.partition(":")
                if name.strip() == "key_file":
                    places.append(path.parent / Path(rest.strip().strip("'\"")).expanduser())
        except OSError:
            continue  # there is none
    places += _files_of_addresses(given)
    for path in places:
        try:
            found.append(path.read_text("utf-8", "surrogateescape")[:10_000].strip())
        except (OSError, ValueError, RuntimeError):
            continue
    return [one for one in found if one.lower() not in _NO_SECRETS]


def _files_of_addresses(environment: Mapping[str, str]) -> list[Path]:
    """Return where the file of stations says that the addresses for alerts are."""
    from operando.settings import config_dir

    try:
        folder = Path(environment.get("OPERANDO_CONFIG") or config_dir())
        lines = (folder / "stations.yaml").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    named = (line.partition("urls_file:")[2].partition(" #")[0] for line in lines)
    found = [name.strip().strip("'\"{}, ") for name in named]
    try:
        return [folder / Path(name).expanduser() for name in found if name]
    except RuntimeError:  # a home that nobody has
        return []
