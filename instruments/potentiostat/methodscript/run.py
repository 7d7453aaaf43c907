"""One program that runs on an instrument, and what is noted of it."""

import threading
from collections import deque
from dataclasses import dataclass, field

from instruments.potentiostat._programmed import times_left_out
from instruments.potentiostat.contract import ImpedancePoint, ProgramEnd, Sample
from instruments.potentiostat.methodscript.program import Program
from instruments.potentiostat.methodscript.stream import ProgramStream
from techniques import Counters, SafetyLimits


@dataclass
class _Beyond:
    """By step: the value furthest beyond one safety limit, in the steps that passed it."""

    name: str
    limit: float | None
    unit: str
    word: str
    sign: int = 1
    furthest: dict[int, float] = field(default_factory=dict)

    def compare(self, step: int, value: float) -> None:
        if self.limit is not None and self.sign * value > self.sign * self.limit:
            before = self.furthest.get(step, value)
            self.furthest[step] = max(before, value) if self.sign > 0 else min(before, value)

    def note(self, ended: int | None) -> str | None:
        values = [value for step, value in self.furthest.items() if step != ended]
        if not values:
            return None
        steps = "1 step" if len(values) == 1 else f"{len(values)} steps"
        most = max(values) if self.sign > 0 else min(values)
        return (
            f"{self.name} {self.limit:g} {self.unit} was passed at the end of {steps} "
            f"({self.word} {most:.4g} {self.unit}) before the step's own limit ended it"
        )


class Run:
    """One program on the instrument, and who is concerned with it."""

    def __init__(self, program: Program, limits: SafetyLimits) -> None:
        self.program = program
        self.beyond = [
            _Beyond("potential_max_v", limits.potential_max_v, "V", "highest"),
            _Beyond("potential_min_v", limits.potential_min_v, "V", "lowest", -1),
            _Beyond("current_max_a", limits.current_max_a, "A", "highest"),
            _Beyond("cell_potential_max_v", limits.cell_potential_max_v, "V", "largest"),
        ]
        self.stream = ProgramStream(program)
        self.reader: int | None = None
        self.ended = threading.Event()
        self.abort_asked = False
        self.behind_its_end: bytes | None = None  # a line that shows that it was none
        self.stop_reason: str | None = None
        self.damage: deque[int] = deque()
        self.lines = 0
        self.checked: set[int] = set()
        self.newest: Sample | None = None
        self.unreadable_rows = 0

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

    def compare(self, row: Sample | ImpedancePoint | None) -> None:
        """Keep what lies beyond a safety limit although the program does not end for it."""
        block = self.stream.block
        if not isinstance(row, Sample) or block is None:
            return
        self.newest = row
        if block.kind in ("open_circuit", "impedance"):
            return
        high, low, current, across = self.beyond
        if block.kind == "galvanostatic":
            high.compare(row.step, row.potential_v)
            low.compare(row.step, row.potential_v)
        else:
            current.compare(row.step, abs(row.current_a))
        # It is beyond nothing where it is not a number.
        high.compare(row.step, row.cell_potential_v)
        low.compare(row.step, row.cell_potential_v)
        across.compare(row.step, abs(row.cell_potential_v))

    def notes(self) -> list[str]:
        """Return which safety limits were passed at the ends of steps that ended by themselves."""
        # The step that a safety limit did end is told by the error.
        ended = self.stream.step if self.stream.safety is not None else None
        notes = [note for x in self.beyond if (note := x.note(ended)) is not None]
        return [*notes, *times_left_out(self.stream.odd_times)]
