import csv
import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any

import pytest

from operando.analysis import Metric
from operando.comparison import (
    ComparedRun,
    ComparisonError,
    checklist,
    compare,
    comparison_csv,
    comparison_text,
)
from operando.pages import comparison_page
from operando.plots import DrawnSheet
from operando.plots.compared import compared_sheets
from operando.registry import METRICS
from techniques import Cell

ZINC = {"material": "Zn", "area_cm2": 1.0, "metal": "Zn", "thickness_um": 100}
Value = float | list[float | None] | None


def _run(
    uid: str,
    label: str,
    values: Mapping[str, Value] | None = None,
    *,
    material: str = "Cu",
    electrolyte: str = "2 mol/L ZnSO4",
    metal: str = "Zn",
    **told: Any,
) -> ComparedRun:
    """Return a run with some metrics; all others have none."""
    cell = Cell.model_validate(
        {
            "cell_id": label,
            "metal": metal,
            "working_electrode": {"material": material, "area_cm2": 1.0},
            "counter_electrode": {**ZINC, "material": metal, "metal": metal},
            "electrolyte": {"composition": electrolyte},
            **told,
        }
    )
    numbers = {
        name: Metric(None, one.unit, reason=f"no {name} in this test")
        for name, one in METRICS.items()
    }
    for name, value in (values or {}).items():
        numbers[name] = Metric(value, METRICS[name].unit)
    start = {"uid": uid, "time": 1.7e9, "protocol": "ce", "operando_version": "0.1.0"}
    return ComparedRun(start, (uid,), numbers, cell, {}, (1.0,), None, True, ())


def _three_and_two() -> list[ComparedRun]:
    runs = [
        _run(f"cu{k}", f"CU-{k}", {"initial_ce_pct": ce, "ce_pct": [ce, 99.0 + k]})
        for k, ce in enumerate((96.0, 97.0, 98.0))
    ]
    runs += [
        _run(f"ag{k}", f"AG-{k}", {"initial_ce_pct": ce, "ce_pct": [ce, 99.9]}, material="Zn@Ag")
        for k, ce in enumerate((99.0, 99.4))
    ]
    return runs


def test_mean_and_deviation_are_over_cells_and_say_over_how_many() -> None:
    found = compare(_three_and_two())
    of = found.summaries["initial_ce_pct"]
    assert list(of) == ["Cu", "Zn@Ag"]
    assert (of["Cu"].mean, of["Cu"].count) == (97.0, 3)
    assert of["Cu"].sd == pytest.approx(1.0)
    assert of["Zn@Ag"].mean == pytest.approx(99.2)
    assert of["Zn@Ag"].sd == pytest.approx(0.4 / math.sqrt(2))


def test_runs_of_one_cell_are_one_cell_unless_each_is_said_to_be_its_own() -> None:
    runs = [_run(f"r{k}", "CU-1", {"initial_ce_pct": ce}) for k, ce in enumerate((96.0, 98.0))]
    runs.append(_run("r2", "CU-2", {"initial_ce_pct": 99.0}))
    found = compare(runs)
    summary = found.summaries["initial_ce_pct"]["Cu"]
    assert (summary.count, summary.mean) == (2, pytest.approx(98.0))  # (97 + 99) / 2
    assert any("cell CU-1 has 2 runs" in note for note in found.notes)
    each = compare(runs, cell_per_run=True).summaries["initial_ce_pct"]["Cu"]
    assert (each.count, each.mean) == (3, pytest.approx(97.666667))


def test_one_cell_has_no_deviation_and_says_so() -> None:
    summary = compare([_run("a", "CU-1", {"initial_ce_pct": 97.0})]).summaries["initial_ce_pct"]
    assert summary["Cu"].mean == 97.0
    assert summary["Cu"].sd is None
    assert summary["Cu"].reason == "one cell: no scatter"


