"""BioLogic EC-Lab text exports (.mpt)."""

import re
from pathlib import Path

import numpy as np

from operando.readers._table import Floats, ReaderError, Table, rows_of, standard, text_of

FORMAT = "biologic_mpt"
_FIRST = ("EC-Lab ASCII FILE", "BT-Lab ASCII FILE")
# Column of the file: its meaning, its unit, and its sign against ours.
_MEANING = {
    "time/s": ("time", "s", 1), "Ewe/V": ("potential", "V", 1), "Ecell/V": ("potential", "V", 1),
    "<Ewe>/V": ("potential", "V", 1), "I/mA": ("current", "mA", 1), "<I>/mA": ("current", "mA", 1),
    "freq/Hz": ("frequency", "Hz", 1), "Re(Z)/Ohm": ("z_real", "Ohm", 1),
    "-Im(Z)/Ohm": ("z_imag", "Ohm", -1), "Im(Z)/Ohm": ("z_imag", "Ohm", 1),
    "(Q-Qo)/mA.h": ("charge", "mA.h", 1), "(Q-Qo)/C": ("charge", "C", 1),
}  # fmt: skip


def read_biologic(path: Path | str) -> Table:
    """Read an .mpt file, with point or decimal comma.

    EC-Lab writes oxidation at the working electrode positive, and minus the imaginary part, which
    is turned here. Of several potentials or currents the first is the standard one, the others
    keep the file's name.

    Raises:
        ReaderError: It is no such file, its header is longer than the file, time is a date (export
            it as seconds), or a row is cut off.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    lines = text.split("\n")
    if lines[0].strip() not in _FIRST:
        raise ReaderError(
            f"{path}: an .mpt file begins with {_FIRST[0]!r}, this one with {lines[0]!r:.60}"
        )
    counted = (
        re.match(r"Nb header lines\s*:\s*([0-9]{1,6})\s*$", lines[1]) if len(lines) > 1 else None
    )
    if counted is None:
        raise ReaderError(f"{path}: line 2 does not tell the number of header lines")
    count = int(counted[1])
    if count < 3 or count >= len(lines):
        raise ReaderError(
            f"{path}: {count} header lines are announced, the file has {len(lines)} lines: cut off?"
        )
    header = [cell.strip() for cell in lines[count - 1].rstrip("\n").split("\t")]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise ReaderError(f"{path}: line {count}, the last of the header, names no columns")
    rows = [
        (number + 1, lines[number].split("\t"))
        for number in range(count, len(lines))
        if lines[number].strip()
    ]
    place = header.index("time/s") if "time/s" in header else len(header)
    if rows and re.search(r"\d[/:]\d", "".join(rows[0][1][place : place + 1])):
        raise ReaderError(f"{path}: time is written as a date; export it as seconds")
    values = rows_of(path, rows, len(header), range(len(header)))
    columns: dict[str, Floats] = {}
    units: dict[str, str] = {}
    for index, name in enumerate(header):
        column = values[:, index]
        unit = name.rsplit("/", 1)[1] if "/" in name else "1"
        key = name
        if name in _MEANING:
            quantity, unit_there, sign = _MEANING[name]
            key, unit, column = standard(path, quantity, unit_there, column, factor=sign)
            if key in columns:
                key, unit, column = name, unit_there, values[:, index]
        columns[key], units[key] = np.array(column), unit
    technique = next((line.strip() for line in lines[2:count] if line.strip()), "")
    told = {}
    for line in lines[2 : count - 1]:
        name, separator, value = line.partition(" : ")
        if separator:
            told[name.strip()] = value.strip()
    sign_told = "oxidation at the working electrode positive; imaginary part turned to its own sign"
    return Table(columns, units, technique if count > 3 else "", sign_told, source, told)
