"""TSP: the commands as tables of a Lua that is a real one (5.1; the instrument has 5.0).

Only what a program for this instrument may use is there: no files, no modules, no Python. What TSP
has and this model has not is a run-time error. A loop that asks the instrument for nothing cannot
be ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sim_devices.keithley.events import ILLEGAL_VALUE, EventLog, RefusedError
from sim_devices.keithley.smu import Smu
from sim_devices.keithley.tables import Host, Identity, ReadingBuffer, tables

if TYPE_CHECKING:
    import types

SYNTAX, RUNTIME = -285, -286
# The manual tells that there is an event, not its number.
_ALREADY_THERE = 1408

# Only names, numbers and texts pass between the two languages, and the four functions by which they
# do: an object of Python that Lua looks at may be taken for another one that was there before.
_WORLD = """
local get, put, call, cell = ...

local function object(path, methods, nameless)
  local new = {}
  for name in string.gmatch(methods, "%S+") do
    local as = (name == "pulse") and "assert" or name
    new[as] = function(a, b, c)
      if type(a) == "table" then a = a.name end
      return call(path, name, a, b, c)
    end
  end
  return setmetatable(new, {
    __index = function(_, key) return get(path, key) end,
    __newindex = function(_, key, value) put(path, key, value) end,
  })
end

local columns = {}

local function reading_buffer(name)
  local new = object("buffer " .. name, "clear")
  rawset(new, "name", name)
  for _, column in ipairs(columns) do
    rawset(new, column, setmetatable({}, {
      __index = function(_, index) return cell(name, column, index) end,
    }))
  end
  return new
end

local function place(path, methods)
  local parent, last = _G, nil
  for word in string.gmatch(path, "[^.]+") do
    if last then parent = rawget(parent, last) end
    last = tonumber(word) or word
  end
  rawset(parent, last, object(path, methods))
end

local function prepare(buffer_columns)
  for name in string.gmatch(buffer_columns, "%S+") do table.insert(columns, name) end
  defbuffer1, defbuffer2 = reading_buffer("defbuffer1"), reading_buffer("defbuffer2")
  local make = buffer.make
  rawset(buffer, "make", function(size, style) return reading_buffer(make(size, style)) end)
  local libraries = {script = {}}
  script = libraries.script
  rawset(script, "delete", function(name) return call("script", "delete", name) end)
  delay = function(seconds) return call("", "delay", seconds) end
  reset = function() return call("", "reset") end
  waitcomplete = function() return call("", "complete") end
  opc = waitcomplete
  exit = function() return call("", "exit") end
  local texts = function(...)
    local found = {}
    for n = 1, select("#", ...) do found[n] = call("", "text", (select(n, ...))) end
    return found
  end
  print = function(...) call("", "say", table.concat(texts(...), "\\t")) end
  printbuffer = function(first, last, ...)
    local found = {}
    for index = first, last do
      for n = 1, select("#", ...) do
        local column = select(n, ...)
        table.insert(found, call("", "text", (rawget(column, "readings") or column)[index]))
      end
    end
    call("", "say", table.concat(found, ", "))
  end
end

local compile = loadstring
os, io, package, require, module, dofile, loadfile, python, newproxy, debug = nil
loadstring, load = nil

local function compiled(text, name)
  local run, wrong = compile(text, "=" .. name)
  if not run then return wrong end
  return setmetatable({run = run, source = text}, {__call = function() return run() end})
end

local function publish(name, script) rawset(_G, name, script) end

return place, prepare, compiled, publish
"""


def lua() -> types.ModuleType:
    """Return the Lua to use.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import lupa.lua51 as found
    except ImportError as error:
        raise ValueError(
            "a simulated Keithley runs Lua: install lupa (the extra `keithley`)"
        ) from error
    return found


