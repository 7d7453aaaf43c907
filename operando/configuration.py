"""Bench, cell and protocol files: YAML read safely, validated, and explained when they are wrong.

A name is looked up in the configuration folder (``operando.settings.config_dir``): ``sim`` is
``sim.yaml``, a cell is ``cells/NAME.yaml``, a protocol is ``protocols/NAME.yaml``. A path to an
existing file wins over a name.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from typing import Protocol as TypingProtocol

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

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

Model = TypeVar("Model", bound=BaseModel)
Key = str | int

# Longer than any file that people write; a protocol of 1000 steps has 100 000 characters.
_LONGEST = 4_000_000

# What says of which kind an entry is; pydantic names the kind in its locations, a file does not.
DISCRIMINATORS = ("type", "kind", "language")
# No file of ours is deeper, or holds more: beyond, it is one that was made to take for ever.
_DEEPEST, _MOST_VALUES = 50, 100_000
# Of more names than a few those are told that may be meant.
_FEW, _MOST_MEANT = 12, 5


class ConfigurationError(Exception):
    """A bench, cell or protocol file is missing, unreadable or wrong.

    The message names the file, and for each mistake the line, the key, what came and what is
    allowed.
    """


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
    data, lines = _read(path)
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
            left_out[str(name)] = str(kinds[name]), _explain(path, BenchFile, error, lines)
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
    found = _mistakes(model, error, _Keys(data))
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
    data, lines = _read(path)
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
    data, lines = _read(path)

    def place(keys: Sequence[Key]) -> str:
        return f"{path}, line {lines.place(keys)[0]}"

    try:
        return Campaign.model_validate(data), place, ()
    except ValidationError as error:
        told = tuple(f"{path}, {one}" for one in _mistakes(Campaign, error, lines))
        try:
            return Campaign.model_validate(_understood(data, error)), place, told
        except ValidationError:
            raise ConfigurationError(_explain(path, Campaign, error, lines)) from error


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
    return _read(path)[0]


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


def _refuse_as_bench(path: Path, data: Any, lines: "_Lines") -> BenchLimits:
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
            return _OF_CAMPAIGNS.search(file.read(_LONGEST)) is not None
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
    data, lines = _read(path)
    if model is Protocol and isinstance(data, dict) and "campaign" in data:
        raise ConfigurationError(
            f"{path} is a campaign, which is made of protocols: operando queue campaign {path}"
        )
    return _validated(model, path, data, lines)


def _validated(model: type[Model], path: Path, data: Any, lines: "_Lines") -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(_explain(path, model, error, lines)) from error


class _Loader(yaml.SafeLoader):
    """Refuses brackets within brackets without end, each of which takes longer than the last."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 - the base's name
        if self.flow_level >= _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"it is nested too deeply: brackets within more than {_DEEPEST} others",
                problem_mark=self.get_mark(),
            )
        super().fetch_flow_collection_start(TokenClass)


