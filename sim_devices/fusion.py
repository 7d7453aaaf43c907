"""An INFICON Micro GC Fusion behind its web server: commands by HTTP, results as JSON.

``publicConfiguration`` tells [sequence, system]; ``!cmd.`` paths are commands. A run that cannot be
started now is refused with HTTP 500, one that is to wait (``runWhenReady``) waits. Results lie at
``/runData/ID``; ``/v1/lastRun`` tells the last one's ID. Paths with and without ``/v1`` are the
same for data.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sim_devices.chromatograph import OF_THE_INSTRUMENT
from sim_devices.doors import Door, deliver
from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf, WireFaults

if TYPE_CHECKING:
    from sim_devices.chromatograph import InjectingInstrument
    from sim_devices.clock import SimulatedClock

MANAGER = "/scm/sessions/system-manager"
METHODS = ("H2_molecular_sieve", "Standby")
# The instrument as its server tells it: a path is a way through this. INFICON's own client takes
# ``numberOfModules`` for the number of the last one, the first being 0.
TREE: dict[str, Any] = {
    "system": {
        "systemInfo": {
            "systemSerialNumber": "70012345",
            "systemPartNumber": "F",
            "hostname": "fusion-70012345",
            "systemSpec": {"numberOfModules": 0},
        },
        "modules": {
            "moduleA": {
                "moduleInfo": {
                    "moduleSerialNumber": "80054321",
                    "modulePartNumber": "R",
                    "moduleSpecText": "Molecular sieve, variable volume injector",
                }
            }
        },
    },
    "methods": {"userMethods": {name: {} for name in METHODS}},
    "valcoSelector": {},
}
_WAIT_POLL_S = 0.02
_BAKEOUT_LIMIT_S = 3600.0
_TCP = "by TCP nothing damaged arrives"

FAULTS = FaultsOf(
    "a Fusion gas chromatograph",
    {
        **{name: WIRE_FAULTS[name] for name in ("resume", "split", "disconnect", "slow")},
        "stall": "answers nothing for `seconds` (without: until `resume`)",
        "garble": "the next `count` (1) answers are a page of a proxy",
        "drop-bytes": "the next `count` (1) answers lack `bytes` (1) bytes, and then it hangs up",
        "drop": "hangs up instead of the next `count` (1) answers",
        "refuse": "refuses the next `count` (1) runs, although it is ready",
        "power-cycle": "has no power for `seconds` (1): the run is lost, no method is loaded",
        "clock-jump": "sets its clock forward by `seconds` (60), back if negative: what it stamps "
        "results with",
        "out-of-range": "tells `value` (-1e9) as the area of hydrogen in the next `count` (1) "
        "results",
        "silence": "hangs up without an answer, until `speech`",
        "speech": "ends that",
        **OF_THE_INSTRUMENT,
    },
    {
        "merge": "one request, one answer, in turn: there is nothing that it could come with",
        "wrong-checksum": "HTTP has none",
        "garble-in": _TCP,
    },
)


class FusionServer:
    """The web server; `address` is where it listens, on this computer only."""

    def __init__(self, instrument: InjectingInstrument, clock: SimulatedClock) -> None:
        """Serve an instrument, which is closed with it.

        Args:
            instrument: the chromatograph.
            clock: of the bench; held while a command is obeyed.
        """
        self._instrument = instrument
        self._clock = clock
        self._lock = threading.Lock()
        self._method = ""
        self._bakes_until_s: float | None = None  # cell time
        self._waiting: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._silent = False
        self.broken = WireFaults(FAULTS)
        self._door = Door(self._serve, self.broken, name="fusion")
        self.address = f"http://{self._door.host}:{self._door.port}"

    def close(self) -> None:
        """Switch it off."""
        self._cancelled.set()
        self._door.close()
        if self._waiting is not None:
            self._waiting.join()
        self._instrument.close()

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        self.broken.take(fault, options)
        if fault in ("silence", "speech"):
            self._silent = fault == "silence"
        elif fault in (*OF_THE_INSTRUMENT, "resume", "clock-jump", "out-of-range"):
            self._instrument.inject(fault, **options)
        if fault == "power-cycle":
            self._cancelled.set()
            with self._lock:
                self._method, self._bakes_until_s = "", None
            self._instrument.inject(fault, **options)
        if fault in ("power-cycle", "disconnect"):
            self._door.shut()

    def _serve(self, connection: socket.socket) -> None:
        _Handler(connection, self)

    # ---- the language: status code and content

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes] | None:
        """Return status and body of a request's answer; None: there is none."""
        url = urlsplit(target)
        asked = {key: values[-1] for key, values in parse_qs(url.query).items()}
        path = url.path.removeprefix("/v1")
        if self._silent or self.broken.due("drop"):
            return None
        if self.broken.due("garble"):
            return 200, b"<html><body>Proxy error</body></html>"
        if path.startswith(f"{MANAGER}!cmd."):
            command = path.removeprefix(f"{MANAGER}!cmd.")
            with self._clock.exchange("fusion"):
                return self._command(method, command, asked, body)
        if method != "GET":
            return 405, b""
        match path.strip("/").split("/"):
            case [""]:
                return 200, b"<html><body>Micro GC Fusion</body></html>"
            case ["scm", "sessions", "system-manager", "publicConfiguration"]:
                return _json(self._state())
            case ["lastRun"]:
                results = list(self._instrument.results)
                if not results:
                    return 404, b""
                return _json({"dataLocation": results[-1]})
            case ["runData"]:
                return self._runs(asked)
            case ["runData", number]:
                found = self._instrument.results.get(number)
                return (404, b"") if found is None else (200, found.read_bytes())
            case places:
                return _told_at(places)

    def _state(self) -> list[str]:
        sequence = f"public:sequence-{'loaded' if self._method else 'not-loaded'}"
        if self._bakes():
            return [sequence, "public:bakeout"]
        if self._instrument.ready:
            return [sequence, "public:ready"]
        running = self._instrument.running
        return [sequence, "public:method-running" if running else "public:not-ready"]

    def _bakes(self) -> bool:
        with self._lock:
            until_s = self._bakes_until_s
        return until_s is not None and self._clock.now() < until_s

    def _runs(self, asked: dict[str, str]) -> tuple[int, bytes]:
        results = list(self._instrument.results)
        try:
            limit = int(asked.get("limit", len(results)))
        except ValueError:
            return 500, b""
        if asked.get("sortByDate") == "DESC":
            results.reverse()
        runs = []
        for number in results[:limit]:
            told = json.loads(self._instrument.results[number].read_bytes())
            if asked.get("allData", "").lower() != "true":
                told.pop("detectors")
            runs.append(told)
        return _json({"runs": runs, "totalCount": len(results)})

    def _command(
        self, method: str, command: str, asked: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        if command == "run":
            try:
                told = json.loads(body or b"{}") if method == "POST" else {}
                annotations = dict(told.get("annotations") or {})
                waits = bool(told.get("runWhenReady"))
            except (ValueError, AttributeError, TypeError):
                return 500, b""
            return self._run(annotations, waits or asked.get("runWhenReady") == "true")
        if command == "loadMethod":
            name = asked.get("methodLocation", "").rsplit("/", 1)[-1]
            if name not in METHODS or not self._instrument.ready:
                return 500, b""
            self._method = name
            return 200, b""
        if command == "bakeout":
            try:
                seconds = float(asked.get("duration", "").removesuffix("s"))
            except ValueError:
                return 500, b""
            if not 0 < seconds <= _BAKEOUT_LIMIT_S or not self._instrument.ready:
                return 500, b""
            with self._lock:
                self._bakes_until_s = self._clock.now() + seconds
            return 200, b""
        if command in ("stop", "abort"):
            self._cancelled.set()
            with self._lock:
                self._bakes_until_s = None
            return 200, b""
        return 404, b""

    def _run(self, annotations: dict[str, Any], waits: bool) -> tuple[int, bytes]:
        if self.broken.due("refuse") or not self._method:
            return 500, b""
        if not self._bakes() and self._instrument.start(annotations):
            return 200, b""
        if not waits or (self._waiting is not None and self._waiting.is_alive()):
            return 500, b""
        self._cancelled.clear()

        def wait() -> None:
            with self._clock.hurry("run when ready"):
                while not self._cancelled.is_set():
                    if not self._bakes() and self._instrument.start(annotations):
                        return
                    time.sleep(_WAIT_POLL_S)

        self._waiting = threading.Thread(target=wait, name="fusion-run-when-ready", daemon=True)
        self._waiting.start()
        return 200, b""


def _told_at(places: list[str]) -> tuple[int, bytes]:
    part: Any = TREE
    for place in places:
        if not isinstance(part, dict) or place not in part:
            return 404, b""
        part = part[place]
    return _json(part)


def _json(value: object) -> tuple[int, bytes]:
    return 200, json.dumps(value).encode("utf-8")


class _Handler(BaseHTTPRequestHandler):
    """Answers what comes by one connection, until it ends."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, fusion: FusionServer) -> None:
        self._fusion = fusion
        super().__init__(connection, connection.getpeername(), None)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self._fusion.answer(self.command, self.path, body)
        if answer is None:
            self.close_connection = True
            return
        status, content = answer
        broken, kept = self._fusion.broken, self.wfile
        self.wfile = whole = io.BytesIO()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
        finally:
            self.wfile = kept
        if content and broken.due("drop-bytes"):
            content, self.close_connection = broken.shortened(content), True
        deliver(self.connection, whole.getvalue() + content, broken)

    def log_message(self, format: str, *values: Any) -> None:
        pass
