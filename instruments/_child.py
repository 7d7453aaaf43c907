"""A vendor's library in a process of its own.

Such libraries hang, spin, print and hold devices. Each therefore runs in one *spawned* child; the
driver talks to it over the child's standard input and output (length-prefixed msgpack), and when
the driver closes, fails or dies, even by ``kill -9``, the child brings the instrument to its safe
state, releases it and exits.

The child's side is a function ``serve(arguments) -> object``. The public methods of the object are
what the parent may call; they run one after the other in the child's main thread. The object has

``safe_state()``
    leave the instrument so that it can be left alone. Idempotent. Called from another thread than
    the other methods, possibly beside one that is still running.
``close()``
    release the instrument; called last, once, from the main thread.
"""

import contextlib
import importlib
import itertools
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Any, NoReturn, Self

import msgpack
import numpy as np

from instruments import errors
from instruments.errors import InstrumentError, ProtocolError, TransportError, TransportTimeout
from instruments.forked import keep_from_children, lead_nowhere

# From the end of the control pipe to the child's end, whatever the vendor's library does; and how
# much of it a method that is still running gets once the instrument is safe.
WATCHDOG_S = 5.0
RELEASE_S = 2.0
# How often the child looks whether its owner lives: the pipe alone does not tell when another
# process inherited its other end.
OWNER_CHECK_S = 0.5

_HEADER = struct.Struct("<I")
_ARRAY = 1
_LARGEST = 1 << 30
_log = logging.getLogger(__name__)


# -- what both sides say


def pack(message: object) -> bytes:
    """Encode one message with its length in front.

    numpy arrays of numbers keep type and shape, numpy scalars become Python numbers, tuples become
    lists. Raises ProtocolError for anything msgpack does not know.
    """
    try:
        body: bytes = msgpack.packb(message, default=_pack_array)
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"cannot be sent between processes: {error}") from error
    return _HEADER.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    """Decode the body of one message; raises ProtocolError if it is not one."""
    try:
        return msgpack.unpackb(body, ext_hook=_unpack_array, strict_map_key=False)
    except ProtocolError:
        raise
    except (
        ArithmeticError, SyntaxError, TypeError, ValueError, msgpack.UnpackException
    ) as error:  # fmt: skip
        raise ProtocolError(f"not a message: {body[:40]!r}: {error}") from error


