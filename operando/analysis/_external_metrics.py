"""Metrics of what instruments wrote that only write files."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from operando.analysis._evaluation import Evaluation, Metric, listed, metric, undefined
from operando.analysis.echo import compare
from operando.analysis.substrates import assumed_of, materials_of, texture_on
from operando.analysis.surface import roughness
from operando.analysis.texture import ZINC
from operando.runs import Floats, Stream

_HYDROGEN = "_ion_current_mz2_a"
_CHARGE = "dems_hydrogen_charge_nc"
_RTC = tuple(f"rtc_{name}_pct" for name in ZINC)
_GROWN = 5.0  # times the noise of the difference

# Of copper's K-alpha, angstrom, the mean of its doublet; and how far what is declared may differ.
_CU_KA, _CU_KA_WITHIN = 1.5418, 0.002
# What each row of files tells: name -> value and uncertainty, or why there is none.
_Told = Mapping[str, tuple[float, float | None]] | str


def external_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return what patterns, maps, waveforms and spectra tell, and the ions of hydrogen."""
    return (
        _textures(found)
        | _each(found, _ROUGH, "afm_t_s", ("x_m", "y_m", "height_m"), _roughness)
        | _each(found, _ECHO, "ultrasound_t_s", ("delay_s", "amplitude_v"), _echo)
        | _infrared(found)
        | {_CHARGE: _hydrogen(found)}
    )


_ROUGH = ("afm_sa_nm", "afm_sq_nm")
_ECHO = ("ultrasound_tof_shift_ns", "ultrasound_amplitude_pct")
_INFRARED = ("infrared_growth", "infrared_growth_cm1")
_NOTHING = {
    _RTC: "no diffraction pattern",
    _ROUGH: "no height map",
    _ECHO: "no waveform",
    _INFRARED: "no infrared spectrum",
}


def _each(
    found: Evaluation,
    names: tuple[str, ...],
    time: str,
    keys: tuple[str, ...],
    evaluate: Callable[[Sequence[Floats], Sequence[Floats]], _Told],
    note: str = "",
    also: Mapping[str, Callable[[Floats], Floats]] = MappingProxyType({}),
) -> dict[str, Metric]:
    """Return metrics by file, in the order in which the files of a stream were begun.

    ``evaluate`` gets the arrays of the first file of a stream and those of each; ``note`` is what
    all of them rest on. ``also`` are other names of the last of ``keys``, each with how it is made
    of what has that name.
    """
    taken = {keys[-1]: np.asarray} | dict(also)
    values: dict[str, list[float | None]] = {name: [] for name in names}
    errors: dict[str, list[float | None]] = {name: [] for name in names}
    reasons: list[str | None] = []
    times: list[tuple[float | None, float | None]] = []
    streams = [(key, *one) for key in taken for one in _with(found, f"_{key}", files=True)]
    for last, stream, device in streams:
        there = [stream.assets.get(f"{device}_{key}") for key in (*keys[:-1], last)]
        assets = [asset for asset in there if asset is not None]
        count = min(len(stream), *map(len, assets))
        if len(assets) < len(keys) or not count:
            continue
        order = [int(n) for n in np.argsort(stream.time[:count], kind="stable")]
        first = _arrays([asset[order[0]] for asset in assets], taken[last])
        # One file at a time: maps are large.
        told = [
            evaluate(first, _arrays(rows, taken[last]))
            for rows in zip(*(asset.rows() for asset in assets), strict=False)
        ]
        placed = _placed(stream, device)
        for number in order:
            one = told[number]
            reasons.append(one if isinstance(one, str) else None)
            for name in names:
                value, error = (None, None) if isinstance(one, str) else one[name]
                values[name].append(value)
                errors[name].append(error)
            times.append(placed[number])
    if not reasons:
        return undefined((*names, time), _NOTHING[names])
    if note and not all(reasons):
        reasons.append(note)
    numbers = {
        name: listed(
            name,
            each,
            errors[name] if any(one is not None for one in errors[name]) else None,
            reasons,
        )
        for name, each in values.items()
    }
    when, how_well = ([at[place] for at in times] for place in (0, 1))
    nowhere = "before or after all rows of the potentiostat"
    return numbers | {time: listed(time, when, how_well, otherwise=nowhere)}


def _arrays(rows: Sequence[Any], taken: Callable[[Floats], Floats]) -> list[Floats]:
    arrays = [np.asarray(row, dtype=np.float64) for row in rows]
    return [*arrays[:-1], taken(arrays[-1])]


def _placed(stream: Stream, device: str) -> list[tuple[float | None, float | None]]:
    """Return when each row of a stream was begun by the leader's clock, and how well that is known.

    An even distribution between two rows has a standard deviation of its width over root 12.
    """
    nowhere = np.full(len(stream), np.nan)
    before, after = (
        stream.columns.get(f"{device}_{name}", nowhere) for name in ("t_before", "t_after")
    )
    return [
        (float(low + high) / 2, float(high - low) / 12**0.5)
        if np.isfinite(low) and np.isfinite(high)
        else (None, None)
        for low, high in zip(before, after, strict=True)
    ]


