"""Files that an instrument leaves in a folder, made rows of the run in whose time they were begun.

A table with times is as many rows as it has; a spectrum, a pattern or a map is one row whose
columns are arrays.
"""

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from operando.attachments._chromatograms import chromatogram_parts
from operando.attachments._place import CLOCK_UNCERTAINTY_S, Floats, leader_times
from operando.attachments._write import AttachmentError, Part, SourceFile
from operando.readers import ReaderError, Table, read
from operando.runs import Run

TIME = "time_s"
# A file that was not touched for so long is not looked at twice.
_OLD_S = 10.0
_SECOND_LOOK_S = 0.5


@dataclass(frozen=True)
class Late:
    """One result that was found.

    Attributes:
        source: What it was read from.
        kind: The reader's name.
        started: When it was begun, epoch s of this computer's clock; None if nothing tells it.
        parts: Return its rows as those of a run; raises AttachmentError if they are none of it.
        uid: The run that the result itself names; empty if it names none.
        told: What else is known of it.
        among_rows: Whether ``parts`` looks at the rows that the run has already.
    """

    source: SourceFile
    kind: str
    started: float | None
    parts: Callable[[Run], Sequence[Part]]
    uid: str = ""
    told: dict[str, str] | None = None
    among_rows: bool = False


def file_parts(
    path: Path,
    *,
    device: str,
    stream: str | None = None,
    format: str | None = None,
    clock_offset_s: float = 0.0,
    clock_uncertainty_s: float = CLOCK_UNCERTAINTY_S,
) -> Late:
    """Read a file and return what is to be attached.

    Its time is what the file tells, less the declared offset; a file that tells none was written
    when its folder says, by this computer's clock.

    Args:
        path: The file.
        device: The instrument: the keys' beginning.
        stream: The stream; by default called like the instrument.
        format: A name in `operando.readers.FORMATS`; by default by the file's ending.
        clock_offset_s: How far the instrument's clock is ahead of this computer's, s.
        clock_uncertainty_s: How well the times are known, s.

    Raises:
        ReaderError: The file cannot be read.
    """
    table = read(path, format)
    try:
        source = SourceFile.of(path)
        modified = path.stat().st_mtime
    except OSError as error:
        raise ReaderError(f"{path}: cannot be read ({error.strerror})") from error
    if source.sha256 != table.source.sha256:
        raise ReaderError(f"{path}: changed while it was read: it is still being written")
    times = table.columns.get(TIME)
    started = _told_start(table)
    told = {**table.told, "time_from": "the file"}
    if started is not None:
        started -= clock_offset_s
    else:
        told["time_from"] = "when the file was last written"
        started = modified - (0.0 if times is None or not len(times) else float(np.nanmax(times)))

    def parts(run: Run) -> Sequence[Part]:
        is_chromatogram = table.source.format == "fusion_json" and len(table) > 1
        chromatograph = _chromatograph(run) if is_chromatogram else None
        if chromatograph is not None:
            return chromatogram_parts(
                run,
                chromatograph,
                number=None,
                started=started,
                arrived=time.time(),
                sample_interval_s=float(table.columns["retention_s"][1]),
                trace=table.columns["signal"].tolist(),
            )
        part = _part(table, device, started, run, clock_uncertainty_s)
        return [part if stream is None else replace(part, stream=stream)]

    among_rows = table.source.format == "fusion_json"
    return Late(source, table.source.format, started, parts, told=told, among_rows=among_rows)


def _chromatograph(run: Run) -> str | None:
    """Return the name of a run's gas chromatograph; None if it has none."""
    found = (name for name, one in run.streams.items() if f"{name}_missed" in one.columns)
    return next(found, None)


