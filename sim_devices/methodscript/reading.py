"""How a line of MethodSCRIPT is read: its words, its arguments, and what they are compiled to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sim_devices.methodscript.errors import LoadError
from sim_devices.methodscript.values import MalformedLiteralError, parse_number

DEEPEST_SCOPE = 16

_WORD = re.compile(
    r"""\s+ | (?P<comment>\#.*)
    | (?P<string>f?"[^"]*")
    | (?P<optional>[a-z_][a-z0-9_]*\([^()"#]*\))
    | (?P<plain>[A-Za-z0-9_\-:=<>!&|\[\]]+)""",
    re.VERBOSE,
)
NAME = re.compile(r"[a-z][a-z0-9_]*")
_ELEMENT = re.compile(r"([a-z][a-z0-9_]*)\[([a-z0-9_]+)\]")
_INTERPOLATION = re.compile(r"\{([^{}]*)\}")
_VARIABLE_TYPE = re.compile(r"[abcdefhij][a-z]")


@dataclass
class Word:
    """One word of a line: its text, what it is, and where it begins."""

    text: str
    kind: str
    start: int  # column from 0

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class TypeName(str):
    """A two-letter variable type, which compiled code needs as a string."""

    __slots__ = ()


@dataclass
class Scope:
    """A block that is open."""

    kind: str  # "if", "loop", "meas"
    has_else: bool = False


@dataclass
class Target:
    """Something that can be read and written: a variable or an array element."""

    value: str
    kind: str
    metadata: str
    array: str | None = None
    index: str = ""


@dataclass
class Packet:
    """Package commands that follow one another without anything in between."""

    items: list[tuple[int, str]] = field(default_factory=list)


class LineReader:
    """What is known of a script that is being read, and its words; a subclass knows commands."""

    def __init__(self, memory_bytes: int = 65536, unknown: frozenset[str] = frozenset()) -> None:
        """Start with an empty script.

        Args:
            memory_bytes: how large a script may be.
            unknown: commands that this instrument does not have.
        """
        self._memory_bytes = memory_bytes
        self._unknown = unknown
        self._bytes = 0
        self._number = 0
        self._lines: list[str] = []
        self._code: list[str] = []
        self._line_of: list[int] = []
        self._scopes: list[Scope] = []
        self._names: dict[str, str] = {}  # name: "variable" or "array"
        self._finished_tag = False
        self._packet: Packet | None = None
        self._word = Word("", "plain", 0)
        self._line_end = 0

    # ---- words

    def _split(self, text: str) -> list[Word]:
        words = []
        place = 0
        while place < len(text):
            match = _WORD.match(text, place)
            if match is None or not text[place].isascii():
                self._refuse_character(place)
            kind = match.lastgroup
            if kind == "comment" and not match.group().isascii():
                self._refuse_character(place)
            if kind in ("plain", "string", "optional"):
                words.append(Word(match.group(), kind, place))
            place = match.end()
        self._line_end = len(text)
        return words

    def _refuse_character(self, place: int) -> NoReturn:
        raise LoadError("4004", self._number, place + 1)

    def _refuse(self, code: str, word: Word | None = None) -> NoReturn:
        raise LoadError(code, self._number, (word or self._word).end + 1)

    # ---- emitting

    def _emit(self, code: str) -> None:
        depth = len(self._scopes) + (1 if self._finished_tag else 2)
        self._code.append(" " * depth + code)
        self._line_of.append(self._number)

    def _open(self, code: str, kind: str) -> None:
        if len(self._scopes) >= DEEPEST_SCOPE:
            self._refuse("400D")
        self._emit(code)
        self._scopes.append(Scope(kind))
        self._emit("pass")

    def _end_of_body(self) -> list[str]:
        return [" except ScriptAborted:", "  pass", " machine.finishing()"]

    # ---- arguments

    def _take_optional(
        self, words: list[Word], known: tuple[str, ...]
    ) -> tuple[list[Word], dict[str, Word]]:
        optional: dict[str, Word] = {}
        plain = []
        for word in words:
            if word.kind == "optional":
                name = word.text.partition("(")[0]
                if name not in known or name in optional:
                    self._refuse("4008", word)
                optional[name] = word
            else:
                if optional:  # optional arguments come last
                    self._refuse("420A", word)
                plain.append(word)
        return plain, optional

    def _arguments(self, words: list[Word], kinds: tuple[str, ...]) -> list[Any]:
        compiled = []
        for place, kind in enumerate(kinds):
            if place >= len(words):
                # A line that ends too early: the line feed is the unexpected character.
                raise LoadError("4004", self._number, self._line_end + 1)
            compiled.append(self._argument(words[place], kind))
        if len(words) > len(kinds):
            self._refuse("420A", words[len(kinds)])
        return compiled

    def _argument(self, word: Word, kind: str) -> Any:
        if kind == "text":
            if word.kind != "string":
                self._refuse("4004", word)
            return self._text(word)
        if word.kind != "plain":
            self._refuse("4004", word)
        if kind in ("target", "variable"):
            target = self._target(word)
            if kind == "variable" and target.array is not None:
                self._refuse("4211", word)
            return target
        if kind == "array":
            if self._names.get(word.text) != "array":
                self._refuse("420B", word)
            return f"declared(a_{word.text})"
        if kind == "type":
            if not _VARIABLE_TYPE.fullmatch(word.text):
                self._refuse("4209", word)
            return TypeName(word.text)
        if kind == "constant":
            return self._constant(word)
        return self._value(word, kind)

    def _constant(self, word: Word) -> int:
        """Return a small number that has to be written out; the suffix ``i`` may be left out."""
        if NAME.fullmatch(word.text):
            self._refuse("420C", word)
        number = self._number_of(word)
        if number < 0:
            self._refuse("4200", word)
        if number != int(number):
            self._refuse("4207", word)
        return int(number)

    def _value(self, word: Word, kind: str) -> str:
        """Return the expression of a value: kind "float", "integer" or "any"."""
        if word.text[:1].isdigit() or word.text[:1] == "-":
            number = self._number_of(word)
            if kind == "integer" and word.text.isdigit():
                number = int(number)  # where only integers go, the suffix may be left out
            wanted = {"float": float, "integer": int}.get(kind)
            if wanted is not None and not isinstance(number, wanted):
                self._refuse("4207", word)
            return f"({number!r})"
        target = self._target(word)
        if kind == "float":
            return f"as_float({target.value})"
        if kind == "integer":
            return f"as_integer({target.value})"
        return target.value

    def _number_of(self, word: Word) -> int | float:
        try:
            return parse_number(word.text)
        except MalformedLiteralError:
            self._refuse("4039", word)

    def _target(self, word: Word) -> Target:
        element = _ELEMENT.fullmatch(word.text)
        if element:
            name, index = element.groups()
            if self._names.get(name) != "array":
                self._refuse("420B", word)
            if index[0].isdigit():
                number = self._number_of(Word(index, "plain", word.start + len(name) + 1))
                if not isinstance(number, int):
                    self._refuse("4207", word)
                place = str(number)
            else:
                if self._names.get(index) != "variable":
                    self._refuse("420B", word)
                place = f"v_{index}"
            array = f"declared(a_{name})"
            return Target(f"{array}.get({place})", f"{array}.types[{place}]", "''", array, place)
        if word.text[:1].isdigit() or word.text[:1] == "-":
            self._refuse("420D", word)
        if not NAME.fullmatch(word.text):
            self._refuse("420B", word)
        kind = self._names.get(word.text)
        if kind is None:
            self._refuse("420B", word)
        if kind == "array":
            self._refuse("420E", word)
        return Target(f"v_{word.text}", f"t_{word.text}", f"k_{word.text}")

    def _text(self, word: Word) -> str:
        if not word.text.startswith("f"):
            return repr(word.text[1:-1])
        inner = word.text[2:-1]
        pieces = []
        last = 0
        for match in _INTERPOLATION.finditer(inner):
            pieces.append(repr(inner[last : match.start()]))
            name = Word(match.group(1).strip(), "plain", word.start + match.start())
            target = self._target(name)
            pieces.append(f"format_text({target.value})")
            last = match.end()
        rest = inner[last:]
        if any(brace in piece for piece in (*pieces[::2], rest) for brace in "{}"):
            self._refuse("4040", word)
        return " + ".join((*pieces, repr(rest)))

    def _in_measurement(self) -> bool:
        return any(scope.kind == "meas" for scope in self._scopes)

    def _no_arguments(self, words: list[Word]) -> None:
        if words:
            self._refuse("420A", words[0])
