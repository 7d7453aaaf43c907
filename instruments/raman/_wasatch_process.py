"""The side of the Wasatch spectrometer that runs in the child process: importer of ``wasatch``.

The maker's library (2.5.2) is used below its ``WasatchDevice``, at the class that speaks ENG-0001,
for four reasons found by running and reading it:

* A failed transfer there only sets a flag, and everything asked afterwards is silently not done;
  here it raises.
* ``set_laser_enable(True)`` answers "true" when the laser refuses, and before a power was set it
  goes to full power; ``disconnect`` leaves a laser that is on, on; 0 % is a NameError. So the power
  is set and read back first, the enable register is written and read back (its cache of 10 ms
  discarded), and "off" is always the register, never 0 %.
* With an external trigger it waits for ever; so the trigger is always internal.
* A garbled calibration memory is logged and taken for good; so it is checked first.
"""

import errno
import logging
import math
import os
import struct
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import usb.backend.libusb1
import usb.core
from numpy.typing import NDArray

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
    UnsupportedTechniqueError,
)
from instruments.raman._process import (
    EARLIEST,
    READ_MARGIN_S,
    SpectrometerProcess,
    import_library,
)
from instruments.transport.usb_tcp import UsbTcpBackend

VENDOR_ID = 0x24AA
_ARM = 0x4000  # product id of the series with an ARM processor
_LASER_ENABLE, _LASER_ENABLED, _INTEGRATION_TIME = 0xBE, 0xE2, 0xBF
_LASER_TRIES = 3
# No spectrometer of this maker has a stronger laser: a damaged number.
_LARGEST_POWER_MW = 5000.0
_EEPROM_PAGES, _PAGE_BYTES, _FIVE_COEFFICIENTS = 9, 64, 8  # the last: of its format
_READ_PAGE = 0xFF, 0x01
_TO_DEVICE, _FROM_DEVICE = 0x40, 0xC0

_log = logging.getLogger(__name__)


def serve(arguments: dict[str, Any]) -> "WasatchProcess":
    """Return the object whose methods the parent calls; opens nothing yet."""
    # The library calls Logger.warn; in this process nobody can do anything about it.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"wasatch\b")
    return WasatchProcess(arguments["address"])


