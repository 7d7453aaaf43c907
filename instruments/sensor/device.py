"""A sensor in a plan: a follower that tells what it measures."""

import logging
from collections.abc import Mapping
from typing import Any

from instruments._follower import Follower, Leader
from instruments.errors import InstrumentError, InstrumentFaultError, ProtocolError
from instruments.sensor.contract import Sensor

_log = logging.getLogger(__name__)

# What tells one instrument from another of its make.
_WHO = ("model", "serial_number")


class SensorDevice(Follower):
    """A sensor that follows the leader: ``trigger`` asks for one reading.

    Its stream has one column for each quantity that the driver tells.

    Args:
        driver: the sensor.
        name: prefix of the event keys, and the name of the stream.
        outlived: whether a run goes on where a reading fails: its row is then NaN, the failure
            stands in the stop document, and each further reading looks whether it is there again.
    """

    def __init__(self, driver: Sensor, *, name: str, outlived: bool = False) -> None:
        super().__init__(name=name)
        self.driver = driver
        self.outlived = outlived
        self._first: dict[str, str] = {}

    def connect(self) -> None:
        """Open the port; raises what the driver raises."""
        self.driver.connect()

    def follow(self, leader: Leader) -> None:
        super().follow(leader)
        if self.outlived and not self._first:
            # Who it was when it was connected; whoever is found after an outage is compared.
            try:
                self._first = self.driver.identify()
            except InstrumentError as error:
                raise type(error)(f"{self.name}: {error}") from error

    def check_ready(self) -> None:
        """Ask the driver whether it can measure, if it can tell without measuring."""
        check = getattr(self.driver, "check_ready", None)
        if check is not None:
            try:
                check()
            except InstrumentError as error:
                raise type(error)(f"{self.name}: {error}") from error

    @property
    def notes(self) -> list[str]:
        """Return what must be told of it, what its driver remarks included."""
        remarks = [f"{self.name}: {remark}" for remark in getattr(self.driver, "remarks", ())]
        return [*super().notes, *remarks]

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

    def _find_again(self) -> None:
        who = self._first
        try:
            self.driver.close()
        except InstrumentError as error:
            _log.debug("%s: %s", self.name, error)
        self.driver.connect()
        found = self.driver.identify()
        for key in _WHO:
            if who.get(key) != found.get(key):
                raise InstrumentFaultError(
                    f"{self.name}: {found.get(key)!r} answers now where {who.get(key)!r} was "
                    f"({key}): another instrument; its readings are not taken"
                )
        _log.warning("%s: it is there again", self.name)

    def _quantities(self) -> Mapping[str, str | None]:
        return dict(self.driver.quantities)
