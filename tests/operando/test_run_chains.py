"""An experiment in several runs is read, and evaluated, as one."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operando.analysis import metrics
from operando.analysis.metrics import half_cycles_of
from operando.journal import JournalWriter
from operando.report import report_json, text_report
from operando.runs import Run, join

UIDS = [f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc"]
COLLECTED = 32
Columns = dict[str, Any]
shared = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _whole(synthetic: Any) -> Columns:
    """Return a run of three cycles whose rows tell the time since their step's edge."""
    columns = synthetic.galvanostatic((0.9, 0.95, 0.99), rows=30)
    edge = np.zeros(len(columns["t"]))
    begun = 0.0
    for row in range(len(edge)):
        if row == 0 or columns["step"][row] != columns["step"][row - 1]:
            begun = columns["t"][row] - 1.0
        edge[row] = begun
    return {**columns, "step_t": columns["t"] - edge}


def _part(columns: Columns, rows: Any) -> Columns:
    return {key: values[rows] for key, values in columns.items()}


def _stopped_and_resumed(
    columns: Columns, cut: int, *, gap_s: float, lost: int = 0, checks: int = 0
) -> list[Columns]:
    """Cut a run in two: the step goes on with an edge of its own, later, at the last row's time."""
    first, second = _part(columns, slice(cut)), _part(columns, slice(cut + lost, None))
    second = {key: values.copy() for key, values in second.items()}
    step, edge_s = columns["step"][cut + lost], columns["t"][cut + lost - 1]
    if columns["step"][cut + lost - 1] == step:
        going_on = second["step"] == step
        second["step_t"][going_on] = second["t"][going_on] - edge_s
    second["t"] = second["t"] + gap_s
    if checks:
        rest = {key: np.full(checks, values[-1]) for key, values in first.items()}
        rest |= {"role": np.zeros(checks), "current": np.zeros(checks)}
        rest |= {"potential": np.zeros(checks), "step_t": np.arange(1.0, checks + 1)}
        rest["t"] = first["t"][-1] + gap_s * np.linspace(0.5, 0.9, checks)
        second = {key: np.concatenate((rest[key], values)) for key, values in second.items()}
    return [first, second]


def _documents(
    synthetic: Any, folder: Path, parts: list[Columns], *, images: int = 0, **resume: Any
) -> list[Any]:
    """Return the documents of runs of which each continues the one before."""
    told = []
    for number, columns in enumerate(parts):
        folder_of_run = folder / str(number)
        folder_of_run.mkdir(exist_ok=True)
        run = synthetic.RunDocuments(folder_of_run, synthetic.HALF_CELL)
        start = run.documents[0][1]
        start |= {"uid": UIDS[number], "time": start["time"] + number}
        start["bench"] = {"instruments": {"potentiostat": {"identity": {"serial": f"S{number}"}}}}
        if number:
            start["resume"] = {"of": UIDS[number - 1], "root": UIDS[0], **resume}
        run.stream("potentiostat", "potentiostat", columns)
        if images:
            frames = np.full((images, 2, 3), number, dtype=np.uint8)
            run.stream("camera", "camera", {"lamp": np.ones(images)}, {"image": frames})
        run.stop("success" if number == len(parts) - 1 else "fail")
        told.append(run)
    return told


def _joined(synthetic: Any, folder: Path, parts: list[Columns], **options: Any) -> Run:
    told = _documents(synthetic, folder, parts, **options)
    return join([Run.from_documents(run.documents) for run in told])


def _numbers(run: Run) -> dict[str, Any]:
    names = ("ce_pct", "plated_capacity_mah_cm2", "cumulative_plated_mah_cm2")
    return {name: np.array(metrics(run)[name].value, dtype=float) for name in names}


@shared
@given(data=st.data(), gap_s=st.floats(1, 1e5), checks=st.integers(0, 3))
def test_an_experiment_cut_at_any_row_has_the_charges_of_the_whole(
    synthetic: Any, tmp_path: Path, data: st.DataObject, gap_s: float, checks: int
) -> None:
    columns = _whole(synthetic)
    cut = data.draw(st.integers(1, len(columns["t"]) - 1))
    whole = _joined(synthetic, tmp_path, [columns])
    cut_in_two = _joined(
        synthetic,
        tmp_path,
        _stopped_and_resumed(columns, cut, gap_s=gap_s, checks=checks),
    )
    told, expected = _numbers(cut_in_two), _numbers(whole)
    for name, values in expected.items():
        np.testing.assert_allclose(told[name], values, rtol=1e-9)


