"""The command line: each group of commands declares its own."""

import argparse
import importlib
from typing import NoReturn

from operando.harmless import printable

from ._arguments import Command

# Which modules declare commands, in the order in which they are shown; a module that is called like
# a command declares that one, and no other has to be loaded for it.
_GROUPS = (
    *("_running", "_bench", "_check", "_instruments", "_doctor", "_records", "_late", "_exchange"),
    *("_compare", "_station", "_queue", "_mounting", "_notes", "_leases", "_alerts", "_daily"),
    *("_retention", "_demo", "_catalog", "_door", "_version"),
)


class _Parser(argparse.ArgumentParser):
    """Tells in one line what is wrong with arguments, as every other refusal is told."""

    def error(self, message: str) -> NoReturn:
        told = f"{self.prog}: {message} ({self.prog} --help)"
        self.exit(2, f"{printable(told)}\n")


def command_line(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command ``operando``; the reference is made from it.

    Args:
        command: The one that is asked for: of others it need not know. By default all are there.
    """
    alone = f"_{command}"
    parser = _Parser(
        prog="operando",
        description="Plate and strip metal anodes while camera, Raman spectrometer and gas "
        "chromatograph watch. Data go to $OPERANDO_DATA, by default ./data.",
        epilog="A first experiment without hardware: operando run zinc-operando --simulate",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Command, help: str, more: str = "") -> argparse.ArgumentParser:
        description = f"{help[0].upper()}{help[1:]}. {more}".strip()
        sub = commands.add_parser(name, help=help, description=description)
        sub.set_defaults(command=command)
        return sub

    for group in (alone,) if alone in _GROUPS else _GROUPS:
        importlib.import_module(f".{group}", __package__).declare(add)
    return parser
