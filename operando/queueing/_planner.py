"""How a campaign becomes items: cells, stations, times, and every reason why it cannot work."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from operando.configuration import ConfigurationError, check_technique, validated
from operando.queueing._outlook import Outlook, outlook
from operando.queueing._plan import CampaignFiles, CampaignPlan, PlannedItem
from operando.queueing.items import as_data, due_at
from operando.queueing.model import Mount
from operando.room import Estimate, estimate, size_text
from techniques import CampaignSample, Cell, Protocol, StationsFile

Model = TypeVar("Model", Cell, Protocol)
# What is set, by path, and where the file says so.
_Changes = Sequence[tuple[tuple[str | int, ...], Mapping[str, Any]]]

# A time so little ago is now: somebody typed the minute.
_JUST_NOW_S = 60.0
# Of an item.
_LONGEST_LABEL = 200


@dataclass(frozen=True)
class _Cell:
    """One cell to be: which sample, with which combination of every protocol."""

    sample: int
    number: int
    label: str
    combination: tuple[int, ...]


@dataclass(frozen=True)
class _Prepared:
    protocol: Protocol
    cell: Cell
    outlook: Outlook
    estimate: Estimate


class Planner:
    """Makes a plan of a campaign, and gathers the reasons why it cannot work."""

    def __init__(
        self,
        files: CampaignFiles,
        stations: StationsFile,
        now: float,
        free_b: float,
        only: Sequence[str] | None,
        mounts: Sequence[Mount],
        busy_until: Mapping[str, float],
    ) -> None:
        self.files, self.campaign, self.stations = files, files.campaign, stations
        self.now, self.free_b = now, free_b
        self.mounts = {mount.cell_id: mount for mount in mounts}
        self.busy_until = busy_until
        self.refusals = list(files.wrong)
        self._prepared: dict[tuple[object, ...], _Prepared | None] = {}
        self._protocols: dict[tuple[int, int], Protocol | None] = {}
        self._cells: dict[int, Cell | None] = {}
        self._only = only

    def refuse(self, keys: Sequence[str | int], why: str) -> None:
        """Note a reason why it cannot work, with its place in the file; once."""
        told = f"{self.files.place(keys)}: {why}"
        if told not in self.refusals:
            self.refusals.append(told)

    # -- all of it

    def plan(self) -> CampaignPlan:
        """Return the plan."""
        begins, at = self._begins()
        allowed = self._allowed()
        names = self._names()
        for place, entry in enumerate(self.campaign.protocols):
            for combination in range(len(entry.combinations)):
                self._protocol(place, combination)
        cells = list(self._all_cells())
        if not self.files.wrong:  # else a label may be among what was left out
            self._no_label_twice(cells)
        placed = self._placed(cells, allowed, names)
        items: list[PlannedItem] = []
        free_at = {
            entry.name: max(begins, self.busy_until.get(entry.name, begins))
            for entry in self.stations.stations
        }
        for cell, station in placed:
            self._add_cell(items, cell, station, names, free_at)
        self._disk(items)
        return CampaignPlan(
            self.campaign, tuple(items), tuple(self.refusals), self.free_b, begins, at
        )

    def _begins(self) -> tuple[float, str]:
        told = self.campaign.at
        if not told:
            return self.now, ""
        try:
            begins = due_at(told)
        except ValueError as error:
            self.refuse(("at",), str(error))
            return self.now, ""
        if begins < self.now - _JUST_NOW_S:
            self.refuse(("at",), f"{told} is in the past: it is {_time(self.now)} now")
        return max(begins, self.now), told

    def _allowed(self) -> list[str]:
        """Return the stations on which anything may run."""
        known = [entry.name for entry in self.stations.stations]
        wanted = list(self.campaign.stations or known)
        for index, name in enumerate(wanted):
            if name not in known:
                self._unknown_station(("stations", index), name, known)
        if self._only is not None:
            for name in self._only:
                if name not in known:
                    self.refusals.append(f"--stations: {_no_station(name, known)}")
            wanted = [name for name in wanted if name in self._only]
        allowed = [name for name in known if name in wanted]
        if not allowed and not self.refusals:
            self.refusals.append(
                "--stations and the campaign's own `stations` have none in common: "
                f"{', '.join(self._only or ())} and {', '.join(self.campaign.stations or ())}"
            )
        return allowed

    def _unknown_station(self, keys: Sequence[str | int], name: str, known: list[str]) -> None:
        self.refuse(keys, _no_station(name, known))

    def _names(self) -> dict[str, int]:
        """Return the place of each protocol by what `then` calls it."""
        names: dict[str, int] = {}
        for index, entry in enumerate(self.campaign.protocols):
            name = entry.name or Path(entry.protocol).stem
            if name in names:
                self.refuse(
                    ("protocols", index),
                    f"a second protocol is called {name!r}: give one of them another `name`",
                )
            names.setdefault(name, index)
        return names

    # -- cells

    def _order(self, index: int, names: Mapping[str, int]) -> list[int]:
        """Return the places of the protocols that run on a sample."""
        told = self.campaign.samples[index].then
        if told is None:
            return list(range(len(self.campaign.protocols)))
        found = []
        for place, name in enumerate(told):
            if name in names:
                found.append(names[name])
            else:
                self.refuse(
                    ("samples", index, "then", place),
                    f"no protocol of this campaign is called {name!r}: it has {', '.join(names)}",
                )
        return found

    def _all_cells(self) -> Iterator[_Cell]:
        names = {
            entry.name or Path(entry.protocol).stem: place
            for place, entry in enumerate(self.campaign.protocols)
        }
        for index, sample in enumerate(self.campaign.samples):
            used = {names[name] for name in sample.then or names if name in names}
            # What is varied of a protocol that does not run on them makes no cells.
            ways = [
                range(len(entry.combinations)) if place in used else range(1)
                for place, entry in enumerate(self.campaign.protocols)
            ]
            combinations = list(product(*ways))
            count = len(combinations) * sample.replicates
            labels = self._labels(index, sample, count)
            for number, label in enumerate(labels):
                yield _Cell(index, number, label, combinations[number // sample.replicates])

    def _labels(self, index: int, sample: CampaignSample, count: int) -> list[str]:
        base = self._cell_of(index)
        if sample.labels is not None:
            if len(sample.labels) != count:
                self.refuse(
                    ("samples", index, "labels"),
                    f"{len(sample.labels)} labels for {count} cells "
                    f"({sample.replicates} replicates of every combination)",
                )
                return []
            return list(sample.labels)
        if base is None:
            return []
        if count == 1:
            return [base.cell_id]
        return [f"{base.cell_id}-{number + 1}" for number in range(count)]

    def _cell_of(self, index: int) -> Cell | None:
        """Return the cell of a sample with what the campaign sets; ``None``: refused."""
        if index not in self._cells:
            self._cells[index] = self._cell_set(index)
        return self._cells[index]

    def _cell_set(self, index: int) -> Cell | None:
        sample = self.campaign.samples[index]
        keys = ("samples", index)
        missing = self.files.missing.get(f"cell {sample.cell}")
        if missing is not None:
            self.refuse((*keys, "cell"), missing)
            return None
        cell = self.files.cells[sample.cell]
        if sample.set:
            told = self._with(Cell, cell, [((*keys, "set"), sample.set)], f"cell {sample.cell}")
            if told is None:
                return None
            cell = told
        alike = cell.working_electrode.material == cell.counter_electrode.material
        if "metal_electrode" not in cell.model_fields_set and not alike and cell.dummy is None:
            self.refuse(
                (*keys, "cell"),
                f"cell {sample.cell} does not say metal_electrode (WE or CE): in which direction "
                f"{cell.metal} is plated would be guessed",
            )
        return cell

    def _no_label_twice(self, cells: Iterable[_Cell]) -> None:
        seen: dict[str, _Cell] = {}
        for cell in cells:
            first = seen.setdefault(cell.label, cell)
            if first is not cell:
                self.refuse(
                    ("samples", cell.sample),
                    f"cell {cell.label} is there twice (also "
                    f"{self.files.place(('samples', first.sample))}): a cell is in one station, "
                    "once; give `labels`",
                )

    def _placed(
        self, cells: list[_Cell], allowed: list[str], names: Mapping[str, int]
    ) -> list[tuple[_Cell, str]]:
        """Return each cell with its station; those that tell one come first to theirs."""
        load = {name: max(0.0, self.busy_until.get(name, 0.0) - self.now) for name in allowed}
        known = [entry.name for entry in self.stations.stations]
        told: dict[int, str] = {}
        turn: Counter[int] = Counter()
        for place, cell in enumerate(cells):
            wanted = self._wanted(cell, allowed, known)
            mount = self.mounts.get(cell.label)
            here = None if mount is None else mount.station
            if mount is not None and mount.state == "finished":
                self.refuse(
                    ("samples", cell.sample),
                    f"cell {cell.label} is finished ({mount.why_finished or 'nobody said why'}): "
                    "nothing is run on it any more",
                )
            if here is not None and wanted and here not in wanted:
                self.refuse(
                    ("samples", cell.sample),
                    f"cell {cell.label} is mounted in station {here}, and is to run in "
                    f"{' or '.join(wanted)}",
                )
            if here in wanted:
                told[place] = here
            elif self.campaign.samples[cell.sample].station is not None and wanted:
                told[place] = wanted[turn[cell.sample] % len(wanted)]
                turn[cell.sample] += 1
            if place in told:
                load[told[place]] += self._length(cell, told[place], names)
        placed = []
        for place, cell in enumerate(cells):
            station = told.get(place)
            if station is None:
                if self.campaign.samples[cell.sample].station is not None or not load:
                    # Refused before; what else is wrong with it is told all the same.
                    self._length(cell, known[0], names)
                    continue
                station = min(load, key=lambda name: load[name])
                load[station] += self._length(cell, station, names)
            placed.append((cell, station))
        return placed

    def _wanted(self, cell: _Cell, allowed: list[str], known: list[str]) -> list[str]:
        told = self.campaign.samples[cell.sample].station
        if told is None:
            return allowed
        names = [told] if isinstance(told, str) else list(told)
        keys = ("samples", cell.sample, "station")
        for name in names:
            if name not in known:
                self._unknown_station(keys, name, known)
            elif name not in allowed:
                self.refuse(
                    keys, f"station {name} is none of those allowed: {', '.join(allowed) or '-'}"
                )
        return [name for name in names if name in allowed]

    def _length(self, cell: _Cell, station: str, names: Mapping[str, int]) -> float:
        total = 0.0
        for place in self._order(cell.sample, names):
            prepared = self._prepare(cell, place, station)
            if prepared is not None:
                total += prepared.outlook.expected_s * self.campaign.protocols[place].repeat
        return total

    # -- items

    def _add_cell(
        self,
        items: list[PlannedItem],
        cell: _Cell,
        station: str,
        names: Mapping[str, int],
        free_at: dict[str, float],
    ) -> None:
        sample = self.campaign.samples[cell.sample]
        count = sum(1 for _ in self._numbers(cell.sample))
        after: int | None = None
        for place in self._order(cell.sample, names):
            prepared = self._prepare(cell, place, station)
            if prepared is None:
                continue
            entry = self.campaign.protocols[place]
            varied = entry.combinations[cell.combination[place]]
            for time in range(entry.repeat):
                label = f"{Path(sample.cell).stem} {cell.number + 1}/{count}"
                label += "".join(
                    f", {path.split('.')[-1]} {value}" for path, value in varied.items()
                )
                if entry.repeat > 1:
                    label += f", {time + 1} of {entry.repeat}"
                begins = free_at[station]
                free_at[station] = begins + prepared.outlook.expected_s
                items.append(
                    PlannedItem(
                        station=station,
                        cell=prepared.cell.model_copy(update={"cell_id": cell.label}),
                        protocol=prepared.protocol,
                        label=label[:_LONGEST_LABEL],
                        varied=varied,
                        after=after,
                        outlook=prepared.outlook,
                        estimate=prepared.estimate,
                        begins=begins,
                        ends=free_at[station],
                    )
                )
                after = len(items) - 1

    def _numbers(self, index: int) -> range:
        sample = self.campaign.samples[index]
        names = {e.name or Path(e.protocol).stem: e for e in self.campaign.protocols}
        count = sample.replicates
        for name in dict.fromkeys(sample.then or names):
            if name in names:
                count *= len(names[name].combinations)
        return range(count)

    def _prepare(self, cell: _Cell, place: int, station: str) -> _Prepared | None:
        """Return what runs on a kind of cell, checked against a bench; ``None``: refused."""
        entry = self.stations.station(station)
        assert entry is not None  # only known stations are allowed
        combination = cell.combination[place]
        key = (cell.sample, place, combination, entry.bench)
        if key not in self._prepared:
            self._prepared[key] = self._prepare_anew(cell.sample, place, combination, entry.bench)
        return self._prepared[key]

    def _prepare_anew(
        self, sample: int, place: int, combination: int, bench_name: str
    ) -> _Prepared | None:
        cell, protocol = self._cell_of(sample), self._protocol(place, combination)
        bench = self.files.benches.get(bench_name)
        if bench is None:
            self.refusals.append(self.files.missing[f"bench {bench_name}"])
        if cell is None or protocol is None or bench is None:
            return None
        keys: tuple[str | int, ...] = ("protocols", place)
        varied = self.campaign.protocols[place].combinations[combination]
        told = "".join(f" ({path} {value})" for path, value in varied.items())
        try:
            check_technique(bench, cell, protocol)
        except ConfigurationError as error:
            self.refuse(
                keys,
                f"on cell {self.campaign.samples[sample].cell}, bench {bench_name}{told}: {error}",
            )
            return None
        program = protocol.program(cell)
        return _Prepared(protocol, cell, outlook(program, cell), estimate(bench, protocol, cell))

    def _protocol(self, place: int, combination: int) -> Protocol | None:
        key = (place, combination)
        if key not in self._protocols:
            self._protocols[key] = self._protocol_set(place, combination)
        return self._protocols[key]

    def _protocol_set(self, place: int, combination: int) -> Protocol | None:
        entry = self.campaign.protocols[place]
        keys = ("protocols", place)
        missing = self.files.missing.get(f"protocol {entry.protocol}")
        if missing is not None:
            self.refuse((*keys, "protocol"), missing)
            return None
        protocol = self.files.protocols[entry.protocol]
        varied = entry.combinations[combination]
        at = (*keys, "vary") if isinstance(entry.vary, Mapping) else (*keys, "vary", combination)
        if not entry.set and not varied:
            return protocol
        changes: _Changes = [((*keys, "set"), entry.set), (at, varied)]
        return self._with(Protocol, protocol, changes, f"protocol {entry.protocol}")

    def _with(
        self,
        kind: type[Model],
        told: Model,
        changes: _Changes,
        what: str,
    ) -> Model | None:
        """Return data with what the campaign sets in it; ``None``: refused."""
        tree = as_data(told)
        last: tuple[str | int, ...] = ()
        keys: tuple[str | int, ...]
        for keys, values in changes:
            for path, value in values.items():
                last = (*keys, path)
                wrong = _put(tree, path, value)
                if wrong:
                    self.refuse(last, f"{what} has no {path}: {wrong}")
                    return None
        try:
            return validated(kind, tree)
        except ConfigurationError as error:
            self.refuse(last, f"{what} with this: {error}")
            return None

    # -- disk

    def _disk(self, items: Sequence[PlannedItem]) -> None:
        needed = sum(item.estimate.bytes for item in items)
        left = self.stations.retention.hold_below_gb * 1e9
        if needed + left > self.free_b:
            self.refusals.append(
                f"too little disk: up to {size_text(needed)} would be written, "
                f"{size_text(self.free_b)} are free, and below {size_text(left)} nothing is "
                "started (retention): free some space, have fewer images and rows (every, record), "
                "or plan fewer cells"
            )


def _no_station(name: str, known: Sequence[str]) -> str:
    return f"no station {name!r}: there are {', '.join(known)}"


def _put(tree: Any, path: str, value: Any) -> str | None:
    """Set a value in a tree of data; return what is wrong with the path, if anything."""
    parts = path.split(".")
    for done, part in enumerate(parts):
        last = done == len(parts) - 1
        if isinstance(tree, list):
            if not part.isdigit() or int(part) >= len(tree):
                return f"{'.'.join(parts[:done])} is a list of {len(tree)}, counted from 0"
            if last:
                tree[int(part)] = value
            else:
                tree = tree[int(part)]
        elif isinstance(tree, dict):
            if last:
                tree[part] = value
            elif part in tree:
                tree = tree[part]
            else:
                # A part with defaults only: told as a whole by what is set in it.
                tree = tree.setdefault(part, {})
        else:
            return f"{'.'.join(parts[:done])} is {tree!r}"
    return None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
