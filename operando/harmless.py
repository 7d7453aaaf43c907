"""What others wrote, made harmless: for a terminal, a spreadsheet, and as the name of a file."""

import re

# Everything a terminal obeys instead of showing it, but the end of a line and the tabulator: the
# controls, and the marks that turn the direction of the text, by which one name looks like another.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINE_ENDS = re.compile(r"[\n\r\t\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# What a run may be called: its name is that of files, in the data folder and in exports.
_UID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def is_uid(text: object) -> bool:
    """Return whether a run may be called like this: a name of a file that leads nowhere else."""
    return isinstance(text, str) and _UID.fullmatch(text) is not None


def printable(text: str) -> str:
    r"""Return a text with what a terminal would obey (colours, moves) written as ``\u001b``.

    A JSON text says the same afterwards.
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """Return a text without ends of lines, so that a name cannot look like the next line."""
    return _LINE_ENDS.sub(" ", text)


def spreadsheet_cell(text: str) -> str:
    """Return a text that a spreadsheet takes for one: before what begins a formula stands a quote.

    A number stays a number.
    """
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
