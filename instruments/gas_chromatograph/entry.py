"""What a bench file tells of a gas chromatograph."""

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from instruments.calibration import CalibrationFlag, Quantity, newest
from instruments.entry import AddressedEntry, CalibratedEntry, ZoneName
from instruments.gas_chromatograph.contract import GasChromatograph, Results
from instruments.gas_chromatograph.results import ResultFolder
from instruments.lending import Shareable
from instruments.relay_board import RelayBoard
from techniques._base import Data

# What a start document tells of one: always, with levels, where it is swept.
_OF_GAS = {
    "hydrogen_area_per_mole_fraction",
    "oxygen_area_per_mole_fraction",
    "nitrogen_area_per_mole_fraction",
    "sample_loop_ml",
    "headspace",
    "column",
    "hydrogen_window_s",
    "slope_uncertainty",
    "gas_uncertainty",
    "pressure_pa",
    "temperature_k",
}
_SLOPES = (
    "hydrogen_area_per_mole_fraction",
    "oxygen_area_per_mole_fraction",
    "nitrogen_area_per_mole_fraction",
)
_OF_LEVELS = {"levels", "through_zero"}
_OF_SWEEP = {"carrier_sccm", "carrier_reference_k", "carrier_reference_pa"}


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


class GasChromatographEntry(CalibratedEntry, Shareable):
    """A gas chromatograph; each way to start one has its own entry."""

    _quantities: ClassVar[Mapping[str, Quantity]] = {
        "hydrogen_area_per_mole_fraction": Quantity(
            "area", "Slope of the calibration, by gases.", expected=True, positive=True
        ),
        "hydrogen_area": Quantity(
            "area",
            "Area of hydrogen in a gas of known composition, several of them instead of a slope.",
            "1",
            "the mole fraction of the gas",
        ),
        "oxygen_area_per_mole_fraction": Quantity("area", "As of hydrogen.", positive=True),
        "nitrogen_area_per_mole_fraction": Quantity("area", "As of hydrogen.", positive=True),
    }

    kind: Literal["gas_chromatograph"]
    valve: str | None = Field(
        default=None,
        description="Name of a sampling_valve of this bench, whose loop is filled and turned into "
        "the carrier just before each start; none: the chromatograph takes its sample itself.",
    )
    inject_position: Literal["A", "B"] = Field(
        default="B", description="Of the valve: where the loop is in the carrier."
    )
    load_s: float = Field(
        default=10.0,
        ge=0,
        description="How long the loop fills where the valve had not rested there, s.",
    )
    inject_s: float = Field(
        default=1.0, ge=0, description="How long the loop stays in the carrier, s."
    )
    clock_offset_s: float | None = Field(
        default=None,
        description="How far the data system's clock is ahead of this computer's, s: results are "
        "joined to injections by their time, unless they carry a name of ours. None: while a run "
        "lasts the first result is taken for that of the first injection, and after it 0 is meant.",
    )
    time_zone: ZoneName | None = Field(
        default=None,
        description="Zone of times in its results that tell none, such as Europe/Berlin or UTC; "
        "none: that of this computer.",
    )
    detector: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the detector that sees hydrogen, such as moduleA:tcd; needed where a "
        "result has several.",
    )
    run_time_s: float = Field(default=160.0, gt=0, description="Length of one chromatogram, s.")
    hydrogen_area_per_mole_fraction: float | None = Field(
        default=None,
        gt=0,
        description="Slope of the calibration, from calibration gases (protocol gas-calibration); "
        "none, and no levels: hydrogen is not told as an amount.",
    )
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
    gas_uncertainty: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Relative standard uncertainty of the gas that hydrogen is a share of: the "
        "headspace's volume, pressure and temperature together, or the flow that sweeps the cell; "
        "none: it is in no uncertainty, and the metrics say so.",
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

    @property
    def valves(self) -> tuple[str, ...]:
        return () if self.valve is None else (self.valve,)

    @model_validator(mode="after")
    def _a_response_is_told_once(self) -> Self:
        for of in _SLOPES:
            if getattr(self, of) is not None and any(newest(self.calibrations, of)):
                raise ValueError(f"{of} is told by itself and in calibrations: keep one")
        if self.slope_uncertainty is not None and any(newest(self.calibrations, _SLOPES[0])):
            raise ValueError(
                "slope_uncertainty belongs to a slope told by itself; that of calibrations has "
                "its uncertainty there"
            )
        if self.levels and any(newest(self.calibrations, "hydrogen_area")):
            raise ValueError("areas of hydrogen are in levels and in calibrations: keep one")
        return self

    def calibration_told(self) -> dict[str, Any]:
        keys = set(_OF_GAS)
        keys |= _OF_LEVELS if self.levels else set()
        keys |= _OF_SWEEP if self.headspace == "swept" else set()
        told = super().calibration_told() | self._told(keys)
        for of in _SLOPES:
            for _, one in newest(self.calibrations, of):
                told[of] = one.value
                if of == _SLOPES[0] and one.uncertainty:
                    told["slope_uncertainty"] = one.uncertainty / one.value
        levels = [(one.at, one.value) for _, one in newest(self.calibrations, "hydrogen_area")]
        if levels:
            told["levels"] = [{"mole_fraction": x, "area": area} for x, area in levels]
            told["through_zero"] = self.through_zero
        return told

    def calibration_flags(self, name: str, today: datetime.date) -> tuple[CalibrationFlag, ...]:
        flags = super().calibration_flags(name, today)
        # Levels are as good as a slope.
        if any(newest(self.calibrations, "hydrogen_area")):
            flags = tuple(x for x in flags if (x.quantity, x.flag) != (_SLOPES[0], "missing"))
        return flags

    def _undated(self) -> frozenset[str]:
        told = {of for of in _SLOPES if getattr(self, of) is not None}
        return frozenset(told | ({_SLOPES[0]} if self.levels else set()))

    def driver(self, boards: Mapping[str, RelayBoard]) -> GasChromatograph:
        """Return the driver, nothing of it connected; ``boards`` are those of the bench."""
        raise NotImplementedError

    def result_source(self) -> Results:
        """Return where its results appear."""
        raise NotImplementedError


