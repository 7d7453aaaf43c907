"""The potentiostats' languages: what runs tell, line by line, and what is answered at rest."""

import json
import math
import re
from fractions import Fraction
from typing import Any

from benchmarks.fuzz.target import Frame, Target
from benchmarks.fuzz.wire import FedWire
from instruments.errors import InstrumentError, ProtocolError
from instruments.potentiostat.contract import PLATE
from instruments.potentiostat.keithley import script as tsp
from instruments.potentiostat.keithley.dialogue import Dialogue as TspDialogue
from instruments.potentiostat.keithley.stream import ProgramStream as TspStream
from instruments.potentiostat.methodscript import instrument_log
from instruments.potentiostat.methodscript.dialogue import Dialogue
from instruments.potentiostat.methodscript.error_codes import parse_error
from instruments.potentiostat.methodscript.packages import parse_package
from instruments.potentiostat.methodscript.program import Program, log_path
from instruments.potentiostat.methodscript.script import Block
from instruments.potentiostat.methodscript.stream import ProgramStream
from instruments.potentiostat.rodeostat import dialogue as rodeostat

_REFUSALS = (InstrumentError,)
_WHO = "potentiostat at fed://"
_PREFIXES = dict(zip("afpnum kMGTPE", range(-18, 19, 3), strict=True))


def _lines(data: bytes) -> list[bytes]:
    return data.split(b"\n")[:-1]


# -- MethodSCRIPT: packages


def _value(text: str) -> float | int:
    """Return what eight characters say; raises ValueError."""
    if text == "     nan":
        return math.nan
    if re.fullmatch(r"[0-9A-F]{7}[afpnum kMGTPEi]", text) is None:
        raise ValueError(text)
    number = int(text[:7], 16) - 2**27
    return (
        number if text[7] == "i" else float(Fraction(number) * Fraction(10) ** _PREFIXES[text[7]])
    )


def _package(line: str) -> list[tuple[str, float | int, int]]:
    """Return types, values and status of a package; raises ValueError."""
    found = []
    if line[:1] != "P":
        raise ValueError(line)
    for part in line[1:].split(";"):
        head, *metadata = part.split(",")
        if re.fullmatch(r"[a-z]{2}.{8}", head, re.S) is None:
            raise ValueError(part)
        status = [int(x[1], 16) for x in metadata if x[:1] == "1" and len(x) == 2]
        found.append((head[:2], _value(head[2:]), status[-1] if status else 0))
    return found


def _equal(one: float, other: float) -> bool:
    return type(one) is type(other) and (
        one == other or math.isclose(one, other, rel_tol=1e-15) or (one != one and other != other)
    )


def _package_wrong(frame: Frame, value: Any) -> str:
    try:
        told = _package(frame.data.decode("ascii"))
    except ValueError as error:
        return f"{value!r} of what is no package ({error})"
    same = len(told) == len(value) and all(
        kind == one.type and _equal(number, one.value) and status == one.status
        for (kind, number, status), one in zip(told, value, strict=True)
    )
    return "" if same else f"{value!r}, told {told!r}"


_PACKAGES = (
    b"Peb8000000 ;ja8000000i;jb8000001i;jc8000000i;jd8000001i",
    b"Peb80F4240u;ja8000001i;ab7FFCF2Cu,10,206;ba7FFFC18u,10,218",
    b"Peb81E8480u;ja8000002i;ab7FFD314u;ba7FFFC17u,14,218",
    b"Pdc8000064 ;cc8000BB8m,12;cd7FFFA24m", b"Pba     nan,12",
)  # fmt: skip


# -- MethodSCRIPT: a whole run

_RUN = Program(
    "",
    (
        Block("open_circuit", 0, 0.0, 10.0, 60.0),
        Block("galvanostatic", -1, -1e-3, 10.0, 3600.0),
        Block("impedance", 2, 0.0, 100.0, 4000.0),
    ),
)
_RUN_LINES = (
    b"Peb8000000u;ja8000000i;jb8000001i;jc8000000i;jd8000000i", b"M000B",
    b"Peb80F4240u;ja8000001i;ab80B71B0u", b"Peb81E8480u;ja8000002i;ab80B4AA0u", b"*",
    b"Peb8200B20u;ja8000001i;jb8000002i;jc8000001i;jd8000001i", b"M000A",
    b"Peb807A120u;ja8000003i;ab7FF3CB0u;ba7FFFC18u",
    b"Peb80F4240u;ja8000004i;ab7FF63C0u,10,206;ba7FFFC18u,14,21B", b"*",
    b"Peb81E8480u;ja8000002i;jb8000003i;jc8000001i;jd8000001i", b"M000D",
    b"Peb80F4240u;ja8000005i;dc8000064 ;cc8000BB8m;cd7FFFA24m", b"+",
    b"Peb8200B20u;ja8000005i", b"TEND", b"",
)  # fmt: skip


