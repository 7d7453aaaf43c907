"""Height maps of an atomic force microscope, and waveforms of an ultrasonic transducer, as text."""

import re
from pathlib import Path

import numpy as np

from operando.readers._table import (
    LARGEST,
    ReaderError,
    Table,
    number,
    rises,
    rows_of,
    separated,
    text_of,
)

HEIGHT, WAVEFORM = "afm_text", "ultrasound_csv"
_METRE = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "\u00b5m": 1e-6, "\u03bcm": 1e-6, "nm": 1e-9,
          "pm": 1e-12, "\u00c5": 1e-10}  # fmt: skip
_SECOND = {"s": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6,
           "\u03bcs": 1e-6, "ns": 1e-9}  # fmt: skip
_VOLT = {"v": 1.0, "volt": 1.0, "volts": 1.0, "mv": 1e-3, "\u00b5v": 1e-6, "uv": 1e-6}
_LABEL = re.compile(r"^#\s*([\w ]+?)\s*:\s*(.+)$")
_LENGTH = re.compile(r"^([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*(\S+)$")


def read_height_map(path: Path | str) -> Table:
    """Read a map: ``x_m``, ``y_m``, ``height_m``, one row per pixel, line after line from the top.

    Two text forms are known: a matrix as Gwyddion exports it, with ``# Width: 5.0 um``,
    ``# Height: 5.0 um`` and ``# Value units: m`` before it, and three columns ``x y z`` with
    ``# Units: m``. ``rows`` and ``columns`` of a matrix are told.

    Args:
        path: The file.

    Raises:
        ReaderError: No such form, a unit that is not known, or lines of different length.
    """
    path = Path(path)
    text, source = text_of(path, HEIGHT)
    told: dict[str, str] = {}
    rows: list[tuple[int, list[str]]] = []
    for at, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        label = _LABEL.match(line)
        if label:
            told[label[1].lower()] = label[2].strip()
        elif line and not line.startswith("#"):
            rows.append((at, re.split(r"[\s;]+", line)))
    if not rows:
        raise ReaderError(f"{path}: has no numbers: is it cut off?")
    width = len(rows[0][1])
    if any(len(cells) != width for _, cells in rows):
        raise ReaderError(f"{path}: its lines are of different length: is it cut off?")
    values = rows_of(path, rows, width, range(width))
    if "width" in told and "height" in told:
        wide, high = (_length(path, name, told[name]) for name in ("width", "height"))
        unit = _factor(path, told.get("value units", ""), "Value units")
        across, down = np.meshgrid(
            (np.arange(width) + 0.5) * wide / width,
            (np.arange(len(values)) + 0.5) * high / len(values),
        )
        told |= {"rows": str(len(values)), "columns": str(width)}
        x, y, height = across.ravel(), down.ravel(), (values * unit).ravel()
    elif width == 3:
        unit = _factor(path, told.get("units", ""), "Units")
        x, y, height = (values[:, place] * unit for place in range(3))
    else:
        raise ReaderError(
            f"{path}: neither a matrix with '# Width:' and '# Height:' nor three columns x y z"
        )
    return Table(
        {"x_m": x, "y_m": y, "height_m": height},
        dict.fromkeys(("x_m", "y_m", "height_m"), "m"),
        "AFM height map",
        "no current",
        source,
        told,
    )


def _length(path: Path, name: str, text: str) -> float:
    found = _LENGTH.match(text)
    try:
        length = number(found[1]) if found else 0.0
    except ValueError:
        length = 0.0  # thousands, or two points
    if found is None or not 0 < length < LARGEST:
        raise ReaderError(f"{path}: '# {name.title()}: {text}' is no length with a unit")
    return length * _factor(path, found[2], name.title())


def _factor(path: Path, unit: str, name: str) -> float:
    try:
        return _METRE[unit]
    except KeyError:
        raise ReaderError(
            f"{path}: '# {name}:' tells the unit {unit!r}; known are {', '.join(_METRE)}"
        ) from None


def read_waveform(path: Path | str) -> Table:
    """Read a waveform: ``delay_s`` since the pulse, and ``amplitude_v``.

    The header names both and their units, ``Time (us),Amplitude (mV)``, or, as oscilloscopes write
    it, the units alone: ``second,Volt``.

    Args:
        path: The file.

    Raises:
        ReaderError: No such header, a unit that is not known, or times that do not rise.
    """
    path = Path(path)
    text, source = text_of(path, WAVEFORM)
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    told: dict[str, str] = {}
    for at, line in lines:
        separator = next((one for one in "\t;," if one in line), ",")
        cells = [cell.strip().strip('"') for cell in line.split(separator)]
        if len(cells) >= 2:
            seconds, volts = _unit(cells[0], _SECOND), _unit(cells[1], _VOLT)
            if seconds is not None and volts is not None:
                break
        told[f"line {at}"] = line.strip("# ")
    else:
        raise ReaderError(
            f"{path}: no line names time and amplitude with units; expected 'Time (us),Amplitude "
            "(mV)' or 'second,Volt'"
        )
    table = [(n, line) for n, line in lines if n > at and line[0] != "#"]
    rows, width = separated(path, table, separator, cells, 2)
    values = rows_of(path, rows, width, (0, 1), commas_separate=separator == ",")
    if not rises(values[:, 0]):
        raise ReaderError(f"{path}: the times of a waveform rise, these do not")
    begun = next((told[key] for key in told if told[key].lower().startswith("started")), "")
    if begun:
        told["started"] = begun.partition(":")[2].strip()
    return Table(
        {"delay_s": values[:, 0] * seconds, "amplitude_v": values[:, 1] * volts},
        {"delay_s": "s", "amplitude_v": "V"},
        "ultrasonic waveform",
        "no current",
        source,
        told,
    )


def _unit(cell: str, known: dict[str, float]) -> float | None:
    """Return the factor of the unit that a header's cell tells; None if it tells none."""
    found = re.search(r"[\[(]\s*([^\])]+?)\s*[\])]\s*$", cell)
    return known.get((found[1] if found else cell).lower())
