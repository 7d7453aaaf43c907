"""From protocols of aurora-unicycler to ours."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from operando.configuration import ConfigurationError, validated
from operando.terminals import orientation
from operando.unicycler._exchange import (
    LONGEST_HOLD_S,
    OVERCHARGE,
    Exchanged,
    ExchangeError,
    sign_of,
)
from techniques import Cell, Protocol

if TYPE_CHECKING:
    from aurora_unicycler import CyclingProtocol

Tree = dict[str, Any]
# No file of theirs is larger.
_LONGEST = 4_000_000


def from_unicycler(
    source: "str | Path | Mapping[str, Any] | CyclingProtocol",
    cell: Cell,
    *,
    name: str | None = None,
    cell_name: str | None = None,
) -> Protocol:
    """Return a protocol of aurora-unicycler as one of ours; as `imported`."""
    return imported(source, cell, name=name, cell_name=cell_name).protocol


def imported(
    source: "str | Path | Mapping[str, Any] | CyclingProtocol",
    cell: Cell,
    *,
    name: str | None = None,
    cell_name: str | None = None,
) -> Exchanged[Protocol]:
    """Return a protocol of aurora-unicycler as one of ours on ``cell``, and what is told of it.

    Currents become current densities of the metal electrode by its area; in which direction they
    plate follows from the cell (the package says which electrode is which). C-rates are of the
    capacity that the protocol tells, else of the cell's nominal one. A charge and a discharge after
    each other become a cycle, whose number is in the data; a hold right after a current to its
    voltage goes on with its half-cycle. Images and spectra are off: nothing is told of them.

    Args:
        source: A JSON file of theirs, its content, or the protocol itself.
        cell: The cell it is to run on.
        name: Of the protocol; by default that of the file.
        cell_name: The cell's file, as the protocol is to name it; by default its label.

    Raises:
        ExchangeError: It is none of theirs, or something has no counterpart; the message names the
            step.
    """
    told, read = _read(source)
    name = name or read
    return _Import(told, cell).done(name, cell_name or cell.cell_id)


def _read(
    source: "str | Path | Mapping[str, Any] | CyclingProtocol",
) -> "tuple[CyclingProtocol, str]":
    """Return a protocol of theirs, and the name of its file."""
    from aurora_unicycler import CyclingProtocol

    if isinstance(source, CyclingProtocol):
        return source, "unicycler"
    name, data = "unicycler", source
    if isinstance(source, str | Path):
        path = Path(source)
        name = path.stem
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(_LONGEST + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise ExchangeError(f"{path} cannot be read: {error}") from error
        if len(text) > _LONGEST:
            raise ExchangeError(f"{path} has more than {_LONGEST} characters: no protocol has")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ExchangeError(f"{path} is no JSON: {error}") from error
    if not isinstance(data, Mapping):
        raise ExchangeError(f"{name}: a protocol of aurora-unicycler is an object with `method`")
    try:
        return CyclingProtocol.model_validate(dict(data)), name
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'protocol'}: {one['msg']}"
            for one in error.errors(include_url=False)
        )
        raise ExchangeError(f"{name} is no protocol of aurora-unicycler: {wrong}") from error
    except (TypeError, AttributeError, ArithmeticError) as error:
        # Of C/0, or where steps should be and are none.
        raise ExchangeError(f"{name} is no protocol of aurora-unicycler: {error}") from error


@dataclass
class _Node:
    """A step of ours, and from where to where it stands in their method."""

    first: int
    last: int
    tree: Tree


class _Import:
    def __init__(self, cycling: "CyclingProtocol", cell: Cell) -> None:
        self.cycling, self.cell = cycling, cell
        self.sign = sign_of(cell)
        self.told: list[str] = []
        nominal = cell.nominal_capacity_mah_cm2
        own = None if nominal is None else nominal * cell.area_cm2
        self.capacity_mah: float | None = cycling.sample.capacity_mAh or own
        self.record = self._record()

    def tell(self, text: str) -> None:
        if text not in self.told:
            self.told.append(text)

    def _wrong(self, place: int, why: str) -> ExchangeError:
        step = self.cycling.method[place]
        return ExchangeError(f"step {place + 1} ({step.step}): {why}")

    def done(self, name: str, cell_name: str) -> Exchanged[Protocol]:
        nodes = self._nodes()
        trees = _with_cycles([node.tree for node in nodes])
        technique = trees[0] if len(trees) == 1 else {"type": "sequence", "steps": trees}
        if not trees:
            raise ExchangeError(f"{name} has no step that does anything")
        sample = self.cycling.sample.name
        if sample not in ("$NAME", self.cell.cell_id):
            self.tell(f"its sample is {sample!r}; it is made for {self.cell.cell_id!r}")
        tree: Tree = {
            "name": name,
            "description": "Imported from a protocol of aurora-unicycler.",
            "cell": cell_name,
            "technique": technique,
            "every": {"image_s": None, "spectrum_s": None, "injection_s": None},
        }
        limits = self._limits()
        if limits:
            tree["limits"] = limits
        try:
            protocol = validated(Protocol, tree)
        except ConfigurationError as error:
            raise ExchangeError(f"{name}: {error}") from error
        return Exchanged(protocol, tuple(self.told))

    # -- steps

    def _nodes(self) -> list[_Node]:
        from aurora_unicycler import Loop, Tag

        tags: dict[str, int] = {}
        nodes: list[_Node] = []
        for place, step in enumerate(self.cycling.method):
            match step:
                case Tag():
                    tags[step.tag] = place
                case Loop():
                    nodes = self._looped(nodes, place, step, tags)
                case _:
                    nodes.append(_Node(place, place, self._step(place, step)))
        return nodes

    def _looped(
        self, nodes: list[_Node], place: int, loop: Any, tags: Mapping[str, int]
    ) -> list[_Node]:
        first = tags[loop.loop_to] if isinstance(loop.loop_to, str) else loop.loop_to - 1
        before = [node for node in nodes if node.last < first]
        inside = [node for node in nodes if node.first >= first]
        if len(before) + len(inside) < len(nodes):
            raise self._wrong(place, "it begins within another loop: loops may only be nested")
        if not inside:
            raise self._wrong(place, "there is no step in it")
        # A tag, and what goes back to it, are not of the steps before.
        trees = [node.tree for node in inside]
        return [*before, _Node(first, place, _repeated(loop.cycle_count, trees))]

    def _step(self, place: int, step: Any) -> Tree:
        match step.step:
            case "open_circuit_voltage":
                rest = {"type": "open_circuit", "duration_s": step.until_time_s}
                return {**rest, "record": self.record}
            case "constant_current":
                return self._current(place, step)
            case "constant_voltage":
                return self._hold(place, step)
            case "impedance_spectroscopy":
                return self._spectrum(place, step)
            case "voltage_scan":
                return {
                    "type": "linear_sweep",
                    "begin_v": self.sign * step.start_voltage_V,
                    "end_v": self.sign * step.end_voltage_V,
                    "scan_rate_v_s": step.scan_rate_mV_per_s / 1e3,
                }
        raise self._wrong(place, "there is no such step here")

    def _density(self, place: int, rate: float | None, current_ma: float | None) -> float | None:
        """Return a current density of the metal electrode, mA/cm2; rates go before currents."""
        if rate:
            if self.capacity_mah is None:
                raise self._wrong(
                    place,
                    f"a C-rate ({rate:g}) needs a capacity: give sample.capacity_mAh, or "
                    "active_mass_mg and specific_capacity_mah_g of the cathode in the cell file",
                )
            return self.sign * rate * self.capacity_mah / self.cell.area_cm2
        return None if not current_ma else self.sign * current_ma / self.cell.area_cm2

    def _current(self, place: int, step: Any) -> Tree:
        density = self._density(place, step.rate_C, step.current_mA)
        assert density is not None  # theirs see to it
        strips = density > 0
        until: list[Tree] = []
        if step.until_voltage_V is not None:
            if step.until_voltage_V == 0:
                raise self._wrong(
                    place,
                    "until_voltage_V is 0, which means none there: leave it out, or write 1e-6",
                )
            ahead = "potential_above_v" if strips else "potential_below_v"
            until.append({"quantity": ahead, "value": self.sign * step.until_voltage_V})
        if step.until_time_s:
            until.append({"quantity": "time_s", "value": step.until_time_s})
        else:
            until.append(self._overcharge(place))
        return {
            "type": "galvanostatic_step",
            "role": "strip" if strips else "plate",
            "current_density_ma_cm2": abs(density),
            "until": until,
            "record": self.record,
        }

    def _overcharge(self, place: int) -> Tree:
        most = self.cycling.safety.max_capacity_mAh
        if not most and self.capacity_mah is not None:
            most = OVERCHARGE * self.capacity_mah
        if not most:
            raise self._wrong(
                place,
                "only a voltage ends it, which may never come: give until_time_s, "
                "safety.max_capacity_mAh or sample.capacity_mAh",
            )
        self.tell(
            f"step {place + 1} (constant_current): only its voltage ends it there; here "
            f"{most:.4g} mAh stop the program"
        )
        charge = most / self.cell.area_cm2
        return {"quantity": "charge_mah_cm2", "value": charge, "action": "stop"}

    def _hold(self, place: int, step: Any) -> Tree:
        until: list[Tree] = []
        density = self._density(place, step.until_rate_C, step.until_current_mA)
        if density is not None:
            until.append({"quantity": "abs_current_below_ma_cm2", "value": abs(density)})
        if step.until_time_s:
            until.append({"quantity": "time_s", "value": step.until_time_s})
        else:
            until.append({"quantity": "time_s", "value": LONGEST_HOLD_S, "action": "stop"})
            self.tell(
                f"step {place + 1} (constant_voltage): only its current ends it there; here "
                f"{LONGEST_HOLD_S / 3600:g} h stop the program"
            )
        tree: Tree = {"type": "potentiostatic_step", "potential_v": self.sign * step.voltage_V}
        before = self._before(place, step.voltage_V)
        if before is not None:
            tree |= {"role": before, "continues_half_cycle": True}
        return {**tree, "until": until, "record": self.record}

    def _before(self, place: int, voltage: float) -> str | None:
        """Return the role of a current that a hold goes on from; ``None``: there is none."""
        previous = self.cycling.method[place - 1] if place else None
        if previous is None or previous.step != "constant_current":
            return None
        if previous.until_voltage_V != voltage:
            return None
        density = self._density(place - 1, previous.rate_C, previous.current_mA)
        return None if density is None else "strip" if density > 0 else "plate"

    def _spectrum(self, place: int, step: Any) -> Tree:
        high = max(step.start_frequency_Hz, step.end_frequency_Hz)
        low = min(step.start_frequency_Hz, step.end_frequency_Hz)
        told = f"step {place + 1} (impedance_spectroscopy)"
        if step.start_frequency_Hz < step.end_frequency_Hz:
            self.tell(f"{told}: measured from the highest frequency to the lowest")
        if step.measures_per_point > 1:
            self.tell(f"{told}: {step.measures_per_point} measurements per point become one")
        if step.drift_correction:
            self.tell(f"{told}: its drift correction")
        tree: Tree = {
            "type": "impedance_spectrum",
            "frequency_max_hz": high,
            "frequency_min_hz": low,
            "points_per_decade": step.points_per_decade,
        }
        if step.amplitude_V is not None:
            return {**tree, "amplitude_rms_v": step.amplitude_V / math.sqrt(2)}
        density = step.amplitude_mA / math.sqrt(2) / self.cell.area_cm2
        return {**tree, "mode": "galvanostatic", "amplitude_rms_ma_cm2": density}

    # -- what holds for all steps

    def _record(self) -> Tree:
        record = self.cycling.record
        tree: Tree = {"dt_s": record.time_s}
        if record.voltage_V is not None:
            tree["de_v"] = record.voltage_V
        if record.current_mA is not None:
            tree["di_ma_cm2"] = record.current_mA / self.cell.area_cm2
        return tree

    def _limits(self) -> Tree:
        safety, tree = self.cycling.safety, dict[str, Any]()
        low, high = safety.min_voltage_V, safety.max_voltage_V
        if orientation(self.cell).sign < 0:
            low, high = (None if x is None else -x for x in (high, low))
        if low is not None:
            tree["potential_min_v"] = low
        if high is not None:
            tree["potential_max_v"] = high
        currents = [abs(x) for x in (safety.min_current_mA, safety.max_current_mA) if x]
        if currents:
            tree["current_max_a"] = min(currents) * 1e-3
            if len(set(currents)) > 1:
                self.tell("its safety currents differ in the two directions: the smaller one holds")
        if safety.max_capacity_mAh:
            tree["charge_max_mah_cm2"] = safety.max_capacity_mAh / self.cell.area_cm2
        if safety.delay_s:
            self.tell(f"its safety limits act after {safety.delay_s:g} s there, at once here")
        return tree


def _repeated(times: int, trees: list[Tree]) -> Tree:
    """Return steps several times: as cycles where they are a plating and a stripping."""
    cycle, after = _cycle(trees, 0)
    if cycle is not None and after == len(trees):
        return {**cycle, "cycles": times}
    found = _with_cycles(trees)
    step = found[0] if len(found) == 1 else {"type": "sequence", "steps": found}
    return {"type": "repeat", "times": times, "step": step}


def _with_cycles(trees: list[Tree]) -> list[Tree]:
    """Return steps in which each plating and stripping after each other is one cycle."""
    found, place = list[Tree](), 0
    while place < len(trees):
        cycle, after = _cycle(trees, place)
        found.append(trees[place] if cycle is None else cycle)
        place = place + 1 if cycle is None else after
    return found


def _cycle(trees: list[Tree], place: int) -> tuple[Tree | None, int]:
    """Return the cycle that begins somewhere, and where it has ended; ``None``: none does.

    Two half-cycles with hold, rests and spectrum. What rests after it as long as between its
    half-cycles is of it.
    """

    def take(kind: str) -> Tree | None:
        nonlocal place
        if place < len(trees) and trees[place]["type"] == kind:
            place += 1
            return trees[place - 1]
        return None

    tree: Tree = {"type": "plate_strip_cycle"}
    halves: list[Tree] = []
    rest = look = None
    for number in range(2):
        half = take("galvanostatic_step")
        if half is None or (halves and halves[0]["role"] == half["role"]):
            return None, place
        halves.append(half)
        if place < len(trees) and trees[place].get("continues_half_cycle"):
            hold = take("potentiostatic_step")
            assert hold is not None  # nothing else goes on with a half-cycle
            if hold["role"] != "plate":
                return None, place
            tree["plate_hold"] = hold
        if number == 0:
            rest, look = take("open_circuit"), take("impedance_spectrum")
    end = take("open_circuit")
    if rest is not None and end is not None and rest["duration_s"] == end["duration_s"]:
        tree["rest_s"] = rest["duration_s"]
    else:
        if end is not None:
            place -= 1
        if rest is not None and look is not None:
            return None, place
        look = rest or look
    if look is not None:
        tree["between"] = look
    tree["first"] = halves[0]["role"]
    return {**tree, **{half["role"]: half for half in halves}}, place
