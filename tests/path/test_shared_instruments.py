"""A microscope that another station has now and then: it is waited for, and the run goes on."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import redis
from pydantic import ValidationError

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from operando.configuration import load_bench, load_cell
from operando.queueing._redis import RedisServer, client
from operando.queueing.leases import BorrowedInstrument, Leases, lease_state
from operando.runs import Run
from operando.session import Session
from techniques import Protocol, Schedule

pytestmark = pytest.mark.timeout(180)
CELL = "zn-bare-half"
LIGHTS = ("camera", "raman")
USED = {"potentiostat", *LIGHTS}
# An image at the beginning; image and spectrum at both ends.
EVERY = Schedule(image_s=1e6, burst_for_s=0.0, spectrum_s=None)


@pytest.fixture(scope="module")
def chain(make_chain: Callable[..., Any]) -> Any:
    return make_chain(
        CELL, factor=200.0, instruments=["potentiostat", "relay_board", "camera", "raman"]
    )


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    server = RedisServer(tmp_path_factory.mktemp("data"))
    with client(server.ensure()) as one:
        yield one
    server.stop()


def shared_bench(lease_timeout_s: float, **told: Any) -> BenchFile:
    file = load_bench("sim").only(USED)
    share = {"shared": "microscope", "lease_timeout_s": lease_timeout_s, **told}
    instruments = {
        name: entry.model_copy(update=share) if name in ("camera", "raman") else entry
        for name, entry in file.instruments.items()
    }
    return file.model_copy(update={"instruments": instruments})


@pytest.mark.parametrize("used", [("camera",), pytest.param(LIGHTS, marks=pytest.mark.long)])
def test_each_use_waits_for_the_other_station_and_holds_nothing_in_between(
    chain: Any, lent: redis.Redis, plate_strip: Callable[..., Protocol], used: tuple[str, ...]
) -> None:
    protocol = plate_strip(CELL, 4.0, 0.1, every=EVERY)
    bench = shared_bench(60.0).only({"potentiostat", *used})
    over = threading.Event()
    other = Leases(lent, "A2", priority=1)

    def look_now_and_then() -> None:
        while not over.wait(0.1):
            with other.borrow("microscope", timeout_s=60):
                while not lease_state(lent, "microscope").waiting and not over.wait(0.02):
                    pass  # until somebody asks for it
                over.wait(0.1)

    with chain.simulated():
        lender = Leases(lent, "A1")
        with Session(bench, chain.data, catalog=False, lender=lender) as session:
            drivers = [session.devices[name].driver for name in used]
            assert not any(held(driver) for driver in drivers)
            thread = threading.Thread(target=look_now_and_then)
            thread.start()
            try:
                uid = session.run_protocol(protocol, cell=load_cell(CELL))
            finally:
                over.set()
                thread.join()
            assert not any(held(driver) for driver in drivers)
    run = Run.from_journal(uid, chain.data)
    images = run.streams["camera"].columns
    assert len(images["camera_waited"]) == 3
    assert np.all(images["camera_waited"] >= 0)
    numbers = [x for name in used for x in run.streams[name].columns[f"{name}_lease"]]
    assert len(set(numbers)) == len(numbers) == 3 + 2 * (len(used) - 1)
    assert max(images["camera_waited"]) > 0.1  # the other one had it
    # What brackets a picture is its exposure, not the wait; one may be long on a busy computer.
    exposed = images["camera_host_after"] - images["camera_host_before"]
    assert np.median(exposed) < 0.3
    assert lease_state(lent, "microscope").loans >= len(numbers)
    told = run.streams["leases"].columns
    assert set(told["leases_outcome"]) == {"used"}
    assert sorted(told["leases_lease"]) == sorted(numbers)
    assert run.start["bench"]["instruments"]["camera"]["shared"] == "microscope"
    assert run.start["bench"]["instruments"]["camera"]["identity"]["model"]


def held(driver: Any) -> bool:
    """Return whether this process has the instrument."""
    child = driver._child
    return child is not None and child.alive


def test_one_that_is_not_had_in_time_is_missed_and_told_and_the_run_goes_on(
    chain: Any, lent: redis.Redis, plate_strip: Callable[..., Protocol]
) -> None:
    protocol = plate_strip(CELL, 4.0, 0.05, every=EVERY)
    with chain.simulated():
        lender = Leases(lent, "A1")
        file = shared_bench(0.2, keep_open=True)
        with Session(file, chain.data, catalog=False, lender=lender) as session:
            with Leases(lent, "A2").borrow("microscope", timeout_s=60):
                uid = session.run_protocol(protocol, cell=load_cell(CELL))
    run = Run.from_journal(uid, chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert "camera: a use of it was missed" in run.stop["reason"]
    assert "A2 (process" in run.stop["reason"]
    assert "camera" not in run.streams or not len(run.streams["camera"])
    told = run.streams["leases"].columns
    assert set(told["leases_outcome"]) == {"missed"}
    assert np.all(told["leases_waited"] >= 0.2)
    assert np.all(np.isnan(told["leases_lease"]))
    assert all("A2 (process" in reason for reason in told["leases_reason"])


class ShortLoans(Leases):
    """Each loan is over as soon as it has begun."""

    def borrow(self, name: str, **told: Any) -> BorrowedInstrument:
        loan = super().borrow(name, **told)
        self.client.delete(f"operando:lease:{name}:holder")
        return loan


def test_what_is_measured_after_the_lease_ran_out_is_not_recorded(
    chain: Any, lent: redis.Redis, plate_strip: Callable[..., Protocol]
) -> None:
    protocol = plate_strip(CELL, 4.0, 0.05, every=Schedule(image_s=60.0))
    file = shared_bench(5.0, keep_open=True).only({"potentiostat", "camera"})
    with chain.simulated():
        with Session(file, chain.data, catalog=False, lender=ShortLoans(lent, "A1")) as session:
            uid = session.run_protocol(protocol, cell=load_cell(CELL))
    run = Run.from_journal(uid, chain.data)
    told = run.streams["leases"].columns
    assert set(told["leases_outcome"]) == {"fenced"}
    assert all("ran out while it was used" in reason for reason in told["leases_reason"])
    assert "camera" not in run.streams or not len(run.streams["camera"])
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"


def test_without_a_lender_what_is_shared_is_as_if_it_were_not() -> None:
    bench = Bench(shared_bench(60.0))
    assert not bench.devices["camera"].shared
    assert not bench.comes_and_goes("camera")


def test_what_hangs_on_a_shared_board_is_shared_with_it() -> None:
    told = load_bench("sim").only({"camera"}).model_dump()
    told["instruments"]["relay_board"]["shared"] = "microscope"
    with pytest.raises(ValidationError, match="give it shared: microscope as well"):
        BenchFile.model_validate(told)
    told["instruments"]["camera"]["shared"] = "microscope"
    for keep_open in (False, True):
        told["instruments"]["camera"]["keep_open"] = keep_open
        bench = Bench(BenchFile.model_validate(told), Leases(redis.Redis(), "A1"))
        assert bench.comes_and_goes("camera")
        assert bench.comes_and_goes("relay_board")


def test_results_of_a_shared_chromatograph_are_told_apart_by_their_time() -> None:
    told = load_bench("sim").only({"gas_chromatograph"}).model_dump()
    told["instruments"]["gas_chromatograph"]["shared"] = "gc"
    with pytest.raises(ValidationError, match="give clock_offset_s"):
        BenchFile.model_validate(told)
