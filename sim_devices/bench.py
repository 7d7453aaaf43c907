"""A whole simulated bench in one process: one cell, one clock, and instruments wired together.

The relay board's terminals: relay 0 is the chromatograph's Start contact, relay 1 the laser of
`raman_ocean` where that is served, relay 2 the microscope's lamp, relays 4 to 7 the start lines of
boxes that write files (`sim_devices.served.START_LINES`); GPIO 3 is the chromatograph's Ready line.
Where an interlock is served its relay 0 is in the cell's lead and its relay 1 in the interlock
circuit of the laser, and both are open until somebody holds them.
Only the potentiostat moves the cell: without one its time stands still.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim_devices.cell import Cell, DummyCell, make_cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.mounting import (
    MOUNT_FILE,
    MOUNTED_FILE,
    LineFile,
    Mounting,
    MountRefusedError,
)
from sim_devices.pty_server import ByteServer
from sim_devices.served import LEADERS, SERVED, START_LINES, Wiring
from sim_devices.truth import Truth
from sim_devices.whereabouts import Whereabouts

if TYPE_CHECKING:
    from sim_devices.chromatograph import InjectingInstrument
    from sim_devices.micrograph import View
    from sim_devices.recorded_cell import RecordedCell
    from sim_devices.spectrum import Light

INSTRUMENTS = ("potentiostat", "relay_board", "camera", "raman", "thermostat")
START_RELAY, LASER_RELAY, LAMP_RELAY, READY_GPIO = 0, 1, 2, 3
SEPARATE_LASER = "raman_ocean"
_SEPARATE_LASER_MW = 100.0
READY_FILE, FAULTS_FILE, REPLAY_FILE = "ready", "faults", "replay.json"
SIMULATED_FILE = "simulated.json"
CHROMATOGRAMS = "chromatogram_files"
# Cells of this kind are measured by an instrument that has every error there is, drift included.
BLIND = "blind-"
FAULTS_BY_CELL_TIME = ("soft-short", "hard-short")

_POLL_S = 0.1
_POLL_WITH_FAULTS_DUE_S = 0.01
# Each random stream has its place, so that asking for one instrument less changes no other.
_SEEDS = (
    "cell",
    "potentiostat",
    "relay_board",
    "camera",
    "raman",
    "chromatograph",
    "thermostat",
)


@dataclass(frozen=True)
class Fault:
    """Something to break.

    Attributes:
        instrument: its published name, ``chromatograph``, or ``cell``.
        fault: what the instrument's ``inject`` knows, as `sim_devices.wire_faults.list_faults`
            tells; of a cell ``contact``, ``soft-short``, ``hard-short``, ``reference``.
        at_s: cell time; None: now.
        options: of the fault.
    """

    instrument: str
    fault: str
    at_s: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_kept_by_cell(self) -> bool:
        """Whether the cell itself waits for its time, which it finds to the microsecond."""
        return self.instrument == "cell" and self.fault in FAULTS_BY_CELL_TIME

    @classmethod
    def from_text(cls, text: str) -> Fault:
        """Read ``INSTRUMENT:FAULT[@CELL_SECONDS][:NAME=NUMBER...]``.

        E.g. ``potentiostat:garble@3600:count=2``.

        Raises:
            ValueError: it does not have this form.
        """
        try:
            instrument, what, *pairs = text.split(":")
            fault, _, at = what.partition("@")
            options = {name: float(value) for name, value in (p.split("=") for p in pairs)}
            return cls(instrument, fault, float(at) if at else None, options)
        except ValueError as error:
            raise ValueError(
                f"{text!r} is not INSTRUMENT:FAULT[@CELL_SECONDS][:NAME=NUMBER...]"
            ) from error

    @classmethod
    def from_json(cls, line: str) -> Fault:
        """Read ``{"instrument": ..., "fault": ..., "at": cell seconds, other options}``.

        Raises:
            ValueError: it is not such an object.
        """
        try:
            options = dict(json.loads(line))
            at = options.pop("at", None)
            instrument, fault = options.pop("instrument"), options.pop("fault")
            return cls(str(instrument), str(fault), None if at is None else float(at), options)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a fault: {line!r}") from error


class Bench:
    """The instruments on their wires, from construction to `close`."""

    def __init__(
        self,
        publish: Path,
        cell: str | None,
        *,
        history: Path | None = None,
        instrument_errors: bool | None = None,
        factor: float = 100.0,
        tolerance_s: float = 10.0,
        seed: int = 0,
        instruments: Sequence[str] = INSTRUMENTS,
        truth: Path | None = None,
        faults: Sequence[Fault] = (),
        prefer_pty: bool = True,
        wires: bool = False,
    ) -> None:
        """Start everything and publish the addresses.

        Args:
            publish: folder for the address files ``potentiostat``, ``relay_board``, ``camera``,
                ``raman``, ``thermostat`` and ``chromatograms``, and then ``ready`` with this
                process's id. Faults are taken from its file ``faults``, one JSON object per line,
                at any time.
            cell: name of a preset, if there is no history.
            history: a file of a cell that was measured before, which then takes the place of the
                simulated one; the file ``replay.json`` beside the addresses says so.
            instrument_errors: whether the potentiostat has errors and noise of its own; None: not
                on top of a history, which has those of the instrument that recorded it.
            factor: cell seconds per host second while somebody hurries.
            tolerance_s: how late followers may be, in cell seconds; caps the factor when there are
                any.
            seed: of every random stream.
            instruments: which of `INSTRUMENTS`, and of `sim_devices.served.SERVED`; the
                chromatograph comes with the relay board.
            truth: folder for what really happened; None: ``sim_truth`` in the publish folder.
            faults: to inject, also later.
            prefer_pty: give serial instruments pseudo-terminals where the system has them, else
                TCP.
            wires: write down in the truth, file ``wire-NAME``, what each serial instrument said and
                what of it, perhaps damaged, was sent.

        Raises:
            ValueError: unknown cell or instrument, a history that cannot be read or holds nothing
                for an instrument, or a living simulator publishes in this folder.
        """
        unknown = set(instruments) - set(INSTRUMENTS) - set(SERVED)
        if unknown or not instruments:
            raise ValueError(
                f"instruments {sorted(unknown)} are unknown; choose from "
                f"{', '.join((*INSTRUMENTS, *SERVED))}"
            )
        leaders = {"potentiostat", *LEADERS} & set(instruments)
        if len(leaders) > 1:
            raise ValueError(f"{', '.join(sorted(leaders))}: one cell hangs on one of them")
        if (cell is None) == (history is None):
            raise ValueError("give either the name of a cell or a history")
        self.publish_folder = publish
        self._taps_wires = wires
        self._name = cell or ""
        self.cell: Cell | DummyCell | RecordedCell
        if history is not None:
            self.cell = _recorded(history, instruments)
        else:
            self.cell = make_cell(str(cell), _seed(seed, "cell"))
            _refuse_to_look_at_a_dummy(self.cell, instruments)
        replayed = history is not None
        self._perfect = replayed if instrument_errors is None else not instrument_errors
        followers = set(instruments) - leaders
        self.clock = SimulatedClock(factor, tolerance_s=tolerance_s if followers else None)
        on_laser = {"on_laser": self.cell.shine} if isinstance(self.cell, Cell) else {}
        self.lights = Lights(self.clock, **on_laser)
        self.whereabouts = Whereabouts()
        self._laser_lock = threading.Lock()
        self._laser_contact, self._laser_released, self._separate_laser_mw = False, True, 0.0
        publish.mkdir(parents=True, exist_ok=True)
        _refuse_second_simulator(publish)
        for note in (REPLAY_FILE, SIMULATED_FILE, MOUNT_FILE, MOUNTED_FILE):
            (publish / note).unlink(missing_ok=True)  # of a simulator that was killed
        self.truth = Truth(truth or publish / "sim_truth")
        self._publishing = threading.RLock()
        self._published: list[Path] = []
        self._instruments: dict[str, Any] = {}
        self._closing: list[Callable[[], None]] = [self.truth.close]
        if history is not None:
            self._closing.insert(0, self._recorded_cell.history.close)
        self._faults = list(faults)
        self._fault_lines = LineFile(publish / FAULTS_FILE)
        self._mounting = Mounting(publish, self.mount)
        self._cells, self._cell_truth = 1, "cell"
        self._scenes: list[Any] = []
        self._shorts_told = 0
        self._stop = threading.Event()
        try:
            self.truth.write(
                "bench",
                "started",
                cell=cell,
                history=None if history is None else str(history),
                seed=seed,
                factor=factor,
                tolerance_s=tolerance_s,
                instruments=list(instruments),
                area_cm2=self.cell.area_cm2,
                pid=os.getpid(),
            )
            self._tell_cell()
            self._start(instruments, seed, prefer_pty)
            if history is not None:
                told = self._recorded_cell.history
                source = {"of": told.source, "uid": told.uid, "history": str(history)}
                self._publish(REPLAY_FILE, json.dumps(source) + "\n")
            else:
                self._publish(SIMULATED_FILE, json.dumps({"cell": cell, "seed": seed}) + "\n")
            self._keeper = threading.Thread(target=self._keep, name="bench", daemon=True)
            self._keeper.start()
            # It ends after all instruments, so that it tells how the cell was left.
            self._closing.insert(1, self._end_keeper)
            self._publish(READY_FILE, f"{os.getpid()}\n")
        except BaseException:
            self.close()
            raise

    @property
    def _recorded_cell(self) -> RecordedCell:
        """The cell, where it is one of history."""
        assert not isinstance(self.cell, Cell | DummyCell)
        return self.cell

    def _start(self, instruments: Sequence[str], seed: int, prefer_pty: bool) -> None:
        # Imported when asked for: a camera alone needs no potentiostat's language.
        if "relay_board" in instruments:
            self._start_relay_board(seed, prefer_pty, instruments)
        if "camera" in instruments:
            from sim_devices.micrograph import Micrograph

            camera = Micrograph(self._view(seed), self.lights, self.truth)
            self._adopt("camera", camera, camera.address)
        if "raman" in instruments:
            from sim_devices import wasatch_fid

            raman = wasatch_fid.serve(self._light(seed), self.clock, self.truth, self.lights)
            self._adopt("raman", raman, raman.address)
        if "thermostat" in instruments:
            self._start_thermostat(seed)
        if "potentiostat" in instruments:
            from sim_devices import methodscript

            blind = self._name.startswith(BLIND) and not self._perfect
            potentiostat = methodscript.serve(
                self.cell,
                self.clock,
                self.truth,
                _seed(seed, "potentiostat"),
                prefer_pty,
                perfect=self._perfect,
                imperfection=methodscript.DRIFTING if blind else None,
            )
            self._adopt("potentiostat", potentiostat, potentiostat.address)
        for name in (name for name in SERVED if name in instruments):
            wiring = Wiring(
                cell=self.cell,
                clock=self.clock,
                truth=self.truth,
                lights=self.lights,
                seed=_seed_of(seed, name),
                prefer_pty=prefer_pty,
                perfect=self._perfect,
                folder=self.publish_folder,
                instruments=self._instruments,
                whereabouts=self.whereabouts,
                start_lines=frozenset(START_LINES if "relay_board" in instruments else ()),
                laser_interlock=self._laser_interlock,
            )
            self._adopt(name, *SERVED[name](wiring))

    def _start_relay_board(self, seed: int, prefer_pty: bool, instruments: Sequence[str]) -> None:
        from sim_devices.relay_board import RelayBoard

        on_relay: dict[int, Callable[[bool], None]] = {LAMP_RELAY: self._lamp}
        if SEPARATE_LASER in instruments:
            on_relay[LASER_RELAY] = self._separate_laser
        for name in set(instruments) & set(START_LINES):
            on_relay[START_LINES[name]] = partial(self._start_line, name)
        gpio_level: dict[int, Callable[[], bool]] = {}
        chromatograph = self._chromatograph(seed)
        if chromatograph is not None:
            self._adopt("chromatograph", chromatograph, None)
            self._publish("chromatograms", f"folder://{chromatograph.folder.resolve()}\n")
            on_relay[START_RELAY] = chromatograph.start_contact
            gpio_level[READY_GPIO] = lambda: chromatograph.ready
        board = RelayBoard(
            on_relay=on_relay,
            gpio_level=gpio_level,
            prefer_pty=prefer_pty,
            seed=_seed(seed, "relay_board"),
        )
        self._adopt("relay_board", board, board.address)

    def _start_thermostat(self, seed: int) -> None:
        from sim_devices.thermostat import HuberPilot

        cell = self.cell
        thermostat = HuberPilot(
            cell, self.truth, cell_time=lambda: cell.t, seed=_seed(seed, "thermostat")
        )
        self._adopt("thermostat", thermostat, thermostat.address)

    def _chromatograph(self, seed: int) -> InjectingInstrument | None:
        """Return the chromatograph; None: there is nothing that it could measure."""
        folder = self.publish_folder / CHROMATOGRAMS
        if isinstance(self.cell, Cell):
            from sim_devices.chromatograph import Chromatograph

            number = _seed(seed, "chromatograph")
            return Chromatograph(self.cell, self.clock, self.truth, folder, seed=number)
        if isinstance(self.cell, DummyCell):
            return None
        if not self.cell.history.holds("chromatograph"):
            return None
        from sim_devices.recorded_views import RecordedChromatograph

        return RecordedChromatograph(self.cell, self.clock, self.truth, folder)

    def _view(self, seed: int) -> View:
        if isinstance(self.cell, Cell):
            from sim_devices.micrograph import SideView

            number = _seed(seed, "camera")
            return SideView(self.cell, number, whereabouts=self.whereabouts)
        from sim_devices.recorded_views import RecordedView

        return RecordedView(self._recorded_cell)

    def _light(self, seed: int) -> Light:
        if isinstance(self.cell, Cell):
            from sim_devices.spectrum import RamanScene

            self._scenes.append(RamanScene(self.cell, _seed(seed, "raman"), self.whereabouts))
            return self._scenes[-1]
        from sim_devices.recorded_views import RecordedLight

        return RecordedLight(self._recorded_cell)

    def inject(self, fault: Fault) -> None:
        """Break something now; what came of it is in the truth, file ``bench``."""
        instrument = self.cell if fault.instrument == "cell" else None
        instrument = instrument or self._instruments.get(fault.instrument)
        target = getattr(instrument, "line", instrument)
        options = dict(fault.options)
        if fault.is_kept_by_cell and fault.at_s is not None:
            options["at_s"] = fault.at_s
        outcome, done = "injected", None
        if target is None or not hasattr(target, "inject"):
            outcome = f"{fault.instrument!r} cannot be broken"
        else:
            try:
                done = target.inject(fault.fault, **options)
            except (TypeError, ValueError) as error:
                outcome = f"{type(error).__name__}: {error}"
        with self.cell.lock:
            t = self.cell.t
        self.truth.write(
            "bench",
            "fault",
            device=fault.instrument,
            fault=fault.fault,
            options=options,
            cell_t_s=t,
            host_s=time.monotonic(),
            outcome=outcome,
            **({} if done is None else {"done": done}),
        )

    def close(self) -> None:
        """Stop the instruments, the last one first, and remove what was published.

        Truth and chromatograms stay: they are results. An error of one instrument does not keep the
        others open; it is raised when all are closed.
        """
        with self._publishing:
            for path in (*reversed(self._published), *self._mounting.files):
                path.unlink(missing_ok=True)
            self._published.clear()
        self.clock.close()
        errors = []
        while self._closing:
            try:
                self._closing.pop()()
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("closing the simulated bench", errors)

    # ---- inside

    def _adopt(self, name: str, instrument: Any, address: str | None) -> None:
        self._instruments[name] = instrument
        line = getattr(instrument, "line", None)
        if line is not None:
            line.moved = partial(self._republish, name)
        self._closing.append(instrument.close)
        if self._taps_wires and isinstance(line := getattr(instrument, "line", None), ByteServer):
            line.tap = partial(self._tap, name)
        if address is not None:
            self._publish(name, f"{address}\n")

    def _tap(self, name: str, event: str, data: bytes, host_s: float) -> None:
        text = data.decode("latin-1")
        self.truth.write(f"wire-{name}", event, host_s=host_s, text=text)

    def _publish(self, name: str, content: str) -> None:
        path = self.publish_folder / name
        unfinished = self.publish_folder / f".{name}.part"
        with self._publishing:
            unfinished.write_text(content, encoding="utf-8")
            os.replace(unfinished, path)
            if path not in self._published:
                self._published.append(path)

    def _republish(self, name: str, address: str) -> None:
        """Publish where an instrument is that came back elsewhere; not when all is over."""
        path = self.publish_folder / name
        with self._publishing:
            if path in self._published:
                self._published.remove(path)
                self._publish(name, f"{address}\n")

    def _lamp(self, on: bool) -> None:
        self.lights.lamp = on

    def _start_line(self, name: str, closed: bool) -> None:
        box = self._instruments.get(name)  # none: it is not switched on yet
        if box is not None:
            box.contact(closed)

    def _separate_laser(self, on: bool) -> None:
        with self._laser_lock:
            self._laser_contact = on
            self._shine()

    def _laser_interlock(self, closed: bool) -> None:
        raman = self._instruments.get("raman")
        if raman is not None:
            raman.inject("close-interlock" if closed else "open-interlock")
        with self._laser_lock:
            self._laser_released = closed
            self._shine()

    def _shine(self) -> None:
        """Let the laser of `SEPARATE_LASER` shine while both its contacts are closed."""
        power_mw = _SEPARATE_LASER_MW if self._laser_contact and self._laser_released else 0.0
        if power_mw == self._separate_laser_mw:
            return
        self._separate_laser_mw = self.lights.laser_mw = power_mw
        with self.cell.lock:
            t = self.cell.t
        self.truth.write("raman", "laser", cell_t_s=t, power_mw=power_mw)

    def _keep(self) -> None:
        """Inject faults when they are due and write down what the cell has gone through."""
        while True:
            self._read_faults()
            self._mounting.serve()
            with self.cell.lock:
                t = self.cell.t
            due = [
                fault
                for fault in self._faults
                if fault.at_s is None or fault.at_s <= t or fault.is_kept_by_cell
            ]
            for fault in due:
                self._faults.remove(fault)
                self.inject(fault)
            self._tell_truth()
            wait_s = _POLL_WITH_FAULTS_DUE_S if self._faults else _POLL_S
            if self._stop.wait(wait_s):
                return

    def _end_keeper(self) -> None:
        self._stop.set()
        self._keeper.join()
        self._tell_truth()
        with self.cell.lock:
            self.truth.write(
                self._cell_truth,
                "end",
                cell_t_s=self.cell.t,
                **self.cell.summary(),
            )

    def _read_faults(self) -> None:
        path = self._fault_lines.path
        if path not in self._published and path.exists():
            self._published.append(path)
        for line in self._fault_lines.new():
            try:
                self._faults.append(Fault.from_json(line))
            except ValueError as error:
                self.truth.write("bench", "fault", outcome=str(error))

    # ---- another cell

    def mount(self, name: str, seed: int = 0) -> int:
        """Put another cell into the leads, fresh; return which one it is, the first being 1.

        What each cell went through is in a truth of its own: ``cell``, then ``cell-2`` and so on.

        Raises:
            MountRefusedError: the potentiostat drives the present one, or there is no such cell, or
                the bench's instruments have nothing to do with one of its kind.
        """
        cell = self.cell
        if not isinstance(cell, Cell | DummyCell):
            raise MountRefusedError("a cell of history is served, which cannot be changed")
        if any(getattr(one, "drives_cell", False) for one in self._instruments.values()):
            raise MountRefusedError(
                f"the potentiostat drives the cell {self._name}: it is changed while it is open"
            )
        try:
            fresh = make_cell(name, _seed(seed, "cell"))
        except ValueError as error:
            raise MountRefusedError(str(error)) from error
        if type(fresh) is not type(cell) or name.startswith(BLIND) != self._name.startswith(BLIND):
            raise MountRefusedError(
                f"this bench was made for cells like {self._name}, and {name} is of another kind: "
                "start a simulator for it"
            )
        self._tell_truth()
        with cell.lock:
            self.truth.write(self._cell_truth, "end", cell_t_s=cell.t, **cell.summary())
            cell.become(fresh)  # type: ignore[arg-type]
            t = cell.t
        for scene in self._scenes:
            scene.fresh()
        self._name = name
        self._shorts_told = 0
        self._cells += 1
        self._cell_truth = f"cell-{self._cells}"
        self.truth.write("bench", "mounted", number=self._cells, cell=name, seed=seed, cell_t_s=t)
        self._tell_cell()
        told = {"cell": name, "seed": seed, "number": self._cells}
        self._publish(SIMULATED_FILE, json.dumps(told) + "\n")
        return self._cells

    def _tell_cell(self) -> None:
        if isinstance(self.cell, Cell | DummyCell):
            self.truth.write(
                self._cell_truth,
                "made",
                name=self._name,
                parameters=self.cell.told(),
                contact_ohm=self.cell.contact_ohm,
            )

    def _tell_truth(self) -> None:
        with self.cell.lock:
            turns = list(self.cell.turns)
            self.cell.turns.clear()
            shorts, details = [], []
            remarks = []
            if isinstance(self.cell, Cell):
                shorts = self.cell.shorts[self._shorts_told :]
                details = self.cell.short_details[self._shorts_told :]
                self._shorts_told += len(shorts)
            elif not isinstance(self.cell, DummyCell):
                remarks = list(self.cell.remarks)
                self.cell.remarks.clear()
        for t, what, values in remarks:
            self.truth.write(self._cell_truth, what, cell_t_s=t, **values)
        for t, ledger in turns:
            self.truth.write(self._cell_truth, "turn", cell_t_s=t, working=ledger)
        for (t, kind), detail in zip(shorts, details, strict=True):
            self.truth.write(self._cell_truth, "short", cell_t_s=t, kind=kind, **detail)


def _recorded(history: Path, instruments: Sequence[str]) -> RecordedCell:
    from sim_devices.history import History
    from sim_devices.recorded_cell import RecordedCell

    opened = History(history)
    try:
        for instrument in instruments:
            if not opened.holds(instrument):
                opened.need(instrument)
    except BaseException:
        opened.close()
        raise
    return RecordedCell(opened)


def _refuse_to_look_at_a_dummy(cell: Cell | DummyCell, instruments: Sequence[str]) -> None:
    looking = {"camera", "raman"} & set(instruments)
    if isinstance(cell, DummyCell) and looking:
        raise ValueError(
            f"a dummy cell has nothing to see for {', '.join(sorted(looking))}: leave them out "
            "(--only potentiostat)"
        )


def _seed(seed: int, stream: str) -> int:
    return int(np.random.SeedSequence([seed, _SEEDS.index(stream)]).generate_state(1)[0])


def _seed_of(seed: int, name: str) -> int:
    """Return the seed of an instrument in `SERVED`, whichever others there are."""
    streams = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return int(streams.generate_state(1)[0])


def _refuse_second_simulator(publish: Path) -> None:
    try:
        pid = int((publish / READY_FILE).read_text(encoding="utf-8"))
        os.kill(pid, 0)
    except (OSError, ValueError):
        return  # nobody, or somebody who died without cleaning up
    raise ValueError(f"process {pid} is simulating a bench in {publish} already")
