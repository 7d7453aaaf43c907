"""Simulated benches of stations: processes that are the world, and outlive a supervisor."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from operando import simulation
from operando.queueing.errors import QueueError
from techniques import StationEntry

from ._files import process_in, read, write_whole
from ._processes import Process

_STARTS_WITHIN_S = 60.0
_TOLERANCE_S = 10.0
# Files in which a simulator is asked for another cell, and answers.
_MOUNT, _MOUNTED, _EXCHANGES_WITHIN_S = "mount", "mounted", 10.0


class Simulator:
    """The simulated bench of one station.

    Args:
        folder: That of the station.
        entry: The station; it must be a simulated one.
    """

    def __init__(self, folder: Path, entry: StationEntry) -> None:
        assert entry.simulate is not None  # told to the type checker
        self._told = entry.simulate
        self._entry = entry
        self._file = folder / "simulator.json"
        self.directory = folder / "sim"

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what processes need that are to find its instruments."""
        return {simulation.VARIABLE: str(self.directory)}

    @property
    def process(self) -> Process | None:
        """Return its process; ``None``: it does not run."""
        found = process_in(self._file)
        return found if found is not None and found.alive else None

    @property
    def cell_id(self) -> str:
        """Return the sample that its cell is; empty: nobody has mounted one yet."""
        return str((read(self._file) or {}).get("cell_id", ""))

    def ensure(self) -> bool:
        """Start it if it does not run; return whether that was necessary. Raises QueueError."""
        if self.process is not None:
            return False
        seed = self._told.seed
        self._start(simulation.seed_of(self._entry.name) if seed is None else seed)
        return True

    def call(self, cell_id: str) -> None:
        """Note that its cell, which nobody has used yet, is this sample."""
        write_whole(self._file, {**(read(self._file) or {}), "cell_id": cell_id})

    def exchange(self, cell_id: str) -> None:
        """Put a fresh cell between the leads; its instruments stay on. Raises QueueError."""
        ask = secrets.token_hex(8)
        asked = {"cell": self._told.cell, "seed": simulation.seed_of(cell_id), "ask": ask}
        with open(self.directory / _MOUNT, "a", encoding="utf-8") as file:
            file.write(json.dumps(asked) + "\n")
        give_up = time.monotonic() + _EXCHANGES_WITHIN_S
        while (answer := self._answer_to(ask)) is None:
            if time.monotonic() > give_up:
                raise QueueError(
                    f"the simulated bench of station {self._entry.name} does not answer when it "
                    "is asked for another cell"
                )
            time.sleep(0.05)
        if "refused" in answer:
            raise QueueError(
                f"the simulated bench of station {self._entry.name} puts no other cell between "
                f"its leads: {answer['refused']}"
            )
        self.call(cell_id)

    def _answer_to(self, ask: str) -> dict[str, object] | None:
        try:
            lines = (self.directory / _MOUNTED).read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        answers = (json.loads(line) for line in lines if ask in line)
        return next((dict(one) for one in answers if one.get("ask") == ask), None)

    def stop(self) -> None:
        """End it, if it runs."""
        process = self.process
        if process is not None:
            process.end(simulation.STOP_TIMEOUT_S)
        self._file.unlink(missing_ok=True)

    def _start(self, seed: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        line = simulation.command(
            self.directory,
            self._told.cell,
            factor=self._told.factor,
            seed=seed,
            instruments=self._instruments(),
            tolerance_s=_TOLERANCE_S,
        )
        log = self.directory / "log"
        with open(log, "ab") as said:
            process = subprocess.Popen(
                [*line, "--foreground"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        _children.append(process)
        told = {"pid": process.pid, "started_ticks": Process.of(process.pid).started_ticks}
        write_whole(self._file, told)
        give_up = time.monotonic() + _STARTS_WITHIN_S
        while simulation.serving_process(self.directory) != process.pid:
            if process.poll() is not None or time.monotonic() > give_up:
                process.kill()
                process.wait()
                self._file.unlink(missing_ok=True)
                text = log.read_text(errors="replace")[-simulation.TAIL_CHARACTERS :].strip()
                raise QueueError(
                    f"the simulated bench of station {self._entry.name} did not start; it said: "
                    f"{text or 'nothing'}"
                )
            time.sleep(0.05)

    def _instruments(self) -> tuple[str, ...]:
        from operando.configuration import load_bench

        served = simulation.served_for(load_bench(self._entry.bench).addresses())
        possible = simulation.all_of(self._told.cell)
        return tuple(
            name for name in served if name in possible or name not in simulation.INSTRUMENTS
        )


# They go on without us; that they are not waited for is meant.
_children: list[subprocess.Popen[bytes]] = []


def bury() -> None:
    """Collect the ends of simulators that we started."""
    for process in list(_children):
        if process.poll() is not None:
            _children.remove(process)


def environment_of(folder: Path, entry: StationEntry) -> dict[str, str]:
    """Return the environment of what speaks to a station's instruments."""
    told = dict(os.environ)
    if entry.simulate is not None:
        told |= Simulator(folder, entry).environment
    return told
