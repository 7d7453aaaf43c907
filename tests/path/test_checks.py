"""Checks of the instruments themselves, over the wire to the record."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.configuration import load_cell
from operando.runs import Run
from plans import calibration_gas, dummy_cell_run, leak_test

GAS_BENCH = ("potentiostat", "relay_board", "gas_chromatograph")


def test_a_dummy_cell_is_measured_in_every_range_that_its_limits_allow(
    make_chain: Callable[..., Any],
) -> None:
    chain = make_chain("dummy-100ohm", factor=100)
    cell = load_cell("dummy-100ohm")
    with chain.simulated(leader_only=True), chain.session() as session:
        leader = session.devices["potentiostat"]
        uid = session.run(dummy_cell_run(leader, cell=cell, resistance_ohm=100.0, step_s=5.0))
        ranges = leader.capabilities.current_ranges_a
    run = Run.from_journal(uid, chain.data)
    assert run.start["plan_name"] == "dummy_cell_run"
    assert run.start["technique_as_written"]["type"] == "dummy_cell_ranges"
    columns = run.streams["potentiostat"].columns
    flowing = columns["potentiostat_role"] == 3
    steps = columns["potentiostat_step"][flowing]
    current, potential = (
        columns[f"potentiostat_{name}"][flowing] for name in ("current", "potential")
    )
    found = {float(np.median(current[steps == step])) for step in np.unique(steps)}
    told = [0.6 * nominal for nominal in ranges if 0.6 * nominal <= 0.01]
    assert sorted(x for x in found if x > 0) == pytest.approx(told, rel=5e-3)
    assert sorted(-x for x in found if x < 0) == pytest.approx(told, rel=5e-3)
    for step in np.unique(steps)[-4:]:  # in small ranges the offset of the potential counts
        rows = steps == step
        ohm = np.median(potential[rows]) / np.median(current[rows])
        assert ohm == pytest.approx(100.0, rel=0.01)
    spectrum = run.streams["impedance"].columns
    assert np.allclose(spectrum["potentiostat_impedance_z_real"], 100.0, rtol=0.01)


def test_a_dummy_cell_too_large_for_every_range_is_refused_before_anything_moves(
    make_chain: Callable[..., Any],
) -> None:
    chain = make_chain("dummy-100ohm")
    cell = load_cell("dummy-100ohm")
    with (
        chain.simulated(leader_only=True),
        chain.session() as session,
        pytest.raises(ValueError, match="take a smaller resistor, or give currents_a"),
    ):
        session.run(dummy_cell_run(session.devices["potentiostat"], cell=cell, resistance_ohm=1e9))
    assert not chain.truth("potentiostat", "cell_on")


@pytest.mark.timeout(180)
def test_gas_checks_are_runs_that_say_what_was_injected(
    make_chain: Callable[..., Any], in_time: Callable[..., Any]
) -> None:
    cell = load_cell("zn-bare")

    def run_both() -> list[Run]:
        chain = make_chain("zn-bare", factor=500)
        with chain.simulated(), chain.session(GAS_BENCH) as session:
            devices = session.devices["potentiostat"], session.devices["gas_chromatograph"]
            common = {"cell": cell, "injections": 2, "interval_s": 300.0}
            known = session.run(calibration_gas(*devices, mole_fractions={"H2": 1e-3}, **common))
            tight = session.run(leak_test(*devices, **{**common, "injections": 3}))
        return [Run.from_journal(uid, chain.data) for uid in (known, tight)]

    def when_they_were_due(runs: list[Run]) -> None:
        for run in runs:
            injected = run.streams["gas_chromatograph"].columns["gas_chromatograph_t_before"]
            assert 250 < injected[1] - injected[0] < 400

    runs = in_time(run_both, when_they_were_due)
    for run, told, injections in (
        (runs[0], {"kind": "calibration", "mole_fractions": {"H2": 1e-3}}, 2),
        (runs[1], {"kind": "leak_test", "mole_fractions": {}}, 3),
    ):
        assert run.start["gas_check"] == told
        assert run.stop is not None
        assert run.stop["exit_status"] == "success"
        assert len(run.streams["gas_chromatograph"]) == injections
        assert len(run.streams["chromatogram"]) == injections
        # Nothing was driven: the cell stayed at open circuit.
        assert np.all(run.streams["potentiostat"].columns["potentiostat_role"] == 0)
    # The air in every sample of the simulated instrument does not rise.
    found = metrics(run)
    for name, ppm in (("oxygen", 200.0), ("nitrogen", 800.0)):
        assert found[f"{name}_ppm"].value == pytest.approx([ppm] * 3, rel=0.1)
        rise = found[f"{name}_rise_ppm_h"]
        assert isinstance(rise.value, float)
        assert abs(rise.value) * 600 / 3600 < 0.1 * ppm
