import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import METRICS, Metric, metrics
from operando.analysis.metrics import half_cycles_of, place
from operando.journal import JournalWriter
from operando.runs import Run, RunBuilder

AXIS = np.linspace(150, 3900, 2048)
CALIBRATION = {
    "camera": {"micrometre_per_pixel": 0.5, "margin_columns": [0, 112]},
    "gas_chromatograph": {
        "hydrogen_area_per_mole_fraction": 6.7e6,
        "headspace_ml": 5.0,
        "headspace": "closed",
    },
}
Make = Callable[..., Any]


def _whole(make_run: Make, synthetic: Any, **options: Any) -> Any:
    """Compose a run of two cycles that all instruments watched."""
    told = make_run(calibration=CALIBRATION, **options)
    columns = synthetic.galvanostatic((0.9, 0.98), rows=2000)
    told.stream("potentiostat", "potentiostat", columns)
    frequency = np.logspace(5, -1, 49)
    z = synthetic.arcs_ohm(frequency, 2.65, (150.0, 1e-3, 0.9))
    told.stream(
        "impedance",
        "potentiostat_impedance",
        {
            "t": np.arange(49.0),
            "spectrum": np.ones(49),
            "cycle": np.zeros(49),
            "half_cycle": np.zeros(49),
            "step": np.ones(49),
            "frequency": frequency,
            "z_real": z.real,
            "z_imag": z.imag,
        },
    )
    # Plating ends at 1800 s; a frame before, one near its end, one in the dark, one later.
    when = np.array([math.nan, 1799.0, 1810.0, 2500.0])
    frames = np.stack([synthetic.side_view(height) for height in (0.0, 3.4, 3.4, 2.0)])
    told.stream(
        "camera",
        "camera",
        {
            "t_before": when,
            "t_after": when + 2,
            "lamp": np.array([1.0, 1.0, 0.0, 1.0]),
            "laser": np.zeros(4),
        },
        {"image": frames},
    )
    spectra = [synthetic.spectrum_counts(AXIS, seed=k) for k in range(20)]
    spectra += [
        synthetic.spectrum_counts(AXIS, seed=k, film=0.5, sulfate=0.9, hydroxide=0.06)
        for k in range(50, 53)
    ]
    times = np.array([math.nan] * 20 + [500.0, 1000.0, 1700.0])
    told.stream(
        "raman",
        "raman",
        {"t_before": times, "t_after": times + 30, "laser": np.ones(23)},
        {"counts": np.stack(spectra), "dark": np.full((23, 2048), 100.0)},
        {"raman_wavenumber": AXIS.tolist()},
    )
    asked = np.array([900.0, 1800.0, 2700.0])
    told.stream(
        "gas_chromatograph",
        "gas_chromatograph",
        {
            "injection": np.array([1.0, 2.0, 3.0]),
            "t_before": asked - 1,
            "t_after": asked + 1,
            "missed": np.array([0.0, 1.0, 0.0]),
        },
    )
    traces = np.stack([synthetic.chromatogram(area) for area in (3000.0, 9000.0)])
    told.stream(
        "chromatogram",
        "gas_chromatograph_result",
        {"injection": np.array([1.0, 3.0]), "sample_interval": np.full(2, 0.02)},
        {"trace": traces},
    )
    told.stop()
    return told


def _listed(metric: Metric) -> list[Any]:
    assert isinstance(metric.value, list)
    return metric.value


def test_every_name_of_the_registry_is_answered_once_with_its_unit(
    make_run: Make, synthetic: Any
) -> None:
    found = metrics(Run.from_documents(_whole(make_run, synthetic).documents))
    assert list(found) == list(METRICS)
    for name, metric in found.items():
        assert metric.unit == METRICS[name].unit
        if metric.value is None:
            assert metric.reason
        else:
            assert isinstance(metric.value, list) == (METRICS[name].shape != "scalar"), name


