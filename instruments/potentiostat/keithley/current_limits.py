"""The limits of a step at a set potential: on its current and on its charge."""

from instruments.potentiostat.contract import Capabilities
from instruments.potentiostat.keithley.script import (
    SAFETY_CURRENT,
    WRONG_WAY,
    Value,
)
from techniques import Assignment, PotentialControlled, PotentiostaticStep
from techniques.assignment import WRONG_WAY_MAH_CM2

# The source itself clamps a little beyond the safety limit.
_CLAMP_CURRENT_TIMES = 1.1
# Without a lower limit of its own a step's current is followed down by this much.
_DECADES_BELOW = 1e-4
_OF_LARGEST_CURRENT = 0.95
_COULOMB_PER_MAH = 3.6


class CurrentLimits:
    """The limits of one step on its current and its charge, and the safety limit.

    Attributes:
        safety_a: largest current that is safe, A.
        above: (current in A, code) that is not to be exceeded: the nearest.
        below: (current in A, negative code) below which the step ends.
        charge: (charge in C, code) that ends it.
        way: sign of a current that goes the way its role names; 0 without a role.
    """

    def __init__(
        self, assignment: Assignment, capabilities: Capabilities, step: PotentialControlled
    ) -> None:
        self._assignment, self._capabilities = assignment, capabilities
        self.safety_a = capabilities.current_max_a * _OF_LARGEST_CURRENT
        if assignment.limits.current_max_a is not None:
            self.safety_a = min(self.safety_a, assignment.limits.current_max_a)

        def of(quantity: str) -> list[tuple[float, int]]:
            return [(x.value, n) for n, x in enumerate(step.until, 1) if x.quantity == quantity]

        above = [(self.current_a(x), code) for x, code in of("abs_current_above_ma_cm2")]
        # The nearest is passed first; at equal currents the step's own, of the smaller code.
        self.above = min([*above, (self.safety_a, SAFETY_CURRENT)])
        below = [(self.current_a(x), -code) for x, code in of("abs_current_below_ma_cm2")]
        self.below = max(below, default=None)
        charges = [(self.charge_c(x), code) for x, code in of("charge_mah_cm2")]
        self.charge = min(charges, default=None)
        role = step.role if isinstance(step, PotentiostaticStep) else None
        self.way = 0 if role is None else assignment.mirror * (1 if role == "strip" else -1)

    def current_a(self, density_ma_cm2: float) -> float:
        """Return a current, A."""
        return density_ma_cm2 * 1e-3 * self._assignment.area_cm2

    def charge_c(self, charge_mah_cm2: float) -> float:
        """Return a charge, C."""
        return charge_mah_cm2 * self._assignment.area_cm2 * _COULOMB_PER_MAH

    @property
    def codes(self) -> set[int]:
        """Return which of the limits can end the step; the others lie beyond them."""
        codes = {self.above[1]}
        codes |= {-self.below[1]} if self.below is not None else set()
        return codes | ({self.charge[1]} if self.charge is not None else set())

    def values(self, *, counting: bool = False) -> dict[str, Value]:
        """Return what the program is told of them."""
        # The range follows the current down to what the step's own limit needs.
        largest = self._capabilities.current_range_a(self.above[0])
        lowest = self.below[0] if self.below is not None else largest * _DECADES_BELOW
        clamp_a = min(self.safety_a * _CLAMP_CURRENT_TIMES, self._capabilities.current_max_a)
        values: dict[str, Value] = {
            "range_low": min(self._capabilities.current_range_a(lowest), largest),
            "clamp_a": clamp_a,
            "most": self.above[0],
            "most_code": self.above[1],
        }
        if self.below is not None:
            values |= {"least": self.below[0], "least_code": -self.below[1]}
        if counting or self.charge is not None or self.way:
            values["counting"] = True
        if self.charge is not None:
            values |= {"charge": self.charge[0], "charge_code": self.charge[1]}
        if self.way:
            astray = self.charge_c(WRONG_WAY_MAH_CM2)
            values |= {"way": self.way, "astray": astray, "astray_code": WRONG_WAY}
        return values