def test_a_run_without_a_metric_is_left_out_of_its_mean_with_the_reason() -> None:
    runs = [*_three_and_two()[:3], _run("x", "CU-9")]
    summary = compare(runs).summaries["initial_ce_pct"]["Cu"]
    assert (summary.mean, summary.count, len(summary.cells)) == (97.0, 3, 4)
    assert summary.reason == "CU-9: no initial_ce_pct in this test"
    nowhere = compare(_three_and_two()).summaries
    assert "reservoir_ce_pct" not in nowhere  # no cell has it: not a row of dashes


def test_reasons_that_differ_in_numbers_are_told_once() -> None:
    runs = [_run("a", "CU-1", {"initial_ce_pct": 97.0})]
    for k in range(3):
        run = _run(f"b{k}", f"CU-{k + 2}")
        reason = f"10 % of the baseline of 8.2{k} mV is below the offset"
        numbers = {**run.numbers, "initial_ce_pct": Metric(None, "%", reason=reason)}
        runs.append(ComparedRun(run.start, run.chain, numbers, run.cell, {}, (), None, True, ()))
    reason = compare(runs).summaries["initial_ce_pct"]["Cu"].reason
    assert reason.endswith(
        "CU-2: 10 % of the baseline of 8.20 mV is below the offset (and 2 more like it)"
    )


def test_what_stands_for_a_list_leaves_out_formation_and_missing_cycles() -> None:
    values = {"polarisation_mv": [90.0, None, 30.0, 50.0], "compactness": [None, 0.5, 0.4]}
    summaries = compare([_run("a", "CU-1", values, formation_cycles=1)]).summaries
    assert summaries["polarisation_mv.mean"]["Cu"].mean == 40.0
    assert summaries["compactness.last"]["Cu"].mean == 0.4


def test_the_first_is_the_first_or_nothing_and_the_last_is_named_where_it_is_not() -> None:
    values: dict[str, Value] = {
        "plateau_overpotential_mv": [None, 20.0, 21.0],
        "interfacial_resistance_ohm": [10.0, 20.0, None],
        "discharge_capacity_mah_g": [100.0, 90.0, None],
    }
    found = compare([_run("a", "CU-1", values), _run("b", "CU-2", {"compactness": [0.5, None]})])
    assert "plateau_overpotential_mv.first" not in found.summaries
    assert "interfacial_resistance_ohm.last" not in found.summaries
    assert found.summaries["interfacial_resistance_ohm.first"]["Cu"].mean == 10.0
    last = found.summaries["discharge_capacity_mah_g.last"]["Cu"].cells[0]
    assert (last.value, last.reason) == (90.0, "of cycle 2: cycle 3 has no value")
    two = compare([_run("a", "CU-1", {"discharge_capacity_mah_g": [100.0, None, None]})])
    assert "discharge_capacity_mah_g.last" not in two.summaries


def test_the_last_of_a_shorted_cell_is_the_last_before_the_short() -> None:
    capacities: list[float | None] = [100.0, 90.0, 2.0, 1.0]
    for shorted, value, reason in (
        (3.0, 90.0, "of cycle 2: hard short in cycle 3"),
        (5.0, 1.0, ""),
        (1.0, None, None),
    ):
        values: dict[str, Value] = {
            "discharge_capacity_mah_g": capacities,
            "hard_short_cycle": shorted,
        }
        found = compare([_run("a", "CU-1", values)]).summaries.get("discharge_capacity_mah_g.last")
        told = None if found is None else found["Cu"].cells[0]
        assert (told and told.value, told and told.reason) == (value, reason)


def test_means_end_where_a_cell_is_shorted_and_say_so() -> None:
    values: dict[str, Value] = {
        "polarisation_mv": [90.0, 60.0, 40.0, 1.0, 1.0],
        "hard_short_cycle": 4.0,
    }
    found = compare([_run("a", "CU-1", values, formation_cycles=1)])
    cell = found.summaries["polarisation_mv.mean"]["Cu"].cells[0]
    assert cell.value == 50.0
    assert cell.reason == "mean of 2 cycles, until the hard short of cycle 4"


