"""What is wrong with a file, or with data that came without one, as a human would tell it."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from operando.configuration._yaml import DISCRIMINATORS, Key, Lines

# What people write, by what pydantic misses.
_SHOULD_BE = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (KEY: value)",
    "mapping_type": "a mapping (KEY: value)",
    "model_type": "a mapping (KEY: value)",
    "model_attributes_type": "a mapping (KEY: value)",
    "string_type": "a text",
}


class Keys:
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
class Mistake:
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


def explain(path: Path, model: type[BaseModel], error: ValidationError, lines: Lines) -> str:
    found = mistakes_in(model, error, lines)
    if len(found) == 1:
        return f"{path}, {found[0]}"
    return "\n  ".join([f"{path} has {len(found)} mistakes:", *map(str, found)])


def mistakes_in(
    model: type[BaseModel], error: ValidationError, lines: Lines | Keys
) -> list[Mistake]:
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


def _mistake(model: type[BaseModel], detail: ErrorDetails, lines: Lines | Keys) -> Mistake:
    location = detail["loc"]
    line, keys = lines.place(location)
    came, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            allowed = sorted(_fields(model, location[:-1]))
            wrong = str(location[-1])
            close = difflib.get_close_matches(wrong, allowed, n=1, cutoff=0.6)
            text = f"there is no such key{_did_you_mean(close)} Allowed here: {', '.join(allowed)}"
            return Mistake(line, keys, text, meant=close[0] if close else None)
        case "missing":
            name = str(location[-1])
            info = _fields(model, location[:-1]).get(name, "")
            text = "is missing" + (f"; it is: {info}" if info else "")
            return Mistake(line, keys, text, missing=name)
        case "union_tag_invalid":
            allowed = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
            key = context["discriminator"].strip("'")
            line, keys = lines.place([*location, key])
            close = difflib.get_close_matches(context["tag"], allowed, n=1, cutoff=0.5)
            text = f"got {context['tag']!r}{_did_you_mean(close)} Allowed: {', '.join(allowed)}"
            return Mistake(line, keys, text)
        case "union_tag_not_found":
            key = context["discriminator"].strip("'")
            text = f"is missing; it says what this is: {', '.join(_tags(model, location, key))}"
            return Mistake(line, [*keys, key], text)
        case "literal_error":
            allowed = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            close = difflib.get_close_matches(str(came), allowed, n=1, cutoff=0.5)
            text = f"got {came!r}{_did_you_mean(close)} Allowed: {', '.join(allowed)}"
            return Mistake(line, keys, text)
        case "value_error":
            return Mistake(line, keys, str(context.get("error", detail["msg"])))
        case "string_pattern_mismatch":
            told = _fields(model, location[:-1]).get(str(location[-1])) if location else ""
            form = f"it is: {told}" if told else f"its pattern is {context['pattern']}"
            return Mistake(line, keys, f"{came!r} does not have the right form; {form}")
        case kind if kind in _SHOULD_BE:
            return Mistake(line, keys, f"should be {_SHOULD_BE[kind]}, got {_shown(came)}")
        case _:
            said = detail["msg"].removeprefix("Input ")
            # In a file there are lists.
            said = said.replace("Tuple should", "List should").replace(" after validation", "")
            return Mistake(line, keys, f"{said[:1].lower()}{said[1:]}, got {_shown(came)}")


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
