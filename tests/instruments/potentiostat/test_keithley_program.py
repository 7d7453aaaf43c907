"""What the Keithley driver makes of a technique, and what it refuses."""

import re
from typing import Any

import pytest

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat.keithley import Program, compile_program
from instruments.potentiostat.keithley.models import identified
from instruments.potentiostat.keithley.script import Wiring
from techniques import Assignment

CAPABILITIES = identified("KEITHLEY INSTRUMENTS,MODEL 2450,1,1.7.12b")[0]
WINDOW = {"potential_min_v": -1.5, "potential_max_v": 1.5, "current_max_a": 0.1}


def galvanostatic(j: float = 1.0, **more: Any) -> dict[str, Any]:
    until = [{"quantity": "time_s", "value": 10}]
    return {
        "type": "galvanostatic_step",
        "current_density_ma_cm2": j,
        "until": until,
        **more,
    }


def hold(potential_v: float = 0.1, **more: Any) -> dict[str, Any]:
    until = [{"quantity": "time_s", "value": 10}]
    return {"type": "potentiostatic_step", "potential_v": potential_v, "until": until, **more}


def compiled(
    *steps: dict[str, Any], limits: dict[str, float] | None = None, **more: Any
) -> Program:
    wiring = more.pop("wiring", None)
    technique = {"type": "sequence", "steps": list(steps)}
    assignment = Assignment.model_validate(
        {"technique": technique, "area_cm2": 1.0, "limits": limits or WINDOW, **more}
    )
    return compile_program(assignment, CAPABILITIES, wiring)


def body(program: Program) -> list[str]:
    return program.text.partition("local function program()\n")[2].splitlines()


def test_every_range_and_limit_stands_in_the_program() -> None:
    until = [
        {"quantity": "potential_above_v", "value": 0.5, "action": "next"},
        {"quantity": "charge_mah_cm2", "value": 1.0, "action": "stop"},
    ]
    strip = galvanostatic(2.0, role="strip") | {"until": until}
    program = compiled({"type": "repeat", "times": 3, "step": strip})
    lines = body(program)
    assert lines[1] == "for n1 = 1, 3 do"
    call = next(line for line in lines if line.startswith("why = current"))
    for part in ("level = 0.002", "range = 0.01", "above = 0.5", "above_code = 1", "pulse = true"):
        assert part in call
    assert 'if why == 2 then return "STOP' not in program.text  # a charge is a time: code 0
    assert 'if why == 0 then return "STOP charge_mah_cm2 1" end' in lines
    assert 'if why == 102 then return "SAFETY potential_min_v -1.5" end' in lines
    assert "o.clamp_v = 1.675" in program.text.splitlines()
    assert program.ranges_a == (1e-2,)


def test_limits_act_on_the_other_cable_with_the_other_sign() -> None:
    until = [
        {"quantity": "potential_above_v", "value": 0.5},
        {"quantity": "time_s", "value": 60},
    ]
    step = galvanostatic(1.0, role="plate") | {"until": until}
    call = next(x for x in body(compiled(step, metal_electrode="CE")) if x.startswith("why ="))
    assert "level = 0.001" in call
    assert "below = -0.5" in call


def test_an_end_of_the_loop_leaves_it() -> None:
    ends = {"quantity": "potential_above_v", "value": 0.5, "action": "end_loop"}
    step = galvanostatic() | {"until": [ends, {"quantity": "time_s", "value": 10}]}
    assert "if why == 1 then break end" in body(
        compiled({"type": "repeat", "times": 2, "step": step})
    )
    with pytest.raises(UnsupportedTechniqueError, match="in no cycle and no repeat"):
        compiled(step)


def test_programs_keep_to_the_lua_of_the_instrument() -> None:
    program = compiled(
        {"type": "open_circuit", "duration_s": 10, "drift_below_v_s": 1e-4},
        galvanostatic(record={"de_v": 0.01, "dt_s": 1}),
        hold(versus="open_circuit", record={"dq_mah_cm2": 0.01}),
        {"type": "linear_sweep", "begin_v": 0, "end_v": 0.1, "scan_rate_v_s": 0.01},
        wiring=Wiring(edge_line=2),
    )
    assert program.text.isascii()
    code = re.sub(r"--.*|\"[^\"]*\"", "", program.text)
    # Lua 5.0 has neither a remainder nor a length operator, no goto, no varargs but `arg`.
    assert not re.search(r"[%#]|\bgoto\b|\.\.\.|//|::", code)
    assert max(len(line) for line in program.text.splitlines()) < 1000
    assert "o.line = 2" in program.text


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        (
            {"type": "impedance_spectrum", "amplitude_rms_v": 0.01},
            "does no impedance spectrum: it has no frequency response analyser",
        ),
        (galvanostatic(1e-8), "controls 1e-10 A at least"),
        (hold(role="plate", continues_half_cycle=True), "no plate step that it could go on with"),
        (
            {"type": "linear_sweep", "begin_v": 0, "end_v": 1, "scan_rate_v_s": 5},
            "sweeps at 1e-06 V/s to 1 V/s",
        ),
        (
            {
                "type": "linear_sweep",
                "begin_v": 0,
                "end_v": 1,
                "scan_rate_v_s": 0.5,
                "step_v": 1e-3,
            },
            "set step_v",
        ),
        (galvanostatic() | {"until": [{"quantity": "time_s", "value": 1e-3}]}, "shorter than that"),
    ],
)
def test_what_the_instrument_cannot_do_is_refused(step: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UnsupportedTechniqueError, match=complaint) as caught:
        compiled(step)
    assert "Keithley 2450" in str(caught.value) or "continues_half_cycle" in str(caught.value)


def test_more_current_than_it_gives_and_more_potential_than_it_measures_are_refused() -> None:
    wide = {"potential_min_v": -30, "potential_max_v": 30, "current_max_a": 5}
    with pytest.raises(UnsupportedTechniqueError, match="gives 1050 mA at most"):
        compiled(galvanostatic(2000.0), limits=wide)
    with pytest.raises(UnsupportedTechniqueError, match="a limit there is never noticed"):
        compiled(galvanostatic(), limits=wide)
    with pytest.raises(UnsupportedTechniqueError, match="applies -20 V to 20 V, not 25 V"):
        compiled(hold(25.0), limits=wide)


def test_a_reference_electrode_is_refused() -> None:
    with pytest.raises(UnsupportedTechniqueError, match="no input for a reference"):
        compiled(galvanostatic(), reference=True)


def test_what_the_limits_forbid_is_refused() -> None:
    with pytest.raises(SafetyLimitError, match="outside its safety limits"):
        compiled(galvanostatic(200.0))


def test_readings_fit_into_their_intervals() -> None:
    for expected_s, most in ((3600.0, 1.0), (36.0, 1.0), (0.1, 0.1)):
        step = galvanostatic() | {"until": [{"quantity": "time_s", "value": expected_s}]}
        call = next(x for x in body(compiled(step)) if x.startswith("why ="))
        told = dict(re.findall(r"(\w+) = ([\d.e+-]+|true|false)", call))
        interval, reading = float(told["interval"]), float(told["reading"])
        assert reading <= interval
        assert 0.01 <= float(told["nplc"]) <= most
        assert interval * int(told["count"]) == pytest.approx(expected_s)
