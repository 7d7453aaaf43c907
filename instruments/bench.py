"""The bench: the instruments of one bench file, connected and left together."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ophyd import Device

from instruments._build import build
from instruments._follower import Follower
from instruments.bench_file import BenchFile, shared_as
from instruments.camera.entry import CameraEntry
from instruments.entry import AddressedEntry
from instruments.errors import InstrumentError, StrangerError
from instruments.interlock.entry import InterlockEntry
from instruments.lending import Lender, Shareable, Sharing
from instruments.plugins import package_of
from instruments.raman.entry import RamanEntry
from instruments.relay_board.entry import RelayBoardEntry
from instruments.strangers import mark_of, refuse_stranger
from instruments.thermostat.device import ThermostatDevice

_log = logging.getLogger(__name__)

# Where simulated instruments are.
_PUBLISHED = "published:"

# What an instrument of this kind has confirmed when it was made safe.
_MADE_SAFE = {
    "potentiostat": "cell open",
    "raman": "laser off",
    "lamp": "lamp off",
}


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

    Args:
        file: The bench file.
        lender: Who lends instruments that other benches use as well; ``None``: nobody, and they
            are used as if they were this bench's own.

    Attributes:
        file: What it was built of.
        left_unsafe: What ``close`` could not confirm to be safe, as sentences.
        unsafe: The names of the instruments that these are of.
        left_safe: The names of those that were opened here and left safe by the last ``close``.
    """

    def __init__(self, file: BenchFile, lender: Lender | None = None) -> None:
        self.file = file
        self.left_unsafe: list[str] = []
        self.unsafe: list[str] = []
        self.left_safe: set[str] = set()
        self._opened: set[str] = set()
        self._parts = build(file)
        self._sharing: dict[str, Sharing] = {}
        self._identities: dict[str, dict[str, str]] = {}
        # Who answered last, and who was connected here and is not known to have been left safe.
        self._marks: dict[str, str] = {}
        self._answered_for: dict[str, frozenset[str]] = {}
        if lender is not None:
            self._share(lender)

    def _share(self, lender: Lender) -> None:
        """Have shared instruments lent for each use."""
        for name, entry in self.file.instruments.items():
            device = self._parts.devices.get(name)
            lease = shared_as(entry)
            if (
                lease is None
                or not isinstance(entry, Shareable)
                or not isinstance(device, Follower)
            ):
                continue
            parts = [x for x in self._parts.drivers if self._comes_with(x, lease)]
            # What hangs on a board that comes and goes is not there without it; and to connect a
            # spectrometer switches its laser off, which may be on for another bench.
            stays = entry.keep_open and not parts and not isinstance(entry, RamanEntry)
            names = [] if stays else [*parts, name]
            self._sharing[name] = Sharing(
                lease,
                entry.lease_timeout_s,
                lender,
                connect=partial(self._connect_borrowed, names),
                release=partial(self._release_borrowed, names),
                keeps_open=not names,
            )
            device.share(self._sharing[name])

    def _comes_with(self, part: str, lease: str) -> bool:
        """Return whether a board or valve is connected with the instruments of a lease only."""
        entry = self.file.instruments[part]
        return not isinstance(entry, Shareable) and shared_as(entry) == lease

    def _connect_borrowed(self, names: Iterable[str]) -> None:
        """Open what was borrowed, boards first; raises InstrumentError with all of it released."""
        for name in names:
            error = self._connected(name)
            if error is not None:
                self._release_borrowed(names)
                if isinstance(error, InstrumentError):
                    raise error
                raise InstrumentError(f"{name}: {error!r}") from error

    def _release_borrowed(self, names: Iterable[str]) -> None:
        """Let go what was borrowed; what cannot be told safe is in ``left_unsafe``."""
        for name in reversed(list(names)):
            driver = self._parts.drivers[name]
            # Closing alone says nothing where it was lost in the middle of its use.
            failures = self._failing([getattr(driver, "safe_state", lambda: None), driver.close])
            for failure in failures:
                self._tell_unsafe(name, failure)
            if not failures:
                self._left_well(name)
                self._forget_unsafe(name)
            self._opened.discard(name)

    def comes_and_goes(self, name: str) -> bool:
        """Return whether an instrument is connected for each use only."""
        sharing = self._sharing.get(name)
        lease = shared_as(self.file.instruments.get(name))
        with_others = lease is not None and any(
            one.name == lease and self._comes_with(name, lease) for one in self._sharing.values()
        )
        return with_others or (sharing is not None and not sharing.keeps_open)

    @property
    def devices(self) -> dict[str, Device]:
        """Return the devices by name."""
        return self._parts.devices

    @property
    def drivers(self) -> Mapping[str, Any]:
        """Return the drivers by name, also of what no device stands for (boards, valves)."""
        return dict(self._parts.drivers)

    def connect(self) -> None:
        """Open every instrument; raises BenchConnectionError telling every failure at once."""
        failures = self._connect_each()
        if failures:
            self.close()
            raise BenchConnectionError(self.file.name, failures)
        tell_calibrations(self.file)

    def _connect_each(self) -> dict[str, Exception]:
        """Open every instrument; return why some did not open, by name.

        Cameras and spectrometers are opened beside each other and the rest: their makers' libraries
        live in processes of their own, which take half a second each to start.
        """
        found: dict[str, Exception | None] = {}
        slow = [
            name
            for name, entry in self.file.instruments.items()
            if isinstance(entry, CameraEntry | RamanEntry)
            and name in self._parts.drivers
            and not self.comes_and_goes(name)
        ]
        borrowed = [name for name in self._sharing if self.comes_and_goes(name)]
        threads = max(1, len(slow) + len(borrowed))
        with ThreadPoolExecutor(threads, thread_name_prefix="connect") as beside:
            waiting = {name: beside.submit(self._connected, name) for name in slow}
            waiting |= {name: beside.submit(self._looked_at, name) for name in borrowed}
            # The cell first: a silent valve must not keep it waiting.
            for name in sorted(self._parts.drivers, key=self._may_wait):
                if name in waiting or self.comes_and_goes(name):
                    continue
                entry = self.file.instruments.get(name)
                hangs_on = (*entry.boards, *entry.valves) if entry else ()
                silent = [x for x in hangs_on if found.get(x) is not None]
                if silent:
                    found[name] = InstrumentError(f"hangs on {silent[0]}, which did not connect")
                else:
                    found[name] = self._connected(name)
            found |= {name: future.result() for name, future in waiting.items()}
        return {n: error for n in self._parts.drivers if (error := found.get(n)) is not None}

    def _looked_at(self, name: str) -> Exception | None:
        """Borrow one instrument to see who answers; return why that was not to be had."""
        sharing = self._sharing[name]
        try:
            lease = sharing.lender.borrow(sharing.name, timeout_s=sharing.timeout_s)
            try:
                sharing.connect()
                try:
                    self._identities[name] = self._parts.drivers[name].identify()
                    # A board keeps the relays closed that a program has left so which has died.
                    self._parts.devices[name].safe_state()
                finally:
                    sharing.release()
            finally:
                lease.give_back()
        except Exception as error:
            # Any, as in `_connected`.
            return error
        return None

    def _may_wait(self, name: str) -> bool:
        entry = self.file.instruments.get(name)
        return entry is None or entry.kind != "potentiostat"

    def _connected(self, name: str) -> Exception | None:
        """Open one instrument and return why it did not; ``None`` if it did."""
        try:
            self._connect_one(name)
        except Exception as error:
            # Any: the others are to be opened, or closed again, whatever it is.
            return error
        return None

    def _connect_one(self, name: str) -> dict[str, str]:
        """Open one instrument and return who answers; raises what the driver raises."""
        driver, entry = self._parts.drivers[name], self.file.instruments.get(name)
        driver.connect()
        try:
            identity = self._told_by(name)
            if isinstance(entry, AddressedEntry):
                entry.refuse_another(name, identity)
        except BaseException:
            driver.close()
            raise
        self._opened.add(name)
        self._marks[name] = mark_of(identity)
        self._answer_for(name, self._known(name) | {self._marks[name]})
        return identity

    def _told_by(self, name: str) -> dict[str, str]:
        entry = self.file.instruments.get(name)
        try:
            return self._parts.drivers[name].identify()
        except InstrumentError:
            if isinstance(entry, AddressedEntry) and entry.serial_number is not None:
                raise
            return {}  # `metadata` tells why

    # -- who answers

    def marks(self) -> dict[str, str]:
        """Return who answered last at each instrument's address, by name; see `mark_of`."""
        return dict(self._marks)

    def answered_for(self) -> dict[str, frozenset[str]]:
        """Return whose safety is to be told, by name: marks of what was connected here.

        Those that were left safe are not among them; those are that were lost, where another one
        answers now.
        """
        return self._answered_for

    def strangers(self) -> dict[str, InstrumentError]:
        """Return by name where another instrument answers than one that was lost.

        Of the one that was lost it is not known whether it is safe.
        """
        found: dict[str, InstrumentError] = {}
        for name, known in self._answered_for.items():
            left = self.file.instruments[name].unreached_means
            try:
                # What may be left by itself for good is left by itself when it is lost.
                refuse_stranger(known if left else (), self._marks[name], left)
            except StrangerError as error:
                found[name] = error
        return found

    def doubts(self) -> dict[str, InstrumentError]:
        """Return by name why an instrument is not known to be safe, though its device has no say.

        That are strangers, and boards that were lost with a relay closed.
        """
        found = self.strangers()
        for name, driver in self._parts.drivers.items():
            if name in self._opened and name not in self._parts.devices and not _there(driver):
                try:
                    getattr(driver, "safe_state", lambda: None)()
                except InstrumentError as error:
                    found.setdefault(name, error)
        return found

    def _known(self, name: str) -> frozenset[str]:
        return self._answered_for.get(name, frozenset())

    def _answer_for(self, name: str, marks: frozenset[str]) -> None:
        # A new one: who asks is another thread.
        self._answered_for = {**self._answered_for, name: marks}

    def _left_well(self, name: str) -> None:
        """Note that who answered last at an address was left safe."""
        if name in self._marks:
            self._answer_for(name, self._known(name) - {self._marks[name]})

    def connect_what_answers(self) -> dict[str, Exception]:
        """Open every instrument that can be; return why the others could not, by name.

        As `connect`, but those that answer stay connected; ``close`` afterwards.
        """
        return self._connect_each()

    def safe_state(self) -> None:
        """Open the cell, switch off laser and lamp, take the thermostat to its safe temperature.

        Idempotent; each is tried whatever became of the others. Raises the first failure last.
        """
        failures = self._failing(device.safe_state for device in self._parts.devices.values())
        if failures:
            raise failures[0]

    def settle(self, names: Collection[str]) -> list[Exception]:
        """Make safe what a program that died has left, beyond what connecting does by itself.

        For instruments of these names that are connected: a thermostat goes to its safe
        temperature, whoever moved it, and relays open. Returns what failed, which is told in
        ``left_unsafe`` as well.
        """
        actions: list[tuple[str, Callable[[], object]]] = []
        for name in names:
            device = self._parts.devices.get(name)
            if isinstance(device, ThermostatDevice):
                actions.append((name, device.leave_alone))
            elif isinstance(self.file.instruments[name], RelayBoardEntry):
                actions += [
                    (name, self._parts.devices[user].safe_state)
                    for user, entry in self.file.instruments.items()
                    if name in entry.boards and user in self._parts.devices
                ]
        failed = []
        for name, action in actions:
            if name in self._opened:
                for failure in self._failing([action]):
                    failed.append(failure)
                    self._tell_unsafe(name, failure)
        return failed

    def make_safe(self) -> dict[str, str | Exception]:
        """Connect and make safe whatever answers; return what became of each instrument, by name.

        For the moment after a crash. Words are what was confirmed by the instrument itself, an
        exception is why it was not. A thermostat that controls goes to its safe temperature also if
        nothing was moved from here. Raises nothing; ``close`` afterwards.
        """
        told: dict[str, str | Exception] = dict(self._connect_each())
        for name, device in self._parts.devices.items():
            failures = self._failing([device.safe_state])  # its lamp may be there without it
            if name not in told:
                entry = self.file.instruments[name]
                confirmed = entry.made_safe or _MADE_SAFE.get(entry.kind, "")
                told[name] = failures[0] if failures else confirmed
        for name, device in self._parts.devices.items():
            if isinstance(device, ThermostatDevice) and not isinstance(told[name], Exception):
                try:
                    told[name] = device.leave_alone()
                except Exception as error:
                    told[name] = error
        for name, entry in self.file.instruments.items():
            if isinstance(entry, InterlockEntry):  # the guard's, which is gone, or is refused here
                interlock = entry.driver()
                told[name] = "relays open"
                for failure in self._failing([interlock.connect, interlock.close]):
                    told[name] = failure
        return {name: told.get(name, "") for name in self.file.instruments}

    def close(self) -> None:
        """Leave every instrument safe and release it; callable twice.

        Raises nothing: one that is gone cannot be told, and the others are released all the same.
        What may have been left unsafe is logged, and in ``left_unsafe``.
        """
        devices, drivers = self._parts.devices, self._parts.drivers
        told: dict[str, list[Exception]] = {}
        for name, device in devices.items():
            told[name] = self._failing([device.safe_state])
        for device in devices.values():
            device.close_worker()
        for name, driver in reversed(drivers.items()):
            there = _there(driver)
            told[name] = told.get(name, []) + self._failing([driver.close])
            if there and not told[name]:
                self._left_well(name)
        for name, doubt in self.doubts().items():
            told[name] = told.get(name) or [doubt]
        self.left_safe |= {
            name for name in self._opened if not told.get(name) and name not in self.unsafe
        }
        for name, failures in told.items():
            # What never was reached here is as it was found; that was told when it did not connect.
            for failure in failures if name in self._opened else ():
                self._tell_unsafe(name, failure)
        self._opened.clear()

    def _forget_unsafe(self, name: str) -> None:
        """Take back that one was not left safe, if nobody is left of whom that is not known."""
        if name in self.unsafe and not self._known(name):
            self.unsafe.remove(name)
            told = f"{name}: "
            self.left_unsafe = [text for text in self.left_unsafe if not text.startswith(told)]

    def _tell_unsafe(self, name: str, failure: Exception) -> None:
        text = f"{name}: {str(failure) or repr(failure)}"
        if text not in self.left_unsafe:
            self.left_unsafe.append(text)
            self.unsafe += [name] if name not in self.unsafe else []
            _log.error("leaving the bench: %s", text)

    def _failing(self, actions: Iterable[Callable[[], object]]) -> list[Exception]:
        """Do each, whatever became of those before; return what they raised."""
        failures: list[Exception] = []
        for action in actions:
            try:
                action()
            except Exception as error:
                # Any: a laser behind one that raises a mere OSError must go off as well.
                failures.append(error)
        return failures

    def reconnect(self, name: str) -> dict[str, str]:
        """Release one instrument and open it anew; return who answers.

        Raises InstrumentError if it does not connect: then it is released.
        """
        if self.comes_and_goes(name):
            error = self._looked_at(name) if name in self._sharing else None
            if error is not None:
                raise error
            return dict(self._identities.get(name, {}))
        # What cannot be told of the line that is given up is told by the one that is opened, if the
        # same instrument answers there.
        there = _there(self._parts.drivers[name])
        if not self._failing([self._parts.drivers[name].close]) and there:
            self._left_well(name)
        return self._connect_one(name)

    def metadata(self) -> dict[str, Any]:
        """Return what a start document tells of the bench: identities and calibrations.

        Of an instrument that is not there any more ``identity`` is None, and ``identity_missing``
        says why.
        """
        instruments: dict[str, dict[str, Any]] = {}
        for name, entry in self.file.instruments.items():
            driver = self._parts.drivers.get(name)
            instruments[name] = {
                "kind": entry.kind,
                "language": entry.language,
                "identity": None,
                "verified_on": driver.verified_on if driver is not None else None,
            }
            if driver is not None:
                try:
                    known = self._identities.get(name) if self.comes_and_goes(name) else None
                    instruments[name]["identity"] = known or driver.identify()
                except InstrumentError as error:
                    instruments[name]["identity_missing"] = str(error)
            if name in self._sharing:
                instruments[name]["shared"] = self._sharing[name].name
            if package := package_of(type(entry)):
                instruments[name]["package"] = package
        return {
            "bench": {"name": self.file.name, "instruments": instruments},
            "calibration": self.file.calibration(),
            "calibration_flags": [one.as_data() for one in self.file.calibration_flags()],
        }


def _there(driver: Any) -> bool:
    """Return whether a driver has its instrument, as far as it tells."""
    return bool(getattr(driver, "connected", True))


def tell_calibrations(file: BenchFile) -> None:
    """Log which calibrations are too old or missing: those of simulated instruments as INFO.

    Nobody calibrates what is simulated; a bench of which one real instrument is flagged warns.
    """
    flags = file.calibration_flags()
    if not flags:
        return
    flagged = [file.instruments[flag.instrument] for flag in flags]
    addresses = [address for entry in flagged for address in entry.addresses]
    simulated = bool(addresses) and all(one.startswith(_PUBLISHED) for one in addresses)
    told = "; ".join(flag.told for flag in flags)
    level = logging.INFO if simulated else logging.WARNING
    _log.log(level, "calibrations of bench %s: %s", file.name, told)
