"""The sensors of a bench as devices, for what they would tell in a run; nothing is opened."""

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.sensor.device import SensorDevice


def sensors_of(file: BenchFile) -> list[SensorDevice]:
    """Return the sensors that follow a run on this bench."""
    return [one for one in Bench(file).devices.values() if isinstance(one, SensorDevice)]
