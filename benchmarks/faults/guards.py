"""Hosts that die while a cell is under current: when is it open, and was it ever beyond its limits.

The clock of the simulated cell runs at factor 1: a second of the host is one of the cell. What is
measured is what the simulator wrote down, not what the guard says.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults.disks import SmallDisk, mounted
from benchmarks.faults.outcome import Effort, NotTriedError, Outcome
from operando.configuration import load_bench
from operando.journal import documents, journal_path
from operando.simulation import SimulatedBench

WITHIN_S = 2.0
PLATE_S = 5.0
_REST_S = 0.5
# A source meter measures the open circuit with its output on, at no current: it is on all the time.
_PROGRAM_S = _REST_S + PLATE_S
_CURRENT_MA_CM2 = 1.5
_PATIENCE_S = 60.0
_POLL_S = 0.002
# A bath, a laser on the spectrometer's own port, relays: with the first potentiostat a whole bench.
_SERVED = {
    "methodscript": ("potentiostat", "raman"),
    "keithley": ("keithley",),
    "rodeostat": ("rodeostat",),
}
_BENCHES = {"methodscript": "sim", "keithley": "sim-keithley", "rodeostat": "sim-rodeostat"}
_PROTOCOL = {
    "name": "doomed",
    "cell": "zn-bare-half",
    "technique": {
        "type": "sequence",
        "steps": [
            {"type": "open_circuit", "duration_s": _REST_S},
            {
                "type": "galvanostatic_step",
                "role": "plate",
                "current_density_ma_cm2": _CURRENT_MA_CM2,
                "until": [{"quantity": "time_s", "value": PLATE_S}],
                "record": {"dt_s": 0.2},
            },
        ],
    },
    "every": {"spectrum_s": 1.5, "tolerance_s": 1},
}
# No galvanostat: the cell is held at a potential that plates.
_HELD = {
    "type": "potentiostatic_step",
    "potential_v": -0.05,
    "until": [{"quantity": "time_s", "value": PLATE_S}],
    "record": {"dt_s": 0.2},
}
WAYS: dict[str, str] = {
    "kill -9": "SIGKILL",
    "SIGSTOP": "SIGSTOP",
    "segmentation fault": "SIGSEGV",
    "abort()": "SIGABRT",
}


@dataclass
class Death:
    """What one death came to.

    Attributes:
        was_on: whether current flowed when it came.
        open_after_s: from the death to the open cell; 0 where it was open.
        laser_off_after_s: the same of the laser; None: there is none.
        on_s: how long the cell was on in all, cell seconds.
        stop: the run's stop document; None: none was written.
    """

    was_on: bool
    open_after_s: float
    laser_off_after_s: float | None
    on_s: float
    stop: dict[str, Any] | None


@dataclass
class _Truth:
    """What the simulator wrote down since some moment."""

    folder: Path
    seen: dict[str, int] = field(default_factory=dict)

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / "sim_truth" / f"{name}.jsonl"
        if not path.exists():
            return []
        text = path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in text.splitlines()[self.seen.get(name, 0) :]]

    def forget(self) -> None:
        """Leave out what has been written so far."""
        for name in ("potentiostat", "raman"):
            self.seen[name] = self.seen.get(name, 0) + len(self.lines(name))

    def cell_is_on(self) -> bool:
        told = [x["event"] for x in self.lines("potentiostat")]
        switched = [x for x in told if x in ("cell_on", "cell_off")]
        return bool(switched) and switched[-1] == "cell_on"

    def laser_is_on(self) -> bool:
        told = [x["power_mw"] for x in self.lines("raman") if x["event"] == "laser"]
        return bool(told) and told[-1] > 0

    def on_s(self) -> float:
        """Return the longest time for which the cell was on without a break."""
        longest, began = 0.0, None
        for line in self.lines("potentiostat"):
            if line["event"] == "cell_on" and began is None:
                began = line["cell_t_s"]
            elif line["event"] == "cell_off" and began is not None:
                longest, began = max(longest, line["cell_t_s"] - began), None
        return longest


@dataclass
class Station:
    """A simulated bench, and processes that work on it one after the other."""

    sim: SimulatedBench
    folder: Path
    bench: Path
    protocol: Path
    truth: _Truth

    @property
    def environment(self) -> dict[str, str]:
        """Return what processes at this station find in their environment."""
        return os.environ | {
            "OPERANDO_SIM": str(self.sim.directory),
            "OPERANDO_GUARDS": str(self.folder / "guards"),
            "OPERANDO_GUARD": "on",
        }

    @contextmanager
    def victim(
        self, data: Path, *more: str
    ) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
        """Start a session, yield it with what it said when its run began, and end it."""
        self.truth.forget()
        command = [sys.executable, "-m", "benchmarks.faults.victim"]
        arguments = [str(self.bench), str(self.protocol), str(data), *more]
        said = self.folder / "victim.txt"
        with (
            said.open("w") as errors,
            subprocess.Popen(
                [*command, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self.environment,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(
                        f"the session that was to be killed did not start: {said.read_text()}"
                    )
                yield process, json.loads(line)
            finally:
                process.kill()

    def inject(self, instrument: str, fault: str, **options: Any) -> None:
        """Break something at the wire of an instrument."""
        with open(self.sim.directory / "faults", "a", encoding="utf-8") as file:
            told = {"instrument": instrument, "fault": fault, **options}
            file.write(json.dumps(told) + "\n")

    def wait(self, reached: Callable[[], bool], timeout_s: float = _PATIENCE_S) -> float:
        """Return how long it took; infinite if it was not reached."""
        began = time.monotonic()
        while not reached():
            if time.monotonic() - began > timeout_s:
                return float("inf")
            time.sleep(_POLL_S)
        return time.monotonic() - began

    def guard_is_gone(self) -> bool:
        return not self.guards()

    def guards(self) -> list[int]:
        """Return the process ids of the guards that live."""
        found = []
        for mark in (self.folder / "guards").glob("*.json"):
            pid = int(mark.stem.rpartition("-")[2])
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                continue  # it was killed, and could not take its mark away
            found.append(pid)
        return found


@contextmanager
def station(
    folder: Path,
    maker: str,
    *,
    finish: bool = False,
    laser: bool = True,
    seed: int = 0,
    plate_s: float = PLATE_S,
) -> Iterator[Station]:
    """Serve one maker's potentiostat, with a laser beside the first, for platings so long."""
    folder.mkdir(parents=True)
    file = load_bench(_BENCHES[maker])
    kept = {"potentiostat"} | ({"raman"} if laser and "raman" in file.instruments else set())
    content = file.only(kept).model_dump(mode="json", by_alias=True, exclude_none=True)
    if finish:
        content["instruments"]["potentiostat"]["on_silence"] = "let_instrument_finish"
    bench = folder / "bench.yaml"
    bench.write_text(yaml.safe_dump(content))
    protocol = json.loads(json.dumps(_PROTOCOL))
    if maker == "rodeostat":
        protocol["technique"]["steps"][1] = json.loads(json.dumps(_HELD))
    protocol["technique"]["steps"][1]["until"][0]["value"] = plate_s
    if "raman" not in kept:
        del protocol["every"]
    path = folder / "doomed.yaml"
    path.write_text(yaml.safe_dump(protocol))
    with SimulatedBench(
        "zn-bare-half",
        factor=1.0,
        seed=seed,
        instruments=_SERVED[maker],
        directory=folder / "sim",
    ) as sim:
        yield Station(sim, folder, bench, path, _Truth(folder / "sim"))


