"""Numbers of MethodSCRIPT: literals as a script writes them, values as a package carries them.

A package value has eight characters: seven hexadecimal digits (the number plus 2^27) and one SI
prefix; `i` marks an integer, a space the prefix one, and ``"     nan"`` stands for not-a-number.
There are 28 bits and no exponent, so the prefix decides the resolution: the instrument takes the
finest prefix with which the number still fits.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right

# Decimal exponents of the SI prefixes, finest first.
PREFIX_EXPONENTS = {
    "a": -18,
    "f": -15,
    "p": -12,
    "n": -9,
    "u": -6,
    "m": -3,
    " ": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "P": 15,
    "E": 18,
}

# The largest magnitude a package value can hold, in units of its prefix.
LARGEST_PACKAGE_INTEGER = (1 << 27) - 1

# Integers of the language have 32 bits, and so have the digits of a literal.
SMALLEST_INTEGER, LARGEST_INTEGER = -(1 << 31), (1 << 31) - 1

_OFFSET = 1 << 27
_PREFIXES = tuple(PREFIX_EXPONENTS)
_FACTORS = tuple(10.0 ** -PREFIX_EXPONENTS[prefix] for prefix in _PREFIXES)
# A magnitude below the n-th bound still rounds to a fitting number with the n-th prefix.
_BOUNDS = tuple(
    (LARGEST_PACKAGE_INTEGER + 0.5) * 10.0 ** PREFIX_EXPONENTS[prefix] for prefix in _PREFIXES
)

_DECIMAL = re.compile(r"(-?)([0-9]+)([afpnumkMGTPEi]?)")
_RADIX = re.compile(r"0(?:x([0-9A-Fa-f]+)|b([01]+))i?")


class MalformedLiteralError(ValueError):
    """A text is not a number of the language."""


class UnrepresentableValueError(ValueError):
    """A number does not fit a package value, whatever the prefix."""


def parse_number(text: str) -> int | float:
    """Return the number a literal of a script stands for.

    Literals are decimal integers with an optional SI prefix (``-500m``, ``100k``: floats), with the
    suffix ``i`` (integers), or hexadecimal and binary integers (``0x1E``, ``0b101``). There is no
    decimal point and no exponent.

    Raises:
        MalformedLiteralError: the text is no literal, or its digits exceed 32 bits.
    """
    radix = _RADIX.fullmatch(text)
    if radix:
        hexadecimal, binary = radix.groups()
        number = int(hexadecimal, 16) if hexadecimal else int(binary, 2)
        if number > 0xFFFFFFFF:
            raise MalformedLiteralError(text)
        return number if number <= LARGEST_INTEGER else number - (1 << 32)
    decimal = _DECIMAL.fullmatch(text)
    if not decimal:
        raise MalformedLiteralError(text)
    sign, digits, suffix = decimal.groups()
    number = int(sign + digits)
    if not SMALLEST_INTEGER <= number <= LARGEST_INTEGER:
        raise MalformedLiteralError(text)
    if suffix == "i":
        return number
    exponent = PREFIX_EXPONENTS[suffix or " "]
    # Dividing by a power of ten is correctly rounded, multiplying by its inverse is not.
    return number * 10.0**exponent if exponent >= 0 else number / 10.0**-exponent


def format_value(value: int | float) -> str:
    """Return the eight characters with which a package carries a value.

    Raises:
        UnrepresentableValueError: an integer beyond 28 bits, or a float beyond 1.3e26.
    """
    if value.__class__ is int:
        if not -LARGEST_PACKAGE_INTEGER <= value <= LARGEST_PACKAGE_INTEGER:
            raise UnrepresentableValueError(f"{value} has more than 28 bits")
        return f"{value + _OFFSET:07X}i"
    if value != value:
        return "     nan"
    place = bisect_right(_BOUNDS, value if value >= 0.0 else -value)
    if place == len(_BOUNDS):
        raise UnrepresentableValueError(f"{value} is beyond every prefix")
    number = round(value * _FACTORS[place])
    if not number:
        return "8000000 "
    if not -_OFFSET < number < _OFFSET:  # the product was rounded across the bound
        number = round(value * _FACTORS[place + 1])
        return f"{number + _OFFSET:07X}{_PREFIXES[place + 1]}"
    return f"{number + _OFFSET:07X}{_PREFIXES[place]}"


def format_text(value: int | float) -> str:
    """Return a value as ``send_string`` writes it inside a text: decimal, six significant digits.

    The manual's layout of interpolated numbers was not read; nothing should parse these texts.
    """
    if value.__class__ is int:
        return str(value)
    return "nan" if math.isnan(value) else f"{value:.6g}"
