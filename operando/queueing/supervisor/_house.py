"""What all stations of a supervisor share."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from operando.queueing._redis import RedisAddress
from operando.queueing.model import Mount, Record
from operando.queueing.places import whereabouts
from operando.queueing.store import Store
from techniques import StationsFile

from ._clock import Clock


class Tells(Protocol):
    """Tells people of something; never waits for them."""

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None: ...


@dataclass
class House:
    """What all stations of a supervisor share.

    Attributes:
        data_dir: The data folder.
        stations: The file of stations.
        where: Where Redis is.
        store: What is kept in it.
        alerts: Who is told.
        clock: What time it is.
        host: The name of this computer.
        no_start: Why no item is started anywhere; empty: they are.
        redis_starts: How often Redis was started again.
    """

    data_dir: Path
    stations: StationsFile
    where: RedisAddress
    store: Store
    alerts: Tells
    clock: Clock = field(default_factory=Clock)
    host: str = field(default_factory=socket.gethostname)
    no_start: str = ""
    redis_starts: int = 0

    @property
    def here(self) -> dict[str, str]:
        """Return this computer and data folder, as records and mounts tell them."""
        return {**whereabouts(self.data_dir), "host": self.host}

    def elsewhere(self, told: Record | Mount | None) -> str:
        """Return in words where an item was begun, or a cell mounted; empty: here, or not known."""
        if told is None or not told.host or (told.host, told.data_dir) == (*self.here.values(),):
            return ""
        return f"the computer {told.host} (data folder {told.data_dir})"
