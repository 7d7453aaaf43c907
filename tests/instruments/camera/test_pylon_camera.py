"""The pylon driver against the maker's own library and camera emulation."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import psutil
import pytest

from instruments.camera.contract import DETECTOR_GROUP, IMAGE_DATASET
from instruments.camera.pylon import PylonCamera
from instruments.errors import InstrumentFaultError, TransportError, TransportTimeout

ROOT = Path(__file__).parents[3]
OWNER = Path(__file__).with_name("camera_owner_process.py")
assert hdf5plugin.Zstd is not None  # registers the filter for reading


@pytest.fixture
def camera(microscope: Any) -> Iterator[PylonCamera]:
    camera = PylonCamera(microscope.address, exposure_time_s=0.002)
    camera.connect()
    yield camera
    camera.close()


def read(path: Path, name: str) -> np.ndarray:
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        values: np.ndarray = file[name][:]
        return values


def test_the_emulated_camera_says_who_it_is(camera: PylonCamera, microscope: Any) -> None:
    identity = camera.identify()
    assert identity["model"] == "Emulation"
    assert identity["serial_number"].startswith("0815")
    assert identity["sdk_version"]
    assert identity["address"] == microscope.address
    assert camera.settings.image_shape == (120, 160)
    assert camera.settings.exposure_time_s == pytest.approx(0.002)
    assert camera.verified_on is None


def test_each_frame_is_the_picture_now_in_the_folder(camera: PylonCamera, microscope: Any) -> None:
    numbers = []
    for _ in range(5):
        frame = camera.grab(exposed_after_s=time.time())
        numbers.append(microscope.number(frame.image))
        assert np.array_equal(frame.image, microscope.picture(numbers[-1]))
    assert numbers == sorted(set(numbers))


def test_frames_carry_the_host_pair_and_the_cameras_own_time(camera: PylonCamera) -> None:
    frames = [camera.grab() for _ in range(4)]
    assert [frame.frame_index for frame in frames] == [0, 1, 2, 3]
    for frame in frames:
        assert frame.host_before_ns < frame.host_after_ns
        assert frame.device_time_source == "exposure_end_event"
        assert frame.exposure_time_s == pytest.approx(0.002)
        assert frame.failed_reason is None
    stamps = [frame.device_time_ns for frame in frames]
    assert stamps == sorted(stamps)
    # Both clocks tick alike: what one says between two frames lies within the other's brackets.
    first, last = frames[0], frames[-1]
    elapsed = last.device_time_ns - first.device_time_ns
    assert last.host_before_ns - first.host_after_ns < elapsed
    assert elapsed < last.host_after_ns - first.host_before_ns


def test_a_frame_asked_for_after_a_moment_was_made_after_it(camera: PylonCamera) -> None:
    for _ in range(5):
        moment = time.time()
        frame = camera.grab(exposed_after_s=moment)
        assert frame.host_before_ns * 1e-9 - frame.age_s > moment


def test_without_a_note_the_age_is_unknown(camera: PylonCamera, microscope: Any) -> None:
    microscope.stop()
    (microscope.folder / "frame.json").unlink()
    assert camera.grab(exposed_after_s=time.time()).age_s is None
    (microscope.folder / "frame.json").write_text("{")
    assert camera.grab().age_s is None


def test_a_damaged_frame_is_asked_for_again_and_counted(camera: PylonCamera) -> None:
    camera._child.call("fail_next_buffers", 5.0, count=1)
    frame = camera.grab()
    assert "incompletely grabbed" in frame.failed_reason
    assert camera.failed_buffers == 1
    assert camera.grab().failed_reason is None


def test_two_damaged_frames_in_a_row_are_a_fault(camera: PylonCamera) -> None:
    camera._child.call("fail_next_buffers", 5.0, count=2)
    with pytest.raises(InstrumentFaultError, match="incompletely grabbed"):
        camera.grab()
    assert camera.failed_buffers == 2
    assert camera.grab().frame_index == 0


def test_a_picture_that_is_gone_is_a_fault_until_it_comes_back(
    camera: PylonCamera, microscope: Any
) -> None:
    microscope.stop()
    (microscope.folder / "frame.bmp").unlink()
    with pytest.raises(InstrumentFaultError, match=r"0x7.*simulator"):
        camera.grab()
    microscope.put(number=7)
    assert microscope.number(camera.grab().image) == 7


def test_a_picture_of_another_size_is_refused(camera: PylonCamera, microscope: Any) -> None:
    microscope.stop()
    microscope.put(number=1, height=60, width=80)
    with pytest.raises(InstrumentFaultError, match=r"160 x 120 pixels .* 80 x 60"):
        camera.grab()


def test_a_renderer_that_died_is_noticed(camera: PylonCamera, microscope: Any) -> None:
    microscope.stop()
    camera.grab()
    with pytest.raises(TransportTimeout, match=r"no new picture.*simulator"):
        camera.grab(exposed_after_s=time.time(), timeout_s=0.2)


def test_what_the_camera_cannot_do_is_refused_with_what_it_can(camera: PylonCamera) -> None:
    with pytest.raises(InstrumentFaultError, match="1e-06 to 10 s"):
        camera.configure(exposure_time_s=100.0)
    with pytest.raises(InstrumentFaultError, match=r"there are .*Mono8"):
        camera.configure(exposure_time_s=0.01, pixel_format="Mono9")
    with pytest.raises(InstrumentFaultError, match="not recorded here"):
        camera.configure(exposure_time_s=0.01, pixel_format="Mono12")
    assert camera.configure(exposure_time_s=0.02).exposure_time_s == pytest.approx(0.02)
    assert camera.grab().exposure_time_s == pytest.approx(0.02)


def test_recorded_frames_are_in_a_file_that_stands_alone(
    camera: PylonCamera, microscope: Any, tmp_path: Path
) -> None:
    path = tmp_path / "recorded.h5"
    camera.record_to(path, {IMAGE_DATASET: {"micrometre_per_pixel": 0.5}})
    frames = [camera.record(exposed_after_s=time.time()) for _ in range(4)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    # While it is open, and again when it is closed.
    for _ in range(2):
        images = read(path, IMAGE_DATASET)
        numbers = [microscope.number(image) for image in images]
        assert numbers == sorted(set(numbers))
        assert all(
            np.array_equal(image, microscope.picture(number))
            for image, number in zip(images, numbers, strict=True)
        )
        for name, wanted in {
            "device_time": [frame.device_time_ns for frame in frames],
            "host_before": [frame.host_before_ns * 1e-9 for frame in frames],
            "host_after": [frame.host_after_ns * 1e-9 for frame in frames],
            "frame_index": [frame.frame_index for frame in frames],
            "count_time": [frame.exposure_time_s for frame in frames],
            "age": [frame.age_s for frame in frames],
        }.items():
            assert read(path, f"{DETECTOR_GROUP}/{name}").tolist() == wanted
        camera.stop_recording()
        camera.stop_recording()
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        assert file["/entry"].attrs["NX_class"] == "NXentry"
        assert file[IMAGE_DATASET].attrs["micrometre_per_pixel"] == 0.5
        assert file[f"{DETECTOR_GROUP}/device_time"].attrs["units"] == "ns"
    with pytest.raises(TransportError, match="record_to"):
        camera.record()
    with pytest.raises(TransportError, match="exists"):
        camera.record_to(path)


def test_a_killed_owner_loses_no_acknowledged_frame_and_leaves_no_process(
    microscope: Any, tmp_path: Path, gone: Callable[[int], bool]
) -> None:
    path = tmp_path / "killed.h5"
    with subprocess.Popen(
        [sys.executable, str(OWNER), microscope.address, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as owner:
        assert owner.stdout is not None
        lines = [owner.stdout.readline() for _ in range(20)]
        owner.kill()
        lines += [line for line in owner.stdout if line.endswith("\n")]
    index, child = (int(word) for word in lines[-1].split())
    while not gone(child):
        time.sleep(0.02)
    images = read(path, IMAGE_DATASET)
    assert len(images) >= index + 1
    assert len(read(path, f"{DETECTOR_GROUP}/frame_index")) == len(images)
    assert all(
        np.array_equal(image, microscope.picture(microscope.number(image))) for image in images
    )


def test_a_killed_child_is_told_and_its_frames_stay(
    camera: PylonCamera, microscope: Any, tmp_path: Path
) -> None:
    path = tmp_path / "child.h5"
    camera.record_to(path)
    for _ in range(5):
        last = camera.record()
    os.kill(camera.child_pid, signal.SIGKILL)
    with pytest.raises(TransportError, match=r"SIGKILL|gone|ended"):
        camera.record()
    assert len(read(path, IMAGE_DATASET)) >= last.index + 1
    camera.connect()
    assert microscope.number(camera.grab().image) >= 0


@pytest.mark.long  # waits for half a minute
def test_a_library_that_hangs_is_ended_told_and_connected_anew(
    camera: PylonCamera, microscope: Any
) -> None:
    child = psutil.Process(camera.child_pid)
    child.suspend()
    with pytest.raises(TransportTimeout, match=r"no answer to grab within .*its process was ended"):
        camera.grab(timeout_s=0.1)
    assert not child.is_running()
    camera.connect()
    assert microscope.number(camera.grab().image) >= 0


def test_nothing_is_opened_before_connect_and_after_close(microscope: Any) -> None:
    camera = PylonCamera(microscope.address)
    for ask in (camera.grab, camera.record, camera.identify, lambda: camera.settings):
        with pytest.raises(TransportError, match="before connect"):
            ask()
    camera.stop_recording()
    camera.close()
    camera.connect()
    camera.connect()
    camera.close()
    camera.close()
    with pytest.raises(TransportError, match="after close"):
        camera.grab()


def test_a_published_address_is_followed(microscope: Any, tmp_path: Path) -> None:
    (tmp_path / "camera").write_text(microscope.address)
    camera = PylonCamera(f"published:{tmp_path / 'camera'}")
    camera.connect()
    try:
        assert camera.identify()["address"] == microscope.address
    finally:
        camera.close()


def test_a_folder_without_one_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"nowhere.*operando sim"):
        PylonCamera(f"pylon-emulation://{tmp_path}/nowhere").connect()
    with pytest.raises(TransportError, match="exactly one image file"):
        PylonCamera(f"pylon-emulation://{tmp_path}").connect()
    for name in ("a.bmp", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(TransportError, match=r"a\.bmp.*b\.png"):
        PylonCamera(f"pylon-emulation://{tmp_path}").connect()


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(TransportError, match="pylon://SERIAL"):
        PylonCamera("tcp://127.0.0.1:1").connect()


def test_a_bench_address_never_takes_an_emulated_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    with pytest.raises(TransportError, match="not found; cameras found"):
        PylonCamera("pylon://0815-0000").connect()


def test_without_the_library_the_extra_is_named(
    microscope: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the child's interpreter finds first says what one without the library would say.
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "pypylon.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'pypylon'\", name='pypylon')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "absent"))
    with pytest.raises(TransportError, match=r"operando-anode\[camera\]"):
        PylonCamera(microscope.address).connect()