def die(at: Station, way: str, when: float | Callable[[], bool], data: Path) -> Death:
    """Let a run begin, have its process die then, and look what the cell does.

    ``when`` is s after the run's begin, or what has come about by then.
    """
    with at.victim(data) as (process, said):
        if callable(when):
            at.wait(when)
        else:
            time.sleep(when)
        was_on, laser_was_on = at.truth.cell_is_on(), at.truth.laser_is_on()
        died = time.monotonic()
        os.kill(process.pid, getattr(signal, WAYS[way]))
        lit = cell = died
        end = died + _PATIENCE_S
        # Until the guard has gone: a cell that is switched on once more counts.
        while (not at.guard_is_gone() or process.poll() is None) and time.monotonic() < end:
            now = time.monotonic()
            cell = now if at.truth.cell_is_on() else cell
            lit = now if at.truth.laser_is_on() else lit
            time.sleep(_POLL_S)
        last = float("inf") if at.truth.cell_is_on() else cell - died
        dark = float("inf") if at.truth.laser_is_on() else lit - died
        return Death(
            was_on=was_on,
            open_after_s=last,
            laser_off_after_s=dark if laser_was_on or dark else None,
            on_s=at.truth.on_s(),
            stop=_stop(data, said["run"]),
        )


def _stop(data: Path, uid: str) -> dict[str, Any] | None:
    name, doc = list(documents(journal_path(data, uid)))[-1]
    return dict(doc) if name == "stop" else None


