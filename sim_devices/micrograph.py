"""A microscope's side view of the working electrode, drawn from the state of the cell.

The picture is an 8-bit BMP that is replaced 20 times a second in a folder, where a camera emulation
takes it from. Bright electrolyte above, dark electrode below; the leftmost columns of the electrode
stay bare, as a reference for the height.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sim_devices.cell import Cell
from sim_devices.cell.parameters import GAS_CONSTANT
from sim_devices.lights import Lights
from sim_devices.truth import Truth
from sim_devices.whereabouts import Displacement, Whereabouts
from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf, WireFaults

WIDTH, HEIGHT = 1600, 1200
MICROMETRE_PER_PIXEL = 0.5
BARE_COLUMNS = 120
FRAME_INTERVAL_S = 0.045

_SUBSTRATE_ROW = 950  # of the bare electrode's surface at cell time 0
_DRIFT_PX_S, _DRIFT_RANGE_PX = 1 / 60, 40  # of the stage; it springs back
_ELECTROLYTE_GREY, _ELECTRODE_GREY = 180, 45
_SHADING = 0.18  # loss of light in the corners
_BLUR_PX = 1.2
_DEPTH_OF_FOCUS_UM = 10.0
_NOISE_GREY = 3.0
_DARK_GREY = 4.0
_DARK_FRAMES = 8
_LASER_GREY, _LASER_CONTRAST = 215, 0.15  # the laser drowns the picture
_ROUGHNESS = 0.3  # of a deposit, per missing compactness
_HURST = 0.7
_TIP_COLUMN, _TIP_SIGMA_PX = 1100, 20.0
_BUBBLE_LANES, _FIRST_LANE, _LANE_PITCH = 5, 265, 255
_BUBBLE_SHARE = 2e-4  # of the gas that is seen sitting on the electrode
_BUBBLE_DETACHES_UM, _BUBBLE_SEEN_UM = 60.0, 5.0
_ATMOSPHERE_PA = 101325.0
_NOISE_BANK = 256
_STALE_S = 10.0
_FOLDER_PREFIX = "simulated-camera-"


class Bubble(NamedTuple):
    """A gas bubble in front of the electrode."""

    column_px: float
    above_deposit_px: float  # its lower edge above the deposit's 95 % height
    radius_px: float


class Scene(NamedTuple):
    """What one frame shows."""

    cell_t: float  # s
    heights_px: npt.NDArray[np.float64]  # of the deposit above the substrate, per column
    surface_row: float  # of the bare substrate
    bubbles: tuple[Bubble, ...]
    thickness_um: float  # mean of the deposit, its film included, without the dendrite
    micrometre_per_pixel: float
    moved: Displacement = Displacement(0.0, 0.0, 0.0)  # by a stage, since the start

    def told(self) -> dict[str, float]:
        """Return what the truth says of it."""
        return {
            "thickness_um": self.thickness_um,
            "highest_um": float(self.heights_px.max()) * self.micrometre_per_pixel,
            "bubbles": len(self.bubbles),
            **self.moved._asdict(),
        }


class Shown(Protocol):
    """What is on a picture."""

    @property
    def cell_t(self) -> float:
        """Cell time, s."""

    def told(self) -> dict[str, float]:
        """Return what the truth says of it."""


class View(Protocol):
    """What a camera looks at: `SideView`, or recorded frames."""

    micrometre_per_pixel: float

    def frame(
        self, *, lamp: bool = True, laser: bool = False
    ) -> tuple[npt.NDArray[np.uint8], Shown]:
        """Expose a frame; return the picture and what it shows."""

    def cell_time(self) -> float:
        """Return the cell's time, s."""