def test_what_was_put_into_a_run_comes_out_of_it(make_run: Make, synthetic: Any) -> None:
    found = metrics(Run.from_documents(_whole(make_run, synthetic).documents))
    assert found["ce_pct"].value == pytest.approx([90.0, 98.0])
    assert found["ce_mean_pct"].value == pytest.approx(94.0)
    assert found["ce_mean_without_first_pct"].value == pytest.approx(98.0)
    assert found["ce_ratio_of_sums_pct"].value == pytest.approx(94.0)
    assert found["initial_ce_pct"].value == pytest.approx(90.0)
    assert found["initial_loss_mah_cm2"].value == pytest.approx(0.05)
    assert found["cumulative_irreversible_mah_cm2"].value == pytest.approx(0.06)
    assert found["cell_eta_n_mv"].value == pytest.approx(15.0, abs=0.1)
    assert found["plateau_overpotential_mv"].value == pytest.approx([30.0, 30.0], abs=1e-3)
    assert found["polarisation_mv"].value == pytest.approx([60.0, 60.0], abs=1e-2)
    assert found["plated_capacity_mah_cm2"].value == pytest.approx([0.5, 0.5])
    assert found["cumulative_plated_mah_cm2"].value == pytest.approx(1.0)
    assert found["series_resistance_ohm"].value == pytest.approx([2.65], rel=1e-3)
    assert found["interfacial_resistance_ohm"].value == pytest.approx([150.0], rel=1e-3)
    assert found["theoretical_thickness_um"].value == pytest.approx([0.854, 0.939], abs=1e-3)
    ends = _listed(found["image_thickness_end_of_plating_um"])
    assert ends == [pytest.approx(1.7, abs=0.06), None]
    assert _listed(found["compactness"])[0] == pytest.approx(0.854 / 1.7, rel=0.05)
    assert _listed(found["image_thickness_um"])[2] is None  # the lamp was off
    signs = [np.sign(found[f"band_{band}_change"].value) for band in ("3633", "980", "465")]
    assert signs == [1, -1, 1]
    per_area = 101325 * 5e-6 / (8.314462618 * 298.15) * 1e6 / 6.7e6
    each = _listed(found["hydrogen_umol"])
    assert each == [
        pytest.approx(3000 * per_area, rel=0.01),
        None,
        pytest.approx(6000 * per_area, rel=0.01),
    ]
    assert found["hydrogen_total_umol"].value == pytest.approx(9000 * per_area, rel=0.01)
    charge_c = (0.5 + 0.45 * 840 / 1620) * 3.6 * 1.131
    efficiency = 9000 * per_area * 1e-6 * 2 * 96485.33 / charge_c * 100
    assert found["hydrogen_faradaic_efficiency_pct"].value == pytest.approx(efficiency, rel=0.01)


def test_undefined_elements_of_a_list_keep_their_place_and_are_explained(
    make_run: Make, synthetic: Any
) -> None:
    found = metrics(Run.from_documents(_whole(make_run, synthetic).documents))
    assert "missed" in str(found["hydrogen_umol"].reason)
    assert "without the lamp" in str(found["image_thickness_um"].reason)
    assert "cycle 2" in str(found["image_thickness_end_of_plating_um"].reason)


@pytest.mark.parametrize("page", [1, 7, 100_000])
def test_how_rows_are_grouped_into_pages_does_not_change_a_bit(
    make_run: Make, synthetic: Any, page: int
) -> None:
    usual = metrics(Run.from_documents(_whole(make_run, synthetic).documents))
    told = _whole(make_run, synthetic, page=page)
    assert metrics(Run.from_documents(told.documents)) == usual


def test_a_journal_gives_the_same_metrics_to_the_bit(
    make_run: Make, synthetic: Any, tmp_path: Any
) -> None:
    told = _whole(make_run, synthetic)
    writer = JournalWriter(tmp_path / "data")
    try:
        for name, doc in told.documents:
            writer(name, doc)
    finally:
        writer.close()
    stored = Run.from_journal("last", tmp_path / "data")
    assert metrics(stored) == metrics(Run.from_documents(told.documents))


