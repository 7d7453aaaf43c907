"""What camera, spectrometer and chromatograph see of a cell that was measured before.

Each serves what was recorded nearest to where the cell is in its history.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sim_devices.chromatograph import RUN_S, VALUES_PER_SECOND, InjectingInstrument
from sim_devices.clock import SimulatedClock
from sim_devices.history import Floats, HistoryError
from sim_devices.recorded_cell import RecordedCell
from sim_devices.truth import Truth

_DARK_GREY = 4
_LASER_GREY, _LASER_CONTRAST = 215, 0.15  # the laser drowns the picture
_FULL_SCALE = 65535.0
# Recorded at the same time to within this, s.
_SAME_TIME_S = 1e-3


def _nearest(times_s: Floats, at_s: float) -> npt.NDArray[np.intp]:
    """Return which entries are nearest to a time; more than one were recorded together."""
    away = np.abs(times_s - at_s)
    return np.flatnonzero(away <= away.min() + _SAME_TIME_S)


def _times(cell: RecordedCell, instrument: str, rows: int, what: str) -> Floats:
    group = cell.history.need(instrument)
    times = np.asarray(group["t_s"], dtype=np.float64)
    if len(times) != rows or not np.all(np.isfinite(times)):
        raise HistoryError(
            f"{cell.history.path}: {group.name}/t_s has {len(times)} values for {rows} {what}, or "
            "one that is not a number"
        )
    return times


class RecordedFrame(NamedTuple):
    """Which frame a picture is."""

    cell_t: float  # s
    number: int
    recorded_t_s: float

    def told(self) -> dict[str, float]:
        """Return what the truth says of it."""
        return {"recorded_frame": self.number, "recorded_t_s": self.recorded_t_s}


class RecordedView:
    """The microscope of history: the recorded frame that is nearest in the experiment.

    The pictures are as they were, their noise included; they are served in their own size.
    """

    def __init__(self, cell: RecordedCell) -> None:
        """Mount the cell.

        Raises:
            HistoryError: no frames were recorded, or they are no 8-bit pictures.
        """
        self._cell = cell
        group = cell.history.need("camera")
        self._frames = group.get("frames")
        if self._frames is None or self._frames.ndim != 3 or self._frames.dtype != np.uint8:
            raise HistoryError(
                f"{cell.history.path}: camera/frames must be 8-bit pictures of shape "
                f"(frames, rows, columns)"
            )
        self._times = _times(cell, "camera", len(self._frames), "frames")
        self.micrometre_per_pixel = float(group.attrs.get("micrometre_per_pixel", 1.0))
        self._shown: tuple[int, npt.NDArray[np.uint8]] | None = None

    def cell_time(self) -> float:
        """Return the cell's time, s."""
        with self._cell.lock:
            return self._cell.t

    def frame(
        self, *, lamp: bool = True, laser: bool = False
    ) -> tuple[npt.NDArray[np.uint8], RecordedFrame]:
        """Return the picture (rows, columns) that is nearest, and which it is."""
        with self._cell.lock:
            at, t = self._cell.recorded_time(), self._cell.t
        number = int(_nearest(self._times, at)[0])
        if self._shown is None or self._shown[0] != number:
            self._shown = number, self._frames[number]
        picture = self._shown[1]
        if not lamp:
            picture = np.full_like(picture, _DARK_GREY)
        if laser:
            picture = (_LASER_GREY + _LASER_CONTRAST * picture).astype(np.uint8)
        return picture, RecordedFrame(t, number, float(self._times[number]))


