"""What a compiled program is, and how its parts are written in Lua."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from instruments.potentiostat.contract import SetCurrent, StepKind
from techniques import Counters

SCRIPT = "operando"
END, STOP, SAFETY, FAULT = "END", "STOP", "SAFETY", "FAULT"
# What ended a step, in its program: 0 the time is over, 1.. the step's own limits, then these.
SAFETY_HIGH, SAFETY_LOW, SAFETY_CURRENT, WRONG_WAY = 101, 102, 103, 104

_VOLTAGE_RANGES_V = (0.2, 2.0, 20.0)

Value = float | int | bool | Sequence[float] | None


@dataclass(frozen=True)
class Block:
    """One elementary step as written; a loop runs it several times.

    Attributes:
        kind: what it does.
        role: as in rows.
        current_a: current that is set, A, IUPAC; 0 where none is.
        silence_s: longest time between two lines if all is well, s.
        longest_s: longest time the step can last, s.
    """

    kind: StepKind
    role: int
    current_a: float
    silence_s: float
    longest_s: float


@dataclass(frozen=True)
class Program:
    """A compiled technique.

    Attributes:
        text: the script.
        blocks: what the numbers of blocks in its lines mean.
        begin: the counters from which it goes on.
        currents: each current that a step sets, with its range, ascending.
        open_circuit: whether it measures at open circuit.
    """

    text: str
    blocks: tuple[Block, ...]
    begin: Counters = field(default_factory=Counters)
    currents: tuple[SetCurrent, ...] = ()
    open_circuit: bool = False

    @property
    def ranges_a(self) -> tuple[float, ...]:
        """Return the current ranges in which a step sets a current, A, ascending."""
        return tuple(sorted({one.range_a for one in self.currents}))

    @property
    def meaning(self) -> str:
        """Return a digest of what the numbers of its blocks mean."""
        return hashlib.sha256(repr(self.blocks).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Wiring:
    """How an instrument is wired to its cell and to others.

    Attributes:
        mains_frequency_hz: readings last for periods of it.
        four_wire: whether the sense leads are connected.
        high_capacitance: whether the source is slowed down for cells that make it oscillate.
        edge_line: digital line that pulses for 1 ms when a plate or strip step begins.
    """

    mains_frequency_hz: float = 50.0
    four_wire: bool = True
    high_capacitance: bool = False
    edge_line: int | None = None


def voltage_range(value_v: float) -> float:
    """Return the smallest range of the source that covers a potential, V."""
    return next((x for x in _VOLTAGE_RANGES_V if value_v <= x * (1 + 1e-9)), _VOLTAGE_RANGES_V[-1])


def number(value: float) -> str:
    """Return a number as Lua reads it."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written into a program")
    return f"{value:.12g}"


def table(values: dict[str, Value]) -> str:
    """Return a table; what is None is left out."""
    inside = ", ".join(f"{key} = {_lua(x)}" for key, x in values.items() if x is not None)
    return "{" + inside + "}"


def _lua(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number(value)
        case None:
            return "nil"
    return "{" + ", ".join(number(x) for x in value) + "}"
