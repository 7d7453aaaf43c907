"""What can go wrong in a script, by the numbers the instrument answers with."""

from __future__ import annotations

# The numbers this instrument uses, with what they mean.
MEANINGS = {
    "0001": "an unspecified error",
    "0003": "the command was not recognised",
    "0004": "unknown register",
    "0005": "register is read-only",
    "0006": "the command is not possible now: a script runs, or none does",
    "0007": "an argument has an unexpected value",
    "0008": "the line is too long",
    "000C": "no script has been loaded",
    "000F": "the potential is beyond the instrument",
    "0010": "a variable became not-a-number or infinite",
    "0011": "the frequency is beyond the instrument",
    "0012": "the amplitude is beyond the instrument",
    "0014": "no open-circuit measurement with the cell on",
    "001B": "this instrument does not have the command",
    "0021": "no such potentiostat mode",
    "0023": "not in this potentiostat mode",
    "0027": "a file with this name exists",
    "0028": "division by zero",
    "002F": "no such channel",
    "0032": "critical overload: the cell was switched off",
    "0043": "register is write-only",
    "0048": "no multi-channel instrument",
    "004B": "the command's argument is too short",
    "0055": "no such GPIO pin",
    "0056": "the GPIO pin does not have this mode",
    "005A": "the timing is too fast for the instrument",
    "006D": "expected a hexadecimal number",
    "009F": "no such file",
    "00B2": "no such file mode",
    "00BA": "the GPIO pin is not an output",
    "4001": "unknown script command",
    "4004": "unexpected character",
    "4005": "the script is too large",
    "4008": "the command does not have this optional argument",
    "400B": "a measurement loop inside a measurement loop",
    "400D": "too many blocks inside each other",
    "400E": "a block ends that was not begun",
    "400F": "array index out of bounds",
    "4017": "the arrays have different lengths",
    "4018": "the script ended inside a block",
    "401A": "not inside a measurement loop",
    "401B": "package commands in the wrong order",
    "401C": "too many variables in a package",
    "4026": "the variable exists",
    "4027": "needs the cell switched on",
    "4029": "needs at least one step",
    "402B": "a name may have a-z, 0-9 and _ and starts with a letter",
    "402C": "the name is too long",
    "402E": "a counter in the path needs file mode 2",
    "4030": "too many files are open",
    "4032": "potential and its range are fixed inside a measurement loop",
    "4033": "current and its range are fixed inside a measurement loop",
    "4037": "a computation overflowed",
    "4039": "malformed number",
    "403B": "no file is open",
    "403C": "no such output mode",
    "4040": "a malformed interpolated string",
    "4200": "must not be negative",
    "4204": "must be positive",
    "4205": "out of bounds",
    "4207": "integer given for float, or float for integer",
    "4209": "variable type unknown, or not possible here",
    "420A": "one argument too many",
    "420B": "the variable is not declared",
    "420C": "cannot be a variable",
    "420D": "cannot be a literal",
    "420E": "cannot be an array",
    "4211": "cannot be an array element",
    "7FFF": "fatal",
}


class ScriptError(Exception):
    """A script did what it must not, while it ran.

    Attributes:
        code: four hexadecimal digits, a key of `MEANINGS`.
    """

    def __init__(self, code: str) -> None:
        """Carry a code of `MEANINGS`."""
        super().__init__(f"{code}: {MEANINGS[code]}")
        self.code = code


class LoadError(ScriptError):
    """A script was refused while it was loaded.

    Attributes:
        line: from 1.
        column: from 1; the character after the word that was refused, or the character itself.
    """

    def __init__(self, code: str, line: int, column: int) -> None:
        """Carry a code of `MEANINGS` and its place."""
        super().__init__(code)
        self.line = line
        self.column = column


class ScriptAborted(Exception):  # noqa: N818 - no error: the script's own `abort`, or `Z`
    """The script ends early, and `on_finished:` follows."""
