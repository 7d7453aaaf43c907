"""All targets, by name."""

import importlib
from functools import cache

from benchmarks.fuzz.target import Target

_MODULES = ("lines", "buses", "potentiostats", "files", "packets", "records")


@cache
def _all() -> dict[str, Target]:
    found = {}
    for module in _MODULES:
        for one in importlib.import_module(f"benchmarks.fuzz.{module}").targets():
            found[one.name] = one
    return found


def names() -> list[str]:
    """Return the names of all targets."""
    return list(_all())


def target(name: str) -> Target:
    """Return a target by its name."""
    return _all()[name]
