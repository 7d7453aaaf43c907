"""The command protocol: protocols from and for other programs."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ._arguments import AddCommand, Command
from ._terminal import OK, complain, say, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

# As `operando.unicycler.FORMATS`, which is slow to import; a test compares them.
FORMATS = ("unicycler", "biologic", "neware", "pybamm", "tomato", "battinfo")


def declare(add: AddCommand) -> None:
    """Add the command with its verbs."""
    group = add(
        "protocol",
        _names,
        "take protocols over from other programs, and write ours for them",
        "Through the library aurora-unicycler. Without a verb the names of the protocols in the "
        "configuration folder are shown.",
    )
    verbs = group.add_subparsers(metavar="VERB")

    def verb(name: str, command: Command, help: str, more: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}")
        one.set_defaults(command=command)
        return one

    sub = verb(
        "import",
        _import,
        "make a protocol file of one of aurora-unicycler",
        "Currents become current densities of the cell's metal electrode. What has no counterpart "
        "is an error that names the step, or is told.",
    )
    sub.add_argument("file", metavar="FILE", help="a JSON file of aurora-unicycler")
    sub.add_argument(
        "--cell", metavar="CELL", required=True, help="the cell it is to run on: a file or a name"
    )
    sub.add_argument("--name", metavar="NAME", help="of the protocol; by default the file's")
    _add_out(sub)

    sub = verb(
        "export",
        _export,
        "write a protocol for another program",
        "biologic: settings of EC-Lab (.mps); neware: BTS (.xml); pybamm: an experiment; tomato: "
        "0.2.3 for MPG2; battinfo: JSON-LD; unicycler: JSON of aurora-unicycler. Positive charges "
        "the cell there: docs/how-to/exchange-protocols.md. What is not carried over is told.",
    )
    sub.add_argument("file", metavar="FILE", help="a protocol file, or a name in protocols/")
    sub.add_argument("--to", choices=FORMATS, required=True, help="which program")
    sub.add_argument("--cell", metavar="CELL", help="instead of the protocol's own cell")
    _add_out(sub)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", type=Path, help="write it there; else it is shown")
    parser.add_argument("--force", action="store_true", help="also over a file that is there")


def _names(arguments: argparse.Namespace) -> int:
    from operando.configuration import names

    for name in names("protocol"):
        say(name)
    return OK


def _import(arguments: argparse.Namespace) -> int:
    import yaml

    from operando.configuration import load_cell
    from operando.unicycler import imported

    cell = load_cell(arguments.cell)
    made = imported(arguments.file, cell, name=arguments.name, cell_name=arguments.cell)
    data = made.protocol.model_dump(mode="json", exclude_unset=True)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    _give(arguments, text.encode(), made.told, "not as there")
    return OK


def _export(arguments: argparse.Namespace) -> int:
    from operando.configuration import load_cell, load_protocol, protocol_path
    from operando.unicycler import exported, written

    path = protocol_path(arguments.file)
    protocol = load_protocol(path)
    beside = None if arguments.cell else path.parent
    cell = load_cell(arguments.cell or protocol.cell, beside=beside)
    made = written(exported(protocol, cell), arguments.to)
    encoding = "cp1252" if arguments.to == "biologic" else "utf-8"
    _give(arguments, made.protocol.encode(encoding), made.told, "not carried over")
    return OK


def _give(arguments: argparse.Namespace, content: bytes, told: "Sequence[str]", how: str) -> None:
    out: Path | None = arguments.out
    if out is not None and out.exists() and not arguments.force:
        from operando.unicycler import ExchangeError

        raise ExchangeError(f"{out} is there already: --force writes over it")
    for one in told:
        complain(f"{how}: {one}")
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        write_whole(out, content)
        say(f"Written to {out}.")
