"""Writing a run as the history of a cell, from which a simulator serves it again.

The file says what the cell did and nothing of this program; its format is the simulator's,
described in ``docs/reference/cell-histories.md``.
"""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando import settings
from operando.analysis.metrics import half_cycles_of, place
from operando.analysis.segments import PLATE, STRIP, HalfCycle
from operando.runs import Floats, Run, Stream

PUBLISHED = "published:"
REPLAY_FILE, SIMULATED_FILE = "replay.json", "simulated.json"
FORMAT, VERSION = "anode-cell-history", 1
LEADER = "potentiostat"
# Instrument -> what of it a history must have.
GROUPS = {
    LEADER: "rows",
    "camera": "camera",
    "raman": "raman",
    "gas_chromatograph": "chromatograms",
    "thermostat": "temperature",
}
# Written so often, an experiment of weeks never lies in memory as pictures.
_AT_ONCE = 16
_MILLIWATT = 1e3
# A step's edge that lies this far behind a row is another step's [s].
_EDGE_APART_S = 1e-3


class HistoryError(Exception):
    """A run does not hold what the history of a cell needs; the message says what is lacking."""


def write_history(run: Run, path: Path, *, only: Collection[str] | None = None) -> tuple[str, ...]:
    """Write a run as the history of a cell; return which instruments can be served from it.

    ``potentiostat``, ``camera``, ``raman``, ``gas_chromatograph`` and ``thermostat`` are those of
    which something was recorded. Pictures and spectra are copied, so that the file stands alone.

    Args:
        run: any run with rows of a potentiostat, finished or not.
        path: the file; it is replaced if it is there.
        only: these instruments and no others; by default all.

    Raises:
        HistoryError: the run has no potentiostat's rows, or does not tell its cell's area.
    """
    import h5py

    leader = run.streams.get(LEADER)
    if leader is None or not len(leader):
        raise HistoryError(
            f"potentiostat: not recorded in this run ({run.uid or 'without a uid'}); only a run "
            "with a potentiostat's rows can be a cell again"
        )
    sample = run.start.get("sample")
    area_cm2, metal = _cell(sample, run.uid)
    held = [LEADER]
    wanted = set(only) if only is not None else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, area_cm2=area_cm2, uid=run.uid)
        if metal:
            file.attrs["metal_electrode"] = metal
        _write_rows(file.create_group("rows"), leader, half_cycles_of(run))
        impedance = run.streams.get("impedance")
        if impedance is not None and len(impedance):
            _write_impedance(file.create_group("impedance"), impedance)
        for name, write in (
            ("camera", _write_camera),
            ("raman", _write_raman),
            ("gas_chromatograph", _write_chromatograms),
            ("thermostat", _write_temperature),
        ):
            if (wanted is None or name in wanted) and write(file, run):
                held.append(name)
    return tuple(held)