def _read(path: Path) -> tuple[Any, "_Lines"]:
    """Return what a YAML file tells, and in which lines."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if len(text) > _LONGEST:
        raise ConfigurationError(f"{path} has more than {_LONGEST} characters: no such file has")
    loader: yaml.SafeLoader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise ConfigurationError(f"{path} is empty")
        _refuse_ambiguity(path, root)
        # The lines are told by the tree before merge keys (<<) are resolved into it.
        lines = _Lines(root)
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where}: not YAML: {error.problem}") from error
    except RecursionError:
        raise ConfigurationError(f"{path}: is nested too deeply: no such file is") from None
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a date that does not exist, for example.
        raise ConfigurationError(f"{path}: not YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()
    return data, lines


def _refuse_ambiguity(path: Path, root: yaml.Node) -> None:
    """Raise ConfigurationError on a key given twice and on an anchor that contains itself."""
    # How many values each node is, once its anchors are followed.
    done: dict[int, int] = {}

    def visit(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise ConfigurationError(
                f"{path}, line {node.start_mark.line + 1}: an anchor here contains itself"
            )
        if id(node) in done:
            return done[id(node)]
        values = 1
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise ConfigurationError(
                            f"{path}, line {line}: the key {key.value!r} is given twice "
                            f"(first in line {seen[key.value]}); keep one"
                        )
                    seen[key.value] = line
                values += visit(value, inside)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                values += visit(value, inside)
        if values > _MOST_VALUES:
            raise ConfigurationError(
                f"{path}, line {node.start_mark.line + 1}: its anchors (&, *) make it more than "
                f"{_MOST_VALUES} values, which are allowed"
            )
        done[id(node)] = values
        return values

    visit(root, ())


class _Lines:
    """The line of each key of a YAML file, and the path of keys a human would tell."""

    def __init__(self, root: yaml.Node) -> None:
        self._children: dict[int, dict[Key, tuple[int, yaml.Node]]] = {}
        self._root = root
        self._collect(root)

    def _collect(self, node: yaml.Node) -> None:
        if id(node) in self._children:
            return
        children: dict[Key, tuple[int, yaml.Node]] = {}
        self._children[id(node)] = children
        if isinstance(node, yaml.MappingNode):
            merged: dict[Key, tuple[int, yaml.Node]] = {}
            for key, value in node.value:
                self._collect(value)
                if key.tag == "tag:yaml.org,2002:merge":
                    parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
                    for part in reversed(parts):
                        self._collect(part)
                        merged |= self._children[id(part)]
                elif isinstance(key, yaml.ScalarNode):
                    children[key.value] = (key.start_mark.line + 1, value)
            for name, child in merged.items():
                children.setdefault(name, child)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._collect(value)
                children[index] = (value.start_mark.line + 1, value)

    def place(self, location: Sequence[Key]) -> tuple[int, list[Key]]:
        """Return the line of pydantic's ``location`` and its keys without names of kinds."""
        node, line, keys = self._root, self._root.start_mark.line + 1, list[Key]()
        for index, part in enumerate(location):
            children = self._children[id(node)]
            last = index == len(location) - 1
            if part in children and (last or not self._is_kind(children, part)):
                line, node = children[part]
                keys.append(part)
            elif last and not self._is_kind(children, part):
                keys.append(part)
        return line, keys

    @staticmethod
    def _is_kind(children: Mapping[Key, tuple[int, yaml.Node]], part: Key) -> bool:
        told = (children.get(name) for name in DISCRIMINATORS)
        return any(child is not None and child[1].value == part for child in told)


# -- explaining


class _Keys:
    """The keys a human would tell of data that stand in no file; there are no lines."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def place(self, location: Sequence[Key]) -> tuple[int, list[Key]]:
        """Return 0, and the keys of pydantic's ``location`` without names of kinds."""
        node, keys = self._data, list[Key]()
        for index, part in enumerate(location):
            kinds = [node.get(name) for name in DISCRIMINATORS] if isinstance(node, Mapping) else []
            last = index == len(location) - 1
            if isinstance(node, Mapping):
                inside = part in node
            else:
                is_list = isinstance(node, Sequence) and not isinstance(node, str)
                inside = is_list and isinstance(part, int) and part < len(node)
            if inside and (last or part not in kinds):
                node = node[part]
                keys.append(part)
            elif last and part not in kinds:
                keys.append(part)
        return 0, keys


@dataclass
class _Mistake:
    line: int
    keys: list[Key]
    text: str
    missing: str | None = None
    meant: str | None = None

    @property
    def where(self) -> str:
        told = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return told.lstrip(".")

    def __str__(self) -> str:
        return f"line {self.line}" + (f", {self.where}" if self.where else "") + f": {self.text}"


def _explain(path: Path, model: type[BaseModel], error: ValidationError, lines: _Lines) -> str:
    found = _mistakes(model, error, lines)
    if len(found) == 1:
        return f"{path}, {found[0]}"
    return "\n  ".join([f"{path} has {len(found)} mistakes:", *map(str, found)])


def _mistakes(
    model: type[BaseModel], error: ValidationError, lines: "_Lines | _Keys"
) -> list[_Mistake]:
    details = error.errors(include_url=False)
    # A list is also told to be too short when an item of it is wrong.
    wrong = {detail["loc"][:n] for detail in details for n in range(len(detail["loc"]))}
    details = [d for d in details if d["type"] != "too_short" or d["loc"] not in wrong]
    found = [_mistake(model, detail, lines) for detail in details]
    # A key that is missing because it is misspelled is one mistake, not two.
    meant = {(tuple(m.keys[:-1]), m.meant) for m in found if m.meant is not None}
    found = [m for m in found if (tuple(m.keys[:-1]), m.missing) not in meant]
    # What stands once in the file and is used several times (an anchor) is one mistake.
    # (Without lines each place has its own.)
    alike = {(m.line, str(m.keys[-1:] if m.line else m.keys), m.text): m for m in reversed(found)}
    found = list(reversed(alike.values()))
    found.sort(key=lambda mistake: mistake.line)
    return found


