"""NeXus: one HDF5 file with every stream, the frames and spectra, cell, instruments, metrics.

There is no application definition for an electrochemical cell watched by other instruments, and
none is claimed: the file follows the base classes.
"""

import errno
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import operando
from operando.analysis import METRICS, Metric, metrics
from operando.export._output import KEPT_FREE_BYTES, ExportError, staging
from operando.export._told import (
    amended,
    axis_of,
    blocks,
    cell_of,
    chain,
    ended,
    iso,
    jsonable,
    now,
    sample_name,
    started_s,
    status,
    title,
)
from operando.journal import open_asset
from operando.report import report_json
from operando.runs import Asset, Run, Stream
from techniques import Cell, Electrode

if TYPE_CHECKING:
    import h5py

ENDINGS = (".nxs", ".h5", ".hdf5")
# What is drawn when the file is opened: the first that the stream has.
SIGNALS = ("_potential", "_z_imag", "_injection", "_frame_index")
AXES = ("_t", "_t_before", "_frequency")
# gzip is slower and larger than what our own files use, but every viewer reads it.
COMPRESSION: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
BLOCK_BYTES = 16_000_000


def export_nexus(
    run: Run,
    output: Path | str,
    *,
    link: bool = False,
    users: Sequence[tuple[str, str | None]] = (),
    force: bool = False,
    numbers: Mapping[str, Metric] | None = None,
) -> list[Path]:
    """Write a run as one NeXus file.

    Each stream is an NXdata of the entry; opening the file draws the potential over time. Frames
    and spectra are copied, compressed with gzip.

    Args:
        run: The run, or chain of runs, finished or not.
        output: The file, ``.nxs``.
        link: Point at the files that hold frames and spectra instead of copying them; the file is
            then small, and bound to their place.
        users: Names and ORCID identifiers of who measured.
        force: Replace the file if it exists.
        numbers: The run's metrics if they are known already.

    Raises:
        ExportError: the file exists, its name does not end in .nxs, .h5 or .hdf5, or it cannot be
            written.
    """
    output = Path(output).expanduser().absolute()
    if output.suffix not in ENDINGS:
        raise ExportError(f"{output}: a NeXus file ends in {', '.join(ENDINGS)}")
    numbers = metrics(run) if numbers is None else numbers
    with staging(output.parent, force=force) as stage:
        path = stage.path(output.name)
        try:
            _write(path, run, numbers, link=link, users=users)
        except RuntimeError as error:  # what h5py makes of some failed writes
            raise OSError(errno.EIO, str(error), str(path)) from error
    return [output]


def _write(
    path: Path,
    run: Run,
    numbers: Mapping[str, Metric],
    *,
    link: bool,
    users: Sequence[tuple[str, str | None]],
) -> None:
    import h5py

    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file.attrs.update(
            {
                "NX_class": "NXroot",
                "file_name": path.name,
                "file_time": now(),
                "creator": "operando",
                "creator_version": operando.__version__,
                "HDF5_Version": h5py.version.hdf5_version,
                "h5py_version": h5py.version.version,
                "default": "entry",
            }
        )
        entry = _group(file, "entry", "NXentry")
        _describe(entry, run, users)
        _sample(entry, run)
        detectors = _instruments(entry, run)
        for stream in run.streams.values():
            _stream(entry, stream, detectors, link=link)
        _metrics(entry, run, numbers)
        drawn = [name for name in run.streams if "signal" in entry[_name(name)].attrs]
        if drawn:
            first = "potentiostat" if "potentiostat" in drawn else drawn[0]
            entry.attrs["default"] = _name(first)


