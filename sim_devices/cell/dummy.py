"""Dummy cells: resistors and capacitors of known values, to try a potentiostat on.

A series resistor and any number of RC members (a resistor and a capacitor side by side). The
answer to a current or a potential is exact for any step: the charges on the capacitors relax with
the network's own time constants.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim_devices.cell.parameters import COULOMB_PER_MAH, REFERENCE_TEMPERATURE_K

Mode = Literal["i", "E"]


@dataclass(frozen=True)
class DummyParameters:
    """The parts of a dummy cell.

    Attributes:
        series_ohm: resistor in series with everything, above 0.
        members: (ohm, farad) of each RC member.
        area_cm2: what current densities are told for; a dummy has no area of its own.
    """

    series_ohm: float
    members: tuple[tuple[float, float], ...] = ()
    area_cm2: float = 1.0

    def __post_init__(self) -> None:
        """Refuse parts that do not exist."""
        values = (self.series_ohm, self.area_cm2, *(x for member in self.members for x in member))
        if not all(value > 0 for value in values):
            raise ValueError(f"the parts of a dummy cell must be above 0: {self}")


# A resistor for each two decades of current: 1 V or 0.1 V at the nominal values of the ranges from
# 100 nA to 100 mA.
DUMMIES: dict[str, DummyParameters] = {
    "dummy-10ohm": DummyParameters(10.0),  # 100 mA
    "dummy-100ohm": DummyParameters(100.0),  # 10 mA, 1 mA
    "dummy-10kohm": DummyParameters(10e3),  # 100 uA, 10 uA
    "dummy-1mohm": DummyParameters(1e6),  # 1 uA, 100 nA
    # Time constant 1 ms.
    "dummy-rc": DummyParameters(10.0, ((100.0, 10e-6),)),
    # Time constants 1 ms and 1 s, three decades apart: two arcs.
    "dummy-2rc": DummyParameters(10.0, ((50.0, 20e-6), (200.0, 5e-3))),
}


class DummyCell:
    """One dummy cell; only the potentiostat advances it, as any cell.

    Signs are IUPAC: a positive current makes E = E_WE - E_CE positive.

    Attributes:
        lock: hold it while several attributes have to belong to the same moment.
        t: cell time, s.
        temperature_k: of the room; a dummy does not mind.
        temperature_setpoint_k: may be set, and changes nothing.
        contact_ohm: resistance of cables and contacts, set by `inject`.
        turns: none; there is nothing to plate.
        shorts: none.
    """

    def __init__(self, parameters: DummyParameters) -> None:
        """Take a dummy out of its box, uncharged."""
        self.parameters = parameters
        self.lock = threading.RLock()
        self.t = 0.0
        self.temperature_k = self.temperature_setpoint_k = REFERENCE_TEMPERATURE_K
        self.contact_ohm = 0.0
        self.turns: deque[tuple[float, dict[str, float]]] = deque()
        self.shorts: list[tuple[float, str]] = []
        self._charge_c = {"anodic": 0.0, "cathodic": 0.0}
        self._ohm = np.array([ohm for ohm, _ in parameters.members], dtype=float)
        self._farad = np.array([farad for _, farad in parameters.members], dtype=float)
        self._volt = np.zeros(len(parameters.members))
        self._assemble()

    def _assemble(self) -> None:
        """Find the network's own modes under potential control (a symmetric matrix)."""
        self._series_ohm = self.parameters.series_ohm + self.contact_ohm
        root = np.sqrt(self._farad)
        coupled = np.diag(1 / self._ohm) + np.ones((len(root), len(root))) / self._series_ohm
        rates, modes = np.linalg.eigh(coupled / np.outer(root, root))
        self._rates = rates  # 1/s
        self._to_modes, self._from_modes = modes.T * root, modes / root[:, None]

    def become(self, other: DummyCell) -> None:
        """Be another dummy from now on; the bench's time, temperature and cables stay."""
        kept = ("lock", "t", "temperature_k", "temperature_setpoint_k", "contact_ohm")
        with self.lock:
            state = {name: value for name, value in vars(other).items() if name not in kept}
            self.__dict__.update(state)
            self._assemble()

    # ---- looking at the cell

    @property
    def area_cm2(self) -> float:
        """What current densities are told for."""
        return self.parameters.area_cm2

    def resistances(self) -> dict[str, float]:
        """Return what a spectrum should tell, ohm, for the truth."""
        return {
            "series_ohm": self.parameters.series_ohm + self.contact_ohm,
            "interfacial_ohm": sum(ohm for ohm, _ in self.parameters.members),
        }

    def told(self) -> dict[str, Any]:
        """Return what it is made of, for the truth."""
        return asdict(self.parameters)

    def ledger(self, which: Literal["WE", "CE"]) -> dict[str, float]:
        """Return the charge that has passed, mAh/cm2, each step counted by its net sign."""
        anodic, cathodic = ("anodic", "cathodic") if which == "WE" else ("cathodic", "anodic")
        per = COULOMB_PER_MAH * self.area_cm2
        with self.lock:
            return {
                "charge_anodic": self._charge_c[anodic] / per,
                "charge_cathodic": self._charge_c[cathodic] / per,
            }

    def summary(self) -> dict[str, Any]:
        """Return how the cell was left, for the truth."""
        with self.lock:
            return {
                "working": self.ledger("WE"),
                "counter": self.ledger("CE"),
                "capacitor_v": self._volt.tolist(),
            }

    def potential(self, mode: Mode = "i", value: float = 0.0) -> tuple[float, float]:
        """Return potential (V) and current density (mA/cm2) now, without changing anything."""
        with self.lock:
            charged_v = float(self._volt.sum())
            if mode == "i":
                return charged_v + self._ampere(value) * self._series_ohm, value
            return value, self._density((value - charged_v) / self._series_ohm)

    def impedance(self, frequency_hz: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return the impedance, ohm: R + sum of R_k / (1 + j omega R_k C_k)."""
        omega = 2 * np.pi * np.asarray(frequency_hz, dtype=float)
        with self.lock:
            total = np.full(len(omega), self._series_ohm, dtype=np.complex128)
        for ohm, farad in zip(self._ohm, self._farad, strict=True):
            total += ohm / (1 + 1j * omega * ohm * farad)
        return total

    def inject(self, fault: str, *, ohm: float = 1e9) -> dict[str, Any]:
        """Break something: ``contact``, as in `sim_devices.cell.Cell.inject`.

        Raises:
            ValueError: there is no such fault.
        """
        if fault != "contact":
            raise ValueError(f"a dummy cell has no fault {fault!r}")
        with self.lock:
            self.contact_ohm = ohm
            self._assemble()
        return {"ohm": ohm}

    # ---- time

    def advance(
        self, dt_s: float, mode: Mode = "i", value: float = 0.0
    ) -> tuple[float, float, float]:
        """Let time pass at a current density (mA/cm2) or potential (V); return (s, V, mA/cm2)."""
        with self.lock:
            if mode == "i":
                current_a = self._ampere(value)
                kept = np.exp(-dt_s / (self._ohm * self._farad))
                final = current_a * self._ohm
                self._volt = final + (self._volt - final) * kept
                charge_c = current_a * dt_s
            else:
                charge_c = self._hold(value, dt_s)
            self._charge_c["anodic" if charge_c > 0 else "cathodic"] += abs(charge_c)
            self.t += dt_s
            potential, density = self.potential(mode, value)
        return dt_s, potential, density

    # ---- inside; the lock is held

    def _hold(self, potential_v: float, dt_s: float) -> float:
        """Let the capacitors relax at a potential; return the charge that has passed, C."""
        final_a = potential_v / (self._series_ohm + float(self._ohm.sum()))
        final_v = final_a * self._ohm
        away = self._to_modes @ (self._volt - final_v)
        kept = np.exp(-self._rates * dt_s)
        self._volt = final_v + self._from_modes @ (away * kept)
        # What flows beyond the final current recharges the capacitors.
        integral = self._from_modes @ (away * (1 - kept) / self._rates)
        return final_a * dt_s - float(integral.sum()) / self._series_ohm

    def _ampere(self, density: float) -> float:
        return density * 1e-3 * self.area_cm2

    def _density(self, current_a: float) -> float:
        return current_a * 1e3 / self.area_cm2
