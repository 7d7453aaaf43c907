"""The judge of a resumed run has seen what its experiment was before."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from instruments.potentiostat import Sample
from operando.analysis.live_verdicts import Verdict, Verdicts
from operando.resume._judge import judges_going_on, without_rules
from operando.runs import Run
from techniques import Cell, Protocol

Array = NDArray[np.float64]
NAMES = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
CURRENT_A, SECONDS, REST = 1.131e-3, 200, 20
HARD = {"name": "end", "when": {"event": "hard_short"}, "then": [{"do": "open_cell"}]}


def halves(volts: Sequence[float]) -> dict[str, Array]:
    """Return the rows of half-cycles of these |E|, plating first, a row a second, and rests."""
    rows: list[list[float]] = []
    t_s = 0.0
    for number, volt in enumerate(volts, 1):
        role = -1 if number % 2 else 1
        for kind, lasts_s in ((role, SECONDS), (0, REST)):
            for since_s in range(1, lasts_s + 1):
                t_s += 1.0
                where = [(number + 1) // 2, number, 2 * number - (kind != 0), kind, 0]
                rows.append([t_s, since_s, kind * volt, kind * CURRENT_A, *where])
    return dict(zip(NAMES, np.array(rows).T, strict=True))


def part(rows: dict[str, Array], begin: int, end: int | None = None) -> dict[str, Array]:
    return {name: values[begin:end] for name, values in rows.items()}


def page(rows: dict[str, Array]) -> dict[str, Array]:
    return {f"potentiostat_{name}": values for name, values in rows.items()}


@pytest.fixture(name="go_on")
def _go_on(make_run: Callable[..., Any]) -> Callable[..., Any]:
    """Return what judges rows after an interruption at a row of them.

    ``late`` rows before it are only known by the instrument; ``forgets`` what was before.
    """

    def go_on(
        sample: Any, rows: dict[str, Array], at: int, *, late: int = 0, forgets: bool = False
    ) -> list[Verdict]:
        told = make_run(sample)
        told.documents[0][1]["rules"] = [HARD]
        recorded = part(rows, 0, at - late)
        told.stream("potentiostat", "potentiostat", recorded)
        told.stop()
        run = Run.from_documents(told.documents)
        fresh = [
            (0.0, Sample._make([*row[:4], *map(int, row[4:]), 0, math.nan]))
            for row in np.array([part(rows, at - late, at)[name] for name in NAMES]).T.tolist()
        ]
        begun = part(rows, 0, at)
        passed = {
            role: float(np.sum(begun["role"] == role)) * CURRENT_A / 3.6 / 1.131 for role in (-1, 1)
        }
        start = {
            **run.start,
            "resume": {
                "half_cycle": int(begun["half_cycle"][-1]),
                "plated_mah_cm2": passed[-1],
                "stripped_mah_cm2": passed[1],
            },
        }
        make = Verdicts if forgets else judges_going_on(Verdicts, (run,), fresh)
        return list(make(start).add(page(part(rows, at))))

    return go_on


# A symmetric cell sinks to 15 % of its |E| before the interruption, and to 8 % after it.
SINKING = [0.06] * 12 + [0.009] * 6 + [0.0045] * 8
AT = 17 * (SECONDS + REST) + 90  # within half-cycle 18


@pytest.mark.parametrize("late", [0, 50, 5 * (SECONDS + REST)])
def test_a_hard_short_is_told_by_the_baseline_of_the_whole_experiment(
    go_on: Callable[..., Any], synthetic: Any, late: int
) -> None:
    rows = halves(SINKING)
    whole = Verdicts({"sample": synthetic.SYMMETRIC_CELL}).add(page(rows))
    seen = go_on(synthetic.SYMMETRIC_CELL, rows, AT, late=late)
    assert [one.kind for one in seen if one.kind == "hard_short"] == ["hard_short"]
    assert [one for one in seen if one.kind == "hard_short"] == [
        one for one in whole if one.kind == "hard_short"
    ]
    # Of these rows alone it is none: what it had sunk to would be the baseline.
    alone = go_on(synthetic.SYMMETRIC_CELL, rows, AT, forgets=True)
    assert "hard_short" not in {one.kind for one in alone}


def test_a_short_that_nobody_heard_of_is_told_again(
    go_on: Callable[..., Any], synthetic: Any
) -> None:
    rows = halves([0.06] * 12 + [0.002] * 8)
    at = 16 * (SECONDS + REST) + 90
    told = Verdicts({"sample": synthetic.SYMMETRIC_CELL}).add(page(rows))
    whole = [one.half_cycle for one in told if one.kind == "hard_short"]
    assert whole == [13]
    seen = [one for one in go_on(synthetic.SYMMETRIC_CELL, rows, at) if one.kind == "hard_short"]
    assert len(seen) == 1
    assert seen[0].half_cycle >= 17


def test_where_no_judge_can_be_made_of_the_first_run_the_next_begins_anew(
    make_run: Callable[..., Any], synthetic: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.documents[0][1]["rules"] = [HARD]
    told.stop()
    run = Run.from_documents(told.documents)

    def make(start: Any) -> Verdicts:
        if "resume" not in start:
            raise ValueError("thresholds of another version")
        return Verdicts(start)

    passed = {"half_cycle": 3, "plated_mah_cm2": 1.0, "stripped_mah_cm2": 1.0}
    judge = judges_going_on(make, (run,), ())({**run.start, "resume": passed})
    assert "the judge begins anew" in caplog.text
    rows = halves([0.06] * 12 + [0.002] * 8)
    found = [one for one in judge.add(page(rows)) if one.kind == "hard_short"]
    assert [one.half_cycle for one in found] == [13]


@pytest.mark.parametrize("late", [0, 30])
def test_what_was_recorded_of_a_strip_that_goes_on_counts_once(
    go_on: Callable[..., Any], synthetic: Any, late: int
) -> None:
    # Plated once, and stripped by a quarter more: the interruption is in the middle of the strip.
    rows = halves([0.06, 0.06])
    strip = part(rows, SECONDS + REST, 2 * SECONDS + REST)
    more = part(strip, SECONDS - SECONDS // 4)
    for name in ("t", "step_t"):
        more = {**more, name: more[name] + SECONDS // 4}
    rows = part(rows, 0, 2 * SECONDS + REST)
    rows = {name: np.concatenate((rows[name], more[name])) for name in NAMES}
    seen = go_on(synthetic.HALF_CELL, rows, SECONDS + REST + 100, late=late)
    (beyond,) = [one for one in seen if one.kind == "strip_overrun"]
    plated_until_s, begun_s = SECONDS, SECONDS + REST
    assert beyond.t_s == pytest.approx(begun_s + 1.05 * plated_until_s, abs=12)


def test_that_the_record_tells_no_rules_is_said(synthetic: Any) -> None:
    cycling = {"type": "half_cell_cycling", "current_density_ma_cm2": 1.0, "cycles": 5}
    protocol = Protocol.model_validate(
        {"name": "p", "cell": "c", "technique": {**cycling, "capacity_mah_cm2": 0.5}}
    )
    program = protocol.program(Cell.model_validate(synthetic.HALF_CELL))
    start = {"uid": "1", "sample": synthetic.HALF_CELL, "technique": program.model_dump()}
    said = without_rules(Run(start, None, {}))
    assert "'end at a hard short' and 'end when metal comes from nowhere', which a new" in said
    assert without_rules(Run({**start, "rules": []}, None, {})) == ""
    rest = {**start, "technique": {"type": "open_circuit", "duration_s": 5.0}}
    assert without_rules(Run(rest, None, {})) == ""
