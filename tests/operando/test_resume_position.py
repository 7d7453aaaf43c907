"""Where an interrupted program stood, from rows and log: certain, or refused."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.potentiostat import ProgramLog, Sample
from instruments.potentiostat.contract import LOOK
from operando.resume._charge import deposit_so_far, plated_and_stripped
from operando.resume._position import Position, position_of
from operando.resume._program import (
    _POINT,
    _SAMPLE,
    Program,
    Rows,
    damage_near_the_end,
    fresh_rows,
    program_of,
    with_rows,
)
from operando.resume._record import Decisions, Experiment, ResumeError
from operando.runs import Run, Stream
from techniques import Cell, Counters, PlateStripCycle, PotentiostaticStep, Repeat
from techniques import Sequence as Steps

NOW_S = 1_800_000_000.0
CHARGE, PLATING_S, DT_S, REST_S = 1.0, 3600.0, 10.0, 60.0
HALF: dict[str, Any] = {"current_density_ma_cm2": 1.0, "record": {"dt_s": DT_S}}
CYCLING = PlateStripCycle.model_validate(
    {
        "cycles": 3,
        "rest_s": REST_S,
        "plate": HALF | {"until": [{"quantity": "charge_mah_cm2", "value": CHARGE}]},
        "strip": HALF
        | {
            "until": [
                {"quantity": "potential_above_v", "value": 0.5},
                {"quantity": "charge_mah_cm2", "value": 1.2, "action": "stop"},
            ]
        },
    }
)
ELECTRODE = {"material": "Cu", "area_cm2": 1.0}
START: dict[str, Any] = {
    "uid": "1",
    "time": NOW_S - 1e4,
    "sample": {
        "cell_id": "C1",
        "metal": "Zn",
        "working_electrode": ELECTRODE,
        "counter_electrode": ELECTRODE | {"material": "Zn", "metal": "Zn"},
        "electrolyte": {"composition": "2 M ZnSO4"},
    },
    "limits": {"effective": {"potential_min_v": -1.0, "potential_max_v": 1.0}},
}


def samples(*steps: tuple[int, int, float], potential: float = -0.1) -> dict[str, Any]:
    """Rows of steps (role, half-cycle, until s), one every ``DT_S``; the host heard them so."""
    rows: list[list[float]] = []
    t_s = 0.0
    for number, (role, half, until_s) in enumerate(steps, 1):
        for step_t in np.arange(DT_S, until_s + 1e-9, DT_S):
            row = [t_s + step_t, step_t, 0.1 * role, 1e-3 * role, 1, half, number, role, 0, 0.0]
            rows.append(row)
        t_s += until_s
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(_SAMPLE)}
    columns["time"] = NOW_S - 5000.0 + columns["t"] - columns["t"][-1]
    columns["potential"][-1] = potential
    return columns


POINTS = {name: np.empty(0) for name in _POINT}


def where(
    rows: dict[str, Any],
    log: tuple[str, float] | None = None,
    *,
    stop: dict[str, Any] | None = None,
    reason: str = "",
    points: dict[str, Any] = POINTS,
    technique: Any = CYCLING,
    start: dict[str, Any] = START,
    log_told: dict[str, Any] | None = None,
    damage: str = "",
    begin: Counters | None = None,
    unwatched_s: float | None = None,
    **decisions: Any,
) -> Position:
    """Return the position; ``log``: its ending and how far the last step had come then, s."""
    newest = float(rows["time"][-1]) if len(rows["time"]) else NOW_S
    ended = {"exit_status": "fail", "reason": "", "time": newest} | (stop or {})
    run = Run(start=start, stop=ended, streams={})
    kept = None
    if log is not None:
        role = int(rows["role"][-1])
        counters = Counters(
            t_s=float(rows["t"][-1]) + log[1] - float(rows["step_t"][-1]),
            cycle=1,
            half_cycle=int(rows["half_cycle"][-1]),
            step=int(rows["step"][-1]),
        )
        kind = "galvanostatic" if role else "open_circuit"
        kept = ProgramLog((), log[0], reason, kind, role, counters, log[1], 0)  # type: ignore[arg-type]
        kept = replace(kept, **(log_told or {}))
    program = Program(run, technique, begin or Counters(), Rows(rows, points), kept, damage=damage)
    return position_of(Experiment((run,), Path()), program, Decisions(**decisions), unwatched_s)


MID_PLATE = samples((-1, 1, 1800.0))
END_OF_PLATE = samples((-1, 1, PLATING_S))
MID_STRIP = samples((-1, 1, PLATING_S), (0, 1, REST_S), (1, 2, 1000.0), potential=0.1)


def first_step(position: Position) -> Any:
    left = position.left.technique
    while isinstance(left, Repeat | Steps):
        left = left.step if isinstance(left, Repeat) else left.steps[0]
    return left


def test_what_the_instrument_wrote_down_at_the_end_is_exact() -> None:
    position = where(MID_PLATE, ("opened", 1803.6))
    assert position.elapsed_s == (1803.6, 1803.6)
    assert position.charge_mah_cm2 == pytest.approx((0.501, 0.501))
    assert first_step(position).until[0].value == pytest.approx(0.499)
    assert (position.left.half_cycle, position.lost_power) == (0, False)
    with pytest.raises(ResumeError, match="the charge is known"):
        where(MID_PLATE, ("opened", 1803.6), assume_charge_mah_cm2=0.5)


def test_somebody_who_listened_bounds_the_end_by_one_row() -> None:
    heard = {"time": float(MID_PLATE["time"][-1]) + 30.0}
    position = where(MID_PLATE, ("unknown", 1800.0), stop=heard)
    assert position.elapsed_s == (1800.0, 1811.0)
    assert position.lost_power
    assert first_step(position).until[0].value == pytest.approx(1.0 - 1805.5 / 3600)


def test_a_log_that_just_stops_is_refused_unless_it_is_trusted() -> None:
    with pytest.raises(ResumeError, match=r"--trust-log[\s\S]*between 0.5 and 1 mAh/cm2"):
        where(MID_PLATE, ("unknown", 1800.0))
    position = where(MID_PLATE, ("unknown", 1800.0), trust_log=True)
    assert position.elapsed_s == (1800.0, 1811.0)


def test_without_a_log_the_bounds_reach_until_now() -> None:
    with pytest.raises(ResumeError, match="has no log"):
        where(MID_PLATE)
    with pytest.raises(ResumeError, match=r"between 0\.5 and 1 mAh/cm2"):
        where(MID_PLATE, assume_charge_mah_cm2=0.4)
    position = where(MID_PLATE, assume_charge_mah_cm2=0.75)
    assert first_step(position).until[0].value == pytest.approx(0.25)
    # The writer itself ended the program, and confirmed it.
    position = where(MID_PLATE, stop={"exit_status": "abort"})
    assert position.elapsed_s == (1800.0, 1811.0)


def test_who_saw_the_cell_open_soon_bounds_the_end_without_a_log() -> None:
    position = where(MID_PLATE, unwatched_s=10.0)
    assert position.elapsed_s == (1800.0, 1810.0)
    assert position.lost_power is None
    assert position.unrecorded_mah_cm2 == pytest.approx(10.0 / 3600)
    assert first_step(position).until[0].value == pytest.approx(1.0 - 1805.0 / 3600)
    with pytest.raises(ResumeError, match=r"within 30 s after its last row.*0\.83 %"):
        where(MID_PLATE, unwatched_s=30.0)
    # Behind the end of a step, or so long that it may have come, nobody knows what began.
    with pytest.raises(ResumeError, match="the next step may have begun"):
        where(END_OF_PLATE, unwatched_s=0.1)
    with pytest.raises(ResumeError, match="has no log"):
        where(MID_PLATE, unwatched_s=PLATING_S - 1800.0)
    with pytest.raises(ResumeError, match="damaged"):
        where(MID_PLATE, unwatched_s=10.0, damage="torn")


@pytest.mark.parametrize("log", [None, ("unknown", PLATING_S)])
def test_after_the_end_of_a_step_the_next_one_may_have_run_as_well(log: Any) -> None:
    with pytest.raises(ResumeError, match="the next step may have begun"):
        where(END_OF_PLATE, log)
    position = where(END_OF_PLATE, log, assume_charge_mah_cm2=0.0)
    assert first_step(position).type == "open_circuit"
    assert position.left.half_cycle == 1
    with pytest.raises(ResumeError, match="only charge to be assumed is 0"):
        where(END_OF_PLATE, log, assume_charge_mah_cm2=0.1)


def test_an_interrupted_strip_goes_on_with_the_charge_that_is_left() -> None:
    position = where(MID_STRIP, ("opened", 1000.0))
    step = first_step(position)
    assert [limit.value for limit in step.until] == pytest.approx([0.5, 1.2 - 1000 / 3600])
    assert (position.cycle, position.half_cycle, position.left.half_cycle) == (1, 2, 1)


def test_a_strip_that_passed_its_potential_has_ended() -> None:
    rows = samples((-1, 1, PLATING_S), (0, 1, REST_S), (1, 2, 3500.0), potential=0.7)
    position = where(rows, ("opened", 3500.0))
    assert first_step(position).type == "open_circuit"
    assert position.left.half_cycle == 2


def test_a_program_that_reached_its_end_leaves_nothing() -> None:
    position = where(MID_STRIP, ("stopped", 1000.0), reason="charge_mah_cm2 1.2")
    assert position.left.technique is None
    assert position.reason == "charge_mah_cm2 1.2"
    assert where(MID_STRIP, ("complete", 1000.0)).left.technique is None


def test_after_a_safety_limit_nothing_goes_on() -> None:
    position = where(MID_STRIP, ("safety", 1000.0), reason="potential_min_v -1")
    assert "ended by a safety limit" in position.refusal
    assert position.left.technique is None
    assert (position.step, position.cycle, position.half_cycle) == (3, 1, 2)
    beyond = samples((-1, 1, 1800.0), potential=-1.2)
    assert "-1.2 V in its last row" in where(beyond, stop={"exit_status": "abort"}).refusal


def test_a_safety_limit_that_shows_in_no_row_is_known_from_the_records_own_end() -> None:
    told = "EmStat4 HR: the safety limit current_max_a = 0.01 was passed in step 3"
    position = where(MID_STRIP, stop={"exit_status": "fail", "reason": told})
    assert told in position.refusal
    assert position.left.technique is None


def test_rows_that_no_place_in_the_technique_fits_are_refused() -> None:
    with pytest.raises(ResumeError, match="not what the technique does there"):
        where(samples((-1, 1, PLATING_S), (1, 2, 100.0)), ("opened", 100.0))


def spectrum(frequencies: int, *, step: int, t_s: float) -> dict[str, Any]:
    """Points of a spectrum after the first half-cycle, one a second."""
    n = np.arange(float(frequencies))
    constant = {"spectrum": 1, "cycle": 1, "half_cycle": 1, "step": step, "flags": 0}
    return {
        "t": t_s + n,
        "frequency": 1e5 / 10 ** (n / 5),
        "z_real": 0 * n + 10,
        "z_imag": 0 * n - 1,
        "time": NOW_S - 5000 + n,
    } | {name: 0 * n + value for name, value in constant.items()}


WITH_SPECTRA = PlateStripCycle.model_validate(
    CYCLING.model_dump()
    | {
        "between": {
            "type": "impedance_spectrum",
            "amplitude_rms_v": 0.005,
            "frequency_min_hz": 100.0,
            "points_per_decade": 5,
        }
    }
)


@pytest.mark.parametrize("points", [5, 16])
def test_a_kill_during_or_after_a_spectrum_without_a_log_is_refused(points: int) -> None:
    rows = samples((-1, 1, PLATING_S), (0, 1, REST_S))
    seen = {
        "points": spectrum(points, step=3, t_s=PLATING_S + REST_S),
        "technique": WITH_SPECTRA,
    }
    with pytest.raises(ResumeError, match=r"has no log[\s\S]*the next step may have begun"):
        where(rows, **seen)
    position = where(rows, assume_charge_mah_cm2=0.0, **seen)
    following = "impedance_spectrum" if points == 5 else "galvanostatic_step"
    assert first_step(position).type == following
    assert position.unrecorded_mah_cm2 is None


@pytest.mark.parametrize("ahead_s", [-1e7, 4999.0, 1e7])
def test_the_clock_of_day_makes_nothing_certain(ahead_s: float) -> None:
    rows = MID_PLATE | {"time": MID_PLATE["time"] + ahead_s}
    with pytest.raises(ResumeError, match=r"between 0\.5 and 1 mAh/cm2"):
        where(rows)
    resting = samples((-1, 1, PLATING_S), (0, 1, REST_S / 2))
    with pytest.raises(ResumeError, match="the next step may have begun"):
        where(resting | {"time": resting["time"] + ahead_s})


def test_what_may_have_passed_unrecorded_is_told_whatever_was_decided() -> None:
    assert where(MID_PLATE, assume_charge_mah_cm2=0.75).unrecorded_mah_cm2 == pytest.approx(0.5)
    known = where(MID_PLATE, ("opened", 1803.6)).unrecorded_mah_cm2
    assert known == pytest.approx(3.6 / 3600)
    trusted = where(MID_PLATE, ("unknown", 1800.0), trust_log=True).unrecorded_mah_cm2
    assert trusted == pytest.approx(11 / 3600)


def test_of_a_damaged_log_the_decisions_apply_and_a_cut_one_cannot_be_trusted() -> None:
    damaged: dict[str, Any] = {"damage": "the log a1 is damaged: 1 lines cannot be read"}
    log = ("unknown", 1800.0)
    with pytest.raises(ResumeError, match=r"1 lines cannot be read[\s\S]*--trust-log"):
        where(MID_PLATE, log, log_told=damaged)
    assert where(MID_PLATE, log, log_told=damaged, trust_log=True).elapsed_s == (1800.0, 1811.0)
    cut = damaged | {"cut": True}
    heard = {"time": float(MID_PLATE["time"][-1]) + 30.0}
    for decided in ({}, {"trust_log": True}, {"stop": heard}):
        with pytest.raises(ResumeError, match="--assume-charge"):
            where(MID_PLATE, log, log_told=cut, **decided)
    position = where(MID_PLATE, log, log_told=cut, assume_charge_mah_cm2=0.75)
    assert first_step(position).until[0].value == pytest.approx(0.25)


@pytest.mark.parametrize("name", [None, "a1"])
def test_without_a_row_and_without_a_log_nobody_knows_whether_it_had_begun(name: Any) -> None:
    nothing = {key: values[:0] for key, values in MID_PLATE.items()}
    start = START | {"instrument_log": {"name": name}}
    with pytest.raises(ResumeError, match=r"had begun is not known[\s\S]*--assume-charge 0"):
        where(nothing, start=start)
    position = where(nothing, start=start, assume_charge_mah_cm2=0.0)
    assert position.left.technique == CYCLING
    assert position.unrecorded_mah_cm2 is None


def test_what_was_to_follow_a_rules_spectrum_had_not_begun_unless_the_journal_is_damaged() -> None:
    nothing = Rows({key: values[:0] for key, values in MID_PLATE.items()}, POINTS)
    run = Run(start=START, stop={"exit_status": "fail", "time": NOW_S}, streams={})
    begin = Counters(cycle=1, half_cycle=0, step=2)
    program = Program(run, CYCLING, begin, nothing, None, pending=True)
    experiment = Experiment((run,), Path())
    position = position_of(experiment, program, Decisions())
    assert position.left.technique == CYCLING
    assert (position.step, position.unrecorded_mah_cm2) == (2, 0.0)
    with pytest.raises(ResumeError, match="the only charge to be assumed is 0"):
        position_of(experiment, program, Decisions(assume_charge_mah_cm2=0.1))
    with pytest.raises(ResumeError, match="had begun is not known"):
        position_of(experiment, replace(program, damage="torn"), Decisions())
    ended = ProgramLog((), "safety", "potential_max_v", "impedance", 2, begin, 1.0, 0)
    spectrum = Program(run, CYCLING, Counters(), nothing, ended)
    position = position_of(experiment, replace(program, earlier=spectrum), Decisions())
    assert position.left.technique is None
    assert "safety limit (potential_max_v)" in position.refusal


def test_a_resume_that_died_before_its_first_row_stood_in_the_half_cycle_it_was_to_go_on_with() -> (
    None
):
    nothing = {key: values[:0] for key, values in MID_PLATE.items()}
    resume = {"cycle": 2, "half_cycle": 3, "step": 7, "passed_charge_bounds_mah_cm2": [0.5, 0.5]}
    start = START | {"instrument_log": {"name": None}, "resume": resume}
    begin = Counters(cycle=1, half_cycle=2, step=9)
    position = where(nothing, start=start, begin=begin, assume_charge_mah_cm2=0.0)
    assert (position.step, position.cycle, position.half_cycle) == (9, 2, 3)
    # What is left counts from there on, as it did.
    assert (position.left.cycle, position.left.half_cycle) == (1, 2)


def test_a_journal_that_is_damaged_near_its_end_tells_no_end_but_the_instruments_log_does() -> None:
    damaged: dict[str, Any] = {"damage": "40 bytes from byte 900 on are damaged"}
    with pytest.raises(ResumeError, match=r"40 bytes from byte 900[\s\S]*--assume-charge"):
        where(MID_PLATE, stop={"exit_status": "abort"}, **damaged)
    with pytest.raises(ResumeError, match="--assume-charge"):
        where(MID_PLATE, ("unknown", 1800.0), trust_log=True, **damaged)
    assert where(MID_PLATE, ("opened", 1803.6), **damaged).elapsed_s == (1803.6, 1803.6)
    position = where(MID_PLATE, assume_charge_mah_cm2=0.6, **damaged)
    assert first_step(position).until[0].value == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("holes", "near"), [((), True), ((100,), False), ((366,), True), ((100, 400), True)]
)
def test_damage_before_the_last_half_cycle_does_not_matter(
    tmp_path: Path, holes: tuple[int, ...], near: bool
) -> None:
    columns = {f"potentiostat_{key}": values for key, values in MID_STRIP.items()}
    stream = Stream("potentiostat", columns, {}, MID_STRIP["time"], {}, {}, holes=holes)
    run = Run(start=START, stop=None, streams={"potentiostat": stream}, damage=("damaged",))
    journal = tmp_path / "1.opj"
    # The strip begins with row 366: what is missing just before it may be its beginning.
    assert bool(damage_near_the_end(run, journal)) is near
    assert not damage_near_the_end(replace(run, damage=()), journal)
    (tmp_path / "1.opj.cut2").touch()
    assert "1.opj.cut2" in damage_near_the_end(replace(run, damage=()), journal)


def test_rows_of_the_program_before_are_collected_if_the_next_died_before_it_recorded_them() -> (
    None
):
    kept = tuple(
        Sample(1800.0 + n, 1800.0 + n, -0.1, -1e-3, 1, 1, 1, -1, 32, 0) for n in range(1, 6)
    )
    log = ProgramLog(kept, "opened", "", "galvanostatic", -1, Counters(step=1), 1805.0, 0)
    run = Run(start=START | {"instrument_log": {"name": "a1"}}, stop=None, streams={})
    before = Program(run, CYCLING, Counters(), Rows(MID_PLATE, POINTS), log)
    nothing = {key: values[:0] for key, values in MID_PLATE.items()}
    # The look at the cell has taken two steps.
    program = Program(
        run, CYCLING, Counters(step=3, t_s=2000.0), Rows(nothing, POINTS), None, before
    )
    fresh = fresh_rows(program, NOW_S)
    assert [row for _, row in fresh] == list(kept)
    # They are none of its own.
    assert len(with_rows(program, fresh).rows.samples["t"]) == 0
    experiment = Experiment((run,), Path())
    position = position_of(experiment, with_rows(program, fresh), Decisions(False, 0.0))
    assert position.left.technique == CYCLING
    assert position.t_s == 2000.0


HELD_S, FIRST_MA_CM2 = 3600.0, 2.0
HOLD = PotentiostaticStep.model_validate(
    {
        "role": "strip",
        "potential_v": 0.1,
        "record": {"dt_s": DT_S},
        "until": [
            {"quantity": "time_s", "value": HELD_S},
            {"quantity": "charge_mah_cm2", "value": 1.5},
            {"quantity": "abs_current_below_ma_cm2", "value": 0.05},
        ],
    }
)


def mid_hold(until_s: float, last_ma_cm2: float) -> dict[str, Any]:
    """Rows of a hold whose current falls linearly to what it is in the last of them."""
    rows = samples((1, 1, until_s), potential=0.1)
    rows["potential"][:] = 0.1
    rows["cycle"][:] = 0
    rows["current"] = 1e-3 * np.linspace(FIRST_MA_CM2, last_ma_cm2, len(rows["t"]))
    return rows


def test_the_charge_of_an_interrupted_hold_lies_under_its_rows() -> None:
    rows = mid_hold(1000.0, 1.0)
    heard = {"time": float(rows["time"][-1]) + 30.0}
    position = where(rows, ("unknown", 1000.0), stop=heard, technique=HOLD)
    # Trapezoids, and before the first row the current of the first.
    under = (1.5 * 990.0 + FIRST_MA_CM2 * DT_S) / 3600
    most = under + 1.0 * 11.0 / 3600
    assert position.charge_mah_cm2 == pytest.approx((under, most))
    left = position.left.technique
    assert isinstance(left, PotentiostaticStep)
    middle = (under + most) / 2
    assert [x.value for x in left.until] == pytest.approx([HELD_S - 1005.5, 1.5 - middle, 0.05])
    assert (position.left.half_cycle, position.left.step_is_half_cycle) == (0, True)


def test_of_a_hold_that_nobody_heard_end_the_charge_has_to_be_told() -> None:
    rows = mid_hold(1000.0, 1.0)
    with pytest.raises(ResumeError, match=r"between 0\.418\d? and 1\.14 mAh/cm2 have passed"):
        where(rows, technique=HOLD)
    position = where(rows, technique=HOLD, assume_charge_mah_cm2=0.5)
    assert position.charge_mah_cm2 == pytest.approx((0.5, 0.5))
    with pytest.raises(ResumeError, match="the record says that between"):
        where(rows, technique=HOLD, assume_charge_mah_cm2=0.1)


def test_the_charge_to_be_told_is_of_the_part_and_what_passed_before_it_is_said() -> None:
    current = PlateStripCycle.model_validate(
        {
            "cycles": 1,
            "plate": HALF | {"until": [{"quantity": "charge_mah_cm2", "value": 0.5}]},
            "plate_hold": {"potential_v": -0.1, "until": [{"quantity": "time_s", "value": 3600.0}]},
            "strip": HALF | {"until": [{"quantity": "charge_mah_cm2", "value": 0.5}]},
        }
    )
    rows = samples((-1, 1, 1800.0), (-1, 1, 720.0))
    part = r"between 0\.2 and 1 mAh/cm2 have passed in this part of the half-cycle \(0\.5 mAh/cm2"
    with pytest.raises(ResumeError, match=part):
        where(rows, technique=current)
    with pytest.raises(ResumeError, match=part):
        where(rows, technique=current, assume_charge_mah_cm2=0.1)
    with pytest.raises(ResumeError, match="have passed in this half-cycle"):
        where(MID_PLATE)


def test_a_hold_whose_current_had_fallen_has_ended() -> None:
    position = where(mid_hold(1000.0, 0.0499), ("complete", 1000.0), technique=HOLD)
    assert position.left.technique is None
    ended = where(
        mid_hold(1000.0, 0.0499), ("unknown", 1000.0), technique=HOLD, assume_charge_mah_cm2=0.0
    )
    assert ended.left.technique is None


def test_a_hold_whose_current_was_beyond_the_safety_limit_does_not_go_on() -> None:
    limits = START["limits"]["effective"] | {"current_max_a": 2.5e-3}
    start = START | {"limits": {"effective": limits}}
    position = where(mid_hold(1000.0, 2.6), technique=HOLD, start=start)
    assert position.ending == "safety"
    assert "0.0026 A in its last row" in position.refusal


def test_what_an_interrupted_run_left_on_the_electrode_is_known() -> None:
    cell = Cell.model_validate(START["sample"])
    run = Run(start=START, stop=None, streams={})

    def there(*steps: Any, over: int, skipped: set[int], most: tuple[int, float] = (0, 0)) -> float:
        values = samples(*steps)
        names = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role")
        rows = zip(*(values[name].tolist() for name in names), strict=True)
        fresh = [(0.0, Sample(*row[:4], *map(int, row[4:]), 0, 0)) for row in rows]
        return 3600 * deposit_so_far([run], fresh, cell, most, skipped, over)

    halves = (-1, 1, 1800.0), (0, 1, REST_S), (1, 2, 1000.0)
    # Within the strip, behind it, and where it was left out.
    assert there(*halves, over=1, skipped=set()) == pytest.approx(800)
    assert there(*halves, over=2, skipped=set()) == 0.0
    assert there(*halves, over=2, skipped={2}) == pytest.approx(800)
    again = (*halves, (0, 2, REST_S), (-1, 3, 500.0))
    assert there(*again, over=2, skipped=set()) == pytest.approx(500)
    assert there(*again, over=2, skipped={2}) == pytest.approx(1300)
    # Of a plating that was interrupted all counts that may have passed.
    assert there(*again, over=2, skipped=set(), most=(5, 600 / 3600)) == pytest.approx(600)


def test_what_was_plated_and_stripped_so_far_lies_under_the_rows_of_each_step() -> None:
    # Out of order, as rows are that were collected later; one has no number.
    values = samples((-1, 1, 1800.0), (0, 1, REST_S), (1, 2, 1000.0))
    fresh = [
        (
            0.0,
            Sample(
                t_s=float(values["t"][row]),
                step_t_s=float(values["step_t"][row]),
                potential_v=0.0,
                current_a=float(values["current"][row]) if row != 7 else math.nan,
                cycle=1,
                half_cycle=int(values["half_cycle"][row]),
                step=int(values["step"][row]),
                role=int(values["role"][row]),
                flags=0,
                arrival_ns=0,
            ),
        )
        for row in reversed(range(len(values["t"])))
    ]
    cell = Cell.model_validate(START["sample"])
    run = Run(start=START, stop=None, streams={})
    hour = 3600.0
    found = plated_and_stripped([run], fresh, cell, (3, (999 / hour, 1003 / hour)))
    assert found == pytest.approx((1800 / hour, 1003 / hour))
    # Of a plating that was interrupted only what surely passed counts.
    found = plated_and_stripped([run], fresh, cell, (1, (1801 / hour, 1810 / hour)))
    assert found == pytest.approx((1801 / hour, 1000 / hour))
    # What the current reads without any is no charge: here it makes strips larger.
    zero = {"range_a": 1e-2, "current_a": 1e-5, "uncertainty_a": 1e-8}
    start = START | {"current_zero": {"measured": [zero], "reason": None}}
    run = Run(start=start, stop=None, streams={})
    found = plated_and_stripped([run], fresh, cell, (0, (0.0, 0.0)))
    assert found == pytest.approx((1818 / hour, 990 / hour))
    gain = {"of": "current_gain", "value": 1.25, "uncertainty": 1e-4, "at": 1e-2}
    record = {"date": "2026-05-01", "by": "us", "values": [gain]}
    run = Run(start | {"calibration": {"potentiostat": {"records": [record]}}}, None, {})
    found = plated_and_stripped([run], fresh, cell, (0, (0.0, 0.0)))
    assert found == pytest.approx((1818 / 1.25 / hour, 990 / 1.25 / hour))
    nothing = plated_and_stripped([run], [], cell, (0, (0.0, 0.0)))
    assert nothing == (0.0, 0.0)


@pytest.mark.parametrize(("flags", "told"), [(LOOK, True), (0, False)])
def test_a_look_after_the_spectrum_of_a_rule_is_no_program_that_nobody_knows_of(
    flags: int, told: bool
) -> None:
    # Step 2 is the spectrum, step 3 the open circuit by which its reference was looked at.
    rows = samples((-1, 1, 600.0), (0, 1, DT_S), (0, 1, 3 * DT_S))
    columns = {key: values[rows["step"] != 2] for key, values in rows.items()}
    columns["flags"] = np.where(columns["step"] == 3, flags, 0)
    program = {
        "technique": '{"type": "impedance_spectrum", "amplitude_rms_v": 0.005}',
        "begin": Counters(t_s=601.0, cycle=1, half_cycle=1, step=1).model_dump_json(),
        "then": CYCLING.model_dump_json(),
        "then_begin": Counters(cycle=1).model_dump_json(),
        "t": 601.0,
    }
    leader = {f"potentiostat_{key}": values for key, values in columns.items()}
    programs = {f"programs_{key}": np.array([value]) for key, value in program.items()}
    streams = {
        "potentiostat": Stream("potentiostat", leader, {}, columns["time"], {}, {}),
        "programs": Stream("programs", programs, {}, np.array([NOW_S]), {}, {}),
    }
    run = Run(start=START, stop=None, streams=streams)
    if not told:
        with pytest.raises(ResumeError, match="rows of a program that its record does not tell of"):
            program_of(run)
        return
    technique, begin = program_of(run)
    assert technique == CYCLING
    assert (begin.cycle, begin.half_cycle, begin.step, begin.t_s) == (1, 0, 2, 640.0)
