"""The owner's side: start the guard, tell it that we live, and start another if it dies."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from instruments.bench_file import BenchFile
from instruments.forked import keep_from_children, lead_nowhere

from ._lent import Lent
from ._places import GuardError, folder

_log = logging.getLogger(__name__)

VARIABLE = "OPERANDO_GUARD"
BEAT_EVERY_S = 0.1
_READY_S = 60.0
# A guard beats twice a second; one that is silent for so long is replaced.
_SILENT_S = 5.0
_RESTARTS, _WITHIN_S = 3, 60.0
_OWN_PAUSE_S = 1.0


def wanted() -> bool:
    """Return whether benches are guarded: they are, unless ``$OPERANDO_GUARD`` is ``off``.

    Raises GuardError if it is neither, and where no guard can be: it needs a system like Linux.
    """
    told = os.environ.get(VARIABLE, "on")
    if told not in ("on", "off"):
        raise GuardError(f"{VARIABLE} is {told!r}: it is on (the default) or off")
    if told == "on" and os.name != "posix":
        raise GuardError(f"there is no guard on this system: set {VARIABLE}=off if you must")
    return told == "on"


class Guard:
    """The guard of one bench, from `start` to `close`.

    Args:
        file: The bench.
        data_dir: The data folder, in whose journals it writes what it did.
        loop: The RunEngine's event loop, whose life is told as well; ``None``: there is none.
        lost: Called, from a thread, with the reason when there is no guard any more and none can be
            started: what runs then is to be ended.
        answered_for: Tells whose safety is to be told: marks (`instruments.strangers.mark_of`) of
            what is connected and of what was lost, by name of the instrument.
        lent: What other benches use as well, and who lends it; ``None``: nobody does.
    """

    def __init__(
        self,
        file: BenchFile,
        data_dir: Path,
        loop: AbstractEventLoop | None,
        lost: Callable[[str], None],
        answered_for: Callable[[], Mapping[str, Collection[str]]] = dict,
        lent: Lent | None = None,
    ) -> None:
        self._file = file
        self._data_dir = data_dir
        self._loop = loop
        self._lost = lost
        self._answered_for = answered_for
        self._lent = lent
        if lent is not None:
            lent.changed = self._tell_loans
        self._process: subprocess.Popen[bytes] | None = None
        self._writing = threading.Lock()
        self._changing = threading.RLock()  # whose process it is
        self._ready = threading.Event()
        self._interlocked = any(entry.kind == "interlock" for entry in file.instruments.values())
        self._holds = False
        self._held = threading.Event()
        self._closed = threading.Event()
        self._heard_at = self._engine_at = time.monotonic()
        self._run: dict[str, Any] = {"run": "", "finishes": False}
        self._last_run = ""
        self._started_at: list[float] = []
        self._ended = ""
        self._thread: threading.Thread | None = None
        keep_from_children(self)

    @property
    def pid(self) -> int | None:
        """Return the guard's process id; ``None`` if there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def state(self) -> dict[str, Any]:
        """Return ``pid``, whether it is ``ready``, and why it ``ended`` if it did."""
        return {"pid": self.pid, "ready": self._ready.is_set(), "ended": self._ended}

    def start(self) -> None:
        """Start the process; `wait` waits until it watches. Raises GuardError."""
        self._spawn()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)
        self._thread.start()

    def wait(self, *, cell_open: bool = True) -> None:
        """Wait until the guard watches, and holds the bench's interlock; raises GuardError if not.

        The interlock is left as it is unless the cell is known to be open: closed under a program
        that nobody has ended yet it would connect the cell to whatever that has come to.
        """
        watches = self._ready.wait(_READY_S)
        if watches and not self._ended and self._interlocked and cell_open:
            self._holds = True  # each beat tells it from now on
            watches = self._held.wait(_READY_S)
        if not watches or self._ended:
            said = self._said().rpartition("\n")[2]
            self.close()
            raise GuardError(f"the guard did not start; it said: {said or 'nothing'}")

    def run_opened(self, uid: str, *, finishes: bool) -> None:
        """Tell which run is open, and whether its program can end by itself and keep its rows."""
        self._last_run = uid
        self._run = {"run": uid, "finishes": finishes}
        self._tell(self._run)

    def run_ended(self) -> None:
        """Tell that no run is open."""
        self._run = {"run": "", "finishes": False}
        self._tell(self._run)

    def trip(self, names: Collection[str]) -> None:
        """Have the interlock opened, if there is one: these instruments could not be made safe."""
        self._tell({"trip": list(names)})

    def close(self, unsafe: Collection[str] = ()) -> None:
        """Let the guard go; what is ``unsafe`` it goes on trying to make safe. Callable twice."""
        with self._changing:
            if self._closed.is_set():
                return
            self._closed.set()
            process, self._process = self._process, None
        if process is None:
            return
        self._tell_loans(process)
        goodbye = {"goodbye": True, "unsafe": list(unsafe), "run": self._last_run, **self._who()}
        self._tell(goodbye, process)
        for end in (process.stdin, process.stdout):
            if end is not None:
                try:
                    end.close()
                except OSError:
                    pass  # it is gone
        if unsafe:
            # It lives on, and nobody waits for it; the system does when we end.
            process.returncode = 0
            return
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._log_path.unlink(missing_ok=True)

    def let_go_in_child(self) -> None:
        """Leave the guard to its owner: in a forked child it is closed, and gets no goodbye."""
        self._closed = threading.Event()  # the other one may be locked by a thread that is gone
        self._closed.set()
        process, self._process = self._process, None
        for end in () if process is None else (process.stdin, process.stdout):
            if end is not None and not end.closed:
                lead_nowhere(end.fileno())

    # -- inside

    def _spawn(self) -> None:
        now = time.monotonic()
        self._started_at = [at for at in self._started_at if now - at < _WITHIN_S] + [now]
        self._ready.clear()
        self._log_path = folder() / f"owner-{os.getpid()}.log"
        with open(self._log_path, "ab") as said:
            self._process = process = subprocess.Popen(
                # -P: a file in the working folder must not take the place of a library.
                [sys.executable, "-P", "-m", "operando.guard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                # Out of reach of what ends our terminal.
                start_new_session=True,
            )
        self._heard_at = time.monotonic()
        first = {
            "bench": self._file.model_dump(mode="json"),
            "data_dir": str(self._data_dir),
            "owner": os.getpid(),
            "log": str(self._log_path),
            **({} if self._lent is None else self._lent.told),
        }
        assert process.stdin is not None  # told to the type checker
        try:
            process.stdin.write(json.dumps(first).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise GuardError(f"the guard did not start: {error}; it said: {self._said()}") from None
        # A guard that stands still must not make us stand still.
        os.set_blocking(process.stdin.fileno(), False)
        threading.Thread(target=self._listen, args=(process,), name="guard", daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                self._heard_at = time.monotonic()
                told = json.loads(line)
                if told.get("ready"):
                    self._ready.set()
                if told.get("held"):
                    self._held.set()
                if told.get("tripped") and not self._closed.is_set():
                    self._ended = str(told["tripped"])
                    self._lost(self._ended)
        except (OSError, ValueError):
            pass  # closed here, or broken: the process is looked at below
        if self._closed.is_set() or process is not self._process:
            return
        process.kill()
        process.wait()
        self._replace(f"the guard (process {process.pid}) has ended")

    def _replace(self, why: str) -> None:
        # A guard that held an interlock leaves it to open: closing it again under a program that
        # runs would connect the cell to whatever the instrument has come to meanwhile.
        held = self._interlocked
        if held or not self._ready.is_set() or len(self._started_at) > _RESTARTS:
            self._ended = why
            self._ready.set()  # who waits for it is told
            self._held.set()
            if (held or len(self._started_at) > 1) and not self._closed.is_set():
                after = "and the interlock opens" if held else "and none can be started"
                self._lost(f"{why}, {after}")
            return
        try:
            with self._changing:
                if self._closed.is_set():
                    return
                _log.warning("%s; another one is started", why)
                self._spawn()
        except (GuardError, OSError) as error:
            self._ended = why
            self._lost(f"{why}, and none can be started: {error}")

    def _beat(self) -> None:
        beat_at = time.monotonic()
        while not self._closed.wait(BEAT_EVERY_S):
            before, beat_at = beat_at, time.monotonic()
            if beat_at - before > _OWN_PAUSE_S:
                # It was this process that stood still: what the guard said is read first.
                self._heard_at = self._engine_at = beat_at
            if self._loop is None:
                self._engine_lives()
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._engine_lives)
            # Each beat tells all: one that does not fit into the pipe is missed by nobody.
            engine_s = round(time.monotonic() - self._engine_at, 3)
            self._tell({"engine_s": engine_s, "hold": self._holds, **self._run, **self._who()})
            self._tell_loans()
            process = self._process
            if (
                process is not None
                and self._ready.is_set()
                and time.monotonic() - self._heard_at > _SILENT_S
            ):
                self._heard_at = time.monotonic()
                process.kill()  # its pipe ends, and another one is started

    def _who(self) -> dict[str, dict[str, list[str]]]:
        told = {name: sorted(marks) for name, marks in self._answered_for().items() if marks}
        return {"who": told}

    def _tell_loans(self, process: "subprocess.Popen[bytes] | None" = None) -> None:
        if self._lent is not None:
            self._tell({"loans": self._lent.loans}, process)

    def _engine_lives(self) -> None:
        self._engine_at = time.monotonic()

    def _tell(self, told: dict[str, Any], process: "subprocess.Popen[bytes] | None" = None) -> None:
        process = process or self._process
        if process is None or process.stdin is None:
            return
        with self._writing:
            try:
                os.write(process.stdin.fileno(), json.dumps(told).encode() + b"\n")
            except (OSError, ValueError):
                return  # full (it stands still) or gone: who listens to it does something

    def _said(self) -> str:
        try:
            return self._log_path.read_text(errors="replace")[-2000:].strip()
        except OSError:
            return ""
