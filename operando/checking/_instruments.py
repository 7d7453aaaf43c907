"""What each kind of instrument can be asked without moving the cell: a setpoint, read back."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from instruments.abilities import Span, abilities_of
from instruments.bench_file import BenchFile
from instruments.camera.entry import CameraEntry
from instruments.entry import InstrumentEntry
from instruments.errors import InstrumentError
from instruments.external.entry import ExternalEntry
from instruments.gas_chromatograph.entry import GasChromatographEntry
from instruments.lamp.entry import SwitchedLampEntry
from instruments.listing import span_text
from instruments.potentiostat.entry import PotentiostatEntry
from instruments.raman.entry import RamanEntry
from instruments.relay_board.entry import RelayBoardEntry
from instruments.sampling_valve.entry import SamplingValveEntry
from instruments.sensor.entry import SensorEntry
from instruments.stage.entry import StageEntry
from instruments.thermostat.entry import ThermostatEntry
from operando.checking._report import Item, failed

# A camera rounds its exposure to a grid of its own; a spectrometer its integration time likewise.
_SAME_TIME = 0.05
# A dark spectrum for the sake of its settings need not be long.
_DARK_S = 0.3
# What a quantity can be beside a cell, by its name, or else by its unit. Beyond it is a probe that
# is broken or dry, or is taken for another.
_CAN_BE = {"ph": Span(0.0, 14.0, ""), "pressure": Span(0.0, None, "Pa")}
_CAN_BE_IN = {
    "K": Span(173.0, 673.0, "K"),
    "Hz": Span(0.0, None, "Hz"),
    "ohm": Span(0.0, None, "ohm"),
}
# No atmosphere that people work in has less, Pa; nor does a headspace at rest have so much more.
_THIN_PA, _HIGH_PA = 5e4, 9e4
# How far a bath may be from its setpoint while it controls before somebody should know.
_AWAY_K = 1.0

Asked = Callable[[str, Any, Any, BenchFile], Iterator[Item]]


def read_back(file: BenchFile, drivers: Mapping[str, Any]) -> Iterator[Item]:
    """Yield what each connected instrument told of itself; the potentiostat's cell apart.

    Nothing is moved and nothing is switched on: the thermostat's setpoint is written once more as
    it is, camera and spectrometer are set as the bench file says, a dark spectrum is taken, and the
    rest is read.

    Args:
        file: The bench.
        drivers: Those that are connected, by name.
    """
    for name, entry in file.instruments.items():
        driver = drivers.get(name)
        asked = next((ask for kind, ask in _ASKED if isinstance(entry, kind)), None)
        if driver is None:
            continue
        if asked is None:
            yield Item(
                f"{name}: state", "not checked", f"nothing is known to ask a {entry.kind} of"
            )
            continue
        try:
            yield from asked(name, driver, entry, file)
        except InstrumentError as error:
            yield failed(f"{name}: state", error)
        except Exception as error:
            # Any: a driver of another package; the others are to be looked at.
            yield failed(f"{name}: state", RuntimeError(f"{type(error).__name__}: {error}"))


def _potentiostat(name: str, driver: Any, entry: Any, file: BenchFile) -> Iterator[Item]:
    del entry
    able, limits = driver.capabilities(), file.limits
    beyond = [
        f"{key} {value:g} {unit} (it has {low:g} to {high:g} {unit})"
        for key, value, low, high, unit in (
            ("potential_min_v", limits.potential_min_v, able.potential_min_v, math.inf, "V"),
            ("potential_max_v", limits.potential_max_v, -math.inf, able.potential_max_v, "V"),
            ("current_max_a", limits.current_max_a, 0.0, able.current_max_a, "A"),
        )
        if value is not None and not low <= value <= high
    ]
    told = (
        f"{able.model}: {able.potential_min_v:g} to {able.potential_max_v:g} V, up to "
        f"{able.current_max_a:g} A"
    )
    if beyond:
        yield Item(
            f"{name}: limits",
            "warning",
            f"the bench file allows more than {able.model} has: {'; '.join(beyond)}",
            "correct limits in the bench file; until then the instrument's own end acts first",
        )
    else:
        yield Item(f"{name}: limits", "ok", f"those of the bench file lie within {told}")


def _thermostat(name: str, driver: Any, entry: Any, file: BenchFile) -> Iterator[Item]:
    del file
    state = driver.state()
    does = "controls" if state.controlling else "does not control"
    told = f"is at {state.temperature_k:.2f} K, setpoint {state.setpoint_k:.2f} K, {does}"
    confirm = getattr(driver, "confirm_setpoint", None)
    if confirm is None:
        yield Item(f"{name}: setpoint", "not checked", f"{told}; this driver writes none back")
    else:
        confirmed = confirm()
        yield Item(f"{name}: setpoint", "ok", f"{told}; read back {confirmed:.2f} K")
    after = driver.state()
    if after.controlling != state.controlling:
        yield Item(
            f"{name}: control",
            "failed",
            "it began or ended to control when its setpoint was written as it was",
            "look at its panel: another program may be talking to it",
        )
    low, high = entry.limits_k
    beyond = (low is not None and state.setpoint_k < low) or (
        high is not None and state.setpoint_k > high
    )
    if state.controlling and beyond:
        yield Item(
            f"{name}: range",
            "failed",
            f"it controls to {state.setpoint_k:.2f} K; the bench file allows "
            f"{low if low is not None else '-'} to {high if high is not None else '-'} K",
            "set it within these limits before a cell is put in",
        )
    elif state.controlling and abs(state.temperature_k - state.setpoint_k) > _AWAY_K:
        yield Item(
            f"{name}: temperature",
            "warning",
            f"it is {abs(state.temperature_k - state.setpoint_k):.1f} K away from its setpoint",
            "wait until it is there, where the temperature matters",
        )


def _relay_board(name: str, driver: Any, entry: Any, file: BenchFile) -> Iterator[Item]:
    del entry
    of = {
        relay: owner
        for owner, other in file.instruments.items()
        for board, relay in other.relays
        if board == name
    }
    closed = [f"{n} (of {of[n]})" for n in sorted(of) if driver.relay(n)]
    if closed:
        yield Item(
            f"{name}: relays",
            "failed",
            f"closed although nothing runs: relay {', '.join(closed)}",
            "see what they switch (laser, lamp, start contact), then `operando safe`",
        )
    elif of:
        listed = ", ".join(f"{n} ({owner})" for n, owner in sorted(of.items()))
        yield Item(f"{name}: relays", "ok", f"read back open: {listed}")
    else:
        state = "closed" if driver.relay(0) else "open"
        yield Item(f"{name}: relays", "ok", f"nothing of this bench hangs on it; 0 reads {state}")


def _camera(name: str, driver: Any, entry: CameraEntry, file: BenchFile) -> Iterator[Item]:
    del file
    found = driver.configure(exposure_time_s=entry.exposure_time_s)
    rows, columns = found.image_shape
    told = (
        f"{found.exposure_time_s * 1e3:.4g} ms read back, {columns} x {rows} pixels of "
        f"{found.pixel_format}"
    )
    if not math.isclose(found.exposure_time_s, entry.exposure_time_s, rel_tol=_SAME_TIME):
        yield Item(
            f"{name}: exposure",
            "warning",
            f"asked for {entry.exposure_time_s * 1e3:.4g} ms; {told}",
            "give exposure_time_s a value that this camera has",
        )
    else:
        yield Item(f"{name}: exposure", "ok", told)


def _raman(name: str, driver: Any, entry: RamanEntry, file: BenchFile) -> Iterator[Item]:
    del file
    if driver.is_on:
        yield Item(
            f"{name}: laser",
            "failed",
            "its laser reads back as emitting although nothing runs",
            "turn its key; then `operando safe`",
        )
        return
    yield Item(f"{name}: laser", "ok", "reads back off")
    driver.require_bands(entry.bands_cm1)
    specified = driver.specification
    lowest_w, highest_w = specified.laser_power_min_w, specified.laser_power_max_w
    if highest_w > 0 and not lowest_w <= entry.laser_power_w <= highest_w:
        yield Item(
            f"{name}: laser power",
            "failed",
            f"{entry.laser_power_w:g} W of the bench file; it gives {lowest_w:g} to "
            f"{highest_w:g} W",
            "correct laser_power_w",
        )
    dark = getattr(driver, "acquire_dark", None)
    if dark is None:
        yield Item(f"{name}: integration time", "not checked", "this driver takes no dark alone")
        return
    wanted_s = max(specified.integration_time_min_s, min(entry.integration_time_s, _DARK_S))
    driver.arm()
    try:
        taken = dark(wanted_s, 1)
    finally:
        driver.safe_state()
    told = (
        f"{taken.integration_time_s:g} s read back in the dark, "
        f"{float(taken.counts.mean()):.4g} counts"
    )
    if math.isfinite(taken.detector_temperature_c):
        told += f", detector at {taken.detector_temperature_c:.1f} degC"
    if not math.isclose(taken.integration_time_s, wanted_s, rel_tol=_SAME_TIME):
        yield Item(
            f"{name}: integration time",
            "failed",
            f"asked for {wanted_s:g} s; {told}",
            "power the spectrometer off and on",
        )
    elif taken.saturated_pixels:
        yield Item(
            f"{name}: integration time",
            "warning",
            f"{told}; {taken.saturated_pixels} pixels are full without its laser",
            "keep other light away, or shorten integration_time_s",
        )
    else:
        yield Item(f"{name}: integration time", "ok", told)


def _stage(name: str, driver: Any, entry: Any, file: BenchFile) -> Iterator[Item]:
    del entry, file
    found = driver.read()
    lost = [axis for axis, um in found.items() if not math.isfinite(um)]
    told = ", ".join(f"{axis} = {um:.4g} um" for axis, um in found.items())
    if lost:
        yield Item(
            f"{name}: position",
            "warning",
            f"axis {', '.join(lost)} has no reference position ({told})",
            "clear the way and home it: stage.home()",
        )
        return
    limits = driver.limits_um()
    beyond = [axis for axis, um in found.items() if not limits[axis][0] <= um <= limits[axis][1]]
    if beyond:
        yield Item(
            f"{name}: position",
            "warning",
            f"axis {', '.join(beyond)} stands beyond its limits ({told})",
            "move it back by hand, or correct min_um and max_um",
        )
    else:
        yield Item(f"{name}: position", "ok", told)


def _gas_chromatograph(
    name: str, driver: Any, entry: GasChromatographEntry, file: BenchFile
) -> Iterator[Item]:
    del file
    if driver.ready():
        yield Item(f"{name}: ready", "ok", "it would obey a start now")
    else:
        yield Item(
            f"{name}: ready",
            "warning",
            "it is not ready: injections that are due are missed until it is",
            "look whether it equilibrates, runs, or waits for somebody",
        )
    results = entry.result_source()
    try:
        count = len(results.listed())
    finally:
        results.end()
    yield Item(f"{name}: results", "ok", f"can be read where they appear ({count} there)")


def _sensor(name: str, driver: Any, entry: Any, file: BenchFile) -> Iterator[Item]:
    del entry, file
    found, units = driver.read(), dict(driver.quantities)
    told = ", ".join(f"{key} {x:.6g} {units.get(key, '')}".rstrip() for key, x in found.items())
    silent = [key for key, value in found.items() if not math.isfinite(value)]
    odd = [
        f"{key} ({span_text(span._asdict())})"
        for key, value in found.items()
        if (span := _misses(value, driver, key, units.get(key, ""))) is not None
    ]
    if silent:
        yield Item(
            f"{name}: reading",
            "warning",
            f"it has no {', '.join(silent)} now ({told})",
            "look at its probe and cable",
        )
    elif odd:
        yield Item(
            f"{name}: reading",
            "failed",
            f"it tells what cannot be: {told}; can be: {', '.join(odd)}",
            "look whether the probe is wet, whole and calibrated, and is what the bench file names",
        )
    elif doubt := _doubtful_pressure(found, units):
        yield Item(
            f"{name}: reading",
            "warning",
            f"{told}: {doubt}",
            "see that measures (absolute, gauge) and ambient_kpa in the bench file are those of "
            "this transmitter",
        )
    else:
        yield Item(f"{name}: reading", "ok", told)


def _misses(value: float, driver: Any, quantity: str, unit: str) -> Span | None:
    """Return what a quantity can be, as driver and surroundings have it, if it is not that."""
    declared = [able.limits[quantity] for able in abilities_of(driver) if quantity in able.limits]
    if declared and not any(_within(value, span) for span in declared):
        return declared[0]
    known = _CAN_BE.get(quantity.lower(), _CAN_BE_IN.get(unit))
    if known is not None and known.unit == unit and not _within(value, known):
        return known
    return None


def _within(value: float, span: Span) -> bool:
    low, high = (-math.inf if span.low is None else span.low), span.high
    return low <= value <= (math.inf if high is None else high)


def _doubtful_pressure(found: Mapping[str, float], units: Mapping[str, str]) -> str:
    """Return why a pressure is hardly that of a headspace at rest; empty if it may be."""
    found = {key: value for key, value in found.items() if units.get(key) == "Pa"}
    if found.get("pressure", _THIN_PA) < _THIN_PA:
        return "less than any atmosphere: is it told as gauge, and taken as absolute?"
    if found.get("overpressure", 0.0) > _HIGH_PA:
        return "an atmosphere above the atmosphere: is it told as absolute, and taken as gauge?"
    return ""


def _external(name: str, driver: Any, entry: ExternalEntry, file: BenchFile) -> Iterator[Item]:
    del file
    driver.check_ready()  # a reading would give it a start
    yield Item(f"{name}: folder", "ok", f"is there: {entry.address}")


def _valve(name: str, driver: Any, entry: Any, file: BenchFile) -> Iterator[Item]:
    del entry, file
    yield Item(f"{name}: position", "ok", f"stands at {driver.position()}")


def _lamp(name: str, driver: Any, entry: Any, file: BenchFile) -> Iterator[Item]:
    del entry, file
    on = driver.is_on
    yield Item(
        f"{name}: state",
        "failed" if on else "ok",
        f"its relay reads back {'closed: it is on although nothing runs' if on else 'open'}",
        "`operando safe` switches it off" if on else "",
    )


_ASKED: tuple[tuple[type[InstrumentEntry], Asked], ...] = (
    (PotentiostatEntry, _potentiostat),
    (ThermostatEntry, _thermostat),
    (RelayBoardEntry, _relay_board),
    (CameraEntry, _camera),
    (RamanEntry, _raman),
    (StageEntry, _stage),
    (GasChromatographEntry, _gas_chromatograph),
    (SwitchedLampEntry, _lamp),
    (SensorEntry, _sensor),
    (ExternalEntry, _external),
    (SamplingValveEntry, _valve),
)
