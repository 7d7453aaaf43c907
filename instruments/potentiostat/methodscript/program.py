"""Compile a technique into one MethodSCRIPT program that runs on the instrument by itself.

Cycles are loops of the script, limits are comparisons inside its measurement loops, so that an
experiment goes on within its limits when the computer dies. How a program talks:

* each step begins with a *header* package (``eb`` time the step before has taken, ``ja`` number of
  the block, ``jb`` step, ``jc`` cycle, ``jd`` half-cycle), sent twice so that one damaged line does
  not lose the structure; then the timer starts anew, which keeps its resolution;
* rows are packages of ``eb`` time, ``ja`` number of the row in the program, and ``ab`` potential
  and the current (galvanostatic), ``da`` set potential and ``ba`` current (holds and sweeps),
  ``ab`` (open circuit), or ``dc``, ``cc``, ``cd`` (impedance); with a reference electrode also
  ``ag`` (E_WE - E_CE; not in points of a spectrum, but in rows before and after it); by the number
  a row that got lost on the way is noticed. The last row of a step is sent twice, under the same
  number: the charge of the step hangs on it;
* at its end a program sends ``eb`` and ``ja``, the number of the last row, and then ``END`` if it
  is complete, ``STOP ...`` or ``SAFETY ...`` if a limit ended it;
* when the cell has been opened for good, also by an abort, it sends ``eb`` and ``jb``: how far the
  step had come. If current flowed until then, a last row of that moment, with the potential of the
  last check, comes before: the charge of an interrupted step hangs on it.

Where the instrument has a file store, all of this also goes to a file of it (``LOG`` is the first
line), so that what nobody listened to can be collected later: `instrument_log`.

Limits are checked in every iteration of a measurement loop, whatever is recorded. The charge of a
step is the set current times the time: a time limit of the loop; where the potential is set it is
counted. Safety limits on the potential act while current is driven, and those on the current while
the potential is set; at open circuit nothing drives the cell. With a reference electrode E_WE -
E_CE has limits in every step that drives: the window, and its own.

With a reference electrode the last potentials of an open circuit with which the program begins say
whether that is there: if not, or if they are no numbers, the program ends with nothing driven.

An impedance loop reports impedances only, so nothing can be compared inside it. What can be, is
compared around it, and a value beyond a limit ends the program with the cell open:

* at open circuit, the potential measured just before, amplitude included, before the cell is
  closed; the bias is that potential, so it stays within the window during the spectrum;
* at another bias, the potential beforehand (``Assignment.violations``) and the current, in a short
  hold at the bias before and after the spectrum; the current range is the one that just covers the
  limit. During the spectrum the current is not watched;
* galvanostatic, the peak current beforehand, and the potential just before, with the cell open, and
  just after at no current. The swing of the potential during the spectrum is not watched.

With a reference electrode these potentials are measured before and after every spectrum, also after
one at open circuit, together with E_WE - E_CE: each time one row is sent.
"""

import hashlib
from dataclasses import dataclass, field

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat.contract import Capabilities
from instruments.potentiostat.methodscript.galvanostatic import galvanostatic
from instruments.potentiostat.methodscript.impedance import impedance
from instruments.potentiostat.methodscript.open_circuit import open_circuit
from instruments.potentiostat.methodscript.potentiostatic import (
    cyclic_voltammetry,
    linear_sweep,
    potentiostatic,
)
from instruments.potentiostat.methodscript.script import (
    END,
    LOG,
    Block,
    Script,
    farewell,
    package_of,
)
from techniques import (
    Assignment,
    Counters,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Recording,
    ReferenceBound,
    Repeat,
    Sequence,
    Technique,
)
from techniques import Block as NamedPart

# The maker's line length, line end included.
LONGEST_LINE = 255

_VARIABLES = """\
var t
var p
var c
var f
var zr
var zi
var bias
var due
var gap
var sent
var high
var low
var mark
var win
var diff
var why
var blk
var row
var step
var cyc
var half
var live"""


@dataclass(frozen=True)
class Program:
    """A compiled technique: the script, without its final blank line, and what its blocks mean.

    Attributes:
        text: the script.
        blocks: what the numbers in its headers mean.
        begin: the counters from which it goes on.
        log: path of the file to which it also writes; ``None``: it does not.
        longest_log_bytes: how much it can send at most.
        reference: whether its rows also tell E_WE - E_CE.
        reference_bound: what it demands of the reference before it drives anything.
    """

    text: str
    blocks: tuple[Block, ...]
    begin: Counters = field(default_factory=Counters)
    log: str | None = None
    longest_log_bytes: int = 0
    reference: bool = False
    reference_bound: ReferenceBound | None = None

    @property
    def meaning(self) -> str:
        """Return a digest of what its headers mean; logs are only read with the same."""
        return hashlib.sha256(repr(self.blocks).encode()).hexdigest()[:16]


def log_path(name: str) -> str:
    """Return the path of a log in the instrument's file store."""
    return f"/operando-{name}.txt"


