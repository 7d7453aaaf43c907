"""A process that was forked from a session's has none of what is the session's alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import TransportError
from instruments.transport import SerialTransport
from operando.journal import documents
from operando.journal._lock import is_locked
from tests.operando import forked_owner_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


class Owner:
    """A process that owns ports, a journal and a guard, and its children."""

    def __init__(self, folder: Path) -> None:
        self.host, self.terminal = os.openpty()
        self.device = os.ttyname(self.terminal)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(60)
        self.process = subprocess.Popen(
            [
                sys.executable,
                forked_owner_process.__file__,
                str(folder / "data"),
                self.device,
                str(self.server.getsockname()[1]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPERANDO_GUARD": "on", "OPERANDO_GUARDS": str(folder / "guards")},
        )
        self.peers: list[socket.socket] = []
        self.told: dict[str, Any] = {}

    def hear(self) -> None:
        assert self.process.stdout is not None
        self.told = json.loads(self.process.stdout.readline())
        self.peers = [self.server.accept()[0] for _ in range(2)]

    def open_in_child(self) -> set[str]:
        folder = Path(f"/proc/{self.told['stays']}/fd")
        return {os.readlink(link) for link in folder.iterdir()}

    def child_ends(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"x")
        self.process.stdin.flush()
        gone(self.told["ends"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        if self.told:
            with suppress(ProcessLookupError):
                os.kill(self.told["stays"], signal.SIGKILL)
        for end in (self.process.stdin, self.process.stdout, self.server, *self.peers):
            assert end is not None
            end.close()
        for fd in (self.host, self.terminal):
            os.close(fd)


def gone(pid: int) -> None:
    """Wait until a process has ended, whether or not somebody has asked for its end."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} does not end")


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    made = Owner(tmp_path)
    try:
        made.hear()
        yield made
    finally:
        made.close()


def test_forked_children_leave_everything_to_their_parent_and_hold_nothing_after_it(
    owner: Owner, tmp_path: Path
) -> None:
    told = owner.told
    opened = owner.open_in_child()
    assert not opened & {told["pipe"], told["journal"], told["held"], owner.device}

    # One that ends through the exit handlers takes nothing along.
    owner.child_ends()
    assert (tmp_path / "data" / "closed").read_text() == "connected: True"
    assert is_locked(told["journal"])
    assert is_locked(told["held"])
    assert [name for name, _ in documents(Path(told["journal"]))] == ["start"]
    assert Path(f"/proc/{told['guard']}").exists()
    with pytest.raises(TransportError, match="is busy"):
        SerialTransport(owner.device)
    for peer in owner.peers:
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)

    # One that outlives its parent keeps nobody out.
    owner.kill()
    gone(told["guard"])
    for peer in owner.peers:
        peer.settimeout(60)
        assert peer.recv(1) == b""
    assert not is_locked(told["journal"])
    assert not is_locked(told["held"])
    SerialTransport(owner.device).close()
    assert owner.open_in_child() == opened  # it lives


CLUMSY = """
import os
from instruments.forked import keep_from_children

class Clumsy:
    def let_go_in_child(self):
        raise RuntimeError("not so")

class Telling:
    def let_go_in_child(self):
        os.write(1, b"x")

holders = [Clumsy(), *(Telling() for _ in range(8)), Clumsy()]
for holder in holders:
    keep_from_children(holder)
child = os.fork()
if child:
    os.waitpid(child, 0)
"""


def test_one_that_cannot_let_go_does_not_leave_the_rest_with_the_child() -> None:
    told = subprocess.run([sys.executable, "-c", CLUMSY], capture_output=True, check=True)
    assert told.stdout == b"x" * 8
    assert told.stderr == b""
