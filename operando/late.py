"""Results that instruments hand over when they like: where they appear, and who looks."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError
from instruments.external.entry import ExternalEntry
from instruments.external.watched_folder import folder_of
from instruments.gas_chromatograph import Results, parse_chromatogram
from instruments.gas_chromatograph.entry import GasChromatographEntry
from operando.attachments import (
    TOLD,
    AttachmentError,
    Collected,
    FileClock,
    FolderResults,
    Late,
    LateResults,
    Part,
    SourceFile,
    chromatogram_parts,
    collect,
)
from operando.configuration import ConfigurationError
from operando.readers import FORMATS
from operando.runs import Run
from techniques.injections import labelled_injection

logger = logging.getLogger(__name__)

KIND = "chromatogram"
# So many a session tells of itself.
_TOLD_AT_MOST = 5


class ChromatogramPlace:
    """The results of one gas chromatograph.

    Args:
        instrument: Its name in the bench file.
        address: Where they appear, as it is written there.
        results: The driver's side.
        clock_offset_s: How far the data system's clock is ahead of this computer's, s.
    """

    def __init__(
        self, instrument: str, address: str, results: Results, clock_offset_s: float
    ) -> None:
        self.instrument = instrument
        self.address = address
        self.clock_offset_s = clock_offset_s
        self.declared: Mapping[str, Any] = {
            "clock_offset_s": clock_offset_s,
            **({} if results.detector is None else {"detector": results.detector}),
            **({} if results.time_zone is None else {"time_zone": results.time_zone}),
        }
        self._results = results

    def keys(self, known: Mapping[str, object] | None = None) -> dict[str, int | str]:
        """Return the results there are; raises AttachmentError if nobody can tell."""
        del known
        try:
            return dict(self._results.listed())
        except InstrumentError as error:
            raise AttachmentError(f"{self.instrument}: {error}") from error

    def fetch(self, key: str) -> Late:
        """Return one of them; raises AttachmentError if it cannot be read."""
        try:
            content = self._results.content(key)
            source = self._results
            result = parse_chromatogram(content, Path(key), source.detector, source.time_zone)
        except InstrumentError as error:
            raise AttachmentError(f"{self.instrument}: {error}") from error
        named = labelled_injection(result.label)
        started = result.started - self.clock_offset_s
        arrived = time.time()

        def parts(run: Run) -> list[Part]:
            if named is None and self._results.names_runs:
                label = f"is called {result.label!r}" if result.label else "carries no name"
                raise AttachmentError(
                    f"{key} {label}, and ours carry the name of their injection: a run of somebody "
                    "else, which is left out"
                )
            return chromatogram_parts(
                run,
                self.instrument,
                number=None if named is None else named[1],
                started=started,
                arrived=arrived,
                sample_interval_s=result.sample_interval_s,
                trace=result.trace,
            )

        return Late(
            source=SourceFile.of_content(key, content),
            kind=KIND,
            started=started,
            parts=parts,
            uid="" if named is None else named[0],
            told={"method": result.method, "label": result.label},
            among_rows=True,
        )


class ExternalPlace:
    """The files of one external instrument.

    Args:
        instrument: Its name in the bench file.
        entry: What is told of it there.
    """

    def __init__(self, instrument: str, entry: ExternalEntry) -> None:
        self.instrument = instrument
        self.address = entry.address
        self.clock_offset_s = entry.clock_offset_s
        self.clock = FileClock(
            entry.clock_offset_s,
            entry.clock_uncertainty_s,
            entry.time_zone,
            entry.files_dated_by,
            entry.duration_s,
        )
        wavelength = entry.wavelength_angstrom
        self._configuration = {} if wavelength is None else {"wavelength_angstrom": wavelength}
        self._entry = entry
        self.declared: Mapping[str, Any] = {
            "reader": entry.reader or "",
            **self.clock.told(),
            **self._configuration,
        }

    def keys(self, known: Mapping[str, object] | None = None) -> dict[str, str]:
        """Return the complete files; raises AttachmentError if the folder is gone."""
        return self._files().keys(known)

    def fetch(self, key: str) -> Late:
        """Return one of them; raises ReaderError or AttachmentError if it cannot be read."""
        return self._files().fetch(key)

    def _files(self) -> FolderResults:
        entry = self._entry
        try:
            folder = folder_of(entry.address)
        except InstrumentError as error:
            raise AttachmentError(f"{self.instrument}: {error}") from error
        return FolderResults(
            folder,
            self.instrument,
            # Its own stream tells what was seen while the run lasted.
            stream=f"{self.instrument}_data",
            pattern=entry.pattern,
            format=entry.reader,
            clock=self.clock,
            configuration=self._configuration,
        )


def places_of(bench: BenchFile) -> list[LateResults]:
    """Return where results of a bench's instruments appear."""
    places: list[LateResults] = []
    for name, entry in bench.instruments.items():
        if isinstance(entry, GasChromatographEntry):
            address = " ".join(entry.addresses)
            results = entry.result_source()
            offset_s = entry.clock_offset_s or 0.0
            places.append(ChromatogramPlace(name, address, results, offset_s))
        elif isinstance(entry, ExternalEntry):
            places.append(ExternalPlace(name, entry))
    return places


def check_readers(bench: BenchFile) -> None:
    """Raise ConfigurationError if a bench names a reader that there is not."""
    for name, entry in bench.instruments.items():
        if isinstance(entry, ExternalEntry) and entry.reader not in (None, *FORMATS):
            raise ConfigurationError(
                f"bench {bench.name!r}: {name} is to be read by {entry.reader!r}, which is no "
                f"reader; there are {', '.join(FORMATS)}"
            )


def collect_late(
    data_dir: Path, bench: BenchFile, *, again: bool = True
) -> tuple[list[Collected], list[str]]:
    """Attach what has arrived at a bench since its runs ended; see `collect`."""
    return collect(data_dir, places_of(bench), again=again)


def collect_quietly(data_dir: Path, bench: BenchFile) -> None:
    """Attach what has arrived and log what somebody should know; a session does this.

    Nothing that goes wrong here keeps anybody from measuring.
    """
    try:
        found, troubles = collect_late(data_dir, bench, again=False)
    except Exception:
        logger.exception("late results were not looked for")
        return
    for trouble in troubles:
        logger.info("late results: %s", trouble)
    told = [one for one in found if one.outcome in TOLD]
    for one in found:
        if one.outcome == "attached":
            told_more = f": {one.reason}" if one.reason else ""
            name, run = one.name, one.uid[:8]
            logger.info("%s: %s attached to run %s%s", one.instrument, name, run, told_more)
    for one in told[:_TOLD_AT_MOST]:
        logger.warning("%s: %s is %s: %s", one.instrument, one.name, one.outcome, one.reason)
    if len(told) > _TOLD_AT_MOST:
        logger.warning("%d more results like these (operando collect)", len(told) - _TOLD_AT_MOST)
