"""A transient of 1000 rows a second: columns of a file instead of events, and nobody minds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from operando.analysis import metrics
from operando.catalog import (
    catalog_documents,
    close_catalog,
    ensure_service,
    open_catalog,
    stop_service,
    verify,
    wait_until_ingested,
)
from operando.journal import documents, journal_path, list_runs
from operando.runs import Run
from techniques import GalvanostaticStep, Limit, Protocol, Recording, Schedule

# Most of it is the catalog service starting, and the first import of its client.
pytestmark = pytest.mark.timeout(150)
CELL = PRESET = "zn-bare-half"
FAST_S, SLOW_S = 0.001, 0.01
DURATION_S = 1.5


def transient(dt_s: float, duration_s: float = DURATION_S) -> Protocol:
    step = GalvanostaticStep(
        role="plate",
        current_density_ma_cm2=1.0,
        until=(Limit(quantity="time_s", value=duration_s),),
        record=Recording(dt_s=dt_s, edge_dt_s=dt_s),
    )
    nobody = Schedule(burst_for_s=0, at_half_cycle_ends=False)
    return Protocol(name="transient", cell=CELL, technique=step, every=nobody)


@dataclass(frozen=True)
class Recorded:
    """The same transient recorded fast and slowly, and a fast one whose process was killed.

    The transients begin on the same fresh cell; the killed one's last row came at ``killed``.
    """

    data: Path
    fast: str
    slow: str
    killed: str


@pytest.fixture(scope="module")
def recorded(
    make_chain: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recorded]:
    chain = make_chain(PRESET, factor=1.0)
    fast, slow = (chain.run(transient(dt_s), CELL) for dt_s in (FAST_S, SLOW_S))
    protocol = chain.data.parent / "transient.yaml"
    protocol.write_text(yaml.safe_dump(transient(FAST_S, 600.0).model_dump(mode="json")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILED_PROFILES", str(tmp_path_factory.mktemp("profiles")))
        patch.setenv("OPERANDO_DATA", str(chain.data))
        with chain.simulated(leader_only=True):
            killed = killed_after(1000, chain.data, protocol)
        ensure_service(chain.data, wait_s=60, idle_s=60)
        try:
            for uid in (fast, slow, killed):
                wait_until_ingested(chain.data, uid, timeout_s=60)
            yield Recorded(chain.data, fast, slow, killed)
        finally:
            stop_service(chain.data)


def killed_after(rows: int, data: Path, protocol: Path) -> str:
    """Run ``protocol`` in a process that is killed when so many rows of all columns were announced.

    One announcement later, for the last one may be of some columns only.
    """
    before = {run.uid for run in list_runs(data)}
    command = [sys.executable, "-m", "operando.cli", "run", str(protocol)]
    with subprocess.Popen(
        [*command, "--only", "potentiostat"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        reached = 0
        while True:
            new = [run for run in list_runs(data) if run.uid not in before]
            told = new[0].rows.get("potentiostat", 0) if new else 0
            if told > reached >= rows:
                break
            reached = told
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    return new[0].uid


def potentiostat(run: Run) -> dict[str, Any]:
    columns = run.streams["potentiostat"].columns
    return {key.removeprefix("potentiostat_"): values for key, values in columns.items()}


def announced(recorded: Recorded, uid: str) -> int:
    """Return up to which row every column was announced."""
    last: dict[str, int] = {}
    keys: dict[str, str] = {}
    for name, doc in documents(journal_path(recorded.data, uid)):
        if name == "stream_resource":
            keys[doc["uid"]] = doc["data_key"]
        elif name == "stream_datum":
            last[keys[doc["stream_resource"]]] = doc["indices"]["stop"]
    assert len(last) == 10
    return min(last.values())


def test_every_row_is_there_once_in_order_and_with_its_own_time(recorded: Recorded) -> None:
    run = Run.from_journal(recorded.fast, recorded.data)
    t = potentiostat(run)["t"]
    np.testing.assert_allclose(t, FAST_S * np.arange(1, 1501), atol=1e-6)
    assert len(run.streams["potentiostat"]) == announced(recorded, recorded.fast) == len(t)
    stamps = run.streams["potentiostat"].time
    assert np.all(np.diff(stamps) > -1e-3)
    assert stamps[-1] - stamps[0] == pytest.approx(DURATION_S, abs=0.5)
    assert run.stop is not None
    assert run.stop["num_events"]["potentiostat"] == len(t)


def test_no_row_of_a_fast_transient_travels_in_an_event(recorded: Recorded) -> None:
    fast, slow = (
        [name for name, _ in documents(journal_path(recorded.data, uid))]
        for uid in (recorded.fast, recorded.slow)
    )
    assert fast.count("event_page") == 0
    assert fast.count("stream_resource") == 10
    assert slow.count("event_page") > 5
    assert slow.count("stream_resource") == 0


def test_stream_keys_units_and_values_are_those_of_pages(recorded: Recorded) -> None:
    fast, slow = (
        Run.from_journal(uid, recorded.data).streams["potentiostat"]
        for uid in (recorded.fast, recorded.slow)
    )
    assert set(fast.columns) == set(slow.columns)
    assert fast.units == slow.units
    assert fast.configuration == slow.configuration
    assert not fast.assets
    ours, theirs = fast.columns, slow.columns
    assert all(values.dtype == np.float64 for values in ours.values())
    same = np.searchsorted(ours["potentiostat_t"], theirs["potentiostat_t"] - FAST_S / 2)
    for key in ("t", "current", "role", "half_cycle", "step", "cycle"):
        np.testing.assert_allclose(
            ours[f"potentiostat_{key}"][same], theirs[f"potentiostat_{key}"], atol=2e-6
        )
    # The double layer charges by 0.1 V/s, the noise is below 1 mV; how long the cell rested before
    # its program shifts the whole transient by some mV.
    difference_v = ours["potentiostat_potential"][same] - theirs["potentiostat_potential"]
    shift_v = np.median(difference_v)
    assert abs(shift_v) < 0.02
    assert np.abs(difference_v - shift_v).max() < 2e-3


def test_analysis_does_not_tell_columns_from_pages(recorded: Recorded) -> None:
    fast, slow = (
        metrics(Run.from_journal(uid, recorded.data)) for uid in (recorded.fast, recorded.slow)
    )
    defined = [name for name, metric in slow.items() if metric.value is not None]
    assert defined == [name for name, metric in fast.items() if metric.value is not None]
    assert "plateau_overpotential_mv" in defined
    for name in defined:
        # Potentials are shifted by the rest before the program, as above.
        shift = 20.0 if name.endswith("_mv") else None
        assert fast[name].value == pytest.approx(slow[name].value, rel=1e-2, abs=shift), name


@pytest.mark.long
def test_the_catalog_shows_the_same_as_the_journal(recorded: Recorded) -> None:
    for uid in (recorded.fast, recorded.killed):
        here = Run.from_journal(uid, recorded.data).streams["potentiostat"]
        there = Run.from_catalog(uid, recorded.data).streams["potentiostat"]
        assert set(here.columns) == set(there.columns)
        for key, values in here.columns.items():
            np.testing.assert_array_equal(values, there.columns[key])
        np.testing.assert_array_equal(here.time, there.time)
        assert here.units == there.units
        outcome = verify(uid, recorded.data)
        assert outcome.same, outcome
        made_again = Run.from_documents(catalog_documents(uid, recorded.data))
        for key, values in made_again.streams["potentiostat"].columns.items():
            np.testing.assert_array_equal(values, here.columns[key])


def test_databroker_reads_a_fast_transient_as_it_reads_a_slow_one(recorded: Recorded) -> None:
    catalog = open_catalog(recorded.data)
    try:
        fast, slow = (catalog[uid]["potentiostat"].read() for uid in (recorded.fast, recorded.slow))
    finally:
        close_catalog(catalog)
    assert set(fast.data_vars) == set(slow.data_vars)
    assert list(fast.coords) == list(slow.coords) == ["time"]
    here = Run.from_journal(recorded.fast, recorded.data).streams["potentiostat"].time
    np.testing.assert_array_equal(fast["time"], here)


def test_the_command_line_reports_the_transient(recorded: Recorded) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "operando.cli", "report", recorded.fast],
        env={**os.environ, "OPERANDO_DATA": str(recorded.data)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "potentiostat 1500" in told
    assert "plated_capacity_mah_cm2" in told


def test_a_killed_transient_keeps_every_announced_row(recorded: Recorded) -> None:
    run = Run.from_journal(recorded.killed, recorded.data)
    rows = announced(recorded, recorded.killed)
    assert rows >= 1000
    t = potentiostat(run)["t"]
    np.testing.assert_allclose(t, FAST_S * np.arange(1, rows + 1), atol=1e-6)
    assert all(len(values) == rows for values in potentiostat(run).values())
    assert run.stop is not None
    assert run.stop["exit_status"] == "fail"
    resources = [
        doc
        for name, doc in documents(journal_path(recorded.data, recorded.killed))
        if name == "stream_resource"
    ]
    path = resources[0]["uri"].removeprefix("file://localhost")
    with pytest.raises(OSError, match="consistency flags"):
        h5py.File(path, "r")
