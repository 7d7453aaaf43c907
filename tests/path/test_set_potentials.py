"""Constant current and constant potential in one half-cycle, from the plan to the efficiency."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operando.analysis.metrics import half_cycles_of, metrics
from operando.export.bdf import export_bdf
from operando.runs import Run
from techniques import Protocol, Schedule

CELL = "zn-bare-half"
CHARGE = 0.2


def test_an_efficiency_of_cycles_that_end_at_a_set_potential_is_that_of_the_cell(
    make_chain: Callable[..., Any],
) -> None:
    record = {"dt_s": 10.0, "edge_dt_s": 1.0, "di_ma_cm2": 0.05}
    charge = {"quantity": "charge_mah_cm2", "value": CHARGE}
    plate = {"type": "galvanostatic_step", "role": "plate", "current_density_ma_cm2": 2.0}
    strip = {"type": "galvanostatic_step", "role": "strip", "current_density_ma_cm2": 2.0}
    ends = [{"quantity": "potential_above_v", "value": 0.2}, charge | {"value": 2 * CHARGE}]
    tail = {
        "type": "potentiostatic_step",
        "role": "strip",
        "continues_half_cycle": True,
        "potential_v": 0.2,
        "record": record,
        "until": [
            {"quantity": "abs_current_below_ma_cm2", "value": 0.02},
            {"quantity": "time_s", "value": 900.0},
            charge,
        ],
    }
    cycle = [
        plate | {"until": [charge], "record": record},
        strip | {"until": ends, "record": record},
        tail,
    ]
    steps = {"type": "repeat", "times": 3, "step": {"type": "sequence", "steps": cycle}}
    scans = {"type": "cyclic_voltammetry", "begin_v": 0, "vertex1_v": 0.05, "vertex2_v": -0.02}
    whole = {"type": "sequence", "steps": [steps, scans | {"scan_rate_v_s": 0.01}]}
    protocol = Protocol.model_validate(
        {"name": "CC-CV", "cell": CELL, "technique": whole, "every": Schedule()}
    )
    chain = make_chain(CELL, factor=10_000)
    run = Run.from_journal(chain.run(protocol, CELL), chain.data)

    ledgers = [
        (line["technique"], line["ledger"]["WE"]) for line in chain.truth("potentiostat", "segment")
    ]
    held = [ledger for technique, ledger in ledgers if technique == "ca"]
    strips = np.diff([0.0, *(ledger["charge_anodic"] for ledger in held)])
    plates = np.diff([0.0, *(ledger["charge_cathodic"] for ledger in held)])
    # Currents are read and set with 0.1 % of error in each range.
    assert metrics(run)["ce_pct"].value == pytest.approx(100 * strips / plates, abs=0.4)
    halves = half_cycles_of(run)
    assert [half.number for half in halves] == [1, 2, 3, 4, 5, 6]
    assert all(half.ended for half in halves)
    stripped = [half.capacity_mah_cm2 for half in halves if half.role == 1]
    assert stripped == pytest.approx(strips, rel=4e-3)
    roles = run.streams["potentiostat"].columns["potentiostat_role"]
    assert set(roles) == {-1.0, 1.0, 6.0}


def test_a_cell_with_a_reference_electrode_is_recorded_with_both_potentials(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol], tmp_path: Path
) -> None:
    cell = "zn-bare-half-reference"
    chain = make_chain(cell, factor=10_000)
    run = Run.from_journal(chain.run(plate_strip(cell, 2.0, 0.1), cell), chain.data)
    stream = run.streams["potentiostat"]
    potential, across = (
        stream.columns[f"potentiostat_{name}"] for name in ("potential", "potential_cell")
    )
    role = stream.columns["potentiostat_role"]
    driven = role != 0
    # What drops at the counter electrode and before it has the sign of the current.
    assert np.all((across - potential)[driven] * role[driven] > 0.05)
    assert across[~driven] == pytest.approx(potential[~driven], abs=5e-3)
    assert stream.units["potentiostat_potential_cell"] == "V"
    numbers = metrics(run)
    # Against the wire the overpotential is that of one electrode, and has its own name.
    assert 0 < numbers["eta_n_mv"].value
    assert numbers["ce_pct"].value[0] == pytest.approx(97.0, abs=2.0)
    assert export_bdf(run, tmp_path)[0].exists()
