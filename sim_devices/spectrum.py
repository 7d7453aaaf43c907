"""What a Raman spectrometer sees of the cell: bands that follow the electrolyte and the film.

Excitation 532 nm, back-scattered from the working electrode. For zinc in zinc sulfate the bands are
those of the sulfate (451, 613, 980, 1105 cm-1), the zinc aquo ion (390), water (1640, 3230, 3430),
hydroxide at the electrode (465) and the OH of the hydroxide sulfate film (3633). A sodium cell
shows luminescence only: its electrolyte has no band in this model.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sim_devices.cell import Cell
from sim_devices.cell.parameters import REFERENCE_TEMPERATURE_K
from sim_devices.micrograph import Spot
from sim_devices.whereabouts import Whereabouts

_FULL_SCALE = 65535.0
_OFFSET_COUNTS = 100.0
_READ_NOISE_COUNTS = 6.0
_DARK_COUNTS_S = 2.0
_LAMP_COUNTS_S = 400.0  # stray light of the microscope lamp
_COSMICS_PER_S = 0.02
_POWER_NOISE = 0.01  # relative, of the laser
_FOCUS_DEPTH_UM = 20.0  # a film this thick displaces the electrolyte from the focus
_SPOT_UM = 20.0  # so far beside the electrode's front little of the film is in the spot
_CONFOCAL_UM = 50.0  # so far out of focus half of the light is lost
_AXIS_ERROR_CM1 = 0.5
_AXIS_ERROR_CM1_K = 0.02
_REFERENCE_EXPOSURE_MJ = 100.0  # the peak counts below are for this many mW s
_UMOL_PER_UM_MOL_L_CM2 = 0.1  # 1 mol/L in a film of 1 um over 1 cm2


class Band(NamedTuple):
    """A Gaussian band."""

    centre_cm1: float
    width_cm1: float  # full width at half maximum
    counts: float  # peak counts for 100 mW s and a weight of 1


ZINC_ION = Band(390, 30, 1500)
HYDROXIDE = Band(465, 15, 12000)  # per umol/cm2 of hydroxide at the electrode
SULFATE = (Band(451, 25, 600), Band(613, 22, 350), Band(1105, 30, 700))
SULFATE_STRETCH = Band(980.5, 8, 12000)
WATER = (Band(1640, 90, 500), Band(3230, 220, 5500), Band(3430, 210, 6500))
FILM_HYDROXYL = Band(3633, 20, 2500)  # per umol/cm2 of film


class Light(Protocol):
    """What a spectrometer looks at: `RamanScene`, or recorded spectra."""

    def counts(
        self,
        wavenumber_cm1: npt.ArrayLike,
        power_mw: float,
        integration_s: float,
        *,
        lamp: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Return one read-out of the detector, counts 0..65535 as floats."""


