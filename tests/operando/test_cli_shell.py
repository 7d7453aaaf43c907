"""The shell, typed at through a terminal."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operando.cli._bench import _banner
from operando.configuration import load_bench
from operando.journal import list_runs
from operando.session import Session

pytestmark = pytest.mark.timeout(180)

LONG = """
name: long
cell: zn-bare-half
technique: {type: open_circuit, duration_s: 3600}
"""


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir()
        (folder / "data" / "state").write_text("in the way of the catalog service")
        (folder / "long.yaml").write_text(LONG)
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "operando.cli", "shell"),
                *("--simulate", "--only", "potentiostat", "--factor", "20"),
            ],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=os.environ
            | {
                "OPERANDO_DATA": str(folder / "data"),
                "IPYTHONDIR": str(folder / "ipython"),
                "TMPDIR": str(folder),
                "TERM": "dumb",
            },
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def read_until(self, text: str, timeout_s: float = 60.0) -> str:
        seen = ""
        while text not in seen:
            readable, _, _ = select.select([self.master], [], [], timeout_s)
            assert readable, f"{text!r} did not come; there came {seen!r}"
            seen += os.read(self.master, 65536).decode(errors="replace")
        return seen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def press_until(self, key: str, text: str) -> None:
        """Press ``key`` twice a second until ``text`` shows."""
        seen = ""
        while text not in seen:
            self.type(key)
            until = time.monotonic() + 0.5
            while text not in seen and (left := until - time.monotonic()) > 0:
                readable, _, _ = select.select([self.master], [], [], left)
                if readable:
                    seen += os.read(self.master, 65536).decode(errors="replace")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    if opened.process.poll() is None:
        opened.process.kill()
        opened.process.wait()
    os.close(opened.master)


def test_one_ctrl_c_asks_and_the_run_goes_on(terminal: Terminal) -> None:
    terminal.read_until("In [1]")
    terminal.type('uid = run_protocol("long.yaml")\r')
    terminal.read_until(" rest ")
    terminal.type("\x03")
    terminal.read_until("Ctrl-C again within 10 s ENDS the run")
    terminal.read_until(" rest ")
    terminal.press_until("\x03", "In [2]")


def test_two_ctrl_c_end_a_run_and_the_prompt_comes_back(terminal: Terminal, tmp_path: Path) -> None:
    banner = terminal.read_until("In [1]")
    assert "potentiostat       simulated  EmStat4" in banner
    terminal.type('uid = run_protocol("long.yaml")\r')
    terminal.read_until(" rest ")
    terminal.press_until("\x03", "In [2]")
    terminal.type("RE.state\r")
    terminal.read_until("'idle'")
    terminal.type("exit\r")
    assert terminal.process.wait(60) == 0
    (run,) = list_runs(tmp_path / "data")
    assert (run.exit_status, run.reason) == ("abort", "aborted by the operator")
    assert run.rows["potentiostat"] > 0


def test_sigterm_at_the_prompt_closes_the_bench(terminal: Terminal, tmp_path: Path) -> None:
    terminal.read_until("In [1]")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(60) == 128 + signal.SIGTERM
    left = subprocess.run(
        ["ps", "-e", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    assert str(tmp_path) not in left


@pytest.mark.parametrize("name", ["sim", "sim-second"])
def test_what_the_banner_offers_can_be_typed_and_is_judged(name: str, tmp_path: Path) -> None:
    session = Session(load_bench(name), tmp_path, catalog=False)
    try:
        names = session.namespace()
        lines = _banner(session).splitlines()
        (before,) = [line for line in lines if line.startswith("zinc = ")]
        (offered,) = [line for line in lines if line.startswith("RE(")]
        exec(before, names)
        plan = eval(offered.removeprefix("RE(").removesuffix(")"), names)
        told = plan.gi_frame.f_locals
        assert told["verdicts"] == session.verdicts
        given = [told[key] for key in ("potentiostat", "camera", "raman", "gas_chromatograph")]
        given += [told["thermostat"], *told["sensors"]]
        assert {id(one) for one in given if one is not None} == {
            id(device) for device in session.devices.values()
        }
        plan.close()
    finally:
        session.close()