class WasatchProcess(SpectrometerProcess):
    """One spectrometer held open."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._backend: UsbTcpBackend | None = None
        self._device: Any = None  # pyusb's
        self._usb: Any = None  # the library's wrapper around it
        self._fid: Any = None  # the library's speaker of ENG-0001
        self._laser_set_mw = 0.0
        self._laser_since = 0.0  # monotonic
        self._laser_power_mw = 0.0  # as read back
        # Held from the look whether all was made safe to the laser's register, and by what makes
        # it safe: between the two it would be read back as off, and shine after that.
        self._switching = threading.Lock()

    # -- opening

    def connect(self) -> dict[str, Any]:
        """Open the spectrometer, switch the laser off, and return who it is."""
        try:
            self._device = self._find()
            # Before anything else: the owner before may have been killed together with its child.
            self._write_laser(False)
            self._check_memory()
            under_way_s = self._get(_INTEGRATION_TIME, 3) / 1e3
            self._open()
            self._drain(under_way_s)
        except usb.core.NoBackendError as error:
            raise TransportError(
                f"{self._who}: libusb is not installed; on Debian: apt install libusb-1.0-0"
            ) from error
        except usb.core.USBError as error:
            raise self._told(error, "connect") from error
        settings = self._fid.settings
        eeprom = settings.eeprom
        self._pixels = int(settings.pixels())
        calibrated = eeprom.has_laser_power_calibration()
        return {
            "identity": {
                "model": settings.full_model(),
                "serial_number": eeprom.serial_number,
                "detector": eeprom.detector,
                "firmware": f"{settings.microcontroller_firmware_version}, "
                f"FPGA {settings.fpga_firmware_version}",
                "sdk_version": f"wasatch {_import('wasatch').version}",
            },
            "specification": {
                "excitation_nm": float(settings.excitation()),
                "pixels": self._pixels,
                "laser_power_min_w": eeprom.min_laser_power_mW / 1e3 if calibrated else 0.0,
                "laser_power_max_w": eeprom.max_laser_power_mW / 1e3 if calibrated else 0.0,
                "integration_time_min_s": eeprom.min_integration_time_ms / 1e3,
                "integration_time_max_s": eeprom.max_integration_time_ms / 1e3,
            },
            "wavenumber_cm1": np.asarray(settings.wavenumbers, dtype=float),
        }

    def _find(self) -> Any:
        if self._address.startswith("usb+tcp:"):
            self._backend = UsbTcpBackend(self._address, real=usb.backend.libusb1.get_backend())
            wanted = {"bus": UsbTcpBackend.BUS, "address": UsbTcpBackend.ADDRESS}
        else:
            wanted = _wanted(self._address)
        found = list(
            usb.core.find(
                find_all=True, backend=self._backend, **({"idVendor": VENDOR_ID} | wanted)
            )
        )
        if len(found) == 1:
            return found[0]
        places = [f"{d.idVendor:04x}:{d.idProduct:04x}:{d.bus}:{d.address}" for d in found]
        if found:
            raise TransportError(
                f"{self._who}: several spectrometers: usb://{', usb://'.join(places)}; "
                "give the address of one of them"
            )
        raise TransportError(
            f"{self._who}: no such spectrometer on USB; check cable and power, and the permission "
            "to use it (a udev rule for vendor 24aa)"
        )

    def _check_memory(self) -> None:
        """Read the calibration memory and refuse one that cannot be true."""
        eeprom_module = _import("wasatch.EEPROM")
        code, second = _READ_PAGE
        pages = [
            self._device.ctrl_transfer(_FROM_DEVICE, code, second, page, _PAGE_BYTES)
            for page in range(_EEPROM_PAGES)
        ]
        eeprom = eeprom_module.EEPROM()
        short = [len(page) for page in pages if len(page) != _PAGE_BYTES]
        if short:
            wrong = f"pages of {short} bytes, not {_PAGE_BYTES}"
        else:
            wrong = _wrong_in(eeprom) if eeprom.parse(pages) else "it cannot be parsed"
            # The library makes zeros of coefficients that are no numbers.
            told = struct.unpack_from("<4f", pages[1])
            if eeprom.format >= _FIVE_COEFFICIENTS:
                told += struct.unpack_from("<f", pages[2], 21)
            if not all(map(math.isfinite, told)):
                wrong = f"wavelength coefficients {told}"
        if wrong:
            raise ProtocolError(
                f"{self._who}: the calibration memory is not credible: {wrong}; page 0 is "
                f"{bytes(pages[0])!r}. Restore it with the maker's software"
            )

    def _open(self) -> None:
        device_id = _import("wasatch.DeviceID").DeviceID(device=self._device)
        fid = _import("wasatch.FeatureIdentificationDevice").FeatureIdentificationDevice(device_id)
        self._usb = fid.device_type = _usb_device(device_id, self._device)
        fid.raise_exceptions = True
        # The library looks there for a file that overrides the memory.
        os.environ.setdefault("HOME", os.path.sep)
        response = fid.connect()
        if not response.data:
            raise TransportError(
                f"{self._who}: the library could not open it: {response.error_msg or 'no reason'}; "
                "has another program got it?"
            )
        fid.settings.update_wavecal()
        self._fid = fid

    def _drain(self, under_way_s: float) -> None:
        """Fetch and forget what an owner that was killed left at the endpoints.

        An integration of his may be under way for so long; ``close`` leaves a short one.
        """
        interface = self._device.get_active_configuration()[(0, 0)]
        timeout_ms = round(under_way_s * 1e3) + 20
        for endpoint in interface:
            if endpoint.bEndpointAddress & 0x80:
                try:
                    while True:
                        self._device.read(endpoint.bEndpointAddress, 8192, timeout=timeout_ms)
                except usb.core.USBTimeoutError:
                    timeout_ms = 5

    # -- what the parent asks

    def set_laser_power(self, power_mw: float) -> float:
        """Set the duty cycle for this power; return the power that was read back, mW."""
        eeprom = self._connected().settings.eeprom
        if not eeprom.has_laser or not eeprom.has_laser_power_calibration():
            raise UnsupportedTechniqueError(
                f"{self._who}: its calibration memory tells of no laser whose power can be set"
            )
        if not eeprom.min_laser_power_mW <= power_mw <= eeprom.max_laser_power_mW:
            raise SafetyLimitError(
                f"{self._who}: laser power {power_mw:g} mW asked, the maker allows "
                f"{eeprom.min_laser_power_mW:g} to {eeprom.max_laser_power_mW:g} mW; "
                "a laser at no power is one that is off"
            )
        return self._guarded("set the laser's power", lambda: self._set_laser_power(power_mw))

    def _set_laser_power(self, power_mw: float) -> float:
        fid = self._fid
        percent = fid.settings.eeprom.laser_power_mW_to_percent(power_mw)
        if not 0.1 <= percent <= 100:
            raise ProtocolError(
                f"{self._who}: the calibration memory makes {percent:g} % of {power_mw:g} mW"
            )
        fid.set_laser_power_mW(power_mw)
        answered = 100.0
        if fid.get_mod_enabled().data:
            answered = 100.0 * fid.get_mod_width_us().data / max(fid.get_mod_period_us().data, 1)
        # A thousandth of the period is the resolution of the pulse's width.
        if abs(answered - percent) > 0.06:
            raise InstrumentFaultError(
                f"{self._who}: laser duty cycle {percent:.1f} % set, {answered:.1f} % read back"
            )
        self._laser_set_mw = power_mw
        self._laser_power_mw = power_mw * answered / percent
        return self._laser_power_mw

    def arm(self) -> None:
        """Let spectra be taken again after ``safe_state``."""
        # Not when one is asked for: that call may have been on its way when all was made safe.
        self._stopped.clear()

    def acquire(
        self, integration_time_s: float, accumulations: int, with_laser: bool
    ) -> dict[str, Any]:
        """Read the detector out; the laser shines throughout or not at all, and is off after."""
        self._connected()
        if self._stopped.is_set():
            raise self._interrupted()
        answer = self._guarded(
            "acquire a spectrum",
            lambda: self._acquire(integration_time_s, accumulations, with_laser),
        )
        # It is off by now.
        answer["laser_time_s"] = time.monotonic() - self._laser_since if with_laser else 0.0
        return answer

    def _acquire(
        self, integration_time_s: float, accumulations: int, with_laser: bool
    ) -> dict[str, Any]:
        integration_ms = self._set_integration_time(integration_time_s)
        if with_laser:
            self._laser_since = time.monotonic()
            self._laser_on()
            self._wait(float(self._fid.settings.eeprom.laser_warmup_sec))
        else:
            self._laser_off()
        before = time.time_ns()
        counts = np.array([self._read_out(integration_ms) for _ in range(accumulations)])
        after = time.time_ns()
        firing = self._is_firing()
        if firing != with_laser:
            raise InstrumentFaultError(
                f"{self._who}: the laser went {'on' if firing else 'off'} during the acquisition: "
                "was the interlock opened?"
            )
        return {
            "counts": counts,
            "integration_time_s": integration_ms / 1e3,
            "laser_on": firing,
            "laser_power_w": self._laser_power_mw / 1e3 if firing else 0.0,
            "detector_temperature_c": self._temperature_c(),
            "host_before_ns": before,
            "host_after_ns": after,
        }

    def laser_on(self) -> None:
        """Let the laser shine until told otherwise."""
        self._connected()
        try:
            self._laser_on()
        except BaseException as error:
            self._after_error(error, "switch the laser on")

    def laser_off(self) -> None:
        """Switch the laser off and make sure."""
        self._guarded("switch the laser off", lambda: None)

    def is_firing(self) -> bool:
        """Return whether the laser emits; callable beside an acquisition."""
        self._connected()
        try:
            return self._is_firing()
        except usb.core.USBError as error:
            raise self._told(error, "read the laser's state back") from error

    def safe_state(self) -> None:
        """Switch the laser off; an acquisition that runs ends with an error."""
        self._stopped.set()
        if self._device is not None:
            try:
                with self._switching:
                    self._laser_off()
            except usb.core.USBError as error:
                raise self._told(error, "switch the laser off") from error

    def close(self) -> None:
        """Release the spectrometer; the laser is off by then."""
        fid, self._fid = self._fid, None
        device, self._device = self._device, None
        if fid is not None:
            try:
                fid.set_integration_time_ms(fid.settings.eeprom.min_integration_time_ms)
                fid.disconnect()
            except usb.core.USBError as error:
                _log.warning("%s: not closed in order: %s", self._who, error)
        if device is not None:
            usb.util.dispose_resources(device)
        if self._backend is not None:
            self._backend.close()

    # -- the laser

    def _laser_on(self) -> None:
        fid = self._fid
        if not self._laser_set_mw:
            raise SafetyLimitError(f"{self._who}: laser asked for before its power was set")
        # Again, because a spectrometer that has lost its settings goes to full power.
        self._set_laser_power(self._laser_set_mw)
        if not fid.can_laser_fire().data:
            raise InstrumentFaultError(
                f"{self._who}: the laser's interlock is open; close the cell's cover or the key "
                "switch and try again"
            )
        with self._switching:
            if self._stopped.is_set():
                raise self._interrupted()
            self._write_laser(True)
        if not self._is_firing():
            raise InstrumentFaultError(
                f"{self._who}: the laser was switched on and is read back as off: it refuses; "
                "check key switch, interlock and the maker's laser lock"
            )

    def _laser_off(self) -> None:
        for _ in range(_LASER_TRIES):
            self._write_laser(False)
            # Both: with its interlock open a laser that is enabled does not fire, yet.
            if not self._is_enabled() and not self._is_firing():
                return
        raise InstrumentFaultError(
            f"{self._who}: THE LASER IS STILL ON after {_LASER_TRIES} commands to switch it off: "
            "turn its key"
        )

    def _write_laser(self, on: bool) -> None:
        # Straight to pyusb: this must work before the library is connected, and after it gave up.
        if self._device.idProduct == _ARM:  # its firmware wants eight bytes with it
            self._device.ctrl_transfer(_TO_DEVICE, _LASER_ENABLE, int(on), 0, [0] * 8)
        else:
            self._device.ctrl_transfer(_TO_DEVICE, _LASER_ENABLE, int(on), 0, 0)

    def _is_enabled(self) -> bool:
        if self._device.idProduct == _ARM:
            return False  # its firmware answers this only after its own delays
        return self._get(_LASER_ENABLED, 1) != 0

    def _is_firing(self) -> bool:
        fid = self._fid
        if fid is None:
            return self._is_enabled()
        fid.settings.state.laser_enabled_last_refreshed = None
        return bool(fid.is_laser_firing().data)

    def _get(self, request: int, length: int) -> int:
        """Return a little-endian number; straight to pyusb, as `_write_laser`."""
        answer = self._device.ctrl_transfer(_FROM_DEVICE, request, 0, 0, length)
        return int.from_bytes(bytes(answer), "little")

    # -- the detector

    def _set_integration_time(self, integration_time_s: float) -> int:
        fid = self._fid
        eeprom = fid.settings.eeprom
        milliseconds = round(integration_time_s * 1e3)
        if not eeprom.min_integration_time_ms <= milliseconds <= eeprom.max_integration_time_ms:
            raise UnsupportedTechniqueError(
                f"{self._who}: integration time {integration_time_s:g} s asked, it takes "
                f"{eeprom.min_integration_time_ms / 1e3:g} to "
                f"{eeprom.max_integration_time_ms / 1e3:g} s"
            )
        fid.set_integration_time_ms(milliseconds)
        answered = fid.get_integration_time_ms().data
        if answered != milliseconds:
            raise InstrumentFaultError(
                f"{self._who}: integration time {milliseconds} ms set, {answered} ms read back"
            )
        return milliseconds

    def _read_out(self, integration_ms: int) -> NDArray[np.float64]:
        fid = self._fid
        self._usb.arm(integration_ms / 1e3 + READ_MARGIN_S)
        started = time.monotonic()
        response = fid.get_spectrum()
        while response.data and time.monotonic() - started < EARLIEST * integration_ms / 1e3:
            _log.warning("%s: a spectrum came before its time and is dropped", self._who)
            response = fid.get_spectrum(trigger=False)
        if self._stopped.is_set():
            raise self._interrupted()
        if self._usb.failure is not None:
            raise self._usb.failure
        if not response.data or len(response.data) != self._pixels:
            raise ProtocolError(
                f"{self._who}: a spectrum of {self._pixels} pixels asked, "
                f"{len(response.data or ())} came: {response.error_msg or 'no reason given'}"
            )
        return np.asarray(response.data, dtype=float)

    def _temperature_c(self) -> float:
        return float(self._fid.get_detector_temperature_degC().data)

    def _wait(self, duration_s: float) -> None:
        if self._stopped.wait(duration_s):
            raise self._interrupted()

    # -- errors

    def _connected(self) -> Any:
        if self._fid is None:
            raise TransportError(f"{self._who}: asked before connect() or after close()")
        return self._fid

    def _guarded(self, asked: str, work: Callable[[], Any]) -> Any:
        """Do the work and switch the laser off whatever came of it."""
        try:
            result = work()
            self._laser_off()
        except BaseException as error:
            self._after_error(error, asked)
        return result

    def _after_error(self, error: BaseException, asked: str) -> NoReturn:
        """Switch the laser off and raise what the parent is to know."""
        laser = "the laser is off"
        try:
            self._laser_off()
        except (usb.core.USBError, InstrumentError) as second:
            laser = f"the laser could not be switched off ({second}): turn its key"
        if isinstance(error, usb.core.USBError):
            raise self._told(error, asked, laser) from error
        if isinstance(error, InstrumentError):
            raise type(error)(f"{error}; {laser}") from error
        raise error

    def _told(self, error: usb.core.USBError, asked: str, more: str = "") -> InstrumentError:
        kind: type[InstrumentError] = TransportError
        advice = "check cable and power, then connect again"
        if isinstance(error, usb.core.USBTimeoutError):
            kind, advice = TransportTimeout, "it said nothing; power it off and on"
        elif error.errno == errno.EPIPE:
            kind, advice = ProtocolError, "its firmware does not know this request"
        elif error.errno in (errno.EBUSY, errno.EACCES):
            advice = "another program has it, or you may not use it (udev rule for vendor 24aa)"
        elif self._fid is None:
            advice = f"is a Wasatch spectrometer at this address? {advice[0].upper()}{advice[1:]}"
        return kind("; ".join(filter(None, [f"{self._who}: {asked}: {error}", more, advice])))


def _wanted(address: str) -> dict[str, int]:
    """Return what pyusb should look for: ``usb://`` or ``usb://VENDOR:PRODUCT[:BUS:ADDRESS]``."""
    place = address.removeprefix("usb://")
    parts = place.split(":") if place else []
    try:
        if not address.startswith("usb://") or len(parts) not in (0, 2, 4):
            raise ValueError("not of that form")
        numbers = [int(part, 16 if i < 2 else 10) for i, part in enumerate(parts)]
    except ValueError as error:
        raise TransportError(
            f"raman {address}: write it as usb://24aa:1000, usb://24aa:1000:BUS:ADDRESS or "
            f"usb+tcp://host:port ({error})"
        ) from error
    return dict(zip(("idVendor", "idProduct", "bus", "address"), numbers, strict=False))


