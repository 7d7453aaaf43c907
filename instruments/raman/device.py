"""The Raman spectrometer as a bluesky device that follows the potentiostat."""

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from bluesky.protocols import Reading, StreamAsset
from event_model import DataKey
from numpy.typing import NDArray

from instruments._assets import AssetStream
from instruments._follower import Follower, Phase
from instruments._swmr import SwmrFile
from instruments.errors import InstrumentError, TransportError
from instruments.lending import USES_AT_MOST
from instruments.raman.contract import (
    COUNTS_DATASET,
    DARK_DATASET,
    SPECTRUM_DATASET,
    WAVENUMBER_DATASET,
    RamanSpectrometer,
)
from instruments.raman.spots import AXES, Carrier, Spots
from techniques import FreshSpots

_log = logging.getLogger(__name__)


class Lamp(Protocol):
    """The light of the microscope, as a state."""

    def off(self) -> None:
        """Be off when this returns."""
        ...


class RamanDevice(Follower):
    """A Raman spectrometer: spectra in a file of their own, one event row per spectrum.

    ``trigger`` returns at once; the spectrum is taken in the device's worker thread: light lock,
    lamp off, a dark spectrum if the last one is stale, laser on, the read-outs, laser off, a row
    into the file. The file is made by ``stage`` in ``assets_dir`` and closed by ``unstage``; stage
    once per run, since a file is announced in one run only. Rows that are not saved yet can be
    saved after ``unstage``, until the next ``stage``.

    A row stores all read-outs as they came (``counts``), the dark counts that were subtracted
    (``dark``) and the mean of the read-outs less the dark (``spectrum``). Cosmic rays are removed
    by the analysis, which needs the single read-outs for it.

    Args:
        driver: the spectrometer.
        name: prefix of the event keys.
        integration_time_s: of one read-out.
        accumulations: read-outs per spectrum; three or more let the analysis find cosmic rays.
        laser_power_w: set when staging; ``None`` keeps what the driver was given.
        bands_cm1: ``stage`` refuses an axis on which they do not lie.
        lamp: the microscope's, switched off for each spectrum; ``None`` if there is none (the
            column ``lamp`` is then NaN).
        light_lock: held during an exchange; give the same one to the camera's device, and lamp
            and laser are never on together.
    """

    _columns: ClassVar[Mapping[str, str | None]] = {
        "integration_time": "s",
        "accumulations": None,
        "laser": None,
        "laser_power": "W",
        "laser_time": "s",
        "lamp": None,
        "detector_temperature": "degC",
        "saturated": None,
    }

    def __init__(
        self,
        driver: RamanSpectrometer,
        *,
        name: str = "raman",
        integration_time_s: float,
        accumulations: int = 3,
        laser_power_w: float | None = None,
        bands_cm1: Sequence[float] = (),
        lamp: Lamp | None = None,
        light_lock: contextlib.AbstractContextManager[Any] | None = None,
    ) -> None:
        super().__init__(name=name)
        self.driver = driver
        self.assets_dir: Path | None = None
        self.integration_time_s = integration_time_s
        self.accumulations = accumulations
        self.laser_power_w = laser_power_w
        self.bands_cm1 = tuple(bands_cm1)
        self._lamp = lamp
        self._light_lock = light_lock if light_lock is not None else threading.Lock()
        self._file: SwmrFile | None = None
        self._stream: AssetStream | None = None
        self._dark: NDArray[np.float64] = np.empty(0)
        self._ending = threading.Event()
        self._ending.set()
        self._spots: Spots | None = None
        self._where: dict[str, float] = {}

    # -- bluesky

    def connect(self) -> None:
        """Open the spectrometer; blocks about a second, raises what the driver raises."""
        self.driver.connect()

    def stage(self) -> list[object]:
        """Check the bands, set the laser's power and make the file for the spectra to come.

        Raises:
            RuntimeError: ``assets_dir`` is not set, or the device is staged already.
            UnsupportedTechniqueError: a band lies outside the axis.
            SafetyLimitError: the laser's power is outside what the maker allows.
            TransportError: the spectrometer is not connected, or the file cannot be made.
        """
        staged: list[object] = super().stage()
        try:
            if self.assets_dir is None:
                raise RuntimeError(f"{self.name}: set assets_dir before staging")
            self.drop_unsaved()
            self.driver.require_bands(self.bands_cm1)
            if not self.comes_and_goes:
                self._set_up()
            try:
                self._make_file(Path(self.assets_dir))
            except OSError as error:
                raise TransportError(f"{self.name}: cannot record spectra: {error}") from error
            self._ending.clear()
        except BaseException:
            super().unstage()
            raise
        return staged

    def _set_up(self) -> None:
        self.driver.arm()
        if self.laser_power_w is not None:
            self.driver.set_laser_power(self.laser_power_w)

    def unstage(self) -> list[object]:
        """End the worker after the spectrum that is open, laser off, file closed; idempotent."""
        self._ending.set()
        # A dark spectrum may come before the spectrum.
        self.close_worker(2 * self.accumulations * (self.integration_time_s + 3.0) + 10.0)
        try:
            self.driver.safe_state()
        finally:
            file, self._file = self._file, None
            if file is not None:
                file.close()
            unstaged: list[object] = super().unstage()
        return unstaged

    def describe_configuration(self) -> dict[str, DataKey]:
        pixels = self.driver.specification.pixels

        def key(dtype: Any, units: str = "", shape: Sequence[int] = ()) -> DataKey:
            return DataKey(
                source=f"driver:{self.name}", dtype=dtype, shape=list(shape), units=units
            )

        return {
            f"{self.name}_wavenumber": key("array", "cm-1", [pixels]),
            f"{self.name}_excitation": key("number", "nm"),
            **{f"{self.name}_{name}": key("string") for name in self.driver.identify()},
        }

    def read_configuration(self) -> dict[str, Reading[Any]]:
        now = time.time()
        values = {
            "wavenumber": self.driver.wavenumber_axis().tolist(),
            "excitation": self.driver.specification.excitation_nm,
            **self.driver.identify(),
        }
        return {
            f"{self.name}_{key}": {"value": value, "timestamp": now}
            for key, value in values.items()
        }

    def safe_state(self) -> None:
        """Switch the laser off now, whatever is under way; idempotent, from any thread."""
        self._ending.set()
        self.call_off()
        self.driver.safe_state()

    def close(self) -> None:
        """End the worker, switch the laser off and release the spectrometer; idempotent."""
        self._ending.set()
        try:
            self.driver.safe_state()
        finally:
            self.close_worker()
            self.driver.close()

    # -- spots

    def watch_spots(self, carrier: Carrier | None, fresh: FreshSpots | None = None) -> None:
        """Record where each spectrum of the runs to come is taken; to be told between runs.

        Args:
            carrier: the stage that carries the sample; ``None``: there is none, and one spot.
            fresh: how often one is taken where no light has been.

        Raises:
            ValueError: there is no stage, or it does not know where it is.
            SafetyLimitError: its limits leave no fresh spot.
        """
        if carrier is None and fresh is not None:
            raise ValueError(
                f"{self.name}: fresh spots are asked for, and no stage moves the sample: add one "
                "to the bench, or leave fresh_spots out of the protocol"
            )
        spots = None if carrier is None else Spots(carrier, fresh, self._note)
        if spots is not None:
            spots.check()
        self._spots = spots

    def _quantities(self) -> Mapping[str, str | None]:
        if self._spots is None:
            return self._columns
        return {**self._columns, "spot": None, **dict.fromkeys(AXES, "um")}

    # -- what Follower asks for

    def _exchange(self, request: dict[str, Any]) -> None:
        """Take a dark spectrum if need be, then the row's spectrum, in one light."""
        self._go_on()
        # No picture is taken meanwhile: while the sample is moved it would be of another place.
        with self._light_lock:
            if self._spots is None:
                self._expose(request)
                return
            counted = request["phase"] != Phase.BLANK
            with self._spots.next(counted=counted) as spot:
                self._where = {"spot": spot, **self._spots.position_um()}
                self._expose(request)

    def _expose(self, request: dict[str, Any]) -> None:
        if self._lamp is not None:
            self._lamp.off()
        # A spectrometer that was lost (a cable, a hub) may be back for this spectrum.
        self.driver.connect()
        if self.comes_and_goes:
            self._set_up()
        self._dark = self.driver.dark(self.integration_time_s, self.accumulations)
        self._go_on()
        # The leader's time is noted there, so that it encloses the laser's light only.
        super()._exchange(request)

    def _longest_use_s(self) -> float:
        # With the dark spectrum that may come before it.
        expected_s = 2 * self.accumulations * self.integration_time_s
        return max(super()._longest_use_s(), USES_AT_MOST * expected_s)

    def _acquire(self, **request: Any) -> tuple[dict[str, float], int]:
        taken = self.driver.acquire(self.integration_time_s, self.accumulations)
        file = self._file
        if file is None:
            raise InstrumentError(f"{self.name}: no spectra outside stage() and unstage()")
        self._require_lease()
        index = file.append(
            {
                COUNTS_DATASET: taken.counts,
                DARK_DATASET: self._dark,
                SPECTRUM_DATASET: taken.counts.mean(axis=0) - self._dark,
            }
        )
        return {
            "host_before": taken.host_before_ns * 1e-9,
            "host_after": taken.host_after_ns * 1e-9,
            "integration_time": taken.integration_time_s,
            "accumulations": float(len(taken.counts)),
            "laser": float(taken.laser_on),
            "laser_power": taken.laser_power_w,
            "laser_time": taken.laser_time_s,
            "lamp": math.nan if self._lamp is None else 0.0,
            "detector_temperature": taken.detector_temperature_c,
            "saturated": float(taken.saturated_pixels),
            **(self._where if self._spots is not None else {}),
        }, index

    def _describe_assets(self) -> dict[str, DataKey]:
        return {
            f"{self.name}_{key}": DataKey(
                source=f"driver:{self.name}",
                dtype="array",
                dtype_numpy="<f8",
                shape=list(shape),
                external="STREAM:",
                units="counts",
            )
            for key, (_, shape) in self._assets().items()
        }

    def _asset_docs(self, index: int) -> Iterator[StreamAsset]:
        if self._stream is not None:
            yield from self._stream.documents(index, index + 1)

    # -- the file

    def _assets(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return suffix of the event key -> (dataset, shape of a row)."""
        pixels = self.driver.specification.pixels
        return {
            "counts": (COUNTS_DATASET, (self.accumulations, pixels)),
            "dark": (DARK_DATASET, (pixels,)),
            "spectrum": (SPECTRUM_DATASET, (pixels,)),
        }

    def _make_file(self, folder: Path) -> None:
        path = folder.resolve() / f"{self.name}-{uuid.uuid4().hex[:8]}.h5"
        assets = self._assets()
        self._file = SwmrFile(
            path,
            {dataset: (shape, "f8") for dataset, shape in assets.values()},
            constants={WAVENUMBER_DATASET: self.driver.wavenumber_axis()},
            attributes={
                WAVENUMBER_DATASET: {"units": "cm-1"},
                **{dataset: {"units": "counts"} for dataset, _ in assets.values()},
            },
        )
        self._stream = AssetStream(
            path, {f"{self.name}_{key}": asset for key, asset in assets.items()}
        )

    def _go_on(self) -> None:
        if self._ending.is_set():
            raise InstrumentError(f"{self.name}: no spectra outside stage() and unstage()")