def test_what_values_rest_on_is_in_text_table_and_page() -> None:
    run = _run("a", "CU-1", {"initial_ce_pct": 104.0})
    reason = "the strip ended before its cut-off of 0.5 V in cycle 1"
    numbers = {
        **run.numbers,
        "initial_ce_pct": Metric(104.0, "%", 0.1, reason),
        "polarisation_mv": Metric([60.0, 62.0], "mV", [0.5, 0.7]),
    }
    found = compare([dataclasses.replace(run, numbers=numbers)])
    assert f"  initial_ce_pct, Cu: CU-1: {reason}" in comparison_text(found)
    rows = {
        row["quantity"]: row
        for row in csv.DictReader(io.StringIO(comparison_csv(found)))
        if row["level"] == "cell"
    }
    assert rows["initial_ce_pct"]["reason"] == reason
    mean = rows["polarisation_mv.mean"]
    assert float(mean["standard_uncertainty"]) == pytest.approx(0.6)
    assert mean["reason"] == "mean of 2 cycles"
    assert reason in comparison_page(found)


def test_a_line_is_dashed_where_cells_of_its_group_have_ended() -> None:
    runs = [
        _run("a", "CU-1", {"ce_pct": [98.0, 98.0, 98.0, 98.0]}),
        _run("b", "CU-2", {"ce_pct": [90.0, 90.0, 50.0, 50.0], "hard_short_cycle": 3.0}),
    ]
    figure = _sheets(runs)["cycles"].figure
    assert figure is not None
    axes = figure.axes[0]
    whole, dashed = (line for line in axes.lines if len(line.get_xdata()) == 4)
    assert whole.get_ydata()[:2].tolist() == [94.0, 94.0]
    assert all(math.isnan(value) for value in whole.get_ydata()[2:])
    assert dashed.get_linestyle() == "--"
    assert dashed.get_ydata()[1:].tolist() == [94.0, 98.0, 98.0]
    assert "n = 2, dashed: fewer" in axes.get_legend().get_texts()[0].get_text()


def test_the_tip_is_nucleation_above_the_plateau_of_the_same_plating() -> None:
    values = {"cell_eta_n_mv": 3.0, "plateau_overpotential_mv": [6.4, 6.2]}
    summaries = compare([_run("a", "CU-1", values)]).summaries
    assert summaries["tip_overpotential_mv"]["Cu"].mean == pytest.approx(9.4)


def test_cells_are_grouped_by_what_they_have_in_common() -> None:
    runs = [
        _run("a", "CU-1", material="Cu", electrolyte="2 M"),
        _run("b", "CU-2", material="Cu", electrolyte="3 M"),
        _run("c", "TI-1", material="Ti", electrolyte="3 M"),
    ]
    names = {
        by: [group.name for group in compare(runs, by).groups]
        for by in ("electrode", "electrolyte", "cell", "all", "pair", "protocol")
    }
    assert names == {
        "electrode": ["Cu", "Ti"],
        "electrolyte": ["2 M", "3 M"],
        "cell": ["CU-1", "CU-2", "TI-1"],
        "all": ["all"],
        "pair": ["Cu || Zn", "Ti || Zn"],
        "protocol": ["ce"],
    }


def test_runs_of_different_metals_are_refused_by_name() -> None:
    runs = [_run("zinc-run", "ZN-1"), _run("sodium-run", "NA-1", metal="Na")]
    with pytest.raises(ComparisonError, match="zinc-run of Zn and sodium-r of Na"):
        compare(runs)


def test_nothing_a_dummy_cell_and_an_unknown_group_are_refused() -> None:
    with pytest.raises(ComparisonError, match="no run to compare"):
        compare([])
    with pytest.raises(ComparisonError, match="dummy cell"):
        compare([_run("a", "R", dummy="R 1000 ohm")])
    with pytest.raises(ComparisonError, match="not grouped by 'colour': by electrode"):
        compare([_run("a", "CU-1")], "colour")


