"""A box that only writes files: they become part of the run in whose time they were begun."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.configuration import load_bench, load_cell
from operando.late import collect_late
from operando.runs import Run
from techniques import Protocol, Schedule

CELL = "zn-bare"


@pytest.mark.long
def test_ion_currents_lie_on_the_leaders_clock_though_the_box_has_another(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=200.0, instruments=("potentiostat", "dems"))
    bench = load_bench("sim-second").only({"potentiostat", "dems"})
    protocol = plate_strip(CELL, 2.0, 0.5, every=Schedule(reading_s=200.0))
    with chain.simulated():
        with chain.session(bench) as session:
            uid = session.run_protocol(protocol, cell=load_cell(CELL))
        found, troubles = collect_late(chain.data, bench)
    assert troubles == []
    run = Run.from_journal(uid, chain.data)
    assert run.attachments
    assert {one.outcome for one in found} <= {"attached", "unexpected", "older", "unreadable"}
    for one in run.attachments:
        told = one["attachment"]
        assert (told["kind"], told["instrument"]) == ("dems_csv", "dems")
        assert told["clock_offset_s"] == 120.0
    counted = run.streams["dems"].columns["dems_files"]
    assert np.nanmax(counted) >= 1
    stream = run.streams["dems_data"]
    ions, before = (stream.columns[f"dems_{key}"] for key in ("ion_current_mz2_a", "t_before"))
    placed = np.isfinite(before) & np.isfinite(ions)
    assert placed.sum() > 10
    # The box's own clock, as declared, put no row outside the run by its two minutes.
    times = stream.time[placed]
    assert run.start["time"] - 5 < times.min() <= times.max() < run.stop["time"] + 5
    written = chain.truth("dems", "file")
    names = {one["attachment"]["source"]["name"] for one in run.attachments}
    assert names <= {one["name"] for one in written} | {f"dems-{len(written) + 1:04d}.csv"}
