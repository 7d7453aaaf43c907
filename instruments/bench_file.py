"""A bench file: which instruments there are, where they hang, what none of them may exceed."""

import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from techniques import SafetyLimits
from techniques._base import Data


class _Entry(Data):
    address: str = Field(description="A URL; ${NAME} is taken from the environment.")


class RelayBoardEntry(_Entry):
    """A relay board on a serial line; lamp and gas chromatograph hang on it."""

    kind: Literal["relay_board"]
    language: Literal["numato"]


class PotentiostatCalibration(Data):
    """How well a potentiostat was found to measure: standard uncertainties (k = 1).

    What is left out has its usual value: 0.1 % of gain, 0.1 % of the range, 1 mV.
    """

    date: datetime.date = Field(description="When it was found.")
    by: str = Field(min_length=1, description="Who found it: a person or a laboratory.")
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
        if not self.model_dump(exclude_none=True, exclude={"date", "by"}):
            known = [name for name in type(self).model_fields if name not in ("date", "by")]
            raise ValueError(f"a calibration tells at least one of {', '.join(known)}")
        return self


class PotentiostatEntry(_Entry):
    """A potentiostat: the leader."""

    kind: Literal["potentiostat"]
    language: Literal["methodscript"]
    calibration: PotentiostatCalibration | None = Field(
        default=None,
        description="By default the usual accuracy of such instruments is believed.",
    )


class LampEntry(Data):
    """The microscope's lamp, on a relay."""

    board: str = Field(description="Name of a relay_board of this bench.")
    relay: int = Field(ge=0)


class CameraEntry(_Entry):
    """A microscope camera."""

    kind: Literal["camera"]
    language: Literal["pylon"]
    micrometre_per_pixel: float = Field(gt=0, description="From a stage micrometer.")
    margin_columns: tuple[int, int] | None = Field(
        default=None,
        description="First column of the picture that stays bare (masked before plating), and the"
        " column after the last: heights count from there. Without it there are none.",
    )
    deposit_columns: tuple[int, int] | None = Field(
        default=None,
        description="Columns in which the deposit is measured; none: all, or all right of a margin"
        " at the left edge.",
    )
    exposure_time_s: float = Field(default=0.005, gt=0)
    lamp: LampEntry | None = None

    @model_validator(mode="after")
    def _columns_are_apart(self) -> Self:
        told = {"margin_columns": self.margin_columns, "deposit_columns": self.deposit_columns}
        for name, columns in told.items():
            if columns is not None and not 0 <= columns[0] < columns[1]:
                raise ValueError(
                    f"{name} is {list(columns)}: the first column comes first, from 0 at the left"
                )
        margin, deposit = self.margin_columns, self.deposit_columns
        if margin and deposit and margin[0] < deposit[1] and deposit[0] < margin[1]:
            raise ValueError(
                f"margin_columns {list(margin)} and deposit_columns {list(deposit)} overlap: "
                "what is bare carries no deposit"
            )
        if margin and margin[0] > 0 and deposit is None:
            raise ValueError(
                f"margin_columns {list(margin)} do not begin at the left edge: tell in which "
                "deposit_columns the deposit is"
            )
        return self


class RamanEntry(_Entry):
    """A Raman spectrometer with its laser."""

    kind: Literal["raman"]
    language: Literal["wasatch"]
    laser_power_w: float = Field(gt=0, le=0.5, description="Laser power, W.")
    integration_time_s: float = Field(gt=0, le=600)
    accumulations: int = Field(default=3, ge=1)
    bands_cm1: tuple[float, ...] = Field(
        default=(), description="Bands that must lie on the axis, cm-1."
    )
    reference_line_cm1: float | None = Field(
        default=None,
        gt=0,
        description="A line in every spectrum that lies where it lies, e.g. 520.5 of a silicon chip"
        " in view, cm-1: the axis is checked against it.",
    )


class CalibrationLevel(Data):
    """One gas of known composition and the area that was found for it."""

    mole_fraction: float = Field(ge=0, le=1)
    area: float = Field(description="Detector unit times s.")