class Tsp:
    """One run-time environment: its global names and its scripts live until it is switched off."""

    def __init__(
        self, smu: Smu, events: EventLog, identity: Identity, say: Callable[[str], None]
    ) -> None:
        """Make the tables.

        Args:
            smu: what they act on.
            events: gets errors.
            identity: what ``localnode`` tells.
            say: takes lines that are printed.
        """
        self._host, self._say = Host(smu, events), say
        self._smu = smu
        module = lua()
        # One character per byte: what noise on the line brings is no UTF-8.
        self._lua = module.LuaRuntime(
            encoding="latin-1",
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
        )
        self._error = module.LuaError
        self._scripts: set[str] = set()
        self._tables = tables(self._host, identity)
        self._tables["script"] = self._tables[""] = self
        for name in ("defbuffer1", "defbuffer2"):
            self._tables[f"buffer {name}"] = ReadingBuffer(self._host, name)
        # Kept, as Lua does not keep them.
        self._functions = (self._get, self._put, self._call, self._cell)
        build = self._lua.execute(f"return function(...) {_WORLD} end")
        place, prepare, self._compile, self._publish = build(*self._functions)
        for path, what in self._tables.items():
            if path and " " not in path:
                place(path, " ".join(_methods(what)))
        prepare(" ".join(ReadingBuffer.columns))

    # ---- what Lua asks for

    def _get(self, path: str, key: object) -> Any:
        value = getattr(self._tables[path], _public(path, key))
        if callable(value):
            raise AttributeError(f"{path}.{key} is not to be had")
        return value

    def _put(self, path: str, key: object, value: Any) -> None:
        name = _public(path, key)
        if not hasattr(type(self._tables[path]), name) and not hasattr(self._tables[path], name):
            raise AttributeError(f"{path} has no {name}")
        setattr(self._tables[path], name, value)

    def _call(self, path: str, name: str, *given: Any) -> Any:
        arguments = list(given)
        while arguments and arguments[-1] is None:
            arguments.pop()
        if path in ("", "script"):
            return getattr(self, f"do_{name}")(*arguments)
        answer = getattr(self._tables[path], name)(*arguments)
        if path == "buffer" and name == "make":
            self._tables[f"buffer {answer}"] = ReadingBuffer(self._host, answer)
        return answer

    def _cell(self, name: str, column: str, index: float) -> Any:
        return self._tables[f"buffer {name}"].cell(column, index)

    def execute(self, text: str) -> None:
        """Run one line, which may call scripts; errors go to the event log.

        Raises:
            AbortedError: it was ended from outside.
        """
        function = self._compiled(text, "chunk")
        if function is not None:
            self._run(function)

    def load(self, name: str, text: str) -> None:
        """Take a script, which gets its name as a global one."""
        if name in self._scripts:
            self._host.post(_ALREADY_THERE, f"Script {name} already exists: delete it first")
            return
        function = self._compiled(text, name)
        if function is not None:
            self._scripts.add(name)
            self._publish(name, function)

    def forget(self, name: str) -> None:
        """Delete a script.

        Raises:
            RefusedError: there is none of that name.
        """
        if name not in self._scripts:
            raise RefusedError(*ILLEGAL_VALUE)
        self._scripts.remove(name)
        self._publish(name, None)

    def do_delete(self, name: object = None) -> None:
        """``script.delete``."""
        self._host.command(lambda: self.forget(str(name)))

    def _compiled(self, text: str, name: str) -> Any:
        found = self._compile(text, name)
        if not isinstance(found, str):
            return found
        line, what = _place(found)
        self._host.post(SYNTAX, f"TSP Syntax error at line {line}: {what}")
        return None

    def _run(self, function: Callable[[], object]) -> None:
        try:
            function()
        except _ExitError:
            return
        except RefusedError as refused:
            self._host.post(refused.number, refused.text)
        except self._error as error:
            line, what = _place(str(error).splitlines()[0])
            self._host.post(RUNTIME, f"TSP Runtime error at line {line}: {what}")
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            self._host.post(RUNTIME, f"TSP Runtime error: {error}")
        # Lua may have caught an abort on the way.
        self._smu.spend(0.0)

    # ---- functions that are in no table

    def do_delay(self, seconds: float) -> None:
        """``delay``."""
        self._host.delay(seconds)

    def do_complete(self) -> None:
        """``waitcomplete``."""
        self._host.smu.settle()

    def do_exit(self) -> None:
        """``exit``."""
        raise _ExitError

    def do_reset(self) -> None:
        """``reset``."""
        self._host.smu.reset()

    def do_text(self, value: object = None) -> str:
        """Return a value as ``print`` writes it."""
        return printed(value)

    def do_say(self, text: str) -> None:
        """Print a line."""
        self._host.smu.spend(0.0)
        self._say(text)


class _ExitError(Exception):
    """``exit()``."""


def _place(message: str) -> tuple[str, str]:
    """Return (line, what) of an error of Lua."""
    place, _, what = message.partition(": ")
    return place.rpartition(":")[2], what or message


def _public(path: str, key: object) -> str:
    if not isinstance(key, str) or key.startswith("_"):
        raise AttributeError(f"{path} has no {key!r}")
    return key


def _methods(what: object) -> list[str]:
    found = [name for name in vars(type(what)) if not name.startswith("_")]
    return [name for name in found if callable(getattr(type(what), name))]


def printed(value: object) -> str:
    """Return a value as ``print`` writes it."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.14g}"
    return str(value)
