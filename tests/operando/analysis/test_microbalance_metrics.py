"""Mass per charge of a run, by a microbalance whose readings are arithmetic."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.runs import Run

NAME = "mass_per_charge_ug_mc"
OF_ZINC = 65.38 / (2 * 96485.33212) * 1e3


def evaluated(
    make_run: Callable[..., Any],
    synthetic: Any,
    *,
    per_mc: float = OF_ZINC,
    every_s: float = 60.0,
    noise: float = 0.0,
) -> Any:
    """Return the metrics of two cycles of 0.5 mAh/cm2, weighed every so often."""
    leader = synthetic.galvanostatic((0.9, 0.98))
    t = leader["t"]
    net_mc = np.concatenate([[0], np.cumsum(-leader["current"][1:] * np.diff(t))]) * 1e3 / 1.131
    at = np.arange(0.0, t[-1], every_s) if every_s else np.array([])
    mass = per_mc * np.interp(at + 1.0, t, net_mc)
    mass += np.random.default_rng(0).normal(0, 1, len(at)) * noise
    told = make_run(synthetic.HALF_CELL, calibration={"balance": {"sensitivity_hz_cm2_ug": 56.6}})
    told.stream("potentiostat", "potentiostat", leader)
    if len(at):
        columns = {"t_before": at, "t_after": at + 2.0, "mass": mass, "frequency": 5e6 - mass}
        told.stream("balance", "balance", columns)
    told.stop()
    return metrics(Run.from_documents(told.documents))[NAME]


def test_metal_alone_weighs_what_faraday_says(make_run: Callable[..., Any], synthetic: Any) -> None:
    found = evaluated(make_run, synthetic)
    assert found.unit == "ug/mC"
    assert found.value == pytest.approx([OF_ZINC, OF_ZINC], rel=1e-3)
    assert OF_ZINC == pytest.approx(0.3388, abs=5e-5)
    assert "sensitivity of the crystal 56.6 Hz cm2/ug" in found.reason
    assert "Zn alone is 0.3388 ug/mC" in found.reason


def test_what_is_not_metal_is_seen(make_run: Callable[..., Any], synthetic: Any) -> None:
    heavier = evaluated(make_run, synthetic, per_mc=1.2 * OF_ZINC, noise=1.0)
    for value, error in zip(heavier.value, heavier.uncertainty, strict=True):
        assert 0 < error < 0.05 * OF_ZINC
        assert value == pytest.approx(1.2 * OF_ZINC, abs=4 * error)


@pytest.mark.parametrize(
    ("every_s", "complaint"),
    [(0.0, "has no microbalance"), (900.0, "readings within the plating, 4 are needed")],
)
def test_without_readings_there_is_no_number(
    make_run: Callable[..., Any], synthetic: Any, every_s: float, complaint: str
) -> None:
    found = evaluated(make_run, synthetic, every_s=every_s)
    assert found.value is None
    assert complaint in found.reason


def test_a_crystal_that_stops_takes_no_part(make_run: Callable[..., Any], synthetic: Any) -> None:
    told = make_run(synthetic.HALF_CELL)
    leader = synthetic.galvanostatic((0.9,))
    told.stream("potentiostat", "potentiostat", leader)
    at = np.arange(0.0, 1800.0, 60.0)
    nothing = np.full(len(at), np.nan)
    columns = {"t_before": at, "t_after": at + 2.0, "mass": nothing, "frequency": nothing}
    told.stream("balance", "balance", columns)
    told.stop()
    found = metrics(Run.from_documents(told.documents))[NAME]
    assert found.value is None
    assert "0 readings within the plating" in found.reason
