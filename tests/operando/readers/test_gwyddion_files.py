"""Gwyddion's own files, written here by its documented format."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.readers import ReaderError, read
from operando.readers.gwyddion import read_gwy


def _component(name: str, kind: str, value: Any) -> bytes:
    head = name.encode() + b"\0" + kind.encode()
    match kind:
        case "i" | "q" | "d":
            return head + struct.pack(f"<{kind}", value)
        case "b":
            return head + struct.pack("<?", value)
        case "s":
            return head + value.encode() + b"\0"
        case "o":
            return head + value
        case "D":
            return head + struct.pack(f"<I{len(value)}d", len(value), *value)
        case "S":
            texts = b"".join(one.encode() + b"\0" for one in value)
            return head + struct.pack("<I", len(value)) + texts
    raise AssertionError(kind)


def _object(name: str, *components: tuple[str, str, Any]) -> bytes:
    body = b"".join(_component(*one) for one in components)
    return name.encode() + b"\0" + struct.pack("<I", len(body)) + body


def _unit(text: str) -> bytes:
    return _object("GwySIUnit", ("unitstr", "s", text))


def _field(data: list[float], *, unit: str = "m", xres: int = 3, side: str = "m") -> bytes:
    return _object(
        "GwyDataField",
        ("xres", "i", xres),
        ("yres", "i", 2),
        ("xreal", "d", 3e-6),
        ("yreal", "d", 1e-6),
        ("si_unit_xy", "o", _unit(side)),
        ("si_unit_z", "o", _unit(unit)),
        ("data", "D", data),
    )


def _file(*components: tuple[str, str, Any]) -> bytes:
    return b"GWYP" + _object("GwyContainer", *components)


HEIGHTS = [1e-9, 2e-9, 3e-9, 4e-9, 5e-9, 6e-9]
WHOLE = _file(
    ("/0/data", "o", _field([0.0] * 6, unit="V")),
    ("/0/data/title", "s", "Phase"),
    ("/1/data", "o", _field([9.0] * 6)),
    ("/1/data/title", "s", "Error"),
    ("/2/data", "o", _field(HEIGHTS)),
    ("/2/data/title", "s", "Height (retrace)"),
    ("/2/show", "b", True),
    ("/names", "S", ["a", "b"]),
    ("/big", "q", 2**40),
)


def test_the_map_of_heights_is_read_among_others(tmp_path: Path) -> None:
    path = tmp_path / "scan.gwy"
    path.write_bytes(WHOLE)
    table = read(path)
    assert table.source.format == "gwy"
    assert table.columns["height_m"].tolist() == HEIGHTS
    assert table.columns["x_m"] == pytest.approx([0.5e-6, 1.5e-6, 2.5e-6] * 2)
    assert table.columns["y_m"] == pytest.approx([0.25e-6] * 3 + [0.75e-6] * 3)
    assert table.told["channel"] == "Height (retrace)"
    assert table.told["channels"] == "Phase, Error, Height (retrace)"
    assert (table.told["rows"], table.told["columns"]) == ("2", "3")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"GWYO" + WHOLE[4:], "does not begin with GWYP"),
        (WHOLE[:-20], "bytes of GwyContainer are missing"),
        (_file(("/0/data", "o", _field(HEIGHTS, unit="V"))), "no map of heights in m; there are"),
        (_file(), "there are no maps"),
        (_file(("/0/data", "o", _field(HEIGHTS, xres=4))), "has 6 values for 2 lines of 4"),
        (_file(("/0/data", "o", _field(HEIGHTS, side="rad"))), "told in 'rad', not m"),
        (
            _file(("/0/data", "o", _object("GwyDataField", ("si_unit_z", "o", _unit("m"))))),
            "lacks 'xres'",
        ),
        (WHOLE.replace(b"/big\0q", b"/big\0x"), "unknown type 'x'"),
    ],
)
def test_a_file_that_is_doubtful_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "scan.gwy"
    path.write_bytes(content)
    with pytest.raises(ReaderError, match=complaint):
        read_gwy(path)


@given(st.integers(4, len(WHOLE) - 1), st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("gwy") / "scan.gwy"
    path.write_bytes(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    with contextlib.suppress(ReaderError):
        assert read_gwy(path).columns["height_m"].shape == (6,)
