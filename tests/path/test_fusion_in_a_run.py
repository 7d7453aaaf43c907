"""A chromatograph that is commanded by HTTP and names its results after the run."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from instruments.gas_chromatograph.fusion import FusionResults
from operando.configuration import load_bench, load_cell
from operando.late import collect_late
from operando.runs import Run
from techniques import Protocol, Schedule
from techniques.injections import injection_label

pytestmark = pytest.mark.timeout(180)
CELL = "zn-bare"


def test_injections_follow_the_leader_and_results_carry_the_name_of_the_run(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    in_time: Callable[..., Any],
) -> None:
    bench = load_bench("sim-second").only({"potentiostat", "gas_chromatograph"})
    protocol = plate_strip(CELL, 2.0, 0.3, every=Schedule(injection_s=100.0))

    def run_it() -> tuple[Run, list[dict[str, Any]], list[Any]]:
        chain = make_chain(CELL, factor=200.0, instruments=("potentiostat", "fusion"))
        with chain.simulated():
            with chain.session(bench) as session:
                uid = session.run_protocol(protocol, cell=load_cell(CELL))
            run = Run.from_journal(uid, chain.data)
            source = FusionResults("published:${OPERANDO_SIM}/fusion")
            told = [json.loads(source.content(name)) for name in source.listed()]
            # All of them are in the run: nothing is attached, by the session or by hand.
            found, troubles = collect_late(chain.data, bench)
            assert troubles == []
            assert Run.from_journal(uid, chain.data).attachments == ()
            return run, told, found

    def asked_while_it_is_busy(done: tuple[Run, Any, Any]) -> None:
        # It takes 160 s and is asked each 100 s.
        missed = done[0].streams["gas_chromatograph"].columns["gas_chromatograph_missed"]
        assert 0 < missed.sum() < len(missed)

    run, told, found = in_time(run_it, asked_while_it_is_busy)
    asked = run.streams["gas_chromatograph"].columns
    missed = asked["gas_chromatograph_missed"]
    made = asked["gas_chromatograph_injection"][missed == 0].tolist()
    results = run.streams["chromatogram"]
    assert results.columns["gas_chromatograph_result_injection"].tolist() == made
    assert len(results.asset("gas_chromatograph_result_trace")) == len(made)
    names = {one["annotations"]["name"] for one in told}
    assert names == {injection_label(run.uid, int(number)) for number in made}
    assert {one.outcome for one in found} <= {"present"}
