"""Limits: when a step ends, and what no step may exceed."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from techniques._base import Data

Quantity = Literal[
    "time_s",
    "charge_mah_cm2",
    "potential_above_v",
    "potential_below_v",
    "abs_potential_above_v",
    "abs_current_below_ma_cm2",
    "abs_current_above_ma_cm2",
]
Action = Literal["next", "end_loop", "stop"]


class Limit(Data):
    """One condition that ends a step, and what happens then.

    Potentials are those of the metal electrode against the other electrode; charge is the
    magnitude passed in this step, where the current changes its sign that of both directions
    together; a current is a magnitude per geometric area.
    """

    quantity: Quantity = Field(description="What is watched; the unit is in the name.")
    value: float = Field(description="The value at which the step ends.")
    action: Action = Field(
        default="next",
        description="next: go on with the next step; end_loop: leave the innermost cycle or "
        "repeat; stop: end the whole program with the cell open.",
    )

    @model_validator(mode="after")
    def _magnitudes_are_positive(self) -> Self:
        if not self.quantity.startswith("potential") and self.value <= 0:
            raise ValueError(f"{self.quantity} must be greater than 0, got {self.value}")
        return self


def not_applicable(until: Iterable[Limit], applicable: Iterable[str], why: str) -> str | None:
    """Return what is wrong with limits that a kind of step cannot have; ``None`` if nothing is."""
    wrong = sorted({x.quantity for x in until} - set(applicable))
    if not wrong:
        return None
    return f"{', '.join(wrong)} cannot end this step: {why}; use {', '.join(applicable)}"


class SafetyLimits(Data):
    """What the bench or the cell forbids; ``None`` means: not limited here.

    Potentials are E_WE - E_CE as the instrument measures them, and E_WE against the reference if
    there is one; current is the magnitude.
    """

    potential_min_v: float | None = Field(default=None, description="Lowest cell potential, V.")
    potential_max_v: float | None = Field(default=None, description="Highest cell potential, V.")
    cell_potential_max_v: float | None = Field(
        default=None,
        gt=0,
        description="Largest magnitude of E_WE - E_CE, V: in a three-electrode cell besides the "
        "window, which there holds for E_WE against the reference as well; in a two-electrode "
        "cell it narrows the window.",
    )
    current_max_a: float | None = Field(
        default=None, gt=0, description="Largest magnitude of the current, A."
    )
    charge_max_mah_cm2: float | None = Field(
        default=None,
        gt=0,
        description="Largest charge of one half-cycle, and largest deposit that steps together "
        "can leave on an electrode, mAh/cm2.",
    )
    duration_max_s: float | None = Field(
        default=None, gt=0, description="Longest duration of one program, s."
    )

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        low, high = self.potential_min_v, self.potential_max_v
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"the limits contradict each other: potential_min_v {low} V is not below "
                f"potential_max_v {high} V"
            )
        return self

    def narrowed_by(self, other: "SafetyLimits") -> "SafetyLimits":
        """Return the limits that satisfy both; raises ValueError if no potential is left."""

        def both(name: str) -> list[float]:
            values = (getattr(self, name), getattr(other, name))
            return [value for value in values if value is not None]

        return SafetyLimits(
            potential_min_v=max(both("potential_min_v"), default=None),
            potential_max_v=min(both("potential_max_v"), default=None),
            cell_potential_max_v=min(both("cell_potential_max_v"), default=None),
            current_max_a=min(both("current_max_a"), default=None),
            charge_max_mah_cm2=min(both("charge_max_mah_cm2"), default=None),
            duration_max_s=min(both("duration_max_s"), default=None),
        )
