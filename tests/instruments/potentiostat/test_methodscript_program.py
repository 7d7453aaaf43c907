"""Techniques compiled into programs, looked at line by line."""

import dataclasses
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat.methodscript import Program, compile_program
from instruments.potentiostat.methodscript.models import capabilities_of
from instruments.potentiostat.methodscript.values import format_literal
from techniques import (
    Assignment,
    Counters,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Recording,
    ReferenceBound,
    Repeat,
    SafetyLimits,
    Sequence,
    Technique,
)

HR = capabilities_of("es4_hr")
PICO = capabilities_of("espico")
# The commands of the manual that we allow ourselves.
COMMANDS = set(
    "var store_var copy_var add_var sub_var mul_var if endif loop endloop breakloop abort "
    "on_finished: cell_on cell_off set_range_minmax set_pgstat_chan set_pgstat_mode "
    "set_max_bandwidth set_range set_e set_i set_acquisition_frac_autoadjust "
    "set_autoranging timer_start timer_get pck_start pck_add pck_end send_string "
    "meas_loop_ocp meas_loop_ca meas_loop_cp meas_loop_eis meas_loop_geis meas_loop_lsv "
    "meas_loop_cv".split()
)
# Of the words of the maker's grammar those that one might take for a name.
RESERVED = {*COMMANDS, "mean", "smooth", "wait", "str", "array", "meas", "beep", "subarray"}
LITERAL = re.compile(r"-?[0-9]+[afpnumkMGTPEi]?")
OPENING, CLOSING = ("if", "loop", "meas_"), ("endif", "endloop")


def time_s(value: float, **more: Any) -> Limit:
    return Limit(quantity="time_s", value=value, **more)


def charge(value: float, **more: Any) -> Limit:
    return Limit(quantity="charge_mah_cm2", value=value, **more)


def above(value: float, **more: Any) -> Limit:
    return Limit(quantity="potential_above_v", value=value, **more)


def plate(*until: Limit, j: float = 1.0, **record: Any) -> GalvanostaticStep:
    return GalvanostaticStep(
        role="plate", current_density_ma_cm2=j, until=until, record=Recording(**record)
    )


def strip(*until: Limit, j: float = 1.0, **record: Any) -> GalvanostaticStep:
    return GalvanostaticStep(
        role="strip", current_density_ma_cm2=j, until=until, record=Recording(**record)
    )


WIDER_THAN_ANY = SafetyLimits(potential_min_v=-9.0, potential_max_v=9.0)
WINDOW = SafetyLimits(potential_min_v=-3.0, potential_max_v=3.0)
WATCHED_WINDOW = WINDOW.model_copy(update={"current_max_a": 1.0})


def compiled(technique: Technique, *, on: Any = HR, area: float = 1.0, **more: Any) -> Program:
    window = more.pop("limits", WINDOW)
    # Limits that say nothing of the potential leave the window as it is.
    if window.potential_min_v is None and window.potential_max_v is None:
        window = window.narrowed_by(WINDOW)
    elif None in (window.potential_min_v, window.potential_max_v):
        window = SafetyLimits(potential_min_v=-6.0, potential_max_v=6.0).narrowed_by(window)
    assignment = Assignment(technique=technique, area_cm2=area, limits=window, **more)
    return compile_program(assignment, on)


def lines_of(technique: Technique, **more: Any) -> list[str]:
    return compiled(technique, **more).text.splitlines()


def the(lines: list[str], beginning: str) -> str:
    (found,) = [line for line in lines if line.startswith(beginning)]
    return found


def check_form(program: Program) -> None:
    """Check what the manual's grammar asks of any script."""
    declared: set[str] = set()
    depth, blocks = 0, []
    for line in program.text.splitlines():
        assert line, "an empty line would end the script"
        assert len(line) < 256
        if line.startswith("#"):
            continue
        words = line.split()
        assert words[0] in COMMANDS, line
        if words[0] == "var":
            assert re.fullmatch(r"[a-z][a-z0-9_]*", words[1])
            assert words[1] not in RESERVED
            assert words[1] not in declared
            declared.add(words[1])
        elif words[0] != "send_string":
            for word in words[1:]:
                assert (
                    word in declared
                    or LITERAL.fullmatch(word)
                    or word in (">", "<", "==", ">=")
                    or words[-3:] == ["add_meas(0", "ag", "w)"]
                    or (words[0] == "meas_loop_cv" and re.fullmatch(r"nscans\([0-9]+\)", word))
                    or re.fullmatch(r"[a-z]{2}", word)
                ), line
        if words[0].startswith(OPENING):
            if words[0].startswith("meas_"):
                assert not any(x.startswith("meas_") for x in blocks), "loops must not nest"
            blocks.append(words[0])
        elif words[0] in CLOSING:
            opened = blocks.pop()
            assert (opened == "if") == (words[0] == "endif")
        depth = max(depth, len(blocks))
    assert blocks == []
    assert "\non_finished:\ncell_off\n" in program.text, "the cell is opened before anything else"


