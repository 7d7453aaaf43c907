"""Sensors that follow a run, from the wire to the catalog's arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import OpenCircuit, Protocol, Recording, Schedule

CELL = "zn-bare"


@pytest.mark.long
def test_the_ph_is_a_stream_on_the_leaders_clock_and_follows_the_hydrogen(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=200.0, instruments=("potentiostat", "ph_meter"))
    bench = load_bench("sim-second").only({"potentiostat", "ph_meter"})
    protocol = plate_strip(CELL, 2.0, 1.0, every=Schedule(reading_s=400.0))
    with chain.simulated(), chain.session(bench) as session:
        uid = session.run_protocol(protocol, cell=load_cell(CELL))
    run = Run.from_journal(uid, chain.data)
    stream = run.streams["ph_meter"]
    before, after = stream.columns["ph_meter_t_before"], stream.columns["ph_meter_t_after"]
    regular = before[stream.columns["ph_meter_phase"] == 0]
    assert len(regular) > 5
    # It is due at a row of the leader, which come every 30 s.
    assert np.median(np.diff(regular)) == pytest.approx(400.0, abs=31.0)
    assert np.all((before <= after) | np.isnan(after))
    ph = stream.columns["ph_meter_ph"]
    assert np.all((ph > 4.2) & (ph < 4.8))
    hydrogen = chain.truth("cell", "end")[-1]["hydrogen_evolved_mol"]
    assert hydrogen > 0
    # Four readings on either side tell the rise (0.03) from the noise of one (0.002).
    assert np.mean(ph[-4:]) - np.mean(ph[:4]) > 0.005


def test_a_sensor_that_is_gone_ends_nothing_and_is_told(make_chain: Callable[..., Any]) -> None:
    chain = make_chain(CELL, factor=100.0, instruments=("potentiostat", "ph_meter"))
    bench = load_bench("sim-second").only({"potentiostat", "ph_meter"})
    rest = OpenCircuit(duration_s=600.0, record=Recording(dt_s=10.0))
    protocol = Protocol(name="rest", cell=CELL, technique=rest, every=Schedule(reading_s=60.0))
    with chain.simulated(), chain.session(bench) as session:
        (chain.sim / "faults").write_text('{"instrument": "ph_meter", "fault": "unplug"}\n')
        uid = session.run_protocol(protocol, cell=load_cell(CELL))
    run = Run.from_journal(uid, chain.data)
    assert np.isnan(run.streams["ph_meter"].columns["ph_meter_ph"]).any()
    assert run.stop["exit_status"] == "success"
    assert "ph_meter: no reading, the run goes on without" in run.stop["reason"]
    assert run.streams["potentiostat"].columns["potentiostat_t"][-1] == pytest.approx(600, abs=1)
