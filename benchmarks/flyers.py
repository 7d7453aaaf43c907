"""What the devices that are measured have in common: a flyer of five columns without a driver."""

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator
from event_model import DataKey
from ophyd.sim import NullStatus

from instruments._columns import described

COLUMNS = ("t", "potential", "current", "charge", "temperature")
STREAM = "potentiostat"


class Flyer:
    """A flyer whose rows are there at once; a subclass hands them out."""

    name = STREAM
    parent = None

    def kickoff(self) -> NullStatus:
        """Begin."""
        return NullStatus()

    def complete(self) -> NullStatus:
        """End."""
        return NullStatus()


class PageFlyer(Flyer):
    """A flyer of event pages: a subclass has ``collect_pages``."""

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the five columns."""
        return {
            key: DataKey(source="benchmark", dtype="number", dtype_numpy="<f8", shape=[], units="")
            for key in COLUMNS
        }


class ColumnFlyer(Flyer):
    """A flyer of rows in the columns of a file: a subclass has ``collect_asset_docs``."""

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the five columns and the rows' time."""
        return described(self.name, dict.fromkeys(COLUMNS, ""))


def begun(device: Flyer) -> MsgGenerator:
    """Declare the device's stream, and start it."""
    yield from bps.declare_stream(device, name=STREAM, collect=True)
    yield from bps.kickoff(device, wait=True)
    yield from bps.complete(device, wait=True)
