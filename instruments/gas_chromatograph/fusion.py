"""INFICON's Micro GC Fusion by its own web server: HTTP, answers in JSON.

Eight requests are used: how many modules there are, which state it is in, which method to load, a
run with a name of ours, to stop what is done, which result is the last, which results there are,
and one of them. The web server owns nobody: who else commands the instrument is not known.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from instruments.abilities import Abilities
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.gas_chromatograph.contract import Chromatogram, Injection
from instruments.gas_chromatograph.results import parse_chromatogram
from instruments.transport import resolve

_log = logging.getLogger(__name__)

_MANAGER = "/v1/scm/sessions/system-manager"
READY = "public:ready"
_REFUSED = 500
_TIMEOUT_S = 5.0
_POLL_S = 0.05
# Results come minutes apart: the web server of an instrument need not be asked more often.
_LOOK_EVERY_S = 0.5
_NEWEST = 20
_ALL = 100_000

_NAME = re.compile(r"[\w.:@+ -]{1,200}", re.ASCII)

_Told = TypeVar("_Told")


class FusionClient:
    """The requests; every failure is an InstrumentError that tells what was asked.

    What only asks is asked once more where no answer came in time, or a broken one. What commands
    (to run, to load a method, to stop) is never sent twice: it may have been obeyed.

    Args:
        address: ``http://host``, or ``published:`` one.
        timeout_s: how long an answer may take, s.
    """

    def __init__(self, address: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.address = address
        self.who = f"gas chromatograph at {address}"
        self._timeout_s = timeout_s
        self._http: httpx.Client | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def modules(self) -> int:
        """Return what the instrument tells as its number of modules, 0 to 4.

        The maker's own client takes it for the number of the last one, counted from 0.
        """
        path = "/system/systemInfo/systemSpec/numberOfModules"
        told = self._json(path)
        if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told <= 4:
            raise ProtocolError(
                f"{self.who}: asked {path}, it answered {told!r}: a Micro GC Fusion tells "
                "0 to 4 modules. Is this its address?"
            )
        return told

    def state(self) -> tuple[str, str]:
        """Return the states of sequence and system, such as ``public:ready``."""
        path = f"{_MANAGER}/publicConfiguration"
        told = self._json(path)
        if (
            not isinstance(told, list)
            or len(told) < 2
            or not all(isinstance(one, str) for one in told)
        ):
            raise ProtocolError(f"{self.who}: asked {path}, it answered {told!r}, no two states")
        return told[0], told[1]

    def clock_ahead_s(self) -> float | None:
        """Return how far its clock is ahead of this computer's, s, to 1 s; ``None``: not told.

        By the ``Date`` of an answer (RFC 9110, 6.6.1), which is in whole seconds of its own clock.
        """
        before = time.time()
        answer = self._request("GET", f"{_MANAGER}/publicConfiguration")
        told, middle = answer.headers.get("Date"), 0.5 * (before + time.time())
        if told is None:
            return None
        try:
            # It is cut off, not rounded.
            return parsedate_to_datetime(told).timestamp() + 0.5 - middle
        except (TypeError, ValueError, OverflowError):
            return None

    def load_method(self, name: str) -> None:
        """Load a method of the user's; raises InstrumentFaultError if it is refused."""
        location = f"/v1/methods/userMethods/{name}"
        answer = self._request(
            "GET", f"{_MANAGER}!cmd.loadMethod", params={"methodLocation": location}
        )
        if answer.status_code != 200:
            raise InstrumentFaultError(
                f"{self.who}: asked to load the method {name!r}, it answered HTTP "
                f"{answer.status_code}: is there a method of this name, and is it ready?"
            )

    def run(self, label: str) -> bool:
        """Start a run at once, called ``label``; return whether it was obeyed."""
        # Not `runWhenReady`: it would inject at a time that nobody knows.
        body: dict[str, Any] = {"runWhenReady": False}
        if label:
            body["annotations"] = {"name": label, "tags": ["operando"]}
        answer = self._request("POST", f"{_MANAGER}!cmd.run", json=body)
        if answer.status_code == _REFUSED:
            return False
        if answer.status_code != 200:
            raise ProtocolError(f"{self.who}: asked to run, it answered HTTP {answer.status_code}")
        return True

    def abort(self) -> None:
        """End what is being done."""
        self._request("GET", f"{_MANAGER}!cmd.abort")

    def last_run(self) -> str:
        """Return the name of the last result; empty if there is none yet."""
        told = self._json("/v1/lastRun", if_missing={"dataLocation": ""})
        location = told.get("dataLocation") if isinstance(told, dict) else None
        if not isinstance(location, str):
            raise ProtocolError(f"{self.who}: asked /v1/lastRun, it answered {told!r}")
        return location.rsplit("/", 1)[-1]

    def runs(self, limit: int) -> list[str]:
        """Return the names of the newest results, the newest first."""
        told = self._json("/runData", params={"limit": limit, "sortByDate": "DESC"})
        try:
            names = [one["$id"] for one in told["runs"]]
        except (KeyError, TypeError) as error:
            raise ProtocolError(
                f"{self.who}: asked /runData, it answered {str(told)[:80]!r}"
            ) from error
        # They become part of an address: none may lead elsewhere.
        if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
            raise ProtocolError(f"{self.who}: asked /runData, its names are {str(names)[:80]!r}")
        return names

    def data(self, name: str) -> bytes:
        """Return one result."""

        def ask() -> bytes:
            answer = self._request("GET", f"/runData/{name}")
            if answer.status_code != 200:
                raise ProtocolError(
                    f"{self.who}: asked /runData/{name}, it answered HTTP {answer.status_code}: "
                    "has it been deleted?"
                )
            return answer.content

        return self._asked(ask)

    def _json(self, path: str, *, if_missing: Any = None, **options: Any) -> Any:
        """Return what is told at ``path``, or ``if_missing`` where nothing is (HTTP 404)."""

        def ask() -> Any:
            answer = self._request("GET", path, **options)
            if answer.status_code == 404 and if_missing is not None:
                return if_missing
            return self._read(answer, path)

        return self._asked(ask)

    def _asked(self, ask: Callable[[], _Told]) -> _Told:
        """Return what ``ask`` does; it asks once more where it fails, and must change nothing."""
        try:
            return ask()
        except (TransportError, ProtocolError) as error:
            _log.debug("asking again after: %s", error)
            return ask()

    def _read(self, answer: httpx.Response, path: str) -> Any:
        if answer.status_code != 200:
            raise ProtocolError(
                f"{self.who}: asked {path}, it answered HTTP {answer.status_code}: is a Micro "
                "GC Fusion at this address?"
            )
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(
                f"{self.who}: asked {path}, it answered {answer.content[:60]!r}, which is no "
                "JSON: is a Micro GC Fusion at this address, and no proxy before it?"
            ) from error

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client().request(method, path, **options)
        except httpx.TimeoutException as error:
            raise TransportTimeout(
                f"{self.who}: asked {path}, no answer within {self._timeout_s:g} s: is it "
                "switched on, in this network, and at this address?"
            ) from error
        except httpx.HTTPError as error:
            raise TransportError(
                f"{self.who}: asked {path}, it cannot be reached ({error}): is it switched on, "
                "in this network, and at this address?"
            ) from error

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                url = resolve(self.address)
                if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                    raise TransportError(f"{self.who}: write it as http://host")
                # What a computer says of proxies is for the internet, not for a bench.
                self._http = httpx.Client(base_url=url, timeout=self._timeout_s, trust_env=False)
            return self._http


