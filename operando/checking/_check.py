"""The check of a bench: all of it, connected for this; and the quick part of it, before a run."""

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.entry import AddressedEntry
from instruments.errors import InstrumentError
from instruments.thermostat.contract import AQUEOUS_BATHS, ThermostatState
from instruments.thermostat.entry import ThermostatEntry
from operando.checking._cell import look_at_cell
from operando.checking._clocks import computer_clock, instrument_clocks
from operando.checking._guarding import guard_item, guarding
from operando.checking._instruments import read_back
from operando.checking._report import Item, Report, failed
from operando.checking._sensors import sensors_of
from operando.checking._space import free_space
from operando.configuration import ConfigurationError, check_technique, program_of
from operando.history import HistoryError, replayed_cell
from operando.journal import JournalError, check_writable
from operando.room import Estimate, estimate
from plans.guards import keep_headspace
from techniques import Assignment, Cell, Protocol, SafetyLimits

_log = logging.getLogger(__name__)

LEADER = "potentiostat"


def check(
    bench: BenchFile,
    *,
    data_dir: Path,
    protocol: Protocol | None = None,
    cell: Cell | None = None,
) -> Report:
    """Connect the whole bench, look at everything that can be, and leave it safe.

    Nothing stops it: an instrument that does not answer is one item of the report, and the others
    are looked at all the same. Nothing is moved and no light is switched on; the cell is measured
    at open circuit, and only a dummy cell gets a current. Connecting a potentiostat ends a program
    that runs on it, and opens its cell. Raises nothing for what an instrument does.

    Args:
        bench: The bench file.
        data_dir: Where runs are to be recorded.
        protocol: What is planned; ``None``: its room and its limits are not looked at.
        cell: What hangs on the potentiostat; ``None``: its potential is told, not judged.
    """
    items: list[Item] = []
    connected = Bench(bench)
    with guarding(connected, data_dir) as guard:
        try:
            silent = connected.connect_what_answers()
            connected.settle(guard.unsafe)
            # A potentiostat that says nothing may be running a program.
            cell_open = not any(bench.instruments[name].kind == "potentiostat" for name in silent)
            guard.wait(cell_open=cell_open)
            held = cell_open and guard.item.status == "ok"
            items += _connections(bench, connected, silent, held=held)
            drivers = _answering(connected, silent)
            items += _looked_at(bench, drivers, data_dir, protocol, cell)
            items.append(guard.now())
        finally:
            connected.close()
    if connected.left_unsafe:
        items.append(
            Item(
                "left safe",
                "failed",
                "\n".join(connected.left_unsafe),
                "disconnect the cell and switch the light off by hand",
            )
        )
    return Report(bench.name, tuple(items))


def check_connected(
    bench: Bench,
    *,
    data_dir: Path,
    protocol: Protocol | None = None,
    cell: Cell | None = None,
    guard: Mapping[str, Any] | None = None,
) -> Report:
    """Look at everything of a bench that is connected already, before a run on it.

    As `check`, but nothing is connected or identified anew, and the bench stays connected.
    """
    away = [name for name in bench.drivers if bench.comes_and_goes(name)]
    told = "it is shared, and connected for each use only"
    items = [Item(f"{name}: state", "not checked", told) for name in away]
    items += _looked_at(
        bench.file, _answering(bench, dict.fromkeys(away)), data_dir, protocol, cell
    )
    return Report(bench.file.name, (*items, guard_item(guard)))


def _answering(bench: Bench, silent: Mapping[str, Exception | None]) -> dict[str, Any]:
    return {name: driver for name, driver in bench.drivers.items() if name not in silent}


def _connections(
    file: BenchFile, bench: Bench, silent: Mapping[str, Exception], *, held: bool
) -> Iterator[Item]:
    for name, entry in file.instruments.items():
        driver = bench.drivers.get(name)
        if driver is None:  # the guard's, which watches only when it has read its relays back
            told = "the guard holds it: its relays read back closed"
            if not held:
                told = "only the guard closes it, and only over a cell that is known to be open"
            yield Item(f"{name}: relays", "ok" if held else "not checked", told)
            continue
        error = silent.get(name)
        if error is not None:
            means = entry.unreached_means
            yield failed(
                f"{name}: connected",
                error,
                f"correct the bench file or the wiring; until then: {means}" if means else "",
            )
            continue
        try:
            told = driver.identify()
        except InstrumentError as failure:
            yield failed(f"{name}: identity", failure)
            continue
        known = ", ".join(
            str(told[key]) for key in ("model", "serial_number", "firmware") if told.get(key)
        )
        wanted = isinstance(entry, AddressedEntry) and entry.serial_number is not None
        compared = "; its serial number is that of the bench file" if wanted else ""
        yield Item(f"{name}: identity", "ok", f"{known or 'answers'}{compared}")


def _looked_at(
    file: BenchFile,
    drivers: Mapping[str, Any],
    data_dir: Path,
    protocol: Protocol | None,
    cell: Cell | None,
) -> Iterator[Item]:
    yield from read_back(file, drivers)
    yield from _cell(file, drivers, cell)
    if cell is not None:
        yield from _baths(file, drivers, cell)
    if protocol is not None and cell is not None:
        yield from _plan(file, drivers.get(LEADER), protocol, cell)
    yield from _room(file, drivers, data_dir, protocol, cell)
    yield computer_clock()
    yield from instrument_clocks(file, drivers)
    yield from _calibrations(file)


