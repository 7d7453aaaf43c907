"""A sodium half cell from the wire to the number, compared with the simulated cell's own ledger."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from operando.analysis import Metric, metrics
from operando.catalog import (
    close_catalog,
    ensure_service,
    open_catalog,
    stop_service,
    wait_until_ingested,
)
from operando.replay import replay
from operando.runs import Run, RunBuilder
from techniques import Protocol

# Most of it is the catalog service starting, and the first import of its client.
pytestmark = pytest.mark.timeout(150)
CELL = "na-znag-half"
PRESET = "na-znag"
FACTOR = 20_000


@dataclass(frozen=True)
class Experiment:
    chain: Any
    uid: str
    run: Run
    numbers: dict[str, Metric]


@pytest.fixture(scope="module")
def cycle_twice(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> Callable[[float], Experiment]:
    """Return what runs two cycles of a new cell of one seed, rows ``slower`` times rarer."""

    def run(slower: float) -> Experiment:
        chain = make_chain(PRESET, factor=FACTOR)
        record = {
            "dt_s": 30.0 * slower,
            "de_v": 0.002 * slower,
            "edge_dt_s": slower,
            "edge_for_s": 450.0,
        }
        protocol = plate_strip(CELL, 0.5, 0.5, cycles=2, record=record)
        uid = chain.run(protocol, CELL)
        stored = Run.from_journal(uid, chain.data)
        return Experiment(chain, uid, stored, metrics(stored))

    return run


@pytest.fixture(scope="module")
def experiment(cycle_twice: Callable[[float], Experiment]) -> Experiment:
    return cycle_twice(1.0)


@pytest.fixture(scope="module")
def catalogued(
    experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Experiment]:
    """Have the experiment in a catalog of its own, seen through databroker."""
    folder = experiment.chain.data
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILED_PROFILES", str(tmp_path_factory.mktemp("profiles")))
        ensure_service(folder, idle_s=60)
        try:
            wait_until_ingested(folder, experiment.uid, timeout_s=60)
            yield experiment
        finally:
            stop_service(folder)


def half_cycles(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the galvanostatic segments of the truth, with the charge each passed."""
    found, before = [], {"charge_cathodic": 0.0, "charge_anodic": 0.0}
    for segment in experiment.chain.truth("potentiostat", "segment"):
        ledger = segment["ledger"]["WE"]
        passed = sum(ledger[key] - before[key] for key in before)
        before = {key: ledger[key] for key in before}
        if segment["technique"] == "cp":
            found.append(segment | {"charge_mah_cm2": passed})
    return found


def test_the_coulombic_efficiency_is_that_of_the_cells_own_ledger(experiment: Experiment) -> None:
    plated, stripped, *_ = halves = half_cycles(experiment)
    true_pct = [
        100 * strip["charge_mah_cm2"] / plate["charge_mah_cm2"]
        for plate, strip in zip(halves[::2], halves[1::2], strict=True)
    ]
    found = experiment.numbers["ce_pct"]
    assert found.unit == "%"
    # As it comes, with the instrument's own offset; and within what the analysis claims.
    np.testing.assert_allclose(found.value, true_pct, rtol=1e-4)
    assert found.uncertainty is not None
    assert np.all(np.abs(np.subtract(found.value, true_pct)) < found.uncertainty)
    # With the currents that really flowed, the chain itself adds nothing.
    columns = experiment.run.streams["potentiostat"].columns
    (zero,) = experiment.run.start["current_zero"]["measured"]
    for number, half in enumerate(halves):
        rows = columns["potentiostat_half_cycle"] == number + 1
        flowing = rows & (columns["potentiostat_role"] != 0)
        half["measured_a"] = (
            float(np.median(columns["potentiostat_current"][flowing])) - zero["current_a"]
        )
    for cycle, (plated, stripped) in enumerate(zip(halves[::2], halves[1::2], strict=True)):
        ratio_true = stripped["current_a"] / plated["current_a"]
        ratio_measured = stripped["measured_a"] / plated["measured_a"]
        corrected = found.value[cycle] * ratio_true / ratio_measured
        assert math.isclose(corrected, true_pct[cycle], rel_tol=1e-5)


def test_the_ledger_of_the_plated_charge_closes(experiment: Experiment) -> None:
    for half in half_cycles(experiment):
        assert abs(half["ledger"]["WE"]["residual"]) < 1e-6
    plated = experiment.numbers["plated_capacity_mah_cm2"].value
    true = [half["charge_mah_cm2"] for half in half_cycles(experiment)[::2]]
    # The instrument's gain and its timer, as their truth tells: 0.1 % and 100 ppm.
    np.testing.assert_allclose(plated, true, rtol=3e-3)


def test_journal_catalog_and_replay_give_numbers_identical_to_the_bit(
    catalogued: Experiment,
) -> None:
    folder, uid = catalogued.chain.data, catalogued.uid
    builders = RunBuilder(), RunBuilder()
    replay(uid, folder, builders[0])
    replay(uid, folder, builders[1], source="catalog")
    told = {name: repr(metric) for name, metric in catalogued.numbers.items()}
    for run in (Run.from_catalog(uid, folder), *(builder.run for builder in builders)):
        assert {name: repr(metric) for name, metric in metrics(run).items()} == told
        for name, stream in catalogued.run.streams.items():
            if not len(stream):  # declared, never filled: the catalog has no table to ask
                continue
            for key, column in stream.columns.items():
                np.testing.assert_array_equal(run.streams[name].columns[key], column)


def test_databroker_opens_the_run_by_its_uid_and_finds_its_rows(catalogued: Experiment) -> None:
    catalog = open_catalog(catalogued.chain.data)
    try:
        opened = catalog[catalogued.uid]
        assert opened.metadata["stop"]["exit_status"] == "success"
        found = np.asarray(opened["potentiostat"].read()["potentiostat_potential"])
    finally:
        close_catalog(catalog)
    stored = catalogued.run.streams["potentiostat"].columns["potentiostat_potential"]
    np.testing.assert_array_equal(found, stored)


def test_half_the_rows_change_efficiency_and_nucleation_by_next_to_nothing(
    experiment: Experiment, cycle_twice: Callable[[float], Experiment]
) -> None:
    halved = cycle_twice(2.0)
    assert len(halved.run.streams["potentiostat"]) < 0.7 * len(
        experiment.run.streams["potentiostat"]
    )
    for name, allowed in (("ce_pct", 0.05), ("initial_ce_pct", 0.05), ("cell_eta_n_mv", 0.3)):
        before, after = experiment.numbers[name].value, halved.numbers[name].value
        assert before is not None
        assert after is not None
        np.testing.assert_allclose(after, before, rtol=0, atol=allowed)
