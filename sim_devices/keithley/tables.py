"""The tables of TSP: what a program can set, ask and do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim_devices.keithley.buffers import (
    LEAST_CAPACITY,
    LIMITED,
    MOST_CAPACITY,
    OUTPUT,
    OVER_TEMPERATURE,
    PROTECTION,
    READBACK,
    SENSE,
    Buffer,
    Reading,
)
from sim_devices.keithley.electronics import range_for
from sim_devices.keithley.events import (
    ERROR,
    ILLEGAL_VALUE,
    INFORMATION,
    OUT_OF_RANGE,
    WARNING,
    Event,
    EventLog,
    RefusedError,
)
from sim_devices.keithley.smu import (
    DIGITAL_LINES,
    MAINS_HZ,
    OFF_MODES,
    Quantity,
    Sense,
    Smu,
)

_LONGEST_DELAY_S = 1e5
_CONFLICT = 1805
_MOST_READINGS = 300_000


class Identity:
    """What an instrument says of itself."""

    def __init__(self, model: str, serial_number: str, firmware: str) -> None:
        """Take what it says."""
        self.model, self.serial_number, self.firmware = model, serial_number, firmware


class Host:
    """What the tables act on; every command that begins asks for `smu`."""

    def __init__(self, smu: Smu, events: EventLog) -> None:
        """Take the unit and the log of its events."""
        self._smu, self.events = smu, events
        self.digital_lines = {n: _DigitalLine(self) for n in DIGITAL_LINES}

    @property
    def smu(self) -> Smu:
        """The unit.

        Raises:
            AbortedError: what runs is to end, so nothing may begin.
        """
        self._smu.spend(0.0)
        return self._smu

    def post(self, number: int, text: str) -> None:
        """Note an error."""
        self.events.post(number, text, self._smu.utc_s())

    def command(self, act: Callable[[], object]) -> None:
        """Do what a command does; where it is refused a script goes on."""
        try:
            act()
        except RefusedError as refused:
            self.post(refused.number, refused.text)

    def delay(self, seconds: float) -> None:
        """Wait."""
        if not 0 <= seconds <= _LONGEST_DELAY_S:
            self.post(*OUT_OF_RANGE)
            return
        self.smu.spend(float(seconds))

    def sensing(self) -> Sense:
        """Return the settings of what is measured."""
        unit = self.smu
        return unit.sense["current" if unit.sense_function == "current" else "voltage"]

    def set_lowest(self, value: float) -> None:
        """Set the smallest range of what is measured that an automatic choice may take."""
        sense = self.sensing()
        sense.lowest = range_for(self._smu.make.ranges[sense.quantity], value)

    def set_sense(self, value: object) -> None:
        """Set where potentials are sensed."""
        if value not in ("smu.SENSE_2WIRE", "smu.SENSE_4WIRE"):
            raise RefusedError(*ILLEGAL_VALUE)
        self.smu.set_four_wire(self.sensing().quantity, value == "smu.SENSE_4WIRE")

    def set_count(self, value: object) -> None:
        """Set how many readings a measurement takes."""
        if not isinstance(value, int | float) or not 1 <= value <= _MOST_READINGS:
            raise RefusedError(*OUT_OF_RANGE)
        self.smu.count = int(value)

    def measure(self, name: str | None) -> Reading:
        """Measure into a buffer, by default the first."""
        return self.smu.measure(self.buffer(name or "defbuffer1"))

    def buffer(self, name: str) -> Buffer:
        """Return a buffer."""
        found = self._smu.buffers.get(name)
        if found is None:
            raise RefusedError(*ILLEGAL_VALUE)
        return found


def _switch(value: Any) -> bool:
    if value in ("smu.ON", 1, True):
        return True
    if value in ("smu.OFF", 0, False):
        return False
    raise RefusedError(*ILLEGAL_VALUE)


def _on_off(on: bool) -> str:
    return "smu.ON" if on else "smu.OFF"


class _Table:
    """A table of commands."""

    def __init__(self, host: Host) -> None:
        self._host = host


def _attribute(
    get: Callable[[Any], Any], put: Callable[[Any, Any], None] | None = None
) -> property:
    """Return an attribute of a table; what cannot be set posts an event and changes nothing."""
    if put is None:
        return property(get)

    def setter(self: Any, value: Any) -> None:
        self._host.smu.spend(0.0)  # an abort lets nothing begin
        self._host.command(lambda: put(self, value))

    return property(get, setter)


_FUNCTIONS: dict[str, str] = {
    "smu.FUNC_DC_CURRENT": "current",
    "smu.FUNC_DC_VOLTAGE": "voltage",
    "smu.FUNC_RESISTANCE": "resistance",
}


def _function(value: Any, *allowed: str) -> Any:
    found = _FUNCTIONS.get(str(value))
    if found not in allowed:
        raise RefusedError(*ILLEGAL_VALUE)
    return found


def _named(what: str) -> str:
    return next(name for name, function in _FUNCTIONS.items() if function == what)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(*ILLEGAL_VALUE)
    return float(value)


class _Limit(_Table):
    """``smu.source.vlimit`` or ``ilimit``."""

    def __init__(self, host: Host, of: Quantity) -> None:
        super().__init__(host)
        self._of = of

    level = _attribute(
        lambda self: self._host.smu.source[self._of].limit,
        lambda self, value: self._host.smu.set_limit(self._of, _number(value)),
    )
    tripped = _attribute(
        lambda self: (
            _on_off(self._host.smu.is_tripped())
            if self._host.smu.source_function == self._of
            else None
        )
    )


PROTECTIONS = ("2V", "5V", "10V", "20V", *(f"{volts}V" for volts in range(40, 200, 20)))


class _Protect(_Table):
    """``smu.source.protect``."""

    level = _attribute(
        lambda self: _protection_named(self._host.smu.protection_v),
        lambda self, value: self._host.smu.set_protection(_protection(value)),
    )
    tripped = _attribute(lambda self: _on_off(self._host.smu.is_protecting()))


def _protection_named(volts: float | None) -> str:
    return "smu.PROTECT_NONE" if volts is None else f"smu.PROTECT_{volts:g}V"


def _protection(value: Any) -> float | None:
    if value == "smu.PROTECT_NONE":
        return None
    found = str(value).removeprefix("smu.PROTECT_")
    if found not in PROTECTIONS:
        raise RefusedError(*ILLEGAL_VALUE)
    return float(found.removesuffix("V"))


class _Source(_Table):
    """``smu.source``."""

    def _of(self) -> Any:
        unit = self._host.smu
        return unit.source[unit.source_function]

    def _put(self, name: str, value: Any) -> None:
        setattr(self._of(), name, value)

    output = _attribute(
        lambda self: _on_off(self._host.smu.output),
        lambda self, value: self._host.smu.set_output(_switch(value)),
    )
    func = _attribute(
        lambda self: _named(self._host.smu.source_function),
        lambda self, value: self._host.smu.set_source_function(
            _function(value, "current", "voltage")
        ),
    )
    level = _attribute(
        lambda self: self._of().level,
        lambda self, value: self._host.smu.set_level(self._of().quantity, _number(value)),
    )
    range = _attribute(
        lambda self: self._of().range.nominal,
        lambda self, value: self._host.smu.set_source_range(self._of().quantity, _number(value)),
    )
    autorange = _attribute(
        lambda self: _on_off(self._of().autorange),
        lambda self, value: self._put("autorange", _switch(value)),
    )
    autodelay = _attribute(
        lambda self: _on_off(self._of().autodelay),
        lambda self, value: self._put("autodelay", _switch(value)),
    )
    readback = _attribute(
        lambda self: _on_off(self._of().readback),
        lambda self, value: self._put("readback", _switch(value)),
    )
    highc = _attribute(
        lambda self: _on_off(self._of().high_capacitance),
        lambda self, value: self._put("high_capacitance", _switch(value)),
    )
    delay = _attribute(
        lambda self: self._of().delay_s,
        lambda self, value: (
            self._put("delay_s", _number(value)),
            self._put("autodelay", False),
        )[0],
    )
    offmode = _attribute(
        lambda self: f"smu.OFFMODE_{self._of().off_mode}",
        lambda self, value: self._host.smu.set_off_mode(
            self._of().quantity, str(value).removeprefix("smu.OFFMODE_")
        ),
    )


class _Autozero(_Table):
    """``smu.measure.autozero``."""

    enable = _attribute(
        lambda self: _on_off(self._host.sensing().autozero),
        lambda self, value: setattr(self._host.sensing(), "autozero", _switch(value)),
    )

    def once(self) -> None:
        self._host.delay(2 * self._host.sensing().nplc / MAINS_HZ)


class _Measure(_Table):
    """``smu.measure``."""

    func = _attribute(
        lambda self: _named(self._host.smu.sense_function),
        lambda self, value: setattr(
            self._host.smu,
            "sense_function",
            _function(value, "current", "voltage", "resistance"),
        ),
    )
    range = _attribute(
        lambda self: self._host.sensing().range.nominal,
        lambda self, value: self._host.smu.set_sense_range(
            self._host.sensing().quantity, _number(value)
        ),
    )
    autorange = _attribute(
        lambda self: _on_off(self._host.sensing().autorange),
        lambda self, value: setattr(self._host.sensing(), "autorange", _switch(value)),
    )
    autorangelow = _attribute(
        lambda self: self._host.sensing().lowest.nominal,
        lambda self, value: self._host.set_lowest(_number(value)),
    )
    nplc = _attribute(
        lambda self: self._host.sensing().nplc,
        lambda self, value: self._host.smu.set_nplc(self._host.sensing().quantity, _number(value)),
    )
    sense = _attribute(
        lambda self: f"smu.SENSE_{4 if self._host.sensing().four_wire else 2}WIRE",
        lambda self, value: self._host.set_sense(value),
    )
    count = _attribute(
        lambda self: self._host.smu.count,
        lambda self, value: self._host.set_count(value),
    )

    def read(self, buffer: str | None = None) -> float:
        return self._host.measure(buffer).value

    def readwithtime(self, buffer: str | None = None) -> tuple[float, int, float]:
        reading = self._host.measure(buffer)
        whole = int(reading.utc_s)
        return reading.value, whole, reading.utc_s - whole


class _Smu(_Table):
    """``smu``, with its names for choices."""

    ON, OFF = "smu.ON", "smu.OFF"
    FUNC_DC_CURRENT, FUNC_DC_VOLTAGE = "smu.FUNC_DC_CURRENT", "smu.FUNC_DC_VOLTAGE"
    FUNC_RESISTANCE = "smu.FUNC_RESISTANCE"
    SENSE_2WIRE, SENSE_4WIRE = "smu.SENSE_2WIRE", "smu.SENSE_4WIRE"
    TERMINALS_FRONT, TERMINALS_REAR = "smu.TERMINALS_FRONT", "smu.TERMINALS_REAR"

    terminals = _attribute(
        lambda self: f"smu.TERMINALS_{self._host.smu.terminals}",
        lambda self, value: setattr(
            self._host.smu, "terminals", str(value).removeprefix("smu.TERMINALS_")
        ),
    )

    def reset(self) -> None:
        self._host.smu.reset()


for _mode in OFF_MODES:
    setattr(_Smu, f"OFFMODE_{_mode}", f"smu.OFFMODE_{_mode}")
for _volts in (*PROTECTIONS, "NONE"):
    setattr(_Smu, f"PROTECT_{_volts}", f"smu.PROTECT_{_volts}")


_COLUMNS: dict[str, Callable[[Buffer, Reading], Any]] = {
    "readings": lambda buffer, x: x.value,
    "sourcevalues": lambda buffer, x: x.source,
    "statuses": lambda buffer, x: x.status,
    "sourcestatuses": lambda buffer, x: x.source_status,
    "units": lambda buffer, x: x.unit,
    "sourceunits": lambda buffer, x: x.source_unit,
    "seconds": lambda buffer, x: int(x.utc_s),
    "fractionalseconds": lambda buffer, x: x.utc_s - int(x.utc_s),
    "relativetimestamps": lambda buffer, x: buffer.relative_s(x),
}


class ReadingBuffer(_Table):
    """A reading buffer as a table; its columns are asked for cell by cell."""

    columns = tuple(_COLUMNS)

    def __init__(self, host: Host, name: str) -> None:
        super().__init__(host)
        self.name = name

    def _buffer(self) -> Buffer:
        return self._host.buffer(self.name)

    def cell(self, column: str, index: float) -> Any:
        try:
            return _COLUMNS[column](self._buffer(), self._buffer().at(int(index)))
        except IndexError:
            return None

    n = _attribute(lambda self: len(self._buffer()))
    startindex = _attribute(lambda self: self._buffer().start_index)
    endindex = _attribute(lambda self: self._buffer().end_index)
    capacity = _attribute(
        lambda self: self._buffer().capacity,
        lambda self, value: setattr(self._buffer(), "capacity", _capacity(value)),
    )
    fillmode = _attribute(
        lambda self: f"buffer.FILL_{'CONTINUOUS' if self._buffer().continuous else 'ONCE'}",
        lambda self, value: setattr(
            self._buffer(), "continuous", value in ("buffer.FILL_CONTINUOUS", 0)
        ),
    )

    def clear(self) -> None:
        self._buffer().clear()


def _capacity(value: Any) -> int:
    if not LEAST_CAPACITY <= _number(value) <= MOST_CAPACITY:
        raise RefusedError(*OUT_OF_RANGE)
    return int(value)


class _BufferLibrary(_Table):
    """``buffer``."""

    FILL_CONTINUOUS, FILL_ONCE = "buffer.FILL_CONTINUOUS", "buffer.FILL_ONCE"
    STYLE_COMPACT, STYLE_STANDARD = "buffer.STYLE_COMPACT", "buffer.STYLE_STANDARD"
    STYLE_FULL = "buffer.STYLE_FULL"
    STAT_PROTECTION, STAT_READBACK, STAT_OVER_TEMP = PROTECTION, READBACK, OVER_TEMPERATURE
    STAT_LIMIT, STAT_SENSE, STAT_OUTPUT = LIMITED, SENSE, OUTPUT

    def make(self, capacity: float, *style: Any) -> str:
        """Return the new buffer's name, of which Lua makes a table."""
        buffers = self._host.smu.buffers
        name = f"buffer{len(buffers)}"
        buffers[name] = Buffer(name, _capacity(capacity))
        return name

    def delete(self, buffer: str) -> None:
        self._host.smu.buffers.pop(buffer, None)