def held_in(path: Path) -> tuple[str, ...]:
    """Return which instruments can be served from a history file.

    Raises:
        HistoryError: the file cannot be read; what is wrong in it is told by the simulator.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            groups = {name for name in file if "t_s" in file[name] and len(file[name]["t_s"])}
    # What h5py raises of a file that is damaged inside is any of these.
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise HistoryError(f"{path} is not a cell history: {error}") from error
    return tuple(name for name, group in GROUPS.items() if group in groups)


def replayed_cell(address: str) -> dict[str, str] | None:
    """Return whose history is the cell at an instrument's address, ``None`` if it is nobody's.

    Only what a simulator publishes can be, by the name under which it does or by the address
    itself.

    Args:
        address: As in a bench file, e.g. ``published:${OPERANDO_SIM}/potentiostat``.

    Returns:
        ``of``: the uid of the run, or what the history file says of its source; ``uid``: the uid,
        empty if there is none.
    """
    note = _note_beside(address, REPLAY_FILE)
    if note is None:
        return None
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        return {"of": str(told["of"]), "uid": str(told["uid"])}
    except FileNotFoundError:
        return None
    except (ArithmeticError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise HistoryError(
            f"{note} does not tell whose history the cell is ({error}): start the simulator again"
        ) from error


def simulated_cell(address: str) -> dict[str, Any] | None:
    """Return which simulated cell is at an instrument's address, ``None`` if none is.

    Args:
        address: As of ``replayed_cell``.

    Returns:
        ``cell``: the preset; ``seed``: what decided all that is random in it and the instruments.

    Raises:
        HistoryError: The simulator's note cannot be understood.
    """
    note = _note_beside(address, SIMULATED_FILE)
    if note is None:
        return None
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        return {"cell": str(told["cell"]), "seed": int(told["seed"])}
    except FileNotFoundError:
        return None
    except (ArithmeticError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise HistoryError(
            f"{note} does not tell which cell is simulated ({error}): start the simulator again"
        ) from error


def _note_beside(address: str, name: str) -> Path | None:
    """Return where a simulator that serves ``address`` leaves a note; ``None``: it is no such."""
    if address.startswith(PUBLISHED):
        published = Path(os.path.expandvars(address.removeprefix(PUBLISHED)))
    else:
        published = settings.simulator_dir() / LEADER
        if not address or not _says(published, address):
            return None
    return published.parent / name


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8").strip() == text.strip()
    except (OSError, ValueError):
        return False


def _cell(sample: Any, uid: str) -> tuple[float, str]:
    try:
        metal = str(sample.get("metal_electrode") or "WE")
        electrode = sample["working_electrode" if metal == "WE" else "counter_electrode"]
        return float(electrode["area_cm2"]), metal
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HistoryError(
            f"run {uid} does not tell the area of its cell (start document, sample): without it "
            "no current density is known"
        ) from error


def _write_rows(group: Any, leader: Stream, halves: Sequence[HalfCycle]) -> None:
    kept, resumed = _without_interruptions(leader)
    columns = dict(leader.columns)
    if any(half.zero is not None for half in halves):
        columns[f"{LEADER}_current"] = _flowed(columns, halves)
    for name, key in (
        ("t_s", "t"),
        ("since_edge_s", "step_t"),
        ("potential_v", "potential"),
        ("current_a", "current"),
    ):
        column = columns.get(f"{LEADER}_{key}")
        if column is None and key != "step_t":
            raise HistoryError(f"the rows of this run have no column {LEADER}_{key}")
        if column is not None:
            group.create_dataset(name, data=np.asarray(column, dtype=np.float64)[kept])
    group.create_dataset("resumed", data=resumed[kept])


def _flowed(columns: Mapping[str, Any], halves: Sequence[HalfCycle]) -> NDArray[np.float64]:
    """Return the currents without the zeros that the charges of the half-cycles are without, A."""
    read_a = np.asarray(columns[f"{LEADER}_current"], dtype=np.float64)
    last = max(half.number for half in halves)
    zero_a, role_of = np.zeros(last + 1), np.zeros(last + 1)
    for half in halves:
        role_of[half.number] = half.role
        zero_a[half.number] = 0.0 if half.zero is None else half.zero.current_a
    told = columns[f"{LEADER}_half_cycle"]
    number = np.where((told >= 0) & (told <= last), told, 0).astype(np.int64)
    working = columns[f"{LEADER}_role"] == role_of[number]
    return np.where(working, read_a - zero_a[number], read_a)


def _without_interruptions(leader: Stream) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the rows that are the cell's history, not what a resumed run did before it went on.

    Also returns those with which an interrupted half-cycle went on, with an edge of its own.

    A half-cycle that was interrupted and resumed is one to the cell that is made of it: the open
    circuit that was measured in between would make two of it.
    """
    kept, resumed = np.ones(len(leader), dtype=np.bool_), np.zeros(len(leader), dtype=np.bool_)
    t_s = leader.columns.get(f"{LEADER}_t")
    since_s = leader.columns.get(f"{LEADER}_step_t")
    half_cycle = leader.columns.get(f"{LEADER}_half_cycle")
    role = leader.columns.get(f"{LEADER}_role")
    if half_cycle is None or role is None:
        return kept, resumed
    flowing = np.flatnonzero((role == PLATE) | (role == STRIP))
    for joint in leader.joints:
        place = int(np.searchsorted(flowing, joint))
        if 0 < place < len(flowing):
            before, after = flowing[place - 1], flowing[place]
            if half_cycle[before] == half_cycle[after] and role[before] == role[after]:
                kept[before + 1 : after] = False
                if t_s is not None and since_s is not None:
                    resumed[after] = t_s[after] - since_s[after] > t_s[before] + _EDGE_APART_S
    return kept, resumed


def _write_impedance(group: Any, impedance: Stream) -> None:
    # Looks at the cell before an experiment went on count as no spectrum.
    counted = impedance.columns[f"{LEADER}_impedance_spectrum"] > 0
    for name, key in (
        ("t_s", "t"),
        ("spectrum", "spectrum"),
        ("frequency_hz", "frequency"),
        ("z_real_ohm", "z_real"),
        ("z_imag_ohm", "z_imag"),
    ):
        group.create_dataset(name, data=impedance.columns[f"{LEADER}_impedance_{key}"][counted])


def _times(run: Run, name: str) -> Floats:
    """Return when each row of a follower was taken on the leader's clock, s.

    Midway between the leader's rows around it. One from before the first of them is at 0; one after
    which none came is at the last that came.
    """
    columns, leader_s = run.streams[name].columns, run.streams[LEADER].columns[f"{LEADER}_t"]
    before_s = columns[f"{name}_t_before"]
    placed = place(before_s, columns[f"{name}_t_after"])
    taken = placed.middle_s.copy()
    taken[~np.logical_or.accumulate(np.isfinite(before_s))] = 0.0
    taken[np.isposinf(placed.before_s)] = leader_s[-1]
    return taken


