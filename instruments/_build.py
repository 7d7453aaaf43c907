"""Build the drivers and devices that a bench file describes. Opens nothing."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from instruments.bench_file import BenchFile
from instruments.camera.device import CameraDevice
from instruments.camera.entry import CameraEntry
from instruments.external.entry import ExternalEntry
from instruments.gas_chromatograph.contract import GasChromatograph
from instruments.gas_chromatograph.device import GasChromatographDevice
from instruments.gas_chromatograph.entry import GasChromatographEntry
from instruments.gas_chromatograph.valved import ValvedGasChromatograph
from instruments.lamp.device import LampDevice
from instruments.lamp.entry import SwitchedLampEntry
from instruments.potentiostat.device import PotentiostatDevice
from instruments.potentiostat.entry import PotentiostatEntry
from instruments.raman.device import RamanDevice
from instruments.raman.entry import RamanEntry
from instruments.relay_board import AllLamps, Lamp, NumatoRelayBoard
from instruments.relay_board.entry import RelayBoardEntry
from instruments.sampling_valve import SamplingValve
from instruments.sampling_valve.entry import SamplingValveEntry
from instruments.sensor.device import SensorDevice
from instruments.sensor.entry import SensorEntry
from instruments.stage.device import StageDevice
from instruments.stage.entry import StageEntry
from instruments.thermostat.contract import Thermostat
from instruments.thermostat.device import ThermostatDevice
from instruments.thermostat.entry import ThermostatEntry


class Driver(Protocol):
    """What the bench needs of any driver."""

    @property
    def verified_on(self) -> str | None:
        """Return when this driver was confirmed on hardware, ``None`` if never."""
        ...

    def connect(self) -> None:
        """Open the instrument."""
        ...

    def identify(self) -> dict[str, str]:
        """Return who answered."""
        ...

    def close(self) -> None:
        """Leave the instrument safe and release it."""
        ...


@dataclass
class Parts:
    """What a bench consists of; drivers in the order in which they are connected."""

    drivers: dict[str, Driver] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)


def build(file: BenchFile) -> Parts:
    """Return the drivers and devices of ``file``, nothing of them connected."""
    parts = Parts()
    boards: dict[str, NumatoRelayBoard] = {}
    valves: dict[str, SamplingValve] = {}
    # First what others hang on: lamp and gas chromatograph on boards, the latter on a valve.
    for name, entry in file.instruments.items():
        if isinstance(entry, RelayBoardEntry):
            parts.drivers[name] = boards[name] = entry.driver()
        elif isinstance(entry, SamplingValveEntry):
            parts.drivers[name] = valves[name] = entry.driver()

    # Lamp and laser are never on together: whoever makes light holds this.
    light = threading.RLock()
    lamps: dict[str, Lamp] = {
        name: Lamp(boards[entry.lamp.board], entry.lamp.relay)
        for name, entry in file.instruments.items()
        if isinstance(entry, CameraEntry) and entry.lamp is not None
    }
    switched = {
        name: entry.driver(boards)
        for name, entry in file.instruments.items()
        if isinstance(entry, SwitchedLampEntry)
    }
    # A camera that names none of its own uses the first there is.
    shared = next(iter([*switched.values(), *lamps.values()]), None)
    every_lamp = AllLamps([*lamps.values(), *switched.values()]) if shared is not None else None
    spectrometers = {
        name: entry.driver(boards)
        for name, entry in file.instruments.items()
        if isinstance(entry, RamanEntry)
    }
    laser = next(iter(spectrometers.values()), None)
    thermostats = {
        name: entry.driver()
        for name, entry in file.instruments.items()
        if isinstance(entry, ThermostatEntry)
    }

    for name, entry in file.instruments.items():
        match entry:
            case PotentiostatEntry():
                potentiostat = entry.driver()
                parts.drivers[name] = potentiostat
                parts.devices[name] = PotentiostatDevice(
                    potentiostat, name=name, limits=file.limits
                )
            case CameraEntry():
                camera = entry.driver()
                parts.drivers[name] = camera
                parts.devices[name] = CameraDevice(
                    camera,
                    name=name,
                    lamp=lamps.get(name, shared),
                    laser=laser,
                    light_lock=light,
                    micrometre_per_pixel=entry.scale_um_px,
                )
            case RamanEntry():
                parts.drivers[name] = spectrometers[name]
                parts.devices[name] = RamanDevice(
                    spectrometers[name],
                    name=name,
                    integration_time_s=entry.integration_time_s,
                    accumulations=entry.accumulations,
                    laser_power_w=entry.laser_power_w,
                    bands_cm1=entry.bands_cm1,
                    lamp=every_lamp,
                    light_lock=light,
                )
            case SwitchedLampEntry():
                parts.drivers[name] = switched[name]
                parts.devices[name] = LampDevice(switched[name], name=name, light_lock=light)
            case ThermostatEntry():
                parts.drivers[name] = thermostats[name]
                parts.devices[name] = ThermostatDevice(
                    thermostats[name],
                    name=name,
                    limits_k=entry.limits_k,
                    bath_liquid=entry.bath_liquid,
                )
            case GasChromatographEntry():
                chromatograph: GasChromatograph = entry.driver(boards)
                if entry.valve is not None:
                    chromatograph = ValvedGasChromatograph(
                        chromatograph,
                        valves[entry.valve],
                        inject_position=entry.inject_position,
                        load_s=entry.load_s,
                        inject_s=entry.inject_s,
                    )
                parts.drivers[name] = chromatograph
                parts.devices[name] = GasChromatographDevice(
                    chromatograph,
                    entry.result_source(),
                    name=name,
                    run_time_s=entry.run_time_s,
                    clock_offset_s=entry.clock_offset_s,
                )
            case SensorEntry():
                told_by = _temperature_of(entry, thermostats)
                sensor = entry.driver() if told_by is None else entry.driver(told_by)
                parts.drivers[name] = sensor
                parts.devices[name] = SensorDevice(
                    sensor, name=name, outlived=entry.on_failure == "note"
                )
            case StageEntry():
                stage = entry.driver()
                parts.drivers[name] = stage
                parts.devices[name] = StageDevice(
                    stage, name=name, outlived=entry.on_failure == "note"
                )
            case ExternalEntry():
                external = entry.driver(boards)
                parts.drivers[name] = external
                parts.devices[name] = SensorDevice(external, name=name)
    return parts


def _temperature_of(
    entry: SensorEntry, thermostats: Mapping[str, Thermostat]
) -> Callable[[], float] | None:
    """Return what tells the temperature that an instrument stands in now, K, if there is one."""
    if not entry.thermostats:
        return None
    thermostat = thermostats[entry.thermostats[0]]
    return lambda: thermostat.state().temperature_k