class _Timer(_Table):
    """``timer``."""

    def cleartime(self) -> None:
        self._host.smu.clear_timer()

    def gettime(self) -> float:
        return self._host.smu.timer_s()


class _EventLog(_Table):
    """``eventlog``."""

    SEV_ERROR, SEV_WARN, SEV_INFO, SEV_ALL = ERROR, WARNING, INFORMATION, 7

    def getcount(self, severities: float = 7) -> int:
        return self._host.events.count(int(severities))

    def next(self, severities: float = 7) -> tuple[Any, ...]:
        event = self._host.events.next(int(severities))
        if event is None:
            event = Event(0, "No error", 0, 0.0)
        whole = int(event.utc_s)
        return (event.number, event.text, event.severity, 0, whole, event.utc_s - whole)

    def clear(self) -> None:
        self._host.events.clear()

    def post(self, text: str, severity: float = INFORMATION) -> None:
        self._host.events.post(1000, str(text), self._host.smu.utc_s(), int(severity))

    def suppress(self, number: float) -> None:
        """Do nothing: no event of that kind is posted here."""


class _LocalNode(_Table):
    """``localnode``."""

    ENABLE, DISABLE = "localnode.ENABLE", "localnode.DISABLE"

    def __init__(self, host: Host, identity: Identity) -> None:
        super().__init__(host)
        self.model, self.serialno = identity.model, identity.serial_number
        self.version = identity.firmware
        self.linefreq = MAINS_HZ
        self.prompts = self.DISABLE
        self.prompts4882 = self.DISABLE
        self.showevents: Any = 0

    def gettime(self) -> int:
        return int(self._host.smu.utc_s())


