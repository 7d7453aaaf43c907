"""A thermostat that follows a run, from the wire to the catalog's arrays."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.errors import InstrumentFaultError
from instruments.thermostat import TemperatureLimitError
from operando.configuration import load_cell
from operando.journal import list_runs
from operando.runs import Run
from operando.session import RunFailedError
from techniques import Protocol, Schedule

pytestmark = pytest.mark.timeout(180)
CELL = "na-znag-symmetric"
ALL = {"potentiostat", "thermostat"}
EVERY = Schedule(temperature_s=60.0, tolerance_s=20.0)


@pytest.fixture(scope="module")
def chain(make_chain: Callable[..., Any]) -> Any:
    return make_chain(CELL, factor=500.0, instruments=sorted(ALL))


def test_its_temperature_is_a_stream_on_the_leaders_clock_and_stays_after_the_run(
    chain: Any, plate_strip: Callable[..., Protocol], in_time: Callable[..., Any]
) -> None:
    protocol = plate_strip(CELL, 1.0, 0.2, every=EVERY)

    def run_twice() -> list[Any]:
        with chain.simulated(), chain.session(ALL) as session:
            session.devices["thermostat"].set(313.15).wait(60)
            uids = [session.run_protocol(protocol, cell=load_cell(CELL)) for _ in range(2)]
            assert session.devices["thermostat"].driver.state().setpoint_k == 313.15
        return [Run.from_journal(uid, chain.data).streams["thermostat"] for uid in uids]

    def each_when_it_is_due(streams: list[Any]) -> None:
        columns = streams[0].columns
        regular = columns["thermostat_t_before"][columns["thermostat_phase"] == 0]
        assert len(regular) > 10
        assert np.median(np.diff(regular)) == pytest.approx(60.0, abs=20.0)

    first, second = in_time(run_twice, each_when_it_is_due)
    before, after = first.columns["thermostat_t_before"], first.columns["thermostat_t_after"]
    assert np.all((before <= after) | np.isnan(after))
    temperature = first.columns["thermostat_temperature"]
    assert temperature[0] < 313.0  # it was on its way
    assert temperature[-3:] == pytest.approx([313.15] * 3, abs=0.3)
    assert second.columns["thermostat_temperature"] == pytest.approx(313.15, abs=0.3)
    assert set(first.columns["thermostat_setpoint"]) == {313.15}
    # The bench was left at its safe temperature.
    goes_to = [line["setpoint_k"] for line in chain.truth("thermostat", "setpoint")]
    assert goes_to[-1] in (298.15, pytest.approx(298.15))


def test_a_bath_beyond_the_cell_is_refused_before_a_run_is_opened(
    chain: Any, plate_strip: Callable[..., Protocol]
) -> None:
    before = list_runs(chain.data)
    cell = load_cell(CELL).model_copy(update={"temperature_max_k": 300.0})
    with chain.simulated(), chain.session(ALL) as session:
        session.devices["thermostat"].set(320.15).wait(60)
        with pytest.raises(TemperatureLimitError, match=r"goes to 320\.15 K; the cell allows"):
            session.run_protocol(plate_strip(CELL, 1.0, 0.2, every=EVERY), cell=cell)
    assert list_runs(chain.data) == before


def test_an_error_of_the_thermostat_ends_the_run_with_the_cell_open_and_its_words(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=500.0, instruments=sorted(ALL))
    with chain.simulated(), chain.session(ALL) as session:
        fault = {"instrument": "thermostat", "fault": "error", "code": -1, "at": 200.0}
        (chain.sim / "faults").write_text(json.dumps(fault) + "\n")
        with pytest.raises((RunFailedError, InstrumentFaultError)) as caught:
            session.run_protocol(plate_strip(CELL, 1.0, 1.0, every=EVERY), cell=load_cell(CELL))
    assert "reports error -1" in str(caught.value)
    assert chain.truth("potentiostat", "cell_off")
    (told,) = list_runs(chain.data)
    run = Run.from_journal(told.uid, chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == "fail"
    assert "reports error -1" in run.stop["reason"]
    assert len(run.streams["potentiostat"]) > 0
