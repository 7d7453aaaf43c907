"""Files that an instrument leaves in a folder, made rows of the run in whose time they were begun.

A table with times is as many rows as it has; a spectrum, a pattern or a map is one row whose
columns are arrays.
"""

import errno
import fnmatch
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from operando.attachments._chromatograms import chromatogram_parts
from operando.attachments._clock import FileClock
from operando.attachments._place import Floats, leader_times
from operando.attachments._write import AttachmentError, Part, SourceFile
from operando.readers import ReaderError, Table, read
from operando.runs import Run
from techniques.injections import labelled_injection

TIME = "time_s"
_SECOND_LOOK_S = 0.5
# What says of one entry of a folder that there is no file behind it, and nothing of the folder.
_NO_FILE = {errno.ENOENT, errno.ELOOP}


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
        ended: Of a table with times, when its last row was taken, epoch s of this computer's
            clock; None where it is one measurement, which belongs where it was begun.
        shifted_s: What was taken off the time of its writing, which is all that tells its time, as
            the offset of the instrument's clock, s; 0 where it tells its time itself.
    """

    source: SourceFile
    kind: str
    started: float | None
    parts: Callable[[Run], Sequence[Part]]
    uid: str = ""
    told: dict[str, str] | None = None
    among_rows: bool = False
    ended: float | None = None
    shifted_s: float = 0.0


def file_parts(
    path: Path,
    *,
    device: str,
    stream: str | None = None,
    format: str | None = None,
    clock: FileClock | None = None,
    configuration: Mapping[str, float] | None = None,
) -> Late:
    """Read a file and return what is to be attached.

    A chromatogram that carries the name of an injection is of that, whatever its time. Else its
    time counts: what the file tells, less the declared offset; a file that tells none, or none that
    can be read, was begun as long before it was last written as its own rows, or the declared
    duration, last.

    Args:
        path: The file.
        device: The instrument: the keys' beginning.
        stream: The stream; by default called like the instrument.
        format: A name in `operando.readers.FORMATS`; by default by the file's ending.
        clock: What is known of the instrument's clock; by default that it is this computer's.
        configuration: What else was declared of the instrument, by name.

    Raises:
        ReaderError: The file cannot be read.
    """
    clock = FileClock() if clock is None else clock
    table = read(path, format)
    try:
        source = SourceFile.of(path)
    except OSError as error:
        raise ReaderError(f"{path}: cannot be read ({error.strerror})") from error
    if source.sha256 != table.source.sha256:
        raise ReaderError(f"{path}: changed while it was read: it is still being written")
    times = table.columns.get(TIME)
    known = None if times is None else times[np.isfinite(times)]
    lasted_s = clock.duration_s if known is None else float(np.max(known, initial=0.0))
    stamp = table.told.get("started", "")
    moment = clock.of_stamp(stamp) if stamp else None
    shifted = 0.0
    if moment is not None:
        started, by = moment
    else:
        modified = source.modified or 0.0
        written, by = clock.of_writing(modified)
        shifted = modified - written
        started = written - lasted_s
        by += f" ({stamp!r}, which it tells, is no time that is known)" if stamp else ""
        if known is None and not lasted_s:
            by += ": that is its end, and how long it took was not declared (duration_s)"
    told = {**table.told, "time_from": by}
    named = labelled_injection(table.told.get("label", ""))

    def parts(run: Run) -> Sequence[Part]:
        if named is not None and named[0] != run.uid:
            raise AttachmentError(
                f"{path.name} says that it is injection {named[1]} of run {named[0]}, not of "
                f"{run.uid[:8]}: attach it to that"
            )
        is_chromatogram = table.source.format == "fusion_json" and len(table) > 1
        chromatograph = _chromatograph(run) if is_chromatogram else None
        if chromatograph is not None and "detectors" in table.told:
            raise AttachmentError(
                f"{path.name} has the detectors {table.told['detectors']}, and it is not told here "
                "which sees hydrogen: name it in the bench file (detector) and let `operando "
                "collect` attach it"
            )
        if chromatograph is not None:
            return chromatogram_parts(
                run,
                chromatograph,
                number=None if named is None else named[1],
                started=started,
                arrived=time.time(),
                sample_interval_s=float(table.columns["retention_s"][1]),
                trace=table.columns["signal"].tolist(),
            )
        part = _part(table, device, started, run, clock)
        declared = {f"{device}_{key}": value for key, value in (configuration or {}).items()}
        part = replace(part, configuration={**part.configuration, **declared})
        return [part if stream is None else replace(part, stream=stream)]

    return Late(
        source,
        table.source.format,
        started,
        parts,
        uid="" if named is None else named[0],
        told=told,
        among_rows=table.source.format == "fusion_json",
        ended=None if known is None else started + lasted_s,
        shifted_s=shifted,
    )


def _chromatograph(run: Run) -> str | None:
    """Return the name of a run's gas chromatograph; None if it has none."""
    found = (name for name, one in run.streams.items() if f"{name}_missed" in one.columns)
    return next(found, None)


