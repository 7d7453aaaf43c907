"""Protocols from and for other programs: signs, limits and lengths, by what is parsed back."""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aurora_unicycler import CyclingProtocol
from hypothesis import given
from hypothesis import strategies as st

from operando.cli import REFUSED, main
from operando.configuration import load_cell, load_protocol, names
from operando.unicycler import (
    ExchangeError,
    exported,
    from_unicycler,
    imported,
    to_unicycler,
)
from techniques import (
    Block,
    Cell,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Protocol,
    Repeat,
    Sequence,
    Technique,
    longest_duration_s,
)

# A half cell, a symmetric one, one with its metal on CE, a full cell, and its like on WE.
HALF, SYMMETRIC, FULL = "zn-bare-half", "zn-bare", "pb-bare-anodefree"


def cell_of(name: str, **changes: Any) -> Cell:
    return load_cell(name).model_copy(update=changes)


CELLS = [
    cell_of(HALF),
    cell_of(SYMMETRIC),
    cell_of(SYMMETRIC, metal_electrode="CE"),
    cell_of(FULL),
]


# -- what runs, step by step


def steps_of(technique: Technique) -> Iterator[Technique]:
    """Yield every elementary step in the order in which it runs."""
    match technique:
        case Sequence():
            for step in technique.steps:
                yield from steps_of(step)
        case Repeat():
            for _ in range(technique.times):
                yield from steps_of(technique.step)
        case Block():
            yield from steps_of(technique.step)
        case PlateStripCycle():
            rest = [OpenCircuit(duration_s=technique.rest_s)] if technique.rest_s else []
            first, second = technique.halves
            looks = range(technique.between_first, technique.cycles + 1, technique.between_every)
            for cycle in range(1, technique.cycles + 1):
                yield from (*technique.goes_on_with(first), *rest)
                if technique.between is not None and cycle in looks:
                    yield technique.between
                yield from (*technique.goes_on_with(second), *rest)
        case CyclicVoltammetry():
            turns = technique.turns_v
            for _ in range(technique.scans):
                for begin, end in pairwise(turns):
                    if begin != end:
                        yield LinearSweep(
                            begin_v=begin, end_v=end, scan_rate_v_s=technique.scan_rate_v_s
                        )
        case _:
            yield technique


def essence(step: Technique) -> tuple[object, ...]:
    """Return what of a step a cycler does: way, current or potential, ends, length."""
    match step:
        case OpenCircuit():
            return ("rest", rounded(step.duration_s))
        case GalvanostaticStep():
            ends = [x.value for x in step.until if x.quantity.startswith("potential")]
            return (
                "current",
                rounded(step.signed_current_density_ma_cm2),
                rounded(step.expected_s),
                tuple(map(rounded, ends)),
            )
        case PotentiostaticStep():
            below = [x.value for x in step.until if x.quantity == "abs_current_below_ma_cm2"]
            return (
                "hold",
                rounded(step.potential_v),
                rounded(step.expected_s),
                tuple(map(rounded, below)),
            )
        case LinearSweep():
            return ("sweep", *map(rounded, (step.begin_v, step.end_v, step.scan_rate_v_s)))
        case ImpedanceSpectrum():
            amplitude = step.amplitude_rms_v or step.amplitude_rms_ma_cm2 or 0.0
            return (
                "spectrum",
                step.mode,
                rounded(amplitude),
                step.frequency_max_hz,
                step.frequency_min_hz,
                step.points_per_decade,
            )
    raise TypeError(step)


def rounded(value: float) -> float:
    return float(f"{value:.9g}")


def half_cycles(program: Technique) -> list[tuple[float, float]]:
    """Return signed charge and length of each step at a set current."""
    return [
        (step.signed_current_density_ma_cm2 * step.expected_s / 3600, step.expected_s)
        for step in steps_of(program)
        if isinstance(step, GalvanostaticStep)
    ]


# -- both ways

