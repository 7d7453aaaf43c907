"""Files of other instruments and programs: each reader of `operando.readers`, and of results.

What a file says is judged by what every table must be: columns of one length, finite where a
measurement is, and each number one that stands in the file.
"""

import bisect
import json
import re
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz.target import Frame, Target
from instruments.errors import InstrumentError
from instruments.gas_chromatograph.results import parse_chromatogram
from operando import readers
from operando.readers import ReaderError, Table

GAMRY = """EXPLAIN
TAG\tEISPOT
VAC\tQUANT\t1.00000E+001\tAC &Voltage (mV rms)
ZCURVE\tTABLE\t2
\tPt\tTime\tFreq\tZreal\tZimag\tZmod
\t#\ts\tHz\tohm\tohm\tohm
\t0\t1\t1000\t10.5\t-2.25\t10.738
\t1\t3\t100\t20\t-8\t21.541
"""
GAMRY_CV = """EXPLAIN
TAG\tCV
CURVE1\tTABLE\t2
\tPt\tT\tVf\tIm\tOver\tTemp
\t#\ts\tV vs. Ref.\tA\tbits\tdeg C
\t0\t0,1\t0,25\t1,5E-003\t...........\t25
\t1\t0,2\t0,26\t1,6E-003\t...........\t25
"""
BIOLOGIC = """EC-Lab ASCII FILE
Nb header lines : 5

Device : SP-150
freq/Hz\tRe(Z)/Ohm\t-Im(Z)/Ohm\ttime/s\t<Ewe>/V\tI/mA\tcycle number\t
1,0000000E+003\t1,05E+001\t2,25E+000\t1,0E+000\t2,5E-001\t-1,5E+000\t1,0E+000\t
1,0000000E+002\t2,00E+001\t8,00E+000\t3,0E+000\t2,5E-001\t1,5E+000\t1,0E+000\t
"""
ZPLOT = """ZPLOT2 ASCII
Date: 1-1-2020
  Freq(Hz)     Ampl        Bias        Time(Sec)   Z'(a)         Z''(b)        GD   Err  Range
End Comments
1.0000E+03, 1.0000E-02, 0.0000E+00, 1.0E+00, 1.0500E+01, -2.2500E+00, 0, 0, 3
1.0000E+02, 1.0000E-02, 0.0000E+00, 3.0E+00, 2.0000E+01, -8.0000E+00, 0, 0, 3
"""
BDF = """Test Time / s,Voltage / V,Current / A,Cycle Count / 1
0,0.25,0.001,1
1.5,0.26,-0.001,1
"""
AGILENT = """#"a sample"
#Point,X(Minutes),Y(Counts)
0,0.05,1.5
1,0.10,2.5
"""
DEMS = """# Hiden HPR-40
# started: 2026-11-26T12:00:00+00:00
Time (min),m/z 2 (nA),m/z 44 (pA),note
0,1.5,3,a
0.5,2.5,4,b
"""
JCAMP = """##TITLE=dew on zinc
##JCAMP-DX=4.24 $$ a comment
##DATA TYPE=INFRARED SPECTRUM
##LONGDATE=2026/11/26 12:00:00 +01:00
##XUNITS=1/CM
##YUNITS=ABSORBANCE
##FIRSTX=400
##LASTX=404
##XFACTOR=1
##YFACTOR=0.001
##NPOINTS=5
##XYDATA=(X++(Y..Y))
400 10 20 30
403 40 50
##END=
"""
JCAMP_DIF = JCAMP.replace("400 10 20 30\n403 40 50", "400A0J0J0\n402C0J0J0")
JCAMP_POINTS = """##TITLE=peaks
##JCAMP-DX=4.24
##XUNITS=MICROMETERS
##YUNITS=% TRANSMITTANCE
##NPOINTS=2
##XYPOINTS=(XY..XY)
2.5, 90; 4.0, 85
##END=
"""
XRD = """# started: 2026-11-26 12:00:00
10.00 120
10.02 131.5
10.04 128 4
"""
AFM = """# Channel: Height
# Width: 5.0 um
# Height: 2.5 um
# Value units: m
1e-9 2e-9 3e-9 4e-9
1.5e-9 2.5e-9 3.5e-9 4.5e-9
"""
AFM_XYZ = "# Units: nm\n0 0 1.5\n10 0 2.5\n0 10 3.5\n"
WAVE = "started: 2026-11-26T12:00:00\nTime (us),Amplitude (mV)\n0,1.5\n0.1,-2.5\n0.2,3.5\n"
CSV = "time / s,potential / V,current / mA,note\n0,0.25,1.5,1\n1,0.26,-1.5,2\n"


