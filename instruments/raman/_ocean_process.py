"""The side of an Ocean spectrometer that runs in the child process: importer of ``seabreeze``.

The library (2.11.0, its backend in Python, OBP over TCP) is used at its device, for reasons found
by running and reading it:

* When the spectrometer closes the connection its read loop spins for ever, and each spectrum adds
  to the time that it waits for the next one; so it reads from a socket of ours, which ends.
* An answer that comes after its timeout is taken for that of the next request; so after every error
  the connection is closed, and the next request opens a new one. A spectrum that comes before its
  time is of an earlier request, and an error.
* A refusal (NACK) of a setting is swallowed; so the integration time is sent once more and its
  acknowledgement looked at. One of a query becomes a timeout; the reason is taken from its context.
* Of a message with a wrong checksum it warns, and takes it; so that warning is an error.
* An answer to another question is taken for the one to this, and of one that claims 4 GB the room
  is made; so each header is looked at.
* Closing its handle leaves the connection open; ours closes it.
* Listing devices needs libusb, also for one on a network: nothing is listed here.

The laser hangs on a relay that the owner switches. This process switches it off when the owner has
died while it may have been on.
"""

import ipaddress
import logging
import math
import os
import socket
import struct
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
    UnsupportedTechniqueError,
)
from instruments.raman._process import (
    EARLIEST,
    READ_MARGIN_S,
    SpectrometerProcess,
    import_library,
    wrong_in_wavelengths,
)
from instruments.relay_board import NumatoRelayBoard

MODEL = "HDX"
_CONNECT_S = 5.0
_SET_INTEGRATION_TIME = 0x0011_0010
_TRIGGER_NOW = 0
# Of the header of a message: flags, error, what it is about, bytes in it, and bytes that follow it.
_HEADER, _KIND_AT = struct.Struct("<4xHHI11xB16sI"), 8
_REFUSES = 0x08 | 0x10  # NACK, exception of the hardware
_MOST_IMMEDIATE, _LONGEST = 16, 1 << 16
# How long a dead owner's port is waited for, and how often it is tried.
_BOARD_S, _BOARD_RETRY_S = 3.5, 0.2
# How long an owner may take to die when its pipe has ended.
_DYING_S = 0.5

_IS_IT_THERE = "is an Ocean HDX at this address, switched on, and does no other program hold it?"

_log = logging.getLogger(__name__)


def serve(arguments: dict[str, Any]) -> "OceanProcess":
    """Return the object whose methods the parent calls; opens nothing yet."""
    # Of a message whose checksum is wrong the library only warns.
    warnings.filterwarnings("error", message=".*checksums differ", category=UserWarning)
    return OceanProcess(**arguments)


