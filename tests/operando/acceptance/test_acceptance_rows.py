"""Rows are data that fits the rest of the project, and a verdict is what the tolerance says."""

import csv
import io
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.acceptance import Combined, Measured, Numbers, Outcome, Row, Value, Verdict, judge
from operando.acceptance.__main__ import ROWS, _Judging, lives, main
from operando.acceptance.campaign import _batches, _Progress, expected_s
from operando.acceptance.conflicts import CONFLICTS
from operando.acceptance.experiments import EXPERIMENTS
from operando.acceptance.identities import TRUTHS
from operando.acceptance.measures import Coverage, Total
from operando.acceptance.observations import OBSERVATIONS
from operando.acceptance.running import main as run_experiments
from operando.acceptance.running import read_outcomes
from operando.acceptance.table import (
    NO_HARDWARE,
    TITLE,
    closing,
    csv_table,
    markdown,
    summary,
    text_table,
)
from operando.analysis import metrics
from operando.configuration import load_cell, load_protocol, names
from operando.registry import METRICS
from operando.runs import Run
from operando.simulation import cell_presets
from techniques import for_cell

ROW = Row(
    "Z1", "a-protocol", "a sample", "a quantity", 10.0, "mV", 0.5, "nobody", "input", "P",
    Value("one", "number"),
)  # fmt: skip


def outcome(name: str = "one", seed: int = 0, **numbers: Numbers) -> Outcome:
    return Outcome(name, seed, uid="u", exit_status="success", numbers=numbers)


def given_value(value: float, **changes: object) -> Verdict:
    row = replace(ROW, **changes)  # type: ignore[arg-type]
    return judge(row, {("one", 0): outcome(number=Numbers(value, 0.1))})


WANTED_IDS = {
    *(f"A{number}" for number in (*range(1, 11), *range(12, 20))), "A8b",
    *(f"B{number}" for number in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14)),
    *(f"C{number}" for number in range(1, 12)), "E1", "E2", "E4",
}  # fmt: skip


def test_every_row_that_is_wanted_is_there() -> None:
    assert {row.id for row in ROWS} >= WANTED_IDS


def test_what_cannot_be_met_is_told_and_not_tried() -> None:
    untried = {row.id for row in ROWS if row.measure is None}
    assert untried == {"A11", "B7", "C4", "E3", "E5", "E6"}
    for row in ROWS:
        assert (row.measure is None) <= bool(row.remark)
        assert (row.measure is not None) <= (row.published is not None)


def test_every_row_names_experiments_that_there_are() -> None:
    for row in ROWS:
        assert set(row.experiments) <= set(EXPERIMENTS), row.id


def test_every_metric_of_a_row_is_one_of_the_registry_or_is_observed() -> None:
    extra = {
        "completed", "refused", "injection_interval_min", "metrics_that_differ",
        "ce_off_the_ledger", "ledger_residual_mah_cm2", "zhs_per_hydrogen", "hydrogen_recovered",
        "thickness_off_um", "soft_short_sensitivity", "soft_short_false", "shunt_recovered",
        "band_3633_detected", "band_980_detected", "band_465_detected", "dummy_resistance_ohm",
        "dummy_charge_ratio", "dummy_potential_ratio", "dummy_current_ratio",
        "dummy_true_charge_ratio", "dummy_open_circuit_mv", "dummy_hold_resistance_ohm",
        "dummy_sweep_resistance_ohm",
    }  # fmt: skip

    def metrics_of(measure: object) -> set[str]:
        if isinstance(measure, Combined):
            return metrics_of(measure.first) | metrics_of(measure.second)
        return {measure.metric} if isinstance(measure, Value | Total) else set()

    for row in ROWS:
        assert metrics_of(row.measure) <= set(METRICS) | extra, row.id


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_fits_its_files(name: str) -> None:
    from operando.acceptance.running import written

    experiment = EXPERIMENTS[name]
    assert experiment.protocol in names("protocol")
    assert experiment.cell in names("cell")
    assert set(experiment.observations) <= set(OBSERVATIONS)
    assert set(experiment.truths) <= set(TRUTHS)
    protocol, cell = written(experiment)
    for_cell(protocol.technique, cell)
    changed = protocol != load_protocol(experiment.protocol)
    changed |= cell != load_cell(experiment.cell)
    assert changed == (experiment.told != "" and not experiment.faults) or experiment.faults
    assert not changed or experiment.told


