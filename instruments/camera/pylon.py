"""Basler cameras and their emulation, through the maker's library in a process of its own.

The library (`pypylon`, an optional extra: proprietary, 240 MB) hangs and spins when a cable is
pulled, so it lives in a child process and is never imported here.

The child also writes the file. That was decided on three grounds. The process whose reader thread
must keep up with the potentiostat spends 0.2 ms per frame (measured, 1600 x 1200 pixels); taking
the pixels over the pipe would cost it 3 ms and compressing them 4 more. A frame is acknowledged
after its flush, so a kill -9 of either process leaves every acknowledged frame readable. And when
the RunEngine's process dies, the child reads end-of-file on its pipe and closes the file in order.
The price: a child that dies ends its file, and recording goes on only in a new one.

Addresses: ``pylon://SERIAL``, ``pylon://`` (the first camera found), and
``pylon-emulation:///folder``: the maker's camera emulation, whose pictures are the one image file
in that folder, read anew for every frame. If a ``frame.json`` ({"host_time": s since 1970}) lies
beside it, it says when the picture now in the folder was made.
"""

from typing import ClassVar

from instruments.abilities import Abilities, Span
from instruments.camera._supervised import SupervisedCamera


class PylonCamera(SupervisedCamera):
    """One Basler camera, or one emulated by the maker's library.

    Args:
        address: ``pylon://SERIAL``, ``pylon://``, ``pylon-emulation:///folder``, or ``published:``
            any of these.
        exposure_time_s: set when connecting; the camera rounds it to its own grid.
        pixel_format: ``Mono8``.
    """

    # Of this package: has the maker's library.
    extra: ClassVar[str] = "camera"
    _target: ClassVar[str] = "instruments.camera._pylon_process:serve"
    _emulated: ClassVar[str | None] = "pylon-emulation:"

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Basler cameras",
                does=("expose when asked",),
                limits={"exposure time": Span(None, None, "s")},
                limits_kept_by="instrument",
                limits_note="the camera refuses what it cannot, and tells what it can",
            ),
        )
