"""The command line: each group of commands declares its own."""

import argparse
from typing import NoReturn

from operando.harmless import printable

from . import (
    _about,
    _alerts,
    _bench,
    _catalog,
    _check,
    _compare,
    _daily,
    _doctor,
    _door,
    _exchange,
    _instruments,
    _late,
    _leases,
    _mounting,
    _notes,
    _queue,
    _records,
    _retention,
    _running,
    _station,
)
from ._arguments import Command


class _Parser(argparse.ArgumentParser):
    """Tells in one line what is wrong with arguments, as every other refusal is told."""

    def error(self, message: str) -> NoReturn:
        told = f"{self.prog}: {message} ({self.prog} --help)"
        self.exit(2, f"{printable(told)}\n")


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command ``operando``; the reference is made from it."""
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

    _running.declare(add)
    _bench.declare(add)
    _check.declare(add)
    _instruments.declare(add)
    _doctor.declare(add)
    _records.declare(add)
    _late.declare(add)
    _exchange.declare(add)
    _compare.declare(add)
    _station.declare(add)
    _queue.declare(add)
    _mounting.declare(add)
    _notes.declare(add)
    _leases.declare(add)
    _alerts.declare(add)
    _daily.declare(add)
    _retention.declare(add)
    _about.declare_demo(add)
    _catalog.declare(add)
    _door.declare(add)
    _about.declare_version(add)
    return parser
