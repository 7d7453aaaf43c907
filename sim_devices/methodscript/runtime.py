"""What compiled MethodSCRIPT calls: the instrument's arithmetic, its arrays, and the program."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from sim_devices.methodscript.errors import ScriptAborted, ScriptError
from sim_devices.methodscript.values import (
    LARGEST_INTEGER,
    SMALLEST_INTEGER,
    format_text,
    format_value,
)

# The instrument computes with 32-bit floats; the simulation only has their bound.
_LARGEST_FLOAT = 3.4e38
FILENAME = "<methodscript>"


def fail(code: str) -> NoReturn:
    """Raise the run-time error with this code."""
    raise ScriptError(code)


def in_bounds(value: int | float) -> int | float:
    """Return a result that lies beyond 32 bits if it still is a number of the language."""
    if value.__class__ is int:
        if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise ScriptError("4037")
    elif not -_LARGEST_FLOAT < value < _LARGEST_FLOAT:
        raise ScriptError("0010")
    return value


def as_float(value: int | float) -> float:
    """Return a float argument."""
    if value.__class__ is not float:
        raise ScriptError("4207")
    return value


def as_integer(value: int | float) -> int:
    """Return an integer argument."""
    if value.__class__ is not int:
        raise ScriptError("4207")
    return value


def divide(a: int | float, b: int | float) -> int | float:
    """Divide two numbers of one type; integers towards zero, as in C."""
    if a.__class__ is not b.__class__:
        raise ScriptError("4207")
    if not b:
        raise ScriptError("0028")
    if a.__class__ is int:
        return in_bounds(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))
    return in_bounds(a / b)


def modulo(a: int | float, b: int | float) -> int | float:
    """Return the remainder with the sign of the dividend, as in C."""
    if a.__class__ is not b.__class__:
        raise ScriptError("4207")
    if not b:
        raise ScriptError("0028")
    return int(math.fmod(a, b)) if a.__class__ is int else math.fmod(a, b)


def power(a: int | float, b: int | float) -> int | float:
    """Raise to a power; a result that is no real number is 0010."""
    if a.__class__ is not b.__class__:
        raise ScriptError("4207")
    try:
        result = a**b
    except ZeroDivisionError:
        raise ScriptError("0028") from None
    except OverflowError:
        raise ScriptError("0010") from None
    if isinstance(result, complex):
        raise ScriptError("0010")
    # An integer to a negative power is computed in floats and cut, as integer division is.
    return in_bounds(int(result) if a.__class__ is int else result)


def logarithm(a: int | float) -> float:
    """Return the natural logarithm of a float."""
    if as_float(a) <= 0.0:
        raise ScriptError("0010")
    return math.log(a)


class Array:
    """A script's array: values with their types, all float zero at first."""

    def __init__(self, size: int | float) -> None:
        """Make `size` elements; a float size is cut."""
        count = int(size)
        if count < 1:
            raise ScriptError("4204")
        if count > 1_000_000:
            raise ScriptError("4205")
        self.values: list[int | float] = [0.0] * count
        self.types = ["aa"] * count

    def place(self, index: int | float) -> int:
        """Return the index after checking it."""
        if index.__class__ is not int:
            raise ScriptError("4207")
        if not 0 <= index < len(self.values):
            raise ScriptError("400F")
        return index

    def get(self, index: int | float) -> int | float:
        """Return an element's value."""
        return self.values[self.place(index)]

    def put(self, index: int | float, value: int | float, kind: str | None = None) -> None:
        """Set an element's value, and its type unless None."""
        place = self.place(index)
        self.values[place] = value
        if kind is not None:
            self.types[place] = kind

    def mean(self) -> float:
        """Return the mean of all elements, which have to be floats."""
        return math.fsum(as_float(value) for value in self.values) / len(self.values)


def declared(array: Array | None) -> Array:
    """Return an array whose declaration has been run."""
    if array is None:
        raise ScriptError("420B")
    return array


def fit_line(x: Array, y: Array) -> tuple[float, float]:
    """Return (slope, intercept) of the least-squares line."""
    if len(x.values) != len(y.values):
        raise ScriptError("4017")
    x_mean, y_mean = x.mean(), y.mean()
    spread = math.fsum((a - x_mean) ** 2 for a in x.values)
    if not spread:
        raise ScriptError("0028")
    slope = (
        math.fsum((a - x_mean) * (b - y_mean) for a, b in zip(x.values, y.values, strict=True))
        / spread
    )
    return slope, y_mean - slope * x_mean


RUNTIME: dict[str, Any] = {
    "fail": fail,
    "in_bounds": in_bounds,
    "as_float": as_float,
    "as_integer": as_integer,
    "divide": divide,
    "modulo": modulo,
    "power": power,
    "logarithm": logarithm,
    "declared": declared,
    "fit_line": fit_line,
    "format_value": format_value,
    "format_text": format_text,
    "Array": Array,
    "ScriptAborted": ScriptAborted,
    "ScriptError": ScriptError,
    "__builtins__": {"int": int, "float": float, "len": len, "round": round, "str": str},
}


@dataclass(frozen=True)
class Program:
    """A loaded script.

    Attributes:
        text: the script's lines as they were received, for storing it.
        function: runs the script on a machine.
        line_of: script line by line of the compiled code.
    """

    text: str
    function: Callable[[Any], None]
    line_of: tuple[int, ...]

    def line_of_error(self, trace: TracebackType | None) -> int:
        """Return the script line in which an exception came up; 0 when it was in none."""
        line = 0
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == FILENAME:
                line = self.line_of[trace.tb_lineno - 1]
            trace = trace.tb_next
        return line