def _cell(file: BenchFile, drivers: Mapping[str, Any], cell: Cell | None) -> Iterator[Item]:
    entry, driver = file.instruments.get(LEADER), drivers.get(LEADER)
    if entry is None:
        return
    what = f"{LEADER}: open circuit"
    if driver is None:
        yield Item(what, "not checked", "it did not connect")
        return
    try:
        recorded = replayed_cell(str(getattr(entry, "address", "")))
    except HistoryError as error:
        yield failed(what, error)
        return
    if recorded is not None:
        # Its time goes on while a program runs: a look at it would take from the record.
        yield Item(what, "not checked", f"a recorded cell answers (of {recorded['of']})")
        return
    limits = file.limits
    try:
        limits = limits if cell is None else cell.limits.narrowed_by(limits)
    except (ValidationError, ValueError) as error:
        yield failed(f"{LEADER}: limits", error, "widen the limits of bench or cell file")
        limits = SafetyLimits()
    try:
        yield from look_at_cell(LEADER, driver, cell, limits)
    except InstrumentError as error:
        yield failed(what, error)
    except Exception as error:
        # Any: a driver of another package; whatever it is, the rest is to be looked at.
        _log.debug("the look at the cell failed", exc_info=True)
        yield failed(what, RuntimeError(f"{type(error).__name__}: {error}"))


def _baths(file: BenchFile, drivers: Mapping[str, Any], cell: Cell) -> Iterator[Item]:
    """Yield whether the cell may stand in the bath, as it is now and as it is set."""
    for name, entry in file.instruments.items():
        driver = drivers.get(name)
        if driver is None or not isinstance(entry, ThermostatEntry):
            continue
        what = f"{name}: cell"
        if cell.metal == "Na" and entry.bath_liquid in AQUEOUS_BATHS:
            yield Item(
                what,
                "failed",
                f"the bath is {entry.bath_liquid} and the cell holds sodium, which burns in it",
                "fill it with silicone oil, or take a dry block",
            )
            continue
        low, high = cell.temperature_min_k, cell.temperature_max_k
        if (low, high) == (None, None):
            continue
        try:
            state: ThermostatState = driver.state()
        except InstrumentError:
            continue  # told already
        there = [("is at", state.temperature_k)]
        there += [("goes to", state.setpoint_k)] if state.controlling else []
        beyond = [
            f"{does} {kelvin:.2f} K"
            for does, kelvin in there
            if (low is not None and kelvin < low) or (high is not None and kelvin > high)
        ]
        allowed = (
            f"{cell.cell_id} may be at {'any' if low is None else f'{low:g}'} to "
            f"{'any' if high is None else f'{high:g}'} K"
        )
        if beyond:
            yield Item(
                what,
                "failed",
                f"the bath {' and '.join(beyond)}; {allowed}",
                "set it within these temperatures before the cell is put in",
            )
        else:
            yield Item(what, "ok", f"the bath is at {state.temperature_k:.2f} K; {allowed}")


def _plan(file: BenchFile, driver: Any, protocol: Protocol, cell: Cell) -> Iterator[Item]:
    """Yield whether bench, cell and instrument allow what is planned."""
    name = "protocol"
    try:
        check_technique(file, cell, protocol)
        if driver is not None:
            limits = cell.limits.narrowed_by(protocol.limits).narrowed_by(file.limits)
            assignment = Assignment(
                technique=program_of(protocol, cell),
                area_cm2=cell.area_cm2,
                metal_electrode=cell.metal_electrode,
                reference=cell.reference_electrode is not None,
                limits=limits,
            )
            driver.check(assignment)
            keep_headspace(cell, assignment, sensors_of(file), protocol.every, judged=True)
    except (ConfigurationError, InstrumentError) as error:
        yield failed(name, error)
        return
    who = "bench and cell allow it" if driver is None else "bench, cell and instrument allow it"
    yield Item(name, "ok", f"{protocol.name} on {cell.cell_id}: {who}")


def _room(
    file: BenchFile,
    drivers: Mapping[str, Any],
    data_dir: Path,
    protocol: Protocol | None,
    cell: Cell | None,
) -> Iterator[Item]:
    try:
        check_writable(data_dir)
    except JournalError as error:
        yield failed("data folder", error)
    else:
        yield Item("data folder", "ok", f"can be written: {data_dir}")
    needed: Estimate | None = None
    if protocol is not None and cell is not None:
        try:
            program_of(protocol, cell)
            needed = estimate(file, protocol, cell, drivers)
        except ConfigurationError:
            needed = None  # told by the item of the protocol
    yield from free_space(data_dir, needed)


def _calibrations(file: BenchFile) -> Iterator[Item]:
    told = file.calibration_flags()
    for kind in ("expired", "missing"):
        these = [flag.told for flag in told if flag.flag == kind]
        if not these:
            continue
        refused = getattr(file.calibrations, kind) == "refuse"
        yield Item(
            f"calibrations {kind}",
            "failed" if refused else "warning",
            "\n".join(these),
            "calibrate, and write it into the bench file",
        )
    if not told:
        yield Item("calibrations", "ok", "none is too old or missing")


def recorded(report: Report) -> dict[str, Any]:
    """Return what a start document tells of a check that was made before its run."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"done": True, "at": at, **report.as_dict()}


def left_out(why: str) -> dict[str, Any]:
    """Return what a start document tells of a check that was not made."""
    return {"done": False, "why": why}
