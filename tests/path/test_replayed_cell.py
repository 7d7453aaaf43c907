"""A recorded run becomes the cell: drivers, plans and analysis meet real history on the wire."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from operando import cli
from operando.analysis import Metric, metrics
from operando.configuration import load_bench, load_cell
from operando.history import write_history
from operando.journal import documents, journal_path, resolve_uid
from operando.rerun import rerun
from operando.runs import Run
from operando.session import Session
from operando.simulation import SimulatedBench
from techniques import ImpedanceSpectrum, Protocol

CELL = "na-znag-half"
FACTOR = 20_000
LEADER = ("potentiostat",)
RECORD = {"dt_s": 30.0, "de_v": 0.002, "edge_dt_s": 1.0, "edge_for_s": 450.0}


@dataclass(frozen=True)
class Original:
    data: Path
    sim: Path
    uid: str
    protocol: Protocol
    history: Path

    def on_the_replayed_cell(self, run: Callable[[Session], str]) -> str:
        """Run something on a simulated bench whose cell is the original run."""
        with (
            SimulatedBench(self.history, FACTOR, instruments=LEADER, directory=self.sim),
            Session(load_bench("sim").only(set(LEADER)), self.data, catalog=False) as session,
        ):
            return run(session)

    def start(self, uid: str) -> dict[str, Any]:
        return next(doc for _, doc in documents(journal_path(self.data, uid)))

    def stored(self, uid: str) -> Run:
        return Run.from_journal(uid, self.data)


@pytest.fixture(scope="module")
def protocol(plate_strip: Callable[..., Protocol]) -> Protocol:
    """Two cycles with an impedance spectrum of the plated electrode in each."""
    protocol = plate_strip(CELL, 0.5, 0.5, cycles=2, record=RECORD)
    rest, cycle = protocol.technique.steps
    spectrum = ImpedanceSpectrum(
        amplitude_rms_v=0.005, frequency_max_hz=1e5, frequency_min_hz=0.1, points_per_decade=6
    )
    cycle = cycle.model_copy(update={"between": spectrum})
    technique = protocol.technique.model_copy(update={"steps": (rest, cycle)})
    return protocol.model_copy(update={"technique": technique})


@pytest.fixture(scope="module")
def original(make_chain: Callable[..., Any], protocol: Protocol) -> Original:
    chain = make_chain("na-znag", factor=FACTOR)
    uid = chain.run(protocol, CELL)
    history = chain.sim / "history.h5"
    assert write_history(Run.from_journal(uid, chain.data), history) == LEADER
    return Original(chain.data, chain.sim, uid, protocol, history)


@pytest.fixture(scope="module")
def replayed(original: Original) -> str:
    """Return the re-run of the original protocol, on the original cell as it was recorded."""
    return original.on_the_replayed_cell(
        lambda session: session.run_protocol(original.protocol, cell=load_cell(CELL))
    )


def numbers(original: Original, uid: str) -> dict[str, Metric]:
    return dict(metrics(original.stored(uid)))


def test_the_original_protocol_gives_the_original_numbers(
    original: Original, replayed: str
) -> None:
    before, after = numbers(original, original.uid), numbers(original, replayed)
    # One row in the end of a half-cycle; a converter's step; the noise between two rows.
    for name, relative, absolute in (
        ("ce_pct", 0.0, 0.05),
        ("cell_eta_n_mv", 0.0, 0.1),
        ("interfacial_resistance_ohm", 2e-3, 0.0),
        ("series_resistance_ohm", 2e-3, 0.0),
        ("plated_capacity_mah_cm2", 1e-3, 0.0),
    ):
        assert before[name].value is not None
        np.testing.assert_allclose(
            after[name].value, before[name].value, rtol=relative, atol=absolute, err_msg=name
        )


def test_its_start_says_whose_history_the_cell_was(original: Original, replayed: str) -> None:
    start = original.start(replayed)
    assert start["uid"] == replayed != original.uid
    assert start["replay_of"] == original.uid
    assert start["provenance"] == {"kind": "replayed_cell", "of": original.uid}
    assert not {"replay_of", "provenance"} & set(original.start(original.uid))


def test_the_same_protocol_twice_gives_the_same_rows(original: Original, replayed: str) -> None:
    again = original.on_the_replayed_cell(
        lambda session: session.run_protocol(original.protocol, cell=load_cell(CELL))
    )
    for stream in ("potentiostat", "impedance"):
        first, second = (original.stored(uid).streams[stream] for uid in (replayed, again))
        for key, column in first.columns.items():
            np.testing.assert_array_equal(second.columns[key], column)


def test_half_the_charge_meets_the_same_cell(
    original: Original, plate_strip: Callable[..., Protocol]
) -> None:
    half = plate_strip(CELL, 0.5, 0.25, cycles=2, record=RECORD)
    uid = original.on_the_replayed_cell(
        lambda session: session.run_protocol(half, cell=load_cell(CELL))
    )
    before, after = numbers(original, original.uid), numbers(original, uid)
    np.testing.assert_allclose(after["plated_capacity_mah_cm2"].value, 0.25, rtol=2e-3)
    np.testing.assert_allclose(after["ce_pct"].value, before["ce_pct"].value, atol=0.1)
    np.testing.assert_allclose(
        after["cell_eta_n_mv"].value, before["cell_eta_n_mv"].value, atol=0.1
    )


def test_a_rerun_takes_the_recorded_protocol_to_a_new_sample(original: Original) -> None:
    uid = original.on_the_replayed_cell(
        lambda session: rerun(session, original.uid[:8], cell="na-bare-half", md={"note": "again"})
    )
    start, before = original.start(uid), original.start(original.uid)
    assert start["sample"]["cell_id"] != before["sample"]["cell_id"]
    for part in ("technique", "every", "protocol"):
        assert start[part] == before[part]
    assert start["limits"]["protocol"] == before["limits"]["protocol"]
    assert (start["note"], start["replay_of"]) == ("again", original.uid)
    # Both are told: whose protocol it is, and that the cell was no real one.
    assert start["provenance"] == {
        "kind": "rerun", "of": original.uid, "replayed_cell": original.uid
    }  # fmt: skip


def test_a_history_written_by_hand_is_a_cell_as_well(original: Original, tmp_path: Path) -> None:
    columns = original.stored(original.uid).streams["potentiostat"].columns
    history = tmp_path / "cell.h5"
    with h5py.File(history, "w") as file:
        file.attrs.update(format="anode-cell-history", version=1, area_cm2=1.131)
        file.attrs.update(source="somebody's cycler", metal_electrode="WE")
        for name, key in (("t_s", "t"), ("potential_v", "potential"), ("current_a", "current")):
            file[f"rows/{name}"] = columns[f"potentiostat_{key}"]
    by_hand = replace(original, history=history, sim=tmp_path / "sim")
    uid = by_hand.on_the_replayed_cell(
        lambda session: session.run_protocol(original.protocol, cell=load_cell(CELL))
    )
    before, after = numbers(original, original.uid), numbers(original, uid)
    np.testing.assert_allclose(after["ce_pct"].value, before["ce_pct"].value, atol=0.1)
    measured = original.stored(uid).streams["impedance"].columns
    np.testing.assert_allclose(measured["potentiostat_impedance_z_real"], 10.0, rtol=1e-6)
    truth = (tmp_path / "sim" / "sim_truth" / "cell.jsonl").read_text()
    assert '"impedance_not_recorded"' in truth
    start = original.start(uid)
    assert start["provenance"] == {"kind": "replayed_cell", "of": "somebody's cycler"}
    assert "replay_of" not in start


def test_the_command_line_runs_on_a_recorded_cell_and_refuses_what_it_does_not_hold(
    original: Original, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(original.data))
    asked = ["rerun", original.uid[:8], "--replay", original.uid[:8], "--factor", str(FACTOR)]
    assert cli.main(asked) == cli.REFUSED
    told = capsys.readouterr().err
    assert "camera: not recorded in this run" in told
    assert "--only relay_board,potentiostat" in told
    assert cli.main([*asked, "--only", "potentiostat"]) == cli.OK
    told = capsys.readouterr().out
    assert f"the recorded cell of run {original.uid[:8]}" in told
    start = original.start(resolve_uid(original.data, "last"))
    assert start["sample"] == original.start(original.uid)["sample"]
    assert start["provenance"]["kind"] == "rerun"
    missing = ["run", "zinc-operando", "--replay", "ffff"]
    assert cli.main(missing) == cli.REFUSED
    assert "no run 'ffff'" in capsys.readouterr().err
