import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from instruments._child import Child, pack, unpack
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return tmp_path / "diary"


@pytest.fixture
def child(diary: Path) -> Iterator[Child]:
    with Child("child_targets:serve", {"diary": str(diary)}, who="raman usb://1") as child:
        yield child


def gone(pid: int, within_s: float = 50.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_result_comes_back_with_its_types(child: Child) -> None:
    value = {"a": [1, 2.5, None, "x"], "b": True}
    assert child.call("echo", 50.0, value=value) == value
    answer = child.call("image", 50.0, rows=1200, columns=1600)
    assert answer["image"].dtype == np.uint16
    assert np.array_equal(answer["image"].ravel()[:7], np.arange(7))
    assert answer["image"].shape == (1200, 1600)
    assert child.call("echo", 50.0, value=np.eye(3)).tolist() == np.eye(3).tolist()


def test_what_a_library_prints_does_not_enter_the_channel(child: Child) -> None:
    assert child.call("noisy", 50.0) == ""
    assert child.call("echo", 50.0, value=1) == 1


def test_an_error_of_our_family_travels_by_class_and_text(child: Child) -> None:
    with pytest.raises(SafetyLimitError, match="interlock open; close the lid"):
        child.call("refuse", 50.0)
    assert child.call("echo", 50.0, value=1) == 1


def test_any_other_error_is_an_instrument_error_with_its_trace(child: Child) -> None:
    with pytest.raises(InstrumentError, match=r"raman usb://1: stumble failed: KeyE.*\n.*Trace"):
        child.call("stumble", 50.0)
    with pytest.raises(InstrumentError, match="no public method '_write'"):
        child.call("_write", 50.0, line="x")
    with pytest.raises(ProtocolError, match="cannot be sent"):
        child.call("unsendable", 50.0)


def test_an_error_of_the_start_is_raised_by_the_constructor(diary: Path) -> None:
    with pytest.raises(InstrumentFaultError, match="usb://1: no such spectrometer"):
        Child("child_targets:serve_nothing", {"address": "usb://1"})


def test_closing_makes_safe_then_releases_and_is_idempotent(child: Child, diary: Path) -> None:
    child.close()
    child.close()
    assert not child.alive
    lines = diary.read_text().split()
    assert lines[:2] == ["served", "safe"]
    assert lines[-1] == "closed"
    assert lines.count("closed") == 1
    with pytest.raises(TransportError, match=r"raman usb://1: echo was asked .* it was closed"):
        child.call("echo", 50.0, value=1)


def test_a_dead_child_is_a_transport_error_with_its_last_words(child: Child) -> None:
    with pytest.raises(TransportError, match=r"raman usb://1.*exit code 7[^|]*\| the last words"):
        child.call("exit", 50.0)


def test_a_killed_child_is_a_transport_error(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(TransportError, match=r"raman usb://1: .*SIGKILL"):
        child.call("sleep", 50.0, duration_s=45.0)


def test_a_silent_child_makes_safe_and_is_ended(child: Child, diary: Path) -> None:
    with pytest.raises(TransportTimeout, match=r"raman usb://1: no answer to sleep within 0.2 s"):
        child.call("sleep", 0.2, duration_s=60.0)
    assert "safe" in diary.read_text()
    assert gone(child.pid)
    with pytest.raises(TransportError, match="did not answer sleep"):
        child.call("echo", 50.0, value=1)


def test_a_stopped_child_is_killed(child: Child) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(TransportTimeout, match="raman usb://1"):
        child.call("echo", 0.2, value=1)
    assert gone(child.pid)


def test_safe_state_runs_beside_a_call_that_is_open(child: Child, diary: Path) -> None:
    def work() -> None:
        with contextlib.suppress(TransportError):
            child.call("sleep", 600.0, duration_s=600.0)

    worker = threading.Thread(target=work)
    worker.start()
    child.call_beside("safe_state", 50.0)
    assert worker.is_alive()
    assert "safe" in diary.read_text()
    child.close()
    worker.join()


def test_closing_beside_an_open_call_ends_the_call(child: Child) -> None:
    caught: list[Exception] = []

    def work() -> None:
        try:
            child.call("sleep", 600.0, duration_s=600.0)
        except TransportError as error:
            caught.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    child.close()
    worker.join(50.0)
    assert len(caught) == 1


def test_sigterm_makes_safe_and_ends_the_child(child: Child, diary: Path) -> None:
    os.kill(child.pid, signal.SIGTERM)
    assert gone(child.pid)
    assert diary.read_text().split()[-1] == "closed"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_whose_owner_is_killed_makes_safe_and_exits(diary: Path, how: int) -> None:
    command = [sys.executable, str(HERE / "child_targets.py"), str(diary)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        pid, heir = (int(word) for word in owner.stdout.readline().split())
        owner.send_signal(how)
        owner.wait()
    try:
        assert gone(pid)
        assert "safe" in diary.read_text()
    finally:
        os.kill(heir, signal.SIGKILL)


_numbers = npst.arrays(
    dtype=st.sampled_from(["<f8", "<f4", "<u2", "u1", "<i8", "?"]),
    shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)


@given(_numbers)
def test_an_array_survives_the_message(array: np.ndarray) -> None:
    back = unpack(pack({"x": array})[4:])["x"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(st.binary(max_size=60))
def test_a_garbled_message_is_a_protocol_error_or_a_value(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):  # and nothing else
        unpack(data)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("<f8", [-1]), ("<f8", [2**70]), ("<f8", [2.0]), ("<f8", 2), ("O", [2]), ("S8", [2]),
     ("(3,", [2]), ([["a", "<f8"]], [2]), ("<f8", [3])],
)  # fmt: skip
def test_an_array_that_is_none_is_a_protocol_error(dtype: object, shape: object) -> None:
    body = msgpack.packb(msgpack.ExtType(1, msgpack.packb(["<f8", [2]]) + bytes(16)))
    assert unpack(body).tolist() == [0.0, 0.0]
    try:
        head = msgpack.packb([dtype, shape])
    except OverflowError:
        head = msgpack.packb([dtype, [2**63 - 1, 4]])
    with pytest.raises(ProtocolError, match="not a message"):
        unpack(msgpack.packb(msgpack.ExtType(1, head + bytes(16))))


@pytest.mark.parametrize("told", ["gone", ["TransportError"], ["TransportError", 1, ""], None])
def test_an_error_that_is_none_is_told_as_what_it_is(child: Child, told: object) -> None:
    error = child._error("echo", told)
    assert isinstance(error, ProtocolError)
    assert str(error).startswith("raman usb://1: echo failed")
