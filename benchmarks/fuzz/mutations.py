"""Damage: what a wire, a disk, another program or another instrument makes of a frame."""

import random
import re
import struct
from collections.abc import Callable, Sequence

_DIGITS = re.compile(rb"\d")
_NUMBER = re.compile(rb"[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?")
_WORDS = (
    b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"1e999", b"-1e999", b"1e308", b"-0", b"0",
    b"99999999999999999999", b"1_0", b"\xb2", b"\xd9\xa3", b"0x10", b"1e", b"-", b"", b"true",
    b"null", b"7FFFFFF", b"1,234.5", b"9" * 400, b"9" * 5000,
)  # fmt: skip
_BYTES = (
    b"\x00", b"\xff", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x1c", b"\x7f", b"\xc3\xa9", b'"',
    b"{", b"[" * 200, b"}", b";", b":", b",", b"#", b">", b"!", b"*", b"\xef\xbb\xbf",
)  # fmt: skip
_ENCODINGS = ("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp037")


def _place(data: bytes, chance: random.Random) -> int:
    return chance.randrange(len(data)) if data else 0


def _flipped(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return b"\x01"
    at = _place(data, chance)
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _other_byte(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _cut_end(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _cut_begin(data: bytes, chance: random.Random) -> bytes:
    return data[_place(data, chance) :]


def _slice(data: bytes, chance: random.Random) -> tuple[int, int]:
    begin = _place(data, chance)
    return begin, min(len(data), begin + chance.choice((1, 1, 2, 3, 4, 6, 8, 12, 20, 40)))


def _dropped(data: bytes, chance: random.Random) -> bytes:
    begin, end = _slice(data, chance)
    return data[:begin] + data[end:]


def _repeated(data: bytes, chance: random.Random) -> bytes:
    begin, end = _slice(data, chance)
    return data[:end] + data[begin:end] * chance.randint(1, 3) + data[end:]


def _moved(data: bytes, chance: random.Random) -> bytes:
    begin, end = _slice(data, chance)
    rest = data[:begin] + data[end:]
    at = _place(rest, chance)
    return rest[:at] + data[begin:end] + rest[at:]


def _digits_swapped(data: bytes, chance: random.Random) -> bytes:
    places = [found.start() for found in _DIGITS.finditer(data)]
    if len(places) < 2:
        return _flipped(data, chance)
    one, other = chance.sample(places, 2)
    new = bytearray(data)
    new[one], new[other] = new[other], new[one]
    return bytes(new)


def _other_digit(data: bytes, chance: random.Random) -> bytes:
    places = [found.start() for found in _DIGITS.finditer(data)]
    if not places:
        return _flipped(data, chance)
    at = chance.choice(places)
    return data[:at] + b"%d" % chance.randrange(10) + data[at + 1 :]


def _other_number(data: bytes, chance: random.Random) -> bytes:
    places = [found.span() for found in _NUMBER.finditer(data)]
    if not places:
        return _inserted(data, chance)
    begin, end = chance.choice(places)
    return data[:begin] + chance.choice(_WORDS) + data[end:]


def _inserted(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.choice(_BYTES + _WORDS) + data[at:]


def _other_length(data: bytes, chance: random.Random) -> bytes:
    """Put a small, huge or negative binary number somewhere, as a length may be damaged."""
    if len(data) < 4:
        return _other_byte(data, chance)
    at = chance.randrange(len(data) - 3)
    (now,) = struct.unpack_from("<I", data, at)
    values = (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, now + 1, now - 1, now * 2, len(data))
    return data[:at] + struct.pack("<I", chance.choice(values) & 0xFFFFFFFF) + data[at + 4 :]


def _other_float(data: bytes, chance: random.Random) -> bytes:
    if len(data) < 8:
        return _other_byte(data, chance)
    at = chance.randrange(len(data) - 7)
    value = chance.choice((float("nan"), float("inf"), -float("inf"), 1e300, -1.0, 0.0, 1e-300))
    return data[:at] + struct.pack("<d", value) + data[at + 8 :]


def _other_encoding(data: bytes, chance: random.Random) -> bytes:
    return data.decode("latin-1").encode(chance.choice(_ENCODINGS), "replace")


def _emptied(data: bytes, chance: random.Random) -> bytes:
    return chance.choice((b"", b"\n", b"\r\n", b"\x00" * len(data), b" " * len(data)))


def _lines(data: bytes, chance: random.Random) -> bytes:
    """Drop, repeat or change the order of whole lines."""
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        return _repeated(data, chance)
    one, other = chance.sample(range(len(lines)), 2)
    match chance.randrange(3):
        case 0:
            del lines[one]
        case 1:
            lines.insert(other, lines[one])
        case _:
            lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


_Damage = Callable[[bytes, random.Random], bytes]
# How often each: what happens on wires most, what another program writes less.
_DAMAGES: Sequence[tuple[_Damage, int]] = (
    (_flipped, 6), (_other_byte, 4), (_cut_end, 4), (_cut_begin, 3), (_dropped, 4), (_repeated, 4),
    (_moved, 2), (_digits_swapped, 3), (_other_digit, 4), (_other_number, 6), (_inserted, 5),
    (_other_length, 4), (_other_float, 2), (_other_encoding, 1), (_emptied, 1), (_lines, 4),
)  # fmt: skip
_KINDS = [damage for damage, _ in _DAMAGES]
_WEIGHTS = [weight for _, weight in _DAMAGES]


def damaged(frame: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return ``frame`` with one to four damages; ``others`` are what it may be joined with."""
    if chance.random() < 0.08:
        other = chance.choice(others)
        joined = frame[: _place(frame, chance)] + other[_place(other, chance) :]
        frame = chance.choice((frame + other, joined))
    for damage in chance.choices(_KINDS, _WEIGHTS, k=chance.choice((1, 1, 1, 2, 2, 3, 4))):
        frame = damage(frame, chance)
    return frame
