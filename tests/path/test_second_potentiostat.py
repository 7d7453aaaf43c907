"""A second maker's potentiostat in the place of the first: the same plan, record and analysis."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.errors import UnsupportedTechniqueError
from operando.analysis import Metric, metrics
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import ImpedanceSpectrum, Protocol, SafetyLimits

CELL, CYCLES = "na-bare-half", 2
MAKERS = {"methodscript": ("sim", "potentiostat"), "keithley": ("sim-keithley", "keithley")}
# Limits are compared this often in a half-cycle, so its end is known to that share of it.
CHECKS = 3600


@pytest.fixture(scope="module")
def runs(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> dict[str, tuple[Run, Any]]:
    """The same protocol on the same cell, once on each maker's potentiostat."""
    found = {}
    record = {"dt_s": 5.0, "edge_dt_s": 0.5, "edge_for_s": 20.0}
    protocol = plate_strip(CELL, 0.5, 0.1, cycles=CYCLES, record=record)
    for maker, (bench, served) in MAKERS.items():
        chain = make_chain(CELL, factor=5000.0, instruments=(served,), seed=5)
        file = load_bench(bench).only({"potentiostat"})
        with chain.simulated(), chain.session(file) as session:
            uid = session.run_protocol(protocol, cell=load_cell(CELL))
        found[maker] = (Run.from_journal(uid, chain.data), chain)
    return found


def values(found: dict[str, Metric], name: str) -> tuple[np.ndarray, np.ndarray]:
    metric = found[name]
    assert metric.value is not None, (name, metric.reason)
    return np.atleast_1d(metric.value), np.atleast_1d(metric.uncertainty)


def test_both_makers_agree_within_their_noise(runs: dict[str, tuple[Run, Any]]) -> None:
    first, second = (metrics(runs[maker][0]) for maker in MAKERS)
    for name, end in (
        ("plated_capacity_mah_cm2", 0.0),
        ("cell_eta_n_mv", 0.0),
        # Where a strip ends depends on which of its checks finds the potential.
        ("ce_pct", 2.2 * 100 / CHECKS),
    ):
        (one, one_u), (other, other_u) = values(first, name), values(second, name)
        assert len(one) == len(other)
        apart = np.abs(one - other)
        assert np.all(apart <= 3 * np.hypot(one_u, other_u) + end), (name, one, other)


def test_the_efficiency_is_that_of_the_cells_ledger(runs: dict[str, tuple[Run, Any]]) -> None:
    run, chain = runs["keithley"]
    passed, before = [], {"charge_cathodic": 0.0, "charge_anodic": 0.0}
    for segment in chain.truth("potentiostat", "segment"):
        ledger = segment["ledger"]["WE"]
        if segment["technique"] == "cp":
            passed.append(sum(ledger[key] - before[key] for key in before))
        before = {key: ledger[key] for key in before}
    assert len(passed) == 2 * CYCLES
    true_pct = 100 * np.divide(passed[1::2], passed[::2])
    measured, _ = values(metrics(run), "ce_pct")
    assert measured == pytest.approx(true_pct, rel=1e-3)


def test_a_digital_line_pulses_at_each_edge_of_plating_and_stripping(
    runs: dict[str, tuple[Run, Any]],
) -> None:
    run, chain = runs["keithley"]
    pulses = chain.truth("potentiostat", "digital_pulse")
    assert [pulse["line"] for pulse in pulses] == [1] * (2 * CYCLES)
    stream = run.streams["potentiostat"].columns
    t, role = stream["potentiostat_t"], stream["potentiostat_role"]
    edges = (t - stream["potentiostat_step_t"])[np.abs(role) == 1]
    edges = edges[np.concatenate([[True], np.diff(edges) > 1.0])]
    apart_s = np.diff([pulse["cell_t_s"] for pulse in pulses])
    assert np.diff(edges) == pytest.approx(apart_s, rel=1e-4, abs=1e-3)


def test_the_run_says_how_open_circuit_was_measured(runs: dict[str, tuple[Run, Any]]) -> None:
    run, _ = runs["keithley"]
    assert "0 A with the output on" in str(run.stop)


def test_what_it_cannot_do_is_refused_before_anything_moves(
    make_chain: Callable[..., Any],
) -> None:
    protocol = Protocol(
        name="spectrum",
        cell=CELL,
        technique=ImpedanceSpectrum(amplitude_rms_v=0.005),
        limits=SafetyLimits(),
    )
    chain = make_chain(CELL, factor=1000.0, instruments=("keithley",))
    with (
        chain.simulated(),
        chain.session(load_bench("sim-keithley")) as session,
        pytest.raises(UnsupportedTechniqueError, match="no frequency response analyser"),
    ):
        session.run_protocol(protocol, cell=load_cell(CELL))
    assert not chain.truth("potentiostat", "cell_on")