def _part(table: Table, device: str, started: float, run: Run, clock: FileClock) -> Part:
    elapsed = table.columns.get(TIME)
    values = {f"{device}_{name}": column for name, column in table.columns.items()}
    units = {f"{device}_{name}": unit for name, unit in table.units.items() if unit not in "1?"}
    when = np.array([started]) if elapsed is None else started + elapsed
    before, after = leader_times(run, when, clock.uncertainty_s)
    if elapsed is None and clock.duration_s:
        _, after = leader_times(run, when + clock.duration_s, clock.uncertainty_s)
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

    A file counts when neither its size nor its time has changed between two looks, 0.5 s apart;
    one that is known already is looked at once.

    Args:
        folder: The folder.
        instrument: Name of the instrument.
        stream: The stream of their rows; by default called like the instrument.
        pattern: Which files, as in a shell.
        format: How they are read; by default by their ending.
        clock: What is known of the instrument's clock; by default that it is this computer's.
        configuration: What else was declared of the instrument, by name.
    """

    def __init__(
        self,
        folder: Path,
        instrument: str,
        *,
        stream: str | None = None,
        pattern: str = "*",
        format: str | None = None,
        clock: FileClock | None = None,
        configuration: Mapping[str, float] | None = None,
    ) -> None:
        self.folder = folder
        self.instrument = instrument
        self.address = str(folder)
        self.clock = FileClock() if clock is None else clock
        self.clock_offset_s = self.clock.offset_s
        self.declared = {"reader": format or "", **self.clock.told(), **(configuration or {})}
        self._stream = stream
        self._pattern = pattern
        self._format = format
        self._configuration = configuration

    def keys(self, known: Mapping[str, object] | None = None) -> dict[str, str]:
        """Return the complete files, name -> what changes when it is written again.

        Args:
            known: What was returned of files that were looked at before.

        Raises:
            AttachmentError: The folder is gone.
        """
        seen = self._look()
        if any((known or {}).get(name) != state for name, state in seen.items()):
            time.sleep(_SECOND_LOOK_S)
            again = self._look()
            seen = {name: state for name, state in seen.items() if again.get(name) == state}
        return seen

    def fetch(self, key: str) -> Late:
        """Read one file; raises ReaderError if it cannot be read."""
        return file_parts(
            self.folder / key,
            device=self.instrument,
            stream=self._stream,
            format=self._format,
            clock=self.clock,
            configuration=self._configuration,
        )

    def _look(self) -> dict[str, str]:
        """Return size and time of the files that hold something."""
        found: dict[str, str] = {}
        try:
            for path in sorted(self.folder.iterdir()):
                if path.name.startswith(".") or not fnmatch.fnmatch(path.name, self._pattern):
                    continue
                try:
                    told = path.stat()
                except OSError as error:
                    if error.errno in _NO_FILE:
                        continue  # a link to nowhere, or renamed away since it was listed
                    raise
                if stat.S_ISREG(told.st_mode) and told.st_size:
                    found[path.name] = f"{told.st_size} {told.st_mtime_ns}"
        except OSError as error:
            raise AttachmentError(
                f"{self.instrument}: cannot look into {self.folder} ({error.strerror}): is the "
                "folder there, and mounted?"
            ) from error
        return found
