"""An item of a queue: one protocol on one sample, as data, and what is wrong with one.

Whoever puts an item somewhere or takes one asks `validated`: the command line, the door for other
computers, the supervisor before it starts one and the worker before it drives a cell.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from operando.configuration import (
    DISCRIMINATORS,
    ConfigurationError,
    HasLimits,
    check_technique,
    mistakes,
    program_of,
)
from operando.queueing.errors import QueueError
from techniques import Cell, Protocol, UnsuitableCellError, longest_duration_s
from techniques._base import Data

Model = TypeVar("Model", bound=BaseModel)

# A protocol of a thousand steps has a tenth of it.
LONGEST_BYTES = 1_000_000
# Nesting that no protocol has; deeper, reading it takes a program's whole stack.
_DEEPEST = 50
# Who names a date further away has most likely mistyped the year.
_FURTHEST_S = 366 * 86400.0
_LONGEST_TEXT = 200
_A_DAY = re.compile(r"\d{4}-?(\d\d-?\d\d|W\d\d(-?\d)?)")

Text = Field(default="", max_length=_LONGEST_TEXT)


class ItemArguments(Data):
    """What an item is made of, beside what its protocol and its sample are.

    Attributes:
        protocol: The full data of `techniques.Protocol`.
        sample: The full data of `techniques.Cell`.
        at: Not before that time, ISO 8601 with the offset; empty: at once.
        after: The uid of an item that must have ended as done before; empty: of none.
        priority: More is earlier; alike ones in the order of the queue.
        hold: It stays where it is until it is released.
        on_death: What is done if its worker dies; empty: what its station says.
        label: For people, e.g. ``zn-bare 3/5``.
        campaign: To which it belongs.
        ticket: Empty in a queue; the supervisor's, when it is executed.
    """

    protocol: Mapping[str, Any]
    sample: Mapping[str, Any]
    at: str = Text
    after: str = Text
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    hold: bool = False
    on_death: Literal["", "resume", "skip", "hold"] = ""
    label: str = Text
    campaign: str = Text
    ticket: str = Text

    @field_validator("at")
    @classmethod
    def _it_is_a_time(cls, at: str) -> str:
        if at:
            due_at(at)
        return at


def validated(
    kwargs: Mapping[str, Any], bench: HasLimits | None, *, adding: bool = False
) -> tuple[Protocol, Cell]:
    """Return protocol and cell of an item after everything about it was checked.

    Args:
        kwargs: The arguments of ``run_protocol``, as `ItemArguments` tells them.
        bench: That of its station, or `load_bench_limits` of it; ``None``: no limits of a bench.
        adding: It comes into a queue now: its time must not be past, and it has no ticket.

    Raises:
        QueueError: something is wrong; the message says all that is.
    """
    _refuse_size(kwargs)
    told = _model(ItemArguments, kwargs, "the item")
    if adding:
        if told.ticket:
            raise QueueError("an item in a queue has no ticket: only its supervisor gives it one")
        if told.at:
            refuse_past(told.at)
    protocol = _model(Protocol, told.protocol, "the protocol")
    cell = _model(Cell, told.sample, "the sample")
    try:
        if bench is None:
            program_of(protocol, cell)
        else:
            check_technique(bench, cell, protocol)
    except ConfigurationError as error:
        raise QueueError(str(error)) from error
    return protocol, cell


def as_data(model: BaseModel) -> dict[str, Any]:
    """Return what was told of a protocol or cell, as JSON: what was not told is left to defaults.

    Names of kinds are always in it: a step that was made in Python does not tell its own.
    """
    data = model.model_dump(mode="json", exclude_unset=True)
    _with_kinds(model, data)
    return data


def due_at(at: str) -> float:
    """Return a time as seconds of the epoch; without an offset it is local.

    Raises:
        ValueError: it is no time, or not one alone.
    """
    text = at.strip()
    try:
        moment = datetime.fromisoformat(text)
        first, second = (moment.replace(fold=fold).astimezone() for fold in (0, 1))
        seconds, again = first.timestamp(), second.timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{at!r} is no time: write YYYY-MM-DD HH:MM (local time) or ISO 8601 with an offset, "
            "2026-12-01T22:00:00+01:00"
        ) from None
    if _A_DAY.fullmatch(text):
        raise ValueError(f"{at!r} is a day: write the time of the day as well, {text} HH:MM")
    # Times that do not come are moved to ones that do.
    if moment.tzinfo is None and first.replace(tzinfo=None) != moment:
        raise ValueError(f"{at!r} does not come, for the clocks are set forward over it")
    if again != seconds:
        raise ValueError(
            f"{at!r} comes twice, for the clocks are set back: write "
            + " or ".join(f"{text}{one.isoformat()[-6:]}" for one in (first, second))
        )
    return seconds


def told_time(at: str | datetime) -> str:
    """Return a time as items keep it, ISO 8601 with the offset; without one it is local.

    Raises:
        QueueError: it is no time, or not one in the year to come.
    """
    if isinstance(at, datetime):
        at = at.isoformat()
    try:
        seconds = due_at(at)
    except ValueError as error:
        raise QueueError(str(error)) from None
    told = datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    refuse_past(told)
    return told


def refuse_past(at: str) -> None:
    """Raise QueueError if a time is past, or further away than anybody plans."""
    seconds, now = due_at(at), time.time()
    # A time of this minute is now, told as people tell it.
    if seconds < now - 60:
        raise QueueError(
            f"{shown_time(seconds)} is past: it is {shown_time(now)} now; leave the time out to "
            "start as soon as the station is free"
        )
    if seconds > now + _FURTHEST_S:
        raise QueueError(
            f"{shown_time(seconds)} is {(seconds - now) / 86400:.0f} days away: is the year right?"
        )


def shown_time(seconds: float) -> str:
    """Return a time as people read it, local: ``2026-12-01 22:00``."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def longest_s(kwargs: Mapping[str, Any]) -> float | None:
    """Return how long an item can last, s of cell time; ``None``: it cannot be told."""
    sample = {key: value for key, value in kwargs["sample"].items() if key != "cell_id"}
    return _longest_s(json.dumps(kwargs["protocol"]), json.dumps(sample))