def fusion_result() -> dict[str, Any]:
    """Return a result of a Micro GC Fusion."""
    peak = {"label": "H2", "area": 12.5, "top": 0.04, "concentration": 0.1}
    told = {"nValuesPerSecond": 50, "nValuesExpected": 4, "values": [30.0, 31.5, 32.0, 30.5]}
    return {
        "runTimeStamp": "2026-01-01T12:00:00.000Z",
        "methodName": "H2",
        "annotations": {"name": "run-7"},
        "detectors": {"moduleA:tcd": {**told, "analysis": {"peaks": [peak]}}},
    }


def _array(description: str, kind: str, symbol: str, quantity: str, *values: float) -> Any:
    return {
        "description": description,
        "unit": {"type": f"PalmSens.Units.{kind}", "s": symbol, "q": quantity},
        "datavalues": [{"v": value, "s": 0} for value in values],
    }


def _session() -> dict[str, Any]:
    sweep = [
        _array("time", "Time", "s", "Time", 0.1, 0.2, 0.3),
        _array("potential", "Volt", "V", "Potential", 0.1, 0.2, 0.3),
        _array("current", "MicroAmpere", "\u00b5A", "Current", 1.0, -2.0, 3.0),
    ]
    one = {"title": "CV", "timestamp": 1, "method": "METHOD_ID=cv\n", "dataset": {"values": sweep}}
    return {"type": "session", "measurements": [one]}


def gwy_object(name: str, *components: tuple[str, str, Any]) -> bytes:
    """Return an object of Gwyddion's format."""
    body = b""
    for key, kind, value in components:
        body += key.encode() + b"\0" + kind.encode()
        match kind:
            case "s":
                body += value.encode() + b"\0"
            case "o":
                body += value
            case "D":
                body += struct.pack(f"<I{len(value)}d", len(value), *value)
            case _:
                body += struct.pack(f"<{kind}", value)
    return name.encode() + b"\0" + struct.pack("<I", len(body)) + body


def gwy_file(**changed: Any) -> bytes:
    """Return a file with a map of two lines of three heights."""
    metre = gwy_object("GwySIUnit", ("unitstr", "s", "m"))
    told = {"xres": 3, "yres": 2, "xreal": 3e-6, "yreal": 1e-6}
    told |= {"data": [1e-9, 2e-9, 3e-9, 4e-9, 5e-9, 6e-9]} | changed
    kinds = {"xres": "i", "yres": "i", "xreal": "d", "yreal": "d", "data": "D"}
    field = gwy_object(
        "GwyDataField",
        ("si_unit_xy", "o", metre),
        ("si_unit_z", "o", metre),
        *((key, kinds[key], value) for key, value in told.items()),
    )
    return b"GWYP" + gwy_object(
        "GwyContainer", ("/0/data", "o", field), ("/0/data/title", "s", "ZSensor")
    )


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    # In memory, where there is one: a file per frame.
    there = Path("/dev/shm")
    return tempfile.TemporaryDirectory(
        prefix="operando-fuzz-", dir=there if there.is_dir() else None
    )


def written(name: str, data: bytes) -> Path:
    """Return the path of a file of this content; the one before is replaced."""
    path = Path(_folder().name) / name
    path.write_bytes(data)
    return path


def _numbers(data: bytes) -> list[float]:
    """Return every number that stands in a text, with point or comma, in any encoding."""
    texts = [data.decode("latin-1")]
    if b"\x00" in data:
        texts += [data.decode("utf-16-le", "replace"), data.decode("utf-16", "replace")]
    found = []
    for text in texts:
        # 1,2 is one number where commas are decimal, and two where they part cells.
        for mark in (r"\.", ","):
            form = rf"(?:[0-9]+(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][-+]?[0-9]+)?"
            found += [float(one.replace(",", ".")) for one in re.findall(form, text)]
    return found


# Factors of all units that the readers know.
_FACTORS = (1.0, 1e-3, 1e-6, 1e-9, 1e-12, 1e-10, 60.0, 3600.0, 1e3, 1e6, 3.6, 1e-2, 1e-5)


def _table_wrong(measured: bool) -> Callable[[Frame, Any], str]:
    """Return the judge of tables; ``measured``: no number may be missing from a column."""

    def wrong(frame: Frame, value: Any) -> str:
        if not isinstance(value, Table) or not value.columns:
            return f"{value!r:.80}"
        lengths = {len(column) for column in value.columns.values()}
        if len(lengths) != 1 or 0 in lengths:
            return f"columns of {lengths} rows"
        if value.columns.keys() != value.units.keys():
            return f"units of {sorted(value.units)}"
        if any(np.isinf(column).any() for column in value.columns.values()):
            return "a value is infinite"
        if measured and not all(np.isfinite(column).all() for column in value.columns.values()):
            return "a value is NaN"
        return ""

    return wrong