def test_every_simulated_cell_is_there() -> None:
    assert {one.preset for one in EXPERIMENTS.values()} <= set(cell_presets())


@pytest.mark.parametrize(
    ("value", "changes", "word"),
    [
        (10.5, {}, "ok"),
        (10.51, {}, "MISSED"),
        (9.5, {}, "ok"),
        (10.2, {"tolerance": 0.02, "relative": True}, "ok"),
        (10.21, {"tolerance": 0.02, "relative": True}, "MISSED"),
        (30.0, {"compared": "at least"}, "ok"),
        (9.4, {"compared": "at least"}, "MISSED"),
        (-30.0, {"compared": "at most"}, "ok"),
        (10.6, {"compared": "at most"}, "MISSED"),
        (0.001, {"compared": "sign"}, "ok"),
        (-0.001, {"compared": "sign"}, "MISSED"),
        (0.0, {"compared": "sign"}, "MISSED"),
    ],
)
def test_a_verdict_is_what_the_tolerance_says(
    value: float, changes: dict[str, object], word: str
) -> None:
    assert given_value(value, **changes).word == word


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3))
def test_a_wider_tolerance_never_turns_ok_into_missed(value: float, more: float) -> None:
    narrow = given_value(value).word
    assert narrow == "MISSED" or given_value(value, tolerance=0.5 + more).word == "ok"


def test_an_undefined_number_misses_with_its_reason() -> None:
    found = judge(ROW, {("one", 0): outcome(number=Numbers(None, reason="the cell was open"))})
    assert (found.word, found.why) == ("MISSED", "the cell was open")


def test_an_experiment_that_failed_misses_with_its_reason() -> None:
    failed = Outcome("one", failed="the cable came off")
    assert judge(ROW, {("one", 0): failed}).why == "the cable came off"


def test_a_missing_part_of_the_project_is_not_yet_there_and_says_which() -> None:
    missing = Outcome("one", not_yet="no protocol file is called x")
    assert judge(ROW, {("one", 0): missing}).why == "no protocol file is called x"
    unknown = judge(ROW, {("one", 0): outcome()})
    assert (unknown.word, unknown.why) == ("not yet", "the analysis has no metric number")


def test_lists_are_reduced_as_the_row_says() -> None:
    listed = Numbers([1.0, None, 3.0, 5.0], [0.1, None, 0.1, 0.3], "one cycle was lost")
    runs = {("one", 0): outcome(number=listed)}

    def of(**options: object) -> Measured:
        return Value("one", "number", **options).of(runs)  # type: ignore[arg-type]

    assert of(first=2) == Measured(3.0, 0.1)
    assert of(first=1) == Measured(None, reason="one cycle was lost")
    assert of(first=9).value is None
    assert of(how="mean").value == 3.0
    assert of(how="mean").uncertainty == pytest.approx(0.5 / 3)
    assert of(how="sd", first=2).value == pytest.approx(math.sqrt(2))
    assert of(how="last") == Measured(5.0, 0.3)
    assert of(how="mean", first=0, last=9).value is None


def test_two_numbers_are_combined_with_their_uncertainties() -> None:
    runs = {
        ("one", 0): outcome(number=Numbers(6.0, 0.3)),
        ("two", 0): outcome("two", number=Numbers(3.0, 0.4)),
    }
    first, second = Value("one", "number"), Value("two", "number")
    assert Combined("difference", first, second).of(runs) == Measured(3.0, 0.5)
    ratio = Combined("ratio", first, second).of(runs)
    assert ratio.value == 2.0
    assert ratio.uncertainty == pytest.approx(2 * math.hypot(0.05, 0.4 / 3))
    assert Combined("relative_change_pct", first, second).of(runs).value == pytest.approx(100)


def test_the_median_of_seeds_is_compared() -> None:
    runs = {("one", seed): outcome(number=Numbers(9.0 + seed)) for seed in range(3)}
    found = judge(ROW, runs, (0, 1, 2))
    assert found.measured is not None
    assert found.measured.value == 10.0