def test_what_is_computed_on_the_way_is_what_is_computed_at_the_end(
    make_run: Make, synthetic: Any
) -> None:
    told = _whole(make_run, synthetic, page=1000)
    builder = RunBuilder()
    for name, doc in told.documents:
        builder(name, doc)
        if name == "event_page":
            metrics(builder.run)
    assert metrics(builder.run) == metrics(Run.from_documents(told.documents))


def test_every_half_finished_run_has_metrics(make_run: Make, synthetic: Any) -> None:
    told = _whole(make_run, synthetic, page=500)
    for length in range(0, len(told.documents), 3):
        found = metrics(Run.from_documents(told.documents[:length]))
        assert list(found) == list(METRICS)


def test_a_half_finished_strip_has_no_efficiency_yet(make_run: Make, synthetic: Any) -> None:
    told = make_run()
    columns = synthetic.galvanostatic((0.9, 0.98), rows=100)
    cut = {key: values[:-30] for key, values in columns.items()}
    told.stream("potentiostat", "potentiostat", cut)
    found = metrics(Run.from_documents(told.documents))
    assert found["ce_pct"].value == pytest.approx([90.0])
    assert "cycle 2" in str(found["ce_pct"].reason)


def test_an_aborted_strip_has_no_efficiency(make_run: Make, synthetic: Any) -> None:
    told = make_run()
    columns = synthetic.galvanostatic((0.9,), rows=100)
    told.stream("potentiostat", "potentiostat", {k: v[:-30] for k, v in columns.items()})
    told.stop("abort")
    assert metrics(Run.from_documents(told.documents))["ce_pct"].value is None


def test_a_mirrored_cell_gives_the_same_metrics(make_run: Make, synthetic: Any) -> None:
    plain, mirrored = make_run(), make_run(synthetic.MIRRORED_CELL)
    plain.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=500))
    columns = synthetic.galvanostatic(rows=500, mirror=-1)
    mirrored.stream("potentiostat", "potentiostat", columns)
    one, other = (metrics(Run.from_documents(told.documents)) for told in (plain, mirrored))
    assert one == other


def test_a_symmetric_cell_has_no_efficiency_but_a_polarisation(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((1.0, 1.0)))
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    assert found["ce_pct"].value is None
    assert "symmetric" in str(found["ce_pct"].reason)
    assert found["polarisation_mv"].value == pytest.approx([60.0, 60.0], abs=1e-2)
    assert found["depth_of_discharge_pct"].value == pytest.approx(100 * 0.5 / 58.54, rel=1e-3)


def test_depth_of_discharge_counts_the_predeposited_metal(make_run: Make, synthetic: Any) -> None:
    electrode = {**synthetic.COPPER, "predeposited_mah_cm2": 2.0}
    told = make_run({**synthetic.HALF_CELL, "working_electrode": electrode})
    columns = synthetic.galvanostatic((1.0,), capacity_mah_cm2=1.5)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    assert found["depth_of_discharge_pct"].value == pytest.approx(75.0)


def test_only_a_reference_electrode_makes_a_nucleation_overpotential_of_one_electrode(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run({**synthetic.HALF_CELL, "reference_electrode": "Zn wire"})
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=2000))
    found = metrics(Run.from_documents(told.documents))
    assert found["eta_n_mv"].value == pytest.approx(15.0, abs=0.1)
    assert found["cell_eta_n_mv"].value is None


