"""Instruments that a simulated bench serves when it is asked for them by name.

Each has a function here that starts it, wired to the bench's one cell and one clock; adding an
instrument adds its function and its line in `STARTERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim_devices.cell import Cell, DummyCell
    from sim_devices.clock import SimulatedClock
    from sim_devices.lights import Lights
    from sim_devices.recorded_cell import RecordedCell
    from sim_devices.truth import Truth


@dataclass(frozen=True)
class Wiring:
    """What a simulated instrument is wired to.

    Attributes:
        cell: the one cell; look at it under its lock.
        clock: cell seconds, shared.
        truth: where it is written what really happened.
        lights: what shines on the cell.
        seed: of this instrument's random streams.
        prefer_pty: whether a serial instrument gets a pseudo-terminal.
        perfect: whether it has neither errors nor noise.
        folder: where the bench publishes; an instrument that writes files makes a folder in it.
    """

    cell: Cell | DummyCell | RecordedCell
    clock: SimulatedClock
    truth: Truth
    lights: Lights
    seed: int
    prefer_pty: bool
    perfect: bool
    folder: Path

    def simulated_cell(self, what: str) -> Cell:
        """Return the cell; raises ValueError if it is none of which ``what`` could tell anything.

        A dummy has no electrolyte, and a recorded cell tells only what was recorded.
        """
        from sim_devices.cell import Cell

        if not isinstance(self.cell, Cell):
            raise ValueError(f"this cell has nothing for {what}: leave it out")
        return self.cell


# Returns the instrument, which has ``close`` and perhaps ``line`` or ``inject``, and its address.
Starter = Callable[[Wiring], tuple[Any, str]]


def _ph_meter(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.ezo_ph import EzoPh

    circuit = EzoPh(
        wiring.simulated_cell("a pH circuit"),
        wiring.clock,
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
        perfect=wiring.perfect,
    )
    return circuit, circuit.address


def _rodeostat(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.rodeostat import Rodeostat

    rodeostat = Rodeostat(
        wiring.cell,
        wiring.clock,
        wiring.truth,
        wiring.seed,
        prefer_pty=wiring.prefer_pty,
        perfect=wiring.perfect,
    )
    return rodeostat, rodeostat.address


def _raman_ocean(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.ocean_hdx import OceanHdx
    from sim_devices.spectrum import RamanScene

    scene = RamanScene(wiring.simulated_cell("a Raman spectrometer"), wiring.seed)
    spectrometer = OceanHdx(scene, wiring.clock, wiring.lights, truth=wiring.truth)
    return spectrometer, spectrometer.address


STARTERS: Mapping[str, Starter] = {
    "ph_meter": _ph_meter,
    "rodeostat": _rodeostat,
    "raman_ocean": _raman_ocean,
}
# Those of them that move the cell: a bench has one, the ``potentiostat`` or one of these.
LEADERS: frozenset[str] = frozenset({"rodeostat"})