def _wrong_in(eeprom: Any) -> str:
    """Return what cannot be true in a calibration memory; empty if nothing is."""
    texts = (eeprom.model, eeprom.serial_number, eeprom.detector)
    if not 1 <= eeprom.format <= 64:
        return f"format {eeprom.format}"
    if not all(text and text.isascii() and text.isprintable() for text in texts):
        return f"model, serial number and detector {texts!r}"
    pixels = eeprom.active_pixels_horizontal
    if not 128 <= pixels <= 8192:
        return f"{pixels} pixels"
    excitation = eeprom.excitation_nm_float
    if not 200 <= excitation <= 2000:
        return f"excitation at {excitation} nm (no Raman spectrometer?)"
    low, high = eeprom.min_laser_power_mW, eeprom.max_laser_power_mW
    if eeprom.has_laser_power_calibration() and not 0 <= low <= high <= _LARGEST_POWER_MW:
        return f"a laser of {low} to {high} mW"
    shortest, longest = eeprom.min_integration_time_ms, eeprom.max_integration_time_ms
    if not 0 < shortest < longest:
        return f"integration times from {shortest} to {longest} ms"
    coefficients = eeprom.wavelength_coeffs
    if not all(map(math.isfinite, coefficients)):
        return f"wavelength coefficients {coefficients}"
    wavelength = np.polynomial.polynomial.polyval(np.arange(pixels, dtype=float), coefficients)
    if wavelength.min() < 150 or wavelength.max() > 5000 or np.ptp(np.sign(np.diff(wavelength))):
        return f"wavelengths from {wavelength[0]:g} to {wavelength[-1]:g} nm, not monotonic"
    return ""


def _import(name: str) -> Any:
    return import_library(name, "Wasatch", "raman")


def _usb_device(device_id: Any, device: Any) -> Any:
    """Return the library's USB wrapper, bound to our device and with reads that end."""
    base = _import("wasatch.RealUSBDevice").RealUSBDevice

    class UsbDevice(base):  # type: ignore[misc,valid-type]  # the base is untyped
        """Finds the one device it was given; after a failed read it fails until armed again.

        The library asks three times, each with a timeout of its own, and hides the reason.
        """

        def __init__(self) -> None:
            super().__init__(device_id)
            self.failure: usb.core.USBError | None = None
            self._timeout_ms = 0

        def arm(self, timeout_s: float) -> None:
            self.failure = None
            self._timeout_ms = int(timeout_s * 1e3)

        def find(self, *arguments: Any, **options: Any) -> list[Any]:
            return [device]

        def read(self, usb_device: Any, endpoint: int, size: int, timeout: int) -> Any:
            if self.failure is not None:
                raise self.failure
            try:
                return usb_device.read(endpoint, size, timeout=self._timeout_ms or timeout)
            except usb.core.USBError as error:
                self.failure = error
                raise

    return UsbDevice()