class Fusion:
    """A Micro GC Fusion as a gas chromatograph: it is started by a command, not by a contact.

    Args:
        address: ``http://host``, or ``published:`` one.
        method: loaded when it is connected; None: the one that is loaded is used.
        detector: of which module the trace is taken; needed where there are several.
        confirm_timeout_s: how long it may take to leave its ready state after a start, s.
    """

    verified_on: str | None = None

    def __init__(
        self,
        address: str,
        *,
        method: str | None = None,
        detector: str | None = None,
        confirm_timeout_s: float = 5.0,
    ) -> None:
        self.address = address
        self._detector = detector
        self._client = FusionClient(address)
        self._method = method
        self._confirm_timeout_s = confirm_timeout_s
        self._modules = 0
        self._warned = False

    def connect(self) -> None:
        """Ask what it is and load the method; starts nothing.

        Raises ProtocolError if something else answers, InstrumentFaultError if it has no such
        method, no method is loaded, or it has several modules and no detector is named.
        """
        try:
            self._modules = self._client.modules()
            if self._modules > 1 and self._detector is None:
                raise InstrumentFaultError(
                    f"{self.address}: it has {self._modules} modules, and the bench file does not "
                    "say which sees hydrogen: name its detector as the results call it, such as "
                    "detector: moduleA:tcd"
                )
            if self._method is not None:
                self._client.load_method(self._method)
            sequence, _ = self._client.state()
            if sequence == "public:sequence-not-loaded" and self._method is None:
                raise InstrumentFaultError(
                    f"{self._client.who}: no method is loaded: load one, or name one in the bench "
                    "file (method)"
                )
        except BaseException:
            self._client.close()
            raise
        if self.verified_on is None and not self._warned:
            self._warned = True
            _log.warning(
                "%s: this driver has not been confirmed on real hardware; watch the first runs",
                self._client.who,
            )

    def close(self) -> None:
        """Close the connection; a run in progress ends by itself."""
        self._client.close()

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="INFICON Micro GC Fusion",
                does=("load a method", "inject with a name", "tell whether it is ready"),
                limits_kept_by="nobody",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return what is known of the instrument."""
        return {
            "model": "INFICON Micro GC Fusion",
            "address": self.address,
            "modules": str(self._modules),
            "method": self._method or "as loaded",
        }

    def clock_ahead_s(self) -> float | None:
        """Return how far its clock is ahead of this computer's, s, to 1 s; ``None``: not told."""
        return self._client.clock_ahead_s()

    def ready(self) -> bool:
        """Return whether a run would be started now."""
        return self._client.state()[1] == READY

    def inject(self, label: str = "") -> Injection:
        """Start a run called ``label`` if the instrument is ready; wait until it has begun.

        What is refused (HTTP 500) was not ready: between the question and the command a sequence of
        its own may have begun. Where no answer comes to the command it is not sent again: if the
        instrument is not ready any more, it has started, and nobody confirmed it. Blocks for a few
        requests, and up to ``confirm_timeout_s``.

        Raises TransportError if no answer comes and it stays ready, or tells nothing.
        """
        before = time.time()
        if not self.ready():
            return Injection(False, False, before, time.time())
        before = time.time()
        try:
            obeyed = self._client.run(label)
        except TransportError as error:
            if not self._has_left_ready():
                raise
            _log.warning("%s; it has left its ready state: taken as started", error)
            return Injection(True, False, before, time.time())
        if not obeyed:
            _log.warning("%s: it was ready and refused to run", self._client.who)
            return Injection(False, False, before, time.time())
        return Injection(True, self._has_left_ready(), before, time.time())

    def _has_left_ready(self) -> bool:
        """Wait until it is not ready any more; return whether it came to that in time."""
        deadline = time.monotonic() + self._confirm_timeout_s
        left = not self.ready()
        while not left and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            left = not self.ready()
        return left

    def safe_state(self) -> None:
        """Do nothing: a run that goes on is safe, and its result is wanted."""


