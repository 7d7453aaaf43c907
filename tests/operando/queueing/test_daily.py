"""The day at all stations: its numbers are those of the runs, whole or sampled, open or closed."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operando import cli
from operando.analysis import metrics
from operando.journal import JournalWriter, list_runs
from operando.queueing import daily
from operando.queueing.alerts import Alerts, recent
from operando.queueing.daily import table, the_day, write_day
from operando.queueing.errors import QueueError
from operando.queueing.model import Record
from operando.runs import Run
from techniques.queueing import AlertSettings

STEP = {"type": "galvanostatic_step", "current_density_ma_cm2": 1.0, "record": {"dt_s": 10}}
TECHNIQUE = {
    "type": "plate_strip_cycle",
    "cycles": 10,
    "plate": {**STEP, "role": "plate", "until": [{"quantity": "charge_mah_cm2", "value": 0.5}]},
    "strip": {
        **STEP,
        "role": "strip",
        "until": [
            {"quantity": "potential_above_v", "value": 0.5},
            {"quantity": "charge_mah_cm2", "value": 0.6},
        ],
    },
    "rest_s": 60,
}
EFFICIENCIES = (0.9, 0.95, 0.97, 0.98, 0.985, 0.99)


@pytest.fixture
def cycling(tmp_path: Path, make_run: Callable[..., Any], synthetic: Any) -> Callable[..., Any]:
    """Return what lets a cell cycle until now, and its journal's writer."""

    def make(cell: Any, station: str = "A1", stop: str | None = None, **start: Any) -> Any:
        documents = make_run(cell, uid=f"7d1f0a52-0000-4000-8000-{time.time_ns() % 10**12:012d}")
        columns = synthetic.galvanostatic(EFFICIENCIES, rows=60)
        queue = {"item": f"item-{station}", "station": station, "label": "zn-bare 1/3"}
        begin = time.time() - float(columns["t"][-1])
        documents.documents[0][1].update(
            {"time": begin, "queue": queue, "technique": TECHNIQUE, **start}
        )
        documents.stream("potentiostat", "potentiostat", columns)
        for name, doc in documents.documents:
            if name == "event_page":
                stamps = [begin + columns["t"][number - 1] for number in doc["seq_num"]]
                doc["timestamps"] = dict.fromkeys(doc["data"], stamps)
                doc["time"] = stamps
        if stop is not None:
            documents.stop(stop)
        writer = JournalWriter(tmp_path)
        for name, doc in documents.documents:
            writer(name, doc)
        return writer

    return make


def test_the_numbers_of_a_run_that_goes_on_are_those_of_its_report(
    cycling: Callable[..., Any], synthetic: Any, tmp_path: Path
) -> None:
    with cycling(synthetic.HALF_CELL):
        (one,) = the_day(tmp_path).cells
        expected = metrics(Run.from_journal("last", tmp_path))["ce_pct"].value
        assert (one.station, one.item, one.state) == ("A1", "zn-bare 1/3", "running")
        assert one.ce_pct.tolist() == pytest.approx(expected, abs=1e-9)
        assert one.planned == 10
        each_h = np.median(np.diff(one.ended)) / 3600
        assert one.hours_left == pytest.approx((10 - one.cycles_done) * each_h, rel=0.05)
        assert one.ce_mean_pct == pytest.approx(np.mean(expected))
    told = table(the_day(tmp_path))
    assert "zn-bare 1/3" in told
    assert f"{one.cycles_done}/10" in told