def test_what_must_be_known_of_a_comparison_is_told() -> None:
    twice = _run("a" * 10, "CU-1")
    other = _run("b", "CU-1", material="Ti")
    broken = ComparedRun(
        {**other.start, "protocol": "other"}, ("c",), other.numbers, other.cell, {}, (), None,
        False, ("12 rows are missing",),
    )  # fmt: skip
    notes = compare([twice, twice, other, broken]).notes
    assert "run aaaaaaaa was named more than once and counts once" in notes
    assert "the label CU-1 stands in several groups: Cu, Ti" in notes
    assert "runs of different protocols are compared: ce, other" in notes
    assert "run c: 12 rows are missing" in notes
    assert "run c has not ended" in notes


def _lives(*lives: tuple[float, float]) -> list[ComparedRun]:
    return [
        _run(f"r{k}", f"CU-{k}", {"life_hard_short_h": life, "life_hard_short_observed": seen})
        for k, (life, seen) in enumerate(lives)
    ]


def test_lives_count_cells_that_were_stopped_as_what_they_are() -> None:
    found = compare(_lives((100.0, 1.0), (200.0, 0.0), (300.0, 1.0), (400.0, 0.0)))
    estimate = found.lives["life_hard_short"]["Cu"].survival
    assert estimate is not None
    assert estimate.times_h == (100.0, 300.0)
    assert estimate.surviving == pytest.approx((0.75, 0.375))
    assert estimate.median_h == 300.0
    assert estimate.censored_h == (200.0, 400.0)


def test_a_group_in_which_no_cell_failed_lives_longer_than_its_longest_test() -> None:
    text = comparison_text(compare(_lives((900.0, 0.0), (1000.0, 0.0))))
    assert "> 1000 (0 of 2 failed)" in text


def _with_an_unjudged(*lives: tuple[float, float]) -> list[ComparedRun]:
    runs = _lives(*lives)
    unjudged = _run("unjudged-run", "CU-9")
    reason = "no baseline: fewer than 6 half-cycles of one current"
    names = ("life_hard_short_h", "life_hard_short_observed")
    numbers = {**unjudged.numbers, **{n: Metric(None, "h", reason=reason) for n in names}}
    return [*runs, dataclasses.replace(unjudged, numbers=numbers)]


def test_a_cell_that_cannot_be_judged_is_no_survivor_in_table_csv_and_estimate() -> None:
    found = compare(_with_an_unjudged((100.0, 1.0), (200.0, 0.0)))
    lives = found.lives["life_hard_short"]["Cu"]
    assert lives.survival is not None
    assert (lives.survival.cells, lives.survival.surviving) == (2, (0.5,))
    assert lives.left_out == {"CU-9": "no baseline: fewer than 6 half-cycles of one current"}
    text = comparison_text(found)
    assert "100 (1 of 2 failed, 1 left out)" in text
    told = "left out, whether they failed is not known: CU-9: no baseline"
    assert f"life_hard_short_h, Cu: {told}" in text
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    of = {
        row["cell"]: row
        for row in rows
        if row["level"] == "cell life" and row["quantity"] == "life_hard_short_h"
    }
    assert (of["CU-1"]["value"], of["CU-1"]["failed"]) == ("200.0", "0")
    assert (of["CU-9"]["value"], of["CU-9"]["failed"]) == ("", "")
    assert "whether it failed is not known: no baseline" in of["CU-9"]["reason"]
    group = next(
        row
        for row in rows
        if row["level"] == "group life" and row["quantity"] == "life_hard_short_h"
    )
    assert (group["n"], group["failed"]) == ("2", "1")
    assert told in group["reason"]
    assert "1 of 2 failed, 1 left out" in comparison_page(found)
    figure = _sheets(_with_an_unjudged((100.0, 1.0), (200.0, 0.0)))["lives"].figure
    assert figure is not None
    label = figure.axes[1].get_legend().get_texts()[0].get_text()
    assert label == "Cu (1 of 2 failed, 1 left out)"


