"""The rules that hold where a protocol says nothing of rules."""

from collections import Counter
from collections.abc import Iterator

from techniques.experiments import (
    Formation,
    FullCellCycling,
    HalfCellCycling,
    ImpedanceSeries,
    NucleationSeries,
    Pulses,
    RateCapability,
    ReservoirEfficiency,
    SymmetricCycling,
)
from techniques.failure import FailureCriteria
from techniques.programs import Block, Repeat, Sequence
from techniques.rules import Condition, OpenCell, Rule
from techniques.steps import GalvanostaticStep, PlateStripCycle, PotentiostaticStep

# What ends the cycling of a shorted cell.
HARD_SHORT_ENDS = Rule(
    name="end at a hard short",
    when=Condition(event="hard_short"),
    then=(OpenCell(end_of_life=True),),
)
# What ends a strip that goes on although all metal is gone.
OVERRUN_ENDS = Rule(
    name="end when metal comes from nowhere",
    when=Condition(event="strip_overrun"),
    then=(OpenCell(),),
)
# They plate or strip at set currents, again and again; full cells are exempt from the overrun,
# for what is stripped there comes from the cathode.
STRIPPING = (
    SymmetricCycling,
    HalfCellCycling,
    RateCapability,
    ReservoirEfficiency,
    NucleationSeries,
    ImpedanceSeries,
)
CYCLING = (*STRIPPING, FullCellCycling, Pulses)
_USUAL = FailureCriteria()


def default_rules(technique: object, criteria: FailureCriteria | None = None) -> tuple[Rule, ...]:
    """Return the rules that a technique has where nothing is said of rules.

    Args:
        technique: Any; experiments need not be made a program of.
        criteria: From when on a cell counts as shorted; by default the usual.
    """
    rules = []
    if short_can_be_told(technique, criteria):
        rules.append(HARD_SHORT_ENDS)
    if strips_metal(technique):
        rules.append(OVERRUN_ENDS)
    return tuple(rules)


def short_can_be_told(technique: object, criteria: FailureCriteria | None = None) -> bool:
    """Return whether a technique plates and strips metal so often that a hard short is told.

    Experiments count as if they did; of what is written out in steps the half-cycles of each
    current are counted: those of which a baseline is made, and those that fell below it.
    """
    if any(isinstance(part, CYCLING) for part in _parts(technique)):
        return True
    told = criteria or _USUAL
    beyond = (n - told.baseline_from for n in _half_cycles(technique).values())
    return sum(n for n in beyond if n > 0) >= told.hard_half_cycles


def strips_metal(technique: object) -> bool:
    """Return whether a technique has half-cycles that strip metal, apart from full cells'."""
    for part in _parts(technique):
        match part:
            case Pulses() | GalvanostaticStep() | PotentiostaticStep():
                if part.role == "strip":
                    return True
            case PlateStripCycle():
                return True
            case _ if isinstance(part, STRIPPING):
                return True
    return False


def _parts(technique: object) -> Iterator[object]:
    """Yield a technique and all that it consists of, as far as it is written out."""
    yield technique
    match technique:
        case Sequence():
            for step in technique.steps:
                yield from _parts(step)
        case Repeat() | Block() | Formation():
            yield from _parts(technique.step)


def _half_cycles(technique: object) -> Counter[float]:
    """Return how many half-cycles there are of each current density, mA/cm2."""
    match technique:
        case GalvanostaticStep() if technique.role is not None:
            return Counter({technique.current_density_ma_cm2: 1})
        case PlateStripCycle():
            densities = [half.current_density_ma_cm2 for half in technique.halves]
            once = Counter(densities)
            return Counter({density: n * technique.cycles for density, n in once.items()})
        case Sequence():
            return sum(map(_half_cycles, technique.steps), Counter[float]())
        case Repeat():
            once = _half_cycles(technique.step)
            return Counter({density: n * technique.times for density, n in once.items()})
        case Block() | Formation():
            return _half_cycles(technique.step)
    return Counter()
