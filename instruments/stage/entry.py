"""What a bench file tells of a stage."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from instruments.abilities import Span
from instruments.calibration import Quantity
from instruments.entry import AddressedEntry, CalibratedEntry, OnFailure
from instruments.stage.contract import Stage
from techniques._base import Data


class AxisEntry(Data):
    """One axis of a stage, and how far it may go."""

    device: int = Field(ge=1, le=99, description="Its number in the chain of controllers.")
    axis: int = Field(default=1, ge=1, le=9, description="Which axis of that controller.")
    micrometre_per_step: float = Field(
        gt=0, description="Of one microstep, um: microstep size in the maker's table of the model."
    )
    min_um: float = Field(description="Soft limit: it is not moved below, um.")
    max_um: float = Field(description="Soft limit: it is not moved above, um.")

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> Self:
        if self.min_um >= self.max_um:
            raise ValueError(f"min_um {self.min_um:g} is not below max_um {self.max_um:g}")
        return self


class StageEntry(AddressedEntry, CalibratedEntry):
    """A motorised stage; each wire language has its own entry."""

    _quantities: ClassVar[Mapping[str, Quantity]] = {
        f"{axis}_gain": Quantity(
            "1",
            f"Way along {axis} that it tells over the true one, from a stage micrometer; told, not "
            "taken off.",
            positive=True,
        )
        for axis in ("x", "y", "z")
    }

    kind: Literal["stage"]
    on_failure: OnFailure = "note"

    def driver(self) -> Stage:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class ZaberAsciiEntry(StageEntry):
    """Axes on Zaber controllers that speak ASCII, one or several on one line."""

    language: Literal["zaber_ascii"]
    axes: dict[Literal["x", "y", "z"], AxisEntry] = Field(
        min_length=1, description="Which of x, y and z there are."
    )

    def bounds(self) -> Mapping[str, Span]:
        return {str(name): Span(one.min_um, one.max_um, "um") for name, one in self.axes.items()}

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.stage.zaber_ascii import ZaberStage

        return ZaberStage

    def driver(self) -> Stage:
        from instruments.stage.zaber_ascii import Axis, ZaberStage

        axes = {
            str(name): Axis(one.device, one.axis, one.micrometre_per_step, one.min_um, one.max_um)
            for name, one in self.axes.items()
        }
        return ZaberStage(self.address, axes)
