"""The spectrometer's calibration memory: nine pages of 64 bytes, little-endian (ENG-0034)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAGES = 9
PAGE_BYTES = 64
FORMAT = 15  # the revision of the layout, last byte of page 0
_HAS_INTERLOCK_FEEDBACK = 0x0040


@dataclass(frozen=True)
class Calibration:
    """What the maker measured and stored: 532 nm, 2048 pixels, 149 to 3900 cm-1.

    Attributes:
        wavelength_coefficients: nm, of the powers 0 to 4 of the pixel's number.
        laser_percent: coefficients of the duty cycle in percent, by powers of the power in mW.
        temperature_of_adc: coefficients, degree Celsius by powers of the sensor's reading.
        dac_of_temperature: coefficients of the cooler's set point by powers of degree Celsius.
    """

    model: str = "WP-532-C"
    serial_number: str = "SIM-00532"
    detector: str = "S11511-1106"
    excitation_nm: float = 532.0
    pixels: int = 2048
    wavelength_coefficients: tuple[float, ...] = (536.25, 0.07005, -2.0e-6, 0.0, 0.0)
    laser_full_mw: float = 120.0
    laser_max_mw: float = 100.0
    laser_min_mw: float = 2.0
    laser_percent: tuple[float, ...] = (0.0, 100.0 / 120.0, 0.0, 0.0)
    temperature_of_adc: tuple[float, ...] = (60.0, -0.02, 0.0)
    dac_of_temperature: tuple[float, ...] = (2500.0, -100.0, 0.0)
    cooler_min_c: int = -10
    cooler_max_c: int = 20
    cooler_start_c: int = 10
    start_integration_ms: int = 100

    def wavenumber_cm1(self) -> npt.NDArray[np.float64]:
        """Return the Raman shift that falls on each pixel, ascending."""
        # The memory holds single precision: the light falls where the memory says.
        coefficients = np.asarray(self.wavelength_coefficients, dtype=np.float32).astype(float)
        pixel = np.arange(self.pixels, dtype=float)
        wavelength_nm = np.polynomial.polynomial.polyval(pixel, coefficients)
        return np.asarray(1e7 / self.excitation_nm - 1e7 / wavelength_nm)

    def pages(self) -> list[bytes]:
        """Return the memory."""
        pages = [bytearray(PAGE_BYTES) for _ in range(PAGES)]

        def put(page: int, offset: int, layout: str, *values: object) -> None:
            struct.pack_into("<" + layout, pages[page], offset, *values)

        put(0, 0, "16s16s", self.model.encode("ascii"), self.serial_number.encode("ascii"))
        put(0, 36, "???", True, False, True)  # cooler, no battery, laser
        put(0, 39, "HH", _HAS_INTERLOCK_FEEDBACK, 25)  # features, slit in um
        put(0, 43, "HhB", self.start_integration_ms, self.cooler_start_c, 0)
        put(0, 48, "fhfh", 1.9, 0, 1.9, 0)  # gain and offset of even and odd pixels
        put(0, 63, "B", FORMAT)

        put(1, 0, "4f", *self.wavelength_coefficients[:4])
        put(1, 16, "3f", *self.dac_of_temperature)
        put(1, 28, "hh", self.cooler_max_c, self.cooler_min_c)
        put(1, 32, "3f", *self.temperature_of_adc)
        put(1, 48, "12s3s", b"2024-05-17", b"SIM")
        put(1, 63, "B", 1)

        put(2, 0, "16s", self.detector.encode("ascii"))
        put(2, 16, "HBH", self.pixels, 0, 64)
        put(2, 21, "f", self.wavelength_coefficients[4])
        put(2, 25, "HHHHH", self.pixels, 0, self.pixels - 1, 0, 63)
        put(2, 63, "B", 2)

        put(3, 12, "4f", *self.laser_percent)
        put(3, 28, "fff", self.laser_max_mw, self.laser_min_mw, self.excitation_nm)
        put(3, 40, "IIf", 1, 600_000, 8.0)  # shortest and longest integration in ms, cm-1
        put(3, 63, "B", 255)

        put(4, 63, "B", 1)
        put(5, 0, "15h", *[-1] * 15)  # no bad pixels
        put(5, 63, "B", 0)  # pages 6 and 7 are not used
        return [bytes(page) for page in pages]
