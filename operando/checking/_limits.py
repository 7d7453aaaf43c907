"""Who keeps which limit: the instrument itself, the plan, the guard process, the interlock.

A limit that is kept on this computer alone is SOFTWARE ONLY: nobody keeps it when the computer
hangs, or the cable to the instrument is pulled.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from instruments.abilities import Span, abilities_of
from instruments.bench_file import BenchFile
from instruments.entry import InstrumentEntry
from instruments.interlock.entry import InterlockEntry
from instruments.listing import span_text
from instruments.potentiostat.entry import PotentiostatEntry
from instruments.raman.entry import RamanEntry
from instruments.stage.entry import StageEntry
from instruments.thermostat.entry import ThermostatEntry
from operando.checking._sensors import sensors_of
from plans.guards import guard_rules
from techniques import Cell, OpenCell, Protocol, Rule, SafetyLimits, Schedule
from techniques.default_rules import HARD_SHORT_ENDS, OVERRUN_ENDS

Layer = Literal["instrument", "plan", "guard", "interlock"]
SOFTWARE_ONLY = "SOFTWARE ONLY"
NOT_LIMITED = "NOT LIMITED"
_PANEL = "set the circulator's own limits on its panel as well"


@dataclass(frozen=True)
class KeptLimit:
    """One limit of one instrument, and who keeps it.

    Attributes:
        instrument: Its name in the bench file.
        limit: What is limited.
        value: The limit with its unit, in words.
        layers: Who keeps it; any of them by itself. Nobody, where no file sets the limit.
        note: What else must be known.
    """

    instrument: str
    limit: str
    value: str
    layers: tuple[Layer, ...]
    note: str = ""

    @property
    def software_only(self) -> bool:
        """Return whether this computer alone keeps it."""
        return bool(self.layers) and not {"instrument", "interlock"} & set(self.layers)

    @property
    def mark(self) -> str:
        """Return what must not be overlooked: that nobody keeps it, or this computer alone."""
        if not self.layers:
            return NOT_LIMITED
        return SOFTWARE_ONLY if self.software_only else ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as it goes into JSON."""
        return {
            **asdict(self),
            "layers": list(self.layers),
            "software_only": self.software_only,
        }


def limits_of(
    file: BenchFile,
    drivers: Mapping[str, Any] | None = None,
    *,
    protocol: Protocol | None = None,
    cell: Cell | None = None,
) -> tuple[KeptLimit, ...]:
    """Return every limit of a bench, by instrument. Nothing is opened.

    Args:
        file: The bench.
        protocol: Narrows the limits of the bench, and has rules of its own; ``None``: the rules
            are those by default.
        cell: Narrows the limits of the bench. Raises ValueError if no potential is left.
        drivers: Those that are connected, which know their model's own ranges; else the ranges of
            everything that speaks the language are told.
    """
    held = _held_by_interlock(file)
    limits = file.limits
    for narrower in (cell, protocol):
        limits = limits if narrower is None else narrower.limits.narrowed_by(limits)
    drivers = drivers or {}
    found: list[KeptLimit] = []
    for name, entry in file.instruments.items():
        driver = drivers.get(name)
        own = () if isinstance(entry, PotentiostatEntry) else tuple(_own(name, entry, driver))
        found += own
        match entry:
            case PotentiostatEntry():
                found += _of_potentiostat(name, entry, limits, driver)
                found += _of_rules(name, file, protocol, cell)
                found.append(_when_alone(name, entry, held.get(name)))
            case RamanEntry():
                found += _of_laser(name, entry, held.get(name))
            case ThermostatEntry():
                found += _of_thermostat(name, entry, cell)
            case StageEntry():
                found += [
                    _set_by_files(name, f"travel of {axis}", span, ("plan",), "min_um, max_um")
                    for axis, span in entry.bounds().items()
                ]
            case _:
                pass
    return tuple(found)


