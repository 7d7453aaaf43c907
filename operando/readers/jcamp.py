"""Spectra in JCAMP-DX, the exchange format of infrared spectrometers (Appl. Spectrosc. 42, 151)."""

import re
from datetime import UTC, datetime, time
from pathlib import Path

import numpy as np

from operando.readers._table import Floats, ReaderError, Table, text_of

FORMAT = "jcamp_dx"
_DIGITS = {
    **{letter: str(n) for n, letter in enumerate("@ABCDEFGHI")},
    **{letter: f"-{n}" for n, letter in enumerate("abcdefghi", 1)},
}
_DIFFERENCES = {
    **{letter: str(n) for n, letter in enumerate("%JKLMNOPQR")},
    **{letter: f"-{n}" for n, letter in enumerate("jklmnopqr", 1)},
}
_REPEATS = {letter: str(n) for n, letter in enumerate("STUVWXYZs", 1)}
_TOKEN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?|[@A-Ia-i%J-Rj-rS-Zs][\d.]*|\?")
_STAMP = re.compile(
    r"(?P<day>[\d/-]+)\s+(?P<time>\d\d:\d\d:\d\d(?:[.,]\d{1,6})?)\s*(?P<zone>[+-]\d\d:?\d\d)?"
)
_PAIR = re.compile(r"[;\n]+")
# The first and the last abscissa and the factors are written with few digits.
_TOLERANCE = 0.02


