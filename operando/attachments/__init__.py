"""Results that belong to a run and arrive after it ended: minutes or days later, as files.

The journal of a run that has ended is never touched: what arrives is a run of its own whose start
document names the one it belongs to, and whoever reads that one sees the rows of both.
"""

from operando.attachments._belonging import AROUND_S, Outcome, missed_by_s
from operando.attachments._chromatograms import chromatogram_parts
from operando.attachments._clock import DatedBy, FileClock
from operando.attachments._collect import TOLD, Collected, LateResults, collect
from operando.attachments._files import FolderResults, Late, file_parts
from operando.attachments._place import leader_times
from operando.attachments._write import (
    AlreadyAttachedError,
    AttachmentError,
    Part,
    SourceFile,
    attach,
    attached_to,
)

__all__ = [
    "AROUND_S",
    "TOLD",
    "AlreadyAttachedError",
    "AttachmentError",
    "Collected",
    "DatedBy",
    "FileClock",
    "FolderResults",
    "Late",
    "LateResults",
    "Outcome",
    "Part",
    "SourceFile",
    "attach",
    "attached_to",
    "chromatogram_parts",
    "collect",
    "file_parts",
    "leader_times",
    "missed_by_s",
]
