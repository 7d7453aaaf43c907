"""The command demo."""

import argparse
import sys

from ._arguments import AddCommand


def declare(add: AddCommand) -> None:
    """Add the command."""
    add(
        "demo",
        _demo,
        "the whole way on simulated instruments, beside published values",
    )


def _demo(arguments: argparse.Namespace) -> int:
    from operando import demo

    return demo.main(sys.stdout)
