"""Instruments by their VISA name, through pyvisa and its pure-Python backend.

What pyvisa-py 0.8 does not do for us is done here once:

* it loses the part of a line that is there at a timeout: bytes are fetched, never lines;
* ``open_resource`` succeeds although the peer refuses: the connection is checked;
* a dead peer makes a read spin until its timeout and then look like silence: reads are short and
  a silence is checked for an end of file;
* TCP_NODELAY cannot be set by its attribute: it is set on the socket, where that can be reached.
"""

import socket
from collections.abc import Iterable
from typing import Any

from instruments.errors import TransportError
from instruments.transport._buffered import BufferedTransport

_WHAT_TO_DO = "is the instrument switched on and its cable plugged in? Is this its address?"


class VisaTransport(BufferedTransport):
    """Own one VISA resource: ``ASRL/dev/ttyUSB0::INSTR``, ``TCPIP::host::port::SOCKET``."""

    def __init__(
        self,
        resource_name: str,
        *,
        baud_rate: int = 9600,
        terminator: bytes = b"\n",
        address: str | None = None,
    ) -> None:
        # Here, not at the top: importing pyvisa takes 0.2 s that other transports need not pay.
        import pyvisa
        from pyvisa import constants
        from pyvisa.resources import MessageBasedResource, SerialInstrument

        super().__init__(address or f"visa:{resource_name}", terminator)
        self._error = (pyvisa.Error, OSError)
        self._manager = pyvisa.ResourceManager("@py")
        try:
            resource = self._manager.open_resource(resource_name)
        # pyvisa-py raises bare Exception and pyserial's own errors from its sessions.
        except Exception as error:
            raise TransportError(f"{self.address}: cannot open: {error}") from error
        if not isinstance(resource, MessageBasedResource):
            resource.close()
            raise TransportError(f"{self.address}: is not an instrument one can exchange text with")
        self._resource = resource
        # Both terminations off: lines are cut from our own buffer.
        resource.read_termination = resource.write_termination = ""
        resource.set_visa_attribute(constants.ResourceAttribute.termchar_enabled, False)
        self._serial = resource if isinstance(resource, SerialInstrument) else None
        if self._serial is not None:
            self._serial.end_input = constants.SerialTermination.none
            self._serial.baud_rate = baud_rate
        self._peer = self._socket_behind()
        if self._peer is not None:
            self._probe(self._peer)

    def _socket_behind(self) -> socket.socket | None:
        """Return pyvisa-py's own socket: private there, so its absence only costs comfort."""
        found = self._behind()
        return found if isinstance(found, socket.socket) else None

    def _behind(self) -> Any:
        sessions = getattr(self._resource.visalib, "sessions", {})
        return getattr(sessions.get(self._resource.session), "interface", None)

    def _probe(self, peer: socket.socket) -> None:
        try:
            peer.getpeername()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self._resource.close()
            raise TransportError(
                f"{self.address}: nobody answers there ({error}): is the instrument on?"
            ) from error

    def _receive(self, timeout_s: float) -> bytes:
        from pyvisa import constants

        try:
            self._resource.timeout = max(timeout_s * 1e3, 1)
            wanted = self._serial.bytes_in_buffer or 1 if self._serial is not None else 1
            # Having got as many bytes as asked for is what we want, not worth its warning.
            with self._resource.ignore_warning(constants.StatusCode.success_max_count_read):
                data, _ = self._resource.visalib.read(self._resource.session, wanted)
        except self._error as error:
            if getattr(error, "error_code", None) == constants.StatusCode.error_timeout:
                self._check_peer()
                return b""
            self._must_be_open()
            raise TransportError(f"{self.address}: cannot read ({error}): {_WHAT_TO_DO}") from error
        return bytes(data)

    def _check_peer(self) -> None:
        if self._peer is None:
            return
        try:
            end = self._peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return  # alive and silent
        except OSError as error:
            self._must_be_open()
            raise TransportError(
                f"{self.address}: the connection broke ({error}): {_WHAT_TO_DO}"
            ) from error
        if end:
            self._must_be_open()
            raise TransportError(
                f"{self.address}: the other side closed the connection: {_WHAT_TO_DO}"
            )

    def _send(self, data: bytes) -> None:
        try:
            self._resource.write_raw(data)
        except self._error as error:
            raise TransportError(
                f"{self.address}: cannot write {data[:80]!r} ({error}): {_WHAT_TO_DO}"
            ) from error

    def _wake(self) -> None:
        """Do nothing: the reader's slice ends by itself."""

    def _descriptors(self) -> Iterable[int]:
        if not hasattr(self, "_resource"):
            return  # it is being opened
        # A socket or a pyserial port; what else there is has no file descriptor that it tells.
        number = getattr(self._behind(), "fileno", None)
        if number is not None:
            yield number()

    def _release(self) -> None:
        self._resource.close()
