"""Instruments that other packages bring: entry points of the group ``operando.instruments``.

Each is the entry of one wire language: a subclass of the entry of its kind, with its ``language``
as a literal. A new kind needs a device, which cannot be brought.
"""

import logging
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Union, get_args

from pydantic import Field

from instruments.entry import InstrumentEntry

GROUP = "operando.instruments"

_log = logging.getLogger(__name__)

Entries = Sequence[type[InstrumentEntry]]

_packages: dict[type[InstrumentEntry], str] = {}


def brought(known: Entries, points: Iterable[EntryPoint] | None = None) -> Entries:
    """Return the entries that installed packages bring, in the order of their names.

    One that cannot be loaded or used is left out with a warning: whoever is to open a cell must not
    fail at a balance.

    Args:
        known: the entries that there are already.
        points: by default all of the group that are installed.
    """
    found: list[type[InstrumentEntry]] = []
    named = entry_points(group=GROUP) if points is None else points
    for point in sorted(named, key=lambda one: one.name):
        try:
            entry = point.load()
            _check(entry, [*known, *found])
        except (Exception, SystemExit) as error:
            # Also what ends the interpreter: a licence that is not there.
            _log.warning(
                "the instrument %r (%s) is left out: %s: %s",
                point.name,
                point.value,
                type(error).__name__,
                error,
            )
        else:
            found.append(entry)
            if point.dist is not None:
                _packages[entry] = f"{point.dist.name} {point.dist.version}"
    return found


def package_of(entry: type[InstrumentEntry]) -> str:
    """Return name and version of the package that brought an entry; empty if it is our own."""
    return _packages.get(entry, "")


def union_of(entries: Entries) -> Any:
    """Return what can stand under ``instruments`` of a bench file: ``kind``, then ``language``."""
    kinds: dict[str, list[type[InstrumentEntry]]] = {}
    for entry in entries:
        kinds.setdefault(tag(entry, "kind"), []).append(entry)
    members = [
        Annotated[Union[tuple(some)], Field(discriminator="language")]  # noqa: UP007
        if len(some) > 1
        else some[0]
        for some in kinds.values()
    ]
    return Annotated[Union[tuple(members)], Field(discriminator="kind")]  # noqa: UP007


def tag(entry: type[InstrumentEntry], key: str) -> str:
    """Return the ``kind`` or ``language`` of an entry."""
    return str(get_args(entry.model_fields[key].annotation)[0])


def _check(entry: Any, known: Entries) -> None:
    """Raise TypeError if ``entry`` is none that a bench could be built from."""
    if not (isinstance(entry, type) and issubclass(entry, InstrumentEntry)):
        raise TypeError(
            "it is no subclass of an entry such as instruments.sensor.entry.SensorEntry"
        )
    lacking = [
        key
        for key in ("kind", "language")
        if len(get_args(getattr(entry.model_fields.get(key), "annotation", None))) != 1
    ]
    if lacking:
        raise TypeError(f"{entry.__name__} does not tell its {' and '.join(lacking)} as a Literal")
    if not any("driver_class" in vars(x) for x in entry.__mro__ if x is not InstrumentEntry):
        raise TypeError(f"{entry.__name__} does not tell its driver_class")
    kind, language = tag(entry, "kind"), tag(entry, "language")
    alike = [one for one in known if tag(one, "kind") == kind]
    if not alike:
        kinds = ", ".join(sorted({tag(one, "kind") for one in known}))
        raise TypeError(f"{entry.__name__} is of a kind {kind!r}; there are: {kinds}")
    base = next(x for x in reversed(alike[0].__mro__) if "kind" in getattr(x, "model_fields", ()))
    if not issubclass(entry, base):
        raise TypeError(f"{entry.__name__} is of kind {kind!r} and no {base.__name__}")
    taken = [one for one in alike if tag(one, "language") == language]
    if taken:
        raise TypeError(f"the language {language!r} is that of {taken[0].__name__} already")