@shared
@given(data=st.data(), lost=st.integers(1, 20))
def test_what_is_missing_is_no_more_than_passed_in_the_missing_interval(
    synthetic: Any, tmp_path: Path, data: st.DataObject, lost: int
) -> None:
    columns = _whole(synthetic)
    cut = data.draw(st.integers(1, len(columns["t"]) - 1 - lost))
    parts = _stopped_and_resumed(columns, cut, gap_s=100.0, lost=lost)
    whole = half_cycles_of(_joined(synthetic, tmp_path, [columns]))
    found = half_cycles_of(_joined(synthetic, tmp_path, parts))
    interval_s = columns["t"][cut + lost - 1] - columns["t"][cut - 1]
    # At 1 mA/cm2; the first row of a step comes 1 s after its edge.
    most = (interval_s + 1.0) / 3600
    numbers = {half.number: half for half in found}
    missing = [
        half.capacity_mah_cm2 - numbers[half.number].capacity_mah_cm2
        for half in whole
        if half.number in numbers
    ]
    assert all(-1e-9 <= value <= most + 1e-9 for value in missing)


@shared
@given(data=st.data())
def test_rows_that_the_instrument_kept_close_the_gap(
    synthetic: Any, tmp_path: Path, data: st.DataObject
) -> None:
    columns = _whole(synthetic)
    cut = data.draw(st.integers(1, len(columns["t"]) - 1))
    second = _part(columns, slice(cut, None))
    second["flags"] = second["flags"] + COLLECTED
    run = _joined(synthetic, tmp_path, [_part(columns, slice(cut)), second])
    whole = _joined(synthetic, tmp_path, [columns])
    for one, other in zip(half_cycles_of(run), half_cycles_of(whole), strict=True):
        assert one.capacity_mah_cm2 == pytest.approx(other.capacity_mah_cm2, rel=1e-9)
        assert one.interruptions == ()
        assert one.ended == other.ended


def test_an_interrupted_half_cycle_is_one_and_says_so(synthetic: Any, tmp_path: Path) -> None:
    columns = _whole(synthetic)
    parts = _stopped_and_resumed(columns, 10, gap_s=500.0, checks=3)
    run = _joined(synthetic, tmp_path, parts)
    halves = half_cycles_of(run)
    assert [half.number for half in halves] == [1, 2, 3, 4, 5, 6]
    (gap,) = halves[0].interruptions
    assert gap.at_s == columns["t"][9]
    assert gap.for_s == pytest.approx(500.0)
    assert halves[0].lasted_s == pytest.approx(columns["t"][29] - columns["t"][0])
    reason = metrics(run)["ce_pct"].reason
    assert reason is not None
    assert f"the plating of cycle 1 was interrupted at {gap.at_s:.0f} s for 500 s" in reason


def test_rows_that_are_there_twice_are_noted(synthetic: Any, tmp_path: Path) -> None:
    columns = _whole(synthetic)
    twice = [_part(columns, slice(20)), _part(columns, slice(15, None))]
    (note,) = (x for x in _joined(synthetic, tmp_path, twice).notes if "twice" in x)
    assert note.startswith(f"run {UIDS[1][:8]} has rows of before")
    once = [_part(columns, slice(20)), _part(columns, slice(20, None))]
    assert not any("twice" in note for note in _joined(synthetic, tmp_path, once).notes)


def _lost_in_the_first_plating(
    synthetic: Any, folder: Path, lost: int, told: float | None, **more: Any
) -> Run:
    columns = _whole(synthetic)
    parts = _stopped_and_resumed(columns, 10, gap_s=500.0, lost=lost)
    resume = {"begin": {"half_cycle": 0}, "step": 1, "unrecorded_charge_mah_cm2": told, **more}
    return _joined(synthetic, folder, parts, **resume)


@pytest.mark.parametrize("told", [0.2, None])
def test_a_cycle_of_which_charge_may_be_missing_has_no_efficiency_but_a_reason(
    synthetic: Any, tmp_path: Path, told: float | None
) -> None:
    found = metrics(_lost_in_the_first_plating(synthetic, tmp_path, 10, told))
    assert found["ce_pct"].value[0] is None
    assert found["ce_pct"].value[1] == pytest.approx(95.0, abs=0.5)
    assert "may have passed unrecorded" in found["ce_pct"].reason
    assert found["initial_ce_pct"].value is None
    assert found["plated_capacity_mah_cm2"].value[0] is None
    assert found["plated_capacity_mah_cm2"].value[1] is not None
    assert found["cumulative_plated_mah_cm2"].value is None
    assert "may have passed unrecorded" in found["cumulative_plated_mah_cm2"].reason
    assert found["theoretical_thickness_um"].value is None


def test_what_may_be_missing_of_a_step_that_was_left_out_is_of_its_own_half_cycle(
    synthetic: Any, tmp_path: Path
) -> None:
    behind = {"begin": {"half_cycle": 1}, "half_cycle": 1, "skipped": {"role": "plate"}}
    found = metrics(_lost_in_the_first_plating(synthetic, tmp_path, 10, 0.2, **behind))
    assert found["plated_capacity_mah_cm2"].value[0] is None
    assert found["ce_pct"].value[1] == pytest.approx(95.0, abs=0.5)


