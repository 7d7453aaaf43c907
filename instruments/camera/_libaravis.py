"""The part of the C library Aravis 0.8 that is used here, through ctypes.

Aravis (LGPL) speaks GigE Vision and USB3 Vision; it comes with the operating system. Functions are
called by their names in its manual without ``arv_``; an error that the library reports is raised.
"""

import ctypes
import ctypes.util
import os
from collections.abc import Callable
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint64
from typing import Any

from instruments.errors import TransportError

# Names the library's file where the system does not find it by itself (conda, /usr/local).
VARIABLE = "OPERANDO_ARAVIS"
NAMES = ("libaravis-0.8.so.0", "libaravis-0.8.0.dylib")
OFF, CONTINUOUS = 0, 0
CLEARED = 1  # the status of a buffer that nothing was put into
STATUSES = {
    -1: "unknown",
    2: "not all of its packets came in time",
    3: "packets are missing",
    4: "a packet has a wrong number",
    5: "it does not fit into the size that the camera told",
    6: "still being filled",
    7: "aborted",
    8: "no image",
}

_INT, _DOUBLE, _THING = POINTER(c_int), POINTER(c_double), ctypes.c_void_p
# Name -> (result, arguments, whether a place for an error follows).
_FUNCTIONS: dict[str, tuple[Any, list[Any], bool]] = {
    "get_major_version": (c_uint, [], False),
    "get_minor_version": (c_uint, [], False),
    "get_micro_version": (c_uint, [], False),
    "update_device_list": (None, [], False),
    "get_n_devices": (c_uint, [], False),
    "get_device_id": (c_char_p, [c_uint], False),
    "get_device_address": (c_char_p, [c_uint], False),
    "get_device_serial_nbr": (c_char_p, [c_uint], False),
    "camera_new": (_THING, [c_char_p], True),
    "camera_get_device": (_THING, [_THING], False),
    "camera_get_vendor_name": (c_char_p, [_THING], True),
    "camera_get_model_name": (c_char_p, [_THING], True),
    "camera_get_device_serial_number": (c_char_p, [_THING], True),
    "camera_is_gv_device": (c_bool, [_THING], False),
    "camera_is_software_trigger_supported": (c_bool, [_THING], True),
    "camera_set_trigger": (None, [_THING, c_char_p], True),
    "camera_software_trigger": (None, [_THING], True),
    "camera_set_acquisition_mode": (None, [_THING, c_int], True),
    "camera_is_exposure_auto_available": (c_bool, [_THING], True),
    "camera_set_exposure_time_auto": (None, [_THING, c_int], True),
    "camera_get_exposure_time_bounds": (None, [_THING, _DOUBLE, _DOUBLE], True),
    "camera_set_exposure_time": (None, [_THING, c_double], True),
    "camera_get_exposure_time": (c_double, [_THING], True),
    "camera_is_gain_available": (c_bool, [_THING], True),
    "camera_is_gain_auto_available": (c_bool, [_THING], True),
    "camera_set_gain_auto": (None, [_THING, c_int], True),
    "camera_get_gain_bounds": (None, [_THING, _DOUBLE, _DOUBLE], True),
    "camera_set_gain": (None, [_THING, c_double], True),
    "camera_get_gain": (c_double, [_THING], True),
    "camera_dup_available_pixel_formats_as_strings": (
        POINTER(c_char_p),
        [_THING, POINTER(c_uint)],
        True,
    ),
    "camera_set_pixel_format_from_string": (None, [_THING, c_char_p], True),
    "camera_get_pixel_format_as_string": (c_char_p, [_THING], True),
    "camera_get_sensor_size": (None, [_THING, _INT, _INT], True),
    "camera_get_width_bounds": (None, [_THING, _INT, _INT], True),
    "camera_get_height_bounds": (None, [_THING, _INT, _INT], True),
    "camera_set_region": (None, [_THING, c_int, c_int, c_int, c_int], True),
    "camera_get_region": (None, [_THING, _INT, _INT, _INT, _INT], True),
    "camera_get_payload": (c_uint, [_THING], True),
    "camera_create_stream": (_THING, [_THING, _THING, _THING], True),
    "camera_start_acquisition": (None, [_THING], True),
    "camera_stop_acquisition": (None, [_THING], True),
    "camera_gv_auto_packet_size": (c_uint, [_THING], True),
    "gv_device_is_controller": (c_bool, [_THING], False),
    "gv_device_take_control": (c_bool, [_THING], True),
    "gv_device_get_timestamp_tick_frequency": (c_uint64, [_THING], True),
    "stream_push_buffer": (None, [_THING, _THING], False),
    "stream_try_pop_buffer": (_THING, [_THING], False),
    "stream_timeout_pop_buffer": (_THING, [_THING, c_uint64], False),
    "buffer_new_allocate": (_THING, [c_size_t], False),
    "buffer_get_status": (c_int, [_THING], False),
    "buffer_get_data": (_THING, [_THING, POINTER(c_size_t)], False),
    "buffer_get_image_width": (c_int, [_THING], False),
    "buffer_get_image_height": (c_int, [_THING], False),
    "buffer_get_timestamp": (c_uint64, [_THING], False),
    "buffer_get_frame_id": (c_uint64, [_THING], False),
}


