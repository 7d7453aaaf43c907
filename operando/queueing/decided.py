"""What people can decide of an item that is held and is to go on, as data."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from operando.queueing.model import Record
from operando.queueing.store import Store, told


class Decided(TypedDict, total=False):
    """The decisions of ``operando resume``, by the names of `operando.resume.resume`."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    accept_check: bool
    assume_charge_mah_cm2: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    trust_log: bool
    same_cell: bool


def decision_key(station: str) -> str:
    """Return the key of what somebody has decided of a station, which its supervisor takes."""
    return f"operando:decision:{station}"


def held_as(record: Record | None) -> dict[str, Any]:
    """Return what an item is held as: a decision is good for that, and for no later time.

    It is told by the attempt behind which it is held, so that no clock has a say.
    """
    return (
        {"item": None, "attempt": 0}
        if record is None
        else {"item": record.item, "attempt": len(record.attempts)}
    )


def take(store: Store, key: str, text: str) -> bool:
    """Forget a decision, as it was read; return whether it was there: of two, one has it."""
    import redis

    with told(), store.client.pipeline() as pipe:
        try:
            pipe.watch(key)
            if pipe.get(key) != text:
                return False
            pipe.multi()
            pipe.delete(key)
            pipe.execute()
        except redis.WatchError:
            return False
    return True


def came_true(
    record: Record | None, attempt: int, do: str, decisions: Mapping[str, Any]
) -> bool | None:
    """Return whether what was decided of an item was carried out; ``None``: nothing was yet.

    Args:
        record: The item as it is now.
        attempt: Behind which attempt it was held.
        do: resume, skip or fail.
        decisions: Of resume.
    """
    if record is None:
        return False
    if do != "resume" and record.over:
        return record.state == {"skip": "skipped", "fail": "failed"}[do]
    if len(record.attempts) > attempt:
        wanted = {name: value for name, value in decisions.items() if value is not None}
        return do == "resume" and dict(record.attempts[attempt].decisions) == wanted
    return False if record.over else None
