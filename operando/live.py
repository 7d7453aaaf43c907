"""What is seen while a run goes on: a table in a terminal, without windows.

`LiveTable` takes documents as they come, from a RunEngine or from a stored run. `Aside` keeps
callbacks that only show something off the RunEngine's thread, where only the journal belongs.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TextIO

from operando.harmless import one_line, printable

if TYPE_CHECKING:
    from operando.analysis.segments import HalfCycle
    from operando.runs import Run, Stream

logger = logging.getLogger(__name__)

Document = Mapping[str, Any]
Callback = Callable[[str, Document], object]

PLATE, STRIP = -1, 1
IMPEDANCE = 2
ROLES = {-1: "plate", 0: "rest", 1: "strip", IMPEDANCE: "impedance", 3: "other"}
ROLES |= {4: "hold", 5: "sweep", 6: "scan"}
COULOMB_PER_MAH = 3.6
HEADING_EVERY_LINES = 40

# Streams that are counted in a column, and what one row of theirs is.
COUNTED = {
    "camera": "images",
    "raman": "spectra",
    "gas_chromatograph": "injections",
    "chromatogram": "results",
}


# Status bits worth a word; an underload (4) is harmless where a small potential is measured.
_TROUBLE = {1: "timing not met", 2: "OVERLOAD", 8: "overload near", 16: "rows lost before"}


@dataclass(frozen=True)
class _Row:
    t_s: float
    cycle: int
    half_cycle: int
    step: int
    role: int
    potential_v: float
    current_a: float
    flags: int
    step_t_s: float

    @property
    def place(self) -> tuple[int, int, int, int]:
        return self.cycle, self.half_cycle, self.step, self.role


@dataclass
class _Spectrum:
    points: int = 0
    highest_hz: float = 0.0
    lowest_hz: float = math.inf


class LiveTable:
    """Writes a table of a run's rows, one line per change of step and a few in between.

    Potential and current are what the instrument measured: E = E_WE - E_CE, with a reference
    electrode E_WE against it; a positive current oxidises the working electrode; j is per area of
    the metal electrode, q the charge of the half-cycle so far. After each cycle follows its
    coulombic efficiency, from the same code as the report's.

    Args:
        stream: Where the table goes; flushed after each document that wrote something.
        lines_per_s: Lines per second of wall time at most, apart from those at changes.
    """

    def __init__(self, stream: TextIO, *, lines_per_s: float = 2.0) -> None:
        self._out = stream
        self._interval_s = 1.0 / lines_per_s
        self._begin({})

    def _begin(self, start: Document) -> None:
        from operando.runs import RunBuilder  # numpy: not needed before there is a run

        self._start = start
        self._builder = RunBuilder()
        self._area_cm2 = _area_cm2(start.get("sample"))
        self._streams: dict[str, tuple[str, str]] = {}
        self._in_columns: set[str] = set()
        self._declared: list[str] = []
        self._counts: Counter[str] = Counter()
        self._spectra: dict[int, _Spectrum] = {}
        self._pages_since_spectrum = 0
        # Of the cycle that an earlier run began only a part is seen here: the report has it whole.
        self._told_cycles = set(range(int((start.get("resume") or {}).get("cycle", -1)) + 1))
        self._efficiencies: CycleEfficiencies | None = None
        self._leader: tuple[str, str] | None = None
        self._last: _Row | None = None
        self._shown: _Row | None = None
        self._shown_at = -math.inf
        self._charge_c = 0.0
        self._flags = 0  # of the rows since the last one shown
        self._lines = 0

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document of a run; kinds that show nothing are passed over.

        Besides documents, ``alarm`` with a ``text`` is shown as it is.
        """
        if name == "alarm":
            self._write(f"ALARM  {doc['text']}")
            self._out.flush()
            return
        if name == "start":
            self._begin(doc)
        self._builder(name, doc)
        match name:
            case "start":
                self._write(_title(doc, self._area_cm2))
            case "descriptor":
                device = next(iter(doc.get("object_keys", {})), doc["name"])
                self._streams[doc["uid"]] = (doc["name"], device)
                self._note_columns(doc)
                if doc["name"] in COUNTED and doc["name"] not in self._declared:
                    self._declared.append(doc["name"])
            case "event":
                page = {key: [value] for key, value in doc["data"].items()}
                self._rows(doc["descriptor"], page)
            case "event_page":
                self._rows(doc["descriptor"], doc["data"])
            case "stream_datum":
                self._rows_in_columns(doc["descriptor"])
            case "stop":
                self._end(doc)
        self._out.flush()

    def _note_columns(self, descriptor: Document) -> None:
        from operando.runs import lies_in_columns

        if lies_in_columns(descriptor):
            self._in_columns.add(descriptor["uid"])

    def _rows_in_columns(self, descriptor: str) -> None:
        if descriptor not in self._in_columns:
            return
        stream, _ = self._streams[descriptor]
        columns = self._builder.run.streams[stream].columns
        first = self._counts[stream]
        new = {key: values[first:] for key, values in columns.items()}
        if any(len(values) for values in new.values()):
            self._rows(descriptor, new)

    def _rows(self, descriptor: str, data: Mapping[str, Any]) -> None:
        stream, device = self._streams[descriptor]
        rows = len(next(iter(data.values()), ()))
        self._counts[stream] += rows
        if stream == "programs":
            from techniques.requests import AMENDED

            # What the title says of the protocol holds no more.
            for reason in map(str, data.get("programs_reason", ())):
                if reason.startswith(AMENDED):
                    self._write(reason)
        if f"{device}_half_cycle" in data and f"{device}_potential" in data:
            self._leader = (stream, device)
            self._leader_rows(_columns(device, data))
        elif f"{device}_frequency" in data:
            self._impedance_rows(device, data)

    def _leader_rows(self, rows: Sequence[_Row]) -> None:
        # The rows after a spectrum are collected just before its last points.
        self._pages_since_spectrum += 1
        if self._pages_since_spectrum > 1 and rows and rows[-1].role != IMPEDANCE:
            self._tell_spectra()
        for row in rows:
            last = self._last
            if last is None or row.place != last.place:
                if last is not None and last is not self._shown:
                    self._show(last)
                self._edge(last, row)
                self._last = row
                self._flags |= row.flags
                self._show(row)
                continue
            if last.half_cycle > 0 and row.role in (PLATE, STRIP):
                mean_a = 0.5 * (abs(row.current_a) + abs(last.current_a))
                self._charge_c += mean_a * (row.t_s - last.t_s)
            self._flags |= row.flags
            self._last = row
        newest = self._last
        if newest is None or newest is self._shown:
            return
        if time.monotonic() - self._shown_at >= self._interval_s:
            self._show(newest)

    def _edge(self, last: _Row | None, row: _Row) -> None:
        if last is not None and last.role == STRIP:
            # A page may reach further than the row at hand; what it knows of later is not told.
            self._tell_efficiencies(last.cycle or math.inf)
        if last is None or row.half_cycle != last.half_cycle:
            since_edge_s = max(row.step_t_s, 0.0) if row.role in (PLATE, STRIP) else 0.0
            self._charge_c = abs(row.current_a) * since_edge_s

    def _show(self, row: _Row) -> None:
        if self._lines % HEADING_EVERY_LINES == 0:
            self._write(self._heading())
        self._lines += 1
        density = charge = "-"
        if self._area_cm2:
            density = f"{row.current_a * 1e3 / self._area_cm2:.4f}"
            if row.half_cycle > 0:
                charge = f"{self._charge_c / COULOMB_PER_MAH / self._area_cm2:.5f}"
        counts = "".join(f" {self._counts[name]:>{len(COUNTED[name])}d}" for name in self._declared)
        told = [word for bit, word in _TROUBLE.items() if self._flags & bit]
        flags = f"  {', '.join(told)}" if told else ""
        self._write(
            f"{_clock(row.t_s):>10} {row.cycle:>5d} {row.half_cycle:>4d}"
            f" {ROLES.get(row.role, str(row.role)):<9} {row.potential_v:>10.5f}"
            f" {density:>11} {charge:>12}{counts}{flags}"
        )
        self._flags = 0
        self._shown = row
        self._shown_at = time.monotonic()

    def _heading(self) -> str:
        counts = "".join(f" {COUNTED[name]}" for name in self._declared)
        return (
            f"{'time':>10} {'cycle':>5} {'half':>4} {'step':<9} {'E / V':>10}"
            f" {'j / mA cm-2':>11} {'q / mAh cm-2':>12}{counts}"
        )

    def _impedance_rows(self, device: str, data: Mapping[str, Sequence[Any]]) -> None:
        self._pages_since_spectrum = 0
        for number, frequency_hz in zip(
            data[f"{device}_spectrum"], data[f"{device}_frequency"], strict=True
        ):
            spectrum = self._spectra.setdefault(int(number), _Spectrum())
            spectrum.points += 1
            spectrum.highest_hz = max(spectrum.highest_hz, frequency_hz)
            spectrum.lowest_hz = min(spectrum.lowest_hz, frequency_hz)

    def _tell_spectra(self) -> None:
        for number, spectrum in self._spectra.items():
            name = f"impedance spectrum {number}" if number else "impedance, a look at the cell"
            self._write(
                f"    {name}: {spectrum.points} points, "
                f"{spectrum.highest_hz:.4g} Hz to {spectrum.lowest_hz:.4g} Hz"
            )
        self._spectra.clear()

    def _tell_efficiencies(self, up_to_cycle: float) -> None:
        if self._leader is None or self._area_cm2 is None:
            return
        sample = self._start["sample"]
        if _symmetric(sample) or _of_metal(sample):
            return  # an electrode gives metal that was not plated: the ratio tells nothing
        if self._efficiencies is None:
            self._efficiencies = CycleEfficiencies(*self._leader, sample)
        for cycle, percent in self._efficiencies.of(self._builder.run).items():
            if cycle <= up_to_cycle and cycle not in self._told_cycles:
                self._told_cycles.add(cycle)
                self._write(f"    cycle {cycle}: coulombic efficiency {percent:.3f} %")

    def _end(self, stop: Document) -> None:
        if self._last is not None and self._last is not self._shown:
            self._show(self._last)
        self._tell_spectra()
        status = stop.get("exit_status", "unknown")
        self._tell_efficiencies(math.inf)
        reason = f" ({stop['reason']})" if stop.get("reason") else ""
        counts = ", ".join(
            f"{count} {COUNTED.get(name, f'rows of {name}')}"
            for name, count in self._counts.items()
        )
        self._write(
            f"run {str(self._start.get('uid', ''))[:8]} ended: {status}{reason}; "
            f"{counts or 'no rows'}"
        )

    def _write(self, line: str) -> None:
        self._out.write(printable(one_line(line)) + "\n")


