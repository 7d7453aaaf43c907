"""What the record of other runs says of an experiment that is to be resumed, and of its logs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from operando.journal import log_may_go
from operando.resume import (
    Decisions,
    ResumeError,
    _limits_of_cell_file,
    interrupted_experiment,
)
from techniques import Cell, GalvanostaticStep

ELECTRODE = {"material": "Cu", "area_cm2": 1.0}
TECHNIQUE = GalvanostaticStep.model_validate(
    {
        "role": "plate",
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "charge_mah_cm2", "value": 1.0}],
    }
).model_dump(mode="json")
Record = Callable[..., str]


def sample(cell_id: str) -> dict[str, Any]:
    return {
        "cell_id": cell_id,
        "metal": "Zn",
        "working_electrode": ELECTRODE,
        "counter_electrode": ELECTRODE | {"material": "Zn", "metal": "Zn"},
        "electrolyte": {"composition": "2 M ZnSO4"},
    }


def metadata(cell_id: str = "C1", serial: str = "S1", **more: Any) -> dict[str, Any]:
    identity = {"identity": {"serial_number": serial}}
    return {
        "plan_name": "operando_plating_stripping",
        "technique": TECHNIQUE,
        "sample": sample(cell_id),
        "bench": {"instruments": {"potentiostat": identity}},
        **more,
    }


def resumed(of: str, **more: Any) -> dict[str, Any]:
    told = {"of": of, "root": of, "refused": None, **more}
    return metadata(plan_name="continue_plating_stripping", resume=told, resume_of=of)


@pytest.mark.parametrize(
    ("cell_id", "serial", "noticed"),
    [("C1", "S1", True), ("C1", "S2", True), ("C2", "S1", True), ("C2", "S2", False)],
)
def test_a_later_run_on_the_cell_or_the_potentiostat_has_to_be_decided_on(
    tmp_path: Path, record_run: Record, cell_id: str, serial: str, noticed: bool
) -> None:
    record_run(tmp_path, 5, scan_id=1, **metadata())  # before: another matter
    first = record_run(tmp_path, 5, stop=False, scan_id=2, **metadata())
    later = record_run(tmp_path, 5, scan_id=3, **metadata(cell_id, serial))
    if not noticed:
        with interrupted_experiment(tmp_path, first) as experiment:
            assert experiment.since == ()
        return
    told = rf"{later[:8]} \({cell_id}, [\s\S]*--same-cell"
    with pytest.raises(ResumeError, match=told), interrupted_experiment(tmp_path, first):
        pass
    with interrupted_experiment(tmp_path, first, Decisions(same_cell=True)) as experiment:
        assert experiment.since == (later,)


def test_a_run_that_the_clock_dates_back_is_noticed_by_its_number(
    tmp_path: Path, record_run: Record
) -> None:
    first = record_run(tmp_path, 5, stop=False, scan_id=2, **metadata())
    later = record_run(tmp_path, 5, scan_id=3, **metadata(time=time.time() - 1e6))
    with (
        pytest.raises(ResumeError, match=later[:8]),
        interrupted_experiment(tmp_path, first),
    ):
        pass


def test_the_runs_of_the_experiment_itself_are_no_other_runs(
    tmp_path: Path, record_run: Record
) -> None:
    first = record_run(tmp_path, 5, stop=False, scan_id=1, **metadata())
    second = record_run(tmp_path, 5, stop=False, scan_id=2, **resumed(first))
    with interrupted_experiment(tmp_path, first) as experiment:
        assert [run.uid for run in experiment.runs] == [first, second]
        assert experiment.since == ()


def log_name(number: int) -> str:
    return f"{int(time.time()):08x}-{number:08x}"


def test_a_log_may_go_once_every_row_of_it_is_in_the_record(
    tmp_path: Path, record_run: Record
) -> None:
    complete, dead, collected = (log_name(n) for n in range(3))
    record_run(tmp_path, 5, **metadata(instrument_log={"name": complete}))
    record_run(tmp_path, 5, stop=False, **metadata(instrument_log={"name": dead}))
    assert log_may_go(tmp_path, complete)
    assert not log_may_go(tmp_path, dead)
    assert not log_may_go(tmp_path, log_name(9)), "it may be that of another data folder"
    assert not log_may_go(tmp_path, "nonsense")

    root = record_run(tmp_path, 5, stop=False, **metadata(instrument_log={"name": collected}))
    # This resume died before it had recorded all the rows that it had collected.
    second = record_run(tmp_path, 5, stop=False, **resumed(root, collected_rows=40))
    assert not log_may_go(tmp_path, collected)
    third = resumed(root, collected_rows=35)
    third["resume"]["of"] = root
    third["resume_of"] = second
    record_run(tmp_path, 50, stop=False, **third)
    assert log_may_go(tmp_path, collected)


def test_the_experiment_is_named_before_anything_is_connected(
    tmp_path: Path, record_run: Record
) -> None:
    first = record_run(tmp_path, 5, stop=False, **metadata(protocol="cycling"))
    with interrupted_experiment(tmp_path, first) as experiment:
        assert experiment.told.startswith("Cell 'C1', protocol 'cycling', begun 20")
        assert first[:8] in experiment.told


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        ({}, False),
        ({"potential_max_v": 0.8}, False),
        ({"potential_max_v": 1.5}, True),
        ({"potential_max_v": None}, True),
    ],
)
def test_a_cell_file_may_tighten_limits_and_change_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limits: dict[str, Any],
    refused: bool,
) -> None:
    cell = Cell.model_validate(sample("C1") | {"limits": {"potential_max_v": 1.0}})
    cells = tmp_path / "cells"
    cells.mkdir()
    (tmp_path / "protocols").mkdir()
    for name in ("bench.yaml", "sim.yaml"):
        (tmp_path / name).touch()
    monkeypatch.setenv("OPERANDO_CONFIG", str(tmp_path))
    told = cell.model_dump(mode="json")
    told["limits"] |= limits
    (cells / "ours.yaml").write_text(yaml.safe_dump(told))
    (cells / "a-broken-one.yaml").write_text("cell_id: X\n")
    if refused:
        with pytest.raises(ResumeError, match=r"has changed since the experiment began \(limits"):
            _limits_of_cell_file(cell)
    else:
        assert _limits_of_cell_file(cell) == cell.limits.model_copy(update=limits)
    assert "a-broken-one cannot be compared" in caplog.text
    (cells / "ours.yaml").write_text(yaml.safe_dump(told | {"metal": "Na"}))
    with pytest.raises(ResumeError, match="metal"):
        _limits_of_cell_file(cell)
