"""What every format tells of a run: who, when, of what, made by which version, complete or not."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import ValidationError

import operando
from operando.runs import Floats, Run, Stream, told_protocols
from techniques import Cell

ROWS_AT_A_TIME = 100_000


def iso(epoch_s: float) -> str:
    """Return a moment as ISO 8601 text in UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat()


def now() -> str:
    """Return this moment as ISO 8601 text in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def started_s(run: Run) -> float:
    """Return when a run began, s since the epoch."""
    return float(run.start["time"])


def ended(run: Run) -> str | None:
    """Return when a run ended, None while it lasts or if nobody closed it."""
    return None if run.stop is None else iso(float(run.stop["time"]))


def status(run: Run) -> str:
    """Return how a run ended: success, abort, fail, or incomplete without a stop document."""
    return "incomplete" if run.stop is None else str(run.stop.get("exit_status"))


def is_whole(run: Run) -> bool:
    """Return whether a run has ended and all of it could be read."""
    return run.complete and not run.damage


def chain(run: Run) -> list[str]:
    """Return the uids of the runs that make up this experiment, the first one first."""
    return list(run.chain)


def cell_of(run: Run) -> Cell | None:
    """Return the cell the start document describes, None if it describes none."""
    try:
        return Cell.model_validate(run.start.get("sample"))
    except ValidationError:
        return None


def sample_name(run: Run) -> str:
    """Return what the sample is called; empty if it has no name."""
    sample = run.start.get("sample")
    if isinstance(sample, Mapping):
        return str(sample.get("cell_id") or sample.get("name") or "")
    return "" if sample is None else str(sample)


def title(run: Run) -> str:
    """Return a line for people."""
    what = told_protocols(run.asked) or "run"
    sample = sample_name(run)
    return f"{what} on {sample}" if sample else str(what)


def amended(run: Run) -> dict[str, Any]:
    """Return ``amendments``: what a run was asked for in which half-cycles, the first included.

    Nothing where nobody changed its protocol while it ran.
    """
    asked = run.asked
    return {"amendments": [one.as_data() for one in asked]} if len(asked) > 1 else {}


def techniques_of(run: Run) -> list[Any]:
    """Return what was run on the cell, in the order in which it was asked for."""
    return [one.technique for one in run.asked]


def summary(run: Run) -> dict[str, Any]:
    """Return what identifies a run, as strict JSON values."""
    return {
        "uid": run.uid,
        "chain": chain(run),
        "attachments": [jsonable(dict(one)) for one in run.attachments],
        "title": title(run),
        "sample": sample_name(run),
        "start_time": iso(started_s(run)),
        "end_time": ended(run),
        "status": status(run),
        "reason": None if run.stop is None else run.stop.get("reason") or None,
        "complete": is_whole(run),
        "damage": list(run.damage),
        "notes": list(run.notes),
        "rows": {name: len(stream) for name, stream in run.streams.items()},
        "sign_convention": "IUPAC: positive current oxidises the working electrode",
        "operando_version": run.start.get("operando_version"),
        "exported_by": f"operando {operando.__version__}",
        "exported_at": now(),
    }


def jsonable(value: Any) -> Any:
    """Return ``value`` as strict JSON takes it: what is not finite becomes null."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case np.generic():
            return jsonable(value.item())
        case np.ndarray():
            return jsonable(value.tolist())
        case Mapping():
            return {str(key): jsonable(one) for key, one in value.items()}
        case Iterable() if not isinstance(value, bytes):
            return [jsonable(one) for one in value]
        case _:
            return str(value)


def file_name(text: str) -> str:
    """Return ``text`` as a part of a file's name that every file system takes, never empty."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")
    return plain or "unnamed"


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Return a file name for each of ``names``; no two are the same, whatever the case."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"
        unique, count = plain, 1
        while unique.lower() in taken:
            count += 1
            unique = f"{plain}-{count}"
        taken.add(unique.lower())
        found[name] = unique
    return found


def blocks(rows: int, size: int = ROWS_AT_A_TIME) -> Iterator[slice]:
    """Yield slices that cover ``rows`` rows, ``size`` at a time."""
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))


@dataclass(frozen=True)
class Axis:
    """What the points of a spectrum or a trace lie at.

    Attributes:
        name: A configuration key, or what we call it.
        unit: Its unit; empty if it is not known.
        values: One value per point.
    """

    name: str
    unit: str
    values: Floats

    @property
    def heading(self) -> str:
        """Return ``name [unit]``."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def axis_of(stream: Stream, points: int) -> Axis | None:
    """Return where the points of a stream's spectra or traces lie, None if that is not known.

    That is the only configuration of that length; or the time since the first point, where the
    interval was recorded and is the same in all rows.
    """
    found = [
        key
        for key, value in stream.configuration.items()
        if isinstance(value, list | tuple | np.ndarray) and len(value) == points
    ]
    if len(found) == 1:
        values = np.asarray(stream.configuration[found[0]], dtype=float)
        return Axis(found[0], "cm-1" if found[0].endswith("wavenumber") else "", values)
    intervals = [key for key in stream.columns if key.endswith("_sample_interval")]
    if len(intervals) == 1:
        every = np.unique(stream.columns[intervals[0]])
        if len(every) == 1 and every[0] > 0:
            name = intervals[0].removesuffix("_sample_interval") + "_trace_time"
            return Axis(name, "s", np.arange(points) * every[0])
    return None