class OceanProcess(SpectrometerProcess):
    """One spectrometer held open.

    Args:
        address: ``tcp://host:port``.
        excitation_nm: wavelength of the laser, vacuum or air as the spectrometer's calibration, nm.
        board: address of the relay board that the laser hangs on.
        relay: its relay.
    """

    def __init__(self, address: str, excitation_nm: float, board: str, relay: int) -> None:
        super().__init__(address)
        self._excitation_nm = excitation_nm
        self._board, self._relay = board, relay
        self._laser_may_be_on = False
        self._owner = os.getppid()
        self._handle: Any = None  # the library's, our kind of it
        self._device: Any = None  # the library's
        self._serial_number: str | None = None

    # -- what the parent asks

    def connect(self) -> dict[str, Any]:
        """Open the spectrometer and return who it is."""
        self._stopped.clear()
        return self._guarded("say who it is", self._connect)

    def _connect(self) -> dict[str, Any]:
        spectrometer = self._opened()
        shortest_us, longest_us = spectrometer.get_integration_time_micros_limits()
        wavelength = np.asarray(spectrometer.get_wavelengths(), dtype=float)
        wrong = wrong_in_wavelengths(wavelength)
        if wrong:
            raise ProtocolError(
                f"{self._who}: its wavelength calibration is not credible: {wrong}. Restore it "
                "with the maker's software"
            )
        self._pixels = len(wavelength)
        return {
            "identity": {
                "model": f"Ocean {self._device.model}",
                "serial_number": str(self._serial_number),
                "firmware": "not told",
                "sdk_version": f"seabreeze {_import('seabreeze').__version__}",
            },
            "specification": {
                "excitation_nm": self._excitation_nm,
                "pixels": self._pixels,
                "integration_time_min_s": shortest_us / 1e6,
                # The library refuses the longest itself.
                "integration_time_max_s": (longest_us - 1) / 1e6,
                "saturation_counts": float(spectrometer.get_maximum_intensity()),
            },
            "wavenumber_cm1": 1e7 / self._excitation_nm - 1e7 / wavelength,
        }

    def acquire(self, integration_time_s: float, accumulations: int) -> dict[str, Any]:
        """Read the detector out, whatever shines on it."""
        self._stopped.clear()
        return self._guarded(
            "take a spectrum", lambda: self._acquire(integration_time_s, accumulations)
        )

    def _acquire(self, integration_time_s: float, accumulations: int) -> dict[str, Any]:
        spectrometer = self._opened()
        self._set_integration_time(spectrometer, integration_time_s)
        before = time.time_ns()
        counts = [self._read_out(spectrometer, integration_time_s) for _ in range(accumulations)]
        return {
            "counts": np.array(counts),
            "integration_time_s": round(integration_time_s * 1e6) / 1e6,
            "detector_temperature_c": math.nan,
            "host_before_ns": before,
            "host_after_ns": time.time_ns(),
        }

    def laser_may_be_on(self, on: bool) -> None:
        """Note whether the owner may have the laser on, should it die now."""
        self._laser_may_be_on = on

    def laser_is_off(self) -> None:
        """Note that the owner has switched the laser off; callable beside an acquisition."""
        self._laser_may_be_on = False

    def interrupt(self) -> None:
        """End an acquisition that runs; callable beside it."""
        self._stopped.set()
        handle = self._handle
        if handle is not None:
            handle.hang_up()

    # -- what the child's loop asks

    def safe_state(self) -> None:
        """End an acquisition, and switch the laser off if the owner died while it may be on."""
        self.interrupt()
        if self._laser_may_be_on and self._owner_is_dead():
            self._switch_laser_off()

    def close(self) -> None:
        """Release the spectrometer."""
        self._drop()

    def _owner_is_dead(self) -> bool:
        """Return whether the owner has died; one that lives has the board, and sees to it."""
        deadline = time.monotonic() + _DYING_S
        # Its pipe ends some moments before it does.
        while os.getppid() == self._owner and time.monotonic() < deadline:
            time.sleep(0.01)
        return os.getppid() != self._owner

    def _switch_laser_off(self) -> None:
        deadline = time.monotonic() + _BOARD_S
        while True:
            board = NumatoRelayBoard(self._board)
            try:
                board.connect()
                try:
                    board.set_relay(self._relay, False)
                finally:
                    board.close()
            except InstrumentError as error:
                if time.monotonic() > deadline:
                    raise InstrumentFaultError(
                        f"{self._who}: its owner died and THE LASER MAY BE ON: relay "
                        f"{self._relay} of {self._board} could not be opened ({error}): turn its "
                        "key"
                    ) from error
                time.sleep(_BOARD_RETRY_S)  # the owner's port is not free yet
                continue
            self._laser_may_be_on = False
            return

    # -- the connection

    def _opened(self) -> Any:
        """Return the library's spectrometer, connected anew after an error."""
        if self._handle is not None and self._handle.hung_up:
            self._drop()
        if self._device is None:
            host, port = _place(self._address)
            transport = _import("seabreeze.pyseabreeze.transport")
            if (host, port) not in transport.IPv4Transport.devices_ip_port:
                transport.IPv4Transport.register_model(MODEL, ipv4_address=host, ipv4_port=port)
            self._handle = _handle_of(transport.IPv4TransportHandle)(host, port)
            self._device = _import("seabreeze.pyseabreeze.devices").SeaBreezeDevice(self._handle)
            self._handle.allow(_CONNECT_S)
            self._device.open()
            found = str(self._device.serial_number)
            if not (found and found.isascii() and found.isprintable()):
                raise ProtocolError(f"{self._who}: its serial number is {found!r}")
            if self._serial_number not in (None, found):
                raise ProtocolError(
                    f"{self._who}: serial number {found!r} answers now, it was "
                    f"{self._serial_number!r}: connect again"
                )
            self._serial_number = found
            self._device.f.spectrometer.set_trigger_mode(_TRIGGER_NOW)
        self._handle.allow(READ_MARGIN_S)
        return self._device.f.spectrometer

    def _drop(self) -> None:
        handle, self._handle, self._device = self._handle, None, None
        if handle is not None:
            handle.close()

    # -- the detector

    def _set_integration_time(self, spectrometer: Any, integration_time_s: float) -> None:
        microseconds = round(integration_time_s * 1e6)
        shortest, longest = spectrometer.get_integration_time_micros_limits()
        if not shortest <= microseconds < longest:
            raise UnsupportedTechniqueError(
                f"{self._who}: integration time {integration_time_s:g} s asked, it takes "
                f"{shortest / 1e6:g} s to less than {longest / 1e6:g} s"
            )
        spectrometer.set_integration_time_micros(microseconds)
        if not spectrometer.protocol.send(_SET_INTEGRATION_TIME, microseconds):
            raise InstrumentFaultError(
                f"{self._who}: integration time {microseconds} us set, and not acknowledged"
            )

    def _read_out(self, spectrometer: Any, integration_time_s: float) -> NDArray[np.float64]:
        if self._stopped.is_set():
            raise self._interrupted()
        self._handle.allow(integration_time_s + READ_MARGIN_S)
        started = time.monotonic()
        counts = np.asarray(spectrometer.get_intensities(), dtype=float)
        took_s = time.monotonic() - started
        if took_s < EARLIEST * integration_time_s:
            raise ProtocolError(
                f"{self._who}: a spectrum of {integration_time_s:g} s came after {took_s:.3g} s: "
                "it is of an earlier request"
            )
        if counts.shape != (self._pixels,):
            raise ProtocolError(
                f"{self._who}: a spectrum of {self._pixels} pixels asked, {counts.shape} came"
            )
        return counts

    # -- errors

    def _guarded(self, asked: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return work()
        except UnsupportedTechniqueError:
            raise  # nothing was said
        except Exception as error:
            self._drop()
            self._tell(error, asked)

    def _tell(self, error: Exception, asked: str) -> NoReturn:
        if self._stopped.is_set():
            raise self._interrupted() from error
        if isinstance(error, InstrumentError):
            if self._who in str(error):
                raise error
            raise type(error)(f"{self._who}: asked to {asked}: {error}") from error
        refusal = _refusal_in(error)
        told = f"{self._who}: asked to {asked}: "
        anew = "the connection was closed, the next request opens a new one"
        if refusal is not None:
            raise InstrumentFaultError(f"{told}it refused: {refusal}; {anew}") from error
        connects = not self._pixels
        if isinstance(error, TimeoutError):
            advice = _IS_IT_THERE if connects else "power it off and on"
            raise TransportTimeout(f"{told}no answer in time; {advice}") from error
        if isinstance(error, OSError):
            advice = _IS_IT_THERE if connects else "check cable and power, then connect"
            raise TransportError(f"{told}{error}; {advice}") from error
        if connects:
            anew = _IS_IT_THERE
        raise ProtocolError(f"{told}{type(error).__name__}: {error}; {anew}") from error


class _BoundedSocket(socket.socket):
    """A socket whose reads end: at the end of the connection, and when their time is over."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._deadline = math.inf
        self._asked_s: float | None = None
        # Of the last question its kind, of the answer what is known of its header.
        self._kind, self._header = 0, b""

    def allow(self, seconds: float) -> None:
        """Set by when everything that is read from now on must have come."""
        self._deadline = time.monotonic() + seconds

    def settimeout(self, value: float | None) -> None:
        # Not passed on: the library takes the last one for the default of the next.
        self._asked_s = value

    def gettimeout(self) -> float:
        return READ_MARGIN_S

    def connect(self, address: Any) -> None:
        super().settimeout(_CONNECT_S)
        super().connect(address)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        left = self._deadline - time.monotonic()
        if self._asked_s is not None:
            left = min(left, self._asked_s)
        if left <= 0:
            raise TimeoutError("its time is over")
        super().settimeout(min(left, 3600.0))
        came = super().recv_into(buffer, nbytes, flags)
        if not came:
            raise ConnectionResetError("the spectrometer closed the connection")
        if len(self._header) < _HEADER.size:
            self._header += bytes(memoryview(buffer)[:came])
            if len(self._header) >= _HEADER.size:
                self._check_header()
        return came

    def send(self, data: Any, flags: int = 0) -> int:
        self._kind, self._header = struct.unpack_from("<I", data, _KIND_AT)[0], b""
        return super().send(data, flags)

    def _check_header(self) -> None:
        """Raise ProtocolError if an answer is to another question, or longer than any can be.

        The library looks at neither: it makes room for up to 4 GB.
        """
        flags, code, kind, used, _, remaining = _HEADER.unpack_from(self._header)
        torn = code != 0 and not flags & _REFUSES
        if torn or kind != self._kind or used > _MOST_IMMEDIATE or remaining > _LONGEST:
            raise ProtocolError(
                f"asked for {self._kind:08x}, an answer about {kind:08x} came, of {used} bytes at "
                f"once and {remaining} to follow: {self._header[: _HEADER.size]!r}"
            )


def _handle_of(base: Any) -> Any:
    """Return the library's handle of a place on the network, with connections that end."""

    class Handle(base):
        """Opens a `_BoundedSocket`, and closes it."""

        def __init__(self, host: str, port: int) -> None:
            super().__init__(host, port)
            self.bounded = _BoundedSocket()
            self.hung_up = False

        def allow(self, seconds: float) -> None:
            self.bounded.allow(seconds)

        def open(self) -> None:
            self.bounded.connect(self.get_address())
            self.socket = self.bounded

        def hang_up(self) -> None:
            self.hung_up = True
            try:
                self.bounded.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                _log.debug("not connected: %s", error)

        def close(self) -> None:
            self.bounded.close()
            super().close()

    return Handle


def _place(address: str) -> tuple[str, int]:
    """Return IPv4 address and port of ``tcp://host:port``."""
    url = urlsplit(address)
    try:
        host, port = url.hostname, url.port
        if url.scheme != "tcp" or host is None or port is None:
            raise ValueError("not of that form")
        return str(ipaddress.IPv4Address(socket.gethostbyname(host))), port
    except (ValueError, OSError) as error:
        raise TransportError(f"raman {address}: write it as tcp://host:port ({error})") from error


def _refusal_in(error: BaseException) -> str | None:
    """Return the reason of a refusal, which the library hides behind a timeout; None: it is none.

    Its codes are told by their text; after one it waits for bytes that never come.
    """
    kind = _import("seabreeze.pyseabreeze.exceptions").SeaBreezeError
    known = set(_import("seabreeze.pyseabreeze.protocol").OBPProtocol.OBP.ERROR_CODES.values())
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, kind) and str(cause) in known:
            return str(cause)
        cause = cause.__context__
    return None


def _import(name: str) -> Any:
    return import_library(name, "Ocean", "raman-ocean")
