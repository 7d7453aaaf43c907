"""SCPI: the instrument's other command set, with its buffers, sweeps and loops.

Headers are taken in their long and short forms, any case; ``;`` goes on with the next command, from
the root where it begins with a colon. A sweep or loop runs by itself after ``:INIT``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence

from sim_devices.keithley.buffers import LEAST_CAPACITY, MOST_CAPACITY, Buffer
from sim_devices.keithley.events import (
    ERROR,
    ILLEGAL_VALUE,
    OUT_OF_RANGE,
    EventLog,
    RefusedError,
)
from sim_devices.keithley.scpi_text import (
    DEFAULT_NODES,
    FUNCTION_NAMES,
    FUNCTIONS,
    MISSING,
    NOT_NOW,
    QUANTITIES,
    TYPE,
    UNDEFINED,
    commands_of,
    elements_in,
    event_told,
    first_of,
    function_in,
    header_and_parameters,
    nodes_of,
    number_in,
    number_told,
    quantity_in,
    reading_told,
    switch_in,
    unquoted,
)
from sim_devices.keithley.smu import MAINS_HZ, OFF_MODES, Quantity, Smu
from sim_devices.keithley.tables import Identity

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
        found = [answer for text in commands_of(line) if (answer := self._obey(text, common))]
        if found:
            yield ";".join(found)

    def _obey(self, text: str, common: Callable[[str], str | None]) -> Answer:
        try:
            if text.startswith("*"):
                answer = common(text)
                if answer is None:
                    raise RefusedError(*UNDEFINED)
                return answer
            header, parameters = header_and_parameters(text)
            return self._command(header, parameters)
        except RefusedError as refused:
            self._events.post(refused.number, refused.text, self._smu.utc_s())
        except (ValueError, OverflowError):
            self._events.post(*TYPE, self._smu.utc_s())
        return None

    def _command(self, header: str, parameters: list[str]) -> Answer:
        asks = header.endswith("?")
        nodes = [node for node in nodes_of(header.removesuffix("?")) if node not in DEFAULT_NODES]
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
                return reading_told(buffer, buffer.last, elements)
            case "ROUT" if rest == ["TERM"]:
                if asks:
                    return "FRON" if self._smu.terminals == "FRONT" else "REAR"
                self._smu.terminals = (
                    "REAR" if first_of(parameters).upper()[:4] == "REAR" else "FRONT"
                )
                return None
            case "FORM":
                if asks:
                    return self._format
                self._format = first_of(parameters).upper()[:4]
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
            unit.set_source_function(quantity_in(first_of(parameters)))
            return None
        if nodes[:1] == ["SWE"]:
            self._sweep(nodes[1:], parameters)
            return None
        if not nodes or nodes[0] not in QUANTITIES:
            raise RefusedError(*UNDEFINED)
        what = QUANTITIES[nodes[0]]
        source, key = unit.source[what], nodes[1:]
        limit = "VLIM" if what == "current" else "ILIM"
        if key == [limit, "TRIP"]:
            return str(int(unit.is_tripped() and unit.source_function == what))
        if key[:1] == ["DEL"] and len(key) == 2 and key[1].startswith("USER"):
            return self._user_delay(f"{nodes[0]}{key[1]}", asks, parameters)
        get: dict[tuple[str, ...], Callable[[], str]] = {
            (): lambda: number_told(source.level),
            ("RANG",): lambda: number_told(source.range.nominal),
            ("RANG", "AUTO"): lambda: str(int(source.autorange)),
            (limit,): lambda: number_told(source.limit),
            ("DEL",): lambda: number_told(source.delay_s),
            ("DEL", "AUTO"): lambda: str(int(source.autodelay)),
            ("READ", "BACK"): lambda: str(int(source.readback)),
            ("HIGH", "CAP"): lambda: str(int(source.high_capacitance)),
        }
        if tuple(key) not in get:
            raise RefusedError(*UNDEFINED)
        if asks:
            return get[tuple(key)]()
        value = first_of(parameters)
        match key:
            case []:
                unit.set_level(what, number_in(value))
            case ["RANG"]:
                unit.set_source_range(what, number_in(value))
            case ["RANG", "AUTO"]:
                source.autorange = switch_in(value)
            case ["DEL"]:
                source.delay_s, source.autodelay = number_in(value), False
            case ["DEL", "AUTO"]:
                source.autodelay = switch_in(value)
            case ["READ", "BACK"]:
                source.readback = switch_in(value)
            case ["HIGH", "CAP"]:
                source.high_capacitance = switch_in(value)
            case _:
                unit.set_limit(what, number_in(value))
        return None

    def _user_delay(self, key: str, asks: bool, parameters: list[str]) -> Answer:
        if asks:
            return number_told(self._user_delays.get(key, 0.0))
        self._user_delays[key] = number_in(first_of(parameters))
        return None

    # ---- sense

    def _sense(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        unit = self._smu
        if nodes == ["FUNC"]:
            if asks:
                return FUNCTION_NAMES[unit.sense_function]
            unit.sense_function = function_in(first_of(parameters))
            return None
        if nodes == ["COUN"]:
            if asks:
                return str(unit.count)
            count = int(number_in(first_of(parameters)))
            if count < 1:
                raise RefusedError(*OUT_OF_RANGE)
            unit.count = count
            return None
        if nodes == ["AZER", "ONCE"]:
            unit.spend(2 / MAINS_HZ)
            return None
        if not nodes or nodes[0] not in FUNCTIONS:
            raise RefusedError(*UNDEFINED)
        what: Quantity = "current" if nodes[0] == "CURR" else "voltage"
        sense, key = unit.sense[what], nodes[1:]
        if key[:1] == ["AVER"]:
            return self._filter(":".join(nodes), asks, parameters)
        if key[:1] == ["DEL"] and len(key) == 2 and key[1].startswith("USER"):
            return self._user_delay("S" + nodes[0] + key[1], asks, parameters)
        get: dict[tuple[str, ...], Callable[[], str]] = {
            ("RANG",): lambda: number_told(sense.range.nominal),
            ("RANG", "AUTO"): lambda: str(int(sense.autorange)),
            ("NPLC",): lambda: number_told(sense.nplc),
            ("RSEN",): lambda: str(int(sense.four_wire)),
            ("AZER",): lambda: str(int(sense.autozero)),
        }
        if tuple(key) not in get:
            raise RefusedError(*UNDEFINED)
        if asks:
            return get[tuple(key)]()
        value = first_of(parameters)
        match key:
            case ["RANG"] if nodes[0] == "RES":
                sense.autorange = False
            case ["RANG"]:
                unit.set_sense_range(what, number_in(value))
            case ["RANG", "AUTO"]:
                sense.autorange = switch_in(value)
            case ["NPLC"]:
                unit.set_nplc(what, number_in(value))
            case ["RSEN"]:
                unit.set_four_wire(what, switch_in(value))
            case ["AZER"]:
                sense.autozero = switch_in(value)
        return None

    def _filter(self, key: str, asks: bool, parameters: list[str]) -> Answer:
        """Take note of a filter; the model has none."""
        if asks:
            return self._filters.get(key, "OFF" if key.endswith("AVER") else "1")
        self._filters[key] = first_of(parameters)
        return None

    # ---- output, terminals, system

    def _output(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        if not nodes:
            if asks:
                return str(int(self._smu.output))
            self._smu.set_output(switch_in(first_of(parameters)))
            return None
        if len(nodes) == 2 and nodes[0] in QUANTITIES and nodes[1] == "SMOD":
            what = QUANTITIES[nodes[0]]
            if asks:
                mode = self._smu.source[what].off_mode
                return next(short for short, name in _OFF_MODES.items() if name == mode)
            word = first_of(parameters).upper()[:4]
            if word not in _OFF_MODES or _OFF_MODES[word] not in OFF_MODES:
                raise RefusedError(*ILLEGAL_VALUE)
            self._smu.set_off_mode(what, _OFF_MODES[word])
            return None
        raise RefusedError(*UNDEFINED)

    def _system(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        match nodes:
            case ["ERR"] | ["ERR", "NEXT"] if asks:
                return event_told(self._events.next(ERROR))
            case ["EVEN"] | ["EVEN", "NEXT"] if asks:
                return event_told(self._events.next())
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
            self._smu.sense_function = function_in(":".join(nodes))
        buffer, elements = self._buffer_of(parameters)
        return reading_told(buffer, self._smu.measure(buffer), elements)

    def _buffer(self, name: str) -> Buffer:
        found = self._smu.buffers.get(unquoted(name))
        if found is None:
            raise RefusedError(*ILLEGAL_VALUE)
        return found

    def _buffer_of(self, parameters: list[str]) -> tuple[Buffer, list[str]]:
        if not parameters:
            return self._smu.buffers["defbuffer1"], ["READ"]
        return self._buffer(parameters[0]), elements_in(parameters[1:])

    def _trace(self, nodes: list[str], asks: bool, parameters: list[str]) -> Answer:
        named = parameters[-1] if parameters and parameters[-1][:1] in "'\"" else '"defbuffer1"'
        buffers = self._smu.buffers
        match nodes:
            case ["MAKE"]:
                name, size = (
                    unquoted(first_of(parameters)),
                    int(number_in(first_of(parameters[1:]))),
                )
                if name in buffers or not LEAST_CAPACITY <= size <= MOST_CAPACITY:
                    raise RefusedError(*OUT_OF_RANGE)
                buffers[name] = Buffer(name, size)
            case ["DEL"]:
                if unquoted(first_of(parameters)) in ("defbuffer1", "defbuffer2"):
                    raise RefusedError(*NOT_NOW)
                buffers.pop(self._buffer(first_of(parameters)).name)
            case ["CLE"]:
                self._buffer(named).clear()
            case ["POIN"] if asks:
                return str(self._buffer(named).capacity)
            case ["POIN"]:
                self._buffer(named).capacity = int(number_in(first_of(parameters)))
            case ["ACT"] if asks:
                return str(len(self._buffer(named)))
            case ["ACT", "END"] if asks:
                return str(self._buffer(named).end_index)
            case ["ACT", "STAR"] if asks:
                return str(self._buffer(named).start_index)
            case ["FILL", "MODE"] if asks:
                return "CONT" if self._buffer(named).continuous else "ONCE"
            case ["FILL", "MODE"]:
                mode = first_of(parameters).upper()[:4]
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
        first, last = (int(number_in(text)) for text in parameters[:2])
        buffer, elements = self._buffer_of(parameters[2:])
        try:
            readings = [buffer.at(n) for n in range(first, last + 1)]
        except IndexError:
            raise RefusedError(*OUT_OF_RANGE) from None
        return ",".join(reading_told(buffer, reading, elements) for reading in readings)

    # ---- sweeps and loops

    def _sweep(self, nodes: list[str], parameters: list[str]) -> None:
        """``:SOUR:SWE:VOLT:LIN start, stop, points, delay, count, range, fail, dual, buffer``."""
        if len(nodes) != 2 or nodes[0] not in QUANTITIES or nodes[1] != "LIN":
            raise RefusedError(*UNDEFINED)
        if len(parameters) < 3:
            raise RefusedError(*MISSING)
        start, stop = (number_in(text) for text in parameters[:2])
        points = int(number_in(parameters[2]))
        if not 2 <= points <= _MOST_POINTS:
            raise RefusedError(*OUT_OF_RANGE)
        given = dict(enumerate(parameters))
        delay_s = max(0.0, number_in(given.get(3, "0")))
        times = int(number_in(given.get(4, "1")))
        range_mode = given.get(5, "AUTO").upper()[:4]
        fails = switch_in(given.get(6, "ON"))
        dual = switch_in(given.get(7, "OFF"))
        buffer = self._buffer(given.get(8, '"defbuffer1"'))
        levels = [start + (stop - start) * n / (points - 1) for n in range(points)]
        if dual:
            levels += levels[-2::-1]
        what = QUANTITIES[nodes[0]]
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
        name = unquoted(first_of(parameters)).upper()
        rest = parameters[1:]
        if name == "EMPTY":
            self._model, self._state = None, "EMPTY"
            return
        given = dict(enumerate(rest))
        buffer = self._buffer(given.get(2, '"defbuffer1"'))
        delay_s = max(0.0, number_in(given.get(1, "0")))
        if name == "SIMPLELOOP":
            count = int(number_in(first_of(rest)))
            self._model = lambda: self._looping(lambda n, _: n < count, delay_s, buffer)
        elif name == "DURATIONLOOP":
            lasts_s = number_in(first_of(rest))
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
