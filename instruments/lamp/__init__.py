"""Lamps that are switched by themselves, with or without a camera.

The device class is loaded on first use, so that drivers work without ophyd.
"""

from typing import TYPE_CHECKING, Any

from instruments.lamp.relay import SwitchedLamp

if TYPE_CHECKING:
    from instruments.lamp.device import LampDevice

__all__ = ["LampDevice", "SwitchedLamp"]


def __getattr__(name: str) -> Any:
    if name == "LampDevice":
        from instruments.lamp.device import LampDevice

        return LampDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
