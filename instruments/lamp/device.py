"""The lamp in a plan: it is switched, and its rows tell whether it is on."""

import threading
from contextlib import AbstractContextManager

from bluesky.protocols import Status

from instruments.lamp.relay import SwitchedLamp
from instruments.sensor.device import SensorDevice


class LampDevice(SensorDevice):
    """A lamp: ``set(True)`` switches it on, ``set(False)`` off, ``trigger`` asks.

    It is switched on only while no spectrum is being taken: a spectrometer of the same bench holds
    the light and switches it off before each spectrum.

    Args:
        driver: the lamp.
        name: prefix of the event keys, and the name of the stream.
        light_lock: held while it is switched; the one of camera and spectrometer.
    """

    def __init__(
        self,
        driver: SwitchedLamp,
        *,
        name: str,
        light_lock: AbstractContextManager[object] | None = None,
    ) -> None:
        super().__init__(driver, name=name)
        self._lamp = driver
        self._light = light_lock or threading.RLock()

    def set(self, value: bool) -> Status:
        """Switch it; the status is done when the relay has been read back.

        Raises ValueError for anything but true and false (or 1 and 0).
        """
        if value not in (True, False):
            raise ValueError(f"{self.name}: {value!r} is neither on (true) nor off (false)")
        return self._in_thread(lambda: self._switch(bool(value)))

    def _switch(self, on: bool) -> None:
        with self._light:
            if on:
                self._lamp.on()
            else:
                self._lamp.off()
