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

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from sim_devices.methodscript.capabilities import ABSENT_COMMANDS
from sim_devices.methodscript.errors import LoadError
from sim_devices.methodscript.reading import NAME, LineReader, Packet, Target, TypeName, Word
from sim_devices.methodscript.runtime import FILENAME, RUNTIME, Program

LONGEST_LINE = 255  # without its line feed
LONGEST_NAME = 32
LARGEST_PACKAGE = 32
_COMPARISONS = ("==", "!=", ">=", "<=", ">", "<", "&", "|")

_POTENTIAL_TYPES = ("ab", "da")
_CURRENT_TYPES = ("ba", "db")


class Loader(LineReader):
    """Takes a script line by line; `finish` returns the program."""

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
        namespace = dict(RUNTIME)
        compiled: CodeType = compile(source, FILENAME, "exec")
        # The source has been made here, word by word, from names and numbers that were matched
        # above.
        exec(compiled, namespace)
        text = "".join(f"{line}\n" for line in self._lines)
        return Program(text, namespace["script"], line_of)

    # ---- one statement

    def _statement(self, words: list[Word]) -> None:
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

    # ---- declarations and blocks

    def _declare(self, words: list[Word], kind: str) -> str:
        if not words:
            raise LoadError("4004", self._number, self._line_end + 1)
        word = words[0]
        if not NAME.fullmatch(word.text) or word.text in _RESERVED:
            self._refuse("402B", word)
        if len(word.text) > LONGEST_NAME:
            self._refuse("402C", word)
        if word.text in self._names:
            self._refuse("4026", word)
        self._names[word.text] = kind
        return word.text

    def var(self, words: list[Word]) -> None:
        """``var x``: float zero until something is stored."""
        self._declare(words, "variable")
        self._no_arguments(words[1:])

    def array(self, words: list[Word]) -> None:
        """``array x 10i``: memory is taken when the line runs."""
        name = self._declare(words, "array")
        (size,) = self._arguments(words[1:], ("any",))
        self._emit(f"a_{name} = Array({size})")

    def _condition(self, words: list[Word]) -> str:
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

    def if_(self, words: list[Word]) -> None:
        """``if a < b``."""
        self._open(f"if {self._condition(words)}:", "if")

    def elseif(self, words: list[Word]) -> None:
        """``elseif a < b``."""
        condition = self._condition(words)
        self._alternative(f"elif {condition}:", is_else=False)

    def else_(self, words: list[Word]) -> None:
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

    def endif(self, words: list[Word]) -> None:
        """``endif``."""
        self._no_arguments(words)
        if not self._scopes or self._scopes[-1].kind != "if":
            self._refuse("400E")
        self._scopes.pop()

    def loop(self, words: list[Word]) -> None:
        """``loop a < b``: said with L and +."""
        condition = self._condition(words)
        self._emit("machine.begin_loop()")
        self._open(f"while {condition}:", "loop")
        self._emit("turn()")

    def endloop(self, words: list[Word]) -> None:
        """``endloop`` of a loop or a measurement loop."""
        self._no_arguments(words)
        if not self._scopes or self._scopes[-1].kind == "if":
            self._refuse("400E")
        scope = self._scopes.pop()
        self._emit("machine.end_measurement()" if scope.kind == "meas" else "machine.end_loop()")

    def breakloop(self, words: list[Word]) -> None:
        """``breakloop`` leaves the innermost loop or measurement loop."""
        self._no_arguments(words)
        if all(scope.kind == "if" for scope in self._scopes):
            self._refuse("400E")
        self._emit("break")

    def on_finished(self, words: list[Word]) -> None:
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

    def package(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``pck_start``, ``pck_add x``, ``pck_end``."""
        del optional
        if name == "pck_start":
            self._spill()
            self._packet = Packet([(self._number, "")])
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

    def _write(self, target: Target, value: str, kind: str | None, metadata: str | None) -> None:
        if target.array is not None:
            self._emit(f"{target.array}.put({target.index}, {value}, {kind})")
            return
        code = f"{target.value} = {value}"
        if kind is not None:
            code += f"; {target.kind} = {kind}"
        if metadata is not None:
            code += f"; {target.metadata} = {metadata}"
        self._emit(code)

    def store_var(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``store_var x 10m ab``."""
        del name, optional
        target, value, kind = arguments
        self._write(target, value, repr(kind), "''")

    def copy_var(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``copy_var source destination``: with its type and its metadata."""
        del name, optional
        source, target = arguments
        self._write(target, source.value, source.kind, source.metadata)

    def arithmetic(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``add_var x y`` and the like: x becomes x + y."""
        del optional
        target, value = arguments
        operator = {"add_var": "+", "sub_var": "-", "mul_var": "*"}[name]
        self._emit(f"left = {target.value}; right = {value}")
        self._emit("if left.__class__ is not right.__class__: fail('4207')")
        self._emit(f"left = left {operator} right")
        self._emit("if not -2147483648 <= left <= 2147483647: in_bounds(left)")
        self._write(target, "left", None, None)

    def function(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``div_var x y`` and the like, and functions of one variable."""
        del optional
        target, *others = arguments
        expression = _FUNCTIONS[name].format(target.value, *others)
        self._write(target, expression, None, None)

    def alter_vartype(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``alter_vartype x as``."""
        del name, optional
        target, kind = arguments
        self._write(target, target.value, repr(kind), None)

    def timer_get(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``timer_get x``."""
        del name, optional
        self._write(arguments[0], "timer()", "'eb'", "''")

    def array_get(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``array_get array index x``."""
        del name, optional
        array, index, target = arguments
        self._write(target, f"{array}.get({index})", f"{array}.types[{index}]", "''")

    def array_set(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``array_set array index x``."""
        del name, optional
        array, index, source = arguments
        self._emit(f"{array}.put({index}, {source.value}, {source.kind})")

    def mean(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``mean array x``."""
        del name, optional
        array, target = arguments
        self._write(target, f"{array}.mean()", None, "''")

    def linear_fit(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``linear_fit xs ys slope intercept``."""
        del name, optional
        x, y, slope, intercept = arguments
        self._emit(f"{slope.value}, {intercept.value} = fit_line({x}, {y})")

    def abort(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``abort``: on to ``on_finished:``."""
        del name, arguments, optional
        if self._finished_tag:  # nothing follows that could be gone to: the script ends
            self._emit("return")
        else:
            self._emit("machine.aborted()")
            self._emit("raise ScriptAborted")

    # ---- what the machine does

    def call(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """Hand a command's values to the machine's method of the same name."""
        values = [repr(a) if isinstance(a, TypeName) else str(a) for a in arguments]
        if "ocp" in optional:
            word = optional["ocp"]
            inner = Word(word.text[4:-1].strip(), "plain", word.start + 4)
            values.append(self._value(inner, "float"))
        self._emit(f"machine.{name}({', '.join(values)})")

    def say_text(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``send_string "text"``."""
        del name, optional
        self._emit(f"say('T' + {arguments[0]})")

    def file_open(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``file_open "path" mode``."""
        del name, optional
        path, mode = arguments
        self._emit(f"machine.file_open({path}, {mode})")

    def read_into(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``get_gpio x``."""
        del optional
        self._write(arguments[0], f"machine.{name}()", "'ja'", "''")

    def meas(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """``meas 100m x ab``."""
        del name, optional
        duration, target, kind = arguments
        self._emit(f"left, right = machine.meas({duration}, {kind!r})")
        self._write(target, "left", repr(kind), "right")

    def measurement_loop(self, name: str, arguments: list[Any], optional: dict[str, Word]) -> None:
        """Every ``meas_loop_…``: results first, then what to apply."""
        kinds = _RESULTS[name]
        results, values = arguments[: len(kinds)], [str(value) for value in arguments[len(kinds) :]]
        if "nscans" in optional:
            word = optional["nscans"]
            count = self._constant(Word(word.text[7:-1].strip() or "?", "plain", word.start + 7))
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

    def _extra_measurement(self, word: Word | None) -> tuple[Target, str] | None:
        """Return where ``add_meas(0 ag x)`` puts what it measures, and what that is."""
        if word is None:
            return None
        start = word.start + len("add_meas(")
        inner = [
            Word(match.group(), "plain", start + match.start())
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


_BLOCKS: dict[str, Callable[[Loader, list[Word]], None]] = {
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

    compile: Callable[[Loader, str, list[Any], dict[str, Word]], None]
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
