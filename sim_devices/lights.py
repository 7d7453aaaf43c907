"""The light in the cell: the microscope's lamp and the spectrometer's laser."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sim_devices.clock import SimulatedClock


class Lights:
    """Who shines at this moment; safe to use from any thread.

    While the lamp or the laser is on somebody is making an exposure, so the clock is held at factor
    1.
    """

    def __init__(
        self, clock: SimulatedClock, on_laser: Callable[[float], None] = lambda power_mw: None
    ) -> None:
        """Start in the dark.

        Args:
            clock: held at factor 1 while a light is on.
            on_laser: is told the laser's power, mW, whenever it is switched or set.
        """
        self._on_laser = on_laser
        self._clock = clock
        self._lock = threading.Condition()
        self._changes = 0
        self._lamp = False
        self._laser_mw = 0.0

    @property
    def lamp(self) -> bool:
        """Whether the microscope's lamp is on."""
        return self._lamp

    @lamp.setter
    def lamp(self, on: bool) -> None:
        with self._lock:
            self._switch("lamp", self._lamp, on)
            self._lamp = on

    @property
    def laser_mw(self) -> float:
        """Laser power at the cell, mW; 0 is off."""
        return self._laser_mw

    @laser_mw.setter
    def laser_mw(self, power_mw: float) -> None:
        if power_mw < 0:
            raise ValueError(f"laser power {power_mw} mW is negative")
        with self._lock:
            self._switch("laser", self._laser_mw > 0, power_mw > 0)
            self._laser_mw = power_mw
        self._on_laser(power_mw)

    @property
    def changes(self) -> int:
        """How often a light was switched."""
        return self._changes

    def wait_for_change(self, since: int, timeout_s: float) -> None:
        """Wait until `changes` is not `since`, somebody calls `wake`, or the time is over."""
        with self._lock:
            self._lock.wait_for(lambda: self._changes != since, max(timeout_s, 0.0))

    def wake(self) -> None:
        """End every `wait_for_change`."""
        with self._lock:
            self._changes += 1
            self._lock.notify_all()

    def _switch(self, light: str, was_on: bool, on: bool) -> None:
        if on and not was_on:
            self._clock.open_exchange(light)
        elif was_on and not on:
            self._clock.close_exchange(light)
        self._changes += 1
        self._lock.notify_all()