def test_formation_cycles_are_left_out_of_the_mean_without_the_first(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run({**synthetic.HALF_CELL, "formation_cycles": 2})
    columns = synthetic.galvanostatic((0.8, 0.9, 0.98, 0.98))
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    assert found["ce_mean_without_first_pct"].value == pytest.approx(98.0)
    assert "first 2 left out" in str(found["ce_mean_without_first_pct"].reason)


def test_a_part_that_does_not_count_in_means_is_left_out_of_all_of_them_and_named(
    make_run: Make, synthetic: Any
) -> None:
    limit = {"quantity": "charge_mah_cm2", "value": 0.5}
    half = {"current_density_ma_cm2": 1.0, "until": [limit]}
    cycles = {"type": "plate_strip_cycle", "cycles": 2, "plate": half, "strip": half}
    formation = {"type": "block", "name": "formation", "in_means": False, "step": cycles}
    efficiencies = (0.8, 0.9, 0.98, 0.99)
    for parts, counted in (([formation, cycles], efficiencies[2:]), ([formation, formation], ())):
        told = make_run(technique={"type": "sequence", "steps": parts})
        told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(efficiencies))
        told.stop()
        found = metrics(Run.from_documents(told.documents))
        assert found["ce_pct"].value == pytest.approx([100 * x for x in efficiencies])
        for name in ("ce_mean_pct", "ce_mean_without_first_pct", "ce_ratio_of_sums_pct"):
            if counted:
                assert found[name].value == pytest.approx(100 * sum(counted) / len(counted))
                assert "cycle 1, 2 (formation) not counted" in str(found[name].reason)
            else:
                assert found[name].value is None
        # What the first cycle lost is a number of its own, whatever part it belongs to.
        assert found["initial_ce_pct"].value == pytest.approx(80.0)


def test_a_strip_that_missed_its_cut_off_is_pointed_out(make_run: Make, synthetic: Any) -> None:
    limit = {"quantity": "potential_above_v", "value": 0.5}
    technique = {"type": "plate_strip_cycle", "strip": {"role": "strip", "until": [limit]}}
    for cut_off, pointed in ((0.5, False), (0.2, True)):
        told = make_run(technique=technique)
        columns = synthetic.galvanostatic((0.9,), cut_off_v=cut_off)
        told.stream("potentiostat", "potentiostat", columns)
        told.stop()
        found = metrics(Run.from_documents(told.documents))["ce_pct"]
        assert found.value == pytest.approx([90.0])
        assert ("before its cut-off" in str(found.reason)) == pointed


def _with_edges(columns: dict[str, Any], edge_s: float = 0.0) -> dict[str, Any]:
    """Add the time since each step's edge; the first row comes ``edge_s`` after it."""
    begins = np.flatnonzero(np.diff(columns["step"], prepend=-1.0))
    begun = columns["t"][begins][np.searchsorted(begins, np.arange(len(columns["t"])), "right") - 1]
    return {**columns, "step_t": columns["t"] - begun + edge_s}


def test_the_charge_before_the_first_row_of_a_step_is_counted(
    make_run: Make, synthetic: Any
) -> None:
    told = make_run()
    columns = _with_edges(synthetic.galvanostatic((0.9,), rows=1801))
    first = [np.flatnonzero(columns["step"] == step)[0] for step in (1, 3)]
    late = {key: np.delete(column, first) for key, column in columns.items()}
    told.stream("potentiostat", "potentiostat", late)
    found = metrics(Run.from_documents(told.documents))
    assert found["plated_capacity_mah_cm2"].value == pytest.approx([0.5], rel=1e-12)
    assert found["ce_pct"].value == pytest.approx([90.0], rel=1e-12)


@pytest.mark.parametrize(("cycle", "left"), [(1, [None, 98.0, 99.0]), (3, [90.0, 98.0, None])])
def test_a_cycle_whose_end_was_lost_is_none_and_the_means_say_so(
    make_run: Make, synthetic: Any, cycle: int, left: list[Any]
) -> None:
    columns = synthetic.galvanostatic((0.9, 0.98, 0.99))
    last = np.flatnonzero((columns["half_cycle"] == 2 * cycle) & (columns["role"] == 1))[-1]
    columns = {key: np.delete(column, last) for key, column in columns.items()}
    columns["flags"][last] = 16
    told = make_run()
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    known = [value for value in left if value is not None]
    assert found["ce_pct"].value == [v if v is None else pytest.approx(v) for v in left]
    assert found["ce_mean_pct"].value == pytest.approx(np.mean(known))
    assert found["ce_mean_without_first_pct"].value == pytest.approx(
        np.mean([value for value in left[1:] if value is not None])
    )
    reason = f"cycle {cycle} is left out: rows were lost at the end of its stripping"
    for name in ("ce_pct", "ce_mean_pct", "ce_mean_without_first_pct", "ce_ratio_of_sums_pct"):
        assert reason in str(found[name].reason), name
    assert (found["initial_ce_pct"].value is None) == (cycle == 1)
    assert _listed(found["late_strip_rise"])[cycle - 1] is None