def test_cells_of_which_none_can_be_judged_are_told_and_not_taken_for_survivors() -> None:
    found = compare(_with_an_unjudged())
    assert found.lives["life_hard_short"]["Cu"].survival is None
    assert "- (1 left out)" in comparison_text(found)
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    group = next(r for r in rows if r["level"] == "group life" and "hard" in r["quantity"])
    assert (group["value"], group["n"], group["failed"]) == ("", "0", "")
    assert "CU-9: no baseline" in group["reason"]


def _judged(uid: str, values: Mapping[str, Value] | None = None, **start: Any) -> ComparedRun:
    run = _run(uid, uid, values)
    return dataclasses.replace(run, start={**run.start, **start})


@pytest.mark.parametrize(
    ("values", "start", "told"),
    [
        (
            {},
            {"failure_criteria": {"hard_share": 0.05}},
            "different failure_criteria.hard_share: 0.1 (aaa, bbb), 0.05 (ccc)",
        ),
        (
            {},
            {"failure_criteria": {"drops": {"drop": 0.5}}},
            "different failure_criteria.drops.drop: 0.2 (aaa, bbb), 0.5 (ccc)",
        ),
        (
            {},
            {"calibration": {"potentiostat": {"potential_offset_uncertainty_v": 1e-4}}},
            "different failure_criteria.potential_offset_uncertainty_v: "
            "0.001 (aaa, bbb), 0.0001 (ccc)",
        ),
        (
            {},
            {"limits": {"effective": {"potential_min_v": -0.5, "potential_max_v": 1.0}}},
            "different potentials at which a cell is given up: none to none (aaa, bbb), "
            "-0.5 V to 1 V (ccc)",
        ),
        (
            {"j0_apparent_ma_cm2": 1.0},
            {"technique_as_written": {"type": "tafel", "fit_window_v": [0.04, 0.08]}},
            "different windows of Tafel lines: 60 to 110 mV (aaa, bbb), 40 to 80 mV (ccc)",
        ),
        (
            {"hydrogen_lod_ppm": [5.0]},
            {"calibration": {"gas_chromatograph": {"hydrogen_window_s": {"peak": [30, 40]}}}},
            "different windows of the hydrogen peak: 47.5 to 56.5 s (aaa, bbb), 30 to 40 s (ccc)",
        ),
    ],
)
def test_runs_that_were_judged_differently_are_told_with_what_and_which(
    values: Mapping[str, Value], start: Mapping[str, Any], told: str
) -> None:
    runs = [_judged("aaa", values), _judged("bbb", values), _judged("ccc", values, **start)]
    found = compare(runs)
    assert f"runs were judged by {told}" in found.notes
    assert f"Note: runs were judged by {told}" in comparison_text(found)
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    assert any(told in row["reason"] for row in rows if row["level"] == "note")
    alike = compare([_judged("aaa", values), _judged("bbb", values)])
    assert not any("judged" in note for note in alike.notes)


def test_limits_of_detection_that_are_far_apart_are_told() -> None:
    lods = {"aaa": 5.0, "bbb": 6.0, "ccc": 15.0}
    runs = [_judged(uid, {"hydrogen_lod_ppm": [lod, lod]}) for uid, lod in lods.items()]
    (note,) = (one for one in compare(runs).notes if "limits of detection" in one)
    assert note.endswith("hydrogen_lod_ppm: 5 ppm (aaa), 6 ppm (bbb), 15 ppm (ccc)")
    assert not any("limits of detection" in one for one in compare(runs[:2]).notes)


def test_a_cell_with_two_lives_is_left_out_because_neither_is_known_to_be_its() -> None:
    values = {"life_hard_short_h": 10.0, "life_hard_short_observed": 1.0}
    found = compare([_run("a", "CU-1", values), _run("b", "CU-1", values)])
    lives = found.lives["life_hard_short"]["Cu"]
    assert lives.survival is None
    assert lives.reason == "CU-1: 2 runs have a life, which is the cell's?"