class FusionResults:
    """The results that the instrument keeps, by name.

    Args:
        address: ``http://host``, or ``published:`` one.
        detector: whose trace is taken where there are several modules.
        time_zone: zone of times that tell none; None: that of this computer.
    """

    names_runs = True

    def __init__(
        self, address: str, *, detector: str | None = None, time_zone: str | None = None
    ) -> None:
        self.address = address
        self.detector = detector
        self.time_zone = time_zone
        self._client = FusionClient(address)
        self._done: set[str] = set()
        self._complained: set[str] = set()
        self._last = ""
        self._looked = 0.0

    def begin(self) -> None:
        """Take what is there now as old; raises TransportError if it cannot be reached."""
        self._last = self._client.last_run()
        self._done = set(self._client.runs(_NEWEST))

    def end(self) -> None:
        """Close the connection."""
        self._client.close()

    def new(self) -> list[Chromatogram]:
        """Return the results that came since the last look, in order of their start.

        The instrument is asked twice a second at most.
        """
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return []
        self._looked = time.monotonic()
        last = self._client.last_run()
        if last == self._last:
            return []
        found, whole = [], True
        for name in self._client.runs(_NEWEST):
            if name in self._done:
                continue
            try:
                found.append(self._result(name))
            except InstrumentError as error:
                # The others are handed out; this one is asked for again at the next look.
                whole = False
                if name not in self._complained:
                    self._complained.add(name)
                    _log.warning("%s", error)
                continue
            self._done.add(name)
        if whole:
            self._last = last
        return sorted(found, key=lambda result: result.started)

    def listed(self) -> dict[str, int]:
        """Return all results that it keeps; how large they are it does not tell."""
        try:
            return dict.fromkeys(self._client.runs(_ALL), 0)
        finally:
            self._client.close()

    def content(self, name: str) -> bytes:
        """Return one of them."""
        try:
            return self._client.data(name)
        finally:
            self._client.close()

    def _result(self, name: str) -> Chromatogram:
        content = self._client.data(name)
        return parse_chromatogram(content, Path("runData") / name, self.detector, self.time_zone)
