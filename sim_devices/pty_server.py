"""Bytes in and out of a simulated serial instrument: a pseudo-terminal, or TCP where there is none.

The instrument's language gives a handler for what arrives and calls `ByteServer.send` for what it
says; it never sees a file descriptor. Faults of the wire and of the device are injected here, so
that every serial instrument has them.

When nobody drains the output the server keeps `buffer_bytes` (64 KiB by default, on top of the
about 18 KiB that a pseudo-terminal itself holds) and then behaves as told by `when_full`:
``"stall"`` blocks the sender, as a USB-CDC device does whose host has stopped reading; ``"drop"``
loses what does not fit, as a UART without flow control does.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import numpy as np

from sim_devices.doors import reset, same_port
from sim_devices.wire_faults import FaultsOf, WireFaults

Handler = Callable[[bytes], bytes | None]
OnFault = Callable[[str, dict[str, object]], None]

_CHUNK = 65536
_OUTPUT_HELD_BYTES = 32768
_HOST_POLL_S = 0.002


class ByteServer:
    """One serial line with one instrument at its end, served by a thread until `close`."""

    def __init__(
        self,
        handler: Handler,
        *,
        prefer_pty: bool = True,
        buffer_bytes: int = 65536,
        when_full: Literal["stall", "drop"] = "stall",
        on_fault: OnFault | None = None,
        faults: FaultsOf | None = None,
        refuses_connections: bool = False,
        seed: int = 0,
    ) -> None:
        """Open the line and start to listen.

        Args:
            handler: called in the server's thread with each piece of input as it arrives, which may
                be half a command or three; what it returns is sent. It must not block for long.
            prefer_pty: use a pseudo-terminal where the system has them, else TCP on 127.0.0.1.
            buffer_bytes: output that is kept while nobody reads.
            when_full: what `send` does beyond that.
            on_fault: called (in the thread that injects) with every fault's kind and options, after
                the server has done its part; an instrument resets itself at "power-cycle", and may
                know kinds of its own.
            faults: which there are, told by the instrument; None: any name is taken.
            refuses_connections: whether ``refuse`` means connections (to a socket) and not
                requests, which are the instrument's business.
            seed: of what faults leave to chance.
        """
        self._handler = handler
        self._buffer_bytes = buffer_bytes
        self._stalls_when_full = when_full == "stall"
        self._on_fault = on_fault
        self._random = np.random.default_rng(seed)
        self._changed = threading.Condition(threading.RLock())
        self._output: deque[tuple[float, bytes]] = deque()  # with when it may go out
        self._output_bytes = 0
        self._next_piece_at = 0.0
        self._misread: Callable[[bytes], bytes] | None = None
        self._away = False
        self.broken = WireFaults(faults, seed)
        self.moved: Callable[[str], None] = lambda address: None
        self._closed = False
        self._gone = False
        # Told what the instrument says and what of it, perhaps damaged, is on the wire, and when:
        # host monotonic clock, s, before anybody can have it.
        self.tap: Callable[[str, bytes, float], None] | None = None
        self._line: _PtyLine | _TcpLine
        if prefer_pty and hasattr(os, "openpty"):
            self._line = _PtyLine()
        else:
            self._line = _TcpLine(self.broken if refuses_connections else None)
        self.address = self._line.address
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(
            target=self._serve, name=f"serial line {self.address}", daemon=True
        )
        self._thread.start()

    # ---- for the instrument

    def send(self, data: bytes) -> bool:
        """Say something; blocks while the buffer is full if the server stalls.

        Never call it from the handler while the buffer can be full: return the bytes instead, which
        never blocks.

        Returns:
            False when it was not kept: the buffer is full and the server drops, or the line is
            closed.
        """
        return self._put(data, may_wait=threading.current_thread() is not self._thread)

    @property
    def pending_bytes(self) -> int:
        """Output that waits in the server's own buffer."""
        with self._changed:
            return self._output_bytes

    def discard_output(self) -> None:
        """Forget what waits in the server's own buffer."""
        with self._changed:
            self._output.clear()
            self._output_bytes = 0
            self._changed.notify_all()

    # ---- for whoever breaks things

    def inject(self, fault: str, **options: object) -> None:
        """Break something.

        Args:
            fault: one of `sim_devices.wire_faults.WIRE_FAULTS` or ``SERIAL_FAULTS``, or a name that
                the instrument knows.
            options: of the fault; also handed on.

        Raises:
            ValueError: the instrument has no such fault, or an option is no number.
        """
        with self._changed:
            if self._closed:
                return
            self.broken.take(fault, options)
            if fault in ("power-cycle", "disconnect"):
                self.discard_output()
                self._away |= fault == "disconnect"
            elif fault in ("wrong-speed", "wrong-parity"):
                self._misread = self._other_speed if fault == "wrong-speed" else _with_parity
            elif fault == "right-settings":
                self._misread = None
            elif fault == "unplug":
                self._gone = True
                self._changed.notify_all()
            self._wake()
        if self._on_fault is not None:
            self._on_fault(fault, options)

    def close(self) -> None:
        """Close the line and end the thread; waiting senders return False. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._line.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # ---- inside

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # it is awake already

    def _put(self, data: bytes, *, may_wait: bool) -> bool:
        with self._changed:
            if self.tap is not None:
                self.tap("said", data, time.monotonic())
            data = self.broken.on_its_way(data)
            if self._misread is not None:
                data = self._misread(data)
            while not (self._closed or self._gone or self._away):
                # A single message larger than the buffer is accepted by an empty one.
                if not self._output_bytes or self._output_bytes + len(data) <= self._buffer_bytes:
                    break
                if not self._stalls_when_full:
                    return False
                if not may_wait:
                    break
                self._changed.wait()
            if self._closed or self._gone or self._away:
                return False
            if data:
                was_empty = not self._output_bytes
                self._output.append((self.broken.ready_at(), data))
                self._output_bytes += len(data)
                if was_empty:
                    self._wake()
            return True

    def _other_speed(self, data: bytes) -> bytes:
        received = self._random.integers(0, 256, len(data), dtype=np.uint8)
        return bytes(received | np.uint8(0x80) * (self._random.random(len(data)) < 0.9))

    def _serve(self) -> None:
        try:
            self._serve_until_closed()
        finally:
            with self._changed:
                self._gone = True
                self._changed.notify_all()

    def _serve_until_closed(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                with self._changed:
                    if self._closed:
                        return
                    if self._gone:
                        break
                    away = self._away
                    waits_s = self._until_something_may_go()
                if away:
                    self._be_away(selector)
                    continue
                self._line.register(selector, waits_s == 0)
                for key, events in selector.select(waits_s or None):
                    if key.fd == self._wake_read:
                        os.read(self._wake_read, _CHUNK)
                        continue
                    if events & selectors.EVENT_READ:
                        self._hear(self._line.read(selector, key.fd))
                    if events & selectors.EVENT_WRITE:
                        self._drain()
            self._line.unregister(selector)
            self._line.unplug()

    def _hear(self, received: bytes | None) -> None:
        if received is None:  # a new client starts with an empty line
            self.discard_output()
        elif received and not self.broken.off_s():
            received = self.broken.heard(received)
            if self._misread == self._other_speed:
                received = self._other_speed(received)
            answer = self._handler(received)
            if answer:
                self._put(answer, may_wait=False)

    def _until_something_may_go(self) -> float | None:
        """Return for how long nothing is to be written, s; None: until somebody says so."""
        silent_s = self.broken.silent_s()
        if not self._output or silent_s == float("inf"):
            return None
        at = max(self._output[0][0], self._next_piece_at)
        return max(silent_s, at - time.monotonic(), 0.0)

    def _be_away(self, selector: selectors.BaseSelector) -> None:
        """Be disconnected until the time is over, or the line is closed."""
        self._line.unregister(selector)
        self._line.go_away()
        while (left := self.broken.off_s()) and not self._closed:
            if selector.select(left):
                os.read(self._wake_read, _CHUNK)
        if self._closed:
            return
        self._line.come_back()
        with self._changed:
            self._away = False
            self.address = self._line.address
        self.moved(self.address)

    def _drain(self) -> None:
        with self._changed:
            now = time.monotonic()
            while self._output and self._output[0][0] <= now:
                data = b""
                while self._output and self._output[0][0] <= now and len(data) < _CHUNK:
                    data += self._output.popleft()[1]
                size, pause_s = self.broken.piece(len(data))
                written = self._line.write(data[:size])
                if self.tap is not None and written:
                    self.tap("sent", data[:written], now)
                self._output_bytes -= written
                if written < len(data):
                    self._output.appendleft((0.0, data[written:]))
                    self._next_piece_at = now + pause_s
                    break
            self._changed.notify_all()


class PatientSender:
    """What an instrument says by itself: it waits for a host that does not read, not for ever.

    While the host reads nothing more is lost than what does not fit, in whole pieces; what is said
    is lost until the host has read what is left, or has said something.
    """

    def __init__(
        self,
        *,
        patience_s: float,
        on_loss: Callable[[], None],
        closed: Callable[[], bool],
    ) -> None:
        """Begin without a line; it is in `line` before anything is said.

        Args:
            patience_s: how long a host may read nothing, host seconds.
            on_loss: called when that is over.
            closed: whether there is nobody to wait any more.
        """
        self.line: ByteServer
        self._patience_s = patience_s
        self._on_loss = on_loss
        self._closed = closed
        self._host_is_gone = False

    def heard(self) -> None:
        """Note that the host has said something: who speaks will read."""
        self._host_is_gone = False

    def send(self, data: bytes) -> None:
        """Say something; blocks while much is unread."""
        line = self.line
        if self._host_is_gone:
            if line.pending_bytes:
                return
            self._host_is_gone = False
        seen = line.pending_bytes
        if seen > _OUTPUT_HELD_BYTES:
            last_move = time.monotonic()
            while (pending := line.pending_bytes) > _OUTPUT_HELD_BYTES and not self._closed():
                if pending < seen:
                    seen, last_move = pending, time.monotonic()
                elif time.monotonic() - last_move > self._patience_s:
                    self._host_is_gone = True
                    self._on_loss()
                    return
                time.sleep(_HOST_POLL_S)
        line.send(data)


class _PtyLine:
    """The master side of a pseudo-terminal in raw mode."""

    def __init__(self) -> None:
        self._left: list[int] = []
        self._plug_in()

    def _plug_in(self) -> None:
        import tty

        self._master, self._slave = os.openpty()
        # Raw before anybody opens it: else the terminal echoes the instrument's own output back to
        # it.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        # The slave stays open: with no client the master would be unreadable (EIO) and a client
        # could not come back.
        self.address = f"serial://{os.ttyname(self._slave)}"
        self._open = self._plugged = True

    def register(self, selector: selectors.BaseSelector, write: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        _register(selector, self._master, events)

    def unregister(self, selector: selectors.BaseSelector) -> None:
        _register(selector, self._master, 0)

    def read(self, selector: selectors.BaseSelector, fd: int) -> bytes | None:
        del selector, fd
        try:
            return os.read(self._master, _CHUNK)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def unplug(self) -> None:
        """Be gone; the number stays taken, or the next line would be found at this address."""
        if self._plugged:
            self._plugged = False
            os.close(self._master)

    def go_away(self) -> None:
        self.unplug()
        self._left.append(self._slave)

    def come_back(self) -> None:
        self._plug_in()

    def close(self) -> None:
        self.unplug()
        if self._open:
            self._open = False
            for slave in {self._slave, *self._left}:
                os.close(slave)


class _TcpLine:
    """A loopback socket that serves one client at a time, as a serial port does."""

    def __init__(self, refusing: WireFaults | None) -> None:
        self._refusing = refusing
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._client: socket.socket | None = None
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def register(self, selector: selectors.BaseSelector, write: bool) -> None:
        if self._client is None:
            _register(selector, self._listener.fileno(), selectors.EVENT_READ)
        else:
            _register(selector, self._listener.fileno(), 0)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
            _register(selector, self._client.fileno(), events)

    def unregister(self, selector: selectors.BaseSelector) -> None:
        _register(selector, self._listener.fileno(), 0)
        if self._client is not None:
            _register(selector, self._client.fileno(), 0)

    def read(self, selector: selectors.BaseSelector, fd: int) -> bytes | None:
        if self._client is None:
            client, _ = self._listener.accept()
            if self._refusing is not None and self._refusing.due("refuse"):
                reset(client)
                return b""
            self._client = client
            self._client.setblocking(False)
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return None
        try:
            received = self._client.recv(_CHUNK)
        except BlockingIOError:
            return b""
        except ConnectionError:
            received = b""
        if not received:
            _register(selector, fd, 0)
            self._client.close()
            self._client = None
        return received

    def write(self, data: bytes) -> int:
        if self._client is None:
            return 0
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except ConnectionError:
            return len(data)  # the read side notices that the client has gone

    def unplug(self) -> None:
        self.close()

    def go_away(self) -> None:
        self._listener = same_port(self._listener, self._listener.getsockname())
        if self._client is not None:
            reset(self._client)
            self._client = None

    def come_back(self) -> None:
        self._listener.listen()
        self._listener.setblocking(False)

    def close(self) -> None:
        self._listener.close()
        if self._client is not None:
            self._client.close()
            self._client = None


def _register(selector: selectors.BaseSelector, fd: int, events: int) -> None:
    """Make a selector watch a descriptor for exactly these events; 0: not at all."""
    key = selector.get_map().get(fd)
    if key is None:
        if events:
            selector.register(fd, events)
    elif not events:
        selector.unregister(fd)
    elif key.events != events:
        selector.modify(fd, events)


def _with_parity(data: bytes) -> bytes:
    return bytes(byte & 0x7F | (byte & 0x7F).bit_count() % 2 << 7 for byte in data)