def _run_rows(frame: Frame) -> Any:
    stream = ProgramStream(_RUN)
    rows, text = [], frame.data
    for line in _lines(text):
        row = stream.feed(line, 0)
        if row is not None:
            rows.append((line, row))
        if stream.over:
            break
    if stream.damaged and not rows:
        raise ProtocolError("nothing but damage")
    return rows, stream.counters, stream.end


def _run_wrong(frame: Frame, value: Any) -> str:
    rows, counters, _ = value
    before = -1.0
    for line, row in rows:
        told = {kind: number for kind, number, _ in _package(line.decode("ascii"))}
        names = {"frequency_hz": "dc", "z_real_ohm": "cc", "z_imag_ohm": "cd"}
        if not hasattr(row, "frequency_hz"):
            names = {"potential_v": "ab"} | ({"current_a": "ba"} if "ba" in told else {})
        for name, kind in names.items():
            if kind in told and not _equal(float(getattr(row, name)), float(told[kind])):
                return f"{name} {getattr(row, name)!r} of {line!r}"
        if row.t_s < before or not math.isfinite(row.t_s):
            return f"t {row.t_s} behind {before}"
        before = row.t_s
    if not math.isfinite(counters.t_s):
        return f"{counters}"
    return ""


# -- MethodSCRIPT: answers at rest


_IDLE = {b"t\n": b"tes4_hr1300#Nov 17 2024 10:12:31\nR*\n", b"i\n": b"iES4HR24C0000\n",
         b"v\n": b"v01.09.00\n"}  # fmt: skip


def _idle(frame: Frame) -> Any:
    told = {**_IDLE, frame.of.encode(): frame.data}
    dialogue = Dialogue(FedWire(lambda data: told.get(data, b"")), lambda: _WHO, 0.1)
    return dialogue.kind(), dialogue.identity()


def _idle_wrong(frame: Frame, value: Any) -> str:
    (kind, firmware), identity = value
    lines = [line.decode("latin-1") for line in _lines(frame.data)]
    texts = (kind, firmware, *identity.values())
    if not all(x and x.isascii() and x.isprintable() for x in texts):
        return f"no text: {value!r}"
    match frame.of:
        case "t\n":
            good = any(x.startswith(f"t{kind}") for x in lines)
        case "i\n":
            good = f"i{identity['serial_number']}" in lines
        case _:
            good = f"v{identity['script_version']}" in lines
    return "" if good else f"{value!r} of {lines}"


def _errors(frame: Frame) -> Any:
    return parse_error(frame.data.decode("latin-1"))


def _errors_wrong(frame: Frame, value: Any) -> str:
    text = frame.data.decode("latin-1")
    found = re.search(r"!([0-9A-Fa-f]{4})", text)
    good = found is not None and int(found[1], 16) == value.code
    lines = [int(x) for x in re.findall(r"Line ([0-9]{1,6})(?![0-9])", text)]
    good = good and (value.line is None or value.line in lines)
    return "" if good else f"{value!r} of {text!r}"


# -- MethodSCRIPT: the file store


_LISTING = (
    b"f\n" + log_path("20260102t030405-a").encode() + b" 2026-01-02 1234\n"
    + log_path("20260103t030405-b").encode() + b" 2026-01-03 77\nother.txt 5\n\n"
)  # fmt: skip
_FILES = {
    "fs_info": b"f used 12 kB, free 4096 kB\n",
    "fs_dir /": _LISTING,
    f"fs_get {log_path('x')}": b"f\nL1\nM000B\nPeb80F4240u;ja8000001i;ab80B71B0u\nTEND\n\x1c\n",
}


def _store(frame: Frame) -> Any:
    wire = FedWire(lambda data: frame.data)
    files = instrument_log.InstrumentFiles(wire, _WHO)
    match frame.of:
        case "fs_info":
            return files.free_bytes()
        case "fs_dir /":
            return files.logs()
        case _:
            return list(files.lines("x") or ())


