"""Files of gas chromatographs, written here as their makers describe them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from operando.readers import ReaderError, read, read_agilent, read_fusion


def _result(**detector: Any) -> dict[str, Any]:
    peak = {"label": "H2", "area": 12.5, "top": 0.04, "concentration": 0.1}
    told = {"nValuesPerSecond": 50, "nValuesExpected": 4, "values": [30.0, 31.5, 32.0, 30.5]}
    return {
        "runTimeStamp": "2026-01-01T12:00:00.000Z",
        "methodName": "H2",
        "detectors": {"moduleA:tcd": {**told, "analysis": {"peaks": [peak]}, **detector}},
    }


def _put(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_a_result_of_the_fusion_is_a_trace_and_its_peaks(tmp_path: Path) -> None:
    table = read(_put(tmp_path, "a.json", json.dumps(_result())))
    assert table.columns["retention_s"] == pytest.approx([0.0, 0.02, 0.04, 0.06])
    assert table.columns["signal"].tolist() == [30.0, 31.5, 32.0, 30.5]
    assert table.told["peak H2"] == "area 12.5, top 0.04 s, concentration 0.1"
    assert table.told["started"] == "2026-01-01T12:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (json.dumps(_result())[:-9], "no complete JSON"),
        ('{"detectors": {}}', "has detectors"),
        ("[1, 2]", "has detectors"),
        (json.dumps(_result(nValuesExpected=9)), "9 were announced"),
        (json.dumps(_result(nValuesPerSecond=0)), "4 values at 0 per second"),
        (json.dumps(_result(values="many")), "not as expected"),
        (json.dumps(_result(nValuesExpected=math.inf)), "not as expected"),
        (json.dumps(_result(nValuesPerSecond=math.inf)), "4 values at inf per second"),
        (json.dumps(_result(values=[1.0, math.nan, 1.0, 1.0])), "no finite number"),
        ("[" * 100_000, "no complete JSON"),
    ],
)
def test_what_is_wrong_with_a_result_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ReaderError, match=told):
        read(_put(tmp_path, "a.json", text))


def test_another_detector_is_asked_for_by_name(tmp_path: Path) -> None:
    path = _put(tmp_path, "a.json", json.dumps(_result()))
    with pytest.raises(ReaderError, match="moduleA:tcd"):
        read_fusion(path, "moduleB:tcd")


def test_a_chromatogram_with_points_tells_its_unit(tmp_path: Path) -> None:
    text = '#"+TIC Scan run.D"\n#Point,X(Minutes),Y(Counts)\n0,0.5,100\n1,0.6,250.5\n2,0.7,90\n'
    table = read(_put(tmp_path, "a.csv", text))
    assert table.columns["retention_s"] == pytest.approx([30.0, 36.0, 42.0])
    assert table.columns["signal"].tolist() == [100.0, 250.5, 90.0]
    assert table.units["signal"] == "Counts"


def test_two_columns_in_utf_16_need_a_unit_of_time(tmp_path: Path) -> None:
    path = _put(tmp_path, "a.csv", "0.5,100\n0.6,250.5\n", "utf-16")
    with pytest.raises(ReaderError, match="time_unit"):
        read_agilent(path)
    table = read_agilent(path, "min")
    assert table.columns["retention_s"] == pytest.approx([30.0, 36.0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0.5,100\n0.6\n", "line 2 has 1 of 2"),
        ("0.5,100\n0.4,90\n", "times of a chromatogram rise"),
        ("hello\n", "line 1 has 1 of 2"),
        ("#Point,X(Parsec),Y(Counts)\n0,1,2\n1,2,3\n", "Parsec"),
        ("#Point,X(Minutes),Y(Counts)\n", "no rows"),
    ],
)
def test_what_is_wrong_with_a_chromatogram_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ReaderError, match=told):
        read_agilent(_put(tmp_path, "a.csv", text), "min")
