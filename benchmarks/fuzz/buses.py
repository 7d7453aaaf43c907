"""Instruments on a bus of binary frames: KELLER's transmitters, by the maker's description."""

import math
import struct
from typing import Any

from benchmarks.faults.wires_told import crc16
from benchmarks.fuzz.target import Frame, Target
from benchmarks.fuzz.wire import FedWire
from instruments.errors import InstrumentError
from instruments.sensor.keller_bus import KellerBusPressure

_DEVICE = 1
_P1_FAILED, _TOB1_FAILED, _STARTING = 0x02, 0x10, 0x80


def keller_sealed(data: bytes) -> bytes:
    """Return a frame whose last two bytes are its checksum."""
    return data[:-2] + crc16(data[:-2]).to_bytes(2, "big")


def _answer(function: int, content: bytes) -> bytes:
    return keller_sealed(bytes((_DEVICE, function)) + content + b"xx")


def _request(of: str) -> bytes:
    return keller_sealed(bytes((_DEVICE, *map(int, of.split()))) + b"xx")


# Function and parameter asked -> what is answered.
_KELLER = {
    "48": _answer(48, bytes((5, 20, 12, 28, 10, 1))),
    "69": _answer(69, (133445).to_bytes(4, "big")),
    "30 80": _answer(30, struct.pack(">f", 0.0)),
    "30 81": _answer(30, struct.pack(">f", 3.0)),
    "73 1": _answer(73, struct.pack(">fB", 1.01325, 0)),
    "73 4": _answer(73, struct.pack(">fB", 25.0, 0)),
}
_OF = {_request(of): of for of in _KELLER}


def _keller(frame: Frame) -> dict[str, Any]:
    told = {**_KELLER, frame.of: frame.data}
    driver = KellerBusPressure("fed://", device=_DEVICE)
    driver._transport = FedWire(lambda data: told[_OF[data]])
    driver._prepare()
    return {**driver.identify(), "range": driver._range_bar, **driver.read()}


def _keller_wrong(frame: Frame, value: dict[str, Any]) -> str:
    whole = _KELLER[frame.of]
    # A converter may have the host hear itself.
    data = frame.data.removeprefix(_request(frame.of))[: len(whole)]
    if len(data) < len(whole) or data[:2] != whole[:2] or keller_sealed(data) != data:
        return f"taken for an answer: {data!r}"
    content = data[2:-2]
    match frame.of:
        case "48":
            firmware = f"{content[0]}.{content[1]}-{content[2]}.{content[3]}"
            good = content[0] == 5 and value["firmware"] == firmware
        case "69":
            good = value["serial_number"] == str(int.from_bytes(content, "big"))
        case "30 80" | "30 81":
            (bar,) = struct.unpack(">f", content)
            good = value["range"][frame.of == "30 81"] == bar
        case "73 1":
            bar, status = struct.unpack(">fB", content)
            none = status & (_P1_FAILED | _STARTING) or not -0.3 <= bar <= 3.3
            good = _same(value["pressure"], math.nan if none else bar * 1e5)
        case _:
            celsius, status = struct.unpack(">fB", content)
            none = status & (_TOB1_FAILED | _STARTING) or not math.isfinite(celsius)
            kelvin = math.nan if none else celsius + 273.15
            good = _same(value["transmitter_temperature"], kelvin)
    return "" if good else f"{value!r} of {data!r}"


def _same(value: float, told: float) -> bool:
    if math.isnan(told):
        return math.isnan(value)
    return math.isclose(value, told, rel_tol=1e-12, abs_tol=1e-9)


def targets() -> list[Target]:
    """Return a target per language."""
    frames = [Frame(of, data) for of, data in _KELLER.items()]
    frames += [Frame("48", _request("48") + _KELLER["48"])]
    return [
        Target(
            "keller", "KELLER pressure transmitter, frames with checksums",
            frames, _keller, _keller_wrong, (InstrumentError,), keller_sealed,
        )
    ]  # fmt: skip
