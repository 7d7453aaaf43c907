"""Rows on another maker's potentiostat, beside those on the standard one."""

import pytest

from instruments.bench_file import BenchFile
from operando.acceptance import Numbers, Outcome, Row, Value, judge
from operando.acceptance.__main__ import ROWS
from operando.acceptance.experiments import EXPERIMENTS
from operando.acceptance.running import POTENTIOSTATS, STANDARD_POTENTIOSTAT, _bench, written
from operando.acceptance.table import side_by_side
from techniques import ImpedanceSpectrum, elementary_steps, for_cell

ROW = Row(
    "Z1", "a-protocol", "a sample", "a quantity", 10.0, "mV", 0.5, "nobody", "input", "P",
    Value("one", "number"),
)  # fmt: skip


def spectra_in(name: str, *, spectra: bool) -> int:
    protocol, cell = written(EXPERIMENTS[name], spectra=spectra)
    steps = elementary_steps(for_cell(protocol.technique, cell))
    return sum(isinstance(step, ImpedanceSpectrum) for step in steps)


def test_spectra_between_half_cycles_can_be_left_out_and_others_stay() -> None:
    assert spectra_in("na-znag", spectra=True) > 0
    assert spectra_in("na-znag", spectra=False) == 0
    alone = "na-znag-impedance"
    assert spectra_in(alone, spectra=False) > 0


def test_rules_look_at_a_cell_without_a_spectrum_where_there_is_none() -> None:
    def actions(*, spectra: bool) -> list[list[str]]:
        protocol, _ = written(EXPERIMENTS["na-znag-hard-short"], spectra=spectra)
        return [[one.do for one in rule.then] for rule in protocol.rules or ()]

    with_spectra, without = actions(spectra=True), actions(spectra=False)
    assert any("impedance_spectrum" in each for each in with_spectra)
    assert without == [
        [one for one in each if one != "impedance_spectrum"] for each in with_spectra
    ]
    assert all(without)


@pytest.mark.parametrize("potentiostat", POTENTIOSTATS)
def test_the_bench_of_an_experiment_is_the_standard_one_but_for_its_leader(
    potentiostat: str,
) -> None:
    bench: BenchFile = _bench(EXPERIMENTS["na-znag-image"], potentiostat)
    standard = _bench(EXPERIMENTS["na-znag-image"], STANDARD_POTENTIOSTAT)
    assert bench.instruments["potentiostat"].language == potentiostat
    assert {**bench.instruments, "potentiostat": None} == {
        **standard.instruments,
        "potentiostat": None,
    }
    assert bench.limits == standard.limits


def test_rows_stand_side_by_side_with_how_far_they_are_apart() -> None:
    verdicts = {
        maker: [judge(ROW, {("one", 0): Outcome("one", 0, numbers={"number": numbers})})]
        for maker, numbers in (
            ("first", Numbers(10.0, 0.03)),
            ("second", Numbers(10.1, 0.04)),
        )
    }
    told = side_by_side(verdicts)
    assert "2.0 u" in told
    assert "ok, ok" in told
    lacking = Outcome("one", 0, not_yet="it does no impedance spectrum")
    verdicts["second"] = [judge(ROW, {("one", 0): lacking})]
    told = side_by_side(verdicts)
    assert "ok, not yet" in told
    assert "Z1: it does no impedance spectrum" in told


def test_the_rows_of_efficiency_need_no_spectrum() -> None:
    names = {name for row in ROWS if row.id in ("A1", "A3", "A5", "C1") for name in row.experiments}
    assert names
    for name in names:
        assert spectra_in(name, spectra=False) == 0
