"""Spectra at several temperatures, over the wire to the activation energy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.errors import SafetyLimitError
from operando.analysis import metrics
from operando.configuration import load_cell
from operando.runs import Run
from operando.session import RunFailedError
from plans import impedance_over_temperatures
from techniques import ImpedanceSpectrum, OpenCircuit, Protocol, Schedule, Temperatures

pytestmark = pytest.mark.timeout(180)
CELL = "na-znag-symmetric"
ALL = ("potentiostat", "thermostat")
KELVIN = (283.15, 293.15, 303.15, 313.15)
SOAK_S = 180.0


@pytest.fixture(scope="module")
def chain(make_chain: Callable[..., Any]) -> Any:
    return make_chain(CELL, factor=250.0, instruments=list(ALL))


@pytest.fixture(scope="module")
def measured(chain: Any, in_time: Callable[..., Any]) -> Run:
    spectrum = ImpedanceSpectrum(
        amplitude_rms_v=0.005, frequency_max_hz=1e5, frequency_min_hz=1.0, points_per_decade=10
    )

    def measure() -> Run:
        with chain.simulated(), chain.session(ALL) as session:
            uid = session.run(plan_of(session))
        return Run.from_journal(uid, chain.data)

    def plan_of(session: Any) -> Any:
        return impedance_over_temperatures(
            session.devices["potentiostat"],
            session.devices["thermostat"],
            temperatures_k=KELVIN,
            cell=load_cell(CELL),
            spectrum=spectrum,
            soak_s=SOAK_S,
        )

    measured: Run = in_time(measure, stood_at_each)
    return measured


def stood_at_each(measured: Run) -> None:
    points = measured.streams["impedance"].columns
    number = points["potentiostat_impedance_spectrum"]
    bath = measured.streams["thermostat"].columns
    t_s = bath["thermostat_t_before"]
    for kelvin, spectrum in zip(KELVIN, range(1, 5), strict=True):
        begun = points["potentiostat_impedance_t"][number == spectrum][0]
        soak = (t_s > begun - SOAK_S) & (t_s < begun)
        assert np.sum(soak) >= 3
        assert bath["thermostat_temperature"][soak] == pytest.approx(kelvin, abs=0.3)


def test_a_spectrum_is_taken_at_each_temperature_when_it_stands(measured: Run) -> None:
    points = measured.streams["impedance"].columns
    number = points["potentiostat_impedance_spectrum"]
    assert sorted(set(number)) == [1, 2, 3, 4]
    stood_at_each(measured)
    t = measured.streams["potentiostat"].columns["potentiostat_t"]
    assert np.all(np.diff(t) >= 0)


def test_the_record_tells_the_temperatures_and_each_program(measured: Run) -> None:
    assert measured.start["plan_name"] == "impedance_over_temperatures"
    assert measured.start["temperatures"]["kelvin"] == list(KELVIN)
    names = [part["name"] for part in measured.start["technique"]["steps"]]
    assert names == ["283.15 K", "293.15 K", "303.15 K", "313.15 K"]
    reasons = list(measured.streams["programs"].columns["programs_reason"])
    assert reasons == [
        "at 283.15 K",
        "to 293.15 K",
        "at 293.15 K",
        "to 303.15 K",
        "at 303.15 K",
        "to 313.15 K",
        "at 313.15 K",
    ]
    assert measured.stop is not None
    assert measured.stop["exit_status"] == "success"


def test_the_activation_energy_is_that_of_the_simulated_interface(measured: Run) -> None:
    found = metrics(measured)["activation_energy_kj_mol"]
    assert found.value == pytest.approx(7.92, abs=0.6)


def test_a_temperature_that_is_never_reached_ends_the_run_and_says_where_the_bath_is(
    chain: Any,
) -> None:
    protocol = Protocol(
        name="too fast",
        cell=CELL,
        technique=OpenCircuit(duration_s=10),
        every=Schedule(temperature_s=15.0),
        temperatures=Temperatures(kelvin=(323.15,), soak_s=60, give_up_s=90),
    )
    with chain.simulated(), chain.session(ALL) as session:
        with pytest.raises(RunFailedError, match=r"323\.15 K did not stand for 60 s within 90 s"):
            session.run_protocol(protocol)


def test_a_temperature_that_the_cell_forbids_and_a_missing_thermostat_are_refused(
    chain: Any,
) -> None:
    protocol = Protocol(
        name="too hot",
        cell=CELL,
        technique=OpenCircuit(duration_s=10),
        temperatures=Temperatures(kelvin=(298.15, 400.0)),
    )
    with chain.simulated(), chain.session(ALL) as session:
        with pytest.raises(SafetyLimitError, match="asked for 400 K"):
            session.run_protocol(protocol)
    with chain.simulated(), chain.session() as session:
        with pytest.raises(ValueError, match="there is no thermostat"):
            session.run_protocol(protocol)


def test_the_spectrum_of_a_rule_that_waits_for_a_rest_does_not_end_the_way_to_a_temperature(
    make_chain: Callable[..., Any], in_time: Callable[..., Any]
) -> None:
    quick = {"amplitude_rms_v": 0.005, "frequency_max_hz": 1e5, "frequency_min_hz": 1e3}
    plating = {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "charge_mah_cm2", "value": 0.1}],
        "record": {"dt_s": 10.0, "edge_dt_s": 1.0, "edge_for_s": 60.0},
    }
    patient = {"do": "impedance_spectrum", "spectrum": quick, "when": "next_rest"}
    protocol = Protocol.model_validate(
        {
            "name": "twice",
            "cell": "zn-bare-half",
            "technique": plating,
            "every": {"temperature_s": 15.0},
            "rules": [{"name": "tip", "when": {"event": "nucleation_tip"}, "then": [patient]}],
            "temperatures": {
                "kelvin": [298.15, 300.15],
                "within_k": 1.0,
                "drift_below_k_min": 1.0,
                "soak_s": 120.0,
            },
        }
    )

    def run_it() -> Run:
        chain = make_chain("zn-bare-half", factor=1000.0, instruments=list(ALL))
        with chain.simulated(), chain.session(ALL) as session:
            uid = session.run_protocol(protocol)
        return Run.from_journal(uid, chain.data)

    def on_the_way(run: Run) -> None:
        reasons = run.streams["programs"].columns["programs_reason"]
        assert [str(reason).partition(":")[0] for reason in reasons] == [
            "at 298.15 K",
            "to 300.15 K",
            "a spectrum",
            "what was left of the program",
            "at 300.15 K",
        ]

    run = in_time(run_it, on_the_way)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    columns = run.streams["potentiostat"].columns
    assert np.all(np.diff(columns["potentiostat_t"]) >= 0)
    assert np.all(np.diff(columns["potentiostat_step"]) >= 0)
