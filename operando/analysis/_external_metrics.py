"""Metrics of what instruments wrote that only write files."""

import numpy as np

from operando.analysis._evaluation import Evaluation, Metric, listed, metric, undefined
from operando.analysis.texture import ZINC, reflection_areas, relative_texture
from operando.registry._external import EXTERNAL
from operando.runs import Floats, Stream

_ANGLE, _INTENSITY = "_two_theta_deg", "_intensity"
_HYDROGEN = "_ion_current_mz2_a"
_CHARGE = "dems_hydrogen_charge_nc"
_TEXTURES = tuple(one.name for one in EXTERNAL if one.name != _CHARGE)


def external_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the texture of each diffraction pattern, and the ions of hydrogen."""
    return _textures(found) | {_CHARGE: _hydrogen(found)}


def _textures(found: Evaluation) -> dict[str, Metric]:
    values: dict[str, list[float | None]] = {name: [] for name in _TEXTURES}
    reasons: list[str | None] = []
    for stream, device in _with(found, _INTENSITY, files=True):
        angles, intensities = (stream.assets.get(device + key) for key in (_ANGLE, _INTENSITY))
        if angles is None or intensities is None:
            continue
        for angle, intensity in zip(angles.rows(), intensities.rows(), strict=False):
            told = _texture(np.asarray(angle, float), np.asarray(intensity, float))
            reasons.append(told if isinstance(told, str) else None)
            for name in ZINC:
                share = None if isinstance(told, str) else 100 * told[name]
                values[f"rtc_{name}_pct"].append(share)
    if not reasons:
        return undefined(_TEXTURES, "no diffraction pattern")
    return {name: listed(name, shares, reasons=reasons) for name, shares in values.items()}


def _texture(angle: Floats, intensity: Floats) -> dict[str, float] | str:
    areas: dict[str, float] = {}
    for name, area in reflection_areas(angle, intensity).items():
        if isinstance(area, str):
            return area
        areas[name] = area
    try:
        return relative_texture(areas)
    except ValueError as error:
        return str(error)


def _hydrogen(found: Evaluation) -> Metric:
    streams = _with(found, _HYDROGEN)
    if not streams:
        return metric(_CHARGE, None, reason="no ion current of m/z 2")
    stream, device = streams[0]
    order = np.argsort(stream.time, kind="stable")
    time, current = stream.time[order], stream.columns[device + _HYDROGEN][order]
    placed = stream.columns.get(f"{device}_t_before", np.full(len(time), np.nan))[order]
    # What lies before every row of the leader, or before the first half-cycle, is background.
    began = np.isfinite(placed) & (placed >= found.begin_s)
    first = int(np.argmax(began)) if began.any() else len(time)
    background = current[:first][np.isfinite(current[:first])]
    if not len(background):
        return metric(_CHARGE, None, reason="no rows before the first half-cycle: no background")
    inside = began & np.isfinite(current)
    if inside.sum() < 2:
        return metric(_CHARGE, None, reason="fewer than two rows while the cell was cycled")
    above = current[inside] - float(np.median(background))
    charge_c = float(np.trapezoid(above, time[inside]))
    error = float(np.std(background)) / np.sqrt(len(background)) * float(np.ptp(time[inside]))
    return metric(_CHARGE, 1e9 * charge_c, 1e9 * error, "of the background's scatter alone")


def _with(found: Evaluation, key: str, *, files: bool = False) -> list[tuple[Stream, str]]:
    """Return the streams that have a key of this ending, each with its device's name."""
    streams = []
    for stream in found.run.streams.values():
        for name in stream.assets if files else stream.columns:
            if name.endswith(key):
                streams.append((stream, name.removesuffix(key)))
    return streams
