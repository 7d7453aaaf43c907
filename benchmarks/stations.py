"""Eight stations on one computer: are rows lost, what do processor and memory do?

``python -m benchmarks.stations`` starts stations as people do (``operando station start``,
``mount``, ``queue add``), each with a simulated bench of its own, in real time, ten rows a second,
and one microscope that all of them borrow. It prints a table; nothing is written.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from operando.runs import Run
from operando.simulation import SimulatedBench

ROOT = Path(__file__).resolve().parents[1]
CELL = "zn-bare"
ROW_S = 0.1
# A row that comes so much later than due is one that was lost, in row intervals.
GAP = 1.5
# No rows denser than at 10 Hz: each second of the program costs the same.
_HALF = {
    "current_density_ma_cm2": 1.0,
    "until": [{"quantity": "time_s", "value": 60}],
    "record": {"dt_s": ROW_S, "edge_dt_s": ROW_S},
}
PROTOCOL = {
    "name": "ten-rows-a-second",
    "cell": CELL,
    "technique": {
        "type": "plate_strip_cycle",
        "plate": _HALF,
        "strip": _HALF,
        "cycles": 3,
    },
    "every": {"image_s": 30, "burst_for_s": 0, "spectrum_s": None, "injection_s": None},
    "rules": [],
}
# What of the product a process is, by what stands on its command line.
KINDS = (
    ("simulators", "sim_devices"),
    ("guards", "operando.guard"),
    ("supervisor", "operando.queueing.supervisor"),
    ("supervisor", "station serve"),
    ("redis", "valkey-server"),
    ("catalog service", "operando.catalog"),
    ("managers and workers", "operando.queueing"),
    ("managers and workers", "re-manager"),
    ("managers and workers", "bluesky_queueserver"),
    ("cameras", "_pylon_process"),
)


def main() -> int:
    """Run it; 0 if no row was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stations", description=__doc__)
    parser.add_argument("--stations", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=6.0, help="of cycling, in real time")
    options = parser.parse_args()
    with ExitStack() as stack:
        place = stack.enter_context(_folder())
        names = [f"S{number}" for number in range(1, options.stations + 1)]
        environment = _prepared(place, names)
        for number, name in enumerate(names):
            stack.enter_context(
                SimulatedBench(
                    CELL,
                    factor=1.0,
                    seed=number,
                    instruments=("potentiostat", "camera"),
                    directory=place / name,
                )
            )
        stack.callback(_operando, environment, "station", "stop", "--all", "--abort", check=False)
        return _measured(place, environment, names, options.minutes)


