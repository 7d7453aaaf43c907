"""Lines an instrument sends while a script runs, decoded by type, never by position.

Only a line that has exactly the form of the manual is decoded; anything else raises ProtocolError
and stays raw. There is no checksum on the line: a hexadecimal digit that turned into another one
can only be noticed by whether the value makes sense, which the driver checks.
"""

import re
from dataclasses import dataclass

from instruments.errors import ProtocolError
from instruments.potentiostat.methodscript.values import decode_value

TIMING_NOT_MET, OVERLOAD, UNDERLOAD, OVERLOAD_WARNING = 1, 2, 4, 8

_VARIABLE = re.compile(
    r"(?P<type>[a-z]{2})(?P<value>[0-9A-F]{7}[afpnumkMGTPE i]|     nan)"
    r"(?P<meta>(?:,[0-9][0-9A-Fa-f]{1,2})*)"
)


@dataclass(frozen=True)
class Variable:
    """One variable of a package.

    Attributes:
        type: two letters: what it is (``ab`` potential, ``ba`` current, ``eb`` time, ...).
        value: in SI units.
        status: status bits: 1 timing not met, 2 overload, 4 underload, 8 overload warning.
        range_index: the instrument's number of the range it was measured in, if told.
    """

    type: str
    value: float | int
    status: int = 0
    range_index: int | None = None


def parse_package(line: str) -> tuple[Variable, ...]:
    """Return the variables of a package line (``P`` included, line end excluded).

    Unknown kinds of metadata are skipped. Raises ProtocolError for anything malformed.
    """
    if not line.startswith("P"):
        raise ProtocolError(f"{line!r} is not a data package")
    return tuple(_variable(text, line) for text in line[1:].split(";"))


def _variable(text: str, line: str) -> Variable:
    found = _VARIABLE.fullmatch(text)
    if found is None:
        raise ProtocolError(f"{text!r} is not a variable, in the package {line!r}")
    status, range_index = 0, None
    for item in found["meta"].split(",")[1:]:
        match item[0]:
            case "1" if len(item) == 2:
                status = int(item[1], 16)
            case "2" if len(item) == 3:
                range_index = int(item[1:], 16)
            case "1" | "2":
                raise ProtocolError(f"{item!r} is not metadata, in the package {line!r}")
    return Variable(found["type"], decode_value(found["value"]), status, range_index)


def by_type(variables: tuple[Variable, ...]) -> dict[str, Variable]:
    """Return the variables by their type; raises ProtocolError if a type comes twice."""
    found = {variable.type: variable for variable in variables}
    if len(found) != len(variables):
        raise ProtocolError(f"a type comes twice in the package {variables!r}")
    return found