def _describe(entry: "h5py.Group", run: Run, users: Sequence[tuple[str, str | None]]) -> None:
    entry["title"] = title(run)
    entry["entry_identifier_uuid"] = run.uid
    entry["experiment_identifier"] = chain(run)[0]
    described = (
        "Plating and stripping of a metal electrode. Signs are IUPAC: positive current oxidises "
        "the working electrode; potentials are E_WE - E_CE, or against the reference electrode."
    )
    if not run.complete:
        described += " INCOMPLETE: the run had no end when this file was written."
    described += "".join(f" INCOMPLETE: {sentence}." for sentence in run.damage)
    entry["experiment_description"] = described
    entry["start_time"] = iso(started_s(run))
    end = ended(run)
    if end is not None and run.stop is not None:
        entry["end_time"] = end
        duration = entry.create_dataset("duration", data=int(run.stop["time"] - started_s(run)))
        duration.attrs["units"] = "s"
    entry["program_name"] = "operando"
    version = run.start.get("operando_version")
    if version:
        entry["program_name"].attrs["version"] = str(version)
    for number, (name, orcid) in enumerate(users, 1):
        user = _group(entry, f"user_{number}", "NXuser")
        user["name"] = name
        if orcid:
            user["ORCID"] = orcid
    documents = _group(entry, "documents", "NXcollection")
    documents["status"] = status(run)
    documents["chain"] = chain(run)
    for name, doc in (("start", run.start), ("stop", run.stop)):
        if doc is not None:
            _note(documents, name, f"the run's {name} document", dict(doc))
    for number, doc in enumerate(run.attachments, 1):
        told = "the start document of late results"
        _note(documents, f"attachment_{number}", told, dict(doc))
    asked = run.asked
    technique = asked[0].technique
    if technique:
        until = "" if len(asked) == 1 else ", until it was changed: see amendments"
        told = f"what the potentiostat was asked to do{until}"
        _note(documents, "technique", told, technique)
    if len(asked) > 1:
        told = "what the potentiostat was asked to do in which half-cycles, from the first on"
        _note(documents, "amendments", told, amended(run)["amendments"])


def _note(parent: "h5py.Group", name: str, description: str, value: object) -> None:
    note = _group(parent, name, "NXnote")
    note["type"] = "application/json"
    note["description"] = description
    note["data"] = json.dumps(jsonable(value), allow_nan=False, ensure_ascii=False)


def _sample(entry: "h5py.Group", run: Run) -> None:
    cell = cell_of(run)
    sample = _group(entry, "sample", "NXsample")
    sample["name"] = sample_name(run) or "unknown"
    if cell is None:
        sample["description"] = "the start document describes no cell"
        return
    sample["description"] = _cell_sentence(cell)
    sample["type"] = "sample"
    if cell.assembled_at is not None:
        sample["preparation_date"] = cell.assembled_at.isoformat()
    if cell.pressure_kpa is not None:
        _number(sample, "pressure", cell.pressure_kpa, "kPa")
    _electrode(sample, "working_electrode", cell.working_electrode)
    _electrode(sample, "counter_electrode", cell.counter_electrode)
    electrolyte = _group(sample, "electrolyte", "NXsample_component")
    electrolyte["name"] = "electrolyte"
    electrolyte["description"] = cell.electrolyte.composition
    everything = _group(entry["documents"], "cell", "NXcollection")
    _number(everything, "metal_electrode_area", cell.area_cm2, "cm2")
    everything["metal_electrode"] = cell.metal_electrode
    _note(everything, "log_book", "the cell as its log book describes it", cell.model_dump())


def _cell_sentence(cell: Cell) -> str:
    electrode = "working" if cell.metal_electrode == "WE" else "counter"
    return (
        f"{cell.working_electrode.material} || {cell.counter_electrode.material} in "
        f"{cell.electrolyte.composition}; {cell.metal} is plated on the {electrode} electrode, "
        f"{cell.area_cm2:g} cm2"
    )


def _electrode(sample: "h5py.Group", name: str, electrode: Electrode) -> None:
    component = _group(sample, name, "NXsample_component")
    component["name"] = name.replace("_", " ")
    parts = [electrode.material, f"{electrode.area_cm2:g} cm2"]
    if electrode.thickness_um is not None:
        parts.append(f"{electrode.thickness_um:g} um")
    if electrode.coating:
        parts.append(electrode.coating)
    component["description"] = ", ".join(parts)
    if electrode.metal:
        component["chemical_formula"] = electrode.metal
    if electrode.mass_mg is not None:
        _number(component, "mass", electrode.mass_mg, "mg")


