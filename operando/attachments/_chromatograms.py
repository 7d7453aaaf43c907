"""Chromatograms that arrive after their run: rows like those that arrived within it."""

import math
from collections.abc import Sequence

import numpy as np

from operando.attachments._write import AttachmentError, Part
from operando.runs import Run

STREAM = "chromatogram"
# How far the data system's clock and this computer's may be apart after the declared offset [s].
TOLERANCE_S = 30.0
# Values of a trace that is like no other.
_OWN_FROM = 10


def chromatogram_parts(
    run: Run,
    device: str,
    *,
    number: int | None,
    started: float,
    arrived: float,
    sample_interval_s: float,
    trace: Sequence[float],
) -> list[Part]:
    """Return the row of one chromatogram; none if the run has it already.

    Args:
        run: The run, with what was attached to it before.
        device: Name of the gas chromatograph.
        number: Which injection it is of; None: the one that was made at its time.
        started: When it was begun, epoch s of this computer's clock.
        arrived: When it was found, epoch s.
        sample_interval_s: Between two values, s.
        trace: The detector's signal.

    Raises:
        AttachmentError: The run made no such injection, or has another chromatogram of it.
    """
    if number is None:
        number = _nearest(run, device, started)
    elif number not in _injections(run, device):
        raise AttachmentError(f"run {run.uid[:8]} made no injection {number} with {device}")
    prefix = f"{device}_result"
    stream = run.streams.get(STREAM)
    known = [] if stream is None else list(stream.columns.get(f"{prefix}_injection", ()))
    if number in known:
        _check_alike(run, prefix, known.index(number), trace)
        return []
    _check_new(run, prefix, number, trace)
    asset = None if stream is None else stream.assets.get(f"{prefix}_trace")
    length = len(asset[0]) if asset is not None and len(asset) else len(trace)
    # A trace of which both ends are sampled has one value more.
    trace = trace[:length] if len(trace) == length + 1 else trace
    values = [*trace, *([math.nan] * (length - len(trace)))]
    return [
        Part(
            stream=STREAM,
            device=prefix,
            columns={
                f"{prefix}_injection": [float(number)],
                f"{prefix}_sample_interval": [sample_interval_s],
                f"{prefix}_arrived": [arrived],
            },
            units={f"{prefix}_sample_interval": "s", f"{prefix}_arrived": "s"},
            time=[arrived],
            arrays={f"{prefix}_trace": np.array([values])},
        )
    ]


def _check_alike(run: Run, prefix: str, row: int, trace: Sequence[float]) -> None:
    """Raise AttachmentError if the run has another trace of an injection, as far as it has one."""
    stream = run.streams[STREAM]
    asset = stream.assets.get(f"{prefix}_trace")
    if asset is None or len(asset) != len(stream):
        return  # a file is gone: nobody can tell
    known = np.asarray(asset[row], dtype=np.float64)
    known = known[np.isfinite(known)][: len(trace)]
    if not np.array_equal(known, np.asarray(trace, dtype=np.float64)[: len(known)]):
        number = int(stream.columns[f"{prefix}_injection"][row])
        raise AttachmentError(
            f"run {run.uid[:8]} has another chromatogram of injection {number} already: which is "
            "of it? Are clock and detector declared as they are (clock_offset_s, detector)?"
        )


def _check_new(run: Run, prefix: str, number: int, trace: Sequence[float]) -> None:
    """Raise AttachmentError if the run has this trace as another injection's."""
    stream = run.streams.get(STREAM)
    asset = None if stream is None else stream.assets.get(f"{prefix}_trace")
    if stream is None or asset is None or len(asset) != len(stream):
        return
    wanted = np.asarray(trace, dtype=np.float64)
    for row, other in enumerate(stream.columns[f"{prefix}_injection"]):
        known = np.asarray(asset[row], dtype=np.float64)
        known = known[np.isfinite(known)][: len(wanted)]
        # A detector's noise makes each its own; a flat or tiny one is like any other.
        told = len(known) >= _OWN_FROM and np.ptp(known) > 0
        if told and np.array_equal(known, wanted[: len(known)]):
            raise AttachmentError(
                f"run {run.uid[:8]} has this chromatogram as injection {int(other)}, by its time "
                f"it were injection {number}: is the clock declared as it is (clock_offset_s)?"
            )


def _injections(run: Run, device: str) -> dict[int, float]:
    """Return the injections that were made, number -> epoch of their start."""
    stream = run.streams.get(device)
    if stream is None or f"{device}_injection" not in stream.columns:
        return {}
    columns = stream.columns
    return {
        int(number): float(begun)
        for number, begun, missed in zip(
            columns[f"{device}_injection"],
            columns[f"{device}_host_before"],
            columns[f"{device}_missed"],
            strict=True,
        )
        if missed == 0
    }


def _nearest(run: Run, device: str, started: float) -> int:
    made = _injections(run, device)
    nearest = min(made, key=lambda one: abs(made[one] - started), default=None)
    if nearest is None or abs(made[nearest] - started) > TOLERANCE_S:
        near = "" if nearest is None else f"; the nearest is {made[nearest] - started:+.0f} s away"
        raise AttachmentError(
            f"run {run.uid[:8]} made no injection within {TOLERANCE_S:g} s of it{near}: is the "
            "clock of the data system declared (clock_offset_s)?"
        )
    return nearest
