"""What the error codes of MethodSCRIPT instruments mean, in the maker's sense."""

import re
from typing import NamedTuple

from instruments.errors import ProtocolError

MEANINGS = {
    0x0003: "unknown command",
    0x0004: "unknown register",
    0x0005: "register is read-only",
    0x0006: "command not allowed in the present communication mode",
    0x0007: "argument has an unexpected value",
    0x0008: "command or script exceeds the maximum length",
    0x0009: "command timed out",
    0x000C: "no script has been loaded",
    0x000F: "potential is invalid for this instrument",
    0x0011: "frequency is invalid for this instrument",
    0x0012: "amplitude is invalid for this instrument",
    0x0014: "open-circuit potential cannot be measured with the cell on",
    0x001B: "not supported by this instrument",
    0x001F: "not licensed on this instrument",
    0x0021: "mode is not supported by this instrument",
    0x0023: "not valid in the present mode",
    0x0028: "division by zero",
    0x0032: "critical overload, measurement aborted",
    0x0048: "not a multi-channel instrument",
    0x0055: "pin cannot be used like this on this instrument",
    0x0056: "pin cannot be used like this on this instrument",
    0x0058: "measurement could not keep its timing",
    0x005A: "measurement timing is invalid",
    0x0080: "counter electrode oscillates",
    0x00BA: "pin cannot be used like this on this instrument",
    0x00BB: "pin cannot be used like this on this instrument",
    0x4001: "unknown script command",
    0x4004: "unexpected character in the script",
    0x4005: "script is too large for the memory of the instrument",
    0x400B: "measurement loops cannot be nested",
    0x400E: "command is not allowed in this scope",
    0x4018: "script ended unexpectedly",
    0x401B: "package commands in the wrong order",
    0x401C: "too many variables",
    0x4026: "variable is declared twice",
    0x4027: "the cell must be on for this",
    0x4028: "the cell must be off for this",
    0x4029: "at least one step is needed",
    0x4032: "current range cannot be changed inside a measurement loop",
    0x4033: "potential range cannot be changed inside a measurement loop",
    0x4200: "value has the wrong sign or is out of bounds",
    0x4201: "value has the wrong sign or is out of bounds",
    0x4202: "value has the wrong sign or is out of bounds",
    0x4203: "value has the wrong sign or is out of bounds",
    0x4204: "value has the wrong sign or is out of bounds",
    0x4205: "value has the wrong sign or is out of bounds",
    0x4207: "value has the wrong type",
    0x420A: "too many arguments",
    0x420B: "variable has not been declared",
    0x7FFF: "fatal error, the instrument must be reset",
}

_ERROR = re.compile(
    r"[A-Za-z_]*!(?P<code>[0-9A-Fa-f]{4})"
    r"(?::(?: Line (?P<line>\d{1,6})(?!\d)(?:, Col (?P<column>\d{1,6})(?!\d))?)?.*)?"
)


class ErrorReply(NamedTuple):
    """An error as the instrument told it; ``line`` and ``column`` count from 1 in the script."""

    code: int
    line: int | None
    column: int | None

    @property
    def meaning(self) -> str:
        """Return the code with its meaning."""
        return f"error {self.code:04X} ({MEANINGS.get(self.code, 'not in our table')})"

    def told_with(self, script: str) -> str:
        """Return code, meaning and the script's line it is about."""
        if self.line is None:
            return self.meaning
        lines = script.splitlines()
        text = lines[self.line - 1] if 0 < self.line <= len(lines) else "beyond the script"
        where = f"line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{self.meaning} at {where} of the script: {text!r}"


def parse_error(line: str) -> ErrorReply:
    """Return the error that ``line`` tells; raises ProtocolError if it tells none."""
    found = _ERROR.fullmatch(line)
    if found is None:
        raise ProtocolError(f"{line!r} is not an error reply")
    return ErrorReply(
        int(found["code"], 16),
        None if found["line"] is None else int(found["line"]),
        None if found["column"] is None else int(found["column"]),
    )
