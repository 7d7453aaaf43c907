"""What takes |E| is the same whatever the reference is, once the metal's potential is known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from operando.analysis import Metric, metrics
from operando.analysis.live_verdicts import Verdicts
from operando.runs import Run

Columns = dict[str, NDArray[np.float64]]
MERCURY = {"reference_electrode": "Hg/Hg2SO4", "metal_vs_reference_v": -1.42}
CALIBRATION = {"potentiostat": {"current_offset_uncertainty_a": 1e-7}}


def evaluated(
    make_run: Callable[..., Any], sample: Mapping[str, Any], columns: Columns
) -> dict[str, Metric]:
    told = make_run(sample, calibration=CALIBRATION, page=10_000)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    return metrics(Run.from_documents(told.documents))


def against(columns: Columns, metal_v: float) -> Columns:
    return {**columns, "potential": columns["potential"] + metal_v}


def half_cell(synthetic: Any) -> Columns:
    """Return nine cycles with a tip, a sudden fall in the second plating, and 105 % in the fifth.

    The last two cycles are shorted.
    """
    efficiencies = (0.9, 0.98, 0.99, 0.99, 1.05, 0.99, 0.99, 0.99, 0.99)
    columns = synthetic.galvanostatic(efficiencies, rows=200)
    rows = np.flatnonzero((columns["half_cycle"] == 3) & (columns["role"] == -1))
    columns["potential"][rows[100:110]] *= 0.5
    columns["potential"][columns["half_cycle"] > 14] *= 0.05
    columns["potential"][columns["role"] == 0] = 0.002
    return dict(columns)


def symmetric_cell(synthetic: Any, *, polarised: bool) -> Columns:
    columns = synthetic.galvanostatic((1.0,) * 8, rows=200, cut_off_v=0.03)
    late = columns["half_cycle"] > 12
    columns["potential"][late] *= 5.0 if polarised else 0.05
    return dict(columns)


WHOLE = {
    "half": (
        "eta_n_mv",
        "plateau_overpotential_mv",
        "polarisation_mv",
        "late_strip_rise",
        "soft_short_count",
        "soft_short_resistance_ohm",
        "soft_short_coulombic_cycle",
        "life_first_soft_short_h",
        "life_hard_short_h",
        "rest_after_strip_mv",
    ),
    "shorted": ("plateau_overpotential_mv", "polarisation_mv", "life_hard_short_h"),
    "polarised": ("overpotential_mv", "voltage_hysteresis_mv", "life_polarisation_h"),
}


def case(name: str, synthetic: Any) -> tuple[Mapping[str, Any], Columns]:
    if name == "half":
        return synthetic.HALF_CELL, half_cell(synthetic)
    columns = symmetric_cell(synthetic, polarised=name == "polarised")
    return synthetic.SYMMETRIC_CELL, columns


@pytest.mark.parametrize("name", list(WHOLE))
def test_metrics_do_not_depend_on_the_reference(
    make_run: Callable[..., Any], synthetic: Any, name: str
) -> None:
    sample, columns = case(name, synthetic)
    zinc = evaluated(make_run, {**sample, "reference_electrode": "Zn wire"}, columns)
    other = evaluated(make_run, {**sample, **MERCURY}, against(columns, -1.42))
    assert [one for one in WHOLE[name] if zinc[one].value is None] == []
    for metric, told in zinc.items():
        one, expected = (
            v if isinstance(v, list) else [v] for v in (other[metric].value, told.value)
        )
        assert [v is None for v in one] == [v is None for v in expected], metric
        numbers = [[v for v in values if v is not None] for values in (one, expected)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-9, abs=1e-9), metric
    assert "counts from -1.42 V, Zn against Hg/Hg2SO4" in str(
        other["plateau_overpotential_mv"].reason
    )
    if name != "polarised":
        assert zinc["life_hard_short_observed"].value == 1.0
    else:
        assert zinc["life_polarisation_observed"].value == 1.0


def test_the_values_are_those_of_the_cell(make_run: Callable[..., Any], synthetic: Any) -> None:
    sample = {**synthetic.HALF_CELL, **MERCURY}
    found = evaluated(make_run, sample, against(half_cell(synthetic), -1.42))
    for name, value in (
        ("plateau_overpotential_mv", 30.0),
        ("polarisation_mv", 60.0),
        ("rest_after_strip_mv", 2.0),
    ):
        told = found[name].value
        assert isinstance(told, list)
        assert told[0] == pytest.approx(value, abs=0.1)
    assert found["eta_n_mv"].value == pytest.approx(15.0, abs=0.5)
    assert found["soft_short_count"].value == 1.0
    assert found["soft_short_coulombic_cycle"].value == [5.0]


def test_where_the_metal_s_potential_is_not_known_nothing_that_takes_it_has_a_value(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    for name, names in WHOLE.items():
        sample, columns = case(name, synthetic)
        sample = {**sample, "reference_electrode": "Hg/Hg2SO4"}
        found = evaluated(make_run, sample, against(columns, -1.42))
        # The difference of two potentials of a half cell needs no reference.
        told = {"polarisation_mv"} if name == "half" else set()
        for metric in set(names) - told:
            assert found[metric].value is None, metric
            assert "metal_vs_reference_v" in str(found[metric].reason), metric
        for metric in told:
            assert found[metric].value is not None


def column_pages(columns: Columns) -> list[dict[str, Any]]:
    rows = {f"potentiostat_{name}": values for name, values in columns.items()}
    count = len(columns["t"])
    return [
        {key: values[first : first + 500] for key, values in rows.items()}
        for first in range(0, count, 500)
    ]


def judged(sample: Mapping[str, Any], columns: Columns) -> tuple[list[Any], Mapping[str, str]]:
    judge = Verdicts({"sample": sample, "calibration": CALIBRATION})
    found = [verdict for page in column_pages(columns) for verdict in judge.add(page)]
    return found, judge.never_judged


def test_the_rules_that_judge_a_run_while_it_goes_on_do_not_depend_on_the_reference(
    synthetic: Any,
) -> None:
    sample, columns = case("half", synthetic)
    zinc, _ = judged({**sample, "reference_electrode": "Zn wire"}, columns)
    assert {"nucleation_tip", "soft_short", "soft_short_coulombic", "hard_short"} <= {
        one.kind for one in zinc
    }
    other, _ = judged({**sample, **MERCURY}, against(columns, -1.42))
    assert [(one.kind, one.t_s, one.half_cycle) for one in other] == [
        (one.kind, one.t_s, one.half_cycle) for one in zinc
    ]
    assert [one.value for one in other] == pytest.approx([one.value for one in zinc])
    none, never = judged({**sample, "reference_electrode": "Hg/Hg2SO4"}, against(columns, -1.42))
    assert none == []
    for kind in ("nucleation_tip", "soft_short", "soft_short_coulombic", "hard_short"):
        assert "metal_vs_reference_v" in never[kind]


def reservoir(charges: Sequence[tuple[int, float, float]]) -> Columns:
    """Return half-cycles (role, charge in mAh/cm2, last potential) at 1 mA/cm2, 30 mV."""
    names = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    begin_s = 0.0
    for number, (role, charge, end_v) in enumerate(charges, 1):
        share = np.linspace(0, 1, 50)
        values = {
            "t": begin_s + charge * 3600 * share,
            "potential": role * 0.03 + (end_v - role * 0.03) * share**60,
            "current": np.full(50, role * 1.131e-3),
            "cycle": np.full(50, (number + 1) // 2),
            "half_cycle": np.full(50, number),
            "step": np.full(50, number),
            "role": np.full(50, role),
            "flags": np.zeros(50),
        }
        begin_s += charge * 3600
        for name, value in values.items():
            parts[name].append(np.asarray(value, dtype=np.float64))
    return {name: np.concatenate(values) for name, values in parts.items()}


def test_the_end_of_a_strip_on_a_reservoir_counts_from_the_metal_s_potential(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    shallow = [(1, 1.0, 0.03), (-1, 1.0, -0.03)] * 4
    columns = reservoir([(-1, 5.0, -0.03), *shallow, (1, 4.8, 0.5)])
    found = evaluated(make_run, {**synthetic.HALF_CELL, **MERCURY}, against(columns, -1.42))
    assert found["reservoir_ce_pct"].value == pytest.approx(100 * (4 + 4.8) / (4 + 5))


def test_a_full_cell_with_a_reference_has_no_cell_voltage_in_its_metrics(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    cathode = {"material": "PB", "area_cm2": 1.131, "active_mass_mg": 2.0}
    sample = {**synthetic.HALF_CELL, "counter_electrode": cathode, **MERCURY}
    found = evaluated(make_run, sample, against(half_cell(synthetic), -1.42))
    for name in ("mean_charge_v", "mean_discharge_v", "polarisation_mv", "voltage_hysteresis_mv"):
        assert found[name].value is None
        assert "no cell voltage" in str(found[name].reason)
