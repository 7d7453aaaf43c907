"""How long the numbers of a run take, how fast frames are stored, what a start costs, and size."""

import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from event_model import compose_run
from numpy.typing import NDArray

from benchmarks.table import Row, Section, interleaved, seconds
from instruments._swmr import SwmrFile
from operando.analysis import metrics
from operando.analysis.circuits import Circuit
from operando.analysis.images import front
from operando.catalog import stop_service
from operando.journal import JournalWriter
from operando.runs import Run
from operando.simulation import SimulatedBench

RUN_ROWS = 20_000
CYCLES = 10
FRAMES = 60
FRAME_SHAPE = (1200, 1600)
PAGE_FRAMES, PAGE_SPECTRA = 40, 3
AREA_CM2 = 1.131
CELL = "zn-bare-half"
CURRENT_A = 0.0005 * AREA_CM2


def _record_run(folder: Path, frames: int = 0) -> str:
    """Write the journal of ten plate-strip cycles with 20,000 rows; return its uid.

    With ``frames`` a camera saw as many of them, and three impedance spectra were taken.
    """
    names = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
    sample = {
        "cell_id": "benchmark",
        "metal": "Na",
        "metal_electrode": "WE",
        "working_electrode": {"material": "Zn", "area_cm2": AREA_CM2},
        "counter_electrode": {"material": "Na", "area_cm2": AREA_CM2, "metal": "Na"},
        "electrolyte": {"composition": "none"},
    }
    calibration = {"camera": {"micrometre_per_pixel": 0.5}}
    run = compose_run(
        metadata={"sample": sample, "protocol": "benchmark", "calibration": calibration}
    )
    key = {"source": "benchmark", "dtype": "number", "shape": [], "units": ""}
    keys = {f"potentiostat_{name}": dict(key) for name in names}
    stream = run.compose_descriptor(
        name="potentiostat", data_keys=keys, object_keys={"potentiostat": list(keys)}
    )
    each = RUN_ROWS // (2 * CYCLES)
    with JournalWriter(folder) as journal:
        journal("start", run.start_doc)
        journal("descriptor", stream.descriptor_doc)
        for half in range(1, 2 * CYCLES + 1):
            role = -1 if half % 2 else 1
            t = (np.arange(each) + each * (half - 1)) * 3.6
            columns = {
                "t": t,
                "potential": role * (0.02 + 0.01 * np.exp(-np.arange(each) / 30)),
                "current": np.full(each, role * CURRENT_A),
                "cycle": np.full(each, (half + 1) // 2),
                "half_cycle": np.full(each, half),
                "step": np.full(each, half),
                "role": np.full(each, role),
                "flags": np.zeros(each),
            }
            data = {f"potentiostat_{name}": columns[name].astype(float).tolist() for name in names}
            first = each * (half - 1) + 1
            page = stream.compose_event_page(
                data=data,
                timestamps=dict.fromkeys(data, t.tolist()),
                seq_num=list(range(first, first + each)),
                time=t.tolist(),
            )
            journal("event_page", page)
        if frames:
            for name, doc in _seen(run, folder, frames, RUN_ROWS * 3.6):
                journal(name, doc)
        journal("stop", run.compose_stop())
    return str(run.start_doc["uid"])


def _seen(run: Any, folder: Path, frames: int, lasted_s: float) -> Iterator[tuple[str, Any]]:
    """Yield the documents of frames (in a file below ``folder``) and of impedance spectra."""
    key = {"source": "benchmark", "dtype": "number", "shape": [], "units": ""}
    points = 60
    at = np.repeat(np.arange(PAGE_SPECTRA) + 1.0, points)
    frequency = np.tile(np.logspace(5, -1, points), PAGE_SPECTRA)
    z = Circuit.parse("R0-p(R1,CPE1)").impedance_ohm(frequency, (2.65, 150.0, 1e-5, 0.9))
    when = at / (PAGE_SPECTRA + 1) * lasted_s
    spectra = {"t": when, "frequency": frequency, "z_real": z.real, "z_imag": z.imag}
    spectra |= dict.fromkeys(("spectrum", "cycle", "half_cycle", "step"), at)
    taken = np.linspace(0.0, lasted_s, frames)
    ones = np.ones(frames)
    seen = {"t_before": taken, "t_after": taken + 1.0, "lamp": ones, "laser": 0.0 * ones}
    for stream, device, columns in (
        ("impedance", "potentiostat_impedance", spectra),
        ("camera", "camera", seen),
    ):
        keys: dict[str, Any] = {f"{device}_{name}": dict(key) for name in columns}
        if stream == "camera":
            keys["camera_image"] = {
                "source": "benchmark",
                "dtype": "array",
                "shape": [1, *FRAME_SHAPE],
                "external": "STREAM:",
            }
        described = run.compose_descriptor(
            name=stream, data_keys=keys, object_keys={device: list(keys)}
        )
        yield "descriptor", described.descriptor_doc
        count = len(next(iter(columns.values())))
        numbers = {"start": 1, "stop": count + 1}
        if stream == "camera":
            told = run.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{_frames_file(folder, frames).as_posix()}",
                data_key="camera_image",
                parameters={"dataset": "/entry/data/image", "swmr": True},
            )
            yield "stream_resource", told.stream_resource_doc
            yield (
                "stream_datum",
                told.compose_stream_datum(
                    {"start": 0, "stop": count}, numbers, described.descriptor_doc
                ),
            )
        data = {f"{device}_{name}": values.tolist() for name, values in columns.items()}
        yield (
            "event_page",
            described.compose_event_page(
                data=data,
                timestamps={name: [1.0] * count for name in data},
                seq_num=list(range(1, count + 1)),
                time=[1.0] * count,
            ),
        )


