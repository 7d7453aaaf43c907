"""Commands on the software itself: demo, version."""

import argparse
import sys
from collections.abc import Iterable

from ._arguments import AddCommand
from ._terminal import OK, say


def declare_demo(add: AddCommand) -> None:
    """Add the command demo."""
    add(
        "demo",
        _demo,
        "the whole way on simulated instruments, beside published values",
    )


def declare_version(add: AddCommand) -> None:
    """Add the command version."""
    add("version", _version, "versions of operando and of what it stands on")


def _demo(arguments: argparse.Namespace) -> int:
    from operando import demo

    return demo.main(sys.stdout)


def _version(arguments: argparse.Namespace) -> int:
    import importlib.metadata
    import platform

    from operando import __version__

    say(f"operando {__version__}")
    say(f"python {platform.python_version()}")
    for name in _foundations():
        say(f"{name} {importlib.metadata.version(name)}")
    return OK


def _foundations() -> Iterable[str]:
    return ("bluesky", "ophyd", "databroker", "tiled", "event-model")