class SideView:
    """The microscope: it looks at a cell's working electrode and never changes it."""

    def __init__(
        self,
        cell: Cell,
        seed: int = 0,
        micrometre_per_pixel: float = MICROMETRE_PER_PIXEL,
        whereabouts: Whereabouts | None = None,
    ) -> None:
        """Mount the cell.

        Args:
            cell: what is looked at.
            seed: of the camera's noise. The shape of the deposit is the same for every seed.
            micrometre_per_pixel: magnification.
            whereabouts: of the cell; None: it never moves.
        """
        self._cell = cell
        self._whereabouts = whereabouts or Whereabouts()
        self.micrometre_per_pixel = micrometre_per_pixel
        self._random = draw = np.random.default_rng(seed)
        self._shape = _self_affine(WIDTH, BARE_COLUMNS)
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
        distance = (columns - WIDTH / 2) ** 2 + (rows - HEIGHT / 2) ** 2
        shading = 1 - _SHADING * distance / (WIDTH**2 / 4 + HEIGHT**2 / 4)
        self._bright = (_ELECTROLYTE_GREY * shading).astype(np.int16)
        self._dark = (_ELECTRODE_GREY * shading).astype(np.int16)
        # Noise is drawn once; each frame takes a window of it at a random place.
        bank = (HEIGHT + _NOISE_BANK, WIDTH + _NOISE_BANK)
        self._noise = np.rint(draw.normal(0, _NOISE_GREY, bank)).astype(np.int8)
        # The edge's blur, in sixteenths of a pixel.
        distances = np.arange(-96, 97) / 16 / (_BLUR_PX * math.sqrt(2))
        self._edge = np.array([0.5 * (1 + math.erf(d)) for d in distances], dtype=np.float32)
        self._lanes = np.random.default_rng(7).random((16, 2))

    # ---- what there is to see

    def scene(self) -> Scene:
        """Return what is in front of the microscope at this moment."""
        cell = self._cell
        with cell.lock:
            electrode = cell.metal_electrode
            deposit = electrode.deposit_mah_cm2
            film_um, tip_um = electrode.zhs_um, electrode.tip_um
            gas_mol, t, temperature_k = cell.hydrogen_gas_mol, cell.t, cell.temperature_k
        compactness = electrode.parameters.compactness
        thickness_um = max(deposit * cell.micrometre_per_mah_cm2 / compactness + film_um, 0.0)
        moved = self._whereabouts.now()
        right_px, up_px = (um / self.micrometre_per_pixel for um in moved[:2])
        # Which column of the sample, counted where it was at the start, each of the picture shows.
        column = np.arange(WIDTH, dtype=np.float64) - right_px
        heights = thickness_um * _relative_height(self._shape, column, compactness)
        tip = np.exp(-0.5 * ((column - _TIP_COLUMN) / _TIP_SIGMA_PX) ** 2)
        heights = np.maximum(np.maximum(heights, 0.0), tip_um * tip)
        heights[column < BARE_COLUMNS] = 0.0
        bubbles = self._bubbles(gas_mol, temperature_k)
        return Scene(
            t,
            heights / self.micrometre_per_pixel,
            _SUBSTRATE_ROW + t * _DRIFT_PX_S % _DRIFT_RANGE_PX - up_px,
            tuple(one._replace(column_px=one.column_px + right_px) for one in bubbles),
            thickness_um,
            self.micrometre_per_pixel,
            moved,
        )

    def _bubbles(self, gas_mol: float, temperature_k: float) -> tuple[Bubble, ...]:
        """Bubbles grow one after the other in each lane; only the gas decides."""
        volume_m3 = 4 / 3 * math.pi * (_BUBBLE_DETACHES_UM * 1e-6) ** 3
        full_bubble_mol = _ATMOSPHERE_PA * volume_m3 / (GAS_CONSTANT * temperature_k)
        per_lane = gas_mol * _BUBBLE_SHARE / full_bubble_mol / _BUBBLE_LANES
        px = self.micrometre_per_pixel
        bubbles = []
        for lane in range(_BUBBLE_LANES):
            grown = per_lane - float(self._lanes[lane, 0])
            if grown <= 0:
                continue
            number = int(grown)
            radius_um = _BUBBLE_DETACHES_UM * (grown - number) ** (1 / 3)
            if radius_um > _BUBBLE_SEEN_UM:
                column = _FIRST_LANE + _LANE_PITCH * lane + 12 * math.sin(7.0 * number + lane)
                above = 66 / px + 180 * float(self._lanes[lane + 8, 0])
                bubbles.append(Bubble(column, above, radius_um / px))
        return tuple(bubbles)

    def cell_time(self) -> float:
        """Return the cell's time, s."""
        with self._cell.lock:
            return self._cell.t

    # ---- the picture of it

    def frame(
        self, *, lamp: bool = True, laser: bool = False
    ) -> tuple[npt.NDArray[np.uint8], Scene]:
        """Expose a frame.

        Args:
            lamp: without it the frame is dark.
            laser: it drowns the picture.

        Returns:
            The picture, 1200 rows of 1600 grey values, and what it shows.
        """
        scene = self.scene()
        if lamp:
            picture = self._draw(scene)
        else:
            picture = np.full((HEIGHT, WIDTH), _DARK_GREY, dtype=np.int16)
        if laser:
            picture = (_LASER_GREY + _LASER_CONTRAST * picture).astype(np.int16)
        down, right = self._random.integers(0, _NOISE_BANK, 2)
        picture += self._noise[down : down + HEIGHT, right : right + WIDTH]
        np.clip(picture, 0, 255, out=picture)
        return picture.astype(np.uint8), scene

    def _draw(self, scene: Scene) -> npt.NDArray[np.int16]:
        edge_row = scene.surface_row - scene.heights_px
        picture = self._bright.copy()
        blurred = math.hypot(1.0, scene.moved.z_um / _DEPTH_OF_FOCUS_UM)
        top = min(max(0, int(edge_row.min() - 6 * blurred)), HEIGHT)
        bottom = max(min(HEIGHT, int(edge_row.max() + 6 * blurred) + 1), 0)
        picture[bottom:] = self._dark[bottom:]
        # Only the rows where some column's edge lies are computed pixel by pixel.
        rows = np.arange(top, bottom, dtype=np.float32)[:, None]
        below = (rows - edge_row[None, :].astype(np.float32)) * (16 / blurred)
        np.clip(below, -96, 96, out=below)
        electrode = self._edge[(below + 96).astype(np.uint8)]
        picture[top:bottom] = (
            self._bright[top:bottom] * (1 - electrode) + self._dark[top:bottom] * electrode
        )
        base = scene.surface_row - float(np.percentile(scene.heights_px, 95))
        for bubble in scene.bubbles:
            _draw_bubble(picture, bubble, base - bubble.above_deposit_px - bubble.radius_px)
        return picture


