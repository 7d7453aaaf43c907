"""One program that runs on an instrument, and what is noted of it."""

import threading
from collections import deque
from dataclasses import dataclass, field

from instruments.potentiostat._programmed import times_left_out
from instruments.potentiostat.contract import ProgramEnd, Sample
from instruments.potentiostat.keithley.script import SAFETY, Program
from instruments.potentiostat.keithley.stream import ProgramStream
from techniques import Counters, SafetyLimits

_OPEN_CIRCUIT = (
    "open circuit was measured at 0 A with the output on, as these instruments sense remotely then "
    "only: the error of their source at 0 A flows through the cell, up to 1 nA in the range of 1 uA"
)


@dataclass
class _Passed:
    """By step: the value furthest beyond one safety limit, in the steps that passed it."""

    name: str
    limit: float | None
    unit: str
    sign: int = 1
    furthest: dict[int, float] = field(default_factory=dict)

    def compare(self, step: int, value: float) -> None:
        if self.limit is not None and self.sign * value > self.sign * self.limit:
            choose = max if self.sign > 0 else min
            self.furthest[step] = choose(self.furthest.get(step, value), value)

    def note(self, ended: int | None) -> str | None:
        values = [value for step, value in self.furthest.items() if step != ended]
        if not values:
            return None
        steps = "1 step" if len(values) == 1 else f"{len(values)} steps"
        most = max(values) if self.sign > 0 else min(values)
        return (
            f"{self.name} {self.limit:g} {self.unit} was passed at the end of {steps} (up to "
            f"{most:.4g} {self.unit}) before the step's own limit ended it"
        )


class Run:
    """One program on the instrument, and who is concerned with it."""

    def __init__(self, program: Program, limits: SafetyLimits) -> None:
        self.program = program
        self.stream = ProgramStream(program)
        self.reader: int | None = None
        self.ended = threading.Event()
        self.abort_asked = False
        self.stop_reason: str | None = None
        self.damage: deque[int] = deque()
        self.lines = 0
        self.checked = 0
        self.last: Sample | None = None
        self._passed = (
            _Passed("potential_max_v", limits.potential_max_v, "V"),
            _Passed("potential_min_v", limits.potential_min_v, "V", -1),
            _Passed("current_max_a", limits.current_max_a, "A"),
        )

    @property
    def lost(self) -> int:
        """Return how many rows were sent but did not arrive whole."""
        return self.stream.lost

    @property
    def counters(self) -> Counters:
        """Return where it stands."""
        return self.stream.counters

    @property
    def end(self) -> ProgramEnd:
        """Return where it stood; see ``Potentiostat.program_end``."""
        return self.stream.end

    def compare(self, row: Sample | None) -> None:
        """Keep what lies beyond a safety limit although the program does not end for it."""
        block = self.stream.block
        if row is None or block is None or block.kind == "open_circuit":
            return
        high, low, current = self._passed
        if block.kind == "galvanostatic":
            high.compare(row.step, row.potential_v)
            low.compare(row.step, row.potential_v)
        else:
            current.compare(row.step, abs(row.current_a))

    def notes(self) -> list[str]:
        """Return what must be said of the program although it did not fail."""
        # The step that a safety limit did end is told by the error.
        ended = self.stream.step if self.stream.ending == SAFETY else None
        found = [note for x in self._passed if (note := x.note(ended)) is not None]
        found += times_left_out(self.stream.odd_times)
        return [*found, _OPEN_CIRCUIT] if self.program.open_circuit else found