def _write_camera(file: Any, run: Run) -> bool:
    camera = run.streams.get("camera")
    if camera is None or "camera_image" not in camera.assets:
        return False
    images = camera.assets["camera_image"]
    times = _times(run, "camera")
    seen = np.ones(len(times), dtype=bool)
    # NaN: the bench has no lamp that it switches, or no laser.
    for key, unwanted in (("camera_lamp", 0.0), ("camera_laser", 1.0)):
        if key in camera.columns:
            seen &= camera.columns[key] != unwanted
    rows = [int(row) for row in np.flatnonzero(seen) if row < len(images)]
    if not rows:
        return False
    group = file.create_group("camera")
    scale = float(camera.configuration.get("camera_micrometre_per_pixel") or np.nan)
    if np.isfinite(scale):
        group.attrs["micrometre_per_pixel"] = scale
    group.create_dataset("t_s", data=times[rows])
    frames: Any = None
    wanted_rows, place = set(rows), 0
    for row, image in enumerate(images.rows()):
        if row not in wanted_rows:
            continue
        picture = _eight_bits(image)
        if frames is None:
            frames = group.create_dataset(
                "frames",
                shape=(len(rows), *picture.shape),
                dtype=np.uint8,
                chunks=(1, *picture.shape),
                compression="lzf",
            )
        frames[place] = picture
        place += 1
    return True


def _eight_bits(image: Any) -> Any:
    """Return a picture as a microscope's 8-bit camera shows it: deeper ones lose their low bits."""
    if image.dtype == np.uint8:
        return image
    return (image >> 8 * (image.dtype.itemsize - 1)).astype(np.uint8)


def _write_raman(file: Any, run: Run) -> bool:
    raman = run.streams.get("raman")
    if raman is None or not {"raman_counts", "raman_dark"} <= set(raman.assets):
        return False
    counts, dark = raman.assets["raman_counts"], raman.assets["raman_dark"]
    axis = np.asarray(raman.configuration.get("raman_wavenumber", ()), dtype=np.float64)
    spectra = min(len(raman), len(counts), len(dark))
    if not spectra or not len(axis):
        return False
    group = file.create_group("raman")
    group.create_dataset("t_s", data=_times(run, "raman")[:spectra])
    group.create_dataset("wavenumber_cm1", data=axis)
    columns = raman.columns
    group.create_dataset("integration_s", data=columns["raman_integration_time"][:spectra])
    group.create_dataset("power_mw", data=columns["raman_laser_power"][:spectra] * _MILLIWATT)
    for name, asset in (("counts", counts), ("dark", dark)):
        _copy(group, name, asset, spectra)
    return True


def _copy(group: Any, name: str, asset: Any, rows: int) -> None:
    shape = asset[0].shape
    written = group.create_dataset(
        name, shape=(rows, *shape), dtype=np.float64, chunks=(1, *shape), compression="lzf"
    )
    for first in range(0, rows, _AT_ONCE):
        last = min(first + _AT_ONCE, rows)
        written[first:last] = asset[first:last]


def _write_temperature(file: Any, run: Run) -> bool:
    thermostat = run.streams.get("thermostat")
    if thermostat is None or not len(thermostat):
        return False
    times = _times(run, "thermostat")
    temperature = np.asarray(thermostat.columns["thermostat_temperature"], dtype=np.float64)
    whole = np.isfinite(times) & np.isfinite(temperature)
    if not whole.any():
        return False
    order = np.argsort(times[whole], kind="stable")
    group = file.create_group("temperature")
    group.create_dataset("t_s", data=times[whole][order])
    group.create_dataset("temperature_k", data=temperature[whole][order])
    return True


def _write_chromatograms(file: Any, run: Run) -> bool:
    device = "gas_chromatograph"
    injections, results = run.streams.get(device), run.streams.get("chromatogram")
    key = f"{device}_result_trace"
    if injections is None or results is None or key not in results.assets:
        return False
    numbers = injections.columns[f"{device}_injection"].tolist()
    when = dict(zip(numbers, _times(run, device).tolist(), strict=True))
    traces = results.assets[key]
    of = results.columns[f"{device}_result_injection"][: len(traces)].tolist()
    known = [row for row, number in enumerate(of) if number in when]
    if not known:
        return False
    group = file.create_group("chromatograms")
    interval = results.columns[f"{device}_result_sample_interval"]
    group.attrs["sample_interval_s"] = float(interval[known[0]])
    group.create_dataset("t_s", data=[when[of[row]] for row in known])
    group.create_dataset("traces", data=np.stack([traces[row] for row in known]))
    return True
