"""MethodSCRIPT: the loader checks a script line by line and compiles it to one Python function.

The language is line oriented. Every line is checked when it arrives, so that a refused script has
moved nothing; what only the values decide (types of variables, modes, bounds) is checked when the
line runs. Values are Python ints and floats and carry their type along, as the instrument's
variables do: integer and float arithmetic do not mix (4207), comparisons may.

Compiled code makes the instrument's time cheap: a variable ``x`` becomes the locals ``v_x``
(value), ``t_x`` (two-letter type) and ``k_x`` (metadata of the measurement it came from), a
``loop`` a Python loop, a measurement loop a ``for`` over a generator of the `Machine`. The line of
a run-time error is read off the traceback, so that lines cost nothing to count.

Where the manual's wording was not at hand the choice made here is told at the place it is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, TracebackType
from typing import Any, NoReturn

from sim_devices.methodscript.capabilities import ABSENT_COMMANDS
from sim_devices.methodscript.errors import LoadError, ScriptAborted, ScriptError
from sim_devices.methodscript.values import (
    LARGEST_INTEGER,
    SMALLEST_INTEGER,
    MalformedLiteralError,
    format_text,
    format_value,
    parse_number,
)

LONGEST_LINE = 255  # without its line feed
LONGEST_NAME = 32
DEEPEST_SCOPE = 16
LARGEST_PACKAGE = 32
# The instrument computes with 32-bit floats; the simulation only has their bound.
_LARGEST_FLOAT = 3.4e38

_FILENAME = "<methodscript>"
_WORD = re.compile(
    r"""\s+ | (?P<comment>\#.*)
    | (?P<string>f?"[^"]*")
    | (?P<optional>[a-z_][a-z0-9_]*\([^()"#]*\))
    | (?P<plain>[A-Za-z0-9_\-:=<>!&|\[\]]+)""",
    re.VERBOSE,
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ELEMENT = re.compile(r"([a-z][a-z0-9_]*)\[([a-z0-9_]+)\]")
_INTERPOLATION = re.compile(r"\{([^{}]*)\}")
_VARIABLE_TYPE = re.compile(r"[abcdefhij][a-z]")
_COMPARISONS = ("==", "!=", ">=", "<=", ">", "<", "&", "|")

_POTENTIAL_TYPES = ("ab", "da")
_CURRENT_TYPES = ("ba", "db")


# ---- what compiled code calls


def fail(code: str) -> NoReturn:
    """Raise the run-time error with this code."""
    raise ScriptError(code)


def in_bounds(value: int | float) -> int | float:
    """Return a result that lies beyond 32 bits if it still is a number of the language."""
    if value.__class__ is int:
        if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise ScriptError("4037")
    elif not -_LARGEST_FLOAT < value < _LARGEST_FLOAT:
        raise ScriptError("0010")
    return value


def as_float(value: int | float) -> float:
    """Return a float argument."""
    if value.__class__ is not float:
        raise ScriptError("4207")
    return value


def as_integer(value: int | float) -> int:
    """Return an integer argument."""
    if value.__class__ is not int:
        raise ScriptError("4207")
    return value


def divide(a: int | float, b: int | float) -> int | float:
    """Divide two numbers of one type; integers towards zero, as in C."""
    if a.__class__ is not b.__class__:
        raise ScriptError("4207")
    if not b:
        raise ScriptError("0028")
    if a.__class__ is int:
        return in_bounds(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))
    return in_bounds(a / b)


def modulo(a: int | float, b: int | float) -> int | float:
    """Return the remainder with the sign of the dividend, as in C."""
    if a.__class__ is not b.__class__:
        raise ScriptError("4207")
    if not b:
        raise ScriptError("0028")
    return int(math.fmod(a, b)) if a.__class__ is int else math.fmod(a, b)


def power(a: int | float, b: int | float) -> int | float:
    """Raise to a power; a result that is no real number is 0010."""
    if a.__class__ is not b.__class__:
        raise ScriptError("4207")
    try:
        result = a**b
    except ZeroDivisionError:
        raise ScriptError("0028") from None
    except OverflowError:
        raise ScriptError("0010") from None
    if isinstance(result, complex):
        raise ScriptError("0010")
    # An integer to a negative power is computed in floats and cut, as integer division is.
    return in_bounds(int(result) if a.__class__ is int else result)


def logarithm(a: int | float) -> float:
    """Return the natural logarithm of a float."""
    if as_float(a) <= 0.0:
        raise ScriptError("0010")
    return math.log(a)


class Array:
    """A script's array: values with their types, all float zero at first."""

    def __init__(self, size: int | float) -> None:
        """Make `size` elements; a float size is cut."""
        count = int(size)
        if count < 1:
            raise ScriptError("4204")
        if count > 1_000_000:
            raise ScriptError("4205")
        self.values: list[int | float] = [0.0] * count
        self.types = ["aa"] * count

    def place(self, index: int | float) -> int:
        """Return the index after checking it."""
        if index.__class__ is not int:
            raise ScriptError("4207")
        if not 0 <= index < len(self.values):
            raise ScriptError("400F")
        return index

    def get(self, index: int | float) -> int | float:
        """Return an element's value."""
        return self.values[self.place(index)]

    def put(self, index: int | float, value: int | float, kind: str | None = None) -> None:
        """Set an element's value, and its type unless None."""
        place = self.place(index)
        self.values[place] = value
        if kind is not None:
            self.types[place] = kind

    def mean(self) -> float:
        """Return the mean of all elements, which have to be floats."""
        return math.fsum(as_float(value) for value in self.values) / len(self.values)


def declared(array: Array | None) -> Array:
    """Return an array whose declaration has been run."""
    if array is None:
        raise ScriptError("420B")
    return array


def fit_line(x: Array, y: Array) -> tuple[float, float]:
    """Return (slope, intercept) of the least-squares line."""
    if len(x.values) != len(y.values):
        raise ScriptError("4017")
    x_mean, y_mean = x.mean(), y.mean()
    spread = math.fsum((a - x_mean) ** 2 for a in x.values)
    if not spread:
        raise ScriptError("0028")
    slope = (
        math.fsum((a - x_mean) * (b - y_mean) for a, b in zip(x.values, y.values, strict=True))
        / spread
    )
    return slope, y_mean - slope * x_mean


_RUNTIME: dict[str, Any] = {
    "fail": fail,
    "in_bounds": in_bounds,
    "as_float": as_float,
    "as_integer": as_integer,
    "divide": divide,
    "modulo": modulo,
    "power": power,
    "logarithm": logarithm,
    "declared": declared,
    "fit_line": fit_line,
    "format_value": format_value,
    "format_text": format_text,
    "Array": Array,
    "ScriptAborted": ScriptAborted,
    "ScriptError": ScriptError,
    "__builtins__": {"int": int, "float": float, "len": len, "round": round, "str": str},
}


@dataclass(frozen=True)
class Program:
    """A loaded script.

    Attributes:
        text: the script's lines as they were received, for storing it.
        function: runs the script on a machine.
        line_of: script line by line of the compiled code.
    """

    text: str
    function: Callable[[Any], None]
    line_of: tuple[int, ...]

    def line_of_error(self, trace: TracebackType | None) -> int:
        """Return the script line in which an exception came up; 0 when it was in none."""
        line = 0
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == _FILENAME:
                line = self.line_of[trace.tb_lineno - 1]
            trace = trace.tb_next
        return line


# ---- loading


@dataclass
class _Word:
    text: str
    kind: str
    start: int  # column from 0

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class _TypeName(str):
    """A two-letter variable type, which compiled code needs as a string."""

    __slots__ = ()


@dataclass
class _Scope:
    kind: str  # "if", "loop", "meas"
    has_else: bool = False


@dataclass
class _Target:
    """Something that can be read and written: a variable or an array element."""

    value: str
    kind: str
    metadata: str
    array: str | None = None
    index: str = ""


@dataclass
class _Packet:
    """Package commands that follow one another without anything in between."""

    items: list[tuple[int, str]] = field(default_factory=list)


class Loader:
    """Takes a script line by line; `finish` returns the program."""

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
        self._scopes: list[_Scope] = []
        self._names: dict[str, str] = {}  # name: "variable" or "array"
        self._finished_tag = False
        self._packet: _Packet | None = None
        self._word = _Word("", "plain", 0)
        self._line_end = 0

    # ---- the two doors

    def line(self, text: str) -> None:
        """Check and compile the next line (without its line feed).

        Raises:
            LoadError: the line is refused; the loader is of no use afterwards.
        """
        self._number += 1
        self._bytes += len(text) + 1
        if len(text) > LONGEST_LINE:
            raise LoadError("0008", self._number, LONGEST_LINE + 1)
        if self._bytes > self._memory_bytes:
            raise LoadError("4005", self._number, 1)
        words = self._split(text)
        self._lines.append(text)
        if words:
            self._statement(words)

    def finish(self) -> Program:
        """Return the program.

        Raises:
            LoadError: a block is still open.
        """
        if self._scopes:
            raise LoadError("4018", self._number + 1, 1)
        self._spill()
        head = ["def script(machine):"]
        head += [
            f" {name} = machine.{attribute}"
            for name, attribute in (
                ("say", "say"),
                ("turn", "turn"),
                ("timer", "timer_get"),
            )
        ]
        head.append(" packet = None")
        for name, kind in self._names.items():
            if kind == "array":
                head.append(f" a_{name} = None")
            else:
                head.append(f" v_{name} = 0.0; t_{name} = 'aa'; k_{name} = ''")
        head += [" try:", "  pass"]
        tail = [] if self._finished_tag else self._end_of_body()
        source = "\n".join((*head, *self._code, *tail)) + "\n"
        line_of = (*(0 for _ in head), *self._line_of, *(self._number for _ in tail))
        namespace = dict(_RUNTIME)
        compiled: CodeType = compile(source, _FILENAME, "exec")
        # The source has been made here, word by word, from names and numbers that were matched
        # above.
        exec(compiled, namespace)
        text = "".join(f"{line}\n" for line in self._lines)
        return Program(text, namespace["script"], line_of)

    # ---- words

    def _split(self, text: str) -> list[_Word]:
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
                words.append(_Word(match.group(), kind, place))
            place = match.end()
        self._line_end = len(text)
        return words

    def _refuse_character(self, place: int) -> NoReturn:
        raise LoadError("4004", self._number, place + 1)

    def _refuse(self, code: str, word: _Word | None = None) -> NoReturn:
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
        self._scopes.append(_Scope(kind))
        self._emit("pass")

    def _end_of_body(self) -> list[str]:
        return [" except ScriptAborted:", "  pass", " machine.finishing()"]

    # ---- one statement

    def _statement(self, words: list[_Word]) -> None:
        command = self._word = words[0]
        arguments = words[1:]
        name = command.text
        if not name.startswith("pck_"):
            self._spill()
        block = _BLOCKS.get(name)
        if block is not None:
            block(self, arguments)
            return
        signature = None if name in self._unknown else _COMMANDS.get(name)
        if signature is None:
            self._refuse("001B" if name in ABSENT_COMMANDS else "4001")
        if signature.outside and self._in_measurement():
            self._refuse(signature.outside)
        arguments, optional = self._take_optional(arguments, signature.optional)
        compiled = self._arguments(arguments, signature.arguments)
        if signature.check is not None:
            signature.check(self, compiled)
        signature.compile(self, name, compiled, optional)

    def _take_optional(
        self, words: list[_Word], known: tuple[str, ...]
    ) -> tuple[list[_Word], dict[str, _Word]]:
        optional: dict[str, _Word] = {}
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

    def _arguments(self, words: list[_Word], kinds: tuple[str, ...]) -> list[Any]:
        compiled = []
        for place, kind in enumerate(kinds):
            if place >= len(words):
                # A line that ends too early: the line feed is the unexpected character.
                raise LoadError("4004", self._number, self._line_end + 1)
            compiled.append(self._argument(words[place], kind))
        if len(words) > len(kinds):
            self._refuse("420A", words[len(kinds)])
        return compiled

    def _argument(self, word: _Word, kind: str) -> Any:
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
            return _TypeName(word.text)
        if kind == "constant":
            return self._constant(word)
        return self._value(word, kind)

    def _constant(self, word: _Word) -> int:
        """Return a small number that has to be written out; the suffix ``i`` may be left out."""
        if _NAME.fullmatch(word.text):
            self._refuse("420C", word)
        number = self._number_of(word)
        if number < 0:
            self._refuse("4200", word)
        if number != int(number):
            self._refuse("4207", word)
        return int(number)

    def _value(self, word: _Word, kind: str) -> str:
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

    def _number_of(self, word: _Word) -> int | float:
        try:
            return parse_number(word.text)
        except MalformedLiteralError:
            self._refuse("4039", word)

    def _target(self, word: _Word) -> _Target:
        element = _ELEMENT.fullmatch(word.text)
        if element:
            name, index = element.groups()
            if self._names.get(name) != "array":
                self._refuse("420B", word)
            if index[0].isdigit():
                number = self._number_of(_Word(index, "plain", word.start + len(name) + 1))
                if not isinstance(number, int):
                    self._refuse("4207", word)
                place = str(number)
            else:
                if self._names.get(index) != "variable":
                    self._refuse("420B", word)
                place = f"v_{index}"
            array = f"declared(a_{name})"
            return _Target(f"{array}.get({place})", f"{array}.types[{place}]", "''", array, place)
        if word.text[:1].isdigit() or word.text[:1] == "-":
            self._refuse("420D", word)
        if not _NAME.fullmatch(word.text):
            self._refuse("420B", word)
        kind = self._names.get(word.text)
        if kind is None:
            self._refuse("420B", word)
        if kind == "array":
            self._refuse("420E", word)
        return _Target(f"v_{word.text}", f"t_{word.text}", f"k_{word.text}")

    def _text(self, word: _Word) -> str:
        if not word.text.startswith("f"):
            return repr(word.text[1:-1])
        inner = word.text[2:-1]
        pieces = []
        last = 0
        for match in _INTERPOLATION.finditer(inner):
            pieces.append(repr(inner[last : match.start()]))
            name = _Word(match.group(1).strip(), "plain", word.start + match.start())
            target = self._target(name)
            pieces.append(f"format_text({target.value})")
            last = match.end()
        rest = inner[last:]
        if any(brace in piece for piece in (*pieces[::2], rest) for brace in "{}"):
            self._refuse("4040", word)
        return " + ".join((*pieces, repr(rest)))

    def _in_measurement(self) -> bool:
        return any(scope.kind == "meas" for scope in self._scopes)

    def _no_arguments(self, words: list[_Word]) -> None:
        if words:
            self._refuse("420A", words[0])

    # ---- declarations and blocks

    def _declare(self, words: list[_Word], kind: str) -> str:
        if not words:
            raise LoadError("4004", self._number, self._line_end + 1)
        word = words[0]
        if not _NAME.fullmatch(word.text) or word.text in _RESERVED:
            self._refuse("402B", word)
        if len(word.text) > LONGEST_NAME:
            self._refuse("402C", word)
        if word.text in self._names:
            self._refuse("4026", word)
        self._names[word.text] = kind
        return word.text

    def var(self, words: list[_Word]) -> None:
        """``var x``: float zero until something is stored."""
        self._declare(words, "variable")
        self._no_arguments(words[1:])

    def array(self, words: list[_Word]) -> None:
        """``array x 10i``: memory is taken when the line runs."""
        name = self._declare(words, "array")
        (size,) = self._arguments(words[1:], ("any",))
        self._emit(f"a_{name} = Array({size})")

    def _condition(self, words: list[_Word]) -> str:
        if len(words) < 3:
            raise LoadError("4004", self._number, self._line_end + 1)
        if len(words) > 3:
            self._refuse("420A", words[3])
        left = self._argument(words[0], "any")
        operator = words[1].text
        right = self._argument(words[2], "any")
        if operator not in _COMPARISONS:
            self._refuse("4004", words[1])
        if operator in "&|":
            return f"(as_integer({left}) {operator} as_integer({right})) != 0"
        return f"{left} {operator} {right}"

    def if_(self, words: list[_Word]) -> None:
        """``if a < b``."""
        self._open(f"if {self._condition(words)}:", "if")

    def elseif(self, words: list[_Word]) -> None:
        """``elseif a < b``."""
        condition = self._condition(words)
        self._alternative(f"elif {condition}:", is_else=False)

    def else_(self, words: list[_Word]) -> None:
        """``else``."""
        self._no_arguments(words)
        self._alternative("else:", is_else=True)

    def _alternative(self, code: str, *, is_else: bool) -> None:
        if not self._scopes or self._scopes[-1].kind != "if" or self._scopes[-1].has_else:
            self._refuse("400E")
        scope = self._scopes.pop()
        self._emit(code)
        scope.has_else = is_else
        self._scopes.append(scope)
        self._emit("pass")

    def endif(self, words: list[_Word]) -> None:
        """``endif``."""
        self._no_arguments(words)
        if not self._scopes or self._scopes[-1].kind != "if":
            self._refuse("400E")
        self._scopes.pop()

    def loop(self, words: list[_Word]) -> None:
        """``loop a < b``: said with L and +."""
        condition = self._condition(words)
        self._emit("machine.begin_loop()")
        self._open(f"while {condition}:", "loop")
        self._emit("turn()")

    def endloop(self, words: list[_Word]) -> None:
        """``endloop`` of a loop or a measurement loop."""
        self._no_arguments(words)
        if not self._scopes or self._scopes[-1].kind == "if":
            self._refuse("400E")
        scope = self._scopes.pop()
        self._emit("machine.end_measurement()" if scope.kind == "meas" else "machine.end_loop()")

    def breakloop(self, words: list[_Word]) -> None:
        """``breakloop`` leaves the innermost loop or measurement loop."""
        self._no_arguments(words)
        if all(scope.kind == "if" for scope in self._scopes):
            self._refuse("400E")
        self._emit("break")

    def on_finished(self, words: list[_Word]) -> None:
        """``on_finished:`` what follows runs at the end, after ``abort`` and after Z."""
        self._no_arguments(words)
        if self._scopes or self._finished_tag:
            self._refuse("400E")
        for code in self._end_of_body():
            self._code.append(code)
            self._line_of.append(self._number)
        self._finished_tag = True
        self._emit("packet = None")

    # ---- packages: three lines that nearly always stand together become one expression

    def package(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``pck_start``, ``pck_add x``, ``pck_end``."""
        del optional
        if name == "pck_start":
            self._spill()
            self._packet = _Packet([(self._number, "")])
        elif name == "pck_add":
            (target,) = arguments
            item = f"{target.kind} + format_value({target.value}) + {target.metadata}"
            if self._packet is None:
                self._add(item)
            else:
                self._packet.items.append((self._number, item))
        elif self._packet is None or not 2 <= len(self._packet.items) <= LARGEST_PACKAGE + 1:
            self._spill()
            self._emit("if not packet: fail('401B')")
            self._emit("say('P' + ';'.join(packet)); packet = None")
        else:
            items = [item for _, item in self._packet.items[1:]]
            self._packet = None
            self._emit("if packet is not None: fail('401B')")
            self._emit("say('P' + " + " + ';' + ".join(items) + ")")

    def _add(self, item: str) -> None:
        self._emit("if packet is None: fail('401B')")
        self._emit(f"if len(packet) >= {LARGEST_PACKAGE}: fail('401C')")
        self._emit(f"packet.append({item})")

    def _spill(self) -> None:
        """Compile the package commands held back so far one by one."""
        if self._packet is None:
            return
        number = self._number
        for line_number, item in self._packet.items:
            self._number = line_number
            if item:
                self._add(item)
            else:
                self._emit("if packet is not None: fail('401B')")
                self._emit("packet = []")
        self._number = number
        self._packet = None

    # ---- variables

    def _write(self, target: _Target, value: str, kind: str | None, metadata: str | None) -> None:
        if target.array is not None:
            self._emit(f"{target.array}.put({target.index}, {value}, {kind})")
            return
        code = f"{target.value} = {value}"
        if kind is not None:
            code += f"; {target.kind} = {kind}"
        if metadata is not None:
            code += f"; {target.metadata} = {metadata}"
        self._emit(code)

    def store_var(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``store_var x 10m ab``."""
        del name, optional
        target, value, kind = arguments
        self._write(target, value, repr(kind), "''")

    def copy_var(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``copy_var source destination``: with its type and its metadata."""
        del name, optional
        source, target = arguments
        self._write(target, source.value, source.kind, source.metadata)

    def arithmetic(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``add_var x y`` and the like: x becomes x + y."""
        del optional
        target, value = arguments
        operator = {"add_var": "+", "sub_var": "-", "mul_var": "*"}[name]
        self._emit(f"left = {target.value}; right = {value}")
        self._emit("if left.__class__ is not right.__class__: fail('4207')")
        self._emit(f"left = left {operator} right")
        self._emit("if not -2147483648 <= left <= 2147483647: in_bounds(left)")
        self._write(target, "left", None, None)

    def function(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``div_var x y`` and the like, and functions of one variable."""
        del optional
        target, *others = arguments
        expression = _FUNCTIONS[name].format(target.value, *others)
        self._write(target, expression, None, None)

    def alter_vartype(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``alter_vartype x as``."""
        del name, optional
        target, kind = arguments
        self._write(target, target.value, repr(kind), None)

    def timer_get(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``timer_get x``."""
        del name, optional
        self._write(arguments[0], "timer()", "'eb'", "''")

    def array_get(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``array_get array index x``."""
        del name, optional
        array, index, target = arguments
        self._write(target, f"{array}.get({index})", f"{array}.types[{index}]", "''")

    def array_set(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``array_set array index x``."""
        del name, optional
        array, index, source = arguments
        self._emit(f"{array}.put({index}, {source.value}, {source.kind})")

    def mean(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``mean array x``."""
        del name, optional
        array, target = arguments
        self._write(target, f"{array}.mean()", None, "''")

    def linear_fit(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``linear_fit xs ys slope intercept``."""
        del name, optional
        x, y, slope, intercept = arguments
        self._emit(f"{slope.value}, {intercept.value} = fit_line({x}, {y})")

    def abort(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``abort``: on to ``on_finished:``."""
        del name, arguments, optional
        if self._finished_tag:  # nothing follows that could be gone to: the script ends
            self._emit("return")
        else:
            self._emit("machine.aborted()")
            self._emit("raise ScriptAborted")

    # ---- what the machine does

    def call(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """Hand a command's values to the machine's method of the same name."""
        values = [repr(a) if isinstance(a, _TypeName) else str(a) for a in arguments]
        if "ocp" in optional:
            word = optional["ocp"]
            inner = _Word(word.text[4:-1].strip(), "plain", word.start + 4)
            values.append(self._value(inner, "float"))
        self._emit(f"machine.{name}({', '.join(values)})")

    def say_text(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``send_string "text"``."""
        del name, optional
        self._emit(f"say('T' + {arguments[0]})")

    def file_open(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``file_open "path" mode``."""
        del name, optional
        path, mode = arguments
        self._emit(f"machine.file_open({path}, {mode})")

    def read_into(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``get_gpio x``."""
        del optional
        self._write(arguments[0], f"machine.{name}()", "'ja'", "''")

    def meas(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """``meas 100m x ab``."""
        del name, optional
        duration, target, kind = arguments
        self._emit(f"left, right = machine.meas({duration}, {kind!r})")
        self._write(target, "left", repr(kind), "right")

    def measurement_loop(self, name: str, arguments: list[Any], optional: dict[str, _Word]) -> None:
        """Every ``meas_loop_…``: results first, then what to apply."""
        kinds = _RESULTS[name]
        results, values = arguments[: len(kinds)], [str(value) for value in arguments[len(kinds) :]]
        if "nscans" in optional:
            word = optional["nscans"]
            count = self._constant(_Word(word.text[7:-1].strip() or "?", "plain", word.start + 7))
            if not count:
                self._refuse("4204", word)
            values.append(str(count))
        extra = self._extra_measurement(optional.get("add_meas"))
        targets = ", ".join(f"{result.value}, {result.metadata}" for result in results)
        self._open(f"for {targets} in machine.{name}({', '.join(values)}):", "meas")
        for result, kind in zip(results, kinds, strict=True):
            code = repr(kind) if kind else "machine.set_current_type"
            self._emit(f"{result.kind} = {code}")
        if extra is not None:
            target, kind = extra
            self._emit(f"left = machine.measure_besides({kind!r})")
            self._write(target, "left", repr(kind), "''")

    def _extra_measurement(self, word: _Word | None) -> tuple[_Target, str] | None:
        """Return where ``add_meas(0 ag x)`` puts what it measures, and what that is."""
        if word is None:
            return None
        start = word.start + len("add_meas(")
        inner = [
            _Word(match.group(), "plain", start + match.start())
            for match in re.finditer(r"[^ \t]+", word.text[len("add_meas(") : -1])
        ]
        channel, kind, name = (*inner, word, word, word)[:3]
        if len(inner) != 3:
            self._refuse("4004", word)
        if self._constant(channel) != 0:
            self._refuse("401A", channel)
        if kind.text not in _MEASURED_BESIDES:
            self._refuse("4209", kind)
        return self._target(name), kind.text

    # ---- checks that need no value

    def check_range_type(self, arguments: list[Any]) -> None:
        """Ranges exist for potentials and currents, and stay fixed inside a measurement loop."""
        kind = arguments[0]
        if kind not in (*_POTENTIAL_TYPES, *_CURRENT_TYPES):
            self._refuse("4209")
        if self._in_measurement():
            self._refuse("4032" if kind in _POTENTIAL_TYPES else "4033")

    def check_mains(self, arguments: list[Any]) -> None:
        """Mains hum at 50 or 60 Hz."""
        if arguments[0] not in (50, 60):
            self._refuse("4205")

    def check_measured_type(self, arguments: list[Any]) -> None:
        """A single measurement reads the potential or the current."""
        if arguments[2] not in ("ab", "ba"):
            self._refuse("4209")

    def check_output(self, arguments: list[Any]) -> None:
        """Output goes nowhere, to the line, to the file or to both."""
        if arguments[0] > 3:
            self._refuse("403C")


_BLOCKS: dict[str, Callable[[Loader, list[_Word]], None]] = {
    "var": Loader.var,
    "array": Loader.array,
    "if": Loader.if_,
    "elseif": Loader.elseif,
    "else": Loader.else_,
    "endif": Loader.endif,
    "loop": Loader.loop,
    "endloop": Loader.endloop,
    "breakloop": Loader.breakloop,
    "on_finished:": Loader.on_finished,
}


@dataclass(frozen=True)
class _Signature:
    """How a command is written.

    Attributes:
        compile: makes code from the compiled arguments.
        arguments: their kinds, in order.
        optional: names of optional arguments.
        outside: the error for using it inside a measurement loop; "" where that is allowed.
        check: of arguments that need no value.
    """

    compile: Callable[[Loader, str, list[Any], dict[str, _Word]], None]
    arguments: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    outside: str = ""
    check: Callable[[Loader, list[Any]], None] | None = None


_FUNCTIONS = {
    "div_var": "divide({}, {})",
    "mod_var": "modulo({}, {})",
    "pow_var": "power({}, {})",
    "log_var": "logarithm({})",
    "int_to_float": "float(as_integer({}))",
    "float_to_int": "in_bounds(int(as_float({})))",
    "float_to_int_round": "in_bounds(round(as_float({})))",
    "bit_and_var": "as_integer({}) & {}",
    "bit_or_var": "as_integer({}) | {}",
    "bit_xor_var": "as_integer({}) ^ {}",
    "bit_inv_var": "~as_integer({})",
}

# The types a measurement loop gives its results; None: the machine's `set_current_type`.
_RESULTS: dict[str, tuple[str | None, ...]] = {
    "meas_loop_ocp": ("ab",),
    "meas_loop_ca": ("da", "ba"),
    "meas_loop_cp": ("ab", None),
    "meas_loop_lsv": ("da", "ba"),
    "meas_loop_cv": ("da", "ba"),
    "meas_loop_lsp": ("ab", None),
    "meas_loop_eis": ("dc", "cc", "cd"),
    "meas_loop_geis": ("dc", "cc", "cd"),
}


# What a measurement loop may measure besides: the counter electrode against ground, where the
# working electrode is, and E_WE - E_CE.
_MEASURED_BESIDES = ("ac", "ag")


def _measurement(results: int, *arguments: str, optional: tuple[str, ...] = ()) -> _Signature:
    return _Signature(
        Loader.measurement_loop, ("variable",) * results + arguments, optional, outside="400B"
    )


_COMMANDS: dict[str, _Signature] = {
    "store_var": _Signature(Loader.store_var, ("target", "any", "type")),
    "copy_var": _Signature(Loader.copy_var, ("target", "target")),
    "add_var": _Signature(Loader.arithmetic, ("target", "any")),
    "sub_var": _Signature(Loader.arithmetic, ("target", "any")),
    "mul_var": _Signature(Loader.arithmetic, ("target", "any")),
    "div_var": _Signature(Loader.function, ("target", "any")),
    "mod_var": _Signature(Loader.function, ("target", "any")),
    "pow_var": _Signature(Loader.function, ("target", "any")),
    "log_var": _Signature(Loader.function, ("target",)),
    "int_to_float": _Signature(Loader.function, ("target",)),
    "float_to_int": _Signature(Loader.function, ("target",)),
    "float_to_int_round": _Signature(Loader.function, ("target",)),
    "bit_and_var": _Signature(Loader.function, ("target", "integer")),
    "bit_or_var": _Signature(Loader.function, ("target", "integer")),
    "bit_xor_var": _Signature(Loader.function, ("target", "integer")),
    "bit_inv_var": _Signature(Loader.function, ("target",)),
    "alter_vartype": _Signature(Loader.alter_vartype, ("target", "type")),
    "array_get": _Signature(Loader.array_get, ("array", "integer", "target")),
    "array_set": _Signature(Loader.array_set, ("array", "integer", "target")),
    "mean": _Signature(Loader.mean, ("array", "target")),
    "linear_fit": _Signature(Loader.linear_fit, ("array", "array", "variable", "variable")),
    "timer_start": _Signature(Loader.call),
    "timer_get": _Signature(Loader.timer_get, ("target",)),
    "wait": _Signature(Loader.call, ("float",)),
    "set_int": _Signature(Loader.call, ("float",)),
    "await_int": _Signature(Loader.call),
    "abort": _Signature(Loader.abort),
    "send_string": _Signature(Loader.say_text, ("text",)),
    "pck_start": _Signature(Loader.package),
    "pck_add": _Signature(Loader.package, ("target",)),
    "pck_end": _Signature(Loader.package),
    "set_pgstat_chan": _Signature(Loader.call, ("constant",), outside="401A"),
    "set_pgstat_mode": _Signature(Loader.call, ("constant",), outside="401A"),
    "set_max_bandwidth": _Signature(Loader.call, ("float",)),
    "set_acquisition_frac_autoadjust": _Signature(
        Loader.call, ("constant",), check=Loader.check_mains
    ),
    "set_range": _Signature(Loader.call, ("type", "float"), check=Loader.check_range_type),
    "set_autoranging": _Signature(
        Loader.call, ("type", "float", "float"), check=Loader.check_range_type
    ),
    "set_range_minmax": _Signature(
        Loader.call, ("type", "float", "float"), check=Loader.check_range_type
    ),
    "set_e": _Signature(Loader.call, ("float",), outside="4032"),
    "set_i": _Signature(Loader.call, ("float",), outside="4033"),
    "cell_on": _Signature(Loader.call, optional=("ocp",)),
    "cell_off": _Signature(Loader.call),
    "meas": _Signature(
        Loader.meas, ("float", "target", "type"), outside="401A", check=Loader.check_measured_type
    ),
    "meas_loop_ocp": _measurement(1, "float", "float", optional=("add_meas",)),
    "meas_loop_ca": _measurement(2, "float", "float", "float", optional=("add_meas",)),
    "meas_loop_cp": _measurement(2, "float", "float", "float", optional=("add_meas",)),
    "meas_loop_lsv": _measurement(2, "float", "float", "float", "float", optional=("add_meas",)),
    "meas_loop_lsp": _measurement(2, "float", "float", "float", "float"),
    "meas_loop_cv": _measurement(
        2, "float", "float", "float", "float", "float", optional=("nscans", "add_meas")
    ),
    "meas_loop_eis": _measurement(3, "float", "float", "float", "integer", "float"),
    "meas_loop_geis": _measurement(3, "float", "float", "float", "integer", "float"),
    "set_gpio_cfg": _Signature(Loader.call, ("integer", "constant")),
    "set_gpio_pullup": _Signature(Loader.call, ("integer", "constant")),
    "set_gpio": _Signature(Loader.call, ("integer",)),
    "set_gpio_msk": _Signature(Loader.call, ("integer", "integer")),
    "get_gpio": _Signature(Loader.read_into, ("target",)),
    "set_script_output": _Signature(Loader.call, ("constant",), check=Loader.check_output),
    "file_open": _Signature(Loader.file_open, ("text", "constant")),
    "file_close": _Signature(Loader.call),
}

# Those that need a file store.
FILE_COMMANDS = frozenset(("file_open", "file_close", "set_script_output"))

# Words of the language are no names; the maker's grammar refuses them.
_RESERVED = frozenset(_COMMANDS) | frozenset(_BLOCKS) | {"str", "smooth", "beep"}

# Every command this instrument has, for its capability answer.
COMMANDS = frozenset(_COMMANDS) | (frozenset(_BLOCKS) - {"on_finished:"})
