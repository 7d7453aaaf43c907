"""A row of the table as data, and how it is judged."""

from dataclasses import dataclass
from typing import Literal

from operando.acceptance.measures import (
    Coverage,
    Measure,
    Measured,
    NotYetError,
    Outcomes,
    RefusedError,
    Total,
    median_life,
)

Kind = Literal["P", "I", "C", "X", "E"]
ValueIs = Literal["input", "calibrated", "emergent", "identity"]


@dataclass(frozen=True)
class Row:
    """One published value and what returns it.

    Attributes:
        id: As in the list of acceptance, e.g. ``A1``.
        protocol: What is run, in words or the name of a protocol file.
        sample: On what.
        quantity: Which quantity.
        published: The published value; None: the row is told in ``remark`` and not measured.
        unit: Of it.
        tolerance: Allowed difference, in the unit or as a share of the published value.
        relative: Whether ``tolerance`` is a share.
        source: Where the value is from.
        value_is: ``input`` the simulated cell was given it, ``calibrated`` was adjusted until it
            returned it, ``emergent`` returned it by itself, ``identity`` no paper is needed.
        kind: ``P`` reproduced by a model, ``I`` phenomenological input, ``C`` consistency check,
            ``X`` cannot be met: the source contradicts it, or does not tell how it was measured;
            ``E`` evidence of another kind.
        measure: Where the number comes from; None for what is not measured.
        compared: ``equal`` within the tolerance; ``at least`` or ``at most`` the published value,
            the tolerance allowed; ``sign``: only the direction.
        remark: What a reader must know.
        life: Whether it is a life, of which `make acceptance-long` takes the median of 20 seeds.
        told: Whether what the number rests on (an interval) is printed below the table.
    """

    id: str
    protocol: str
    sample: str
    quantity: str
    published: float | None
    unit: str
    tolerance: float
    source: str
    value_is: ValueIs
    kind: Kind
    measure: Measure | None
    relative: bool = False
    compared: Literal["equal", "at least", "at most", "sign"] = "equal"
    remark: str = ""
    life: bool = False
    told: bool = False

    @property
    def seeds(self) -> int:
        """Return of how many seeds it needs its experiments by itself."""
        return self.measure.seeds if isinstance(self.measure, Coverage | Total) else 1

    @property
    def experiments(self) -> tuple[str, ...]:
        """Return the names of the experiments it needs, each once."""
        if self.measure is None:
            return ()
        return tuple(dict.fromkeys(self.measure.experiments()))

    @property
    def allowed(self) -> str:
        """Return the tolerance as it is printed."""
        if self.compared == "sign":
            return "sign"
        if self.relative:
            return f"{100 * self.tolerance:g} %"
        return f"{self.tolerance:g}"

    @property
    def published_text(self) -> str:
        """Return the published value as it is printed."""
        if self.published is None:
            return "-"
        if self.compared == "sign":
            return "+" if self.published > 0 else "-"
        sign = {"at least": ">=", "at most": "<="}.get(self.compared, "")
        return f"{sign}{self.published:.5g}"

    def agrees(self, value: float) -> bool:
        """Return whether a value lies within the tolerance."""
        if self.published is None:
            raise ValueError(f"row {self.id} publishes no value to compare with")
        allowed = self.tolerance * (abs(self.published) if self.relative else 1.0)
        # A difference of decimals is compared, not its last bit.
        allowed += 1e-12 * abs(self.published)
        if self.compared == "sign":
            return value * self.published > 0
        if self.compared == "at least":
            return value >= self.published - allowed
        if self.compared == "at most":
            return value <= self.published + allowed
        return abs(value - self.published) <= allowed


Word = Literal["ok", "MISSED", "not yet", "refused", "not tried", "conflict"]


@dataclass(frozen=True)
class Verdict:
    """A row with what was measured.

    Attributes:
        row: The row.
        word: ``ok``, ``MISSED``, ``not yet`` (a part of the project is missing), ``refused`` (the
            instrument does not do it), ``not tried``,
            ``conflict`` (measured, and not compared: the source contradicts itself).
        measured: The number; None where nothing was.
        why: Why it missed or is not there.
    """

    row: Row
    word: Word
    measured: Measured | None
    why: str = ""


def judge(row: Row, outcomes: Outcomes, seeds: tuple[int, ...] = (0,)) -> Verdict:
    """Compare a row with what its experiments returned.

    Args:
        row: The row.
        outcomes: What came of the experiments, by name and seed.
        seeds: The median over several of them is compared.
    """
    if row.measure is None:
        return Verdict(row, "not tried", None, row.remark)
    try:
        each = [row.measure.of(outcomes, seed) for seed in seeds]
    except RefusedError as error:
        return Verdict(row, "refused", None, str(error))
    except NotYetError as error:
        return Verdict(row, "not yet", None, str(error))
    measured = each[0] if len(each) == 1 else median_life(each)
    if measured.value is None:
        return Verdict(row, "MISSED", measured, measured.reason or "undefined")
    if row.kind == "X":
        return Verdict(row, "conflict", measured, row.remark)
    if row.agrees(measured.value):
        return Verdict(row, "ok", measured)
    return Verdict(row, "MISSED", measured, row.remark)
