"""Bench, cell and protocol files: YAML read safely, validated, and explained when they are wrong.

A name is looked up in the configuration folder (``operando.settings.config_dir``): ``sim`` is
``sim.yaml``, a cell is ``cells/NAME.yaml``, a protocol is ``protocols/NAME.yaml``. A path to an
existing file wins over a name.
"""

import difflib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from typing import Protocol as TypingProtocol

from pydantic import BaseModel, ValidationError

from operando.configuration._mistakes import Keys, explain, mistakes_in
from operando.configuration._yaml import (
    DISCRIMINATORS,
    LONGEST,
    ConfigurationError,
    Key,
    Lines,
    read_yaml,
)
from operando.settings import config_dir
from techniques import (
    Assignment,
    Campaign,
    Cell,
    Protocol,
    SafetyLimits,
    StationsFile,
    Technique,
    UnsuitableCellError,
)

if TYPE_CHECKING:
    from instruments.bench_file import BenchFile

__all__ = [
    "DISCRIMINATORS",
    "BenchLimits",
    "ConfigurationError",
    "HasLimits",
    "bench_path",
    "campaign_path",
    "check_limits",
    "check_technique",
    "load_bench",
    "load_bench_leniently",
    "load_bench_limits",
    "load_campaign",
    "load_cell",
    "load_protocol",
    "load_stations",
    "mistakes",
    "names",
    "program_of",
    "protocol_path",
    "read_tree",
    "stations_path",
    "validated",
]

Model = TypeVar("Model", bound=BaseModel)
# Of more names than a few those are told that may be meant.
_FEW, _MOST_MEANT = 12, 5


@dataclass(frozen=True)
class _Kind:
    name: str  # as in "no cell 'zn'"
    folder: str  # below the configuration folder


_BENCH = _Kind("bench", ".")
_STATIONS = _Kind("file of stations", ".")
_CELL = _Kind("cell", "cells")
_PROTOCOL = _Kind("protocol", "protocols")
_CAMPAIGN = _Kind("campaign", "protocols")

# What no protocol has, and says that a file beside protocols is of a campaign.
_OF_CAMPAIGNS = re.compile(r"^campaign\s*:", re.MULTILINE)


def load_bench(name_or_path: str | Path) -> "BenchFile":
    """Return the bench file of that name or path; raises ConfigurationError."""
    from instruments.bench_file import BenchFile

    return _load(BenchFile, _find(_BENCH, name_or_path))


def load_bench_leniently(
    name_or_path: str | Path,
) -> tuple["BenchFile", dict[str, tuple[str, str]]]:
    """Return a bench of what can be understood; of the rest by name the kind and what is wrong.

    For opening a cell, which must not fail at a balance. Raises ConfigurationError if it is no YAML
    or tells no instruments.
    """
    from instruments.bench import Bench
    from instruments.bench_file import BenchFile

    path = _find(_BENCH, name_or_path)
    data, lines = read_yaml(path)
    told = data.get("instruments") if isinstance(data, dict) else None
    if not isinstance(told, dict):
        return _validated(BenchFile, path, data, lines), {}
    bench = BenchFile(name=str(data.get("name") or path.stem), instruments={})
    kept: dict[str, Any] = {}
    left_out: dict[str, tuple[str, str]] = {}
    # What others hang on comes first; the cell before all. An interlock names the others.
    order = ("potentiostat", "relay_board", "sampling_valve", "thermostat")
    ranks: dict[Any, int] = {kind: rank for rank, kind in enumerate(order)}
    ranks["interlock"] = len(order) + 1
    kinds = {name: one.get("kind") if isinstance(one, dict) else None for name, one in told.items()}
    for name in sorted(told, key=lambda one: ranks.get(str(kinds[one]), len(order))):
        more = kept | {name: told[name]}
        try:
            tried = BenchFile.model_validate({"name": bench.name, "instruments": more})
            Bench(tried)  # builds the drivers, and opens nothing
        except ValidationError as error:
            left_out[str(name)] = str(kinds[name]), explain(path, BenchFile, error, lines)
        except Exception as error:
            # Whatever a plug-in does: the cell is to be opened.
            left_out[str(name)] = str(kinds[name]), f"{type(error).__name__}: {error}"
        else:
            bench, kept = tried, more
    return bench, left_out


def load_cell(name_or_path: str | Path, *, beside: Path | None = None) -> Cell:
    """Return the cell of that name or path; raises ConfigurationError.

    ``beside`` is a further folder in which a relative path may lie: that of the protocol naming
    the cell.
    """
    return _load(Cell, _find(_CELL, name_or_path, beside))


def load_protocol(name_or_path: str | Path) -> Protocol:
    """Return the protocol of that name or path; raises ConfigurationError."""
    return _load(Protocol, _find(_PROTOCOL, name_or_path))