densities = st.floats(0.01, 20).map(lambda x: float(f"{x:.4g}"))
seconds = st.floats(1, 1e5).map(lambda x: float(f"{x:.5g}"))
volts = st.floats(0.01, 0.9).map(lambda x: float(f"{x:.3g}"))


@st.composite
def currents(draw: Any, role: str | None = None) -> GalvanostaticStep:
    role = role or draw(st.sampled_from(["plate", "strip"]))
    until: list[dict[str, Any]] = []
    if draw(st.booleans()):
        until.append({"quantity": "charge_mah_cm2", "value": draw(densities)})
    if not until or draw(st.booleans()):
        until.append({"quantity": "time_s", "value": draw(seconds)})
    if draw(st.booleans()):
        ahead = "potential_above_v" if role == "strip" else "potential_below_v"
        sign = 1 if role == "strip" else -1
        until.append({"quantity": ahead, "value": sign * draw(volts)})
    density = draw(densities)
    return GalvanostaticStep.model_validate(
        {"role": role, "current_density_ma_cm2": density, "until": until}
    )


@st.composite
def holds(draw: Any) -> PotentiostaticStep:
    until = [{"quantity": "time_s", "value": draw(seconds)}]
    if draw(st.booleans()):
        until.append({"quantity": "abs_current_below_ma_cm2", "value": draw(densities)})
    potential = draw(volts) * draw(st.sampled_from([-1, 1]))
    return PotentiostaticStep.model_validate({"potential_v": potential, "until": until})


rests = seconds.map(lambda s: OpenCircuit(duration_s=s))
spectra = st.builds(
    ImpedanceSpectrum,
    amplitude_rms_v=st.sampled_from([0.005, 0.01]),
    frequency_max_hz=st.sampled_from([1e4, 1e5]),
    frequency_min_hz=st.sampled_from([0.01, 0.1]),
    points_per_decade=st.integers(1, 20),
)
sweeps = st.builds(
    lambda begin, rate, down: LinearSweep(
        begin_v=begin, end_v=begin + (-0.3 if down else 0.3), scan_rate_v_s=rate
    ),
    volts,
    st.sampled_from([1e-4, 1e-3, 5e-3]),
    st.booleans(),
)
scans = st.builds(
    CyclicVoltammetry,
    begin_v=volts,
    vertex1_v=st.just(-0.5),
    vertex2_v=st.just(0.95),
    scan_rate_v_s=st.just(1e-3),
    scans=st.integers(1, 3),
)
cycles = st.builds(
    PlateStripCycle,
    plate=currents("plate"),
    strip=currents("strip"),
    rest_s=st.sampled_from([0.0, 20.0]),
    cycles=st.integers(1, 12),
    first=st.sampled_from(["plate", "strip"]),
    between=st.none() | spectra,
    between_every=st.integers(1, 4),
    between_first=st.integers(1, 4),
)


@st.composite
def nearly_cycles(draw: Any) -> Repeat:
    """Two currents over and over, which may be a cycle: with the same rests, one plates."""
    optional = st.none() | st.sampled_from([5.0, 20.0]).map(lambda s: OpenCircuit(duration_s=s))
    looks = st.none() | spectra
    parts = [draw(one) for one in (currents(), optional, looks, currents(), optional, looks)]
    steps = tuple(one for one in parts if one is not None)
    return Repeat(times=draw(st.integers(1, 5)), step=Sequence(steps=steps))


techniques = st.recursive(
    nearly_cycles() | currents() | holds() | rests | spectra | sweeps | scans | cycles,
    lambda inner: (
        st.builds(Sequence, steps=st.lists(inner, min_size=1, max_size=4).map(tuple))
        | st.builds(Repeat, times=st.integers(1, 4), step=inner)
        | st.builds(Block, name=st.sampled_from(["formation", "loop 1", "rate"]), step=inner)
    ),
    max_leaves=6,
)


