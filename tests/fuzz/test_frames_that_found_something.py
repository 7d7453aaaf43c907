"""Each frame that was once taken for what it does not say, or ended in another error."""

import logging
from collections.abc import Iterator

import pytest

from benchmarks.fuzz.files import JCAMP, fusion_result, gwy_file
from benchmarks.fuzz.packets import _obp_answer, _response, _usb_answer
from benchmarks.fuzz.target import Frame, verdict
from benchmarks.fuzz.targets import target
from sim_devices.wasatch_fid.eeprom import Calibration

DIGITS = b"9" * 5000
MEMORY = b"".join(Calibration().pages())
GAMRY = (
    b"EXPLAIN\nTAG\tCV\nCURVE1\tTABLE\t%b\n\tPt\tT\tVf\n\t#\ts\tV\n\t0\t1\t0.25\n\t1\t%b\t0.26\n"
)
SESSION = b'{"measurements": [{"dataset": {"values": [{"datavalues": [{"v": %b}]}]}}]}'
BIOLOGIC = b"EC-Lab ASCII FILE\nNb header lines : %b\n\nfreq/Hz\ttime/s\n%b\n"
CELL = b"cell_id: A\nmetal: Zn\x02\n"


def _nine_times(n: int) -> bytes:
    """Return a line of YAML that is nine times what the line before is."""
    return b"a%d: &a%d [%b]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9))