def limits_table(found: tuple[KeptLimit, ...]) -> str:
    """Return the limits as a table of lines; notes stand below it, each once."""
    rows = [("instrument", "limit", "value", "kept by", "")]
    notes: dict[str, int] = {}
    for one in found:
        mark = one.mark
        if one.note:
            mark = f"{mark} [{notes.setdefault(one.note, len(notes) + 1)}]".strip()
        kept_by = " + ".join(one.layers) or "nobody"
        rows.append((one.instrument, one.limit, one.value, kept_by, mark))
    wide = [max(len(row[n]) for row in rows) for n in range(4)]
    lines = [
        "  ".join([*(text.ljust(n) for text, n in zip(row, wide, strict=False)), row[4]]).rstrip()
        for row in rows
    ]
    lines += [f"[{number}] {note}" for note, number in notes.items()]
    if any(not one.layers for one in found):
        lines.append(
            f"{NOT_LIMITED}: no file sets it, and nothing but the range of the instrument itself "
            "ends it. Write it into limits of the bench file or of the cell file."
        )
    if any(one.software_only for one in found):
        lines.append(
            f"{SOFTWARE_ONLY}: kept by this computer alone. For the cell and the laser an "
            "interlock relay on another port (normally open, held by its own watchdog) is "
            "recommended."
        )
    return "\n".join(lines)


def _own(name: str, entry: InstrumentEntry, driver: Any) -> Iterator[KeptLimit]:
    """Yield what an instrument is limited to by its maker."""
    declared = abilities_of(entry.driver_class() if driver is None else driver)
    for able in declared:
        if able.limits_kept_by == "nobody":
            continue  # it drives nothing
        layers: tuple[Layer, ...] = ("instrument",)
        if able.limits_kept_by == "software":
            layers = ("plan",)
        for quantity, span in able.limits.items():
            limit = f"{quantity} of {able.model}" if len(declared) > 1 else quantity
            yield KeptLimit(name, limit, span_text(span._asdict()), layers, able.limits_note)


def _of_potentiostat(
    name: str, entry: PotentiostatEntry, limits: SafetyLimits, driver: Any
) -> Iterator[KeptLimit]:
    alone, note = _alone(entry)
    kept: tuple[Layer, ...] = ("plan",) if alone else ("instrument", "plan")
    if driver is not None:
        able = driver.capabilities().abilities()
        for quantity in ("potential", "current"):
            own = able.limits[quantity]
            yield KeptLimit(name, f"{quantity}, by its maker", _told(own), ("instrument",))
    span = Span(limits.potential_min_v, limits.potential_max_v, "V")
    yield _set_by_files(name, "potential E_WE - E_CE", span, kept, note)
    if limits.cell_potential_max_v is not None:
        span = Span(None, limits.cell_potential_max_v, "V")
        yield _set_by_files(name, "|E_WE - E_CE|", span, kept, note)
    yield _set_by_files(name, "current", Span(None, limits.current_max_a, "A"), kept, note)
    beforehand = (
        "a program that could pass more is refused before it starts; the ends of its steps are "
        f"kept by {'this computer' if alone else 'the instrument'}"
    )
    for what, most, unit in (
        ("charge of a half-cycle, and deposit", limits.charge_max_mah_cm2, "mAh/cm2"),
        ("duration of a program", limits.duration_max_s, "s"),
    ):
        yield _set_by_files(name, what, Span(None, most, unit), kept, beforehand)


def _set_by_files(
    name: str, what: str, span: Span, kept: tuple[Layer, ...], note: str
) -> KeptLimit:
    """Return a limit of bench, cell and protocol, which nobody keeps where none of them sets it."""
    if span.low is None and span.high is None:
        return KeptLimit(name, what, f"not limited ({span.unit})", ())
    told = _told(span)
    if what.startswith("potential") and None in (span.low, span.high):
        told += f", not limited {'below' if span.low is None else 'above'}"
    return KeptLimit(name, what, told, kept, note)


