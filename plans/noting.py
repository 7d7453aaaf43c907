"""Words and numbers of a plan in the record."""

import time
from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Reading
from bluesky.utils import MsgGenerator
from event_model import DataKey


class Note:
    """Words and numbers that a plan puts into the record as one event.

    Args:
        name: Name of the stream, and prefix of its keys.
        columns: Key -> units; ``None`` for words.
    """

    parent = None

    def __init__(self, name: str, columns: Mapping[str, str | None]) -> None:
        self.name = name
        self._columns = columns
        self._told: Mapping[str, float | str] = {}

    def tell(self, **told: float | str) -> MsgGenerator:
        """Record one event."""
        self._told = told
        yield from bps.create(name=self.name)
        yield from bps.read(self)
        yield from bps.save()

    def read(self) -> dict[str, Reading[Any]]:
        """Return what is to be recorded."""
        now = time.time()
        return {
            f"{self.name}_{key}": {"value": self._told[key], "timestamp": now}
            for key in self._columns
        }

    def describe(self) -> dict[str, DataKey]:
        """Return the data keys."""
        keys: dict[str, DataKey] = {}
        for key, units in self._columns.items():
            described = DataKey(source="plan", dtype="string", shape=[])
            if units is not None:
                described = DataKey(
                    source="plan", dtype="number", dtype_numpy="<f8", shape=[], units=units
                )
            keys[f"{self.name}_{key}"] = described
        return keys

    def read_configuration(self) -> dict[str, Reading[Any]]:
        """Return nothing."""
        return {}

    def describe_configuration(self) -> dict[str, DataKey]:
        """Return nothing."""
        return {}

    @property
    def hints(self) -> dict[str, Any]:
        """Return nothing to be plotted."""
        return {"fields": []}