def _draw_bubble(picture: npt.NDArray[np.int16], bubble: Bubble, centre_row: float) -> None:
    """Darken the rim of a bubble, as total reflection does."""
    radius, column = bubble.radius_px, bubble.column_px
    top, bottom = max(0, int(centre_row - radius - 4)), min(HEIGHT, int(centre_row + radius + 5))
    left, right = max(0, int(column - radius - 4)), min(WIDTH, int(column + radius + 5))
    if bottom <= top or right <= left:
        return
    from_centre = np.hypot(
        np.arange(top, bottom, dtype=np.float32)[:, None] - centre_row,
        np.arange(left, right, dtype=np.float32)[None, :] - column,
    )
    rim = 0.55 * np.exp(-0.5 * ((from_centre - radius + 1.5) / 2.0) ** 2)
    window = picture[top:bottom, left:right]
    window[:] = window * (1 - rim)


def _relative_height(
    shape: npt.NDArray[np.float64], column: npt.NDArray[np.float64], compactness: float
) -> npt.NDArray[np.float64]:
    """Return the deposit over its mean thickness at columns of the sample; it repeats itself."""
    around = np.append(shape, shape[0])
    line = np.interp(column % len(shape), np.arange(len(around)), around)
    return np.asarray(1 + _ROUGHNESS * (1 - compactness) * line)


