"""How a run left its cell: metal, short, potential, temperature, pressure; and how to handle it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from operando.analysis._passed_charge import PassedCharge
from operando.analysis.inventory import metal_potential_v
from operando.analysis.live_guards import patience_s
from operando.runs import Run
from techniques import Cell, Protocol
from techniques.headspace import Headspace
from techniques.requests import AMENDED

LEADER, RULES = "potentiostat", "rules"
_COLUMNS = ("t", "step_t", "step", "potential", "current", "flags")
_METALS = {"Zn": "zinc", "Na": "sodium"}
_SHORT = "hard_short"
_CELL = {True: "open", False: "NOT confirmed open", None: "not known"}
_LASER = {True: "off", False: "NOT confirmed off", None: None}
_BY_CHARGE = "the charge, in the worst case"
# Of a run whose rows lie in a file, and pass nobody as documents.
_NO_ROWS = "no rows were seen"
# What is worth a word: less is not seen on an electrode, or lost when a cell is opened.
_LEAST_MAH_CM2, _LEAST_KPA = 0.01, 3.0
_HOT_K, _COLD_K = 318.15, 273.15
_LEAST_CHARGED_V = 0.1


class EndWatch:
    """Follows a run's rows, and says at its end how the cell is left.

    Args:
        start: The run's start document.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._start = start
        self._cell: Cell | None = None
        try:
            self._cell = Cell.model_validate(start.get("sample"))
        except ValidationError:
            return
        before = start.get("resume") or {}
        mirror = 1.0 if self._cell.metal_electrode == "WE" else -1.0
        self._charge = PassedCharge(mirror, goes_on=bool(before))
        told = [before.get(key) for key in ("plated_mah_cm2", "stripped_mah_cm2")]
        self._unknown = bool(before) and None in told
        self._before = [float(x or 0.0) * self._cell.area_cm2 for x in told]
        self._rows = 0
        self._driven: tuple[float, float] | None = None
        self._rest_v: float | None = None
        self._events: set[str] = set()
        # Changes of the protocol that were asked for, by the leader's time, and the last one made.
        self._asked: list[tuple[float, str]] = []
        self._amended_s = -math.inf
        self._kelvin: tuple[str, float] | None = None
        self._patience_s = patience_s(start)
        self._row_s = -math.inf
        # Of each sensor that tells an overpressure: the last one, Pa, and the leader's time then.
        self._sensed: dict[str, tuple[float, float]] = {}

    def add(self, stream: str, rows: Mapping[str, Any]) -> None:
        """Take rows of a stream, as the data of an event page or as columns."""
        if self._cell is None:
            return
        if stream == LEADER:
            self._leader(rows)
        elif stream == RULES:
            self._events.update(str(one) for one in rows.get(f"{RULES}_event", ()))
        elif stream == "requests":
            self._asked += [
                (float(t_s), str(protocol))
                for t_s, what, protocol in _columns(rows, stream, "t", "request", "protocol")
                if what == "amend"
            ]
        elif stream == "programs":
            for t_s, reason in _columns(rows, stream, "t", "reason"):
                if str(reason).startswith(AMENDED):
                    self._amended_s = max(self._amended_s, float(t_s))
        self._kelvin = _last(rows, stream, "temperature") or self._kelvin
        self._sensed |= _last_pressure(rows, stream)

    def _leader(self, rows: Mapping[str, Any]) -> None:
        told = {name: rows.get(f"{LEADER}_{name}") for name in _COLUMNS}
        if any(told[name] is None for name in ("t", "potential", "current")):
            return
        columns = {
            name: np.asarray(values, dtype=np.float64)
            for name, values in told.items()
            if values is not None
        }
        self._rows += len(columns["t"])
        self._charge.add(columns)
        times_s = columns["t"]
        self._row_s = float(np.max(times_s, initial=self._row_s, where=np.isfinite(times_s)))
        current_a, potential_v = columns["current"], columns["potential"]
        known = np.isfinite(current_a) & np.isfinite(potential_v)
        driven = np.flatnonzero(known & (current_a != 0))
        resting = np.flatnonzero(known & (current_a == 0))
        if len(driven):
            row = int(driven[-1])
            self._driven = float(potential_v[row]), float(current_a[row])
            self._rest_v = None  # an open circuit before it tells nothing of the end
            resting = resting[resting > row]
        if len(resting):
            self._rest_v = float(potential_v[resting[-1]])

    def told(
        self, *, cell_open: bool | None, laser_off: bool | None = None
    ) -> dict[str, Any] | None:
        """Return the state of the cell as the stop document tells it; ``None``: there is no cell.

        Keys: ``metal_mah_cm2`` (by ``WE`` and ``CE``, at most: as if all charge were metal, but
        what was oxidised while there was none left),
        ``why`` (of what is ``None``), ``open_circuit_v`` (of the last rows), ``driven_v``,
        ``driven_a`` and ``resistance_ohm`` (|E/i| of the last row with a current, E from the
        metal's own potential; ``None`` where that is not known, and of a full cell), ``shorted``
        (``None``: nothing judged it), ``cell`` and ``laser`` (as the instruments confirmed it),
        ``temperature_k``, ``overpressure_kpa`` and by what they are known, ``handling``.

        Args:
            cell_open: Whether the instrument confirmed that the cell is open; ``None``: not known.
            laser_off: Likewise of the laser; ``None``: there is none, or it is not known.
        """
        if self._cell is None:
            return None
        metal, why = self._metal(self._cell)
        shorted = self._shorted()
        if shorted is None:
            why["shorted"] = "no rule judged it"
        driven = self._driven
        pressure_kpa, by = self._pressure(self._cell)
        if pressure_kpa is None:
            why["overpressure_kpa"] = by
        state: dict[str, Any] = {
            "metal_mah_cm2": metal,
            "open_circuit_v": self._rest_v,
            "driven_v": None if driven is None else driven[0],
            "driven_a": None if driven is None else driven[1],
            "resistance_ohm": self._resistance_ohm(self._cell),
            "shorted": shorted,
            "cell": _CELL[cell_open],
            "laser": _LASER[laser_off],
            "temperature_k": None if self._kelvin is None else self._kelvin[1],
            "temperature_by": None if self._kelvin is None else self._kelvin[0],
            "overpressure_kpa": pressure_kpa,
            "overpressure_by": by if pressure_kpa is not None else None,
            "why": why,
        }
        state["handling"] = handling(state, self._cell)
        return state

    def _metal(self, cell: Cell) -> tuple[dict[str, float | None], dict[str, str]]:
        passed = self._charge
        net, earlier = passed.plated_mah - passed.stripped_mah, self._before[0] - self._before[1]
        metal: dict[str, float | None] = {}
        why: dict[str, str] = {}
        other = "CE" if cell.metal_electrode == "WE" else "WE"
        for name, electrode, before, more, least in (
            (cell.metal_electrode, cell.electrode, earlier, net, passed.least_net_mah),
            (other, cell.other_electrode, -earlier, -net, -passed.most_net_mah),
        ):
            metal[name] = None
            at_start = cell.inventory_mah_cm2(electrode)
            if electrode is cell.other_electrode and cell.full_cell:
                why[name] = "a cathode: its metal is not counted"
            elif cell.dummy is not None:
                why[name] = "a dummy cell"
            elif at_start is None:
                why[name] = "the thickness of its foil is not declared"
            elif self._unknown:
                why[name] = "how much passed in the runs before is not known"
            elif not self._rows:
                why[name] = _NO_ROWS
            else:
                there = at_start * electrode.area_cm2 + before
                if there < -_LEAST_MAH_CM2 * electrode.area_cm2:
                    why[name] = "more was oxidised in the runs before than there was metal"
                    continue
                # What is oxidised where no metal is left takes off nothing of what comes later.
                beyond = min(0.0, there + least)
                metal[name] = max(0.0, there + more - beyond) / electrode.area_cm2
        return metal, why

    def _resistance_ohm(self, cell: Cell) -> float | None:
        metal_v, unknown = metal_potential_v(cell)
        if self._driven is None or unknown is not None or cell.full_cell:
            return None
        potential_v, current_a = self._driven
        return abs((potential_v - metal_v) / current_a)

    def _shorted(self) -> bool | None:
        if _SHORT in self._events:
            return True
        unjudged = self._start.get("rules_not_judged") or {}
        watching = [
            rule
            for rule in self._rules()
            if (rule.get("when") or {}).get("event") == _SHORT and rule.get("name") not in unjudged
        ]
        return False if watching else None

    def _rules(self) -> Sequence[Mapping[str, Any]]:
        """Return the rules that were judged in the end: those of a changed protocol, if one was."""
        made = [protocol for t_s, protocol in self._asked if t_s < self._amended_s]
        at_first: Sequence[Mapping[str, Any]] | None = self._start.get("rules")
        if not made or at_first is None:  # without any nothing judges the stream
            return at_first or ()
        try:
            rules = Protocol.model_validate_json(made[-1]).rules
        except ValidationError:  # of a newer version
            return ()
        return [rule.model_dump(mode="json") for rule in rules]

    def _pressure(self, cell: Cell) -> tuple[float | None, str]:
        headspace = Headspace.told(cell)
        if headspace is None:
            return None, "no closed headspace above water is declared"
        # As the guard takes it: one that was silent for so long tells nothing of the end.
        silent_s = {name: self._row_s - at_s for name, (_, at_s) in self._sensed.items()}
        told = [(x, name) for name, (x, _) in self._sensed.items()]
        fresh = [(x, name) for x, name in told if not silent_s[name] > self._patience_s]
        if fresh:
            pascals, name = max(fresh)
            return pascals * 1e-3, name
        last: tuple[float, str] | None = None
        if told:
            pascals, name = max(told)
            last = pascals * 1e-3, f"{name}, silent for the last {silent_s[name]:.3g} s"
        if self._unknown or not self._rows:
            return last or (None, "how much charge passed is not known")
        charge = headspace.hydrogen_mah(
            self._before[0] + self._charge.plated_mah, self._before[1] + self._charge.stripped_mah
        )
        by = _BY_CHARGE if cell.headspace == "closed" else f"{_BY_CHARGE}, if it is closed"
        worst = headspace.overpressure_kpa(charge), by
        return worst if last is None else max(worst, last)