def test_the_csv_is_one_tidy_table_that_reads_back() -> None:
    runs = [*_three_and_two(), *_lives((100.0, 1.0))]
    rows = list(csv.DictReader(io.StringIO(comparison_csv(compare(runs)))))
    group = next(r for r in rows if r["level"] == "group" and r["group"] == "Zn@Ag")
    assert (group["quantity"], group["unit"], group["n"]) == ("initial_ce_pct", "%", "2")
    assert float(group["value"]) == pytest.approx(99.2)
    cells = [r for r in rows if r["level"] == "cell" and r["quantity"] == "initial_ce_pct"]
    assert {r["cell"]: r["value"] for r in cells}["AG-1"] == "99.4"
    lives = (r for r in rows if r["level"] == "group life" and r["group"] == "Cu")
    life = next(r for r in lives if r["quantity"] == "life_hard_short_h")
    assert (life["value"], life["failed"], life["n"]) == ("100.0", "1", "1")


def test_a_label_is_no_formula_of_a_spreadsheet() -> None:
    table = comparison_csv(compare([_run("a", '=HYPERLINK("x")', {"initial_ce_pct": 97.0})]))
    assert "'=HYPERLINK" in table
    rows = list(csv.DictReader(io.StringIO(table)))
    assert not any(value.startswith("=") for row in rows for value in row.values())


def test_every_item_to_report_is_told_from_the_records_or_missing() -> None:
    runs = _three_and_two()
    items = {one.item.text: one.told for one in checklist(compare(runs))}
    assert items["Separator"] == {"Cu": None, "Zn@Ag": None}
    assert items["Geometric area"] == {"Cu": "1 cm2", "Zn@Ag": "1 cm2"}
    assert items["Replicate cells"] == {"Cu": "3 cells", "Zn@Ag": "2 cells"}
    assert items["Initial coulombic efficiency, %"]["Cu"] == "97.0±1.0 (n = 3)"
    assert items["Pouch cell"] == {"Cu": None, "Zn@Ag": None}
    text = comparison_text(compare(runs))
    assert "missing: Separator\n" in text
    assert "10.1038/s41893-023-01257-8" in text


def test_what_runs_of_a_group_tell_differently_is_listed_with_how_many() -> None:
    runs = [
        _run("a", "CU-1", separator="glass fibre"),
        _run("b", "CU-2", separator="paper"),
        _run("c", "CU-3"),
    ]
    (told,) = (one.told for one in checklist(compare(runs)) if one.item.text == "Separator")
    assert told["Cu"] == (
        "glass fibre (1 of 3 runs); paper (1 of 3 runs); not recorded in 1 of 3 runs"
    )


def test_upper_potential_of_the_strip_is_that_of_the_stored_program() -> None:
    run = _run("a", "CU-1")
    strip = {"role": "strip", "until": [{"quantity": "potential_above_v", "value": 0.5}]}
    start = {**run.start, "technique": {"type": "sequence", "steps": [{"strip": strip}]}}
    told = ComparedRun(start, run.chain, run.numbers, run.cell, {}, (), None, True, ())
    (item,) = (
        one.told
        for one in checklist(compare([told]))
        if one.item.text.startswith("Upper potential")
    )
    assert item["Cu"] == "0.5 V"


def _sheets(runs: list[ComparedRun]) -> dict[str, DrawnSheet]:
    return {drawn.sheet.name: drawn for drawn in compared_sheets(compare(runs))}


RADAR_VALUES = {
    "polarisation_mv": [40.0, 40.0],
    "cell_eta_n_mv": 10.0,
    "plateau_overpotential_mv": [20.0, 20.0],
    "initial_loss_mah_cm2": 0.04,
}


