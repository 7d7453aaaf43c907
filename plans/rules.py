"""Rules while a run goes on: the stream is judged beside the plan, which acts on what was seen."""

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from instruments.potentiostat.contract import ImpedancePoint, Sample
from instruments.potentiostat.device import PotentiostatDevice
from techniques import OpenCell, Rule

logger = logging.getLogger(__name__)

# Of this many rows of a half-cycle at least, this share may be doubtful before it is said.
DOUBTFUL_SHARE, _FEWEST_ROWS = 0.05, 20
# Rows that are judged at once at most, and how long the judge's thread waits for the next ones.
_ROWS, _WAIT_S = 2000, 0.1
# The streams that tell a judge of changes.
AMENDED_ROWS, SKIPPED_ROWS = "amended", "skipped"
_LEADER, _IMPEDANCE = "potentiostat", "impedance"
_SAMPLE = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
_POINT = (
    "t",
    "spectrum",
    "cycle",
    "half_cycle",
    "step",
    "frequency",
    "z_real",
    "z_imag",
    "flags",
)


class Verdict(Protocol):
    """What a judge has seen; ``operando.analysis.live_verdicts`` says what the kinds are."""

    @property
    def kind(self) -> str:
        """Return the kind."""

    @property
    def t_s(self) -> float:
        """Return the leader's time with which it became sure, s."""

    @property
    def value(self) -> float | None:
        """Return what a rule may compare."""

    @property
    def reason(self) -> str:
        """Return it in words."""

    @property
    def half_cycle(self) -> int:
        """Return the number of the half-cycle."""

    @property
    def in_a_row(self) -> int | None:
        """Return over how many cycles or half-cycles the value holds; ``None``: it is of one."""


class Verdicts(Protocol):
    """Judges the rows of a run as they come; called from one thread."""

    def add(self, rows: Mapping[str, Any], stream: str = ...) -> Sequence[Verdict]:
        """Take rows, as the data of an event page, and return what they made sure."""

    @property
    def never_judged(self) -> Mapping[str, str]:
        """Return kind -> why it cannot be told of this run, as far as is known by now."""

    @property
    def doubtful(self) -> Mapping[int, tuple[int, int]]:
        """Return half-cycle -> how many of its rows are doubtful, of how many.

        Doubtful are rows without a number, which are passed over, and overloaded ones. Under 0:
        of all rows those that tell no half-cycle.
        """


# Makes the judge of a run from what its start document will say.
MakeVerdicts = Callable[[Mapping[str, Any]], Verdicts]


@dataclass(frozen=True)
class Fired:
    """A rule whose event was seen."""

    rule: Rule
    verdict: Verdict


@dataclass
class _Count:
    times: int = 0
    last_s: float = -math.inf