def _told_start(table: Table) -> float | None:
    stamp = table.told.get("started")
    if not stamp:
        return None
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _part(table: Table, device: str, started: float, run: Run, uncertainty_s: float) -> Part:
    elapsed = table.columns.get(TIME)
    values = {f"{device}_{name}": column for name, column in table.columns.items()}
    units = {f"{device}_{name}": unit for name, unit in table.units.items() if unit not in "1?"}
    when = np.array([started]) if elapsed is None else started + elapsed
    before, after = leader_times(run, when, uncertainty_s)
    placed = {f"{device}_t_before": before, f"{device}_t_after": after}
    units |= dict.fromkeys(placed, "s")
    configuration = {
        f"{device}_technique": table.technique,
        f"{device}_sign": table.sign,
        **{f"{device}_{_name(key)}": value for key, value in table.told.items()},
    }
    if elapsed is None:
        return Part(
            stream=device,
            device=device,
            columns={key: column.tolist() for key, column in placed.items()},
            units=units,
            time=when.tolist(),
            arrays={key: _shaped(column, table)[np.newaxis] for key, column in values.items()},
            configuration=configuration,
        )
    return Part(
        stream=device,
        device=device,
        columns={key: column.tolist() for key, column in (placed | values).items()},
        units=units,
        time=when.tolist(),
        configuration=configuration,
    )


def _shaped(column: Floats, table: Table) -> Floats:
    """Return a column of a map as its lines and pixels, one of another table as it is."""
    try:
        shape = int(table.told["rows"]), int(table.told["columns"])
    except (KeyError, ValueError):
        return column
    return column.reshape(shape) if shape[0] * shape[1] == len(column) else column


def _name(text: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in text.lower()).strip("_")


class FolderResults:
    """A folder into which an instrument writes files, of which one kind is ours.

    A file counts when its size has not changed between two looks; one that nobody touched for 10 s
    is looked at once.

    Args:
        folder: The folder.
        instrument: Name of the instrument.
        stream: The stream of their rows; by default called like the instrument.
        pattern: Which files, as in a shell.
        format: How they are read; by default by their ending.
        clock_offset_s: How far the instrument's clock is ahead of this computer's, s.
        clock_uncertainty_s: How well its times are known, s.
    """

    def __init__(
        self,
        folder: Path,
        instrument: str,
        *,
        stream: str | None = None,
        pattern: str = "*",
        format: str | None = None,
        clock_offset_s: float = 0.0,
        clock_uncertainty_s: float = CLOCK_UNCERTAINTY_S,
    ) -> None:
        self.folder = folder
        self.instrument = instrument
        self.address = str(folder)
        self.clock_offset_s = clock_offset_s
        self._stream = stream
        self._pattern = pattern
        self._format = format
        self._clock_uncertainty_s = clock_uncertainty_s

    def keys(self) -> dict[str, int]:
        """Return the complete files, name -> size; raises AttachmentError if the folder is gone."""
        seen, fresh = self._look()
        if fresh:
            time.sleep(_SECOND_LOOK_S)
            again, _ = self._look()
            seen = {name: size for name, size in seen.items() if again.get(name) == size}
        return seen

    def fetch(self, key: str) -> Late:
        """Read one file; raises ReaderError if it cannot be read."""
        return file_parts(
            self.folder / key,
            device=self.instrument,
            stream=self._stream,
            format=self._format,
            clock_offset_s=self.clock_offset_s,
            clock_uncertainty_s=self._clock_uncertainty_s,
        )

    def _look(self) -> tuple[dict[str, int], bool]:
        """Return the sizes of the files that hold something, and whether one is new."""
        sizes: dict[str, int] = {}
        fresh = False
        try:
            for path in sorted(self.folder.iterdir()):
                if path.name.startswith(".") or not fnmatch.fnmatch(path.name, self._pattern):
                    continue
                told = path.stat()
                if path.is_file() and told.st_size:
                    sizes[path.name] = told.st_size
                    fresh = fresh or time.time() - told.st_mtime < _OLD_S
        except OSError as error:
            raise AttachmentError(
                f"{self.instrument}: cannot look into {self.folder} ({error.strerror}): is the "
                "folder there, and mounted?"
            ) from error
        return sizes, fresh
