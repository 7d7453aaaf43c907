"""What a check found: one report of everything, good and bad."""

import sys
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "failed", "not checked"]

_SIGNS: dict[Status, str] = {
    "ok": "ok",
    "warning": "WARNING",
    "failed": "FAILED",
    "not checked": "not checked",
}

# What stands before what was found, besides the name, and how narrow that may become.
_BEFORE, _NARROWEST = 16, 40


@dataclass(frozen=True)
class Item:
    """One thing that was looked at.

    Attributes:
        name: What, e.g. ``thermostat: setpoint``.
        status: ``failed``: nothing should be run before it is put right; ``warning``: it can be
            run, and somebody should know; ``not checked``: nobody knows, and ``told`` says why.
        told: What was found, a sentence.
        do: What to do about it; empty where there is nothing to do.
    """

    name: str
    status: Status
    told: str
    do: str = ""


class CheckFailedError(Exception):
    """A check before a run failed; nothing was begun.

    Attributes:
        report: All that was found.
    """

    def __init__(self, report: "Report") -> None:
        super().__init__(
            f"the check before the run failed; nothing was begun:\n{report.text(only_bad=True)}\n"
            "`--no-check` runs without it, and the record says so"
        )
        self.report = report


@dataclass(frozen=True)
class Report:
    """All that a check found.

    Attributes:
        bench: Name of the bench file.
        items: In the order in which they were looked at.
    """

    bench: str
    items: tuple[Item, ...]

    @property
    def failed(self) -> tuple[Item, ...]:
        """Return what failed."""
        return tuple(item for item in self.items if item.status == "failed")

    @property
    def passed(self) -> bool:
        """Return whether nothing failed; warnings and what could not be checked do not count."""
        return not self.failed

    def as_dict(self) -> dict[str, Any]:
        """Return the report as it goes into JSON and into start documents."""
        return {
            "bench": self.bench,
            "passed": self.passed,
            "items": [asdict(item) for item in self.items],
        }

    def summary(self) -> str:
        """Return how many of each there are, in a line."""
        counts = Counter(item.status for item in self.items)
        told = ", ".join(f"{counts[status]} {status}" for status in _SIGNS if counts[status])
        return f"check of bench {self.bench}: {told or 'nothing to check'}"

    def text(self, *, only_bad: bool = False, width: int | None = None) -> str:
        """Return the report as a table of lines; ``only_bad`` leaves out what is well or unknown.

        What to do stands in a line of its own below what was found. Lines are broken at ``width``
        characters; ``None``: they are not.
        """
        shown = [x for x in self.items if not only_bad or x.status in ("warning", "failed")]
        wide = max((len(item.name) for item in shown), default=0)
        room = sys.maxsize if width is None else max(width - wide - _BEFORE, _NARROWEST)
        lines = []
        for item in shown:
            told = [line for part in item.told.splitlines() for line in _broken(part, room)]
            first, *more = told or [""]
            more += _broken(item.do, room, "-> ", "   ")
            lines.append(f"  {_SIGNS[item.status]:<11} {item.name:<{wide}}  {first}".rstrip())
            lines += [f"  {'':<11} {'':<{wide}}  {line}" for line in more]
        return "\n".join([*lines, self.summary()])


def _broken(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    """Break a text into lines, and no address within itself: it is to be copied."""
    wrapper = textwrap.TextWrapper(width, initial_indent=first, subsequent_indent=later)
    wrapper.break_on_hyphens = wrapper.break_long_words = False
    return wrapper.wrap(text)


def failed(name: str, error: BaseException, do: str = "") -> Item:
    """Return the item of something that raised."""
    return Item(name, "failed", str(error) or repr(error), do)
