"""The potentiostat under a RunEngine, over the wire: what a first attempt taught, kept."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.protocols import EventPageCollectable, Flyable, Preparable, Stoppable
from bluesky.utils import FailedStatus, Msg, RunEngineInterrupted

from instruments import _columns
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    SafetyLimitError,
    TransportError,
    UnsupportedTechniqueError,
)
from instruments.potentiostat import PotentiostatDevice, Sample
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from techniques import Assignment, SafetyLimits

KEYS = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")


def assignment(*steps: dict[str, Any], **more: Any) -> Assignment:
    technique = {"type": "sequence", "steps": list(steps)}
    limits = {"potential_min_v": -3.0, "potential_max_v": 3.0, **more.pop("limits", {})}
    return Assignment.model_validate(
        {"technique": technique, "area_cm2": 1.0, "limits": limits, **more}
    )


def plate(seconds: float = 60.0, j: float = 1.0, **record: Any) -> dict[str, Any]:
    return {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": j,
        "until": [{"quantity": "time_s", "value": seconds}],
        "record": record,
    }


REST = {"type": "open_circuit", "duration_s": 20}
SPECTRUM = {
    "type": "impedance_spectrum",
    "amplitude_rms_v": 0.005,
    "frequency_min_hz": 100.0,
    "points_per_decade": 3,
}
FOR_EVER = assignment({"type": "open_circuit", "duration_s": 1e6, "record": {"dt_s": 1}})
PROGRAM_OF_THE_PAGES = assignment(plate(10.0, dt_s=0.2, edge_dt_s=0.2))


@pytest.fixture
def device(
    simulate: Callable[..., Any], request: pytest.FixtureRequest
) -> Iterator[PotentiostatDevice]:
    """A device on a simulated instrument; parametrise indirectly with its factor."""
    bench = simulate("zn-bare", "potentiostat", getattr(request, "param", 1e5))
    driver = MethodScriptPotentiostat(bench.address("potentiostat"))
    driver.connect()
    yield PotentiostatDevice(driver, name="potentiostat")
    # A test that has pulled the cable has no cell left to open.
    with contextlib.suppress(TransportError):
        driver.close()


@pytest.fixture
def from_pages(manual: Callable[..., Any]) -> Iterator[Callable[..., PotentiostatDevice]]:
    drivers: list[MethodScriptPotentiostat] = []

    def start(*pages: str) -> PotentiostatDevice:
        instrument = manual("an EmStat4 HR at rest", *pages)
        drivers.append(MethodScriptPotentiostat(instrument.address, patience_s=0.3))
        drivers[-1].connect()
        return PotentiostatDevice(drivers[-1], name="potentiostat")

    yield start
    for driver in drivers:
        driver._transport.close()


def fly(
    device: PotentiostatDevice, value: Assignment, watch: Callable[[], None] | None = None
) -> Iterator[Msg]:
    """Run one program as plans do: collect while it runs, and at the end, whatever happens."""
    yield from bps.prepare(device, value, wait=True)

    def collect() -> Iterator[Msg]:
        yield from bps.collect(device, name="potentiostat", return_payload=False)
        yield from bps.collect(device.impedance, name="impedance", return_payload=False)

    def end() -> Iterator[Msg]:
        # That the program failed is told to the plan once, by `lead` or by the engine: here, where
        # `lead` was quicker, and it must not stop what saves the rows.
        for part in (lambda: bps.stop(device), collect):
            try:
                yield from part()
            except FailedStatus:
                yield from part()

    def lead() -> Iterator[Msg]:
        yield from bps.declare_stream(device, name="potentiostat", collect=True)
        yield from bps.declare_stream(device.impedance, name="impedance", collect=True)
        yield from bps.kickoff(device, wait=True)
        done = yield from bps.complete(device, wait=False)
        while not done.done:
            yield from collect()
            if watch is not None:
                watch()
            yield from bps.sleep(0.02)
        if done.exception(timeout=0) is not None:
            raise done.exception(timeout=0)

    @bpp.stage_decorator([device])
    @bpp.run_decorator(md={"technique": value.technique.model_dump(mode="json")})
    def run() -> Iterator[Msg]:
        try:
            yield from bpp.finalize_wrapper(lead(), end)
        except FailedStatus as error:
            raise (error.__cause__ or error) from None

    return (yield from run())


class Record:
    """The documents of a run."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.documents.append((name, doc))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [doc for name, doc in self.documents if name == kind]

    def column(self, key: str) -> list[float]:
        prefix = "potentiostat_impedance_" if "impedance" in key else "potentiostat_"
        full = prefix + key.removeprefix("impedance_")
        return [x for page in self.of("event_page") for x in page["data"].get(full, [])]


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def engine() -> Iterator[RunEngine]:
    engine = RunEngine({}, context_managers=[])
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(50)
    engine.loop.close()