@given(technique=techniques, cell=st.sampled_from(CELLS))
def test_what_is_exported_comes_back_with_the_same_steps(technique: Technique, cell: Cell) -> None:
    protocol = Protocol(name="p", cell="c", technique=technique, rules=())
    back = from_unicycler(to_unicycler(protocol, cell), cell)
    there, here = protocol.program(cell), back.program(cell)
    steps = [*map(essence, steps_of(there))]
    assert [*map(essence, steps_of(here))] == steps
    assert [pytest.approx(pair) for pair in half_cycles(there)] == half_cycles(here)
    # And once more, as a file.
    again = from_unicycler(json.loads(to_unicycler(back, cell).to_json()), cell)
    assert [*map(essence, steps_of(again.program(cell)))] == steps
    assert again.limits == back.limits


# What aurora-unicycler cannot tell, and by which word the message says so.
WITHOUT_COUNTERPART = {
    "prussian-blue-temperatures": "temperatures",
    "sodium-impedance-temperatures": "temperatures",
    "prussian-blue-voltammetry": "a scan has no limits",
    "zinc-voltammetry": "a scan has no limits",
    "sodium-tafel": "against the open circuit",
    "zinc-tafel": "against the open circuit",
    "zinc-chronoamperometry": "against the open circuit",
    "zinc-transference": "against the open circuit",
    "zinc-reservoir-efficiency": "one pair of safety limits",
}


@pytest.mark.parametrize("name", sorted(set(names("protocol")) - set(WITHOUT_COUNTERPART)))
def test_our_protocols_last_as_long_and_pass_the_same_charge_there(name: str) -> None:
    protocol = load_protocol(name)
    cell = load_cell(protocol.cell)
    made = exported(protocol, cell)
    there, here = protocol.program(cell), imported(made.protocol, cell).protocol.program(cell)
    assert longest_duration_s(here) == pytest.approx(longest_duration_s(there))
    assert [pytest.approx(pair) for pair in half_cycles(there)] == half_cycles(here)


@pytest.mark.parametrize("name", WITHOUT_COUNTERPART)
def test_protocols_that_have_no_counterpart_are_refused(name: str) -> None:
    protocol = load_protocol(name)
    with pytest.raises(ExchangeError, match=f"'{name}'.*{WITHOUT_COUNTERPART[name]}"):
        exported(protocol, load_cell(protocol.cell))


# -- signs


def current_protocol(role: str, above: float | None = None) -> Protocol:
    until: list[dict[str, Any]] = [{"quantity": "charge_mah_cm2", "value": 0.5}]
    if above is not None:
        ahead = "potential_above_v" if role == "strip" else "potential_below_v"
        until.append({"quantity": ahead, "value": above})
    step = {"type": "galvanostatic_step", "role": role, "current_density_ma_cm2": 2.0,
            "until": until}  # fmt: skip
    tree = {"name": "p", "cell": "c", "technique": step, "rules": []}
    return Protocol.model_validate(tree)


def test_plating_discharges_a_half_cell_and_charges_a_full_cell() -> None:
    half, full = cell_of(HALF), cell_of(FULL)
    step = to_unicycler(current_protocol("plate"), half).method[0]
    assert step.current_mA == pytest.approx(-2.0 * half.area_cm2)
    assert step.until_time_s == pytest.approx(900)
    step = to_unicycler(current_protocol("plate", -3.6), full).method[0]
    assert step.current_mA == pytest.approx(2.0 * full.area_cm2)
    assert step.until_voltage_V == 3.6
    step = to_unicycler(current_protocol("strip", -2.4), full).method[0]
    assert (step.current_mA < 0, step.until_voltage_V) == (True, 2.4)


def test_the_window_of_the_cell_is_told_from_its_terminals() -> None:
    # The metal hangs on CE, and is the positive terminal: current and voltage turn round.
    cell = cell_of(SYMMETRIC, metal_electrode="CE")
    lopsided = cell.limits.model_copy(update={"potential_min_v": -0.2, "potential_max_v": 0.7})
    cell = cell.model_copy(update={"limits": lopsided})
    made = to_unicycler(current_protocol("strip", 0.1), cell)
    assert (made.safety.min_voltage_V, made.safety.max_voltage_V) == (-0.7, 0.2)
    assert made.method[0].current_mA > 0
    assert made.safety.max_capacity_mAh == pytest.approx(20 * cell.area_cm2)
    assert from_unicycler(made, cell).limits == cell.limits


