"""Conditions on metrics and times, as they are written."""

import datetime
import math
import operator
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from operando.registry import METRICS

# What is kept of a metric that is a list.
OF_LISTS: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"first": lambda v: v[0], "last": lambda v: v[-1], "mean": lambda v: math.fsum(v) / len(v)}
)
_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_CONDITION = re.compile(
    r"\s*(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*(?P<sign><=|>=|==|!=|<|>|=)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>\S*)\s*"
)
_AGO = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>minute|hour|day|week)s?(?:\s+ago)?\s*")
_SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}


class SearchError(ValueError):
    """What was asked for cannot be searched; the message says what can."""


@dataclass(frozen=True)
class Condition:
    """One condition on a metric, e.g. ``ce_mean_pct > 99.5``.

    Attributes:
        name: The metric; of a list metric with ``.first``, ``.last`` or ``.mean``.
        sign: ``<``, ``<=``, ``>``, ``>=``, ``=`` or ``!=``.
        number: In the metric's unit.
    """

    name: str
    sign: str
    number: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Return the condition written as ``NAME SIGN NUMBER``; a unit may follow.

        Raises:
            SearchError: It is written otherwise, there is no such metric, or the unit is another.
        """
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise SearchError(
                f"not a condition: {text!r}. It is a metric, one of < <= > >= = !=, and a number: "
                "'ce_mean_pct > 99.5'"
            )
        name = checked_name(found["name"])
        unit = METRICS[name.partition(".")[0]].unit
        if found["unit"] and found["unit"] != unit:
            raise SearchError(
                f"{text!r}: {name} is in {'no unit' if unit == '1' else unit}, "
                f"not in {found['unit']}; numbers are not converted"
            )
        return cls(name, found["sign"], float(found["number"]))

    def holds(self, value: float | None) -> bool:
        """Return whether a value fulfils it; one that is not defined fulfils none."""
        return value is not None and bool(_OPERATORS[self.sign](value, self.number))


def checked_name(name: str) -> str:
    """Return the name of a stored metric as it is stored.

    Raises:
        SearchError: There is no such metric; the message names those that are written alike.
    """
    metric, dot, of_list = name.partition(".")
    if metric not in METRICS:
        import difflib

        near = difflib.get_close_matches(metric, METRICS, n=4, cutoff=0.5)
        near += [known for known in METRICS if metric and metric in known and known not in near]
        raise SearchError(
            f"there is no metric {metric!r}"
            + (
                f"; did you mean {', '.join(near[:5])}?"
                if near
                else f". There are {', '.join(METRICS)}."
            )
        )
    shape = METRICS[metric].shape
    if shape == "scalar" and dot:
        raise SearchError(f"{metric} is one number: write it without .{of_list}")
    if shape != "scalar" and of_list not in OF_LISTS:
        forms = ", ".join(f"{metric}.{form}" for form in OF_LISTS)
        raise SearchError(f"{metric} is a list {shape}: search for {forms}")
    return name


def parse_time(text: str, *, end: bool = False, now_s: float | None = None) -> float:
    """Return what a date, a date with time, or an age means [epoch s].

    ``2026-11-26``, ``2026-11-26 14:30`` (local time unless a zone is written), ``today``,
    ``yesterday``, ``7 days``, ``12 hours``, ``2 weeks``: the last three are that long ago.

    Args:
        text: What was written.
        end: Whether a date alone means its end rather than its beginning.
        now_s: The present, epoch s; by default the clock's.

    Raises:
        SearchError: It is none of these.
    """
    now_s = time.time() if now_s is None else now_s
    ago = _AGO.fullmatch(text.lower())
    if ago is not None:
        return now_s - float(ago["number"]) * _SECONDS[ago["unit"]]
    today = datetime.date.fromtimestamp(now_s)
    days = {"today": today, "yesterday": today - datetime.timedelta(days=1)}
    day = days.get(text.strip().lower())
    try:
        moment = None if day else datetime.datetime.fromisoformat(text.strip())
        if day is None and re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip()):
            day = datetime.date.fromisoformat(text.strip())
    except ValueError:
        raise SearchError(
            f"not a time: {text!r}. Write a date (2026-11-26), a date and a time "
            "(2026-11-26 14:30), today, yesterday, or an age (7 days, 12 hours)"
        ) from None
    if day is not None:
        day += datetime.timedelta(days=1 if end else 0)
        moment = datetime.datetime.combine(day, datetime.time())
    assert moment is not None
    return moment.timestamp()
