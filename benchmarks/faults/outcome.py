"""What a trial returns, and how much of it is wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """One line of the table.

    Attributes:
        fault: What was broken, and how often.
        expected: What is promised.
        observed: What happened, with figures.
        rows_lost: Rows that had to be there and are not, or not as they were; None: nobody
            compared.
        as_expected: Whether everything else that was promised held.
        tried: False if this computer, or this user, cannot break it like this.
    """

    fault: str
    expected: str
    observed: str
    rows_lost: int | None
    as_expected: bool = True
    tried: bool = True

    @property
    def held(self) -> bool:
        """Return whether the promise held; it did if nothing was tried."""
        return self.as_expected and not self.rows_lost


@dataclass(frozen=True)
class Effort:
    """How much is tried.

    Attributes:
        kills: Processes that are killed.
        power_cuts: Instants at which the power is cut.
        flips: Bits that are flipped, one at a time.
        resumes: Experiments that die and are resumed.
        deaths: Hosts that die while a cell is under current.
        seed: Of everything that is random.
        grace_s: How much later than promised a row may be in the journal or on the disk: not a
            loss, on a computer that does much else besides.
        instruments: Whose wires are broken; none: those of all.
        faults: How; none: in all ways.
    """

    kills: int = 100
    power_cuts: int = 200
    flips: int = 5000
    resumes: int = 9
    deaths: int = 100
    seed: int = 1
    grace_s: float = 0.0
    instruments: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


class NotTriedError(Exception):
    """This computer, or this user, cannot break something; the message says what it takes."""


Trial = Callable[[Path, Effort], Sequence[Outcome]]


def or_none(number: int | None) -> str:
    """Return a number as a cell of a table; a dash where nobody compared anything."""
    return "-" if number is None else str(number)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as a table in Markdown."""
    lines = ["| fault | expected | observed | rows lost | |", "|---|---|---|---:|---|"]
    for outcome in outcomes:
        verdict = "held" if outcome.held else "**NOT HELD**"
        verdict = verdict if outcome.tried else "not tried"
        lines.append(
            f"| {outcome.fault} | {outcome.expected} | {outcome.observed} "
            f"| {or_none(outcome.rows_lost)} | {verdict} |"
        )
    return "\n".join(lines)
