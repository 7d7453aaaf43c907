"""The same rows on every maker's potentiostat: what is compared, and when they agree."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from operando.acceptance import Numbers, Outcome, Row, Value, judge
from operando.acceptance.__main__ import ROWS
from operando.acceptance.experiments import EXPERIMENTS
from operando.acceptance.makers import (
    NOT_RESOLVED,
    Compared,
    chosen,
    closing,
    compared,
    declares,
    needs_spectra,
    table,
)
from operando.acceptance.running import CURRENT_GAIN_U, POTENTIOSTATS

ROW = Row(
    "Z1", "a-protocol", "a sample", "a quantity", 10.0, "mV", 5.0, "nobody", "input", "P",
    Value("one", "number"),
)  # fmt: skip
EFFICIENCY = replace(
    ROW, published=80.0, unit="%", measure=Value("one", "initial_ce_pct"), tolerance=1.0
)


def returned(row: Row, outcomes: Mapping[str, Outcome], *, declared: bool = False) -> Compared:
    found = {name: {("one", 0): outcome} for name, outcome in outcomes.items()}
    verdicts = {name: judge(row, each) for name, each in found.items()}
    return compared(row, verdicts, found, lambda name, row: declared)


def of(row: Row, gain: float = 0.0, **numbers: Numbers) -> Compared:
    assert isinstance(row.measure, Value)
    extra = {CURRENT_GAIN_U: Numbers(gain)}
    return returned(
        row,
        {
            name: Outcome("one", numbers={row.measure.metric: each, **extra})
            for name, each in numbers.items()
        },
    )


@pytest.mark.parametrize(
    ("other", "apart", "agree"), [(10.1, 2.0, True), (10.11, 2.2, False), (10.0, 0.0, True)]
)
def test_two_agree_within_twice_the_uncertainty_of_their_difference(
    other: float, apart: float, agree: bool
) -> None:
    told = of(ROW, one=Numbers(10.0, 0.03), other=Numbers(other, 0.04))
    assert told.apart == pytest.approx(apart)
    assert told.agree is agree
    assert told.failed is not agree
    assert f"{'yes' if agree else 'NO'}, {apart:.1f} u" in table([told])


def test_of_three_the_two_farthest_apart_decide() -> None:
    told = of(ROW, one=Numbers(10.0, 0.1), two=Numbers(10.2, 0.1), three=Numbers(10.4, 0.1))
    assert told.apart == pytest.approx(0.4 / math.hypot(0.1, 0.1))
    assert told.agree is False


def test_without_an_uncertainty_only_the_same_number_agrees() -> None:
    assert of(ROW, one=Numbers(1.0), other=Numbers(1.0)).agree is True
    assert of(ROW, one=Numbers(1.0), other=Numbers(1.1)).agree is None
    assert of(ROW, one=Numbers(1.0, 0.1), other=Numbers(9.0)).agree is None


def test_efficiencies_of_different_charges_differ_by_the_gain_times_the_loss() -> None:
    # 20 % are lost; each instrument plates the charge within 0.1 %.
    told = of(EFFICIENCY, gain=1e-3, one=Numbers(80.0, 0.015), other=Numbers(80.03, 0.015))
    assert told.uncertainties["one"] == pytest.approx(math.hypot(0.015, 0.02))
    alone = of(EFFICIENCY, one=Numbers(80.0, 0.015), other=Numbers(80.03, 0.015))
    assert alone.uncertainties["one"] == pytest.approx(0.015)
    other = of(ROW, gain=1e-3, one=Numbers(10.0, 0.015), other=Numbers(10.0, 0.015))
    assert other.uncertainties["one"] == pytest.approx(0.015)


def test_what_an_instrument_refuses_is_told_in_its_words_and_is_no_failure() -> None:
    told = returned(
        ROW,
        {
            "first": Outcome("one", numbers={"number": Numbers(10.0, 0.1)}),
            "second": Outcome("one", refused="it has no galvanostat"),
        },
    )
    assert told.verdicts["second"].word == "refused"
    assert told.agree is None
    assert not told.failed
    said = "\n".join(closing([told], {}))
    assert "second was asked for Z1 and refuses: it has no galvanostat" in said


def test_what_an_instrument_refuses_that_its_driver_declares_is_a_failure() -> None:
    told = returned(
        ROW,
        {
            "first": Outcome("one", numbers={"number": Numbers(10.0, 0.1)}),
            "second": Outcome("one", refused="it does no galvanostatic step"),
        },
        declared=True,
    )
    assert told.owed == {"second"}
    assert told.failed
    said = "\n".join(closing([told], {}))
    assert "Z1 a quantity, second: refuses what its driver declares: it does no galvan" in said


@pytest.mark.parametrize(
    ("potentiostat", "id_", "declared"),
    [
        ("keithley", "A1", True),
        ("keithley", "A6", False),  # spectra
        ("methodscript", "A6", True),
        ("rodeostat", "A1", False),  # a current that is set
        ("rodeostat", "A13", True),
    ],
)
def test_what_a_driver_declares_it_is_asked_for(
    potentiostat: str, id_: str, declared: bool
) -> None:
    row = next(row for row in ROWS if row.id == id_)
    assert declares(potentiostat, row) is declared


def test_a_number_beyond_its_tolerance_is_a_failure_also_where_all_agree() -> None:
    told = of(ROW, one=Numbers(20.0, 0.1), other=Numbers(20.0, 0.1))
    assert told.agree
    assert told.failed
    assert "20.00±0.10 MISSED" in table([told])


def test_what_cannot_be_resolved_is_told_and_not_compared() -> None:
    (name, id_), why = next(iter(NOT_RESOLVED.items()))
    assert name in POTENTIOSTATS
    row = replace(ROW, id=id_)
    told = of(row, methodscript=Numbers(10.0, 0.1), **{name: Numbers(99.0, 0.1)})
    assert told.agree is None
    assert not told.failed
    assert "not resolved" in table([told])
    assert why in "\n".join(closing([told], {}))


def test_the_rows_that_the_comparison_is_about_are_run_and_the_others_say_why_not() -> None:
    kept, left = chosen(ROWS)
    assert {"A1", "A3", "A5", "A6", "A13", "B8", "C1", "C11", "E2"} <= {row.id for row in kept}
    assert len(kept) + sum(len(rows) for rows in left.values()) == len(ROWS)
    for row in kept:
        assert all(EXPERIMENTS[name].instruments == {"potentiostat"} for name in row.experiments)


def test_rows_made_of_spectra_are_known() -> None:
    wanted = {row.id for row in ROWS if needs_spectra(row)}
    assert {"A6", "B13", "C11"} <= wanted
    assert not wanted & {"A1", "A3", "A5", "C1", "B8"}
