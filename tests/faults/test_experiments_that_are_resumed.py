"""Deaths of host, program and power in the middle of an experiment, and going on afterwards."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.errors import SafetyLimitError
from operando.analysis import metrics
from operando.analysis.live_verdicts import Verdict
from operando.analysis.metrics import half_cycles_of
from operando.configuration import load_bench
from operando.journal import documents, journal_path, list_runs
from operando.resume import ResumeError, interrupted_experiment, resume
from operando.resume._program import fired_rules
from operando.runs import Run
from operando.session import RunFailedError, Session
from techniques import Protocol, SafetyLimits, Schedule

pytestmark = pytest.mark.timeout(240)
FACTOR = 400.0
COLLECTED, LOOK, LOST_BEFORE = 32, 64, 16
PLATE, REST, STRIP = -1, 0, 1
CHARGE = 0.1  # mAh/cm2 a plating, 360 s at 1 mA/cm2
ROW_S = 1.0
# Where the cell's time is held, in cell seconds of the program: in its plating, in its strip.
PLATING_S, STRIPPING_S = 200.0, 540.0
POWER_CUT = {"instrument": "potentiostat", "fault": "power-cycle", "seconds": 0.2}
LET_GO = {"instrument": "potentiostat", "fault": "resume"}
FILE_STORE = {"instrument": "potentiostat", "fault": "file-store"}


def cycling(
    cycles: int = 1,
    cell: str = "zn-bare-half",
    charge: float = CHARGE,
    rest_s: float = 10,
    row_s: float = ROW_S,
    **more: Any,
) -> Protocol:
    record = {"dt_s": row_s, "edge_dt_s": ROW_S}
    half = {"current_density_ma_cm2": 1.0, "record": record}
    technique = {
        "type": "sequence",
        "steps": [
            {"type": "open_circuit", "duration_s": 10, "record": record},
            {
                "type": "plate_strip_cycle",
                "cycles": cycles,
                "rest_s": rest_s,
                "between": {
                    "type": "impedance_spectrum",
                    "amplitude_rms_v": 0.005,
                    "frequency_min_hz": 100.0,
                    "points_per_decade": 5,
                },
                "plate": half | {"until": [{"quantity": "charge_mah_cm2", "value": charge}]},
                "strip": half
                | {
                    "until": [
                        {"quantity": "potential_above_v", "value": 0.5},
                        {"quantity": "charge_mah_cm2", "value": 1.5 * charge, "action": "stop"},
                    ]
                },
            },
        ],
    }
    return Protocol.model_validate(
        {"name": "cycling", "cell": cell, "technique": technique, "every": Schedule(), **more}
    )


class Bench:
    """A simulated potentiostat that outlives those who drive it."""

    def __init__(self, broken: Any, wait_for: Callable[..., None]) -> None:
        self.broken = broken
        self.wait_for = wait_for

    def begin(self, protocol: Protocol) -> "subprocess.Popen[str]":
        path = self.broken.write_protocol(protocol)
        return self.broken.operando("run", str(path), "--only", "potentiostat")

    def die(
        self,
        protocol: Protocol,
        rows: int,
        *,
        role: int | None = None,
        held_s: float | None = None,
        then: Sequence[Mapping[str, Any]] = (),
        number: int = signal.SIGKILL,
    ) -> str:
        """Have a run die once so many rows are recorded; return its uid.

        ``held_s``: where the cell's time stands still, behind them. ``then``: what it breaks.
        """
        path = str(self.broken.write_protocol(protocol))
        after = [("potentiostat", rows, role)]
        hold = None if held_s is None else {"after_s": held_s}
        return self.broken.die(
            "run",
            path,
            "--only",
            "potentiostat",
            after=after,
            hold=hold,
            faults=then,
            number=number,
        )

    def program_ends(self) -> None:
        """Wait until the program that was begun last has ended by itself."""
        self.wait_for(self.broken.program_is_over, "the program did not end")

    def session(self) -> Session:
        return Session(load_bench("sim").only({"potentiostat"}), self.broken.data, catalog=False)

    def resume(self, run: str = "last", **decisions: Any) -> str:
        with self.session() as session:
            return resume(session, run, **decisions)

    def run_of(self, uid: str) -> Run:
        return Run.from_documents(documents(journal_path(self.broken.data, uid)))

    @property
    def chain(self) -> list[Run]:
        """All runs, the first one first."""
        return [self.run_of(x.uid) for x in reversed(list_runs(self.broken.data))]

    def column(self, quantity: str) -> Any:
        """A quantity of the potentiostat over the whole chain."""
        parts = [run.streams["potentiostat"] for run in self.chain if "potentiostat" in run.streams]
        return np.concatenate([x.columns[f"potentiostat_{quantity}"] for x in parts])

    def charges(self, *, true: bool = False) -> dict[int, float]:
        """Charge of each half-cycle over the whole chain, mAh/cm2, magnitude.

        Current times the instrument's time since the edge of each of its parts. With ``true`` the
        current is what the simulated converter really gave, else what it says.
        """
        step, half, role = self.column("step"), self.column("half_cycle"), self.column("role")
        current, step_t = self.column("current"), self.column("step_t")
        given = [
            x["current_a"] for x in self.broken.truth("potentiostat", "segment") if "current_a" in x
        ]
        found: dict[int, float] = {}
        for number in np.unique(step):
            rows = np.flatnonzero(step == number)
            if role[rows[0]] in (PLATE, STRIP):
                amperes = float(np.median(current[rows]))
                if true:
                    amperes = min(given, key=lambda x: abs(x - amperes))
                charge = abs(amperes) * 1e3 / 1.131 * step_t[rows[-1]] / 3600
                found[int(half[rows[0]])] = found.get(int(half[rows[0]]), 0.0) + charge
        return found

    def ledger(self) -> dict[str, float]:
        """What passed through the working electrode, from the simulation's truth; it has ended."""
        (end,) = self.broken.truth("cell", "end")
        return end["working"]

    def whole(self) -> None:
        """Nothing is missing, nothing is twice, every counter goes on."""
        t, step, step_t = self.column("t"), self.column("step"), self.column("step_t")
        assert np.all(np.diff(t) > 0)
        assert np.all(np.diff(step) >= 0)
        assert np.all(np.diff(self.column("half_cycle")) >= 0)
        assert np.all(np.diff(self.column("cycle")) >= 0)
        assert not np.any(self.column("flags").astype(int) & LOST_BEFORE)
        for number in np.unique(step):
            rows = step_t[step == number]
            assert np.all(np.diff(rows) > 0)
            assert np.all(np.diff(rows) < 1.5 * ROW_S)
        # Any of its runs is the whole experiment, and the analysis finds these charges in it.
        for run in self.chain:
            experiment = Run.from_journal(run.uid, self.broken.data)
            assert experiment.chain == tuple(member.uid for member in self.chain)
            found = {half.number: half.capacity_mah_cm2 for half in half_cycles_of(experiment)}
            assert found == pytest.approx(self.charges(), rel=2e-3)