def test_little_that_may_be_missing_adds_to_the_uncertainty(synthetic: Any, tmp_path: Path) -> None:
    least = metrics(_lost_in_the_first_plating(synthetic, tmp_path, 0, 0.0))
    plated = least["plated_capacity_mah_cm2"].value[0]
    told = metrics(_lost_in_the_first_plating(synthetic, tmp_path, 0, 1e-4 * plated))
    assert told["ce_pct"].value == least["ce_pct"].value
    more = told["ce_pct"].uncertainty[0] - least["ce_pct"].uncertainty[0]
    assert more == pytest.approx(1e-4 * told["ce_pct"].value[0])
    more = (
        told["plated_capacity_mah_cm2"].uncertainty[0]
        - least["plated_capacity_mah_cm2"].uncertainty[0]
    )
    assert more == pytest.approx(1e-4 * plated)


def test_an_assumed_charge_without_its_bounds_is_not_known(synthetic: Any, tmp_path: Path) -> None:
    columns = _whole(synthetic)
    parts = _stopped_and_resumed(columns, 10, gap_s=500.0, lost=5)
    resume = {
        "begin": {"half_cycle": 0},
        "step": 1,
        "decisions": {"assume_charge_mah_cm2": 0.004},
    }
    assert metrics(_joined(synthetic, tmp_path, parts, **resume))["ce_pct"].value[0] is None


def test_a_gap_is_never_bridged_where_the_instrument_told_no_edge(
    synthetic: Any, tmp_path: Path
) -> None:
    columns = _whole(synthetic)
    parts = _stopped_and_resumed(columns, 10, gap_s=500.0)
    for part in parts:
        part.pop("step_t")
    whole = half_cycles_of(_joined(synthetic, tmp_path, [columns]))[0]
    found = half_cycles_of(_joined(synthetic, tmp_path, parts))[0]
    step_s = columns["t"][10] - columns["t"][9]
    # Both edges and the interval at the joint are missing, and nothing is put in their place.
    expected = whole.capacity_mah_cm2 - (step_s + 1.0) / 3600
    assert found.capacity_mah_cm2 == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("rows", "ended"), [(10, False), (30, True)])
def test_a_half_cycle_that_nobody_went_on_with_ended_if_it_reached_a_limit(
    synthetic: Any, tmp_path: Path, rows: int, ended: bool
) -> None:
    columns = _whole(synthetic)
    charge = {"quantity": "charge_mah_cm2", "value": 0.5}
    cut_off = {"quantity": "potential_above_v", "value": 0.5}
    technique = {
        "type": "plate_strip_cycle",
        "plate": {"current_density_ma_cm2": 1.0, "until": [charge]},
        "strip": {"role": "strip", "current_density_ma_cm2": 1.0, "until": [cut_off, charge]},
        "cycles": 3,
    }
    parts = [_part(columns, slice(rows)), _part(columns, columns["half_cycle"] > 1)]
    told = _documents(synthetic, tmp_path, parts)
    for run in told:
        run.documents[0][1]["technique"] = technique
    halves = half_cycles_of(join([Run.from_documents(run.documents) for run in told]))
    assert [half.ended for half in halves] == [ended, True, True, True, True, True]


def test_the_parts_of_the_last_half_cycle_together_reach_its_limit(
    synthetic: Any, tmp_path: Path
) -> None:
    columns = _whole(synthetic)
    charge = {"quantity": "charge_mah_cm2", "value": 0.5}
    technique = {
        "type": "plate_strip_cycle",
        "plate": {"current_density_ma_cm2": 1.0, "until": [charge]},
        "strip": {"role": "strip", "current_density_ma_cm2": 1.0, "until": [charge]},
    }
    for rows, ended in ((30, True), (25, False)):
        parts = _stopped_and_resumed(_part(columns, slice(rows)), 10, gap_s=5000.0)
        told = _documents(synthetic, tmp_path, parts)
        told[0].documents[0][1]["technique"] = technique
        (half,) = half_cycles_of(join([Run.from_documents(run.documents) for run in told]))
        assert half.ended == ended