def test_the_device_speaks_blueskys_own_protocols(device: PotentiostatDevice) -> None:
    for protocol in (Preparable, Flyable, EventPageCollectable, Stoppable):
        assert isinstance(device, protocol)
    assert isinstance(device.impedance, EventPageCollectable)


def test_every_row_travels_in_event_pages(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    engine(fly(device, assignment(REST, plate(), SPECTRUM, REST)), record)
    assert {name for name, _ in record.documents} == {"start", "descriptor", "event_page", "stop"}
    assert record.of("stop")[0]["exit_status"] == "success"

    descriptors = {doc["name"]: doc for doc in record.of("descriptor")}
    keys = descriptors["potentiostat"]["data_keys"]
    assert set(keys) == {f"potentiostat_{key}" for key in KEYS}
    assert keys["potentiostat_potential"]["units"] == "V"
    assert keys["potentiostat_t"]["units"] == "s"
    assert descriptors["impedance"]["data_keys"]["potentiostat_impedance_z_real"]["units"] == "ohm"
    told = descriptors["potentiostat"]["configuration"]["potentiostat"]["data"]
    assert told["potentiostat_model"] == "EmStat4 HR"

    for page in record.of("event_page"):
        lengths = {len(column) for column in page["data"].values()}
        assert lengths == {len(page["time"])}
        assert all(type(x) is float for column in page["data"].values() for x in column)
        for stamps in page["timestamps"].values():
            assert all(abs(stamp - time.time()) < 60 for stamp in stamps)
    times = record.column("t")
    assert times == sorted(times)
    assert times[-1] == pytest.approx(102, abs=3)
    assert set(record.column("role")) == {-1.0, 0.0}
    assert set(record.column("impedance_spectrum")) == {1.0}
    assert len(record.column("impedance_frequency")) == 10


def test_the_same_device_runs_program_after_program(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    for _ in range(2):
        engine(fly(device, assignment(REST)), record)
    starts = [n for n, t in enumerate(record.column("t")) if t < 0.5]
    assert len(starts) == 2
    assert len(record.of("stop")) == 2


FAST = assignment(plate(2.0, dt_s=0.001, edge_dt_s=0.001))


@pytest.mark.parametrize("device", [1.0], indirect=True)
def test_the_rows_of_a_fast_program_lie_in_columns_that_are_announced(
    engine: RunEngine, device: PotentiostatDevice, record: Record, tmp_path: Path
) -> None:
    device.assets_dir = tmp_path / "assets"
    engine(fly(device, FAST), record)
    assert not record.of("event_page")
    (path,) = (tmp_path / "assets").iterdir()
    assert {unquote(doc["uri"]) for doc in record.of("stream_resource")} == {
        f"file://localhost{path}"
    }
    with h5py.File(path, "r") as file:  # closed in order: no longer in need of SWMR
        t = file["/entry/data/t"][()]
        assert {len(file["/entry/data"][name]) for name in file["/entry/data"]} == {2000}
    np.testing.assert_allclose(t, 0.001 * np.arange(1, 2001), atol=1e-6)
    assert max(doc["indices"]["stop"] for doc in record.of("stream_datum")) == 2000
    assert record.of("stop")[0]["num_events"]["potentiostat"] == 2000


@pytest.mark.parametrize("device", [50.0], indirect=True)
def test_fast_and_slow_programs_take_turns_on_the_same_device(
    engine: RunEngine, device: PotentiostatDevice, record: Record, tmp_path: Path
) -> None:
    device.assets_dir = tmp_path / "assets"
    quick = assignment(plate(0.2, dt_s=0.001, edge_dt_s=0.001))
    for program in (quick, PROGRAM_OF_THE_PAGES, quick):
        engine(fly(device, program), record)
    assert len(list((tmp_path / "assets").iterdir())) == 2
    assert len(record.of("stream_resource")) == 2 * 10
    in_pages = sum(len(page["time"]) for page in record.of("event_page"))
    assert in_pages == pytest.approx(50, abs=1)  # the last one may be sent for itself


def test_a_fast_program_without_a_folder_for_its_rows_is_refused(
    device: PotentiostatDevice, tmp_path: Path
) -> None:
    device.prepare(FAST)
    with pytest.raises(RuntimeError, match="assets_dir"):
        device.kickoff()
    (tmp_path / "assets").write_text("in the way")
    device.assets_dir = tmp_path / "assets"
    with pytest.raises(TransportError, match="cannot record rows"):
        device.kickoff()


@pytest.mark.parametrize("device", [1.0], indirect=True)
def test_a_disk_without_room_ends_a_fast_program_before_it_is_full(
    engine: RunEngine,
    device: PotentiostatDevice,
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HDF5 would take the whole process with it on a disk that is really full."""
    total, used, _ = shutil.disk_usage(tmp_path)
    nearly_full = type(shutil.disk_usage(tmp_path))(total, used, 1_000_000)
    monkeypatch.setattr(_columns, "PATIENCE_S", 0.3)
    device.assets_dir = tmp_path / "assets"

    def fill() -> None:
        if len(record.of("stream_datum")) >= 30:
            monkeypatch.setattr(shutil, "disk_usage", lambda path: nearly_full)

    long = assignment(plate(600.0, dt_s=0.001, edge_dt_s=0.001))
    with pytest.raises(TransportError, match=r"cannot record \d+ rows.*OPERANDO_DATA"):
        engine(fly(device, long, fill), record)
    assert device.finished
    assert record.of("stop")[0]["exit_status"] == "fail"
    assert len({doc["indices"]["stop"] for doc in record.of("stream_datum")}) >= 3


def test_no_row_is_lost_between_thread_and_pages(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    many = plate(3000.0, dt_s=0.5, edge_dt_s=0.5)
    engine(fly(device, assignment(many)), record)
    times = record.column("t")
    assert len(times) == 6000
    assert times == pytest.approx([0.5 * n for n in range(1, 6001)], abs=2e-3)
    numbers = [n for page in record.of("event_page") for n in page["seq_num"]]
    assert numbers == list(range(1, 6001))


def test_what_cannot_be_done_is_refused_before_a_run_opens(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    with pytest.raises(UnsupportedTechniqueError, match="200 mA at most"):
        engine(fly(device, assignment(plate(j=300.0))), record)
    with pytest.raises(SafetyLimitError, match=r"the limit is 0\.5 mA"):
        engine(
            fly(device, assignment(plate(), limits={"current_max_a": 5e-4})),
            record,
        )
    assert record.documents == []


def test_the_bench_narrows_every_assignment(
    simulate: Callable[..., Any], engine: RunEngine, record: Record
) -> None:
    bench = simulate("zn-bare", "potentiostat", 1e5)
    driver = MethodScriptPotentiostat(bench.address("potentiostat"))
    driver.connect()
    device = PotentiostatDevice(
        driver, name="potentiostat", limits=SafetyLimits(current_max_a=1e-3, potential_max_v=-1.0)
    )
    with pytest.raises(SafetyLimitError, match="2 mA, the limit is 1 mA"):
        device.prepare(assignment(plate(j=2.0)))
    with pytest.raises(SafetyLimitError, match="contradict"):
        device.prepare(assignment(plate(j=1.0), limits={"potential_min_v": 0.0}))
    driver.close()


def test_an_error_of_the_instrument_keeps_its_rows_and_is_told_in_the_stop_document(
    engine: RunEngine, from_pages: Callable[..., PotentiostatDevice], record: Record
) -> None:
    device = from_pages("a run-time error with an empty line")
    with pytest.raises(InstrumentFaultError, match="critical overload"):
        engine(fly(device, PROGRAM_OF_THE_PAGES), record)
    assert record.column("t") == [1.0]
    stop = record.of("stop")[0]
    assert stop["exit_status"] == "fail"
    assert "critical overload" in stop["reason"]
    assert "the cell was opened" in stop["reason"]


def test_a_safety_limit_fails_the_run_with_its_rows(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    hard = assignment(plate(100.0, j=20.0), limits={"potential_min_v": -0.3})
    with pytest.raises(SafetyLimitError, match="potential_min_v"):
        engine(fly(device, hard), record)
    assert record.column("potential")[-1] < -0.3
    assert "potential_min_v = -0.3" in record.of("stop")[0]["reason"]


def test_a_refused_program_fails_the_kickoff_and_leaves_the_device_usable(
    engine: RunEngine, from_pages: Callable[..., PotentiostatDevice], record: Record
) -> None:
    device = from_pages("refused while loading", "a whole program")
    with pytest.raises(InstrumentFaultError, match="unknown script command"):
        engine(fly(device, PROGRAM_OF_THE_PAGES), record)
    assert "unknown script command" in record.of("stop")[0]["reason"]
    assert device.finished
    engine(fly(device, PROGRAM_OF_THE_PAGES), record)
    assert record.column("t") == [1.0, 2.0]


@pytest.mark.parametrize("device", [100.0], indirect=True)
def test_an_error_of_the_plan_opens_the_cell_and_keeps_the_rows(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    def fail_later() -> None:
        if device.latest() is not None and device.latest().t_s > 20:
            raise LookupError("the plan has an error")

    with pytest.raises(LookupError):
        engine(fly(device, FOR_EVER, fail_later), record)
    assert record.column("t")[-1] > 20
    assert device.stop_reason == "aborted"
    assert device.finished


@pytest.mark.parametrize("device", [100.0], indirect=True)
def test_an_aborted_run_opens_the_cell_and_keeps_the_rows(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    pauses: list[threading.Thread] = []

    def abort_later() -> None:
        if device.latest() is not None and device.latest().t_s > 20 and not pauses:
            pauses.append(threading.Thread(target=engine.request_pause))
            pauses[0].start()

    with pytest.raises(RunEngineInterrupted):
        engine(fly(device, FOR_EVER, abort_later), record)
    pauses[0].join(50)
    engine.abort("enough")
    assert record.column("t")[-1] > 20
    assert device.stop_reason == "aborted"
    assert record.of("stop")[0]["exit_status"] == "abort"


@pytest.mark.parametrize(("success", "error"), [(True, None), (False, "stopped")])
@pytest.mark.parametrize("device", [100.0], indirect=True)
def test_stop_ends_the_program_and_tells_whether_that_was_meant(
    device: PotentiostatDevice, success: bool, error: str | None
) -> None:
    device.prepare(FOR_EVER)
    device.kickoff().wait(50)
    done = device.complete()
    device.stop(success=success)
    assert done.done
    told = done.exception(timeout=50)
    assert (told is None) if error is None else (error in str(told))
    assert device.stop_reason == "aborted"
    device.stop()


@pytest.mark.parametrize("device", [100.0], indirect=True)
def test_an_instrument_that_is_gone_fails_the_run_at_once(
    engine: RunEngine, device: PotentiostatDevice, record: Record
) -> None:
    pulled: list[bool] = []

    def pull() -> None:
        if device.latest() is not None and not pulled:
            pulled.append(True)
            device._driver._transport.close()

    with pytest.raises(TransportError, match="lost while a program was running"):
        engine(fly(device, FOR_EVER, pull), record)
    assert "lost while" in record.of("stop")[0]["reason"]
    assert len(record.column("t")) > 0
    assert device.finished


def test_the_order_of_calls_is_checked(device: PotentiostatDevice) -> None:
    with pytest.raises(RuntimeError, match="prepare"):
        device.kickoff()
    with pytest.raises(RuntimeError, match="kickoff before complete"):
        device.complete()
    device.prepare(assignment(REST))
    device.kickoff().wait(50)
    device.complete().wait(50)
    device.stop()
    device.unstage()


@pytest.mark.parametrize("device", [1000.0], indirect=True)
def test_followers_see_each_row_from_the_reader_thread(device: PotentiostatDevice) -> None:
    seen: list[tuple[str, Any]] = []

    class Follower:
        def row(self, row: Any) -> None:
            seen.append((threading.current_thread().name, row))

    follower = Follower()
    assert device.finished
    assert device.latest() is None
    device.prepare(assignment(REST, plate(), SPECTRUM))
    assert not device.finished
    unsubscribe = device.on_row(follower.row)
    device.kickoff().wait(50)
    device.complete().wait(50)
    unsubscribe()
    unsubscribe()
    assert device.finished
    assert {name for name, _ in seen} == {"potentiostat-reader"}
    assert device.latest() == seen[-1][1]
    assert {(row.step, row.half_cycle, row.role) for _, row in seen} == {
        (1, 0, 0),
        (2, 1, -1),
        (3, 1, 2),
    }
    collected = sum(len(page["time"]) for page in device.collect_pages())
    collected += sum(len(page["time"]) for page in device.impedance.collect_pages())
    assert collected == len(seen)
    assert list(device.collect_pages()) == []


@pytest.mark.parametrize("device", [100.0], indirect=True)
def test_a_follower_that_fails_ends_the_program(device: PotentiostatDevice) -> None:
    def fail(row: Any) -> None:
        raise LookupError("a follower has an error")

    device.prepare(FOR_EVER)
    device.on_row(fail)
    device.kickoff().wait(50)
    assert isinstance(device.complete().exception(timeout=50), LookupError)
    device.safe_state()


# Slow enough that the program neither ends by itself nor floods the line that an abort must empty.
@pytest.mark.parametrize("device", [100.0], indirect=True)
def test_the_safe_state_is_an_open_cell_in_any_state(device: PotentiostatDevice) -> None:
    device.safe_state()
    device.prepare(FOR_EVER)
    device.kickoff().wait(50)
    threads = [threading.Thread(target=device.safe_state) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert device.complete().exception(timeout=50) is None
    device.safe_state()
    device.close_worker()


def test_a_device_that_is_not_connected_cannot_be_staged() -> None:
    device = PotentiostatDevice(
        MethodScriptPotentiostat("serial:///dev/ttyNONE"), name="potentiostat"
    )
    with pytest.raises(InstrumentError, match="not connected"):
        device.stage()


def test_rows_that_were_kept_bring_the_potential_of_the_cell_along(
    device: PotentiostatDevice,
) -> None:
    row = Sample(1.0, 1.0, -0.1, -1e-3, 1, 1, 1, -1, 0, 1)
    device.hold_rows([(1.0, row)])
    assert "potentiostat_potential_cell" not in device.describe_collect()
    device.hold_rows([(1.0, row._replace(cell_potential_v=-0.25))])
    assert device.describe_collect()["potentiostat_potential_cell"]["units"] == "V"
    device.release_rows()
    (page,) = device.collect_pages()
    assert page["data"]["potentiostat_potential_cell"] == [-0.25]
    device.prepare(assignment(REST))
    assert "potentiostat_potential_cell" not in device.describe_collect()
    device.prepare(assignment(REST, reference=True))
    assert "potentiostat_potential_cell" in device.describe_collect()
