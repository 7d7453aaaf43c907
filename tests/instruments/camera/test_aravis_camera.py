"""The driver of GenICam cameras against a camera that speaks GigE Vision, through the library."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np
import pytest

from instruments.camera.aravis import AravisCamera
from instruments.camera.contract import DETECTOR_GROUP, IMAGE_DATASET
from instruments.errors import InstrumentFaultError, TransportError, TransportTimeout
from sim_devices.clock import SimulatedClock
from sim_devices.gige_camera import GigECamera
from sim_devices.lights import Lights
from sim_devices.truth import Truth

ROOT = Path(__file__).parents[3]
ROWS, COLUMNS = 48, 64  # a frame of one packet with pixels, or two
assert hdf5plugin.Zstd is not None  # registers the filter for reading


class Shown(NamedTuple):
    cell_t: float

    def told(self) -> dict[str, float]:
        return {}


class Pattern:
    """Something to look at: a gradient that differs from frame to frame."""

    micrometre_per_pixel = 0.5

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def frame(self, *, lamp: bool = True, laser: bool = False) -> tuple[np.ndarray, Shown]:
        rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
        picture = ((rows + 2 * columns + len(self.seen)) % 100 + 10).astype(np.uint8)
        self.seen.append(picture)
        return picture, Shown(0.0)

    def cell_time(self) -> float:
        return 0.0


class Simulated(NamedTuple):
    device: GigECamera
    view: Pattern
    connect: Callable[..., AravisCamera]


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    clock, view = SimulatedClock(), Pattern()
    opened: list[AravisCamera] = []
    with Truth(tmp_path / "truth") as truth:
        device = GigECamera(view, clock, Lights(clock), truth)

        def connect(**options: Any) -> AravisCamera:
            opened.append(AravisCamera(device.address, **{"exposure_time_s": 0.005} | options))
            opened[-1].connect()
            return opened[-1]

        yield Simulated(device, view, connect)
        for camera in opened:
            camera.close()
            camera.close()
        device.close()


def read(path: Path, name: str) -> np.ndarray:
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        values: np.ndarray = file[name][:]
        return values


# ---- with the library


@pytest.mark.needs_aravis
def test_frames_are_what_the_camera_sees_when_it_is_asked(
    simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        camera = simulated.connect(gain=0.0)
    assert "nobody has confirmed this driver" in caplog.text
    identity = camera.identify()
    assert identity["model"] == "Operando Simulated-GigE"
    assert identity["serial_number"] == "SG00042"
    assert identity["sdk_version"].startswith("Aravis 0.8.")
    settings = camera.settings
    assert (settings.image_shape, settings.offset_px) == ((ROWS, COLUMNS), (0, 0))
    assert (settings.exposure_time_s, settings.gain) == (pytest.approx(0.005), 0.0)
    begun = len(simulated.view.seen)
    frames = []
    for number in range(4):
        frames.append(camera.grab(exposed_after_s=time.time()))
        assert np.array_equal(frames[-1].image, simulated.view.seen[begun + number])
    assert len(simulated.view.seen) == begun + 4
    assert [frame.frame_index for frame in frames] == [0, 1, 2, 3]
    assert camera.failed_buffers == 0
    for frame in frames:
        assert frame.host_before_ns < frame.host_after_ns
        assert frame.device_time_source == "buffer"
        assert frame.age_s is None
        assert frame.failed_reason is None
    # Both clocks tick alike: what one says between two frames lies within the other's brackets.
    first, last = frames[0], frames[-1]
    elapsed = last.device_time_ns - first.device_time_ns
    assert last.host_before_ns - first.host_after_ns < elapsed
    assert elapsed < last.host_after_ns - first.host_before_ns


@pytest.mark.needs_aravis
def test_a_region_of_more_bits_with_gain_is_recorded(simulated: Simulated, tmp_path: Path) -> None:
    camera = simulated.connect(pixel_format="Mono12", gain=6.0, region=(8, 20, 32, 16))
    settings = camera.settings
    assert (settings.image_shape, settings.offset_px) == ((16, 32), (8, 20))
    assert (settings.pixel_format, settings.dtype, settings.gain) == ("Mono12", "<u2", 6.0)
    path = tmp_path / "recorded.h5"
    camera.record_to(path, {IMAGE_DATASET: {"micrometre_per_pixel": 0.5}})
    frames = [camera.record() for _ in range(2)]
    assert [frame.index for frame in frames] == [0, 1]
    images = read(path, IMAGE_DATASET)
    assert images.dtype == np.uint16
    assert np.all(images & 15 == 0)
    for image, seen in zip(images, simulated.view.seen[-2:], strict=True):
        bright = 4 + (seen[20:36, 8:40] - 4.0) * 10 ** (6 / 20)
        # The noise below a grey level is one level, amplified.
        assert np.max(np.abs(image / 256 - bright)) < 2.1
    stamps = [frame.device_time_ns for frame in frames]
    assert read(path, f"{DETECTOR_GROUP}/device_time").tolist() == stamps
    with pytest.raises(InstrumentFaultError, match="while frames of another are recorded"):
        camera.configure(exposure_time_s=0.005, pixel_format="Mono8")
    assert camera.configure(exposure_time_s=0.01).pixel_format == "Mono12"
    camera.stop_recording()
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        told = dict(file[IMAGE_DATASET].attrs)
    assert told == {"pixel_format": "Mono12", "significant_bits": 12, "micrometre_per_pixel": 0.5}
    assert camera.configure(exposure_time_s=0.01, pixel_format="Mono8").dtype == "|u1"
    assert camera.grab().image.dtype == np.uint8
    with pytest.raises(TransportError, match="record_to"):
        camera.record()


@pytest.mark.needs_aravis
def test_what_the_camera_cannot_do_is_refused_with_what_it_can(simulated: Simulated) -> None:
    camera = simulated.connect()
    with pytest.raises(InstrumentFaultError, match="camera has 2e-05 to 10 s"):
        camera.configure(exposure_time_s=100.0)
    with pytest.raises(InstrumentFaultError, match=r"'Mono9' .* it has \['Mono8', "):
        camera.configure(exposure_time_s=0.01, pixel_format="Mono9")
    assert camera.configure(exposure_time_s=0.0012346).exposure_time_s == pytest.approx(0.001235)
    camera.close()
    for options, words in (
        ({"gain": 60.0}, "gain of 60 was asked for; it has 0 to 24"),
        ({"region": (0, 0, 68, 48)}, "its sensor has 64 x 48"),
        ({"region": (0, 0, 30, 48)}, "take one on"),
        ({"pixel_format": "Mono10"}, "of which .* can be recorded here"),
    ):
        with pytest.raises(InstrumentFaultError, match=words):
            simulated.connect(**options)
    assert simulated.connect().grab().image.shape == (ROWS, COLUMNS)


@pytest.mark.needs_aravis
def test_lost_packets_are_asked_for_again_and_damaged_frames_exposed_again(
    simulated: Simulated,
) -> None:
    camera = simulated.connect(pixel_format="Mono12")
    camera.grab()
    simulated.device.inject("drop", packets=1)
    frame = camera.grab()
    assert frame.failed_reason is None
    assert np.array_equal(frame.image >> 8, simulated.view.seen[-1])
    simulated.device.inject("lose", packets=1)
    frame = camera.grab()
    assert "packets" in str(frame.failed_reason)
    assert np.array_equal(frame.image >> 8, simulated.view.seen[-1])
    assert camera.failed_buffers == 1
    simulated.device.inject("stray")  # a packet of no frame is nothing that failed
    assert camera.grab().failed_reason is None
    simulated.device.inject("lose", count=2, packets=1)
    with pytest.raises(InstrumentFaultError, match="packets"):
        camera.grab()
    assert camera.failed_buffers == 3
    assert camera.grab().frame_index == 4


@pytest.mark.needs_aravis
def test_a_trigger_that_gives_no_frame_is_repeated_once(simulated: Simulated) -> None:
    camera = simulated.connect()
    simulated.device.inject("skip")
    frame = camera.grab(timeout_s=0.3)
    assert frame.failed_reason == "no frame came within 0.305 s of its trigger"
    simulated.device.inject("skip", count=2)
    with pytest.raises(TransportTimeout, match="no frame came"):
        camera.grab(timeout_s=0.2)
    assert np.array_equal(camera.grab().image, simulated.view.seen[-1])


@pytest.mark.needs_aravis
def test_one_program_controls_it(simulated: Simulated) -> None:
    camera = simulated.connect()
    with pytest.raises(TransportError, match="another program controls it"):
        simulated.connect()
    assert camera.grab().image.shape == (ROWS, COLUMNS)
    simulated.device.inject("steal")
    with pytest.raises(TransportError, match="another program has taken control"):
        camera.grab()


@pytest.mark.needs_aravis
def test_a_camera_is_taken_again_when_who_had_it_was_killed(simulated: Simulated) -> None:
    # Its heartbeat is waited for: three seconds.
    killed = simulated.connect()
    killed.grab()
    os.kill(killed.child_pid, signal.SIGKILL)
    assert simulated.connect().grab().image.shape == (ROWS, COLUMNS)


@pytest.mark.needs_aravis
def test_a_camera_that_was_without_power_is_connected_anew(simulated: Simulated) -> None:
    camera = simulated.connect()
    camera.grab()
    simulated.device.inject("power-cycle")
    with pytest.raises(TransportError, match="control"):
        camera.grab()
    camera.close()
    camera.connect()
    assert np.array_equal(camera.grab().image, simulated.view.seen[-1])


@pytest.mark.needs_aravis
def test_a_camera_that_vanishes_is_told(simulated: Simulated) -> None:
    # The library asks six times, half a second apart: the test cannot be quicker.
    camera = simulated.connect()
    simulated.device.inject("stall")
    with pytest.raises(TransportTimeout, match="does not answer: check cable and power"):
        camera.grab()
    os.kill(camera.child_pid, signal.SIGKILL)
    with pytest.raises(TransportError, match=r"SIGKILL|gone|ended"):
        camera.grab()


@pytest.mark.needs_aravis
@pytest.mark.parametrize("address", ["aravis://127.63.0.1", "aravis://NOBODY-000"])
def test_a_camera_that_is_not_there_is_told(address: str) -> None:
    with pytest.raises(TransportError, match=f"{address}.*([Cc]heck cable)"):
        AravisCamera(address).connect()


# ---- without


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERANDO_ARAVIS", "/nowhere/libaravis.so")
    with pytest.raises(TransportError, match=r"192\.0\.2\.7: .*apt install libaravis-0\.8-0"):
        AravisCamera("aravis://192.0.2.7").connect()


def test_a_library_that_is_another_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERANDO_ARAVIS", "libc.so.6")
    with pytest.raises(TransportError, match=r"libc\.so\.6 is not Aravis 0\.8"):
        AravisCamera("aravis://192.0.2.7").connect()


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(TransportError, match=r"aravis://192\.168\.1\.20"):
        AravisCamera("pylon://").connect()


def test_nothing_is_opened_before_connect() -> None:
    camera = AravisCamera("aravis://192.0.2.7")
    for ask in (camera.grab, camera.record, camera.identify, lambda: camera.settings):
        with pytest.raises(TransportError, match="before connect"):
            ask()
    camera.stop_recording()
    camera.close()


def test_what_is_not_run_without_the_library_is_said() -> None:
    # A run of its own, because this one may have the library: two seconds.
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "--collect-only", __file__],
        env={**os.environ, "OPERANDO_ARAVIS": "/nowhere/libaravis.so"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "NOT RUN: tests marked needs_aravis: the library Aravis 0.8 is not installed" in told
    assert "test_one_program_controls_it" not in told
    assert "test_nothing_is_opened_before_connect" in told