class PeakWindows(Data):
    """Where a peak lies in a chromatogram, and where its baseline is taken on both sides."""

    left: tuple[float, float] = Field(description="Baseline before the peak, s.")
    peak: tuple[float, float] = Field(description="Over which the area is taken, s.")
    right: tuple[float, float] = Field(description="Baseline behind the peak, s.")

    @model_validator(mode="after")
    def _windows_are_ordered(self) -> Self:
        for name, (begin, end) in (
            ("left", self.left), ("peak", self.peak), ("right", self.right)
        ):  # fmt: skip
            if not 0 <= begin < end:
                raise ValueError(f"{name} is [{begin:g}, {end:g}] s: the earlier time comes first")
        if not self.left[0] < self.peak[0] < self.peak[1] < self.right[1]:
            raise ValueError("left lies before the peak and right behind it")
        return self


class GasChromatographEntry(Data):
    """A gas chromatograph started by contact closure; its data system writes result files."""

    kind: Literal["gas_chromatograph"]
    language: Literal["contact"]
    board: str = Field(description="Name of a relay_board of this bench.")
    start_relay: int = Field(ge=0)
    ready_gpio: int = Field(ge=0)
    results: str = Field(description="Address of the folder where results appear: folder:///...")
    run_time_s: float = Field(default=160.0, gt=0, description="Length of one chromatogram, s.")
    hydrogen_area_per_mole_fraction: float = Field(gt=0, description="From calibration gases.")
    sample_loop_ml: float | None = Field(
        default=None,
        ge=0,
        description="Gas taken per injection, mL; none: 0, and the metrics say so.",
    )
    column: str | None = Field(
        default=None, description="The column; one that is named needs its hydrogen_window_s."
    )
    hydrogen_window_s: PeakWindows | None = Field(
        default=None,
        description="Where hydrogen elutes; none: 47.5 to 56.5 s, and the metrics say so.",
    )
    slope_uncertainty: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Relative standard uncertainty of the slope, from repeated injections; none: "
        "0.005, and the metrics say so.",
    )
    pressure_pa: float | None = Field(
        default=None, gt=0, description="Of headspace and loop, Pa; none: the cell's, else 1 atm."
    )
    temperature_k: float | None = Field(
        default=None, gt=0, description="Of headspace and loop, K; none: 298.15 K, and it is said."
    )
    headspace: Literal["closed", "swept"] = "closed"
    levels: tuple[CalibrationLevel, ...] = Field(
        default=(),
        description="Areas of hydrogen in several calibration gases, instead of one slope.",
    )
    through_zero: bool = Field(
        default=True, description="Whether the line through the levels is forced through zero."
    )
    oxygen_area_per_mole_fraction: float | None = Field(
        default=None, gt=0, description="As of hydrogen; without it a leak test tells no oxygen."
    )
    nitrogen_area_per_mole_fraction: float | None = Field(
        default=None, gt=0, description="As of hydrogen; without it a leak test tells no nitrogen."
    )
    carrier_sccm: float | None = Field(
        default=None, gt=0, description="Flow that sweeps the cell, cm3/min at the reference below."
    )
    carrier_reference_k: float | None = Field(
        default=None,
        gt=0,
        description="Temperature that the flow's cm3 are meant at, K: 273.15, 293.15 or 298.15.",
    )
    carrier_reference_pa: float = Field(default=101325.0, gt=0)

    @model_validator(mode="after")
    def _a_swept_cell_has_a_flow(self) -> Self:
        if self.headspace == "swept" and None in (self.carrier_sccm, self.carrier_reference_k):
            raise ValueError(
                "a swept headspace needs carrier_sccm, and carrier_reference_k that says at which "
                "temperature its cm3 are meant (0 or 20 degrees C: 7 % apart)"
            )
        return self

    @model_validator(mode="after")
    def _a_column_has_a_window(self) -> Self:
        if self.column is not None and self.hydrogen_window_s is None:
            raise ValueError(
                f"column {self.column!r} needs hydrogen_window_s (left, peak, right in s): where "
                "hydrogen elutes from it, by a calibration gas"
            )
        return self