def _columns(device: str, data: Mapping[str, Sequence[Any]]) -> list[_Row]:
    count = len(data[f"{device}_t"])

    def column(name: str) -> Sequence[Any]:
        return data.get(f"{device}_{name}", [0] * count)

    return [
        _Row(
            t_s=float(t),
            cycle=int(cycle),
            half_cycle=int(half),
            step=int(step),
            role=int(role),
            potential_v=float(e),
            current_a=float(i),
            flags=int(flags),
            step_t_s=float(step_t),
        )
        for t, cycle, half, step, role, e, i, flags, step_t in zip(
            column("t"),
            column("cycle"),
            column("half_cycle"),
            column("step"),
            column("role"),
            column("potential"),
            column("current"),
            column("flags"),
            column("step_t"),
            strict=True,
        )
    ]


def _area_cm2(sample: Any) -> float | None:
    """Return the area of the metal electrode a start document tells, cm2; None if it tells none."""
    if not isinstance(sample, Mapping):
        return None
    which = "counter" if sample.get("metal_electrode") == "CE" else "working"
    area = (sample.get(f"{which}_electrode") or {}).get("area_cm2")
    return float(area) if area else None


def _symmetric(sample: Mapping[str, Any]) -> bool:
    electrodes = [sample.get(f"{which}_electrode") or {} for which in ("working", "counter")]
    return all(
        one.get("metal") == sample.get("metal") or bool(one.get("predeposited_mah_cm2"))
        for one in electrodes
    )