@lru_cache(maxsize=1000)
def _longest_s(protocol: str, sample: str) -> float | None:
    # Of replicates there are many, which differ in their labels only.
    try:
        cell = Cell.model_validate(json.loads(sample) | {"cell_id": "any"})
        program = Protocol.model_validate_json(protocol).program(cell)
    except (ValidationError, UnsuitableCellError):
        return None
    return longest_duration_s(program)


def _refuse_size(kwargs: Mapping[str, Any]) -> None:
    if not isinstance(kwargs, Mapping):
        raise QueueError(f"an item is told by its arguments, and not by {type(kwargs).__name__}")
    try:
        _refuse_depth(kwargs, 0)
        size = len(json.dumps(kwargs, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise QueueError(f"the item is no JSON: {error}") from error
    if size > LONGEST_BYTES:
        raise QueueError(
            f"the item has {size / 1e6:.2g} MB; more than {LONGEST_BYTES / 1e6:g} MB no protocol "
            "has that people write: repeat steps (repeat, cycles) instead of listing them"
        )


def _refuse_depth(value: object, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for one in value.values():
            _refuse_depth(one, depth + 1)
    elif isinstance(value, list | tuple):
        for one in value:
            _refuse_depth(one, depth + 1)


def _model(model: type[Model], data: Mapping[str, Any], what: str) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = mistakes(model, data, error)
        named = data.get("name") or data.get("cell_id") if isinstance(data, Mapping) else None
        who = f"{what} {named!r}" if isinstance(named, str) and named else what
        if len(found) == 1:
            raise QueueError(f"{who}, {found[0]}") from error
        raise QueueError("\n  ".join([f"{who} has {len(found)} mistakes:", *found])) from error


def _with_kinds(value: object, data: Any) -> None:
    if isinstance(value, BaseModel) and isinstance(data, dict):
        for name, inside in value:
            if name in data:
                _with_kinds(inside, data[name])
            elif name in DISCRIMINATORS:
                data[name] = inside
    elif isinstance(value, Mapping) and isinstance(data, dict):
        for name, inside in value.items():
            _with_kinds(inside, data.get(str(name)))
    elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(data, list):
        for inside, told in zip(value, data, strict=True):
            _with_kinds(inside, told)
