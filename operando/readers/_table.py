"""What every reader returns: named columns of numbers with units, and where they are from."""

import csv
import hashlib
import math
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Bytes that no text of ours begins with, by what they are.
_BINARY = {b"PK\x03\x04": "a zip archive", b"\x89HDF": "an HDF5 file", b"BIO-LOGIC": "an .mpr file"}


class ReaderError(ValueError):
    """A file cannot be read; the message names it and says what was expected and what is there."""


@dataclass(frozen=True)
class Source:
    """Where a table is from.

    Attributes:
        path: The file.
        sha256: Digest of its bytes.
        format: Name of its format, as `read` takes it.
    """

    path: Path
    sha256: str
    format: str


@dataclass(frozen=True)
class Table:
    """The numbers of a file, in SI units where they are known.

    Attributes:
        columns: Values by name, all of one length, read-only; NaN where the file has nothing.
            Those with a known meaning have its standard name with its unit, such as ``time_s``,
            ``potential_v``, ``current_a``, ``frequency_hz``, ``z_real_ohm``, ``z_imag_ohm``.
        units: Unit by column; ``1`` for a count or ratio, ``?`` where the file tells none.
        technique: What was measured, as the file names it.
        sign: What positive current and the sign of the imaginary part mean.
        source: The file.
        told: What else the file tells, as text.
    """

    columns: Mapping[str, Floats]
    units: Mapping[str, str]
    technique: str
    sign: str
    source: Source
    told: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for values in self.columns.values():
            values.setflags(write=False)
        for name in ("columns", "units", "told"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def require(self, *names: str) -> tuple[Floats, ...]:
        """Return columns by name.

        Raises:
            ReaderError: One is missing; the message lists those there are.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ReaderError(
                f"{self.source.path}: {self.technique or 'the table'} has no "
                f"{', '.join(missing)}; there are {', '.join(self.columns)}"
            )
        return tuple(self.columns[name] for name in names)


# What float() takes besides (1_000, digits of other scripts) no instrument writes.
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?nan", re.I
)
# Nothing that is measured is larger, in any unit.
LARGEST = 1e30
# A file is read whole, and its text is several times as large in memory.
LARGEST_BYTES = 512_000_000
# By quantity: standard name, unit, and the factor of each unit that files use.
_QUANTITIES: Mapping[str, tuple[str, str, Mapping[str, float]]] = {
    "time": ("time_s", "s", {"s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "min": 60,
                             "minutes": 60, "h": 3600, "hour": 3600, "hours": 3600}),
    "potential": ("potential_v", "V", {"V": 1, "volt": 1, "mV": 1e-3, "V vs. Ref.": 1, "uV": 1e-6}),
    "current": ("current_a", "A", {"A": 1, "ampere": 1, "mA": 1e-3, "uA": 1e-6, "\u00b5A": 1e-6,
                                   "\u03bcA": 1e-6,
                                   "nA": 1e-9, "pA": 1e-12}),
    "frequency": ("frequency_hz", "Hz", {"Hz": 1, "hertz": 1, "kHz": 1e3, "MHz": 1e6}),
    "z_real": ("z_real_ohm", "ohm", {"ohm": 1, "Ohm": 1, "\u03a9": 1, "\u2126": 1, "mohm": 1e-3,
                                     "kOhm": 1e3, "kohm": 1e3}),
    "z_imag": ("z_imag_ohm", "ohm", {"ohm": 1, "Ohm": 1, "\u03a9": 1, "\u2126": 1, "mohm": 1e-3,
                                     "kOhm": 1e3, "kohm": 1e3}),
    "charge": ("charge_c", "C", {"C": 1, "coulomb": 1, "mC": 1e-3, "uC": 1e-6,
                                 "A.h": 3600, "Ah": 3600,
                                 "ah": 3600, "mA.h": 3.6, "mAh": 3.6}),
    "temperature": ("temperature_k", "K", {"K": 1, "kelvin": 1}),
    "retention": ("retention_s", "s", {"s": 1, "min": 60, "Minutes": 60, "minutes": 60}),
}  # fmt: skip
_CELSIUS = ("deg C", "°C", "degC", "C", "celsius")


def standard(
    path: Path, quantity: str, unit: str, values: Iterable[float], *, factor: float = 1.0
) -> tuple[str, str, Floats]:
    """Return standard name, unit and values of a column whose meaning is known.

    Raises:
        ReaderError: Its unit is not known: the numbers would be a guess.
    """
    name, standard_unit, factors = _QUANTITIES[quantity]
    array = np.array(values, dtype=np.float64)
    if quantity == "temperature" and unit in _CELSIUS:
        return name, standard_unit, array + 273.15
    if unit not in factors:
        raise ReaderError(
            f"{path}: the unit of {quantity} is {unit!r}, which is not known; known are "
            f"{', '.join(factors)}"
        )
    return name, standard_unit, array * (factors[unit] * factor)


def bytes_of(path: Path, format: str) -> tuple[bytes, Source]:
    """Return a file's bytes, and where they are from.

    Raises:
        ReaderError: It cannot be read, is empty, or is some binary file.
    """
    try:
        told = path.stat()
        if not stat.S_ISREG(told.st_mode):  # a device or a pipe may never end
            raise ReaderError(f"{path}: is no file")
        size = told.st_size
        if size > LARGEST_BYTES:
            raise ReaderError(
                f"{path}: has {size / 1e9:.1f} GB, and files of up to {LARGEST_BYTES / 1e9:.1f} GB "
                "are read: it is no result of one measurement; attach a part of it"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise ReaderError(f"{path}: cannot be read ({error.strerror})") from error
    if not raw.strip():
        raise ReaderError(f"{path}: is empty")
    for begin, what in _BINARY.items():
        if raw.startswith(begin):
            raise ReaderError(f"{path}: is {what}, not the text that {format} files are")
    return raw, Source(path, hashlib.sha256(raw).hexdigest(), format)


def text_of(path: Path, format: str) -> tuple[str, Source]:
    """Return a file's text, and where it is from: UTF-8 or UTF-16 (told by its mark), else Latin.

    Raises:
        ReaderError: As `bytes_of`, or there are bytes in it that no text has.
    """
    raw, source = bytes_of(path, format)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif raw[1:2] == b"\x00" and len(raw) % 2 == 0:
        encodings = ["utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" in text:
            break
        return text.strip("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), source
    raise ReaderError(f"{path}: is no text of a known encoding (UTF-8, UTF-16 or Latin)")


def rises(values: Floats) -> bool:
    """Return whether each value is larger than the one before; not if one is not finite."""
    return bool(np.isfinite(values).all() and (values[1:] > values[:-1]).all())


def separated(
    path: Path, lines: Iterable[tuple[int, str]], separator: str, header: Sequence[str], needed: int
) -> tuple[list[tuple[int, list[str]]], int]:
    """Return numbered lines as cells, quotes taken off, and how many there are, for `rows_of`.

    Args:
        path: For the message.
        lines: Line numbers and lines.
        separator: What parts cells.
        header: The cells of the header; those that are empty at its end are no columns.
        needed: How many cells a row must have; it is filled up to the header's.

    Raises:
        ReaderError: They are no cells.
    """
    width = max([needed, *(n for n, cell in enumerate(header, 1) if cell.strip())])
    found = []
    for number, line in lines:
        try:
            cells = next(csv.reader([line], delimiter=separator), [])
        except csv.Error as error:
            raise ReaderError(f"{path}: line {number} is no row of cells ({error})") from error
        missing = width - len(cells) if len(cells) >= needed else 0
        found.append((number, cells + [""] * missing))
    return found, width


def number(text: str) -> float:
    """Return a number written with point or decimal comma; NaN for an empty cell.

    Raises:
        ValueError: It is no number.
    """
    text = text.strip()
    if not text:
        return math.nan
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"not a number: {text!r:.40}")
    return float(text.replace(",", "."))


def rows_of(
    path: Path,
    lines: Iterable[tuple[int, list[str]]],
    width: int,
    numeric: Iterable[int],
    *,
    commas_separate: bool = False,
) -> Floats:
    """Return rows of text cells as numbers, shape (rows, len(numeric)).

    Args:
        path: For the message.
        lines: Line number and cells of each row.
        width: How many cells each row must have.
        numeric: Which of them are wanted.
        commas_separate: Whether commas part the cells: one within a quoted cell is then as likely
            to part thousands (1,234) as to be a decimal comma, and is refused.

    Raises:
        ReaderError: A row is shorter (the file is cut off there) or holds no number.
    """
    wanted = list(numeric)
    found: list[list[float]] = []
    for line, cells in lines:
        if len(cells) < width:
            raise ReaderError(
                f"{path}: line {line} has {len(cells)} of {width} columns: is the file cut off?"
            )
        if commas_separate and any(cell.strip() for cell in cells[width:]):
            raise ReaderError(
                f"{path}: line {line} has {len(cells)} cells for {width} columns: does a comma "
                "part thousands or decimals there?"
            )
        unclear = [cells[index] for index in wanted if commas_separate and "," in cells[index]]
        if unclear:
            raise ReaderError(
                f"{path}: line {line} has {unclear[0]!r} between commas: does its comma part "
                "thousands, or decimals? Write numbers without it, or part cells by semicolons"
            )
        try:
            found.append([number(cells[index]) for index in wanted])
        except ValueError as error:
            raise ReaderError(f"{path}: line {line} holds no number ({error})") from error
        if any(abs(value) > LARGEST for value in found[-1]):
            beyond = max(found[-1], key=abs)
            raise ReaderError(f"{path}: line {line} holds a number that is none: {beyond:g}")
    if not found:
        raise ReaderError(f"{path}: the table has no rows: is the file cut off?")
    return np.array(found, dtype=np.float64)
