"""The stations of a soak: their files, their cells, and what is queued for each."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from operando.configuration import load_cell
from techniques import Cell, OpenCircuit, PlateStripCycle, Protocol, Schedule
from techniques import Sequence as Steps

# Simulated cells of both kinds that live long enough to be cycled for weeks; those of a ninth
# station do not.
_LONG = ("zn-zro2-half", "zn-zro2", "zn-lzs-half", "zn-safe-mxene")
PRESETS = (*_LONG, *_LONG, "zn-bare")
# One half-cycle of 1 mAh/cm2 at 1 mA/cm2.
CURRENT_MA_CM2, CHARGE_MAH_CM2 = 1.0, 1.0
_REST_S = 60.0
_ITEMS_PER_CELL = 5
# Rows are rare: what is tested is what becomes of half-cycles, not how they look.
_ROWS_S = 600.0
_CHECKS_S = 10.0


@dataclass(frozen=True)
class Item:
    """One item to come: which cell, which protocol."""

    station: str
    sample: Cell
    protocol: Protocol
    label: str


@dataclass
class World:
    """The files of a soak, below one folder.

    Attributes:
        folder: Everything lies below it.
        stations: Their names.
        presets: Which simulated cell each has.
        items: All that is queued, by station.
        power_went: Stations whose potentiostat was without power once.
    """

    folder: Path
    stations: tuple[str, ...]
    presets: dict[str, str] = field(default_factory=dict)
    items: dict[str, list[Item]] = field(default_factory=dict)
    power_went: set[str] = field(default_factory=set)

    @property
    def data(self) -> Path:
        """Return the data folder."""
        return self.folder / "data"

    @property
    def clock(self) -> Path:
        """Return the file that shifts the supervisor's clock, and names the boot."""
        return self.folder / "clock.json"

    def environment(self) -> dict[str, str]:
        """Return what processes of this soak need to know."""
        return {
            "OPERANDO_DATA": str(self.data),
            "OPERANDO_STATIONS": str(self.folder / "stations.yaml"),
            "OPERANDO_CLOCK": str(self.clock),
            "OPERANDO_STATION_CATALOG": "off",
            "OPERANDO_GUARD": "on",
            "TILED_PROFILES": str(self.folder / "profiles"),
        }

    def cells(self, station: str) -> list[Cell]:
        """Return the cells of a station, in their order."""
        found = {item.sample.cell_id: item.sample for item in self.items[station]}
        return list(found.values())


def make(folder: Path, stations: int, items: int, hours: float, factor: float, seed: int) -> World:
    """Write the files of a soak and return what is to be done.

    Args:
        folder: Where; it must be empty.
        stations: How many.
        items: How many in all; each station gets as many as the others, within one.
        hours: Of cell time in a station.
        factor: Of the simulated cells.
        seed: Of the cells.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(f"S{number:02}" for number in range(1, stations + 1))
    world = World(folder, names)
    bench = {
        "name": "soak",
        "instruments": {
            "potentiostat": {
                "kind": "potentiostat",
                "language": "methodscript",
                "address": "published:${OPERANDO_SIM}/potentiostat",
            }
        },
        "limits": {"charge_max_mah_cm2": 20, "duration_max_s": 1.5e7},
    }
    _write(folder / "bench-soak.yaml", bench)
    entries = []
    for number, name in enumerate(names):
        preset = PRESETS[number % len(PRESETS)]
        own = items // stations + (number < items % stations)
        world.presets[name] = preset
        world.items[name] = list(_items(name, preset, own, hours))
        entries.append(
            {
                "name": name,
                "bench": str(folder / "bench-soak.yaml"),
                "simulate": {"cell": preset, "factor": factor, "seed": seed + number},
                "supply": ("mains", "ups")[number % 2],
            }
        )
    told: dict[str, Any] = {"stations": entries, "daily_at": None}
    _write(folder / "stations.yaml", told)
    world.data.mkdir(exist_ok=True)
    return world


def _items(station: str, preset: str, count: int, hours: float) -> Iterator[Item]:
    """Yield the items of a station, which together last as long as is asked for."""
    cell = load_cell(preset)
    half_cycle_h = CHARGE_MAH_CM2 / CURRENT_MA_CM2 + _REST_S / 3600
    cycles = max(1, round(hours / count / (2 * half_cycle_h)))
    protocol = protocol_for(cell, cycles)
    for number in range(count):
        place, of_cell = number % _ITEMS_PER_CELL + 1, number // _ITEMS_PER_CELL + 1
        sample = cell.model_copy(update={"cell_id": f"{station}-cell-{of_cell}"})
        yield Item(station, sample, protocol, f"{sample.cell_id} {place}/{_ITEMS_PER_CELL}")


def protocol_for(cell: Cell, cycles: int) -> Protocol:
    """Return so many cycles on a cell, recorded sparsely."""
    record = {"dt_s": _ROWS_S, "edge_dt_s": 30.0, "edge_for_s": 30.0, "check_dt_s": _CHECKS_S}
    charge = {"quantity": "charge_mah_cm2", "value": CHARGE_MAH_CM2}
    plate = {"current_density_ma_cm2": CURRENT_MA_CM2, "until": [charge], "record": record}
    until = [charge]
    if not cell.symmetric:
        spare = {"quantity": "charge_mah_cm2", "value": 1.3 * CHARGE_MAH_CM2}
        until = [{"quantity": "potential_above_v", "value": 0.5}, spare]
    cycle = PlateStripCycle.model_validate(
        {"plate": plate, "strip": plate | {"until": until}, "cycles": cycles, "rest_s": _REST_S}
    )
    return Protocol(
        name=f"soak-{cycles}",
        cell=cell.cell_id,
        technique=Steps(steps=(OpenCircuit(duration_s=60.0), cycle)),
        every=Schedule(),
    )


def _write(path: Path, told: Any) -> None:
    path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")


def use(world: World) -> None:
    """Have this process, and those that it starts, work in the folders of a soak."""
    os.environ.update(world.environment())