def test_rows_in_files_keep_the_number_of_their_row(synthetic: Any, tmp_path: Path) -> None:
    columns = _whole(synthetic)
    parts = [
        _part(columns, slice(10)),
        _part(columns, slice(10, 20)),
        _part(columns, slice(20, 30)),
    ]
    told = _documents(synthetic, tmp_path, parts, images=3)
    # The first run was killed between a frame and its event; in the second, a file was lost.
    for name, doc in told[0].documents:
        if name == "event_page" and "camera_lamp" in doc["data"]:
            for part in ("data", "timestamps"):
                doc[part] = {key: values[:2] for key, values in doc[part].items()}
            doc |= {key: doc[key][:2] for key in ("uid", "seq_num", "time")}
    runs = [Run.from_documents(run.documents) for run in told]
    camera = join(runs).streams["camera"]
    assert len(camera) == 8
    frames = [int(frame[0, 0]) for frame in camera.asset("camera_image")]
    assert frames == [0, 0, 1, 1, 1, 2, 2, 2]
    (tmp_path / "1" / "camera-image.h5").unlink()
    assert [int(frame[0, 0]) for frame in camera.asset("camera_image")] == [0, 0]
    with h5py.File(tmp_path / "2" / "camera-image.h5") as kept:
        assert len(kept["entry/image"]) == 3


def test_any_of_its_runs_gives_the_whole_experiment(synthetic: Any, tmp_path: Path) -> None:
    columns = _whole(synthetic)
    first, second = _stopped_and_resumed(columns, 100, gap_s=500.0)
    resume = {
        "cycle": 2,
        "half_cycle": 3,
        "t_offset_s": 7200.0,
        "gap_s": 500.0,
        "unpowered_s": None,
        "collected_rows": 12,
    }
    told = _documents(synthetic, tmp_path, [first, second], **resume)
    with JournalWriter(tmp_path / "data") as journal:
        for run in told:
            for name, doc in run.documents:
                journal(name, doc)
    root = Run.from_journal(UIDS[0], tmp_path / "data")
    tip = Run.from_journal("last", tmp_path / "data")
    assert root.chain == tip.chain == (UIDS[0], UIDS[1])
    assert tip.uid == UIDS[0]
    assert tip.start["chain"] == UIDS[:2]
    assert tip.stop is not None
    assert tip.stop["exit_status"] == "success"
    assert _numbers(root)["ce_pct"].tolist() == _numbers(tip)["ce_pct"].tolist()
    assert len(tip.streams["potentiostat"]) == len(columns["t"])
    alone = Run.from_journal(UIDS[1], tmp_path / "data", chain=False)
    assert alone.chain == (UIDS[1],)
    assert len(alone.streams["potentiostat"]) == len(second["t"])
    assert "chain" not in alone.start
    report = text_report(tip)
    assert "An experiment of 2 runs: aaaaaaaa, bbbbbbbb" in report
    assert (
        "bbbbbbbb goes on at cycle 2, half-cycle 3 from 7200 s after 500 s without rows; 12 rows "
        "collected from the instrument's own log; how long the instrument was without power is "
        "not known"
    ) in report
    assert "its serial was 'S0' and is 'S1'" in report
    assert report_json(tip)["chain"] == UIDS[:2]


def test_the_rows_of_each_run_are_without_the_zero_that_was_measured_before_it(
    synthetic: Any, tmp_path: Path
) -> None:
    first, second = _stopped_and_resumed(_whole(synthetic), 75, gap_s=100.0)
    # A run that was begun and recorded nothing has a zero, and no row of it.
    told = _documents(synthetic, tmp_path, [first, _part(first, slice(0)), second])
    without = _numbers(join([Run.from_documents(run.documents) for run in told]))
    for run, zero_a in zip(told, (2e-6, 5e-5, -4e-6), strict=True):
        measured = {"range_a": 1e-2, "current_a": zero_a, "uncertainty_a": 1e-9}
        run.documents[0][1]["current_zero"] = {"measured": [measured]}
    whole = join([Run.from_documents(run.documents) for run in told])
    assert whole.streams["potentiostat"].begins == (0, 75, 75)
    numbers = _numbers(whole)
    share = numbers["plated_capacity_mah_cm2"] / without["plated_capacity_mah_cm2"] - 1
    assert share[[0, 2]] * 1.131e-3 == pytest.approx([2e-6, -4e-6], rel=1e-6)
    assert -4e-6 < share[1] * 1.131e-3 < 2e-6
    ce = numbers["ce_pct"] / without["ce_pct"] - 1
    assert ce[[0, 2]] * 1.131e-3 == pytest.approx([-4e-6, 8e-6], rel=1e-2)


def test_a_key_that_a_run_lacks_is_missing_in_its_rows(synthetic: Any, tmp_path: Path) -> None:
    columns = _whole(synthetic)
    parts = [_part(columns, slice(10)), _part(columns, slice(10, 20))]
    parts[1]["temperature"] = np.full(10, 298.0)
    stream = _joined(synthetic, tmp_path, parts).streams["potentiostat"]
    temperature = stream.columns["potentiostat_temperature"]
    assert np.isnan(temperature[:10]).all()
    assert temperature[10:].tolist() == [298.0] * 10
    assert stream.joints == (10,)
