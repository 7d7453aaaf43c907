"""The thermostat as a device, against the simulated circulator on its wire."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from bluesky.protocols import Movable, Readable
from bluesky.run_engine import RunEngine

from instruments._follower import LeaderRow
from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError, InstrumentFaultError, SafetyLimitError
from instruments.thermostat import HuberThermostat, ThermostatDevice
from instruments.thermostat.contract import ThermostatState


class Leader:
    """A leader whose rows the test makes."""

    finished = False

    def __init__(self) -> None:
        self.newest: LeaderRow | None = None
        self._callbacks: list[Callable[[LeaderRow], None]] = []

    def latest(self) -> LeaderRow | None:
        return self.newest

    def on_row(self, callback: Callable[[LeaderRow], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def show(self, t_s: float) -> None:
        self.newest = LeaderRow(t_s, 1, -1, 0)
        for callback in self._callbacks:
            callback(self.newest)


@pytest.fixture
def bench(simulate: Callable[..., Any]) -> Any:
    return simulate("na-znag-symmetric", "potentiostat,thermostat")


@pytest.fixture
def device(bench: Any) -> Iterator[ThermostatDevice]:
    driver = HuberThermostat(bench.address("thermostat"), safe_temperature_k=298.15)
    device = ThermostatDevice(driver, limits_k=(243.15, 343.15))
    device.connect()
    yield device
    device.close_worker()
    with contextlib.suppress(InstrumentError):  # it may have been broken
        driver.close()


def wait(status: Any) -> None:
    status.wait(50)


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 50
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_temperature_is_set_in_kelvin_and_told_in_rows(device: ThermostatDevice) -> None:
    assert isinstance(device, Movable)
    assert isinstance(device, Readable)
    wait(device.set(313.15))
    wait(device.trigger())
    assert device.pending() == 1
    row = {key: reading["value"] for key, reading in device.read().items()}
    assert row["thermostat_setpoint"] == 313.15
    assert row["thermostat_controlling"] == 1.0
    assert 298.0 < row["thermostat_temperature"] < 314.0
    latest = device.latest_temperature
    assert latest is not None
    assert latest[1] == row["thermostat_temperature"]
    units = {key: told["units"] for key, told in device.describe().items()}
    assert units["thermostat_temperature"] == units["thermostat_setpoint"] == "K"
    assert set(row) == set(units)


def test_rows_are_placed_on_the_leaders_clock(device: ThermostatDevice) -> None:
    leader = Leader()
    leader.show(30.0)
    device.follow(leader)
    wait(device.trigger())
    assert device.pending() == 0  # until the leader has shown a later row
    time.sleep(0.05)
    leader.show(60.0)
    wait_until(lambda: device.pending() == 1)
    row = {key: reading["value"] for key, reading in device.read().items()}
    assert (row["thermostat_t_before"], row["thermostat_t_after"]) == (30.0, 60.0)
    device.unfollow()


@pytest.mark.parametrize("kelvin", [243.0, 344.0, 25.0])
def test_a_temperature_beyond_the_bench_is_refused_before_anything_moves(
    device: ThermostatDevice, kelvin: float
) -> None:
    with pytest.raises(SafetyLimitError, match=r"243\.15 K to 343\.15 K"):
        device.set(kelvin)
    assert device.driver.state() == ThermostatState(298.15, 293.15, False)


@pytest.mark.parametrize("value", [math.nan, "313 K", None])
def test_what_is_no_temperature_is_refused(device: ThermostatDevice, value: Any) -> None:
    with pytest.raises(ValueError, match="not a temperature in K"):
        device.set(value)


def test_a_temperature_beyond_the_cell_is_refused_and_that_of_the_next_cell_is_not(
    device: ThermostatDevice,
) -> None:
    device.allow(274.15, 333.15)
    assert device.limits == (274.15, 333.15)
    with pytest.raises(SafetyLimitError, match=r"asked for 263\.15 K.*274\.15 K to 333\.15 K"):
        device.set(263.15)
    device.allow(250.15, None)
    assert device.limits == (250.15, 343.15)
    device.check_value(263.15)


def test_a_cell_is_not_put_where_it_must_not_be(device: ThermostatDevice) -> None:
    with pytest.raises(SafetyLimitError, match=r"is at 298\.15 K; the cell allows at most 290 K"):
        device.allow(None, 290.0)
    wait(device.set(285.15))
    with pytest.raises(SafetyLimitError, match=r"goes to 285\.15 K; the cell allows at least 290"):
        device.allow(290.0, None)


def test_a_bath_beyond_the_cell_fails_the_exchange(device: ThermostatDevice, bench: Any) -> None:
    device.allow(290.0, 305.0)
    device.driver.go_to(320.15)  # somebody at the panel
    line = Path(bench.address("potentiostat").removeprefix("published:")).read_text().strip()
    with serial.Serial(line.removeprefix("serial://"), timeout=20) as potentiostat:
        potentiostat.write(b"e\nwait 200\n\n")  # cell time passes
        assert potentiostat.readline() == b"e\n"
        assert potentiostat.readline() == b"\n"
    with pytest.raises(
        SafetyLimitError,
        match=r"is at 3[12]\d\.\d+ K; the cell allows 290 K to 305 K. It now goes to 298.15 K",
    ):
        wait(device.trigger())
    assert device.driver.state().setpoint_k == 298.15


def test_a_thermostat_that_stops_by_itself_is_noted(device: ThermostatDevice) -> None:
    device.follow(Leader())
    wait(device.set(298.15))
    wait(device.trigger())
    assert device.notes == []
    device.driver.stop()  # somebody at the panel
    wait(device.trigger())
    wait(device.trigger())
    (note,) = device.notes
    assert "stopped controlling by itself, at 298.15 K on its setpoint of 298.15 K" in note
    device.follow(Leader())
    assert device.notes == []
    device.unfollow()


def test_a_bath_that_drifts_after_its_thermostat_stopped_is_noted_once() -> None:
    device = ThermostatDevice(HuberThermostat("tcp://127.0.0.1:9"))
    device._compare(ThermostatState(298.2, 298.15, True))
    for kelvin in (297.0, 296.0, 295.0):
        device._compare(ThermostatState(kelvin, 298.15, False))
    assert len(device.notes) == 2
    assert "stopped controlling by itself, at 297.00 K" in device.notes[0]
    assert "left it, for 297.00 K" in device.notes[1]


def test_a_process_sensor_that_falls_off_is_noted_and_told_in_each_row(
    manual: Callable[..., Any],
) -> None:
    pages = [f"its state {how}" for how in ("with a process sensor", "when that was unplugged")]
    driver = HuberThermostat(
        manual("connecting to a circulator at rest", *pages, "its state after a while").address
    )
    device = ThermostatDevice(driver)
    device.connect()
    device.follow(Leader())
    for _ in range(3):
        wait(device.trigger())
    device.unfollow()
    rows = [{key: told["value"] for key, told in device.read().items()} for _ in range(3)]
    told = [(row["thermostat_temperature"], row["thermostat_of_process"]) for row in rows]
    assert told == [(301.15, 1.0), (303.15, 0.0), (304.15, 0.0)]
    (note,) = device.notes
    assert "its process sensor tells nothing any more" in note
    device.close_worker()
    driver.close()


def test_an_error_of_the_circulator_fails_the_exchange_and_is_named(
    device: ThermostatDevice, bench: Any
) -> None:
    bench.break_something(instrument="thermostat", fault="error", code=-1)
    wait_until(lambda: any(line["event"] == "fault" for line in bench.truth("bench")))
    with pytest.raises(InstrumentFaultError, match=r"thermostat.*reports error -1"):
        wait(device.trigger())


def test_a_circulator_that_does_not_obey_fails_the_setting(
    device: ThermostatDevice, bench: Any
) -> None:
    bench.break_something(instrument="thermostat", fault="deafness")
    wait_until(lambda: any(line["event"] == "fault" for line in bench.truth("bench")))
    with pytest.raises(InstrumentFaultError, match="in force is 293"):
        wait(device.set(313.15))


def test_a_garbled_answer_is_asked_for_again(device: ThermostatDevice, bench: Any) -> None:
    bench.break_something(instrument="thermostat", fault="garble", count=1)
    wait_until(lambda: any(line["event"] == "fault" for line in bench.truth("bench")))
    assert device.driver.state() == ThermostatState(298.15, 293.15, False)


def test_a_circulator_that_is_gone_is_told(device: ThermostatDevice, bench: Any) -> None:
    bench.stop()
    with pytest.raises(InstrumentError, match="thermostat"):
        wait(device.trigger())


def test_it_can_be_moved_by_a_plan(device: ThermostatDevice) -> None:
    import bluesky.plan_stubs as bps

    RunEngine({})(bps.mv(device, 303.15))
    assert device.driver.state()[1:3] == (303.15, True)


def test_a_bench_that_is_left_takes_it_to_its_safe_temperature(bench: Any) -> None:
    entry = {
        "kind": "thermostat",
        "language": "huber_pb",
        "address": bench.address("thermostat"),
        "safe_temperature_k": 296.15,
    }
    made = Bench(BenchFile.model_validate({"name": "one", "instruments": {"thermostat": entry}}))
    made.connect()
    told = made.metadata()["bench"]["instruments"]["thermostat"]
    assert (told["kind"], told["language"]) == ("thermostat", "huber_pb")
    wait(made.devices["thermostat"].set(313.15))
    made.close()
    assert [line["setpoint_k"] for line in bench.truth("thermostat")] == [313.15, 296.15]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"temperature_min_k": 300.0, "temperature_max_k": 290.0}, "is not below"),
        ({"temperature_max_k": 290.0}, "beyond its own limits"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(
    more: dict[str, float], complaint: str
) -> None:
    entry = {"kind": "thermostat", "language": "huber_pb", "address": "tcp://x:1", **more}
    with pytest.raises(ValueError, match=complaint):
        BenchFile.model_validate({"name": "one", "instruments": {"thermostat": entry}})


def test_a_bath_that_is_switched_off_stays_off(device: ThermostatDevice) -> None:
    assert device.leave_alone() == "does not control, is at 298.15 K"
    assert not device.driver.state().controlling
    device.driver.go_to(313.15)
    assert device.leave_alone() == "goes to 298.15 K, its safe temperature"


def test_a_safe_temperature_that_the_cell_forbids_is_no_retreat(device: ThermostatDevice) -> None:
    device.allow(None, 310.15)
    assert device.driver.safe_temperature_k == 298.15
    with pytest.raises(SafetyLimitError):
        device.allow(None, 296.15)  # the bath is at 298.15 K
    device.driver.go_to(306.15)
    with pytest.raises(SafetyLimitError, match="It was stopped"):
        wait(device.trigger())
    assert not device.driver.state().controlling
    device.safe_state()  # as a session does when its run has failed
    device.driver.safe_state()
    assert not device.driver.state().controlling
    device.allow(None, None)
    assert device.driver.safe_temperature_k == 298.15
