"""Which cell is in which station: it is looked at when it comes, and remembered until it goes.

Nothing is started on a cell that is not mounted. What a look shows is judged here, by the process
of whoever mounts; the look itself is the work of the station's supervisor and worker.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from operando.configuration import load_bench_limits, load_stations
from operando.logbook import LONGEST, NoteError, write_note
from operando.queueing import _redis
from operando.queueing._known import AGAIN, OVER, known_of
from operando.queueing.commands import look_key
from operando.queueing.errors import QueueError
from operando.queueing.items import as_data
from operando.queueing.look import Look
from operando.queueing.model import Mount
from operando.queueing.places import whereabouts
from operando.queueing.store import Store, told
from techniques import Cell, Electrode

if TYPE_CHECKING:
    from operando.queueing._fitness import Verdict
    from techniques import StationEntry, StationsFile

logger = logging.getLogger(__name__)

LOOK_WITHIN_S = 120.0
_POLL_S = 0.1


def finished_key(cell_id: str) -> str:
    """Return the key under which it is remembered that nothing is run on a cell any more."""
    return f"operando:finished:{cell_id}"


def request_key(station: str) -> str:
    """Return the key of the request to look at a cell in a station, which its supervisor takes."""
    return f"operando:mounting:{station}"


def finish(
    store: Store, station: str, why: str, data_dir: Path, by: str | None = None
) -> Mount | None:
    """Remember that nothing is run any more on the cell in a station; return its mount.

    Also after it was taken out, or Redis lost: `Mounting.mount` refuses it then. ``None``: no cell
    is there.
    """
    mount = store.mount(station)
    if mount is None:
        return None
    mount = mount.model_copy(update={"state": "finished", "why_finished": why})
    store.put_mount(mount)
    _remember_finished(store, mount)
    try:
        write_note(data_dir, f"{OVER}{why}"[:LONGEST], by, station, mount.cell_id)
    except NoteError as error:
        logger.warning("cell %s: %s", mount.cell_id, error)
    return mount


def _remember_finished(store: Store, mount: Mount) -> None:
    value = {"station": mount.station, "why": mount.why_finished, "at": time.time()}
    with told():
        store.client.set(finished_key(mount.cell_id), json.dumps(value))


@dataclass(frozen=True)
class Mounted:
    """What became of a cell that was to be mounted.

    Attributes:
        mount: As it is kept, or would have been.
        verdict: What was found of the cell.
        kept: Whether it is mounted.
    """

    mount: Mount
    verdict: "Verdict"
    kept: bool


class Mounting:
    """Mounts cells in the stations of a data folder.

    Every method raises QueueError where something cannot be; the message says what to do.

    Args:
        data_dir: The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file: StationsFile | None = None
        self._opened: Store | None = None

    def mounts(self) -> list[Mount]:
        """Return what is mounted, by station."""
        return self._store().mounts()

    def refuse(self, cell: Cell, station: str, again: str = "") -> None:
        """Raise QueueError if a cell cannot be mounted in a station, whatever it measures.

        Args:
            cell: The cell.
            station: Where to.
            again: Why it is mounted although it is finished; empty: it is not then.
        """
        self._entry(station)
        store = self._store()
        where = store.mounted_at(cell.cell_id)
        present = store.mount(station)
        if where is not None and where != station:
            raise QueueError(
                f"cell {cell.cell_id} is mounted in station {where}, and a cell is in one place: "
                f"operando unmount --station {where}, if it is not there any more"
            )
        if present is not None and present.cell_id != cell.cell_id:
            state = "finished" if present.state == "finished" else "mounted"
            raise QueueError(
                f"cell {present.cell_id} is {state} in station {station}: take it out, and say "
                f"operando unmount --station {station}"
            )
        _refuse_while_under_way(store, station, unless=cell.cell_id)
        finished = self._finished(store, cell.cell_id)
        if finished and not again:
            raise QueueError(
                f"cell {cell.cell_id} is finished ({finished}): is the label right? To run it once "
                "more say --again WHY, which is recorded"
            )
        state_of = store.station(station)
        if state_of is None or state_of.wanted != "open" or state_of.state == "closed":
            raise QueueError(
                f"station {station} is not open, and the cell is looked at there: operando station "
                f"start {station}"
            )
        if state_of.state == "running":
            raise QueueError(
                f"station {station} runs item {(state_of.item or '?')[:8]}: nothing is mounted "
                "there before it has ended"
            )
        if state_of.state == "lost":
            raise QueueError(f"station {station} is lost: {state_of.why or 'its worker is gone'}")

    def mount(
        self,
        cell: Cell,
        station: str,
        by: str,
        *,
        accept: bool = False,
        again: str = "",
        within_s: float = LOOK_WITHIN_S,
        say: Callable[[str], object] = lambda text: None,
    ) -> Mounted:
        """Look at a cell that was put into a station, and remember it if it is what it should be.

        Args:
            cell: The cell, as its file tells it.
            station: Where it is.
            by: Who has put it there and looked at it.
            accept: Whether it is mounted although something speaks against it; recorded.
            again: Why it is mounted although it is finished; recorded.
            within_s: How long the look is waited for, s.
            say: Is told what is done.
        """
        entry = self._entry(station)
        self.refuse(cell, station, again)
        # Before the look: that is a run of the cell as well.
        known = known_of(self._data_dir, cell.cell_id)
        limits = cell.limits.narrowed_by(load_bench_limits(entry.bench).limits)
        say(f"Station {station} looks at the cell: open circuit, then an impedance of 5 mV.")
        look = self._look(cell, station, by, within_s)
        from operando.queueing._fitness import judged  # slow to import

        verdict = judged(cell, look, known, limits)
        if again:
            verdict.told.append(f"mounted again: {again}")
        here = whereabouts(self._data_dir)
        mount = Mount(
            station=station,
            cell_id=cell.cell_id,
            sample=as_data(cell),
            by=by,
            at=time.time(),
            ocv_v=look.ocv_v,
            series_ohm=look.series_ohm,
            expected=verdict.expected,
            findings=tuple(verdict.findings),
            accepted=bool(verdict.findings) and accept,
            host=here["host"],
            data_dir=here["data_dir"],
            potentiostat=look.potentiostat,
        )
        kept = not verdict.findings or accept
        if kept:
            # Somebody else may have mounted something meanwhile: then this is refused.
            self._store().put_mount(mount)
            with told():
                self._store().client.delete(finished_key(cell.cell_id))
        self._note(mount, look, verdict, kept=kept)
        return Mounted(mount, verdict, kept)

    def unmount(self, station: str, by: str, why: str = "") -> Mount:
        """Forget the cell in a station, which was taken out; return what was mounted."""
        self._entry(station)
        store = self._store()
        mount = store.mount(station)
        if mount is None:
            _refuse_while_under_way(store, station)
            store.remove_mount(station)  # what is left of one that nobody could read
            raise QueueError(f"no cell is mounted in station {station}")
        state = store.station(station)
        if state is not None and state.state == "running":
            raise QueueError(
                f"station {station} runs item {(state.item or '?')[:8]} on cell {mount.cell_id}: "
                f"operando queue abort {station} first, or wait for its end"
            )
        _refuse_while_under_way(store, station)
        if mount.state == "finished":
            _remember_finished(store, mount)
        store.remove_mount(station)
        text = f"unmounted{f': {why}' if why else ''}"
        write_note(self._data_dir, text, by, station, mount.cell_id)
        return mount

    # -- looking

    def _look(self, cell: Cell, station: str, by: str, within_s: float) -> Look:
        store, token = self._store(), secrets.token_urlsafe(12)
        request = {"sample": as_data(cell), "by": by, "token": token, "at": time.time()}
        with told():
            taken = store.client.set(
                request_key(station), json.dumps(request), nx=True, ex=round(within_s) + 1
            )
        if not taken:
            raise QueueError(f"somebody else is mounting a cell in station {station} right now")
        deadline = time.monotonic() + within_s
        text = None
        try:
            while text is None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                text = store.text(look_key(token))
        except KeyboardInterrupt:
            self._withdraw(store, station, token)
            raise
        if text is None:
            self._withdraw(store, station, token)
            state = store.station(station)
            unknown = ["nothing is known of it"]
            how = unknown if state is None else [f"it is {state.state}", state.told_why]
            raise QueueError(
                f"station {station} has not looked at the cell within {within_s:g} s "
                f"({', '.join(filter(None, how))}): operando station status {station}"
            )
        return _told_look(station, text)

    @staticmethod
    def _withdraw(store: Store, station: str, token: str) -> None:
        text = store.text(request_key(station))
        if text is not None and token in text:
            with told():
                store.client.delete(request_key(station))

    def _finished(self, store: Store, cell_id: str) -> str:
        text = store.text(finished_key(cell_id))
        if text is not None:
            try:
                return str(json.loads(text)["why"]) or "nobody said why"
            except (ValueError, KeyError, TypeError):
                store.poison(finished_key(cell_id), text, "it tells no reason")
        mount = next((one for one in store.mounts() if one.cell_id == cell_id), None)
        if mount is not None and mount.state == "finished":
            return mount.why_finished or "nobody said why"
        return known_of(self._data_dir, cell_id).finished

    def _note(self, mount: Mount, look: Look, verdict: "Verdict", *, kept: bool) -> None:
        seen = [] if look.ocv_v is None else [f"{look.ocv_v:.4f} V at open circuit"]
        seen += [] if look.series_ohm is None else [f"{look.series_ohm:.4g} ohm"]
        text = f"{'mounted' if kept else 'not mounted'}: {', '.join(seen) or 'nothing was seen'}"
        if verdict.findings:
            text += f"; {'accepted: ' if kept else ''}{'; '.join(verdict.findings)}"
        again = [one for one in verdict.told if one.startswith("mounted again")]
        text += "".join(f"{AGAIN}{one.removeprefix('mounted again: ')}" for one in again)
        write_note(self._data_dir, text, mount.by, mount.station, mount.cell_id, look.run_uid)

    # -- finding

    def _store(self) -> Store:
        if self._opened is None:
            where = _redis.address(self._data_dir, self._stations())
            self._opened = Store(_redis.client(where))
        return self._opened

    def _stations(self) -> "StationsFile":
        if self._file is None:
            self._file = load_stations()
        return self._file

    def _entry(self, station: str) -> "StationEntry":
        entry = self._stations().station(station)
        if entry is None:
            known = ", ".join(one.name for one in self._stations().stations)
            raise QueueError(f"there is no station {station!r}; there are {known}")
        return entry


