"""The report of a check, the clocks of this computer, and what a guard tells of itself."""

import stat
from pathlib import Path

import pytest

from instruments.calibration import CalibrationPolicy
from operando.checking import CheckFailedError, Item, Report, guard_item
from operando.checking._check import _calibrations
from operando.checking._clocks import computer_clock, of_chrony
from operando.configuration import load_bench

TRACKED = (
    "C0A80001,ntp.lab,3,1764213600.1,{off},0.00002,0.00001,-5.3,0.001,0.02,0.01,0.002,64.2,{leap}"
)


def test_a_report_passes_with_warnings_and_fails_with_one_failure() -> None:
    fine, odd = Item("disk", "ok", "40 GB free"), Item("stage", "warning", "not homed", "home it")
    unknown = Item("guard", "not checked", "none watches")
    bad = Item("raman: laser", "failed", "it is on\nand nobody knows why", "turn its key")
    assert Report("sim", (fine, odd, unknown)).passed
    report = Report("sim", (fine, odd, unknown, bad))
    assert not report.passed
    assert report.failed == (bad,)
    assert report.summary() == "check of bench sim: 1 ok, 1 warning, 1 failed, 1 not checked"
    told = report.text()
    assert "FAILED      raman: laser  it is on\n" in told
    assert "-> turn its key" in told
    assert "40 GB" not in report.text(only_bad=True)
    assert report.as_dict()["items"][3] == {
        "name": "raman: laser",
        "status": "failed",
        "told": "it is on\nand nobody knows why",
        "do": "turn its key",
    }
    error = CheckFailedError(report)
    assert error.report is report
    assert "nothing was begun" in str(error)
    assert "turn its key" in str(error)


def test_a_report_fits_into_a_terminal() -> None:
    item = Item("potentiostat: open circuit", "failed", "far " * 60, "exchange the leads " * 9)
    lines = Report("sim", (item,)).text(width=100).splitlines()
    assert len(lines) > 4
    assert all(len(line) <= 100 for line in lines)
    assert " ".join(" ".join(lines).split()).count("far") == 60
    assert len(Report("sim", (item,)).text().splitlines()) == 3


@pytest.mark.parametrize(
    ("off", "leap", "status"),
    [
        ("0.00004", "Normal", "ok"),
        ("-7.2", "Normal", "warning"),
        ("0", "Not synchronised", "warning"),
    ],
)
def test_chrony_tells_how_far_this_computers_clock_is_off(off: str, leap: str, status: str) -> None:
    found = of_chrony(TRACKED.format(off=off, leap=leap))
    assert found is not None
    assert found.status == status


@pytest.mark.parametrize(
    "told", ["", "506 Cannot talk to daemon", TRACKED.format(off="?", leap="")]
)
def test_what_is_no_line_of_chrony_tells_nothing(told: str) -> None:
    assert of_chrony(told) is None


@pytest.mark.parametrize(
    ("says", "status"),
    [("NTPSynchronized=yes", "ok"), ("NTPSynchronized=no", "warning"), ("nothing", "not checked")],
)
def test_timedatectl_is_asked_where_there_is_no_chrony(
    says: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "timedatectl"
    program.write_text(f"#!/bin/sh\necho TimeUSec=Fri\necho {says}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert computer_clock().status == status


def test_a_clock_of_which_nobody_knows_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert computer_clock().status == "not checked"


def test_a_guard_that_has_ended_fails_the_check() -> None:
    assert guard_item(None).status == "not checked"
    assert guard_item({"pid": 7, "ready": True, "ended": ""}).status == "ok"
    assert guard_item({"pid": 7, "ready": False, "ended": ""}).status == "warning"
    ended = guard_item({"pid": 7, "ready": True, "ended": "killed by SIGKILL"})
    assert ended.status == "failed"
    assert "SIGKILL" in ended.told


@pytest.mark.parametrize(
    ("policy", "status"),
    [({}, "warning"), ({"missing": "refuse"}, "failed"), ({"expired": "refuse"}, "warning")],
)
def test_a_calibration_that_is_missing_is_told_or_fails_as_the_bench_file_says(
    policy: dict[str, str], status: str
) -> None:
    bench = load_bench("bench").only({"potentiostat"})
    bench = bench.model_copy(update={"calibrations": CalibrationPolicy.model_validate(policy)})
    (item,) = _calibrations(bench)
    assert (item.name, item.status) == ("calibrations missing", status)
    assert "potentiostat: current gain was not calibrated" in item.told
    assert item.do
