"""What people ask of a run that goes on: done where it can be, and no charge lost by it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis.segments import recorded_half_cycles
from operando.run_failed import RunFailedError
from operando.runs import Run
from operando.session import PendingRequest, RequestRefusedError, Session
from techniques import (
    Amend,
    GalvanostaticStep,
    Limit,
    Protocol,
    Recording,
    Schedule,
    Sequence,
    SkipStep,
    StopCell,
)

pytestmark = pytest.mark.timeout(180)
FACTOR = 1000
CELL, AREA_CM2, CHARGE = "zn-bare-half", 1.131, 0.2
# So much takes 11 s: what is asked at its beginning is done in time also on a busy computer.
MUCH = 3.0
RECORD = {"dt_s": 10.0, "edge_dt_s": 2.0, "edge_for_s": 20.0}
QUIET = Schedule(image_s=None, spectrum_s=None, injection_s=None)


class Asking:
    """Asks something of a run with the first row of it that ``when`` is true of."""

    def __init__(self, session: Session, *asked: tuple[Callable[[Any], bool], Any]) -> None:
        self._leader = session.devices["potentiostat"]
        self._session = session
        self._to_ask = list(asked)
        self._pending: list[PendingRequest] = []

    def __enter__(self) -> "Asking":
        # In the thread of the rows: however busy the machine is, none is missed.
        self._unsubscribe = self._leader.on_measured(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._unsubscribe()

    def _look(self, row: Any) -> None:
        if self._to_ask and self._to_ask[0][0](row):
            self._pending.append(self._session.requests.put(self._to_ask.pop(0)[1]))

    @property
    def answers(self) -> list[str]:
        found = []
        for pending in self._pending:
            try:
                found.append(pending.answer(0.0))
            except RequestRefusedError as why:
                found.append(f"refused: {why}")
        return found


def in_half_cycle(number: int) -> Callable[[Any], bool]:
    return lambda row: row.half_cycle == number and row.role in (-1, 1)


def asked_of(
    chain: Any, protocol: Protocol, *asked: tuple[Callable[[Any], bool], Any]
) -> tuple[Run, list[str]]:
    with chain.simulated(leader_only=True), chain.session() as session:
        asking = Asking(session, *asked)
        with asking:
            uid = session.run_protocol(protocol, cell=CELL)
    return Run.from_journal(uid, chain.data), asking.answers


def passed(chain: Any) -> list[float]:
    """Return the charge of each part of a half-cycle, as the cell itself knows it, mAh/cm2."""
    before, found = {"charge_cathodic": 0.0, "charge_anodic": 0.0}, []
    for segment in chain.truth("potentiostat", "segment"):
        ledger = segment["ledger"]["WE"]
        if segment["technique"] == "cp":
            found.append(sum(ledger[key] - before[key] for key in before))
        before = {key: ledger[key] for key in before}
    return found


def test_a_stop_ends_the_run_with_the_cell_open_and_says_who_asked(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=FACTOR)
    protocol = plate_strip(CELL, 1.0, CHARGE, cycles=50, record=RECORD, every=QUIET)
    request = StopCell(by="Ada", why="the wrong electrolyte")
    run, (answer,) = asked_of(chain, protocol, (in_half_cycle(2), request))
    assert "the cell opened" in answer
    assert run.stop is not None
    assert (run.stop["exit_status"], run.stop["reason"]) == (
        "success",
        "stopped by Ada: the wrong electrolyte",
    )
    assert run.stop["stopped"] == {"by": "Ada", "why": "the wrong electrolyte"}
    assert chain.truth("potentiostat", "cell_off")
    assert list(run.streams["requests"].columns["requests_request"]) == ["stop"]


def test_a_step_that_is_skipped_ends_where_it_stands_and_what_is_behind_it_goes_on(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=FACTOR)
    protocol = plate_strip(CELL, 1.0, MUCH, record=RECORD, every=QUIET)
    behind = plate_strip(CELL, 1.0, CHARGE, record=RECORD).technique.steps[1]
    technique = Sequence(steps=(*protocol.technique.steps, behind))
    protocol = protocol.model_copy(update={"technique": technique})
    run, (answer,) = asked_of(chain, protocol, (in_half_cycle(1), SkipStep(by="Bob")))
    assert "the plate step (cycle 1, half-cycle 1) ends where it stands" in answer
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    skipped = "plate step (cycle 1, half-cycle 1) skipped by Bob"
    assert run.stop["reason"].startswith(skipped)
    first, stripped, second, _ = recorded_half_cycles(run, area_cm2=AREA_CM2)
    assert first.capacity_mah_cm2 < 0.9 * MUCH
    assert stripped.capacity_mah_cm2 < first.capacity_mah_cm2 * 1.02  # its potential ends it
    assert second.capacity_mah_cm2 == pytest.approx(CHARGE, rel=5e-3)
    columns = run.streams["potentiostat"].columns
    step = columns["potentiostat_step"]
    assert np.all(np.diff(columns["potentiostat_t"]) >= 0)
    assert sorted(set(step)) == list(range(1, 10))
    assert list(columns["potentiostat_cycle"][[0, -1]]) == [0, 2]
    assert list(run.streams["programs"].columns["programs_reason"]) == [skipped]
    # Each charge of the record is one that passed, to a row.
    recorded = [half.capacity_mah_cm2 for half in recorded_half_cycles(run, area_cm2=AREA_CM2)]
    assert recorded == pytest.approx(passed(chain), abs=2e-3)


def test_a_plating_that_is_skipped_at_its_very_start_leaves_its_strip_nothing(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=FACTOR)
    protocol = plate_strip(CELL, 1.0, MUCH, cycles=2, record=RECORD, every=QUIET)
    # Its own charge ends the strip, as a protocol of a symmetric cell may have it.
    strip = GalvanostaticStep(
        role="strip",
        current_density_ma_cm2=1.0,
        until=(Limit(quantity="charge_mah_cm2", value=MUCH),),
        record=Recording.model_validate(RECORD),
    )
    cycle = protocol.technique.steps[1].model_copy(update={"strip": strip})
    technique = Sequence(steps=(protocol.technique.steps[0], cycle))
    protocol = protocol.model_copy(update={"technique": technique})
    with pytest.raises(RunFailedError) as failed:
        asked_of(chain, protocol, (in_half_cycle(1), SkipStep(by="Bob", why="too thin")))
    reason = str(failed.value)
    assert "the safety limit potential_max_v = 1 was passed" in reason
    skipped = "plate step (cycle 1, half-cycle 1) skipped by Bob: too thin"
    assert f"It came behind a step that was not done: {skipped}. The cell is open" in reason
    run = Run.from_journal(failed.value.uid, chain.data)
    assert run.stop is not None
    assert run.stop["reason"].endswith(skipped)
    first, stripped = recorded_half_cycles(run, area_cm2=AREA_CM2)
    assert first.capacity_mah_cm2 < 0.5 * MUCH
    assert stripped.capacity_mah_cm2 < first.capacity_mah_cm2 * 1.02
    assert chain.truth("potentiostat", "cell_off")


def test_an_amended_protocol_holds_from_the_next_half_cycle_on(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=FACTOR)
    protocol = plate_strip(CELL, 1.0, CHARGE, cycles=30, record=RECORD, every=QUIET)
    other = plate_strip(CELL, 2.0, CHARGE, cycles=4, record=RECORD, every=QUIET)
    other = other.model_copy(update={"name": "faster"})
    request = Amend(by="Ada", protocol=other, why="too slow")
    run, (answer,) = asked_of(chain, protocol, (in_half_cycle(1), request))
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    (made,) = run.amendments
    first = made.half_cycle  # half-cycles may be over by the time that it is asked
    assert first > 1
    assert answer.startswith(
        f"from half-cycle {first} on it goes on as protocol 'faster' does there, to half-cycle 8"
    )
    halves = recorded_half_cycles(run, area_cm2=AREA_CM2)
    assert [half.number for half in halves] == list(range(1, 9))
    assert [half.cycle for half in halves] == [1, 1, 2, 2, 3, 3, 4, 4]
    plated = [half.capacity_mah_cm2 for half in halves[::2]]
    assert plated == pytest.approx([CHARGE] * 4, rel=5e-3)
    densities = [1e3 * abs(half.mean_current_a) / AREA_CM2 for half in halves]
    # Of the first one that changes, a part may have run before its program was ended.
    assert densities[: first - 1] == pytest.approx([1.0] * (first - 1), rel=5e-3)
    assert 0.995 < densities[first - 1] < 2.01
    assert densities[first:] == pytest.approx([2.0] * (8 - first), rel=5e-3)
    # What is old and what is new is on record, and by which limit each half-cycle ended.
    assert {half.ended_by for half in halves[::2]} == {"charge"}
    assert (made.by, made.protocol["name"]) == ("Ada", "faster")
    assert made.before == run.start["technique"]
    (told,) = run.stop["amendments"]
    assert (told["half_cycle"], told["protocol"]) == (first, "faster")
    assert f"amended by Ada to protocol 'faster' from half-cycle {first} on" in run.stop["reason"]


def test_without_a_rest_between_what_passed_of_the_half_cycle_counts(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=FACTOR)
    protocol = plate_strip(CELL, 1.0, CHARGE, cycles=30, rest_s=0.0, record=RECORD, every=QUIET)
    other = plate_strip(CELL, 1.0, CHARGE, cycles=4, rest_s=0.0, record=RECORD, every=QUIET)
    run, _ = asked_of(chain, protocol, (in_half_cycle(1), Amend(by="Ada", protocol=other)))
    halves = recorded_half_cycles(run, area_cm2=AREA_CM2)
    assert [half.number for half in halves] == list(range(1, 9))
    (made,) = run.amendments
    changed = halves[made.half_cycle - 1]
    (gap,) = changed.interruptions
    assert 0 < gap.for_s < 60
    plated = [half.capacity_mah_cm2 for half in halves[::2]]
    assert plated == pytest.approx([CHARGE] * 4, rel=5e-3)
    # The cell itself knows two parts of the half-cycle that had begun.
    parts = passed(chain)
    assert len(parts) == 9
    recorded = [half.capacity_mah_cm2 for half in halves]
    parts[made.half_cycle - 1 : made.half_cycle + 1] = [
        sum(parts[made.half_cycle - 1 : made.half_cycle + 1])
    ]
    assert recorded == pytest.approx(parts, abs=2e-3)


def test_what_cannot_be_changed_is_refused_and_the_run_goes_on_as_it_was(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=FACTOR)
    protocol = plate_strip(CELL, 2.0, CHARGE / 2, record=RECORD, every=QUIET)
    strong = plate_strip(CELL, 5000.0, CHARGE, cycles=2)
    rest = Protocol.model_validate(
        {"name": "rest", "cell": CELL, "technique": {"type": "open_circuit", "duration_s": 10}}
    )
    run, answers = asked_of(
        chain,
        protocol,
        (in_half_cycle(1), Amend(by="Ada", protocol=strong)),
        (in_half_cycle(1), Amend(by="Ada", protocol=rest)),
    )
    assert len(answers) == 2
    assert all(answer.startswith("refused: not done: ") for answer in answers)
    assert "5000" in answers[0]
    assert "has no half-cycles" in answers[1]
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert "amended" not in run.stop["reason"]
    assert "requests" not in run.streams
    assert len(recorded_half_cycles(run, area_cm2=AREA_CM2)) == 2


def test_an_end_of_life_ends_the_run_and_is_told(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(CELL, factor=5 * FACTOR)
    protocol = plate_strip(CELL, 2.0, CHARGE, cycles=40, record=RECORD, every=QUIET)
    told = protocol.model_dump(exclude={"rules"}) | {
        "end_of_life": {"ce_below_pct": 130.0, "ce_cycles": 2}
    }
    run = Run.from_journal(chain.run(Protocol.model_validate(told), CELL), chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert run.stop["reason"].startswith("rule 'end at low efficiency': no more than")
    end = run.stop["end_of_life"]
    assert (end["rule"], end["half_cycle"]) == ("end at low efficiency", 6)
    assert "in 2 cycles in a row" in end["reason"]
    assert len(recorded_half_cycles(run, area_cm2=AREA_CM2)) < 20


OVERRUN = {"quantity": "charge_mah_cm2", "value": 0.05, "action": "stop"}
LOW = {"event": "coulombic_efficiency_below", "below_pct": 130.0, "in_a_row": 2}


@pytest.mark.parametrize(
    ("until", "rules", "told"),
    [
        ([OVERRUN], [], "limit charge_mah_cm2 0.05 reached"),
        (None, [{"name": "low", "when": LOW, "then": [{"do": "open_cell"}]}], "rule 'low': "),
    ],
)
def test_a_run_that_ended_before_its_time_says_by_what(
    make_chain: Callable[..., Any],
    plate_strip: Callable[..., Protocol],
    until: Any,
    rules: Any,
    told: str,
) -> None:
    chain = make_chain(CELL, factor=5 * FACTOR)
    asked = plate_strip(CELL, 2.0, CHARGE, cycles=9, record=RECORD, every=QUIET).model_dump()
    if until is not None:
        asked["technique"]["steps"][1]["strip"]["until"] = until
    with chain.simulated(leader_only=True), chain.session() as session:
        protocol = Protocol.model_validate(asked | {"rules": rules})
        run = Run.from_journal(session.run_protocol(protocol, cell=CELL), chain.data)
        assert session.last_run.ended_early.startswith(told)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert run.stop["ended_early"].startswith(told)
    assert "end_of_life" not in run.stop
