"""A potentiostat that sets no current in the place of the first: same plan, record and analysis."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.errors import UnsupportedTechniqueError
from operando.analysis import metrics
from operando.cli._bench import say_instruments
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import Protocol

CELL = "zn-bare-half"
MAKERS = {"methodscript": ("sim", "potentiostat"), "rodeostat": ("sim-rodeostat", "rodeostat")}


def protocol_of_holds() -> Protocol:
    record = {"dt_s": 5.0, "edge_dt_s": 0.5, "check_dt_s": 0.5}
    time = {"quantity": "time_s", "value": 1800.0}
    hold = {"type": "potentiostatic_step", "record": record}
    charge = {"quantity": "charge_mah_cm2", "value": 0.05}
    low = {"quantity": "abs_current_below_ma_cm2", "value": 0.1}
    cycle = [
        hold | {"role": "plate", "potential_v": -0.1, "until": [charge, time]},
        hold | {"role": "strip", "potential_v": 0.2, "until": [low, charge | {"value": 0.1}, time]},
    ]
    sweep = {"type": "linear_sweep", "begin_v": 0.0, "end_v": 0.05, "scan_rate_v_s": 0.005}
    steps = [
        {"type": "open_circuit", "duration_s": 30.0},
        {"type": "repeat", "times": 2, "step": {"type": "sequence", "steps": cycle}},
        sweep,
    ]
    return Protocol.model_validate(
        {"name": "holds", "cell": CELL, "technique": {"type": "sequence", "steps": steps}}
    )


@pytest.fixture(scope="module")
def runs(make_chain: Callable[..., Any]) -> dict[str, tuple[Run, Any]]:
    """The same protocol on the same cell, once on each maker's potentiostat."""
    found = {}
    for maker, (bench, served) in MAKERS.items():
        chain = make_chain(CELL, factor=300.0, instruments=(served,), seed=5)
        file = load_bench(bench).only({"potentiostat"})
        with chain.simulated(), chain.session(file) as session:
            uid = session.run_protocol(protocol_of_holds(), cell=load_cell(CELL))
        found[maker] = (Run.from_journal(uid, chain.data), chain)
    return found


def test_both_makers_measure_the_same_cell(runs: dict[str, tuple[Run, Any]]) -> None:
    first, second = (metrics(runs[maker][0])["ce_pct"] for maker in MAKERS)
    assert first.value is not None
    assert second.value is not None
    # One compares on the instrument, the other in a computer that is late by some fast seconds.
    assert np.abs(np.subtract(first.value, second.value)) == pytest.approx([0, 0], abs=2.0)


def test_the_charges_are_those_of_the_cells_ledger(runs: dict[str, tuple[Run, Any]]) -> None:
    run, chain = runs["rodeostat"]
    passed, before = [], 0.0
    for end in chain.truth("potentiostat", "test_end"):
        ledger = end["working"]
        total = ledger["charge_cathodic"] + ledger["charge_anodic"]
        if end["name"] == "constant" and total > before + 1e-6:
            passed.append(total - before)
        before = total
    assert len(passed) == 4
    measured = metrics(run)["ce_pct"].value
    assert measured == pytest.approx(100 * np.divide(passed[1::2], passed[::2]), abs=2.0)


def test_rows_keep_the_order_of_time_and_the_counters_of_the_steps(
    runs: dict[str, tuple[Run, Any]],
) -> None:
    run, _ = runs["rodeostat"]
    columns = run.streams["potentiostat"].columns
    assert np.all(np.diff(columns["potentiostat_t"]) > 0)
    assert set(columns["potentiostat_half_cycle"][columns["potentiostat_role"] == 1]) == {2, 4}
    assert set(columns["potentiostat_step"]) == {1, 2, 3, 4, 5, 6}


def test_the_run_says_that_its_limits_were_of_software(runs: dict[str, tuple[Run, Any]]) -> None:
    run, _ = runs["rodeostat"]
    assert "SOFTWARE ONLY" in str(run.stop)


def test_a_set_current_is_refused_before_anything_moves(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    capsys: pytest.CaptureFixture[str],
) -> None:
    chain = make_chain(CELL, factor=300.0, instruments=("rodeostat",))
    with chain.simulated(), chain.session(load_bench("sim-rodeostat")) as session:
        say_instruments(session)
        with pytest.raises(UnsupportedTechniqueError, match="no galvanostat"):
            session.run_protocol(plate_strip(CELL, 0.5, 0.1), cell=load_cell(CELL))
    # What the first lines of `operando run` and the banner of the shell say.
    assert "SOFTWARE ONLY: its firmware knows no limits" in capsys.readouterr().out
    assert not chain.truth("potentiostat", "cell_on")
