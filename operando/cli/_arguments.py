"""Arguments that several commands take."""

import argparse
import math
import os
from collections.abc import Callable
from typing import Any, Protocol

Command = Callable[[argparse.Namespace], int]


class AddCommand(Protocol):
    """Add a command to the command line; its description is its help and what is ``more``."""

    def __call__(
        self, name: str, command: Command, help: str, more: str = ""
    ) -> argparse.ArgumentParser: ...


def add_bench_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bench",
        metavar="NAME",
        default=os.environ.get("OPERANDO_BENCH"),
        help="a bench file, or a name in the configuration folder ($OPERANDO_BENCH, else sim)",
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help="connect only these instruments, separated by commas: potentiostat,camera",
    )


def add_bench(parser: argparse.ArgumentParser) -> None:
    add_bench_file(parser)
    parser.add_argument(
        "--simulate",
        nargs="?",
        const="",
        metavar="CELL_PRESET",
        help="start a simulated bench for this command; the preset (operando sim --list-cells) "
        "is by default the one called like the cell",
    )
    parser.add_argument(
        "--seed",
        type=whole,
        metavar="N",
        help="of that simulated bench: another cell and other instrument errors; by default the "
        "label of the sample decides (in the shell 0)",
    )
    add_replayed(parser)
    add_factor(parser)


def add_replayed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replay",
        metavar="RUN",
        help="serve a recorded run (a uid, the beginning of one, last) or a history file as the "
        "simulated cell",
    )


def add_factor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--factor",
        type=positive,
        default=100.0,
        metavar="N",
        help="simulated cell seconds per second at most (%(default)g)",
    )


def add_replicate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replicate",
        type=count,
        metavar="N",
        help="run on the N-th cell of this kind: -N is put behind its label, so that it counts as "
        "a cell of its own, and is one where it is simulated",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default="last", help="a uid, the beginning of one, or last"
    )


def add_decisions(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--accept-check",
        action="store_true",
        help="go on although the cell is not as it was left; recorded",
    )
    sub.add_argument(
        "--assume-charge",
        type=not_negative,
        metavar="MAH_CM2",
        help="the charge that had passed in the interrupted part of the half-cycle, without the "
        "parts before it, where the record cannot tell; recorded",
    )
    sub.add_argument(
        "--trust-log",
        action="store_true",
        help="the instrument lost its power, and its log ends where that happened; recorded",
    )
    sub.add_argument(
        "--same-cell",
        action="store_true",
        help="go on although other runs were made on the cell or the potentiostat since; recorded",
    )


def decided(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the decisions that were told, as arguments of `operando.resume.Decisions`."""
    told = {
        "accept_check": arguments.accept_check,
        "assume_charge_mah_cm2": arguments.assume_charge,
        "trust_log": arguments.trust_log,
        "same_cell": arguments.same_cell,
    }
    return {name: value for name, value in told.items() if value is not None and value is not False}


def integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def count(text: str) -> int:
    value = integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def whole(text: str) -> int:
    value = integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def port(text: str) -> int:
    value = integer(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be between 0 and 65535, got {text}")
    return value


def not_negative(text: str) -> float:
    value = number(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def positive(text: str) -> float:
    value = number(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be greater than 0, got {text}")
    return value
