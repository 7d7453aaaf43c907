"""The commands check and limits: is the bench fit to be run, and who keeps which limit."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ._arguments import AddCommand, add_bench
from ._bench import bench_file, refuse_seed_of_nothing, simulate
from ._terminal import FAILED, OK, columns, say

if TYPE_CHECKING:
    from techniques import Cell, Protocol


def declare(add: AddCommand) -> None:
    """Add the commands."""
    sub = add(
        "check",
        _check,
        "connect the whole bench and look whether it is fit to be run",
        "Each instrument is identified and a setpoint read back; the cell is measured at open "
        "circuit, and a dummy cell's resistance found; room on the disk, clocks, calibrations and "
        "the guard are looked at. All that is wrong is told in one report. Nothing is moved, no "
        "light is switched on. Ends with 1 if something failed; warnings are none.",
    )
    add_bench(sub)
    sub.add_argument(
        "--protocol", metavar="FILE", help="what is planned: a protocol file, or a name"
    )
    sub.add_argument(
        "--cell",
        metavar="CELL",
        help="what hangs on the potentiostat, for its potential to be judged; by default the cell "
        "of the protocol",
    )
    sub.add_argument("--json", action="store_true", help="as JSON, for programs")

    sub = add(
        "limits",
        _limits,
        "which limit of each instrument is kept by whom",
        "By the instrument itself, the plan, the guard process or an interlock. SOFTWARE ONLY is "
        "what this computer alone keeps. Nothing is opened.",
    )
    sub.add_argument(
        "--bench", metavar="NAME", help="a bench file, or a name in the configuration folder (sim)"
    )
    sub.add_argument(
        "--protocol", metavar="FILE", help="with the limits and rules of a protocol, on its cell"
    )
    sub.add_argument("--cell", metavar="CELL", help="with the limits of this cell")
    sub.add_argument("--json", action="store_true", help="as JSON, for programs")
    sub.set_defaults(only=None)


def _check(arguments: argparse.Namespace) -> int:
    from operando.checking import check
    from operando.settings import data_dir

    refuse_seed_of_nothing(arguments, starts=arguments.simulate is not None)
    bench = bench_file(arguments)
    protocol, cell, preset = _planned(arguments)
    preset = arguments.simulate or preset
    with contextlib.ExitStack() as stack:
        if arguments.simulate is not None or arguments.replay is not None:
            # What is said on the way is none of the report.
            with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):
                simulate(stack, bench, preset or "zn-bare-half", arguments, protocol, cell)
        report = check(bench, data_dir=data_dir(), protocol=protocol, cell=cell)
    if arguments.json:
        say(json.dumps(report.as_dict(), indent=2))
    else:
        say(report.text(width=columns()))
    return OK if report.passed else FAILED


def _limits(arguments: argparse.Namespace) -> int:
    from operando.checking import limits_of, limits_table
    from operando.configuration import ConfigurationError, check_limits

    protocol, cell, _ = _planned(arguments)
    bench = bench_file(arguments)
    if protocol is not None and cell is not None:
        check_limits(bench, cell, protocol)
    try:
        found = limits_of(bench, protocol=protocol, cell=cell)
    except ValueError as error:
        raise ConfigurationError(
            f"bench {bench.name!r} and the cell leave no potential that both allow: {error}"
        ) from error
    if arguments.json:
        say(json.dumps([one.as_dict() for one in found], indent=2))
    else:
        say(limits_table(found))
    return OK


def _planned(arguments: argparse.Namespace) -> "tuple[Protocol | None, Cell | None, str]":
    """Return the protocol and the cell that are meant, and the name of the cell."""
    from operando.configuration import load_cell, load_protocol, protocol_path

    protocol = None if arguments.protocol is None else load_protocol(arguments.protocol)
    if arguments.cell is not None:
        return protocol, load_cell(arguments.cell), Path(arguments.cell).stem
    if protocol is None:
        return None, None, ""
    beside = protocol_path(arguments.protocol).parent
    return protocol, load_cell(protocol.cell, beside=beside), Path(protocol.cell).stem
