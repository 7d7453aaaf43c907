"""Spectra in JCAMP-DX, the exchange format of infrared spectrometers (Appl. Spectrosc. 42, 151)."""

import math
import re
from datetime import date, datetime, time
from pathlib import Path

import numpy as np

from operando.readers._table import LARGEST, Floats, ReaderError, Table, text_of

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
_TOKEN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?|[@A-Ia-i%J-Rj-rS-Zs]\d*|\?")
_STAMP = re.compile(
    r"(?P<day>[\d/-]+)\s+(?P<time>\d\d:\d\d(?::\d\d(?:[.,]\d{1,6})?)?)\s*"
    r"(?P<zone>[+-]\d\d:?\d\d|Z)?\s*$"
)
_PAIR = re.compile(r"[;\n]+")
# A table of more points than this is none.
_MOST = 10_000_000
# No share of the light is larger, but for noise: what is, was written in per cent.
_SHARE = 2.0
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
        x_factor = 1.0
    elif "XYPOINTS" in labels or "PEAKTABLE" in labels:
        x, y = _points(path, labels.get("XYPOINTS") or labels["PEAKTABLE"])
        x_factor = _number(path, labels, "XFACTOR", 1.0)
    else:
        raise ReaderError(f"{path}: has neither ##XYDATA= nor ##XYPOINTS=")
    announced = labels.get("NPOINTS")
    if announced and _number(path, labels, "NPOINTS", None) != len(x):
        raise ReaderError(f"{path}: has {len(x)} points, {announced} were announced: is it cut?")
    with np.errstate(all="ignore"):
        x, y = x * x_factor, y * y_factor
    if not np.isfinite(x).all():
        raise ReaderError(f"{path}: its abscissa is not finite")
    if (np.abs(x) > LARGEST).any() or (np.abs(y) > LARGEST).any():
        raise ReaderError(f"{path}: a number in it, times its factor, is none")
    if x_unit in ("MICROMETERS", "MICROMETRES"):
        if not (x > 1 / LARGEST).all():
            raise ReaderError(f"{path}: it has wavelengths that are none")
        x = 1e4 / x
    elif x_unit not in ("1/CM", "CM-1", "CM^-1"):
        raise ReaderError(f"{path}: the abscissa is in {x_unit or 'no unit'}, not in 1/CM")
    name, y, unit = _ordinate(path, labels.get("YUNITS", ""), y)
    told = {key.lower(): value for key in ("TITLE", "DATATYPE", "ORIGIN", "RESOLUTION")
            if (value := labels.get(key))}  # fmt: skip
    started = _started(labels)
    if started:
        told["started"] = started
    return Table(
        {"wavenumber_cm1": x, name: y},
        {"wavenumber_cm1": "1/cm", name: unit},
        labels.get("DATATYPE", "infrared spectrum"),
        "no current",
        source,
        told,
    )


def _ordinate(path: Path, told: str, y: Floats) -> tuple[str, Floats, str]:
    """Return what the ordinate is, as a share of 1 where it is transmittance, and its unit."""
    kind = re.sub(r"[\s()_]+", " ", told).strip().lower()
    percent = "%" in kind or "percent" in kind or "per cent" in kind
    if "absorbance" in kind and not percent:
        return "absorbance", y, "1"
    transmitted = "transmi" in kind or kind.replace(" ", "") in ("%t", "t%")
    if not transmitted:
        return "signal", y, told or "?"
    largest = float(np.max(np.abs(y[np.isfinite(y)]), initial=0.0))
    if percent:
        return "transmittance", y / 100, "1"
    if largest > _SHARE:
        raise ReaderError(
            f"{path}: ##YUNITS= is {told!r}, a share of 1, but it reaches {largest:g}: if that is "
            "per cent, write '% TRANSMITTANCE'"
        )
    return "transmittance", y, "1"


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
        value = float((told or "").replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ReaderError(f"{path}: ##{name}= is {told!r}, no number")
    return value


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
    with np.errstate(all="ignore"):
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
    strange = _TOKEN.sub("", line).strip(" \t+-")
    if strange:
        raise ReaderError(f"{path}: the line {line[:40]!r} holds {strange[:10]!r}, no number")
    numbers: list[float] = []
    difference: float | None = None
    for token in _TOKEN.findall(line):
        head, rest = token[0], token[1:]
        if not numbers:
            if head not in "+-.0123456789":
                raise ReaderError(f"{path}: the line {line[:40]!r} begins with no abscissa")
            numbers.append(float(token))
        elif len(numbers) == 1 and head in (*_REPEATS, *_DIFFERENCES):
            raise ReaderError(f"{path}: the line {line[:40]!r} begins with no ordinate")
        elif head in _REPEATS:
            count = int((_REPEATS[head] + rest)[:9])
            if count + len(numbers) > _MOST:
                raise ReaderError(f"{path}: repeats {token!r}, more than a spectrum has points")
            for _ in range(count - 1):
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
    """Return when it was recorded: ISO text, with its zone if that is told.

    A date that is no date, or of which day and month cannot be told apart, is returned as it is
    written; where there is none, nothing.
    """
    stamp = labels.get("LONGDATE") or f"{labels.get('DATE', '')} {labels.get('TIME', '')}".strip()
    found = _STAMP.match(stamp)
    if found is None:
        return stamp
    days = set[date]()
    for forms in (("%Y/%m/%d", "%y/%m/%d", "%Y-%m-%d"), ("%d/%m/%Y", "%m/%d/%Y")):
        for form in forms if not days else ():
            try:
                days.add(datetime.strptime(found["day"], form).date())
            except ValueError:
                continue
    try:
        clock = time.fromisoformat(found["time"].replace(",", "."))
        zone = datetime.strptime(found["zone"], "%z").tzinfo if found["zone"] else None
    except ValueError:
        return stamp
    if len(days) != 1:
        return stamp
    return datetime.combine(days.pop(), clock, zone).isoformat()
