"""From our protocols to those of aurora-unicycler."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from operando.terminals import orientation
from operando.unicycler._exchange import Exchanged, ExchangeError, sign_of
from techniques import (
    Assignment,
    Block,
    Cell,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Protocol,
    Recording,
    Repeat,
    SafetyLimits,
    Sequence,
    Technique,
    UnsuitableCellError,
    elementary_steps,
    longest_duration_s,
)

if TYPE_CHECKING:
    from aurora_unicycler import CyclingProtocol


def to_unicycler(protocol: Protocol, cell: Cell) -> "CyclingProtocol":
    """Return ``protocol`` on ``cell`` as a protocol of aurora-unicycler; as `exported`."""
    return exported(protocol, cell).protocol


def exported(protocol: Protocol, cell: Cell) -> "Exchanged[CyclingProtocol]":
    """Return ``protocol`` on ``cell`` as a protocol of aurora-unicycler, and what is told of it.

    Currents are in mA, by the area of the metal electrode; positive charges the cell (the package
    says which electrode is which). A charge that ends a step is told as the time in which the
    current passes it. Amplitudes of spectra, rms here, are peak values there.

    Raises:
        ExchangeError: Something has no counterpart; the message names the step.
    """
    return _Export(protocol, cell).done()


class _Export:
    def __init__(self, protocol: Protocol, cell: Cell) -> None:
        self.protocol, self.cell = protocol, cell
        self.sign = sign_of(cell)
        self.told: list[str] = []
        self.method: list[dict[str, Any]] = []
        self._tags = 0

    def done(self) -> "Exchanged[CyclingProtocol]":
        from aurora_unicycler import CyclingProtocol

        protocol, cell = self.protocol, self.cell
        if protocol.temperatures is not None:
            raise ExchangeError(
                f"protocol {protocol.name!r}: temperatures have no counterpart: export the "
                "protocol of one temperature"
            )
        try:
            program = protocol.program(cell)
        except UnsuitableCellError as error:
            raise ExchangeError(f"protocol {protocol.name!r}: {error}") from error
        safety = self._safety(program)
        self._add(program)
        nominal = cell.nominal_capacity_mah_cm2
        sample: dict[str, Any] = {"name": cell.cell_id}
        if nominal is not None:
            sample["capacity_mAh"] = nominal * cell.area_cm2
        tree = {
            "sample": sample,
            "record": self._record(program),
            "safety": safety,
            "method": self.method,
        }
        self._not_of_the_cycler()
        try:
            cycling = CyclingProtocol.from_dict(tree)
        except ValidationError as error:
            raise ExchangeError(
                f"protocol {protocol.name!r}: aurora-unicycler refuses it: {error}"
            ) from error
        return Exchanged(cycling, tuple(self.told))

    def tell(self, text: str) -> None:
        if text not in self.told:
            self.told.append(text)

    def _wrong(self, step: Technique, why: str) -> ExchangeError:
        place = len(self.method) + 1
        return ExchangeError(
            f"protocol {self.protocol.name!r}, {_name(step)} (step {place} of what would be "
            f"written): {why}"
        )

    # -- steps

    def _add(self, technique: Technique) -> None:
        match technique:
            case Sequence():
                for step in technique.steps:
                    self._add(step)
            case Block():
                self.method.append({"step": "tag", "tag": self._tag(technique.name)})
                self._add(technique.step)
            case Repeat():
                with self._looping(technique.times):
                    self._add(technique.step)
            case PlateStripCycle():
                self._cycles(technique)
            case OpenCircuit():
                self._rest(technique)
            case GalvanostaticStep():
                self._current(technique)
            case PotentiostaticStep():
                self._hold(technique)
            case LinearSweep() | CyclicVoltammetry():
                self._sweep(technique)
            case ImpedanceSpectrum():
                self._spectrum(technique)
            case _:
                raise TypeError(f"not a program: {technique!r}")

    def _tag(self, name: str) -> str:
        taken = {step["tag"] for step in self.method if step["step"] == "tag"}
        if name not in taken:
            return name
        number = 2
        while f"{name} ({number})" in taken:
            number += 1
        return f"{name} ({number})"

    @contextmanager
    def _looping(self, times: int) -> Iterator[None]:
        self._tags += 1
        tag = self._tag(f"loop {self._tags}")
        self.method.append({"step": "tag", "tag": tag})
        yield
        self.method.append({"step": "loop", "loop_to": tag, "cycle_count": times})

    def _cycles(self, cycle: PlateStripCycle) -> None:
        if cycle.between is None:
            self._often(cycle, cycle.cycles, False)
            return
        every, before = cycle.between_every, min(cycle.between_first - 1, cycle.cycles)
        whole, rest = divmod(cycle.cycles - before, every)
        self._often(cycle, before, False)
        if every == 1:
            self._often(cycle, whole, True)
        elif whole:
            with self._looping(whole):
                self._often(cycle, 1, True)
                self._often(cycle, every - 1, False)
        if rest:
            self._often(cycle, 1, True)
            self._often(cycle, rest - 1, False)

    def _often(self, cycle: PlateStripCycle, times: int, between: bool) -> None:
        """Add so many cycles as a loop, also one: what reads it sees that it is a cycle."""
        if times:
            with self._looping(times):
                for step in self._one_cycle(cycle, between):
                    self._add(step)

    def _one_cycle(self, cycle: PlateStripCycle, between: bool) -> tuple[Technique, ...]:
        rest: tuple[Technique, ...] = ()
        if cycle.rest_s > 0:
            rest = (OpenCircuit(duration_s=cycle.rest_s, record=cycle.plate.record),)
        first, second = cycle.halves
        steps: list[Technique] = [*cycle.goes_on_with(first), *rest]
        if between and cycle.between is not None:
            steps.append(cycle.between)
        return (*steps, *cycle.goes_on_with(second), *rest)

    def _rest(self, step: OpenCircuit) -> None:
        if step.drift_below_v_s is not None:
            self.tell(
                f"a rest that ends when the potential drifts by less than {step.drift_below_v_s:g} "
                f"V/s: there it lasts {step.duration_s:g} s"
            )
        self.method.append({"step": "open_circuit_voltage", "until_time_s": step.duration_s})

    def _current(self, step: GalvanostaticStep) -> None:
        strips = step.signed_current_density_ma_cm2 > 0
        current = self.sign * step.signed_current_density_ma_cm2 * self.cell.area_cm2
        ahead = "potential_above_v" if strips else "potential_below_v"
        told: dict[str, Any] = {"step": "constant_current", "current_mA": current}
        ends = []
        for limit in step.until:
            if limit.action == "end_loop":
                raise self._wrong(step, f"{_limit(limit)} leaves its loop: no counterpart")
            if limit.quantity in ("time_s", "charge_mah_cm2"):
                if limit.action == "stop":
                    self._stop_becomes_next(step, limit)
            elif limit.action == "stop":
                continue  # a safety limit of all steps, looked at by _safety
            elif limit.quantity != ahead:
                raise self._wrong(
                    step,
                    f"{_limit(limit)} has no counterpart: there a step ends where its current "
                    f"takes the potential, here {ahead}",
                )
            else:
                ends.append(limit.value)
        if ends:
            told["until_voltage_V"] = self.sign * (min(ends) if strips else max(ends))
            if told["until_voltage_V"] == 0:
                raise self._wrong(step, "a limit at 0 V means none there: move it by a millivolt")
        told["until_time_s"] = step.expected_s
        self.method.append(told)

    def _stop_becomes_next(self, step: Technique, limit: Limit) -> None:
        self.tell(
            f"{_name(step)}: {_limit(limit)} stops the program here; there it ends the step, and "
            "the next one follows"
        )

    def _hold(self, step: PotentiostaticStep) -> None:
        if step.versus == "open_circuit":
            raise self._wrong(step, "a potential against the open circuit has no counterpart")
        told: dict[str, Any] = {
            "step": "constant_voltage",
            "voltage_V": self.sign * step.potential_v,
            "until_time_s": step.expected_s,
        }
        below = [x.value for x in step.until if x.quantity == "abs_current_below_ma_cm2"]
        for limit in step.until:
            if limit.action == "end_loop":
                raise self._wrong(step, f"{_limit(limit)} leaves its loop: no counterpart")
            if limit.quantity in ("time_s", "abs_current_below_ma_cm2"):
                if limit.action == "stop":
                    self._stop_becomes_next(step, limit)
            elif limit.quantity == "charge_mah_cm2" and limit.action == "stop":
                self.tell(
                    f"{_name(step)}: {_limit(limit)} stops the program here; there it is a safety "
                    "limit (max_capacity_mAh) where the cycler keeps one, or none"
                )
            else:
                raise self._wrong(step, f"{_limit(limit)} has no counterpart in a hold")
        if step.role is not None and not step.continues_half_cycle:
            self.tell(f"{_name(step)}: that it is a half-cycle of its own")
        if below:
            # Its sign says whether the hold charges: some cyclers have a step of each.
            way = -1 if step.role == "plate" else 1
            told["until_current_mA"] = self.sign * way * max(below) * self.cell.area_cm2
        self.method.append(told)

    def _sweep(self, step: LinearSweep | CyclicVoltammetry) -> None:
        if step.versus == "open_circuit":
            raise self._wrong(step, "potentials against the open circuit have no counterpart")
        if step.until:
            limits = ", ".join(map(_limit, step.until))
            raise self._wrong(step, f"{limits}: a scan has no limits there")
        self.tell("the potential between two rows of a sweep: there it is as the cycler has it")
        turns = [self.sign * value for value in step.turns_v]
        legs: list[dict[str, Any]] = [
            {
                "step": "voltage_scan",
                "start_voltage_V": begin,
                "end_voltage_V": end,
                "scan_rate_mV_per_s": step.scan_rate_v_s * 1e3,
            }
            for begin, end in pairwise(turns)
            if begin != end
        ]
        if isinstance(step, LinearSweep):
            self.method += legs
            return
        with self._looping(step.scans):
            self.method += legs

    def _spectrum(self, step: ImpedanceSpectrum) -> None:
        if step.potential_v is not None:
            raise self._wrong(
                step, f"its bias of {step.potential_v:g} V has no counterpart: only open circuit"
            )
        told: dict[str, Any] = {
            "step": "impedance_spectroscopy",
            "start_frequency_Hz": step.frequency_max_hz,
            "end_frequency_Hz": step.frequency_min_hz,
            "points_per_decade": step.points_per_decade,
        }
        for name, value in (
            ("start_frequency_Hz", step.frequency_max_hz),
            ("end_frequency_Hz", step.frequency_min_hz),
        ):
            if not 1e-5 <= value <= 1e7:
                raise self._wrong(step, f"{name} of {value:g} Hz is outside 10 uHz to 10 MHz")
        if step.amplitude_rms_v is not None:
            told["amplitude_V"] = step.amplitude_rms_v * math.sqrt(2)
        if step.amplitude_rms_ma_cm2 is not None:
            told["amplitude_mA"] = step.amplitude_rms_ma_cm2 * math.sqrt(2) * self.cell.area_cm2
        self.method.append(told)

    # -- what holds for all steps

    def _record(self, program: Technique) -> dict[str, Any]:
        records = {
            step.record
            for step in elementary_steps(program)
            if isinstance(step, OpenCircuit | GalvanostaticStep | PotentiostaticStep)
        } or {Recording()}
        told: dict[str, Any] = {"time_s": min(record.dt_s for record in records)}
        steps_v = [record.de_v for record in records if record.de_v is not None]
        steps_ma = [record.di_ma_cm2 for record in records if record.di_ma_cm2 is not None]
        if steps_v:
            told["voltage_V"] = min(steps_v)
        if steps_ma:
            told["current_mA"] = min(steps_ma) * self.cell.area_cm2
        if len({(record.dt_s, record.de_v, record.di_ma_cm2) for record in records}) > 1:
            self.tell("when rows are recorded differs between steps: the densest holds for all")
        if any(record.dq_mah_cm2 is not None for record in records):
            self.tell("rows by charge (dq_mah_cm2)")
        dense = (r for r in records if r.edge_for_s > 0 and r.edge_dt_s < r.dt_s)
        if any(dense):
            self.tell("denser rows after each edge (edge_dt_s)")
        if any(record.check_dt_s is not None for record in records):
            self.tell("how often limits are checked (check_dt_s): the cycler checks as it does")
        return told

    def _safety(self, program: Technique) -> dict[str, Any]:
        cell = self.cell
        limits = cell.limits.narrowed_by(self.protocol.limits)
        reference = cell.reference_electrode is not None
        if limits.cell_potential_max_v is not None and reference:
            raise ExchangeError(
                f"cell {cell.cell_id!r}: cell_potential_max_v besides a reference has no "
                "counterpart: only one voltage is watched there"
            )
        longest = longest_duration_s(program)
        if limits.duration_max_s is not None and longest > limits.duration_max_s:
            raise ExchangeError(
                f"protocol {self.protocol.name!r} may last {longest:.0f} s, the limit is "
                f"{limits.duration_max_s:.0f} s"
            )
        limits = Assignment(
            technique=program,
            area_cm2=cell.area_cm2,
            metal_electrode=cell.metal_electrode,
            reference=reference,
            limits=limits,
        ).bounds
        low, high = self._window(program, limits)
        told: dict[str, Any] = {}
        if low is not None:
            told["min_voltage_V"] = low
        if high is not None:
            told["max_voltage_V"] = high
        if limits.current_max_a is not None:
            told["max_current_mA"] = limits.current_max_a * 1e3
            told["min_current_mA"] = -limits.current_max_a * 1e3
        if limits.charge_max_mah_cm2 is not None:
            told["max_capacity_mAh"] = limits.charge_max_mah_cm2 * cell.area_cm2
        return told

    def _window(
        self, program: Technique, limits: SafetyLimits
    ) -> tuple[float | None, float | None]:
        """Return the lowest and highest voltage of the terminals, with what stops every step."""
        stops = {
            self._stops(step)
            for step in elementary_steps(program)
            if isinstance(step, GalvanostaticStep)
        }
        if len(stops) > 1:
            raise ExchangeError(
                f"protocol {self.protocol.name!r}: steps whose potential stops the program at "
                "different values: there one pair of safety limits holds for all steps"
            )
        low, high = limits.potential_min_v, limits.potential_max_v
        ends = [value for value in (low, high) if value is not None]
        turn = orientation(self.cell).sign
        lows = [turn * x for x in ((low,) if turn > 0 else (high,)) if x is not None]
        highs = [turn * x for x in ((high,) if turn > 0 else (low,)) if x is not None]
        assert len(ends) == len(lows) + len(highs)
        for below, above in stops:
            if self.sign < 0:
                below, above = -above, -below
            lows += [below] if math.isfinite(below) else []
            highs += [above] if math.isfinite(above) else []
        return max(lows, default=None), min(highs, default=None)

    @staticmethod
    def _stops(step: GalvanostaticStep) -> tuple[float, float]:
        """Return between which potentials of the metal electrode a step does not stop all, V."""
        low, high = -math.inf, math.inf
        for limit in step.until:
            if limit.action != "stop":
                continue
            if limit.quantity in ("potential_above_v", "abs_potential_above_v"):
                high = min(high, limit.value)
            if limit.quantity == "potential_below_v":
                low = max(low, limit.value)
            if limit.quantity == "abs_potential_above_v":
                low = max(low, -limit.value)
        return low, high

    def _not_of_the_cycler(self) -> None:
        protocol = self.protocol
        for rule in protocol.rules_on(self.cell):
            self.tell(f"rule {rule.name!r} ({rule.when.event})")
        every = protocol.every
        if any((every.image_s, every.spectrum_s, every.injection_s, every.blank_spectra)):
            self.tell("images, Raman spectra and injections (every)")
        if not protocol.on_failure.ends_at_once:
            self.tell("what is done when the potentiostat fails (on_failure)")
        if protocol.gas_check is not None:
            self.tell("the check of the gas chromatograph (gas_check)")


def _name(step: Technique) -> str:
    role = getattr(step, "role", None)
    kind = str(step.type).replace("_", " ")
    return f"{kind} ({role})" if role else kind


def _limit(limit: Limit) -> str:
    return f"{limit.quantity} {limit.value:g}"