def _columns(rows: Mapping[str, Any], stream: str, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows of columns of a stream; none if one of them is not there."""
    columns = [rows.get(f"{stream}_{name}") for name in names]
    if all(column is not None for column in columns):
        yield from zip(*columns, strict=True)


def end_state(run: Run) -> dict[str, Any] | None:
    """Return how a run that is over left its cell, as it was told at its end or by its rows.

    ``None`` while it goes on, and of one without a cell. Of a run whose writer died the guard may
    have said whether the cell was opened, else nothing does.
    """
    if run.stop is None:
        return None
    recorded = run.stop.get("end_state")
    if isinstance(recorded, Mapping) and _NO_ROWS not in (recorded.get("why") or {}).values():
        return dict(recorded)
    watch = EndWatch(run.start)
    for name, stream in run.streams.items():
        watch.add(name, stream.columns)
    if recorded is None:
        cell_open, laser_off = _by_guard(run.stop.get("guard"))
        return watch.told(cell_open=cell_open, laser_off=laser_off)
    return watch.told(
        cell_open={word: known for known, word in _CELL.items()}[recorded.get("cell")],
        laser_off={word: known for known, word in _LASER.items()}[recorded.get("laser")],
    )


def _by_guard(told: Any) -> tuple[bool | None, bool | None]:
    """Return whether the cell is open and the laser off, as the guard process confirmed it."""
    if not isinstance(told, Mapping):
        return None, None
    became = {name: str(word) for name, word in (told.get("instruments") or {}).items()}
    if LEADER in (told.get("not_safe") or ()):
        cell_open: bool | None = False
    else:
        cell_open = True if became.get(LEADER, "").startswith("cell open") else None
    return cell_open, True if any(x.startswith("laser off") for x in became.values()) else None


def handling(state: Mapping[str, Any], cell: Cell) -> str:
    """Return how to handle a cell, in sentences: what is dangerous first."""
    return " ".join(f"{one[0].upper()}{one[1:]}." for one in _sentences(state, cell))


def _sentences(state: Mapping[str, Any], cell: Cell) -> Iterator[str]:
    if state["cell"] != _CELL[True]:
        yield (
            "that the cell is open is not confirmed: disconnect it by hand before touching it"
            if state["cell"] != _CELL[None]
            else "whether the cell is open is not known: look before touching it"
        )
    if state["laser"] == _LASER[False]:
        yield "that the laser is off is not confirmed: switch it off by its key"
    if cell.dummy is not None:
        yield "a dummy cell: it can be left as it is"
        return
    if state["shorted"]:
        ohm = state["resistance_ohm"]
        yield "shorted" + (f" ({ohm:.3g} ohm)" if ohm is not None else "") + ": do not charge again"
    pressure_kpa = state["overpressure_kpa"]
    by = state["overpressure_by"] or ""
    supposed = by.startswith(_BY_CHARGE) and cell.headspace != "closed"
    if pressure_kpa is not None and pressure_kpa > _LEAST_KPA and not supposed:
        worst = " in the worst case" if by == _BY_CHARGE else ""
        yield (
            f"hydrogen at {pressure_kpa * 1e-2:.2g} bar above the atmosphere{worst}: vent it under "
            "a hood, away from flames, before opening"
        )
    yield from _of_metal(state, cell)
    at_v = state["open_circuit_v"]
    if cell.full_cell and at_v is not None and abs(at_v) > _LEAST_CHARGED_V:
        yield f"charged to {at_v:.3g} V: keep its leads apart, discharge it before opening"
    kelvin = state["temperature_k"]
    if kelvin is not None and not _COLD_K <= kelvin <= _HOT_K:
        yield f"at {kelvin:.1f} K: let it come to room temperature before opening"


def _of_metal(state: Mapping[str, Any], cell: Cell) -> Iterator[str]:
    name = _METALS[cell.metal]
    amount = state["metal_mah_cm2"][cell.metal_electrode]
    which, other = "working", "counter"
    if cell.metal_electrode == "CE":
        which, other = other, which
    opposite = state["metal_mah_cm2"]["CE" if cell.metal_electrode == "WE" else "WE"]
    if amount is None:
        told = f"an unknown amount of {name} on the {which} electrode"
    elif amount >= _LEAST_MAH_CM2:
        told = f"{amount:.2f} mAh/cm2 of {name} at most on the {which} electrode"
    elif cell.other_electrode.metal == cell.metal:
        told = f"no {name} is left on the {which} electrode, {name} foil opposite"
    elif opposite is None and not cell.full_cell:
        told = f"no {name} is left on the {which} electrode, an unknown amount on the {other} one"
    elif opposite is not None and opposite >= _LEAST_MAH_CM2:
        told = (
            f"no {name} is left on the {which} electrode, {opposite:.2f} mAh/cm2 at most on the "
            f"{other} one"
        )
    else:
        yield f"no {name} is left on the {which} electrode"
        return
    if cell.metal == "Na":
        yield f"{told}: open under inert gas, keep it from water"
    else:
        yield f"{told}: it corrodes and makes hydrogen, rinse and dry it soon after opening"


def _last_pressure(rows: Mapping[str, Any], stream: str) -> dict[str, tuple[float, float]]:
    """Return stream -> its last overpressure, Pa, and the leader's time after it, s.

    The time is infinite where no row of the leader came after it.
    """
    values: Sequence[Any] | None = rows.get(f"{stream}_overpressure")
    if values is None:
        return {}
    after_s = rows.get(f"{stream}_t_after", [math.nan] * len(values))
    known = [
        (float(x), float(t) if math.isfinite(t) else math.inf)
        for x, t in zip(values, after_s, strict=True)
        if math.isfinite(float(x))
    ]
    return {stream: known[-1]} if known else {}


def _last(rows: Mapping[str, Any], stream: str, quantity: str) -> tuple[str, float] | None:
    values: Sequence[Any] | None = rows.get(f"{stream}_{quantity}")
    known = [] if values is None else [float(x) for x in values if math.isfinite(float(x))]
    return (stream, known[-1]) if known else None
