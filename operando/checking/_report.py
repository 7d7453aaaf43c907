"""What a check found: one report of everything, good and bad."""

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

    def text(self, *, only_bad: bool = False) -> str:
        """Return the report as a table of lines; ``only_bad`` leaves out what is well or unknown.

        What to do stands in a line of its own below what was found.
        """
        shown = [x for x in self.items if not only_bad or x.status in ("warning", "failed")]
        wide = max((len(item.name) for item in shown), default=0)
        lines = []
        for item in shown:
            first, *more = item.told.splitlines() or [""]
            lines.append(f"  {_SIGNS[item.status]:<11} {item.name:<{wide}}  {first}".rstrip())
            lines += [f"  {'':<11} {'':<{wide}}  {line}" for line in more]
            if item.do:
                lines.append(f"  {'':<11} {'':<{wide}}  -> {item.do}")
        return "\n".join([*lines, self.summary()])


def failed(name: str, error: BaseException, do: str = "") -> Item:
    """Return the item of something that raised."""
    return Item(name, "failed", str(error) or repr(error), do)