REFUSED = [
    # Bytes that are no text, in what an instrument tells of itself.
    ("ezo", "Slope,?", b"?SLOPE,99\x1c.7,100.3,-0.89\r*OK\r"),
    ("qcm200", "I", b"QCM200_1.06_0_15\x14021\r"),
    ("numato", "id get", b"id get\n\r000\x880000\n\r>"),
    ("zaber", "/1 get device.id", b"@01 0 OK IDLE -- 5010\xfb\r\n"),
    ("zaber", "/1 get device.id", b"@01 0 OK IDLE -- \r\n"),
    ("zaber", "/1 get device.id", b"@01 0 OK IDLE -- 50105\x1d\n"),
    ("methodscript-idle", "i\n", b"iES4H\x00\x00\x00\n"),
    ("methodscript-idle", "v\n", b"v\n01.09.00"),
    ("methodscript-idle", "t\n", b"tes4_hr01#N 10:12:31\n\x0b*\n"),
    ("vici", "CP", b"CP =\n B\r"),
    # Digits of other scripts, underscores, half numbers: float() and int() take more than is told.
    ("qcm200", "B", b"\xb3\r"),
    ("qcm200", "R", b"1_0\r"),
    ("qcm200", "F", b".56\r"),
    ("zaber", "/1 get version", b'@01 0 OK IDLE -- 7.35"\r\n'),
    ("gamry", "", GAMRY % (b"1", b"1_0")),
    ("gamry", "", GAMRY % (b"1", b"\xd9\xa3")),
    ("csv", "", b"time / s,potential / V\n1_0,2\n"),
    # No instrument of the kind is there.
    ("julabo", "in_pv_00", b"2222.31\r\n"),
    ("julabo", "in_sp_00", DIGITS[:400] + b"\r\n"),
    ("huber", "{M00****", b"{S008000\r\n"),
    ("keithley-answers", "prepare", b"operando\t50\tnan\n"),
    ("keithley-answers", "prepare", b"operando\t50\t1e999\n"),
    # Checksums and types that nobody looked at.
    ("zaber", "/1 1 get pos", b"@01 1 OK BUSY NC 3100:9D\r\n"),
    ("ocean", "00000100", _obp_answer(0x101, b"\x08", 1)),
    ("ocean", "00000100", _obp_answer(0x100, b"HDX00042", 1)[:6] + b"\x00\xf0" + bytes(56)),
    ("ocean", "00000100", _obp_answer(0x100, b"HDX00042", 1).replace(b"\x14\0\0", b"\xff\xff\x7f")),
    ("ocean", "00000100", _obp_answer(0x100, b"HDX0\x0042", 1)),
    # Damaged lengths and descriptors.
    ("usb-tcp", "control", _usb_answer(b"\x01", 0xFFFFFFFF)),
    ("usb-tcp", "write", _usb_answer(b"\x04\x00\x00 ")),
    ("usb-tcp", "write", _usb_answer(b"\x04")),
    ("usb-tcp", "device", _usb_answer(b"\x12\x01\x00")),
    ("usb-tcp", "device", _usb_answer(bytes(18))),
    ("usb-tcp", "configuration", _usb_answer(b"")),
    ("usb-tcp", "endpoint", _usb_answer(b"\x09\x02\x20\x00\x01\x01\x00\xc0\xfa")),
    ("wasatch", "", MEMORY[:-2]),
    ("wasatch", "", MEMORY[:220] + b"\x00\x00\x80\x7f" + MEMORY[224:]),  # a laser without limit
    ("wasatch", "", MEMORY[:68] + b"\xff\xff\xff\xff" + MEMORY[72:]),  # NaN, made 0 by the library
    ("gwy", "", gwy_file(xres=-3, yres=-2)),
    ("gwy", "", gwy_file(xreal=float("nan"))),
    ("gwy", "", gwy_file(data=[1e-9, float("inf"), 3e-9, 4e-9, 5e-9, 6e-9])),
    ("gwy", "", gwy_file().replace(b"\xb5\0\0\0", b"\xb4\0\0\0")),
    # Errors of others instead of ours.
    ("methodscript-errors", "", b"no error at all"),
    ("gamry", "", GAMRY % (b"\xb2", b"x")),
    ("gamry", "", GAMRY.replace(b"0.25", b"0.25\t5\t7") % (b"1", b"1")),
    ("biologic", "", BIOLOGIC % (b"4", b"1")),
    ("biologic", "", BIOLOGIC % (DIGITS, b"1\t2")),
    ("biologic", "", BIOLOGIC % (b"3", b"1\t2")),
    ("palmsens", "", SESSION % b'"a"'),
    ("palmsens", "", SESSION % b"1e999"),
    ("palmsens", "", b"[" * 100_000),
    ("zplot", "", b"Freq(Hz) Z'(a) Z''(b)\nEnd Comments\n1,234.5, 2.0, 3.0,\n"),
    ("jcamp", "", JCAMP.replace("=0.001", "=1e308").replace("400 10", "400 1e3").encode()),
    ("afm", "", b"# Width: 5 um\n# Height: %b um\n# Value units: m\n1 2\n" % DIGITS[:400]),
    ("dialogue", "", b"< b't\\xg'\n"),
    ("cell", "", CELL),
    ("cell", "", b"[" * 20_000),
    ("cell", "", b"a0: &a0 [1]\n%bcell_id: *a8\n" % b"".join(map(_nine_times, range(1, 9)))),
    ("notes", "simulated.json", b'{"cell": "a", "seed": 1e380}'),
    ("notes", "replay.json", b"[" * 100_000),
    ("fusion", "last", _response(b"[" * 100_000)),
    ("fusion", "runs", _response(b'{"runs": [{"$id": "../v1/scm!cmd.abort"}]}')),
    ("fusion", "runs", _response(b'{"runs": [{"$id": 5}]}')),
]  # fmt: skip
ACCEPTED = [
    # What is said around the damage is kept.
    ("methodscript-errors", "", b"e!0032: Line " + DIGITS),
    ("methodscript-store", "fs_info", b"f used 12 kB, free " + DIGITS + b" kB\n"),
    ("methodscript-store", "fs_info", b"f used 12 kB, free\xc84096 kB\n"),
    ("keithley-run", "", b"S,0,1,1,1,0.0,1.0\n" + b"R," + DIGITS + b",0,1,1,1,1.0\n"
     b"R,1,0,1,1,1,1.000100,1.000000,-1.2500000e-01,-1.0000000e-03,200\n"),
    ("keithley-run", "", b"B,17957795729032.000\n"
     b"R,1,0,1,1,1,1.000100,1.000000,-1.2500000e-01,-1.0000000e-03,200\n"),
    ("rodeostat", "", b'{"t":10,"v":0.5,"v":4.8,"i":1}\n{"t":20,"v":0.5,"i":4.8}\n{}\n'),
    ("rodeostat", "", b"[" * 100_000 + b'\n{"t":20,"v":0.5,"i":4.8}\n{}\n'),
    ("jcamp", "", JCAMP.replace("+01:00", "+81:00").encode()),
    ("jcamp", "", JCAMP.replace("+01:00", "+01:60").encode()),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("name", "of", "data"), REFUSED)
def test_it_is_refused_with_an_error_of_ours(name: str, of: str, data: bytes) -> None:
    assert verdict(target(name), Frame(of, data)) == "refused"


@pytest.mark.parametrize(("name", "of", "data"), ACCEPTED)
def test_only_what_it_says_is_taken(name: str, of: str, data: bytes) -> None:
    assert verdict(target(name), Frame(of, data)) == "accepted"


def test_areas_without_limit_are_refused() -> None:
    import json

    told = fusion_result()
    told["detectors"]["moduleA:tcd"]["analysis"]["peaks"][0]["area"] = float("inf")
    frame = Frame("", json.dumps(told).encode())
    assert verdict(target("chromatogram"), frame) == "refused"