def test_the_radar_map_has_the_five_axes_of_the_paper_each_to_its_largest_mean() -> None:
    half = {name: value / 2 for name, value in RADAR_VALUES.items() if isinstance(value, float)}
    lists = {
        n: [v / 2 for v in value] for n, value in RADAR_VALUES.items() if isinstance(value, list)
    }
    drawn = _sheets(
        [_run("a", "CU-1", RADAR_VALUES), _run("b", "AG-1", half | lists, material="Ag")]
    )["radar"]
    assert drawn.figure is not None
    (axes,) = drawn.figure.axes
    labels = [label.get_text().split("\n")[0] for label in axes.get_xticklabels()]
    assert labels == ["ΔE", "η$_t$", "η$_p$", "η$_n$", "initial loss"]
    assert [label.get_text().split("\n")[1] for label in axes.get_xticklabels()] == [
        "40 mV", "30 mV", "20 mV", "10 mV", "0.04",
    ]  # fmt: skip
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["Cu"] == pytest.approx([1.0] * 6)
    assert lines["Ag"] == pytest.approx([0.5] * 6)


def test_a_radar_map_without_three_axes_says_what_is_missing() -> None:
    drawn = _sheets([_run("a", "CU-1", {"initial_loss_mah_cm2": 0.04})])["radar"]
    assert drawn.figure is None
    assert drawn.reason == (
        "needs three axes that every group has a value for; without: ΔE, ηt, ηp, ηn"
    )


def test_lives_are_drawn_as_steps_with_a_tick_for_each_cell_that_was_stopped() -> None:
    drawn = _sheets(_lives((100.0, 1.0), (200.0, 0.0), (300.0, 1.0), (400.0, 0.0)))["lives"]
    assert drawn.figure is not None
    axes = drawn.figure.axes[1]
    steps, ticks = axes.lines
    assert steps.get_xdata().tolist() == [0.0, 100.0, 300.0, 400.0]
    assert steps.get_ydata().tolist() == [100.0, 75.0, 37.5, 37.5]
    assert ticks.get_xdata().tolist() == [200.0, 400.0]
    assert axes.get_xlabel() == "Time (h)"
    assert axes.get_ylabel() == "Cells that have not failed (%)"
    assert "Until first soft short: CU-0: no life_first_soft_short_h" in str(drawn.reason)


def test_efficiency_by_cycle_is_the_mean_over_cells() -> None:
    drawn = _sheets(_three_and_two())["cycles"]
    assert drawn.figure is not None
    copper, silver = drawn.figure.axes[0].lines
    assert copper.get_ydata().tolist() == [97.0, 100.0]
    assert silver.get_ydata() == pytest.approx([99.2, 99.9])
    assert copper.get_label() == "Cu (n = 3)"


def test_the_legend_of_efficiencies_makes_no_room_where_none_can_be() -> None:
    values = [82.0, *(99.0 + 0.1 * (n % 3) for n in range(19))]
    runs = [_run(m, m, {"ce_pct": values}, material=m) for m in ("Cu", "Al", "Ti", "Ag")]
    figure = _sheets(runs)["cycles"].figure
    assert figure is not None
    axes = figure.axes[0]
    assert axes.get_ylim()[1] < 101.0
    figure.draw_without_rendering()
    box = axes.get_legend().get_window_extent()
    for line in axes.lines:
        points = axes.transData.transform(line.get_xydata())
        assert not any(box.contains(x, y) for x, y in points)


def test_every_cell_is_a_point_beside_the_mean() -> None:
    drawn = _sheets(_three_and_two())["cells"]
    assert drawn.figure is not None
    axes = drawn.figure.axes[0]
    assert axes.get_ylabel() == "Initial CE (%)"
    points = [line for line in axes.lines if line.get_marker() in "os"]
    assert points[0].get_ydata().tolist() == [96.0, 97.0, 98.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Cu\nn = 3", "Zn@Ag\nn = 2"]


def test_the_page_of_a_comparison_shows_texts_of_users_as_they_are() -> None:
    hostile = "<script>alert(1)</script>$\\frac{"
    page = comparison_page(
        compare([_run("a", hostile, RADAR_VALUES, material=hostile, electrolyte=hostile)])
    )
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$\\frac{" in page
    assert "http://" not in page
    assert "one cell: no scatter" in page
    assert '<b class="missing">missing</b>' in page