# -- limits


def test_what_has_no_counterpart_is_an_error_that_names_the_step() -> None:
    def refused(step: dict[str, Any], word: str) -> None:
        tree = {"name": "p", "cell": "c", "technique": step, "rules": []}
        with pytest.raises(ExchangeError, match=rf"protocol 'p', .*step 1.*{word}"):
            to_unicycler(Protocol.model_validate(tree), cell_of(SYMMETRIC))

    current = {"type": "galvanostatic_step", "role": "strip", "current_density_ma_cm2": 1}
    time = {"quantity": "time_s", "value": 10}
    behind = {"quantity": "potential_below_v", "value": -0.1}
    leaves = {"quantity": "time_s", "value": 10, "action": "end_loop"}
    refused({**current, "until": [time, behind]}, "potential_below_v -0.1 has no counterpart")
    refused({**current, "until": [leaves]}, "leaves its loop")
    refused(
        {**current, "until": [time, {"quantity": "potential_above_v", "value": 0}]}, "0 V means"
    )
    hold = {"type": "potentiostatic_step", "potential_v": 0.1}
    refused({**hold, "versus": "open_circuit", "until": [time]}, "open circuit")
    high = {"quantity": "abs_current_above_ma_cm2", "value": 5}
    refused({**hold, "until": [time, high]}, "abs_current_above_ma_cm2 5 has no counterpart")
    spectrum = {"type": "impedance_spectrum", "amplitude_rms_v": 0.01, "potential_v": 0.1}
    refused(spectrum, "bias")


def test_stops_become_safety_limits_or_are_told() -> None:
    protocol = load_protocol("zinc-symmetric-1-1")
    cell = load_cell(protocol.cell)
    technique = protocol.technique.model_copy(update={"stop_above_v": 0.3})
    made = exported(protocol.model_copy(update={"technique": technique}), cell)
    assert (made.protocol.safety.min_voltage_V, made.protocol.safety.max_voltage_V) == (-0.3, 0.3)
    half = load_protocol("zinc-operando")
    told = "\n".join(exported(half, load_cell(half.cell)).told)
    assert "charge_mah_cm2 0.525 stops the program here; there it ends the step" in told
    assert "rule 'end at a hard short'" in told
    assert "images, Raman spectra and injections" in told


# -- from theirs


def theirs(*method: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"record": {"time_s": 10}, "method": list(method), **more}


CHARGE = {"step": "constant_current", "rate_C": "C/2", "until_voltage_V": 3.6}
HOLD = {"step": "constant_voltage", "voltage_V": 3.6, "until_rate_C": 0.05, "until_time_s": 600}
DISCHARGE = {"step": "constant_current", "rate_C": -0.5, "until_voltage_V": 2.4,
             "until_time_s": 9000}  # fmt: skip


def test_a_laboratorys_protocol_of_a_full_cell_becomes_cycles_with_a_hold() -> None:
    cell = cell_of(FULL)
    loop = [{"step": "tag", "tag": "longterm"}, CHARGE, HOLD, DISCHARGE,
            {"step": "loop", "loop_to": "longterm", "cycle_count": 100}]  # fmt: skip
    made = imported(theirs(*loop), cell, name="lab", cell_name="pb")
    cycle = made.protocol.technique
    assert isinstance(cycle, PlateStripCycle)
    assert (cycle.cycles, made.protocol.cell) == (100, "pb")
    nominal = cell.nominal_capacity_mah_cm2
    assert nominal is not None
    assert cycle.plate.current_density_ma_cm2 == pytest.approx(nominal / 2)
    assert cycle.plate.until[0].model_dump() == {
        "quantity": "potential_below_v", "value": -3.6, "action": "next"
    }  # fmt: skip
    assert cycle.plate_hold is not None
    assert cycle.plate_hold.potential_v == -3.6
    assert cycle.strip.until[0].value == -2.4
    assert "only its voltage ends it there" in made.told[0]
    # Its capacity goes before the cell's.
    made = imported(theirs(DISCHARGE, sample={"capacity_mAh": 1.131}), cell)
    assert isinstance(made.protocol.technique, GalvanostaticStep)
    assert made.protocol.technique.current_density_ma_cm2 == pytest.approx(0.5)


