"""Another cell is put into the leads of a simulated bench, and every instrument sees that one."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operando.configuration import load_cell
from operando.runs import Run
from sim_devices.bench import Bench
from sim_devices.cell import NAMES, make_cell
from sim_devices.mounting import MountRefusedError, ask_for_mount
from techniques import Protocol, StopCell

pytestmark = pytest.mark.timeout(180)
FIRST, SECOND = "zn-bare-half", "zn-zro2-half"


def test_the_second_cell_is_fresh_and_has_a_truth_of_its_own(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain(FIRST, factor=2000.0, instruments=["potentiostat"])
    protocol, lasting = plate_strip(FIRST, 2.0, 0.2), plate_strip(FIRST, 1.0, 4.5)
    refused: list[str] = []

    def meddle() -> None:
        while not chain.truth("potentiostat", "cell_on"):
            time.sleep(0.002)
        try:
            ask_for_mount(chain.sim, SECOND, 1)
        except MountRefusedError as error:
            refused.append(str(error))
        session.requests.put(StopCell(by="Ada", why="that was all"))

    with chain.simulated(leader_only=True), chain.session() as session:
        thread = threading.Thread(target=meddle)
        thread.start()
        uids = [session.run_protocol(lasting, cell=load_cell(FIRST))]
        thread.join()
        command = [sys.executable, "-m", "sim_devices", "--publish", str(chain.sim)]
        done = subprocess.run(
            [*command, "--mount", SECOND, "--seed", "5"], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (
            0,
            f"cell 2 of this bench: {SECOND}, seed 5\n",
        )
        for _ in range(2):
            uids.append(session.run_protocol(protocol, cell=load_cell(SECOND)))
    assert refused == [f"the potentiostat drives the cell {FIRST}: it is changed while it is open"]
    runs = [Run.from_journal(uid, chain.data) for uid in uids]
    told = [run.start["simulated_cell"] for run in runs]
    assert told == [{"cell": FIRST, "seed": 0}, *[{"cell": SECOND, "seed": 5}] * 2]
    # One bench, one time; and each cell's own life.
    ends = [chain.truth(name, "end")[-1] for name in ("cell", "cell-2")]
    assert ends[0]["cell_t_s"] < ends[1]["cell_t_s"]
    made = [chain.truth(name, "made")[0]["name"] for name in ("cell", "cell-2")]
    assert made == [FIRST, SECOND]
    assert len(chain.truth("cell-2", "turn")) == 2 * 2  # plating and strip of each run


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("dummy-10ohm", "is of another kind"),
        ("blind-zn-half", "is of another kind"),
        ("zn-nothing", "no cell is called 'zn-nothing'"),
    ],
)
def test_a_cell_of_another_kind_is_refused(tmp_path: Path, cell: str, why: str) -> None:
    bench = Bench(tmp_path, FIRST, instruments=["potentiostat"])
    try:
        with pytest.raises(MountRefusedError, match=why):
            ask_for_mount(tmp_path, cell, 0)
        with (tmp_path / "mount").open("a") as file:
            file.write('not a cell\n[]\n{"cell": "zn-bare"}\n')
        assert ask_for_mount(tmp_path, "zn-bare", 0) == 3
    finally:
        bench.close()
    assert not (tmp_path / "mount").exists()
    assert not (tmp_path / "mounted").exists()


def test_nobody_answers_where_no_simulator_runs(tmp_path: Path) -> None:
    with pytest.raises(MountRefusedError, match="has answered within"):
        ask_for_mount(tmp_path, FIRST, 0, timeout_s=0.05)


@pytest.mark.parametrize("name", ["zn-zro2", "na-znag-half", "dummy-rc"])
def test_a_cell_that_became_another_is_that_one(name: str) -> None:
    used = make_cell("dummy-2rc" if name.startswith("dummy") else "zn-bare", 1)
    used.advance(600.0, "i", -1.0)
    before = used.t
    used.become(make_cell(name, 7))  # type: ignore[arg-type]
    fresh = make_cell(name, 7)
    assert used.t == before
    assert name in NAMES
    for cell in (used, fresh):
        cell.advance(100.0, "i", -0.5)
    assert used.advance(200.0, "i", 0.5) == fresh.advance(200.0, "i", 0.5)
    one, other = used.summary(), fresh.summary()
    assert json.dumps(one) == json.dumps(other)
