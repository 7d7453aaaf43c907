"""A simulated bench for the length of a ``with`` block, as a process of its own.

The simulator publishes the addresses of its instruments in a folder; ``OPERANDO_SIM`` names that
folder to the addresses in ``config/sim.yaml``. It ends by itself when the process that owns it is
gone: it reads end-of-file on its standard input.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from operando.settings import simulator_dir

INSTRUMENTS = ("potentiostat", "relay_board", "camera", "raman", "thermostat")
# Cells of resistors and capacitors, at which there is nothing to see.
DUMMY = "dummy-"
VARIABLE = "OPERANDO_SIM"
CHROMATOGRAMS = "chromatograms"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
TAIL_CHARACTERS = 2000
REFUSED = 2  # exit code for a command line it does not take; the usage is none of the user's


class SimulationError(Exception):
    """The simulator did not start; the message ends with what it said."""


def command(
    directory: Path,
    cell: str | Path,
    *,
    factor: float,
    seed: int,
    instruments: Iterable[str],
    tolerance_s: float,
    truth: Path | None = None,
    wires: bool = False,
) -> list[str]:
    """Return the command line that starts a simulator publishing in ``directory``."""
    line = [sys.executable, "-m", "sim_devices", "--publish", str(directory)]
    line += ["--history" if isinstance(cell, Path) else "--cell", str(cell)]
    line += ["--factor", f"{factor:g}", "--seed", str(seed)]
    line += ["--instruments", ",".join(instruments), "--tolerance", f"{tolerance_s:g}"]
    if truth is not None:
        line += ["--truth", str(truth)]
    return [*line, "--wires"] if wires else line


def seed_of(label: str) -> int:
    """Return the seed that stands for a sample: one label is one simulated cell, 0 to 2^32 - 1."""
    return zlib.crc32(label.encode())


def cell_presets() -> list[str]:
    """Return the names of the simulated cells; raises SimulationError if the simulator is gone."""
    # Another process, which we never import; refusing a cell it tells those it knows.
    asked = subprocess.run(
        [sys.executable, "-m", "sim_devices", "--publish", os.devnull, "--cell", ""],
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    _, found, known = asked.stderr.partition("choose from")
    if not found:
        raise SimulationError(f"the simulator does not tell its cells; it said:\n{asked.stderr}")
    return re.findall(r"[\w-]+", known)


class SimulatedBench:
    """A simulated bench: one cell seen by several instruments on real wires.

    Args:
        cell: Name of the simulated cell, e.g. ``zn-bare-half``, or the file of a cell's history
            (`operando.history.write_history`): the cell then answers what was recorded, and the
            potentiostat adds no errors of its own.
        factor: How much faster than real time the cell ages while a program runs.
        seed: The same seed gives the same cell and the same instrument errors.
        instruments: Which instruments are served; by default all that the cell has something for:
            of a dummy cell no camera and no spectrometer, of a history without a temperature no
            thermostat.
        directory: Where addresses are published; created. By default the folder that
            ``OPERANDO_SIM`` names, or a private one of this user.
        tolerance_s: Lateness the followers' schedule allows, s of cell time; caps the factor
            while followers are served.
        truth: Where the simulator writes what really happened; by default below ``directory``.
        wires: Whether it also writes down what passes on serial lines.

    Entering starts the process, waits until it serves and sets ``OPERANDO_SIM`` for this process;
    leaving ends it and restores the variable.

    Raises:
        SimulationError: On entering, when the process ends or does not serve in time.
    """

    def __init__(
        self,
        cell: str | Path,
        factor: float = 100.0,
        seed: int = 0,
        instruments: Iterable[str] | None = None,
        directory: Path | None = None,
        tolerance_s: float = 10.0,
        truth: Path | None = None,
        wires: bool = False,
    ) -> None:
        self.directory = (directory or simulator_dir()).expanduser().resolve()
        self._command = command(
            self.directory,
            cell,
            factor=factor,
            seed=seed,
            instruments=all_of(cell) if instruments is None else instruments,
            tolerance_s=tolerance_s,
            truth=truth,
            wires=wires,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._before: str | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id while the simulator runs."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        if self._process is not None:
            raise RuntimeError("this simulated bench is already running")
        self.directory.mkdir(parents=True, exist_ok=True)
        ready = self.directory / "ready"
        occupant = serving_process(self.directory)
        if occupant is not None:
            raise SimulationError(
                f"a simulator (process {occupant}) already publishes in {self.directory}: use "
                f"that one, stop it, or give another folder (--dir, or {VARIABLE})"
            )
        ready.unlink(missing_ok=True)
        # A file, not a pipe: nobody has to keep reading it, however much the simulator says.
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                # Out of reach of a Ctrl-C in our terminal: the run must end before its cell does.
                start_new_session=True,
            )
            self._wait_for(ready, self._process)
        except BaseException:
            self._stop()
            raise
        self._before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = str(self.directory)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self._before
        self._stop()

    @property
    def alive(self) -> bool:
        """Return whether the simulator runs."""
        return self._process is not None and self._process.poll() is None

    def errors(self) -> str:
        """Return the end of what the simulator wrote to its standard error."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-TAIL_CHARACTERS:].strip()

    def _wait_for(self, ready: Path, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(ready, process.pid):
            code = process.poll()
            if code is not None:
                said = self.errors() or "(nothing)"
                _, refused, why = said.rpartition("sim_devices: ")
                why = why.removeprefix("error: ")
                if code == REFUSED and refused:
                    raise SimulationError(f"the simulator refuses: {why}")
                raise SimulationError(
                    f"the simulator ended at once (exit code {code}); it said:\n{said}"
                )
            if time.monotonic() > deadline:
                raise SimulationError(
                    f"the simulator did not serve within {START_TIMEOUT_S:.0f} s; it said:\n"
                    f"{self.errors() or '(nothing)'}"
                )
            time.sleep(0.02)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                try:
                    process.stdin.close()  # end-of-file: it makes everything safe and goes
                except BrokenPipeError:
                    pass  # it is gone already
            for end in (process.terminate, process.kill):
                try:
                    process.wait(STOP_TIMEOUT_S)
                    break
                except subprocess.TimeoutExpired:
                    end()
            process.wait()
        if self._errors is not None:
            self._errors.close()
            self._errors = None


def served_for(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return what a simulator has to serve for these addresses, in its order.

    An address of a bench file that a simulator publishes ends in the instrument's name; results of
    a gas chromatograph come with the relay board. Addresses of real instruments need nothing.
    """
    names = {address.rpartition("/")[2] for address in addresses if VARIABLE in address}
    names.discard(CHROMATOGRAMS)
    known = [name for name in INSTRUMENTS if name in names]
    return (*known, *sorted(names.difference(known)))


def all_of(cell: str | Path) -> tuple[str, ...]:
    """Return all instruments that a simulated cell, or a history, has something for."""
    if str(cell).startswith(DUMMY):
        return tuple(name for name in INSTRUMENTS if name not in ("camera", "raman"))
    if isinstance(cell, Path):
        from operando.history import HistoryError, held_in

        try:
            if "thermostat" not in held_in(cell):
                return tuple(name for name in INSTRUMENTS if name != "thermostat")
        except HistoryError:
            pass  # the simulator tells what is wrong with the file
    return INSTRUMENTS


def _is_ready(ready: Path, pid: int) -> bool:
    try:
        return pid in _pids(ready)
    except FileNotFoundError:
        return False


def _pids(ready: Path) -> list[int]:
    return [int(word) for word in re.findall(r"\d+", ready.read_text())]


def serving_process(directory: Path) -> int | None:
    """Return the process id of the simulator that publishes in ``directory``, ``None`` if none."""
    try:
        pids = _pids(directory / "ready")
    except FileNotFoundError:
        return None
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue  # it was killed and could not take its mark away
        except PermissionError:
            pass  # alive, and somebody else's
        return pid
    return None
