"""The cell: two electrodes and an electrolyte in series, shorts, gas, temperature and time."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from math import cos, exp, pi, sin, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim_devices.cell.electrode import Electrode, Interface
from sim_devices.cell.insertion import InsertionElectrode
from sim_devices.cell.parameters import (
    COULOMB_PER_MAH,
    FARADAY,
    GAS_CONSTANT,
    REFERENCE_TEMPERATURE_K,
    CellParameters,
    InsertionParameters,
)
from sim_devices.cell.presets import preset

Mode = Literal["i", "E"]

_SHORTEST_CUT_OFF_STEP_S = 2e-3  # a cut-off is located to this
_CELL_TIP_SD = 0.15  # of the logarithm of the tip growth, from cell to cell
_HYDROXIDE_S = 300.0  # in which hydroxide at the working electrode disappears
_SOFT_SHORT_BELOW = (
    0.85  # soft shorts begin when the highest tip has grown this far through the separator
)
_SOFT_SHORT_RATE = 60.0  # mean number per relative growth at the very end: 3 in all
_SOFT_SHORT_S = 60.0  # mean life
_SOFT_SHORT_OHM = 30.0  # median
_THERMOSTAT_S, _THERMOSTAT_DAMPING = 60.0, 0.745  # 3 % overshoot
_CURRENT_RESOLUTION = 4e-16  # relative, of a double
_MOST_ATTEMPTS = 300  # half of them bisect
_TURN_MA_CM2 = 1e-3  # smaller currents do not turn plating into stripping
_TURNS_KEPT = 100_000
_FAULT_OHM = {"contact": 1e9, "soft-short": _SOFT_SHORT_OHM, "hard-short": 1.0}
_FAULTS = (*_FAULT_OHM, "reference", "light")
_REFERENCE_OFF_V = 100.0  # beyond what any input measures
_LIGHT_V = 2e-3  # chosen
_MAINS_HZ = 50.37  # off its nominal value, as it wanders: rows of whole seconds must not hide it
_SAME_MOMENT_S = 1e-9


@dataclass
class _InjectedShort:
    kind: Literal["soft", "hard"]
    begins_s: float
    ends_s: float
    ohm: float
    has_begun: bool = False


class Cell:
    """One simulated cell.

    Only the potentiostat advances it, every other instrument looks at it under `lock`.

    Signs are IUPAC: positive current oxidises the working electrode, E = E_WE - E_CE. Current
    densities in mA/cm2 of geometric area, charges in mAh/cm2. The same calls in the same order give
    bit-identical results, whoever looks on; a cell can be pickled at any moment (without its lock).

    Attributes:
        lock: hold it while several attributes have to belong to the same moment.
        t: cell time, s.
        working: the working electrode's state.
        counter: the counter electrode's state.
        temperature_k: temperature now.
        temperature_setpoint_k: what the thermostat goes to; may be set at any time.
        current_density: ionic current density of the last step, mA/cm2.
        short_s_cm2: conductance of all shorts.
        hydrogen_evolved_mol: of both electrodes, since the start.
        hydrogen_dissolved_mol: still in the electrolyte.
        hydrogen_gas_mol: in the headspace.
        hydroxide_umol_cm2: at the working electrode.
        contact_ohm: resistance of cables and contacts, set by `inject`.
        reference_v: potential of the reference electrode against the metal, V.
        cell_potential_v: E_WE - E_CE at the end of the last step, V, also where a reference
            electrode makes what is measured another.
        shorts: (time s, "soft" or "hard"), in the order they happened.
        short_details: of each of them ``ohm``, ``ends_s`` (None: never) and ``injected``.
        light_share: how much of the sulfate in the laser's spot the light destroys at most.
        light_mj: energy on one spot by which it has destroyed 1 - 1/e of that.
        turns: (time s, ledger of the working electrode) at each change between plating and
            stripping it.
    """

    def __init__(
        self,
        parameters: CellParameters | str,
        seed: int = 0,
        temperature_k: float = REFERENCE_TEMPERATURE_K,
    ) -> None:
        """Assemble a fresh cell.

        Args:
            parameters: of the cell, or the name of a preset.
            seed: of the cell's random streams (coulombic efficiency, tips, shorts; one stream
                each).
            temperature_k: at the start, also of the thermostat.

        Raises:
            ValueError: no preset has that name.
        """
        p = preset(parameters) if isinstance(parameters, str) else parameters
        self.parameters = p
        self.lock = threading.RLock()
        self.t = 0.0
        self.temperature_k = self.temperature_setpoint_k = temperature_k
        self._temperature_rate = 0.0
        # Five streams: the last is free for what a later model needs, without moving the others.
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5)]
        efficiency, tips, self._short_stream, scatter = streams[:4]
        self._um_per_mah_cm2 = p.metal.micrometre_per_mah_cm2
        self._dendrites = p.dendrite_amplification > 0
        growth = 0.0
        if self._dendrites:
            of_this_cell = float(tips.lognormal(0, _CELL_TIP_SD))
            growth = p.dendrite_amplification * self._um_per_mah_cm2 * of_this_cell
        self.working: Electrode | InsertionElectrode
        if isinstance(p.working, InsertionParameters):
            self.working = InsertionElectrode(p.working)
        else:
            self.working = Electrode(p.working, p, growth, efficiency, tips, scatter)
        self.counter = Electrode(p.counter, p, growth, efficiency, tips, scatter)
        self.current_density = 0.0
        self.short_s_cm2 = 0.0
        self._soft_shorts: list[tuple[float, float]] = []  # end time s, conductance S/cm2
        self._hard_short_s_cm2 = 0.0
        self._tip_reach = 0.0
        self.shorts: list[tuple[float, str]] = []
        self.short_details: list[dict[str, Any]] = []
        self._injected: list[_InjectedShort] = []  # that have not ended
        self._injected_s_cm2 = 0.0
        self._was_anodic: bool | None = None
        self.turns: deque[tuple[float, dict[str, float]]] = deque(maxlen=_TURNS_KEPT)
        self.hydrogen_evolved_mol = 0.0
        self.hydrogen_dissolved_mol = 0.0
        self.hydrogen_gas_mol = 0.0
        self.hydroxide_umol_cm2 = 0.0
        self.contact_ohm = 0.0
        self.reference_v = p.reference_offset_v
        self._reference_drift_v_h = p.reference_drift_v_h
        self._hum_v = 0.0
        self.cell_potential_v = 0.0
        self.light_share, self.light_mj = 0.0, 1.0
        self._light_step_v = self._light_v = 0.0
        self._lit = False
        self._set_temperature(temperature_k)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the lock, which belongs to a process."""
        with self.lock:
            state = self.__dict__.copy()
        del state["lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state and make a new lock."""
        self.__dict__.update(state)
        self.lock = threading.RLock()

    def become(self, other: Cell) -> None:
        """Be another cell from now on: another one is put into the leads.

        Its own lock, the bench's time, temperature, light and cables stay; ``other`` is not to be
        used any more.
        """
        state = other.__getstate__()
        kept = ("t", "temperature_k", "temperature_setpoint_k", "_temperature_rate")
        with self.lock:
            for name in (*kept, "contact_ohm", "_lit"):
                state[name] = getattr(self, name)
            self.__dict__.update(state)
            self._set_temperature(self.temperature_k)

    # ---- looking at the cell

    @property
    def area_cm2(self) -> float:
        """Geometric area of each electrode."""
        return self.parameters.area_cm2

    @property
    def micrometre_per_mah_cm2(self) -> float:
        """Thickness of a compact deposit of this cell's metal per charge."""
        return self._um_per_mah_cm2

    @property
    def metal_electrode(self) -> Electrode:
        """The electrode to look at: the working one, in a full cell the counter electrode."""
        return self.working if isinstance(self.working, Electrode) else self.counter

    def electrode(self, which: Literal["WE", "CE"]) -> Electrode | InsertionElectrode:
        """Return the working ("WE") or the counter ("CE") electrode."""
        return self.working if which == "WE" else self.counter

    @property
    def zhs_mol(self) -> float:
        """Zinc hydroxide sulfate on both electrodes, mol."""
        films = (x.zhs_mol_cm2 for x in (self.working, self.counter) if isinstance(x, Electrode))
        return sum(films) * self.area_cm2

    def ledger(self, which: Literal["WE", "CE"]) -> dict[str, float]:
        """Return where the charge through an electrode went since the start, mAh/cm2."""
        with self.lock:
            return self.electrode(which).ledger()

    def summary(self) -> dict[str, Any]:
        """Return how the cell was left, for the truth."""
        with self.lock:
            return {
                "working": self.working.ledger(),
                "counter": self.counter.ledger(),
                "hydrogen_evolved_mol": self.hydrogen_evolved_mol,
                "hydrogen_gas_mol": self.hydrogen_gas_mol,
            }

    def potential(self, mode: Mode = "i", value: float = 0.0) -> tuple[float, float]:
        """Return potential (V) and current density (mA/cm2) now, without changing anything.

        The potential here and in `advance` is that of the working electrode against the reference
        if there is one, else against the counter electrode.

        Args:
            mode: "i" gives a current density, "E" a potential.
            value: mA/cm2 or V.
        """
        with self.lock:
            potential, current, *_ = self._solve(mode, value, 0.0)
        return potential, current

    def impedance(self, frequency_hz: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return the impedance (ohm) of the whole geometric area about the present direct current.

        It is that of the cell; with a reference, of the working electrode's side.

        The state does not change: an instrument that sweeps has to advance the cell.

        Args:
            frequency_hz: positive, any shape of one dimension.
        """
        p = self.parameters
        omega = 2j * np.pi * np.asarray(frequency_hz, dtype=float)
        with self.lock:
            per_area = np.full(len(omega), self._electrolyte_resistance, dtype=complex)
            j = self.current_density
            at_working = self.working.impedance(omega, j, p.transport_time_s)
            per_area += at_working
            per_area += self.counter.impedance(omega, -j, p.transport_time_s)
            short_s = self.short_s_cm2 * p.area_cm2
            measured = per_area
            if p.reference_share is not None:
                measured = at_working + p.reference_share * self._electrolyte_resistance
        lead = omega * p.inductance_h
        shorted: npt.NDArray[np.complex128] = (measured / p.area_cm2 + lead) / (
            1 + short_s * (per_area / p.area_cm2 + lead)
        )
        return shorted

    def resistances(self) -> dict[str, float]:
        """Return what a spectrum at the present current should tell, ohm, for the truth.

        ``series_ohm`` is electrolyte, cables and contacts; ``interfacial_ohm`` films and charge
        transfer of both electrodes, without transport.
        """
        area = self.parameters.area_cm2
        with self.lock:
            j = self.current_density
            interfacial = self.working.interface_resistance(j)
            interfacial += self.counter.interface_resistance(-j)
            return {
                "series_ohm": self._electrolyte_resistance / area,
                "interfacial_ohm": interfacial / area,
            }

    def told(self) -> dict[str, Any]:
        """Return what it is made of, for the truth."""
        return asdict(self.parameters)

    def inject(
        self,
        fault: str,
        *,
        ohm: float | None = None,
        seconds: float = _SOFT_SHORT_S,
        at_s: float | None = None,
        volts: float | None = None,
        volts_per_hour: float = 0.0,
        share: float = 0.0,
        mj: float = 100.0,
        hum_v: float = 0.0,
    ) -> dict[str, float | None]:
        """Break something.

        Args:
            fault: one of

                * ``contact``: cables and contacts have this resistance from now on; as large as it
                  is by default (1e9 ohm), a lead has come off.
                * ``soft-short``: a short of this resistance (30 ohm) that heals.
                * ``hard-short``: a short of this resistance (1 ohm) for ever.
                * ``reference``: the reference electrode is off by this potential; as large as it is
                  by default, its lead has come off and the input is at its end.
                * ``light``: what is measured rises by this potential (2 mV) while the laser shines,
                  and sulfate is lost where it has shone.
            ohm: resistance of the contacts together, or of the short.
            seconds: how long a soft short lasts, cell time.
            at_s: cell time at which a short begins, found exactly whatever the steps; None, or a
                time that is past: now.
            volts: potential of the reference electrode against the metal from now on, or the step
                while the laser shines.
            volts_per_hour: the reference's drift from now on.
            share: of the sulfate that light destroys at most.
            mj: energy on one spot by which 1 - 1/e of that share is gone.
            hum_v: mains hum, root mean square, that a floating reference picks up from now on.

        Returns:
            What was done: ``ohm``, and of a short ``begins_s`` and ``ends_s`` (None: never); of a
            reference electrode ``volts``, ``volts_per_hour`` and ``hum_v``; of light ``volts``,
            ``share`` and ``mj``.

        Raises:
            ValueError: there is no such fault, a number is not positive, or the cell has no
                reference electrode.
        """
        if fault not in _FAULTS:
            raise ValueError(f"a cell has no fault {fault!r}; it has {', '.join(_FAULTS)}")
        if fault == "reference":
            if self.parameters.reference_share is None:
                raise ValueError("this cell has no reference electrode")
            volts = _REFERENCE_OFF_V if volts is None else volts
            with self.lock:
                self.reference_v, self._reference_drift_v_h = volts, volts_per_hour
                self._hum_v = hum_v
            return {"volts": volts, "volts_per_hour": volts_per_hour, "hum_v": hum_v}
        if fault == "light":
            return self._feel_light(_LIGHT_V if volts is None else volts, share, mj)
        ohm = _FAULT_OHM[fault] if ohm is None else ohm
        if ohm < 0 or seconds <= 0 or (ohm == 0 and fault != "contact"):
            raise ValueError(f"a {fault} of {ohm} ohm for {seconds} s is none")
        with self.lock:
            if fault == "contact":
                self.contact_ohm = ohm
                self._set_temperature(self.temperature_k)
                return {"ohm": ohm}
            begins = self.t if at_s is None else max(at_s, self.t)
            kind: Literal["soft", "hard"] = "soft" if fault == "soft-short" else "hard"
            ends = begins + seconds if kind == "soft" else float("inf")
            self._injected.append(_InjectedShort(kind, begins, ends, ohm))
            self._switch_injected()
        return {"ohm": ohm, "begins_s": begins, "ends_s": ends if kind == "soft" else None}

    def shine(self, power_mw: float) -> None:
        """Let the laser shine on it from now on; 0: it is off. Without ``light`` nothing comes."""
        with self.lock:
            self._lit = power_mw > 0
            self._light_v = self._light_step_v if self._lit else 0.0

    def _feel_light(self, volts: float, share: float, mj: float) -> dict[str, float | None]:
        if not 0 <= share <= 1 or mj <= 0:
            raise ValueError(f"light that destroys {share} within {mj} mJ is none")
        with self.lock:
            self._light_step_v, self.light_share, self.light_mj = volts, share, mj
        self.shine(float(self._lit))
        return {"volts": volts, "share": share, "mj": mj}

    # ---- time

    def advance(
        self,
        dt_s: float,
        mode: Mode = "i",
        value: float = 0.0,
        e_max: float = 1e9,
        e_min: float = -1e9,
    ) -> tuple[float, float, float]:
        """Let time pass at a constant current density or potential; open circuit is a current of 0.

        Steps are divided where the state is stiff (formation, end of stripping). A step that ends
        beyond a cut-off is repeated in shorter ones until the cut-off is located within 2 ms.

        Args:
            dt_s: seconds, any length.
            mode: "i" controls the current density, "E" the potential.
            value: mA/cm2 (positive oxidises the working electrode) or V.
            e_max: stop when the potential gets above this, V.
            e_min: stop when it gets below this, V.

        Returns:
            Seconds used (less than `dt_s` when a cut-off was met), potential (V) and current
            density (mA/cm2, the current through a short included) at the end.
        """
        with self.lock:
            left = dt_s
            potential = current = 0.0
            longest = stiff = 1e9
            while left > 1e-9:
                step = min(left, longest, stiff)
                j = value if mode == "i" else self.current_density
                step = self.working.longest_step(j, step)
                step = self.counter.longest_step(-j, step)
                if self._injected:
                    step = min(step, self._until_injected())
                if mode == "E" and step > 5.0 and abs(value) > 1e-6 and abs(j) > 5:
                    step = 5.0
                potential, current, ionic, at_working, at_counter, across = self._solve(
                    mode, value, step
                )
                if mode == "E":  # only now is the current known
                    stiff = self.working.longest_step(ionic, step)
                    stiff = self.counter.longest_step(-ionic, stiff)
                    if stiff < 0.5 * step:
                        continue
                    stiff = 1e9
                beyond = potential > e_max or potential < e_min
                if beyond and step > _SHORTEST_CUT_OFF_STEP_S:
                    longest = step * 0.25
                    continue
                self.cell_potential_v = across
                self._commit(ionic, at_working, at_counter, step)
                left -= step
                if beyond:
                    break
            return dt_s - max(left, 0.0), potential, current

    # ---- inside; the lock is held

    def _set_temperature(self, temperature_k: float) -> None:
        p = self.parameters
        self._kinetics_at_k = temperature_k
        inverse = (1 / temperature_k - 1 / REFERENCE_TEMPERATURE_K) / GAS_CONSTANT
        self._electrolyte_resistance = p.electrolyte_resistance_ohm_cm2 * exp(
            p.electrolyte_activation_j_mol * inverse
        )
        self._electrolyte_resistance += self.contact_ohm * p.area_cm2
        self.working.set_temperature(temperature_k, p)
        self.counter.set_temperature(temperature_k, p)

    def _ionic(self, j: float, step_s: float) -> tuple[float, float, Interface, Interface]:
        """Potential (V), its slope (kohm cm2) and both interfaces at an ionic current density."""
        at_working = self.working.interface(j, step_s)
        at_counter = self.counter.interface(-j, step_s)
        ohmic = 1e-3 * (self._electrolyte_resistance + at_working[6] + at_counter[6])
        potential = (
            j * ohmic
            + at_working[0]
            + self.working.nucleation_v(at_working[1])
            - at_counter[0]
            - self.counter.nucleation_v(at_counter[1])
        )
        return potential, ohmic + 1 / at_working[5] + 1 / at_counter[5], at_working, at_counter

    def _measured(
        self, j: float, at_working: Interface, across: float, slope: float, step_s: float
    ) -> tuple[float, float]:
        """Return what is measured and its slope: E_WE against the reference, if there is one."""
        share = self.parameters.reference_share
        if share is None:
            return across + self._light_v, slope
        ohmic = 1e-3 * (share * self._electrolyte_resistance + at_working[6])
        potential = j * ohmic + at_working[0] + self.working.nucleation_v(at_working[1])
        reference_v = self.reference_v + self._reference_drift_v_h * step_s / 3600
        if self._hum_v:
            reference_v += self._hum_v * sqrt(2) * sin(2 * pi * _MAINS_HZ * (self.t + step_s))
        return potential - reference_v + self._light_v, ohmic + 1 / at_working[5]

    def _solve(
        self, mode: Mode, value: float, step_s: float
    ) -> tuple[float, float, float, Interface, Interface, float]:
        """What is measured, total and ionic current density, both interfaces, and E_WE - E_CE.

        A short is parallel.
        """
        short = self.short_s_cm2 * 1e3  # mA/cm2 per V
        if mode == "i" and not short:
            across, slope, at_working, at_counter = self._ionic(value, step_s)
            potential, _ = self._measured(value, at_working, across, slope, step_s)
            return potential, value, value, at_working, at_counter, across
        high = 4e3 / self._electrolyte_resistance  # 4 V across the electrolyte
        low = -high
        scale = 1.0 if mode == "E" else max(1.0, abs(value))
        j = min(max(self.current_density, low), high)
        attempt = 0
        while True:
            across, slope, at_working, at_counter = self._ionic(j, step_s)
            if mode == "E":
                potential, slope = self._measured(j, at_working, across, slope, step_s)
                excess = potential - value
            else:
                excess, slope = j + short * across - value, 1 + short * slope
            if excess > 0:
                high = j
            else:
                low = j
            # Where little is left to react, the current hardly depends on the potential: what it is
            # must be found to the last digit.
            resolved = high - low <= _CURRENT_RESOLUTION * max(-low, high)
            if abs(excess) < 1e-9 * scale or resolved or attempt == _MOST_ATTEMPTS:
                break
            newton = j - excess / slope
            may_trust_newton = attempt < 12 or attempt & 1
            j = newton if low < newton < high and may_trust_newton else 0.5 * (low + high)
            attempt += 1
        total = j + short * across if mode == "E" else value
        potential, _ = self._measured(j, at_working, across, slope, step_s)
        return potential, total, j, at_working, at_counter, across

    def _commit(
        self, j: float, at_working: Interface, at_counter: Interface, step_s: float
    ) -> None:
        if abs(j) > _TURN_MA_CM2 and (j > 0) != self._was_anodic:
            self._was_anodic = j > 0
            self.turns.append((self.t, self.working.ledger()))
        at_we = self.working.commit(j, at_working, step_s)
        at_ce = self.counter.commit(-j, at_counter, step_s)
        self.t += step_s
        self.reference_v += self._reference_drift_v_h * step_s / 3600
        self.current_density = j
        self.hydroxide_umol_cm2 *= exp(-step_s / _HYDROXIDE_S)
        if at_we or at_ce:
            self._release_hydrogen(at_we, at_ce, step_s)
        if self.temperature_k != self.temperature_setpoint_k or self._temperature_rate:
            self._regulate_temperature(step_s)
        if self._dendrites:
            self._grow_shorts()
        if self._injected:
            self._switch_injected()

    def _until_injected(self) -> float:
        """Return how long it is until an injected short begins or ends, s."""
        times = [time for short in self._injected for time in (short.begins_s, short.ends_s)]
        return min((time - self.t for time in times if time - self.t > _SAME_MOMENT_S), default=1e9)

    def _switch_injected(self) -> None:
        """Let the injected shorts begin and end whose time has come."""
        now = self.t + _SAME_MOMENT_S
        self._injected = [short for short in self._injected if short.ends_s > now]
        conductance = 0.0
        for short in self._injected:
            if short.begins_s > now:
                continue
            conductance += 1 / (self.parameters.area_cm2 * short.ohm)
            if not short.has_begun:
                short.has_begun = True
                self._tell_short(short.kind, short.ohm, short.ends_s, injected=True)
        self.short_s_cm2 += conductance - self._injected_s_cm2
        self._injected_s_cm2 = conductance
        if not (self._soft_shorts or self._hard_short_s_cm2 or conductance):
            self.short_s_cm2 = 0.0  # without the rounding of the sum

    def _tell_short(self, kind: str, ohm: float, ends_s: float, *, injected: bool) -> None:
        self.shorts.append((self.t, kind))
        ends = ends_s if ends_s < float("inf") else None
        self.short_details.append({"ohm": ohm, "ends_s": ends, "injected": injected})

    def _release_hydrogen(self, at_we: float, at_ce: float, step_s: float) -> None:
        """Hydrogen dissolves, then goes to the headspace: exact for a constant rate."""
        p = self.parameters
        evolved = (at_we + at_ce) * COULOMB_PER_MAH / (2 * FARADAY) * p.area_cm2
        kept = exp(-step_s / p.gas_release_s)
        stays = evolved * (p.gas_release_s / step_s) * (1 - kept)
        self.hydrogen_gas_mol += self.hydrogen_dissolved_mol * (1 - kept) + evolved - stays
        self.hydrogen_dissolved_mol = self.hydrogen_dissolved_mol * kept + stays
        self.hydrogen_evolved_mol += evolved
        self.hydroxide_umol_cm2 += at_we * COULOMB_PER_MAH / FARADAY * 1e6

    def _regulate_temperature(self, step_s: float) -> None:
        """A damped oscillator, solved exactly, so that the step does not matter."""
        natural, damping = 1 / _THERMOSTAT_S, _THERMOSTAT_DAMPING / _THERMOSTAT_S
        ringing = natural * sqrt(1 - _THERMOSTAT_DAMPING**2)
        away, rate = self.temperature_k - self.temperature_setpoint_k, self._temperature_rate
        fading = exp(-damping * step_s)
        cosine, sine = fading * cos(ringing * step_s), fading * sin(ringing * step_s) / ringing
        self.temperature_k = self.temperature_setpoint_k + (
            away * cosine + (rate + damping * away) * sine
        )
        self._temperature_rate = rate * cosine - (natural**2 * away + damping * rate) * sine
        distance = abs(self.temperature_k - self.temperature_setpoint_k)
        if distance < 1e-4 and abs(self._temperature_rate) < 1e-6:
            self.temperature_k, self._temperature_rate = self.temperature_setpoint_k, 0.0
        moved = abs(self.temperature_k - self._kinetics_at_k) > 1e-3
        if moved or self.temperature_k == self.temperature_setpoint_k:
            self._set_temperature(self.temperature_k)

    def _grow_shorts(self) -> None:
        reach = max(self.working.tip_um, self.counter.tip_um) / self.parameters.separator_um
        before = self._tip_reach
        if reach > before:
            self._tip_reach = reach
            if reach > _SOFT_SHORT_BELOW and not self._hard_short_s_cm2:
                self._break_through(before, reach)
        if self._soft_shorts or self._hard_short_s_cm2:
            self._soft_shorts = [short for short in self._soft_shorts if short[0] > self.t]
            soft = sum(conductance for _, conductance in self._soft_shorts)
            self.short_s_cm2 = self._hard_short_s_cm2 + soft + self._injected_s_cm2
        elif self.short_s_cm2:
            self.short_s_cm2 = self._injected_s_cm2

    def _break_through(self, before: float, reach: float) -> None:
        area, draw = self.parameters.area_cm2, self._short_stream
        near = (min(reach, 1.0) - _SOFT_SHORT_BELOW) / (1 - _SOFT_SHORT_BELOW)
        mean = _SOFT_SHORT_RATE * near**2 * (reach - max(before, _SOFT_SHORT_BELOW))
        for _ in range(draw.poisson(mean)):
            ends = self.t + float(draw.exponential(_SOFT_SHORT_S))
            ohm = _SOFT_SHORT_OHM * float(draw.lognormal(0, 0.5))
            self._soft_shorts.append((ends, 1 / (area * ohm)))
            self._tell_short("soft", ohm, ends, injected=False)
        if reach >= 1:
            ohm = float(draw.uniform(0.5, 2.0))
            self._hard_short_s_cm2 = 1 / (area * ohm)
            self._tell_short("hard", ohm, float("inf"), injected=False)