class Spot:
    """What lies where the laser falls: the middle of the picture, at the electrode's front."""

    def __init__(self, micrometre_per_pixel: float = MICROMETRE_PER_PIXEL) -> None:
        """Look at the deposit that the microscope shows at this magnification."""
        self._shape = _self_affine(WIDTH, BARE_COLUMNS)
        self._micrometre_per_pixel = micrometre_per_pixel

    def film_share(self, moved: Displacement, compactness: float) -> float:
        """Return how much of a film is there, over what there was before the cell moved."""
        columns = WIDTH / 2 - np.array([moved.x_um / self._micrometre_per_pixel, 0.0])
        here, before = np.maximum(_relative_height(self._shape, columns, compactness), 0.0)
        return 0.0 if columns[0] < BARE_COLUMNS else float(here / before)


def _self_affine(columns: int, bare_columns: int) -> npt.NDArray[np.float64]:
    """Return a rough line of mean 0 and variance 1 outside the bare columns; always the same."""
    modes = columns // 2 + 1
    phases = np.random.default_rng(5).random(modes)
    amplitude = np.zeros(modes)
    amplitude[2:] = np.arange(2, modes) ** -(_HURST + 0.5)
    line = np.fft.irfft(amplitude * np.exp(2j * np.pi * phases), columns)
    line -= line[bare_columns:].mean()
    return np.asarray(line / line[bare_columns:].std())


_EMULATED = "the maker's emulation reads its pictures in the client's own process: there is no wire"
FAULTS = FaultsOf(
    "a microscope",
    {
        "stall": "no new pictures come for `seconds` (without: until `resume`)",
        "resume": WIRE_FAULTS["resume"],
        "drop": "the next `count` (1) pictures do not come: the last one is seen again",
        "slow": "pictures come `delay_s` (0.5) late for `seconds` (without: until `resume`)",
    },
    {
        **dict.fromkeys(
            (
                "garble",
                "drop-bytes",
                "split",
                "merge",
                "refuse",
                "disconnect",
                "power-cycle",
                "wrong-checksum",
                "garble-in",
            ),
            _EMULATED,
        ),
        "clock-jump": "the emulation tells no time",
        "out-of-range": "every grey value can be",
    },
)


def bmp(picture: npt.NDArray[np.uint8]) -> bytes:
    """Return a grey picture (rows, columns) as the bytes of an uncompressed 8-bit BMP file."""
    rows, columns = picture.shape
    padding = -columns % 4  # lines are multiples of four bytes, the lowest first
    pixels = np.pad(picture, ((0, 0), (0, padding)))[::-1] if padding else picture[::-1]
    palette = np.repeat(np.arange(256, dtype=np.uint8), 4)
    palette[3::4] = 0
    offset = 14 + 40 + len(palette)
    size = offset + pixels.size
    file_header = struct.pack("<2sIHHI", b"BM", size, 0, 0, offset)
    image_header = struct.pack(
        "<IiiHHIIiiII", 40, columns, rows, 1, 8, 0, pixels.size, 2835, 2835, 256, 0
    )
    return b"".join((file_header, image_header, palette.tobytes(), pixels.tobytes()))


