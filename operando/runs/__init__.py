"""A run as named arrays with units, however its documents arrive.

`RunBuilder` takes documents one by one (live, from a journal, from a replay) and offers a valid
`Run` at any time; `Run.from_catalog` gives the same arrays from the catalog. Nothing here depends
on how rows were grouped into pages.
"""

from operando.runs._amendments import Amendment, amendments_of, pending_requests
from operando.runs._asked import (
    Asked,
    asked_at_the_start,
    asked_of,
    at_time,
    in_half_cycle,
    protocol_at_the_start,
    told_of_each,
    told_protocols,
)
from operando.runs._assets import (
    TIME_KEY,
    Asset,
    AssetPart,
    Document,
    Floats,
    lies_in_columns,
    read_columns,
)
from operando.runs._builder import ROWS_AT_ONCE, RunBuilder
from operando.runs._chains import join, with_attachments
from operando.runs._damage import read_journal, told_catalog_damage, told_damage, with_damage
from operando.runs._run import Run, Stream

__all__ = [
    "ROWS_AT_ONCE",
    "TIME_KEY",
    "Amendment",
    "Asked",
    "Asset",
    "AssetPart",
    "Document",
    "Floats",
    "Run",
    "RunBuilder",
    "Stream",
    "amendments_of",
    "asked_at_the_start",
    "asked_of",
    "at_time",
    "in_half_cycle",
    "join",
    "lies_in_columns",
    "pending_requests",
    "protocol_at_the_start",
    "read_columns",
    "read_journal",
    "told_catalog_damage",
    "told_damage",
    "told_of_each",
    "told_protocols",
    "with_attachments",
    "with_damage",
]
