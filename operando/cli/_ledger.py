"""The verb ledger of the command queue: what became of everything, and whether it adds up."""

import argparse
import json

from ._arguments import AddCommand
from ._terminal import FAILED, OK, columns, say


def declare(verb: AddCommand) -> None:
    """Add the verb."""
    one = verb(
        "ledger",
        _ledger,
        "account for each item, and for each half-cycle of each cell once",
        "A row per station. Reads the journals of all items. Ends with 1 if something does not add "
        "up: a half-cycle that ran twice, is missing, or was left half by an item that is done.",
    )
    one.add_argument("--station", metavar="STATION", help="of which station; by default of all")
    one.add_argument("--items", action="store_true", help="list each item as well")
    one.add_argument("--json", action="store_true", help="for programs")


def _ledger(arguments: argparse.Namespace) -> int:
    from operando.queueing.errors import QueueError
    from operando.queueing.ledger import as_data, told
    from operando.queueing.seen import account_of
    from operando.settings import data_dir

    found = account_of(data_dir())
    if arguments.station is not None:
        if arguments.station not in found.stations:
            raise QueueError(
                f"there is no station {arguments.station!r}, nor was there one; there are "
                f"{', '.join(found.stations)}"
            )
        found = found.of(arguments.station)
    if arguments.json:
        say(json.dumps(as_data(found), indent=2))
    else:
        say(told(found, items=arguments.items, width=columns()))
    return FAILED if found.findings else OK
