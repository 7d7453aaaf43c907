"""Ophyd, tamed once: statuses from blocking calls, and the types bluesky expects."""

import threading
from collections.abc import Callable
from typing import Any, cast

from bluesky.protocols import Reading, Status
from event_model import DataKey
from ophyd import Device
from ophyd.status import DeviceStatus


class InstrumentDevice(Device):
    """Base of every device here."""

    # ophyd annotates these two with a mapping no type checker accepts.
    def describe(self) -> dict[str, DataKey]:
        """Return the data keys of this device, as bluesky spells them."""
        return cast(dict[str, DataKey], super().describe())

    def read(self) -> dict[str, Reading[Any]]:
        """Return the newest values of this device, as bluesky spells them."""
        return cast(dict[str, Reading[Any]], super().read())

    def safe_state(self) -> None:
        """Bring the instrument to the state in which it can be left alone.

        Idempotent, callable from any thread and in any state; devices that can hurt override it.
        """

    def _in_thread(self, work: Callable[[], None]) -> Status:
        """Run ``work`` off the RunEngine's loop; its exception becomes the status's."""
        status = DeviceStatus(self)

        def body() -> None:
            try:
                work()
            except Exception as error:
                status.set_exception(error)
            else:
                status.set_finished()

        threading.Thread(target=body, name=f"{self.name}-work", daemon=True).start()
        return cast(Status, status)

    def _finished(self) -> Status:
        """Return a status that is done at once."""
        status = DeviceStatus(self)
        status.set_finished()
        return cast(Status, status)
