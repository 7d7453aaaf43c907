"""Our own records and files: journals, bench, cell and protocol files, histories, assets, notes."""

import functools
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from event_model import compose_run

from benchmarks.fuzz.files import written
from benchmarks.fuzz.target import Frame, Target
from instruments._swmr import SwmrFile
from operando import history as our_history
from operando.configuration import (
    ConfigurationError,
    load_bench,
    load_cell,
    load_protocol,
)
from operando.journal import JournalError, JournalReader, documents, inspect, read_columns
from operando.journal._format import HEADER, RECORD, encode
from operando.runs._assets import Asset, AssetPart
from operando.runs._assets import read_columns as read_asset_columns
from sim_devices.history import FORMAT, VERSION, History, HistoryError

_CONFIG = Path(__file__).parents[2] / "config"


# -- journals


@functools.cache
def _journal() -> bytes:
    """Return a journal of a short run."""
    run = compose_run(metadata={"operator": "fuzz", "area_cm2": 1.0})
    keys = {
        name: {"source": "here", "dtype": "number", "shape": []} for name in ("potential", "cycle")
    }
    stream = run.compose_descriptor(name="potentiostat", data_keys=keys)
    told: list[tuple[str, Any]] = [
        ("start", run.start_doc),
        ("descriptor", stream.descriptor_doc),
    ]
    for page in range(3):
        told.append(
            (
                "event_page",
                stream.compose_event_page(
                    data={
                        "potential": [0.1 * page, 0.2, 0.3],
                        "cycle": [page, page, page],
                    },
                    timestamps={name: [1.0, 2.0, 3.0] for name in ("potential", "cycle")},
                    seq_num=[3 * page + 1, 3 * page + 2, 3 * page + 3],
                    time=[1.0, 2.0, 3.0],
                    validate=False,
                ),
            )
        )
    told.append(("stop", run.compose_stop()))
    return HEADER + b"".join(encode(name, dict(doc)) for name, doc in told)


def _journal_sealed(data: bytes) -> bytes:
    """Return a journal whose records have right checksums, as far as their lengths lead."""
    found, at = bytearray(data[: len(HEADER)]), len(HEADER)
    while at + RECORD.size < len(data):
        (length, _) = RECORD.unpack_from(data, at)
        payload = data[at + RECORD.size :][: length if length <= len(data) else len(data)]
        found += RECORD.pack(len(payload), zlib.crc32(payload)) + payload
        at += RECORD.size + max(len(payload), 1)
    return bytes(found)


def _read_journal(frame: Frame) -> Any:
    path = written("frame.opj", frame.data)
    reader = JournalReader(path)
    found = list(reader)
    assert repr(list(documents(path))) == repr(found), "two readers tell two things"
    inspect(path)
    try:
        columns = read_columns(path, "potentiostat", ["potential", "cycle"])
    except LookupError:
        columns = {}
    return found, reader.tail, columns


@functools.cache
def _payloads() -> frozenset[bytes]:
    data, at, found = _journal(), len(HEADER), set()
    while at < len(data):
        (length, _) = RECORD.unpack_from(data, at)
        found.add(data[at + RECORD.size : at + RECORD.size + length])
        at += RECORD.size + length
    return frozenset(found)


def _journal_wrong(frame: Frame, value: Any) -> str:
    found, tail, columns = value
    whole = 0
    for at in range(len(HEADER), len(frame.data) - RECORD.size):
        (length, checksum) = RECORD.unpack_from(frame.data, at)
        payload = frame.data[at + RECORD.size : at + RECORD.size + length]
        if length and len(payload) == length and zlib.crc32(payload) == checksum:
            whole += 1
    if len(found) > whole:
        return f"{len(found)} documents of {whole} whole records"
    if not all(isinstance(name, str) and isinstance(doc, dict) for name, doc in found):
        return "a document that is none"
    if tail.clean and frame.data[: len(HEADER)] == HEADER:
        at = len(HEADER)
        while at < len(frame.data):
            at += RECORD.size + RECORD.unpack_from(frame.data, at)[0]
        if at != len(frame.data):
            return "called clean"
    lengths = {len(column) for column in columns.values()}
    return "" if len(lengths) <= 1 else f"columns of {lengths}"


# -- bench, cell and protocol files


def _yaml(name: str, load: Any) -> Any:
    return lambda frame: load(written(f"{name}.yaml", frame.data))


def _yaml_wrong(frame: Frame, value: Any) -> str:
    """Nothing of a file may be an infinity or no number where limits are."""

    def beyond(told: Any) -> bool:
        if isinstance(told, dict):
            return any(map(beyond, told.values()))
        if isinstance(told, list | tuple):
            return any(map(beyond, told))
        return isinstance(told, float) and not np.isfinite(told)

    told = value.model_dump()
    return f"{told!r:.200}" if beyond(told) else ""