def _pack_array(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        data = np.ascontiguousarray(value)
        head = msgpack.packb([data.dtype.str, list(value.shape)])
        return msgpack.ExtType(_ARRAY, head + data.tobytes())
    raise TypeError(f"{type(value).__name__} {value!r:.80}")


def _unpack_array(code: int, data: bytes) -> np.ndarray:
    if code != _ARRAY:
        raise ProtocolError(f"not a message: unknown extension type {code}")
    head = msgpack.Unpacker()
    head.feed(data[:512])
    dtype, shape = head.unpack()
    kind = np.dtype(dtype)
    if kind.kind not in "biufc" or not all(type(n) is int and n >= 0 for n in shape):
        raise ProtocolError(f"not a message: an array of {dtype!r} and the shape {shape!r}")
    # A copy, because an array over the message's own bytes could not be written to.
    return np.frombuffer(data[head.tell() :], dtype=kind).reshape(shape).copy()


def _read_exactly(file: int, size: int) -> bytes | None:
    """Read ``size`` bytes; ``None`` at end-of-file."""
    parts = []
    while size:
        part = os.read(file, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _read_message(file: int) -> Any:
    """Read one message; ``None`` at end-of-file."""
    header = _read_exactly(file, _HEADER.size)
    if header is None:
        return None
    (size,) = _HEADER.unpack(header)
    if size > _LARGEST:
        raise ProtocolError(f"not a message: a length of {size} bytes ({header!r})")
    body = _read_exactly(file, size)
    return None if body is None else unpack(body)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


# -- the parent's side


class Child:
    """A spawned process that serves the object made by ``target`` ("module:function").

    Args:
        target: where the ``serve`` function is, as ``"package.module:function"``.
        arguments: what ``serve`` is given (anything :func:`pack` can send).
        who: name and address of the instrument, for messages; by default from the arguments.
        start_timeout_s: how long importing the library and ``serve`` may take.

    Blocks until ``serve`` has returned and raises what it raised: errors of the
    ``InstrumentError`` family by their class and text, anything else as ``InstrumentError``;
    ``TransportError`` if the process died or said nothing.
    """

    def __init__(
        self,
        target: str,
        arguments: dict[str, Any],
        *,
        who: str | None = None,
        start_timeout_s: float = 30.0,
    ) -> None:
        self.target = target
        self.who = who or f"{target} {arguments.get('address', '')}".strip()
        self._numbers = itertools.count(1)
        self._answers: dict[int, SimpleQueue[dict[str, Any] | None]] = {}
        self._one_call = threading.Lock()
        self._state = threading.Lock()  # guards _answers, _ended and writing to the child
        self._ended: str | None = None
        self._noise: deque[str] = deque(maxlen=20)
        root = str(Path(__file__).resolve().parents[1])
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        # A session of its own: Ctrl-C in the terminal is for the owner, who then closes.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, target, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
            bufsize=0,
        )
        self._threads = [
            threading.Thread(target=self._listen, name=f"{target}-answers", daemon=True),
            threading.Thread(target=self._overhear, name=f"{target}-stderr", daemon=True),
        ]
        keep_from_children(self)
        for thread in self._threads:
            thread.start()
        try:
            self._ask("serve", {"start": arguments}, start_timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Return the process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Return whether the child can be called."""
        return self._ended is None and self._process.poll() is None

    def let_go_in_child(self) -> None:
        """Leave the process to its parent: in a forked child, which is not that, it is gone."""
        self._ended = "it belongs to the process that forked this one"
        for end in (self._process.stdin, self._process.stdout, self._process.stderr):
            if end is not None and not end.closed:
                lead_nowhere(end.fileno())

    def call(self, method: str, timeout_s: float, /, **arguments: Any) -> Any:
        """Run ``method`` in the child and return its result.

        Calls from several threads wait for each other. Raises what the method raised (see the
        class); ``TransportError`` if the child has died; ``TransportTimeout`` after ``timeout_s``
        of silence, and then the child is ended (it brings the instrument to its safe state if
        it still can, and is killed if not).
        """
        with self._one_call:
            return self._ask(method, {"call": method, "arguments": arguments}, timeout_s)

    def call_beside(self, method: str, timeout_s: float, /, **arguments: Any) -> Any:
        """Run ``method`` at once, in a thread of its own, beside a call that is running.

        For ``safe_state`` and for what the vendor's library allows from any thread. Raises like
        :meth:`call`.
        """
        return self._ask(method, {"beside": method, "arguments": arguments}, timeout_s)

    def close(self, timeout_s: float = WATCHDOG_S + 1.0) -> None:
        """End the child: safe state, release, exit; killed after ``timeout_s``. Idempotent."""
        self._end("it was closed")
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("%s: its process %d did not end and is killed", self.who, self.pid)
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, method: str, request: dict[str, Any], timeout_s: float) -> Any:
        number = next(self._numbers)
        answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        data = pack({"number": number} | request)
        deadline = time.monotonic() + timeout_s
        with self._state:
            if self._ended is not None:
                raise TransportError(
                    f"{self.who}: {method} was asked of a process that is gone: {self._ended}"
                )
            self._answers[number] = answers
            written = self._send(data, deadline)
        try:
            answer = answers.get(timeout=max(deadline - time.monotonic(), 0.0)) if written else {}
        except Empty:
            answer = {}
        finally:
            with self._state:
                self._answers.pop(number, None)
        if answer is None:
            raise TransportError(
                f"{self.who}: its process {self.pid} ended while {method} was asked "
                f"({self._ended}); connect again{self._last_words()}"
            )
        if not answer:
            self._end(f"it did not answer {method} within {timeout_s:g} s")
            self.close()
            raise TransportTimeout(
                f"{self.who}: no answer to {method} within {timeout_s:g} s; its process was ended, "
                f"connect again{self._last_words()}"
            )
        if "error" in answer:
            raise self._error(method, answer["error"])
        return answer.get("result")

    def _error(self, method: str, told: Any) -> InstrumentError:
        if not isinstance(told, list) or [type(part) for part in told] != [str, str, str]:
            return ProtocolError(
                f"{self.who}: {method} failed, and its process tells {told!r:.200}"
            )
        kind, text, trace = told
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, InstrumentError):
            return known(text)
        return InstrumentError(f"{self.who}: {method} failed: {kind}: {text}\n{trace}")

    def _send(self, data: bytes, deadline: float) -> bool:
        """Write within the deadline; the lock ``_state`` is held. False if it could not be."""
        pipe = self._process.stdin
        assert pipe is not None  # by construction
        file, view = pipe.fileno(), memoryview(data)
        os.set_blocking(file, False)
        while view:
            _, ready, _ = select.select([], [file], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                return False
            try:
                view = view[os.write(file, view) :]
            except BrokenPipeError:
                return True  # the listener sees the end and says so
            except BlockingIOError:
                continue
        return True

    def _end(self, reason: str) -> None:
        """Close the control pipe; the child then ends by itself."""
        pipe = self._process.stdin
        with self._state:
            if self._ended is None:
                self._ended = reason
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _listen(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None  # by construction
        reason = "it closed its side"
        try:
            while (answer := _read_message(pipe.fileno())) is not None:
                with self._state:
                    waiting = self._answers.get(answer["number"])
                if waiting is not None:
                    waiting.put(answer)
        except (ProtocolError, KeyError, TypeError) as error:
            reason = f"what it sent is not a message: {error!r}"
        pipe.close()
        self._end(reason)
        try:
            self._process.wait(WATCHDOG_S + 1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        code = self._process.returncode
        with self._state:
            if code < 0:
                self._ended = f"{self._ended}; ended by {signal.Signals(-code).name}"
            elif code > 0:
                self._ended = f"{self._ended}; exit code {code}"
            for waiting in self._answers.values():
                waiting.put(None)

    def _overhear(self) -> None:
        """Keep the last lines of the child's standard error, where libraries put their noise."""
        pipe: IO[bytes] | None = self._process.stderr
        assert pipe is not None  # by construction
        with pipe:
            for line in _lines(pipe.fileno()):
                self._noise.append(line)
                _log.debug("%s: %s", self.who, line)

    def _last_words(self) -> str:
        return "".join(f"\n    | {line}" for line in tuple(self._noise)[-5:])


def _lines(file: int) -> Iterator[str]:
    """Yield the lines of a file descriptor, long ones in parts."""
    rest = b""
    while data := os.read(file, 65536):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > 4096:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode(errors="replace").rstrip()
    if rest:
        yield rest.decode(errors="replace").rstrip()


# -- the child's side


class _Served:
    """The loop of the child: a reader thread, and the methods in the main thread."""

    def __init__(self, requests: int, answers: int, owner: int) -> None:
        self._requests = requests
        self._answers = answers
        self._owner = owner
        self._calls: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._writing = threading.Lock()
        self._leaving = threading.Lock()
        self._safe = threading.Event()
        self._object: Any = None
        self._signals = -1

    def run(self, target: str) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A signal's number arrives in this pipe whichever thread got it (libraries start some),
        # and even while the main thread hangs.
        self._signals, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        first = self._calls.get()
        if first is None:
            return
        module, _, function = target.partition(":")

        def start(**arguments: Any) -> None:
            self._object = getattr(importlib.import_module(module), function)(arguments)

        started = self._answer(first["number"], start, first["start"])
        while started and (request := self._calls.get()) is not None:
            method = self._method(request["call"])
            self._answer(request["number"], method, request["arguments"])
        self._leave()
        # Nothing is released before the instrument is safe, or was given its time to be.
        self._safe.wait(WATCHDOG_S)
        if self._object is not None:
            try:
                self._object.safe_state()  # again: it may have connected after the first
            finally:
                self._object.close()

    def _method(self, name: str) -> Any:
        def unknown(**arguments: Any) -> None:
            raise AttributeError(f"no public method {name!r}")

        return unknown if name.startswith("_") else getattr(self._object, name, unknown)

    def _answer(self, number: int, work: Any, arguments: dict[str, Any]) -> bool:
        """Do the work and send what came of it; returns whether it went well."""
        try:
            answer = pack({"number": number, "result": work(**arguments)})
            well = True
        except Exception as error:  # everything is told to the owner
            well = False
            trace = "" if isinstance(error, InstrumentError) else traceback.format_exc()
            answer = pack({"number": number, "error": [type(error).__name__, str(error), trace]})
        with self._writing, contextlib.suppress(BrokenPipeError):
            _write_all(self._answers, answer)
        return well

    def _read(self) -> None:
        try:
            while True:
                files = [self._requests, self._signals]
                readable, _, _ = select.select(files, [], [], OWNER_CHECK_S)
                if self._signals in readable or os.getppid() != self._owner:
                    break
                if not readable:
                    continue
                request = _read_message(self._requests)
                if request is None:
                    break
                if "beside" in request:
                    work = self._method(request["beside"])
                    threading.Thread(
                        target=self._answer,
                        args=(request["number"], work, request["arguments"]),
                        daemon=True,
                    ).start()
                else:
                    self._calls.put(request)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Make the instrument safe at once, whatever the main thread is doing, then end it."""
        if not self._leaving.acquire(blocking=False):
            return
        watchdog = threading.Timer(WATCHDOG_S, _leave_hard)
        watchdog.daemon = True
        watchdog.start()
        try:
            if self._object is not None:
                self._object.safe_state()
        except Exception:  # told to whoever reads standard error; the exit must go on
            traceback.print_exc()
        finally:
            self._safe.set()
            self._calls.put(None)
            release = threading.Timer(RELEASE_S, _leave_hard)
            release.daemon = True
            release.start()


def _leave_hard() -> NoReturn:
    os._exit(3)


def _main(target: str, owner: str) -> None:
    # The channel moves to descriptors nobody else knows: what a library prints goes to standard
    # error, and nothing can read from the channel.
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    _Served(requests, answers, int(owner)).run(target)


if __name__ == "__main__":
    _main(*sys.argv[1:])
