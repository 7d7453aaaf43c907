"""The gas chromatograph on its wires, and as a follower, in the simulated bench."""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from instruments.errors import InstrumentError, TransportError
from instruments.gas_chromatograph import (
    ContactGasChromatograph,
    GasChromatographDevice,
    ResultFolder,
)
from instruments.lending import Sharing
from instruments.relay_board import NumatoRelayBoard
from operando.queueing._redis import RedisServer, client
from operando.queueing.leases import Leases


@pytest.fixture
def bench(simulate: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    # A chromatogram of 160 s is over in 0.4 s.
    return simulate("zn-bare-half", "relay_board", getattr(request, "param", 400.0))


@pytest.fixture
def board(bench: Any) -> Iterator[NumatoRelayBoard]:
    board = NumatoRelayBoard(bench.address("relay_board"))
    board.connect()
    yield board
    board.close()


@pytest.fixture
def instrument(board: NumatoRelayBoard) -> ContactGasChromatograph:
    return ContactGasChromatograph(board, start_relay=0, ready_gpio=3)


@pytest.fixture
def device(
    bench: Any, instrument: ContactGasChromatograph, tmp_path: Path
) -> Iterator[GasChromatographDevice]:
    device = GasChromatographDevice(instrument, ResultFolder(bench.address("chromatograms")))
    device.assets_dir = tmp_path / "assets"
    device.stage()
    yield device
    device.unstage()


def wait_until(what: Callable[[], bool], timeout_s: float = 50.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def rows(device: Any) -> list[dict[str, float]]:
    found = []
    while device.pending():
        reading = device.read()
        prefix = f"{device.name}_"
        found.append({key.removeprefix(prefix): x["value"] for key, x in reading.items()})
    return found


def test_a_start_is_confirmed_by_the_ready_line(
    instrument: ContactGasChromatograph, board: NumatoRelayBoard
) -> None:
    instrument.connect()
    assert instrument.ready()
    injection = instrument.inject()
    assert (injection.ready, injection.confirmed) == (True, True)
    assert injection.host_before < injection.host_after < injection.host_before + 50.0
    assert board.relay(0) is False
    assert not instrument.ready()
    wait_until(instrument.ready)
    instrument.close()


SLOW = pytest.mark.parametrize("bench", [80.0], indirect=True)  # still runs while it is looked at


@SLOW
def test_no_start_is_given_while_it_is_not_ready(
    bench: Any, instrument: ContactGasChromatograph
) -> None:
    instrument.inject()
    second = instrument.inject()
    assert (second.ready, second.confirmed) == (False, False)
    injections = [x for x in bench.truth("chromatograph") if x["event"] == "injection"]
    assert len(injections) == 1


def test_a_start_that_has_no_effect_is_not_confirmed(board: NumatoRelayBoard) -> None:
    # Relay 1 hangs on nothing.
    instrument = ContactGasChromatograph(board, start_relay=1, ready_gpio=3, confirm_timeout_s=0.1)
    assert instrument.inject()[:2] == (True, False)


def test_the_wiring_is_its_identity(instrument: ContactGasChromatograph) -> None:
    identity = instrument.identify()
    assert identity["start_relay"] == "0"
    assert identity["board_firmware"] == "00000009"


@pytest.mark.parametrize("pulse_s", [0.05, 0.5])
def test_a_start_has_the_length_the_instrument_wants(
    board: NumatoRelayBoard, pulse_s: float
) -> None:
    with pytest.raises(ValueError, match="start"):
        ContactGasChromatograph(board, start_relay=0, ready_gpio=3, pulse_s=pulse_s)


def test_the_safe_state_is_an_open_contact(
    board: NumatoRelayBoard, device: GasChromatographDevice
) -> None:
    board.set_relay(0, True)
    device.safe_state()
    device.safe_state()
    assert board.relay(0) is False


@SLOW
def test_injections_are_rows_and_results_come_later(
    device: GasChromatographDevice, bench: Any
) -> None:
    device.trigger(phase=0).wait(50)
    device.trigger(phase=0).wait(50)
    first, missed = rows(device)
    assert (first["injection"], missed["injection"]) == (1.0, 2.0)
    assert (first["ready"], first["confirmed"], first["missed"]) == (1.0, 1.0, 0.0)
    assert (missed["ready"], missed["confirmed"], missed["missed"]) == (0.0, 0.0, 1.0)
    assert first["host_before"] < first["host_after"]
    assert math.isnan(first["t_before"])

    result = device.result
    assert result.expected()
    assert "no result of injection 1 has come" in device.notes[-1]
    assert result.pending() == 0
    wait_until(lambda: result.pending() > 0)
    assert result.expected()
    (row,) = rows(result)
    assert not result.expected()
    assert device.notes == []
    assert row["injection"] == 1.0
    assert row["sample_interval"] == 0.02
    assert 0 < row["arrived"] - first["host_before"] < 50
    assert result.get_index() == 1

    documents = list(result.collect_asset_docs())
    assert [name for name, _ in documents] == ["stream_resource", "stream_datum"]
    resource, datum = (doc for _, doc in documents)
    assert resource["data_key"] == "gas_chromatograph_result_trace"
    assert datum["indices"] == {"start": 0, "stop": 1}
    path = resource["uri"].removeprefix("file://localhost")
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        trace = file[resource["parameters"]["dataset"]][0]
    assert trace.shape == (8000,)
    told = next(Path(bench.folder / "chromatogram_files").glob("*.json"))
    assert list(trace) == json.loads(told.read_text())["detectors"]["moduleA:tcd"]["values"]


def test_every_injection_gets_its_own_result(device: GasChromatographDevice) -> None:
    joined = []
    for _ in range(2):
        wait_until(device._driver.ready)
        device.trigger().wait(50)
    wait_until(lambda: device.result.pending() == 2)
    joined = [row["injection"] for row in rows(device.result)]
    assert joined == [1.0, 2.0]


def test_what_is_described_is_what_is_read(device: GasChromatographDevice) -> None:
    device.trigger().wait(50)
    wait_until(lambda: device.result.pending() > 0)
    assert device.pending() == 1
    assert set(device.read()) == set(device.describe())
    external = {key for key, value in device.result.describe().items() if value.get("external")}
    assert external == {"gas_chromatograph_result_trace"}
    assert set(device.result.read()) == set(device.result.describe()) - external
    with pytest.raises(RuntimeError, match="no result"):
        device.result.read()


def test_a_board_that_is_gone_fails_the_injection_and_is_told(
    device: GasChromatographDevice, bench: Any
) -> None:
    bench.process.kill()
    error = device.trigger().exception(timeout=50)
    assert isinstance(error, TransportError)
    # What the board cannot be told any more it must not be asked at the end of the test.
    device._driver._board._closed_here.clear()


def test_staging_needs_a_place_for_the_traces(
    bench: Any, instrument: ContactGasChromatograph, tmp_path: Path
) -> None:
    device = GasChromatographDevice(instrument, ResultFolder(bench.address("chromatograms")))
    with pytest.raises(RuntimeError, match="assets_dir"):
        device.stage()
    device.assets_dir = tmp_path / "assets"
    for _ in range(2):
        device.stage()
        device.unstage()
    assert len(list((tmp_path / "assets").iterdir())) == 2


def publish(folder: Path, name: str, started: float, n: int) -> None:
    """Put a result of ``n`` values at one per second into a folder, as a data system does."""
    data = {
        "runTimeStamp": started,
        "detectors": {"tcd": {"nValuesPerSecond": 1, "values": [1.0] * n}},
    }
    (folder / name).write_text(json.dumps(data))


@pytest.fixture
def by_hand(
    board: NumatoRelayBoard, tmp_path: Path
) -> Iterator[Callable[[int], tuple[GasChromatographDevice, Path]]]:
    """Make a device on the real wires whose results the test puts into a folder."""
    staged: list[GasChromatographDevice] = []

    def make(start_relay: int) -> tuple[GasChromatographDevice, Path]:
        folder = tmp_path / "results"
        folder.mkdir()
        instrument = ContactGasChromatograph(
            board, start_relay=start_relay, ready_gpio=3, confirm_timeout_s=0.2
        )
        device = GasChromatographDevice(
            instrument, ResultFolder(f"folder://{folder}"), run_time_s=10, values_per_second=1
        )
        device.assets_dir = tmp_path / "assets"
        device.stage()
        staged.append(device)
        return device, folder

    yield make
    for device in staged:
        device.unstage()


def test_traces_of_other_lengths_are_kept_as_far_as_they_fit(
    by_hand: Callable[[int], tuple[GasChromatographDevice, Path]],
    instrument: ContactGasChromatograph,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    device, folder = by_hand(0)
    for n, length in enumerate((8, 11)):
        wait_until(instrument.ready)
        device.trigger().wait(50)
        publish(folder, f"{n}.json", rows(device)[0]["host_before"], length)
        wait_until(lambda n=n: device.result.pending() == n + 1)
    assert "gives room for 10" in caplog.text
    assert [row["injection"] for row in rows(device.result)] == [1.0, 2.0]
    device.unstage()
    path = next((tmp_path / "assets").iterdir())
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        lengths = [int((row == row).sum()) for row in file["/entry/trace"][:]]
    assert lengths == [8, 0]


def test_an_unconfirmed_injection_is_not_waited_for_but_its_result_is_taken(
    by_hand: Callable[[int], tuple[GasChromatographDevice, Path]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    device, folder = by_hand(1)
    device.trigger().wait(50)
    assert "Ready did not go low" in caplog.text
    (row,) = rows(device)
    assert (row["ready"], row["confirmed"], row["missed"]) == (1.0, 0.0, 0.0)
    assert not device.result.expected()
    publish(folder, "late.json", row["host_before"], 10)
    wait_until(lambda: device.result.pending() == 1)


def test_a_folder_that_comes_back_is_looked_into_again(
    by_hand: Callable[[int], tuple[GasChromatographDevice, Path]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    device, folder = by_hand(0)
    away = folder.with_name("away")
    folder.rename(away)
    device.trigger().wait(50)
    wait_until(lambda: "mounted" in caplog.text)
    away.rename(folder)
    publish(folder, "a.json", rows(device)[0]["host_before"], 10)
    wait_until(lambda: device.result.pending() == 1)
    assert caplog.text.count("mounted") == 1


def test_a_result_that_finds_no_room_is_told_once_and_costs_nothing_else(
    by_hand: Callable[[int], tuple[GasChromatographDevice, Path]],
    instrument: ContactGasChromatograph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    device, folder = by_hand(0)
    result = device.result

    def inject(name: str) -> None:
        wait_until(instrument.ready)
        device.trigger().wait(50)
        publish(folder, name, rows(device)[0]["host_before"], 10)

    inject("a.json")
    wait_until(lambda: result.pending() == 1)
    total, used, _ = shutil.disk_usage(tmp_path)
    nearly_full = type(shutil.disk_usage(tmp_path))(total, used, 1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: nearly_full)
        inject("b.json")
        with pytest.raises(InstrumentError, match=r"1\.0 MB are free.*b\.json keeps it") as caught:
            wait_until(lambda: result.pending() == 2)
        assert "result of injection 2" in str(caught.value)
        assert str(tmp_path / "assets") in str(caught.value)
    # The result before is still there to be read, and the next one is taken again.
    assert [row["injection"] for row in rows(result)] == [1.0]
    assert not result.expected()
    inject("c.json")
    wait_until(lambda: result.pending() == 1)
    assert [row["injection"] for row in rows(result)] == [3.0]
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: nearly_full)
        inject("d.json")
        wait_until(lambda: not result.expected())
        # Nobody asks any more: it is told all the same, and not to the next run.
        device.unstage()
    assert "result of injection 4" in caplog.text
    device.stage()
    assert result.pending() == 0


@pytest.mark.parametrize(
    ("bench", "timeout_s", "second"),
    [(400.0, 50.0, "used"), (20.0, 0.05, "missed")],
    indirect=["bench"],
)
def test_a_shared_one_is_waited_for_until_the_run_of_another_station_is_over(
    device: GasChromatographDevice, tmp_path: Path, timeout_s: float, second: str
) -> None:
    server = RedisServer(tmp_path / "data")
    lender = Leases(client(server.ensure()), "A1")
    device.share(Sharing("gc", timeout_s, lender, lambda: None, lambda: None, keeps_open=True))
    try:
        for _ in range(2):  # the second while the run of the first goes on
            device.trigger().wait(50)
        loans = [device.next_loan(), device.next_loan()]
    finally:
        lender.client.close()
        server.stop()
    assert [one.outcome for one in loans if one is not None] == ["used", second]
    assert device.pending() == 1 + (second == "used")
    rows = [device.read() for _ in range(device.pending())]
    numbers = [row["gas_chromatograph_lease"]["value"] for row in rows]
    assert numbers == sorted(set(numbers))  # each loan has its own, a later one a larger one
    assert all(row["gas_chromatograph_ready"]["value"] == 1.0 for row in rows)
    assert set(rows[0]) == set(device.describe())
    if second == "missed":
        assert "was not ready" in device.notes[0]
