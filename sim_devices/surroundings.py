"""What simulated instruments need of what is around them: the cell, the clock, and the truth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy.typing as npt


class DrivenCell(Protocol):
    """A cell at the leads of a potentiostat: `sim_devices.cell.Cell`, or one of resistors."""

    t: float

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held while several values have to belong to the same moment."""

    @property
    def area_cm2(self) -> float:
        """Geometric area."""

    def advance(
        self, dt_s: float, mode: Literal["i", "E"] = "i", value: float = 0.0
    ) -> tuple[float, float, float]:
        """Let time pass at a current density (mA/cm2) or potential (V); return (s, V, mA/cm2)."""

    def potential(self, mode: Literal["i", "E"] = "i", value: float = 0.0) -> tuple[float, float]:
        """Return (V, mA/cm2) without letting time pass."""


class MeasuredCell(DrivenCell, Protocol):
    """A cell that also tells where its charge went."""

    def ledger(self, which: Literal["WE", "CE"]) -> dict[str, float]:
        """Return where the charge went, for the truth."""


class ImpedantCell(MeasuredCell, Protocol):
    """A cell that also has an impedance."""

    def impedance(self, frequency_hz: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the complex impedance of the whole cell, ohm."""


class TemperedCell(Protocol):
    """A cell in a bath."""

    temperature_setpoint_k: float

    @property
    def temperature_k(self) -> float:
        """Temperature now, K."""


class MeasuringClock(Protocol):
    """The clock that an instrument waits for."""

    def now(self) -> float:
        """Return cell seconds."""

    def wait_until(self, cell_time_s: float, unless: Callable[[], bool] | None = None) -> bool:
        """Wait until the clock shows this time."""


class LeadingClock(MeasuringClock, Protocol):
    """The clock that an instrument leads."""

    def wake(self) -> None:
        """Make waiting threads look whether they still have to wait."""

    def hurry(self, reason: str) -> AbstractContextManager[None]:
        """Let the clock run at its factor while the block runs."""

    def held(self, reason: str) -> AbstractContextManager[None]:
        """Let the clock all but stand still while the block runs."""

    def held_from(
        self, cell_time_s: float, reason: str, reached: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Let it do so from a cell time on, and tell when that is reached."""


class TruthWriter(Protocol):
    """Where it is written what really happened."""

    def write(self, instrument: str, event: str, **values: Any) -> None:
        """Append one line."""
