"""The wire of GigE Vision: its control protocol (GVCP) and its stream protocol (GVSP), over UDP.

Numbers are sent with the most significant byte first; the pixels of a frame are not.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

GVCP_PORT = 3956
KEY = 0x42
ACK_REQUESTED = 0x01
DISCOVERY, FORCE_IP, PACKET_RESEND = 0x0002, 0x0004, 0x0040
READ_REGISTER, WRITE_REGISTER, READ_MEMORY, WRITE_MEMORY = 0x0080, 0x0082, 0x0084, 0x0086
SUCCESS, NOT_IMPLEMENTED, INVALID_PARAMETER, INVALID_ADDRESS = 0x0000, 0x8001, 0x8002, 0x8003
WRITE_PROTECT, BAD_ALIGNMENT, ACCESS_DENIED, BUSY = 0x8004, 0x8005, 0x8006, 0x8007
PACKET_UNAVAILABLE, INVALID_HEADER = 0x800C, 0x800E
LEADER, TRAILER, PAYLOAD = 1, 2, 3
IMAGE = 0x0001
CONTROL_PRIVILEGE, HEARTBEAT_TIMEOUT = 0x0A00, 0x0938
DISCOVERY_BYTES = 0x00F8
EXCLUSIVE, CONTROL = 0x1, 0x2
# An IP header, a UDP header and the stream's own: what a packet's size holds beside pixels.
IP_AND_UDP_BYTES, STREAM_HEADER_BYTES = 28, 8
_LARGEST_MEMORY = 536  # bytes of one read or write
_HEADER = struct.Struct(">BBHHH")
_ANSWER = struct.Struct(">HHHH")
_STREAM_HEADER = struct.Struct(">HHI")
_LEADER = struct.Struct(">HHIIIIIIIHH")
_TRAILER = struct.Struct(">HHI")
_POLL_S = 0.05
_REMEMBERED = 16  # clients whose last answer is kept

Sender = tuple[str, int]


class Refused(Exception):  # noqa: N818 - a status is an answer
    """A request is answered with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:#06x}")
        self.status = status


class Registers(Protocol):
    """What a device has at its addresses; any method may raise `Refused`."""

    def read(self, address: int, length: int) -> bytes:
        """Return what is there."""

    def write(self, address: int, data: bytes) -> None:
        """Put it there."""

    def resend(self, block: int, first: int, last: int) -> None:
        """Send packets of a frame again."""

    def control_changed(self, controller: Sender | None) -> None:
        """Be told who controls the device from now on; None: nobody."""


