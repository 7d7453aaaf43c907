"""The camera device under a RunEngine: rows by create, read, save, and frames in a file."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import bluesky.plan_stubs as bps
import h5py
import hdf5plugin
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.preprocessors import run_decorator, stage_decorator
from bluesky.utils import Msg
from event_model import DocumentNames, schema_validators

from instruments._follower import LeaderRow, Phase
from instruments.camera.contract import DETECTOR_GROUP, IMAGE_DATASET
from instruments.camera.device import CameraDevice
from instruments.camera.pylon import PylonCamera
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    TransportError,
    TransportTimeout,
)

assert hdf5plugin.Zstd is not None  # registers the filter for reading


class Clock:
    """A leader that shows a row every 20 ms."""

    def __init__(self) -> None:
        self.finished = False
        self._callbacks: list[Callable[[LeaderRow], None]] = []
        self._start = time.monotonic()
        self._newest: LeaderRow | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def latest(self) -> LeaderRow | None:
        return self._newest

    def on_row(self, callback: Callable[[LeaderRow], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self.finished = True

    def _run(self) -> None:
        while not self._end.wait(0.02):
            self._newest = LeaderRow(time.monotonic() - self._start, 1, -1, 1)
            for callback in tuple(self._callbacks):
                callback(self._newest)


class Switch:
    """A laser that is on or off."""

    def __init__(self) -> None:
        self.is_on = False


@pytest.fixture
def leader() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.stop()


@pytest.fixture
def light_lock() -> Any:
    return threading.Lock()


@pytest.fixture
def laser() -> Switch:
    return Switch()


@pytest.fixture
def camera(
    microscope: Any, leader: Clock, light_lock: Any, laser: Switch, tmp_path: Path
) -> Iterator[CameraDevice]:
    device = CameraDevice(
        PylonCamera(microscope.address, exposure_time_s=0.005),
        lamp=microscope,
        laser=laser,
        light_lock=light_lock,
        micrometre_per_pixel=0.5,
        frame_timeout_s=2.0,
    )
    device.assets_dir = tmp_path / "assets"
    device.connect()
    device.follow(leader)
    yield device
    device.unfollow()
    device.close()


@pytest.fixture
def run_engine() -> Iterator[RunEngine]:
    engine = RunEngine({}, context_managers=[])
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(50)
    engine.loop.close()


def save_ready(camera: CameraDevice) -> Iterator[Msg]:
    """Save the rows that are ready, without waiting for any."""
    while camera.pending():
        yield from bps.create(name="camera")
        yield from bps.read(camera)
        yield from bps.save()


def save_all(camera: CameraDevice, *statuses: Any) -> Iterator[Msg]:
    """Save until the requests are done and no row is left."""
    while not all(status.done for status in statuses) or camera.waiting():
        yield from save_ready(camera)
        yield from bps.sleep(0.01)


def documents_of(engine: RunEngine, plan: Any) -> list[tuple[str, dict[str, Any]]]:
    documents: list[tuple[str, dict[str, Any]]] = []
    engine(plan, lambda name, doc: documents.append((name, doc)))
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    return documents


def frames_of(documents: list[tuple[str, dict[str, Any]]]) -> tuple[list[np.ndarray], Path]:
    """Return the image of each event, found by the announced path, dataset and indices."""
    resources = {doc["uid"]: doc for name, doc in documents if name == "stream_resource"}
    assert len(resources) == 1
    images = {}
    for name, datum in documents:
        if name != "stream_datum":
            continue
        resource = resources[datum["stream_resource"]]
        assert resource["mimetype"] == "application/x-hdf5"
        assert resource["data_key"] == "camera_image"
        path = Path(unquote(urlsplit(resource["uri"]).path))
        parameters = resource["parameters"]
        assert parameters["swmr"]
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            rows = file[parameters["dataset"]][datum["indices"]["start"] : datum["indices"]["stop"]]
        first = datum["seq_nums"]["start"]
        images |= {first + k: row for k, row in enumerate(rows)}
    events = [doc for name, doc in documents if name == "event"]
    return [images[event["seq_num"]] for event in events], path


def events_of(documents: list[tuple[str, dict[str, Any]]]) -> list[dict[str, float]]:
    return [doc["data"] for name, doc in documents if name == "event"]


def test_a_run_records_frames_that_its_documents_lead_to(
    run_engine: RunEngine, camera: CameraDevice, microscope: Any
) -> None:
    @stage_decorator([camera])
    @run_decorator()
    def plan() -> Iterator[Msg]:
        for _ in range(4):
            status = yield from bps.trigger(camera)
            yield from save_all(camera, status)
        yield from bps.prepare(camera, Phase.END, wait=True)
        status = yield from bps.trigger(camera)
        yield from save_all(camera, status)

    documents = documents_of(run_engine, plan())
    (descriptor,) = [doc for name, doc in documents if name == "descriptor"]
    image_key = descriptor["data_keys"]["camera_image"]
    assert image_key["shape"] == [120, 160]
    assert image_key["dtype_numpy"] == "|u1"
    assert image_key["external"] == "STREAM:"
    assert descriptor["data_keys"]["camera_exposure_time"]["units"] == "s"
    configuration = descriptor["configuration"]["camera"]["data"]
    assert configuration["camera_micrometre_per_pixel"] == 0.5
    assert configuration["camera_model"] == "Emulation"

    events = events_of(documents)
    assert [event["camera_frame_index"] for event in events] == [0, 1, 2, 3, 4]
    assert [event["camera_phase"] for event in events] == [0, 0, 0, 0, Phase.END]
    for event in events:
        assert all(type(value) is float for value in event.values())
        assert event["camera_t_before"] < event["camera_t_after"]
        assert event["camera_host_before"] < event["camera_host_after"]
        assert event["camera_lamp"] == 1
        assert event["camera_laser"] == 0
        assert event["camera_exposure_time"] == pytest.approx(0.005)
        assert event["camera_device_time"] > 0
        assert 0 <= event["camera_age"] < 1

    images, path = frames_of(documents)
    numbers = [microscope.number(image) for image in images]
    assert numbers == sorted(set(numbers))
    assert all(
        np.array_equal(image, microscope.picture(number, lit=True))
        for image, number in zip(images, numbers, strict=True)
    )
    assert path.parent == camera.assets_dir
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        assert len(file[f"{DETECTOR_GROUP}/host_before"]) == len(file[IMAGE_DATASET]) == 5


def test_every_frame_is_lit_and_the_lamp_is_off_between_frames(
    run_engine: RunEngine, camera: CameraDevice, microscope: Any
) -> None:
    @stage_decorator([camera])
    @run_decorator()
    def plan() -> Iterator[Msg]:
        for _ in range(6):
            status = yield from bps.trigger(camera)
            yield from save_all(camera, status)
            assert not microscope.lit

    images, _ = frames_of(documents_of(run_engine, plan()))
    assert all(image[5, 5] >= 50 for image in images)
    assert microscope.history == ["on", "off"] * 6


def test_a_burst_from_another_thread_gives_rows_under_one_light(
    run_engine: RunEngine, camera: CameraDevice, microscope: Any, light_lock: Any
) -> None:
    statuses: list[Any] = []

    @stage_decorator([camera])
    @run_decorator()
    def plan() -> Iterator[Msg]:
        with light_lock:  # the spectrometer is measuring: the burst waits, its caller does not
            thread = threading.Thread(target=lambda: statuses.append(camera.burst(5, 0.06)))
            thread.start()
            thread.join()
            assert not statuses[0].done
            assert camera.busy
            assert microscope.history == []
        yield from save_all(camera, *statuses)

    events = events_of(documents := documents_of(run_engine, plan()))
    assert [event["camera_phase"] for event in events] == [Phase.BURST] * 5
    assert microscope.history == ["on", "off"]
    starts = np.array([event["camera_host_before"] for event in events])
    assert starts[-1] - starts[0] > 4 * 0.06 - 0.05
    before = [event["camera_t_before"] for event in events]
    assert before == sorted(before)
    images, _ = frames_of(documents)
    assert len({microscope.number(image) for image in images}) == 5


def test_no_frame_is_taken_while_the_laser_is_on(
    camera: CameraDevice, microscope: Any, laser: Switch
) -> None:
    camera.stage()
    laser.is_on = True
    with pytest.raises(InstrumentError, match="laser is on"):
        camera.trigger().wait(50)
    laser.is_on = False
    camera.trigger().wait(50)
    camera.unstage()
    assert microscope.history == ["on", "off"]


def test_lamp_and_laser_take_turns(camera: CameraDevice, light_lock: Any, laser: Switch) -> None:
    camera.stage()
    stop = threading.Event()
    turns = 0

    def spectrometer() -> None:
        nonlocal turns
        while not stop.wait(0.01):
            with light_lock:
                laser.is_on = True
                time.sleep(0.02)
                laser.is_on = False
                turns += 1

    thread = threading.Thread(target=spectrometer)
    thread.start()
    for status in [camera.trigger() for _ in range(5)]:
        status.wait(50)
    stop.set()
    thread.join()
    camera.unstage()
    assert turns
    assert camera.waiting() == 5


def test_the_lamp_goes_off_when_the_frame_fails(camera: CameraDevice, microscope: Any) -> None:
    camera.stage()
    microscope.stop()
    with pytest.raises(TransportTimeout, match="no new picture"):
        camera.trigger().wait(50)
    assert not microscope.lit
    camera.driver._child.call("fail_next_buffers", 5.0, count=2)
    (microscope.folder / "frame.json").unlink()
    with pytest.raises(InstrumentFaultError):
        camera.trigger().wait(50)
    assert not microscope.lit
    camera.trigger().wait(50)
    camera.unstage()
    assert camera.waiting() == 1


def test_a_frame_whose_lamp_went_off_is_no_row(camera: CameraDevice, microscope: Any) -> None:
    """A relay board that loses its supply opens its relays; the image is dark."""
    camera.stage()
    microscope.loses_supply = True
    with pytest.raises(InstrumentFaultError, match="camera: the lamp went off while a frame was"):
        camera.trigger().wait(50)
    microscope.loses_supply = False
    camera.trigger().wait(50)
    camera.unstage()
    assert camera.waiting() == 1


def test_rows_can_be_saved_after_unstage(
    run_engine: RunEngine, camera: CameraDevice, leader: Clock
) -> None:
    @run_decorator()
    def plan() -> Iterator[Msg]:
        yield from bps.stage(camera)
        for _ in range(3):
            yield from bps.trigger(camera)
        while camera.busy:
            yield from bps.sleep(0.01)
        yield from bps.unstage(camera)
        yield from save_all(camera)

    images, _ = frames_of(documents_of(run_engine, plan()))
    assert len(images) == 3


def test_the_next_run_has_its_own_file_and_only_its_own_rows(
    run_engine: RunEngine, camera: CameraDevice, caplog: pytest.LogCaptureFixture
) -> None:
    @stage_decorator([camera])
    @run_decorator()
    def forgetful() -> Iterator[Msg]:
        status = yield from bps.trigger(camera, wait=True)
        assert status is not None

    @stage_decorator([camera])
    @run_decorator()
    def careful() -> Iterator[Msg]:
        status = yield from bps.trigger(camera)
        yield from save_all(camera, status)

    assert events_of(documents_of(run_engine, forgetful())) == []
    paths = set()
    for _ in range(2):
        images, path = frames_of(documents_of(run_engine, careful()))
        assert len(images) == 1
        paths.add(path)
    assert len(paths) == 2
    assert "1 rows of the run before" in caplog.text
    assert len(list(camera.assets_dir.glob("camera-*.h5"))) == 3


def test_a_camera_whose_process_died_follows_the_next_run(camera: CameraDevice) -> None:
    os.kill(camera.driver.child_pid, signal.SIGKILL)
    with pytest.raises(TransportError, match=r"SIGKILL|gone|ended"):
        camera.stage()
    camera.check_ready()
    camera.stage()
    camera.unstage()


def test_unstaging_ends_a_long_burst_after_its_present_frame(
    camera: CameraDevice, microscope: Any
) -> None:
    camera.stage()
    status = camera.burst(1000, 0.03)
    while camera.waiting() < 2:
        time.sleep(0.01)
    camera.unstage()
    status.wait(50)
    taken = camera.waiting()
    assert 2 <= taken < 1000
    assert microscope.history == ["on", "off"]
    (path,) = camera.assets_dir.glob("*.h5")
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        assert len(file[IMAGE_DATASET]) == taken


def test_no_frame_is_taken_outside_staging(camera: CameraDevice, microscope: Any) -> None:
    with pytest.raises(InstrumentError, match="stage"):
        camera.trigger().wait(50)
    assert microscope.history == []
    with pytest.raises(ValueError, match="burst of 0"):
        camera.burst(0, 1.0)
    with pytest.raises(ValueError, match="no phase 7"):
        camera.prepare(7)
    camera.assets_dir = None
    with pytest.raises(RuntimeError, match="assets_dir"):
        camera.stage()
    camera.unstage()


def test_a_camera_without_lamp_and_laser_says_so(
    microscope: Any, leader: Clock, tmp_path: Path
) -> None:
    device = CameraDevice(PylonCamera(microscope.address), name="side")
    device.connect()
    try:
        assert math.isnan(device.read_configuration()["side_micrometre_per_pixel"]["value"])
        assert device.describe()["side_image"]["shape"] == [120, 160]
        device.assets_dir = tmp_path
        device.stage()
        device.trigger().wait(50)
        device.unstage()
        assert device.pending() == 1
        row = device.read()
        assert math.isnan(row["side_lamp"]["value"])
        assert math.isnan(row["side_laser"]["value"])
        assert math.isnan(row["side_t_before"]["value"])
        device.safe_state()
    finally:
        device.close()
        device.close()


def test_the_safe_state_is_dark(camera: CameraDevice, microscope: Any) -> None:
    camera.stage()
    status = camera.burst(1000, 0.03)
    while not microscope.lit:
        time.sleep(0.01)
    camera.safe_state()
    status.wait(50)
    assert not microscope.lit
    camera.unstage()
