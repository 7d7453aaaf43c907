"""Packets and streams of bytes: transports, USB over TCP, OBP, HTTP, memories, child processes."""

import functools
import hashlib
import json
import math
import os
import random
import re
import socket
import struct
import time
import zlib
from typing import Any

import msgpack
import numpy as np
import usb.core

from benchmarks.fuzz.files import fusion_result, written
from benchmarks.fuzz.served import Served, nothing_comes
from benchmarks.fuzz.target import Frame, Target
from instruments import _child
from instruments.errors import InstrumentError, TransportError
from instruments.gas_chromatograph.fusion import FusionClient
from instruments.raman import _ocean_process
from instruments.raman._wasatch_process import WasatchProcess
from instruments.transport import TcpTransport, read_dialogue
from instruments.transport.usb_tcp import UsbTcpBackend
from sim_devices import ocean_hdx
from sim_devices.wasatch_fid.eeprom import PAGE_BYTES, PAGES, Calibration

_REFUSALS = (InstrumentError,)


class _Said:
    """The frame that the server's thread is to say now."""

    def __init__(self) -> None:
        self.frame = Frame("", b"")


# -- lines on a socket

_line = _Said()


def _say_in_pieces(connection: socket.socket) -> None:
    data = _line.frame.data
    chance = random.Random(zlib.crc32(data))
    while data:
        size = chance.choice((1, 2, 3, 7, 64, 4096))
        connection.sendall(data[:size])
        data = data[size:]


_lines_served = Served.once(_say_in_pieces)


def _transport(frame: Frame) -> Any:
    _line.frame = frame
    transport = TcpTransport("127.0.0.1", _lines_served().port, terminator=b"\r\n")
    found = []
    try:
        while True:
            found.append(transport.read_line(1.0))
    except TransportError:
        return found
    finally:
        transport.close()


def _transport_wrong(frame: Frame, value: Any) -> str:
    told = frame.data.split(b"\r\n")[:-1]
    return "" if value == told else f"{value!r}, told {told!r}"


def _dialogue(frame: Frame) -> Any:
    return list(read_dialogue(written("dialogue.txt", frame.data)))


def _dialogue_wrong(frame: Frame, value: Any) -> str:
    text = frame.data.decode("ascii")
    good = all((one.way in "<>" and repr(one.data)[2:-1] in text) or True for one in value)
    return "" if good and len(value) <= len(text.splitlines()) else f"{value!r:.100}"


# -- the messages between driver and child

_MESSAGES = (
    {"number": 1, "start": {"address": "usb://", "exposure_time_s": 0.01}},
    {"number": 2, "result": {"counts": np.arange(12.0).reshape(3, 4), "laser_on": True}},
    {"number": 3, "result": np.arange(6, dtype=np.uint16)},
    {"number": 4, "error": ["TransportError", "it is gone", ""]},
    {"number": 5, "result": [None, "text", 1.5, 2**40, b"bytes"]},
)


def _sealed_message(data: bytes) -> bytes:
    return struct.pack("<I", max(len(data) - 4, 0)) + data[4:]


def _message(frame: Frame) -> Any:
    readable, writable = os.pipe()
    try:
        os.write(writable, frame.data[:60000])
        os.close(writable)
        return _child._read_message(readable)
    finally:
        os.close(readable)


def _message_wrong(frame: Frame, value: Any) -> str:
    if len(frame.data) < 4:
        return "" if value is None else f"{value!r}"
    (size,) = struct.unpack_from("<I", frame.data)
    body = frame.data[4 : 4 + size]
    if len(body) < size:
        return "" if value is None else f"{value!r} of half a message"
    told = msgpack.unpackb(body, strict_map_key=False)
    return "" if _alike(told, value) else f"{value!r:.100}, told {told!r:.100}"


def _alike(told: Any, value: Any) -> bool:
    if isinstance(told, msgpack.ExtType):
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufc":
            return False
        return (told.data.endswith(value.tobytes()) and value.size > 0) or value.size == 0
    if isinstance(told, dict):
        return (
            isinstance(value, dict)
            and told.keys() == value.keys()
            and all(_alike(told[key], value[key]) for key in told)
        )
    if isinstance(told, list):
        return len(told) == len(value) and all(map(_alike, told, value))
    return told == value or (told != told and value != value)


# -- USB over TCP

_usb = _Said()