def read_jcamp(path: Path | str) -> Table:
    """Read one spectrum: ``wavenumber_cm1`` and ``absorbance``, ``transmittance`` or ``signal``.

    Ordinates may be numbers, packed or compressed (SQZ, DIF, DUP); wavelengths in micrometres
    become wavenumbers. Rows are in the file's order.

    Args:
        path: The file.

    Raises:
        ReaderError: No JCAMP-DX, several blocks, an abscissa or form that is not known, or not as
            many points as are announced.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    labels = _labels(path, text)
    if labels.get("DATATYPE", "").upper() == "LINK" or text.upper().count("##TITLE=") > 1:
        raise ReaderError(f"{path}: holds several spectra: write each to a file of its own")
    x_unit = labels.get("XUNITS", "").upper().replace(" ", "")
    y_factor = _number(path, labels, "YFACTOR", 1.0)
    if "XYDATA" in labels:
        x, y = _table(path, labels)
        y = y * y_factor
    elif "XYPOINTS" in labels or "PEAKTABLE" in labels:
        x, y = _points(path, labels.get("XYPOINTS") or labels["PEAKTABLE"])
        x, y = x * _number(path, labels, "XFACTOR", 1.0), y * y_factor
    else:
        raise ReaderError(f"{path}: has neither ##XYDATA= nor ##XYPOINTS=")
    announced = labels.get("NPOINTS")
    if announced and int(float(announced)) != len(x):
        raise ReaderError(f"{path}: has {len(x)} points, {announced} were announced: is it cut?")
    if x_unit in ("MICROMETERS", "MICROMETRES"):
        x = 1e4 / x
    elif x_unit not in ("1/CM", "CM-1", "CM^-1"):
        raise ReaderError(f"{path}: the abscissa is in {x_unit or 'no unit'}, not in 1/CM")
    kind = labels.get("YUNITS", "").strip().lower()
    name = next((one for one in ("absorbance", "transmittance") if one in kind), "signal")
    told = {key.lower(): value for key in ("TITLE", "DATATYPE", "ORIGIN", "RESOLUTION")
            if (value := labels.get(key))}  # fmt: skip
    started = _started(labels)
    if started:
        told["started"] = started
    unit = "1" if name != "signal" else labels.get("YUNITS", "?")
    return Table(
        {"wavenumber_cm1": x, name: y},
        {"wavenumber_cm1": "1/cm", name: unit},
        labels.get("DATATYPE", "infrared spectrum"),
        "no current",
        source,
        told,
    )


def _labels(path: Path, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in re.split(r"^\s*##", text, flags=re.MULTILINE)[1:]:
        label, equals, value = block.partition("=")
        if equals:
            lines = [line.partition("$$")[0] for line in value.split("\n")]
            found[re.sub(r"[\s\-/_]", "", label).upper()] = "\n".join(lines).strip()
    if "JCAMPDX" not in found or "END" not in found:
        raise ReaderError(f"{path}: is no complete JCAMP-DX file (##JCAMP-DX= ... ##END=)")
    return found


def _number(path: Path, labels: dict[str, str], name: str, otherwise: float | None) -> float:
    told = labels.get(name)
    try:
        if told is None and otherwise is not None:
            return otherwise
        return float((told or "").replace(",", "."))
    except ValueError:
        raise ReaderError(f"{path}: ##{name}= is {told!r}, no number") from None


def _points(path: Path, content: str) -> tuple[Floats, Floats]:
    _, _, body = content.partition("\n")
    numbers = [float(one) for one in re.findall(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?", body)]
    if not numbers or len(numbers) % 2:
        raise ReaderError(f"{path}: its points are no pairs of numbers: is it cut off?")
    pairs = np.array(numbers).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def _table(path: Path, labels: dict[str, str]) -> tuple[Floats, Floats]:
    """Return abscissa and unscaled ordinates of ``(X++(Y..Y))``."""
    form, _, body = labels["XYDATA"].partition("\n")
    if "X++(Y..Y)" not in form.replace(" ", ""):
        raise ReaderError(f"{path}: the form {form.strip()!r} is not known, (X++(Y..Y)) is")
    first, last = (_number(path, labels, name, None) for name in ("FIRSTX", "LASTX"))
    x_factor = _number(path, labels, "XFACTOR", 1.0)
    values: list[float] = []
    checks: list[tuple[int, float]] = []
    ended_by_difference = False
    for line in body.split("\n"):
        if not line.strip():
            continue
        numbers, differs = _line(path, line)
        if ended_by_difference and values and numbers[1:]:
            # The first ordinate repeats the last of the line before, as a check.
            if abs(numbers[1] - values[-1]) > 0.5:
                raise ReaderError(f"{path}: a line begins with {numbers[1]:g}, not {values[-1]:g}")
            values.pop()
        checks.append((len(values), numbers[0] * x_factor))
        values += numbers[1:]
        ended_by_difference = differs
    if len(values) < 2:
        raise ReaderError(f"{path}: its table has no points: is it cut off?")
    x = np.linspace(first, last, len(values))
    step = abs(x[1] - x[0])
    for place, told in checks:
        # An abscissa is written with as many digits as its factor allows, at most one step off.
        if place < len(x) and abs(x[place] - told) > max(step, _TOLERANCE * abs(told)):
            raise ReaderError(
                f"{path}: point {place + 1} lies at {told:g} and not at {x[place]:g}: are points "
                "missing?"
            )
    return x, np.array(values)


def _line(path: Path, line: str) -> tuple[list[float], bool]:
    """Return the abscissa and the ordinates of a line, and if the last was a difference."""
    numbers: list[float] = []
    difference: float | None = None
    for token in _TOKEN.findall(line):
        head, rest = token[0], token[1:]
        if not numbers:
            numbers.append(float(token))
        elif head in _REPEATS:
            for _ in range(int(_REPEATS[head] + rest) - 1):
                numbers.append(numbers[-1] + (difference or 0.0))
        elif head in _DIFFERENCES:
            difference = float(_DIFFERENCES[head] + rest)
            numbers.append(numbers[-1] + difference)
        elif head == "?":
            numbers.append(np.nan)
            difference = None
        else:
            difference = None
            numbers.append(float(_DIGITS.get(head, head) + rest))
    if not numbers:
        raise ReaderError(f"{path}: the line {line[:40]!r} holds no numbers")
    return numbers, difference is not None


def _started(labels: dict[str, str]) -> str:
    """Return when it was recorded as ISO text, UTC unless told; empty if that is not told."""
    stamp = labels.get("LONGDATE") or f"{labels.get('DATE', '')} {labels.get('TIME', '')}".strip()
    found = _STAMP.match(stamp)
    if found is None:
        return ""
    for form in ("%Y/%m/%d", "%y/%m/%d", "%Y-%m-%d", "%d/%m/%Y"):
        try:
            day = datetime.strptime(found["day"], form).date()
            clock = time.fromisoformat(found["time"].replace(",", "."))
        except ValueError:
            continue
        zone = datetime.strptime(found["zone"], "%z").tzinfo if found["zone"] else UTC
        return datetime.combine(day, clock, zone).isoformat()
    return ""