class _DigitalLine(_Table):
    """``digio.line[n]``."""

    mode = "digio.MODE_DIGITAL_IN"
    state = "digio.STATE_LOW"


class _DigitalOut(_Table):
    """``trigger.digout[n]``."""

    logic = "trigger.LOGIC_NEGATIVE"
    pulsewidth = 1e-5
    stimulus = "trigger.EVENT_NONE"

    def __init__(self, host: Host, line: int, wire: _DigitalLine) -> None:
        super().__init__(host)
        self._line, self._wire = line, wire

    def pulse(self) -> None:
        if self._wire.mode != "digio.MODE_TRIGGER_OUT":
            self._host.post(_CONFLICT, f"Settings conflict: line {self._line} is no trigger output")
            return
        self._host.smu.pulse(self._line)


class _Digio(_Table):
    """``digio``."""

    STATE_HIGH, STATE_LOW = "digio.STATE_HIGH", "digio.STATE_LOW"
    MODE_DIGITAL_IN, MODE_DIGITAL_OUT = "digio.MODE_DIGITAL_IN", "digio.MODE_DIGITAL_OUT"
    MODE_TRIGGER_IN, MODE_TRIGGER_OUT = "digio.MODE_TRIGGER_IN", "digio.MODE_TRIGGER_OUT"

    def readport(self) -> int:
        """Return the lines as bits, the first one the lowest."""
        lines = self._host.digital_lines.items()
        return sum(1 << line - 1 for line, wire in lines if wire.state == self.STATE_HIGH)

    def writeport(self, bits: float) -> None:
        """Set all lines that are digital outputs."""
        self._host.command(lambda: self._set(bits))

    def _set(self, bits: float) -> None:
        lines = self._host.digital_lines
        if not isinstance(bits, int | float) or not 0 <= bits < 1 << len(lines):
            raise RefusedError(*OUT_OF_RANGE)
        for line, wire in lines.items():
            if wire.mode == self.MODE_DIGITAL_OUT:
                high = int(bits) >> line - 1 & 1
                wire.state = self.STATE_HIGH if high else self.STATE_LOW


