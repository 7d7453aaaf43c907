"""Motorised stages: where the sample stands, as columns, and moved within soft limits.

The device class is loaded on first use, so that drivers work without ophyd.
"""

from typing import TYPE_CHECKING, Any

from instruments.stage.contract import Stage, TravelLimitError

if TYPE_CHECKING:
    from instruments.stage.device import StageDevice

__all__ = ["Stage", "StageDevice", "TravelLimitError"]


def __getattr__(name: str) -> Any:
    if name == "StageDevice":
        from instruments.stage.device import StageDevice

        return StageDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
