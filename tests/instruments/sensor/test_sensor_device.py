"""A sensor as a device: what becomes of a run where a reading fails."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from instruments._follower import LeaderRow
from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import SafetyLimitError, TransportError
from instruments.sensor.device import SensorDevice

Made = Callable[..., tuple[Any, SensorDevice]]


class Leader:
    """A leader that has ended: rows are ready at once."""

    finished = True

    def latest(self) -> LeaderRow | None:
        return LeaderRow(1.0, 1, -1, 0)

    def on_row(self, callback: Callable[[LeaderRow], None]) -> Callable[[], None]:
        return lambda: None


@pytest.fixture
def made(simulate: Callable[..., Any]) -> Iterator[Made]:
    benches = []

    def make(**more: Any) -> tuple[Any, SensorDevice]:
        simulated = simulate("zn-bare-half", "ph_meter")
        entry = {"kind": "sensor", "language": "atlas_ezo_ph", **more}
        entry["address"] = simulated.address("ph_meter")
        bench = Bench(BenchFile.model_validate({"name": "one", "instruments": {"ph": entry}}))
        benches.append(bench)
        bench.connect()
        device = bench.devices["ph"]
        device.follow(Leader())
        return simulated, device

    yield make
    for bench in benches:
        bench.close()


def reading(device: SensorDevice) -> float:
    device.trigger().wait(50)
    assert device.pending() == 1
    return float(device.read()["ph_ph"]["value"])


def test_a_probe_in_a_bath_is_compensated_by_it_and_the_record_tells(
    simulate: Callable[..., Any],
) -> None:
    simulated = simulate("zn-bare-half", "potentiostat,thermostat,ph_meter")
    ph = {"kind": "sensor", "language": "atlas_ezo_ph", "temperature_k": 273.15}
    ph["address"] = simulated.address("ph_meter")
    bath = {"kind": "thermostat", "language": "huber_pb"}
    bath["address"] = simulated.address("thermostat")
    instruments = {"ph": ph | {"compensated_by": "bath"}, "bath": bath}
    file = BenchFile.model_validate({"name": "one", "instruments": instruments})
    assert file.calibration()["ph"] == {"temperature_k": 273.15, "compensated_by": "bath"}
    assert file.only({"ph"}).calibration()["ph"] == {"temperature_k": 273.15}
    bench = Bench(file)
    bench.connect()
    try:
        device = bench.devices["ph"]
        device.follow(Leader())
        device.trigger().wait(50)
        assert device.pending() == 1
        row = {key: told["value"] for key, told in device.read().items()}
        assert row["ph_compensation_k"] == 298.15
        # Told 273.15 K it would say 4.16: the slope of the probe is that of 298.15 K.
        assert row["ph_ph"] == pytest.approx(4.4, abs=0.04)
        assert device.describe()["ph_compensation_k"]["units"] == "K"
        device.unfollow()
    finally:
        bench.close()


def test_a_thermostat_that_is_not_there_is_refused() -> None:
    entry = {"kind": "sensor", "language": "atlas_ezo_ph", "address": "tcp://x:1"}
    instruments = {"ph": entry | {"compensated_by": "bath"}}
    with pytest.raises(ValueError, match=r"instruments.ph takes .* 'bath', which is no thermostat"):
        BenchFile.model_validate({"name": "one", "instruments": instruments})


class Other:
    """Another make at the same address."""

    verified_on = None
    quantities: ClassVar[dict[str, str]] = {"ph": "", "compensation_k": "K"}

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def connect(self) -> None:
        pass

    def close(self) -> None:
        pass

    def safe_state(self) -> None:
        pass

    def identify(self) -> dict[str, str]:
        return {"model": "another pH meter"}

    def read(self) -> dict[str, float]:
        if self.error is not None:
            raise self.error
        return {"ph": 7.0, "compensation_k": 298.15}


def unplug(simulated: Any) -> None:
    simulated.break_something(instrument="ph_meter", fault="unplug")
    end = time.monotonic() + 50
    while not any(line["event"] == "fault" for line in simulated.truth("bench")):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_goes_on_without_it_and_with_it_again(
    made: Made, simulate: Callable[..., Any]
) -> None:
    simulated, device = made()
    assert 2 < reading(device) < 12
    unplug(simulated)
    assert math.isnan(reading(device))
    assert math.isnan(reading(device))
    (note,) = device.notes
    assert note.startswith("ph: no reading, the run goes on without: ")
    # Plugged in again: the same address leads to it.
    other = simulate("zn-bare-half", "ph_meter")
    line = Path(other.address("ph_meter").removeprefix("published:")).read_text()
    Path(simulated.address("ph_meter").removeprefix("published:")).write_text(line)
    assert 2 < reading(device) < 12
    assert len(device.notes) == 1
    device.unfollow()


def test_the_next_run_begins_without_it_and_takes_no_other_for_it(made: Made) -> None:
    simulated, device = made()
    reading(device)
    unplug(simulated)
    assert math.isnan(reading(device))
    device.unfollow()
    device.follow(Leader())  # the next run
    assert math.isnan(reading(device))
    assert device.notes == ["ph: it was lost in the run before; it is looked for at each reading"]
    device.driver = Other()
    assert math.isnan(reading(device))
    device.unfollow()
    device.follow(Leader())
    assert math.isnan(reading(device))
    device.unfollow()


def test_a_limit_ends_a_run_that_would_outlive_its_sensor(made: Made) -> None:
    _, device = made()
    device.driver = Other(SafetyLimitError("9 bar, more than the cell allows"))
    with pytest.raises(SafetyLimitError, match="ph: 9 bar"):
        device.trigger().wait(50)
    device.unfollow()


def test_a_run_that_is_to_end_with_it_does(made: Made) -> None:
    simulated, device = made(on_failure="end")
    unplug(simulated)
    with pytest.raises(TransportError, match="ph"):
        device.trigger().wait(50)
    device.unfollow()