def load_stations(name_or_path: str | Path | None = None) -> StationsFile:
    """Return the file of stations of that name or path; raises ConfigurationError.

    By default that of ``$OPERANDO_STATIONS``, else ``stations``.
    """
    return _load(StationsFile, stations_path(name_or_path))


def mistakes(model: type[BaseModel], data: Any, error: ValidationError) -> list[str]:
    """Return what is wrong with data that came without a file, each with the key that has it."""
    found = mistakes_in(model, error, Keys(data))
    return [": ".join(part for part in (mistake.where, mistake.text) if part) for mistake in found]


def stations_path(name_or_path: str | Path | None = None) -> Path:
    """Return the file ``load_stations`` would read; raises ConfigurationError if there is none."""
    return _find(_STATIONS, name_or_path or os.environ.get("OPERANDO_STATIONS") or "stations")


@dataclass(frozen=True)
class BenchLimits:
    """What a bench file allows, without its instruments."""

    name: str
    limits: SafetyLimits


def load_bench_limits(name_or_path: str | Path) -> BenchLimits:
    """Return name and limits of a bench file; raises ConfigurationError.

    In a tenth of the time that ``load_bench`` takes; its instruments are not looked at.
    """
    path = _find(_BENCH, name_or_path)
    data, lines = read_yaml(path)
    if not isinstance(data, dict):
        return _refuse_as_bench(path, data, lines)
    told = data.get("limits") or {}
    try:
        limits = SafetyLimits.model_validate(told)
    except ValidationError:
        return _refuse_as_bench(path, data, lines)
    return BenchLimits(str(data.get("name") or path.stem), limits)


def load_campaign(
    name_or_path: str | Path,
) -> tuple[Campaign, Callable[[Sequence[Key]], str], tuple[str, ...]]:
    """Return the campaign of that name or path, what tells file and line of its keys, and mistakes.

    With mistakes it is what can be understood: an entry that is wrong tells its file alone.

    Raises ConfigurationError if nothing can be.
    """
    path = _find(_CAMPAIGN, name_or_path)
    data, lines = read_yaml(path)

    def place(keys: Sequence[Key]) -> str:
        return f"{path}, line {lines.place(keys)[0]}"

    try:
        return Campaign.model_validate(data), place, ()
    except ValidationError as error:
        told = tuple(f"{path}, {one}" for one in mistakes_in(Campaign, error, lines))
        try:
            return Campaign.model_validate(_understood(data, error)), place, told
        except ValidationError:
            raise ConfigurationError(explain(path, Campaign, error, lines)) from error


def _understood(data: Any, error: ValidationError) -> dict[str, Any]:
    """Return what is right of the data of a campaign; every entry stays in its place."""
    names = {"samples": "cell", "protocols": "protocol"}
    kept: dict[str, Any] = dict(data) if isinstance(data, dict) else {}
    for detail in error.errors(include_url=False):
        key, place, *_ = (*detail["loc"], "", "")
        if key == "campaign":
            kept[key] = re.sub(r"[^A-Za-z0-9._-]+", "-", f"c-{kept.get(key)}")[:64]
        elif key not in names:
            kept.pop(str(key), None)
        elif isinstance(place, int):
            entry, name = kept[key][place], names[key]
            if isinstance(entry, dict) and name in entry:
                kept[key] = [*kept[key][:place], {name: entry[name]}, *kept[key][place + 1 :]]
    return kept


def campaign_path(name_or_path: str | Path) -> Path:
    """Return the file ``load_campaign`` would read; raises ConfigurationError if there is none."""
    return _find(_CAMPAIGN, name_or_path)