def test_rows_lost_at_the_begin_of_a_half_cycle_cost_nothing(
    make_run: Make, synthetic: Any
) -> None:
    columns = _with_edges(synthetic.galvanostatic((0.9,)))
    first = np.flatnonzero(columns["half_cycle"] == 2)[0]
    columns = {key: np.delete(column, first) for key, column in columns.items()}
    columns["flags"][first] = 16
    told = make_run()
    told.stream("potentiostat", "potentiostat", columns)
    found = metrics(Run.from_documents(told.documents))
    assert found["ce_pct"].value == pytest.approx([90.0])
    assert found["ce_pct"].reason is None


@pytest.mark.parametrize(("flags", "value"), [(0.0, [90.0]), (16.0, None)])
def test_a_spectrum_follows_a_half_cycle_as_a_row_does(
    make_run: Make, synthetic: Any, flags: float, value: Any
) -> None:
    columns = synthetic.galvanostatic((0.9,))
    without_rests = {key: column[columns["role"] != 0] for key, column in columns.items()}
    told = make_run()
    told.stream("potentiostat", "potentiostat", without_rests)
    assert metrics(Run.from_documents(told.documents))["ce_pct"].value is None  # it goes on
    one = {name: [1.0] for name in ("spectrum", "cycle", "frequency", "z_real")}
    end = float(without_rests["t"][-1])
    point = {"t": [end + 5], "half_cycle": [2.0], "step": [4.0], "z_imag": [0.0], "flags": [flags]}
    told.stream("impedance", "potentiostat_impedance", {**one, **point})
    found = metrics(Run.from_documents(told.documents))["ce_pct"]
    assert found.value == (value if value is None else pytest.approx(value))
    assert found.reason is None or "rows were lost" in found.reason


CUT_OFF = {"quantity": "potential_above_v", "value": 0.5}


def _cycle(*strip_ends: dict[str, Any], **options: Any) -> dict[str, Any]:
    charge = {"quantity": "charge_mah_cm2", "value": 0.5}
    return {
        "type": "plate_strip_cycle",
        "plate": {"current_density_ma_cm2": 1.0, "until": [charge]},
        "strip": {"role": "strip", "current_density_ma_cm2": 1.0, "until": [charge, *strip_ends]},
        **options,
    }


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("status", ["success", "abort"])
@pytest.mark.parametrize(
    ("efficiency", "cut_off_v", "rows_missing", "counts"),
    [
        (0.9, 0.5, 0, True),  # by its potential
        (1.0, 0.2, 0, True),  # by its charge
        (0.9, 0.2, 0, False),  # by nobody of its own
        (0.9, 0.5, 200, False),  # stopped half-way
        (1.0, 0.2, 2, False),  # its last rows are missing: 2 s, 0.5 s apart are the checks
    ],
)
def test_the_last_strip_counts_if_it_reached_a_limit_of_its_own(
    make_run: Make,
    synthetic: Any,
    efficiency: float,
    cut_off_v: float,
    rows_missing: int,
    counts: bool,
    status: str,
    edges: bool,
) -> None:
    columns = synthetic.galvanostatic((efficiency,), cut_off_v=cut_off_v, rows=1801)
    if edges:
        columns = _with_edges(columns)
    last = int(np.flatnonzero(columns["role"] == 1)[-1]) + 1 - rows_missing
    told = make_run(technique=_cycle(CUT_OFF, cycles=3))
    cut = {key: column[:last] for key, column in columns.items()}
    told.stream("potentiostat", "potentiostat", cut)
    assert metrics(Run.from_documents(told.documents))["ce_pct"].value is None  # it may go on
    told.stop(status)
    run = Run.from_documents(told.documents)
    assert half_cycles_of(run)[-1].ended == counts
    found = metrics(run)["ce_pct"]
    # By its charge it gives back what it was asked for.
    assert (found.value is not None) == (counts and efficiency < 1)
    assert found.value is not None or "cycle 1 is left out" in str(found.reason)


