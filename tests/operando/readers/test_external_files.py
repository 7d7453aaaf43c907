"""Files of instruments that nobody drives: DEMS, infrared, diffraction, height maps, ultrasound."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operando.readers import (
    FORMATS,
    ReaderError,
    read,
    read_dems,
    read_height_map,
    read_jcamp,
    read_waveform,
    read_xy,
)

DEMS = """# Hiden HPR-40
# started: 2026-11-26T12:00:00+00:00
Time (min),m/z 2 (nA),m/z 44 (pA),note
0,1.5,3,a
0.5,2.5,4,b
"""
JCAMP = """##TITLE=dew on zinc
##JCAMP-DX=4.24 $$ a comment
##DATA TYPE=INFRARED SPECTRUM
##ORIGIN=here
##LONGDATE=2026/11/26 12:00:00
##XUNITS=1/CM
##YUNITS=ABSORBANCE
##FIRSTX=400
##LASTX=404
##XFACTOR=1
##YFACTOR=0.001
##NPOINTS=5
##XYDATA=(X++(Y..Y))
{table}
##END=
"""


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_ion_currents_are_read_by_mass_in_si_units(tmp_path: Path) -> None:
    path = _write(tmp_path / "dems.csv", DEMS)
    table = read(path)
    assert table.source.format == "dems_csv"
    assert table.columns["time_s"].tolist() == [0.0, 30.0]
    assert table.columns["ion_current_mz2_a"] == pytest.approx([1.5e-9, 2.5e-9])
    assert table.columns["ion_current_mz44_a"] == pytest.approx([3e-12, 4e-12])
    assert table.told["started"] == "2026-11-26T12:00:00+00:00"
    assert table.told["line 1"] == "Hiden HPR-40"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,b\n1,2\n", "no line names the columns"),
        ("Time (weeks),m/z 2 (A)\n1,2\n", "unit of time is 'weeks'"),
        ("Time (s),m/z 2\n1,2\n", "tells no unit of its current"),
        ("Time (s),m/z 2 (A)\n1\n", "cut off"),
        ("Time (s),m/z 2 (A)\n", "no rows"),
        ("Time (s),m/z 2 (A)\n0,0,1,5e-10\n", "4 cells for 2 columns"),
        ('Time (s),m/z 2 (A),note\n"0,5",1e-9,a\n', "between commas"),
    ],
)
def test_ion_currents_that_are_doubtful_are_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ReaderError, match=complaint):
        read_dems(_write(tmp_path / "dems.csv", text))


@pytest.mark.parametrize(
    "table",
    [
        "400 100 110 120\n403 130 115",  # numbers
        "400+100+110+120\n403+130+115",  # packed
        "400A00A10A20\n403A30A15",  # squeezed
        "400A00J0T\n402A20J0j5",  # differences, one of them twice, and a check
    ],
)
def test_a_spectrum_is_the_same_however_it_is_packed(tmp_path: Path, table: str) -> None:
    spectrum = read(_write(tmp_path / "dew.DX", JCAMP.format(table=table)))
    assert spectrum.columns["wavenumber_cm1"].tolist() == [400, 401, 402, 403, 404]
    assert spectrum.columns["absorbance"] == pytest.approx([0.1, 0.11, 0.12, 0.13, 0.115])
    assert spectrum.told["started"] == "2026-11-26T12:00:00"
    assert spectrum.told["title"] == "dew on zinc"


@pytest.mark.parametrize(
    ("stamp", "told"),
    [
        ("2026/11/26 12:00:00.25", "2026-11-26T12:00:00.250000"),
        ("2026/11/26 12:00:00 +0100", "2026-11-26T12:00:00+01:00"),
        ("2026/11/26 12:00:00.5 Z", "2026-11-26T12:00:00.500000+00:00"),
        ("26/11/26 12:00", "2026-11-26T12:00:00"),
        ("26/11/2026 12:00:00", "2026-11-26T12:00:00"),
        ("11/26/2026 12:00:00", "2026-11-26T12:00:00"),
        ("05/05/2026 12:00:00", "2026-05-05T12:00:00"),
        ("11/05/2026 12:00:00", "11/05/2026 12:00:00"),  # of May, or the fifth
        ("Thursday", "Thursday"),
    ],
)
def test_a_spectrum_tells_when_it_was_begun_to_the_fraction_and_in_its_zone(
    tmp_path: Path, stamp: str, told: str
) -> None:
    text = JCAMP.format(table="400 100 110 120\n403 130 115")
    text = text.replace("2026/11/26 12:00:00", stamp)
    assert read_jcamp(_write(tmp_path / "a.dx", text)).told["started"] == told


@pytest.mark.parametrize(
    ("unit", "factor", "name", "told"),
    [
        ("ABSORBANCE", "0.001", "absorbance", "1"),
        ("TRANSMITTANCE", "0.001", "transmittance", "1"),
        ("% Transmittance", "0.1", "transmittance", "1"),
        ("PERCENT TRANSMITTANCE", "0.1", "transmittance", "1"),
        ("Transmission (%)", "0.1", "transmittance", "1"),
        ("%T", "0.1", "transmittance", "1"),
        ("KUBELKA-MUNK", "0.001", "signal", "KUBELKA-MUNK"),
    ],
)
def test_transmittance_is_a_share_of_one_however_it_is_written(
    tmp_path: Path, unit: str, factor: str, name: str, told: str
) -> None:
    text = JCAMP.format(table="400 100 110 120\n403 130 115")
    text = text.replace("YUNITS=ABSORBANCE", f"YUNITS={unit}").replace(
        "YFACTOR=0.001", f"YFACTOR={factor}"
    )
    spectrum = read_jcamp(_write(tmp_path / "a.dx", text))
    assert spectrum.columns[name] == pytest.approx([0.1, 0.11, 0.12, 0.13, 0.115])
    assert spectrum.units[name] == told
    percents = text.replace(unit, "TRANSMITTANCE").replace(f"YFACTOR={factor}", "YFACTOR=0.1")
    with pytest.raises(ReaderError, match="reaches 13: if that is per cent"):
        read_jcamp(_write(tmp_path / "b.dx", percents))


def test_pairs_and_wavelengths_are_read(tmp_path: Path) -> None:
    text = JCAMP.format(table="").replace("1/CM", "MICROMETERS").replace("##NPOINTS=5\n", "")
    text = text.replace("##XYDATA=(X++(Y..Y))\n", "##XYPOINTS=(XY..XY)\n10, 100; 20, 200\n")
    spectrum = read_jcamp(_write(tmp_path / "a.jdx", text))
    assert spectrum.columns["wavenumber_cm1"] == pytest.approx([1000, 500])
    assert spectrum.columns["absorbance"] == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("##NPOINTS=5", "##NPOINTS=1,801"), "has 5 points, 1,801"),
        (("##NPOINTS=5", "##NPOINTS=five"), "NPOINTS= is 'five', no number"),
        (("##FIRSTX=400", "##FIRSTX=inf"), "FIRSTX= is 'inf', no number"),
        (("403 130", "A13 130"), "begins with no abscissa"),
        (("403 130", "403 J30"), "begins with no ordinate"),
        (("403 130", "403 130Z99999999"), "more than a spectrum has points"),
        (("403 130", "403 1.2.3"), "has 6 points, 5"),
        (("403 130", "403 1,30"), "holds ',', no number"),
        (("##END=", ""), "no complete JCAMP-DX"),
        (("##NPOINTS=5", "##NPOINTS=6"), "has 5 points, 6 were announced"),
        (("1/CM", "FURLONGS"), "abscissa is in FURLONGS"),
        (("(X++(Y..Y))", "(XYZ)"), "form '.XYZ.' is not known"),
        (("##FIRSTX=400", "##FIRSTX=x"), "FIRSTX= is 'x', no number"),
        (("403 130", "490 130"), "point 4 lies at 490"),
        (("##XYDATA", "##OTHER"), "neither ##XYDATA"),
        (("##TITLE=dew", "##TITLE=one\n##TITLE=dew"), "several spectra"),
    ],
)
def test_a_spectrum_that_is_doubtful_is_refused(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    text = JCAMP.format(table="400 100 110 120\n403 130 115").replace(*change)
    with pytest.raises(ReaderError, match=complaint):
        read_jcamp(_write(tmp_path / "a.dx", text))


def test_a_difference_that_does_not_close_is_refused(tmp_path: Path) -> None:
    text = JCAMP.format(table="400A00J0T\n402A21J0j5")
    with pytest.raises(ReaderError, match="a line begins with 121, not 120"):
        read_jcamp(_write(tmp_path / "a.dx", text))


def test_a_pattern_is_read_with_what_stands_before_it(tmp_path: Path) -> None:
    text = "# scan 7, date: 2026-11-26T12:00:00\n30.00 101 10\n30.02 99 10\n"
    table = read(_write(tmp_path / "scan.xy", text))
    assert table.columns["two_theta_deg"].tolist() == [30.0, 30.02]
    assert table.columns["intensity"].tolist() == [101.0, 99.0]
    assert table.told["started"] == "2026-11-26T12:00:00"
    text = text.replace("T12:00:00", " 12:00:00.5 +0100, room 7")
    zoned = read_xy(_write(tmp_path / "zoned.xy", text))
    assert zoned.told["started"] == "2026-11-26T12:00:00.5+0100"
    with pytest.raises(ReaderError, match="rise, these do not"):
        read_xy(_write(tmp_path / "falls.xy", "30.02 1\n30 2\n"))
    with pytest.raises(ReaderError, match="line 2 holds no number"):
        read_xy(_write(tmp_path / "ends.xy", "30.02 1\nend\n"))
    with pytest.raises(ReaderError, match=r"line 2 holds a number that is none: 9e\+99"):
        read_xy(_write(tmp_path / "beyond.xy", "30.00 1\n30.02 9e99\n30.04 2\n"))


def test_a_height_map_is_read_as_matrix_and_as_points(tmp_path: Path) -> None:
    matrix = "# Channel: ZSensor\n# Width: 2.0 µm\n# Height: 1.0 µm\n# Value units: nm\n1 2\n3 4\n"
    table = read(_write(tmp_path / "map.txt", matrix), "afm_text")
    assert table.columns["height_m"] == pytest.approx([1e-9, 2e-9, 3e-9, 4e-9])
    assert table.columns["x_m"] == pytest.approx([0.5e-6, 1.5e-6, 0.5e-6, 1.5e-6])
    assert table.columns["y_m"] == pytest.approx([0.25e-6, 0.25e-6, 0.75e-6, 0.75e-6])
    assert (table.told["rows"], table.told["columns"]) == ("2", "2")
    points = read(_write(tmp_path / "map.xyz", "# Units: um\n0 0 1\n1 0 2\n"))
    assert points.columns["height_m"] == pytest.approx([1e-6, 2e-6])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# Width: 2 µm\n# Height: 1 µm\n1 2\n", "Value units.*tells the unit ''"),
        ("# Width: wide\n# Height: 1 µm\n# Value units: m\n1 2\n", "no length with a unit"),
        ("# Width: 5,0,0 um\n# Height: 1 µm\n# Value units: m\n1 2\n", "no length with a unit"),
        ("1 2\n3\n", "different length"),
        ("1 2 3\n", "Units.*tells the unit ''"),
        ("1 2\n", "neither a matrix"),
        ("# Width: 2 µm\n", "no numbers"),
    ],
)
def test_a_height_map_that_is_doubtful_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ReaderError, match=complaint):
        read_height_map(_write(tmp_path / "map.txt", text))


@pytest.mark.parametrize(
    "text",
    ["Time (us),Amplitude (mV)\n0,1\n0.5,-2\n", "x-axis,1\nsecond,Volt\n0,1e-3\n5e-7,-2e-3\n"],
)
def test_a_waveform_is_read_with_its_units(tmp_path: Path, text: str) -> None:
    table = read_waveform(_write(tmp_path / "wave.csv", text))
    assert table.columns["delay_s"] == pytest.approx([0.0, 5e-7])
    assert table.columns["amplitude_v"] == pytest.approx([1e-3, -2e-3])


def test_a_waveform_without_units_or_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReaderError, match="no line names time and amplitude"):
        read_waveform(_write(tmp_path / "wave.csv", "0,1\n1,2\n"))
    with pytest.raises(ReaderError, match="4 cells for 2 columns"):
        read_waveform(_write(tmp_path / "wave.csv", "Time (s),Amplitude (V)\n0,0,0,5\n0,1,0,6\n"))
    with pytest.raises(ReaderError, match="rise, these do not"):
        read_waveform(_write(tmp_path / "wave.csv", "Time (s),Amplitude (V)\n1,1\n0,2\n"))


BDF = "test_time_second,voltage_volt,current_ampere\n0,0.1,1e-3\n1,0.2,2e-3\n"
FUSION = (
    '{"runTimeStamp": "2026-11-26T12:00:00Z", "methodName": "m", "detectors": {"a": '
    '{"nValuesPerSecond": 50, "nValuesExpected": 3, "values": [1, 2, 3.5], "analysis": '
    '{"peaks": [{"label": "H2", "area": 1, "top": 2}]}}}}'
)
WHOLE = {
    "dems_csv": DEMS,
    "jcamp_dx": JCAMP.format(table="400A00J0T\n402A20J0j5"),
    "xrd_xy": "# date: 2026-11-26T12:00:00\n30.00 101 10\n30.02 99 10\n",
    "afm_text": "# Width: 2.0 um\n# Height: 1.0 um\n# Value units: nm\n1 2\n3 4\n",
    "ultrasound_csv": "Time (us),Amplitude (mV)\n0,1\n0.5,-2\n",
    "bdf_csv": BDF,
    "agilent_csv": "#Point,X(Minutes),Y(Counts)\n0,0.0,1\n1,0.1,2\n",
    "fusion_json": FUSION,
}


@pytest.mark.parametrize("kind", WHOLE)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_was_cut_or_damaged_is_read_or_refused(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    content = bytearray(WHOLE[kind].encode())
    end = data.draw(st.integers(0, len(content)))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from(b'\x00\xff\n,;."-+#0159eEAJSZ?% x[]{}'))
    path = tmp_path / "file"
    path.write_bytes(content[:end])
    try:
        table = FORMATS[kind](path)
    except ReaderError:
        return
    assert len({len(column) for column in table.columns.values()}) == 1