def validated(model: type[Model], data: Any) -> Model:
    """Return ``data`` that stands in no file as ``model``; raises ConfigurationError."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError("; ".join(mistakes(model, data, error))) from error


def bench_path(name_or_path: str | Path) -> Path:
    """Return the file ``load_bench`` would read; raises ConfigurationError if there is none."""
    return _find(_BENCH, name_or_path)


def read_tree(path: Path) -> Any:
    """Return what a YAML file tells, whatever it is of; raises ConfigurationError if it is none."""
    return read_yaml(path)[0]


def protocol_path(name_or_path: str | Path) -> Path:
    """Return the file ``load_protocol`` would read; raises ConfigurationError if there is none."""
    return _find(_PROTOCOL, name_or_path)


def names(kind: Literal["bench", "cell", "protocol"]) -> list[str]:
    """Return the names that can be loaded from the configuration folder."""
    return _names({"bench": _BENCH, "cell": _CELL, "protocol": _PROTOCOL}[kind])


class HasLimits(TypingProtocol):
    """A bench file, or what is known of one."""

    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> SafetyLimits: ...


def check_limits(bench: HasLimits, cell: Cell, protocol: Protocol) -> None:
    """Raise ConfigurationError if bench, cell and protocol leave no potential that all allow."""
    try:
        cell.limits.narrowed_by(protocol.limits).narrowed_by(bench.limits)
    except ValidationError as error:
        told = "; ".join(
            f"{name} {who!r}: {part.potential_min_v} V to {part.potential_max_v} V"
            for name, who, part in (
                ("bench", bench.name, bench.limits),
                ("cell", cell.cell_id, cell.limits),
                ("protocol", protocol.name, protocol.limits),
            )
        )
        raise ConfigurationError(
            f"the safety limits of bench, cell and protocol leave no potential at all ({told}): "
            "widen one of the files"
        ) from error


def program_of(protocol: Protocol, cell: Cell) -> Technique:
    """Return what ``protocol`` runs on ``cell``; raises ConfigurationError if it suits it not."""
    try:
        return protocol.program(cell)
    except UnsuitableCellError as error:
        raise ConfigurationError(f"protocol {protocol.name!r}: {error}") from error


def check_technique(bench: HasLimits, cell: Cell, protocol: Protocol) -> None:
    """Raise ConfigurationError if ``protocol`` asks for more than bench, cell or itself allow.

    All that can be known without an instrument: currents, charges, potentials and durations. The
    device checks the same again when it prepares; here it is told which file says what.
    """
    check_limits(bench, cell, protocol)
    limits = cell.limits.narrowed_by(protocol.limits).narrowed_by(bench.limits)
    assignment = Assignment(
        technique=program_of(protocol, cell),
        area_cm2=cell.area_cm2,
        metal_electrode=cell.metal_electrode,
        reference=cell.reference_electrode is not None,
        limits=limits,
    )
    violations = assignment.violations()
    if violations:
        parts = (
            ("bench", bench.name, bench.limits),
            ("cell", cell.cell_id, cell.limits),
            ("protocol", protocol.name, protocol.limits),
        )
        whose = [
            f"limits of {kind} {name!r}: "
            + ", ".join(f"{key} {value:g}" for key, value in given.items())
            for kind, name, part in parts
            if (given := part.model_dump(exclude_none=True))
        ]
        raise ConfigurationError(
            f"protocol {protocol.name!r} asks cell {cell.cell_id!r} for more than is allowed:\n  "
            + "\n  ".join([*violations, *whose])
            + "\nChange technique in the protocol file, or limits in the file whose they are."
        )


def _refuse_as_bench(path: Path, data: Any, lines: Lines) -> BenchLimits:
    from instruments.bench_file import BenchFile

    file = _validated(BenchFile, path, data, lines)
    return BenchLimits(file.name, file.limits)


# -- finding


def _names(kind: _Kind) -> list[str]:
    paths = list((config_dir() / kind.folder).glob("*.yaml"))
    if kind in (_PROTOCOL, _CAMPAIGN):
        paths = [path for path in paths if _is_campaign(path) == (kind is _CAMPAIGN)]
    found = {path.stem for path in paths}
    if kind in (_BENCH, _STATIONS):
        found = {one for one in found if ("stations" in one) == (kind is _STATIONS)}
    return sorted(found)


def _is_campaign(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return _OF_CAMPAIGNS.search(file.read(LONGEST)) is not None
    except OSError:
        return False


def _find(kind: _Kind, name_or_path: str | Path, beside: Path | None = None) -> Path:
    text = str(name_or_path)
    candidates = [Path(text).expanduser()]
    if beside is not None:
        candidates.append(beside / text)
    try:
        known = _names(kind)
        candidates.append(config_dir() / kind.folder / f"{text}.yaml")
    except FileNotFoundError as error:
        known, nowhere = [], str(error)
    else:
        nowhere = ""
    for path in candidates:
        if path.is_file():
            return path
    if nowhere:
        raise ConfigurationError(f"no {kind.name} {text!r}: {nowhere}")
    close = difflib.get_close_matches(Path(text).stem, known, n=_MOST_MEANT, cutoff=0.55)
    # Of dozens of names those are told that may be meant, if any may.
    shown = close if close and len(known) > _FEW else known
    left = "" if shown is known else f", and {len(known) - len(shown)} others"
    raise ConfigurationError(
        f"no {kind.name} {text!r}: there is no such file, and {config_dir() / kind.folder} has "
        + (f"{', '.join(shown)}{left}" if known else "no .yaml file")
        + (f"; did you mean {close[0]!r}?" if close else "")
    )


# -- reading


def _load(model: type[Model], path: Path) -> Model:
    data, lines = read_yaml(path)
    if model is Protocol and isinstance(data, dict) and "campaign" in data:
        raise ConfigurationError(
            f"{path} is a campaign, which is made of protocols: operando queue campaign {path}"
        )
    return _validated(model, path, data, lines)


def _validated(model: type[Model], path: Path, data: Any, lines: Lines) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(explain(path, model, error, lines)) from error
