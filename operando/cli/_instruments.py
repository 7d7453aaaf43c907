"""The command instruments: what each can do, and within which limits."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ._arguments import AddCommand
from ._terminal import OK, say

KEPT_BY = {
    "instrument": "kept by the instrument",
    "software": "SOFTWARE ONLY",
    "nobody": "",
}
_WIDEST = 120


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "instruments",
        _instruments,
        "what each instrument can do, within which limits, and who keeps them",
        "Of every wire language there is, those of installed packages included, as its driver "
        "declares it; nothing is opened. Ranges that only the instrument knows are told when it is "
        "connected.",
    )
    sub.add_argument(
        "--bench",
        metavar="NAME",
        help="those of a bench file, or of a name in the configuration folder, with its own limits",
    )
    sub.add_argument("--json", action="store_true", help="as JSON, for programs")


def _instruments(arguments: argparse.Namespace) -> int:
    from instruments.bench_file import Entry, entries
    from instruments.listing import listed, listed_of_bench

    if arguments.bench is None:
        told = [listed(entry) for entry in entries(Entry)]
    else:
        from operando.configuration import load_bench

        told = list(listed_of_bench(load_bench(arguments.bench)))
    if arguments.json:
        say(json.dumps(told, indent=2))
        return OK
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    for number, one in enumerate(told):
        if number:
            say("")
        for indent, line in _lines(one):
            spaces = "  " * indent
            say(
                textwrap.fill(line, width, initial_indent=spaces, subsequent_indent=f"{spaces}    ")
            )
    return OK


def keeping(models: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return who keeps the limits of these models and what must be known of that, each once."""
    told = (
        ": ".join(filter(None, (KEPT_BY[one["limits_kept_by"]], one["limits_note"])))
        for one in models
    )
    return list(dict.fromkeys(filter(None, told)))


def _lines(told: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    from instruments.listing import models_alike, span_text

    name = f"{told['name']}: " if "name" in told else ""
    yield 0, f"{name}{told['kind']} {told['language']}: {told['about']}"
    if told.get("addresses"):
        yield 1, f"at {', '.join(told['addresses'])}"
    if told["package"]:
        yield 1, f"from the package {told['package']}"
    yield 1, f"verified on hardware: {told['verified_on'] or 'none'}"
    if told["extra"]:
        yield 1, f"needs the extra {told['extra']}: pip install 'operando-anode[{told['extra']}]'"
    if told["library"]:
        yield 1, f"needs {told['library']} of the operating system"
    if told["columns"]:
        columns = (f"{key} ({unit})" if unit else key for key, unit in told["columns"].items())
        yield 1, f"columns: {', '.join(columns)}"
    for models, able in models_alike(told["models"]):
        yield 1, models or "all"
        yield 2, f"does: {', '.join(able['does'])}"
        for quantity, limit in able["limits"].items():
            yield 2, f"{quantity}: {span_text(limit)}"
    for kept in keeping(told["models"]):
        yield 1, f"limits: {kept}"
    for quantity, limit in told.get("bench_limits", {}).items():
        yield 1, f"this bench allows {quantity}: {span_text(limit)}"
