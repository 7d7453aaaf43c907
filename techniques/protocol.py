"""A protocol: a technique, the cell it is for, and when the followers act."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, ValidationError, field_validator, model_validator

from techniques._base import Data
from techniques.cell import Cell
from techniques.default_rules import OVERRUN_ENDS, default_rules
from techniques.end_of_life import EndOfLife
from techniques.failure import FailureCriteria
from techniques.failure_policy import FailurePolicy
from techniques.limits import SafetyLimits
from techniques.programs import Block, Sequence
from techniques.recording import Recording
from techniques.reference import with_looks
from techniques.rules import Rule
from techniques.steps import OpenCircuit
from techniques.technique import Technique, for_cell


class FreshSpots(Data):
    """Spectra at spots where no laser has shone yet, to compare the usual spot with.

    The stage moves the sample by ``step_um`` further each time, and back.
    """

    every_nth: int = Field(ge=2, description="Every so many spectra, one at a fresh spot.")
    axis: Literal["x", "y", "z"] = Field(default="x", description="Along which the stage moves.")
    step_um: float = Field(
        description="From one spot to the next, um: more than the laser's spot is wide; negative "
        "the other way."
    )

    @field_validator("step_um")
    @classmethod
    def _it_is_a_step(cls, step_um: float) -> float:
        if step_um == 0:
            raise ValueError("step_um is 0: the spot would not be fresh")
        return step_um


class Schedule(Data):
    """When the followers act, in seconds of the leader's clock.

    ``None`` switches a regular action off. Due actions are late by ``tolerance_s`` at most.
    """

    image_s: float | None = Field(default=60.0, gt=0, description="An image every so often, s.")
    burst_for_s: float = Field(
        default=30.0, ge=0, description="Length of the dense series at the start of plating, s."
    )
    burst_every_s: float = Field(default=2.0, gt=0, description="Image interval in it, s.")
    spectrum_s: float | None = Field(default=600.0, gt=0, description="A spectrum so often, s.")
    injection_s: float | None = Field(default=900.0, gt=0, description="An injection so often, s.")
    temperature_s: float | None = Field(
        default=30.0, gt=0, description="A temperature of the thermostat so often, s."
    )
    reading_s: float | None = Field(
        default=30.0, gt=0, description="A reading of every sensor (pH, mass, ...) so often, s."
    )
    at_half_cycle_ends: bool = Field(
        default=True,
        description="Also an image, a spectrum, an injection, a reading at each end.",
    )
    blank_spectra: int = Field(
        default=0, ge=0, description="Spectra taken before the program starts."
    )
    integration_time_s: float | None = Field(
        default=None, gt=0, description="Of one read-out of a spectrum; by default the bench's, s."
    )
    accumulations: int | None = Field(
        default=None, ge=1, description="Read-outs per spectrum; by default the bench's."
    )
    fresh_spots: FreshSpots | None = Field(
        default=None,
        description="Some of the spectra at fresh spots, by a stage: does the light change them?",
    )
    tolerance_s: float = Field(default=10.0, gt=0, description="Allowed lateness, s.")


class GasCheck(Data):
    """What a run checks the gas chromatograph with; its injections are those of the schedule.

    ``blank``: carrier or inert gas, in which nothing should be found. ``calibration``: a gas of
    known composition. ``leak_test``: a closed headspace in which oxygen and nitrogen must not rise.
    """

    kind: Literal["blank", "calibration", "leak_test"]
    mole_fractions: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict,
        description="Composition of a calibration gas by formula, e.g. {H2: 0.001}; the rest is "
        "carrier.",
    )

    @model_validator(mode="after")
    def _a_calibration_has_a_composition(self) -> Self:
        if (self.kind == "calibration") != bool(self.mole_fractions):
            raise ValueError("mole_fractions are needed for a calibration, and for nothing else")
        if sum(self.mole_fractions.values()) > 1:
            raise ValueError(f"mole_fractions add up to {sum(self.mole_fractions.values()):g}")
        return self


class Temperatures(Data):
    """Temperatures at which the technique runs, one after the other, and when one is reached.

    It is when the temperature has been near its setpoint, and has hardly moved, for the whole soak.
    """

    kelvin: tuple[PositiveFloat, ...] = Field(min_length=1, description="In their order, K.")
    within_k: float = Field(default=0.3, gt=0, description="How near the setpoint, K.")
    drift_below_k_min: float = Field(
        default=0.1, gt=0, description="How little it may move meanwhile, K/min."
    )
    soak_s: float = Field(default=1800.0, ge=0, description="For how long, s of cell time.")
    give_up_s: float = Field(
        default=14400.0, gt=0, description="A temperature not reached by then ends the run, s."
    )

    @property
    def settling(self) -> OpenCircuit:
        """Return what runs until a temperature stands."""
        return OpenCircuit(duration_s=self.give_up_s, record=_SETTLING)

    @model_validator(mode="after")
    def _there_is_time_to_soak(self) -> Self:
        if self.soak_s >= self.give_up_s:
            raise ValueError(
                f"soak_s {self.soak_s:g} is not below give_up_s {self.give_up_s:g}: no temperature "
                "could ever be reached"
            )
        return self


# While a temperature is awaited; nothing is driven.
_SETTLING = Recording(dt_s=10.0, edge_dt_s=5.0, edge_for_s=30.0)


class Protocol(Data):
    """What ``operando run FILE`` runs.

    Where nothing is said of ``rules`` a hard short ends the run with the cell open if the technique
    cycles metal, and so does, except in full cells, a strip of more metal than there was;
    ``rules: []`` lets such a cell go on.
    """

    name: str = Field(min_length=1)
    description: str | None = None
    cell: str = Field(description="Name of a file in config/cells, or a path to one.")
    technique: Technique
    every: Schedule = Schedule()
    rules: tuple[Rule, ...] = Field(
        default=(),
        description="What is done when the live stream shows an event. Where nothing is said the "
        "technique has rules of its own (default rules); [] for no rule at all.",
    )
    end_of_life: EndOfLife | None = Field(
        default=None,
        description="When the life of the cell is over: rules of its own, in short. Where nothing "
        "is said a hard short ends it, where one can be told.",
    )
    failure_criteria: FailureCriteria | None = Field(
        default=None,
        description="From when on the cell counts as failed, for the rules and for the report.",
    )
    on_failure: FailurePolicy = Field(
        default=FailurePolicy(),
        description="What is done when the potentiostat fails, in steps that do not tell it.",
    )
    limits: SafetyLimits = SafetyLimits()
    temperatures: Temperatures | None = Field(
        default=None, description="The technique runs at each of these; needs a thermostat."
    )
    gas_check: GasCheck | None = Field(
        default=None, description="Says that this run checks the gas chromatograph."
    )

    @field_validator("rules")
    @classmethod
    def _rules_have_names_of_their_own(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several rules are called {', '.join(map(repr, twice))}: rename one")
        return rules

    @model_validator(mode="after")
    def _what_is_shorted_or_empty_is_not_gone_on_with(self) -> Self:
        rules = self.rules
        if "rules" not in self.model_fields_set:
            # Not among the fields that were set: a plan without a judge can do without it.
            rules = default_rules(self.technique, self.failure_criteria)
        if self.end_of_life is not None:
            rules = self.end_of_life.added_to(rules)
        object.__setattr__(self, "rules", rules)
        return self

    @property
    def rules_by_default(self) -> bool:
        """Return whether the rules are those that hold where a protocol says nothing of them."""
        return "rules" not in self.model_fields_set

    def failure_criteria_on(self, cell: Cell) -> FailureCriteria | None:
        """Return the thresholds that hold on ``cell``, which may tell its own; ``None``: default.

        Raises ValueError if those of the protocol and those of the cell contradict each other.
        """
        if cell.failure_criteria is None:
            return self.failure_criteria
        try:
            return (self.failure_criteria or FailureCriteria()).overridden_by(cell.failure_criteria)
        except ValidationError as error:
            raise ValueError(
                f"failure_criteria of protocol {self.name!r} with those of cell {cell.cell_id!r}: "
                f"{error.errors()[0]['msg']}"
            ) from error

    def rules_on(self, cell: Cell) -> tuple[Rule, ...]:
        """Return the rules that hold on ``cell``: none of an overrun on full cells."""
        if not self.rules_by_default:
            return self.rules
        rules = default_rules(self.technique, self.failure_criteria_on(cell))
        if self.end_of_life is not None:
            rules = self.end_of_life.added_to(rules)
        return tuple(rule for rule in rules if not (cell.full_cell and rule == OVERRUN_ENDS))

    def technique_on(self, cell: Cell) -> Technique:
        """Return what the technique is on ``cell``, at each temperature if there are several.

        With a reference electrode it begins and ends with an open circuit, by which that is
        checked. Raises UnsuitableCellError as ``for_cell`` does.
        """
        return with_looks(for_cell(self.technique, cell), cell)

    def program(self, cell: Cell) -> Technique:
        """Return all that may run on ``cell``: with temperatures, one named part for each.

        Raises UnsuitableCellError as ``for_cell`` does.
        """
        technique = self.technique_on(cell)
        if self.temperatures is None:
            return technique
        settling = self.temperatures.settling
        return Sequence(
            steps=tuple(
                Block(name=f"{kelvin:g} K", step=Sequence(steps=(settling, technique)))
                for kelvin in self.temperatures.kelvin
            )
        )