def _measured(place: Path, environment: Mapping[str, str], names: list[str], minutes: float) -> int:
    data = Path(environment["OPERANDO_DATA"])
    protocol = place / "ten-rows.yaml"
    cycles = max(1, round(minutes * 60 / 120))
    content = dict(PROTOCOL)
    content["technique"] = {**PROTOCOL["technique"], "cycles": cycles}
    protocol.write_text(yaml.safe_dump(content))
    began = time.monotonic()
    _operando(environment, "station", "start", *names)
    _say(f"{len(names)} stations were open after {time.monotonic() - began:.0f} s")
    adding = []
    for number, name in enumerate(names, start=1):
        cell = place / f"cell-{name}.yaml"
        _operando(environment, "mount", str(cell), "--station", name, "--yes", "--by", "benchmark")
        began = time.monotonic()
        _operando(
            environment,
            "queue",
            "add",
            str(protocol),
            "--sample",
            str(cell),
            "--station",
            name,
            "--label",
            f"{number}",
        )
        adding.append(time.monotonic() - began)
    _say(f"adding an item took {statistics.median(adding):.2f} s (median, whole command)")
    _wait(environment, "running", len(names), 120)
    time.sleep(10)
    before, first = _used(environment), _memory(environment)
    t0, memory = time.monotonic(), [first]
    until = t0 + cycles * 120 - 30
    while time.monotonic() < until:
        time.sleep(min(15.0, max(0.1, until - time.monotonic())))
        memory.append(_memory(environment))
    took, after = time.monotonic() - t0, _used(environment)
    _say("| | share of a core | MiB at first | MiB at last |\n|---|---:|---:|---:|")
    ours = 0.0
    for kind in sorted(set(after)):
        share = (after[kind] - before.get(kind, 0.0)) / took
        ours += 0.0 if kind == "simulators" else share
        _say(f"| {kind} | {share:.3f} | {first.get(kind, 0):.0f} | {memory[-1].get(kind, 0):.0f} |")
    _say(f"| all but the simulators | {ours:.3f} | {_sum(first):.0f} | {_sum(memory[-1]):.0f} |")
    middle = memory[len(memory) // 2]
    _say(f"memory between the middle and the end: {_sum(memory[-1]) - _sum(middle):+.0f} MiB")
    _wait(environment, "idle", len(names), 180)
    lost = _rows(data)
    return 0 if lost == 0 else 1


def _rows(data: Path) -> int:
    """Say how many rows there are and how many are missing; return these."""
    lost, waits = 0, []
    for path in sorted((data / "journal").rglob("*.opj")):
        run = Run.from_journal(path.stem, data, chain=False)
        if run.start.get("protocol") != PROTOCOL["name"]:
            continue
        stream = run.streams["potentiostat"].columns
        step, t = (stream[f"potentiostat_{key}"] for key in ("step", "t"))
        inside = step[1:] == step[:-1]
        gaps = (t[1:] - t[:-1])[inside]
        missing = int(sum(round(float(gap) / ROW_S) - 1 for gap in gaps if gap > GAP * ROW_S))
        told = run.stop.get("reason", "") if run.stop else "no stop document"
        camera = run.streams.get("camera")
        if camera is not None and "camera_waited" in camera.columns:
            waits += [float(value) for value in camera.columns["camera_waited"]]
        images = 0 if camera is None else len(camera)
        _say(f"{path.stem[:8]}: {len(t)} rows, {missing} missing, {images} images. {told}")
        lost += missing
    if waits:
        _say(
            f"waiting for the microscope: {statistics.median(waits):.2f} s (median), "
            f"{max(waits):.2f} s at most, {len(waits)} times"
        )
    _say(f"rows missing in all: {lost}")
    return lost


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="stations-"))  # short: sockets lie in it
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _prepared(place: Path, names: list[str]) -> dict[str, str]:
    config = place / "config"
    shutil.copytree(ROOT / "config", config)
    bench = yaml.safe_load((ROOT / "config" / "sim.yaml").read_text())
    cell = yaml.safe_load((ROOT / "config" / "cells" / f"{CELL}.yaml").read_text())
    for name in names:
        instruments = {
            key: json.loads(
                json.dumps(bench["instruments"][key]).replace("${OPERANDO_SIM}", str(place / name))
            )
            for key in ("potentiostat", "camera")
        }
        instruments["camera"].pop("lamp", None)
        instruments["camera"] |= {"shared": "microscope", "lease_timeout_s": 60}
        told = {"name": f"bench-{name}", "instruments": instruments, "limits": bench["limits"]}
        (config / f"bench-{name}.yaml").write_text(yaml.safe_dump(told))
        (place / f"cell-{name}.yaml").write_text(
            yaml.safe_dump({**cell, "cell_id": f"ZN-BENCH-{name}"})
        )
    stations = [{"name": name, "bench": f"bench-{name}"} for name in names]
    (config / "stations.yaml").write_text(yaml.safe_dump({"stations": stations, "daily_at": None}))
    return {
        **os.environ,
        "OPERANDO_CONFIG": str(config),
        "OPERANDO_DATA": str(place / "data"),
        "TILED_PROFILES": str(place / "profiles"),
    }


def _operando(environment: Mapping[str, str], *words: str, check: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "operando", *words],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        raise SystemExit(f"operando {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _wait(environment: Mapping[str, str], state: str, count: int, timeout_s: float) -> None:
    give_up = time.monotonic() + timeout_s
    while True:
        told = json.loads(_operando(environment, "station", "status", "--json"))
        stations = told["stations"] if isinstance(told, dict) else told
        if sum(one["state"] == state for one in stations) >= count:
            return
        if time.monotonic() > give_up:
            raise SystemExit(f"not {count} stations were {state} within {timeout_s:g} s: {told}")
        time.sleep(2)


def _processes(environment: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield process id and kind of what belongs to the stations measured."""
    place = str(Path(environment["OPERANDO_DATA"]).parent).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            if place not in line and place not in (entry / "environ").read_bytes():
                continue
        except OSError:
            continue
        text = line.replace(b"\0", b" ").decode(errors="replace")
        yield int(entry.name), next((kind for kind, word in KINDS if word in text), "others")


def _used(environment: Mapping[str, str]) -> dict[str, float]:
    """Return the processor time of each kind of process, s."""
    used: dict[str, float] = defaultdict(float)
    for pid, kind in _processes(environment):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # With the children that have ended: a camera's process lives as long as one use.
        used[kind] += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


def _memory(environment: Mapping[str, str]) -> dict[str, float]:
    """Return the memory of each kind of process, shared pages in equal parts, MiB."""
    used: dict[str, float] = defaultdict(float)
    for pid, kind in _processes(environment):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    used[kind] += int(line.split()[1]) / 1024
        except OSError:
            continue
    return used


def _sum(memory: Mapping[str, float]) -> float:
    return sum(mib for kind, mib in memory.items() if kind != "simulators")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
