"""The look at the cell before an experiment goes on: is it the cell that was left?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.potentiostat import ImpedancePoint, Sample
from operando.resume._cell import Spectrum, judge, reference_before_v
from operando.resume._position import Position
from operando.resume._record import Experiment
from operando.runs import Run, Stream
from techniques import GalvanostaticStep, Remaining, SafetyLimits

LIMITS = SafetyLimits(potential_min_v=-2.0, potential_max_v=2.0)
ELECTRODE = {"material": "Cu", "area_cm2": 1.0}
SAMPLE: dict[str, Any] = {
    "cell_id": "C1",
    "metal": "Zn",
    "working_electrode": ELECTRODE,
    "counter_electrode": ELECTRODE | {"material": "Zn", "metal": "Zn"},
    "electrolyte": {"composition": "2 M ZnSO4"},
}
SYMMETRIC = SAMPLE | {"working_electrode": ELECTRODE | {"material": "Zn", "metal": "Zn"}}
PLATING = GalvanostaticStep.model_validate(
    {
        "role": "plate",
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "charge_mah_cm2", "value": 1.0}],
    }
)
FREQUENCIES_HZ = 1e5 / 10 ** (np.arange(21) / 5)
SERIES_OHM, ARC_OHM, CAPACITY_F = 2.8, 30.0, 40e-6


def cell_ohm(series: float = SERIES_OHM, arc: float = ARC_OHM, short: float = np.inf) -> Any:
    """Impedance of a resistance and an arc, ohm, with a short from electrode to electrode."""
    z = series + arc / (1 + 2j * np.pi * FREQUENCIES_HZ * arc * CAPACITY_F)
    return 1 / (1 / z + 1 / short)


def stream(name: str, prefix: str, columns: dict[str, Any]) -> Stream:
    columns = {key: np.asarray(values, dtype=float) for key, values in columns.items()}
    told = {f"{prefix}_{key}": values for key, values in columns.items()}
    return Stream(name, told, {}, columns["t"], {}, {})


def recorded(
    *,
    spectrum: Any = None,
    overpotential_v: float | None = -0.03,
    look: bool = False,
    sample: dict[str, Any] = SAMPLE,
) -> Experiment:
    """An experiment that was killed in its first plating; potential drop over 1 mA."""
    rows = 50 if overpotential_v is not None else 0
    n = np.arange(1.0, rows + 1)
    samples = {
        "t": n,
        "step_t": n,
        "potential": 0 * n + (overpotential_v or 0.0),
        "current": 0 * n - 1e-3,
        "cycle": 0 * n + 1,
        "half_cycle": 0 * n + 1,
        "step": 0 * n + 2,
        "role": 0 * n - 1,
        "flags": 0 * n,
    }
    streams = {"potentiostat": stream("potentiostat", "potentiostat", samples)}
    if spectrum is not None:
        m = np.arange(len(FREQUENCIES_HZ))
        points = {
            "t": 0.01 * m,
            "spectrum": 0 * m + (not look),
            "cycle": 0 * m,
            "half_cycle": 0 * m,
            "step": 0 * m + 1,
            "frequency": FREQUENCIES_HZ,
            "z_real": spectrum.real,
            "z_imag": spectrum.imag,
            "flags": 0 * m + 64 * look,
        }
        streams["impedance"] = stream("impedance", "potentiostat_impedance", points)
    start = {"uid": "1", "time": 0.0, "sample": sample}
    return Experiment((Run(start=start, stop=None, streams=streams),), Path())


def driven(
    *half_cycles: tuple[int, list[float]],
    spectrum: Any = None,
    sample: dict[str, Any] | None = None,
    current_ma: tuple[float, ...] = (),
) -> Experiment:
    """An experiment of half-cycles: role and the ohm of each row, at 1 mA unless told."""
    run = recorded(spectrum=spectrum, sample=sample or SYMMETRIC).runs[0]
    ohm = [row for _, rows in half_cycles for row in rows]
    lengths = [len(rows) for _, rows in half_cycles]
    role = np.repeat([role for role, _ in half_cycles], lengths)
    step = np.repeat(np.arange(len(half_cycles)) + 2, lengths)
    milliamperes = np.repeat(current_ma or [1.0] * len(half_cycles), lengths)
    n = np.arange(1.0, len(ohm) + 1)
    samples = {
        "t": n,
        "step_t": n,
        "potential": role * np.asarray(ohm) * milliamperes * 1e-3,
        "current": role * milliamperes * 1e-3,
        "cycle": 0 * n + 1,
        "half_cycle": step - 1,
        "step": step,
        "role": role,
        "flags": 0 * n,
    }
    streams = {**run.streams, "potentiostat": stream("potentiostat", "potentiostat", samples)}
    return Experiment((replace(run, streams=streams),), Path())


def look(experiment: Experiment, seen: Any, ocv_v: float = 0.0) -> dict[str, Any]:
    rows: list[Any] = [(0.0, Sample(i * 0.5, i * 0.5, ocv_v, 0.0, *[0] * 6)) for i in range(10)]
    rows += [
        (0.0, ImpedancePoint(5.0, 1, 1, 1, 2, f, z.real, z.imag, 0, 0))
        for f, z in zip(FREQUENCIES_HZ, seen, strict=True)
    ]
    position = Position(
        Remaining(PLATING, 1, 0, PLATING), 2, 1, 1, (50.0, 50.0), (0.01, 0.01), 50.0, "opened"
    )
    return judge(experiment, None, position, rows, LIMITS)


WITH_REFERENCE = recorded(spectrum=cell_ohm())
WITHOUT = recorded()


@pytest.mark.parametrize("experiment", [WITH_REFERENCE, WITHOUT])
def test_the_cell_as_it_was_left_passes(experiment: Experiment) -> None:
    assert look(experiment, cell_ohm())["failures"] == []
    # Metal ages at open circuit, contacts are made anew.
    assert look(experiment, cell_ohm(series=3.3, arc=60.0))["failures"] == []


def test_a_cell_rests_where_its_metal_does_against_its_reference() -> None:
    metal = ELECTRODE | {"material": "Zn", "metal": "Zn"}
    reference = {"reference_electrode": "Hg/Hg2SO4", "metal_vs_reference_v": -1.42}
    symmetric = SAMPLE | {"working_electrode": metal}
    three = recorded(overpotential_v=-1.45, sample=symmetric | reference)
    assert look(three, cell_ohm(), ocv_v=-1.41)["failures"] == []
    told = " ".join(look(three, cell_ohm(), ocv_v=0.0)["failures"])
    assert "0 V against Hg/Hg2SO4, with Zn on both electrodes it should be within" in told
    two = " ".join(look(recorded(sample=symmetric), cell_ohm(), ocv_v=-1.41)["failures"])
    assert "it should be within 0.1 V of 0: is it the same cell?" in two
    unknown = recorded(
        overpotential_v=-1.45, sample=symmetric | {"reference_electrode": "Hg/Hg2SO4"}
    )
    assert look(unknown, cell_ohm(), ocv_v=-1.41)["failures"] == []


@pytest.mark.parametrize("short_ohm", [0.02, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("experiment", [WITH_REFERENCE, WITHOUT])
def test_a_short_is_refused_with_and_without_a_spectrum_to_compare_with(
    experiment: Experiment, short_ohm: float
) -> None:
    assert any(
        "shorted" in text for text in look(experiment, cell_ohm(short=short_ohm))["failures"]
    )


@pytest.mark.parametrize(
    ("series_ohm", "before_ohm"), [(0.06, 0.5), (2.2, 2.8), (0.02, 2.8), (3.6, 2.8)]
)
def test_a_resistor_in_the_cells_place_is_refused(series_ohm: float, before_ohm: float) -> None:
    experiment = recorded(spectrum=cell_ohm(series=before_ohm))
    resistor = 0 * cell_ohm() + series_ohm - 1e-4j
    assert look(experiment, resistor)["failures"]


def test_a_low_resistance_may_not_fall_by_more_than_a_quarter() -> None:
    experiment = recorded(spectrum=cell_ohm(series=0.5))
    assert look(experiment, cell_ohm(series=0.45))["failures"] == []
    assert look(experiment, cell_ohm(series=0.9))["failures"] == []
    assert "series resistance is" in look(experiment, cell_ohm(series=0.3))["failures"][0]


def test_an_arc_that_metal_made_smaller_than_the_substrates_is_no_short() -> None:
    experiment = recorded(spectrum=cell_ohm(arc=2000.0))
    assert look(experiment, cell_ohm())["failures"] == []


def test_without_anything_to_compare_with_only_a_cell_that_was_never_driven_passes() -> None:
    never = look(recorded(overpotential_v=None), cell_ohm())
    assert never["failures"] == []
    assert any("nothing was driven" in note for note in never["notes"])


def test_a_cell_near_its_limits_whose_resistance_cannot_be_measured_is_not_taken_for_well() -> None:
    driven = look(WITH_REFERENCE, cell_ohm(), ocv_v=1.995)["failures"]
    assert any("series resistance was not measured" in text for text in driven)
    never = look(recorded(overpotential_v=None), cell_ohm(), ocv_v=1.995)
    assert any("series resistance was not measured" in note for note in never["notes"])


def test_the_reference_is_what_the_experiment_measured_and_else_its_first_look() -> None:
    def resumed(spectrum: Any, *, look: bool) -> Run:
        run = recorded(spectrum=spectrum, look=look).runs[0]
        return Run(start={**run.start, "resume": {"refused": None}}, stop=None, streams=run.streams)

    first, second, own = cell_ohm(series=3.0), cell_ohm(series=3.6), cell_ohm(series=5.0)
    chain = (*WITHOUT.runs, resumed(first, look=True), resumed(second, look=True))
    told = look(Experiment(chain, Path()), cell_ohm())
    assert told["reference_resistance_ohm"] == pytest.approx(3.0, rel=0.01)
    told = look(Experiment((*chain, resumed(own, look=False)), Path()), cell_ohm())
    assert told["reference_resistance_ohm"] == pytest.approx(5.0, rel=0.01)


def test_points_that_are_no_numbers_are_left_out() -> None:
    found = Spectrum.of([1e5, 1e4, 1e3], [2.0, np.nan, 3.0], [-0.1, -0.1, -1.0])
    assert list(found.frequency_hz) == [1e5, 1e3]


def with_reference(offset_v: float) -> Run:
    """Return a run that plated after 20 s of rest, its reference electrode off by so much."""
    n = np.arange(1.0, 31.0)
    columns = {
        "t": n,
        "step_t": n,
        "potential": 0 * n + 0.4,
        "potential_cell": 0.4 - offset_v * np.where(n <= 10, 20, 1),
        "current": np.where(n <= 20, 0.0, -1e-3),
        "cycle": 0 * n,
        "half_cycle": 0 * n,
        "step": np.where(n <= 20, 1, 2),
        "role": np.where(n <= 20, 0, -1),
        "flags": 0 * n,
    }
    start = {"uid": "1", "time": 0.0, "sample": {**SAMPLE, "reference_electrode": "Zn wire"}}
    return Run(start, None, {"potentiostat": stream("potentiostat", "potentiostat", columns)})


def test_the_reference_before_an_experiment_is_that_before_its_first_run() -> None:
    runs = (with_reference(0.012), with_reference(0.003))
    assert reference_before_v(Experiment(runs, Path())) == pytest.approx(0.012)
    assert reference_before_v(WITHOUT) is None


@pytest.mark.parametrize(("seen_v", "passes"), [(-0.155, True), (-0.03, False)])
def test_a_reference_that_was_off_from_the_beginning_is_expected_to_be_off(
    seen_v: float, passes: bool
) -> None:
    run = with_reference(-0.15)
    metal = ELECTRODE | {"material": "Zn", "metal": "Zn"}
    sample = run.start["sample"] | {"working_electrode": metal}
    experiment = Experiment((replace(run, start=run.start | {"sample": sample}),), Path())
    told = look(experiment, cell_ohm(), ocv_v=seen_v)
    assert told["expected_open_circuit_v"] == pytest.approx(-0.15)
    assert any("-0.15: is it the same cell?" in one for one in told["failures"]) is not passes


SHORT_OHM = 0.1
WELL, SHORTED = [30.0] * 40, [30.0] * 10 + [SHORT_OHM] * 60


@pytest.mark.parametrize(
    "half_cycles",
    [
        [(-1, WELL), (1, [SHORT_OHM] * 40)],  # from the beginning of the last
        [(-1, WELL), (-1, SHORTED)],  # early in it
        [(-1, SHORTED)],  # early in the only one
        [(-1, WELL), (1, WELL), (-1, [SHORT_OHM] * 40), (1, [SHORT_OHM] * 3)],  # before it
    ],
)
@pytest.mark.parametrize("short_ohm", [SHORT_OHM, 2.0])
def test_what_a_shorted_cell_met_is_no_measure_of_the_cell(
    half_cycles: list[tuple[int, list[float]]], short_ohm: float
) -> None:
    told = look(driven(*half_cycles), cell_ohm(short=short_ohm))
    assert any("the current of the record met 30 ohm" in text for text in told["failures"])
    assert any("shortly before it was 30 ohm" in text for text in told["notes"])


def test_a_short_behind_the_leads_leaves_their_resistance_and_is_seen_by_its_arc() -> None:
    # Outside the short are the 2.8 ohm of the record: only the arc tells it.
    short = SERIES_OHM + 1 / (1 / cell_ohm(series=0.4, arc=70.0) + 1 / 0.8)
    experiment = driven((-1, [72.0] * 40), (1, [3.6] * 40), spectrum=cell_ohm(series=3.2, arc=70.0))
    told = look(experiment, short)
    assert any("of the arc of" in text for text in told["failures"])
    assert told["arc_ohm"] < 0.6


def test_a_cell_that_was_shorted_before_anything_was_driven_is_below_what_a_cell_can_have() -> None:
    always = driven((-1, [SHORT_OHM] * 40), (1, [SHORT_OHM] * 40))
    resistor = 0 * cell_ohm() + SHORT_OHM - 1e-6j
    told = look(always, resistor, ocv_v=2.7e-5)
    assert any("has no arc" in text for text in told["failures"])
    # What rests at a potential of its own, has an arc, or more resistance, is no such thing.
    assert "no arc" not in " ".join(look(always, resistor, ocv_v=5e-3)["failures"])
    assert look(always, cell_ohm(series=0.1, arc=0.3))["failures"] == []
    large = driven((-1, [1.5] * 40), (1, [1.5] * 40))
    assert look(large, 0 * cell_ohm() + 1.5 - 1e-5j)["failures"] == []


@pytest.mark.parametrize(
    "half_cycles",
    [
        [(1, [80.0] * 5 + [33.0] * 60)],  # nucleation
        [(-1, [33.0] * 40), (1, [20.0] * 40)],  # stripping meets less
        [(-1, WELL), (1, [20.0] * 30 + [500.0] * 10), (-1, WELL)],  # a stripping up to its limit
        [(-1, [r] * 40) for r in (400.0, 150.0, 60.0, 33.0)],  # it wears in
        [(-1, WELL), (1, [SHORT_OHM] * 40), (-1, WELL)],  # a dendrite that burned through
        [(-1, [2000.0] * 3), (-1, WELL)],  # a few rows tell nothing
    ],
)
def test_overpotentials_that_change_are_no_short(
    half_cycles: list[tuple[int, list[float]]],
) -> None:
    assert look(driven(*half_cycles), cell_ohm())["failures"] == []
    with_spectrum = driven(*half_cycles, spectrum=cell_ohm(arc=200.0))
    assert look(with_spectrum, cell_ohm())["failures"] == []


def test_a_small_current_meets_more_than_a_large_one_after_it() -> None:
    # An overpotential of Tafel: 0.1 V at 0.5 mA and 0.18 V at 10 mA.
    experiment = driven((-1, [200.0] * 40), (-1, [18.0] * 40), current_ma=(0.5, 10.0))
    assert look(experiment, cell_ohm())["failures"] == []


def test_a_cell_of_two_materials_is_judged_by_its_last_half_cycle() -> None:
    other = SAMPLE | {"counter_electrode": ELECTRODE | {"material": "MnO2"}}
    experiment = driven((-1, [1500.0] * 40), (1, [33.0] * 40), sample=other)
    assert look(experiment, cell_ohm())["failures"] == []


def charging(potential_v: float, current_a: float, sample: dict[str, Any] = SAMPLE) -> Experiment:
    """An experiment that was killed when its plating had only charged the bare substrate."""
    run = recorded(sample=sample).runs[0]
    leader = run.streams["potentiostat"]
    told = {
        **leader.columns,
        "potentiostat_potential": np.linspace(potential_v, potential_v / 2, len(leader)),
        "potentiostat_current": np.full(len(leader), current_a),
    }
    return Experiment(
        (replace(run, streams={"potentiostat": replace(leader, columns=told)}),), Path()
    )


def test_what_charged_a_bare_substrate_met_no_resistance() -> None:
    on_counter = SAMPLE | {
        "working_electrode": SAMPLE["counter_electrode"],
        "counter_electrode": ELECTRODE,
        "metal_electrode": "CE",
    }
    bare = cell_ohm(arc=2000.0)
    for experiment in (charging(0.8, -1.13e-5), charging(-0.8, 1.13e-5, on_counter)):
        told = look(experiment, bare, ocv_v=0.9 * np.sign(-experiment_current(experiment)))
        assert told["failures"] == []
        assert any("nothing was plated yet" in note for note in told["notes"])
        shorted = look(experiment, 0 * bare + 0.2 - 1e-6j, ocv_v=0.0)
        assert any("is it shorted?" in text for text in shorted["failures"])
    # Nor did what stripped a little metal from one that is bare again.
    stripped = driven((1, [1500.0] * 40), sample=SAMPLE, current_ma=(0.02,))
    assert look(stripped, cell_ohm(arc=800.0), ocv_v=0.9)["failures"] == []
    # Beyond the metal's potential it does: that is an overpotential.
    plated = look(charging(-0.08, -1e-3), cell_ohm(short=2.0))
    assert any("is the cell shorted" in text for text in plated["failures"])


def experiment_current(experiment: Experiment) -> float:
    return float(experiment.runs[0].streams["potentiostat"].columns["potentiostat_current"][0])