def _frames_file(folder: Path, frames: int) -> Path:
    """Return a file of frames of a deposit, each shifted by another few rows."""
    path = folder / "frames.h5"
    picture = _deposit_with_bubbles()
    file = SwmrFile(path, {"/entry/data/image": (FRAME_SHAPE, "u1")})
    for number in range(frames):
        file.append({"/entry/data/image": np.roll(picture, -number, axis=0)})
    file.close()
    return path


def report() -> Section:
    """Measure the numbers of a run of 20,000 rows, in this process and as a command."""
    with tempfile.TemporaryDirectory(prefix="operando-benchmark-") as name:
        folder = Path(name)
        uid, seen = _record_run(folder), _record_run(folder, PAGE_FRAMES)
        command = [sys.executable, "-m", "operando.cli", "report"]
        environment = {**os.environ, "OPERANDO_DATA": name}
        page = str(folder / "page.html")

        def ask(*arguments: str) -> Callable[[], float]:
            words = [*command, *arguments]
            return lambda: seconds(
                lambda: subprocess.run(
                    words, env=environment, stdout=subprocess.DEVNULL, check=True
                )
            )

        page_name = "`operando report RUN --html FILE`, start to prompt"
        works = {
            "read the journal, all metrics": lambda: seconds(
                lambda: metrics(Run.from_journal(uid, folder))
            ),
            "`operando report RUN`, start to prompt": ask(uid, "--recompute"),
            page_name: ask(seen, "--recompute", "--html", page),
            f"{page_name}, numbers known": ask(seen, "--html", page),
        }
        values = interleaved(works, dict.fromkeys(works, 5))
    return Section(
        f"The numbers of a run of {RUN_ROWS:,} rows (ten cycles)",
        "python -m benchmarks report",
        [
            Row(
                name,
                values[name],
                "s",
                f"with {PAGE_FRAMES} frames of 2 Mpix, {PAGE_SPECTRA} spectra"
                if name.startswith(page_name)
                else "",
            )
            for name in works
        ],
    )


def frames() -> Section:
    """Measure frames/s into a file that can be read while it grows."""
    images = _micrographs()
    bytes_ = images[0].nbytes
    with tempfile.TemporaryDirectory(prefix="operando-benchmark-") as name:
        folder, sizes = Path(name), list[float]()

        def path() -> Path:
            return folder / f"{len(list(folder.iterdir()))}.h5"

        def ours() -> float:
            target = path()
            file = SwmrFile(target, {"/entry/data/image": (FRAME_SHAPE, "u1")})

            def store() -> None:
                for index in range(FRAMES):
                    file.append({"/entry/data/image": images[index % len(images)]})

            took = seconds(store)
            file.close()
            with h5py.File(target, swmr=True) as stored:
                if stored["/entry/data/image"].shape[0] != FRAMES:
                    raise AssertionError("frames were lost")
            sizes.append(target.stat().st_size / FRAMES / bytes_)
            target.unlink()
            return FRAMES / took

        def plain() -> float:
            target = path()

            def store() -> None:
                with h5py.File(target, "w") as file:
                    stored = file.create_dataset(
                        "image", (FRAMES, *FRAME_SHAPE), "u1", chunks=(1, *FRAME_SHAPE)
                    )
                    for index in range(FRAMES):
                        stored[index] = images[index % len(images)]

            took = seconds(store)
            target.unlink()
            return FRAMES / took

        works = {
            "readable at once: SWMR, zstd, flushed per frame": ours,
            "plain HDF5: raw, readable when closed": plain,
        }
        values = interleaved(works, dict.fromkeys(works, 5))
    rows = [Row(name, values[name], "frames/s") for name in works]
    picture = _deposit_with_bubbles()
    front(picture, 0.5)  # imports what it needs
    rows.append(
        Row(
            "front, roughness, tips and bubbles of a frame, processor time",
            [_processor_time(lambda: front(picture, 0.5)) for _ in range(9)],
            "s",
            "four bubbles, one of them hidden in part",
            "<= 0.1",
        )
    )
    return Section(
        f"Frames of {FRAME_SHAPE[1]} x {FRAME_SHAPE[0]} bytes",
        "python -m benchmarks frames",
        rows,
        f"Stored size: {np.median(sizes):.0%} of the pixels (a gradient with camera noise, "
        "standard deviation 2 of 255).",
    )


