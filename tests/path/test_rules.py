"""Rules on a run that goes on: what was seen, what was done, and that nothing was lost by it."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from instruments._follower import Phase
from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from operando.analysis import metrics
from operando.analysis.live_verdicts import Verdict, Verdicts
from operando.analysis.segments import recorded_half_cycles
from operando.configuration import load_cell
from operando.runs import Run
from operando.session import RunFailedError
from plans import operando_plating_stripping
from plans.rules import Watch
from techniques import Protocol, Rule, Schedule

pytestmark = pytest.mark.timeout(180)
FACTOR = 1000
CHARGE = 0.2
QUICK = {"amplitude_rms_v": 0.005, "frequency_max_hz": 1e5, "frequency_min_hz": 1e3}
TAKE_SPECTRUM = {"do": "impedance_spectrum", "spectrum": QUICK}


def rule(event: str, *then: dict[str, Any], **more: Any) -> Rule:
    return Rule.model_validate(
        {"name": f"on {event}", "when": {"event": event}, "then": list(then), **more}
    )


def with_rules(protocol: Protocol, *rules: Rule) -> Protocol:
    return protocol.model_copy(update={"rules": rules})


@pytest.fixture(scope="module")
def interrupted(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    in_time: Callable[..., Any],
) -> tuple[Any, Run]:
    """Return a chain and its run of two cycles, the first plating of which a rule interrupted."""
    record = {"dt_s": 10.0, "edge_dt_s": 1.0, "edge_for_s": 60.0}
    protocol = plate_strip("zn-bare-half", 1.0, CHARGE, cycles=2, record=record)
    protocol = with_rules(protocol, rule("nucleation_tip", TAKE_SPECTRUM))

    def interrupt() -> tuple[Any, Run]:
        chain = make_chain("zn-bare-half", factor=FACTOR)
        return chain, Run.from_journal(chain.run(protocol, "zn-bare-half"), chain.data)

    def within_the_plating(found: tuple[Any, Run]) -> None:
        assert recorded_half_cycles(found[1], area_cm2=1.131)[0].interruptions

    found: tuple[Any, Run] = in_time(interrupt, within_the_plating)
    return found


def test_a_spectrum_is_taken_within_the_half_cycle_and_the_program_goes_on_to_its_end(
    interrupted: tuple[Any, Run],
) -> None:
    _, run = interrupted
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    points = run.streams["impedance"].columns
    assert set(points["potentiostat_impedance_half_cycle"]) == {1}
    assert set(points["potentiostat_impedance_cycle"]) == {1}
    columns = run.streams["potentiostat"].columns
    t, step = columns["potentiostat_t"], columns["potentiostat_step"]
    assert np.all(np.diff(t) >= 0)
    assert np.all(np.diff(step) >= 0)
    # OCP, plating, spectrum, plating, rest, strip, rest, and four of the second cycle.
    assert step[-1] == 11
    plating = columns["potentiostat_half_cycle"][columns["potentiostat_role"] == -1]
    assert sorted(set(plating)) == [1, 3]
    assert list(columns["potentiostat_cycle"][[0, -1]]) == [0, 2]


def test_the_interrupted_plating_passes_its_whole_charge_and_no_more(
    interrupted: tuple[Any, Run],
) -> None:
    chain, run = interrupted
    first, _, second, _ = recorded_half_cycles(run, area_cm2=1.131)
    assert first.lasted_s == pytest.approx(second.lasted_s, abs=2.0)
    assert first.capacity_mah_cm2 == pytest.approx(second.capacity_mah_cm2, rel=2e-3)
    (gap,) = first.interruptions
    assert 0 < gap.for_s < 60
    # The cell's own ledger says the same: two parts of one plating, and what came back of it.
    before, passed = {"charge_cathodic": 0.0, "charge_anodic": 0.0}, []
    for segment in chain.truth("potentiostat", "segment"):
        ledger = segment["ledger"]["WE"]
        if segment["technique"] == "cp":
            passed.append(sum(ledger[key] - before[key] for key in before))
        before = {key: ledger[key] for key in before}
    plated, rest_of_it, stripped, *later = passed
    assert len(later) == 2
    assert plated + rest_of_it == pytest.approx(CHARGE, rel=3e-3)
    found = metrics(run)["ce_pct"]
    true_pct = [100 * stripped / (plated + rest_of_it), 100 * later[1] / later[0]]
    assert found.value == pytest.approx(true_pct, rel=5e-3)
    # What the instrument's offset does to both cycles aside, the interruption changed nothing.
    first_ratio, second_ratio = np.divide(found.value, true_pct)
    assert first_ratio == pytest.approx(second_ratio, abs=2e-4)


def test_what_was_seen_and_what_was_done_is_on_record(interrupted: tuple[Any, Run]) -> None:
    _, run = interrupted
    told = run.streams["rules"].columns
    assert list(told["rules_rule"]) == ["on nucleation_tip"]
    assert list(told["rules_actions"]) == ["impedance_spectrum"]
    assert told["rules_half_cycle"][0] == 1
    programs = run.streams["programs"].columns
    assert [reason.partition(":")[0] for reason in programs["programs_reason"]] == [
        "a spectrum",
        "what was left of the program",
    ]
    assert run.start["rules"][0]["when"]["event"] == "nucleation_tip"
    begun = programs["programs_t"]
    tip = float(told["rules_t"][0])
    assert tip <= begun[0] < begun[1]
    assert math.isfinite(begun[1])


def test_a_spectrum_that_waits_for_a_rest_interrupts_no_half_cycle(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    in_time: Callable[..., Any],
) -> None:
    protocol = plate_strip(
        "zn-bare-half", 1.0, CHARGE, rest_s=60.0, record={"dt_s": 10.0, "edge_dt_s": 1.0}
    )
    patient = rule("nucleation_tip", {"do": "images"}, {**TAKE_SPECTRUM, "when": "next_rest"})

    def run_it() -> Run:
        chain = make_chain("zn-bare-half", factor=FACTOR)
        return Run.from_journal(
            chain.run(with_rules(protocol, patient), "zn-bare-half"), chain.data
        )

    def at_the_first_rest(found: Run) -> None:
        assert "impedance" in found.streams
        points = found.streams["impedance"].columns
        assert set(points["potentiostat_impedance_half_cycle"]) == {1}

    run: Run = in_time(run_it, at_the_first_rest)
    assert run.stop is not None
    assert "rules asked for images, and no instrument of this run takes" in run.stop["reason"]
    halves = recorded_half_cycles(run, area_cm2=1.131)
    assert [half.role for half in halves] == [-1, 1]
    assert [half.interruptions for half in halves] == [(), ()]
    at = run.streams["impedance"].columns["potentiostat_impedance_t"]
    assert halves[0].t_s[-1] < at[0] < at[-1] < halves[1].t_s[0]
    # The rest goes on for what was left of it.
    columns = run.streams["potentiostat"].columns
    rests = columns["potentiostat_role"] == 0
    between = rests & (columns["potentiostat_half_cycle"] == 1)
    steps = np.unique(columns["potentiostat_step"][between])
    assert len(steps) == 2
    rested = [
        columns["potentiostat_step_t"][between][columns["potentiostat_step"][between] == step][-1]
        for step in steps
    ]
    # Between its last row and the opening lies one check of the instrument, of a second.
    assert sum(rested) == pytest.approx(60.0, abs=1.5)


def test_a_hard_short_opens_the_cell_of_a_plan_typed_at_the_prompt_and_the_run_says_why(
    make_chain: Callable[..., Any],
) -> None:
    chain = make_chain("zn-bare", factor=FACTOR)
    half = {
        "current_density_ma_cm2": 2.0,
        "until": [{"quantity": "time_s", "value": 200}],
        "record": {"dt_s": 5, "edge_dt_s": 1, "edge_for_s": 20},
    }
    protocol = Protocol.model_validate(
        {
            "name": "to a short",
            "cell": "zn-bare",
            "technique": {"type": "plate_strip_cycle", "cycles": 60, "plate": half, "strip": half},
        }
    )
    with chain.simulated(leader_only=True), chain.session() as session:
        fault = {"instrument": "cell", "fault": "hard-short", "at": 1500, "ohm": 0.5}
        (chain.sim / "faults").write_text(json.dumps(fault) + "\n")
        names = session.namespace()
        plan = names["operando_plating_stripping"](
            names["potentiostat"], protocol=protocol, cell=load_cell("zn-bare")
        )
        (uid,) = names["RE"](plan)
    run = Run.from_journal(uid, chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert run.stop["reason"].startswith("rule 'end at a hard short': ")
    last = run.streams["potentiostat"].columns["potentiostat_t"][-1]
    assert 1500 < last < 60 * 400
    assert list(run.streams["rules"].columns["rules_event"]) == ["hard_short"]


class FailsInPlating:
    """A judge that cannot judge what is plated."""

    never_judged: Mapping[str, str] = {}
    doubtful: Mapping[int, tuple[int, int]] = {}

    def __init__(self, start: Any) -> None:
        self.sample = start["sample"]

    def add(self, rows: Any, stream: str = "potentiostat") -> list[Any]:
        if -1.0 in rows.get("potentiostat_role", ()):
            raise ArithmeticError("this number means nothing")
        return []


def test_a_judge_that_fails_ends_a_run_whose_rule_is_to_open_the_cell(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain("zn-bare-half", factor=FACTOR)
    protocol = with_rules(
        plate_strip("zn-bare-half", 1.0, CHARGE, cycles=100),
        rule("nucleation_tip", {"do": "images"}),
        rule("hard_short", {"do": "open_cell"}),
    )
    alarms: list[str] = []
    with chain.simulated(leader_only=True), chain.session() as session:
        leader = session.devices["potentiostat"]
        leader.on_alarm = alarms.append
        plan = operando_plating_stripping(
            leader, protocol=protocol, cell=load_cell("zn-bare-half"), verdicts=FailsInPlating
        )
        with pytest.raises(RunFailedError) as failed:
            session.run(plan)
    run = Run.from_journal(failed.value.uid, chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == "fail"
    told = "the judge of the rules failed: ArithmeticError('this number means nothing')"
    assert told in run.stop["reason"]
    assert (
        "'on hard_short' is to open the cell and cannot be watched any more" in (run.stop["reason"])
    )
    assert [told in alarm for alarm in alarms] == [True]
    columns = run.streams["potentiostat"].columns
    assert columns["potentiostat_t"][-1] < 100 * 2 * 3600 * CHARGE
    assert chain.truth("potentiostat", "cell_on")
    assert chain.truth("potentiostat", "cell_off")


def test_a_rule_that_cannot_be_judged_is_told_when_the_run_starts_and_in_its_stop_document(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = make_chain("zn-bare-half", factor=20 * FACTOR)
    cell = load_cell("zn-bare-half")
    foil = cell.working_electrode.model_copy(update={"metal": "Zn", "thickness_um": None})
    protocol = with_rules(
        plate_strip("zn-bare-half", 1.0, CHARGE),
        rule("strip_overrun", {"do": "open_cell"}),
        rule("hard_short", {"do": "open_cell"}),
    )
    with chain.simulated(leader_only=True), chain.session() as session:
        uid = session.run_protocol(
            protocol, cell=cell.model_copy(update={"working_electrode": foil})
        )
    run = Run.from_journal(uid, chain.data)
    told = run.start["rules_not_judged"]
    assert list(told) == ["on strip_overrun"]
    assert "the thickness of the metal electrode's foil is not declared" in told["on strip_overrun"]
    assert run.stop is not None
    assert (
        "rule 'on strip_overrun' did nothing: strip_overrun cannot be judged"
        in (run.stop["reason"])
    )
    said = [one.getMessage() for one in caplog.records if "does nothing in this run" in one.msg]
    assert len(said) == 1
    assert "'on strip_overrun'" in said[0]


def test_a_run_that_nothing_judges_says_which_rules_by_default_did_nothing(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain("zn-bare-half", factor=20 * FACTOR)
    protocol = plate_strip("zn-bare-half", 1.0, CHARGE)
    with chain.simulated(leader_only=True), chain.session() as session:
        leader = session.devices["potentiostat"]
        cell = load_cell("zn-bare-half")
        uid = session.run(operando_plating_stripping(leader, protocol=protocol, cell=cell))
    run = Run.from_journal(uid, chain.data)
    assert run.start["rules_not_judged"] == {
        "end when metal comes from nowhere": "nothing judges the stream"
    }
    assert "rules" not in run.start
    assert run.stop is not None
    assert "rule 'end when metal comes from nowhere' did nothing" in run.stop["reason"]


class FailsOnce(Verdicts):
    """A judge of whom the first one cannot judge what comes to it first."""

    made = 0

    def __init__(self, start: Any) -> None:
        super().__init__(start)
        FailsOnce.made += 1
        self._fails = FailsOnce.made == 1

    def add(self, rows: Any, stream: str = "potentiostat") -> list[Any]:
        if self._fails:
            raise ArithmeticError("this number means nothing")
        return super().add(rows, stream)


def test_a_judge_that_fails_is_told_at_once_and_begun_anew_where_no_rule_opens_the_cell(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain("zn-bare-half", factor=20 * FACTOR)
    protocol = with_rules(
        plate_strip("zn-bare-half", 1.0, CHARGE), rule("hard_short", {"do": "images"})
    )
    alarms: list[str] = []
    with chain.simulated(leader_only=True), chain.session() as session:
        leader = session.devices["potentiostat"]
        leader.on_alarm = alarms.append
        plan = operando_plating_stripping(
            leader, protocol=protocol, cell=load_cell("zn-bare-half"), verdicts=FailsOnce
        )
        uid = session.run(plan)
    run = Run.from_journal(uid, chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    told = "the judge of the rules failed once and was begun anew: ArithmeticError"
    assert told in run.stop["reason"]
    assert [told in alarm for alarm in alarms] == [True]
    assert FailsOnce.made == 2
    assert len(recorded_half_cycles(run, area_cm2=1.131)) == 2


def test_rules_that_cannot_be_kept_are_refused_before_anything_moves(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain("zn-bare-half")
    cell = load_cell("zn-bare-half")
    plain = plate_strip("zn-bare-half", 1.0, CHARGE)
    fast = plate_strip("zn-bare-half", 1.0, 0.001, record={"dt_s": 0.001, "edge_dt_s": 0.001})
    spectrum = {"amplitude_rms_v": 0.8, "frequency_min_hz": 1e3}
    wide = rule("soft_short", {"do": "impedance_spectrum", "spectrum": spectrum})
    with chain.simulated(leader_only=True), chain.session() as session:
        leader = session.devices["potentiostat"]
        with pytest.raises(ValueError, match="the protocol has rules, and nothing judges"):
            session.run(
                operando_plating_stripping(leader, protocol=with_rules(plain, wide), cell=cell)
            )
        with pytest.raises(SafetyLimitError, match="swing"):
            session.run_protocol(with_rules(plain, wide))
        with pytest.raises(UnsupportedTechniqueError, match="cannot be interrupted"):
            session.run_protocol(with_rules(fast, rule("soft_short", TAKE_SPECTRUM)))
    assert not chain.truth("potentiostat", "cell_on")


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_nucleation_tip_brings_a_series_of_images_at_full_rate(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain("zn-bare-half", factor=50)
    quiet = Schedule(image_s=None, burst_for_s=0, spectrum_s=None, injection_s=None)
    protocol = plate_strip(
        "zn-bare-half",
        1.0,
        CHARGE / 2,
        record={"dt_s": 5.0, "edge_dt_s": 1.0},
        every=quiet.model_copy(update={"at_half_cycle_ends": False}),
    )
    series = rule("nucleation_tip", {"do": "images", "count": 4})
    only = ("potentiostat", "camera", "relay_board")
    uid = chain.run(with_rules(protocol, series), "zn-bare-half", only)
    run = Run.from_journal(uid, chain.data)
    camera = run.streams["camera"].columns
    assert list(camera["camera_phase"]) == [Phase.RULE] * 4
    assert camera["camera_t_before"][0] >= run.streams["rules"].columns["rules_t"][0]
    assert np.all(np.diff(camera["camera_t_before"]) >= 0)


def test_a_rule_acts_so_often_and_so_soon_again_as_it_says() -> None:
    judge = Verdicts({})
    told = rule("soft_short", {"do": "injection"}, at_most=3, not_again_within_s=100)
    hydrogen = Rule.model_validate(
        {
            "name": "gas",
            "when": {"event": "hydrogen_above", "amount_umol": 2.0},
            "then": [{"do": "injection"}],
            "not_again_within_s": 0,
        }
    )
    watch = Watch((told, hydrogen), judge)
    seen = [("soft_short", t, 0.5) for t in (0, 50, 100, 150, 200, 300, 400)]
    seen += [("hydrogen", 500, 1.9), ("hydrogen", 600, 2.1), ("hard_short", 700, 0.1)]
    for kind, t_s, value in seen:
        watch.saw(Verdict(kind, float(t_s), value, "", 1))
    found = [(fired.rule.name, fired.verdict.t_s) for fired in watch.fired()]
    assert found == [("on soft_short", t) for t in (0, 100, 200)] + [("gas", 600)]
    resumed = Watch((told, hydrogen), judge)
    resumed.go_on_from([("on soft_short", 0.0), ("gas", 10.0), ("on soft_short", 120.0)])
    for kind, t_s, value in seen:
        resumed.saw(Verdict(kind, float(t_s), value, "", 1))
    again = [(fired.rule.name, fired.verdict.t_s) for fired in resumed.fired() if t_s > 120]
    assert again == [("on soft_short", 300), ("gas", 600)]


def test_a_rule_that_opens_the_cell_acts_however_soon_it_is_told_again() -> None:
    # It fired in a run that was killed before the cell was open; this one goes on with it.
    watch = Watch((rule("hard_short", {"do": "open_cell"}, at_most=1),), Verdicts({}))
    watch.go_on_from([("on hard_short", 100.0)])
    watch.saw(Verdict("hard_short", 110.0, 0.01, "", 9))
    assert [fired.rule.name for fired in watch.fired()] == ["on hard_short"]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_hydrogen_above_an_amount_brings_one_more_injection(make_chain: Callable[..., Any]) -> None:
    chain = make_chain("zn-bare", factor=150)
    protocol = Protocol.model_validate(
        {
            "name": "gas",
            "cell": "zn-bare",
            "technique": {"type": "open_circuit", "duration_s": 900, "record": {"dt_s": 5}},
            "every": {"image_s": None, "spectrum_s": None, "injection_s": 400},
            "rules": [
                {
                    "name": "once more",
                    "when": {"event": "hydrogen_above", "amount_umol": 1e-6},
                    "then": [{"do": "injection"}],
                    "at_most": 1,
                }
            ],
        }
    )
    only = ("potentiostat", "relay_board", "gas_chromatograph")
    run = Run.from_journal(chain.run(protocol, "zn-bare", only), chain.data)
    phases = list(run.streams["gas_chromatograph"].columns["gas_chromatograph_phase"])
    assert phases.count(Phase.RULE) == 1
    assert len(run.streams["chromatogram"]) == len(phases)
    (seen,) = run.streams["rules"].columns["rules_value"]
    assert seen > 1e-6
    assert "programs" not in run.streams or len(run.streams["programs"]) == 0
