"""What a simulated instrument put on its wire, read back without any driver of ours.

The truth of a simulator that was started with ``wires`` holds each piece that an instrument said,
and each that was sent, which a fault may have damaged in between. A line counts as delivered if it
was sent as it was said.
"""

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = tuple[float, ...]

_PREFIXES = {"f": -15, "p": -12, "n": -9, "u": -6, "m": -3, " ": 0, "k": 3, "M": 6, "G": 9, "i": 0}
_OFFSET = 0x8000000
_CELSIUS_K = 273.15
_CHANNEL = 73
_LINE = re.compile(r"[^\r\n>]+|>")


class Told(NamedTuple):
    """Values that were delivered whole, and when: host monotonic clock, s."""

    host_s: float
    values: Values


def truth(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return what a simulator wrote down so far under a name; a line without its end is not."""
    path = folder / "sim_truth" / f"{name}.jsonl"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in text.splitlines()]


def delivered_lines(folder: Path, wire: str) -> list[tuple[float, str]]:
    """Return the lines that were sent as they were said, and when the last byte of each was."""
    said: list[str] = []
    sent: list[tuple[float, str]] = []
    pieces = truth(folder, f"wire-{wire}")
    said = _LINE.findall("".join(x["text"] for x in pieces if x["event"] == "said"))
    text, ends, times = "", [], []
    for piece in pieces:
        if piece["event"] == "sent":
            text += piece["text"]
            ends.append(len(text))
            times.append(piece["host_s"])
    for found in _LINE.finditer(text):
        at = int(np.searchsorted(ends, found.end(), side="left"))
        sent.append((times[at], found[0]))
    if [line for _, line in sent] == said:
        return sent
    whole = SequenceMatcher(None, said, [line for _, line in sent], autojunk=False)
    return [
        sent[number]
        for block in whole.get_matching_blocks()
        for number in range(block.b, block.b + block.size)
    ]


def _sent(folder: Path, wire: str) -> list[tuple[float, str]]:
    pieces = truth(folder, f"wire-{wire}")
    return [(one["host_s"], one["text"]) for one in pieces if one["event"] == "sent"]


# ---- one reader per language: delivered lines -> values of a row


def _methodscript(lines: list[tuple[float, str]]) -> Iterator[Told]:
    """Yield (number, time in the step s, potential V, current A) of each row of a program."""
    before: Values = ()
    for host_s, line in lines:
        if not line.startswith("P"):
            continue
        found: dict[str, float] = {}
        for field in line[1:].split(";"):
            kind, digits, prefix = field[:2], field[2:9], field[9:10]
            found[kind] = (int(digits, 16) - _OFFSET) * 10.0 ** _PREFIXES[prefix]
        current = found.get("db", found.get("ba"))
        if current is None or not {"ab", "eb", "ja"} <= found.keys():
            continue
        values = (found["ja"], found["eb"], found["ab"], current)
        if values != before:  # the last row of a step comes twice
            yield Told(host_s, values)
        before = values


def _tsp(lines: list[tuple[float, str]]) -> Iterator[Told]:
    for host_s, line in lines:
        if line.startswith("R,"):
            number, _, _, _, _, _, step_t, potential, current, _ = line[2:].split(",")
            yield Told(host_s, tuple(map(float, (number, step_t, potential, current))))


def _json_lines(lines: list[tuple[float, str]]) -> Iterator[Told]:
    """Yield (time in the step s, potential V, current A) of each sample of a Rodeostat."""
    for host_s, line in lines:
        if found := re.fullmatch(r'\{"t":(\d+),"v":([-\d.e]+),"i":([-\d.e]+)\}', line):
            t_ms, volts, microamperes = map(float, found.groups())
            yield Told(host_s, (t_ms * 1e-3, volts, microamperes * 1e-6))


def _huber(lines: list[tuple[float, str]]) -> Iterator[Told]:
    """Yield (bath K,): the internal temperature at address 01."""
    for host_s, line in lines:
        if found := re.fullmatch(r"\{S01([0-9A-F]{4})", line):
            value = int(found[1], 16)
            celsius = (value - 0x10000 if value & 0x8000 else value) / 100
            yield Told(host_s, (round(celsius + _CELSIUS_K, 2),))


def _number_lines(pattern: str, told: Callable[[float], float]) -> Callable[..., Iterator[Told]]:
    def read(lines: list[tuple[float, str]]) -> Iterator[Told]:
        for host_s, line in lines:
            if re.fullmatch(pattern, line):
                yield Told(host_s, (told(float(line)),))

    return read


def _zaber(lines: list[tuple[float, str]]) -> Iterator[Told]:
    """Yield (um,) of each position that was told."""
    for host_s, line in lines:
        if found := re.fullmatch(r"@\d\d \d OK \w+ \S\S (-?\d+)(?::\w\w)?", line):
            yield Told(host_s, (int(found[1]) * 0.047625,))


def _keller(pieces: list[tuple[float, str]]) -> Iterator[Told]:
    """Yield (pressure Pa,) of each answer to function 73 with its checksum, high byte first.

    Which channel was asked is not in it: what is told in degrees is no pressure that can be.
    """
    data = b"".join(text.encode("latin-1") for _, text in pieces)
    ends = np.cumsum([len(text) for _, text in pieces])
    at = 0
    while at + 9 <= len(data):
        frame = data[at : at + 9]
        if frame[1] != _CHANNEL or crc16(frame[:7]) != int.from_bytes(frame[7:], "big"):
            at += 1
            continue
        at += 9
        (bar,) = struct.unpack(">f", frame[2:6])
        yield Told(pieces[int(np.searchsorted(ends, at))][0], (bar * 1e5,))


def crc16(data: bytes) -> int:
    """Return the checksum of MODBUS, bit by bit: polynomial 0xA001, beginning with 0xFFFF."""
    crc = 0xFFFF
    for bit in (byte >> place & 1 for byte in data for place in range(8)):
        crc = crc >> 1 ^ (0xA001 if (crc ^ bit) & 1 else 0)
    return crc


class Language(NamedTuple):
    """How the rows of an instrument are found on its wire, and in the record.

    Attributes:
        read: delivered lines -> values; of a language without lines, what was sent.
        columns: of the record, behind the stream's name, one for each value that is compared.
        first: which of the values is the first of these.
        possible: whether values can be; those that cannot are delivered for nobody.
        each_once: whether each of them is a row of the record; else they are answers, of which a
            row takes one.
        has_lines: else frames tell by their checksums which of them were sent as they were said.
    """

    read: Callable[[list[tuple[float, str]]], Iterator[Told]]
    columns: tuple[str, ...]
    first: int = 0
    each_once: bool = False
    possible: Callable[[Values], bool] = lambda values: True
    has_lines: bool = True


def _measured(values: Values) -> bool:
    """Return whether a potentiostat can have measured this in a step of a minute at most."""
    *_, step_s, volts, amperes = values
    return 0 <= step_s < 600 and abs(volts) < 20 and abs(amperes) < 2


def _between(low: float, high: float) -> Callable[[Values], bool]:
    return lambda values: low <= values[0] <= high


_OF_LEADERS = ("step_t", "potential", "current")
LANGUAGES: Mapping[str, Language] = {
    "potentiostat": Language(_methodscript, _OF_LEADERS, 1, True, _measured),
    "keithley": Language(_tsp, _OF_LEADERS, 1, True, _measured),
    "rodeostat": Language(_json_lines, _OF_LEADERS, 0, False, _measured),
    "thermostat": Language(_huber, ("temperature",), possible=_between(173.15, 673.15)),
    "julabo": Language(
        _number_lines(r"-?\d+\.\d\d", lambda x: round(x + _CELSIUS_K, 2)),
        ("temperature",),
        possible=_between(173.15, 673.15),
    ),
    "ph_meter": Language(
        _number_lines(r"\d{1,2}\.\d{3}", float), ("ph",), possible=_between(0.001, 14)
    ),
    "microbalance": Language(
        _number_lines(r"\d+\.\d\d", float), ("frequency",), possible=_between(4e6, 6e6)
    ),
    "pressure": Language(_keller, ("pressure",), possible=_between(-3e4, 3.3e5), has_lines=False),
    "stage": Language(_zaber, ("x",), possible=_between(-1e5, 1e5)),
}


class Asset(NamedTuple):
    """Where the arrays of an instrument are in the record, and in the truth.

    Attributes:
        stream: of the record.
        key: of the asset in it.
        truth: the file of the truth that has a ``crc32`` of each that was made.
        as_made: the numbers as the instrument makes them.
    """

    stream: str
    key: str
    truth: str
    as_made: str


_IMAGES = Asset("camera", "camera_image", "camera", "|u1")
_SPECTRA = Asset("raman", "raman_counts", "raman", "<u2")
_TRACES = Asset("chromatogram", "gas_chromatograph_result_trace", "chromatograph", "<f8")
ASSETS: Mapping[str, Asset] = {
    "camera": _IMAGES,
    "gige_camera": _IMAGES,
    "relay_board": _IMAGES,
    "raman": _SPECTRA,
    "raman_ocean": _SPECTRA,
    "chromatograph": _TRACES,
    "fusion": _TRACES,
}


# Boxes whose truth has the digest of each file.
WRITERS = ("ftir", "xrd", "afm", "ultrasound")


def never_made(folder: Path, instrument: str, streams: Mapping[str, Any]) -> int:
    """Return how many arrays in the record the instrument never made, as they are there."""
    asset = ASSETS[instrument]
    stream = streams.get(asset.stream)
    if stream is None or not len(stream):
        return 0
    made = {line.get("crc32") for line in truth(folder, asset.truth)}
    arrays = [np.asarray(one).astype(asset.as_made) for one in stream.asset(asset.key)]
    return sum(zlib.crc32(one.tobytes()) not in made for one in arrays)


def never_written(folder: Path, instrument: str, digests: Sequence[str]) -> int:
    """Return how many files, by their SHA-256, are none of those that a box meant to write."""
    meant = {line.get("sha256") for line in truth(folder, instrument)}
    return sum(digest not in meant for digest in digests)


def told_by(folder: Path, wire: str) -> list[Told]:
    """Return all that an instrument delivered on its wire and that can be."""
    language = LANGUAGES[wire]
    lines = delivered_lines(folder, wire) if language.has_lines else _sent(folder, wire)
    return [one for one in language.read(lines) if language.possible(one.values)]


def unlike(
    recorded: npt.NDArray[np.float64], delivered: npt.NDArray[np.float64], relative: float = 1e-6
) -> int:
    """Return how many recorded rows are none of those that were delivered; NaN is no row."""
    wrong = 0
    for row in recorded:
        if np.any(np.isnan(row)):
            continue
        near = np.isclose(delivered, row, rtol=relative, atol=1e-12).all(axis=1)
        wrong += not near.any()
    return wrong


def not_taken(
    samples: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
    every_s: float,
    *,
    to_the_end: bool,
) -> int:
    """Return how many samples were due as a row, and are none.

    One is due ``every_s`` after the row before it, and the first one always.

    Args:
        samples: times in the step of what was delivered, s, as they came; where they go back, a
            test of its own began. One without any row is not looked at.
        rows: times in the step of what was recorded, s.
        every_s: how far apart rows are, s.
        to_the_end: whether the run took all of them; else those behind the last row are nobody's.
    """
    lost = 0
    for test in np.split(samples, np.flatnonzero(np.diff(samples) < 0) + 1):
        is_row = np.isclose(test[:, None], rows[None, :], rtol=1e-9, atol=1e-6).any(axis=1)
        if not is_row.any():
            continue
        last = len(test) if to_the_end else int(np.flatnonzero(is_row)[-1])
        before_s = -np.inf
        for t_s, taken in zip(test[:last], is_row[:last], strict=True):
            due = t_s - before_s >= every_s - 1e-6
            lost += bool(due and not taken)
            if due or taken:
                before_s = t_s
    return lost
