"""What was deleted of a run's raw data after it had been exported: a note beside its journal."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ._roots import sync_folder

_SUFFIX = ".deleted"


@dataclass(frozen=True)
class DeletedRaw:
    """Files of images and spectra that were deleted; the journal itself never is.

    Attributes:
        files: Name below the data folder -> size in bytes.
        sha256: Name below the data folder -> SHA-256.
        exported_to: Where the export was that holds them.
        format: Of that export.
        at: When they were deleted, epoch, s.
        by: Who had it done.
    """

    files: dict[str, int]
    sha256: dict[str, str]
    exported_to: str
    format: str
    at: float
    by: str

    def __str__(self) -> str:
        size = sum(self.files.values())
        when = time.strftime("%Y-%m-%d", time.localtime(self.at))
        return (
            f"images and spectra ({len(self.files)} file{'s' * (len(self.files) != 1)}, "
            f"{size / 1e6:.3g} MB) were exported to {self.exported_to} ({self.format}) and deleted "
            f"here on {when} by {self.by}"
        )


def deleted_raw(journal: Path) -> DeletedRaw | None:
    """Return what was deleted of the run of a journal; ``None``: nothing, as far as is told."""
    try:
        told = json.loads(_place(journal).read_text(encoding="utf-8"))
        return DeletedRaw(
            files={str(name): int(size) for name, size in told["files"].items()},
            sha256={str(name): str(digest) for name, digest in told["sha256"].items()},
            exported_to=str(told["exported_to"]),
            format=str(told["format"]),
            at=float(told["at"]),
            by=str(told["by"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def note_deleted(journal: Path, note: DeletedRaw) -> None:
    """Write the note, before anything is deleted; what an earlier one tells is kept."""
    before = deleted_raw(journal)
    told = asdict(note)
    if before is not None:
        told["files"] = {**before.files, **note.files}
        told["sha256"] = {**before.sha256, **note.sha256}
    place = _place(journal)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(place.parent)


def _place(journal: Path) -> Path:
    return journal.with_suffix(_SUFFIX)