def test_which_step_a_half_cycle_was_follows_from_its_number(
    make_run: Make, synthetic: Any
) -> None:
    half = {"quantity": "charge_mah_cm2", "value": 0.45}
    reservoir = _cycle(half)
    reservoir["strip"] = {**reservoir["strip"], "until": [half]}
    last = _cycle(CUT_OFF)
    technique = {"type": "sequence", "steps": [{"type": "repeat", "times": 2, "step": reservoir}]}
    columns = synthetic.galvanostatic((0.9, 0.9, 0.9), cut_off_v=0.2, rows=1801)
    last_row = int(np.flatnonzero(columns["role"] == 1)[-1]) + 1
    for more, complete in (([last], 2), ([reservoir], 3)):
        steps = [*technique["steps"], *more]
        told = make_run(technique={**technique, "steps": steps})
        cut = {key: column[:last_row] for key, column in columns.items()}
        told.stream("potentiostat", "potentiostat", cut)
        told.stop()
        halves = half_cycles_of(Run.from_documents(told.documents))
        assert sum(half.ended for half in halves if half.role == 1) == complete


def test_a_missed_cut_off_is_told_beside_every_number_it_enters(
    make_run: Make, synthetic: Any
) -> None:
    technique = _cycle(CUT_OFF, cycles=2)
    technique["strip"]["until"] = [{"quantity": "charge_mah_cm2", "value": 0.6}, CUT_OFF]
    told = make_run(technique=technique)
    columns = synthetic.galvanostatic((0.9, 1.02), cut_off_v=0.2)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    found = metrics(Run.from_documents(told.documents))
    entered = {
        "1, 2": (
            "ce_pct",
            "ce_mean_pct",
            "ce_ratio_of_sums_pct",
            "cumulative_irreversible_mah_cm2",
        ),
        "1": ("initial_ce_pct", "initial_loss_mah_cm2"),
        "2": ("ce_mean_without_first_pct",),
    }
    for cycles, names in entered.items():
        for name in names:
            reason = str(found[name].reason)
            assert f"the strip ended before its cut-off of 0.5 V in cycle {cycles}" in reason
            assert ("maybe a soft short" in reason) == ("2" in cycles), name
            assert "lower bound" not in reason


def test_a_strip_that_comes_first_is_not_taken_for_the_one_after_the_plating(
    make_run: Make, synthetic: Any
) -> None:
    columns = synthetic.galvanostatic((0.9, 0.9), cut_off_v=0.5)
    columns = {key: column[columns["half_cycle"] > 1] for key, column in columns.items()}
    columns["potential"] = np.where(
        (columns["half_cycle"] == 2) & (columns["role"] == 1), 0.03, columns["potential"]
    )
    columns["cycle"] = np.where(columns["half_cycle"] < 4, 1.0, 2.0)
    columns["half_cycle"] = columns["half_cycle"] - 1
    told = make_run(technique=_cycle(CUT_OFF, cycles=2, first="strip"))
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    found = metrics(Run.from_documents(told.documents))["ce_pct"]
    assert found.value == pytest.approx([90.0])
    assert found.reason is None


# -- what was asked for is no efficiency


def _guarded(**options: Any) -> dict[str, Any]:
    technique = _cycle(**options)
    guard = {"quantity": "charge_mah_cm2", "value": 0.525, "action": "stop"}
    technique["strip"]["until"] = [CUT_OFF, guard]
    return technique