def _mistake(model: type[BaseModel], detail: ErrorDetails, lines: "_Lines | _Keys") -> _Mistake:
    location = detail["loc"]
    line, keys = lines.place(location)
    came, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            allowed = sorted(_fields(model, location[:-1]))
            wrong = str(location[-1])
            close = difflib.get_close_matches(wrong, allowed, n=1, cutoff=0.6)
            text = f"there is no such key{_did_you_mean(close)} Allowed here: {', '.join(allowed)}"
            return _Mistake(line, keys, text, meant=close[0] if close else None)
        case "missing":
            name = str(location[-1])
            info = _fields(model, location[:-1]).get(name, "")
            text = "is missing" + (f"; it is: {info}" if info else "")
            return _Mistake(line, keys, text, missing=name)
        case "union_tag_invalid":
            allowed = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
            key = context["discriminator"].strip("'")
            line, keys = lines.place([*location, key])
            close = difflib.get_close_matches(context["tag"], allowed, n=1, cutoff=0.5)
            text = f"got {context['tag']!r}{_did_you_mean(close)} Allowed: {', '.join(allowed)}"
            return _Mistake(line, keys, text)
        case "union_tag_not_found":
            key = context["discriminator"].strip("'")
            text = f"is missing; it says what this is: {', '.join(_tags(model, location, key))}"
            return _Mistake(line, [*keys, key], text)
        case "literal_error":
            allowed = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            close = difflib.get_close_matches(str(came), allowed, n=1, cutoff=0.5)
            text = f"got {came!r}{_did_you_mean(close)} Allowed: {', '.join(allowed)}"
            return _Mistake(line, keys, text)
        case "value_error":
            return _Mistake(line, keys, str(context.get("error", detail["msg"])))
        case _:
            said = detail["msg"].removeprefix("Input ")
            return _Mistake(line, keys, f"{said[:1].lower()}{said[1:]}, got {_shown(came)}")


def _did_you_mean(close: Sequence[str]) -> str:
    return f"; did you mean {close[0]!r}?" if close else "."


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return f"a mapping with the keys {', '.join(map(str, value)) or '(none)'}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fields(model: type[BaseModel], location: Sequence[Key]) -> dict[str, str]:
    """Return name and description of the keys that are allowed at ``location``."""
    return {
        name: info.description or ""
        for allowed in _models(model, location)
        for name, info in allowed.model_fields.items()
    }


def _tags(model: type[BaseModel], location: Sequence[Key], key: str) -> list[str]:
    found = (tag for allowed in _models(model, location) for tag in _tags_of(allowed, key))
    return list(dict.fromkeys(found))


def _tags_of(model: type[BaseModel], key: str) -> tuple[str, ...]:
    return get_args(model.model_fields[key].annotation) if key in model.model_fields else ()


def _models(model: type[BaseModel], location: Sequence[Key]) -> list[type[BaseModel]]:
    """Return the models that can stand at ``location`` of ``model``."""
    annotation: Any = model
    for part in location:
        candidates = list(_members(annotation))
        models = [x for x in candidates if isinstance(x, type) and issubclass(x, BaseModel)]
        tagged = [x for x in models if any(part in _tags_of(x, key) for key in DISCRIMINATORS)]
        if tagged:
            # Of one kind there may be several, of which the next tag tells the language.
            annotation = reduce(or_, tagged)
            continue
        inner = [x.model_fields[part].annotation for x in models if part in x.model_fields]
        for candidate in candidates:
            origin, arguments = get_origin(candidate), get_args(candidate)
            if origin in (tuple, list):
                inner.append(arguments[0])
            elif origin is dict:
                inner.append(arguments[1])
        if not inner:
            return []
        annotation = inner[0]
    return [x for x in _members(annotation) if isinstance(x, type) and issubclass(x, BaseModel)]


def _members(annotation: Any) -> Iterator[Any]:
    """Yield what ``annotation`` may be, looking through unions and annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation
