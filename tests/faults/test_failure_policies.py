"""A potentiostat that fails in a step, and what the failure policy of that step makes of it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operando.analysis.metrics import half_cycles_of, metrics
from operando.configuration import load_bench, load_cell
from operando.journal import documents, journal_path, list_runs
from operando.questions import questions
from operando.report import text_report
from operando.resume import resume
from operando.runs import Run
from operando.session import RunFailedError, Session
from techniques import Protocol

pytestmark = pytest.mark.timeout(120)
FACTOR = 400.0
CHARGE = 0.1  # mAh/cm2 a plating, 360 s at 1 mA/cm2
PLATE, STRIP, LOST_BEFORE = -1, 1, 16
QUICK = {"times": 2, "wait_s": 0.05, "growth": 2.0}


def cycle(policy: dict[str, Any] | None = None, **of_steps: dict[str, Any]) -> Protocol:
    """One plating and one strip; a policy of the protocol, and policies of ``plate``, ``strip``."""
    record = {"dt_s": 1.0, "edge_dt_s": 1.0}
    half = {"current_density_ma_cm2": 1.0, "record": record}
    plate: dict[str, Any] = half | {"until": [{"quantity": "charge_mah_cm2", "value": CHARGE}]}
    strip: dict[str, Any] = half | {
        "until": [
            {"quantity": "potential_above_v", "value": 0.5},
            {"quantity": "charge_mah_cm2", "value": 1.5 * CHARGE, "action": "stop"},
        ]
    }
    told: dict[str, Any] = {"plate": plate, "strip": strip}
    for name, one in of_steps.items():
        told[name]["on_failure"] = one
    technique = {"type": "plate_strip_cycle", "rest_s": 10, **told}
    more = {} if policy is None else {"on_failure": policy}
    return Protocol.model_validate(
        {"name": "a cycle", "cell": "zn-bare-half", "technique": technique, "rules": [], **more}
    )


class Cable:
    """A serial cable between the bench and a simulated instrument, which can be pulled.

    To the driver it is the device at the published address; each time it is plugged in it is
    another one, as those of USB are.
    """

    def __init__(self, published: Path) -> None:
        self._published = published
        self._address = published.read_text()
        self._instrument = os.open(self._address.strip().partition("://")[2], os.O_RDWR)
        tty.setraw(self._instrument)
        self._ended = threading.Event()
        self._host: int | None = None
        self._thread: threading.Thread | None = None

    def plug(self) -> None:
        host, device = os.openpty()
        tty.setraw(device)
        part = self._published.with_suffix(".part")
        part.write_text(f"serial://{os.ttyname(device)}")
        part.replace(self._published)
        self._ended.clear()
        self._host, self._device = host, device
        self._thread = threading.Thread(target=self._carry, args=(host,), daemon=True)
        self._thread.start()

    def pull(self) -> None:
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None
            assert self._host is not None
            os.close(self._device)
            os.close(self._host)

    def close(self) -> None:
        self.pull()
        os.close(self._instrument)
        self._published.write_text(self._address)

    def _carry(self, host: int) -> None:
        ways = {host: self._instrument, self._instrument: host}
        while not self._ended.is_set():
            for end in select.select(list(ways), [], [], 0.01)[0]:
                os.write(ways[end], os.read(end, 4096))


class Bench:
    """A simulated potentiostat, and a session that runs on it in this process."""

    def __init__(self, broken: Any, wait_for: Callable[..., None]) -> None:
        self.broken = broken
        self.wait_for = wait_for
        self.told: list[str] = []

    @contextlib.contextmanager
    def session(self, factor: float = FACTOR) -> Iterator[Session]:
        bench = load_bench("sim").only({"potentiostat"})
        with (
            self.broken.serve("potentiostat", factor=factor),
            Session(bench, self.broken.data, catalog=False) as session,
        ):
            session._tell = self.told.append  # type: ignore[method-assign]
            session.devices["potentiostat"]._driver._added_patience_s = 1.0
            yield session

    def run(self, session: Session, protocol: Protocol) -> str:
        return session.run_protocol(protocol, cell=load_cell("zn-bare-half"))

    @property
    def chain(self) -> list[Run]:
        uids = [one.uid for one in reversed(list_runs(self.broken.data))]
        return [Run.from_documents(documents(journal_path(self.broken.data, x))) for x in uids]

    @property
    def experiment(self) -> Run:
        return Run.from_journal("last", self.broken.data)

    def whole(self) -> None:
        """No row twice, none filled in, every counter goes on."""
        columns = self.experiment.streams["potentiostat"].columns
        for name in ("t", "step", "half_cycle", "cycle"):
            steps = np.diff(columns[f"potentiostat_{name}"])
            assert np.all(steps > 0 if name == "t" else steps >= 0)
        assert np.all(np.isfinite(columns["potentiostat_current"]))
        assert not np.any(columns["potentiostat_flags"].astype(int) & LOST_BEFORE)

    def charge(self, number: int) -> float:
        halves = {half.number: half for half in half_cycles_of(self.experiment)}
        return float(halves[number].capacity_mah_cm2)


@pytest.fixture
def bench(broken: Any, wait_for: Callable[..., None]) -> Bench:
    return Bench(broken, wait_for)


@contextlib.contextmanager
def after_rows(session: Session, role: int, rows: int, action: Callable[[], object]) -> Any:
    """Do something once, in a thread of its own, when so many rows of a role have come."""
    seen: list[float] = []
    done: list[threading.Thread] = []

    def look(row: Any) -> None:
        if getattr(row, "role", None) == role:
            seen.append(row.t_s)
        if len(seen) >= rows and not done:
            done.append(threading.Thread(target=action))
            done[0].start()

    unsubscribe = session.devices["potentiostat"].on_measured(look)
    try:
        yield
    finally:
        unsubscribe()
    assert done
    done[0].join()


def test_after_a_cable_that_returns_the_step_goes_on_where_it_stood(bench: Bench) -> None:
    retry = {"times": 3, "wait_s": 0.2, "growth": 2.0}
    with bench.session() as session:
        session.bench.close()
        cable = Cable(bench.broken.sim / "potentiostat")
        cable.plug()
        session.bench.connect()

        def wiggle() -> None:
            cable.pull()
            time.sleep(0.3)  # beyond the first attempt
            cable.plug()

        with after_rows(session, PLATE, 60, wiggle):
            uid = bench.run(session, cycle({"retry": retry}))
        assert not bench.broken.cell_is_on()
        cable.close()
    failed, resumed = bench.chain
    assert resumed.uid == uid
    assert failed.start["on_failure"]["retry"] == retry
    assert failed.stop is not None
    assert (failed.stop["exit_status"], "cable" in failed.stop["reason"]) == ("fail", True)
    told = resumed.start["recovery"]
    assert told["failed_run"] == failed.uid
    assert told["step"] == "plate step (cycle 1, half-cycle 1)"
    first, *_, last = told["attempts"]
    assert (first["number"], first["waited_s"], first["identified"]) == (1, 0.2, None)
    assert "potentiostat" in first["failure"]
    assert last["identified"]["serial_number"] == "ES4HR24C0000"
    assert last["failure"] is None
    assert last["waited_s"] == 0.2 * 2 ** (len(told["attempts"]) - 1)
    # What the instrument measured meanwhile was collected from its own log.
    assert resumed.start["resume"]["collected_rows"] > 0
    assert resumed.start["resume"]["checks"]["passed"]
    bench.whole()
    assert bench.charge(1) == pytest.approx(CHARGE, rel=2e-3)
    report = text_report(bench.experiment)
    assert f"{failed.uid[:8]} failed in plate step" in report
    assert "tried to go on, attempt 1, 0.2 s after the failure before: " in report