def _texts(folder: str, *names: str) -> tuple[Frame, ...]:
    return tuple(Frame("", (_CONFIG / folder / f"{name}.yaml").read_bytes()) for name in names)


_SMALL_BENCH = b"""name: small
instruments:
  potentiostat:
    kind: potentiostat
    language: methodscript
    address: serial:///dev/ttyACM0
  thermostat:
    kind: thermostat
    language: julabo
    address: serial:///dev/ttyUSB1
    temperature_max_k: 353.15
  raman:
    kind: raman
    language: wasatch
    address: usb://24aa:1000
    integration_time_s: 0.1
    laser_power_w: 0.01
limits:
  current_max_a: 0.05
  potential_max_v: 2.0
"""


# -- histories and assets in HDF5


def _hdf5(name: str, write: Any) -> bytes:
    path = written(name, b"")
    path.unlink()
    write(path)
    data = path.read_bytes()
    path.unlink()
    return data


def _write_history(path: Path) -> None:
    t = np.arange(12.0)
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, area_cm2=1.0, metal_electrode="WE")
        rows = file.create_group("rows")
        rows["t_s"], rows["potential_v"] = t, np.where(t < 6, -0.1, 0.1)
        rows["current_a"] = np.where(t < 6, -1e-3, 1e-3)
        impedance = file.create_group("impedance")
        for key in ("t_s", "spectrum"):
            impedance[key] = np.ones(3)
        for key in ("frequency_hz", "z_real_ohm", "z_imag_ohm"):
            impedance[key] = np.array([1.0, 10.0, 100.0])


def _read_history(frame: Frame) -> Any:
    path = written("history.h5", frame.data)
    held = our_history.held_in(path)
    one = History(path)
    try:
        return held, one.area_cm2, one.segments, one.spectra
    finally:
        one.close()


def _history_wrong(frame: Frame, value: Any) -> str:
    _, area, segments, spectra = value
    numbers = [area, *(x for one in segments for x in (one.began_s, one.ended_s))]
    arrays = [a for one in segments for a in (one.t_s, one.passed, one.potential_v)]
    arrays += [one.ohm for one in spectra]
    if not (np.isfinite(numbers).all() and area > 0 and segments):
        return f"{numbers}"
    return "" if all(np.isfinite(a).all() for a in arrays) else "a value is not finite"


def _write_asset(path: Path) -> None:
    file = SwmrFile(path, {"frames": ((4, 6), "<u2"), "t": ((), "<f8")})
    for row in range(5):
        file.append({"frames": np.full((4, 6), row), "t": float(row)})
    file.close()


def _read_asset(frame: Frame) -> Any:
    path = written("asset.h5", frame.data)
    frames = Asset("frames", [AssetPart(path, "frames", 0, 5)])
    rows = list(frames.rows())
    columns = read_asset_columns({"t": [AssetPart(path, "t", 0, 5)]})
    return rows, columns["t"]


def _asset_wrong(frame: Frame, value: Any) -> str:
    rows, t = value
    return "" if len(rows) <= 5 and len(t) <= 5 else f"{len(rows)} frames, {len(t)} times of 5"


# -- notes


def _note(frame: Frame) -> Any:
    path = written(frame.of, frame.data)
    address = f"published:{path.parent / 'potentiostat'}"
    read = our_history.replayed_cell if frame.of == "replay.json" else our_history.simulated_cell
    return read(address)


def _note_wrong(frame: Frame, value: Any) -> str:
    return "" if isinstance(value, dict) else f"{value!r}"


def targets() -> list[Target]:
    """Return a target per kind of file."""
    configuration = (ConfigurationError,)
    return [
        Target("journal", "journals", (Frame("", _journal()),), _read_journal, _journal_wrong,
               (JournalError,), _journal_sealed),
        Target("bench", "bench files", (Frame("", _SMALL_BENCH),), _yaml("bench", load_bench),
               _yaml_wrong, configuration),
        Target("cell", "cell files", _texts("cells", "zn-bare-half", "na-znag-symmetric"),
               _yaml("cell", load_cell), _yaml_wrong, configuration),
        Target("protocol", "protocol files", _texts("protocols", "zinc-wetting", "dummy-cell"),
               _yaml("protocol", load_protocol), _yaml_wrong, configuration),
        Target("history", "cell histories (HDF5)",
               (Frame("", _hdf5("made.h5", _write_history)),), _read_history, _history_wrong,
               (HistoryError, our_history.HistoryError)),
        Target("asset", "frames and columns (HDF5)", (Frame("", _hdf5("made.h5", _write_asset)),),
               _read_asset, _asset_wrong, (OSError,)),
        Target("notes", "notes of a simulator",
               (Frame("replay.json", b'{"of": "a run", "uid": "1234-abcd"}'),
                Frame("simulated.json", b'{"cell": "zn-bare-half", "seed": 7}')),
               _note, _note_wrong, (our_history.HistoryError,)),
    ]  # fmt: skip
