"""When the life of a cell is over, told in short: the rules that this stands for."""

from pydantic import Field

from techniques._base import Data
from techniques.default_rules import HARD_SHORT_ENDS
from techniques.rules import Condition, OpenCell, Rule

# What the rules are called.
_EFFICIENCY, _POLARISATION = "end at low efficiency", "end at the polarisation limit"


class EndOfLife(Data):
    """When the life of a cell is over: the run ends with the cell open, and the queue is told.

    The queue then runs nothing more on that cell, and asks for another one. It is the short way to
    write rules with ``open_cell`` and ``end_of_life: true``.
    """

    hard_short: bool = Field(default=True, description="At a hard short.")
    ce_below_pct: float | None = Field(
        default=None, gt=0, description="At a coulombic efficiency below this, %; none: at none."
    )
    ce_cycles: int = Field(default=3, ge=1, description="In so many cycles in a row.")
    polarisation_v: float | None = Field(
        default=None, gt=0, description="At |E| of a half-cycle above this, V; none: at none."
    )
    half_cycles: int = Field(default=2, ge=1, description="In so many half-cycles in a row.")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules that it stands for."""
        conditions: dict[str, Condition] = {}
        if self.ce_below_pct is not None:
            conditions[_EFFICIENCY] = Condition(
                event="coulombic_efficiency_below",
                below_pct=self.ce_below_pct,
                in_a_row=self.ce_cycles,
            )
        if self.polarisation_v is not None:
            conditions[_POLARISATION] = Condition(
                event="polarisation_limit", above_v=self.polarisation_v, in_a_row=self.half_cycles
            )
        then = (OpenCell(end_of_life=True),)
        rules = [Rule(name=name, when=when, then=then) for name, when in conditions.items()]
        return (*([HARD_SHORT_ENDS] if self.hard_short else []), *rules)

    def added_to(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Return ``rules`` with its own in place of those of their names.

        A hard short that is no end of a life still ends the run where it did before.
        """
        own = {rule.name: rule for rule in self.rules}
        if not self.hard_short:
            own[HARD_SHORT_ENDS.name] = HARD_SHORT_ENDS.model_copy(update={"then": (OpenCell(),)})
        kept = [own.pop(rule.name, rule) for rule in rules]
        if not self.hard_short:
            own.pop(HARD_SHORT_ENDS.name, None)
        return (*kept, *own.values())