class Block(NamedTuple):
    """One frame as the stream carries it."""

    number: int
    timestamp: int  # ticks
    pixel_format: int
    width: int
    height: int
    offset_x: int
    offset_y: int
    pixels: bytes
    bytes_per_packet: int  # of pixels

    @property
    def packets(self) -> int:
        """How many there are, leader and trailer among them."""
        return 2 + -(-len(self.pixels) // self.bytes_per_packet)

    def packet(self, number: int) -> bytes:
        """Return the packet of this number; 0 is the leader, the last one the trailer."""
        if number == 0:
            return self._head(number, LEADER) + _LEADER.pack(
                0,
                IMAGE,
                self.timestamp >> 32,
                self.timestamp & 0xFFFFFFFF,
                self.pixel_format,
                self.width,
                self.height,
                self.offset_x,
                self.offset_y,
                0,
                0,
            )
        if number == self.packets - 1:
            return self._head(number, TRAILER) + _TRAILER.pack(0, IMAGE, self.height)
        start = (number - 1) * self.bytes_per_packet
        pixels = self.pixels[start : start + self.bytes_per_packet]
        return self._head(number, PAYLOAD) + pixels

    def _head(self, packet: int, kind: int) -> bytes:
        return stream_header(SUCCESS, self.number, kind, packet)


def stream_header(status: int, block: int, kind: int, packet: int) -> bytes:
    """Return what a packet of the stream begins with."""
    return _STREAM_HEADER.pack(status, block, kind << 24 | packet)


class ControlChannel:
    """Answers the control protocol at an address of its own, and knows who is in control.

    Others than who is in control may read, and write nothing; one who holds it exclusively keeps
    them from reading, too. Control is lost by silence.
    """

    def __init__(self, registers: Registers) -> None:
        """Listen at a free address of this computer's own; nothing outside can reach it."""
        self._registers = registers
        self._control, self.address = _listen()
        self._everybody = _listen_to_everybody()
        self._controller: Sender | None = None
        self._privilege = 0
        self._heard_s = 0.0
        self._answered: dict[Sender, tuple[int, bytes]] = {}
        self._closed = threading.Event()
        # Asked for every request: the status it is answered with, or None to be silent.
        self.judge: Callable[[int], int | None] = lambda command: SUCCESS
        self._thread = threading.Thread(target=self._serve, name="gvcp", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    @property
    def controller(self) -> Sender | None:
        """Who is in control."""
        return self._controller

    @property
    def privilege(self) -> int:
        """What the control privilege register holds."""
        return self._privilege

    def release(self, privilege: int = 0, controller: Sender | None = None) -> None:
        """Take control from whoever has it; give it to somebody else, or to nobody."""
        self._controller, self._privilege = controller, privilege
        self._heard_s = time.monotonic()
        self._registers.control_changed(controller)

    def close(self) -> None:
        """Answer nothing any more."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._control.close()
        if self._everybody is not None:
            self._everybody.close()

    # ---- the thread

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            if self._everybody is not None:
                selector.register(self._everybody, selectors.EVENT_READ)
            while not self._closed.is_set():
                for key, _ in selector.select(_POLL_S):
                    heard = key.fileobj
                    assert isinstance(heard, socket.socket)
                    try:
                        data, sender = heard.recvfrom(2048)
                        self._hear(data, sender, to_everybody=heard is self._everybody)
                    except OSError:
                        continue  # who asked has gone
                self._miss_heartbeat()

    def _hear(self, data: bytes, sender: Sender, *, to_everybody: bool) -> None:
        if len(data) < _HEADER.size:
            return
        key, flags, command, length, number = _HEADER.unpack_from(data)
        if key != KEY or number == 0:
            return
        if to_everybody and (command != DISCOVERY or not sender[0].startswith("127.")):
            return
        verdict = self.judge(command)
        if verdict is None:
            return
        if self._controller == sender:
            self._heard_s = time.monotonic()
        answered = self._answered.get(sender)
        if answered is not None and answered[0] == number:
            # The answer was lost on its way: what was asked is not done twice.
            self._control.sendto(answered[1], sender)
            return
        payload = data[_HEADER.size :]
        try:
            if verdict != SUCCESS:
                raise Refused(verdict)
            if len(payload) != length:
                raise Refused(INVALID_HEADER)
            status, answer = SUCCESS, self._perform(command, payload, sender)
        except Refused as refused:
            status, answer = refused.status, b""
        if not flags & ACK_REQUESTED or command == PACKET_RESEND:
            return
        packet = _ANSWER.pack(status, command + 1, len(answer), number) + answer
        if command != DISCOVERY:
            self._answered.pop(sender, None)
            self._answered[sender] = (number, packet)
            if len(self._answered) > _REMEMBERED:
                del self._answered[next(iter(self._answered))]
        self._control.sendto(packet, sender)

    def _perform(self, command: int, payload: bytes, sender: Sender) -> bytes:
        match command:
            case 0x0002:
                return self._registers.read(0, DISCOVERY_BYTES)
            case 0x0040:
                # Clients ask for packets from the socket of the stream, too.
                if self._controller is None or self._controller[0] != sender[0]:
                    raise Refused(ACCESS_DENIED)
                if len(payload) != 12:
                    raise Refused(INVALID_HEADER)
                _, block, first, last = struct.unpack(">HHII", payload)
                self._registers.resend(block, first & 0xFFFFFF, last & 0xFFFFFF)
                return b""
            case 0x0080:
                self._may_read(sender)
                if not payload or len(payload) % 4:
                    raise Refused(INVALID_HEADER)
                addresses = struct.unpack(f">{len(payload) // 4}I", payload)
                return b"".join(self._read(address, 4) for address in addresses)
            case 0x0082:
                if not payload or len(payload) % 8:
                    raise Refused(INVALID_HEADER)
                for address, value in struct.iter_unpack(">II", payload):
                    self._write(address, struct.pack(">I", value), sender)
                return struct.pack(">HH", 0, len(payload) // 8)
            case 0x0084:
                self._may_read(sender)
                if len(payload) != 8:
                    raise Refused(INVALID_HEADER)
                address, _, count = struct.unpack(">IHH", payload)
                if not 0 < count <= _LARGEST_MEMORY:
                    raise Refused(INVALID_PARAMETER)
                return payload[:4] + self._read(address, count)
            case 0x0086:
                if len(payload) < 8:
                    raise Refused(INVALID_HEADER)
                (address,) = struct.unpack_from(">I", payload)
                self._write(address, payload[4:], sender)
                return struct.pack(">HH", 0, len(payload) - 4)
            case _:
                raise Refused(NOT_IMPLEMENTED)

    def _read(self, address: int, count: int) -> bytes:
        if address % 4 or count % 4:
            raise Refused(BAD_ALIGNMENT)
        if address == CONTROL_PRIVILEGE and count == 4:
            return struct.pack(">I", self._privilege)
        return self._registers.read(address, count)

    def _write(self, address: int, data: bytes, sender: Sender) -> None:
        if address % 4 or len(data) % 4:
            raise Refused(BAD_ALIGNMENT)
        if address != CONTROL_PRIVILEGE:
            self._needs_control(sender)
            self._registers.write(address, data)
            return
        if self._controller not in (None, sender):
            raise Refused(ACCESS_DENIED)
        (wanted,) = struct.unpack(">I", data[:4])
        privilege = wanted & (CONTROL | EXCLUSIVE)
        if self._privilege and privilege:
            self._privilege = privilege
        else:
            self.release(privilege, sender if privilege else None)

    def _needs_control(self, sender: Sender) -> None:
        if self._controller != sender:
            raise Refused(ACCESS_DENIED)

    def _may_read(self, sender: Sender) -> None:
        if self._privilege & EXCLUSIVE and self._controller != sender:
            raise Refused(ACCESS_DENIED)

    def _miss_heartbeat(self) -> None:
        if self._controller is None:
            return
        (allowed_ms,) = struct.unpack(">I", self._registers.read(HEARTBEAT_TIMEOUT, 4))
        if time.monotonic() - self._heard_s > allowed_ms / 1000:
            self.release()


def _listen() -> tuple[socket.socket, str]:
    """Return a socket at GigE Vision's port of a loopback address that nobody has, and it."""
    # Linux has 2^24 of them, so that several cameras have each an address, as on a network.
    for address in (*(f"127.62.{a}.{b}" for a in range(16) for b in range(1, 255)), "127.0.0.1"):
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            control.bind((address, GVCP_PORT))
        except OSError:
            control.close()
            continue
        return control, address
    raise OSError(f"no address of this computer has its UDP port {GVCP_PORT} free for a camera")


def _listen_to_everybody() -> socket.socket | None:
    """Return a socket that hears what is asked of all cameras; None where there is none."""
    everybody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        everybody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        everybody.bind(("255.255.255.255", GVCP_PORT))
    except OSError:
        everybody.close()
        return None
    return everybody
