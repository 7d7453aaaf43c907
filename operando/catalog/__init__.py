"""The catalog: every run searchable and readable through databroker, made from the journals.

One resident service per data folder follows the journals and is the catalog's only writer
(`ensure_service`); ``databroker.catalog["operando"]`` reads it in any Python. The catalog is
disposable: `rebuild_catalog` makes it again.
"""

from ._documents import catalog_documents
from ._errors import CatalogError
from ._parts import AssetRef, RunParts, StreamParts
from ._places import profile_name
from ._profile import write_profile
from ._read import close_catalog, open_catalog, read_run
from ._repair import Repaired, left_by_repair, repair
from ._service import (
    ServiceInfo,
    ensure_service,
    rebuild_catalog,
    stop_service,
    taken_in_damaged,
    wait_until_ingested,
)
from ._verify import CatalogStatus, Verification, status, verify, verify_runs

__all__ = [
    "AssetRef",
    "CatalogError",
    "CatalogStatus",
    "Repaired",
    "RunParts",
    "ServiceInfo",
    "StreamParts",
    "Verification",
    "catalog_documents",
    "close_catalog",
    "ensure_service",
    "left_by_repair",
    "open_catalog",
    "profile_name",
    "read_run",
    "rebuild_catalog",
    "repair",
    "status",
    "stop_service",
    "taken_in_damaged",
    "verify",
    "verify_runs",
    "wait_until_ingested",
    "write_profile",
]
