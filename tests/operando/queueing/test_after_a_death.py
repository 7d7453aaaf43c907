"""What becomes of an item whose worker died, and how deaths are told from lives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from operando.guard import _places
from operando.journal import try_lock
from operando.queueing.errors import QueueError
from operando.queueing.model import Attempt, Record
from operando.queueing.places import private, queueing_dir
from operando.queueing.supervisor import _deaths
from operando.queueing.supervisor._clock import Clock
from operando.queueing.supervisor._deaths import (
    DEATHS_AT_MOST,
    LOOK_FIRST,
    NotEndedError,
    _guards_word,
    decided,
    noticed,
    secure,
)
from operando.queueing.supervisor._files import DISK_S, HUNG_S, StationFiles, write_whole
from operando.queueing.supervisor._journal import LastRun
from operando.queueing.supervisor._processes import Process, end_group, end_group_of
from operando.queueing.supervisor._serve import supervisor_process
from operando.queueing.supervisor._supervisor import LOCK, TOLD, Supervisor
from techniques import StationEntry, StationsFile

pytestmark = pytest.mark.timeout(180)

NOW = 1_800_000_000.0
DIED = "the worker (process 7) has died"
INTERRUPTED = LastRun("u-1", "unfinished", "")


def record(*attempts: Attempt) -> Record:
    attempts = attempts or (Attempt(kind="run", began=NOW - 60),)
    return Record(item="i", station="A1", cell_id="zn-1", state="running", attempts=attempts)


def after(
    run: LastRun | None, policy: Any = "resume", look: bool = False, of: Record | None = None
) -> Record:
    of = of or record()
    return decided(of, DIED, run, policy=policy, look_first=look, now=NOW)


def test_an_item_that_had_begun_goes_on_where_it_stood() -> None:
    found = after(INTERRUPTED)
    assert found.state == "starting"
    assert [one.kind for one in found.attempts] == ["run", "resume"]
    assert found.attempts[0].exit_status == "lost"
    assert found.attempts[0].run_uid == "u-1"


def test_an_item_of_which_nothing_had_begun_begins() -> None:
    found = after(None)
    assert [one.kind for one in found.attempts] == ["run", "run"]


def test_an_item_with_a_run_is_never_begun_from_the_start() -> None:
    for policy in ("resume", "skip", "hold"):
        kinds = [one.kind for one in after(INTERRUPTED, policy).attempts[1:]]
        assert kinds in ([], ["resume"])


@pytest.mark.parametrize(("policy", "state"), [("skip", "skipped"), ("hold", "held")])
def test_what_was_declared_is_done(policy: str, state: str) -> None:
    found = after(INTERRUPTED, policy)
    assert found.state == state
    assert DIED in found.reason


def test_a_cell_that_was_without_current_is_looked_at_first() -> None:
    assert after(INTERRUPTED, look=True).attempts[-1].reason == LOOK_FIRST


@pytest.mark.parametrize(
    ("exit_status", "state"), [("success", "done"), ("abort", "stopped"), ("fail", "failed")]
)
def test_a_run_that_had_ended_before_its_worker_is_not_gone_on_with(
    exit_status: str, state: str
) -> None:
    found = after(LastRun("u-1", exit_status, "as it says", {"exit_status": exit_status}))
    assert found.state == state
    assert len(found.attempts) == 1


@pytest.mark.parametrize(
    ("told", "refused", "state"),
    [
        ({"ended_early": "limit charge_mah_cm2 1.05 reached in step 16"}, "", "stopped"),
        ({"stopped": {"by": "Ada", "why": "leaks"}}, "", "stopped"),
        ({"end_of_life": {"reason": "short"}, "ended_early": "x"}, "", "done"),
        ({"exit_status": "fail"}, "is it the same cell?", "held"),
    ],
)
def test_a_run_that_had_not_come_to_its_end_is_not_taken_for_done(
    told: dict[str, Any], refused: str, state: str
) -> None:
    stop = {"exit_status": "success", **told}
    found = after(LastRun("u-1", stop["exit_status"], "as it says", stop, refused))
    assert found.state == state
    assert (found.ended is None) == (state == "held")


def test_a_run_that_the_guard_closed_is_gone_on_with() -> None:
    reason = "the acquisition process died before its stop document; the guard closed the run"
    assert after(LastRun("u-1", "fail", reason, {"guard": {}})).attempts[-1].kind == "resume"


def test_an_item_that_kills_its_worker_again_and_again_is_held() -> None:
    found = record()
    for _ in range(DEATHS_AT_MOST):
        found = after(INTERRUPTED, of=found)
        assert found.state == "starting"
    found = after(INTERRUPTED, of=found)
    assert found.state == "held"
    assert "within an hour" in found.reason


def test_a_clock_that_was_set_back_does_not_make_old_deaths_count_forever() -> None:
    old = [
        Attempt(kind="resume", began=NOW, ended=NOW - 7200, exit_status="lost") for _ in range(9)
    ]
    assert (
        after(INTERRUPTED, of=record(*old, Attempt(kind="resume", began=NOW))).state == "starting"
    )


# -- processes


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], start_new_session=True)


def test_a_process_that_waits_to_be_buried_has_ended() -> None:
    child = sleeper()
    process = Process.of(child.pid)
    assert process.alive
    os.kill(child.pid, signal.SIGKILL)
    assert process.ended_within(60.0)
    child.wait()


def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    me = Process.of(os.getpid())
    assert me.alive
    assert me.started_ticks is not None
    assert not Process(me.pid, me.started_ticks - 1).alive


def test_a_group_is_ended_but_for_one_and_its_children(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "a = subprocess.Popen(['sleep', '60'])\n"
        "b = subprocess.Popen([sys.executable, '-c', 'import subprocess, time;"
        'print(subprocess.Popen(["sleep", "60"]).pid, flush=True); time.sleep(60)\'],'
        " stdout=subprocess.PIPE)\n"
        "print(a.pid, b.pid, b.stdout.readline().decode().strip(), flush=True)\n"
        "time.sleep(60)\n"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdout is not None
    other, spared, child = (
        Process.of(int(word)) for word in leader.stdout.readline().decode().split()
    )
    end_group(leader.pid, spared.pid)
    assert leader.wait(60.0) == -signal.SIGKILL
    assert not other.alive
    assert spared.alive
    assert child.alive
    # Numbers begin anew with each boot: a stranger that has it now is left alone.
    me = Process(os.getpid(), 1)
    end_group_of(me)
    stranger = sleeper()
    end_group_of(Process(stranger.pid, 1))
    assert stranger.poll() is None
    end_group_of(Process.of(stranger.pid))
    stranger.wait(60.0)
    end_group_of(Process(leader.pid, 1))
    assert not spared.alive
    assert not child.alive
    leader.stdout.close()


# -- a worker


def test_a_worker_that_beats_lives_and_one_that_does_not_hangs(folder: Path) -> None:
    files = StationFiles(folder, "A1")
    assert noticed(files, files.worker()) == ""
    me = Process.of(os.getpid())
    told = {"pid": me.pid, "started_ticks": me.started_ticks, "began": 0.0}
    (files.folder / "worker.json").write_text(json.dumps(told))
    assert noticed(files, files.worker()) == ""  # it has not begun to beat: it is being opened
    (files.folder / "beat").write_bytes(b"1")
    assert noticed(files, files.worker()) == ""
    files._beat_at -= 5.0
    assert "has not beaten for" in noticed(files, files.worker())
    (files.folder / "beat").write_bytes(b"12")
    assert noticed(files, files.worker()) == ""


# Waits as for a disk: for a child that shares nothing with it, until that ends.
_WAITS = """
import ctypes, os, platform, signal, sys, time
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
CLONE_VFORK = 0x4000
print("waits", flush=True)
if ctypes.CDLL(None).syscall(number, CLONE_VFORK | signal.SIGCHLD, 0, 0, 0, 0) == 0:
    sys.stdin.read()
    os._exit(0)
