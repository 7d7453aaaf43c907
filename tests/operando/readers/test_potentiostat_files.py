"""Files of potentiostats, written here as their makers describe them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.readers import (
    ReaderError,
    Table,
    read,
    read_bdf,
    read_biologic,
    read_csv,
    read_gamry,
    read_palmsens,
    read_palmsens_session,
    read_zplot,
)
from operando.readers._table import number

GAMRY_SPECTRUM = """EXPLAIN
TAG\tEISPOT
TITLE\tLABEL\tPotentiostatic EIS\tTest &Identifier
VAC\tQUANT\t1.00000E+001\tAC &Voltage (mV rms)
OCVCURVE\tTABLE\t2
\tPt\tT\tVf\tVm\tAch\tOver\tTemp
\t#\ts\tV vs. Ref.\tV\tV\tbits\tdeg C
\t0\t0.25\t-3.4E-001\t-3.4E-001\t0\t..........a\t-327.67
\t1\t0.50\t-3.4E-001\t-3.4E-001\t0\t..........a\t-327.67
ZCURVE\tTABLE
\tPt\tTime\tFreq\tZreal\tZimag\tZmod
\t#\ts\tHz\tohm\tohm\tohm
\t0\t1\t1000\t10.5\t-2.25\t10.738
\t1\t3\t100\t20\t-8\t21.541
"""
GAMRY_VOLTAMMOGRAM = """EXPLAIN
TAG\tCV
CURVE1\tTABLE\t2
\tPt\tT\tVf\tIm\tOver\tTemp
\t#\ts\tV vs. Ref.\tA\tbits\tdeg C
\t0\t0,1\t0,25\t1,5E-003\t...........\t25
\t1\t0,2\t0,26\t1,6E-003\t...........\t25
CURVE2\tTABLE\t1
\tPt\tT\tVf\tIm\tOver\tTemp
\t#\ts\tV vs. Ref.\tA\tbits\tdeg C
\t0\t0,3\t0,25\t-1,5E-003\t...........\t25
"""
BIOLOGIC = """EC-Lab ASCII FILE
Nb header lines : 6

Potentio Electrochemical Impedance Spectroscopy
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


def _array(description: str, kind: str, symbol: str, quantity: str, *values: float) -> Any:
    return {
        "type": "PalmSens.Data.DataArray",
        "description": description,
        "unit": {"type": f"PalmSens.Units.{kind}", "s": symbol, "q": quantity, "a": "x"},
        "datavalues": [{"v": value, "s": 0, "c": 1} for value in values],
    }


def _session() -> dict[str, Any]:
    spectrum = [
        _array("Frequency", "Hertz", "Hz", "Frequency", 1000.0, 100.0),
        _array("ZRe", "ZRe", "\u03a9", "Z'", 10.5, 20.0),
        _array("ZIm", "ZIm", "\u03a9", "-Z''", 2.25, 8.0),
        _array("Phase", "Phase", "\u00b0", "-Phase", 12.0, 21.0),
    ]
    sweep = [
        _array("potential", "Volt", "V", "Potential", 0.1, 0.2, 0.3),
        _array("current", "MicroAmpere", "\u00b5A", "Current", -1.0, 0.0, 2.0),
    ]
    return {
        "Type": "PalmSens.DataFiles.SessionFile",
        "Measurements": [
            {
                "Title": "EIS",
                "method": "METHOD_ID=eis",
                "EISDataList": [{"DataSet": {"Values": spectrum}}],
            },
            {"Title": "LSV", "method": "#x\r\nMETHOD_ID=lsv\r\n", "dataset": {"values": sweep}},
        ],
    }


