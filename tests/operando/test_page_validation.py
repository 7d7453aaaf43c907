"""Pages are accepted at a glance, and exactly those that event_model's own validator accepts."""

import copy
import decimal
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import event_model
import numpy as np
import pytest
from bluesky.run_engine import RunEngine
from bluesky.utils import MsgGenerator
from event_model import DocumentNames, compose_run
from hypothesis import example, given
from hypothesis import strategies as st
from ophyd.sim import NullStatus

from instruments.bench_file import BenchFile
from operando import page_validation
from operando.page_validation import PageValidator, is_plain_page, schema_sha256
from operando.session import Session

EMPTY = BenchFile(name="none", instruments={})
PAGE = DocumentNames.event_page
_now = event_model.schema_validators[PAGE]
OWN: Any = _now.kept if isinstance(_now, PageValidator) else _now


@pytest.fixture
def as_imported() -> Iterator[None]:
    before = event_model.schema_validators[PAGE]
    event_model.schema_validators[PAGE] = OWN
    yield
    event_model.schema_validators[PAGE] = before


class Number(enum.Enum):
    ONE = 1


class Text(str):
    pass


def page(rows: int = 2) -> dict[str, Any]:
    return {
        "descriptor": "d",
        "uid": [str(row) for row in range(rows)],
        "seq_num": list(range(1, rows + 1)),
        "time": [1.5] * rows,
        "data": {"x": [0.5] * rows, "note": ["a"] * rows},
        "timestamps": {"x": [1.5] * rows, "note": [1.5] * rows},
        "filled": {},
    }


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.sampled_from(
        [
            Number.ONE,
            Text("x"),
            decimal.Decimal(1),
            1j,
            np.float64(1.5),
            np.int64(1),
            np.bool_(True),
            np.str_("x"),
            10**30,
        ]
    ),
)
COLUMNS = st.one_of(
    st.lists(CELLS, max_size=3),
    st.lists(st.floats(), max_size=3),
    st.lists(st.integers(), max_size=3),
    st.lists(st.text(max_size=2), max_size=3),
    st.tuples(CELLS),
    st.dictionaries(st.text(max_size=2), CELLS, max_size=2),
    st.sampled_from([np.zeros(2), np.array(1.0), {1.5}, Text("abc")]),
    CELLS,
)
KEYS = st.one_of(st.text(max_size=2), st.integers(), st.sampled_from([Text("x"), None]))
PARTS = st.one_of(COLUMNS, st.dictionaries(KEYS, COLUMNS, max_size=3))
CHANGES = st.dictionaries(
    st.one_of(st.sampled_from(sorted(page())), st.text(max_size=3)), PARTS, max_size=3
)
LACKING = st.sets(st.sampled_from(sorted(page())), max_size=1)


def verdict(validator: Any, document: Any) -> tuple[type[BaseException], str] | None:
    try:
        validator.validate(document)
    except Exception as error:
        return type(error), str(error)
    return None


@given(CHANGES, LACKING)
@example({}, set())
@example({"time": [True]}, set())
@example({"time": [decimal.Decimal(1)]}, set())
@example({"seq_num": [Number.ONE]}, set())
@example({"seq_num": [1.0]}, set())
@example({"uid": [Text("x")]}, set())
@example({"filled": {"x": [False]}}, set())
@example({"filled": {"x": [1]}}, set())
@example({"data": {"x": (1, 2)}}, set())
@example({"data": {"x": np.zeros(2)}}, set())
@example({"data": {1: [1]}}, set())
@example({"more": 1}, set())
@example({}, {"data"})
def test_the_verdict_on_a_page_is_that_of_event_model(
    changes: dict[str, Any], lacking: set[str]
) -> None:
    document = {key: value for key, value in page().items() if key not in lacking} | changes
    assert verdict(PageValidator(OWN), document) == verdict(OWN, document)


@given(PARTS)
def test_the_verdict_on_anything_else_is_that_of_event_model(document: Any) -> None:
    assert verdict(PageValidator(OWN), document) == verdict(OWN, document)


def test_what_a_flyer_hands_out_is_plain() -> None:
    stream = compose_run().compose_descriptor(
        name="s", data_keys={"x": {"source": "", "dtype": "number", "shape": []}}
    )
    document = stream.compose_event_page(data={"x": [1.5]}, timestamps={"x": [2.5]})
    assert is_plain_page(document)


def test_the_schema_is_the_one_whose_demands_are_known() -> None:
    # If this fails, compare the new schema with is_plain_page, then note its SHA-256.
    assert schema_sha256(OWN.schema) == page_validation.KNOWN_SCHEMA_SHA256


@pytest.mark.usefixtures("as_imported")
def test_another_schema_is_left_alone() -> None:
    stricter = type(OWN)(schema={**OWN.schema, "maxProperties": 6})
    event_model.schema_validators[PAGE] = stricter
    page_validation.use()
    assert event_model.schema_validators[PAGE] is stricter


@pytest.mark.usefixtures("as_imported")
def test_a_session_lets_its_pages_be_validated_so(tmp_path: Path) -> None:
    for _ in range(2):
        Session(EMPTY, tmp_path, catalog=False).close()
    found = event_model.schema_validators[PAGE]
    assert isinstance(found, PageValidator)
    assert found.kept is OWN  # once, not once more for each session
    assert copy.copy(found).schema == OWN.schema


class TwoRows:
    """A flyer with one page of two rows."""

    name = "s"
    parent = None

    def kickoff(self) -> NullStatus:
        return NullStatus()

    complete = kickoff

    def describe_collect(self) -> dict[str, Any]:
        return {"x": {"source": "", "dtype": "number", "shape": []}}

    def collect_pages(self) -> Iterator[Any]:
        stamps = [2.5, 3.5]
        yield {"time": stamps, "data": {"x": [0.5, 1.5]}, "timestamps": {"x": stamps}}


@bpp.run_decorator()
def collected(device: TwoRows) -> MsgGenerator:
    yield from bps.declare_stream(device, name="s", collect=True)
    yield from bps.kickoff(device, wait=True)
    yield from bps.complete(device, wait=True)
    yield from bps.collect(device, name="s")


@pytest.mark.usefixtures("as_imported")
def test_the_run_engine_asks_the_mapping_and_its_pages_are_plain() -> None:
    asked: list[Any] = []

    class Noting(PageValidator):
        def validate(self, doc: Any) -> None:
            asked.append(doc)

    assert "schema_validators" in event_model.__all__
    event_model.schema_validators[PAGE] = Noting(OWN)
    told: list[tuple[str, Any]] = []
    engine = RunEngine({})
    engine(collected(TwoRows()), lambda name, doc: told.append((name, doc)))
    assert asked == [doc for name, doc in told if name == "event_page"]
    assert [is_plain_page(doc) for doc in asked] == [True]
