"""What the queues know of their items, for those who only read."""

from pathlib import Path

from operando.queueing.errors import QueueError
from operando.queueing.model import Record
from techniques.queueing import StationsFile


def known_records(data_dir: Path, stations: StationsFile) -> tuple[dict[str, Record] | None, str]:
    """Return the records of all items by item, and why they are not known (``None``).

    Where there never was a queue there are none.
    """
    if stations.redis == "embedded" and not (data_dir / "state" / "queueing" / "redis").is_dir():
        return {}, ""
    from operando.queueing._redis import address, client
    from operando.queueing.store import Store

    try:
        store = Store(client(address(data_dir, stations)))
        names = store.record_stations()
        return {one.item: one for name in names for one in store.records(name)}, ""
    except QueueError as error:
        return None, str(error)