@pytest.fixture(name="put")
def _put(tmp_path: Path) -> Callable[..., Path]:
    def put(name: str, text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return put


def _spectrum(table: Table) -> None:
    frequency, real, imaginary = table.require("frequency_hz", "z_real_ohm", "z_imag_ohm")
    assert frequency.tolist() == [1000.0, 100.0]
    assert real.tolist() == [10.5, 20.0]
    assert imaginary.tolist() == [-2.25, -8.0]
    assert table.units["z_imag_ohm"] == "ohm"


def test_a_spectrum_is_the_same_in_all_formats(put: Callable[..., Path]) -> None:
    session = json.dumps(_session(), ensure_ascii=False) + "\ufeff"
    files = {
        "gamry_dta": put("a.DTA", GAMRY_SPECTRUM, "latin-1"),
        "biologic_mpt": put("a.mpt", BIOLOGIC.replace("\n", "\r\n"), "cp1252"),
        "zplot_z": put("a.z", ZPLOT),
        "palmsens_pssession": put("a.pssession", session, "utf-16"),
    }
    for format, path in files.items():
        table = read(path)
        _spectrum(table)
        assert table.source.format == format
        assert table.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert table.sign
        with pytest.raises(ValueError, match="read-only"):
            table.columns["z_real_ohm"][0] = 0.0


def test_curves_of_a_voltammetry_follow_each_other_with_their_number(
    put: Callable[..., Path],
) -> None:
    table = read_gamry(put("cv.dta", GAMRY_VOLTAMMOGRAM))
    assert table.columns["current_a"].tolist() == [1.5e-3, 1.6e-3, -1.5e-3]
    assert table.columns["curve"].tolist() == [1, 1, 2]
    assert table.columns["temperature_k"].tolist() == [298.15] * 3
    assert (table.technique, len(table)) == ("CV", 3)


def test_milliampere_and_microampere_become_ampere(put: Callable[..., Path]) -> None:
    table = read_biologic(put("a.mpt", BIOLOGIC))
    assert table.columns["current_a"] == pytest.approx([-1.5e-3, 1.5e-3])
    assert table.technique == "Potentio Electrochemical Impedance Spectroscopy"
    assert table.told["Device"] == "SP-150"
    table = read_palmsens(put("a.pssession", json.dumps(_session()), "utf-16"), 1)
    assert table.columns["current_a"] == pytest.approx([-1e-6, 0.0, 2e-6])
    assert table.technique == "lsv"


def _curve(title: str, *arrays: Any) -> Any:
    return {"Title": title, "XAxisDataArray": arrays[0], "YAxisDataArray": arrays[1]}


def _long_session() -> dict[str, Any]:
    """Return two spectra in one measurement, an empty one, three scans, a sweep, an old curve."""
    session = _session()
    spectra, sweep = session["Measurements"]
    frequency = _array("Frequency", "Hertz", "Hz", "Frequency", 10.0)
    real, imaginary = (
        _array(name, name, "\u03a9", quantity, value)
        for name, quantity, value in (("ZRe", "Z'", 30.0), ("ZIm", "-Z''", 4.0))
    )
    second = {"Title": "at 0.1 V", "DataSet": {"Values": [frequency, real, imaginary]}}
    spectra["EISDataList"].append(second)
    whole = [_array("time", "Time", "s", "Time", *range(6))]
    scans = []
    for scan in (1, 2, 3):
        potential = _array("potential", "Volt", "V", "Potential", *[0.1 * scan] * scan)
        current = _array("current", "MicroAmpere", "A", "Current", *[float(scan)] * scan)
        whole += [potential, current]
        scans.append(_curve(f"CV i vs E Scan {scan}", potential, current))
    voltammetry = {
        "Title": "CV", "method": "METHOD_ID=cv", "dataset": {"values": whole}, "curves": scans,
    }  # fmt: skip
    sweep["Curves"] = [_curve("LSV I vs E", *sweep["dataset"]["values"])]
    old = {"Title": "old", "curves": [scans[0]]}
    empty = {"Title": "stopped at once", "dataset": {"values": []}, "curves": []}
    session["Measurements"] = [spectra, empty, voltammetry, sweep, old]
    return session


def test_all_measurements_of_a_session_are_read_with_their_spectra_and_scans(
    put: Callable[..., Path],
) -> None:
    path = put("a.pssession", json.dumps(_long_session()), "utf-16")
    tables = read_palmsens_session(path)
    assert [table.told["measurement"] for table in tables] == [
        "0 of 5", "0 of 5", "2 of 5", "2 of 5", "2 of 5", "3 of 5", "4 of 5",
    ]  # fmt: skip
    assert [table.told["part"] for table in tables] == [
        "0 of 2: spectrum 1",
        "1 of 2: at 0.1 V",
        "0 of 3: CV i vs E Scan 1",
        "1 of 3: CV i vs E Scan 2",
        "2 of 3: CV i vs E Scan 3",
        "0 of 1: LSV",  # its curve restates it
        "0 of 1: CV i vs E Scan 1",
    ]
    _spectrum(tables[0])
    assert tables[1].columns["z_imag_ohm"].tolist() == [-4.0]
    assert [table.technique for table in tables] == ["eis", "eis", "cv", "cv", "cv", "lsv", "old"]
    for scan, table in enumerate(tables[2:5], 1):
        assert table.columns["current_a"] == pytest.approx([scan * 1e-6] * scan)
    assert read_palmsens(path, 2, 1).columns["potential_v"] == pytest.approx([0.2, 0.2])
    with pytest.raises(ReaderError, match=r"has no part 3; it has .*Scan 1.*Scan 3"):
        read_palmsens(path, 2, 3)
    with pytest.raises(ReaderError, match="measurement 1 holds no data"):
        read_palmsens(path, 1)


def test_a_curve_that_the_dataset_does_not_hold_is_a_table_of_its_own(
    put: Callable[..., Path],
) -> None:
    session = _session()
    smoothed = _array("current", "MicroAmpere", "\u00b5A", "Current", -0.5, 0.5, 1.0)
    sweep = session["Measurements"][1]
    sweep["Curves"] = [_curve("smoothed", sweep["dataset"]["values"][0], smoothed)]
    tables = read_palmsens_session(put("a.pssession", json.dumps(session), "utf-16"))
    assert [table.told["part"] for table in tables[1:]] == ["0 of 2: LSV", "1 of 2: smoothed"]
    assert tables[2].columns["current_a"] == pytest.approx([-5e-7, 5e-7, 1e-6])


def test_the_class_of_a_unit_tells_its_prefix(put: Callable[..., Path]) -> None:
    session = _session()
    unit = session["Measurements"][1]["dataset"]["values"][1]["unit"]
    unit["s"] = "A"  # as programs write it: the base unit's symbol
    path = put("a.pssession", json.dumps(session), "utf-16")
    assert read_palmsens(path, 1).columns["current_a"] == pytest.approx([-1e-6, 0.0, 2e-6])
    unit["s"] = "mA"
    path = put("b.pssession", json.dumps(session), "utf-16")
    with pytest.raises(ReaderError, match="the unit of current is uA by its class, and 'mA'"):
        read_palmsens(path, 1)


def test_a_session_without_data_is_told(put: Callable[..., Path]) -> None:
    session = {"Measurements": [{"Title": "x"}, {"Title": "y"}]}
    with pytest.raises(ReaderError, match="none of its 2 measurements holds data"):
        read_palmsens_session(put("a.pssession", json.dumps(session)))


def test_a_battery_table_has_its_own_sign(put: Callable[..., Path]) -> None:
    text = (
        "test_time_second,voltage_volt,current_ampere,step_index\n0.02,2.9,0.0,1\n1.5,2.8,-0.1,2\n"
    )
    table = read(put("x.bdf.csv", text))
    assert table.columns["current_a"].tolist() == [0.0, -0.1]
    assert "charges the cell" in table.sign
    labels = "Test Time / s,Voltage / V,Current / A\n1,2,3\n"
    assert read_bdf(put("y.csv", labels)).columns["potential_v"].tolist() == [2.0]
    with pytest.raises(ReaderError, match="current_ampere"):
        read_bdf(put("z.csv", "test_time_second,voltage_volt\n1,2\n"))


@pytest.mark.parametrize(
    "text",
    [
        "time / s,potential (mV),current [mA]\n1,-20,-1.5\n2,-21,-1.5\n",
        "time / s;potential (mV);current [mA]\n1,0;-20,0;-1,5\n2;-21;-1,5\n",
        "t/min\tEwe/V\tI/uA\n0.016666666666666666\t-0.02\t-1500\n0.03333333333333333\t-0.021\t-1500\n",
    ],
)
def test_a_table_tells_its_units_in_its_header(put: Callable[..., Path], text: str) -> None:
    table = read_csv(put("x.csv", text), "positive oxidises the working electrode")
    assert table.columns["time_s"] == pytest.approx([1.0, 2.0])
    assert table.columns["potential_v"] == pytest.approx([-0.020, -0.021])
    assert table.columns["current_a"] == pytest.approx([-1.5e-3, -1.5e-3])


WRONG: list[tuple[Callable[[Path], Table], str, str, str]] = [
    (read_gamry, GAMRY_SPECTRUM.replace("EXPLAIN", "EXPLODE"), "utf-8", "begins with EXPLAIN"),
    (read_gamry, GAMRY_SPECTRUM.split("ZCURVE")[0], "utf-8", "has no table CURVE.*OCVCURVE"),
    (read_gamry, GAMRY_SPECTRUM[:-12], "utf-8", "cut off"),
    (
        read_gamry,
        GAMRY_VOLTAMMOGRAM.replace("CURVE1\tTABLE\t2", "CURVE1\tTABLE\t9"),
        "utf-8",
        "9 rows",
    ),
    (read_gamry, GAMRY_SPECTRUM.replace("\ts\tHz\t", "\ts\tfurlong\t"), "utf-8", "furlong"),
    (read_gamry, "", "utf-8", "is empty"),
    (read_gamry, "PK\x03\x04 and so on", "latin-1", "zip archive"),
    (read_gamry, "EXPLAIN\x00\x01\x02\x03\x04", "latin-1", "no text"),
    (read_biologic, BIOLOGIC.replace("EC-Lab", "EC-Lib"), "utf-8", "begins with"),
    (read_biologic, BIOLOGIC.replace(": 6", ": 60"), "utf-8", "60 header lines"),
    (read_biologic, BIOLOGIC[:-20], "utf-8", "line 8 has .* cut off"),
    (
        read_biologic,
        BIOLOGIC.replace("1,0E+000\t2,5", "01/02/2020 10:00\t2,5"),
        "utf-8",
        "as a date",
    ),
    (read_zplot, ZPLOT.replace("End Comments", "End"), "utf-8", "End Comments"),
    (read_zplot, ZPLOT[:-60], "utf-8", "cut off"),
    (read_palmsens, json.dumps(_session())[:-20], "utf-16", "no complete JSON"),
    (read_palmsens, '{"a": 1}', "utf-8", "list of measurements"),
    (lambda path: read_palmsens(path, 7), json.dumps(_session()), "utf-8", "'EIS', 'LSV'"),
    (lambda path: read_csv(path, "x"), "time,potential / V\n1,2\n", "utf-8", "tells no unit"),
    (lambda path: read_csv(path, "x"), "time / fortnight,b\n1,2\n", "utf-8", "fortnight"),
    (lambda path: read_csv(path, "x"), "1,2\n3,4\n", "utf-8", "no header"),
    (lambda path: read_csv(path, " "), "time / s,b\n1,2\n", "utf-8", "positive current"),
    (lambda path: read_csv(path, "x"), "time / s,b\n1,2\n3\n", "utf-8", "line 3 has 1 of 2"),
    (lambda path: read_csv(path, "x"), "time / s,b\n1,zwei\n", "utf-8", "line 2 holds no number"),
    (
        lambda path: read_csv(path, "x"),
        'time / s,current / A\n1,"1,234"\n',
        "utf-8",
        "line 2 has '1,234' between commas",
    ),
    (
        lambda path: read_csv(path, "x"),
        "time / s,current / A\n1,1,234\n",
        "utf-8",
        "line 2 has 3 cells for 2 columns",
    ),
    (read, "a,b\n1,2\n", "utf-8", "read_csv"),
]


@pytest.mark.parametrize(("reader", "text", "encoding", "told"), WRONG)
def test_what_is_wrong_with_a_file_is_told_with_its_name(
    put: Callable[..., Path],
    reader: Callable[[Path], Table],
    text: str,
    encoding: str,
    told: str,
) -> None:
    path = put("wrong.csv", text, encoding)
    with pytest.raises(ReaderError, match=told) as caught:
        reader(path)
    assert str(path) in str(caught.value)


def test_columns_of_different_lengths_are_no_measurement(put: Callable[..., Path]) -> None:
    session = _session()
    session["Measurements"][1]["dataset"]["values"][0]["datavalues"].pop()
    with pytest.raises(ReaderError, match="different lengths"):
        read_palmsens(put("a.pssession", json.dumps(session), "utf-16"), 1)


def test_a_table_without_what_is_needed_lists_what_it_has(put: Callable[..., Path]) -> None:
    with pytest.raises(ReaderError, match=r"has no current_a; there are .*z_imag_ohm"):
        read_zplot(put("a.z", ZPLOT)).require("frequency_hz", "current_a")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReaderError, match="cannot be read"):
        read(tmp_path / "none.dta")


@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_a_number_is_read_with_point_or_comma(value: float, comma: bool) -> None:
    text = repr(value).replace(".", "," if comma else ".")
    assert number(f" {text} ") == value
    assert np.isnan(number(" "))