def _refuse_while_under_way(store: Store, station: str, *, unless: str = "") -> None:
    """Raise QueueError while an item waits for how it goes on, but for the cell that it is on."""
    state = store.station(station)
    record = None if state is None or state.item is None else store.record(state.item)
    if record is not None and not record.over and record.cell_id != unless:
        raise QueueError(
            f"item {record.item[:8]} of station {station} is {record.state}, and goes on with cell "
            f"{record.cell_id}: decide first what becomes of it (operando station decide {station} "
            "skip|fail; operando station status tells whether it is held)"
        )


def _told_look(station: str, text: str) -> Look:
    try:
        said: Any = json.loads(text)
        if isinstance(said, dict) and "error" in said:
            raise QueueError(f"station {station} could not look at the cell: {said['error']}")
        look = Look.model_validate(said)
    except (ValueError, ValidationError) as error:
        raise QueueError(
            f"what station {station} saw of the cell cannot be understood: {error}"
        ) from None
    if look.run_uid is None:
        raise QueueError(f"station {station} could not look at the cell: {look.reason}")
    return look


def what_to_look_at(cell: Cell, station: str) -> list[str]:
    """Return lines that tell an operator what has to hang where, before he says that it does."""
    reference = cell.reference_electrode or "the counter electrode (two electrodes)"
    plated = "working" if cell.metal_electrode == "WE" else "counter"
    lines = [
        f"Station {station}: is this the cell, and are its cables on as they should be?",
        f"  label               {cell.cell_id}" + (f", batch {cell.batch}" if cell.batch else ""),
        f"  working cable on    {_electrode(cell.working_electrode)}",
        f"  counter cable on    {_electrode(cell.counter_electrode)}",
        f"  reference cable on  {reference}",
        f"  electrolyte         {cell.electrolyte.composition}",
        f"  {cell.metal} is plated on the {plated} electrode",
    ]
    if cell.dummy is not None:
        lines.append(f"  a dummy cell: {cell.dummy}")
    return lines


def _electrode(one: Electrode) -> str:
    told = one.material + (f" ({one.coating})" if one.coating else "")
    return f"{told}, {one.area_cm2:g} cm2" + (
        f", {one.thickness_um:g} um" if one.thickness_um is not None else ""
    )