def _textures(found: Evaluation) -> dict[str, Metric]:
    keys = ("two_theta_deg", "intensity")
    declared = {
        float(told)
        for stream, device in _with(found, "_intensity", files=True)
        if (told := stream.configuration.get(f"{device}_wavelength_angstrom")) is not None
    }
    cell = found.cell
    materials = (
        None if cell is None else materials_of(cell.electrode.material, cell.electrode.coating)
    )
    notes = (
        [] if declared else ["the angles are taken as those of Cu K-alpha (wavelength_angstrom)"]
    )
    refused = ""
    if any(abs(one / _CU_KA - 1) > _CU_KA_WITHIN for one in declared):
        refused = f"zinc is looked for with Cu K-alpha, not {max(declared):g} angstrom"
    elif cell is None:
        refused = "the cell is not described: what lies under the deposit diffracts, too"
    elif cell.metal != "Zn":
        refused = f"the deposit is {cell.metal}, and these are reflections of zinc"
    elif materials is None:
        refused = (
            f"where {cell.electrode.material!r}, which the deposit lies on, diffracts is not known"
        )
    elif "zinc" in materials:
        notes.append("of the deposit and the zinc below it together")

    notes += assumed_of(materials or ())

    def texture(first: Sequence[Floats], each: Sequence[Floats]) -> _Told:
        del first
        if refused:
            return refused
        try:
            shares = texture_on(each[0], each[1], materials or ())
        except ValueError as error:
            return str(error)
        return {f"rtc_{name}_pct": (100 * one, 100 * u) for name, (one, u) in shares.items()}

    return _each(found, _RTC, "rtc_t_s", keys, texture, "; ".join(notes))


def _roughness(first: Sequence[Floats], each: Sequence[Floats]) -> _Told:
    del first
    try:
        told = roughness(*(one.ravel() for one in each))
    except ValueError as error:
        return str(error)
    return {"afm_sa_nm": (1e9 * told.sa, None), "afm_sq_nm": (1e9 * told.sq, None)}


def _echo(first: Sequence[Floats], each: Sequence[Floats]) -> _Told:
    if len(first[0]) != len(each[0]) or not np.allclose(first[0], each[0], rtol=1e-6, atol=0):
        return "its delays are not those of the first waveform"
    try:
        told = compare(first[0], first[1], each[1])
    except ValueError as error:
        return str(error)
    return {
        "ultrasound_tof_shift_ns": (1e9 * told.shift_s, None),
        "ultrasound_amplitude_pct": (100 * told.ratio, None),
    }


def _infrared(found: Evaluation) -> dict[str, Metric]:
    def absorbed(transmittance: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return -np.log10(transmittance)

    def grown(first: Sequence[Floats], each: Sequence[Floats]) -> _Told:
        if len(first[0]) != len(each[0]) or not np.allclose(first[0], each[0], rtol=1e-6, atol=0):
            return "its wavenumbers are not those of the first spectrum"
        with np.errstate(invalid="ignore"):
            growth = each[1] - first[1]
        if not np.isfinite(growth).any():
            return "nothing is transmitted"
        steps = np.diff(growth[np.isfinite(growth)])
        noise = 1.4826 * float(np.median(np.abs(steps))) / 2**0.5 if len(steps) else 0.0
        at = int(np.nanargmax(growth))
        if not growth[at] > _GROWN * noise:
            return "nothing has grown since the first spectrum by more than the noise"
        return {
            "infrared_growth": (float(growth[at]), None),
            "infrared_growth_cm1": (float(each[0][at]), None),
        }

    return _each(
        *(found, _INFRARED, "infrared_t_s", ("wavenumber_cm1", "absorbance"), grown),
        also={"transmittance": absorbed},
    )


def _hydrogen(found: Evaluation) -> Metric:
    streams = _with(found, _HYDROGEN)
    if not streams:
        return metric(_CHARGE, None, reason="no ion current of m/z 2")
    stream, device = streams[0]
    order = np.argsort(stream.time, kind="stable")
    time, current = stream.time[order], stream.columns[device + _HYDROGEN][order]
    nowhere = np.full(len(time), np.nan)
    before, after = (
        stream.columns.get(f"{device}_{name}", nowhere)[order] for name in ("t_before", "t_after")
    )
    # What lies before every row of the leader, or before the first half-cycle, is background.
    began = np.isfinite(before) & (before >= found.begin_s)
    first = int(np.argmax(began)) if began.any() else len(time)
    background = current[:first][np.isfinite(current[:first])]
    if not len(background):
        return metric(_CHARGE, None, reason="no rows before the first half-cycle: no background")
    # What lies behind the last row of the leader, or between a run and the one that continues it,
    # has a row of it on one side alone.
    known = np.isfinite(current)
    time, above = time[known], current[known] - float(np.median(background))
    inside = (began & np.isfinite(after))[known]
    if inside.sum() < 2:
        return metric(_CHARGE, None, reason="fewer than two rows while the cell was cycled")
    lasted = np.where(inside[:-1] & inside[1:], np.diff(time), 0.0)
    charge_c = float(np.sum(lasted * (above[:-1] + above[1:]) / 2))
    error = float(np.std(background)) / np.sqrt(len(background)) * float(np.sum(lasted))
    return metric(_CHARGE, 1e9 * charge_c, 1e9 * error, "of the background's scatter alone")


def _with(found: Evaluation, key: str, *, files: bool = False) -> list[tuple[Stream, str]]:
    """Return the streams that have a key of this ending, each with its device's name."""
    streams = []
    for stream in found.run.streams.values():
        for name in stream.assets if files else stream.columns:
            if name.endswith(key):
                streams.append((stream, name.removesuffix(key)))
    return streams
