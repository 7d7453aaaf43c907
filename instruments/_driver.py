"""What drivers of an instrument on a line of text of its own have in common."""

import logging
import re
import threading
import time
from pathlib import Path
from typing import ClassVar

from instruments.errors import ProtocolError, TransportError, TransportTimeout
from instruments.transport import SerialSettings, Transport, open_transport

_log = logging.getLogger(__name__)

# What belongs to no answer is heard out for so long; who still talks then talks by itself.
_LONGEST_TALK_S = 3.0
# What may stand around an answer; str.strip() takes off bytes besides that are damage.
PADDING = " \t\r\n"
_NUMBER = re.compile(r"[-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,2})?")


def unanswered(
    who: str, asked: str, error: TransportTimeout, right: str, before: bytes = b""
) -> TransportTimeout:
    """Return what is to be told of a question that was not answered.

    Args:
        who: the instrument and its address.
        asked: what it was asked.
        error: how the wire tells it.
        right: how it is to be: ``powered, and at 9600 baud``.
        before: the last line that came and was no answer.
    """
    heard = error.heard or before
    told = f"{who}: asked {asked}: {error}"
    if heard and not error.heard:
        told += f", but {heard[:80]!r} before"
    if heard:
        told += (
            ", which is none of its answers: is another instrument at this address, or its line "
            f"set otherwise? It should be {right}"
        )
    else:
        shared = "tcp:" in str(error).lower() or "TCPIP" in str(error)
        alone = ", and is nobody else connected to it" if shared else ""
        told += f": is it {right}{alone}?"
    return TransportTimeout(told, heard=heard)


def is_plain(text: str) -> bool:
    """Return whether an answer is text as instruments write it: what is damaged mostly is not."""
    return bool(text) and text.isascii() and text.isprintable()


def number_in(text: str) -> float | None:
    """Return the number that an answer is; ``None`` if it is none, such as ``1_0``, inf or .5."""
    return float(text) if _NUMBER.fullmatch(text) else None


def of_other_settings(answer: str | bytes) -> str:
    """Return what is to be added where an answer is none of text; empty where it is text."""
    text = answer.decode("latin-1") if isinstance(answer, bytes) else answer
    if all(x.isascii() and (x.isprintable() or x in "\t\r\n") for x in text):
        return ""
    return " (these bytes are no text: do baud rate and parity agree on both sides?)"


class LineDriver:
    """One instrument behind one exclusive line; subclasses know its language.

    ``connect`` opens the line and does what ``_prepare`` does; ``close`` goes to the safe state and
    releases the line. Both may be called twice. Every failure is an InstrumentError, and where
    connecting fails the line is free.

    Args:
        address: of the line; ``serial:///dev/...``, ``tcp://host:port``, ``visa:NAME`` or
            ``published:`` one of these.
        record_to: file to which the whole dialogue is appended.
    """

    verified_on: str | None = None
    # What messages call it, and how they say that it should be: "powered, and at 9600 baud".
    _kind: ClassVar[str]
    _right: ClassVar[str]
    # What is to be said of what it drives when the line is lost.
    _left: ClassVar[str] = ""
    # What is to be said where the line cannot be had.
    _if_taken: ClassVar[str] = ""
    _terminator: ClassVar[bytes] = b"\n"
    _settings: ClassVar[SerialSettings] = SerialSettings()

    def __init__(self, address: str, *, record_to: Path | None = None) -> None:
        self.address = address
        self._record_to = record_to
        self._transport: Transport | None = None
        self._lock = threading.RLock()  # one command and its answer
        self._warned = False
        self._in_use = False  # from the end of connect to the release

    def connect(self) -> None:
        """Open the line and check who is there; see the class for what else it does.

        Raises TransportError if the line cannot be had or nobody answers, ProtocolError if somebody
        else does, InstrumentFaultError if it refuses to work.
        """
        with self._lock:
            if self._transport is not None:
                return
            try:
                self._transport = open_transport(
                    self.address,
                    terminator=self._terminator,
                    settings=self._settings,
                    record_to=self._record_to,
                )
            except TransportError as error:
                told = f"{self._who()}: {error} {self._if_taken}".rstrip()
                raise TransportError(told) from error
            try:
                self._prepare()
            except BaseException:
                self._release()
                raise
            self._in_use = True
        if not self._warned:
            self._warned = True
            self._warn()

    @property
    def connected(self) -> bool:
        """Return whether the line is open."""
        return self._transport is not None

    def close(self) -> None:
        """Go to the safe state and release the line; a failure is raised when it is released."""
        with self._lock:
            if self._transport is None:
                return
            try:
                self.safe_state()
            finally:
                self._release()

    def safe_state(self) -> None:
        """Leave nothing on that this driver switched on; what drives nothing has nothing to do."""

    def _prepare(self) -> None:
        """Check who is there, and do what is done once; the line is open, and it may raise."""
        raise NotImplementedError

    def _warn(self) -> None:
        """Say, when it has been connected for the first time, what its user must know."""
        if self.verified_on is None:
            _log.warning(
                "%s: this driver has not been confirmed on real hardware; watch the first runs",
                self._who(),
            )

    def _release(self) -> None:
        self._in_use = False
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _forget_input(self, quiet_s: float = 0.0) -> bytes:
        """Read what is no answer any more, until nothing came for ``quiet_s``; return it.

        Byte by byte: the beginning of a line that never ended would be put before the next one.
        Raises ProtocolError if it does not end: then it is an instrument that talks by itself.
        """
        wire = self._wire()
        heard = bytearray()
        end = time.monotonic() + _LONGEST_TALK_S
        try:
            while time.monotonic() < end:
                heard += wire.read_exactly(1, quiet_s)
        except TransportTimeout:
            return bytes(heard)
        except TransportError as error:
            raise self._lost("for its silence", error) from error
        raise ProtocolError(
            f"{self._who()}: it goes on talking by itself, last {bytes(heard[-40:])!r}: another "
            "instrument is at this address, or a program that somebody else began"
        )

    def _say(self, data: bytes, asked: str) -> None:
        """Send; a failure tells who was asked what, and what follows."""
        try:
            self._wire().write(data)
        except TransportError as error:
            raise self._lost(asked, error) from error

    def _heard(self, timeout_s: float, asked: str, before: bytes = b"") -> bytes:
        """Return the next line; a failure tells who was asked what, and what follows.

        ``before`` is what came last and was no answer.
        """
        try:
            return self._wire().read_line(timeout_s)
        except TransportTimeout as error:
            silent = unanswered(self._who(), asked, error, self._right, before)
            raise TransportTimeout(self._with_what_is_left(silent), heard=silent.heard) from error
        except TransportError as error:
            raise self._lost(asked, error) from error

    def _lost(self, asked: str, error: TransportError) -> TransportError:
        if self._transport is None:
            return error  # it says so
        told = TransportError(f"{self._who()}: asked {asked}: {error}")
        return type(error)(self._with_what_is_left(told))

    def _with_what_is_left(self, error: TransportError) -> str:
        if not self._in_use or not self._left:
            return str(error)
        end = "" if str(error).endswith("?") else "."
        return f"{error}{end} {self._left}"

    def _wire(self) -> Transport:
        if self._transport is None:
            raise TransportError(f"{self._who()}: not connected; call connect() first")
        return self._transport

    def _who(self) -> str:
        return f"{self._kind} at {self.address}"
