"""Damaged frames of every language and file: refused, or taken as what they say."""

import logging
import random
import re
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz.mutations import damaged
from benchmarks.fuzz.target import Found, Frame, Target, frame_of, fuzz, verdict
from benchmarks.fuzz.targets import names, target


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", names())
def test_a_whole_frame_is_accepted(name: str) -> None:
    one = target(name)
    assert [verdict(one, frame) for frame in one.frames] == ["accepted"] * len(one.frames)


@pytest.mark.parametrize("name", names())
@given(st.randoms(use_true_random=False))
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_frame_is_refused_or_says_what_is_taken(name: str, chance: random.Random) -> None:
    one = target(name)
    whole = chance.choice(one.frames)
    data = damaged(whole.data, [frame.data for frame in one.frames], chance)
    if one.seal is not None and chance.random() < 0.5:
        data = one.seal(data)
    assert verdict(one, Frame(whole.of, data)) in ("refused", "accepted")


def test_what_is_wrong_is_found() -> None:
    def read(frame: Frame) -> int:
        if b"9" in frame.data:
            raise ZeroDivisionError
        return int(b"0" + re.sub(rb"[^0-9]", b"", frame.data))  # whatever else is there

    def wrong(frame: Frame, value: int) -> str:
        return "" if frame.data == b"%d" % value else "not what it says"

    careless = Target("careless", "a number", (Frame("", b"12345678"),), read, wrong, (ValueError,))
    found = fuzz(careless, 1, range(90))
    assert (found.frames, found.wrong > 0, found.others > 0) == (90, True, True)
    assert found.refused + found.accepted + found.wrong + found.others == 90
    assert not found.held
    assert "ZeroDivisionError" in str(found.examples)
    assert frame_of(careless, 1, 7) == frame_of(careless, 1, 7) != frame_of(careless, 2, 7)


def test_who_hears_of_a_trial_has_what_it_counted_so_far() -> None:
    one = target("keller")
    heard: dict[int, int] = {}

    def told(number: int, found: Found) -> None:
        heard[number] = found.refused + found.accepted

    found = fuzz(one, 1, range(5), told)
    assert heard == {number: number for number in range(5)}
    assert found.frames == 5
    both = Found()
    both.add(found)
    both.add(found)
    assert both.frames == 10
    assert both.refused == 2 * found.refused
