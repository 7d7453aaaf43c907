"""A host that dies while the potential of the cell is set: what the instrument does, and we."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operando.configuration import load_bench
from operando.journal import documents, journal_path, list_runs
from operando.resume import resume
from operando.runs import Run
from operando.session import Session
from techniques import Protocol, Schedule

pytestmark = pytest.mark.timeout(240)
FACTOR = 400.0
PLATE, STRIP, VOLTAMMOGRAM = -1, 1, 6
AREA_CM2 = 1.131
RECORD = {"dt_s": 1.0, "edge_dt_s": 1.0}


def protocol(step: dict[str, Any]) -> Protocol:
    plate = {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": 5.0,
        "until": [{"quantity": "charge_mah_cm2", "value": 0.1}],
        "record": RECORD,
    }
    return Protocol.model_validate(
        {
            "name": "set potentials",
            "cell": "zn-bare-half",
            "technique": {"type": "sequence", "steps": [plate, step]},
            "every": Schedule(),
        }
    )


@pytest.fixture
def interrupted(broken: Any) -> Callable[..., list[Run]]:
    """Return what runs a protocol, kills its host in the last step and resumes it: both runs."""

    def run_of(uid: str) -> Run:
        return Run.from_documents(documents(journal_path(broken.data, uid)))

    def run(role: int, step: dict[str, Any]) -> list[Run]:
        path: Path = broken.write_protocol(protocol(step))
        after = [("potentiostat", 60, role)]
        # The instrument goes on by itself, in this step however long it takes to connect.
        hold = {"after_s": 300.0}
        with broken.serve("potentiostat", factor=FACTOR):
            broken.die("run", str(path), "--only", "potentiostat", after=after, hold=hold)
            only = load_bench("sim").only({"potentiostat"})
            with Session(only, broken.data, catalog=False) as session:
                resume(session, "last")
            assert not broken.cell_is_on()
        return [run_of(x.uid) for x in reversed(list_runs(broken.data))]

    return run


def column(runs: list[Run], quantity: str) -> Any:
    return np.concatenate(
        [run.streams["potentiostat"].columns[f"potentiostat_{quantity}"] for run in runs]
    )


def test_a_hold_goes_on_for_the_time_that_is_left_after_its_host_was_killed(
    interrupted: Callable[..., list[Run]], broken: Any
) -> None:
    runs = interrupted(
        STRIP,
        {
            "type": "potentiostatic_step",
            "role": "strip",
            "potential_v": 0.02,
            "until": [{"quantity": "time_s", "value": 600.0}],
            "record": RECORD,
        },
    )
    assert runs[1].stop is not None
    assert runs[1].stop["exit_status"] == "success"
    assert runs[1].start["resume"]["collected_rows"] > 10
    t, step, step_t = (column(runs, x) for x in ("t", "step", "step_t"))
    role, half, current = (column(runs, x) for x in ("role", "half_cycle", "current"))
    assert np.all(np.diff(t) > 0)
    assert set(half[role == STRIP]) == {2.0}
    parts = [step == number for number in np.unique(step[role == STRIP])]
    assert len(parts) == 2
    assert sum(step_t[part][-1] for part in parts) == pytest.approx(600.0, abs=1.5)
    assert np.median(column(runs, "potential")[role == STRIP]) == pytest.approx(0.02, abs=3e-4)
    charge = 0.0
    for part in parts:
        times = np.concatenate(([0.0], step_t[part]))
        density = current[part] * 1e3 / AREA_CM2
        density = np.concatenate((density[:1], density))
        charge += float(np.sum(np.diff(times) * (density[1:] + density[:-1]) / 2)) / 3600
    (end,) = broken.truth("cell", "end")
    assert charge == pytest.approx(end["working"]["charge_anodic"], rel=5e-3)


def test_a_voltammetry_is_repeated_after_its_host_was_killed(
    interrupted: Callable[..., list[Run]],
) -> None:
    runs = interrupted(
        VOLTAMMOGRAM,
        {
            "type": "cyclic_voltammetry",
            "begin_v": 0.0,
            "vertex1_v": 0.05,
            "vertex2_v": -0.05,
            "scan_rate_v_s": 0.0005,
        },
    )
    assert runs[1].stop is not None
    assert runs[1].stop["exit_status"] == "success"
    step, role = column(runs, "step"), column(runs, "role")
    potential = column(runs, "potential")
    parts = [potential[step == number] for number in np.unique(step[role == VOLTAMMOGRAM])]
    assert len(parts) == 2
    assert len(parts[0]) < 201
    assert len(parts[1]) == 201
    assert [parts[1].max(), parts[1].min()] == pytest.approx([0.05, -0.05], abs=1e-3)