def guards(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Kill hosts at random instants, with every potentiostat, in every way; then odd cases."""
    outcomes = [
        _deaths(folder / "open", effort, effort.deaths),
        _finishing(folder / "finish", effort, max(1, effort.deaths // 10)),
        _guard_dies(folder / "guard", effort),
        _both_die(folder / "both", effort),
    ]
    try:
        outcomes.append(_disk_is_full(folder / "disk", effort))
    except NotTriedError as error:
        outcomes.append(Outcome("host killed, its disk full", "", str(error), 0, tried=False))
    return outcomes


def _deaths(folder: Path, effort: Effort, count: int) -> Outcome:
    chosen = random.Random(effort.seed)
    makers = [
        ("methodscript", "keithley", "methodscript", "rodeostat")[n % 4] for n in range(count)
    ]
    instants = [chosen.uniform(0.0, PLATE_S + 0.5) for _ in makers]

    def of_maker(maker: str) -> list[tuple[str, str, Death]]:
        found = []
        with station(folder / maker, maker, seed=effort.seed) as at:
            for n in (n for n, of in enumerate(makers) if of == maker):
                way = list(WAYS)[(n // 4) % len(WAYS)]
                data = folder / maker / f"data{n}"
                found.append((maker, way, die(at, way, instants[n], data)))
        return found

    # Two benches side by side: one computer, and other work on it, as in a laboratory.
    with ThreadPoolExecutor(2) as side_by_side:
        deaths = [x for found in side_by_side.map(of_maker, dict.fromkeys(makers)) for x in found]
    wrong = [_what_is_wrong(death) for _, _, death in deaths]
    held = sum(not why for why in wrong)
    times = [death.open_after_s for _, _, death in deaths if death.was_on]
    lasers = [d.laser_off_after_s for _, _, d in deaths if d.laser_off_after_s]
    slowest = max(deaths, key=lambda x: x[2].open_after_s)
    told = (
        f"{held} of {count} deaths held ({len(times)} under current): cell open after "
        f"{_of(times)} s, longest {slowest[0]}, {slowest[1]}; laser off after {_of(lasers)} s"
    )
    told += "".join(
        f"; {maker}, {way}: {why}"
        for (maker, way, _), why in zip(deaths, wrong, strict=True)
        if why
    )
    return Outcome(
        f"host dies at a random instant ({', '.join(WAYS)}; three potentiostats), {count} times",
        f"cell open and laser off within {WITHIN_S:g} s, never beyond its limits, recorded",
        told,
        0,
        held == count,
    )


def _what_is_wrong(death: Death) -> str:
    if death.open_after_s > WITHIN_S:
        return f"cell open after {death.open_after_s:.2f} s"
    if (death.laser_off_after_s or 0.0) > WITHIN_S:
        return f"laser off after {death.laser_off_after_s:.2f} s"
    if death.on_s > _PROGRAM_S + 0.3:
        return f"the cell was on for {death.on_s:.2f} s"
    if death.stop is None:
        return "no stop document"
    # A run that had ended as planned, or whose end was being written, needs no guard.
    if "guard" not in death.stop and death.stop["exit_status"] != "success":
        return f"the guard is not in the stop document: {death.stop.get('reason')}"
    return ""


def _finishing(folder: Path, effort: Effort, count: int) -> Outcome:
    """Let the instrument go to its program's end, and look that the cell is opened there."""
    chosen = random.Random(effort.seed)
    wrong: list[str] = []
    lasted: list[float] = []
    with station(folder, "methodscript", finish=True, seed=effort.seed) as at:
        for n in range(count):
            death = die(at, list(WAYS)[n % len(WAYS)], chosen.uniform(1.5, 4.0), folder / f"d{n}")
            lasted.append(death.on_s)
            if not PLATE_S - 0.2 < death.on_s < PLATE_S + 0.2:
                wrong.append(f"it was on for {death.on_s:.2f} s")
            elif death.stop is None or "guard" not in death.stop:
                wrong.append("the guard is not in the stop document")
    return Outcome(
        f"the same, declared let_instrument_finish, {count} times",
        f"the program goes on to its own end ({PLATE_S:g} s), then the cell is open",
        f"on for {_of(lasted)} s; {'; '.join(wrong) or 'cell open at its end, each time'}",
        0,
        not wrong,
    )


def _guard_dies(
    folder: Path, effort: Effort, *, within_s: float = WITHIN_S, plate_s: float = PLATE_S
) -> Outcome:
    """Kill the guard; the session starts another, which then serves when the session dies.

    Another ``within_s`` is for a computer that is busy, on which a plating has to last longer too.
    """
    patience_s = max(10.0, within_s)
    with station(folder, "methodscript", seed=effort.seed, plate_s=plate_s) as at:
        with at.victim(folder / "data") as (process, said):
            os.kill(said["guard"], signal.SIGKILL)
            began = time.monotonic()
            fresh = at.wait(lambda: any(pid != said["guard"] for pid in at.guards()), patience_s)
            went_on = process.poll() is None
            time.sleep(max(0.0, 2.0 - (time.monotonic() - began)))
            died = time.monotonic()
            process.kill()
            at.wait(lambda: not at.truth.cell_is_on(), patience_s)
            opened = time.monotonic() - died
            at.wait(at.guard_is_gone)
        return Outcome(
            "guard killed, then the host",
            f"another guard, the run goes on; cell open within {within_s:g} s of the host's death",
            f"another after {fresh:.1f} s, run {'went on' if went_on else 'ENDED'}; cell open "
            f"after {opened:.2f} s",
            0,
            went_on and fresh < patience_s and opened < within_s,
        )


def _both_die(folder: Path, effort: Effort) -> Outcome:
    """Kill guard and host at once: what the instrument keeps itself is all there is."""
    with station(folder, "methodscript", seed=effort.seed) as at:
        with at.victim(folder / "data") as (process, said):
            at.wait(at.truth.cell_is_on)
            os.kill(said["guard"], signal.SIGKILL)
            process.kill()
            at.wait(lambda: not at.truth.cell_is_on(), 2 * PLATE_S)
            on_s = at.truth.on_s()
        return Outcome(
            "guard and host killed at once",
            f"the program ends within its own limits ({PLATE_S:g} s), the cell is open then",
            f"on for {on_s:.2f} s, then open",
            0,
            0 < on_s < PLATE_S + 0.2,
        )


def _disk_is_full(folder: Path, effort: Effort) -> Outcome:
    """Kill the host while its disk is full: the cell first, the record when there is room."""
    with (
        # A full disk alone would end a run whose spectra have no room.
        station(folder / "station", "methodscript", laser=False, seed=effort.seed) as at,
        mounted(folder / "disk", "-t", "tmpfs", "-o", "size=40m", "tmpfs") as root,
    ):
        disk = SmallDisk(root)
        with at.victim(disk.data) as (process, said):
            at.wait(at.truth.cell_is_on)
            disk.fill()
            time.sleep(0.5)
            died = time.monotonic()
            process.kill()
            at.wait(lambda: not at.truth.cell_is_on(), 10.0)
            opened = time.monotonic() - died
            time.sleep(1.0)
            disk.free()
            at.wait(at.guard_is_gone, 20.0)
            stop = _stop(disk.data, said["run"])
        told = stop is not None and "guard" in stop
        return Outcome(
            "host killed, its disk full",
            f"cell open within {WITHIN_S:g} s; what was done is recorded when there is room",
            f"cell open after {opened:.2f} s; {'recorded' if told else 'NOT RECORDED'} then",
            0,
            opened < WITHIN_S and told,
        )


def _of(times: Sequence[float | None]) -> str:
    """Return median and largest of some times."""
    found = [x for x in times if x is not None]
    if not found:
        return "-"
    return f"{statistics.median(found):.2f} (median), {max(found):.2f} (largest)"
