"""Runs made of arithmetic, as documents: what is in them is known exactly."""

import itertools
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]
ZINC = {"material": "Zn", "area_cm2": 1.131, "metal": "Zn", "thickness_um": 100}
COPPER = {"material": "Cu", "area_cm2": 1.131}
HALF_CELL = {
    "cell_id": "ZN-CU-1",
    "metal": "Zn",
    "working_electrode": COPPER,
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}
SYMMETRIC_CELL = {**HALF_CELL, "cell_id": "ZN-ZN-1", "working_electrode": ZINC}
MIRRORED_CELL = {
    **HALF_CELL,
    "working_electrode": ZINC,
    "counter_electrode": COPPER,
    "metal_electrode": "CE",
}
LEADER = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
UNITS = {"t": "s", "potential": "V", "current": "A"}


@dataclass
class RunDocuments:
    """Composes the documents of one run, in the shapes the plans emit."""

    folder: Path
    sample: Mapping[str, Any]
    calibration: Mapping[str, Any] = field(default_factory=dict)
    technique: Mapping[str, Any] | None = None
    page: int = 50
    uid: str = "7d1f0a52-0000-4000-8000-000000000001"
    documents: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._number = itertools.count()
        start = {
            "uid": self.uid,
            "time": 1.7e9,
            "plan_name": "run_protocol",
            "sample": self.sample,
            "calibration": self.calibration,
            "technique": self.technique,
        }
        self.documents.append(("start", start))
        self._descriptors: list[str] = []

    def _uid(self) -> str:
        return f"uid-{next(self._number):05d}"

    def stream(
        self,
        name: str,
        device: str,
        columns: Mapping[str, Sequence[float] | Array],
        assets: Mapping[str, Array] | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit one whole stream: descriptor, files and their announcements, rows in pages."""
        assets = assets or {}
        descriptor = self._uid()
        data_keys: dict[str, Any] = {
            f"{device}_{key}": {
                "source": "synthetic",
                "dtype": "number",
                "shape": [],
                "units": UNITS.get(key, ""),
            }
            for key in columns
        }
        for key, rows in assets.items():
            data_keys[f"{device}_{key}"] = {
                "source": "synthetic",
                "dtype": "array",
                "shape": list(rows.shape[1:]),
                "external": "STREAM:",
            }
        self._descriptors.append(name)
        self.documents.append(
            (
                "descriptor",
                {
                    "uid": descriptor,
                    "name": name,
                    "run_start": self.documents[0][1]["uid"],
                    "time": 1.7e9,
                    "data_keys": data_keys,
                    "configuration": {device: {"data": dict(configuration or {})}},
                    "object_keys": {device: list(data_keys)},
                },
            )
        )
        length = len(next(iter(columns.values())))
        for key, rows in assets.items():
            self._announce(descriptor, device, key, rows)
        for first in range(0, length, self.page):
            part = slice(first, min(first + self.page, length))
            rows_in_page = range(part.start, part.stop)
            data = {f"{device}_{k}": [float(v) for v in c[part]] for k, c in columns.items()}
            stamps = [1.7e9 + row for row in rows_in_page]
            page = {
                "uid": [self._uid() for _ in rows_in_page],
                "descriptor": descriptor,
                "seq_num": [row + 1 for row in rows_in_page],
                "time": [1.7e9] * len(rows_in_page),
                "data": data,
                "timestamps": dict.fromkeys(data, stamps),
                "filled": {},
            }
            self.documents.append(("event_page", page))

    def _announce(self, descriptor: str, device: str, key: str, rows: Array) -> None:
        path = self.folder / f"{device}-{key}.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file.create_dataset(f"entry/{key}", data=rows, chunks=(1, *rows.shape[1:]))
        resource = self._uid()
        self.documents.append(
            (
                "stream_resource",
                {
                    "uid": resource,
                    "data_key": f"{device}_{key}",
                    "mimetype": "application/x-hdf5",
                    "uri": f"file://localhost{path.as_posix()}",
                    "parameters": {"dataset": f"/entry/{key}", "swmr": True},
                    "run_start": self.documents[0][1]["uid"],
                },
            )
        )
        for row in range(len(rows)):
            self.documents.append(
                (
                    "stream_datum",
                    {
                        "uid": f"{resource}/{row}",
                        "stream_resource": resource,
                        "descriptor": descriptor,
                        "indices": {"start": row, "stop": row + 1},
                        "seq_nums": {"start": row + 1, "stop": row + 2},
                    },
                )
            )

    def stop(self, exit_status: str = "success") -> None:
        """Emit the stop document."""
        uid = self.documents[0][1]["uid"]
        stop = {"uid": self._uid(), "run_start": uid, "time": 1.7e9, "exit_status": exit_status}
        self.documents.append(("stop", stop))


def galvanostatic(
    efficiencies: Sequence[float] = (0.9, 0.98, 0.99),
    *,
    capacity_mah_cm2: float = 0.5,
    current_ma_cm2: float = 1.0,
    area_cm2: float = 1.131,
    plateau_v: float = 0.030,
    tip_v: float = 0.045,
    cut_off_v: float = 0.5,
    rows: int = 400,
    rest_s: float = 60.0,
    mirror: int = 1,
    noise_v: float = 0.0,
) -> dict[str, Array]:
    """Return the leader's columns of a half cell with the given coulombic efficiencies.

    The first plating has a tip of ``tip_v`` at 2 % of its charge; each strip ends in a rise to
    the cut-off. A rest of five rows follows each half-cycle.
    """
    columns: dict[str, list[float]] = {key: [] for key in LEADER}
    random = np.random.default_rng(0)
    t = half = step = 0.0

    def add(times: Array, potential: Array, current: float, cycle: int, role: int) -> None:
        potential = potential + random.normal(0, noise_v, len(times)) if noise_v else potential
        values = {
            "t": times,
            "potential": mirror * potential,
            "current": np.full(len(times), mirror * current),
            "cycle": np.full(len(times), float(cycle)),
            "half_cycle": np.full(len(times), half),
            "step": np.full(len(times), step),
            "role": np.full(len(times), float(role)),
            "flags": np.zeros(len(times)),
        }
        for key, column in values.items():
            columns[key].extend(column.tolist())

    for cycle, efficiency in enumerate(efficiencies, start=1):
        for role in (-1, 1):
            charge = capacity_mah_cm2 * (1.0 if role < 0 else efficiency)
            duration = charge / current_ma_cm2 * 3600
            share = np.linspace(0, 1, rows)
            if role < 0:
                x = share / 0.02
                tip = (tip_v - plateau_v) * x * np.exp(1 - x) * (cycle == 1)
                potential = -plateau_v - tip
                if cycle == 1:
                    potential[0] = 0.4  # the slope of interphase formation
            else:
                potential = plateau_v + (cut_off_v - plateau_v) * share**60
            half, step = half + 1, step + 1
            current = role * current_ma_cm2 * area_cm2 * 1e-3
            add(t + share * duration, potential, current, cycle, role)
            t += duration
            step += 1
            add(t + np.linspace(0.2, 1, 5) * rest_s, np.zeros(5), 0.0, cycle, 0)
            t += rest_s
    return {key: np.array(column) for key, column in columns.items()}


def arcs_ohm(frequency_hz: Array, series: float, *arcs: tuple[float, float, float]) -> Array:
    """Return the complex impedance of R_s and arcs (R, tau, exponent)."""
    omega = 2j * np.pi * frequency_hz
    total = np.full(len(frequency_hz), complex(series))
    for resistance, tau, exponent in arcs:
        total = total + resistance / (1 + (omega * tau) ** exponent)
    return total


def side_view(
    height_px: float, *, tip_px: float = 0.0, shape: tuple[int, int] = (300, 480), seed: int = 0
) -> NDArray[np.uint8]:
    """Return a micrograph of a flat deposit: bright above, dark below, margin of 120 columns."""
    rows, columns = shape
    x = np.arange(columns)
    front = np.where(x < 120, 0.0, height_px + tip_px * np.exp(-0.5 * ((x - 360) / 8) ** 2))
    edge = rows - 60.3 - front
    depth = np.arange(rows)[:, None] - edge[None, :]
    bright = 170 * (1 - 0.1 * (x[None, :] / columns))
    image = 40 + (bright - 40) / (1 + np.exp(depth / 0.7))
    image = image + np.random.default_rng(seed).normal(0, 3, shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def spectrum_counts(
    axis: Array, *, film: float = 0.0, sulfate: float = 1.0, hydroxide: float = 0.0, seed: int = 0
) -> Array:
    """Return three accumulations of a spectrum; each argument scales one band."""
    bands = [
        (390, 30, 1500.0),
        (451, 25, 600 * sulfate),
        (465, 15, 12000 * hydroxide),
        (980.5, 8, 12000 * sulfate),
        (3230, 220, 5500.0),
        (3430, 210, 6500.0),
        (3633, 20, 2500 * film),
    ]
    clean = 400 + 900 * np.exp(-axis / 1500)
    for centre, width, counts in bands:
        clean = clean + counts * np.exp(-4 * np.log(2) * ((axis - centre) / width) ** 2)
    random = np.random.default_rng(seed)
    return random.poisson(clean, (3, len(axis))) + random.normal(0, 6, (3, len(axis))) + 100


def chromatogram(area: float, *, seed: int = 0, noise: float = 4.0) -> Array:
    """Return a detector trace, 50 points per s: hydrogen, oxygen, nitrogen on a drifting base."""
    t = np.arange(0, 160, 0.02)
    trace = 30 + 2 * t / 160 + np.random.default_rng(seed).normal(0, noise, len(t))
    for size, centre, width in ((area, 52.06, 0.8), (1340, 60.2, 0.9), (5360, 69.12, 1.1)):
        gauss = np.exp(-0.5 * ((t - centre) / width) ** 2)
        trace += size / (width * np.sqrt(2 * np.pi)) * gauss
    return trace


def with_patterns_of_two_lengths(told: RunDocuments, folder: Path) -> Any:
    """Return a run with its late results: two patterns of 8 points, then one of 5."""
    from operando.runs import Run, with_attachments

    told.stream("potentiostat", "potentiostat", galvanostatic((0.9,), rows=20))
    told.stop()
    late = []
    for number, (rows, points) in enumerate(((2, 8), (1, 5))):
        place = folder / f"late-{number}"
        place.mkdir()
        uid = f"{number + 8}d1f0a52-0000-4000-8000-000000000001"
        one = RunDocuments(place, told.sample, uid=uid)
        one.documents[0][1]["attachment_of"] = told.uid
        angle = np.tile(30.0 + np.arange(points), (rows, 1))
        patterns = {"two_theta_deg": angle, "intensity": angle * (1 + np.arange(rows))[:, None]}
        placed = {"t_before": [float(number)] * rows, "t_after": [number + 1.0] * rows}
        one.stream("xrd", "xrd", placed, patterns)
        one.stop()
        late.append(Run.from_documents(one.documents))
    return with_attachments(Run.from_documents(told.documents), late)


CALIBRATION = {
    "camera": {"micrometre_per_pixel": 0.5, "margin_columns": [0, 112]},
    "gas_chromatograph": {"hydrogen_area_per_mole_fraction": 6.7e6, "headspace_ml": 5.0},
}


def add_impedance(
    told: RunDocuments,
    *resistances: float,
    apart_s: float = 1.0,
    noise: Sequence[float] | None = None,
) -> None:
    random = np.random.default_rng(0)
    frequency = np.logspace(5, -1, 31)
    columns: dict[str, list[float]] = {}
    for number, resistance in enumerate(resistances, start=1):
        z = arcs_ohm(frequency, 2.65, (resistance, 1e-3, 0.9))
        if noise is not None:
            z = z * (1 + noise[number - 1] * random.normal(size=31))
        told_of = {"frequency": frequency, "z_real": z.real, "z_imag": z.imag}
        for key in ("t", "spectrum", "cycle", "half_cycle", "step"):
            told_of[key] = np.full(31, float(number))
        told_of["t"] = np.full(31, apart_s * number)
        for key, values in told_of.items():
            columns.setdefault(key, []).extend(values.tolist())
    told.stream("impedance", "potentiostat_impedance", columns)


def add_followers(told: RunDocuments) -> None:
    at = np.array([0.0, 1800.0, 3600.0])
    placed = {"t_before": at, "t_after": at + 1}
    frames = np.stack(
        [side_view(h, tip_px=tip) for h, tip in ((0.0, 0.0), (40.0, 30.0), (5.0, 20.0))]
    )
    light = {"lamp": np.ones(3), "laser": np.zeros(3)}
    told.stream("camera", "camera", placed | light, {"image": frames})
    axis = np.linspace(150, 3900, 1024)
    spectra = np.stack([spectrum_counts(axis, seed=seed) for seed in range(8)])
    when = np.array([np.nan] * 6 + [600.0, 1200.0])
    told.stream(
        "raman",
        "raman",
        {"t_before": when, "t_after": when + 30, "laser": np.ones(8)},
        {"counts": spectra, "dark": np.full((8, 1024), 100.0)},
        {"raman_wavenumber": axis.tolist()},
    )
    asked = {"injection": [1.0, 2.0, 3.0], "missed": [0.0, 0.0, 0.0]}
    told.stream("gas_chromatograph", "gas_chromatograph", placed | asked)
    result = {"injection": [1.0, 2.0, 3.0], "sample_interval": [0.02] * 3}
    traces = np.stack([chromatogram(area) for area in (2000.0, 4000.0, 6000.0)])
    told.stream("chromatogram", "gas_chromatograph_result", result, {"trace": traces})


@pytest.fixture(name="make_run")
def _make_run(tmp_path: Path) -> Callable[..., RunDocuments]:
    def make(sample: Mapping[str, Any] = HALF_CELL, **options: Any) -> RunDocuments:
        return RunDocuments(tmp_path, sample, **options)

    return make


@pytest.fixture(name="full_run", scope="session")
def _full_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a finished run of a half cell with every stream."""
    folder = tmp_path_factory.mktemp("full")
    told = RunDocuments(folder, HALF_CELL, calibration=CALIBRATION)
    told.stream("potentiostat", "potentiostat", galvanostatic(rows=200))
    add_impedance(told, 150.0, 160.0)
    add_followers(told)
    told.stop()
    from operando.runs import Run

    return Run.from_documents(told.documents)


@pytest.fixture(name="bare_run", scope="session")
def _bare_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a finished run of which the potentiostat alone has rows."""
    told = RunDocuments(tmp_path_factory.mktemp("bare"), HALF_CELL)
    told.stream("potentiostat", "potentiostat", galvanostatic(rows=200))
    told.stop()
    from operando.runs import Run

    return Run.from_documents(told.documents)


@pytest.fixture(name="synthetic")
def _synthetic() -> Any:
    """Hand the generators above to tests: test folders are no packages."""
    import sys

    return sys.modules[__name__]


@pytest.fixture(scope="session")
def write_format_1() -> Callable[[Path, Sequence[tuple[str, Any]]], None]:
    """Return what writes a journal of format 1, as version 0.1 did; with nothing of ours."""

    def write(path: Path, documents: Sequence[tuple[str, Any]]) -> None:
        with path.open("wb") as file:
            file.write(b"OPJOURNL" + struct.pack("<I", 1))
            for document in documents:
                payload = msgpack.packb(document)
                file.write(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)

    return write


@pytest.fixture(name="record_run", scope="session")
def _record_run() -> Callable[..., str]:
    """Return a function that writes a run of one stream of numbers to its journal."""

    def record(folder: Path, rows: int = 50, *, stop: bool = True, **metadata: Any) -> str:
        """Write a run of ``rows`` rows; its values are row / 3, with NaN in every tenth row."""
        from event_model import compose_run

        from operando.journal import JournalWriter

        key = {"source": "test", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
        run = compose_run(time=metadata.pop("time", None), metadata=metadata)
        with JournalWriter(folder) as write:
            write("start", run.start_doc)
            stream = run.compose_descriptor(
                name="potentiostat", data_keys={"potential": key, "cycle": key}
            )
            write("descriptor", stream.descriptor_doc)
            for first in range(1, rows + 1, 500):
                numbers = range(first, min(first + 500, rows + 1))
                stamps = [1.7e9 + row / 7 for row in numbers]
                page = stream.compose_event_page(
                    data={
                        "potential": [math.nan if row % 10 == 3 else row / 3 for row in numbers],
                        "cycle": [float(row // 100) for row in numbers],
                    },
                    timestamps={"potential": stamps, "cycle": stamps},
                    seq_num=list(numbers),
                    time=stamps,
                    validate=False,
                )
                write("event_page", page)
            if stop:
                write("stop", run.compose_stop())
        return str(run.start_doc["uid"])

    return record


@pytest.fixture(name="record", scope="module")
def _record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a running catalog service and a private folder of profiles."""
    from operando.catalog import ensure_service, stop_service

    folder = tmp_path_factory.mktemp("catalog") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILED_PROFILES", str(folder.parent / "profiles"))
        patch.setenv("OPERANDO_DATA", str(folder))
        ensure_service(folder, wait_s=50)
        yield folder
        stop_service(folder)


@pytest.fixture(name="catalog", scope="module")
def _catalog(record: Path) -> Iterator[Any]:
    """A client of that service; it stays good when the service begins anew."""
    from operando.catalog import close_catalog, open_catalog

    opened = open_catalog(record)
    yield opened
    close_catalog(opened)