def _of_rules(
    name: str, file: BenchFile, protocol: Protocol | None, cell: Cell | None
) -> Iterator[KeptLimit]:
    """Yield what the live analysis of the rows ends a program for."""
    judged = "the live analysis judges the rows as they come"
    rules: tuple[Rule, ...] = (HARD_SHORT_ENDS, OVERRUN_ENDS)
    if protocol is None:
        judged += "; by default, of cells that are cycled: a protocol may have other rules, or none"
    else:
        rules = protocol.rules if cell is None else protocol.rules_on(cell)
    if cell is not None:
        rules += guard_rules(
            cell, sensors_of(file), Schedule() if protocol is None else protocol.every, rules
        )
    for rule in rules:
        if not any(isinstance(action, OpenCell) for action in rule.then):
            continue  # it limits nothing
        what = rule.when.event.replace("_", " ")
        if rule.when.amount_umol is not None:
            what += f" {rule.when.amount_umol:g} umol"
        if rule.when.event == "headspace_pressure" and cell is not None:
            what += f" {cell.headspace_overpressure_max_kpa * 1e-2:g} bar"
        yield KeptLimit(name, what, "opens the cell", ("plan",), judged)


def _when_alone(name: str, entry: PotentiostatEntry, held: str | None) -> KeptLimit:
    """Return what becomes of a program when the one who started it is gone."""
    layers: list[Layer] = ["guard"]
    told = "the guard opens the cell"
    if entry.finishes_alone:
        layers.append("instrument")
        told = "the guard lets it finish, within its own limits"
    if held is not None:
        layers.append("interlock")
        told += f"; the cell's lead opens within {held}"
    return KeptLimit(name, "current when this program dies", told, tuple(layers))


def _alone(entry: InstrumentEntry) -> tuple[bool, str]:
    """Return whether this computer alone keeps an instrument's limits, and what is to be known."""
    declared = abilities_of(entry.driver_class())
    alone = any(one.limits_kept_by == "software" for one in declared)
    return alone, next((one.limits_note for one in declared if one.limits_note), "")


def _of_laser(name: str, entry: RamanEntry, held: str | None) -> Iterator[KeptLimit]:
    alone, note = _alone(entry)
    power = f"{entry.laser_power_w:g} W set"
    if alone:
        yield KeptLimit(name, "laser power", f"{power}, not read back", ("plan",), note)
    else:
        yield KeptLimit(
            name,
            "laser power of this bench",
            power,
            ("instrument", "plan"),
            "within what the maker stored; the setting is read back",
        )
    layers: list[Layer] = ["plan", "guard"]
    told = "off when a spectrum is taken, and when this program dies"
    if held is not None:
        layers.append("interlock")
        told += f"; its interlock opens within {held}"
    yield KeptLimit(name, "laser on", told, tuple(layers))


def _of_thermostat(name: str, entry: ThermostatEntry, cell: Cell | None) -> Iterator[KeptLimit]:
    low, high = entry.limits_k
    if (low, high) != (None, None):
        yield KeptLimit(
            name, "setpoint of this bench", _told(Span(low, high, "K")), ("plan",), _PANEL
        )
    if cell is not None and (cell.temperature_min_k, cell.temperature_max_k) != (None, None):
        span = Span(cell.temperature_min_k, cell.temperature_max_k, "K")
        yield KeptLimit(name, "temperature of the cell", _told(span), ("plan",), _PANEL)
    safe = entry.safe_temperature_k
    told = "stops" if safe is None else f"goes to {safe:g} K"
    yield KeptLimit(name, "left alone", told, ("plan", "guard"))


def _held_by_interlock(file: BenchFile) -> dict[str, str]:
    """Return whose circuit runs through an interlock, and how soon that opens by itself."""
    return {
        name: f"{entry.watchdog_s:g} s"
        for entry in file.instruments.values()
        if isinstance(entry, InterlockEntry)
        for name in entry.relays_of
    }


def _told(span: Span) -> str:
    return span_text(span._asdict())
