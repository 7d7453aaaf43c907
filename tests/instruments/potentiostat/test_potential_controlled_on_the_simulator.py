"""Holds, sweeps and voltammetry executed by the simulated instrument, on a real line."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from instruments.errors import InstrumentError, SafetyLimitError
from instruments.potentiostat.contract import HOLD, PLATE, STRIP, SWEEP, VOLTAMMOGRAM
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from techniques import Assignment, SafetyLimits

AREA_CM2 = 1.131
LIMITS = {"potential_min_v": -1.0, "potential_max_v": 1.5, "current_max_a": 0.05}
MAH = 3.6


def limits(*until: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(("quantity", "value", "action"), x, strict=False)) for x in until]


def hold(potential_v: float, *until: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    ends = limits(*until)
    return {"type": "potentiostatic_step", "potential_v": potential_v, "until": ends, **more}


def drive(role: str, j: float, *until: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    return {
        "type": "galvanostatic_step",
        "role": role,
        "current_density_ma_cm2": j,
        "until": limits(*until),
        **more,
    }


def sweep(begin_v: float, end_v: float, rate: float, **more: Any) -> dict[str, Any]:
    return {
        "type": "linear_sweep",
        "begin_v": begin_v,
        "end_v": end_v,
        "scan_rate_v_s": rate,
        **more,
    }


def voltammetry(*potentials_v: float, rate: float = 0.02, **more: Any) -> dict[str, Any]:
    names = ("begin_v", "vertex1_v", "vertex2_v")
    turns = dict(zip(names, potentials_v, strict=True))
    return {"type": "cyclic_voltammetry", **turns, "scan_rate_v_s": rate, **more}


def assigned(*steps: dict[str, Any], **more: Any) -> Assignment:
    bounds = SafetyLimits.model_validate({**LIMITS, **more.pop("limits", {})})
    technique = {"type": "sequence", "steps": list(steps)}
    return Assignment.model_validate(
        {"technique": technique, "area_cm2": AREA_CM2, "limits": bounds, **more}
    )


def run(driver: MethodScriptPotentiostat, assignment: Assignment) -> list[Any]:
    driver.start(assignment)
    return list(driver.samples())


def of_step(rows: list[Any], number: int) -> list[Any]:
    return [row for row in rows if row.step == number]


def charge_mah_cm2(rows: list[Any]) -> float:
    """Return the charge under the rows, signed; the current before the first is that of it."""
    charge = rows[0].step_t_s * rows[0].current_a
    for a, b in pairwise(rows):
        charge += (b.step_t_s - a.step_t_s) * (a.current_a + b.current_a) / 2
    return float(charge / MAH / AREA_CM2)


def segments(bench: Any, technique: str) -> list[dict[str, Any]]:
    """Return what the measuring loops of one kind did, with the charge that really passed."""
    found, before = [], 0.0
    for line in bench.truth("potentiostat"):
        if line.get("event") not in ("segment", "cell_off"):
            continue
        ledger = line["ledger"]["WE"]
        net = ledger["charge_anodic"] - ledger["charge_cathodic"]
        if line["event"] == "segment" and line["technique"] == technique:
            found.append({**line, "charge_mah_cm2": net - before})
        before = net
    return found


def test_a_hold_ends_when_its_current_has_fallen(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare-half")
    # The zinc that was plated is stripped at a set potential: its current falls when it is gone.
    program = assigned(
        drive("plate", 2.0, ("charge_mah_cm2", 0.1)),
        hold(
            0.05,
            ("abs_current_below_ma_cm2", 0.05),
            ("abs_current_above_ma_cm2", 30.0),
            ("time_s", 3600),
            role="strip",
            record={"di_ma_cm2": 0.1},
        ),
        {"type": "open_circuit", "duration_s": 5},
    )
    rows = run(driver, program)
    held = of_step(rows, 2)
    assert driver.stop_reason is None
    assert {row.role for row in held} == {STRIP}
    assert {row.half_cycle for row in held} == {2}
    assert {round(row.potential_v, 3) for row in held} == {0.05}
    density = [row.current_a * 1e3 / AREA_CM2 for row in held]
    assert density[-1] < 0.05
    assert all(x > 0.05 for x in density[:-1])
    assert held[-1].step_t_s < 3000
    assert of_step(rows, 3), "the program goes on"


def test_the_charge_of_a_hold_on_its_rows_is_that_of_the_cell(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare-half")
    plate = drive("plate", 2.0, ("charge_mah_cm2", 0.2))
    ends = ("abs_current_below_ma_cm2", 0.02), ("time_s", 7200)
    record = {"dt_s": 60, "di_ma_cm2": 0.02, "edge_for_s": 0}
    rows = run(driver, assigned(plate, hold(0.04, *ends, role="strip", record=record)))
    (true,) = segments(bench, "ca")
    assert true["charge_mah_cm2"] > 0.15
    # The instrument's own gain errors are 0.1 %.
    assert charge_mah_cm2(of_step(rows, 2)) == pytest.approx(true["charge_mah_cm2"], rel=4e-3)


@pytest.mark.parametrize("metal_electrode", ["WE", "CE"])
def test_a_hold_ends_when_it_has_passed_its_charge_whichever_way(
    connect: Callable[..., Any], metal_electrode: str
) -> None:
    driver, bench = connect("zn-bare")
    ends = ("charge_mah_cm2", 0.05, "stop"), ("time_s", 7200)
    plate = hold(-0.03, *ends, record={"dq_mah_cm2": 0.01, "dt_s": 1e4, "edge_for_s": 0})
    rows = run(driver, assigned(plate, metal_electrode=metal_electrode))
    assert driver.stop_reason == "limit charge_mah_cm2 0.05 reached in step 1"
    assert {row.role for row in rows} == {HOLD}
    sign = -1 if metal_electrode == "WE" else 1
    assert {round(row.potential_v, 3) for row in rows} == {0.03 * sign}
    (true,) = segments(bench, "ca")
    assert true["charge_mah_cm2"] * sign == pytest.approx(0.05, rel=4e-3)
    # A row at every fifth of it, the first and the last.
    assert len(rows) == 6


def test_the_end_of_a_constant_current_goes_on_at_constant_potential(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect("zn-bare-half")
    strip = drive("strip", 2.0, ("potential_above_v", 0.2), ("charge_mah_cm2", 0.3))
    tail = hold(
        0.2,
        ("abs_current_below_ma_cm2", 0.1),
        ("time_s", 600),
        role="strip",
        continues_half_cycle=True,
    )
    once = {"type": "sequence", "steps": [drive("plate", 2.0, ("time_s", 300)), strip, tail]}
    rows = run(driver, assigned({"type": "repeat", "times": 2, "step": once}))
    where = sorted({(row.step, row.half_cycle, row.role) for row in rows})
    assert where == [
        (1, 1, PLATE),
        (2, 2, STRIP),
        (3, 2, STRIP),
        (4, 3, PLATE),
        (5, 4, STRIP),
        (6, 4, STRIP),
    ]
    assert of_step(rows, 3)[0].t_s - of_step(rows, 2)[-1].t_s < 2.0


def test_a_sweep_goes_through_open_circuit_and_back(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare")
    there = sweep(-0.05, 0.05, 0.001, versus="open_circuit")
    back = sweep(0.05, -0.05, 0.001, step_v=0.002)
    rows = run(driver, assigned(there, back, {"type": "open_circuit", "duration_s": 2}))
    first, second = of_step(rows, 1), of_step(rows, 2)
    assert {row.role for row in first + second} == {SWEEP}
    assert (len(first), len(second)) == (101, 51)
    for part, ends in ((first, (-0.05, 0.05)), (second, (0.05, -0.05))):
        assert (part[0].potential_v, part[-1].potential_v) == pytest.approx(ends, abs=3e-4)
        assert part[-1].t_s - part[0].t_s == pytest.approx(100.0, rel=1e-3)
        # A symmetric cell rests at 0 V: there the current changes its sign.
        assert all(
            (row.current_a > 0) == (row.potential_v > 0)
            for row in part
            if abs(row.potential_v) > 2e-3
        )
    assert second[0].current_a == pytest.approx(first[-1].current_a, rel=0.05)
    true = [segment["charge_mah_cm2"] for segment in segments(bench, "lsv")]
    assert [charge_mah_cm2(first), charge_mah_cm2(second)] == pytest.approx(true, abs=1e-4)


def test_a_slow_sweep_is_checked_more_often_than_it_is_recorded(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect("zn-bare")
    rows = run(driver, assigned(sweep(0.0, 0.01, 1e-4)))
    assert [round(row.potential_v, 3) for row in rows] == [n / 1000 for n in range(11)]
    assert rows[1].t_s - rows[0].t_s == pytest.approx(10.0, rel=1e-3)
    ends = limits(("abs_current_above_ma_cm2", 0.1))
    rows = run(driver, assigned(sweep(0.0, 0.05, 1e-4, until=ends)))
    assert rows[-1].current_a * 1e3 / AREA_CM2 == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("scans", [1, 3])
def test_voltammetry_turns_at_its_vertices_in_every_scan(
    connect: Callable[..., Any], scans: int
) -> None:
    driver, bench = connect("zn-bare")
    program = assigned(voltammetry(0.01, 0.06, -0.04, rate=0.01, scans=scans))
    rows = run(driver, program)
    assert driver.stop_reason is None
    assert {row.role for row in rows} == {VOLTAMMOGRAM}
    potentials = [row.potential_v for row in rows]
    turns = [potentials[0], potentials[-1]]
    steps = [(a, b, c) for (a, b), (_, c) in pairwise(pairwise(potentials))]
    turns[1:1] = [b for a, b, c in steps if (b - a) * (c - b) < 0]
    assert turns == pytest.approx([0.01, *[0.06, -0.04] * scans, 0.01], abs=1e-3)
    assert len(rows) == 1 + 200 * scans
    assert rows[-1].step_t_s == pytest.approx(20.0 * scans, rel=0.01)
    (true,) = segments(bench, "cv")
    assert charge_mah_cm2(rows) == pytest.approx(true["charge_mah_cm2"], abs=2e-5)


@pytest.mark.parametrize(
    "step",
    [
        hold(0.3, ("time_s", 600)),
        hold(0.3, ("time_s", 600), versus="open_circuit", role="strip"),
        sweep(0.0, 0.3, 0.01),
        voltammetry(0.0, 0.3, -0.3, scans=5),
    ],
    ids=lambda step: f"{step['type']} {step.get('versus', '')}",
)
def test_a_current_beyond_the_safety_limit_opens_the_cell(
    connect: Callable[..., Any], step: dict[str, Any]
) -> None:
    driver, bench = connect("zn-bare")
    rest = {"type": "open_circuit", "duration_s": 5}
    driver.start(assigned(rest, step, rest, limits={"current_max_a": 1e-3}))
    rows: list[Any] = []
    with pytest.raises(SafetyLimitError, match=r"current_max_a = 0\.001 was passed in step 2"):
        rows.extend(driver.samples())
    assert {row.step for row in rows} == {1, 2}
    assert abs(rows[-1].current_a) > 1e-3
    assert all(abs(row.current_a) <= 1e-3 for row in rows[:-1])
    events = [line["event"] for line in bench.truth("potentiostat")]
    assert events.count("cell_on") == events.count("cell_off") == 1


def test_an_open_circuit_potential_that_leads_out_of_the_window_never_closes_the_cell(
    connect: Callable[..., Any],
) -> None:
    # Copper rests at about 1 V against zinc.
    driver, bench = connect("zn-bare-half")
    for step in (
        hold(0.6, ("time_s", 60), versus="open_circuit"),
        sweep(0.0, 0.6, 0.01, versus="open_circuit"),
    ):
        driver.start(assigned(step))
        with pytest.raises(SafetyLimitError, match=r"potential_max_v = 1\.5 was passed in step 1"):
            list(driver.samples())
    assert not [x for x in bench.truth("potentiostat") if x["event"] == "cell_on"]


def test_a_current_beyond_the_safety_limit_at_the_steps_own_end_is_noted(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect("zn-bare")
    own = ("abs_current_above_ma_cm2", 0.5), ("time_s", 60)
    rows = run(driver, assigned(hold(0.2, *own), limits={"current_max_a": 1e-3}))
    assert abs(rows[-1].current_a) > 1e-3
    (note,) = driver.notes
    assert note.startswith("current_max_a 0.001 A was passed at the end of 1 step")


@pytest.mark.parametrize(
    "step",
    [
        hold(0.02, ("time_s", 1e4), record={"dt_s": 1}),
        sweep(0.0, 0.1, 1e-4),
        voltammetry(0.0, 0.1, -0.1, rate=1e-3, scans=50),
    ],
    ids=lambda step: str(step["type"]),
)
def test_an_abort_opens_the_cell_in_the_middle(
    connect: Callable[..., Any], step: dict[str, Any]
) -> None:
    driver, bench = connect("zn-bare", 100.0)
    limits_of_charge = limits(("charge_mah_cm2", 10.0))
    step = {**step, "until": [*step.get("until", []), *limits_of_charge]}
    driver.start(assigned(step))
    rows = iter(driver.samples())
    first = [next(rows) for _ in range(3)]
    driver.abort()
    last = [*first, *rows][-1]
    assert driver.stop_reason == "aborted"
    assert last.current_a != 0.0
    assert driver.counters.t_s == pytest.approx(last.t_s, abs=1e-6)
    events = [line["event"] for line in bench.truth("potentiostat")]
    assert events.count("cell_on") == events.count("cell_off") == 1


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (hold(2.0, ("time_s", 60)), "2 V lies outside the safety limits"),
        (hold(0.1, ("time_s", 7.2e6)), "end it by charge_mah_cm2"),
        (sweep(0.0, 1.0, 20.0, step_v=0.1), "sweeps at 1e-06 V/s to 10 V/s"),
        (sweep(0.0, 1.0, 10.0, step_v=0.001), "set step_v"),
    ],
)
def test_what_is_beyond_the_limits_is_refused_before_anything_moves(
    connect: Callable[..., Any], step: dict[str, Any], said: str
) -> None:
    driver, bench = connect("zn-bare")
    with pytest.raises(InstrumentError, match=said):
        driver.start(assigned(step, limits={"charge_max_mah_cm2": 20.0}))
    assert not [x for x in bench.truth("potentiostat") if x["event"] == "cell_on"]


def test_a_hold_whose_charge_goes_the_other_way_than_its_role_says_opens_the_cell(
    connect: Callable[..., Any],
) -> None:
    driver, bench = connect("zn-bare")
    ends = ("time_s", 3600), ("charge_mah_cm2", 0.2)
    driver.start(assigned(hold(-0.05, *ends, role="strip")))
    rows: list[Any] = []
    with pytest.raises(SafetyLimitError, match=r"charge_the_other_way_mah_cm2 = 0\.05"):
        rows.extend(driver.samples())
    (true,) = segments(bench, "ca")
    assert true["charge_mah_cm2"] == pytest.approx(-0.05, rel=0.02)
    # The other way round, and with the cables exchanged, it is what was meant.
    for way, metal_electrode in ((-0.05, "WE"), (0.05, "CE")):
        plate = hold(way if metal_electrode == "WE" else -way, *ends, role="plate")
        rows = run(driver, assigned(plate, metal_electrode=metal_electrode))
        assert abs(charge_mah_cm2(rows)) == pytest.approx(0.2, rel=0.01)


def test_a_hold_in_a_cycle_goes_on_with_its_plating(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare-half")
    cycle = {
        "type": "plate_strip_cycle",
        "cycles": 2,
        "rest_s": 5,
        "plate": drive("plate", 2.0, ("charge_mah_cm2", 0.05)),
        "plate_hold": {
            "potential_v": -0.03,
            "until": limits(("time_s", 600), ("charge_mah_cm2", 0.05)),
        },
        "strip": drive("strip", 2.0, ("potential_above_v", 0.5), ("charge_mah_cm2", 0.2, "stop")),
    }
    rows = run(driver, assigned(cycle))
    assert driver.stop_reason is None
    roles = [(PLATE, 1), (PLATE, 1), (0, 1), (STRIP, 2), (0, 2)]
    assert [
        {(row.role, row.half_cycle, row.cycle) for row in of_step(rows, number)}
        for number in range(1, 11)
    ] == [{(role, half + 2 * n, n + 1)} for n in range(2) for role, half in roles]


def three_electrodes(*steps: dict[str, Any], **more: Any) -> Assignment:
    return assigned(*steps, reference=True, **more)


def test_with_a_reference_the_potential_of_the_cell_is_measured_besides(
    connect: Callable[..., Any],
) -> None:
    driver, _ = connect("zn-bare-half-reference")
    rows = run(
        driver,
        three_electrodes(
            {"type": "open_circuit", "duration_s": 5},
            drive("plate", 2.0, ("charge_mah_cm2", 0.1)),
            hold(0.05, ("time_s", 60), role="strip"),
            sweep(0.02, -0.02, 0.01),
            voltammetry(0.0, 0.02, -0.02),
        ),
    )
    assert {row.step for row in rows} == {1, 2, 3, 4, 5}
    assert driver.lost_rows == 0
    rest, plated, held = (of_step(rows, number) for number in (1, 2, 3))
    # At rest nothing drops between the electrodes; else the counter electrode and most of the
    # electrolyte add to what the working electrode shows against the wire.
    assert all(row.cell_potential_v == pytest.approx(row.potential_v, abs=1e-3) for row in rest)
    assert all(row.cell_potential_v < row.potential_v < 0 for row in plated[5:])
    assert all(row.cell_potential_v > 0.05 for row in held)
    assert {round(row.potential_v, 3) for row in held} == {0.05}


def test_with_a_reference_the_window_holds_for_the_cell(connect: Callable[..., Any]) -> None:
    driver, bench = connect("zn-bare-half-reference")
    for step in (
        drive("plate", 2.0, ("charge_mah_cm2", 0.1)),
        hold(-0.2, ("time_s", 60)),
        sweep(0.0, -0.24, 0.01),
    ):
        rows: list[Any] = []
        driver.start(three_electrodes(step, limits={"potential_min_v": -0.25}))
        with pytest.raises(SafetyLimitError, match=r"potential_min_v = -0\.25 was passed"):
            rows.extend(driver.samples())
        assert rows[-1].cell_potential_v < -0.25 < rows[-1].potential_v
    events = [line["event"] for line in bench.truth("potentiostat")]
    assert events.count("cell_on") == events.count("cell_off") == 3


def test_an_abort_tells_the_potential_of_the_cell_too(connect: Callable[..., Any]) -> None:
    driver, _ = connect("zn-bare-half-reference", 100.0)
    driver.start(three_electrodes(drive("plate", 1.0, ("time_s", 5000)), limits={}))
    rows = iter(driver.samples())
    first = [next(rows) for _ in range(3)]
    driver.abort()
    last = [*first, *rows][-1]
    assert last.cell_potential_v < last.potential_v
    assert driver.counters.t_s == pytest.approx(last.t_s, abs=1e-6)
