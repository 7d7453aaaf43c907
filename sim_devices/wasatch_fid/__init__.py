"""A simulated Wasatch Photonics Raman spectrometer, from the USB transfers up.

`usb_server` performs USB transfers that arrive over TCP, `spectrometer` answers them as the maker's
document ENG-0001 says, `eeprom` lays out the calibration memory (ENG-0034). The light comes from
`sim_devices.spectrum`.
"""

from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.spectrum import Light
from sim_devices.truth import Truth
from sim_devices.wasatch_fid.eeprom import Calibration
from sim_devices.wasatch_fid.spectrometer import WasatchSpectrometer
from sim_devices.wasatch_fid.usb_server import UsbServer

__all__ = ["Calibration", "UsbServer", "WasatchSpectrometer", "serve"]


def serve(scene: Light, clock: SimulatedClock, truth: Truth, lights: Lights) -> WasatchSpectrometer:
    """Power a spectrometer that looks at a scene; it listens at its `address` until `close`."""
    return WasatchSpectrometer(scene, clock, lights, truth=truth)
