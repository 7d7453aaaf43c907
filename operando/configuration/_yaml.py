"""YAML read safely: what a file tells, and in which line it tells each key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Key = str | int

# Longer than any file that people write; a protocol of 1000 steps has 100 000 characters.
LONGEST = 4_000_000
# What says of which kind an entry is; pydantic names the kind in its locations, a file does not.
DISCRIMINATORS = ("type", "kind", "language")
# No file of ours is deeper, or holds more: beyond, it is one that was made to take for ever.
_DEEPEST, _MOST_VALUES = 50, 100_000


class ConfigurationError(Exception):
    """A bench, cell or protocol file is missing, unreadable or wrong.

    The message names the file, and for each mistake the line, the key, what came and what is
    allowed.
    """


class Lines:
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


class _Loader(yaml.SafeLoader):
    """Refuses brackets within brackets without end, each of which takes longer than the last."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 - the base's name
        if self.flow_level >= _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"it is nested too deeply: brackets within more than {_DEEPEST} others",
                problem_mark=self.get_mark(),
            )
        super().fetch_flow_collection_start(TokenClass)


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """Return what a YAML file tells, and in which lines."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if len(text) > LONGEST:
        raise ConfigurationError(f"{path} has more than {LONGEST} characters: no such file has")
    loader: yaml.SafeLoader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise ConfigurationError(f"{path} is empty")
        _refuse_ambiguity(path, root)
        # The lines are told by the tree before merge keys (<<) are resolved into it.
        lines = Lines(root)
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
