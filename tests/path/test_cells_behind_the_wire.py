"""Full cells, dummy cells and injected shorts, from the simulator's truth to the number."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.configuration import load_cell
from operando.runs import Run
from techniques import GalvanostaticStep, Limit, PotentiostaticStep, Protocol, Recording, Schedule
from techniques import Sequence as Steps

NOBODY = Schedule(image_s=None, spectrum_s=None, injection_s=None, temperature_s=None)


def protocol(cell: str, technique: Any) -> Protocol:
    return Protocol.model_validate(
        {"name": "short", "cell": cell, "technique": technique, "every": NOBODY}
    )


def test_a_full_cell_is_charged_held_and_discharged_with_the_charges_of_the_truth(
    make_chain: Callable[..., Any],
) -> None:
    cell = "pb-znag-anodeless"
    chain = make_chain(cell, factor=20_000.0)
    cycling = {
        "type": "full_cell_cycling",
        "charge_to_v": 3.7,
        "discharge_to_v": 2.4,
        "current_ma_g": 100,
        "cycles": 2,
        "hold_below_fraction": 0.2,
        "hold_max_s": 1200,
    }
    uid = chain.run(protocol(cell, cycling), cell)
    run = Run.from_journal(uid, chain.data)
    told = metrics(run)
    measured = told["discharge_capacity_mah_g"].value
    assert isinstance(measured, (list, tuple))
    mass_mg_cm2 = 2.8275 / 1.131
    turns = [line["working"] for line in chain.truth("cell", "turn")]
    end = chain.truth("cell", "end")[0]["working"]
    cathodic = [line["charge_cathodic"] for line in (*turns, end)]
    true_mah_g = [
        1e3 * (after - before) / mass_mg_cm2
        for before, after in pairwise(cathodic)
        if after > before + 1e-6
    ]
    assert measured == pytest.approx(true_mah_g, rel=2e-3)
    assert measured[0] == pytest.approx(104.9, rel=0.01)
    potentials = run.streams["potentiostat"].columns["potentiostat_potential"]
    assert 2.2 < potentials.min() < 2.45
    assert 3.65 < potentials.max() < 3.75


@pytest.mark.parametrize(("name", "ohm"), [("dummy-100ohm", 100.0), ("dummy-10kohm", 1e4)])
def test_a_dummy_cell_reads_its_resistance_under_current_and_under_potential(
    make_chain: Callable[..., Any], name: str, ohm: float
) -> None:
    chain = make_chain(name, factor=100.0, instruments=["potentiostat"])
    record = Recording(dt_s=0.5)
    until = (Limit(quantity="time_s", value=10.0),)
    volt = 0.5
    steps = Steps(
        steps=(
            GalvanostaticStep(current_density_ma_cm2=volt / ohm * 1e3, until=until, record=record),
            PotentiostaticStep(potential_v=volt, until=until, record=record),
        )
    )
    uid = chain.run(protocol(name, steps), name)
    columns = Run.from_journal(uid, chain.data).streams["potentiostat"].columns
    potential, current = columns["potentiostat_potential"], columns["potentiostat_current"]
    # Gains of the current ranges are good to 0.1 % (one standard deviation).
    for step in np.unique(columns["potentiostat_step"]):
        rows = columns["potentiostat_step"] == step
        assert np.mean(potential[rows] / current[rows]) == pytest.approx(ohm, rel=5e-3)
    made = chain.truth("cell", "made")[0]["parameters"]
    assert made["series_ohm"] == ohm


def test_an_injected_soft_short_is_told_at_its_time_and_seen_in_the_rows(
    make_chain: Callable[..., Any],
) -> None:
    cell = "zn-zro2"
    chain = make_chain(cell, factor=1000.0, instruments=["potentiostat"])
    step = GalvanostaticStep(
        current_density_ma_cm2=-1.0,
        until=(Limit(quantity="time_s", value=1200.0),),
        record=Recording(dt_s=2.0),
    )
    with chain.simulated(), chain.session() as session:
        (chain.sim / "faults").write_text(
            '{"instrument": "cell", "fault": "soft-short", "at": 700, "ohm": 20, "seconds": 120}\n'
        )
        uid = session.run_protocol(protocol(cell, step), cell=load_cell(cell))
    (short,) = chain.truth("cell", "short")
    assert short == {
        "event": "short",
        "cell_t_s": pytest.approx(700.0),
        "kind": "soft",
        "ohm": 20.0,
        "ends_s": pytest.approx(820.0),
        "injected": True,
    }
    columns = Run.from_journal(uid, chain.data).streams["potentiostat"].columns
    t, potential = columns["potentiostat_t"], np.abs(columns["potentiostat_potential"])
    # The leader's clock began with its own program, some seconds after the cell's.
    began_s = chain.truth("potentiostat", "cell_on")[0]["cell_t_s"]
    low = t[potential < 0.9 * np.median(potential)] + began_s
    assert low.min() == pytest.approx(700.0, abs=5.0)
    assert low.max() == pytest.approx(820.0, abs=5.0)
