"""The bench: the instruments of one bench file, connected and left together."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ophyd import Device

from instruments._build import build
from instruments.bench_file import BenchFile
from instruments.camera.entry import CameraEntry
from instruments.errors import InstrumentError
from instruments.raman.entry import RamanEntry


class BenchConnectionError(InstrumentError):
    """One or more instruments of a bench could not be connected; tells all of them."""

    def __init__(self, bench: str, failures: Mapping[str, Exception]) -> None:
        lines = [f"bench {bench!r}: {len(failures)} of its instruments did not connect"]
        lines += [f"  {name}: {error}" for name, error in failures.items()]
        super().__init__("\n".join(lines))
        self.failures = dict(failures)


class Bench:
    """The instruments of one bench file, as devices for plans.

    Building opens nothing; ``connect`` opens all ports, ``close`` leaves every instrument in its
    safe state and releases it.
    """

    def __init__(self, file: BenchFile) -> None:
        self.file = file
        self._parts = build(file)

    @property
    def devices(self) -> dict[str, Device]:
        """Return the devices by name."""
        return self._parts.devices

    def connect(self) -> None:
        """Open every instrument; raises BenchConnectionError telling every failure at once.

        Cameras and spectrometers are opened beside each other and the rest: their makers' libraries
        live in processes of their own, which take half a second each to start.
        """
        found: dict[str, Exception | None] = {}
        slow = [
            name
            for name, entry in self.file.instruments.items()
            if isinstance(entry, CameraEntry | RamanEntry) and name in self._parts.drivers
        ]
        with ThreadPoolExecutor(max(1, len(slow)), thread_name_prefix="connect") as beside:
            waiting = {name: beside.submit(self._connected, name) for name in slow}
            for name in self._parts.drivers:
                if name in waiting:
                    continue
                entry = self.file.instruments.get(name)
                hangs_on = (*entry.boards, *entry.valves) if entry else ()
                silent = [x for x in hangs_on if found.get(x) is not None]
                if silent:
                    found[name] = InstrumentError(f"hangs on {silent[0]}, which did not connect")
                else:
                    found[name] = self._connected(name)
            found |= {name: future.result() for name, future in waiting.items()}
        failures = {
            name: error for name in self._parts.drivers if (error := found[name]) is not None
        }
        if failures:
            self.close()
            raise BenchConnectionError(self.file.name, failures)

    def _connected(self, name: str) -> InstrumentError | None:
        """Open one instrument and return why it did not; ``None`` if it did."""
        try:
            self._parts.drivers[name].connect()
        except InstrumentError as error:
            return error
        return None

    def safe_state(self) -> None:
        """Open the cell, switch off laser and lamp, take the thermostat to its safe temperature.

        Idempotent; raises the first failure last.
        """
        first: Exception | None = None
        for device in self._parts.devices.values():
            try:
                device.safe_state()
            except InstrumentError as error:
                first = first or error
        if first is not None:
            raise first

    def close(self) -> None:
        """Leave every instrument safe and release it; callable twice."""
        try:
            self.safe_state()
        except InstrumentError:
            # An instrument that is gone cannot be told; the others are released all the same.
            pass
        for device in self._parts.devices.values():
            device.close_worker()
        for driver in reversed(self._parts.drivers.values()):
            try:
                driver.close()
            except InstrumentError:
                pass

    def metadata(self) -> dict[str, Any]:
        """Return what a start document tells of the bench: identities and calibrations."""
        instruments: dict[str, dict[str, Any]] = {}
        for name, entry in self.file.instruments.items():
            driver = self._parts.drivers.get(name)
            instruments[name] = {
                "kind": entry.kind,
                "language": entry.language,
                "identity": driver.identify() if driver is not None else None,
                "verified_on": driver.verified_on if driver is not None else None,
            }
        return {
            "bench": {"name": self.file.name, "instruments": instruments},
            "calibration": self.file.calibration(),
        }