class ContactEntry(GasChromatographEntry):
    """A gas chromatograph started by contact closure; its data system writes result files."""

    language: Literal["contact"]

    @property
    def made_safe(self) -> str:
        return "start contact open"

    board: str = Field(description="Name of a relay_board of this bench.")
    start_relay: int = Field(ge=0)
    ready_gpio: int = Field(ge=0)
    results: str = Field(description="Address of the folder where results appear: folder:///...")

    @property
    def boards(self) -> tuple[str, ...]:
        return (self.board,)

    @property
    def relays(self) -> tuple[tuple[str, int], ...]:
        return ((self.board, self.start_relay),)

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.results,)

    @model_validator(mode="after")
    def _results_of_others_are_told_apart(self) -> Self:
        if self.shared is not None and self.clock_offset_s is None:
            raise ValueError(
                "it is shared, and its results carry no name: give clock_offset_s, how far the "
                "data system's clock is ahead, or the results of another station would be taken"
            )
        return self

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.gas_chromatograph.contact import ContactGasChromatograph

        return ContactGasChromatograph

    def driver(self, boards: Mapping[str, RelayBoard]) -> GasChromatograph:
        from instruments.gas_chromatograph.contact import ContactGasChromatograph

        return ContactGasChromatograph(
            boards[self.board], start_relay=self.start_relay, ready_gpio=self.ready_gpio
        )

    def result_source(self) -> Results:
        return ResultFolder(self.results, detector=self.detector, time_zone=self.time_zone)


class FusionEntry(GasChromatographEntry, AddressedEntry):
    """INFICON's Micro GC Fusion, started and read through its own web server."""

    language: Literal["fusion"]
    address: str = Field(description="http://HOST of the instrument.")
    method: str | None = Field(
        default=None,
        min_length=1,
        description="Loaded when it is connected; none: the one that is loaded is used.",
    )

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.address,)

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.gas_chromatograph.fusion import Fusion

        return Fusion

    def driver(self, boards: Mapping[str, RelayBoard]) -> GasChromatograph:
        from instruments.gas_chromatograph.fusion import Fusion

        return Fusion(self.address, method=self.method, detector=self.detector)

    def result_source(self) -> Results:
        from instruments.gas_chromatograph.fusion import FusionResults

        return FusionResults(self.address, detector=self.detector, time_zone=self.time_zone)