class AravisError(Exception):
    """What the library reports of a call."""


class _GError(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p))


class _GValue(ctypes.Structure):
    _fields_ = (("type", c_size_t), ("data", c_uint64 * 2))


# GLib's numbers of fundamental types: what a property holds.
_UINT_TYPE, _DOUBLE_TYPE = 7 << 2, 15 << 2


class Aravis:
    """The library, loaded.

    Args:
        names: of its file, as the system's linker takes them; by default what ``OPERANDO_ARAVIS``
            names, or what is installed.

    Raises:
        TransportError: it is not there; the message says how to get it.
    """

    def __init__(self, names: tuple[str, ...] | None = None) -> None:
        if names is None:
            told = os.environ.get(VARIABLE)
            names = (told,) if told else (*NAMES, ctypes.util.find_library("aravis-0.8") or "")
        self._library = _load(names)
        try:
            self._bind()
        except AttributeError as error:
            raise TransportError(f"the library {names[0]} is not Aravis 0.8: {error}") from error

    def _bind(self) -> None:
        self._free = self._library.g_error_free
        self._free.argtypes, self._free.restype = [POINTER(_GError)], None
        self._unref = self._library.g_object_unref
        self._unref.argtypes, self._unref.restype = [_THING], None
        self._g_free = self._library.g_free
        self._g_free.argtypes, self._g_free.restype = [_THING], None
        self._value_init = self._library.g_value_init
        self._value_init.argtypes = [POINTER(_GValue), c_size_t]
        self._set_property = self._library.g_object_set_property
        self._set_property.argtypes, self._set_property.restype = (
            [_THING, c_char_p, POINTER(_GValue)],
            None,
        )
        self._value_set = {
            _UINT_TYPE: self._library.g_value_set_uint,
            _DOUBLE_TYPE: self._library.g_value_set_double,
        }
        for kind, function in self._value_set.items():
            number = c_uint if kind == _UINT_TYPE else c_double
            function.argtypes, function.restype = [POINTER(_GValue), number], None
        self._functions: dict[str, Callable[..., Any]] = {}
        for name, (result, arguments, fails) in _FUNCTIONS.items():
            function = getattr(self._library, f"arv_{name}")
            function.restype = result
            function.argtypes = [*arguments, POINTER(POINTER(_GError))] if fails else arguments
            self._functions[name] = function

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Call a function; raises AravisError if the library reports an error."""
        if not _FUNCTIONS[name][2]:
            return self._functions[name](*arguments)
        error = POINTER(_GError)()
        result = self._functions[name](*arguments, byref(error))
        if error:
            message = (error.contents.message or b"").decode("utf-8", "replace")
            self._free(error)
            raise AravisError(message)
        return result

    @property
    def version(self) -> str:
        """Return the library's version."""
        parts = (self(f"get_{part}_version") for part in ("major", "minor", "micro"))
        return ".".join(str(part) for part in parts)

    def text(self, name: str, *arguments: Any) -> str:
        """Return what a function of text returns; empty where it returns none."""
        found: bytes | None = self(name, *arguments)
        return "" if found is None else found.decode("utf-8", "replace")

    def pair(self, name: str, camera: int, kind: Any = c_double) -> tuple[Any, Any]:
        """Return the two numbers that a function puts into two places."""
        first, second = kind(), kind()
        self(name, camera, byref(first), byref(second))
        return first.value, second.value

    def region(self, camera: int) -> tuple[int, int, int, int]:
        """Return first column, first row, width and height of what is read of the sensor."""
        numbers = [c_int() for _ in range(4)]
        self("camera_get_region", camera, *(byref(number) for number in numbers))
        left, top, width, height = (number.value for number in numbers)
        return left, top, width, height

    def pixel_formats(self, camera: int) -> list[str]:
        """Return the names of the pixel formats that the camera has."""
        count = c_uint()
        name = "camera_dup_available_pixel_formats_as_strings"
        found = self(name, camera, byref(count))
        try:
            return [found[n].decode("ascii", "replace") for n in range(count.value)]
        finally:
            self._g_free(ctypes.cast(found, _THING))

    def data(self, buffer: int) -> bytes:
        """Return a copy of what is in a buffer."""
        size = c_size_t()
        start = self("buffer_get_data", buffer, byref(size))
        return ctypes.string_at(start, size.value) if start else b""

    def set_property(self, thing: int, name: str, value: float) -> None:
        """Set a property: an unsigned one where the value is an int."""
        held = _GValue()
        kind = _UINT_TYPE if isinstance(value, int) else _DOUBLE_TYPE
        self._value_init(byref(held), kind)
        self._value_set[kind](byref(held), value)
        self._set_property(thing, name.encode(), byref(held))

    def release(self, thing: int) -> None:
        """Give a camera or a stream back."""
        self._unref(thing)


def _load(names: tuple[str, ...]) -> ctypes.CDLL:
    why = []
    for name in filter(None, names):
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            why.append(str(error))
    raise TransportError(
        f"the library Aravis 0.8 is not installed ({'; '.join(why)}); install it "
        "(Debian, Ubuntu: apt install libaravis-0.8-0; Fedora: dnf install aravis), or name its "
        f"file in {VARIABLE}"
    )
