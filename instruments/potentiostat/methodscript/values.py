"""Numbers as MethodSCRIPT writes them, both ways.

In a script a number is an integer with an SI prefix (``-500m``). In a data package it is seven
hexadecimal digits offset by 2**27 and a prefix, which for 1 is a *space*: a package line must never
be stripped.
"""

import math
import re

from instruments.errors import ProtocolError

_EXPONENTS = {
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
_OFFSET = 1 << 27
_NAN = "     nan"
_VALUE = re.compile(r"([0-9A-F]{7})([afpnumkMGTPE i])")
# A script literal is a signed 32-bit integer times its prefix; we stay well inside.
_LARGEST_INTEGER = 10**9


def decode_value(text: str) -> float | int:
    """Return the value of the eight characters of a package variable.

    An integer (prefix ``i``) is an ``int``, everything else a ``float``, ``     nan`` is NaN.
    Raises ProtocolError for anything that is not exactly of this form.
    """
    if text == _NAN:
        return math.nan
    found = _VALUE.fullmatch(text)
    if found is None:
        raise ProtocolError(f"{text!r} is not a MethodSCRIPT value")
    number = int(found[1], 16) - _OFFSET
    if found[2] == "i":
        return number
    exponent = _EXPONENTS[found[2]]
    # Dividing by a power of ten rounds once; multiplying by 1e-3 would round twice.
    return number * 10.0**exponent if exponent >= 0 else number / 10.0**-exponent


def format_literal(value: float) -> str:
    """Return ``value`` as a script literal: an integer and an SI prefix, within 1e-6 of it.

    The shortest prefix that is exact to 1e-9 is taken (``-0.5`` is ``-500m``), else the one that
    keeps most digits. Raises ValueError if the value is not finite or beyond the prefixes.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written in a script")
    if value == 0:
        return "0"
    best: tuple[float, str] | None = None
    for prefix in (" ", "m", "u", "n", "p", "f", "a", "k", "M"):
        scaled = value / 10.0 ** _EXPONENTS[prefix]
        number = round(scaled)
        if number == 0 or abs(number) > _LARGEST_INTEGER:
            continue
        error = abs(number - scaled) / abs(scaled)
        text = f"{number}{prefix.strip()}"
        if error < 1e-9:
            return text
        if best is None or error < best[0]:
            best = (error, text)
    if best is None or best[0] > 1e-6:
        raise ValueError(f"{value} is beyond what a script literal can hold")
    return best[1]
