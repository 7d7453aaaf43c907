"""Raman spectrometers that look at a zinc electrode in zinc sulfate."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.clients.bare import host_of


def seabreeze(address: str, folder: Path) -> dict[str, Any]:
    """Ask python-seabreeze, its backend in Python, over TCP."""
    del folder
    import seabreeze as library
    import usb.backend.libusb1

    # It looks for the computer's USB first, and gives up where there is no libusb.
    usb.backend.libusb1.get_backend = lambda *_, **__: _NoUsb()
    library.use("pyseabreeze")
    from seabreeze.pyseabreeze.transport import IPv4Transport

    host, port = host_of(address)
    IPv4Transport.register_model("HDX", ipv4_address=host, ipv4_port=port)
    from seabreeze.spectrometers import Spectrometer, list_devices

    (device,) = list_devices()
    spectrometer = Spectrometer(device)
    found: dict[str, Any] = {
        "model": spectrometer.model,
        "serial number": spectrometer.serial_number,
        "pixels": spectrometer.pixels,
        "microseconds allowed": list(spectrometer.integration_time_micros_limits),
        "saturation": spectrometer.max_intensity,
    }
    spectrometer.trigger_mode(0)
    spectrometer.integration_time_micros(100_000)
    intensities, wavelengths = spectrometer.intensities(), spectrometer.wavelengths()
    found["nanometres"] = [float(wavelengths[0]), float(wavelengths[-1])]
    found["counts in the dark"] = float(np.median(intensities))
    spectrometer.close()
    return found


class _NoUsb:
    """A USB without devices."""

    def enumerate_devices(self) -> list[Any]:
        return []


def wasatch(address: str, folder: Path) -> dict[str, Any]:
    """Ask Wasatch.PY's own WasatchDevice, found by its own finder.

    The cable is ours (pyusb is given a backend that carries transfers over TCP); what is
    transferred is theirs.
    """
    del folder
    warnings.simplefilter("ignore")
    import usb.backend.libusb0
    import usb.backend.libusb1

    from instruments.transport.usb_tcp import UsbTcpBackend

    cable = UsbTcpBackend(address)
    for backend in (usb.backend.libusb0, usb.backend.libusb1):
        backend.get_backend = lambda *_, **__: cable
    import usb.core
    from wasatch.DeviceID import DeviceID
    from wasatch.WasatchDevice import WasatchDevice

    device = WasatchDevice(DeviceID(device=usb.core.find(idVendor=0x24AA, backend=cable)))
    connected = device.connect()
    settings = device.settings
    found: dict[str, Any] = {
        "connected": bool(connected.data),
        "model": settings.eeprom.model,
        "serial number": settings.eeprom.serial_number,
        "pixels": settings.pixels(),
        "excitation, nm": settings.excitation(),
        "wavenumbers, 1/cm": [float(settings.wavenumbers[0]), float(settings.wavenumbers[-1])],
        "firmware": settings.microcontroller_firmware_version,
        "FPGA": settings.fpga_firmware_version,
    }
    axis = np.asarray(settings.wavenumbers, dtype=float)
    near = (axis > 900) & (axis < 1060)

    def take() -> Any:
        for _ in range(20):
            reading = device.acquire_data().data
            if getattr(reading, "spectrum", None) is not None:
                return reading
        raise RuntimeError("no spectrum came")

    device.change_setting("integration_time_ms", 100)
    dark = np.asarray(take().spectrum, dtype=float)
    device.change_setting("laser_power_mW", 100)
    device.change_setting("laser_enable", True)
    take()
    lit = take()
    shows = np.asarray(lit.spectrum, dtype=float) - dark
    found["laser while it is on"] = [bool(lit.laser_enabled), bool(lit.laser_is_firing)]
    found["strongest between 900 and 1060, 1/cm"] = float(axis[near][shows[near].argmax()])
    device.change_setting("laser_enable", False)
    off = take()
    found["laser afterwards"] = bool(off.laser_enabled)
    device.change_setting("detector_tec_setpoint_degC", 10)
    device.change_setting("detector_tec_enable", True)
    found["detector, C"] = float(take().detector_temperature_degC)
    device.disconnect()
    return found