class Micrograph:
    """The camera's end of the microscope: a folder whose only picture is always fresh.

    `folder` holds ``frame.bmp`` and ``frame.json`` (number, cell_t in s, host_time in s since 1970:
    when the exposure began). Both are replaced atomically, the picture first: a note that is read
    before the picture is never newer than it.
    """

    def __init__(self, view: View, lights: Lights, truth: Truth) -> None:
        """Draw the first frame and go on drawing in a thread.

        Args:
            view: what is looked at.
            lights: of the bench; without the lamp frames are dark, with the laser they are washed
                out.
            truth: gets a line for each frame exposed while the lamp is on, and for no other.
        """
        self._view = view
        self._lights = lights
        self._truth = truth
        self._number = 0
        self._stop = threading.Event()
        self.broken = WireFaults(FAULTS)
        self._dark: list[bytes] = []
        ram = Path("/dev/shm")
        parent = ram if os.access(ram, os.W_OK) else Path(tempfile.gettempdir())
        _remove_stale(parent)
        self._root = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=parent))
        self.folder = self._root / "frames"
        self.folder.mkdir()
        self.address = f"pylon-emulation://{self.folder}"
        truth.write(
            "camera",
            "mounted",
            micrometre_per_pixel=self._view.micrometre_per_pixel,
            bare_columns=BARE_COLUMNS,
        )
        self.expose()
        self._thread = threading.Thread(target=self._work, name="micrograph", daemon=True)
        self._thread.start()

    def expose(self) -> None:
        """Draw the cell as it is now and replace the picture and its note."""
        host_time = time.time()
        lamp, laser = self._lights.lamp, self._lights.laser_mw > 0
        self._number += 1
        if lamp or laser:
            picture, scene = self._view.frame(lamp=lamp, laser=laser)
            data, cell_t = bmp(picture), scene.cell_t
        else:
            data, cell_t = self._dark_frame()
        note: dict[str, Any] = {
            "number": self._number,
            "cell_t": cell_t,
            "host_time": host_time,
        }
        self.broken.pause(self.broken.ready_at())
        self._replace("frame.bmp", data)
        self._replace("frame.json", json.dumps(note).encode("ascii"))
        if lamp:
            self._truth.write(
                "camera",
                "frame",
                **note,
                laser=laser,
                crc32=zlib.crc32(np.ascontiguousarray(picture).tobytes()),
                **scene.told(),
            )

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        self.broken.take(fault, options)

    def close(self) -> None:
        """Stop drawing and remove the folder."""
        self._stop.set()
        self.broken.stop()
        self._lights.wake()
        self._thread.join()
        shutil.rmtree(self._root)

    def _work(self) -> None:
        while not self._stop.is_set():
            began, changes = time.monotonic(), self._lights.changes
            if not self.broken.lasts("stall") and not self.broken.due("drop"):
                self.expose()
            # A light that is switched is seen at once, else a new picture comes at the next beat.
            left = FRAME_INTERVAL_S - (time.monotonic() - began)
            self._lights.wait_for_change(changes, left)

    def _dark_frame(self) -> tuple[bytes, float]:
        """Return one of a few dark frames: most of the time nobody looks."""
        if len(self._dark) < _DARK_FRAMES:
            picture, scene = self._view.frame(lamp=False)
            self._dark.append(bmp(picture))
            return self._dark[-1], scene.cell_t
        return self._dark[self._number % _DARK_FRAMES], self._view.cell_time()

    def _replace(self, name: str, data: bytes) -> None:
        # Written outside the folder: the camera emulation would take an unfinished file for a
        # picture.
        unfinished = self._root / name
        unfinished.write_bytes(data)
        os.replace(unfinished, self.folder / name)


def _remove_stale(parent: Path) -> None:
    """Remove folders of killed simulators: their process is gone and they are not touched any more.

    A living one touches its folder 20 times a second, even where its process cannot be seen from
    here.
    """
    for root in parent.glob(f"{_FOLDER_PREFIX}*"):
        try:
            process = int(root.name.removeprefix(_FOLDER_PREFIX).split("-")[0])
            if time.time() - (root / "frames").stat().st_mtime > _STALE_S and not _lives(process):
                shutil.rmtree(root)
        except (OSError, ValueError):
            continue  # another simulator is removing it, or it belongs to somebody else


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