def _as_told(frame: Frame, value: Any) -> str:
    """Judge a table of which each number must stand in the file, in some unit."""
    bad = _table_wrong(False)(frame, value)
    if bad:
        return bad
    told = sorted(set(_numbers(frame.data)))
    for name, column in value.columns.items():
        if name in ("curve", "x_m", "y_m"):
            continue
        finite = column[np.isfinite(column)]
        numbers = np.abs(finite - 273.15 if name == "temperature_k" else finite)
        for number in map(float, numbers[:50]):
            if number and not any(_stands(number / factor, told) for factor in _FACTORS):
                return f"{name} has {number!r}, which stands nowhere"
    return ""


def _stands(number: float, told: list[float]) -> bool:
    """Return whether a number, or one that rounds to it, is among those told, in order."""
    at = bisect.bisect_left(told, number * (1 - 1e-6) - 1e-9)
    return at < len(told) and told[at] <= number * (1 + 1e-6) + 1e-9


def _file_target(
    name: str,
    what: str,
    suffix: str,
    texts: tuple[str | bytes, ...],
    read: Callable[[Path], Any],
    wrong: Callable[[Frame, Any], str],
    seal: Callable[[bytes], bytes] | None = None,
) -> Target:
    frames = tuple(Frame("", x.encode() if isinstance(x, str) else x) for x in texts)
    return Target(
        name, what, frames, lambda frame: read(written(f"frame{suffix}", frame.data)), wrong,
        (ReaderError,), seal,
    )  # fmt: skip


def _chromatogram(frame: Frame) -> Any:
    return parse_chromatogram(frame.data, Path("frame.json"))


def _chromatogram_wrong(frame: Frame, value: Any) -> str:
    told = set(_numbers(frame.data)) | {1.0}
    if not all(abs(x) in told for x in value.trace):
        return f"{value.trace}"
    if not all(np.isfinite(x) for x in (value.started, *value.areas.values())):
        return f"{value!r:.200}"
    return ""


def targets() -> list[Target]:
    """Return a target per format."""
    result = json.dumps(fusion_result())
    agilent = "0.05,1.5\n0.10,2.5\n".encode("utf-16")
    return [
        _file_target("gamry", "Gamry .DTA", ".dta", (GAMRY, GAMRY_CV), readers.read, _as_told),
        _file_target("biologic", "BioLogic .mpt", ".mpt", (BIOLOGIC,), readers.read, _as_told),
        _file_target("zplot", "ZPlot .z", ".z", (ZPLOT,), readers.read, _as_told),
        _file_target("palmsens", "PalmSens .pssession", ".pssession",
                     (json.dumps(_session()), json.dumps(_session()).encode("utf-16")),
                     readers.read_palmsens_session,
                     lambda frame, tables: next(filter(None, (_as_told(frame, x) for x in tables)),
                                                "" if tables else "no tables")),
        _file_target("bdf", "Battery Data Format", ".bdf", (BDF,), readers.read, _as_told),
        _file_target("csv", "tables with units", ".csv", (CSV, CSV.replace(",", ";")),
                     lambda path: readers.read_csv(path, "oxidation positive"), _as_told),
        _file_target("agilent", "Agilent chromatograms", ".csv", (AGILENT, agilent),
                     lambda path: readers.read_agilent(path, "min"), _as_told),
        _file_target("fusion-file", "Fusion results (.json)", ".json", (result,), readers.read,
                     _table_wrong(True)),
        _file_target("dems", "DEMS ion currents", ".csv", (DEMS,), readers.read_dems, _as_told),
        _file_target("jcamp", "JCAMP-DX", ".dx", (JCAMP, JCAMP_DIF, JCAMP_POINTS), readers.read,
                     _table_wrong(False)),
        _file_target("xrd", "diffraction .xy", ".xy", (XRD,), readers.read, _as_told),
        _file_target("afm", "AFM height maps, text", ".txt", (AFM, AFM_XYZ),
                     readers.read_height_map, _as_told),
        _file_target("gwy", "Gwyddion .gwy", ".gwy", (gwy_file(),), readers.read,
                     _table_wrong(True)),
        _file_target("ultrasound", "ultrasonic waveforms", ".csv", (WAVE,), readers.read_waveform,
                     _as_told),
        Target("chromatogram", "Fusion results, as they come", (Frame("", result.encode()),),
               _chromatogram, _chromatogram_wrong, (InstrumentError,)),
    ]  # fmt: skip
