"""INFICON Micro GC Fusion results (.json): the traces of its detectors and the peaks it found."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from operando.readers._table import ReaderError, Table, text_of

FORMAT = "fusion_json"


def read_fusion(path: Path | str, detector: str | None = None) -> Table:
    """Read the trace of one detector: ``retention_s`` from the injection on, and ``signal``.

    What the instrument's own software found stands in ``told``: ``peak H2`` is the text
    ``area 123.4, top 52.0 s, concentration 0.1``; ``label`` is the name that the run was given,
    where it was given one.

    Args:
        path: The file.
        detector: Name of the detector, such as ``moduleA:tcd``; by default the first.

    Raises:
        ReaderError: It is no such file, has no such detector, or a trace of another length than
            the file announces.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReaderError(f"{path}: is no complete JSON ({error}): is it cut off?") from error
    detectors = told.get("detectors") if isinstance(told, dict) else None
    if not isinstance(detectors, dict) or not detectors:
        raise ReaderError(f"{path}: a result has detectors, this file tells none")
    name = next(iter(detectors)) if detector is None else detector
    if name not in detectors:
        raise ReaderError(f"{path}: there is no detector {name!r}; there are {list(detectors)}")
    one = detectors[name]
    try:
        signal = np.array(one["values"], dtype=np.float64)
        rate = float(one["nValuesPerSecond"])
        expected = int(one.get("nValuesExpected", len(signal)))
        peaks = {
            f"peak {peak.get('label', '?')}": _peak(peak)
            for peak in (one.get("analysis") or {}).get("peaks") or []
        }
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReaderError(f"{path}: detector {name} is not as expected ({error!r})") from error
    if signal.ndim != 1 or not len(signal) or len(signal) != expected or not 0 < rate < math.inf:
        raise ReaderError(
            f"{path}: detector {name} has {len(signal)} values at {rate:g} per second, {expected} "
            "were announced: is it cut off?"
        )
    if not np.isfinite(signal).all():
        raise ReaderError(f"{path}: a value of detector {name} is no finite number")
    about = {"method": str(told.get("methodName", "")), "detector": name}
    if len(detectors) > 1:
        about["detectors"] = ", ".join(detectors)
    about["started"] = _stamp(told.get("runTimeStamp", ""))
    annotations = told.get("annotations")
    if isinstance(annotations, dict) and annotations.get("name"):
        about["label"] = str(annotations["name"])
    about |= peaks
    return Table(
        {"retention_s": np.arange(len(signal)) / rate, "signal": signal},
        {"retention_s": "s", "signal": "?"},
        "gas chromatogram",
        "no current; the detector's own unit",
        source,
        about,
    )


def _stamp(told: Any) -> str:
    """Return when a run was begun, in ISO 8601; epoch seconds may stand for it."""
    if isinstance(told, (int, float)):
        try:
            return datetime.fromtimestamp(told, UTC).isoformat()
        except (ArithmeticError, OSError, ValueError):
            pass  # no moment that a calendar has
    return str(told)


def _peak(peak: Mapping[str, Any]) -> str:
    return (
        f"area {peak.get('area')}, top {peak.get('top')} s, "
        f"concentration {peak.get('concentration')}"
    )