def _store_wrong(frame: Frame, value: Any) -> str:
    text = frame.data.decode("latin-1")
    match frame.of:
        case "fs_info":
            numbers = {int(x) * 1024 for x in re.findall(r"[0-9]+", text)[:50] if len(x) < 4000}
            good = value is None or value in numbers
        case "fs_dir /":
            good = all(name in text for name in value)
        case _:
            good = all(line in frame.data for line in value) and b"\x1c" in frame.data
    return "" if good else f"{value!r} of {text!r}"


# -- Keithley TSP

_TSP_RUN = tsp.Program("", (tsp.Block("galvanostatic", PLATE, -1e-3, 11.0, 60.0),))
_TSP_LINES = (
    b"B,1795729032.000", b"S,0,1,1,1,0.000100,1795729032.000",
    b"R,1,0,1,1,1,1.000100,1.000000,-1.2500000e-01,-1.0000000e-03,200",
    b"R,2,0,1,1,1,2.000100,2.000000,-1.2600000e-01,-1.0000000e-03,200",
    b"S,0,2,1,2,2.500000,1795729034.500",
    b"R,3,0,2,1,2,3.500000,1.000000,-1.3500000e-01,-1.0000000e-03,456",
    b"E,3,0,2,4.000000,1.500000,smu.OFF,END",
)  # fmt: skip


def _tsp_rows(frame: Frame) -> Any:
    stream = TspStream(_TSP_RUN)
    rows = []
    for line in _lines(frame.data):
        row = stream.feed(line, 0)
        if row is not None:
            rows.append((line, row))
        if stream.over:
            break
    if stream.damaged and not rows:
        raise ProtocolError("nothing but damage")
    return rows, stream.counters, stream.begun_utc_s


def _tsp_wrong(frame: Frame, value: Any) -> str:
    rows, counters, utc_s = value
    before = -1.0
    for line, row in rows:
        cells = line.decode("ascii").strip("\r").split(",")
        told = (float(cells[8]), float(cells[9]), float(cells[7]))
        came = (row.potential_v, row.current_a, row.step_t_s)
        for one, other in zip(came, told, strict=True):
            if one != other and not (math.isnan(one) and abs(other) > 9e36):
                return f"{row!r} of {line!r}"
        if row.t_s < before - 2e-6 or not math.isfinite(row.t_s):
            return f"t {row.t_s} behind {before}"
        before = row.t_s
    if not math.isfinite(counters.t_s) or (utc_s is not None and not 0 <= utc_s < 1e11):
        return f"{counters}, {utc_s}"
    return ""


_TSP_ANSWERS = {
    "language": b"TSP\n",
    "prepare": b"operando\t50\t1795729032\n",
    "off": b"operando-safe\t1\tsmu.OFF\t0.25\n",
    "load": b"operando-loaded\ttrue\t0\n",
}


def _tsp_dialogue(frame: Frame) -> Any:
    def answer(data: bytes) -> bytes:
        asked = {b"*LANG?": "language", b'print("operando", ': "prepare",
                 b'print("operando-loaded"': "load"}  # fmt: skip
        for begin, name in asked.items():
            if data.startswith(begin) and name == frame.of:
                return frame.data
        return frame.data if frame.of == "off" and b"operando-safe" in data else b""

    dialogue = TspDialogue(FedWire(answer), lambda: _WHO)
    match frame.of:
        case "language":
            return dialogue.take_control()
        case "prepare":
            return dialogue.prepare()
        case "off":
            return dialogue.output_off()
        case _:
            return dialogue.load("x = 1")


def _tsp_dialogue_wrong(frame: Frame, value: Any) -> str:
    lines = [line.decode("latin-1").strip("\r").split() for line in _lines(2 * frame.data)]
    match frame.of:
        case "language":
            good = ["TSP"] in lines
        case "prepare":
            hz, utc_s = value
            good = any(
                len(x) == 3 and x[0] == "operando" and _is(x[1], hz) and _is(x[2], utc_s)
                for x in lines
            )
            good = good and 0 <= utc_s < 1e11
        case "off":
            good = any(
                len(x) == 4 and x[0] == "operando-safe" and _is(x[1], 1) and x[2] == "smu.OFF"
                for x in lines
            )
        case _:
            good = any(
                x[:2] == ["operando-loaded", "true"] and len(x) == 3 and _is(x[2], 0) for x in lines
            )
    return "" if good else f"{value!r} of {frame.data!r:.80}"


