"""SCPI: the instrument's other command set, with its buffers, sweeps and loops.

Headers are taken in their long and short forms, any case; ``;`` goes on with the next command, from
the root where it begins with a colon. A sweep or loop runs by itself after ``:INIT``.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sim_devices.keithley.buffers import LEAST_CAPACITY, MOST_CAPACITY, Buffer, Reading
from sim_devices.keithley.events import (
    ERROR,
    ILLEGAL_VALUE,
    OUT_OF_RANGE,
    Event,
    EventLog,
    RefusedError,
)
from sim_devices.keithley.smu import MAINS_HZ, OFF_MODES, Quantity, Smu
from sim_devices.keithley.tables import Identity

UNDEFINED = (-113, "Undefined header")
MISSING = (-109, "Missing parameter")
TYPE = (-104, "Data type error")
BAD_ELEMENT = (1133, "Parameter error: unknown buffer element")
NOT_NOW = (-221, "Settings conflict")

# Long forms that are not the short form and a rest that anybody would guess.
_WORDS = """
SOURce SENSe MEASure READ FETCh OUTPut CURRent VOLTage RESistance FUNCtion RANGe AUTO LEVel
IMMediate AMPLitude VLIMit ILIMit TRIPped DELay USER BACK HIGH CAPacitance SWEep LINear LIST LOG
NPLCycles RSENse AZERo ONCE COUNt AVERage TCONtrol STATe SMODe TRACe MAKE POINts ACTual DATA CLEar
TRIGger DELete FILL MODE STARt END STATistics MAXimum MINimum STDDev SYSTem ERRor EVENt NEXT
LFREquency TIME VERSion BEEPer INITiate ABORt LOAD DIGital LINE STATus PRESet MEASurement ENABle
ROUTe TERMinals FORMat DISPlay PROTection LOWer UPPer OPERation QUEStionable FEED CONTrol SPAN
ULIMit LLIMit LCOunt
"""
_SHORT: dict[str, str] = {}
for _word in _WORDS.split():
    _short = re.sub(r"[^A-Z]", "", _word)
    _SHORT[_word.upper()] = _SHORT[_short] = _short
# Nodes that may be left out.
_DEFAULT_NODES = frozenset({"LEV", "IMM", "AMPL", "DC", "STAT"})
_QUANTITIES: dict[str, Quantity] = {"CURR": "current", "VOLT": "voltage"}
_FUNCTIONS = {"CURR": "current", "VOLT": "voltage", "RES": "resistance"}
_FUNCTION_NAMES = {"current": '"CURR:DC"', "voltage": '"VOLT:DC"', "resistance": '"RES"'}
_OFF_MODES = {"NORM": "NORMAL", "HIMP": "HIGHZ", "ZERO": "ZERO", "GUAR": "GUARD"}
_MOST_POINTS = 1_000_000

Answer = str | None


class Scpi:
    """One instrument's SCPI.

    Attributes:
        abort_asked: whether what runs after ``:INIT`` is to end.
    """

    def __init__(self, smu: Smu, events: EventLog, identity: Identity) -> None:
        """Take what the commands act on."""
        self._smu, self._events, self._identity = smu, events, identity
        self.abort_asked = False
        self._model: Callable[[], Iterator[None]] | None = None
        self._running: Iterator[None] | None = None
        self._state = "EMPTY"
        self._user_delays: dict[str, float] = {}
        self._filters: dict[str, str] = {}
        self._format = "ASC"

    # ---- what runs by itself

    @property
    def is_running(self) -> bool:
        """Whether a sweep or a loop runs."""
        return self._running is not None

    def step(self) -> None:
        """Let what runs take its next step."""
        if self._running is None:
            return
        if self.abort_asked:
            self.stop()
            return
        try:
            next(self._running)
        except StopIteration:
            self._running, self._state = None, "IDLE"

    def finish(self) -> None:
        """Wait until nothing runs any more."""
        while self._running is not None:
            self.step()

    def stop(self) -> None:
        """End what runs; the output stays as it is."""
        self.abort_asked = False
        if self._running is not None:
            self._running.close()  # type: ignore[attr-defined]
        self._running, self._state = None, "ABORTED"

    # ---- a line

    def answers(self, line: str, common: Callable[[str], str | None]) -> Iterator[str]:
        """Obey a line; yield what it answers, all on one line."""
        found = [answer for text in _commands(line) if (answer := self._obey(text, common))]
        if found:
            yield ";".join(found)

    def _obey(self, text: str, common: Callable[[str], str | None]) -> Answer:
        try:
            if text.startswith("*"):
                answer = common(text)
                if answer is None:
                    raise RefusedError(*UNDEFINED)
                return answer
            header, parameters = _split(text)
            return self._command(header, parameters)
        except RefusedError as refused:
            self._events.post(refused.number, refused.text, self._smu.utc_s())
        except (ValueError, OverflowError):
            self._events.post(*TYPE, self._smu.utc_s())
        return None

    def _command(self, header: str, parameters: list[str]) -> Answer:
        asks = header.endswith("?")
        nodes = [node for node in _nodes(header.removesuffix("?")) if node not in _DEFAULT_NODES]
        first, rest = nodes[0] if nodes else "", nodes[1:]
        match first:
            case "SOUR":
                return self._source(rest, asks, parameters)
            case "SENS":
                return self._sense(rest, asks, parameters)
            case "OUTP":
                return self._output(rest, asks, parameters)
            case "TRAC":
                return self._trace(rest, asks, parameters)
            case "SYST":
                return self._system(rest, asks, parameters)
            case "READ" | "MEAS" if asks:
                return self._measure(rest, parameters)
            case "FETC" if asks:
                buffer, elements = self._buffer_of(parameters)
                if buffer.last is None:
                    raise RefusedError(*NOT_NOW)
                return _told(buffer, buffer.last, elements)
            case "ROUT" if rest == ["TERM"]:
                if asks:
                    return "FRON" if self._smu.terminals == "FRONT" else "REAR"
                self._smu.terminals = "REAR" if _one(parameters).upper()[:4] == "REAR" else "FRONT"
                return None
            case "FORM":
                if asks:
                    return self._format
                self._format = _one(parameters).upper()[:4]
                return None
            case "INIT":
                self._initiate()
                return None
            case "TRIG":
                return self._trigger(rest, asks, parameters)
            case "STATUS" | "STAT" | "DISP":
                return "0" if asks else None
        # ":STAT:..." has lost its first node above.
        if header.lstrip(":").upper().startswith("STAT"):
            return "0" if asks else None
        raise RefusedError(*UNDEFINED)

    # ---- source

    def _source(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        unit = self._smu
        if nodes == ["FUNC"]:
            if asks:
                return "CURR" if unit.source_function == "current" else "VOLT"
            unit.set_source_function(_quantity(_one(parameters)))
            return None
        if nodes[:1] == ["SWE"]:
            self._sweep(nodes[1:], parameters)
            return None
        if not nodes or nodes[0] not in _QUANTITIES:
            raise RefusedError(*UNDEFINED)
        what = _QUANTITIES[nodes[0]]
        source, key = unit.source[what], nodes[1:]
        limit = "VLIM" if what == "current" else "ILIM"
        if key == [limit, "TRIP"]:
            return str(int(unit.is_tripped() and unit.source_function == what))
        if key[:1] == ["DEL"] and len(key) == 2 and key[1].startswith("USER"):
            return self._user_delay(f"{nodes[0]}{key[1]}", asks, parameters)
        get: dict[tuple[str, ...], Callable[[], str]] = {
            (): lambda: _float(source.level),
            ("RANG",): lambda: _float(source.range.nominal),
            ("RANG", "AUTO"): lambda: str(int(source.autorange)),
            (limit,): lambda: _float(source.limit),
            ("DEL",): lambda: _float(source.delay_s),
            ("DEL", "AUTO"): lambda: str(int(source.autodelay)),
            ("READ", "BACK"): lambda: str(int(source.readback)),
            ("HIGH", "CAP"): lambda: str(int(source.high_capacitance)),
        }
        if tuple(key) not in get:
            raise RefusedError(*UNDEFINED)
        if asks:
            return get[tuple(key)]()
        value = _one(parameters)
        match key:
            case []:
                unit.set_level(what, _value(value))
            case ["RANG"]:
                unit.set_source_range(what, _value(value))
            case ["RANG", "AUTO"]:
                source.autorange = _switch(value)
            case ["DEL"]:
                source.delay_s, source.autodelay = _value(value), False
            case ["DEL", "AUTO"]:
                source.autodelay = _switch(value)
            case ["READ", "BACK"]:
                source.readback = _switch(value)
            case ["HIGH", "CAP"]:
                source.high_capacitance = _switch(value)
            case _:
                unit.set_limit(what, _value(value))
        return None

    def _user_delay(self, key: str, asks: bool, parameters: list[str]) -> Answer:
        if asks:
            return _float(self._user_delays.get(key, 0.0))
        self._user_delays[key] = _value(_one(parameters))
        return None

    # ---- sense

    def _sense(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        unit = self._smu
        if nodes == ["FUNC"]:
            if asks:
                return _FUNCTION_NAMES[unit.sense_function]
            unit.sense_function = _function(_one(parameters))
            return None
        if nodes == ["COUN"]:
            if asks:
                return str(unit.count)
            count = int(_value(_one(parameters)))
            if count < 1:
                raise RefusedError(*OUT_OF_RANGE)
            unit.count = count
            return None
        if nodes == ["AZER", "ONCE"]:
            unit.spend(2 / MAINS_HZ)
            return None
        if not nodes or nodes[0] not in _FUNCTIONS:
            raise RefusedError(*UNDEFINED)
        what: Quantity = "current" if nodes[0] == "CURR" else "voltage"
        sense, key = unit.sense[what], nodes[1:]
        if key[:1] == ["AVER"]:
            return self._filter(":".join(nodes), asks, parameters)
        if key[:1] == ["DEL"] and len(key) == 2 and key[1].startswith("USER"):
            return self._user_delay("S" + nodes[0] + key[1], asks, parameters)
        get: dict[tuple[str, ...], Callable[[], str]] = {
            ("RANG",): lambda: _float(sense.range.nominal),
            ("RANG", "AUTO"): lambda: str(int(sense.autorange)),
            ("NPLC",): lambda: _float(sense.nplc),
            ("RSEN",): lambda: str(int(sense.four_wire)),
            ("AZER",): lambda: str(int(sense.autozero)),
        }
        if tuple(key) not in get:
            raise RefusedError(*UNDEFINED)
        if asks:
            return get[tuple(key)]()
        value = _one(parameters)
        match key:
            case ["RANG"] if nodes[0] == "RES":
                sense.autorange = False
            case ["RANG"]:
                unit.set_sense_range(what, _value(value))
            case ["RANG", "AUTO"]:
                sense.autorange = _switch(value)
            case ["NPLC"]:
                unit.set_nplc(what, _value(value))
            case ["RSEN"]:
                unit.set_four_wire(what, _switch(value))
            case ["AZER"]:
                sense.autozero = _switch(value)
        return None

    def _filter(self, key: str, asks: bool, parameters: list[str]) -> Answer:
        """Take note of a filter; the model has none."""
        if asks:
            return self._filters.get(key, "OFF" if key.endswith("AVER") else "1")
        self._filters[key] = _one(parameters)
        return None

    # ---- output, terminals, system

    def _output(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        if not nodes:
            if asks:
                return str(int(self._smu.output))
            self._smu.set_output(_switch(_one(parameters)))
            return None
        if len(nodes) == 2 and nodes[0] in _QUANTITIES and nodes[1] == "SMOD":
            what = _QUANTITIES[nodes[0]]
            if asks:
                mode = self._smu.source[what].off_mode
                return next(short for short, name in _OFF_MODES.items() if name == mode)
            word = _one(parameters).upper()[:4]
            if word not in _OFF_MODES or _OFF_MODES[word] not in OFF_MODES:
                raise RefusedError(*ILLEGAL_VALUE)
            self._smu.set_off_mode(what, _OFF_MODES[word])
            return None
        raise RefusedError(*UNDEFINED)

    def _system(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        match nodes:
            case ["ERR"] | ["ERR", "NEXT"] if asks:
                return _event(self._events.next(ERROR))
            case ["EVEN"] | ["EVEN", "NEXT"] if asks:
                return _event(self._events.next())
            case ["EVEN", "COUN"] | ["ERR", "COUN"] if asks:
                return str(self._events.count())
            case ["LFRE"] if asks:
                return f"{MAINS_HZ:g}"
            case ["TIME"] if asks:
                moment = datetime.datetime.fromtimestamp(self._smu.utc_s(), datetime.UTC)
                return moment.strftime("%a %b %d %H:%M:%S %Y")
            case ["VERS"] if asks:
                return "1996.0"
            case ["CLE"]:
                self._events.clear()
                return None
            case ["BEEP"]:
                return None
        raise RefusedError(*UNDEFINED)

    # ---- measuring and buffers

    def _measure(self, nodes: list[str], parameters: list[str]) -> str:
        if nodes:
            self._smu.sense_function = _function(":".join(nodes))
        buffer, elements = self._buffer_of(parameters)
        return _told(buffer, self._smu.measure(buffer), elements)

    def _buffer(self, name: str) -> Buffer:
        found = self._smu.buffers.get(_unquoted(name))
        if found is None:
            raise RefusedError(*ILLEGAL_VALUE)
        return found

    def _buffer_of(self, parameters: list[str]) -> tuple[Buffer, list[str]]:
        if not parameters:
            return self._smu.buffers["defbuffer1"], ["READ"]
        return self._buffer(parameters[0]), _elements(parameters[1:])

    def _trace(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        named = parameters[-1] if parameters and parameters[-1][:1] in "'\"" else '"defbuffer1"'
        buffers = self._smu.buffers
        match nodes:
            case ["MAKE"]:
                name, size = _unquoted(_one(parameters)), int(_value(_one(parameters[1:])))
                if name in buffers or not LEAST_CAPACITY <= size <= MOST_CAPACITY:
                    raise RefusedError(*OUT_OF_RANGE)
                buffers[name] = Buffer(name, size)
            case ["DEL"]:
                if _unquoted(_one(parameters)) in ("defbuffer1", "defbuffer2"):
                    raise RefusedError(*NOT_NOW)
                buffers.pop(self._buffer(_one(parameters)).name)
            case ["CLE"]:
                self._buffer(named).clear()
            case ["POIN"] if asks:
                return str(self._buffer(named).capacity)
            case ["POIN"]:
                self._buffer(named).capacity = int(_value(_one(parameters)))
            case ["ACT"] if asks:
                return str(len(self._buffer(named)))
            case ["ACT", "END"] if asks:
                return str(self._buffer(named).end_index)
            case ["ACT", "STAR"] if asks:
                return str(self._buffer(named).start_index)
            case ["FILL", "MODE"] if asks:
                return "CONT" if self._buffer(named).continuous else "ONCE"
            case ["FILL", "MODE"]:
                mode = _one(parameters).upper()[:4]
                self._buffer(named).continuous = mode == "CONT"
            case ["TRIG"]:
                self._smu.measure(self._buffer(named))
            case ["DATA"] if asks:
                return self._data(parameters)
            case _:
                raise RefusedError(*UNDEFINED)
        return None

    def _data(self, parameters: list[str]) -> str:
        if len(parameters) < 2:
            raise RefusedError(*MISSING)
        first, last = (int(_value(text)) for text in parameters[:2])
        buffer, elements = self._buffer_of(parameters[2:])
        try:
            readings = [buffer.at(n) for n in range(first, last + 1)]
        except IndexError:
            raise RefusedError(*OUT_OF_RANGE) from None
        return ",".join(_told(buffer, reading, elements) for reading in readings)

    # ---- sweeps and loops

    def _sweep(self, nodes: list[str], parameters: list[str]) -> None:
        """``:SOUR:SWE:VOLT:LIN start, stop, points, delay, count, range, fail, dual, buffer``."""
        if len(nodes) != 2 or nodes[0] not in _QUANTITIES or nodes[1] != "LIN":
            raise RefusedError(*UNDEFINED)
        if len(parameters) < 3:
            raise RefusedError(*MISSING)
        start, stop = (_value(text) for text in parameters[:2])
        points = int(_value(parameters[2]))
        if not 2 <= points <= _MOST_POINTS:
            raise RefusedError(*OUT_OF_RANGE)
        given = dict(enumerate(parameters))
        delay_s = max(0.0, _value(given.get(3, "0")))
        times = int(_value(given.get(4, "1")))
        range_mode = given.get(5, "AUTO").upper()[:4]
        fails = _switch(given.get(6, "ON"))
        dual = _switch(given.get(7, "OFF"))
        buffer = self._buffer(given.get(8, '"defbuffer1"'))
        levels = [start + (stop - start) * n / (points - 1) for n in range(points)]
        if dual:
            levels += levels[-2::-1]
        what = _QUANTITIES[nodes[0]]
        self._model = lambda: self._sweeping(
            what, levels, delay_s, max(1, times), range_mode, fails, buffer
        )
        self._state = "IDLE"

    def _sweeping(
        self,
        what: Quantity,
        levels: Sequence[float],
        delay_s: float,
        times: int,
        range_mode: str,
        fails: bool,
        buffer: Buffer,
    ) -> Iterator[None]:
        unit = self._smu
        buffer.clear()
        unit.set_source_function(what)
        if range_mode == "BEST":
            unit.source[what].level = 0.0
            unit.set_source_range(what, max(abs(level) for level in levels))
        elif range_mode == "AUTO":
            unit.source[what].autorange = True
        unit.set_level(what, levels[0])
        unit.set_output(True)
        for _ in range(times):
            for level in levels:
                unit.set_level(what, level)
                unit.spend(delay_s)
                unit.measure(buffer)
                yield
                if fails and unit.is_tripped():
                    unit.set_output(False)
                    return
        unit.set_output(False)

    def _trigger(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        match nodes:
            case [] if asks:
                state = "RUNNING" if self.is_running else self._state
                return f"{state};{state};1"
            case ["LOAD"]:
                self._load(parameters)
                return None
            case ["CONT"] | ["CONT", "REST"] | ["DIG1"] | ["COUN"]:
                return "0" if asks else None
        raise RefusedError(*UNDEFINED)

    def _load(self, parameters: list[str]) -> None:
        name = _unquoted(_one(parameters)).upper()
        rest = parameters[1:]
        if name == "EMPTY":
            self._model, self._state = None, "EMPTY"
            return
        given = dict(enumerate(rest))
        buffer = self._buffer(given.get(2, '"defbuffer1"'))
        delay_s = max(0.0, _value(given.get(1, "0")))
        if name == "SIMPLELOOP":
            count = int(_value(_one(rest)))
            self._model = lambda: self._looping(lambda n, _: n < count, delay_s, buffer)
        elif name == "DURATIONLOOP":
            lasts_s = _value(_one(rest))
            self._model = lambda: self._looping(lambda _, t: t < lasts_s, delay_s, buffer)
        else:
            raise RefusedError(*ILLEGAL_VALUE)
        self._state = "IDLE"

    def _looping(
        self, goes_on: Callable[[int, float], bool], delay_s: float, buffer: Buffer
    ) -> Iterator[None]:
        begun_s, done = self._smu.now_s(), 0
        buffer.clear()
        while goes_on(done, self._smu.now_s() - begun_s):
            self._smu.spend(delay_s)
            self._smu.measure(buffer)
            done += 1
            yield

    def _initiate(self) -> None:
        if self._model is None or self.is_running:
            raise RefusedError(*NOT_NOW)
        self.abort_asked = False
        self._running, self._state = self._model(), "RUNNING"


# ---- text


def _commands(line: str) -> Iterator[str]:
    """Yield the commands of a line with whole headers."""
    path = ""
    for text in _parted(line, ";"):
        text = text.strip()
        if not text:
            continue
        if text.startswith("*"):
            yield text
            continue
        if not text.startswith(":") and path:
            text = f"{path}:{text}"
        header = text.split(None, 1)[0]
        path = header.rpartition(":")[0]
        yield text


def _parted(text: str, at: str) -> list[str]:
    """Split at a character that is in no quotes."""
    parts, quote = [""], ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == at:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def _split(text: str) -> tuple[str, list[str]]:
    header, _, rest = text.partition(" ")
    rest = rest.strip()
    return header, [part.strip() for part in _parted(rest, ",")] if rest else []


def _nodes(header: str) -> Iterator[str]:
    for node in header.strip(":").upper().split(":"):
        word, number = re.fullmatch(r"(.*?)(\d*)", node).groups()  # type: ignore[union-attr]
        short = _SHORT.get(word)
        if short is None:
            raise RefusedError(*UNDEFINED)
        # SOURce1 is the source; of USER2 the number counts.
        yield short + number if short in ("USER", "DIG", "LINE") else short


def _one(parameters: Sequence[str]) -> str:
    if not parameters or not parameters[0]:
        raise RefusedError(*MISSING)
    return parameters[0]


def _value(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _switch(text: str) -> bool:
    word = text.upper()
    if word in ("ON", "1"):
        return True
    if word in ("OFF", "0"):
        return False
    raise RefusedError(*ILLEGAL_VALUE)


def _unquoted(text: str) -> str:
    return text.strip().strip("'\"")


def _function(text: str) -> str:
    name = _unquoted(text).upper().partition(":")[0]
    found = _FUNCTIONS.get(_SHORT.get(name, name))
    if found is None:
        raise RefusedError(*ILLEGAL_VALUE)
    return found


def _quantity(text: str) -> Quantity:
    name = _unquoted(text).upper().partition(":")[0]
    found = _QUANTITIES.get(_SHORT.get(name, name))
    if found is None:
        raise RefusedError(*ILLEGAL_VALUE)
    return found


def _float(value: float) -> str:
    return f"{value:.6E}"


_ELEMENTS: dict[str, Callable[[Buffer, Reading], str]] = {
    "READ": lambda buffer, x: _float(x.value),
    "SOUR": lambda buffer, x: _float(x.source),
    "REL": lambda buffer, x: f"{buffer.relative_s(x):.6f}",
    "SEC": lambda buffer, x: str(int(x.utc_s)),
    "FRAC": lambda buffer, x: f"{x.utc_s - int(x.utc_s):.9f}",
    "TIME": lambda buffer, x: _moment(x).strftime("%H:%M:%S.%f"),
    "DATE": lambda buffer, x: _moment(x).strftime("%m/%d/%Y"),
    "TST": lambda buffer, x: _moment(x).strftime("%m/%d/%Y %H:%M:%S.%f") + "000",
    "UNIT": lambda buffer, x: x.unit,
    "SOURUNIT": lambda buffer, x: x.source_unit,
    "FORM": lambda buffer, x: f"{x.value:+.6e} {x.unit[0]}",
    "SOURFORM": lambda buffer, x: f"{x.source:+.6e} {x.source_unit[0]}",
    "STAT": lambda buffer, x: str(x.status),
    "SOURSTAT": lambda buffer, x: str(x.source_status),
}
_LONG_ELEMENTS = {
    "READING": "READ",
    "SOURCE": "SOUR",
    "RELATIVE": "REL",
    "SECONDS": "SEC",
    "FRACTIONAL": "FRAC",
    "TSTAMP": "TST",
    "FORMATTED": "FORM",
    "SOURFORMATTED": "SOURFORM",
    "STATUS": "STAT",
    "SOURSTATUS": "SOURSTAT",
}
_MOST_ELEMENTS = 14


def _moment(reading: Reading) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(reading.utc_s, datetime.UTC)


def _elements(words: Sequence[str]) -> list[str]:
    found = [_LONG_ELEMENTS.get(word.upper(), word.upper()) for word in words] or ["READ"]
    if len(found) > _MOST_ELEMENTS or any(name not in _ELEMENTS for name in found):
        raise RefusedError(*BAD_ELEMENT)
    return found


def _told(buffer: Buffer, reading: Reading, elements: Sequence[str]) -> str:
    return ",".join(_ELEMENTS[name](buffer, reading) for name in elements)


def _event(event: Event | None) -> str:
    if event is None:
        return '0,"No error;0;0 0"'
    moment: Any = datetime.datetime.fromtimestamp(event.utc_s, datetime.UTC)
    stamp = moment.strftime("%Y/%m/%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    return f'{event.number},"{event.text};{event.severity};{stamp}"'