def test_what_rests_first_in_a_loop_or_for_other_times_still_has_cycles() -> None:
    # As in aurora-unicycler's own documentation.
    cell = cell_of(FULL)
    rest = {"step": "open_circuit_voltage", "until_time_s": 600}
    short = {"step": "open_circuit_voltage", "until_time_s": 60}
    loop = {"step": "loop", "loop_to": "longterm", "cycle_count": 100}
    tag = {"step": "tag", "tag": "longterm"}
    made = from_unicycler(theirs(tag, rest, CHARGE, HOLD, DISCHARGE, loop), cell)
    assert isinstance(made.technique, Repeat)
    assert isinstance(made.technique.step, Sequence)
    assert [step.type for step in made.technique.step.steps] == [
        "open_circuit",
        "plate_strip_cycle",
    ]
    made = from_unicycler(theirs(tag, CHARGE, rest, DISCHARGE, short, loop), cell)
    assert isinstance(made.technique, Repeat)
    assert isinstance(made.technique.step, Sequence)
    cycle, after = made.technique.step.steps
    assert isinstance(cycle, PlateStripCycle)
    assert isinstance(after, OpenCircuit)
    assert cycle.between == OpenCircuit(duration_s=600, record=after.record)
    # Without a loop as well: a formation, written out.
    made = from_unicycler(theirs(CHARGE, rest, DISCHARGE, rest, CHARGE), cell)
    assert isinstance(made.technique, Sequence)
    cycle, half = made.technique.steps
    assert isinstance(cycle, PlateStripCycle)
    assert (cycle.cycles, cycle.rest_s, half.type) == (1, 600, "galvanostatic_step")


def test_a_c_rate_needs_a_capacity() -> None:
    with pytest.raises(ExchangeError, match=r"step 1 \(constant_current\): a C-rate \(-0.5\)"):
        imported(theirs(DISCHARGE), cell_of(HALF))


def test_a_voltage_alone_is_no_sure_end() -> None:
    step = {"step": "constant_current", "current_mA": 1, "until_voltage_V": 0.5}
    with pytest.raises(ExchangeError, match="which may never come"):
        imported(theirs(step), cell_of(HALF))
    made = imported(theirs(step, safety={"max_capacity_mAh": 1.131}), cell_of(HALF))
    assert isinstance(made.protocol.technique, GalvanostaticStep)
    assert made.protocol.technique.until[1].value == pytest.approx(1.0)
    assert made.protocol.technique.until[1].action == "stop"


def test_loops_by_number_are_nested_and_may_not_cross() -> None:
    rest = {"step": "open_circuit_voltage", "until_time_s": 5}
    scan = {"step": "voltage_scan", "start_voltage_V": 0, "end_voltage_V": 0.1,
            "scan_rate_mV_per_s": 10}  # fmt: skip
    inner = {"step": "loop", "loop_to": 2, "cycle_count": 3}
    outer = {"step": "loop", "loop_to": 1, "cycle_count": 2}
    made = from_unicycler(theirs(rest, scan, rest, inner, rest, outer), cell_of(HALF))
    kinds = [essence(step)[0] for step in steps_of(made.technique)]
    assert kinds == ["rest", *["sweep", "rest"] * 3, "rest"] * 2
    crossing = theirs(rest, rest, rest, {"step": "loop", "loop_to": 1, "cycle_count": 2}, rest,
                      {"step": "loop", "loop_to": 2, "cycle_count": 2})  # fmt: skip
    with pytest.raises(ExchangeError, match=r"step 6 \(loop\): it begins within another loop"):
        from_unicycler(crossing, cell_of(HALF))


