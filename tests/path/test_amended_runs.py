"""A run whose protocol was changed twice: every number of it is of the protocol that held."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import pyarrow.parquet
import pytest
import yaml

from instruments.potentiostat.contract import Sample
from operando.analysis import Metric, metrics
from operando.analysis._impedance_metrics import spectrum_times
from operando.analysis.blocks import left_out_of_run
from operando.analysis.endings import PlannedHalfCycles
from operando.analysis.inventory import given_up_beyond_of
from operando.analysis.metrics import half_cycles_of
from operando.comparison import compare, compared_run
from operando.comparison._judged import cut_offs_text
from operando.export import export_csv, export_parquet, export_run
from operando.export._told import jsonable
from operando.export.rocrate import _asked, _Crate
from operando.journal import documents, list_runs, telling_documents
from operando.pages.report import _programs
from operando.plots.overview import heading
from operando.report import json_report, text_report
from operando.rerun import recorded
from operando.runs import Run, in_half_cycle
from techniques import Amend, Cell, Protocol

AREA_CM2, CELL = 1.131, "zn-bare-half"
QUIET = {"image_s": None, "spectrum_s": None, "injection_s": None}
RECORD = {"dt_s": 10.0, "edge_dt_s": 2.0, "edge_for_s": 20.0}


class Told(NamedTuple):
    """What a protocol asks for."""

    name: str
    density: float
    charge: float
    until_v: float
    amplitude_v: float
    formation: int
    cycles: int
    least_v: float


FIRST = Told("slow", 1.0, 0.1, 0.5, 0.005, 1, 30, -0.95)
SECOND = Told("fast", 2.0, 0.08, 0.4, 0.02, 2, 40, -0.9)
THIRD = Told("slow", 3.0, 0.06, 0.45, 0.005, 1, 7, -0.95)


def protocol(told: Told) -> Protocol:
    """Return cycles of which the first are formation, each with a spectrum on the metal."""
    half = {"current_density_ma_cm2": told.density, "record": RECORD}
    cycle = {
        "type": "plate_strip_cycle",
        "rest_s": 20,
        "plate": half | {"until": [{"quantity": "charge_mah_cm2", "value": told.charge}]},
        "strip": half
        | {
            "until": [
                {"quantity": "potential_above_v", "value": told.until_v},
                {"quantity": "charge_mah_cm2", "value": 0.2, "action": "stop"},
            ]
        },
        "between": {
            "type": "impedance_spectrum",
            "frequency_max_hz": 1e5,
            "frequency_min_hz": 1e3,
            "points_per_decade": 5,
            "amplitude_rms_v": told.amplitude_v,
        },
    }
    formation, later = told.formation, told.cycles - told.formation
    part = {"type": "block", "name": "formation", "in_means": False}
    blocks = [
        part | {"step": {**cycle, "cycles": formation}},
        part | {"name": "cycling", "in_means": True, "step": {**cycle, "cycles": later}},
    ]
    rest = {"type": "open_circuit", "duration_s": 10}
    return Protocol.model_validate(
        {
            "name": told.name,
            "cell": CELL,
            "technique": {"type": "sequence", "steps": [rest, *blocks]},
            "every": QUIET,
            "limits": {"potential_min_v": told.least_v},
        }
    )


class Amended(NamedTuple):
    """The run, its numbers and where it is."""

    run: Run
    numbers: dict[str, Metric]
    data: Any

    def told(self, number: int) -> Told:
        """Return what was asked for in a half-cycle, as the changes are on record."""
        second, third = (one.half_cycle for one in self.run.amendments)
        return FIRST if number < second else SECOND if number < third else THIRD


@pytest.fixture(scope="module")
def amended(make_chain: Callable[..., Any]) -> Amended:
    chain = make_chain(CELL, factor=1000)
    second = Amend(by="Ada", protocol=protocol(SECOND), why="too slow")
    third = Amend(by="Bob", protocol=protocol(THIRD))
    asked = [
        (lambda row: row.role == 1, second),
        # With the first row of a strip that shows that the second one holds.
        (lambda row: row.role == 1 and row.current_a > 1.5e-3 * AREA_CM2, third),
    ]
    with chain.simulated(leader_only=True), chain.session() as session:

        def look(row: Any) -> None:
            if asked and isinstance(row, Sample) and asked[0][0](row):
                session.requests.put(asked.pop(0)[1])

        unsubscribe = session.devices["potentiostat"].on_measured(look)
        uid = session.run_protocol(protocol(FIRST), cell=CELL)
        unsubscribe()
    run = Run.from_journal(uid, chain.data)
    return Amended(run, metrics(run), chain.data)


def test_what_was_asked_for_is_known_for_each_half_cycle(amended: Amended) -> None:
    run = amended.run
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    asked = first, second, third = run.asked
    assert [one.protocol for one in asked] == ["slow", "fast", "slow"]
    assert 1 < second.first_half_cycle < third.first_half_cycle
    assert (first.last_half_cycle, third.last_half_cycle) == (second.first_half_cycle - 1, None)
    assert [one.technique for one in run.asked[1:]] == [one.technique for one in run.amendments]
    halves = half_cycles_of(run)
    assert [half.number for half in halves] == list(range(1, 2 * THIRD.cycles + 1))
    # A cycle belongs to the protocol under which it began.
    for one in asked:
        begun = [half for half in halves[::2] if in_half_cycle(asked, half.number) is one]
        assert [half.cycle for half in begun] == list(
            range(one.first_cycle, (one.last_cycle or THIRD.cycles) + 1)
        )
    planned = PlannedHalfCycles(run.start["technique"], run.changes)
    assert planned.count == 2 * THIRD.cycles
    for half in halves:
        told = amended.told(half.number)
        plates = half.role == -1
        most = told.charge if plates else 0.2
        assert planned.most_charge_mah_cm2(half.number) == pytest.approx(most)
        assert half.ended_by == ("charge" if plates else "potential")
        assert half.cut_off_v == (None if plates else told.until_v)
        if plates:
            assert half.capacity_mah_cm2 == pytest.approx(told.charge, rel=5e-3)
        if not half.interruptions:  # else the beginning was before the change
            density = 1e3 * abs(half.mean_current_a) / AREA_CM2
            assert density == pytest.approx(told.density, rel=5e-3)


def test_metrics_are_of_the_protocol_that_held(amended: Amended) -> None:
    run, numbers = amended.run, amended.numbers
    second, third = run.asked[1:]
    begun = [amended.told(2 * cycle - 1) for cycle in range(1, THIRD.cycles + 1)]
    plated = numbers["plated_capacity_mah_cm2"].value
    assert plated == pytest.approx([told.charge for told in begun], rel=5e-3)
    apart = left_out_of_run(run)
    assert set(apart) == {n for n, told in enumerate(begun, 1) if n <= told.formation}
    changed = (
        f"under several protocols: slow until half-cycle {second.first_half_cycle - 1}, then fast "
        f"until half-cycle {third.first_half_cycle - 1}, then slow"
    )
    for name in ("ce_mean_pct", "ce_sd_pct", "cumulative_plated_mah_cm2", "life_hard_short_h"):
        assert str(numbers[name].reason).startswith(changed)
    assert "under several" not in str(numbers["ce_pct"].reason)
    # Only spectra of the second protocol had an amplitude that is too large.
    times = spectrum_times(run)
    loud = [n for n, (at_s, _) in enumerate(times, 1) if second.begin_s <= at_s < third.begin_s]
    assert len(times) == THIRD.cycles
    said = f"an amplitude of spectrum {', '.join(map(str, loud))} of 20 mV rms may be beyond"
    assert (said in str(numbers["series_resistance_ohm"].reason)) is bool(loud)
    assert str(numbers["series_resistance_ohm"].reason).count("rms") == bool(loud)
    windows = given_up_beyond_of(run, Cell.model_validate(run.start["sample"]))
    for number in range(1, 2 * THIRD.cycles + 1):
        assert windows.in_half_cycle(number).low_v == amended.told(number).least_v


def test_reports_and_comparisons_tell_each_protocol(amended: Amended) -> None:
    run, numbers = amended.run, amended.numbers
    _, second, third = run.asked
    names = (
        f"slow until half-cycle {second.first_half_cycle - 1}, then fast until half-cycle "
        f"{third.first_half_cycle - 1}, then slow"
    )
    text = text_report(run, numbers)
    assert f"Run {run.uid}: {names}, success" in text
    assert f"Amended: protocol 'fast' from half-cycle {second.first_half_cycle} on" in text
    assert "by Ada: too slow" in text
    told = json.loads(json_report(run, numbers))["amendments"]
    firsts = [1, second.first_half_cycle, third.first_half_cycle]
    assert [one["from_half_cycle"] for one in told] == firsts
    assert [one["technique"] for one in told] == [one.technique for one in run.asked]
    programs = _programs(run)
    assert programs.count("# protocol") == 3
    assert programs.count("current_density_ma_cm2: 2.0") == 4  # two halves of its two parts
    assert names in heading(run)
    compared = compared_run(run, numbers)
    told_v = names.replace("slow", "0.5 V", 1).replace("fast", "0.4 V").replace("slow", "0.45 V")
    assert cut_offs_text(compared) == told_v
    assert compared.left_out == set(left_out_of_run(run))
    assert compare([compared], by="protocol").groups[0].name == names
    assert any(
        note == f"the protocol of run {run.uid[:8]} was changed while it ran: {names}"
        for note in compare([compared]).notes
    )


def test_exports_have_each_protocol(amended: Amended, tmp_path: Path) -> None:
    run = amended.run
    expected = jsonable([one.as_data() for one in run.asked])
    export_csv(run, tmp_path / "csv")
    assert json.loads((tmp_path / "csv" / "run.json").read_text())["amendments"] == expected
    export_parquet(run, tmp_path / "parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "parquet" / "potentiostat.parquet")
    assert json.loads(schema.metadata[b"operando"])["amendments"] == expected
    (nexus,) = export_run(run.uid, amended.data, to="nexus", output=tmp_path / "run.nxs")
    with h5py.File(nexus) as file:
        documents = file["entry/documents"]
        assert json.loads(documents["amendments/data"][()]) == expected
        assert b"until it was changed" in documents["technique/description"][()]
    _, sidecar = export_run(run.uid, amended.data, to="bdf", output=tmp_path / "bdf")
    told = json.loads(sidecar.read_text())
    properties = {one["schema:name"]: one for one in told["schema:additionalProperty"]}
    assert properties["amendments"]["schema:value"]["@value"] == expected
    assert "Its protocol was changed while it ran: protocol 'fast'" in told["schema:description"]
    crate = tmp_path / "crate"
    crate.mkdir()
    parts = [part["@id"] for part in _asked(_Crate(crate), run)]
    assert parts == ["cell.yaml", "protocol.yaml", "protocol-2.yaml", "protocol-3.yaml"]
    for number, (one, asked) in enumerate(zip(run.asked, (FIRST, SECOND, THIRD), strict=True), 1):
        name = "protocol.yaml" if number == 1 else f"protocol-{number}.yaml"
        written = Protocol.model_validate(yaml.safe_load((crate / name).read_text()))
        assert written.name == asked.name
        assert written.limits.potential_min_v == asked.least_v
        assert written.technique.model_dump(mode="json") == one.technique


def test_who_begins_to_read_in_the_middle_knows_the_protocol(amended: Amended) -> None:
    run = amended.run
    (path,) = (Path(one.path) for one in list_runs(amended.data))
    (summary,) = list_runs(amended.data)
    assert summary.protocol == "slow, then fast, then slow"
    # Where only that is asked no row is read.
    told = Run.from_documents(telling_documents(path))
    assert set(told.streams) == {"requests", "programs"}
    assert [one.told for one in told.asked] == [one.told for one in run.asked]
    whole = {half.number: half for half in half_cycles_of(run)}
    later = Run.from_documents(documents(path, arrays=True, from_cycle=THIRD.cycles))
    assert later.changes == run.changes
    assert [one.first_cycle for one in later.asked] == [one.first_cycle for one in run.asked]
    for half in half_cycles_of(later):
        assert half.cycle == THIRD.cycles
        same = whole[half.number]
        assert (half.ended_by, half.cut_off_v) == (same.ended_by, same.cut_off_v)


def test_a_queue_accounts_for_what_was_asked_in_the_end(amended: Amended) -> None:
    from operando.queueing import daily, seen

    told = {"item": "i", "station": "s", "cell_id": "c", "runs": (amended.run.uid,)}
    experiment = seen._seen(amended.run, amended.run.start["sample"], told)
    assert experiment.planned == 2 * THIRD.cycles
    most = [half.most_mah_cm2 for half in experiment.halves[::2]]
    asked = [amended.told(half.number).charge for half in experiment.halves[::2]]
    assert most == pytest.approx(asked)
    (path,) = (Path(one.path) for one in list_runs(amended.data))
    last = daily._last_rows(path, amended.data)
    assert daily._planned(last.asked[-1].technique) == THIRD.cycles


def test_a_rerun_is_of_the_first_protocol_and_says_so(
    amended: Amended, caplog: pytest.LogCaptureFixture
) -> None:
    asked = recorded(amended.run.uid, amended.data)
    assert asked.protocol.technique == protocol(FIRST).technique
    assert "was changed while it ran, to protocol 'fast' from half-cycle" in caplog.text
    assert "What is run again is protocol 'slow', with which it began" in caplog.text