def test_coverage_counts_seeds_and_tells_its_interval() -> None:
    runs = {
        ("one", seed): outcome(covered=Numbers([1.0, 1.0 if seed else 0.0, None]))
        for seed in range(10)
    }
    found = Coverage("one", "covered", seeds=10).of(runs)
    assert found.value == 0.95
    assert found.reason == "19 of 20, 95 % interval 0.751-0.999"


def test_a_seed_of_which_nothing_is_known_counts_as_beyond() -> None:
    runs = {("one", seed): outcome(covered=Numbers([1.0, 1.0])) for seed in range(9)}
    runs["one", 9] = outcome(covered=Numbers(None, reason="its rows are missing"))
    found = Coverage("one", "covered", seeds=10).of(runs)
    assert found.value == 0.9
    assert str(found.reason).startswith("18 of 20,")
    assert "1 seeds undefined, counted as beyond: its rows are missing" in str(found.reason)


def test_a_row_that_its_source_contradicts_is_measured_and_not_compared() -> None:
    row = replace(ROW, kind="X", remark="the source tells two of them")
    found = judge(row, {("one", 0): outcome(number=Numbers(99.0))})
    assert (found.word, found.why) == ("conflict", "the source tells two of them")
    assert summary([found, given_value(10.0)]) == "1 of 1 rows within their tolerance"


def test_a_share_within_is_told_with_what_numbers_are_off_by_and_twice_their_uncertainty() -> None:
    runs = {
        ("one", seed): outcome(
            seed=seed, covered=Numbers([1.0]), off=Numbers([0.1 * seed - 0.2], [0.15])
        )
        for seed in range(5)
    }
    found = Coverage("one", "covered", seeds=5, off="off", unit="mV").of(runs)
    assert str(found.reason).endswith("; off by 0.1 mV, 2 u 0.3 mV (medians)")


def test_the_table_says_what_it_is_and_what_it_is_not() -> None:
    verdicts = [given_value(10.0), given_value(12.0)]
    text = text_table(verdicts)
    assert text.splitlines()[2].split()[0] == "Z1"
    assert "10.00±0.10" in text
    assert "reproduc" not in TITLE
    lines = closing(verdicts)
    assert lines[-1] == NO_HARDWARE
    assert "1 of 2 rows within their tolerance, 1 MISSED" in lines
    assert all(f"  {conflict}" in lines for conflict in CONFLICTS)
    document = markdown(verdicts)
    assert document.startswith(f"# {TITLE}")
    assert document.count("| Z1 |") == 2
    first, second = csv.DictReader(io.StringIO(csv_table(verdicts)))
    assert (first["measured"], first["verdict"]) == ("10.0", "ok")
    assert (second["measured"], second["verdict"]) == ("12.0", "MISSED")


def test_rows_are_listed_without_running_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "a1", "B3"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in told} == {"A1", "B3"}
    assert main(["Q7"]) == 2
    assert "no row is called Q7" in capsys.readouterr().err


def test_a_sum_over_seeds_tells_how_often_in_a_thousand_hours() -> None:
    runs = {("one", seed): outcome(number=Numbers(float(seed == 3))) for seed in range(20)}
    found = Total("one", "number", 20, 10.0).of(runs)
    assert found.value == 1.0
    assert found.reason == "1 in 200 h of 20 cells, 95 % interval 0.13-27.86 in 1000 h"
    runs["one", 7] = outcome(number=Numbers(None, reason="recorded too coarsely"))
    assert Total("one", "number", 20, 10.0).of(runs).reason == "seed 7: recorded too coarsely"


def test_a_life_told_as_a_lower_bound_stays_one_in_the_median() -> None:
    rows = {row.id + row.sample: row for row in lives(3)}
    assert {row.quantity for row in rows.values()} == {
        "life until the hard short, median of 3 seeds"
    }
    censored, told = rows["B3ZrO2"], rows["B2bare Zn"]
    assert (censored.compared, censored.published_text) == ("at least", ">=3800")
    assert not censored.agrees(3799.0)
    assert (told.tolerance, told.compared) == (0.15, "equal")