def _instruments(entry: "h5py.Group", run: Run) -> dict[str, "h5py.Group"]:
    """Write who measured; return a detector for each stream that has files."""
    bench = run.start.get("bench") or {}
    instrument = _group(entry, "instrument", "NXinstrument")
    instrument["name"] = str(bench.get("name") or "bench")
    detectors = {
        name: _group(instrument, _name(name), "NXdetector")
        for name, stream in run.streams.items()
        if any(len(asset) for asset in stream.assets.values())
    }
    for name, told in (bench.get("instruments") or {}).items():
        identity = {key: str(one) for key, one in (told.get("identity") or {}).items()}
        place = detectors.get(name)
        if place is None:
            if _name(name) in instrument:
                continue
            place = _group(instrument, _name(name), "NXsensor")
            place["name"] = str(name)
            if "model" in identity:
                place["model"] = identity["model"]
        else:
            place["local_name"] = str(name)
        maker = _group(place, "fabrication", "NXfabrication")
        for key in ("model", "serial_number"):
            if key in identity:
                maker[key] = identity[key]
        _note(place, "identity", "what the instrument answered", told)
    return detectors


# -- streams


def _stream(
    entry: "h5py.Group", stream: Stream, detectors: Mapping[str, "h5py.Group"], *, link: bool
) -> None:
    """Write one stream: its columns, its frames or spectra, and what is to be drawn of it."""
    # Of a stream without rows (rules that had nothing to do) there is nothing to draw.
    data = _group(entry, _name(stream.name), "NXdata" if len(stream) else "NXcollection")
    data.attrs["title"] = stream.name
    names: dict[str, str] = {}
    for key, values in [("time", stream.time), *stream.columns.items()]:
        names[key] = _unique(data, _name(key))
        unit = "s" if key == "time" else stream.units.get(key, "")
        _column(data, names[key], values, unit)
        data[names[key]].attrs["long_name"] = f"{key} ({unit})" if unit else key
    data[names["time"]].attrs["start"] = "1970-01-01T00:00:00Z"
    data[names["time"]].attrs["long_name"] = "computer's clock (s since 1970-01-01 UTC)"
    inner = {}
    first = _result(stream)
    for key, asset in stream.assets.items():
        parts = asset.alike()
        if len(parts) == 1:
            place = detectors[stream.name] if key == first else None
            name, axes = _frames(data, place, stream, key, asset, link=link)
            inner[name] = axes
            names[key] = name
            continue
        # One dataset cannot hold rows of several shapes.
        for row, part in parts:
            last = row + len(part) - 1
            of_rows = f"{key}_row_{row}" if last == row else f"{key}_rows_{row}_to_{last}"
            _frames(data, None, stream, key, part, link=link, called=of_rows)
    if stream.configuration:
        _note(data, "configuration", "of the stream's devices", stream.configuration)
    if len(stream):
        drawn = names.get(first or "")
        _draw(data, stream, names, (drawn, inner[drawn]) if drawn else None)


def _result(stream: Stream) -> str | None:
    """Return the frames or spectra that are drawn: results rather than what they were made from."""
    whole = [key for key, asset in stream.assets.items() if len(asset) == len(stream)]
    present = whole or [key for key, asset in stream.assets.items() if len(asset)]
    endings = ("_spectrum", "_image", "_trace")
    return min(present, key=lambda key: (not key.endswith(endings), key), default=None)


