"""The stage in a plan: a sensor of where it is, and a position that can be set."""

import math
from collections.abc import Mapping
from typing import ClassVar

from bluesky.protocols import Status

from instruments.sensor.device import SensorDevice
from instruments.stage.contract import Stage, TravelLimitError


class StageDevice(SensorDevice):
    """A stage: ``set({"x": 120.0})`` moves it, ``trigger`` asks where it is.

    Its stream has one column for each axis, in um. It follows as a sensor does, and stays where it
    is when a run ends. Whether the laser is on is not looked at.

    Args:
        driver: the stage.
        name: prefix of the event keys, and the name of the stream.
        outlived: as of a sensor.
    """

    outlasts_runs: ClassVar[bool] = True

    def __init__(self, driver: Stage, *, name: str, outlived: bool = False) -> None:
        super().__init__(driver, name=name, outlived=outlived)
        self.stage_driver = driver

    def check_value(self, value: Mapping[str, float]) -> None:
        """Raise TravelLimitError, or ValueError if it is no position; nothing moves."""
        limits = self.stage_driver.limits_um()
        if not isinstance(value, Mapping) or not value or not set(value) <= set(limits):
            raise ValueError(
                f"{self.name}: {value!r} is no position: tell some of {', '.join(limits)} in um, "
                "as in {'x': 120.0}"
            )
        for axis, um in value.items():
            if not isinstance(um, int | float) or not math.isfinite(um):
                raise ValueError(f"{self.name}: {um!r} is not a position of axis {axis} in um")
            low, high = limits[axis]
            if not low <= um <= high:
                raise TravelLimitError(
                    f"{self.name}: asked for {axis} = {um:g} um; stage and bench together allow "
                    f"{low:g} um to {high:g} um; nothing has moved"
                )

    def set(self, value: Mapping[str, float]) -> Status:
        """Move some or all axes; the status is done when they are there.

        Raises what ``check_value`` raises.
        """
        self.check_value(value)
        target = dict(value)
        return self._in_thread(lambda: self.stage_driver.move_to(target))

    def home(self) -> Status:
        """Find the reference position of every axis: clear the way first."""
        return self._in_thread(self.stage_driver.home)

    def stop(self, *, success: bool = False) -> None:
        """Stop every axis where it is."""
        self.stage_driver.stop()
