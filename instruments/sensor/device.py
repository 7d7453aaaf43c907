"""A sensor in a plan: a follower that tells what it measures."""

from collections.abc import Mapping
from typing import Any

from instruments._follower import Follower
from instruments.errors import ProtocolError
from instruments.sensor.contract import Sensor


class SensorDevice(Follower):
    """A sensor that follows the leader: ``trigger`` asks for one reading.

    Its stream has one column for each quantity that the driver tells.

    Args:
        driver: the sensor.
        name: prefix of the event keys, and the name of the stream.
    """

    def __init__(self, driver: Sensor, *, name: str) -> None:
        super().__init__(name=name)
        self.driver = driver

    def connect(self) -> None:
        """Open the port; raises what the driver raises."""
        self.driver.connect()

    def unstage(self) -> list[object]:
        """End the exchange that is open."""
        self.close_worker()
        unstaged: list[object] = super().unstage()
        return unstaged

    def safe_state(self) -> None:
        """Leave the sensor as its driver says it can be left alone."""
        self.driver.safe_state()

    def _acquire(self, **request: Any) -> tuple[dict[str, float], int]:
        values = self.driver.read()
        told = self._quantities()
        if set(values) != set(told):
            raise ProtocolError(
                f"{self.name}: a reading tells {', '.join(sorted(values)) or 'nothing'}, and not "
                f"{', '.join(sorted(told))}"
            )
        return {key: float(values[key]) for key in told}, 0

    def _quantities(self) -> Mapping[str, str | None]:
        return dict(self.driver.quantities)
