"""Runs through several temperatures whose host dies."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.configuration import load_bench
from operando.journal import documents, journal_path, list_runs
from operando.resume import ResumeError, resume
from operando.runs import Run
from operando.session import RunFailedError, Session
from techniques import Protocol

pytestmark = pytest.mark.timeout(120)
FACTOR = 400.0
BENCH = ("potentiostat", "thermostat")
RECORD = {"dt_s": 1.0, "edge_dt_s": 1.0}


def at_two_temperatures(hold_s: float) -> Protocol:
    return Protocol.model_validate(
        {
            "name": "at two temperatures",
            "cell": "zn-bare-half",
            "technique": {
                "type": "galvanostatic_step",
                "role": "plate",
                "current_density_ma_cm2": 1.0,
                "until": [{"quantity": "time_s", "value": hold_s}],
                "record": RECORD,
            },
            "every": {"temperature_s": 15.0},
            "temperatures": {
                "kelvin": [298.15, 303.15],
                "within_k": 2.0,
                "drift_below_k_min": 5.0,
                "soak_s": 60.0,
                "give_up_s": 7200.0,
            },
        }
    )


@pytest.mark.long
def test_what_the_instrument_did_alone_is_recorded_and_no_other_temperature_is_guessed(
    broken: Any, wait_for: Callable[..., None]
) -> None:
    def newest() -> Run:
        return Run.from_documents(
            documents(journal_path(broken.data, list_runs(broken.data)[0].uid))
        )

    def plated() -> int:
        if not list_runs(broken.data):
            return 0
        stream = newest().streams.get("potentiostat")
        return 0 if stream is None else int((stream.columns["potentiostat_role"] == -1).sum())

    path = broken.write_protocol(at_two_temperatures(600.0))
    with broken.serve(*BENCH, factor=FACTOR):
        process = broken.operando("run", str(path), "--only", ",".join(BENCH))
        wait_for(lambda: plated() >= 60 or process.poll() is not None, "no rows came")
        process.kill()
        out = process.communicate()
        assert plated() >= 60, out
        time.sleep(0.2)  # the instrument goes on by itself
        with Session(load_bench("sim").only(set(BENCH)), broken.data, catalog=False) as session:
            with pytest.raises(RunFailedError, match="goes through several temperatures"):
                resume(session, "last")
            # All of it is on record now.
            with pytest.raises(ResumeError, match="goes through several temperatures"):
                resume(session, "last")
        assert not broken.cell_is_on()
    assert len(list_runs(broken.data)) == 2
    told = newest()
    assert told.stop is not None
    assert told.stop["exit_status"] == "fail"
    assert told.start["resume"]["collected_rows"] > 10
    assert told.start["remaining_technique"] is None
    t_s = Run.from_journal("last", broken.data).streams["potentiostat"].columns["potentiostat_t"]
    assert (np.diff(t_s) > 0).all()
