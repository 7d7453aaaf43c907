"""Experiments that were found, and how they are shown."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from operando.harmless import one_line, printable
from operando.journal import RunSummary
from operando.registry import METRICS
from operando.report import number_text


@dataclass(frozen=True)
class FoundRun:
    """One experiment that was found: a run, or the runs of one that was resumed.

    Attributes:
        first: Its first run, or its only one.
        last: Its last run.
        runs: The uids of its runs, from the first to the last.
        metrics: Those that were asked for: name -> value, None where it is not defined.
        uncertainties: The standard uncertainty of each that has one.
        not_evaluated: Why there are no metrics; empty where there are or none were asked for.
        attachments: The uids of the runs that hold late results of it.
        counts: Rows by stream of each run and attachment, as far as they were counted.
        counting: Whether there may be more rows: those of long runs without an end are counted a
            little at each list.
        damage: What is damaged in the journals of its runs, or missing in their files; empty if
            nothing is known to be.
    """

    first: RunSummary
    last: RunSummary
    runs: tuple[str, ...]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    uncertainties: Mapping[str, float] = field(default_factory=dict)
    not_evaluated: str = ""
    attachments: tuple[str, ...] = ()
    counts: tuple[Mapping[str, int], ...] = ()
    counting: bool = False
    damage: str = ""

    @property
    def uid(self) -> str:
        """Return the uid of its first run: it stands for the experiment."""
        return self.first.uid

    @property
    def time(self) -> float:
        """Return when it began, epoch s."""
        return self.first.time

    @property
    def sample(self) -> str:
        """Return the sample's name."""
        return self.first.sample

    @property
    def plan_name(self) -> str:
        """Return the plan that began it."""
        return self.first.plan_name

    @property
    def exit_status(self) -> str:
        """Return how its last run ended, or that it goes on."""
        return self.last.exit_status

    @property
    def reason(self) -> str:
        """Return the reason that its last run's stop document tells."""
        return self.last.reason

    @property
    def rows(self) -> dict[str, int]:
        """Return the rows by stream of all its runs."""
        total: dict[str, int] = {}
        for counts in self.counts or (self.first.rows,):
            for stream, count in counts.items():
                total[stream] = total.get(stream, 0) + count
        return total

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        first, last = self.first, self.last
        return {
            "uid": self.uid,
            "time": self.time,
            "sample": first.sample,
            "working_electrode": first.working_electrode,
            "counter_electrode": first.counter_electrode,
            "electrolyte": first.electrolyte,
            # The newest run tells what was changed before it, too.
            "techniques": list(last.techniques or first.techniques),
            "protocol": last.protocol or first.protocol,
            "plan_name": first.plan_name,
            "exit_status": last.exit_status,
            "reason": last.reason,
            "rows": self.rows,
            "rows_counted": not self.counting,
            "damage": self.damage or None,
            "runs": list(self.runs),
            "attachments": list(self.attachments),
            "replay_of": first.replay_of or None,
            "metrics": dict(self.metrics),
            "not_evaluated": self.not_evaluated or None,
        }


class FoundRuns(list[FoundRun]):
    """Experiments that were found, newest first; shown as a table at a prompt.

    Attributes:
        left_out: How many more there are, older than these.
        notes: Sentences on runs whose numbers are not there, or not those of the whole run.
    """

    left_out: int = 0
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        more = f"\n... and {self.left_out} older" if self.left_out else ""
        return "\n".join([(runs_table(self) if self else "No runs.") + more, *self.notes])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def runs_table(found: Sequence[FoundRun]) -> str:
    """Return a line of text for each experiment: when, which sample, how it ended, its rows."""
    names = list(dict.fromkeys(name for one in found for name in one.metrics))
    lines = []
    for one in found:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time))
        rows = ", ".join(f"{count} {stream}" for stream, count in one.rows.items()) or "no rows"
        if one.counting:
            rows = f"counting rows, {rows} so far"
        told = one.exit_status
        if one.reason:
            told += f" ({clipped(one.reason)})"
        if len(one.runs) > 1:
            told += (
                f", resumed {len(one.runs) - 1} times" if len(one.runs) > 2 else ", resumed once"
            )
        if one.attachments:
            told += f", {len(one.attachments)} attached"
        if one.damage:
            told += ", damaged"
        if one.first.replay_of:
            told += f", repeats {one.first.replay_of[:8]}"
        numbers = "".join(f"; {name} {_number(one, name)}" for name in names)
        if one.not_evaluated:
            numbers += f"; not evaluated ({clipped(one.not_evaluated)})"
        line = f"{one.uid[:8]}  {started}  {one.sample:<14} {told}; {rows}{numbers}"
        lines.append(printable(one_line(line)))
    return "\n".join(lines)


def _number(one: FoundRun, name: str) -> str:
    value = one.metrics.get(name)
    if value is None:
        return "-"
    unit = METRICS[name.partition(".")[0]].unit
    text = number_text(value, one.uncertainties.get(name))
    return text if unit == "1" else f"{text} {unit}"


def clipped(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
