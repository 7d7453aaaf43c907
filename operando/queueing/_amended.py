"""Under which protocols an item has come while it ran."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from operando.queueing.model import AMENDED, Record
from operando.queueing.store import Store, told

# Behind this the names of them, one after the other.
_NAMES = "operando:amended_names:"
_KEPT_S = 366 * 86400


def keep_amended(store: Store, item: str, protocol: Mapping[str, Any]) -> None:
    """Keep the protocol that an item has come under while it ran."""
    names = f"{_NAMES}{item}"
    with told(), store.client.pipeline() as pipe:
        pipe.set(f"{AMENDED}{item}", json.dumps(dict(protocol)), ex=_KEPT_S)
        pipe.rpush(names, str(protocol.get("name", "?")))
        pipe.expire(names, _KEPT_S)
        pipe.execute()


def protocol_names(store: Store, records: Iterable[Record]) -> dict[str, str]:
    """Return the names of the protocols under which items came, by item.

    They are told as the list of runs tells them: ``slow, then fast``.
    """
    own = dict[str, str]()
    for one in records:
        protocol = one.kwargs.get("protocol")
        own[one.item] = str(protocol.get("name", "")) if isinstance(protocol, Mapping) else ""
    with told():
        pipe = store.client.pipeline(transaction=False)
        for item in own:
            pipe.lrange(f"{_NAMES}{item}", 0, -1)
        changed = pipe.execute(raise_on_error=False)
    return {
        item: ", then ".join((name, *(later if isinstance(later, list) else ())))
        for (item, name), later in zip(own.items(), changed, strict=True)
    }
