"""The command version."""

import argparse
from collections.abc import Iterable

from ._arguments import AddCommand
from ._terminal import OK, say


def declare(add: AddCommand) -> None:
    """Add the command."""
    add("version", _version, "versions of operando and of what it stands on")


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
