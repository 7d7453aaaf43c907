"""When an owner is taken for dead, and when it is not: real processes, a real pipe."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from instruments.guarding import GuardSettings
from operando.guard import GuardError
from operando.guard._places import announce, announced, beside, folder
from operando.guard._watch import Heart, Owner

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


class Told:
    """An owner's end of the pipe."""

    def __init__(self, settings: GuardSettings) -> None:
        self.process = subprocess.Popen(SLEEPS)
        self.owner = Owner(self.process.pid)
        self._read, self._write = os.pipe()
        self.heart = Heart(self._read, self.owner, settings)

    def tell(self, **told: Any) -> None:
        os.write(self._write, json.dumps(told).encode() + b"\n")

    def until(self, timeout_s: float = 50.0, **told: Any) -> str | None:
        """Return why it is taken for dead, if it is by then; it says ``told`` again and again."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if told:
                self.tell(**told)
            why = self.heart.listen()
            if why is not None:
                return why
        return None

    def hang_up(self) -> None:
        os.close(self._write)
        self._write = -1

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._read)
        if self._write >= 0:
            os.close(self._write)


@pytest.fixture
def owned() -> Iterator[Callable[..., Told]]:
    made: list[Told] = []

    def make(**settings: float) -> Told:
        made.append(Told(GuardSettings(**settings)))
        return made[-1]

    yield make
    for told in made:
        told.end()


def test_an_owner_that_says_goodbye_has_left(owned: Callable[..., Told]) -> None:
    told = owned()
    told.tell(engine_s=0.0, run="abc")
    told.tell(goodbye=True, unsafe=["raman"])
    assert told.until() == "goodbye"
    assert told.heart.unsafe == ("raman",)


def test_a_death_is_noticed_though_somebody_else_holds_the_pipe(
    owned: Callable[..., Told],
) -> None:
    told = owned()
    told.process.kill()
    assert told.until() == "its process ended"


def test_a_pipe_that_ends_is_a_death(owned: Callable[..., Told]) -> None:
    told = owned()
    told.hang_up()
    assert told.until() == "its process ended"
    assert told.owner.fence()
    assert told.process.wait(50) == -signal.SIGKILL


def test_a_stopped_owner_is_dead_only_while_a_run_is_open(owned: Callable[..., Told]) -> None:
    told = owned(silence_s=0.3)
    told.process.send_signal(signal.SIGSTOP)
    told.tell(engine_s=0.0, run="")
    assert told.until(1.0) is None
    told.tell(engine_s=0.0, run="abc")
    assert "was stopped" in str(told.until())
    assert told.heart.run == "abc"
    assert told.owner.fence()


def test_a_silent_owner_that_is_not_stopped_may_be_busy(owned: Callable[..., Told]) -> None:
    told = owned(silence_s=0.3, busy_s=1.5)
    told.tell(engine_s=0.0, run="abc")
    # So early that a pause of this process too short to be noticed (0.6 s) does not matter.
    assert told.until(0.5) is None
    assert "hangs" in str(told.until())


def test_an_engine_that_handles_nothing_is_dead(owned: Callable[..., Told]) -> None:
    told = owned(engine_s=10)
    assert told.until(0.3, engine_s=11.0, run="") is None
    assert "RunEngine" in str(told.until(engine_s=11.0, run="abc"))


def test_what_is_no_line_of_an_owner_is_a_sign_of_life_only(owned: Callable[..., Told]) -> None:
    told = owned(silence_s=0.3)
    os.write(told._write, b'\xff\xfe\n[]\n{"run": \n12\n')
    assert told.until(0.5) is None
    assert told.heart.run == ""


def test_a_folder_that_others_can_write_to_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    monkeypatch.setenv("OPERANDO_GUARDS", str(open_to_all))
    with pytest.raises(GuardError, match="not a folder of yours alone"):
        folder()


def test_marks_of_guards_that_are_gone_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_GUARDS", str(tmp_path / "guards"))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = folder() / f"{process.pid}.json"
    dead.write_text(json.dumps({"pid": process.pid}))
    (folder() / "1.json").write_text("not JSON")
    assert list(announced()) == []
    assert not dead.exists()


def test_marks_of_other_hosts_are_left_alone_and_nobody_here_is_asked_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_GUARDS", str(tmp_path / "guards"))
    shared = beside(tmp_path / "data")
    shared.mkdir(mode=0o700, parents=True)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    # One whose process number is nobody's here, and one whose number is that of this process.
    elsewhere = []
    for pid in (process.pid, os.getpid()):
        mark = shared / f"another-host-{pid}.json"
        mark.write_text(json.dumps({"pid": pid, "host": "another-host", "port": 1}))
        elsewhere.append(mark)
    ours = announce({"pid": os.getpid(), "port": 2}, shared)
    assert [told["port"] for told in announced(tmp_path / "data")] == [2]
    assert all(mark.exists() for mark in elsewhere)
    assert json.loads(ours.read_text())["host"] == socket.gethostname()
    assert ours.stat().st_mode & 0o777 == 0o600
