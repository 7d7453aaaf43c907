"""Mass follows charge, pH follows hydrogen, resistance follows temperature: wire to number."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.configuration import load_bench, load_cell
from operando.runs import Run
from techniques import Protocol

pytestmark = pytest.mark.timeout(120)
CELL = "zn-bare"
ALL = {"potentiostat", "thermostat", "ph_meter", "microbalance"}
COLD_K, WARM_K = 298.15, 318.15
CHARGE_MAH_CM2 = 0.2
OF_ZINC = 65.38 / (2 * 96485.33212) * 1e3  # ug/mC


def protocol(rest_s: float, **every: Any) -> Protocol:
    """Return a protocol that plates, rests, and takes a spectrum."""
    plating = {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": 2.0,
        "until": [{"quantity": "charge_mah_cm2", "value": CHARGE_MAH_CM2}],
        "record": {"dt_s": 15.0},
    }
    spectrum = {
        "type": "impedance_spectrum",
        "amplitude_rms_v": 0.005,
        "frequency_max_hz": 1e5,
        "frequency_min_hz": 1.0,
        "points_per_decade": 5,
    }
    rest = {"type": "open_circuit", "duration_s": rest_s, "record": {"dt_s": 15.0}}
    return Protocol.model_validate(
        {
            "name": "weighed",
            "cell": CELL,
            "technique": {"type": "sequence", "steps": [plating, rest, spectrum]},
            "every": {"temperature_s": 30.0, **every},
            "rules": [],
        }
    )


@pytest.fixture(scope="module")
def chain(make_chain: Callable[..., Any]) -> Any:
    served = ["potentiostat", "julabo", "ph_meter", "microbalance"]
    return make_chain(CELL, factor=300.0, instruments=served)


@pytest.fixture(scope="module")
def measured(chain: Any) -> list[Run]:
    """One run at 298 K, and one while the bath goes to 318 K."""
    # A pH takes a second, during which the simulated cell ages no faster than a real one.
    # Warm zinc corrodes at rest, which makes the hydrogen that the pH follows.
    parts = ((COLD_K, 10.0, 60.0), (WARM_K, 400.0, 200.0))
    uids = []
    with chain.simulated(), chain.session(load_bench("sim-second").only(ALL)) as session:
        for kelvin, rest_s, reading_s in parts:
            session.devices["thermostat"].set(kelvin).wait(60)
            told = protocol(rest_s, reading_s=reading_s)
            uids.append(session.run_protocol(told, cell=load_cell(CELL)))
    return [Run.from_journal(uid, chain.data) for uid in uids]


def test_mass_follows_charge(measured: list[Run]) -> None:
    found = metrics(measured[0])["mass_per_charge_ug_mc"]
    assert isinstance(found.value, list)
    (value,) = found.value
    # Hydrogen takes charge and leaves no metal; what it makes of the electrolyte weighs something.
    assert value == pytest.approx(OF_ZINC, rel=0.1)
    stream = measured[0].streams["microbalance"]
    mass = stream.columns["microbalance_mass"]
    frequency = stream.columns["microbalance_frequency"]
    assert mass.max() == pytest.approx(CHARGE_MAH_CM2 * 3600 * OF_ZINC, rel=0.15)
    assert np.ptp(frequency) == pytest.approx(56.6 * np.ptp(mass), rel=1e-6)
    assert stream.units["microbalance_mass"] == "ug/cm2"


def test_ph_follows_hydrogen(measured: list[Run], chain: Any) -> None:
    assert chain.truth("cell", "end")[-1]["hydrogen_evolved_mol"] > 0
    first, last = (run.streams["ph_meter"].columns["ph_meter_ph"] for run in measured)
    # Means of two and of seven readings, each with a noise of 0.002; the truth is about 0.01.
    assert np.mean(last[-2:]) - np.mean(first) > 0.004


def test_resistance_follows_temperature(measured: list[Run]) -> None:
    bath = measured[1].streams["thermostat"].columns["thermostat_temperature"]
    assert bath.max() > WARM_K + 0.1  # it overshoots
    assert bath[-1] == pytest.approx(WARM_K, abs=0.3)  # and settles
    told = [metrics(run)["series_resistance_ohm"].value for run in measured]
    cold, warm = (value[-1] for value in told if isinstance(value, list))
    assert cold is not None
    assert warm is not None
    energy = 8.314462618 * np.log(cold / warm) / (1 / COLD_K - 1 / WARM_K)
    assert energy == pytest.approx(12e3, rel=0.25)  # that of the electrolyte
