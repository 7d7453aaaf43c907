"""Rules: what is done when the live stream shows an event, as data.

A rule says what to watch for and what to do then. Who judges the stream is told elsewhere: the
analysis itself, so that live and afterwards an event is the same.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from techniques._base import Data
from techniques.steps import ImpedanceSpectrum

Event = Literal[
    "soft_short",
    "soft_short_noise",
    "soft_short_coulombic",
    "square_wave",
    "hard_short",
    "polarisation_failure",
    "nucleation_tip",
    "strip_overrun",
    "hydrogen_above",
    "headspace_pressure",
    "temperature_outside",
    "reference_noise",
    "overload",
    "coulombic_efficiency_below",
    "polarisation_limit",
]
# Of an event that has a threshold of its own: the field of that.
_THRESHOLD: Mapping[str, str] = {
    "hydrogen_above": "amount_umol",
    "coulombic_efficiency_below": "below_pct",
    "polarisation_limit": "above_v",
}
_IN_A_ROW = ("coulombic_efficiency_below", "polarisation_limit")


class Condition(Data):
    """What is watched for in the live stream.

    The names are those of the analysis, which judges. ``soft_short``: |E| falls inside a half-cycle
    while the current stays; ``hard_short``: the cell has become a small resistor;
    ``polarisation_failure``: three times the overpotential of the first cycles;
    ``nucleation_tip``: the extreme of the first plating has passed; ``strip_overrun``: more was
    stripped in all than there was and was plated, and 5 %; ``hydrogen_above``: hydrogen found since
    the start. Thresholds of these are those of the protocol's ``failure_criteria``.
    ``headspace_pressure``: the overpressure of a closed headspace, by a sensor or, without one, the
    most that the charge can have made; ``temperature_outside``: a sensor in the cell tells a
    temperature beyond the cell's window twice in a row; ``reference_noise``: E_WE against the
    reference is noise; ``overload``: the instrument marks its rows as overloaded. Their limits
    stand in the cell file. ``coulombic_efficiency_below``: that of each of so many cycles in a row
    is below a percentage; formation cycles, the first one and those of which it cannot be told do
    not count. ``polarisation_limit``: |E| of each of so many half-cycles in a row, the median
    from 40 to 90 % of their charge, is above a potential.
    """

    event: Event
    amount_umol: float | None = Field(
        default=None, gt=0, description="Of hydrogen_above only, and needed there, umol."
    )

    below_pct: float | None = Field(
        default=None, gt=0, description="Of coulombic_efficiency_below only, and needed there, %."
    )
    above_v: float | None = Field(
        default=None, gt=0, description="Of polarisation_limit only, and needed there, V."
    )
    in_a_row: int | None = Field(
        default=None,
        ge=1,
        description="So many cycles, or half-cycles, of these two; by default one.",
    )

    @model_validator(mode="after")
    def _thresholds_belong_to_their_events(self) -> Self:
        for event, name in _THRESHOLD.items():
            if (self.event == event) != (getattr(self, name) is not None):
                raise ValueError(f"{name} is needed for {event}, and for nothing else")
        if self.in_a_row is not None and self.event not in _IN_A_ROW:
            raise ValueError(f"in_a_row is for {' and '.join(_IN_A_ROW)}, and for nothing else")
        return self

    @property
    def row_length(self) -> int:
        """Return how many cycles or half-cycles in a row it takes."""
        return self.in_a_row or 1

    def met_by(self, kind: str, value: float | None, in_a_row: int | None = None) -> bool:
        """Return whether what the analysis has seen is what is watched for.

        Args:
            kind: What it has seen.
            value: What a threshold is compared with.
            in_a_row: Over how many cycles or half-cycles that holds, where it is told of several.
        """
        if self.event in _IN_A_ROW:
            if kind != self.event or value is None or in_a_row != self.row_length:
                return False
            if self.below_pct is not None:
                return value < self.below_pct
            return self.above_v is not None and value > self.above_v
        if self.amount_umol is not None:
            return kind == "hydrogen" and value is not None and value > self.amount_umol
        return kind == self.event


class TakeSpectrum(Data):
    """Interrupt the program, measure an impedance spectrum at open circuit, and go on.

    The program runs on the instrument, which can take nothing in between: it is ended where it
    stands, the spectrum is a program of its own, and then what is left of the first one goes on.
    """

    do: Literal["impedance_spectrum"] = "impedance_spectrum"
    spectrum: ImpedanceSpectrum = ImpedanceSpectrum(amplitude_rms_v=0.005)
    when: Literal["at_once", "next_rest"] = Field(
        default="at_once",
        description="at_once: the half-cycle is interrupted; next_rest: only the next rest is, "
        "so that no charge is uncertain and no half-cycle has a gap.",
    )


class TakeImages(Data):
    """Have the camera take a series of images."""

    do: Literal["images"] = "images"
    count: int = Field(default=50, ge=1, le=10_000, description="How many.")
    every_s: float | None = Field(
        default=None, gt=0, description="Interval on the leader's clock, s; none: at full rate."
    )


class TakeRamanSpectra(Data):
    """Have the Raman spectrometer take spectra, one after the other."""

    do: Literal["raman_spectra"] = "raman_spectra"
    count: int = Field(default=1, ge=1, le=1000, description="How many.")


class Inject(Data):
    """Have the gas chromatograph inject once more, as soon as it is ready."""

    do: Literal["injection"] = "injection"


class OpenCell(Data):
    """End the experiment with the cell open; the stop document says which rule it was."""

    do: Literal["open_cell"] = "open_cell"
    end_of_life: bool = Field(
        default=False,
        description="The life of the cell is over: the queue runs nothing on it any more, and asks "
        "for another one.",
    )


RuleAction = Annotated[
    TakeSpectrum | TakeImages | TakeRamanSpectra | Inject | OpenCell,
    Field(discriminator="do"),
]


class Rule(Data):
    """When an event is seen, do something, so often at most."""

    name: str = Field(min_length=1, description="What the record calls it.")
    when: Condition
    then: tuple[RuleAction, ...] = Field(min_length=1, description="Done in this order.")
    at_most: int = Field(
        default=10, ge=1, description="How often in one experiment at most, resumed or not."
    )
    not_again_within_s: float = Field(
        default=600.0, ge=0, description="Events so soon after the last one count for nothing, s."
    )

    @model_validator(mode="after")
    def _nothing_after_the_end(self) -> Self:
        if any(isinstance(action, OpenCell) for action in self.then[:-1]):
            raise ValueError(
                f"rule {self.name!r}: nothing can be done after open_cell: make it the last action"
            )
        return self
