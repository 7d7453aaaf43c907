from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.methodscript.values import (
    MalformedLiteralError,
    UnrepresentableValueError,
    format_value,
    parse_number,
)

EXPONENTS = dict(zip("afpnum kMGTPE", range(-18, 21, 3), strict=True))


def by_hand(text: str) -> float:
    """Decode a package value as the protocol's sheet says."""
    assert len(text) == 8
    if text == "     nan":
        return math.nan
    number = int(text[:7], 16) - 0x8000000
    return number if text[7] == "i" else number * 10.0 ** EXPONENTS[text[7]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.499905, "7F85F3Fu"),
        (-57.847747e-6, "48D503Dp"),
        (5.13737e-3, "84E63DAn"),
        (2.799987e-9, "82AB973f"),
        (99.999732, "DF5DFF4u"),
        (9885.956, "896D904m"),
        (2.9946, "82DB1A8u"),
        (0.0, "8000000 "),
        (-0.0, "8000000 "),
        (math.nan, "     nan"),
        (0, "8000000i"),
        (3, "8000003i"),
        (-1, "7FFFFFFi"),
    ],
)
def test_the_makers_samples_are_written_as_printed(value, text):
    assert format_value(value) == text


@given(st.floats(min_value=-1.3e26, max_value=1.3e26, allow_subnormal=False))
def test_a_float_comes_back_within_half_a_step_of_the_finest_prefix_that_holds_it(value):
    text = format_value(value)
    exponent = EXPONENTS[text[7]]
    assert abs(by_hand(text) - value) <= 0.5 * 10.0**exponent + abs(value) * 1e-15
    if exponent > -18 and by_hand(text):
        finer = abs(value) * 10.0 ** -(exponent - 3)
        assert finer >= 2**27 - 1, "a finer prefix would have held it"


@given(st.integers(min_value=-(2**27) + 1, max_value=2**27 - 1))
def test_an_integer_of_28_bits_comes_back(value):
    assert by_hand(format_value(value)) == value


@pytest.mark.parametrize("value", [2**27, -(2**27), 1e27, -math.inf])
def test_what_no_prefix_holds_is_refused(value):
    with pytest.raises(UnrepresentableValueError):
        format_value(value)


def test_time_resolves_a_microsecond_for_134_seconds_and_a_millisecond_for_37_hours():
    assert format_value(134.217727)[7] == "u"
    assert format_value(134.217728)[7] == "m"
    assert format_value(134217.727)[7] == "m"
    assert format_value(134217.728)[7] == " "


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-500m", -0.5),
        ("100k", 1e5),
        ("1u", 1e-6),
        ("3", 3.0),
        ("3i", 3),
        ("-3i", -3),
        ("0x1E", 30),
        ("0x80i", 128),
        ("0b101", 5),
        ("1001m", 1.001),
        ("5850535u", 5.850535),
        ("2E", 2e18),
        ("7a", 7e-18),
    ],
)
def test_literals_mean_what_they_say(text, value):
    number = parse_number(text)
    assert number == value
    assert type(number) is type(value)


@given(st.integers(min_value=-(2**31), max_value=2**31 - 1), st.sampled_from("afpnumkMGTPE"))
def test_a_literal_is_the_float_nearest_to_its_decimal_value(digits, prefix):
    assert parse_number(f"{digits}{prefix}") == float(f"{digits}e{EXPONENTS[prefix]}")


@pytest.mark.parametrize(
    "text",
    ["", "-", "1.5", "1e3", "0x", "0b2", "0xG", "12q", "1mm", "+5", "5 ", "m5", "9999999999"],
)
def test_other_texts_are_no_literals(text):
    with pytest.raises(MalformedLiteralError):
        parse_number(text)


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_refused(text):
    try:
        number = parse_number(text)
    except MalformedLiteralError:
        return
    assert isinstance(number, int | float)