def _usb_say(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(_usb.frame.data)
    # The client is told the end, so that it does not wait for what was cut off.


_usb_served = Served.once(_usb_say)


def _usb_answer(data: bytes, status: int = 0) -> bytes:
    return struct.pack("<II", 4 + len(data), status) + data


_DEVICE = bytes.fromhex("12010002ff000040aa240010000101020301")
_CONFIGURATION = bytes.fromhex("09022000010100c0fa0904000002ff0000000705820200020007058602000200")
_USB_FRAMES = (
    Frame("device", _usb_answer(_DEVICE)),
    Frame("configuration", _usb_answer(_CONFIGURATION)),
    Frame("interface", _usb_answer(_CONFIGURATION)),
    Frame("endpoint", _usb_answer(_CONFIGURATION)),
    Frame("control", _usb_answer(b"\x01\x02\x03")),
    Frame("read", _usb_answer(bytes(range(64)))),
    Frame("write", _usb_answer(struct.pack("<I", 4))),
)


def _usb_sealed(data: bytes) -> bytes:
    return struct.pack("<I", max(len(data) - 4, 0)) + data[4:]


def _usb_read(frame: Frame) -> Any:
    import array

    _usb.frame = frame
    with UsbTcpBackend(f"usb+tcp://127.0.0.1:{_usb_served().port}") as backend:
        device = backend.open_device(next(backend.enumerate_devices()))
        buffer = array.array("B", bytes(64))
        match frame.of:
            case "device":
                return vars(backend.get_device_descriptor(device))
            case "configuration":
                return vars(backend.get_configuration_descriptor(device, 0))
            case "interface":
                try:
                    return vars(backend.get_interface_descriptor(device, 0, 0, 0))
                except IndexError as error:  # so pyusb wants it
                    raise usb.core.USBError(str(error)) from error
            case "endpoint":
                return vars(backend.get_endpoint_descriptor(device, 1, 0, 0, 0))
            case "control":
                came = backend.ctrl_transfer(device, 0xC0, 0xFF, 1, 0, buffer, 1000)
                return bytes(buffer[:came])
            case "read":
                came = backend.bulk_read(device, 0x82, 0, buffer, 1)
                return bytes(buffer[:came])
            case _:
                return backend.bulk_write(device, 0x02, 0, array.array("B", b"abcd"), 1000)


def _usb_wrong(frame: Frame, value: Any) -> str:
    data = frame.data
    if len(data) < 8:
        return f"{value!r} of nothing"
    length, status = struct.unpack_from("<II", data)
    body = data[8 : 4 + length]
    if status or length < 4 or len(body) != length - 4:
        return f"{value!r} of status {status}, {length} bytes"
    match frame.of:
        case "device":
            good = body[1] == 1 and value["idVendor"] == int.from_bytes(body[8:10], "little")
        case "configuration":
            good = body[1] == 2 and value["wTotalLength"] == int.from_bytes(body[2:4], "little")
        case "interface" | "endpoint":
            good = value["bDescriptorType"] == (4 if frame.of == "interface" else 5)
        case "write":
            good = struct.pack("<I", value) == body and value <= 4
        case _:
            good = body[:64] == value
    return "" if good else f"{value!r:.80} of {body!r:.80}"


# -- Wasatch: the calibration memory


class _Memory:
    """A device of which only the memory is read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def ctrl_transfer(self, kind: int, request: int, value: int, page: int, length: int) -> Any:
        import array

        at = page * PAGE_BYTES
        return array.array("B", self._data[at : at + length])


def _wasatch(frame: Frame) -> Any:
    process = WasatchProcess("usb://")
    process._device = _Memory(frame.data)
    process._check_memory()
    return True


def _wasatch_wrong(frame: Frame, value: Any) -> str:
    data = frame.data
    if len(data) < PAGES * PAGE_BYTES:
        return f"{len(data)} bytes of a memory"
    first = struct.unpack_from("<4f", data, PAGE_BYTES)
    (fifth,) = struct.unpack_from("<f", data, 2 * PAGE_BYTES + 21)
    (pixels,) = struct.unpack_from("<H", data, 2 * PAGE_BYTES + 16)
    if not all(map(math.isfinite, (*first, fifth))) or not 128 <= pixels <= 8192:
        return f"{first}, {fifth}, {pixels} pixels"
    axis = np.polynomial.polynomial.polyval(np.arange(pixels, dtype=float), first)
    low, most = struct.unpack_from("<ff", data, 3 * PAGE_BYTES + 28)[::-1]
    if most > 1e-6 and not (math.isfinite(most) and 0 <= low <= most):
        return f"the laser's power from {low} to {most} mW"
    return "" if np.isfinite(axis).all() else "the axis is not finite"


# -- Ocean: OBP

_ocean = _Said()
_OBP = {
    0x00000100: b"HDX00042", 0x00000101: b"\x08", 0x00000E00: b"\x57\x24", 0x00000E01: b"\x03\x20",
    0x00180100: b"\x04", 0x00181100: b"\x08", 0x00110110: b"", 0x00110010: b"",
}  # fmt: skip
_SPECTRUM = (np.arange(ocean_hdx.PIXELS) % 60000).astype("<u2").tobytes()


def _obp_payload(kind: int, asked: bytes) -> bytes:
    match kind:
        case 0x00180101:
            return struct.pack("<f", ocean_hdx.WAVELENGTH_COEFFICIENTS[asked[0] % 4])
        case 0x00181101:
            return struct.pack("<f", ocean_hdx.NONLINEARITY_COEFFICIENTS[asked[0] % 8])
        case 0x00101000:
            return _SPECTRUM
        case _:
            return _OBP.get(kind, b"")


def _obp_answer(kind: int, payload: bytes, flags: int, regarding: int = 0) -> bytes:
    return ocean_hdx._message(kind, payload, flags, 0, regarding)


def _ocean_say(connection: socket.socket) -> None:
    while (asked := ocean_hdx._read(connection)) is not None:
        flags = ocean_hdx.RESPONSE
        if asked.flags & ocean_hdx.ACK_REQUESTED:
            flags |= ocean_hdx.ACK
        payload = _obp_payload(asked.kind, asked.payload)
        this = asked.kind != 0x00180101 or asked.payload == b"\x01"
        if asked.kind == 0x00101000:
            time.sleep(_EXPOSURE_S)
        if this and f"{asked.kind:08x}" == _ocean.frame.of:
            connection.sendall(_ocean.frame.data)
            if nothing_comes(connection):
                return
        elif payload or flags & ocean_hdx.ACK:
            connection.sendall(_obp_answer(asked.kind, payload, flags, asked.regarding))


_ocean_served = Served.once(_ocean_say)
_OCEAN_FRAMES = tuple(
    Frame(f"{kind:08x}", _obp_answer(kind, _obp_payload(kind, b"\x01"), ocean_hdx.RESPONSE))
    for kind in (0x100, 0x101, 0x00180100, 0x00180101, 0x00101000)
)
_EXPOSURE_S = 0.006


def _obp_sealed(data: bytes) -> bytes:
    """Return a message whose start, lengths and end fit."""
    if len(data) < 64:
        return data
    head, rest = bytearray(data[:44]), data[44:-20]
    struct.pack_into("<HH", head, 0, ocean_hdx.START, ocean_hdx.VERSION)
    struct.pack_into("<I", head, 40, len(rest) + 20)
    return bytes(head) + rest + struct.pack("<16sI", b"", ocean_hdx.FOOTER)


def _ocean_read(frame: Frame) -> Any:
    _ocean.frame = frame
    process = _ocean_process.serve(
        {
            "address": f"tcp://127.0.0.1:{_ocean_served().port}",
            "excitation_nm": 532.0,
            "board": "",
            "relay": 0,
        }
    )
    try:
        facts = process.connect()
        if frame.of != "00101000":
            return facts
        return process.acquire(_EXPOSURE_S, 1)["counts"]
    finally:
        process.close()


def _ocean_wrong(frame: Frame, value: Any) -> str:
    data = frame.data
    if len(data) < 64:
        return f"{value!r:.60} of {len(data)} bytes"
    start, _, flags, error, kind = struct.unpack_from("<HHHHI", data)
    used, immediate, remaining = struct.unpack_from("<B16sI", data, 23)
    if start != ocean_hdx.START or f"{kind:08x}" != frame.of:
        return f"a message of kind {kind:08x}, beginning with {start:04x}"
    if flags & ocean_hdx.NACK or error:
        return f"a refusal, {flags:x}, {error}"
    payload = data[44 : 44 + remaining - 20] or immediate[:used]
    if data[44 + remaining - 4 : 44 + remaining] != struct.pack("<I", ocean_hdx.FOOTER):
        return "a message without its end"
    checksum = data[44 + remaining - 20 : 44 + remaining - 4]
    if data[22] == 1 and hashlib.md5(data[:44] + payload).digest() != checksum:
        return "a wrong checksum"
    match frame.of:
        case "00000100":
            told = value["identity"]["serial_number"]
            good = payload.startswith(told.encode()) and told.isascii() and told.isprintable()
        case "00101000":
            good = np.array_equal(value[0], np.frombuffer(payload, "<u2"))
        case _:
            axis = value["wavenumber_cm1"]
            good = bool(np.isfinite(axis).all() and (np.diff(axis) > 0).all())
    return "" if good else f"{value!r:.100} of {payload!r:.60}"


# -- Fusion: HTTP

_http = _Said()
_RESULT = json.dumps(fusion_result()).encode()


def _response(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status, len(body), body,
    )  # fmt: skip


def _http_sealed(data: bytes) -> bytes:
    _, gap, body = data.partition(b"\r\n\r\n")
    return _response(body) if gap else data


def _http_say(connection: socket.socket) -> None:
    asked = b""
    while b"\r\n\r\n" not in asked:
        part = connection.recv(65536)
        if not part:
            return
        asked += part
    connection.sendall(_http.frame.data)


_http_served = Served.once(_http_say)


@functools.cache
def _fusion() -> FusionClient:
    return FusionClient(f"http://127.0.0.1:{_http_served().port}", timeout_s=2.0)


_HTTP_FRAMES = (
    Frame("modules", _response(b"2")),
    Frame("state", _response(b'["public:sequence-loaded", "public:ready"]')),
    Frame("last", _response(b'{"dataLocation": "/runData/run-17"}')),
    Frame("runs", _response(b'{"runs": [{"$id": "run-17"}, {"$id": "run-16"}]}')),
    Frame("data", _response(_RESULT)),
)


def _http_read(frame: Frame) -> Any:
    _http.frame = frame
    client = _fusion()
    match frame.of:
        case "modules":
            return client.modules()
        case "state":
            return client.state()
        case "last":
            return client.last_run()
        case "runs":
            return client.runs(20)
        case _:
            return client.data("run-17")


def _http_wrong(frame: Frame, value: Any) -> str:
    data = frame.data
    head, _, body = data.partition(b"\r\n\r\n")
    if b"\n\n" in data or not data.startswith(b"HTTP/1"):
        return ""  # other ways to write it, which the library knows
    if frame.of == "data":
        return "" if value in data else f"{value!r:.80}"
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]{1,9})", head)
    try:
        told = json.loads(body[: int(length[1])] if length else body)
    except (ValueError, RecursionError):
        return ""
    match frame.of:
        case "modules":
            good = told == value and 0 <= value <= 4
        case "state":
            good = list(value) == told[:2]
        case "last":
            good = b" 404" in head or value == told["dataLocation"].rsplit("/", 1)[-1]
        case _:
            good = value == [one["$id"] for one in told["runs"]] and all(
                isinstance(x, str) for x in value
            )
    return "" if good else f"{value!r:.80} of {told!r:.80}"


def targets() -> list[Target]:
    """Return a target per kind of packet."""
    return [
        Target("transport", "lines on a TCP socket, in pieces",
               (Frame("", b"one\r\ntwo and more\r\n\r\nlast\r\n"),), _transport,
               _transport_wrong, ()),
        Target("dialogue", "recorded dialogues",
               (Frame("", b"# with tcp://host\n0.000012 > b't\\n'\n< b'tes4\\xff'\n0.5 ! gone\n"),),
               _dialogue, _dialogue_wrong, (ValueError,)),
        Target("child", "messages of child processes",
               tuple(Frame("", _child.pack(one)) for one in _MESSAGES), _message, _message_wrong,
               _REFUSALS, _sealed_message),
        Target("usb-tcp", "USB transfers over TCP", _USB_FRAMES, _usb_read, _usb_wrong,
               (usb.core.USBError,), _usb_sealed),
        Target("wasatch", "Wasatch calibration memory",
               (Frame("", b"".join(Calibration().pages())),), _wasatch, _wasatch_wrong, _REFUSALS),
        Target("ocean", "Ocean OBP, messages", _OCEAN_FRAMES, _ocean_read, _ocean_wrong, _REFUSALS,
               _obp_sealed),
        Target("fusion", "Fusion, HTTP and JSON", _HTTP_FRAMES, _http_read, _http_wrong, _REFUSALS,
               _http_sealed),
    ]  # fmt: skip