class RecordedLight:
    """The Raman light of history: the recorded spectrum that is nearest in the experiment.

    Its read-outs come one after the other, at the asked wavenumbers by linear interpolation. With
    another laser power or integration time than recorded, what is above the dark signal is scaled
    by the exposure. Several spectra of the same moment (blanks) take turns.
    """

    def __init__(self, cell: RecordedCell) -> None:
        """Aim at the cell.

        Raises:
            HistoryError: no spectra were recorded, or datasets do not fit one another.
        """
        self._cell = cell
        self._group = group = cell.history.need("raman")
        for name in ("wavenumber_cm1", "counts", "dark", "integration_s", "power_mw"):
            if name not in group:
                raise HistoryError(f"{cell.history.path} lacks the dataset raman/{name}")
        spectra, self._read_outs, pixels = group["counts"].shape
        if group["dark"].shape != (spectra, pixels) or len(group["wavenumber_cm1"]) != pixels:
            raise HistoryError(
                f"{cell.history.path}: raman/counts of shape {group['counts'].shape}, "
                f"raman/dark {group['dark'].shape} and raman/wavenumber_cm1 "
                f"{group['wavenumber_cm1'].shape} do not fit"
            )
        self._times = _times(cell, "raman", spectra, "spectra")
        axis = np.asarray(group["wavenumber_cm1"], dtype=np.float64)
        self._order = np.argsort(axis)
        self._axis = axis[self._order]
        self._exposure_mj = np.asarray(group["power_mw"]) * np.asarray(group["integration_s"])
        self._served = 0
        self._among: tuple[int, ...] = ()

    def counts(
        self,
        wavenumber_cm1: npt.ArrayLike,
        power_mw: float,
        integration_s: float,
        *,
        lamp: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Return one read-out of the detector, counts 0..65535 as floats.

        Args:
            wavenumber_cm1: the spectrometer's axis, any order.
            power_mw: laser power at the cell; 0: the laser is off, the recorded dark signal.
            integration_s: integration time.
            lamp: the lamp's stray light is not in the record and is not added.
        """
        with self._cell.lock:
            at = self._cell.recorded_time()
        among = tuple(int(i) for i in _nearest(self._times, at))
        if among != self._among and not self._goes_on(among):
            self._among, self._served = among, 0
        among = self._among
        round_, read_out = divmod(self._served, self._read_outs)
        number = among[round_ % len(among)]
        dark = self._group["dark"][number]
        counts = dark
        if power_mw > 0:
            self._served += 1
            exposure = power_mw * integration_s
            recorded = float(self._exposure_mj[number])
            scale = exposure / recorded if recorded > 0 else 1.0
            counts = dark + (self._group["counts"][number, read_out] - dark) * scale
        axis = np.asarray(wavenumber_cm1, dtype=np.float64)
        found = np.interp(axis, self._axis, np.asarray(counts, dtype=np.float64)[self._order])
        return np.clip(np.rint(found), 0.0, _FULL_SCALE)

    def _goes_on(self, among: tuple[int, ...]) -> bool:
        """Return whether a spectrum is under way that the next one has only just come nearer than.

        Its read-outs belong together: those of two spectra would make one that nobody recorded.
        """
        begun = self._served % self._read_outs > 0
        return begun and min(abs(one - other) for one in among for other in self._among) <= 1


class RecordedChromatograph(InjectingInstrument):
    """The chromatograph of history: the recorded trace that is nearest in the experiment."""

    def __init__(
        self, cell: RecordedCell, clock: SimulatedClock, truth: Truth, folder: Path
    ) -> None:
        """Switch on, ready.

        Args:
            cell: its history holds the traces.
            clock: of the bench; hurried while a run is in progress.
            truth: is told which trace was served.
            folder: made if need be; result files appear in it complete, by renaming.

        Raises:
            HistoryError: no chromatograms were recorded, or they do not fit their times.
        """
        self._cell = cell
        group = cell.history.need("chromatograph")
        self._interval_s = float(group.attrs.get("sample_interval_s", 0.0))
        if "traces" not in group or group["traces"].ndim != 2 or not self._interval_s > 0:
            raise HistoryError(
                f"{cell.history.path}: chromatograms needs traces of shape (injections, values) "
                "and the attribute sample_interval_s above 0"
            )
        self._traces = group["traces"]
        self._times = _times(cell, "chromatograph", len(self._traces), "traces")
        super().__init__(clock, truth, folder)

    def take_in(self) -> tuple[dict[str, Any], Callable[[], npt.NDArray[np.float64]]]:
        with self._cell.lock:
            at, t = self._cell.recorded_time(), self._cell.t
        number = int(_nearest(self._times, at)[0])
        told = {
            "cell_t_s": t,
            "recorded_injection": number,
            "recorded_t_s": float(self._times[number]),
        }
        return told, lambda: self._trace(number)

    def _trace(self, number: int) -> npt.NDArray[np.float64]:
        values = np.asarray(self._traces[number], dtype=np.float64)
        t = np.arange(round(RUN_S * VALUES_PER_SECOND)) / VALUES_PER_SECOND
        return np.interp(t, np.arange(len(values)) * self._interval_s, values)