@dataclass
class Watch:
    """Has the rows of a run judged in a thread of its own, and says which rules are due.

    Attributes:
        rules: The rules of the run.
        judge: Judges.
        anew: Makes another judge after one has failed; ``None``: there is none.
        trouble: What failed while judging; empty while nothing has.
        died: Why the run must end: a rule is to open the cell, and nothing is judged any more.
        doubtful: Half-cycle -> how many of its rows are doubtful, of how many; 0: of all.
    """

    rules: Sequence[Rule]
    judge: Verdicts
    anew: Callable[[], Verdicts] | None = None
    trouble: str = ""
    died: str = ""
    doubtful: dict[int, tuple[int, int]] = field(default_factory=dict)
    _alarm: Callable[[str], object] | None = None
    _failures: int = 0
    _doubt_told: bool = False
    _said: set[str] = field(default_factory=set)
    _rows: "SimpleQueue[tuple[str, Any] | None]" = field(default_factory=SimpleQueue)
    _verdicts: "SimpleQueue[Verdict]" = field(default_factory=SimpleQueue)
    _counts: dict[str, _Count] = field(default_factory=dict)
    _thread: threading.Thread | None = None
    _unsubscribe: Callable[[], None] | None = None

    def begin(self, potentiostat: PotentiostatDevice) -> None:
        """Judge what ``potentiostat`` measures from now on."""
        self._alarm = potentiostat.on_alarm
        self._unsubscribe = potentiostat.on_measured(self._row)
        self._thread = threading.Thread(target=self._work, name="rules", daemon=True)
        self._thread.start()

    def go_on_from(self, fired: Iterable[tuple[str, float]]) -> None:
        """Count what fired in earlier runs of the experiment, in order.

        Args:
            fired: The rule's name, and the leader's time with which its event was sure, s.
        """
        for name, t_s in fired:
            self._counts[name] = _Count(self._counts.get(name, _Count()).times + 1, t_s)

    def end(self, timeout_s: float = 10.0) -> None:
        """Judge what has come and stop; callable twice."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._rows.put(None)
            thread.join(timeout_s)

    def not_judged(self) -> dict[str, str]:
        """Return rule -> why its event cannot be seen in this run, as far as is known by now.

        What is new among it is logged as a warning.
        """
        never = self.judge.never_judged
        told = {
            rule.name: f"{kind} cannot be judged: {never[kind]}"
            for rule in self.rules
            if (kind := "hydrogen" if rule.when.amount_umol is not None else rule.when.event)
            in never
        }
        for name, why in told.items():
            if name not in self._said:
                self._said.add(name)
                logger.warning("rule %r does nothing in this run: %s", name, why)
        return told

    @property
    def doubts(self) -> list[str]:
        """Return what must be said of doubtful rows; empty if there were none."""
        told = [_of_rows(number, *rows) for number, rows in sorted(self.doubtful.items())]
        if not told:
            return []
        more = f", and of {len(told) - 3} more" if len(told) > 3 else ""
        which = ", ".join(told[:3])
        return [f"without a number or overloaded, so that rules saw less: {which}{more}"]

    def _look_for_doubtful(self) -> None:
        self.doubtful.update(self.judge.doubtful)
        if self._doubt_told:
            return
        for number, (doubtful, rows) in self.doubtful.items():
            if rows >= _FEWEST_ROWS and doubtful > DOUBTFUL_SHARE * rows:
                self._doubt_told = True
                self._tell(
                    f"{_of_rows(number, doubtful, rows)} so far have no number or are overloaded: "
                    "the rules do not see what was there. Look at the range of the current, and at "
                    "the cables to the cell"
                )
                return

    def read(self, stream: str, reading: Mapping[str, Any]) -> None:
        """Have one event of a follower judged."""
        self._rows.put((stream, {key: [told["value"]] for key, told in reading.items()}))

    def amended(
        self, technique: Mapping[str, Any], limits: Mapping[str, Any], half_cycle: int
    ) -> None:
        """Have judged by another technique, and for other rules, what comes from there on."""
        rules = [rule.model_dump(mode="json") for rule in self.rules]
        told = {
            "technique": [technique],
            "limits": [limits],
            "half_cycle": [half_cycle],
            "rules": [rules],
        }
        self._rows.put((AMENDED_ROWS, told))

    def skipped(self, half_cycle: int) -> None:
        """Have known that this half-cycle did not come to its end."""
        self._rows.put((SKIPPED_ROWS, {"half_cycle": [half_cycle]}))

    def saw(self, verdict: Verdict) -> None:
        """Take what was seen; ``fired`` says what rules make of it."""
        self._verdicts.put(verdict)

    def fired(self) -> Iterator[Fired]:
        """Yield the rules whose events were seen since the last call and that may act again."""
        while True:
            try:
                verdict = self._verdicts.get_nowait()
            except Empty:
                return
            for rule in self.rules:
                if not rule.when.met_by(verdict.kind, verdict.value, verdict.in_a_row):
                    continue
                count = self._counts.setdefault(rule.name, _Count())
                soon = verdict.t_s - count.last_s < rule.not_again_within_s
                # What is to open the cell does so however often and soon it was told before: that
                # may have been in a run that was killed before it was done.
                opens = any(isinstance(action, OpenCell) for action in rule.then)
                if not opens and (count.times >= rule.at_most or (soon and count.times)):
                    continue
                self._counts[rule.name] = _Count(count.times + 1, verdict.t_s)
                yield Fired(rule, verdict)

    def _row(self, row: Sample | ImpedancePoint) -> None:
        self._rows.put((_LEADER if isinstance(row, Sample) else _IMPEDANCE, row))

    def _work(self) -> None:
        while True:
            items = self._next()
            try:
                for stream, rows in _grouped([item for item in items if item is not None]):
                    for verdict in self.judge.add(rows, stream):
                        self.saw(verdict)
                self.not_judged()
                self._look_for_doubtful()
            except Exception as error:
                logger.exception("the judge of the rules failed")
                if not self._begun_anew(error):
                    return
            if None in items:
                return

    def _begun_anew(self, error: Exception) -> bool:
        """Say at once that the judge failed; return whether another one judges from now on.

        A number that cannot be judged must not end weeks of cycling, but a rule that is to open
        the cell must not be left unwatched for weeks either: then the run ends.
        """
        self._failures += 1
        opening = [
            rule.name
            for rule in self.rules
            if any(isinstance(action, OpenCell) for action in rule.then)
        ]
        if opening:
            self.died = self.trouble = (
                f"the judge of the rules failed: {error!r}. Rule {opening[0]!r} is to open the "
                "cell and cannot be watched any more: the run is ended with the cell open"
            )
            self._tell(self.died)
            return False
        try:
            if self.anew is None:
                raise RuntimeError("there is no other judge")
            self.judge = self.anew()
        except Exception:
            logger.exception("no judge of the rules could be begun anew")
            self.trouble = f"the rules were not watched to the end: {error!r}"
            self._tell(self.trouble)
            return False
        times = "once" if self._failures == 1 else f"{self._failures} times"
        self.trouble = f"the judge of the rules failed {times} and was begun anew: {error!r}"
        if self._failures in (1, 10, 100, 1000):
            self._tell(self.trouble)
        return True

    def _tell(self, text: str) -> None:
        logger.error("%s", text)
        if self._alarm is not None:
            try:
                self._alarm(text)
            except Exception:
                logger.exception("an alarm could not be shown")

    def _next(self) -> list[tuple[str, Any] | None]:
        items = [self._rows.get()]
        try:
            while items[-1] is not None and len(items) < _ROWS:
                items.append(self._rows.get_nowait())
        except Empty:
            pass
        return items


def _of_rows(half_cycle: int, doubtful: int, rows: int) -> str:
    of = f"half-cycle {half_cycle}" if half_cycle else "the run, which tell no half-cycle,"
    return f"{doubtful} of {rows} rows of {of}"


def _grouped(items: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield neighbouring rows of one stream as the data of one page."""
    first = 0
    for stop in range(1, len(items) + 1):
        if stop < len(items) and items[stop][0] == items[first][0]:
            continue
        stream, rows = items[first][0], [row for _, row in items[first:stop]]
        first = stop
        if stream == _LEADER:
            yield stream, _page("potentiostat", _SAMPLE, rows)
        elif stream == _IMPEDANCE:
            yield stream, _page("potentiostat_impedance", _POINT, rows)
        else:
            for row in rows:
                yield stream, row


def _page(prefix: str, names: Sequence[str], rows: Sequence[Any]) -> Mapping[str, Any]:
    # Names and fields are in the same order; what follows them is the arrival first of all.
    columns = zip(*(row[: len(names)] for row in rows), strict=True)
    return {
        f"{prefix}_{name}": [float(value) for value in column]
        for name, column in zip(names, columns, strict=True)
    }
