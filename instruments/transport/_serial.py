"""Serial ports, real and virtual, through pyserial with a reader of our own.

pyserial's ``readline`` reads byte by byte (6 k lines/s on a pseudo-terminal); taking what is there
reads 1.1 M lines/s and loses none.
"""

import errno
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import serial

from instruments.errors import TransportError, TransportTimeout
from instruments.transport._buffered import BufferedTransport

_XON_XOFF = b"\x11\x13"
_REFUSED: tuple[type[Exception], ...] = (serial.SerialException, OSError, ValueError)
if os.name == "posix":
    import termios

    # An adapter that has no such frame (7 data bits, even parity) is told by this.
    _REFUSED = (*_REFUSED, termios.error)
_BUSY = (errno.EAGAIN, errno.EBUSY, errno.EWOULDBLOCK)
_BUSY_FOR_S = 0.3
_WRITE_S = 5.0
_WHAT_TO_DO = "is the instrument switched on and its cable plugged in?"


@dataclass(frozen=True)
class SerialSettings:
    """How the line runs; USB-CDC instruments and pseudo-terminals ignore all but the filter.

    Attributes:
        baud_rate: line speed, baud.
        byte_size: data bits.
        parity: ``N``, ``E`` or ``O``.
        stop_bits: stop bits.
        rts_cts: hardware handshake.
        drop_flow_control: remove 0x11 and 0x13 from what arrives (text protocols of instruments
            that send XON/XOFF). Software flow control itself stays off: with it the kernel
            swallows these bytes, and with them an instrument's power-up mark.
    """

    baud_rate: int = 9600
    byte_size: int = 8
    parity: str = "N"
    stop_bits: float = 1
    rts_cts: bool = False
    drop_flow_control: bool = False


class SerialTransport(BufferedTransport):
    """Own one serial port exclusively; raises TransportError if it cannot be had."""

    def __init__(
        self,
        device: str,
        *,
        settings: SerialSettings | None = None,
        terminator: bytes = b"\n",
        address: str | None = None,
    ) -> None:
        super().__init__(address or f"serial://{device}", terminator)
        settings = settings or SerialSettings()
        if _is_pseudo_terminal(device):
            # It has no frame and no handshake lines, and some C libraries refuse to ask for them.
            settings = replace(settings, byte_size=8, parity="N", stop_bits=1, rts_cts=False)
        self._drop = _XON_XOFF if settings.drop_flow_control else b""
        give_up = time.monotonic() + _BUSY_FOR_S
        while True:
            try:
                self._port = self._opened(device, settings)
                return
            except _REFUSED as error:
                # A process that is just being started holds copies of what we had open before.
                if getattr(error, "errno", None) not in _BUSY or time.monotonic() > give_up:
                    raise TransportError(
                        f"{self.address}: cannot open: {_why(device, error)}"
                    ) from error
                time.sleep(0.02)

    @staticmethod
    def _opened(device: str, settings: SerialSettings) -> serial.Serial:
        return serial.Serial(
            device,
            baudrate=settings.baud_rate,
            bytesize=settings.byte_size,
            parity=settings.parity,
            stopbits=settings.stop_bits,
            rtscts=settings.rts_cts,
            xonxoff=False,
            exclusive=True,
            timeout=0,
            write_timeout=_WRITE_S,
        )

    def _receive(self, timeout_s: float) -> bytes:
        try:
            if self._port.timeout != timeout_s:
                self._port.timeout = timeout_s
            data = self._port.read(self._port.in_waiting or 1)
        except (serial.SerialException, OSError, TypeError) as error:
            raise TransportError(
                f"{self.address}: the port is gone while reading ({error}): {_WHAT_TO_DO}"
            ) from error
        return data.translate(None, self._drop) if self._drop else data

    def _send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise TransportTimeout(
                f"{self.address}: {data[:80]!r} was not taken within {_WRITE_S:g} s: does the "
                "instrument hang? Switch it off and on"
            ) from error
        except (serial.SerialException, OSError, TypeError) as error:
            raise TransportError(
                f"{self.address}: the port is gone while writing {data[:80]!r} ({error}): "
                f"{_WHAT_TO_DO}"
            ) from error

    def _wake(self) -> None:
        try:
            self._port.cancel_read()
        except OSError:
            # The port died by itself; the slice of the reader ends by itself too.
            return

    def _descriptors(self) -> Iterable[int]:
        port = getattr(self, "_port", None)  # none while it is being opened
        return () if port is None or not port.is_open else (port.fileno(),)

    def _release(self) -> None:
        try:
            self._port.close()
        except OSError as error:
            raise TransportError(f"{self.address}: cannot close: {error}") from error


def _is_pseudo_terminal(device: str) -> bool:
    return os.name == "posix" and os.path.realpath(device).startswith("/dev/pts/")


def _why(device: str, error: Exception) -> str:
    """Say why a port could not be opened, and what to do about it."""
    number = getattr(error, "errno", None)
    path = Path(device)
    if number == errno.ENOENT or (os.name == "posix" and not path.exists()):
        return (
            f"there is no {device}: is the instrument plugged in and switched on? "
            "(present ports: `python -m serial.tools.list_ports`)"
        )
    if number == errno.EACCES:
        return (
            f"permission denied for {device}, which belongs to {_owner(path)}: add yourself to "
            "that group (usually `sudo usermod -aG dialout $USER`) and log in again"
        )
    if number in _BUSY:
        return f"{device} is busy: {_holders(path)} has it open; end that program first"
    return str(error)


def _owner(path: Path) -> str:
    try:
        return f"{path.owner()}:{path.group()}"
    except (KeyError, OSError):
        return "another user"


def _holders(path: Path) -> str:
    """Name the processes that hold ``path``, as far as Linux tells this user."""
    try:
        wanted = path.resolve()
        if not stat.S_ISCHR(wanted.stat().st_mode):
            return "another process"
    except OSError:
        return "another process"
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(wanted):
                process = link.parents[1]
                found.add(f"{(process / 'comm').read_text().strip()} (process {process.name})")
        except OSError:
            continue  # the process ended, or belongs to somebody else
    return ", ".join(sorted(found)) or "another process"
