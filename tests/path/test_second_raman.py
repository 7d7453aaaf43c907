"""A spectrometer of another maker, its laser on a relay, from the wire to the bands."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.errors import UnsupportedTechniqueError
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import Protocol, Schedule

CELL = "zn-bare"


def test_spectra_follow_the_leader_with_the_laser_on_for_each_of_them_only(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    served = ("potentiostat", "relay_board", "raman_ocean")
    chain = make_chain(CELL, factor=200.0, instruments=served)
    bench = load_bench("sim-second").only({"potentiostat", "raman"})
    protocol = plate_strip(CELL, 2.0, 0.2, every=Schedule(spectrum_s=200.0))
    with chain.simulated(), chain.session(bench) as session:
        uid = session.run_protocol(protocol, cell=load_cell(CELL))
    run = Run.from_journal(uid, chain.data)
    stream = run.streams["raman"]
    assert len(stream) >= 3
    assert np.all(stream.columns["raman_laser"] == 1)
    assert np.all(np.isnan(stream.columns["raman_detector_temperature"]))
    lit = [line for line in chain.truth("raman", "spectrum") if line["laser_mj"] > 0]
    accumulations = int(stream.columns["raman_accumulations"][0])
    assert len(lit) == len(stream) * accumulations
    powers = [line["power_mw"] for line in chain.truth("raman", "laser")]
    assert powers == [100.0, 0.0] * len(stream)
    told = run.start["bench"]["instruments"]["raman"]
    assert told["language"] == "ocean"
    assert told["identity"]["model"] == "Ocean HDX"


def test_a_band_beyond_the_axis_is_refused_before_anything_moves(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, instruments=("potentiostat", "relay_board", "raman_ocean"))
    bench = load_bench("sim-second").only({"potentiostat", "raman"})
    entry = bench.instruments["raman"].model_copy(update={"bands_cm1": (980.0, 9000.0)})
    bench = bench.model_copy(update={"instruments": bench.instruments | {"raman": entry}})
    protocol = plate_strip(CELL, 2.0, 0.2, every=Schedule(spectrum_s=200.0))
    with (
        chain.simulated(),
        chain.session(bench) as session,
        pytest.raises(UnsupportedTechniqueError, match="9000 cm-1 are not on its axis"),
    ):
        session.run_protocol(protocol, cell=load_cell(CELL))
    assert chain.truth("raman", "laser") == []
