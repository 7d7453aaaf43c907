"""The command leases: who has the instruments that stations share, and who waits."""

import argparse
import dataclasses
import json
import time
from typing import TYPE_CHECKING

from ._arguments import AddCommand
from ._terminal import OK, say

if TYPE_CHECKING:
    from operando.queueing.leases import Borrower, LeaseState


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "leases",
        _leases,
        "who has the instruments that stations share, and who waits for them",
        "Instruments are shared that have the same `shared` in the bench files of several "
        "stations. Each is had for one use at a time; what is waited for in vain is missed, and "
        "the run goes on.",
    )
    sub.add_argument(
        "--stations",
        metavar="FILE",
        default="stations",
        help="the file of stations, or a name in the configuration folder (%(default)s)",
    )
    sub.add_argument("--json", action="store_true", help="print it as JSON")


def _leases(arguments: argparse.Namespace) -> int:
    import redis

    from operando.configuration import load_stations
    from operando.queueing._redis import address, client
    from operando.queueing.errors import QueueError
    from operando.queueing.leases import lease_states
    from operando.settings import data_dir

    where = address(data_dir(), load_stations(arguments.stations))
    try:
        with client(where) as connected:
            found = lease_states(connected)
    except redis.RedisError as error:
        raise QueueError(
            f"Redis at {where} does not answer: {error}; start a station (operando station start), "
            "or look at the address in the file of stations"
        ) from error
    if arguments.json:
        say(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
        return OK
    if not found:
        say("No instrument was ever lent: none has `shared` in a bench file that was in use.")
    for one in found:
        say(_told(one))
    return OK


def _told(state: "LeaseState") -> str:
    lines = [f"{state.name}: {_holder(state)}; lent {state.loans} times"]
    lines += [
        f"  {place}. waits: {_who(one)}, priority {one.priority}"
        for place, one in enumerate(state.waiting, start=1)
    ]
    return "\n".join(lines)


def _holder(state: "LeaseState") -> str:
    if state.holder is None:
        return "free"
    return f"had by {_who(state.holder)}, loan {state.holder.number}"


def _who(one: "Borrower") -> str:
    since = "" if one.at is None else f", asked {max(time.time() - one.at, 0.0):.1f} s ago"
    return f"{one.told}{since}"