def test_of_a_long_record_some_cycles_are_read_and_are_the_same(
    cycling: Callable[..., Any], synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cycling(synthetic.HALF_CELL):
        (whole,) = the_day(tmp_path).cells
        monkeypatch.setattr(daily, "THIN_ABOVE_BYTES", 0)
        (some,) = the_day(tmp_path).cells
    assert some.thinned
    assert not whole.thinned
    both = np.isin(whole.cycle, some.cycle)
    assert both.sum() >= 5
    for name in ("ce_pct", "eta_mv", "capacity_mah_cm2", "ended"):
        np.testing.assert_allclose(getattr(some, name), getattr(whole, name)[both], rtol=1e-6)


def test_a_symmetric_cell_shows_its_overpotential(
    cycling: Callable[..., Any], synthetic: Any, tmp_path: Path
) -> None:
    with cycling(synthetic.SYMMETRIC_CELL):
        (one,) = the_day(tmp_path).cells
        expected = metrics(Run.from_journal("last", tmp_path))["overpotential_mv"].value
    assert one.symmetric
    assert one.ce_last_pct is None
    assert one.eta_mv.tolist() == pytest.approx(expected[: len(one.eta_mv)], rel=1e-9)


def test_figure_and_table_are_written_with_states_alarms_and_what_has_no_numbers(
    cycling: Callable[..., Any],
    synthetic: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {**synthetic.HALF_CELL, "cell_id": "$x_1$ <b>"}
    # It was in A1 before, and another one was only looked at.
    before = {**synthetic.HALF_CELL, "cell_id": "zn-0"}
    with (
        cycling(before, "A1", stop="success", time=time.time() - 1e6),
        cycling({**before, "cell_id": "zn-1"}, "A4", stop="success", plan_name="look_at_cell"),
        cycling(synthetic.HALF_CELL, "A1", stop="success"),
        cycling(named, "A2", stop="fail"),
        cycling({"cell_id": "none of ours"}, "A3"),
    ):
        pass
    alerts = Alerts(AlertSettings(), tmp_path, environment={})
    alerts.send("run_alarm", "CE below 95 %", station="A1")
    alerts.send("cell_wanted", "Mount zn-2", station="A1")
    alerts.close()
    record = Record(item="item-A1", station="A1", cell_id="ZN-CU-1", state="resumed")
    day, figure, text = write_day(tmp_path, records={"item-A1": record})
    assert [(one.cell_id, len(one.alarms)) for one in day.cells[:2]] == [
        ("zn-0", 0),
        ("ZN-CU-1", 1),
    ]
    states = {one.station: (one.state, len(one.alarms)) for one in day.cells}
    assert "A4" not in states
    assert states["A1"] == ("resumed", 1)
    assert states["A2"][0] == "failed"
    assert figure.parent == tmp_path / "state" / "daily"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "CE below 95 %" in text.read_text()
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    assert cli.main(["daily", "--date", "1999-01-01", "--out", str(tmp_path / "out")]) == cli.OK
    assert "0 cells" in capsys.readouterr().out
    assert (tmp_path / "out" / "1999-01-01.png").exists()
    assert cli.main(["daily", "--date", "yesterday"]) == cli.REFUSED
    assert "2026-11-27" in capsys.readouterr().err
    assert cli.main(["daily", "--date", "2999-01-01"]) == cli.REFUSED
    assert "is to come" in capsys.readouterr().err


def test_the_day_is_left_with_who_sends_alerts(
    cycling: Callable[..., Any], synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    monkeypatch.delenv("OPERANDO_ALERTS", raising=False)
    with cycling(synthetic.HALF_CELL, stop="success"):
        pass
    supervisor = Alerts(AlertSettings(), tmp_path, environment={})._spool.sender()
    assert supervisor is not None
    try:
        assert cli.main(["daily", "--send"]) == cli.OK
        (shown,) = recent(tmp_path)
        assert shown.state == "waiting"
        assert "1 cell" in shown.alert.title
        assert Path(shown.alert.attach[0]).suffix == ".png"
    finally:
        os.close(supervisor)


def test_a_day_has_the_runs_that_reached_into_it(
    cycling: Callable[..., Any], synthetic: Any, tmp_path: Path
) -> None:
    with cycling(synthetic.HALF_CELL, stop="success"):
        pass
    assert list_runs(tmp_path)
    assert len(the_day(tmp_path).cells) == 1
    assert not the_day(tmp_path, now=time.time() + 3 * 86400).cells
    with pytest.raises(QueueError, match="no date"):
        the_day(tmp_path, "27.11.2026")
