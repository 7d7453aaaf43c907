"""Numbers, packages and errors of MethodSCRIPT, as the maker's documents show them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.errors import ProtocolError
from instruments.potentiostat.methodscript.error_codes import MEANINGS, parse_error
from instruments.potentiostat.methodscript.packages import by_type, parse_package
from instruments.potentiostat.methodscript.values import decode_value, format_literal

PREFIXES = dict(zip("afpnum kMGTPE", range(-18, 21, 3), strict=True))


def literal_value(text: str) -> float:
    """Read a script literal, independently of the package under test."""
    if text[-1].isdigit():
        return float(int(text))
    return float(f"{int(text[:-1])}e{PREFIXES[text[-1]]}")


def encode(number: int, prefix: str) -> str:
    return f"{number + 2**27:07X}{prefix}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7F85F3Fu", -0.499905),
        ("48D503Dp", -57.847747e-6),
        ("4E63DAn", None),
        ("84E63DAn", 5.137370e-3),
        ("82AB973f", 2.799987e-9),
        ("DF5DFF4u", 99.999732),
        ("896D904m", 9885.956),
        ("82DB1A8u", 2.9946),
        ("8000000 ", 0.0),
        ("800000Ai", 10),
        ("7FFFFFFi", -1),
        ("8000001 ", 1.0),
        ("8000001k", 1000.0),
    ],
)
def test_values_of_the_manual_are_read(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(ProtocolError):
            decode_value(text)
    else:
        assert decode_value(text) == pytest.approx(value, rel=1e-15)
        assert isinstance(decode_value(text), int) == text.endswith("i")


def test_not_a_number_is_read() -> None:
    assert math.isnan(decode_value("     nan"))


@given(
    st.integers(-(2**27) + 1, 2**27 - 1),
    st.sampled_from(sorted(PREFIXES)),
)
def test_every_package_value_is_read_exactly(number: int, prefix: str) -> None:
    assert decode_value(encode(number, prefix)) == float(f"{number}e{PREFIXES[prefix]}")


@given(st.text(max_size=9))
def test_text_of_another_form_is_never_a_value(text: str) -> None:
    well_formed = text == "     nan" or (
        len(text) == 8
        and all(x in "0123456789ABCDEF" for x in text[:7])
        and (text[7] in PREFIXES or text[7] == "i")
    )
    if not well_formed:
        with pytest.raises(ProtocolError):
            decode_value(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.5, "-500m"),
        (0.001, "1m"),
        (3600.0, "3600"),
        (1.131e-3, "1131u"),
        (0.25, "250m"),
        (1 / 3, "333333333n"),
        (1e5, "100000"),
        (0.0, "0"),
        (-2.2e-9, "-2200p"),
    ],
)
def test_literals_are_integers_with_a_prefix(value: float, text: str) -> None:
    assert format_literal(value) == text


@given(st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-12))
def test_every_literal_means_its_value(value: float) -> None:
    text = format_literal(value)
    assert len(text) < 13
    assert "." not in text
    assert literal_value(text) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e40])
def test_what_no_literal_can_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"literal|written"):
        format_literal(value)


def test_the_package_of_the_manual_is_read() -> None:
    first, second = parse_package("Pda7F85F3Fu;ba48D503Dp,10,288")
    assert (first.type, first.value, first.status, first.range_index) == (
        "da",
        -0.499905,
        0,
        None,
    )
    assert (second.type, second.status, second.range_index) == ("ba", 0, 0x88)
    assert second.value == pytest.approx(-57.847747e-6)


def test_a_package_ending_in_a_space_keeps_its_last_value() -> None:
    (only,) = parse_package("Pab8000001 ")
    assert only.value == 1.0


def test_status_bits_are_read_and_unknown_metadata_is_skipped() -> None:
    (only,) = parse_package("Pba8000001m,12,21B,40,5FF")
    assert (only.status, only.range_index) == (2, 0x1B)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "P",
        "Pab8000001",
        "Pab8000001 ;",
        "Pab800001 ;ba8000001u",
        "Pab8000001uPab8000001u",
        "Pab8000001u;ba80000g1u",
        "Pab8000001u,1",
        "Pab8000001u,123",
        "Pab8000001u,2F",
        "Pab8000001u,A14",
        "Pab8000001u,5FFF",
        "PAB8000001u",
        "ab8000001u",
        "Pab800000au",
    ],
)
def test_a_malformed_package_is_refused(line: str) -> None:
    with pytest.raises(ProtocolError):
        parse_package(line)


def test_a_type_that_comes_twice_is_refused() -> None:
    with pytest.raises(ProtocolError, match="twice"):
        by_type(parse_package("Pab8000001u;ab8000001u"))


@pytest.mark.parametrize(
    ("reply", "code", "line", "column"),
    [
        ("l!4001: Line 1, Col 16", 0x4001, 1, 16),
        ("!4207: Line 12", 0x4207, 12, None),
        ("Z!0006", 0x0006, None, None),
        ("r!000C", 0x000C, None, None),
        ("e!1234: something else", 0x1234, None, None),
    ],
)
def test_error_replies_are_read(
    reply: str, code: int, line: int | None, column: int | None
) -> None:
    assert parse_error(reply) == (code, line, column)


@pytest.mark.parametrize("reply", ["", "!", "!40", "l", "!40010", "!4001 Line 1", "P!4001;"])
def test_what_is_no_error_reply_is_refused(reply: str) -> None:
    with pytest.raises(ProtocolError):
        parse_error(reply)


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_error_is_told_in_words_with_its_line(code: int) -> None:
    told = parse_error(f"!{code:04X}: Line 2").told_with("var t\nwait 1")
    assert MEANINGS[code] in told
    assert "'wait 1'" in told
    assert parse_error(f"!{code:04X}").told_with("var t") == (
        f"error {code:04X} ({MEANINGS[code]})"
    )


def test_an_error_that_is_not_in_the_table_is_told_by_its_number() -> None:
    assert parse_error("!6FFF: Line 9").told_with("var t") == (
        "error 6FFF (not in our table) at line 9 of the script: 'beyond the script'"
    )