def _ended(make_run: Make, columns: Any, sample: Any = None, **start: Any) -> Any:
    told = make_run(sample, **start) if sample else make_run(**start)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    return metrics(Run.from_documents(told.documents))


def test_strips_that_end_by_their_charge_tell_no_efficiency(make_run: Make, synthetic: Any) -> None:
    columns = synthetic.galvanostatic((1.0,) * 3, cut_off_v=0.2)
    found = _ended(make_run, columns, technique=_cycle(cycles=3))
    for name in ("ce_pct", "ce_mean_pct", "initial_ce_pct", "initial_loss_mah_cm2"):
        assert found[name].value is None
        assert "cycle 1, 2, 3 are left out: the strip ended by its charge" in str(
            found[name].reason
        )


def test_an_electrode_of_the_metal_itself_has_no_efficiency(make_run: Make, synthetic: Any) -> None:
    foil = {**synthetic.HALF_CELL, "working_electrode": synthetic.HALF_CELL["counter_electrode"]}
    foil["counter_electrode"] = {"material": "Pt", "area_cm2": 1.131}
    columns = synthetic.galvanostatic((1.0, 1.0))
    found = _ended(make_run, columns, foil)
    for name in ("ce_pct", "ce_mean_pct", "reservoir_ce_pct"):
        assert found[name].value is None
        assert "is made of Zn" in str(found[name].reason)


def test_metal_deposited_before_leaves_cycles_out_until_a_strip_took_it(
    make_run: Make, synthetic: Any
) -> None:
    plated = {**synthetic.HALF_CELL["working_electrode"], "predeposited_mah_cm2": 0.2}
    sample = {**synthetic.HALF_CELL, "working_electrode": plated}
    sample["counter_electrode"] = {"material": "Pt", "area_cm2": 1.131}
    columns = synthetic.galvanostatic((1.3, 0.97, 0.98))
    found = _ended(make_run, columns, sample)
    assert found["ce_pct"].value == [None, pytest.approx(97.0), pytest.approx(98.0)]
    assert "cycle 1 is left out: the electrode held metal" in str(found["ce_pct"].reason)
    assert found["initial_ce_pct"].value is None


def test_a_strip_that_a_guard_ended_is_in_no_mean(make_run: Make, synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.97, 0.98, 1.05))
    last = (columns["half_cycle"] == 6) & (columns["role"] == 1)
    columns["potential"][last] = 0.03  # it never came to its cut-off
    found = _ended(make_run, columns, technique=_guarded(cycles=5))
    assert found["ce_pct"].value == pytest.approx([97.0, 98.0])
    assert found["ce_mean_pct"].value == pytest.approx(97.5)
    assert "cycle 3 is left out: the strip did not come to its cut-off" in str(
        found["ce_mean_pct"].reason
    )
    assert found["soft_short_coulombic_cycle"].value == [3.0]


def test_cycles_from_a_hard_short_on_are_in_no_mean(make_run: Make, synthetic: Any) -> None:
    efficiencies = [0.97] * 10 + [1.2] * 4
    columns = synthetic.galvanostatic(efficiencies, rows=120)
    shorted = columns["half_cycle"] > 20
    columns["potential"][shorted] = np.sign(columns["current"][shorted]) * 1.5e-3
    found = _ended(make_run, columns)
    assert found["hard_short_cycle"].value == 11.0
    assert len(_listed(found["ce_pct"])) == 14
    for name in ("ce_mean_pct", "ce_mean_without_first_pct", "ce_ratio_of_sums_pct"):
        assert found[name].value == pytest.approx(97.0)
        assert "(from the hard short on) not counted" in str(found[name].reason)
    assert found["ce_sd_pct"].value == pytest.approx(0.0, abs=1e-9)
    assert found["cumulative_irreversible_mah_cm2"].value == pytest.approx(10 * 0.5 * 0.03)
    assert found["ce_last_cycle_above_95"].value == 10.0
    assert (
        _ended(make_run, synthetic.galvanostatic((0.97,) * 14, rows=120))["hard_short_cycle"].value
        is None
    )