class RamanScene:
    """The light of the cell on a detector; it looks at the cell and never changes it."""

    def __init__(self, cell: Cell, seed: int, whereabouts: Whereabouts | None = None) -> None:
        """Aim at a cell's working electrode.

        Args:
            cell: what is looked at.
            seed: of this instrument's own noise.
            whereabouts: of the cell under the laser; None: it never moves.
        """
        self._cell = cell
        self._whereabouts = whereabouts or Whereabouts()
        self._spot = Spot()
        self._shone_mj: dict[tuple[int, int], float] = {}  # by spot
        self._random = np.random.default_rng(seed)

    def fresh(self) -> None:
        """Forget where light has been: another cell lies there."""
        self._shone_mj.clear()

    def bands(self) -> list[tuple[Band, float]]:
        """Return each band with its weight in the cell as it is; 1 for sulfate in a fresh cell."""
        cell = self._cell
        p = cell.parameters
        if p.metal.symbol != "Zn":
            return []
        with cell.lock:
            film_umol = cell.metal_electrode.zhs_mol_cm2 * 1e6
            in_films_umol = film_umol + cell.counter.zhs_mol_cm2 * 1e6
            film_um = cell.metal_electrode.zhs_um
            hydroxide_umol = cell.hydroxide_umol_cm2
            at_surface = cell.metal_electrode.surface_concentration
        salt_umol = p.salt_mol_l * p.separator_um * p.porosity * _UMOL_PER_UM_MOL_L_CM2
        salt = 1 - in_films_umol / salt_umol  # one sulfate per formula unit of film
        salt *= self._left_by_light()
        film, water = self._in_the_spot(cell.metal_electrode.parameters.compactness)
        visible = water * max(0.0, 1 - film * film_um / _FOCUS_DEPTH_UM)
        return [
            (ZINC_ION, visible),
            *((band, salt * visible) for band in SULFATE),
            (SULFATE_STRETCH, salt * visible * 0.5 * (1 + at_surface)),
            (HYDROXIDE, film * hydroxide_umol),
            *((band, water) for band in WATER),
            (FILM_HYDROXYL, film * film_umol),
        ]

    def _where(self) -> tuple[int, int]:
        moved = self._whereabouts.now()
        return round(moved.x_um / _SPOT_UM), round(moved.y_um / _SPOT_UM)

    def _left_by_light(self) -> float:
        """Return the share of the sulfate in this spot that the laser has not destroyed so far."""
        share = self._cell.light_share
        if not share:
            return 1.0
        shone = self._shone_mj.get(self._where(), 0.0) / self._cell.light_mj
        return 1 - share * (1 - math.exp(-shone))

    def _in_the_spot(self, compactness: float) -> tuple[float, float]:
        """Return the shares of film and electrolyte in the light, over those at the start.

        Moved up, the electrode itself comes into the spot and hides both; moved down, electrolyte
        fills it. Out of focus, less light of either comes back.
        """
        moved = self._whereabouts.now()
        beside = math.exp(-((moved.y_um / _SPOT_UM) ** 2))
        focus = 1 / (1 + (moved.z_um / _CONFOCAL_UM) ** 2)
        film = self._spot.film_share(moved, compactness) * beside * focus
        return film, (beside if moved.y_um > 0 else 1.0) * focus

    def light(self, wavenumber_cm1: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the counts that 100 mW s of laser light give, without noise and dark signal.

        Args:
            wavenumber_cm1: the spectrometer's axis, any length. The light is displaced against it
                by the spectrograph's own error, 0.5 cm-1 and 0.02 cm-1 per kelvin.
        """
        axis = np.asarray(wavenumber_cm1, dtype=float)
        with self._cell.lock:
            temperature_k, t = self._cell.temperature_k, self._cell.t
        error = _AXIS_ERROR_CM1 + _AXIS_ERROR_CM1_K * (temperature_k - REFERENCE_TEMPERATURE_K)
        luminescence = 1 + 0.05 * math.sin(t / 2.3e4)
        counts = 400 + 900 * np.exp(-axis / 1500) * luminescence
        for band, weight in self.bands():
            if weight:
                distance = (axis - band.centre_cm1 - error) / band.width_cm1
                counts += band.counts * weight * np.exp(-4 * math.log(2) * distance**2)
        return counts

    def counts(
        self,
        wavenumber_cm1: npt.ArrayLike,
        power_mw: float,
        integration_s: float,
        *,
        lamp: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Return one read-out of the detector, counts 0..65535 as floats.

        Photon noise, read noise (6 counts), offset (100 counts), dark current (2 counts/s), cosmic
        rays (0.02 per second) and 1 % noise of the laser's power are included.

        Args:
            wavenumber_cm1: the spectrometer's axis, ascending or not, any length of at least 2.
            power_mw: laser power at the cell; 0: the laser is off, a dark spectrum.
            integration_s: integration time.
            lamp: the microscope lamp is on and its stray light falls into the spectrometer.
        """
        axis = np.asarray(wavenumber_cm1, dtype=float)
        draw = self._random
        expected = np.full(len(axis), _DARK_COUNTS_S * integration_s)
        if lamp:
            expected += _LAMP_COUNTS_S * integration_s
        if power_mw > 0:
            exposure = power_mw * integration_s * (1 + draw.normal(0, _POWER_NOISE))
            expected += exposure / _REFERENCE_EXPOSURE_MJ * self.light(axis)
            where = self._where()
            self._shone_mj[where] = self._shone_mj.get(where, 0.0) + power_mw * integration_s
        counts = draw.poisson(np.maximum(expected, 0.0)).astype(float)
        counts += _OFFSET_COUNTS + draw.normal(0, _READ_NOISE_COUNTS, len(axis))
        for _ in range(draw.poisson(_COSMICS_PER_S * integration_s)):
            pixel = int(draw.integers(0, len(axis) - 1))
            counts[pixel : pixel + 2] += draw.lognormal(8.3, 0.8) * np.array([1.0, 0.4])
        return np.clip(np.rint(counts), 0.0, _FULL_SCALE)