def _is(text: str, value: float) -> bool:
    number = re.fullmatch(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]{1,3})?", text, re.I)
    return number is not None and math.isclose(float(text), value, rel_tol=1e-12, abs_tol=1e-12)


# -- Rodeostat

_JSON = (
    b'{"t":10,"v":0.5,"i":4.9}\n{"t":20,"v":0.5,"i":4.8}\n{}\n',
    b'{"n":1,"t":10,"v":-0.5,"i":-4.9,"le":1}\n{"t":20,"v":0.5,"i":4.8}\n{}\n',
)
_ANSWER = b'{"success":true,"response":{"command":"getVariant","variant":"10V_24MilliAmpV0.2"}}\n'


def _rodeostat(frame: Frame) -> Any:
    wire = FedWire(lambda data: frame.data)
    dialogue = rodeostat.Dialogue(wire, lambda: _WHO)
    if frame.of == "answer":
        return dialogue.ask("getVariant")
    wire.write(b"")
    heard: list[Any] = []
    while not isinstance(heard[-1] if heard else None, rodeostat.End):
        heard.append(dialogue.hear(0.1))
    if all(isinstance(x, rodeostat.Damaged) for x in heard[:-1]) and len(heard) > 1:
        raise ProtocolError("nothing but damage")
    return heard


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _rodeostat_wrong(frame: Frame, value: Any) -> str:
    told = []
    for line in _lines(frame.data):
        try:
            told.append(json.loads(line.decode("utf-8"), object_pairs_hook=_once))
        except (ValueError, RecursionError):
            continue
    told = [x for x in told if isinstance(x, dict)]
    if frame.of == "answer":
        return "" if any(x.get("response") == value for x in told) else f"{value!r}"
    for one in value:
        if isinstance(one, rodeostat.Point) and not any(
            all(type(x.get(key)) in (int, float) and abs(x[key]) < 1e12 for key in "tvi")
            and (one.t_s, one.potential_v, one.current_a) == (x["t"] * 1e-3, x["v"], x["i"] * 1e-6)
            and one.limit == bool(x.get("le"))
            for x in told
        ):
            return f"{one!r}"
    return ""


def _frames(answers: dict[str, bytes]) -> tuple[Frame, ...]:
    return tuple(Frame(of, data) for of, data in answers.items())


def targets() -> list[Target]:
    """Return a target per language and place."""
    idle = {of.decode(): data for of, data in _IDLE.items()}
    return [
        Target("methodscript-packages", "MethodSCRIPT, one package",
               tuple(Frame("", x) for x in _PACKAGES),
               lambda frame: parse_package(frame.data.decode("latin-1")), _package_wrong,
               _REFUSALS),
        Target("methodscript-run", "MethodSCRIPT, a whole run",
               (Frame("", b"\n".join(_RUN_LINES) + b"\n"),), _run_rows, _run_wrong, _REFUSALS),
        Target("methodscript-idle", "MethodSCRIPT, who it is", _frames(idle), _idle, _idle_wrong,
               _REFUSALS),
        Target("methodscript-errors", "MethodSCRIPT, error replies",
               tuple(map(Frame, [""] * 3, (b"e!0032: Line 1", b"!4001: Line 2, Col 4", b"Z!0006"))),
               _errors, _errors_wrong, _REFUSALS),
        Target("methodscript-store", "MethodSCRIPT, listings and files", _frames(_FILES), _store,
               _store_wrong, _REFUSALS),
        Target("keithley-run", "Keithley TSP, a whole run",
               (Frame("", b"\n".join(_TSP_LINES) + b"\n"),), _tsp_rows, _tsp_wrong, _REFUSALS),
        Target("keithley-answers", "Keithley TSP, answers", _frames(_TSP_ANSWERS), _tsp_dialogue,
               _tsp_dialogue_wrong, _REFUSALS),
        Target("rodeostat", "Rodeostat, JSON lines",
               (*(Frame("", x) for x in _JSON), Frame("answer", _ANSWER)), _rodeostat,
               _rodeostat_wrong, _REFUSALS),
    ]  # fmt: skip
