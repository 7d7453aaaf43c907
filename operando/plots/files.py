"""What instruments tell that only write files: texture, roughness, echoes, bands and ions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from operando.plots._style import (
    INK,
    PLATING,
    STRIPPING,
    dress,
    marker_size,
    shades,
    size,
    tell_missing,
)
from operando.plots.cycles import numbered
from operando.plots.evaluated import EvaluatedRun
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFLECTIONS = ("002", "100", "101")
_POWDER_PCT = 100 / 3


def texture(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the relative texture coefficients of each pattern against time.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Texture"
    colours = dict(zip(_REFLECTIONS, shades(3), strict=True))
    lines = {name: _by_file(one, f"rtc_{name}_pct", "rtc_t_s") for name in _REFLECTIONS}
    if not any(len(at) for at, _ in lines.values()):
        return tell_missing(axes, title, one.why_not("rtc_002_pct", "rtc_t_s"))
    axes.axhline(_POWDER_PCT, color="#999999", ls=":", lw=size("axes.linewidth"))
    for name, (at, value) in lines.items():
        _points(axes, at, value, colours[name], f"({name})", "o-")
    dress(axes, title, _time(one), "Texture coefficient (%)")
    _head_room(axes)
    axes.legend(loc="upper center", ncols=3)
    return None


def roughness(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the roughness of each height map against time; returns as `texture`."""
    title = "Roughness of height maps"
    sq, sa = (_by_file(one, f"afm_{name}_nm", "afm_t_s") for name in ("sq", "sa"))
    if not len(sq[0]):
        return tell_missing(axes, title, one.why_not("afm_sq_nm", "afm_t_s"))
    _points(axes, *sq, PLATING, "Sq", "o-")
    _points(axes, *sa, STRIPPING, "Sa", "s-")
    dress(axes, title, _time(one), "Height (nm)")
    axes.set_ylim(bottom=0)
    _head_room(axes)
    axes.legend(loc="upper left", ncols=2)
    return None


def echoes(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw shift and amplitude of the ultrasonic echo against time; returns as `texture`."""
    title = "Ultrasonic echo"
    at, shift = _by_file(one, "ultrasound_tof_shift_ns", "ultrasound_t_s")
    if not len(at):
        return tell_missing(axes, title, one.why_not("ultrasound_tof_shift_ns", "ultrasound_t_s"))
    _points(axes, at, shift, PLATING, "shift", "o-")
    dress(axes, title, _time(one), "Time-of-flight shift (ns)")
    axes.yaxis.label.set_color(PLATING)
    beside = axes.twinx()
    _points(
        beside, *_by_file(one, "ultrasound_amplitude_pct", "ultrasound_t_s"), STRIPPING, "", "s-"
    )
    dress(beside, "", "", "Amplitude (%)")
    beside.yaxis.label.set_color(STRIPPING)
    beside.set_ylim(0, 1.1 * max(beside.get_ylim()[1], 0.0))
    return None


def infrared(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw by how much absorbance has grown where it has most; returns as `texture`."""
    title = "Infrared: growth of absorbance"
    at, value = _by_file(one, "infrared_growth", "infrared_t_s")
    if not len(at):
        return tell_missing(axes, title, one.why_not("infrared_growth", "infrared_t_s"))
    _points(axes, at, value, INK, "", "o-")
    dress(axes, title, _time(one), "Growth of absorbance")
    axes.set_ylim(bottom=0)
    where = numbered(one.numbers["infrared_growth_cm1"])[1]
    axes.text(
        0.03, 0.97, f"last at {where[-1]:.0f} cm$^{{-1}}$", transform=axes.transAxes, va="top"
    )
    return None


def ions(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the ion current of hydrogen against time; returns as `texture`."""
    title = "Ion current of m/z 2"
    key = "_ion_current_mz2_a"
    found = [
        (stream, name.removesuffix(key))
        for stream in one.run.streams.values()
        for name in stream.columns
        if name.endswith(key)
    ]
    if not found:
        return tell_missing(axes, title, one.why_not("dems_hydrogen_charge_nc"))
    stream, device = found[0]
    nowhere = np.full(len(stream), np.nan)
    before = stream.columns.get(f"{device}_t_before", nowhere)
    after = stream.columns.get(f"{device}_t_after", nowhere)
    at = 0.5 * (before + after) / one.time_unit[0]
    shown = np.isfinite(at)
    if not shown.any():
        return tell_missing(axes, title, "no row lies between rows of the potentiostat")
    order = np.argsort(at[shown], kind="stable")
    current = stream.columns[device + key][shown][order] * 1e12
    axes.plot(at[shown][order], current, ".", color=INK, ms=size("lines.markersize", 0.5))
    dress(axes, title, _time(one), "Ion current (pA)")
    axes.set_ylim(bottom=0)
    return None


def _time(one: EvaluatedRun) -> str:
    return f"Time ({one.time_unit[1]})"


def _by_file(one: EvaluatedRun, name: str, time: str) -> tuple[Floats, Floats]:
    """Return time (in the run's unit) and value of each file that has both."""
    told = {key: _values(one.numbers, key) for key in (name, time)}
    both = [
        (at, value)
        for at, value in zip(told[time], told[name], strict=False)
        if at is not None and value is not None
    ]
    at, value = (np.array([pair[place] for pair in both], dtype=float) for place in (0, 1))
    return at / one.time_unit[0], value


def _values(numbers: Mapping[str, object], name: str) -> list[float | None]:
    value = getattr(numbers.get(name), "value", None)
    return value if isinstance(value, list) else []


def _points(axes: "Axes", at: Floats, value: Floats, colour: object, label: str, form: str) -> None:
    markersize = size("lines.markersize", marker_size(len(at)))
    axes.plot(at, value, form, color=colour, ms=markersize, label=label or None)


def _head_room(axes: "Axes") -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))
