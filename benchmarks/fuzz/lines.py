"""Instruments on a line of text or of short packets: each answer that their drivers read.

What an answer says is written here once more, from the manuals, and not by the drivers' words.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.fuzz.target import Frame, Target
from benchmarks.fuzz.wire import FedWire
from instruments._driver import LineDriver
from instruments.errors import InstrumentError
from instruments.interlock.dcon import DconInterlock
from instruments.relay_board import NumatoRelayBoard
from instruments.sampling_valve.vici import ViciValve
from instruments.sensor.atlas_ezo_ph import AtlasEzoPh
from instruments.sensor.srs_qcm200 import SrsQcm200
from instruments.stage.zaber_ascii import Axis, ZaberStage
from instruments.thermostat.huber_pb import HuberThermostat
from instruments.thermostat.julabo import JulaboThermostat

# A temperature that a bath can have, K.
_COLDEST_K, _HOTTEST_K = 73.15, 773.15
_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?"

Asks = Mapping[str, Callable[[Any], Any]]


def _reader(
    make: Callable[[], LineDriver], asks: Asks, answers: Mapping[str, bytes], end: bytes
) -> Callable[[Frame], Any]:
    """Return what asks a fresh driver, whose instrument gives the frame as one of its answers."""

    def read(frame: Frame) -> Any:
        driver = make()
        told = {**answers, frame.of: frame.data}
        driver._transport = FedWire(
            lambda data: told.get(data.rstrip(b"\r\n").decode("ascii"), b""), end
        )
        return asks[frame.of](driver)

    return read


def _lines(data: bytes, end: bytes) -> list[str]:
    """Return the whole lines of an answer."""
    return [line.decode("latin-1").strip(" \t\r\n") for line in data.split(end)[:-1]]


def _text(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _same(value: float, number: str) -> bool:
    return math.isclose(value, float(number), rel_tol=1e-12, abs_tol=1e-12)


# -- Atlas EZO

_EZO = {
    "*OK,1": b"*OK\r", "C,0": b"*OK\r", "i": b"?I,pH,2.14\r*OK\r", "Cal,?": b"?CAL,3\r*OK\r",
    "Slope,?": b"?SLOPE,99.7,100.3,-0.89\r*OK\r", "T,25.00": b"*OK\r", "T,?": b"?T,25.0\r*OK\r",
    "R": b"4.401\r*OK\r",
}  # fmt: skip


def _ezo_prepared(driver: AtlasEzoPh) -> dict[str, Any]:
    driver._prepare()
    return {**driver._told, "k": driver._in_force_k}


def _ezo_wrong(frame: Frame, value: Any) -> str:
    lines = _lines(frame.data, b"\r")
    if frame.of == "R":
        told = [float(x) for x in lines if re.fullmatch(r"[0-9]{1,2}\.[0-9]{1,3}", x)]
        ph = value["ph"]
        if math.isnan(ph):
            return "" if any(not 0.001 <= x <= 14 for x in told) else f"NaN, but told {told}"
        return "" if ph in told and "*OK" in lines else f"pH {ph}, told {told}"
    if frame.of == "T,?":
        told = [x[3:] for x in lines if re.fullmatch(r"\?[Tt],-?[0-9]+(\.[0-9]+)?", x)]
        return "" if any(abs(float(x) - 25) <= 0.051 for x in told) else f"taken for 25: {told}"
    key = {"i": "firmware", "Cal,?": "calibration_points", "Slope,?": "slope"}.get(frame.of)
    if key is not None and not any(value[key] in line and _text(line) for line in lines):
        return f"{key} {value[key]!r}"
    return ""


# -- QCM200

_QCM = {
    "I": b"QCM200_1.06_0_154021\r", "P1": b"", "P?": b"1\r", "B": b"3\r", "F": b"5001234.56\r",
    "R": b"375.2\r",
}  # fmt: skip


def _qcm_prepared(driver: SrsQcm200) -> dict[str, str]:
    driver._prepare()
    return driver._told


def _qcm_wrong(frame: Frame, value: Any) -> str:
    lines = _lines(frame.data, b"\r")
    first = lines[0] if lines else ""
    match frame.of:
        case "I":
            whole = [x for x in lines if _text(x) and x.upper().startswith("QCM200")]
            good = any(value["serial_number"] == x.split("_")[-1] for x in whole)
        case "P?":
            good = first == "1"
        case "B":
            good = bool(re.fullmatch(r"[0-9]{1,3}", first)) and int(first) == value <= 255
        case _:
            good = bool(re.fullmatch(_NUMBER, first, re.A)) and _same(value, first)
    return "" if good else f"{value!r} of {first!r}"


# -- VICI

_VICI = {"CP": b"CPA\r", "VR": b"I-PD-UMTN88RD1\r"}


def _vici_version(driver: ViciValve) -> str:
    driver._prepare()
    return driver._firmware


def _vici_wrong(frame: Frame, value: Any) -> str:
    lines = _lines(frame.data, b"\r")
    if frame.of == "VR":
        return "" if value in lines or value == "" else f"{value!r} of {lines}"
    told = [
        found[1].upper()
        for line in lines
        if (found := re.fullmatch(r".{0,2}(?:CP|Position is) *=? *\"?([ABab])\"?", line, re.I))
    ]
    return "" if value in told else f"{value} of {lines}"


# -- Numato

_NUMATO = {
    "": b"\r\n>",
    "relay read 0": b"relay read 0\n\ron\n\r>", "gpio read 1": b"gpio read 1\n\r0\n\r>",
    "ver": b"ver\n\r00000008\n\r>", "id get": b"id get\n\r00000000\n\r>",
}  # fmt: skip


def _numato_prepared(driver: NumatoRelayBoard) -> dict[str, str]:
    driver._prepare()
    return driver.identify()


def _numato_wrong(frame: Frame, value: Any) -> str:
    answers = frame.data.split(b">")[:-1]
    told = [[x for x in re.split(r"[\r\n]+", one.decode("latin-1")) if x] for one in answers]
    words = {True: ("on", "1"), False: ("off", "0")}
    said = value
    if isinstance(value, dict):
        said = value["firmware" if frame.of == "ver" else "serial_number"]
    wanted = words[said] if isinstance(said, bool) else (said,)
    good = any(
        len(one) == 2 and one[0] == frame.of and one[1] in wanted and _text(one[1]) for one in told
    )
    return "" if good or frame.of == "" else f"{said!r} of {told}"


# -- Julabo

_JULABO = {
    "version": b"JULABO TOPTECH-SERIES MC-2 VERSION 3.0\r\n", "in_sp_06": b"0\r\n",
    "status": b"02 REMOTE STOP\r\n", "in_pv_00": b"22.31\r\n", "in_sp_00": b"25.00\r\n",
    "in_mode_05": b"1\r\n",
}  # fmt: skip


class _Hasty(JulaboThermostat):
    """Waits for no circulator to become ready for its next command."""

    def _send(self, command: str) -> None:
        self._not_before = 0.0
        super()._send(command)


def _julabo_version(driver: JulaboThermostat) -> str:
    driver._prepare()
    return driver._version


def _julabo_wrong(frame: Frame, value: Any) -> str:
    lines = _lines(frame.data, b"\n")
    first = lines[0] if lines else ""
    match frame.of:
        case "version":
            good = value == first and _text(first) and "julabo" in first.lower()
        case "in_sp_06":
            good = True  # models that tell nothing, or something else, are taken for Celsius
        case "status":
            found = re.fullmatch(r"(-?[0-9]{2})(?:\s.*)?", first)
            good = found is not None and int(found[1]) == value[0]
        case "in_mode_05":
            good = first == ("1" if value else "0")
        case _:
            good = bool(re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", first))
            good = good and abs(value - float(first) - 273.15) < 0.006
            good = good and _COLDEST_K <= value <= _HOTTEST_K
    return "" if good else f"{value!r} of {first!r}"


# -- Huber

_HUBER = {
    "": b"", "{M30****": b"{S30EE6C\r\n", "{M31****": b"{S313A98\r\n", "{M0A****": b"{S0A0001\r\n",
    "{M07****": b"{S077FFF\r\n", "{M01****": b"{S0109C4\r\n", "{M00****": b"{S0007D0\r\n",
    "{M14****": b"{S140001\r\n",
}  # fmt: skip


def _huber_asked(driver: HuberThermostat) -> Any:
    driver._prepare()
    return driver.state(), driver.setpoint_range_k()


def _huber_wrong(frame: Frame, value: Any) -> str:
    state, (low, high) = value
    address = frame.of[2:4]
    told = {
        int(found[1], 16)
        for line in frame.data.split(b"\n")[:-1]
        if (found := re.search(rb"(?i)\{S%b([0-9A-F]{4})\r?\Z" % address.encode(), line))
    }
    all_c = {round((x - 0x10000 if x & 0x8000 else x) / 100, 2) for x in told}

    def one_of(kelvin: float) -> bool:
        return round(kelvin - 273.15, 2) in all_c and _COLDEST_K <= kelvin <= _HOTTEST_K + 150

    match frame.of:
        case "{M00****":
            good = one_of(state.setpoint_k)
        case "{M01****":
            good = one_of(state.temperature_k)
        case "{M07****":
            absent = round(state.temperature_k - 273.15, 2) == 25.0 and bool(
                told & {0x7FFF, 0x10000 - 15100}
            )
            good = absent or one_of(state.temperature_k)
        case "{M0A****":
            good = any((x & 1) == state.controlling for x in told)
        case "{M30****":
            good = 0x7FFF in told or round(low - 273.15, 2) in all_c
        case "{M31****":
            good = 0x7FFF in told or round(high - 273.15, 2) in all_c
        case _:
            good = True
    return "" if good else f"{value!r} of {frame.data!r:.60}"


# -- Zaber

_AXIS = {"x": Axis(1, 1, 0.047625, 0.0, 20000.0)}
_ZABER = {
    "/1 1 get pos": b"@01 1 OK IDLE -- 2100\r\n", "/1 1 get limit.min": b"@01 1 OK IDLE -- 0\r\n",
    "/1 1 get limit.max": b"@01 1 OK IDLE -- 533333\r\n",
    "/1 get version": b"@01 0 OK IDLE -- 7.35\r\n",
    "/1 get device.id": b"@01 0 OK IDLE -- 50105\r\n",
}  # fmt: skip
_ZABER_REPLY = re.compile(
    r"@01 [01] OK (?:BUSY|IDLE) (?P<flag>\S\S) (?P<data>[^:]*?)(?::(?P<sum>[0-9A-Fa-f]{2}))?"
)


def zaber_sealed(data: bytes) -> bytes:
    """Return replies with a right checksum behind each line."""

    def seal(line: bytes) -> bytes:
        body = line.rstrip(b"\r").partition(b":")[0]
        return b"%b:%02X\r" % (body, -sum(body[1:]) & 0xFF) if body else line

    return b"\n".join(seal(line) for line in data.split(b"\n"))


def _zaber_prepared(driver: ZaberStage) -> Any:
    driver._prepare()
    return driver._told | {"limits": driver.limits_um()["x"]}


def _zaber_wrong(frame: Frame, value: Any) -> str:
    told = []
    for line in frame.data.split(b"\n")[:-1]:
        line = line.strip(b" \t\r\n")
        found = _ZABER_REPLY.fullmatch(line.decode("latin-1"))
        if found is None:
            continue
        body = line.rpartition(b":")[0] if found["sum"] else line
        if found["sum"] and (sum(body[1:]) + int(found["sum"], 16)) % 256:
            continue
        told.append((found["flag"], found["data"]))
    step = _AXIS["x"].micrometre_per_step
    match frame.of:
        case "/1 1 get pos":
            um = value["x"]
            good = any(
                flag in ("WR", "WH") if math.isnan(um) else _is(data, um / step)
                for flag, data in told
            )
        case "/1 1 get limit.min":
            good = any(_is(data, value["limits"][0] / step) for _, data in told) or (
                value["limits"][0] == 0.0
            )
        case "/1 1 get limit.max":
            good = any(_is(data, value["limits"][1] / step) for _, data in told) or (
                value["limits"][1] == 20000.0
            )
        case "/1 get version":
            good = any(value["x_firmware"] == data and _text(data) for _, data in told)
        case _:
            good = any(value["x_device_id"] == data and _text(data) for _, data in told)
    return "" if good else f"{value!r} of {frame.data!r:.80}"


def _is(text: str, value: float) -> bool:
    return bool(re.fullmatch(_NUMBER, text, re.A)) and math.isclose(
        float(text), value, rel_tol=1e-9, abs_tol=1e-6
    )


# -- DCON


def dcon_sealed(data: bytes) -> bytes:
    """Return answers with a right checksum in each line."""
    lines = [line[:-2] for line in data.split(b"\r")[:-1]]
    return b"".join(b"%b%02X\r" % (line, sum(line) & 0xFF) for line in lines)


_DCON = {
    "$01M": b"!017060xx\r", "$01F": b"!01A2.0xx\r", "~010": b"!0180xx\r", "$016": b"!030000xx\r",
    "@01": b">0300xx\r", "~014S": b"!010000xx\r",
}  # fmt: skip
_DCON_SEALED = {of: dcon_sealed(data) for of, data in _DCON.items()}


def _dcon(frame: Frame) -> Any:
    driver = DconInterlock("fed://", relays={"potentiostat": 0, "raman": 1}, checksum=True)
    told = {**_DCON_SEALED, frame.of: frame.data}
    driver._transport = FedWire(lambda data: told.get(data[:-3].decode("ascii"), b""), b"\r")
    match frame.of:
        case "$01M" | "$01F":
            return driver._told("$", frame.of[-1])
        case "~010":
            return driver._status()
        case "~014S":
            return driver._stored("S")
        case _:
            return driver.state()


def _dcon_wrong(frame: Frame, value: Any) -> str:
    lines = [x for x in frame.data.split(b"\r")[:-1] if x[-2:] == b"%02X" % (sum(x[:-2]) & 0xFF)]
    told = [line[:-2].decode("latin-1") for line in lines]
    if isinstance(value, dict):
        value = sum(closed << n for n, closed in enumerate(value.values()))
    hexadecimal = f"{value:02X}" if isinstance(value, int) else value
    match frame.of:
        case "$01M" | "$01F":
            good = f"!01{value}" in told and _text(value)
        case "~010":
            good = f"!01{hexadecimal}" in told
        case "~014S":
            good = any(x[:5] == f"!01{hexadecimal}" and len(x) == 7 for x in told)
        case _:
            # Both answers must tell the same.
            good = value == 3 and any(x[1:3] == "03" for x in told)
    return "" if good else f"{value!r} of {told}"


def _target(
    name: str,
    what: str,
    make: Callable[[], LineDriver],
    answers: Mapping[str, bytes],
    asks: Asks,
    wrong: Callable[[Frame, Any], str],
    end: bytes,
    *,
    more: tuple[Frame, ...] = (),
    seal: Callable[[bytes], bytes] | None = None,
) -> Target:
    frames = (*(Frame(of, answers[of]) for of in asks), *more)
    read = _reader(make, asks, answers, end)
    return Target(name, what, frames, read, wrong, (InstrumentError,), seal)


def targets() -> list[Target]:
    """Return a target per language."""
    return [
        _target(
            "ezo", "Atlas EZO pH, lines", lambda: AtlasEzoPh("fed://"), _EZO,
            {"R": lambda one: one.read(), **dict.fromkeys(
                ("i", "Cal,?", "Slope,?", "T,?", "C,0"), _ezo_prepared)},
            _ezo_wrong, b"\r",
            more=(Frame("R", b"*OV-\r0.000\r*OK\r"), Frame("R", b"*RS\r7.02\r*OK\r")),
        ),
        _target(
            "qcm200", "SRS QCM200, lines", lambda: SrsQcm200("fed://"), _QCM,
            {"I": _qcm_prepared, "P?": _qcm_prepared, "B": lambda one: one._status(),
             "F": lambda one: one._number("F"), "R": lambda one: one._number("R")},
            _qcm_wrong, b"\r",
        ),
        _target(
            "vici", "VICI actuator, lines", lambda: ViciValve("fed://"), _VICI,
            {"CP": lambda one: one.position(), "VR": _vici_version}, _vici_wrong, b"\r",
            more=(Frame("CP", b"CP = B\r"), Frame("CP", b'Position is  = "A"\r'),
                  Frame("VR", b"\rEUTA-CE\rAug 11 2017\r")),
        ),
        _target(
            "numato", "Numato relays, echo and prompt", lambda: NumatoRelayBoard("fed://"), _NUMATO,
            {"relay read 0": lambda one: one.relay(0), "gpio read 1": lambda one: one.gpio(1),
             "ver": _numato_prepared, "id get": _numato_prepared, "": _numato_prepared},
            _numato_wrong, b">",
            more=(Frame("relay read 0", b"relay read 0\n\roff\n\r>"),),
        ),
        _target(
            "julabo", "Julabo circulator, lines", lambda: _Hasty("fed://"), _JULABO,
            {"version": _julabo_version, "in_sp_06": _julabo_version,
             "status": lambda one: one._status(), "in_pv_00": lambda one: one._kelvin("in_pv_00"),
             "in_sp_00": lambda one: one._kelvin("in_sp_00"),
             "in_mode_05": lambda one: one._controls()},
            _julabo_wrong, b"\n",
        ),
        _target(
            "huber", "Huber PB, packets", lambda: HuberThermostat("fed://"), _HUBER,
            dict.fromkeys((x for x in _HUBER if x and x != "{M14****"), _huber_asked),
            _huber_wrong, b"\n",
        ),
        _target(
            "zaber", "Zaber ASCII, replies", lambda: ZaberStage("fed://", _AXIS), _ZABER,
            {"/1 1 get pos": lambda one: one.read(), **dict.fromkeys(
                [x for x in _ZABER if x != "/1 1 get pos"], _zaber_prepared)},
            _zaber_wrong, b"\n", seal=zaber_sealed,
            more=(Frame("/1 1 get pos", zaber_sealed(b"@01 1 OK BUSY NC 2100\r\n")),),
        ),
        Target(
            "dcon", "DCON interlock, answers with checksums",
            tuple(Frame(of, data) for of, data in _DCON_SEALED.items()),
            _dcon, _dcon_wrong, (InstrumentError,), dcon_sealed,
        ),
    ]  # fmt: skip
