"""One door for all formats: which there are, where a run goes by default, what they return."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from operando import journal
from operando.export._ledger import keep_entry
from operando.export._told import file_name, sample_name
from operando.export.bdf import Table, export_bdf
from operando.export.nexus import export_nexus
from operando.export.rocrate import Author, check_license, export_rocrate
from operando.export.tables import export_csv, export_parquet
from operando.runs import Run

logger = logging.getLogger(__name__)

Format = Literal["bdf", "nexus", "parquet", "csv", "rocrate"]
FORMATS: tuple[Format, ...] = get_args(Format)


class Exported(list[Path]):
    """The files and folders that an export wrote.

    Attributes:
        damage: What is damaged in the journals of the run, and which rows are missing for it, in
            sentences; empty if it could be read whole.
    """

    def __init__(self, paths: Iterable[Path], damage: tuple[str, ...]) -> None:
        super().__init__(paths)
        self.damage = damage


def export_run(
    uid: str,
    data_dir: Path,
    *,
    to: Format,
    output: Path | str | None = None,
    force: bool = False,
    table: Table | None = None,
    institution: str | None = None,
    license: str | None = None,
    authors: Sequence[Author] = (),
    link: bool = False,
) -> Exported:
    """Read a run from its journal and write it in another format.

    A run that continues others is exported with them, as one experiment. A run that still grows
    is exported as far as it has come, and marked as incomplete; so is one whose journal is damaged,
    which is logged as a warning, too.

    What was written is read again and remembered in ``state/exports.jsonl`` of the data folder,
    with a checksum of each file, and whether every image and spectrum is in it.

    Args:
        uid: A uid, the beginning of one, or ``last``.
        data_dir: The data folder.
        to: The format.
        output: Where to; by default a name of its own in the working folder.
        force: Replace what exists.
        table: For bdf: ``csv`` or ``parquet``.
        institution: For bdf and rocrate: the institution's code in the table's name.
        license: For rocrate: an SPDX identifier or an address.
        authors: For rocrate and nexus: who made the data.
        link: For nexus: point at frames and spectra instead of copying them.

    Returns:
        What was written, and what of the run is missing in it because its journal is damaged.

    Raises:
        LookupError: there is no such run.
        JournalError: its journal cannot be read.
        ExportError: an export exists already, is not possible for this run, or cannot be written.
    """
    license = None if license is None else check_license(license)
    run = Run.from_journal(uid, data_dir)
    for sentence in run.damage:
        logger.warning("the export of run %s is incomplete: %s", run.uid[:8], sentence)
    place = Path(output) if output is not None else default_output(run, to)
    match to:
        case "bdf":
            written = export_bdf(
                run,
                place,
                table=table,
                institution=institution,
                number=number_of_day(run, data_dir),
                force=force,
            )
        case "nexus":
            users = [(author.name, author.orcid) for author in authors]
            written = export_nexus(run, place, link=link, users=users, force=force)
        case "parquet":
            written = export_parquet(run, place, force=force)
        case "csv":
            written = export_csv(run, place, force=force)
        case "rocrate":
            written = export_rocrate(
                run,
                place,
                data_dir=data_dir,
                journals=[journal.journal_path(data_dir, member) for member in run.sources],
                license=license,
                authors=authors,
                institution=institution,
                number=number_of_day(run, data_dir),
                force=force,
            )
    keep_entry(data_dir, run, to, written, link=link)
    return Exported(written, run.damage)


def default_output(run: Run, to: Format) -> Path:
    """Return where a run goes when nothing is said: the working folder, named after the sample."""
    name = f"{file_name(sample_name(run))}-{file_name(run.uid[:8])}"
    match to:
        case "bdf":
            return Path()
        case "nexus":
            return Path(f"{name}.nxs")
        case "rocrate":
            return Path(f"{name}-crate")
        case _:
            return Path(f"{name}-{to}")


def number_of_day(run: Run, data_dir: Path) -> int:
    """Return which run of that sample on that day (UTC) this is, from 1."""
    day = int(float(run.start["time"]) // 86400)
    return 1 + sum(
        other.time // 86400 == day
        and other.time < run.start["time"]
        and not other.attachment_of
        and file_name(other.sample) == file_name(sample_name(run))
        for other in journal.list_runs(data_dir)
    )