def test_rows_are_told_as_soon_as_all_of_their_experiments_have_ended() -> None:
    both = replace(
        ROW, id="Z2", measure=Combined("ratio", Value("one", "number"), Value("two", "number"))
    )
    told: list[str] = []
    seen = _Judging([ROW, both], (0,), told.append)
    runs = {("one", 0): outcome(number=Numbers(10.2))}
    seen(runs)
    seen(runs)
    assert told == ["Z1 a sample, a quantity: 10.2 mV (10, 0.5): ok"]
    seen(runs | {("two", 0): outcome("two", number=Numbers(1.0))})
    assert [line.split()[0] for line in told] == ["Z1", "Z2"]


def test_the_time_to_come_is_told_from_what_experiments_cost_and_then_from_what_they_took() -> None:
    name = "zn-caco3-life"
    cost_s = EXPERIMENTS[name].cost_s
    wanted = [(name, seed) for seed in range(4)]
    assert expected_s(wanted, 2) == 2 * cost_s
    assert expected_s(wanted, 1) == 4 * cost_s
    assert expected_s(wanted, 9) == cost_s
    progress = _Progress(wanted, 2)
    told = [progress.ended(Outcome(name, seed)) for seed in range(4)]
    assert told[0].startswith("[1/4, 0 min 00 s, some ")
    assert told[-1] == "[4/4, 0 min 00 s]"


def test_short_experiments_share_processes_and_what_waits_for_its_clock_has_one_alone() -> None:
    wanted = [(name, seed) for name in EXPERIMENTS for seed in range(3)]
    batches = _batches([*wanted, *wanted])
    assert sorted(one for batch in batches for one in batch) == sorted(wanted)
    for batch in batches:
        first = EXPERIMENTS[batch[0][0]]
        assert len(batch) == 1 or not any(EXPERIMENTS[name].waits for name, _ in batch)
        assert len(batch) == 1 or first.cost_s <= 5.0


def test_one_that_fails_tells_why_and_the_next_in_its_process_still_runs(tmp_path: Path) -> None:
    """A data folder that is a file: each fails, and each is told by itself."""
    data, out = tmp_path / "data", tmp_path / "outcomes.json"
    data.write_text("no folder")
    names = ["na-znag:0", "dummy-rc:2"]
    try:
        assert run_experiments([*names, *_options(data, tmp_path / "truth", out)]) == 0
    finally:
        logging.disable(logging.NOTSET)
    found = read_outcomes(out.read_text())
    assert [(one.experiment, one.seed) for one in found] == [("na-znag", 0), ("dummy-rc", 2)]
    assert all(one.failed for one in found)


def _options(data: Path, truth: Path, out: Path) -> list[str]:
    return ["--data", str(data), "--truth", str(truth), "--out", str(out)]


def test_what_a_failed_run_left_is_no_number_of_its_experiment() -> None:
    runs = {
        ("one", 0): replace(
            outcome(number=Numbers(10.0, 0.1), completed=Numbers(0.0)), failed="rows were lost"
        )
    }
    found = judge(ROW, runs)
    assert (found.word, found.why) == ("MISSED", "rows were lost")
    assert Value("one", "completed").of(runs).value == 0.0


@pytest.mark.parametrize(("laser", "detected"), [(1.0, 0.0), (0.0, None)])
def test_a_band_that_never_shows_is_not_detected_while_dark_spectra_decide_nothing(
    make_run: Callable[..., Any],
    synthetic: Any,
    tmp_path: Path,
    laser: float,
    detected: float | None,
) -> None:
    told = make_run()
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=200))
    axis = np.linspace(150, 3900, 1024)
    when = np.array([math.nan] * 20 + [600.0, 900.0, 1200.0, 1500.0])
    told.stream(
        "raman",
        "raman",
        {"t_before": when, "t_after": when + 30, "laser": np.full(24, laser)},
        {
            "counts": np.stack([synthetic.spectrum_counts(axis, seed=seed) for seed in range(24)]),
            "dark": np.full((24, 1024), 100.0),
        },
        {"raman_wavenumber": axis.tolist()},
    )
    told.stop()
    run = Run.from_documents(told.documents)
    found = OBSERVATIONS["bands_detected"](run, metrics(run), None, tmp_path)
    assert found["band_3633_detected"].value == detected