def _draw(
    data: "h5py.Group",
    stream: Stream,
    names: Mapping[str, str],
    frames: tuple[str, list[str]] | None,
) -> None:
    """Say what a viewer draws: frames or spectra if there are any, else one column over time."""
    axis = names["time"]
    for ending in AXES:
        found = [key for key in stream.columns if key.endswith(ending)]
        # Viewers cannot place what has no position.
        if found and np.all(np.isfinite(np.asarray(stream.columns[found[0]], dtype=float))):
            axis = names[found[0]]
            break
    if frames is not None:
        signal, inner = frames
        rows = data[signal].shape[0]
        if rows != len(stream):  # some of them are missing
            axis = "."
        data.attrs["signal"] = signal
        data.attrs["axes"] = [axis, *inner]
        for place, name in enumerate(inner, 1):
            if name != ".":
                data.attrs[f"{name}_indices"] = place
    else:
        plottable = [
            names[key]
            for key, values in stream.columns.items()
            if values.ndim == 1 and values.dtype != object and names[key] != axis
        ]
        if not plottable:
            return
        wanted = [name for ending in SIGNALS for name in plottable if name.endswith(ending)]
        data.attrs["signal"] = signal = (wanted or plottable)[0]
        data.attrs["axes"] = [axis]
        others = [name for name in plottable if name.endswith("_current") and name != signal]
        if others:
            data.attrs["auxiliary_signals"] = others
    if axis != ".":
        data.attrs[f"{axis}_indices"] = 0