def compile_program(
    assignment: Assignment, capabilities: Capabilities, *, mains_frequency_hz: int = 50
) -> Program:
    """Return the program for ``assignment`` on an instrument with ``capabilities``.

    Raises:
        UnsupportedTechniqueError: The instrument cannot do it; says what and why.
        SafetyLimitError: The technique asks for more than its limits allow.
    """
    violations = assignment.violations()
    if violations:
        raise SafetyLimitError(
            f"{capabilities.model}: the technique is outside its safety limits: "
            + "; ".join(violations)
        )
    assignment = assignment.model_copy(update={"limits": assignment.bounds})
    return _Compiler(assignment, capabilities, mains_frequency_hz).program()


class _Compiler:
    def __init__(
        self, assignment: Assignment, capabilities: Capabilities, mains_frequency_hz: int
    ) -> None:
        self.assignment = assignment
        self.capabilities = capabilities
        self.mains_frequency_hz = mains_frequency_hz
        self.script = Script(assignment, capabilities)

    def program(self) -> Program:
        script = self.script
        if script.reference:
            script.variables.add("w")
        self._technique(self.assignment.technique)
        loops = [f"var n{level}" for level in range(1, script.deepest + 1)]
        loops += [f"var {name}" for name in sorted(script.variables)]
        start, name = self.assignment.begin, self.assignment.instrument_log
        path = None if name is None else log_path(name)
        begin = [
            *self._begin_log(path),
            "store_var row 0i ja",
            f"store_var step {start.step}i jb",
            f"store_var cyc {start.cycle}i jc",
            f"store_var half {start.half_cycle}i jd",
            "store_var live 0i ja",
            "set_pgstat_chan 0",
            f"set_acquisition_frac_autoadjust {self.mains_frequency_hz}",
            "timer_start",
        ]
        # First of all the cell: whatever else the end does may fail.
        end = [*farewell(END), "on_finished:", "cell_off", "timer_get t"]
        last = package_of(("t", "row", *script.names("p", "c")))
        end += ["if live == 1i", "add_var row 1i", *last, "endif"]
        end += package_of(("t", "step"))
        end += ["set_script_output 1", "file_close"] if path is not None else []
        lines = [*_VARIABLES.splitlines(), *loops, *begin, *script.lines, *end]
        too_long = [line for line in lines if len(line) > LONGEST_LINE]
        if too_long:
            raise UnsupportedTechniqueError(
                f"{self.capabilities.model}: a script line would be too long: {too_long[0]!r}"
            )
        return Program(
            "\n".join(lines),
            tuple(script.blocks),
            start,
            path,
            script.longest_log_bytes,
            script.reference,
            self.assignment.reference_bound if script.reference else None,
        )

    def _begin_log(self, path: str | None) -> list[str]:
        """Open the log before anything else: what fails here has not touched the cell."""
        if path is None:
            return []
        # 2: a new file. 3: to the line and to the file.
        return [f'file_open "{path}" 2', "set_script_output 3", f'send_string "{LOG} {path}"']

    def _technique(self, technique: Technique) -> None:
        match technique:
            case OpenCircuit():
                open_circuit(self.script, technique)
            case GalvanostaticStep():
                galvanostatic(self.script, technique)
            case ImpedanceSpectrum():
                impedance(self.script, technique)
            case Sequence():
                for step in technique.steps:
                    self._technique(step)
            case Repeat():
                self.script.begin_loop(technique.times)
                self._technique(technique.step)
                self.script.end_loop(technique.times)
            case NamedPart():
                self._technique(technique.step)
            case PlateStripCycle():
                self._plate_strip_cycle(technique)
            case PotentiostaticStep():
                potentiostatic(self.script, technique)
            case LinearSweep():
                linear_sweep(self.script, technique)
            case CyclicVoltammetry():
                cyclic_voltammetry(self.script, technique)

    def _plate_strip_cycle(self, technique: PlateStripCycle) -> None:
        first, second = technique.halves
        every = technique.between_every
        often = technique.between is None or every == technique.between_first == 1
        # How many cycles have no step between before the next that has one.
        skipped = f"k{self.script.depth + 1}"
        if not often:
            self.script.variables.add(skipped)
            self.script.add(f"store_var {skipped} {technique.between_first - 1}i ja")
        self.script.begin_loop(technique.cycles)
        self.script.add("add_var cyc 1i")
        for step in technique.goes_on_with(first):
            self._technique(step)
        self._rest(technique.rest_s, first.record)
        if technique.between is not None and often:
            self._technique(technique.between)
        elif technique.between is not None:
            self.script.add(f"if {skipped} == 0i")
            self._technique(technique.between)
            self.script.add(f"store_var {skipped} {every}i ja", "endif", f"sub_var {skipped} 1i")
        for step in technique.goes_on_with(second):
            self._technique(step)
        self._rest(technique.rest_s, second.record)
        self.script.end_loop(technique.cycles)

    def _rest(self, duration_s: float, record: Recording) -> None:
        if duration_s > 0:
            open_circuit(self.script, OpenCircuit(duration_s=duration_s, record=record))
