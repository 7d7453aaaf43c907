"""Techniques: what is written in YAML is what is run and what is stored."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from techniques import (
    Assignment,
    Cell,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Recording,
    Repeat,
    SafetyLimits,
    Sequence,
    Technique,
    elementary_steps,
    finest_row_interval_s,
    longest_duration_s,
)

ADAPTER: TypeAdapter[Technique] = TypeAdapter(Technique)
CYCLING = """
type: sequence
steps:
  - {type: open_circuit, duration_s: 60, drift_below_v_s: 1.0e-5}
  - type: plate_strip_cycle
    cycles: 5
    rest_s: 30
    between: {type: impedance_spectrum, amplitude_rms_v: 0.005}
    plate:
      current_density_ma_cm2: 0.5
      until: [{quantity: charge_mah_cm2, value: 0.5}]
      record: {dt_s: 10, de_v: 0.002, dq_mah_cm2: 0.01}
    strip:
      current_density_ma_cm2: 0.5
      until:
        - {quantity: potential_above_v, value: 0.5}
        - {quantity: charge_mah_cm2, value: 0.55, action: stop}
  - type: repeat
    times: 3
    step:
      type: galvanostatic_step
      current_density_ma_cm2: -1
      until: [{quantity: time_s, value: 9}]
"""

positive = st.floats(min_value=1e-6, max_value=1e6)
limits = st.builds(
    Limit,
    quantity=st.sampled_from(["time_s", "charge_mah_cm2"]),
    value=positive,
    action=st.sampled_from(["next", "end_loop", "stop"]),
)
recordings = st.builds(Recording, dt_s=positive, de_v=st.none() | positive, edge_dt_s=positive)


def steps(role: str | None) -> st.SearchStrategy[GalvanostaticStep]:
    return st.builds(
        GalvanostaticStep,
        role=st.just(role),
        current_density_ma_cm2=positive,
        until=st.lists(limits, min_size=1, max_size=3).map(tuple),
        record=recordings,
    )


potentials = st.floats(-2.0, 2.0)
versus = st.sampled_from(["other_electrode", "open_circuit"])

techniques = st.recursive(
    st.one_of(
        st.builds(OpenCircuit, duration_s=positive, record=recordings),
        st.builds(ImpedanceSpectrum, amplitude_rms_v=positive),
        steps(None),
        st.builds(
            PlateStripCycle,
            plate=steps("plate"),
            strip=steps("strip"),
            cycles=st.integers(1, 1000),
            between=st.none() | st.builds(OpenCircuit, duration_s=positive),
            between_every=st.integers(1, 1000),
        ),
        st.builds(
            PotentiostaticStep,
            role=st.sampled_from([None, "plate", "strip"]),
            potential_v=potentials,
            versus=versus,
            until=st.builds(lambda value: (Limit(quantity="time_s", value=value),), positive),
            record=recordings,
        ),
        st.builds(
            LinearSweep,
            begin_v=potentials,
            end_v=st.floats(2.5, 3.0),
            versus=versus,
            scan_rate_v_s=st.floats(1e-6, 10.0),
            step_v=st.none() | st.floats(1e-6, 0.1),
        ),
        st.builds(
            CyclicVoltammetry,
            begin_v=potentials,
            vertex1_v=st.floats(2.5, 3.0),
            vertex2_v=potentials,
            scan_rate_v_s=st.floats(1e-6, 10.0),
            scans=st.integers(1, 100),
        ),
    ),
    lambda inner: st.one_of(
        st.builds(Sequence, steps=st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Repeat, times=st.integers(1, 100), step=inner),
    ),
    max_leaves=6,
)


@given(techniques)
def test_a_technique_is_equal_after_the_round_trip(technique: Technique) -> None:
    assert ADAPTER.validate_python(technique.model_dump(mode="json")) == technique
    assert ADAPTER.validate_json(technique.model_dump_json()) == technique
    assert (
        ADAPTER.validate_python(yaml.safe_load(yaml.safe_dump(technique.model_dump(mode="json"))))
        == technique
    )


def test_yaml_as_a_scientist_writes_it_is_read() -> None:
    technique = ADAPTER.validate_python(yaml.safe_load(CYCLING))
    assert isinstance(technique, Sequence)
    cycle = technique.steps[1]
    assert isinstance(cycle, PlateStripCycle)
    assert (cycle.plate.role, cycle.strip.role) == ("plate", "strip")
    assert ADAPTER.validate_json(technique.model_dump_json()) == technique
    assert longest_duration_s(technique.steps[0]) == 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"curent_density_ma_cm2": 1}, "Extra inputs are not permitted"),
        ({"current_density_ma_cm2": 0}, "use open_circuit for a rest"),
        ({"role": "plate", "current_density_ma_cm2": -1}, "the sign follows from the role"),
        ({"until": [{"quantity": "potential_above_v", "value": 1}]}, "nothing is sure to end"),
        ({"until": [{"quantity": "time_s", "value": -1}]}, "must be greater than 0"),
        (
            {
                "until": [
                    {"quantity": "time_s", "value": 9},
                    {"quantity": "potential_above_v", "value": 0.1},
                    {"quantity": "potential_below_v", "value": 0.2},
                ]
            },
            "contradict each other",
        ),
    ],
)
def test_a_step_that_cannot_be_meant_is_refused(change: dict[str, Any], words: str) -> None:
    step = {
        "type": "galvanostatic_step",
        "current_density_ma_cm2": 1,
        "until": [{"quantity": "time_s", "value": 9}],
    }
    with pytest.raises(ValidationError, match=words):
        ADAPTER.validate_python(step | change)


def test_limits_are_checked_a_few_thousand_times_in_each_step() -> None:
    assert Recording().check_interval_s(3600) == 1.0
    assert Recording().check_interval_s(900) == 0.25
    assert Recording(edge_dt_s=0.1).check_interval_s(3600) == 0.1
    assert Recording().check_interval_s(1) == 0.01
    assert Recording(dt_s=60, edge_for_s=0, check_dt_s=10).check_interval_s(3600) == 10.0
    assert Recording(dt_s=60, check_dt_s=10).check_interval_s(3600) == 1.0  # rows after the edge


@pytest.mark.parametrize(
    ("record", "finest_s"),
    [
        ({"dt_s": 10, "edge_dt_s": 1}, 1.0),
        ({"dt_s": 10, "edge_dt_s": 0.001}, 0.001),
        ({"dt_s": 10, "edge_dt_s": 0.001, "edge_for_s": 0}, 10.0),
        ({"dt_s": 0.001, "edge_dt_s": 1}, 0.001),
        # 1 mA/cm2: this charge passes in 3.6 ms, and a check comes every 10 ms.
        ({"dt_s": 10, "edge_dt_s": 1, "dq_mah_cm2": 1e-6}, 0.01),
        ({"dt_s": 10, "edge_dt_s": 0.002, "dq_mah_cm2": 1e-6}, 0.002),
        # The potential may make a row due at every check.
        ({"dt_s": 10, "edge_dt_s": 1, "de_v": 0.001}, 0.01),
        ({"dt_s": 10, "edge_dt_s": 0.001, "edge_for_s": 0, "de_v": 0.001}, 0.001),
    ],
)
def test_the_finest_interval_of_rows_is_known_beforehand(
    record: dict[str, float], finest_s: float
) -> None:
    step = {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": 1,
        "until": [{"quantity": "time_s", "value": 20}],
        "record": record,
    }
    rest = {"type": "open_circuit", "duration_s": 20, "record": {"dt_s": 30, "edge_dt_s": 20}}
    spectrum = {"type": "impedance_spectrum", "amplitude_rms_v": 0.01}
    technique = Sequence.model_validate(
        {"steps": [rest, {"type": "repeat", "step": step, "times": 2}, spectrum]}
    )
    assert finest_row_interval_s(technique) == pytest.approx(finest_s)
    quick_rest = {**rest, "record": {"dt_s": 0.0005, "edge_dt_s": 1}}
    with_rest = Sequence.model_validate({"steps": [step, quick_rest]})
    assert finest_row_interval_s(with_rest) == 0.0005


def test_limits_narrow_and_never_widen() -> None:
    bench = SafetyLimits(potential_min_v=-3, potential_max_v=3, current_max_a=0.1)
    cell = SafetyLimits(potential_max_v=1, current_max_a=0.2, charge_max_mah_cm2=5)
    both = bench.narrowed_by(cell)
    assert both == SafetyLimits(
        potential_min_v=-3, potential_max_v=1, current_max_a=0.1, charge_max_mah_cm2=5
    )
    with pytest.raises(ValidationError, match="contradict each other"):
        SafetyLimits(potential_min_v=2).narrowed_by(cell)


def test_what_exceeds_a_limit_is_told_with_both_numbers() -> None:
    technique = ADAPTER.validate_python(yaml.safe_load(CYCLING))
    tight = SafetyLimits(current_max_a=1e-4, potential_max_v=0.3, duration_max_s=100)
    found = Assignment(technique=technique, area_cm2=1.131, limits=tight).violations()
    text = "\n".join(found)
    assert "0.5655 mA, the limit is 0.1 mA" in text
    assert "potential_above_v 0.5 V lies outside" in text
    assert "the limit is 100 s" in text
    wide = SafetyLimits(potential_min_v=-1, potential_max_v=1, charge_max_mah_cm2=1)
    assert not Assignment(technique=technique, area_cm2=1.131, limits=wide).violations()
    (found,) = set(Assignment(technique=technique, area_cm2=1.131).violations())
    assert found == (
        "no potential limits: give potential_min_v and potential_max_v in the bench or cell file"
    )


def passing(role: str, charge: float, *more: Limit) -> GalvanostaticStep:
    until = (Limit(quantity="charge_mah_cm2", value=charge), *more)
    return GalvanostaticStep(role=role, current_density_ma_cm2=1.0, until=until)


CUT_OFF = Limit(quantity="potential_above_v", value=0.5)
SIGNED = GalvanostaticStep(
    current_density_ma_cm2=-2.0, until=(Limit(quantity="time_s", value=18000),)
)
REST = OpenCircuit(duration_s=60)
BIASED = ImpedanceSpectrum(amplitude_rms_v=0.005, potential_v=-0.1, frequency_min_hz=0.01)


@pytest.mark.parametrize(
    ("technique", "told"),
    [
        (Repeat(times=50, step=passing("plate", 19)), "950 mAh/cm2 would be plated on the metal"),
        (Repeat(times=50, step=passing("strip", 19)), "950 mAh/cm2 would be plated on the other"),
        (Sequence(steps=(passing("plate", 15), REST, SIGNED)), "up to 25 mAh/cm2"),
        (
            PlateStripCycle(plate=passing("plate", 5), strip=passing("strip", 4), cycles=50),
            "up to 54 mAh/cm2",
        ),
        (
            Repeat(times=9, step=Repeat(times=9, step=passing("plate", 1))),
            "up to 81 mAh/cm2",
        ),
        (Repeat(times=100, step=BIASED), "mAh/cm2 would be plated on the metal electrode"),
        (
            PlateStripCycle(plate=passing("plate", 19), strip=passing("strip", 20), cycles=500),
            None,
        ),
        (
            PlateStripCycle(
                plate=passing("plate", 5), strip=passing("strip", 6, CUT_OFF), cycles=500
            ),
            None,
        ),
        (Repeat(times=2, step=passing("plate", 10)), None),
    ],
)
def test_the_charge_limit_holds_for_steps_together(technique: Technique, told: str | None) -> None:
    limits = SafetyLimits(
        potential_min_v=-1, potential_max_v=1, charge_max_mah_cm2=20, current_max_a=0.01
    )
    found = Assignment(technique=technique, area_cm2=1.0, limits=limits).violations()
    assert [x for x in found if not x.startswith("steps together")] == []
    assert bool(found) == (told is not None)
    assert (told or "") in "; ".join(found)


@pytest.mark.parametrize(("cable", "sign"), [("WE", -1), ("CE", 1)])
def test_plating_current_follows_the_cable(cable: str, sign: int) -> None:
    step = ADAPTER.validate_python(
        {
            "type": "galvanostatic_step",
            "role": "plate",
            "current_density_ma_cm2": 2,
            "until": [{"quantity": "time_s", "value": 1}],
        }
    )
    assignment = Assignment(technique=step, area_cm2=0.5, metal_electrode=cable)
    assert assignment.current_a(step) == pytest.approx(sign * 1e-3)


def test_a_cell_without_an_area_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"working_electrode\.area_cm2"):
        Cell.model_validate(
            {
                "cell_id": "x",
                "metal": "Zn",
                "working_electrode": {"material": "Cu"},
                "counter_electrode": {"material": "Zn", "area_cm2": 1, "metal": "Zn"},
                "electrolyte": {"composition": "ZnSO4"},
            }
        )


def hold(*until: Limit, **more: Any) -> PotentiostaticStep:
    return PotentiostaticStep(potential_v=0.1, until=until, **more)


def limit(quantity: Any, value: float) -> Limit:
    return Limit(quantity=quantity, value=value)


LONG = limit("time_s", 3600.0)
PLATE, STRIP = (
    GalvanostaticStep(role=role, current_density_ma_cm2=1.0, until=(LONG,))  # type: ignore[arg-type]
    for role in ("plate", "strip")
)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: hold(limit("charge_mah_cm2", 1.0)), "add a limit with quantity time_s"),
        (lambda: hold(LONG, limit("potential_above_v", 1.0)), "its potential is set"),
        (
            lambda: hold(
                LONG,
                limit("abs_current_below_ma_cm2", 1.0),
                limit("abs_current_above_ma_cm2", 1.0),
            ),
            "would end at once",
        ),
        (lambda: hold(LONG, continues_half_cycle=True), "needs the role"),
        (lambda: LinearSweep(begin_v=0, end_v=0.0005, scan_rate_v_s=1e-3), "shorter than one step"),
        (
            lambda: CyclicVoltammetry(begin_v=0, vertex1_v=1, vertex2_v=1, scan_rate_v_s=1e-3),
            "closer than one step",
        ),
        (
            lambda: LinearSweep(begin_v=0, end_v=1, scan_rate_v_s=1e-3, until=(LONG,)),
            "time_s cannot end this step",
        ),
        (
            lambda: GalvanostaticStep(
                current_density_ma_cm2=1.0, until=(LONG, limit("abs_current_below_ma_cm2", 0.1))
            ),
            "its current is set",
        ),
        (lambda: limit("abs_current_below_ma_cm2", -1.0), "greater than 0"),
    ],
)
def test_a_hold_or_sweep_that_cannot_be_meant_is_refused(build: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        build()


def test_holds_and_sweeps_last_as_long_as_they_are_written() -> None:
    assert longest_duration_s(hold(limit("time_s", 60.0), LONG)) == 60.0
    assert longest_duration_s(hold(LONG, versus="open_circuit")) == 3601.0
    sweep = LinearSweep(begin_v=-0.1, end_v=0.1, scan_rate_v_s=1e-3)
    assert longest_duration_s(sweep) == pytest.approx(201.0)
    assert finest_row_interval_s(sweep) == pytest.approx(1.0)
    scans = CyclicVoltammetry(
        begin_v=0.0, vertex1_v=0.2, vertex2_v=-0.1, scan_rate_v_s=0.1, scans=3, step_v=0.005
    )
    assert scans.expected_s == pytest.approx(3 * 6.0)
    assert finest_row_interval_s(scans) == pytest.approx(0.05)


def test_a_step_between_in_every_nth_cycle_counts_so_often() -> None:
    cycle = PlateStripCycle(
        plate=PLATE, strip=STRIP, cycles=10, between=OpenCircuit(duration_s=7.0), between_every=4
    )
    assert cycle.times_between == 3
    once = cycle.model_copy(update={"between": None})
    assert longest_duration_s(cycle) == longest_duration_s(once) + 21.0


WATCHED = SafetyLimits(
    potential_min_v=-1.0, potential_max_v=1.0, current_max_a=0.01, charge_max_mah_cm2=5.0
)


@pytest.mark.parametrize(
    ("step", "limits", "said"),
    [
        (hold(limit("time_s", 60.0)), SafetyLimits(), "no potential limits"),
        (
            hold(limit("time_s", 60.0)),
            SafetyLimits(potential_min_v=-1.0, potential_max_v=1.0),
            "give current_max_a",
        ),
        (hold(LONG), WATCHED, "10 mA for 3600 s would be 10 mAh/cm2, the limit is 5 mAh/cm2"),
        (
            LinearSweep(begin_v=0.0, end_v=1.2, scan_rate_v_s=0.01),
            WATCHED,
            "linear sweep: 1.2 V lies outside the safety limits -1.0 V to 1.0 V",
        ),
        (
            CyclicVoltammetry(
                begin_v=0.0, vertex1_v=1.1, vertex2_v=-1.1, scan_rate_v_s=1, versus="open_circuit"
            ),
            WATCHED,
            "wider than the safety limits",
        ),
        (
            Sequence(steps=(hold(limit("time_s", 1500.0)), hold(limit("time_s", 1500.0)))),
            WATCHED,
            "steps together",
        ),
    ],
)
def test_a_hold_or_sweep_beyond_the_limits_is_told_beforehand(
    step: Any, limits: SafetyLimits, said: str
) -> None:
    found = Assignment(technique=step, area_cm2=1.0, limits=limits).violations()
    assert any(said in x for x in found), found


@pytest.mark.parametrize(
    "step",
    [
        hold(LONG, limit("charge_mah_cm2", 5.0)),
        hold(LONG, limit("abs_current_above_ma_cm2", 5.0)),
        LinearSweep(begin_v=-1.0, end_v=1.0, scan_rate_v_s=0.01),
    ],
)
def test_a_hold_or_sweep_bounded_by_its_own_limits_is_allowed(step: Any) -> None:
    assert Assignment(technique=step, area_cm2=1.0, limits=WATCHED).violations() == []


def test_a_hold_that_belongs_to_a_cycle_goes_on_with_its_plating() -> None:
    ends = [{"quantity": "time_s", "value": 60.0}]
    whole = {"plate": PLATE, "strip": STRIP, "plate_hold": {"potential_v": -0.1, "until": ends}}
    cycle = PlateStripCycle.model_validate(whole)
    assert cycle.plate_hold is not None
    assert (cycle.plate_hold.role, cycle.plate_hold.continues_half_cycle) == ("plate", True)
    assert list(elementary_steps(cycle)) == [PLATE, cycle.plate_hold, STRIP]
    assert longest_duration_s(cycle) == pytest.approx(7260.0)
    later = cycle.model_copy(update={"first": "strip"})
    assert list(elementary_steps(later)) == [STRIP, PLATE, cycle.plate_hold]
    with pytest.raises(ValidationError, match="goes on with the plating"):
        PlateStripCycle(plate=PLATE, strip=STRIP, plate_hold=hold(LONG))


def cc_cv(strip_action: str, hold_role: str | None = "plate") -> Any:
    plate = PLATE.model_copy(update={"until": (limit("charge_mah_cm2", 1.0),)})
    ends = Limit(quantity="charge_mah_cm2", value=1.2, action=strip_action)  # type: ignore[arg-type]
    strip = STRIP.model_copy(update={"until": (limit("potential_above_v", 0.5), ends)})
    tail = hold(LONG, limit("charge_mah_cm2", 0.5), role=hold_role)
    return Repeat(times=50, step=Sequence(steps=(plate, tail, strip)))


@pytest.mark.parametrize(
    ("technique", "refused"),
    [
        # What goes on after the strip has only its potential to have ended it: nothing is left.
        (cc_cv("stop"), False),
        # A strip of 1.2 leaves 0.3 of each cycle.
        (cc_cv("next"), True),
        # Which way a hold without a role goes nobody knows: it may plate the other electrode.
        (Repeat(times=50, step=hold(LONG, limit("charge_mah_cm2", 0.5))), True),
        (Repeat(times=50, step=hold(LONG, limit("charge_mah_cm2", 0.5), role="plate")), True),
        (Repeat(times=50, step=hold(LONG, limit("charge_mah_cm2", 0.05), role="strip")), False),
    ],
)
def test_what_holds_leave_on_an_electrode_follows_from_their_role(
    technique: Any, refused: bool
) -> None:
    found = Assignment(technique=technique, area_cm2=1.0, limits=WATCHED).violations()
    assert any("steps together" in x for x in found) == refused, found


def test_with_a_reference_the_metal_electrode_has_to_be_the_working_electrode() -> None:
    rest = OpenCircuit(duration_s=1.0)
    found = [
        Assignment(technique=rest, area_cm2=1.0, metal_electrode=which, reference=True).violations()
        for which in ("WE", "CE")
    ]
    assert found[0] == []
    assert "hang the metal electrode on WE" in found[1][0]