def _processor_time(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _deposit_with_bubbles() -> NDArray[np.uint8]:
    """Return a side view: bright above, a rough dark deposit below, dark rings between."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : FRAME_SHAPE[0], 0 : FRAME_SHAPE[1]].astype(np.float32)
    rough = np.cumsum(generator.normal(0, 0.5, FRAME_SHAPE[1]))
    edge = 900 - np.where(np.arange(FRAME_SHAPE[1]) < 120, 0.0, 60 + rough)
    picture = 45 + 135 / (1 + np.exp((rows - edge[None, :]) / 1.2))
    for column, row, radius in ((300, 500, 40), (700, 600, 90), (760, 480, 60), (1300, 350, 20)):
        away = np.hypot(rows - row, columns - column) - radius
        picture *= 1 - 0.55 * np.exp(-0.5 * (away / 2) ** 2)
    picture += generator.normal(0, 3, FRAME_SHAPE)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _micrographs() -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    light = np.linspace(60, 180, FRAME_SHAPE[1])[None, :] * np.ones((FRAME_SHAPE[0], 1))
    return [
        np.clip(light + generator.normal(0, 2, FRAME_SHAPE), 0, 255).astype(np.uint8)
        for _ in range(4)
    ]


def starting(folder: Path, scale: float = 1.0) -> Section:
    """Measure what importing costs, wall time of a fresh interpreter, and the shell's prompt."""

    def start(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    codes = {
        "an empty interpreter": "pass",
        "`import operando`": "import operando",
        "`import operando.cli`": "import operando.cli",
        "`import techniques`": "import techniques",
        "`import bluesky.run_engine` (for comparison)": "import bluesky.run_engine",
        "`import databroker` (for comparison)": "import databroker",
    }
    works = {name: (lambda code=code: start(code)) for name, code in codes.items()}
    values = interleaved(works, dict.fromkeys(works, 7))
    empty = Row("", values["an empty interpreter"], "").median
    lines = [
        Row(
            name,
            values[name],
            "s",
            "" if name == "an empty interpreter" else f"{_above(values[name], empty)} above",
            "<= 0.3" if name == "`import operando`" else "",
        )
        for name in works
    ]
    with SimulatedBench(CELL, directory=folder / "sim"):
        prompts = [_prompt(folder, number) for number in range(3 if scale < 1 else 5)]
    lines.append(
        Row(
            "`operando shell` on the simulated bench, to its prompt",
            prompts,
            "s",
            "four instruments connected",
            "<= 3",
        )
    )
    return Section("Starting", "python -m benchmarks starting", lines)


def _prompt(folder: Path, number: int) -> float:
    """Return how long a shell takes until it can be typed at, s; a bench is served already."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "operando.cli", "shell", "--bench", "sim"]
    data = folder / f"data-{number}"
    environment = os.environ | {
        "OPERANDO_DATA": str(data),
        "OPERANDO_CATALOG_IDLE_S": "5",
        "IPYTHONDIR": str(folder / "ipython"),
        "TERM": "dumb",
    }
    seen = b""
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(slave)
        try:
            while b"In [1]:" not in seen:
                if not select.select([master], [], [], 60)[0]:
                    raise RuntimeError(f"no prompt came: {seen!r}")
                seen += os.read(master, 65536)
            took = time.perf_counter() - began
            os.write(master, b"exit\n")
            process.wait(timeout=30)
        finally:
            process.kill()
            os.close(master)
    stop_service(data)
    return took


def _above(values: list[float], empty: float) -> str:
    return f"{(Row('', values, '').median - empty) * 1e3:.0f} ms"


def size() -> Section:
    """Measure what is installed here, without compiled bytecode."""
    sizes = {each.name: _megabytes(each) for each in distributions()}
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:10]
    rows = [Row(f"all {len(sizes)} packages", [sum(sizes.values())], "MB")]
    rows += [Row(name, [sizes[name]], "MB") for name in largest]
    return Section("Installed size, as blocks on the disk", "python -m benchmarks size", rows)


def _megabytes(distribution: Distribution) -> float:
    total = 0
    for file in distribution.files or ():
        if "__pycache__" not in file.parts:
            try:
                total += os.stat(str(file.locate())).st_blocks * 512
            except FileNotFoundError:
                continue  # named by the package, removed by its user
    return total / 1e6
