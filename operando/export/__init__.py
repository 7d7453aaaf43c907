"""A run in the formats of others: Battery Data Format, NeXus, Parquet, CSV, RO-Crate."""

from ._formats import FORMATS, Exported, Format, export_run
from ._ledger import ExportEntry, exports, raw_files, sha256_of, verify_export
from ._output import ExportError
from .bdf import Orientation, export_bdf, orientation
from .nexus import export_nexus
from .rocrate import Author, export_rocrate
from .tables import export_csv, export_parquet

__all__ = [
    "FORMATS",
    "Author",
    "ExportEntry",
    "ExportError",
    "Exported",
    "Format",
    "Orientation",
    "export_bdf",
    "export_csv",
    "export_nexus",
    "export_parquet",
    "export_rocrate",
    "export_run",
    "exports",
    "orientation",
    "raw_files",
    "sha256_of",
    "verify_export",
]