class _Trigger(_Table):
    """``trigger``: the digital outputs."""

    LOGIC_POSITIVE, LOGIC_NEGATIVE = "trigger.LOGIC_POSITIVE", "trigger.LOGIC_NEGATIVE"


class _Display(_Table):
    """``display``: taken note of."""

    TEXT1, TEXT2, SCREEN_USER_SWIPE = "display.TEXT1", "display.TEXT2", "display.SCREEN_USER_SWIPE"

    def settext(self, line: str, text: str) -> None:
        """Do nothing: nobody looks."""

    def changescreen(self, screen: str) -> None:
        """Do nothing: nobody looks."""

    def clear(self) -> None:
        """Do nothing: nobody looks."""


def tables(host: Host, identity: Identity) -> dict[str, Any]:
    """Return the tables by their paths; numbers in a path are keys."""
    found: dict[str, Any] = {
        "smu": _Smu(host),
        "smu.source": _Source(host),
        "smu.source.vlimit": _Limit(host, "current"),
        "smu.source.ilimit": _Limit(host, "voltage"),
        "smu.source.protect": _Protect(host),
        "smu.measure": _Measure(host),
        "smu.measure.autozero": _Autozero(host),
        "buffer": _BufferLibrary(host),
        "timer": _Timer(host),
        "eventlog": _EventLog(host),
        "localnode": _LocalNode(host, identity),
        "digio": _Digio(host),
        "digio.line": _Table(host),
        "trigger": _Trigger(host),
        "trigger.digout": _Table(host),
        "display": _Display(host),
    }
    for line, wire in host.digital_lines.items():
        found[f"digio.line.{line}"] = wire
        found[f"trigger.digout.{line}"] = _DigitalOut(host, line, wire)
    return found
