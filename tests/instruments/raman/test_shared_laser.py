"""A laser that several stations have in turn is given back switched off, or told not to be."""

import threading

import pytest
import redis

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import TransportError
from operando.queueing.leases import Leases
from tests.instruments.raman.conftest import SimulatedSpectrometer, wait_for

RAMAN = {
    "kind": "raman",
    "language": "wasatch",
    "shared": "stand",
    "laser_power_w": 0.05,
    "integration_time_s": 0.01,
    "keep_open": True,
}


def test_a_laser_that_was_lost_while_it_was_on_is_not_given_back_as_safe(
    simulated: SimulatedSpectrometer,
) -> None:
    told = {"name": "stand", "instruments": {"raman": {**RAMAN, "address": simulated.address}}}
    bench = Bench(BenchFile.model_validate(told), Leases(redis.Redis(), "A1"))
    # To connect it switches its laser off: also where another station has it.
    assert bench.comes_and_goes("raman")
    use = bench._sharing["raman"]
    use.connect()
    assert bench.drivers["raman"].acquire(0.01, 1).laser_on
    use.release()
    assert bench.unsafe == []
    assert not any(bench.answered_for().values())
    use.connect()
    unplugging = threading.Thread(
        target=lambda: (wait_for(lambda: simulated.laser_mw() > 0), simulated.unplug())
    )
    unplugging.start()
    with pytest.raises(TransportError, match="the device is gone"):
        bench.drivers["raman"].acquire(30.0, 1)
    unplugging.join()
    use.release()
    assert bench.unsafe == ["raman"]
    assert "turn its key" in bench.left_unsafe[0]
    assert bench.answered_for()["raman"]