def test_what_is_added_or_left_out_of_theirs_is_told() -> None:
    spectrum = {
        "step": "impedance_spectroscopy",
        "amplitude_V": 0.01,
        "start_frequency_Hz": 0.1,
        "end_frequency_Hz": 1e5,
        "measures_per_point": 3,
        "drift_correction": True,
    }
    hold = {"step": "constant_voltage", "voltage_V": 0.1, "until_current_mA": 0.01}
    safety = {"max_current_mA": 20, "min_current_mA": -10, "delay_s": 2}
    made = imported(theirs(spectrum, hold, safety=safety, sample={"name": "coin 7"}), cell_of(HALF))
    told = "\n".join(made.told)
    for word in ("highest frequency", "3 measurements", "drift", "24 h stop", "smaller one",
                 "after 2 s", "'coin 7'"):  # fmt: skip
        assert word in told
    first = next(steps_of(made.protocol.technique))
    assert isinstance(first, ImpedanceSpectrum)
    assert first.amplitude_rms_v == pytest.approx(0.01 / math.sqrt(2))
    assert made.protocol.limits.current_max_a == pytest.approx(0.010)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "is no JSON"),
        ("[1]", "is an object with `method`"),
        ("{}", "record"),
        ('{"record": {"time_s": 1}, "method": [1]}', "is no protocol"),
        ('{"record": {"time_s": 1}, "method": [{"step": "tag", "tag": "a"}]}', "no step that does"),
        ('{"record": {"time_s": 1}, "method": [{"step": "dance"}]}', "dance"),
        ('{"record": {"time_s": 1}, "method": 5}', "is no protocol"),
        (
            '{"record": {"time_s": 1}, "method": [{"step": "constant_current", "rate_C": "C/0"}]}',
            "is no protocol",
        ),
        (
            '{"record": {"time_s": 1}, "method": [{"step": "open_circuit_voltage", '
            '"until_time_s": Infinity}]}',
            "duration_s",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(
    tmp_path: Path, content: str, word: str
) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(content)
    with pytest.raises(ExchangeError, match=word):
        imported(path, cell_of(HALF))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@given(data=st.data(), value=json_values)
def test_damaged_protocols_are_refused_or_read_and_nothing_else(data: Any, value: Any) -> None:
    loop = {"step": "loop", "loop_to": "longterm", "cycle_count": 100}
    tree = theirs({"step": "tag", "tag": "longterm"}, CHARGE, HOLD, DISCHARGE, loop,
                  safety={"max_voltage_V": 4.0}, sample={"capacity_mAh": 1.0})  # fmt: skip
    tree = json.loads(json.dumps(tree))
    place: Any = tree
    for _ in range(data.draw(st.integers(0, 2))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        deeper = [key for key in keys if isinstance(place[key], dict | list)]
        if not deeper:
            break
        place = place[data.draw(st.sampled_from(deeper))]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if keys:
        place[data.draw(st.sampled_from(keys))] = value
    try:
        made = imported(tree, cell_of(FULL)).protocol
    except ExchangeError:
        return
    assert longest_duration_s(made.program(cell_of(FULL))) > 0


# -- the commands


def test_a_protocol_goes_out_and_comes_in_by_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, back = tmp_path / "theirs.json", tmp_path / "ours.yaml"
    assert (
        main(["protocol", "export", "zinc-operando", "--to", "unicycler", "--out", str(out)]) == 0
    )
    assert "not carried over: rule 'end at a hard short'" in capsys.readouterr().err
    CyclingProtocol.from_json(out)
    asked = ["protocol", "import", str(out), "--cell", "zn-bare-half", "--out", str(back)]
    assert main(asked) == 0
    protocol, cell = load_protocol(back), load_cell("zn-bare-half")
    ours = load_protocol("zinc-operando").program(cell)
    assert [*map(essence, steps_of(protocol.program(cell)))] == [*map(essence, steps_of(ours))]
    capsys.readouterr()
    assert main(asked) == REFUSED
    assert "is there already: --force" in capsys.readouterr().err