RECORDS = st.builds(
    Recording,
    dt_s=st.floats(0.1, 100),
    de_v=st.none() | st.floats(1e-4, 1),
    dq_mah_cm2=st.none() | st.floats(1e-3, 1),
    edge_dt_s=st.floats(0.1, 5),
    edge_for_s=st.floats(0, 100),
)
ACTIONS = st.sampled_from(["next", "stop"])
LIMITS = st.builds(
    lambda time, others: (Limit(quantity="time_s", value=time), *others),
    st.floats(1, 1e5),
    st.lists(
        st.builds(
            Limit,
            quantity=st.sampled_from(["charge_mah_cm2", "abs_potential_above_v"]),
            value=st.floats(1e-3, 5),
            action=ACTIONS,
        ),
        max_size=3,
    ),
)
GALVANOSTATIC = st.builds(
    GalvanostaticStep,
    role=st.sampled_from(["plate", "strip", None]),
    current_density_ma_cm2=st.floats(1e-3, 100),
    until=LIMITS,
    record=RECORDS,
)
OPEN_CIRCUIT = st.builds(
    OpenCircuit,
    duration_s=st.floats(0.1, 1e5),
    drift_below_v_s=st.none() | st.floats(1e-7, 1e-2),
    drift_window_s=st.floats(1, 600),
    record=RECORDS,
)
IMPEDANCE = st.builds(
    ImpedanceSpectrum,
    amplitude_rms_v=st.floats(1e-3, 0.5),
    frequency_max_hz=st.floats(1e3, 2e5),
    frequency_min_hz=st.floats(1e-2, 1e2),
    points_per_decade=st.integers(1, 20),
    potential_v=st.none() | st.floats(-2, 2),
)
WATCHED = st.lists(
    st.builds(
        Limit,
        quantity=st.sampled_from(["charge_mah_cm2", "abs_current_above_ma_cm2"]),
        value=st.floats(1e-3, 5),
        action=ACTIONS,
    ),
    max_size=3,
).map(tuple)
VERSUS = st.sampled_from(["other_electrode", "open_circuit"])
POTENTIAL = st.floats(-1.4, 1.4)
HOLD = st.builds(
    lambda time, until, **more: PotentiostaticStep(until=(time_s(time), *until), **more),
    st.floats(1, 1e5),
    WATCHED,
    role=st.sampled_from(["plate", "strip", None]),
    potential_v=POTENTIAL,
    versus=VERSUS,
    record=RECORDS,
)
SWEEP = st.builds(
    LinearSweep,
    begin_v=POTENTIAL,
    end_v=st.floats(1.5, 1.6),
    versus=VERSUS,
    scan_rate_v_s=st.floats(1e-6, 0.4),
    until=WATCHED,
)
VOLTAMMETRY = st.builds(
    CyclicVoltammetry,
    begin_v=POTENTIAL,
    vertex1_v=st.floats(1.5, 1.6),
    vertex2_v=POTENTIAL,
    versus=VERSUS,
    scan_rate_v_s=st.floats(1e-6, 0.4),
    scans=st.integers(1, 10),
    until=WATCHED,
)
CYCLE = st.builds(
    lambda step, rest, cycles, between: PlateStripCycle(
        plate=step.model_copy(update={"role": "plate"}),
        strip=step.model_copy(update={"role": "strip"}),
        rest_s=rest,
        cycles=cycles,
        between=between,
    ),
    GALVANOSTATIC,
    st.just(0.0) | st.floats(0.01, 100),
    st.integers(1, 1000),
    st.none() | IMPEDANCE,
)
TECHNIQUES = st.recursive(
    OPEN_CIRCUIT | GALVANOSTATIC | IMPEDANCE | CYCLE | HOLD | SWEEP | VOLTAMMETRY,
    lambda inner: (
        st.builds(
            lambda steps: Sequence(steps=tuple(steps)), st.lists(inner, min_size=1, max_size=3)
        )
        | st.builds(lambda times, step: Repeat(times=times, step=step), st.integers(1, 50), inner)
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(TECHNIQUES, st.sampled_from(["WE", "CE"]), st.booleans())
def test_every_technique_compiles_into_what_the_grammar_allows(
    technique: Technique, metal_electrode: str, reference: bool
) -> None:
    reference = reference and metal_electrode == "WE"
    program = compiled(
        technique, metal_electrode=metal_electrode, reference=reference, limits=WATCHED_WINDOW
    )
    check_form(program)
    headers = [x for x in program.text.splitlines() if x.startswith("store_var blk")]
    assert len(headers) == len(program.blocks)


def test_plating_is_negative_on_the_working_electrode_and_positive_on_the_counter() -> None:
    step = plate(time_s(3600.0), j=1.131)
    assert the(lines_of(step), "meas_loop_cp") == "meas_loop_cp p c -1131u 1 3600"
    mirrored = lines_of(step, metal_electrode="CE")
    assert the(mirrored, "meas_loop_cp") == "meas_loop_cp p c 1131u 1 3600"
    assert compiled(step, metal_electrode="CE").blocks[0].role == -1


def test_a_cut_off_is_mirrored_with_the_metal_electrode() -> None:
    step = strip(above(0.5), time_s(3600))
    assert "if p > 500m" in lines_of(step)
    mirrored = lines_of(step, metal_electrode="CE")
    assert "if p < -500m" in mirrored
    assert "if p > 500m" not in mirrored


def test_the_magnitude_of_the_potential_is_watched_on_both_sides() -> None:
    lines = lines_of(plate(time_s(10), Limit(quantity="abs_potential_above_v", value=0.2)))
    assert "if p > 200m" in lines
    assert "if p < -200m" in lines


def test_a_charge_is_a_time_at_the_set_current() -> None:
    lines = lines_of(plate(charge(0.5), j=2.0))
    assert the(lines, "meas_loop_cp") == "meas_loop_cp p c -2m 250m 900"


def test_limits_are_checked_3600_times_in_a_step_however_rarely_rows_are_recorded() -> None:
    step = strip(above(0.5), time_s(1800), dt_s=100, edge_dt_s=50)
    assert the(lines_of(step), "meas_loop_cp") == "meas_loop_cp p c 1m 500m 1800"


def test_safety_limits_are_the_instruments_potentials() -> None:
    limits = SafetyLimits(potential_min_v=-0.8, potential_max_v=1.2)
    for metal_electrode in ("WE", "CE"):
        lines = lines_of(plate(time_s(10)), limits=limits, metal_electrode=metal_electrode)
        assert "if p > 1200m" in lines
        assert "if p < -800m" in lines
        assert 'send_string "SAFETY potential_max_v 1.2"' in lines
        assert 'send_string "SAFETY potential_min_v -0.8"' in lines


def test_the_range_of_the_potential_holds_the_steps_own_limits_with_headroom() -> None:
    narrow = SafetyLimits(potential_min_v=-1.0, potential_max_v=1.0)
    wide = SafetyLimits(potential_min_v=-6.0, potential_max_v=2.5)
    step = plate(time_s(10), Limit(quantity="abs_potential_above_v", value=2.5))
    assert "set_range ab 2750m" in lines_of(step, limits=narrow)
    assert "set_range ab 6" in lines_of(step, limits=wide)
    assert "set_range ab 2" in lines_of(plate(time_s(10)), limits=narrow)


def test_a_galvanostatic_step_needs_a_window() -> None:
    half = Assignment(
        technique=plate(time_s(10)), area_cm2=1.0, limits=SafetyLimits(potential_min_v=-1.0)
    )
    with pytest.raises(SafetyLimitError, match="no potential limits: give potential_min_v"):
        compile_program(half, HR)


def test_the_nearest_limit_decides() -> None:
    limits = SafetyLimits(potential_min_v=-6.0, potential_max_v=1.0)
    lines = lines_of(strip(above(0.5), time_s(10)), limits=limits)
    assert "if p > 500m" in lines
    assert "if p > 1" not in lines
    assert not [x for x in lines if "SAFETY potential_max_v" in x]
    at_the_limit = lines_of(strip(above(1.0), time_s(10)), limits=limits)
    assert not [x for x in at_the_limit if "SAFETY potential_max_v" in x]


def test_a_stop_says_so_and_aborts() -> None:
    step = strip(above(0.5), charge(0.6, action="stop"))
    text = compiled(step).text
    assert "if why == 0i\ntimer_get t\npck_start\npck_add t\npck_add row\npck_end\n" in text
    assert 'send_string "STOP charge_mah_cm2 0.6"\nabort\nendif' in text


def test_the_cell_is_open_before_anything_else_is_done_at_the_end_of_a_step() -> None:
    lines = lines_of(strip(above(0.5), time_s(10)))
    last = max(n for n, line in enumerate(lines) if line == "endloop")
    assert lines[last + 1] == "cell_off"


def test_the_last_row_of_each_step_is_sent_twice_with_one_number() -> None:
    spectrum = ImpedanceSpectrum(amplitude_rms_v=0.005)
    for step, names in (
        (strip(above(0.5), time_s(10)), ["p", "c"]),
        (OpenCircuit(duration_s=10), ["p"]),
        (spectrum, ["f", "zr", "zi"]),
    ):
        text = compiled(step).text
        package = "\n".join(f"pck_add {name}" for name in ("t", "row", *names))
        copy = f"pck_start\n{package}\npck_end\n"
        loop, after = text.rsplit("\nendloop\n", 1)
        assert f"add_var row 1i\n{copy}" in loop + "\n"
        assert copy in after.replace(f"add_var row 1i\n{copy}", "")


def test_a_cycle_is_a_loop_of_the_script() -> None:
    technique = PlateStripCycle(
        plate=plate(time_s(10)), strip=strip(time_s(10)), cycles=500, rest_s=5
    )
    program = compiled(technique)
    assert program.text.count("meas_loop_cp") == 2
    assert "loop n1 < 500i" in program.text
    assert [block.role for block in program.blocks] == [-1, 0, 1, 0]


def test_leaving_a_loop_needs_one() -> None:
    step = strip(above(0.5, action="end_loop"), time_s(10))
    inside = compiled(Repeat(times=3, step=step)).text
    assert "if why == 1i\nbreakloop\nendif" in inside
    with pytest.raises(UnsupportedTechniqueError, match="no cycle"):
        compiled(step)


@pytest.mark.parametrize(
    ("j", "nominal"),
    [(0.9, "1m"), (1.0, "1m"), (1.1, "1m"), (1.6, "10m"), (60.0, "100m"), (150.0, "100m")],
)
def test_the_smallest_range_that_carries_the_current_is_fixed(j: float, nominal: str) -> None:
    lines = lines_of(plate(time_s(10), j=j))
    assert f"set_range db {nominal}" in lines
    assert f"set_autoranging db {nominal} {nominal}" in lines


def test_a_charge_interval_of_rows_is_a_time_interval() -> None:
    lines = lines_of(plate(time_s(3600), dt_s=100, dq_mah_cm2=0.01, edge_for_s=0))
    assert the(lines, "store_var gap") == "store_var gap 35500m eb"


def test_the_shortest_interval_fits_steps_of_any_duration() -> None:
    for duration_s, interval in ((1.0, "1m"), (1.0003, "1000300n"), (0.0029, "1450u")):
        lines = lines_of(plate(time_s(duration_s), dt_s=0.001, edge_dt_s=0.001))
        assert the(lines, "meas_loop_cp").split()[4] == interval
    with pytest.raises(UnsupportedTechniqueError, match=r"every 0\.001 s at most"):
        compiled(plate(time_s(1.0), dt_s=0.0005, edge_dt_s=0.001))


def test_impedance_runs_at_the_open_circuit_potential() -> None:
    lines = lines_of(
        ImpedanceSpectrum(amplitude_rms_v=0.005, frequency_min_hz=0.1, points_per_decade=10)
    )
    assert the(lines, "meas_loop_eis") == "meas_loop_eis f zr zi 5m 100000 100m 61i bias"
    order = [lines.index(x) for x in ("copy_var p bias", "set_e bias", "cell_on")]
    assert order == sorted(order)
    assert "set_pgstat_mode 3" in lines


def test_impedance_at_a_given_potential_is_mirrored() -> None:
    spectrum = ImpedanceSpectrum(amplitude_rms_v=0.005, potential_v=0.1)
    assert "store_var bias 100m da" in lines_of(spectrum)
    assert "store_var bias -100m da" in lines_of(spectrum, metal_electrode="CE")


def test_the_bias_of_a_spectrum_is_compared_in_the_instruments_sign() -> None:
    spectrum = ImpedanceSpectrum(amplitude_rms_v=0.005, potential_v=0.5)
    limits = SafetyLimits(potential_min_v=-0.1, potential_max_v=1.0)
    compiled(spectrum, limits=limits)
    with pytest.raises(SafetyLimitError, match=r"bias -0\.5 V"):
        compiled(spectrum, limits=limits, metal_electrode="CE")


def test_the_open_circuit_and_the_swing_around_it_are_checked_before_the_cell_is_closed() -> None:
    limits = SafetyLimits(potential_min_v=-0.8, potential_max_v=1.2)
    program = compiled(ImpedanceSpectrum(amplitude_rms_v=0.005), limits=limits)
    check_form(program)
    before, _ = program.text.split("\ncell_on\n")
    swing = 0.005 * math.sqrt(2)
    assert f"if p > {format_literal(round(1.2 - swing, 9))}\n" in before
    assert f"if p < {format_literal(round(-0.8 + swing, 9))}\n" in before
    assert 'send_string "SAFETY potential_max_v 1.2"\nabort\nendif' in before
    assert 'send_string "SAFETY potential_min_v -0.8"\nabort\nendif' in before


def test_the_current_at_a_bias_is_checked_before_and_after_the_spectrum() -> None:
    limits = SafetyLimits(current_max_a=5e-3)
    spectrum = ImpedanceSpectrum(amplitude_rms_v=0.005, potential_v=0.1)
    program = compiled(spectrum, limits=limits)
    check_form(program)
    assert "set_range ba 10m\n" in program.text
    for part in program.text.split("meas_loop_eis"):
        assert "meas_loop_ca p c bias 20m 1\nif c > 5m\n" in part
        assert "if c < -5m\n" in part
        assert "cell_off\ntimer_get t\n" in part
        assert 'send_string "SAFETY current_max_a 0.005"\nabort\nendif' in part


def test_the_potential_is_checked_before_and_after_a_galvanostatic_spectrum() -> None:
    limits = SafetyLimits(potential_min_v=-0.8, potential_max_v=1.2)
    spectrum = ImpedanceSpectrum(mode="galvanostatic", amplitude_rms_ma_cm2=0.5)
    program = compiled(spectrum, limits=limits)
    check_form(program)
    before, after = program.text.split("\ncell_on\n")
    for part in (before, after):
        assert "if p > 1200m\ncell_off\n" in part
        assert "if p < -800m\ncell_off\n" in part


def test_galvanostatic_impedance_uses_the_galvanostat() -> None:
    lines = lines_of(
        ImpedanceSpectrum(mode="galvanostatic", amplitude_rms_ma_cm2=0.5, frequency_max_hz=1e4)
    )
    assert the(lines, "meas_loop_geis").startswith("meas_loop_geis f zr zi 500u 10000 100m")
    assert "set_pgstat_mode 6" in lines


@pytest.mark.parametrize(
    ("technique", "model", "words"),
    [
        (plate(time_s(10)), "espico", "cannot control the current"),
        (plate(time_s(10), j=250), "es4_hr", "200 mA at most"),
        (plate(time_s(10), j=1e-8), "es4_hr", "1e-10 A at least"),
        (OpenCircuit(duration_s=1e-5), "es4_hr", "every 0.001 s at most"),
        (strip(above(7.0), time_s(10)), "es4_hr", "never be noticed"),
        (
            ImpedanceSpectrum(mode="galvanostatic", amplitude_rms_ma_cm2=1),
            "espico",
            "potentiostatic",
        ),
        (
            ImpedanceSpectrum(mode="galvanostatic", amplitude_rms_ma_cm2=199),
            "es4_hr",
            "peak is 281",
        ),
        (ImpedanceSpectrum(amplitude_rms_v=0.01, frequency_max_hz=1e6), "es4_hr", "200000 Hz"),
        (ImpedanceSpectrum(amplitude_rms_v=1.0), "es4_lr", "0.9 V rms"),
        (ImpedanceSpectrum(amplitude_rms_v=0.01, potential_v=8.0), "es4_hr", "asked for 8 V"),
    ],
)
def test_what_the_instrument_cannot_do_is_refused(
    technique: Technique, model: str, words: str
) -> None:
    with pytest.raises(UnsupportedTechniqueError, match=words):
        compiled(technique, on=capabilities_of(model), limits=WIDER_THAN_ANY)


def test_a_pico_measures_impedance_and_rests() -> None:
    technique = Sequence(steps=(OpenCircuit(duration_s=5), ImpedanceSpectrum(amplitude_rms_v=0.01)))
    check_form(compiled(technique, on=PICO))


@pytest.mark.parametrize(
    ("technique", "limits", "words"),
    [
        (plate(time_s(10), j=5), SafetyLimits(current_max_a=1e-3), "5 mA, the limit is 1 mA"),
        (plate(charge(9)), SafetyLimits(charge_max_mah_cm2=1), "9 mAh/cm2"),
        (OpenCircuit(duration_s=100), SafetyLimits(duration_max_s=10), "100 s"),
        (
            strip(above(1.5), time_s(10)),
            SafetyLimits(potential_max_v=1.0),
            "outside the safety limits",
        ),
        (
            ImpedanceSpectrum(amplitude_rms_v=0.01, potential_v=1.5),
            SafetyLimits(potential_max_v=1.0),
            "1.5 V .* is outside",
        ),
        (
            ImpedanceSpectrum(mode="galvanostatic", amplitude_rms_ma_cm2=5),
            SafetyLimits(current_max_a=1e-3),
            "peak current is 7.071 mA",
        ),
        (
            ImpedanceSpectrum(amplitude_rms_v=0.01, potential_v=0.99),
            SafetyLimits(potential_max_v=1.0),
            "bias 0.99 V .* is outside",
        ),
        (
            ImpedanceSpectrum(amplitude_rms_v=0.2),
            SafetyLimits(potential_min_v=-0.2, potential_max_v=0.2),
            "is wider than the safety limits",
        ),
        (
            ImpedanceSpectrum(amplitude_rms_v=0.01, potential_v=0.1),
            SafetyLimits(current_max_a=0.1, charge_max_mah_cm2=1),
            "100 mA all the time would be .* the limit is 1 mAh/cm2",
        ),
        (
            ImpedanceSpectrum(amplitude_rms_v=0.01, potential_v=0.1),
            SafetyLimits(charge_max_mah_cm2=1),
            "no current_max_a bounds its charge",
        ),
    ],
)
def test_what_the_limits_forbid_is_refused(
    technique: Technique, limits: SafetyLimits, words: str
) -> None:
    with pytest.raises(SafetyLimitError, match=words):
        compiled(technique, limits=limits)


def test_the_mains_frequency_is_told() -> None:
    assignment = Assignment(technique=OpenCircuit(duration_s=5), area_cm2=1.0)
    text = compile_program(assignment, HR, mains_frequency_hz=60).text
    assert "set_acquisition_frac_autoadjust 60" in text


def test_a_step_between_runs_in_every_nth_cycle_only() -> None:
    cycle = PlateStripCycle(
        plate=plate(time_s(10)),
        strip=strip(time_s(10)),
        cycles=100,
        between=OpenCircuit(duration_s=5),
        between_every=10,
    )
    lines = lines_of(cycle)
    loop, last = lines.index("loop n1 < 100i"), len(lines) - lines[::-1].index("sub_var k1 1i") - 1
    assert lines[loop - 2 : loop] == ["store_var k1 0i ja", "store_var n1 0i ja"]
    assert lines[last - 2 : last] == ["store_var k1 10i ja", "endif"]
    between = lines[lines.index("if k1 == 0i") : last]
    assert [x.split()[0] for x in between if x.startswith("meas_")] == ["meas_loop_ocp"]
    later = cycle.model_copy(update={"between_first": 5})
    assert "store_var k1 4i ja" in lines_of(later)
    assert not [x for x in lines_of(cycle.model_copy(update={"between_every": 1})) if "k1" in x]


def held(*until: Limit, **more: Any) -> PotentiostaticStep:
    more = {"potential_v": 0.1, **more}
    return PotentiostaticStep(until=(time_s(3600), *until), **more)


def current(quantity: Any, value: float) -> Limit:
    return Limit(quantity=quantity, value=value)


TIGHT = WINDOW.model_copy(update={"current_max_a": 0.05})


def test_a_hold_is_mirrored_with_the_metal_electrode_and_its_currents_are_magnitudes() -> None:
    below = current("abs_current_below_ma_cm2", 0.2)
    for metal_electrode, volts in (("WE", "100m"), ("CE", "-100m")):
        lines = lines_of(held(below), limits=TIGHT, metal_electrode=metal_electrode)
        assert the(lines, "meas_loop_ca") == f"meas_loop_ca p c {volts} 1 3600"
        assert the(lines, "set_e") == f"set_e {volts}"
        loop = lines[lines.index(the(lines, "meas_loop_ca")) : lines.index("endloop")]
        for condition in ("if c > 50m", "if c < -50m", "if c < 200u", "if c > -200u"):
            assert condition in loop
        assert 'send_string "SAFETY current_max_a 0.05"' in lines


def test_the_current_range_of_a_hold_follows_the_current_between_its_limits() -> None:
    def ranges(*until: Limit) -> tuple[str, str]:
        lines = lines_of(held(*until), limits=TIGHT)
        return the(lines, "set_range ba"), the(lines, "set_autoranging ba")

    assert ranges() == ("set_range ba 100m", "set_autoranging ba 10u 100m")
    bounds = (
        current("abs_current_below_ma_cm2", 0.05),
        current("abs_current_above_ma_cm2", 8.0),
    )
    assert ranges(*bounds) == ("set_range ba 10m", "set_autoranging ba 100u 10m")


def test_an_instrument_at_the_end_of_its_power_counts_as_beyond_the_safety_limit() -> None:
    lines = lines_of(held(), limits=WATCHED_WINDOW)
    assert "if c > 190m" in lines
    assert 'send_string "SAFETY current_max_a 0.19"' in lines


def test_a_half_cycle_that_goes_on_at_a_set_potential_is_not_counted_again() -> None:
    counted = compiled(held(role="strip"), limits=TIGHT)
    assert "add_var half 1i" in counted.text.splitlines()
    assert counted.blocks[0].role == 1
    tail = held(role="strip", continues_half_cycle=True)
    going_on = compiled(Sequence(steps=(strip(time_s(10)), tail)), limits=TIGHT)
    assert going_on.text.splitlines().count("add_var half 1i") == 1
    assert [block.role for block in going_on.blocks] == [1, 1]
    for before in (plate(time_s(10)), OpenCircuit(duration_s=5)):
        with pytest.raises(UnsupportedTechniqueError, match="no strip step that it could go on"):
            compiled(Sequence(steps=(before, tail)), limits=TIGHT)
    with pytest.raises(UnsupportedTechniqueError, match="no strip step that it could go on"):
        compiled(tail, limits=TIGHT)
    # What is left of an experiment may begin with it.
    assert compiled(tail, limits=TIGHT, begin=Counters(half_cycle=2)).begin.half_cycle == 2


def test_a_potential_against_open_circuit_is_measured_before_the_step_begins() -> None:
    lines = lines_of(
        LinearSweep(begin_v=-0.1, end_v=0.2, scan_rate_v_s=0.01, versus="open_circuit"),
        limits=TIGHT,
    )
    order = [
        lines.index(x)
        for x in (
            "cell_off",
            "meas_loop_ocp p 100m 1",
            "add_var e2 p",
            "set_range_minmax da e1 e2",
            "if p > 2800m",
            "if p < -2900m",
            "cell_on",
            "meas_loop_lsv p c e1 e2 1m 10m",
        )
    ]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("rate", "checks", "step"), [(1e-3, None, "1m"), (2e-4, "5i", "200u"), (1e-6, "10i", "100u")]
)
def test_a_slow_sweep_is_divided_for_the_sake_of_its_checks(
    rate: float, checks: str | None, step: str
) -> None:
    lines = lines_of(LinearSweep(begin_v=0.0, end_v=0.1, scan_rate_v_s=rate), limits=TIGHT)
    assert the(lines, "meas_loop_lsv").split()[5] == step
    assert [x.split()[2] for x in lines if x.startswith("store_var skip")][1:] == (
        [checks] if checks else []
    )


@pytest.mark.parametrize(
    ("technique", "words"),
    [
        (held(potential_v=2.5), "applies -1.7 V to 2 V"),
        (LinearSweep(begin_v=0.0, end_v=1.0, scan_rate_v_s=11.0), "sweeps at 1e-06 V/s to 10 V/s"),
        (held(Limit(quantity="charge_mah_cm2", value=1, action="end_loop")), "no cycle"),
    ],
)
def test_a_hold_or_sweep_that_the_instrument_cannot_do_is_refused(
    technique: Technique, words: str
) -> None:
    with pytest.raises(UnsupportedTechniqueError, match=words):
        compiled(technique, on=PICO, limits=TIGHT)


def test_what_the_table_of_the_instrument_does_not_name_is_refused() -> None:
    less = dataclasses.replace(HR, techniques=HR.techniques - {"cyclic_voltammetry"})
    scans = CyclicVoltammetry(begin_v=0.0, vertex1_v=0.1, vertex2_v=-0.1, scan_rate_v_s=0.01)
    assert "nscans" not in compiled(scans, limits=TIGHT).text
    with pytest.raises(UnsupportedTechniqueError, match="EmStat4 HR does no cyclic voltammetry"):
        compiled(scans, on=less, limits=TIGHT)


def test_with_a_reference_every_loop_but_an_impedance_measures_the_cell_besides() -> None:
    steps = (
        OpenCircuit(duration_s=5),
        plate(time_s(10)),
        held(),
        LinearSweep(begin_v=0.0, end_v=0.1, scan_rate_v_s=0.01),
        CyclicVoltammetry(begin_v=0.0, vertex1_v=0.1, vertex2_v=-0.1, scan_rate_v_s=0.1, scans=2),
        ImpedanceSpectrum(amplitude_rms_v=0.005),
    )
    lines = lines_of(Sequence(steps=steps), limits=TIGHT, reference=True)
    loops = [x for x in lines if x.startswith("meas_loop_")]
    besides = [x.split()[0].rpartition("_")[2] for x in loops if x.endswith(" add_meas(0 ag w)")]
    # Before and after a spectrum, which cannot tell it, it is measured at open circuit.
    assert besides == ["ocp", "cp", "ca", "lsv", "cv", "ocp", "ocp"]
    # The window holds for the cell in every loop that drives it, and around the spectrum.
    assert lines.count("if w > 3") == lines.count("if w < -3") == 6
    without = lines_of(Sequence(steps=steps), limits=TIGHT)
    assert not [x for x in without if "add_meas" in x or x.split()[-1] == "w"]


@pytest.mark.parametrize(
    ("most", "above", "below", "code"),
    [
        (0.8, "if w > 800m", "if w < -800m", "105i"),
        (0.3, "if w > 300m", "if w < -300m", "105i"),
        (5.0, "if w > 3", "if w < -3", "101i"),
    ],
)
@pytest.mark.parametrize("step", [plate(time_s(10)), held()], ids=["current", "potential"])
def test_the_nearer_of_window_and_largest_cell_potential_is_watched(
    step: Any, most: float, above: str, below: str, code: str
) -> None:
    limits = TIGHT.model_copy(update={"cell_potential_max_v": most})
    lines = lines_of(step, limits=limits, reference=True)
    assert [x for x in lines if x.startswith("if w ")] == [above, below]
    assert lines[lines.index(above) + 1] == f"store_var why {code} ja"
    told = f'send_string "SAFETY cell_potential_max_v {most:g}"'
    assert (told in lines) == (code == "105i")


def test_without_a_reference_the_largest_cell_potential_is_a_window() -> None:
    limits = TIGHT.model_copy(update={"cell_potential_max_v": 0.8})
    window = TIGHT.narrowed_by(SafetyLimits(potential_min_v=-0.8, potential_max_v=0.8))
    step = plate(time_s(10))
    assert compiled(step, limits=limits).text == compiled(step, limits=window).text


def test_a_largest_cell_potential_that_cannot_be_measured_is_refused() -> None:
    wide = SafetyLimits(potential_min_v=-1.0, potential_max_v=8.0, cell_potential_max_v=7.0)
    with pytest.raises(UnsupportedTechniqueError, match="a limit at 7 V would never be noticed"):
        compiled(held(), limits=wide.model_copy(update={"current_max_a": 0.1}), reference=True)


def test_the_reference_is_judged_at_the_end_of_the_first_rest_before_the_cell_is_closed() -> None:
    bound = ReferenceBound(name="Zn wire", electrode="CE", expected_v=0.1, within_v=0.2)
    steps = Sequence(
        steps=(OpenCircuit(duration_s=5), plate(time_s(10)), OpenCircuit(duration_s=5))
    )
    asked = {"reference": True, "reference_bound": bound}
    lines = lines_of(steps, **asked)
    begin = lines.index("# the reference")
    # What is not a number is neither below nor above: only within both the code is taken back.
    assert lines[begin + 1 : begin + 9] == [
        "copy_var p diff",
        "sub_var diff w",
        "store_var why 106i ja",
        "if diff < 300m",
        "if diff > -100m",
        "store_var why 0i ja",
        "endif",
        "endif",
    ]
    assert lines[begin + 9] == "if why == 106i"
    assert 'send_string "SAFETY reference_offset_v 0.2"' in lines[begin:]
    assert lines.index("endloop") < begin < lines.index("cell_on")
    assert lines.count("# the reference") == 1
    check_form(compiled(steps, **asked))
    # It says nothing of the rows: a log is read with it or without.
    assert compiled(steps, **asked).meaning == compiled(steps, reference=True).meaning
    for other in (Repeat(times=2, step=steps), Sequence(steps=(plate(time_s(5)), *steps.steps))):
        assert "# the reference" not in lines_of(other, **asked)


@pytest.mark.parametrize(
    ("electrode", "between"), [("WE", ("-200m", "200m")), (None, ("-5880m", "5880m"))]
)
def test_the_reference_is_judged_by_what_is_known(electrode: Any, between: tuple[str, str]) -> None:
    bound = ReferenceBound(name="wire", electrode=electrode)
    lines = lines_of(OpenCircuit(duration_s=5), reference=True, reference_bound=bound)
    assert f"if diff > {between[0]}" in lines
    assert f"if diff < {between[1]}" in lines
    assert "sub_var diff w" not in lines