def _electrodes(sample: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the metal electrode and the other one."""
    both = [sample.get(f"{which}_electrode") or {} for which in ("working", "counter")]
    return (both[1], both[0]) if sample.get("metal_electrode") == "CE" else (both[0], both[1])


def _is_full(sample: Mapping[str, Any]) -> bool:
    other = _electrodes(sample)[1]
    return bool(other.get("active_mass_mg") or other.get("specific_capacity_mah_g"))


def _of_metal(sample: Mapping[str, Any]) -> bool:
    made_of = _electrodes(sample)[0].get("metal")
    return made_of == sample.get("metal") and not _is_full(sample)


class CycleEfficiencies:
    """The coulombic efficiencies of a run that goes on; each half-cycle is evaluated once.

    Args:
        stream: Of the leader.
        device: The leader.
        sample: The cell, as the start document has it.
    """

    def __init__(self, stream: str, device: str, sample: Mapping[str, Any]) -> None:
        self._stream, self._device, self._sample = stream, device, sample
        self._over: list[HalfCycle] = []
        self._next_row = 0

    def of(self, run: "Run") -> dict[int, float]:
        """Return the coulombic efficiency, %, of each cycle that is over.

        Args:
            run: The run as it is now, with all rows of before.
        """
        from operando.analysis.blocks import blocks_of
        from operando.analysis.coulombic import coulombic_efficiency
        from operando.analysis.reservoir import RESERVOIR

        new = self._new(run)
        halves = [*self._over, *new]
        # The cycles on a reservoir of metal have one efficiency together.
        apart = {
            number
            for block in blocks_of(run)
            if block.name == RESERVOIR
            for number in range(block.first_half_cycle, block.last_half_cycle + 1)
        }
        holds_metal = bool(_electrodes(self._sample)[0].get("predeposited_mah_cm2"))
        found = coulombic_efficiency(
            tuple(half for half in halves if half.number not in apart),
            holds_metal=holds_metal and not _is_full(self._sample),
        )
        return dict(zip(found.cycles, found.percent, strict=True))

    def _new(self, run: "Run") -> "tuple[HalfCycle, ...]":
        """Return the half-cycles that were not over before; keep those that are over now."""
        from operando.analysis.segments import recorded_half_cycles

        whole = run.streams[self._stream]
        rows = replace(
            whole,
            columns={key: values[self._next_row :] for key, values in whole.columns.items()},
            time=whole.time[self._next_row :],
        )
        unnumbered = self._unnumbered(rows)
        if unnumbered:
            self._over, self._next_row, rows = [], 0, whole
        new = recorded_half_cycles(
            replace(run, streams={**run.streams, self._stream: rows}),
            area_cm2=_area_cm2(self._sample) or math.nan,
            metal_electrode=self._sample.get("metal_electrode", "WE"),
            stream=self._stream,
            device=self._device,
        )
        if len(new) > 1 and not unnumbered:
            numbers = rows.columns[f"{self._device}_half_cycle"]
            self._next_row += int((numbers == new[-1].number).argmax())
            self._over += new[:-1]
            return new[-1:]
        return new

    def _unnumbered(self, rows: "Stream") -> bool:
        """Return whether cycles are counted from the first half-cycle on: the program does not."""
        cycle, role = (rows.columns[f"{self._device}_{name}"] for name in ("cycle", "role"))
        return bool((((role == PLATE) | (role == STRIP)) & ~(cycle > 0)).any())


def _title(start: Document, area_cm2: float | None) -> str:
    if start.get("attachment_of"):
        told = start.get("attachment") or {}
        name = (told.get("source") or {}).get("name", "")
        return f"attached later: {told.get('kind', '')} {name} ({str(start.get('uid'))[:8]})"
    parts = [f"run {str(start.get('uid', ''))[:8]}"]
    parts.append(str(start.get("protocol") or start.get("plan_name") or ""))
    sample = start.get("sample")
    if isinstance(sample, Mapping):
        electrode = sample.get("metal_electrode", "WE")
        area = f", {area_cm2:g} cm2" if area_cm2 else ""
        parts.append(f"cell {sample.get('cell_id')} ({sample.get('metal')} on {electrode}{area})")
    bench = start.get("bench")
    if isinstance(bench, Mapping):
        parts.append(f"bench {bench.get('name')}")
    reference = sample.get("reference_electrode") if isinstance(sample, Mapping) else None
    against = f"E_WE against {reference}" if reference else "E_WE - E_CE"
    parts.append(f"E = {against}; j > 0 oxidises WE")
    return "  ".join(part for part in parts if part)


def _clock(t_s: float) -> str:
    """Return seconds as h:mm:ss.s."""
    tenths = round(t_s * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{tenths / 10:04.1f}"


class Aside:
    """Passes documents to callbacks in a thread of its own, in order.

    A callback that raises is logged and left out from then on: what only shows something must
    not end an experiment.
    """

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks = list(callbacks)
        self._queue: SimpleQueue[tuple[str, Document] | threading.Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, name: str, doc: Document) -> None:
        """Hand over one document; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="live", daemon=True)
            self._thread.start()
        self._queue.put((name, doc))

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything handed over was shown; return whether it was within the time."""
        if self._thread is None:
            return True
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Show what was handed over and end the thread; callable twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout_s)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            for callback in list(self._callbacks):
                try:
                    callback(*item)
                except Exception:
                    logger.exception("%r failed on a %s document; left out", callback, item[0])
                    self._callbacks.remove(callback)