time.sleep(60)
"""


def test_a_worker_that_waits_for_its_disk_is_given_longer(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline()
    worker, files = Process.of(child.pid), StationFiles(folder, "A1")
    (files.folder / "beat").write_bytes(b"1")
    assert files.silent_s() < HUNG_S
    while not worker.waits_for_disk:
        assert child.poll() is None
        time.sleep(0.01)
    files._beat_at -= 5.0
    assert [noticed(files, worker) for _ in range(2)] == ["", ""]
    assert caplog.text.count(f"waits for its disk: it is given {DISK_S:g} s") == 1
    files._beat_at -= DISK_S
    assert "has not beaten for" in noticed(files, worker)
    # What waits no more, and is silent all the same, hangs.
    files._beat_at += DISK_S
    child.stdin.close()
    while worker.waits_for_disk:
        time.sleep(0.01)
    assert files._disk_at is not None
    files._disk_at -= HUNG_S
    assert "has not beaten for" in noticed(files, worker)
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_worker_is_not_hung_where_nobody_can_write_its_beat(folder: Path) -> None:
    files, me = StationFiles(folder, "A1"), Process.of(os.getpid())
    (files.folder / "beat").write_bytes(b"1")
    (files.folder / "probe").mkdir()
    assert files.silent_s() < HUNG_S
    files._beat_at -= 5.0
    assert noticed(files, me) == ""
    (files.folder / "probe").rmdir()
    assert files._disk_at is not None
    files._disk_at -= HUNG_S
    assert "has not beaten for" in noticed(files, me)


class Unending(Process):
    """One that the system cannot end, as where a driver waits for a device that is gone."""

    def kill(self, timeout_s: float = 0.0) -> bool:
        return self.ended_within(timeout_s)


def test_nothing_goes_on_beside_a_worker_that_cannot_be_ended(folder: Path) -> None:
    child = sleeper()
    (folder / "state").mkdir(exist_ok=True)
    line = {"time": time.time(), "guard": 1, "run": "u-1", "instrument": "potentiostat"}
    line |= {"became": "cell open", "safe": True}
    (folder / "state" / "guard.jsonl").write_text(json.dumps(line) + "\n")
    entry = StationEntry(name="A1", bench="no-such-bench")
    worker = Unending(child.pid, Process.of(child.pid).started_ticks)
    with pytest.raises(NotEndedError, match=r"cannot be ended.*its guard acted.*opened beside it"):
        secure(folder, entry, folder, worker, LastRun("u-1", "unfinished", ""))
    child.kill()
    child.wait()


def test_a_worker_of_an_earlier_boot_is_dead_whoever_has_its_number(folder: Path) -> None:
    files = StationFiles(folder, "A1")
    told = {"pid": os.getpid(), "started_ticks": 1, "began": 0.0}
    (files.folder / "worker.json").write_text(json.dumps(told))
    assert noticed(files, files.worker()) == f"the worker (process {os.getpid()}) has died"


def test_where_a_guard_has_acted_the_bench_is_left_to_it(folder: Path) -> None:
    child = sleeper()
    (folder / "state").mkdir(exist_ok=True)
    line = {"time": time.time(), "guard": 1, "run": "u-1", "instrument": "potentiostat"}
    silent = {**line, "became": "no answer", "safe": False}
    line |= {"became": "cell open", "safe": True}
    (folder / "state" / "guard.jsonl").write_text(
        f"torn\n{json.dumps(silent)}\n{json.dumps(line)}\n"
    )
    entry = StationEntry(name="A1", bench="no-such-bench")
    run = LastRun("u-1", "unfinished", "")
    told = "its guard acted (potentiostat: cell open)"
    assert secure(folder, entry, folder, Process.of(child.pid), run) == told
    assert child.wait() == -signal.SIGKILL


def test_of_a_guard_that_could_not_make_the_bench_safe_nobody_says_that_it_did(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Process.of(os.getpid())
    silent = {"guard": os.getpid(), "run": "u-1", "instrument": "potentiostat"}
    silent |= {"time": time.time(), "became": "no answer", "safe": False}
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / "guard.jsonl").write_text(json.dumps(silent) + "\n")
    run = LastRun("u-1", "unfinished", "")
    assert _guards_word(folder, worker, run) == (
        "its guard has left (potentiostat: no answer)",
        False,
    )
    noted = {"instruments": {"potentiostat": "cell open", "laser": "?"}, "not_safe": ["laser"]}
    told, acts = _guards_word(folder, worker, LastRun("u-2", "fail", "", {"guard": noted}))
    assert (told.startswith("its guard has left"), acts) == (True, False)
    # Its first try had not come back when it was ended, too.
    for noted, of_it in (
        ({"instruments": {"laser": "off"}, "not_safe": ["potentiostat"]}, "not confirmed"),
        ({"instruments": {"laser": "off"}, "not_safe": []}, "laser: off"),
    ):
        told, acts = _guards_word(folder, worker, LastRun("u-3", "fail", "", {"guard": noted}))
        assert told.startswith("its guard has left")
        assert of_it in told
        assert not acts
    # It goes on trying.
    monkeypatch.setattr(_deaths, "GUARD_ACTS_WITHIN_S", 0.2)
    place = _places.beside(folder)
    place.mkdir(mode=0o700, parents=True)
    _places.announce({"pid": os.getpid(), "owner": worker.pid}, place)
    told, acts = _guards_word(folder, worker, run)
    assert told == "NOT KNOWN TO BE SAFE, its guard is at it (potentiostat: no answer)"
    assert acts


def test_of_a_run_that_its_session_closed_is_told_who_has_opened_the_cell(folder: Path) -> None:
    worker = Process.of(os.getpid())
    for stop, told in (
        ({"end_state": {"cell": "open"}}, "its session had opened the cell"),
        ({"end_state": {"cell": "NOT confirmed open"}}, "no guard acted"),
        ({}, "no guard acted"),
        (None, "no guard acted"),
    ):
        run = LastRun("u-1", "abort", "stopped by SIGTERM", stop)
        assert _guards_word(folder, worker, run) == (told, False)


@pytest.mark.long
def test_where_no_guard_acts_the_supervisor_tells_that_it_could_not_make_it_safe(
    folder: Path,
) -> None:
    child = sleeper()
    entry = StationEntry(name="A1", bench="no-such-bench")
    told = secure(folder, entry, folder, Process.of(child.pid), None)
    assert told.startswith("NOT SAFE: ")
    assert "no-such-bench" in told
    assert child.wait() == -signal.SIGKILL


# -- the clock


def test_a_step_of_the_clock_is_noticed_once_and_a_correction_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clock.json"
    monkeypatch.setenv("OPERANDO_CLOCK", str(path))
    clock = Clock()
    assert clock.step_s() is None
    real = clock.boot()
    path.write_text('{"shift_s": -7200, "boot": "another"}')
    assert clock.step_s() == pytest.approx(-7200, abs=1)
    assert clock.step_s() is None
    assert clock.boot() == "another" != real
    path.write_text('{"shift_s": -7190.0}')
    assert clock.step_s() is None
    before = time.time()
    told = clock.wall()
    assert before - 7191 <= told <= time.time() - 7189


def test_a_second_supervisor_is_refused_and_the_first_one_is_still_found(tmp_path: Path) -> None:
    folder = private(queueing_dir(tmp_path))
    me = Process.of(os.getpid())
    write_whole(folder / TOLD, {"pid": me.pid, "started_ticks": me.started_ticks})
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        assert try_lock(lock)
        stations = StationsFile.model_validate({"stations": [{"name": "A1", "bench": "sim"}]})
        with pytest.raises(QueueError, match="another supervisor serves"):
            Supervisor(tmp_path, stations).run()
        assert supervisor_process(tmp_path) == me
    finally:
        os.close(lock)
