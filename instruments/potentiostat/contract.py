"""What every potentiostat driver offers, whatever its wire language."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from instruments.abilities import Abilities, Span
from techniques import Assignment, Counters

# Role codes of rows; what the technique calls plate and strip, seen from the metal electrode.
PLATE, REST, STRIP, IMPEDANCE, OTHER = -1, 0, 1, 2, 3
HOLD, SWEEP, VOLTAMMOGRAM = 4, 5, 6
# Those in which something is driven through the cell.
DRIVEN = (PLATE, STRIP, OTHER, HOLD, SWEEP, VOLTAMMOGRAM)

# What a step does, whatever its role.
StepKind = Literal[
    "open_circuit",
    "galvanostatic",
    "potentiostatic",
    "linear_sweep",
    "cyclic_voltammetry",
    "impedance",
]

# Set in `flags` beside the instrument's own bits: rows were lost on the line just before this row.
LOST_BEFORE = 16
# The row was not heard on the line: it was collected from the instrument's own log, later.
COLLECTED = 32
# The row is of a look at the cell, before an experiment goes on or after something ended it, and of
# no step of the experiment.
LOOK = 64

# What a driver says, among other things, when a safety limit ended a program.
# What is told of a program that was left to its own end, and had not come there.
STILL_RUNNING = "its program goes on, within the limits that the instrument keeps"
SAFETY_LIMIT_PASSED = "the safety limit"


class Sample(NamedTuple):
    """One row measured by a potentiostat.

    Signs are the instrument's: E = E_WE - E_CE, with a reference electrode E = E_WE - E_reference;
    positive current oxidises the working electrode.

    Attributes:
        t_s: seconds since the program started, from the instrument's own timer; monotone.
        step_t_s: seconds since the step began, the instrument's timer as it was sent.
        potential_v: measured potential, V; in holds and sweeps the one that is set.
        current_a: current, A; 0 at open circuit.
        cycle: 0 before the first plate/strip cycle, then 1, 2, ...
        half_cycle: counts plate and strip steps from 1; a rest keeps the one before it.
        step: counts the elementary steps executed, from 1.
        role: -1 plate, 0 rest, +1 strip, 2 impedance, 3 galvanostatic without a role, 4
            potentiostatic without a role, 5 linear sweep, 6 cyclic voltammetry.
        flags: status bits of the instrument: 1 timing not met, 2 overload, 4 underload, 8 overload
            warning; and of the driver: 16 one or more rows before this one were lost on the line
            (``LOST_BEFORE``), 32 the row was collected from the instrument's own log
            (``COLLECTED``), 64 it is of a look at the cell, and of no step of the experiment
            (``LOOK``). 0 is well.
        arrival_ns: host clock (CLOCK_BOOTTIME) of the read that brought the row.
        cell_potential_v: E_WE - E_CE, V, where a reference electrode makes it another; else NaN.
    """

    t_s: float
    step_t_s: float
    potential_v: float
    current_a: float
    cycle: int
    half_cycle: int
    step: int
    role: int
    flags: int
    arrival_ns: int
    cell_potential_v: float = math.nan


class ImpedancePoint(NamedTuple):
    """One frequency of one impedance spectrum; ``spectrum`` counts spectra from 1.

    It is 0 in the look at a cell before an experiment goes on (flag ``LOOK``).

    ``z_imag_ohm`` is the imaginary part: negative is capacitive. The other attributes are those of
    ``Sample``.
    """

    t_s: float
    spectrum: int
    cycle: int
    half_cycle: int
    step: int
    frequency_hz: float
    z_real_ohm: float
    z_imag_ohm: float
    flags: int
    arrival_ns: int


class SetCurrent(NamedTuple):
    """The range in which a program sets a current.

    Attributes:
        current_a: magnitude of the current, A.
        range_a: nominal current of the range, A.
    """

    current_a: float
    range_a: float


class ZeroCurrent(NamedTuple):
    """What an instrument reads for the current when none flows, in one of its ranges.

    Attributes:
        range_a: nominal current of the range, A.
        current_a: the reading, A, signed like ``Sample.current_a``.
        uncertainty_a: standard uncertainty of its mean, A.
    """

    range_a: float
    current_a: float
    uncertainty_a: float


@dataclass(frozen=True)
class Capabilities:
    """What a potentiostat can do; unsupported techniques are refused by this table.

    Attributes:
        model: name of the model.
        galvanostatic: whether it can control the current.
        potential_min_v: lowest potential it can apply or measure, V.
        potential_max_v: highest, V.
        current_max_a: largest current, A.
        current_ranges_a: nominal current ranges, A, ascending.
        frequency_max_hz: highest frequency of an impedance spectrum, Hz.
        amplitude_max_v: largest amplitude of one, V rms.
        keeps_log: whether models like this can keep the rows of a program themselves.
        techniques: the elementary steps it can do, by their ``type``.
        scan_rate_min_v_s: slowest sweep of the potential, V/s.
        scan_rate_max_v_s: fastest sweep in which every point is compared with the limits, V/s.
        current_range_reach: how many times its nominal value a current range carries.
        limits_note: what must be known of limits that do not run on the instrument itself; empty
            if they do.
    """

    model: str
    galvanostatic: bool
    potential_min_v: float
    potential_max_v: float
    current_max_a: float
    current_ranges_a: tuple[float, ...]
    frequency_max_hz: float
    amplitude_max_v: float
    keeps_log: bool = False
    techniques: frozenset[str] = frozenset()
    scan_rate_min_v_s: float = 0.0
    scan_rate_max_v_s: float = 0.0
    current_range_reach: float = 1.0
    limits_note: str = ""

    def current_range_a(self, current_a: float) -> float:
        """Return the nominal value of the range that a current runs on, A.

        It is the smallest that carries the current's magnitude; the largest if none does.
        """
        carried = abs(current_a) / self.current_range_reach
        ranges = self.current_ranges_a
        # A current that was computed may differ from the edge of a range in its last bits.
        return next((x for x in ranges if carried <= x * (1 + 1e-9)), ranges[-1])

    def abilities(self) -> Abilities:
        """Return the same in the words in which every driver tells what it can do."""
        limits = {
            "potential": Span(self.potential_min_v, self.potential_max_v, "V"),
            "current": Span(-self.current_max_a, self.current_max_a, "A"),
            "current range": Span(self.current_ranges_a[0], self.current_ranges_a[-1], "A"),
            "scan rate": Span(self.scan_rate_min_v_s, self.scan_rate_max_v_s, "V/s"),
        }
        if self.frequency_max_hz > 0:
            limits["frequency"] = Span(None, self.frequency_max_hz, "Hz")
            limits["amplitude"] = Span(None, self.amplitude_max_v, "V rms")
        return Abilities(
            model=self.model,
            does=tuple(sorted(self.techniques)),
            limits=limits,
            limits_kept_by="software" if self.limits_note else "instrument",
            limits_note=self.limits_note,
        )


@dataclass(frozen=True)
class ProgramEnd:
    """Where the last program stood when it ended, as the instrument told it.

    Attributes:
        ending: how it ended. ``complete``: after its last step. ``stopped``: a limit of the
            technique. ``safety``: a safety limit. ``opened``: it was aborted, and the instrument
            told when it opened the cell. ``unknown``: it did not tell.
        kind: the kind of the step that was begun last, ``None`` if none was.
        role: its role code.
        counters: of that step, and the time of the end.
        step_s: time from the edge of that step to the end, s; 0 without one.
    """

    ending: Literal["complete", "stopped", "safety", "opened", "unknown"]
    kind: str | None
    role: int
    counters: Counters
    step_s: float


@dataclass(frozen=True)
class ProgramLog:
    """What an instrument wrote down itself of a program that has ended.

    Attributes:
        rows: all of them, in order; ``arrival_ns`` is 0, nobody heard them.
        ending: how the program ended. ``complete``: after its last step. ``stopped``: a limit of
            the technique. ``safety``: a safety limit. ``opened``: it was aborted, and wrote down
            when it opened the cell. ``unknown``: the log just stops, because the power went, an
            error ended the program, or the log was cut off.
        reason: the limit that ended it, if one did.
        kind: the kind of the step that was begun last.
        role: its role code.
        counters: of that step, and the time of the end, or of the last row if it is unknown.
        step_s: time from the edge of that step to the end, or to its last row, s; 0 without one.
        lost_rows: how many rows are missing within it.
        damage: what is wrong with the log itself, empty if nothing is. The ending is ``unknown``
            then, unless it is ``safety``.
        cut: whether it does not tell how far the program had come even if it is believed: it is
            empty, cut off, or a step began in it that cannot be told.
    """

    rows: tuple[Sample | ImpedancePoint, ...]
    ending: Literal["complete", "stopped", "safety", "opened", "unknown"]
    reason: str
    kind: StepKind | None
    role: int
    counters: Counters
    step_s: float
    lost_rows: int
    damage: str = ""
    cut: bool = False


class Potentiostat(Protocol):
    """A driver: knows the wire, knows nothing of plans. Blocking; SI units.

    Every failure is an InstrumentError.
    """

    @property
    def verified_on(self) -> str | None:
        """Return when and with which firmware this driver was confirmed on hardware, or None."""
        ...

    @property
    def stop_reason(self) -> str | None:
        """Return why the last program ended before its last step, ``None`` if it did not.

        Set when ``samples`` is exhausted; never set by a failure, which raises.
        """
        ...

    @property
    def notes(self) -> list[str]:
        """Return what else must be said of the last program although it did not fail, each once.

        A safety limit that was passed by the very check in which a step's own limit ended the
        step, for example.
        """
        ...

    @property
    def lost_rows(self) -> int:
        """Return how many rows of the last program were sent but did not arrive whole."""
        ...

    def connect(self) -> None:
        """Open the port, end whatever runs, check who is there, and open the cell.

        Blocks up to 10 s, for an instrument that does not answer at once.
        """
        ...

    def close(self) -> None:
        """Open the cell and release the port; safe to call twice."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``firmware``, ``serial_number`` and ``address`` of what answered."""
        ...

    def capabilities(self) -> Capabilities:
        """Return what the connected instrument can do."""
        ...

    def check(self, assignment: Assignment) -> None:
        """Raise what ``start`` would, without touching the instrument.

        Raises UnsupportedTechniqueError or SafetyLimitError.
        """
        ...

    def current_ranges(self, assignment: Assignment) -> tuple[SetCurrent, ...]:
        """Return each current that ``assignment`` sets with its range, ascending.

        Raises what ``check`` does.
        """
        ...

    def measure_zero(self, assignment: Assignment) -> tuple[ZeroCurrent, ...]:
        """Read the current with the cell open, in each range in which ``assignment`` sets one.

        Blocks about 1 s per range; the cell stays open. Empty where no current is set. Raises
        InstrumentError if the instrument does not do it; a program can be run all the same.
        """
        ...

    def start(self, assignment: Assignment) -> None:
        """Load ``assignment`` and start it; return when the instrument has accepted it.

        Limits, cycles and cut-offs run on the instrument from then on. Raises
        InstrumentFaultError if it is refused: the cell is then still open.
        """
        ...

    def samples(self) -> Iterator[Sample | ImpedancePoint]:
        """Yield rows as they arrive until the program has ended; to be used by one thread.

        Raises, always after the last row that arrived: SafetyLimitError if a safety limit ended
        the program, InstrumentFaultError for an error of the instrument, ProtocolError if rows
        may be missing, TransportError if the instrument fell silent. The cell is open then,
        unless the message says that this is unknown.
        """
        ...

    def abort(self) -> None:
        """End the program and open the cell; callable from any thread and in any state.

        Returns when the instrument has confirmed it; raises TransportError if it does not.
        """
        ...

    # -- the instrument's own log

    @property
    def counters(self) -> Counters:
        """Return where the last program stood at its end; what goes on begins with these."""
        ...

    @property
    def program_end(self) -> ProgramEnd:
        """Return where the last program stood; to be asked when ``samples`` is exhausted."""
        ...

    def prepare_log(self, assignment: Assignment, may_go: Callable[[str], bool]) -> str | None:
        """Make room for the log that ``assignment`` names; logs may go of which ``may_go`` says so.

        Returns why there will be none (no file store, no room), ``None`` if there will be one. A
        log that is refused at ``start`` all the same never keeps a program from running.
        """
        ...

    @property
    def log_kept(self) -> bool:
        """Return whether the instrument has said that it keeps the log of the last program."""
        ...

    def meaning(self, assignment: Assignment) -> str:
        """Return a digest of how rows of ``assignment`` are written down; see ``read_log``."""
        ...

    def read_log(self, assignment: Assignment) -> ProgramLog | None:
        """Return what the instrument kept of ``assignment``; ``None`` if it has no such log.

        To be asked while nothing runs. A log that cannot be had or understood says so in its
        ``damage``. Raises TransportError if the instrument does not answer at all.
        """
        ...

    def delete_log(self, name: str) -> None:
        """Forget the log of that name, if there is one."""
        ...