class ThermostatEntry(_Entry):
    """A thermostat: the temperature of the cell."""

    kind: Literal["thermostat"]
    language: Literal["huber_pb"]
    safe_temperature_k: float | None = Field(
        default=298.15,
        gt=0,
        description="Where it goes when the bench is left; none: it stops controlling.",
    )
    temperature_min_k: float | None = Field(
        default=None, gt=0, description="Lowest setpoint, for its liquid, K."
    )
    temperature_max_k: float | None = Field(
        default=None, gt=0, description="Highest setpoint, for its liquid, K."
    )

    @model_validator(mode="after")
    def _temperatures_agree(self) -> Self:
        low, high = self.temperature_min_k, self.temperature_max_k
        if low is not None and high is not None and low >= high:
            raise ValueError(f"temperature_min_k {low} K is not below temperature_max_k {high} K")
        safe = self.safe_temperature_k
        if safe is not None and not (low or 0.0) <= safe <= (high or float("inf")):
            raise ValueError(f"safe_temperature_k {safe} K is beyond its own limits")
        return self


# What a start document tells of a gas chromatograph: always, with levels, where it is swept.
_OF_GAS = {
    "hydrogen_area_per_mole_fraction",
    "oxygen_area_per_mole_fraction",
    "nitrogen_area_per_mole_fraction",
    "sample_loop_ml",
    "headspace",
    "column",
    "hydrogen_window_s",
    "slope_uncertainty",
    "pressure_pa",
    "temperature_k",
}
_OF_LEVELS = {"levels", "through_zero"}
_OF_SWEEP = {"carrier_sccm", "carrier_reference_k", "carrier_reference_pa"}

Entry = Annotated[
    RelayBoardEntry
    | PotentiostatEntry
    | CameraEntry
    | RamanEntry
    | GasChromatographEntry
    | ThermostatEntry,
    Field(discriminator="kind"),
]


class BenchFile(Data):
    """A bench file: ``config/sim.yaml``, ``config/bench.yaml`` or one of yours."""

    name: str = Field(min_length=1)
    instruments: dict[str, Entry]
    limits: SafetyLimits = SafetyLimits()

    @model_validator(mode="after")
    def _boards_exist(self) -> Self:
        boards = {name for name, x in self.instruments.items() if x.kind == "relay_board"}
        for name, entry in self.instruments.items():
            wanted = None
            if isinstance(entry, CameraEntry) and entry.lamp is not None:
                wanted = entry.lamp.board
            elif isinstance(entry, GasChromatographEntry):
                wanted = entry.board
            if wanted is not None and wanted not in boards:
                raise ValueError(
                    f"instruments.{name} hangs on board {wanted!r}, which is not a relay_board of "
                    f"this bench (there is: {', '.join(sorted(boards)) or 'none'})"
                )
        return self

    def calibration(self) -> dict[str, dict[str, Any]]:
        """Return what a start document tells of how the instruments were calibrated, by name."""
        told: dict[str, dict[str, Any]] = {}
        for name, entry in self.instruments.items():
            keys: set[str] = set()
            match entry:
                case PotentiostatEntry(calibration=PotentiostatCalibration() as calibration):
                    told[name] = calibration.model_dump(mode="json", exclude_none=True)
                case CameraEntry():
                    keys = {"micrometre_per_pixel", "margin_columns", "deposit_columns"}
                case RamanEntry() if entry.reference_line_cm1 is not None:
                    keys = {"reference_line_cm1"}
                case GasChromatographEntry():
                    keys |= _OF_GAS
                    keys |= _OF_LEVELS if entry.levels else set()
                    keys |= _OF_SWEEP if entry.headspace == "swept" else set()
            if keys:
                told[name] = entry.model_dump(mode="json", include=keys, exclude_none=True)
        return told

    def only(self, names: set[str]) -> "BenchFile":
        """Return the bench reduced to ``names`` and the relay boards these hang on."""
        unknown = names - set(self.instruments)
        if unknown:
            raise ValueError(
                f"bench {self.name!r} has no {', '.join(sorted(unknown))}; it has "
                f"{', '.join(self.instruments)}"
            )
        kept = set(names)
        for name in names:
            entry = self.instruments[name]
            if isinstance(entry, CameraEntry) and entry.lamp is not None:
                kept.add(entry.lamp.board)
            elif isinstance(entry, GasChromatographEntry):
                kept.add(entry.board)
        some = {name: entry for name, entry in self.instruments.items() if name in kept}
        return self.model_copy(update={"instruments": some})