@pytest.fixture
def bench(broken: Any, wait_for: Callable[..., None]) -> Bench:
    return Bench(broken, wait_for)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    make_broken: Callable[[Path], Any],
    wait_for: Callable[..., None],
) -> Bench:
    bench = Bench(make_broken(tmp_path_factory.mktemp("undisturbed")), wait_for)
    with bench.broken.serve("potentiostat", factor=5 * FACTOR):
        # No more rows a second than the others have: a computer that is slow could not read them.
        process = bench.begin(cycling(2, row_s=5 * ROW_S))
        told = process.communicate()
        assert process.returncode == 0, told
    return bench


def efficiencies(charges: dict[int, float]) -> list[float]:
    return [charges[n + 1] / charges[n] for n in range(1, len(charges), 2)]


def test_after_a_kill_in_mid_plating_the_experiment_is_as_if_nothing_had_happened(
    bench: Bench, undisturbed: Bench
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        first = bench.die(cycling(2), 100, held_s=PLATING_S)
        new = bench.resume()
        assert not bench.broken.cell_is_on()
    bench.whole()
    runs = bench.chain
    assert [run.uid for run in runs] == [first, new]
    told = runs[1].start["resume"]
    assert (told["of"], told["root"], runs[1].start["resume_of"]) == (first, first, first)
    assert told["collected_rows"] > 10
    flags = runs[1].streams["potentiostat"].columns["potentiostat_flags"].astype(int)
    assert np.sum(flags & COLLECTED != 0) == told["collected_rows"]
    assert told["unpowered_s"] == 0
    assert told["checks"]["passed"]
    assert told["plated_mah_cm2"] == pytest.approx(told["passed_charge_mah_cm2"], rel=2e-3)
    assert told["stripped_mah_cm2"] == 0.0
    assert runs[1].start["technique"] == runs[0].start["technique"]
    assert runs[1].stop is not None
    assert runs[1].stop["exit_status"] == "success"
    # The charge is that of the simulation's ledger, and of a run that was left in peace.
    charges = bench.charges()
    assert list(charges) == [1, 2, 3, 4]
    ledger = bench.ledger()
    true = bench.charges(true=True)
    assert true[1] + true[3] == pytest.approx(ledger["charge_cathodic"], rel=1e-3)
    assert true[2] + true[4] == pytest.approx(ledger["charge_anodic"], rel=1e-3)
    assert charges[1] == pytest.approx(CHARGE, rel=1e-3)
    assert efficiencies(charges) == pytest.approx(efficiencies(undisturbed.charges()), abs=2e-3)
    # Reports know nothing of the interruption: either run names the experiment.
    for uid in (first, new):
        told_of_both = metrics(Run.from_journal(uid, bench.broken.data))["ce_pct"].value
        assert told_of_both == pytest.approx(metrics(undisturbed.chain[0])["ce_pct"].value, abs=0.2)


class TipsEverywhere:
    """A judge to whom every row is the nucleation tip."""

    never_judged: Mapping[str, str] = {}
    doubtful: Mapping[int, tuple[int, int]] = {}

    def __init__(self) -> None:
        self.seen = 0

    def add(self, rows: Mapping[str, Any], stream: str = "potentiostat") -> list[Verdict]:
        if stream != "potentiostat":
            return []
        self.seen += 1
        return [Verdict("nucleation_tip", rows["potentiostat_t"][-1], 30.0, "the tip", 1)]


def test_an_experiment_that_a_rule_has_interrupted_is_resumed_within_the_program_that_went_on(
    bench: Bench,
) -> None:
    quick = {"amplitude_rms_v": 0.005, "frequency_min_hz": 1000.0, "points_per_decade": 3}
    rule = {
        "name": "look at the tip",
        "when": {"event": "nucleation_tip"},
        "then": [{"do": "impedance_spectrum", "spectrum": quick}],
        "at_most": 1,
    }
    judge = TipsEverywhere()

    with bench.broken.serve("potentiostat", factor=FACTOR / 2):
        path = str(bench.broken.write_protocol(cycling(1, rules=[rule])))
        # The second program is noted before it begins; before both comes a look at the zero.
        after = [("programs", 2, None), ("potentiostat", 20, None)]
        hold = {"programs": 3, "after_s": 100.0}
        first = bench.broken.die("run", path, "--only", "potentiostat", after=after, hold=hold)
        with bench.session() as session:
            session.verdicts = lambda start: judge  # type: ignore[method-assign]
            new = resume(session)
    bench.whole()
    interrupted, resumed = bench.chain
    # Once in one experiment is once, however often it is resumed.
    assert judge.seen > 1
    assert [len(run.streams["rules"]) for run in bench.chain] == [1, 0]
    assert fired_rules(bench.chain) == [
        ("look at the tip", interrupted.streams["rules"].columns["rules_t"][0])
    ]
    assert len(interrupted.streams["programs"].columns["programs_t"]) == 2
    assert resumed.start["rules"] == interrupted.start["rules"]
    assert resumed.stop is not None
    assert resumed.stop["exit_status"] == "success"
    assert resumed.start["resume"]["collected_rows"] > 10
    charges = bench.charges()
    assert list(charges) == [1, 2]
    assert charges[1] == pytest.approx(CHARGE, rel=1e-3)
    true, ledger = bench.charges(true=True), bench.ledger()
    assert true[1] == pytest.approx(ledger["charge_cathodic"], rel=2e-3)
    for uid in (first, new):
        halves = half_cycles_of(Run.from_journal(uid, bench.broken.data))
        assert [len(half.interruptions) for half in halves] == [2, 0]


@pytest.mark.long
def test_after_a_kill_in_the_spectrum_of_a_rule_what_was_to_follow_it_is_begun(
    bench: Bench,
) -> None:
    slow = {"amplitude_rms_v": 0.005, "frequency_min_hz": 0.01, "points_per_decade": 5}
    rule = {
        "name": "look at the tip",
        "when": {"event": "nucleation_tip"},
        "then": [{"do": "impedance_spectrum", "spectrum": slow}],
    }

    with bench.broken.serve("potentiostat", factor=FACTOR / 2):
        path = str(bench.broken.write_protocol(cycling(1, rules=[rule])))
        after = [("impedance", 22, None)]
        bench.broken.die("run", path, "--only", "potentiostat", after=after)
        bench.resume()
    interrupted, resumed = bench.chain
    assert len(interrupted.streams["programs"].columns["programs_t"]) == 1
    assert resumed.stop is not None
    assert resumed.stop["exit_status"] == "success"
    told = resumed.start["resume"]
    assert (told["cycle"], told["half_cycle"], told["unrecorded_charge_mah_cm2"]) == (1, 1, 0.0)
    # Of a real second, by what was heard last: not since the run began.
    assert told["gap_s"] < resumed.start["time"] - interrupted.streams["impedance"].time[-1]
    flags = resumed.streams["impedance"].columns["potentiostat_impedance_flags"].astype(int)
    assert np.sum(flags & COLLECTED != 0) == told["collected_rows"] > 0
    # The tip of that plating was seen: it is none of the part that went on.
    assert len(resumed.streams["rules"]) == 0
    assert np.all(np.diff(bench.column("step")) >= 0)
    charges = bench.charges()
    assert charges[1] == pytest.approx(CHARGE, rel=1e-3)
    assert bench.charges(true=True)[1] == pytest.approx(bench.ledger()["charge_cathodic"], rel=2e-3)
    halves = half_cycles_of(Run.from_journal(resumed.uid, bench.broken.data))
    assert [half.role for half in halves] == [PLATE, STRIP]


def test_a_program_that_had_ended_by_itself_is_collected_and_nothing_is_started(
    bench: Bench, undisturbed: Bench
) -> None:
    with bench.broken.serve("potentiostat", factor=2 * FACTOR):
        bench.die(cycling(1), 20)
        bench.program_ends()
        scripts = len(bench.broken.truth("potentiostat", "cell_on"))
        bench.resume()
        assert len(bench.broken.truth("potentiostat", "cell_on")) == scripts
        with pytest.raises(ResumeError, match="ended as planned"):
            bench.resume()
    bench.whole()
    second = bench.chain[1]
    assert second.stop is not None
    assert (second.stop["exit_status"], second.start["remaining_technique"]) == ("success", None)
    assert np.all(second.streams["potentiostat"].columns["potentiostat_flags"] >= COLLECTED)
    charges = bench.charges()
    assert charges[1] == pytest.approx(undisturbed.charges()[1], rel=1e-3)
    assert efficiencies(charges) == pytest.approx(efficiencies(undisturbed.charges())[:1], abs=2e-3)


@pytest.mark.long
def test_after_a_power_cycle_of_the_instrument_a_strip_goes_on_and_the_gap_is_recorded(
    bench: Bench, undisturbed: Bench
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        process = bench.begin(cycling(1))
        bench.wait_for(lambda: in_role(bench, STRIP, 20), "the strip did not begin")
        bench.broken.inject("potentiostat", "power-cycle", seconds=0.3)
        assert process.wait(60) == 1
        process.communicate()
        bench.resume()
    told = bench.chain[1].start["resume"]
    assert told["unpowered_s"] > 0
    low, high = told["passed_charge_bounds_mah_cm2"]
    assert 0 < high - low <= 0.01 * CHARGE
    bench.whole()
    assert efficiencies(bench.charges()) == pytest.approx(
        efficiencies(undisturbed.charges())[:1], abs=0.01
    )


def in_role(bench: Bench, role: int, rows: int) -> bool:
    runs = list_runs(bench.broken.data)
    if not runs or "potentiostat" not in runs[0].rows:
        return False
    stream = bench.run_of(runs[0].uid).streams["potentiostat"]
    return int(np.sum(stream.columns["potentiostat_role"] == role)) >= rows


def test_a_resumed_run_ends_where_it_strips_more_than_was_plated_before_it(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR / 2):
        bench.die(cycling(1), 20, role=STRIP, held_s=STRIPPING_S)
        with bench.session():
            pass  # somebody connects: that ends the program and opens the cell
        # A short carries the current of the strip, whose potential never reaches the cut-off.
        bench.broken.inject("cell", "hard-short", ohm=0.1)
        bench.wait_for(lambda: len(bench.broken.truth("bench", "fault")) == 2, "not shorted")
        bench.resume(accept_check=True)
    first, resumed = bench.chain
    told = resumed.start["resume"]
    assert told["plated_mah_cm2"] == pytest.approx(CHARGE, rel=0.01)
    assert told["stripped_mah_cm2"] == pytest.approx(told["passed_charge_mah_cm2"], rel=0.02)
    assert "rules_not_judged" not in resumed.start
    assert resumed.stop is not None
    assert resumed.stop["reason"].startswith("rule 'end when metal comes from nowhere'")
    # The instrument itself would have gone on until half as much again.
    assert 1.04 * CHARGE < bench.charges()[2] < 1.4 * CHARGE
    assert first.start["rules"] == resumed.start["rules"]


def test_what_was_stopped_by_hand_goes_on_without_the_look_at_its_reference(bench: Bench) -> None:
    cell = "zn-bare-half-reference"
    # The wire is 15 mV off.
    with bench.broken.serve("potentiostat", factor=FACTOR, preset="zn-bare-half-bad-reference"):
        number = signal.SIGTERM
        bench.die(cycling(1, cell=cell), 100, role=PLATE, held_s=PLATING_S, number=number)
        (stopped,) = bench.chain
        flags = stopped.streams["potentiostat"].columns["potentiostat_flags"].astype(int)
        looked = np.flatnonzero(flags & LOOK)
        assert 2 <= len(looked) <= 6
        assert looked[-1] == len(flags) - 1
        bench.resume()
    stopped, resumed = bench.chain
    assert stopped.stop is not None
    assert stopped.stop["exit_status"] == "abort"
    assert resumed.stop is not None
    assert resumed.stop["exit_status"] == "success"
    for before in ("the program", "the rest of the program"):
        assert f"is off: at open circuit before {before} the counter" in resumed.stop["reason"]
    told = resumed.start["resume"]
    assert (told["cycle"], told["half_cycle"], told["checks"]["passed"]) == (1, 1, True)
    assert 0.1 * CHARGE < told["passed_charge_mah_cm2"] < CHARGE
    assert np.all(np.diff(bench.column("t")) > 0)
    assert np.all(np.diff(bench.column("step")) >= 0)
    assert bench.charges()[1] == pytest.approx(CHARGE, rel=2e-3)
    experiment = Run.from_journal(resumed.uid, bench.broken.data)
    halves = half_cycles_of(experiment)
    assert [half.role for half in halves] == [PLATE, STRIP]
    assert [len(half.interruptions) for half in halves] == [1, 0]
    assert metrics(experiment)["reference_drift_mv"].value is not None


@pytest.mark.long
def test_what_was_stopped_by_hand_in_the_spectrum_of_a_rule_goes_on_after_it(bench: Bench) -> None:
    cell = "zn-bare-half-reference"
    slow = {"amplitude_rms_v": 0.005, "frequency_min_hz": 0.01, "points_per_decade": 5}
    rule = {
        "name": "look at the tip",
        "when": {"event": "nucleation_tip"},
        "then": [{"do": "impedance_spectrum", "spectrum": slow}],
    }

    with bench.broken.serve("potentiostat", factor=FACTOR / 2, preset=cell):
        path = str(bench.broken.write_protocol(cycling(1, cell=cell, rules=[rule])))
        points = [("impedance", 22, None)]
        bench.broken.die("run", path, "--only", "potentiostat", after=points, number=signal.SIGTERM)
        bench.resume()
    stopped, resumed = bench.chain
    flags = stopped.streams["potentiostat"].columns["potentiostat_flags"].astype(int)
    assert flags[-1] & LOOK
    assert len(stopped.streams["programs"]) == 1
    assert resumed.stop is not None
    assert resumed.stop["exit_status"] == "success"
    assert np.all(np.diff(bench.column("t")) > 0)
    assert bench.charges()[1] == pytest.approx(CHARGE, rel=2e-3)


def test_when_host_and_instrument_both_died_somebody_has_to_decide(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        bench.die(cycling(1), 100, held_s=PLATING_S, then=(POWER_CUT,))
        bench.program_ends()
        time.sleep(0.3)
        with pytest.raises(ResumeError, match="--trust-log"):
            bench.resume()
        assert not bench.broken.cell_is_on()
        with pytest.raises(ResumeError, match="the record says that between"):
            bench.resume(assume_charge_mah_cm2=2 * CHARGE)
        assert len(list_runs(bench.broken.data)) == 1
        bench.resume(trust_log=True)
    told = bench.chain[1].start["resume"]
    assert told["decisions"] == {"trust_log": True}
    assert told["ending"] == "unknown"
    bench.whole()
    assert bench.charges()[1] == pytest.approx(CHARGE, rel=0.01)


@pytest.mark.long
def test_a_chain_of_three_is_one_experiment_and_any_of_its_runs_names_it(
    bench: Bench, undisturbed: Bench
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        first = bench.die(cycling(2), 100, held_s=PLATING_S)
        second = bench.broken.die(
            "resume", first[:8], "--only", "potentiostat", after=[("potentiostat", 60, None)]
        )
        third = bench.resume(first)
    bench.whole()
    runs = bench.chain
    assert [run.uid for run in runs] == [first, second, third]
    assert [run.start.get("resume_of") for run in runs] == [None, first, second]
    assert runs[2].start["resume"]["root"] == first
    assert runs[2].start["technique"] == runs[0].start["technique"]
    charges = bench.charges()
    assert list(charges) == [1, 2, 3, 4]
    ledger = bench.ledger()
    true = bench.charges(true=True)
    assert true[1] + true[3] == pytest.approx(ledger["charge_cathodic"], rel=1e-3)
    assert efficiencies(charges) == pytest.approx(efficiencies(undisturbed.charges()), abs=3e-3)


def test_a_lead_that_has_come_off_ends_it_before_anything_is_driven(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        first = bench.die(cycling(1), 100, held_s=PLATING_S)
        with bench.session():
            pass  # somebody connects: that ends the program and opens the cell
        bench.broken.inject("cell", "contact", ohm=1e9)
        bench.wait_for(lambda: len(bench.broken.truth("bench", "fault")) == 2, "not broken")
        driven = len(bench.broken.truth("potentiostat", "segment"))
        resumed = bench.broken.operando("resume", "last", "--only", "potentiostat")
        _, told = resumed.communicate()
        assert resumed.returncode == 1, told
        assert "--accept-check goes on" in told
        assert not bench.broken.cell_is_on()
        segments = bench.broken.truth("potentiostat", "segment")[driven:]
        assert all(x.get("current_a", 0.0) == 0.0 for x in segments[1:])
        refused = list_runs(bench.broken.data)[0]
        assert refused.exit_status == "fail"
        assert "series resistance" in refused.reason
        # The lead is put back: the experiment goes on from where it stood, checked once more.
        bench.broken.inject("cell", "contact", ohm=0.0)
        bench.wait_for(lambda: len(bench.broken.truth("bench", "fault")) == 3, "not repaired")
        bench.resume(first)
    bench.whole()
    assert len(bench.chain) == 3
    assert bench.charges()[1] == pytest.approx(CHARGE, rel=1e-3)


@pytest.mark.long
def test_a_changed_resistance_can_be_accepted_and_that_is_recorded(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        worse = {"instrument": "cell", "fault": "contact", "ohm": 3.0}
        bench.die(cycling(4), 430, held_s=STRIPPING_S, then=(worse,))
        with pytest.raises(RunFailedError, match=r"it was 2\.\d+ ohm"):
            bench.resume()
        bench.resume(accept_check=True)
    checks = bench.chain[2].start["resume"]["checks"]
    assert (checks["passed"], checks["accepted"]) == (False, True)
    assert checks["series_resistance_ohm"] - checks["reference_resistance_ohm"] == pytest.approx(
        3.0, abs=0.3
    )


def programs(bench: Bench) -> list[dict[str, Any]]:
    """Return the programs that were begun; a script of one line opens the cell."""
    return [x for x in bench.broken.truth("potentiostat", "script") if x["lines"] > 1]


@pytest.mark.long
@pytest.mark.parametrize("looked_at", ["open circuit", "spectrum"])
def test_a_resume_that_was_killed_while_it_looked_at_the_cell_is_made_again(
    looked_at: str, bench: Bench
) -> None:
    charge = 0.008
    with bench.broken.serve("potentiostat", factor=10.0):
        first = bench.die(cycling(charge=charge, rest_s=2), 20, held_s=25.0)
        begun = len(programs(bench))
        looks = {"open circuit": 1, "spectrum": 2}[looked_at]
        bench.broken.hold(programs=looks)
        process = bench.broken.operando("resume", "last", "--only", "potentiostat")

        def looking() -> bool:
            assert process.poll() is None, process.communicate()
            return len(programs(bench)) == begun + looks

        bench.wait_for(looking, f"no {looked_at}")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(programs(bench)) == begun + looks
        assert len(bench.broken.truth("potentiostat", "script_end")) < len(
            bench.broken.truth("potentiostat", "script")
        )
        assert [run.uid for run in list_runs(bench.broken.data)] == [first]
        new = bench.resume()
        assert not bench.broken.cell_is_on()
    bench.whole()
    assert [run.uid for run in bench.chain] == [first, new]
    told = bench.chain[1].start["resume"]
    assert (told["of"], told["decisions"], told["ending"]) == (first, {}, "opened")
    assert told["collected_rows"] > 0
    assert told["checks"]["passed"]
    assert bench.charges()[1] == pytest.approx(charge, rel=2e-3)
    ledger, true = bench.ledger(), bench.charges(true=True)
    assert true[1] == pytest.approx(ledger["charge_cathodic"], rel=5e-3)
    assert true[2] == pytest.approx(ledger["charge_anodic"], rel=5e-3)


def test_where_the_instruments_file_store_is_full_a_resume_goes_on_without_a_log(
    bench: Bench,
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        first = bench.die(cycling(1), 100, held_s=PLATING_S)
        with bench.session():
            pass  # connecting ends the program, whose log is whole
        bench.broken.inject("potentiostat", "file-store", kilobytes=1)
        bench.wait_for(lambda: len(bench.broken.truth("bench", "fault")) == 2, "not broken")
        process = bench.broken.operando("resume", "last", "--only", "potentiostat")
        _, told = process.communicate()
        assert process.returncode == 0, told
        with bench.session() as session:
            assert session.devices["potentiostat"]._driver._files().logs() == []
    bench.whole()
    runs = bench.chain
    own = runs[0].start["instrument_log"]["name"]
    assert runs[0].uid == first
    assert runs[1].start["instrument_log"]["name"] is None
    assert (
        f"it keeps {own}, whose rows may be in no record"
        in (runs[1].start["instrument_log"]["reason"])
    )
    assert f"it keeps {own}" in told
    assert "no log of its own" in told
    assert runs[1].start["resume"]["collected_rows"] > 0
    assert bench.charges()[1] == pytest.approx(CHARGE, rel=1e-3)


@pytest.mark.parametrize("error_when_full", [0, 1])
def test_a_log_that_ended_because_the_file_store_was_full_tells_no_end(
    error_when_full: int, bench: Bench
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        full = FILE_STORE | {"kilobytes": 1, "error_when_full": error_when_full}
        then = (full, LET_GO) if error_when_full else (full,)
        bench.die(cycling(1), 60, held_s=PLATING_S, then=then)
        # The program goes on and writes nothing more; or it ends there, with the current on.
        time.sleep(0.1)
        with pytest.raises(ResumeError, match=r"--trust-log[\s\S]*--assume-charge"):
            bench.resume()
        assert not bench.broken.cell_is_on()
        assert len(list_runs(bench.broken.data)) == 1
        (off,) = bench.broken.truth("potentiostat", "cell_off")
        bench.resume(assume_charge_mah_cm2=off["ledger"]["WE"]["charge_cathodic"])
    assert bench.ledger()["charge_cathodic"] == pytest.approx(CHARGE, rel=0.01)
    # What was assumed is good enough to go on with, and no efficiency.
    assert metrics(Run.from_journal("last", bench.broken.data))["ce_pct"].value is None


# The run is open and its program has not begun: however busy the machine is, it dies just then.
DIES = """
import os, signal, sys
from instruments.potentiostat import PotentiostatDevice
from operando.cli import main
PotentiostatDevice.kickoff = lambda self: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(main(sys.argv[1:]))
"""


def test_an_experiment_that_died_before_its_first_row_begins_anew(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=2 * FACTOR):
        path = bench.broken.write_protocol(cycling(1))
        process = bench.broken.operando("run", str(path), "--only", "potentiostat", code=DIES)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert len(list_runs(bench.broken.data)) == 1
        with pytest.raises(ResumeError, match="whether its program had begun is not known"):
            bench.resume()
        bench.resume(assume_charge_mah_cm2=0.0)
    # A bare substrate rests beyond the window, where no spectrum may be measured.
    notes = bench.chain[1].start["resume"]["checks"]["notes"]
    assert any("series resistance was not measured" in note for note in notes)
    bench.whole()
    assert list(bench.charges()) == [1, 2]


def test_of_two_resumes_at_once_one_is_refused(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        bench.die(cycling(1), 100)
        bench.program_ends()
        bench.broken.hold(
            programs=1
        )  # the one that looks at the cell first waits for the other one
        both = [bench.broken.operando("resume", "last", "--only", "potentiostat") for _ in range(2)]
        bench.wait_for(lambda: any(x.poll() is not None for x in both), "none is refused")
        bench.broken.inject("potentiostat", "resume")
        told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], told
    refused = told[[process.returncode for process in both].index(2)]
    assert "is being recorded, or resumed" in refused
    bench.whole()
    assert len(bench.chain) == 2


def test_a_run_that_is_being_recorded_is_not_resumed(bench: Bench, tidy: list[Any]) -> None:
    with bench.broken.serve("potentiostat", factor=10.0):
        process = bench.begin(cycling(1))
        tidy.append(process)
        bench.wait_for(lambda: list_runs(bench.broken.data), "no run")
        with (
            pytest.raises(ResumeError, match="is being recorded"),
            interrupted_experiment(bench.broken.data),
        ):
            pass
        process.send_signal(signal.SIGKILL)


def test_without_a_log_what_is_not_known_is_said_and_the_operator_decides(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        bench.broken.inject("potentiostat", "file-store", present=0)
        bench.wait_for(lambda: bench.broken.truth("bench", "fault"), "not broken")
        first = bench.die(cycling(1), 100, held_s=PLATING_S)
        assert bench.run_of(first).start["instrument_log"]["name"] is None
        time.sleep(1.0)  # time for a whole plating, as far as anybody knows
        with pytest.raises(ResumeError, match="has no log of what it did after it") as refused:
            bench.resume()
        assert "--assume-charge" in str(refused.value)
        bench.resume(assume_charge_mah_cm2=0.09)
    told = bench.chain[1].start["resume"]
    assert told["decisions"] == {"assume_charge_mah_cm2": 0.09}
    assert told["passed_charge_mah_cm2"] == pytest.approx(0.09)
    left = json.dumps(bench.chain[1].start["remaining_technique"])
    assert '"charge_mah_cm2", "value": 0.01' in left or "0.00999" in left


def test_rows_of_a_resume_that_failed_at_once_get_into_no_other_run(bench: Bench) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        bench.die(cycling(1), 100, held_s=PLATING_S)
        with bench.session() as session:
            device = session.devices["potentiostat"]
            before = device.limits
            device.limits = SafetyLimits(current_max_a=1e-5)  # a bench that became narrower
            with pytest.raises(SafetyLimitError):
                resume(session)
            assert len(list_runs(bench.broken.data)) == 1
            device.limits = before
            resume(session)
    bench.whole()
    assert bench.charges()[1] == pytest.approx(CHARGE, rel=1e-3)
    # The limits of the bench that was wider are not those of the experiment's rest.
    limits = bench.chain[1].start["limits"]["effective"]
    assert limits == bench.chain[0].start["limits"]["effective"]


FAST = Protocol.model_validate(
    {
        "name": "fast",
        "cell": "zn-bare-half",
        "technique": {
            "type": "galvanostatic_step",
            "role": "plate",
            "current_density_ma_cm2": 1.0,
            "record": {"dt_s": 1e-3, "edge_dt_s": 1e-3},
            "until": [{"quantity": "time_s", "value": 1.0}],
        },
        "every": Schedule(),
    }
)


def test_after_another_run_on_the_cell_somebody_has_to_decide_and_no_row_is_lost(
    bench: Bench,
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        first = bench.die(cycling(1), 20)
        bench.program_ends()
        with bench.session() as session:
            # Its rows lie in the columns of a file; those of the log must not follow them there.
            between = session.run_protocol(FAST)
            told = rf"other runs[\s\S]*{between[:8]} \([\s\S]*--same-cell"
            with pytest.raises(ResumeError, match=told):
                resume(session, first)
            new = resume(session, first, same_cell=True)
            assert session.devices["potentiostat"]._driver._files().logs() == []
    runs = {run.uid: run for run in bench.chain}
    told_of = runs[new].start["resume"]
    assert (told_of["decisions"], told_of["runs_since"]) == ({"same_cell": True}, [between])
    assert (
        len(runs[new].streams["potentiostat"]) + len(runs[new].streams["impedance"])
        == (told_of["collected_rows"])
    )
    experiment = Run.from_journal(first, bench.broken.data)
    assert experiment.chain == (first, new)
    assert np.all(np.diff(experiment.streams["potentiostat"].columns["potentiostat_t"]) > 0)
    plated, _ = half_cycles_of(experiment)
    assert plated.capacity_mah_cm2 == pytest.approx(CHARGE, rel=2e-3)


def test_what_ended_at_a_safety_limit_while_nobody_listened_is_recorded_and_not_resumed(
    bench: Bench,
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        loose = {"instrument": "cell", "fault": "contact", "ohm": 5000.0}
        first = bench.die(cycling(1), 60, held_s=PLATING_S, then=(loose, LET_GO))
        bench.program_ends()
        driven = len(bench.broken.truth("potentiostat", "cell_on"))
        with pytest.raises(RunFailedError, match="was ended by a safety limit"):
            bench.resume(trust_log=True, accept_check=True)
        with pytest.raises(ResumeError, match="was ended by a safety limit"):
            bench.resume()
        assert len(bench.broken.truth("potentiostat", "cell_on")) == driven
    assert [run.uid for run in bench.chain][:1] == [first]
    second = bench.chain[1]
    assert second.start["resume"]["ending"] == "safety"
    assert len(bench.chain) == 2
    potential = second.streams["potentiostat"].columns["potentiostat_potential"]
    assert abs(potential[-1]) > 2.0
    assert np.all(np.diff(bench.column("t")) > 0)


def test_a_log_of_which_the_power_cut_left_nothing_leaves_the_decision_to_the_operator(
    bench: Bench,
) -> None:
    with bench.broken.serve("potentiostat", factor=FACTOR):
        bench.broken.inject("potentiostat", "file-store", held_bytes=10**7)
        bench.wait_for(lambda: bench.broken.truth("bench", "fault"), "not broken")
        bench.die(cycling(1), 100, held_s=PLATING_S, then=(POWER_CUT,))
        bench.program_ends()
        time.sleep(0.3)
        for decided in ({}, {"trust_log": True}):
            with pytest.raises(ResumeError, match=r"it is empty[\s\S]*--assume-charge"):
                bench.resume(**decided)
        low = bench.column("step_t")[-1] / 3600
        new = bench.resume(assume_charge_mah_cm2=low + 0.02)
    unrecorded = bench.chain[1].start["resume"]["unrecorded_charge_mah_cm2"]
    assert unrecorded == pytest.approx(CHARGE - low, abs=1e-4)
    # What nobody recorded is in no efficiency.
    found = metrics(Run.from_journal(new, bench.broken.data))
    for name in ("ce_pct", "plated_capacity_mah_cm2", "cumulative_plated_mah_cm2"):
        assert found[name].value is None
    assert "may have passed unrecorded" in (found["plated_capacity_mah_cm2"].reason or "")
