"""The runs of one experiment as one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.runs._assets import Asset, AssetPart, Document
from operando.runs._run import Run, Stream


def join(runs: Sequence[Run]) -> Run:
    """Return the runs of one experiment, each continuing the one before, as one run.

    Rows follow each other as they are: a run that continues another goes on with its time and its
    counters. A key that some of the runs lack is NaN in their rows. Of the streams' configuration
    the last counts; an instrument that is not the same any more is noted.

    Args:
        runs: One or more, from the first to the last.
    """
    if len(runs) == 1:
        return runs[0]
    members = tuple(run.start for run in runs)
    names = list(dict.fromkeys(name for run in runs for name in run.streams))
    uids = [run.uid for run in runs]
    return Run(
        start=MappingProxyType({**runs[0].start, "chain": uids}),
        stop=runs[-1].stop,
        streams=MappingProxyType(
            {name: _joined_stream(name, [run.streams.get(name) for run in runs]) for name in names}
        ),
        members=members,
        notes=(
            *_changes_of_identity(members),
            *_times_that_go_back(runs),
            *(note for run in runs for note in run.notes),
        ),
        damage=tuple(one for run in runs for one in run.damage),
        files=tuple(path for run in runs for path in run.files),
    )


def with_attachments(run: Run, attachments: Sequence[Run]) -> Run:
    """Return a run with the rows that arrived after it ended, as if they were its own.

    They follow its rows, in the order they were attached, as those of a run that continues it
    would; a stream that it has not is added. Rows in files of another kind, transmittance where the
    others are absorbance, are a stream of their own, ``NAME_2``: they have no place among them. Its
    start, stop and members stay what they are.

    Args:
        run: The run, or the runs of one experiment joined.
        attachments: Runs whose start documents tell ``attachment_of`` one of them.
    """
    if not attachments:
        return run
    parts = _apart([run, *attachments])
    names = list(dict.fromkeys(name for part in parts for name in part.streams))
    streams = {}
    for name in names:
        own = run.streams.get(name)
        joined = _joined_stream(name, [part.streams.get(name) for part in parts])
        # What a run was configured with counts, and joints are those of its own runs.
        configuration = {**joined.configuration, **(own.configuration if own else {})}
        streams[name] = replace(
            joined,
            joints=() if own is None else own.joints,
            begins=() if own is None else own.begins,
            configuration=MappingProxyType(configuration),
        )
    return replace(
        run,
        streams=MappingProxyType(streams),
        attachments=(*run.attachments, *(one.start for one in attachments)),
        notes=(*run.notes, *(note for one in attachments for note in one.notes)),
        damage=(*run.damage, *(told for one in attachments for told in one.damage)),
        files=(*run.files, *(path for one in attachments for path in one.files)),
        _memory={},  # that of the run alone knows nothing of these rows
    )


def _apart(parts: Sequence[Run]) -> list[Run]:
    """Rename streams so that those of one name, if they have rows, have the same keys in files."""
    kinds: dict[str, list[frozenset[str]]] = {}
    found = []
    for part in parts:
        streams = {}
        for name, stream in part.streams.items():
            kind = frozenset(stream.assets)
            known = kinds.setdefault(name, [])
            if len(stream) and kind not in known:
                known.append(kind)
            number = known.index(kind) if len(stream) else 0
            called = f"{name}_{number + 1}" if number else name
            streams[called] = replace(stream, name=called) if number else stream
        found.append(replace(part, streams=MappingProxyType(streams)))
    return found


def _joined_stream(name: str, streams: Sequence[Stream | None]) -> Stream:
    present = [stream for stream in streams if stream is not None]
    rows = [0 if stream is None else len(stream) for stream in streams]
    keys = dict.fromkeys(key for stream in present for key in stream.columns)
    asset_keys = dict.fromkeys(key for stream in present for key in stream.assets)
    units: dict[str, str] = {}
    configuration: dict[str, Any] = {}
    for stream in present:
        units |= stream.units
        configuration |= stream.configuration
    return Stream(
        name=name,
        columns=MappingProxyType({key: _joined_column(key, present) for key in keys}),
        units=MappingProxyType(units),
        time=np.concatenate([stream.time for stream in present]),
        configuration=MappingProxyType(configuration),
        assets=MappingProxyType({key: _joined_asset(key, present) for key in asset_keys}),
        joints=tuple(dict.fromkeys(row for row in accumulate(rows[:-1]) if 0 < row < sum(rows))),
        holes=tuple(
            dict.fromkeys(
                before + hole
                for before, stream in zip(accumulate(rows, initial=0), streams, strict=False)
                if stream is not None
                for hole in stream.holes
            )
        ),
        begins=(0, *accumulate(rows[:-1])),
    )


def _joined_column(key: str, streams: Sequence[Stream]) -> NDArray[Any]:
    columns = [stream.columns.get(key) for stream in streams]
    shape = next(column.shape[1:] for column in columns if column is not None)
    parts = [
        np.full((len(stream), *shape), math.nan) if column is None else column
        for column, stream in zip(columns, streams, strict=True)
    ]
    filled = [part for part in parts if len(part)]
    joined = np.concatenate(filled) if filled else parts[0]
    joined.flags.writeable = False
    return joined


def _joined_asset(key: str, streams: Sequence[Stream]) -> Asset:
    """Join the rows in files so that each keeps the number of its stream's row."""
    parts: list[AssetPart] = []
    gone: dict[str, None] = {}
    for number, stream in enumerate(streams):
        asset = stream.assets.get(key)
        if asset is not None and asset.gone:
            gone[asset.gone] = None
        own = list(asset.parts) if asset is not None else []
        last = number == len(streams) - 1
        if len(stream) and not last:
            own = _of_length(own, len(stream))
        parts += own
    return Asset(key, parts, "; ".join(gone))


def _of_length(parts: list[AssetPart], rows: int) -> list[AssetPart]:
    """Cut what was stored and has no row; what was lost keeps its place, without a file."""
    kept: list[AssetPart] = []
    for part in parts:
        count = min(rows, part.stop - part.start)
        if count:
            kept.append(AssetPart(part.path, part.dataset, part.start, part.start + count))
        rows -= count
    return [*kept, AssetPart(Path("lost"), "", 0, rows)] if rows else kept


def _times_that_go_back(runs: Sequence[Run]) -> Iterator[str]:
    """Say which runs begin before the end of the one before: rows of theirs may be there twice."""
    newest = -math.inf
    for run in runs:
        times = (
            run.streams["potentiostat"].columns.get("potentiostat_t")
            if ("potentiostat" in run.streams)
            else None
        )
        if times is None or not np.isfinite(times).any():
            continue
        if np.nanmin(times) < newest:
            yield (
                f"run {run.uid[:8]} has rows of before {newest:.6g} s, when the run before it "
                "ended: some may be there twice"
            )
        newest = max(newest, float(np.nanmax(times)))


def _changes_of_identity(members: Sequence[Document]) -> Iterator[str]:
    """Say which instruments tell something else of themselves than in the run before."""
    before: dict[tuple[str, str], object] = {}
    for member in members:
        instruments = (member.get("bench") or {}).get("instruments") or {}
        for device, told in instruments.items():
            for key, value in ((told or {}).get("identity") or {}).items():
                known = before.setdefault((device, key), value)
                if known != value and key != "address":
                    yield (
                        f"{device} is not the same in run {str(member.get('uid'))[:8]}: its {key} "
                        f"was {known!r} and is {value!r}"
                    )
                before[device, key] = value