# -- uncertainties of potentials


def test_potentials_are_told_with_offset_gain_and_noise(make_run: Make, synthetic: Any) -> None:
    columns = synthetic.galvanostatic((0.9, 0.9), noise_v=1e-4, cut_off_v=0.3)
    calibration = {
        "potentiostat": {"potential_offset_uncertainty_v": 2e-4, "potential_gain_uncertainty": 5e-3}
    }
    found = _ended(make_run, columns, calibration=calibration)
    median_v = 1e-4 * math.sqrt(0.5 * math.pi / 200)
    plateau = found["plateau_overpotential_mv"]
    expected = 1e3 * math.hypot(2e-4, 5e-3 * 0.030, median_v)
    assert _listed_u(plateau) == pytest.approx([expected] * 2, rel=0.02)
    # The offset is in both directions and cancels.
    gap, median_v = found["polarisation_mv"], 1e-4 * math.sqrt(0.5 * math.pi / 40)
    expected = 1e3 * math.hypot(5e-3 * 0.060, median_v, median_v)
    assert _listed_u(gap) == pytest.approx([expected] * 2, rel=0.05)
    half = [u / 2 for u in _listed_u(gap)]
    assert _listed_u(found["overpotential_mv"]) == pytest.approx(half)
    rise = found["late_strip_rise"]
    late, u_rise = _listed(rise)[0], _listed_u(rise)[0]
    assert late > 1.3
    offset = 2e-4 * (late - 1) / 0.030
    assert u_rise == pytest.approx(
        math.hypot(offset, 1e-4 * math.sqrt(math.pi / 8) / 0.030), rel=0.5
    )


def _listed_u(metric: Metric) -> list[Any]:
    assert isinstance(metric.uncertainty, list)
    return metric.uncertainty


def test_an_empty_run_explains_every_metric() -> None:
    for name, metric in metrics(Run.from_documents([])).items():
        assert metric.value is None, name
        assert metric.reason


def test_an_uncalibrated_camera_measures_no_thickness(make_run: Make, synthetic: Any) -> None:
    told = make_run()
    frame = np.stack([synthetic.side_view(3.0)])
    ones = {"t_before": [0.0], "t_after": [1.0], "lamp": [1.0], "laser": [0.0]}
    told.stream("camera", "camera", ones, {"image": frame})
    found = metrics(Run.from_documents(told.documents))
    assert "not calibrated" in str(found["image_thickness_um"].reason)


def test_a_metric_is_never_nan_and_never_silent() -> None:
    with pytest.raises(ValueError, match="finite"):
        Metric(math.nan, "%")
    with pytest.raises(ValueError, match="reason"):
        Metric(None, "%")


def test_rows_without_a_leader_s_time_lie_before_or_after_the_program() -> None:
    nan = math.nan
    placed = place(np.array([nan, nan, 5.0, 9.0, nan]), np.array([nan, 1.0, 7.0, nan, nan]))
    np.testing.assert_array_equal(placed.middle_s, [-math.inf, 1.0, 6.0, 9.0, math.inf])
    np.testing.assert_array_equal(placed.after_s, [-math.inf, 1.0, 7.0, 9.0, math.inf])


def test_the_area_of_a_band_that_is_not_there_is_none_with_its_limit(
    make_run: Make, synthetic: Any
) -> None:
    found = metrics(Run.from_documents(_whole(make_run, synthetic).documents))["band_3633_area"]
    assert isinstance(found.value, list)
    assert isinstance(found.uncertainty, list)
    assert sum(value is None for value in found.value[:20]) >= 18
    for value, error in zip(found.value[20:], found.uncertainty[20:], strict=True):
        assert value > 3 * error > 0
    assert "below its limit of detection, about" in str(found.reason)
