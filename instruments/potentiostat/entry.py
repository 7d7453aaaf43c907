"""What a bench file tells of a potentiostat."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from instruments.calibration import Dated, Quantity, newest
from instruments.entry import AddressedEntry, CalibratedEntry
from instruments.potentiostat.contract import Potentiostat


class PotentiostatCalibration(Dated):
    """How well a potentiostat was found to measure: standard uncertainties (k = 1).

    What is left out has its usual value: 0.1 % of gain, 0.1 % of the range, 1 mV.
    """

    current_gain_uncertainty: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Of the current's gain, relative; the same for all readings on one range.",
    )
    current_offset_uncertainty_of_range: float | None = Field(
        default=None, ge=0, lt=1, description="Of the current at zero, as a share of the range."
    )
    current_offset_uncertainty_a: float | None = Field(
        default=None,
        ge=0,
        description="Of the current at zero, A, where it was measured; in place of the share.",
    )
    potential_offset_uncertainty_v: float | None = Field(
        default=None, ge=0, description="How large a potential may look while it is zero, V."
    )

    @model_validator(mode="after")
    def _something_was_calibrated(self) -> Self:
        dated = set(Dated.model_fields)
        if not self.model_dump(exclude_none=True, exclude=dated):
            known = [name for name in type(self).model_fields if name not in dated]
            raise ValueError(f"a calibration tells at least one of {', '.join(known)}")
        return self


# What `calibrations` tells and `calibration` as well.
_IN_BOTH_FORMS = {
    "current_gain": "current_gain_uncertainty",
    "current_offset": "current_offset_uncertainty_a",
    "potential_offset": "potential_offset_uncertainty_v",
}


class PotentiostatEntry(AddressedEntry, CalibratedEntry):
    """A potentiostat: the leader; each wire language has its own entry."""

    unreached_means: ClassVar[str] = "THE CELL MAY BE UNDER CURRENT: disconnect it"

    # Whether a program ends by itself within its limits, and keeps its rows, when nobody listens.
    finishes_alone_if_told: ClassVar[bool] = False
    _quantities: ClassVar[Mapping[str, Quantity]] = {
        "current_gain": Quantity(
            "1",
            "What it reads of a current over the true one, on a range: charges are divided by it.",
            "A",
            "the nominal value of the range, A",
            expected=True,
            positive=True,
        ),
        "current_offset": Quantity(
            "A",
            "What it reads on a range where no current flows, positive oxidises the working "
            "electrode: taken off charges where no zero was measured before the run.",
            "A",
            "the nominal value of the range, A",
        ),
        "potential_gain": Quantity(
            "1",
            "What it reads of a potential difference over the true one; not taken off, a part of "
            "the uncertainty.",
            positive=True,
        ),
        "potential_offset": Quantity(
            "V",
            "What it reads of a potential of zero; not taken off, a part of the uncertainty.",
        ),
    }

    kind: Literal["potentiostat"]
    on_silence: Literal["open_cell", "let_instrument_finish"] = Field(
        default="open_cell",
        description="What the guard does with a program whose computer is gone: open_cell at once, "
        "or let_instrument_finish, within the limits that the instrument keeps itself and into its "
        "own log, from which `operando resume` takes the rows.",
    )
    calibration: PotentiostatCalibration | None = Field(
        default=None,
        description="By default the usual accuracy of such instruments is believed.",
    )

    @model_validator(mode="after")
    def _a_value_is_told_once(self) -> Self:
        told = set() if self.calibration is None else self.calibration.model_fields_set
        for of, key in _IN_BOTH_FORMS.items():
            if key in told and any(newest(self.calibrations, of)):
                raise ValueError(f"{of} is in calibrations and {key} in calibration: keep one")
        return self

    def calibration_told(self) -> dict[str, Any]:
        told = super().calibration_told()
        if self.calibration is not None:
            told |= self.calibration.model_dump(mode="json", exclude_none=True)
        return told

    def _calibrated_elsewhere(self) -> Mapping[str, Dated]:
        if self.calibration is None:
            return {}
        told = self.calibration.model_fields_set
        return {of: self.calibration for of, key in _IN_BOTH_FORMS.items() if key in told} | {
            "current_gain": self.calibration
        }

    @property
    def finishes_alone(self) -> bool:
        """Return whether a program whose computer is gone is left to its own end."""
        return self.on_silence == "let_instrument_finish"

    @model_validator(mode="after")
    def _can_finish_alone(self) -> Self:
        if self.finishes_alone and not self.finishes_alone_if_told:
            raise ValueError(
                "on_silence: let_instrument_finish is not for this instrument: it keeps no log of "
                "its own, or its limits are kept by this computer alone; use open_cell"
            )
        return self

    def driver(self) -> Potentiostat:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class MethodScriptEntry(PotentiostatEntry):
    """A potentiostat that runs MethodSCRIPT: EmStat4, Nexus, EmStat Pico (without galvanostat)."""

    finishes_alone_if_told: ClassVar[bool] = True

    language: Literal["methodscript"]
    current_range_reach: float | None = Field(
        default=None,
        ge=1,
        le=2.4,
        description="How many times its nominal value a current range carries: a current runs on "
        "the smallest range that carries it. By default 1.5 where the instrument controls the "
        "current; 1.0 keeps every current within the nominal value of its range.",
    )

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.potentiostat.methodscript import MethodScriptPotentiostat

        return MethodScriptPotentiostat

    def driver(self) -> Potentiostat:
        from instruments.potentiostat.methodscript import MethodScriptPotentiostat

        return MethodScriptPotentiostat(self.address, current_range_reach=self.current_range_reach)


class KeithleyEntry(PotentiostatEntry):
    """A Keithley 2450, 2460 or 2461 SourceMeter with its command set TSP; two electrodes."""

    language: Literal["keithley"]
    four_wire: bool = Field(
        default=True, description="The sense leads are connected to the cell as well."
    )
    high_capacitance: bool = Field(
        default=False,
        description="Slow the source down where a potential is set: for cells that make it "
        "oscillate.",
    )
    edge_line: int | None = Field(
        default=None,
        ge=1,
        le=6,
        description="Digital line that pulses for 1 ms when a plate or strip step begins; none by "
        "default.",
    )

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.potentiostat.keithley import KeithleyPotentiostat

        return KeithleyPotentiostat

    def driver(self) -> Potentiostat:
        from instruments.potentiostat.keithley import KeithleyPotentiostat
        from instruments.potentiostat.keithley.script import Wiring

        wiring = Wiring(
            four_wire=self.four_wire,
            high_capacitance=self.high_capacitance,
            edge_line=self.edge_line,
        )
        return KeithleyPotentiostat(self.address, wiring=wiring)


class RodeostatEntry(PotentiostatEntry):
    """A Rodeostat (hardware V0.2): holds, sweeps and voltammograms on two electrodes.

    Its limits are kept by the computer alone.
    """

    language: Literal["rodeostat"]

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.potentiostat.rodeostat import RodeostatPotentiostat

        return RodeostatPotentiostat

    def driver(self) -> Potentiostat:
        from instruments.potentiostat.rodeostat import RodeostatPotentiostat

        return RodeostatPotentiostat(self.address)
