"""GenICam cameras of any maker on GigE Vision or USB3 Vision, through the library Aravis.

The library (LGPL, of the operating system) runs in a child process, as Basler's does and for the
same reasons; the child writes the file. A frame is exposed when it is asked for, by a software
trigger; acquisition goes on between frames. Packets that are lost on the network are asked for
again by the library; a frame that stays incomplete is thrown away and exposed anew, once.

Addresses: ``aravis://192.168.1.20`` (a GigE camera's address), ``aravis://SERIAL``,
``aravis://MAKER-SERIAL``, or ``aravis://``: the only camera there is; cameras within this computer
(simulated ones) are taken by their address alone.
"""

from typing import Any, ClassVar

from instruments.abilities import Abilities, Span
from instruments.camera._supervised import SupervisedCamera


class AravisCamera(SupervisedCamera):
    """One GenICam camera.

    Args:
        address: ``aravis://192.168.1.20``, ``aravis://SERIAL``, ``aravis://``, or ``published:``
            any of these.
        exposure_time_s: set when connecting; the camera rounds it to its own grid.
        pixel_format: one of `instruments.camera.contract.BITS_OF` that the camera has.
        gain: in the camera's unit (by GenICam's naming convention usually dB); ``None``: it stays
            as it is.
        region: first column, first row, width and height of what is read of the sensor, pixels;
            ``None``: all of it.
    """

    # Of the operating system.
    library: ClassVar[str] = "libaravis-0.8-0"
    _target: ClassVar[str] = "instruments.camera._aravis_process:serve"

    def __init__(
        self,
        address: str,
        *,
        exposure_time_s: float = 0.01,
        pixel_format: str = "Mono8",
        gain: float | None = None,
        region: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__(address, exposure_time_s=exposure_time_s, pixel_format=pixel_format)
        self._gain = gain
        self._region = region

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="GenICam cameras",
                does=("expose when asked", "read a region", "set the gain"),
                limits={
                    "exposure time": Span(None, None, "s"),
                    "gain": Span(None, None, "in its own unit"),
                },
                limits_kept_by="instrument",
                limits_note="the camera refuses what it cannot, and tells what it can",
            ),
        )

    def _fixed(self) -> dict[str, Any]:
        return {"gain": self._gain, "region": self._region}