def _column(parent: "h5py.Group", name: str, values: NDArray[Any], unit: str) -> None:
    import h5py

    if values.dtype == object:
        kind: Any = h5py.string_dtype()
    else:
        kind = values.dtype
    options = dict(COMPRESSION) if len(values) and values.dtype != object else {}
    if options:
        row = max(int(np.prod(values.shape[1:])), 1) * 8
        options["chunks"] = (min(len(values), max(BLOCK_BYTES // 64 // row, 1)), *values.shape[1:])
    dataset = parent.create_dataset(name, values.shape, kind, **options)
    for part in blocks(len(values)):
        block = values[part]
        _check_room(parent, block.nbytes)
        dataset[part] = (
            block if values.dtype != object else [_text(one) for one in block.reshape(-1)]
        )
    if unit:
        dataset.attrs["units"] = unit


def _frames(
    data: "h5py.Group",
    detector: "h5py.Group | None",
    stream: Stream,
    key: str,
    asset: Asset,
    *,
    link: bool,
    called: str = "",
) -> tuple[str, list[str]]:
    """Write rows of one shape from files; return their name in ``data`` and the axes of one row.

    They lie in the detector, as its data, if there is one, and are linked from ``data``.
    """
    shape, dtype = (len(asset), *asset[0].shape), asset[0].dtype
    name = _unique(data, _name(called or key))
    axes = _inner_axes(data, stream, shape[1:])
    if link and _is_one_file(asset):
        # Attributes would be written into the file that is pointed at.
        part = asset.parts[0]
        for group, place in ((data, name), *([] if detector is None else [(detector, "data")])):
            _point_at(group, place, part.path, part.dataset)
        return name, axes
    group, place = (data, name) if detector is None else (detector, "data")
    if link:
        dataset = _linked(group, place, asset, shape, dtype)
    else:
        dataset = group.create_dataset(place, shape, dtype, chunks=(1, *shape[1:]), **COMPRESSION)
        for row, values in enumerate(asset.rows()):
            if row == shape[0]:
                break  # it grew while it was copied
            _check_room(group, values.nbytes)
            dataset[row] = values
    unit = stream.units.get(key, "")
    dataset.attrs["units"] = unit
    dataset.attrs["long_name"] = f"{key} ({unit})" if unit else key
    if detector is not None:
        dataset.attrs["target"] = dataset.name
        data[name] = dataset
        scale = stream.configuration.get(f"{stream.name}_micrometre_per_pixel")
        if len(shape) == 3 and isinstance(scale, float) and np.isfinite(scale):
            for side in "xy":
                _number(detector, f"{side}_pixel_size", scale, "um")
    return name, axes


def _inner_axes(data: "h5py.Group", stream: Stream, shape: tuple[int, ...]) -> list[str]:
    """Write where the points of a row lie, as far as that is known; return their names or dots."""
    axes = ["."] * len(shape)
    known = axis_of(stream, shape[-1]) if shape else None
    scale = stream.configuration.get(f"{stream.name}_micrometre_per_pixel")
    found: list[tuple[int, str, NDArray[Any], str]] = []
    if known is not None:
        found.append((len(shape) - 1, _name(known.name), known.values, known.unit))
    elif len(shape) == 2 and isinstance(scale, float) and np.isfinite(scale):
        for place, side in enumerate("yx"):
            found.append((place, side, np.arange(shape[place]) * scale, "um"))
    for place, name, values, unit in found:
        axes[place] = name
        if name not in data:
            _column(data, name, values, unit)
            data[name].attrs["long_name"] = f"{name} ({unit})" if unit else name
    return axes


def _is_one_file(asset: Asset) -> bool:
    if len(asset.parts) != 1 or asset.parts[0].start:
        return False
    try:
        with open_asset(asset.parts[0].path) as file:
            return bool(file[asset.parts[0].dataset].shape[0] == len(asset))
    except (OSError, ValueError):
        return False


def _point_at(group: "h5py.Group", name: str, path: Path, dataset: str) -> None:
    import h5py

    group[name] = h5py.ExternalLink(str(path), dataset)


def _linked(
    group: "h5py.Group", name: str, asset: Asset, shape: tuple[int, ...], dtype: Any
) -> "h5py.Dataset":
    import h5py

    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    row = 0
    for part in asset.parts:
        count = min(part.stop - part.start, shape[0] - row)
        if count <= 0:
            break
        source = h5py.VirtualSource(
            str(part.path), part.dataset, shape=(part.stop, *shape[1:]), dtype=dtype
        )
        layout[row : row + count] = source[part.start : part.start + count]
        row += count
    return group.create_virtual_dataset(name, layout)


# -- metrics


def _metrics(entry: "h5py.Group", run: Run, numbers: Mapping[str, Metric]) -> None:
    process = _group(entry, "metrics", "NXprocess")
    process["program"] = "operando"
    process["version"] = operando.__version__
    process["date"] = now()
    _note(process, "report", "every metric, as operando report --json", report_json(run, numbers))
    values = _group(process, "values", "NXparameters")
    for name, metric in numbers.items():
        if metric.value is None:
            continue
        for ending, value in (("", metric.value), ("_uncertainty", metric.uncertainty)):
            if value is None:
                continue
            array = np.asarray(value, dtype=float)  # None becomes NaN
            dataset = values.create_dataset(name + ending, data=array)
            dataset.attrs["units"] = "" if metric.unit == "1" else metric.unit
            dataset.attrs["long_name"] = METRICS[name].meaning
            dataset.attrs["source"] = METRICS[name].source
            if metric.reason:
                dataset.attrs["note"] = metric.reason


# -- HDF5


def _group(parent: "h5py.Group", name: str, kind: str) -> "h5py.Group":
    group = parent.create_group(name, track_order=True)
    group.attrs["NX_class"] = kind
    return group


def _number(parent: "h5py.Group", name: str, value: float, unit: str) -> None:
    parent.create_dataset(name, data=float(value)).attrs["units"] = unit


def _name(text: str) -> str:
    """Return ``text`` as a name NeXus allows."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", text) or "_"
    return plain if not plain[0].isdigit() else f"_{plain}"


def _unique(group: "h5py.Group", name: str) -> str:
    unique, count = name, 1
    while unique in group:
        count += 1
        unique = f"{name}_{count}"
    return unique


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _check_room(group: "h5py.Group", size: int) -> None:
    """Raise OSError before the disk is full: HDF5 would end the whole process."""
    path = Path(group.file.filename)
    if shutil.disk_usage(path.parent).free - size < KEPT_FREE_BYTES:
        raise OSError(
            errno.ENOSPC,
            f"the disk is full but for {KEPT_FREE_BYTES / 1e6:.0f} MB",
            str(path),
        )
